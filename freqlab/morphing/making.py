"""The morphing study: morphs, vulnerability, influence, traces and detection, stored in the run."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.bands.base import Bands
from freqlab.bands.parsing import parse_bands
from freqlab.datasets.pair_tables import BONA_FIDE, CONTROL
from freqlab.errors import PairError, ParameterError, check_name, check_number
from freqlab.faces.table import Faces
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.morphing.decision_thresholds import thresholds
from freqlab.morphing.detection import FEWEST_FOLDS, detection_errors, scores
from freqlab.morphing.influence import profiles, vulnerability
from freqlab.morphing.labelled import manipulation_pairs
from freqlab.morphing.manipulations import manipulation_by_kind
from freqlab.morphing.sets import (
    choose_documents,
    couples,
    is_morph,
    make_faces,
    make_pairs,
    shares,
)
from freqlab.morphing.spectral import residual_spectra
from freqlab.run.calls import embed, influence
from freqlab.run.studies import RunOptions, Studied, study_of
from freqlab.statistics.error_rates import check_fmr
from freqlab.statistics.resampling import check_draws
from freqlab.store.layout import node_name
from freqlab.store.reading import open_crops, open_embeddings
from freqlab.store.studies import Nodes, made_of

__all__ = ["study"]

_COLUMNS = ("probe", "reference", "attack", "contributor_a", "contributor_b")
_MAY_BE_ABSENT = "gender"  # the default of `same`, which not every face set has


@dataclass(frozen=True)
class _Morphs:
    """Which photographs are documents and live, and which morphs are made of them."""

    document: str | None
    live: str | None
    n_live: int
    kinds: Sequence[str]
    """Shares of the second person, as :func:`freqlab.morphing.shares` parses them."""
    same: Sequence[str]
    n_couples: int | None
    control: bool
    folder: Path
    seed: int


@dataclass(frozen=True)
class _Labelled:
    """A set of pristine and manipulated images, and its columns."""

    faces: Faces | None
    label: str
    method: str | None


class _Draws(TypedDict):
    """Number of bootstrap draws over people, and their seed."""

    n_draws: int
    seed: int


@dataclass(frozen=True)
class _Plan:
    """Everything from which a study is computed, except its networks."""

    faces: Faces
    pairs: pd.DataFrame | None
    store: str | os.PathLike[str]
    morphs: _Morphs
    labelled: _Labelled
    bands: Bands
    threshold: float | list[float] | None
    fmr: float
    folds: int
    draws: _Draws
    run: RunOptions


def study(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    models: Studied,
    store: str | os.PathLike[str],
    document: str | None = None,
    live: str | None = None,
    n_live: int = 2,
    morphs: Sequence[str] = ("0.5", "0:0.5", "0.3"),
    same: Sequence[str] = ("gender",),
    n_couples: int | None = None,
    control: bool = True,
    folder: str | os.PathLike[str] | None = None,
    labelled: Faces | None = None,
    label: str = "label",
    method: str | None = "method",
    bands: Bands | str = "rings:4",
    threshold: float | list[float] | None = None,
    fmr: float = 1e-3,
    folds: int = 5,
    n_draws: int = 1000,
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> xr.DataTree:
    """Compute the effect of morphs on models and store it in the run, or open a stored study.

    Parameters
    ----------
    faces
        Photographs, with any morphs that the set contains.
    pairs
        Documents against live photographs, as read by :func:`freqlab.read_pairs` with
        ``format="morphs"``. If None, morphs are made.
    models, store, bands
        As for :func:`freqlab.influence`.
    **run
        Options of the computation, as for :func:`freqlab.influence`.
    document, live, n_live
        Which photographs are documents and which are live, as for
        :func:`freqlab.morphing.choose_documents`.
    morphs
        Morphs to make: share of the second person, as ``shape:texture`` if the two differ.
    same, n_couples
        Columns in which contributors must agree, and the largest number of couples. The column
        ``gender``, the default, is ignored if the faces lack it.
    control
        Whether controls are made.
    folder
        Folder to which morphs are written; beside the store by default.
    labelled, label, method
        A set of images labelled pristine or manipulated, and its columns; it has a separate run
        beside the store.
    threshold, fmr
        As ``given`` and ``fmr`` of :func:`freqlab.morphing.thresholds`.
    folds, n_draws, seed
        Number of folds of people (three or more), bootstrap draws over people of the profiles, and
        seed of all random draws.

    Returns
    -------
    xarray.DataTree
        ``/kinds``, a table of the pairs; ``/thresholds``; ``/vulnerability``; ``/profiles``;
        ``/manipulation`` and, for a labelled set, ``/labelled``, from
        :func:`freqlab.morphing.manipulation_by_kind`; ``/scores/<model>`` and
        ``/detection/<model>``; ``/influence``, the influence result.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid; all of them are checked before anything is computed.
    StoreError
        If the store cannot be read or written.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces(n_subjects=20, per_subject=3)
    >>> pairs = fl.morphing.make_pairs(faces)
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "threshold": 0.6}
    >>> options |= {"n_draws": 50, "progress": False}
    >>> study = fl.morphing.study(faces, pairs, store="run.zarr", **options)
    >>> sorted(study.children)
    ['detection', 'influence', 'kinds', 'manipulation', 'profiles', 'scores', 'thresholds',
     'vulnerability']
    """
    place = Path(folder) if folder else Path(store).parent / "morphs" / faces.name
    made = _Morphs(document, live, n_live, morphs, same, n_couples, control, place, seed)
    plan = _Plan(
        faces=faces,
        pairs=pairs,
        store=store,
        morphs=made,
        labelled=_Labelled(labelled, label, method),
        bands=parse_bands(bands) if isinstance(bands, str) else bands,
        threshold=threshold,
        fmr=fmr,
        folds=folds,
        draws={"n_draws": n_draws, "seed": seed},
        run=run,
    )
    _check(plan, len(models))
    return study_of(
        "morphing",
        faces,
        functools.partial(_nodes, plan),
        models=models,
        store=store,
        run=run,
        pairs=pairs,
        **_options(plan),
    )


def _check(plan: _Plan, n_models: int) -> None:
    """Refuse arguments that would be refused after other parts have been computed."""
    morphs, labelled = plan.morphs, plan.labelled
    check_fmr(plan.fmr)
    check_draws(**plan.draws, level=0.95)
    check_number("folds", plan.folds, at_least=FEWEST_FOLDS, whole=True)
    if plan.threshold is not None:
        edges = plan.threshold if isinstance(plan.threshold, list) else [plan.threshold]
        for edge in edges:
            check_number("threshold", edge)
        if len(edges) != n_models:
            raise ParameterError(
                f"threshold={plan.threshold!r} must be {n_models} thresholds, one for each model"
            )
    check_number("n_live", morphs.n_live, at_least=1, whole=True)
    if morphs.n_couples is not None:
        check_number("n_couples", morphs.n_couples, at_least=1, whole=True)
    for argument, texts in (("morphs", morphs.kinds), ("same", morphs.same)):
        if isinstance(texts, str):
            raise ParameterError(f"{argument}={texts!r} must be a list")
    for kind in morphs.kinds:
        shares(kind)
    if labelled.faces is not None:
        manipulation_pairs(labelled.faces, label=labelled.label, method=labelled.method)
    if plan.pairs is None:
        _check_contributors(plan.faces, morphs)
    else:
        _check_pairs(plan.pairs)


def _check_contributors(faces: Faces, morphs: _Morphs) -> None:
    """Refuse columns from which documents, live photographs and couples cannot be chosen."""
    for column in morphs.same:
        if column != _MAY_BE_ABSENT:
            check_name("same", column, map(str, faces.table.columns))
    documents, lives = choose_documents(
        faces, document=morphs.document, live=morphs.live, n_live=morphs.n_live
    )
    both = set(documents) & set(lives)
    if both:
        raise ParameterError(
            f"document={morphs.document!r} and live={morphs.live!r} both select {sorted(both)[0]!r}"
        )
    if not lives:
        raise ParameterError(f"no photograph of {faces.name!r} is live; every one is a document")
    _couples(faces, documents, morphs)


def _check_pairs(pairs: pd.DataFrame) -> None:
    """Refuse a table of pairs without the required columns, bona fide pairs or attack pairs."""
    absent = [column for column in _COLUMNS if column not in pairs]
    if absent:
        raise PairError(
            f"pairs lack the columns {', '.join(absent)}; fl.morphing.make_pairs and "
            f"fl.read_pairs(..., format='morphs') make pairs with them"
        )
    kinds = pairs["attack"].astype(str)
    if not (kinds == BONA_FIDE).any():
        raise PairError(f"pairs have no {BONA_FIDE} pair with which attacks can be compared")
    if kinds.isin([BONA_FIDE, CONTROL]).all():
        raise PairError("pairs have no attack pair")


def _couples(faces: Faces, documents: Sequence[str], morphs: _Morphs) -> pd.DataFrame:
    """Draw the contributors of morphs."""
    return couples(
        _select(faces, documents),
        same=[column for column in morphs.same if column in faces.table],
        n=morphs.n_couples,
        seed=morphs.seed,
    )


def _options(plan: _Plan) -> dict[str, Any]:
    """Return the arguments of a study as JSON values."""
    morphs, labelled = plan.morphs, plan.labelled
    about = None
    if labelled.faces is not None:
        about = made_of(_beside(plan.store), labelled.faces, models=[])["faces"]
    return {
        "document": morphs.document,
        "live": morphs.live,
        "most_live": morphs.n_live,
        "morphs": list(morphs.kinds),
        "same": list(morphs.same),
        "n_couples": morphs.n_couples,
        "control": morphs.control,
        "labelled": about,
        "label": labelled.label,
        "method_column": labelled.method,
        "bands": plan.bands.key,
        "threshold": plan.threshold,
        "fmr": plan.fmr,
        "folds": plan.folds,
        **plan.draws,
    }


def _nodes(plan: _Plan, loaded: list[Model]) -> Nodes:
    """Compute the nodes of a study."""
    pairs, store, draws = plan.pairs, plan.store, plan.draws
    if pairs is None:
        faces, pairs = _morphed(plan.faces, plan.morphs)
    else:
        faces = _faces_of(plan.faces, pairs)
    sides: list[Side] = ["probe", "reference"]
    result = influence(
        faces, pairs, models=loaded, bands=plan.bands, sides=sides, store=store, **plan.run
    ).load()
    # A threshold is set on all photographs of the set, not only on those in the pairs.
    photographs = plan.faces if plan.threshold is None else faces
    embed(photographs, models=loaded, store=store, **plan.run)
    names = [model.name for model in loaded]
    edges = thresholds(
        _vectors(store, photographs, names),
        photographs,
        pairs,
        fmr=plan.fmr,
        given=plan.threshold,
    )
    edge_of = {name: float(edges["threshold"].sel(model=name)) for name in names}
    risk = vulnerability(_vectors(store, faces, names), faces, pairs, thresholds=edge_of)
    nodes: dict[str, xr.Dataset | pd.DataFrame] = {
        "kinds": _kinds(pairs),
        "thresholds": edges,
        "vulnerability": risk,
        "profiles": profiles(result, **draws),
        "manipulation": manipulation_by_kind(
            result, by="attack", pristine="bona fide", side="reference", **draws
        ),
    }
    documents = np.unique(result["reference"].to_numpy().astype(str))
    for model in loaded:
        scored = scores(
            result,
            model=model.name,
            spectra=_spectra(store, model, documents),
            folds=plan.folds,
            seed=draws["seed"],
        )
        nodes[f"scores/{node_name(model.name)}"] = scored
        nodes[f"detection/{node_name(model.name)}"] = detection_errors(scored)
    top = xr.Dataset(attrs=_attrs(plan, pairs, result))
    return {**nodes, **_labelled_nodes(plan, loaded), "/": top}


def _spectra(
    store: str | os.PathLike[str], model: Model, documents: npt.NDArray[np.str_]
) -> xr.DataArray | None:
    """Residual spectra of the documents; None if the run keeps no crops."""
    template = model.template.name
    if "crop" not in open_crops(store, template=template):
        return None
    return residual_spectra(store, template=template, faces=list(documents))


def _attrs(plan: _Plan, pairs: pd.DataFrame, result: xr.Dataset) -> dict[str, Any]:
    """Return counts and sources of the pairs, and the pairs to show."""
    people = np.unique(pairs[["contributor_a", "contributor_b"]].to_numpy(str))
    return {
        "result": result.attrs["name"],
        "forward_passes": result.attrs["forward_passes"],
        "n_pairs": len(pairs),
        "n_lost": int(result["similarity"].isnull().any("model").sum()),
        "n_live": int(pairs["probe"].nunique()),
        "n_people": len(people),
        "morphs_are": "made here" if plan.pairs is None and plan.morphs.kinds else "given",
        "morphs_from": "the table" if plan.pairs is not None else str(plan.morphs.folder),
        "shown_pairs": _shown(result),
    }


def _select(faces: Faces, names: Sequence[str]) -> Faces:
    return faces.select(np.flatnonzero(np.isin(faces.names, names)))


def _faces_of(faces: Faces, pairs: pd.DataFrame) -> Faces:
    """Select the faces of a table of pairs."""
    return _select(faces, [*pairs["probe"].astype(str), *pairs["reference"].astype(str)])


def _morphed(faces: Faces, morphs: _Morphs) -> tuple[Faces, pd.DataFrame]:
    """Return documents, live photographs, morphs and controls, and their pairs."""
    documents, lives = choose_documents(
        faces, document=morphs.document, live=morphs.live, n_live=morphs.n_live
    )
    given = [name for name, is_one in zip(faces.names, is_morph(faces), strict=True) if is_one]
    contributors = _couples(faces, documents, morphs)
    every = _select(faces, [*documents, *lives, *given])
    for kind in morphs.kinds:
        alpha, texture = shares(kind)
        every = make_faces(every, contributors, folder=morphs.folder, alpha=alpha, texture=texture)
    if morphs.control:
        mirrors = pd.DataFrame({"a": documents, "b": [None] * len(documents)})
        every = make_faces(every, mirrors, folder=morphs.folder, alpha=0.5, tool="mirror")
    return every, make_pairs(every, documents=documents, live=lives)


def _vectors(
    store: str | os.PathLike[str], faces: Faces, names: Sequence[str]
) -> dict[str, npt.NDArray[np.float32]]:
    return {
        name: open_embeddings(store, model=name).sel(face=faces.names).to_numpy() for name in names
    }


def _kinds(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count the pairs, documents and live photographs of each kind of attack."""
    counts = pairs.groupby("attack", sort=False).agg(
        pairs=("probe", "size"), documents=("reference", "nunique"), live=("probe", "nunique")
    )
    return counts.rename_axis("kind")


def _shown(result: xr.Dataset) -> list[int]:
    """Choose the middle pair of every kind of attack."""
    kinds, labels = result["attack"].to_numpy().astype(str), result["pair"].to_numpy()
    attacks = [kind for kind in dict.fromkeys(kinds) if kind not in ("bona fide", "control")]
    return [int(labels[kinds == kind][(kinds == kind).sum() // 2]) for kind in attacks]


def _beside(store: str | os.PathLike[str]) -> str:
    """Return the path of the run of a labelled set."""
    return str(Path(store).with_name(f"{Path(store).stem}-labelled.zarr"))


def _labelled_nodes(plan: _Plan, models: Sequence[Model]) -> dict[str, xr.Dataset | pd.DataFrame]:
    """Compute the changes by each method of a labelled set, and count its pairs by method."""
    labelled = plan.labelled
    if labelled.faces is None:
        return {}
    pairs = manipulation_pairs(labelled.faces, label=labelled.label, method=labelled.method)
    result = influence(
        labelled.faces,
        pairs,
        models=models,
        bands=plan.bands,
        sides=["probe"],
        store=_beside(plan.store),
        **plan.run,
    ).load()
    counts = pairs.groupby("method", sort=False).size().to_frame("pairs")
    changes = manipulation_by_kind(result, by="method", pristine="pristine", **plan.draws)
    return {"labelled": changes, "labelled_kinds": counts}

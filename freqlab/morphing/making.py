"""The morphing study: morphs, vulnerability, influence, traces and detection, stored in the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.bands.radial import Bands, parse_bands
from freqlab.faces.table import Faces
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.morphing.detection import detection_errors, scores
from freqlab.morphing.influence import profiles, vulnerability
from freqlab.morphing.labelled import manipulation_pairs
from freqlab.morphing.manipulations import manipulation_by_kind
from freqlab.morphing.report import thresholds
from freqlab.morphing.sets import (
    choose_documents,
    couples,
    is_morph,
    make_faces,
    make_pairs,
    shares,
)
from freqlab.run.calls import embed, influence
from freqlab.run.studies import RunOptions, Studied, study_of
from freqlab.statistics.error_rates import check_fmr
from freqlab.store.reading import open_embeddings
from freqlab.store.run_store import node_name
from freqlab.store.studies import Nodes, made_of

__all__ = ["study"]


class _Wanted(NamedTuple):
    """Which documents, live photographs and morphs."""

    document: str | None
    live: str | None
    n_live: int
    morphs: Sequence[str]
    same: Sequence[str]
    n_couples: int | None
    control: bool
    seed: int


class _Labelled(NamedTuple):
    faces: Faces | None
    label: str
    method: str | None


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
    models, store, bands, run
        As for :func:`freqlab.influence`.
    document, live, n_live
        Which photographs are documents and which are live, as for
        :func:`freqlab.morphing.choose_documents`.
    morphs
        Morphs to make: share of the second person, as ``shape:texture`` if the two differ.
    same, n_couples
        Columns in which contributors must agree, if the faces have them, and the largest number
        of couples.
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
        Number of folds of people, bootstrap draws over people, and seed of all random draws.

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
        If an argument is invalid.
    StoreError
        If the store cannot be read or written.
    """
    check_fmr(fmr)
    parsed = parse_bands(bands) if isinstance(bands, str) else bands
    wanted = _Wanted(document, live, n_live, morphs, same, n_couples, control, seed)
    place = Path(folder) if folder else Path(store).parent / "morphs" / faces.name
    given = _Labelled(labelled, label, method)

    def make(loaded: list[Model]) -> Nodes:
        mixed, listed = _morphed(faces, wanted, place) if pairs is None else _only(faces, pairs)
        sides: list[Side] = ["probe", "reference"]
        result = influence(
            mixed, listed, models=loaded, bands=parsed, sides=sides, store=store, **run
        ).load()
        # the whole set, not only the faces used here, if a threshold is to be set
        photographs = faces if threshold is None else mixed
        embed(photographs, models=loaded, store=store, **run)
        names = [model.name for model in loaded]
        edges = thresholds(
            _vectors(store, photographs, names), photographs, listed, fmr=fmr, given=threshold
        )
        carried = {name: float(edges["threshold"].sel(model=name)) for name in names}
        drawn: dict[str, Any] = {"n_draws": n_draws, "seed": seed}
        nodes: dict[str, xr.Dataset | pd.DataFrame] = {
            "kinds": _kinds(listed),
            "thresholds": edges,
            "vulnerability": vulnerability(
                _vectors(store, mixed, names), mixed, listed, thresholds=carried, **drawn
            ),
            "profiles": profiles(result, **drawn),
            "manipulation": manipulation_by_kind(
                result, by="attack", pristine="bona fide", side="reference", **drawn
            ),
        }
        for name in names:
            found = scores(result, model=name, folds=folds, seed=seed)
            nodes[f"scores/{node_name(name)}"] = found
            nodes[f"detection/{node_name(name)}"] = detection_errors(found, **drawn)
        nodes |= _labelled(given, loaded, parsed, _beside(store), run, drawn)
        people = np.unique(listed[["contributor_a", "contributor_b"]].to_numpy(str))
        attrs = {
            "result": result.attrs["name"],
            "forward_passes": result.attrs["forward_passes"],
            "n_pairs": len(listed),
            "n_lost": int(result["similarity"].isnull().any("model").sum()),
            "n_live": int(listed["probe"].nunique()),
            "n_people": len(people),
            "morphs_are": "made here" if pairs is None and morphs else "given",
            "morphs_from": "the table" if pairs is not None else str(place),
            "shown_pairs": _shown(result),
        }
        return {**nodes, "/": xr.Dataset(attrs=attrs)}

    return study_of(
        "morphing",
        faces,
        make,
        models=models,
        store=store,
        run=run,
        pairs=pairs,
        document=document,
        live=live,
        most_live=n_live,
        morphs=list(morphs),
        same=list(same),
        n_couples=n_couples,
        control=control,
        labelled=None
        if labelled is None
        else made_of(_beside(store), labelled, models=[])["faces"],
        label=label,
        method_column=method,
        bands=parsed.key,
        threshold=threshold,
        fmr=fmr,
        folds=folds,
        n_draws=n_draws,
        seed=seed,
    )


def _select(faces: Faces, names: Sequence[str]) -> Faces:
    return faces.select(np.flatnonzero(np.isin(faces.names, names)))


def _only(faces: Faces, pairs: pd.DataFrame) -> tuple[Faces, pd.DataFrame]:
    """Return the faces of a table of pairs, and the table."""
    return _select(faces, [*pairs["probe"].astype(str), *pairs["reference"].astype(str)]), pairs


def _morphed(faces: Faces, wanted: _Wanted, folder: Path) -> tuple[Faces, pd.DataFrame]:
    """Return documents, live photographs, morphs and controls, and their pairs."""
    documents, lives = choose_documents(
        faces,
        document=wanted.document,
        live=wanted.live,
        n_live=wanted.n_live,
    )
    come_along = [name for name, yes in zip(faces.names, is_morph(faces), strict=True) if yes]
    who = couples(
        _select(faces, documents),
        same=[one for one in wanted.same if one in faces.table],
        n=wanted.n_couples,
        seed=wanted.seed,
    )
    mixed = _select(faces, [*documents, *lives, *come_along])
    for kind in wanted.morphs:
        alpha, texture = shares(kind)
        mixed = make_faces(mixed, who, folder=folder, alpha=alpha, texture=texture)
    if wanted.control:
        mirrors = pd.DataFrame({"a": documents, "b": [None] * len(documents)})
        mixed = make_faces(mixed, mirrors, folder=folder, alpha=0.5, tool="mirror")
    return mixed, make_pairs(mixed, documents=documents, live=lives)


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
    return str(Path(store).with_name(f"{Path(store).stem}-labelled.zarr"))


def _labelled(
    given: _Labelled,
    models: Sequence[Model],
    bands: Bands,
    store: str,
    run: RunOptions,
    drawn: dict[str, Any],
) -> dict[str, xr.Dataset | pd.DataFrame]:
    """Compute the changes by each method of a labelled set, and count its pairs by method."""
    if given.faces is None:
        return {}
    pairs = manipulation_pairs(given.faces, label=given.label, method=given.method)
    result = influence(
        given.faces, pairs, models=models, bands=bands, sides=["probe"], store=store, **run
    ).load()
    counts = pairs.groupby("method", sort=False).size().to_frame("pairs")
    return {
        "labelled": manipulation_by_kind(result, by="method", pristine="pristine", **drawn),
        "labelled_kinds": counts,
    }

"""Verification performance of models on a face set (ISO/IEC 19795-1).

Every figure has an interval over subjects (:mod:`freqlab.statistics.resampling`). A rate that
cannot be resolved is NaN, and a note gives the reason.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import make_attrs, names_of
from freqlab.errors import ParameterError, check_name
from freqlab.faces.groups import ALL, MIXED, group_codes, group_labels
from freqlab.faces.pairs import check_pairs
from freqlab.faces.table import Faces
from freqlab.literals import Compile, Precision, WhichFace
from freqlab.models.callables import Embedder
from freqlab.models.spec import Model
from freqlab.results.selection import at_fmr, fmr_text
from freqlab.run.calls import embed
from freqlab.statistics.error_rates import (
    FMRS,
    Comparisons,
    accuracy_by_folds,
    check_fmr,
    check_fmrs,
    compare_all,
    compare_pairs,
    impostor_thresholds,
)
from freqlab.statistics.rate_intervals import dyadic_variance, rate_bounds
from freqlab.statistics.resampling import check_draws
from freqlab.statistics.vectors import is_usable
from freqlab.store.reading import open_embeddings
from freqlab.text.wording import NBSP, percent, with_bounds
from freqlab.verification.figures import failure_rates, figures_of, labelled
from freqlab.verification.large_sets import check_genuine, figures_of_all

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "check_embeddings",
    "failure_rates",
    "figures_of",
    "labelled",
    "summary_table",
    "verify",
]

_N_EXTREMES = 12
# each takes up to about 80 bytes of temporary memory; more are computed in tiles
_MOST_KEPT = 4_000_000

Floats = npt.NDArray[np.float64]


def verify(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    models: Sequence[str | os.PathLike[str] | Model | Embedder],
    store: str | os.PathLike[str] | None = None,
    group: str | Sequence[str] | None = None,
    fmrs: Sequence[float] = FMRS,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    keep_crops: bool | None = None,
    upscale: bool = False,
    which_face: WhichFace = "largest",
    precision: Precision = "float32",
    compile: Compile = "auto",
    cluster: Client | str | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute verification figures of models on a face set, with intervals over subjects.

    The untouched faces are embedded unless the store has their embeddings. Thresholds come from
    all impostor comparisons of the set, excluding degraded faces. Error rates are over all
    comparisons, or over the given pairs. More than four million comparisons of all faces are
    computed tile by tile, so that memory does not grow with their number.

    Parameters
    ----------
    faces
        The faces.
    pairs
        Comparisons over which the figures are computed, with columns ``probe``, ``reference``,
        ``genuine``, and ``fold`` where a protocol has folds; all against all by default.
    models, store, device, batch_size, keep_crops, upscale, which_face, precision, compile, \
cluster, progress
        As for :func:`freqlab.influence`.
    group
        Column of the faces, or several columns to cross. A comparison belongs to a group when both
        faces carry its value; the others form the group ``"mixed"``.
    fmrs
        False match rates at which thresholds are set, between 0 and 1.
    n_draws, level, seed
        Bootstrap draws, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``model`` and ``group`` (``"all"`` first), with ``estimate`` value, lower, upper:
        ``eer``; ``d_prime``; ``failure_to_acquire``, the share of faces; ``false_match_rate`` and
        ``false_non_match_rate`` at the threshold ``threshold(model, fmr)``; ``curve(model, group,
        curve_fmr)``, the false non-match rate at each false match rate (DET); ``accuracy(model,
        estimate)`` with ``accuracy_standard_error`` where the pairs have folds;
        ``density(model, comparison, score)``; the worst genuine and best impostor comparisons,
        ``extreme_probe``, ``extreme_reference`` and ``extreme_similarity(model, comparison,
        rank)``; counts of comparisons and subjects; people who err: ``eer_people``,
        ``false_match_people`` and ``false_non_match_people``; ``note`` where a rate is not
        resolved.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=8, per_subject=3)
    >>> figures = fl.verify(faces, models=[fl.testing.model()], n_draws=50, progress=False)
    >>> float(figures["eer"].sel(model="linear", group="all", estimate="value"))
    0.0
    """
    check_draws(n_draws, level, seed)
    rates = check_fmrs(fmrs)
    positions = None if pairs is None else check_pairs(faces, pairs)
    groups, codes = _groups(faces, group)
    folds = _folds(pairs)
    if pairs is None:
        check_genuine(np.unique(faces.subjects.astype(str), return_inverse=True)[1])
    tree = embed(
        faces,
        models=models,
        store=store,
        device=device,
        batch_size=batch_size,
        keep_crops=keep_crops,
        upscale=upscale,
        which_face=which_face,
        precision=precision,
        compile=compile,
        cluster=cluster,
        progress=progress,
    )
    url = str(tree.attrs["store"])
    names = [str(name) for name in tree.attrs["models"]]
    evaluation = _Evaluation(faces, positions, folds, groups, codes, rates, n_draws, level, seed)
    of_models = [_figures_of_model(url, name, evaluation) for name in names]
    result = xr.concat(of_models, pd.Index(np.array(names, object), name="model"))
    if group is not None and not _n_mixed(result):
        result = result.drop_sel(group=MIXED)
    return labelled(result).assign_attrs(
        make_attrs(
            store=url,
            face_set=faces.name,
            credit=faces.credit,
            comparisons="all against all" if pairs is None else "the pairs given",
            group=", ".join([group] if isinstance(group, str) else group or []),
            n_draws=n_draws,
            level=level,
            seed=seed,
        )
    )


@dataclass(frozen=True)
class _Evaluation:
    """Comparisons, groups and bootstrap settings that are the same for all models."""

    faces: Faces
    positions: npt.NDArray[np.integer] | None
    """Positions of the faces of each pair ``(pair, 2)``; None to compare all faces."""
    folds: npt.NDArray[Any] | None
    """Fold of each pair ``(pair,)``."""
    groups: list[str]
    codes: npt.NDArray[np.int64] | None
    """Group of each face ``(face,)``."""
    fmrs: tuple[float, ...]
    n_draws: int
    level: float
    seed: int


def _n_mixed(figures: xr.Dataset) -> int:
    """Number of comparisons in the mixed group, over all models."""
    mixed = figures.sel(group=MIXED)
    return int(mixed["n_genuine"].sum() + mixed["n_impostor"].sum())


def _figures_of_model(store: str, model: str, evaluation: _Evaluation) -> xr.Dataset:
    """Compute the figures of one model from its stored embeddings."""
    faces, positions = evaluation.faces, evaluation.positions
    groups, codes = evaluation.groups, evaluation.codes
    level = evaluation.level
    embeddings = open_embeddings(store, model=model).sel(face=faces.names).to_numpy()
    untouched = ~faces.degraded
    thresholds, n_impostor = impostor_thresholds(
        *(embeddings[untouched], faces.subjects[untouched], faces.sources[untouched]),
        evaluation.fmrs,
    )
    options: dict[str, Any] = {
        "thresholds": thresholds,
        "fmrs": evaluation.fmrs,
        "groups": groups,
        "codes": codes,
        "n_draws": evaluation.n_draws,
        "level": level,
        "seed": evaluation.seed,
    }
    n_faces = len(embeddings)
    if positions is None and n_faces * (n_faces - 1) // 2 > _MOST_KEPT:
        figures, comparisons = figures_of_all(
            embeddings, faces.subjects, faces.sources, n_extremes=_N_EXTREMES, **options
        )
    else:
        if positions is None:
            comparisons = compare_all(embeddings, faces.subjects, faces.sources)
        else:
            comparisons = compare_pairs(embeddings, faces.subjects, positions)
        figures = figures_of(comparisons, **options)
    figures["impostor_comparisons"] = ((), n_impostor)
    failed = ~is_usable(embeddings)
    figures["failure_to_acquire"] = (
        ("group", "estimate"),
        failure_rates(failed, comparisons.subjects, groups, codes, level),
    )
    _add_extremes(figures, comparisons, np.array(faces.names, object))
    _add_accuracy(figures, ~failed, comparisons, evaluation)
    return figures


def check_embeddings(
    embeddings: Mapping[str, npt.NDArray[np.floating]], faces: Faces
) -> dict[str, npt.NDArray[np.float32]]:
    """Check that embeddings have one row per face, and return them as float32.

    Raises
    ------
    ParameterError
        If there is no model, or a shape does not match.
    """
    if not embeddings:
        raise ParameterError("embeddings={} is empty; give the embeddings of at least one model")
    for name, values in embeddings.items():
        if np.ndim(values) != 2 or len(values) != len(faces):
            raise ParameterError(
                f"embeddings of model {name!r} have shape {np.shape(values)} for {len(faces)} "
                f"faces; expected (face, feature)"
            )
    return {name: np.asarray(values, np.float32) for name, values in embeddings.items()}


def summary_table(result: xr.Dataset, *, model: str, fmr: float = 1e-3) -> pd.DataFrame:
    """Tabulate the figures of one model: a row per group, intervals in brackets.

    After an error rate stands the number of people who err. The result's ``note`` gives the reason
    where a rate is not resolved.

    Parameters
    ----------
    result
        From :func:`verify`.
    model
        Name of the model.
    fmr
        Nominal false match rate of the decision threshold; one of the rates of the result.

    Returns
    -------
    pandas.DataFrame
        A row for each group, ``"all"`` first.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such model or rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> figures = fl.testing.study("verification")["figures"].to_dataset()
    >>> table = fl.verification.summary_table(figures, model="linear", fmr=0.1)
    >>> table.index.tolist()
    ['all', 'no', 'yes', 'mixed']
    """
    check_name("model", model, names_of(result, "model"))
    check_fmr(fmr)
    data = result.sel(model=model)
    rows = {}
    for name in data["group"].to_numpy():
        figures = data.sel(group=name)
        rates = at_fmr(figures, fmr)
        rows[str(name)] = {
            "genuine": f"{int(figures['n_genuine']):,}",
            "impostor": f"{int(figures['n_impostor']):,}",
            "subjects": f"{int(figures['n_subjects']):,}",
            "EER": _with_people(figures["eer"], figures["eer_people"]),
            f"FMR at {fmr_text(fmr)}": _with_people(
                rates["false_match_rate"], rates["false_match_people"]
            )
            or "not resolved",
            f"FNMR at {fmr_text(fmr)}": _with_people(
                rates["false_non_match_rate"], rates["false_non_match_people"]
            )
            or ("" if int(figures["n_genuine"]) == 0 else "no threshold"),
            "d'": with_bounds(figures["d_prime"], ".2f"),
            "failure to acquire": percent(figures["failure_to_acquire"]),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")


def _with_people(rate: xr.DataArray, n_erring: xr.DataArray) -> str:
    """Format a rate, its interval and the people who err; empty where the rate is NaN."""
    n, text = int(n_erring), percent(rate)
    return text and f"{text}, {n:,}{NBSP}{'person' if n == 1 else 'people'}"


def _groups(
    faces: Faces, group: str | Sequence[str] | None
) -> tuple[list[str], npt.NDArray[np.int64] | None]:
    """Return the names of the groups, ``all`` first, and the group of each face (-1 for none)."""
    if group is None:
        return [ALL], None
    names, codes = group_codes(group_labels(faces, group))
    return [ALL, *names, MIXED], np.where(codes >= 0, codes + 1, -1)


def _folds(pairs: pd.DataFrame | None) -> npt.NDArray[Any] | None:
    """Return the fold of each pair; None with fewer than two folds, which give no accuracy."""
    if pairs is None or "fold" not in pairs.columns:
        return None
    if pairs["fold"].isna().any():
        raise ParameterError(
            f"{int(pairs['fold'].isna().sum())} of {len(pairs)} pairs have no fold; the column "
            f"'fold' must have a value for every pair, or be absent"
        )
    folds = pairs["fold"].to_numpy()
    return folds if len(np.unique(folds)) > 1 else None


def _add_extremes(
    result: xr.Dataset, comparisons: Comparisons, names: npt.NDArray[np.object_]
) -> None:
    """Add the genuine comparisons of lowest and the impostor comparisons of highest similarity."""
    probes, references = np.full((2, 2, _N_EXTREMES), "", object)
    similarity = np.full((2, _N_EXTREMES), np.nan)
    for row, kind in enumerate((True, False)):
        part = comparisons.select(comparisons.genuine == kind)
        order = np.argsort(part.scores if kind else -part.scores, kind="stable")[:_N_EXTREMES]
        n = len(order)
        probes[row, :n] = names[part.probe[order]]
        references[row, :n] = names[part.reference[order]]
        similarity[row, :n] = part.scores[order]
    dims = ("comparison", "rank")
    result["extreme_probe"] = (dims, probes)
    result["extreme_reference"] = (dims, references)
    result["extreme_similarity"] = (dims, similarity)


def _add_accuracy(
    result: xr.Dataset,
    embedded: npt.NDArray[np.bool_],
    comparisons: Comparisons,
    evaluation: _Evaluation,
) -> None:
    """Add the accuracy over the folds, if there are any.

    The interval is at the thresholds of the folds.

    Parameters
    ----------
    result
        Figures of one model, to which the accuracy is added.
    embedded
        Whether a face has an embedding ``(face,)``.
    comparisons
        Of the pairs with two embeddings.
    evaluation
        Pairs and folds.
    """
    positions, folds = evaluation.positions, evaluation.folds
    if positions is None or folds is None:
        return
    usable = embedded[positions].all(axis=1)
    scores = np.full(len(usable), np.nan)
    scores[usable] = comparisons.scores
    one, other = comparisons.subjects[positions].T
    genuine = one == other
    accuracy = accuracy_by_folds(scores, genuine, folds)
    fold_numbers = np.searchsorted(np.unique(folds), folds)
    correct = ((scores >= accuracy.thresholds[fold_numbers]) == genuine) & usable
    # the mean over folds: each pair weighs as much as its fold has few pairs
    n_folds, wrong = fold_numbers.max() + 1, ~correct
    n_pairs = np.bincount(fold_numbers)
    expected = (np.bincount(fold_numbers, wrong) / n_pairs)[fold_numbers]
    contributions = (wrong - expected) / (n_folds * n_pairs[fold_numbers])
    subjects = np.stack([one, other])
    lower, upper = rate_bounds(
        1 - accuracy.mean,
        float(dyadic_variance(contributions, subjects)),
        error_size=1 / len(wrong),
        n_people=len(np.unique(subjects)),
        level=evaluation.level,
    )
    result["accuracy"] = ("estimate", [accuracy.mean, 1 - upper, 1 - lower])
    result["accuracy_standard_error"] = ((), accuracy.standard_error)
    result["accuracy_by_fold"] = ("fold", accuracy.by_fold)
    result["fold_threshold"] = ("fold", accuracy.thresholds)

"""Verification performance of models on a face set (ISO/IEC 19795-1).

Every figure has an interval over subjects (:mod:`freqlab.statistics.resampling`). A rate that
cannot be resolved is NaN, and a note gives the reason.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import make_attrs, named, names_of
from freqlab.errors import ParameterError, check_name
from freqlab.faces.groups import ALL, MIXED, group_codes, group_labels
from freqlab.faces.pairs import check_pairs
from freqlab.faces.table import Faces
from freqlab.literals import Compile, Precision, WhichFace
from freqlab.models.callables import Embedder
from freqlab.models.spec import Model
from freqlab.run.calls import embed
from freqlab.statistics.error_rates import (
    FMRS,
    Comparisons,
    accuracy_by_folds,
    check_fmr,
    compare_all,
    compare_pairs,
    comparisons_needed,
    error_curve,
    impostor_thresholds,
    is_usable,
)
from freqlab.statistics.resampling import (
    check_draws,
    d_prime_interval,
    draw_subjects,
    eer_interval,
    rate_interval,
    rates_at,
)
from freqlab.store.reading import open_embeddings
from freqlab.text.wording import percent, with_bounds

__all__ = [
    "check_embeddings",
    "failure_rates",
    "figures_of",
    "labelled",
    "summary_table",
    "verify",
]

_ESTIMATES = ["value", "lower", "upper"]
_CURVE_FMRS = np.logspace(-6, 0, 121)
_BINS = np.linspace(-1, 1, 201)
_N_EXTREMES = 12
# up to about 80 bytes each in passing: 8 GB
_MOST_COMPARISONS = 100_000_000

Floats = npt.NDArray[np.float64]


def verify(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    models: Sequence[str | os.PathLike[str] | Model | Embedder],
    store: str | os.PathLike[str] | None = None,
    group: str | Sequence[str] | None = None,
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
    progress: bool = True,
) -> xr.Dataset:
    """Compute verification figures of models on a face set, with intervals over subjects.

    The untouched faces are embedded unless the store has their embeddings. Thresholds come from
    all impostor comparisons of the set, excluding degraded faces. Error rates are over all
    comparisons, or over the given pairs.

    Parameters
    ----------
    faces
        The faces.
    pairs
        Comparisons over which the figures are computed, with columns ``probe``, ``reference``,
        ``genuine``, and ``fold`` where a protocol has folds; all against all by default.
    models, store, device, batch_size, keep_crops, upscale, which_face, precision, compile, progress
        As for :func:`freqlab.influence`.
    group
        Column of the faces, or several columns to cross. A comparison belongs to a group when both
        faces carry its value; the others form the group ``"mixed"``.
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
        rank)``; counts of comparisons and subjects; ``note`` where a rate is not resolved.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    """
    check_draws(n_draws, level, seed)
    positions = None if pairs is None else check_pairs(faces, pairs)
    groups, codes = _groups(faces, group)
    folds = _folds(pairs)
    n_comparisons = len(faces) * (len(faces) - 1) // 2
    if pairs is None and n_comparisons > _MOST_COMPARISONS:
        raise ParameterError(
            f"all against all are {n_comparisons:,} comparisons of {len(faces):,} faces, more than "
            f"the {_MOST_COMPARISONS:,} that are held at once; give pairs=, as fl.make_pairs draws "
            f"them"
        )
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
        progress=progress,
    )
    url = str(tree.attrs["store"])
    names = [str(name) for name in tree.attrs["models"]]
    found = []
    for name in names:
        embeddings = open_embeddings(url, model=name).sel(face=faces.names).to_numpy()
        whole = ~faces.degraded
        thresholds, n_impostor = impostor_thresholds(
            embeddings[whole], faces.subjects[whole], faces.sources[whole]
        )
        if positions is None:
            listed = compare_all(embeddings, faces.subjects, faces.sources)
        else:
            listed = compare_pairs(embeddings, faces.subjects, positions)
        one = figures_of(
            listed,
            thresholds=thresholds,
            groups=groups,
            codes=codes,
            n_draws=n_draws,
            level=level,
            seed=seed,
        )
        one["impostor_comparisons"] = ((), n_impostor)
        failed = ~is_usable(embeddings)
        one["failure_to_acquire"] = (
            ("group", "estimate"),
            failure_rates(failed, listed.subjects, groups, codes, n_draws, level, seed),
        )
        _add_extremes(one, listed, np.array(faces.names, object))
        if folds is not None and positions is not None:
            _add_accuracy(one, embeddings, listed, positions, folds, n_draws, level, seed)
        found.append(one)
    if group is not None and not any(
        int(one[name].sel(group=MIXED)) for one in found for name in ("n_genuine", "n_impostor")
    ):
        found = [one.drop_sel(group=MIXED) for one in found]
    result = xr.concat(found, pd.Index(np.array(names, object), name="model"))
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
        raise ParameterError("embeddings={} must hold those of at least one model")
    for name, values in embeddings.items():
        if np.ndim(values) != 2 or len(values) != len(faces):
            raise ParameterError(
                f"embeddings of model {name!r} have shape {np.shape(values)} for {len(faces)} "
                f"faces; expected (face, feature)"
            )
    return {name: np.asarray(values, np.float32) for name, values in embeddings.items()}


def figures_of(
    comparisons: Comparisons,
    *,
    thresholds: Sequence[float],
    groups: Sequence[str] = (ALL,),
    codes: npt.NDArray[np.integer] | None = None,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute verification figures from one model's comparisons.

    Parameters
    ----------
    comparisons
        The comparisons.
    thresholds
        Decision thresholds, one for each of :data:`freqlab.statistics.error_rates.FMRS`; NaN where
        a threshold is not resolved.
    groups
        Names of the groups; the first group contains all comparisons.
    codes
        Group of each face, counted from 1; -1 for a face without a group.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        As :func:`verify` describes, without the axis of models.
    """
    draws = draw_subjects(comparisons.n_subjects, n_draws, seed)
    edges = np.asarray(thresholds, float)
    n_groups, n_rates = len(groups), len(edges)
    eer, dprime = np.full((2, n_groups, 3), np.nan)
    fmr, fnmr = np.full((2, n_groups, n_rates, 3), np.nan)
    curve = np.full((n_groups, len(_CURVE_FMRS)), np.nan)
    counts = np.zeros((3, n_groups), np.int64)
    notes = np.full((n_groups, n_rates), "", object)
    for g in range(n_groups):
        part = (
            comparisons if g == 0 else comparisons.select(_members(comparisons, codes, g, groups))
        )
        genuine, impostor = part.by_kind
        subjects = np.unique(part.subjects[np.concatenate([part.reference, part.probe])])
        counts[:, g] = len(genuine), len(impostor), len(subjects)
        eer[g] = eer_interval(part, draws, level)
        dprime[g] = d_prime_interval(part, draws, level)
        for kind, scores, rates in ((True, genuine, fnmr), (False, impostor, fmr)):
            observed = _observed(scores, edges, genuine=kind)
            drawn = rates_at(part, edges, draws, genuine=kind)
            of_kind = part.select(part.genuine == kind)
            people = np.unique(of_kind.subjects[np.append(of_kind.reference, of_kind.probe)])
            for k in range(n_rates):
                interval = rate_interval(observed[k], drawn[:, k], len(people), level)
                rates[g, k] = observed[k], *interval
        for k, rate in enumerate(FMRS):
            notes[g, k] = _note(edges[k], rate, len(impostor))
            if notes[g, k]:
                fmr[g, k] = np.nan
            if np.isnan(edges[k]):
                fnmr[g, k] = np.nan
        curve[g] = _curve(genuine, impostor)
    genuine, impostor = comparisons.by_kind
    densities = [_density(scores) for scores in (genuine, impostor)]
    of_rates = ("group", "fmr", "estimate")
    return xr.Dataset(
        {
            "eer": (("group", "estimate"), eer),
            "d_prime": (("group", "estimate"), dprime),
            "threshold": ("fmr", edges),
            "false_match_rate": (of_rates, fmr),
            "false_non_match_rate": (of_rates, fnmr),
            "curve": (("group", "curve_fmr"), curve),
            "density": (("comparison", "score"), np.stack(densities)),
            "n_genuine": ("group", counts[0]),
            "n_impostor": ("group", counts[1]),
            "n_subjects": ("group", counts[2]),
            "note": (("group", "fmr"), notes),
        },
        coords={
            "group": list(groups),
            "fmr": list(FMRS),
            "estimate": _ESTIMATES,
            "curve_fmr": _CURVE_FMRS,
            "comparison": ["genuine", "impostor"],
            "score": (_BINS[1:] + _BINS[:-1]) / 2,
        },
    )


def summary_table(result: xr.Dataset, *, model: str, fmr: float = 1e-3) -> pd.DataFrame:
    """Tabulate the figures of one model: a row per group, intervals in brackets.

    The result's ``note`` gives the reason where a rate is not resolved.

    Parameters
    ----------
    result
        From :func:`verify`.
    model
        Name of the model.
    fmr
        Nominal false match rate of the decision threshold; one of the rates of the result.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such model or rate.
    """
    check_name("model", model, names_of(result, "model"))
    check_fmr(fmr)
    data = result.sel(model=model)
    at = data.sel(fmr=fmr, method="nearest")
    rows = {}
    for name in data["group"].to_numpy():
        here, there = data.sel(group=name), at.sel(group=name)
        rows[str(name)] = {
            "genuine": f"{int(here['n_genuine']):,}",
            "impostor": f"{int(here['n_impostor']):,}",
            "subjects": f"{int(here['n_subjects']):,}",
            "EER": percent(here["eer"]),
            f"FMR at {fmr:g}": percent(there["false_match_rate"]) or "not resolved",
            f"FNMR at {fmr:g}": percent(there["false_non_match_rate"])
            or ("" if int(here["n_genuine"]) == 0 else "no threshold"),
            "d'": with_bounds(here["d_prime"], ".2f"),
            "failure to acquire": percent(here["failure_to_acquire"]),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")


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
            f"{int(pairs['fold'].isna().sum())} of {len(pairs)} pairs have no fold; give each one, "
            f"or leave the column out"
        )
    folds = pairs["fold"].to_numpy()
    return folds if len(np.unique(folds)) > 1 else None


def _members(
    comparisons: Comparisons,
    codes: npt.NDArray[np.integer] | None,
    g: int,
    groups: Sequence[str],
) -> npt.NDArray[np.bool_]:
    if codes is None:
        raise ParameterError("groups without the group of each face")
    first, second = codes[comparisons.reference], codes[comparisons.probe]
    if groups[g] == MIXED:
        return np.asarray((first != second) | (first < 0))
    return np.asarray((first == g) & (second == g))


def _observed(scores: npt.NDArray[np.float32], thresholds: Floats, *, genuine: bool) -> Floats:
    if len(scores) == 0:
        return np.full(len(thresholds), np.nan)
    below = np.searchsorted(np.sort(scores.astype(float)), thresholds) / len(scores)
    return np.where(np.isnan(thresholds), np.nan, below if genuine else 1 - below)


def _note(threshold: float, rate: float, n_impostor: int) -> str:
    """Reason why a false match rate is not resolved; empty if it is resolved."""
    needed = comparisons_needed(rate)
    if np.isnan(threshold):
        return f"no threshold: it takes {needed:,} impostor comparisons of the face set"
    if n_impostor < needed:
        return f"{n_impostor:,} impostor comparisons; it takes {needed:,}"
    return ""


def _curve(genuine: npt.NDArray[np.float32], impostor: npt.NDArray[np.float32]) -> Floats:
    """False non-match rate at the lowest threshold that keeps each false match rate."""
    if min(len(genuine), len(impostor)) == 0:
        return np.full(len(_CURVE_FMRS), np.nan)
    _, fmr, fnmr = error_curve(genuine, impostor)
    at = np.searchsorted(-fmr, -_CURVE_FMRS * (1 + 1e-9))  # rates fall along the thresholds
    resolved = _CURVE_FMRS * len(impostor) >= 10
    return np.where(resolved | (_CURVE_FMRS == 1), fnmr[np.minimum(at, len(fnmr) - 1)], np.nan)


def _density(scores: npt.NDArray[np.float32]) -> Floats:
    if len(scores) == 0:
        return np.full(len(_BINS) - 1, np.nan)
    return np.histogram(scores, bins=_BINS, density=True)[0]


def failure_rates(
    failed: npt.NDArray[np.bool_],
    subjects: npt.NDArray[np.int32],
    groups: Sequence[str],
    codes: npt.NDArray[np.integer] | None,
    n_draws: int,
    level: float,
    seed: int,
) -> Floats:
    """Compute the share of faces without an embedding per group, with intervals over subjects.

    Parameters
    ----------
    failed, subjects
        Whether each face failed, and the number of its subject ``(face,)``.
    groups, codes, n_draws, level, seed
        As for :func:`figures_of`.

    Returns
    -------
    numpy.ndarray
        ``(group, 3)``: value, lower, upper; NaN for the mixed group.
    """
    n_subjects = int(subjects.max(initial=-1)) + 1
    draws = draw_subjects(n_subjects, n_draws, seed).astype(float)
    rates = np.full((len(groups), 3), np.nan)
    for g in range(len(groups)):
        if groups[g] == MIXED:
            continue
        here = np.ones(len(failed), bool) if g == 0 or codes is None else codes == g
        if not here.any():
            continue
        lost = np.bincount(subjects[here], weights=failed[here], minlength=n_subjects)
        total = np.bincount(subjects[here], minlength=n_subjects)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = (draws @ lost) / (draws @ total)
        observed = float(failed[here].mean())
        n_here = len(np.unique(subjects[here]))
        rates[g] = observed, *rate_interval(observed, drawn, n_here, level)
    return rates


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
    embeddings: npt.NDArray[np.floating],
    comparisons: Comparisons,
    positions: npt.NDArray[np.integer],
    folds: npt.NDArray[Any],
    n_draws: int,
    level: float,
    seed: int,
) -> None:
    """Add the accuracy over the folds, with an interval at the thresholds of the folds."""
    usable = is_usable(embeddings)[positions].all(axis=1)
    scores = np.full(len(positions), np.nan)
    scores[usable] = comparisons.scores
    one, other = comparisons.subjects[positions].T
    genuine = one == other
    found = accuracy_by_folds(scores, genuine, folds)
    thresholds = found.thresholds[np.searchsorted(np.unique(folds), folds)]
    right = ((scores >= thresholds) == genuine) & usable
    of_fold = np.searchsorted(np.unique(folds), folds)
    errors = np.empty(n_draws)
    for d, counts in enumerate(draw_subjects(comparisons.n_subjects, n_draws, seed).astype(float)):
        weights = counts[one] * np.where(genuine, 1.0, counts[other])
        total = np.bincount(of_fold, weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            by_fold = np.bincount(of_fold, weights * ~right) / total
        errors[d] = by_fold[total > 0].mean() if (total > 0).any() else np.nan
    n_subjects = len(np.unique(np.concatenate([one, other])))
    lower, upper = rate_interval(1 - found.mean, errors, n_subjects, level)
    result["accuracy"] = ("estimate", [found.mean, 1 - upper, 1 - lower])
    result["accuracy_standard_error"] = ((), found.standard_error)
    result["accuracy_by_fold"] = ("fold", found.by_fold)
    result["fold_threshold"] = ("fold", found.thresholds)


def labelled(result: xr.Dataset) -> xr.Dataset:
    """Set the long name and unit of every variable."""
    names = {
        "eer": ("equal error rate", "1"),
        "d_prime": ("d'", "1"),
        "threshold": ("decision threshold", "cosine similarity"),
        "false_match_rate": ("false match rate at the threshold", "1"),
        "false_non_match_rate": ("false non-match rate at the threshold", "1"),
        "failure_to_acquire": ("failure-to-acquire rate", "1"),
        "curve": ("false non-match rate", "1"),
        "density": ("probability density", "1"),
        "n_genuine": ("genuine comparisons", "1"),
        "n_impostor": ("impostor comparisons", "1"),
        "n_subjects": ("subjects", "1"),
        "impostor_comparisons": ("impostor comparisons behind the thresholds", "1"),
        "accuracy": ("accuracy over the folds", "1"),
        "accuracy_standard_error": ("standard error of the accuracy", "1"),
        "extreme_similarity": ("cosine similarity", "1"),
        "fmr": ("nominal false match rate", "1"),
        "curve_fmr": ("false match rate", "1"),
        "score": ("cosine similarity", "1"),
    }
    return named(result, names)

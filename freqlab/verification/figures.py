"""Verification figures of one model's comparisons, with intervals over subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import named
from freqlab.errors import ParameterError
from freqlab.faces.groups import ALL, MIXED
from freqlab.statistics.error_rates import FMRS, Comparisons, comparisons_needed, error_curve
from freqlab.statistics.rate_intervals import (
    eer_estimate,
    mean_rate,
    rate_estimates,
)
from freqlab.statistics.resampling import ESTIMATES, d_prime_interval, draw_subjects

__all__ = [
    "CURVE_FMRS",
    "DENSITY_BINS",
    "GroupFigures",
    "dataset_of",
    "failure_rates",
    "figures_of",
    "labelled",
    "note_on_rate",
]

CURVE_FMRS = np.logspace(-6, 0, 121)
DENSITY_BINS = np.linspace(-1, 1, 201)

Floats = npt.NDArray[np.float64]


def figures_of(
    comparisons: Comparisons,
    *,
    thresholds: Sequence[float],
    fmrs: Sequence[float] = FMRS,
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
        Decision thresholds, one for each of `fmrs`; NaN where a threshold is not resolved.
    fmrs
        False match rates of the thresholds.
    groups
        Names of the groups; the first group contains all comparisons.
    codes
        Group of each face, counted from 1; -1 for a face without a group.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        As :func:`freqlab.verify` describes, without the axis of models.
    """
    draws = draw_subjects(comparisons.n_subjects, n_draws, seed)
    edges = np.asarray(thresholds, float)
    of_groups = []
    for g in range(len(groups)):
        part = comparisons
        if g > 0:
            part = comparisons.select(_members(comparisons, codes, g, groups))
        of_groups.append(_figures_of_group(part, edges, fmrs, draws, level))
    densities = np.stack([_density(scores) for scores in comparisons.by_kind])
    return dataset_of(of_groups, densities, thresholds=edges, fmrs=fmrs, groups=groups)


def dataset_of(
    of_groups: Sequence[GroupFigures],
    densities: Floats,
    *,
    thresholds: Floats,
    fmrs: Sequence[float],
    groups: Sequence[str],
) -> xr.Dataset:
    """Combine the figures of groups into the result of :func:`figures_of`.

    `densities` ``(2, bin)`` are those of all genuine and all impostor scores.
    """
    figures = GroupFigures(*(np.stack(values) for values in zip(*of_groups, strict=True)))
    of_rates = ("group", "fmr", "estimate")
    return xr.Dataset(
        {
            "eer": (("group", "estimate"), figures.eer),
            "d_prime": (("group", "estimate"), figures.d_prime),
            "threshold": ("fmr", thresholds),
            "false_match_rate": (of_rates, figures.false_match_rate),
            "false_non_match_rate": (of_rates, figures.false_non_match_rate),
            "curve": (("group", "curve_fmr"), figures.curve),
            "density": (("comparison", "score"), densities),
            "n_genuine": ("group", figures.counts[:, 0]),
            "n_impostor": ("group", figures.counts[:, 1]),
            "n_subjects": ("group", figures.counts[:, 2]),
            "eer_people": ("group", figures.counts[:, 3]),
            "false_match_people": (("group", "fmr"), figures.false_match_people),
            "false_non_match_people": (("group", "fmr"), figures.false_non_match_people),
            "note": (("group", "fmr"), figures.notes),
        },
        coords={
            "group": list(groups),
            "fmr": list(fmrs),
            "estimate": list(ESTIMATES),
            "curve_fmr": CURVE_FMRS,
            "comparison": ["genuine", "impostor"],
            "score": (DENSITY_BINS[1:] + DENSITY_BINS[:-1]) / 2,
        },
    )


def failure_rates(
    failed: npt.NDArray[np.bool_],
    subjects: npt.NDArray[np.int32],
    groups: Sequence[str],
    codes: npt.NDArray[np.integer] | None,
    level: float,
) -> Floats:
    """Compute the share of faces without an embedding per group, with intervals over subjects.

    Parameters
    ----------
    failed, subjects
        Whether each face failed, and the number of its subject ``(face,)``.
    groups, codes, level
        As for :func:`figures_of`.

    Returns
    -------
    numpy.ndarray
        ``(group, 3)``: value, lower, upper; NaN for the mixed group.
    """
    rates = np.full((len(groups), 3), np.nan)
    for g in range(len(groups)):
        if groups[g] == MIXED:
            continue
        members = np.ones(len(failed), bool) if g == 0 or codes is None else codes == g
        own = np.stack([subjects[members]] * 2)
        n_faces = own.shape[1]
        failures = failed[members].astype(float)
        rates[g] = mean_rate(failures, own, n_photographs=n_faces, level=level).estimates
    return rates


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
        "eer_people": ("people in a false non-match at the threshold of the EER", "1"),
        "false_match_people": ("people in a false match at the threshold", "1"),
        "false_non_match_people": ("people in a false non-match at the threshold", "1"),
        "impostor_comparisons": ("impostor comparisons behind the thresholds", "1"),
        "accuracy": ("accuracy over the folds", "1"),
        "accuracy_standard_error": ("standard error of the accuracy", "1"),
        "extreme_similarity": ("cosine similarity", "1"),
        "fmr": ("nominal false match rate", "1"),
        "curve_fmr": ("false match rate", "1"),
        "score": ("cosine similarity", "1"),
    }
    return named(result, names)


class GroupFigures(NamedTuple):
    """Figures of a group of comparisons, or of all groups along the first axis."""

    eer: Floats
    """``(estimate,)``."""
    d_prime: Floats
    """``(estimate,)``."""
    false_match_rate: Floats
    """``(threshold, estimate)``."""
    false_non_match_rate: Floats
    """``(threshold, estimate)``."""
    curve: Floats
    """False non-match rate at each false match rate of the curve ``(rate,)``."""
    false_match_people: npt.NDArray[np.int64]
    """``(threshold,)``."""
    false_non_match_people: npt.NDArray[np.int64]
    """``(threshold,)``."""
    counts: npt.NDArray[np.int64]
    """Genuine comparisons, impostor comparisons, subjects, people who err at the EER."""
    notes: npt.NDArray[np.object_]
    """Reason why a rate is not resolved ``(threshold,)``."""


def _figures_of_group(
    comparisons: Comparisons,
    thresholds: Floats,
    fmrs: Sequence[float],
    draws: npt.NDArray[np.int64],
    level: float,
) -> GroupFigures:
    """Compute the figures of the comparisons of one group."""
    genuine, impostor = comparisons.by_kind
    faces = np.concatenate([comparisons.reference, comparisons.probe])
    n_subjects = len(np.unique(comparisons.subjects[faces]))
    fnmr = rate_estimates(comparisons, thresholds, level, genuine=True)
    fmr = rate_estimates(comparisons, thresholds, level, genuine=False)
    eer = eer_estimate(comparisons, level)
    notes = np.array(
        [note_on_rate(t, rate, len(impostor)) for t, rate in zip(thresholds, fmrs, strict=True)],
        object,
    )
    fmr.estimates[notes != ""] = np.nan
    return GroupFigures(
        eer.estimates,
        np.array(d_prime_interval(comparisons, draws, level)),
        fmr.estimates,
        fnmr.estimates,
        _curve(genuine, impostor),
        fmr.n_erring,
        fnmr.n_erring,
        np.array([len(genuine), len(impostor), n_subjects, eer.n_erring], np.int64),
        notes,
    )


def _members(
    comparisons: Comparisons,
    codes: npt.NDArray[np.integer] | None,
    g: int,
    groups: Sequence[str],
) -> npt.NDArray[np.bool_]:
    """Whether each comparison belongs to group `g`, or, for the mixed group, to no other group.

    Raises
    ------
    ParameterError
        If the groups of the faces are not given.
    """
    if codes is None:
        raise ParameterError(
            "codes=None: with several groups, codes must give the group of each face"
        )
    first, second = codes[comparisons.reference], codes[comparisons.probe]
    if groups[g] == MIXED:
        return np.asarray((first != second) | (first < 0))
    return np.asarray((first == g) & (second == g))


def note_on_rate(threshold: float, rate: float, n_impostor: int) -> str:
    """Reason why a false match rate is not resolved; empty if it is resolved."""
    needed = comparisons_needed(rate)
    if np.isnan(threshold):
        return f"no threshold: {needed:,} impostor comparisons of the face set are required"
    if n_impostor < needed:
        return f"{n_impostor:,} impostor comparisons; {needed:,} are required"
    return ""


def _curve(genuine: npt.NDArray[np.float32], impostor: npt.NDArray[np.float32]) -> Floats:
    """False non-match rate at the lowest threshold that does not exceed each false match rate."""
    if min(len(genuine), len(impostor)) == 0:
        return np.full(len(CURVE_FMRS), np.nan)
    _, fmr, fnmr = error_curve(genuine, impostor)
    at = np.searchsorted(-fmr, -CURVE_FMRS * (1 + 1e-9))  # fmr decreases with the threshold
    resolved = CURVE_FMRS * len(impostor) >= 10
    return np.where(resolved | (CURVE_FMRS == 1), fnmr[np.minimum(at, len(fnmr) - 1)], np.nan)


def _density(scores: npt.NDArray[np.float32]) -> Floats:
    """Probability density of scores in the bins; NaN without scores."""
    if len(scores) == 0:
        return np.full(len(DENSITY_BINS) - 1, np.nan)
    return np.histogram(scores, bins=DENSITY_BINS, density=True)[0]

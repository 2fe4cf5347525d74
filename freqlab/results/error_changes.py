"""Error rates of two sets of similarities of the same pairs, and their paired differences."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.statistics.error_rates import Comparisons
from freqlab.statistics.rate_differences import rate_differences
from freqlab.statistics.rate_intervals import eer_estimate, rate_estimates
from freqlab.statistics.resampling import rates_at

__all__ = ["ErrorChanges", "comparisons_of_pairs", "eer_of_draws", "error_changes", "error_rates"]

Floats = npt.NDArray[np.float64]

_RATES_PER_STEP = 1 << 22  # rates of draws and thresholds held in memory at once


class ErrorChanges(NamedTuple):
    """Differences of error rates over the same pairs, each with value, lower and upper."""

    eer: Floats
    """``(estimate,)``."""
    fnmr: Floats
    """At each threshold ``(threshold, estimate)``."""


def comparisons_of_pairs(similarity: Floats, codes: npt.NDArray[np.int64]) -> Comparisons:
    """Similarities of pairs in the form of the statistics; each face counts as a separate one.

    Parameters
    ----------
    similarity
        ``(pair,)``; pairs with NaN are left out.
    codes
        Numbers of the two subjects of each pair ``(2, pair)``.
    """
    n_pairs = len(similarity)
    places = np.arange(2 * n_pairs, dtype=np.int32)
    every = Comparisons(
        similarity.astype(np.float32),
        places[:n_pairs],
        places[n_pairs:],
        codes.reshape(-1).astype(np.int32),
    )
    return every.select(np.isfinite(similarity))


def error_rates(
    comparisons: Comparisons, thresholds: Floats, level: float
) -> tuple[Floats, Floats]:
    """Equal error rate, and false non-match rate at each threshold, with their intervals.

    Parameters
    ----------
    comparisons
        The comparisons.
    thresholds
        ``(threshold,)``; NaN where there is none.
    level
        Coverage.

    Returns
    -------
    eer, fnmr : numpy.ndarray
        ``(3,)`` and ``(threshold, 3)``: value, lower, upper.
    """
    fnmr = rate_estimates(comparisons, thresholds, level, genuine=True)
    return eer_estimate(comparisons, level).estimates, fnmr.estimates


def error_changes(
    similarity: tuple[Floats, Floats],
    thresholds: tuple[Floats, Floats],
    codes: npt.NDArray[np.int64],
    draws: npt.NDArray[np.integer],
    level: float,
) -> ErrorChanges:
    """Differences of the error rates of a run from those of another on the same pairs.

    Parameters
    ----------
    similarity
        Of the run and of the run to subtract, each ``(pair,)``. Pairs with NaN in one of the two
        are left out of both.
    thresholds
        Of the run and of the run to subtract, each ``(threshold,)``; they are fixed in all draws.
    codes
        Numbers of the two subjects of each pair ``(2, pair)``.
    draws
        From :func:`freqlab.statistics.resampling.draw_subjects`; the same for both.
    level
        Coverage of the paired intervals.
    """
    both = np.isfinite(similarity[0]) & np.isfinite(similarity[1])
    compared = [comparisons_of_pairs(values[both], codes[:, both]) for values in similarity]
    (eer, fnmr), (base_eer, base_fnmr) = (
        error_rates(one, edges, level) for one, edges in zip(compared, thresholds, strict=True)
    )
    eer_drawn, base_eer_drawn = (eer_of_draws(one, draws) for one in compared)
    fnmr_drawn, base_fnmr_drawn = (
        rates_at(one, edges, draws, genuine=True)
        for one, edges in zip(compared, thresholds, strict=True)
    )
    return ErrorChanges(
        rate_differences(eer, base_eer, eer_drawn - base_eer_drawn, level),
        rate_differences(fnmr, base_fnmr, fnmr_drawn - base_fnmr_drawn, level),
    )


def eer_of_draws(comparisons: Comparisons, draws: npt.NDArray[np.integer]) -> Floats:
    """Equal error rate in each bootstrap draw, as :func:`equal_error_rate` defines it.

    Parameters
    ----------
    comparisons
        The comparisons.
    draws
        From :func:`freqlab.statistics.resampling.draw_subjects`.

    Returns
    -------
    numpy.ndarray
        ``(draw,)``; NaN for a draw without genuine or without impostor comparisons.
    """
    scores = np.unique(comparisons.scores.astype(np.float64))
    drawn = np.full(len(draws), np.nan)
    if len(scores) == 0:
        return drawn
    thresholds = np.append(scores, np.nextafter(scores[-1], np.inf))
    step = max(1, _RATES_PER_STEP // len(thresholds))
    for start in range(0, len(draws), step):
        part = draws[start : start + step]
        fnmr = rates_at(comparisons, thresholds, part, genuine=True)
        fmr = rates_at(comparisons, thresholds, part, genuine=False)
        known = np.flatnonzero(np.isfinite(fnmr + fmr).all(axis=1))
        fnmr, fmr = fnmr[known], fmr[known]
        row = np.arange(len(known))
        # at the lowest threshold FNMR is 0 and FMR is 1, at the highest the reverse
        after = np.maximum(1, (fnmr >= fmr).argmax(axis=1))
        gap_before = (fmr - fnmr)[row, after - 1]
        gap_after = (fnmr - fmr)[row, after]
        share = gap_before / (gap_before + gap_after)
        before_fnmr = fnmr[row, after - 1]
        drawn[start + known] = before_fnmr + share * (fnmr[row, after] - before_fnmr)
    return drawn

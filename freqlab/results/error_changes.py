"""Error rates of two sets of similarities of the same pairs, and their paired differences."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.statistics.error_rates import Comparisons
from freqlab.statistics.rate_differences import rate_differences
from freqlab.statistics.rate_intervals import eer_estimate, rate_estimates
from freqlab.statistics.resampling import eer_of_draws, rates_at

__all__ = ["ErrorChanges", "comparisons_of_pairs", "error_changes", "error_rates"]

Floats = npt.NDArray[np.float64]


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

"""Paired differences of error rates, and the condition under which they are put into words.

Two rates of one study are measured on the same people, so overlap of their intervals is no test of
their difference: intervals can overlap although their difference is far from zero, because what the
two rates share cancels in it. A difference is therefore a sum over the pairs of both rates, and its
interval follows from the dyadic-robust variance of this sum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from freqlab.statistics.rate_intervals import dyadic_variance
from freqlab.statistics.resampling import FEWEST_PEOPLE, estimates_of

__all__ = ["FEWEST_PEOPLE", "match_rate_difference", "points"]

Floats = npt.NDArray[np.float64]


def match_rate_difference(
    first: Floats,
    second: Floats,
    couples: tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]],
    *,
    level: float,
) -> Floats:
    """Compute the difference of two mean rates over couples, and its interval over people.

    One couple more that differs in either direction is added to the variance, as in the adjusted
    interval of Bonett and Price (2012) for paired proportions, so that it is not zero where no
    couple differs.

    Parameters
    ----------
    first, second
        Rate of each morph ``(morph,)``, 0..1, of two kinds of morph.
    couples
        Numbers of the two people of each morph ``(2, morph)``, of both kinds.
    level
        Coverage.

    Returns
    -------
    numpy.ndarray
        ``(3,)``: mean of `first` minus mean of `second`, and the bounds of its interval; NaN where
        a rate is missing.
    """
    if min(len(first), len(second)) == 0:
        return np.full(3, np.nan)
    value = float(first.mean() - second.mean())
    contributions = np.concatenate(
        [(first - first.mean()) / len(first), -(second - second.mean()) / len(second)]
    )
    variance = float(dyadic_variance(contributions, np.concatenate(couples, axis=1)))
    n_couples = min(np.unique(np.sort(ends, axis=0), axis=1).shape[1] for ends in couples)
    n_people = min(len(np.unique(ends)) for ends in couples)
    width = stats.t.ppf((1 + level) / 2, n_people - 1) * np.sqrt(variance + 2 / n_couples**2)
    return np.array([value, max(-1.0, value - width), min(1.0, value + width)])


def points(difference: xr.DataArray, *, absolute: bool = False) -> str:
    """Format a difference of rates in percentage points: "+18.3 points [+5.0, +31.2]".

    Parameters
    ----------
    difference
        Along ``estimate``: value, lower, upper; -1..1. No interval where its bounds are NaN;
        empty text where the value is.
    absolute
        Whether to give the magnitude without a sign, for a sentence that states the direction:
        "18.3 points [5.0, 31.2]".
    """
    value, lower, upper = (100 * float(bound) for bound in estimates_of(difference))
    if absolute and value < 0:
        value, lower, upper = -value, -upper, -lower
    if np.isnan(value):
        return ""
    form = ".1f" if absolute else "+.1f"
    text = f"{value:{form}} points"
    return text if np.isnan(lower) else f"{text} [{lower:{form}},\u00a0{upper:{form}}]"

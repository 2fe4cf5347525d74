"""Differences of error rates with paired intervals over subjects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from freqlab.statistics.resampling import with_interval

__all__ = ["rate_differences"]

Floats = npt.NDArray[np.float64]


def rate_differences(
    rates: Floats,
    base: Floats,
    drawn: Floats,
    level: float,
    *,
    combine: npt.ArrayLike = False,
) -> Floats:
    """Differences of error rates from a base rate, with intervals.

    The interval is the percentile interval of the paired differences. Where the two rates are of
    different people, or few people err, so that draws vary the rates too little, the intervals of
    the two rates are combined by square-and-add (Newcombe 1998), as of independent rates.

    Parameters
    ----------
    rates
        Rates with their intervals ``(..., 3)``: value, lower, upper.
    base
        The rate to subtract, with its interval; broadcast to the shape of `rates`.
    drawn
        Rate minus base rate in each bootstrap draw ``(draw, ...)``, both from the same draw.
    level
        Coverage.
    combine
        Where to combine the intervals of the rates ``(...)``; always where a rate is zero or one.

    Returns
    -------
    numpy.ndarray
        ``(..., 3)``: value, lower, upper. NaN where a rate is NaN; bounds are NaN where one of the
        two rates has no interval.
    """
    rates, base = np.broadcast_arrays(rates, base)
    differences = with_interval(rates[..., 0] - base[..., 0], drawn, level)
    value = differences[..., 0]
    below = np.hypot(rates[..., 0] - rates[..., 1], base[..., 2] - base[..., 0])
    above = np.hypot(rates[..., 2] - rates[..., 0], base[..., 0] - base[..., 1])
    combined = np.stack([value - below, value + above], axis=-1)
    extreme = np.isin(rates[..., 0], [0, 1]) | np.isin(base[..., 0], [0, 1])
    combining = np.broadcast_to(extreme | np.asarray(combine), value.shape)[..., None]
    bounds = np.where(combining, combined, differences[..., 1:])
    known = np.isfinite(rates + base).all(axis=-1, keepdims=True)
    differences[..., 1:] = np.where(known, bounds, np.nan)
    return differences

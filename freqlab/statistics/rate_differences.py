"""Differences of error rates with paired intervals over subjects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from freqlab.statistics.resampling import with_interval

__all__ = ["rate_differences"]

Floats = npt.NDArray[np.float64]


def rate_differences(rates: Floats, base: Floats, drawn: Floats, level: float) -> Floats:
    """Differences of error rates from a base rate, with intervals.

    The interval is the percentile interval of the paired differences. Where one of the two rates
    is zero, no draw varies it, so that percentiles would be too narrow. There the intervals of the
    two rates are combined by square-and-add, as if the rates were independent (our choice).

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
    has_zero = (rates[..., :1] == 0) | (base[..., :1] == 0)
    bounds = np.where(has_zero, combined, differences[..., 1:])
    known = np.isfinite(rates + base).all(axis=-1, keepdims=True)
    differences[..., 1:] = np.where(known, bounds, np.nan)
    return differences

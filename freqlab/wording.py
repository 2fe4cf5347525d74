"""Figures with their intervals as text, for tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

__all__ = ["join", "percent", "signed"]

_NBSP = "\u00a0"


def percent(values: xr.DataArray, digits: int | None = None) -> str:
    """A rate and its interval in per cent; empty where it is NaN.

    Parameters
    ----------
    values
        Along ``estimate``: value, lower, upper; 0..1.
    digits
        After the point; two below ten per cent and one from there on by default.
    """
    value, lower, upper = (100 * float(values.sel(estimate=e)) for e in ("value", "lower", "upper"))
    if np.isnan(value):
        return ""
    if digits is None:
        digits = 2 if value < 10 else 1
    text = f"{value:.{digits}f}{_NBSP}%"
    return text if np.isnan(lower) else f"{text} [{lower:.{digits}f},{_NBSP}{upper:.{digits}f}]"


def signed(values: xr.DataArray, digits: int) -> str:
    """A change and its interval, each with its sign; parameters as for :func:`percent`."""
    value, lower, upper = (float(values.sel(estimate=e)) for e in ("value", "lower", "upper"))
    text = f"{value:+.{digits}f}"
    return text if np.isnan(lower) else f"{text} [{lower:+.{digits}f},{_NBSP}{upper:+.{digits}f}]"


def join(texts: Sequence[str], last: str = "and") -> str:
    """Texts in a row: "a, b and c"."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {last} {texts[-1]}"

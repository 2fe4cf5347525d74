"""Numbers with their intervals as text, for tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.text.shown import as_html

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

__all__ = ["NBSP", "join", "percent", "signed", "styled", "with_bounds"]

NBSP = "\u00a0"
"""No-break space, between a number and its unit."""


def percent(values: xr.DataArray, digits: int | None = None) -> str:
    """Format a rate and its interval in per cent; empty where it is NaN.

    Parameters
    ----------
    values
        Along ``estimate``: value, lower, upper; 0..1.
    digits
        Number of decimals; by default two below ten per cent and one from there on.
    """
    if digits is None:
        digits = 2 if 100 * float(values.sel(estimate="value")) < 10 else 1
    return with_bounds(100 * values, f".{digits}f", unit=f"{NBSP}%")


def signed(values: xr.DataArray, digits: int) -> str:
    """Format a change and its interval, with signs; parameters as for :func:`percent`."""
    return with_bounds(values, f"+.{digits}f")


def with_bounds(values: xr.DataArray, form: str, *, unit: str = "") -> str:
    """Format a number and its interval: "0.41 [0.35, 0.47]"; empty where it is NaN.

    Parameters
    ----------
    values
        Along ``estimate``: value, lower, upper; no interval where its bounds are NaN.
    form
        Format of a number, such as ``".2f"``.
    unit
        Text after the number.
    """
    value, lower, upper = (float(values.sel(estimate=e)) for e in ("value", "lower", "upper"))
    if np.isnan(value):
        return ""
    text = f"{value:{form}}{unit}"
    return text if np.isnan(lower) else f"{text} [{lower:{form}},{NBSP}{upper:{form}}]"


def join(texts: Sequence[str], last: str = "and") -> str:
    """Join texts: "a, b and c"."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def styled(table: pd.DataFrame) -> Styler:
    """Style a table for HTML, with its texts escaped: cells, labels and the names of axes.

    pandas escapes none of these in a styled table.
    """
    shown = table.map(_escaped)
    for axis in ("index", "columns"):
        labels = getattr(shown, axis)
        if isinstance(labels, pd.MultiIndex):
            levels = [labels.get_level_values(i).map(_escaped) for i in range(labels.nlevels)]
            escaped: pd.Index[Any] = pd.MultiIndex.from_arrays(levels)
        else:
            escaped = labels.map(_escaped)
        shown = shown.set_axis(escaped.set_names([_escaped(n) for n in labels.names]), axis=axis)
    return shown.style


def _escaped(value: Any) -> Any:
    return as_html(value) if isinstance(value, str) else value

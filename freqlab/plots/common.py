"""What the figures share: one palette, labels from the data, new axes.

Colours are chosen for readers with colour-vision deficiency too, and no figure relies on colour
alone: lines that stand side by side differ in marker or dashes as well.

- :data:`CATEGORICAL`, for things that have no order: the palette of Okabe and Ito (*Color
  Universal Design*, 2008) without its yellow, which is too faint on white. The order is ours: each
  colour is the one farthest from those before it, to eyes with the worst of three deficiencies.
- :data:`SEQUENTIAL`, for what has an order but no sign; :func:`ordered_colours` draws from it.
- :data:`DIVERGING`, with zero in the middle: blue speaks for a match, red against it.
- :data:`NO_DATA`, for what has no value.
"""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from freqlab.text.shown import one_line

__all__ = [
    "CATEGORICAL",
    "COMPARISON_COLOURS",
    "DASHES",
    "DIVERGING",
    "LEGEND",
    "MARKERS",
    "NO_DATA",
    "SEQUENTIAL",
    "axis_label",
    "largest_absolute",
    "line_style",
    "new_axes",
    "ordered_colours",
    "shortened",
]

CATEGORICAL = ("#0072B2", "#E69F00", "#000000", "#56B4E9", "#D55E00", "#009E73", "#CC79A7")
"""Blue, orange, black, sky blue, vermilion, green, purple, in this order."""
DIVERGING = "RdBu"
SEQUENTIAL = "viridis"
NO_DATA = "0.85"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Of lines that stand side by side, in this order."""
DASHES = ("-", "--", "-.", ":")
"""Likewise."""
COMPARISON_COLOURS = dict(
    zip(("genuine", "impostor"), sns.color_palette(CATEGORICAL[:2]), strict=True)
)
"""Colours of genuine and impostor comparisons, in every figure."""
LEGEND: dict[str, Any] = {
    "fontsize": "small",
    "facecolor": "white",
    "edgecolor": "none",
    "framealpha": 0.8,
}
"""How legends look."""

_PAD = 0.08  # inches around new axes


def axis_label(
    values: xr.DataArray, *, units: str | None = None, name: str | None = None, width: int = 34
) -> str:
    """What to write at an axis: the data's ``long_name``, and its ``units`` in parentheses.

    Parameters
    ----------
    values
        The data that are drawn; without a ``long_name``, their name is taken.
    units
        Instead of the data's, where they are drawn in others, such as ``"%"``.
    name
        Instead of the data's ``long_name``.
    width
        Longest line, in characters.

    Returns
    -------
    str
        Units of 1 are left out; units stand in the last line, or in one of their own.
    """
    what = name or str(values.attrs.get("long_name", values.name))
    units = str(values.attrs.get("units", "1")) if units is None else units
    lines = textwrap.wrap(shortened(what, 200), width)
    if units != "1":
        shown = f"({units.replace(' per ', ' / ')})"
        if len(lines[-1]) + len(shown) < width:
            lines[-1] += f" {shown}"
        else:
            lines.append(shown)
    return "\n".join(lines)


def line_style(place: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line at a place among lines that stand side by side.

    No two of the first 56 are alike.
    """
    return {
        "color": CATEGORICAL[place % len(CATEGORICAL)],
        "marker": MARKERS[place % len(MARKERS)],
        "ls": DASHES[place % len(DASHES)],
    }


def ordered_colours(n: int) -> list[str]:
    """Colours of `n` lines that have an order, from dark to light, none too faint on white."""
    colours: list[str] = sns.color_palette(SEQUENTIAL, n + 1).as_hex()
    return colours[:n]


def largest_absolute(values: npt.NDArray[np.floating]) -> float:
    """Largest absolute value, to normalise by; 1 where there is none."""
    finite = np.abs(values[np.isfinite(values)])
    if len(finite) == 0 or finite.max() == 0:
        return 1.0
    return float(finite.max())


def new_axes(width: float, height: float) -> Axes:
    """The axes of a new figure of this size in inches."""
    figure = plt.figure(
        figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=_PAD, h_pad=_PAD)
    )
    return figure.add_subplot()


def shortened(name: str, length: int) -> str:
    """A name in a figure, cut in its middle, so that its end, which tells faces apart, stays.

    On one line, and with its dollar signs escaped: between two of them would be a formula. Before
    an underscore at its beginning, which would keep it out of a legend, stands an invisible space.
    """
    text = one_line(name, length).replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text

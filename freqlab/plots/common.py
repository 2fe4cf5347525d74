"""Shared parts of the figures: palette, labels from the data, new axes.

Colours suit readers with colour-vision deficiency, and no figure relies on colour alone: lines in
one figure differ in marker or dashes as well.

- :data:`CATEGORICAL`, for unordered categories: the palette of Okabe and Ito (*Color
  Universal Design*, 2008) without its yellow, which is too faint on white. The order is ours: each
  colour is the one farthest from those before it, under the worst of three deficiencies.
- :data:`SEQUENTIAL`, for ordered values without a sign; :func:`ordered_colours` samples it.
- :data:`DIVERGING`, with zero in the middle: blue supports a match, red opposes it.
- :data:`NO_DATA`, for missing values.
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
"""Markers of the lines of a figure, in this order."""
DASHES = ("-", "--", "-.", ":")
"""Dashes of the lines of a figure, in this order."""
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
"""Options of legends."""

_PAD = 0.08  # inches around new axes


def axis_label(
    values: xr.DataArray, *, units: str | None = None, name: str | None = None, width: int = 34
) -> str:
    """Label of an axis: the ``long_name`` of the data, and the ``units`` in parentheses.

    Parameters
    ----------
    values
        The data drawn; their name is used if they have no ``long_name``.
    units
        Units of the drawn values, such as ``"%"``, if they differ from those of the data.
    name
        Text instead of the ``long_name``.
    width
        Longest line in characters.

    Returns
    -------
    str
        Label without units of 1; units are in the last line or in a separate line.
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
    """Colour, marker and dashes of the line at a position in a figure.

    The first 56 are distinct.
    """
    return {
        "color": CATEGORICAL[place % len(CATEGORICAL)],
        "marker": MARKERS[place % len(MARKERS)],
        "ls": DASHES[place % len(DASHES)],
    }


def ordered_colours(n: int) -> list[str]:
    """Colours of `n` ordered lines, from dark to light, all visible on white."""
    colours: list[str] = sns.color_palette(SEQUENTIAL, n + 1).as_hex()
    return colours[:n]


def largest_absolute(values: npt.NDArray[np.floating]) -> float:
    """Largest absolute value, for normalisation; 1 if there is none."""
    finite = np.abs(values[np.isfinite(values)])
    if len(finite) == 0 or finite.max() == 0:
        return 1.0
    return float(finite.max())


def new_axes(width: float, height: float) -> Axes:
    """Axes of a new figure of this size in inches."""
    figure = plt.figure(
        figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=_PAD, h_pad=_PAD)
    )
    return figure.add_subplot()


def shortened(name: str, length: int) -> str:
    """Shorten a name in the middle, so that its end, which distinguishes faces, is kept.

    The name is on one line. Dollar signs are escaped, since two of them enclose a formula. A
    leading underscore, which would hide the name from legends, is preceded by an invisible space.
    """
    text = one_line(name, length).replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text

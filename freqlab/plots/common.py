"""What the figures share: colours and new axes.

Colours are safe for readers with colour-vision deficiency: a diverging red-blue map with zero in
the middle (blue speaks for a match, red against it), and a sequential map for what has no sign.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from freqlab.errors import check_name

__all__ = [
    "COMPARISON_COLOURS",
    "DIVERGING",
    "MARKERS",
    "NO_DATA",
    "SEQUENTIAL",
    "new_axes",
    "part_of",
    "shortened",
]

DIVERGING = "RdBu"
SEQUENTIAL = "viridis"
NO_DATA = "0.85"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Of lines that stand side by side, in this order."""
COMPARISON_COLOURS = dict(
    zip(("genuine", "impostor"), sns.color_palette("colorblind", 2), strict=True)
)
"""Colours of genuine and impostor comparisons, in every figure."""


def new_axes(width: float, height: float) -> Axes:
    """The axes of a new figure of this size in inches."""
    return plt.figure(figsize=(width, height), layout="constrained").add_subplot()


def shortened(name: str, length: int) -> str:
    """A name cut to a length in its middle, so that its end, which tells faces apart, stays."""
    if len(name) <= length:
        return name
    head = (length - 1) // 3
    return f"{name[:head]}…{name[head + 1 - length :]}"


def part_of(profiles: xr.Dataset, **names: str) -> xr.Dataset:
    """The part of a dataset that has these names along its axes, such as ``model="dlib"``.

    Raises
    ------
    UnknownNameError
        If there is none of a name.
    """
    for axis, name in names.items():
        check_name(axis, name, [str(known) for known in profiles[axis].to_numpy()])
    return profiles.sel(names)

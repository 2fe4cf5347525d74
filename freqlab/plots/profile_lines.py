"""Values of bands over the band axis: lines over frequency, points for bands without an order.

Rings and octaves are neighbouring intervals of frequency, so that a line between them shows a
course. Sectors are cyclic, and subbands of wavelets, parts of the colour and bands of the user's
own have no order: their values are points with intervals, not joined by a line.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from freqlab.plots.common import drawn_bounds
from freqlab.results.selection import bands_of

__all__ = ["draw_profile", "intervals_shown_as", "room_for_names"]

_LEVEL = 5  # characters of names for which figures have room anyway
_CHARACTER = 0.075  # inches

_SPREAD = 0.6  # width of a band over which the points of several profiles are spread
_WIDEST = 0.22  # distance between the points of two profiles

Floats = npt.NDArray[np.float64]


def draw_profile(
    ax: Axes,
    data: xr.Dataset,
    value: npt.ArrayLike,
    lower: npt.ArrayLike | None = None,
    upper: npt.ArrayLike | None = None,
    *,
    place: int = 0,
    n_places: int = 1,
    alpha: float = 0.25,
    interval_label: str | None = None,
    **style: Any,
) -> None:
    """Draw a value of each band, with its interval.

    Parameters
    ----------
    ax
        Axes, which :func:`freqlab.plots.common.frequency_axis` completes afterwards.
    data
        Dataset with ``band`` and ``band_bounds``.
    value
        Values ``(band,)``.
    lower, upper
        Bounds of the intervals ``(band,)``; none by default.
    place, n_places
        Number of this profile, and of the profiles on the axes: points of several profiles stand
        side by side within a band.
    alpha
        Opacity of the intervals of a line.
    interval_label
        Label of the intervals in the legend.
    **style
        Colour, marker, dashes and label, as for :meth:`matplotlib.axes.Axes.plot`.
    """
    centre = drawn_bounds(data).mean(axis=1)
    ordered = bands_of(data).radial
    if not ordered:
        step = min(_WIDEST, _SPREAD / max(n_places, 1))
        centre = centre + step * (place - (n_places - 1) / 2)
        style = {key: one for key, one in style.items() if key not in ("ls", "linestyle", "lw")}
        style |= {"ls": "none"}
        style.setdefault("marker", "o")
    if lower is not None and upper is not None:
        colour = style.get("color")
        low, high = np.asarray(lower, float), np.asarray(upper, float)
        if ordered:
            ax.fill_between(
                centre, low, high, color=colour, alpha=alpha, lw=0, label=interval_label
            )
        else:
            # one line with gaps, which the placement of legends avoids, unlike a collection
            ends = np.column_stack([low, high, np.full_like(low, np.nan)])
            ax.plot(np.repeat(centre, 3), ends.ravel(), color=colour, lw=1.4, label=interval_label)
    ax.plot(centre, np.asarray(value, float), **style)


def intervals_shown_as(data: xr.Dataset) -> str:
    """How the intervals of a profile are drawn, for legends: ``"shaded"`` or ``"bars"``."""
    return "shaded" if bands_of(data).radial else "bars"


def room_for_names(data: xr.Dataset) -> float:
    """Height in inches that long names of bands need below new axes, beyond that of numbers."""
    bands = bands_of(data)
    if bands.radial:
        return 0.0
    return _CHARACTER * max(0, max(map(len, bands.names)) - _LEVEL)

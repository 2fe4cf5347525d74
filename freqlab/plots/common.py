"""Shared parts of the figures: palette, labels from the data, new axes, the frequency axis.

Colours suit readers with colour-vision deficiency, and no figure relies on colour alone: lines in
one figure differ in marker or dashes as well.

- :data:`CATEGORICAL`, for unordered categories: the palette of Okabe and Ito (*Color
  Universal Design*, 2008) without its yellow, which is too faint on white. The order is ours: each
  colour is the one farthest from those before it, under the worst of three deficiencies.
- :data:`SEQUENTIAL`, for ordered values without a sign; :func:`ordered_colours` samples it.
- :data:`DIVERGING`, with zero in the middle: blue supports a match, red opposes it.
- :data:`NO_DATA`, for missing values.

A frequency axis has the bands at their frequencies. The band ``rest``, the corners of the plane
beyond the last ring, has a narrow place of its own behind an axis break: to scale it would take up
to a third of the axis, and few coefficients are in it.
"""

from __future__ import annotations

import textwrap
from typing import Any, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import AutoLocator
from matplotlib.transforms import Affine2D, ScaledTranslation

from freqlab.errors import ParameterError, check_name, check_number, check_side
from freqlab.results.selection import bands_of, only_model
from freqlab.text.shown import one_line

__all__ = [
    "CATEGORICAL",
    "COMPARISON_COLOURS",
    "DASHES",
    "DIVERGING",
    "LEGEND",
    "LONGEST_SIDE",
    "MARKERS",
    "MAX_WIDTH",
    "NO_DATA",
    "SEQUENTIAL",
    "Place",
    "axis_label",
    "check_size_or_axes",
    "drawn_bounds",
    "drawn_frequencies",
    "figure_size",
    "frequency_axis",
    "given_axes",
    "largest_absolute",
    "line_style",
    "new_axes",
    "no_room",
    "one_model",
    "ordered_colours",
    "panel_axes",
    "panel_place",
    "selected",
    "short_band_axis",
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
MAX_WIDTH = 7.6
"""Width in inches of the widest figures, for which the text of reports is made.

Pages are printed 7.32 inches wide: text of 8.33 points, ``"small"``, is printed at 8 points.
"""

LONGEST_SIDE = 100.0
"""Upper bound on the width and height of a figure in inches."""

Place: TypeAlias = tuple[float, float, float, float]
"""Left and lower edge, width and height in a figure, as fractions of its size."""

_PAD = 0.08  # inches around new axes
_BREAK = 0.025  # width of the axis break before the band "rest", relative to all other bands
_REST = 0.085  # width of the band "rest", relative to all other bands
_MOST_NAMES = 24  # bands other than rings that are named on an axis
_LEVEL_NAMES = 4  # bands up to which their names are horizontal
_SHORT_NAME = 6  # characters of names that are written on the axis of a panel
_PANEL_NAMES = 24  # characters of all names that fit side by side below a panel
_TICKLESS = 0.04  # share of the axis before the break without ticks, for the label "rest"
_SLASH = Path([(-2.2, -4.4), (2.2, 4.4)])  # in points


class _LocatorBeforeBreak(AutoLocator):
    """Automatic ticks up to the axis break."""

    def __init__(self, highest: float) -> None:
        super().__init__()
        self._highest = highest

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Locations of the ticks within an interval."""
        ticks = super().tick_values(vmin, min(vmax, self._highest))
        return [tick for tick in ticks if tick <= self._highest]


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
    lines = textwrap.wrap(shortened(what, 200), width, break_long_words=False)
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


def drawn_bounds(data: xr.Dataset) -> npt.NDArray[np.float64]:
    """Band edges on a frequency axis; the band without an upper edge is behind the axis break.

    Bands that are not intervals of frequency are side by side in their order, with a width of 1.

    Parameters
    ----------
    data
        Dataset with ``band_bounds``.

    Returns
    -------
    numpy.ndarray
        Lower and upper edge of each band, shape ``(band, 2)``.
    """
    bounds = np.array(data["band_bounds"].to_numpy(), float)
    if not bands_of(data).radial:
        places = np.arange(len(bounds), dtype=float)
        return np.column_stack([places, places + 1])
    last = bounds[-1, 0]
    if np.isinf(bounds[-1, 1]):
        scale = (last - bounds[0, 0]) or 1.0
        bounds[-1] = last + np.array([_BREAK, _BREAK + _REST]) * scale
    return bounds


def drawn_frequencies(
    frequencies: npt.NDArray[np.floating], data: xr.Dataset, *, corner: float
) -> npt.NDArray[np.float64]:
    """Places of frequencies on the axis that :func:`frequency_axis` makes.

    Parameters
    ----------
    frequencies
        Frequencies in the unit of the bands.
    data
        Dataset with ``band_bounds``.
    corner
        Highest frequency of the plane, the end of the band without an upper edge.

    Returns
    -------
    numpy.ndarray
        The frequencies themselves up to the axis break; those beyond it are spread over the
        narrow place of the last band.
    """
    values = np.asarray(frequencies, float)
    last, end = data["band_bounds"].to_numpy()[-1]
    if not np.isinf(end):
        return values
    left, right = drawn_bounds(data)[-1]
    within = np.interp(values, [last, max(corner, np.nextafter(last, np.inf))], [left, right])
    return np.where(values > last, within, values)


def frequency_axis(ax: Axes, data: xr.Dataset) -> None:
    """Make the horizontal axis a frequency axis, with a break before the band ``rest``.

    Call it after drawing the values: the break covers what is drawn across it.

    Parameters
    ----------
    ax
        Axes on which bands are drawn at :func:`drawn_bounds`.
    data
        Dataset with ``band_bounds`` and ``frequency``.
    """
    bounds = drawn_bounds(data)
    ax.set_xlim(bounds.min(), bounds.max())
    bands = bands_of(data)
    if not bands.radial:
        step = -(-len(bands) // _MOST_NAMES)
        places, names = bounds.mean(axis=1)[::step], bands.names[::step]
        ax.set_xticks(places, names, rotation=90 if len(bands) > _LEVEL_NAMES else 0)
        ax.set_xlabel("band")
        return
    ax.set_xlabel(axis_label(data["frequency"]))
    last, end = data["band_bounds"].to_numpy()[-1]
    if not np.isinf(end):
        return
    left, right = bounds[-1]
    ax.axvspan(last, left, -0.01, 1.01, color=ax.get_facecolor(), lw=0, zorder=2.8, clip_on=False)
    dots = Affine2D().scale(1 / 72) + ax.figure.dpi_scale_trans
    for x in (last, left):
        for y in (0, 1):
            place = ScaledTranslation(x, y, ax.get_xaxis_transform())  # type: ignore[arg-type]
            slash = PathPatch(_SLASH, lw=0.9, ec="0.15", transform=dots + place, zorder=2.9)
            ax.add_patch(slash)
            slash.set_clip_on(False)
    highest = last - _TICKLESS * (last - bounds[0, 0])
    ax.xaxis.set_major_locator(_LocatorBeforeBreak(float(highest)))
    ax.set_xticks([(left + right) / 2], ["rest"], minor=True)
    ax.tick_params(axis="x", which="minor", length=0, pad=7)  # in line with the other labels


def short_band_axis(ax: Axes, data: xr.Dataset) -> None:
    """Shorten the names of bands below a panel of a larger figure, where long names have no room.

    Neighbouring bands with a common first part, such as ``"8-16, 0°"`` and ``"8-16, 45°"``, share
    one name, ``"8-16"``. Bands without such parts are numbered. Frequency axes are unchanged.

    Parameters
    ----------
    ax
        Axes after :func:`frequency_axis`.
    data
        Dataset with ``band`` and ``band_bounds``.
    """
    bands = bands_of(data)
    if bands.radial:
        return
    names, places = bands.names, drawn_bounds(data).mean(axis=1)
    if max(map(len, names)) <= _SHORT_NAME and len(names) <= _MOST_NAMES:
        ax.set_xlabel("")
        return
    if sum(map(len, names)) + 2 * len(names) <= _PANEL_NAMES:
        ax.tick_params(axis="x", rotation=0)
        return
    first = [name.partition(", ")[0] for name in names]
    groups = list(dict.fromkeys(first))
    ax.set_xlabel("band")
    if len(groups) in (1, len(names)):
        ax.set_xlabel("number of the band")
        groups = first = [str(number) for number in range(len(names))]
    step = -(-(sum(map(len, groups)) + 2 * len(groups)) // _PANEL_NAMES)
    starts = [first.index(group) for group in groups]
    centres = [places[[one == group for one in first]].mean() for group in groups]
    ax.set_xticks(centres[::step], groups[::step], rotation=0)
    ax.tick_params(axis="x", length=0)
    if len(groups) < len(names):
        ax.set_xticks(starts[1:], [""] * len(starts[1:]), minor=True)
        ax.tick_params(axis="x", which="minor", length=7)


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


def given_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes that a user gave, or axes of a new figure of this size in inches.

    Raises
    ------
    ParameterError
        If `ax` is something else.
    """
    if ax is None:
        return new_axes(width, height)
    if not isinstance(ax, Axes):
        raise ParameterError(
            f"ax={one_line(repr(ax), 80)} must be matplotlib axes, as ax.figure.add_subplot gives; "
            f"several axes have to be given one by one"
        )
    return ax


def figure_size(
    default: tuple[float, float], height: float | None, aspect: float | None
) -> tuple[float, float]:
    """Width and height of a new figure in inches.

    Parameters
    ----------
    default
        Width and height if neither is given.
    height
        Height in inches that the user gave.
    aspect
        Width over height that the user gave.

    Raises
    ------
    ParameterError
        If one of them is not a positive number, or the figure would be too large.
    """
    for argument, value in (("height", height), ("aspect", aspect)):
        if value is not None:
            check_number(argument, value, above=0)
    tall = default[1] if height is None else float(height)
    width = tall * (default[0] / default[1] if aspect is None else float(aspect))
    if max(width, tall) > LONGEST_SIDE:
        raise ParameterError(
            f"height={height!r} and aspect={aspect!r} make a figure of {width:g} x {tall:g} "
            f"inches; at most {LONGEST_SIDE:g} are allowed per side"
        )
    return width, tall


def check_size_or_axes(ax: Axes | None, height: float | None, aspect: float | None) -> None:
    """Refuse the size of a new figure together with axes of an existing one.

    Raises
    ------
    ParameterError
        Naming the argument.
    """
    for argument, value in (("height", height), ("aspect", aspect)):
        if ax is not None and value is not None:
            raise ParameterError(
                f"{argument}={value!r} is the size of a new figure; with ax= the axes determine "
                f"the size"
            )


def panel_axes(
    ax: Axes | None,
    place: Place,
    default: tuple[float, float],
    *,
    height: float | None,
    aspect: float | None,
) -> Axes:
    """Axes that several panels replace: those that a user gave, or those of a new figure.

    Parameters
    ----------
    ax
        Axes that the user gave.
    place, default, height, aspect
        As for :func:`panel_place`.

    Raises
    ------
    ParameterError
        If an argument is not allowed, or a size is given together with axes.
    """
    check_size_or_axes(ax, height, aspect)
    if ax is not None:
        return given_axes(ax, *default)
    size, place = panel_place(place, default, height=height, aspect=aspect)
    return plt.figure(figsize=size).add_axes(place)


def panel_place(
    place: Place, default: tuple[float, float], *, height: float | None, aspect: float | None
) -> tuple[tuple[float, float], Place]:
    """Size of a new figure, and the place of its panels between margins of fixed width.

    Parameters
    ----------
    place
        Place of the panels in a figure of the default size.
    default
        Width and height of the figure in inches by default.
    height, aspect
        As for :func:`figure_size`.

    Returns
    -------
    size : tuple of float
        Width and height in inches.
    place : tuple of float
        Place of the panels in a figure of this size; the margins are as wide, in inches, as in
        one of the default size.

    Raises
    ------
    ParameterError
        If an argument is not allowed, or the margins leave no room for the panels.
    """
    width, tall = figure_size(default, height, aspect)
    left, below = place[0] * default[0], place[1] * default[1]
    across = width - (1 - place[2]) * default[0]
    up = tall - (1 - place[3]) * default[1]
    if min(across, up) <= 0:
        raise no_room(width, tall, (width - across, tall - up))
    return (width, tall), (left / width, below / tall, across / width, up / tall)


def no_room(width: float, height: float, needed: tuple[float, float]) -> ParameterError:
    """Error for a figure that is too small, all in inches."""
    return ParameterError(
        f"a figure of {width:.3g} x {height:.3g} inches has no room for its panels; height= and "
        f"aspect= must make it larger than {needed[0]:.2g} x {needed[1]:.2g}"
    )


def one_model(data: xr.Dataset, model: str | None) -> str:
    """Name of the model to draw: the one that a user gave, or the only one of the data.

    Raises
    ------
    UnknownNameError
        If the data have no such model.
    ParameterError
        If no model is given, and the data have several.
    """
    names: list[str] = []
    if "model" in data.coords:
        names = [str(name) for name in np.atleast_1d(data["model"].to_numpy())]
    return model if model is not None and not names else only_model(names, model)


def selected(data: xr.Dataset, **names: str) -> xr.Dataset:
    """Select labels along axes, such as ``side="probe"``; data may have been selected already.

    Raises
    ------
    UnknownNameError
        If an axis has no such label.
    """
    for axis, name in names.items():
        labels = [str(known) for known in np.atleast_1d(data[axis].to_numpy())]
        if axis == "side":
            check_side(name, labels)
        else:
            check_name(axis, name, labels)
    return data.sel({axis: name for axis, name in names.items() if axis in data.dims})


def shortened(name: str, length: int) -> str:
    """Shorten a name in the middle, so that its end, which distinguishes faces, is kept.

    The name is on one line. Dollar signs are escaped, since two of them enclose a formula. A
    leading underscore, which would hide the name from legends, is preceded by an invisible space.
    """
    text = one_line(name, length).replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text

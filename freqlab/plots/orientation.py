"""Figures of bands with an orientation: a rose of sectors, a table of scales and orientations."""

from __future__ import annotations

import math
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Circle, Rectangle, Wedge

from freqlab.bands import Bands
from freqlab.errors import ParameterError, check_name
from freqlab.literals import Comparison, Kind, Side
from freqlab.plots.common import (
    COMPARISON_COLOURS,
    DIVERGING,
    NO_DATA,
    SEQUENTIAL,
    axis_label,
    given_axes,
    largest_absolute,
    one_model,
)
from freqlab.results.selection import bands_of, select_pair, select_part, with_axes
from freqlab.statistics.resampling import estimates_of

__all__ = ["orientation_plot", "rose_plot", "wavelet_labels"]

_NAMED = {0.0: "0°\nhorizontal", 90.0: "90°\nvertical"}
_MOST_WRITTEN = 40  # cells of a table that are written as numbers
_MOST_COLUMNS = 8  # columns of a table whose cells are written as numbers
_MOST_NAMES = 12  # columns of a table that are named
_HATCH = "///"

Floats = npt.NDArray[np.float64]


def rose_plot(
    data: xr.Dataset,
    *,
    pair: int | None = None,
    model: str | None = None,
    side: Side = "probe",
    comparison: Comparison = "genuine",
    kind: Kind = "absolute",
    ax: Axes | None = None,
) -> Axes:
    """Influence by orientation of the structure, as a rose of sectors.

    A sector points along its structure in the image: to the sides for horizontal structure,
    upwards and downwards for vertical structure. Orientation is modulo 180 degrees, so each
    sector is drawn twice. Its radius is the influence from the dashed circle of zero on, outwards
    if positive and inwards if negative; without negative values, zero is the centre.

    Parameters
    ----------
    data
        Mean profile from :func:`freqlab.results.mean_profile`, with intervals, or a result of
        :func:`freqlab.influence`, for one pair.
    pair
        Label of the pair, for a result.
    model, side
        Model and masked side to select; `model` may be left out if there is only one.
    comparison
        ``"genuine"`` or ``"impostor"``, for a mean profile.
    kind
        ``"directed"`` or ``"absolute"``.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    ParameterError
        If the bands are not sectors, or `pair` does not fit the data.
    UnknownNameError
        If there is no such pair, model, side, comparison or kind.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(bands="sectors:4")
    >>> ax = fl.plots.rose_plot(result, pair=0)
    >>> ax.name
    'rectilinear'
    """
    bands = bands_of(data)
    if bands.kind != "sectors":
        raise ParameterError(
            f"rose_plot shows sectors, and these bands are of kind {bands.kind!r}; "
            f"use {_instead(bands)}"
        )
    orientation = np.asarray(bands.orientation)
    values, estimates, title = _selected(data, pair, model, side, comparison, kind)
    value, lower, upper = estimates
    ax = given_axes(ax, 4.2, 4.2)
    finite = np.concatenate([one[np.isfinite(one)] for one in estimates])
    largest = largest_absolute(finite)
    zero = max(0.0, -float(finite.min(initial=0.0)))
    if zero:
        zero += 0.15 * largest  # a hole in the middle, so that the lowest value has an area
    end = zero + max(float(finite.max(initial=0.0)), 0.05 * largest)
    half = 90 / len(bands)
    colours = plt.get_cmap(SEQUENTIAL if kind == "absolute" else DIVERGING)
    for k, angle in enumerate(orientation):
        for centre in (angle, angle + 180):
            if not np.isfinite(value[k]):
                ax.add_patch(Wedge((0, 0), end, centre - half, centre + half, fc=NO_DATA))
                continue
            inner, outer = sorted((zero, zero + value[k]))
            share = value[k] / largest
            colour = colours(share if kind == "absolute" else 0.5 + 0.5 * share)
            span = (centre - 0.94 * half, centre + 0.94 * half)
            ax.add_patch(
                Wedge((0, 0), outer, *span, width=outer - inner, fc=colour, ec="0.3", lw=0.5)
            )
            if np.isfinite([lower[k], upper[k]]).all() and upper[k] > lower[k]:
                along = np.array([np.cos(np.radians(centre)), np.sin(np.radians(centre))])
                ends = along[:, None] * (zero + np.array([lower[k], upper[k]]))
                ax.plot(*ends, color="0.1", lw=1.6, marker="o", ms=2.5)
    _scale(ax, zero, end, largest, -half * (1 + 2 * round((67 / half - 1) / 2)))
    for angle in np.unique([*orientation, *_NAMED]):
        if angle in _NAMED or len(bands) <= _MOST_NAMES:
            x, y = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            text = _NAMED.get(float(angle), f"{angle:.5g}°")
            across = "center" if abs(x) < 0.2 else "left" if x > 0 else "right"
            up = "center" if abs(y) < 0.2 else "bottom"
            ax.text(1.07 * end * x, 1.07 * end * y, text, ha=across, va=up, fontsize="small")
    reach = 1.3 * end
    ax.set(
        xlim=(-reach, reach), ylim=(-1.12 * end, 1.45 * end), xticks=[], yticks=[], aspect="equal"
    )
    ax.spines[:].set_visible(False)
    ax.set_xlabel(_value_label(values, kind, 34))
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def _scale(ax: Axes, zero: float, end: float, largest: float, angle: float) -> None:
    """Circles of zero and of two values, which are written along a direction in degrees."""
    step = float(f"{0.45 * (end - zero):.1g}") or largest
    along = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    for value in (0.0, step, 2 * step):
        radius = zero + value
        if not 0 < radius <= 1.02 * end:
            continue
        dashes = "--" if value == 0 else ":"
        ax.add_patch(Circle((0, 0), radius, fill=False, ec="0.3", ls=dashes, lw=0.8, zorder=3))
        box = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.6}
        x, y = radius * along
        ax.text(x, y, f"{value:.3g}", ha="center", va="center", bbox=box, fontsize="small")


def orientation_plot(
    data: xr.Dataset,
    *,
    pair: int | None = None,
    model: str | None = None,
    side: Side = "probe",
    comparison: Comparison = "genuine",
    kind: Kind = "absolute",
    ax: Axes | None = None,
) -> Axes:
    r"""Influence by ring and orientation, or by scale and orientation of wavelet subbands.

    Rows are the rings or scales, the lowest frequency below; columns are the orientations of the
    structure. A band without an orientation, such as ``rest``, is as wide as its row. Small tables
    have their values written in the cells. With a mean profile, cells whose interval includes zero
    are hatched.

    Parameters
    ----------
    data, pair, model, side, comparison, kind
        As for :func:`rose_plot`; bands are ``polar``, ``wavelets``, or ``channels`` of bands with
        an orientation.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    ParameterError
        If the bands have no orientation or no rows, or `pair` does not fit the data.
    UnknownNameError
        If there is no such pair, model, side, comparison or kind.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(bands="polar:28x4")
    >>> ax = fl.plots.orientation_plot(result, pair=0)
    >>> ax.get_ylabel()
    'spatial frequency\n(cycles/image)'
    """
    bands = bands_of(data)
    if bands.orientation is None or bands.kind == "sectors":
        raise ParameterError(
            f"orientation_plot shows polar and wavelet bands, and these are of kind "
            f"{bands.kind!r}; use {_instead(bands)}"
        )
    rows, columns = _table(bands)
    n_rows, n_columns = len(set(rows)), len(dict.fromkeys(c for c in columns if c))
    values, estimates, title = _selected(data, pair, model, side, comparison, kind)
    value, lower, upper = estimates
    ax = given_axes(ax, 5.6, 1.9 + 0.3 * max(n_rows, 3))
    row_at = {name: k for k, name in enumerate(dict.fromkeys(rows))}
    column_at = {name: k for k, name in enumerate(dict.fromkeys(c for c in columns if c))}
    largest = largest_absolute(value)
    signed = kind == "directed"
    norm = Normalize(-largest if signed else 0, largest)
    colours = plt.get_cmap(DIVERGING if signed else SEQUENTIAL)
    digits = max(0, 2 - math.floor(math.log10(largest)))  # three of the largest value
    written = n_rows * n_columns <= _MOST_WRITTEN and n_columns <= _MOST_COLUMNS
    for k, (row, column) in enumerate(zip(rows, columns, strict=True)):
        left, width = (column_at[column], 1) if column else (0, n_columns)
        known = bool(np.isfinite(value[k]))
        colour = colours(norm(value[k])) if known else NO_DATA
        unsure = known and bool(lower[k] <= 0 <= upper[k]) and upper[k] > lower[k]
        ax.add_patch(
            Rectangle(
                (left, row_at[row]),
                width,
                1,
                fc=colour,
                ec="0.5" if unsure else "white",
                lw=0.5,
                hatch=_HATCH if unsure else None,
            )
        )
        if written and known:
            dark = np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.5
            ax.text(
                left + width / 2,
                row_at[row] + 0.5,
                f"{round(value[k], digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}"),
                ha="center",
                va="center",
                fontsize="small",
                color="white" if dark else "black",
                bbox={"fc": colour, "ec": "none", "pad": 0.8} if unsure else None,
            )
    ax.set(xlim=(0, n_columns), ylim=(0, n_rows))
    step = -(-n_columns // _MOST_NAMES)
    ax.set_xticks(np.arange(n_columns)[::step] + 0.5, list(column_at)[::step])
    ax.set_yticks(np.arange(n_rows) + 0.5, list(row_at))
    ax.tick_params(length=0)
    if n_columns > _MOST_COLUMNS - 2:
        ax.tick_params(axis="x", labelsize="small")
    degrees = "1" if bands.kind == "wavelets" else None  # its orientations are words
    ax.set_xlabel(axis_label(data["orientation"], units=degrees))
    ax.set_ylabel(_row_label(bands, data))
    if bool(np.any((lower <= 0) & (upper >= 0) & (upper > lower))):
        title += "; hatched: interval includes zero"
    ax.set_title(title, loc="left", fontsize="medium")
    mappable = plt.cm.ScalarMappable(norm, colours)
    bar = ax.figure.colorbar(mappable, ax=ax, pad=0.02)
    bar.set_label(_value_label(values, kind, 26), fontsize="small")
    return ax


def wavelet_labels(bands: Bands, height: int, width: int) -> npt.NDArray[np.int64]:
    """Nominal label map of wavelet subbands, zero frequency in the middle.

    The details of a scale lie in its octave along the axes; subbands really overlap in frequency.

    Parameters
    ----------
    bands
        From :func:`freqlab.wavelets`.
    height, width
        Size of the crops in pixels.

    Returns
    -------
    numpy.ndarray
        Label of each coefficient ``(height, width)``; -1 for the approximation.
    """
    vertical = np.abs(np.fft.fftshift(np.fft.fftfreq(height)))[:, None]
    horizontal = np.abs(np.fft.fftshift(np.fft.fftfreq(width)))[None, :]
    labels = np.full((height, width), -1)
    for k, (lower, upper) in enumerate(bands.bounds):
        high = [(lower <= one) & (one <= upper) for one in (vertical, horizontal)]
        low = [one < lower for one in (vertical, horizontal)]
        place = (high[0] & low[1], low[0] & high[1], high[0] & high[1])[k % 3]
        labels[place] = k
    return labels


def _table(bands: Bands) -> tuple[list[str], list[str]]:
    """Row and column of each band, by its name; bands without an orientation have no column."""
    rows, columns = [], []
    for name, angle in zip(bands.names, np.asarray(bands.orientation), strict=True):
        row, _, column = name.rpartition(", ") if np.isfinite(angle) else (name, "", "")
        rows.append(row)
        columns.append(column)
    return rows, columns


def _row_label(bands: Bands, data: xr.Dataset) -> str:
    if bands.kind == "wavelets":
        return axis_label(data["scale"])
    if bands.kind == "channels":
        return "part of the colour"
    return axis_label(data["frequency"], width=22)


def _value_label(values: xr.DataArray, kind: Kind, width: int) -> str:
    """Label of the values; those of a pair are directed in the data."""
    name = "absolute influence" if kind == "absolute" and values.name == "influence" else None
    return axis_label(values, name=name, width=width)


def _instead(bands: Bands) -> str:
    """Figure for bands that another one does not show."""
    if bands.kind == "sectors":
        return "rose_plot"
    return "profile_plot" if bands.orientation is None else "orientation_plot"


def _selected(
    data: xr.Dataset,
    pair: int | None,
    model: str | None,
    side: Side,
    comparison: Comparison,
    kind: Kind,
) -> tuple[xr.DataArray, tuple[Floats, Floats, Floats], str]:
    """Influence of a pair or of a mean profile: its array, estimates and title."""
    check_name("kind", kind, get_args(Kind))
    model = one_model(data, model)
    if "influence" in data:
        if pair is None:
            raise ParameterError(
                "pair=None: a result needs the label of a pair; for means over pairs, give the "
                "profile of freqlab.results.mean_profile"
            )
        values = select_pair(data, pair=pair, model=model, side=side)["influence"]
        shown = np.asarray(values.to_numpy(), float)
        shown = np.abs(shown) if kind == "absolute" else shown
        missing = np.full_like(shown, np.nan)
        return values, (shown, missing, missing), f"pair {pair}, {side} masked"
    if pair is not None:
        raise ParameterError(
            f"pair={pair!r}: a mean profile has no pairs; give the result of freqlab.influence"
        )
    check_name("comparison", comparison, list(COMPARISON_COLOURS))
    part = select_part(with_axes(data, "directed"), model=model, side=side)
    values = part[kind].sel(comparison=comparison)
    value, lower, upper = (np.asarray(one, float) for one in estimates_of(values))
    n_pairs = int(part["n_pairs"].sel(comparison=comparison))
    return values, (value, lower, upper), f"{side} masked, {n_pairs:,} {comparison} pairs"

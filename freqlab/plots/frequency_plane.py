"""Influence in the plane of frequencies."""

from __future__ import annotations

from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize

from freqlab.bands.band_shapes import full_plane
from freqlab.errors import check_name
from freqlab.literals import Kind, Side
from freqlab.plots.common import (
    DIVERGING,
    NO_DATA,
    SEQUENTIAL,
    axis_label,
    given_axes,
    largest_absolute,
    one_model,
)
from freqlab.plots.orientation import wavelet_labels
from freqlab.results.selection import (
    bands_of,
    crop_geometry,
    select_pair,
)

__all__ = ["draw_plane", "spectrum_plot"]

_KIND_NAMES = {
    "directed": "directed influence",
    "absolute": "absolute influence",
    "per_contrast": "per contrast removed",
}


def spectrum_plot(
    result: xr.Dataset,
    *,
    pair: int,
    model: str | None = None,
    side: Side = "probe",
    kind: Kind = "directed",
    ax: Axes | None = None,
) -> Axes:
    """Plane of frequencies of the crops of a pair, each band coloured by its influence.

    Values are divided by the largest absolute value, so that zero is unchanged; DC and bands
    without a value are grey. Subbands of wavelets, which overlap in frequency, are drawn at their
    nominal octaves. Luminance and chroma are not parts of the plane, which then says so.

    Parameters
    ----------
    result, pair, model, side
        As for :func:`heat_plot`.
    kind
        ``"directed"`` or ``"absolute"``.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> ax = fl.plots.spectrum_plot(result, pair=0)
    >>> ax.get_ylabel()
    ''
    """
    model = one_model(result, model)
    check_name("kind", kind, get_args(Kind))
    data = select_pair(result, pair=pair, model=model, side=side)
    ax = given_axes(ax, 4, 3.6)
    influence = data["influence"].to_numpy()
    bar = draw_plane(result, influence, model=model, kind=kind, ax=ax)
    largest = largest_absolute(influence)
    units = result["influence"].attrs["units"]
    bar.set_label(f"relative to the maximum, {largest:.2g}\n({units})", fontsize="small")
    return ax


def draw_plane(
    result: xr.Dataset, influence: npt.NDArray[np.floating], *, model: str, kind: Kind, ax: Axes
) -> Colorbar:
    """Plane of frequencies of the crops of a model, coloured by influence ``(band,)``."""
    values = (np.abs(influence) if kind == "absolute" else influence) / largest_absolute(influence)
    (height, width), eye_distance = crop_geometry(result, model)
    bands = bands_of(result)
    labels = np.full((height, width), -1)
    if bands.kind == "wavelets":
        labels = wavelet_labels(bands, height, width)
    elif not bands.planar:
        _note_no_plane(ax, bands.kind)
    else:
        labels = full_plane(bands.label_map(height, width, eye_distance=eye_distance), width)
    plane = np.where(labels >= 0, values[np.maximum(labels, 0)], np.nan)
    name = DIVERGING if kind == "directed" else SEQUENTIAL
    colours = plt.get_cmap(name).with_extremes(bad=NO_DATA)
    norm = Normalize(-1 if kind == "directed" else 0, 1)
    top, left = -(height // 2) - 0.5, -(width // 2) - 0.5
    # one column is one cycle per crop width, one row is one cycle per crop height
    across = bands.in_unit(1, width, eye_distance)
    down = across * width / height
    extent = (left * across, (left + width) * across, (top + height) * down, top * down)
    ax.imshow(plane, cmap=colours, norm=norm, extent=extent, interpolation="nearest")
    ax.set_xlabel(axis_label(result["frequency"], width=20))
    ax.set_title(_KIND_NAMES[kind], fontsize="medium")
    nyquist = float(f"{width // 2 * across:.3g}")
    ax.set_xticks([-nyquist, 0, nyquist])
    ax.set_yticks([])
    ticks = [-1, 0, 1] if kind == "directed" else [0, 0.5, 1]
    mappable = ScalarMappable(norm, colours)
    return ax.figure.colorbar(mappable, cax=ax.inset_axes((1.04, 0, 0.05, 1)), ticks=ticks)


def _note_no_plane(ax: Axes, kind: str) -> None:
    text = f"bands of kind\n{kind!r}\nare not parts\nof the plane"
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize="small", transform=ax.transAxes)

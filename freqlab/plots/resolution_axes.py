"""Axes of resolution, their limits of detail and their keys."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import NullLocator

from freqlab.literals import (
    Kind,
    ResolutionLimit,
)
from freqlab.plots.common import (
    DIVERGING,
    SEQUENTIAL,
    axis_label,
    selected,
)
from freqlab.results.selection import bands_of, crop_geometry

__all__ = [
    "LINE_NAMES",
    "LINE_STYLES",
    "colour_key",
    "largest_as_title",
    "limit_key",
    "limit_legend",
    "resolution_axis",
    "resolution_limit",
]

LINE_STYLES: dict[ResolutionLimit, str] = {"axis": "-", "diagonal": "--"}
LINE_NAMES: dict[ResolutionLimit, str] = {"axis": "N/2", "diagonal": "√2 N/2"}


def largest_as_title(ax: Axes) -> None:
    """Replace the colour bar of a spectrum plot by its largest value, as the title."""
    bar = ax.child_axes[0]
    largest = bar.get_ylabel().splitlines()[0].rpartition(" ")[2]
    bar.remove()
    ax.set_title(f"± {largest}", fontsize="small", pad=3)
    ax.xaxis.label.set_fontsize("small")
    ax.tick_params(labelsize="small")


def colour_key(ax: Axes, kind: Kind) -> None:
    """Draw the colour bar of all spectra in the upper part of empty axes."""
    ends = {0: "none", 1: "largest"}
    if kind == "directed":
        ends = {-1: "against\na match", 1: "for\na match"}
    colours = ScalarMappable(
        Normalize(min(ends), 1), plt.get_cmap(DIVERGING if kind == "directed" else SEQUENTIAL)
    )
    place = ax.inset_axes((0.05, 0.62, 0.12, 0.32))
    bar = ax.figure.colorbar(colours, cax=place, ticks=list(ends))
    bar.ax.set_yticklabels(list(ends.values()), fontsize="small")


def resolution_axis(ax: Axes, resolution: xr.DataArray) -> None:
    """Make a logarithmic axis, decreasing to the right, with a tick at each resolution."""
    resolutions = resolution.to_numpy()
    ax.set_xscale("log")
    ax.set_xticks(resolutions, [f"{value:g}" for value in resolutions])
    ax.xaxis.set_minor_locator(NullLocator())
    low, high = resolutions.min(), resolutions.max()
    ax.set_xlim(high * 1.12, low / 1.12)
    ax.set_xlabel(axis_label(resolution))


def _limit_handles() -> list[Line2D]:
    """Legend entries of the two limits of a resolution."""
    return [
        Line2D([], [], color="black", ls=style, lw=1.2, label=LINE_NAMES[line])
        for line, style in LINE_STYLES.items()
    ]


def limit_key(ax: Axes) -> None:
    """Draw the legend of the two limits in the lower part of empty axes."""
    ax.set_axis_off()
    ax.legend(
        handles=_limit_handles(),
        title="limit of the\nresolution",
        loc="lower left",
        bbox_to_anchor=(-0.1, 0.1),
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        handlelength=1.5,
    )


def limit_legend(ax: Axes) -> None:
    """Draw the legend of the two limits above the axes on the right."""
    ax.legend(
        handles=_limit_handles(),
        frameon=False,
        fontsize="small",
        handlelength=1.7,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.98),
        columnspacing=0.8,
        borderpad=0,
    )


def resolution_limit(ax: Axes, profiles: xr.Dataset, model: str, resolution: float) -> None:
    """Draw the limits of N pixels in the plane: a square, and its circumscribed circle."""
    lines = selected(profiles, model=model)["nyquist"].sel(resolution=resolution)
    axis, diagonal = float(lines.sel(line="axis")), float(lines.sel(line="diagonal"))
    (height, width), eye_distance = crop_geometry(profiles, model)
    nyquist = bands_of(profiles).in_unit(min(height, width) / 2, width, eye_distance)
    if not axis < nyquist * 0.999:
        return
    style: dict[str, Any] = {"fill": False, "lw": 0.9, "ec": "black"}
    ax.add_patch(Rectangle((-axis, -axis), 2 * axis, 2 * axis, ls="-", **style))
    ax.add_patch(Circle((0, 0), diagonal, ls="--", **style))

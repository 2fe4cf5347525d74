"""Figures of cross-resolution verification: influence and errors over the probe's resolution.

Frequency axes show the limit of the resolution: a solid line at N/2 cycles/image, the limit of N
pixels along an axis, and a dashed line at sqrt(2) N/2, their limit in radius.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.patheffects as effects
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import NullLocator

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name
from freqlab.plots.common import (
    CATEGORICAL,
    COMPARISON_COLOURS,
    DIVERGING,
    LEGEND,
    MARKERS,
    NO_DATA,
    SEQUENTIAL,
    axis_label,
    largest_absolute,
    new_axes,
    ordered_colours,
    shortened,
)
from freqlab.plots.influence import drawn_bounds, face_plot, frequency_axis, spectrum_plot
from freqlab.results.selection import bands_of, crop_geometry, fmr_text, part_of
from freqlab.statistics.error_rates import check_fmr
from freqlab.statistics.resampling import estimates_of

__all__ = [
    "resolution_error_plot",
    "resolution_heat_plot",
    "resolution_leak_plot",
    "resolution_profile_plot",
    "resolution_strip_plot",
    "resolution_summary_plot",
]

_KINDS = ("directed", "absolute", "per_contrast", "energy")
_SUMMARIES = (
    "low_share",
    "low_gain",
    "low_influence",
    "low_influence_gain",
    "low_effect",
    "median_frequency",
    "shift",
    "halved",
)
_LINE_STYLES = {"axis": "-", "diagonal": "--"}
_LINE_NAMES = {"axis": "N/2", "diagonal": "√2 N/2"}
_LEAST_LEAK = 1e-6  # smaller shares are drawn at this value


def resolution_heat_plot(
    profiles: xr.Dataset,
    *,
    model: str,
    side: str,
    comparison: str = "genuine",
    kind: str = "absolute",
    ax: Axes | None = None,
) -> Axes:
    """Mean influence of each band over the resolution of the probe.

    Parameters
    ----------
    profiles
        From :func:`freqlab.resolution.profiles`.
    model, side, comparison
        Model, masked side and kind of pairs to select.
    kind
        ``"directed"``, ``"absolute"``, ``"per_contrast"`` or ``"energy"``.
    ax
        Axes to draw on; new axes by default.
    """
    data = part_of(profiles, model=model, side=side, comparison=comparison)
    check_name("kind", kind, _KINDS)
    ax = ax or new_axes(6.4, 3)
    values = data[kind].sel(estimate="value").transpose("resolution", "band").to_numpy()
    bounds = drawn_bounds(profiles, model)
    edges = np.append(bounds[:, 0], bounds[-1, 1])
    signed = kind in ("directed", "per_contrast")
    largest = largest_absolute(values)
    colours = plt.get_cmap(DIVERGING if signed else SEQUENTIAL).with_extremes(bad=NO_DATA)
    n = len(values)
    mesh = ax.pcolormesh(
        edges,
        np.arange(n + 1),
        np.ma.masked_invalid(values),
        cmap=colours,
        norm=Normalize(-largest if signed else 0, largest),
    )
    lines = data["nyquist"]
    outline = [effects.withStroke(linewidth=2.6, foreground="white")]
    for line, style in _LINE_STYLES.items():
        places = lines.sel(line=line).to_numpy()
        y = np.repeat(np.arange(n + 1), 2)[1:-1]
        ax.plot(
            np.repeat(places, 2),
            y,
            style,
            color="black",
            lw=1.3,
            path_effects=outline,
            clip_on=True,
        )
    ax.set_yticks(np.arange(n) + 0.5, [f"{value:g}" for value in data["resolution"].to_numpy()])
    ax.invert_yaxis()
    ax.set_ylabel(axis_label(profiles["resolution"], width=18))
    frequency_axis(ax, profiles, model)
    label = axis_label(profiles[kind], width=28)
    ax.figure.colorbar(mesh, ax=ax, pad=0.02).set_label(label, fontsize="small")
    ax.set_title(f"{side} masked, {comparison} pairs", loc="left", fontsize="medium")
    _line_legend(ax)
    return ax


def resolution_profile_plot(
    profiles: xr.Dataset,
    *,
    model: str,
    side: str,
    comparison: str = "genuine",
    kind: str = "directed",
    ax: Axes | None = None,
) -> Axes:
    """Mean profiles over frequency with intervals, one per resolution of the probe.

    Parameters
    ----------
    profiles, model, side, comparison, kind
        As for :func:`resolution_heat_plot`.
    ax
        Axes to draw on; new axes by default.
    """
    data = part_of(profiles, model=model, side=side, comparison=comparison)
    check_name("kind", kind, _KINDS)
    ax = ax or new_axes(6.4, 3.6)
    centre = drawn_bounds(profiles, model).mean(axis=1)
    resolutions = data["resolution"].to_numpy()
    colours = ordered_colours(len(resolutions))
    for i, (resolution, colour) in enumerate(zip(resolutions, colours, strict=True)):
        part = data.sel(resolution=resolution)
        value, lower, upper = estimates_of(part[kind])
        ax.fill_between(centre, lower, upper, color=colour, alpha=0.18, lw=0)
        label = f"{resolution:g} px ({int(part['n_pairs']):,} pairs)"
        ax.plot(centre, value, color=colour, marker=MARKERS[i % 8], ms=3.5, lw=1.4, label=label)
        if i > 0:
            for line, style in _LINE_STYLES.items():
                place = float(part["nyquist"].sel(line=line))
                ax.axvline(place, color=colour, ls=style, lw=0.9, alpha=0.7, zorder=0)
    ax.axhline(0, color="0.3", lw=0.8)
    if kind == "energy":
        ax.set_yscale("log")
    frequency_axis(ax, profiles, model)
    ax.set_ylabel(axis_label(profiles[kind]))
    ax.set_title(f"{side} masked, {comparison} pairs", loc="left", fontsize="medium")
    ax.add_artist(ax.legend(**LEGEND, loc="upper right", bbox_to_anchor=(1, 0.93)))
    _line_legend(ax)
    return ax


def resolution_strip_plot(
    result: xr.Dataset,
    profiles: xr.Dataset,
    *,
    pair: int,
    model: str,
    kind: str = "directed",
) -> dict[str, Axes]:
    """One probe at each resolution, above the heat plots of its pair.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over :func:`freqlab.faces.degraded_pairs`.
    profiles
        From :func:`freqlab.resolution.profiles` of `result`, for the resolutions and their lines.
    pair
        Label of an undegraded pair; its degraded pairs are looked up.
    model
        Name of the model.
    kind
        ``"directed"`` or ``"absolute"``.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        ``reference``, and for each resolution ``probe 28``, ``heat probe 28``,
        ``heat reference 28``.

    Raises
    ------
    ParameterError
        If the result has no such undegraded pair.
    """
    names = result.coords
    if "whole_pair" not in names or pair not in result["pair"].to_numpy():
        raise ParameterError(f"pair={pair!r} is not among pairs that fl.faces.degraded_pairs made")
    wanted = result["whole_pair"] == result["whole_pair"].sel(pair=pair)
    kinds = ["none", str(profiles.attrs["degradation"])]
    family = result["pair"].to_numpy()[(wanted & result["degradation"].isin(kinds)).to_numpy()]
    native = float(profiles["resolution"].max())
    of = {float(result["resolution"].sel(pair=p).fillna(native)): int(p) for p in family}
    resolutions = sorted(of, reverse=True)
    sides = [s for s in ("probe", "reference") if s in result["side"].to_numpy()]
    n = len(resolutions)
    figure = plt.figure(figsize=(1.62 * (n + 1), 1.58 * (1 + len(sides)) + 1.1))
    grid = figure.add_gridspec(
        1 + len(sides),
        n + 1,
        left=0.06,
        right=0.955,
        top=0.83,
        bottom=0.12,
        wspace=0.42,
        hspace=0.34,
    )
    axes: dict[str, Axes] = {"reference": figure.add_subplot(grid[0, 0])}
    reference = str(result["reference"].sel(pair=of[native]).item())
    face_plot(result, face=reference, model=model, ax=axes["reference"])
    axes["reference"].set_title(f"reference\n{shortened(reference, 20)}", fontsize="small")
    data = result.sel(model=model)
    for column, resolution in enumerate(resolutions, start=1):
        label = of[resolution]
        name = f"{resolution:g}"
        axes[f"probe {name}"] = ax = figure.add_subplot(grid[0, column])
        face_plot(result, face=str(result["probe"].sel(pair=label).item()), model=model, ax=ax)
        similarity = float(data["similarity"].sel(pair=label))
        ax.set_title(f"probe, {name} px\nsimilarity {similarity:.2f}", fontsize="small")
        for row, side in enumerate(sides, start=1):
            axes[f"heat {side} {name}"] = ax = figure.add_subplot(grid[row, column])
            spectrum_plot(result, pair=label, model=model, side=side, kind=kind, ax=ax)
            _end_of_resolution(ax, profiles, model, resolution)
            ax.set_title("")
            bar = ax.child_axes[0]
            bar.set_yticks([])
            largest = bar.get_ylabel().splitlines()[0]
            bar.set_ylabel(largest.replace("relative to the largest, ", "± "))
            ax.xaxis.label.set_fontsize("small")
            if row < len(sides):
                ax.set(xlabel="", xticklabels=[])
            if column == 1:
                ax.set_ylabel(f"{side}\nmasked", fontsize="small")
    corner = figure.add_subplot(grid[1, 0])
    corner.set_axis_off()
    handles = [
        Line2D([], [], color="black", ls=style, label=f"{_LINE_NAMES[line]}")
        for line, style in _LINE_STYLES.items()
    ]
    corner.legend(
        handles=handles,
        title="end of the\nresolution",
        loc="center left",
        frameon=False,
        fontsize=8,
    )
    units = result["influence"].attrs["units"]
    truth = "Genuine" if bool(result["genuine"].sel(pair=of[native])) else "Impostor"
    figure.suptitle(
        f"{truth} pair {pair}, {shortened(model, 40)}: {kind} influence, relative to the largest "
        f"({units})",
        fontsize="large",
    )
    return axes


def resolution_error_plot(
    errors: xr.Dataset,
    *,
    models: Sequence[str] | None = None,
    fmr: float = 1e-3,
    ax: Axes | None = None,
) -> Axes:
    """Equal error rate, and FNMR at the threshold of undegraded faces, over the resolution.

    Parameters
    ----------
    errors
        From :func:`freqlab.resolution.errors`.
    models
        Names of the models; all by default.
    fmr
        Nominal false match rate of the threshold.
    ax
        Axes to draw on; new axes by default.
    """
    check_fmr(fmr)
    ax = ax or new_axes(6.4, 3.6)
    known = names_of(errors, "model")
    for m, model in enumerate(known if models is None else models):
        data = errors.sel(model=check_name("model", model, known))
        at = data.sel(fmr=fmr, method="nearest")
        rates = {
            f"FNMR at FMR {fmr_text(fmr)}": at["false_non_match_rate"],
            "equal error rate": at["eer"],
        }
        marker = MARKERS[m % len(MARKERS)]
        for (name, rate), style in zip(rates.items(), ("-", "--"), strict=True):
            value, lower, upper = estimates_of(100 * rate)
            if not np.isfinite(value).any():
                continue
            x, colour = data["resolution"].to_numpy(), CATEGORICAL[m % len(CATEGORICAL)]
            ax.fill_between(x, lower, upper, color=colour, alpha=0.15, lw=0)
            label = f"{shortened(model, 28)}: {name}"
            ax.plot(x, value, style, marker=marker, color=colour, ms=4, label=label)
    _resolution_axis(ax, errors["resolution"])
    ax.set_ylabel("error rate (%)")
    ax.set_ylim(0, None)
    ax.legend(**LEGEND, handlelength=3.5)
    return ax


def resolution_leak_plot(
    leaks: xr.Dataset,
    *,
    model: str,
    comparison: str = "genuine",
    line: str = "diagonal",
    ax: Axes | None = None,
) -> Axes:
    """Influence and energy of the probe beyond the limit of its resolution, per kernel.

    Parameters
    ----------
    leaks
        From :func:`freqlab.resolution.leaks`.
    model, comparison
        Model and kind of pairs to select.
    line
        ``"diagonal"`` (sqrt(2) N/2) or ``"axis"`` (N/2).
    ax
        Axes to draw on; new axes by default. Shares below 1e-6 are drawn at 1e-6.
    """
    check_name("model", model, names_of(leaks, "model"))
    check_name("comparison", comparison, list(COMPARISON_COLOURS))
    check_name("line", line, list(_LINE_STYLES))
    ax = ax or new_axes(6.4, 3.6)
    x, shown = leaks["resolution"].to_numpy(), []
    for d, kind in enumerate(leaks["degradation"].to_numpy()):
        colour, marker = CATEGORICAL[d % len(CATEGORICAL)], MARKERS[d % len(MARKERS)]
        data = leaks.sel(model=model, comparison=comparison, line=line, degradation=kind)
        for name, style in (("leak_influence", "-"), ("leak_energy", ":")):
            value, lower, upper = estimates_of(data[name].clip(min=_LEAST_LEAK))
            there = np.isfinite(value)
            ax.fill_between(x[there], lower[there], upper[there], color=colour, alpha=0.12, lw=0)
            label = f"{shortened(kind, 28)}: {'influence' if style == '-' else 'energy'}"
            ax.plot(
                x[there],
                value[there],
                style,
                marker=marker,
                color=colour,
                ms=4,
                label=label,
            )
            shown.append(there.any())
    _resolution_axis(ax, leaks["resolution"])
    ax.set(yscale="log", ylim=(_LEAST_LEAK / 2, 1.5))
    ax.set_ylabel(f"share beyond {_LINE_NAMES[line]}\nof the probe, {comparison} pairs")
    ax.legend(**LEGEND, loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def resolution_summary_plot(
    profiles: xr.Dataset, *, model: str, quantity: str = "low_gain", ax: Axes | None = None
) -> Axes:
    """A summary quantity over the resolution, per side and kind of pair, with intervals.

    Parameters
    ----------
    profiles
        From :func:`freqlab.resolution.profiles`.
    model
        Name of the model.
    quantity
        Variable of `profiles` without an axis of bands or lines, such as ``"low_gain"``.
    ax
        Axes to draw on; new axes by default.
    """
    check_name("quantity", quantity, _SUMMARIES)
    check_name("model", model, names_of(profiles, "model"))
    ax = ax or new_axes(6.4, 3.4)
    x = profiles["resolution"].to_numpy()
    for comparison, marker in (("genuine", "o"), ("impostor", "s")):
        for side, style in (("probe", "-"), ("reference", "--"), ("both", ":")):
            if side not in profiles["side"].to_numpy():
                continue
            data = profiles[quantity].sel(model=model, side=side, comparison=comparison)
            value, lower, upper = estimates_of(data)
            if not np.isfinite(value).any():
                continue
            colour = COMPARISON_COLOURS[comparison]
            ax.fill_between(x, lower, upper, color=colour, alpha=0.12, lw=0)
            label = f"{comparison}, {side} masked"
            ax.plot(x, value, style, marker=marker, color=colour, ms=4, label=label)
    ax.axhline(0, color="0.3", lw=0.8)
    _resolution_axis(ax, profiles["resolution"])
    ax.set_ylabel(axis_label(profiles[quantity]))
    ax.legend(**LEGEND, handlelength=3.5)
    return ax


def _resolution_axis(ax: Axes, resolution: xr.DataArray) -> None:
    """Make a logarithmic axis, decreasing to the right, with a tick at each resolution."""
    resolutions = resolution.to_numpy()
    ax.set_xscale("log")
    ax.set_xticks(resolutions, [f"{value:g}" for value in resolutions])
    ax.xaxis.set_minor_locator(NullLocator())
    low, high = resolutions.min(), resolutions.max()
    ax.set_xlim(high * 1.12, low / 1.12)
    ax.set_xlabel(axis_label(resolution))


def _line_legend(ax: Axes) -> None:
    """Draw the legend of the two lines above the axes on the right."""
    handles = [
        Line2D([], [], color="0.2", ls=style, lw=1.2, label=_LINE_NAMES[line])
        for line, style in _LINE_STYLES.items()
    ]
    ax.legend(
        handles=handles,
        frameon=False,
        fontsize=7.5,
        handlelength=1.7,
        ncols=2,
        loc="lower right",
        bbox_to_anchor=(1.02, 0.98),
        columnspacing=0.8,
    )


def _end_of_resolution(ax: Axes, profiles: xr.Dataset, model: str, resolution: float) -> None:
    """Draw the limit of N pixels in the plane: the square, and its circumscribed circle."""
    lines = profiles["nyquist"].sel(model=model, resolution=resolution)
    axis, diagonal = float(lines.sel(line="axis")), float(lines.sel(line="diagonal"))
    (height, width), eye_distance = crop_geometry(profiles, model)
    nyquist = bands_of(profiles).in_unit(min(height, width) / 2, width, eye_distance)
    if not axis < nyquist * 0.999:
        return
    style: dict[str, Any] = {"fill": False, "lw": 0.9, "ec": "black"}
    ax.add_patch(Rectangle((-axis, -axis), 2 * axis, 2 * axis, ls="-", **style))
    ax.add_patch(Circle((0, 0), diagonal, ls="--", **style))

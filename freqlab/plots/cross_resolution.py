"""Figures of cross-resolution verification: influence and errors over the probe's resolution.

Frequency axes show the Nyquist frequencies of a resolution of N pixels: a solid line at N/2
cycles/image, the limit along the horizontal and vertical axes, and a dashed line at sqrt(2) N/2,
the limit along the diagonals.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import get_args

import matplotlib.patheffects as effects
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name
from freqlab.literals import (
    BandQuantity,
    Comparison,
    Kind,
    ResolutionLimit,
    ResolutionSummary,
    Side,
)
from freqlab.plots.common import (
    CATEGORICAL,
    COMPARISON_COLOURS,
    DIVERGING,
    LEGEND,
    MARKERS,
    MAX_WIDTH,
    NO_DATA,
    SEQUENTIAL,
    axis_label,
    drawn_bounds,
    drawn_frequencies,
    figure_size,
    frequency_axis,
    given_axes,
    largest_absolute,
    no_room,
    one_model,
    ordered_colours,
    selected,
    shortened,
)
from freqlab.plots.frequency_plane import spectrum_plot
from freqlab.plots.influence import face_plot
from freqlab.plots.resolution_axes import (
    LINE_NAMES,
    LINE_STYLES,
    colour_key,
    largest_as_title,
    limit_key,
    limit_legend,
    resolution_axis,
    resolution_limit,
)
from freqlab.results.selection import at_fmr, bands_of, crop_geometry, fmr_text
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

_DIFFERENCES = ("low_gain", "low_influence_gain", "low_effect")
_MOST_COLUMNS = 6  # resolutions that a strip has room for
_MIN_LEAK = 1e-6  # smaller shares are drawn at this value


def resolution_heat_plot(
    profiles: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    comparison: Comparison = "genuine",
    kind: BandQuantity = "absolute",
    ax: Axes | None = None,
) -> Axes:
    r"""Mean influence of each band over the resolution of the probe.

    Parameters
    ----------
    profiles
        From :func:`freqlab.resolution.profiles`.
    model, side, comparison
        Model, masked side and kind of pairs to select; `model` may be left out if there is only
        one.
    kind
        ``"directed"``, ``"absolute"``, ``"per_contrast"`` or ``"energy"``.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> profiles = study["profiles"].to_dataset()
    >>> ax = fl.plots.resolution_heat_plot(profiles)
    >>> ax.get_ylabel()
    'resolution of the\nprobe (pixels)'
    """
    model = one_model(profiles, model)
    data = selected(profiles, model=model, side=side, comparison=comparison)
    check_name("kind", kind, get_args(BandQuantity))
    ax = given_axes(ax, 6.4, 3)
    values = data[kind].sel(estimate="value").transpose("resolution", "band").to_numpy()
    bounds = drawn_bounds(profiles)
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
    corner = _corner(profiles, model)
    for line, style in LINE_STYLES.items():
        places = drawn_frequencies(lines.sel(line=line).to_numpy(), profiles, corner=corner)
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
    frequency_axis(ax, profiles)
    label = axis_label(profiles[kind], width=28)
    ax.figure.colorbar(mesh, ax=ax, pad=0.02).set_label(label, fontsize="small")
    ax.set_title(f"{side} masked, {comparison} pairs", loc="left", fontsize="medium", pad=21)
    limit_legend(ax)
    return ax


def resolution_profile_plot(
    profiles: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    comparison: Comparison = "genuine",
    kind: BandQuantity = "directed",
    ax: Axes | None = None,
) -> Axes:
    r"""Mean profiles over frequency with intervals, one per resolution of the probe.

    Parameters
    ----------
    profiles, model, side, comparison, kind
        As for :func:`resolution_heat_plot`.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> profiles = study["profiles"].to_dataset()
    >>> ax = fl.plots.resolution_profile_plot(profiles)
    >>> ax.get_ylabel()
    'mean directed influence\n(cosine similarity)'
    """
    model = one_model(profiles, model)
    data = selected(profiles, model=model, side=side, comparison=comparison)
    check_name("kind", kind, get_args(BandQuantity))
    ax = given_axes(ax, 6.4, 3.6)
    centre = drawn_bounds(profiles).mean(axis=1)
    corner = _corner(profiles, model)
    resolutions = data["resolution"].to_numpy()
    colours = ordered_colours(len(resolutions))
    for i, (resolution, colour) in enumerate(zip(resolutions, colours, strict=True)):
        part = data.sel(resolution=resolution)
        value, lower, upper = estimates_of(part[kind])
        ax.fill_between(centre, lower, upper, color=colour, alpha=0.18, lw=0)
        label = f"{resolution:g} px ({int(part['n_pairs']):,} pairs)"
        ax.plot(centre, value, color=colour, marker=MARKERS[i % 8], ms=3.5, lw=1.4, label=label)
        if i > 0:
            for line, style in LINE_STYLES.items():
                frequency = part["nyquist"].sel(line=line).to_numpy()
                place = drawn_frequencies(frequency, profiles, corner=corner)
                ax.axvline(float(place), color=colour, ls=style, lw=0.9, alpha=0.7, zorder=0)
    ax.axhline(0, color="0.3", lw=0.8)
    if kind == "energy":
        ax.set_yscale("log")
    frequency_axis(ax, profiles)
    ax.set_ylabel(axis_label(profiles[kind]))
    ax.set_title(f"{side} masked, {comparison} pairs", loc="left", fontsize="medium", pad=21)
    ax.add_artist(ax.legend(**LEGEND, loc="upper right"))
    limit_legend(ax)
    return ax


def resolution_strip_plot(
    result: xr.Dataset,
    profiles: xr.Dataset,
    *,
    pair: int,
    model: str | None = None,
    kind: Kind = "directed",
    height: float | None = None,
    aspect: float | None = None,
) -> dict[str, Axes]:
    """A probe at each resolution, above the influence of its pairs in the frequency plane.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over :func:`freqlab.faces.degraded_pairs`.
    profiles
        From :func:`freqlab.resolution.profiles` of `result`, for the resolutions and their limits.
    pair
        Label of an undegraded pair; its degraded pairs are shown as well, at most six
        resolutions in all.
    model
        Name of the model; may be left out if there is only one.
    kind
        ``"directed"`` or ``"absolute"``.
    height
        Height of the figure in inches; by default that for which its text is made.
    aspect
        Width of the figure over its height.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        ``reference``, and for each resolution ``probe 28``, ``heat probe 28``,
        ``heat reference 28``.

    Raises
    ------
    ParameterError
        If the result has no such undegraded pair, or an argument is not allowed.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> result, profiles = (study[name].to_dataset() for name in ("influence", "profiles"))
    >>> pair = int(result["whole_pair"][0])
    >>> axes = fl.plots.resolution_strip_plot(result, profiles, pair=pair)
    >>> sorted(axes)
    ['heat probe 112', 'heat probe 14', 'heat probe 28', 'heat reference 112', 'heat reference 14',
    'heat reference 28', 'probe 112', 'probe 14', 'probe 28', 'reference']
    """
    model = one_model(result, model)
    check_name("kind", kind, get_args(Kind))
    pair_at = _spread(_degraded_pairs(result, profiles, pair))
    single: tuple[Side, ...] = ("probe", "reference")
    sides = [side for side in single if side in result["side"].to_numpy()]
    n_columns, n_rows = len(pair_at) + 1, len(sides) + 1
    width = min(0.55 + 1.02 * n_columns, MAX_WIDTH)
    undegraded = next(iter(pair_at.values()))
    said = _strip_title(result, undegraded, pair, model, kind, width)
    tall = 0.76 + 0.17 * len(said) + 1.24 * n_rows
    width, tall = figure_size((width, tall), height, aspect)
    said = _strip_title(result, undegraded, pair, model, kind, width)
    above, below = 0.5 + 0.17 * len(said), 0.65
    if width < 1 or tall < above + below + 0.5:
        raise no_room(width, tall, (1, above + below + 0.5))
    figure = plt.figure(figsize=(width, tall))
    grid = figure.add_gridspec(
        *(n_rows, n_columns),
        left=0.2 / width,
        right=1 - 0.12 / width,
        top=1 - above / tall,
        bottom=below / tall,
        wspace=0.12,
        hspace=0.32,
    )
    axes: dict[str, Axes] = {"reference": figure.add_subplot(grid[0, 0])}
    reference = str(result["reference"].sel(pair=undegraded).item())
    face_plot(result, face=reference, model=model, ax=axes["reference"])
    axes["reference"].set_title(f"reference\n{shortened(reference, 14)}", fontsize="small")
    similarities = selected(result, model=model)["similarity"]
    for column, (resolution, label) in enumerate(pair_at.items(), start=1):
        name = f"{resolution:g}"
        axes[f"probe {name}"] = ax = figure.add_subplot(grid[0, column])
        face_plot(result, face=str(result["probe"].sel(pair=label).item()), model=model, ax=ax)
        similarity = float(similarities.sel(pair=label))
        ax.set_title(f"probe, {name} px\nsimilarity {similarity:.2f}", fontsize="small")
        for row, side in enumerate(sides, start=1):
            axes[f"heat {side} {name}"] = ax = figure.add_subplot(grid[row, column])
            spectrum_plot(result, pair=label, model=model, side=side, kind=kind, ax=ax)
            resolution_limit(ax, profiles, model, resolution)
            largest_as_title(ax)
            if column > 1 or row < len(sides):
                ax.set(xlabel="", xticklabels=[])
            ax.set_ylabel(f"{side} masked" if column == 1 else "", fontsize="small")
    key = figure.add_subplot(grid[1:, 0])
    limit_key(key)
    colour_key(key, kind)
    x, y = 0.2 / width, 1 - 0.06 / tall
    figure.suptitle("\n".join(said), x=x, y=y, ha="left", va="top", fontsize="medium")
    return axes


def _strip_title(
    result: xr.Dataset, undegraded: int, pair: int, model: str, kind: Kind, width: float
) -> list[str]:
    """Lines of the title of a strip, for a figure of this width in inches."""
    truth = "Genuine" if bool(result["genuine"].sel(pair=undegraded)) else "Impostor"
    units = result["influence"].attrs["units"]
    text = (
        f"{kind} influence of each ring, relative to the largest, which is given above it ({units})"
    )
    name = f"{truth} pair {pair}, {shortened(model, 40)}"
    return [name, *textwrap.wrap(text, int(13.2 * (width - 0.2)))]


def _spread(pair_at: dict[float, int]) -> dict[float, int]:
    """At most six of the resolutions, the highest and the lowest among them."""
    if len(pair_at) <= _MOST_COLUMNS:
        return pair_at
    places = np.linspace(0, len(pair_at) - 1, _MOST_COLUMNS).round().astype(int)
    resolutions = list(pair_at)
    return {resolutions[i]: pair_at[resolutions[i]] for i in places}


def _degraded_pairs(result: xr.Dataset, profiles: xr.Dataset, pair: int) -> dict[float, int]:
    """Labels of an undegraded pair and its degraded pairs, by decreasing resolution."""
    if "whole_pair" not in result.coords or pair not in result["pair"].to_numpy():
        raise ParameterError(f"pair={pair!r} is not a pair made by fl.faces.degraded_pairs")
    same = result["whole_pair"] == result["whole_pair"].sel(pair=pair)
    kinds = ["none", str(profiles.attrs["degradation"])]
    labels = result["pair"].to_numpy()[(same & result["degradation"].isin(kinds)).to_numpy()]
    native = float(profiles["resolution"].max())
    pair_at = {float(result["resolution"].sel(pair=p).fillna(native)): int(p) for p in labels}
    return dict(sorted(pair_at.items(), reverse=True))


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

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> ax = fl.plots.resolution_error_plot(study["errors"].to_dataset(), fmr=0.1)
    >>> ax.get_ylabel()
    'error rate (%)'
    """
    check_fmr(fmr)
    known = names_of(errors, "model")
    models = known if models is None else models
    for model in models:
        check_name("model", model, known)
    at_fmr(errors, fmr)
    ax = given_axes(ax, 6.4, 3.6)
    for m, model in enumerate(models):
        data = errors.sel(model=model)
        at = at_fmr(data, fmr)
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
            label = name if len(known) == 1 else f"{shortened(model, 28)}: {name}"
            ax.plot(x, value, style, marker=marker, color=colour, ms=4, label=label)
    resolution_axis(ax, errors["resolution"])
    ax.set_ylabel("error rate (%)")
    ax.set_ylim(0, None)
    ax.legend(**LEGEND, handlelength=3.5)
    return ax


def resolution_leak_plot(
    leaks: xr.Dataset,
    *,
    model: str | None = None,
    comparison: Comparison = "genuine",
    line: ResolutionLimit = "diagonal",
    ax: Axes | None = None,
) -> Axes:
    r"""Influence and energy of the probe beyond the limit of its resolution, per kernel.

    Parameters
    ----------
    leaks
        From :func:`freqlab.resolution.leaks`.
    model, comparison
        Model and kind of pairs to select; `model` may be left out if there is only one.
    line
        ``"diagonal"`` (sqrt(2) N/2) or ``"axis"`` (N/2).
    ax
        Axes to draw on; new axes by default. Shares below 1e-6 are drawn at 1e-6.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> ax = fl.plots.resolution_leak_plot(study["leaks"].to_dataset())
    >>> ax.get_ylabel()
    'share beyond √2 N/2\nof the probe, genuine pairs'
    """
    model = one_model(leaks, model)
    check_name("comparison", comparison, list(COMPARISON_COLOURS))
    check_name("line", line, list(LINE_STYLES))
    ax = given_axes(ax, 6.4, 3.6)
    x = leaks["resolution"].to_numpy()
    for d, kind in enumerate(leaks["degradation"].to_numpy()):
        colour, marker = CATEGORICAL[d % len(CATEGORICAL)], MARKERS[d % len(MARKERS)]
        data = selected(leaks, model=model, comparison=comparison, line=line, degradation=kind)
        for name, style in (("leak_influence", "-"), ("leak_energy", ":")):
            value, lower, upper = estimates_of(data[name].clip(min=_MIN_LEAK))
            known = np.isfinite(value)
            ax.fill_between(x[known], lower[known], upper[known], color=colour, alpha=0.12, lw=0)
            label = f"{shortened(kind, 28)}: {'influence' if style == '-' else 'energy'}"
            ax.plot(
                x[known],
                value[known],
                style,
                marker=marker,
                color=colour,
                ms=4,
                label=label,
            )
    resolution_axis(ax, leaks["resolution"])
    ax.set(yscale="log", ylim=(_MIN_LEAK / 2, 1.5))
    ax.set_ylabel(f"share beyond {LINE_NAMES[line]}\nof the probe, {comparison} pairs")
    ax.legend(**LEGEND, loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def resolution_summary_plot(
    profiles: xr.Dataset,
    *,
    model: str | None = None,
    quantity: ResolutionSummary = "low_gain",
    comparison: Comparison | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""A summary quantity over the resolution, per side and kind of pair, with intervals.

    Parameters
    ----------
    profiles
        From :func:`freqlab.resolution.profiles`.
    model
        Name of the model; may be left out if there is only one.
    quantity
        Summary variable of `profiles` without a band axis, such as ``"low_gain"``.
    comparison
        Kind of pairs to draw; both by default.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> profiles = study["profiles"].to_dataset()
    >>> ax = fl.plots.resolution_summary_plot(profiles)
    >>> ax.get_ylabel()
    'gain of the share in bands\nbelow 28 cycles/image'
    """
    model = one_model(profiles, model)
    check_name("quantity", quantity, get_args(ResolutionSummary))
    if comparison is not None:
        check_name("comparison", comparison, list(COMPARISON_COLOURS))
    ax = given_axes(ax, 6.4, 3.4)
    x = profiles["resolution"].to_numpy()
    for kind, marker in (("genuine", "o"), ("impostor", "s")):
        if comparison not in (None, kind):
            continue
        for side, style in (("probe", "-"), ("reference", "--"), ("both", ":")):
            if side not in profiles["side"].to_numpy():
                continue
            data = selected(profiles, model=model)[quantity].sel(side=side, comparison=kind)
            value, lower, upper = estimates_of(data)
            if not np.isfinite(value).any():
                continue
            colour = COMPARISON_COLOURS[kind]
            ax.fill_between(x, lower, upper, color=colour, alpha=0.12, lw=0)
            label = f"{kind}, {side} masked"
            ax.plot(x, value, style, marker=marker, color=colour, ms=4, label=label)
    if quantity in _DIFFERENCES:
        ax.axhline(0, color="0.3", lw=0.8)
    else:
        ax.set_ylim(0, None)
    handles, labels = ax.get_legend_handles_labels()
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.09 * len(labels) * (high - low))  # room for the legend
    resolution_axis(ax, profiles["resolution"])
    ax.set_ylabel(axis_label(profiles[quantity], width=30))
    ax.legend(handles, labels, **LEGEND, handlelength=3.5, loc="upper right")
    return ax


def _corner(profiles: xr.Dataset, model: str) -> float:
    """Highest frequency of the plane of the crops, in the unit of the bands."""
    (_, width), eye_distance = crop_geometry(profiles, model)
    return bands_of(profiles).in_unit(np.sqrt(0.5) * width, width, eye_distance)

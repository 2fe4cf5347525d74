"""Figures of tests of explanations: deletion curves, agreement, stability, planted bands."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from freqlab.attrs import names_of
from freqlab.errors import check_name
from freqlab.literals import Comparison, Measure, Protocol, Side
from freqlab.plots.common import (
    CATEGORICAL,
    COMPARISON_COLOURS,
    DIVERGING,
    LEGEND,
    MARKERS,
    NO_DATA,
    SEQUENTIAL,
    axis_label,
    given_axes,
    largest_absolute,
    one_model,
    selected,
    shortened,
)
from freqlab.statistics.resampling import estimates_of

__all__ = [
    "accuracy_plot",
    "advantage_plot",
    "deletion_plot",
    "interaction_plot",
    "planted_plot",
    "randomisation_plot",
    "stability_plot",
    "view_plot",
]

_RATES = {"genuine": "false non-match rate", "impostor": "false match rate"}
_ROUNDING = 1e-9
_PARTS = {"bands": "bands", "frequency": "coefficients", "space": "pixels"}
_LINES = ((3.6, 6.0), (1.4, 3.5), (2.4, 5.0), (1.0, 3.0), (1.4, 3.5))
"""Widths of the lines of orders and sizes of their markers, in points; influence first."""
_KIND_NAMES = {"per_contrast": "per contrast removed"}


def deletion_plot(
    errors: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    protocol: Protocol = "deletion",
    comparison: Comparison = "genuine",
    measure: Measure = "error",
    ax: Axes | None = None,
) -> Axes:
    """Error rate or mean similarity as bands or cells are deleted or inserted, for each order.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`, for bands or for
        :func:`freqlab.saliency.curves`.
    model, side, protocol, comparison, measure
        Selection from the errors; `model` may be left out if there is only one.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> ax = fl.plots.deletion_plot(errors)
    >>> ax.get_ylabel()
    'false non-match rate'
    """
    model = one_model(errors, model)
    data = selected(
        errors, model=model, side=side, protocol=protocol, comparison=comparison, measure=measure
    )
    ax = given_axes(ax, 5.4, 3.4)
    areas = {
        str(name): f"{name} (area {float(data['area'].sel(order=name, estimate='value')):.3f})"
        for name in data["order"].to_numpy()
    }
    _order_lines(ax, data, "curve", areas)
    if measure == "similarity":
        threshold = float(data["threshold"])
        ax.axhline(threshold, color="0.4", lw=0.9, ls=":", label=f"threshold {threshold:.2f}")
    ax.set_xlabel(_share_label(errors, protocol))
    ax.set_ylabel(_RATES[comparison] if measure == "error" else "mean similarity")
    if measure == "error":
        ax.set_ylim(-0.04, 1.04)
    ax.set_title(f"{protocol}, {comparison} pairs, {side} masked", loc="left", fontsize="medium")
    ax.legend(**LEGEND, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return ax


def accuracy_plot(
    errors: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    protocol: Protocol = "deletion",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy, the mean over genuine and impostor pairs, as bands are deleted or inserted.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    model, side, protocol
        Selection from the errors; `model` may be left out if there is only one.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> ax = fl.plots.accuracy_plot(errors)
    >>> ax.get_ylabel()
    'accuracy'
    """
    model = one_model(errors, model)
    data = selected(errors, model=model, side=side, protocol=protocol)
    ax = given_axes(ax, 5.4, 3.4)
    _order_lines(ax, data, "accuracy", {name: name for name in names_of(data, "order")})
    ax.axhline(0.5, color="0.4", lw=0.9, ls=":")
    ax.set_ylim(-0.04, 1.04)
    ax.set_xlabel(_share_label(errors, protocol))
    ax.set_ylabel("accuracy")
    ax.set_title(f"{protocol}, {side} masked", loc="left", fontsize="medium")
    ax.legend(**LEGEND, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    return ax


def _order_lines(ax: Axes, data: xr.Dataset, curve: str, labels: dict[str, str]) -> None:
    """Draw a line per order; later ones are narrower and in front, so that equal ones show."""
    for i, (name, label) in enumerate(labels.items()):
        width, size = _LINES[min(i, len(_LINES) - 1)]
        ax.plot(
            data["share"], data[curve].sel(order=name), color=CATEGORICAL[i], marker=MARKERS[i],
            ms=size, lw=width, zorder=2 + 0.1 * i, label=shortened(label, 80),
        )  # fmt: skip


def _share_label(errors: xr.Dataset, protocol: Protocol) -> str:
    done = "removed" if protocol == "deletion" else "restored"
    return f"share of {_PARTS[str(errors.attrs.get('domain', 'bands'))]} {done}"


def advantage_plot(
    errors: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    measure: Measure = "error",
    ax: Axes | None = None,
) -> Axes:
    """Advantage of the influence order over each baseline, with intervals; positive is better.

    Kinds of pairs and protocols in which the curves of all orders are equal are left out.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    model, side, measure
        Selection from the errors; `model` may be left out if there is only one.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> ax = fl.plots.advantage_plot(errors)
    >>> ax.get_ylabel()
    ''
    """
    model = one_model(errors, model)
    data = selected(errors, model=model, side=side, measure=measure)
    ax = given_axes(ax, 5.4, 3.4)
    baselines = names_of(data, "baseline")
    lines = [(c, p) for c in ("genuine", "impostor") for p in ("deletion", "insertion")]
    for k, (comparison, protocol) in enumerate(lines):
        part = data.sel(comparison=comparison, protocol=protocol)
        if _flat(part["curve"]):
            continue
        gain = part["advantage"]
        value, lower, upper = estimates_of(gain)
        y = np.arange(len(baselines)) + 0.16 * (k - 1.5)
        colour = COMPARISON_COLOURS[comparison]
        fill = colour if protocol == "deletion" else "white"
        ax.hlines(y, lower, upper, color=colour, lw=1.3)
        ax.plot(
            value, y, ls="none", marker=MARKERS[k], color=colour, mfc=fill, ms=5,
            label=f"{protocol}, {comparison} pairs",
        )  # fmt: skip
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_yticks(np.arange(len(baselines)), baselines)
    ax.set_ylim(len(baselines) - 0.5, -0.5)
    ax.set_xlabel(f"advantage of the influence order\n(area under the {measure} curve)")
    ax.set_title(f"{side} masked", loc="left", fontsize="medium")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**LEGEND, loc="upper center", bbox_to_anchor=(0.4, -0.3), ncols=2)
    return ax


def _flat(curves: xr.DataArray) -> bool:
    """Whether the curves of all orders are equal except for rounding."""
    spread = (curves.max("order") - curves.min("order")).fillna(0)
    return float(spread.max()) <= _ROUNDING


def view_plot(views: xr.Dataset, *, model: str | None = None, ax: Axes | None = None) -> Axes:
    """Mean rank correlation of alternative views of the bands with influence, with intervals.

    Parameters
    ----------
    views
        From :func:`freqlab.faithfulness.band_views`.
    model
        Name of the model; may be left out if there is only one.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> views = study["views"].to_dataset()
    >>> ax = fl.plots.view_plot(views)
    >>> ax.get_xlabel()
    'rank correlation with influence'
    """
    model = one_model(views, model)
    data = selected(views, model=model)
    names = names_of(data, "view")
    ax = given_axes(ax, 5.4, 2.8)
    for k, kind in enumerate(("directed", "absolute")):
        _dots(ax, data["agreement"].sel(kind=kind), k, 2, kind)
    _ranks_axis(ax, names, model)
    return ax


def stability_plot(stability: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Mean rank correlation of profiles before and after small changes, one line per model.

    Parameters
    ----------
    stability
        From :func:`freqlab.faithfulness.profile_stability`.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> ax = fl.plots.stability_plot(study["stability"].to_dataset())
    >>> ax.get_xlabel()
    'rank correlation with influence'
    """
    names = names_of(stability, "perturbation")
    models = names_of(stability, "model")
    ax = given_axes(ax, 6.4, 2.8)
    for k, model in enumerate(models):
        _dots(ax, stability["correlation"].sel(model=model), k, len(models), model)
    _ranks_axis(ax, names, f"{stability.attrs['side']} perturbed")
    return ax


def _dots(ax: Axes, values: xr.DataArray, k: int, n: int, label: str) -> None:
    """Draw the values of one series with intervals, from top to bottom."""
    value, lower, upper = estimates_of(values)
    y = np.arange(len(value)) + 0.22 * (k - (n - 1) / 2)
    ax.hlines(y, lower, upper, color=CATEGORICAL[k % len(CATEGORICAL)], lw=1.3)
    ax.plot(
        value,
        y,
        ls="none",
        marker=MARKERS[k],
        color=CATEGORICAL[k % len(CATEGORICAL)],
        ms=5,
        label=shortened(label, 80),
    )


def _ranks_axis(ax: Axes, names: list[str], title: str) -> None:
    ax.set_yticks(np.arange(len(names)), [shortened(name, 40) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    lowest = min(0.0, ax.get_xlim()[0])
    ax.set_xlim(max(-1.0, lowest), 1.03)
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_xlabel("rank correlation with influence")
    ax.set_title(title, loc="left", fontsize="medium")
    ax.legend(**LEGEND, loc="lower left")


def interaction_plot(
    views: xr.Dataset,
    *,
    model: str | None = None,
    comparison: Comparison = "genuine",
    ax: Axes | None = None,
) -> Axes:
    """Interaction of two bands: joint effect minus the sum of both effects, mean over pairs.

    Parameters
    ----------
    views
        From :func:`freqlab.faithfulness.band_views`.
    model, comparison
        Model and kind of pairs to select; `model` may be left out if there is only one.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> views = study["views"].to_dataset()
    >>> ax = fl.plots.interaction_plot(views)
    >>> ax.get_ylabel()
    'band (cycles/image)'
    """
    model = one_model(views, model)
    check_name("comparison", comparison, ["genuine", "impostor"])
    data = selected(views, model=model)
    chosen = data["genuine"].to_numpy() == (comparison == "genuine")
    interaction = data["interaction"].isel(pair=chosen)
    ax = given_axes(ax, 4.8, 4.0)
    mean = interaction.mean("pair").transpose("band", "other").to_numpy()
    largest = largest_absolute(mean)
    colours = plt.get_cmap(DIVERGING).with_extremes(bad=NO_DATA)
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(mean), cmap=colours, norm=Normalize(-largest, largest)
    )
    names = names_of(data, "band")
    ticks = np.arange(len(names)) + 0.5
    ax.set_xticks(ticks, names, rotation=90, fontsize="small")
    ax.set_yticks(ticks, names, fontsize="small")
    ax.set_aspect("equal")
    unit = str(views["frequency"].attrs["units"])
    ax.set_xlabel(f"band ({unit})")
    ax.set_ylabel(f"band ({unit})")
    bar = ax.figure.colorbar(mesh, cax=ax.inset_axes((1.03, 0, 0.05, 1)))
    bar.ax.tick_params(labelsize="small")
    bar.set_label(axis_label(views["interaction"]), fontsize="small")
    title = f"{comparison}, {int(chosen.sum())} pairs,\n{views.attrs['side']} masked"
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def randomisation_plot(
    checks: xr.Dataset, *, model: str | None = None, ax: Axes | None = None
) -> Axes:
    """Rank correlation with the profile of the trained model, over the share of random layers.

    Parameters
    ----------
    checks
        From :func:`freqlab.faithfulness.sanity_checks`.
    model
        Name of the model; may be left out if there is only one.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> ax = fl.plots.randomisation_plot(study["checks"].to_dataset())
    >>> ax.get_ylabel()
    'rank correlation'
    """
    model = one_model(checks, model)
    data = selected(checks, model=model)
    ax = given_axes(ax, 5.4, 3.2)
    depth = 100 * data["depth"].to_numpy()
    for k, kind in enumerate(data["kind"].to_numpy()):
        part = data["randomised"].sel(kind=kind)
        value, lower, upper = estimates_of(part)
        ax.fill_between(
            depth, lower, upper, color=CATEGORICAL[k % len(CATEGORICAL)], alpha=0.16, lw=0
        )
        label = _KIND_NAMES.get(str(kind), str(kind))
        ax.plot(
            depth,
            value,
            marker=MARKERS[k],
            color=CATEGORICAL[k % len(CATEGORICAL)],
            ms=4,
            label=label,
        )
    ax.axhline(0, color="0.3", lw=0.8)
    ax.set_ylim(min(-0.5, ax.get_ylim()[0]), 1.05)
    ax.set_xlabel(
        "share of layers randomised, from the last\nlayer backwards (%); at 0, only the head"
    )
    ax.set_ylabel("rank correlation")
    ax.set_title(shortened(model, 40), loc="left", fontsize="medium")
    ax.legend(**LEGEND, loc="lower left")
    return ax


def planted_plot(
    planted: xr.Dataset, *, unit: str = "cycles/image", ax: Axes | None = None
) -> Axes:
    r"""Rate at which the planted band is identified, by band and planted contrast.

    Parameters
    ----------
    planted
        From :func:`freqlab.faithfulness.planted_bands`.
    unit
        Unit of the bands.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> ax = fl.plots.planted_plot(study["planted"].to_dataset())
    >>> ax.get_ylabel()
    'planted contrast\n(grey levels)'
    """
    contrasts = planted["contrast"].to_numpy()
    ax = given_axes(ax, 6.4, 1.4 + 0.35 * len(contrasts))
    values = 100 * planted["accuracy"].transpose("contrast", "band").to_numpy()
    colours = plt.get_cmap(SEQUENTIAL).with_extremes(bad=NO_DATA)
    mesh = ax.pcolormesh(np.ma.masked_invalid(values), cmap=colours, norm=Normalize(0, 100))
    names = names_of(planted, "band")
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=60, fontsize="small")
    ax.set_yticks(np.arange(len(contrasts)) + 0.5, [f"{c:g}" for c in contrasts])
    ax.set_xlabel(f"planted band ({unit})")
    ax.set_ylabel("planted contrast\n(grey levels)")
    ax.figure.colorbar(mesh, ax=ax, pad=0.02).set_label("identified (%)", fontsize="small")
    chance = 100 * float(planted["chance"])
    ax.set_title(
        f"identification rate of the planted band (chance: {chance:.0f} %)",
        loc="left",
        fontsize="medium",
    )
    return ax

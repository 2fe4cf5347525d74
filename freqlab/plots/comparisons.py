"""Figures of runs compared on the same pairs."""

from __future__ import annotations

from typing import Any, get_args

import xarray as xr
from matplotlib.axes import Axes

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name
from freqlab.literals import Comparison, InfluenceQuantity
from freqlab.plots.common import (
    COMPARISON_COLOURS,
    LEGEND,
    axis_label,
    drawn_bounds,
    frequency_axis,
    given_axes,
    line_style,
    shortened,
)
from freqlab.plots.profile_lines import draw_profile, room_for_names
from freqlab.statistics.resampling import FEWEST_PEOPLE, estimates_of

__all__ = ["comparison_plot", "difference_plot"]


def comparison_plot(
    compared: xr.Dataset,
    *,
    comparison: Comparison = "genuine",
    kind: InfluenceQuantity = "directed",
    ax: Axes | None = None,
) -> Axes:
    r"""Mean profiles of several runs on one axis, with their intervals.

    Parameters
    ----------
    compared
        From :func:`freqlab.compare`.
    comparison
        ``"genuine"`` or ``"impostor"``.
    kind
        ``"directed"``, ``"absolute"`` or ``"per_contrast"``.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> models = [fl.testing.model("first"), fl.testing.model("second", seed=1)]
    >>> compared = fl.compare(fl.testing.influence(models=models), n_draws=50)
    >>> ax = fl.plots.comparison_plot(compared)
    >>> ax.get_ylabel()
    'mean directed influence\n(cosine similarity)'
    """
    check_name("kind", kind, get_args(InfluenceQuantity))
    check_name("comparison", comparison, list(COMPARISON_COLOURS))
    ax = given_axes(ax, 7, 3.8 + room_for_names(compared))
    names = compared["run"].to_numpy()
    for r, name in enumerate(names):
        values = compared[kind].sel(run=name, comparison=comparison)
        value, lower, upper = estimates_of(values)
        n_pairs = int(compared["n_pairs"].sel(run=name, comparison=comparison))
        label = f"{shortened(str(name), 28)} ({n_pairs:,} pairs)"
        style = {**line_style(r), "ms": 4, "label": label}
        draw_profile(
            ax, compared, value, lower, upper, place=r, n_places=len(names), alpha=0.15, **style
        )
    ax.axhline(0, color="0.3", lw=0.8)
    frequency_axis(ax, compared)
    ax.set_ylabel(axis_label(compared[kind]))
    ax.set_title(
        f"{compared.attrs['side']} masked, {comparison} pairs", loc="left", fontsize="medium"
    )
    ax.legend(**LEGEND)
    return ax


def difference_plot(
    compared: xr.Dataset,
    *,
    comparison: Comparison = "genuine",
    kind: InfluenceQuantity = "directed",
    ax: Axes | None = None,
) -> Axes:
    r"""Paired differences in mean influence between runs, with their intervals.

    Symbols are large and filled where the interval excludes zero, on at least 20 people.

    Parameters
    ----------
    compared
        From :func:`freqlab.compare`, with differences.
    comparison
        ``"genuine"`` or ``"impostor"``.
    kind
        ``"directed"``, ``"absolute"`` or ``"per_contrast"``.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    UnknownNameError, ParameterError
        If there are no differences, or no such quantity.

    Examples
    --------
    >>> import freqlab as fl
    >>> models = [fl.testing.model("first"), fl.testing.model("second", seed=1)]
    >>> compared = fl.compare(fl.testing.influence(models=models), n_draws=50)
    >>> ax = fl.plots.difference_plot(compared)
    >>> ax.get_ylabel()
    'difference in mean directed\ninfluence (cosine similarity)'
    """
    check_name("kind", kind, get_args(InfluenceQuantity))
    check_name("comparison", comparison, list(COMPARISON_COLOURS))
    if f"{kind}_difference" not in compared:
        raise ParameterError(
            "compared has no differences; compute them with fl.compare(..., paired=True)"
        )
    runs = [name for name in names_of(compared, "run") if compared["baseline"].sel(run=name) != ""]
    if not runs:
        raise ParameterError("compared has a single run; pass a second result to fl.compare")
    ax = given_axes(ax, 7, 3.8)
    bounds = drawn_bounds(compared)
    width = (bounds[:, 1] - bounds[:, 0]) / (len(runs) + 1)
    for i, name in enumerate(runs):
        part = compared.sel(run=name, comparison=comparison)
        value, lower, upper = estimates_of(part[f"{kind}_difference"])
        x = bounds[:, 0] + (i + 1) * width
        style = line_style(i)
        ax.vlines(x, lower, upper, color=style["color"], lw=1.2)
        n_people = int(part["n_subjects_compared"])
        excluded = ((lower > 0) | (upper < 0)) & (n_people >= FEWEST_PEOPLE)
        people = "1 person" if n_people == 1 else f"{n_people:,} people"
        if n_people < FEWEST_PEOPLE:
            people += ", too few to compare"
        run, baseline = (shortened(str(part[c].item()), 28) for c in ("run", "baseline"))
        label = f"{run} minus {baseline}\n({int(part['n_pairs_compared']):,} pairs, {people})"
        shown: dict[str, Any] = {"ls": "none", "marker": style["marker"], "color": style["color"]}
        ax.plot(x, value, **shown, mfc="white", ms=4.5, label=None if excluded.any() else label)
        if excluded.any():
            ax.plot(x[excluded], value[excluded], **shown, ms=6.5, label=label)
    ax.axhline(0, color="0.3", lw=0.8)
    frequency_axis(ax, compared)
    ax.set_ylabel(axis_label(compared[f"{kind}_difference"]))
    ax.set_title(
        f"{compared.attrs['side']} masked, {comparison} pairs, "
        f"{100 * compared.attrs['level']:g} % intervals over people",
        loc="left",
        fontsize="medium",
    )
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + min(0.18 * len(runs), 0.6) * (high - low))  # room for the legend
    ax.legend(**LEGEND, loc="upper right")
    return ax

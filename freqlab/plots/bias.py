"""Figures of groups: profiles, differences with significance, errors, errors over profiles.

Groups have the same colours in every figure, in the order of their names, and are labelled with
their column, as in "glasses=no".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name
from freqlab.literals import BandQuantity, Comparison, InfluenceQuantity, Side
from freqlab.plots.common import (
    DIVERGING,
    LEGEND,
    MAX_WIDTH,
    NO_DATA,
    axis_label,
    drawn_bounds,
    figure_size,
    frequency_axis,
    given_axes,
    largest_absolute,
    line_style,
    one_model,
    selected,
    short_band_axis,
    shortened,
)
from freqlab.plots.profile_lines import draw_profile
from freqlab.results.selection import at_fmr, fmr_text
from freqlab.statistics.error_rates import check_fmr
from freqlab.statistics.resampling import FEWEST_PEOPLE, estimates_of

__all__ = [
    "gaps_plot",
    "group_difference_plot",
    "group_error_plot",
    "group_heat_plot",
    "group_profile_plot",
]

ErrorRate: TypeAlias = Literal["eer", "false_match_rate", "false_non_match_rate"]
"""Equal error rate, FMR or FNMR."""

_LONG = 22  # characters of a group's name from which its counts are in a second line


def group_profile_plot(
    profiles: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    comparison: Comparison = "genuine",
    kind: BandQuantity = "directed",
    ax: Axes | None = None,
) -> Axes:
    r"""Mean profiles of the groups over frequency, with intervals.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
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
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> ax = fl.plots.group_profile_plot(profiles)
    >>> ax.get_ylabel()
    'mean directed influence\n(cosine similarity)'
    """
    model = one_model(profiles, model)
    data = selected(profiles, model=model, side=side, comparison=comparison)
    check_name("kind", kind, get_args(BandQuantity))
    ax = given_axes(ax, 6.4, 3.6)
    labels, styles = _labels(profiles), _styles(profiles)
    for place, (name, style) in enumerate(styles.items()):
        part = data.sel(group=name)
        value, lower, upper = estimates_of(part[kind])
        counts = f"{int(part['n_pairs']):,} pairs, {_people(int(part['n_subjects']))}"
        shown = labels[name]
        label = f"{shown}\n({counts})" if len(shown) > _LONG else f"{shown} ({counts})"
        drawn: dict[str, Any] = {**style, "ms": 3.5, "lw": 1.4, "label": label}
        draw_profile(
            *(ax, profiles, value, lower, upper),
            place=place,
            n_places=len(styles),
            alpha=0.14,
            **drawn,
        )
    if kind == "energy":
        ax.set_yscale("log")
    else:
        ax.axhline(0, color="0.3", lw=0.8)
        _make_room(ax, len(styles))
    frequency_axis(ax, profiles)
    ax.set_ylabel(axis_label(profiles[kind]))
    ax.set_title(f"{side} masked, {comparison} pairs", loc="left", fontsize="medium")
    ax.legend(**LEGEND, loc="upper right")
    return ax


def group_difference_plot(
    profiles: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    comparison: Comparison = "genuine",
    kind: InfluenceQuantity = "directed",
    alpha: float = 0.05,
    fewest: int = FEWEST_PEOPLE,
    ax: Axes | None = None,
) -> Axes:
    r"""Differences between groups and baseline, with intervals; significant bands are filled.

    Parameters
    ----------
    profiles, model, side, comparison
        As for :func:`group_profile_plot`.
    kind
        ``"directed"``, ``"absolute"`` or ``"per_contrast"``.
    alpha
        Significance level; bands with an adjusted p-value at or below it have larger, filled
        symbols.
    fewest
        Smallest number of subjects, of the group and of the baseline, with which significance is
        marked.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> ax = fl.plots.group_difference_plot(profiles)
    >>> ax.get_ylabel()
    'difference in mean directed\ninfluence (cosine similarity)'
    """
    model = one_model(profiles, model)
    data = selected(profiles, model=model, side=side, comparison=comparison)
    check_name("kind", kind, get_args(InfluenceQuantity))
    ax = given_axes(ax, 6.4, 3.6)
    bounds = drawn_bounds(profiles)
    styles = {n: s for n, s in _styles(profiles).items() if n != profiles.attrs["baseline"]}
    width = (bounds[:, 1] - bounds[:, 0]) / (len(styles) + 1)
    labels = _labels(profiles)
    for i, (name, style) in enumerate(styles.items(), start=1):
        values = data[f"{kind}_difference"].sel(group=name)
        value, lower, upper = estimates_of(values)
        x = bounds[:, 0] + i * width
        colour, marker = style["color"], style["marker"]
        n_subjects = _n_compared(data, name)
        significant = data["p_adjusted"].sel(group=name, kind=kind).to_numpy() <= alpha
        significant &= n_subjects >= fewest
        n_marked = int(significant.sum())
        what = f"{n_marked} {'band' if n_marked == 1 else 'bands'} with adjusted p ≤ {alpha:g}"
        if n_subjects < fewest:
            what = f"{_people(n_subjects)}, too few to compare"
        ax.vlines(x, lower, upper, color=colour, lw=1.2)
        few: dict[str, Any] = {"label": f"{labels[name]}:\n{what}"} if n_marked == 0 else {}
        ax.plot(x, value, ls="none", marker=marker, mfc="white", color=colour, ms=4.5, **few)
        some: dict[str, Any] = {} if few else {"label": f"{labels[name]}:\n{what}"}
        ax.plot(
            x[significant], value[significant], ls="none", marker=marker, color=colour, ms=7, **some
        )
    ax.axhline(0, color="0.3", lw=0.8)
    _make_room(ax, 2 * len(styles))
    frequency_axis(ax, profiles)
    ax.set_ylabel(axis_label(profiles[f"{kind}_difference"]))
    ax.set_title(_difference_title(profiles, side, comparison), loc="left", fontsize="medium")
    ax.legend(**LEGEND, loc="upper right")
    return ax


def group_heat_plot(
    profiles: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    comparison: Comparison = "genuine",
    kind: InfluenceQuantity = "directed",
    alpha: float = 0.05,
    fewest: int = FEWEST_PEOPLE,
    ax: Axes | None = None,
) -> Axes:
    """Differences from the baseline by band and group; dots mark significant differences.

    Parameters
    ----------
    profiles, model, side, comparison, kind, alpha, fewest
        As for :func:`group_difference_plot`.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> ax = fl.plots.group_heat_plot(profiles)
    >>> ax.get_ylabel()
    ''
    """
    model = one_model(profiles, model)
    data = selected(profiles, model=model, side=side, comparison=comparison)
    check_name("kind", kind, get_args(InfluenceQuantity))
    names = [n for n in names_of(data, "group") if n != profiles.attrs["baseline"]]
    ax = given_axes(ax, 6.4, 1.5 + 0.32 * len(names))
    some = data.sel(group=names)
    values = some[f"{kind}_difference"].sel(estimate="value").transpose("group", "band").to_numpy()
    bounds = drawn_bounds(profiles)
    largest = largest_absolute(values)
    colours = plt.get_cmap(DIVERGING).with_extremes(bad=NO_DATA)
    mesh = ax.pcolormesh(
        np.append(bounds[:, 0], bounds[-1, 1]),
        np.arange(len(names) + 1),
        np.ma.masked_invalid(values),
        cmap=colours,
        norm=Normalize(-largest, largest),
    )
    p = some["p_adjusted"].sel(kind=kind).transpose("group", "band").to_numpy()
    enough = np.array([_n_compared(data, name) >= fewest for name in names])
    rows, columns = np.nonzero((p <= alpha) & enough[:, None])
    ax.plot(bounds.mean(axis=1)[columns], rows + 0.5, "k.", ms=5)
    labels = _labels(profiles)
    ax.set_yticks(np.arange(len(names)) + 0.5, [labels[name] for name in names])
    ax.invert_yaxis()
    frequency_axis(ax, profiles)
    short_band_axis(ax, profiles)
    label = axis_label(profiles[f"{kind}_difference"], width=22)
    ax.figure.colorbar(mesh, ax=ax, pad=0.02).set_label(label, fontsize="small")
    title = f"{_difference_title(profiles, side, comparison)}\ndots: adjusted p ≤ {alpha:g}"
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def group_error_plot(
    errors: xr.Dataset,
    *,
    fmr: float = 1e-3,
    rates: Sequence[ErrorRate] = get_args(ErrorRate),
    height: float | None = None,
    aspect: float | None = None,
) -> dict[str, Axes]:
    """Error rates of the groups with intervals, in one panel for each rate.

    Parameters
    ----------
    errors
        From :func:`freqlab.bias.errors`.
    fmr
        Nominal false match rate of the threshold, the same for all groups.
    rates
        Rates to draw: ``"eer"``, ``"false_match_rate"``, ``"false_non_match_rate"``.
    height
        Height of the figure in inches; by default that for which its text is made.
    aspect
        Width of the figure over its height.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        By rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> axes = fl.plots.group_error_plot(study["errors"].to_dataset(), fmr=0.1)
    >>> sorted(axes)
    ['eer', 'false_match_rate', 'false_non_match_rate']
    """
    check_fmr(fmr)
    if not rates:
        raise ParameterError(f"rates={rates!r} is empty; allowed: {', '.join(get_args(ErrorRate))}")
    for rate in rates:
        check_name("rates", rate, get_args(ErrorRate))
        if "fmr" in errors[rate].dims:
            at_fmr(errors[rate], fmr)
    names, models, labels = names_of(errors, "group"), names_of(errors, "model"), _labels(errors)
    per_group = max(0.16 + 0.17 * len(models), 0.33 if len(rates) < 3 else 0.42)
    default = (MAX_WIDTH, (1.25 if len(rates) < 3 else 1.4) + len(names) * per_group)
    figure = plt.figure(figsize=figure_size(default, height, aspect), layout="constrained")
    axes: dict[str, Axes] = {}
    for k, quantity in enumerate(rates):
        first = next(iter(axes.values()), None)
        axes[quantity] = ax = figure.add_subplot(1, len(rates), k + 1, sharey=first)
        _error_panel(errors, quantity, fmr, ax, width=54 // max(2, len(rates)))
        if k == 0:
            people = errors["n_people"].max(("model", "comparison"))
            between = " " if len(rates) < 3 else "\n"
            counts = [int(people.sel(group=name)) for name in names]
            shown = [
                f"{labels[name]}{between}({_people(n)})"
                if n and labels[name] != name
                else labels[name]
                for name, n in zip(names, counts, strict=True)
            ]
            ax.set_yticks(np.arange(len(names)), shown)
            ax.set_ylim(len(names) - 0.5, -0.5)
        else:
            ax.tick_params(labelleft=False)
    if len(models) > 1:
        handles = next(iter(axes.values())).get_legend_handles_labels()
        figure.legend(*handles, frameon=False, ncols=min(3, len(models)),
                      loc="outside upper center", fontsize="small")  # fmt: skip
    return axes


def _error_panel(errors: xr.Dataset, quantity: str, fmr: float, ax: Axes, width: int) -> None:
    """One rate of all groups and models, with intervals."""
    models = names_of(errors, "model")
    place, at = np.arange(errors.sizes["group"]), ""
    for m, model in enumerate(models):
        rate = errors[quantity].sel(model=model)
        if "fmr" in rate.dims:
            rate, at = at_fmr(rate, fmr), f" of nominal FMR {fmr_text(fmr)}"
        value, lower, upper = estimates_of(100 * rate)
        y = place + 0.7 / len(models) * (m - (len(models) - 1) / 2)
        style = {**line_style(m), "ls": "none"}
        ax.hlines(y, lower, upper, color=style["color"], lw=1.4)
        ax.plot(value, y, **style, ms=4.5, label=shortened(model, 28))
        for row in np.flatnonzero(np.isnan(value)):
            ax.text(0.02, y[row], "not resolved", fontsize="small", color="0.4", va="center",
                    transform=ax.get_yaxis_transform())  # fmt: skip
    name = f"{errors[quantity].attrs['long_name']}{at}"
    ax.set_xlabel(axis_label(errors[quantity], units="%", name=name, width=width))
    ax.set_xlim(0, None)
    ax.set_xlim(-0.03 * ax.get_xlim()[1], None)  # do not clip symbols at zero
    ax.grid(True, axis="x", color="0.92")


def gaps_plot(gaps: pd.DataFrame, *, outcome: str = "FNMR gap", ax: Axes | None = None) -> Axes:
    r"""Error gaps over distances of profiles, one point per model and group.

    Parameters
    ----------
    gaps
        From :func:`freqlab.bias.gaps_together`.
    outcome
        Column of `gaps` on the vertical axis.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> points = fl.bias.gap_points(study)
    >>> ax = fl.plots.gaps_plot(points, outcome="EER gap")
    >>> ax.get_ylabel()
    'EER gap to the baseline\n(percentage points)'
    """
    check_name("outcome", outcome, [name for name in gaps.columns if name.endswith(" gap")])
    ax = given_axes(ax, 6, 3.8)
    for m, (model, part) in enumerate(gaps.groupby(level="model", sort=False)):
        style = {**line_style(m), "ls": "none"}
        ax.plot(
            part["distance"], 100 * part[outcome], **style, ms=6, label=shortened(str(model), 28)
        )
        groups = part.index.get_level_values("group")
        places = part[["distance", outcome]].to_numpy() * [1, 100]
        for row, (group, at) in enumerate(zip(groups, places, strict=True)):
            if np.isfinite(at).all():  # alternately above and below, since points may be close
                ax.annotate(shortened(str(group), 20), at.tolist(), xytext=(5, (3, -10)[row % 2]),
                            fontsize="small", textcoords="offset points")  # fmt: skip
    ax.axhline(0, color="0.3", lw=0.8)
    n = int(gaps[["distance", outcome]].notna().all(axis=1).sum())
    ax.set_xlabel("distance between directed profiles (cosine similarity)")
    ax.set_ylabel(f"{outcome} to the baseline\n(percentage points)")
    ax.set_title(f"{n} {'point' if n == 1 else 'points'}", loc="right", fontsize="medium")
    ax.margins(0.12)
    ax.legend(**LEGEND)
    return ax


def _labels(data: xr.Dataset) -> dict[str, str]:
    """Label of each group, with its column where the data know it."""
    shown = "group_label" if "group_label" in data.coords else "group"
    labels = [shortened(name, 32) for name in names_of(data, shown)]
    return dict(zip(names_of(data, "group"), labels, strict=True))


def _make_room(ax: Axes, n_lines: int) -> None:
    """Extend the vertical axis upwards by the lines of a legend."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + min(0.09 * n_lines, 0.6) * (high - low))


def _people(n: int) -> str:
    return "1 person" if n == 1 else f"{n:,} people"


def _n_compared(part: xr.Dataset, group: str) -> int:
    """Subjects of the smaller of a group and the baseline, in one part of the profiles."""
    n_subjects = part["n_subjects"].sel(group=[group, str(part.attrs["baseline"])])
    return int(n_subjects.min())


def _difference_title(profiles: xr.Dataset, side: str, comparison: str) -> str:
    baseline = _labels(profiles)[str(profiles.attrs["baseline"])]
    return f"{side} masked, {comparison} pairs,\ndifference from {baseline}"


def _styles(profiles: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes of each group."""
    return {str(name): line_style(i) for i, name in enumerate(profiles["group"].to_numpy())}

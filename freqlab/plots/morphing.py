"""Figures of morphing attacks and other manipulations: profiles, faces, detection errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from freqlab.attrs import names_of
from freqlab.datasets.pair_tables import BONA_FIDE, CONTROL
from freqlab.errors import ParameterError, check_name
from freqlab.literals import BandQuantity, ManipulatedQuantity, Side
from freqlab.plots.common import (
    CATEGORICAL,
    LEGEND,
    MARKERS,
    MAX_WIDTH,
    axis_label,
    frequency_axis,
    given_axes,
    line_style,
    one_model,
    panel_place,
    selected,
    shortened,
)
from freqlab.plots.frequency_plane import spectrum_plot
from freqlab.plots.influence import face_plot
from freqlab.plots.profile_lines import draw_profile
from freqlab.statistics.resampling import estimates_of

__all__ = [
    "attack_profile_plot",
    "d_eer_plot",
    "detection_plot",
    "manipulation_plot",
    "morph_plot",
    "score_histogram_plot",
    "vulnerability_plot",
]

_POOLED = "all"
_WIDE_NAME = 20  # characters of a name above which a legend has one column


def vulnerability_plot(
    risk: xr.Dataset, *, model: str | None = None, fmr: float | None = None, ax: Axes | None = None
) -> Axes:
    """Share of morphs that match both contributors, by kind of morph, with intervals.

    Parameters
    ----------
    risk
        From :func:`freqlab.morphing.vulnerability`.
    model
        Name of the model; may be left out if there is only one.
    fmr
        False match rate of the threshold; by default the first.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> ax = fl.plots.vulnerability_plot(study["vulnerability"].to_dataset())
    >>> ax.get_xlabel()
    'MMPMR (%)'
    """
    model = one_model(risk, model)
    data = selected(risk, model=model)
    if "fmr" in data.dims:
        rates = data["fmr"].to_numpy()
        near = [0] if fmr is None else np.flatnonzero(np.isclose(rates, fmr, rtol=1e-6))
        if not len(near):
            allowed = ", ".join(f"{rate:g}" for rate in rates)
            raise ParameterError(f"fmr={fmr!r} must be one of {allowed}")
        data = data.isel(fmr=int(near[0]))
    ax = given_axes(ax, 5.4, 3.0)
    kinds = names_of(data, "attack")
    if len(kinds) == 2:  # a single kind, and all kinds
        kinds = [kind for kind in kinds if kind != _POOLED]
    shares = [data["mmpmr"].sel(attack=kind) for kind in kinds]
    names = ["all morphs" if kind == _POOLED else kind for kind in kinds]
    colours = ["0.3" if kind == _POOLED else CATEGORICAL[0] for kind in kinds]
    _rate_dots(ax, [*shares, data["false_non_match_rate"]], [*colours, CATEGORICAL[1]])
    _name_rows(ax, [*names, "bona fide pairs rejected"])
    ax.set_xlim(-3, 103)
    ax.set_xlabel(axis_label(risk["mmpmr"], units="%"))
    ax.set_title("both contributors match", loc="left", fontsize="medium")
    return ax


def d_eer_plot(errors: xr.Dataset, *, attack: str = _POOLED, ax: Axes | None = None) -> Axes:
    """D-EER of each score except those of single bands, with intervals, the lowest first.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.
    attack
        Name of the attack.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> ax = fl.plots.d_eer_plot(errors)
    >>> ax.get_xlabel()
    'D-EER (%); dotted: chance'
    """
    check_name("attack", attack, names_of(errors, "attack"))
    data = errors["d_eer"].sel(attack=attack)
    names = [name for name in names_of(errors, "score_name") if not name.startswith("band ")]
    value = data.sel(score_name=names, estimate="value").to_numpy()
    names = [names[k] for k in np.argsort(value, kind="stable")]  # NaN last
    ax = given_axes(ax, 5.4, 3.0)
    baselines = list(errors.attrs["baselines"])
    colours = [CATEGORICAL[1] if name in baselines else CATEGORICAL[0] for name in names]
    _rate_dots(ax, [data.sel(score_name=name) for name in names], colours)
    _name_rows(ax, names)
    ax.axvline(50, color="0.4", lw=0.9, ls=":")
    ax.set_xlim(-1.5, max(62.0, ax.get_xlim()[1]))
    ax.set_xlabel(f"{axis_label(errors['d_eer'], units='%')}; dotted: chance")
    ax.set_title(_attack_title(attack), loc="left", fontsize="medium")
    for colour, marker, label in zip(
        CATEGORICAL[:2], MARKERS[:2], ("influence", "baseline"), strict=True
    ):
        ax.plot([], [], ls="none", color=colour, marker=marker, ms=5, label=label)
    ax.legend(**LEGEND, loc="upper right")
    return ax


def _attack_title(attack: str) -> str:
    return "all attacks" if attack == _POOLED else f"attack: {shortened(attack, 40)}"


def _rate_dots(ax: Axes, rates: Sequence[xr.DataArray], colours: Sequence[str]) -> None:
    """Draw rates in per cent with their intervals, from top to bottom."""
    for y, (rate, colour) in enumerate(zip(rates, colours, strict=True)):
        value, lower, upper = (100 * float(estimate) for estimate in estimates_of(rate))
        marker = MARKERS[1] if colour == CATEGORICAL[1] else MARKERS[0]
        ax.hlines(y, lower, upper, color=colour, lw=1.6)
        ax.plot(value, y, ls="none", marker=marker, color=colour, ms=5.5)


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Name the rows of :func:`_rate_dots`."""
    ax.set_yticks(range(len(names)), [shortened(name, 26) for name in names], fontsize="small")
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(axis="x", color="0.9", lw=0.6)
    ax.set_axisbelow(True)


def attack_profile_plot(
    profiles: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "reference",
    kind: BandQuantity = "directed",
    difference: bool = False,
    ax: Axes | None = None,
) -> Axes:
    r"""Mean profiles of bona fide and attack pairs, or their differences from bona fide.

    Parameters
    ----------
    profiles
        From :func:`freqlab.morphing.profiles`.
    model, side
        Model and masked side to select; the reference is the document. `model` may be left out if
        there is only one.
    kind
        ``"directed"``, ``"absolute"``, ``"per_contrast"`` or ``"energy"``.
    difference
        Whether to draw differences from bona fide pairs.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> profiles = study["profiles"].to_dataset()
    >>> ax = fl.plots.attack_profile_plot(profiles)
    >>> ax.get_ylabel()
    'mean directed influence\n(cosine similarity)'
    """
    model = one_model(profiles, model)
    data = selected(profiles, model=model, side=side)
    check_name("kind", kind, get_args(BandQuantity))
    ax = given_axes(ax, 6.4, 3.6)
    variable = f"{kind}_difference" if difference else kind
    attacks = names_of(profiles, "attack")
    for i, name in enumerate(attacks):
        if difference and i == 0:
            continue
        part = data.sel(attack=name)
        value, lower, upper = estimates_of(part[variable])
        label = f"{shortened(name, 28)} ({int(part['n_pairs']):,})"
        style = {**line_style(i), "ms": 3.5, "lw": 1.3, "label": label}
        at: dict[str, Any] = {"place": i, "n_places": len(attacks)}
        draw_profile(ax, profiles, value, lower, upper, alpha=0.15, **at, **style)
    if kind == "energy" and not difference:
        ax.set_yscale("log")
    else:
        ax.axhline(0, color="0.3", lw=0.8)
    if difference:
        ax.margins(y=0.15)
    frequency_axis(ax, profiles)
    ax.set_ylabel(axis_label(profiles[variable]))
    masked = {"reference": "document masked", "probe": "live masked"}.get(side, f"{side} masked")
    ax.set_title(
        f"difference, {masked}" if difference else masked,
        loc="left",
        fontsize="medium",
    )
    ax.legend(
        **LEGEND,
        loc="lower right" if difference else "upper right",
        title="pairs",
        title_fontsize="small",
        alignment="right",
    )
    return ax


def morph_plot(
    result: xr.Dataset,
    *,
    pair: int,
    model: str | None = None,
    height: float | None = None,
    aspect: float | None = None,
) -> dict[str, Axes]:
    """A morph beside photographs of its contributors, with the influence of their pairs.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over :func:`freqlab.morphing.make_pairs`.
    pair
        Label of an attack pair; the pair of the other contributor is shown as well.
    model
        Name of the model; may be left out if there is only one.
    height
        Height of the figure in inches; by default that for which its text is made.
    aspect
        Width of the figure over its height.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        ``live a``, ``morph``, ``live b``, and ``heat a``, ``heat b`` with the document masked.

    Raises
    ------
    ParameterError
        If `pair` is not an attack pair, or an argument is not allowed.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> result = study["influence"].to_dataset()
    >>> attacks = result["pair"].to_numpy()[result["attack"].to_numpy() != "bona fide"]
    >>> axes = fl.plots.morph_plot(result, pair=int(attacks[0]))
    >>> sorted(axes)
    ['heat a', 'heat b', 'live a', 'live b', 'morph']
    """
    model = one_model(result, model)
    if "attack" not in result.coords or pair not in result["pair"].to_numpy():
        raise ParameterError(f"pair={pair!r} is not a pair made by fl.morphing.make_pairs")
    at = result.sel(pair=pair)
    a, b = str(at["contributor_a"].item()), str(at["contributor_b"].item())
    if a == b:
        raise ParameterError(
            f"pair={pair!r} is not an attack pair: its document shows a single person"
        )
    morph = str(at["reference"].item())
    of_morph = result["reference"].to_numpy().astype(str) == morph
    size, (left, bottom, across, up) = panel_place(
        (0.025, 0.32, 0.895, 0.5), (MAX_WIDTH, 2.35), height=height, aspect=aspect
    )
    figure = plt.figure(figsize=size)
    grid = figure.add_gridspec(
        1, 6, width_ratios=[1, 0.24, 1, 1, 1, 1], left=left, right=left + across, top=bottom + up,
        bottom=bottom, wspace=0.12,
    )  # fmt: skip
    axes: dict[str, Axes] = {"morph": figure.add_subplot(grid[0, 3])}
    face_plot(result, face=morph, model=model, ax=axes["morph"])
    axes["morph"].set_title(
        f"morph as document\n{shortened(str(at['attack'].item()), 18)}", fontsize="small"
    )
    for which, person, faces_at, heat_at in (("a", a, 2, 0), ("b", b, 4, 5)):
        same = of_morph & (result["probe_subject"].to_numpy().astype(str) == person)
        labels = result["pair"].to_numpy()[same]
        if not len(labels):
            continue
        label = int(labels[0])
        axes[f"live {which}"] = ax = figure.add_subplot(grid[0, faces_at])
        probe = str(result["probe"].sel(pair=label).item())
        face_plot(result, face=probe, model=model, ax=ax)
        similarity = float(selected(result, model=model)["similarity"].sel(pair=label))
        ax.set_title(
            f"live, {shortened(person, 14)}\nsimilarity {similarity:.2f}", fontsize="small"
        )
        axes[f"heat {which}"] = ax = figure.add_subplot(grid[0, heat_at])
        spectrum_plot(result, pair=label, model=model, side="reference", ax=ax)
        ax.set_title(f"morph masked,\nagainst {shortened(person, 14)}", fontsize="small")
        bar = ax.child_axes[0]
        bar.set_yticks([])
        bar.set_ylabel(bar.get_ylabel().replace("relative to the maximum, ", "± "))
    return axes


def manipulation_plot(
    changes: xr.Dataset,
    *,
    model: str | None = None,
    quantity: ManipulatedQuantity = "energy",
    ax: Axes | None = None,
) -> Axes:
    r"""Change in each band caused by each kind of manipulation, with intervals.

    Parameters
    ----------
    changes
        From :func:`freqlab.morphing.manipulation_by_kind`, or
        :func:`freqlab.morphing.manipulation` for one kind.
    model
        Name of the model; may be left out if there is only one.
    quantity
        ``"energy"``, ``"directed"`` or ``"absolute"``.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> ax = fl.plots.manipulation_plot(study["manipulation"].to_dataset())
    >>> ax.get_ylabel()
    'change in log energy\n(SD of pristine pairs)'
    """
    model = one_model(changes, model)
    check_name("quantity", quantity, get_args(ManipulatedQuantity))
    data = selected(changes, model=model)
    if "kind" not in data.dims:
        data = data.expand_dims(kind=["manipulated"])
    ax = given_axes(ax, 6.4, 3.6)
    kinds = names_of(data, "kind")
    for i, name in enumerate(
        kinds, start=1
    ):  # the first style is that of bona fide in other figures
        part = data.sel(kind=name)
        value, lower, upper = estimates_of(part[f"{quantity}_effect"])
        count = int(part["n_pairs"].sel(label="manipulated"))
        label = f"{shortened(name, 28)} ({count:,})"
        style = {**line_style(i), "ms": 3.5, "lw": 1.3, "label": label}
        at: dict[str, Any] = {"place": i - 1, "n_places": len(kinds)}
        draw_profile(ax, changes, value, lower, upper, alpha=0.15, **at, **style)
    ax.axhline(0, color="0.3", lw=0.8)
    frequency_axis(ax, changes)
    what = "log energy" if quantity == "energy" else f"{quantity} influence"
    ax.set_ylabel(f"change in {what}\n(SD of pristine pairs)")
    ax.set_title(what, loc="left", fontsize="medium")
    ax.margins(y=0.15)
    _legend_below(ax, 0.22, "pairs")
    return ax


def _legend_below(ax: Axes, distance: float, title: str | None = None) -> None:
    """Put a legend below the axes, in two columns where names are short."""
    longest = max(map(len, ax.get_legend_handles_labels()[1]), default=0)
    ax.legend(
        **LEGEND,
        ncols=1 if longest > _WIDE_NAME + 6 else 2,
        loc="upper center",
        bbox_to_anchor=(0.42, -distance),
        columnspacing=1.0,
        title=title,
        title_fontsize="small",
    )


def detection_plot(
    errors: xr.Dataset,
    *,
    scores: Sequence[str] | None = None,
    attack: str = "all",
    ax: Axes | None = None,
) -> Axes:
    """Detection error trade-off of scores: BPCER over APCER.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.
    scores
        Names of the scores; by default all except those of single bands.
    attack
        Name of the attack.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> ax = fl.plots.detection_plot(errors)
    >>> ax.get_ylabel()
    'BPCER (%)'
    """
    known = names_of(errors, "score_name")
    check_name("attack", attack, names_of(errors, "attack"))
    if scores is None:
        scores = [name for name in known if not name.startswith("band ")]
    for name in scores:
        check_name("scores", name, known)
    ax = given_axes(ax, 6.6, 4)
    x = 100 * errors["curve_apcer"].to_numpy()
    for i, name in enumerate(scores):
        data = errors.sel(score_name=name, attack=attack)
        eer = 100 * float(data["d_eer"].sel(estimate="value"))
        style = "--" if name in errors.attrs["baselines"] else "-"
        label = f"{shortened(name, 28)}: {eer:.1f} %"
        ax.plot(
            x,
            100 * data["curve"].to_numpy(),
            style,
            color=CATEGORICAL[i % len(CATEGORICAL)],
            marker=MARKERS[i % len(MARKERS)],
            markevery=(3 * i, 25),
            ms=4,
            lw=1.5,
            label=label,
        )
    ax.plot([0, 100], [0, 100], color="0.8", lw=0.8, zorder=0)
    ax.set(xlim=(0, 60), ylim=(0, 100))
    ax.set_xlabel(axis_label(errors["curve_apcer"], units="%"))
    ax.set_ylabel(axis_label(errors["curve"], units="%"))
    ax.set_title(_attack_title(attack), loc="left", fontsize="medium")
    _legend_below(ax, 0.2, "D-EER")
    return ax


def score_histogram_plot(
    scores: xr.Dataset, *, name: str = "mahalanobis", ax: Axes | None = None
) -> Axes:
    """Distribution of a score over bona fide pairs, controls and attacks of all kinds.

    Parameters
    ----------
    scores
        From :func:`freqlab.morphing.scores`.
    name
        Name of the score.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> ax = fl.plots.score_histogram_plot(study["scores/linear"].to_dataset())
    >>> ax.get_ylabel()
    'probability density'
    """
    check_name("name", name, names_of(scores, "score_name"))
    ax = given_axes(ax, 6.4, 3.4)
    values = scores["score"].sel(score_name=name).to_numpy()
    attack = scores["attack"].to_numpy().astype(str)
    finite = values[np.isfinite(values)]
    highest = np.quantile(finite, 0.995) if len(finite) else 1.0
    edges = np.linspace(finite.min(initial=0.0), highest, 31).tolist()
    pooled = np.where(np.isin(attack, [BONA_FIDE, CONTROL]), attack, "attacks")
    for i, kind in enumerate((BONA_FIDE, CONTROL, "attacks")):
        shown = values[(pooled == kind) & np.isfinite(values)]
        if len(shown):
            label, style = f"{kind} ({len(shown):,})", ("-", ":", "--")[i]
            colour = CATEGORICAL[(0, 2, 1)[i]]
            ax.hist(shown, bins=edges, density=True, alpha=0.25, color=colour)
            ax.hist(shown, bins=edges, density=True, histtype="step", lw=1.6, ls=style,
                    color=colour, label=label)  # fmt: skip
    ax.set_xlabel(f"{shortened(name, 28)}\n(higher: less similar to bona fide)")
    ax.set_ylabel("probability density")
    ax.set_title("distribution of a score", loc="left", fontsize="medium")
    _legend_below(ax, 0.29, "pairs")
    return ax

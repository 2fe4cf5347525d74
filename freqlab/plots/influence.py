"""Figures of influence: heat plots of a pair, strips and profiles over frequency."""

from __future__ import annotations

import textwrap
from typing import Any, get_args

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from freqlab.errors import StoreError, check_name
from freqlab.literals import InfluenceQuantity, Kind, Side
from freqlab.plots.common import (
    COMPARISON_COLOURS,
    DIVERGING,
    LEGEND,
    MAX_WIDTH,
    NO_DATA,
    SEQUENTIAL,
    axis_label,
    drawn_bounds,
    frequency_axis,
    given_axes,
    largest_absolute,
    one_model,
    panel_axes,
    short_band_axis,
    shortened,
)
from freqlab.plots.frequency_plane import draw_plane, spectrum_plot
from freqlab.plots.profile_lines import draw_profile, intervals_shown_as, room_for_names
from freqlab.results.quantities import MIN_REMOVED_RMS, influence_per_contrast
from freqlab.results.selection import (
    about_model,
    bands_of,
    fmr_text,
    pairs_to_show,
    select_pair,
    select_part,
    threshold_of,
    with_axes,
)
from freqlab.statistics.resampling import estimates_of
from freqlab.store.reading import open_crop

__all__ = [
    "contrast_plot",
    "face_plot",
    "heat_plot",
    "overview_plot",
    "profile_plot",
    "strip_plot",
]

_TYPICAL = "A typical genuine pair"  # of pairs_to_show
_COMPARISON_STYLES: dict[str, dict[str, Any]] = {
    "genuine": {"ls": "-", "marker": "o"},
    "impostor": {"ls": "--", "marker": "s"},
}


def heat_plot(
    result: xr.Dataset,
    *,
    pair: int,
    model: str | None = None,
    side: Side = "probe",
    fmr: float = 1e-3,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
) -> dict[str, Axes]:
    """Frequency heat plot of a pair (Huber & Damer 2025).

    The plot shows both faces; the plane of frequencies with each ring coloured by its absolute and
    by its directed influence, divided by the largest absolute influence; directed influence over
    frequency; and influence per contrast removed.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    pair
        Label of the pair.
    model
        Name of the model; may be left out if there is only one.
    side
        Masked image.
    fmr
        False match rate of the threshold in the title; one of those in the result.
    ax
        Axes that the plot replaces; a new figure by default.
    height
        Height of a new figure in inches; by default that for which its text is made.
    aspect
        Width of a new figure over its height.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        ``probe``, ``reference``, ``absolute``, ``directed`` (the plane), ``strip``,
        ``per_contrast``.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such pair, model, side or false match rate, or a size is not allowed.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> axes = fl.plots.heat_plot(result, pair=0)
    >>> sorted(axes)
    ['absolute', 'directed', 'per_contrast', 'probe', 'reference', 'strip']
    """
    model = one_model(result, model)
    data = select_pair(result, pair=pair, model=model, side=side)
    threshold = threshold_of(result, model=model, fmr=fmr)
    ax = panel_axes(
        ax, (0.026, 0.125, 0.961, 0.815), (MAX_WIDTH, 4.6), height=height, aspect=aspect
    )
    ax.set_axis_off()
    places = {
        "probe": (0.0, 0.53, 0.194, 0.37),
        "reference": (0.275, 0.53, 0.194, 0.37),
        "absolute": (0.0, 0.0, 0.194, 0.37),
        "directed": (0.275, 0.0, 0.194, 0.37),
        "strip": (0.717, 0.53, 0.283, 0.37),
        "per_contrast": (0.717, 0.0, 0.283, 0.37),
    }
    axes = {name: ax.inset_axes(place) for name, place in places.items()}
    for role in ("probe", "reference"):
        face_plot(result, face=str(data[role].item()), model=model, ax=axes[role])
        masked = side in (role, "both")
        name = shortened(str(data[role].item()), 20)
        axes[role].set_title(f"{role}{' (masked)' if masked else ''}\n{name}", fontsize="small")
    kinds: tuple[Kind, ...] = ("absolute", "directed")
    for kind in kinds:
        spectrum_plot(result, pair=pair, model=model, side=side, kind=kind, ax=axes[kind])
        _show_units(axes[kind], data["influence"])
    strip_plot(result, pair=pair, model=model, side=side, ax=axes["strip"])
    strip_plot(
        result, pair=pair, model=model, side=side, kind="per_contrast", ax=axes["per_contrast"]
    )
    for part in (*kinds, "strip", "per_contrast"):
        if part not in kinds:
            short_band_axis(axes[part], result)
        _make_small(axes[part])
    truth = "genuine" if bool(data["genuine"]) else "impostor"
    similarity = float(data["similarity"])
    title = f"Pair {pair} ({truth}), {shortened(model, 32)}: "
    title += f"similarity {similarity:.2f}" if np.isfinite(similarity) else "not compared"
    if np.isfinite(threshold):
        title += f", threshold {threshold:.2f} at FMR {fmr_text(fmr)}"
    ax.set_title(title, fontsize="medium")
    return axes


def _show_units(ax: Axes, influence: xr.DataArray) -> None:
    """Label the relative colour bar of a plane with the influence itself, in its unit."""
    largest = largest_absolute(influence.to_numpy())
    bar = ax.child_axes[0]
    ticks = bar.get_yticks()
    texts = [f"{tick * largest:.2g}".replace("-", "\N{MINUS SIGN}") for tick in ticks]
    bar.set_yticks(ticks, texts, fontsize="small")
    bar.set_ylabel("")
    ax.set_title(f"{ax.get_title()}\n({influence.attrs['units']})")


def _make_small(ax: Axes, width: int = 24) -> None:
    """Set the labels of axes in small text, in lines of at most `width` characters."""
    ax.tick_params(which="both", labelsize="small")
    ax.title.set_fontsize("small")
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(text=textwrap.fill(label.get_text(), width), fontsize="small")


def overview_plot(
    result: xr.Dataset,
    profile: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    fmr: float = 1e-3,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
) -> dict[str, Axes]:
    """A typical genuine pair, and the mean influence of all pairs.

    The plot shows both faces of a genuine pair of median similarity; the plane of frequencies with
    each ring coloured by the mean directed influence on genuine pairs; and the mean profiles of
    genuine and impostor pairs with intervals, below the colours of the rings.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    profile
        Its means, from :func:`freqlab.results.mean_profile`.
    model, side
        Model and masked side to select; `model` may be left out if there is only one.
    fmr
        False match rate of the threshold in the title of the pair; one of those in the result.
    ax
        Axes that the plot replaces; a new figure by default.
    height
        Height of a new figure in inches; by default that for which its text is made.
    aspect
        Width of a new figure over its height.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        ``probe``, ``reference``, ``plane``, ``strip``, ``profile``. The faces are missing where
        there is no genuine pair.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result or the profile has no such model, side or false match rate, or a size is not
        allowed.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> profile = fl.results.mean_profile(result, n_draws=50)
    >>> axes = fl.plots.overview_plot(result, profile)
    >>> sorted(axes)
    ['plane', 'probe', 'profile', 'reference', 'strip']
    """
    model = one_model(result, model)
    part = select_part(with_axes(profile, "directed"), model=model, side=side)
    means = part["directed"].sel(comparison="genuine", estimate="value")
    shown = pairs_to_show(result, model=model, side=side, fmr=fmr)
    ax = panel_axes(ax, (0.015, 0.13, 0.97, 0.84), (MAX_WIDTH, 4.4), height=height, aspect=aspect)
    ax.set_axis_off()
    axes = {}
    if _TYPICAL in shown:
        data = select_pair(result, pair=shown[_TYPICAL], model=model, side=side)
        for role, left in (("probe", 0.0), ("reference", 0.195)):
            axes[role] = ax.inset_axes((left, 0.525, 0.18, 0.345))
            face_plot(result, face=str(data[role].item()), model=model, ax=axes[role])
            axes[role].set_title(role, fontsize="small", pad=3)
        ax.text(0, 0.935, _about_typical(result, data, model, fmr), fontsize="small", va="bottom")
    axes["plane"] = ax.inset_axes((0.075, 0.0, 0.19, 0.37))
    draw_plane(result, means.to_numpy(), model=model, kind="directed", ax=axes["plane"])
    n_pairs = int(part["n_pairs"].sel(comparison="genuine"))
    axes["plane"].set_title(f"mean influence on {n_pairs:,} genuine pairs")
    _show_units(axes["plane"], means)
    axes["profile"] = ax.inset_axes((0.505, 0.0, 0.495, 0.87))
    profile_plot(profile, model=model, side=side, ax=axes["profile"])
    axes["profile"].legend(
        **LEGEND,
        loc="upper right",
        title=(
            f"{side} masked; {intervals_shown_as(profile)}: "
            f"{100 * float(profile.attrs['level']):g} % intervals"
        ),
        title_fontsize="small",
        alignment="left",
    )
    axes["strip"] = ax.inset_axes((0.505, 0.9, 0.495, 0.05))
    _draw_strip(profile, means, ax=axes["strip"])
    short_band_axis(axes["profile"], profile)
    _make_small(axes["plane"])
    _make_small(axes["profile"], width=60)
    return axes


def _about_typical(result: xr.Dataset, data: xr.Dataset, model: str, fmr: float) -> str:
    threshold = threshold_of(result, model=model, fmr=fmr)
    text = f"A typical genuine pair (pair {int(data['pair'])})\n"
    text += f"similarity {float(data['similarity']):.2f}"
    if np.isfinite(threshold):
        text += f", threshold {threshold:.2f} at FMR {fmr_text(fmr)}"
    return text


def _draw_strip(profile: xr.Dataset, means: xr.DataArray, *, ax: Axes) -> None:
    """The colours of the rings of a plane, side by side on a frequency axis."""
    values = means.to_numpy()
    bounds = drawn_bounds(profile)
    relative = values / largest_absolute(values)
    for (left, right), value in zip(bounds, relative, strict=True):
        colour = plt.get_cmap(DIVERGING)(0.5 + 0.5 * value) if np.isfinite(value) else NO_DATA
        ax.axvspan(left, right, color=colour, lw=0)
    ax.set_xlim(bounds.min(), bounds.max())
    ax.set(xticks=[], yticks=[])
    radial = bands_of(profile).radial
    what = "colours of the rings, over frequency" if radial else "colours of the bands"
    ax.set_title(what, fontsize="small", loc="left", pad=3)


def strip_plot(
    result: xr.Dataset,
    *,
    pair: int,
    model: str | None = None,
    side: Side = "probe",
    kind: InfluenceQuantity = "directed",
    ax: Axes | None = None,
) -> Axes:
    r"""Influence of each band of a pair over frequency, in its unit.

    Parameters
    ----------
    result, pair, model, side
        As for :func:`heat_plot`.
    kind
        ``"directed"``, ``"absolute"``, or ``"per_contrast"``: divided by the RMS contrast removed.
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
    >>> ax = fl.plots.strip_plot(result, pair=0)
    >>> ax.get_ylabel()
    'directed influence\n(cosine similarity)'
    """
    model = one_model(result, model)
    check_name("kind", kind, get_args(InfluenceQuantity))
    data = select_pair(result, pair=pair, model=model, side=side)
    ax = given_axes(ax, 5, 3)
    array = influence_per_contrast(data) if kind == "per_contrast" else data["influence"]
    values = np.abs(array.to_numpy()) if kind == "absolute" else array.to_numpy()
    lower, upper = drawn_bounds(result).T
    largest = largest_absolute(values)
    colours = plt.get_cmap(DIVERGING)(0.5 + 0.5 * np.nan_to_num(values) / largest)
    if kind == "absolute":
        colours = plt.get_cmap(SEQUENTIAL)(np.nan_to_num(values) / largest)
    ax.bar(lower, values, upper - lower, align="edge", color=colours, edgecolor="0.3", lw=0.5)
    ax.axhline(0, color="0.3", lw=0.8)
    absent = ~np.isfinite(values)
    for left, right in zip(lower[absent], upper[absent], strict=True):
        ax.axvspan(left, right, color=NO_DATA, zorder=0, lw=0)
    why = "no data"
    if kind == "per_contrast" and np.isfinite(data["influence"]).any():
        why = f"less than {MIN_REMOVED_RMS} grey levels removed"
    if absent.any():
        ax.set_title(f"grey: {why}", fontsize="small", loc="right")
    frequency_axis(ax, result)
    ax.set_ylabel(axis_label(array, name="absolute influence" if kind == "absolute" else None))
    return ax


def profile_plot(
    profile: xr.Dataset,
    *,
    model: str | None = None,
    side: Side = "probe",
    kind: InfluenceQuantity = "directed",
    ax: Axes | None = None,
) -> Axes:
    r"""Mean profiles of genuine and impostor pairs over frequency, with intervals.

    Rings and octaves are joined by lines, with shaded intervals. Bands without an order, such as
    sectors and subbands of wavelets, are points with bars for the intervals.

    Parameters
    ----------
    profile
        From :func:`freqlab.results.mean_profile`.
    model, side
        Model and masked side to select; `model` may be left out if there is only one.
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
    UnknownNameError
        If the profile has no such model, side or kind.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> profile = fl.results.mean_profile(result, n_draws=50)
    >>> ax = fl.plots.profile_plot(profile)
    >>> ax.get_ylabel()
    'mean directed influence\n(cosine similarity)'
    """
    model = one_model(profile, model)
    check_name("kind", kind, get_args(InfluenceQuantity))
    profile = with_axes(profile, "directed")
    data = select_part(profile, model=model, side=side)
    ax = given_axes(ax, 6, 3.4 + room_for_names(profile))
    for place, (comparison, style) in enumerate(_COMPARISON_STYLES.items()):
        values = data[kind].sel(comparison=comparison)
        value, lower, upper = estimates_of(values)
        colour = COMPARISON_COLOURS[comparison]
        n_pairs = int(data["n_pairs"].sel(comparison=comparison))
        n_subjects = int(data["n_subjects"].sel(comparison=comparison))
        label = f"{comparison} ({n_pairs:,} pairs, {n_subjects} subjects)"
        marked: dict[str, Any] = {**style, "color": colour, "ms": 4, "label": label}
        draw_profile(ax, profile, value, lower, upper, place=place, n_places=2, **marked)
    ax.axhline(0, color="0.3", lw=0.8)
    frequency_axis(ax, profile)
    ax.set_ylabel(axis_label(profile[kind]))
    ax.legend(
        **LEGEND,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        title=(
            f"{side} masked; {intervals_shown_as(profile)}: "
            f"{100 * float(profile.attrs['level']):g} % intervals over people"
        ),
        alignment="left",
    )
    return ax


def contrast_plot(
    result: xr.Dataset, *, model: str | None = None, side: Side = "probe", ax: Axes | None = None
) -> Axes:
    """RMS contrast removed with each band: median and central 90 % of the pairs.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    model, side
        Model and masked side to select; `model` may be left out if there is only one.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    UnknownNameError
        If the result has no such model or side.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> ax = fl.plots.contrast_plot(result)
    >>> ax.get_ylabel()
    'RMS contrast removed (grey levels)'
    """
    model = one_model(result, model)
    data = select_part(result, model=model, side=side)
    ax = given_axes(ax, 6, 3.4 + room_for_names(result))
    removed = data["removed_rms"].transpose("pair", "band").to_numpy()
    kept = removed[np.isfinite(removed).any(axis=1)]
    low, median, high = np.full((3, removed.shape[1]), np.nan)
    if len(kept):
        low, median, high = np.nanquantile(kept, [0.05, 0.5, 0.95], axis=0)
    style: dict[str, Any] = {"ls": "-", "marker": "o", "ms": 4, "color": "0.35"}
    draw_profile(
        *(ax, result, median, low, high),
        alpha=0.3,
        interval_label="90 % of pairs",
        **style,
        label="median over pairs",
    )
    ax.axhline(MIN_REMOVED_RMS, color="0.2", ls=":", label=f"{MIN_REMOVED_RMS} grey levels")
    ax.set_yscale("log")
    frequency_axis(ax, result)
    ax.set_ylabel(axis_label(result["removed_rms"]))
    ax.set_title(f"{side} masked", loc="left", fontsize="medium")
    ax.legend(**LEGEND)
    return ax


def face_plot(
    result: xr.Dataset, *, face: str, model: str | None = None, ax: Axes | None = None
) -> Axes:
    """Stored crop of a face, or a note if the store has none.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    face
        Name of the face.
    model
        Model whose crop is shown; the first by default.
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
    >>> ax = fl.plots.face_plot(result, face="p0/0")
    >>> ax.get_title()
    'p0/0'
    """
    model = str(np.atleast_1d(result["model"].to_numpy())[0]) if model is None else model
    crop = _stored_crop(result, face, model)
    ax = given_axes(ax, 2.5, 2.5)
    if crop is None:
        ax.text(0.5, 0.5, "no crop in\nthe store", ha="center", va="center", transform=ax.transAxes)
    else:
        ax.imshow(crop, interpolation="lanczos")
    ax.set(xticks=[], yticks=[])
    ax.set_title(shortened(face, 32), fontsize="medium")
    return ax


def _stored_crop(result: xr.Dataset, face: str, model: str) -> npt.NDArray[np.uint8] | None:
    if not result.attrs.get("store"):
        return None
    try:
        return open_crop(
            result.attrs["store"],
            face=face,
            template=about_model(result, model)["template"],
        )
    except StoreError:
        return None

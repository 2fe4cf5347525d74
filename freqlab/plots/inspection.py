"""Figures of a pair with edited bands, as shown in the inspector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from freqlab.edits.inspection import (
    Edited,
    band_ranges,
    chosen_text,
    edit_text,
    side_by_side,
    stretched,
)
from freqlab.errors import check_name
from freqlab.literals import Kind, Side
from freqlab.plots.common import (
    COMPARISON_COLOURS,
    LEGEND,
    MAX_WIDTH,
    SEQUENTIAL,
    axis_label,
    drawn_bounds,
    frequency_axis,
    given_axes,
    one_model,
    panel_axes,
    short_band_axis,
    shortened,
)
from freqlab.plots.frequency_plane import spectrum_plot
from freqlab.plots.profile_lines import draw_profile
from freqlab.results.profiles import influence_spread
from freqlab.results.selection import (
    bands_of,
    crop_geometry,
    decision_text,
    fmr_text,
    select_pair,
    threshold_of,
)

__all__ = ["inspection_plot", "pair_profile_plot", "plane_extent"]

_CAPTION_WIDTH = 24  # characters
_TITLE_LINE = 70  # characters of a title in one line,
_TITLE_WIDTH = 110  # and of an edit in a line of its own


def pair_profile_plot(
    result: xr.Dataset,
    *,
    pair: int,
    model: str | None = None,
    side: Side = "probe",
    kind: Kind = "directed",
    spread: xr.Dataset | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Influence of each band of a pair, compared with all genuine and impostor pairs.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    pair, model, side
        Pair, model and masked side to select; `model` may be left out if there is only one.
    kind
        ``"directed"`` or ``"absolute"``.
    spread
        From :func:`freqlab.results.profiles.influence_spread`; computed by default.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such pair, model or side.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> ax = fl.plots.pair_profile_plot(result, pair=0)
    >>> ax.get_ylabel()
    'directed influence\n(cosine similarity)'
    """
    check_name("kind", kind, get_args(Kind))
    model = one_model(result, model)
    data = select_pair(result, pair=pair, model=model, side=side)
    if spread is None:
        spread = influence_spread(result, model=model, side=side)
    ax = given_axes(ax, 7, 3.6)
    bounds = drawn_bounds(result)
    edges = np.append(bounds[:, 0], bounds[-1, 1])
    for comparison, style, hatch in (("genuine", "-", ""), ("impostor", "--", "////")):
        lower, median, upper = spread[kind].sel(comparison=comparison).to_numpy()
        colour = COMPARISON_COLOURS[comparison]
        n_pairs = int(spread["n_pairs"].sel(comparison=comparison))
        if not n_pairs:
            continue
        ax.stairs(
            upper,
            edges,
            baseline=lower,
            fill=True,
            facecolor=(*colour, 0.18),
            edgecolor=(*colour, 0.6),
            hatch=hatch,
            lw=0,
            label=f"{comparison} ({n_pairs:,} pairs)",
        )
        ax.stairs(median, edges, baseline=None, color=colour, ls=style, lw=1.4)
    values = data["influence"].to_numpy()
    values = np.abs(values) if kind == "absolute" else values
    of_pair: dict[str, Any] = {"ls": "-", "marker": "o", "color": "0.1", "ms": 4.5, "lw": 1.2}
    draw_profile(ax, result, values, **of_pair, label=f"pair {pair}")
    ax.axhline(0, color="0.3", lw=0.8)
    frequency_axis(ax, result)
    ax.set_ylabel(axis_label(spread[kind]))
    _add_legend(ax, f"shaded: {100 * float(spread.attrs['level']):g} % of pairs; lines: medians")
    return ax


def plane_extent(result: xr.Dataset, models: Sequence[str]) -> float:
    """Highest frequency along an axis of the crops of models, in the unit of the bands."""
    highest = []
    for model in models:
        (_, width), eye_distance = crop_geometry(result, model)
        highest.append(bands_of(result).in_unit(width // 2, width, eye_distance))
    return max(highest)


def _add_legend(ax: Axes, title: str) -> None:
    """Add a legend above axes."""
    ax.legend(
        **LEGEND,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        title=title,
        title_fontsize="small",
        alignment="left",
    )


def inspection_plot(
    result: xr.Dataset,
    edited: Edited,
    *,
    kind: Kind = "directed",
    fmr: float = 1e-3,
    spread: xr.Dataset | None = None,
    extent: float | None = None,
    height: float | None = None,
    aspect: float | None = None,
    ax: Axes | None = None,
) -> dict[str, Axes]:
    """A pair with edited bands: faces, removed content, frequency plane and profile.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    edited
        From :meth:`freqlab.edits.Inspection.edit` on this result.
    kind
        ``"directed"`` or ``"absolute"``.
    fmr
        False match rate of the threshold in the title.
    spread
        From :func:`freqlab.results.profiles.influence_spread`; computed by default.
    extent
        Highest frequency of the frequency plane, to draw models with crops of different sizes to
        one scale; by default that of the crops.
    height, aspect
        Height of the figure in inches, and its width over its height.
    ax
        Axes that the plot replaces; a new figure by default.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        ``probe``, ``reference``, ``edited``, ``alone``, ``difference``, ``plane``, ``profile``.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> inspection = fl.edits.Inspection(result, models=[fl.testing.model()])
    >>> edited = inspection.edit(pair=0, model="linear", bands=[1])
    >>> axes = fl.plots.inspection_plot(result, edited)
    >>> sorted(axes)
    ['alone', 'difference', 'edited', 'plane', 'probe', 'profile', 'reference']
    """
    check_name("kind", kind, get_args(Kind))
    part = {"pair": edited.pair, "model": edited.model, "side": edited.side}
    data = select_pair(result, **part)  # type: ignore[arg-type]
    ax = panel_axes(ax, (0.01, 0.12, 0.98, 0.785), (MAX_WIDTH, 4.8), height=height, aspect=aspect)
    ax.set_axis_off()
    names = ("probe", "reference", "edited", "alone", "difference")
    axes = {name: ax.inset_axes((0.203 * k, 0.525, 0.188, 0.37)) for k, name in enumerate(names)}
    axes["plane"] = ax.inset_axes((0.015, 0.0, 0.21, 0.40))
    axes["profile"] = ax.inset_axes((0.45, 0.0, 0.55, 0.33))
    for role in ("probe", "reference"):
        axes[role].imshow(edited.crops[role], interpolation="lanczos")
        axes[role].set_title(f"{role}\n{shortened(str(data[role].item()), 22)}", fontsize="small")
    words, _ = edit_text(result, edited.bands, edited.operation)
    which = _short_ranges(result, edited.bands)
    image = side_by_side(edited.pictures, "edited").round().clip(0, 255).astype(np.uint8)
    axes["edited"].imshow(image, interpolation="lanczos")
    axes["edited"].set_title(f"{edited.side} {words}\n{which}", fontsize="small")
    alone, factor = stretched(side_by_side(edited.pictures, "alone"))
    axes["alone"].imshow(alone, interpolation="lanczos")
    axes["alone"].set_title(f"selected bands only,\ncontrast × {factor:.3g}", fontsize="small")
    difference = side_by_side(edited.pictures, "difference")
    top = max(float(difference.max()), 1.0)
    axes["difference"].imshow(difference, cmap=SEQUENTIAL, vmin=0, vmax=top)
    axes["difference"].set_title(f"difference,\n0 to {top:.3g} grey levels", fontsize="small")
    for name in names:
        axes[name].set(xticks=[], yticks=[])
    spectrum_plot(result, **part, kind=kind, ax=axes["plane"])  # type: ignore[arg-type]
    if extent is not None:
        axes["plane"].set(xlim=(-extent, extent), ylim=(-extent, extent))
    pair_profile_plot(result, **part, kind=kind, spread=spread, ax=axes["profile"])  # type: ignore[arg-type]
    bounds = drawn_bounds(result)
    done = "removed" if edited.operation == "remove" else "kept"
    for k, band in enumerate(edited.bands):
        label = None if k else done
        axes["profile"].axvspan(*bounds[band], color="0.5", alpha=0.25, lw=0, label=label)
    legend = axes["profile"].get_legend()
    _add_legend(axes["profile"], legend.get_title().get_text() if legend else "")
    short_band_axis(axes["profile"], result)
    for name in ("plane", "profile"):
        axes[name].tick_params(which="both", labelsize="small")
        for text in (axes[name].title, axes[name].xaxis.label, axes[name].yaxis.label):
            text.set_fontsize("small")
    title = _title(result, edited, data, fmr)
    ax.set_title(title, fontsize="medium" if title.count("\n") < 2 else "small", pad=0)
    return axes


def _short_ranges(result: xr.Dataset, bands: Sequence[int]) -> str:
    """Ranges of bands under a picture: with their unit, without it, or their number."""
    if not len(bands):
        return ""
    ranges = band_ranges(result, bands)
    for text in (chosen_text(result, bands), ", ".join(ranges)):
        if len(text) <= _CAPTION_WIDTH:
            return text
    return f"{len(ranges)} ranges of bands"


def _title(result: xr.Dataset, edited: Edited, data: xr.Dataset, fmr: float) -> str:
    threshold = threshold_of(result, model=edited.model, fmr=fmr)
    truth = "genuine" if bool(data["genuine"]) else "impostor"
    text = f"Pair {edited.pair} ({truth}), {shortened(edited.model, 40)}"
    changed = edited.bands or edited.operation == "keep"
    if changed:
        masked = "both faces" if edited.side == "both" else edited.side
        edit = " ".join(edit_text(result, edited.bands, edited.operation)).rstrip()
        is_long = len(text) + len(masked) + len(edit) > _TITLE_LINE
        text += f"{chr(10) if is_long else ': '}{shortened(f'{masked} {edit}', _TITLE_WIDTH)}"
    text += f"\nsimilarity {edited.similarity:.3f}"
    if changed:
        text += f" → {edited.edited_similarity:.3f}"
    if np.isfinite(threshold):
        text += f", threshold {threshold:.3f} at FMR {fmr_text(fmr)}: "
        text += decision_text(edited.similarity, threshold)
        if changed:
            text += f" → {decision_text(edited.edited_similarity, threshold)}"
    return text

"""Contents of the inspector as plain values: numbers, colours, texts and pictures."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator
from PIL import Image

from freqlab.bands.band_shapes import full_plane
from freqlab.bands.base import Bands, MergedBands
from freqlab.bands.colour import PARTS, Channels
from freqlab.bands.subbands import Wavelets
from freqlab.edits.inspection import (
    Edited,
    EditedFace,
    chosen_text,
    edit_text,
    side_by_side,
    stretched,
)
from freqlab.literals import Comparison, Kind, Operation, Side
from freqlab.plots.common import (
    COMPARISON_COLOURS,
    DIVERGING,
    NO_DATA,
    SEQUENTIAL,
    drawn_bounds,
    largest_absolute,
)
from freqlab.plots.inspection import plane_extent
from freqlab.plots.orientation import wavelet_labels
from freqlab.results.selection import (
    bands_of,
    crop_geometry,
    decision_text,
    fmr_text,
    frequency_unit,
    select_pair,
    threshold_of,
)
from freqlab.text.shown import one_line

__all__ = [
    "detail_pictures",
    "drawing_of",
    "edited_picture",
    "original_pictures",
    "picture",
    "plane_of",
    "verdict_html",
]


_MOST_NAMES = 8  # bands other than rings that are named on the axis
_GAP = 16  # width of a plane, relative to the gap between two


def plane_of(result: xr.Dataset, *, model: str, extent: float | None = None) -> dict[str, Any]:
    """Band of every Fourier coefficient of the crops of a model, zero frequency in the middle.

    Subbands of wavelets overlap in frequency; they have their nominal areas, octave by orientation.
    Bands of luminance and chroma have one plane each, side by side.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    model
        Name of the model.
    extent
        Highest frequency of the plane, in the unit of the bands; by default that of the crops.

    Returns
    -------
    dict
        ``height``, ``width``, and ``labels``: band numbers as 16-bit little-endian integers, row by
        row; -1 for coefficients in no band, -2 beyond the frequencies of the crops and between
        planes.
    """
    (height, width), eye_distance = crop_geometry(result, model)
    bands = bands_of(result)
    pad = [(0, 0), (0, 0)]
    if extent is not None:
        across = bands.in_unit(1, width, eye_distance)  # of one column; a row is width / height
        n_columns = round(extent / across) - width // 2
        n_rows = round(extent / (across * width / height)) - height // 2
        pad = [(max(n_rows, 0),) * 2, (max(n_columns, 0),) * 2]
    planes = [
        np.pad(labels, pad, constant_values=-2)
        for labels in _planes(bands, height, width, eye_distance)
    ]
    gap = np.full((len(planes[0]), planes[0].shape[1] // _GAP), -2)
    labels = np.concatenate([planes[0], *(part for p in planes[1:] for part in (gap, p))], axis=1)
    height, width = labels.shape
    return {"height": height, "width": width, "labels": labels.astype("<i2").tobytes()}


def _planes(
    bands: Bands, height: int, width: int, eye_distance: float | None
) -> list[npt.NDArray[np.int64]]:
    """Label maps with zero frequency in the middle: one, or one for each part of the colour."""
    if isinstance(bands, MergedBands):
        planes = _planes(bands.of, height, width, eye_distance)
        return [np.where(one < 0, one, one // bands.together) for one in planes]
    if isinstance(bands, Wavelets):
        return [wavelet_labels(bands, height, width)]
    if isinstance(bands, Channels):
        if bands.within is None:
            whole = np.zeros((height, width), int)
            whole[height // 2, width // 2] = -1  # the mean is kept
        else:
            (whole,) = _planes(bands.within, height, width, eye_distance)
        n = len(bands) // len(PARTS)
        return [np.where(whole < 0, whole, whole + k * n) for k in range(len(PARTS))]
    half = bands.label_map(height, width, eye_distance=eye_distance)
    return [np.maximum(full_plane(half, width), -1)]


def drawing_of(
    result: xr.Dataset,
    spread: xr.Dataset,
    *,
    pair: int,
    model: str,
    side: Side,
    kind: Kind,
    operation: Operation,
    extent: float | None = None,
) -> dict[str, Any]:
    """Data that the band picker draws for a pair.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    spread
        Distribution over the pairs, from :func:`freqlab.results.profiles.influence_spread`.
    pair, model, side
        Pair, model and masked side to select.
    kind
        ``"directed"`` or ``"absolute"``.
    operation
        ``"remove"`` or ``"keep"``; selected bands are marked with × or +.
    extent
        Highest frequency of the plane, as for :func:`plane_of`.
    """
    data = select_pair(result, pair=pair, model=model, side=side)
    influence = data["influence"].to_numpy().astype(float)
    values = np.abs(influence) if kind == "absolute" else influence
    largest = largest_absolute(values)
    name = DIVERGING if kind == "directed" else SEQUENTIAL
    relative = np.nan_to_num(values) / largest
    colours = colormaps[name](0.5 + 0.5 * relative if kind == "directed" else relative)
    radial = bands_of(result).radial
    unit = f" {frequency_unit(result)}" if radial else ""
    bounds = drawn_bounds(result)
    comparisons: tuple[Comparison, ...] = ("genuine", "impostor")
    ranges = {c: spread[kind].sel(comparison=c).to_numpy() for c in comparisons}
    bands = [
        {
            "name": band,
            "lower": float(bounds[k, 0]),
            "upper": float(bounds[k, 1]),
            "value": float(values[k]) if np.isfinite(values[k]) else None,
            "colour": to_hex(colours[k] if np.isfinite(values[k]) else NO_DATA),
            "text": f"{band}{unit}: {_band_text(kind, values[k], ranges, k)}",
        }
        for k, band in enumerate(bands_of(result).names)
    ]
    all_values = np.concatenate(
        [values, *(values_of.ravel() for values_of in ranges.values()), [0.0]]
    )
    low, high = float(np.nanmin(all_values)), float(np.nanmax(all_values))
    margin = 0.06 * (high - low) or 0.05
    y_attrs = spread[kind].attrs
    ends = (-1, 0, 1) if kind == "directed" else (0, 1)
    masked = "both images" if side == "both" else side
    return {
        "bands": bands,
        "spread": [_spread_of(spread, c, curves) for c, curves in ranges.items()],
        "x": {
            "label": f"{result['frequency'].attrs['long_name']} ({unit[1:]})" if radial else "band",
            **_frequency_axis(result),
        },
        "y": {
            "label": f"{y_attrs['long_name']} ({y_attrs['units']})",
            **_axis(low - margin, high + margin, 6),
        },
        "scale": _scale(name, ends, largest),
        "no_data": to_hex(NO_DATA),
        "operation": operation,
        "title": f"{kind} influence, {masked} masked",
        "under": _plane_text(result, model, extent),
        **_alternative_texts(kind, pair, model, _areas_text(bands_of(result))),
    }


def _alternative_texts(kind: Kind, pair: int, model: str, areas: str) -> dict[str, str]:
    """Alternative texts of the plane and of the profile."""
    return {
        "alt": f"Frequency plane{areas}; each band is coloured by its {kind} influence on pair "
        f"{pair}, model {model}. Click a band to select it.",
        "profile_alt": f"{kind.capitalize()} influence of each band on pair {pair}, model {model}. "
        f"Arrow keys move between bands, space selects a band, shift with an arrow key selects "
        f"a range, escape clears the selection.",
    }


def _areas_text(bands: Bands) -> str:
    """What a plane shows whose bands are not its parts; empty for other bands."""
    bands = bands.of if isinstance(bands, MergedBands) else bands
    if isinstance(bands, Wavelets):
        return ", nominal areas of subbands, which overlap"
    if isinstance(bands, Channels):
        return f", {PARTS[0]} left, {PARTS[1]} right"
    return ""


def _band_text(
    kind: Kind, value: float, ranges: Mapping[Comparison, npt.NDArray[np.floating[Any]]], k: int
) -> str:
    """Influence of a band as text, with its range over genuine and over impostor pairs."""
    text = f"{kind} influence {value:+.3f}" if np.isfinite(value) else "no data"
    of_pairs = "; ".join(
        f"{comparison} pairs {curves[0, k]:+.3f} to {curves[2, k]:+.3f}"
        for comparison, curves in ranges.items()
        if np.isfinite(curves[0, k])
    )
    return text + (f" ({of_pairs})" if of_pairs else "")


def _spread_of(
    spread: xr.Dataset, comparison: Comparison, values: npt.NDArray[np.floating[Any]]
) -> dict[str, Any]:
    """Bounds and median of influence over all genuine or all impostor pairs, by band."""
    n_pairs = int(spread["n_pairs"].sel(comparison=comparison))
    curves = {
        estimate: [None if np.isnan(v) else float(v) for v in values[e]]
        for e, estimate in enumerate(("lower", "median", "upper"))
    }
    return {
        "label": f"{comparison} ({n_pairs:,} pairs, {100 * float(spread.attrs['level']):g} %)",
        "colour": to_hex(COMPARISON_COLOURS[comparison]),
        "dash": "" if comparison == "genuine" else "5 3",
        **curves,
    }


def _scale(colour_map: str, ends: tuple[int, ...], largest: float) -> dict[str, Any]:
    """The colour bar: its colours, and ticks relative to the largest absolute influence."""
    ticks = [
        {
            "at": (end - ends[0]) / (ends[-1] - ends[0]),
            "text": f"{end * largest:+.2g}" if end else "0",
        }
        for end in ends
    ]
    return {
        "colours": [to_hex(c) for c in colormaps[colour_map](np.linspace(0, 1, 33))],
        "ticks": ticks,
    }


def _axis(low: float, high: float, n: int) -> dict[str, Any]:
    ticks = [
        t
        for t in MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        if low <= t <= high
    ]
    return {"min": low, "max": high, "ticks": [{"at": float(t), "text": f"{t:.4g}"} for t in ticks]}


def _frequency_axis(result: xr.Dataset) -> dict[str, Any]:
    """The range and ticks of the frequency axis, and its break before the band ``rest``, if any."""
    bounds, bands = drawn_bounds(result), bands_of(result)
    if not bands.radial:
        ticks = [
            {"at": float(at), "text": name}
            for at, name in zip(bounds.mean(axis=1), bands.names, strict=True)
        ]
        step = -(-len(ticks) // _MOST_NAMES)
        return {"min": 0.0, "max": float(bounds.max()), "ticks": ticks[::step], "break": None}
    last, end = result["band_bounds"].to_numpy()[-1]
    if not np.isinf(end):
        return {**_axis(float(bounds.min()), float(end), 8), "break": None}
    axis = _axis(float(bounds.min()), float(last), 8)
    return {**axis, "max": float(bounds.max()), "break": [float(last), float(bounds[-1, 0])]}


def _plane_text(result: xr.Dataset, model: str, extent: float | None) -> str:
    """Text under the plane: its highest frequency, that of the crops if lower, and its areas."""
    own = plane_extent(result, [model])
    text = f"to ±{own if extent is None else extent:.3g} {frequency_unit(result)}"
    if extent is not None and own < 0.99 * extent:
        text += f"; crops to ±{own:.3g}"
    return text + _areas_text(bands_of(result))


def picture(
    image: npt.NDArray[np.uint8],
    caption: str,
    alt: str,
    palette: npt.NDArray[np.uint8] | None = None,
) -> dict[str, str | bytes]:
    """An 8-bit image as PNG, with its caption and alternative text.

    Parameters
    ----------
    image
        RGB ``(height, width, 3)``, or ``(height, width)``, positions in the palette.
    caption, alt
        Caption and alternative text.
    palette
        Colours ``(256, 3)``.
    """
    target = io.BytesIO()
    if image.ndim == 3 and bool((image == image[..., :1]).all()):
        image = image[..., 0]  # a third of the bytes to compress and to send
    coded = Image.fromarray(image)
    if palette is not None:
        coded.putpalette(palette.tobytes())
    coded.save(target, "PNG", compress_level=1)
    return {"png": target.getvalue(), "caption": caption, "alt": alt}


def original_pictures(
    crops: dict[str, npt.NDArray[np.uint8]], names: dict[str, str]
) -> list[dict[str, str | bytes]]:
    """Both original faces of a pair."""
    return [
        picture(crop, f"{role}\n{one_line(names[role], 22)}", f"The {role}, {names[role]}")
        for role, crop in crops.items()
    ]


def edited_picture(
    result: xr.Dataset,
    pictures: dict[str, EditedFace],
    *,
    bands: tuple[int, ...],
    operation: Operation,
) -> dict[str, str | bytes]:
    """The edited face or faces, clipped to grey levels."""
    faces = " and ".join(pictures)
    words, which = edit_text(result, bands, operation)
    image = side_by_side(pictures, "edited").round().clip(0, 255).astype(np.uint8)
    return picture(image, f"{faces} {words}\n{which}", f"The {faces} {words} {which}".rstrip())


def detail_pictures(
    result: xr.Dataset,
    pictures: dict[str, EditedFace],
    *,
    bands: tuple[int, ...],
    operation: Operation,
) -> list[dict[str, str | bytes]]:
    """The selected bands alone, and the difference of the edited face from the original."""
    faces = " and ".join(pictures)
    no_band: dict[str, str | bytes] = {"png": b"", "alt": "no band is selected"}
    alone: dict[str, str | bytes] = {"caption": "selected bands only\n", **no_band}
    if bands:
        image, factor = stretched(side_by_side(pictures, "alone"))
        alone = picture(
            image,
            f"selected bands only,\ncontrast × {factor:.3g}",
            f"Only {chosen_text(result, bands)} of the {faces}, on mid grey, "
            f"contrast × {factor:.3g}",
        )
    if not bands and operation == "remove":
        return [alone, {"caption": "difference\n", **no_band}]
    change = side_by_side(pictures, "difference")
    top = max(float(change.max()), 1.0)
    levels = np.minimum(change / top * 256, 255).astype(np.uint8)
    difference = picture(
        levels,
        f"difference,\n0 to {top:.3g} grey levels",
        f"Change of each pixel of the {faces}, from 0 (dark) to {top:.3g} (bright) grey levels",
        colormaps[SEQUENTIAL](np.arange(256), bytes=True)[:, :3],
    )
    return [alone, difference]


def verdict_html(result: xr.Dataset, edited: Edited, *, fmr: float) -> str:
    """Similarity and decision before and after the edit, as a sentence and on a scale."""
    data = select_pair(result, pair=edited.pair, model=edited.model, side=edited.side)
    threshold = threshold_of(result, model=edited.model, fmr=fmr)
    truth = "genuine" if bool(data["genuine"]) else "impostor"
    before = decision_text(edited.similarity, threshold)
    after = decision_text(edited.edited_similarity, threshold)
    change = edited.edited_similarity - edited.similarity
    decided = f"<b>{before}</b>" if before == after else f"<b>{before} → {after}</b>"
    rate = f'<span style="white-space:nowrap">FMR {fmr_text(fmr)}</span>'
    limit = (
        f"threshold {threshold:.3f} at {rate}"
        if np.isfinite(threshold)
        else f"the faces of the run do not resolve a threshold at {rate}"
    )
    return (
        f'<div class="freqlab-verdict" role="status" style="line-height:1.5">'
        f'<div class="freqlab-said">'
        f"Pair {edited.pair} ({truth}), {html.escape(edited.model)}: similarity "
        f'<b class="before">{edited.similarity:.3f}</b> → '
        f'<b class="after">{edited.edited_similarity:.3f}</b> '
        f"({change:+.3f}), {limit}: {decided}</div>"
        f"{_scale_svg(edited, threshold)}</div>"
    )


def _scale_svg(edited: Edited, threshold: float) -> str:
    """A scale of similarity with the value before (hollow) and after (filled), and threshold."""
    low = min(-0.2, edited.similarity, edited.edited_similarity)

    def x(value: float) -> str:
        return f"{2 + 96 * (value - low) / (1 - low):.2f}%"

    # positions relative to the width, so that text has one size at any width
    parts = [
        f'<svg width="100%" height="44" style="display:block;max-width:560px" role="img" '
        f'aria-label="Similarity before {edited.similarity:.3f}, after '
        f'{edited.edited_similarity:.3f}" font-size="11" fill="currentColor">',
        '<line x1="2%" x2="98%" y1="23" y2="23" stroke="currentColor"/>',
    ]
    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(
            f'<line x1="{x(value)}" x2="{x(value)}" y1="23" y2="28" stroke="currentColor"/>'
            f'<text x="{x(value)}" y="41" text-anchor="middle">{value:g}</text>'
        )
    if np.isfinite(threshold):
        parts.append(
            f'<line x1="{x(threshold)}" x2="{x(threshold)}" y1="13" y2="33" '
            f'stroke="currentColor" stroke-width="3"/>'
            f'<text x="{x(threshold)}" y="10" text-anchor="middle">threshold</text>'
        )
    parts.append(
        f'<circle cx="{x(edited.similarity)}" cy="23" r="5.5" '
        f'fill="var(--jp-layout-color0, white)" stroke="currentColor" stroke-width="2"/>'
        f'<circle cx="{x(edited.edited_similarity)}" cy="23" r="4"/></svg>'
    )
    return "".join(parts)

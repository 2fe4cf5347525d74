"""Bands in a notebook: a table of bands, and a picture of the plane of frequencies."""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from freqlab.text.html import box, image, rows, side_by_side

__all__ = ["bands_html", "full_plane", "rings_html"]

_MOST = 20  # rows of the table
_SIDE = 120  # of the picture, in pixels
_MOST_DRAWN = 60  # rings
_GOLDEN = (math.sqrt(5) - 1) / 2  # step of hues, by which neighbours differ


def rings_html(names: Sequence[str], bounds: Sequence[tuple[float, float]], unit: str) -> str:
    """Show rings of spatial frequency.

    Parameters
    ----------
    names
        Names of the bands.
    bounds
        Lower and upper edge of each, in `unit`; an upper edge may be infinite.
    unit
        Unit of frequency.
    """
    cells = [
        None if i is None else (i, names[i], f"{bounds[i][0]:.6g}", _edge(bounds[i][1]))
        for i in _shown(len(names))
    ]
    count = f": {_counted(len(names))} in {unit}"
    table = rows(["", "band", "from", "to"], cells)
    return box("Bands", side_by_side(table, _plane(bounds)), about=count)


def bands_html(
    kind: str,
    names: Sequence[str],
    columns: Mapping[str, Sequence[object]],
    *,
    labels: npt.NDArray[np.int64] | None = None,
    orientation: npt.NDArray[np.float64] | None = None,
) -> str:
    """Show bands of any kind.

    Parameters
    ----------
    kind
        Kind of the bands.
    names
        Names of the bands.
    columns
        Further columns of the table by title, with a value for each band; numbers are shortened.
    labels
        Label map of the plane of frequencies ``(height, width)``, zero frequency in the middle;
        None for bands that are not parts of the plane.
    orientation
        Orientation of each band in degrees, which then gives its hue.
    """
    cells = [
        None if i is None else (i, names[i], *(_number(column[i]) for column in columns.values()))
        for i in _shown(len(names))
    ]
    pieces = [rows(["", "band", *columns], cells)]
    if labels is not None:
        alt = f"Bands of kind {kind} in the plane of frequencies"
        content = _coloured(labels, len(names), orientation)
        pieces.append(image(content, "png", height=_SIDE, alt=alt))
    return box("Bands", side_by_side(*pieces), about=f": {_counted(len(names))} of kind {kind}")


def full_plane(labels: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    """Full plane from the half plane of a real FFT, with zero frequency in the middle."""
    height = labels.shape[0]
    right = labels[:, 1 : (width + 1) // 2]
    mirrored = right[(-np.arange(height)) % height][:, ::-1]
    return np.fft.fftshift(np.concatenate([labels, mirrored], axis=1))


def _coloured(
    labels: npt.NDArray[np.int64], n: int, orientation: npt.NDArray[np.float64] | None
) -> bytes:
    """A label map as a PNG file; coefficients that belong to no band are transparent."""
    colours = np.zeros((n + 1, 4), np.uint8)
    for k in range(n):
        hue, light = k * _GOLDEN % 1, 0.55
        if orientation is not None:
            hue = 0.0 if math.isnan(orientation[k]) else float(orientation[k]) / 180
            # neighbouring rings differ in lightness
            light = 0.45 + 0.2 * (int((np.diff(orientation[: k + 1]) < 0).sum()) % 2)
        saturation = 0.0 if orientation is not None and math.isnan(orientation[k]) else 0.55
        rgb = colorsys.hls_to_rgb(hue, light, saturation)
        colours[k] = [*(round(255 * part) for part in rgb), 255]
    file = io.BytesIO()
    Image.fromarray(colours[np.where(labels >= 0, labels, n)]).save(file, "PNG", optimize=True)
    return file.getvalue()


def _shown(n: int) -> list[int | None]:
    """Numbers of the bands in the table, None where some are left out."""
    numbers: list[int | None] = list(range(n))
    return numbers if n <= _MOST else [*numbers[: _MOST - 3], None, *numbers[-2:]]


def _counted(n: int) -> str:
    return f"{n:,} band{'s' * (n != 1)}"


def _number(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.4g}"


def _edge(edge: float) -> str:
    return "no upper edge" if math.isinf(edge) else f"{edge:.6g}"


def _plane(bounds: Sequence[tuple[float, float]]) -> str:
    """Rings around frequency zero in the middle, every second one darker."""
    end = max(edge for pair in bounds for edge in pair if math.isfinite(edge)) or 1.0
    half = _SIDE / 2
    step = -(-len(bounds) // _MOST_DRAWN)
    circles = []
    for i in range(0, len(bounds), step):
        lower, upper = bounds[i][0], bounds[min(i + step, len(bounds)) - 1][1]
        inner = half * lower / end
        outer = half * upper / end if math.isfinite(upper) else half * math.sqrt(2)
        circles.append(
            f'<circle cx="{half:g}" cy="{half:g}" r="{(inner + outer) / 2:.2f}" fill="none" '
            f'stroke="currentColor" stroke-width="{outer - inner:.2f}" '
            f'stroke-opacity="{0.12 if i // step % 2 else 0.35}"/>'
        )
    return (
        f'<svg width="{_SIDE}" height="{_SIDE}" viewBox="0 0 {_SIDE} {_SIDE}" style="margin:4px" '
        f'role="img" aria-label="Rings in the plane of frequencies">{"".join(circles)}</svg>'
    )

"""Bands in a notebook: a table of rings, and a picture of the plane of frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence

from freqlab.text.html import box, rows, side_by_side

__all__ = ["rings_html"]

_MOST = 20  # rows of the table
_SIDE = 120  # of the picture, in pixels
_MOST_DRAWN = 60  # rings


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
    numbers: list[int | None] = list(range(len(names)))
    if len(numbers) > _MOST:
        numbers = [*numbers[: _MOST - 3], None, *numbers[-2:]]
    cells = [
        None if i is None else (i, names[i], f"{bounds[i][0]:.6g}", _edge(bounds[i][1]))
        for i in numbers
    ]
    count = f": {len(names):,} band{'s' * (len(names) != 1)} in {unit}"
    table = rows(["", "band", "from", "to"], cells)
    return box("Bands", side_by_side(table, _plane(bounds)), about=count)


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

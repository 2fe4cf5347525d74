"""A view of the inspector as a file: its figure, and its numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from freqlab.edits.inspection import Edited
from freqlab.edits.numbers import rows_of
from freqlab.literals import Kind
from freqlab.plots.common import MAX_WIDTH
from freqlab.plots.inspection import inspection_plot, plane_extent
from freqlab.text.csv import csv_of

__all__ = ["FILES", "figure_file", "numbers_file", "view_figure"]

FILES = [
    {"name": "png", "label": "Figure (PNG)", "hint": "The current view as an image"},
    {"name": "svg", "label": "Figure (SVG)", "hint": "The current view as a vector graphic"},
    {
        "name": "csv",
        "label": "Numbers (CSV)",
        "hint": "All values of the pair, one row per band and model",
    },
    {
        "name": "py",
        "label": "Code (Python)",
        "hint": "Python code that reproduces the current view",
    },
]
"""Files of a view: name, label and hint of each."""
_HEIGHT = 4.8  # inches for each model


def view_figure(
    result: xr.Dataset,
    edits: Sequence[Edited],
    *,
    kind: Kind,
    fmr: float,
    spreads: Mapping[str, xr.Dataset],
) -> Figure:
    """Figure of one edited pair, for one or several models one below the other.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    edits
        The edited pair by model, from :meth:`freqlab.Inspection.edit`.
    kind
        ``"directed"`` or ``"absolute"``.
    fmr
        False match rate of the threshold.
    spreads
        Distribution of influence by model; see
        :func:`freqlab.results.profiles.influence_spread`.
    """
    n = len(edits)
    figure = Figure(figsize=(MAX_WIDTH, _HEIGHT * n))
    extent = plane_extent(result, [edited.model for edited in edits])
    for k, edited in enumerate(edits):
        bottom = (n - 1 - k) / n
        ax = figure.add_axes((0.01, bottom + 0.12 / n, 0.98, 0.785 / n))
        spread = spreads[edited.model]
        inspection_plot(result, edited, kind=kind, fmr=fmr, spread=spread, extent=extent, ax=ax)
    return figure


def figure_file(figure: Figure, *, file_format: str, dpi: int = 200) -> bytes:
    """A figure as a file in a format of matplotlib, such as ``"png"``."""
    target = io.BytesIO()
    figure.savefig(target, format=file_format, dpi=dpi)
    return target.getvalue()


def numbers_file(result: xr.Dataset, edits: Sequence[Edited], *, fmr: float) -> bytes:
    """All values of one edited pair as CSV, one row per band and model; see :func:`view_figure`."""
    rows = pd.concat([rows_of(result, edited, fmr=fmr) for edited in edits])
    return csv_of(rows, index=False).encode()

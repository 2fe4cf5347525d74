"""Figures of reports: their size, how they become pictures, rows and grids of axes."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import IPython.core.getipython
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from freqlab.plots.common import MAX_WIDTH, shortened

__all__ = [
    "SMALLEST_TEXT",
    "as_picture",
    "grid",
    "head",
    "panels",
    "same_range",
    "show_figures_as_pictures",
    "side_by_side",
    "smallest_text",
    "title",
]

WIDTH = MAX_WIDTH  # inches
SMALLEST_TEXT = "smallest_text"
_CSS_DPI = 100  # CSS pixels of the page per inch of a figure
_RETINA = 2
_PAD = 0.04  # inches around a picture, so that it is no wider than its figure


def show_figures_as_pictures() -> None:
    """Show the figures of this notebook as PNG that are as wide on a page as they were made for."""
    shell = IPython.core.getipython.get_ipython()
    if shell is None or shell.display_formatter is None:
        return
    shell.run_line_magic("matplotlib", "inline")
    shell.display_formatter.formatters["image/png"].for_type(Figure, as_picture)


def as_picture(figure: Figure) -> tuple[str, dict[str, Any]]:
    """Draw a figure as PNG.

    Returns
    -------
    data : str
        The PNG, in base64.
    metadata : dict
        ``width`` and ``height`` in CSS pixels, and ``smallest_text`` in CSS pixels at that size.
    """
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=_CSS_DPI * _RETINA, bbox_inches="tight", pad_inches=_PAD
    )
    data = buffer.getvalue()
    width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))  # of the IHDR chunk
    metadata = {
        "width": width // _RETINA,
        "height": height // _RETINA,
        SMALLEST_TEXT: round(smallest_text(figure) * _CSS_DPI / 72, 1),
    }
    return base64.b64encode(data).decode(), metadata


def smallest_text(figure: Figure) -> float:
    """Size of the smallest visible text of a figure in points; infinite if there is none."""
    sizes = [
        float(text.get_fontsize())
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and text.get_text().strip()
    ]
    return min(sizes, default=np.inf)


def title(ax: Axes, name: str) -> None:
    """Write the name of a model above axes."""
    ax.set_title(shortened(name, 60), loc="right", fontsize="medium")


def head(text: str) -> None:
    """Write text above the current figure, left-aligned."""
    plt.suptitle(text, x=0.01, ha="left", fontsize="medium")


@contextlib.contextmanager
def panels(
    name: str,
    n_rows: int = 1,
    n_columns: int = 2,
    *,
    height: float = 3.6,
    more: str = "",
    **options: Any,
) -> Iterator[Any]:
    """Draw a figure of several axes, named after a model, and show it.

    Parameters
    ----------
    name
        Name of the model.
    n_rows, n_columns
        Numbers of rows and columns of axes.
    height
        Height of the figure in inches.
    more
        Text after the name.
    options
        Options of :func:`matplotlib.pyplot.subplots`.

    Yields
    ------
    numpy.ndarray
        The axes ``(n_rows, n_columns)``.
    """
    _, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(WIDTH, height),
        layout="constrained",
        squeeze=False,
        **options,
    )
    head(shortened(name, 60) + more)
    yield axes
    plt.show()


def same_range(axes: Any) -> None:
    """Set the ranges of neighbouring axes to the widest of them."""
    ranges = [ax.get_ylim() for ax in axes.flat]
    widest = max(ranges, key=lambda limits: limits[1] - limits[0])
    for ax in axes.flat:
        ax.set_ylim(widest)


def grid(
    plot: Callable[..., Axes],
    data: xr.Dataset | xr.DataTree,
    models: Iterable[str],
    columns: Mapping[str, Sequence[Any]],
    rows: Mapping[str, Sequence[Any]] | None = None,
    *,
    height: float = 3.6,
    more: str = "",
    **options: Any,
) -> None:
    """Draw a plot for several values of one or two of its arguments, a figure for each model.

    Parameters
    ----------
    plot
        One of :mod:`freqlab.plots`.
    data
        Data of the plot.
    models
        Names of models.
    columns, rows
        An argument, and its values from left to right (`columns`) or top to bottom (`rows`).
    height
        Height of a row in inches.
    more
        Text after the name of the model.
    options
        Other arguments of the plot.
    """
    ((across, right),) = columns.items()
    ((along, down),) = (rows or {"": [None]}).items()
    dataset = data.to_dataset() if isinstance(data, xr.DataTree) else data
    for name in models:
        with panels(name, len(down), len(right), height=height * len(down), more=more) as axes:
            for i, j in np.ndindex(axes.shape):
                chosen = {across: right[j]} | ({along: down[i]} if along else {})
                plot(dataset, model=name, **chosen, **options, ax=axes[i, j])


def side_by_side(
    plot: Callable[..., Axes],
    data: xr.Dataset,
    models: Sequence[str],
    *,
    height: float,
) -> None:
    """Draw a plot of each model, two in a row; `height` of a row in inches."""
    n_columns = min(2, len(models))
    n_rows = -(-len(models) // n_columns)
    size = (WIDTH * (0.65 if n_columns == 1 else 1), height * n_rows)
    _, axes = plt.subplots(n_rows, n_columns, figsize=size, layout="constrained", squeeze=False)
    for ax in axes.flat[len(models) :]:
        ax.set_axis_off()
    for name, ax in zip(models, axes.flat, strict=False):
        plot(data, model=name, ax=ax)
    plt.show()

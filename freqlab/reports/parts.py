"""Shared output of report notebooks: sentences, tables, rows of figures, provenance."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from freqlab.faces.table import Faces
from freqlab.faithfulness.trust_cards import trust_table
from freqlab.plots.common import shortened
from freqlab.plots.saliency import plane_plot, saliency_plot
from freqlab.store.studies import as_frame
from freqlab.text.shown import as_html, as_markdown
from freqlab.text.wording import styled

__all__ = [
    "as_html",
    "as_markdown",
    "describe_lost",
    "describe_passes",
    "grid",
    "head",
    "impostors_behind",
    "panels",
    "same_range",
    "show",
    "show_by_model",
    "show_faces",
    "show_how_it_was_made",
    "show_largest",
    "show_list",
    "show_pairs",
    "show_table",
    "show_trust_card",
    "show_ways",
    "side_by_side",
    "title",
]

_markdown: Callable[[str], object] = IPython.display.Markdown
_display: Callable[[object], None] = IPython.display.display
_LEFT: dict[str, Any] = {"text-align": "left"}
_WIDTH = 11.0  # inches


def show(*texts: str) -> None:
    """Show Markdown sentences as one paragraph."""
    _display(_markdown(" ".join(text for text in texts if text)))


def show_list(texts: Iterable[str], *, heading: str = "") -> None:
    """Show sentences as a list, below a heading from data."""
    points = "\n".join(f"- {text}" for text in texts)
    _display(_markdown(f"**{as_markdown(heading)}**\n\n{points}" if heading else points))


def show_table(
    table: pd.DataFrame | xr.Dataset | xr.DataTree,
    caption: str = "",
    *,
    name: str = "",
    format: str | None = None,
    index: bool = True,
    align: str = "",
) -> None:
    """Show a table, or the table of a node of a study.

    Parameters
    ----------
    table
        The table.
    caption
        Caption above the table, after `name`.
    name
        A name from data, such as that of a model.
    format
        Format of the numbers.
    index
        Whether to show the row labels.
    align
        Alignment of the text in cells.
    """
    frame = table if isinstance(table, pd.DataFrame) else as_frame(table)
    shown = styled(frame)
    if format:
        shown = shown.format(format, na_rep="none")
    if not index:
        shown = shown.hide(axis="index")
    if align:
        shown = shown.set_properties(subset=None, **{**_LEFT, "text-align": align})
    said = f"{as_html(name)}: {caption}" if name and caption else as_html(name) or caption
    _display(shown.set_caption(said) if said else shown)


def show_largest(table: pd.DataFrame, caption: str, *, name: str, most: int = 40) -> None:
    """Show the first rows of a table of findings, or a note if it is empty."""
    if not len(table):
        show(f"{as_markdown(name)}: {caption}: **nothing**.")
        return
    cut = f"; the {most} largest of {len(table)}" if len(table) > most else ""
    show_table(table.head(most), caption + cut, name=name, index=False)


def show_by_model(
    models: Iterable[str], describe: Callable[..., str], *data: Any, **options: Any
) -> None:
    """Show a sentence for each model: ``describe(*data, model=name, **options)``."""
    for name in models:
        show(f"**{as_markdown(name)}.** {describe(*data, model=name, **options)}")


def show_faces(faces: Faces, *more: str, pairs: pd.DataFrame | None = None) -> None:
    """Show the source and subjects of the faces, and what was left out of a list of pairs."""
    if pairs is not None and pairs.attrs.get("left_out"):
        show(f"Of the list: {as_markdown('; '.join(pairs.attrs['left_out']), 5_000)}.")
    n_subjects = faces.table["subject"].nunique()
    show(
        f"**{as_markdown(faces.name)}**: {len(faces):,} photographs of {n_subjects:,} people.",
        *more,
        as_markdown(faces.about, 5_000),
    )


def show_pairs(pairs: pd.DataFrame, n_wanted: int | None) -> None:
    """Show the number of explained pairs, and whether they are a sample."""
    sampled = n_wanted is not None and len(pairs) == n_wanted
    sample = (
        "a sample, drawn at random" if sampled else "all genuine ones and as many impostor ones"
    )
    n_genuine = int(pairs["genuine"].sum())
    show(
        f"{len(pairs):,} pairs are explained ({sample}): {n_genuine:,} genuine, "
        f"{len(pairs) - n_genuine:,} impostor."
    )


def describe_lost(result: xr.Dataset) -> str:
    """State the number of pairs without a similarity; empty if there are none."""
    lost = int(result["similarity"].isnull().any("model").sum())
    return f"{lost:,} pairs are without a similarity for want of a face." if lost else ""


def impostors_behind(data: xr.Dataset | xr.DataTree) -> dict[str, str]:
    """Number of impostor comparisons behind the thresholds of the first model, as a line."""
    n = int(data["impostor_comparisons"].to_numpy().ravel()[0])
    return {"impostor comparisons behind the thresholds": f"{n:,}"}


def describe_passes(source: xr.DataTree | xr.Dataset) -> str:
    """State the number of forward passes of a call, from its study or result."""
    n = int(source.attrs.get("forward_passes", 0))
    computed = f"{n:,} forward passes of the network" if n else "no forward pass"
    return f"This took {computed}{'' if n else ': everything was in the store'}."


def title(ax: Axes, name: str) -> None:
    """Write the name of a model above axes."""
    ax.set_title(shortened(name, 60), loc="right", fontsize="medium")


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
        figsize=(_WIDTH, height),
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
    widest = max(ranges, key=lambda one: one[1] - one[0])
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
    width: float,
    height: float,
) -> None:
    """Draw a plot of each model in one row; `width` and `height` of each plot in inches."""
    size = (width * len(models), height)
    _, axes = plt.subplots(1, len(models), figsize=size, layout="constrained", squeeze=False)
    for name, ax in zip(models, axes.flat, strict=True):
        plot(data, model=name, ax=ax)
    plt.show()


def head(text: str) -> None:
    """Write text above the current figure, left-aligned."""
    plt.suptitle(text, x=0.01, ha="left", fontsize="medium")


def show_ways(
    result: xr.Dataset, space: xr.Dataset, plane: xr.Dataset, traced: xr.Dataset, *, pair: int
) -> None:
    """Show maps of a pair in space (above) and frequency (below), by masks and by gradients.

    Parameters
    ----------
    result
        The result with the pair.
    space, plane, traced
        Maps of CorrRISE, of FreqRISE and of integrated gradients.
    pair
        Label of the pair.
    """
    _, axes = plt.subplots(2, 4, figsize=(15, 6.4), layout="constrained")
    for row, (drawn, random) in zip(
        axes, ((saliency_plot, space), (plane_plot, plane)), strict=True
    ):
        drawn(random, pair=pair, ax=row[0])
        for ax, argument in zip(row[1:], ("all", "supporting", "opposing"), strict=True):
            drawn(traced, pair=pair, argument=argument, ax=ax)
    titles = ("CorrRISE", "integrated gradients", "supporting", "opposing")
    for ax, text in zip(axes[0], titles, strict=True):
        ax.set_title(text)
    axes[1, 0].set_title("FreqRISE")
    kind = "genuine" if bool(result["genuine"].sel(pair=pair)) else "impostor"
    head(f"Pair {pair}, {kind}")
    plt.show()


def show_how_it_was_made(source: xr.DataTree | xr.Dataset, more: Mapping[str, object]) -> None:
    """Show the provenance of a study or result.

    Parameters
    ----------
    source
        The study, or the result.
    more
        Further lines.
    """
    attrs = source.attrs
    wanted = ("freqlab_version", "torch_version", "python_version", "device", "created_at")
    made = {name: attrs[name] for name in wanted if name in attrs}
    for label in ("name", "result"):
        if label in attrs:
            made["result"] = attrs[label]
    for name, how, weights in zip(
        *(attrs.get(key, []) for key in ("models", "preprocessing", "checkpoints")), strict=True
    ):
        made[f"model {name}"] = how
        made[f"weights of {name}"] = str(weights)[:16]
    made |= more
    if "key" in attrs:
        made["study"] = f"{attrs['subject']}/{attrs['key']}"
    made["store"] = attrs["store"]
    show_table(pd.Series(made, name="value").map(str).to_frame())


def show_trust_card(source: xr.DataTree | xr.Dataset, models: Sequence[str]) -> None:
    """Show which tests the explanations of a run have had."""
    table = trust_table(str(source.attrs["store"]), models=models)
    _display(styled(table).set_properties(subset=None, **_LEFT))

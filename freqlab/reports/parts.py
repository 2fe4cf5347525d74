"""Shared output of report notebooks: findings, sentences, tables, provenance."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import IPython.core.getipython
import IPython.display
import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr
from pandas.io.formats.style import Styler

from freqlab.errors import ParameterError
from freqlab.faces.table import Faces
from freqlab.faithfulness.card_contents import describe_criteria
from freqlab.faithfulness.trust_cards import compact_trust_table, trust_table
from freqlab.plots.saliency import plane_plot, saliency_plot
from freqlab.reports.figures import (
    grid,
    head,
    panels,
    same_range,
    show_figures_as_pictures,
    side_by_side,
    title,
)
from freqlab.reports.parameters import check, read_parameters
from freqlab.run.purposes import begin_report
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
    "set_up",
    "show",
    "show_by_model",
    "show_faces",
    "show_findings",
    "show_full_trust_card",
    "show_how_it_was_made",
    "show_how_to_open",
    "show_largest",
    "show_list",
    "show_pairs",
    "show_recorded_page",
    "show_table",
    "show_trust_card",
    "show_trust_link",
    "show_ways",
    "side_by_side",
    "title",
]

_markdown: Callable[[str], object] = IPython.display.Markdown
_html: Callable[[str], object] = IPython.display.HTML
_display: Callable[..., None] = IPython.display.display

FINDINGS, MADE = "findings", "made"
"""Keys of the metadata of outputs, which the page is made with."""


def set_up(report: str, values: Mapping[str, object], **choices: Sequence[str]) -> None:
    """Check the parameters of this notebook before anything is computed, and set up its figures.

    Results computed from here on are named after the report.

    Parameters
    ----------
    report
        Name of the report, such as ``"bias"``.
    values
        The names of the notebook: ``globals()``.
    choices
        Allowed values of parameters whose name does not settle them.

    Raises
    ------
    ParameterError
        Naming the parameter, its value and what is allowed.
    """
    shell = IPython.core.getipython.get_ipython()
    run = [] if shell is None else list(shell.user_ns.get("In", []))
    declared = next((source for source in run if source.lstrip().startswith("# Parameters")), "")
    if not declared:
        raise ParameterError("run the cell of the parameters first")
    check(values, read_parameters(declared), choices)
    begin_report(report)
    show_figures_as_pictures()


def show_findings(sentences: Sequence[str]) -> None:
    """Show the findings of a report as a list; the index of reports shows the first."""
    points = "\n".join(f"- {text}" for text in sentences)
    _display(_markdown(points), metadata={FINDINGS: list(sentences)})


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
    frame, constant = _without_constant(frame)
    name = ", ".join(dict.fromkeys(text for text in (name, *constant) if text))
    shown = styled(frame)
    if format:
        shown = shown.format(format, na_rep="none")
    if not index:
        shown = shown.hide(axis="index")
    if align:
        shown = _aligned(shown, align)
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


def describe_passes(
    source: xr.DataTree | xr.Dataset, *more: xr.DataTree | xr.Dataset | None
) -> str:
    """State the number of forward passes of calls, and what the study of the first cost."""
    calls = [source, *(one for one in more if one is not None)]
    n = sum(int(one.attrs.get("forward_passes", 0)) for one in calls)
    to_make = int(source.attrs.get("forward_passes_to_make", 0))
    if n:
        return f"This took {n:,} forward passes of the network."
    text = "This took no forward pass: everything was in the store."
    if to_make:
        seconds = float(source.attrs["seconds"])
        text += f" The study took {to_make:,} forward passes and {seconds:,.0f} s to make."
    return text


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
    _, axes = plt.subplots(2, 4, figsize=(7.4, 4.2), layout="compressed")
    for row, (drawn, random) in zip(
        axes, ((saliency_plot, space), (plane_plot, plane)), strict=True
    ):
        drawn(random, pair=pair, ax=row[0])
        for ax, argument in zip(row[1:], ("all", "supporting", "opposing"), strict=True):
            drawn(traced, pair=pair, argument=argument, ax=ax)
            ax.set_ylabel("")
            ax.set_yticks([])
        for ax in row:
            ax.tick_params(labelsize="small")
            for bar in ax.child_axes:
                bar.set_ylabel("")
    axes[1, 0].set_ylabel("vertical frequency\n(cycles/image)", fontsize="small")
    for ax in axes[1]:
        ax.set_xlabel("horizontal\n(cycles/image)", fontsize="small")
    titles = ("CorrRISE", "integrated\ngradients", "supporting", "opposing")
    for ax, text in zip(axes[0], titles, strict=True):
        ax.set_title(text, fontsize="medium")
    axes[1, 0].set_title("FreqRISE", fontsize="medium")
    kind = "genuine" if bool(result["genuine"].sel(pair=pair)) else "impostor"
    head(f"Pair {pair}, {kind}")
    plt.show()


def show_how_to_open(result: xr.Dataset, *, pair: int) -> None:
    """Show the command and the call that open a pair of a stored result in the inspector."""
    store, name = str(result.attrs["store"]), str(result.attrs["name"])
    command = shlex.join(["freqlab", "inspect", store, "--name", name, "--pair", str(pair)])
    store, name = (json.dumps(text, ensure_ascii=False) for text in (store, name))
    call = f"fl.inspect({store}, name={name}, pair={pair})"
    _display(
        _html(
            f'<p class="open">Open this pair: <code>{as_html(command)}</code>, or in Python '
            f"<code>{as_html(call)}</code></p>"
        )
    )


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
    made_in = f"studies/{attrs['subject']}/{attrs['key']}" if "key" in attrs else ""
    kept = made_in or f"influence/{attrs['name']}"
    shown = styled(pd.Series(made, name="value").map(str).to_frame()).set_caption("Provenance.")
    _display(
        _aligned(shown, "left"),
        metadata={MADE: {"node": kept, "created_at": attrs.get("created_at", "")}},
    )


def show_recorded_page(page: Path) -> None:
    """Link to a page on which bands of the shown pairs are removed with recorded similarities."""
    show(
        f"On [a page of its own]({page.name}), the bands of these pairs can be removed one at a "
        f"time; its similarities are recorded."
    )


def show_trust_link() -> None:
    """Say where the explanations of a run are tested."""
    show(
        "The explanations of this run are tested in the report "
        "[faithfulness](faithfulness.html#trust-card), which ends with their trust card; "
        "`freqlab report faithfulness` makes it."
    )


def show_trust_card(source: xr.DataTree | xr.Dataset, models: Sequence[str]) -> None:
    """Show which tests the explanations of a run have passed, at a glance and in full."""
    store = str(source.attrs["store"])
    show(describe_criteria())
    show_table(compact_trust_table(store, models=models), "Trust card", align="left")


def show_full_trust_card(source: xr.DataTree | xr.Dataset, models: Sequence[str]) -> None:
    """Show every row of the trust card of a run."""
    table = trust_table(str(source.attrs["store"]), models=models)
    show_table(table, "Trust card in full", align="left")


def _without_constant(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out row labels that are the same in all rows, such as the model; return them."""
    values = []
    for level in ("model", "probes"):
        if level in table.index.names and table.index.nlevels > 1:
            labels = table.index.get_level_values(level).unique()
            if len(labels) == 1:
                values.append(str(labels[0]))
                table = table.droplevel([level])
    return table, values


def _aligned(table: Styler, align: str) -> Styler:
    """Align the text of cells: by style in a notebook, by class on a page with its own style."""
    how: dict[str, Any] = {"text-align": align}
    return table.set_properties(subset=None, **how).set_table_attributes(f'class="{align}"')

"""Python code that computes a view of the inspector again, and names of its files."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

import xarray as xr

from freqlab.edits.inspection import Inspection, band_ranges
from freqlab.literals import Kind, Operation, Side

__all__ = ["code_of", "file_stem"]

_LONGEST_STEM = 120  # characters


def file_stem(
    result: xr.Dataset,
    *,
    pair: int,
    models: Sequence[str],
    bands: Sequence[int],
    side: Side,
    operation: Operation,
) -> str:
    """Name of a file of a view, without suffix: "pair3-dlib-probe-without-4-8"."""
    ranges = [text.replace("from ", "").replace(" on", "-end") for text in _ranges(result, bands)]
    edit = {"remove": "without", "keep": "only"}[operation]
    chosen = f"-{edit}-{'_'.join(ranges) or 'no-band'}" if ranges or operation == "keep" else ""
    stem = f"pair{pair}-{'-'.join(models)}-{side}{chosen}"
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)
    return safe[:_LONGEST_STEM]


def _ranges(result: xr.Dataset, bands: Sequence[int]) -> list[str]:
    return band_ranges(result, bands) if len(bands) else []


def code_of(
    inspection: Inspection,
    *,
    pair: int,
    models: Sequence[str],
    bands: Sequence[int],
    side: Side = "probe",
    operation: Operation = "remove",
    kind: Kind = "directed",
    fmr: float = 1e-3,
) -> str:
    """Python code that computes a view of the inspector again and saves its figure.

    It runs in a new process and from any folder. A comment says what has to be added first, where
    something is needed that no code can say, such as the definition of a user's own network.
    """
    result = inspection.result
    lines = ["import freqlab as fl", "", *_opening(result)]
    given, preparation = _arguments(inspection, models)
    lines += [*preparation, f"inspection = fl.edits.Inspection(result{given})"]
    chosen = sorted(set(map(int, bands)))
    what = f"pair={pair}, bands={chosen}, side={side!r}, operation={operation!r}"
    for model in models:
        name = file_stem(
            result, pair=pair, models=[model], bands=chosen, side=side, operation=operation
        )
        lines += [
            f"edited = inspection.edit(model={model!r}, {what})",
            "print(edited.model, edited.similarity, edited.edited_similarity)",
            f"axes = fl.plots.inspection_plot(result, edited, kind={kind!r}, fmr={fmr!r})",
            f'axes["profile"].figure.savefig({name + ".png"!r}, dpi=200)',
        ]
    return "\n".join(lines) + "\n"


def _opening(result: xr.Dataset) -> list[str]:
    """Lines that open the result."""
    store, name = str(result.attrs.get("store", "")), result.attrs.get("name")
    if store and not store.startswith("memory:"):
        place = store if "://" in store else os.path.abspath(store)
        return [f"result = fl.open_influence({place!r}, {name!r})"]
    return [
        *_comment(
            "the run of this result is in memory only: compute it again with store=, and write "
            "the path of the store here"
        ),
        f"result = fl.open_influence('STORE', {name!r})",
    ]


def _arguments(inspection: Inspection, models: Sequence[str]) -> tuple[str, list[str]]:
    """Further arguments of the inspection as code, and the lines that prepare them."""
    arguments, lines, calls = "", [], []
    if not all(inspection.keeps_crops(model) for model in models):
        lines += _comment("the run keeps no crops: load its faces here")
        lines.append("faces = fl.load_faces('NAME OR FOLDER')")
        arguments += ", faces=faces"
    for source in map(inspection.source, models):
        lines += _comment(source.before) if source.before else []
        calls += [source.call] if source.call else []
    if calls:
        lines.append(f"models = [{', '.join(calls)}]")
        arguments += ", models=models"
    return arguments, lines


def _comment(text: str) -> list[str]:
    """A sentence as lines of comment."""
    sentence = f"{text[0].upper()}{text[1:]}."
    return textwrap.wrap(
        sentence, 88, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )

"""Descriptions of a run: its faces, models and results, as text and as a table."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import pandas as pd
import zarr

from freqlab.attrs import from_json
from freqlab.errors import ParameterError
from freqlab.store import journal
from freqlab.store.chunks import opened, place_of, read
from freqlab.store.layout import DONE, FLAGS, PENDING
from freqlab.store.photographs import photograph_notes
from freqlab.store.reading import (
    about_photographs,
    names_of_results,
    open_face_node,
    open_run_group,
    while_it_grows,
)
from freqlab.text.shown import one_line

__all__ = ["describe_photographs", "describe_run", "results_table"]

_UNKNOWN = "not recorded"  # purpose of a result of an earlier version
_WIDEST = 40  # characters of a cell


def describe_photographs(
    store: str | os.PathLike[str], *, faces: Iterable[str] | None = None
) -> str:
    """Report the number of photographs that show several faces, failed, or were decoded specially.

    Parameters
    ----------
    store
        The run's Zarr group.
    faces
        Names of the faces to report on; all by default.

    Returns
    -------
    str
        Sentences.

    Raises
    ------
    StoreError
        If there is no run.
    ParameterError
        If a face is not in the run.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), store="run.zarr", **options)
    >>> print(fl.store.describe_photographs("run.zarr"))
    All photographs could be read, and none required the selection of a face.
    """
    url = os.fspath(store)
    node = open_face_node(url, open_run_group(url), "faces")
    columns = about_photographs(node)
    if faces is not None:
        wanted = list(map(str, faces))
        unknown = sorted(set(wanted) - set(columns["face"].astype(str)))
        if unknown:
            raise ParameterError(f"faces {unknown[:3]} are not in the run")
        chosen = np.isin(columns["face"].astype(str), wanted)
        columns = {name: values[chosen] for name, values in columns.items()}
    notes = photograph_notes(columns, examples=False)
    return " ".join(f"{note[0].upper()}{note[1:]}." for note in notes) or (
        "All photographs could be read, and none required the selection of a face."
    )


def results_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """List the finished results of a run, oldest first.

    Parameters
    ----------
    path
        The run's Zarr group.

    Returns
    -------
    pandas.DataFrame
        By ``name``: ``made`` (time, UTC); ``faces``, number of faces given to the call; ``pairs``;
        ``nan_pairs``, number of pairs without a similarity for some model; ``sides``; ``bands``,
        number of bands, and their ``unit``; ``models``; ``purpose``: ``"report bias"``, ``"study
        bias"``, ``"called by you"``, or ``"not recorded"`` in runs of earlier versions. Names are
        joined by commas.

    Raises
    ------
    StoreError
        If there is no run, or a result is damaged.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(store="run.zarr", name="first", sides=["probe"])
    >>> table = fl.store.results_table("run.zarr")
    >>> table.loc["first", ["sides", "models", "purpose"]].tolist()
    ['probe', 'linear', 'called by you']
    """
    url = place_of(path)
    return while_it_grows(url, lambda: _results(url))


def _results(url: str) -> pd.DataFrame:
    root = open_run_group(url)
    names = names_of_results(url)
    rows = [_result_row(cast(zarr.Group, root[f"influence/{name}"])) for name in names]
    columns = ["made", "faces", "pairs", "nan_pairs", "sides", "bands", "unit", "models", "purpose"]
    table = pd.DataFrame(rows, columns=columns, index=pd.Index(names, dtype=object, name="name"))
    table["made"] = pd.to_datetime(table["made"], utc=True, format="ISO8601")
    return table


def _result_row(group: zarr.Group) -> tuple[Any, ...]:
    """Values of :func:`results_table` for a result."""
    similarity = opened(group, "similarity")
    missing = np.zeros(similarity.shape[1], bool)
    for m in range(similarity.shape[0]):
        missing |= np.isnan(read(similarity, m))
    identity = from_json(group.attrs["identity"])
    return (
        str(group.attrs["created_at"]),
        int(identity.get("faces", {}).get("n", 0)),
        len(missing),
        int(missing.sum()),
        ", ".join(map(str, read(opened(group, "side")))),
        opened(group, "influence").shape[-1],
        str(opened(group, "frequency").attrs.get("units", "")),
        ", ".join(map(str, read(opened(group, "model")))),
        str(group.attrs.get("purpose", _UNKNOWN)),
    )


def _result_lines(table: pd.DataFrame) -> list[str]:
    """Lines of the table of results, in columns."""
    bands = [f"{n} {unit}".strip() for n, unit in zip(table["bands"], table["unit"], strict=True)]
    columns: dict[str, list[str]] = {
        "name": [str(name) for name in table.index],
        "made (UTC)": table["made"].dt.strftime("%Y-%m-%d %H:%M").tolist(),
        "faces": [f"{n:,}" for n in table["faces"]],
        "pairs": [f"{n:,}" for n in table["pairs"]],
        "NaN": [f"{n:,}" for n in table["nan_pairs"]],
        "sides": table["sides"].tolist(),
        "bands": bands,
        "models": table["models"].tolist(),
        "purpose": table["purpose"].tolist(),
    }
    cells = [[title, *(one_line(text, _WIDEST) for text in c)] for title, c in columns.items()]
    aligned = []
    for title, column in zip(columns, cells, strict=True):
        width = max(map(len, column))
        right = title in ("faces", "pairs", "NaN")
        aligned.append([text.rjust(width) if right else text.ljust(width) for text in column])
    return [f"    {'  '.join(row)}".rstrip() for row in zip(*aligned, strict=True)]


def describe_run(path: str | os.PathLike[str]) -> str:
    """Describe the content of a run in a few lines: faces by status, models, embeddings, results.

    Parameters
    ----------
    path
        Path of the run.

    Returns
    -------
    str
        Several lines of text.

    Raises
    ------
    StoreError
        If there is no run.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), store="run.zarr", **options)
    >>> "faces: 12 ok" in fl.store.describe_run("run.zarr")
    True
    """
    url = place_of(path)
    return while_it_grows(url, lambda: _description(url))


def _description(url: str) -> str:
    root = open_run_group(url)
    lines = [f"{one_line(url)}: freqlab run, made {root.attrs['created_at']}"]
    for node_path, group in journal.groups_that_count(root):
        if node_path.startswith("influence/"):
            if not group.attrs.get("complete"):
                lines.append(f"  {one_line(node_path)}: not finished; repeat its call to resume")
        elif "status" in group:
            counts = open_face_node(url, root, node_path)["status"].to_series().value_counts()
            named = {FLAGS.get(code, code): n for code, n in counts.items()}  # type: ignore[call-overload]
            lines.append(
                f"  {one_line(node_path)}: " + ", ".join(f"{n:,} {k}" for k, n in named.items())
            )
            if node_path == "faces":
                lines.extend(_failure_lines(url, root))
        elif "reference_embedding" in group:
            lines.append(f"  {one_line(node_path)}: {_model_text(group)}")
    results = _results(url)
    if len(results):
        lines += [f"  influence: {len(results):,} results, oldest first", *_result_lines(results)]
    return "\n".join(lines)


def _failure_lines(url: str, root: zarr.Group) -> list[str]:
    """The first faces that could not be used, with reasons, and other notes on faces."""
    faces = open_face_node(url, root, "faces")
    status = faces["status"].to_series()
    failed = status[~status.isin([FLAGS[DONE], FLAGS[PENDING]])]
    columns = about_photographs(faces)
    notes = dict(zip(columns["face"], columns.get("image_note", ()), strict=False))
    lines = []
    for face, why in failed.head(5).items():
        note = notes.get(face, "")
        lines.append(f"    {one_line(face)}: {why}" + (f" ({one_line(note)})" if note else ""))
    if len(failed) > 5:
        lines.append(f"    ... and {len(failed) - 5:,} more")
    notes_of_all = [note for note in photograph_notes(columns) if "failed" not in note]
    return [*lines, *(f"    {one_line(note, 1_000)}" for note in notes_of_all)]


def _short(checkpoint: str) -> str:
    return checkpoint[:12] if re.fullmatch("[0-9a-f]{64}", checkpoint) else checkpoint


def _model_text(group: zarr.Group) -> str:
    identity = json.loads(str(group.attrs["identity"]))
    return (
        f"checkpoint {one_line(_short(identity['checkpoint']))}, template {identity['template']}, "
        f"{identity['channels']}, (pixel - {_numbers(identity['mean'])}) / "
        f"{_numbers(identity['std'])}, "
        f"{identity['precision']}"
    )


def _numbers(value: float | list[float]) -> str:
    """One number, or one per channel."""
    if isinstance(value, list):
        return f"[{', '.join(f'{number:g}' for number in value)}]"
    return f"{value:g}"

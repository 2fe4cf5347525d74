"""Compare the parts of a run with each other: lengths, faces, people who were removed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.errors import StoreError
from freqlab.store import journal
from freqlab.store.chunks import arrays_of, child_names, opened, read
from freqlab.store.layout import DONE, FORGOTTEN, PENDING, STUDIES
from freqlab.store.records import NODE

__all__ = ["contradictions", "face_nodes", "sound_groups"]


def face_nodes(root: zarr.Group, path: str = "") -> list[str]:
    """Paths of the nodes with a face axis, except that of the faces themselves."""
    paths = []
    for name in child_names(root.store, path):
        below = f"{path}/{name}".strip("/")
        if below in ("faces", "influence", NODE, STUDIES) or not journal.counts(root, below):
            continue
        group: Any = None
        with contextlib.suppress(Exception):  # not a node, or damaged: reported where it is used
            group = root[below]
        if isinstance(group, zarr.Group):
            is_face_node = "status" in child_names(root.store, below)
            paths += [below] if is_face_node else face_nodes(root, below)
    return paths


def sound_groups(root: zarr.Group, path: str) -> Iterator[tuple[str, zarr.Group]]:
    """Groups below a path that count and can be opened; damaged ones are reported elsewhere."""
    for name in child_names(root.store, path):
        below, group = f"{path}/{name}", None
        if journal.counts(root, below):
            with contextlib.suppress(Exception):  # not a node, or damaged
                group = root[below]
        if isinstance(group, zarr.Group):
            yield below, group


def contradictions(root: zarr.Group, broken: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Find contradictions between parts of a run; nodes that are `broken` are left out.

    Yields
    ------
    node, array, what
        Array is empty if no single array is wrong.
    """
    begun = {"status", "face", "subject", "degraded_by"} <= set(child_names(root.store, "faces"))
    if not begun or not journal.counts(root, "faces") or "n_faces" not in root["faces"].attrs:
        return  # a run was killed just after its start
    nodes = [path for path in sorted(face_nodes(root)) if path not in broken]
    # statuses first: a run that grows meanwhile then has more faces, not fewer
    statuses = {path: _status(root, path) for path in nodes}
    faces = cast(zarr.Group, root["faces"])
    status = _status(root, "faces")
    n_faces = int(cast(int, faces.attrs["n_faces"]))
    yield from _lengths(faces, "faces", status, n_faces)
    if len(status) < n_faces:
        return
    yield from _names(faces, n_faces)
    gone = np.flatnonzero(status[:n_faces] == FORGOTTEN)
    for path in nodes:
        node = cast(zarr.Group, root[path])
        yield from _lengths(node, path, statuses[path], n_faces)
        kept = np.isin(statuses[path][gone[gone < len(statuses[path])]], (DONE,))
        if kept.any():
            yield path, "", f"still has {int(kept.sum()):,} faces of a person who was removed"
    if "influence" in root:
        for path, result in sound_groups(root, "influence"):
            if path not in broken and result.attrs.get("complete"):
                yield from _result(result, path, n_faces, gone)


def _status(root: zarr.Group, path: str) -> npt.NDArray[Any]:
    return read(opened(cast(zarr.Group, root[path]), "status"))


def _lengths(
    node: zarr.Group, path: str, status: npt.NDArray[Any], n_faces: int
) -> Iterator[tuple[str, str, str]]:
    """Rows that belong to no face, and arrays shorter than the rows that are done."""
    beyond = int((status[n_faces:] != PENDING).sum())
    if beyond:
        what = f"marks {beyond:,} rows as done beyond the {n_faces:,} faces of the run"
        yield path, "", what
    done = np.flatnonzero(status[:n_faces] == DONE)
    needed = n_faces if path == "faces" else int(done[-1]) + 1 if len(done) else 0
    for name, array in arrays_of(node).items():
        if array.shape[0] < needed:
            what = f"has {array.shape[0]:,} rows for {needed:,} faces that are done or known"
            yield path, name, what


def _names(faces: zarr.Group, n_faces: int) -> Iterator[tuple[str, str, str]]:
    names = read(opened(faces, "face"))[:n_faces]
    if len(np.unique(names.astype(str))) < len(names):
        yield "faces", "face", "gives several faces the same name"


def _result(
    result: zarr.Group, path: str, n_faces: int, gone: npt.NDArray[np.int64]
) -> Iterator[tuple[str, str, str]]:
    """Axes of a result that differ in length, and pairs of faces that do not exist."""
    lengths: dict[str, tuple[int, str]] = {}
    for name, array in arrays_of(result).items():
        dims = array.metadata.dimension_names or ()  # type: ignore[union-attr]
        for dim, length in zip(dims, array.shape, strict=False):
            known, first = lengths.setdefault(str(dim), (length, name))
            if known != length:
                yield path, name, f"has length {length:,} along {dim!r}, {first!r} has {known:,}"
                return
    try:
        identity = json.loads(str(result.attrs["identity"]))
        n_pairs = int(identity["pairs"]["n"]) - int(
            cast(int, result.attrs.get("pairs_forgotten", 0))
        )
        models = list(identity["models"])
        rows = [read(opened(result, side)) for side in ("probe", "reference")]
        stored = read(opened(result, "model")).tolist()
    except (KeyError, ValueError, TypeError, StoreError) as error:
        yield path, "", f"lacks a part of a result ({error})"
        return
    if stored != models:
        yield path, "model", f"names {stored}, but the result was computed with {models}"
    if lengths.get("pair", (0, ""))[0] != n_pairs:
        n_stored = lengths["pair"][0]
        yield path, "pair", f"has {n_stored:,} pairs, but the result was computed for {n_pairs:,}"
    for side, faces in zip(("probe", "reference"), rows, strict=True):
        if len(faces) and not (faces.min() >= 0 and faces.max() < n_faces):
            yield path, side, f"names faces beyond the {n_faces:,} of the run"
        elif np.isin(faces, gone).any():
            yield path, side, "shows a person who was removed"

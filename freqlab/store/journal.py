"""Changes of a store in several steps, which may be interrupted between any two of them.

A single file is replaced by a rename, so it exists whole or not at all. A change of several files
is recorded before its first step and cleared with its last, each in one write of the attributes of
the store's root (``unfinished``, JSON text). There are three kinds:

``discard``
    Nodes and arrays that are being made or removed: their content does not count.
``grow``
    Nodes whose arrays are being made longer, with the length that counts until then.
``move``
    Complete nodes that were made aside, and their destinations.

The next writer to the store completes such changes with :func:`recover`: it removes what is to be
discarded, cuts what grew, and moves what is to be moved. Recovery may be interrupted, too. Readers
leave out what does not count.

This holds for a process that is killed, because the system has seen its operations in order. It
holds for a loss of power if the file system keeps the order of renames, and writes the content of
a file before its rename; nothing here waits for the disk. Otherwise checksums show the damage.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, cast

import numpy as np
import zarr

from freqlab.errors import StoreError
from freqlab.store.chunks import (
    arrays_of,
    child_names,
    copy_folder,
    groups_of,
    holds_files,
    opened,
    read,
    remove_folder,
    rows_without_chunk,
)

__all__ = [
    "check_empty",
    "counts",
    "cut",
    "groups_that_count",
    "growing",
    "length_of",
    "length_said",
    "make_group",
    "making",
    "recover",
    "remove",
    "replacing",
    "said_unfinished",
    "unfinished",
    "void_below",
]

_KEY = "unfinished"
_ASIDE = "aside"  # path for making nodes that replace others


class _State(TypedDict):
    discard: list[str]
    grow: dict[str, int]
    move: list[list[str]]


def unfinished(root: zarr.Group) -> list[str]:
    """Describe the unfinished changes of a store as text."""
    return said_unfinished(root.attrs)


def said_unfinished(attributes: Mapping[str, Any]) -> list[str]:
    """As :func:`unfinished`, from the attributes of a store's root."""
    state = _said(attributes)
    return [
        *(f"{path} is being made or removed" for path in state["discard"]),
        *(f"{path} is being made longer than {n:,} rows" for path, n in state["grow"].items()),
        *(f"{path} is being replaced" for _, path in state["move"]),
    ]


def counts(root: zarr.Group, path: str) -> bool:
    """Whether the content at a path of the store counts, that is, is not being made or removed."""
    return not void_below(root.attrs)(path)


def groups_that_count(
    root: zarr.Group, above: str = "", *, only: Sequence[str] | None = None
) -> list[tuple[str, zarr.Group]]:
    """All groups that count, with their paths; at the top, those of some names only."""
    groups = []
    for name, child in groups_of(cast(zarr.Group, root[above]) if above else root).items():
        if only is not None and name not in only:
            continue
        path = f"{above}/{name}".strip("/")
        if counts(root, path):
            groups.append((path, child))
            groups.extend(groups_that_count(root, path))
    return groups


def void_below(attributes: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return a predicate of paths that do not count, from the attributes of a store's root."""
    state = _said(attributes)
    void = (_ASIDE, *state["discard"], *(target for _, target in state["move"]))
    below = tuple(f"{node}/" for node in void)
    return lambda path: path in void or path.startswith(below)


def length_of(root: zarr.Group, path: str, length: int) -> int:
    """Number of rows of a node that count, of the `length` rows of its arrays."""
    return length_said(root.attrs, path, length)


def length_said(attributes: Mapping[str, Any], path: str, length: int) -> int:
    """As :func:`length_of`, from the attributes of a store's root."""
    return min(length, _said(attributes)["grow"].get(path, length))


def recover(root: zarr.Group) -> None:
    """Complete unfinished changes; the caller holds the lock."""
    while (state := _state(root))["discard"] or state["grow"] or state["move"]:
        for path, length in state["grow"].items():
            node = root.get(path)
            if isinstance(node, zarr.Group):
                cut(node, cast(int, node.attrs.get("n_faces", length)))
        for path in state["discard"]:
            remove_folder(root.store, path)
        for source, target in state["move"]:
            remove_folder(root.store, target)
            copy_folder(root.store, source, target)
        _write(root, {"discard": [_ASIDE] if state["move"] else [], "grow": {}, "move": []})


@contextlib.contextmanager
def making(root: zarr.Group, *paths: str) -> Iterator[None]:
    """Make nodes, or arrays of nodes, which count only when all of them are complete.

    If the body raises, its remains do not count, and the next writer removes them.

    Raises
    ------
    StoreError
        If a path already has content that no reader recognises.
    """
    for path in paths:
        check_empty(root, path)
        _require_groups_above(root, path)
    state = _state(root)
    state["discard"] += paths
    _write(root, state)
    yield
    state = _state(root)
    state["discard"] = [path for path in state["discard"] if path not in paths]
    _write(root, state)


def check_empty(root: zarr.Group, path: str) -> None:
    """Check that a path of the store is empty, except for an empty group.

    Raises
    ------
    StoreError
        If it is not empty, which means that a description is lost.
    """
    there = child_names(root.store, path)
    if any(name != "zarr.json" and holds_files(root.store, f"{path}/{name}") for name in there):
        raise StoreError(
            f"{path!r} in the store is damaged (its description, zarr.json, is missing or empty): "
            f"`freqlab info --verify` lists all damage, `freqlab run --repair` and "
            f"fl.influence(..., repair=True) compute it again"
        )


def make_group(root: zarr.Group, path: str, attributes: dict[str, Any]) -> zarr.Group:
    """Make a group with its attributes, in one write if the groups above it exist."""
    _require_groups_above(root, path)
    above, _, name = path.rpartition("/")
    return _group(root, above).create_group(name, attributes=attributes)


def remove(root: zarr.Group, *paths: str) -> None:
    """Remove nodes, or arrays of nodes, with everything below them."""
    there = [path for path in paths if holds_files(root.store, path)]
    if not there:
        return
    state = _state(root)
    state["discard"] += there
    _write(root, state)
    for path in there:
        remove_folder(root.store, path)
    state = _state(root)
    state["discard"] = [path for path in state["discard"] if path not in there]
    _write(root, state)


@contextlib.contextmanager
def growing(root: zarr.Group, path: str, length: int) -> Iterator[None]:
    """Make the arrays of a node longer; until that is done, `length` of their rows count.

    In a node with ``n_faces`` in its attributes that number counts, also after an interruption.
    """
    state = _state(root)
    state["grow"][path] = length
    _write(root, state)
    yield
    state = _state(root)
    del state["grow"][path]
    _write(root, state)


@contextlib.contextmanager
def replacing(root: zarr.Group, path: str) -> Iterator[str]:
    """Make a node aside, at the path that is yielded, and replace another with it.

    One of the two is complete at all times, and the store records which.
    """
    aside = f"{_ASIDE}/{path}"
    state = _state(root)
    state["discard"].append(_ASIDE)
    _write(root, state)
    _require_groups_above(root, aside)
    yield aside
    state = _state(root)
    state["discard"].remove(_ASIDE)
    state["move"].append([aside, path])
    _write(root, state)
    recover(root)


def cut(node: zarr.Group, length: int) -> None:
    """Cut arrays of a node to a length, and clear the chunks behind their last row."""
    for name in sorted(arrays_of(node), key=lambda name: name != "status"):
        array = opened(node, name)
        if array.shape[0] <= length:
            continue
        size = array.chunks[0]
        stop = min(array.shape[0], -(-length // size) * size)
        if length < stop and not len(rows_without_chunk(array, np.array([length], np.int64))):
            with contextlib.suppress(StoreError):  # damaged: is found, and made again, as a whole
                read(array, slice(length, stop))
                array[length:stop] = array.fill_value
        array.resize((length, *array.shape[1:]))


def _group(root: zarr.Group, path: str) -> zarr.Group:
    node = root[path] if path else root
    if not isinstance(node, zarr.Group):
        raise StoreError(f"{path} in the store is not a group")
    return node


def _require_groups_above(root: zarr.Group, path: str) -> None:
    """Make the groups above a node, from the top, each in one write."""
    parts = path.split("/")[:-1]
    for i in range(len(parts)):
        above = "/".join(parts[: i + 1])
        if above not in root:
            _group(root, "/".join(parts[:i])).create_group(parts[i])


def _state(root: zarr.Group) -> _State:
    return _said(root.attrs)


def _said(attributes: Mapping[str, Any]) -> _State:
    empty: _State = {"discard": [], "grow": {}, "move": []}
    text = attributes.get(_KEY)
    return empty if text is None else {**empty, **json.loads(str(text))}


def _write(root: zarr.Group, state: _State) -> None:
    attrs = {name: value for name, value in root.attrs.items() if name != _KEY}
    if any(state.values()):
        attrs[_KEY] = json.dumps({name: value for name, value in state.items() if value})
    root.attrs.put(attrs)

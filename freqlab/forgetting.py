"""Remove one person from a run: really, and so that it can be killed and called again.

The rows that are being emptied stand in the attributes of the root, ``forgetting``, from before
the first step until after the last. Each step can be done again: a result is replaced as a whole
(:func:`freqlab.journal.replacing`), and empty rows are emptied. So whoever writes to the run next
finishes what was begun.
"""

from __future__ import annotations

import difflib
import os
from typing import Any, TypedDict, cast

import numpy as np
import numpy.typing as npt
import zarr

from freqlab import journal
from freqlab.chunks import (
    ALL_CHUNKS,
    arrays_of,
    compressors,
    disk_faults,
    groups_of,
    open_root,
    open_root_if_there,
    opened,
    place_of,
    read,
)
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.layout import FORGOTTEN, KEPT_RESULTS
from freqlab.locking import Lock, locked
from freqlab.plain_text import twin_name, write_twin
from freqlab.repair import remove_partial_files
from freqlab.store import RunStore

__all__ = ["Forgotten", "finish_forgetting", "forget", "settle"]

_PAIRS_PER_STEP = 65536
_OF_PEOPLE = ("subject", "contributor_a", "contributor_b")


class Forgotten(TypedDict):
    """What :func:`forget` removed."""

    faces: int
    """Rows of faces, with their crops and embeddings."""
    pairs: int
    """Pairs, over all results."""
    mentions: list[str]
    """Columns of text in which the person, or one of the faces, is still named."""


def forget(store: str | os.PathLike[str], *, subject: str) -> Forgotten:
    """Remove one person from a run.

    Gone are the person's faces, whatever was made from them (degraded faces, morphs), their
    crops, landmarks, digests and embeddings, and in every result the pairs that show them. The
    rows stay as empty places, so that those of the others keep their numbers. Thresholds and
    other figures over all faces stay as they were computed. What studies keep (embeddings of sets
    of bands, maps) goes as a whole, for it does not say whose it is; it is computed again when it
    is asked for.

    The run's files are rewritten, not overwritten: a disk may keep what a file held for a
    while, as with any file that is deleted, and copies and backups are not reached.

    Parameters
    ----------
    store
        The run's Zarr group. No other run may be writing to it.
    subject
        The person, as the run names them.

    Returns
    -------
    Forgotten
        Numbers of faces and pairs removed, and where the person is still mentioned: a column of
        your own may name them.

    Raises
    ------
    UnknownNameError
        If the run has no such subject.
    StoreError
        If there is no run, another process is writing to it, it is damaged, or the disk refuses.
        A call that was stopped leaves a run that says so and is finished by the same call.
    """
    url = place_of(store)
    if not isinstance(subject, (str, int)) or subject == "":
        raise ParameterError(f"subject={subject!r} must be the name of a subject of the run")
    open_root(url)  # says what is wrong with a place where there is no run
    with disk_faults(url), locked(url) as lock:
        run = RunStore(url, lock=lock)
        remove_partial_files(url)
        rows, named = _rows_of(run, str(subject))
        run.root.attrs["forgetting"] = rows.tolist()
        n_pairs = finish_forgetting(run)
        mentions = _mentions(run.root, named)
        remove_partial_files(url)
    return {"faces": len(rows), "pairs": n_pairs, "mentions": mentions}


def finish_forgetting(run: RunStore) -> int:
    """Do all steps of what a run says is being forgotten; return how many pairs go.

    Raises
    ------
    StoreError
        If something that stays is damaged.
    """
    rows = np.array(run.root.attrs.get("forgetting", []), np.int64)
    if not len(rows):
        return 0
    journal.remove(run.root, *KEPT_RESULTS, "forgetting")  # where earlier versions kept copies
    n_pairs = _drop_pairs_of_results(run, rows)
    for path in _face_nodes(run.root):
        _blank(run, cast(zarr.Group, run.root[path]), rows)
    _blank_faces(run, rows)
    attrs = {name: value for name, value in run.root.attrs.items() if name != "forgetting"}
    attrs["forgotten"] = int((read(opened(run.faces, "status")) == FORGOTTEN).sum())
    run.root.attrs.put(attrs)
    return n_pairs


def settle(url: str, lock: Lock) -> None:
    """Bring to an end what was begun in a store and stopped; the caller holds its lock."""
    root = open_root_if_there(url, "r+")
    if root is None:
        return
    journal.recover(root)
    if "forgetting" in root.attrs:
        finish_forgetting(RunStore(url, lock=lock))


def _rows_of(run: RunStore, subject: str) -> tuple[npt.NDArray[np.int64], set[str]]:
    """Rows to empty, and the texts by which the person and the faces go.

    With the person's faces go those that name one of them as their source, and so on.
    """
    faces = run.faces
    names = read(opened(faces, "face"))
    status = read(opened(faces, "status"))
    doomed = np.zeros(len(names), bool)
    for column in _OF_PEOPLE:
        if column in faces:
            doomed |= read(opened(faces, column)) == subject
    sources = (
        read(opened(faces, "source")) if "source" in faces else np.full(len(names), "", object)
    )
    while True:
        derived = np.isin(sources.astype(str), names[doomed].astype(str)) & ~doomed
        if not derived.any():
            break
        doomed |= derived
    begun = cast(list[int], run.root.attrs.get("forgetting", []))
    if not doomed.any() and not begun:
        known = np.unique(read(opened(faces, "subject"))[status != FORGOTTEN])
        near = difflib.get_close_matches(subject, known.tolist(), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownNameError(f"store {run.url!r} holds no subject {subject!r}.{hint}")
    own = {subject, *names[doomed]}
    if "path" in faces:
        own |= set(read(opened(faces, "path"))[doomed])
    doomed[begun] = True
    return np.flatnonzero(doomed).astype(np.int64), own - {""}


def _face_nodes(root: zarr.Group, path: str = "") -> list[str]:
    """Paths of the nodes with a face axis, but that of the faces themselves."""
    found = []
    for name, group in groups_of(cast(zarr.Group, root[path]) if path else root).items():
        below = f"{path}/{name}".strip("/")
        if below in ("faces", "influence"):
            continue
        found += [below] if "status" in group else _face_nodes(root, below)
    return found


def _blank(run: RunStore, node: zarr.Group, rows: npt.NDArray[np.int64]) -> None:
    """Empty rows of a node; status first, so that nobody takes what is half gone for whole."""
    journal.cut(node, run.n_faces)
    others = [name for name in arrays_of(node) if name != "status"]
    for name, value in [("status", FORGOTTEN), *((name, None) for name in others)]:
        _fill_rows(run, node, name, rows, value)


def _fill_rows(
    run: RunStore, node: zarr.Group, name: str, rows: npt.NDArray[np.int64], value: Any
) -> None:
    """Write a value, or the fill value, into rows, and nothing into those behind the last face."""
    array = opened(node, name)
    fill = array.fill_value if value is None else value
    rows = rows[rows < array.shape[0]]  # of a model that did not see the last faces yet
    for block in run.blocks(rows):
        start = int(rows[block][0]) // run.block_size * run.block_size
        stop = min(start + run.block_size, array.shape[0])
        chunk = read(array, slice(start, stop))
        chunk[rows[block] - start] = fill
        array[start:stop] = chunk
    n_faces = run.n_faces
    tail = -n_faces % run.block_size
    if tail and len(rows):  # a stopped run may have left something there
        array.resize((n_faces + tail, *array.shape[1:]))
        array[n_faces:] = array.fill_value
        array.resize((n_faces, *array.shape[1:]))


def _blank_faces(run: RunStore, rows: npt.NDArray[np.int64]) -> None:
    """Empty the rows of the faces themselves."""
    faces = run.faces
    for name in arrays_of(faces):
        if name not in ("face", "status"):
            _fill_rows(run, faces, name, rows, None)
    _fill_rows(run, faces, "face", rows, None)
    names = opened(faces, "face")
    for block in run.blocks(rows):
        start = int(rows[block][0]) // run.block_size * run.block_size
        chunk = read(names, slice(start, min(start + run.block_size, names.shape[0])))
        chunk[rows[block] - start] = [f"(forgotten {row})" for row in rows[block]]
        names[start : start + len(chunk)] = chunk
        if twin_name("face") in faces:
            write_twin(opened(faces, twin_name("face")), slice(start, start + len(chunk)), chunk)
    _fill_rows(run, faces, "status", rows, FORGOTTEN)


def _drop_pairs_of_results(run: RunStore, rows: npt.NDArray[np.int64]) -> int:
    """Write every result anew without the pairs of these faces; return how many they were.

    The pairs that stay are copied aside, and the copy takes the place of the result.
    """
    root, n_dropped = run.root, 0
    names = list(groups_of(cast(zarr.Group, root["influence"]))) if "influence" in root else []
    for name in sorted(names):
        path = f"influence/{name}"
        group = cast(zarr.Group, root[path])
        if not group.attrs.get("complete"):
            journal.remove(root, path)  # a run makes it anew
            continue
        sides = [read(opened(group, side)) for side in ("probe", "reference")]
        doomed = np.isin(sides, rows).any(axis=0)
        if not doomed.any():
            continue
        n_dropped += int(doomed.sum())
        if doomed.all():
            journal.remove(root, path)
        else:
            with journal.replacing(root, path) as aside:
                _copy_pairs(group, root, aside, np.flatnonzero(~doomed), int(doomed.sum()))
    return n_dropped


def _copy_pairs(
    group: zarr.Group, root: zarr.Group, path: str, kept: npt.NDArray[np.intp], n_dropped: int
) -> None:
    """Copy a result, of its pairs those at positions `kept`."""
    attrs = dict(group.attrs)
    n_dropped += cast(int, attrs.get("pairs_forgotten", 0))
    copy = journal.make_group(root, path, {**attrs, "pairs_forgotten": n_dropped})
    for name in arrays_of(group):
        array = opened(group, name)
        dims = cast(tuple[str, ...], array.metadata.dimension_names)  # type: ignore[union-attr]
        axis = dims.index("pair") if "pair" in dims else None
        shape = list(array.shape)
        if axis is not None:
            shape[axis] = len(kept)
        made = copy.create_array(
            name,
            shape=tuple(shape),
            chunks=tuple(max(1, min(s, c)) for s, c in zip(shape, array.chunks, strict=True)),
            dtype=str if array.dtype.kind == "T" else array.dtype,
            fill_value=array.fill_value,
            dimension_names=dims,
            attributes=dict(array.attrs),
            compressors=compressors(True),
            config=ALL_CHUNKS,
        )
        if axis is None:
            made[...] = read(array, ...)
            continue
        before = (slice(None),) * axis
        for start in range(0, len(kept), _PAIRS_PER_STEP):
            part = kept[start : start + _PAIRS_PER_STEP]
            values = read(array, (*before, slice(int(part[0]), int(part[-1]) + 1)))
            at = (*before, slice(start, start + len(part)))
            made[at] = np.take(values, part - part[0], axis=axis)


def _mentions(root: zarr.Group, texts: set[str]) -> list[str]:
    """Columns of text in which one of these texts stands as a value."""
    found = []
    groups = [("faces", root["faces"])]
    if "influence" in root:
        results = groups_of(cast(zarr.Group, root["influence"]))
        groups += [(f"influence/{name}", group) for name, group in results.items()]
    for path, group in groups:
        for name, array in arrays_of(cast(zarr.Group, group)).items():
            if array.dtype.kind == "T" and texts & set(read(array).ravel().tolist()):
                found.append(f"{path}/{name}")
    return found

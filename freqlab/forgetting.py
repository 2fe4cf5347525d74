"""Remove one person from a run: really, and so that it can be killed and called again."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, TypedDict, cast

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.chunks import (
    ALL_CHUNKS,
    compressors,
    disk_faults,
    open_root,
    opened,
    place_of,
    read,
    remove_folder,
)
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.layout import FORGOTTEN, KEPT_RESULTS
from freqlab.locking import locked
from freqlab.persons import (
    Names,
    cut_leftovers,
    mentions,
    names_of,
    remove_images,
    rename_results,
    rows_of,
)
from freqlab.plain_text import renew_twins, twin_name, write_twin
from freqlab.remains import accept_edits
from freqlab.repair import remove_partial_files
from freqlab.store import RunStore

__all__ = ["Forgotten", "forget"]

_PAIRS_PER_STEP = 65536
_COPY = "forgetting"  # where the pairs that stay wait while a result is written anew


class Forgotten(TypedDict):
    """What :func:`forget` removed."""

    faces: int
    """Rows of faces, with their crops and embeddings."""
    pairs: int
    """Pairs, over all results."""
    images: int
    """Files of morphs that freqlab had made of the person."""
    mentions: dict[str, int]
    """Where the person, or one of their faces, is still named, and how often: paths of arrays,
    attributes (``node@attribute``), names of nodes and files."""
    photographs: list[str]
    """Files of the person's photographs, which are yours and were not touched."""


def forget(
    store: str | os.PathLike[str],
    *,
    subject: str,
    people: Sequence[str] = (),
    accept: bool = False,
) -> Forgotten:
    """Remove one person from a run.

    Gone are the person's faces, whatever was made from them (degraded and manipulated faces,
    morphs, also their files where freqlab wrote them), their crops, landmarks, digests and
    embeddings, and in every result the pairs that show them. A result that is called after the
    person gets another name. The rows stay as empty places, so that those of the others keep
    their numbers. Thresholds and other figures over all faces stay as they were computed. What
    studies keep (embeddings of sets of bands, maps) goes as a whole, for it does not say whose it
    is; it is computed again when it is asked for.

    The run's files are rewritten, not overwritten: a disk may keep what a file held for a
    while, as with any file that is deleted, and copies and backups are not reached.

    Parameters
    ----------
    store
        The run's Zarr group. No other run may be writing to it.
    subject
        The person, as the run names them.
    people
        Columns of your own that name the people or faces that a face was made of, beside those
        that are known (:func:`freqlab.persons.people_columns`).
    accept
        That what is still mentioned may stay. Otherwise a later call looks for it again.

    Returns
    -------
    Forgotten
        What was removed, and what is left: a column of your own, a longer text or the name of a
        set may still name the person. Looked for are the subject, the names of the faces, their
        paths and the folders in the names of faces; whole words only, whatever their case, and
        names without a letter only where they stand by themselves (:class:`freqlab.persons.Names`).
        Text that is not in the run, such as reports, is not looked through.

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
        rows, named = _rows_of(run, str(subject), people)
        names = Names(named)
        run.root.update_attributes({"forgetting": rows.tolist(), "forgetting_names": names.texts})
        images = remove_images(run, rows)
        for name in set(KEPT_RESULTS) & set(run.root.group_keys()):
            remove_folder(run.root.store, name)
        n_pairs = _drop_pairs_of_results(run, rows)
        rename_results(
            run.root,
            names,
            lambda group, path: _copy_all_pairs(group, run.root, path),
            lambda path: remove_folder(run.root.store, path),
        )
        nodes = _face_nodes(run.root)
        cut_leftovers(run, nodes)
        for path in nodes:
            _blank(run, cast(zarr.Group, run.root[path]), rows)
        n_faces = _blank_faces(run, rows)
        for group in _groups_with_texts(run.root):
            renew_twins(group)
        told = _remembered(run.root).get(_key(str(subject)), {}).get("where", [])
        accept_edits(url, told)
        left = mentions(run.root, url, names)
        _remember(run.root, str(subject), {} if accept else left, names)
        run.root.attrs["forgotten"] = cast(int, run.root.attrs.get("forgotten", 0)) + n_faces
        run.root.attrs.put(
            {k: v for k, v in run.root.attrs.items() if not k.startswith("forgetting")}
        )
        remove_partial_files(url)
    return {
        "faces": len(rows),
        "pairs": n_pairs,
        "images": len(images.removed),
        "mentions": {where: len(texts) for where, texts in left.items()},
        "photographs": images.left,
    }


def _groups_with_texts(root: zarr.Group) -> list[zarr.Group]:
    """The groups that hold columns of text."""
    results = root.get("influence")
    groups = list(results.groups()) if isinstance(results, zarr.Group) else []
    return [cast(zarr.Group, root["faces"]), *(group for _, group in groups)]


def _key(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()


def _remembered(root: zarr.Group) -> dict[str, dict[str, list[str]]]:
    """Of people who were still named, by which names and where, by the subject's digest."""
    found: dict[str, dict[str, list[str]]] = json.loads(str(root.attrs.get("mentioned", "{}")))
    return found


def _remember(root: zarr.Group, subject: str, left: dict[str, list[str]], names: Names) -> None:
    """Keep those names of a person that still stand somewhere, so that they can be looked for."""
    known = _remembered(root)
    key = _key(subject)
    kept = names.among({text for texts in left.values() for text in texts})
    known.pop(key, None)
    known |= {key: {"names": kept, "where": list(left)}} if left else {}
    attrs = {k: v for k, v in root.attrs.items() if k != "mentioned"}
    root.attrs.put({**attrs, "mentioned": json.dumps(known)} if known else attrs)


def _rows_of(
    run: RunStore, subject: str, people: Sequence[str]
) -> tuple[npt.NDArray[np.int64], set[str]]:
    """Rows to empty, and the texts by which the person and the faces go."""
    rows = rows_of(run, subject, people)
    named = names_of(run, rows, subject)
    begun = cast(list[int], run.root.attrs.get("forgetting", []))
    named |= set(cast(list[str], run.root.attrs.get("forgetting_names", [])))
    before = _remembered(run.root).get(_key(subject))
    named |= set(before["names"] if before else [])
    if not (len(rows) or begun or before):
        faces = run.faces
        alive = read(opened(faces, "status")) != FORGOTTEN
        known = np.unique(read(opened(faces, "subject"))[alive])
        near = difflib.get_close_matches(subject, known.tolist(), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        named_in = list(mentions(run.root, run.url, Names([subject])))
        if named_in:
            hint = f" It is named in {', '.join(named_in[:5])}.{hint}"
        raise UnknownNameError(f"store {run.url!r} holds no subject {subject!r}.{hint}")
    return np.union1d(rows, np.array(begun, np.int64)), named


def _face_nodes(root: zarr.Group, path: str = "") -> list[str]:
    """Paths of the nodes with a face axis, but that of the faces themselves."""
    found = []
    for name, group in (root[path] if path else root).groups():  # type: ignore[union-attr]
        below = f"{path}/{name}".strip("/")
        if below in ("faces", "influence", _COPY):
            continue
        found += [below] if "status" in group else _face_nodes(root, below)
    return found


def _blank(run: RunStore, node: zarr.Group, rows: npt.NDArray[np.int64]) -> None:
    """Empty rows of a node; status first, so that nobody takes what is half gone for whole."""
    others = [name for name in node.array_keys() if name != "status"]
    rows = rows[rows < opened(node, "status").shape[0]]  # faces that were added since are not in it
    for name, value in [("status", FORGOTTEN), *((name, None) for name in others)]:
        _fill_rows(run, node, name, rows, value)


def _fill_rows(
    run: RunStore, node: zarr.Group, name: str, rows: npt.NDArray[np.int64], value: Any
) -> None:
    """Write a value, or the fill value, into rows, and nothing into those behind the last face."""
    array = opened(node, name)
    fill = array.fill_value if value is None else value
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


def _blank_faces(run: RunStore, rows: npt.NDArray[np.int64]) -> int:
    """Empty the rows of the faces themselves; return how many were not empty yet."""
    faces = run.faces
    n_new = int((read(opened(faces, "status"))[rows] != FORGOTTEN).sum())
    for name in list(faces.array_keys()):
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
    return n_new


def _drop_pairs_of_results(run: RunStore, rows: npt.NDArray[np.int64]) -> int:
    """Write every result anew without the pairs of these faces; return how many they were.

    The pairs that stay are first copied aside: whenever this is killed, either the result or the
    copy is whole, and the copy shows nobody who is to be forgotten.
    """
    root, n_dropped = run.root, 0
    names = set(root["influence"].group_keys()) if "influence" in root else set()  # type: ignore[union-attr]
    copies = set(root[_COPY].group_keys()) if _COPY in root else set()  # type: ignore[union-attr]
    for name in sorted(names | copies):
        result, copy = f"influence/{name}", f"{_COPY}/{name}"
        if not (name in copies and root[copy].attrs.get("complete")):
            group = cast(zarr.Group, root[result])
            if not group.attrs.get("complete"):
                remove_folder(root.store, result)  # a run makes it anew
                continue
            sides = [read(opened(group, side)) for side in ("probe", "reference")]
            doomed = np.isin(sides, rows).any(axis=0)
            if not doomed.any():
                continue
            n_dropped += int(doomed.sum())
            remove_folder(root.store, copy)
            if not doomed.all():
                _copy_pairs(group, root, copy, np.flatnonzero(~doomed), int(doomed.sum()))
        remove_folder(root.store, result)
        if copy in root:
            group = cast(zarr.Group, root[copy])
            n_pairs = opened(group, "pair").shape[0]
            _copy_pairs(group, root, result, np.arange(n_pairs), 0)
    if _COPY in root:
        remove_folder(root.store, _COPY)
    return n_dropped


def _copy_all_pairs(group: zarr.Group, root: zarr.Group, path: str) -> None:
    """Copy a result as it is."""
    remove_folder(root.store, path)
    _copy_pairs(group, root, path, np.arange(opened(group, "pair").shape[0]), 0)


def _copy_pairs(
    group: zarr.Group, root: zarr.Group, path: str, kept: npt.NDArray[np.intp], n_dropped: int
) -> None:
    """Copy a result, of its pairs those at positions `kept`; it is complete when all is there."""
    copy = root.require_group(path)
    attrs = dict(group.attrs)
    n_dropped += cast(int, attrs.get("pairs_forgotten", 0))
    copy.update_attributes({**attrs, "complete": 0, "pairs_forgotten": n_dropped})
    for name in list(group.array_keys()):
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
            overwrite=True,
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
    copy.attrs["complete"] = 1

"""Remove one person from a run, such that the removal can be interrupted and resumed."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.errors import ParameterError, UnknownNameError
from freqlab.store import journal
from freqlab.store.chunks import (
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
from freqlab.store.layout import FORGOTTEN, KEPT_RESULTS, STUDIES
from freqlab.store.locking import Lock, locked
from freqlab.store.persons import (
    Images,
    Names,
    cut_leftovers,
    mentions,
    names_of,
    remove_images,
    rename_results,
    rows_of,
)
from freqlab.store.plain_text import renew_twins, twin_name, write_twin
from freqlab.store.remains import accept_edits
from freqlab.store.repair import remove_partial_files
from freqlab.store.run_store import RunStore

__all__ = ["Forgotten", "finish_forgetting", "forget", "settle"]

_PAIRS_PER_STEP = 65536


class Forgotten(TypedDict):
    """Result of :func:`forget`."""

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

    This removes the person's faces, everything made from them (degraded and manipulated faces,
    morphs, also their files if freqlab wrote them), their crops, landmarks, digests and
    embeddings, and in every result the pairs that show them. A result named after the person gets
    another name. The rows stay empty, so that other faces keep their row numbers. Thresholds and
    other figures over all faces stay unchanged. Studies and the data they keep (embeddings of sets
    of bands, maps) are removed as a whole, because they do not record whose they are; they are
    computed again on request.

    The run's files are replaced, not overwritten: a disk may keep the old content for a while, as
    with any deleted file. Copies and backups are not reached.

    Parameters
    ----------
    store
        The run's Zarr group. No other run may be writing to it.
    subject
        The person, as named in the run.
    people
        Your own columns that name the people or faces that a face was made of, in addition to the
        known ones (:func:`freqlab.store.persons.people_columns`).
    accept
        Whether remaining mentions may stay. Otherwise a later call searches for them again.

    Returns
    -------
    Forgotten
        What was removed, and which mentions are left: your own column, a longer text or the name
        of a set may still name the person. The search covers the subject, the names of the faces,
        their paths and the folders in the names of faces. It finds whole words, in any case, and
        names without a letter only where they are separate
        (:class:`freqlab.store.persons.Names`). Text outside the run, such as reports, is not
        searched.

    Raises
    ------
    UnknownNameError
        If the run has no such subject.
    StoreError
        If there is no run, another process is writing to it, it is damaged, or the disk fails. A
        run whose call was interrupted reports this; the same call completes the removal.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), store="run.zarr", **options)
    >>> forgotten = fl.store.forget("run.zarr", subject="p0")
    >>> "p0" in set(fl.open_run("run.zarr")["faces"]["subject"].to_numpy())
    False
    """
    url = place_of(store)
    if not isinstance(subject, (str, int)) or subject == "":
        raise ParameterError(f"subject={subject!r} must be the name of a subject of the run")
    open_root(url)  # raises with the reason if there is no run
    with disk_faults(url), locked(url) as lock:
        run = RunStore(url, lock=lock)
        remove_partial_files(url)
        rows, named = _rows_of(run, str(subject), people)
        asked = {
            "forgetting": rows.tolist(),
            "forgetting_names": Names(named).texts,
            "forgetting_key": _key(str(subject)),
            "forgetting_accept": int(accept),
        }
        run.root.update_attributes(asked)  # one write: after it any writer can complete the removal
        done = finish_forgetting(run)
        remove_partial_files(url)
    return {
        "faces": len(rows),
        "pairs": done.n_pairs,
        "images": len(done.images.removed),
        "mentions": {where: len(texts) for where, texts in done.left.items()},
        "photographs": done.images.left,
    }


class _Done(NamedTuple):
    """What was removed, and where the person is still named."""

    n_pairs: int
    images: Images
    left: dict[str, list[str]]


def finish_forgetting(run: RunStore) -> _Done:
    """Perform all steps of a removal recorded in a run; each step may be repeated.

    Raises
    ------
    StoreError
        If a part that stays is damaged.
    """
    root = run.root
    rows = np.array(root.attrs.get("forgetting", []), np.int64)
    names = Names(cast(list[str], root.attrs.get("forgetting_names", [])))
    key = str(root.attrs.get("forgetting_key", ""))
    accept = bool(root.attrs.get("forgetting_accept", 0))
    images = remove_images(run, rows)
    journal.remove(root, *KEPT_RESULTS, "forgetting")  # where earlier versions kept copies
    n_pairs = _drop_pairs_of_results(run, rows)
    rename_results(
        root,
        names,
        lambda group, path: _copy_all_pairs(group, root, path),
        lambda path: journal.remove(root, path),
    )
    nodes = _face_nodes(root)
    cut_leftovers(run, nodes)
    for path in nodes:
        _blank(run, cast(zarr.Group, root[path]), rows)
    _blank_faces(run, rows)
    for group in _groups_with_texts(root):
        renew_twins(group)
    accept_edits(run.url, _remembered(root).get(key, {}).get("where", []))
    left = mentions(root, run.url, names)
    attrs = {n: value for n, value in root.attrs.items() if not n.startswith("forgetting")}
    attrs.pop("mentioned", None)
    known = _known_with(_remembered(root), key, {} if accept else left, names)
    if known:
        attrs["mentioned"] = json.dumps(known)
    attrs["forgotten"] = int((read(opened(run.faces, "status")) == FORGOTTEN).sum())
    root.attrs.put(attrs)
    return _Done(n_pairs, images, left)


def settle(url: str, lock: Lock) -> None:
    """Complete interrupted changes of a store; the caller holds its lock."""
    root = open_root_if_there(url, "r+")
    if root is None:
        return
    journal.recover(root)
    if "forgetting" in root.attrs:
        finish_forgetting(RunStore(url, lock=lock))


def _groups_with_texts(root: zarr.Group) -> list[zarr.Group]:
    """The groups that hold columns of text."""
    results = root.get("influence")
    groups = list(results.groups()) if isinstance(results, zarr.Group) else []
    return [cast(zarr.Group, root["faces"]), *(group for _, group in groups)]


def _key(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()


def _remembered(root: zarr.Group) -> dict[str, dict[str, list[str]]]:
    """Remaining mentions of removed people, names and places, by the subject's digest."""
    mentioned: dict[str, dict[str, list[str]]] = json.loads(str(root.attrs.get("mentioned", "{}")))
    return mentioned


def _known_with(
    known: dict[str, dict[str, list[str]]], key: str, left: dict[str, list[str]], names: Names
) -> dict[str, dict[str, list[str]]]:
    """Add the names of a person that are still mentioned, for a later search."""
    others = {k: v for k, v in known.items() if k != key}
    if not left:
        return others
    kept = names.among({text for texts in left.values() for text in texts})
    return {**others, key: {"names": kept, "where": list(left)}}


def _rows_of(
    run: RunStore, subject: str, people: Sequence[str]
) -> tuple[npt.NDArray[np.int64], set[str]]:
    """Rows to empty, and the names of the person and of the faces."""
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
    """Paths of the nodes with a face axis, except that of the faces themselves."""
    paths = []
    for name, group in groups_of(cast(zarr.Group, root[path]) if path else root).items():
        below = f"{path}/{name}".strip("/")
        if below in ("faces", "influence", STUDIES):
            continue
        paths += [below] if "status" in group else _face_nodes(root, below)
    return paths


def _blank(run: RunStore, node: zarr.Group, rows: npt.NDArray[np.int64]) -> None:
    """Empty rows of a node; status first, so that no reader treats partial rows as complete."""
    journal.cut(node, run.n_faces)
    others = [name for name in arrays_of(node) if name != "status"]
    for name, value in [("status", FORGOTTEN), *((name, None) for name in others)]:
        _fill_rows(run, node, name, rows, value)


def _fill_rows(
    run: RunStore, node: zarr.Group, name: str, rows: npt.NDArray[np.int64], value: Any
) -> None:
    """Write a value, or the fill value, into rows, and clear those behind the last face."""
    array = opened(node, name)
    fill = array.fill_value if value is None else value
    rows = rows[rows < array.shape[0]]  # a model may not have seen the last faces yet
    for block in run.blocks(rows):
        start = int(rows[block][0]) // run.block_size * run.block_size
        stop = min(start + run.block_size, array.shape[0])
        chunk = read(array, slice(start, stop))
        chunk[rows[block] - start] = fill
        array[start:stop] = chunk
    n_faces = run.n_faces
    tail = -n_faces % run.block_size
    if tail and len(rows):  # an interrupted run may have left data there
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
    """Rewrite every result without the pairs of these faces; return the number removed.

    The pairs that stay are copied aside, and the copy replaces the result.
    """
    root, n_dropped = run.root, 0
    names = list(groups_of(cast(zarr.Group, root["influence"]))) if "influence" in root else []
    for name in sorted(names):
        path = f"influence/{name}"
        group = cast(zarr.Group, root[path])
        if not group.attrs.get("complete"):
            journal.remove(root, path)  # a run makes it again
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


def _copy_all_pairs(group: zarr.Group, root: zarr.Group, path: str) -> None:
    """Copy a result unchanged to a path that counts once the copy is complete."""
    pairs = np.arange(opened(group, "pair").shape[0])
    if path in root:  # left by a run that was killed
        journal.remove(root, path)
    with journal.making(root, path):
        _copy_pairs(group, root, path, pairs, 0)


def _copy_pairs(
    group: zarr.Group, root: zarr.Group, path: str, kept: npt.NDArray[np.intp], n_dropped: int
) -> None:
    """Copy a result with only the pairs at positions `kept`."""
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

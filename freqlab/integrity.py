"""Find what is damaged in a store, and take it out so that a run computes it again."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from freqlab import journal
from freqlab.chunks import (
    arrays_of,
    child_names,
    groups_of,
    has_checksums,
    holds_files,
    is_remote,
    open_root,
    opened,
    read,
    remove_key,
    rows_without_chunk,
    stored_chunks,
)
from freqlab.errors import StoreError
from freqlab.faces import Faces
from freqlab.layout import DONE, KEPT_RESULTS, PENDING

__all__ = ["Damage", "check_chunks", "remove_partial_files", "repair_store", "verify_run"]


class Damage(NamedTuple):
    """One thing that is wrong with a store.

    Parameters
    ----------
    node
        Path of the group, such as ``"crops/arcface"``.
    array
        Name of the array in it; empty for the group itself.
    chunk
        Position of the chunk in the array; None if its description is damaged.
    what
        ``"is gone"``, or what its decoder says.
    """

    node: str
    array: str
    chunk: tuple[int, ...] | None
    what: str

    def __str__(self) -> str:
        place = f"{self.node}/{self.array}".strip("/") or "the run itself"
        if self.chunk is None:
            return f"{place}: its description (zarr.json) {self.what}"
        return f"{place}, chunk {'/'.join(map(str, self.chunk))}: {self.what}"


def verify_run(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read all of a run and hold it against its checksums.

    A chunk is damaged if its CRC-32C (or, in stores that were begun without, its decoder) says
    so, or if it is gone though the faces or the result in it were done.

    Parameters
    ----------
    path
        The run's Zarr group.

    Returns
    -------
    pandas.DataFrame
        A row for each damage: ``node``, ``array``, ``chunk``, ``what``; empty if all is well.
        ``attrs["chunks"]`` counts what was read, ``attrs["without_checksums"]`` the arrays in
        which a changed value cannot be told, ``attrs["partial_files"]`` what writers that were
        killed left behind, which does no harm, and ``attrs["unfinished"]`` says what was begun
        and not finished, which the next call that writes does.

    Raises
    ------
    StoreError
        If there is no run.
    """
    url = os.fspath(path)
    root = _root(url, "r")
    tally = _Tally()
    found = list(_damages(root, tally))
    table = pd.DataFrame(
        [(d.node, d.array, d.chunk, d.what) for d in found], columns=list(Damage._fields)
    )
    table.attrs = {
        "chunks": tally.chunks,
        "without_checksums": tally.without_checksums,
        "partial_files": len(_partial_files(url)),
        "unfinished": journal.unfinished(root),
    }
    return table


def check_chunks(node: zarr.Group, rows: npt.NDArray[np.int64]) -> None:
    """See that no chunk is gone of what a node has done; by looking, not by reading.

    Raises
    ------
    StoreError
        If one is.
    """
    done = rows[read(opened(node, "status"))[rows] == DONE]
    for name in arrays_of(node):
        gone = rows_without_chunk(opened(node, name), done)
        if len(gone):
            raise StoreError(
                f"{node.path}/{name} in the store lacks chunk(s) of {len(gone):,} faces that were "
                f"done: `freqlab run --repair` and fl.influence(..., repair=True) compute them "
                f"again"
            )


def repair_store(url: str, faces: Faces) -> list[Damage]:
    """Take out what is damaged, and mark it as not done; the caller holds the lock.

    Names of faces that are lost come back by the digests of the images in `faces`; what else is
    known of a face comes back when the face is given.

    Raises
    ------
    StoreError
        If the description of the run or of its faces is damaged: then nothing can be saved.
    """
    if not is_remote(url) and not Path(url).exists():
        return []
    try:
        root = _root(url, "r+")
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return []  # nothing was begun, so nothing is damaged
        raise
    journal.recover(root)
    remove_partial_files(url)
    found = list(_damages(root, _Tally()))
    for damage in found:
        if damage.chunk is None and damage.node in ("", "faces"):
            raise StoreError(
                f"store {url!r} cannot be repaired: {damage}; compute it anew in another store"
            )
        _check_given(root, damage, faces)
    for damage in sorted(found, key=lambda one: one.array != "status"):  # which others mark in
        above, _, name = damage.node.rpartition("/")
        if name not in child_names(root.store, above):
            continue  # removed with what it lies in
        if damage.node == "faces":
            _forget_block(root, damage, faces)
        elif damage.node.startswith("influence/") and damage.chunk is not None:
            root[damage.node].attrs["complete"] = False
            _remove_chunk(root, damage)
        elif (
            damage.chunk is None
            or damage.array == "reference_embedding"
            or damage.node.split("/")[0] in KEPT_RESULTS
        ):
            _remove_node(root, damage.node)
        else:
            _set_pending(root, damage.node, damage)
    return found


def remove_partial_files(url: str) -> int:
    """Remove what killed writers left half written; the caller holds the lock."""
    files = _partial_files(url)
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


class _Tally:
    chunks = 0
    without_checksums = 0


def _root(url: str, mode: Literal["r", "r+"]) -> zarr.Group:
    root = open_root(url, mode)
    if root.attrs.get("format") != "freqlab-run":
        raise StoreError(f"{url!r} is a Zarr group, but not of a freqlab run")
    return root


def _partial_files(url: str) -> list[Path]:
    return [] if is_remote(url) else sorted(Path(url).rglob("*.partial"))


def _damages(root: zarr.Group, tally: _Tally, path: str = "") -> Iterator[Damage]:
    """Everything that is wrong in a group and below it."""
    group = root[path] if path else root
    assert isinstance(group, zarr.Group)
    for name in child_names(root.store, path):
        if name == "zarr.json" or name.endswith(".partial"):
            continue
        below = f"{path}/{name}".strip("/")
        if not journal.counts(root, below):
            continue
        try:
            child = root[below]
        except KeyError:
            if holds_files(root.store, below):  # or a folder was made, and no more
                yield Damage(*_group_and_array(path, name), None, "is gone")
        except Exception as error:  # whatever damaged JSON makes its reader raise
            yield Damage(*_group_and_array(path, name), None, f"cannot be read ({error})")
        else:
            if isinstance(child, zarr.Group):
                yield from _damages(root, tally, below)
            else:
                yield from _damaged_chunks(root, group, name, tally)


def _group_and_array(path: str, name: str) -> tuple[str, str]:
    """A node whose description is damaged: a group, or an array of a group that has arrays."""
    depth = {"crops": 1, "influence": 1, "embeddings": 2, "": 0}.get(path.split("/")[0], 0)
    n_above = len(path.split("/")) if path else 0
    return (
        (f"{path}/{name}".strip("/"), "") if n_above <= depth and path != "faces" else (path, name)
    )


def _damaged_chunks(
    root: zarr.Group, group: zarr.Group, name: str, tally: _Tally
) -> Iterator[Damage]:
    array = opened(group, name)
    there = stored_chunks(array)
    required = _required_blocks(root, group, name, array)
    tally.without_checksums += not has_checksums(array)
    shape = list(array.shape)
    if shape:
        shape[0] = journal.length_of(root, group.path, shape[0])
    grid = [range(-(-n // size)) for n, size in zip(shape, array.chunks, strict=True)]
    for chunk in itertools.product(*grid):
        if array.metadata.encode_chunk_key(chunk) not in there:
            if required is None or chunk[0] in required:
                yield Damage(group.path, name, chunk, "is gone")
            continue
        tally.chunks += 1
        try:
            array.get_block_selection(chunk)
        except Exception as error:  # each codec raises an error of its own
            yield Damage(group.path, name, chunk, str(error) or type(error).__name__)


def _required_blocks(
    root: zarr.Group, group: zarr.Group, name: str, array: zarr.Array[Any]
) -> set[int] | None:
    """Along the first axis, the chunks that must be there; None for all."""
    if group.path == "faces":
        whole = name == "face" or name in cast(list[str], group.attrs.get("whole", []))
        return None if whole else set()
    if "status" in child_names(root.store, group.path):
        try:
            done = np.flatnonzero(read(opened(group, "status")) == DONE)
        except StoreError:  # is reported for itself, and all of its blocks are done again
            return set()
        return set((done // array.chunks[0]).tolist())
    if group.path.startswith("influence/"):
        return None if group.attrs.get("complete") and has_checksums(array) else set()
    return None


def _remove_chunk(root: zarr.Group, damage: Damage) -> None:
    array = opened(cast(zarr.Group, root[damage.node]), damage.array)
    assert damage.chunk is not None
    remove_key(root.store, f"{array.path}/{array.metadata.encode_chunk_key(damage.chunk)}")


def _remove_node(root: zarr.Group, path: str) -> None:
    """Remove a node whose description is damaged, so that it is made anew."""
    parts = path.split("/")
    n_kept = {"embeddings": 3, **dict.fromkeys(("crops", "influence", *KEPT_RESULTS), 2)}.get(
        parts[0], 1
    )
    doomed = "/".join(parts[:n_kept])
    journal.remove(root, doomed)


def _set_pending(root: zarr.Group, node: str, damage: Damage) -> None:
    """Have the faces of a damaged chunk done again; what else stands of them is overwritten.

    They are marked first: a chunk that is gone is a damage for as long as they count as done.
    """
    group = cast(zarr.Group, root[node])
    if damage.array == "status":
        _remove_chunk(root, damage)
    _mark_pending(group, damage)
    if damage.array != "status":
        _remove_chunk(root, damage)


def _mark_pending(group: zarr.Group, damage: Damage) -> None:
    status = opened(group, "status")
    assert damage.chunk is not None
    start, stop = _span(status, damage.chunk[0])
    if start < stop:
        status[start:stop] = PENDING


def _check_given(root: zarr.Group, damage: Damage, faces: Faces) -> None:
    """What is lost of faces can be had from nowhere but the call."""
    if damage.node != "faces" or damage.array == "face" or damage.chunk is None:
        return
    names = opened(cast(zarr.Group, root["faces"]), "face")
    try:
        concerned = read(names, slice(*_span(names, damage.chunk[0])))
    except StoreError:  # names are lost too: those come back by the digests of images
        return
    absent = sorted(set(concerned) - set(faces.names))
    if absent:
        raise StoreError(
            f"{damage}: to repair that, give all faces of the run; {len(absent):,} are not among "
            f"those given, such as {absent[0]!r}"
        )


def _span(array: zarr.Array[Any], block: int) -> tuple[int, int]:
    """Rows of a block."""
    return block * array.chunks[0], min((block + 1) * array.chunks[0], array.shape[0])


def _forget_block(root: zarr.Group, damage: Damage, faces: Faces) -> None:
    """Have the faces of a block read anew, for something that is known of them is lost."""
    group = cast(zarr.Group, root["faces"])
    assert damage.chunk is not None
    if damage.array == "face":  # in one write: without their names nobody finds the others again
        names = _names_by_images(group, damage, faces)
        _mark_block_pending(root, damage)
        _remove_chunk(root, damage)
        opened(group, "face")[slice(*_span(opened(group, "face"), damage.chunk[0]))] = names
        return
    _mark_block_pending(root, damage)
    _remove_chunk(root, damage)
    array = opened(group, damage.array)
    array[slice(*_span(array, damage.chunk[0]))] = array.fill_value


def _mark_block_pending(root: zarr.Group, damage: Damage) -> None:
    """Have the faces of a block read and cut out anew, before what is known of them goes."""
    if "crops" in root:
        for _, crops in groups_of(cast(zarr.Group, root["crops"])).items():
            if "status" in crops:
                _mark_pending(crops, damage)
    group = cast(zarr.Group, root["faces"])
    if damage.array == "status":
        _remove_chunk(root, damage)
    _mark_pending(group, damage)


def _names_by_images(group: zarr.Group, damage: Damage, faces: Faces) -> npt.NDArray[np.object_]:
    """Names for rows that lost theirs: of the faces with the same images."""
    names = opened(group, "face")
    assert damage.chunk is not None
    start, stop = _span(names, damage.chunk[0])
    try:
        digests = read(opened(group, "sha256"), slice(start, stop))
        others = set(read(opened(group, "face"), slice(0, start)))
        others |= set(read(opened(group, "face"), slice(stop, names.shape[0])))
    except StoreError:
        digests, others = np.full(stop - start, "", object), set()
    by_digest: dict[str, list[str]] = {}
    for position, name in enumerate(faces.names):
        if name in others:
            continue
        try:
            digest = hashlib.sha256(faces.content(position)).hexdigest()
        except OSError:
            continue
        by_digest.setdefault(digest, []).append(name)
    found = []
    for row, digest in zip(range(start, stop), digests, strict=True):
        candidates = by_digest.get(digest, [])
        found.append(candidates.pop(0) if candidates else f"(lost {row})")
    return np.array(found, object)

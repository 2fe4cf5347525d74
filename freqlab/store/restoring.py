"""Restore lost data of the faces of a run from the faces of a call."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from freqlab.errors import StoreError
from freqlab.faces.table import Faces
from freqlab.store.chunks import ALL_CHUNKS, opened, read
from freqlab.store.columns import stored_columns
from freqlab.store.layout import NO_FILE, UNREADABLE
from freqlab.store.records import digest, put

__all__ = ["column_of_call", "names_by_image", "recorded_chunk"]


def column_of_call(
    faces: Faces, group: zarr.Group, name: str, names: npt.NDArray[Any], rows: slice
) -> npt.NDArray[Any] | None:
    """Values of a column for some faces of a run, from a call; None if the call lacks a face.

    Parameters
    ----------
    faces
        The faces of the call.
    group
        The faces of the run.
    name
        The column.
    names
        Names of the wanted faces.
    rows
        Their rows in the run.
    """
    positions = {face: i for i, face in enumerate(faces.names)}
    at = [positions.get(str(face), -1) for face in names]
    if min(at, default=0) < 0:
        return None
    if name == "sha256":
        try:
            status = read(opened(group, "status"), rows)
        except StoreError:
            status = np.zeros(len(at), np.int8)
        return np.array(
            [
                "" if code in (UNREADABLE, NO_FILE) else _digest_of_image(faces, position)
                for position, code in zip(at, status, strict=True)
            ],
            object,
        )
    if name == "degraded_by":
        given = faces.degradations or [None] * len(faces)
        degradations = [given[position] for position in at]
        return np.array(["" if d is None else d.declaration() for d in degradations], object)
    if name in ("landmarks", "landmarks_given"):
        if faces.landmarks is None:
            return np.zeros(len(at), bool) if name == "landmarks_given" else None
        landmarks = faces.landmarks[at].astype(np.float32)
        whole = np.asarray(np.isfinite(landmarks).all(axis=(1, 2)))
        return landmarks if name == "landmarks" else whole
    columns = stored_columns(faces)
    return columns[name][at] if name in columns else None


def _digest_of_image(faces: Faces, position: int) -> str:
    try:
        return hashlib.sha256(faces.content(position)).hexdigest()
    except OSError:
        return ""


def recorded_chunk(
    descriptions: dict[str, dict[str, Any]],
    path: str,
    key: str,
    values: npt.NDArray[Any] | int,
    rows: slice,
) -> tuple[Buffer, str] | None:
    """Bytes of a chunk with these values, encoded as in its array, and their digest."""
    store = MemoryStore()
    sync(put(store, f"{path}/zarr.json", descriptions[path]))
    array: Any = zarr.open_array(store, path=path, mode="r+").with_config(ALL_CHUNKS)
    array[rows] = values
    content = sync(store.get(key, default_buffer_prototype()))
    return None if content is None else (content, digest(content.as_numpy_array().data))


def names_by_image(
    group: zarr.Group, span: tuple[int, int], faces: Faces
) -> npt.NDArray[np.object_]:
    """Names for rows whose names are lost, from the faces with the same images."""
    names = opened(group, "face")
    start, stop = span
    try:
        digests = read(opened(group, "sha256"), slice(start, stop))
        others = set(read(opened(group, "face"), slice(0, start)))
        others |= set(read(opened(group, "face"), slice(stop, names.shape[0])))
    except StoreError:
        digests, others = np.full(stop - start, "", object), set()
    by_digest: dict[str, list[str]] = {}
    for position, name in enumerate(faces.names):
        if name not in others:
            image = _digest_of_image(faces, position)
            by_digest.setdefault(image or "?", []).append(name)
    restored = []
    for row, image in zip(range(start, stop), digests, strict=True):
        candidates = by_digest.get(image, [])
        restored.append(candidates.pop(0) if candidates else f"(lost {row})")
    return np.array(restored, object)

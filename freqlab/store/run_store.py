"""One run is one Zarr group: its layout, its growth, and its atomic writes.

Layout (``face`` is the same axis everywhere; a face keeps its row for good)::

    /faces                        names, subjects, paths, metadata, status, landmarks, digests
    /crops/<template>             crop (face, y, x, channel)
    /embeddings/<model>           reference_embedding (feature): is it still the same model?
    /embeddings/<model>/intact    embedding (face, feature)
    /embeddings/<model>/<bands>   embedding (face, band, feature), removed_rms (face, band)
    /influence/<name>             a result, written by freqlab.run.influence

Nodes with a face axis are written in blocks of faces, one chunk each. A chunk is put in its place
by a rename, so it exists whole or not at all, and the ``status`` of its faces is written last: a
run that was killed continues with the faces whose status is not done. Faces are added in one
step, when the number of faces in the attributes of ``/faces`` changes. Nodes are made and removed
as described in :mod:`freqlab.store.journal`.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from zarr.core.sync import sync

from freqlab.attrs import from_json, make_attrs, to_json
from freqlab.errors import StoreConflictError, StoreError
from freqlab.faces.table import Faces
from freqlab.store import journal
from freqlab.store.chunks import (
    ALL_CHUNKS,
    RESUMABLE,
    arrays_of,
    compressors,
    create_root,
    empty_from,
    has_consolidated,
    is_remote,
    members_of,
    open_root,
    open_root_if_there,
    opened,
    place_of,
    read,
)
from freqlab.store.columns import equal_values, face_columns, is_missing, stored_columns
from freqlab.store.consistency import face_nodes
from freqlab.store.digests import RecordingStore, in_one_piece
from freqlab.store.face_conflicts import (
    StoredFaces,
    check_columns,
    check_degradations,
    check_images,
    check_landmarks,
    check_metadata,
)
from freqlab.store.layout import (
    DONE,
    FACE_COLUMNS,
    FAILED,
    FORMAT_VERSION,
    HOW_TO_OPEN,
    NO_FILE,
    NUMBER,
    PENDING,
    TEXT,
    UNREADABLE,
    Column,
)
from freqlab.store.locking import Lock, check_place
from freqlab.store.plain_text import (
    create_twin,
    is_twin,
    require_twins,
    texts_of,
    twin_name,
    write_twin,
)

__all__ = ["RunStore"]

_ROWS_PER_CHUNK = 2**20


class RunStore:
    """A run's Zarr group, open for writing.

    Parameters
    ----------
    url
        Path, or any address of fsspec (``memory://name``). Created if it does not exist.
    block_size
        Faces per block when the store is created; an existing store keeps its own.
    lock
        Permission of this process to write; it is checked before each block.

    Raises
    ------
    StoreError
        If the place holds something other than a run.
    """

    def __init__(
        self, url: str | os.PathLike[str], *, block_size: int = 32, lock: Lock | None = None
    ) -> None:
        check_place(url)
        self._lock = lock or Lock()
        self.url = place_of(url)
        self._handles: dict[tuple[str, str], zarr.Array[Any]] = {}
        self._crops: dict[str, zarr.Group] = {}
        attrs = {
            **make_attrs(format="freqlab-run", format_version=FORMAT_VERSION),
            **HOW_TO_OPEN,
            "block_size": block_size,
            "store_id": uuid.uuid4().hex,
        }
        root = open_root_if_there(self.url, "r+")
        self.root = create_root(self.url, attrs) if root is None else root
        sync(cast(RecordingStore, self.root.store).check_descriptions())
        if "block_size" not in self.root.attrs:
            if "format" not in self.root.attrs and members_of(self.root):
                raise StoreError(f"store {self.url!r} is a Zarr group, but not of a freqlab run")
            self.root.update_attributes(attrs)  # an empty group made by another program
        if self.root.attrs["format_version"] != FORMAT_VERSION:
            raise StoreError(
                f"store {self.url!r} has format version {self.root.attrs['format_version']}, "
                f"this freqlab reads {FORMAT_VERSION}"
            )
        self.block_size = int(cast(int, self.root.attrs["block_size"]))
        if "how_to_open" not in self.root.attrs or has_consolidated(self.root):
            self.root.update_attributes(HOW_TO_OPEN)
        if lock is not None:
            journal.recover(self.root)
        columns = {"face": TEXT, "subject": TEXT, **FACE_COLUMNS}
        if "faces" not in self.root:
            with journal.making(self.root, "faces"):
                self.faces = journal.make_group(self.root, "faces", {"n_faces": 0})
                self._make_arrays(self.faces, columns)
                require_twins(self.faces)
        self.faces = cast(zarr.Group, self.root["faces"])
        self._require_arrays(self.faces, columns)
        self._fit(self.faces)
        self._place = self._identity()
        for path in face_nodes(self.root):
            journal.cut(cast(zarr.Group, self.root[path]), self.n_faces)  # a copied run has more

    @property
    def n_faces(self) -> int:
        """Number of faces in the store."""
        return int(cast(int, self.faces.attrs["n_faces"]))

    @property
    def stored_faces(self) -> StoredFaces:
        """The faces of the store, for the checks of new faces."""
        return StoredFaces(self.url, self.faces)

    def read(self, node: zarr.Group, name: str) -> npt.NDArray[Any]:
        """Read a whole array of a node, text as objects."""
        return read(opened(node, name))

    def read_rows(
        self, node: zarr.Group, name: str, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """Read rows of an array that are close together, such as those of a block."""
        first, last = (int(rows.min()), int(rows.max())) if len(rows) else (0, -1)
        return read(self._handle(node, name), slice(first, last + 1))[rows - first]

    def add_faces(self, faces: Faces) -> npt.NDArray[np.int64]:
        """Add new faces, and check the others against the stored ones.

        Returns
        -------
        numpy.ndarray
            Row of each face in the store ``(n,)``.

        Raises
        ------
        StoreConflictError
            If a stored face of the same name has another subject, image, landmarks, metadata or
            degradation.
        """
        rows = pd.Index(self.read(self.faces, "face")).get_indexer(faces.names)
        known = np.flatnonzero(rows >= 0)
        settled = self._settled(known, rows[known])
        unsettled = np.setdiff1d(known, settled)
        columns = stored_columns(faces)
        for name in columns:  # a user's column has priority over the bytes of a text
            if name in self.faces and is_twin(opened(self.faces, name)):
                journal.remove(self.root, f"faces/{name}")
                self._handles.clear()
        stored = self.stored_faces
        check_columns(stored, columns)
        check_metadata(stored, faces, columns, settled, rows[settled])
        check_degradations(stored, faces, settled, rows[settled])
        check_landmarks(stored, faces, settled, rows[settled])
        check_images(stored, faces, known, rows[known])

        declared = cast(list[str], self.faces.attrs.get("names_people", []))
        if set(faces.names_people) - set(declared):
            self.faces.attrs["names_people"] = sorted({*declared, *faces.names_people})
        kinds = {n: TEXT if v.dtype == object else NUMBER for n, v in columns.items()}
        self._require_arrays(self.faces, kinds)
        given = face_columns(faces, columns)
        new = np.flatnonzero(rows < 0)
        if len(new):
            rows[new] = self.n_faces + np.arange(len(new))
            self._append({name: values[new] for name, values in given.items()}, len(new))
        for name, values in given.items():
            self._rewrite(name, rows[unsettled], values[unsettled])
        for name, values in columns.items():
            absent = settled[is_missing(self.read(self.faces, name)[rows[settled]])]
            self._rewrite(name, rows[absent], values[absent])
        return rows.astype(np.int64)

    def _append(self, given: Mapping[str, npt.NDArray[Any]], n_new: int) -> None:
        """Add rows to the faces in one step; columns that are not given get their fill value."""
        first = self.n_faces
        with journal.growing(self.root, "faces", first):
            self._fit(self.faces, first + n_new)
            for name in arrays_of(self.faces):
                array = opened(self.faces, name)
                with in_one_piece(self.root.store):  # their digests are noted once
                    # also if nothing is given: a chunk must exist
                    array[first:] = given.get(name, array.fill_value)
            for name, values in given.items():
                twin = self._twin(opened(self.faces, name))
                if twin is not None:
                    write_twin(twin, slice(first, None), values)
            self.faces.attrs["n_faces"] = first + n_new

    def require_node(
        self,
        path: str,
        columns: Mapping[str, Column],
        *,
        identity: Mapping[str, Any],
    ) -> zarr.Group:
        """Open a node with a face axis, or create it; one row per face of the store.

        Parameters
        ----------
        path
            Path of the node, such as ``"crops/arcface"``.
        columns
            Arrays of the node; a ``status`` is added.
        identity
            Everything that the node's content depends on, as JSON values.

        Raises
        ------
        StoreConflictError
            If the node exists with another identity.
        """
        arrays = {**columns, "status": FACE_COLUMNS["status"]}
        node = self.group(path, identity)
        if node is None:
            with journal.making(self.root, path):
                node = self.make_group(path, identity)
                self._make_arrays(node, arrays)
        self._require_arrays(node, arrays)
        self._fit(node)
        return node

    def make_group(self, path: str, identity: Mapping[str, Any]) -> zarr.Group:
        """Create a group with an identity, within :func:`freqlab.store.journal.making`."""
        return journal.make_group(self.root, path, make_attrs(identity=dict(identity)))

    def group(self, path: str, identity: Mapping[str, Any]) -> zarr.Group | None:
        """Open a group with an identity; None if it does not exist.

        Raises
        ------
        StoreConflictError
            If its identity differs, with the differences.
        StoreError
            If it has no identity.
        """
        group = self.root.get(path)
        if not isinstance(group, zarr.Group):
            return None
        if "identity" not in group.attrs:
            journal.check_empty(self.root, path)
            journal.remove(self.root, path)  # left by an earlier version that was killed
            return None
        stored = json.loads(str(group.attrs["identity"]))
        given = json.loads(json.dumps(identity))
        differing = [
            f"{key}: stored {stored.get(key)!r}, given {given.get(key)!r}"
            for key in sorted({*stored, *given})
            if stored.get(key) != given.get(key)
        ]
        if differing:
            raise StoreConflictError(
                f"store {self.url!r} holds another {path!r}; nothing was overwritten. "
                f"Use another store or name. " + "; ".join(differing)
            )
        return group

    def write_rows(
        self,
        node: zarr.Group,
        rows: npt.NDArray[np.int64],
        values: Mapping[str, npt.NDArray[Any]],
        status: npt.NDArray[np.int8],
    ) -> None:
        """Write rows of a node, each chunk in one write, their status last.

        Raises
        ------
        StoreError
            If values and rows differ in number, or the store no longer exists.
        """
        self.check_there()
        for name, array in values.items():
            if len(array) != len(rows):
                raise StoreError(f"{len(array)} rows of {name!r} for {len(rows)} faces")
        for block in self.blocks(rows):
            with in_one_piece(self.root.store):
                for name, array in (*values.items(), ("status", status)):
                    self._write_block(self._handle(node, name), rows[block], array[block])

    def check_there(self) -> None:
        """Refuse to write to a store that was removed, moved, or taken over.

        Raises
        ------
        StoreError
            If it was removed, moved, or taken over.
        """
        self._lock.check()
        if is_remote(self.url):
            return
        if not Path(self.url, "zarr.json").is_file():
            raise StoreError(
                f"store {self.url!r} was removed or moved while a run was writing to it; "
                f"the run ends here"
            )
        if self._identity() != self._place:
            raise StoreError(
                f"store {self.url!r} was replaced by another one while a run was writing to it; "
                f"the run ends here"
            )

    def _identity(self) -> tuple[Any, ...]:
        """What distinguishes this store from another that may replace it."""
        if is_remote(self.url):
            return ()
        about = Path(self.url).stat()
        try:
            content = json.loads(Path(self.url, "zarr.json").read_bytes())
        except (OSError, ValueError):
            return ()
        return about.st_dev, about.st_ino, content.get("attributes", {}).get("store_id")

    def check_reachable(self) -> None:
        """Check whether the store is the cause of an error of a run, being missing or unreachable.

        Raises
        ------
        StoreError
            If it is missing or unreachable.
        """
        self.check_there()
        if not is_remote(self.url):
            return
        try:
            open_root(self.url)
        except StoreError as error:
            raise StoreError(f"{error}. {RESUMABLE}") from error

    def blocks(self, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the indices into `rows` that belong to one block of faces, block by block."""
        order = np.argsort(rows, kind="stable")
        cuts = np.flatnonzero(np.diff(rows[order] // self.block_size)) + 1
        yield from (block for block in np.split(order, cuts) if len(block))

    def pending(
        self,
        node: zarr.Group,
        rows: npt.NDArray[np.int64],
        template: str,
        *,
        retried: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """The `rows` that a node still lacks, in order.

        Faces without a crop because of a failure are left out, except those in `retried`.
        """
        wanted = np.unique(rows)
        lost = np.isin(self.read(self.crops(template), "status")[wanted], FAILED)
        lost &= ~np.isin(wanted, retried)
        return wanted[(self.read(node, "status")[wanted] == PENDING) & ~lost]

    def failed(self, rows: npt.NDArray[np.int64], node: zarr.Group) -> npt.NDArray[np.bool_]:
        """Whether each of these faces failed according to its status in a node."""
        return np.isin(self.read_rows(node, "status", rows), FAILED)

    def crops(self, template: str) -> zarr.Group:
        """The node of a template's crops.

        Raises
        ------
        StoreError
            If it does not exist yet.
        """
        if template not in self._crops:
            node = self.root.get(f"crops/{template}")
            if not isinstance(node, zarr.Group):
                raise StoreError(f"store {self.url!r} holds no crops of template {template!r}")
            self._crops[template] = node
        return self._crops[template]

    def write_array(
        self,
        group: zarr.Group,
        name: str,
        values: npt.NDArray[Any],
        dims: Sequence[str],
        attrs: Mapping[str, Any],
    ) -> None:
        """Write an array from memory, in one chunk or, if it is long, in several."""
        chunks = (min(len(values), _ROWS_PER_CHUNK), *values.shape[1:]) if values.ndim else ()
        array = _create(group, name, values.shape, chunks, values.dtype, dims, attrs)
        array[...] = values
        if array.dtype.kind == "T":
            create_twin(group, array, values)

    def create_array(
        self,
        group: zarr.Group,
        name: str,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        dims: Sequence[str],
        attrs: Mapping[str, Any],
    ) -> zarr.Array[Any]:
        """Create a float32 array that is NaN until it is written."""
        return _create(group, name, shape, chunks, np.dtype("float32"), dims, attrs)

    def _require_arrays(self, node: zarr.Group, columns: Mapping[str, Column]) -> None:
        """Add missing arrays to a node, and the bytes of its texts, all or none."""
        missing = {name: column for name, column in columns.items() if name not in node}
        for name in columns.keys() - missing.keys():
            self._say_flags(node, name, columns[name])
        twins = []
        if node.path == "faces":
            texts = [name for name, column in missing.items() if column.dtype is str]
            twins = [twin_name(name) for name in {*texts, *texts_of(node)}]
        made = {*missing, *(name for name in twins if name not in node)}
        if made:
            with journal.making(self.root, *(f"{node.path}/{name}" for name in sorted(made))):
                self._make_arrays(node, missing)
                if twins:
                    require_twins(node)

    def _make_arrays(self, node: zarr.Group, columns: Mapping[str, Column]) -> None:
        begun = node.path == "faces" or "status" in node
        for name, column in columns.items():
            array = node.create_array(
                name,
                shape=(self.n_faces, *column.shape),
                chunks=(self.block_size, *column.shape),
                dtype=column.dtype,
                fill_value=column.fill,
                dimension_names=("face", *column.dims),
                attributes=dict(column.attrs),
                compressors=compressors(column.packed),
                config=ALL_CHUNKS,
            )
            if array.shape[0] and begun:  # faces may be done: a chunk must exist
                array[...] = array.fill_value
        if columns and node.path == "faces":
            whole = from_json(node.attrs.get("whole", []))
            node.attrs["whole"] = to_json(list(dict.fromkeys([*whole, *columns])))

    def _say_flags(self, node: zarr.Group, name: str, column: Column) -> None:
        """Add the meanings of status codes that are newer than the array."""
        if name == "status":
            array = opened(node, name)
            if array.attrs.get("flag_meanings") != column.attrs["flag_meanings"]:
                array.update_attributes(dict(column.attrs))

    def _fit(self, node: zarr.Group, n_faces: int | None = None) -> None:
        """Give all arrays of a node one row per face; removes remains of an interrupted run.

        Raises
        ------
        StoreError
            If an array is shorter than the rows that count as done.
        """
        n_faces = self.n_faces if n_faces is None else n_faces
        self._handles.clear()
        self._crops.clear()
        journal.cut(node, n_faces)
        arrays = {name: opened(node, name) for name in arrays_of(node)}
        if node.path != self.faces.path and "status" in arrays:
            shortest = min(array.shape[0] for array in arrays.values())
            status = arrays["status"]
            if shortest < status.shape[0] and (read(status, slice(shortest, None)) == DONE).any():
                raise StoreError(
                    f"{node.path} in store {self.url!r} has arrays that are shorter than its "
                    f"faces: `freqlab run --repair` and fl.influence(..., repair=True) compute "
                    f"those again"
                )
        for array in arrays.values():
            if array.shape[0] < n_faces:
                if node.path != self.faces.path:
                    empty_from(array, array.shape[0], n_faces)
                array.resize((n_faces, *array.shape[1:]))

    def _write_block(
        self, array: zarr.Array[Any], rows: npt.NDArray[np.int64], values: npt.NDArray[Any]
    ) -> None:
        """Write rows of one block in one write."""
        start = int(rows[0]) // self.block_size * self.block_size
        stop = min(start + self.block_size, array.shape[0])
        if len(rows) == stop - start:  # rows are unique: the whole chunk is replaced
            chunk = np.empty_like(values)
        else:
            chunk = read(array, slice(start, stop))
        chunk[rows - start] = values
        twin = self._twin(array)
        if twin is not None:
            write_twin(twin, slice(start, stop), chunk)
        array[start:stop] = chunk

    def _twin(self, array: zarr.Array[Any]) -> zarr.Array[Any] | None:
        """The twin of an array of text, which is written with it; None for numbers."""
        if array.dtype.kind != "T":
            return None
        node, _, name = array.path.rpartition("/")
        key = (node, twin_name(name))
        if key not in self._handles:
            group = cast(zarr.Group, self.root[node])
            if twin_name(name) not in group:
                return None
            self._handles[key] = opened(group, twin_name(name))
        twin = self._handles[key]
        return twin if is_twin(twin) else None

    def _handle(self, node: zarr.Group, name: str) -> zarr.Array[Any]:
        """An array of a node, looked up once; a resized array is looked up again."""
        key = (node.path, name)
        if key not in self._handles:
            self._handles[key] = opened(node, name)
        return self._handles[key]

    def _rewrite(self, name: str, rows: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        """Write a column for faces without computed results, or without values in it."""
        differs = ~equal_values(self.read(self.faces, name)[rows], values)
        changed = np.flatnonzero(differs.reshape(len(rows), -1).any(axis=1)) if len(rows) else rows
        for block in self.blocks(rows[changed]):
            at = changed[block]
            self._write_block(opened(self.faces, name), rows[at], values[at])

    def _settled(
        self, known: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Faces from which something was computed, even if their file was removed since."""
        status = self.read(self.faces, "status")[rows]
        was_read = self.read(self.faces, "sha256")[rows] != ""
        gone = np.isin(status, (UNREADABLE, NO_FILE)) & np.asarray(was_read, dtype=bool)
        return known[(status == DONE) | gone]


def _create(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype[Any],
    dims: Sequence[str],
    attrs: Mapping[str, Any],
) -> zarr.Array[Any]:
    text = dtype.kind in "OUT"
    fill: Any = "" if text else (float("nan") if dtype.kind == "f" else 0)
    return group.create_array(
        name,
        shape=shape,
        chunks=tuple(max(1, length) for length in chunks),
        dtype=str if text else dtype,
        fill_value=fill,
        dimension_names=tuple(dims),
        attributes=dict(attrs),
        compressors=compressors(True),
        config=ALL_CHUNKS,
    )

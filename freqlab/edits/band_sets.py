"""Embeddings of crops with arbitrary sets of bands removed, each computed once and stored.

Influence removes one band at a time; tests of an explanation remove several. A request is a list of
jobs, each consisting of a crop and a set of bands. Jobs without a stored embedding are computed in
batches by :func:`freqlab.engine.removals.block_parts`, and stored under their content (model, crop,
set, fill). The same set needs no further forward pass in another order of removal, another pair or
another study.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.attrs import make_attrs
from freqlab.bands.base import Bands
from freqlab.engine.removals import (
    Part,
    PartDone,
    Removals,
    assemble,
    block_parts,
    default_batch_size,
)
from freqlab.engine.workers import Workers, working
from freqlab.errors import ParameterError
from freqlab.models.spec import Model
from freqlab.run.context import decomposition
from freqlab.store import journal
from freqlab.store.chunks import (
    ALL_CHUNKS,
    compressors,
    open_root,
    open_root_if_there,
    read,
    reading,
)
from freqlab.store.forgetting import settle
from freqlab.store.layout import node_name
from freqlab.store.locking import locked
from freqlab.system.progress import progress_bar

__all__ = ["BandSets", "Crops"]

_AT_ONCE = 2048  # forward passes between two writes to the store
_ROWS_PER_CHUNK = 256
_KEY_BYTES = 16

Crops = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]


class BandSets:
    """Embed crops with sets of bands removed, and store the embeddings.

    Parameters
    ----------
    model
        The model.
    bands
        The bands.
    store
        Zarr group of a run, in which embeddings are stored under ``/sets/<model>``; by default they
        are kept in memory.
    batch_size
        Images per forward pass; by default chosen for the model's device.
    progress
        Whether to show a progress bar.
    """

    def __init__(
        self,
        model: Model,
        bands: Bands,
        *,
        store: str | None = None,
        batch_size: int | None = None,
        progress: bool = True,
    ) -> None:
        self.model, self.bands, self._progress = model, bands, progress
        self.parts = decomposition(bands, model)
        self.held = self.parts.present
        """Whether each band has coefficients at the model's input size ``(band,)``."""
        self.forward_passes = 0
        """Number of images embedded so far by this object."""
        self._batch_size = batch_size or default_batch_size(model.device, model.precision)
        self._store = f"memory://freqlab-{uuid.uuid4().hex}" if store is None else store
        self._path = f"sets/{node_name(model.name.split('~')[0])}"
        about = {
            **model.fingerprint(),
            "bands": bands.declaration(),
            "eye_distance": model.eye_distance if bands.unit == "cycles/eyes" else None,
        }
        self._about = json.dumps(about, sort_keys=True).encode()
        self._index: dict[bytes, int] = {}
        self._n_indexed = 0

    def embed(
        self,
        crops: Crops,
        which: npt.NDArray[np.integer],
        removed: npt.NDArray[np.bool_],
        *,
        fill: Crops | None = None,
    ) -> Floats:
        """Embeddings of crops with sets of bands removed.

        Parameters
        ----------
        crops
            RGB crops ``(n, height, width, 3)`` at the model's input size, 0..255.
        which
            Position of the crop of each job ``(job,)``.
        removed
            Bands removed in each job ``(job, band)``.
        fill
            Images whose bands replace the removed ones, one for each crop; zero by default.

        Returns
        -------
        numpy.ndarray
            ``(job, feature)``, as the network returns them.

        Raises
        ------
        ParameterError
            If shapes do not match each other or the model.
        """
        if removed.shape != (len(which), len(self.bands)):
            raise ParameterError(
                f"removed of shape {removed.shape} must be (job, band), "
                f"{(len(which), len(self.bands))}"
            )
        removed = removed & self.held
        keys = self._keys(crops, which, removed, fill)
        group = self._open()
        missing = [i for i, key in enumerate(keys) if key not in self._index]
        if missing:
            firsts = list({keys[i]: i for i in reversed(missing)}.values())
            with locked(self._store) as lock:
                settle(self._store, lock)
                group = self._open()
                self._compute(crops, np.asarray(which), removed, fill, keys, sorted(firsts))
        rows = np.array([self._index[key] for key in keys], np.int64)
        wanted, back = np.unique(rows, return_inverse=True)
        array: Any = (group or self._open())["embedding"]  # type: ignore[index]
        with reading(self._path):
            return np.asarray(array.oindex[wanted])[back]

    def _keys(
        self,
        crops: Crops,
        which: npt.NDArray[np.integer],
        removed: npt.NDArray[np.bool_],
        fill: Crops | None,
    ) -> list[bytes]:
        """Keys that identify the content of each job."""

        def digest(pixels: Any) -> bytes:
            raw = np.ascontiguousarray(pixels)
            return hashlib.blake2b(raw.tobytes() + str(raw.dtype).encode()).digest()

        bits = np.packbits(removed, axis=1)
        digests: dict[int, tuple[bytes, bytes]] = {}
        keys = []
        for i, (crop, packed) in enumerate(zip(np.asarray(which).tolist(), bits, strict=True)):
            if crop not in digests:
                filling = b"" if fill is None else digest(fill[crop])
                digests[crop] = digest(crops[crop]), filling
            own, filling = digests[crop]
            what = own + (filling if removed[i].any() else b"") + packed.tobytes()
            keys.append(hashlib.blake2b(self._about + what, digest_size=_KEY_BYTES).digest())
        return keys

    def _open(self) -> zarr.Group | None:
        """Node of this model with its index up to date; None if it does not exist."""
        root = open_root_if_there(self._store)
        group = None if root is None else root.get(self._path)
        if not isinstance(group, zarr.Group) or "key" not in group:
            return None
        assert root is not None
        if not journal.counts(root, self._path):
            return None
        keys: Any = group["key"]
        n_known = journal.length_of(root, self._path, keys.shape[0])
        if n_known > self._n_indexed:
            new = read(keys, slice(self._n_indexed, n_known))
            self._index.update({row.tobytes(): self._n_indexed + i for i, row in enumerate(new)})
            self._n_indexed = n_known
        return group

    def _append(self, keys: list[bytes], embeddings: Floats) -> None:
        """Append embeddings and their keys, all or none."""
        root = open_root(self._store, "a")
        if f"{self._path}/key" not in root:
            journal.remove(root, self._path)  # left by an interrupted earlier version
            self._create(root, embeddings.shape[1])
        group: Any = root[self._path]
        array, known = group["embedding"], group["key"]
        if array.shape[1] != embeddings.shape[1]:
            raise ParameterError(
                f"model {self.model.name!r} returns {embeddings.shape[1]} features, but the "
                f"store has {array.shape[1]} under its name; use another name or store"
            )
        start = known.shape[0]
        with journal.growing(root, self._path, start):
            array.append(embeddings)
            known.append(np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1))
        self._index.update({key: start + i for i, key in enumerate(keys)})
        self._n_indexed = start + len(keys)

    def _create(self, root: zarr.Group, n_features: int) -> None:
        """Create the node of this model, without rows."""
        with journal.making(root, self._path):
            group = journal.make_group(root, self._path, make_attrs(model=self.model.name))
            for name, width, chunk, dtype, dims in (
                ("embedding", n_features, _ROWS_PER_CHUNK, "float32", ("set", "feature")),
                ("key", _KEY_BYTES, 64 * _ROWS_PER_CHUNK, "uint8", ("known", "byte")),
            ):
                group.create_array(
                    name,
                    shape=(0, width),
                    chunks=(chunk, width),
                    dtype=dtype,
                    dimension_names=dims,
                    compressors=compressors(False),
                    config=ALL_CHUNKS,
                )

    def _compute(
        self,
        crops: Crops,
        which: npt.NDArray[np.integer],
        removed: npt.NDArray[np.bool_],
        fill: Crops | None,
        keys: list[bytes],
        jobs: list[int],
    ) -> None:
        """Run the network on distinct jobs, and store the embeddings."""
        jobs = [job for job in jobs if keys[job] not in self._index]
        what = f"{self.model.name}: sets of bands"
        bar = progress_bar(what, len(jobs), "img", shown=self._progress)
        with bar, working() as workers:
            for some in _by_size(_blocks(which, removed, jobs)):
                embeddings = self._run(workers, crops, fill, which, removed, some)
                order = [job for block in some for of_crop in block for job in of_crop]
                self._append([keys[job] for job in order], embeddings)
                self.forward_passes += len(order)
                bar.update(len(order))

    def _embed(self, part: Part) -> PartDone:
        return part.run(self.model)

    def _run(
        self,
        workers: Workers,
        crops: Crops,
        fill: Crops | None,
        which: npt.NDArray[np.integer],
        removed: npt.NDArray[np.bool_],
        blocks: list[list[list[int]]],
    ) -> Floats:
        work: list[tuple[list[Part], list[Any]]] = []
        for block in blocks:
            of_block = [int(which[of_crop[0]]) for of_crop in block]
            parts = block_parts(
                self.model,
                crops[of_block],
                Removals(self.model, removed[block[0]], self.parts),
                fill=None if fill is None else fill[of_block],
                batch_size=self._batch_size,
            )
            work.append((parts, [workers.submit_for(self.model, self._embed, p) for p in parts]))
        embeddings = [
            assemble(self.model, parts, [result.result() for result in results]).embeddings
            for parts, results in work
        ]
        return np.concatenate([block.reshape(-1, block.shape[-1]) for block in embeddings])


def _blocks(
    which: npt.NDArray[np.integer], removed: npt.NDArray[np.bool_], jobs: list[int]
) -> list[list[list[int]]]:
    """Group jobs by crop, and crops with the same sets into blocks: block, crop, job."""
    of_crop: dict[int, list[int]] = {}
    for job in jobs:
        of_crop.setdefault(int(which[job]), []).append(job)
    alike: dict[bytes, list[list[int]]] = {}
    for some in of_crop.values():
        order = sorted(some, key=lambda job: removed[job].tobytes())
        alike.setdefault(removed[order].tobytes(), []).append(order)
    return list(alike.values())


def _by_size(blocks: list[list[list[int]]]) -> Iterator[list[list[list[int]]]]:
    """Portions of blocks to compute and write together."""
    portion: list[list[list[int]]] = []
    size = 0
    for block in blocks:
        n_sets = len(block[0])
        step = max(1, _AT_ONCE // n_sets)
        for start in range(0, len(block), step):
            piece = block[start : start + step]
            portion.append(piece)
            size += n_sets * len(piece)
            if size >= _AT_ONCE:
                yield portion
                portion, size = [], 0
    if portion:
        yield portion

"""Embed a few faces again, to measure the effect of an approximation on influence."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.engine.compilation import from_cache
from freqlab.engine.removals import PartDone, Removals, assemble, block_parts
from freqlab.models.spec import Model
from freqlab.run.context import Run, decomposition
from freqlab.run.crops import read_crops

__all__ = ["Sample", "embed_sample", "stored_sample"]


class Sample(NamedTuple):
    """Faces embedded separately from those of the run."""

    rows: npt.NDArray[np.int64]
    """Faces whose crops were available ``(face,)``; a photograph may be missing by now."""
    intact: npt.NDArray[np.float32]
    """``(face, feature)``."""
    removed: npt.NDArray[np.float32]
    """With one of the bands removed each, ``(face, band, feature)``."""


def embed_sample(
    run: Run, model: Model, rows: npt.NDArray[np.int64], bands: npt.NDArray[np.bool_]
) -> Sample:
    """Embed faces, by rows in increasing order, unmasked and with each of some bands removed.

    All workers do it, with the compiled network if there is one. These forward passes are not
    counted for the run.
    """
    read = [read_crops(run, rows[block], model) for block in run.store.blocks(rows)]
    one_each = np.eye(len(run.bands), dtype=bool)[bands]
    removals = np.concatenate([np.zeros((1, len(run.bands)), bool), one_each])
    batch_size, workers = run.batch_of(model), run.workers
    parts = block_parts(
        model,
        np.concatenate([crops for _, crops in read]),
        Removals(model, removals, decomposition(run.bands, model)),
        batch_size=batch_size,
    )
    fast = None
    if run.settings.compile is not False:
        fast = workers.submit_for(model, lambda: _compiled(run, model, batch_size)).result()
    doing: list[Future[PartDone]] = [
        workers.submit_for(model, cast(Any, part.run), fast or model) for part in parts
    ]
    embeddings = assemble(model, parts, [future.result() for future in doing]).embeddings
    return Sample(np.concatenate([kept for kept, _ in read]), embeddings[:, 0], embeddings[:, 1:])


def stored_sample(
    run: Run,
    intact: zarr.Group,
    banded: zarr.Group,
    rows: npt.NDArray[np.int64],
    bands: npt.NDArray[np.bool_],
) -> Sample:
    """The embeddings that the store has, as :func:`embed_sample` returns them."""
    read = run.store.read_rows
    blocks = [rows[block] for block in run.store.blocks(rows)]
    return Sample(
        rows,
        np.concatenate([read(intact, "embedding", block) for block in blocks]),
        np.concatenate([read(banded, "embedding", block)[:, bands] for block in blocks]),
    )


def _compiled(run: Run, model: Model, batch_size: int) -> Model | None:
    threads, streams = run.workers.threads_of(model), run.workers.streams_of(model)
    return from_cache(model, batch_size=batch_size, threads=threads, streams=streams)

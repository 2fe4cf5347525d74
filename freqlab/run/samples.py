"""Embed a few faces again, to measure the effect of an approximation on influence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.engine.removals import embed_block
from freqlab.models.spec import Model
from freqlab.run.context import Run, decomposition
from freqlab.run.crops import read_crops

__all__ = ["Sample", "embed_sample"]


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

    These forward passes are not counted for the run.
    """
    read = [read_crops(run, rows[block], model) for block in run.store.blocks(rows)]
    one_each = np.eye(len(run.bands), dtype=bool)[bands]
    removals = np.concatenate([np.zeros((1, len(run.bands)), bool), one_each])
    embeddings = embed_block(
        model,
        np.concatenate([crops for _, crops in read]),
        removals,
        decomposition(run.bands, model),
        batch_size=run.batch_of(model),
    ).embeddings
    return Sample(np.concatenate([kept for kept, _ in read]), embeddings[:, 0], embeddings[:, 1:])

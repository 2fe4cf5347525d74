"""Scores of all faces against all, in blocks or tiles of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.statistics.vectors import is_usable, unit_length

__all__ = ["Block", "UsableVectors", "score_blocks", "score_tiles", "usable_vectors"]

_SCORES_PER_STEP = 1 << 18
_TILE = 1024  # faces along an axis of a tile

Floats = npt.NDArray[np.floating]


def usable_vectors(embeddings: Floats, sources: npt.NDArray[np.object_]) -> UsableVectors:
    """Embeddings of unit length of the faces that have one."""
    usable = np.flatnonzero(is_usable(embeddings)).astype(np.int32)
    vectors = unit_length(embeddings[usable].astype(np.float32, copy=False))
    codes = np.unique(sources[usable].astype(str), return_inverse=True)[1]
    return UsableVectors(vectors, codes, usable)


def score_blocks(faces: UsableVectors) -> Iterator[Block]:
    """Scores of blocks of faces against all later faces, in order, in bounded memory."""
    n, start = len(faces.vectors), 0
    while start < n:
        stop = min(n, start + max(1, _SCORES_PER_STEP // (n - start)))
        yield faces.compare(slice(start, stop), slice(start, n))
        start = stop


def score_tiles(faces: UsableVectors) -> Iterator[Block]:
    """The same scores, tile by tile: many times as fast for many faces, in another order."""
    n = len(faces.vectors)
    for start in range(0, n, _TILE):
        for other in range(start, n, _TILE):
            yield faces.compare(
                slice(start, min(n, start + _TILE)), slice(other, min(n, other + _TILE))
            )


class Block(NamedTuple):
    """Scores of some faces against others."""

    scores: npt.NDArray[np.float32]
    """``(row, other)``."""
    once: npt.NDArray[np.bool_]
    """The comparisons to count ``(row, other)``."""
    rows: npt.NDArray[np.int32]
    """Positions of the faces along the first axis."""
    others: npt.NDArray[np.int32]
    """Positions of the faces along the second axis."""


class UsableVectors(NamedTuple):
    """Faces with an embedding, in the order of the face set."""

    vectors: npt.NDArray[np.float32]
    """Of unit length ``(face, feature)``."""
    sources: npt.NDArray[np.int64]
    """Number of the photograph that each face derives from."""
    positions: npt.NDArray[np.int32]
    """Position of each face in the face set."""

    def compare(self, rows: slice, others: slice) -> Block:
        """Compare two ranges of faces, each two faces of different sources once."""
        scores = self.vectors[rows] @ self.vectors[others].T
        once = self.sources[rows, None] != self.sources[others]
        if others.start < rows.stop:
            once &= self.positions[others] > self.positions[rows, None]
        np.clip(scores, -1, 1, out=scores)
        return Block(scores, once, self.positions[rows], self.positions[others])

"""From embeddings to influence: a gather and a dot product. Pure arrays.

The embedding of a face with a band removed does not depend on its partner, so every face is
embedded once per band and pairs cost next to nothing (Huber & Damer 2025 mask one image of a pair
and leave the other unaltered).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import check_name
from freqlab.literals import Side
from freqlab.statistics.vectors import cosine

__all__ = [
    "SIDES",
    "PairInfluence",
    "cosines_without",
    "cosines_without_both",
    "pair_influence",
]

SIDES: tuple[Side, ...] = ("probe", "reference", "both")
"""Which image of the pair had the band removed."""

_FEW = 4  # partners per face above which it pays to process them together
_IN_CACHE = 128  # pairs whose gathered embeddings stay in the processor's cache

Floats = npt.NDArray[np.float32]


class PairInfluence(NamedTuple):
    """What :func:`pair_influence` returns."""

    similarity: Floats
    influence: Floats


def pair_influence(
    probe: Floats, probe_removed: Floats, reference: Floats, reference_removed: Floats, side: Side
) -> PairInfluence:
    """Directed influence of bands on the cosine similarity of pairs.

    Parameters
    ----------
    probe, reference
        Untouched embeddings ``(pair, feature)``.
    probe_removed, reference_removed
        Embeddings with one band removed each, ``(pair, band, feature)``.
    side
        Which image is masked: ``"probe"``, ``"reference"`` or ``"both"``.

    Returns
    -------
    PairInfluence
        ``similarity`` ``(pair,)``, and ``influence`` ``(pair, band)``: the similarity less the
        similarity without the band, positive where the band supports a match. NaN propagates.
        (Sign: Huber & Damer 2025 as summarised; the absolute influence is ``abs``.)

    Raises
    ------
    UnknownNameError
        If the side is unknown.
    """
    check_name("side", side, SIDES)
    similarity = cosine(probe, reference)
    masked_probe = probe[:, None] if side == "reference" else probe_removed
    masked_reference = reference[:, None] if side == "probe" else reference_removed
    without_band = cosine(masked_probe, masked_reference)
    return PairInfluence(similarity, similarity[:, None] - without_band)


def cosines_without(
    removed: Floats, face: npt.NDArray[np.integer], partners: Floats, row: npt.NDArray[np.integer]
) -> Floats:
    """Cosine of masked faces and untouched partners, for many pairs of few faces.

    Memory bandwidth limits the speed, so little is moved. Where faces have several partners, a
    face's embeddings are read once for all of them; per pair only the partner's embedding is read.

    Parameters
    ----------
    removed
        Unit embeddings with one band removed each, ``(face, band, feature)``.
    face
        Index of the masked face of each pair, in increasing order ``(pair,)``.
    partners
        Untouched unit embeddings ``(row, feature)``.
    row
        Row of the partner in each pair ``(pair,)``.

    Returns
    -------
    numpy.ndarray
        ``(pair, band)``.
    """
    cosines = np.empty((len(face), removed.shape[1]), np.float32)
    cuts = [0, *(np.flatnonzero(np.diff(face)) + 1).tolist(), len(face)]
    if _FEW * len(cuts) <= len(face):
        for lower, upper in itertools.pairwise(cuts):
            matrix = removed[face[lower]].T
            np.matmul(partners[row[lower:upper]], matrix, out=cosines[lower:upper])
    else:
        for lower in range(0, len(face), _IN_CACHE):
            part = slice(lower, lower + _IN_CACHE)
            product = np.matmul(removed[face[part]], partners[row[part]][:, :, None])
            cosines[part] = product[..., 0]
    return np.clip(cosines, -1, 1, out=cosines)


def cosines_without_both(
    probes: Floats,
    probe: npt.NDArray[np.integer],
    references: Floats,
    reference: npt.NDArray[np.integer],
) -> Floats:
    """Cosine of masked faces and masked partners, the same band in both.

    Parameters
    ----------
    probes, references
        Unit embeddings with one band removed each, ``(face, band, feature)``.
    probe, reference
        Indices into these for each pair ``(pair,)``.

    Returns
    -------
    numpy.ndarray
        ``(pair, band)``.
    """
    cosines = np.empty((len(probe), probes.shape[1]), np.float32)
    for lower in range(0, len(probe), _IN_CACHE):
        part = slice(lower, lower + _IN_CACHE)
        a, b = probes[probe[part]], references[reference[part]]
        np.einsum("pbd,pbd->pb", a, b, out=cosines[part])
    return np.clip(cosines, -1, 1, out=cosines)

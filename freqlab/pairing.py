"""From embeddings to influence: a gather and a dot product. Pure arrays.

The embedding of a face with a band removed does not depend on its partner, so every face is
embedded once per band and pairs cost next to nothing (Huber & Damer 2025 mask one image of a pair
and leave the other unaltered).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import check_name

__all__ = [
    "SIDES",
    "PairInfluence",
    "UnitEmbeddings",
    "as_units",
    "cosine",
    "gathered_influence",
    "pair_influence",
]

SIDES = ("probe", "reference", "both")
"""Which image of the pair had the band removed."""

Floats = npt.NDArray[np.float32]


class PairInfluence(NamedTuple):
    """What :func:`pair_influence` returns."""

    similarity: Floats
    influence: Floats


class UnitEmbeddings(NamedTuple):
    """Embeddings of faces scaled to unit length, so that cosines are plain products."""

    intact: Floats
    """``(face, feature)``."""
    removed: Floats
    """With one band removed each, ``(face, band, feature)``."""


def cosine(a: Floats, b: Floats) -> Floats:
    """Cosine of the angle between vectors along the last axis, -1..1; NaN for a zero vector."""
    with np.errstate(invalid="ignore", divide="ignore"):
        product = np.einsum("...d,...d->...", a, b)
        norms = np.sqrt(np.einsum("...d,...d->...", a, a) * np.einsum("...d,...d->...", b, b))
        result: Floats = np.clip(product / norms, -1, 1).astype(np.float32)
    return result


def pair_influence(
    probe: Floats, probe_removed: Floats, reference: Floats, reference_removed: Floats, side: str
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
        similarity without the band, positive where the band spoke for a match. NaN goes in, NaN
        comes out. (Sign: Huber & Damer 2025 as summarised; the absolute influence is ``abs``.)

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


def as_units(intact: Floats, removed: Floats) -> UnitEmbeddings:
    """Scale embeddings to unit length, in place; NaN where one is zero or NaN."""
    for vectors in (intact, removed):
        lengths = np.sqrt(np.einsum("...d,...d->...", vectors, vectors))
        with np.errstate(invalid="ignore", divide="ignore"):
            vectors /= lengths[..., None]
    return UnitEmbeddings(intact, removed)


def gathered_influence(
    probes: UnitEmbeddings,
    probe: npt.NDArray[np.integer],
    references: UnitEmbeddings,
    reference: npt.NDArray[np.integer],
    sides: Sequence[str],
) -> PairInfluence:
    """As :func:`pair_influence`, for rows of faces and several sides at once.

    Made for memory: some hundred pairs at a time, so that what is gathered stays in the
    processor's cache, sorted so that neighbours share faces.

    Parameters
    ----------
    probes, references
        Embeddings of faces, among them those of the pairs.
    probe, reference
        Rows in these, ``(pair,)``.
    sides
        Which image is masked.

    Returns
    -------
    PairInfluence
        ``similarity`` ``(pair,)`` and ``influence`` ``(pair, side, band)``.
    """
    a, b = probes.intact[probe], references.intact[reference]
    similarity = np.clip(np.einsum("pd,pd->p", a, b), -1, 1)
    removed = {
        side: of.removed[at]
        for side, of, at in (("probe", probes, probe), ("reference", references, reference))
        if side in sides or "both" in sides
    }
    influence = np.empty((len(probe), len(sides), probes.removed.shape[1]), np.float32)
    for s, side in enumerate(sides):
        check_name("side", side, SIDES)
        if side == "both":
            without = np.einsum("pbd,pbd->pb", removed["probe"], removed["reference"])
        else:
            other = b if side == "probe" else a
            without = np.matmul(removed[side], other[:, :, None])[..., 0]
        np.subtract(similarity[:, None], np.clip(without, -1, 1), out=influence[:, s])
    return PairInfluence(similarity, influence)

"""From embeddings to influence: a gather and a dot product. Pure arrays.

The embedding of a face with a band removed does not depend on its partner, so every face is
embedded once per band and pairs cost next to nothing (Huber & Damer 2025 mask one image of a pair
and leave the other unaltered).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import check_name

__all__ = ["SIDES", "PairInfluence", "cosine", "pair_influence"]

SIDES = ("probe", "reference", "both")
"""Which image of the pair had the band removed."""

Floats = npt.NDArray[np.float32]


class PairInfluence(NamedTuple):
    """What :func:`pair_influence` returns."""

    similarity: Floats
    influence: Floats


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

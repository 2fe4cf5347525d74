"""Cosine similarity of embeddings, for listed pairs and for all pairs."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["cosine", "cosines", "unit_length"]

Numbers = TypeVar("Numbers", bound=npt.NDArray[np.floating])


def cosine(a: Numbers, b: Numbers) -> Numbers:
    """Cosine of the angle between vectors along the last axis, -1..1; NaN for a zero vector.

    Computed in the precision of the vectors.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        product = np.einsum("...d,...d->...", a, b)
        norms = np.sqrt(np.einsum("...d,...d->...", a, a) * np.einsum("...d,...d->...", b, b))
        cosines: Numbers = np.clip(product / norms, -1, 1)
    return cosines


def cosines(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Cosine similarity of each vector ``(n, feature)`` with each of others ``(m, feature)``.

    Returns
    -------
    numpy.ndarray
        ``(n, m)``, in double precision; NaN for a zero vector.
    """
    first, second = unit_length(a.astype(float)), unit_length(b.astype(float))
    return np.asarray(np.clip(first @ second.T, -1, 1))


def unit_length(vectors: Numbers) -> Numbers:
    """Scale vectors along the last axis to unit length, in place; NaN for a zero or NaN vector.

    The cosine of two such vectors is their dot product.
    """
    lengths = np.sqrt(np.einsum("...d,...d->...", vectors, vectors))
    with np.errstate(invalid="ignore", divide="ignore"):
        vectors /= lengths[..., None]
    return vectors

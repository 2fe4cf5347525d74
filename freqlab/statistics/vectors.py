"""Cosine similarity of embeddings, for listed pairs and for all pairs."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["cosine", "cosines", "is_usable", "rank_agreement", "unit_length"]

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


def rank_agreement(
    one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Compute Spearman's rank correlation of profiles along the last axis.

    Bands that are NaN in either profile are ignored. The result is NaN where a profile is
    constant, or fewer than three bands remain.
    """
    from scipy.stats import rankdata

    both = np.isfinite(one) & np.isfinite(other)
    a, b = (rankdata(np.where(both, v, np.nan), axis=-1, nan_policy="omit") for v in (one, other))
    n = both.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (v - np.nansum(v, axis=-1, keepdims=True) / n for v in (a, b))
        norms = np.sqrt(np.nansum(a**2, axis=-1) * np.nansum(b**2, axis=-1))
        correlation = np.nansum(a * b, axis=-1) / norms
    return np.where((n[..., 0] > 2) & (norms > 0), correlation, np.nan)


def unit_length(vectors: Numbers) -> Numbers:
    """Scale vectors along the last axis to unit length, in place; NaN for a zero or NaN vector.

    The cosine of two such vectors is their dot product.
    """
    lengths = np.sqrt(np.einsum("...d,...d->...", vectors, vectors))
    with np.errstate(invalid="ignore", divide="ignore"):
        vectors /= lengths[..., None]
    return vectors


def is_usable(embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Whether each embedding ``(n, feature)`` has a direction: finite, and not all zeros."""
    return np.asarray(np.isfinite(embeddings).all(axis=1) & (embeddings != 0).any(axis=1))

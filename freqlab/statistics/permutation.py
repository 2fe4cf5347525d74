"""Permutation tests of differences between groups of faces. Pure arrays.

Faces of one person are not independent. Labels are therefore permuted only in ways that are
exchangeable under the hypothesis "the label makes no difference": whole subjects exchange labels
among those with a single label; faces exchange labels within a subject that has several.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Permuted", "adjusted", "p_values", "permuted_differences", "permuted_labels"]

Floats = npt.NDArray[np.float64]

_PER_STEP = 1 << 23  # pairs times permutations held in memory at once


class Permuted(NamedTuple):
    """Permuted labels, and the subjects whose labels were exchanged."""

    labels: npt.NDArray[np.int16]
    """``(permutation, face)``."""
    n_whole: int
    """Subjects with a single label, exchanged between subjects."""
    n_within: int
    """Subjects with several labels, exchanged between their faces."""


def permuted_labels(
    labels: npt.NDArray[np.integer], subjects: npt.NDArray[np.integer], n: int, seed: int
) -> Permuted:
    """Permute the labels of two or more groups at random.

    Parameters
    ----------
    labels
        Number of the group of each face ``(face,)``, from 0.
    subjects
        Number of the subject of each face ``(face,)``.
    n
        Number of permutations.
    seed
        Seed of the permutations.
    """
    rng = np.random.default_rng(seed)
    names, of_face = np.unique(subjects, return_inverse=True)
    lowest, highest = np.full(len(names), labels.max(initial=0)), np.zeros(len(names), int)
    np.minimum.at(lowest, of_face, labels)
    np.maximum.at(highest, of_face, labels)
    varies = lowest < highest
    whole = np.flatnonzero(~varies)
    exchanged = np.tile(highest.astype(np.int16), (n, 1))
    exchanged[:, whole] = rng.permuted(exchanged[:, whole], axis=1)
    permuted = exchanged[:, of_face]
    for subject in np.flatnonzero(varies):
        faces = np.flatnonzero(of_face == subject)
        permuted[:, faces] = rng.permuted(np.tile(labels[faces], (n, 1)), axis=1)
    return Permuted(permuted, len(whole), int(varies.sum()))


def permuted_differences(
    values: Floats, ends: npt.NDArray[np.integer], labels: npt.NDArray[np.integer]
) -> Floats:
    """Difference of the means over pairs of two groups, for each permutation of the labels.

    Parameters
    ----------
    values
        ``(pair, quantity)``; NaN are left out.
    ends
        The two faces of each pair ``(2, pair)``.
    labels
        ``(permutation, face)``, 0 or 1. A pair belongs to a group if both of its faces do.

    Returns
    -------
    numpy.ndarray
        Mean of group 1 minus mean of group 0, ``(permutation, quantity)``; NaN where a group has
        no pair.
    """
    filled, present = np.nan_to_num(values), np.isfinite(values)
    some = not present.all()
    here = present.astype(float)
    differences = np.full((len(labels), values.shape[1]), np.nan)
    step = max(1, _PER_STEP // max(1, len(values)))
    for start in range(0, len(labels), step):
        first, second = (labels[start : start + step][:, side] for side in ends)
        means = []
        for group in (1, 0):
            member = ((first == group) & (second == group)).astype(float)
            count = member @ here if some else member.sum(axis=1, keepdims=True)
            with np.errstate(invalid="ignore", divide="ignore"):
                means.append((member @ filled) / count)
        differences[start : start + step] = means[0] - means[1]
    return differences


def p_values(observed: Floats, permuted: Floats) -> Floats:
    """Two-sided permutation p-values; the observed order counts as one permutation.

    Parameters
    ----------
    observed
        ``(quantity,)``.
    permuted
        ``(permutation, quantity)``; NaN are left out.
    """
    usable = ~np.isnan(permuted)
    # ties up to rounding count as extreme
    with np.errstate(invalid="ignore"):
        as_much = np.abs(permuted) >= np.abs(observed) * (1 - 1e-9) - 1e-15
    p = (1 + (as_much & usable).sum(axis=0)) / (1 + usable.sum(axis=0))
    return np.where(np.isfinite(observed) & usable.any(axis=0), p, np.nan)


def adjusted(p: Floats) -> Floats:
    """P-values adjusted over the last axis (Benjamini and Hochberg 1995); NaN count as no test."""
    from scipy import stats

    flat = p.reshape(-1, p.shape[-1])
    adjusted_rows = np.full(flat.shape, np.nan)
    for row, values in zip(adjusted_rows, flat, strict=True):
        tested = np.isfinite(values)
        if tested.any():
            row[tested] = stats.false_discovery_control(values[tested], method="bh")
    return adjusted_rows.reshape(p.shape)

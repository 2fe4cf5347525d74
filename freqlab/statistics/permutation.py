"""Permutation tests of differences between groups of faces. Pure arrays.

Faces of one person are not independent. Labels are therefore permuted only in ways that are
exchangeable under the hypothesis "the label makes no difference": whole subjects exchange labels
among those with a single label; faces exchange labels within a subject that has several.

Groups can differ in spread although their means are equal, and a permutation test of the difference
itself then rejects too often. The statistic is therefore the difference divided by its standard
error (Janssen 1997; Chung & Romano 2013), which makes it a test of means.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

__all__ = [
    "Differences",
    "Permuted",
    "adjusted",
    "exchangeable_units",
    "p_values",
    "permuted_differences",
    "permuted_labels",
]

Floats = npt.NDArray[np.float64]

_PER_STEP = 1 << 19  # pairs times permutations held in memory at once
_ROUNDING = 1e-15


class Differences(NamedTuple):
    """Differences of means, group 1 minus group 0, and their standard errors over people."""

    difference: Floats
    """``(permutation, quantity)``; NaN where a group has no pair."""
    standard_error: Floats

    @property
    def studentised(self) -> Floats:
        """Differences in standard errors; infinite where only the standard error is zero."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self.difference / self.standard_error
        same = np.abs(self.difference) <= _ROUNDING
        return np.where(same, np.where(np.isnan(self.standard_error), np.nan, 0.0), ratio)


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


def exchangeable_units(
    labels: npt.NDArray[np.integer], subjects: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Group the faces that have the same label in every permutation.

    Parameters
    ----------
    labels
        ``(permutation, face)``.
    subjects
        Number of the subject of each face ``(face,)``.

    Returns
    -------
    unit : numpy.ndarray
        Number of the unit of each face: all faces of a subject whose labels never differ, or a
        single face of another subject.
    first : numpy.ndarray
        One face of each unit ``(unit,)``.
    """
    _, first, subject = np.unique(subjects, return_index=True, return_inverse=True)
    differs = (labels != labels[:, first[subject]]).any(axis=0)
    varies = np.bincount(subject, weights=differs, minlength=len(first)) > 0
    own = np.where(varies[subject], len(first) + np.arange(len(subject)), subject)
    _, first, unit = np.unique(own, return_index=True, return_inverse=True)
    return unit, first


def permuted_differences(
    values: Floats,
    ends: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
    subjects: npt.NDArray[np.integer],
) -> Differences:
    """Difference of the means over pairs of two groups, for each permutation of the labels.

    The standard error is dyadic-robust: two pairs are dependent if they share a person (Aronow,
    Samii & Assenova 2015).

    Parameters
    ----------
    values
        ``(pair, quantity)``; NaN are left out.
    ends
        The two faces of each pair ``(2, pair)``.
    labels
        ``(permutation, face)``, 0 or 1. A pair belongs to a group if both of its faces do.
    subjects
        Number of the subject of each face ``(face,)``.
    """
    unit, first = exchangeable_units(labels, subjects)
    shape = (len(labels), values.shape[1])
    computed = Differences(np.full(shape, np.nan), np.full(shape, np.nan))
    present = np.isfinite(values)
    patterns, of_quantity = np.unique(present, axis=1, return_inverse=True)
    for k, some in enumerate(patterns.T):
        columns = np.flatnonzero(of_quantity.ravel() == k)
        if not some.any():
            continue
        couples, of_pair = np.unique(
            np.sort(unit[ends[:, some]], axis=0), axis=1, return_inverse=True
        )
        counts = np.bincount(of_pair.ravel()).astype(float)
        to_couples = sparse.csr_array(
            (np.ones(len(of_pair)), (of_pair.ravel(), np.arange(len(of_pair))))
        )
        sums = to_couples @ values[np.ix_(some, columns)]
        shares = _Shares.of(subjects[first[couples]])
        step = max(1, _PER_STEP // couples.shape[1])
        for start in range(0, len(labels), step):
            here = slice(start, start + step)
            one, other = (labels[here][:, first[side]].T for side in couples)
            found = _differences(sums, counts, [(one == g) & (other == g) for g in (0, 1)], shares)
            for target, computed_values in zip(computed, found, strict=True):
                target[here, columns] = computed_values
    return computed


class _Shares(NamedTuple):
    """Sums over the couples of each person, and over those of each two people."""

    sums: sparse.csr_array
    """``(person + dyad, couple)``: 1 where the couple is of the person, or of the two people."""
    n_people: int

    @classmethod
    def of(cls, subjects: npt.NDArray[np.integer]) -> _Shares:
        """From the two subjects of each couple ``(2, couple)``."""
        people, ends = np.unique(subjects, return_inverse=True)
        ends, n = ends.reshape(subjects.shape), len(people)
        two = np.flatnonzero(ends[0] != ends[1])
        dyads = np.unique(np.sort(ends[:, two], axis=0), axis=1, return_inverse=True)[1].ravel()
        rows = np.concatenate([ends[0], ends[1][two], n + dyads])
        columns = np.concatenate([np.arange(subjects.shape[1]), two, two])
        return cls(sparse.coo_array((np.ones(len(rows)), (rows, columns))).tocsr(), n)


def _differences(
    sums: Floats, counts: Floats, member: list[npt.NDArray[np.bool_]], shares: _Shares
) -> Differences:
    """Compute differences and standard errors of some permutations.

    Parameters
    ----------
    sums, counts
        Sum of the values of each couple ``(couple, quantity)``, and its number of pairs.
    member
        Whether each couple is in groups 0 and 1, each ``(couple, permutation)``.
    shares
        Couples that share a person.
    """
    n = shares.n_people
    n_pairs = [counts @ group for group in member]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [(sums.T @ group) / count for group, count in zip(member, n_pairs, strict=True)]
        weights = []
        for group, count in zip(member, n_pairs, strict=True):
            n_people = ((shares.sums[:n] @ group.astype(float)) > 0).sum(axis=0)
            # of one person, nothing follows for others
            weights.append(group * np.sqrt(n_people / np.maximum(n_people - 1, 1)) / count)
        difference = means[1] - means[0]
    weight = weights[1] - weights[0]
    of_counts = [shares.sums @ (counts[:, None] * one) for one in weights]
    variance = np.empty(difference.shape)
    for q in range(len(variance)):
        residual = shares.sums @ (sums[:, q, None] * weight)
        with np.errstate(invalid="ignore"):
            residual -= means[1][q] * of_counts[1] - means[0][q] * of_counts[0]
        residual *= residual
        # pairs of two people are counted with each of them; at least as if they were independent
        of_dyads = residual[n:].sum(axis=0)
        variance[q] = np.maximum(residual[:n].sum(axis=0) - of_dyads, of_dyads)
    return Differences(difference.T, np.sqrt(variance).T)


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
    return np.where(~np.isnan(observed) & usable.any(axis=0), p, np.nan)


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

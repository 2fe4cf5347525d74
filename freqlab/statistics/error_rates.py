"""Scores, error rates and thresholds of face verification, in terms of ISO/IEC 19795-1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import ParameterError, check_number
from freqlab.statistics.score_blocks import score_blocks, score_tiles, usable_vectors
from freqlab.statistics.vectors import is_usable, unit_length

__all__ = [
    "FMRS",
    "Comparisons",
    "FoldAccuracy",
    "accuracy_by_folds",
    "all_comparisons",
    "check_fmr",
    "check_fmrs",
    "compare_all",
    "compare_pairs",
    "comparisons_needed",
    "cosines_of",
    "d_prime",
    "equal_error_rate",
    "error_curve",
    "impostor_thresholds",
    "rates_with",
    "threshold_at_fmr",
]

FMRS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""False match rates for which every result holds the thresholds of its models."""

Floats = npt.NDArray[np.floating]

_FINE_BINS = 1 << 16


class Comparisons(NamedTuple):
    """Scores of comparison trials and the faces compared.

    Parameters
    ----------
    scores
        Cosine similarities ``(n,)``, -1..1.
    reference, probe
        Positions of the two faces ``(n,)``.
    subjects
        Number of the subject of each face ``(face,)``, from 0.
    """

    scores: npt.NDArray[np.float32]
    reference: npt.NDArray[np.int32]
    probe: npt.NDArray[np.int32]
    subjects: npt.NDArray[np.int32]

    @property
    def genuine(self) -> npt.NDArray[np.bool_]:
        """Whether both faces are of one subject ``(n,)``."""
        return np.asarray(self.subjects[self.reference] == self.subjects[self.probe])

    @property
    def n_subjects(self) -> int:
        """Number of subjects among all faces, compared or not."""
        return int(self.subjects.max(initial=-1)) + 1

    def select(self, chosen: npt.NDArray[Any]) -> Comparisons:
        """Select some of the comparisons."""
        return Comparisons(
            self.scores[chosen], self.reference[chosen], self.probe[chosen], self.subjects
        )

    @property
    def by_kind(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Scores of genuine and of impostor comparisons."""
        genuine = self.genuine
        return self.scores[genuine], self.scores[~genuine]


class FoldAccuracy(NamedTuple):
    """Accuracy by the protocol of Labeled Faces in the Wild."""

    mean: float
    """Mean over the folds, 0..1."""
    standard_error: float
    """Standard deviation over the folds, divided by the root of their number."""
    by_fold: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]
    """Threshold of each fold, the most accurate on the other folds."""


def compare_all(
    embeddings: Floats,
    subjects: npt.NDArray[np.object_],
    sources: npt.NDArray[np.object_],
) -> Comparisons:
    """Compare each pair of faces once, except faces of the same source.

    The earlier face of a pair is the reference, the later one the probe.

    Parameters
    ----------
    embeddings
        ``(n, feature)``; faces with NaN are left out.
    subjects
        ``(n,)``.
    sources
        ``(n,)``: the photograph from which a face derives.
    """
    parts = [(np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int32))]
    for scores, once, rows, others in score_blocks(usable_vectors(embeddings, sources)):
        i, j = np.nonzero(once)
        parts.append((scores[once], rows[i], others[j]))
    scored, reference, probe = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Comparisons(scored, reference, probe, _codes(subjects))


def impostor_thresholds(
    embeddings: Floats,
    subjects: npt.NDArray[np.object_],
    sources: npt.NDArray[np.object_],
    fmrs: Sequence[float] = FMRS,
) -> tuple[list[float], int]:
    """Thresholds at fixed false match rates over all impostor comparisons, in bounded memory.

    The scores are computed twice: first to count them in fine bins, then to sort those in the
    bins that contain a threshold.

    Parameters
    ----------
    embeddings, subjects, sources
        As for :func:`compare_all`.
    fmrs
        False match rates, between 0 and 1.

    Returns
    -------
    thresholds : list of float
        As returned by :func:`threshold_at_fmr`; NaN where a rate is not resolved.
    n_impostor : int
        Number of impostor comparisons.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> embeddings = np.random.default_rng(0).normal(size=(40, 8))
    >>> subjects = np.repeat(np.arange(20), 2).astype(object)
    >>> photographs = np.arange(40).astype(object)
    >>> thresholds, n_impostor = fl.statistics.impostor_thresholds(
    ...     embeddings, subjects, photographs, fmrs=[0.1]
    ... )
    >>> n_impostor
    760
    """
    codes, faces = _codes(subjects), usable_vectors(embeddings, sources)

    def impostors() -> Iterator[npt.NDArray[np.float32]]:
        for scores, once, rows, others in score_tiles(faces):
            once &= codes[rows, None] != codes[others]
            yield scores[once]

    counts = np.zeros(_FINE_BINS, np.int64)
    for scores in impostors():
        counts += np.bincount(_fine_bin(scores), minlength=_FINE_BINS)
    n_impostor = int(counts.sum())
    # number of comparisons in each bin and all higher bins
    above = np.cumsum(counts[::-1])[::-1]
    wanted: set[int] = set()
    for fmr in fmrs:
        if n_impostor >= comparisons_needed(fmr):
            holder = int(np.flatnonzero(above > _allowed(fmr, n_impostor))[-1])
            higher = np.flatnonzero(counts[holder + 1 :])
            wanted |= {holder, *(holder + 1 + higher[:1])}
    chosen = np.isin(np.arange(_FINE_BINS), list(wanted))
    per_block = [scores[chosen[_fine_bin(scores)]] for scores in impostors()] if wanted else []
    inside = np.sort(np.concatenate([np.empty(0, np.float32), *per_block]))
    bins = _fine_bin(inside)
    thresholds = []
    for fmr in fmrs:
        if n_impostor < comparisons_needed(fmr):
            thresholds.append(math.nan)
            continue
        allowed = _allowed(fmr, n_impostor)
        holder = int(np.flatnonzero(above > allowed)[-1])
        # the matches allowed beyond those of higher bins are in this bin
        beyond = int(above[holder + 1]) if holder + 1 < _FINE_BINS else 0
        in_bin = inside[bins == holder]
        refused = in_bin[len(in_bin) - 1 - (allowed - beyond)]
        thresholds.append(_between(refused, inside[inside > refused]))
    return thresholds, n_impostor


def _allowed(fmr: float, n_impostor: int) -> int:
    """Upper bound on the number of impostor comparisons that match."""
    return math.floor(fmr * n_impostor + 1e-9)


def _between(refused: np.floating[Any], accepted: Floats) -> float:
    """Midpoint, so that a decision does not depend on rounding by the order of summation."""
    lowest = accepted.min() if len(accepted) else np.nextafter(refused, np.inf)
    return float((np.float64(refused) + np.float64(lowest)) / 2)


def _fine_bin(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Bin number of each score, a nondecreasing function of the score."""
    place = (scores + np.float32(1)) * np.float32((_FINE_BINS - 1) / 2)
    return np.clip(place, 0, _FINE_BINS - 1, out=place).astype(np.int64)


def compare_pairs(
    embeddings: Floats, subjects: npt.NDArray[np.object_], pairs: npt.NDArray[np.integer]
) -> Comparisons:
    """Compare listed pairs of faces.

    Parameters
    ----------
    embeddings
        ``(n, feature)``; pairs with NaN in the embedding of a face are left out.
    subjects
        ``(n,)``.
    pairs
        Positions of probe and reference ``(pair, 2)``.
    """
    probe, reference = pairs.T.astype(np.int32)
    every = Comparisons(cosines_of(embeddings, pairs), reference, probe, _codes(subjects))
    return every.select(is_usable(embeddings)[pairs].all(axis=1))


def cosines_of(embeddings: Floats, pairs: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Cosine similarities of listed pairs ``(pair, 2)``; NaN where a face has no embedding."""
    vectors = unit_length(embeddings.astype(np.float32))
    scores = np.einsum("ij,ij->i", vectors[pairs[:, 0]], vectors[pairs[:, 1]])
    return np.clip(scores, -1, 1)


def _codes(subjects: npt.NDArray[np.object_]) -> npt.NDArray[np.int32]:
    return np.unique(subjects.astype(str), return_inverse=True)[1].astype(np.int32)


def all_comparisons(
    embeddings: Floats,
    subjects: npt.NDArray[np.object_],
    sources: npt.NDArray[np.object_],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosine similarities of all pairs of faces, each pair once.

    Parameters
    ----------
    embeddings
        ``(n, feature)``; faces with NaN are left out.
    subjects
        ``(n,)``.
    sources
        ``(n,)``: the photograph from which a face derives; faces of one source are not compared.

    Returns
    -------
    genuine : numpy.ndarray
        Similarities of genuine pairs, -1..1.
    impostor : numpy.ndarray
        Similarities of impostor pairs, -1..1.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> embeddings = np.random.default_rng(0).normal(size=(4, 8))
    >>> subjects = np.array(["a", "a", "b", "b"], object)
    >>> photographs = np.array(["a1", "a2", "b1", "b2"], object)
    >>> genuine, impostor = fl.statistics.all_comparisons(embeddings, subjects, photographs)
    >>> len(genuine), len(impostor)
    (2, 4)
    """
    return compare_all(embeddings, subjects, sources).by_kind


def check_fmr(fmr: float) -> None:
    """Refuse false match rates that are not between 0 and 1.

    Parameters
    ----------
    fmr
        False match rate.

    Raises
    ------
    ParameterError
        Naming the value.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.statistics.check_fmr(0.001)
    >>> fl.statistics.check_fmr(2.0)
    Traceback (most recent call last):
        ...
    freqlab.errors.ParameterError: fmr=2.0 must be below 1
    """
    check_number("fmr", fmr, above=0)
    if fmr >= 1:
        raise ParameterError(f"fmr={fmr!r} must be below 1")


def check_fmrs(fmrs: Sequence[float]) -> tuple[float, ...]:
    """Return false match rates from the largest to the smallest, each once.

    Raises
    ------
    ParameterError
        If there is none, or one is not between 0 and 1.
    """
    if np.ndim(fmrs) != 1 or not len(fmrs):
        raise ParameterError(f"fmrs={fmrs!r} must hold at least one false match rate")
    for fmr in fmrs:
        check_fmr(fmr)
    return tuple(sorted({float(fmr) for fmr in fmrs}, reverse=True))


def rates_with(fmr: float) -> tuple[float, ...]:
    """The false match rates of results, with a further one if it is not among them.

    Parameters
    ----------
    fmr
        Further false match rate.

    Returns
    -------
    tuple of float
        Rates in falling order.

    Raises
    ------
    ParameterError
        If `fmr` is not between 0 and 1.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.statistics.rates_with(0.05)
    (0.1, 0.05, 0.01, 0.001, 0.0001, 1e-05, 1e-06)
    """
    check_fmr(fmr)
    known = bool(np.isclose(fmr, FMRS, rtol=1e-6).any())
    return FMRS if known else check_fmrs([*FMRS, fmr])


def comparisons_needed(rate: float) -> int:
    """Number of comparisons that resolves an error rate: ten expected errors.

    Parameters
    ----------
    rate
        Error rate, between 0 and 1.

    Returns
    -------
    int
        Smallest number of comparisons.

    Raises
    ------
    ParameterError
        If the rate is not between 0 and 1.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.statistics.comparisons_needed(1e-3)
    10000
    """
    if not 0 < rate < 1:
        raise ParameterError(f"an error rate of {rate!r} must lie between 0 and 1")
    return math.ceil(round(10 / rate, 6))


def threshold_at_fmr(impostor: Floats, fmr: float) -> float:
    """Threshold with the highest false match rate that does not exceed `fmr`.

    A comparison is a match when its similarity is at or above the threshold.

    Parameters
    ----------
    impostor
        Similarities of impostor comparisons.
    fmr
        False match rate, between 0 and 1.

    Returns
    -------
    float
        NaN where there are fewer than :func:`comparisons_needed` comparisons.
    """
    scores = impostor[np.isfinite(impostor)]
    if len(scores) < comparisons_needed(fmr):
        return math.nan
    place = len(scores) - _allowed(fmr, len(scores)) - 1
    highest_refused = np.partition(scores, place)[place]
    return _between(highest_refused, scores[scores > highest_refused])


def equal_error_rate(genuine: Floats, impostor: Floats) -> float:
    """Error rate at which FMR and FNMR are equal, interpolated between thresholds.

    The rates are step functions of the threshold. Where they cross within a step, both are
    interpolated linearly between its ends, so that the direction in which thresholds are swept
    makes no difference.

    Parameters
    ----------
    genuine, impostor
        Similarities; NaN are left out.

    Returns
    -------
    float
        0..1; NaN if there are no genuine or no impostor comparisons.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> genuine, impostor = np.array([0.6, 0.7, 0.8, 0.9]), np.array([0.1, 0.2, 0.3, 0.65])
    >>> fl.statistics.equal_error_rate(genuine, impostor)
    0.25
    """
    _, fmr, fnmr = error_curve(genuine, impostor)
    if np.isnan(fmr).any() or np.isnan(fnmr).any():
        return math.nan
    after = int(np.argmax(fnmr >= fmr))  # the last threshold has fnmr 1 and fmr 0
    if after == 0 or fnmr[after] == fmr[after]:
        return float(fnmr[after])
    gap_before, gap_after = fmr[after - 1] - fnmr[after - 1], fnmr[after] - fmr[after]
    share = gap_before / (gap_before + gap_after)
    return float(fnmr[after - 1] + share * (fnmr[after] - fnmr[after - 1]))


def error_curve(
    genuine: Floats, impostor: Floats
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """False match and false non-match rates at every distinct score, for ROC and DET curves.

    A comparison is a match when its similarity is at or above the threshold.

    Parameters
    ----------
    genuine, impostor
        Similarities; NaN are left out.

    Returns
    -------
    thresholds, fmr, fnmr : numpy.ndarray
        ``(n,)``, by increasing threshold; the last threshold is infinite. FMR is NaN without
        impostor comparisons, FNMR without genuine ones.
    """
    genuine = np.sort(genuine[np.isfinite(genuine)])
    impostor = np.sort(impostor[np.isfinite(impostor)])
    thresholds = np.append(np.unique(np.concatenate([genuine, impostor])), np.inf)
    with np.errstate(invalid="ignore"):
        fnmr = np.searchsorted(genuine, thresholds) / np.float64(len(genuine))
        fmr = 1 - np.searchsorted(impostor, thresholds) / np.float64(len(impostor))
    return thresholds.astype(np.float64), fmr, fnmr


def d_prime(genuine: Floats, impostor: Floats) -> float:
    """Difference of the mean similarities, divided by the root of the mean of their variances.

    NaN with fewer than two genuine or two impostor comparisons, or if both variances are zero.
    """
    genuine, impostor = (scores[np.isfinite(scores)] for scores in (genuine, impostor))
    if min(len(genuine), len(impostor)) < 2:
        return math.nan
    spread = math.sqrt((genuine.var(dtype=float) + impostor.var(dtype=float)) / 2)
    gap = float(genuine.mean(dtype=float) - impostor.mean(dtype=float))
    return gap / spread if spread > 0 else math.nan


def accuracy_by_folds(
    scores: Floats, genuine: npt.NDArray[np.bool_], folds: npt.NDArray[np.integer]
) -> FoldAccuracy:
    """Accuracy by the protocol of Labeled Faces in the Wild (Huang et al. 2007, View 2).

    Each fold is decided at the threshold that is most accurate on the other folds. Among equally
    accurate thresholds, the midpoint of the widest interval is taken.

    Parameters
    ----------
    scores
        Similarities ``(n,)``; NaN counts as a wrong decision.
    genuine
        Whether each pair is genuine ``(n,)``.
    folds
        Fold of each pair ``(n,)``.

    Raises
    ------
    ParameterError
        If there are fewer than two folds.
    """
    names = np.unique(folds)
    if len(names) < 2:
        raise ParameterError(f"folds={names.tolist()!r}: an accuracy needs two folds or more")
    accuracies, thresholds = np.empty(len(names)), np.empty(len(names))
    for k, fold in enumerate(names):
        here = folds == fold
        thresholds[k] = _most_accurate(scores[~here], genuine[~here])
        decided = np.isfinite(scores[here])
        right = (scores[here] >= thresholds[k]) == genuine[here]
        known = np.isfinite(thresholds[k])
        accuracies[k] = (right & decided).mean() if known else np.nan
    error = float(accuracies.std(ddof=1) / math.sqrt(len(names)))
    return FoldAccuracy(float(accuracies.mean()), error, accuracies, thresholds)


def _most_accurate(scores: Floats, genuine: npt.NDArray[np.bool_]) -> float:
    """Threshold with the most correct decisions."""
    usable = np.isfinite(scores)
    order = np.argsort(scores[usable], kind="stable")
    values, is_genuine = scores[usable][order].astype(float), genuine[usable][order]
    if len(values) == 0:
        return math.nan
    # candidate thresholds: below all scores, between neighbouring scores, above all
    refused_genuine = np.concatenate([[0], np.cumsum(is_genuine)])
    refused_impostor = np.concatenate([[0], np.cumsum(~is_genuine)])
    right = refused_impostor + is_genuine.sum() - refused_genuine
    edges = np.concatenate([[values[0] - 1], values, [values[-1] + 1]])
    width = np.diff(edges)
    right = np.where(width > 0, right, -1)  # no threshold lies between equal scores
    best = np.flatnonzero(right == right.max())
    widest = best[np.argmax(width[best])]
    return float((edges[widest] + edges[widest + 1]) / 2)

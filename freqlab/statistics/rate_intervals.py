"""Intervals of error rates over people, also where few people err.

An error rate over comparisons has the precision of a share of independent trials, but of fewer
trials than comparisons, since the comparisons of a person are alike. The effective number of trials
is that of independent trials with the same variance over people, and the interval is that of
Clopper and Pearson (1934) for this number (Korn & Graubard 1998, *Confidence intervals for
proportions with small expected number of positive counts estimated from survey data*; with their
correction for the number of people).

Where few people err, the variance says too little about people who err and were not sampled. One
more error is therefore added to its estimate, of the size of one photograph (of one couple of
people, for impostor comparisons; our choice). A rate of zero then has the effective number of
photographs, the interval depends continuously on the errors, and a rate and its complement have
mirrored intervals. In simulations of 40 people with 10 and 150 people with 4 photographs, alike and
unequal, 95 % intervals of equal error rates from 0.1 to 6 % contained the truth in 93 to 100 % of
samples.

A false non-match rate at a fixed threshold can be an error of fewer people than an equal error rate
of the same size. For 40 people with unequal photographs (log-normal noise with a spread of 0.35),
95 % intervals of rates of 1 to 3 % contained the truth in 76 to 94 % of samples, of 6 % in 90 to
93 %, of 0.3 % or less in 99 %; for 150 people in 89 % or more, and for people who are alike in 93 %
or more. The page on intervals of the documentation compares wider bounds.

Variances are dyadic-robust: two comparisons are dependent if they share a person (Aronow, Samii &
Assenova 2015, *Cluster-robust variance estimation for dyadic data*).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from freqlab.statistics.error_rates import Comparisons, equal_error_rate, error_curve

__all__ = [
    "FEW_ERR",
    "RateEstimate",
    "dyadic_variance",
    "eer_estimate",
    "eer_threshold",
    "mean_rate",
    "rate_bounds",
    "rate_estimates",
    "variance_of_people",
    "weight_of_fnmr",
]

FEW_ERR = 10
"""With fewer people who err, percentiles of bootstrap draws of a rate are too narrow."""

Floats = npt.NDArray[np.float64]


class RateEstimate(NamedTuple):
    """Error rates with their intervals, and the people who err."""

    estimates: Floats
    """``(..., 3)``: value, lower, upper; bounds are NaN with fewer than two people."""
    n_erring: npt.NDArray[np.int64]
    """People in at least one wrong comparison ``(...)``."""


def rate_bounds(
    rate: float, variance: float, *, error_size: float, n_people: int, level: float
) -> tuple[float, float]:
    """Interval of an error rate whose comparisons share people.

    Parameters
    ----------
    rate
        The observed rate, 0..1.
    variance
        Its variance over people.
    error_size
        Change of the rate by one more error: one over the number of photographs, or of couples.
    n_people
        Number of people with comparisons.
    level
        Coverage.

    Returns
    -------
    lower, upper : float
        NaN if the rate is NaN, or with fewer than two people, of whom no variance is known.
    """
    if not math.isfinite(rate) or n_people < 2:
        return math.nan, math.nan
    tail = (1 - level) / 2
    people = (stats.norm.ppf(tail) / stats.t.ppf(tail, n_people - 1)) ** 2
    trials = people * (rate * (1 - rate) + error_size) / (variance + error_size**2)
    errors, right = rate * trials, (1 - rate) * trials
    of_none = 1 - tail ** (error_size / people)  # upper bound of a rate of zero
    lower, upper = 0.0, 1.0
    if rate > 0:  # errors never narrow the bound
        lower = min(float(stats.beta.ppf(tail, errors, right + 1)), 1 - of_none)
    if rate < 1:
        upper = max(float(stats.beta.ppf(1 - tail, errors + 1, right)), of_none)
    return lower, upper


def dyadic_variance(
    contributions: Floats, subjects: npt.NDArray[np.integer], *, least: float = 1.0
) -> Floats:
    """Variance over people of a sum over pairs, two pairs being dependent if they share a person.

    Parameters
    ----------
    contributions
        Contribution of each pair to the sum, of mean zero ``(pair, ...)``.
    subjects
        Numbers of the two subjects of each pair ``(2, pair)``.
    least
        Smallest variance returned, relative to that of independent couples.

    Returns
    -------
    numpy.ndarray
        ``(...)``; NaN with fewer than two people.
    """
    people, ends = np.unique(subjects, return_inverse=True)
    ends, n = ends.reshape(subjects.shape), len(people)
    flat = contributions.reshape(len(contributions), -1)
    if n < 2:
        return np.full(contributions.shape[1:], np.nan)
    couple = ends.min(axis=0) * n + ends.max(axis=0)
    couples, of_pair = np.unique(couple, return_inverse=True)
    of_couples = _summed(flat, of_pair, len(couples))
    first, second = np.divmod(couples, n)
    of_people = _summed(of_couples, first, n)
    two = first != second
    of_people += _summed(of_couples[two], second[two], n)
    of_two = (of_couples[two] ** 2).sum(axis=0)
    smallest = least * (of_couples**2).sum(axis=0)
    variance = variance_of_people(of_people, of_two, n, least=smallest)
    return np.asarray(variance).reshape(contributions.shape[1:])


def variance_of_people(
    of_people: Floats,
    of_couples: Floats | float,
    n_people: int,
    least: Floats | float | None = None,
) -> Floats | float:
    """Variance over people of a sum over pairs, from the sums over the pairs of each person.

    Parameters
    ----------
    of_people
        Contribution of the pairs of each person ``(person, ...)``.
    of_couples
        Sum of the squared contributions of each two different people ``(...)``, which the squares
        of both people contain.
    n_people
        Number of people with pairs.
    least
        Smallest sum of squares ``(...)``; `of_couples`, the one of independent couples, by default.

    Returns
    -------
    float or numpy.ndarray
        ``(...)``; NaN with fewer than two people.
    """
    if n_people < 2:
        return math.nan
    squares = np.maximum(
        (of_people**2).sum(axis=0) - of_couples, of_couples if least is None else least
    )
    # contributions are deviations from a mean of these people
    return n_people / (n_people - 1) * squares


def _summed(values: Floats, group: npt.NDArray[np.integer], n: int) -> Floats:
    """Sum the rows of each group ``(group, ...)``."""
    members = sparse.csr_array(
        (np.ones(len(group)), (group, np.arange(len(group)))), (n, len(group))
    )
    return np.asarray(members @ values)


def mean_rate(
    wrong: Floats,
    subjects: npt.NDArray[np.integer],
    *,
    n_photographs: int | None = None,
    level: float,
) -> RateEstimate:
    """Estimate a rate as the mean over pairs, with its interval.

    Parameters
    ----------
    wrong
        Whether each pair errs, or the share in which it does ``(pair,)``, 0..1.
    subjects
        Numbers of the two subjects of each pair ``(2, pair)``.
    n_photographs
        Number of photographs, for pairs of one person; by default the number of couples counts.
    level
        Coverage.
    """
    if len(wrong) == 0:
        return RateEstimate(np.full(3, np.nan), np.array(0))
    rate = float(wrong.mean())
    variance = float(dyadic_variance((wrong - rate) / len(wrong), subjects))
    n_couples = np.unique(np.sort(subjects, axis=0), axis=1).shape[1]
    n_units = min(n_photographs or n_couples, len(wrong))
    n_people = len(np.unique(subjects))
    bounds = rate_bounds(rate, variance, error_size=1 / n_units, n_people=n_people, level=level)
    n_erring = len(np.unique(subjects[:, wrong > 0]))
    return RateEstimate(np.array([rate, *bounds]), np.array(n_erring))


def rate_estimates(
    comparisons: Comparisons, thresholds: Floats, level: float, *, genuine: bool
) -> RateEstimate:
    """Estimate false non-match rates (`genuine`) or false match rates at fixed thresholds.

    Parameters
    ----------
    comparisons
        The comparisons.
    thresholds
        ``(threshold,)``; the rates are NaN at a threshold that is NaN.
    level
        Coverage.
    genuine
        True for false non-match rates, False for false match rates.
    """
    kind = _Kind.of(comparisons, genuine=genuine)
    estimates = np.full((len(thresholds), 3), np.nan)
    n_erring = np.zeros(len(thresholds), np.int64)
    if len(kind.scores) == 0:
        return RateEstimate(estimates, n_erring)
    for k in np.flatnonzero(np.isfinite(thresholds)):
        errors = kind.errors_at(float(thresholds[k]))
        variance = errors.variance()
        bounds = rate_bounds(
            *(errors.rate, variance),
            error_size=kind.error_size,
            n_people=kind.n_people,
            level=level,
        )
        estimates[k], n_erring[k] = (errors.rate, *bounds), errors.n_erring
    return RateEstimate(estimates, n_erring)


def eer_estimate(comparisons: Comparisons, level: float) -> RateEstimate:
    """Estimate the equal error rate with its interval.

    Its variance is that of the false non-match rate and the false match rate at its threshold,
    each weighted by how fast the other changes with the threshold.

    Returns
    -------
    RateEstimate
        Value, lower, upper ``(3,)``: NaN without genuine or without impostor comparisons, bounds
        also with fewer than three people. ``n_erring``: people in a false non-match at the
        threshold of the equal error rate.
    """
    scores = comparisons.by_kind
    value = equal_error_rate(*scores)
    kinds = [_Kind.of(comparisons, genuine=genuine) for genuine in (True, False)]
    n_people = min(kind.n_people for kind in kinds)
    if not math.isfinite(value):
        return RateEstimate(np.full(3, np.nan), np.array(0))
    threshold = eer_threshold(*scores)
    errors = [kind.errors_at(threshold) for kind in kinds]
    if n_people < 3:  # two people are one couple, whose variance is not known
        return RateEstimate(np.array([value, np.nan, np.nan]), np.array(errors[0].n_erring))
    weight = weight_of_fnmr(kinds[0].scores, kinds[1].scores, value)
    n_subjects = comparisons.n_subjects
    of_people = np.zeros(n_subjects)
    for part, share in zip(errors, (weight, 1 - weight), strict=True):
        of_people += share * part.of_people
    of_couples = (1 - weight) ** 2 * errors[1].of_couples
    variance = float(variance_of_people(of_people, of_couples, n_people))
    bounds = rate_bounds(
        value, variance, error_size=kinds[0].error_size, n_people=n_people, level=level
    )
    return RateEstimate(np.array([value, *bounds]), np.array(errors[0].n_erring))


class _Errors(NamedTuple):
    """Wrong comparisons of one kind at a threshold."""

    rate: float
    of_people: Floats
    """Contribution of each person to the rate, less the expected one ``(person,)``."""
    of_couples: float
    """Sum of the squared contributions of couples of two people."""
    n_erring: int
    n_people: int

    def variance(self) -> float:
        """Dyadic-robust variance of the rate."""
        return float(variance_of_people(self.of_people, self.of_couples, self.n_people))


class _Kind(NamedTuple):
    """Genuine or impostor comparisons, and how many each person and couple has."""

    scores: Floats
    subjects: npt.NDArray[np.int32]
    """``(2, comparison)``."""
    total: Floats
    """Comparisons of each person ``(person,)``."""
    of_couples: sparse.csr_array | None
    """Comparisons of each two people; None for genuine comparisons."""
    n_people: int
    error_size: float

    @classmethod
    def of(cls, comparisons: Comparisons, *, genuine: bool) -> _Kind:
        kind = comparisons.select(comparisons.genuine == genuine)
        faces = np.stack([kind.reference, kind.probe])
        subjects, n = comparisons.subjects[faces], comparisons.n_subjects
        total = np.bincount(subjects[0], minlength=n).astype(float)
        couples = None
        n_units = len(np.unique(faces))
        if not genuine:
            total += np.bincount(subjects[1], minlength=n)
            couples = _couples(subjects, n)
            n_units = couples.nnz
        n_units = max(1, min(n_units, len(kind.scores)))
        scores = kind.scores.astype(float)
        return cls(scores, subjects, total, couples, int((total > 0).sum()), 1 / n_units)

    def errors_at(self, threshold: float) -> _Errors:
        """Errors at a threshold: non-matches of genuine, matches of impostor comparisons."""
        n = len(self.total)
        genuine = self.of_couples is None
        wrong = self.scores < threshold if genuine else self.scores >= threshold
        subjects, count = self.subjects[:, wrong], len(self.scores)
        rate = float(wrong.mean())
        of_people = np.bincount(subjects[0], minlength=n).astype(float)
        of_couples = 0.0
        if self.of_couples is not None:
            of_people += np.bincount(subjects[1], minlength=n)
            couples, every = _couples(subjects, n), self.of_couples
            crossed = float(couples.multiply(every).sum())
            squares = [float((one.data**2).sum()) for one in (couples, every)]
            of_couples = squares[0] - 2 * rate * crossed + rate**2 * squares[1]
        n_erring = int((of_people > 0).sum())
        contributions = (of_people - rate * self.total) / count
        return _Errors(rate, contributions, of_couples / count**2, n_erring, self.n_people)


def _couples(subjects: npt.NDArray[np.int32], n: int) -> sparse.csr_array:
    """Number of comparisons of each two people, in either order ``(person, person)``."""
    ends = np.sort(subjects, axis=0)
    return sparse.coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(n, n)).tocsr()


def eer_threshold(genuine: npt.NDArray[np.floating], impostor: npt.NDArray[np.floating]) -> float:
    """Lowest threshold at which FNMR reaches FMR."""
    thresholds, fmr, fnmr = error_curve(genuine, impostor)
    return float(thresholds[int(np.argmax(fnmr >= fmr))])


def weight_of_fnmr(genuine: Floats, impostor: Floats, rate: float) -> float:
    """Weight of the false non-match rate in the equal error rate `rate`, 0..1.

    The changes of both rates are those between the thresholds at which the false match rate is
    twice and half the equal error rate.
    """
    about = min(max(rate, 5 / len(impostor)), 0.45)
    low, high = np.quantile(impostor, [1 - 2 * about, 1 - about / 2])
    of_fmr = float(((impostor >= low) & (impostor < high)).mean())
    of_fnmr = float(((genuine >= low) & (genuine < high)).mean())
    return of_fmr / (of_fmr + of_fnmr) if of_fmr + of_fnmr > 0 else 1.0

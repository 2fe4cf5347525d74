"""Intervals over subjects: comparisons share people, so they are not independent.

Owen's pigeonhole bootstrap (Owen 2007, *The pigeonhole bootstrap*): subjects are drawn with
replacement; the weight of a genuine comparison is the count of its subject, that of an impostor
comparison the product of the counts of both subjects. Intervals are percentile intervals, which
would be up to 1.7 times too wide for comparisons of two people, and are narrowed to the right width
(:func:`with_interval`). The interval of d' is that of :func:`t_interval`.
Intervals of error rates are in :mod:`freqlab.statistics.rate_intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse
from scipy.stats import norm, t

from freqlab.errors import ParameterError, check_number
from freqlab.statistics.error_rates import Comparisons, d_prime

__all__ = [
    "ESTIMATES",
    "FEWEST_PEOPLE",
    "check_draws",
    "check_level",
    "d_prime_interval",
    "draw_subjects",
    "eer_of_draws",
    "estimates_of",
    "excludes_zero",
    "linear_weights",
    "mean_with_interval",
    "means_over_pairs",
    "pair_weights",
    "percentiles",
    "rates_at",
    "subject_codes",
    "t_interval",
    "with_interval",
]

FEWEST_PEOPLE = 20
"""With fewer people, reports compare nothing in words (our choice)."""

ESTIMATES = ("value", "lower", "upper")
"""Labels of the axis ``estimate``: a value and the bounds of its interval."""

Floats = npt.NDArray[np.float64]

_DRAWS_PER_STEP = 64
_ROUNDING = 1e-9  # of the largest draw
_TINY = 1e-300

_RATES_PER_STEP = 1 << 22  # rates of draws and thresholds held in memory at once


def check_draws(n_draws: int, level: float, seed: int) -> None:
    """Refuse arguments from which no interval can be computed.

    Raises
    ------
    ParameterError
        With the name of the argument in its message.
    """
    check_number("n_draws", n_draws, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    check_level(level)


def check_level(level: float) -> None:
    """Refuse a coverage that is not between 0 and 1.

    Raises
    ------
    ParameterError
        Naming the value.
    """
    check_number("level", level, above=0)
    if level >= 1:
        raise ParameterError(f"level={level!r} must lie between 0 and 1")


def draw_subjects(n_subjects: int, n_draws: int, seed: int) -> npt.NDArray[np.int64]:
    """Number of times each subject is drawn, ``(draw, subject)``."""
    rng = np.random.default_rng(seed)
    if n_subjects == 0:
        return np.zeros((n_draws, 0), np.int64)
    return rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=n_draws)


def percentiles(values: Floats, level: float) -> tuple[float, float]:
    """Central interval that contains a share `level` of the draws; NaN if none is finite."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return math.nan, math.nan
    lower, upper = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def pair_weights(
    subjects: npt.NDArray[np.integer], draws: npt.NDArray[np.integer] | Floats
) -> Floats:
    """Weight of each pair in each draw ``(draw, pair)``: the product of its subjects' counts.

    The weight of a pair of one subject is the count of that subject. Parameters as for
    :func:`means_over_pairs`.
    """
    first, second = subjects
    return np.multiply(draws[:, first], np.where(first == second, 1.0, draws[:, second]))


def linear_weights(
    subjects: npt.NDArray[np.integer], draws: npt.NDArray[np.integer] | Floats
) -> Floats:
    """Linear part of the weight of each pair in each draw ``(draw, pair)``.

    The sum of the counts of both subjects less one; of a pair of one subject, its count.
    Parameters as for :func:`means_over_pairs`.
    """
    first, second = subjects
    return np.add(draws[:, first], np.where(first == second, 0.0, draws[:, second] - 1.0))


def means_over_pairs(
    values: Floats,
    subjects: npt.NDArray[np.int64],
    draws: npt.NDArray[np.integer],
    *,
    linear: bool = False,
) -> Floats:
    """Mean over pairs, as observed and in each bootstrap draw; NaN are left out.

    Parameters
    ----------
    values
        ``(pair, ...)``.
    subjects
        Numbers of the two subjects of each pair ``(2, pair)``.
    draws
        From :func:`draw_subjects`.
    linear
        Whether the mean in a draw is that observed plus its first-order change, by the weights of
        :func:`linear_weights`. Makes no difference if all pairs are of one subject.

    Returns
    -------
    numpy.ndarray
        ``(1 + draw, ...)``: as observed, then in each draw. NaN where there is no value. All draws
        are NaN if all pairs are of one subject, since nothing follows for other subjects.
    """
    shape = (1 + len(draws), *values.shape[1:])
    means = np.full((shape[0], math.prod(shape[1:])), np.nan)
    if len(values) == 0:
        return means.reshape(shape)
    flat = values.reshape(len(values), means.shape[1])
    filled, present = np.nan_to_num(flat), np.isfinite(flat).astype(float)

    def mean(weights: npt.NDArray[np.floating]) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((weights @ filled) / (weights @ present))

    means[:1] = mean(np.ones((1, len(values))))
    if len(np.unique(subjects)) > 1:
        steps = _steps(draws)
        if linear and (subjects[0] != subjects[1]).any():
            deviations = filled - present * np.nan_to_num(means[:1])
            changes = [linear_weights(subjects, d) @ deviations for d in steps]
            with np.errstate(invalid="ignore"):
                means[1:] = means[:1] + np.concatenate(changes) / present.sum(axis=0)
        else:
            means[1:] = np.concatenate([mean(pair_weights(subjects, d)) for d in steps])
    return means.reshape(shape)


def with_interval(
    observed: Floats,
    drawn: Floats,
    level: float,
    *,
    linear: Floats | None = None,
    n_people: int | None = None,
) -> Floats:
    """Observed values and their percentile intervals over draws.

    The noise of a pair of two people has three times its variance in the bootstrap with products of
    counts, and twice in that with their linear part. The difference of the two shows how much of
    the variance is such noise, and the interval is narrowed to what remains if it is counted once:
    the dyadic-robust variance (Aronow, Samii & Assenova 2015), with a t quantile.

    Parameters
    ----------
    observed
        Values of any shape.
    drawn
        The values in each draw, ``(draw, ...)``; NaN are left out.
    level
        Coverage.
    linear
        The values in the same draws with :func:`linear_weights`; by default all pairs are of one
        person, and the interval is that of the draws.
    n_people
        Number of people, required with `linear`.

    Returns
    -------
    numpy.ndarray
        ``(..., 3)``: value, lower, upper; bounds are NaN where every draw is NaN.
    """
    estimates = np.full((observed.size, 3), np.nan)
    estimates[:, 0] = observed.ravel()
    flat = drawn.reshape(len(drawn), -1)
    some = np.isfinite(flat).any(axis=0) & np.isfinite(estimates[:, 0])
    if some.any():
        tails = [(1 - level) / 2, (1 + level) / 2]
        estimates[some, 1:] = np.nanquantile(flat[:, some], tails, axis=0).T
    if linear is not None and n_people is not None and some.any():
        narrowed = _narrowing(flat[:, some], linear.reshape(flat.shape)[:, some], level, n_people)
        value = estimates[some, :1]
        estimates[some, 1:] = value + narrowed[:, None] * (estimates[some, 1:] - value)
    return estimates.reshape(*observed.shape, 3)


def _narrowing(drawn: Floats, linear: Floats, level: float, n_people: int) -> Floats:
    """Factor on the half-widths of the intervals of quantities ``(quantity,)``."""
    drawn, linear = (np.where(np.isfinite(one), one, np.nan) for one in (drawn, linear))
    known = np.isfinite(drawn).any(axis=0) & np.isfinite(linear).any(axis=0)
    apart = np.nan_to_num(np.abs(drawn - linear)).max(axis=0)
    of_pairs = known & (apart > _ROUNDING * np.nan_to_num(np.abs(drawn)).max(axis=0))
    factor = np.ones(drawn.shape[1])
    if of_pairs.any() and n_people > 1:
        whole, part = (np.nanvar(one[:, of_pairs], axis=0) for one in (drawn, linear))
        share = np.where(whole > 0, 2 * part / np.maximum(whole, _TINY) - 1, 1.0)
        tail = (1 + level) / 2
        few = n_people / (n_people - 1) * (t.ppf(tail, n_people - 1) / norm.ppf(tail)) ** 2
        factor[of_pairs] = np.sqrt(few * np.clip(share, 1 / 3, 1))
    return factor


def estimates_of(values: xr.DataArray) -> tuple[Floats, Floats, Floats]:
    """Split values from the lower and upper bounds of their intervals."""
    value, lower, upper = (values.sel(estimate=estimate).to_numpy() for estimate in ESTIMATES)
    return value, lower, upper


def excludes_zero(difference: xr.DataArray) -> bool:
    """Whether the interval of a difference lies above or below zero.

    Parameters
    ----------
    difference
        Along ``estimate``: value, lower, upper.

    Returns
    -------
    bool
        False where the bounds are NaN.
    """
    _, lower, upper = estimates_of(difference)
    return bool((lower > 0) | (upper < 0))


def subject_codes(
    data: xr.Dataset, columns: tuple[str, str] = ("probe_subject", "reference_subject")
) -> npt.NDArray[np.int64]:
    """Numbers of the two subjects of each pair of a result ``(2, pair)``, from two columns."""
    subjects = np.stack([data[column].to_numpy().astype(str) for column in columns])
    return np.unique(subjects, return_inverse=True)[1].reshape(subjects.shape)


def mean_with_interval(
    values: Floats, subjects: npt.NDArray[np.int64], draws: npt.NDArray[np.integer], level: float
) -> Floats:
    """Mean over pairs (the first axis) with its bootstrap interval over subjects.

    Parameters
    ----------
    values
        ``(pair, ...)``; NaN are left out.
    subjects, draws
        As for :func:`means_over_pairs`.
    level
        Coverage.

    Returns
    -------
    numpy.ndarray
        ``(..., 3)``: value, lower, upper; bounds are NaN where all pairs are of one subject.
    """
    means = means_over_pairs(values, subjects, draws)
    if (subjects[0] == subjects[1]).all():
        return with_interval(means[0], means[1:], level)
    linear = means_over_pairs(values, subjects, draws, linear=True)[1:]
    n_people = len(np.unique(subjects))
    return with_interval(means[0], means[1:], level, linear=linear, n_people=n_people)


def rates_at(
    comparisons: Comparisons,
    thresholds: Floats,
    draws: npt.NDArray[np.integer],
    *,
    genuine: bool,
) -> Floats:
    """Error rates at fixed thresholds in each bootstrap draw.

    Parameters
    ----------
    comparisons
        The comparisons.
    thresholds
        ``(threshold,)``.
    draws
        From :func:`draw_subjects`, over all ``comparisons.n_subjects``.
    genuine
        True for false non-match rates, False for false match rates.

    Returns
    -------
    numpy.ndarray
        ``(draw, threshold)``; NaN for a draw without a comparison of this kind, and for a threshold
        that is NaN.
    """
    kind = comparisons.select(comparisons.genuine == genuine)
    usable = np.isfinite(thresholds)
    error_rates = np.full((len(draws), len(thresholds)), np.nan)
    if not usable.any() or len(kind.scores) == 0:
        return error_rates
    order = np.argsort(thresholds[usable])
    edges = thresholds[usable][order]
    # number of thresholds at or below each score, at which it is a match
    bins = np.searchsorted(edges, kind.scores.astype(np.float64), side="right")
    total = _total_weights(kind, draws)
    # comparisons that are correct at every threshold count in the total only
    erring = bins < len(edges) if genuine else bins > 0
    wrong = kind.select(erring)
    wrong_bins = bins[erring]
    first, second = wrong.subjects[wrong.reference], wrong.subjects[wrong.probe]
    rates = np.empty((len(draws), len(edges)))
    for d, counts in enumerate(draws.astype(float)):
        weights = counts[first]
        if not genuine:
            weights = weights * counts[second]
        histogram = np.bincount(wrong_bins, weights=weights, minlength=len(edges) + 1)
        if genuine:  # non-matches at threshold k: fewer than k + 1 thresholds at or below
            rates[d] = np.cumsum(histogram)[:-1]
        else:
            rates[d] = np.cumsum(histogram[::-1])[::-1][1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        rates /= total[:, None]
    columns = np.flatnonzero(usable)[order]
    error_rates[:, columns] = rates
    return error_rates


def eer_of_draws(comparisons: Comparisons, draws: npt.NDArray[np.integer]) -> Floats:
    """Equal error rate in each bootstrap draw, as :func:`equal_error_rate` defines it.

    Parameters
    ----------
    comparisons
        The comparisons.
    draws
        From :func:`draw_subjects`.

    Returns
    -------
    numpy.ndarray
        ``(draw,)``; NaN for a draw without genuine or without impostor comparisons.
    """
    scores = np.unique(comparisons.scores.astype(np.float64))
    drawn = np.full(len(draws), np.nan)
    if len(scores) == 0:
        return drawn
    thresholds = np.append(scores, np.nextafter(scores[-1], np.inf))
    step = max(1, _RATES_PER_STEP // len(thresholds))
    for start in range(0, len(draws), step):
        part = draws[start : start + step]
        fnmr = rates_at(comparisons, thresholds, part, genuine=True)
        fmr = rates_at(comparisons, thresholds, part, genuine=False)
        known = np.flatnonzero(np.isfinite(fnmr + fmr).all(axis=1))
        fnmr, fmr = fnmr[known], fmr[known]
        row = np.arange(len(known))
        # at the lowest threshold FNMR is 0 and FMR is 1, at the highest the reverse
        after = np.maximum(1, (fnmr >= fmr).argmax(axis=1))
        gap_before = (fmr - fnmr)[row, after - 1]
        gap_after = (fnmr - fmr)[row, after]
        share = gap_before / (gap_before + gap_after)
        before_fnmr = fnmr[row, after - 1]
        drawn[start + known] = before_fnmr + share * (fnmr[row, after] - before_fnmr)
    return drawn


def d_prime_interval(
    comparisons: Comparisons, draws: npt.NDArray[np.integer], level: float
) -> tuple[float, float, float]:
    """Interval of d' over subjects, from the weighted moments of each bootstrap draw.

    The interval is that of :func:`t_interval`. In simulations, 95 % intervals contained the truth
    in 93 to 95 % of samples of 20 people with 4 photographs and in 92 to 97 % of samples of 40
    people with 10, unequal and alike.

    Returns
    -------
    value, lower, upper : float
    """
    value = d_prime(*comparisons.by_kind)
    is_genuine = comparisons.genuine
    n_people = _fewest_subjects(comparisons)
    if not math.isfinite(value) or n_people < 3:
        return value, math.nan, math.nan
    moments = []
    for chosen in (is_genuine, ~is_genuine):
        kind = comparisons.select(chosen)
        scores = kind.scores.astype(float)
        total, first, second = (
            _weighted_sums(kind, values, draws) for values in (scores**0, scores, scores**2)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = first / total
            moments.append((mean, second / total - mean**2))
    (mean, variance), (other_mean, other_variance) = moments
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (mean - other_mean) / np.sqrt((variance + other_variance) / 2)
    return value, *t_interval(value, drawn, n_people=n_people, level=level)


def t_interval(value: float, drawn: Floats, *, n_people: int, level: float) -> tuple[float, float]:
    """Bounds at equal distances from a value, by the spread of its bootstrap draws.

    Half the width of the percentile interval of the draws, times the ratio of the quantiles of
    Student's t and of the normal distribution, and the root of n / (n - 1): the variance of draws
    of n people is too small by this factor and is itself an estimate. Percentiles contain the bias
    of the value twice, these bounds once.

    Parameters
    ----------
    value
        The value.
    drawn
        The value in each draw ``(draw,)``; those that are not finite are left out.
    n_people
        Number of people drawn.
    level
        Coverage.

    Returns
    -------
    lower, upper : float
        NaN with fewer than two people or two finite draws.
    """
    finite = drawn[np.isfinite(drawn)]
    if n_people < 2 or len(finite) < 2:
        return math.nan, math.nan
    lower, upper = percentiles(finite, level)
    tail = (1 + level) / 2
    few = float(t.ppf(tail, n_people - 1) / norm.ppf(tail)) * math.sqrt(n_people / (n_people - 1))
    width = few * (upper - lower) / 2
    return value - width, value + width


def _fewest_subjects(comparisons: Comparisons) -> int:
    """Smaller of the numbers of subjects with genuine and with impostor comparisons."""
    fewest = []
    for kind in (comparisons.genuine, ~comparisons.genuine):
        part = comparisons.select(kind)
        faces = np.concatenate([part.reference, part.probe])
        fewest.append(len(np.unique(part.subjects[faces])))
    return min(fewest)


def _total_weights(kind: Comparisons, draws: npt.NDArray[np.integer]) -> Floats:
    """Sum of the weights of all comparisons of one kind in each draw ``(draw,)``."""
    return _weighted_sums(kind, np.ones(len(kind.scores)), draws)


def _weighted_sums(kind: Comparisons, values: Floats, draws: npt.NDArray[np.integer]) -> Floats:
    """Weighted sum of values of comparisons of one kind in each draw ``(draw,)``."""
    n = kind.n_subjects
    first, second = kind.subjects[kind.reference], kind.subjects[kind.probe]
    if len(values) == 0:
        return np.zeros(len(draws))
    if first[0] == second[0]:
        return draws.astype(float) @ np.bincount(first, weights=values, minlength=n)
    between = sparse.coo_array((values, (first, second)), shape=(n, n)).tocsr()
    return np.concatenate([(part * (between @ part.T).T).sum(axis=1) for part in _steps(draws)])


def _steps(draws: npt.NDArray[np.integer]) -> Iterator[Floats]:
    for start in range(0, len(draws), _DRAWS_PER_STEP):
        yield draws[start : start + _DRAWS_PER_STEP].astype(float)

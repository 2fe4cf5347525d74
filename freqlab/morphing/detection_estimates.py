"""Estimates of detection error rates of morphs, with intervals over people.

The pairs of a morph belong to both of its contributors, so two pairs are dependent if they share a
person. An estimate is expanded to first order in the rates of attack and bona fide pairs at its
threshold; each pair then makes a contribution to it, and the variance is the dyadic-robust variance
of the sum of the contributions (:mod:`freqlab.statistics.rate_intervals`). The contributions of the
difference of two scores are the differences of their contributions, so its interval is paired.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from freqlab.statistics.error_rates import equal_error_rate
from freqlab.statistics.rate_intervals import (
    dyadic_variance,
    eer_threshold,
    rate_bounds,
    weight_of_fnmr,
)

__all__ = ["Linearised", "bpcer_at", "d_eer_of", "differences_of", "estimates_of_rates"]

_LEAST = 0.5
"""Least variance, relative to that of independent couples.

Errors of the two kinds can cancel: people whose bona fide pairs have high scores have morphs with
high scores. The variance may therefore be smaller than that of independent couples.
"""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Linearised(NamedTuple):
    """An error rate, and how it changes with its pairs, to first order."""

    value: float
    """0..1; NaN without attack or bona fide pairs."""
    contributions: Floats
    """Contribution of each pair, of mean zero ``(pair,)``; 0 for a pair without a score."""
    error_size: float
    """Change of the rate by one more error on a document."""
    n_errors: int
    """Pairs classified wrongly at the threshold of the rate, of both kinds."""


def d_eer_of(scores: Floats, is_attack: Bools, documents: npt.NDArray[np.integer]) -> Linearised:
    """Compute the detection equal error rate.

    A pair is classified as an attack when its score is at or above the threshold.

    Parameters
    ----------
    scores
        Scores ``(pair,)``, larger for pairs that look more like attacks; NaN are left out.
    is_attack
        Whether each pair is an attack ``(pair,)``; the others are bona fide.
    documents
        Number of the document of each pair ``(pair,)``.
    """
    attacks, bona_fide = _kinds(scores, is_attack)
    contributions = np.zeros(len(scores))
    value = equal_error_rate(scores[attacks], scores[bona_fide])
    if not math.isfinite(value):
        return Linearised(value, contributions, math.nan, 0)
    threshold = eer_threshold(scores[attacks], scores[bona_fide])
    of_apcer = weight_of_fnmr(scores[attacks], scores[bona_fide], value)
    sizes = []
    for kind, weight in ((attacks, of_apcer), (bona_fide, 1 - of_apcer)):
        contributions[kind] = weight * _deviations(scores[kind], threshold, kind is attacks)
        sizes.append(weight / len(np.unique(documents[kind])))
    n_errors = (scores[attacks] < threshold).sum() + (scores[bona_fide] >= threshold).sum()
    return Linearised(value, contributions, max(sizes), int(n_errors))


def bpcer_at(
    scores: Floats,
    is_attack: Bools,
    documents: npt.NDArray[np.integer],
    people: npt.NDArray[np.integer],
    apcer: float,
) -> Linearised:
    """Compute the lowest BPCER at a given APCER or less.

    The threshold is a quantile of the attacks. How fast BPCER changes with APCER is measured
    between the thresholds at which APCER is one standard error lower and higher (Woodruff 1952).

    Parameters
    ----------
    scores, is_attack, documents
        As for :func:`d_eer_of`.
    people
        Numbers of the two contributors of each pair ``(2, pair)``.
    apcer
        Largest APCER, 0..1.
    """
    attacks, bona_fide = _kinds(scores, is_attack)
    contributions = np.zeros(len(scores))
    if not (attacks.any() and bona_fide.any()):
        return Linearised(math.nan, contributions, math.nan, 0)
    ordered = np.sort(scores[attacks])
    others = np.sort(scores[bona_fide])

    def bpcer(share: float) -> tuple[float, float]:
        """Threshold below which at most a share of the attacks lies, and BPCER there."""
        allowed = math.floor(min(max(share, 0.0), 1.0) * len(ordered) + 1e-9)
        threshold = float(ordered[allowed]) if allowed < len(ordered) else math.inf
        return threshold, 1 - float(np.searchsorted(others, threshold)) / len(others)

    threshold, value = bpcer(apcer)
    of_attacks = _deviations(scores[attacks], threshold, True)
    variance = float(dyadic_variance(of_attacks, people[:, attacks], least=_LEAST))
    error = math.sqrt(variance + len(np.unique(documents[attacks])) ** -2)
    slope = 0.0
    if math.isfinite(error) and error > 0:
        low, high = max(0.0, apcer - error), min(1.0, apcer + error)
        slope = (bpcer(low)[1] - bpcer(high)[1]) / (high - low)
    contributions[attacks] = slope * of_attacks
    contributions[bona_fide] = _deviations(scores[bona_fide], threshold, False)
    n_errors = (scores[attacks] < threshold).sum() + (scores[bona_fide] >= threshold).sum()
    error_size = 1 / len(np.unique(documents[bona_fide]))
    return Linearised(value, contributions, error_size, int(n_errors))


def estimates_of_rates(
    rates: list[Linearised], people: npt.NDArray[np.integer], *, n_people: int, level: float
) -> Floats:
    """Compute the intervals of rates over the same pairs.

    Parameters
    ----------
    rates
        The rates.
    people
        Numbers of the two contributors of each pair ``(2, pair)``.
    n_people
        Number of people of the kind of pairs that has fewer.
    level
        Coverage.

    Returns
    -------
    numpy.ndarray
        ``(rate, 3)``: value, lower, upper; bounds are NaN with fewer than three people.
    """
    estimates = np.full((len(rates), 3), np.nan)
    if not rates or not people.shape[1]:
        return estimates
    contributions = np.stack([rate.contributions for rate in rates], axis=1)
    variances = dyadic_variance(contributions, people, least=_LEAST)
    for k, (rate, variance) in enumerate(zip(rates, variances, strict=True)):
        estimates[k, 0] = rate.value
        if n_people >= 3 and math.isfinite(rate.value):
            estimates[k, 1:] = rate_bounds(
                *(rate.value, float(variance)),
                error_size=rate.error_size,
                n_people=n_people,
                level=level,
            )
    return estimates


def differences_of(
    rates: list[Linearised],
    baselines: list[int],
    people: npt.NDArray[np.integer],
    *,
    n_people: int,
    level: float,
) -> Floats:
    """Compute the differences of rates over the same pairs from baselines, paired.

    One more document on which only one of the two errs is added to the variance, so that it is not
    zero where both err on the same pairs.

    Parameters
    ----------
    rates
        The rates.
    baselines
        Positions of the rates with which all are compared.
    people, n_people, level
        As for :func:`estimates_of_rates`.

    Returns
    -------
    numpy.ndarray
        ``(rate, baseline, 3)``: value, lower, upper; NaN for a baseline and itself.
    """
    differences = np.full((len(rates), len(baselines), 3), np.nan)
    values = np.array([rate.value for rate in rates])
    differences[..., 0] = values[:, None] - values[baselines]
    if n_people >= 3 and people.shape[1]:
        contributions = np.stack([rate.contributions for rate in rates], axis=1)
        change = contributions[:, :, None] - contributions[:, None, baselines]
        sizes = np.array([rate.error_size for rate in rates])
        variance = dyadic_variance(change, people, least=_LEAST)
        variance += sizes[:, None] * sizes[baselines]
        width = stats.t.ppf((1 + level) / 2, n_people - 1) * np.sqrt(variance)
        differences[..., 1] = np.maximum(-1, differences[..., 0] - width)
        differences[..., 2] = np.minimum(1, differences[..., 0] + width)
    differences[baselines, range(len(baselines))] = np.nan
    return differences


def _kinds(scores: Floats, is_attack: Bools) -> tuple[Bools, Bools]:
    """Attack and bona fide pairs that have a score."""
    scored = np.isfinite(scores)
    return is_attack & scored, ~is_attack & scored


def _deviations(scores: Floats, threshold: float, attacks: bool) -> Floats:
    """Deviation of each error from the rate, divided by the number of pairs."""
    wrong = scores < threshold if attacks else scores >= threshold
    return np.asarray((wrong - wrong.mean()) / len(wrong))

"""Figures of log-likelihood ratios: Cllr, its minimum, calibration error and reliability.

Cllr and its minimum are those of Brümmer and du Preez (2006), in bits: the cost of the natural
log-likelihood ratios of genuine and impostor pairs, averaged with equal weights for both kinds. The
minimum is the cost after the best monotonic recalibration on the same pairs (pool adjacent
violators); the difference of the two is the loss by calibration. A system that tells nothing (a
ratio of one for every pair) has a Cllr of one.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from freqlab.errors import ParameterError

__all__ = [
    "calibration_error",
    "check_kinds",
    "check_prior",
    "cllr",
    "costs_of",
    "min_cllr",
    "probability_of",
    "reliability",
]

N_BINS = 10

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


def cllr(log_likelihood_ratios: Floats, genuine: Bools) -> float:
    """Cost of log-likelihood ratios, Cllr, in bits.

    Parameters
    ----------
    log_likelihood_ratios
        Natural logarithms ``(pair,)``.
    genuine
        Whether each pair is genuine ``(pair,)``.

    Returns
    -------
    float
        Bits; 0 for perfect ratios, 1 for ratios that carry no information.

    Raises
    ------
    ParameterError
        If a kind of pairs is missing, or a value is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> genuine = np.array([True, True, False, False])
    >>> fl.improve.cllr(np.zeros(4), genuine)  # likelihood ratios of 1 say nothing: one bit
    1.0
    """
    ratios, is_genuine = _checked(log_likelihood_ratios, genuine)
    costs = costs_of(ratios, is_genuine)
    return float((costs[is_genuine].mean() + costs[~is_genuine].mean()) / 2)


def costs_of(log_likelihood_ratios: Floats, genuine: Bools) -> npt.NDArray[np.float64]:
    """Cost of each pair in bits ``(pair,)``: log2(1 + 1/LR) if genuine, log2(1 + LR) if not."""
    signs = np.where(genuine, -1.0, 1.0)
    return np.logaddexp(0, signs * np.asarray(log_likelihood_ratios, float)) / math.log(2)


def min_cllr(scores: Floats, genuine: Bools) -> float:
    """Smallest Cllr that a monotonic function of the scores has on these pairs, in bits.

    Parameters
    ----------
    scores
        Scores ``(pair,)``, larger for genuine pairs; log-likelihood ratios or others.
    genuine
        Whether each pair is genuine ``(pair,)``.

    Returns
    -------
    float
        Bits; at most the Cllr of the scores.

    Raises
    ------
    ParameterError
        If a kind of pairs is missing, or a value is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> genuine = np.array([True, True, False, False])
    >>> fl.improve.min_cllr(np.array([0.9, 0.8, 0.2, 0.1]), genuine)
    0.0
    """
    from sklearn.isotonic import IsotonicRegression

    values, is_genuine = _checked(scores, genuine)
    weights = np.where(is_genuine, 0.5 / is_genuine.sum(), 0.5 / (~is_genuine).sum())
    pav = IsotonicRegression(y_min=0, y_max=1)
    # scikit-learn pools equal scores before it fits
    pav.fit(values, is_genuine.astype(float), weights)
    fitted = np.clip(pav.predict(values), 0, 1)
    with np.errstate(divide="ignore"):
        costs = -np.log2(np.where(is_genuine, fitted, 1 - fitted))
    return float((weights * costs).sum())


def probability_of(log_likelihood_ratios: Floats, prior: float) -> npt.NDArray[np.float64]:
    """Probability that a pair is genuine, at a prior probability.

    Parameters
    ----------
    log_likelihood_ratios
        Natural logarithms ``(pair,)``.
    prior
        Prior probability of a genuine pair, 0 to 1.

    Returns
    -------
    numpy.ndarray
        Probabilities ``(pair,)``, 0 to 1.

    Raises
    ------
    ParameterError
        If the prior is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> fl.improve.probability_of(np.array([0.0, np.log(9)]), 0.5).round(3)
    array([0.5, 0.9])
    """
    from scipy.special import expit

    check_prior(prior)
    return np.asarray(expit(np.asarray(log_likelihood_ratios, float) + _log_odds(prior)))


def reliability(
    probabilities: Floats, genuine: Bools, *, prior: float, weights: Floats | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean probability and share of genuine pairs in bins of probability of equal width.

    Both are as they would be if the share of genuine pairs were the prior.

    Parameters
    ----------
    probabilities
        Of each pair to be genuine ``(pair,)``, from :func:`probability_of` at `prior`.
    genuine
        Whether each pair is genuine ``(pair,)``.
    prior
        Prior probability of a genuine pair.
    weights
        Weight of each pair ``(pair,)``; equal by default.

    Returns
    -------
    predicted, observed, share : numpy.ndarray
        ``(bin,)``: mean probability and share of genuine pairs, NaN in an empty bin, and the share
        of all pairs that are in the bin.
    """
    given = np.ones(len(genuine)) if weights is None else np.asarray(weights, float)
    of_kind = [given[genuine].sum(), given[~genuine].sum()]
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(genuine, prior / of_kind[0], (1 - prior) / of_kind[1]) * given
    place = np.clip((np.asarray(probabilities) * N_BINS).astype(int), 0, N_BINS - 1)

    def summed(values: Floats) -> npt.NDArray[np.float64]:
        return np.asarray(np.bincount(place, weights=values, minlength=N_BINS), float)

    share = summed(scaled)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = summed(scaled * probabilities) / share
        return predicted, summed(scaled * genuine) / share, share


def calibration_error(probabilities: Floats, genuine: Bools, *, prior: float) -> float:
    """Expected calibration error: mean distance of both curves of :func:`reliability`, 0..1.

    Parameters
    ----------
    probabilities, genuine, prior
        As for :func:`reliability`.

    Returns
    -------
    float
        0 to 1; 0 for perfect calibration.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> genuine = np.array([True, True, False, False])
    >>> error = fl.improve.calibration_error(np.array([1.0, 1.0, 0.0, 0.0]), genuine, prior=0.5)
    >>> round(error, 6)
    0.0
    """
    check_prior(prior)
    predicted, observed, share = reliability(probabilities, genuine, prior=prior)
    return float(np.nansum(share * np.abs(predicted - observed)))


def check_prior(prior: float) -> None:
    """Refuse priors that are not between 0 and 1.

    Raises
    ------
    ParameterError
        Naming the value.
    """
    number = isinstance(prior, (int, float, np.number)) and not isinstance(prior, bool)
    if not number or not 0 < prior < 1:
        raise ParameterError(f"prior={prior!r} must be a probability between 0 and 1")


def check_kinds(genuine: Bools, usable: Bools) -> None:
    """Refuse pairs of which no genuine or no impostor pair is usable.

    Raises
    ------
    ParameterError
        With the missing kind and the number of pairs that are NaN.
    """
    for kind, n in (
        ("genuine", int((genuine & usable).sum())),
        ("impostor", int((~genuine & usable).sum())),
    ):
        if n == 0:
            n_nan = int((~usable).sum())
            raise ParameterError(
                f"result: there are no {kind} pairs with similarity and influence ({n_nan:,} of "
                f"{len(usable):,} pairs are NaN); both kinds are required"
            )


def _log_odds(prior: float) -> float:
    return math.log(prior) - math.log1p(-prior)


def _checked(values: Floats, genuine: Bools) -> tuple[npt.NDArray[np.float64], Bools]:
    numbers, kinds = np.asarray(values, float), np.asarray(genuine, bool)
    if numbers.shape != kinds.shape or numbers.ndim != 1:
        raise ParameterError(
            f"genuine has shape {kinds.shape} for scores of shape {numbers.shape}; both must be "
            f"(pair,)"
        )
    if np.isnan(numbers).any():
        raise ParameterError(
            f"scores: {int(np.isnan(numbers).sum()):,} of {len(numbers):,} are NaN; leave these "
            f"pairs out"
        )
    for kind, n in (("genuine", kinds.sum()), ("impostor", (~kinds).sum())):
        if n == 0:
            raise ParameterError(f"genuine: there are no {kind} pairs; both kinds are required")
    return numbers, kinds

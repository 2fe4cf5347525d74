"""Fits of log-likelihood ratios, and the folds of people that keep fit and test apart.

People are dealt into folds. A pair is scored by a fit on the pairs of which both people are in
other folds than its own people, so that no person is in the fit and in the test.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from freqlab.errors import ParameterError, check_number
from freqlab.improve.likelihoods import cllr

__all__ = [
    "FEWEST_FOLDS",
    "PENALTIES",
    "check_penalty",
    "fold_parts",
    "isotonic",
    "learnt_on_others",
    "logistic",
    "penalised",
]

FEWEST_FOLDS = 3
"""Smallest number of folds: two people of a pair may be in two folds, and a fit needs a third."""

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Penalties from which that of a fit is chosen."""

_FEWEST_PER_FIT = 10  # pairs of each kind

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def fold_parts(
    subjects: npt.NDArray[np.int64], usable: Bools, genuine: Bools, *, folds: int, seed: int
) -> Iterator[tuple[Bools, Bools]]:
    """Split pairs so that no person is in the fit and in the test.

    Parameters
    ----------
    subjects
        Numbers of the two subjects of each pair ``(2, pair)``.
    usable
        Pairs with all values ``(pair,)``.
    genuine
        Whether each pair is genuine ``(pair,)``.
    folds
        Number of folds of people.
    seed
        Seed of the assignment.

    Yields
    ------
    fit_on, tested : numpy.ndarray
        Whether each pair is in the fit and in the test ``(pair,)``. Every usable pair is tested
        once.

    Raises
    ------
    ParameterError
        If there are too few people, or a fit would have too few pairs of a kind.
    """
    people = np.unique(subjects[:, usable & genuine])
    if len(people) < 2 * folds:
        raise ParameterError(
            f"folds={folds}: {len(people)} people have genuine pairs; {2 * folds} or more are "
            f"required, two per fold"
        )
    n_all = int(subjects.max()) + 1
    of_person = np.empty(n_all, np.int64)
    rng = np.random.default_rng(seed)
    of_person[people] = rng.permutation(len(people)) % folds  # folds of equal size
    rest = np.setdiff1d(np.arange(n_all), people)
    of_person[rest] = rng.permutation(len(rest)) % folds
    of_pair = of_person[subjects]
    low, high = of_pair.min(axis=0), of_pair.max(axis=0)
    for i, j in itertools.combinations_with_replacement(range(folds), 2):
        tested = (low == i) & (high == j) & usable
        if not tested.any():
            continue
        fit_on = ~np.isin(of_pair, [i, j]).any(axis=0) & usable
        for kind, n in (
            ("genuine", int((fit_on & genuine).sum())),
            ("impostor", int((fit_on & ~genuine).sum())),
        ):
            if n < _FEWEST_PER_FIT:
                raise ParameterError(
                    f"folds={folds}: a fit would have {n} {kind} pairs of people who are not in "
                    f"its test; {_FEWEST_PER_FIT} or more are required"
                )
        yield fit_on, tested


def learnt_on_others(
    features: Floats,
    genuine: Bools,
    subjects: npt.NDArray[np.int64],
    *,
    folds: int,
    penalty: float | None,
    seed: int,
) -> Floats:
    """Log-likelihood ratio of each pair by logistic regression on pairs of other people.

    Parameters
    ----------
    features
        ``(pair, feature)``; a pair with NaN is neither fitted nor scored.
    genuine, subjects, folds, seed
        As for :func:`fold_parts`.
    penalty
        As for :func:`freqlab.improve.calibrate`.

    Returns
    -------
    numpy.ndarray
        ``(pair,)``.
    """
    usable = np.asarray(np.isfinite(features).all(axis=1))
    ratios = np.full(len(features), np.nan)
    for fit_on, tested in fold_parts(subjects, usable, genuine, folds=folds, seed=seed):
        fitted = penalised(features[fit_on], genuine[fit_on], subjects[:, fit_on], penalty)
        ratios[tested] = fitted(features[tested])
    return ratios


def check_penalty(penalty: float | None) -> None:
    """Refuse penalties that are neither None nor above zero.

    Raises
    ------
    ParameterError
        Naming the value.
    """
    if penalty is not None:
        check_number("penalty", penalty, above=0)


def penalised(
    values: Floats, genuine: Bools, subjects: npt.NDArray[np.int64], penalty: float | None
) -> Callable[[Floats], Floats]:
    """Fit logistic regression with a given penalty, or one chosen on the pairs of the fit.

    Parameters
    ----------
    values, genuine
        As for :func:`logistic`.
    subjects
        Numbers of the two subjects of each pair ``(2, pair)``.
    penalty
        The penalty; None to choose it: people are halved, each half is scored by a fit on the
        other, and the penalty of lowest Cllr is taken.
    """
    if penalty is None:
        people = np.unique(subjects[:, genuine])
        half = np.isin(subjects, people[::2])
        parts = [half.all(axis=0), (~half).all(axis=0)]
        costs = []
        for tried in PENALTIES:
            ratios = [
                logistic(values[fit_on], genuine[fit_on], tried)(values[tested])
                for fit_on, tested in (parts, parts[::-1])
            ]
            tested = np.concatenate([genuine[parts[1]], genuine[parts[0]]])
            costs.append(cllr(np.concatenate(ratios), tested))
        penalty = PENALTIES[int(np.argmin(costs))]
    return logistic(values, genuine, penalty)


def logistic(values: Floats, genuine: Bools, penalty: float) -> Callable[[Floats], Floats]:
    """Fit logistic regression with both kinds of equal weight, so that it gives the ratio itself.

    Parameters
    ----------
    values
        Features ``(pair, feature)``, standardised here.
    genuine
        Whether each pair is genuine ``(pair,)``.
    penalty
        Strength of the quadratic penalty, relative to the mean loss per pair.

    Returns
    -------
    callable
        Log-likelihood ratio ``(pair,)`` of values.
    """
    from sklearn.linear_model import LogisticRegression

    mean, spread = values.mean(axis=0), values.std(axis=0)
    spread[spread == 0] = 1.0
    strength = 1 / (penalty * len(values))
    regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    regression.fit((values - mean) / spread, genuine)

    def ratio(others: Floats) -> Floats:
        return np.asarray(regression.decision_function((others - mean) / spread), float)

    return ratio


def isotonic(
    values: Floats, genuine: Bools, subjects: npt.NDArray[np.int64]
) -> Callable[[Floats], Floats]:
    """Fit isotonic regression of the similarity, both kinds of equal weight.

    Probabilities of zero and one, which would be infinite ratios, are limited to what one more pair
    of the other kind would have given.
    """
    from scipy.special import logit
    from sklearn.isotonic import IsotonicRegression

    n = np.array([(~genuine).sum(), genuine.sum()], float)
    weights = 0.5 / n[genuine.astype(int)]
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    fitted.fit(values[:, 0], genuine.astype(float), weights)
    lowest, highest = 0.5 / (n[1] + 1), 1 - 0.5 / (n[0] + 1)

    def ratio(others: Floats) -> Floats:
        return np.asarray(logit(np.clip(fitted.predict(others[:, 0]), lowest, highest)), float)

    return ratio

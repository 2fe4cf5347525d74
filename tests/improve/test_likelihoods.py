"""Cllr and its relatives against closed forms, quadrature and brute force."""

import itertools

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.metrics import log_loss

from freqlab.errors import ParameterError
from freqlab.improve.likelihoods import (
    calibration_error,
    cllr,
    min_cllr,
    probability_of,
    reliability,
)


def gaussian_pair(separation, n, seed=0):
    """Scores that are the log-likelihood ratio of two normals with means +-d^2/2, variance d^2."""
    rng = np.random.default_rng(seed)
    half = separation**2 / 2
    ratios = np.concatenate([rng.normal(half, separation, n), rng.normal(-half, separation, n)])
    return ratios, np.arange(2 * n) < n


@pytest.mark.parametrize("separation", [0.5, 2.0, 4.0])
def test_cllr_of_a_known_gaussian_pair(separation):
    half = separation**2 / 2
    expected = integrate.quad(
        lambda x: np.logaddexp(0, -x) / np.log(2) * stats.norm.pdf(x, half, separation),
        half - 12 * separation,
        half + 12 * separation,
    )[0]
    ratios, genuine = gaussian_pair(separation, 200_000)
    assert cllr(ratios, genuine) == pytest.approx(expected, abs=0.005)
    # these ratios are calibrated, so that nothing is to be won by another calibration
    assert min_cllr(ratios, genuine) == pytest.approx(expected, abs=0.006)
    assert min_cllr(ratios, genuine) <= cllr(ratios, genuine)


def test_cllr_is_the_mean_of_two_log_losses():
    ratios, genuine = gaussian_pair(1.5, 300)
    ratios, genuine = ratios[:450], genuine[:450]
    weights = np.where(genuine, 1 / genuine.sum(), 1 / (~genuine).sum())
    probability = 1 / (1 + np.exp(-ratios))
    expected = log_loss(genuine, probability, sample_weight=weights) / np.log(2)
    assert cllr(ratios, genuine) == pytest.approx(expected, rel=1e-9)


def test_a_ratio_of_one_costs_one_bit_and_perfect_ratios_nothing():
    genuine = np.array([True, False, False])
    assert cllr(np.zeros(3), genuine) == 1
    assert cllr(np.where(genuine, 50.0, -50.0), genuine) < 1e-12
    assert min_cllr(np.array([3.0, 1.0, 2.0]), genuine) == 0
    assert min_cllr(np.zeros(3), genuine) == pytest.approx(1)


def test_the_smallest_cllr_against_every_monotonic_step_function():
    rng = np.random.default_rng(3)
    scores = np.array([0.0, 1, 1, 2, 3, 4])
    for _ in range(4):
        genuine = rng.permutation([True, True, True, False, False, False])
        levels = np.linspace(0, 1, 13)
        best = np.inf
        for values in itertools.combinations_with_replacement(levels, 5):
            p = np.asarray(values)[[0, 1, 1, 2, 3, 4]]
            with np.errstate(divide="ignore"):
                costs = -np.log2(np.where(genuine, p, 1 - p))
            best = min(best, (costs[genuine].mean() + costs[~genuine].mean()) / 2)
        found = min_cllr(scores, genuine)
        assert found <= best + 1e-12
        assert best - found < 0.05  # the grid is coarse


def test_the_smallest_cllr_depends_on_the_order_alone():
    ratios, genuine = gaussian_pair(2, 500)
    assert min_cllr(np.tanh(ratios), genuine) == pytest.approx(min_cllr(ratios, genuine))


def test_the_probability_follows_from_bayes():
    assert probability_of(np.log([1.0, 9.0]), 0.5) == pytest.approx([0.5, 0.9])
    assert probability_of(np.log([1.0, 99.0]), 0.01) == pytest.approx([0.01, 0.5])


def test_reliability_of_calibrated_ratios_is_the_diagonal():
    ratios, genuine = gaussian_pair(1.5, 200_000)
    chosen = genuine | (np.arange(len(genuine)) % 4 == 0)  # the share of genuine pairs is 0.8
    for prior in (0.5, 0.1):
        probability = probability_of(ratios[chosen], prior)
        predicted, observed, share = reliability(probability, genuine[chosen], prior=prior)
        full = share > 0.01
        assert observed[full] == pytest.approx(predicted[full], abs=0.03)
        assert share.sum() == pytest.approx(1)
        assert calibration_error(probability, genuine[chosen], prior=prior) < 0.01
        overconfident = probability_of(3 * ratios[chosen], prior)
        assert calibration_error(overconfident, genuine[chosen], prior=prior) > 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cllr(np.zeros(2), np.array([True, True])), "no impostor pairs"),
        (lambda: min_cllr(np.zeros(2), np.array([False, False])), "no genuine pairs"),
        (lambda: cllr(np.array([0, np.nan]), np.array([True, False])), "1 of 2 are NaN"),
        (lambda: cllr(np.zeros(2), np.array([True])), r"genuine has shape \(1,\)"),
        (lambda: probability_of(np.zeros(2), 1.0), "prior=1.0 must be a probability"),
        (lambda: probability_of(np.zeros(2), "0.5"), "prior='0.5' must be a probability"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ParameterError, match=message):
        call()

"""Paired differences: percentiles of the differences by draw, and coverage of a simulated truth."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from freqlab.morphing.detection import detection_rates
from freqlab.morphing.paired import (
    excludes_zero,
    match_rate_difference,
    paired_difference,
    points,
)
from freqlab.statistics.rate_intervals import mean_rate
from freqlab.statistics.resampling import ESTIMATES, draw_subjects, pair_weights

NBSP = "\u00a0"


def difference(*estimates):
    return xr.DataArray(list(estimates), coords={"estimate": list(ESTIMATES)})


def test_the_interval_is_that_of_the_differences_by_draw():
    rng = np.random.default_rng(0)
    shared = rng.uniform(0.2, 0.6, (201, 3))
    first, second = shared + 0.1 + rng.normal(0, 0.01, (201, 3)), shared
    found = paired_difference(first, second, n_people=50, level=0.9)
    np.testing.assert_allclose(found[:, 0], first[0] - second[0])
    expected = np.quantile((first - second)[1:], [0.05, 0.95], axis=0).T
    np.testing.assert_allclose(found[:, 1:], expected)


def test_a_difference_is_found_although_the_intervals_of_the_rates_overlap():
    """What two rates share is large and cancels; the difference itself is known well."""
    rng = np.random.default_rng(1)
    shared = rng.normal(0.4, 0.1, 1001)
    first, second = shared + rng.normal(0.05, 0.01, 1001), shared
    bounds = [np.quantile(rate[1:], [0.025, 0.975]) for rate in (first, second)]
    assert bounds[0][0] < bounds[1][1]
    found = paired_difference(first, second, n_people=50, level=0.95)
    assert excludes_zero(difference(*found))
    assert found[1] > 0


def test_differences_that_no_draw_changes_have_the_bound_of_a_rate_of_zero():
    every, none = np.ones((11, 2)), np.zeros((11, 2))
    of_30, of_2 = (stats.beta.ppf(0.975, 1, n) for n in (30, 2))
    np.testing.assert_allclose(
        paired_difference(every, every, n_people=[30, 2], level=0.95),
        [[0, -of_30, of_30], [0, -of_2, of_2]],
    )
    np.testing.assert_allclose(
        paired_difference(every, none, n_people=[30, 2], level=0.95),
        [[1, 1 - of_30, 1], [1, 1 - of_2, 1]],
    )
    assert np.isnan(paired_difference(every * np.nan, none, n_people=30, level=0.95)).all()


@pytest.mark.parametrize(
    ("estimates", "clear", "text", "magnitude"),
    [
        ((0.183, 0.05, 0.312), True, "+18.3 points [+5.0, +31.2]", "18.3 points [5.0, 31.2]"),
        ((-0.183, -0.312, -0.05), True, "-18.3 points [-31.2, -5.0]", "18.3 points [5.0, 31.2]"),
        ((0.02, -0.05, 0.1), False, "+2.0 points [-5.0, +10.0]", "2.0 points [-5.0, 10.0]"),
        ((0.02, 0.0, 0.1), False, "+2.0 points [+0.0, +10.0]", "2.0 points [0.0, 10.0]"),
        ((0.02, np.nan, np.nan), False, "+2.0 points", "2.0 points"),
        ((np.nan, np.nan, np.nan), False, "", ""),
    ],
)
def test_differences_as_text(estimates, clear, text, magnitude):
    one = difference(*estimates)
    assert excludes_zero(one) == clear
    assert points(one).replace(NBSP, " ") == text
    assert points(one, absolute=True).replace(NBSP, " ") == magnitude


@pytest.mark.parametrize(
    ("own", "noise", "edges"),
    [(0.5, 0.7, (-0.3, 0.3)), (1.0, 0.3, (-0.3, 0.3)), (0.0, 1.0, (-0.3, 0.3)), (0.5, 0.7, (1, 2))],
)
@pytest.mark.parametrize("n_partners", [1, 2])
def test_intervals_of_mmpmr_and_of_its_differences_cover_the_truth(own, noise, edges, n_partners):
    """Two kinds of morph of each couple, which match if a sum of effects exceeds a threshold.

    Both kinds share the effects of both people. The probability of a match is that of a normal
    deviate.
    """
    n, n_runs = 30, 400
    truth = stats.norm.sf(np.array(edges) / np.sqrt(2 * own**2 + noise**2))
    couples = np.concatenate(
        [[np.arange(n), (np.arange(n) + k) % n] for k in range(1, n_partners + 1)], axis=1
    )
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(n_runs):
        effect = rng.normal(0, own, n)[couples].sum(axis=0)[:, None]
        match = effect + rng.normal(0, noise, (couples.shape[1], 2)) > edges
        first, second = match.T.astype(float)
        _, lower, upper = match_rate_difference(first, second, (couples, couples), level=0.95)
        _, low, high = mean_rate(first, couples, level=0.95).estimates
        covered.append([lower <= truth[0] - truth[1] <= upper, low <= truth[0] <= high])
    assert (np.mean(covered, axis=0) >= 0.92).all()
    assert np.mean(covered, axis=0)[0] <= 0.985


def test_intervals_of_differences_in_d_eer_cover_the_truth():
    """Two normal scores of the same pairs, correlated, with known shifts under attack."""
    n, shifts = 40, np.array([1.0, 2.0])
    truth = -np.diff(stats.norm.cdf(-shifts / 2))[0]
    people = np.arange(n)
    couples = np.concatenate([[people, people], [people, (people + 1) % n]], axis=1)
    is_attack = np.arange(2 * n) >= n
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        shared = rng.normal(0, np.sqrt(0.5), (2 * n, 1))
        scores = shared + rng.normal(0, np.sqrt(0.5), (2 * n, 2)) + shifts * is_attack[:, None]
        drawn = pair_weights(couples, draw_subjects(n, 200, seed))
        weights = np.concatenate([np.ones((1, 2 * n)), drawn])
        first, second = (detection_rates(one, is_attack, weights)[0] for one in scores.T)
        _, lower, upper = paired_difference(first, second, n_people=n, level=0.95)
        covered.append(lower <= truth <= upper)
    assert np.mean(covered) >= 0.94

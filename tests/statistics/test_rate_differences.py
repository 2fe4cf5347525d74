"""Paired differences of error rates, worked by hand."""

import numpy as np

from freqlab.statistics.rate_differences import rate_differences


def test_the_interval_is_that_of_the_paired_differences():
    drawn = np.linspace(0.0, 0.2, 1001)
    found = rate_differences(
        np.array([0.3, 0.2, 0.4]), np.array([0.2, 0.1, 0.3]), drawn, level=0.95
    )
    np.testing.assert_allclose(found, [0.1, 0.005, 0.195])


def test_a_rate_of_zero_adds_the_width_of_its_own_interval():
    rates, base = np.array([[0.3, 0.2, 0.4], [0.0, 0.0, 0.1]]), np.array([0.0, 0.0, 0.15])
    found = rate_differences(rates, base, np.zeros((5, 2)), level=0.95)
    np.testing.assert_allclose(found[0], [0.3, 0.3 - np.hypot(0.1, 0.15), 0.4])
    np.testing.assert_allclose(found[1], [0.0, -0.15, 0.1])


def test_a_rate_without_an_interval_has_a_difference_without_one():
    rates = np.array([[0.3, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    found = rate_differences(rates, np.array([0.1, 0.0, 0.2]), np.zeros((5, 2)), level=0.95)
    np.testing.assert_allclose(found[0], [0.2, np.nan, np.nan])
    assert np.isnan(found[1]).all()

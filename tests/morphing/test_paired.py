"""Paired differences: as text, and coverage of a simulated truth."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from freqlab.morphing.paired import (
    match_rate_difference,
    points,
)
from freqlab.statistics.rate_intervals import mean_rate
from freqlab.statistics.resampling import ESTIMATES, excludes_zero

NBSP = "\u00a0"


def difference(*estimates):
    return xr.DataArray(list(estimates), coords={"estimate": list(ESTIMATES)})


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

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom, t

from freqlab.errors import ParameterError
from freqlab.statistics.error_rates import Comparisons, compare_all, d_prime
from freqlab.statistics.rate_intervals import dyadic_variance
from freqlab.statistics.resampling import (
    check_draws,
    d_prime_interval,
    draw_subjects,
    mean_with_interval,
    means_over_pairs,
    pair_weights,
    rates_at,
    with_interval,
)


def comparisons(n_subjects=12, per_subject=4, noise=1.3, seed=0):
    rng = np.random.default_rng(seed)
    subjects = np.repeat(np.arange(n_subjects), per_subject)
    own = rng.normal(size=(n_subjects, 16))[subjects]
    vectors = own + noise * rng.normal(size=own.shape)
    names = np.array([f"p{s:02d}" for s in subjects], object)
    return compare_all(vectors, names, np.arange(len(names)).astype(object))


def weights_of(found, counts):
    """Pigeonhole weights by their definition."""
    one, other = found.subjects[found.reference], found.subjects[found.probe]
    return np.where(found.genuine, counts[one], counts[one] * counts[other]).astype(float)


def test_draws_are_of_all_subjects():
    draws = draw_subjects(7, 500, seed=1)
    assert (draws.sum(axis=1) == 7).all()
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=0.15)
    np.testing.assert_array_equal(draws, draw_subjects(7, 500, seed=1))
    assert draw_subjects(0, 5, seed=0).shape == (5, 0)


def test_a_pair_weighs_as_often_as_its_people_were_drawn_together():
    draws = np.array([[2, 0, 1], [1, 3, 0]])
    subjects = np.array([[0, 1, 0, 2], [0, 1, 1, 0]])
    assert pair_weights(subjects, draws).tolist() == [[2, 0, 0, 2], [1, 3, 3, 0]]


def test_means_of_each_draw_are_the_weighted_ones():
    rng = np.random.default_rng(0)
    subjects = rng.integers(0, 5, (2, 30))
    values = rng.normal(size=(30, 2, 3))
    values[rng.random(values.shape) < 0.2] = np.nan
    draws = draw_subjects(5, 90, seed=2)
    found = means_over_pairs(values, subjects, draws)
    assert found.shape == (91, 2, 3)
    one, other = subjects
    for counts, row in zip([np.ones(5), *draws], found, strict=True):
        weights = np.where(one == other, counts[one], counts[one] * counts[other])
        for place in np.ndindex(2, 3):
            column = values[(slice(None), *place)]
            there = np.isfinite(column)
            expected = np.average(column[there], weights=weights[there])
            assert row[place] == pytest.approx(expected)
    linear = means_over_pairs(values, subjects, draws, linear=True)
    there = np.isfinite(values[:, 0, 0])
    some = values[there, 0, 0]
    for counts, row in zip([np.ones(5), *draws], linear, strict=True):
        weights = np.where(one == other, counts[one], counts[one] + counts[other] - 1)[there]
        expected = some.mean() + (weights * (some - some.mean())).sum() / there.sum()
        assert row[0, 0] == pytest.approx(expected)
    own = np.stack([one, one])  # pairs of one person: the percentiles of the draws
    found = means_over_pairs(values, own, draws)
    interval = mean_with_interval(values, own, draws, 0.5)
    np.testing.assert_allclose(
        interval[..., 1:], np.moveaxis(np.quantile(found[1:], [0.25, 0.75], axis=0), 0, -1)
    )


@pytest.mark.parametrize("own", [0.0, 0.15, 0.5])
def test_intervals_of_means_over_couples_are_as_wide_as_the_dyadic_variance_has_it(own):
    rng, widths = np.random.default_rng(0), []
    draws = draw_subjects(40, 1000, seed=0)
    for _ in range(20):
        subjects = np.stack(np.triu_indices(40, 1))[:, rng.permutation(780)[:500]]
        values = rng.normal(0, own, 40)[subjects].sum(axis=0) + rng.normal(size=500)
        _, lower, upper = mean_with_interval(values, subjects, draws, 0.95)
        variance = dyadic_variance((values - values.mean()) / 500, subjects)
        widths.append((upper - lower) / (2 * t.ppf(0.975, 39) * np.sqrt(variance)))
    assert np.mean(widths) == pytest.approx(1, abs=0.1)


def intervals_of_couples(rng, own, *, paired):
    """Interval of a mean over impostor pairs of 40 people, or of a difference of two such means.

    Quantities of a pair are sums of effects of its people and of noise, skewed; the truth is zero.
    The two means are of the same pairs, with half their noise in common.
    """
    subjects = np.stack(np.triu_indices(40, 1))[:, rng.permutation(780)[:400]]
    effect = rng.normal(0, own, 40)[subjects].sum(axis=0)[:, None]
    noise = rng.normal(size=(400, 2)) + rng.gamma(1, 1, (400, 1)) - 1
    values, draws = effect + noise, draw_subjects(40, 300, seed=int(rng.integers(1e6)))
    means, linear = (
        means_over_pairs(values, subjects, draws, linear=one)[:, :1]
        - (means_over_pairs(values, subjects, draws, linear=one)[:, 1:] if paired else 0)
        for one in (False, True)
    )
    return with_interval(means[0], means[1:], 0.95, linear=linear[1:], n_people=40)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "own",
    [
        pytest.param(0.0, marks=pytest.mark.exhaustive),
        0.15,
        pytest.param(0.5, marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize("paired", [False, True])
def test_intervals_of_impostor_means_contain_the_truth_as_often_as_they_say(own, paired):
    """Between 0.92 and 0.98, give or take the sampling error of 300 runs."""
    rng, n_runs = np.random.default_rng(1), 300
    intervals = [intervals_of_couples(rng, own, paired=paired) for _ in range(n_runs)]
    hits = sum(lower <= 0 <= upper for _, lower, upper in intervals)
    fewest, most = binom.ppf([0.05, 0.95], n_runs, [0.92, 0.98])
    assert fewest <= hits <= most


@pytest.mark.parametrize("genuine", [True, False])
def test_rates_of_each_draw_are_the_weighted_ones(genuine):
    found = comparisons()
    thresholds = np.array([0.4, np.nan, -0.1, 0.1, 2.0, -2.0])
    draws = draw_subjects(found.n_subjects, 40, seed=0)
    rates = rates_at(found, thresholds, draws, genuine=genuine)
    kind = found.genuine == genuine
    for counts, row in zip(draws, rates, strict=True):
        weights = weights_of(found, counts)[kind]
        for threshold, rate in zip(thresholds, row, strict=True):
            match = found.scores[kind] >= threshold
            wrong = ~match if genuine else match
            expected = np.average(wrong, weights=weights) if np.isfinite(threshold) else np.nan
            assert rate == pytest.approx(expected, nan_ok=True)


def test_the_interval_of_d_prime_is_that_of_the_spread_of_its_draws():
    """Weighted moments of each draw by NumPy, and Student's t of the people."""
    found = comparisons()
    draws = draw_subjects(found.n_subjects, 30, seed=3)
    drawn = []
    for counts in draws:
        weights, moments = weights_of(found, counts), []
        for kind in (found.genuine, ~found.genuine):
            scores = found.scores[kind].astype(float)
            mean = np.average(scores, weights=weights[kind])
            moments.append((mean, np.average((scores - mean) ** 2, weights=weights[kind])))
        (m1, v1), (m2, v2) = moments
        drawn.append((m1 - m2) / np.sqrt((v1 + v2) / 2))
    n = found.n_subjects
    value, *bounds = d_prime_interval(found, draws, 0.9)
    percentiles = np.quantile(drawn, [0.05, 0.95])
    error = np.sqrt(n / (n - 1)) * np.diff(percentiles)[0] / (2 * stats.norm.ppf(0.95))
    np.testing.assert_allclose(bounds, stats.t.interval(0.9, n - 1, value, error), rtol=1e-6)
    assert np.isnan(d_prime_interval(found, draws[:1], 0.9)[1:]).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("n_people", "per_person", "noise", "spread"),
    [(20, 4, 1.0, 0.0), (20, 4, 0.6, 0.35), (40, 10, 0.6, 0.0), (40, 10, 0.6, 0.35)],
)
def test_intervals_of_d_prime_contain_the_truth(n_people, per_person, noise, spread):
    """Percentiles of the draws contained it in 84, 90, 91 and 98 % of 200 samples."""

    def vectors_of(rng, n, k):
        own = rng.standard_normal((n, 1, 32), dtype=np.float32)
        scale = noise * np.exp(spread * rng.standard_normal((n, 1, 1), dtype=np.float32))
        vectors = own + scale * rng.standard_normal((n, k, 32), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    rng, n_runs, hits = np.random.default_rng(1), 200, 0
    many = vectors_of(rng, 20_000, 2)
    genuine = (many[:, 0] * many[:, 1]).sum(axis=-1)
    impostor = [(many[:, 0] * np.roll(many[:, 1], k, axis=0)).sum(axis=-1) for k in range(1, 20)]
    truth = d_prime(genuine, np.concatenate(impostor))
    names = np.repeat(np.arange(n_people), per_person).astype(str).astype(object)
    photographs = np.arange(len(names)).astype(object)
    for run in range(n_runs):
        vectors = vectors_of(rng, n_people, per_person).reshape(-1, 32)
        found = compare_all(vectors, names, photographs)
        _, lower, upper = d_prime_interval(found, draw_subjects(n_people, 300, run), 0.95)
        hits += lower <= truth <= upper
    assert hits >= stats.binom.ppf(0.05, n_runs, 0.92)


def test_kinds_that_are_missing():
    found = comparisons()
    draws = draw_subjects(found.n_subjects, 10, seed=0)
    for kind in (found.genuine, ~found.genuine):
        assert np.isnan(d_prime_interval(found.select(kind), draws, 0.95)).all()
    none = Comparisons(*(np.empty(0, t) for t in (np.float32, np.int32, np.int32)), found.subjects)
    assert np.isnan(rates_at(none, np.array([0.1]), draws, genuine=True)).all()


def test_numbers_that_draw_no_interval():
    for arguments, fault in (
        ((0, 0.9, 0), "n_draws=0"),
        ((9, 1, 0), "level=1"),
        ((9, 0.9, -1), "seed"),
    ):
        with pytest.raises(ParameterError, match=fault):
            check_draws(*arguments)

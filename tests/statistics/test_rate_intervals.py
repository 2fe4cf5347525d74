"""Intervals of error rates: closed forms, continuity, and coverage of simulated truth."""

import functools

import numpy as np
import pytest
from scipy import stats

from freqlab.statistics.error_rates import Comparisons, compare_all, equal_error_rate
from freqlab.statistics.rate_intervals import (
    dyadic_variance,
    eer_estimate,
    mean_rate,
    rate_bounds,
    rate_estimates,
)


def vectors_of(rng, n_people, per_person, noise, spread=0.0):
    """Embeddings ``(person, photograph, 32)``; with a spread, people differ in their noise."""
    own = rng.standard_normal((n_people, 1, 32), dtype=np.float32)
    scale = noise * np.exp(spread * rng.standard_normal((n_people, 1, 1), dtype=np.float32))
    shape = (n_people, per_person, 32)
    vectors = own + scale * rng.standard_normal(shape, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def compared(vectors):
    n_people, per_person, size = vectors.shape
    names = np.repeat(np.arange(n_people), per_person).astype(str).astype(object)
    faces = np.arange(n_people * per_person).astype(object)
    return compare_all(vectors.reshape(-1, size), names, faces)


def test_variance_is_the_double_sum_over_pairs_that_share_a_person():
    rng = np.random.default_rng(0)
    for subjects in (rng.integers(0, 6, (2, 40)), np.tile(rng.integers(0, 6, 40), (2, 1))):
        values = rng.normal(size=(40, 2)) + rng.normal(size=(6, 1))[subjects].sum(axis=0)
        total = independent = 0.0
        for a in range(40):
            for b in range(40):
                one, other = set(subjects[:, a]), set(subjects[:, b])
                total = total + (values[a] * values[b] if one & other else 0)
                independent = independent + (values[a] * values[b] if one == other else 0)
        expected = np.maximum(total, independent) * 6 / 5
        np.testing.assert_allclose(dyadic_variance(values, subjects), expected)
    assert np.isnan(dyadic_variance(np.ones(3), np.zeros((2, 3), int)))


def test_rates_are_those_of_their_pairs():
    """Rate, variance and people who err at thresholds, from every comparison one by one."""
    found = compared(vectors_of(np.random.default_rng(1), 12, 4, 1.3))
    thresholds = np.array([0.3, np.nan, 0.1])
    for genuine in (True, False):
        kind = found.select(found.genuine == genuine)
        subjects = kind.subjects[np.stack([kind.reference, kind.probe])]
        result = rate_estimates(found, thresholds, 0.9, genuine=genuine)
        for k in (0, 2):
            match = kind.scores >= thresholds[k]
            wrong = (~match if genuine else match).astype(float)
            plain = mean_rate(wrong, subjects, n_photographs=48 if genuine else None, level=0.9)
            np.testing.assert_allclose(result.estimates[k], plain.estimates)
            assert result.n_erring[k] == plain.n_erring == len(np.unique(subjects[:, wrong > 0]))
            variance = dyadic_variance((wrong - wrong.mean()) / len(wrong), subjects)
            bounds = rate_bounds(
                *(wrong.mean(), float(variance)),
                error_size=1 / 48 if genuine else 1 / 66, n_people=12, level=0.9,
            )  # fmt: skip
            np.testing.assert_allclose(result.estimates[k, 1:], bounds)
        assert np.isnan(result.estimates[1]).all()
        assert result.n_erring[1] == 0


def test_independent_trials_have_the_interval_of_clopper_and_pearson():
    """As many people as trials, so many that the correction for their number vanishes."""
    n, errors = 200_000, 3_000
    wrong = (np.arange(n) < errors).astype(float)
    found = mean_rate(wrong, np.tile(np.arange(n), (2, 1)), n_photographs=n, level=0.9)
    expected = stats.binomtest(errors, n).proportion_ci(0.9, method="exact")
    np.testing.assert_allclose(found.estimates, [errors / n, *expected], rtol=1e-3)
    assert found.n_erring == errors


def test_a_rate_of_zero_depends_on_level_and_photographs_and_mirrors_at_one():
    of_zero = {}
    for level in (0.5, 0.9, 0.95, 0.99):
        bounds = functools.partial(
            rate_bounds, variance=0.0, error_size=1 / 400, n_people=40, level=level
        )
        lower, of_zero[level] = bounds(0.0)
        assert lower == 0
        np.testing.assert_allclose(bounds(1.0), [1 - of_zero[level], 1])
        trials = 400 * (stats.norm.ppf((1 - level) / 2) / stats.t.ppf((1 - level) / 2, 39)) ** 2
        assert of_zero[level] == pytest.approx(1 - ((1 - level) / 2) ** (1 / trials))
    assert list(of_zero.values()) == sorted(of_zero.values())
    for rate in (0.01, 0.2, 0.5):
        some = {"variance": 4e-4, "error_size": 1e-3, "n_people": 30, "level": 0.9}
        np.testing.assert_allclose(
            rate_bounds(1 - rate, **some), 1 - np.array(rate_bounds(rate, **some))[::-1]
        )


def test_bounds_are_continuous_at_zero_and_grow_with_the_errors():
    """One person errs in a growing share of the comparisons of 40 people with 10 photographs."""
    shares = np.linspace(0, 1, 201)
    sizes = shares / 40
    bounds = np.array(
        [rate_bounds(s, s**2, error_size=1 / 400, n_people=40, level=0.95) for s in sizes]
    )
    assert (np.diff(bounds, axis=0) >= 0).all()
    assert np.abs(np.diff(bounds, axis=0)).max() < 2 / 201 * bounds[-1].max() + 2e-3
    assert bounds[1, 1] - bounds[0, 1] < 1e-3


def test_what_has_no_interval():
    some = {"variance": 0.0, "error_size": 0.1, "level": 0.95}
    assert np.isnan(rate_bounds(0.1, n_people=1, **some)).all()
    assert np.isnan(rate_bounds(np.nan, n_people=9, **some)).all()
    found = compared(vectors_of(np.random.default_rng(1), 12, 4, 1.3))
    for kind in (found.genuine, ~found.genuine):
        assert np.isnan(eer_estimate(found.select(kind), 0.95).estimates).all()
    none = Comparisons(*(np.empty(0, t) for t in (np.float32, np.int32, np.int32)), found.subjects)
    assert np.isnan(rate_estimates(none, np.array([0.1]), 0.95, genuine=True).estimates).all()
    two = compared(vectors_of(np.random.default_rng(1), 2, 4, 1.3))
    assert np.isnan(eer_estimate(two, 0.95).estimates).tolist() == [False, True, True]


def test_separate_scores_have_an_equal_error_rate_of_zero_with_the_bound_of_photographs():
    found = compared(vectors_of(np.random.default_rng(1), 12, 4, 0.1))
    result = eer_estimate(found, 0.95)
    trials = 48 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 11)) ** 2
    np.testing.assert_allclose(result.estimates, [0, 0, 1 - 0.025 ** (1 / trials)])
    assert result.n_erring == 0


@functools.cache
def truth_of(noise, spread):
    """Equal error rate of 20,000 people."""
    vectors = vectors_of(np.random.default_rng(1), 20_000, 4, noise, spread)
    first, second = np.triu_indices(4, 1)
    genuine = np.einsum("npd,npd->np", vectors[:, first], vectors[:, second]).ravel()
    impostor = [
        np.einsum("npd,npd->np", vectors, np.roll(vectors, k, axis=0)).ravel() for k in range(1, 20)
    ]
    return equal_error_rate(genuine, np.concatenate(impostor))


@pytest.mark.slow
@pytest.mark.parametrize("design", [(40, 10), pytest.param((150, 4), marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(
    ("noise", "spread", "rate"),
    [
        pytest.param(0.485, 0, 0.001, marks=pytest.mark.exhaustive),
        (0.677, 0, 0.01),
        pytest.param(0.988, 0, 0.06, marks=pytest.mark.exhaustive),
        (0.256, 0.35, 0.001),
        pytest.param(0.329, 0.35, 0.003, marks=pytest.mark.exhaustive),
        pytest.param(0.440, 0.35, 0.01, marks=pytest.mark.exhaustive),
        pytest.param(0.604, 0.35, 0.03, marks=pytest.mark.exhaustive),
        (0.774, 0.35, 0.06),
    ],
)
def test_intervals_of_equal_error_rates_contain_the_truth(design, noise, spread, rate):
    truth, rng, n_runs = truth_of(noise, spread), np.random.default_rng(7), 250
    assert truth == pytest.approx(rate, rel=0.25)
    covered = []
    for _ in range(n_runs):
        found = eer_estimate(compared(vectors_of(rng, *design, noise, spread)), 0.95)
        _, lower, upper = found.estimates
        covered.append(lower <= truth <= upper)
    # 0.92 at least, less the sampling error of 250 runs
    assert np.sum(covered) >= stats.binom.ppf(0.05, n_runs, 0.92)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.95, pytest.param(0.8, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("genuine", [True, False])
def test_intervals_of_rates_at_a_threshold_contain_the_truth(level, genuine):
    threshold = 0.35 if genuine else 0.5
    vectors = vectors_of(np.random.default_rng(1), 100_000, 2, 0.8, 0.3)
    other = vectors[:, 1] if genuine else np.roll(vectors[:, 1], 1, axis=0)
    scores = np.einsum("nd,nd->n", vectors[:, 0], other)
    truth = ((scores < threshold) if genuine else (scores >= threshold)).mean()
    rng, n_runs, hits = np.random.default_rng(2), 400, 0
    for _ in range(n_runs):
        found = compared(vectors_of(rng, 40, 4, 0.8, 0.3))
        result = rate_estimates(found, np.array([threshold]), level, genuine=genuine)
        _, lower, upper = result.estimates[0]
        hits += lower <= truth <= upper
    assert hits >= stats.binom.ppf(0.05, n_runs, level - 0.03)


@pytest.mark.exhaustive
@pytest.mark.parametrize("design", [(40, 10), (150, 4)])
@pytest.mark.parametrize(
    ("noise", "spread", "rate", "of_40", "of_150"),
    [
        (0.60, 0.0, 0.003, 0.98, 0.98), (0.60, 0.0, 0.03, 0.92, 0.92),
        (0.60, 0.0, 0.06, 0.92, 0.92), (0.35, 0.35, 0.003, 0.98, 0.97),
        (0.60, 0.35, 0.01, 0.90, 0.92), (0.60, 0.35, 0.03, 0.85, 0.92),
        (0.774, 0.35, 0.03, 0.88, 0.92), (0.774, 0.35, 0.06, 0.91, 0.92),
    ],
)  # fmt: skip
def test_intervals_of_false_non_match_rates_contain_the_truth_as_documented(
    design, noise, spread, rate, of_40, of_150
):
    """Short of 0.92 where one or two of 40 people make most of the errors."""
    n_people, per_person = design
    first, second = np.triu_indices(4, 1)
    many = vectors_of(np.random.default_rng(1), 40_000, 4, noise, spread)
    threshold = np.quantile(np.einsum("npd,npd->np", many[:, first], many[:, second]), rate)
    first, second = np.triu_indices(per_person, 1)
    subjects = np.tile(np.repeat(np.arange(n_people), len(first)), (2, 1))
    rng, n_runs, hits = np.random.default_rng(5), 500, 0
    for _ in range(n_runs):
        vectors = vectors_of(rng, n_people, per_person, noise, spread)
        scores = np.einsum("npd,npd->np", vectors[:, first], vectors[:, second]).ravel()
        wrong = (scores < threshold).astype(float)
        found = mean_rate(wrong, subjects, n_photographs=n_people * per_person, level=0.95)
        _, lower, upper = found.estimates
        hits += lower <= rate <= upper
    assert hits >= stats.binom.ppf(0.05, n_runs, of_40 if n_people == 40 else of_150)

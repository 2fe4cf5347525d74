"""Detection error rates: cases worked by hand, scikit-learn, and coverage of a simulated truth."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_curve

from freqlab.morphing.detection_estimates import (
    bpcer_at,
    d_eer_of,
    differences_of,
    estimates_of_rates,
)

APCERS = (0.05, 0.10)


def rates_of(scores, is_attack):
    """D-EER and BPCER at fixed APCER, each pair of its own document and person."""
    own = np.arange(len(scores))
    at = [bpcer_at(scores, is_attack, own, np.stack([own, own]), apcer) for apcer in APCERS]
    return d_eer_of(scores, is_attack, own).value, *(rate.value for rate in at)


def test_rates_of_a_case_worked_by_hand():
    scores = np.array([1, 2, 3, 4, 5, 6, 7, 8.0])
    attack = np.array([0, 0, 0, 1, 0, 1, 1, 1], bool)
    # at a threshold between 4 and 5 one of four attacks passes, one of four bona fide is stopped;
    # no attack may pass at 10 %, for one is a quarter: the threshold lies at 4, which stops 5
    assert rates_of(scores, attack) == pytest.approx((0.25, 0.25, 0.25))
    assert rates_of(scores, scores > 4) == (0, 0, 0)
    found = d_eer_of(scores, attack, np.arange(8))
    assert found.n_errors == 2
    assert np.isnan(d_eer_of(scores, attack & False, np.arange(8)).value)


def test_rates_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 400), rng.normal(1.2, 1, 600)])
    attack = np.arange(1000) >= 400
    eer, *bpcer = rates_of(scores, attack)
    stopped, detected, _ = roc_curve(attack, scores, drop_intermediate=False)
    nearest = np.argmin(np.abs(stopped - (1 - detected)))
    assert eer == pytest.approx((stopped[nearest] + 1 - detected[nearest]) / 2, abs=3e-3)
    for apcer, value in zip(APCERS, bpcer, strict=True):
        assert value == pytest.approx(stopped[1 - detected <= apcer + 1e-12].min())


def test_pairs_without_a_score_are_left_out():
    rng = np.random.default_rng(1)
    scores, attack = rng.normal(size=60), np.arange(60) >= 30
    some = np.where(rng.random(60) < 0.8, scores, np.nan)
    kept = np.isfinite(some)
    assert rates_of(some, attack) == rates_of(some[kept], attack[kept])
    assert (d_eer_of(some, attack, np.arange(60)).contributions[~kept] == 0).all()


def test_contributions_are_the_change_of_the_rate_with_the_weight_of_a_pair():
    """The rate with a pair listed twice, less the rate, from 40,000 pairs of each kind."""
    rng, n = np.random.default_rng(2), 40_000
    scores = np.concatenate([rng.normal(0, 1, n), rng.normal(1.5, 1.3, n)])
    attack, people = np.arange(2 * n) >= n, np.tile(np.arange(2 * n), (2, 1))
    for rate in (
        d_eer_of(scores, attack, people[0]),
        bpcer_at(scores, attack, people[0], people, 0.1),
    ):
        assert abs(rate.contributions.sum()) < 1e-9
    # normal densities at the threshold of equal rates: F(t) = 1 - G(t)
    threshold = 1.5 / 2.3
    of_attacks, of_others = stats.norm.pdf(threshold, 1.5, 1.3), stats.norm.pdf(threshold)
    expected = of_others / (of_attacks + of_others)
    found = d_eer_of(scores, attack, people[0])
    per_error = np.ptp(found.contributions[attack]) * n
    assert per_error == pytest.approx(expected, rel=0.05)
    threshold = stats.norm.ppf(0.1, 1.5, 1.3)
    expected = stats.norm.pdf(threshold) / stats.norm.pdf(threshold, 1.5, 1.3)
    found = bpcer_at(scores, attack, people[0], people, 0.1)
    assert np.ptp(found.contributions[attack]) * n == pytest.approx(expected, rel=0.2)


def test_a_rate_without_people_or_pairs_has_no_interval():
    scores, attack = np.arange(4.0), np.arange(4) > 1
    people = np.array([[0, 1, 0, 1], [0, 1, 1, 0]])
    rate = d_eer_of(scores, attack, np.arange(4))
    estimates = estimates_of_rates([rate], people, n_people=2, level=0.95)[0]
    assert np.isnan(estimates).tolist() == [False, True, True]
    both = differences_of([rate, rate], [0], people, n_people=2, level=0.95)
    assert np.isnan(both[:, 0]).tolist() == [[True] * 3, [False, True, True]]


def test_scores_that_err_on_the_same_pairs_do_not_differ_within_one_document():
    rng = np.random.default_rng(3)
    scores, attack, own = rng.normal(size=80), np.arange(80) >= 40, np.arange(80)
    rate = d_eer_of(scores, attack, own)
    people = np.tile(own % 40, (2, 1))
    found = differences_of([rate, rate], [0], people, n_people=40, level=0.95)[1, 0]
    width = stats.t.ppf(0.975, 39) * rate.error_size
    np.testing.assert_allclose(found, [0, -width, width])


def made_scores(rng, people, documents, is_attack, own, shifts):
    """Two correlated normal scores of variance one, with effects of people and of documents.

    Attacks are shifted. The effect of a morph is a sum of those of its contributors.
    """
    n, whole = people.max() + 1, people[0] == people[1]

    def normal():
        effect, of_document = rng.normal(size=n), rng.normal(size=documents.max() + 1)
        of_people = np.where(whole, effect[people[0]], effect[people].sum(axis=0) / np.sqrt(2))
        noise = np.sqrt(0.5) * (of_document[documents] + rng.normal(size=len(documents)))
        return own * of_people + np.sqrt(1 - own**2) * noise

    shared = normal()
    return [np.sqrt(0.5) * (shared + normal()) + shift * is_attack for shift in shifts]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "n_partners", "own", "shift"),
    [
        (40, 1, 0.7, 1.0),
        (40, 3, 0.5, 0.2),
        *(
            pytest.param(*case, marks=pytest.mark.exhaustive)
            for case in [
                (40, 1, 0.0, 1.0), (40, 1, 0.7, 2.5), (40, 3, 0.0, 1.0), (40, 3, 0.7, 2.5),
                (20, 1, 0.0, 1.0), (20, 1, 0.7, 1.0), (20, 1, 0.5, 0.2), (50, 1, 0.7, 1.0),
            ]
        ),
    ],
)  # fmt: skip
def test_intervals_contain_the_truth_as_often_as_they_say(n, n_partners, own, shift):
    """Between 0.92 and 0.98 (0.99 for BPCER and rates near 10 %), less the sampling error."""
    n_runs, p = 200, np.arange(n)
    bona_fide = [(i, i, i) for i in p for _ in "ab"]
    attacks = [
        (i, (i + k) % n, n + i * n_partners + k - 1)
        for k in range(1, n_partners + 1)
        for i in p
        for _ in range(4)
    ]
    pairs = np.array(bona_fide + attacks).T
    people, documents = pairs[:2], pairs[2]
    is_attack = np.arange(len(documents)) >= len(bona_fide)
    truth = stats.norm.cdf(-shift / 2)
    truths = [truth, *(stats.norm.sf(stats.norm.ppf(apcer) + shift) for apcer in APCERS)]
    change = truth - stats.norm.cdf(-(shift + 0.6) / 2)
    rng, covered = np.random.default_rng(0), []
    for _ in range(n_runs):
        scores = made_scores(rng, people, documents, is_attack, own, (shift, shift + 0.6))
        first, second = (d_eer_of(one, is_attack, documents) for one in scores)
        at = [bpcer_at(scores[0], is_attack, documents, people, apcer) for apcer in APCERS]
        found = estimates_of_rates([first, *at], people, n_people=n, level=0.95)
        difference = differences_of([first, second], [1], people, n_people=n, level=0.95)[0, 0]
        bounds = [*found[:, 1:], difference[1:]]
        covered.append(
            [
                low <= true <= high
                for (low, high), true in zip(bounds, [*truths, change], strict=True)
            ]
        )
    hits = np.sum(covered, axis=0)
    fewest = stats.binom.ppf(0.05, n_runs, 0.92)
    highest = 0.98 if truth > 0.2 else 0.99
    most = stats.binom.ppf(0.99, n_runs, [highest, 0.99, 0.99, highest])
    assert (hits >= fewest).all()
    assert (hits <= most).all()

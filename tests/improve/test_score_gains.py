"""Gains are stated where there are some, and nowhere else."""

import numpy as np
import pytest

from freqlab.errors import ParameterError
from freqlab.improve.score_gains import GAIN, LOSS, NO_GAIN, gain_table, gains, verdict_of
from freqlab.statistics.error_rates import threshold_at_fmr


def people_and_scores(n_people=40, per_person=12, n_impostor=4000, gain=0.0, seed=0):
    """Scores with noise of people and of pairs; the second has less noise if `gain` is not 0."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(n_people), per_person)
    first = rng.integers(0, n_people, n_impostor)
    second = (first + rng.integers(1, n_people, n_impostor)) % n_people
    subjects = np.stack([np.concatenate([own, first]), np.concatenate([own, second])])
    genuine = np.arange(subjects.shape[1]) < len(own)
    hard = rng.normal(0, 0.5, n_people)[subjects].mean(axis=0)
    common = 2.5 * genuine + hard
    noise = rng.normal(size=(2, len(genuine)))
    base = common + noise[0]
    other = common + (0.4 if gain else 1.0) * noise[1]
    return {"base": base, "other": other}, genuine, subjects


def brute_force(score, genuine, fmr):
    """Lowest threshold with at most a share `fmr` of false matches, among all scores."""
    impostor = score[~genuine]
    candidates = np.sort(np.append(score, np.inf))
    edge = next(t for t in candidates if (impostor >= t).mean() <= fmr + 1e-12)
    return (score[genuine] < edge).mean()


def test_rates_against_brute_force():
    scores, genuine, subjects = people_and_scores()
    found = gains(scores, genuine, subjects, baseline="base", fmrs=[1e-2, 1e-1], n_draws=20)
    for name, score in scores.items():
        for fmr in (1e-2, 1e-1):
            at = found["false_non_match_rate"].sel(score_name=name, fmr=fmr)
            expected = brute_force(score, genuine, fmr)
            assert float(at.sel(estimate="value")) == pytest.approx(expected, abs=1 / 480)
            n_errors = int(found["n_errors"].sel(score_name=name, fmr=fmr))
            assert n_errors == (score[genuine] < threshold_at_fmr(score[~genuine], fmr)).sum()


def test_a_draw_against_pairs_repeated_as_often_as_it_weighs_them():
    from freqlab.improve.score_gains import _drawn_rates
    from freqlab.statistics.resampling import draw_subjects, pair_weights

    scores, genuine, subjects = people_and_scores(n_people=12, n_impostor=2000)
    draws = draw_subjects(12, 6, 1)
    found = _drawn_rates(scores["base"], genuine, subjects, draws, 0.05)
    for d, draw in enumerate(draws):
        times = pair_weights(subjects, draw[None]).ravel().astype(int)
        score, kind = np.repeat(scores["base"], times), np.repeat(genuine, times)
        assert found[d] == pytest.approx(brute_force(score, kind, 0.05), abs=0.02)


def test_a_planted_gain_is_found_and_a_loss_in_the_other_direction():
    scores, genuine, subjects = people_and_scores(gain=1.0)
    options = {"fmrs": [1e-2], "n_draws": 200}
    found = gains(scores, genuine, subjects, baseline="base", **options)
    other = found.sel(score_name="other").isel(fmr=0)
    assert other["verdict"].item() == GAIN
    assert float(other["difference"].sel(estimate="upper")) < 0
    turned = gains(scores, genuine, subjects, baseline="other", **options)
    assert turned["verdict"].sel(score_name="base").item() == LOSS


def test_no_gain_between_scores_of_equal_quality():
    """The share of wrong verdicts stays near that of the level; the intervals are wide."""
    wrong = 0
    for seed in range(20):
        scores, genuine, subjects = people_and_scores(seed=seed, n_impostor=2000)
        found = gains(scores, genuine, subjects, baseline="base", fmrs=[1e-2], n_draws=100)
        wrong += found["verdict"].sel(score_name="other").item() != NO_GAIN
    assert wrong <= 3


def test_a_gain_is_not_stated_from_few_errors_or_people():
    assert verdict_of(-0.2, -0.1, n_errors=29, n_people=40) == "too few errors (29)"
    assert verdict_of(-0.2, -0.1, n_errors=30, n_people=19) == "too few people (19)"
    assert verdict_of(-0.2, -0.1, n_errors=30, n_people=20) == GAIN
    assert verdict_of(-0.2, 0.1, n_errors=30, n_people=20) == NO_GAIN
    assert verdict_of(0.1, 0.2, n_errors=30, n_people=20) == LOSS


def test_a_rate_that_is_not_resolved_has_no_verdict():
    scores, genuine, subjects = people_and_scores()
    found = gains(scores, genuine, subjects, baseline="base", fmrs=[1e-2, 1e-3], n_draws=10)
    at = found.sel(fmr=1e-3)
    assert at["false_non_match_rate"].isnull().all()
    assert set(at["verdict"].values) == {"no threshold: 4,000 of 10,000 impostor comparisons"}
    assert gain_table(found, fmr=1e-3)["FNMR at FMR 1e-3"].tolist() == ["no threshold"] * 2


def test_pairs_without_a_score_are_left_out_of_all():
    scores, genuine, subjects = people_and_scores()
    scores["other"][:5] = np.nan
    found = gains(scores, genuine, subjects, baseline="base", fmrs=[1e-2], n_draws=10)
    assert int(found["n_left_out"]) == 5
    rest = gains(
        {name: score[5:] for name, score in scores.items()},
        *(genuine[5:], subjects[:, 5:]),
        baseline="base",
        fmrs=[1e-2],
        n_draws=10,
    )
    assert found["false_non_match_rate"].equals(rest["false_non_match_rate"])
    table = gain_table(found)
    assert table.loc["base", "verdict"] == "baseline"


def test_bad_input():
    scores, genuine, subjects = people_and_scores()
    n = len(genuine)
    for changed, options, message in (
        ({"base": np.ones(n)}, {}, r"scores\['base'\] is 1 for all 4,480 pairs; a constant"),
        ({"base": np.full(n, np.nan)}, {}, r"no genuine pair has a score \(4,480 of 4,480"),
        ({"base": np.ones(3)}, {}, r"scores\['base'\] has shape \(3,\) for 4480 pairs"),
        ({"base": scores["base"]}, {"baseline": "bass"}, "unknown baseline 'bass'"),
        ({"base": scores["base"]}, {"fmrs": [2]}, "fmr"),
        ({"base": scores["base"]}, {"n_draws": 0}, "n_draws=0"),
    ):
        with pytest.raises(ParameterError, match=message):
            gains(changed, genuine, subjects, **{"baseline": "base", **options})
    with pytest.raises(ParameterError, match="no impostor pair has a score"):
        gains(scores, np.ones(n, bool), subjects, baseline="base")
    with pytest.raises(ParameterError, match="no genuine pair has a score"):
        gains(scores, np.zeros(n, bool), subjects, baseline="base")

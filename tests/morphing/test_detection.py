"""Detection scores and error rates: planted attacks, cases worked by hand, scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.morphing.detection import detection_rates

N_BANDS = 8


def made_result(seed=0, n_people=40, planted=None, gap=20.0):
    """Pairs of made-up influence; attacks differ in one band of the document, if any."""
    rng = np.random.default_rng(seed)
    names = [f"p{i:02d}" for i in range(n_people)]
    rows = [(name, name, "bona fide") for name in names for _ in range(2)]
    rows += [(names[i], names[(i + 1) % n_people], "tool") for i in range(n_people) for _ in "ab"]
    n = len(rows)
    influence = rng.normal(0.1, 0.02, (1, n, 2, N_BANDS))
    attack = np.array([row[2] for row in rows], object)
    if planted is not None:
        influence[0, attack == "tool", 1, planted] += gap * 0.02
    removed = np.exp(rng.normal(0, 0.1, influence.shape))
    found = fl.testing.result(
        influence,
        removed_rms=removed,
        similarity=rng.normal(0.6, 0.05, (1, n)),
        columns={
            "attack": attack,
            "contributor_a": np.array([row[0] for row in rows], object),
            "contributor_b": np.array([row[1] for row in rows], object),
        },
    )
    return found.assign_coords(band=[f"b{i}" for i in range(N_BANDS)])


def test_a_planted_attack_is_detected_by_its_bands_score_without_error():
    scores = fl.morphing.scores(made_result(planted=5), model="m")
    errors = fl.morphing.detection_errors(scores, n_draws=50)
    value = errors["d_eer"].sel(attack="tool", estimate="value").to_series()
    assert value["band b5"] == 0
    assert value["mahalanobis"] < 0.05
    others = [f"band b{i}" for i in range(N_BANDS) if i != 5]
    assert value[others].min() > 0.3
    assert fl.morphing.detection_table(errors).index[0] in ("band b5", "supervised", "mahalanobis")


def test_differences_from_baselines_are_paired_by_draw():
    scores = fl.morphing.scores(made_result(planted=5), model="m")
    errors = fl.morphing.detection_errors(scores, n_draws=50)
    value = errors["d_eer"].sel(estimate="value")
    change = errors["d_eer_difference"]
    for baseline in ("similarity", "power spectrum", "supervised"):
        found = change.sel(baseline=baseline, estimate="value")
        expected = value - value.sel(score_name=baseline)
        others = [n for n in errors["score_name"].to_numpy() if n != baseline]
        np.testing.assert_allclose(found.sel(score_name=others), expected.sel(score_name=others))
        assert np.isnan(found.sel(score_name=baseline)).all()
    planted = change.sel(score_name="band b5", baseline="similarity", attack="tool")
    assert float(planted.sel(estimate="upper")) < 0
    # without error in any draw, the draws of the difference are those of the baseline
    other = errors["d_eer"].sel(score_name="similarity", attack="tool").to_numpy()
    np.testing.assert_allclose(planted, -other[[0, 2, 1]])
    assert errors["n_people"].to_numpy().tolist() == [40, 40]


def test_without_a_difference_no_score_detects():
    values = []
    for seed in range(4):
        scores = fl.morphing.scores(made_result(seed=seed), model="m", seed=seed)
        errors = fl.morphing.detection_errors(scores, n_draws=2)
        values.append(errors["d_eer"].sel(attack="all", estimate="value").to_series())
    mean = np.mean(values, axis=0)
    assert (
        np.abs(mean - 0.5) < 0.12
    ).all()  # the supervised score too: nothing leaks between folds


def test_no_contributor_is_known_to_what_tests_it(monkeypatch):
    from freqlab.morphing import detection

    result = made_result()
    seen = []

    def spy(values):
        def score(fit, attacks, here):
            seen.append((fit, attacks, here))
            return np.zeros(int(here.sum()))

        return score

    monkeypatch.setattr(detection, "_mahalanobis", spy)
    fl.morphing.scores(result, model="m")
    people = np.stack([result[f"contributor_{k}"].to_numpy() for k in "ab"])
    tested = np.zeros(result.sizes["pair"], int)
    for fit, attacks, here in seen[::2]:  # both profiles, then the spectrum
        known = set(people[:, fit | attacks].ravel())
        assert not known & set(people[:, here].ravel())
        assert (result["attack"].to_numpy()[fit] == "bona fide").all()
        tested += here
    assert (tested == 1).all()


def test_rates_of_a_case_worked_by_hand():
    scores = np.array([1, 2, 3, 4, 5, 6, 7, 8.0])
    attack = np.array([0, 0, 0, 1, 0, 1, 1, 1], bool)
    eer, bpcer = detection_rates(scores, attack, np.ones((1, 8)))
    # at a threshold between 4 and 5 one of four attacks passes, one of four bona fide is stopped
    assert eer[0] == pytest.approx(0.25)
    # no attack may pass, for one is a quarter: the threshold lies at 4, which stops 5
    np.testing.assert_allclose(bpcer[0], [0.25, 0.25])
    eer, bpcer = detection_rates(scores, scores > 4, np.ones((1, 8)))
    assert (eer[0], *bpcer[0]) == (0, 0, 0)


def test_rates_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 400), rng.normal(1.2, 1, 600)])
    attack = np.arange(1000) >= 400
    eer, bpcer = detection_rates(scores, attack, np.ones((1, 1000)))
    stopped, detected, _ = roc_curve(attack, scores, drop_intermediate=False)
    nearest = np.argmin(np.abs(stopped - (1 - detected)))
    assert eer[0] == pytest.approx((stopped[nearest] + 1 - detected[nearest]) / 2, abs=3e-3)
    for k, apcer in enumerate((0.05, 0.10)):
        expected = stopped[1 - detected <= apcer + 1e-12].min()
        assert bpcer[0, k] == pytest.approx(expected)


def test_weights_count_pairs_several_times():
    rng = np.random.default_rng(1)
    scores, attack = rng.normal(0, 1, 40), rng.random(40) < 0.5
    weights = rng.integers(0, 3, 40)
    eer, _ = detection_rates(scores, attack, weights[None].astype(float))
    repeated, _ = detection_rates(
        np.repeat(scores, weights), np.repeat(attack, weights), np.ones((1, weights.sum()))
    )
    assert eer[0] == pytest.approx(repeated[0])


def test_what_is_not_allowed_is_told():
    result = made_result()
    with pytest.raises(ParameterError, match="folds=2"):
        fl.morphing.scores(result, model="m", folds=2)
    with pytest.raises(UnknownNameError, match="unknown model"):
        fl.morphing.scores(result, model="n")
    with pytest.raises(ParameterError, match="4 people are too few"):
        fl.morphing.scores(made_result(n_people=4), model="m")
    with pytest.raises(ParameterError, match="it lacks"):
        fl.morphing.scores(result.drop_vars("attack"), model="m")
    with pytest.raises(ParameterError, match="both sides masked"):
        fl.morphing.scores(result.sel(side=["probe"]), model="m")
    scores = fl.morphing.scores(result, model="m")
    with pytest.raises(ParameterError, match="n_draws=0"):
        fl.morphing.detection_errors(scores, n_draws=0)

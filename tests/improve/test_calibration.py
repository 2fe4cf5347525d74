"""Log-likelihood ratios of pairs: closed forms, scikit-learn, and people kept apart."""

import re

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from freqlab import testing
from freqlab.errors import ParameterError
from freqlab.improve.calibration import CALIBRATIONS, calibrate, describe_probability
from freqlab.improve.calibration_costs import calibration_figures
from freqlab.improve.fits import PENALTIES, fold_parts, learnt_on_others, penalised
from freqlab.improve.fusion import band_scores
from freqlab.improve.likelihoods import cllr
from freqlab.results import describe_pair

SEPARATION = 2.0


def result_of(n_people=24, per_person=20, n_impostor=1500, *, informative=False, seed=0):
    """Normal similarities of known ratio; the first band tells the kinds apart if `informative`."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(n_people), per_person)
    first = rng.integers(0, n_people, n_impostor)
    second = (first + rng.integers(1, n_people, n_impostor)) % n_people
    ends = [np.concatenate([own, other]) for other in (first, second)]
    genuine = ends[0] == ends[1]
    # a tenth of the similarity is the log-likelihood ratio
    similarity = rng.normal(0, SEPARATION, len(genuine)) + np.where(genuine, 1, -1) * 2
    influence = rng.normal(0, 0.01, (1, len(genuine), 2, 3))
    if informative:
        influence[0, :, 0, 0] += 0.02 * genuine
    return testing.result(
        influence,
        probe_subject=np.array([f"p{i}" for i in ends[0]], object),
        reference_subject=np.array([f"p{i}" for i in ends[1]], object),
        similarity=similarity / 10,
        thresholds={1e-2: 0.3},
    )


@pytest.fixture(scope="module")
def result():
    return result_of()


@pytest.fixture(scope="module")
def calibrated(result):
    return calibrate(result)


def test_ratios_of_a_known_gaussian_pair(result, calibrated):
    true = 10 * result["similarity"].to_numpy()[0]  # (x - (-2)) and (x - 2) of variance 4
    genuine = result["genuine"].to_numpy()
    platt = calibrated["log_likelihood_ratio"].sel(calibration="platt").to_numpy()
    assert np.abs(platt - true).mean() < 0.35
    assert np.corrcoef(platt, true)[0, 1] > 0.99
    for name in CALIBRATIONS:
        ratios = calibrated["log_likelihood_ratio"].sel(calibration=name).to_numpy()
        assert cllr(ratios, genuine) == pytest.approx(cllr(true, genuine), abs=0.05)


def test_platt_and_isotonic_are_those_of_scikit_learn(result):
    genuine = result["genuine"].to_numpy()
    other = result_of(seed=1)
    names = [f"q{i}" for i in range(other.sizes["pair"])]
    other = other.assign_coords(probe_subject=("pair", names), reference_subject=("pair", names))
    found = calibrate(result, apply_to=other)["log_likelihood_ratio"]
    x, new = (one["similarity"].to_numpy().T for one in (result, other))
    fitted = LogisticRegression(C=1e8, class_weight="balanced").fit(x, genuine)
    np.testing.assert_allclose(
        found.sel(calibration="platt"), fitted.decision_function(new), atol=2e-3
    )
    weights = np.where(genuine, 1 / genuine.sum(), 1 / (~genuine).sum())
    pav = IsotonicRegression(out_of_bounds="clip").fit(x[:, 0], genuine, weights)
    probability = pav.predict(new[:, 0])
    inside = (probability > 0.01) & (probability < 0.99)
    ratio = np.log(probability[inside] / (1 - probability[inside]))
    np.testing.assert_allclose(found.sel(calibration="isotonic")[inside], ratio, atol=1e-9)


def test_the_decision_on_a_pair_states_the_probability_of_scikit_learn(result):
    """At a prior of one half, a balanced logistic regression states the probability itself."""
    other = result_of(seed=1)
    names = [f"q{i}" for i in range(other.sizes["pair"])]
    other = other.assign_coords(probe_subject=("pair", names), reference_subject=("pair", names))
    x, new = (one["similarity"].to_numpy().T for one in (result, other))
    fitted = LogisticRegression(C=1e8, class_weight="balanced")
    fitted.fit(x, result["genuine"].to_numpy())
    platt = calibrate(result, apply_to=other).sel(calibration="platt")
    rare = calibrate(result, apply_to=other, prior=0.01).sel(calibration="platt")
    uncertain = np.flatnonzero(np.abs(fitted.decision_function(new)) < 2)[:3]
    for pair in uncertain:
        label = int(other["pair"][pair])
        options = {"pair": label, "model": "m", "fmr": 1e-2}
        expected = fitted.predict_proba(new[[pair]])[0, 1]
        without = describe_pair(other, **options)
        text = describe_pair(other, calibration=platt, **options)
        assert text.startswith(f"{without} The probability that both faces show one person is ")
        stated = float(re.search(r"one person is ([\d.]+) at a prior of 0.5 ", text)[1])
        assert stated == pytest.approx(expected, abs=2e-3)
        ratio = float(re.search(r"log-likelihood ratio ([+-][\d.]+),", text)[1])
        assert ratio == pytest.approx(fitted.decision_function(new)[pair], abs=0.01)
        assert text.endswith(
            "comparisons like those of the fit; another prior gives another probability."
        )
        odds = expected / (1 - expected) * 0.01 / 0.99
        text = describe_pair(other, calibration=rare, **options)
        stated = float(re.search(r"one person is ([\d.]+) at a prior of 0.01 ", text)[1])
        assert stated == pytest.approx(odds / (1 + odds), rel=0.05)


def test_a_calibration_that_does_not_fit_the_pair(result, calibrated):
    options = {"pair": 1, "model": "m", "fmr": 1e-2}
    text = describe_pair(result, calibration=calibrated, **options)
    assert text.endswith(describe_probability(calibrated, pair=1, calibration="influence"))
    moved = calibrated.assign_coords(probe=("pair", np.roll(calibrated["probe"], 1)))
    for given, message in (
        (result, "calibration of type Dataset has no log-likelihood ratios; fl.improve.calibrate"),
        (0.5, "calibration of type float has no log-likelihood ratios"),
        (calibrated.assign_attrs(model="x"), "calibration is of model 'x', not of model='m'"),
        (calibrated.sel(calibration=["platt"]), "unknown calibration 'influence'.*platt"),
        (calibrated.isel(pair=slice(5, None)), "pair=1 is not among the "),
        (moved, "calibration: the probe of pair 1 is "),
    ):
        with pytest.raises(ParameterError, match=message):
            describe_pair(result, calibration=given, **options)


def test_influence_that_tells_the_kinds_apart_lowers_the_cost():
    figures = calibration_figures(calibrate(result_of(informative=True)), n_draws=100)
    change = figures["cllr_difference"].sel(calibration="influence")
    assert float(change.sel(estimate="upper")) < 0
    noise = calibration_figures(calibrate(result_of()), n_draws=100)
    change = noise["cllr_difference"].sel(calibration="influence")
    assert float(change.sel(estimate="upper")) > 0


def test_no_person_is_in_the_fit_and_in_the_test(result):
    subjects = np.stack(
        [
            np.unique(result[f"{end}_subject"].to_numpy(), return_inverse=True)[1]
            for end in ("probe", "reference")
        ]
    )
    genuine = result["genuine"].to_numpy()
    usable = np.ones(len(genuine), bool)
    usable[:3] = False
    times = np.zeros(len(genuine), int)
    for fit_on, tested in fold_parts(subjects, usable, genuine, folds=4, seed=0):
        assert not np.intersect1d(subjects[:, fit_on], subjects[:, tested]).size
        assert (fit_on & ~usable).sum() == 0
        times += tested
    np.testing.assert_array_equal(times, usable)


def test_labels_of_a_person_do_not_reach_their_own_scores(result):
    """Turning round all labels of the pairs of a person leaves the ratios of these pairs alone."""
    genuine = result["genuine"].to_numpy().copy()
    theirs = (result["probe_subject"] == "p3").to_numpy() | (
        result["reference_subject"] == "p3"
    ).to_numpy()
    changed = genuine.copy()
    impostors = theirs & ~genuine
    changed[np.flatnonzero(impostors)[::2]] = True
    found = [
        calibrate(result, genuine=labels, folds=3, penalty=0.01)["log_likelihood_ratio"]
        for labels in (genuine, changed)
    ]
    for name in CALIBRATIONS:
        one, two = (ratios.sel(calibration=name) for ratios in found)
        np.testing.assert_allclose(one[theirs], two[theirs])
        assert not np.allclose(one[~theirs], two[~theirs])


def test_the_penalty_is_chosen_within_the_fit():
    rng = np.random.default_rng(0)
    genuine = np.arange(400) % 2 == 0
    subjects = np.stack([np.arange(400) // 10] * 2)
    useless = rng.normal(size=(400, 30)) + 0.2 * genuine[:, None] * (np.arange(30) == 0)
    chosen = penalised(useless, genuine, subjects, None)(useless)
    options = [penalised(useless, genuine, subjects, p)(useless) for p in PENALTIES]
    assert np.ptp(chosen) == pytest.approx(min(np.ptp(one) for one in options))


def test_figures_and_reliability(result, calibrated):
    figures = calibration_figures(calibrated, n_draws=50)
    value = figures["cllr"].sel(estimate="value")
    assert (figures["min_cllr"] <= value + 1e-12).all()
    assert (figures["cllr"].sel(estimate="lower") <= value).all()
    ratios = calibrated["log_likelihood_ratio"].sel(calibration="platt").to_numpy()
    assert float(value.sel(calibration="platt")) == pytest.approx(
        cllr(ratios, result["genuine"].to_numpy())
    )
    np.testing.assert_allclose(figures["share"].sum("bin"), 1)


def test_the_interval_of_cllr_is_that_of_repeated_people():
    """The spread over draws is the spread of Cllr over new people, within a factor."""
    new = []
    for seed in range(12):
        other = result_of(seed=seed + 10)
        ratios = 10 * other["similarity"].to_numpy()[0]
        new.append(cllr(ratios, other["genuine"].to_numpy()))
    figures = calibration_figures(calibrate(result_of()), n_draws=200)["cllr"]
    bounds = figures.sel(calibration="platt", estimate=["lower", "upper"]).to_numpy()
    assert 0.5 < np.ptp(bounds) / (3.9 * np.std(new)) < 2.5


def test_learnt_weights_of_bands():
    fused = band_scores(result_of(informative=True))
    assert set(fused.data_vars) == {"similarity", "bands", "learnt", "energy", "weight"}
    result = result_of(informative=True)
    without = result["similarity"] - result["influence"].mean("side")
    expected = without.mean("band").isel(model=0)
    np.testing.assert_allclose(fused["bands"], expected)
    strongest = int(np.argmax(np.abs(fused["weight"].to_numpy())))
    assert strongest == 0  # the band that tells the kinds apart
    assert float(fused["weight"][0]) < 0  # influence is the similarity less that without the band


def test_a_pair_without_a_similarity_has_no_ratio(result):
    missing = result.copy(deep=True)
    missing["similarity"][0, 0] = np.nan
    found = calibrate(missing)
    assert found["log_likelihood_ratio"].isel(pair=0).isnull().all()
    assert found["log_likelihood_ratio"].isel(pair=slice(1, None)).notnull().all()
    assert "no embedding" in describe_probability(found, pair=0)
    text = describe_probability(found, pair=1)
    assert text.startswith("The probability that both faces show one person is ")


def test_bad_input(result):
    few = result.isel(pair=np.isin(result["probe_subject"], ["p1", "p2", "p3", "p4"]))
    pairs = result.sizes["pair"]
    for given, options, message in (
        (few, {}, "folds=5: 4 people have genuine pairs; 10 or more are required"),
        (result, {"prior": 0}, "prior=0 must be a probability between 0 and 1"),
        (result, {"folds": 2}, "folds=2 must be a whole number of 3 or more"),
        (result, {"penalty": 0}, "penalty=0 must be a number above 0"),
        (result, {"seed": -1}, "seed=-1"),
        (result, {"model": "x"}, "unknown model 'x'"),
        (result, {"genuine": [True]}, rf"genuine has shape \(1,\) and type bool for {pairs:,}"),
        (result, {"apply_to": result}, "24 people, such as 'p0', are in result too"),
        (result.isel(pair=result["genuine"].to_numpy()), {}, "there are no impostor pairs"),
        (result * np.nan, {}, "no pair has an influence for model 'm'; its bands were not"),
        (result.assign(similarity=result["similarity"] * 0), {}, "the similarity is 0 for all"),
    ):
        with pytest.raises(ParameterError, match=message):
            calibrate(given, **options)
    with pytest.raises(ParameterError, match=r"apply_to has other sides"):
        calibrate(result, apply_to=result.isel(side=[0]))
    calibrated = calibrate(result)
    with pytest.raises(ParameterError, match="pair=-1 is not among"):
        describe_probability(calibrated, pair=-1)
    with pytest.raises(ParameterError, match="unknown calibration 'plat'.*platt"):
        describe_probability(calibrated, pair=1, calibration="plat")


def test_scores_learnt_on_others_need_enough_pairs():
    rng = np.random.default_rng(0)
    subjects = np.stack([np.arange(12), np.arange(12)])
    with pytest.raises(ParameterError, match="a fit would have"):
        learnt_on_others(
            rng.normal(size=(12, 2)),
            np.ones(12, bool),
            subjects,
            folds=5,
            penalty=1.0,
            seed=0,
        )

"""Detectors on features whose truth is known: they separate what differs, and nothing else."""

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import roc_auc_score

import freqlab as fl
from freqlab.adversarial.detection import FEATURES
from freqlab.errors import ParameterError, UnknownNameError

NAMES = ("krawtchouk", "secret", "spectrum", "influence")
OF_PAIRS = ("pair", "genuine", "probe", "reference", "probe_subject", "reference_subject")


def planted(n_people=60, n_features=10, shift=0.0, seed=0):
    """Features of which the second attack shifts the first by `shift` standard deviations."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(n_people, n_features))  # people differ in their features
    values = np.stack([own + 0.5 * rng.normal(size=own.shape) for _ in range(3)])
    values[2, :, 0] += shift
    pairs = fl.testing.result(own[None, :, None])  # a genuine pair of each person
    return xr.Dataset(
        {name: (("attack", "pair", f"{name}_feature"), values) for name in NAMES}
        | {"success": ("attack", [np.nan, 0.5, 0.5])},
        coords={
            "attack": ["none", "still", "moved"],
            **{name: pairs[name] for name in OF_PAIRS},
        },
    )


def test_features_that_an_attack_changes_are_detected_and_no_others():
    errors = fl.adversarial.detection_errors(fl.adversarial.scores(planted(shift=8.0)), n_draws=200)
    auc = errors["auc"].sel(estimate="value")
    assert (auc.sel(labels="true", attack="moved") > 0.98).all()
    # chance, within four standard errors of an AUC of 60 against 60
    assert (np.abs(auc.sel(labels="true", attack="still") - 0.5) < 0.22).all()
    assert (np.abs(auc.sel(labels="shuffled") - 0.5) < 0.22).all()
    assert (errors["accuracy"].sel(labels="true", attack="moved", estimate="value") > 0.9).all()


def test_shuffled_labels_are_at_chance_on_average():
    found = [
        fl.adversarial.detection_errors(
            fl.adversarial.scores(planted(n_people=40, shift=5.0, seed=seed), seed=seed), n_draws=1
        )["auc"].sel(labels="shuffled", attack="moved", estimate="value", detector="influence")
        for seed in range(12)
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=0.13)


def test_auc_is_that_of_sklearn_and_lies_within_its_interval():
    scores = fl.adversarial.scores(planted(shift=1.5), shuffled=False)
    errors = fl.adversarial.detection_errors(scores, n_draws=300)
    for attack in ("still", "moved"):
        one = scores["score"].sel(labels="true", attack=attack, detector="influence")
        natural, attacked = one.sel(natural=True), one.sel(natural=False)
        truth = np.repeat([0, 1], one.sizes["pair"])
        expected = roc_auc_score(truth, np.concatenate([natural, attacked]))
        value, lower, upper = (
            errors["auc"].sel(labels="true", attack=attack, detector="influence").to_numpy()
        )
        assert value == pytest.approx(expected)
        assert lower < value < upper
        right = (float((natural <= 0).mean()) + float((attacked > 0).mean())) / 2
        found = errors["accuracy"].sel(labels="true", attack=attack, detector="influence")
        assert found[0].item() == pytest.approx(right)


def test_no_person_is_both_fitted_and_tested():
    """Impostor pairs of people in different folds are not used."""
    features = planted(n_people=30)
    partner = np.roll(features["probe_subject"].to_numpy(), 1)
    features["reference_subject"] = ("pair", partner)
    scores = fl.adversarial.scores(features, folds=3, shuffled=False)
    fold = scores["fold"].to_numpy()
    assert (fold == -1).any()
    assert (fold >= 0).any()
    assert (
        scores["score"].isnull().all(["labels", "attack", "detector", "natural"])[fold == -1].all()
    )
    of_person = {}
    for pair in np.flatnonzero(fold >= 0):
        for end in ("probe_subject", "reference_subject"):
            name = str(features[end].to_numpy()[pair])
            assert of_person.setdefault(name, fold[pair]) == fold[pair]


def test_folds_of_the_pairs_are_used_and_must_share_no_person():
    features = planted(n_people=12)
    given = features.assign_coords(fold=("pair", np.arange(12) % 3))
    scores = fl.adversarial.scores(given, folds=9, shuffled=False)
    assert scores["fold"].values.tolist() == (np.arange(12) % 3).tolist()
    assert scores.attrs["folds"] == 3
    given["reference_subject"] = ("pair", np.roll(features["probe_subject"].to_numpy(), 1))
    with pytest.raises(ParameterError, match="share no person"):
        fl.adversarial.scores(given)


@pytest.mark.slow
def test_probes_of_the_demo_are_attacked_and_detected(demo):
    model = fl.load_model("mobilefacenet", device="cpu")
    sample = demo.isel(pair=slice(0, 6))
    attacks = [("FGSM", 4)]
    features = fl.adversarial.features(sample, model, attacks=attacks, fmr=0.1, progress=False)
    assert features["attack"].values.tolist() == ["none", "FGSM 4"]
    same = sample["influence"].sel(model="mobilefacenet", side="probe")
    np.testing.assert_allclose(features["influence"].sel(attack="none"), same, atol=2e-5)
    assert (features["similarity"][1] < features["similarity"][0]).all()  # all genuine
    assert features.sizes["chosen"] == features.sizes["moment"] // 2
    again = fl.adversarial.features(sample, model, attacks=attacks, fmr=0.1, progress=False)
    assert again.attrs["forward_passes"] == 0
    xr.testing.assert_equal(again, features)
    scores = fl.adversarial.scores(features, folds=2)
    table = fl.adversarial.detection_table(fl.adversarial.detection_errors(scores, n_draws=20))
    assert table.index.tolist() == [f"{name}, FGSM 4" for name in FEATURES]
    sizes = ["largest change", "mean change", "unchanged pixels"]
    assert table.columns.tolist() == ["success", *sizes, "AUC", "accuracy", "AUC, shuffled labels"]
    assert features["unchanged"].sel(attack="none").values.tolist() == [1] * 6
    assert features["largest_change"].values.tolist() == [[0] * 6, [4] * 6]
    assert table["largest change"].tolist() == ["4"] * len(FEATURES)


@pytest.mark.parametrize("people", [19, 20])
def test_intervals_are_shown_from_twenty_people_and_where_they_have_spread(people):
    errors = xr.Dataset(
        {
            "auc": (
                ("labels", "attack", "detector", "estimate"),
                [[[[1.0, 1.0, 1.0], [0.9, 0.8, 0.95], [0.9996, 0.9992, 0.9999]]]],
            ),
            "accuracy": (
                ("labels", "attack", "detector", "estimate"),
                [[[[1.0, 1.0, 1.0], [0.8, 0.7, 0.9], [0.8, 0.8, 0.8]]]],
            ),
            "success": ("attack", [0.5]),
            "n_people": people,
        },
        coords={
            "labels": ["true"],
            "attack": ["FGSM 4"],
            "detector": ["a", "b", "c"],
            "estimate": ["value", "lower", "upper"],
        },
    )
    table = fl.adversarial.detection_table(errors)
    assert table["success"].tolist() == ["50\u00a0%"] * 3
    if people < 20:
        assert table["AUC"].tolist() == ["1.00", "0.90", "1.00"]
        assert table["accuracy"].tolist() == ["100\u00a0%", "80\u00a0%", "80\u00a0%"]
    else:
        with_bounds = ["1.00", "0.90 [0.80,\u00a00.95]", "1.000 [0.999,\u00a01.000]"]
        assert table["AUC"].tolist() == with_bounds
        assert table["accuracy"].tolist()[0] == "100\u00a0%"
        assert table["accuracy"].tolist()[1].startswith("80\u00a0% [70")


def test_wrong_arguments_are_named():
    model, result = fl.testing.model(), fl.testing.influence()
    with pytest.raises(ParameterError, match="at least one"):
        fl.adversarial.features(result, model, attacks=[])
    with pytest.raises(UnknownNameError, match="FGSM"):
        fl.adversarial.features(result, model, attacks=[("FGMS", 2)])
    with pytest.raises(ParameterError, match="folds=70"):
        fl.adversarial.scores(planted(), folds=70)

"""Vulnerability by brute force, profiles by plain means, and the figures."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import freqlab as fl
from freqlab import plots
from freqlab.errors import ParameterError


@pytest.fixture(scope="module")
def study(orl, tmp_path_factory):
    """Twelve people, three photographs each, six morphs; MobileFaceNet, few bands."""
    faces = orl.select([10 * s + i for s in range(12) for i in (0, 1, 2)])
    folder = tmp_path_factory.mktemp("study")
    couples = pd.DataFrame(
        {"a": [f"s{2 * k + 1}/1" for k in range(6)], "b": [f"s{2 * k + 2}/1" for k in range(6)]}
    )
    mixed = fl.morphing.make_faces(faces, couples, folder=folder / "morphs", progress=False)
    mirrors = pd.DataFrame({"a": [f"s{k + 1}/1" for k in range(12)], "b": [None] * 12})
    mixed = fl.morphing.make_faces(
        mixed, mirrors, folder=folder / "morphs", tool="m", progress=False
    )
    pairs = fl.morphing.make_pairs(mixed)
    result = fl.influence(
        mixed, pairs, models=["mobilefacenet"], bands="rings:14", sides=["probe", "reference"],
        store=folder / "run.zarr", progress=False,
    ).load()  # fmt: skip
    vectors = fl.open_embeddings(folder / "run.zarr", model="mobilefacenet").sel(face=mixed.names)
    return mixed, pairs, result, vectors.to_numpy()


@pytest.mark.slow
def test_vulnerability_is_that_of_brute_force(study):
    faces, pairs, _, vectors = study
    threshold = 0.45
    risk = fl.morphing.vulnerability({"m": vectors}, faces, pairs, thresholds={"m": threshold})
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    place = {name: i for i, name in enumerate(faces.names)}
    both, product = [], []
    for morph in [name for name in faces.names if name.endswith("@alpha0.5")]:
        shares = []
        for person in (
            faces.table.loc[morph, "contributor_a"],
            faces.table.loc[morph, "contributor_b"],
        ):
            live = [f"{person}/2", f"{person}/3"]
            shares.append([float(unit[place[morph]] @ unit[place[n]]) >= threshold for n in live])
        both.append(all(any(one) for one in shares))
        product.append(np.mean(shares[0]) * np.mean(shares[1]))
    at = risk.sel(model="m", attack="alpha0.5").isel(fmr=0)
    assert float(at["mmpmr"].sel(estimate="value")) == pytest.approx(np.mean(both))
    assert float(at["prodavg_mmpmr"].sel(estimate="value")) == pytest.approx(np.mean(product))
    assert int(at["n_morphs"]) == 6
    refused = [
        float(unit[place[f"s{s}/1"]] @ unit[place[f"s{s}/{i}"]]) < threshold
        for s in range(1, 13) for i in (2, 3)
    ]  # fmt: skip
    fnmr = risk["false_non_match_rate"].isel(model=0, fmr=0)
    assert float(fnmr.sel(estimate="value")) == pytest.approx(np.mean(refused))


def test_thresholds_rest_on_photographs_alone(study):
    faces, pairs, _, vectors = study
    risk = fl.morphing.vulnerability({"m": vectors}, faces, pairs)
    whole = ~faces.table["morph"].to_numpy(bool)
    expected, n_impostor = fl.statistics.impostor_thresholds(
        vectors[whole], faces.subjects[whole], faces.sources[whole]
    )
    np.testing.assert_array_equal(risk["threshold"].sel(model="m"), expected)
    assert int(risk["impostor_comparisons"].sel(model="m")) == n_impostor
    assert np.isnan(risk["mmpmr"].sel(fmr=1e-6)).all()  # not resolved by 594 comparisons


def test_rates_of_none_and_of_all_have_mirrored_bounds(study):
    """Six couples of twelve people: Clopper and Pearson, corrected for the number of people."""
    faces, pairs, _, vectors = study
    trials = 6 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 11)) ** 2
    bound = 1 - 0.025 ** (1 / trials)
    for threshold, expected in ((2.0, [0, 0, bound]), (-2.0, [1, 1 - bound, 1])):
        risk = fl.morphing.vulnerability({"m": vectors}, faces, pairs, thresholds={"m": threshold})
        np.testing.assert_allclose(risk["mmpmr"].sel(model="m", attack="all").isel(fmr=0), expected)


def test_profiles_are_means_over_pairs_of_a_kind(study):
    _, _, result, _ = study
    profiles = fl.morphing.profiles(result, n_draws=30)
    assert profiles["attack"].to_numpy().tolist() == ["bona fide", "control", "alpha0.5"]
    attack = result["attack"].to_numpy()
    means = {
        kind: result["influence"].isel(model=0).to_numpy()[attack == kind].mean(axis=0)
        for kind in ("bona fide", "alpha0.5")
    }
    part = profiles.sel(attack="alpha0.5", estimate="value").isel(model=0)
    np.testing.assert_allclose(part["directed"], means["alpha0.5"], atol=1e-6)
    np.testing.assert_allclose(
        part["directed_difference"], means["alpha0.5"] - means["bona fide"], atol=1e-6
    )
    assert int(profiles["n_people"].sel(attack="alpha0.5")) == 12


def test_what_is_not_allowed_is_told(study):
    faces, pairs, result, vectors = study
    with pytest.raises(ParameterError, match="at least one model"):
        fl.morphing.vulnerability({}, faces, pairs)
    with pytest.raises(ParameterError, match="give one for each model"):
        fl.morphing.vulnerability({"m": vectors}, faces, pairs, thresholds={"n": 0.3})
    with pytest.raises(ParameterError, match=r"shape \(3, 512\)"):
        fl.morphing.vulnerability({"m": vectors[:3]}, faces, pairs)
    with pytest.raises(ParameterError, match="contain no attack"):
        fl.morphing.vulnerability({"m": vectors}, faces, pairs[pairs["attack"] == "bona fide"])
    with pytest.raises(ParameterError, match="fl.morphing.make_pairs"):
        fl.morphing.profiles(result.drop_vars("attack"))
    with pytest.raises(ParameterError, match="no bona fide pair"):
        fl.morphing.profiles(result.sel(pair=(result["attack"] != "bona fide").to_numpy()))


@pytest.mark.parametrize("difference", [False, True])
def test_profiles_are_drawn_with_a_line_for_each_kind(study, difference):
    _, _, result, _ = study
    profiles = fl.morphing.profiles(result, n_draws=20)
    ax = plots.attack_profile_plot(profiles, model="mobilefacenet", difference=difference)
    name = "directed_difference" if difference else "directed"
    part = profiles[name].sel(side="reference", estimate="value").isel(model=0)
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == len(part["band"])]
    np.testing.assert_allclose(drawn, part.to_numpy()[int(difference) :])
    assert "document masked" in ax.get_title(loc="left")
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_a_morph_stands_between_its_contributors(study):
    _, pairs, result, _ = study
    pair = int(pairs.index[pairs["attack"] == "alpha0.5"][0])
    axes = plots.morph_plot(result, pair=pair, model="mobilefacenet")
    assert set(axes) == {"morph", "live a", "live b", "heat a", "heat b"}
    crops = fl.open_run(result.attrs["store"])["crops/arcface"]["crop"]
    morph = str(result["reference"].sel(pair=pair).item())
    np.testing.assert_array_equal(axes["morph"].images[0].get_array(), crops.sel(face=morph))
    with pytest.raises(ParameterError, match="is not an attack pair"):
        plots.morph_plot(result, pair=0, model="mobilefacenet")


def test_detection_is_drawn_for_each_score(study):
    _, _, result, _ = study
    scores = fl.morphing.scores(result, model="mobilefacenet")
    errors = fl.morphing.detection_errors(scores)
    ax = plots.detection_plot(errors)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [label.split(":")[0] for label in labels] == [
        "low/high", "centroid", "asymmetry", "mahalanobis", "fusion", "similarity",
        "power spectrum", "supervised",
    ]  # fmt: skip
    ax = plots.score_histogram_plot(scores)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["bona fide (24)", "control (24)", "attacks (24)"]
    assert ax.get_legend().get_title().get_text() == "pairs"


def rows_of(ax):
    """Points of a plot of rates, by the name of the row."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    points = {
        line.get_ydata()[0]: line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1
    }
    return {name: points[row] for row, name in enumerate(names)}


def test_rates_are_drawn_in_per_cent(study):
    faces, pairs, result, vectors = study
    risk = fl.morphing.vulnerability(
        {"mobilefacenet": vectors}, faces, pairs, thresholds={"mobilefacenet": 0.3}
    )
    ax = plots.vulnerability_plot(risk, model="mobilefacenet")
    drawn = rows_of(ax)
    assert list(drawn) == ["alpha0.5", "bona fide pairs rejected"]  # a single kind: not pooled
    rate = risk["mmpmr"].sel(attack="alpha0.5", estimate="value").item()
    assert drawn["alpha0.5"] == pytest.approx(100 * rate)
    errors = fl.morphing.detection_errors(fl.morphing.scores(result, model="mobilefacenet"))
    ax = plots.d_eer_plot(errors)
    drawn = rows_of(ax)
    assert len(drawn) == 8
    assert list(drawn.values()) == sorted(drawn.values())
    for name, value in drawn.items():
        rate = errors["d_eer"].sel(score_name=name, attack="all", estimate="value").item()
        assert value == pytest.approx(100 * rate)
    with pytest.raises(ParameterError, match="unknown attack 'none'"):
        plots.d_eer_plot(errors, attack="none")

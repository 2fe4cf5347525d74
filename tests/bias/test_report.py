"""Tables and sentences of a bias study say what its numbers say, and no more."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import freqlab as fl
from freqlab.bias.group_names import group_label
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.store.studies import as_dataset

N_BANDS = 6
PER_SUBJECT = 3


def made(n_yes=24, n_no=30, *, gap=0.0, noise=1.0, seed=0, baseline="no"):
    """Profiles and error rates of people with and without glasses.

    The influence of band 2 is larger by `gap` with glasses, and embeddings are noisier by `noise`.
    """
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n_yes + n_no), PER_SUBJECT)
    has = subject < n_yes
    faces = fl.testing.faces(n_yes + n_no, PER_SUBJECT, size=4)
    labels = pd.Series(np.where(has, "yes", "no"), index=faces.names, name="glasses")
    pairs = fl.make_pairs(faces, impostors_per_genuine=4, seed=0)
    place = {name: i for i, name in enumerate(faces.names)}
    first, second = (pairs[end].map(place).to_numpy() for end in ("probe", "reference"))
    values = 0.1 * rng.normal(0, 1, (1, len(pairs), 2, N_BANDS))
    values[0, has[first] & has[second], :, 2] += gap
    columns = {end: pairs[end].to_numpy(object) for end in ("probe", "reference")}
    result = fl.testing.result(
        values,
        probe_subject=faces.subjects[first],
        reference_subject=faces.subjects[second],
        columns=columns,
    )
    profiles = fl.bias.profiles(result, labels, baseline=baseline, n_draws=200, n_permutations=199)
    identity = rng.standard_normal((n_yes + n_no, 16))[subject]
    spread = 0.6 * np.where(has, noise, 1.0)[:, None]
    vectors = identity + spread * rng.standard_normal(identity.shape)
    errors = fl.bias.errors({"m": vectors}, faces, labels, baseline=baseline, n_draws=200)
    return profiles, errors


def study_of(profiles, errors, *, matched=None, sharpness=0.0):
    """A study in the form of :func:`freqlab.bias.study`, without its store."""
    apart = pd.DataFrame({"sharpness": [sharpness]}, index=pd.Index(["yes"], name="group"))
    quality = pd.concat({"before": apart, "after": 0 * apart}, names=["matching"])
    nodes = {
        "profiles": profiles,
        "differences": fl.bias.differences(profiles),
        "errors": errors,
        "gaps": fl.bias.gaps(profiles, errors),
        "quality/differences": as_dataset(quality),
    }
    if matched is not None:
        nodes |= {"matched": matched, "matched_differences": fl.bias.differences(matched)}
    attrs = {
        "fmr": 0.1,
        "alpha": 0.05,
        "n_explained_faces": 162,
        "n_matched": 140,
        "match_on": "sharpness",
        "match_exact": "[]",
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **nodes})


def plain(text):
    return text.replace("\u00a0", " ")


@pytest.fixture(scope="module")
def different():
    """A study in which people with glasses differ in one band, and are rejected more often."""
    profiles, errors = made(gap=0.2, noise=2.2)
    return study_of(profiles, errors, matched=profiles, sharpness=-0.8)


@pytest.fixture(scope="module")
def alike():
    return study_of(*made())


@pytest.fixture(scope="module")
def few():
    return study_of(*made(n_yes=12, gap=0.2, noise=2.2))


def test_differences_count_bands_by_p_value_and_interval(different):
    profiles, found = (different[name].to_dataset() for name in ("profiles", "differences"))
    assert found["group"].to_numpy().tolist() == ["yes"]
    at = {"model": "m", "side": "probe", "comparison": "genuine", "kind": "directed"}
    part = profiles.sel({k: v for k, v in at.items() if k != "kind"}, drop=True).sel(group="yes")
    p = part["p_adjusted"].sel(kind="directed").to_numpy()
    value, lower, upper = part["directed_difference"].transpose("estimate", "band").to_numpy()
    expected = (p <= 0.05) & ((lower > 0) | (upper < 0))
    summarised = found.sel(at).sel(group="yes")
    np.testing.assert_array_equal(summarised["differs"], expected)
    assert int(summarised["n_differing"]) == expected.sum() >= 1
    assert int(summarised["n_tested"]) == N_BANDS
    assert summarised["largest_band"].item() == profiles["band"].to_numpy()[2]
    np.testing.assert_allclose(summarised["largest_difference"], [value[2], lower[2], upper[2]])
    assert int(summarised["n_subjects"]) == 24


def test_the_table_has_a_row_per_part_instead_of_one_per_band(different, few):
    table = fl.bias.differences_table(different)
    assert len(table) == 2 * 2 * 3  # comparisons, sides, kinds
    assert set(table["group"]) == {"glasses=yes"}
    row = table[(table["influence"] == "directed") & (table["pairs"] == "genuine")].iloc[0]
    n = int(different["differences"]["n_differing"].sel(kind="directed").max())
    assert row["bands that differ"] in {f"{k} of {N_BANDS}" for k in range(1, n + 1)}
    assert row["difference"].startswith("+0.")
    again = fl.bias.differences_table(different["matched_differences"])
    pd.testing.assert_frame_equal(again, table)
    small = fl.bias.differences_table(few)
    assert small["pairs"].tolist() == ["genuine", "impostor"]
    assert set(small["bands that differ"]) == {"12 people: too few to compare"}
    assert (small["difference"] == "").all()


def test_the_summary_compares_where_paired_intervals_exclude_zero(different):
    told = [plain(text) for text in fl.bias.summary(different)]
    assert len(told) == 4
    assert all(text.startswith("m: ") for text in told)
    at = different["errors"].to_dataset().sel(model="m").sel(fmr=0.1, method="nearest")
    value, lower, upper = 100 * at["false_non_match_rate_difference"].sel(group="yes").to_numpy()
    assert lower > 0
    assert f"higher, {value:+.2f} [{lower:+.2f}, {upper:+.2f}] percentage points" in told[0]
    assert "for glasses=no (30 people)" in told[0]
    assert "compared with glasses=no" in told[1]
    assert "glasses=yes differs in" in told[1]
    assert "may explain it (in standard deviations: sharpness -0.80)" in told[1]
    assert told[3].startswith(
        "m: Among the 140 of 162 photographs matched on sharpness, directed influence of genuine"
    )
    assert "may explain" not in told[3]


def test_the_summary_compares_nothing_that_does_not_differ(alike):
    told = " ".join(fl.bias.summary(alike))
    assert "no difference established, " in told
    assert "higher" not in told
    assert "lower" not in told
    assert f"differs in none of {N_BANDS} bands, largest difference in" in told
    assert "None of the 162 photographs could be matched" in told


def test_the_summary_compares_no_group_of_few_people(few):
    told = " ".join(fl.bias.summary(few))
    assert "for glasses=yes (12 people: too few to compare)" in told
    assert "glasses=yes (12 people in genuine pairs and 12 people in impostor pairs): too" in told
    for word in ("higher", "lower", "differs", "established", "more", "may explain"):
        assert word not in told


def test_differences_of_rates_are_paired_and_bounded_where_no_error_is_observed():
    _, errors = made(noise=0.0, gap=0.0)
    at = errors.sel(model="m", fmr=0.1)
    rates = at["false_non_match_rate"]
    assert float(rates.sel(group="yes", estimate="value")) == 0
    difference = at["false_non_match_rate_difference"].sel(group="yes").to_numpy()
    no, yes = (rates.sel(group=name).to_numpy() for name in ("no", "yes"))
    assert difference[0] == pytest.approx(yes[0] - no[0])
    below = np.hypot(yes[0] - yes[1], no[2] - no[0])
    above = np.hypot(yes[2] - yes[0], no[0] - no[1])
    np.testing.assert_allclose(difference[1:], difference[0] + [-below, above])
    assert np.isnan(at["false_non_match_rate_difference"].sel(group="no")).all()
    assert int(at["n_people"].sel(group="yes", comparison="genuine")) == 24
    assert errors.attrs["baseline"] == "no"
    with pytest.raises(UnknownNameError, match="baseline"):
        made(baseline="maybe")


def test_the_people_of_the_groups_are_told(different, few):
    for tree in (different, few):
        tree.attrs["baseline"] = "no"
    assert fl.bias.describe_people(different) == (
        "The report shows error rates and the influence of frequency bands for glasses=no (30 "
        "people, the baseline) and glasses=yes (24 people)."
    )
    told = fl.bias.describe_people(few)
    assert "glasses=yes (12 people). **glasses=yes is not compared in words, since it has" in told
    assert told.endswith(
        "fewer than 20 people:** figures and tables show the values with 95 % intervals."
    )


def test_bands_of_few_people_are_listed_only_on_request(different, few):
    profiles = few["profiles"].to_dataset()
    assert fl.bias.differing_bands(profiles, model="m").empty
    listed = fl.bias.differing_bands(profiles, model="m", fewest=12)
    assert "glasses=yes" in set(listed["group"])
    assert len(fl.bias.differing_bands(different["profiles"].to_dataset(), model="m"))


def test_the_table_of_error_rates_names_the_column(different):
    errors = different["errors"].to_dataset()
    table = fl.bias.errors_table(errors, model="m", fmr=0.1)
    assert table.index.tolist() == ["all", "glasses=no", "glasses=yes", "mixed"]
    plain_table = fl.verification.summary_table(errors, model="m", fmr=0.1)
    assert (table.to_numpy() == plain_table.to_numpy()).all()


def test_a_rate_without_a_threshold_is_told(alike):
    said = fl.bias.describe_error_gaps(alike["errors"].to_dataset(), model="m", fmr=1e-6)
    assert said.startswith("There is no threshold at FMR 1e-6: it takes 10,000,000 impostor")


def test_a_rate_without_comparisons_is_told():
    faces = fl.testing.faces(12, 2, size=4)
    labels = pd.Series(np.repeat(["a", "b"], 12), index=faces.names, name="team")
    vectors = np.random.default_rng(0).standard_normal((24, 8))
    listed = fl.make_pairs(faces, impostors_per_genuine=3)
    errors = fl.bias.errors({"m": vectors}, faces, labels, listed[~listed["genuine"]], n_draws=5)
    said = fl.bias.describe_error_gaps(errors, model="m", fmr=0.1)
    assert "FNMR is not available: no group has genuine comparisons." in said
    assert "FMR is not resolved in any group: it takes 100 impostor comparisons" in said


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_interval_of_a_difference_covers_it():
    """Paired intervals of the difference in FNMR, over simulated sets of people."""
    covered, truth = [], []
    for seed in range(40):
        _, errors = made(noise=1.6, seed=seed)
        at = errors["false_non_match_rate_difference"].sel(model="m", fmr=0.1, group="yes")
        truth.append(float(at.sel(estimate="value")))
        covered.append(at.sel(estimate=["lower", "upper"]).to_numpy())
    lower, upper = np.array(covered).T
    mean = np.mean(truth)
    assert 0.85 <= np.mean((lower <= mean) & (mean <= upper)) <= 1


def test_gaps_of_a_study_are_those_of_its_parts(different):
    profiles, errors = (different[name].to_dataset() for name in ("profiles", "errors"))
    points = fl.bias.gap_points(different)
    assert points.index.tolist() == [("m", "glasses=yes")]
    expected = fl.bias.gaps_together(profiles, errors, fmr=0.1)
    assert expected.index.tolist() == [("m", "yes")]
    np.testing.assert_allclose(points, expected, atol=1e-12)
    table = fl.bias.gaps_table(different)
    assert table.index.tolist() == points.index.tolist()
    assert plain(table["FNMR gap"].iloc[0]).startswith(f"{100 * points['FNMR gap'].iloc[0]:+.2f} [")
    assert fl.bias.gaps_table(expected)["FNMR gap"].iloc[0].endswith(" points")
    with pytest.raises(ParameterError, match="baseline 'yes', profiles the baseline 'no'"):
        fl.bias.gaps(profiles, errors.assign_attrs(baseline="yes"))


def test_a_scatter_needs_points_that_differ():
    def points(distances, gaps):
        index = pd.MultiIndex.from_product([["m"], range(len(gaps))], names=["model", "group"])
        columns = {"distance": distances, "FNMR gap": gaps, "FMR gap": gaps, "EER gap": gaps}
        return pd.DataFrame(columns, index=index)

    several = points([0.1, 0.2, 0.3], [0.01, 0.02, 0.0])
    assert fl.bias.drawable_gaps(several) == ["FNMR gap", "FMR gap", "EER gap"]
    assert fl.bias.describe_gap_points(several) == ""
    one = points([0.1], [0.01])
    assert fl.bias.drawable_gaps(one) == []
    said = fl.bias.describe_gap_points(one)
    assert "FNMR gap: 1 point is resolved, and a scatter needs at least 3." in said
    rounding = points([0.1, 0.2, 0.3], [0.0, 1e-17, -1e-17])
    assert fl.bias.drawable_gaps(rounding) == []
    assert "all 3 values are +0.00 percentage points" in fl.bias.describe_gap_points(rounding)
    same = points([0.1, 0.1, 0.1], [0.01, 0.02, 0.03])
    assert "all 3 distances are 0.100" in fl.bias.describe_gap_points(same)
    assert "2 points are" in fl.bias.describe_gap_points(several.iloc[:2])


def test_groups_are_named_with_their_columns(different):
    assert group_label("glasses", "no") == "glasses=no"
    assert group_label("glasses / gender", "no / male") == "glasses=no, gender=male"
    assert group_label("team", "a / b") == "team=a / b"
    assert group_label("glasses", "mixed") == "mixed"
    labels = different["errors"]["group_label"].to_numpy().tolist()
    assert labels == ["all", "glasses=no", "glasses=yes", "mixed"]
    said = fl.bias.describe_groups(different["profiles"].to_dataset())
    assert said.startswith("Baseline: glasses=no (30 subjects). glasses=no: 90 genuine pairs of 30")


@pytest.mark.slow
def test_the_study_holds_its_gaps_and_differences(tmp_path):
    faces = fl.testing.faces(8, 3, groups={"colour": ("red", "green")})
    study = fl.bias.study(
        faces,
        group="colour",
        models=[fl.testing.model()],
        store=tmp_path / "run.zarr",
        bands="rings:28",
        n_pairs=None,
        impostors_per_genuine=2,
        fmr=0.1,
        caliper=5.0,
        n_draws=20,
        n_permutations=20,
        progress=False,
    )
    profiles, errors = (study[name].to_dataset() for name in ("profiles", "errors"))
    assert errors.attrs["baseline"] == profiles.attrs["baseline"] == study.attrs["baseline"]
    stored, computed = study["gaps"].to_dataset(), fl.bias.gaps(profiles, errors)
    xr.testing.assert_equal(stored, computed)
    stored = study["differences"].to_dataset()
    xr.testing.assert_equal(stored, fl.bias.differences(profiles))
    assert set(fl.store.as_frame(study["groups"]).index) == {"colour=red", "colour=green"}
    assert set(fl.store.as_frame(study["quality/before"]).index) == {"colour=red", "colour=green"}
    assert "4 people in genuine pairs" in fl.bias.summary(study)[1]

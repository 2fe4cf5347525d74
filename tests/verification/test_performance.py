import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Linear, make_faces
from scipy import stats

import freqlab as fl
from freqlab.errors import PairError, ParameterError, UnknownNameError
from freqlab.statistics.error_rates import FMRS, all_comparisons, compare_all, equal_error_rate
from freqlab.verification.performance import MIXED, figures_of


def verify(faces, pairs=None, **options):
    model = options.pop("models", [fl.wrap_model(Linear(), name="linear")])
    options.setdefault("n_draws", 50)
    return fl.verify(faces, pairs, models=model, progress=False, **options)


@pytest.fixture(scope="module")
def faces():
    """Twelve people in two groups, five crops each, noisy enough to be confused."""
    faces = make_faces(n_subjects=12, per_subject=5, seed=3)
    rng = np.random.default_rng(0)
    images = [
        np.clip(image * 0.15 + rng.normal(110, 45, image.shape), 0, 255).astype(np.uint8)
        for image in faces.images
    ]
    hue = np.where(np.arange(60) < 35, "red", "blue")
    hat = np.where(np.arange(60) % 5 < 2, "yes", "no")
    table = faces.table.assign(hue=hue, hat=hat)
    return fl.Faces(table, images=images, aligned="arcface", name="noisy")


@pytest.fixture(scope="module")
def result(faces):
    return verify(faces, group="hue")


def embeddings_of(result, faces):
    return (
        fl.open_embeddings(result.attrs["store"], model="linear").sel(face=faces.names).to_numpy()
    )


def test_figures_are_those_of_all_comparisons(result, faces):
    genuine, impostor = all_comparisons(embeddings_of(result, faces), faces.subjects, faces.sources)
    one = result.sel(model="linear", group="all")
    assert float(one["eer"].sel(estimate="value")) == equal_error_rate(genuine, impostor)
    assert (int(one["n_genuine"]), int(one["n_impostor"])) == (len(genuine), len(impostor))
    assert int(one["impostor_comparisons"]) == len(impostor)
    at = float(one["threshold"].sel(fmr=0.1))
    value = one.sel(fmr=0.1, estimate="value")
    assert float(value["false_match_rate"]) == pytest.approx((impostor >= at).mean())
    assert float(value["false_non_match_rate"]) == pytest.approx((genuine < at).mean())
    for name in ("eer", "d_prime", "false_match_rate", "false_non_match_rate"):
        lower, mid, upper = (one[name].sel(estimate=e) for e in ("lower", "value", "upper"))
        resolved = np.isfinite(mid)
        assert bool((lower <= mid).where(resolved, True).all())
        assert bool((mid <= upper).where(resolved, True).all())


def test_what_is_not_resolved_is_nan_and_says_why(result):
    one = result.sel(model="linear", group="all")
    assert result["fmr"].to_numpy().tolist() == list(FMRS)
    assert np.isnan(one["threshold"].sel(fmr=1e-3))
    assert np.isnan(one["false_match_rate"].sel(fmr=1e-3)).all()
    assert one["note"].sel(fmr=1e-3).item() == (
        "no threshold: 10,000 impostor comparisons of the face set are required"
    )
    assert one["note"].sel(fmr=0.1).item() == ""


def test_groups_are_of_comparisons_within_them(result, faces):
    assert result["group"].to_numpy().tolist() == ["all", "blue", "red", MIXED]
    counts = result.sel(model="linear")
    assert int(counts["n_genuine"].sel(group="red")) == 7 * 10
    assert int(counts["n_impostor"].sel(group="red")) == 35 * 34 / 2 - 70
    assert int(counts["n_impostor"].sel(group=MIXED)) == 35 * 25
    assert int(counts["n_genuine"].sel(group=MIXED)) == 0
    total = counts["n_impostor"].sel(group=["blue", "red", MIXED]).sum()
    assert int(total) == int(counts["n_impostor"].sel(group="all"))
    red = np.flatnonzero(faces.table["hue"] == "red")
    some = embeddings_of(result, faces)[red]
    genuine, impostor = all_comparisons(some, faces.subjects[red], faces.sources[red])
    found = counts.sel(group="red", estimate="value")
    assert float(found["eer"]) == equal_error_rate(genuine, impostor)
    at = float(counts["threshold"].sel(fmr=0.1))
    assert float(found["false_match_rate"].sel(fmr=0.1)) == pytest.approx((impostor >= at).mean())


def test_crossed_groups_and_gaps(faces):
    table = faces.table.copy()
    table.loc[table.index[0], "hat"] = ""
    some = fl.Faces(table, images=faces.images, aligned="arcface")
    found = verify(some, group=["hue", "hat"])
    names = found["group"].to_numpy().tolist()
    assert names == ["all", "blue / no", "blue / yes", "red / no", "red / yes", MIXED]
    with pytest.raises(UnknownNameError, match="Did you mean 'hue'"):
        verify(faces, group="hu")
    odd = fl.Faces(faces.table.assign(g="all"), images=faces.images, aligned="arcface")
    with pytest.raises(ParameterError, match="are reserved"):
        verify(odd, group="g")


def test_curve_goes_through_the_thresholds(result, faces):
    one = result.sel(model="linear", group="all")
    on_curve = one["curve"].sel(curve_fmr=0.1, method="nearest")
    at_threshold = one["false_non_match_rate"].sel(fmr=0.1, estimate="value")
    assert float(on_curve) == pytest.approx(float(at_threshold))
    curve = one["curve"].dropna("curve_fmr").to_numpy()
    assert (np.diff(curve) <= 1e-12).all()
    assert curve[-1] == 0


def test_extremes_are_the_worst(result, faces):
    one = result.sel(model="linear")
    every = compare_all(embeddings_of(result, faces), faces.subjects, faces.sources)
    names = np.array(faces.names)
    worst = int(np.argmin(np.where(every.genuine, every.scores, 2)))
    first = one.sel(comparison="genuine").isel(rank=0)
    assert first["extreme_probe"].item() == names[every.probe[worst]]
    assert first["extreme_reference"].item() == names[every.reference[worst]]
    assert float(first["extreme_similarity"]) == pytest.approx(float(every.scores[worst]))
    best = one["extreme_similarity"].sel(comparison="impostor").to_numpy()
    assert (np.diff(best) <= 0).all()


def test_listed_pairs_with_folds(faces):
    pairs = fl.make_pairs(faces, n_pairs=100, seed=1)
    pairs["fold"] = np.arange(len(pairs)) % 4
    found = verify(faces, pairs).sel(model="linear")
    assert int(found["n_genuine"].sel(group="all")) == pairs["genuine"].sum()
    assert int(found["impostor_comparisons"]) == 60 * 59 / 2 - 120  # thresholds: all of them
    lower, value, upper = found["accuracy"].sel(estimate=["lower", "value", "upper"]).to_numpy()
    assert 0.3 <= lower <= value <= upper <= 1
    assert found["accuracy_by_fold"].mean() == pytest.approx(value)
    assert found.attrs["comparisons"] == "the pairs given"
    few = found.sel(fmr=0.1, group="all")
    assert np.isfinite(few["threshold"])
    assert few["note"].item() == "50 impostor comparisons; 100 are required"
    assert np.isnan(few["false_match_rate"]).all()
    assert np.isfinite(few["false_non_match_rate"].sel(estimate="value"))
    with pytest.raises(PairError, match="lack the column"):
        verify(faces, pairs.drop(columns="genuine"))


def test_failures_to_acquire_stand_beside_the_error_rates(orl, tmp_path):
    rng = np.random.default_rng(0)
    images = [orl.image(i) for i in (0, 1, 10, 11)]
    images += [rng.integers(100, 150, (112, 92, 3), dtype=np.uint8) for _ in range(2)]
    table = pd.DataFrame(
        {"subject": list("aabbcc"), "light": ["on"] * 4 + ["off"] * 2},
        index=[f"f{i}" for i in range(6)],
    )
    some = fl.Faces(table, images=images)
    found = verify(some, models=["mobilefacenet"], group="light").sel(model="mobilefacenet")
    rates = found["failure_to_acquire"].sel(estimate="value")
    assert float(rates.sel(group="all")) == pytest.approx(2 / 6)
    assert float(rates.sel(group="off")) == 1
    on = found["failure_to_acquire"].sel(group="on")
    assert on.to_numpy().tolist() == [0, 0, 1]  # none of two people says nothing
    assert found["group"].to_numpy().tolist() == ["all", "off", "on"]  # nothing is mixed


def test_a_second_call_embeds_nothing(faces, tmp_path, capsys):
    seen = []

    class Counting(Linear):
        def forward(self, images):
            seen.append(len(images))
            return super().forward(images)

    model = fl.wrap_model(Counting(), name="counting")
    for _ in range(2):
        verify(faces, models=[model], store=tmp_path / "r.zarr")
    assert sum(seen[-1:]) == 1  # the reference crop alone


def test_a_result_travels_as_netcdf(result, tmp_path):
    result.to_netcdf(tmp_path / "v.nc")
    import xarray as xr

    with xr.open_dataset(tmp_path / "v.nc") as opened:
        xr.testing.assert_allclose(opened["eer"], result["eer"])
        assert opened["eer"].attrs["long_name"] == "equal error rate"


def test_figures_at_any_false_match_rate(faces):
    result = verify(faces, fmrs=[0.05, 0.3])
    genuine, impostor = all_comparisons(embeddings_of(result, faces), faces.subjects, faces.sources)
    assert result["fmr"].to_numpy().tolist() == [0.3, 0.05]
    for rate in (0.3, 0.05):
        at = result.isel(model=0).sel(group="all", fmr=rate, estimate="value")
        threshold = float(at["threshold"])
        assert float(at["false_match_rate"]) == pytest.approx((impostor >= threshold).mean())
        assert float(at["false_non_match_rate"]) == pytest.approx((genuine < threshold).mean())
    table = fl.verification.summary_table(result, model="linear", fmr=0.05)
    assert "FNMR at 5e-2" in table.columns


def test_table_to_read(result):
    table = fl.verification.summary_table(result, model="linear", fmr=0.1)
    assert table.index.tolist() == ["all", "blue", "red", MIXED]
    n = int(result["eer_people"].sel(model="linear", group="all"))
    assert table.loc["all", "EER"].endswith(f"], {n}\u00a0people")
    assert "[" in table.loc["red", "FMR at 1e-1"]
    assert table.loc[MIXED, "FNMR at 1e-1"] == ""
    unresolved = fl.verification.summary_table(result, model="linear", fmr=1e-3)
    assert unresolved.loc["all", "FMR at 1e-3"] == "not resolved"
    with pytest.raises(UnknownNameError):
        fl.verification.summary_table(result, model="liner")
    with pytest.raises(ParameterError, match="fmr=0.5 has no threshold"):
        fl.verification.summary_table(result, model="linear", fmr=0.5)


def test_sentences_say_the_figures(result, faces):
    text = fl.results.describe_verification(result, model="linear", fmr=0.1)
    one = result.sel(model="linear", group="all")
    value, lower, upper = 100 * one["eer"].to_numpy()
    assert text.startswith(
        f"The equal error rate is {value:.2f}\u00a0% [{lower:.2f},\u00a0{upper:.2f}] over 1,770 "
        f"comparisons, 120 of them genuine; its false non-matches are of "
        f"{int(one['eer_people'])} people."
    )
    n_rejected = int(one["false_non_match_people"].sel(fmr=0.1))
    assert f"of the genuine comparisons, of {n_rejected} people." in text
    assert f"At the threshold {float(one['threshold'].sel(fmr=0.1)):.3f}, set at FMR 1e-1" in text
    rare = fl.results.describe_verification(result, model="linear", fmr=1e-4)
    assert "At FMR 1e-4 there is no threshold: 100,000 impostor comparisons" in rare
    pairs = fl.make_pairs(faces, n_pairs=60, folds=3)
    listed = fl.results.describe_verification(verify(faces, pairs), model="linear", fmr=0.1)
    assert "The mean accuracy over 3 folds is " in listed


def test_one_sided_and_empty_groups():
    """A group of one person has no impostor comparison, and no interval."""
    rng = np.random.default_rng(0)
    subjects = np.array(list("aaab"), object)
    every = compare_all(rng.normal(size=(4, 8)), subjects, np.arange(4).astype(object))
    found = figures_of(
        every, thresholds=[np.nan] * len(FMRS), groups=["all", "x", "y", MIXED],
        codes=np.array([1, 1, 1, 2]), n_draws=20,
    )  # fmt: skip
    assert found["n_impostor"].to_numpy().tolist() == [3, 0, 0, 3]
    assert np.isnan(found["eer"].sel(group=["x", "y", MIXED])).all()
    assert found["n_subjects"].to_numpy().tolist() == [2, 1, 0, 2]


def test_embedding_without_bands(faces, tmp_path):
    tree = fl.embed(
        faces, models=[fl.wrap_model(Linear(), name="linear")], store=tmp_path / "r.zarr",
        progress=False,
    )  # fmt: skip
    assert list(tree["embeddings/linear"].children) == ["intact"]
    assert tree.attrs["models"] == ["linear"]
    assert torch.isfinite(torch.tensor(tree["embeddings/linear/intact"]["embedding"].values)).all()


def test_more_comparisons_than_fit_are_refused(faces, monkeypatch):
    monkeypatch.setattr("freqlab.verification.large_sets._MOST_GENUINE", 100)
    with pytest.raises(ParameterError, match="comparisons within subjects.*Give pairs="):
        verify(faces)
    verify(faces, fl.make_pairs(faces, n_pairs=20))


@pytest.mark.slow
@pytest.mark.parametrize("gap", [None, np.nan, ""])
def test_faces_without_a_group(faces, gap):
    table = faces.table.assign(hue=faces.table["hue"].astype(object))
    table.loc[table.index[:2], "hue"] = gap
    some = fl.Faces(table, images=faces.images, aligned="arcface")
    found = verify(some, group="hue").sel(model="linear")
    assert found["group"].to_numpy().tolist() == ["all", "blue", "red", MIXED]
    assert int(found["n_impostor"].sel(group="red")) == 33 * 32 / 2 - (3 + 6 * 10)
    for wrong in ([], ["hue", "hue"]):
        with pytest.raises(ParameterError, match="group="):
            verify(faces, group=wrong)


def test_a_group_of_numbers(faces):
    table = faces.table.assign(age=np.where(np.arange(60) < 30, 20, 40))
    some = fl.Faces(table, images=faces.images, aligned="arcface")
    assert verify(some, group="age")["group"].to_numpy().tolist() == ["all", "20", "40", MIXED]


@pytest.mark.slow
def test_accuracy_of_uneven_folds_lies_in_its_interval(faces):
    pairs = fl.make_pairs(faces, n_pairs=200, seed=1)
    pairs["fold"] = np.where(np.arange(len(pairs)) % 10 == 0, 2, 1)
    found = verify(faces, pairs, n_draws=200).sel(model="linear")
    value, lower, upper = found["accuracy"].to_numpy()
    assert lower < value < upper
    assert value == pytest.approx(float(found["accuracy_by_fold"].mean()))
    for folds, fault in ((np.nan, "pairs have no fold"),):
        broken = pairs.assign(fold=pairs["fold"].where(pairs.index > 3, folds))
        with pytest.raises(ParameterError, match=fault):
            verify(faces, broken)
    one = verify(faces, pairs.assign(fold=1))
    assert "accuracy" not in one
    assert np.isfinite(one["eer"].sel(group="all", estimate="value")).all()


def test_a_perfect_accuracy_is_not_certain():
    images = [np.full((112, 112, 3), 20 * s + i, np.uint8) for s in range(1, 9) for i in range(3)]
    subjects = [f"p{s}" for s in range(8) for _ in range(3)]
    table = pd.DataFrame({"subject": subjects}, index=[f"f{i}" for i in range(24)])
    levels = fl.Faces(table, images=images, aligned="arcface")

    def direction(crops):  # one direction of the plane for each level of grey
        angle = crops.mean((1, 2, 3)) / 60
        return torch.stack([angle.cos(), angle.sin()], 1)

    pairs = fl.make_pairs(levels, folds=2)
    found = verify(levels, pairs, models=[direction]).isel(model=0)
    # Clopper and Pearson, corrected for eight people
    trials = len(pairs) * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 7)) ** 2
    assert found["accuracy"].to_numpy() == pytest.approx([1, 0.025 ** (1 / trials), 1])


def test_two_people_give_no_interval_of_what_needs_impostors(faces):
    few = faces.select(range(10))
    found = verify(few).sel(model="linear", group="all")
    assert np.isfinite(found["eer"].sel(estimate="value"))
    assert np.isnan(found["eer"].sel(estimate=["lower", "upper"])).all()
    assert np.isnan(found["d_prime"].sel(estimate=["lower", "upper"])).all()


def test_small_groups_are_left_out(result):
    """Twelve people make no group of twenty."""
    assert fl.verification.without_small_groups(result)["group"].to_numpy().tolist() == ["all"]
    text = fl.verification.describe_left_out(result)
    assert text == "Groups of fewer than 20 people are left out: blue (5), red (7)."
    large = result.assign(n_subjects=result["n_subjects"] + 14)
    kept = fl.verification.without_small_groups(large)["group"].to_numpy().tolist()
    assert kept == ["all", "red", MIXED]
    enough = result.assign(n_subjects=result["n_subjects"] + 20)
    assert fl.verification.describe_left_out(enough) == ""


def test_equal_true_match_rates_are_one_row(result):
    equal = result.copy(deep=True)
    equal["threshold"].loc[{"fmr": [0.1, 0.01, 0.001]}] = [0.1, 0.2, 0.3]
    equal["false_non_match_rate"].loc[{"fmr": [0.1, 0.01], "group": "all"}] = [0.0, 0.0, 0.05]
    equal["false_non_match_rate"].loc[{"fmr": 0.001, "group": "all"}] = [0.1, 0.05, 0.2]
    table = fl.verification.match_rate_table(equal)
    assert table.index.tolist() == [("linear", "1e-2"), ("linear", "1e-3")]
    assert table["threshold"].tolist() == ["0.200", "0.300"]
    assert table["true match rate"].tolist() == [
        "100.00\u00a0% [95.00,\u00a0100.00]",
        "90.00\u00a0% [80.00,\u00a095.00]",
    ]


def test_groups_without_false_non_matches_have_no_curve(result):
    errors = result.copy(deep=True)
    errors["curve"].loc[{"group": "red"}] = 0.1
    errors["curve"].loc[{"group": "blue"}] = 0.0
    assert fl.verification.groups_with_curves(errors, model="linear") == ["red"]
    with pytest.raises(UnknownNameError, match="linear"):
        fl.verification.groups_with_curves(errors, model="liner")

"""Tables and sentences from figures set by hand; thresholds by brute force."""

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError

NBSP = "\u00a0"
SCORES = [
    *("band 0-8", "band 8-16", "low/high", "centroid", "asymmetry", "mahalanobis"),
    *("similarity", "power spectrum", "supervised"),
]


def errors_of(attacks, **rates):
    """D-EER by score: for each attack the value, or value, lower and upper, in per cent."""
    d_eer = np.full((len(SCORES), len(attacks), 3), 50.0)
    for name, row in rates.items():
        place = SCORES.index(name.replace("__", "/").replace("_", " "))
        for a, rate in enumerate(row):
            d_eer[place, a] = rate
    return xr.Dataset(
        {"d_eer": (("score_name", "attack", "estimate"), d_eer / 100)},
        coords={
            "score_name": SCORES,
            "attack": attacks,
            "estimate": ["value", "lower", "upper"],
        },
    )


@pytest.fixture
def photographs():
    """Sixty people, an embedding each; one more face is the document of an attack."""
    rng = np.random.default_rng(4)
    names = [*(f"p{i}" for i in range(60)), "morph", "live"]
    subjects = [*names[:60], "p0+p1", "p0"]
    table = pd.DataFrame({"subject": subjects, "path": names}, index=pd.Index(names, name="face"))
    faces = fl.Faces(table, name="made")
    pairs = pd.DataFrame(
        {
            "probe": ["live", "p1"], "reference": ["p0", "morph"], "genuine": [True, False],
            "attack": ["bona fide", "gan"], "contributor_a": ["p0", "p0"],
            "contributor_b": ["p0", "p1"],
        }
    )  # fmt: skip
    vectors = rng.normal(size=(62, 6))
    vectors[60] = vectors[1] + 1e-3  # would raise every threshold, if it were counted
    return vectors, faces, pairs


@pytest.mark.parametrize("asked", [1e-1, 1e-2, 1e-5])
def test_the_lowest_rate_that_is_resolved_sets_the_threshold(photographs, asked):
    vectors, faces, pairs = photographs
    found = fl.morphing.thresholds({"m": vectors}, faces, pairs, fmr=asked).sel(model="m")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    plain = [i for i in range(62) if i != 60]
    scores = [
        unit[i] @ unit[j] for i, j in itertools.combinations(plain, 2)
        if faces.subjects[i] != faces.subjects[j]
    ]  # fmt: skip
    assert int(found["impostor_comparisons"]) == len(scores) == 61 * 60 // 2 - 1
    rate, edge = float(found["fmr"]), float(found["threshold"])
    # 1,829 comparisons resolve 1e-2 and not 1e-3, however low a rate is asked for
    assert rate == pytest.approx(max(asked, 1e-2))
    n_above = int(np.floor(rate * len(scores)))
    ordered = np.sort(scores)[::-1]
    assert ordered[n_above] < edge <= ordered[n_above - 1] + 1e-6


def test_the_sentence_says_which_rate_and_why(photographs):
    vectors, faces, pairs = photographs
    found = fl.morphing.thresholds({"m": vectors}, faces, pairs, fmr=1e-5)
    said = fl.morphing.describe_threshold(found, model="m")
    assert said.endswith(
        "at FMR 0.01, over 1,829 impostor comparisons of the photographs (FMR 1e-05 is not "
        "resolved by so few)."
    )
    at_once = fl.morphing.thresholds({"m": vectors}, faces, pairs, fmr=1e-2)
    assert "not resolved" not in fl.morphing.describe_threshold(at_once, model="m")
    given = fl.morphing.thresholds({"m": vectors}, faces, pairs, given=0.321)
    said = fl.morphing.describe_threshold(given, model="m")
    assert said == "threshold 0.321, carried over from a larger set."
    both = fl.morphing.thresholds({"m": vectors, "n": vectors}, faces, pairs, given=[0.1, 0.2])
    assert both["threshold"].sel(model="n") == 0.2


def test_thresholds_that_cannot_be_set_are_told(photographs):
    vectors, faces, pairs = photographs
    with pytest.raises(ParameterError, match="must be 2 thresholds, one for each of m and n"):
        fl.morphing.thresholds({"m": vectors, "n": vectors}, faces, pairs, given=0.3)
    with pytest.raises(ParameterError, match="fmr=0.5 has no threshold"):
        fl.morphing.thresholds({"m": vectors}, faces, pairs, fmr=0.5)
    few = faces.select([0, 1, 60, 61])
    with pytest.raises(ParameterError, match="2 impostor comparisons .* resolve no"):
        fl.morphing.thresholds({"m": vectors[[0, 1, 60, 61]]}, few, pairs)
    found = fl.morphing.thresholds({"m": vectors}, faces, pairs)
    with pytest.raises(UnknownNameError, match="unknown model 'x'"):
        fl.morphing.describe_threshold(found, model="x")


def test_vulnerability_is_written_in_per_cent():
    mmpmr = [[[0.25, 0.1, 0.4]], [[0.5, 0.3, 0.7]]]
    risk = xr.Dataset(
        {
            "mmpmr": (("attack", "fmr", "estimate"), mmpmr),
            "prodavg_mmpmr": (("attack", "fmr", "estimate"), np.array(mmpmr) / 2),
            "false_non_match_rate": (("fmr", "estimate"), [[0.01, 0.0, 0.02]]),
            "n_morphs": ("attack", [1200, 2400]),
        },
        coords={"attack": ["gan", "all"], "fmr": [1e-3], "estimate": ["value", "lower", "upper"]},
    ).expand_dims(model=["m"])
    risk["n_morphs"] = risk["n_morphs"].isel(model=0)
    table = fl.morphing.vulnerability_table(risk, model="m")
    assert table.index.tolist() == ["gan", "all attacks", "bona fide refused"]
    assert table["morphs"].tolist() == ["1,200", "2,400", ""]
    assert table["MMPMR"].tolist() == [
        f"25.0{NBSP}% [10.0,{NBSP}40.0]", f"50.0{NBSP}% [30.0,{NBSP}70.0]",
        f"1.0{NBSP}% [0.0,{NBSP}2.0]",
    ]  # fmt: skip
    assert table["product form"].tolist()[0] == f"12.5{NBSP}% [5.0,{NBSP}20.0]"
    pd.testing.assert_frame_equal(fl.morphing.vulnerability_table(risk, model="m", fmr=1e-3), table)
    two = xr.concat([risk, risk.assign_coords(fmr=[1e-2])], "fmr", data_vars="minimal")
    with pytest.raises(ParameterError, match=r"fmr=None must be one of 0.001, 0.01"):
        fl.morphing.vulnerability_table(two, model="m")
    assert (
        fl.morphing.vulnerability_table(two, model="m", fmr=1e-2)["MMPMR"]
        .iloc[0]
        .startswith("25.0")
    )
    with pytest.raises(UnknownNameError, match="unknown model"):
        fl.morphing.vulnerability_table(risk, model="x")


def test_the_best_score_is_held_against_both_baselines():
    errors = errors_of(
        ["all", "gan"],
        mahalanobis=[(20, 15, 25), (40, 30, 50)],
        similarity=[(35, 30, 40), (20, 10, 25)],
        power_spectrum=[(10, 5, 14), (35, 30, 45)],
        supervised=[(1, 0, 2)] * 2,
    )
    said = fl.morphing.describe_best_score(errors).replace(NBSP, " ")
    assert "is **mahalanobis**, D-EER 20.0 % [15.0, 25.0]" in said
    assert "it is beaten by the power spectrum (10.0 % [5.0, 14.0])" in said
    assert "and it beats the similarity (35.0 % [30.0, 40.0])" in said
    said = fl.morphing.describe_best_score(errors, attack="gan")
    assert "cannot be told from the power spectrum" in said
    assert "is beaten by the similarity" in said
    with pytest.raises(UnknownNameError, match="unknown attack"):
        fl.morphing.describe_best_score(errors, attack="wax")
    assert "No score could be tried" in fl.morphing.describe_best_score(errors * np.nan)


def test_a_band_is_chosen_on_one_attack_and_tried_on_the_others():
    errors = errors_of(["all", "gan", "warp", "control"])
    rates = {"band 0-8": (10, 40), "band 8-16": (30, 20)}
    for name, row in rates.items():
        for attack, rate in zip(("gan", "warp"), row, strict=True):
            errors["d_eer"].loc[{"score_name": name, "attack": attack}] = rate / 100
    errors["d_eer"].loc[{"estimate": ["lower", "upper"]}] = np.nan
    table = fl.morphing.band_choice_table(errors)
    assert table.index.tolist() == ["chosen on gan: band 0-8", "chosen on warp: band 8-16"]
    assert table["gan"].tolist() == [f"10.0{NBSP}% (chosen here)", f"30.0{NBSP}%"]
    assert table["warp"].tolist() == [f"40.0{NBSP}%", f"20.0{NBSP}% (chosen here)"]


def test_errors_per_attack_have_a_row_for_each_score_but_bands():
    errors = errors_of(["all", "gan", "control"], similarity=[(30, 20, 40), 10, 50])
    table = fl.morphing.error_table(errors)
    assert table.index.tolist() == SCORES[2:]
    assert table.columns.tolist() == ["all", "gan", "control"]
    assert table.loc["similarity", "all"] == f"30.0{NBSP}% [20.0,{NBSP}40.0]"
    assert table.loc["centroid", "control"] == f"50.0{NBSP}% [50.0,{NBSP}50.0]"

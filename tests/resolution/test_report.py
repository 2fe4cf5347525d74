"""Tables and sentences say what the numbers say, and no more."""

import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.errors import UnknownNameError

NATIVE, LOWER = 112.0, (28.0, 14.0, 7.0)
LOW_SHARES = {NATIVE: 0.4, 28.0: 0.5, 14.0: 0.4, 7.0: 0.2}


def plain(text):
    return text.replace("\u00a0", " ")


def estimates(values, form):
    return "{0:{f}} [{1:{f}}, {2:{f}}]".format(*np.asarray(values), f=form)


def made(n_people=24, pairs_of_each=2, *, noise=0.02):
    """Profiles of genuine pairs at four resolutions; the share of the lowest band is planted."""
    rng = np.random.default_rng(0)
    n = n_people * pairs_of_each
    subject = np.repeat([f"p{i}" for i in range(n_people)], pairs_of_each)
    share = np.concatenate([np.full(n, one) for one in LOW_SHARES.values()])
    share = np.clip(share + rng.normal(0, noise, len(share)), 0, 1)
    influence = np.stack([share, *[(1 - share) / 3] * 3], axis=1)
    resolution = np.repeat([np.nan, *LOWER], n)
    result = fl.testing.result(
        influence[None, :, None, :],
        probe_subject=np.tile(subject, len(LOW_SHARES)),
        columns={
            "resolution": resolution,
            "degradation": np.where(np.isnan(resolution), "none", "area").astype(object),
            "whole_pair": np.tile(np.arange(n), len(LOW_SHARES)),
        },
    )
    return fl.resolution.profiles(result, low=4, n_draws=100)


def errors_of(n_subjects=24, *, loss=(0.5, 0.5, 1.0, 4.0)):
    """Error rates of made-up embeddings, whose noise grows as the resolution falls."""
    faces = fl.testing.faces(n_subjects, 4, size=4)
    faces = fl.faces.degrade(faces, resolutions=[3, 2, 1])
    rng = np.random.default_rng(0)
    identity = {one: rng.standard_normal(16) for one in sorted(set(faces.subjects))}
    noise = dict(zip((112, 3, 2, 1), loss, strict=True))
    resolution = faces.table["resolution"].fillna(112).to_numpy()
    vectors = np.stack(
        [
            identity[subject] + noise[int(r)] * rng.standard_normal(16)
            for subject, r in zip(faces.subjects, resolution, strict=True)
        ]
    )
    return fl.resolution.errors({"m": vectors}, faces, n_draws=100)


@pytest.fixture(scope="module")
def profiles():
    return made()


@pytest.fixture(scope="module")
def errors():
    return errors_of()


def test_a_control_of_few_people_is_not_compared(profiles):
    def told(control):
        study = xr.DataTree.from_dict({"control": control})
        return fl.resolution.describe_control(study, model="m")

    few = made(n_people=5)
    assert told(few) == [
        "Control, the ideal low-pass on 10 of the genuine pairs: 5 people: too few to compare."
    ]
    both = profiles.isel(side=[0, 0]).assign_coords(side=["probe", "reference"])
    (text,) = told(both)
    assert text.startswith("Control, the ideal low-pass on 48 of the genuine pairs: Probe masked")
    assert "Reference masked, genuine pairs" in text
    assert fl.resolution.describe_control(xr.DataTree(), model="m") == []


def test_verdicts_follow_the_intervals(profiles):
    table = fl.resolution.low_band_table(profiles, model="m")
    assert table.index.tolist() == [("probe", "genuine", r) for r in ("28", "14", "7")]
    verdicts = ["larger", "no difference established", "smaller"]
    assert table["share of low bands"].tolist() == verdicts
    gain = profiles["low_gain"].sel(model="m", side="probe", comparison="genuine", resolution=28)
    assert plain(table["gain, points"].iloc[0]) == estimates(100 * gain, "+.1f")


def test_the_sentence_names_what_grows_and_shrinks_and_the_largest_change(profiles):
    said = plain(fl.resolution.describe_low_bands(profiles, model="m"))
    part = profiles.sel(model="m", side="probe", comparison="genuine")
    base = estimates(100 * part["low_share"].sel(resolution=112), ".1f").replace(" [", " % [")
    assert said.startswith(
        f"Probe masked, genuine pairs: the share of the bands below 4 cycles/image in the absolute "
        f"influence is {base} at 112 pixels, larger at 28 pixels; smaller at 7 pixels; "
        f"no difference established at 14 pixels."
    )
    change = estimates(100 * part["low_gain"].sel(resolution=7), "+.1f")
    assert f"Largest change: {change} percentage points at 7 pixels" in said
    effect = estimates(part["low_effect"].sel(resolution=7), "+.2f")
    assert f"At 7 pixels the effect size is {effect}" in said
    influence = estimates(part["low_influence_gain"].sel(resolution=7), "+.3f")
    assert f"their absolute influence itself: smaller ({influence})" in said
    nothing = fl.resolution.describe_low_bands(profiles, model="m", comparison="impostor")
    assert nothing == "There are no impostor pairs at two resolutions to compare."
    with pytest.raises(UnknownNameError):
        fl.resolution.describe_low_bands(profiles, model="m", side="reference")


def test_influence_beyond_the_limit_stands_beside_the_share_that_it_lowers(profiles):
    leak = profiles["leak_influence"].sel(
        model="m", side="probe", comparison="genuine", resolution=7, line="diagonal"
    )
    assert float(leak.sel(estimate="value")) > 0.5
    share = estimates(100 * leak, ".1f").replace(" [", " % [")
    said = plain(fl.resolution.describe_low_bands(profiles, model="m"))
    assert f"; at 7 pixels, {share} of the influence is beyond √2 N/2" in said


def test_few_people_are_not_compared():
    few = made(n_people=12)
    said = fl.resolution.describe_low_bands(few, model="m")
    assert said.endswith("at 112 pixels; 12 people: too few to compare with lower resolutions.")
    table = fl.resolution.low_band_table(few, model="m")
    assert set(table["share of low bands"]) == {"12 people: too few to compare"}
    said = fl.resolution.describe_errors(errors_of(12), model="m", fmr=0.01)
    assert said.endswith("; 12 people: too few to compare.")
    assert "higher" not in said


def test_where_verification_fails_is_said_with_paired_differences(errors):
    at = errors.sel(model="m", fmr=0.01)
    difference = at["false_non_match_rate_difference"]
    assert np.isnan(difference.sel(resolution=112)).all()
    value = at["false_non_match_rate"].sel(estimate="value")
    np.testing.assert_allclose(
        difference.sel(estimate="value")[1:], (value - value.sel(resolution=112))[1:]
    )
    said = plain(fl.resolution.describe_errors(errors, model="m", fmr=0.01))
    assert "at 112 pixels (24 people) and higher at 2 and 1 pixels: " in said
    change = estimates(100 * difference.sel(resolution=2), "+.2f")
    assert f"at 2 pixels, a difference of {change} percentage points" in said
    assert "More than half of the genuine comparisons are rejected at 1 pixels" in said
    assert " 3 pixels" not in said  # as good as undegraded


def test_nothing_is_higher_without_a_difference():
    said = fl.resolution.describe_errors(errors_of(loss=(0.6,) * 4), model="m", fmr=0.01)
    assert "no difference is established at lower resolutions, the largest is" in said
    assert "higher" not in said


def test_without_a_threshold_the_equal_error_rates_are_told(errors):
    said = plain(fl.resolution.describe_errors(errors, model="m", fmr=1e-6))
    assert said.startswith("There is no threshold at FMR 1e-6: it takes 10,000,000 impostor")
    eer = errors["eer"].sel(model="m", resolution=1)
    assert f"{100 * float(eer.sel(estimate='value')):.1f} %" in said
    assert "higher" not in said


def test_the_summary_is_a_few_sentences_with_intervals(profiles, errors):
    study = xr.DataTree.from_dict(
        {"/": xr.Dataset(attrs={"fmr": 0.01}), "profiles": profiles, "errors": errors}
    )
    told = [plain(text) for text in fl.resolution.summary(study)]
    assert len(told) == 2  # errors; one side
    assert all(text.startswith("m: ") for text in told)
    assert 3 <= sum(text.count(". ") + 1 for text in told) <= 6
    assert all("[" in text for text in told)

import json
import math

import numpy as np
import pytest

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.results.selection import fmr_text


def result_of(similarity, influence, threshold=0.3, genuine=True):
    """A result of one pair, three bands and thresholds at FMR 1e-2 and 1e-3."""
    found = fl.testing.result(
        np.array(influence, np.float32)[None, None, None],
        similarity=similarity,
        thresholds={1e-2: 0.2, 1e-3: threshold},
        bands=fl.rings(8, max=16),
        columns={"genuine": [genuine]},
    ).assign_coords(pair=[7])
    found["impostor_comparisons"][:] = 4900
    return found


@pytest.mark.parametrize(
    ("similarity", "influence", "threshold", "genuine", "expected"),
    [
        (
            0.4,
            [0.05, 0.2, 0],
            0.3,
            True,
            "A match at FMR 1e-3 (similarity 0.40, threshold 0.30); it becomes a non-match if "
            "the band 8 to 16 cycles/image is removed from the probe.",
        ),
        (
            0.4,
            [0.15, 0.2, 0.11],
            0.3,
            True,
            "A match at FMR 1e-3 (similarity 0.40, threshold 0.30); it becomes a non-match if any "
            "one of the band 8 to 16 cycles/image, the band 0 to 8 cycles/image or everything "
            "beyond 16 cycles/image is removed from the probe.",
        ),
        (
            0.9,
            [0.1, -0.2, 0],
            0.3,
            True,
            "A match at FMR 1e-3 (similarity 0.90, threshold 0.30); removing a single band "
            "from the probe does not change this: the strongest is the band 8 to 16 "
            "cycles/image, whose removal from the probe raises the similarity by 0.20.",
        ),
        (
            0.25,
            [-0.1, 0.2, np.nan],
            0.3,
            True,
            "A false non-match at FMR 1e-3 (similarity 0.25, threshold 0.30); it becomes a match "
            "if the band 0 to 8 cycles/image is removed from the probe.",
        ),
        (
            0.4,
            [0.05, np.nan, np.nan],
            0.3,
            True,
            "A match at FMR 1e-3 (similarity 0.40, threshold 0.30); removing a single band "
            "from the probe does not change this: the strongest is the band 0 to 8 "
            "cycles/image, whose removal from the probe lowers the similarity by 0.05.",
        ),
        (
            0.35,
            [0.01, 0.02, 0],
            0.3,
            False,
            "A false match at FMR 1e-3 (similarity 0.35, threshold 0.30); removing a single band "
            "from the probe does not change this: the strongest is the band 8 to 16 "
            "cycles/image, whose removal from the probe lowers the similarity by 0.02.",
        ),
        (
            0.35,
            [0.01, 0.02, 0],
            math.nan,
            True,
            "Similarity 0.35; no decision, because FMR 1e-3 requires 10,000 impostor comparisons "
            "and there are 4,900 (enough for FMR 1e-2). Of the bands, the strongest is the "
            "band 8 to 16 cycles/image, whose removal from the probe "
            "lowers the similarity by 0.02.",
        ),
        (
            math.nan,
            [math.nan] * 3,
            0.3,
            True,
            "Not compared: one of the two faces could not be read or detected.",
        ),
    ],
)
def test_sentences(similarity, influence, threshold, genuine, expected):
    result = result_of(similarity, influence, threshold, genuine)
    assert fl.results.describe_pair(result, pair=7, model="m") == expected


def test_as_many_digits_as_tell_them_apart():
    text = fl.results.describe_pair(
        result_of(0.3021, [0, 0, 0.1], genuine=False), pair=7, model="m"
    )
    assert "(similarity 0.3021, threshold 0.3000)" in text


@pytest.mark.parametrize("genuine", [True, False])
@pytest.mark.parametrize("extension", ["periodic", "mirror"])
@pytest.mark.parametrize("strongest", [0, 1, 2])
def test_a_high_band_of_a_periodic_crop_is_read_with_its_border_in_mind(
    strongest, extension, genuine
):
    influence = np.full((1, 1, 1, 3), 0.001, np.float32)
    influence[..., strongest] = -0.004
    bands = fl.rings(edges=[0, 20, 44, 56], extension=extension)
    found = fl.testing.result(
        influence,
        similarity=0.6,
        thresholds={1e-3: 0.3},
        bands=bands,
        columns={"genuine": [genuine]},
    )
    found["band"].attrs["declaration"] = json.dumps(bands.declaration())
    text = fl.results.describe_pair(found, pair=0, model="m")
    assert ("border of the crop" in text) == (strongest == 2 and extension == "periodic")


def test_a_tie_with_the_threshold_is_a_match():
    text = fl.results.describe_pair(result_of(0.3, [0, 0, 0.1]), pair=7, model="m")
    assert text.startswith("A match at")


def test_the_sentence_agrees_with_the_numbers(demo):
    """On real pairs: the bands named are those whose removal crosses the threshold."""
    threshold = 0.75
    demo = demo.load().copy(deep=True)
    demo["threshold"][:] = threshold
    for pair in demo["pair"].to_numpy():
        data = demo.sel(pair=pair, side="probe", model="mobilefacenet")
        text = fl.results.describe_pair(demo, pair=int(pair), model="mobilefacenet")
        match = float(data["similarity"]) >= threshold
        without = data["similarity"].item() - data["influence"].to_numpy()
        crossing = int(((without >= threshold) != match).sum())
        wrong = match != bool(data["genuine"])
        kind = "match at" if match else "non-match at"
        assert text.startswith(f"A {'false ' if wrong else ''}{kind}")
        assert ("removing a single band" in text) == (crossing == 0)


def test_unknown_names(demo):
    for arguments, near in (
        ({"model": "mobilefacenets"}, "mobilefacenet"),
        ({"model": "mobilefacenet", "side": "probes"}, "probe"),
    ):
        with pytest.raises(UnknownNameError, match=f"Did you mean '{near}'"):
            fl.results.describe_pair(demo, pair=0, **arguments)
    with pytest.raises(ParameterError, match="pair=99999"):
        fl.results.describe_pair(demo, pair=99999, model="mobilefacenet")
    with pytest.raises(ParameterError, match="fmr='x' must be a number"):
        fl.results.describe_pair(demo, pair=0, model="mobilefacenet", fmr="x")
    with pytest.raises(ParameterError, match="1e-3, 1e-4"):
        fl.results.describe_pair(demo, pair=0, model="mobilefacenet", fmr=0.5)


def test_profile_sentence(demo):
    profile = fl.results.mean_profile(demo, n_draws=50)
    text = fl.results.describe_profile(profile, model="mobilefacenet")
    mean = profile["directed"].sel(
        model="mobilefacenet", side="probe", comparison="genuine", estimate="value"
    )
    top = int(np.argmax(np.abs(mean.to_numpy())))
    assert f"removing it from the probe lowers the similarity by {float(mean[top]):.3f} [" in text
    lower, upper = demo["band_bounds"].to_numpy()[top]
    assert f"the band {lower:g} to {upper:g}\u00a0cycles/image has the largest mean" in text
    assert "\u00a0% of the absolute influence is below " in text
    with pytest.raises(UnknownNameError, match="genuine"):
        fl.results.describe_profile(profile, model="mobilefacenet", comparison="genuin")


def test_pairs_to_show(demo):
    shown = fl.results.pairs_to_show(demo, model="mobilefacenet")
    similarity = demo["similarity"].sel(model="mobilefacenet").to_series()
    genuine = demo["genuine"].to_series()
    assert len(set(shown.values())) == len(shown)
    impostor = shown["The most similar impostor pair"]
    assert similarity[impostor] == similarity[~genuine].max()
    least = shown["The least similar genuine pair"]
    assert similarity[least] == similarity[genuine].drop(shown["A typical genuine pair"]).min()


@pytest.mark.parametrize(("rate", "text"), [(1e-3, "1e-3"), (0.05, "5e-2"), (0.0015, "1.5e-3")])
def test_rates_as_the_field_writes_them(rate, text):
    assert fmr_text(rate) == text


def test_an_influence_against_the_match_has_a_positive_size():
    """A negative mean is stated as a rise of the similarity, its interval from small to large."""
    influence = np.array([[0.01, -0.1, 0], [0.02, -0.2, 0], [0.01, -0.15, 0]], np.float32)
    result = fl.testing.result(influence[None, :, None], bands=fl.rings(8, max=16))
    profile = fl.results.mean_profile(result, n_draws=50)
    text = fl.results.describe_profile(profile, model="m", comparison="genuine")
    assert "raises the similarity by 0.150" in text
    assert "[-" not in text


def test_a_mean_whose_interval_contains_zero_is_stated_as_such():
    influence = np.array([[0.01, -0.1, 0], [0.02, 0.2, 0], [0.01, -0.15, 0]], np.float32)
    result = fl.testing.result(influence[None, :, None], bands=fl.rings(8, max=16))
    profile = fl.results.mean_profile(result, n_draws=50)
    text = fl.results.describe_profile(profile, model="m", comparison="genuine")
    assert text.startswith("For genuine pairs, the largest mean influence is compatible with zero")

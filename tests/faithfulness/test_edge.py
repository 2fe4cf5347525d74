"""Border of the crop in the study: none where the crop continues smoothly, large at a step."""

import functools
import itertools

import numpy as np
import pandas as pd
import pytest

import freqlab as fl
from freqlab.faithfulness.card_contents import NOT_PASSED, PASSED
from freqlab.faithfulness.trust_cards import trust_cards_of

X = (np.arange(112) + 0.5) / 112
WAVES = np.cos(2 * np.pi * np.array([3, 12, 20, 27, 30, 38, 45, 50])[:, None] * X)
"""Even waves of whole periods: their mirror image is their periodic continuation."""
PROPERTY = "agreement with the mirrored crop (lowest)"


def faces_of(slope, n_people=6):
    """Two photographs each, of waves of random amplitudes and a ramp of some grey levels.

    The waves are weak where there is a ramp, so that the step at the border decides.
    """
    scale = 0.15 if slope else 1
    rng = np.random.default_rng(0)
    images = []
    for _ in range(n_people):
        own = rng.uniform(2, 8, len(WAVES)) * rng.choice([-1, 1], len(WAVES))
        for _ in "ab":
            row = 128 + scale * (own + rng.normal(0, 1, len(WAVES))) @ WAVES + slope * (X - 0.5)
            pixels = np.tile(row, (112, 1))[..., None].repeat(3, axis=2)
            images.append(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8))
    names = [f"p{i}/{k}" for i, k in itertools.product(range(n_people), range(2))]
    table = pd.DataFrame({"subject": [name.split("/")[0] for name in names]}, index=names)
    return fl.Faces(table, images=images, aligned="arcface", name=f"slope {slope}")


@functools.cache
def study_of(slope, bands="rings:8"):
    return fl.faithfulness.study(
        faces_of(slope), models=[fl.testing.model()], bands=bands, sides=["probe"], n_sample=10,
        n_ordered=2, n_random=1, beam=1, most_permutations=4, most_bands=1, depths=[1.0],
        contrasts=[8.0], fmr=0.1, n_draws=50, progress=False, store=store_of(slope, bands),
    )  # fmt: skip


def store_of(slope, bands="rings:8"):
    return f"memory://tests-edge/{slope}-{bands.replace(':', '-')}"


def card_of(slope):
    card = trust_cards_of(store_of(slope))["linear"]
    verdicts = {row["property"]: row["verdict"] for row in card["properties"]}
    rows = [row for row in card["rows"] if row["test"].startswith("border of the crop")]
    return verdicts, rows


@pytest.mark.slow
def test_a_face_that_continues_smoothly_has_no_influence_of_the_border():
    study = study_of(0)
    value = study["edge"].to_dataset().sel(estimate="value")
    assert value["side"].to_numpy().tolist() == ["probe"]
    assert value["n_pairs"].to_numpy().ravel().tolist() == [5, 5]
    assert (value["correlation"] > 0.99).all()
    np.testing.assert_allclose(value["same_strongest"], 1)
    np.testing.assert_allclose(value["excess"], 0, atol=0.02)
    of_bands = value["excess_by_band"].dropna("band")
    assert of_bands.sizes["band"] == 7  # the corners of the plane have no influence
    np.testing.assert_allclose(of_bands, 0, atol=0.02)
    verdicts, rows = card_of(0)
    assert verdicts[PROPERTY] == PASSED
    assert [row["reading"] for row in rows] == ["high", "high"]
    if (study["edge"]["excess"].sel(estimate="lower") <= 0).all():
        assert not any("border" in text for text in fl.faithfulness.summary(study))


@pytest.mark.slow
def test_the_border_of_a_face_with_a_step_is_reported():
    study = study_of(100)
    edge = study["edge"].to_dataset()
    assert (edge["excess"].sel(estimate="value") > 0.3).any()
    assert (edge["correlation"].sel(estimate="value") < 0.8).any()
    verdicts, rows = card_of(100)
    assert verdicts[PROPERTY] == NOT_PASSED
    assert len(rows) == 2
    assert "the influence from 48\u00a0cycles/image up is due to the border" in rows[0]["found"]
    (text,) = [text for text in fl.faithfulness.summary(study) if "border" in text]
    assert text.startswith("The border of the crop affects high bands and single profiles:")
    figure = edge["correlation"].sel(estimate="value", comparison="impostor").item()
    assert f"{figure:.2f} [" in text
    assert "linear" in fl.faithfulness.describe_edge(study, model="linear")


@pytest.mark.slow
def test_the_border_is_stored_with_the_study_and_counted():
    study = study_of(100)
    again = study_of.__wrapped__(100)
    assert again.attrs["was_kept"] == 1
    edge = study["edge"].to_dataset()
    assert again["edge"].to_dataset().identical(edge)
    n_probes = len(np.unique(study["influence"]["probe"]))
    n_bands = study["influence"].sizes["band"]
    assert 0 < edge.attrs["forward_passes"] <= n_probes * n_bands
    assert study.attrs["forward_passes_to_make"] > edge.attrs["forward_passes"]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_bands_of_orientation_are_not_tested():
    study = study_of(0, "sectors:4")
    assert "edge" not in study.children
    text = fl.faithfulness.describe_edge(study, model="linear")
    assert text.endswith("The border of the crop is tested for rings and octaves only.")
    assert PROPERTY not in fl.faithfulness.trust_table(store_of(0, "sectors:4")).index

"""Planted bands: what must be identified, and what the figures must not depend on."""

import numpy as np
import pytest
import torch
from conftest import make_faces

import freqlab as fl
from freqlab.errors import ParameterError
from freqlab.faithfulness import planting

BANDS = fl.rings(14)


@pytest.fixture(scope="module")
def crops():
    return np.stack(make_faces(16, 2).images)


@pytest.fixture(scope="module")
def natural():
    """Crops whose amplitude falls with frequency, as that of photographs does."""
    return natural_crops(24)


def natural_crops(n, seed=0):
    rng = np.random.default_rng(seed)
    ky, kx = np.fft.fftfreq(112, 1 / 112)[:, None], np.fft.rfftfreq(112, 1 / 112)[None]
    gain = 1 / np.maximum(np.hypot(ky, kx), 1)
    noise = np.fft.rfft2(rng.normal(size=(n, 3, 112, 112))) * gain
    images = np.fft.irfft2(noise, s=(112, 112))
    images *= 45 / images.std(axis=(1, 2, 3), keepdims=True)
    return np.clip(images.transpose(0, 2, 3, 1) + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("n_people", [2, 8])
def test_every_band_is_identified_from_twice_the_distractor(natural, n_people):
    """Whatever the number of people, which determines the precision only."""
    planted = fl.faithfulness.planted_bands(
        natural, BANDS, contrasts=[8, 16], distractor=4, n_people=n_people
    )
    assert (planted["accuracy"] == 1).all()
    assert float(planted["chance"]) == pytest.approx(0.2)


def test_a_band_below_the_distractor_is_lost(natural):
    """The distractor is fixed in grey levels: it does not grow with the contrast planted."""
    planted = fl.faithfulness.planted_bands(
        natural, BANDS, contrasts=[0.05, 8], distractor=4, n_people=8
    )
    assert float(planted["accuracy"].sel(contrast=0.05).mean()) < 0.6
    assert float(planted["accuracy"].sel(contrast=8).mean()) == 1


def test_signatures_are_invisible_to_their_faces(natural):
    """A matched filter responds to a signature as to its contrast, and not to the faces."""
    parts = BANDS.decompose(112, 112)
    faces = natural[:8].astype(np.float32)
    rng = np.random.default_rng(0)
    raw = planting._patterns(parts, 0, (4, 112, 112, 3), rng)
    signatures = planting._orthogonal(raw, faces, parts, 0)
    centred = faces - faces.mean((1, 2), keepdims=True)
    responses = np.einsum("nhwc,nhwc->n", centred[:4], signatures) / signatures[0].size
    before = np.einsum("nhwc,nhwc->n", centred[:4], raw) / signatures[0].size
    assert np.abs(responses).max() < 1e-3 < np.abs(before).max()
    np.testing.assert_allclose(np.square(signatures).mean((1, 2, 3)), 1, rtol=1e-5)
    images = torch.from_numpy(signatures).permute(0, 3, 1, 2)
    energy = parts.energy(images).numpy()
    np.testing.assert_allclose(energy[:, 0], 1, rtol=1e-4)
    np.testing.assert_allclose(energy[:, 1:], 0, atol=1e-6)


def test_too_few_crops_are_refused(crops):
    with pytest.raises(ParameterError, match="n_people=17 needs 34 crops"):
        fl.faithfulness.planted_bands(crops, BANDS, n_people=17)
    with pytest.raises(ParameterError, match="crops: 3 faces are too few; give 4 or more"):
        fl.faithfulness.learned_bands(crops[:3], BANDS)
    with pytest.raises(ParameterError, match="planted=\\[9\\] must be positions of bands"):
        fl.faithfulness.learned_bands(crops, BANDS, planted=[9])


@pytest.mark.slow
def test_influence_names_the_band_that_a_network_learned(natural):
    """The network verifies with the band, and is at chance without it: it reads nothing else."""
    learned = fl.faithfulness.learned_bands(natural, BANDS, planted=[1, 3])
    assert (learned["identified"] == 1).all()
    assert (learned["share"] > 0.6).all()
    assert (learned["auc"] > 0.85).all()
    assert (np.abs(learned["auc_without"] - 0.5) < 0.25).all()
    own = learned["profile"].to_numpy()[[0, 1], [1, 3]]
    others = np.sort(learned["profile"].to_numpy(), axis=1)[:, -2]
    assert (own > 2 * others).all()


def test_a_network_that_did_not_learn_identifies_nothing(natural):
    learned, again = (
        fl.faithfulness.learned_bands(
            natural, BANDS, planted=[2], strength=0, least_contrast=1e-3, steps=2
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(learned["profile"], again["profile"])
    assert learned["auc"].item() < planting.LEARNED
    assert np.isnan(learned["identified"]).all()
    assert np.isnan(learned["share"]).all()
    text = fl.faithfulness.describe_learned(learned)
    assert text.endswith(
        "of 1 small networks, each trained on the spot to read one band, 0 learned it."
    )


def test_area_under_roc_is_that_of_sklearn():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    person = np.arange(9) % 4
    scores = rng.integers(0, 5, (9, 9)).astype(float)  # with ties
    same = person[:, None] == person
    expected = roc_auc_score(same.ravel(), scores.ravel())
    assert planting._area_under_roc(scores, person) == pytest.approx(expected)

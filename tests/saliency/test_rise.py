"""Masks, moments and stopping, against formulas, numpy, repetition and planted truths."""

import numpy as np
import pytest
import torch
from conftest import Linear

import freqlab as fl
from freqlab.edits.images import embed_edits
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.saliency.corrrise import corrrise_estimate, identification_estimate, patch_masks
from freqlab.saliency.freqrise import (
    freqrise_estimate,
    frequency_masks,
    plane_weights,
    ring_means,
)
from freqlab.saliency.rise import Moments, Ranks, estimate
from freqlab.statistics.vectors import cosines


class PatchReader(torch.nn.Module):
    """The first feature is the correlation of one patch with the image; the second is constant."""

    def __init__(self, image, rows, columns):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.signature = (image - image.mean(dim=(1, 2), keepdim=True))[:, rows, columns]

    def forward(self, images):
        part = images[:, :, self.rows, self.columns] - images.mean(dim=(2, 3), keepdim=True)
        found = (part * self.signature).sum(dim=(1, 2, 3)) / self.signature.square().sum()
        return torch.stack([found, torch.ones_like(found)], dim=1)


class CoefficientReader(torch.nn.Module):
    """The first feature is the correlation of some Fourier coefficients; the second is constant."""

    def __init__(self, image, where):
        super().__init__()
        self.where = where
        self.signature = torch.fft.rfft2(image)[:, where]

    def forward(self, images):
        found = torch.fft.rfft2(images)[:, :, self.where] * self.signature.conj()
        found = found.real.sum(dim=(1, 2)) / self.signature.abs().square().sum()
        return torch.stack([found, torch.ones_like(found)], dim=1)


def random_crop(seed=0, size=112):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)


def as_image(crop):
    return torch.from_numpy(crop).permute(2, 0, 1).float()


def test_moments_are_numpys():
    rng = np.random.default_rng(0)
    masks = rng.random((300, 4, 5)).astype(np.float32)
    scores = np.column_stack([masks[:, 1, 2] + rng.normal(0, 0.3, 300), rng.normal(size=300)])
    moments = Moments((4, 5), 2)
    for start in range(0, 300, 70):
        moments.add(masks[start : start + 70], scores[start : start + 70])
    maps, errors = moments.maps("correlation")
    expected = np.corrcoef(scores.T, masks.reshape(300, -1).T)[:2, 2:]
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    np.testing.assert_allclose(errors, np.sqrt((1 - expected**2) / 298), atol=1e-6)
    flat = masks.reshape(300, -1).astype(float)
    plain = scores.T @ flat / flat.sum(axis=0) - scores.mean(axis=0)[:, None]
    np.testing.assert_allclose(moments.maps("expectation")[0], plain, atol=1e-6)
    with pytest.raises(UnknownNameError, match="correlation"):
        moments.maps("corelation")


@pytest.mark.parametrize("binary", [True, False])
def test_rank_correlations_are_scipys(binary):
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    masks = rng.random((250, 3, 4)).astype(np.float32).round(1)
    if binary:
        masks = (masks < 0.4).astype(np.float32)
    masks[:, 0, 0] = 1  # never removed
    # an outlier and ties, which ranks treat in their own way
    scores = np.column_stack([np.exp(4 * masks[:, 1, 2]), rng.integers(0, 5, 250)])
    ranked = Ranks((3, 4), 2)
    for start in range(0, 250, 60):
        ranked.add(masks[start : start + 60], scores[start : start + 60])
        ranked.maps("rank correlation")  # does not change what is stored
    maps, errors = ranked.maps("rank correlation")
    flat = masks.reshape(250, -1)
    for partner in range(2):
        for point in range(1, 12):
            expected = spearmanr(flat[:, point], scores[:, partner]).statistic
            assert maps[partner, point] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(errors[:, 1:], np.sqrt((1 - maps[:, 1:] ** 2) / 248))
    assert (maps[:, 0] == 0).all()
    assert (errors[:, 0] == 0).all()
    with pytest.raises(UnknownNameError, match="rank correlation"):
        ranked.maps("correlation")


@pytest.mark.parametrize("kind", ["correlation", "expectation"])
def test_standard_errors_are_the_spread_of_repetitions(kind):
    weights = np.array([0.6, 0.2, 0.0, -0.4])
    values, stated = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        masks = (rng.random((200, 4)) < 0.5).astype(np.float32)
        moments = Moments((4,), 1)
        moments.add(masks, (masks @ weights + rng.normal(0, 0.4, 200))[:, None])
        maps, errors = moments.maps(kind)
        values.append(maps[0])
        stated.append(errors[0])
    spread = np.std(values, axis=0)
    # the standard deviation of a correlation is (1 - r^2) / sqrt(n): the stated one is conservative
    r = weights * 0.5 / np.sqrt(0.25 * (weights**2).sum() + 0.16)
    factor = np.sqrt(1 - r**2) if kind == "correlation" else 1
    np.testing.assert_allclose(np.mean(stated, axis=0) * factor, spread, rtol=0.15)


def test_masking_stops_when_maps_are_reliable_and_not_before():
    def run(noise, most, seed=0):
        rng = np.random.default_rng(seed)
        return estimate(
            lambda n: (rng.random((n, 6)) < 0.5).astype(np.float32),
            lambda masks: (masks[:, :1] + rng.normal(0, noise, (len(masks), 1))).astype(float),
            (6,),
            1,
            kind="correlation",
            most=most,
            reliability=0.9,
        )

    clear, noisy, never = run(0.1, 5000), run(3.0, 20000), run(1e3, 300)
    assert clear.converged
    assert clear.n_masks == 200
    assert noisy.converged
    assert noisy.n_masks > 200
    assert not never.converged
    assert never.n_masks == 300
    assert noisy.reliability[-1, 0] >= 0.9 > noisy.reliability[-2, 0]
    assert len(noisy.reliability) == noisy.n_masks // 100


def test_patches_cover_all_pixels_alike():
    masks = patch_masks(4000, (24, 20), patch=5, n_patches=3, rng=np.random.default_rng(0))
    gone = 1 - 25 / ((24 + 4) * (20 + 4))
    assert set(np.unique(masks)) == {0, 1}
    np.testing.assert_allclose(masks.mean(axis=0), gone**3, atol=0.03)
    with pytest.raises(ParameterError, match="patch=21"):
        patch_masks(1, (24, 20), patch=21, n_patches=3, rng=np.random.default_rng(0))


@pytest.mark.parametrize("size", [(112, 112), (112, 96), (113, 97)])
def test_frequency_masks_are_symmetric(size):
    """The real inverse transform applies exactly the mask only if the mask is symmetric."""
    masks = frequency_masks(20, size, cell=8, keep=0.5, rng=np.random.default_rng(0))
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert (masks[:, 0, 0] == 1).all()
    image = np.random.default_rng(1).normal(size=size)
    transform = np.fft.rfft2(image)
    for mask in masks:
        back = np.fft.rfft2(np.fft.irfft2(transform * mask, s=size))
        np.testing.assert_allclose(back, transform * mask, atol=1e-3)
    np.testing.assert_allclose(masks.mean(), 0.5, atol=0.03)


def test_frequency_masks_are_smooth():
    masks = frequency_masks(10, (112, 112), cell=8, keep=0.5, rng=np.random.default_rng(0))
    masks[:, 0, 0] = masks[:, 0, 1]
    shown = np.fft.fftshift(masks, axes=1)
    assert np.abs(np.diff(shown, axis=1)).max() <= 1.01 / 7
    assert np.abs(np.diff(shown, axis=2)).max() <= 2.02 / 7  # the zero frequency lies between


def test_masks_do_not_depend_on_the_size_of_blocks():
    def draw(parts):
        rng = [np.random.default_rng(3) for _ in range(2)]
        patches = [patch_masks(n, (30, 30), patch=6, n_patches=4, rng=rng[0]) for n in parts]
        planes = [frequency_masks(n, (30, 30), cell=5, keep=0.4, rng=rng[1]) for n in parts]
        return np.concatenate(patches), np.concatenate(planes)

    for one, other in zip(draw([10]), draw([3, 7]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_planted_patch_is_found():
    crop = random_crop()
    rows, columns = slice(64, 88), slice(20, 44)
    model = fl.wrap_model(PatchReader(as_image(crop), rows, columns), name="patch")
    partner = np.array([[1.0, 0.2]])
    found = corrrise_estimate(model, crop, partner, n_masks=1000, reliability=0.99, patch=20)
    saliency = found.maps[0]
    inside = np.zeros((112, 112), bool)
    inside[rows, columns] = True
    y, x = np.unravel_index(saliency.argmax(), saliency.shape)
    assert inside[y, x]
    best = np.argsort(-saliency, axis=None)[: inside.sum()]
    assert inside.ravel()[best].mean() > 0.75
    assert saliency[inside].mean() > 5 * np.abs(saliency[:40, 60:]).mean()
    far = np.abs(saliency[:40, 60:]) / found.standard_error[0, :40, 60:]
    assert np.sqrt((far**2).mean()) < 2  # noise where nothing is read
    # the same patch opposes a match with the opposite partner
    against = corrrise_estimate(model, crop, np.array([[-1.0, 0.2]]), n_masks=600, patch=20)
    assert against.maps[0][rows, columns].mean() < -0.3


def test_maps_of_values_and_of_ranks_agree():
    crop = random_crop()
    model = fl.wrap_model(PatchReader(as_image(crop), slice(64, 88), slice(20, 44)), name="patch")
    partners = np.array([[1.0, 0.2], [-1.0, 0.3]])
    maps = {
        kind: corrrise_estimate(
            model, crop, partners, n_masks=800, reliability=1, patch=20, correlation=kind
        ).maps
        for kind in ("pearson", "spearman")
    }
    for one, other in zip(maps["pearson"], maps["spearman"], strict=True):
        assert 0.98 < np.corrcoef(one.ravel(), other.ravel())[0, 1] < 1
    with pytest.raises(UnknownNameError, match="spearman"):
        corrrise_estimate(model, crop, partners, correlation="spearmann")


def test_planted_frequencies_are_found():
    crop = random_crop()
    where = torch.zeros(112, 57, dtype=torch.bool)
    where[18:23, 28:33] = True  # about 20 down, 30 across
    model = fl.wrap_model(CoefficientReader(as_image(crop), where), name="coefficients")
    partner = np.array([[1.0, 0.2]])
    found = freqrise_estimate(model, crop, partner, n_masks=1500, reliability=1, cell=6)
    saliency = found.maps[0]
    y, x = np.unravel_index(saliency.argmax(), saliency.shape)
    assert abs(y - 20) <= 4
    assert abs(x - 30) <= 4
    assert saliency[where.numpy()].mean() > 8 * np.abs(saliency[40:]).mean()
    assert saliency[0, 0] == 0
    labels = fl.rings(width=8).label_map(112, 112)
    means = ring_means(saliency, labels, 8, 112)
    assert np.nanargmax(means) == int(np.hypot(20, 30) // 8)
    # the reliability is the correlation of maps from different masks
    other = freqrise_estimate(
        model, crop, partner, n_masks=1500, reliability=1, cell=6, seed=1
    ).maps[0]
    common = (saliency * other).mean() / np.sqrt((saliency**2).mean() * (other**2).mean())
    assert common == pytest.approx(found.reliability[-1, 0], abs=0.05)


def test_ring_means_are_those_of_the_whole_plane():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(16, 16))
    whole, half = np.abs(np.fft.fft2(image)), np.abs(np.fft.rfft2(image))
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(16, 1 / 16), np.fft.fftfreq(16, 1 / 16)))
    bands = fl.rings(edges=[0, 2, 5, 100])
    found = ring_means(half, bands.label_map(16, 16), 4, 16)
    for band, (low, high) in enumerate([(0, 2), (2, 5), (5, 100)]):
        inside = (radius >= low) & (radius < high) & (radius > 0)
        assert found[band] == pytest.approx(whole[inside].mean())
    assert np.isnan(found[3])
    assert plane_weights(16, 16).sum() == 256
    assert plane_weights(15, 15).sum() == 225


def test_edits_are_embedded_in_order(linear):
    images = torch.rand(37, 3, 112, 112) * 255
    found = embed_edits(linear, 37, lambda start, stop: images[start:stop], batch_size=5)
    np.testing.assert_allclose(found, linear(images).numpy(), rtol=1e-4, atol=1e-3)


def test_cosines_are_cosines():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(3, 8)), rng.normal(size=(2, 8))
    for i in range(3):
        for j in range(2):
            plain = one[i] @ other[j] / np.linalg.norm(one[i]) / np.linalg.norm(other[j])
            assert cosines(one, other)[i, j] == pytest.approx(plain)


def test_identification_maps_the_margin_of_the_first_candidate():
    """Two candidates share a patch with the probe; the first also shares another patch."""
    crop = random_crop()
    image = as_image(crop)
    shared = PatchReader(image, slice(10, 34), slice(10, 34))
    own = PatchReader(image, slice(70, 94), slice(70, 94))

    class Both(torch.nn.Module):
        def forward(self, images):
            return torch.cat([shared(images)[:, :1], own(images)], dim=1)

    model = fl.wrap_model(Both(), name="both")
    gallery = np.array([[-1.0, -1, 0], [1, 0, 0.5], [1, 1, 0.5], [0, -1, 0.5]])
    candidates, found = identification_estimate(
        model, crop, gallery, top=2, n_masks=800, patch=20, reliability=1
    )
    assert candidates.tolist() == [2, 1]
    assert found.maps.shape == (3, 112, 112)
    margin = found.maps[2]
    assert margin[70:94, 70:94].mean() > 0.3
    assert margin[10:34, 10:34].mean() < 0  # a shared patch decreases the margin
    assert found.maps[0][10:34, 10:34].mean() > 0.2
    assert found.maps[1][10:34, 10:34].mean() > 0.3
    assert found.maps[1][70:94, 70:94].mean() < 0
    # each person may have several embeddings, of which the most similar counts
    people = np.array([7, 5, 5, 7])
    rows, of_people = identification_estimate(
        model, crop, gallery, people=people, top=2, n_masks=20, patch=20
    )
    assert rows.tolist() == [2, 3]
    assert of_people.maps.shape == (3, 112, 112)
    with pytest.raises(ParameterError, match=r"people of shape \(3,\) .* 4 embeddings"):
        identification_estimate(model, crop, gallery, people=people[:3])
    with pytest.raises(ParameterError, match="gallery of 2 people must have 3 or more for top=3"):
        identification_estimate(model, crop, gallery, people=people, top=3)
    with pytest.raises(ParameterError, match="gallery of 1 people"):
        identification_estimate(model, crop, gallery[:1], top=1)


def test_wrong_arguments_are_named():
    model = fl.wrap_model(Linear(), name="linear")
    crop, partner = random_crop(), np.ones((1, 16))
    with pytest.raises(UnknownNameError, match="black"):
        corrrise_estimate(model, crop, partner, fill="blck")
    with pytest.raises(ParameterError, match="n_masks=2"):
        corrrise_estimate(model, crop, partner, n_masks=2)
    with pytest.raises(ParameterError, match="reliability=1.5"):
        freqrise_estimate(model, crop, partner, reliability=1.5)
    with pytest.raises(ParameterError, match="keep=1"):
        freqrise_estimate(model, crop, partner, keep=1)
    with pytest.raises(ParameterError, match="cell=40"):
        freqrise_estimate(model, crop, partner, cell=40)
    with pytest.raises(ParameterError, match="112, 112, 3"):
        corrrise_estimate(model, crop[:50], partner)

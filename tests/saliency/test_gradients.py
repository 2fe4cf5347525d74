"""Gradient views, against Captum, finite differences and their own sums."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from conftest import Linear

import freqlab as fl
from freqlab.errors import ModelError, ParameterError, UnknownNameError
from freqlab.saliency.gradients import attribute, band_sums
from freqlab.saliency.joint import joint_influence, window_weights


@pytest.fixture(scope="module")
def face_pair(demo):
    """MobileFaceNet, the two crops of a genuine pair of the demo, the second one's embedding."""
    model = fl.load_model("mobilefacenet", device="cpu")
    data = demo.sel(model="mobilefacenet").isel(pair=0)
    crops = fl.open_run(demo.attrs["store"])["crops/arcface"]["crop"]
    one, other = (crops.sel(face=data[s].item()).to_numpy() for s in ("probe", "reference"))
    partner = model(torch.from_numpy(other.copy()).permute(2, 0, 1)[None].float())
    return model, one, partner


def _captums(model, crop, partner):
    """Integrated gradients on the spectrum as real and imaginary parts, by Captum."""
    image = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float()
    transform = torch.view_as_real(torch.fft.rfft2(image))
    nothing = torch.zeros_like(transform)
    nothing[..., 0, 0, :] = transform[..., 0, 0, :]  # the image of the mean colour

    def similarity(planes):
        images = torch.fft.irfft2(torch.view_as_complex(planes), s=(112, 112))
        embeddings = model.network(model.prepare(images))
        return torch.nn.functional.cosine_similarity(embeddings, partner)

    expected = IntegratedGradients(similarity).attribute(
        transform, baselines=nothing, n_steps=6, method="gausslegendre"
    )
    return expected.detach().sum(dim=(0, 1, 4)).numpy()


def test_integrated_gradients_are_captums(face_pair):
    """The network is smooth, so that each coefficient can be compared."""
    _, crop, _ = face_pair
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.Tanh(), torch.nn.Flatten()]
    model = fl.wrap_model(torch.nn.Sequential(*layers, torch.nn.Linear(5832, 16)), name="smooth")
    partner = torch.randn(1, 16)
    expected = _captums(model, crop, partner)
    found = attribute(model, crop, partner[0].numpy(), kind="integrated", steps=6)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.frequency.sum(axis=0), expected, rtol=1e-4, atol=1e-5 * scale)


def test_integrated_gradients_of_a_face_model_are_captums(face_pair):
    """Compared as a whole: rounding changes some gradients at kinks of the network."""
    model, crop, partner = face_pair
    labels = fl.rings().label_map(112, 112)
    expected = _captums(model, crop, partner)
    found = attribute(model, crop, partner[0].numpy(), kind="integrated", steps=6)
    plane = found.frequency.sum(axis=0)
    assert np.linalg.norm(plane - expected) < 2e-3 * np.linalg.norm(expected)
    by_band = band_sums(plane, labels, 15)
    largest = np.abs(by_band).max()
    for band in range(15):
        summed = expected[labels == band].sum()
        assert by_band[band] == pytest.approx(summed, rel=5e-4, abs=1e-3 * largest)


def test_integrated_gradients_are_complete_in_both_bases(face_pair):
    model, crop, partner = face_pair
    plain = np.broadcast_to(crop.mean(axis=(0, 1)), crop.shape).astype(np.float32)
    images = torch.from_numpy(np.stack([crop.astype(np.float32), plain])).permute(0, 3, 1, 2)
    whole, nothing = torch.nn.functional.cosine_similarity(model(images), partner).tolist()
    found = attribute(model, crop, partner[0].numpy(), kind="integrated")
    assert found.difference == pytest.approx(whole - nothing, abs=1e-5)
    assert found.residual == pytest.approx(found.space.sum() - (whole - nothing), abs=1e-5)
    few = attribute(model, crop, partner[0].numpy(), kind="integrated", steps=4)
    assert abs(found.residual) < abs(few.residual)
    assert found.similarity == pytest.approx(whole, abs=1e-5)
    assert found.space.sum() == pytest.approx(found.frequency.sum(), abs=1e-5)
    assert found.space.sum() == pytest.approx(whole - nothing, abs=0.2 * abs(whole - nothing))


def test_a_gradient_is_the_slope_of_removing_a_band(face_pair):
    """The derivative of the similarity when a band is scaled is the sum over the band."""
    model, crop, partner = face_pair
    labels = torch.from_numpy(fl.rings().label_map(112, 112))
    shares = band_sums(
        attribute(model, crop, partner[0].numpy()).frequency.sum(axis=0), labels.numpy(), 15
    )
    image = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float()
    for band in (0, 2, 5):
        part = image - fl.bands.remove(image, labels, [band])
        scores = [
            float(torch.nn.functional.cosine_similarity(model(image + h * part), partner))
            for h in (0.02, -0.02)
        ]
        assert (scores[0] - scores[1]) / 0.04 == pytest.approx(shares[band], rel=0.1, abs=2e-3)


def test_of_a_linear_model_integrated_gradients_of_each_feature_are_its_products(linear):
    """Features above their share of the threshold support a match; the others oppose it."""
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (112, 112, 3)).astype(np.uint8)
    partner = rng.normal(size=16)
    image = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
    one = linear(image)[0].numpy().astype(float)
    products = one * partner / np.linalg.norm(one) / np.linalg.norm(partner)
    start = linear(image.mean(dim=(2, 3), keepdim=True).expand_as(image).contiguous())[0].numpy()
    before = start * partner / np.linalg.norm(start) / np.linalg.norm(partner)
    found = attribute(linear, crop, partner, kind="integrated", steps=64, threshold=0.4)
    for_match = products >= 0.4 / 16
    for part, chosen in zip(found.space, (for_match, ~for_match), strict=True):
        assert part.sum() == pytest.approx((products - before)[chosen].sum(), abs=1e-3)
    everything = attribute(linear, crop, partner, threshold=-20)
    np.testing.assert_allclose(everything.space[1], 0, atol=1e-12)
    np.testing.assert_allclose(
        everything.space[0], attribute(linear, crop, partner).space.sum(axis=0), atol=1e-6
    )


def test_networks_without_gradients_are_refused():
    class Detached(Linear):
        def forward(self, images):
            return super().forward(images).detach()

    crop, partner = np.zeros((112, 112, 3), np.uint8), np.ones(16)
    crop[40:60] = 200
    with pytest.raises(ModelError, match="no gradient"):
        attribute(fl.wrap_model(Detached(), name="d"), crop, partner)
    model = fl.wrap_model(Linear(), name="linear")
    with pytest.raises(UnknownNameError, match="integrated"):
        attribute(model, crop, partner, kind="integratd")
    with pytest.raises(ParameterError, match="not finite"):
        attribute(model, crop, partner * np.nan)


@pytest.mark.parametrize(("length", "n"), [(112, 7), (96, 5), (10, 10), (9, 1)])
def test_windows_sum_to_one(length, n):
    weights = window_weights(length, n)
    assert weights.shape == (n, length)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-6)
    for i in range(n):
        assert abs((weights[i].argmax() + 0.5) * n / length - 0.5 - i) <= 1.01


def test_a_planted_patch_and_band_is_found():
    """The network reads one band within one patch."""
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (112, 112, 3)).astype(np.uint8)
    image = torch.from_numpy(crop).permute(2, 0, 1).float()
    labels = fl.rings(width=8).label_map(112, 112)
    mask = torch.from_numpy(labels == 3)
    rows, columns = slice(72, 96), slice(16, 40)  # around the window in row 5, column 1 of 7

    class Reader(torch.nn.Module):
        def forward(self, images):
            part = fl.bands.apply_masks(images, mask)[..., rows, columns]
            own = fl.bands.apply_masks(image[None], mask)[..., rows, columns]
            found = (part * own).sum(dim=(1, 2, 3)) / own.square().sum()
            return torch.stack([found, torch.ones_like(found)], dim=1)

    model = fl.wrap_model(Reader(), name="reader")
    partner = np.array([[1.0, 0.2]])
    found = joint_influence(model, crop, partner, labels, 8)
    band, row, column = np.unravel_index(np.nanargmax(found.influence[0]), (8, 7, 7))
    assert band == 3
    assert (row, column) == (5, 1) or (row, column) == (4, 1)
    assert found.n_images == 8 * 49 + 1
    far = np.delete(found.influence[0], 3, axis=0)
    assert np.nanmax(np.abs(far)) < 0.35 * found.influence[0].max()
    assert np.abs(found.influence[0, 3, :3, 4:]).max() < 0.02 * found.influence[0].max()


def test_one_window_is_the_influence_of_the_band(demo):
    model = fl.load_model("mobilefacenet", device="cpu")
    data = demo.sel(model="mobilefacenet", side="probe").isel(pair=3)
    crops = fl.open_run(demo.attrs["store"])["crops/arcface"]["crop"]
    crop = crops.sel(face=data["probe"].item()).to_numpy()
    partner = fl.open_embeddings(demo.attrs["store"], model="mobilefacenet")
    partner = partner.sel(face=data["reference"].item()).to_numpy()[None]
    labels = fl.rings().label_map(112, 112)
    found = joint_influence(model, crop, partner, labels, 15, grid=1)
    np.testing.assert_allclose(found.influence[0, :, 0, 0], data["influence"], atol=1e-5)
    np.testing.assert_allclose(found.removed_rms[:, 0, 0], data["removed_rms"], rtol=1e-3)

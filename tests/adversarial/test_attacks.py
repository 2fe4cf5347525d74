"""Attacks: size and direction of the change, and the closed form of FGSM for a linear model."""

import numpy as np
import pytest
import torch
from conftest import Linear

import freqlab as fl
from freqlab.adversarial.attacks import adversarial_crops, perturbation_sizes
from freqlab.errors import ParameterError, UnknownNameError


def crops_of(n, seed=0):
    return np.random.default_rng(seed).integers(40, 210, (n, 112, 112, 3)).astype(np.uint8)


def similarity(model, crops, partners):
    images = torch.from_numpy(crops.astype(np.float32)).permute(0, 3, 1, 2)
    return torch.nn.functional.cosine_similarity(model(images), partners).numpy()


@pytest.mark.parametrize("attack", ["FGSM", "PGD"])
def test_attacks_are_bounded_and_change_similarity_in_the_right_direction(attack):
    model = fl.wrap_model(Linear(), name="linear")
    crops = crops_of(10)
    crops[0, :8], crops[1, :8] = 0, 255
    partners = torch.randn(10, 16, generator=torch.Generator().manual_seed(1))
    genuine = np.arange(10) % 2 == 0
    found = adversarial_crops(
        model, crops, partners.numpy(), genuine, attack=attack, strength=4, steps=6
    )
    change = found.astype(int) - crops
    assert np.abs(change).max() <= 4
    gain = similarity(model, found, partners) - similarity(model, crops, partners)
    assert (gain[genuine] < 0).all()
    assert (gain[~genuine] > 0).all()


def test_fgsm_is_the_sign_of_the_gradient_in_closed_form():
    model = fl.wrap_model(Linear(n_features=4), name="linear")
    crops, partner = crops_of(1), np.array([[0.3, -1.0, 0.2, 0.5]])
    found = adversarial_crops(model, crops, partner, np.array([False]), attack="FGSM", strength=3)
    matrix = model.network.matrix.numpy().astype(float)
    u = matrix @ crops[0].transpose(2, 0, 1).ravel()
    v = partner[0] / np.linalg.norm(partner[0])
    length = np.linalg.norm(u)
    slope = matrix.T @ (v - (u @ v) * u / length**2) / length
    expected = crops[0] + 3 * np.sign(slope).reshape(3, 112, 112).transpose(1, 2, 0)
    agree = found[0] == expected
    assert agree.mean() > 0.999
    assert (np.abs(found[0].astype(int) - crops[0]) == 3).mean() > 0.999


class Slope(torch.nn.Module):
    """Embedding (w x, 1): its cosine with (1, 0) increases with w x, whatever the image."""

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))

    def forward(self, images):
        product = (images.flatten(1) @ self.weights.flatten())[:, None]
        return torch.cat([product / 1e4, torch.ones_like(product)], dim=1)


def slope_model(seed=0, zeros=0.0):
    """Model with a known sign of the gradient, zero at a share of the pixels."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(3, 112, 112)) * (rng.random((3, 112, 112)) >= zeros)
    return fl.wrap_model(Slope(weights), name="slope"), np.sign(weights).transpose(1, 2, 0)


ONE = np.array([[1.0, 0.0]])


@pytest.mark.parametrize("attack", ["FGSM", "PGD"])
@pytest.mark.parametrize("strength", [1, 2, 4, 2.5])
@pytest.mark.parametrize("genuine", [True, False])
def test_a_gradient_of_constant_sign_is_followed_to_the_full_strength(attack, strength, genuine):
    """The optimum within the box is its corner; PGD reaches it after eight steps of a quarter."""
    model, sign = slope_model()
    crops = crops_of(1)
    crops[0, :4], crops[0, 4:8] = 0, 255
    found = adversarial_crops(
        model, crops, ONE, np.array([genuine]), attack=attack, strength=strength, steps=9
    )
    direction = -1 if genuine else 1
    expected = np.clip(crops[0] + direction * np.floor(strength) * sign, 0, 255)
    np.testing.assert_array_equal(found[0], expected)
    sizes = perturbation_sizes(crops, found)
    clipped = (crops[0] + direction * sign < 0) | (crops[0] + direction * sign > 255)
    assert 0 < clipped.mean() == sizes.unchanged[0]
    assert sizes.largest_change[0] == np.floor(strength)
    assert sizes.mean_change[0] == pytest.approx(np.floor(strength) * (1 - clipped.mean()))


@pytest.mark.parametrize("strength", [1, 1.7, 3])
def test_the_last_step_of_pgd_is_rounded_to_the_nearest_grey_level_in_the_box(strength):
    model, sign = slope_model(zeros=0.3)
    crops = crops_of(2)
    found = adversarial_crops(
        model, crops, np.repeat(ONE, 2, 0), np.array([False] * 2), strength=strength, steps=1
    )
    start = np.random.default_rng(0).uniform(-strength, strength, crops.shape)
    change = np.clip(start + strength / 4 * sign, -strength, strength)
    most = np.floor(strength)
    expected = np.clip(np.rint(change), -most, most)
    apart = found.astype(int) - crops != expected
    near_tie = np.abs(np.abs(change) % 1 - 0.5) < 1e-4  # pixels are added in single precision
    assert not (apart & ~near_tie).any()
    truncated = (np.trunc(change) == 0).mean()
    assert perturbation_sizes(crops, found).unchanged.mean() < 0.7 * truncated


def test_sizes_of_a_perturbation():
    crops = crops_of(3)
    other = crops.copy()
    other[1, :56] += 2
    other[2, 0, 0, 0] -= 7
    sizes = perturbation_sizes(crops, other)
    assert sizes.largest_change.tolist() == [0, 2, 7]
    np.testing.assert_allclose(sizes.mean_change, [0, 1, 7 / (112 * 112 * 3)])
    np.testing.assert_allclose(sizes.unchanged, [1, 0.5, 1 - 1 / (112 * 112 * 3)])
    with pytest.raises(ParameterError, match=r"perturbed of shape \(2, .* must have that of crops"):
        perturbation_sizes(crops, other[:2])


def test_pgd_is_stronger_than_fgsm_on_a_face_model(demo):
    model = fl.load_model("mobilefacenet", device="cpu")
    data = demo.isel(pair=slice(0, 3))
    crops = fl.open_run(demo.attrs["store"])["crops/arcface"]["crop"]
    probes = crops.sel(face=data["probe"].to_numpy()).to_numpy()
    partners = fl.open_embeddings(demo.attrs["store"], model="mobilefacenet")
    partners = partners.sel(face=data["reference"].to_numpy()).to_numpy()
    genuine = data["genuine"].to_numpy()
    assert genuine.all()
    after = {
        attack: similarity(
            model,
            adversarial_crops(model, probes, partners, genuine, attack=attack, strength=2, steps=5),
            torch.from_numpy(partners),
        )
        for attack in ("FGSM", "PGD")
    }
    before = similarity(model, probes, torch.from_numpy(partners))
    assert (after["FGSM"] < before - 0.05).all()
    assert after["PGD"].mean() < after["FGSM"].mean()


def test_wrong_arguments_are_named():
    model = fl.wrap_model(Linear(), name="linear")
    with pytest.raises(UnknownNameError, match="PGD"):
        adversarial_crops(model, crops_of(1), np.ones((1, 16)), np.array([True]), attack="PDG")
    with pytest.raises(ParameterError, match="strength=0"):
        adversarial_crops(model, crops_of(1), np.ones((1, 16)), np.array([True]), strength=0)
    with pytest.raises(ParameterError, match="same length; got 1, 1 and 2"):
        adversarial_crops(model, crops_of(1), np.ones((1, 16)), np.array([True, False]))

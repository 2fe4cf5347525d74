"""Attacks: size and direction of the change, and the closed form of FGSM for a linear model."""

import numpy as np
import pytest
import torch
from conftest import Linear

import freqlab as fl
from freqlab.adversarial.attacks import adversarial_crops
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

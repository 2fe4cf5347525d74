"""Sanity and stability: ends that are known, and what must be found."""

import numpy as np
import pytest
import torch
from conftest import Deep, Linear, make_faces

import freqlab as fl
from freqlab.errors import ParameterError
from freqlab.faithfulness import sanity, stability
from freqlab.faithfulness.games import complexity


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    faces = make_faces(6, 2)
    models = [fl.wrap_model(Deep(), name="deep"), fl.wrap_model(lambda x: x.flatten(1), name="f")]
    result = fl.influence(
        faces, fl.make_pairs(faces, seed=0), models=models, bands="rings:14",
        store=tmp_path_factory.mktemp("sanity") / "run.zarr", progress=False,
    )  # fmt: skip
    return result, models


def test_layers_are_randomised_from_the_last_on(run):
    model = run[1][0]
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    for share, changed in (
        (0.0, {"head"}),
        (0.67, {"head", "second"}),
        (1.0, {"head", "second", "first"}),
    ):
        other = sanity.randomised(model, share)
        after = other.network.state_dict()
        found = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
        assert found == changed
        assert other.checkpoint != model.checkpoint
        for name, value in after.items():  # shuffled: the same entries
            torch.testing.assert_close(value.flatten().sort()[0], before[name].flatten().sort()[0])
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(ParameterError, match="no weights that could be randomised"):
        sanity.randomised(run[1][1], 1.0)


def test_checks(run):
    result, models = run
    found = fl.faithfulness.sanity_checks(result, models, depths=[0, 1], n_draws=50, progress=False)
    assert np.isfinite(found["randomised"].sel(model="deep", estimate="value")).all()
    assert np.isnan(found["randomised"].sel(model="f")).all()
    assert (found["least_identical"] > -1e-6).all()
    again = fl.faithfulness.sanity_checks(result, models, depths=[0, 1], n_draws=50, progress=False)
    assert again.attrs["forward_passes"] == 0
    np.testing.assert_array_equal(found["randomised"], again["randomised"])


def test_weights_that_stay_leave_the_profile(run, monkeypatch):
    """With nothing randomised the correlation is one: the way through it adds nothing."""
    result, models = run
    monkeypatch.setattr(sanity, "randomised", lambda model, share, **_: model)
    found = fl.faithfulness.sanity_checks(
        result, models[:1], depths=[1], n_draws=10, progress=False
    )
    np.testing.assert_allclose(found["randomised"].sel(estimate="value"), 1, atol=1e-9)


def test_an_image_that_is_not_changed_keeps_its_profile(run, monkeypatch):
    result, models = run
    changes = {"nothing": lambda crop: crop, "upside down": lambda crop: crop[::-1].copy()}
    monkeypatch.setattr(stability, "PERTURBATIONS", changes)
    found = fl.faithfulness.profile_stability(result, models, n_draws=20, progress=False)
    part = found.sel(estimate="value")
    np.testing.assert_allclose(part["correlation"].sel(perturbation="nothing"), 1)
    np.testing.assert_allclose(part["change"].sel(perturbation="nothing"), 0, atol=1e-3)  # float32
    assert (part["change"].sel(perturbation="upside down") > 0.1).all()


def test_perturbations_are_small_and_what_they_say():
    y, x = np.mgrid[0:112, 0:112]
    smooth = np.stack([128 + 60 * np.sin(x / 9 + i) * np.cos(y / 11) for i in range(3)], axis=-1)
    crop = smooth.astype(np.uint8)
    made = {name: change(crop) for name, change in stability.PERTURBATIONS.items()}
    for name, other in made.items():
        assert other.shape == crop.shape
        assert other.dtype == np.uint8
        assert not np.array_equal(other, crop), name
        assert np.abs(other.astype(float) - crop)[8:-8, 8:-8].mean() < 20, name
    np.testing.assert_array_equal(made["one-pixel shift"][:, 1:], crop[:, :-1])
    bright = 255 * (crop / 255) ** (1 / 1.2)
    np.testing.assert_allclose(made["gamma 1.2"], bright, atol=0.5)


def test_complexity_and_agreement_of_models(run):
    result, _ = run
    found = fl.faithfulness.explanation_figures(result, n_draws=20)
    h = result["influence"].sel(model="deep", side="probe").isel(pair=2).to_numpy().astype(float)
    at = found["complexity"].sel(model="deep", side="probe").isel(pair=2)
    assert float(at) == pytest.approx(complexity(h))
    assert found["couple"].to_numpy().tolist() == ["deep and f"]
    twice = result.sel(model=["deep", "deep"]).assign_coords(model=["a", "b"])
    same = fl.faithfulness.explanation_figures(twice, n_draws=20)["agreement"].sel(estimate="value")
    np.testing.assert_allclose(same, 1)


def test_a_network_without_weights_is_not_randomised():
    faces = make_faces(5, 2)
    model = fl.wrap_model(Linear(), name="linear")  # its matrix is a buffer
    result = fl.influence(
        faces, fl.make_pairs(faces), models=[model], bands="rings:14", progress=False
    )
    found = fl.faithfulness.sanity_checks(result, [model], depths=[0], n_draws=20, progress=False)
    assert np.isnan(found["randomised"]).all()
    assert (np.abs(found["shuffled"].sel(estimate="value")) < 1).all()


def test_statistics_of_normalisation_are_estimated_again():
    """After it the outputs of a normalised layer have the mean and spread that it declares."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(3 * 112 * 112, 8), torch.nn.BatchNorm1d(8)
    )
    layers[2].running_var.fill_(1e-12)
    crops = np.stack(make_faces(8, 2).images)
    model = fl.wrap_model(layers, name="normalised")
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    assert float(model(images).abs().max()) > 1e4
    found = sanity.randomised(model, 0.0, crops=crops)(images)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.var(0), 1, rtol=1e-2)
    assert float(layers[2].running_var.max()) < 1e-11

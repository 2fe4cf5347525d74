"""Maps of the pairs of a result: values, coordinates and storage."""

import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.saliency.corrrise import corrrise_estimate


@pytest.fixture(scope="module")
def mobilefacenet():
    return fl.load_model("mobilefacenet", device="cpu")


@pytest.fixture(scope="module")
def spatial(demo, mobilefacenet):
    return fl.saliency.corrrise_maps(demo, mobilefacenet, pairs=[0, 1, 14], n_masks=40)


def test_maps_are_those_of_each_pair(demo, mobilefacenet, spatial):
    assert spatial["map"].dims == ("pair", "y", "x")
    assert spatial["pair"].values.tolist() == [0, 1, 14]
    assert spatial["n_masks"].values.tolist() == [40, 40, 40]
    data = demo.sel(pair=14)
    crops = fl.open_run(demo.attrs["store"])["crops/arcface"]["crop"]
    embeddings = fl.open_embeddings(demo.attrs["store"], model="mobilefacenet")
    alone = corrrise_estimate(
        mobilefacenet,
        crops.sel(face=data["probe"].item()).to_numpy(),
        embeddings.sel(face=data["reference"].item()).to_numpy()[None],
        n_masks=40,
    )
    np.testing.assert_allclose(spatial["map"].sel(pair=14), alone.maps[0], atol=1e-4)
    # pairs of one probe share its masked images
    n_probes = len(np.unique(spatial["probe"]))
    assert spatial.attrs["passes"] == 40 * n_probes


def test_maps_are_stored_with_their_cost(demo, mobilefacenet, spatial):
    again = fl.saliency.corrrise_maps(demo, mobilefacenet, pairs=[0, 1, 14], n_masks=40)
    assert again.attrs["forward_passes"] == 0
    assert again.attrs["passes"] == spatial.attrs["passes"]
    assert again.attrs["seconds"] == spatial.attrs["seconds"]
    xr.testing.assert_equal(again, spatial)
    other = fl.saliency.corrrise_maps(demo, mobilefacenet, pairs=[0, 1, 14], n_masks=40, seed=1)
    assert other.attrs["forward_passes"] > 0
    assert "influence" in fl.open_run(demo.attrs["store"])  # the run can still be opened


def test_the_plane_and_its_rings(demo, mobilefacenet):
    found = fl.saliency.freqrise_maps(demo, mobilefacenet, pairs=[0], n_masks=60)
    assert found["map"].dims == ("pair", "ky", "kx")
    assert found["map"].sel(ky=0, kx=0).item() == 0
    inner = (np.hypot(found["ky"], found["kx"]) < 4) & (np.hypot(found["ky"], found["kx"]) > 0)
    weights = xr.where((found["kx"] == 0) | (found["kx"] == 56), 1, 2)
    mean = found["map"].where(inner).weighted(weights).mean(["ky", "kx"])
    np.testing.assert_allclose(found["by_band"].isel(band=0), mean, rtol=1e-5)


def test_gradients_by_band_sum_to_those_in_space(demo, mobilefacenet):
    found = fl.saliency.gradient_maps(demo, mobilefacenet, pairs=[0, 1], steps=2)
    assert found["argument"].values.tolist() == ["supporting", "opposing"]
    np.testing.assert_allclose(
        found["by_band"].sum("band"), found["space"].sum(["y", "x"]), atol=1e-4
    )
    assert (found["by_band"].sel(argument="supporting").sum("band") > 0).all()


def test_joint_maps_have_windows_and_bands(demo, mobilefacenet):
    found = fl.saliency.joint_maps(demo, mobilefacenet, pairs=[0], grid=2)
    assert found["influence"].dims == ("pair", "band", "row", "column")
    assert found["row"].values.tolist() == [27.5, 83.5]
    assert found.attrs["passes"] == 4 * 15 + 1
    whole = demo["removed_rms"].sel(pair=0, side="probe", model="mobilefacenet")
    assert (found["removed_rms"].max(["row", "column"]) < whole.to_numpy()).all()


def test_wrong_arguments_are_named(demo, mobilefacenet):
    with pytest.raises(ParameterError, match="999"):
        fl.saliency.corrrise_maps(demo, mobilefacenet, pairs=[999])
    with pytest.raises(UnknownNameError, match="probe"):
        fl.saliency.joint_maps(demo, mobilefacenet, side="both")
    with pytest.raises(ParameterError, match="not resolved"):
        fl.saliency.gradient_maps(demo, mobilefacenet, pairs=[0], fmr=1e-3)


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_counts_the_pairs(demo, mobilefacenet, capsys, progress):
    options = {"pairs": [0, 1], "seed": 7 + progress, "progress": progress}
    fl.saliency.freqrise_maps(demo, mobilefacenet, n_masks=4, **options)
    assert ("mobilefacenet: FreqRISE: 100%" in capsys.readouterr().err) == progress

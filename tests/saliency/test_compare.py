"""Deletion curves in space and frequency, cells and agreement of explanations."""

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import make_faces

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.saliency.compare import frequency_cells, space_cells


class PatchOnly(torch.nn.Module):
    """Embeds one cell of 28 pixels, without the mean of the image, and a constant."""

    def forward(self, images):
        part = images - images.mean(dim=(2, 3), keepdim=True)
        seen = part[:, :, 28:56, 56:84].flatten(1) / 300
        return torch.cat([seen, torch.ones(len(images), 1)], dim=1)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A model that reads one cell, and a result of four people with three photographs each."""
    model = fl.wrap_model(PatchOnly(), name="patch")
    faces = make_faces()
    store = tmp_path_factory.mktemp("planted") / "run.zarr"
    pairs = fl.make_pairs(faces, seed=0)
    result = fl.influence(
        faces, pairs, models=[model], bands=fl.rings(width=14), store=store, progress=False
    )
    return model, result


def known_map(result, value=1.0):
    """A map of the cell that the model reads."""
    values = np.zeros((result.sizes["pair"], 112, 112))
    values[:, 28:56, 56:84] = value * np.where(result["genuine"], 1, -1)[:, None, None]
    return xr.DataArray(values, dims=("pair", "y", "x"), coords={"pair": result["pair"]})


def test_the_true_map_deletes_at_the_first_step_and_its_negative_at_the_last(planted):
    model, result = planted
    right, wrong = known_map(result), known_map(result, -1.0)
    curves = fl.saliency.curves(
        result, model, {"right": right, "wrong": wrong}, domain="space", cell=28, steps=16, fmr=0.1
    )
    assert curves.sizes["step"] == 17
    assert curves["order"].values.tolist() == [
        "right", "wrong", "amplitude", "centre first", "random 1", "random 2",
    ]  # fmt: skip
    found = (
        curves["similarity"]
        .sel(model="patch", side="probe")
        .transpose("pair", "protocol", "order", "step")
    )
    whole = result["similarity"].sel(model="patch")
    first = found.sel(order="right", protocol="deletion")
    np.testing.assert_allclose(first.isel(step=0), whole, atol=1e-5)
    nothing = first.isel(step=-1)
    np.testing.assert_allclose(first.isel(step=1), nothing, atol=0.02)
    last = found.sel(order="wrong", protocol="deletion")
    np.testing.assert_allclose(last.isel(step=15), whole, atol=0.02)
    # insertion in one order leaves what deletion in the reverse order leaves
    back = found.sel(order="wrong", protocol="insertion").isel(step=1)
    np.testing.assert_allclose(back, nothing, atol=0.02)
    compared = fl.saliency.compare_explanations(
        {"space": curves}, {"right": (0, 0), "wrong": (0, 0)}, n_draws=50
    )
    gain = compared["advantage"].sel(measure="similarity", comparison="genuine", estimate="value")
    assert (gain.sel(explanation="right") > 0).all()
    assert (gain.sel(explanation="wrong") < 0).all()
    table = fl.saliency.explanation_table(compared)
    assert table.index.tolist() == ["right", "wrong"]
    right = compared["advantage"].sel(explanation="right", estimate="lower", baseline="random")
    assert (right.sel(measure="similarity") > 0).all()
    # four people: nothing is compared in words
    assert "of 4 people: too few" in fl.saliency.describe_explanations(compared)


def test_bands_are_deleted_as_by_deletion_curves(planted):
    model, result = planted
    expected = fl.faithfulness.deletion_curves(
        result.sel(side=["probe"]), [model], fmr=0.1, progress=False
    )
    influence = result["influence"].sel(model="patch", side="probe")
    found = fl.saliency.curves(
        result, model, {"influence": influence}, domain="bands", steps=50, fmr=0.1
    )
    for order in ("influence", "amplitude", "low first"):
        np.testing.assert_allclose(
            found["similarity"].sel(order=order).squeeze("side"),
            expected["similarity"].sel(order=order, side="probe"),
            atol=1e-5,
        )


def test_curves_are_stored(planted):
    model, result = planted
    options = {"domain": "space", "cell": 56, "steps": 4, "fmr": 0.1}
    first, again = (
        fl.saliency.curves(result, model, {"known": known_map(result)}, **options) for _ in range(2)
    )
    assert first.attrs["forward_passes"] > 0
    assert again.attrs["forward_passes"] == 0
    xr.testing.assert_equal(first, again)


@pytest.mark.parametrize("size", [(112, 112), (112, 96), (113, 97)])
def test_cells_of_frequencies_are_symmetric(size):
    labels = torch.from_numpy(frequency_cells(*size, 4))
    fl.bands.check_labels(labels, *size)
    assert labels[0, 0] < 0
    counts = np.bincount(labels[labels >= 0])
    assert (counts > 0).all()
    assert counts.max() <= 20  # sixteen, and the mirror images of four
    assert counts.sum() == labels.numel() - 1


def test_cells_of_pixels_tile_the_face():
    cells = space_cells(112, 100, 8)
    counts = np.bincount(cells.ravel())
    assert len(counts) == 14 * 13
    assert set(counts) == {64, 32}
    assert cells[0, 0] == cells[7, 7] == 0
    assert cells[8, 0] == 13


def test_agreement_is_spearmans(demo):
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    data = demo["influence"].sel(model="mobilefacenet", side="probe")
    other = data.copy(data=rng.normal(size=data.shape))
    agreed = fl.saliency.agreement({"one": data, "other": other, "twice": 2 * data}, n_draws=50)
    expected = [spearmanr(a, b)[0] for a, b in zip(data.values, other.values, strict=True)]
    one = agreed["agreement"].sel(kind="directed", estimate="value")
    assert float(one.sel(explanation="one", other="other")) == pytest.approx(np.mean(expected))
    assert float(one.sel(explanation="one", other="twice")) == pytest.approx(1)
    absolute = [
        spearmanr(abs(a), abs(b))[0] for a, b in zip(data.values, other.values, strict=True)
    ]
    two = agreed["agreement"].sel(
        kind="absolute", estimate="value", explanation="other", other="one"
    )
    assert float(two) == pytest.approx(np.mean(absolute))
    table = fl.saliency.agreement_table({"bands": agreed})
    assert table.index.tolist() == [
        "one and other, over bands", "one and twice, over bands", "other and twice, over bands",
    ]  # fmt: skip
    assert table.loc["one and twice, over bands", "directed"].startswith("+1.00")
    assert table["pairs"].tolist() == [data.sizes["pair"]] * 3
    assert ("[" in table["directed"].iloc[0]) == (agreed.attrs["n_people"] >= 20)


def test_windows_average():
    values = xr.DataArray(np.ones((2, 112, 112)), dims=("pair", "y", "x"))
    values[1, :56] = 3
    found = fl.saliency.windowed(values, 4)
    assert found.dims == ("pair", "row", "column")
    np.testing.assert_allclose(found[0], 1)
    np.testing.assert_allclose(found[1, 0], 3)
    np.testing.assert_allclose(found[1, 3], 1)
    np.testing.assert_allclose(found[1, 1], 4 - found[1, 2], rtol=1e-5)


def test_complexity_of_maps():
    values = np.zeros((2, 4, 4))
    values[0, 1, 1], values[1] = 5, 1
    assert fl.saliency.map_complexity(
        xr.DataArray(values, dims=("pair", "y", "x"))
    ) == pytest.approx(0.5)


def test_wrong_arguments_are_named(planted):
    model, result = planted
    right = known_map(result)
    with pytest.raises(UnknownNameError, match="space"):
        fl.saliency.curves(result, model, {"a": right}, domain="spce")
    with pytest.raises(ParameterError, match="ky, kx"):
        fl.saliency.curves(result, model, {"a": right}, domain="frequency")
    both = {"a": right, "b": right.isel(pair=slice(0, 3))}
    with pytest.raises(ParameterError, match="other pairs"):
        fl.saliency.curves(result, model, both, domain="space")
    with pytest.raises(ParameterError, match="two maps or more"):
        fl.saliency.agreement({"a": right})

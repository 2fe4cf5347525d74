"""Deletion and insertion: their ends, areas by hand, planted bands, and baselines."""

import numpy as np
import pytest
import torch
from conftest import make_faces

import freqlab as fl
from freqlab.errors import ParameterError, StoreError


class OneBand(torch.nn.Module):
    """Reads some bands only: any other may be removed without effect."""

    def __init__(self, bands, size=112):
        super().__init__()
        labels = torch.from_numpy(fl.rings(14).label_map(size, size))
        self.register_buffer("mask", torch.isin(labels, torch.tensor([*bands, -1])).float())
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("matrix", torch.randn(32, 3 * size * size, generator=generator))

    def forward(self, images):
        seen = torch.fft.irfft2(torch.fft.rfft2(images - 128) * self.mask, s=images.shape[-2:])
        return seen.flatten(1) @ self.matrix.T


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    faces = make_faces(8, 2)
    model = fl.wrap_model(OneBand([1]), name="planted")
    result = fl.influence(
        faces, fl.make_pairs(faces, seed=0), models=[model], bands="rings:14",
        store=tmp_path_factory.mktemp("planted") / "run.zarr", progress=False,
    )  # fmt: skip
    curves = fl.faithfulness.deletion_curves(result, [model], fmr=1e-1, n_random=3, progress=False)
    return result, model, curves


def test_curves_begin_and_end_where_they_must(run):
    """With nothing removed at the clean similarity, with all at that of DC images."""
    result, model, curves = run
    clean = result["similarity"].sel(model="planted").to_numpy()
    crops = fl.open_run(result.attrs["store"])["crops/arcface"]["crop"]
    flat = {
        str(face): torch.full((1, 3, 112, 112), 0.0)
        + torch.from_numpy(crops.sel(face=face).to_numpy().mean((0, 1)))[None, :, None, None]
        for face in crops["face"].to_numpy()
    }
    whole = {
        face: torch.from_numpy(crops.sel(face=face).to_numpy().copy()).permute(2, 0, 1)[None]
        for face in flat
    }
    for side in ("probe", "reference", "both"):
        data = curves["similarity"].sel(model="planted", side=side)
        ends = []
        for probe, reference in zip(
            curves["probe"].values, curves["reference"].values, strict=True
        ):
            a = flat[probe] if side in ("probe", "both") else whole[probe]
            b = flat[reference] if side in ("reference", "both") else whole[reference]
            one, other = model(a.float()), model(b.float())
            ends.append(float(torch.nn.functional.cosine_similarity(one, other)))
        for protocol, first, last in (("deletion", clean, ends), ("insertion", ends, clean)):
            part = data.sel(protocol=protocol).transpose("order", "pair", "step").to_numpy()
            np.testing.assert_allclose(part[..., 0], np.tile(first, (len(part), 1)), atol=2e-3)
            np.testing.assert_allclose(part[..., -1], np.tile(last, (len(part), 1)), atol=2e-3)


def test_rates_are_counted_right(run):
    _, _, curves = run
    errors = fl.faithfulness.deletion_errors(curves, n_draws=50)
    threshold = float(curves["threshold"][0])
    genuine = curves["genuine"].to_numpy()
    part = curves["similarity"].sel(model="planted", side="probe", protocol="deletion")
    scores = part.sel(order="amplitude").transpose("pair", "step").to_numpy()
    fnmr, fmr = (scores[genuine] < threshold).mean(0), (scores[~genuine] >= threshold).mean(0)
    at = errors.sel(model="planted", side="probe", protocol="deletion")
    curve = at["curve"].sel(order="amplitude", measure="error")
    np.testing.assert_allclose(curve.sel(comparison="genuine"), fnmr)
    np.testing.assert_allclose(curve.sel(comparison="impostor"), fmr)
    np.testing.assert_allclose(at["accuracy"].sel(order="amplitude"), 1 - (fnmr + fmr) / 2)
    area = np.trapezoid(fnmr, np.linspace(0, 1, 6))
    found = at["area"].sel(order="amplitude", measure="error", comparison="genuine")
    assert float(found.sel(estimate="value")) == pytest.approx(area)
    each = [
        np.trapezoid((part.sel(order=f"random {i}").to_numpy()[genuine] < threshold) * 1.0)
        for i in (1, 2, 3)
    ]
    found = at["area"].sel(order="random", measure="error", comparison="genuine")
    assert float(found.sel(estimate="value")) == pytest.approx(np.mean(each) / 5)
    spread = at["spread"].sel(measure="error", comparison="genuine")
    assert float(spread) == pytest.approx(np.sqrt(np.var(each, axis=0, ddof=1).mean()) / 5)


def test_advantages_are_differences_with_their_sign(run):
    _, _, curves = run
    errors = fl.faithfulness.deletion_errors(curves, n_draws=50)
    area, gain = (errors[name].sel(estimate="value") for name in ("area", "advantage"))
    less = area.sel(order="influence") - area.sel(order="high first")
    gain = gain.sel(baseline="high first")
    for comparison, measure, sign in (
        ("genuine", "error", 1), ("impostor", "error", 1),
        ("genuine", "similarity", -1), ("impostor", "similarity", 1),
    ):  # fmt: skip
        part = {"comparison": comparison, "measure": measure}
        for protocol, turn in (("deletion", 1), ("insertion", -1)):
            at = {**part, "protocol": protocol}
            np.testing.assert_allclose(gain.sel(at), sign * turn * less.sel(at), atol=1e-12)


def test_a_planted_band_goes_first(run):
    """One band carries all: removing it first ends the match at once, others bring nothing."""
    _, _, curves = run
    part = curves["similarity"].sel(model="planted", side="probe", protocol="deletion")
    genuine = part.sel(pair=curves["genuine"].to_numpy())
    first = genuine.sel(order="influence").isel(step=1)
    np.testing.assert_allclose(first, genuine.sel(order="influence").isel(step=5), atol=1e-4)
    errors = fl.faithfulness.deletion_errors(curves, n_draws=200)
    gain = errors["advantage"].sel(
        model="planted", side="probe", comparison="genuine", measure="similarity"
    )
    assert (gain.sel(estimate="lower", baseline=["high first", "random", "amplitude"]) > 0).all()
    value = errors["area"].sel(
        model="planted", side="probe", comparison="genuine", measure="error", order="influence",
        estimate="value", protocol="deletion",
    )  # fmt: skip
    assert float(value) == pytest.approx(0.9)  # wrong from the first of five steps on


def test_an_order_that_is_the_baselines_gains_nothing():
    """Where influence follows the frequency, low-first is the same order."""
    faces = make_faces(4, 2)
    model = fl.wrap_model(OneBand([0]), name="low")
    result = fl.influence(
        faces, fl.make_pairs(faces), models=[model], bands="rings:56", sides=["probe"],
        progress=False,
    )  # fmt: skip
    curves = fl.faithfulness.deletion_curves(result, [model], fmr=1e-1, n_random=1, progress=False)
    errors = fl.faithfulness.deletion_errors(curves, n_draws=20)
    part = errors.sel(model="low", side="probe", comparison="genuine", baseline="low first")
    assert float(part["differs"]) == 0
    assert np.abs(part["advantage"].sel(estimate="value")).max() == 0
    assert np.isnan(part["spread"]).all()


def test_a_second_time_costs_nothing(run):
    result, model, curves = run
    assert curves.attrs["forward_passes"] > 0
    again = fl.faithfulness.deletion_curves(result, [model], fmr=1e-1, n_random=3, progress=False)
    assert again.attrs["forward_passes"] == 0
    np.testing.assert_array_equal(again["similarity"], curves["similarity"])


def test_arguments_that_do_not_fit(run):
    result, model, _ = run
    with pytest.raises(ParameterError, match="n_random=0"):
        fl.faithfulness.deletion_curves(result, [model], n_random=0)
    other = fl.wrap_model(OneBand([2]), name="planted")
    with pytest.raises(ParameterError, match="other weights than the result"):
        fl.faithfulness.deletion_curves(result, [other], progress=False)


def test_a_run_without_crops_is_told(run, tmp_path):
    faces = make_faces(4, 2)
    result = fl.influence(
        faces, fl.make_pairs(faces), models=[run[1]], bands="rings:14", keep_crops=False,
        store=tmp_path / "run.zarr", progress=False,
    )  # fmt: skip
    with pytest.raises(StoreError, match="keeps no crops"):
        fl.faithfulness.deletion_curves(result, [run[1]], progress=False)

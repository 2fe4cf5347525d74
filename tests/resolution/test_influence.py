"""The cross-resolution study, against planted embedders, closed forms and plain NumPy."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.errors import (
    FaceSetError,
    ParameterError,
    StoreConflictError,
    UnknownNameError,
)

BANDS = fl.rings(width=4)
SIDES = ["probe", "reference"]


class OneBand(torch.nn.Module):
    """Sees one band of frequencies only, beside a constant that keeps it from vanishing."""

    def __init__(self, band):
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(BANDS.label_map(112, 112)) == band)

    def forward(self, images):
        seen = torch.fft.irfft2(torch.fft.rfft2(images) * self.mask, s=(112, 112))
        seen = torch.nn.functional.avg_pool2d(seen.abs(), 28).flatten(1)
        return torch.cat([seen, torch.full_like(seen[:, :1], 3.0)], dim=1)


def study(faces, *, resolutions, models, store=None, kernels=("area",), **options):
    """Influence over pairs whose probes are degraded."""
    pairs = fl.make_pairs(faces, seed=0)
    degraded = faces
    for kernel in kernels:
        degraded = fl.faces.degrade(degraded, resolutions=resolutions, kernel=kernel)
    table = fl.faces.degraded_pairs(pairs, degraded)
    return fl.influence(
        degraded, table, models=models, sides=SIDES, store=store, progress=False, **options
    ).load()


@pytest.fixture(scope="module")
def result():
    """Two kernels, three resolutions, a linear model."""
    model = fl.wrap_model(Linear(), name="linear")
    faces = make_faces(n_subjects=4, per_subject=3)
    return study(faces, resolutions=[56, 28, 14], models=[model], kernels=["area", "fourier"])


@pytest.fixture(scope="module")
def profiles(result):
    return fl.resolution.profiles(result, n_draws=100)


def test_a_planted_band_is_lost_once_the_line_falls_below_it():
    band = 5  # 20 to 24 cycles/image
    model = fl.wrap_model(OneBand(band), name="one-band")
    found = study(make_faces(), resolutions=[56, 28, 26], models=[model], kernels=["fourier"])
    profiles = fl.resolution.profiles(found, n_draws=20)
    absolute = profiles["absolute"].sel(estimate="value", comparison="genuine", model="one-band")
    probe = absolute.sel(side="probe").to_numpy()
    assert probe[:, np.arange(15) != band].max() <= 1e-5
    # lines of 56 pixels at 28 and 39.6; of 28 pixels at 14 and 19.8; of 26 at 13 and 18.4
    assert (probe[:2, band] > 1e-3).all()
    assert (probe[2:, band] <= 1e-5).all()
    # the reference has the band still, and it is still seen
    assert (absolute.sel(side="reference").to_numpy()[:, band] > 1e-3).all()


def test_nothing_leaks_through_the_ideal_low_pass(result):
    profiles = fl.resolution.profiles(result, degradation="fourier", n_draws=20)
    low = profiles.isel(resolution=slice(1, None)).sel(side="probe")
    ends = low["nyquist"].sel(line="diagonal", model="linear").to_numpy()
    beyond = result["band_bounds"].to_numpy()[:, 0] >= ends[:, None]
    assert beyond.any(axis=1).all()
    for name in ("absolute", "energy"):
        values = low[name].sel(estimate="value", model="linear").to_numpy()
        assert values[:, beyond].max() <= 1e-5
    assert float(low["leak_energy"].sel(line="diagonal", estimate="value").max()) <= 1e-5
    # the share of influence is one of rounding errors, of which this weak model has little more
    assert float(low["leak_influence"].sel(line="diagonal", estimate="value").max()) <= 1e-3


def test_practical_kernels_leak(result):
    leaks = fl.resolution.leaks(result, n_draws=20)
    assert leaks["degradation"].to_numpy().tolist() == ["area", "fourier"]
    assert leaks["resolution"].to_numpy().tolist() == [56, 28, 14]
    energy = leaks["leak_energy"].sel(estimate="value", line="diagonal", comparison="genuine")
    assert (energy.sel(degradation="area") > 1e-3).all()
    assert (energy.sel(degradation="fourier") < 1e-5).all()


def test_profiles_are_plain_means_over_pairs(result, profiles):
    chosen = (result["resolution"] == 28) & (result["degradation"] == "area") & result["genuine"]
    some = result.sel(pair=chosen.to_numpy(), model="linear", side="probe")
    influence = some["influence"].to_numpy()
    part = profiles.sel(resolution=28, comparison="genuine", model="linear", side="probe")
    value = part.sel(estimate="value")
    np.testing.assert_allclose(value["directed"], influence.mean(axis=0), rtol=1e-5)
    absolute = np.abs(influence).mean(axis=0)
    np.testing.assert_allclose(value["absolute"], absolute, rtol=1e-5)
    energy = (some["removed_rms"].to_numpy().astype(float) ** 2).mean(axis=0)
    np.testing.assert_allclose(value["energy"], energy, rtol=1e-5)
    lower = result["band_bounds"].to_numpy()[:, 0]
    for line, edge in (("axis", 14), ("diagonal", 14 * np.sqrt(2))):
        share = absolute[lower >= edge].sum() / absolute.sum()
        assert float(value["leak_influence"].sel(line=line)) == pytest.approx(share, rel=1e-5)
        share = energy[lower >= edge].sum() / energy.sum()
        assert float(value["leak_energy"].sel(line=line)) == pytest.approx(share, rel=1e-5)
    share = absolute[:3].sum() / absolute.sum()  # below 14: the bands up to 12
    assert float(value["low_share"]) == pytest.approx(share, rel=1e-5)
    whole = result.sel(pair=(np.isnan(result["resolution"]) & result["genuine"]).to_numpy())
    base = np.abs(whole["influence"].sel(model="linear", side="probe").to_numpy()).mean(axis=0)
    gain = share - base[:3].sum() / base.sum()
    assert float(value["low_gain"]) == pytest.approx(gain, abs=1e-6)
    influence_gain = absolute[:3].sum() - base[:3].sum()
    assert float(value["low_influence_gain"]) == pytest.approx(influence_gain, abs=1e-6)
    moved = np.abs(absolute / absolute.sum() - base / base.sum()).sum() / 2
    assert float(value["shift"]) == pytest.approx(moved, abs=1e-6)
    assert int(part["n_pairs"]) == len(influence)


def test_effect_size_is_that_of_cohen(result, profiles):
    def shares(chosen):
        absolute = np.abs(
            result["influence"].sel(model="linear", side="reference").to_numpy()[chosen.to_numpy()]
        )
        return absolute[:, :3].sum(axis=1) / absolute.sum(axis=1)

    of_kind = result["genuine"]
    low = shares((result["resolution"] == 14) & (result["degradation"] == "area") & of_kind)
    whole = shares(np.isnan(result["resolution"]) & of_kind)
    pooled = np.sqrt((low.var() + whole.var()) / 2)
    expected = (low.mean() - whole.mean()) / pooled
    found = profiles["low_effect"].sel(
        resolution=14, comparison="genuine", model="linear", side="reference", estimate="value"
    )
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_the_highest_resolution_gains_and_moves_nothing(profiles):
    first = profiles.isel(resolution=0)
    assert float(first["resolution"]) == 112
    for name in ("low_gain", "low_influence_gain", "low_effect", "shift"):
        assert np.abs(first[name].sel(estimate="value")).max() == 0
    assert (first["rank_correlation"] == 1).all()


def test_lines_are_half_the_pixels_in_the_unit_of_the_bands(profiles):
    lines = profiles["nyquist"].sel(model="linear")
    np.testing.assert_allclose(lines.sel(line="axis"), [56, 28, 14, 7])
    np.testing.assert_allclose(lines.sel(line="diagonal"), np.sqrt(2) * np.array([56, 28, 14, 7]))
    assert lines.attrs["units"] == "cycles/image"


def test_lines_follow_the_unit():
    model = fl.wrap_model(Linear(), name="linear")
    bands = fl.rings(width=2, unit="cycles/eyes")
    found = study(make_faces(2, 2), resolutions=[28], models=[model], bands=bands)
    lines = fl.resolution.profiles(found, n_draws=5)["nyquist"].sel(model="linear", line="axis")
    np.testing.assert_allclose(lines, np.array([56, 14]) * 35.24 / 112)


def test_median_and_halved_frequency_of_known_profiles():
    influence = np.zeros((2, 4))
    influence[0] = [0.4, 0.3, 0.2, 0.1]  # as it is: half is reached a third into the second
    influence[1] = [0.4, 0.1, 0.05, 0.05]
    profiles = fl.resolution.profiles(_made_by_hand(influence), low=8, n_draws=5)
    part = profiles.sel(comparison="genuine", model="m", side="probe", estimate="value")
    np.testing.assert_allclose(part["median_frequency"], [4 + 4 / 3, 3], rtol=1e-6)
    np.testing.assert_allclose(part["halved"], [np.nan, 4])
    np.testing.assert_allclose(part["low_share"], [0.7, 0.5 / 0.6], rtol=1e-6)


def _made_by_hand(influence):
    """A result of two pairs of one person, one degraded to 28 pixels, with four bands."""
    n = len(influence)
    return fl.testing.result(
        influence[None, :, None, :],
        probe_subject=["x"] * n,
        similarity=0.5,
        columns={
            "resolution": [np.nan, 28.0],
            "degradation": ["none", "area"],
            "whole_pair": [0, 0],
        },
    )


def test_seed_moves_intervals_only_and_the_same_seed_moves_nothing(result, profiles):
    again = fl.resolution.profiles(result, n_draws=100)
    xr.testing.assert_identical(again, profiles)
    other = fl.resolution.profiles(result, n_draws=100, seed=1)
    for name in ("directed", "low_gain"):
        value, moved = (one[name].sel(estimate="value") for one in (profiles, other))
        xr.testing.assert_equal(value, moved)
    assert not other["directed"].equals(profiles["directed"])


@pytest.mark.slow
def test_blocks_batches_and_order_do_not_change_results(tmp_path):
    faces = make_faces(n_subjects=8, per_subject=5)  # 40 faces, more than one block each
    model = fl.wrap_model(Linear(), name="linear")
    pairs = fl.make_pairs(faces, n_pairs=30, seed=0)
    camera = {"resolutions": [28, 14], "noise": 3.0, "blur": 0.5, "jpeg": 60}
    degraded = fl.faces.degrade(faces, **camera)
    table = fl.faces.degraded_pairs(pairs, degraded)
    options = {"models": [model], "sides": SIDES, "progress": False}
    first = fl.influence(degraded, table, batch_size=8, **options).load()
    backwards = degraded.select(np.arange(len(degraded))[::-1])
    second = fl.influence(
        backwards,
        table,
        batch_size=3,
        keep_crops=False,
        store=tmp_path / "other.zarr",
        **options,
    ).load()
    np.testing.assert_allclose(second["influence"], first["influence"], atol=2e-6)
    np.testing.assert_allclose(second["removed_rms"], first["removed_rms"], rtol=1e-5)


@pytest.mark.slow
def test_what_the_store_holds_is_not_computed_again(tmp_path):
    store = tmp_path / "run.zarr"
    faces, model = make_faces(), fl.wrap_model(Linear(), name="linear")
    options = {"models": [model], "store": store, "kernels": ["area", "fourier"]}
    first = study(faces, resolutions=[28, 14], **options)
    assert first.attrs["forward_passes"] > 0
    second = study(faces, resolutions=[28, 14], **options)
    assert second.attrs["forward_passes"] == 0
    xr.testing.assert_equal(
        first.drop_vars("impostor_comparisons"), second.drop_vars("impostor_comparisons")
    )
    third = study(faces, resolutions=[28, 14, 7], **options)  # one more costs only itself
    probes = len(set(fl.make_pairs(faces, seed=0)["probe"].astype(str)))
    assert third.attrs["forward_passes"] <= 2 * (len(faces) + 15 * probes)
    # other bands are removed from the same pixels: unrounded crops are made again
    fine = study(faces, resolutions=[28, 14], bands=fl.rings(width=2, max=56), **options)
    profiles = fl.resolution.profiles(fine, degradation="fourier", n_draws=5)
    assert float(profiles["leak_energy"].sel(side="probe", line="diagonal").max()) <= 1e-5


def test_a_store_refuses_the_same_name_degraded_otherwise(tmp_path, synthetic, linear):
    store = tmp_path / "run.zarr"
    degraded = fl.faces.degrade(synthetic, resolutions=[28])
    fl.embed(degraded, models=[linear], store=store, progress=False)
    images = [np.asarray(image) for image in degraded.images]
    table = degraded.table.drop(columns=["source", "resolution"])
    plain = fl.Faces(table, images=images, aligned="arcface")
    with pytest.raises(StoreConflictError, match="another degradation"):
        fl.embed(plain, models=[linear], store=store, progress=False)


def test_thresholds_are_those_of_faces_as_they_are(synthetic, linear):
    pairs = fl.make_pairs(synthetic, seed=0)
    degraded = fl.faces.degrade(synthetic, resolutions=[28, 7])
    table = fl.faces.degraded_pairs(pairs, degraded)
    with_low = fl.influence(degraded, table, models=[linear], progress=False)
    alone = fl.influence(synthetic, pairs, models=[linear], progress=False)
    np.testing.assert_array_equal(with_low["threshold"], alone["threshold"])
    np.testing.assert_array_equal(with_low["impostor_comparisons"], alone["impostor_comparisons"])


def test_a_resolution_above_a_models_crop_is_refused(linear):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (200, 200, 3)).astype(np.uint8) for _ in range(2)]
    faces = fl.Faces(pd.DataFrame({"subject": ["a", "b"]}, index=["x", "y"]), images=images)
    degraded = fl.faces.degrade(faces, resolutions=[120])  # photographs: the crop is not known yet
    with pytest.raises(ParameterError, match=r"resolution=120 is above the native size of model"):
        fl.embed(degraded, models=[linear], progress=False)


def test_faces_farther_away_are_cut_out_of_a_smaller_photograph(orl, linear, tmp_path):
    faces = orl.select(range(6))
    far = fl.faces.degrade(faces, resolutions=[40, 20, 200], measure="face")
    store = tmp_path / "run.zarr"
    run = fl.embed(far, models=[linear], store=store, progress=False)
    status = run["faces"]["status"].to_series()
    assert (
        status[status.index.str.endswith("@200-area-face")] == "face smaller than the resolution"
    ).all()
    assert (status[~status.index.str.endswith("@200-area-face")] == "ok").all()
    crops = run["crops/arcface"]["crop"]
    energy = []
    for end in ("", "@40-area-face", "@20-area-face"):
        crop = crops.sel(face=f"{faces.names[0]}{end}").to_numpy().astype(float)[..., 0]
        window = np.outer(np.hanning(112), np.hanning(112))  # the edges do not wrap around
        power = np.abs(np.fft.fft2((crop - crop.mean()) * window)) ** 2
        radius = np.hypot(*np.meshgrid(*[np.abs(np.fft.fftfreq(112) * 112)] * 2))
        energy.append(power[radius > 30].sum() / power.sum())
    assert energy[0] > 3 * energy[1] > 9 * energy[2]
    # the face stays where it is
    full, reduced = (
        crops.sel(face=f"{faces.names[0]}{end}").to_numpy().astype(float)[..., 0]
        for end in ("", "@40-area-face")
    )
    assert np.corrcoef(full.ravel(), reduced.ravel())[0, 1] > 0.95


def test_faces_too_small_are_failures_to_acquire(orl, linear):
    faces = orl.select([0, 1, 10, 11])
    pairs = fl.make_pairs(faces, seed=0)
    far = fl.faces.degrade(faces, resolutions=[30, 200], measure="face")
    table = fl.faces.degraded_pairs(pairs, far)
    found = fl.influence(far, table, models=[linear], sides=["probe"], progress=False)
    lost = (found["resolution"] == 200).to_numpy()
    assert np.isnan(found["similarity"].to_numpy()[0, lost]).all()
    assert np.isfinite(found["similarity"].to_numpy()[0, ~lost]).all()
    assert found.attrs["failures_to_acquire"] == 4
    lines = fl.resolution.profiles(found, n_draws=5)["nyquist"].sel(resolution=30, line="axis")
    # the arcface crop is 112 / 35.24 eye distances wide, the face 2.2
    np.testing.assert_allclose(lines, 15 * 112 / (2.2 * 35.24), rtol=1e-6)
    only = far.select(np.flatnonzero([name.endswith("@200-area-face") for name in far.names]))
    with pytest.raises(FaceSetError, match="face smaller than the resolution"):
        fl.embed(only, models=[linear], progress=False)


def test_pairs_of_natural_resolution_run_through_the_same_study(synthetic, linear):
    pairs = fl.make_pairs(synthetic, seed=0)
    pixels = pd.Series(np.linspace(20, 120, len(synthetic)), index=synthetic.names)
    table = fl.faces.pairs_by_resolution(pairs, pixels, resolutions=[112, 56, 28])
    found = fl.influence(synthetic, table, models=[linear], sides=SIDES, progress=False)
    profiles = fl.resolution.profiles(found, n_draws=20)
    assert set(profiles["resolution"].to_numpy()) == set(table["resolution"])
    assert int(profiles["n_pairs"].sum()) == len(table)
    plain = fl.influence(synthetic, pairs, models=[linear], sides=SIDES, progress=False)
    assert fl.resolution.profiles(plain, n_draws=5)["resolution"].to_numpy().tolist() == [112]
    with pytest.raises(ParameterError, match="no degraded pairs"):
        fl.resolution.leaks(plain)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"low": 0}, ParameterError, "low=0 must be a number above 0"),
        ({"low": 3}, ParameterError, "no band lies below it; allowed: 4 or more"),
        ({"degradation": "bicubic"}, UnknownNameError, "allowed: area, fourier"),
        ({"n_draws": 0}, ParameterError, "n_draws=0"),
        ({"level": 1.5}, ParameterError, "level=1.5"),
    ],
)
def test_what_is_not_allowed_is_told(result, wrong, error, said):
    with pytest.raises(error, match=said):
        fl.resolution.profiles(result, **wrong)


def test_lines_of_pixels_of_the_face_do_not_depend_on_native_pairs(result):
    """A face is 2.2 distances between the eyes wide, which are 35.24 of 112 pixels apart."""
    kinds = result["degradation"].to_numpy().astype(object)
    camera = result.assign_coords(
        degradation=("pair", np.where(kinds == "area", "area-face", kinds))
    )
    with_native = fl.resolution.profiles(camera, degradation="area-face", n_draws=5)
    degraded = camera.isel(pair=np.flatnonzero(camera["degradation"].to_numpy() == "area-face"))
    without = fl.resolution.profiles(degraded, degradation="area-face", n_draws=5)
    assert without["resolution"].to_numpy().tolist() == [56, 28, 14]
    lines = without["nyquist"].sel(model="linear", line="axis").to_numpy()
    expected = np.array([56, 28, 14]) / 2 * 112 / (2.2 * 35.2372)
    np.testing.assert_allclose(lines, expected, rtol=1e-3)
    assert lines[0] == pytest.approx(40.4, abs=0.1)
    whole = with_native["nyquist"].sel(model="linear", line="axis").to_numpy()
    np.testing.assert_allclose(whole, [56, *lines])

"""Every kind of bands through a run and through the studies that rest on it."""

import itertools
import json

import captum.attr
import numpy as np
import pytest
import pywt
import torch
import zarr

import freqlab as fl
from freqlab.attrs import METHOD
from freqlab.edits.numbers import model_numbers, rows_of
from freqlab.errors import BandError, ParameterError
from freqlab.results.profiles import influence_spread
from freqlab.results.selection import bands_of


def halves(fy, fx):
    return np.where(np.abs(fy) < np.abs(fx), 0, np.where(np.abs(fy) > np.abs(fx), 1, 2))


KINDS = {
    "rings, mirror": fl.rings(28, extension="mirror"),
    "octaves": fl.octaves(7, 56),
    "sectors": fl.sectors(4),
    "polar": fl.polar(fl.rings(56), 2),
    "custom": fl.custom(halves, names=["vertical", "horizontal", "diagonal"]),
    "wavelets": fl.wavelets("haar", 1),
    "channels": fl.channels(),
    "channels of rings": fl.channels(fl.rings(56)),
}
SOME = [
    kind
    if kind in ("rings, mirror", "polar", "wavelets", "channels")
    else pytest.param(kind, marks=pytest.mark.exhaustive)
    for kind in KINDS
]
FEW = [
    kind if kind in ("polar", "wavelets") else pytest.param(kind, marks=pytest.mark.exhaustive)
    for kind in KINDS
]
MODEL = fl.testing.model()


@pytest.fixture(scope="module")
def people():
    return fl.testing.faces(4, 2, groups={"colour": ("red", "green")})


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    """Results of every kind, in one store."""
    store = tmp_path_factory.mktemp("kinds") / "run.zarr"
    pairs = fl.make_pairs(people, seed=0)
    return {
        kind: fl.testing.influence(people, pairs, models=[MODEL], bands=bands, store=store)
        for kind, bands in KINDS.items()
    }


def pixels(people, face):
    image = people.image(list(people.names).index(str(face)))
    return torch.tensor(np.asarray(image)).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("kind", KINDS)
def test_influence_in_closed_form(kind, run, people):
    result, parts = run[kind], KINDS[kind].decompose(112, 112)
    matrix = MODEL.network.matrix.double()
    scale = torch.tensor(MODEL.spec.std).reshape(-1, 1, 1)
    shift = torch.tensor(MODEL.spec.mean).reshape(-1, 1, 1)
    for pair in (0, 5):
        data = result.isel(pair=pair).sel(model="linear")
        ends = [pixels(people, data[end].item()).double() for end in ("probe", "reference")]
        without = [image - parts.components(image)[0] for image in ends]
        embed = [((x - shift) / scale).flatten(1) @ matrix.T for x in (*ends, *without)]
        similar = torch.nn.functional.cosine_similarity
        whole = similar(embed[0], embed[1])
        for side, pieces in (
            ("probe", (embed[2], embed[1])),
            ("reference", (embed[0], embed[3])),
            ("both", (embed[2], embed[3])),
        ):
            expected = whole - similar(*pieces)
            np.testing.assert_allclose(data["influence"].sel(side=side), expected, atol=1e-5)
        rms = parts.energy(ends[0])[0].sqrt()
        np.testing.assert_allclose(data["removed_rms"].sel(side="probe"), rms, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["octaves", "sectors", "polar", "custom"])
def test_influence_is_feature_ablation_of_the_spectrum(kind, run, people):
    """Captum ablates the coefficients of the same partition, grouped by the label map."""
    result, n = run[kind], len(KINDS[kind])
    labels = torch.from_numpy(KINDS[kind].label_map(112, 112))
    groups = torch.where(labels >= 0, labels, n)[None, None, :, :, None]
    data = result.isel(pair=3).sel(model="linear", side="probe")
    probe, reference = (pixels(people, data[end].item()) for end in ("probe", "reference"))
    partner = MODEL(reference)

    def similarity(transform):
        images = torch.fft.irfft2(torch.view_as_complex(transform), s=(112, 112))
        return torch.nn.functional.cosine_similarity(MODEL(images), partner)

    transform = torch.view_as_real(torch.fft.rfft2(probe))
    ablated = captum.attr.FeatureAblation(similarity).attribute(transform, feature_mask=groups)
    by_band = [float(ablated[groups.expand_as(ablated) == band][0]) for band in range(n)]
    np.testing.assert_allclose(data["influence"], by_band, atol=1e-5)


def test_influence_is_feature_ablation_of_wavelet_coefficients(run, people):
    """Captum ablates the coefficients of PyWavelets, which reconstructs the image."""
    data = run["wavelets"].isel(pair=3).sel(model="linear", side="probe")
    probe, reference = (pixels(people, data[end].item()) for end in ("probe", "reference"))
    partner = MODEL(reference)
    coefficients = pywt.wavedec2(probe.double().numpy(), "haar", "symmetric", 1)
    arrays = [coefficients[0], *itertools.chain(*coefficients[1:])]
    sizes = [array.size for array in arrays]
    groups = torch.repeat_interleave(torch.arange(len(arrays)), torch.tensor(sizes))[None]

    def similarity(flat):
        cut = np.split(flat[0].numpy(), np.cumsum(sizes)[:-1])
        approximation, *details = (c.reshape(a.shape) for c, a in zip(cut, arrays, strict=True))
        image = pywt.waverec2([approximation, tuple(details)], "haar", "symmetric")
        return torch.nn.functional.cosine_similarity(
            MODEL(torch.from_numpy(image).float()), partner
        )

    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))[None]
    ablated = captum.attr.FeatureAblation(similarity).attribute(flat, feature_mask=groups)
    by_band = [float(ablated[groups == 1 + band][0]) for band in range(3)]
    np.testing.assert_allclose(data["influence"], by_band, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_results_say_which_bands_they_have(kind, run):
    result, bands = run[kind], KINDS[kind]
    assert bands_of(result) == bands
    assert result["band"].to_numpy().tolist() == bands.names
    np.testing.assert_allclose(result["frequency"], bands.frequency)
    for name, (values, _) in bands.coordinates.items():
        np.testing.assert_array_equal(result[name], values)
    assert json.loads(result.attrs["method"])["bands"] == bands.method
    again = fl.open_influence(result.attrs["store"], result.attrs["name"])
    assert bands_of(again) == bands
    profile = fl.results.mean_profile(result, n_draws=10)
    assert bands_of(profile) == bands
    assert set(bands.coordinates) <= set(profile.coords)
    assert set(bands.coordinates) <= set(influence_spread(result, model="linear").coords)
    sentences = fl.results.summary(result, profile, model="linear", fmr=1e-1)
    assert any(bands.text(band) in sentences[1].replace("\xa0", " ") for band in range(len(bands)))


def test_rings_are_stored_as_before(people):
    result = fl.testing.influence(people, models=[MODEL])
    assert "declaration" not in result["band"].attrs
    assert json.loads(result.attrs["method"]) == METHOD
    assert bands_of(result) == fl.rings(28)


def test_bands_are_selected_by_frequency(people, tmp_path):
    """Also in a store of an earlier version, where the corners have no frequency."""
    store = tmp_path / "run.zarr"
    result = fl.testing.influence(people, models=[MODEL], bands="rings:14", store=store)
    near = result["influence"].sel(frequency=6, method="nearest")
    assert near["band"].item() == "0-14"
    np.testing.assert_array_equal(near, result["influence"].sel(band="0-14"))
    assert result["influence"].sel(frequency=1000, method="nearest")["band"].item() == "rest"
    array = zarr.open_group(store)[f"influence/{result.attrs['name']}/frequency"]
    array[-1] = np.nan
    older = fl.open_influence(store)
    np.testing.assert_array_equal(older["frequency"], fl.rings(14).frequency)
    assert older["influence"].sel(frequency=30, method="nearest")["band"].item() == "28-42"


def test_polar_bands_are_selected_by_the_frequency_of_their_ring(run):
    of_ring = run["polar"]["influence"].sel(frequency=28)
    assert of_ring["orientation"].to_numpy().tolist() == [0, 90]


def test_the_store_is_whole(run):
    assert fl.store.check(run["wavelets"].attrs["store"]).empty


def test_groups_of_orientation(run):
    shares = abs(run["polar"]["influence"]).groupby("orientation").sum()
    assert shares["orientation"].to_numpy().tolist() == [0, 90]
    by_scale = abs(run["wavelets"]["influence"]).groupby("scale").sum()
    assert by_scale["scale"].to_numpy().tolist() == [1]
    by_channel = abs(run["channels of rings"]["influence"]).groupby("channel").sum()
    assert by_channel["channel"].to_numpy().tolist() == ["chroma", "luminance"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FEW)
def test_nothing_is_computed_twice(kind, run, people):
    result = run[kind]
    pairs, store = fl.make_pairs(people, seed=0), result.attrs["store"]
    planned = fl.plan(people, pairs, models=[MODEL], bands=KINDS[kind], store=store, calibrate=0)
    assert planned.forward_passes == {"linear": 0}
    new = fl.plan(people, pairs, models=[MODEL], bands=KINDS[kind], calibrate=0)
    assert new.forward_passes == {"linear": 8 * (1 + len(KINDS[kind]))}
    again = fl.testing.influence(people, pairs, models=[MODEL], bands=KINDS[kind], store=store)
    assert again.attrs["forward_passes"] == 0
    assert again.attrs["name"] == result.attrs["name"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FEW)
def test_refinement(kind, run, people):
    """Broad bands are sums of neighbouring bands of the same kind."""
    refined = fl.testing.influence(
        people, fl.make_pairs(people, seed=0), models=[MODEL], bands=KINDS[kind], refine=0
    )
    np.testing.assert_allclose(refined["influence"], run[kind]["influence"], atol=1e-6)
    broad = fl.open_influence(refined.attrs["store"], refined.attrs["broad"])
    assert broad.sizes["band"] == -(-len(KINDS[kind]) // 4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOME)
def test_views_and_orders(kind, run):
    """Keep-one, Shapley values, fills, deletion and insertion."""
    sample = run[kind].isel(pair=[0, 1, 6, 7])
    present = len(KINDS[kind])
    views = fl.faithfulness.band_views(
        sample, [MODEL], fmr=1e-1, n_draws=5, tolerance=1e-9, progress=False
    )
    own = sample["influence"].sel(side="probe").transpose("model", "pair", "band")
    np.testing.assert_allclose(views["influence"], own, atol=1e-5)
    assert views["value"].notnull().all()
    shapley = views["value"].sel(view="Shapley")
    np.testing.assert_allclose(shapley.sum("band"), views["gap"], atol=1e-5)
    assert set(KINDS[kind].coordinates) <= set(views.coords)
    curves = fl.faithfulness.deletion_curves(sample, [MODEL], fmr=1e-1, n_random=1, progress=False)
    assert curves.sizes["step"] == present + 1
    assert curves["similarity"].notnull().all()
    start = curves["similarity"].isel(step=0).sel(protocol="deletion")
    end = curves["similarity"].isel(step=-1).sel(protocol="insertion")
    np.testing.assert_allclose(start, end, atol=1e-6)
    fl.faithfulness.deletion_errors(curves, n_draws=5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOME)
def test_stability_and_sanity(kind, run, people):
    sample = run[kind].isel(pair=[0, 1, 6, 7])
    stable = fl.faithfulness.profile_stability(sample, [MODEL], n_draws=5, progress=False)
    assert np.isfinite(stable["change"].sel(estimate="value")).all()
    fl.faithfulness.explanation_figures(sample, n_draws=5)
    checks = fl.faithfulness.sanity_checks(sample, [MODEL], depths=[0], n_draws=5, progress=False)
    assert float(checks["least_identical"].min()) > -1e-6
    crops = np.stack([np.asarray(image) for image in people.images])
    planted = fl.faithfulness.planted_bands(
        crops, KINDS[kind], contrasts=[30], distractor=4, n_people=2
    )
    assert (planted["accuracy"] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOME)
def test_joint_maps_and_edits(kind, run):
    result, n = run[kind], len(KINDS[kind])
    joint = fl.saliency.joint_maps(result, MODEL, grid=1, pairs=[0], progress=False)
    own = result["influence"].sel(pair=[0], model="linear", side="probe")
    np.testing.assert_allclose(joint["influence"].squeeze(["row", "column"]), own, atol=1e-5)
    rms = result["removed_rms"].sel(pair=0, model="linear", side="probe")
    np.testing.assert_allclose(joint["removed_rms"].squeeze(), rms, rtol=1e-4)
    curves = fl.saliency.curves(
        result, MODEL, {"influence": own}, domain="bands", n_random=1, fmr=1e-1, progress=False
    )
    assert curves.sizes["step"] == n + 1
    inspection = fl.edits.Inspection(result, models=[MODEL])
    edited = inspection.edit(pair=0, model="linear", bands=[0])
    assert edited.similarity - edited.edited_similarity == pytest.approx(float(own[0, 0]), abs=1e-5)
    only = inspection.edit(pair=0, model="linear", bands=[0], operation="keep")
    face, kept = edited.pictures["probe"], only.pictures["probe"]
    np.testing.assert_allclose(face.edited + face.alone, face.intact, atol=1e-3)
    everything = inspection.faces(pair=0, model="linear", bands=list(range(n)))["probe"]
    np.testing.assert_allclose(kept.edited, everything.edited + face.alone, atol=1e-3)
    text, bands = fl.edits.inspection.edit_text(result, [0, n - 1], "remove")
    assert text == "without"
    assert bands
    assert len(rows_of(result, edited, fmr=1e-1)) == n
    assert len(model_numbers(result, pair=0, fmr=1e-1))


@pytest.mark.parametrize("kind", ["rings, mirror", "wavelets", "channels"])
def test_maps_of_the_plane_need_bands_of_the_plane(kind, run):
    for maps in (fl.saliency.gradient_maps, fl.saliency.freqrise_maps):
        with pytest.raises(BandError, match="bands of the periodic Fourier transform"):
            maps(run[kind], MODEL, pairs=[0], progress=False)


@pytest.mark.parametrize("kind", ["rings, mirror", "wavelets", "channels"])
def test_neighbours_need_bands_of_the_plane(kind, people, tmp_path):
    """Refused before anything is computed."""
    with pytest.raises(BandError, match="allowed: rings, octaves, sectors, polar, custom"):
        fl.saliency.study(people, model=MODEL, store=tmp_path / "s.zarr", bands=KINDS[kind])
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sectors", "polar", "custom"])
def test_gradients_by_band(kind, run):
    maps = fl.saliency.gradient_maps(run[kind], MODEL, kind="gradient", pairs=[0], progress=False)
    total = maps["plane"].sum(["ky", "kx", "argument"])
    np.testing.assert_allclose(
        maps["by_band"].sum(["band", "argument"]), total, rtol=1e-3, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOME)
def test_groups(kind, run, people):
    labels = fl.faces.group_labels(people, "colour")
    profiles = fl.bias.profiles(run[kind], labels, baseline="red", n_draws=5, n_permutations=10)
    assert profiles["directed"].notnull().any()
    assert set(KINDS[kind].coordinates) <= set(profiles.coords)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FEW)
def test_morphs(kind):
    mixed = fl.testing.morphed_faces(4, 2)
    result = fl.testing.influence(
        mixed, fl.morphing.make_pairs(mixed), models=[MODEL], bands=KINDS[kind],
        sides=["probe", "reference"],
    )  # fmt: skip
    assert set(KINDS[kind].coordinates) <= set(fl.morphing.profiles(result, n_draws=5).coords)


def test_scores_of_morphs_need_no_frequency():
    """Sectors are all at one frequency: low against high says nothing, and fails in no way."""
    mixed = fl.testing.morphed_faces(10, 2)
    result = fl.testing.influence(
        mixed, fl.morphing.make_pairs(mixed), models=[MODEL], bands=fl.sectors(2),
        sides=["probe", "reference"],
    )  # fmt: skip
    scores = fl.morphing.scores(result, model="linear", folds=3)
    assert scores.sizes["pair"] == result.sizes["pair"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sectors", "wavelets"])
def test_resolution_needs_intervals_of_frequency(kind, people, tmp_path):
    lower = fl.faces.degrade(people.select([0, 1, 2, 3]), resolutions=[28])
    pairs = fl.faces.degraded_pairs(fl.make_pairs(people.select([0, 1, 2, 3])), lower)
    result = fl.testing.influence(lower, pairs, models=[MODEL], bands=KINDS[kind])
    with pytest.raises(ParameterError, match="allowed: rings and octaves"):
        fl.resolution.profiles(result)
    with pytest.raises(ParameterError, match="allowed: rings and octaves"):
        fl.resolution.study(
            people, models=[MODEL], store=tmp_path / "run.zarr", bands=KINDS[kind], resolutions=[28]
        )


def test_columns_of_pairs_do_not_hide_coordinates(people):
    pairs = fl.make_pairs(people, seed=0).assign(orientation=1)
    with pytest.raises(ParameterError, match=r"columns \['orientation'\].* sectors"):
        fl.testing.influence(people, pairs, bands="sectors:4")
    fl.testing.influence(people, pairs)


def test_grey_photographs_say_that_they_have_no_chroma(capfd):
    people = fl.testing.faces(3, 2)
    grey = [np.repeat(np.asarray(image)[..., :1], 3, axis=2) for image in people.images]
    people = fl.Faces(people.table, images=grey, aligned="arcface", name="grey")
    result = fl.influence(people, fl.make_pairs(people), models=[MODEL], bands="channels")
    assert "the crops are grey: chroma bands hold nothing" in capfd.readouterr().err
    chroma = result.sel(band="chroma")
    assert float(abs(chroma["influence"]).max()) == 0
    assert float(chroma["removed_rms"].max()) == 0


@pytest.mark.slow
def test_bands_of_pixels_survive_a_normalisation(people):
    """Colour order and a scale of each channel matter where components mix the channels."""
    plain = fl.wrap_model(MODEL.network, name="plain")

    def reordered(images):
        std, mean = (torch.tensor(v).reshape(3, 1, 1) for v in ([50, 60, 70], [9, 8, 7]))
        network = (images * std + mean).flip(1)
        return MODEL.network((network - plain_mean) / plain_std)

    plain_mean, plain_std = (
        torch.tensor(v).reshape(-1, 1, 1) for v in (plain.spec.mean, plain.spec.std)
    )
    other = fl.wrap_model(reordered, name="other", mean=(9, 8, 7), std=(50, 60, 70), channels="BGR")
    few = people.select([0, 1, 2, 3])
    for kind in ("channels", "wavelets", "rings, mirror"):
        result = fl.testing.influence(few, models=[plain, other], bands=KINDS[kind])
        first, second = (result["influence"].sel(model=m) for m in ("plain", "other"))
        np.testing.assert_allclose(first, second, atol=1e-5)

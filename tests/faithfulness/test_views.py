"""Views of bands on models whose games are known, and fillings against their definitions."""

import numpy as np
import pytest
from conftest import Linear, make_faces
from scipy.stats import spearmanr

import freqlab as fl
from freqlab.bands.fills import mean_amplitude_fill, noise_fill
from freqlab.edits.pair_sets import PairSets
from freqlab.errors import UnknownNameError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    faces = make_faces(8, 2)
    model = fl.wrap_model(Linear(), name="linear")
    result = fl.influence(
        faces, fl.make_pairs(faces, seed=0), models=[model], bands="rings:14",
        store=tmp_path_factory.mktemp("views") / "run.zarr", progress=False,
    )  # fmt: skip
    views = fl.faithfulness.band_views(
        result, [model], fmr=1e-1, n_draws=50, tolerance=0, progress=False
    )
    return result, model, views


def test_influence_is_that_of_the_result(run):
    result, _, views = run
    np.testing.assert_allclose(views["influence"], result["influence"].sel(side="probe"), atol=1e-6)


def test_shapley_values_sum_to_all_less_none(run):
    _, _, views = run
    total = views["value"].sel(view="Shapley").sum("band")
    np.testing.assert_allclose(total, views["gap"], atol=1e-9)


def test_agreement_is_spearmans(run):
    _, _, views = run
    h, alone = (a.sel(model="linear").to_numpy() for a in (
        views["influence"], views["value"].sel(view="keep one")
    ))  # fmt: skip
    directed = np.mean([spearmanr(a, b)[0] for a, b in zip(h, alone, strict=True)])
    absolute = np.mean([spearmanr(abs(a), abs(b))[0] for a, b in zip(h, alone, strict=True)])
    found = views["agreement"].sel(model="linear", view="keep one", estimate="value")
    np.testing.assert_allclose(found, [directed, absolute])


@pytest.mark.parametrize("kind", ["flip", "suffice"])
def test_smallest_sets_do_what_they_say(run, kind):
    result, model, views = run
    sets, threshold = PairSets(result, model, progress=False), float(views["threshold"][0])
    match = result["similarity"].sel(model="linear").to_numpy() >= threshold
    size, members = (
        views[f"{kind}_{name}"].sel(model="linear").to_numpy() for name in ("size", "set")
    )
    found = np.flatnonzero(size >= 0)
    assert len(found)
    removed = members[found] if kind == "flip" else ~members[found]
    after = sets.similarity(found, removed, "probe") >= threshold
    np.testing.assert_array_equal(after, match[found] != (kind == "flip"))
    if kind == "flip":  # a single band is enough exactly where influence says so
        single = (sets.data["similarity"] - sets.data["influence"].sel(side="probe")) >= threshold
        crosses = (single.transpose("pair", "band").to_numpy() != match[:, None]).any(axis=1)
        np.testing.assert_array_equal(size == 1, crosses)


def test_a_partner_that_is_the_image_itself(run, tmp_path):
    """Swapping bands of identical images changes nothing."""
    face = make_faces(2, 1)
    faces = fl.Faces(
        face.table.iloc[[0, 0, 1, 1]].assign(subject=["a", "a", "b", "b"]).set_axis([*"wxyz"]),
        images=[face.images[i] for i in (0, 0, 1, 1)], aligned="arcface", name="twins",
    )  # fmt: skip
    result = fl.influence(
        faces, fl.make_pairs(faces), models=[run[1]], bands="rings:14", store=tmp_path / "t.zarr",
        progress=False,
    )  # fmt: skip
    twins = result.sel(pair=result["genuine"].to_numpy())
    views = fl.faithfulness.band_views(twins, [run[1]], fmr=1e-1, n_draws=10, progress=False)
    np.testing.assert_allclose(views["value"].sel(view="filled by swap"), 0, atol=1e-6)


def test_fillings_are_what_they_are_called():
    crops = np.stack(make_faces(3, 1).images)
    filled = mean_amplitude_fill(crops)
    own, made = (np.fft.rfft2(x.astype(float), axes=(1, 2)) for x in (crops, filled))
    inner = (slice(None), slice(1, 56), slice(1, 56))
    phase = np.angle(own * made.conj())[inner]
    assert np.abs(phase).max() < 1e-2
    mean = np.abs(own).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(np.abs(made), np.tile(mean, (3, 1, 1, 1)), rtol=1e-3, atol=5)
    noise = noise_fill(crops, fl.rings(14).decompose(112, 112), seed=1)
    for band in range(5):
        energies = []
        for images in (crops, noise):
            images = images.astype(float)
            spectrum = np.fft.fft2(images, axes=(1, 2))
            ky, kx = (np.minimum(np.arange(112), 112 - np.arange(112)) for _ in range(2))
            radius = np.hypot(ky[:, None], kx[None])
            lower, upper = fl.rings(14).bounds[band]
            here = (radius >= lower) & (radius < upper) & (radius > 0)
            energies.append(np.square(np.abs(spectrum[:, here])).sum(axis=(1, 2)))
        np.testing.assert_allclose(*energies, rtol=1e-3)
    assert np.abs(noise.mean(axis=(1, 2))).max() < 1e-3  # the mean of the image stays


def test_samples_are_balanced(run):
    result, _, _ = run
    some = fl.faithfulness.sample_pairs(result, 6, seed=1)
    assert some.sizes["pair"] == 6
    assert int(some["genuine"].sum()) == 3
    assert fl.faithfulness.sample_pairs(result, 10**6).sizes["pair"] == result.sizes["pair"]
    genuine = result.sel(pair=result["genuine"].to_numpy())
    assert fl.faithfulness.sample_pairs(genuine, 5).sizes["pair"] == 5


def test_a_side_is_probe_or_reference(run):
    with pytest.raises(UnknownNameError, match="side 'both'"):
        fl.faithfulness.band_views(run[0], [run[1]], side="both")

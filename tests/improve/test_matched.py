"""Matched bands against a low-pass of our own, and embeddings of our own."""

import numpy as np
import pytest
import torch
from conftest import make_faces

import freqlab as fl
from freqlab import testing
from freqlab.errors import ParameterError
from freqlab.improve.matched import MATCHED, matched_scores

RESOLUTION = 28  # a limit of 14 cycles/image


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = tmp_path_factory.mktemp("matched") / "run.zarr"
    faces = make_faces(n_subjects=8, per_subject=4)
    lower = fl.faces.degrade(faces, resolutions=[RESOLUTION])
    pairs = fl.make_pairs(faces, impostors_per_genuine=8, seed=0)
    pairs = fl.faces.degraded_pairs(pairs, lower)
    result = fl.influence(
        lower,
        pairs[pairs["resolution"].notna()],
        models=[testing.model()],
        bands="rings:7",
        sides=["probe", "reference"],
        store=store,
        progress=False,
    )
    return result.load(), lower


def found_of(result, **options):
    given = {"resolution": RESOLUTION, "folds": 3, "progress": False} | options
    return matched_scores(result, testing.model(), **given)


@pytest.fixture(scope="module")
def found(run):
    return found_of(run[0])


def low_pass(crop, removed):
    """The crop without the frequencies at which `removed` of the radius in cycles/image is true."""
    frequency = 112 * np.fft.fftfreq(112)
    radius = np.hypot(frequency[:, None], frequency[None])
    spectrum = np.fft.fft2(crop.astype(float), axes=(0, 1))
    spectrum[removed(radius) & (radius > 0)] = 0
    return np.fft.ifft2(spectrum, axes=(0, 1)).real


def embedding(crop):
    image = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1), np.float32))
    values = testing.model()(image[None]).numpy()[0]
    return values / np.linalg.norm(values)


def test_the_reference_without_bands_beyond_the_limit(run, found):
    result, _ = run
    crops = fl.open_run(result.attrs["store"])["crops/arcface"]["crop"]
    edges = found["band_bounds"].to_numpy()
    beyond = edges[:, 0] >= 14
    np.testing.assert_array_equal(found["removed_nyquist"], beyond)
    for i in (0, 5, -1):
        probe, reference = (
            crops.sel(face=str(result[end][i].item())).to_numpy() for end in ("probe", "reference")
        )
        whole = embedding(probe)
        assert float(found["similarity"][i]) == pytest.approx(
            whole @ embedding(reference), abs=1e-5
        )
        reduced = low_pass(reference, lambda radius: radius >= 14)
        expected = whole @ embedding(reduced)
        assert float(found["nyquist"][i]) == pytest.approx(expected, abs=1e-4)


def test_the_reference_degraded_alike(run, found):
    result, _ = run
    vectors = fl.open_embeddings(result.attrs["store"], model="linear")
    unit = vectors / np.sqrt((vectors**2).sum("feature"))
    for i in (0, 7):
        probe, reference = (str(result[end][i].item()) for end in ("probe", "reference"))
        expected = float((unit.sel(face=probe) * unit.sel(face=f"{reference}@28")).sum())
        assert float(found["alike"][i]) == pytest.approx(expected, abs=1e-5)


def test_bands_are_chosen_on_other_people(run, found):
    """The score of a pair is that without bands of no mean influence on people of other folds."""
    from freqlab.improve.fits import fold_parts
    from freqlab.statistics.resampling import subject_codes

    result, _ = run
    crops = fl.open_run(result.attrs["store"])["crops/arcface"]["crop"]
    genuine = result["genuine"].to_numpy()
    influence = result["influence"].sel(model="linear", side="reference").to_numpy()
    edges = result["band_bounds"].to_numpy()
    usable = np.ones(len(genuine), bool)
    parts = fold_parts(subject_codes(result), usable, genuine, folds=3, seed=0)
    fit_on, tested = next(iter(parts))
    mean = influence[fit_on & genuine].mean(axis=0)
    bands = edges[mean <= 0]
    i = int(np.flatnonzero(tested)[0])

    def removed(radius):
        inside = [(radius >= low) & (radius < high) for low, high in bands]
        return np.any(inside, axis=0) if inside else np.zeros_like(radius, bool)

    ends = [crops.sel(face=str(result[end][i].item())) for end in ("probe", "reference")]
    one, other = (embedding(low_pass(crop.to_numpy(), removed)) for crop in ends)
    assert float(found["influence"][i]) == pytest.approx(one @ other, abs=1e-4)
    assert np.isfinite(found["influence"]).all()
    assert set(MATCHED) == {name for name in found.data_vars if not name.startswith("removed")}


def test_it_is_kept(run, found):
    again = found_of(run[0])
    assert again.attrs["forward_passes"] == 0
    assert again.equals(found)


def test_bad_input(run):
    result, _ = run
    for changed, options, message in (
        (result, {"resolution": 14}, r"resolution=14 has no pairs; the result has \[28\]"),
        (result, {"resolution": 0}, "resolution=0 must be a whole number of 2 or more"),
        (result.sel(side=["probe"]), {}, "result has no side 'reference'; it has probe"),
        (result.drop_vars("resolution"), {}, "result has no column 'resolution'"),
        (result, {"folds": 5}, "folds=5: 8 people have genuine pairs; 10 or more"),
    ):
        with pytest.raises(ParameterError, match=message):
            found_of(changed, **options)

"""Quality from band stability: closed form of a linear network, and what is refused."""

import numpy as np
import pytest
from conftest import make_faces

import freqlab as fl
from freqlab import testing
from freqlab.bands.parsing import parse_bands
from freqlab.edits.band_sets import BandSets
from freqlab.errors import ParameterError, StoreError
from freqlab.improve import band_quality


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = tmp_path_factory.mktemp("quality") / "run.zarr"
    faces = make_faces(4, 2)
    pairs = fl.make_pairs(faces, seed=0)
    fl.influence(
        faces, pairs, models=[testing.model()], bands="rings:28", store=store, progress=False
    )
    return store, faces


def test_stability_is_the_cosine_with_embeddings_without_the_band(run):
    store, faces = run
    found = band_quality(store, model="linear", faces=faces.names)
    crops = np.stack([np.asarray(image) for image in faces.images])
    bands = parse_bands("rings:28")
    sets = BandSets(testing.model(), bands, progress=False)
    n_bands = len(bands)
    whole = sets.embed(crops, np.arange(len(crops)), np.zeros((len(crops), n_bands), bool))
    for b in range(n_bands):
        removed = np.zeros((len(crops), n_bands), bool)
        removed[:, b] = True
        without = sets.embed(crops, np.arange(len(crops)), removed)
        expected = (whole * without).sum(1) / np.linalg.norm(whole, axis=1)
        expected /= np.linalg.norm(without, axis=1)
        np.testing.assert_allclose(found["cosine"].isel(band=b), expected, atol=1e-5)
    cosine = found["cosine"].to_numpy()
    np.testing.assert_allclose(found["stability"], cosine.mean(axis=1))
    inverse = 1 / cosine.std(axis=0)
    np.testing.assert_allclose(found["weight"], inverse / inverse.sum())
    np.testing.assert_allclose(found["weighted"], cosine @ (inverse / inverse.sum()))
    low, middle, high = np.array_split(np.arange(n_bands), 3)
    for name, part in (("low", low), ("middle", middle), ("high", high)):
        np.testing.assert_allclose(found[name], cosine[:, part].mean(axis=1))


def test_all_faces_with_these_embeddings_are_measured(run):
    store, faces = run
    found = band_quality(store, model="linear")
    assert set(found["face"].to_numpy()) == set(faces.names)
    part = band_quality(store, model="linear", faces=faces.names[2:4])
    np.testing.assert_allclose(part["cosine"], found["cosine"].sel(face=faces.names[2:4]))


def test_a_face_without_these_embeddings_is_nan(tmp_path):
    faces = make_faces(4, 2)
    pairs = fl.make_pairs(faces.select(range(6)), seed=0)
    fl.influence(
        *(faces, pairs),
        models=[testing.model()],
        bands="rings:28",
        store=tmp_path / "run.zarr",
        progress=False,
    )
    found = band_quality(tmp_path / "run.zarr", model="linear", faces=faces.names)
    known = np.isfinite(found["stability"].to_numpy())
    assert known.tolist() == [True] * 6 + [False] * 2
    assert np.isfinite(found["weight"]).all()


def test_bad_input(run, tmp_path):
    store, faces = run
    with pytest.raises(StoreError):
        band_quality(tmp_path / "none.zarr", model="linear")
    with pytest.raises(ParameterError, match="unknown model 'liner'.*linear"):
        band_quality(store, model="liner")
    with pytest.raises(ParameterError, match="unknown bands 'x'"):
        band_quality(store, model="linear", bands="x")
    with pytest.raises(ParameterError, match="faces: 1 are not in the run, such as 'nobody'"):
        band_quality(store, model="linear", faces=["nobody"])
    other = tmp_path / "intact.zarr"
    fl.embed(faces, models=[testing.model()], store=other, progress=False)
    with pytest.raises(ParameterError, match="no embeddings with bands removed; fl.influence"):
        band_quality(other, model="linear")


def test_several_bands_must_be_named(tmp_path):
    faces = make_faces(2, 2)
    pairs = fl.make_pairs(faces, seed=0)
    options = {"models": [testing.model()], "store": tmp_path / "run.zarr", "progress": False}
    for bands in ("rings:28", "rings:14"):
        fl.influence(faces, pairs, bands=bands, **options)
    with pytest.raises(ParameterError, match="bands=None: the run has several bands"):
        band_quality(tmp_path / "run.zarr", model="linear")
    key = parse_bands("rings:14").key
    found = band_quality(tmp_path / "run.zarr", model="linear", bands=key)
    assert found.sizes["band"] == len(parse_bands("rings:14"))

"""Sets of bands: the same as one image at a time, each once, also from another process's store."""

import numpy as np
import pytest
import torch
from conftest import make_faces

import freqlab as fl
from freqlab.bands import spectrum
from freqlab.edits.band_sets import BandSets
from freqlab.errors import ParameterError


@pytest.fixture
def crops():
    return np.stack(make_faces(2, 2).images)


def jobs(n_crops, n_jobs, n_bands, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_crops, n_jobs), rng.random((n_jobs, n_bands)) < 0.4


def by_hand(model, bands, crops, which, removed, fill=None):
    """The masked image of each job, one at a time, through the same network."""
    labels = torch.from_numpy(bands.label_map(112, 112))
    found = []
    for crop, removal in zip(which, removed, strict=True):
        image = torch.from_numpy(crops[crop]).permute(2, 0, 1)[None].double()
        masked = spectrum.remove(image, labels, np.flatnonzero(removal))
        if fill is not None:
            other = torch.from_numpy(fill[crop]).permute(2, 0, 1)[None].double()
            masked = masked + other - spectrum.remove(other, labels, np.flatnonzero(removal))
        found.append(model(masked.float()).numpy()[0])
    return np.stack(found)


@pytest.mark.parametrize("filled", [False, True])
def test_the_same_as_one_image_at_a_time(linear, crops, filled):
    bands = fl.rings(14)
    which, removed = jobs(4, 40, len(bands))
    fill = np.ascontiguousarray(crops[::-1]) if filled else None
    found = BandSets(linear, bands, progress=False).embed(crops, which, removed, fill=fill)
    expected = by_hand(linear, bands, crops, which, removed, fill)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_each_is_computed_once(linear, crops, tmp_path):
    bands, store = fl.rings(14), str(tmp_path / "run.zarr")
    which, removed = jobs(4, 60, len(bands))
    sets = BandSets(linear, bands, store=store, progress=False)
    first = sets.embed(crops, which, removed)
    held = removed & sets.held
    different = {(int(c), r.tobytes()) for c, r in zip(which, held, strict=True)}
    assert sets.forward_passes == len(different)
    again = BandSets(linear, bands, store=store, progress=False)
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_array_equal(again.embed(crops, which[order], removed[order]), first[order])
    assert again.forward_passes == 0


def test_other_content_is_other(linear, crops, tmp_path):
    """Another crop, fill, or band width is computed anew; a fill of nothing removed is not."""
    bands, store = fl.rings(14), str(tmp_path / "run.zarr")
    one, none = np.zeros(1, int), np.zeros((1, len(bands)), bool)
    some = none.copy()
    some[0, 0] = True
    sets = BandSets(linear, bands, store=store, progress=False)
    sets.embed(crops, one, some)
    sets.embed(crops, one, none)
    assert sets.forward_passes == 2
    sets.embed(crops, one, none, fill=crops[::-1])
    assert sets.forward_passes == 2
    sets.embed(crops, one, some, fill=crops[::-1])
    sets.embed(crops, np.ones(1, int), some)
    assert sets.forward_passes == 4
    other = BandSets(linear, fl.rings(28), store=store, progress=False)
    other.embed(crops, one, np.eye(1, 3, dtype=bool))
    assert other.forward_passes == 1


def test_filling_with_the_image_itself_changes_nothing(linear, crops):
    bands = fl.rings(14)
    which, removed = np.arange(4), np.ones((4, len(bands)), bool)
    sets = BandSets(linear, bands, progress=False)
    whole = sets.embed(crops, which, np.zeros_like(removed))
    np.testing.assert_allclose(sets.embed(crops, which, removed, fill=crops), whole, atol=2e-3)


def test_shapes_that_do_not_fit(linear, crops):
    sets = BandSets(linear, fl.rings(14), progress=False)
    with pytest.raises(ParameterError, match=r"removed of shape \(1, 3\) must be \(job, band\)"):
        sets.embed(crops, np.zeros(1, int), np.zeros((1, 3), bool))
    whole = np.ones((1, 5), bool)
    with pytest.raises(ParameterError, match="fill of shape"):
        sets.embed(crops, np.zeros(1, int), whole, fill=np.zeros((4, 8, 8, 3), np.uint8))


def test_a_run_with_sets_opens(linear, tmp_path):
    """The node of the sets stands in a run beside the others."""
    faces = make_faces(3, 2)
    store = str(tmp_path / "run.zarr")
    fl.influence(
        faces, fl.make_pairs(faces), models=[linear], bands="rings:14", store=store, progress=False
    )
    sets = BandSets(linear, fl.rings(14), store=store, progress=False)
    sets.embed(np.stack(faces.images), np.arange(6), np.ones((6, 5), bool))
    tree = fl.open_run(store)
    assert tree["sets/linear"]["embedding"].shape == (6, 16)
    more = make_faces(4, 2)
    fl.influence(
        more, fl.make_pairs(more), models=[linear], bands="rings:14", store=store, progress=False
    )
    assert fl.open_run(store)["sets/linear"]["embedding"].shape == (6, 16)

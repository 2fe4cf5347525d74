import json

import numpy as np
import pytest

import freqlab as fl
from freqlab.errors import ParameterError


@pytest.fixture(scope="module")
def full():
    faces = fl.testing.faces()
    return fl.testing.influence(faces, fl.make_pairs(faces), bands=fl.rings())


def refined(synthetic, linear, tolerance, **kwargs):
    return fl.influence(
        synthetic,
        fl.make_pairs(synthetic),
        models=[linear],
        refine=tolerance,
        progress=False,
        **kwargs,
    )


def test_broad_bands_hold_their_neighbours():
    assert fl.rings().broad(4).edges == (0, 16, 32, 48, np.inf)
    assert fl.rings(edges=[0, 3, 5, 9]).broad(2).edges == (0, 5, 9)
    assert fl.rings(edges=[1, 2]).broad(4).edges == (1, 2)
    labels, broad = (bands.label_map(112, 112) for bands in (fl.rings(), fl.rings().broad(4)))
    np.testing.assert_array_equal(np.where(labels >= 0, labels // 4, labels), broad)


@pytest.mark.slow
def test_only_what_moves_a_pair_is_refined(synthetic, linear, full, tmp_path):
    store = tmp_path / "run.zarr"
    broad = fl.influence(
        synthetic,
        fl.make_pairs(synthetic),
        models=[linear],
        bands=fl.rings().broad(4),
        progress=False,
    )
    largest = np.abs(broad["influence"]).max(["pair", "side"])[0].to_numpy()
    tolerance = float(np.sort(largest)[1:3].mean())  # between the second and the third of four
    found = refined(synthetic, linear, tolerance, store=store)
    expected = np.repeat(largest > tolerance, 4)[:15]
    np.testing.assert_array_equal(found["refined"][0], expected)
    kept = found["influence"][..., expected]
    np.testing.assert_allclose(kept, full["influence"][..., expected], atol=1e-6)
    assert np.isnan(found["influence"][..., ~expected]).all()
    assert np.isnan(found["removed_rms"][..., ~expected]).all()
    n_faces = len(synthetic)
    assert found.attrs["forward_passes"] == n_faces * (1 + 4 + expected.sum())
    stored = fl.open_influence(store, found.attrs["broad"])
    np.testing.assert_allclose(stored["influence"], broad["influence"], atol=1e-6)
    again = refined(synthetic, linear, tolerance, store=store)
    assert again.attrs["forward_passes"] == 0
    np.testing.assert_array_equal(again["influence"], found["influence"])


@pytest.mark.slow
def test_the_error_is_that_of_the_bands_left_out(synthetic, linear, full):
    """All pairs are in the sample, so it is known exactly."""
    found = refined(synthetic, linear, 9)
    assert not found["refined"].any()
    assert np.isnan(found["influence"]).all()
    np.testing.assert_allclose(found["similarity"], full["similarity"], atol=1e-6)
    error = json.loads(found.attrs["refine_error"])["linear"]
    assert error["pairs"] == len(fl.make_pairs(synthetic))
    assert error["largest_influence"] == pytest.approx(
        float(np.abs(full["influence"]).max()), abs=2e-6
    )


@pytest.mark.slow
def test_no_tolerance_computes_all(synthetic, linear, full):
    found = refined(synthetic, linear, 0)
    assert found["refined"].all()
    np.testing.assert_allclose(found["influence"], full["influence"], atol=1e-6)
    assert json.loads(found.attrs["refine_error"])["linear"]["largest_influence"] == 0


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), "much"])
def test_a_tolerance_is_a_number(synthetic, linear, tolerance):
    with pytest.raises(ParameterError, match="refine="):
        refined(synthetic, linear, tolerance)

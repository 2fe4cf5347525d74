"""Residual spectra: spectra of known decay, a planted ring, and the crops of a run."""

import numpy as np
import pytest

import freqlab as fl
from freqlab.errors import ParameterError
from freqlab.images.templates import template
from freqlab.morphing.spectral import _regions, residuals_of

N_RINGS = 12


def images_of(rng, n, size, decay, *, ring=None, gain=1.0):
    """Noise images whose amplitude decays with a power of the frequency, one ring amplified."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    amplitude = np.where(frequency > 0, np.maximum(frequency, 1 / size) ** -decay, 0)
    if ring is not None:
        edges = np.linspace(0.06, 0.5, N_RINGS + 1)
        amplitude[(frequency >= edges[ring]) & (frequency < edges[ring + 1])] *= gain
    spectrum = np.fft.rfft2(rng.normal(size=(n, size, size))) * amplitude
    return 128 + 20 * np.fft.irfft2(spectrum, s=(size, size))


@pytest.mark.parametrize("decay", [0.5, 1.0, 1.5])
def test_a_spectrum_that_decays_with_a_power_has_no_residual(decay):
    residuals = residuals_of(images_of(np.random.default_rng(0), 40, 112, decay), N_RINGS)
    assert np.abs(residuals.mean(axis=0)).max() < 0.12
    np.testing.assert_allclose(residuals.sum(axis=1), 0, atol=1e-9)  # of a fit by least squares


def test_a_planted_ring_stands_out_by_its_power():
    """Six decibels more amplitude are 0.6 in log10 of power, less what the line takes up."""
    plain, planted = (
        residuals_of(images_of(np.random.default_rng(1), 20, 112, 1.0, ring=6, gain=gain), N_RINGS)
        for gain in (1.0, 2.0)
    )
    change = (planted - plain).mean(axis=0)
    assert change.argmax() == 6
    assert 0.4 < change[6] < 0.6
    assert np.abs(np.delete(change, [5, 6, 7])).max() < 0.12


def test_contrast_and_brightness_change_nothing():
    images = images_of(np.random.default_rng(2), 3, 56, 1.0)
    found = residuals_of(images, N_RINGS)
    np.testing.assert_allclose(residuals_of(0.5 * images + 40, N_RINGS), found, atol=0.02)
    assert np.abs(residuals_of(np.full((1, 56, 56), 90.0), N_RINGS)).max() < 1e-9


def test_the_parts_lie_around_their_points():
    boxes = _regions(template("arcface"))
    assert list(boxes) == ["face", "eyes", "nose", "mouth"]
    points = np.array(template("arcface").points)
    for name, rows in {"eyes": [0, 1], "nose": [2], "mouth": [3, 4]}.items():
        down, across = boxes[name]
        for x, y in points[rows]:
            assert across.start < x < across.stop
            assert down.start < y < down.stop
    assert list(_regions(template("facenet"))) == ["face"]


def test_spectra_of_a_run_are_those_of_its_crops(tmp_path):
    faces = fl.testing.faces(n_subjects=3, per_subject=2)
    store = tmp_path / "run.zarr"
    fl.embed(faces, models=[fl.testing.model()], store=store, progress=False)
    found = fl.morphing.residual_spectra(store, faces=faces.names[1:4], n_rings=8)
    assert found.dims == ("face", "region", "ring")
    assert found["face"].to_numpy().tolist() == list(faces.names[1:4])
    luma = faces.image(2).astype(float) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(found[1, 0], residuals_of(luma[None], 8)[0])
    assert found["frequency"].attrs["units"] == "cycles/pixel"
    with pytest.raises(ParameterError, match="n_rings=2"):
        fl.morphing.residual_spectra(store, n_rings=2)
    bare = tmp_path / "bare.zarr"
    fl.embed(faces, models=[fl.testing.model()], store=bare, keep_crops=False, progress=False)
    with pytest.raises(ParameterError, match="keep_crops=True"):
        fl.morphing.residual_spectra(bare)

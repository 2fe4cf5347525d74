import numpy as np
import pytest
import torch

from freqlab.bands import spectrum
from freqlab.bands.labels import DC
from freqlab.bands.radial import rings
from freqlab.errors import ParameterError

SIZES = [(112, 112), (111, 111), (112, 96), (97, 112), (32, 33), (150, 150)]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]


def images_of(height, width, n=2, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 255 * torch.rand(n, 3, height, width, generator=generator, dtype=dtype)


def labels_of(height, width, **kwargs):
    return torch.from_numpy(rings(**(kwargs or {"width": 4})).label_map(height, width))


def sinusoid(ky, kx, height, width):
    y, x = np.mgrid[0:height, 0:width]
    wave = np.cos(2 * np.pi * (ky * y / height + kx * x / width) + 0.7)
    return torch.from_numpy(wave)[None, None]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_components_sum_to_the_image(height, width):
    images = images_of(height, width)
    labels, components = spectrum.split(images, labels_of(height, width))
    assert DC in labels
    torch.testing.assert_close(components.sum(0), images, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("bands", [[0], [3], [2, 5, 14], range(15)])
def test_keep_and_remove_share_only_dc(height, width, bands):
    images, labels = images_of(height, width), labels_of(height, width)
    both = spectrum.keep(images, labels, bands) + spectrum.remove(images, labels, bands)
    mean = images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(both, images + mean, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_masking_again_changes_nothing(height, width):
    """A mask that lost its conjugate symmetry would not survive the way back and forth."""
    images, labels = images_of(height, width), labels_of(height, width)
    for label in labels.unique():
        transformed = torch.fft.rfft2(images) * (labels == label)
        there = torch.fft.rfft2(torch.fft.irfft2(transformed, s=(height, width)))
        torch.testing.assert_close(there, transformed, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_agrees_with_the_full_complex_transform(height, width):
    """Against NumPy's two-sided FFT with a mask built from signed frequencies."""
    images, labels = images_of(height, width, n=1), labels_of(height, width)
    fy, fx = np.fft.fftfreq(height)[:, None] * width, np.fft.fftfreq(width)[None] * width
    radius = np.hypot(fy, fx)
    for band, (lower, upper) in enumerate([(0, 4), (4, 8), (8, 12)]):
        inside = (radius >= lower - 1e-9) & (radius < upper - 1e-9) & (radius > 0)
        full = np.fft.ifft2(np.fft.fft2(images.numpy()) * ~inside)
        assert np.abs(full.imag).max() < 1e-10
        np.testing.assert_allclose(
            spectrum.remove(images, labels, [band]).numpy(), full.real, atol=1e-9
        )


def test_removing_an_empty_band_returns_the_image():
    images, labels = images_of(16, 16), labels_of(16, 16)
    assert int(labels.max()) < 10
    torch.testing.assert_close(spectrum.remove(images, labels, [12]), images, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("ky", "kx"), [(0, 6), (6, 0), (-5, 9), (3, 4), (0, 16), (0, 56), (56, 0)])
def test_a_wave_lies_in_its_own_ring(ky, kx):
    wave, labels = sinusoid(ky, kx, 112, 112), labels_of(112, 112)
    band = min(int(np.hypot(ky, kx) // 4), 14)
    energy = spectrum.energy(wave, labels, 15)[0]
    assert energy[band] == pytest.approx(float(wave.square().mean()), rel=1e-9)
    assert float(energy.sum() - energy[band]) < 1e-20
    assert float(spectrum.remove(wave, labels, [band]).abs().max()) < 1e-12


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_energy_is_what_removal_takes(height, width):
    images, labels = images_of(height, width), labels_of(height, width)
    energy = spectrum.energy(images, labels, 15)
    for band in range(15):
        taken = (images - spectrum.remove(images, labels, [band])).square().mean((1, 2, 3))
        torch.testing.assert_close(energy[:, band], taken, rtol=1e-9, atol=1e-12)
    dc = images.mean((2, 3)).square().mean(1)
    total = images.square().mean((1, 2, 3))
    torch.testing.assert_close(energy.sum(1) + dc, total, rtol=1e-10, atol=0)


def test_removal_masks_are_the_same_removals():
    images, labels = images_of(40, 56, n=3), labels_of(40, 56)
    removals = torch.zeros(3, 15, dtype=torch.bool)
    removals[1, [2, 4]] = True
    removals[2] = True
    masked = spectrum.apply_masks(images, spectrum.removal_masks(removals, labels))
    torch.testing.assert_close(masked[0], images[0], rtol=0, atol=1e-11)
    torch.testing.assert_close(masked[1], spectrum.remove(images, labels, [2, 4])[1])
    torch.testing.assert_close(
        masked[2], images[2].mean((1, 2), keepdim=True).expand_as(images[2]), rtol=0, atol=1e-10
    )


def test_coefficients_outside_all_bands_stay():
    images, labels = images_of(32, 32), labels_of(32, 32, edges=[4, 8])
    removed = torch.fft.rfft2(spectrum.remove(images, labels, [0]))
    original = torch.fft.rfft2(images)
    stays = labels != 0
    torch.testing.assert_close(removed[..., stays], original[..., stays], rtol=0, atol=1e-8)


def test_an_asymmetric_map_is_refused():
    images, labels = images_of(16, 16), labels_of(16, 16)
    bad = labels.clone()
    bad[3, 0] = 2
    with pytest.raises(ParameterError, match="not symmetric"):
        spectrum.remove(images, bad, [0])
    nyquist = labels.clone()
    nyquist[3, 8] = 0
    with pytest.raises(ParameterError, match="column 8"):
        spectrum.energy(images, nyquist, 15)
    with pytest.raises(ParameterError, match="do not fit"):
        spectrum.split(images, labels[:-1])


@pytest.mark.parametrize("device", DEVICES)
def test_float32_on_any_device(device):
    exact = images_of(112, 112)
    images, labels = exact.float().to(device), labels_of(112, 112).to(device)
    removed = spectrum.remove(images, labels, [1])
    assert removed.dtype == torch.float32
    assert removed.device.type == device
    expected = spectrum.remove(exact, labels.cpu(), [1])
    torch.testing.assert_close(removed.cpu().double(), expected, rtol=0, atol=2e-4)

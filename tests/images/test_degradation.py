"""Degrading images, against closed forms and against Pillow."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from freqlab.bands import spectrum
from freqlab.bands.radial import Rings
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.images.degradation import FACE_WIDTH, KERNELS, Degradation, resized


def noise_crop(size=(112, 112), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def grating(frequency, size=112, amplitude=50.0):
    wave = 128 + amplitude * np.cos(2 * np.pi * frequency * np.arange(size) / size)
    return np.rint(np.broadcast_to(wave[None, :, None], (size, size, 3))).astype(np.uint8)


def amplitude_of(image, frequency):
    """Amplitude of a horizontal grating in an image."""
    row = np.asarray(image, float)[image.shape[0] // 2, :, 0]
    return 2 * np.abs(np.fft.rfft(row)[frequency]) / len(row)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(112, 112), (112, 96), (150, 150)])
def test_the_native_size_changes_nothing(kernel, size):
    crop = noise_crop(size)
    degraded = Degradation(size[1], kernel).of_crop(crop, "a")
    assert np.abs(degraded.astype(float) - crop).max() <= 0.5


@pytest.mark.parametrize("resolution", [56, 28, 21, 14, 7, 1])
def test_the_ideal_low_pass_leaves_nothing_beyond_the_outer_line(resolution):
    crop = noise_crop()
    degraded = Degradation(resolution, "fourier").of_crop(crop, "a")
    assert degraded.dtype == np.float32
    image = torch.from_numpy(degraded).permute(2, 0, 1)[None].double()
    edge = np.sqrt(2) * resolution / 2
    beyond = Rings((0.0, float(np.nextafter(edge, 99)), float("inf")))
    labels = torch.from_numpy(beyond.label_map(112, 112))
    inside, outside = spectrum.energy(image, labels, 2)[0]
    assert outside <= 1e-5 * max(float(inside), 1.0)


def test_the_ideal_low_pass_keeps_what_the_pixels_hold():
    crop = noise_crop()
    degraded = Degradation(28, "fourier").of_crop(crop, "a")
    before, after = (np.fft.fft2(image.astype(float), axes=(0, 1)) for image in (crop, degraded))
    frequency = np.abs(np.fft.fftfreq(112) * 112)
    held = (frequency[:, None] < 14) & (frequency[None, :] < 14)
    np.testing.assert_allclose(after[held], before[held], atol=1e-2)
    lost = (frequency[:, None] > 14) | (frequency[None, :] > 14)
    assert np.abs(after[lost]).max() < 1e-2


def test_area_takes_means_of_blocks():
    crop = noise_crop().astype(np.float32)
    means = crop.reshape(28, 4, 28, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resized(crop, (28, 28), "area"), means, atol=1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_fine_gratings_vanish_and_coarse_ones_stay(kernel):
    degraded = Degradation(28, kernel).of_crop(grating(4), "a")
    assert amplitude_of(degraded, 4) > 0.9 * amplitude_of(grating(4), 4)
    degraded = Degradation(28, kernel).of_crop(grating(48), "a")
    assert np.std(degraded) < 0.2 * np.std(grating(48))


def test_blur_has_the_transfer_function_of_a_gaussian():
    sharp, blurred = (Degradation(56, "bicubic", blur=b).of_crop(grating(8), "a") for b in (0, 1.5))
    # 1.5 pixels of 56 across: the frequency is 8 / 56 cycles a pixel
    expected = np.exp(-2 * np.pi**2 * 1.5**2 * (8 / 56) ** 2)
    assert amplitude_of(blurred, 8) / amplitude_of(sharp, 8) == pytest.approx(expected, abs=0.02)


def test_noise_has_its_deviation_and_belongs_to_the_face_and_the_seed():
    flat = np.full((112, 112, 3), 128, np.uint8)
    noisy = Degradation(112, noise=5).of_crop(flat, "a")
    assert noisy.std() == pytest.approx(5, rel=0.05)
    np.testing.assert_array_equal(noisy, Degradation(112, noise=5).of_crop(flat, "a"))
    assert (noisy != Degradation(112, noise=5).of_crop(flat, "b")).any()
    assert (noisy != Degradation(112, noise=5, seed=1).of_crop(flat, "a")).any()


def test_jpeg_is_that_of_pillow():
    crop = noise_crop()
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=30)
    expected = np.asarray(Image.open(buffer))
    np.testing.assert_array_equal(Degradation(112, jpeg=30).of_crop(crop, "a"), expected)


def test_a_photograph_is_reduced_until_the_face_has_its_pixels():
    photograph = noise_crop((300, 200))
    points = np.array([[60, 100], [100, 100], [80, 130], [65, 160], [95, 160]], float)
    reduced = Degradation(44, measure="face").of_photograph(photograph, points, "a")
    # the face is 2.2 x 40 = 88 pixels wide
    assert pytest.approx(88) == FACE_WIDTH * 40
    assert reduced.shape == (150, 100, 3)
    assert Degradation(89, measure="face").of_photograph(photograph, points, "a") is None


def test_names_tell_all_but_the_default():
    assert Degradation(28).name_of("x/1.jpg") == "x/1.jpg@28"
    assert Degradation(28, "lanczos").name_of("x") == "x@28-lanczos"
    full = Degradation(28, "area", "face", blur=0.5, noise=2, jpeg=40, seed=3)
    assert full.name_of("x") == "x@28-area-face-blur0.5-noise2-jpeg40-seed3"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"resolution": 0}, "resolution=0 must be a whole number of 1 or more"),
        ({"resolution": 14.5}, "resolution=14.5 must be a whole number"),
        ({"resolution": True}, "resolution=True"),
        ({"kernel": "lanzos"}, "Did you mean 'lanczos'"),
        ({"measure": "eyes"}, "allowed: crop, face"),
        ({"blur": -1}, "blur=-1"),
        ({"noise": float("nan")}, "noise=nan"),
        ({"jpeg": 0}, "jpeg=0"),
        ({"jpeg": 96}, "quality of 1 to 95"),
        ({"kernel": "fourier", "jpeg": 50}, "ideal control"),
        ({"kernel": "fourier", "measure": "face"}, "goes with measure='crop'"),
    ],
)
def test_what_is_not_allowed_is_told(wrong, said):
    with pytest.raises(ParameterError, match=said):
        Degradation(**{"resolution": 28, **wrong})


def test_an_unknown_kernel_is_an_unknown_name():
    with pytest.raises(UnknownNameError):
        Degradation(28, "nearest")


def test_a_resolution_above_the_crop_is_refused():
    with pytest.raises(ParameterError, match=r"resolution=113 is above the native size, 112"):
        Degradation(113).of_crop(noise_crop(), "a")
    with pytest.raises(ParameterError, match="photographs, not crops"):
        Degradation(28, measure="face").of_crop(noise_crop(), "a")

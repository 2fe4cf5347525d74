"""Aliasing of kernels: gratings above the Nyquist frequency of the reduced image."""

import numpy as np
import pytest

from freqlab.images.degradation import resized

WIDTH, AMPLITUDE = 112, 100


def reduced(frequency, pixels, kernel):
    """Amplitude over that of the grating, and frequency, in the reduced image."""
    phase = 2 * np.pi * frequency * (np.arange(WIDTH) + 0.5) / WIDTH
    row = 128 + AMPLITUDE * np.cos(phase)
    image = np.repeat(np.tile(row, (WIDTH, 1))[..., None], 3, axis=2)
    seen = resized(image, (pixels, pixels), kernel)[pixels // 2, :, 0]
    spectrum = 2 * np.abs(np.fft.rfft(seen - seen.mean())) / pixels / AMPLITUDE
    return spectrum.max(), int(spectrum.argmax())


@pytest.mark.parametrize(
    ("frequency", "pixels"), [(20, 28), (15, 28), (18, 28), (24, 28), (10, 14), (40, 56)]
)
def test_area_aliases_with_the_gain_of_a_mean_over_pixels(frequency, pixels):
    """The mean of m pixels passes a frequency f by the periodic sinc, and N - f is its alias."""
    m, f = WIDTH // pixels, frequency / WIDTH
    expected = np.sin(np.pi * m * f) / (m * np.sin(np.pi * f))
    gain, at = reduced(frequency, pixels, "area")
    assert at == pixels - frequency
    assert gain == pytest.approx(abs(expected), abs=2e-4)


def test_the_gains_that_the_documentation_states():
    """20 cycles/image, reduced to 28 pixels, fold to 8 cycles/image."""
    gains = {kernel: reduced(20, 28, kernel)[0] for kernel in ("area", "bicubic", "lanczos")}
    assert gains == pytest.approx({"area": 0.367, "bicubic": 0.108, "lanczos": 0.018}, abs=1e-3)
    # below the Nyquist frequency nothing folds
    assert reduced(8, 28, "area")[1] == 8

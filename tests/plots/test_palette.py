"""The palette, as eyes with and without colour-vision deficiency see it."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from freqlab.plots import CATEGORICAL, COMPARISON_COLOURS, DIVERGING, SEQUENTIAL
from freqlab.plots.common import line_style, ordered_colours

# Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision
# Deficiency, IEEE TVCG 15(6), 2009, table of severity 1.0; of linear RGB
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear_rgb(colours):
    rgb = np.array([to_rgb(colour) for colour in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def seen(colours, sight):
    """CIE Lab of colours as they are seen."""
    linear = np.clip(linear_rgb(colours) @ np.transpose(SIGHT[sight]), 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(rgb[None])[0]


def least_distance(colours, sight):
    lab = seen(colours, sight)
    return min(deltaE_ciede2000(a, b) for a, b in itertools.combinations(lab, 2))


@pytest.mark.parametrize("sight", SIGHT)
def test_grey_is_grey_to_all(sight):
    """Rows of the matrices sum to one: a check that no number was mistyped."""
    np.testing.assert_allclose(np.sum(SIGHT[sight], axis=1), 1, atol=2e-6)
    assert np.abs(seen(["0.3", "0.7"], sight)[:, 1:]).max() < 0.1


def test_the_simulation_confuses_what_such_eyes_confuse():
    """Red and green of like lightness, far apart for most, are close without green cones."""
    pair = ["#C04040", "#707020"]
    assert least_distance(pair, "normal") > 30
    assert least_distance(pair, "deuteranopia") < 10


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_can_be_told_apart(sight):
    assert least_distance(CATEGORICAL[:4], sight) >= 19
    assert least_distance(CATEGORICAL, sight) >= 10
    assert least_distance(COMPARISON_COLOURS.values(), sight) >= 40


@pytest.mark.parametrize("sight", SIGHT)
def test_the_ends_of_the_diverging_map_can_be_told_apart(sight):
    low, middle, high = ([plt.get_cmap(DIVERGING)(x)] for x in (0.1, 0.5, 0.9))
    for one, other in itertools.combinations((low, middle, high), 2):
        assert least_distance([one[0], other[0]], sight) >= 25


@pytest.mark.parametrize("sight", SIGHT)
def test_the_sequential_map_grows_ever_lighter(sight):
    lightness = seen(plt.get_cmap(SEQUENTIAL)(np.linspace(0, 1, 64)), sight)[:, 0]
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_ordered_lines_grow_lighter_but_not_faint(sight, n):
    colours = ordered_colours(n)
    assert len(colours) == n
    assert (np.diff(seen(colours, sight)[:, 0]) > 2).all()
    assert min(contrasts(colours)) >= 1.7


def contrasts(colours):
    """Contrast with white, as WCAG 2 defines it: 1 to 21."""
    return 1.05 / (linear_rgb(colours) @ [0.2126, 0.7152, 0.0722] + 0.05)


def test_colours_show_on_white():
    """As the gallery says: all but orange and sky blue reach the contrast of 3:1."""
    below = [colour for colour, c in zip(CATEGORICAL, contrasts(CATEGORICAL), strict=True) if c < 3]
    assert below == ["#E69F00", "#56B4E9"]
    assert min(contrasts(CATEGORICAL)) >= 2.2


def test_lines_differ_in_more_than_colour():
    styles = [line_style(place) for place in range(56)]
    assert len({tuple(style.values()) for style in styles}) == 56
    for one, other in itertools.combinations(styles[:8], 2):
        assert one["marker"] != other["marker"]
    for one, other in itertools.pairwise(styles):
        assert one["ls"] != other["ls"]

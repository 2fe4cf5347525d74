import json
import math
from fractions import Fraction

import numpy as np
import pytest

from freqlab.bands.radial import DC, OUTSIDE, Bands, check_support, parse_bands, rings
from freqlab.errors import BandError, FreqlabError, ParameterError, UnknownNameError

SIZES = [(112, 112), (111, 111), (112, 96), (96, 112), (7, 10), (150, 150), (1, 1), (65, 64)]


def full_frequencies(height, width):
    """Signed whole frequencies of the half plane, from NumPy and not from our own code."""
    ky = np.rint(np.fft.fftfreq(height) * height).astype(int)
    kx = np.rint(np.fft.rfftfreq(width) * width).astype(int)
    return ky, kx


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_labels_by_exact_fractions(height, width):
    bands = rings(width=4)
    labels = bands.label_map(height, width)
    assert labels.shape == (height, width // 2 + 1)
    ky, kx = full_frequencies(height, width)
    for i, y in enumerate(ky):
        for j, x in enumerate(kx):
            # squared radius in cycles per crop width, an exact fraction
            squared = Fraction(int(y) * width, height) ** 2 + int(x) ** 2
            if squared == 0:
                assert labels[i, j] == DC
                continue
            expected = next(b for b in range(15) if squared < (4 * (b + 1)) ** 2 or b == 14)
            assert labels[i, j] == expected


def test_a_coefficient_on_an_edge_belongs_to_the_upper_ring():
    labels = rings(width=4).label_map(112, 112)
    assert labels[0, 4] == 1
    assert labels[0, 3] == 0
    assert labels[112 - 4, 0] == 1
    assert labels[12, 16] == 5  # 12, 16, 20: the radius is exactly 20


def test_coefficients_on_an_edge_are_many():
    ky, kx = full_frequencies(112, 112)
    squared = ky[:, None] ** 2 + kx[None] ** 2
    on_edge = np.isin(squared, [(4 * i) ** 2 for i in range(1, 15)])
    assert on_edge.sum() == 53
    labels = rings(width=4).label_map(112, 112)
    np.testing.assert_array_equal(labels[on_edge], np.sqrt(squared[on_edge]) // 4)


def test_default_has_fourteen_rings_and_the_corners():
    bands = rings()
    assert len(bands) == 15
    assert bands.names[:2] == ["0-4", "4-8"]
    assert bands.names[-2:] == ["52-56", "rest"]
    labels = bands.label_map(112, 112)
    weights = np.full(57, 2)
    weights[[0, 56]] = 1
    share = (weights * (labels == 14)).sum() / 112**2
    assert share == pytest.approx(0.215, abs=0.001)
    assert np.isnan(bands.frequency[-1])
    assert bands.frequency[0] == 2


def test_units_agree_where_they_mean_the_same():
    of_image = rings(edges=[0, 14, 28, 56]).label_map(112, 112)
    of_pixel = rings(edges=[0, 0.125, 0.25, 0.5], unit="cycles/pixel").label_map(112, 112)
    np.testing.assert_array_equal(of_image, of_pixel)
    # 0.1 is one tenth, as written, and not the nearest binary number above it
    tenths = rings(edges=[0, 0.1, 0.5], unit="cycles/pixel").label_map(120, 120)
    assert tenths[0, 12] == 1
    assert tenths[0, 11] == 0
    of_eyes = rings(edges=[0, 2, 10], unit="cycles/eyes")
    np.testing.assert_array_equal(
        of_eyes.label_map(112, 112, eye_distance=28), rings(edges=[0, 8, 40]).label_map(112, 112)
    )
    assert of_eyes.in_unit(8, 112, 28) == 2
    assert rings(width=4).in_unit(8, 112) == 8
    assert rings(width=0.1, unit="cycles/pixel").in_unit(56, 112) == 0.5


def test_eyes_need_a_distance():
    with pytest.raises(ParameterError, match="eye_distance"):
        rings(width=1, unit="cycles/eyes").label_map(112, 112)


def test_edges_may_leave_frequencies_outside():
    labels = rings(edges=[4, 8]).label_map(32, 32)
    assert set(np.unique(labels)) == {OUTSIDE, DC, 0}
    assert labels[0, 3] == OUTSIDE
    assert labels[0, 8] == OUTSIDE


def test_last_ring_ends_at_max():
    assert rings(width=16).names == ["0-16", "16-32", "32-48", "48-56", "rest"]
    assert rings(width=0.1, unit="cycles/pixel").names[2] == "0.2-0.3"


@pytest.mark.parametrize("width", [-4, 0, math.nan, math.inf, 1e-9])
def test_bad_width(width):
    with pytest.raises(BandError, match="width"):
        rings(width=width)


@pytest.mark.parametrize(
    "edges", [[], [4], [0, 4, 4], [8, 4], [-1, 4], [0, math.nan], [math.inf, math.inf]]
)
def test_bad_edges(edges):
    with pytest.raises(BandError, match="edges") as caught:
        rings(edges=edges)
    assert isinstance(caught.value, ValueError)


def test_text_is_no_number():
    with pytest.raises(BandError, match="'4' is not a number"):
        rings(width="4")
    with pytest.raises(BandError, match="'8' is not a number"):
        rings(edges=[0, "8"])
    with pytest.raises(BandError, match="must be a list"):
        rings(edges=8)
    with pytest.raises(BandError, match="no ring below max=0.5"):
        rings(width=4, unit="cycles/pixel")


def test_bad_combinations():
    with pytest.raises(BandError, match="one or the other"):
        rings(width=4, edges=[0, 4])
    with pytest.raises(BandError, match="max"):
        rings(width=4, max=-1)
    with pytest.raises(BandError, match="default width"):
        rings(unit="cycles/eyes")
    with pytest.raises(ParameterError, match="positive"):
        rings().label_map(0, 5)


def test_unknown_unit_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'cycles/pixel'"):
        rings(width=4, unit="cycles/pixels")
    with pytest.raises(UnknownNameError, match="cycles/eyes"):
        Bands((0.0, 1.0), "furlongs")


def test_declaration_says_how_to_make_the_bands_again():
    bands = rings(width=8)
    said = json.loads(json.dumps(bands.declaration()))
    edges = tuple(float(edge) for edge in said["edges"])
    assert Bands(edges, said["unit"]) == bands
    assert bands.key == rings(width=8).key != rings(width=4).key


def test_parse_bands():
    assert parse_bands("rings:4") == rings(width=4)
    assert parse_bands("rings:0.05:cycles/pixel") == rings(width=0.05, unit="cycles/pixel")
    for text in ("rings", "rings:x", "rings:4:cycles/image:1"):
        with pytest.raises(BandError):
            parse_bands(text)
    with pytest.raises(FreqlabError, match="Did you mean 'rings'"):
        parse_bands("ring:4")


def test_support_is_asked_of_all_models_together():
    bands = rings(edges=[0, 20, 40])
    small, large = bands.label_map(32, 32), bands.label_map(112, 112)
    check_support(bands, [small, large])
    with pytest.raises(BandError, match="40-80"):
        check_support(rings(edges=[0, 40, 80, 100]), [rings(edges=[0, 40, 80]).label_map(8, 8)])

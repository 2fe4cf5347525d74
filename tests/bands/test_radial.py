import json
import math
from fractions import Fraction

import numpy as np
import pytest

from freqlab.bands.base import Bands, check_support
from freqlab.bands.labels import DC, OUTSIDE
from freqlab.bands.parsing import parse_bands
from freqlab.bands.radial import Rings, octaves, rings
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
    assert bands.frequency[0] == 2
    # the corners end at the square root of two times the Nyquist frequency of the axes
    assert bands.frequency[-1] == pytest.approx((56 + np.hypot(56, 56)) / 2)
    assert np.isfinite(rings(edges=[0, math.inf]).frequency).all()


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


def test_a_narrow_last_ring_is_merged():
    """17.62 is 14.096 widths of 1.25; half a width or more is a ring of its own."""
    eyes = rings(1.25, unit="cycles/eyes")
    assert eyes.names[-2:] == ["16.25-17.62", "rest"]
    assert len(eyes) == 15
    assert rings(5).names[-2:] == ["50-56", "rest"]
    assert rings(16).names[-2:] == ["48-56", "rest"]
    assert rings(56).names == ["0-56", "rest"]
    for width in (0.7, 1, 3, 4, 5.3, 9, 25, 40, 55):
        bounds = rings(width).bounds[:-1]
        widths = np.diff(bounds, axis=1)[:, 0]
        assert widths[-1] == pytest.approx(max(widths[-1], width / 2))
        np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])


def test_octaves_double():
    bands = octaves()
    assert bands.names == ["1-2", "2-4", "4-8", "8-16", "16-32", "32-56", "rest"]
    np.testing.assert_allclose(bands.frequency[:5], np.sqrt(2) * 2.0 ** np.arange(5))
    thirds = octaves(2, 16, per_octave=3)
    np.testing.assert_allclose(
        thirds.bounds[:-1, 1] / thirds.bounds[:-1, 0], 2 ** (1 / 3), rtol=1e-5
    )
    assert len(thirds) == 10
    assert octaves(1, 33).names[-2:] == ["16-33", "rest"]  # 32-33 is too narrow
    np.testing.assert_array_equal(
        bands.label_map(112, 96), rings(edges=[1, 2, 4, 8, 16, 32, 56, math.inf]).label_map(112, 96)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"low": 0}, "low=0 must be a positive number of cycles/image"),
        ({"high": math.nan}, "high=nan must be"),
        ({"low": 60}, "low=60 must be below high=56.0"),
        ({"per_octave": 0}, "per_octave=0 must be a whole number of 1 or more"),
        ({"per_octave": 1.5}, "per_octave=1.5"),
        ({"unit": "cycles/eyes"}, "no default of low="),
        ({"unit": "octave"}, "allowed: cycles/image, cycles/pixel, cycles/eyes"),
    ],
)
def test_bad_octaves(call, message):
    with pytest.raises(ParameterError, match=message):
        octaves(**call)


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
        Rings((0.0, 1.0), unit="furlongs")
    with pytest.raises(UnknownNameError, match="unknown extension 'mirrored'.*'mirror'"):
        rings(4, extension="mirrored")


def test_declaration_says_how_to_make_the_bands_again():
    bands = rings(width=8)
    said = json.loads(json.dumps(bands.declaration()))
    edges = tuple(float(edge) for edge in said["edges"])
    assert Rings(edges, unit=said["unit"]) == bands
    assert isinstance(bands, Bands)
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
    small, large = (bands.decompose(size, size).present for size in (32, 112))
    check_support(bands, [small, large])
    wide = rings(edges=[0, 40, 80, 100])
    with pytest.raises(BandError, match="40-80, 80-100"):
        check_support(wide, [wide.decompose(8, 8).present])

import dataclasses

import numpy as np
import pytest

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.images.templates import (
    TEMPLATES,
    Template,
    overhang,
    pixels_per_pixel,
    register_template,
    template,
)


@pytest.mark.parametrize("name", ["arcface", "112x96", "dlib", "arcface-224"])
def test_eye_distance_is_that_of_the_points(name):
    known = template(name)
    left, right = np.array(known.points[:2])
    assert np.linalg.norm(right - left) == pytest.approx(known.eye_distance, abs=0.01)


def test_the_same_detail_in_every_template():
    """4 cycles across an ArcFace crop are 1.26 cycles between the eyes, across dlib's 1.40."""
    for name, expected in (("arcface", 1.26), ("dlib", 1.40)):
        known = template(name)
        assert 4 * known.eye_distance / known.size[1] == pytest.approx(expected, abs=0.005)


def test_the_narrow_crop_is_the_middle_of_the_wide_one():
    wide, narrow = template("arcface"), template("112x96")
    assert narrow.size == (112, 96)
    np.testing.assert_allclose(np.array(wide.points) - narrow.points, [[8, 0]] * 5)


def test_other_sizes():
    half = template("arcface-56")
    assert half.size == (56, 56)
    # pixel centres: the extent is scaled, not the coordinates
    expected = (np.array(template("arcface").points) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(half.points, expected)
    with pytest.raises(ParameterError, match="cannot be scaled"):
        template("112x96-50")
    for wrong in ("arcface-", "arcface-0", "arcface-x", "arc-face", "lips-112"):
        with pytest.raises(UnknownNameError):
            template(wrong)


def test_enlargement():
    between = {
        (a, b): pixels_per_pixel(template(a), template(b)) for a in TEMPLATES for b in TEMPLATES
    }
    assert between["arcface", "dlib"] == pytest.approx(52.55 / 35.24, rel=0.05)
    assert between["arcface", "112x96"] == pytest.approx(1)
    assert between["dlib", "arcface"] < 1
    assert between["arcface", "facenet"] == pytest.approx(160 / 112)


def test_facenet_has_no_fixed_eyes():
    assert template("facenet").eye_distance is None
    assert template("facenet").size == (160, 160)


def test_own_templates(monkeypatch):
    monkeypatch.setattr("freqlab.images.templates.TEMPLATES", dict(TEMPLATES))
    own = fl.images.Template("own", (64, 48), template("arcface").points, eye_distance=35.24)
    fl.images.register_template(own)
    assert template("own") is own
    register_template(own)
    with pytest.raises(ParameterError, match="another template is named 'own'"):
        register_template(Template("own", (64, 64), own.points))
    with pytest.raises(ParameterError, match="has 0 points"):
        Template("bad", (64, 64))
    with pytest.raises(ParameterError, match="height and width in pixels"):
        Template("bad", (64,), own.points)


def test_crops_that_reach_beyond_the_crops_they_are_cut_from():
    def beyond(source, to):
        return overhang(template(source), template(to))

    assert beyond("112x96", "arcface") == 8
    assert beyond("arcface", "112x96") == beyond("arcface", "arcface-224") == 0
    assert beyond("arcface", "dlib") > 0
    assert beyond("arcface", "facenet") == 0  # found anew


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"size": (112.5, 112)}, "height and width"),
        ({"name": "../t"}, "letters"),
        ({"cut_by": "dlib"}, "5 dlib_points"),
        ({"cut_by": "box", "size": (100, 90)}, "must be square"),
        ({"points": ((1.0, 1.0),) * 5}, "coincide"),
    ],
)
def test_templates_that_cannot_be(changes, fault):
    with pytest.raises(ParameterError, match=fault):
        dataclasses.replace(template("arcface"), **changes)

"""Landmarks that no camera shows are refused; whatever it may show is not."""

import numpy as np
import pytest

from freqlab.images.plausibility import implausible_landmarks
from freqlab.images.templates import TEMPLATES

FACE = np.array(TEMPLATES["arcface"].points)
LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH = range(5)


def seen(scale=1.0, angle=0.0, squeeze=(1.0, 1.0), shear=0.0):
    """The template after a change of its plane, in the middle of a photograph of 400 pixels."""
    angle = np.deg2rad(angle)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    plane = turn @ np.array([[squeeze[0], shear], [0, squeeze[1]]])
    return scale * (FACE - FACE.mean(axis=0)) @ plane.T + 200


def swapped(*pairs, points=FACE):
    changed = points.copy()
    for i, j in pairs:
        changed[[i, j]] = changed[[j, i]]
    return changed


@pytest.mark.parametrize("angle", range(0, 360, 15))
@pytest.mark.parametrize("scale", [0.15, 0.5, 1, 3])
def test_turned_in_the_picture(angle, scale):
    assert implausible_landmarks(seen(scale, angle), (400, 400)) is None


@pytest.mark.parametrize("squeeze", [(0.3, 1), (0.5, 1), (1, 0.4), (1.3, 0.8)])
@pytest.mark.parametrize("shear", [-0.3, 0, 0.3])
@pytest.mark.parametrize("angle", [0, 90, 200])
def test_turned_away_and_leaning(squeeze, shear, angle):
    points = seen(squeeze=squeeze, shear=shear, angle=angle)
    assert implausible_landmarks(points, (400, 400)) is None


def test_a_profile():
    """The eyes nearly coincide, so do the corners of the mouth, and the nose stands out."""
    profile = np.array([[50, 50], [54, 50], [74, 68], [55, 92], [58, 92]], float)
    for points in (profile, profile * [-1, 1] + [150, 0]):
        assert implausible_landmarks(points, (112, 150)) is None


@pytest.mark.parametrize("angle", [0, 30, 90, 180, 270])
def test_no_camera_mirrors(angle):
    both = ((LEFT_EYE, RIGHT_EYE), (LEFT_MOUTH, RIGHT_MOUTH))
    turned = seen(angle=angle)
    assert implausible_landmarks(swapped(*both, points=turned)) is not None
    assert "eyes are swapped" in implausible_landmarks(swapped(both[0], points=turned))
    assert "mouth are swapped" in implausible_landmarks(swapped(both[1], points=turned))
    for axis in ([-1, 1], [1, -1]):
        assert implausible_landmarks(turned * axis + 400) is not None
    exchanged = swapped((LEFT_EYE, LEFT_MOUTH), (RIGHT_EYE, RIGHT_MOUTH), points=turned)
    assert implausible_landmarks(exchanged) is not None


@pytest.mark.parametrize(
    ("points", "fault"),
    [
        (swapped((0, 1), (3, 4)), "left and right are swapped"),
        (swapped((0, 3), (1, 4)), "the mouth lies above the eyes"),
        (np.full((5, 2), 50.0), "within 0.0 pixels"),
        (np.zeros((5, 2)), "within 0.0 pixels"),
        (FACE.mean(axis=0) + np.outer([-2, -1, 0, 1, 2], [10, 7]), "on one line"),
        (FACE * [1, 0] + [0, 60], "on one line"),
        (FACE * 0.05 + 50, "within"),
        (np.vstack([[[50, 50], [52, 50]], FACE[2:]]), "eyes are 2.0 pixels apart"),
        (np.vstack([FACE[:2], [[56, 10]], FACE[3:]]), "nose"),
        (np.vstack([FACE[:2], [[56, 111]], FACE[3:]]), "nose"),
        (np.vstack([FACE[:2], [[110, 72]], FACE[3:]]), "nose"),
        (np.vstack([FACE[:3], [[5, 92], [110, 92]]]), "mouth does not go"),
        (FACE + np.array([300, 0]), "right eye (374, 52) lies outside"),
        (FACE * 4, "lies outside"),
        (FACE - 60, "lies outside"),
        (np.vstack([FACE[:4], [[70.7, 130]]]), "right corner of the mouth"),
    ],
)
def test_what_is_wrong_is_said(points, fault):
    assert fault in implausible_landmarks(points, (112, 112))


def test_a_face_at_the_edge_may_reach_a_little_beyond():
    assert implausible_landmarks(FACE - [42, 0], (112, 112)) is None
    assert implausible_landmarks(FACE + np.array([0, 25]), (112, 112)) is None


def test_all_of_orl_passes(orl):
    faults = [implausible_landmarks(points, (112, 92)) for points in orl.landmarks]
    assert faults == [None] * 400

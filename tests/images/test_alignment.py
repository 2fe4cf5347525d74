import numpy as np
import pytest
from PIL import Image
from skimage.transform import SimilarityTransform

from freqlab.errors import UnknownNameError
from freqlab.images.alignment import cut, detect_faces
from freqlab.images.templates import TEMPLATES, template

ARCFACE = TEMPLATES["arcface"]
NO_BOX = np.full(4, np.nan)


def align(photograph, points, to=ARCFACE):
    return cut(photograph, points, NO_BOX, to)


def detect_landmarks(images):
    return detect_faces(images).landmarks


def spots(points, size, sigma):
    """A dark photograph with a bright spot at each point."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py in points)
    return np.repeat((20 + 220 * np.clip(light, 0, 1)).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.2, 7.5])
@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_points_come_to_lie_on_the_template(scale, angle):
    forward = SimilarityTransform(scale=scale, rotation=angle, translation=(60 * scale, 10 * scale))
    points = forward(np.array(ARCFACE.points))
    size = (int(180 * scale), int(180 * scale))
    crop = align(spots(points, size, 2 * scale), points, ARCFACE)
    assert crop.shape == (112, 112, 3)
    grey = crop[..., 0].astype(float) - 20
    y, x = np.mgrid[0:112, 0:112]
    for px, py in ARCFACE.points:
        near = grey * (np.hypot(x - px, y - py) < 7)
        centre = np.array([(near * x).sum(), (near * y).sum()]) / near.sum()
        np.testing.assert_allclose(centre, (px, py), atol=0.15)


def test_reducing_does_not_alias():
    """A grating finer than the crop can hold must vanish, not come back as a coarse one."""
    x = np.arange(900)
    grating = (127 + 100 * np.cos(2 * np.pi * x * 0.23)).astype(np.uint8)
    photograph = np.repeat(np.repeat(grating[None, :, None], 900, 0), 3, 2)
    points = np.array(ARCFACE.points) * 7 + 30
    crop = align(photograph, points, ARCFACE)
    assert crop[20:-20, 20:-20].std() < 3


def test_beyond_the_photograph_its_edge_is_repeated():
    photograph = np.full((60, 60, 3), 200, np.uint8)
    crop = align(photograph, np.array(ARCFACE.points) - 40, ARCFACE)
    assert (crop == 200).all()


@pytest.mark.parametrize("size", [(12, 3000), (4000, 200), (92, 112), (3000, 4000)])
def test_the_detector_sees_bounded_pictures(size):
    from freqlab.images.alignment import _prepare

    prepared, scale = _prepare(np.zeros((*size, 3), np.uint8))
    assert max(prepared.shape) <= 1280 + 100
    assert prepared.shape[0] - 100 == pytest.approx(size[0] * scale, abs=1)


def test_landmarks_without_extent_give_no_crop():
    photograph = np.zeros((60, 60, 3), np.uint8)
    assert align(photograph, np.zeros((5, 2)), ARCFACE) is None


def test_nothing_found_in_noise():
    rng = np.random.default_rng(0)
    noise = rng.integers(120, 130, (112, 92, 3), dtype=np.uint8)
    assert np.isnan(detect_landmarks([noise])).all()


def test_photographs_of_several_sizes(orl):
    small = orl.image(0)
    other = np.asarray(Image.fromarray(orl.image(90)).resize((368, 448), Image.Resampling.BICUBIC))
    found = detect_landmarks([small, other, orl.image(1)])
    np.testing.assert_allclose(found[0], orl.landmarks[0], atol=0.5)
    np.testing.assert_allclose(found[2], orl.landmarks[1], atol=0.5)
    np.testing.assert_allclose(found[1] / 4, orl.landmarks[90], atol=2)


def test_eye_distance_is_that_of_the_points():
    left, right = np.array(ARCFACE.points[:2])
    assert pytest.approx(np.linalg.norm(right - left), abs=0.005) == ARCFACE.eye_distance
    with pytest.raises(UnknownNameError, match="Did you mean 'arcface'"):
        template("arc-face")


def test_another_face_is_not_taken_for_the_one_that_is_known(orl):
    """Landmarks are given of a face that the detector does not find; it finds its neighbour."""
    canvas = np.full((200, 400, 3), 128, np.uint8)
    canvas[40:152, 20:112] = orl.image(0)
    there = orl.landmarks[0] + np.array([20, 40])
    found = detect_faces([canvas, canvas], near=np.stack([there, there + np.array([200, 0])]))
    assert np.isfinite(found.boxes[0]).all()
    assert np.isnan(found.boxes[1]).all()


def test_of_several_faces_the_largest_central_one_is_taken_and_their_number_kept(orl):
    from PIL import Image

    canvas = np.full((300, 600, 3), 128, np.uint8)
    canvas[60:240, 220:368] = np.asarray(Image.fromarray(orl.image(0)).resize((148, 180)))
    canvas[100:212, 20:112] = orl.image(90)
    found = detect_faces([canvas, orl.image(3)])
    assert found.counts.tolist() == [2, 1]
    centre = found.landmarks[0].mean(axis=0)
    assert 220 < centre[0] < 368

"""The detector finds what facenet-pytorch's own code finds with the same networks."""

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from PIL import Image

import freqlab.images.alignment as alignment
from freqlab.errors import ParameterError
from freqlab.images.alignment import _BORDER, _prepare, detect_faces
from freqlab.images.cascade import (
    _largest,
    _level,
    _regions,
    _round_up,
    _scales,
    _Shown,
    _sums,
    cascade,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def original():
    return MTCNN(keep_all=True)


def canvas(orl, *placed, size=(300, 420), seed=0):
    """A noisy canvas with faces ``(number, height, left, top)``."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(60, 200, (*size, 3)).astype(np.uint8) // 8 * 4 + 60
    for number, height, left, top in placed:
        face = Image.fromarray(orl.image(number))
        face = face.resize((round(face.width * height / face.height), height))
        picture[top : top + height, left : left + face.width] = np.asarray(face)
    return picture


def pictures(orl):
    return [
        orl.image(0),
        canvas(orl, (10, 120, 30, 40), (90, 200, 180, 60), size=(301, 423)),
        canvas(orl, (20, 30, 30, 40), (50, 90, 200, 100), size=(257, 480)),
        canvas(orl, size=(64, 90)),
        canvas(orl, (33, 25, 10, 5), size=(40, 200)),
    ]


@pytest.mark.parametrize("bordered", [True, False])
def test_detections_are_those_of_facenet_pytorch(orl, original, bordered):
    n_faces = 0
    for picture in pictures(orl):
        prepared = _prepare(picture)[0] if bordered else picture
        found = cascade("cpu").detect(prepared, border=_BORDER if bordered else 0)
        boxes, scores, points = original.detect(prepared[None], landmarks=True)
        if boxes[0] is None:
            assert len(found.boxes) == 0
            continue
        n_faces += len(found.boxes)
        np.testing.assert_allclose(found.boxes, boxes[0].astype(float), atol=2e-3)
        np.testing.assert_allclose(found.scores, scores[0].astype(float), atol=1e-5)
        np.testing.assert_allclose(found.points, points[0].astype(float), atol=2e-3)
    assert n_faces >= 5


def test_a_picture_smaller_than_a_window_shows_no_face():
    for size in ((12, 12, 3), (3, 50, 3), (19, 19, 3)):
        found = cascade("cpu").detect(np.full(size, 90, np.uint8))
        assert found.boxes.shape == (0, 4)
        assert found.points.shape == (0, 5, 2)


def test_levels_and_regions_are_averages():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (61, 83, 3)).astype(np.uint8)
    sums, planes = _sums(picture, CPU), torch.tensor(picture).permute(2, 0, 1).float()[None]
    for size in ((61, 83), (30, 47), (7, 5), (1, 1)):
        shown = [_Shown(n, m, 0) for n, m in zip(picture.shape[:2], size, strict=True)]
        averages = torch.nn.functional.adaptive_avg_pool2d(planes, size)
        np.testing.assert_allclose(_level(sums, *shown), averages, rtol=1e-6)
    places = torch.tensor([[0, 0, 83, 61], [5, 7, 60, 58], [80, 50, 83, 53], [40, 3, 41, 60]])
    regions = _regions(sums, places, 24)
    for (left, top, right, bottom), region in zip(places.tolist(), regions, strict=True):
        part = planes[:, :, top:bottom, left:right]
        averages = torch.nn.functional.adaptive_avg_pool2d(part, 24)[0]
        np.testing.assert_allclose(region, averages, rtol=1e-6)


def test_maxima_are_those_of_pooling():
    generator = torch.Generator().manual_seed(0)
    for size in (2, 3):
        for height, width in ((10, 10), (11, 14), (5, 4), (3, 7)):
            images = torch.randn(2, 3, height, width, generator=generator)
            pooled = torch.nn.functional.max_pool2d(images, size, 2, ceil_mode=True)
            assert torch.equal(_largest(images, size), pooled)


def test_few_sizes_occur():
    sizes = {_round_up(n) for n in range(12, 829)}
    assert len(sizes) <= 28
    assert all(n <= _round_up(n) <= max(1.25 * n, n + 3) for n in range(1, 2000))
    assert [_round_up(n, 1) for n in (1, 2, 3, 7, 9, 100)] == [1, 2, 3, 7, 10, 112]


def test_a_cut_pyramid_has_the_levels_of_the_whole_one():
    whole = _scales(300, 20)
    assert whole[0] == 0.6
    for smallest in (25, 45, 90, 200):
        cut = _scales(300, smallest)
        assert cut == whole[-len(cut) :]
        assert 12 / cut[0] <= smallest < 12 / (cut[0] * 0.709)


def test_small_faces_are_searched_where_there_is_no_larger_one(orl, monkeypatch):
    small = canvas(orl, (0, 34, 40, 60), size=(260, 300))
    large = canvas(orl, (0, 150, 40, 60), size=(260, 300))
    searches = []
    detect = alignment.cascade("cpu").detect

    class Counted:
        def detect(self, *arguments, **options):
            searches.append(options.get("smallest"))
            return detect(*arguments, **options)

    monkeypatch.setattr(alignment, "cascade", lambda device: Counted())
    for picture, n_searches in ((small, 2), (large, 1)):
        searches.clear()
        found = detect_faces([picture], smallest_face=0.25)
        assert len(searches) == n_searches
        assert searches[0] == pytest.approx(0.25 * 260)
        complete = detect_faces([picture], smallest_face=0)
        for one, other in zip(found, complete, strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.isfinite(detect_faces([small]).boxes).all()
    searches.clear()
    detect_faces([large], which_face="central")
    assert searches == [None]


def test_a_known_small_face_is_found_beside_a_large_one(orl):
    picture = canvas(orl, (0, 40, 20, 60), (90, 180, 200, 60), size=(300, 420))
    complete = cascade("cpu").detect(_prepare(picture)[0], border=_BORDER)
    smallest = complete.points[np.argmin(np.ptp(complete.boxes[:, [0, 2]], axis=1))] - _BORDER
    scale = _prepare(picture)[1]
    near = (smallest / scale)[None]
    found = detect_faces([picture], near=near, smallest_face=0.5)
    np.testing.assert_allclose(found.landmarks, near, atol=1e-3)


@pytest.mark.slow
def test_a_smallest_face_leaves_selected_faces_as_they_are(orl):
    rng = np.random.default_rng(2)
    many = []
    for k in range(16):
        height = int(rng.integers(60, 160))
        other = int(rng.integers(30, 80))
        many.append(canvas(orl, (12 * k, height, 30, 40), (12 * k + 9, other, 240, 100), seed=k))
    quick, complete = detect_faces(many), detect_faces(many, smallest_face=0)
    np.testing.assert_allclose(quick.landmarks, complete.landmarks, atol=0.01)
    np.testing.assert_array_equal(quick.counts, complete.counts)


@pytest.mark.parametrize("value", [-0.1, 1, 2.5, np.nan, "half"])
def test_a_share_that_is_none_is_refused(orl, value):
    with pytest.raises(ParameterError, match="smallest_face"):
        detect_faces([orl.image(0)], smallest_face=value)

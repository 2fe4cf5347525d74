import dlib
import numpy as np
import pytest
from skimage.transform import SimilarityTransform

from freqlab.errors import WeightsError, WeightsNotFoundError
from freqlab.images.alignment import cut
from freqlab.images.dlib_format import find_dlib_file
from freqlab.images.dlib_landmarks import dlib_landmarks, read_shape_predictor
from freqlab.images.templates import TEMPLATES

FILE = "shape_predictor_5_face_landmarks.dat"


@pytest.fixture(scope="module")
def truth():
    return dlib.shape_predictor(str(find_dlib_file(FILE)))


@pytest.fixture(scope="module")
def predictor():
    return read_shape_predictor(find_dlib_file(FILE))


def parts(shape):
    return np.array([(point.x, point.y) for point in shape.parts()])


@pytest.mark.parametrize("box", [(10, 20, 80, 90), (15, 25, 85, 95), (-5, 10, 70, 100)])
def test_landmarks_are_those_of_dlib(orl, truth, predictor, box):
    """dlib rounds them to pixels; where a pixel's rounding tips a tree the two part a little."""
    differences = []
    for i in range(0, 400, 8):
        image = orl.image(i)
        found = predictor(image.mean(axis=2), box)
        differences.append(np.abs(found - parts(truth(image, dlib.rectangle(*box)))).max())
    assert np.mean(np.array(differences) <= 0.51) > 0.8
    assert max(differences) < 1


def test_chips_lie_as_dlib_cuts_them(orl, truth):
    """From our five points to dlib's chip: its eyes come to lie where dlib's own chip has them."""
    detector = dlib.get_frontal_face_detector()
    offsets = []
    for i in range(0, 400, 16):
        image = np.kron(orl.image(i), np.ones((3, 3, 1), np.uint8))
        boxes = detector(image, 0)
        if len(boxes) != 1:
            continue
        theirs = (parts(truth(image, boxes[0])) + 0.5) / 3 - 0.5
        ours = dlib_landmarks(orl.image(i), orl.landmarks[i])
        to_chip = SimilarityTransform.from_estimate(ours, np.array(TEMPLATES["dlib"].dlib_points))
        offsets.append(to_chip(theirs) - to_chip(ours))
    assert len(offsets) > 20
    assert np.abs(np.mean(offsets, axis=0)).max() < 1.5  # pixels of 150: no systematic shift
    assert np.median(np.linalg.norm(offsets, axis=2)) < 3


def test_chips_of_any_size_of_photograph(orl):
    from PIL import Image

    template = TEMPLATES["dlib"]
    small = cut(orl.image(3), orl.landmarks[3], np.zeros(4), template)
    photograph = Image.fromarray(orl.image(3)).resize((920, 1120), Image.Resampling.BICUBIC)
    points = (orl.landmarks[3] + 0.5) * 10 - 0.5
    large = cut(np.asarray(photograph), points, np.zeros(4), template)
    assert small.shape == large.shape == (150, 150, 3)
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.97


def test_no_landmarks_without_extent(orl):
    assert dlib_landmarks(orl.image(0), np.full((5, 2), 30.0)) is None
    assert dlib_landmarks(orl.image(0), orl.landmarks[0] + 1000) is None


def test_damaged_files(tmp_path):
    content = find_dlib_file(FILE).read_bytes()
    (tmp_path / "t.dat").write_bytes(content[:100_000])
    with pytest.raises(WeightsError, match="truncated"):
        read_shape_predictor(tmp_path / "t.dat")
    (tmp_path / "t.dat").write_bytes(b"\x01\x07" + content[2:])
    with pytest.raises(WeightsError, match="no shape predictor"):
        read_shape_predictor(tmp_path / "t.dat")


def test_missing_package_says_what_to_install(monkeypatch, orl):
    from freqlab.images import dlib_landmarks as module

    monkeypatch.setattr(module, "find_dlib_file", lambda name: None)
    module._predictor.cache_clear()
    with pytest.raises(WeightsNotFoundError, match=r"freqlab\[dlib\]"):
        dlib_landmarks(orl.image(0), orl.landmarks[0])
    module._predictor.cache_clear()

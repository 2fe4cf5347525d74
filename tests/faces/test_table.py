import numpy as np
import pandas as pd
import pytest
from PIL import Image

import freqlab as fl
from freqlab.errors import FaceSetError, ParameterError
from freqlab.faces.table import (
    LANDMARK_COLUMNS,
    decode_image,
    find_landmarks,
    landmark_table,
    landmarks_of,
)


def table(names=("a", "b"), **columns):
    return pd.DataFrame({"subject": ["x"] * len(names), **columns}, index=pd.Index(names))


PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"table": table(), "images": [PIXELS]}, "1 images for 2 faces"),
        ({"table": table(("a", "a")), "images": [PIXELS] * 2}, "repeated"),
        ({"table": table((1, "1")), "images": [PIXELS] * 2}, "repeated"),
        ({"table": table(path=["x", None])}, "without a path"),
        ({"table": table(**{"zarr.json": 1}), "images": [PIXELS] * 2}, "cannot be named"),
        ({"table": table()}, "path"),
        ({"table": table((), path=[])}, "empty"),
        ({"table": table(status=1), "images": [PIXELS] * 2}, "reserved"),
        ({"table": table(), "images": [PIXELS] * 2, "landmarks": np.zeros((1, 5, 2))}, "landmarks"),
        ({"table": table(), "images": [PIXELS] * 2, "aligned": "arcfaces"}, "arcface"),
        ({"table": table().assign(subject=["x", None]), "images": [PIXELS] * 2}, "without"),
    ],
)
def test_bad_tables(arguments, fault):
    with pytest.raises(ParameterError, match=fault):
        fl.Faces(**arguments)


def test_select_keeps_what_belongs_to_a_face(orl):
    some = orl.select([5, 17])
    assert some.names == ["s1/6", "s2/8"]
    np.testing.assert_array_equal(some.landmarks[1], orl.landmarks[17])
    np.testing.assert_array_equal(some.image(1), orl.image(17))


def test_select_by_truth_values_takes_the_same_faces_of_table_and_pixels():
    pixels = [np.full_like(PIXELS, value) for value in range(4)]
    faces = fl.Faces(table((0, 1, 2, 3), path=list("abcd")), images=pixels)
    for rows in ([False, False, True, True], np.arange(4) > 1, [2, 3], [-2, -1], range(2, 4)):
        some = faces.select(rows)
        assert some.names == ["2", "3"]
        assert [int(some.image(i).flat[0]) for i in range(2)] == [2, 3]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([0, 2], r"rows has the position 2; expected positions from -2 to 1"),
        ([-3], r"the position -3; expected positions from -2 to 1"),
        ([True], r"rows has 1 truth values; there are 2 faces"),
        ([0.0], r"rows is \[0.0\]; expected a sequence of positions"),
        (["a"], r"rows is \['a'\]; expected"),
        ([[0, 1]], r"rows is \[\[0, 1\]\]; expected"),
        (0, r"rows is 0; expected"),
    ],
)
def test_select_of_faces_that_are_not_there(rows, fault):
    faces = fl.Faces(table(("a", "b")), images=[PIXELS] * 2)
    with pytest.raises(ParameterError, match=fault):
        faces.select(rows)


def test_notes_are_shown_and_told():
    faces = fl.Faces(
        table(("a",)), images=[PIXELS], name="x", credit="By Bo", notes=("left out: 2", "found: 1")
    )
    assert repr(faces) == "<Faces 'x': 1 faces of 1 subjects\n  left out: 2\n  found: 1>"
    assert faces.about == "By Bo. Left out: 2. Found: 1."
    assert fl.Faces(table(("a",)), images=[PIXELS]).about == ""


def test_repr_is_short(orl):
    assert repr(orl).startswith("<Faces 'orl': 400 faces of 40 subjects; glasses, ")


def test_sources():
    chain = fl.Faces(table((1, 2, 3), source=[np.nan, 1, 2]), images=[PIXELS] * 3)
    assert chain.sources.tolist() == ["1", "1", "1"]
    elsewhere = fl.Faces(table(("a", "b"), source=["gone", "b"]), images=[PIXELS] * 2)
    assert elsewhere.sources.tolist() == ["gone", "b"]
    circle = fl.Faces(table(("a", "b"), source=["b", "a"]), images=[PIXELS] * 2)
    with pytest.raises(ParameterError, match="form a cycle"):
        _ = circle.sources
    derived = fl.Faces(table(source=["", "a"]), images=[PIXELS] * 2)
    assert derived.sources.tolist() == ["a", "a"]
    assert fl.Faces(table(), images=[PIXELS] * 2).sources.tolist() == ["a", "b"]


def test_grey_and_colour_and_orientation(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees when shown
    image.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(
        decode_image((tmp_path / "turned.png").read_bytes()), np.rot90(pixels, -1)
    )
    grey = fl.Faces(table(("a",)), images=[pixels[..., 0]])
    np.testing.assert_array_equal(grey.image(0), np.stack([pixels[..., 0]] * 3, 2))


@pytest.mark.parametrize("shape", [(6, 4, 4), (6,), (0, 4, 3), (6, 4, 3)])
def test_arrays_that_are_no_images(shape):
    image = np.zeros(shape, float if shape == (6, 4, 3) else np.uint8)
    with pytest.raises(ParameterError, match="image of face 'a'.*uint8"):
        fl.Faces(table(("a",)), images=[image])


def test_images_may_be_one_array():
    faces = fl.Faces(table(), images=np.zeros((2, 8, 8, 3), np.uint8))
    assert faces.image(1).shape == (8, 8, 3)
    with pytest.raises(ParameterError, match="pandas.DataFrame"):
        fl.Faces({"subject": ["a"]}, images=[PIXELS])


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
    Image.fromarray(values).save(tmp_path / "deep.png")
    found = decode_image((tmp_path / "deep.png").read_bytes())
    np.testing.assert_allclose(found[..., 0], values / 257, atol=0.5)


@pytest.mark.parametrize("content", [b"", b"P5\n92 112\n255\nshort", b"GIF89a"])
def test_damaged_files_are_os_errors(content):
    with pytest.raises(OSError):  # noqa: PT011 - Pillow's own words
        decode_image(content)


def test_landmark_table_there_and_back():
    points = np.arange(20, dtype=np.float32).reshape(2, 5, 2)
    written = landmark_table(["a", "b"], points)
    assert list(written.columns) == LANDMARK_COLUMNS
    np.testing.assert_array_equal(landmarks_of(written), points)
    assert landmarks_of(table()) is None
    with pytest.raises(FaceSetError, match="nose_y"):
        landmarks_of(written.drop(columns="nose_y"))


def test_shipped_landmarks_are_what_detection_finds(orl):
    some = orl.select([0, 99, 203, 399])
    found = find_landmarks(some, progress=False)
    np.testing.assert_allclose(found, some.landmarks, atol=0.5)

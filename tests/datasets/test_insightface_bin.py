"""The .bin sets of insightface: what is read, and that nothing in them is run."""

import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
from PIL import Image

import freqlab as fl
from freqlab.datasets.insightface_bin import read_bin
from freqlab.datasets.protocols import read_pairs
from freqlab.errors import FaceSetError, ParameterError, UnsafePickleError


def encoded(value, size=112):
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value, 20, 30)).save(file, "PNG")
    return file.getvalue()


# Pairs: a-b same, b-c same, d-e same, a-d different, c-e different; b and others stand twice.
A, B, C, D, E = (encoded(value) for value in (0, 50, 100, 150, 200))
IMAGES = [A, B, B, C, D, E, A, D, C, E]
SAME = [True, True, True, False, False]


def as_arrays(images):
    return [np.frombuffer(image, np.uint8) for image in images]


def save(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("convert", [list, as_arrays, lambda i: [a[:, None] for a in as_arrays(i)]])
@pytest.mark.parametrize("labels", [list, np.array, lambda s: [np.bool_(x) for x in s], tuple])
def test_what_is_read(tmp_path, protocol, convert, labels):
    file = save(tmp_path / "set.bin", (convert(IMAGES), labels(SAME)), protocol)
    content = read_bin(file)
    assert content.images == [A, B, C, D, E]
    assert content.pairs.tolist() == [[0, 1], [1, 2], [3, 4], [0, 3], [2, 4]]
    assert content.genuine.tolist() == SAME


def test_a_pickle_of_python_2(tmp_path):
    """Protocol 2 with byte strings, as the published files were written."""

    def string(data):
        return b"T" + struct.pack("<I", len(data)) + data

    images = b"]" + b"(" + b"".join(string(image) for image in IMAGES) + b"e"
    same = b"]" + b"(" + b"".join(b"\x88" if one else b"\x89" for one in SAME) + b"e"
    file = tmp_path / "set.bin"
    file.write_bytes(b"\x80\x02" + images + same + b"\x86.")
    assert read_bin(file).images == [A, B, C, D, E]


def test_faces_and_pairs(tmp_path):
    file = save(tmp_path / "set.bin", (IMAGES, SAME))
    faces = fl.load_faces("bin", root=file)
    assert faces.aligned == "arcface"
    assert faces.name == "set"
    assert faces.names == ["00000", "00001", "00002", "00003", "00004"]
    # a, b and c are joined by two genuine pairs, d and e by one
    assert faces.subjects.tolist() == ["s00000"] * 3 + ["s00003"] * 2
    assert faces.image(2)[0, 0].tolist() == [100, 20, 30]
    assert faces.select([4]).image(0)[0, 0].tolist() == [200, 20, 30]
    assert fl.load_faces(file).names == faces.names
    pairs = read_pairs(file, faces)
    assert pairs["genuine"].tolist() == SAME
    assert pairs["reference"].tolist() == ["00000", "00001", "00003", "00000", "00002"]
    assert pairs["probe"].tolist() == ["00001", "00002", "00004", "00003", "00004"]
    assert pairs["fold"].tolist() == [1, 2, 3, 4, 5]


def test_ten_folds_of_equal_size(tmp_path):
    images = [encoded(value) for value in range(80)]
    file = save(tmp_path / "set.bin", (images, [True] * 20 + [False] * 20))
    pairs = read_pairs(file, fl.load_faces(file), format="bin")
    assert pairs["fold"].value_counts(sort=False).to_dict() == dict.fromkeys(range(1, 11), 4)
    assert pairs["fold"].is_monotonic_increasing


class Hostile:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("where", ["whole", "image", "label", "hidden"])
def test_a_hostile_pickle_never_runs(tmp_path, protocol, where):
    sign = tmp_path / "run"
    evil = Hostile(os.mkdir, str(sign))
    content = {
        "whole": evil,
        "image": ([evil, A], [True]),
        "label": ([A, B], [evil]),
        "hidden": ([A, B], [True], evil),
    }[where]
    file = save(tmp_path / "set.bin", content, protocol)
    with pytest.raises(UnsafePickleError, match=r"set.bin: .*asks for \w+.mkdir; .*nothing of it"):
        fl.load_faces("bin", root=file)
    assert not sign.exists()
    pickle.loads(file.read_bytes())
    assert sign.exists()  # so it is hostile indeed


@pytest.mark.parametrize(
    "function", [eval, getattr, __import__, np.load, np.fromfile, bytearray, io.BytesIO]
)
def test_only_a_few_names_are_admitted(tmp_path, function):
    file = save(tmp_path / "set.bin", ([Hostile(function, "1"), A], [True]))
    with pytest.raises(UnsafePickleError):
        read_bin(file)


def test_arrays_of_objects_are_refused(tmp_path):
    file = save(tmp_path / "set.bin", ([np.array([A, None], object), A], [True]))
    with pytest.raises(FaceSetError, match="not an insightface .bin file"):
        read_bin(file)


@pytest.mark.parametrize("build", [b"c__builtin__\nbytes\n", b"cnumpy\ndtype\n"])
def test_states_cannot_be_put_on_what_is_admitted(tmp_path, build):
    """BUILD on a class would otherwise set attributes of it, for all later files."""
    file = tmp_path / "set.bin"
    file.write_bytes(b"\x80\x02" + build + b"N}U\x01xI1\ns\x86b.")
    assert [op.name for op, _, _ in pickletools.genops(file.read_bytes())].count("BUILD") == 1
    with pytest.raises(FaceSetError):
        read_bin(file)
    assert read_bin(save(tmp_path / "good.bin", (IMAGES, SAME), 2)).images == [A, B, C, D, E]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "found a dict"),
        ((IMAGES, SAME, []), "found a tuple of 3"),
        ((IMAGES[:9], SAME), "9 images for 5 pairs"),
        (([], []), "0 images for 0 pairs"),
        ((7, [True]), "found a int"),
        (([A, "text"], [True]), "image 1 is a str"),
        (([A, np.zeros((2, 3), np.uint8)], [True]), "image 1 is an array"),
        (([A, np.zeros(3, np.float32)], [True]), "dtype 'f4'"),
        (([A, B], [2]), "label of pair 0 is 2"),
        (([A, B], ["yes"]), "label of pair 0"),
    ],
)
def test_other_content(tmp_path, content, message):
    file = save(tmp_path / "set.bin", content)
    with pytest.raises(FaceSetError, match=message):
        fl.load_faces("bin", root=file)


def test_damaged_files(tmp_path):
    file = save(tmp_path / "set.bin", (IMAGES, SAME))
    data = file.read_bytes()
    for content in (b"", data[: len(data) // 2], b"\xff" + data):
        file.write_bytes(content)
        with pytest.raises(FaceSetError, match="not an insightface"):
            fl.load_faces("bin", root=file)
    with pytest.raises(FaceSetError, match="no such .bin"):
        fl.load_faces("bin", root=tmp_path / "absent.bin")
    with pytest.raises(ParameterError, match="root="):
        fl.load_faces("bin")


def test_images_that_are_none_or_of_another_size(tmp_path):
    file = save(tmp_path / "set.bin", ([A, b"no image"], [True]))
    with pytest.raises(FaceSetError, match="contains an entry that is not an image"):
        fl.load_faces("bin", root=file)
    save(file, ([encoded(1, 96), encoded(2, 96)], [True]))
    with pytest.raises(FaceSetError, match="96 x 96 pixels.*'arcface' are 112 x 112"):
        fl.load_faces("bin", root=file)

import dlib
import numpy as np
import pytest
import torch

import freqlab as fl
from freqlab.errors import WeightsError, WeightsNotFoundError
from freqlab.images.alignment import cut
from freqlab.images.dlib_format import DlibReader, find_dlib_file
from freqlab.models.dlib_resnet import read_dlib_weights

FILE = "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture(scope="module")
def model():
    return fl.load_model("dlib", device="cpu")


def test_descriptors_are_those_of_dlib(model, orl):
    """On the same chips, faces and noise, to 1e-4 (descriptors are about 1.4 long)."""
    truth = dlib.face_recognition_model_v1(str(find_dlib_file(FILE)))
    rng = np.random.default_rng(0)
    chips = [rng.integers(0, 256, (150, 150, 3), dtype=np.uint8) for _ in range(3)]
    for i in range(0, 400, 37):
        chips.append(cut(orl.image(i), orl.landmarks[i], np.zeros(4), model.template))
    found = model(torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float())
    for chip, descriptor in zip(chips, found, strict=True):
        np.testing.assert_allclose(descriptor, truth.compute_face_descriptor(chip), atol=1e-4)


def test_number_of_weights(model):
    """5,581,824 in convolutions and affines, 256 x 128 in the last layer."""
    parameters = sum(p.numel() for p in model.network.parameters())
    assert parameters == 5_581_824 + 256 * 128


def test_damaged_files(tmp_path):
    content = find_dlib_file(FILE).read_bytes()
    for end in (0, 300, 20_000, len(content) // 2, 22_350_000):
        (tmp_path / "t.dat").write_bytes(content[:end])
        with pytest.raises(WeightsError, match=r"t\.dat cannot be read as a file of dlib"):
            read_dlib_weights(tmp_path / "t.dat")
    start = content.index(b"con_4") + 16
    broken = content[:start] + np.full(8, np.nan, "<f4").tobytes() + content[start + 32 :]
    (tmp_path / "n.dat").write_bytes(broken)
    with pytest.raises(WeightsError, match="not finite in conv.weight"):
        read_dlib_weights(tmp_path / "n.dat")
    other = content.replace(b"\x05con_4\x01\x02\x02\x80\x12", b"\x05con_4\x01\x02\x02\x80\x11")
    (tmp_path / "o.dat").write_bytes(other)
    with pytest.raises(WeightsError, match="4480 numbers, not 4736"):
        read_dlib_weights(tmp_path / "o.dat")


def test_another_file_under_the_known_name_is_refused(tmp_path):
    content = bytearray(find_dlib_file(FILE).read_bytes())
    content[1_000_000] ^= 1
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256 .*, expected 55533b28"):
        fl.load_model("dlib", checkpoint=tmp_path / FILE, device="cpu")
    (tmp_path / "mine.dat").write_bytes(content)  # one's own file has no known checksum
    assert fl.load_model("dlib", checkpoint=tmp_path / "mine.dat", device="cpu").name == "dlib"


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("freqlab.images.dlib_format.importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsNotFoundError, match=r"freqlab\[dlib\]"):
        fl.load_model("dlib", device="cpu")


def test_numbers_as_dlib_writes_them():
    reader = DlibReader(bytes([0x01, 200, 0x82, 0x00, 0x01, 0x01, 3, 0x81, 2]), "f")
    assert [reader.integer(), reader.integer(), reader.number()] == [200, -256, 0.75]
    assert reader.at_end
    with pytest.raises(WeightsError, match="truncated"):
        reader.integer()

"""Files that are no weights, as people bring them: named as what they are, with a way on."""

import gzip
import io
import json
import os
import socket
import struct
import tarfile
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import freqlab as fl
from freqlab.errors import ParameterError, WeightsError, WeightsNotFoundError
from freqlab.models.checkpoints import read_checkpoint
from freqlab.models.file_kinds import what_it_is


def packed(write, files):
    stream = io.BytesIO()
    write(stream, files)
    return stream.getvalue()


def zipped(stream, files):
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def tarred(stream, files):
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def onnx_file():
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, producer_name="pytorch").SerializeToString()


def array_file():
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def message(number, content):
    return bytes([number << 3 | 2]) + bytes([len(content)]) + content


POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 174412345\n"
)
NODE = message(1, b"input") + message(2, b"Placeholder")
KINDS = {
    "empty": (b"", r"empty file \(0 bytes\): fetch"),
    "lfs": (POINTER, r"pointer of Git LFS.*a file of 174,412,345 bytes.*'git lfs pull'"),
    "annex": (b"/annex/objects/MD5E-s8--abc.pt\n", "git annex get"),
    "page": (b"\n<!DOCTYPE html>\n<html><title>Google Drive</title>", "web page"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "server's refusal"),
    "refusal": (b'{"error": "Repository not found"}', "error message of a server"),
    "text": (b"these are no weights\n", "is text, not weights.*'these are no weights'"),
    "script": ("# Modèle\nimport torch\n".encode(), "is text"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5 file, as Keras.*ONNX"),
    "keras": (packed(zipped, {"config.json": b"{}", "model.weights.h5": b"x"}), "Keras model"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite.*tf2onnx"),
    "saved model": (b"\x08\x01" + message(2, message(1, b"\x0a\x04\x08\1\x12\0")), "SavedModel"),
    "frozen graph": (message(1, NODE) + message(1, NODE), "frozen graph of TensorFlow.*tf2onnx"),
    "tf checkpoint": (bytes(100) + struct.pack("<Q", 0xDB4775248B80FB57), "TensorFlow checkpoint"),
    "mxnet": (struct.pack("<QQQ", 0x112, 0, 1) + bytes(64), "MXNet's parameters.*mx.onnx"),
    "symbol": (b'{"nodes": [], "arg_nodes": [], "heads": []}', "description of an MXNet network"),
    "zip": (packed(zipped, {"a/net.pth": b"x", "a/README": b"y"}), r"of 2 files.*net\.pth: unpack"),
    "photographs": (packed(zipped, {"a.jpg": b"x"}), "zip archive without weights"),
    "arrays": (packed(zipped, {"a.npy": array_file()}), "archive of NumPy arrays"),
    "array": (array_file(), "NumPy array"),
    "tar": (packed(tarred, {"x/net.pth": b"x"}), r"tar archive of x/net\.pth: unpack"),
    "old tar": (packed(tarred, {"storages": b"", "tensors": b"", "pickle": b""}), "PyTorch 0.1"),
    "gzip": (gzip.compress(b"x" * 99), "packed with gzip: unpack"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(30), "7z archive"),
    "matlab": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "MATLAB file"),
    "engine": (b"ftrt" + bytes(60), "TensorRT engine"),
    "photograph": (b"\xff\xd8\xff\xe0" + bytes(40), "JPEG photograph: .*load_faces"),
    "onnx": (onnx_file(), r"is an ONNX file, a whole model.*rename it to end in \.onnx"),
    "configuration": (b'{"architecture": "vit_tiny"}', "the configuration of a network"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_named_as_what_it_is(tmp_path, kind):
    content, told = KINDS[kind]
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"weights\.pth .*{told}"):
        fl.load_model("arcface", checkpoint=path)
    with pytest.raises(WeightsError, match=told):  # given as the model itself
        fl.load_model(path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "onnx"])
def test_what_is_no_onnx_file_is_named_too(tmp_path, kind):
    content, told = KINDS[kind]
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"net\.onnx is damaged, or no ONNX file: it .*{told}"):
        fl.load_model(path)


@pytest.mark.parametrize(
    ("name", "told"),
    [("net.h5", "Keras"), ("net.caffemodel", "Caffe"), ("net.pdparams", "PaddlePaddle"),
     ("net.mlmodel", "Core ML"), ("net.tflite", "is text")],
)  # fmt: skip
def test_a_file_whose_name_tells(tmp_path, monkeypatch, name, told):
    """Also without a folder before it, where it might be a model's name."""
    content = b"text" if name.endswith("tflite") else b"\x0a\x02\xff\xfe" + bytes(range(200, 250))
    (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=told):
        fl.load_model(name)


def test_real_weights_are_not_mistaken(tmp_path):
    torch.save({"w": torch.zeros(3)}, tmp_path / "new.pt")
    torch.save({"w": torch.zeros(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "net.onnx").write_bytes(onnx_file())
    for name in ("new.pt", "old.pt", "net.onnx"):
        assert what_it_is(tmp_path / name) is None


def test_safetensors_by_another_name(tmp_path):
    """Content decides, not the name."""
    import safetensors.torch

    state = {"w": torch.arange(3.0)}
    safetensors.torch.save_file(state, tmp_path / "net.pth")
    torch.save(state, tmp_path / "net.safetensors")
    for name in ("net.pth", "net.safetensors"):
        assert torch.equal(read_checkpoint(tmp_path / name)["w"], state["w"])


def test_folders(tmp_path):
    def folder(name, *files):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes(b"x")
        return tmp_path / name

    for made, told in (
        (folder("saved", "saved_model.pb"), "SavedModel of TensorFlow"),
        (folder("hub", "config.json", "model.safetensors"), "timm:hf_hub:"),
        (folder("torn", "data.pkl", "version"), "unpacked file of torch.save"),
        (folder("some", "a.pth", "notes.txt"), r"is a folder, not a file; in it lies a\.pth"),
        (folder("none"), "is a folder, not a file, and holds no file of weights"),
    ):
        with pytest.raises(ParameterError, match=told):
            fl.load_model("arcface", checkpoint=made)
        with pytest.raises(WeightsError, match=told):
            fl.load_model(made)


@pytest.fixture(params=["pipe", "socket", "device", "kernel", "link"])
def no_file(request, tmp_path, monkeypatch):
    """What would wait, or give bytes without end, if it were opened."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pt"
    if request.param in ("pipe", "link"):
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe")
        return path if request.param == "link" else (tmp_path / "pipe").rename("pipe.pt")
    if request.param == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("net.pt")
        return path
    path.symlink_to("/dev/zero" if request.param == "device" else "/proc/self/environ")
    return path


@pytest.mark.parametrize(
    "name", ["arcface", "mobilefacenet", "dlib", "facenet-casia", "timm:resnet18"]
)
def test_what_is_no_file_is_not_opened(no_file, name):
    told = "is (a named pipe|a socket|a device|a file of the kernel's), not a plain file"
    with pytest.raises(WeightsError, match=told):
        fl.load_model(name, checkpoint=no_file)


def test_what_is_no_file_is_no_model(no_file, tmp_path):
    with pytest.raises(WeightsError, match="not a plain file, and was not opened"):
        fl.load_model(str(no_file))
    (tmp_path / "net.onnx").symlink_to(no_file)
    with pytest.raises(WeightsError, match="not a plain file, and was not opened"):
        fl.load_model(tmp_path / "net.onnx", mean=0, std=1)


def test_weights_in_several_files(tmp_path):
    """As the hub cuts large ones; the checksum is of all of them."""
    import safetensors.torch
    from torch import nn

    from freqlab.models.iresnet import IResNet

    torch.manual_seed(0)
    network: nn.Module = IResNet(18).eval()
    state = network.state_dict()
    names = list(state)
    halves = {"a.safetensors": names[:50], "b.safetensors": names[50:]}
    for file, part in halves.items():
        safetensors.torch.save_file({n: state[n] for n in part}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {n: f for f, p in halves.items() for n in p}}))
    model = fl.load_model("arcface", checkpoint=index, device="cpu")
    images = torch.rand(2, 3, 112, 112) * 255
    with torch.no_grad():
        truth = network((images - 127.5) / 127.5)
    torch.testing.assert_close(model(images), truth, atol=1e-4, rtol=1e-4)
    changed = {n: state[n] for n in halves["b.safetensors"]}
    changed["features.bias"] = changed["features.bias"] + 1
    safetensors.torch.save_file(changed, tmp_path / "b.safetensors")
    assert fl.load_model("arcface", checkpoint=index, device="cpu").checkpoint != model.checkpoint
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(
        WeightsNotFoundError, match=r"the file 'b\.safetensors' of it: no such file"
    ):
        fl.load_model("arcface", checkpoint=index)
    index.write_text(json.dumps({"weight_map": {"w": "../a.safetensors"}}))
    with pytest.raises(WeightsError, match=r"names a file elsewhere, '\.\./a\.safetensors'"):
        fl.load_model("arcface", checkpoint=index)
    index.write_text("{}")
    with pytest.raises(WeightsError, match="is not an index of weights"):
        fl.load_model("arcface", checkpoint=index)
    index.rename(tmp_path / "index.json.txt")


def test_onnx_is_what_onnx_writes():
    assert onnx.load_from_string(onnx_file()).producer_name == "pytorch"

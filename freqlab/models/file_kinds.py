"""Kind of a file given as a model, from its first bytes and not from its name.

Users may give any file: a pointer of Git LFS, a page saved by a browser, the weights of another
framework. Each kind is recognised by a few bytes; the message names it and says what to do. Only
regular files are opened: opening a pipe would block forever.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tarfile
import zipfile
from pathlib import Path

from freqlab.errors import WeightsError, WeightsNotFoundError

__all__ = ["check_plain_file", "content_of", "describe_folder", "is_safetensors", "what_it_is"]

_LOOKED_AT = 4096
_INDEX_BYTES = 64 << 20  # an index of tensors is text; a larger file is not an index
_SHOWN = 3
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".onnx", ".pt2", ".pkl")

_EXPORT = "freqlab runs PyTorch and ONNX: export the network to ONNX where it was trained"
_FETCH = "fetch the file itself again"
_UNPACK = "unpack it, and give the file of weights in it"

# First bytes, their offset, the kind of file, and what to do about it.
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and MATLAB write", f"{_EXPORT} (tf2onnx)"),
    (4, b"TFL3", "a TensorFlow Lite model", f"{_EXPORT} (tf2onnx --tflite)"),
    (0, b"\x12\x01\0\0\0\0\0\0", "a file of MXNet's parameters", f"{_EXPORT} (mx.onnx)"),
    (0, b"MATLAB 5.0", "a MATLAB file", _EXPORT),
    (0, b"GGUF", "a GGUF file, of language models", _EXPORT),
    (
        0,
        b"ftrt",
        "a TensorRT engine, made for one kind of GPU",
        "give the ONNX file it was made of",
    ),
    (0, b"7767517", "the text of an ncnn network", _EXPORT),
    (0, b"\x93NUMPY", "a NumPy array", "save a state dictionary with torch.save, or safetensors"),
    (0, b"\x1f\x8b", "packed with gzip", _UNPACK),
    (0, b"BZh", "packed with bzip2", _UNPACK),
    (0, b"\xfd7zXZ\0", "packed with xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "packed with Zstandard", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (0, b"\xff\xd8\xff", "a JPEG photograph", "photographs are given to load_faces"),
    (0, b"\x89PNG\r\n", "a PNG image", "photographs are given to load_faces"),
    (0, b"%PDF", "a PDF document", _FETCH),
    (0, b"\x7fELF", "a program or library of Linux", _EXPORT),
    (0, b"MZ", "a program or library of Windows", _EXPORT),
    (0, b"SQLite format 3", "an SQLite database", _FETCH),
)
# Suffixes of formats without a signature.
_SUFFIXES = {
    ".h5": ("named as Keras names its weights", _EXPORT),
    ".caffemodel": ("named as a Caffe model", _EXPORT),
    ".pdparams": ("named as weights of PaddlePaddle", f"{_EXPORT} (paddle2onnx)"),
    ".pdiparams": ("named as weights of PaddlePaddle", f"{_EXPORT} (paddle2onnx)"),
    ".mlmodel": ("named as a Core ML model", _EXPORT),
    ".msgpack": ("named as weights of Flax", _EXPORT),
    ".engine": ("named as a TensorRT engine", "give the ONNX file it was made of"),
    ".trt": ("named as a TensorRT engine", "give the ONNX file it was made of"),
    ".joblib": ("named as a file of joblib", "save a state dictionary with torch.save"),
}


def check_plain_file(path: str | os.PathLike[str], *, argument: str = "") -> Path:
    """Refuse a path that is not a regular file on a disk, before it is opened.

    Parameters
    ----------
    path
        The file; links are followed.
    argument
        Text that names the file in errors; by default its path.

    Raises
    ------
    WeightsNotFoundError
        If there is no file, or it cannot be reached.
    WeightsError
        If it is a folder, a pipe, a device, a socket, or a file of the kernel (``/proc``).
    """
    shown = argument or os.fspath(path)
    try:
        real = Path(path).resolve(strict=True)
        status = real.stat()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WeightsNotFoundError(f"{shown}: no such file ({reason})") from error
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if (kind is None and real.is_relative_to("/proc")) or real.is_relative_to("/sys"):
        kind = "a file of the kernel's"
    if kind is not None:
        raise WeightsError(f"{shown} is {kind}, not a plain file, and was not opened")
    return Path(path)


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file with these first bytes and this size is a safetensors file."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def what_it_is(path: Path) -> str | None:
    """Describe a file that is not of PyTorch, safetensors or ONNX, and what to do about it.

    Returns
    -------
    str or None
        Text that follows the file's name; None for a file that may hold weights.

    Raises
    ------
    WeightsNotFoundError, WeightsError
        If it cannot be read.
    """
    check_plain_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
        size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        return f"is truncated to nothing, an empty file (0 bytes): {_FETCH}"
    for start, signature, what, way in _SIGNATURES:
        if head[start : start + len(signature)] == signature:
            return f"is {what}: {way}"
    if is_safetensors(head, size):
        return None
    if head[:4] == b"PK\x03\x04":
        return _describe_zip(path)
    if head[257:262] == b"ustar":
        return _describe_tar(path)
    if _tail(path)[-8:] == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb":
        return f"is the index of a TensorFlow checkpoint: {_EXPORT} (tf2onnx)"
    for description in (_describe_text(head, path, size), _describe_protobuf(head, path)):
        if description is not None:
            return description
    if path.suffix.lower() in _SUFFIXES:
        what, way = _SUFFIXES[path.suffix.lower()]
        return f"is {what}: {way}"
    return None


def content_of(path: Path) -> str:
    """Return which readable format a file has: safetensors, zip, pickle, ONNX, or none."""
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
    if is_safetensors(head, path.stat().st_size):
        return "safetensors"
    if head[:4] == b"PK\x03\x04":
        return "zip"
    if head[:1] == b"\x80":
        return "pickle"
    return "ONNX" if _looks_like_onnx(head) else ""


def describe_folder(folder: Path) -> str:
    """Describe a folder that was given instead of a weight file, and what to do about it."""
    names = sorted(path.name for path in folder.iterdir())
    if "saved_model.pb" in names:
        return f"is a SavedModel of TensorFlow: {_EXPORT} (tf2onnx)"
    if folder.suffix == ".mlpackage":
        return f"is a Core ML model: {_EXPORT}"
    if "config.json" in names:
        return (
            "is laid out as on the Hugging Face hub: load it with "
            "load_model('timm:hf_hub:<owner>/<model>', checkpoint=<the folder>)"
        )
    if "data.pkl" in names and "version" in names:
        return "is an unpacked file of torch.save: give the file itself, as it was before unpacking"
    weights = [name for name in names if name.lower().endswith(_WEIGHTS)]
    if weights:
        return f"is a folder, not a file; in it lies {_some(weights)}"
    return "is a folder, not a file, and holds no file of weights"


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(ascii(name)[1:-1] for name in names[:_SHOWN]) + more


def _describe_zip(path: Path) -> str | None:
    """Describe a zip archive that was not written by ``torch.save``."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return None  # cut off; the reader reports this
    last = {name.rpartition("/")[2] for name in names}
    if {"config.json", "model.weights.h5"} <= last:
        return f"is a Keras model: {_EXPORT} (tf2onnx)"
    if "extern_modules" in last:
        return "is an archive of torch.package, a program: save the network's state_dict() alone"
    if "data.pkl" in last or last & {"archive_format", "serialized_exported_program.json"}:
        return None
    if any(name.startswith("code/") or "/code/" in name for name in names):
        return None
    weights = [name for name in names if name.lower().endswith((*_WEIGHTS, ".tar"))]
    if weights:
        return f"is a zip archive of {len(names)} files, among them {_some(weights)}: {_UNPACK}"
    if names and all(name.endswith(".npy") for name in names):
        return "is an archive of NumPy arrays: save a state dictionary with torch.save"
    return f"is a zip archive without weights: it holds {_some(names) or 'nothing'}"


def _describe_tar(path: Path) -> str:
    try:
        with tarfile.open(path) as archive:
            member = archive.next()
            names: list[str] = []
            while member is not None and len(names) < 1000:
                names.append(member.name)
                member = archive.next()
    except (tarfile.TarError, OSError, ValueError):
        return f"is a truncated tar archive: {_FETCH}"
    if {"storages", "pickle"} <= {name.rpartition("/")[2] for name in names}:
        return "was saved by PyTorch 0.1, as a tar archive: load and save it again with PyTorch 1"
    weights = [name for name in names if name.lower().endswith(_WEIGHTS)]
    return f"is a tar archive of {_some(weights or names) or 'nothing'}: {_UNPACK}"


def _describe_text(head: bytes, path: Path, size: int) -> str | None:
    """Describe a text file; None for any other."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        match = re.search(rb"^size (\d{1,15})\s*$", start, re.MULTILINE)
        of = f" of {int(match[1]):,} bytes" if match else ""
        return (
            f"is a pointer of Git LFS, {size} bytes that stand for a file{of} which was not "
            f"fetched: run 'git lfs pull' in its repository, or download the file itself"
        )
    if start.startswith((b"/annex/objects/", b"../.git/annex")):
        return "is a pointer of git-annex: run 'git annex get' on it"
    if re.match(rb"<(!doctype html|html|head|body)", start[:64], re.IGNORECASE):
        return f"is a web page, as a download saves that asks to log in or confirm: {_FETCH}"
    if start.startswith(b"<"):
        return f"is XML, perhaps a server's refusal: {_FETCH}"
    if b"\0" in head or not _is_text(head):
        return None
    if start.startswith((b"{", b"[")):
        return _describe_json(path, size)
    line = start.splitlines()[0][:40].decode("utf-8", "replace") if start else ""
    return f"is text, not weights (it begins {line!a}): {_FETCH}"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character may be cut at the end of the bytes read
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(mark.isprintable() or mark in "\t\r\n\f\v" for mark in text)


def _describe_json(path: Path, size: int) -> str:
    try:
        content = json.loads(path.read_bytes()) if size <= _INDEX_BYTES else None
    except (ValueError, RecursionError, OSError):
        content = None
    if isinstance(content, dict):
        if isinstance(content.get("weight_map"), dict):
            return (
                "is the index of weights in several files: give it as checkpoint, under a name "
                "that ends in .index.json, with its files beside it"
            )
        if {"nodes", "arg_nodes"} <= content.keys():
            return f"is the description of an MXNet network: {_EXPORT} (mx.onnx)"
        if "modelTopology" in content:
            return f"is a TensorFlow.js model: {_EXPORT} (tf2onnx --tfjs)"
        if "architecture" in content or "model_type" in content:
            return "is the configuration of a network: give its folder, or the weights"
        if "error" in content or "message" in content:
            return f"is an error message of a server: {_FETCH}"
    return f"is JSON, not weights: {_FETCH}"


def _fields(data: bytes, most: int) -> list[tuple[int, int | bytes]]:
    """Leading fields of a protobuf message: number and value; the last may be cut off."""
    fields: list[tuple[int, int | bytes]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while shift < 64:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise IndexError

    try:
        while at < len(data) and len(fields) < most:
            key = varint()
            if key & 7 == 0:
                fields.append((key >> 3, varint()))
            elif key & 7 == 2:
                length = varint()
                fields.append((key >> 3, data[at : at + length]))
                at += length
            else:
                break
    except IndexError:
        pass
    return fields


def _looks_like_onnx(head: bytes) -> bool:
    """Whether a file begins with an IR version and then a field that only ONNX has there."""
    fields = _fields(head, 2)
    if len(fields) < 2 or fields[0][0] != 1 or not isinstance(fields[0][1], int):
        return False
    return 1 <= fields[0][1] <= 99 and fields[1][0] in (2, 3, 4, 5, 6, 7, 8, 14)


def _describe_protobuf(head: bytes, path: Path) -> str | None:
    """Describe a file of TensorFlow, or an ONNX file under another name."""
    fields = _fields(head, 2)
    if len(fields) == 2 and fields[0] == (1, 1) and fields[1][0] == 2:
        meta = fields[1][1]  # a MetaGraphDef begins with a message, an ONNX producer is text
        if isinstance(meta, bytes) and not _is_text(meta[:64]):
            return f"is a SavedModel of TensorFlow: {_EXPORT} (tf2onnx)"
    if fields and fields[0][0] == 1 and isinstance(fields[0][1], bytes):
        node = dict(_fields(fields[0][1], 2))  # of a GraphDef: its name, and its operation
        name, operation = node.get(1), node.get(2)
        named = isinstance(name, bytes) and isinstance(operation, bytes) and _is_text(name)
        if named and re.fullmatch(rb"[A-Z][A-Za-z0-9_]*", bytes(operation or b"")):
            return f"is a frozen graph of TensorFlow: {_EXPORT} (tf2onnx)"
    if path.suffix.lower() != ".onnx" and _looks_like_onnx(head):
        return (
            "is an ONNX file, a whole model, whatever its name: rename it to end in .onnx, and "
            "give its path as the model, not as checkpoint"
        )
    return None

"""What files are, and which of them are read as images: held against files that others wrote."""

import builtins
import io
import os
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image, features

import freqlab as fl
from freqlab.errors import FaceSetError, LeftOutWarning
from freqlab.faces.table import decode_image
from freqlab.images import file_kinds
from freqlab.images.file_kinds import FORMATS, kind_of_file, readable_formats, suffix_of

# smooth, so that what is lost by compression is little
_Y, _X = np.mgrid[0:48, 0:64]
PIXELS = np.stack([3 * _X, 4 * _Y, 2 * (_X + _Y)], 2).astype(np.uint8)

WRITTEN = {
    ".jpg": ("JPEG", {"quality": 95}),
    ".jfif": ("JPEG", {"quality": 95}),
    ".mpo": ("MPO", {"quality": 95}),
    ".png": ("PNG", {}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".webp": ("WEBP", {"lossless": True}),
    ".bmp": ("BMP", {}),
    ".dib": ("DIB", {}),
    ".ppm": ("PPM", {}),
    ".gif": ("GIF", {}),
    ".jp2": ("JPEG2000", {}),
    ".avif": ("AVIF", {"quality": 95}),
    ".heic": ("HEIF", {"quality": 95}),
    ".tga": ("TGA", {}),
    ".pcx": ("PCX", {}),
    ".sgi": ("SGI", {}),
    ".qoi": ("QOI", {}),
    ".dds": ("DDS", {}),
}


def written(suffix):
    """A file of this ending as its encoder writes it; skips where there is none."""
    kind, options = WRITTEN[suffix]
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", WRITTEN)
def test_formats_of_photographs_are_found_and_read(tmp_path, suffix):
    place = tmp_path / "Ann"
    place.mkdir()
    (place / f"1{suffix}").write_bytes(written(suffix))
    (place / f"2{suffix.upper()}").write_bytes(written(suffix))
    faces = fl.load_faces(tmp_path)
    assert faces.names == [f"Ann/1{suffix}", f"Ann/2{suffix.upper()}"]
    assert (faces.left_out, faces.notes) == (0, ())
    found = faces.image(0).astype(int)
    assert found.shape == PIXELS.shape
    assert np.abs(found - PIXELS).mean() < 8  # a GIF has 256 colours


def test_every_ending_belongs_to_one_format_that_pillow_knows():
    Image.init()
    pytest.importorskip("pillow_heif").register_heif_opener()
    assert set(FORMATS) <= set(Image.OPEN)
    for name, suffixes in FORMATS.items():
        for suffix in suffixes:
            assert Image.EXTENSION[suffix] == {".mpo": "MPO"}.get(suffix, name)
    assert len(set(file_kinds.IMAGE_SUFFIXES)) == len(file_kinds.IMAGE_SUFFIXES)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO"])
def test_what_calls_a_program_or_is_no_photograph_is_never_opened(kind, monkeypatch):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind)
    for module in ("EpsImagePlugin", "IcoImagePlugin", "WmfImagePlugin"):
        plugin = pytest.importorskip(f"PIL.{module}")
        for name in ("EpsImageFile", "IcoImageFile", "WmfStubImageFile"):
            if hasattr(plugin, name):
                monkeypatch.setattr(f"PIL.{module}.{name}._open", _never)
    assert not {"EPS", "WMF", "FPX", "MIC", "MPEG", "ICO"} & set(readable_formats())
    with pytest.raises(OSError, match="PostScript|PDF|not an image in a supported format"):
        decode_image(stream.getvalue())


def _never(self):
    raise AssertionError("opened")


def test_postscript_in_the_place_of_a_photograph_runs_nothing(tmp_path):
    """Ghostscript itself, were it called: a program of this name stands first on the path."""
    for name in ("gs", "gswin64c", "gswin32c"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\nexit 1\n")
        program.chmod(0o755)
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "EPS")
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    code = (
        "import sys; from pathlib import Path; from freqlab.faces.table import decode_image\n"
        "try: decode_image(Path(sys.argv[1]).read_bytes())\n"
        "except OSError as error: print(error)\n"
    )
    path = f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.jpg"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "a PostScript document" in done.stdout
    assert not (tmp_path / "was-run").exists()


@pytest.fixture
def without_heif(monkeypatch):
    """As where pillow-heif is not installed."""
    Image.init()
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] == "pillow_heif":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    readable_formats.cache_clear()
    yield
    readable_formats.cache_clear()


def test_heic_without_its_plug_in_is_counted_and_the_plug_in_named(tmp_path, request):
    photograph = written(".heic")
    request.getfixturevalue("without_heif")
    place = tmp_path / "photos" / "Ann"
    place.mkdir(parents=True)
    for i in range(3):
        (place / f"{i}.HEIC").write_bytes(photograph)
    Image.fromarray(PIXELS).save(place / "4.png")
    with pytest.warns(
        LeftOutWarning, match=r"3 photographs .*heic: 3.*pip install 'freqlab\[heic\]'"
    ):
        faces = fl.load_faces(tmp_path / "photos")
    assert faces.names == ["Ann/4.png"]
    assert faces.left_out == 3
    (place / "4.png").unlink()
    with pytest.raises(FaceSetError, match=r"3 \.heic \(HEIC photographs need a plug-in"):
        fl.load_faces(tmp_path / "photos")
    with pytest.raises(OSError, match=r"a HEIC image: .*freqlab\[heic\]"):
        decode_image(photograph)


def test_what_is_left_out_is_counted_by_kind(tmp_path):
    place = tmp_path / "Ann"
    place.mkdir()
    Image.fromarray(PIXELS).save(place / "1.png")
    for name in ("2.CR2", "3.cr2", "4.jxl"):
        (place / name).write_bytes(b"raw")
    for name in ("notes.txt", "clip.mp4", "more.txt"):
        (place / name).write_bytes(b"text")
    Image.fromarray(PIXELS).save(place / "subject01.centerlight", "GIF")
    with pytest.warns(LeftOutWarning, match="4 photographs were left out"):
        faces = fl.load_faces(tmp_path)
    said = repr(faces)
    assert "extension .cr2: 2 (a raw photograph of a camera" in said
    assert "extension .jxl: 1 (a JPEG XL image: convert it" in said
    assert "extension .centerlight: 1 (a GIF image by its content; rename it" in said
    assert "not images: 1 .mp4, 2 .txt" in said
    assert faces.names == ["Ann/1.png"]


def archive(path):
    with tarfile.open(path, "w:gz" if path.suffix in (".tgz", ".gz") else "w") as file:
        file.add(__file__, "x.py")


def zipped(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "a")


def saved(kind):
    return lambda path: Image.fromarray(PIXELS).save(path, kind)


def text(content):
    return lambda path: path.write_text(content)


FILES = {
    "set.tar": (archive, "an archive"),
    "set.tgz": (archive, "an archive"),
    "set.tar.gz": (archive, "an archive"),
    "set.tar.xz": (lambda path: path.write_bytes(b"\xfd7zXZ\x00"), "an archive"),
    "set.zip": (zipped, "an archive"),
    "faces.csv": (zipped, "an archive"),
    "photo.jpg": (zipped, "an archive"),
    "pages.html": (text("<!DOCTYPE html>\n<html>"), "a web page"),
    "page.jpg": (text("  <html><body>404</body>"), "a web page"),
    "x.svg": (text("<svg xmlns='x'/>"), "a vector graphic or a document"),
    "lfs.png": (text("version https://git-lfs.github.com/spec/v1\noid"), "a Git LFS pointer"),
    "a.jpg": (saved("PNG"), "a PNG image"),
    "b.png": (saved("JPEG"), "a JPEG image"),
    "c.dat": (saved("TIFF"), "a TIFF image"),
    "d.xyz": (saved("WEBP"), "a WebP image"),
    "e": (saved("BMP"), "a BMP image"),
    "doc.pdf": (saved("PDF"), "a PDF document"),
    "doc.jpg": (saved("EPS"), "a PostScript document"),
    "arrays.npz": (lambda path: np.savez(path, a=PIXELS), "a file of arrays"),
    "array.npy": (lambda path: np.save(path, PIXELS), "a file of arrays"),
    "array.csv": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "a file of arrays"),
    "table.pkl": (lambda path: pd.DataFrame({"a": [1]}).to_pickle(path), "a file of arrays"),
    "pairs.txt": (text("10\t300\nAnn\t1\t4\n"), "a text file"),
    "faces": (text("Ann Bo\n"), "a text file"),
    "train.lst": (text("0\t1.0\tAnn/1.jpg\n"), "a list of MXNet"),
    "empty.jpg": (text(""), "empty"),
    "movie.bin2": (lambda path: path.write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2"), "a video"),
    "noise.qqq": (lambda path: path.write_bytes(b"\x01\x00\x02"), "a file of no known kind"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path, name):
    write, what = FILES[name]
    write(tmp_path / name)
    kind = kind_of_file(tmp_path / name)
    assert kind.what.startswith(what)
    assert kind.advice
    with pytest.raises(FaceSetError, match=f"{what}.*: "):
        fl.load_faces(tmp_path / name)


def test_weights_are_told(tmp_path):
    import torch

    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(FaceSetError, match="a model's weights: models are given by models="):
        fl.load_faces(tmp_path / "w.pt")


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("faces.csv", "odd.xyz"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(FaceSetError, match="not a regular file; a CSV file is expected"):
        fl.load_faces(tmp_path / "faces.csv")
    assert kind_of_file(tmp_path / "odd.xyz").what == "not a regular file"
    with pytest.raises(FaceSetError, match="not a regular file"):
        fl.load_faces(tmp_path / "odd.xyz")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.JPG", ".jpg"),
        ("a.jpg ", ".jpg"),
        ("a", ""),
        ("Dr. Ann Smith", ""),
        (".hidden", ""),
        ("a.tar.gz", ".gz"),
    ],
)
def test_endings(name, suffix):
    assert suffix_of(name) == suffix

"""Inputs that are wrong, and what freqlab makes of them; ``python tests/bad_inputs.py`` writes the
table of docs/bad_inputs.md.
"""

import io
import os
import pickle
import re
import struct
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from conftest import Linear, make_faces
from PIL import Image

import freqlab as fl
from freqlab.errors import FreqlabError
from freqlab.store.locking import locked

PAGE = Path(__file__).parents[1] / "docs" / "bad_inputs.md"
HEAD = """# What becomes of bad inputs

Each of these was tried, and this table is what came of it: `make bad-inputs` tries all again and
writes the page; a test holds the page against the trials. A bad *photograph* does not stop a run:
it gets a status, its pairs are NaN and counted as failures to acquire. Anything else that is wrong
is refused before a result is written, in words that say what is allowed.

| what | input | outcome |
|---|---|---|
"""
ELSEWHERE = "/nowhere"


def png_of(size, mode="RGB"):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).convert(
        mode
    ).save(stream, "PNG")
    return stream.getvalue()


def jpeg_of(mode="RGB", **options):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def bomb():
    """A file of 110 kB that claims 900 million pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", zlib.crc32(kind + data) & 0xFFFFFFFF)
        )

    side = 30_000
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def animated():
    stream = io.BytesIO()
    frames = [Image.fromarray(np.full((112, 112, 3), v, np.uint8)) for v in (40, 200)]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg_of(exif=exif)


def sixteen_bit():
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 65536, (112, 112)).astype(np.uint16)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


PHOTOGRAPHS = {
    "a sound photograph": ("sound.png", png_of((112, 112))),
    "zero bytes": ("empty.jpg", b""),
    "a JPEG cut off in its middle": ("cut.jpg", jpeg_of()[:3000]),
    "a JPEG cut off in its header": ("header.jpg", jpeg_of()[:30]),
    "a PNG whose end is trash": ("flipped.png", png_of((112, 112))[:5000] + b"!" * 9),
    "text named .jpg": ("text.jpg", b"this is no photograph\n"),
    "PostScript named .jpg": ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "HTML named .png": ("page.png", b"<html><script>alert(1)</script></html>"),
    "16 bits a pixel": ("sixteen.png", sixteen_bit()),
    "CMYK": ("cmyk.jpg", jpeg_of("CMYK")),
    "palette": ("palette.png", png_of((112, 112), "P")),
    "one bit a pixel": ("bit.png", png_of((112, 112), "1")),
    "an animation: its first picture counts": ("animated.webp", animated()),
    "turned by its EXIF orientation": ("turned.jpg", rotated()),
    "1 x 1 pixel": ("one.png", png_of((1, 1))),
    "one row of pixels": ("row.png", png_of((1, 300))),
    "30,000 x 30,000 pixels in 110 kB": ("bomb.png", bomb()),
    "Unicode in its name": ("Zoë 李 🙂.png", png_of((112, 112))),
    "a newline in its name": ("two\nlines.png", png_of((112, 112))),
    "a name that is no UTF-8": (os.fsdecode(b"latin-\xff.png"), png_of((112, 112))),
    "quotes and markup in its name": ("\"<b onclick='x'>.png", png_of((112, 112))),
    "a formula as its name": ("=1+1.png", png_of((112, 112))),
}


def photographs(folder):
    """Statuses of bad photographs, of one run over all of them."""
    place = folder / "faces" / "s"
    place.mkdir(parents=True)
    known = {}
    for what, (name, content) in PHOTOGRAPHS.items():
        (place / name).write_bytes(content)
        known[what] = name
    (place / "folder.jpg").mkdir()
    known["a folder named folder.jpg"] = "folder.jpg"
    (place / "loop.jpg").symlink_to(place / "loop.jpg")
    known["a link to itself"] = "loop.jpg"
    (place / "dangling.jpg").symlink_to(place / "nothing")
    known["a link to nothing"] = "dangling.jpg"
    os.mkfifo(place / "pipe.jpg")
    known["a named pipe"] = "pipe.jpg"
    (place / "gone.png").write_bytes(png_of((112, 112)))
    known["removed after the set was listed"] = "gone.png"
    faces = fl.load_faces(folder / "faces")
    (place / "gone.png").unlink()
    points = np.tile(np.array(fl.images.template("arcface").points), (len(faces), 1, 1))
    faces = fl.Faces(faces.table, landmarks=points, name="bad")
    pairs = fl.make_pairs(faces, seed=0)
    store = folder / "faces.zarr"
    result = fl.influence(
        faces, pairs, models=[fl.wrap_model(Linear(), name="m")], store=store, progress=False
    )
    status = fl.open_run(store)["faces"]["status"].to_series()
    shown = {os.fsencode(n).decode("utf-8", "backslashreplace"): what for what, n in known.items()}
    lost = set(status.index[status != "ok"])
    for pair in result["pair"].to_numpy():
        one = result.sel(pair=pair)
        failed = bool({str(one["probe"].item()), str(one["reference"].item())} & lost)
        assert bool(one["similarity"].isnull().all()) == failed
    found = {shown[name.split("/", 1)[1]]: text for name, text in status.items()}
    return [("photograph", what, f"status: {found[what]}; the run goes on") for what in known]


def deep_png(values, *chunks):
    """A grey PNG file of 16 bits, with further chunks before its pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", *values.shape[::-1], 16, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def image_files():
    """Files whose pixels are sound, or nearly."""
    ramp = np.resize(np.linspace(0, 1, 112), (112, 112))
    sound = png_of((112, 112))
    exif = b"eXIfMM\0*\0\0\0\x08\xff\xff"
    broken = struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif))
    floats = io.BytesIO()
    Image.fromarray(np.full((112, 112), np.nan, np.float32)).save(floats, "TIFF")
    clear = io.BytesIO()
    Image.fromarray(np.zeros((112, 112, 4), np.uint8)).save(clear, "PNG")
    palette = io.BytesIO()
    Image.open(io.BytesIO(png_of((112, 112), "P"))).save(
        palette, "PNG", transparency=bytes([0, 128, 255])
    )
    return {
        "transparent in every place": clear.getvalue(),
        "a palette whose colours are partly transparent": palette.getvalue(),
        "10 bits in 16, as an infrared camera writes": deep_png((1023 * ramp).astype(int)),
        "a thermal camera's narrow range of 16 bits": deep_png((7000 + 1500 * ramp).astype(int)),
        "floating-point numbers that are none": floats.getvalue(),
        "broken EXIF data": sound[:33] + broken + sound[33:],
        "text that is cut off": sound[:33] + struct.pack(">I", 999) + b"tEXta\0b" + sound[33:],
        "more pixels than allowed": bomb(),
    }


def list_images(folder):
    """What becomes of odd image files, and of landmarks that are mixed up."""
    orl = fl.load_faces("orl").select([0])
    sound = orl.landmarks[0]
    eyes, mouth, line = sound[[1, 0, 2, 3, 4]], sound[[3, 4, 2, 0, 1]], np.outer(range(5), [9, 7])
    mixed = {
        "landmarks with left and right eye swapped": eyes,
        "landmarks from the person's left and right": sound[[1, 0, 2, 4, 3]],
        "landmarks whose mouth lies above the eyes": mouth,
        "landmarks outside the photograph": sound + np.array([0, 200]),
        "five equal landmarks": sound * 0 + 50,
        "landmarks on one line": line + 20,
        "eyes two pixels apart": np.vstack([[[46, 50], [48, 50]], sound[2:]]),
        "a nose far off": np.vstack([sound[:2], [[88, 3]], sound[3:]]),
        "landmarks of a face upside down": np.array([91, 111]) - sound,
    }
    place = folder / "images"
    place.mkdir()
    points = np.array(fl.images.template("arcface").points)
    rows = []
    for i, (what, content) in enumerate(image_files().items()):
        (place / f"{i}.png").write_bytes(content)
        rows.append((what, str(place / f"{i}.png"), points))
    for what, landmarks in mixed.items():
        rows.append((what, orl.table["path"].iloc[0], landmarks))
    (place / "late.png").write_bytes(png_of((112, 112)))
    os.utime(place / "late.png", (13_569_465_600, 13_569_465_600))
    rows.append(("dated in the year 2400", str(place / "late.png"), points))
    rows.append(("a NUL character in its name", str(place / "a\0b.png"), points))
    rows.append(("several faces, which_face='only'", several_faces(place), points * np.nan))
    what, paths, landmarks = zip(*rows, strict=True)
    table = pd.DataFrame({"subject": "s", "path": paths}, index=[f"f{i}" for i in range(len(rows))])
    store, model = folder / "images.zarr", fl.wrap_model(Linear(), name="m")
    faces = fl.Faces(table, landmarks=np.stack(landmarks))
    fl.embed(faces, models=[model], store=store, which_face="only", progress=False)
    found = fl.open_run(store)["faces"].to_dataset()
    texts = []
    for name, status, note in zip(
        what, found["status"].to_numpy(), found["image_note"].to_numpy(), strict=True
    ):
        said = f" ({note})" if note else ""
        texts.append(("photograph", name, f"status: {status}{said}; the run goes on"))
    return texts


def several_faces(place):
    orl = fl.load_faces("orl")
    canvas = np.full((300, 400, 3), 128, np.uint8)
    canvas[90:202, 40:132], canvas[90:202, 240:332] = orl.image(0), orl.image(90)
    Image.fromarray(canvas).save(place / "several.png")
    return str(place / "several.png")


def hostile_pickle(path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {path}.was-run",)

    return Hostile()


def trials(folder):
    """What else is wrong: kind, input, and what to call."""
    faces = make_faces(n_subjects=3, per_subject=2)
    pairs = fl.make_pairs(faces, seed=0)
    model = fl.wrap_model(Linear(), name="m")
    store = folder / "run.zarr"
    fl.influence(faces, pairs, models=[model], store=store, name="r", progress=False)

    def file(name, content):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def table(**columns):
        return lambda: fl.influence(
            faces, pd.DataFrame(columns), models=[model], store=store, progress=False
        )

    def influence(**options):
        given = {"models": [model], "store": store, "progress": False, **options}
        return lambda: fl.influence(faces, pairs, **given)

    def load(name, content, **options):
        return lambda: fl.load_faces(file(name, content), **options)

    def other_model():
        fl.influence(faces, pairs, models=[fl.wrap_model(Linear(seed=1), name="m")], store=store)

    def other_subject():
        others = fl.Faces(
            faces.table.assign(subject=["x", *faces.subjects[1:]]),
            images=faces.images,
            aligned="arcface",
        )
        fl.influence(others, fl.make_pairs(others), models=[model], store=store)

    weights = {"w": torch.zeros(2)}
    torch.save(weights, folder / "other.pt")
    with (folder / "hostile.pt").open("wb") as stream:
        torch.save({"w": hostile_pickle(folder / "hostile.pt")}, stream)
    (folder / "hostile.bin").write_bytes(pickle.dumps(hostile_pickle(folder / "hostile.bin")))
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").write_text("mine")
    flipped = folder / "flipped.zarr"
    fl.influence(faces, pairs, models=[model], store=flipped, name="r", progress=False)
    chunk = flipped / "embeddings/m/intact/embedding/c/0/0"
    content = bytearray(chunk.read_bytes())
    content[9] ^= 1
    chunk.write_bytes(content)
    one, two = faces.names[0], faces.names[1]
    nan = float("nan")
    return [
        ("faces", "an empty CSV file", load("empty.csv", "")),
        ("faces", "a CSV file without subjects", load("nosubject.csv", "path\na.png\n")),
        (
            "faces",
            "a CSV file of no rows, in UTF-16",
            load("no.csv", "path,subject\n".encode("utf-16")),
        ),
        ("faces", "a CSV row without a path", load("nopath.csv", "path,subject\n,a\n")),
        ("faces", "a face twice", load("twice.csv", "path,subject\na.png,a\na.png,a\n")),
        ("faces", "a path above the table", load("above.csv", "path,subject\n../a.png,a\n")),
        ("faces", "an absolute path", load("abs.csv", f"path,subject\n{ELSEWHERE}/a.png,a\n")),
        ("faces", "a folder that is not there", lambda: fl.load_faces(folder / "absent")),
        ("faces", "a misspelt set", lambda: fl.load_faces("orll")),
        ("faces", "a .bin that is text", load("text.bin", "no pickle")),
        ("faces", "a .bin that would run a program", lambda: fl.load_faces(folder / "hostile.bin")),
        (
            "faces",
            "a column with a slash",
            lambda: fl.Faces(faces.table.assign(**{"a/b": 1}), images=faces.images),
        ),
        ("pairs", "an unknown face", table(probe=["who"], reference=[one], genuine=[True])),
        ("pairs", "a face with itself", table(probe=[one], reference=[one], genuine=[True])),
        (
            "pairs",
            "genuine, but two people",
            table(probe=[one], reference=[faces.names[-1]], genuine=[True]),
        ),
        ("pairs", "no genuine column", table(probe=[one], reference=[two])),
        ("pairs", "no pairs", table(probe=[], reference=[], genuine=[])),
        (
            "pairs",
            "a list that is none",
            lambda: fl.read_pairs(file("pairs.txt", "\x00\x01\n"), faces),
        ),
        ("bands", "a width of nothing", lambda: fl.rings(width=0)),
        ("bands", "a negative width", lambda: fl.rings(width=-4)),
        ("bands", "a width that is no number", lambda: fl.rings(width=nan)),
        ("bands", "text that is none", influence(bands="rings:four")),
        ("bands", "an unknown kind", influence(bands="rungs:4")),
        ("bands", "none at the input size", influence(bands=fl.rings(edges=[400, 420]))),
        *kinds_of_bands(influence),
        (
            "checkpoint",
            "not there",
            lambda: fl.load_model("elasticface", checkpoint=folder / "absent.pt"),
        ),
        (
            "checkpoint",
            "text",
            lambda: fl.load_model("elasticface", checkpoint=file("text.pt", "no weights")),
        ),
        (
            "checkpoint",
            "of another network",
            lambda: fl.load_model("elasticface", checkpoint=folder / "other.pt"),
        ),
        (
            "checkpoint",
            "one that would run a program",
            lambda: fl.load_model("elasticface", checkpoint=folder / "hostile.pt"),
        ),
        ("checkpoint", "a misspelt model", lambda: fl.load_model("mobilefacenets")),
        (
            "checkpoint",
            "an ONNX file that is text",
            lambda: fl.load_model(file("text.onnx", "no graph")),
        ),
        ("run", "a batch of nothing", influence(batch_size=0)),
        ("run", "half an image per batch", influence(batch_size=2.5)),
        ("run", "an unknown side", influence(sides=["left"])),
        ("run", "a name with a slash", influence(name="a/b")),
        ("run", "an unknown device", influence(device="gpu")),
        ("run", "an unknown which_face", influence(which_face="biggest")),
        (
            "run",
            "a smallest face larger than the photograph",
            lambda: fl.images.detect_faces([np.zeros((9, 9, 3), np.uint8)], smallest_face=2),
        ),
        ("store", "a NUL character in its path", influence(store="a\0b.zarr")),
        (
            "run",
            "a network that returns NaN",
            influence(
                models=[fl.wrap_model(lambda x: x.flatten(1)[:, :8] * nan, name="nan", version="1")]
            ),
        ),
        (
            "run",
            "a network that returns zeros",
            influence(
                models=[fl.wrap_model(lambda x: x.flatten(1)[:, :8] * 0, name="zero", version="1")]
            ),
        ),
        ("store", "a file", influence(store=file("file.zarr", "mine"))),
        ("store", "a folder of something else", influence(store=folder / "other")),
        ("store", "another model by the same name", other_model),
        ("store", "another subject by the same face", other_subject),
        (
            "store",
            "a changed bit in a chunk",
            lambda: fl.influence(
                faces, pairs, models=[model], store=flipped, name="s", progress=False
            ),
        ),
        ("store", "opening what is not there", lambda: fl.open_run(folder / "absent.zarr")),
        ("store", "opening an unknown node", lambda: fl.open_run(store, nodes=["face"])),
        ("store", "forgetting who is not there", lambda: fl.store.forget(store, subject="nobody")),
        ("report", "an unknown report", lambda: fl.report("explode", out=folder)),
        ("report", "an unknown parameter", lambda: fl.report("explore", out=folder, n_pear=3)),
        (
            "report",
            "a parameter that is no plain value",
            lambda: fl.report("explore", out=folder, bands=object()),
        ),
    ]


def kinds_of_bands(influence):
    """Declarations of sectors, subbands of wavelets and label maps that are wrong."""
    plane = np.zeros((112, 112))
    halves = np.where(np.fft.fftfreq(112) > 0, 1, 0) + plane
    overlapping = np.ones((2, 112, 112), bool)
    return [
        ("bands", "a misspelt kind", influence(bands="sector:8")),
        ("bands", "sectors without their number", influence(bands="sectors")),
        ("bands", "sectors whose number is a word", influence(bands="sectors:eight")),
        ("bands", "one sector", influence(bands="sectors:1")),
        ("bands", "polar bands without their sectors", influence(bands="polar:8")),
        ("bands", "polar bands of one sector", influence(bands="polar:8x1")),
        ("bands", "polar bands with a comma", influence(bands="polar:8,8")),
        ("bands", "mirrored in another spelling", influence(bands="sectors:8:mirrored")),
        ("bands", "octaves with one limit", influence(bands="octaves:2")),
        ("bands", "an unknown wavelet", influence(bands="wavelets:db2x:3")),
        ("bands", "a continuous wavelet", influence(bands="wavelets:morl:3")),
        ("bands", "no scale of a wavelet", influence(bands="wavelets:db2:0")),
        ("bands", "too many scales of a wavelet for the crop", influence(bands="wavelets:db2:9")),
        ("bands", "wavelets within channels", influence(bands="channels:wavelets:db2:3")),
        ("bands", "a file of labels that is not there", influence(bands="custom:absent.npy")),
        ("bands", "overlapping masks", lambda: fl.custom(overlapping)),
        ("bands", "labels that are NaN", lambda: fl.custom(plane + float("nan"))),
        ("bands", "labels that are fractions", lambda: fl.custom(plane + 0.5)),
        ("bands", "labels with a gap", lambda: fl.custom(2 * np.abs(halves - halves.T) + plane)),
        ("bands", "labels that are not symmetric", lambda: fl.custom(halves)),
        ("bands", "a map of another size", influence(bands=fl.custom(plane[:96, :96]))),
    ]


def file_trials(folder):
    """Files and folders that are taken for what they are not."""
    import shutil
    import zipfile

    place = folder / "files"
    (place / "shots").mkdir(parents=True)

    def load(name, content, **options):
        path = place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return lambda: fl.load_faces(path, **options)

    def set_in(name, content):
        path = place / name
        path.write_bytes(content)
        return lambda: fl.load_faces("lfw", root=path)

    (place / "shots" / "a.png").write_bytes(png_of((8, 8)))
    shutil.make_archive(str(place / "lfw"), "gztar", place / "shots")
    with zipfile.ZipFile(place / "sheet.xlsx", "w") as book:
        book.writestr("[Content_Types].xml", "<Types/>")
    sheet = (place / "sheet.xlsx").read_bytes()
    tar = (place / "lfw.tar.gz").read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    load("records/train.rec", b"\x0a\x23\xd7\xce")
    load("records/train.idx", b"0\t0\n")
    run = folder / "run.zarr"
    spelled = str(place / "shots").replace("shots", "Shots")
    return [
        ("faces", "an archive", load("lfw.tgz", tar)),
        ("faces", "an archive as a set's root", set_in("lfw.tar.gz", tar)),
        ("faces", "MXNet records", load("train.rec", b"\x0a\x23\xd7\xce")),
        ("faces", "a folder of MXNet records", lambda: fl.load_faces(place / "records")),
        ("faces", "a spreadsheet", load("sheet.xlsx", sheet)),
        ("faces", "a spreadsheet named .csv", load("sheet.csv", sheet)),
        ("faces", "a Parquet table", load("train.parquet", b"PAR1")),
        ("faces", "a JSON file", load("faces.json", "[]")),
        ("faces", "a list of pairs", load("pairs.txt", "10 300\nAnn 1 4\n")),
        ("faces", "one photograph", load("photograph.png", png_of((8, 8)))),
        ("faces", "weights", load("weights.onnx", b"\x08\x07")),
        ("faces", "a web page named .csv", load("page.csv", "<!DOCTYPE html><html></html>")),
        ("faces", "a Git LFS pointer named .csv", load("pointer.csv", pointer)),
        ("faces", "a run's store", lambda: fl.load_faces(run)),
        ("faces", "an address", lambda: fl.load_faces("https://example.org/lfw.tgz")),
        ("faces", "a folder in other letters", lambda: fl.load_faces(spelled)),
        ("faces", "a folder of loose photographs", lambda: fl.load_faces(place / "shots")),
        (
            "faces",
            "a path above the table with backslashes",
            load("windows.csv", "path,subject\n..\\a.png,a\n"),
        ),
        (
            "faces",
            "a CSV file with fewer names than columns",
            load("ragged.csv", "path,subject\na.png,a,b\n"),
        ),
    ]


def model_trials(folder):
    """Files given as models that are none, or would harm."""
    place = folder / "models"
    place.mkdir()

    def weights(name, content):
        (place / name).write_bytes(content)
        return lambda: fl.load_model("arcface", checkpoint=place / name)

    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 174412345\n"
    os.mkfifo(place / "pipe.pt")
    (place / "endless.pt").symlink_to("/dev/zero")
    with (
        zipfile.ZipFile(place / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a/data.pkl", "w") as entry,
    ):
        for _ in range(400):
            entry.write(bytes(1 << 20))
    zeros = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x10\x85R."
    nested = b"\x80\x02)" + b"q\0h\0\x86" * 64 + b"."
    torch.save({"first": {"w": torch.zeros(2)}, "second": {"w": torch.ones(2)}}, place / "two.pt")
    pair = fl.wrap_model(lambda x: {"embedding": x, "norm": x}, name="dictionary", version="1")
    kinds = {
        "an empty file": ("empty.pt", b""),
        "a pointer of Git LFS": ("lfs.pt", pointer),
        "a web page": ("page.pt", b"<!DOCTYPE html><html>log in</html>"),
        "HDF5, as of Keras": ("keras.pt", b"\x89HDF\r\n\x1a\n" + bytes(64)),
        "TensorFlow Lite": ("lite.pt", b"\x1c\0\0\0TFL3" + bytes(64)),
        "parameters of MXNet": ("mx.pt", b"\x12\x01" + bytes(70)),
        "packed with gzip": ("packed.pt", b"\x1f\x8b" + bytes(64)),
        "a pickle that asks for gigabytes": ("zeros.pt", zeros),
        "a pickle of tuples in tuples": ("nested.pt", nested),
    }
    return [
        *(("checkpoint", what, weights(*given)) for what, given in kinds.items()),
        *(
            (
                "checkpoint",
                what,
                lambda name=name: fl.load_model("arcface", checkpoint=place / name),
            )
            for what, name in (
                ("a named pipe", "pipe.pt"),
                ("a link to a device", "endless.pt"),
                ("400 MB packed into 400 kB", "bomb.pt"),
                ("two networks without a name known", "two.pt"),
            )
        ),
        ("model", "a folder without weights", lambda: fl.load_model(folder / "other")),
        (
            "model",
            "a function that returns a dictionary",
            lambda: pair(torch.zeros(1, 3, 112, 112)),
        ),
    ]


def list_trials(folder):
    """Lists of pairs and sets as others lay them out; what is read in part says what it left."""
    names = [f"{who}/{who}_{i:04d}.jpg" for who in ("Ann", "Cy") for i in (1, 2, 3)]
    subjects = [name.split("/")[0] for name in names]
    faces = fl.Faces(
        pd.DataFrame({"subject": subjects, "path": names}, index=pd.Index(names, name="face")),
        name="made",
    )
    sound = "Ann/Ann_0001.jpg Ann/Ann_0002.jpg 1\nAnn/Ann_0001.jpg Cy/Cy_0001.jpg 0\n"

    def read(text, **options):
        path = folder / "list.txt"
        return lambda: (path.write_text(text), fl.read_pairs(path, faces, **options))

    def tree(name, *paths, **options):
        root = folder / f"tree-{name}-{len(paths)}"
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(png_of((8, 8)))
        return lambda: fl.load_faces(name, root=root)

    sequences = "original_sequences/youtube/c23", "manipulated_sequences/Deepfakes/c23"
    utkface = [f"{30 + i}_{i % 2}_2_2017010402310242{i}.jpg" for i in range(9)]
    turned = sound.replace(" 0\n", " 2\n").replace(" 1\n", " 0\n").replace(" 2\n", " 1\n")
    itself = "Ann/Ann_0003.jpg Ann/Ann_0003.jpg 1\n"
    against = "Ann/Ann_0003.jpg Cy/Cy_0003.jpg 1\n"
    return [
        ("list", "a face with itself", read(sound + itself)),
        ("list", "a face with itself, strict", read(sound + itself, strict=True)),
        ("list", "a label against the subjects", read(sound + against)),
        ("list", "labels the wrong way round", read(turned)),
        ("list", "a pair twice", read(sound + sound[:36])),
        ("list", "a face that the set lacks", read(sound + "Di/Di_0001 Cy/Cy_0001 0\n")),
        ("list", "a label that is none", read(sound + "Ann/Ann_0003.jpg Cy/Cy_0003.jpg x\n")),
        ("list", "a score in the place of a label", read(sound.replace("1\n", "0.7\n"))),
        (
            "list",
            "folders and suffixes of another name",
            read(re.sub(r"(\w+/\w+)\.jpg", r"raw/\1_hq.png", sound)),
        ),
        ("list", "capitals", read(sound.lower())),
        ("list", "people and how many images", read("Ann\t3\nCy\t3\n")),
        ("list", "numbers of templates", read("1 11065 1\n2 42 0\n")),
        (
            "set",
            "UTKFace names without a field",
            tree("utkface", *utkface, "61_1_20170109142408075.jpg"),
        ),
        (
            "set",
            "UTKFace names with unknown codes",
            tree("utkface", "26_7_9_20170104023102422.jpg"),
        ),
        (
            "set",
            "masks beside frames",
            tree(
                "faceforensics",
                f"{sequences[0]}/frames/000/000.png",
                f"{sequences[1]}/frames/000_003/000.png",
                f"{sequences[1]}/masks/000_003/000.png",
            ),
        ),
        (
            "set",
            "frames in folders of two names",
            tree(
                "faceforensics",
                f"{sequences[0]}/crops/000/000.png",
                f"{sequences[0]}/faces/000/000.png",
            ),
        ),
    ]


def places(folder):
    """Stores where none can be, and locks that are not to be had."""
    faces = make_faces(n_subjects=2, per_subject=2)
    pairs = fl.make_pairs(faces, seed=0)
    model = fl.wrap_model(Linear(), name="m")
    (folder / "parent").write_text("mine")
    (folder / "dangling.zarr").symlink_to(folder / "nowhere.zarr")
    (folder / "linked.zarr.lock").symlink_to(folder / "parent")
    held = folder / "held.zarr"
    fl.influence(faces, pairs, models=[model], store=held, name="r", progress=False)

    def at(store):
        return lambda: fl.influence(faces, pairs, models=[model], store=store, progress=False)

    def while_held(call):
        def held_meanwhile():
            with locked(held):
                call()

        return held_meanwhile

    return [
        ("store", "below a file", at(folder / "parent" / "run.zarr")),
        ("store", "a name of 300 letters", at(folder / ("x" * 300))),
        ("store", "a name with a NUL", at("run\0.zarr")),
        ("store", "no name", at("")),
        ("store", "a device", at("/dev/full")),
        ("store", "below a device", at("/dev/null/run.zarr")),
        ("store", "a link to nothing", at(folder / "dangling.zarr")),
        ("store", "an address as a Path", at(Path("s3://bucket/run.zarr"))),
        ("store", "an unknown protocol", at("carrier-pigeon://run.zarr")),
        ("store", "its lock file is a link", at(folder / "linked.zarr")),
        ("store", "another writer, by file://", while_held(at(f"file://{held}"))),
        ("store", "unlocking while its run lives", while_held(lambda: fl.store.unlock(held))),
    ]


def improvement_trials(folder):
    """Results from which nothing can be learnt about decisions."""
    faces = make_faces(n_subjects=3, per_subject=2)
    model = fl.wrap_model(Linear(), name="m")
    intact = folder / "intact.zarr"
    fl.embed(faces, models=[model], store=intact, progress=False)
    result = fl.open_influence(folder / "run.zarr", "r").load()
    genuine = result["genuine"].to_numpy()
    subjects = np.unique(
        [result[f"{end}_subject"].to_numpy().astype(str) for end in ("probe", "reference")],
        return_inverse=True,
    )[1].reshape(2, -1)
    similarity = result["similarity"].to_numpy()[0].astype(float)

    def calibrate(given, **options):
        return lambda: fl.improve.calibrate(given, **options)

    def compare(score, **options):
        scores = {"similarity": similarity, "mine": score}
        given = {"baseline": "similarity", "fmrs": [0.5], "n_draws": 9} | options
        return lambda: fl.improve.gains(scores, genuine, subjects, **given)

    def study(**options):
        given = {"models": [model], "store": folder / "run.zarr", "progress": False} | options
        return lambda: fl.improve.study(faces, **given)

    return [
        ("improve", "too few people for the folds", study()),
        ("improve", "too few people for a fit", calibrate(result)),
        ("improve", "two folds", calibrate(result, folds=2)),
        ("improve", "no impostor pairs", calibrate(result.isel(pair=genuine))),
        (
            "improve",
            "pairs that are all NaN",
            calibrate(result.assign(similarity=result["similarity"] * np.nan)),
        ),
        (
            "improve",
            "a constant similarity",
            calibrate(result.assign(similarity=result["similarity"] * 0)),
        ),
        ("improve", "a prior that is certain", calibrate(result, prior=1.0)),
        ("improve", "a constant score", compare(similarity * 0 + 1)),
        ("improve", "a score of other pairs", compare(similarity[1:])),
        ("improve", "a score that is all NaN", compare(similarity * np.nan)),
        ("improve", "a misspelt baseline", compare(similarity, baseline="similarty")),
        (
            "improve",
            "a model whose bands were not embedded",
            lambda: fl.improve.band_quality(intact, model="m"),
        ),
        (
            "improve",
            "a quality of other faces",
            lambda: fl.improve.error_discard(result, pd.DataFrame({"mine": [1.0]}, index=["x"])),
        ),
        ("improve", "a gallery of nobody", lambda: fl.identify(faces, models=[model], gallery=[])),
        (
            "improve",
            "a probability of a similarity",
            lambda: fl.results.describe_pair(
                result, pair=int(result["pair"][0]), model="m", fmr=0.1, calibration=0.5
            ),
        ),
    ]


def outcome_with_warnings(call, folder):
    """What a call raises, or what it warns of where it reads on."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = outcome(call, folder)
    if found != "accepted" or not said:
        return found
    return f"read on, with a warning: {shortened(str(said[0].message), folder)}"


def list_persons(folder):
    """Places of stores and reports that cannot be, and people who cannot be removed."""
    (folder / "places" / "mine").mkdir(parents=True)
    (folder / "places" / "file").write_text("mine")
    (folder / "places" / "mine" / "explore.ipynb").write_text("mine")
    pixels = np.random.default_rng(0).integers(0, 255, (4, 112, 112, 3), np.uint8)
    table = pd.DataFrame({"subject": ["a", "a", "b", "b"], "donor": ["", "", "", "a"]})
    given = {"images": list(pixels), "aligned": "arcface"}
    faces = fl.Faces(table, **given)
    model = fl.wrap_model(lambda x: x.flatten(1)[:, :8], name="first", version="1")
    store = folder / "persons.zarr"

    def embed(store):
        return lambda: fl.embed(faces, models=[model], store=store, progress=False)

    embed(store)()
    place = folder / "places"
    return [
        (
            "faces",
            "a column of people that is not there",
            lambda: fl.Faces(table, names_people=["doner"], **given),
        ),
        (
            "faces",
            "columns of people that are no list",
            lambda: fl.Faces(table, names_people="donor", **given),
        ),
        ("store", "forgetting nobody", lambda: fl.store.forget(store, subject="")),
        (
            "store",
            "forgetting by a column that is not there",
            lambda: fl.store.forget(store, subject="a", people=["doner"]),
        ),
        ("report", "a file as the folder", lambda: fl.report("explore", out=place / "file")),
        ("report", "a folder without a name", lambda: fl.report("explore", out="")),
        (
            "report",
            "a folder that holds a notebook of the same name",
            lambda: fl.report("explore", out=place / "mine"),
        ),
    ]


def outcome(call, folder):
    """What a call raises, in words that are the same everywhere."""
    try:
        call()
    except FreqlabError as error:
        text = shortened(str(error), folder)
        return f"`{type(error).__name__}`: {text}"
    return "accepted"


def shortened(text, folder):
    """The first sentence of a message, in words that are the same everywhere."""
    text = " ".join(text.replace(str(folder), "…").replace("x" * 300, "x…x").split())
    text = re.sub(r"process \d+ on .*?UTC", "process … on …", text)
    text = re.sub(r"0x[0-9a-f]+|\((SHA|[a-z]+Error)[^)]*\)", "…", text)
    text = re.split(r"(?<=[a-z\d'\]…)]); |(?<=[a-z…)'])[.:] (?=[A-Z])", text)[0]
    text = re.split(r" \(Expected|: \[ONNX", text)[0]  # words of others change
    return text if len(text) <= 180 else f"{text[:179]}…"


def rows(folder):
    """All trials, made."""
    found = photographs(folder) + list_images(folder)
    tried = [*trials(folder), *file_trials(folder), *places(folder), *model_trials(folder)]
    tried += [*list_persons(folder), *improvement_trials(folder)]
    found += [(kind, what, outcome(call, folder)) for kind, what, call in tried]
    return found + [
        (kind, what, outcome_with_warnings(call, folder))
        for kind, what, call in list_trials(folder)
    ]


def page(found):
    """The page that holds the table."""
    lines = [
        f"| {kind} | {what} | {text.replace('|', chr(92) + '|').replace('<', '&lt;')} |"
        for kind, what, text in found
    ]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(rows(Path(folder).resolve())), encoding="utf-8")

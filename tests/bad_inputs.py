"""Inputs that are wrong, and what freqlab makes of them; ``python tests/bad_inputs.py`` writes the
table of docs/bad_inputs.md.
"""

import io
import os
import pickle
import re
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from conftest import Linear, make_faces
from PIL import Image

import freqlab as fl
from freqlab.errors import FreqlabError

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
    points = np.tile(np.array(fl.templates.template("arcface").points), (len(faces), 1, 1))
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
        ("faces", "a CSV file in UTF-16", load("wide.csv", "path,subject\n".encode("utf-16"))),
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
        ("store", "forgetting who is not there", lambda: fl.forget(store, subject="nobody")),
        ("report", "an unknown report", lambda: fl.report("explode", out=folder)),
        ("report", "an unknown parameter", lambda: fl.report("explore", out=folder, n_pear=3)),
        (
            "report",
            "a parameter that is no plain value",
            lambda: fl.report("explore", out=folder, bands=object()),
        ),
    ]


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
        ("store", "below a file", embed(place / "file" / "run.zarr")),
        ("store", "a path that is empty", embed("")),
        ("store", "a path with a NUL", embed("a\0b")),
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
        ("store", "forgetting nobody", lambda: fl.forget(store, subject="")),
        (
            "store",
            "forgetting by a column that is not there",
            lambda: fl.forget(store, subject="a", people=["doner"]),
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
        text = " ".join(str(error).replace(str(folder), "…").split())
        text = re.sub(r"0x[0-9a-f]+|\((SHA|[a-z]+Error)[^)]*\)", "…", text)
        text = re.split(r"(?<=[a-z\d'\]…)]); |(?<=[a-z…)'])[.:] (?=[A-Z])", text)[0]
        text = re.split(r" \(Expected|: \[ONNX", text)[0]  # words of others change
        text = text if len(text) <= 180 else f"{text[:179]}…"
        return f"`{type(error).__name__}`: {text}"
    return "accepted"


def rows(folder):
    """All trials, made."""
    found, calls = photographs(folder), trials(folder) + list_persons(folder)
    return found + [(kind, what, outcome(call, folder)) for kind, what, call in calls]


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

"""Small stores that several tests make, look into, and damage."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import zarr
from conftest import Linear, make_faces

import freqlab as fl


def run(store, n_subjects=3, **options):
    faces = make_faces(n_subjects=n_subjects, per_subject=2)
    model = fl.wrap_model(Linear(), name="linear")
    pairs = fl.make_pairs(faces, seed=0)
    given = {"models": [model], "bands": "rings:28", "progress": False, **options}
    return fl.influence(faces, pairs, store=store, **given)


def flip(file, seed=0):
    content = bytearray(file.read_bytes())
    content[seed % len(content)] ^= 0x10
    file.write_bytes(content)


def halve(file, seed=0):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def empty(file, seed=0):
    file.write_bytes(b"")


def remove(file, seed=0):
    file.unlink()


def make_older(store):
    """Take away what earlier versions did not write."""
    shutil.rmtree(store / "digests")
    root = json.loads((store / "zarr.json").read_text())
    del root["attributes"]["store_id"]
    (store / "zarr.json").write_text(json.dumps(root))


def faces_of(n_subjects=14):
    return make_faces(n_subjects=n_subjects, per_subject=3)


def compute(store, faces=None, pairs=None, **options):
    faces = faces or faces_of()
    model = fl.wrap_model(Linear(), name="linear")
    pairs = fl.make_pairs(faces, seed=0) if pairs is None else pairs
    options = {"name": "r", "progress": False, **options}
    return fl.influence(faces, pairs, models=[model], store=store, **options)


def chunk_files(store):
    return sorted(file for file in store.rglob("*") if file.is_file() and "/c/" in str(file))


def contents(store):
    """Every chunk, decoded, by its place in the store."""
    return {
        str(file.relative_to(store)): file.read_bytes()
        for file in chunk_files(store)
        if "file_mtime" not in str(file)
    }


def everything_decoded(store):
    """All decoded values of a store, by array, with what lies beyond the edges."""
    copy = Path(f"{store}.decoded")
    shutil.copytree(store, copy)
    found = {}

    def walk(group):
        for _, array in group.arrays():
            whole = [-(-n // c) * c for n, c in zip(array.shape, array.chunks, strict=True)]
            if whole != list(array.shape):
                array.resize(tuple(whole))
            found[array.path] = np.asarray(array[...])
        for _, child in group.groups():
            walk(child)

    walk(zarr.open_group(copy, mode="r+"))
    shutil.rmtree(copy)
    return found


def texts(store):
    """All text of a store: decoded values and the descriptions, without digests in base64."""
    digest = re.compile(r'"[A-Za-z0-9+/]{22}"')  # any two letters may stand in one
    parts = [digest.sub('""', file.read_text()) for file in Path(store).rglob("zarr.json")]
    for values in everything_decoded(store).values():
        if values.dtype.kind == "T":
            parts += [str(value) for value in values.ravel()]
    return "\n".join([*parts, *(str(file) for file in Path(store).rglob("*"))])

"""What holds for any bands, pairs and stores, and readers that no bytes make stumble."""

import collections
import json
import os
import pickle
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import freqlab as fl
from freqlab.bands import spectrum
from freqlab.datasets.insightface_bin import read_bin
from freqlab.errors import (
    FaceSetError,
    FreqlabError,
    PairError,
    UnsafePickleError,
    WeightsError,
)
from freqlab.images.dlib_format import DlibReader
from freqlab.models.pickles import read_pickled_module
from freqlab.store.locking import locked
from freqlab.store.run_store import RunStore

SIZES = st.tuples(st.integers(8, 64), st.integers(8, 64))
SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=40)
@given(size=SIZES, width=st.floats(0.5, 40), seed=SEEDS)
def test_bands_divide_the_plane(size, width, seed):
    bands = fl.rings(width=width)
    labels = torch.from_numpy(bands.label_map(*size))
    assert labels.shape == (size[0], size[1] // 2 + 1)
    assert labels[0, 0] == -1  # the mean is in no band
    inside = labels.flatten()[1:]
    assert ((inside >= 0) & (inside < len(bands))).all()
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(1, 3, *size, generator=generator, dtype=torch.float64)
    # parts add up to the whole, and their energies to its variance
    parts = torch.stack(
        [image - spectrum.remove(image, labels, [band]) for band in range(len(bands))]
    )
    mean = image.mean(dim=(-2, -1), keepdim=True)
    torch.testing.assert_close(parts.sum(dim=0) + mean, image, rtol=0, atol=1e-9)
    energy = parts.square().mean(dim=(-3, -2, -1)).sum(dim=0)
    torch.testing.assert_close(energy, (image - mean).square().mean(dim=(-3, -2, -1)))


@given(st.one_of(st.text(), st.from_regex(r"(rings|octaves):[-+.e\d]{0,8}(:\w{0,12})?")))
def test_texts_of_bands_are_read_or_refused(text):
    try:
        bands = fl.parse_bands(text)
    except FreqlabError:
        return
    assert len(bands) >= 1
    assert (np.diff(bands.bounds, axis=1) > 0).all()


@st.composite
def face_sets(draw):
    """Names, subjects and numbers of a few faces, of any text."""
    names = draw(st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=12, unique=True))
    people = draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4, unique=True))
    subjects = [draw(st.sampled_from(people)) for _ in names]
    ages = [draw(st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))) for _ in names]
    notes = [draw(st.one_of(st.none(), st.text(max_size=9))) for _ in names]
    table = pd.DataFrame({"subject": subjects, "age": ages, "note": notes}, index=names)
    return table.astype({"age": float})


def faces_of(table):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(table), 16, 16, 3), dtype=np.uint8)
    return fl.Faces(table, images=images)


@given(table=face_sets(), rate=st.floats(0, 5), seed=st.integers(0, 100))
def test_pairs_by_brute_force(table, rate, seed):
    faces = faces_of(table)
    subject = dict(zip(faces.names, faces.subjects, strict=True))
    genuine = {
        frozenset((a, b))
        for a in faces.names
        for b in faces.names
        if a < b and subject[a] == subject[b]
    }
    try:
        pairs = fl.make_pairs(faces, impostors_per_genuine=rate, seed=seed)
    except FreqlabError:
        assert not genuine or len(set(subject.values())) == 1
        return
    drawn = [frozenset(pair) for pair in zip(pairs["probe"], pairs["reference"], strict=True)]
    assert len(set(drawn)) == len(drawn)
    for pair, is_genuine in zip(drawn, pairs["genuine"], strict=True):
        assert len(pair) == 2
        assert (len({subject[name] for name in pair}) == 1) == is_genuine
    assert {pair for pair, g in zip(drawn, pairs["genuine"], strict=True) if g} == genuine


def write_rows_in_any_order(store, table, seed):
    """Add all faces, write rows of a node again and again, and see that they come out."""
    rows = store.add_faces(faces_of(table))
    assert list(store.read(store.faces, "face")[rows]) == list(table.index)
    faces = fl.open_run(store.url)["faces"]
    assert list(faces["subject"].to_numpy()[rows]) == list(table["subject"])
    if table["note"].notna().any():
        kept = faces["note"].to_numpy()[rows]
        assert list(kept) == list(table["note"].fillna(""))
    if table["age"].notna().any():
        np.testing.assert_array_equal(faces["age"].to_numpy()[rows], table["age"])
    # rows in any order, some of them, again and again
    rng = np.random.default_rng(seed)
    column = fl.store.layout.Column(("feature",), (3,), "float32", float("nan"))
    node = store.require_node("embeddings/m/x", {"embedding": column}, identity={})
    expected = np.full((len(table), 3), np.nan, np.float32)
    for _ in range(4):
        some = rng.permutation(len(table))[: rng.integers(1, len(table) + 1)]
        values = rng.normal(size=(len(some), 3)).astype(np.float32)
        store.write_rows(node, some, {"embedding": values}, np.ones(len(some), np.int8))
        expected[some] = values
    np.testing.assert_array_equal(store.read(node, "embedding"), expected)
    done = np.isfinite(expected).all(axis=1)
    np.testing.assert_array_equal(store.read(node, "status") == 1, done)


@pytest.mark.slow
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(table=face_sets(), cut=st.integers(0, 12), block=st.integers(1, 5), seed=SEEDS)
def test_what_goes_into_a_store_comes_out(table, cut, block, seed):
    with tempfile.TemporaryDirectory() as folder:
        first = table.iloc[: min(cut, len(table)) or 1]
        url = os.path.join(folder, "run.zarr")
        with locked(url) as lock:  # as every writer does: the record of a store has one at a time
            RunStore(url, block_size=block, lock=lock).add_faces(faces_of(first))
        with locked(url) as lock:
            write_rows_in_any_order(RunStore(url, lock=lock), table, seed)
        found = fl.store.check(url)
        assert found.empty, found.to_string()


def pickled_module():
    """A module as PyTorch wrote it before 1.6, small."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "module.pth")
        module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        torch.save(module, file, _use_new_zipfile_serialization=False)
        return file.read_bytes()


def bin_file():
    with tempfile.TemporaryDirectory():
        images = [b"\xff\xd8one", np.frombuffer(b"\xff\xd8two", np.uint8)]
        return pickle.dumps((images, [True]), protocol=2)


def dat_file():
    """Integers, numbers and a tensor as dlib writes them."""
    return (
        bytes([1, 5, 0x81, 3, 1, 0, 2, 0, 1, 1, 2])
        + bytes([1, 2, 1, 1, 1, 2, 1, 1, 1, 1])
        + np.arange(2, dtype="<f4").tobytes()
    )


def read_dat(path):
    """Every way to read a file, each until it is at its end or refused."""
    refused = []
    for way in ("integer", "number", "matrix", "tensor", "length"):
        reader = DlibReader(path.read_bytes(), path.name)
        try:
            while not reader.at_end:
                getattr(reader, way)()
        except WeightsError as error:
            refused.append(error)
    if len(refused) == 5:
        raise refused[0]


def list_file():
    rows = [(0, 1, 1), (0, 2, 0), (3, 2, 1), (3, 1, 0)]
    return "".join(
        f"s{i // 2}/{i}.jpg s{j // 2}/{j}.jpg {label}\n" for i, j, label in rows
    ).encode()


def read_list(path):
    """Read a list of pairs; what it says of what it leaves out does not matter here."""
    names = [f"s{i // 2}/{i}.jpg" for i in range(6)]
    table = pd.DataFrame({"subject": [name[:2] for name in names], "path": names}, index=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fl.read_pairs(path, fl.Faces(table), missing="drop", repeated="drop")


READERS = {
    ".txt": (list_file, read_list, PairError),
    ".dat": (dat_file, read_dat, WeightsError),
    ".bin": (bin_file, read_bin, (FaceSetError, UnsafePickleError)),
    ".pth": (
        pickled_module,
        lambda path: read_pickled_module(path, stubs=("torch.nn.",)),
        (WeightsError, UnsafePickleError),
    ),
}


def mutations(seed):
    """Bytes near to a sound file: some changed, cut, doubled, put in; or any bytes at all."""
    places = st.integers(0, max(0, len(seed) - 1))
    change = st.one_of(
        st.tuples(st.just("set"), places, st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("put"), places, st.binary(min_size=1, max_size=12)),
        st.tuples(st.just("cut"), places, st.integers(1, 64)),
        st.tuples(st.just("double"), places, st.integers(1, 64)),
    )

    def apply(changes):
        content = bytearray(seed)
        for kind, place, what in changes:
            if kind == "set":
                content[place : place + len(what)] = what
            elif kind == "put":
                content[place:place] = what
            elif kind == "cut":
                del content[place : place + what]
            else:
                content[place:place] = content[place : place + what]
        return bytes(content)

    near = st.lists(change, min_size=1, max_size=4).map(apply)
    plain = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary())
    lists = st.lists(st.one_of(plain, st.lists(plain, max_size=3)), max_size=3)
    pickles = st.one_of(plain, lists, st.dictionaries(st.text(), lists, max_size=3)).map(
        lambda value: pickle.dumps(value, protocol=2)
    )
    return st.one_of(near, near, pickles, st.binary(max_size=200))


def fuzz(kind, content, path, allowed):
    """Read bytes; anything but an error with a name is a finding, and so is a program that ran."""
    path.write_bytes(content)
    started = time.monotonic()
    try:
        READERS[kind][1](path)
        outcome = "read"
    except allowed as error:
        outcome = type(error).__name__
    assert time.monotonic() - started < 10, "a few hundred bytes took seconds"
    return outcome


@pytest.mark.parametrize("kind", list(READERS))
def test_any_bytes_are_read_or_refused(kind, tmp_path):
    fuzzed(kind, tmp_path, max_examples=100 if kind == ".txt" else 300)  # tables take longer


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", list(READERS))
def test_any_bytes_for_a_while(kind, tmp_path):
    """Twenty seconds each; ``FREQLAB_FUZZ_SECONDS`` sets another time."""
    until = time.monotonic() + float(os.environ.get("FREQLAB_FUZZ_SECONDS", 20))
    total = collections.Counter()
    round_ = 0
    while time.monotonic() < until:
        round_ += 1
        total += fuzzed(kind, tmp_path, max_examples=2000, round_=round_)
    print(json.dumps({"reader": kind, "executions": total.total(), **total}))
    assert total.total() > 500


def fuzzed(kind, folder, *, max_examples, round_=0):
    make, _, allowed = READERS[kind]
    sound = make()
    counts = collections.Counter()
    path = folder / f"fuzzed{kind}"
    assert kind == ".dat" or fuzz(kind, sound, path, ()) == "read"

    @settings(
        max_examples=max_examples,
        database=None,
        derandomize=round_ == 0,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(sound))
    def body(content):
        counts[fuzz(kind, content, path, allowed)] += 1

    body()
    return counts

"""Whatever is changed in a store, verifying finds it: every chunk, every key of every description.

Harmless, by definition made before any trial, is only
- how the JSON of a description is laid out (blanks, order of keys);
- the attribute ``whole`` of /faces, which nothing reads in a store that has digests;
- a change that leaves a file as it was;
- a file that is neither a chunk within the grid of an array nor a description, and what lies in a
  group that no run wrote: those are named, not called damage.
"""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.store import integrity

N_TRIALS = 40  # of `make test`; the exhaustive tests make all
N_PARTS = 14  # into which those of descriptions are divided, to run side by side

FACES = {"n_subjects": 17, "per_subject": 2}  # two blocks


def make_store(store, seed=0):
    """A run of two models with two results, studies, maps and a trust card."""
    faces = make_faces(**FACES, seed=seed)
    models = [fl.wrap_model(Linear(seed=s), name=f"m{s}") for s in (0, 1)]
    pairs = fl.make_pairs(faces, seed=0)
    options = {"store": store, "bands": fl.rings(width=14), "progress": False}
    fl.influence(faces, pairs, models=models, name="r", **options)
    fl.influence(faces, pairs.iloc[:9], models=models[:1], name="q", sides=["probe"], **options)
    some = fl.open_influence(store, "r").isel(pair=[0, 1])
    fl.faithfulness.deletion_curves(some, models[:1], n_random=1, progress=False)
    fl.saliency.gradient_maps(some, models[0], steps=2, progress=False)
    fl.faithfulness.save_trust_card(store, {"model": "m0", "rows": [], "created_at": "2020-01-01"})
    return Path(store)


@pytest.fixture
def only_digests(monkeypatch):
    """Let verifying rest on the record alone, which must suffice; and be quick."""
    monkeypatch.setattr(integrity._Surveying, "_check_contents", lambda self: None)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The store that is changed, and a foreign one of other faces."""
    folder = tmp_path_factory.mktemp("fuzz")
    return make_store(folder / "run.zarr"), make_store(folder / "other.zarr", seed=1)


def files_of(store):
    return sorted(str(f.relative_to(store)) for f in store.rglob("*") if f.is_file())


def chunk_trials(store, other, rng):
    """(what, file, its new content or None for none), one for each way and chunk."""
    chunks = [name for name in files_of(store) if "/c/" in name]
    contents = {name: (store / name).read_bytes() for name in chunks}
    for name in chunks:
        content = contents[name]
        array = name.split("/c/")[0]
        position = rng.randrange(len(content))
        flipped = bytearray(content)
        flipped[position] ^= 1 << rng.randrange(8)
        yield "dropped", {name: None}
        yield "truncated", {name: content[: rng.randrange(len(content))]}
        yield "flipped", {name: bytes(flipped)}
        yield "with more behind", {name: content + b"\0"}
        foreign = rng.choice([n for n in chunks if not n.startswith(array)])
        yield f"as {foreign}", {name: contents[foreign]}
        if (other / name).exists():
            yield "of another store", {name: (other / name).read_bytes()}
        for sibling in [n for n in chunks if n.startswith(f"{array}/c/") and n > name]:
            yield f"swapped with {sibling}", {name: contents[sibling], sibling: content}


def paths_in(document, at=()):
    """Where there is a value in a JSON document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*at, key)
        if isinstance(value, (dict, list)):
            yield from paths_in(value, (*at, key))


def changed(value, rng):
    """Another value, of the kind that would do most harm."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice([-1, 1, 7])
    if isinstance(value, float):
        return value + 0.125
    if isinstance(value, str):
        types = {"float32": "int32", "int8": "uint8", "float64": "int64", "uint8": "int8"}
        types |= {"int16": "uint16", "int32": "float32", "int64": "float64", "bool": "uint8"}
        types |= {"NaN": 0.0, "little": "big", "array": "group", "group": "array"}
        return types.get(value, f"{value}x")
    if value is None:
        return 0
    if isinstance(value, dict):
        return {}
    return list(reversed(value)) if len(value) > 1 and value != value[::-1] else [*value, 1]


def edited(document, path, value=None, *, remove=False):
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


def description_trials(store, other, rng):
    """As :func:`chunk_trials`, for every key of every description."""
    names = [name for name in files_of(store) if name.endswith("zarr.json")]
    for name in names:
        content = (store / name).read_bytes()
        document = json.loads(content)
        yield "dropped", {name: None}
        yield "truncated", {name: content[: len(content) // 2]}
        foreign = rng.choice([n for n in names if n != name])
        yield f"as {foreign}", {name: (store / foreign).read_bytes()}
        if (other / name).exists():
            yield "of another store", {name: (other / name).read_bytes()}
        for path in paths_in(document):
            if "whole" in path and name == "faces/zarr.json":
                continue
            value = document
            for key in path:
                value = value[key]
            at = ".".join(map(str, path))
            another = edited(document, path, changed(value, rng))
            yield f"{at} changed", {name: json.dumps(another).encode()}
            less = edited(document, path, remove=True)
            yield f"{at} removed", {name: json.dumps(less).encode()}
        more = edited(document, ("attributes", "added"), 1) if "attributes" in document else None
        if more:
            yield "an attribute more", {name: json.dumps(more).encode()}


def foreign_trials(store, other, rng):
    """Arrays and groups that belong elsewhere."""
    arrays = [f.parent for f in store.rglob("zarr.json") if b'"array"' in f.read_bytes()[:400]]
    arrays = sorted(str(a.relative_to(store)) for a in arrays if "digests" not in a.parts)
    groups = sorted({a.rpartition("/")[0] for a in arrays})
    for array in arrays:
        copy = f"{rng.choice(groups)}/copied"
        yield (
            "copied",
            {
                f"{copy}{name.removeprefix(array)}": (store / name).read_bytes()
                for name in files_of(store)
                if name.startswith(f"{array}/")
            },
        )
    for group in groups:
        rest = [n for n in files_of(other) if n.startswith(f"{group}/")]
        if rest:
            yield "a group of another store", {n: (other / n).read_bytes() for n in rest}


def same(name, content, now):
    """Whether a change leaves all as it was, to whoever reads it."""
    if content == now:
        return True
    if name.endswith("zarr.json") and content and now:
        try:
            return json.loads(content) == json.loads(now)
        except ValueError:
            return False
    return False


def run_trials(store, trials):
    """Change, verify, change back; return how many trials counted, and those not found."""
    n_trials, missed = 0, []
    for what, files in trials:
        before = {}
        for name in files:
            file = store / name
            before[name] = file.read_bytes() if file.exists() else None
        if all(same(name, before[name], files[name]) for name in files):
            continue
        for name, content in files.items():
            put(store / name, content)
        n_trials += 1
        try:
            if not len(fl.store.check(store)):
                missed.append((what, sorted(files)[:2]))
        except fl.errors.StoreError:
            pass  # it cannot even be opened, and says so
        for name, content in before.items():
            put(store / name, content)
    return n_trials, missed


def put(file, content):
    if content is None:
        file.unlink()
        while not any(file.parent.iterdir()):
            file = file.parent
            file.rmdir()
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def all_trials(stores):
    rng = random.Random(0)
    trials = [*chunk_trials(*stores, rng), *foreign_trials(*stores, rng)]
    return trials, list(description_trials(*stores, rng))


@pytest.mark.slow
def test_a_sample_of_all_changes_is_found(stores, only_digests):
    assert len(fl.store.check(stores[0])) == 0
    of_chunks, of_descriptions = all_trials(stores)
    rng = random.Random(1)
    some = rng.sample(of_chunks, N_TRIALS // 2) + rng.sample(of_descriptions, N_TRIALS // 2)
    n_trials, missed = run_trials(stores[0], some)
    assert n_trials > 0.8 * N_TRIALS
    assert missed == []
    assert len(fl.store.check(stores[0])) == 0


def check_all_are_found(store, trials):
    n_trials, missed = run_trials(store, trials)
    print(f"{n_trials} trials, {len(missed)} missed")
    assert missed == []
    assert n_trials > 500
    assert len(fl.store.check(store)) == 0


@pytest.mark.exhaustive
def test_every_change_of_a_chunk_is_found(stores, only_digests):
    check_all_are_found(stores[0], all_trials(stores)[0])


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(N_PARTS))
def test_every_change_of_a_description_is_found(stores, only_digests, part):
    check_all_are_found(stores[0], all_trials(stores)[1][part::N_PARTS])


def test_what_is_harmless_is_not_called_damage(stores, tmp_path):
    store = Path(shutil.copytree(stores[0], tmp_path / "run.zarr"))
    for file in store.rglob("zarr.json"):
        file.write_text(json.dumps(json.loads(file.read_text()), sort_keys=True, indent=7))
    strays = [".DS_Store", "faces/Thumbs.db", "crops/arcface/crop.lock", "influence/r/notes.txt~"]
    strays += ["embeddings/m0/intact/.zarr.json.swp", "faces/face/c/0.bak", "faces/face/c/9"]
    for name in strays:
        (store / name).write_bytes(b"stray")
    nested = zarr.open_group(store / "influence/r/backup.zarr", mode="w")
    nested.create_array("face", data=np.arange(3))
    found = fl.store.check(store)
    assert len(found) == 0
    assert {*strays, "influence/r/backup.zarr/zarr.json"} <= set(found.attrs["unknown"])
    fl.open_run(store)  # and no warning of what lies there
    assert fl.open_influence(store, "r").sizes["pair"] > 10

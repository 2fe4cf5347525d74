"""A kill before each operation that changes a file of a store: nothing is lost, nothing blocks.

Each case is a command on a store. It is run once, undisturbed and watched; then the store is put
back to before each of its operations, and the command (or another, and then the command) is called
again. What comes of it must be the undisturbed store, file by file and byte by byte, but for times.
"""

import asyncio
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import Linear, make_faces
from interruptions import (
    Recorder,
    apply,
    differences,
    effective,
    read_tree,
    write_tree,
)
from zarr.storage import _local

import freqlab as fl
from freqlab.errors import StoreError
from freqlab.results import result_names
from freqlab.store import RunStore

SOME, ALL = 3, 5  # people
OPTIONS = {"progress": False, "compile": False, "device": "cpu"}
BANDS = fl.rings(width=28)


class _Inline:
    """asyncio, with what zarr does in threads done at once: quicker, and always in one order."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    async def to_thread(self, function, *arguments, **more):
        return function(*arguments, **more)


@pytest.fixture(autouse=True)
def small_and_in_order(monkeypatch):
    """Blocks of four faces, so that a few make several; operations in one order."""
    monkeypatch.setitem(RunStore.__init__.__kwdefaults__, "block_size", 4)
    monkeypatch.setattr(_local, "asyncio", _Inline())
    with zarr.config.set({"async.concurrency": 1}):
        yield


def model_of(seed=0, name="linear"):
    return fl.wrap_model(Linear(n_features=4, seed=seed), name=name, version=str(seed))


def some_faces():
    return everybody().select(np.arange(2 * SOME))


def everybody():
    return make_faces(n_subjects=ALL, per_subject=2)


def others(gone="p1"):
    faces = some_faces()
    return faces.select(np.flatnonzero(faces.subjects != gone))


def influence(store, faces, name="r", **options):
    options = {"models": [model_of()], "bands": BANDS, **OPTIONS, **options}
    pairs = options.pop("pairs", fl.make_pairs(faces, seed=0))
    return fl.influence(faces, pairs, store=store, name=name, **options)


def run(store):
    influence(store, some_faces())


def more_faces(store):
    faces = everybody()
    table = faces.table.assign(light=[f"light {i}" for i in range(len(faces))])
    grown = fl.Faces(table, images=faces.images, aligned="arcface", name="synthetic")
    influence(store, grown, "grown")


def more_bands(store):
    influence(store, some_faces(), "fine", bands=fl.rings(width=20))


def more_pairs(store):
    pairs = fl.make_pairs(some_faces(), impostors_per_genuine=3, seed=1)
    influence(store, some_faces(), "many", pairs=pairs)


def another_model(store):
    influence(store, some_faces(), "both", models=[model_of(), model_of(1, "second")])


def refined(store):
    influence(store, some_faces(), "refined", bands=fl.rings(width=7), refine=0.02)


def forget(store):
    fl.forget(store, subject="p1")


def repair(store):
    influence(store, some_faces(), repair=True)


def deletion(store):
    result = fl.open_influence(store, "r").isel(pair=[0])
    fl.deletion_curves(result, [model_of()], n_random=1, progress=False)


def more_deletion(store):
    fl.deletion_curves(fl.open_influence(store, "r"), [model_of()], n_random=1, progress=False)


def maps(store):
    result = fl.open_influence(store, "r")
    pairs = result["pair"].to_numpy()[:2].tolist()
    fl.corrrise_maps(result, model_of(), pairs=pairs, n_masks=4, progress=False)
    fl.gradient_maps(result, model_of(), pairs=pairs, steps=2, progress=False)


def card(store):
    fl.save_trust_card(store, {"model": "linear", "rows": [], "fmr": 0.1})


def another_card(store):
    fl.save_trust_card(store, {"model": "linear", "rows": [{"test": "t"}], "fmr": 0.1})


def two_results(store):
    run(store)
    influence(store, others(), "s", sides=["probe"])


def everything(store):
    two_results(store)
    deletion(store)
    maps(store)
    card(store)


def damaged(store):
    """Damage of every kind that is made good from the faces at hand."""
    everything(store)
    bands = f"embeddings/linear/{BANDS.key}"
    for path in (
        "crops/arcface/crop/c/0/0/0/0",
        f"{bands}/embedding/c/1/0/0",
        f"{bands}/status/c/0",
    ):
        flip(store / path)
    for path in (
        "faces/landmarks/c/1/0/0",
        "influence/r/influence/c/0/0/0/0",
        "sets/linear/key/c/0/0",
    ):
        flip(store / path)
    (store / "faces/face/c/0").unlink()
    Path(store, "embeddings/linear/intact/zarr.json").write_bytes(b"{")


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


def nothing(store):
    pass


CASES = {
    "run": (nothing, run),
    "more faces, and a column": (two_results, more_faces),
    "more bands": (two_results, more_bands),
    "more pairs": (two_results, more_pairs),
    "another model": (two_results, another_model),
    "refinement": (two_results, refined),
    "forget": (everything, forget),
    "repair": (damaged, repair),
    "deletion curves": (two_results, deletion),
    "more deletion curves": (everything, more_deletion),
    "maps": (two_results, maps),
    "trust card": (two_results, card),
    "another trust card": (everything, another_card),
}
BY_OTHERS = {
    "a growth, and a trust card": (two_results, more_faces, card),
    "a growth, and other pairs": (two_results, more_faces, more_pairs),
    "a result, and a map": (two_results, more_pairs, maps),
    "a forgetting, and a run of the others": (
        everything,
        forget,
        lambda store: influence(store, others(), "s", sides=["probe"]),
    ),
    "a forgetting, and a trust card": (everything, forget, another_card),
    "a forgetting, and maps of the others": (
        everything,
        forget,
        lambda store: fl.save_trust_card(store, {"model": "m", "rows": []}),
    ),
}


class Watched:
    """A command that was run once and watched; the store before it, amid it, and after it."""

    def __init__(self, folder, before, command):
        self.folder, self.store = folder, folder / "run.zarr"
        before(self.store)
        self.before = read_tree(self.store) if self.store.exists() else {}
        recorder = Recorder(self.store)
        with recorder.recording():
            command(self.store)
        self.operations = recorder.operations
        self.after = read_tree(self.store)
        self.restore(self.before)

    def restore(self, tree):
        shutil.rmtree(self.store, ignore_errors=True)
        write_tree(tree, self.store)

    def states(self):
        """Number of an operation and the tree that a kill before it leaves, each tree once."""
        tree, met = dict(self.before), set()
        for number, operation in enumerate(self.operations):
            state = effective(tree)
            if state not in met:
                met.add(state)
                yield number, dict(tree)
            apply(tree, operation)
        assert not differences(tree, self.after), "the operations are not all that happened"


def check_amid(watched, tree, number):
    """A store that nobody has called again: what can be read of it is true."""
    if not any(path == "zarr.json" for path in tree):
        return
    root = zarr.open_group(watched.store, mode="r")
    if "forgetting" in root.attrs:
        with pytest.raises(StoreError, match="being removed"):
            fl.open_influence(watched.store)
        return
    whole = {name for name in ("r", "s") if f"influence/{name}/zarr.json" in watched.before}
    for name in whole & set(result_names(watched.store)):
        prefix = f"influence/{name}/"
        found, expected = (
            {p: c for p, c in t.items() if p.startswith(prefix)} for t in (tree, watched.before)
        )
        assert not differences(found, expected), f"before operation {number}: {name} differs"
    fl.open_run(watched.store)


def killed_everywhere(watched, again, expected, *, every=1, first=0, damaged=False):
    """Put the store back to before operations, call again, and compare; how many there were."""
    n_states = 0
    for number, tree in itertools.islice(watched.states(), first, None, every):
        watched.restore(tree)
        what = f"before operation {number}, {watched.operations[number][:2]}"
        check_amid(watched, tree, number)
        if not damaged and "zarr.json" in tree:
            found = fl.verify_run(watched.store)
            assert not len(found), f"{what}: verify says {found.to_dict('records')}"
        for command in again:
            command(watched.store)
        left = differences(read_tree(watched.store), expected)
        assert not left, f"{what}: {left} differ"
        assert len(fl.verify_run(watched.store)) == 0
        n_states += 1
    return n_states


def recovered(tmp_path, before, commands, again, *, every=1, first=0):
    """Kill the first of some commands; call some again; expect what they do undisturbed."""
    (tmp_path / "amid").mkdir()
    watched = Watched(tmp_path / "amid", before, commands[0])
    expected = tmp_path / "undisturbed" / "run.zarr"
    expected.parent.mkdir()
    write_tree(watched.after, expected)
    for command in commands[1:]:
        command(expected)
    n_states = killed_everywhere(
        watched, again, read_tree(expected), every=every, first=first, damaged=before is damaged
    )
    print(f"{len(watched.operations)} operations, {n_states} states recovered")
    return len(watched.operations), n_states


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_kill_before_every_operation(tmp_path, case):
    before, command = CASES[case]
    recovered(tmp_path, before, [command], [command])

"""A kill before each operation that changes a file of a store: nothing is lost, nothing blocks.

Each case is a command on a store. It is run once, undisturbed and watched; then the store is put
back to before each of its operations, and the command (or another, and then the command) is called
again. What comes of it must be the undisturbed store, file by file and byte by byte, but for times.

A run from nothing is 1,347 operations, adding faces and a column 1,148, more bands 414, more pairs
314, another model 561, a refinement 731, forgetting 1,637, a repair 605, deletion curves 142 (90
where there are some), maps 215, a trust card 27 (12 where there is one), a
study 187. States that differ in
half-written files, empty folders and digests only are one, and of the long cases the slow tests
take every 2nd to 12th (`EVERY`).
"""

import asyncio
import contextlib
import itertools
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
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
from freqlab.errors import StoreError, UnknownNameError
from freqlab.run import begin
from freqlab.store.integrity import HALF_REMOVED
from freqlab.store.reading import result_names
from freqlab.store.studies import kept_study

SOME, ALL = 3, 5  # people
OPTIONS = {"progress": False, "compile": False, "device": "cpu"}
BANDS = fl.rings(width=28)
_OPENED = 6  # one state in so many is opened as a whole, too


class _Inline:
    """asyncio, with what zarr does in threads done at once: quicker, and always in one order."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    async def to_thread(self, function, *arguments, **more):
        return function(*arguments, **more)


@contextlib.contextmanager
def small_and_in_order():
    """Blocks of four faces, so that a few make several; operations in one order."""
    with pytest.MonkeyPatch.context() as patches, zarr.config.set({"async.concurrency": 1}):
        patches.setattr(begin, "block_size_for", lambda n_faces, are_aligned: 4)
        patches.setattr(_local, "asyncio", _Inline())
        yield


@pytest.fixture(autouse=True)
def _small_and_in_order():
    with small_and_in_order():
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
    fl.store.forget(store, subject="p1")


def repair(store):
    influence(store, some_faces(), repair=True)


def deletion(store):
    result = fl.open_influence(store, "r").isel(pair=[0])
    fl.faithfulness.deletion_curves(result, [model_of()], n_random=1, progress=False)


def more_deletion(store):
    fl.faithfulness.deletion_curves(
        fl.open_influence(store, "r"), [model_of()], n_random=1, progress=False
    )


def maps(store):
    result = fl.open_influence(store, "r")
    pairs = result["pair"].to_numpy()[:2].tolist()
    fl.saliency.corrrise_maps(result, model_of(), pairs=pairs, n_masks=4, progress=False)
    fl.saliency.gradient_maps(result, model_of(), pairs=pairs, steps=2, progress=False)


def card(store):
    fl.faithfulness.save_trust_card(store, {"model": "linear", "rows": [], "fmr": 0.1})


def another_card(store):
    fl.faithfulness.save_trust_card(store, {"model": "linear", "rows": [{"test": "t"}], "fmr": 0.1})


def study(store):
    table = pd.DataFrame({"rate": [0.5, np.nan], "note": ["", "few"]}, index=["p1", "p2"])
    curves = xr.Dataset({"curve": ("band", [1.0, np.nan])}, coords={"band": [4, 8]})
    kept_study(store, "bias", {"seed": 0}, lambda: {"curves": curves, "tables/rates": table})


def two_results(store):
    run(store)
    influence(store, others(), "s", sides=["probe"])


def everything(store):
    two_results(store)
    deletion(store)
    maps(store)
    card(store)
    study(store)


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


def without_them(store):
    influence(store, others(), "s", sides=["probe"])


def forget_if_not_begun(store):
    with contextlib.suppress(UnknownNameError):  # what was begun is done by now
        forget(store)


def forget_another(store):
    fl.store.forget(store, subject="p2")


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
    "study": (two_results, study),
}
EVERY = {
    "run": 8,
    "more faces, and a column": 8,
    "forget": 12,
    "repair": 4,
    "another model": 4,
    "refinement": 4,
    "trust card": 1,
    "another trust card": 1,
}
# what is killed, what is called then, and what undisturbed commands leave the same
BY_OTHERS = {
    "more faces, and a trust card": (more_faces, [card, more_faces], [card]),
    "more faces, and more pairs": (more_faces, [more_pairs, more_faces], [more_pairs]),
    "more pairs, and maps": (more_pairs, [maps, more_pairs], [maps]),
    "forget, and a run": (forget, [without_them, forget_if_not_begun], [without_them]),
    "forget, and a trust card": (forget, [another_card, forget_if_not_begun], [another_card]),
    "forget, and forget another": (forget, [forget_another, forget_if_not_begun], [forget_another]),
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
        for folder in (self.store, Path(f"{self.store}.set-aside")):
            shutil.rmtree(folder, ignore_errors=True)
        write_tree(tree, self.store)

    def states(self, *, last=True, digests=False):
        """Number of an operation and the tree that a kill before it leaves.

        Of several that differ only in folders without a file, in files that are half written, and,
        unless `digests` are wanted, in digests, the last is taken, which has them all, or the
        first, which has none. So of each chunk there is a digest, or the log of a writer that
        does not say yet that it is written.
        """
        tree, before = dict(self.before), None
        for number, operation in enumerate(self.operations):
            state = number, effective(tree, digests=digests), dict(tree)
            if before is not None and before[1] != state[1] and last:
                yield before[0], before[2]
            if (before is None or before[1] != state[1]) and not last:
                yield number, state[2]
            before = state
            apply(tree, operation)
        if last:
            yield before[0], before[2]
        assert not differences(tree, self.after), "the operations are not all that happened"


def of_results(tree, names):
    """The files of some results."""
    parts = tuple(f"influence/{name}/" for name in names)
    return {path: content for path, content in tree.items() if path.startswith(parts)}


def check_amid(watched, tree, *, opened):
    """A store that nobody has called again: what can be read of it is true."""
    found = fl.store.check(watched.store)
    forgetting = "forgetting" in zarr.open_group(watched.store, mode="r").attrs
    told = found["what"] == HALF_REMOVED
    assert told.sum() == forgetting
    assert told.all(), f"verify says {found.to_dict('records')}"
    if forgetting:
        with pytest.raises(StoreError, match="being removed"):
            fl.open_influence(watched.store)
        return
    names = {name for name in ("r", "s") if f"influence/{name}/zarr.json" in watched.before}
    assert names <= set(result_names(watched.store))
    assert not differences(of_results(tree, names), of_results(watched.before, names))
    if opened:
        fl.open_run(watched.store)
        fl.plan(some_faces(), models=[model_of()], store=watched.store)


def killed(watched, again, expected, *, every=1, last=True, digests=False, damaged=False):
    """Put the store back to before operations, call again, and compare; how many there were."""
    n_states = 0
    for number, tree in itertools.islice(
        watched.states(last=last, digests=digests), 0, None, every
    ):
        watched.restore(tree)
        try:
            if "zarr.json" in tree and not damaged:
                check_amid(watched, tree, opened=n_states % _OPENED == 0)
            for command in again:
                command(watched.store)
            left = differences(read_tree(watched.store), expected)
            assert not left, f"{left} differ"
            if n_states % _OPENED == 0:
                assert not len(fl.store.check(watched.store))
        except Exception as error:
            error.add_note(f"killed before operation {number}, {watched.operations[number][:2]}")
            raise
        n_states += 1
    return n_states


def recovered(tmp_path, before, commands, again, **options):
    """Kill the first of some commands; call some again; expect what they do undisturbed."""
    (tmp_path / "amid").mkdir()
    watched = Watched(tmp_path / "amid", before, commands[0])
    expected = tmp_path / "undisturbed" / "run.zarr"
    expected.parent.mkdir()
    write_tree(watched.after, expected)
    for command in commands[1:]:
        command(expected)
    assert len(fl.store.check(expected)) == 0
    options = {"damaged": before is damaged, **options}
    n_states = killed(watched, again, read_tree(expected), **options)
    print(f"{len(watched.operations)} operations, {n_states} states recovered")
    return n_states


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", CASES)
def test_a_kill_before_every_operation(tmp_path, case):
    before, command = CASES[case]
    every = EVERY.get(case, 2)
    assert recovered(tmp_path, before, [command], [command], every=every) > 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", ["trust card", "another trust card"])
def test_a_kill_before_every_operation_on_digests(tmp_path, case):
    before, command = CASES[case]
    assert recovered(tmp_path, before, [command], [command], digests=True) > 3


@pytest.mark.parametrize(
    ("case", "every"),
    [
        ("run", 70),
        pytest.param("more faces, and a column", 60, marks=pytest.mark.slow),
        pytest.param("forget", 90, marks=pytest.mark.slow),
        pytest.param("repair", 50, marks=pytest.mark.slow),
        pytest.param("study", 3, marks=pytest.mark.slow),
    ],
)
def test_a_kill_before_some_operations(tmp_path, case, every):
    before, command = CASES[case]
    assert recovered(tmp_path, before, [command], [command], every=every, last=False) > 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", BY_OTHERS)
def test_a_kill_that_another_command_comes_after(tmp_path, case):
    command, again, undisturbed = BY_OTHERS[case]
    every = 30 if command is forget else 10
    assert recovered(tmp_path, everything, [command, *undisturbed], again, every=every) > 1


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}]
import torch
torch.set_num_threads(1)
import test_every_kill as kills
from interruptions import Recorder

def die(number):
    if number == doomed:
        os.kill(os.getpid(), signal.SIGKILL)

for line in sys.stdin:
    case, store, doomed = line.strip().split("|")
    doomed = int(doomed)
    if os.fork() == 0:
        with kills.small_and_in_order(), Recorder(store, die).recording():
            kills.CASES[case][1](kills.Path(store))
        os._exit(1)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def folders_and_partial_files(tree):
    """Names of both, without what is drawn anew each time: of writers and of partial files."""
    folders = [path for path, content in tree.items() if content is None]
    partial = [path for path in tree if path.endswith(".partial")]
    drawn = "(?<=log-)[0-9a-f]{12}|[0-9a-f]{32}"
    return tuple(sorted(re.sub(drawn, "", path) for path in some) for some in (folders, partial))


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", ["forget", "deletion curves", "more faces, and a column"])
def test_that_this_is_what_a_kill_leaves(tmp_path, case):
    """Processes that are killed before some operations, against the operations played back."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(tests=str(Path(__file__).parent)))
    watched = Watched(tmp_path, *CASES[case])
    tree, states = dict(watched.before), []
    for operation in watched.operations:
        states.append(dict(tree))
        apply(tree, operation)
    command = [sys.executable, str(script)]
    chosen = range(0, len(states), len(states) // 8)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        for number in chosen:
            watched.restore(watched.before)
            it.stdin.write(f"{case}|{watched.store}|{number}\n")
            it.stdin.flush()
            assert int(it.stdout.readline()) == -signal.SIGKILL
            left = read_tree(watched.store)
            assert not differences(left, states[number])
            expected = folders_and_partial_files(states[number])
            assert folders_and_partial_files(left) == expected

"""Runs that are killed, stopped, starved of disk, or robbed of their store."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zarr
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.errors import StoreError

N_FACES, N_BANDS, BLOCK = 224, 15, 32
PASSES = N_FACES * (N_BANDS + 1)

PROGRAM = """
import os, sys, time
import torch
sys.path[:0] = [{tests!r}]
torch.set_num_threads(1)
import freqlab as fl
from conftest import make_faces

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 7, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(6),
            torch.nn.Flatten(), torch.nn.Linear(144, 32),
        )

    def forward(self, images):
        time.sleep({pause})
        return self.layers(images)

faces = make_faces(n_subjects=112, per_subject=2)
pairs = fl.make_pairs(faces, seed=0)

def run(store):
    model = fl.wrap_model(Small().eval(), name="small", version="1")
    print("begins", os.getpid(), flush=True)
    result = fl.influence(
        faces, pairs, models=[model], store=store, name="r", batch_size=16, progress=False,
        compile=False,
    )
    print("passes", result.attrs["forward_passes"], flush=True)

for line in sys.stdin:  # each run is a process of its own, which need not import PyTorch again
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run(line.strip())
            code = 0
        except BaseException as error:
            print(type(error).__name__, str(error).replace("\\n", " "), flush=True)
        finally:
            os._exit(code)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Runs:
    """Runs of the program, one at a time, each a process that can be killed."""

    def __init__(self, file, pause):
        file.write_text(PROGRAM.format(tests=os.path.dirname(__file__), pause=pause))
        self._server = subprocess.Popen(
            [sys.executable, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, store):
        """Start a run; return its process id when it is about to open the store."""
        self._server.stdin.write(f"{store}\n")
        self._server.stdin.flush()
        begins, pid = self._server.stdout.readline().split()
        assert begins == "begins"
        return int(pid)

    def end(self):
        """Wait for the run; return its exit code (minus the signal) and what it said last."""
        said = ""
        while True:
            line = self._server.stdout.readline()
            assert line, "the server died"
            if line.startswith("ended"):
                return int(line.split()[1]), said
            said = line.strip()

    def close(self):
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(timeout=60)


@pytest.fixture
def runs(tmp_path):
    runs = Runs(tmp_path / "program.py", 0.002)
    yield runs
    runs.close()


def chunks(store):
    """Every chunk as it lies on the disk."""
    return {
        str(file.relative_to(store)): file.read_bytes()
        for file in sorted(Path(store).rglob("*"))
        if file.is_file() and file.name != "zarr.json" and file.suffix != ".partial"
    }


def done_rows(store):
    """Rows per node that count as done, as a store that may be half made says."""
    found = {}
    for node in ("intact", fl.rings().key):
        path = Path(store, "embeddings/small", node, "status")
        if (path / "zarr.json").is_file():
            found[node] = int((zarr.open_array(path, mode="r")[:] == 1).sum())
    return found


def passes_of(said):
    word, passes = said.split()
    assert word == "passes"
    return int(passes)


def killed_again_and_again(runs, tmp_path, n_kills, seed):
    """Kill runs at random moments; a run that ends by itself is followed by one on a new store.

    Returns how many rows were done at each kill.
    """
    chance = random.Random(seed)
    whole = tmp_path / "whole.zarr"
    runs.begin(whole)
    started = time.monotonic()
    assert runs.end() == (0, f"passes {PASSES}")
    lasts = time.monotonic() - started
    expected = chunks(whole)
    met, n_stores = [], 0
    while len(met) < n_kills:
        store = tmp_path / f"run{n_stores}.zarr"
        n_stores += 1
        done = {}
        while True:
            pid = runs.begin(store)
            if len(met) < n_kills:
                time.sleep(chance.uniform(0, 0.7 * lasts))
                with contextlib.suppress(ProcessLookupError):  # it was faster
                    os.kill(pid, signal.SIGKILL)
            code, said = runs.end()
            if code == 0:
                bands = fl.rings().key
                assert passes_of(said) == (N_FACES - done.get("intact", 0)) + N_BANDS * (
                    N_FACES - done.get(bands, 0)
                )
                break
            assert code == -signal.SIGKILL, said
            before, done = done, done_rows(store)
            assert all(done.get(node, 0) >= n for node, n in before.items())
            assert all(n % BLOCK == 0 for n in done.values())
            met.append(sum(done.values()))
        assert chunks(store) == expected, "a restarted run differs from an undisturbed one"
        assert len(fl.store.check(store)) == 0
        shutil.rmtree(store)
    return met


@pytest.mark.slow
def test_three_kills(runs, tmp_path):
    assert len(killed_again_and_again(runs, tmp_path, 3, seed=0)) == 3


@pytest.mark.exhaustive
def test_fifty_kills(runs, tmp_path):
    met = killed_again_and_again(runs, tmp_path, 50, seed=1)
    print(f"rows done at the kills: {met}")
    assert len(met) == 50
    assert len(set(met)) >= 5


def small(tmp_path, **options):
    """A run in this process; its model's embeddings are right or wrong, but cheap."""
    faces = make_faces(n_subjects=20, per_subject=2)
    model = fl.wrap_model(Linear(), name="linear")
    pairs = fl.make_pairs(faces, seed=0)
    options = {"store": tmp_path / "run.zarr", "name": "r", "progress": False, **options}
    return fl.influence(faces, pairs, models=[model], **options)


SMALL = """
import os, resource, signal, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
import test_kills
{before}
print("begins", flush=True)
try:
    {call}
    print("done")
except BaseException as error:
    print(type(error).__name__, error)
"""


def in_a_process(tmp_path, before="", call="test_kills.small(Path(sys.argv[1]))"):
    script = tmp_path / "small.py"
    script.write_text(SMALL.format(tests=os.path.dirname(__file__), before=before, call=call))
    return [sys.executable, str(script), str(tmp_path)]


def said_by(command):
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return ended.stdout.splitlines()[-1] if ended.stdout else ended.stderr


def same_as_undisturbed(tmp_path):
    small(tmp_path / "undisturbed")
    with_times = chunks(tmp_path / "run.zarr"), chunks(tmp_path / "undisturbed/run.zarr")
    assert with_times[0] == with_times[1]
    assert len(fl.store.check(tmp_path / "run.zarr")) == 0


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of a few hundred kilobytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk(tiny_disk, tmp_path):
    said = r"cannot be written: No space left on device.*repeat the call to resume"
    with pytest.raises(StoreError, match=said):
        small(tiny_disk)
    store = tiny_disk / "run.zarr"
    counted = zarr.open_group(store, mode="r")
    done = counted["crops/arcface/status"][:] == 1
    assert (counted["crops/arcface/crop"][:][done] > 0).any(axis=(1, 2, 3)).all()
    assert len(fl.store.check(store)) == 0
    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny_disk)], check=True)
    small(tiny_disk)
    shutil.copytree(store, tmp_path / "run.zarr")
    same_as_undisturbed(tmp_path)


@pytest.mark.slow
def test_a_limit_on_files(tmp_path):
    limited = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    said = said_by(in_a_process(tmp_path, before=limited))
    assert said.startswith("StoreError")
    assert "File too large" in said
    small(tmp_path)
    same_as_undisturbed(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_store_that_became_read_only(tiny_disk):
    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny_disk)], check=True)
    small(tiny_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    assert fl.open_influence(tiny_disk / "run.zarr", "r").sizes["pair"] > 10
    assert len(fl.store.check(tiny_disk / "run.zarr")) == 0
    with pytest.raises(StoreError, match="cannot be written: Read-only file system"):
        small(tiny_disk, name="again")


@pytest.mark.slow
@pytest.mark.parametrize("lost", [".", pytest.param("run.zarr", marks=pytest.mark.slow)])
def test_permission_lost(tmp_path, lost):
    """As another user, for root may write everywhere."""
    small(tmp_path)
    for folder in [*tmp_path.parents][:3]:
        folder.chmod(folder.stat().st_mode | 0o011)
    for file in [tmp_path, *tmp_path.rglob("*")]:
        if os.geteuid() == 0:
            os.chown(file, 65534, 65534)
    place = tmp_path / lost
    call = "test_kills.small(Path(sys.argv[1]), name='again')"
    before = "import freqlab.testing.studies; os.geteuid() or os.setuid(65534)"
    command = in_a_process(tmp_path, before=before, call=call)
    Path(command[1]).chmod(0o644)
    kept = place.stat().st_mode
    place.chmod(0o555)
    if lost == ".":
        (tmp_path / "run.zarr.lock").unlink(missing_ok=True)
    said = said_by(command)
    place.chmod(kept)
    assert said.startswith("StoreError")
    assert "cannot be written: Permission denied" in said
    small(tmp_path, name="again")
    assert len(fl.store.check(tmp_path / "run.zarr")) == 0


@pytest.mark.slow
def test_a_store_removed_under_the_run(tmp_path):
    faces = make_faces(n_subjects=40, per_subject=2)
    network = Linear()
    calls = []

    def removing(images):
        calls.append(len(images))
        while len(calls) == 20 and (tmp_path / "run.zarr").exists():  # a thread may be writing
            shutil.rmtree(tmp_path / "run.zarr", ignore_errors=True)
        return network(images)

    model = fl.wrap_model(removing, name="linear", version="1")
    with pytest.raises(StoreError, match="was removed or moved while a run was writing"):
        fl.influence(
            faces, fl.make_pairs(faces), models=[model], store=tmp_path / "run.zarr", progress=False
        )
    shutil.rmtree(tmp_path / "run.zarr", ignore_errors=True)
    small(tmp_path)
    same_as_undisturbed(tmp_path)


COMMAND_LINE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # may have come ignored from a script
import freqlab as fl
from freqlab import cli
from freqlab.models.spec import Model

forward = Model.forward
def slow(self, prepared):
    print("x", flush=True)
    time.sleep(0.05)
    return forward(self, prepared)
Model.forward = slow
sys.argv[0] = "freqlab"
cli.main()
"""


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        pytest.param([signal.SIGTERM], 143, marks=pytest.mark.exhaustive),
        pytest.param([signal.SIGINT], 130, marks=pytest.mark.slow),
        pytest.param([signal.SIGINT, signal.SIGINT], None, marks=pytest.mark.exhaustive),
    ],
)
def test_asked_to_stop(tmp_path, orl, signals, code):
    script = tmp_path / "stopped.py"
    script.write_text(COMMAND_LINE)
    table = orl.table.iloc[:40].assign(path=[str(p) for p in orl.table["path"].iloc[:40]])
    table.to_csv(tmp_path / "faces.csv")
    command = [sys.executable, str(script), "run", "--faces", str(tmp_path / "faces.csv")]
    command += ["--outside"]  # the photographs lie elsewhere
    command += ["--model", "mobilefacenet", "--store", str(tmp_path / "run.zarr")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(12):
        assert process.stdout.readline() == "x\n"
    for number in signals:
        process.send_signal(number)
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    if code is not None:
        assert process.returncode == code, err
        assert "stopped; repeat the command to resume" in err
        assert "Traceback" not in err
    assert process.returncode != 0
    assert len(fl.store.check(tmp_path / "run.zarr")) == 0
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert len(fl.store.check(tmp_path / "run.zarr")) == 0


def test_a_clock_that_leaps(tmp_path, monkeypatch):
    leaps = iter(range(10**6))
    with monkeypatch.context() as asleep:
        asleep.setattr(time, "time", lambda: 1.7e9 + (-1) ** next(leaps) * 86400.0)
        small(tmp_path)
    same_as_undisturbed(tmp_path)


@pytest.mark.slow
def test_a_lock_of_the_dead_does_not_block(runs, tmp_path):
    pid = runs.begin(tmp_path / "run.zarr")
    while not (tmp_path / "run.zarr/zarr.json").exists():
        time.sleep(0.01)
    with pytest.raises(StoreError, match="being written by another run"):
        small(tmp_path)
    with pytest.raises(StoreError, match="being written by another run"):
        fl.store.forget(tmp_path / "run.zarr", subject="p1")
    os.kill(pid, signal.SIGKILL)
    assert runs.end()[0] == -signal.SIGKILL
    assert (tmp_path / "run.zarr.lock").exists()
    runs.begin(tmp_path / "run.zarr")
    assert runs.end()[0] == 0

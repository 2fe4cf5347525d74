"""One writer at a time, whatever the path, the file system, and whoever's the lock file is."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Linear, make_faces
from typer.testing import CliRunner

import freqlab as fl
from freqlab import cli
from freqlab.errors import ParameterError, StoreError
from freqlab.store import lock_files, locking
from freqlab.store.locking import locked

NOBODY = 65534

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user: needs root"
)


def compute(store, network=None, **options):
    faces = make_faces(n_subjects=2, per_subject=2)
    model = fl.wrap_model(network or Linear(), name="linear")
    pairs = fl.make_pairs(faces, seed=0)
    return fl.influence(faces, pairs, models=[model], store=store, progress=False, **options)


@pytest.fixture
def hurried(monkeypatch):
    """Signs of life every fifth of a second."""
    for module in (lock_files, locking):
        monkeypatch.setattr(module, "BEAT", 0.2)
        monkeypatch.setattr(module, "SILENCE", 1.2)


@pytest.fixture
def shared():
    """A folder that everybody may write to, and reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def elsewhere(tmp_path):
    """Holds locks in a process of its own, which says it is on another machine."""
    script = tmp_path / "holder.py"
    script.write_text(
        "import contextlib, os, socket, sys, time\n"
        "from freqlab.store import lock_files\n"
        "from freqlab.store.locking import locked\n"
        "host, beat, uid, store, mask = sys.argv[1:6]\n"
        "os.umask(int(mask, 8))\n"
        "lock_files.BEAT = float(beat)\n"
        "if host: lock_files.socket.gethostname = lambda: host\n"
        "if int(uid): os.setuid(int(uid))\n"
        "with locked(store):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    script.chmod(0o644)
    started = []

    def hold(store, *, host="", beat=0.2, uid=0, mask="022"):
        words = [sys.executable, str(script), host, str(beat), str(uid), str(store), mask]
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def refused(store):
    with pytest.raises(StoreError, match="is being written by another run"), locked(store):
        pass


ALIASES = {
    "a link to the store": "link.zarr",
    "a link to its folder": "folder/run.zarr",
    "a link to a link": "again.zarr",
    "a relative path": None,
    "dots": "real/../real/./run.zarr",
    "a slash at its end": "real/run.zarr/",
    "file://": "file://",
    "local://": "local://",
}


FEW = ("a link to the store", "a relative path", "file://")  # the rest is of these kinds


@pytest.mark.slow
@pytest.mark.parametrize(
    "alias", [pytest.param(one, marks=() if one in FEW else pytest.mark.slow) for one in ALIASES]
)
def test_one_lock_whatever_the_path(alias, tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    store = tmp_path / "real" / "run.zarr"
    (tmp_path / "link.zarr").symlink_to(store)
    (tmp_path / "again.zarr").symlink_to(tmp_path / "link.zarr")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    compute(store, name="a")
    path = ALIASES[alias]
    other = f"{tmp_path}/{path}"
    if path is None:
        monkeypatch.chdir(tmp_path)
        other = "real/run.zarr"
    elif path.endswith("//"):
        other = f"{path}{store}"
    with locked(store):
        refused(other)
    with locked(other):
        refused(store)
        refused(other)
    result = compute(other, name="b")  # and it is the same run
    assert result.attrs["forward_passes"] == 0
    assert sorted(fl.store.result_names(store)) == ["a", "b"]
    assert len(fl.store.check(other)) == 0
    assert fl.store.forget(other, subject="p1")["faces"] == 2
    assert {entry.name for entry in tmp_path.rglob("*.lock")} == set()


def test_a_path_that_no_text_gives_away(tmp_path, monkeypatch):
    """As a mount of the same folder elsewhere, or another spelling where letters' case is one."""
    store = tmp_path / "run.zarr"
    compute(store)
    mount = tmp_path / "mount"
    mount.mkdir()
    bound = subprocess.run(["mount", "--bind", store, mount], capture_output=True, check=False)
    if bound.returncode:  # not allowed here: the lock file alone lies elsewhere then
        other = store
        file = str(tmp_path / "elsewhere.lock")
        switch = pytest.MonkeyPatch.context
    else:
        other, file, switch = mount, None, None
    try:
        with locked(store), contextlib.ExitStack() as stack:
            if switch:
                patch = stack.enter_context(switch())
                patch.setattr(lock_files, "lock_file_of", lambda path: file)
            with pytest.raises(StoreError, match="by another run under another path"):
                compute(other)
    finally:
        if bound.returncode == 0:
            subprocess.run(["umount", mount], check=True)


def test_links_to_nothing_and_addresses_that_became_paths(tmp_path):
    (tmp_path / "run.zarr").symlink_to(tmp_path / "gone.zarr")
    with pytest.raises(StoreError, match="a broken link"):
        compute(tmp_path / "run.zarr")
    with pytest.raises(ParameterError, match="lost a slash .* give it as text"):
        compute(Path("s3://bucket/run.zarr"))


def test_it_says_who_writes(tmp_path, elsewhere):
    store = tmp_path / "run.zarr"
    process = elsewhere(store)
    found = json.loads((tmp_path / "run.zarr.lock").read_text())
    assert (found["process"], found["host"]) == (process.pid, socket.gethostname())
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    said = rf"process {process.pid} on {socket.gethostname()}, user {user}, since 20\d\d-"
    with pytest.raises(StoreError, match=said) as refusal:
        compute(store)
    assert "unlock" not in str(refusal.value)  # no use while that process lives
    process.communicate("")
    assert not (tmp_path / "run.zarr.lock").exists()
    compute(store)


@pytest.mark.parametrize(
    "code",
    [
        errno.ENOLCK,
        pytest.param(errno.EOPNOTSUPP, marks=pytest.mark.slow),
        pytest.param(errno.ENOSYS, marks=pytest.mark.slow),
    ],
)
def test_a_file_system_without_locks(code, tmp_path, monkeypatch, hurried, elsewhere):
    """Lustre and NFS servers without a lock service: signs of life take the lock's place."""

    def flock(fd, how):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(lock_files.fcntl, "flock", flock)
        with locked(tmp_path / "run.zarr") as lock:
            lock.check()
            refused(tmp_path / "run.zarr")
            patch.undo()  # one whose file system has locks heeds it too
            refused(tmp_path / "run.zarr")
            patch.setattr(lock_files.fcntl, "flock", flock)
        assert not (tmp_path / "run.zarr.lock").exists()
        with locked(tmp_path / "run.zarr") as lock:
            (tmp_path / "run.zarr.lock").write_text('{"writer": "another"}')
            lock._alive_at -= 60
            with pytest.raises(StoreError, match="taken over by another run"):
                lock.check()
        (tmp_path / "run.zarr.lock").write_text('{"writer": "dead", "beats": 3}')
        result = compute(tmp_path / "run.zarr")
        assert np.isfinite(result["influence"]).all()
        (tmp_path / "run.zarr.lock").write_text('{"writer": "dead", "beats": 3}')
    assert fl.store.unlock(tmp_path / "run.zarr") is not None
    assert not (tmp_path / "run.zarr.lock").exists()


def test_a_stale_handle(tmp_path, monkeypatch):
    flock, n_stale = fcntl.flock, 2

    def stale(fd, how):
        nonlocal n_stale
        n_stale -= 1
        if n_stale >= 0:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return flock(fd, how)

    monkeypatch.setattr(lock_files.fcntl, "flock", stale)
    with locked(tmp_path / "run.zarr"):
        assert n_stale < 0
    n_stale = 10**6
    with pytest.raises(StoreError, match="replaced again and again"), locked(tmp_path / "run.zarr"):
        pass


def test_any_other_fault_of_locking_is_said_in_words(tmp_path, monkeypatch):
    def broken(fd, how):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(lock_files.fcntl, "flock", broken)
    with pytest.raises(StoreError, match=r"cannot be locked.*Input/output error"):
        compute(tmp_path / "run.zarr")


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    lock = tmp_path / "run.zarr.lock"
    for make, said in (
        (lambda: lock.symlink_to(precious), "is a link"),
        (lambda: os.link(precious, lock), "has another hard link"),
        (lambda: lock.symlink_to(tmp_path / "nothing"), "is a link"),
        (lambda: os.mkfifo(lock), "is not a regular file"),
        (lambda: lock.mkdir(), "is a folder"),
    ):
        make()
        with pytest.raises(StoreError, match=said):
            compute(tmp_path / "run.zarr")
        assert precious.read_text() == "mine"
        assert not (tmp_path / "nothing").exists()
        lock.rmdir() if lock.is_dir() and not lock.is_symlink() else lock.unlink()


def test_a_lock_left_by_another_version(tmp_path):
    (tmp_path / "run.zarr.lock").write_bytes(b"")
    compute(tmp_path / "run.zarr")
    assert not (tmp_path / "run.zarr.lock").exists()


AS_NOBODY = """
import os, sys
from freqlab.errors import FreqlabError
from freqlab.store.locking import locked
os.chdir(sys.argv[1])
os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})
try:
    with locked("run.zarr"):
        print("held")
except FreqlabError as error:
    print(type(error).__name__, error)
"""


def as_nobody(folder):
    """What another user meets who locks the store by a relative path."""
    words = [sys.executable, "-c", AS_NOBODY.format(nobody=NOBODY), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@needs_root
@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_dead_colleagues_lock_file(shared, mode):
    """Of umask 022 in a folder that both may write to."""
    lock = shared / "run.zarr.lock"
    lock.write_text(json.dumps({"user": "anna", "process": 1, "host": socket.gethostname()}))
    lock.chmod(mode)
    if mode == 0o644:
        assert as_nobody(shared) == "held"
        assert not lock.exists()
    else:
        said = as_nobody(shared)
        assert said.startswith("StoreError store 'run.zarr' cannot be locked: its lock file")
        assert "belongs to user root" in said
        assert "freqlab unlock run.zarr" in said


@needs_root
@pytest.mark.parametrize("mask", ["022", "077"])
def test_a_living_colleagues_lock(shared, elsewhere, mask):
    process = elsewhere(shared / "run.zarr", mask=mask)
    said = as_nobody(shared)
    assert said.startswith("StoreError store 'run.zarr' is being written by another run")
    assert f"process {process.pid} on" in said


@needs_root
def test_a_folder_that_belongs_to_others(shared):
    shared.chmod(0o755)
    (shared / "run.zarr.lock").write_text("")
    (shared / "run.zarr.lock").chmod(0o600)
    assert "cannot be used by nobody (Permission denied)" in as_nobody(shared)
    (shared / "run.zarr.lock").unlink()
    assert "cannot be written: Permission denied" in as_nobody(shared)


def test_unlock_refuses_while_the_holder_lives(tmp_path, elsewhere, hurried):
    store = tmp_path / "run.zarr"
    assert fl.store.unlock(store) is None
    process = elsewhere(store)
    with pytest.raises(StoreError, match=f"alive .process {process.pid} on .*--force"):
        fl.store.unlock(store)
    assert fl.store.unlock(store, force=True).process == str(process.pid)
    assert not (tmp_path / "run.zarr.lock").exists()


def test_unlock_watches_for_life_on_another_machine(tmp_path, elsewhere, hurried):
    store = tmp_path / "run.zarr"
    elsewhere(store, host="node7")
    with pytest.raises(StoreError, match="on node7.*freqlab unlock"):
        compute(store)
    with pytest.raises(StoreError, match="alive .*on node7"):
        fl.store.unlock(store)
    assert (tmp_path / "run.zarr.lock").exists()


def test_unlock_takes_a_dead_machines_lock(tmp_path, elsewhere, hurried):
    """The server holds it still, as of an NFS client that was switched off."""
    store = tmp_path / "run.zarr"
    process = elsewhere(store, host="node7", beat=1000)
    call = CliRunner().invoke(cli.app, ["unlock", str(store)])
    assert call.exit_code == 0, call.output
    assert f"the lock was removed; process {process.pid} on node7, user " in call.output
    assert "there is no lock" in CliRunner().invoke(cli.app, ["unlock", str(store)]).output
    compute(store)


def test_a_lock_of_another_machine_that_only_that_machine_sees(tmp_path, hurried):
    """Where a file system locks per machine, the file is free here though it is held there."""
    file = tmp_path / "run.zarr.lock"
    file.write_text('{"writer": "x", "host": "node7", "process": 5, "user": "anna"}')
    began = time.monotonic()
    with locked(tmp_path / "run.zarr"):  # nobody touched it: a run that was killed there
        assert time.monotonic() - began > 1
    file.write_text('{"writer": "x", "host": "node7", "process": 5, "user": "anna"}')
    code = "import os, sys, time\nfor _ in range(100): os.utime(sys.argv[1]); time.sleep(0.1)"
    with subprocess.Popen([sys.executable, "-c", code, file]) as toucher:
        with pytest.raises(StoreError, match="process 5 on node7, user anna"):
            compute(tmp_path / "run.zarr")
        toucher.kill()


def test_who_lost_the_lock_writes_no_more(tmp_path):
    store, calls = tmp_path / "run.zarr", []

    def network(images):
        calls.append(len(images))
        if len(calls) == 5:
            fl.store.unlock(store, force=True)
        return torch.nn.functional.avg_pool2d(images, 28).flatten(1)

    with pytest.raises(StoreError, match="the lock of store .* was removed"):
        compute(store, network=network, batch_size=4)
    done = compute(store, network=network)
    assert done.attrs["forward_passes"] > 0  # what was under way then did not count
    assert np.isfinite(done["influence"]).all()
    assert len(fl.store.check(store)) == 0


def test_a_lock_is_kept_by_one_of_many(tmp_path):
    """Processes that lock, look, write and release all at once."""
    code = (
        "import sys, time\n"
        "from freqlab.store.locking import locked\n"
        "from freqlab.errors import StoreError\n"
        "place, count, n = sys.argv[1], sys.argv[1] + '.count', 0\n"
        "while n < 40:\n"
        "    try:\n"
        "        with locked(place):\n"
        "            before = int(open(count).read())\n"
        "            time.sleep(0.001)\n"
        "            open(count, 'w').write(str(before + 1))\n"
        "            n += 1\n"
        "    except StoreError:\n"
        "        time.sleep(0.001)\n"
    )
    place = str(tmp_path / "run.zarr")
    Path(f"{place}.count").write_text("0")
    started = [subprocess.Popen([sys.executable, "-c", code, place]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    assert Path(f"{place}.count").read_text() == "120"
    assert not Path(f"{place}.lock").exists()

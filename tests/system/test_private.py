"""What shows or describes people is readable for its owner alone, and for a group that shares."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import Linear
from PIL import Image
from small_stores import run

import freqlab as fl
from freqlab.store.locking import locked
from freqlab.system.private import make_folder, written_whole

OTHER = 65534  # nobody


@pytest.fixture(autouse=True)
def _loose_umask():
    before = os.umask(0o000)  # the worst there is: everything for everybody
    yield
    os.umask(before)


def modes(folder):
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.slow
def test_a_store_is_private_and_stays_so(tmp_path):
    store = tmp_path / "runs" / "run.zarr"
    seen = []
    with locked(store):
        seen = modes(tmp_path / "runs")
    assert set(seen.values()) <= {0o700, 0o600}
    result = run(store)
    run(store, n_subjects=6)  # it grows
    fl.faithfulness.deletion_curves(
        result, [fl.wrap_model(Linear(), name="linear")], n_random=1, progress=False
    )
    fl.faithfulness.save_trust_card(store, {"model": "linear", "rows": []})
    fl.store.forget(store, subject="p1")
    found = modes(tmp_path / "runs")
    assert len(found) > 100
    folders = {p for p in found if (tmp_path / "runs" / p).is_dir()}
    assert {found[p] for p in folders} == {0o700}
    assert {found[p] for p in found if p not in folders} == {0o600}


def test_a_folder_that_a_group_shares(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2770)
    before = os.umask(0o077)
    try:
        run(shared / "deeper" / "run.zarr")
        with written_whole(shared / "deeper" / "page.html") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    found = modes(shared)
    folders = {p for p in found if (shared / p).is_dir()}
    assert {found[p] for p in folders} == {0o2770}
    assert {found[p] for p in found if p not in folders} == {0o660}
    shared.chmod(0o2750)  # the group reads
    run(shared / "read.zarr")
    found = modes(shared / "read.zarr")
    assert set(found.values()) == {0o2750, 0o640}


def test_what_is_there_keeps_its_mode(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    run(folder / "run.zarr")
    assert modes(folder)["."] == 0o755
    assert modes(folder)["run.zarr"] == 0o700
    (folder / "run.zarr").chmod(0o750)
    run(folder / "run.zarr", n_subjects=5)
    assert modes(folder)["run.zarr"] == 0o750


def test_another_user_sees_nothing(tmp_path):
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    store = tmp_path / "runs" / "run.zarr"
    stop, found = threading.Event(), []

    def peep():
        """What the other user can read while the run goes on."""
        code = (
            f"import os, pathlib, sys\nos.setgroups([]); os.setgid({OTHER}); os.setuid({OTHER})\n"
            f"for path in pathlib.Path({str(tmp_path)!r}).rglob('*'):\n"
            f"    try:\n        path.open('rb').close()\n        print(path)\n"
            f"    except OSError: pass\n"
        )
        while not stop.is_set():
            ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            found.append((ended.stdout, ended.stderr, ended.returncode))

    (tmp_path / "open.txt").write_text("that the other user can read anything at all")
    thread = threading.Thread(target=peep)
    thread.start()
    try:
        run(store)
    finally:
        stop.set()
        thread.join()
    assert found
    assert {text.strip() for text, _, _ in found} == {str(tmp_path / "open.txt")}, found[0]


def test_morphs_and_tables(tmp_path):
    orl = fl.load_faces("orl").select([0, 90])
    couples = pd.DataFrame({"a": [orl.names[0]], "b": [orl.names[1]]})
    fl.morphing.make_faces(orl, couples, folder=tmp_path / "a" / "morphs", progress=False)
    assert sorted(modes(tmp_path / "a").values()) == [0o600, 0o700, 0o700]
    from typer.testing import CliRunner

    from freqlab.cli import app

    for name, pixels in (("x", orl.image(0)), ("y", orl.image(1))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / name / "1.png")
    out = tmp_path / "points.csv"
    done = CliRunner().invoke(
        app, ["landmarks", "--faces", str(tmp_path / "photos"), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


@pytest.mark.slow
def test_on_workers(tmp_path):
    """Workers write chunks of their own; they have the loose umask of their parent."""
    for i in range(40):
        (tmp_path / "photos" / f"s{i // 2}").mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 255, (112, 112, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"s{i // 2}" / f"{i}.png")
    faces = fl.load_faces(tmp_path / "photos", aligned="arcface")
    store = tmp_path / "runs" / "run.zarr"
    pytest.importorskip("distributed")
    fl.embed(faces, models=["mobilefacenet"], store=store, cluster="local:1", progress=False)
    assert set(modes(tmp_path / "runs").values()) == {0o700, 0o600}


def test_a_file_that_is_not_finished(tmp_path):
    place = tmp_path / "page.html"

    def stop_half_way():
        with written_whole(place) as file:
            file.write(b"half")
            assert set(modes(tmp_path).values()) <= {0o700, 0o600}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stop_half_way()
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file")


def test_the_umask_is_left_alone(tmp_path):
    run(tmp_path / "run.zarr")
    assert os.umask(0o000) == 0o000
    assert zarr.open_group(tmp_path / "run.zarr", mode="r").attrs["format"] == "freqlab-run"


BROWSER = """#!/bin/sh
printf '%s\\n' "$0 $*" > {folder}/arguments
cp "$(printf '%s' "$1" | sed 's,^file://,,')" {folder}/page.html
stat -c %a "$(printf '%s' "$1" | sed 's,^file://,,')" > {folder}/mode
"""


@pytest.fixture
def served(tmp_path, demo):
    """The inspector as the command line serves it, with a browser that keeps what it is given."""
    browser = tmp_path / "browser"
    browser.write_text(BROWSER.format(folder=tmp_path))
    browser.chmod(0o755)
    out, err = (tmp_path / name for name in ("out", "err"))
    command = [sys.executable, "-c", "from freqlab.cli import main; main()", "inspect"]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        server = subprocess.Popen(
            [*command, demo.attrs["store"], "--port", "18866"],
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "BROWSER": f"{browser} %s"},
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"(http://\S+)\?token=(\w+)", out.read_text())):
            assert server.poll() is None, err.read_text()
            assert time.monotonic() < deadline, err.read_text()
            time.sleep(0.2)
        yield found[1], found[2], tmp_path, server, err
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)


@pytest.mark.slow
def test_the_token_of_the_inspector(served):
    address, token, folder, server, err = served
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    assert any("inspect" in line for line in lines)
    assert not [line for line in lines if token in line]
    deadline = time.monotonic() + 20
    while not (folder / "mode").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert token not in (folder / "arguments").read_text()
    assert "file://" in (folder / "arguments").read_text()
    assert token in (folder / "page.html").read_text()
    assert (folder / "mode").read_text().strip() == "600"
    # what the server logs of requests that fail
    for place in (
        "nowhere",
        "api/kernels/none",
        "voila/render/none.ipynb",
        "%00",
        "api/contents/..%2f",
    ):
        try:
            urllib.request.urlopen(f"{address}{place}?token={token}", timeout=20).read()
        except (urllib.error.HTTPError, OSError):
            continue
    server.send_signal(signal.SIGINT)
    server.wait(timeout=60)
    assert token not in err.read_text()


def test_what_is_logged_has_no_token(caplog):
    import logging

    from freqlab.inspector.serving import _SecretFilter

    logger = logging.getLogger("freqlab-test-of-tokens")
    logger.addFilter(_SecretFilter("abc123"))
    try:
        raise ValueError("GET /?token=abc123")
    except ValueError:
        logger.exception("Uncaught exception %s", "GET /?token=abc123")
    assert "abc123" not in caplog.text
    assert "ValueError: GET /?token=[secret]" in caplog.text

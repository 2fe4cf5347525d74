"""Reading a run while it grows, and from places where no run can be."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.errors import FreqlabError, ParameterError, StoreError
from freqlab.store import reading
from freqlab.store.run_store import RunStore

GROWING = """
import sys
sys.path[:0] = [{tests!r}]
import freqlab as fl
from conftest import Linear, make_faces
faces = make_faces(n_subjects=20, per_subject=2, size=112)
model = fl.wrap_model(Linear(), name="m")
options = dict(models=[model], store=sys.argv[1], bands="rings:56", progress=False)
for n in range(4, 41, 4):
    some = faces.select(range(n))
    if n % 8 == 0:
        some = fl.Faces(some.table.assign(**{{f"c{{n}}": n}}), some.images, aligned="arcface")
    fl.influence(some, fl.make_pairs(some, seed=n), name=f"r{{n}}", **options)
    print(n, flush=True)
"""


@pytest.mark.slow
def test_a_run_is_read_while_it_grows(tmp_path):
    store = tmp_path / "run.zarr"
    command = [sys.executable, "-c", GROWING.format(tests=os.path.dirname(__file__)), str(store)]
    n_read, sizes = 0, set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "4\n"
        os.set_blocking(process.stdout.fileno(), False)
        while process.poll() is None:
            found = fl.open_run(store)
            n = found["faces"].sizes["face"]
            sizes.add(n)
            assert len(set(found["faces"]["face"].to_numpy())) == n
            for node in found.subtree:
                if "face" in node.sizes:
                    assert node.sizes["face"] <= n
            result = fl.open_influence(store)
            assert np.isfinite(result["similarity"]).all()
            assert result.attrs["name"] in reading.result_names(store)
            assert len(fl.open_embeddings(store, model="m")) >= 4
            assert "cycles/image" in fl.store.describe_run(store)
            n_read += 1
        assert process.returncode == 0
    assert n_read >= 5
    assert len(sizes) >= 3  # it did grow meanwhile
    assert fl.open_run(store)["faces"].sizes["face"] == 40


def test_what_changes_between_two_looks_is_looked_at_again(tmp_path, monkeypatch):
    """Arrays become longer after their lengths were asked for, and before they are opened."""
    faces = make_faces(n_subjects=3, per_subject=2, size=4)
    store = RunStore(tmp_path / "run.zarr", block_size=4)
    store.add_faces(faces.select(range(3)))
    real, grown = xr.open_zarr, []

    def grows(*arguments, **options):
        if not grown:
            grown.append(RunStore(tmp_path / "run.zarr").add_faces(faces))
            store.faces["subject"].resize((7,))
        return real(*arguments, **options)

    monkeypatch.setattr(reading.xr, "open_zarr", grows)
    assert fl.open_run(tmp_path / "run.zarr")["faces"].sizes["face"] in (3, 6)
    monkeypatch.setattr(reading, "_PATIENCE", 0.2)

    def broken(*arguments, **options):
        raise KeyError("status")

    monkeypatch.setattr(reading.xr, "open_zarr", broken)
    with pytest.raises(StoreError, match=r"cannot be read \(KeyError.*--verify"):
        fl.open_run(tmp_path / "run.zarr")


def influence(store):
    faces = make_faces(n_subjects=2, per_subject=2)
    model = fl.wrap_model(Linear(), name="m")
    return fl.influence(faces, fl.make_pairs(faces), models=[model], store=store, progress=False)


WAYS = {
    "run": influence,
    "embed": lambda store: fl.embed(
        make_faces(), models=[fl.wrap_model(Linear(), name="m")], store=store, progress=False
    ),
    "plan": lambda store: fl.plan(
        make_faces(),
        fl.make_pairs(make_faces()),
        models=[fl.wrap_model(Linear(), name="m")],
        store=store,
        calibrate=0,
    ),
    "open": fl.open_run,
    "result": fl.open_influence,
    "verify": fl.store.check,
    "forget": lambda store: fl.store.forget(store, subject="x"),
    "unlock": fl.store.unlock,
    "inspect": fl.edits.Inspection,
}


@pytest.mark.parametrize("way", WAYS)
def test_places_where_no_run_can_be(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    places = [
        "file", "file/run.zarr", "file/below/run.zarr", "x" * 300, f"{'x' * 300}/run.zarr",
        "/".join(["y" * 200] * 30), "a\0b", "/dev/null", "/dev/full", "/dev/null/run.zarr", "pipe",
        "pipe/run.zarr", "loop", "loop/run.zarr", "", " ", "/proc/run.zarr", Path("s3://bucket/run"),
        3, None if way not in ("run", "embed", "plan") else 3.5, b"run.zarr",
        "nosuchprotocol://bucket/run.zarr", "http://127.0.0.1:1/run.zarr",
    ]  # fmt: skip
    for place in places:
        if way in ("unlock", "plan") and place == "/proc/run.zarr":
            continue  # nothing would be written there
        with pytest.raises((FreqlabError, ParameterError)) as refusal:
            WAYS[way](place)
        said = str(refusal.value)
        assert 15 < len(said.replace("x" * 300, "").replace("y" * 200, "")) < 900, (place, said)
        assert "damaged" not in said, (place, said)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "loop", "pipe"]


AS_NOBODY = """
import os, sys
import freqlab as fl
from freqlab.errors import FreqlabError
from freqlab.store.locking import locked
os.chdir("/")
ways = (fl.open_run, fl.open_influence, fl.store.check)
for way in (*ways, lambda s: fl.store.forget(s, subject="p1")):
    way(sys.argv[1])  # what is imported late, is imported now
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for place in sys.argv[2:]:
    for way in (*ways, lambda s: fl.store.forget(s, subject="x"), lambda s: locked(s).__enter__()):
        try:
            way(place)
            print("done")
        except FreqlabError as error:
            print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="becomes another user: needs root")
def test_places_without_permission():
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        closed, half = Path(above, "closed"), Path(above, "half.zarr")
        influence(closed / "run.zarr")
        influence(half)
        shutil.copytree(half, Path(above, "sound.zarr"))
        closed.chmod(0o700)
        for folder in (half / "faces", half / "influence"):
            folder.chmod(0o700)
        command = [
            sys.executable,
            "-c",
            AS_NOBODY,
            f"{above}/sound.zarr",
            str(closed / "run.zarr"),
            str(half),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said = done.stdout.splitlines()
        assert len(said) == 10
        for line in said:
            assert line.startswith("StoreError "), line
            assert os.strerror(errno.EACCES) in line
            assert "damaged" not in line

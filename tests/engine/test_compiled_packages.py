"""The cache of compiled networks: what it trusts, what it keeps, what it removes."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import Linear
from typer.testing import CliRunner

import freqlab as fl
from freqlab.cli import app
from freqlab.engine import compiled_packages
from freqlab.engine.compiled_packages import (
    cache_folder,
    clear_packages,
    find_package,
    keep_package,
    package_key,
    packages,
)
from freqlab.errors import ParameterError

KEYS = [f"{i:032x}" for i in range(40)]
FACTS = {"format": 1, "input": [8, 3, 112, 112], "precision": "float32", "device": "cpu"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FREQLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


def put(tmp_path, key=KEYS[0], content=b"a library"):
    made = tmp_path / "made.pt2"
    made.write_bytes(content)
    return keep_package(made, key, FACTS, "tiny")


def test_where_it_lies(monkeypatch, tmp_path):
    for text in ("off", "OFF", "0"):
        monkeypatch.setenv("FREQLAB_CACHE", text)
        assert cache_folder() is None
        assert packages() == []
    monkeypatch.setenv("FREQLAB_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "compiled"
    monkeypatch.setenv("FREQLAB_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "freqlab" / "compiled"


def test_what_is_kept_is_found_and_closed_to_others(cache, tmp_path):
    path = put(tmp_path)
    assert find_package(KEYS[0]) == path
    assert path.read_bytes() == b"a library"
    assert {p.stat().st_mode & 0o777 for p in cache.iterdir()} == {0o600}
    assert cache.stat().st_mode & 0o777 == 0o700
    assert find_package(KEYS[1]) is None
    (found,) = packages()
    assert (found.model, found.facts, found.n_bytes) == ("tiny", FACTS, 9)


@pytest.mark.parametrize("fault", ["changed", "cut", "half written", "no text", "another format"])
def test_what_is_damaged_is_not_loaded(cache, tmp_path, fault):
    path = put(tmp_path)
    description = path.with_suffix(".json")
    if fault == "changed":
        path.write_bytes(b"another l")
    elif fault == "cut":
        path.write_bytes(b"a lib")
    elif fault == "half written":
        description.unlink()  # it comes last
    elif fault == "no text":
        description.write_bytes(b"\xff{")
    else:
        found = json.loads(description.read_text())
        found["facts"]["format"] = 0
        description.write_text(json.dumps(found))
    assert find_package(KEYS[0]) is None
    put(tmp_path)
    assert find_package(KEYS[0]) == path


@pytest.mark.parametrize("which", ["folder", "package", "description"])
@pytest.mark.parametrize("fault", ["mode", "owner"])
def test_what_others_may_have_written_is_not_loaded(cache, tmp_path, which, fault):
    path = put(tmp_path)
    place = {"folder": cache, "package": path, "description": path.with_suffix(".json")}[which]
    if fault == "mode":
        place.chmod(0o770 if which == "folder" else 0o620)
    elif os.getuid() == 0:
        os.chown(place, 12345, -1)
    else:
        pytest.skip("only root gives files away")
    assert find_package(KEYS[0]) is None
    if which == "folder":
        with pytest.raises(ParameterError, match="is not used: (others may|it belongs)"):
            put(tmp_path)


def test_clearing_removes_what_is_its_own(cache, tmp_path):
    put(tmp_path)
    (cache / f".{KEYS[1]}-left").mkdir()
    (cache / f"{KEYS[1]}.lock").touch()
    (cache / "notes.txt").write_text("mine")
    runner = CliRunner()
    said = runner.invoke(app, ["cache"]).output
    assert f"{KEYS[0]}.pt2: tiny, float32, batches of 8, cpu, 0.0 MB" in said
    assert "removed 1 compiled network(s)" in runner.invoke(app, ["cache", "--clear"]).output
    assert [path.name for path in cache.iterdir()] == ["notes.txt"]
    assert clear_packages() == 0


def test_the_longest_unused_go_first(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_packages, "_MOST_PACKAGES", 3)
    for age, key in enumerate(KEYS[:3]):
        os.utime(put(tmp_path, key), (1e9 - age, 1e9 - age))
    assert find_package(KEYS[2])  # used now
    put(tmp_path, KEYS[3])
    assert {p.path.stem for p in packages()} == {KEYS[0], KEYS[2], KEYS[3]}


def test_leftovers_of_killed_compilers_go_once_they_are_old(cache, tmp_path):
    put(tmp_path)
    old, new = cache / f".{KEYS[1]}-old1", cache / f".{KEYS[1]}-new1"
    for folder in (old, new):
        folder.mkdir()
        (folder / "network.pkl").write_bytes(b"weights")
    os.utime(old, (1e9, 1e9))
    put(tmp_path, KEYS[2])
    assert not old.exists()
    assert new.exists()


class Scaled(Linear):
    def __init__(self, scale, **given):
        super().__init__(**given)
        self.scale = scale

    def forward(self, images):
        return super().forward(images) * self.scale


def test_what_a_key_depends_on():
    def key(network=None, batch_size=8, threads=1, **changes):
        model = fl.wrap_model(network or Scaled(2.0), name="m")
        model = dataclasses.replace(model, **changes)
        return package_key(model, batch_size=batch_size, threads=threads)[0]

    class Other(Linear):
        def forward(self, images):
            return super().forward(images).relu()

    assert key() == key(Scaled(2.0))
    other = [
        key(Scaled(2.5)),
        key(Scaled(2.0, seed=1)),
        key(Linear()),
        key(Other()),
        key(batch_size=4),
        key(threads=2),
        key(precision="bfloat16"),
        key(channels_last=True),
    ]
    assert len({key(), *other}) == 9


@pytest.mark.slow
def test_a_key_is_the_same_in_every_process():
    code = (
        "import freqlab as fl; from freqlab.engine.compiled_packages import package_key; "
        "model = fl.load_model('mobilefacenet', device='cpu'); "
        "print(package_key(model, batch_size=8, threads=1)[0])"
    )
    keys = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    here = package_key(fl.load_model("mobilefacenet", device="cpu"), batch_size=8, threads=1)
    assert {key.strip() for key in keys} == {here[0]}


def test_code_in_a_notebook_counts():
    """Classes without a file are told apart by what they do."""
    keys = []
    for body in ("images.flatten(1)", "images.flatten(1) * (lambda: 3)()"):
        space = {"torch": torch, "__name__": "__main__"}
        exec(
            f"class Net(torch.nn.Module):\n    def forward(self, images):\n        return {body}",
            space,
        )
        model = fl.wrap_model(space["Net"](), name="m", version="1")
        keys.append(package_key(model, batch_size=8, threads=1)[0])
        assert keys[-1] == package_key(model, batch_size=8, threads=1)[0]
    assert keys[0] != keys[1]

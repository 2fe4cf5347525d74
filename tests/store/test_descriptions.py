"""The results of a run as a table, and its description."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from typer.testing import CliRunner

import freqlab as fl
from freqlab.cli import app
from freqlab.errors import StoreError

EARLIER = Path(__file__).parents[1] / "stores" / "earlier.zip"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two results, one with three pairs without a similarity for some model."""
    store = tmp_path_factory.mktemp("run") / "run.zarr"
    faces = fl.testing.faces()
    pairs = fl.make_pairs(faces, seed=0)
    fl.testing.influence(faces, pairs, store=store, name="z", sides=["probe"])
    other = [fl.testing.model(), fl.testing.model("other", seed=1)]
    bands = fl.rings(0.1, unit="cycles/pixel")
    fl.testing.influence(faces, pairs[:5], store=store, name="a", models=other, bands=bands)
    similarity = zarr.open_group(store)["influence/a/similarity"]
    similarity[0, :2] = np.nan
    similarity[1, 1:3] = np.nan
    return store


def test_table(store):
    table = fl.store.results_table(store)
    assert list(table.index) == fl.store.result_names(store)
    z, a = table.loc["z"], table.loc["a"]
    assert z.drop("made").to_dict() == {
        "faces": 12,
        "pairs": 24,
        "nan_pairs": 0,
        "sides": "probe",
        "bands": 3,
        "unit": "cycles/image",
        "models": "linear",
        "purpose": "called by you",
    }
    assert (a["pairs"], a["nan_pairs"], a["bands"], a["unit"]) == (5, 3, 6, "cycles/pixel")
    assert (a["models"], a["sides"]) == ("linear, other", "probe, reference, both")
    made = pd.Timestamp(fl.open_influence(store, "z").attrs["created_at"])
    assert z["made"] == made
    assert table["made"].dt.tz is not None


def test_info_shows_the_table(store):
    said = CliRunner().invoke(app, ["info", str(store)]).output
    lines = said.splitlines()
    start = next(i for i, line in enumerate(lines) if "2 results, oldest first" in line)
    assert lines[start + 1].split() == [
        *("name", "made", "(UTC)", "faces", "pairs", "NaN", "sides", "bands", "models", "purpose")
    ]
    rows = {line.split()[0]: line for line in lines[start + 2 : start + 4]}
    assert "3  probe, reference, both  6 cycles/pixel  linear, other" in rows["a"]
    assert rows["a"].index("called by you") == rows["z"].index("called by you")


def test_runs_without_results_and_places_without_runs(tmp_path):
    faces = fl.testing.faces(2, 1)
    store = tmp_path / "run.zarr"
    fl.embed(faces, models=[fl.testing.model()], store=store, progress=False)
    table = fl.store.results_table(store)
    assert table.empty
    assert list(table.columns)[:3] == ["made", "faces", "pairs"]
    assert "oldest first" not in fl.store.describe_run(store)
    with pytest.raises(StoreError, match="no such folder"):
        fl.store.results_table(tmp_path / "absent.zarr")


def test_a_run_of_an_earlier_version(tmp_path):
    zipfile.ZipFile(EARLIER).extractall(tmp_path)
    table = fl.store.results_table(tmp_path / "run.zarr")
    assert table.index.tolist() == ["r"]
    assert table.loc["r", "purpose"] == "not recorded"
    assert table.loc["r", "pairs"] == fl.open_influence(tmp_path / "run.zarr").sizes["pair"]
    assert "not recorded" in fl.store.describe_run(tmp_path / "run.zarr")


def test_pairs_forgotten_are_no_longer_counted(tmp_path):
    store = tmp_path / "run.zarr"
    before = fl.testing.influence(store=store, name="r")
    doomed = [(before[f"{side}_subject"] == "p0").to_numpy() for side in ("probe", "reference")]
    fl.store.forget(store, subject="p0")
    assert fl.store.results_table(store).loc["r", "pairs"] == 24 - int(np.any(doomed, axis=0).sum())

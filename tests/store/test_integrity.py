"""A damaged store says so, and is made whole by computing what is missing."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import Linear
from small_stores import (
    chunk_files,
    compute,
    contents,
    empty,
    faces_of,
    flip,
    halve,
    make_older,
    remove,
)

import freqlab as fl
from freqlab.cli import main
from freqlab.errors import StoreError
from freqlab.store.chunks import open_root
from freqlab.store.reading import open_crops

WAYS = (flip, halve, empty, remove)
FEW_WAYS = [flip, *(pytest.param(way, marks=pytest.mark.slow) for way in (halve, empty)), remove]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "run.zarr"
    compute(store)
    return store


@pytest.fixture
def store(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run.zarr"))


def test_a_whole_store_is_whole(store):
    found = fl.store.check(store)
    assert len(found) == 0
    assert found.attrs["chunks"] == len(chunk_files(store))
    assert found.attrs["without_checksums"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_every_chunk_is_watched(store, way):
    for seed, file in enumerate(chunk_files(store)[WAYS.index(way) :: len(WAYS)]):
        before = file.read_bytes()
        way(file, seed * 37)
        found = fl.store.check(store)
        node, chunk = str(file.relative_to(store)).split("/c/")
        places = {f"{d.node}/{d.array}": d.chunk for d in found.itertuples()}
        expected = {node: tuple(map(int, chunk.split("/")))}
        assert places == expected, file
        file.write_bytes(before)


@pytest.mark.parametrize("way", FEW_WAYS)
def test_repair_gives_the_bytes_back(whole, store, way):
    expected = contents(whole)
    rng = np.random.default_rng(WAYS.index(way))
    for file in [store / name for name in expected]:
        if rng.random() < 0.7 and not (file.parts[-3] == "face" and "faces" in file.parts):
            way(file, int(rng.integers(10**6)))
    assert len(fl.store.check(store)) > 3
    compute(store, repair=True)
    assert len(fl.store.check(store)) == 0
    assert contents(store) == expected


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_names_come_back_by_the_images(whole, store, way):
    way(store / "faces/face/c/1", 11)
    compute(store, repair=True)
    assert contents(store) == contents(whole)


def test_damage_costs_its_own_block_only(store):
    flip(store / "embeddings/linear/intact/embedding/c/1/0", 100)
    result = compute(store, repair=True)
    assert result.attrs["forward_passes"] == 42 - 32


@pytest.mark.slow
@pytest.mark.parametrize("way", FEW_WAYS)
def test_what_studies_kept_is_made_anew(store, way):
    """Damage in it is found as elsewhere; repair takes the whole of it out."""
    model = fl.wrap_model(Linear(), name="linear")
    some = fl.open_influence(store).isel(pair=[0, 1])
    curves = fl.faithfulness.deletion_curves(some, [model], n_random=1, progress=False)
    maps = fl.saliency.gradient_maps(some, model, steps=2, progress=False)
    assert len(fl.store.check(store)) == 0
    kept = [f for f in chunk_files(store) if {"sets", "saliency"} & set(f.parts)]
    for file in kept:
        way(file, 11)
    assert len(fl.store.check(store)) == len(kept)
    if way is not remove:
        with pytest.raises(StoreError, match="'sets/linear.*--repair"):
            fl.faithfulness.deletion_curves(some, [model], n_random=1, progress=False)
    compute(store, repair=True)
    assert len(fl.store.check(store)) == 0
    again = fl.faithfulness.deletion_curves(some, [model], n_random=1, progress=False)
    np.testing.assert_array_equal(again["similarity"], curves["similarity"])
    remade = fl.saliency.gradient_maps(some, model, steps=2, progress=False)
    np.testing.assert_array_equal(remade["space"], maps["space"])


def test_a_run_and_a_reader_say_what_is_damaged(store):
    remove(store / "embeddings/linear/intact/embedding/c/0/0")
    with pytest.raises(StoreError, match=r"lacks chunk\(s\) of 32 faces.*--repair"):
        compute(store)
    compute(store, repair=True)
    flip(store / "influence/r/influence/c/0/0/0/0", 50)
    with pytest.raises(ValueError, match="checksum"):
        fl.open_influence(store)["influence"].load()
    flip(store / "faces/subject/c/0", 3)
    with pytest.raises(StoreError, match=r"faces/subject.*damaged.*checksum.*--repair"):
        compute(store)


def test_what_only_the_call_knows_must_be_given(store):
    flip(store / "faces/subject/c/0", 3)
    before = contents(store)
    with pytest.raises(StoreError, match="give all faces of the run; 29 are not among"):
        compute(store, faces_of().select([0, 1, 2]), repair=True)
    assert contents(store) == before


@pytest.mark.slow
@pytest.mark.parametrize("way", [flip, halve, empty, remove])
@pytest.mark.parametrize(
    "place",
    [
        "embeddings/linear/intact/embedding",
        "embeddings/linear/intact",
        "embeddings/linear",
        "embeddings",
        "crops/arcface/status",
        "crops/arcface",
        "influence/r/similarity",
        "influence/r",
    ],
)
def test_damaged_descriptions(whole, store, place, way):
    way(store / place / "zarr.json", 0)
    found = fl.store.check(store)
    assert len(found) == 1
    assert found["chunk"][0] is None
    compute(store, repair=True)
    assert len(fl.store.check(store)) == 0
    assert contents(store) == contents(whole)


@pytest.mark.parametrize("place", [".", "faces", "faces/subject"])
def test_what_cannot_be_repaired(store, place):
    """Nor without the run's own copies, as in a store of an earlier version."""
    make_older(store)
    flip(store / place / "zarr.json", 0)
    with pytest.raises(StoreError, match="cannot be (repaired|opened)"):
        compute(store, repair=True)


def test_a_store_older_than_checksums(store, monkeypatch, tmp_path):
    old = tmp_path / "old.zarr"
    with monkeypatch.context() as before:
        for module in ("run_store", "plain_text"):
            name = f"freqlab.store.{module}"
            before.setattr(f"{name}.compressors", lambda packed: "auto" if packed else None)
            before.setattr(f"{name}.ALL_CHUNKS", None)
        before.setattr("freqlab.store.chunks.ALL_CHUNKS", {})
        compute(old)
    del zarr.open_group(old, mode="r+")["faces"].attrs["whole"]
    found = fl.store.check(old)
    assert len(found) == 0
    assert found.attrs["without_checksums"] > 10
    remove(old / "embeddings/linear/intact/embedding/c/0/0")
    halve(old / "crops/arcface/crop/c/1/0/0/0")
    assert list(fl.store.check(old)["array"]) == ["crop", "embedding"]
    compute(old, repair=True)
    assert len(fl.store.check(old)) == 0
    assert (open_crops(old, template="arcface")["status_text"] == "ok").all()
    np.testing.assert_array_equal(
        fl.open_influence(old)["influence"], fl.open_influence(store)["influence"]
    )


def test_old_nodes_get_the_new_column_whole(store):
    del open_root(store, "r+")["embeddings/linear/intact/batch_size"]
    assert compute(store).attrs["forward_passes"] == 0
    assert len(fl.store.check(store)) == 0
    kept = zarr.open_group(store, mode="r")["embeddings/linear/intact/batch_size"][:]
    assert (kept == 0).all()


def test_what_killed_writers_left_does_no_harm(store):
    left = store / "faces/subject/c/0.0123.partial"
    left.write_bytes(b"half")
    found = fl.store.check(store)
    assert (len(found), found.attrs["partial_files"]) == (0, 1)
    compute(store, repair=True)
    assert not left.exists()


def test_the_command_line(store, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["freqlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().out

    code, text = call("info", store, "--verify")
    assert code == 0
    assert " 0 damaged parts" in text
    remove(store / "crops/arcface/crop/c/0/0/0/0")
    code, text = call("info", store, "--verify")
    assert code == 1
    assert "crops/arcface/crop, chunk 0/0/0/0: is missing" in text
    assert "--repair" in text


def test_verifying_what_is_no_run(tmp_path):
    with pytest.raises(StoreError, match="no such folder"):
        fl.store.check(tmp_path / "absent.zarr")
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(StoreError, match="not of a freqlab run"):
        fl.store.check(os.fspath(tmp_path / "other.zarr"))

"""What is lost is refused, named and put back; nothing healthy is lost by repairing."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import Linear, make_faces
from PIL import Image
from small_stores import compute, contents, flip, make_older, remove

import freqlab as fl
from freqlab.cli import main
from freqlab.errors import StoreConflictError, StoreError
from freqlab.store import run_store


def faces_of(n_subjects=14):
    return make_faces(n_subjects=n_subjects, per_subject=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "run.zarr"
    compute(store)
    return store


@pytest.fixture
def store(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run.zarr"))


def names_in(store):
    return sorted(str(f.relative_to(store)) for f in store.rglob("*") if f.is_file())


# a store that was copied while it grew


def grown(n_before=12, n_after=16):
    """Sets of faces, the second of which has the first and other people than a third."""
    every = faces_of(n_after)
    before = every.select(range(3 * n_before))
    others = make_faces(n_subjects=n_after, per_subject=3, seed=9)
    strangers = fl.Faces(
        pd.concat(
            [before.table, others.table.iloc[3 * n_before :].rename(index=lambda n: f"x{n}")]
        ),
        images=[*before.images, *others.images[3 * n_before :]],
        aligned="arcface",
        name="synthetic",
    )
    return before, every, strangers


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(
    "late",
    [
        "crops",
        pytest.param("embeddings", marks=pytest.mark.exhaustive),
        "embeddings/linear/intact/embedding",
    ],
)
def test_a_store_copied_while_it_grows(tmp_path, late, older):
    """The copy has the faces of before, and rows of strangers behind them."""
    before, every, strangers = grown()
    compute(tmp_path / "before.zarr", before)
    shutil.copytree(tmp_path / "before.zarr", tmp_path / "run.zarr")
    compute(tmp_path / "run.zarr", every, name="s")
    copy = tmp_path / "copy.zarr"
    shutil.copytree(tmp_path / "before.zarr", copy)
    shutil.rmtree(copy / late)
    shutil.copytree(tmp_path / "run.zarr" / late, copy / late)
    if older:
        make_older(copy)
    if not (older and late.endswith("embedding")):  # there no status says done beyond the faces
        assert len(fl.store.check(copy)) > 0
    found = compute(copy, strangers, pairs=fl.make_pairs(strangers), name="new")
    expected = compute(
        tmp_path / "anew.zarr", strangers, pairs=fl.make_pairs(strangers), name="new"
    )
    np.testing.assert_array_equal(found["similarity"], expected["similarity"])
    np.testing.assert_array_equal(found["influence"], expected["influence"])


def test_rows_that_count_as_done_are_there(store):
    """An array that is shorter than its node's status is refused, and computed again."""
    root = zarr.open_group(store, mode="r+")
    root["embeddings/linear/intact/embedding"].resize((20, 16))
    found = fl.store.check(store)
    assert ("embeddings/linear/intact", "embedding") in {
        (d.node, d.array) for d in found.itertuples()
    }
    with pytest.raises(StoreError, match=r"shorter than its faces.*--repair|lost its"):
        compute(store)


# descriptions that are lost


NODES = ["faces", "faces/subject", "faces/status", "crops", "crops/arcface", "crops/arcface/crop"]
NODES += ["embeddings", "embeddings/linear", "embeddings/linear/intact", "influence", "influence/r"]
NODES += ["embeddings/linear/intact/embedding", "embeddings/linear/reference_embedding", "."]


@pytest.mark.parametrize(
    "place", [p if p == "faces" else pytest.param(p, marks=pytest.mark.slow) for p in NODES]
)
def test_a_lost_description_is_not_made_anew(whole, store, place):
    (store / place / "zarr.json").unlink()
    before = contents(store)
    files = names_in(store)
    more = faces_of(15)
    with pytest.raises(StoreError, match=r"lost its description .*--repair"):
        compute(store, more, pairs=fl.make_pairs(more), name="more")
    assert contents(store) == before
    assert names_in(store) == files
    found = fl.store.check(store)
    assert [text.endswith("is missing") for text in found["what"]] == [True]
    assert compute(store, repair=True).attrs["forward_passes"] == 0
    assert len(fl.store.check(store)) == 0
    assert contents(store) == contents(whole)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["faces", "crops/arcface", "embeddings/linear/intact/embedding"])
def test_nor_is_it_in_an_older_store(store, place):
    make_older(store)
    (store / place / "zarr.json").unlink()
    with pytest.raises(StoreError, match="lost its description|description, zarr.json, is missing"):
        compute(store)


def test_lost_digests(whole, store):
    shutil.rmtree(store / "digests")
    more = faces_of(15)
    with pytest.raises(StoreError, match=r"lost its digests.*--repair"):
        compute(store, more, pairs=fl.make_pairs(more), name="more")
    assert list(fl.store.check(store)["node"]) == ["digests"]
    compute(store, repair=True)
    assert len(fl.store.check(store)) == 0
    flip(store / "crops/arcface/crop/c/0/0/0/0", 99)
    assert len(fl.store.check(store)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("which", range(0, 8, 3))
def test_a_damaged_record_costs_nothing(whole, store, which):
    """Neither when it is repaired, nor when a run goes on before that."""
    record = sorted((store / "digests").glob("of-*"))[which]
    flip(record / "zarr.json", 200)
    assert len(fl.store.check(store)) == 1
    compute(store, repair=True)
    assert contents(store) == contents(whole)
    assert len(fl.store.check(store)) == 0
    shutil.rmtree(record)
    more = faces_of(15)
    compute(store, more, pairs=fl.make_pairs(more), name="more")
    assert len(fl.store.check(store)) > 0
    files = names_in(store)
    assert compute(store, repair=True).attrs["forward_passes"] == 0
    assert len(fl.store.check(store)) == 0
    assert {n for n in files if not n.startswith("digests")} <= set(names_in(store))


# files that no run wrote


def plant_strays(store):
    strays = [".DS_Store", "faces/Thumbs.db", "crops.lock", "embeddings/linear/.lock"]
    strays += ["influence/r/similarity/c/0/0~", "crops/arcface/zarr.json.bak", "@eaDir/x.jpg"]
    for name in strays:
        (store / name).parent.mkdir(exist_ok=True)
        (store / name).write_text("stray")
    nested = store / "influence/r/backup.zarr"
    zarr.open_group(nested, mode="w").create_array("face", data=np.arange(5))
    return [*strays, *(f"influence/r/backup.zarr/{name}" for name in names_in(nested))]


@pytest.mark.parametrize("older", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_strays_are_named_and_left(store, older, capsys, monkeypatch):
    if older:
        make_older(store)
    healthy = contents(store)
    strays = plant_strays(store)
    found = fl.store.check(store)
    assert len(found) == 0
    assert sorted(found.attrs["unknown"]) == sorted(strays)
    assert compute(store, repair=True).attrs["forward_passes"] == 0
    assert all((store / name).exists() for name in strays)
    assert {k: v for k, v in contents(store).items() if k in healthy} == healthy
    assert fl.open_run(store)["faces"].sizes["face"] == 42
    monkeypatch.setattr("sys.argv", ["freqlab", "info", str(store), "--verify"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert f"{len(strays):,} files were not written by freqlab" in capsys.readouterr().out


@pytest.mark.parametrize("older", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_forgetting_deletes_nobody_elses_store(store, tmp_path, older):
    if older:
        make_older(store)
    plant_strays(store)
    nested = store / "influence/r/backup.zarr"
    expected = {name: (nested / name).read_bytes() for name in names_in(nested)}
    with pytest.warns(UserWarning, match=r"files that no run wrote.*run\.zarr\.set-aside"):
        fl.store.forget(store, subject="p1")
    kept = tmp_path / "run.zarr.set-aside/influence/r/backup.zarr"
    assert {name: (kept / name).read_bytes() for name in names_in(kept)} == expected
    assert len(fl.store.check(store)) == 0


@pytest.mark.slow
def test_an_array_that_no_run_wrote_is_moved_aside(store, tmp_path):
    shutil.copytree(store / "faces/file_size", store / "faces/age")
    shutil.copytree(store / "influence/r/similarity", store / "influence/r/extra")
    found = fl.store.check(store)
    assert list(found["what"]) == ["is an array that no run wrote"] * 2
    compute(store, repair=True)
    assert len(fl.store.check(store)) == 0
    assert (tmp_path / "run.zarr.set-aside/faces/age/zarr.json").exists()
    assert not (store / "faces/age/zarr.json").exists()


# repairing says what it will do


def dry_run(store, capsys, monkeypatch, tmp_path, *more):
    faces = faces_of()
    folder = tmp_path / "photos"
    for name, subject, image in zip(faces.names, faces.subjects, faces.images, strict=True):
        (folder / subject).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / subject / f"{name[-1]}.png")
    arguments = ["run", "--faces", str(folder), "--model", "mobilefacenet", "--store", str(store)]
    monkeypatch.setattr("sys.argv", ["freqlab", *arguments, *more])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr()


@pytest.mark.slow
def test_dry_run(store, capsys, monkeypatch, tmp_path):
    flip(store / "crops/arcface/crop/c/1/0/0/0", 99)
    flip(store / "influence/r/similarity/c/0/0", 9)
    remove(store / "embeddings/linear/zarr.json")
    before = {name: (store / name).read_bytes() for name in names_in(store)}
    code, said = dry_run(store, capsys, monkeypatch, tmp_path, "--repair", "--dry-run")
    assert code == 0
    assert "crops/arcface/crop, chunk 1/0/0/0: differs from what was written" in said.out
    assert "faces are computed again" in said.out
    assert "restored from the copy in the run" in said.out
    assert "moved to" in said.out
    assert "set-aside" in said.out
    assert "3 damaged parts; nothing was written" in said.out
    assert {name: (store / name).read_bytes() for name in names_in(store)} == before
    plan = fl.store.repair_plan(store, faces_of())
    assert sorted(plan["remedy"]) == ["compute again", "not finished", "put back"]
    code, said = dry_run(store, capsys, monkeypatch, tmp_path, "--dry-run")
    assert code == 2
    assert "--dry-run requires --repair" in said.err
    assert len(fl.store.repair_plan(shutil.copytree(store, tmp_path / "x"), faces_of())) == 3


@pytest.mark.slow
def test_what_cannot_be_made_again_is_kept(store, tmp_path):
    """A damaged chunk of a result, and what studies kept, lie beside the store afterwards."""
    model = fl.wrap_model(Linear(), name="linear")
    some = fl.open_influence(store).isel(pair=[0, 1])
    fl.faithfulness.deletion_curves(some, [model], n_random=1, progress=False)
    sets = {n: (store / n).read_bytes() for n in names_in(store) if n.startswith("sets/linear/")}
    flip(store / "sets/linear/key/c/0/0", 5)
    sets["sets/linear/key/c/0/0"] = (store / "sets/linear/key/c/0/0").read_bytes()
    flip(store / "influence/r/similarity/c/0/0", 9)
    damaged = (store / "influence/r/similarity/c/0/0").read_bytes()
    compute(store, repair=True)
    aside = tmp_path / "run.zarr.set-aside"
    assert (aside / "influence/r/similarity/c/0/0").read_bytes() == damaged
    assert {n: (aside / n).read_bytes() for n in names_in(aside) if "sets" in n} == sets
    assert len(fl.store.check(store)) == 0


# what checksums do not cover


def swap(a, b):
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)


@pytest.mark.parametrize(
    "array",
    [
        "embeddings/linear/intact/embedding/c/{}/0",
        pytest.param("crops/arcface/crop/c/{}/0/0/0", marks=pytest.mark.slow),
    ],
)
def test_exchanged_chunks_are_put_back(whole, store, array):
    swap(*(store / array.format(i) for i in (0, 1)))
    found = fl.store.check(store)
    assert list(found["chunk"]) == [(0, *[0] * (array.count("/0"))), (1, *[0] * array.count("/0"))]
    assert all("it is the content of" in what for what in found["what"])
    assert compute(store, repair=True).attrs["forward_passes"] == 0
    assert contents(store) == contents(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("node", "key", "value"),
    [
        ("embeddings/linear/intact/embedding", "data_type", "int32"),
        ("embeddings/linear/intact/embedding", "fill_value", 0.0),
        ("crops/arcface/crop", "shape", [42, 112, 112, 4]),
        ("influence/r/threshold", "codecs", []),
        ("influence/r", "attributes", {}),
        (".", "attributes", {"format": "freqlab-run", "format_version": 1, "block_size": 16}),
    ],
)
def test_edited_descriptions_are_put_back(whole, store, node, key, value):
    file = store / node / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    found = fl.store.check(store)
    assert len(found) == 1
    assert "was edited" in found["what"][0]
    assert key in found["what"][0]
    compute(store, repair=True)
    assert len(fl.store.check(store)) == 0
    assert contents(store) == contents(whole)


@pytest.mark.slow
def test_stored_thresholds_are_computed_again(store):
    """Also where the digests were made to fit: by writing as freqlab writes."""
    found = fl.store.check(store)
    assert (found.attrs["thresholds"], found.attrs["influence"]) == (1, 1)
    root = fl.store.chunks.open_root(store, "r+")
    kept = json.loads(root["embeddings/linear/intact"].attrs["thresholds"])
    for one in kept.values():
        one["threshold"][0] += 0.05
    root["embeddings/linear/intact"].attrs["thresholds"] = json.dumps(kept)
    assert "thresholds" in fl.store.check(store)["what"][0]
    compute(store, repair=True)
    assert len(fl.store.check(store)) == 0
    for name, at in (("threshold", (0, 0)), ("influence", (0, 0, 0, 2)), ("similarity", (0, 0))):
        array = fl.store.chunks.open_root(store, "r+")[f"influence/r/{name}"]
        array[at] = array[at] + 0.05
        found = fl.store.check(store)
        assert found["array"][0] == name
        assert found["what"][0] == "differs from the value computed from the embeddings"
        compute(store, repair=True)
        assert len(fl.store.check(store)) == 0


def test_a_half_forgotten_store(store, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr("freqlab.store.forgetting._blank_faces", killed)
        with pytest.raises(KeyboardInterrupt):
            fl.store.forget(store, subject="p1")
    found = fl.store.check(store)
    assert any("removal of a person is not finished" in what for what in found["what"])
    fl.store.forget(store, subject="p1")
    assert len(fl.store.check(store)) == 0


@pytest.mark.slow
def test_a_person_that_came_back(store):
    """Faces that are forgotten, and a node that still has them."""
    shutil.copytree(store / "crops/arcface", store.parent / "crops")
    fl.store.forget(store, subject="p1")
    make_older(store)
    shutil.rmtree(store / "crops/arcface")
    shutil.copytree(store.parent / "crops", store / "crops/arcface")
    found = fl.store.check(store)
    assert "still has 3 faces of a person who was removed" in set(found["what"])


@pytest.mark.slow
@pytest.mark.parametrize("same_place", [False, True])
def test_a_store_replaced_during_a_run(tmp_path, same_place):
    faces = faces_of()
    compute(tmp_path / "other.zarr", make_faces(n_subjects=14, per_subject=3, seed=5))
    network, calls = Linear(), []

    def replacing(images):
        calls.append(len(images))
        if len(calls) == 12:
            if same_place:
                shutil.copytree(tmp_path / "other.zarr", tmp_path / "run.zarr", dirs_exist_ok=True)
            else:
                (tmp_path / "run.zarr").rename(tmp_path / "away.zarr")
                shutil.copytree(tmp_path / "other.zarr", tmp_path / "run.zarr")
        return network(images)

    model = fl.wrap_model(replacing, name="linear", version="1")
    with pytest.raises(StoreError, match="was replaced by another one|was removed or moved"):
        fl.influence(
            faces,
            fl.make_pairs(faces),
            models=[model],
            store=tmp_path / "run.zarr",
            progress=False,
        )
    if not same_place:
        found = fl.store.check(tmp_path / "run.zarr")
        assert [what for what in found["what"] if "another store" not in what] == []


# what is repaired from an input is held against the rest


def photographs(folder, faces):
    folder.mkdir()
    table = faces.table.copy()
    table["path"] = [str(folder / f"{i}.png") for i in range(len(faces))]
    for path, image in zip(table["path"], faces.images, strict=True):
        Image.fromarray(image).save(path)
    return fl.Faces(table, aligned="arcface", name="photographs")


@pytest.mark.slow
@pytest.mark.parametrize("keep_crops", [True, False])
@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("column", ["sha256", "landmarks", "status", "file_size"])
def test_a_replaced_photograph_is_not_taken(tmp_path, column, older, keep_crops):
    faces = photographs(tmp_path / "photos", faces_of())
    store = tmp_path / "run.zarr"
    compute(store, faces, keep_crops=keep_crops)
    if older:
        make_older(store)
    expected = contents(store)
    other = make_faces(n_subjects=1, per_subject=1, seed=77).images[0]
    original = (tmp_path / "photos/1.png").read_bytes()
    Image.fromarray(other).save(tmp_path / "photos/1.png")
    flip(store / f"faces/{column}/c/0{'/0/0' * (column == 'landmarks')}", 3)
    if older and not keep_crops and column == "sha256":
        # nothing can tell: all that rests on the photographs is made anew, from the same ones
        again = compute(store, faces, repair=True)
        assert again.attrs["forward_passes"] > 0
        anew = compute(tmp_path / "anew.zarr", faces, keep_crops=False)
        np.testing.assert_array_equal(
            fl.open_embeddings(store, model="linear"),
            fl.open_embeddings(tmp_path / "anew.zarr", model="linear"),
        )
        np.testing.assert_array_equal(again["similarity"], anew["similarity"])
        return
    with pytest.raises(StoreConflictError, match="p0/1|another image|differ from those of the run"):
        compute(store, faces, repair=True)
    (tmp_path / "photos/1.png").write_bytes(original)
    compute(store, faces, repair=True)
    assert len(fl.store.check(store)) == 0
    now = contents(store)
    # file times may differ, and a chunk of empty notes need not be there
    left_out = ("file_", "image_note/c/")
    assert {k: v for k, v in now.items() if not any(text in k for text in left_out)} == {
        k: v for k, v in expected.items() if not any(text in k for text in left_out)
    }
    assert set(fl.open_run(store)["faces"]["image_note"].to_numpy()) == {""}


@pytest.mark.slow
def test_other_subjects_are_not_taken(store):
    flip(store / "faces/subject/c/0", 3)
    faces = faces_of()
    wrong = fl.Faces(
        faces.table.assign(subject=faces.table["subject"].to_numpy()[::-1]),
        images=faces.images,
        aligned="arcface",
        name="synthetic",
    )
    with pytest.raises(StoreConflictError, match="subjects of faces.*differ from those of the run"):
        compute(store, wrong, repair=True)
    compute(store, repair=True)
    assert len(fl.store.check(store)) == 0


@pytest.mark.slow
def test_another_model_is_not_taken_for_a_lost_reference(store):
    remove(store / "embeddings/linear/reference_embedding/c/0")
    faces = faces_of()
    other = fl.wrap_model(Linear(seed=4), name="linear", version="1")
    same = fl.wrap_model(Linear(), name="linear")
    about = same.fingerprint()
    with pytest.raises(StoreConflictError, match="another 'embeddings/linear'|another model"):
        fl.influence(
            faces, fl.make_pairs(faces), models=[other], store=store, repair=True, progress=False
        )
    assert compute(store, repair=True).attrs["forward_passes"] == 0
    assert about["name"] == "linear"
    assert len(fl.store.check(store)) == 0


@pytest.mark.exhaustive
def test_kills_between_any_two_writes_leave_a_whole_store(tmp_path, monkeypatch):
    """After each write of a run, and after each log of what is going to be written."""
    from zarr.storage import LocalStore

    faces = make_faces(n_subjects=5, per_subject=2)
    monkeypatch.setattr(run_store, "_ROWS_PER_CHUNK", 4)
    whole = compute(tmp_path / "whole.zarr", faces)
    n_writes = 0
    plain_set = LocalStore.set

    class Killed(BaseException):
        pass

    def counting(limit):
        async def set_or_die(self, key, value):
            nonlocal n_writes
            n_writes += 1
            if n_writes > limit:
                raise Killed
            await plain_set(self, key, value)

        return set_or_die

    at = 0
    while True:
        store = tmp_path / f"{at}.zarr"
        n_writes = 0
        with monkeypatch.context() as limited:
            limited.setattr(LocalStore, "set", counting(at))
            try:
                compute(store, faces)
                ended = n_writes <= at
            except BaseException:
                ended = False
        if (store / "zarr.json").exists() and "format" in (store / "zarr.json").read_text():
            assert list(fl.store.check(store)["what"]) == [], at
        result = compute(store, faces)
        np.testing.assert_array_equal(result["influence"], whole["influence"])
        assert len(fl.store.check(store)) == 0
        shutil.rmtree(store)
        if ended:
            break
        at += 1 if os.environ.get("FREQLAB_EVERY_KILL") else 17
    assert at > 100

"""One person is removed from a run: really."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import TESTS, Linear, make_faces
from small_stores import everything_decoded, texts

import freqlab as fl
from freqlab.errors import StoreError, UnknownNameError
from freqlab.store import forgetting
from freqlab.store.locking import locked
from freqlab.store.run_store import RunStore

SUBJECT = "Ada Lovelace, 1815"


def faces_of():
    """Forty faces in two blocks; four of them of one person, whose names and paths show it."""
    faces = make_faces(n_subjects=10, per_subject=4)
    names = [name.replace("p4/", "ada-lovelace/") for name in faces.names]
    table = faces.table.assign(
        subject=[SUBJECT if s == "p4" else s for s in faces.table["subject"]],
        path=[f"/photographs/{name}.jpg" for name in names],
    )
    table.index = pd.Index(names, name="face")
    return fl.Faces(table, images=faces.images, aligned="arcface", name="synthetic")


def compute(store, faces, **options):
    model = fl.wrap_model(Linear(), name="linear")
    pairs = fl.make_pairs(faces, impostors_per_genuine=3, seed=0)
    return fl.influence(faces, pairs, models=[model], store=store, progress=False, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "run.zarr"
    compute(store, faces_of(), name="r")
    compute(store, faces_of(), name="only-probes", sides=["probe"])
    return store


@pytest.fixture
def store(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run.zarr"))


def rows_of(store):
    return np.flatnonzero(zarr.open_group(store, mode="r")["faces/subject"][:] == SUBJECT)


def test_what_is_searched_for_is_there_before(store):
    text = texts(store)
    assert SUBJECT in text
    assert "ada-lovelace" in text


def test_nothing_of_the_person_is_left(store):
    rows = rows_of(store)
    before = everything_decoded(store)
    crops = before["crops/arcface/crop"][rows]
    intact = before["embeddings/linear/intact/embedding"][rows]
    bands = before[f"embeddings/linear/{fl.rings().key}/embedding"][rows]
    in_pairs = np.isin(before["influence/r/probe"], rows) | np.isin(
        before["influence/r/reference"], rows
    )
    removed = fl.store.forget(store, subject=SUBJECT)
    assert (removed["faces"], removed["pairs"]) == (4, 2 * in_pairs.sum())
    assert (removed["images"], removed["mentions"], removed["photographs"]) == (0, {}, [])
    assert in_pairs.sum() > 10

    text = texts(store)
    assert "Lovelace" not in text
    assert "lovelace" not in text
    after = everything_decoded(store)
    for crop in crops:
        assert not (after["crops/arcface/crop"] == crop).all(axis=(1, 2, 3)).any()
    for node, gone in (
        (f"embeddings/linear/{fl.rings().key}", bands),
        ("embeddings/linear/intact", intact),
    ):
        numbers = after[f"{node}/embedding"]
        assert np.isnan(numbers[rows]).all()
        assert not np.isin(gone[np.isfinite(gone)], numbers[np.isfinite(numbers)]).any()
    assert (after["crops/arcface/crop"][rows] == 0).all()
    digests = before["faces/sha256"][rows]
    assert not np.isin(digests, after["faces/sha256"]).any()
    assert not np.isin(rows, after["influence/r/probe"]).any()
    gone = before["influence/r/influence"][0, in_pairs].reshape(-1, 15)
    left = after["influence/r/influence"][0].reshape(-1, 15)
    assert np.isfinite(gone).all()
    assert not {row.tobytes() for row in gone} & {row.tobytes() for row in left}


@pytest.mark.slow
def test_what_studies_kept_of_the_person_goes_too(store):
    """Embeddings of sets of bands, and maps; both are computed again when they are asked for."""
    model = fl.wrap_model(Linear(), name="linear")
    result = fl.open_influence(store, "r")
    own = result.sel(pair=result["probe_subject"].to_numpy() == SUBJECT).isel(pair=[0, 1])
    pair = own["pair"].to_numpy().tolist()[:1]
    fl.faithfulness.deletion_curves(own, [model], n_random=1, progress=False)
    fl.saliency.gradient_maps(result, model, pairs=pair, steps=2, progress=False)
    before = everything_decoded(store)
    names = [name for name in before if name.startswith(("sets/", "saliency/"))]
    assert {name.split("/")[0] for name in names} == {"sets", "saliency"}
    fl.store.forget(store, subject=SUBJECT)
    assert not [f for f in store.rglob("*") if {"sets", "saliency"} & set(f.parts)]
    left = fl.open_influence(store, "r").isel(pair=[0, 1])
    fl.faithfulness.deletion_curves(left, [model], n_random=1, progress=False)
    assert len(fl.store.check(store)) == 0


def test_nobody_else_is_touched(store):
    rows = rows_of(store)
    before = fl.open_influence(store, "r").load()
    embeddings = fl.open_embeddings(store, model="linear").load()
    fl.store.forget(store, subject=SUBJECT)
    after = fl.open_influence(store, "r").load()
    others = (before["probe_subject"] != SUBJECT) & (before["reference_subject"] != SUBJECT)
    kept = before.isel(pair=np.flatnonzero(others))
    assert list(after["pair"]) == list(kept["pair"])
    for name in ("influence", "similarity", "removed_rms", "threshold"):
        np.testing.assert_array_equal(after[name], kept[name])
    assert list(after["probe"].to_numpy()) == list(kept["probe"].to_numpy())
    assert after.attrs["pairs_forgotten"] == int((~others).sum())
    left = fl.open_embeddings(store, model="linear")
    np.testing.assert_array_equal(left, np.delete(embeddings.to_numpy(), rows, axis=0))
    assert SUBJECT not in fl.open_run(store)["faces"]["subject"].to_numpy()
    assert len(fl.store.check(store)) == 0


@pytest.mark.slow
def test_the_store_stays_usable(store):
    faces = faces_of()
    fl.store.forget(store, subject=SUBJECT)
    others = faces.select(np.flatnonzero(faces.subjects != SUBJECT))
    again = compute(store, others)
    assert again.attrs["forward_passes"] == 0
    assert np.isfinite(again["similarity"]).all()
    # who comes back is a new face
    back = compute(store, faces)
    assert back.attrs["forward_passes"] == 4 * 16
    assert back.attrs["failures_to_acquire"] == 0
    fl.store.forget(store, subject=SUBJECT)
    assert "ovelace" not in texts(store)


def test_what_was_made_of_the_person_goes_too(tmp_path):
    faces = make_faces(n_subjects=4, per_subject=2)
    degraded = fl.faces.degrade(faces, resolutions=[28])
    assert len(degraded) > len(faces)
    store = tmp_path / "run.zarr"
    fl.embed(degraded, models=[fl.wrap_model(Linear(), name="linear")], store=store, progress=False)
    n_of = int((degraded.subjects == "p1").sum())
    removed = fl.store.forget(store, subject="p1")
    assert removed["faces"] == n_of
    assert "p1/" not in texts(store)


def test_a_morph_shows_its_contributors(tmp_path):
    faces = make_faces(n_subjects=3, per_subject=2)
    table = faces.table.assign(contributor_a="", contributor_b="")
    table.iloc[5, :] = ["p0+p1", "p0", "p1"]
    faces = fl.Faces(table, images=faces.images, aligned="arcface")
    store = tmp_path / "run.zarr"
    fl.embed(faces, models=[fl.wrap_model(Linear(), name="linear")], store=store, progress=False)
    assert fl.store.forget(store, subject="p1")["faces"] == 3
    assert list(fl.open_run(store)["faces"]["subject"].to_numpy()) == ["p0", "p0", "p2"]


def test_of_a_model_that_did_not_see_all_faces(tmp_path):
    """Its node is shorter than the faces are by now."""
    faces, store = faces_of(), tmp_path / "run.zarr"
    compute(store, faces.select(np.arange(20)), name="r")
    second = fl.wrap_model(Linear(seed=1), name="second")
    fl.embed(faces, models=[second], store=store, progress=False)
    assert fl.store.forget(store, subject="p9")["faces"] == 4
    assert len(fl.store.check(store)) == 0
    fl.store.forget(store, subject=SUBJECT)
    assert "ovelace" not in texts(store)


@pytest.mark.slow
def test_mentions_elsewhere_are_told(tmp_path):
    faces = make_faces(n_subjects=3, per_subject=2)
    faces.table["sibling"] = ["", "", "", "", "p1", ""]
    store = tmp_path / "run.zarr"
    compute(store, faces)
    assert fl.store.forget(store, subject="p1")["mentions"] == {"faces/sibling": 1}


def test_without_crops_there_are_no_pixels(tmp_path):
    store = tmp_path / "run.zarr"
    faces = faces_of()
    compute(store, faces, keep_crops=False)
    rows = {image[0].tobytes() for image in faces.images}
    for path, values in everything_decoded(store).items():
        assert not path.endswith("/crop")
        if values.dtype == np.uint8 and not path.endswith("_utf8"):  # text, as bytes
            raise AssertionError(f"{path} holds bytes")
        assert values.dtype.kind == "T" or not any(row in values.tobytes() for row in rows)
    for file in store.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(row in content for row in rows), file


def test_leftovers_beyond_the_last_face_go(store):
    n_faces = RunStore(store).n_faces
    group = zarr.open_group(store, mode="r+")
    names = group["faces/face"]
    names.resize((n_faces + 1,))
    names[n_faces] = "ada-lovelace/left-over"
    names.resize((n_faces,))
    fl.store.forget(store, subject=SUBJECT)
    assert "ovelace" not in texts(store)


KILLED = """
import sys
sys.path[:0] = [{tests!r}]
import os
import zarr.storage._local as local
import freqlab as fl
from freqlab.store import forgetting

left = int(sys.argv[2])
put = local._put
def put_and_die(path, value, exclusive=False):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    return put(path, value, exclusive)
local._put = put_and_die
fl.store.forget(sys.argv[1], subject={subject!r})
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "writes",
    [
        1,
        pytest.param(9, marks=pytest.mark.exhaustive),
        pytest.param(40, marks=pytest.mark.exhaustive),
        75,
    ],
)
def test_killed_in_the_middle(store, tmp_path, writes):
    expected = shutil.copytree(store, tmp_path / "undisturbed.zarr")
    fl.store.forget(expected, subject=SUBJECT)
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(tests=TESTS, subject=SUBJECT))
    ended = subprocess.run([sys.executable, script, store, str(writes)], capture_output=True)
    assert ended.returncode == -9, ended.stdout
    for opening in (fl.open_run, fl.open_influence):
        if writes == 1:  # before anything was announced: the run is as it was
            opening(store)
            assert "ovelace" in texts(store)
            continue
        with pytest.raises(StoreError, match="being removed.*freqlab forget"):
            opening(store)
    fl.store.forget(store, subject=SUBJECT)
    assert "ovelace" not in texts(store)
    assert len(fl.store.check(store)) == 0
    after, whole = everything_decoded(store), everything_decoded(expected)
    assert after.keys() == whole.keys()
    for path in whole:
        np.testing.assert_array_equal(after[path], whole[path], err_msg=path)


def test_refusals(store):
    with pytest.raises(
        UnknownNameError, match="no subject 'Ada Lovelase, 1815'. Did you mean 'Ada"
    ):
        fl.store.forget(store, subject="Ada Lovelase, 1815")
    with pytest.raises(StoreError, match="no such folder"):
        fl.store.forget(store / "absent", subject="p1")
    with locked(store), pytest.raises(StoreError, match="being written by another run"):
        fl.store.forget(store, subject="p1")


def test_a_disk_that_is_full(store, monkeypatch):
    """The error names the store; the run says what it is amid of, and the same call finishes."""
    blank, n_calls = forgetting._fill_rows, []

    def full(*arguments):
        n_calls.append(1)
        if len(n_calls) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        blank(*arguments)

    monkeypatch.setattr(forgetting, "_fill_rows", full)
    with pytest.raises(StoreError, match="run.zarr' cannot be written: No space left"):
        fl.store.forget(store, subject=SUBJECT)
    with pytest.raises(StoreError, match="is being removed from it"):
        fl.open_influence(store)
    assert fl.store.forget(store, subject=SUBJECT)["faces"] == 4
    assert not rows_of(store).size

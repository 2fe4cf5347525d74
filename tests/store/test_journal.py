"""Changes of several steps: what does not count until they are done, and what becomes of it."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.edits.band_sets import BandSets
from freqlab.errors import StoreError
from freqlab.store import journal
from freqlab.store.chunks import open_root
from freqlab.store.layout import Column
from freqlab.store.reading import result_names
from freqlab.store.run_store import RunStore


@pytest.fixture
def root(tmp_path):
    return zarr.create_group(tmp_path / "a.zarr", attributes={"mine": 1})


def array_in(root, path, values):
    above, _, name = path.rpartition("/")
    return root[above].create_array(name, data=np.asarray(values), chunks=(4,))


def left(root):
    """Files of a store but its own description."""
    folder = Path(root.store.root)
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())[:-1]


class StoppedError(Exception):
    pass


def test_what_is_made_counts_when_it_is_done(root):
    with journal.making(root, "a/b"):
        journal.make_group(root, "a/b", {})
        assert not journal.counts(root, "a/b")
        assert not journal.counts(root, "a/b/c")
        assert journal.counts(root, "a/bc")
    assert journal.counts(root, "a/b")
    assert dict(root.attrs) == {"mine": 1}
    assert journal.unfinished(root) == []


def test_what_is_half_made_is_removed(root):
    with contextlib.suppress(StoppedError), journal.making(root, "a/b", "a/c"):
        journal.make_group(root, "a/b", {})
        array_in(root, "a/b/x", [1, 2])
        raise StoppedError
    again = zarr.open_group(root.store)
    assert not journal.counts(again, "a/b")
    assert len(journal.unfinished(again)) == 2
    journal.recover(again)
    assert left(again) == ["a/zarr.json"]
    assert dict(again.attrs) == {"mine": 1}


def test_nothing_is_made_over_what_nobody_can_read(root):
    journal.make_group(root, "a/b", {})
    array_in(root, "a/b/x", [1, 2])
    Path(root.store.root, "a/b/zarr.json").unlink()
    before = left(root)
    with (
        pytest.raises(StoreError, match=r"'a/b' in the store is damaged.*--repair"),
        journal.making(root, "a/b"),
    ):
        raise AssertionError("never comes here")
    assert left(root) == before


def test_what_grew_is_cut_and_nothing_is_left_behind_the_last_row(root):
    node = journal.make_group(root, "node", {})
    for name in ("one", "other"):
        array_in(root, f"node/{name}", np.arange(1, 7))
    with contextlib.suppress(StoppedError), journal.growing(root, "node", 6):
        node["one"].resize((9,))
        node["one"][6:] = 7
        raise StoppedError
    again = zarr.open_group(root.store)
    assert journal.length_of(again, "node", 9) == 6
    journal.recover(again)
    assert journal.length_of(again, "node", 9) == 9
    one = again["node/one"]
    assert one.shape == (6,)
    one.resize((12,))
    assert one[:].tolist() == [1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0]


def test_a_damaged_last_chunk_does_not_keep_a_store_from_being_opened(root):
    node = journal.make_group(root, "node", {})
    array = array_in(root, "node/one", np.arange(1, 10))
    file = Path(root.store.root, "node/one/c/1")
    file.write_bytes(b"?")
    journal.cut(node, 6)
    assert zarr.open_array(array.store_path, mode="r").shape == (6,)
    assert file.read_bytes() == b"?"


@pytest.mark.parametrize("when", ["aside", "done"])
def test_one_of_two_is_always_whole(root, when):
    journal.make_group(root, "a/b", {"which": "old"})
    array_in(root, "a/b/x", [1, 2])
    if when == "aside":
        with contextlib.suppress(StoppedError), journal.replacing(root, "a/b") as aside:
            journal.make_group(root, aside, {"which": "new"})
            raise StoppedError
        again = zarr.open_group(root.store)
        assert journal.counts(again, "a/b")
        journal.recover(again)
        assert again["a/b"].attrs["which"] == "old"
        assert again["a/b/x"][:].tolist() == [1, 2]
    else:
        with journal.replacing(root, "a/b") as aside:
            journal.make_group(root, aside, {"which": "new"})
            array_in(root, f"{aside}/x", [3])
        again = zarr.open_group(root.store)
        assert again["a/b"].attrs["which"] == "new"
        assert again["a/b/x"][:].tolist() == [3]
    assert "aside" not in again
    assert dict(again.attrs) == {"mine": 1}


def test_leftovers_of_a_stopped_growth_are_no_rows_of_later_faces(tmp_path):
    """A node that is longer than the faces, as in a store that was copied while it grew."""
    store = RunStore(tmp_path / "run.zarr", block_size=4)
    store.add_faces(make_faces(n_subjects=3, per_subject=1))
    columns = {"v": Column(("x",), (2,), "float32", 0.0)}
    node = store.require_node("embeddings/m/intact", columns, identity={})
    for name, value in (("v", 5), ("status", 1)):
        node[name].resize((6, *node[name].shape[1:]))
        node[name][3:] = value
    again = RunStore(tmp_path / "run.zarr")
    again.require_node("embeddings/m/intact", columns, identity={})
    again.add_faces(make_faces(n_subjects=6, per_subject=1))
    node = again.require_node("embeddings/m/intact", columns, identity={})
    assert again.read(node, "status").tolist() == [0] * 6
    assert not again.read(node, "v").any()


def result_of(store, name="r"):
    faces = make_faces(n_subjects=2, per_subject=2)
    model = fl.wrap_model(Linear(), name="linear")
    pairs = fl.make_pairs(faces, seed=0)
    return fl.influence(faces, pairs, models=[model], store=store, name=name, progress=False)


def test_what_earlier_versions_left_where_they_were_killed(tmp_path):
    """They wrote a group and its attributes apart, and arrays one by one."""
    store = tmp_path / "run.zarr"
    result = result_of(store)
    shutil.rmtree(store / "digests")  # which they did not write
    root = zarr.open_group(store)
    del root.attrs["store_id"]
    for path in ("influence/bare", "trust/linear"):
        root.create_group(path)
    root.create_array("sets/linear/embedding", shape=(0, 16), chunks=(256, 16), dtype="float32")
    assert result_names(store) == ["r"]
    assert len(fl.faithfulness.trust_table(store)) == 1
    fl.faithfulness.save_trust_card(store, {"model": "linear", "rows": [], "fmr": 0.1})
    model = fl.wrap_model(Linear(), name="linear")
    sets = BandSets(model, fl.rings(), store=str(store), progress=False)
    crops = np.full((1, 112, 112, 3), 99, np.uint8)
    assert sets.embed(crops, np.array([0]), np.zeros((1, 15), bool)).shape == (1, 16)
    again = fl.influence(
        make_faces(n_subjects=2, per_subject=2),
        fl.make_pairs(make_faces(n_subjects=2, per_subject=2), seed=0),
        models=[model],
        store=store,
        name="bare",
        progress=False,
    )
    np.testing.assert_array_equal(again["influence"], result["influence"])
    assert len(fl.store.check(store)) == 0


def test_a_folder_in_which_a_writer_was_killed_at_once(tmp_path):
    store = tmp_path / "run.zarr"
    store.mkdir()
    Path(store, "zarr.0123456789abcdef.partial").write_bytes(b"{")
    assert result_of(store).sizes["pair"] > 1


def test_a_reader_leaves_out_what_is_being_made(tmp_path):
    store = tmp_path / "run.zarr"
    result_of(store)
    result_of(store, "s")
    root = open_root(store, "r+")
    with contextlib.suppress(StoppedError), journal.making(root, "influence/t"):
        shutil.copytree(store / "influence/r", store / "influence/t")
        raise StoppedError
    assert sorted(result_names(store)) == ["r", "s"]
    assert "t" not in fl.open_run(store)["influence"]
    found = fl.store.check(store)
    assert len(found) == 0
    assert found.attrs["unfinished"] == ["influence/t is being made or removed"]
    shutil.rmtree(store / "influence/t/pair")  # half removed: no damage, and no result
    assert len(fl.store.check(store)) == 0

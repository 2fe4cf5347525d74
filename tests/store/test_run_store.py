import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import zarr
from conftest import make_faces

import freqlab as fl
from freqlab.errors import StoreConflictError, StoreError, UnknownNameError
from freqlab.store.descriptions import describe_run
from freqlab.store.layout import DONE, NO_FACE, PENDING, Column, block_size_for
from freqlab.store.run_store import RunStore


def store_of(tmp_path, faces=None, block_size=4):
    store = RunStore(tmp_path / "run.zarr", block_size=block_size)
    if faces is not None:
        store.add_faces(faces)
    return store


def test_rows_are_kept_for_good(tmp_path):
    everyone = make_faces(n_subjects=5, size=4)
    store = store_of(tmp_path)
    assert store.add_faces(everyone.select([3, 1])).tolist() == [0, 1]
    assert store.add_faces(everyone).tolist() == [2, 1, 3, 0, *range(4, 15)]
    reopened = RunStore(tmp_path / "run.zarr")
    assert reopened.block_size == 4
    assert reopened.read(reopened.faces, "face").tolist()[:2] == ["p1/0", "p0/1"]


def test_metadata_is_added_but_not_changed(tmp_path):
    faces = make_faces(size=4)
    store = store_of(tmp_path, faces)
    ages = np.arange(12.0)
    aged = fl.Faces(faces.table.assign(age=ages, glasses="no"), faces.images, aligned="arcface")
    store.add_faces(aged)
    found = fl.open_run(tmp_path / "run.zarr")["faces"]
    assert found["age"].to_numpy().tolist() == ages.tolist()
    assert set(found["glasses"].to_numpy()) == {"no"}
    store.faces["status"][:] = DONE
    older = fl.Faces(aged.table.assign(age=ages + 1), faces.images, aligned="arcface")
    with pytest.raises(StoreConflictError, match=r"'age' \(12 of them\).*stored 0.0, given 1.0"):
        store.add_faces(older)
    store.faces["status"][:] = PENDING  # nothing was computed from them: they may be corrected
    store.add_faces(older)
    assert fl.open_run(tmp_path / "run.zarr")["faces"]["age"].to_numpy()[0] == 1
    one_more = make_faces(n_subjects=5, size=4)
    store.add_faces(one_more)
    assert np.isnan(fl.open_run(tmp_path / "run.zarr")["faces"]["age"].to_numpy()[12:]).all()


def test_another_subject_or_image_is_refused(tmp_path):
    faces = make_faces(size=112, n_subjects=2)
    store = tmp_path / "run.zarr"
    model = fl.wrap_model(lambda x: x.flatten(1)[:, :4] + 1, name="m")
    fl.influence(faces, fl.make_pairs(faces), models=[model], store=store, progress=False)
    renamed = fl.Faces(
        faces.table.assign(subject=["q", *faces.subjects[1:]]), faces.images, aligned="arcface"
    )
    with pytest.raises(StoreConflictError, match="'subject'.*stored 'p0', given 'q'"):
        RunStore(store).add_faces(renamed)
    images = [images.copy() for images in faces.images]
    images[3][5, 5, 0] ^= 1
    with pytest.raises(StoreConflictError, match="another image of face 'p1/0'"):
        RunStore(store).add_faces(fl.Faces(faces.table, images, aligned="arcface"))
    with pytest.raises(StoreConflictError, match="aligned"):
        RunStore(store).add_faces(fl.Faces(faces.table, faces.images))


def test_a_changed_file_is_noticed_and_a_touched_one_is_not(orl, tmp_path):
    folder = tmp_path / "faces"
    for i, name in enumerate(("a", "b")):
        (folder / "x").mkdir(parents=True, exist_ok=True)
        (folder / "x" / f"{name}.pgm").write_bytes(orl.content(i))
    faces = fl.load_faces(folder)
    model = fl.wrap_model(lambda x: x.flatten(1)[:, :4] + 1, name="m")
    store = tmp_path / "run.zarr"
    arguments = {"models": [model], "store": store, "progress": False}
    fl.influence(faces, fl.make_pairs(faces), **arguments)
    os.utime(folder / "x" / "a.pgm", (1, 1))
    fl.influence(faces, fl.make_pairs(faces), **arguments)
    (folder / "x" / "a.pgm").write_bytes(orl.content(5))
    expected = hashlib.sha256(orl.content(5)).hexdigest()[:12]
    with pytest.raises(StoreConflictError, match=f"given {expected}"):
        fl.influence(faces, fl.make_pairs(faces), **arguments)


def test_rows_are_written_block_by_block_status_last(tmp_path, monkeypatch):
    store = store_of(tmp_path, make_faces(size=4))
    node = store.require_node("n", {"v": Column(("x",), (2,))}, identity={})
    written = []
    original = zarr.Array.__setitem__

    def spy(array, selection, value):
        written.append((array.basename, selection.start, selection.stop))
        return original(array, selection, value)

    monkeypatch.setattr(zarr.Array, "__setitem__", spy)
    rows = np.array([9, 1, 4, 2])
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    store.write_rows(node, rows, {"v": values}, np.full(4, DONE, np.int8))
    assert written == [(name, start, start + 4) for start in (0, 4, 8) for name in ("v", "status")]
    np.testing.assert_array_equal(store.read(node, "v")[rows], values)
    assert np.flatnonzero(store.read(node, "status") == DONE).tolist() == [1, 2, 4, 9]
    crops = store.require_node("crops/t", {}, identity={})
    store.write_rows(crops, np.array([3]), {}, np.full(1, NO_FACE, np.int8))
    rows, none = np.array([0, 1, 2, 9, 3, 5]), np.array([], np.int64)
    assert store.pending(node, rows, "t", retried=none).tolist() == [0, 5]
    assert store.pending(node, rows, "t", retried=np.array([3])).tolist() == [0, 3, 5]
    with pytest.raises(StoreError, match="no crops of template 'u'"):
        store.pending(node, rows, "u", retried=none)
    with pytest.raises(StoreError, match="3 rows"):
        store.write_rows(node, rows, {"v": values[:3]}, np.full(4, DONE, np.int8))


def test_what_a_stopped_run_left_over_is_cut_back(tmp_path):
    """Killed while faces were being added: the number of faces still says the old one."""
    everyone = make_faces(n_subjects=5, size=4)
    points = np.full((15, 5, 2), 7, np.float32)
    some = fl.Faces(everyone.table.iloc[:6], everyone.images[:6], landmarks=points[:6], name="some")
    store = store_of(tmp_path, some)
    node = store.require_node("embeddings/m/intact", {"v": Column(("x",), (2,))}, identity={})
    for name in ("subject", "landmarks", "face"):
        array = store.faces[name]
        array.resize((10, *array.shape[1:]))
        array[6:] = "left over" if name != "landmarks" else 99
    node["v"].resize((10, 2))

    seen = fl.open_run(tmp_path / "run.zarr")  # a reader is not disturbed
    assert seen["faces"].sizes["face"] == 6
    assert seen["embeddings/m/intact"].sizes["face"] == 6

    reopened = RunStore(tmp_path / "run.zarr")
    assert reopened.faces["subject"].shape == (6,)
    without_points = fl.Faces(everyone.table.iloc[6:], everyone.images[6:])
    assert reopened.add_faces(without_points).tolist() == list(range(6, 15))
    assert np.isnan(reopened.read(reopened.faces, "landmarks")[6:]).all()
    assert "left over" not in reopened.read(reopened.faces, "subject")
    again = reopened.require_node("embeddings/m/intact", {"v": Column(("x",), (2,))}, identity={})
    assert again["v"].shape == (15, 2)
    assert (reopened.read(again, "status") == PENDING).all()


def test_identity_differences_are_named(tmp_path):
    store = store_of(tmp_path)
    store.make_group("embeddings/m", {"checkpoint": "a", "mean": 1.0})
    assert store.group("embeddings/m", {"checkpoint": "a", "mean": 1.0}) is not None
    with pytest.raises(StoreConflictError, match="mean: stored 1.0, given 2.0") as caught:
        store.group("embeddings/m", {"checkpoint": "a", "mean": 2.0})
    assert "checkpoint" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_readers_of_a_store_that_stopped_between_a_group_and_its_arrays(demo, tmp_path):
    store = tmp_path / "run.zarr"
    shutil.copytree(demo.attrs["store"], store)
    root = zarr.open_group(store)
    root.create_group("embeddings/bare")
    root.create_group("crops/bare", attributes={"identity": "{}"})
    assert "bare" in fl.open_run(store)["crops"]
    assert "12 ok" in describe_run(store)
    assert fl.open_embeddings(store, model="mobilefacenet").shape == (12, 512)


def test_equal_columns_are_not_written_again(tmp_path, monkeypatch):
    faces = make_faces(n_subjects=3, size=4)
    store = store_of(tmp_path, faces)

    def refuse(array, selection, value):
        raise AssertionError(f"{array.basename} was written again")

    monkeypatch.setattr(zarr.Array, "__setitem__", refuse)
    store.add_faces(faces)


def test_an_unfinished_result_is_not_taken_for_whole(synthetic, linear, tmp_path):
    store = tmp_path / "run.zarr"
    pairs = fl.make_pairs(synthetic)
    whole = fl.influence(synthetic, pairs, models=[linear], store=store, progress=False).load()
    group = zarr.open_group(store)[f"influence/{whole.attrs['name']}"]
    del group.attrs["complete"]
    group["influence"][:] = np.nan
    with pytest.raises(StoreError, match="no finished result"):
        fl.open_influence(store)
    assert "not finished" in describe_run(store)
    assert whole.attrs["name"] not in fl.open_run(store).get("influence", {})
    again = fl.influence(synthetic, pairs, models=[linear], store=store, progress=False)
    assert again.attrs["forward_passes"] == 0
    np.testing.assert_array_equal(again["influence"], whole["influence"])


def test_places_that_are_no_run(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    with pytest.raises(StoreError, match="not of a freqlab run"):
        RunStore(tmp_path / "photos")
    zarr.open_group(tmp_path / "other.zarr", mode="w").create_group("x")
    with pytest.raises(StoreError, match="not of a freqlab run"):
        RunStore(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="not of a freqlab run"):
        fl.open_run(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="no such folder"):
        fl.open_run(tmp_path / "absent.zarr")
    store = store_of(tmp_path)
    store.root.attrs["format_version"] = 99
    with pytest.raises(StoreError, match="format version 99"):
        RunStore(tmp_path / "run.zarr")


def test_results_by_name(demo):
    store = demo.attrs["store"]
    name = demo.attrs["name"]
    assert fl.open_influence(store, name).sizes == demo.sizes
    with pytest.raises(UnknownNameError, match=name):
        fl.open_influence(store, name[:-1] + "x")
    tree = fl.open_run(store)
    assert tree["faces"]["gender"].dims == ("face",)
    assert set(tree["faces"]["status"].to_numpy()) == {"ok"}
    assert tree["crops/arcface"]["crop"].dtype == np.uint8
    assert json.loads(tree["embeddings/mobilefacenet"].attrs["identity"])["channels"] == "BGR"
    assert fl.open_embeddings(store, model="mobilefacenet").shape == (12, 512)
    with pytest.raises(UnknownNameError, match="Did you mean 'mobilefacenet'"):
        fl.open_embeddings(store, model="mobilefacenet2")
    text = describe_run(store)
    for part in ("12 ok", "mobilefacenet", name, "probe, reference, both", "called by you"):
        assert part in text


def test_some_nodes_of_a_run_are_those_of_the_whole(demo):
    store = demo.attrs["store"]
    whole, some = fl.open_run(store), fl.open_run(store, nodes=["faces", "embeddings"])
    assert set(some.children) == {"faces", "embeddings"}
    assert some.attrs == whole.attrs
    for node in some.children:
        assert some[node].identical(whole[node])
    with pytest.raises(UnknownNameError, match="Did you mean 'faces'"):
        fl.open_run(store, nodes=["face"])


def test_the_same_name_in_another_folder_is_compared_by_content(orl, tmp_path):
    """Same size, same time: copies keep both, so the path decides whether to look closer."""
    model = fl.wrap_model(lambda x: x.flatten(1)[:, :4] + 1, name="m")
    store = tmp_path / "run.zarr"
    sets = []
    for folder, images in (("one", (0, 1)), ("two", (2, 3)), ("copy", (0, 1))):
        for name, position in zip("ab", images, strict=True):
            path = tmp_path / folder / "x" / f"{name}.pgm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(orl.content(position))
            os.utime(path, (1, 1))
        sets.append(fl.load_faces(tmp_path / folder))
    one, two, copy = sets
    fl.influence(one, fl.make_pairs(one), models=[model], store=store, progress=False)
    with pytest.raises(StoreConflictError, match="another image"):
        fl.influence(two, fl.make_pairs(two), models=[model], store=store, progress=False)
    again = fl.influence(copy, fl.make_pairs(copy), models=[model], store=store, progress=False)
    assert again.attrs["forward_passes"] == 0


def test_a_column_keeps_its_kind(tmp_path):
    faces = make_faces(n_subjects=2, size=4)
    store = store_of(tmp_path)

    def with_ages(ages, rows):
        part = faces.select(rows)
        return fl.Faces(part.table.assign(age=ages), part.images, aligned="arcface")

    store.add_faces(with_ages([None] * 2, [0, 1]))  # no value, no kind
    store.add_faces(with_ages([30, 31], [2, 3]))
    with pytest.raises(StoreConflictError, match="holds numbers in the column 'age'.*text"):
        store.add_faces(with_ages(["old", "young"], [4, 5]))
    assert store.n_faces == 4
    store.add_faces(with_ages([32, np.nan], [4, 5]))
    ages = fl.open_run(tmp_path / "run.zarr")["faces"]["age"].to_numpy()
    np.testing.assert_array_equal(ages, [np.nan, np.nan, 30, 31, 32, np.nan])


def test_a_store_that_was_killed_while_it_was_begun(tmp_path):
    """Not all of what it is was written, as earlier versions could leave it."""
    zarr.create_group(tmp_path / "run.zarr", attributes={"format": "freqlab-run"})
    store = RunStore(tmp_path / "run.zarr")
    assert store.root.attrs["format_version"] == 1
    assert store.block_size == 32


def test_what_a_store_is_comes_in_one_write(tmp_path, monkeypatch):
    """So that no kill falls in between."""
    seen, real = [], zarr.Group.update_attributes

    def watched(group, new):
        seen.append(dict(new))
        return real(group, new)

    monkeypatch.setattr(zarr.Group, "update_attributes", watched)
    RunStore(tmp_path / "run.zarr")
    assert {"format", "format_version", "block_size"} <= set(seen[0])


@pytest.mark.parametrize(
    ("n_faces", "are_aligned", "size"),
    [(1, True, 32), (2047, True, 32), (2048, True, 64), (10_000, False, 32)],
)
def test_blocks_of_many_crops_are_larger(n_faces, are_aligned, size):
    assert block_size_for(n_faces, are_aligned=are_aligned) == size

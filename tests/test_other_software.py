"""Runs as other software sees them: xarray by itself, netCDF, both formats of Zarr, TensorStore."""

import json
import pickle
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.faithfulness.trust_cards import save_trust_card, trust_table
from freqlab.store.plain_text import utf8_rows
from freqlab.store.run_store import RunStore

tensorstore = pytest.importorskip("tensorstore", reason="TensorStore is not installed")

EARLIER = Path(__file__).parent / "stores" / "earlier.zip"
CARD = {
    "model": "m",
    "rows": [{"test": "t", "found": "f", "reading": "g"}],
    "pairs": {"genuine": 1, "impostor": 1},
    "fmr": 0.001,
    "side": "probe",
    "bands": [1],
    "created_at": "2026-11-26T00:00",
}


def compute(store, n_subjects=2, name="r", **columns):
    faces = make_faces(n_subjects=n_subjects, per_subject=2)
    if columns:
        faces = fl.Faces(faces.table.assign(**columns), faces.images, aligned="arcface")
    pairs = fl.make_pairs(faces, seed=0).assign(group="Zoë 李")
    model = fl.wrap_model(Linear(), name="m")
    options = {"bands": "rings:28", "store": store, "name": name, "progress": False}
    return fl.influence(faces, pairs, models=[model], **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = tmp_path_factory.mktemp("others") / "run.zarr"
    compute(store, nation="Côte d'Ivoire")
    save_trust_card(store, CARD)
    return store


def by_tensorstore(folder):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    return tensorstore.open(spec).result().read().result()


def nodes(store, kind):
    for file in sorted(Path(store).rglob("zarr.json")):
        about = json.loads(file.read_text())
        if about["node_type"] == kind:
            yield file.parent, about


def text_by_tensorstore(folder):
    """Text as a program reads it that has bytes and no type for text."""
    rows = by_tensorstore(folder.with_name(f"{folder.name}_utf8"))
    return [bytes(row).rstrip(b"\0").decode() for row in rows]


def same_text(store):
    """All text of a run is in its twins, too."""
    n_texts = 0
    for folder, about in nodes(store, "array"):
        if about["data_type"] == "string":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = [str(one) for one in zarr.open_array(folder)[:]]
            assert text_by_tensorstore(folder) == expected, folder
            n_texts += 1
    assert n_texts > 5


def test_tensorstore_reads_everything(made):
    result = fl.open_influence(made)
    np.testing.assert_array_equal(by_tensorstore(made / "influence/r/influence"), result.influence)
    np.testing.assert_array_equal(
        by_tensorstore(made / "embeddings/m/intact/embedding"), fl.open_embeddings(made, model="m")
    )
    crops = by_tensorstore(made / "crops/arcface/crop")
    np.testing.assert_array_equal(crops, np.stack(make_faces(n_subjects=2, per_subject=2).images))
    assert text_by_tensorstore(made / "faces/face") == ["p0/0", "p0/1", "p1/0", "p1/1"]
    assert text_by_tensorstore(made / "faces/nation") == ["Côte d'Ivoire"] * 4
    assert text_by_tensorstore(made / "influence/r/group") == ["Zoë 李"] * result.sizes["pair"]
    for folder, about in nodes(made, "array"):
        if about["data_type"] == "string":
            assert folder.with_name(f"{folder.name}_utf8").is_dir()
        else:
            assert by_tensorstore(folder).shape == tuple(about["shape"])
    same_text(made)


@pytest.mark.slow
def test_text_that_grows_longer(tmp_path):
    store = tmp_path / "run.zarr"
    compute(store, note="short")
    faces = make_faces(n_subjects=40, per_subject=2)
    long = [f"{'ü' * (i % 90)}{i}" for i in range(80)]
    faces = fl.Faces(
        faces.table.assign(note=["short"] * 4 + long[4:]), faces.images, aligned="arcface"
    )
    run = RunStore(store)
    run.add_faces(faces)
    same_text(store)
    assert len(fl.store.check(store)) == 0
    assert fl.open_run(store)["faces"]["note"].to_numpy().tolist() == ["short"] * 4 + long[4:]
    # nothing was computed from the new ones: their columns may be corrected
    corrected = ["short"] * 4 + [f"{text} {'x' * 300}" for text in long[4:]]
    RunStore(store).add_faces(
        fl.Faces(faces.table.assign(note=corrected), faces.images, aligned="arcface")
    )
    same_text(store)
    assert len(fl.store.check(store)) == 0
    fl.store.forget(store, subject="p7")
    same_text(store)
    everything = b"".join(
        bytes(by_tensorstore(folder))
        for folder, _ in nodes(store, "array")
        if "_utf8" in folder.name
    )
    assert b"p7/" not in everything
    assert b"p6/" in everything


def test_a_column_named_as_the_bytes_would_be(tmp_path):
    store = tmp_path / "run.zarr"
    compute(store, subject_utf8=[1.0, 2.0, 3.0, 4.0], note="x", note_utf8="y")
    found = fl.open_run(store)["faces"]
    assert found["subject_utf8"].to_numpy().tolist() == [1, 2, 3, 4]
    assert set(found["note_utf8"].to_numpy()) == {"y"}
    assert set(found["note"].to_numpy()) == {"x"}
    assert len(fl.store.check(store)) == 0


def test_rows_of_bytes():
    rows = utf8_rows(np.array(["", "a", "é" * 40], object))
    assert rows.shape == (3, 128)
    assert [bytes(row).rstrip(b"\0").decode() for row in rows] == ["", "a", "é" * 40]
    assert utf8_rows(np.array([], object)).shape == (0, 64)


def test_the_root_says_how_to_open_it(made):
    with xr.open_zarr(made, consolidated=False) as root:
        assert not root.variables
        said = root.attrs["how_to_open"]
    for call in (
        "xarray.open_datatree(path, engine='zarr', consolidated=False)",
        "xarray.open_zarr(path, group='influence/<name>', consolidated=False)",
        "freqlab.open_run(path)",
    ):
        assert call in said
        found = eval(call.replace("<name>", "r"), {"path": made, "xarray": xr, "freqlab": fl})
        names = found["faces/face"] if hasattr(found, "subtree") else found["model"]
        assert str(names.to_numpy()[0]) in ("p0/0", "m")
        found.close()
    assert re.findall(r"crops/<template>|influence/<name>", said)


def plain(value):
    if isinstance(value, list):
        return all(
            type(one) is type(value[0]) and isinstance(one, (str, int, float)) for one in value
        )
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def test_attributes_are_text_and_numbers(made):
    for kind in ("array", "group"):
        for folder, about in nodes(made, kind):
            if "digests" in folder.parts:  # what the run keeps for itself, as JSON
                continue
            for name, value in about["attributes"].items():
                assert plain(value), (folder, name, value)
    assert trust_table(made).loc[("m", "t"), "found"] == "f"


@pytest.mark.parametrize("engine", ["netcdf4", "scipy", "zarr2", "zarr3"])
@pytest.mark.parametrize("what", ["run", "result", "embeddings", "crops"])
def test_what_is_opened_can_be_written(made, tmp_path, engine, what):
    if not engine.startswith("zarr"):
        pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine))
    found = {
        "run": lambda: fl.open_run(made),
        "result": lambda: fl.open_influence(made),
        "embeddings": lambda: fl.open_embeddings(made, model="m").to_dataset(),
        "crops": lambda: fl.store.open_crops(made, template="arcface"),
    }[what]()
    if engine == "scipy" and what in ("run", "crops"):
        pytest.skip("netCDF 3 has neither groups nor unsigned bytes")
    file = tmp_path / "copy"
    with warnings.catch_warnings():
        if engine == "zarr3":  # Zarr's own, of a text type that is not in its specification yet
            warnings.filterwarnings("ignore", category=zarr.errors.UnstableSpecificationWarning)
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        if engine.startswith("zarr"):
            found.to_zarr(file, zarr_format=int(engine[4:]))
            options = {"engine": "zarr"}
        else:
            if engine == "scipy":  # netCDF 3 has no 64-bit numbers
                found = found.drop_vars(
                    [n for n, v in found.variables.items() if v.dtype == "int64"]
                )
            found.to_netcdf(file, engine=engine)
            options = {"engine": engine}
        again = (xr.open_datatree if what == "run" else xr.open_dataset)(file, **options)
    if what == "run":
        np.testing.assert_array_equal(
            again["influence/r/influence"], found["influence/r/influence"]
        )
        assert again["faces/face"].to_numpy().tolist() == found["faces/face"].to_numpy().tolist()
    else:
        xr.testing.assert_equal(again.astype(object), found.astype(object))
    again.close()


def test_text_has_one_type(made):
    found = fl.open_run(made)
    kinds = {v.dtype.kind for node in found.subtree for v in node.dataset.variables.values()}
    assert kinds == {"O", "i", "u", "f", "b"}
    for node in found.subtree:
        for variable in node.dataset.variables.values():
            if variable.dtype == object:
                assert {type(one) for one in variable.to_numpy().ravel()} == {str}
    xr.testing.assert_identical(pickle.loads(pickle.dumps(found)), found)


@pytest.fixture
def earlier(tmp_path):
    """A run of the version before text had bytes beside it, and attributes were plain."""
    with zipfile.ZipFile(EARLIER) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "run.zarr"


@pytest.mark.slow
def test_earlier_runs_open_and_grow(earlier, tmp_path):
    about = json.loads((earlier / "embeddings/m/intact/zarr.json").read_text())["attributes"]
    assert isinstance(about["thresholds"], dict)  # so it was
    assert about["compiled"] is False
    assert not list(earlier.rglob("*_utf8"))
    assert len(fl.store.check(earlier)) == 0
    old = fl.open_influence(earlier)
    fl.open_run(earlier).to_netcdf(tmp_path / "old.nc")
    assert trust_table(earlier).loc[("m", "t"), "found"] == "f"
    again = compute(earlier, name="again")
    assert again.attrs["forward_passes"] == 0
    np.testing.assert_array_equal(again["influence"], old["influence"])
    grown = compute(earlier, n_subjects=3, name="grown")
    assert grown.attrs["forward_passes"] == 2 * 4
    fresh = compute(tmp_path / "fresh.zarr", n_subjects=3)
    # to rounding only: the earlier run was made on another machine
    np.testing.assert_allclose(grown["influence"], fresh["influence"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(grown["threshold"], fresh["threshold"])
    shutil.rmtree(
        earlier / "influence/r"
    )  # a result of then keeps its form: its bytes are not there
    same_text(earlier)
    assert len(fl.store.check(earlier)) == 0
    assert "how_to_open" in zarr.open_group(earlier, mode="r").attrs
    fl.store.forget(earlier, subject="p1")
    assert fl.open_run(earlier)["faces"].sizes["face"] == 4
    same_text(earlier)


@pytest.mark.slow
@pytest.mark.parametrize("below", [None, "faces"])
def test_consolidated_metadata_grow_stale(tmp_path, below):
    """Somebody consolidates, the run grows, and nobody is told what was."""
    store = tmp_path / "run.zarr"
    compute(store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(store), path=below)
    grown = compute(store, n_subjects=4, name="grown", age=[1.0] * 8)
    assert grown.attrs["forward_passes"] == 4 * 4
    found = fl.open_run(store)
    assert found["faces"].sizes["face"] == 8
    assert "age" in found["faces"].coords
    assert "grown" in found["influence"]
    assert len(fl.store.check(store)) == 0
    plainly = xr.open_datatree(store, engine="zarr", consolidated=False)
    assert plainly["faces"].sizes["face"] == 8
    plainly.close()
    if below is None:
        assert "consolidated_metadata" not in (store / "zarr.json").read_text()
    fl.store.forget(store, subject="p3")
    assert fl.open_run(store)["faces"].sizes["face"] == 6

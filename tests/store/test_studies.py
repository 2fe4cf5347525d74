"""Studies that are kept in a run: as they were made, whole or not at all, gone with a person."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.errors import ParameterError, StoreError, UnknownNameError
from freqlab.store.studies import as_dataset, kept_study, made_of

MODEL = fl.wrap_model(Linear(n_features=4), name="linear", version="1")


@pytest.fixture
def store(tmp_path):
    faces = make_faces(n_subjects=3, per_subject=2)
    fl.embed(faces, models=[MODEL], store=tmp_path / "run.zarr", progress=False, compile=False)
    return tmp_path / "run.zarr"


def table():
    index = pd.MultiIndex.from_tuples([("a", 1), ("b/c", 2)], names=["group", "rank"])
    return pd.DataFrame(
        {"EER, %": [0.5, np.nan], ("x", 2): ["né", ""], "mixed": [None, 3], "yes": [True, False]},
        index=index,
    )


def nodes():
    curves = xr.Dataset(
        {
            "curve": (("model", "band"), [[1.0, np.nan]], {"units": "1", "long_name": "a curve"}),
            "status": ("band", ["ok", ""]),
            "count": ((), 3),
        },
        coords={
            "model": ["linear"],
            "band": [4, 8],
            "frequency": ("band", [6.0, 10.0], {"units": "cycles/image"}),
        },
        attrs={"level": 0.95, "nothing": None, "names": ["p", "q"]},
    )
    return {"/": xr.Dataset(attrs={"n": 2}), "curves": curves, "tables/of errors": table()}


def keep(store, make=nodes, **about):
    return kept_study(store, "bias", about, make)


def never():
    raise AssertionError("a study that is kept was computed again")


def test_a_study_is_opened_as_it_was_made(store):
    first, again = keep(store, seed=0), keep(store, never, seed=0)
    for study, was_kept in ((first, 0), (again, 1), (fl.store.open_study(store, "bias"), 1)):
        expected = nodes()["curves"]
        xr.testing.assert_equal(study["curves"].to_dataset(), expected)
        assert set(study["curves"].coords) == {"model", "band", "frequency"}
        assert study["curves"]["frequency"].attrs == {"units": "cycles/image"}
        assert study["curves"]["curve"].attrs == expected["curve"].attrs
        assert study["curves"].attrs == {"level": 0.95, "nothing": "null", "names": ["p", "q"]}
        frame = fl.store.as_frame(study["tables/of errors"])
        pd.testing.assert_frame_equal(frame, table(), check_dtype=False)
        assert study.attrs["was_kept"] == was_kept
        assert study.attrs["n"] == 2
        assert study.attrs["subject"] == "bias"
    assert not len(fl.store.check(store))


def test_other_programs_read_it_too(store):
    study = keep(store, seed=0)
    tree = fl.open_run(store)
    found = tree[f"studies/bias/{study.attrs['key']}/curves"]
    assert found["curve"].dims == ("model", "band")
    assert found["frequency"].to_numpy().tolist() == [6, 10]
    assert found["status"].to_numpy().tolist() == ["ok", ""]


def test_each_thing_that_it_is_made_of_makes_another(store, monkeypatch):
    faces = make_faces(n_subjects=3, per_subject=2)
    other = make_faces(n_subjects=3, per_subject=2, seed=1)
    pairs = fl.make_pairs(faces, seed=0)
    models = [MODEL]
    abouts = [
        made_of(store, faces, models=models, seed=0),
        made_of(store, faces, models=models, seed=1),
        made_of(store, other, models=models, seed=0),  # other pixels under the same names
        made_of(store, faces.select(np.arange(4)), models=models, seed=0),
        made_of(store, faces, models=models, pairs=pairs, seed=0),
        made_of(store, faces, models=models, pairs=pairs.iloc[1:], seed=0),
        made_of(store, faces, seed=0, models=[fl.wrap_model(Linear(), name="linear", version="2")]),
    ]
    assert made_of(store, faces, models=models, seed=0) == abouts[0]
    keys = [keep(store, **about).attrs["key"] for about in abouts]
    monkeypatch.setattr("freqlab.store.studies.__version__", "next")
    keys.append(keep(store, **abouts[0]).attrs["key"])
    assert len(set(keys)) == len(keys)
    assert set(fl.store.study_names(store, "bias")) == set(keys)


def test_photographs_that_changed_make_another(tmp_path, store):
    import PIL.Image

    faces = make_faces(n_subjects=2, per_subject=1)
    for name, image in zip(faces.names, faces.images, strict=True):
        (tmp_path / name).parent.mkdir()
        PIL.Image.fromarray(image).save(tmp_path / f"{name}.png")
    paths = [str(tmp_path / f"{name}.png") for name in faces.names]
    from_files = fl.Faces(faces.table.assign(path=paths), aligned="arcface")
    run = tmp_path / "files.zarr"
    before = made_of(run, from_files, models=[MODEL])
    fl.embed(from_files, models=[MODEL], store=run, progress=False, compile=False)
    assert made_of(run, from_files, models=[MODEL]) == before
    PIL.Image.fromarray(255 - faces.images[0]).save(paths[0])
    assert made_of(run, from_files, models=[MODEL]) != before


def test_what_raises_while_it_is_made_is_not_kept(store):
    with pytest.raises(AssertionError, match="computed again"):
        keep(store, never, seed=0)
    with pytest.raises(StoreError, match="holds no study of 'bias'"):
        fl.store.open_study(store, "bias")
    with pytest.raises(ParameterError, match="'thing' of a study cannot be kept"):
        keep(store, lambda: {"a": xr.Dataset({"thing": ((), {1})})})
    keep(store, seed=0)
    with pytest.raises(UnknownNameError, match="unknown study"):
        fl.store.open_study(store, "bias", "0" * 16)
    assert not len(fl.store.check(store))


def test_it_goes_with_any_person_who_is_forgotten(store):
    keep(store, seed=0)
    fl.store.forget(store, subject="p1")
    assert fl.store.study_names(store, "bias") == []
    assert not (store / "studies").exists()
    assert not len(fl.store.check(store))
    assert keep(store, seed=0).attrs["was_kept"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["curve", "status", "model"])
def test_damage_is_found_told_and_taken_out(store, what):
    study = keep(store, seed=0)
    other = keep(store, lambda: {"other": xr.Dataset({"a": 5.5})}, seed=1)
    array = store / "studies/bias" / study.attrs["key"] / "curves" / what
    chunk = next(file for file in (array / "c").rglob("*") if file.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0x10
    chunk.write_bytes(content)
    found = fl.store.check(store)
    assert found["node"].tolist() == [f"studies/bias/{study.attrs['key']}/curves"]
    with pytest.raises(StoreError, match="is damaged"):
        keep(store, never, seed=0)
    faces = make_faces(n_subjects=3, per_subject=2)
    fl.embed(faces, models=[MODEL], store=store, progress=False, compile=False, repair=True)
    assert not len(fl.store.check(store))
    assert fl.store.study_names(store, "bias") == [other.attrs["key"]]
    assert keep(store, seed=0).attrs["was_kept"] == 0


def test_tables_without_rows_and_with_two_rows_of_headers():
    empty = pd.DataFrame({"a": pd.Series([], dtype=float)})
    wide = pd.DataFrame([[1.0, 2.0]], columns=pd.MultiIndex.from_tuples([("g", "m"), ("g", "n")]))
    for frame in (empty, wide):
        found = fl.store.as_frame(as_dataset(frame))
        pd.testing.assert_frame_equal(found, frame, check_index_type=False, check_dtype=False)


def test_a_study_that_is_half_made_does_not_count(store, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr("freqlab.store.studies.create_twin", stop)
        with pytest.raises(KeyboardInterrupt):
            keep(store, seed=0)
    assert fl.store.study_names(store, "bias") == []
    assert "studies" in zarr.open_group(store, mode="r")
    assert keep(store, seed=0).attrs["was_kept"] == 0
    assert not len(fl.store.check(store))

"""A study is one call: made once, then opened, and what it says is what its numbers say."""

import numpy as np
import pytest
import xarray as xr
from conftest import Linear, make_faces

import freqlab as fl

OPTIONS = {"progress": False, "compile": False, "device": "cpu", "n_draws": 20, "seed": 0}
MODEL = fl.wrap_model(Linear(n_features=8), name="linear", version="1")


@pytest.fixture(scope="module")
def faces():
    plain = make_faces(n_subjects=6, per_subject=3)
    groups = ["x" if name[:2] in ("p0", "p1", "p2") else "y" for name in plain.names]
    table = plain.table.assign(glasses=groups)
    return fl.Faces(table, images=plain.images, aligned="arcface", name="synthetic")


def verification(faces, store, **options):
    return fl.verification.study(
        faces, models=[MODEL], store=store, fmr=0.1, **{**OPTIONS, **options}
    )


def bias(faces, store, **options):
    return fl.bias.study(
        faces,
        group="glasses",
        models=[MODEL],
        store=store,
        bands="rings:28",
        n_pairs=None,
        impostors_per_genuine=2,
        fmr=0.1,
        n_permutations=20,
        caliper=5.0,
        **{**OPTIONS, **options},
    )


def resolution(faces, store, **options):
    return fl.resolution.study(
        faces,
        models=[MODEL],
        store=store,
        bands="rings:14",
        resolutions=[28, 14],
        control_kernels=["fourier"],
        n_control=4,
        n_pairs=8,
        fmr=0.1,
        **{**OPTIONS, **options},
    )


def faithfulness(faces, store, **options):
    return fl.faithfulness.study(
        faces,
        models=[MODEL],
        store=store,
        bands="rings:28",
        sides=["probe"],
        n_pairs=8,
        n_sample=4,
        n_random=1,
        most_permutations=4,
        most_bands=2,
        depths=[0.0, 1.0],
        contrasts=[8.0],
        fmr=0.1,
        **{**OPTIONS, **options},
    )


STUDIES = {
    "verification": verification,
    "bias": bias,
    "resolution": resolution,
    "faithfulness": faithfulness,
}


@pytest.mark.parametrize(
    "subject",
    [
        "verification",
        *(
            pytest.param(subject, marks=pytest.mark.slow)
            for subject in STUDIES
            if subject != "verification"
        ),
    ],
)
def test_a_study_is_made_once_and_then_opened(faces, tmp_path, monkeypatch, subject):
    store, study = tmp_path / "run.zarr", STUDIES[subject]
    first = study(faces, store)
    assert first.attrs["was_kept"] == 0
    monkeypatch.setattr("freqlab.run.calls.begun", None)  # who asks again computes nothing
    again = study(faces, store)
    assert again.attrs["was_kept"] == 1
    assert again.attrs["forward_passes"] == 0
    assert set(first.groups) == set(again.groups)
    for path in first.groups:
        xr.testing.assert_identical(
            first[path].to_dataset().drop_attrs(), again[path].to_dataset().drop_attrs()
        )
    told = getattr(fl, subject).summary(again)
    assert told == getattr(fl, subject).summary(first)
    assert told
    assert all("linear" in told[0] and text.strip() for text in told)
    assert not len(fl.store.check(store))


@pytest.mark.slow
def test_another_argument_makes_another_study_and_computes_no_more_embeddings(faces, tmp_path):
    store = tmp_path / "run.zarr"
    keys = {bias(faces, store).attrs["key"]}
    for options in ({"seed": 1}, {"alpha": 0.1}, {"n_draws": 30}, {"match_on": "contrast"}):
        other = bias(faces, store, **options)
        assert other.attrs["was_kept"] == 0
        keys.add(other.attrs["key"])
    assert len(keys) == 5


def test_figures_are_those_of_verify(faces, tmp_path):
    study = verification(faces, tmp_path / "run.zarr", group="glasses")
    options = {**OPTIONS, "models": [MODEL], "group": "glasses"}
    expected = fl.verify(faces, store=tmp_path / "other.zarr", **options)
    found = study["figures"].to_dataset()
    for name, values in expected.data_vars.items():
        assert found[name].dims == values.dims
        np.testing.assert_array_equal(found[name].to_numpy(), values.to_numpy())
    eer = 100 * float(expected["eer"].sel(group="all", estimate="value")[0])
    summary = fl.verification.summary(study)
    assert f"{eer:.2f}\u00a0%" in summary[0]
    assert 3 <= len(summary) <= 6


@pytest.mark.slow
def test_studies_go_with_a_person_and_are_made_again_without(faces, tmp_path):
    store = tmp_path / "run.zarr"
    before = bias(faces, store)
    fl.store.forget(store, subject="p1")
    assert fl.store.study_names(store, "bias") == []
    rest = faces.select(np.flatnonzero(faces.table["subject"].to_numpy() != "p1"))
    after = bias(rest, store)
    assert after.attrs["key"] != before.attrs["key"]
    assert int(fl.store.as_frame(after["groups"])["people"].sum()) == 5

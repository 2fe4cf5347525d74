"""Faces made from others, and their pairs."""

import numpy as np
import pandas as pd
import pytest
from conftest import make_faces

import freqlab as fl
from freqlab.errors import PairError, ParameterError, UnknownNameError


def test_degraded_faces_are_rows_that_name_their_source(synthetic):
    degraded = fl.faces.degrade(synthetic, resolutions=[56, 28])
    assert len(degraded) == 3 * len(synthetic)
    assert degraded.names[: len(synthetic)] == synthetic.names
    row = degraded.table.loc["p1/2@28"]
    assert (row["source"], row["resolution"], row["subject"]) == ("p1/2", 28, "p1")
    assert degraded.table["resolution"].iloc[: len(synthetic)].isna().all()
    assert degraded.sources[degraded.names.index("p1/2@28")] == "p1/2"
    assert degraded.degraded.sum() == 2 * len(synthetic)


def test_kinds_are_added_one_after_another(synthetic):
    once = fl.faces.degrade(synthetic, resolutions=[28])
    twice = fl.faces.degrade(once, resolutions=[28], kernel="fourier", probes=["p0/0", "p0/1"])
    assert twice.names[-2:] == ["p0/0@28-fourier", "p0/1@28-fourier"]
    assert len(twice) == len(once) + 2  # what is degraded already is not degraded again


def test_selecting_keeps_how_faces_are_degraded(synthetic):
    degraded = fl.faces.degrade(synthetic, resolutions=[28])
    some = degraded.select([0, len(synthetic)])
    assert some.degraded.tolist() == [False, True]
    assert some.degradations[1].resolution == 28


def test_faces_of_one_source_are_never_paired(synthetic):
    degraded = fl.faces.degrade(synthetic, resolutions=[56, 28])
    pairs = fl.make_pairs(degraded, impostors_per_genuine=float("inf"))
    source = dict(zip(degraded.names, degraded.sources, strict=True))
    ends = [pairs[side].astype(str).map(source) for side in ("probe", "reference")]
    assert (ends[0] != ends[1]).all()
    own = pd.DataFrame({"probe": ["p0/0@28"], "reference": ["p0/0"], "genuine": [True]})
    with pytest.raises(PairError, match="made from one source"):
        fl.influence(degraded, own, models=["mobilefacenet"], progress=False)


def test_only_probes_of_pairs_are_degraded(synthetic):
    pairs = fl.make_pairs(synthetic, seed=0)
    degraded = fl.faces.degrade(synthetic, resolutions=[56, 28], probes=pairs["probe"])
    table = fl.faces.degraded_pairs(pairs, degraded)
    assert len(table) == 3 * len(pairs)
    assert set(table["reference"].astype(str)) <= set(synthetic.names)
    low = table[table["resolution"] == 28]
    assert (low["probe"].astype(str) == pairs["probe"].astype(str).to_numpy() + "@28").all()
    assert (low["reference"].astype(str) == pairs["reference"].astype(str).to_numpy()).all()
    assert (low["whole_pair"].to_numpy() == pairs.index).all()
    assert (low["genuine"].to_numpy() == pairs["genuine"]).all()
    assert set(table["degradation"]) == {"none", "area"}
    assert table.index.is_unique


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"resolutions": [113]}, r"resolution=113 is above the native size: .* 112 pixels across"),
        ({"resolutions": [0]}, "0 must be a whole number of pixels"),
        ({"resolutions": [14.5]}, "14.5 must be a whole number of pixels"),
        ({"resolutions": ["28"]}, "'28' must be a whole number"),
        ({"resolutions": []}, "must name at least one"),
        ({"resolutions": 28}, "must be a list"),
        ({"resolutions": [28, 28]}, "repeat one"),
        ({"kernel": "gauss"}, "allowed: area, bicubic, lanczos, fourier"),
        ({"measure": "face"}, "pixels of the photographs.*measure='crop'"),
        ({"probes": ["nobody"]}, "'nobody' is not a face of 'synthetic'"),
        ({"probes": []}, "names no face"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_what_is_not_allowed_is_told(synthetic, wrong, said):
    with pytest.raises(ParameterError, match=said):
        fl.faces.degrade(synthetic, **{"resolutions": [28], **wrong})


def test_a_name_that_is_taken_is_refused(synthetic):
    degraded = fl.faces.degrade(synthetic, resolutions=[28])
    with pytest.raises(ParameterError, match="has a face named 'p0/0@28' already"):
        fl.faces.degrade(degraded, resolutions=[28])


def test_no_faces_and_no_degraded_probe_are_told(synthetic):
    with pytest.raises(ParameterError, match="must be Faces"):
        fl.faces.degrade("orl", resolutions=[28])
    pairs = fl.make_pairs(synthetic, seed=0)
    with pytest.raises(ParameterError, match="no probe of these pairs is degraded"):
        fl.faces.degraded_pairs(pairs, synthetic)
    degraded = fl.faces.degrade(synthetic, resolutions=[28])
    low = pd.DataFrame({"probe": ["p0/0@28"], "reference": ["p1/0"], "genuine": [False]})
    with pytest.raises(PairError, match="must be of faces as they are"):
        fl.faces.degraded_pairs(low, degraded)


def test_pairs_are_sorted_by_the_resolution_of_the_coarser_face():
    faces = make_faces(n_subjects=2, per_subject=2)
    pairs = pd.DataFrame(
        {"probe": ["p0/0", "p0/1"], "reference": ["p0/1", "p1/1"], "genuine": [True, False]}
    )
    pixels = pd.Series([100.0, 30.0, 20.0, 13.0], index=faces.names)
    table = fl.faces.pairs_by_resolution(pairs, pixels, resolutions=[112, 28, 14])
    assert table["probe"].tolist() == ["p0/1", "p1/1"]
    assert table["reference"].tolist() == ["p0/0", "p0/1"]
    assert table["resolution"].tolist() == [28, 14]
    assert table["probe_pixels"].tolist() == [30, 13]
    with pytest.raises(ParameterError, match="pixels are known"):
        fl.faces.pairs_by_resolution(pairs, pixels * np.nan, resolutions=[28])


def test_pixels_across_the_crop_follow_the_scale_of_the_points(tmp_path):
    points = np.array(fl.images.template("arcface").points)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (300, 300, 3)).astype(np.uint8) for _ in range(3)]
    table = pd.DataFrame({"subject": ["a", "a", "b"]}, index=["one", "two", "three"])
    landmarks = np.stack([points, 2 * points + 10, points / 2 + 30])
    faces = fl.Faces(table, images=images, landmarks=landmarks)
    fl.embed(faces, models=["mobilefacenet"], store=tmp_path / "run.zarr", progress=False)
    across = fl.store.pixels_across(tmp_path / "run.zarr")
    np.testing.assert_allclose(across[["one", "two", "three"]], [112, 224, 56], rtol=1e-5)
    with pytest.raises(ParameterError, match="no fixed points"):
        fl.store.pixels_across(tmp_path / "run.zarr", template="facenet")
    with pytest.raises(UnknownNameError):
        fl.store.pixels_across(tmp_path / "run.zarr", template="nowhere")

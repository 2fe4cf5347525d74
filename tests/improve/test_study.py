"""The study on small faces: its parts, what it keeps, its words, and what it refuses."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import make_faces

import freqlab as fl
from freqlab import testing
from freqlab.errors import ParameterError
from freqlab.improve.fusion import SCORES
from freqlab.improve.matched import MATCHED
from freqlab.improve.report import (
    describe_comparisons,
    matched_table,
    parts_of,
    search_table,
    summary,
    verdict_table,
)

OPTIONS = {
    "bands": "rings:28",
    "fmr": 1e-1,
    "fpir": 0.5,
    "n_impostor": 300,
    "folds": 3,
    "penalty": 0.01,
    "n_draws": 20,
    "progress": False,
}


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_subjects=12, per_subject=4)


@pytest.fixture(scope="module")
def study(faces, tmp_path_factory):
    store = tmp_path_factory.mktemp("improve") / "run.zarr"
    return fl.improve.study(
        faces, models=[testing.model()], store=store, resolutions=[28, 14], **OPTIONS
    )


@pytest.mark.slow
def test_it_is_kept(faces, study):
    again = fl.improve.study(
        faces, models=[testing.model()], store=study.attrs["store"], resolutions=[28, 14], **OPTIONS
    )
    assert again.attrs["was_kept"] == 1
    assert again.attrs["forward_passes"] == 0
    for one, two in zip(parts_of(study), parts_of(again), strict=True):
        assert one.gains.equals(two.gains)
        assert one.discard.equals(two.discard)


def test_its_parts(faces, study):
    parts = parts_of(study)
    assert [part.title for part in parts] == [f"probes of {n}\u00a0pixels" for n in (28, 14)]
    n_genuine = 12 * 4 * 3  # each photograph of a pair is once the probe
    for part in parts:
        assert int(part.gains["n_genuine"]) == n_genuine
        assert int(part.gains["n_impostor"]) == 300
        assert set(part.gains["score_name"].to_numpy()) == set(SCORES)
        assert int(part.discard["n_samples"]) == len(faces)
        assert part.discard.attrs["side"] == "probe"
        assert "flip stability" in part.quality
        assert set(part.matched["score_name"].to_numpy()) == set(MATCHED)
        assert part.matched_alike.attrs["baseline"] == "alike"
        one = part.gains.sel(score_name="alike").drop_vars("score_name")
        assert one.equals(part.matched.sel(score_name="alike")[list(one)].drop_vars("score_name"))
        assert set(part.searches["score_name"].to_numpy()) == {
            *("similarity", "bands", "flip", "alike", "nyquist")
        }
        assert part.searches.attrs["n_enrolled"] == 12
        assert int(part.searches["n_mated"]) == 12 * 3
        assert int(part.searches["n_non_mated"]) == 12 * 4
        assert int(part.search_discard["n_mated"]) == 12 * 3
    result = study["influence"].to_dataset()
    probes = result["probe"].to_numpy().astype(str)
    assert all("@" in name for name in probes)
    assert not any("@" in name for name in result["reference"].to_numpy().astype(str))


def test_scores_against_embeddings(faces, study):
    """The similarity and flip averaging from embeddings of their own."""
    import torch

    from freqlab.improve.fusion import flip_quality, flip_scores, mirrored_embeddings

    result = study["influence"].to_dataset().load()
    store, network = str(study.attrs["store"]), testing.model()
    names = faces.names
    crops = np.stack([np.asarray(image) for image in faces.images]).astype(np.float32)
    embed = lambda pixels: network(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).numpy()  # noqa: E731
    whole, turned = embed(crops), embed(crops[:, :, ::-1])
    mirrored = mirrored_embeddings(store, network, names)
    np.testing.assert_allclose(mirrored, turned, rtol=1e-4, atol=1e-4)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (whole, turned)]
    cosine = flip_quality(store, mirrored, names, model="linear")
    np.testing.assert_allclose(cosine, (unit[0] * unit[1]).sum(1), atol=1e-5)
    few = result.isel(pair=[0])
    few = few.assign_coords(probe=("pair", [names[0]]), reference=("pair", [names[5]]))
    both = unit[0] + unit[1]
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    found = flip_scores(store, mirrored, names, few, model="linear")
    np.testing.assert_allclose(found, [both[0] @ both[5]], atol=1e-5)


def test_its_words(study):
    sentences = summary(study)
    assert len(sentences) == 10
    assert all(s.startswith(("Probes of 28", "Probes of 14")) for s in sentences)
    text = " ".join(sentences)
    assert "**No verdict**: too few people (12); 20 or more are required" in text or (
        "**No verdict**: too few errors" in text
    )
    of_costs = [sentence for sentence in sentences if "Cllr" in sentence]
    assert len(of_costs) == 2
    assert all("**no verdict**, too few " in sentence for sentence in of_costs)
    assert "no person is in a fit and in its test" in describe_comparisons(study)
    table = verdict_table(study)
    assert list(table.index.names) == ["model", "probes", "score"]
    assert (table["verdict"] == "baseline").sum() == 2
    assert "Matched bands" in text
    assert "In a gallery of 12 people, the similarity errs at rank 1 in " in text
    matched, searched = matched_table(study), search_table(study)
    assert list(matched.index.names) == list(searched.index.names) == list(table.index.names)
    assert (matched["verdict"] == "baseline").sum() == 2
    assert (matched["verdict against alike"] == "baseline").sum() == 2
    assert (searched["verdict"] == "baseline").sum() == 2
    plt.close("all")


@pytest.mark.slow
def test_faces_as_they_are(faces, tmp_path):
    found = fl.improve.study(
        faces, models=[testing.model()], store=tmp_path / "run.zarr", resolutions=[], **OPTIONS
    )
    (part,) = parts_of(found)
    assert part.title == "faces as they are"
    assert int(part.gains["n_genuine"]) == 12 * 6
    assert part.discard.attrs["side"] == "both"
    assert part.matched is None
    assert matched_table(found).empty
    assert set(part.searches["score_name"].to_numpy()) == {"similarity", "bands", "flip"}
    assert int(part.searches["n_mated"]) == 12 * 3


@pytest.mark.slow
def test_listed_pairs_have_references_degraded_alike(faces, tmp_path):
    """The probes of a list are degraded for it, and its references for the comparison."""
    pairs = fl.make_pairs(faces, impostors_per_genuine=5, seed=0)
    options = {name: value for name, value in OPTIONS.items() if name != "n_impostor"}
    study = fl.improve.study(
        faces,
        pairs,
        models=[testing.model()],
        store=tmp_path / "r.zarr",
        resolutions=[14],
        **options,
    )
    (part,) = parts_of(study)
    assert "alike" in part.gains["score_name"]
    assert part.matched_alike is not None


def test_without_crops_it_says_so(faces, tmp_path):
    with pytest.raises(ParameterError, match="no stored crops to mirror; .*keep_crops=True"):
        fl.improve.study(
            faces,
            models=[testing.model()],
            store=tmp_path / "run.zarr",
            keep_crops=False,
            resolutions=[],
            **OPTIONS,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolutions": 14}, r"resolutions=14 must be a list, as in \[21, 14\]"),
        ({"resolutions": "14"}, "resolutions='14' must be a list"),
        ({"resolutions": [1]}, "resolutions=1 must be a whole number of 2 or more"),
        ({"resolutions": [14, 14]}, r"resolutions=\[14, 14\] must differ"),
        ({"resolutions": [112]}, r"resolutions=\[112\]: 112 must be below 112"),
        ({"kernel": "aera"}, "unknown kernel 'aera'.*Did you mean 'area'"),
        ({"folds": 2}, "folds=2"),
        ({"folds": 7}, "folds=7: 12 people have genuine pairs; 14 or more are required"),
        ({"prior": 1}, "prior=1"),
        ({"penalty": -1}, "penalty=-1"),
        ({"n_impostor": 50}, "n_impostor=50: a threshold at fmr=0.1 requires 100 impostor pairs"),
        ({"n_impostor": 9000, "fmr": 1e-3}, "requires 10,000 .*; there would be 1,056"),
        ({"fmr": 0}, "fmr"),
        ({"fpir": 0}, "fpir=0 must be a number above 0"),
        ({"fpir": 1.5}, "fpir=1.5 must be below 1"),
        ({"n_draws": 0}, "n_draws=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_input_stops_it_at_its_beginning(faces, tmp_path, options, message):
    store = tmp_path / "run.zarr"
    with pytest.raises(ParameterError, match=message):
        fl.improve.study(faces, models=[testing.model()], store=store, **(OPTIONS | options))
    assert not store.exists()


@pytest.mark.slow
def test_photographs_of_a_person_can_be_limited(faces, tmp_path):
    options = {"models": [testing.model()], "resolutions": [14], **OPTIONS}
    study = fl.improve.study(faces, store=tmp_path / "run.zarr", per_subject=3, **options)
    (part,) = parts_of(study)
    assert int(part.gains["n_genuine"]) == 12 * 3 * 2
    assert int(part.discard["n_samples"]) == 12 * 3
    pairs = fl.make_pairs(faces, seed=0)
    for given, message in (
        ({"per_subject": 1}, "per_subject=1 must be a whole number of 2 or more"),
        ({"per_subject": 2, "pairs": pairs}, "the pairs given determine theirs"),
    ):
        with pytest.raises(ParameterError, match=message):
            fl.improve.study(faces, store=tmp_path / "run.zarr", **given, **options)


def test_another_study_has_no_parts():
    import xarray as xr

    with pytest.raises(ParameterError, match="study has no part with gains"):
        parts_of(xr.DataTree())

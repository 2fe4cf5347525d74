"""The study on small faces: its parts, what it keeps, its words, and what it refuses."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from conftest import make_faces

import freqlab as fl
from freqlab import testing
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.improve import findings
from freqlab.improve.findings import summary
from freqlab.improve.fusion import SCORES
from freqlab.improve.matched import MATCHED
from freqlab.improve.report import (
    describe_comparisons,
    matched_table,
    overview_table,
    parts_of,
    search_table,
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
    assert len(sentences) == 6
    text = " ".join(sentences)
    assert len(text.split()) < 200
    assert "the similarity alone rejects" in sentences[0]
    assert sentences[0].endswith("Brackets hold 95\u00a0% intervals over people.")
    # one text for both resolutions, where it is the same
    assert (
        "at 28 and 14\u00a0pixels **no verdict**, too few people (12); 20 are required" in text
        or ("too few errors (" in text)
    )
    assert sum("**no verdict**, too few " in sentence for sentence in sentences) == 5
    assert sentences[4].startswith("Matched bands: ")
    assert sentences[5].startswith("Searches among 12 people: ")
    assert "no person is in a fit and in its test" in describe_comparisons(study)
    table = verdict_table(study)
    assert list(table.index.names) == ["model", "probes", "score"]
    assert (table["verdict"] == "baseline").sum() == 2
    assert "the similarity errs at rank 1 in " in text
    matched, searched = matched_table(study), search_table(study)
    assert list(matched.index.names) == list(searched.index.names) == list(table.index.names)
    assert (matched["verdict"] == "baseline").sum() == 2
    assert (matched["verdict against alike"] == "baseline").sum() == 2
    assert (searched["verdict"] == "baseline").sum() == 2
    plt.close("all")


def test_every_verdict_is_in_the_overview(study):
    table, parts = overview_table(study), parts_of(study)
    assert list(table) == [part.title for part in parts]
    assert (table != "").all(axis=None)
    measured = table.index.get_level_values("measure").unique().tolist()
    assert measured[0] == "FNMR at FMR 1e-1 (points)"
    for part in parts:
        n = int(part.gains["n_errors"].sel(score_name="similarity", fmr=0.1))
        cell = table[part.title][measured[0], "similarity alone"]
        assert cell.endswith(f", {n:,} error{'' if n == 1 else 's'}")
        scores = table[part.title].loc[measured[0]]
        assert len(scores) == len(SCORES) + 2  # and both kinds of matched bands
        for name in ("learnt", "flip"):
            verdict = str(part.gains["verdict"].sel(score_name=name, fmr=0.1).item())
            assert verdict in set(scores)
    with pytest.raises(UnknownNameError, match="unknown model 'nobody'"):
        overview_table(study, model="nobody")


def judged(verdicts, differences, *, baseline="similarity"):
    """Gains with these verdicts and differences."""
    names = [baseline, *verdicts]
    bounds = [[np.nan] * 3, *([d, d - 0.01, d + 0.01] for d in differences.values())]
    return xr.Dataset(
        {
            "verdict": ("score_name", np.array(["", *verdicts.values()], object)),
            "difference": (("score_name", "estimate"), bounds),
        },
        coords={"score_name": np.array(names, object), "estimate": ["value", "lower", "upper"]},
        attrs={"baseline": baseline},
    )


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        (
            {"bands": "no gain", "learnt": "gain", "alike": "gain", "flip": "no gain"},
            "**gain** by learnt weights over bands and the reference degraded alike (largest by "
            "the reference degraded alike, a control without influence: -3.00 [-4.00, -2.00] "
            "points), **no gain** by the other 2",
        ),
        ({"bands": "no gain", "learnt": "no gain"}, "**no gain** by any of the 2"),
        (
            {"bands": "loss", "learnt": "no gain"},
            "**loss** by the mean without one band (-1.00 [-2.00, +0.00] points), **no gain** by "
            "learnt weights over bands",
        ),
        (
            {"bands": "too few errors (7)"},
            "**no verdict**, too few errors (7); 30 are required",
        ),
    ],
)
def test_no_gain_stands_beside_gains(verdicts, text):
    differences = {name: -0.01 * (k + 1) for k, name in enumerate(verdicts)}
    if "loss" in verdicts.values():
        differences["bands"] = -0.01
    said = findings._verdicts(judged(verdicts, differences), findings._WORDS)
    assert said.replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        (("loss", "loss"), ", against the reference degraded alike **loss** by both"),
        (
            ("no gain", "gain"),
            ", against the reference degraded alike **no gain** by the reference within the "
            "probe's limit and **gain** by the bands that support other people",
        ),
    ],
)
def test_matched_bands_are_compared_with_both_references(study, verdicts, text):
    verdicts = dict(zip(("nyquist", "influence"), verdicts, strict=True))
    sizes = {"nyquist": 0.2, "influence": 0.1}
    at = {
        base: judged(verdicts, sizes, baseline=base).expand_dims(fmr=[0.1])
        for base in ("similarity", "alike")
    }
    part = parts_of(study)[0]._replace(matched=at["similarity"], matched_alike=at["alike"])
    assert findings._matched_text(part, 0.1).replace("\u00a0", " ").endswith(text)


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
    with pytest.raises(ParameterError, match="study has no part with gains"):
        parts_of(xr.DataTree())

"""Identification against brute force over whole matrices of scores."""

import numpy as np
import pytest
from conftest import make_faces

import freqlab as fl
from freqlab import testing
from freqlab.errors import ParameterError
from freqlab.improve import identification as module
from freqlab.improve.identification import (
    describe_identification,
    identification_table,
    identify,
    search,
)
from freqlab.statistics.error_rates import threshold_at_fmr


def vectors(n_people=30, per_person=4, n_features=8, seed=0):
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(n_people), per_person)
    means = rng.normal(size=(n_people, n_features))
    return means[people] + 0.7 * rng.normal(size=(len(people), n_features)), people


def brute_force(probes, gallery, of_probe, of_face, excluded=None):
    """Own score, highest other score and rank of each probe, from all scores of all people."""
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (probes, gallery)]
    scores = unit[0] @ unit[1].T
    if excluded is not None:
        scores[excluded] = -np.inf
    own, highest, ranks = [], [], []
    for i, person in enumerate(of_probe):
        by_person = {p: scores[i, of_face == p].max() for p in np.unique(of_face)}
        mine = by_person.pop(person, -np.inf)
        others = np.array(list(by_person.values()))
        own.append(mine if np.isfinite(mine) else np.nan)
        highest.append(others.max() if len(others) else -np.inf)
        ranks.append(1 + (others >= mine).sum() if np.isfinite(mine) else 0)
    return np.array(own), np.array(highest), np.array(ranks)


@pytest.mark.parametrize("block", [3, 7, 8192])
def test_searches_against_brute_force(monkeypatch, block):
    monkeypatch.setattr(module, "_FACES_PER_BLOCK", block)
    monkeypatch.setattr(module, "_SCORES_PER_BLOCK", 40)
    values, people = vectors()
    rng = np.random.default_rng(1)
    enrolled = (rng.random(len(people)) < 0.5) & (people < 25)  # five people are not enrolled
    found = search(values[~enrolled], values[enrolled], people[~enrolled], people[enrolled])
    own, highest, rank = brute_force(
        values[~enrolled], values[enrolled], people[~enrolled], people[enrolled]
    )
    np.testing.assert_allclose(found.own, own, atol=1e-6)
    np.testing.assert_allclose(found.highest_other, highest, atol=1e-6)
    np.testing.assert_array_equal(found.rank, rank)
    assert (found.rank[people[~enrolled] >= 25] == 0).all()


def test_a_probe_is_not_found_by_its_own_photograph():
    values, people = vectors(10, 2)
    sources = np.arange(20)
    degraded = values + 0.01
    found = search(degraded, values, people, people, probe_sources=sources, gallery_sources=sources)
    own, highest, rank = brute_force(
        degraded, values, people, people, sources[:, None] == sources[None]
    )
    np.testing.assert_allclose(found.own, own, atol=1e-6)
    np.testing.assert_array_equal(found.rank, rank)
    np.testing.assert_allclose(found.highest_other, highest, atol=1e-6)


def test_equal_scores_of_others_count_as_higher():
    one = np.array([[1.0, 0.0]])
    found = search(one, np.repeat(one, 3, axis=0), np.array([1]), np.array([0, 1, 2]))
    assert found.rank.tolist() == [3]


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_subjects=24, per_subject=3)


@pytest.fixture(scope="module")
def result(faces):
    return identify(faces, models=[testing.model()], fpirs=[0.3, 1e-2], progress=False)


def embedded(faces):
    tree = fl.embed(faces, models=[testing.model()], progress=False)
    return fl.open_embeddings(tree.attrs["store"], model="linear").sel(face=faces.names).to_numpy()


def test_rates_against_brute_force(faces, result):
    values = embedded(faces)
    people = np.unique(faces.subjects.astype(str), return_inverse=True)[1]
    enrolled = np.arange(len(people)) % 3 == 0
    own, highest, rank = brute_force(
        values[~enrolled], values[enrolled], people[~enrolled], people[enrolled]
    )
    one = result.sel(model="linear")
    cmc = one["identification_rate"].sel(estimate="value").to_numpy()
    np.testing.assert_allclose(cmc, [(rank <= k).mean() for k in range(1, 25)])
    assert cmc[-1] == 1
    edge = threshold_at_fmr(highest, 0.3)
    assert (highest >= edge).mean() <= 0.3
    at = one["false_negative_identification_rate"].sel(fpir=0.3, estimate="value")
    assert float(at) == pytest.approx(((own < edge) | (rank > 1)).mean())
    assert result.attrs["non_mated"] == "enrolled people, whose own faces are left out"
    for name, n in (("n_mated", 48), ("n_non_mated", 48), ("n_people", 24), ("n_gallery", 24)):
        assert int(one[name]) == n
    bounds = one["identification_rate"]
    assert (bounds.sel(estimate="lower") <= bounds.sel(estimate="value")).all()
    assert (bounds.sel(estimate="value") <= bounds.sel(estimate="upper")).all()


def test_people_who_are_not_enrolled_are_the_non_mated_searches(faces):
    gallery = [name for name in faces.names[:45] if name.endswith("/0")]
    found = identify(faces, models=[testing.model()], gallery=gallery, fpirs=[0.4], progress=False)
    assert found.attrs["non_mated"] == "people who are not enrolled"
    assert int(found["n_enrolled"][0]) == 15
    assert int(found["n_mated"][0]) == 30
    assert int(found["n_non_mated"][0]) == 27
    assert found.sizes["rank"] == 15
    values = embedded(faces)
    people = np.unique(faces.subjects.astype(str), return_inverse=True)[1]
    enrolled = np.isin(faces.names, gallery)
    own, highest, rank = brute_force(
        values[~enrolled], values[enrolled], people[~enrolled], people[enrolled]
    )
    edge = threshold_at_fmr(highest[rank == 0], 0.4)
    expected = ((own < edge) | (rank > 1))[rank > 0].mean()
    at = found["false_negative_identification_rate"].sel(fpir=0.4, estimate="value")
    assert float(at[0]) == pytest.approx(expected)


def test_a_degraded_copy_of_an_enrolled_photograph_is_no_search_of_a_stranger(faces):
    lower = fl.faces.degrade(faces, resolutions=[28])
    gallery = [name for name in faces.names if name.endswith("/0")]
    names = np.array(lower.names)
    rows = [i for i, name in enumerate(names) if name in gallery or "@" in name]
    found = identify(
        lower.select(rows),
        models=[testing.model()],
        gallery=gallery,
        fpirs=[0.3],
        progress=False,
    )
    assert int(found["n_mated"][0]) == 48  # the copies of the 24 enrolled ones are not found
    assert int(found["n_non_mated"][0]) == 72
    assert found.attrs["non_mated"] == "enrolled people, whose own faces are left out"


def test_a_rate_that_is_not_resolved_is_nan_with_the_reason(result):
    at = result.sel(model="linear", fpir=1e-2)
    assert at["false_negative_identification_rate"].isnull().all()
    assert at["note"].item() == "48 non-mated searches; 1,000 are required"
    table = identification_table(result)
    assert table.loc["linear", "FNIR at FPIR 1e-2"] == at["note"].item()
    assert "FPIR 1e-2 is not resolved: 48" in describe_identification(result, model="linear")


def test_bad_input(faces):
    options = {"models": [testing.model()], "progress": False}
    for given, message in (
        ({"gallery": ["nobody"]}, "gallery: 1 of 1 names are not faces of .*'nobody'"),
        ({"gallery": "p0/0"}, "gallery='p0/0' must be a list of names"),
        ({"gallery": ["p0/0", "p0/0"]}, "gallery: a name is repeated"),
        ({"gallery": faces.names}, "no other photograph of their people is left"),
        ({"gallery": []}, "0 faces are enrolled"),
        ({"max_rank": 0}, "max_rank=0"),
        ({"fpirs": [0]}, "must be a number above 0"),
        ({"level": 2}, "level=2"),
    ):
        with pytest.raises(ParameterError, match=message):
            identify(faces, **options, **given)
    with pytest.raises(ParameterError, match=r"gallery has shape \(3, 2\) and the probes \(4, 3\)"):
        search(np.ones((4, 3)), np.ones((3, 2)), np.arange(4), np.arange(3))
    with pytest.raises(ParameterError, match="no face is enrolled with an embedding"):
        search(np.ones((4, 3)), np.ones((0, 3)), np.arange(4), np.arange(0))


def test_a_gallery_of_a_hundred_thousand_is_searched_in_bounded_memory():
    import tracemalloc

    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(100_000, 8)).astype(np.float32)
    probes = gallery[:300] + 0.3 * rng.normal(size=(300, 8)).astype(np.float32)
    people = np.arange(100_000)
    tracemalloc.start()
    found = search(probes, gallery, people[:300], people)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # all scores are 120 MB, and their comparison as much again
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    scores = unit @ (probes[7] / np.linalg.norm(probes[7]))
    assert found.own[7] == pytest.approx(scores[7], abs=1e-6)
    assert abs(int(found.rank[7]) - (scores >= scores[7]).sum()) <= 1

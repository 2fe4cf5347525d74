"""Figures of many comparisons in bounded memory are those of all scores in memory."""

import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.errors import ParameterError
from freqlab.faces.groups import ALL, MIXED
from freqlab.statistics.error_rates import compare_all, impostor_thresholds
from freqlab.statistics.resampling import draw_subjects
from freqlab.verification import all_pairs, large_sets, performance
from freqlab.verification.all_pairs import (
    N_BINS,
    OrderStatistics,
    collect_scores,
    count_wrong,
    draw_counts,
    score_bins,
    usable_faces,
)
from freqlab.verification.figures import figures_of
from freqlab.verification.large_sets import figures_of_all

RATES = (0.1, 0.01, 1e-3, 1e-5)


def sample(n_subjects=40, seed=0, noise=1.5, n_features=8):
    """Embeddings of subjects with one to six faces, in random order, some without embedding."""
    rng = np.random.default_rng(seed)
    per_subject = rng.integers(1, 7, n_subjects)
    subjects = np.repeat(np.arange(n_subjects), per_subject)
    rng.shuffle(subjects)
    centres = rng.standard_normal((n_subjects, n_features))
    embeddings = centres[subjects] + noise * rng.standard_normal((len(subjects), n_features))
    embeddings[::17] = np.nan
    sources = np.array([f"p{i}" for i in range(len(subjects))], object)
    sources[5:9] = "p4"  # of several subjects, as morphs
    return embeddings.astype(np.float32), subjects.astype(str).astype(object), sources


def both(data, *, groups=(ALL,), codes=None, rates=RATES):
    thresholds, _ = impostor_thresholds(*data, rates)
    options = {
        "thresholds": thresholds,
        "fmrs": rates,
        "groups": groups,
        "codes": codes,
        "n_draws": 60,
        "seed": 3,
    }
    kept = compare_all(*data)
    return figures_of(kept, **options), figures_of_all(*data, **options), kept


def assert_same(kept: xr.Dataset, tiled: xr.Dataset):
    assert set(kept.data_vars) == set(tiled.data_vars)
    for name in kept.data_vars:
        if kept[name].dtype == object:
            assert (kept[name] == tiled[name]).all()
        elif name == "density":
            np.testing.assert_allclose(tiled[name], kept[name], rtol=1e-9)
        else:
            np.testing.assert_allclose(tiled[name], kept[name], rtol=1e-6, atol=1e-9, err_msg=name)
    xr.testing.assert_equal(kept.drop_vars(kept.data_vars), tiled.drop_vars(tiled.data_vars))


@pytest.mark.parametrize("tile", [7, 40, 1024])
@pytest.mark.parametrize("noise", [0.4, 1.5, 6.0])
def test_figures_are_those_of_all_scores(monkeypatch, tile, noise):
    monkeypatch.setattr(all_pairs, "_TILE", tile)
    monkeypatch.setattr(all_pairs, "_COLLECTED", 50)
    kept, tiled, comparisons = both(sample(noise=noise))
    assert_same(kept, tiled.figures)
    extremes = tiled.extremes
    impostor = extremes.select(~extremes.genuine)
    highest = np.sort(comparisons.by_kind[1])[::-1][:12]
    np.testing.assert_allclose(np.sort(impostor.scores)[::-1], highest, rtol=1e-6)
    assert (impostor.reference < impostor.probe).all()


def test_figures_of_groups_and_of_comparisons_between_them():
    data = sample(seed=1)
    codes = np.random.default_rng(0).choice([-1, 1, 2], len(data[1]), p=[0.1, 0.5, 0.4])
    kept, tiled, _ = both(data, groups=[ALL, "a", "b", MIXED], codes=codes)
    assert (kept["n_impostor"] > 0).all()
    assert_same(kept, tiled.figures)


@pytest.mark.parametrize(
    "case", ["one subject", "one face each", "two people", "equal faces", "no face", "one left"]
)
def test_small_and_degenerate_sets(case):
    embeddings, subjects, sources = sample(seed=2)
    if case == "one subject":
        subjects = np.full(len(subjects), "a", object)
    elif case == "one face each":
        subjects = np.arange(len(subjects)).astype(str).astype(object)
    elif case == "two people":
        subjects = np.where(np.arange(len(subjects)) % 2 == 0, "a", "b").astype(object)
    elif case == "equal faces":
        embeddings = np.ones_like(embeddings)
    elif case == "no face":
        embeddings = np.full_like(embeddings, np.nan)
    else:
        embeddings[1:] = np.nan
    kept, tiled, _ = both((embeddings, subjects, sources))
    assert_same(kept, tiled.figures)


def test_order_statistics_are_those_of_a_full_sort():
    rng = np.random.default_rng(0)
    scores = np.clip(rng.normal(0, 0.2, 50_000), -1, 1).astype(np.float32)
    scores[:2000] = scores[2000:4000]  # ties
    scores[-3:] = (-1, 1, 1)
    order = OrderStatistics(np.bincount(score_bins(scores), minlength=N_BINS))
    ranks = rng.integers(0, len(scores), 300)
    order.want_ranks(ranks)
    for part in np.array_split(scores, 13):
        order.collect(part)
    complete = np.sort(scores)
    np.testing.assert_array_equal(order.at(ranks), complete[ranks])
    for rank in ranks[:50]:
        threshold = float(complete[rank])
        assert order.n_below(threshold) == (scores < complete[rank]).sum()


def test_matches_at_thresholds_are_counted_by_brute_force():
    data = sample(seed=4)
    numbers = np.unique(data[1], return_inverse=True)[1].astype(np.int32)
    faces = usable_faces(data[0], numbers, data[2])
    comparisons = compare_all(*data)
    impostor = comparisons.select(~comparisons.genuine)
    thresholds = np.quantile(impostor.scores.astype(float), [0.2, 0.7, 0.99])
    seen = []
    wrong = count_wrong(faces, thresholds, comparisons.n_subjects, seen.append)
    assert sum(map(len, seen)) == len(impostor.scores)
    ends = comparisons.subjects[np.stack([impostor.reference, impostor.probe])]
    every = np.zeros((comparisons.n_subjects,) * 2)
    np.add.at(every, tuple(np.sort(ends, axis=0)), 1)
    for k, threshold in enumerate(thresholds):
        matches = impostor.scores.astype(float) >= threshold
        couples = np.zeros_like(every)
        np.add.at(couples, tuple(np.sort(ends[:, matches], axis=0)), 1)
        assert wrong.n[k] == matches.sum()
        assert wrong.squares[k] == (couples**2).sum()
        assert wrong.crossed[k] == (couples * every).sum()
        np.testing.assert_array_equal(wrong.of_people[k], couples.sum(axis=0) + couples.sum(axis=1))
    again = []
    collect_scores(faces, again.append)
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(seen))


def test_draws_are_those_of_the_bootstrap():
    for n_subjects, n_draws in ((0, 3), (1, 5), (37, 50)):
        draws = draw_subjects(n_subjects, n_draws, 7)
        np.testing.assert_array_equal(draw_counts(n_subjects, n_draws, 7), draws)


def test_verify_is_the_same_either_way(tmp_path, monkeypatch):
    faces = fl.testing.faces(n_subjects=10, per_subject=3, groups={"colour": ["red", "green"]})
    options = {"models": [fl.testing.model()], "n_draws": 40, "progress": False, "group": "colour"}
    options |= {"store": tmp_path / "run.zarr", "fmrs": [0.1, 0.05]}
    kept = fl.verify(faces, **options)
    monkeypatch.setattr(performance, "_MOST_KEPT", 0)
    tiled = fl.verify(faces, **options)
    assert_same(kept, tiled)


def test_too_many_genuine_comparisons_are_refused(monkeypatch):
    monkeypatch.setattr(large_sets, "_MOST_GENUINE", 11)
    faces = fl.testing.faces(n_subjects=4, per_subject=3)
    with pytest.raises(ParameterError, match="12 comparisons within subjects; at most 11 fit"):
        fl.verify(faces, models=[fl.testing.model()], progress=False)


def test_groups_without_codes_are_refused():
    with pytest.raises(ParameterError, match="codes=None"):
        figures_of_all(*sample(), thresholds=[0.5], fmrs=[0.1], groups=[ALL, "a"])

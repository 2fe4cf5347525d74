"""Heads trained on unbalanced groups: projection, error rates and profiles, and a planted bias."""

import functools

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.linalg import eigh
from scipy.stats import spearmanr

import freqlab as fl
from freqlab.bias import heads as module
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.statistics.error_rates import equal_error_rate

N_PEOPLE, N_IMAGES, SIZE, N_BANDS = 80, 4, 24, 6


@functools.cache
def face_set():
    names = [f"p{i:02d}/{k}" for i in range(N_PEOPLE) for k in range(N_IMAGES)]
    table = pd.DataFrame(
        {
            "subject": [name.split("/")[0] for name in names],
            "group": ["one" if int(name[1:3]) % 2 else "two" for name in names],
        },
        index=pd.Index(names, name="face"),
    )
    return table


class _Set:
    """What the function reads of faces."""

    def __init__(self, table):
        self.table = table
        self.names = list(table.index)
        self.subjects = table["subject"].to_numpy(object)


def planted(seed=0, planted=True):
    """Embeddings of people of two groups, whose photographs differ in directions of the group.

    The photographs of a person of each group vary within directions of that group. A head trained
    on the group alone learns to leave out these directions. Each band carries one part of the
    directions, so that the profiles of the groups differ the more, the less a head leaves out.
    """
    table, rng = face_set(), np.random.default_rng(seed)
    person = np.repeat(np.arange(N_PEOPLE), N_IMAGES)
    group = (person % 2) == 1
    vectors = 0.7 * rng.normal(size=(N_PEOPLE, SIZE))[person]
    vectors += 0.3 * rng.normal(size=(len(person), SIZE))
    noise = np.zeros_like(vectors)
    if planted:
        for k, mine in enumerate((~group, group)):
            directions = slice(8 * k, 8 * (k + 1))
            noise[mine, directions] = 2.0 * rng.normal(size=(mine.sum(), 8))
    intact = vectors + noise
    removed = np.repeat(intact[:, None], N_BANDS, axis=1)
    for band in range(N_BANDS):
        removed[:, band, 4 * band : 4 * (band + 1)] = 0
    return _Set(table), intact, removed


def heads_of(monkeypatch, data, **options):
    faces, intact, removed = data
    monkeypatch.setattr(
        module, "_embeddings", lambda *args: (intact, removed, [f"b{i}" for i in range(N_BANDS)])
    )
    labels = faces.table["group"]
    options = {"group": "one", "n_features": 8, "n_draws": 40} | options
    return fl.bias.trained_heads("none", faces, labels, model="m", bands="rings:28", **options)


def test_the_projection_is_that_of_the_generalised_eigenproblem():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 5)
    vectors = rng.normal(size=(30, 10))[people] + 0.5 * rng.normal(size=(150, 10))
    head = module.projection(vectors, people, 3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    means = np.stack([unit[people == p].mean(axis=0) for p in range(30)])
    within = np.zeros((10, 10))
    for u, p in zip(unit, people, strict=True):
        within += np.outer(u - means[p], u - means[p]) / 150
    shrunk = 0.9 * within + 0.1 * 0.9 * np.trace(within) / 10 * np.eye(10)
    between = np.cov(means.T, bias=True)
    values = eigh(between, shrunk, eigvals_only=True)[::-1][:3]
    np.testing.assert_allclose(head.T @ shrunk @ head, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(head.T @ between @ head, np.diag(values), atol=1e-9)


def test_rates_and_profiles_are_those_of_all_pairs(monkeypatch):
    data = planted()
    heads = heads_of(monkeypatch, data, shares=[0.5], n_repeats=1)
    assert heads["share"].to_numpy().tolist() == [0.5]
    assert heads.attrs["n_people"] == 20
    assert heads.attrs["n_test_people"] == 40
    np.testing.assert_allclose(heads["bias"], heads["eer"].std("group"))
    apart = heads["profile"] - heads["profile"].mean("group")
    np.testing.assert_allclose(
        heads["profile_difference"], np.sqrt((apart**2).sum("band").mean("group"))
    )
    assert np.isnan(heads["correlation"]).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_rate_of_a_draw_is_that_of_people_listed_as_often(seed):
    rng = np.random.default_rng(seed)
    person, n = np.repeat(np.arange(12), 3), 36
    vectors = rng.normal(size=(12, 6))[person] + rng.normal(size=(n, 6))
    removed = vectors[:, None] + rng.normal(size=(n, 2, 6))
    test = module._Test(vectors, removed, person, np.zeros(12, int))
    (found,) = module._compared(test, np.eye(6), 1)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    masked = removed / np.linalg.norm(removed, axis=-1, keepdims=True)
    for counts in (np.ones(12, int), rng.multinomial(12, np.full(12, 1 / 12))):
        genuine, impostor, influence, weights = [], [], [], []
        for i in range(n):
            for j in range(i + 1, n):
                score, ends = unit[i] @ unit[j], person[[i, j]]
                if ends[0] == ends[1]:
                    genuine += [score] * counts[ends[0]]
                    influence.append(score - masked[j] @ unit[i])
                    weights.append(counts[ends[0]])
                else:
                    impostor += [score] * counts[ends].prod()
        rate = equal_error_rate(np.array(genuine), np.array(impostor))
        assert found.eer(counts) == pytest.approx(rate)
        expected = np.average(influence, axis=0, weights=weights)
        np.testing.assert_allclose(found.profile(counts), expected)


@pytest.mark.slow
def test_a_planted_bias_is_found_with_the_profiles(monkeypatch):
    heads = heads_of(monkeypatch, planted())
    by_share = heads["eer"].groupby("share").mean()
    gap = by_share.sel(group="one") - by_share.sel(group="two")
    assert float(gap.sel(share=0)) > 0.05  # trained without the group
    assert float(gap.sel(share=1)) < -0.05
    expected = spearmanr(heads["bias"], heads["profile_difference"]).statistic
    assert float(heads["correlation"].sel(estimate="value")) == pytest.approx(expected)
    assert expected > 0.8
    clear = heads.assign(correlation=heads["correlation"].copy(data=[0.9, 0.2, 1.0]))
    assert "the more biased the head, the larger the difference" in (
        fl.bias.describe_trained_heads(clear)
    )


@pytest.mark.slow
def test_without_bias_no_relation_is_stated(monkeypatch):
    heads = heads_of(monkeypatch, planted(planted=False))
    assert "no relation between bias and the difference of profiles is established" in (
        fl.bias.describe_trained_heads(heads)
    )


def test_few_heads_and_equal_heads_have_no_verdict():
    few = xr.Dataset({"bias": ("head", np.zeros(7))})
    assert "7 heads are too few" in fl.bias.describe_trained_heads(few)
    equal = xr.Dataset(
        {"bias": ("head", np.zeros(9)), "correlation": ("estimate", [np.nan] * 3)},
        coords={"estimate": ["value", "lower", "upper"]},
    )
    assert "is the same" in fl.bias.describe_trained_heads(equal)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": []}, "must hold at least one number"),
        ({"shares": [1.5]}, "shares=1.5 must be numbers from 0 to 1"),
        ({"shares": [-0.5]}, "shares"),
        ({"n_repeats": 0}, "n_repeats=0"),
        ({"n_features": 0}, "n_features=0"),
        ({"n_people": 21}, "n_people=21 must be 20 or less"),
        ({"n_draws": 0}, "n_draws=0"),
    ],
)
def test_what_is_not_allowed_is_told(monkeypatch, options, message):
    with pytest.raises(ParameterError, match=message):
        heads_of(monkeypatch, planted(), **options)


def test_groups_and_faces_that_do_not_fit(monkeypatch, tmp_path):
    faces, intact, removed = planted()
    with pytest.raises(UnknownNameError, match="unknown group 'three'"):
        heads_of(monkeypatch, (faces, intact, removed), group="three")
    mixed = face_set().copy()
    mixed.loc["p01/0", "group"] = "two"
    with pytest.raises(ParameterError, match="'p01' have several groups"):
        heads_of(monkeypatch, (_Set(mixed), intact, removed))
    few = face_set().copy()
    few["group"] = np.where(few["subject"].isin(["p00", "p01"]), "one", "two")
    with pytest.raises(ParameterError, match="group 'one' has 1 people in a half"):
        heads_of(monkeypatch, (_Set(few), intact, removed))
    monkeypatch.undo()
    store = tmp_path / "run.zarr"
    faces = fl.testing.faces(n_subjects=4, per_subject=2, groups={"hair": ["dark", "fair"]})
    fl.embed(faces, models=[fl.testing.model()], store=store, progress=False)
    labels = fl.faces.group_labels(faces, "hair")
    options = {"model": "linear", "bands": "rings:28", "group": "dark"}
    with pytest.raises(ParameterError, match="has no embeddings of 'linear' without these bands"):
        fl.bias.trained_heads(store, faces, labels, **options)
    groups = {"hair": ["dark", "fair"]}
    others = fl.testing.faces(n_subjects=5, per_subject=2, groups=groups)
    with pytest.raises(ParameterError, match="has no embeddings of 2 faces"):
        fl.bias.trained_heads(store, others, fl.faces.group_labels(others, "hair"), **options)

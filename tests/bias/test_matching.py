"""Matching of groups, against the best of all assignments."""

import itertools

import numpy as np
import pandas as pd
import pytest

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError


def made(n_a, n_b, seed=0, shift=0.5):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0, 1, n_a), rng.normal(shift, 1, n_b)])
    names = [f"f{i}" for i in range(n_a + n_b)]
    labels = pd.Series(["a"] * n_a + ["b"] * n_b, index=names)
    quality = pd.DataFrame(
        {"sharpness": values, "pose": np.tile(["l", "r"], n_a + n_b)[: n_a + n_b]}, index=names
    )
    return labels, quality


def test_the_sum_of_distances_is_the_least_possible():
    labels, quality = made(4, 6)
    matched = fl.bias.match_groups(labels, quality, caliper=100)
    assert len(matched) == 8
    pairs = matched.to_numpy().reshape(-1, 2)
    total = sum(abs(np.diff(quality.loc[pair, "sharpness"])[0]) for pair in pairs)
    a, b = (quality.loc[labels == g, "sharpness"].to_numpy() for g in ("a", "b"))
    best = min(np.abs(a - b[list(order)]).sum() for order in itertools.permutations(range(6), 4))
    assert total == pytest.approx(best)


def test_groups_are_alike_afterwards_and_none_is_used_twice():
    labels, quality = made(300, 200)
    matched = fl.bias.match_groups(labels, quality)
    assert matched.is_unique
    of_group = labels[matched].value_counts()
    assert of_group["a"] == of_group["b"] > 100
    means = quality.loc[matched].groupby(labels[matched])["sharpness"].mean()
    before = quality.groupby(labels)["sharpness"].mean()
    assert abs(means["a"] - means["b"]) < 0.1 * abs(before["a"] - before["b"])


def test_partners_lie_within_the_caliper_and_agree_exactly_where_asked():
    labels, quality = made(60, 60)
    matched = fl.bias.match_groups(labels, quality, exact=["pose"], caliper=0.1)
    widest = 0.1 * quality["sharpness"].std(ddof=0)
    for one, other in matched.to_numpy().reshape(-1, 2):
        assert labels[one] != labels[other]
        assert quality.loc[one, "pose"] == quality.loc[other, "pose"]
        assert abs(quality.loc[one, "sharpness"] - quality.loc[other, "sharpness"]) <= widest


def test_several_groups_are_matched_to_the_smallest():
    rng = np.random.default_rng(1)
    names = [f"f{i}" for i in range(120)]
    labels = pd.Series(np.repeat(["a", "b", "c"], [20, 40, 60]), index=names)
    quality = pd.DataFrame({"sharpness": rng.normal(0, 1, 120)}, index=names)
    matched = fl.bias.match_groups(labels, quality)
    counts = labels[matched].value_counts()
    assert counts.nunique() == 1
    assert set(counts.index) == {"a", "b", "c"}


def test_groups_without_overlap_have_no_match():
    labels, quality = made(10, 10, shift=1000)
    assert len(fl.bias.match_groups(labels, quality)) == 0


def test_the_table_shows_means_and_standardised_differences():
    labels, quality = made(200, 200, shift=1.0)
    table = fl.bias.quality_table(labels, quality[["sharpness"]], baseline="a")
    a, b = (quality.loc[labels == g, "sharpness"] for g in ("a", "b"))
    d = (b.mean() - a.mean()) / np.sqrt((a.var() + b.var()) / 2)
    assert table.loc["a", "sharpness"] == f"{a.mean():.3g}"
    assert table.loc["b", "sharpness"] == f"{b.mean():.3g} ({d:+.2f})"
    with pytest.raises(UnknownNameError):
        fl.bias.quality_table(labels, quality[["sharpness"]], baseline="c")


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"on": "sharp"}, UnknownNameError, "Did you mean 'sharpness'"),
        ({"on": "pose"}, ParameterError, "must name a numeric column"),
        ({"exact": ["light"]}, UnknownNameError, "unknown exact 'light'"),
        ({"caliper": 0}, ParameterError, "caliper=0"),
    ],
)
def test_what_is_not_allowed_is_told(wrong, error, said):
    labels, quality = made(5, 5)
    with pytest.raises(error, match=said):
        fl.bias.match_groups(labels, quality, **wrong)

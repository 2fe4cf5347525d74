"""Permutation tests of means: standard errors by brute force, and rates of rejection."""

import numpy as np
import pytest
from scipy.stats import binom

from freqlab.statistics.permutation import (
    exchangeable_units,
    p_values,
    permuted_differences,
    permuted_labels,
)


def faces_and_pairs(n_people=40, per_person=3):
    """Subject of each face; all genuine pairs and all impostor pairs ``(2, pair)``."""
    subject = np.repeat(np.arange(n_people), per_person)
    ends = np.stack(np.triu_indices(len(subject), 1))
    same = subject[ends[0]] == subject[ends[1]]
    return subject, ends[:, same], ends[:, ~same]


def by_hand(values, ends, labels, subject):
    """Difference of means, and the double sum over pairs that share a person, pair by pair."""
    first, second = labels[ends]
    weight, residual = np.zeros(len(values)), np.zeros(len(values))
    difference = 0.0
    for group, sign in ((1, 1), (0, -1)):
        inside = (first == group) & (second == group) & np.isfinite(values)
        n = len(np.unique(subject[ends[:, inside]]))
        weight[inside] = sign * np.sqrt(n / max(n - 1, 1)) / inside.sum()
        residual[inside] = values[inside] - values[inside].mean()
        difference += sign * values[inside].mean()
    u, people = weight * residual, subject[ends]
    total = independent = 0.0
    for a in range(len(values)):
        for b in range(len(values)):
            if set(people[:, a]) & set(people[:, b]):
                total += u[a] * u[b]
            if set(people[:, a]) == set(people[:, b]):
                independent += u[a] * u[b]
    return difference, np.sqrt(max(total, independent))


@pytest.mark.parametrize("kind", ["genuine", "impostor"])
@pytest.mark.parametrize("within", [False, True])
def test_differences_and_standard_errors_are_those_of_the_definition(kind, within):
    subject, genuine, impostor = faces_and_pairs(8, 4)
    rng = np.random.default_rng(0)
    ends = genuine if kind == "genuine" else impostor[:, rng.permutation(impostor.shape[1])[:80]]
    labels = (np.arange(8) % 2)[subject]
    if within:
        labels = rng.permuted(np.tile([0, 0, 1, 1], (8, 1)), axis=1).ravel()
        labels[:8] = 0
    values = rng.normal(size=(8, 1))[subject[ends[0]]] + rng.normal(size=(ends.shape[1], 3))
    values[rng.random(len(values)) < 0.2, 1] = np.nan
    order = permuted_labels(labels, subject, 2, seed=1)
    found = permuted_differences(values, ends, order.labels, subject)
    for p, permuted in enumerate(order.labels):
        for q in range(3):
            expected = by_hand(values[:, q], ends, permuted, subject)
            assert found.difference[p, q] == pytest.approx(expected[0])
            assert found.standard_error[p, q] == pytest.approx(expected[1])


def test_units_are_people_of_one_label_and_faces_of_others():
    subject = np.array([0, 0, 1, 1, 2, 2])
    labels = np.array([[0, 0, 1, 1, 0, 1], [1, 1, 0, 0, 0, 1], [1, 1, 0, 0, 1, 0]])
    unit, first = exchangeable_units(labels, subject)
    assert unit.tolist() == [0, 0, 1, 1, 2, 3]
    assert first.tolist() == [0, 2, 4, 5]


def test_permuted_labels_of_several_groups():
    subject = np.repeat(np.arange(9), 2)
    labels = np.repeat(np.arange(9) % 3, 2)
    labels[0] = 2  # the first person has two labels
    order = permuted_labels(labels, subject, 50, seed=0)
    assert (order.n_whole, order.n_within) == (8, 1)
    for permuted in order.labels:
        assert sorted(permuted[:2]) == [0, 2]
        assert (permuted[2::2] == permuted[3::2]).all()
        assert np.bincount(permuted[2::2]).tolist() == [2, 3, 3]


def test_quantities_without_spread_have_a_p_value():
    subject, genuine, _ = faces_and_pairs(6, 2)
    labels = (np.arange(6) % 2)[subject]
    values = np.stack([np.zeros(6), (np.arange(6) % 2) * 1.0, np.full(6, np.nan)], axis=1)
    order = permuted_labels(labels, subject, 99, seed=0)
    every = np.concatenate([labels[None], order.labels])
    statistic = permuted_differences(values, genuine, every, subject).studentised
    p = p_values(statistic[0], statistic[1:])
    assert p[0] == 1  # no difference
    assert p[1] < 0.2  # of 20 ways to label three of six people, two separate them
    assert np.isnan(p[2])


def rejections(rng, spread, *, impostor, n_runs):
    """Rate of p <= 0.05 with 10 and 30 people of equal means, the spread of the 10 a multiple."""
    subject, genuine, others = faces_and_pairs(40, 2)
    p = []
    for run in range(n_runs):
        ends = others[:, rng.permutation(others.shape[1])[:800]] if impostor else genuine
        group = (rng.permutation(40) < 10).astype(int)
        scale = np.where(group == 1, spread, 1)[:, None]
        effect = scale * rng.normal(size=(40, 4))
        first, second = subject[ends]
        values = effect[first] + (effect[second] if impostor else 0)
        values = values + np.sqrt(scale[first] * scale[second]) * rng.normal(size=values.shape)
        labels = group[subject]
        order = permuted_labels(labels, subject, 199, seed=run)
        every = np.concatenate([labels[None], order.labels])
        found = permuted_differences(values, ends, every, subject)
        p.append(p_values(found.studentised[0], found.studentised[1:]))
    return (np.array(p) <= 0.05).mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("impostor", "spread", "highest"),
    [
        (False, 3, 0.08),
        pytest.param(False, 1 / 3, 0.08, marks=pytest.mark.exhaustive),
        pytest.param(True, 3, 0.10, marks=pytest.mark.exhaustive),
    ],
)
def test_groups_of_equal_means_and_unequal_spread_differ_at_the_nominal_rate(
    impostor, spread, highest
):
    """Without studentising, the rate is 0.2 where the smaller group varies more."""
    n_runs = 60 if impostor else 250
    rate = rejections(np.random.default_rng(0), spread, impostor=impostor, n_runs=n_runs)
    n = 4 * n_runs
    assert binom.ppf(0.0005, n, 0.03) / n <= rate <= binom.ppf(0.9995, n, highest) / n

"""Fairness indices: cases worked by hand, and their distribution under permuted labels."""

import functools

import numpy as np
import pandas as pd
import pytest
from conftest import make_faces
from scipy.stats import binom

import freqlab as fl
from freqlab.bias.indices import INDICES, indices_by_threshold
from freqlab.statistics.error_rates import compare_all
from freqlab.statistics.permutation import permuted_labels


@pytest.fixture(scope="module")
def study():
    """Made-up embeddings, of which one group's are noisier."""
    faces = make_faces(n_subjects=40, per_subject=4)
    subject = np.array([int(name.split("/")[0][1:]) for name in faces.names])
    labels = pd.Series(np.where(subject % 2, "odd", "even"), index=faces.names, name="parity")
    rng = np.random.default_rng(0)
    identity = rng.standard_normal((40, 24))
    noise = np.where(subject % 2, 1.6, 0.9)[:, None] * rng.standard_normal((len(subject), 24))
    vectors = (identity[subject] + noise).astype(np.float32)
    return faces, labels, vectors, subject


def test_indices_of_cases_worked_by_hand():
    found = fl.bias.fairness_indices(np.array([0.01, 0.04]), np.array([0.02, 0.10]))
    assert found["fmr_gap"] == pytest.approx(0.03)
    assert found["fmr_ratio"] == pytest.approx(4)
    assert found["fnmr_ratio"] == pytest.approx(5)
    # two groups: n / (n - 1) = 2, sum |xi - xj| = 0.06, 2 n^2 mean = 8 * 0.025
    assert found["fmr_gini"] == pytest.approx(2 * 0.06 / 0.2)
    assert found["fnmr_gini"] == pytest.approx(2 * 0.16 / (8 * 0.06))
    assert found["fairness_discrepancy_rate"] == pytest.approx(1 - (0.03 + 0.08) / 2)
    assert found["inequity_rate"] == pytest.approx(np.sqrt(4 * 5))
    assert found["garbe"] == pytest.approx((0.6 + 2 / 3) / 2)


def test_equal_groups_are_fair_and_one_bad_group_is_as_unfair_as_can_be():
    same = np.full(5, 0.03)
    found = fl.bias.fairness_indices(same, same)
    assert found["fairness_discrepancy_rate"] == 1
    assert found["inequity_rate"] == 1
    assert found["garbe"] == pytest.approx(0)
    one = np.array([0, 0, 0, 0.2])
    assert fl.bias.fairness_indices(one, one)["garbe"] == pytest.approx(1)
    assert np.isnan(fl.bias.fairness_indices(one, one)["inequity_rate"])
    none = np.zeros(3)
    assert fl.bias.fairness_indices(none, none)["fmr_gini"] == 0


def test_what_is_not_resolved_has_no_index_and_says_why(study):
    faces, labels, vectors, _ = study
    errors = fl.bias.errors({"m": vectors}, faces, labels, n_draws=20)
    # 80 faces of 20 people a group make 3,040 impostor pairs: 1e-3 takes 10,000
    at = errors.sel(model="m", index="garbe", fmr=1e-3)
    assert np.isnan(at["fairness"]).all()
    assert "fewer than two groups" in at["fairness_note"].item()
    table = fl.bias.fairness_table(errors, fmr=1e-3)
    assert "fewer than two groups" in table.loc["GARBE", "m"]


def test_no_error_at_all_is_noted(study):
    faces, labels, _, subject = study
    perfect = np.eye(40, 64, dtype=np.float32)[subject]
    perfect += 0.05 * np.random.default_rng(1).standard_normal(perfect.shape).astype(np.float32)
    errors = fl.bias.errors({"m": perfect}, faces, labels, n_draws=20)
    at = errors.sel(model="m", index="fnmr_gap", fmr=1e-2)
    assert float(at["fairness"]) == 0
    assert float(at["fairness_p"]) == 1
    assert "FNMR is zero in every group" in at["fairness_note"].item()


def rates_by_hand(scores, reference, probe, subject, codes, n_groups, threshold):
    """FMR and FNMR of each group by their definition ``(2, group)``."""
    rates = np.full((2, n_groups), np.nan)
    for g in range(n_groups):
        inside = (codes[reference] == g) & (codes[probe] == g)
        same = subject[reference] == subject[probe]
        rates[0, g] = (scores[inside & ~same] >= threshold).mean()
        rates[1, g] = (scores[inside & same] < threshold).mean()
    return rates


def test_the_null_distribution_is_that_of_relabelled_faces():
    """Three groups; some people carry several labels, and some faces none."""
    rng = np.random.default_rng(1)
    subject = np.repeat(np.arange(15), 6)
    codes = (np.arange(15) % 3)[subject]
    codes[subject < 3] = rng.permuted(np.tile([0, 1, 1, 2, 2, 0], (3, 1)), axis=1).ravel()
    codes[[20, 50, 51]] = -1
    vectors = rng.standard_normal((15, 8))[subject] + 1.5 * rng.standard_normal((90, 8))
    names = np.arange(90).astype(object)
    found = compare_all(vectors.astype(np.float32), subject.astype(object), names)
    ids = found.subjects
    edge = 0.4
    of_pairs = (found.scores, found.reference, found.probe, ids)
    observed = rates_by_hand(*of_pairs, codes, 3, edge)
    computed = indices_by_threshold(
        *(found, np.array([edge]), observed[:, None], ["a", "b", "c"], codes),
        n_permutations=60, level=0.9, seed=4,
    )  # fmt: skip
    labelled = codes >= 0
    order = permuted_labels(codes[labelled], ids[labelled], 60, seed=4)
    by_hand = []
    for labels in order.labels:
        relabelled = codes.copy()
        relabelled[labelled] = labels
        by_hand.append(fl.bias.fairness_indices(*rates_by_hand(*of_pairs, relabelled, 3, edge)))
    expected = fl.bias.fairness_indices(*observed)
    for name in INDICES:
        at = computed.sel(index=name).isel(fmr=0)
        permuted = np.array([one[name] for one in by_hand])
        sign = -1 if name == "fairness_discrepancy_rate" else 1
        assert float(at["fairness"]) == pytest.approx(float(expected[name]))
        assert float(at["fairness_null"].sel(null="median")) == pytest.approx(np.sort(permuted)[29])
        bound = np.sort(permuted)[53 if sign > 0 else 5]
        assert float(at["fairness_null"].sel(null="bound")) == pytest.approx(bound)
        as_far = (sign * permuted >= sign * expected[name] - 1e-12).sum()
        assert float(at["fairness_p"]) == pytest.approx((1 + as_far) / 61)


@functools.cache
def eighty_people():
    return make_faces(n_subjects=80, per_subject=3)


def errors_of(rng, noise, n_permutations=99):
    """Error rates of four groups of 20 people, three photographs each, with this noise."""
    faces = eighty_people()
    subject = np.repeat(np.arange(80), 3)
    groups = rng.permutation(np.repeat(np.arange(4), 20))
    labels = pd.Series(np.array(list("abcd"), object)[groups[subject]], index=faces.names, name="g")
    spread = np.asarray(noise)[groups] * np.exp(0.3 * rng.standard_normal(80))
    vectors = rng.standard_normal((80, 24))[subject]
    vectors = vectors + spread[subject][:, None] * rng.standard_normal((240, 24))
    return fl.bias.errors(
        {"m": vectors.astype(np.float32)}, faces, labels,
        fmrs=[1e-1], n_draws=1, n_permutations=n_permutations, seed=int(rng.integers(1e6)),
    )  # fmt: skip


@pytest.mark.slow
def test_indices_of_like_groups_exceed_chance_at_the_nominal_rate():
    """Unequal people, equal groups: of 200 runs, within the binomial bounds of 99.9 %."""
    rng = np.random.default_rng(0)
    p = [errors_of(rng, [1.2] * 4)["fairness_p"].to_numpy().ravel() for _ in range(200)]
    rejections = (np.array(p) <= 0.05).sum(axis=0)
    assert rejections.max() <= binom.ppf(0.9995, 200, 0.05)
    assert rejections.min() >= binom.ppf(0.0005, 200, 0.05)


def test_an_index_is_said_to_exceed_chance_only_where_it_does():
    like = errors_of(np.random.default_rng(3), [1.2] * 4)
    assert (like["fairness_p"] > 0.05).all()
    said = fl.bias.describe_fairness(like, model="m", fmr=0.1)
    assert "none of 9 fairness indices is further from fair than by chance" in said
    assert "permutations of the group labels over people" in said
    unlike = errors_of(np.random.default_rng(2), [0.7, 1.2, 1.2, 2.2])
    at = unlike.isel(fmr=0, model=0)
    far = at["index_name"].to_numpy()[at["fairness_p"].to_numpy() <= 0.05]
    said = fl.bias.describe_fairness(unlike, model="m", fmr=0.1)
    assert f"{len(far)} of 9 fairness indices" in said
    assert all(f"{name} " in said for name in far)
    assert "gap of FNMR" in far
    cell = fl.bias.fairness_table(unlike, fmr=0.1).loc["gap of FNMR", "m"].replace("\u00a0", " ")
    value, null = at["fairness"].sel(index="fnmr_gap"), at["fairness_null"].sel(index="fnmr_gap")
    median, bound = null.to_numpy()
    assert (
        cell
        == f"{float(value):.3g} (permuted: median {median:.3g}, 95 % up to {bound:.3g}; p = 0.01)"
    )


def test_few_people_are_not_compared_with_chance(study):
    faces, labels, vectors, subject = study
    kept = np.flatnonzero((subject % 2 == 0) | (subject < 20))
    part = faces.select(kept)
    errors = fl.bias.errors({"m": vectors[kept]}, part, labels.iloc[kept], fmrs=[0.1], n_draws=5)
    said = fl.bias.describe_fairness(errors, model="m", fmr=0.1)
    assert said.endswith("since a group has 10 people.")

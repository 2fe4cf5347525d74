"""The study of bias: nominal error rates, coverage, planted gaps; plain NumPy and pandas."""

import numpy as np
import pandas as pd
import pytest

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.statistics.permutation import adjusted, p_values, permuted_differences, permuted_labels

N_BANDS = 8


def made_result(values, subject, ends, genuine):
    """A result of one model and side with these influences ``(pair, band)``."""
    names = np.array([f"f{i}" for i in range(len(subject))], object)
    people = np.array([f"s{s}" for s in subject], object)
    found = fl.testing.result(
        values[None, :, None, :],
        probe_subject=people[ends[0]],
        reference_subject=people[ends[1]],
        columns={"probe": names[ends[0]], "reference": names[ends[1]], "genuine": genuine},
    )
    return found.assign_coords(band=[f"b{i}" for i in range(values.shape[1])])


def people(n_subjects=40, per_subject=3):
    """Subject of each face, and the genuine pairs within each subject ``(2, pair)``."""
    subject = np.repeat(np.arange(n_subjects), per_subject)
    first, second = np.triu_indices(per_subject, 1)
    start = per_subject * np.arange(n_subjects)[:, None]
    return subject, np.stack([(start + first).ravel(), (start + second).ravel()])


def simulated(rng, subject, ends, gap=0.0, group=None, band=None):
    """Genuine pairs with an effect of the subject and one of the pair, and a gap for a group."""
    of_subject = rng.normal(0, 1, (subject.max() + 1, N_BANDS))
    values = of_subject[subject[ends[0]]] + rng.normal(0, 1, (ends.shape[1], N_BANDS))
    if group is not None:
        values[group[ends[0]] == 1, band] += gap
    return values


def series(codes):
    names = np.array(["no", "yes"], object)[codes]
    return pd.Series(names, index=[f"f{i}" for i in range(len(codes))], name="glasses")


def p_of(values, ends, labels, permuted, subject):
    """P-values of the differences, the observed labels being one of the permutations."""
    every = np.concatenate([labels[None], permuted])
    statistic = permuted_differences(values, ends, every, subject).studentised
    return p_values(statistic[0], statistic[1:])


@pytest.mark.slow
def test_shuffled_labels_are_found_different_at_the_nominal_rate():
    rng = np.random.default_rng(0)
    subject, ends = people()
    rejections = 0
    for run in range(1000):
        values = simulated(rng, subject, ends)
        labels = rng.permutation(np.repeat([0, 1], 20))[subject].astype(np.int8)
        order = permuted_labels(labels, subject, 999, seed=run)
        p = p_of(values, ends, labels, order.labels, subject)
        rejections += bool((adjusted(p) <= 0.05).any())
    assert 37 <= rejections <= 64


@pytest.mark.slow
def test_labels_that_vary_within_subjects_are_found_different_at_the_nominal_rate():
    rng = np.random.default_rng(1)
    subject, ends = people(n_subjects=20, per_subject=6)
    rejections = 0
    for run in range(300):
        values = simulated(rng, subject, ends)
        labels = np.concatenate([rng.permutation([0, 0, 0, 1, 1, 1]) for _ in range(20)])
        order = permuted_labels(labels.astype(np.int8), subject, 499, seed=run)
        p = p_of(values, ends, labels, order.labels, subject)
        rejections += bool((adjusted(p) <= 0.05).any())
    assert 4 <= rejections <= 27  # binomial, 99.9 %


def test_the_study_tests_as_its_parts_do():
    rng = np.random.default_rng(2)
    subject, ends = people()
    codes = (np.arange(40) < 20).astype(int)[subject]
    values = simulated(rng, subject, ends)
    genuine = np.ones(ends.shape[1], bool)
    found = fl.bias.profiles(
        made_result(values, subject, ends, genuine), series(codes), n_draws=5, n_permutations=99
    )
    assert found.attrs["baseline"] == "no"
    part = found.sel(group="yes", model="m", side="probe", comparison="genuine")
    difference = values[codes[ends[0]] == 1].mean(axis=0) - values[codes[ends[0]] == 0].mean(axis=0)
    np.testing.assert_allclose(part["directed_difference"].sel(estimate="value"), difference)
    np.testing.assert_allclose(
        part["distance"].sel(estimate="value"), np.sqrt((difference**2).sum())
    )
    p = part["p_value"].sel(kind="directed").to_numpy()
    # Benjamini and Hochberg by hand
    order = np.argsort(p)
    stepped = p[order] * N_BANDS / np.arange(1, N_BANDS + 1)
    by_hand = np.empty(N_BANDS)
    by_hand[order] = np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1)
    np.testing.assert_allclose(part["p_adjusted"].sel(kind="directed"), by_hand)
    one, other = values[codes[ends[0]] == 1], values[codes[ends[0]] == 0]
    pooled = np.sqrt((one.var(axis=0, ddof=1) + other.var(axis=0, ddof=1)) / 2)
    np.testing.assert_allclose(
        part["effect_size"].sel(kind="directed"), (one.mean(0) - other.mean(0)) / pooled
    )


def test_a_planted_gap_is_found_in_its_band_and_only_there():
    rng = np.random.default_rng(3)
    subject, ends = people()
    codes = (np.arange(40) % 2)[subject]
    values = simulated(rng, subject, ends, gap=2.0, group=codes, band=5)
    genuine = np.ones(ends.shape[1], bool)
    found = fl.bias.profiles(made_result(values, subject, ends, genuine), series(codes))
    p = found["p_adjusted"].sel(
        group="yes", model="m", side="probe", comparison="genuine", kind="directed"
    )
    assert np.flatnonzero(p.to_numpy() <= 0.05).tolist() == [5]
    part = found.sel(group="yes", model="m", side="probe", comparison="genuine")
    value, lower, upper = part["directed_difference"].isel(band=5).to_numpy()
    assert lower < 2 < upper
    assert value > 1
    table = fl.bias.differing_bands(found, model="m")
    assert set(table["band"][table["influence"] == "directed"]) == {"b5"}
    said = fl.bias.describe_group_differences(found, model="m")
    assert "compared with glasses=no at adjusted p ≤ 0.05" in said
    assert "glasses=yes differs in 1 of 8 bands (20 to 24 cycles/image), most in b5" in said
    chance = float(part["distance_null"].sel(null="upper"))
    assert f"95 % are below {chance:.3f}" in said
    # impostor pairs, of which there are none, are said to be missing
    nothing = fl.bias.describe_group_differences(found, model="m", comparison="impostor")
    assert "glasses=yes cannot be tested (no impostor pairs to compare)" in nothing


@pytest.mark.slow
def test_intervals_cover_the_truth():
    rng = np.random.default_rng(4)
    subject, ends = people()
    codes = (np.arange(40) % 2)[subject]
    genuine = np.ones(ends.shape[1], bool)
    covered = []
    for run in range(150):
        values = simulated(rng, subject, ends, gap=0.7, group=codes, band=slice(None))
        found = fl.bias.profiles(
            made_result(values, subject, ends, genuine),
            series(codes),
            baseline="no",
            n_draws=300,
            n_permutations=1,
            seed=run,
        )
        part = found["directed_difference"].sel(group="yes", comparison="genuine", model="m")
        lower, upper = (part.sel(estimate=e, side="probe").to_numpy() for e in ("lower", "upper"))
        covered.append((lower <= 0.7) & (upper >= 0.7))
    assert 0.90 <= np.mean(covered) <= 0.99


def test_pairs_belong_to_a_group_when_both_faces_do():
    subject, ends = people(n_subjects=4, per_subject=2)
    impostor = np.array([[0, 2, 0, 1], [2, 4, 6, 5]])
    every = np.concatenate([ends, impostor], axis=1)
    genuine = np.arange(every.shape[1]) < ends.shape[1]
    codes = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    values = np.arange(every.shape[1] * N_BANDS, dtype=float).reshape(-1, N_BANDS)
    found = fl.bias.profiles(
        made_result(values, subject, every, genuine), series(codes), n_draws=5, n_permutations=5
    )
    counts = found["n_pairs"].sel(model="m")
    assert counts.sel(comparison="genuine").to_numpy().tolist() == [2, 2]
    # of the impostor pairs (0, 2) is of one group, the others are mixed
    assert counts.sel(comparison="impostor").to_numpy().tolist() == [1, 0]
    value = found["directed"].sel(comparison="impostor", model="m", side="probe", estimate="value")
    np.testing.assert_allclose(value.sel(group="no"), values[4])
    assert np.isnan(value.sel(group="yes")).all()
    assert found["note"].sel(group="yes").item() == "no impostor pairs; 2 subjects only"
    said = fl.bias.describe_groups(found)
    assert said.startswith("Baseline: glasses=no (2 subjects). glasses=no: 2 genuine pairs of")
    assert "glasses=yes: no impostor pairs; 2 subjects only" in said
    assert "permuted over the 4 subjects of two groups" in said


def test_small_groups_and_subjects_of_both_groups_are_named():
    subject, ends = people(n_subjects=142, per_subject=3)
    codes = np.zeros(len(subject), int)
    codes[subject < 22] = 1  # 22 against 121 subjects, of which one has both values
    codes[0] = 0
    values = simulated(np.random.default_rng(5), subject, ends)
    genuine = np.ones(ends.shape[1], bool)
    found = fl.bias.profiles(
        made_result(values, subject, ends, genuine), series(codes), n_draws=5, n_permutations=5
    )
    said = fl.bias.describe_groups(found)
    assert "Too few subjects or pairs" in said
    assert "glasses=yes: no impostor pairs; 22 subjects, the largest group 120" in said
    assert "1 subject has both values" in said
    how = found["n_exchanged"].sel(group="yes")
    assert how.to_numpy().tolist() == [141, 1]


def test_labels_move_over_subjects_or_within_them():
    subject = np.repeat(np.arange(6), 4)
    labels = np.array([1] * 4 + [0] * 12 + [0, 1, 0, 1] + [1, 0, 0, 0])
    order = permuted_labels(labels, subject, 200, seed=0)
    assert (order.n_whole, order.n_within) == (4, 2)
    by_subject = order.labels.reshape(200, 6, 4)
    whole = by_subject[:, :4]
    assert (whole == whole[:, :, :1]).all()  # subjects of one value keep one
    assert (whole[:, :, 0].sum(axis=1) == 1).all()  # and exchange it
    assert len(np.unique(whole[:, :, 0], axis=0)) == 4
    assert (by_subject[:, 4].sum(axis=1) == 2).all()
    assert (by_subject[:, 5].sum(axis=1) == 1).all()
    assert len(np.unique(by_subject[:, 4], axis=0)) == 6


def test_crossing_columns_is_what_pandas_does_by_hand(orl):
    labels = fl.faces.group_labels(orl, ["glasses", "pose"])
    by_hand = orl.table["glasses"] + " / " + orl.table["pose"]
    assert labels.tolist() == by_hand.tolist()
    assert labels.name == "glasses / pose"
    rng = np.random.default_rng(6)
    subject = np.unique(orl.subjects.astype(str), return_inverse=True)[1]
    ends = rng.integers(0, 400, (2, 2000))
    ends = ends[:, ends[0] != ends[1]]
    values = rng.normal(0, 1, (ends.shape[1], N_BANDS))
    genuine = subject[ends[0]] == subject[ends[1]]
    result = made_result(values, subject, ends, genuine)
    named = pd.Series(labels.to_numpy(), index=[f"f{i}" for i in range(400)])
    found = fl.bias.profiles(result, named, n_draws=2, n_permutations=2)
    first, second = (by_hand.to_numpy()[end] for end in ends)
    table = pd.DataFrame(values).assign(group=first, same=first == second, genuine=genuine)
    means = table[table["same"] & ~table["genuine"]].drop(columns=["same", "genuine"])
    for group, expected in means.groupby("group").mean().iterrows():
        part = found["directed"].sel(group=group, comparison="impostor", estimate="value")
        np.testing.assert_allclose(part.to_numpy().ravel(), expected)


def test_missing_labels_belong_to_no_group(orl):
    table = orl.table.copy()
    table.loc[table.index[:10], "glasses"] = ""
    faces = fl.Faces(table)
    labels = fl.faces.group_labels(faces, "glasses")
    assert labels.isna().sum() == 10


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"baseline": "maybe"}, UnknownNameError, "allowed: no, yes"),
        ({"n_permutations": 0}, ParameterError, "n_permutations=0"),
        ({"n_draws": 1.5}, ParameterError, "n_draws=1.5"),
    ],
)
def test_what_is_not_allowed_is_told(change, error, said):
    subject, ends = people(n_subjects=4)
    result = made_result(np.zeros((12, N_BANDS)), subject, ends, np.ones(12, bool))
    labels = series((np.arange(4) % 2)[subject])
    with pytest.raises(error, match=said):
        fl.bias.profiles(result, labels, **change)


def test_labels_that_do_not_fit_are_told(orl):
    subject, ends = people(n_subjects=4)
    result = made_result(np.zeros((12, N_BANDS)), subject, ends, np.ones(12, bool))
    labels = series((np.arange(4) % 2)[subject])
    with pytest.raises(ParameterError, match="no entry for 1 of 12 faces, for example 'f3'"):
        fl.bias.profiles(result, labels.drop("f3"))
    with pytest.raises(ParameterError, match="must be a pandas.Series"):
        fl.bias.profiles(result, dict(labels))
    with pytest.raises(ParameterError, match=r"1 group\(s\) \['no'\]"):
        fl.bias.profiles(result, labels.where(labels == "no", "no"))
    with pytest.raises(UnknownNameError, match="Did you mean 'glasses'"):
        fl.faces.group_labels(orl, "glases")
    with pytest.raises(ParameterError, match="several different ones"):
        fl.faces.group_labels(orl, ["glasses", "glasses"])

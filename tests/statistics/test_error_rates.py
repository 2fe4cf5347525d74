import numpy as np
import pytest
from sklearn.metrics import roc_curve

from freqlab.errors import ParameterError
from freqlab.statistics.error_rates import (
    FMRS,
    accuracy_by_folds,
    all_comparisons,
    check_fmr,
    check_fmrs,
    compare_all,
    compare_pairs,
    comparisons_needed,
    d_prime,
    equal_error_rate,
    error_curve,
    impostor_thresholds,
    rates_with,
    threshold_at_fmr,
)
from freqlab.statistics.vectors import is_usable


def scores(n_genuine=300, n_impostor=5000, seed=0, decimals=None):
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.normal(0.5, 0.2, n_genuine), rng.normal(0.1, 0.15, n_impostor)
    if decimals is not None:
        genuine, impostor = genuine.round(decimals), impostor.round(decimals)
    return genuine.astype(np.float32), impostor.astype(np.float32)


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize("seed", range(5))
def test_eer_lies_on_the_roc_of_scikit_learn(seed, decimals):
    genuine, impostor = scores(seed=seed, decimals=decimals)
    labels = np.repeat([1, 0], [len(genuine), len(impostor)])
    fmr, tmr, _ = roc_curve(labels, np.concatenate([genuine, impostor]), drop_intermediate=False)
    along = np.interp(0, fmr - (1 - tmr), fmr)  # straight between the points of the curve
    assert equal_error_rate(genuine, impostor) == pytest.approx(along, abs=1e-9)


def test_eer_does_not_depend_on_the_direction():
    genuine, impostor = scores(decimals=1)
    assert equal_error_rate(genuine, impostor) == pytest.approx(
        equal_error_rate(-impostor, -genuine), abs=1e-12
    )


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),
        ([0.1, 0.2], [0.8, 0.9], 1.0),
        ([0.9, 0.3], [0.1, 0.5], 0.5),
        ([0.5], [0.5], 0.5),
        ([0.9, 0.8, 0.7, 0.2], [0.1, 0.1, 0.1, 0.3], 0.25),
        ([0.9, np.nan], [0.1], 0.0),
    ],
)
def test_eer_by_hand(genuine, impostor, expected):
    found = equal_error_rate(np.array(genuine), np.array(impostor))
    assert found == pytest.approx(expected, abs=1e-12)


def test_one_sided_data_has_no_eer():
    assert np.isnan(equal_error_rate(np.array([0.5]), np.array([])))


@pytest.mark.parametrize("fmr", [0.1, 0.05, 0.01, 0.002])
@pytest.mark.parametrize("decimals", [None, 2])
def test_threshold_is_the_lowest_that_keeps_the_rate(fmr, decimals):
    _, impostor = scores(decimals=decimals)
    threshold = threshold_at_fmr(impostor, fmr)
    assert (impostor >= threshold).mean() <= fmr
    below = impostor[impostor < threshold].max()
    assert (impostor >= below).mean() > fmr


def test_a_rate_needs_ten_expected_errors():
    assert comparisons_needed(1e-3) == 10_000
    assert comparisons_needed(0.03) == 334
    _, impostor = scores(n_impostor=9_999)
    assert np.isnan(threshold_at_fmr(impostor, 1e-3))
    assert np.isfinite(threshold_at_fmr(np.append(impostor, np.float32(0)), 1e-3))
    for rate in (0, 1, -0.1, np.nan):
        with pytest.raises(ParameterError):
            comparisons_needed(rate)


def test_every_comparison_once():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(7, 5)).astype(np.float32)
    embeddings[6] = np.nan  # a face that was not found
    subjects = np.array(list("aabbcca"), object)
    sources = np.array(["0", "1", "2", "2", "4", "5", "6"], object)
    genuine, impostor = all_comparisons(embeddings, subjects, sources)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = {True: [], False: []}
    for i in range(6):
        for j in range(i + 1, 6):
            if sources[i] != sources[j]:
                expected[subjects[i] == subjects[j]].append(unit[i] @ unit[j])
    np.testing.assert_allclose(np.sort(genuine), np.sort(expected[True]), atol=1e-6)
    np.testing.assert_allclose(np.sort(impostor), np.sort(expected[False]), atol=1e-6)


def test_listed_pairs_are_compared_as_in_all():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(6, 5)).astype(np.float32)
    embeddings[5] = np.nan
    subjects = np.array(list("aabbca"), object)
    every = compare_all(embeddings, subjects, np.arange(6).astype(object))
    assert len(every.scores) == 10
    assert (every.reference < every.probe).all()
    listed = compare_pairs(embeddings, subjects, np.array([[1, 0], [3, 1], [5, 0]]))
    assert listed.genuine.tolist() == [True, False]
    assert listed.probe.tolist() == [1, 3]
    assert listed.n_subjects == 3
    row = (every.reference == 1) & (every.probe == 3)
    assert listed.scores[1] == pytest.approx(every.scores[row].item())


@pytest.mark.parametrize("decimals", [None, 1])
def test_error_curve_is_the_roc_of_scikit_learn(decimals):
    genuine, impostor = scores(decimals=decimals)
    labels = np.repeat([1, 0], [len(genuine), len(impostor)])
    expected = roc_curve(labels, np.concatenate([genuine, impostor]), drop_intermediate=False)
    thresholds, fmr, fnmr = error_curve(genuine, impostor)
    np.testing.assert_allclose(fmr[::-1], expected[0], atol=1e-12)
    np.testing.assert_allclose(1 - fnmr[::-1], expected[1], atol=1e-12)
    np.testing.assert_allclose(thresholds[::-1], expected[2])
    assert np.isnan(error_curve(genuine, np.array([]))[1]).all()


def test_d_prime_by_hand():
    """Means 3 and 1, variances 1 and 4: 2 / sqrt(2.5)."""
    genuine, impostor = np.array([2.0, 4.0, np.nan]), np.array([-1.0, 3.0])
    assert d_prime(genuine, impostor) == pytest.approx(2 / np.sqrt(2.5))
    assert np.isnan(d_prime(genuine, impostor[:1]))
    assert np.isnan(d_prime(np.ones(3), np.ones(3)))


def test_accuracy_by_folds_by_hand():
    """Fold 1 is decided by a threshold of fold 2, between 0.5 and 0.9, and the other way round."""
    scores = np.array([0.6, 0.8, 0.1, 0.72, 0.9, 0.95, 0.5, 0.3])
    genuine = np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)
    folds = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    found = accuracy_by_folds(scores, genuine, folds)
    # on fold 2 every threshold between 0.5 and 0.9 is right; on fold 1 two of them make one error:
    # between 0.1 and 0.6 (0.72 is wrong), which is the widest, and between 0.72 and 0.8
    np.testing.assert_allclose(found.thresholds, [0.7, 0.35])
    np.testing.assert_allclose(found.by_fold, [0.5, 0.75])
    assert found.mean == pytest.approx(0.625)
    assert found.standard_error == pytest.approx(np.std([0.5, 0.75], ddof=1) / np.sqrt(2))


def test_accuracy_of_folds_with_ties_and_gaps():
    scores = np.array([0.5, 0.5, 0.5, 0.5, np.nan, 0.9])
    genuine = np.array([1, 0, 1, 0, 1, 1], bool)
    found = accuracy_by_folds(scores, genuine, np.array([0, 0, 1, 1, 2, 2]))
    assert found.by_fold[2] == 0.5  # the pair without a score is wrong
    with pytest.raises(ParameterError, match="two folds or more"):
        accuracy_by_folds(scores, genuine, np.zeros(6, int))


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize("seed", range(3))
def test_thresholds_in_bounded_memory_are_the_same(monkeypatch, decimals, seed):
    """Also with many equal scores, and in tiles that do not divide the faces."""
    monkeypatch.setattr("freqlab.statistics.score_blocks._SCORES_PER_STEP", 370)
    monkeypatch.setattr("freqlab.statistics.score_blocks._TILE", 37)
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(300, 3 if decimals else 8)).astype(np.float32)
    if decimals:
        embeddings = np.sign(embeddings).round(decimals)
    embeddings[7] = np.nan
    subjects = np.array([f"p{i % 60}" for i in range(300)], object)
    sources = np.array([f"s{i // 2}" for i in range(300)], object)
    rates = [0.3, 0.1, 0.05, 0.01, 0.002, 1e-3, 1e-4]
    found, n_impostor = impostor_thresholds(embeddings, subjects, sources, rates)
    _, impostor = all_comparisons(embeddings, subjects, sources)
    assert n_impostor == len(impostor)
    expected = np.array([threshold_at_fmr(impostor, rate) for rate in rates])
    # a product of matrices of another shape rounds its sums in another order
    np.testing.assert_allclose(found, expected, rtol=0, atol=np.finfo(np.float32).eps)
    matches = [(impostor[:, None] >= edges).sum(axis=0) for edges in (found, expected)]
    np.testing.assert_array_equal(*matches)
    assert np.isnan(found[-1])


def test_no_impostor_no_threshold():
    embeddings = np.ones((3, 4), np.float32)
    same = np.array(["a"] * 3, object)
    found, n_impostor = impostor_thresholds(embeddings, same, np.array(list("xyz"), object))
    assert n_impostor == 0
    assert np.isnan(found).all()


def test_embeddings_without_a_direction_are_left_out():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(6, 4)).astype(np.float32)
    embeddings[1], embeddings[2] = 0, np.nan
    subjects, sources = np.array(list("aabbcc"), object), np.arange(6).astype(object)
    assert is_usable(embeddings).tolist() == [True, False, False, True, True, True]
    every = compare_all(embeddings, subjects, sources)
    assert len(every.scores) == 6
    assert np.isfinite(every.scores).all()
    assert impostor_thresholds(embeddings, subjects, sources)[1] == 5
    listed = compare_pairs(embeddings, subjects, np.array([[0, 1], [3, 2], [4, 3]]))
    assert listed.probe.tolist() == [4]


def test_a_fold_that_no_other_decides_has_no_accuracy():
    scores = np.array([np.nan, np.nan, 0.3, 0.9])
    genuine = np.array([True, False, False, False])
    found = accuracy_by_folds(scores, genuine, np.array([1, 1, 2, 2]))
    assert np.isnan(found.by_fold[1])


def test_rates_of_results_and_a_further_one():
    assert rates_with(1e-3) == FMRS
    assert rates_with(0.02) == (0.1, 0.02, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)
    assert check_fmrs([1e-3, 0.1, 1e-3]) == (0.1, 1e-3)
    for fmr in (0, 1, 1.5, -0.1, np.nan, "0.1", True):
        with pytest.raises(ParameterError, match="fmr="):
            check_fmr(fmr)
    for fmrs in ([], "0.1"):
        with pytest.raises(ParameterError, match="at least one false match rate"):
            check_fmrs(fmrs)

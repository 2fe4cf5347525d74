import numpy as np
import pytest

from freqlab.engine.pairing import cosines_without, pair_influence
from freqlab.errors import UnknownNameError
from freqlab.statistics.vectors import cosine, unit_length


def test_influence_by_hand():
    probe, reference = np.array([[1.0, 0]], np.float32), np.array([[1.0, 1]], np.float32)
    probe_removed = np.array([[[0.0, 1], [-1, 0]]], np.float32)
    reference_removed = np.array([[[1.0, 0], [0, 3]]], np.float32)
    root = np.sqrt(0.5)
    found = pair_influence(probe, probe_removed, reference, reference_removed, "probe")
    np.testing.assert_allclose(found.similarity, [root], rtol=1e-6)
    np.testing.assert_allclose(found.influence, [[0, 2 * root]], atol=1e-6)
    found = pair_influence(probe, probe_removed, reference, reference_removed, "reference")
    np.testing.assert_allclose(found.influence, [[root - 1, root]], rtol=1e-6)
    found = pair_influence(probe, probe_removed, reference, reference_removed, "both")
    np.testing.assert_allclose(found.influence, [[root, root]], rtol=1e-6)


def test_cosine_does_not_see_length():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50, 8)).astype(np.float32)
    np.testing.assert_allclose(cosine(a, b), cosine(3 * a, 0.1 * b), atol=1e-6)
    assert cosine(a, a).max() <= 1
    expected = [
        np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(cosine(a, b), expected, atol=1e-6)


def test_missing_embeddings_are_missing_influences():
    ones, none = np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32)
    none[1] = np.nan
    removed = np.ones((2, 3, 4), np.float32)
    removed[0, 1] = np.nan
    found = pair_influence(ones, removed, none, removed, "probe")
    assert np.isnan(found.similarity).all()
    found = pair_influence(ones, removed, ones, removed, "probe")
    assert np.isnan(found.influence).tolist() == [[False, True, False], [False] * 3]


def test_unknown_side():
    ones = np.ones((1, 2), np.float32)
    with pytest.raises(UnknownNameError, match="Did you mean 'probe'"):
        pair_influence(ones, ones[:, None], ones, ones[:, None], "prob")


@pytest.mark.parametrize("n_pairs", [4, 300])
def test_cosines_of_many_pairs_of_few_faces(n_pairs):
    """With few partners per face and with many, which go different ways."""
    rng = np.random.default_rng(0)
    removed = rng.normal(size=(6, 5, 8)).astype(np.float32)
    intact = rng.normal(size=(7, 8)).astype(np.float32)
    face, row = np.sort(rng.integers(0, 6, n_pairs)), rng.integers(0, 7, n_pairs)
    expected = cosine(removed[face], intact[row][:, None])
    found = cosines_without(unit_length(removed.copy()), face, unit_length(intact.copy()), row)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_unit_length():
    vectors = np.array([[3.0, 4], [0, 0], [np.nan, 1]], np.float32)
    found = unit_length(vectors)
    np.testing.assert_allclose(found[0], [0.6, 0.8], rtol=1e-6)
    assert np.isnan(found[1:]).all()
    assert found is vectors

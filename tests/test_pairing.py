import numpy as np
import pytest

from freqlab.errors import UnknownNameError
from freqlab.pairing import cosine, pair_influence


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

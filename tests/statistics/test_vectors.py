"""Cosine similarity against SciPy's cosine distance."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from freqlab.statistics.vectors import cosine, cosines, unit_length


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 8)), rng.normal(size=(4, 8))


def test_all_with_all_are_those_of_scipy(vectors):
    one, other = vectors
    np.testing.assert_allclose(cosines(one, other), 1 - cdist(one, other, "cosine"), rtol=1e-12)
    alone = cosines(one.astype(np.float32), one.astype(np.float32))
    assert alone.dtype == np.float64
    assert alone.max() <= 1


def test_along_the_last_axis_they_are_the_same_ones(vectors):
    one, other = vectors
    found = cosine(one[:, None], other)
    np.testing.assert_allclose(found, 1 - cdist(one, other, "cosine"), rtol=1e-12)
    assert cosine(one.astype(np.float32), one.astype(np.float32)).dtype == np.float32
    assert np.isnan(cosine(one, np.zeros_like(one))).all()


def test_unit_length_is_taken_in_place(vectors):
    one = vectors[0]
    before = one.copy()
    assert unit_length(one) is one
    np.testing.assert_allclose(one, before / np.linalg.norm(before, axis=1, keepdims=True))

"""Krawtchouk polynomials compared with their definition in exact arithmetic, and features."""

import math
from fractions import Fraction

import numpy as np
import pytest

from freqlab.adversarial.krawtchouk import (
    from_moments,
    krawtchouk_basis,
    krawtchouk_features,
    krawtchouk_moments,
    order_bands,
    secret_selection,
)
from freqlab.errors import ParameterError


def exact(order, point, n, p):
    """The weighted polynomial by its hypergeometric sum, in fractions up to the square root."""
    top, p = n - 1, Fraction(p)
    total, term = Fraction(0), Fraction(1)
    for i in range(min(order, point) + 1):
        total += term
        if i < min(order, point):
            term *= Fraction((i - order) * (i - point), (i - top) * (i + 1)) / p
    square = total**2 * math.comb(top, point) * p**point * (1 - p) ** (top - point)
    square *= math.comb(top, order) * (p / (1 - p)) ** order
    root = math.sqrt(square) if square > Fraction(1, 10**300) else 0.0
    return math.copysign(root, total)


@pytest.mark.parametrize("p", [Fraction(1, 2), Fraction(1, 4), Fraction(9, 10), Fraction(1, 20)])
def test_polynomials_agree_with_their_definition(p):
    basis = krawtchouk_basis(112, float(p))
    rng = np.random.default_rng(0)
    places = [(0, 0), (111, 111), (0, 111), (111, 0), (111, 56), (1, 3)]
    places += [tuple(place) for place in rng.integers(0, 112, (300, 2)).tolist()]
    for order, point in places:
        assert basis[order, point] == pytest.approx(exact(order, point, 112, p), abs=1e-10)


@pytest.mark.parametrize("p", [0.05, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("n", [112, 96, 160, 1, 2])
def test_polynomials_are_orthonormal(n, p):
    basis = krawtchouk_basis(n, p)
    np.testing.assert_allclose(basis @ basis.T, np.eye(n), atol=1e-8)
    np.testing.assert_allclose(basis.T @ basis, np.eye(n), atol=1e-8)


def test_low_orders_are_localised_around_p():
    for p in (0.25, 0.5, 0.75):
        weight = krawtchouk_basis(112, p)[0] ** 2
        assert weight @ np.arange(112) == pytest.approx(p * 111)
        assert weight @ (np.arange(112) - p * 111) ** 2 == pytest.approx(111 * p * (1 - p))


def test_moments_represent_the_whole_image():
    image = np.random.default_rng(0).uniform(0, 255, (3, 112, 96))
    rows, columns = krawtchouk_basis(112, 0.25), krawtchouk_basis(96, 0.75)
    moments = krawtchouk_moments(image, rows, columns)
    assert (moments**2).sum() == pytest.approx((image**2).sum())
    np.testing.assert_allclose(from_moments(moments, rows, columns), image, atol=1e-8)
    low = np.where(order_bands(112, 96, 16) < 12, moments, 0)
    assert np.abs(from_moments(low, rows, columns) - image).max() > 1


def test_bands_cover_all_orders():
    bands = order_bands(112, 112, 16)
    assert set(np.unique(bands)) == set(range(16))
    assert bands[0, 0] == 0
    assert bands[111, 111] == 15
    assert bands[0, 111] == int(16 / math.sqrt(2))


def test_features_change_most_at_the_position_of_noise():
    rng = np.random.default_rng(0)
    plain = rng.normal(0, 1, (112, 112, 3))
    noisy = plain.copy()
    noisy[70:98, 14:42] += rng.normal(0, 10, (28, 28, 3))
    one, other = krawtchouk_features(np.stack([plain, noisy])).reshape(2, 3, 3, 16)
    change = (other - one)[..., 1:3].mean(axis=-1)
    assert np.unravel_index(change.argmax(), change.shape) == (2, 0)
    assert change[2, 0] > change[0, 2] + 1


def test_a_key_always_selects_the_same_features_and_another_key_others():
    one, again, other = (secret_selection(144, key) for key in ("a", "a", "b"))
    np.testing.assert_array_equal(one, again)
    assert len(one) == 72
    assert 20 < len(np.intersect1d(one, other)) < 55
    np.testing.assert_array_equal(secret_selection(5, ""), np.arange(5))
    assert len(secret_selection(144, "a", share=1)) == 144
    with pytest.raises(ParameterError, match="share=0"):
        secret_selection(144, "a", share=0)
    with pytest.raises(ParameterError, match="p=1"):
        krawtchouk_basis(112, 1)

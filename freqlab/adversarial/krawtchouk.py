"""Weighted Krawtchouk polynomials, moments, and features of an image in space and frequency.

After Wang et al. (*Spatial-Frequency Discriminability for Revealing Adversarial Perturbations*,
2023): Krawtchouk polynomials are orthogonal under the binomial distribution, whose parameter p
moves the place they look at; the order of a polynomial plays the part of frequency. The energy of
an image's moments in bands of order, at several places, makes features, of which a secret key
selects some, so that an attacker does not know what to leave untouched. Where we differ, or do not
know:

- Polynomials are eigenvectors of a symmetric tridiagonal matrix, which is stable to the highest
  order; recurrences lose all digits before order 112.
- Bands are of equal width in the radius sqrt(n^2 + m^2) of both orders; places are those of a grid
  of p along both axes; energies are summed over colours and taken as logarithm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from freqlab.errors import ParameterError, check_number

__all__ = [
    "PLACES",
    "from_moments",
    "krawtchouk_basis",
    "krawtchouk_features",
    "krawtchouk_moments",
    "order_bands",
    "secret_selection",
]

PLACES = (0.25, 0.5, 0.75)
"""Parameters p along each axis: where the basis looks, as a share of the side."""

_TINY = 1e-10

Floats = npt.NDArray[np.float64]


def krawtchouk_basis(n: int, p: float) -> Floats:
    """Weighted Krawtchouk polynomials of orders 0 to n - 1 on n points.

    Parameters
    ----------
    n
        Points, and orders.
    p
        Parameter of the binomial distribution, between 0 and 1; polynomials of low order lie
        around the point p (n - 1).

    Returns
    -------
    numpy.ndarray
        ``(order, point)``, orthonormal in both; positive at point 0 where that is not zero.

    Notes
    -----
    With N = n - 1, the weighted polynomials K_k(x) = sqrt(w(x) / rho(k)) 2F1(-k, -x; -N; 1/p)
    fulfil (Koekoek and Swarttouw 1998, 1.10.3, normalised)
    x K_k(x) = a_k K_k(x) - b_k K_{k-1}(x) - b_{k+1} K_{k+1}(x), with a_k = p (N - k) + (1 - p) k
    and b_k = sqrt(p (1 - p) k (N - k + 1)): the vector over k is the eigenvector of eigenvalue x.
    Its sign follows from its first entries that are not lost in rounding: K_0 is positive, and as
    long as the weight is small, the next ones keep the sign where x < p N, and change it from order
    to order where x is larger.
    """
    from scipy.linalg import eigh_tridiagonal

    check_number("n", n, at_least=1, whole=True)
    check_number("p", p, above=0)
    if p >= 1:
        raise ParameterError(f"p={p!r} must lie between 0 and 1")
    top = n - 1
    k = np.arange(n)
    diagonal = p * (top - k) + (1 - p) * k
    beside = -np.sqrt(p * (1 - p) * k[1:] * (top - k[1:] + 1))
    if n == 1:
        return np.ones((1, 1))
    _, vectors = eigh_tridiagonal(diagonal, beside)
    first = (np.abs(vectors) > _TINY).argmax(axis=0)
    signs = np.sign(vectors[first, k])
    signs[(k > p * top) & (first % 2 == 1)] *= -1
    return np.asarray(vectors * signs)


def krawtchouk_moments(images: npt.NDArray[np.floating], rows: Floats, columns: Floats) -> Floats:
    """Moments of images in the basis of their rows and that of their columns.

    Parameters
    ----------
    images
        ``(..., height, width)``.
    rows, columns
        From :func:`krawtchouk_basis`, of height and of width.

    Returns
    -------
    numpy.ndarray
        ``(..., order, order)``; the sum of their squares is that of the pixels.
    """
    return np.asarray(rows @ images @ columns.T)


def from_moments(moments: Floats, rows: Floats, columns: Floats) -> Floats:
    """The images that have these moments; parameters as for :func:`krawtchouk_moments`."""
    return np.asarray(rows.T @ moments @ columns)


def order_bands(height: int, width: int, n_bands: int) -> npt.NDArray[np.int64]:
    """Band of each pair of orders ``(height, width)``: rings of equal width around order zero.

    Both orders count as shares of their highest, so the last ring ends at sqrt(2).
    """
    check_number("n_bands", n_bands, at_least=1, whole=True)
    shares = [np.arange(n) / max(n - 1, 1) for n in (height, width)]
    radius = np.hypot(shares[0][:, None], shares[1]) / np.sqrt(2)
    return np.minimum((radius * n_bands).astype(np.int64), n_bands - 1)


def krawtchouk_features(
    crops: npt.NDArray[np.uint8] | npt.NDArray[np.floating],
    *,
    places: Sequence[float] = PLACES,
    n_bands: int = 16,
) -> Floats:
    """Log energy of the moments of images in bands of order, at every place.

    Parameters
    ----------
    crops
        ``(n, height, width, channel)``.
    places
        Parameters p, along both axes.
    n_bands
        Bands of order.

    Returns
    -------
    numpy.ndarray
        ``(n, place * place * band)``, places down, places across, bands within; natural
        logarithm of the mean square of the moments of a band, 1e-6 added.
    """
    height, width = crops.shape[1:3]
    bands = order_bands(height, width, n_bands)
    counts = np.bincount(bands.ravel(), minlength=n_bands)
    down = {p: krawtchouk_basis(height, p) for p in places}
    across = {p: krawtchouk_basis(width, p) for p in places}
    found = np.empty((len(crops), len(places), len(places), n_bands))
    # the matrices are small: several threads would only wait for each other
    with threadpool_limits(1, user_api="blas"):
        for i, crop in enumerate(crops):
            planes = np.moveaxis(crop.astype(float), -1, 0)
            for j, one in enumerate(places):
                half = down[one] @ planes
                for k, other in enumerate(places):
                    square = ((half @ across[other].T) ** 2).sum(axis=0).ravel()
                    sums = np.bincount(bands.ravel(), weights=square, minlength=n_bands)
                    found[i, j, k] = np.log(sums / np.maximum(counts, 1) + 1e-6)
    return found.reshape(len(crops), -1)


def secret_selection(n_features: int, key: str, *, share: float = 0.5) -> npt.NDArray[np.int64]:
    """Which features a secret key selects.

    Parameters
    ----------
    n_features
        Number of features to choose from.
    key
        Any text that is kept from an attacker; an empty one selects all.
    share
        That is selected, above 0 up to 1.

    Returns
    -------
    numpy.ndarray
        Positions in increasing order, the same for the same key on every machine.
    """
    check_number("n_features", n_features, at_least=1, whole=True)
    check_number("share", share, above=0)
    if share > 1:
        raise ParameterError(f"share={share!r} must be 1 or less")
    if not key:
        return np.arange(n_features)
    # a hash of the key and the feature is the rank by which features are taken
    ranks = [hashlib.sha256(f"{key}/{i}".encode()).digest() for i in range(n_features)]
    order = sorted(range(n_features), key=ranks.__getitem__)
    return np.sort(np.array(order[: max(1, round(share * n_features))], np.int64))

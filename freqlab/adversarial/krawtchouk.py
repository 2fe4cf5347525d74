"""Weighted Krawtchouk polynomials, moments, and features of an image in space and frequency.

After Wang et al. (*Spatial-Frequency Discriminability for Revealing Adversarial Perturbations*,
2023): Krawtchouk polynomials are orthogonal under the binomial distribution, whose parameter p
determines where they are localised. The order of a polynomial corresponds to frequency. The
features are energies of the moments of an image in bands of order, at several positions. A secret
key selects some of them, so that an attacker does not know which features to leave unchanged. Our
choices, where we differ or the paper leaves it open:

- Polynomials are computed as eigenvectors of a symmetric tridiagonal matrix, which is stable up to
  the highest order. Recurrences lose all digits before order 112.
- Bands have equal width in the radius sqrt(n^2 + m^2) of the two orders. Positions are a grid of p
  along both axes. Features are logarithms of energies summed over colour channels.
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
"""Parameters p along each axis: positions of the basis, as a share of the side."""

_TINY = 1e-10

Floats = npt.NDArray[np.float64]


def krawtchouk_basis(n: int, p: float) -> Floats:
    """Compute weighted Krawtchouk polynomials of orders 0 to n - 1 on n points.

    Parameters
    ----------
    n
        Number of points, and of orders.
    p
        Parameter of the binomial distribution, between 0 and 1. Polynomials of low order are
        localised around the point p (n - 1).

    Returns
    -------
    numpy.ndarray
        ``(order, point)``, orthonormal in both axes; positive at point 0 where not zero.

    Raises
    ------
    ParameterError
        If a number is out of range.

    Notes
    -----
    With N = n - 1, the weighted polynomials K_k(x) = sqrt(w(x) / rho(k)) 2F1(-k, -x; -N; 1/p)
    fulfil (Koekoek and Swarttouw 1998, 1.10.3, normalised)
    x K_k(x) = a_k K_k(x) - b_k K_{k-1}(x) - b_{k+1} K_{k+1}(x), with a_k = p (N - k) + (1 - p) k
    and b_k = sqrt(p (1 - p) k (N - k + 1)): the vector over k is the eigenvector of eigenvalue x.
    Its sign is set by its first entry that is not lost in rounding. K_0 is positive; while the
    weight is small, the entries that follow have the same sign where x < p N, and alternate in
    sign from order to order where x is larger.
    """
    from scipy.linalg import eigh_tridiagonal

    check_number("n", n, at_least=1, whole=True)
    check_number("p", p, above=0)
    if p >= 1:
        raise ParameterError(f"p={p!r} must lie between 0 and 1")
    top = n - 1
    k = np.arange(n)
    diagonal = p * (top - k) + (1 - p) * k
    off_diagonal = -np.sqrt(p * (1 - p) * k[1:] * (top - k[1:] + 1))
    if n == 1:
        return np.ones((1, 1))
    _, vectors = eigh_tridiagonal(diagonal, off_diagonal)
    first = (np.abs(vectors) > _TINY).argmax(axis=0)
    signs = np.sign(vectors[first, k])
    signs[(k > p * top) & (first % 2 == 1)] *= -1
    return np.asarray(vectors * signs)


def krawtchouk_moments(images: npt.NDArray[np.floating], rows: Floats, columns: Floats) -> Floats:
    """Compute moments of images in a basis of rows and a basis of columns.

    Parameters
    ----------
    images
        Images ``(..., height, width)``.
    rows, columns
        Bases of the height and the width, from :func:`krawtchouk_basis`.

    Returns
    -------
    numpy.ndarray
        Moments ``(..., order, order)``, whose sum of squares equals that of the pixels.
    """
    return np.asarray(rows @ images @ columns.T)


def from_moments(moments: Floats, rows: Floats, columns: Floats) -> Floats:
    """Compute images from moments: the inverse of :func:`krawtchouk_moments`, with its bases."""
    return np.asarray(rows.T @ moments @ columns)


def order_bands(height: int, width: int, n_bands: int) -> npt.NDArray[np.int64]:
    """Index of the band of each pair of orders ``(height, width)``: rings of equal width.

    Each order is divided by the highest order, so the last ring ends at a radius of sqrt(2).
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
    """Compute the log energy of the moments of images in bands of order, at each position.

    Parameters
    ----------
    crops
        Images ``(n, height, width, channel)``.
    places
        Parameters p along both axes.
    n_bands
        Number of bands of order.

    Returns
    -------
    numpy.ndarray
        ``(n, place * place * band)``, ordered by vertical position, horizontal position and band:
        the natural logarithm of 1e-6 plus the mean square of the moments of a band.
    """
    height, width = crops.shape[1:3]
    bands = order_bands(height, width, n_bands)
    counts = np.bincount(bands.ravel(), minlength=n_bands)
    down = {p: krawtchouk_basis(height, p) for p in places}
    across = {p: krawtchouk_basis(width, p) for p in places}
    features = np.empty((len(crops), len(places), len(places), n_bands))
    # one thread: the matrices are so small that several are slower
    with threadpool_limits(1, user_api="blas"):
        for i, crop in enumerate(crops):
            planes = np.moveaxis(crop.astype(float), -1, 0)
            for j, vertical in enumerate(places):
                half = down[vertical] @ planes
                for k, horizontal in enumerate(places):
                    square = ((half @ across[horizontal].T) ** 2).sum(axis=0).ravel()
                    sums = np.bincount(bands.ravel(), weights=square, minlength=n_bands)
                    features[i, j, k] = np.log(sums / np.maximum(counts, 1) + 1e-6)
    return features.reshape(len(crops), -1)


def secret_selection(n_features: int, key: str, *, share: float = 0.5) -> npt.NDArray[np.int64]:
    """Select features with a secret key.

    Parameters
    ----------
    n_features
        Number of features to choose from.
    key
        Text that an attacker does not know; an empty text selects all features.
    share
        Share of features to select, above 0 and at most 1.

    Returns
    -------
    numpy.ndarray
        Indices of the selected features in increasing order. They depend on the arguments alone,
        and are the same on every machine.

    Raises
    ------
    ParameterError
        If a number is out of range.
    """
    check_number("n_features", n_features, at_least=1, whole=True)
    check_number("share", share, above=0)
    if share > 1:
        raise ParameterError(f"share={share!r} must be above 0 and at most 1")
    if not key:
        return np.arange(n_features)
    # features are ranked by a hash of the key and the feature
    ranks = [hashlib.sha256(f"{key}/{i}".encode()).digest() for i in range(n_features)]
    order = sorted(range(n_features), key=ranks.__getitem__)
    return np.sort(np.array(order[: max(1, round(share * n_features))], np.int64))

"""Cooperative games of bands, areas, complexity and agreement of profiles, on plain arrays.

The score of a pair with a set of bands removed is a cooperative game of the bands. A *value
function* takes positions of pairs ``(job,)`` and removed bands ``(job, band)`` and returns the
scores ``(job,)``, for example :meth:`freqlab.edits.pair_sets.PairSets.similarity`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import ParameterError, check_number

__all__ = [
    "Shapley",
    "SmallestSets",
    "area_under",
    "complexity",
    "keep_one",
    "pair_interactions",
    "random_orders",
    "ranks_of",
    "shapley_values",
    "smallest_sets",
]

Floats = npt.NDArray[np.float64]
Value = Callable[[npt.NDArray[np.int64], npt.NDArray[np.bool_]], Floats]

_TRIED = 2  # largest set size that is searched exhaustively


class Shapley(NamedTuple):
    """Result of :func:`shapley_values`."""

    values: Floats
    """``(pair, band)``; 0 for a band without coefficients. They sum to s(all) - s(none)."""
    standard_error: Floats
    """``(pair, band)``."""
    n_permutations: int


class SmallestSets(NamedTuple):
    """Result of :func:`smallest_sets`."""

    size: npt.NDArray[np.int64]
    """Number of bands in the set ``(pair,)``; -1 where no set was found."""
    members: npt.NDArray[np.bool_]
    """``(pair, band)``."""
    proven: npt.NDArray[np.bool_]
    """Whether all smaller sets were tried, so that none exists ``(pair,)``."""


def area_under(values: Floats) -> Floats:
    """Compute the area under curves over even steps from 0 to 1 (trapezoid rule, last axis)."""
    inner = (values[..., 1:] + values[..., :-1]) / 2
    return np.asarray(inner.mean(axis=-1))


def complexity(influence: Floats) -> Floats:
    """Compute the evenness of influence: entropy of its absolute shares over log(bands), 0 to 1.

    Parameters
    ----------
    influence
        ``(..., band)``; bands that are NaN are ignored.

    Returns
    -------
    numpy.ndarray
        ``(...)``: 0 if one band has all influence, 1 if all bands have the same, NaN if no band
        has any.
    """
    h = np.abs(influence)
    n = np.isfinite(h).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = h / np.nansum(h, axis=-1, keepdims=True)
        terms = np.where(share > 0, share * np.log(share), np.where(np.isnan(share), np.nan, 0))
        evenness = -np.nansum(terms, axis=-1) / np.log(n)
    return np.where((n > 1) & (np.nansum(h, axis=-1) > 0), evenness, np.nan)


def random_orders(present: npt.NDArray[np.bool_], n: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw random orders of the bands with coefficients, ``(order, band)``.

    Every second order is the reverse of the previous order, so the sets that it keeps are those
    that the other order removes.
    """
    rng = np.random.default_rng(seed)
    bands = np.flatnonzero(present)
    couples = [rng.permutation(bands) for _ in range((n + 1) // 2)]
    orders = [order for drawn in couples for order in (drawn, drawn[::-1])]
    return np.array(orders[:n], np.int64).reshape(n, len(bands))


def ranks_of(order: npt.NDArray[np.integer], n_bands: int) -> npt.NDArray[np.int64]:
    """Return the rank of each band in orders ``(..., band)``; bands in no order come last."""
    ranks = np.full((*order.shape[:-1], n_bands), order.shape[-1], np.int64)
    places = np.broadcast_to(np.arange(order.shape[-1]), order.shape)
    np.put_along_axis(ranks, order, places, axis=-1)
    return ranks


def keep_one(value: Value, n_pairs: int, present: npt.NDArray[np.bool_]) -> Floats:
    """Compute the contribution of each band alone: score with only it, minus score with no band.

    Returns
    -------
    numpy.ndarray
        ``(pair, band)``; NaN for bands without coefficients.
    """
    alone = [present & (np.arange(len(present)) != band) for band in np.flatnonzero(present)]
    scores = _all_scores(value, n_pairs, np.array([present, *alone]))
    contributions = np.full((n_pairs, len(present)), np.nan)
    contributions[:, present] = scores[:, 1:] - scores[:, :1]
    return contributions


def shapley_values(
    value: Value,
    n_pairs: int,
    present: npt.NDArray[np.bool_],
    *,
    tolerance: float = 0.01,
    most: int = 64,
    at_least: int = 8,
    seed: int = 0,
) -> Shapley:
    """Estimate Shapley values of bands from sampled orders.

    The bands are restored one by one, in random orders and their reverses (antithetic sampling).
    The value of a band is the mean change of the score when it is restored. The standard error is
    computed over couples of an order and its reverse. Sampling stops when the largest standard
    error of a pair and band is at most `tolerance`, or `most` orders are used (Castro, Gomez and
    Tejada 2009; the couples and the stopping rule are our choice).

    Parameters
    ----------
    value
        Value function of the game.
    n_pairs
        Number of pairs.
    present
        Whether each band has coefficients ``(band,)``.
    tolerance
        Standard error at which sampling stops, in units of the score.
    most, at_least
        Largest and smallest number of orders, even numbers of 4 or more.
    seed
        Seed of the orders, which are the same for all pairs.

    Raises
    ------
    ParameterError
        If a number is out of range.
    """
    check_number("tolerance", tolerance, at_least=0)
    for name, number in (("most", most), ("at_least", at_least)):
        check_number(name, number, at_least=4, whole=True)
        if number % 2:
            raise ParameterError(
                f"{name}={number!r} must be even, because each order is used with its reverse"
            )
    orders = random_orders(present, most, seed)
    n_present = int(present.sum())
    couples: list[Floats] = []
    while True:
        first = 2 * len(couples)
        batch = orders[first : min(most, max(at_least, first + 4))]
        steps = np.arange(n_present + 1)
        not_restored = ranks_of(batch, len(present))[:, None, :] >= steps[:, None]
        sets = not_restored & present
        scores = _all_scores(value, n_pairs, sets.reshape(-1, len(present)))
        gains = np.diff(scores.reshape(n_pairs, len(batch), n_present + 1), axis=2)
        for k in range(0, len(batch), 2):
            of_couple = np.zeros((2, n_pairs, len(present)))
            for j in (0, 1):
                of_couple[j][:, batch[k + j]] = gains[:, k + j]
            couples.append(of_couple.mean(axis=0))
        drawn = np.stack(couples)
        error = drawn.std(axis=0, ddof=1) / np.sqrt(len(couples))
        if 2 * len(couples) >= most or np.nanmax(error, initial=0) <= tolerance:
            return Shapley(drawn.mean(axis=0), error, 2 * len(couples))


def pair_interactions(value: Value, n_pairs: int, present: npt.NDArray[np.bool_]) -> Floats:
    """Compute the effect of removing two bands beyond the sum of removing each.

    Returns
    -------
    numpy.ndarray
        ``(pair, band, band)``, symmetric: positive where one band compensates for the loss of the
        other, negative where one band is only effective with the other; NaN on the diagonal and
        for bands without coefficients.
    """
    bands = np.flatnonzero(present)
    n, unit = len(present), np.eye(len(present), dtype=bool)
    couples = list(itertools.combinations(bands.tolist(), 2))
    sets = [np.zeros(n, bool), *unit[bands], *(unit[b] | unit[c] for b, c in couples)]
    scores = _all_scores(value, n_pairs, np.array(sets))
    without = np.full((n_pairs, n), np.nan)
    without[:, bands] = scores[:, 1 : 1 + len(bands)]
    interactions = np.full((n_pairs, n, n), np.nan)
    for k, (b, c) in enumerate(couples):
        excess = without[:, b] + without[:, c] - scores[:, 0] - scores[:, 1 + len(bands) + k]
        interactions[:, b, c] = interactions[:, c, b] = excess
    return interactions


def smallest_sets(
    margin: Value, n_pairs: int, present: npt.NDArray[np.bool_], *, most: int = 5
) -> SmallestSets:
    """Find the smallest set of bands for which a margin is not negative.

    All sets of up to two bands are tried. Larger sets are built from the best set of the pair by
    adding the band that increases the margin most, so a set of four or more bands is not
    necessarily the smallest.

    Parameters
    ----------
    margin
        Margin of pairs and *selected* bands; 0 or more where the set has the desired effect.
    n_pairs
        Number of pairs.
    present
        Whether each band has coefficients ``(band,)``.
    most
        Number of bands in the largest set that is tried.
    """
    n, bands, unit = len(present), np.flatnonzero(present), np.eye(len(present), dtype=bool)
    size = np.full(n_pairs, -1)
    members = np.zeros((n_pairs, n), bool)
    best = np.zeros((n_pairs, n), bool)
    for level in range(min(most, len(bands)) + 1):
        open_pairs = np.flatnonzero(size < 0)
        if not len(open_pairs):
            break
        if level <= _TRIED:
            sets = [unit[list(c)].any(axis=0) for c in itertools.combinations(bands, level)]
            tried = np.broadcast_to(np.array(sets).reshape(-1, n), (len(open_pairs), len(sets), n))
        else:
            tried = np.stack(
                [[best[p] | unit[b] for b in bands if not best[p, b]] for p in open_pairs]
            )
        n_tried = tried.shape[1]
        margins = margin(np.repeat(open_pairs, n_tried), tried.reshape(-1, n)).reshape(-1, n_tried)
        at = margins.argmax(axis=1)
        best[open_pairs] = tried[np.arange(len(open_pairs)), at]
        done = margins.max(axis=1) >= 0
        size[open_pairs[done]] = level
        members[open_pairs[done]] = best[open_pairs[done]]
    return SmallestSets(size, members, (size >= 0) & (size <= _TRIED + 1))


def _all_scores(value: Value, n_pairs: int, sets: npt.NDArray[np.bool_]) -> Floats:
    """Compute the scores of all pairs with each of the sets removed, ``(pair, set)``."""
    pairs = np.repeat(np.arange(n_pairs), len(sets))
    return value(pairs, np.tile(sets, (n_pairs, 1))).reshape(n_pairs, len(sets))

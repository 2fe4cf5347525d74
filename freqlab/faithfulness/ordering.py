"""Orders of bands: of an explanation, by chance, and the best order known.

An order is best if the similarity of a pair moves as fast as possible towards the other decision
when bands are removed, or towards the decision when they are restored. With a few bands all orders
could be tried; with fifteen there are more than 10^12, so greedy and beam search find a good one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.edits.pair_sets import PairSets
from freqlab.errors import ParameterError
from freqlab.faithfulness.games import Value

__all__ = [
    "SearchedOrders",
    "beam_search",
    "check_explanations",
    "explained",
    "order_by",
    "orders_of",
    "random_orders_of_pairs",
]

Floats = npt.NDArray[np.float64]
Orders = npt.NDArray[np.int64]


class SearchedOrders(NamedTuple):
    """Result of :func:`beam_search`."""

    orders: Orders
    """Bands in order of removal or restoration ``(pair, band with coefficients)``."""
    similarity: Floats
    """Similarity along the order ``(pair, step)``, from nothing to all."""


def order_by(values: Floats, match: npt.NDArray[np.bool_], bands: Orders) -> Orders:
    """Order bands by an explanation.

    Parameters
    ----------
    values
        Values of the bands with coefficients, positive for evidence of a match ``(pair, band)``.
    match
        Whether a match is explained ``(pair,)``: the largest values come first. Otherwise the
        smallest come first.
    bands
        Positions of the bands with coefficients ``(band,)``.

    Returns
    -------
    numpy.ndarray
        ``(pair, band)``.
    """
    sign = np.where(match, -1, 1)[:, None]
    return np.asarray(bands[np.argsort(sign * values, axis=1, kind="stable")])


def random_orders_of_pairs(
    probes: Sequence[str], references: Sequence[str], bands: Orders, n: int, seed: int
) -> Orders:
    """Draw random orders separately for each pair, so that intervals over people include the draw.

    The orders of a pair depend on the seed and the names of its faces, not on the other pairs.

    Parameters
    ----------
    probes, references
        Names of the faces of each pair.
    bands
        Positions of the bands with coefficients ``(band,)``.
    n
        Number of orders of each pair.
    seed
        Seed of the orders.

    Returns
    -------
    numpy.ndarray
        ``(pair, order, band)``.
    """
    orders = np.empty((len(probes), n, len(bands)), np.int64)
    for pair, ends in enumerate(zip(probes, references, strict=True)):
        name = hashlib.blake2b("\0".join(map(str, ends)).encode(), digest_size=8).digest()
        rng = np.random.default_rng([seed, int.from_bytes(name, "little")])
        for order in orders[pair]:
            order[:] = rng.permutation(bands)
    return orders


def beam_search(
    value: Value,
    n_pairs: int,
    present: npt.NDArray[np.bool_],
    match: npt.NDArray[np.bool_],
    *,
    width: int = 1,
    restore: bool = False,
) -> SearchedOrders:
    """Search the order with the smallest or largest area under the similarity of each pair.

    In deletion of a match, and in insertion of a non-match, the area should be small, else large.
    At each step, every band is tried after each of the best partial orders, and the `width` best
    sets of bands by their area so far are kept. A width of 1 is the greedy search. Of two orders of
    the same set, the better one is kept, so a width of 2 to the power of the number of bands finds
    the best order.

    Parameters
    ----------
    value
        Value function: similarity of pairs with sets of bands removed.
    n_pairs
        Number of pairs.
    present
        Whether each band has coefficients ``(band,)``.
    match
        Whether a match is explained ``(pair,)``.
    width
        Number of sets that are kept at each step.
    restore
        Whether bands are restored (insertion) instead of removed (deletion).
    """
    bands = np.flatnonzero(present)
    n_bands = len(bands)
    sign = np.where(np.asarray(match) == restore, -1.0, 1.0)  # the signed area is minimised
    every = np.arange(n_pairs)
    first = np.tile(present if restore else np.zeros_like(present), (n_pairs, 1))
    start = value(every, first)
    # partial orders of each pair: (signed sum so far, order, similarities)
    beams: list[list[tuple[float, tuple[int, ...], tuple[float, ...]]]] = [
        [(0.0, (), (float(one),))] for one in start
    ]
    for step in range(n_bands):
        jobs = _extensions(beams, bands.tolist())
        pairs = np.array([pair for pair, *_ in jobs], np.int64)
        chosen = np.zeros((len(jobs), len(present)), bool)
        for row, (_, _, order) in zip(chosen, jobs, strict=True):
            row[list(order)] = True
        similarity = value(pairs, present & ~chosen if restore else chosen)
        found: list[dict[frozenset[int], tuple[float, tuple[int, ...], tuple[float, ...]]]]
        found = [{} for _ in every]
        weight = 1.0 if step < n_bands - 1 else 0.5  # trapezoid rule
        for (pair, parent, order), score in zip(jobs, similarity.tolist(), strict=True):
            total, _, path = beams[pair][parent]
            candidate = (total + weight * sign[pair] * score, order, (*path, score))
            members = frozenset(order)
            if members not in found[pair] or candidate[0] < found[pair][members][0]:
                found[pair][members] = candidate
        beams = [sorted(one.values(), key=lambda c: c[0])[:width] for one in found]
    best = [beam[0] for beam in beams]
    return SearchedOrders(
        np.array([order for _, order, _ in best], np.int64).reshape(n_pairs, n_bands),
        np.array([path for _, _, path in best]).reshape(n_pairs, n_bands + 1),
    )


def _extensions(
    beams: Sequence[Sequence[tuple[float, tuple[int, ...], tuple[float, ...]]]], bands: list[int]
) -> list[tuple[int, int, tuple[int, ...]]]:
    """Pair, position in its beam, and order of each partial order with one further band."""
    return [
        (pair, parent, (*order, band))
        for pair, beam in enumerate(beams)
        for parent, (_, order, _) in enumerate(beam)
        for band in bands
        if band not in order
    ]


def explained(sets: PairSets, by: str, threshold: float, fmr: float) -> npt.NDArray[np.bool_]:
    """Whether a match is explained, for each pair.

    Parameters
    ----------
    sets
        The pairs of one model.
    by
        ``"truth"`` or ``"decision"``.
    threshold, fmr
        Decision threshold of the model, and its false match rate.

    Raises
    ------
    ParameterError
        If the decision is explained and the threshold is not resolved.
    """
    if by == "truth":
        return np.asarray(sets.data["genuine"].to_numpy(), bool)
    if not np.isfinite(threshold):
        raise ParameterError(
            f"by='decision' needs the threshold of model {sets.model.name!r}, which is not "
            f"resolved at fmr={fmr!r}"
        )
    return np.asarray(sets.data["similarity"].to_numpy() >= threshold)


def check_explanations(
    explanations: Mapping[str, xr.DataArray], result: xr.Dataset, reserved: Sequence[str]
) -> None:
    """Refuse explanations that are not of the pairs and bands of a result.

    Parameters
    ----------
    explanations
        By name.
    result
        From :func:`freqlab.influence`.
    reserved
        Names of other orders.

    Raises
    ------
    ParameterError
        With the name of the explanation and what is allowed.
    """
    for name, one in explanations.items():
        start = f"explanations: {name!r}"
        if name in reserved or name.startswith("random"):
            raise ParameterError(f"{start} is the name of another order")
        dims = [str(dim) for dim in one.dims]
        if not {"pair", "band"} <= set(dims) <= {"model", "pair", "side", "band"}:
            raise ParameterError(
                f"{start} has axes {', '.join(dims)}; they must be pair and band, and may be model "
                f"and side"
            )
        for axis in dims:
            if axis in one.coords and not (
                set(result[axis].to_numpy().tolist()) <= set(one[axis].to_numpy().tolist())
            ):
                raise ParameterError(f"{start} is of another {axis} axis than the result")
            if axis not in one.coords and one.sizes[axis] != result.sizes[axis]:
                raise ParameterError(f"{start} is of another {axis} axis than the result")


def _values_of(name: str, explanation: xr.DataArray, sets: PairSets, side: str) -> Floats:
    """Values of an explanation ``(pair, band with coefficients)``; 0 where it has none."""
    chosen = {"pair": sets.data["pair"], "band": sets.data["band"], "side": side}
    chosen["model"] = sets.model.name
    labels = {axis: label for axis, label in chosen.items() if axis in explanation.indexes}
    values = explanation.sel(labels).transpose("pair", "band").to_numpy().astype(float)
    values = values[:, sets.held]
    if np.isnan(values[sets.usable]).all(axis=1).any():
        raise ParameterError(f"explanations: {name!r} has no value in any band of some pairs")
    return np.nan_to_num(values)


def orders_of(
    sets: PairSets,
    side: str,
    match: npt.NDArray[np.bool_],
    explanations: Mapping[str, xr.DataArray],
    n_random: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Order the bands with coefficients of each pair, in every order.

    Parameters
    ----------
    sets
        The pairs of one model.
    side
        The masked image.
    match
        Whether a match is explained ``(pair,)``.
    explanations
        Further explanations by name.
    n_random, seed
        Number and seed of the random orders.

    Returns
    -------
    numpy.ndarray
        ``(pair, order, band)``: of influence, of amplitude, from low and from high frequencies,
        at random, and of the explanations.
    """
    bands = np.flatnonzero(sets.held)
    data = sets.data.sel(side=side).transpose("pair", "band", ...)
    influence = data["influence"].to_numpy()[:, bands]
    amplitude = data["removed_rms"].to_numpy()[:, bands]
    if np.isnan(influence[sets.usable]).any():
        raise ParameterError(
            "result has no influence in some bands, so they have no order; compute it without "
            "refine="
        )
    n_pairs = len(influence)
    fixed = np.broadcast_to(np.stack([bands, bands[::-1]]), (n_pairs, 2, len(bands)))
    ends = [data[end].to_numpy().tolist() for end in ("probe", "reference")]
    by_values = [
        order_by(_values_of(name, one, sets, side), match, bands)[:, None]
        for name, one in explanations.items()
    ]
    return np.concatenate(
        [
            order_by(influence, match, bands)[:, None],
            order_by(amplitude, np.ones(n_pairs, bool), bands)[:, None],
            fixed,
            random_orders_of_pairs(ends[0], ends[1], bands, n_random, seed),
            *by_values,
        ],
        axis=1,
    )

"""Deletion and insertion at the level of decisions: test of the order of influence.

Huber & Damer (2025) validate with insertion and deletion; the protocol here is ours. The decision
threshold is fixed on untouched comparisons. Bands are removed one after the other (deletion), or
restored one after the other to the image without any band (insertion). By truth, genuine pairs
begin with the band that contributes most to a match, impostor pairs with the band that contributes
most to a non-match. Errors are counted at each step: false non-matches of genuine pairs, false
matches of impostor pairs. By decision, the outcome that is explained is that of the model, right or
wrong, and changes of the decision are counted. Baselines are the order of amplitude, from low and
from high frequencies, and random orders, drawn for each pair. An explanation that does not
outperform the baselines carries no information beyond them. Other explanations, and the best order
that a search finds, show how good an order could be.

The symmetric relevance gain is the area of deletion with the least influential band first, less
that with the most influential band first (Blücher, Vielhaben & Strodthoff 2024, *Decoupling pixel
flipping and occlusion strategy for consistent XAI benchmarks*). The images of the reversed order
are those of insertion, so it takes no further forward pass. Its expectation is zero for a random
order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import named, names_of
from freqlab.edits.pair_sets import PairSets
from freqlab.errors import check_name, check_number
from freqlab.faithfulness.games import area_under, ranks_of
from freqlab.faithfulness.ordering import (
    beam_search,
    check_explanations,
    explained,
    orders_of,
)
from freqlab.literals import OrderedBy
from freqlab.models.spec import Model
from freqlab.results.selection import threshold_of, with_axes
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    mean_with_interval,
    means_over_pairs,
    subject_codes,
    with_interval,
)
from freqlab.system.progress import one_output

__all__ = ["BASELINES", "BEST", "PROTOCOLS", "deletion_curves", "deletion_errors"]

_NAMES = {
    "similarity": ("similarity along the order", "cosine similarity"),
    "share": ("share of bands", "1"),
    "threshold": ("decision threshold", "cosine similarity"),
    "curve": ("error rate or mean similarity along the order", "1"),
    "area": ("area under the curve", "1"),
    "spread": ("standard deviation of the area of a pair over random orders", "1"),
    "advantage": ("advantage of the order of influence (area)", "1"),
    "differs": ("share of pairs whose order differs", "1"),
    "coincides": ("share of pairs with the same order", "1"),
    "relevance_gain": ("symmetric relevance gain", "1"),
    "relevance_advantage": ("advantage of the order of influence (relevance gain)", "1"),
    "reached": ("relevance gain over that of the best order known", "1"),
    "match": ("whether a match is explained", "1"),
    "accuracy": ("accuracy", "1"),
}

PROTOCOLS = ("deletion", "insertion")
BASELINES = ("random", "amplitude", "low first", "high first")
BEST = "best known"
"""Name of the best order known."""

Floats = npt.NDArray[np.float64]


@one_output()
def deletion_curves(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    by: OrderedBy = "truth",
    explanations: Mapping[str, xr.DataArray] | None = None,
    beam: int | None = None,
    fmr: float = 1e-3,
    n_random: int = 5,
    seed: int = 0,
    score: str = "cosine",
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the similarity of every pair along deletion and insertion, in every order.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops; all its sides are
        tested.
    models
        The models of the result, loaded.
    by
        Outcome that is explained: ``"truth"``, a match for genuine and a non-match for impostor
        pairs; or ``"decision"``, that of the model for the unchanged pair. Orders begin with the
        largest influence where a match is explained, else with the smallest.
    explanations
        Further explanations by name, ``(pair, band)``, or also along ``model`` and ``side``,
        positive for evidence of a match, such as the values of
        :func:`freqlab.faithfulness.shapley`; their orders are added. A band without a value counts
        as zero.
    beam
        Width of the beam search for the best order known, 1 for a greedy search; by default none is
        searched. The best order known of a pair is the one with the best area under the similarity,
        of all orders of the pair and those that are searched, separately for deletion and
        insertion.
    fmr
        False match rate at which the threshold was set.
    n_random
        Number of random orders, drawn for each pair.
    seed
        Seed of the random orders.
    score
        ``"cosine"``; the ``"dot"`` product is for tests.
    batch_size, progress
        Images per forward pass; whether progress bars are shown.

    Returns
    -------
    xarray.Dataset
        ``similarity(model, pair, side, protocol, order, step)``: nothing is removed (or restored)
        at step 0, everything at the last step; ``share(model, step)``, 0 to 1;
        ``same_order(model, pair, side, order)``, whether an order equals that of influence, and
        ``equalorders_of(model, pair, side, order, other)``, whether two orders are equal;
        ``match(model, pair)``, whether a match is explained; ``threshold(model)``.
        ``attrs["forward_passes"]`` counts the forward passes of this call. Pairs with a face that
        is not available are NaN.

    Raises
    ------
    ParameterError
        If an argument does not match the result.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces, model = fl.testing.faces(n_subjects=8, per_subject=2), fl.testing.model()
    >>> options = {"bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), models=[model], **options)
    >>> options = {"fmr": 0.1, "by": "decision", "beam": 1, "progress": False}
    >>> curves = fl.faithfulness.deletion_curves(result, [model], n_random=1, **options)
    >>> curves["order"].to_numpy().tolist()
    ['influence', 'amplitude', 'low first', 'high first', 'random 1', 'best known']
    """
    check_name("by", by, ("truth", "decision"))
    check_number("n_random", n_random, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    if beam is not None:
        check_number("beam", beam, at_least=1, whole=True)
    result = with_axes(result)
    sides = names_of(result, "side")
    given = {} if explanations is None else dict(explanations)
    orders = ["influence", *BASELINES[1:], *(f"random {i + 1}" for i in range(n_random))]
    check_explanations(given, result, [*orders, BEST])
    orders += given
    n_pairs, n_bands = result.sizes["pair"], result.sizes["band"]
    n_orders = len(orders) + (beam is not None)
    lengths = (len(models), n_pairs, len(sides), len(PROTOCOLS), n_orders, n_bands + 1)
    similarity = np.full(lengths, np.nan)
    share = np.full((len(models), n_bands + 1), np.nan)
    equal = np.zeros((len(models), n_pairs, len(sides), n_orders, n_orders), bool)
    match = np.zeros((len(models), n_pairs), bool)
    thresholds = [threshold_of(result, model=model.name, fmr=fmr) for model in models]
    passes = 0
    for m, model in enumerate(models):
        sets = PairSets(result, model, score=score, batch_size=batch_size, progress=progress)
        usable, n_steps = sets.usable, int(sets.held.sum()) + 1
        share[m, :n_steps] = np.arange(n_steps) / (n_steps - 1)
        match[m] = explained(sets, by, thresholds[m], fmr)
        for s, side in enumerate(sides):
            bands = orders_of(sets, side, match[m], given, n_random, seed)[usable]
            alike = (bands[:, :, None] == bands[:, None]).all(axis=-1)
            along = _along(sets, side, bands)
            if beam is not None:
                along, best = _with_best(sets, side, match[m], along, beam)
                alike = _with_best_alike(alike, best)
            equal[m, usable, s] = alike
            similarity[m, usable, s, :, :, :n_steps] = along
        passes += sets.sets.forward_passes
    if beam is not None:
        orders.append(BEST)
    names = [model.name for model in models]
    ends = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
    dims = ("model", "pair", "side", "protocol", "order", "step")
    curves = xr.Dataset(
        {
            "similarity": (dims, similarity, {"units": "cosine similarity"}),
            "share": (("model", "step"), share, {"units": "1"}),
            "same_order": (("model", "pair", "side", "order"), equal[..., 0, :]),
            "equal_orders": (("model", "pair", "side", "order", "other"), equal),
            "match": (("model", "pair"), match),
            "threshold": ("model", thresholds),
        },
        coords={
            "model": names,
            "side": sides,
            "protocol": list(PROTOCOLS),
            "order": orders,
            "other": orders,
            **{name: result[name] for name in ("pair", *ends)},
        },
        attrs={
            "fmr": fmr,
            "seed": seed,
            "n_random": n_random,
            "by": by,
            **({} if beam is None else {"beam": beam}),
            "forward_passes": passes,
            "store": result.attrs["store"],
        },
    )
    return named(curves, _NAMES)


def _with_best(
    sets: PairSets, side: str, match: npt.NDArray[np.bool_], along: Floats, beam: int
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Add the best order known to similarities along the orders of the usable pairs.

    Returns
    -------
    similarity : numpy.ndarray
        ``(pair, protocol, order, step)``, with the best order known as the last one.
    best : numpy.ndarray
        Position of the best order ``(pair, protocol)``; the number of orders if it was searched.
    """
    usable = np.flatnonzero(sets.usable)

    def value(pairs: npt.NDArray[np.int64], removed: npt.NDArray[np.bool_]) -> Floats:
        return sets.similarity(usable[pairs], removed, side)

    searched = [
        np.stack(
            [
                beam_search(
                    value, len(usable), sets.held, match[usable], width=width, restore=restore
                ).similarity
                for width in sorted({1, beam})
            ],
            axis=1,
        )
        for restore in (False, True)
    ]
    every = np.concatenate([along, np.stack(searched, axis=1)], axis=2)
    # a small area is best in deletion of a match and in insertion of a non-match
    sign = np.where(match[usable][:, None] == (np.array(PROTOCOLS) == "insertion"), -1, 1)
    best = np.argmin(sign[..., None] * area_under(every), axis=2)
    chosen = np.take_along_axis(every, best[..., None, None], axis=2)
    return np.concatenate([along, chosen], axis=2), np.minimum(best, along.shape[2])


def _with_best_alike(
    alike: npt.NDArray[np.bool_], best: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Add the best order known, equal to an order that is best in both protocols."""
    n_orders = alike.shape[1]
    own = (best[:, :1] == np.arange(n_orders)) & (best[:, 1:] == np.arange(n_orders))
    wider = np.zeros((len(alike), n_orders + 1, n_orders + 1), bool)
    wider[:, :-1, :-1], wider[:, -1, :-1], wider[:, :-1, -1] = alike, own, own
    wider[:, -1, -1] = True
    return wider


def _along(sets: PairSets, side: str, orders: npt.NDArray[np.int64]) -> Floats:
    """Compute similarities of the usable pairs along their orders.

    Parameters
    ----------
    sets
        The pairs of one model.
    side
        The masked image.
    orders
        From :func:`freqlab.faithfulness.ordering.orders_of`, of the usable pairs.

    Returns
    -------
    numpy.ndarray
        ``(pair, protocol, order, step)``.
    """
    n_bands = len(sets.held)
    ranks = ranks_of(orders, n_bands)  # (pair, order, band)
    steps = np.arange(int(sets.held.sum()) + 1)
    deleted = ranks[:, None, :, None, :] < steps[:, None]
    removed = np.concatenate([deleted, ~deleted], axis=1) & sets.held
    pairs = np.repeat(np.flatnonzero(sets.usable), removed[0, ..., 0].size)
    similarity = sets.similarity(pairs, removed.reshape(-1, n_bands), side)
    return similarity.reshape(removed.shape[:-1])


def deletion_errors(
    curves: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Compute errors along the curves, areas, and the advantage of influence over each baseline.

    Parameters
    ----------
    curves
        From :func:`deletion_curves`, or in the same form: the first order is that of the
        explanation, the others are compared with it. Orders whose names begin with ``random``
        are averaged into one.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``model, side, protocol, comparison, order``, where ``random`` is the mean of the
        random orders, and ``measure``: ``error`` (false non-matches of genuine pairs, false
        matches of impostor pairs; for curves by decision, changes of the decision) or
        ``similarity``:

        - ``curve(..., step)``; ``accuracy(model, side, protocol, order, step)``, one minus the
          mean of both error rates;
        - ``area(..., estimate)``, and ``spread``, the standard deviation of the area of a pair over
          its random orders (root mean square over pairs);
        - ``advantage(..., baseline, estimate)``: difference of areas, pair by pair, positive where
          the order of influence is better. Random orders are drawn for each pair, so the interval
          of the advantage over ``random`` includes the draw;
        - ``differs(model, side, comparison, baseline)``: share of pairs whose order differs, and
          ``coincides(model, side, comparison, order, other)``, share of pairs in which two orders
          are the same, if the curves have ``equal_orders``;
        - ``relevance_gain(comparison, model, side, order, measure, estimate)``, the symmetric
          relevance gain, positive where an order is better than chance, and
          ``relevance_advantage(..., baseline, measure, estimate)``, that of influence minus that of
          another order: the sum of the advantages in deletion and in insertion;
        - ``reached(comparison, model, side, order, estimate)``: relevance gain by similarity over
          that of the best order known, if it is among the orders: 0 for chance, 1 for the best;
        - ``n_errors(comparison, model)``: number of pairs with a wrong decision.

        Intervals are over subjects, NaN where all pairs are of one subject.
        ``attrs["n_people"]`` is the number of subjects.

    Examples
    --------
    >>> import freqlab as fl
    >>> curves = fl.testing.deletion_curves()
    >>> errors = fl.faithfulness.deletion_errors(curves, n_draws=50)
    >>> errors["advantage"].dims
    ('comparison', 'model', 'side', 'protocol', 'baseline', 'measure', 'estimate')
    """
    check_draws(n_draws, level, seed)
    genuine, codes = curves["genuine"].to_numpy(), subject_codes(curves)
    n_people = int(codes.max()) + 1
    draws = draw_subjects(n_people, n_draws, seed)
    measures = _measures(curves)
    kinds = [
        _summarised(measures, chosen, _Resampling(codes[:, chosen], draws, level))
        for chosen in (genuine, ~genuine)
    ]
    names = names_of(curves, "order")
    orders = [names[0], "random", *(name for name in names[1:] if not name.startswith("random"))]
    axes = ("comparison", "model", "side", "protocol")
    sides = ("comparison", "model", "side")
    dims = {
        "curve": (*axes, "order", "measure", "step"),
        "area": (*axes, "order", "measure", "estimate"),
        "spread": (*axes, "measure"),
        "advantage": (*axes, "baseline", "measure", "estimate"),
        "differs": (*sides, "baseline"),
        "coincides": (*sides, "order", "other"),
        "relevance_gain": (*sides, "order", "measure", "estimate"),
        "relevance_advantage": (*sides, "baseline", "measure", "estimate"),
        "reached": (*sides, "order", "estimate"),
        "n_errors": ("comparison", "model"),
    }
    dims = {name: axes for name, axes in dims.items() if name in kinds[0]}
    errors = named(
        xr.Dataset(
            {
                **{name: (dims[name], np.stack([kind[name] for kind in kinds])) for name in dims},
                "share": curves["share"],
                "threshold": curves["threshold"],
                "n_pairs": ("comparison", [int(genuine.sum()), int((~genuine).sum())]),
            },
            coords={
                "comparison": ["genuine", "impostor"],
                "model": curves["model"],
                "side": curves["side"],
                "protocol": curves["protocol"],
                "order": orders,
                "baseline": orders[1:],
                **({"other": orders} if "coincides" in dims else {}),
                "measure": ["error", "similarity"],
                "estimate": list(ESTIMATES),
            },
            attrs={**curves.attrs, "n_draws": n_draws, "level": level, "n_people": n_people},
        ),
        _NAMES,
    )
    rates = errors["curve"].sel(measure="error", drop=True)
    errors["accuracy"] = 1 - rates.mean("comparison", skipna=False)
    return errors


@dataclass(frozen=True)
class _Measures:
    """Error and similarity (the axis ``measure``) of every pair, and the areas under them."""

    curves: Floats
    """``(model, pair, side, protocol, order, measure, step)``; random orders are averaged."""
    areas: Floats
    """``(model, pair, side, protocol, order, measure)``."""
    areas_of_random: Floats
    """``(model, pair, side, protocol, random order, measure)``."""
    differs: Floats
    """Whether a baseline differs from the order of influence, ``(model, pair, side, baseline)``."""
    coincides: Floats | None
    """Whether two orders are equal, ``(model, pair, side, order, order)``, if it is known."""
    larger: Floats
    """1 where a larger area of deletion is better, else -1, ``(model, pair, measure)``."""
    wrong: npt.NDArray[np.bool_]
    """Whether the decision on the unchanged pair is wrong ``(model, pair)``."""
    best: int | None
    """Position of the best order known, if there is one."""


@dataclass(frozen=True)
class _Resampling:
    """Bootstrap draws over the subjects of some pairs."""

    codes: npt.NDArray[np.int64]
    """Numbers of the two subjects of each pair ``(2, pair)``."""
    draws: npt.NDArray[np.int64]
    level: float


def _measures(curves: xr.Dataset) -> _Measures:
    """Compute errors and similarities along the orders, with random orders averaged."""
    axes = ("model", "pair", "side", "protocol", "order", "step")
    similarity = curves["similarity"].transpose(*axes).to_numpy()
    threshold = curves["threshold"].to_numpy().reshape(-1, 1, 1, 1, 1, 1)
    known = np.isfinite(similarity) & np.isfinite(threshold)
    match = _match_of(curves)
    matched = similarity >= threshold
    error = np.where(known, matched != match[:, :, None, None, None, None], np.nan)
    names = names_of(curves, "order")
    first = (0, 0, 0, 0)  # side, protocol, order, step: nothing is removed
    whole = (slice(None), slice(None), *first)
    wrong = known[whole] & (matched[whole] != curves["genuine"].to_numpy())
    larger = np.stack([np.ones(match.shape), np.where(match, -1.0, 1.0)], axis=-1)
    random = np.array([name.startswith("random") for name in names])
    averaged = np.stack([_with_random(v, random) for v in (error, similarity)], axis=-2)
    of_random = np.stack([v[..., random, :] for v in (error, similarity)], axis=-2)
    n_steps = np.isfinite(curves["share"].to_numpy()).sum(axis=1)
    other_order = 1 - curves["same_order"].to_numpy().astype(float)
    areas, areas_of_random = (
        np.stack([area_under(values[m][..., :n]) for m, n in enumerate(n_steps)])
        for values in (averaged, of_random)
    )
    differs = _with_random(other_order[..., None], random)[..., 1:, 0]
    coincides = None
    if "equal_orders" in curves:
        equal = curves["equal_orders"].sel(other=curves["order"].to_numpy())
        equal = equal.transpose("model", "pair", "side", "order", "other")
        coincides = equal.to_numpy().astype(float)
        coincides = _with_random(coincides, random)
        coincides = np.swapaxes(_with_random(np.swapaxes(coincides, -1, -2), random), -1, -2)
    kept = [names[0], "random", *(name for name in names[1:] if not name.startswith("random"))]
    best = kept.index(BEST) if BEST in kept else None
    return _Measures(averaged, areas, areas_of_random, differs, coincides, larger, wrong, best)


def _match_of(curves: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Whether a match is explained ``(model, pair)``; by default, where pairs are genuine."""
    if "match" in curves:
        return np.asarray(curves["match"].transpose("model", "pair").to_numpy(), bool)
    genuine = curves["genuine"].to_numpy()
    return np.broadcast_to(genuine, (curves.sizes["model"], len(genuine)))


def _summarised(
    measures: _Measures, chosen: npt.NDArray[np.bool_], resampling: _Resampling
) -> dict[str, Floats]:
    """Compute means, intervals and advantages over the genuine or the impostor pairs.

    Parameters
    ----------
    measures
        Of all pairs.
    chosen
        Whether a pair is of this kind.
    resampling
        Draws over the subjects of these pairs.
    """
    areas = measures.areas[:, chosen]  # (model, pair, side, protocol, order, measure)
    larger = measures.larger[:, chosen][:, :, None, None, None]
    better = larger * np.array([1.0, -1.0])[:, None, None]  # deletion, insertion
    gains = better * (areas[..., :1, :] - areas[..., 1:, :])
    relevance = larger[:, :, :, 0] * (areas[..., 0, :, :] - areas[..., 1, :, :])

    def mean(values: Floats) -> Floats:
        return mean_with_interval(
            np.moveaxis(values, 1, 0), resampling.codes, resampling.draws, resampling.level
        )

    with np.errstate(invalid="ignore"):
        of_random = measures.areas_of_random[:, chosen]
        variance = np.full_like(of_random[..., 0, :], np.nan)
        if of_random.shape[-2] > 1:
            variance = of_random.var(axis=-2, ddof=1)
        summarised = {
            "curve": _mean(measures.curves[:, chosen], axis=1),
            "area": mean(areas),
            "advantage": mean(gains),
            "spread": np.sqrt(_mean(variance, axis=1)),
            "differs": _mean(measures.differs[:, chosen], axis=1),
            "relevance_gain": mean(relevance),
            "relevance_advantage": mean(relevance[..., :1, :] - relevance[..., 1:, :]),
            "n_errors": measures.wrong[:, chosen].sum(axis=1),
        }
    if measures.coincides is not None:
        summarised["coincides"] = _mean(measures.coincides[:, chosen], axis=1)
    if measures.best is not None:
        by_similarity = np.moveaxis(relevance[..., 1], 1, 0)
        summarised["reached"] = _ratio(by_similarity, measures.best, resampling)
    return summarised


def _ratio(gains: Floats, best: int, resampling: _Resampling) -> Floats:
    """Ratio of mean gains ``(pair, ..., order)`` to that of one order, with intervals."""
    codes, draws, level = resampling.codes, resampling.draws, resampling.level
    ratios = []
    for linear in (False, True):
        means = means_over_pairs(gains, codes, draws, linear=linear)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios.append(means / means[..., best : best + 1])
    if not gains.size or (codes[0] == codes[1]).all():
        return with_interval(ratios[0][0], ratios[0][1:], level)
    return with_interval(
        ratios[0][0], ratios[0][1:], level, linear=ratios[1][1:], n_people=len(np.unique(codes))
    )


def _with_random(values: Floats, random: npt.NDArray[np.bool_]) -> Floats:
    """Replace the random orders (second-last axis) by their mean, placed after the first order."""
    mean = values[..., random, :].mean(axis=-2, keepdims=True)
    rest = values[..., ~random, :]
    return np.concatenate([rest[..., :1, :], mean, rest[..., 1:, :]], axis=-2)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean over values that are not NaN; NaN if all are."""
    n = np.isfinite(values).sum(axis=axis)
    return np.asarray(np.where(n > 0, np.nansum(values, axis=axis) / np.maximum(n, 1), np.nan))

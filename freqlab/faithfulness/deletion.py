"""Deletion and insertion at the level of decisions: test of the order of influence.

Huber & Damer (2025) validate with insertion and deletion; the protocol here is ours. The decision
threshold is fixed on untouched comparisons. Bands are removed one after the other (deletion), or
restored one after the other to the image without any band (insertion). Genuine pairs begin with
the band that contributes most to a match, impostor pairs with the band that contributes most to a
non-match. Errors are counted at each step: false non-matches of genuine pairs, false matches of
impostor pairs. Baselines are the order of amplitude, from low and from high frequencies, and random
orders. An explanation that does not outperform the baselines carries no information beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import named, names_of
from freqlab.edits.pair_sets import PairSets
from freqlab.errors import ParameterError, check_number
from freqlab.faithfulness.games import area_under, random_orders, ranks_of
from freqlab.models.spec import Model
from freqlab.results.selection import threshold_of, with_axes
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    mean_with_interval,
    subject_codes,
)
from freqlab.system.progress import one_output

__all__ = ["BASELINES", "PROTOCOLS", "deletion_curves", "deletion_errors"]

_NAMES = {
    "similarity": ("similarity along the order", "cosine similarity"),
    "share": ("share of bands", "1"),
    "threshold": ("decision threshold", "cosine similarity"),
    "curve": ("error rate or mean similarity along the order", "1"),
    "area": ("area under the curve", "1"),
    "spread": ("standard deviation of the area over random orders", "1"),
    "advantage": ("advantage of the order of influence (area)", "1"),
    "differs": ("share of pairs whose order differs", "1"),
    "accuracy": ("accuracy", "1"),
}

PROTOCOLS = ("deletion", "insertion")
BASELINES = ("random", "amplitude", "low first", "high first")

Floats = npt.NDArray[np.float64]


@one_output()
def deletion_curves(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
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
    fmr
        False match rate at which the threshold was set.
    n_random
        Number of random orders, the same for all pairs.
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
        ``same_order(model, pair, side, order)``, whether an order equals that of influence;
        ``threshold(model)``. ``attrs["forward_passes"]`` counts the forward passes of this call.
        Pairs with a face that is not available are NaN.

    Raises
    ------
    ParameterError
        If an argument does not match the result.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(4, 2), models=[model], sides=["probe"])
    >>> curves = fl.faithfulness.deletion_curves(
    ...     result, [model], fmr=0.1, n_random=2, progress=False
    ... )
    >>> curves["order"].to_numpy().tolist()
    ['influence', 'amplitude', 'low first', 'high first', 'random 1', 'random 2']
    """
    check_number("n_random", n_random, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    result = with_axes(result)
    sides = names_of(result, "side")
    orders = ["influence", *BASELINES[1:], *(f"random {i + 1}" for i in range(n_random))]
    n_pairs, n_bands = result.sizes["pair"], result.sizes["band"]
    lengths = (len(models), n_pairs, len(sides), len(PROTOCOLS), len(orders), n_bands + 1)
    similarity = np.full(lengths, np.nan)
    share = np.full((len(models), n_bands + 1), np.nan)
    same = np.zeros((len(models), n_pairs, len(sides), len(orders)), bool)
    passes = 0
    for m, model in enumerate(models):
        sets = PairSets(result, model, score=score, batch_size=batch_size, progress=progress)
        n_steps = int(sets.held.sum()) + 1
        share[m, :n_steps] = np.arange(n_steps) / (n_steps - 1)
        for s, side in enumerate(sides):
            bands = _orders(sets, side, n_random, seed)[sets.usable]
            same[m, sets.usable, s] = (bands == bands[:, :1]).all(axis=-1)
            similarity[m, sets.usable, s, :, :, :n_steps] = _along(sets, side, bands)
        passes += sets.sets.forward_passes
    names = [model.name for model in models]
    ends = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
    dims = ("model", "pair", "side", "protocol", "order", "step")
    curves = xr.Dataset(
        {
            "similarity": (dims, similarity, {"units": "cosine similarity"}),
            "share": (("model", "step"), share, {"units": "1"}),
            "same_order": (("model", "pair", "side", "order"), same),
            "threshold": ("model", [threshold_of(result, model=n, fmr=fmr) for n in names]),
        },
        coords={
            "model": names,
            "side": sides,
            "protocol": list(PROTOCOLS),
            "order": orders,
            **{name: result[name] for name in ("pair", *ends)},
        },
        attrs={
            "fmr": fmr,
            "seed": seed,
            "n_random": n_random,
            "forward_passes": passes,
            "store": result.attrs["store"],
        },
    )
    return named(curves, _NAMES)


def _along(sets: PairSets, side: str, orders: npt.NDArray[np.int64]) -> Floats:
    """Compute similarities of the usable pairs along their orders.

    Parameters
    ----------
    sets
        The pairs of one model.
    side
        The masked image.
    orders
        From :func:`_orders`, of the usable pairs.

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


def _orders(sets: PairSets, side: str, n_random: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the bands with coefficients in every order, ``(pair, order, band)``."""
    bands = np.flatnonzero(sets.held)
    data = sets.data.sel(side=side).transpose("pair", "band", ...)
    sign = np.where(sets.data["genuine"].to_numpy(), -1, 1)[:, None]
    influence = data["influence"].to_numpy()[:, bands]
    amplitude = data["removed_rms"].to_numpy()[:, bands]
    if np.isnan(influence[sets.usable]).any():
        raise ParameterError(
            "result has no influence in some bands, so they have no order; compute it without "
            "refine="
        )
    of_pairs = [np.argsort(v, axis=1, kind="stable") for v in (sign * influence, -amplitude)]
    low = np.arange(len(bands))
    # every second order is the reverse of the one before it
    chance = random_orders(sets.held, 2 * n_random, seed)[::2]
    fixed = np.stack([bands[low], bands[low[::-1]], *chance])
    return np.concatenate(
        [
            np.stack([bands[order] for order in of_pairs], axis=1),
            np.broadcast_to(fixed, (len(influence), *fixed.shape)),
        ],
        axis=1,
    )


def deletion_errors(
    curves: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Compute errors along the curves, areas, and the advantage of influence over each baseline.

    Parameters
    ----------
    curves
        From :func:`deletion_curves`, or in the same form: the first order is that of the
        explanation, the others are baselines. Baselines whose names begin with ``random`` are
        averaged into one.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``model, side, protocol, comparison, order``, where ``random`` is the mean of the
        random orders, and ``measure``: ``error`` (false non-matches of genuine pairs, false
        matches of impostor pairs) or ``similarity``:

        - ``curve(..., step)``; ``accuracy(model, side, protocol, order, step)``, one minus the
          mean of both error rates;
        - ``area(..., estimate)``, and ``spread``, the standard deviation over random orders;
        - ``advantage(..., baseline, estimate)``: difference of areas, pair by pair, positive where
          the order of influence is better;
        - ``differs(model, side, comparison, baseline)``: share of pairs whose order differs.

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
        _summarised(measures, chosen, kind, _Resampling(codes[:, chosen], draws, level))
        for kind, chosen in enumerate((genuine, ~genuine))
    ]
    names = names_of(curves, "order")
    orders = [names[0], "random", *(name for name in names[1:] if not name.startswith("random"))]
    axes = ("comparison", "model", "side", "protocol")
    dims = {
        "curve": (*axes, "order", "measure", "step"),
        "area": (*axes, "order", "measure", "estimate"),
        "spread": (*axes, "measure"),
        "advantage": (*axes, "baseline", "measure", "estimate"),
        "differs": ("comparison", "model", "side", "baseline"),
    }
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
    genuine = curves["genuine"].to_numpy()[:, None, None, None, None]
    error = np.where(known, (similarity >= threshold) != genuine, np.nan)
    random = np.array([name.startswith("random") for name in names_of(curves, "order")])
    averaged = np.stack([_with_random(v, random) for v in (error, similarity)], axis=-2)
    of_random = np.stack([v[..., random, :] for v in (error, similarity)], axis=-2)
    n_steps = np.isfinite(curves["share"].to_numpy()).sum(axis=1)
    other_order = 1 - curves["same_order"].to_numpy().astype(float)
    areas, areas_of_random = (
        np.stack([area_under(values[m][..., :n]) for m, n in enumerate(n_steps)])
        for values in (averaged, of_random)
    )
    differs = _with_random(other_order[..., None], random)[..., 1:, 0]
    return _Measures(averaged, areas, areas_of_random, differs)


def _summarised(
    measures: _Measures, chosen: npt.NDArray[np.bool_], kind: int, resampling: _Resampling
) -> dict[str, Floats]:
    """Compute means, intervals and advantages over the genuine or the impostor pairs.

    Parameters
    ----------
    measures
        Of all pairs.
    chosen
        Whether a pair is of this kind.
    kind
        0 for genuine pairs, 1 for impostor pairs.
    resampling
        Draws over the subjects of these pairs.
    """
    sign = np.ones((2, 2, 2))  # protocol, comparison, measure: +1 where a larger area is better
    sign[1] *= -1
    sign[:, 0, 1] *= -1
    areas = measures.areas[:, chosen]
    gains = sign[:, kind, None, :] * (areas[..., :1, :] - areas[..., 1:, :])
    codes, draws, level = resampling.codes, resampling.draws, resampling.level
    with np.errstate(invalid="ignore"):
        of_random = _mean(measures.areas_of_random[:, chosen], axis=1)
        several = of_random.shape[-2] > 1
        return {
            "curve": _mean(measures.curves[:, chosen], axis=1),
            "area": mean_with_interval(np.moveaxis(areas, 1, 0), codes, draws, level),
            "advantage": mean_with_interval(np.moveaxis(gains, 1, 0), codes, draws, level),
            "spread": of_random.std(-2, ddof=1)
            if several
            else np.full_like(of_random[..., 0, :], np.nan),
            "differs": _mean(measures.differs[:, chosen], axis=1),
        }


def _with_random(values: Floats, random: npt.NDArray[np.bool_]) -> Floats:
    """Replace the random orders (second-last axis) by their mean, placed after the first order."""
    mean = values[..., random, :].mean(axis=-2, keepdims=True)
    rest = values[..., ~random, :]
    return np.concatenate([rest[..., :1, :], mean, rest[..., 1:, :]], axis=-2)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean over values that are not NaN; NaN if all are."""
    n = np.isfinite(values).sum(axis=axis)
    return np.asarray(np.where(n > 0, np.nansum(values, axis=axis) / np.maximum(n, 1), np.nan))

"""Deletion and insertion at the level of decisions: test of the order of influence.

Huber & Damer (2025) validate with insertion and deletion; the protocol here is ours. The decision
threshold is fixed on untouched comparisons. Bands are removed one after the other (deletion), or
restored one after the other to the image without any band (insertion). Genuine pairs begin with
the band that contributes most to a match, impostor pairs with the band that counts most against
it. Errors are counted at each step: false non-matches of genuine pairs, false matches of impostor
pairs. Baselines are the order of amplitude, from low and from high frequencies, and random orders:
an explanation that does not beat these adds nothing to them.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        Images per forward pass; whether bars are written to standard error.

    Returns
    -------
    xarray.Dataset
        ``similarity(model, pair, side, protocol, order, step)``, step 0 with nothing removed (or
        nothing restored), the last with everything; ``share(model, step)``, 0 to 1;
        ``same_order(model, pair, side, order)``, whether an order equals that of influence;
        ``threshold(model)``. ``attrs["forward_passes"]`` counts the forward passes of this call.
        Pairs with a face that is not available are NaN.

    Raises
    ------
    ParameterError
        If an argument does not match the result.
    """
    check_number("n_random", n_random, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    result = with_axes(result)
    sides = names_of(result, "side")
    names = ["influence", *BASELINES[1:], *(f"random {i + 1}" for i in range(n_random))]
    n_pairs, n_bands = result.sizes["pair"], result.sizes["band"]
    dims = ("model", "pair", "side", "protocol", "order", "step")
    lengths = (len(models), n_pairs, len(sides), len(PROTOCOLS), len(names), n_bands + 1)
    similarity = np.full(lengths, np.nan)
    share = np.full((len(models), n_bands + 1), np.nan)
    same = np.zeros((len(models), n_pairs, len(sides), len(names)), bool)
    passes = 0
    for m, model in enumerate(models):
        sets = PairSets(result, model, score=score, batch_size=batch_size, progress=progress)
        n_held = int(sets.held.sum())
        steps = np.arange(n_held + 1)
        share[m, : n_held + 1] = steps / n_held
        usable = np.flatnonzero(sets.usable)
        for s, side in enumerate(sides):
            orders = _orders(sets, side, n_random, seed)[usable]
            same[m, usable, s] = (orders == orders[:, :1]).all(axis=-1)
            ranks = ranks_of(orders, n_bands)  # (pair, order, band)
            gone = ranks[:, None, :, None, :] < steps[:, None]
            removed = np.concatenate([gone, ~gone], axis=1) & sets.held
            jobs = np.repeat(usable, removed[0, ..., 0].size)
            found = sets.similarity(jobs, removed.reshape(-1, n_bands), side)
            similarity[m, usable, s, :, :, : n_held + 1] = found.reshape(removed.shape[:-1])
        passes += sets.sets.forward_passes
    ends = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
    loaded = [model.name for model in models]
    return named(
        xr.Dataset(
            {
                "similarity": (dims, similarity, {"units": "cosine similarity"}),
                "share": (("model", "step"), share, {"units": "1"}),
                "same_order": (("model", "pair", "side", "order"), same),
                "threshold": ("model", [threshold_of(result, model=n, fmr=fmr) for n in loaded]),
            },
            coords={
                "model": loaded,
                "side": sides,
                "protocol": list(PROTOCOLS),
                "order": names,
                **{name: result[name] for name in ("pair", *ends)},
            },
            attrs={
                "fmr": fmr,
                "seed": seed,
                "n_random": n_random,
                "forward_passes": passes,
                "store": result.attrs["store"],
            },
        ),
        _NAMES,
    )


def _orders(sets: PairSets, side: str, n_random: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the bands in every order, ``(pair, order, held band)``."""
    bands = np.flatnonzero(sets.held)
    data = sets.data.sel(side=side).transpose("pair", "band", ...)
    sign = np.where(sets.data["genuine"].to_numpy(), -1, 1)[:, None]
    influence = data["influence"].to_numpy()[:, bands]
    amplitude = data["removed_rms"].to_numpy()[:, bands]
    if np.isnan(influence[sets.usable]).any():
        raise ParameterError(
            "influence is not known in all bands, so they have no order; compute it without refine="
        )
    of_pairs = [np.argsort(v, axis=1, kind="stable") for v in (sign * influence, -amplitude)]
    low = np.arange(len(bands))
    chance = random_orders(sets.held, 2 * n_random, seed)[::2]  # the others are reversals of these
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
        explanation, the others are baselines. Baselines whose names begin with ``random`` count
        as one.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``model, side, protocol, comparison, order``, where ``random`` is the mean of the
        random orders, and ``measure``: ``error`` (false non-matches of genuine pairs, false
        matches of impostor pairs) or ``similarity``:

        - ``curve(..., step)``; ``accuracy(model, side, protocol, order, step)``, the mean of both
          kinds;
        - ``area(..., estimate)``, and ``spread``, the standard deviation over random orders;
        - ``advantage(..., baseline, estimate)``: difference of areas, pair by pair, positive where
          the order of influence is better;
        - ``differs(model, side, comparison, baseline)``: share of pairs whose order differs.

        Intervals are over subjects, NaN where all pairs are of one subject.
    """
    check_draws(n_draws, level, seed)
    genuine = curves["genuine"].to_numpy()
    codes = subject_codes(curves)
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    values = curves["similarity"].transpose("model", "pair", "side", "protocol", "order", "step")
    similarity = values.to_numpy()
    threshold = curves["threshold"].to_numpy().reshape(-1, 1, 1, 1, 1, 1)
    known = np.isfinite(similarity) & np.isfinite(threshold)
    wrong = (similarity >= threshold) != genuine[:, None, None, None, None]
    error = np.where(known, wrong, np.nan)
    every = names_of(curves, "order")
    chance = np.array([name.startswith("random") for name in every])
    fixed = [name for name, yes in zip(every[1:], chance[1:], strict=True) if not yes]
    orders = [every[0], "random", *fixed]
    measures = [_with_random(v, chance) for v in (error, similarity)]
    stacked = np.stack(measures, axis=-2)  # (model, pair, side, protocol, order, measure, step)
    areas = np.stack(
        [
            area_under(stacked[m][..., : int(np.isfinite(share).sum())])
            for m, share in enumerate(curves["share"].to_numpy())
        ]
    )
    random = [
        np.stack(
            [
                area_under(v[m][..., chance, : int(np.isfinite(share).sum())])
                for m, share in enumerate(curves["share"].to_numpy())
            ]
        )
        for v in (error, similarity)
    ]
    sign = np.ones((2, 2, 2))  # protocol, comparison, measure: +1 where a larger area is better
    sign[1] *= -1
    sign[:, 0, 1] *= -1
    found: dict[str, list[Floats]] = {"curve": [], "area": [], "advantage": [], "spread": []}
    differs = []
    with np.errstate(invalid="ignore"):
        for c, chosen in enumerate((genuine, ~genuine)):
            of_kind = codes[:, chosen]
            better = sign[:, c, None, :]
            part = areas[:, chosen]
            gain = better * (part[..., :1, :] - part[..., 1:, :])
            found["curve"].append(_mean(stacked[:, chosen], axis=1))
            found["area"].append(mean_with_interval(np.moveaxis(part, 1, 0), of_kind, draws, level))
            found["advantage"].append(
                mean_with_interval(np.moveaxis(gain, 1, 0), of_kind, draws, level)
            )
            of_seeds = np.stack([_mean(r[:, chosen], axis=1) for r in random], axis=-1)
            one = of_seeds.shape[-2] < 2
            found["spread"].append(
                np.full((*of_seeds.shape[:3], 2), np.nan) if one else of_seeds.std(-2, ddof=1)
            )
            other = 1 - curves["same_order"].to_numpy()[:, chosen].astype(float)
            other = _with_random(other[..., None], chance)[..., 1:, 0]
            differs.append(_mean(other, axis=1))
    axes = ("comparison", "model", "side", "protocol")
    errors = named(
        xr.Dataset(
            {
                "curve": ((*axes, "order", "measure", "step"), np.stack(found["curve"])),
                "area": ((*axes, "order", "measure", "estimate"), np.stack(found["area"])),
                "spread": ((*axes, "measure"), np.stack(found["spread"])),
                "advantage": (
                    (*axes, "baseline", "measure", "estimate"),
                    np.stack(found["advantage"]),
                ),
                "differs": (("comparison", "model", "side", "baseline"), np.stack(differs)),
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
            attrs={**curves.attrs, "n_draws": n_draws, "level": level},
        ),
        _NAMES,
    )
    rates = errors["curve"].sel(measure="error", drop=True)
    errors["accuracy"] = 1 - rates.mean("comparison", skipna=False)
    return errors


def _with_random(values: Floats, chance: npt.NDArray[np.bool_]) -> Floats:
    """Replace the random orders (second-last axis) by their mean, placed after the first order."""
    mean = values[..., chance, :].mean(axis=-2, keepdims=True)
    rest = values[..., ~chance, :]
    return np.concatenate([rest[..., :1, :], mean, rest[..., 1:, :]], axis=-2)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean over values that are not NaN; NaN if all are."""
    n = np.isfinite(values).sum(axis=axis)
    return np.asarray(np.where(n > 0, np.nansum(values, axis=axis) / np.maximum(n, 1), np.nan))

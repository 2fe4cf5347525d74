"""How well log-likelihood ratios are calibrated, with intervals over people."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.improve.likelihoods import (
    N_BINS,
    calibration_error,
    check_kinds,
    costs_of,
    min_cllr,
    probability_of,
    reliability,
)
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    means_over_pairs,
    pair_weights,
    subject_codes,
    with_interval,
)

__all__ = ["calibration_figures"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def calibration_figures(
    calibrated: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Compute how well log-likelihood ratios are calibrated, with intervals over people.

    Parameters
    ----------
    calibrated
        From :func:`freqlab.improve.calibrate`.
    n_draws, level, seed
        Bootstrap draws over people, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``calibration``: ``cllr`` with ``estimate`` (value, lower, upper), ``min_cllr``,
        ``cllr_difference`` from ``"platt"``, paired over the draws; ``calibration_error`` at the
        prior; along ``bin``, ``predicted``, ``observed(estimate)`` and ``share``, the reliability
        diagram; ``n_genuine``, ``n_impostor``, ``n_people``.

    Raises
    ------
    ParameterError
        If an argument does not fit, or a kind of pairs is missing.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> result = study["influence"].to_dataset()
    >>> calibrated = fl.improve.calibrate(result, folds=3)
    >>> figures = fl.improve.calibration_figures(calibrated, n_draws=50)
    >>> sorted(figures.data_vars)
    ['calibration_error', 'cllr', 'cllr_difference', 'min_cllr', 'n_genuine', 'n_impostor',
    'n_people', 'observed', 'predicted', 'share']
    """
    check_draws(n_draws, level, seed)
    names = names_of(calibrated, "calibration")
    ratios = calibrated["log_likelihood_ratio"].transpose("calibration", "pair").to_numpy()
    kept = np.isfinite(ratios).all(axis=0)
    genuine = calibrated["genuine"].to_numpy().astype(bool)[kept]
    check_kinds(calibrated["genuine"].to_numpy().astype(bool), kept)
    prior = float(calibrated.attrs["prior"])
    subjects = subject_codes(calibrated)[:, kept]
    draws = draw_subjects(int(subjects.max(initial=-1)) + 1, n_draws, seed)
    couples, cell = np.unique(subjects, axis=1, return_inverse=True)
    cell = cell.ravel()
    costs, curves, of_bins, errors, smallest = [], [], [], [], []
    for values in ratios[:, kept]:
        costs.append(_cost_draws(costs_of(values, genuine), genuine, subjects, draws))
        probabilities = probability_of(values, prior)
        predicted, observed, share = reliability(probabilities, genuine, prior=prior)
        curves.append(
            _observed_draws(probabilities, genuine, couples, cell, draws, prior, observed, level)
        )
        of_bins.append((predicted, share))
        errors.append(calibration_error(probabilities, genuine, prior=prior))
        smallest.append(min_cllr(values, genuine))
    cost = np.stack(costs)  # (calibration, 1 + draw)
    base = names.index("platt") if "platt" in names else 0
    change = np.stack(
        [with_interval(np.array(c[0]), c[1:, None], level).ravel() for c in cost - cost[base]]
    )
    change[base] = np.nan
    axis = ("calibration", "estimate")
    people = np.unique(subjects[:, genuine])
    data: dict[str, Any] = {
        "cllr": (
            axis,
            np.stack([with_interval(np.array(c[0]), c[1:, None], level).ravel() for c in cost]),
            {"long_name": "Cllr", "units": "bit"},
        ),
        "min_cllr": ("calibration", smallest, {"long_name": "minimum Cllr", "units": "bit"}),
        "cllr_difference": (axis, change, {"long_name": "difference in Cllr", "units": "bit"}),
        "calibration_error": (
            "calibration",
            errors,
            {"long_name": "expected calibration error", "units": "1"},
        ),
        "predicted": (
            ("calibration", "bin"),
            np.stack([one[0] for one in of_bins]),
            {"long_name": "mean probability", "units": "1"},
        ),
        "observed": (
            ("calibration", "bin", "estimate"),
            np.stack(curves),
            {"long_name": "share of genuine pairs", "units": "1"},
        ),
        "share": (
            ("calibration", "bin"),
            np.stack([one[1] for one in of_bins]),
            {"long_name": "share of pairs", "units": "1"},
        ),
        "n_genuine": ((), int(genuine.sum()), {"long_name": "genuine pairs"}),
        "n_impostor": ((), int((~genuine).sum()), {"long_name": "impostor pairs"}),
        "n_people": ((), len(people), {"long_name": "people with genuine pairs"}),
    }
    coords = {
        "calibration": np.array(names, object),
        "bin": np.arange(N_BINS),
        "estimate": list(ESTIMATES),
    }
    attrs = {**calibrated.attrs, "n_draws": n_draws, "level": level}
    return with_object_text(xr.Dataset(data, coords=coords, attrs=attrs))


def _cost_draws(
    costs: Floats,
    genuine: Bools,
    subjects: npt.NDArray[np.int64],
    draws: npt.NDArray[np.int64],
) -> Floats:
    """Cllr as observed and in each draw ``(1 + draw,)``."""
    kinds = []
    for kind in (genuine, ~genuine):
        couples, cell = np.unique(subjects[:, kind], axis=1, return_inverse=True)
        n_each = np.bincount(cell.ravel()).astype(float)
        summed = np.bincount(cell.ravel(), weights=costs[kind])
        means = means_over_pairs(np.stack([summed, n_each], axis=1), couples, draws)
        with np.errstate(invalid="ignore", divide="ignore"):
            kinds.append(means[:, 0] / means[:, 1])
    return np.asarray((kinds[0] + kinds[1]) / 2)


def _observed_draws(
    probabilities: Floats,
    genuine: Bools,
    couples: npt.NDArray[np.int64],
    cell: npt.NDArray[np.int64],
    draws: npt.NDArray[np.int64],
    prior: float,
    observed: Floats,
    level: float,
) -> Floats:
    """Share of genuine pairs in each bin with its interval ``(bin, 3)``."""
    place = np.clip((probabilities * N_BINS).astype(int), 0, N_BINS - 1)
    n_cells = couples.shape[1]
    sums = [
        np.bincount(cell[kind] * N_BINS + place[kind], minlength=n_cells * N_BINS)
        .reshape(n_cells, N_BINS)
        .astype(float)
        for kind in (genuine, ~genuine)
    ]
    drawn = np.full((len(draws), N_BINS), np.nan)
    for start in range(0, len(draws), 64):
        weights = pair_weights(couples, draws[start : start + 64].astype(float))
        own, others = (weights @ one for one in sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            own *= prior / own.sum(axis=1, keepdims=True)
            others *= (1 - prior) / others.sum(axis=1, keepdims=True)
            drawn[start : start + 64] = own / (own + others)
    return with_interval(observed, drawn, level)

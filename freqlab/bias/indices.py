"""Fairness indices: how far the error rates of groups lie apart, beside what chance alone gives.

With FMR and FNMR of each group at a threshold:

- gap: the largest minus the smallest; ratio: the largest over the smallest;
- Gini coefficient, with the correction n / (n - 1) for few groups (Howard et al. 2022);
- fairness discrepancy rate (de Freitas Pereira & Marcel 2022): 1 - (a * gap of FMR + (1 - a) * gap
  of FNMR), 1 being fair; not to be confused with the false discovery rate of the tests;
- inequity rate (Grother 2021): (ratio of FMR)^a * (ratio of FNMR)^(1 - a), 1 being fair;
- GARBE (Howard et al. 2022): a * Gini of FMR + (1 - a) * Gini of FNMR, 0 being fair;

all with a = 0.5.

Each index compares extremes over groups, so sampling error alone moves it away from its fair value,
and no bootstrap interval of it contains that value. An index is therefore compared with its
distribution under permuted labels of people, and has no interval.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse

from freqlab.statistics.error_rates import Comparisons
from freqlab.statistics.permutation import exchangeable_units, p_values, permuted_labels

__all__ = ["INDICES", "fairness_indices", "indices_by_threshold"]

_ALPHA = 0.5
INDICES = {
    "fmr_gap": "gap of FMR",
    "fmr_ratio": "ratio of FMR",
    "fmr_gini": "Gini coefficient of FMR",
    "fnmr_gap": "gap of FNMR",
    "fnmr_ratio": "ratio of FNMR",
    "fnmr_gini": "Gini coefficient of FNMR",
    "fairness_discrepancy_rate": "fairness discrepancy rate",
    "inequity_rate": "inequity rate",
    "garbe": "GARBE",
}
"""Names of the indices in words."""

_DECREASES = "fairness_discrepancy_rate"  # the index that falls as rates move apart
_PERMUTATIONS_PER_STEP = 64

Floats = npt.NDArray[np.float64]


def fairness_indices(fmr: Floats, fnmr: Floats) -> dict[str, Floats]:
    """Compute the fairness indices that are defined in the docstring of this module.

    Parameters
    ----------
    fmr, fnmr
        Rates of the groups along the last axis, 0..1.

    Returns
    -------
    dict of str to numpy.ndarray
        Values by name of the index, without the last axis. NaN where a rate is NaN. Ratios and
        indices derived from them are also NaN where the smallest rate is zero.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> indices = fl.bias.fairness_indices(np.array([0.01, 0.02]), np.array([0.03, 0.03]))
    >>> {name: round(float(value), 3) for name, value in indices.items()}
    {'fmr_gap': 0.01, 'fmr_ratio': 2.0, 'fmr_gini': 0.333, 'fnmr_gap': 0.0, 'fnmr_ratio': 1.0,
    'fnmr_gini': 0.0, 'fairness_discrepancy_rate': 0.995, 'inequity_rate': 1.414, 'garbe': 0.167}
    """
    values = _indices(fmr, fnmr)
    return {name: np.where(np.isfinite(values[name]), values[name], np.nan) for name in INDICES}


def _indices(fmr: Floats, fnmr: Floats) -> dict[str, Floats]:
    """Compute the indices; a ratio to a smallest rate of zero is infinite, that of zeros NaN."""
    indices = {}
    for name, rates in (("fmr", fmr), ("fnmr", fnmr)):
        low, high = rates.min(axis=-1), rates.max(axis=-1)
        indices[f"{name}_gap"] = high - low
        with np.errstate(invalid="ignore", divide="ignore"):
            indices[f"{name}_ratio"] = high / low
        indices[f"{name}_gini"] = _gini(rates)
    discrepancy = _ALPHA * indices["fmr_gap"] + (1 - _ALPHA) * indices["fnmr_gap"]
    indices["fairness_discrepancy_rate"] = 1 - discrepancy
    ratios = indices["fmr_ratio"] ** _ALPHA * indices["fnmr_ratio"] ** (1 - _ALPHA)
    indices["inequity_rate"] = ratios
    indices["garbe"] = _ALPHA * indices["fmr_gini"] + (1 - _ALPHA) * indices["fnmr_gini"]
    return indices


def _gini(rates: Floats) -> Floats:
    """Gini coefficient over the last axis, corrected for the number of groups, 0..1."""
    n = rates.shape[-1]
    differences = np.abs(rates[..., :, None] - rates[..., None, :]).sum(axis=(-2, -1))
    mean = rates.mean(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gini = n / (n - 1) * differences / (2 * n**2 * mean)
    return np.where(mean > 0, gini, np.where(np.isfinite(mean), 0.0, np.nan))


def indices_by_threshold(
    comparisons: Comparisons,
    thresholds: Floats,
    observed: Floats,
    groups: list[str],
    codes: npt.NDArray[np.int64],
    *,
    n_permutations: int,
    level: float,
    seed: int,
) -> xr.Dataset:
    """Compute one model's indices at each threshold, and their distribution by chance.

    Group labels are permuted over people with one label, and within people with several. The
    thresholds stay the same.

    Parameters
    ----------
    comparisons
        The comparisons.
    thresholds
        ``(fmr,)``.
    observed
        FMR and FNMR of the groups ``(2, fmr, group)``; NaN where a rate is not resolved.
    groups
        Names of the groups.
    codes
        Group of each face ``(face,)``, from 0; negative for a face without a group.
    n_permutations, level, seed
        Number of permutations, share of them below the bound, seed.

    Returns
    -------
    xarray.Dataset
        ``fairness(index, fmr)``; ``fairness_null(index, fmr, null)``, its median under permuted
        labels and the bound that a share `level` of the permutations does not exceed in the
        direction away from fair; ``fairness_p(index, fmr)``, one-sided; ``fairness_note(index,
        fmr)`` and ``groups_compared(fmr)``.
    """
    n_rates = observed.shape[1]
    values = np.full((len(INDICES), n_rates), np.nan)
    null = np.full((len(INDICES), n_rates, 2), np.nan)
    p = np.full((len(INDICES), n_rates), np.nan)
    notes = np.full((len(INDICES), n_rates), "", object)
    compared = np.full(n_rates, "", object)
    permuted: dict[bytes, Floats] = {}
    for f in range(n_rates):
        resolved = np.flatnonzero(np.isfinite(observed[:, f]).all(axis=0))
        compared[f] = ", ".join(groups[g] for g in resolved)
        if len(resolved) < 2:
            notes[:, f] = "fewer than two groups have both rates resolved"
            continue
        if resolved.tobytes() not in permuted:  # the same permutations at all these thresholds
            permuted[resolved.tobytes()] = _permuted_rates(
                comparisons, thresholds, resolved, codes, n_permutations, seed
            )
        fmr, fnmr = observed[:, f, resolved]
        of_groups = fairness_indices(fmr, fnmr)
        by_chance = _indices(*permuted[resolved.tobytes()][:, :, f])
        for i, name in enumerate(INDICES):
            values[i, f] = of_groups[name]
            notes[i, f] = _note(name, values[i, f], fmr, fnmr)
            if len(resolved) < len(groups) and not notes[i, f]:
                notes[i, f] = f"of {compared[f]} only"
            null[i, f], p[i, f] = _chance(name, values[i, f], by_chance[name], level)
    return xr.Dataset(
        {
            "fairness": (("index", "fmr"), values),
            "fairness_null": (("index", "fmr", "null"), null),
            "fairness_p": (("index", "fmr"), p),
            "fairness_note": (("index", "fmr"), notes),
            "groups_compared": ("fmr", compared),
        },
        coords={
            "index": list(INDICES),
            "index_name": ("index", list(INDICES.values())),
            "null": ["median", "bound"],
        },
    )


def _note(name: str, value: float, fmr: Floats, fnmr: Floats) -> str:
    """Reason why an index is not defined, or says little; empty if there is none."""
    if np.isnan(value):
        return "not defined: the rate of a group is zero"
    used = {"fmr": {"FMR": fmr}, "fnmr": {"FNMR": fnmr}}.get(
        name.split("_")[0], {"FMR": fmr, "FNMR": fnmr}
    )
    without_errors = [rate for rate, of_groups in used.items() if not of_groups.any()]
    return f"{' and '.join(without_errors)} is zero in every group" if without_errors else ""


def _chance(name: str, value: float, by_chance: Floats, level: float) -> tuple[Floats, float]:
    """Median and bound of an index under permuted labels, and its one-sided p-value."""
    known = by_chance[~np.isnan(by_chance)]
    if np.isnan(value) or len(known) == 0:
        return np.full(2, np.nan), np.nan
    away = level if name != _DECREASES else 1 - level
    null = np.quantile(known, [0.5, away], method="inverted_cdf")
    if name == _DECREASES:
        value, known = 1 - value, 1 - known
    p = p_values(np.array([value]), known[:, None])
    return null, float(p[0])


def _permuted_rates(
    comparisons: Comparisons,
    thresholds: Floats,
    chosen: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
    n_permutations: int,
    seed: int,
) -> Floats:
    """FMR and FNMR of chosen groups under permuted labels ``(2, permutation, fmr, group)``."""
    faces = np.flatnonzero(np.isin(codes, chosen))
    subjects = comparisons.subjects[faces]
    labels = np.searchsorted(chosen, codes[faces])
    order = permuted_labels(labels, subjects, n_permutations, seed)
    unit, first = exchangeable_units(order.labels, subjects)
    unit_of_face = np.full(len(codes), -1)
    unit_of_face[faces] = unit
    units = unit_of_face[np.stack([comparisons.reference, comparisons.probe])]
    inside = (units >= 0).all(axis=0)
    genuine, scores = comparisons.genuine, comparisons.scores.astype(float)
    rates = np.empty((2, n_permutations, len(thresholds), len(chosen)))
    for k, kind in enumerate((inside & ~genuine, inside & genuine)):
        total = _counts(units[:, kind], len(first))
        wrong = [
            (scores[kind] < edge) if k else (scores[kind] >= edge) for edge in thresholds
        ]  # no comparison is wrong at a threshold that is NaN
        errors = [_counts(units[:, kind][:, some], len(first)) for some in wrong]
        for start in range(0, n_permutations, _PERMUTATIONS_PER_STEP):
            step = slice(start, start + _PERMUTATIONS_PER_STEP)
            of_unit = order.labels[step][:, first].T
            for g in range(len(chosen)):
                member = (of_unit == g).astype(float)
                n = ((total @ member) * member).sum(axis=0)
                for f, of_errors in enumerate(errors):
                    n_wrong = ((of_errors @ member) * member).sum(axis=0)
                    with np.errstate(invalid="ignore", divide="ignore"):
                        rates[k, step, f, g] = n_wrong / n
    return rates


def _counts(units: npt.NDArray[np.int64], n: int) -> sparse.csr_array:
    """Number of comparisons of each two units ``(unit, unit)``."""
    return sparse.coo_array((np.ones(units.shape[1]), tuple(units)), shape=(n, n)).tocsr()

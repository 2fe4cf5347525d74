"""Quantities of pairs, their means over groups of pairs, and intervals over people.

Every study that averages influence does the same: quantities of each pair, means over groups, the
same means in each bootstrap draw of people, a function of these means, and the percentiles of that
function over the draws. Here it stands once; the function of the means is the study's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.errors import check_number
from freqlab.results.selection import with_axes
from freqlab.statistics.resampling import (
    ESTIMATES,
    draw_subjects,
    means_over_pairs,
    subject_codes,
    with_interval,
)

__all__ = [
    "MIN_REMOVED_RMS",
    "QUANTITIES",
    "comparisons_of",
    "influence_per_contrast",
    "means_by",
    "quantity",
    "with_differences",
    "with_intervals",
]

MIN_REMOVED_RMS = 0.5
"""Grey levels a removal must take for influence over contrast to mean anything (our choice)."""

_COSINE = "cosine similarity"

QUANTITIES = {
    "directed": ("directed influence", _COSINE),
    "absolute": ("absolute influence", _COSINE),
    "per_contrast": ("influence per contrast removed", f"{_COSINE} per grey level"),
    "energy": ("energy of the masked side", "squared grey levels"),
    "log_energy": ("log energy", "log10 of squared grey levels"),
}
"""Quantities of a pair, a side and a band: what they are called, and their unit."""

_TINY_ENERGY = 1e-9  # squared grey levels, added before a logarithm is taken
_AXES = ("model", "side", "band")

Floats = npt.NDArray[np.float64]


def influence_per_contrast(result: xr.Dataset) -> xr.DataArray:
    """Directed influence over the RMS contrast that the removal took from the masked side.

    The energy-aware view: raw influence is partly just band energy. NaN where less than
    :data:`MIN_REMOVED_RMS` grey levels were removed.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.

    Returns
    -------
    xarray.DataArray
        ``(model, pair, side, band)``, cosine similarity per grey level.
    """
    enough = result["removed_rms"] >= MIN_REMOVED_RMS
    ratio = result["influence"] / result["removed_rms"].where(enough)
    long_name, units = QUANTITIES["per_contrast"]
    return ratio.rename("influence_per_contrast").assign_attrs(long_name=long_name, units=units)


def quantity(result: xr.Dataset, name: str) -> Floats:
    """A quantity of each pair, in double precision.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with all its axes.
    name
        One of :data:`QUANTITIES`, or a variable of the result.

    Returns
    -------
    numpy.ndarray
        ``(pair, model, side, band)``, without axes that the variable has not.
    """
    if name == "per_contrast":
        values = influence_per_contrast(result)
    elif name in ("energy", "log_energy"):
        values = result["removed_rms"]
    else:
        values = result["influence" if name in QUANTITIES else name]
    axes = [axis for axis in ("pair", *_AXES) if axis in values.dims]
    array: Floats = values.transpose(*axes).to_numpy().astype(float)
    if name == "absolute":
        return np.abs(array)
    if name == "energy":
        return np.square(array)
    return np.log10(np.square(array) + _TINY_ENERGY) if name == "log_energy" else array


def comparisons_of(result: xr.Dataset) -> pd.Categorical[Any]:
    """Which pairs are genuine and which impostor: labels for :func:`means_by`."""
    return pd.Categorical.from_codes(
        (~result["genuine"].to_numpy()).astype(np.int8), pd.Index(["genuine", "impostor"])
    )


def means_by(
    result: xr.Dataset,
    labels: Mapping[str, pd.Categorical[Any]],
    *,
    quantities: Iterable[str] = ("directed", "absolute", "per_contrast"),
    people: tuple[str, str] = ("probe_subject", "reference_subject"),
    n_draws: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    r"""Means of quantities over groups of pairs, as observed and in each draw of people.

    People are drawn with replacement, the same draws for every group and quantity, so that
    functions of several groups are paired. In a draw in which person :math:`i` occurs :math:`n_i`
    times, the mean over a group is :math:`\sum_p w_p x_p / \sum_p w_p`, where a pair of one
    person weighs :math:`w_p = n_i` and a pair of two :math:`w_p = n_i n_j` (Owen 2007, *The
    pigeonhole bootstrap*).

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    labels
        By axis of the means, the group of each pair; pairs without a label enter no mean. Of
        several axes, groups are those of every combination.
    quantities
        Names of :data:`QUANTITIES`, or of variables of the result.
    people
        Columns of the pairs that name the two people whose draws a pair's weight comes from.
    n_draws, seed
        Bootstrap draws, and their seed.

    Returns
    -------
    xarray.Dataset
        Each quantity ``(draw, *labels, model, side, band)``, where ``draw`` 0 is as observed and
        the others are bootstrap draws. NaN are left out of the means; a draw is NaN where a group
        has pairs of one person only, which says nothing of others. ``n_pairs`` and ``n_subjects``
        ``(*labels, model)``, of pairs with a similarity.

    Raises
    ------
    ParameterError
        If a number is out of range, or the result has not what is asked for.
    """
    check_number("n_draws", n_draws, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    result = with_axes(result)
    codes = subject_codes(result, people)
    draws = draw_subjects(int(codes.max(initial=-1)) + 1, n_draws, seed)
    sizes = tuple(len(one.categories) for one in labels.values())
    groups = [
        np.all([one.codes == k for one, k in zip(labels.values(), place, strict=True)], axis=0)
        for place in np.ndindex(sizes)
    ]
    means = xr.Dataset(
        coords={
            **{axis: one.categories.to_numpy() for axis, one in labels.items()},
            **{name: result[name] for name in (*_AXES, "frequency", "band_bounds")},
        },
        attrs={
            **{key: result.attrs[key] for key in ("store", "identity") if key in result.attrs},
            **{"n_draws": n_draws, "seed": seed},
        },
    )
    for name in quantities:
        values = quantity(result, name)
        found = np.stack([means_over_pairs(values[g], codes[:, g], draws) for g in groups], axis=1)
        about = QUANTITIES.get(name)
        attrs = {"long_name": f"mean {about[0]}", "units": about[1]} if about else {}
        along = result["influence" if about else name].dims
        axes = ("draw", *labels, *(axis for axis in _AXES if axis in along))
        means[name] = (axes, found.reshape(len(found), *sizes, *values.shape[1:]), attrs)
    usable = result["similarity"].notnull().transpose("pair", "model").to_numpy()
    kept = [[usable[:, m] & g for m in range(usable.shape[1])] for g in groups]
    shape = (*sizes, usable.shape[1])
    n_pairs = np.array([[pairs.sum() for pairs in of_group] for of_group in kept], np.int64)
    n_subjects = [[len(np.unique(codes[:, pairs])) for pairs in of_group] for of_group in kept]
    of_each = (*labels, "model")
    means["n_pairs"] = (of_each, n_pairs.reshape(shape), {"long_name": "pairs"})
    subjects = np.array(n_subjects, np.int64).reshape(shape)
    means["n_subjects"] = (of_each, subjects, {"long_name": "subjects"})
    return means


def with_differences(means: xr.Dataset, axis: str, base: int) -> xr.Dataset:
    """Add what each mean is less that of one group, draw by draw, as ``..._difference``.

    Parameters
    ----------
    means
        From :func:`means_by`.
    axis, base
        Axis of the groups, and the place of the one that is subtracted.
    """
    found = means.copy()
    for name, values in means.data_vars.items():
        if "draw" in values.dims:
            attrs = {**values.attrs, "long_name": f"difference in {values.attrs['long_name']}"}
            apart = values - values.isel({axis: base}, drop=True)
            found[f"{name}_difference"] = apart.assign_attrs(attrs)
    return found


def with_intervals(means: xr.Dataset, level: float) -> xr.Dataset:
    """Put an axis ``estimate`` (value, lower, upper) in the place of ``draw``.

    Parameters
    ----------
    means
        From :func:`means_by`, or functions of such means, draw by draw.
    level
        Coverage of the percentile intervals, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        What has an axis ``draw`` has ``estimate`` instead, as its last; the rest as it was.
    """
    found = means.drop_dims("draw").assign_coords(estimate=np.array(ESTIMATES, object))
    for name, values in means.data_vars.items():
        if "draw" in values.dims:
            every = values.transpose("draw", ...)
            array = every.to_numpy()
            estimates = with_interval(array[0], array[1:], level)
            found[name] = ((*every.dims[1:], "estimate"), estimates, values.attrs)
    return found.assign_attrs(level=level)

"""Quantities of pairs, their means over groups of pairs, and intervals over people.

Every study that averages influence has the same steps: quantities of each pair, means over groups,
the same means in each bootstrap draw of people, a function of these means, and the percentiles of
that function over the draws. This module implements them; each study supplies its function of the
means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.results.selection import band_coordinates, with_axes
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
"""Smallest removed contrast, in grey levels, for which influence is divided by it (our choice)."""

_COSINE = "cosine similarity"

QUANTITIES = {
    "directed": ("directed influence", _COSINE),
    "absolute": ("absolute influence", _COSINE),
    "per_contrast": ("influence per contrast removed", f"{_COSINE} per grey level"),
    "energy": ("energy of the masked side", "squared grey levels"),
    "log_energy": ("log energy", "log10 of squared grey levels"),
}
"""Long name and units of each quantity of a pair, a side and a band."""

_TINY_ENERGY = 1e-9  # squared grey levels, added before a logarithm is taken
_AXES = ("model", "side", "band")

Floats = npt.NDArray[np.float64]


def influence_per_contrast(result: xr.Dataset) -> xr.DataArray:
    """Directed influence divided by the RMS contrast removed from the masked side.

    This view accounts for energy: raw influence partly reflects band energy alone. NaN where less
    than :data:`MIN_REMOVED_RMS` grey levels were removed.

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
    """Values of a quantity for each pair, in double precision.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with all its axes.
    name
        One of :data:`QUANTITIES`, or a variable of the result.

    Returns
    -------
    numpy.ndarray
        ``(pair, model, side, band)``, without the axes that the variable lacks.
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
    """Genuine or impostor label of each pair, for :func:`means_by`."""
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
    times, the mean over a group is :math:`\sum_p w_p x_p / \sum_p w_p`. The weight of a pair of
    one person is :math:`w_p = n_i`, that of a pair of two people :math:`w_p = n_i n_j` (Owen 2007,
    *The pigeonhole bootstrap*).

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    labels
        Group of each pair, by name of the axis of the means, such as ``{"glasses":
        pandas.Categorical([...])}``. Pairs without a label are excluded. With several axes, every
        combination of their categories is a group.
    quantities
        Names of quantities: ``"directed"`` and ``"absolute"`` influence, ``"per_contrast"``
        (influence per contrast removed), ``"energy"`` and ``"log_energy"`` of the masked side in
        the band; or names of variables of the result.
    people
        Columns with the names of the two people whose counts determine the weight of a pair.
    n_draws, seed
        Number of bootstrap draws, and their seed.

    Returns
    -------
    xarray.Dataset
        Each quantity ``(draw, *labels, model, side, band)``: ``draw`` 0 holds the observed means,
        the next `n_draws` those of the bootstrap draws. If there are pairs of two people, as many
        follow in which such a pair has the weight :math:`n_i + n_j - 1`; :func:`with_intervals`
        needs them (:func:`freqlab.statistics.resampling.with_interval`). NaN are excluded from the
        means. The draws are NaN for a group with pairs of a single person, from which no other
        person can be inferred.
        ``n_pairs`` and ``n_subjects`` ``(*labels, model)`` count pairs with a similarity.

    Raises
    ------
    ParameterError
        If a number is out of range, the labels do not match the pairs, or the result lacks a
        requested column or variable.

    Examples
    --------
    >>> import pandas as pd
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> kind = pd.Categorical(result["genuine"].to_numpy())
    >>> means = fl.results.means_by(result, {"genuine": kind}, n_draws=20)
    >>> differences = means["directed"] - means["directed"].isel(genuine=0)  # draw by draw
    >>> means = means.assign(difference=differences)
    >>> found = fl.results.quantities.with_intervals(means, 0.95)
    >>> found["difference"].sizes["estimate"]
    3
    """
    check_number("n_draws", n_draws, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    result = with_axes(result)
    _check_labels(result, labels)
    for column in people:
        check_name("people", column, _pair_columns(result))
    quantities = list(quantities)
    for name in quantities:
        check_name("quantities", name, [*QUANTITIES, *map(str, result.data_vars)])
    codes = subject_codes(result, people)
    n_people = int(codes.max(initial=-1)) + 1
    draws, of_two = draw_subjects(n_people, n_draws, seed), bool((codes[0] != codes[1]).any())
    sizes = tuple(len(groups.categories) for groups in labels.values())
    groups = [
        np.all([label.codes == k for label, k in zip(labels.values(), place, strict=True)], axis=0)
        for place in np.ndindex(sizes)
    ]
    means = xr.Dataset(
        coords={
            **{axis: label.categories.to_numpy() for axis, label in labels.items()},
            **{name: result[name] for name in _AXES},
            **band_coordinates(result),
        },
        attrs={
            **{key: result.attrs[key] for key in ("store", "identity") if key in result.attrs},
            **{"n_draws": n_draws, "seed": seed, "n_people_drawn": n_people},
        },
    )
    for name in quantities:
        values = quantity(result, name)
        parts = [[means_over_pairs(values[g], codes[:, g], draws) for g in groups]]
        if of_two:
            parts.append(
                [means_over_pairs(values[g], codes[:, g], draws, linear=True)[1:] for g in groups]
            )
        of_groups = np.concatenate([np.stack(part, axis=1) for part in parts])
        about = QUANTITIES.get(name)
        attrs = {"long_name": f"mean {about[0]}", "units": about[1]} if about else {}
        along = result["influence" if about else name].dims
        axes = ("draw", *labels, *(axis for axis in _AXES if axis in along))
        means[name] = (axes, of_groups.reshape(len(of_groups), *sizes, *values.shape[1:]), attrs)
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


def _check_labels(result: xr.Dataset, labels: Mapping[str, pd.Categorical[Any]]) -> None:
    """Refuse labels that are not one group, or none, for each pair."""
    if not labels:
        raise ParameterError("labels are empty; give at least one axis with the group of each pair")
    n_pairs = result.sizes["pair"]
    for axis, groups in labels.items():
        if axis in (*result.dims, "draw"):
            raise ParameterError(f"labels: the axis {axis!r} has the name of an axis of the result")
        if not isinstance(groups, pd.Categorical):
            raise ParameterError(
                f"labels[{axis!r}] is a {type(groups).__name__}; it must be a pandas.Categorical"
            )
        if len(groups) != n_pairs:
            raise ParameterError(
                f"labels[{axis!r}] has {len(groups)} labels, and the result {n_pairs} pairs"
            )


def _pair_columns(result: xr.Dataset) -> list[str]:
    return [str(name) for name, values in result.coords.items() if values.dims == ("pair",)]


def with_differences(means: xr.Dataset, axis: str, base: int) -> xr.Dataset:
    """Add the difference of each mean from that of one group, by draw, as ``..._difference``.

    Parameters
    ----------
    means
        From :func:`means_by`.
    axis, base
        Axis of the groups, and the position of the group whose mean is subtracted.
    """
    extended = means.copy()
    for name, values in means.data_vars.items():
        if "draw" in values.dims:
            attrs = {**values.attrs, "long_name": f"difference in {values.attrs['long_name']}"}
            difference = values - values.isel({axis: base}, drop=True)
            extended[f"{name}_difference"] = difference.assign_attrs(attrs)
    return extended


def with_intervals(means: xr.Dataset, level: float) -> xr.Dataset:
    """Replace the axis ``draw`` by ``estimate`` (value, lower, upper).

    Parameters
    ----------
    means
        From :func:`means_by`, or functions of its means computed for each draw.
    level
        Coverage of the intervals, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        Variables with an axis ``draw`` have ``estimate`` as last axis instead; the others are
        unchanged.
    """
    n_draws, n_people = int(means.attrs["n_draws"]), int(means.attrs["n_people_drawn"])
    estimated = means.drop_dims("draw").assign_coords(estimate=np.array(ESTIMATES, object))
    for name, values in means.data_vars.items():
        if "draw" in values.dims:
            by_draw = values.transpose("draw", ...)
            array = by_draw.to_numpy()
            drawn, linear = array[1 : n_draws + 1], array[n_draws + 1 :]
            estimates = with_interval(
                array[0], drawn, level, linear=linear if len(linear) else None, n_people=n_people
            )
            estimated[name] = ((*by_draw.dims[1:], "estimate"), estimates, values.attrs)
    return estimated.assign_attrs(level=level)

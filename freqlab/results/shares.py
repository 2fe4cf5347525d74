"""Shares of the absolute influence by band, and how they divide by orientation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.errors import ParameterError, check_name
from freqlab.literals import Comparison, Side
from freqlab.results.quantities import comparisons_of, means_by, with_intervals
from freqlab.results.selection import bands_of, part_of, with_axes
from freqlab.statistics.resampling import ESTIMATES, check_draws, excludes_zero
from freqlab.text.wording import NBSP, with_bounds

__all__ = [
    "ORIENTED",
    "describe_orientation",
    "influence_shares",
    "orientation_differs",
    "orientation_shares",
    "share_table",
]

ORIENTED = ("horizontal", "vertical", "difference")
"""Parts of :func:`orientation_shares`: two orientations, and the first less the second."""

_COMPARISONS = ("genuine", "impostor")
_OBLIQUE = 45.0  # degrees from horizontal and from vertical

_SHARES = {
    "share": ("share of the absolute influence", "absolute"),
    "energy_share": ("share of the contrast energy removed", "energy"),
}


def influence_shares(
    result: xr.Dataset,
    *,
    by: str | None = None,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Share of each band in the absolute influence of all bands, with intervals over people.

    The share of a band is its mean absolute influence over the pairs, divided by the sum of these
    means over all bands. It is a ratio of means, so a pair counts in proportion to its influence.
    Influences of bands do not add up to the similarity; a share compares the bands of one
    partition, not partitions with each other.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, or a selection of its models, pairs or sides.
    by
        Coordinate of the bands, such as ``"orientation"``, ``"scale"`` or ``"channel"``: the shares
        of bands with the same value are added. Bands without a value count in the total only.
    n_draws, level, seed
        As for :func:`freqlab.results.mean_profile`.

    Returns
    -------
    xarray.Dataset
        ``share`` and ``energy_share`` (the share in the energy of the contrast removed),
        ``(comparison, model, side, band, estimate)``, with the axis `by` in place of ``band`` if it
        is given; between 0 and 1. ``n_pairs`` and ``n_subjects`` per comparison and model. NaN
        where there is no pair, or no influence at all.

    Raises
    ------
    ParameterError
        If a number is out of range.
    UnknownNameError
        If the bands have no such coordinate.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(bands="wavelets:haar:1", sides=["probe"])
    >>> shares = fl.results.influence_shares(result, by="orientation", n_draws=20)
    >>> shares["share"].dims
    ('comparison', 'model', 'side', 'orientation', 'estimate')
    >>> total = shares["share"].sel(estimate="value", comparison="genuine").sum("orientation")
    >>> round(total.item(), 6)
    1.0
    """
    check_draws(n_draws, level, seed)
    drawn = _drawn_shares(result, n_draws, seed)
    if by is not None:
        drawn = _added(drawn, check_name("by", by, list(bands_of(drawn).coordinates)))
    return _with_intervals(drawn, level)


def _drawn_shares(result: xr.Dataset, n_draws: int, seed: int) -> xr.Dataset:
    """Shares as observed and in each draw of people, along ``draw``."""
    means = means_by(
        with_axes(result),
        {"comparison": comparisons_of(result)},
        quantities=[quantity for _, quantity in _SHARES.values()],
        n_draws=n_draws,
        seed=seed,
    )
    for name, (long_name, quantity) in _SHARES.items():
        total = means[quantity].sum("band")
        share = means[quantity] / total.where(total > 0)
        means[name] = share.assign_attrs(long_name=long_name, units="1")
    return means.drop_vars([quantity for _, quantity in _SHARES.values()])


def _added(drawn: xr.Dataset, by: str) -> xr.Dataset:
    """Shares added over bands with the same value of a coordinate, in the order of the bands."""
    labels = drawn[by].to_numpy()
    known = pd.notna(labels)
    values = list(dict.fromkeys(labels[known].tolist()))
    of_value = xr.DataArray(
        np.array([known & (labels == value) for value in values], float),
        dims=(by, "band"),
        coords={by: xr.Variable(by, np.array(values, labels.dtype), drawn[by].attrs)},
    )
    added = drawn.drop_dims("band")
    for name in _SHARES:
        share = drawn[name].reset_coords(drop=True)
        present = (of_value * share.notnull()).sum("band") > 0
        summed = (of_value * share.fillna(0)).sum("band").where(present)
        added[name] = summed.transpose(..., by)
        added[name].attrs = drawn[name].attrs
    return added


def _with_intervals(drawn: xr.Dataset, level: float) -> xr.Dataset:
    """Intervals over people; no share is below 0 or above 1."""
    shares = with_intervals(drawn, level)
    for name in _SHARES:
        shares[name] = shares[name].clip(0, 1, keep_attrs=True)
    return shares


def share_table(shares: xr.Dataset, *, model: str, side: Side = "probe") -> pd.DataFrame:
    """Shares of the absolute influence in per cent, with intervals, as a table.

    Parameters
    ----------
    shares
        From :func:`influence_shares`.
    model, side
        Model and masked side to select.

    Returns
    -------
    pandas.DataFrame
        A row for each band; a column for each kind of pairs and estimate. Kinds without a pair are
        left out.

    Raises
    ------
    UnknownNameError
        If there is no such model or side.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(bands="sectors:2", sides=["probe"])
    >>> shares = fl.results.influence_shares(result, n_draws=20)
    >>> fl.results.share_table(shares, model="linear").columns.get_level_values(0).unique().tolist()
    ['genuine', 'impostor']
    """
    part = part_of(shares, model=model, side=side)
    percent = 100 * part["share"]
    (axis,) = (str(dim) for dim in percent.dims if dim not in ("comparison", "estimate"))
    columns = {
        (comparison, estimate): percent.sel(comparison=comparison, estimate=estimate).to_series()
        for comparison in _COMPARISONS
        for estimate in ESTIMATES
        if int(part["n_pairs"].sel(comparison=comparison))
    }
    table = pd.DataFrame(columns)
    table.index.name = f"{axis}, share in %"
    return table


def orientation_shares(
    result: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Shares of horizontal and of vertical structure, and their difference.

    Horizontal structure is all bands whose orientation is less than 45 degrees from horizontal,
    vertical structure those less than 45 degrees from vertical. Bands at exactly 45 degrees, and
    bands without an orientation, belong to neither and count in the total.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with bands that have an orientation.
    n_draws, level, seed
        As for :func:`freqlab.results.mean_profile`.

    Returns
    -------
    xarray.Dataset
        ``share`` and ``energy_share`` ``(comparison, model, side, part, estimate)``; ``part`` is
        ``horizontal``, ``vertical`` or ``difference``, whose interval is that of the paired
        difference.

    Raises
    ------
    ParameterError
        If the bands have no orientation, or a number is out of range.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(bands="sectors:4", sides=["probe"])
    >>> fl.results.orientation_shares(result, n_draws=20)["part"].values.tolist()
    ['horizontal', 'vertical', 'difference']
    """
    check_draws(n_draws, level, seed)
    places = _places(result)
    drawn = _drawn_shares(result, n_draws, seed)
    oriented = drawn.drop_dims("band")
    for name in _SHARES:
        share = drawn[name].reset_coords(drop=True)
        one, other = (
            share.isel(band=np.flatnonzero(of_part)).sum("band", skipna=True, min_count=1)
            for of_part in places
        )
        both = xr.concat([one, other, one - other], dim="part").transpose(..., "part")
        oriented[name] = both.assign_attrs(drawn[name].attrs)
    return with_intervals(oriented.assign_coords(part=np.array(ORIENTED, object)), level)


def _places(result: xr.Dataset) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether each band is of horizontal, and whether it is of vertical structure."""
    bands = bands_of(result)
    orientation = bands.orientation
    if orientation is None:
        raise ParameterError(
            f"bands of kind {bands.kind!r} have no orientation; allowed: sectors, polar, wavelets, "
            f"or channels of bands with an orientation"
        )
    away = _from_horizontal(orientation)
    return away < _OBLIQUE, 90 - away < _OBLIQUE


def _from_horizontal(orientation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Angle between each orientation and horizontal in degrees, 0 to 90; NaN where there is none.

    Rounded far below any sector's width, so that 45 degrees are exact.
    """
    turned = np.asarray(orientation, float) % 180
    return np.round(np.minimum(turned, 180 - turned), 9)


def orientation_differs(
    shares: xr.Dataset, *, model: str, side: Side = "probe", comparison: Comparison = "genuine"
) -> bool:
    """Whether the interval of the difference between horizontal and vertical excludes zero.

    Parameters
    ----------
    shares
        From :func:`orientation_shares`.
    model, side, comparison
        Model, masked side and kind of pairs to select.

    Returns
    -------
    bool
        True if it does.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(bands="sectors:4", sides=["probe"])
    >>> shares = fl.results.orientation_shares(result, n_draws=20)
    >>> fl.results.orientation_differs(shares, model="linear") in (True, False)
    True
    """
    part = part_of(shares, model=model, side=side, comparison=comparison)
    return excludes_zero(part["share"].sel(part="difference"))


def describe_orientation(
    shares: xr.Dataset, *, model: str, side: Side = "probe", comparison: Comparison = "genuine"
) -> str:
    """Describe the shares of horizontal and of vertical structure in the absolute influence.

    Parameters
    ----------
    shares
        From :func:`orientation_shares`.
    model, side, comparison
        Model, masked side and kind of pairs to select.

    Returns
    -------
    str
        Such as "On 30 genuine pairs of 21 people, bands of horizontal structure carry 44 % [42, 46]
        of the absolute influence and bands of vertical structure 32 % [31, 34]: a difference of 12
        percentage points [9, 15]. They hold 56 % and 25 % of the contrast energy removed."

    Raises
    ------
    UnknownNameError
        If there is no such model, side or kind of pairs.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(bands="sectors:4", sides=["probe"])
    >>> shares = fl.results.orientation_shares(result, n_draws=20)
    >>> fl.results.describe_orientation(shares, model="linear").split(",")[0]
    'On 12 genuine pairs of 4 people'
    """
    check_name("comparison", comparison, list(_COMPARISONS))
    part = part_of(shares, model=model, side=side, comparison=comparison)
    n_pairs, n_people = int(part["n_pairs"]), int(part["n_subjects"])
    share = part["share"]
    if not np.isfinite(share.sel(estimate="value")).all():
        return f"There is no influence of {comparison} pairs to divide by orientation."
    shown = {name: 100 * share.sel(part=name) for name in ORIENTED}
    horizontal, vertical = (
        with_bounds(shown[name], ".0f", unit=f"{NBSP}%") for name in ORIENTED[:2]
    )
    held = (
        f"{100 * float(part['energy_share'].sel(part=name, estimate='value')):.0f}{NBSP}%"
        for name in ORIENTED[:2]
    )
    return (
        f"On {n_pairs:,} {comparison} pairs of {n_people:,} people, bands of horizontal structure "
        f"carry {horizontal} of the absolute influence and bands of vertical structure {vertical}: "
        f"{_difference(shown[ORIENTED[2]])}. They hold {' and '.join(held)} of the contrast energy "
        f"removed."
    )


def _difference(points: Any) -> str:
    """A difference in percentage points with its interval, and whether it includes zero."""
    text = f"{with_bounds(points, '+.0f')} percentage points"
    lower, upper = (float(points.sel(estimate=end)) for end in ESTIMATES[1:])
    if lower <= 0 <= upper:
        return f"a difference that is compatible with zero, {text}"
    return f"a difference of {text}"

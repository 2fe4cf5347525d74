"""How far maps agree with one another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import with_object_text
from freqlab.errors import ParameterError
from freqlab.saliency.joint import window_weights
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    mean_with_interval,
    subject_codes,
)
from freqlab.statistics.vectors import rank_agreement

__all__ = ["agreement", "windowed"]


def windowed(maps: xr.DataArray, grid: int) -> xr.DataArray:
    """Average maps in space over the windows of joint maps, for comparison with joint maps.

    Parameters
    ----------
    maps
        Maps ``(..., y, x)``.
    grid
        Number of windows along each axis.

    Returns
    -------
    xarray.DataArray
        ``(..., row, column)``.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> maps = study["maps/corrrise"]["map"]
    >>> fl.saliency.windowed(maps, 2).dims
    ('pair', 'row', 'column')
    """
    weights = [
        xr.DataArray(window_weights(maps.sizes[axis], grid), dims=(name, axis))
        for axis, name in (("y", "row"), ("x", "column"))
    ]
    both = weights[0] * weights[1]
    return xr.dot(maps, both, dim=["y", "x"]) / both.sum(["y", "x"])


def agreement(
    maps: Mapping[str, xr.DataArray],
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the agreement of explanations of the same pairs: mean rank correlation over units.

    Parameters
    ----------
    maps
        Two or more maps by name, along ``pair`` and the same other axes: bands, or windows of a
        face.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        ``agreement(kind, explanation, other, estimate)``: mean over pairs of Spearman's rank
        correlation, of the values (``directed``) and of their magnitudes (``absolute``).
        Attributes ``n_pairs`` and ``n_people`` hold the numbers of pairs and of their people.

    Raises
    ------
    ParameterError
        If there are fewer than two maps, or they differ in their pairs or sizes.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> kinds = ("gradient", "integrated")
    >>> maps = {kind: study[f"maps/{kind}"]["by_band"].sum("argument") for kind in kinds}
    >>> agreed = fl.saliency.agreement(maps, n_draws=50)
    >>> agreed["agreement"].dims
    ('kind', 'explanation', 'other', 'estimate')
    """
    check_draws(n_draws, level, seed)
    if len(maps) < 2:
        raise ParameterError(f"maps={list(maps)!r}: agreement needs two maps or more")
    stacked = _stacked(maps)
    codes = subject_codes(next(iter(maps.values())).to_dataset(name="map"))
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    correlations = np.stack(
        [
            rank_agreement(values[:, :, None], values[:, None])
            for values in (stacked, np.abs(stacked))
        ],
        axis=1,
    )
    computed = xr.Dataset(
        {
            "agreement": (
                ("kind", "explanation", "other", "estimate"),
                mean_with_interval(correlations, codes, draws, level),
                {"long_name": "mean rank correlation", "units": "1"},
            )
        },
        coords={
            "kind": ["directed", "absolute"],
            "explanation": list(maps),
            "other": list(maps),
            "estimate": list(ESTIMATES),
        },
        attrs={
            "n_draws": n_draws,
            "level": level,
            "n_pairs": len(stacked),
            "n_people": int(codes.max()) + 1,
        },
    )
    return with_object_text(computed)


def _stacked(maps: Mapping[str, xr.DataArray]) -> npt.NDArray[np.float64]:
    """Maps of the same pairs and units as one array ``(pair, explanation, unit)``."""
    first_name, first = next(iter(maps.items()))
    others = [dim for dim in first.dims if dim != "pair"]
    arrays = []
    for name, one in maps.items():
        if set(one.dims) != set(first.dims) or any(
            one.sizes[dim] != first.sizes[dim] for dim in first.dims
        ):
            raise ParameterError(
                f"map {name!r} has sizes {dict(one.sizes)}; map {first_name!r} has sizes "
                f"{dict(first.sizes)}"
            )
        if one["pair"].to_numpy().tolist() != first["pair"].to_numpy().tolist():
            raise ParameterError(f"map {name!r} is of other pairs than map {first_name!r}")
        values = one.transpose("pair", *others).to_numpy().astype(float)
        arrays.append(values.reshape(len(values), -1))
    return np.stack(arrays, axis=1)

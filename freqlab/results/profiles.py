"""Profiles: influence over frequency, averaged over pairs, with intervals over subjects."""

from __future__ import annotations

import numpy as np
import xarray as xr

from freqlab.errors import ParameterError, check_number
from freqlab.results.quantities import comparisons_of, means_by, with_intervals
from freqlab.results.selection import band_coordinates, select_part, with_axes
from freqlab.statistics.resampling import check_draws

__all__ = ["influence_spread", "mean_profile"]


def mean_profile(
    result: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Mean influence per band over genuine pairs and over impostor pairs, with intervals.

    Comparisons share people, so the percentile interval comes from a bootstrap over subjects:
    subjects are drawn with replacement; the weight of a genuine pair is the count of its subject,
    that of an impostor pair the product of both counts (Owen's pigeonhole bootstrap).

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, or a selection of its models, pairs or sides.
    n_draws
        Bootstrap draws.
    level
        Coverage of the interval, between 0 and 1.
    seed
        Seed of the draws.

    Returns
    -------
    xarray.Dataset
        ``directed``, ``absolute`` and ``per_contrast``, each ``(comparison, model, side, band,
        estimate)`` with ``comparison`` genuine or impostor and ``estimate`` value, lower or upper;
        ``n_pairs`` and ``n_subjects`` per comparison and model. NaN where there is no pair;
        bounds are NaN where all pairs are of one subject.

    Raises
    ------
    ParameterError
        If a number is out of range.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(fl.testing.faces(8, 3))
    >>> profile = fl.results.mean_profile(result, n_draws=50)
    >>> profile["directed"].dims
    ('comparison', 'model', 'side', 'band', 'estimate')
    """
    check_draws(n_draws, level, seed)
    result = with_axes(result)
    means = means_by(result, {"comparison": comparisons_of(result)}, n_draws=n_draws, seed=seed)
    return with_intervals(means, level)


def influence_spread(
    result: xr.Dataset,
    *,
    model: str,
    side: str = "probe",
    level: float = 0.9,
    n_most: int = 5000,
    seed: int = 0,
) -> xr.Dataset:
    """Distribution of the influence of each band over genuine pairs and over impostor pairs.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    model, side
        Model and masked side to select.
    level
        Share of the pairs between ``lower`` and ``upper``, above 0 and below 1.
    n_most
        Upper bound on the number of pairs of each kind; a sample is drawn from more.
    seed
        Seed of the sample.

    Returns
    -------
    xarray.Dataset
        ``directed`` and ``absolute``, ``(comparison, estimate, band)`` with ``estimate`` lower,
        median or upper, cosine similarity; ``n_pairs(comparison)``. NaN where there is no pair.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such part, or a number is out of range.
    """
    check_number("n_most", n_most, at_least=1, whole=True)
    check_number("level", level, above=0)
    if level >= 1:
        raise ParameterError(f"level={level!r} must be a number above 0 and below 1")
    data = select_part(result, model=model, side=side)
    genuine = data["genuine"].to_numpy()
    usable = data["similarity"].notnull().to_numpy()
    random = np.random.default_rng(seed)
    quantiles = [(1 - level) / 2, 0.5, (1 + level) / 2]
    quantiles_of = np.full((2, 2, 3, data.sizes["band"]), np.nan)
    n_pairs = []
    for c, of_kind in enumerate((genuine, ~genuine)):
        rows = np.flatnonzero(of_kind & usable)
        if len(rows) > n_most:
            rows = np.sort(random.choice(rows, n_most, replace=False))
        n_pairs.append(len(rows))
        influence = data["influence"].isel(pair=rows).transpose("pair", "band").to_numpy()
        has_values = np.isfinite(influence).any(axis=0)
        for k, values in enumerate((influence, np.abs(influence))):
            if len(rows):
                quantiles_of[k, c, :, has_values] = np.nanquantile(
                    values[:, has_values], quantiles, axis=0
                ).T
    spread = xr.Dataset(
        coords={
            "comparison": ["genuine", "impostor"],
            "estimate": ["lower", "median", "upper"],
            **band_coordinates(data),
        },
        attrs={"level": level, "seed": seed},
    )
    units = str(result["influence"].attrs["units"])
    for k, name in enumerate(("directed", "absolute")):
        attrs = {"long_name": f"{name} influence", "units": units}
        spread[name] = (("comparison", "estimate", "band"), quantiles_of[k], attrs)
    spread["n_pairs"] = ("comparison", n_pairs, {"long_name": "pairs"})
    return spread

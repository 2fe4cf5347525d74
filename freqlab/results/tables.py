"""Profiles as tables."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import check_name, check_side
from freqlab.literals import Side
from freqlab.statistics.resampling import ESTIMATES

__all__ = ["profile_table"]


def profile_table(profile: xr.Dataset, *, model: str, side: Side = "probe") -> pd.DataFrame:
    """Mean directed influence of each band with intervals, for genuine and impostor pairs.

    Parameters
    ----------
    profile
        From :func:`freqlab.results.mean_profile`.
    model, side
        Model and masked side to select.

    Returns
    -------
    pandas.DataFrame
        A row for each band. Intervals are in brackets.

    Raises
    ------
    UnknownNameError
        If there is no such model or side.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(fl.testing.faces(8, 3))
    >>> profile = fl.results.mean_profile(result, n_draws=50)
    >>> fl.results.profile_table(profile, model="linear").columns.tolist()
    [('genuine', 'value'), ('genuine', 'lower'), ('genuine', 'upper'), ('impostor', 'value'),
    ('impostor', 'lower'), ('impostor', 'upper')]
    """
    check_name("model", model, names_of(profile, "model"))
    check_side(side, names_of(profile, "side"))
    part = profile["directed"].sel(model=model, side=side)
    part = part.transpose("comparison", "estimate", "band")
    columns = {
        (comparison, estimate): part.sel(comparison=comparison, estimate=estimate).to_series()
        for comparison in ("genuine", "impostor")
        for estimate in ESTIMATES
    }
    table = pd.DataFrame(columns)
    table.index.name = f"band ({profile['frequency'].attrs['units']})"
    return table

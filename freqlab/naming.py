"""Names and units of what studies compute, so that figures and files say what a number is."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

__all__ = ["named"]


def named(dataset: xr.Dataset, names: Mapping[str, tuple[str, str]]) -> xr.Dataset:
    """Give variables and coordinates their ``long_name`` and ``units``.

    Parameters
    ----------
    dataset
        Changed, and returned.
    names
        By variable; one that the dataset has not is passed over. The unit of a pure number is "1".
    """
    for name, (long_name, units) in names.items():
        if name in dataset.variables:
            dataset[name].attrs.update(long_name=long_name, units=units)
    return dataset

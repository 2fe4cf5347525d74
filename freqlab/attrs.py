"""Attributes of results: how the results were made, and names and units of the variables."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from freqlab import __version__

__all__ = [
    "METHOD",
    "from_json",
    "make_attrs",
    "named",
    "names_of",
    "plain_attrs",
    "to_json",
    "with_object_text",
]

METHOD = {
    "reference": "Huber & Damer, Beyond Spatial Explanations, WACV 2025, arXiv 2407.11941",
    "transform": "real discrete Fourier transform per channel of pixels 0..255",
    "mask": "hard edge, the band's coefficients set to zero, no clipping, no rounding",
    "dc": "a label of its own, never removed",
    "bands": "half-open rings, radius isotropic in cycles/pixel",
    "similarity": "cosine",
    "influence": "similarity - similarity without the band",
    "threshold": "untouched embeddings, all impostor comparisons of the face set",
}
"""The choices of the method that every result carries."""


def to_json(value: object) -> str:
    """Return JSON text with sorted keys; netCDF attributes cannot be dictionaries."""
    return json.dumps(value, sort_keys=True)


def from_json(value: object) -> Any:
    """Decode an attribute: JSON text, or the value itself in stores of earlier versions."""
    return json.loads(value) if isinstance(value, str) else value


def plain_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Convert attributes to what netCDF and other Zarr clients read: text, numbers, lists of these.

    Anything else (truth values, None, nested values) becomes JSON text.
    """
    return {
        str(name): value if _is_plain(value) else to_json(value) for name, value in attrs.items()
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        kinds = {type(one) for one in value}
        return len(kinds) == 1 and kinds <= {str, int, float}
    return isinstance(value, (str, int, float, np.ndarray, np.number)) and not isinstance(
        value, bool
    )


def make_attrs(**extra: Any) -> dict[str, Any]:
    """Make the attributes of a result: versions, time (UTC), method, and the values given.

    Values other than text, numbers and lists of these are written as JSON.
    """
    import torch

    attrs: dict[str, Any] = {
        "freqlab_version": __version__,
        "torch_version": str(torch.__version__),
        "python_version": platform.python_version(),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "method": to_json(METHOD),
    }
    return attrs | plain_attrs(extra)


def with_object_text(dataset: xr.Dataset) -> xr.Dataset:
    """Give all text of a dataset the dtype used throughout results: objects of type str.

    Text of fixed width (``<U``) causes a warning from Zarr and cannot be appended with longer
    strings, and numpy's ``StringDType`` is not written to netCDF.
    """
    text = {
        name: (variable.dims, variable.to_numpy().astype(object), variable.attrs)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "UT"
    }
    coordinates = {name: values for name, values in text.items() if name in dataset.coords}
    variables = {name: values for name, values in text.items() if name not in coordinates}
    return dataset.assign_coords(coordinates).assign(variables)


def named(dataset: xr.Dataset, names: Mapping[str, tuple[str, str]]) -> xr.Dataset:
    """Set ``long_name`` and ``units`` of variables and coordinates; convert text to objects.

    Parameters
    ----------
    dataset
        The dataset.
    names
        By variable; names missing from the dataset are ignored. The unit of a pure number is "1".
    """
    result = with_object_text(dataset)
    for name, (long_name, units) in names.items():
        if name in result.variables:
            result[name].attrs.update(long_name=long_name, units=units)
    return result


def names_of(dataset: xr.Dataset, axis: str) -> list[str]:
    """Names along an axis of a dataset, or in a column of its pairs, as plain text."""
    return [str(name) for name in dataset[axis].to_numpy()]

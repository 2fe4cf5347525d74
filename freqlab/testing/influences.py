"""Influence on synthetic faces, and results filled with given numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import named, to_json
from freqlab.bands.base import Bands
from freqlab.bands.radial import Rings
from freqlab.errors import ParameterError
from freqlab.faces.pairs import make_pairs
from freqlab.faces.table import Faces
from freqlab.models.spec import Model
from freqlab.run.calls import influence as influence_of
from freqlab.testing.inputs import SIZE, faces, model

__all__ = [
    "influence",
    "result",
]

_SIDES = ("probe", "reference", "both")
_NAMES = {
    "influence": ("directed influence", "cosine similarity"),
    "removed_rms": ("RMS contrast removed", "grey levels"),
    "similarity": ("cosine similarity", "1"),
    "threshold": ("threshold", "cosine similarity"),
}


def influence(
    of: Faces | None = None,
    pairs: pd.DataFrame | None = None,
    *,
    models: Sequence[Model] | None = None,
    bands: Bands | str = "rings:28",
    store: str | os.PathLike[str] | None = None,
    **options: Any,
) -> xr.Dataset:
    """A result of :func:`freqlab.influence`, with influence, thresholds and contrast removed.

    Parameters
    ----------
    of
        Faces; :func:`freqlab.testing.faces` by default.
    pairs
        Pairs of these faces; by default from :func:`freqlab.make_pairs`.
    models
        Models; :func:`freqlab.testing.model` by default.
    bands
        Bands; few by default, because each costs a forward pass of every face.
    store
        Store of the run; in memory by default.
    **options
        Passed to :func:`freqlab.influence`.

    Returns
    -------
    xarray.Dataset
        Result in memory. Its attribute ``store`` is the store of the run, with crops and
        embeddings.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> dict(result["influence"].sizes)
    {'model': 1, 'pair': 24, 'side': 3, 'band': 3}
    """
    of = faces() if of is None else of
    return influence_of(
        of,
        make_pairs(of, seed=0) if pairs is None else pairs,
        models=[model()] if models is None else models,
        bands=bands,
        store=store,
        **{"progress": False, **options},
    ).load()


def result(
    values: npt.ArrayLike,
    *,
    probe_subject: Sequence[str] | npt.NDArray[Any] | None = None,
    reference_subject: Sequence[str] | npt.NDArray[Any] | None = None,
    removed_rms: npt.ArrayLike = 1.0,
    similarity: npt.ArrayLike = 0.0,
    thresholds: Mapping[float, float] | None = None,
    bands: Bands | None = None,
    columns: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A result in the form of :func:`freqlab.influence`, with given influence.

    Parameters
    ----------
    values
        Influence ``(model, pair, side, band)``. Models are named ``m``, ``m1``, and so on; sides
        are the first of ``probe``, ``reference`` and ``both``.
    probe_subject, reference_subject
        Subjects of the probes and references ``(pair,)``. By default each pair has a separate
        person, and the reference shows the person of the probe. A pair of one person is genuine.
    removed_rms
        Contrast removed, in grey levels; broadcast to the shape of `values`.
    similarity
        Similarity of the untouched pairs; broadcast to ``(model, pair)``.
    thresholds
        Decision thresholds by false match rate, the same for all models.
    bands
        Bands along the last axis; by default rings with a width of four cycles/image.
    columns
        Further coordinates of the pairs by name, such as ``probe`` and ``attack``; they replace
        default coordinates of the same name.

    Returns
    -------
    xarray.Dataset
        Result in memory, without a store.

    Raises
    ------
    ParameterError
        If `values` does not have four axes, has more than three sides, or does not match `bands`.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> result = fl.testing.result(np.ones((1, 4, 1, 3)))
    >>> result["band"].to_numpy().tolist()
    ['0-4', '4-8', '8-12']
    """
    array = np.asarray(values)
    if array.ndim != 4 or array.shape[2] > len(_SIDES):
        raise ParameterError(
            f"values must be (model, pair, side, band), of up to three sides; got {array.shape}"
        )
    n_models, n_pairs, n_sides, n_bands = array.shape
    bands = bands or Rings(tuple(4.0 * np.arange(n_bands + 1)))
    if len(bands) != n_bands:
        raise ParameterError(f"values have {n_bands} bands, but bands are {len(bands)}")
    names = ["m", *(f"m{k}" for k in range(1, n_models))]
    pair_columns = {
        **_default_columns(n_pairs, probe_subject, reference_subject),
        **(columns or {}),
    }
    dims = ("model", "pair", "side", "band")
    dataset = xr.Dataset(
        {
            "influence": (dims, array),
            "removed_rms": (dims, np.broadcast_to(removed_rms, array.shape)),
            "similarity": (dims[:2], np.broadcast_to(similarity, array.shape[:2])),
        },
        coords={
            "model": np.array(names, object),
            "pair": np.arange(n_pairs),
            "side": np.array(_SIDES[:n_sides], object),
            "band": ("band", np.array(bands.names, object), bands.axis_attrs),
            "frequency": ("band", bands.frequency),
            "band_bounds": (("band", "bound"), bands.bounds),
            **{name: ("band", one.values, one.attrs) for name, one in bands.coordinates.items()},
            **{name: ("pair", np.asarray(column)) for name, column in pair_columns.items()},
        },
        attrs={"identity": _identity(bands, names)},
    )
    if thresholds:
        dataset = dataset.assign_coords(fmr=list(thresholds))
        per_model = np.tile(list(thresholds.values()), (n_models, 1))
        dataset["threshold"] = (("model", "fmr"), per_model)
        n_comparisons = round(10 / min(thresholds))
        dataset["impostor_comparisons"] = ("model", np.full(n_models, n_comparisons))
    frequency = dict.fromkeys(("frequency", "band_bounds"), ("spatial frequency", bands.unit))
    return named(dataset, {**_NAMES, **frequency})


def _default_columns(
    n_pairs: int,
    probe_subject: Sequence[str] | npt.NDArray[Any] | None,
    reference_subject: Sequence[str] | npt.NDArray[Any] | None,
) -> dict[str, npt.NDArray[Any]]:
    """Names, subjects and labels of the pairs of :func:`freqlab.testing.result`."""
    if probe_subject is None:
        probe_subject = [f"p{i}" for i in range(n_pairs)]
    of_probe = np.asarray(probe_subject, object)
    of_reference = of_probe if reference_subject is None else np.asarray(reference_subject, object)
    numbers = np.arange(n_pairs).astype(str).astype(object)
    return {
        "probe": "probe" + numbers,
        "reference": "reference" + numbers,
        "probe_subject": of_probe,
        "reference_subject": of_reference,
        "genuine": (of_probe == of_reference).astype(bool),
    }


def _identity(bands: Bands, names: Sequence[str]) -> str:
    """Declaration of the bands and models of :func:`freqlab.testing.result`, as a run stores it."""
    about = {"input_size": [SIZE, SIZE], "eye_distance": None}
    return to_json({"bands": bands.declaration(), "models": dict.fromkeys(names, about)})

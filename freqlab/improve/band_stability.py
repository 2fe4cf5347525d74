"""Face image quality from the stability of the embedding when bands are removed.

A face whose embedding hardly moves when a band of spatial frequencies is removed is of high
quality. This takes the embeddings from which influence was computed: no label, no training and no
further forward pass. The idea is that of SER-FIQ (Terhörst et al. 2020), which measures the
stability under random dropout, with bands in place of dropout. Terms follow ISO/IEC 29794-1.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import with_object_text
from freqlab.errors import ParameterError, check_name
from freqlab.statistics.vectors import unit_length
from freqlab.store.layout import node_name
from freqlab.store.reading import open_embeddings, open_run

__all__ = ["MEASURES", "PARTS", "band_quality", "open_band_embeddings"]

PARTS = ("low", "middle", "high")
"""Parts of the bands, a third of their number each, from the lowest frequency."""

MEASURES = {
    "stability": "mean cosine over all bands",
    "weighted": "mean cosine, each band weighted by the inverse of its spread over the faces",
    "low": "mean cosine over the lowest third of the bands",
    "middle": "mean cosine over the middle third of the bands",
    "high": "mean cosine over the highest third of the bands",
}
"""Variables of :func:`band_quality` and their descriptions."""

_FACES_PER_STEP = 256

Floats = npt.NDArray[np.float64]


def band_quality(
    store: str | os.PathLike[str],
    *,
    model: str,
    bands: str | None = None,
    faces: Sequence[str] | None = None,
) -> xr.Dataset:
    """Measure the quality of faces by the stability of their embeddings without single bands.

    Parameters
    ----------
    store
        Zarr group of a run that holds embeddings with each band removed
        (:func:`freqlab.influence`).
    model
        Name of the model.
    bands
        Key of the bands, if the run has several for this model (``Bands.key``).
    faces
        Names of the faces; by default all faces of the run with these embeddings.

    Returns
    -------
    xarray.Dataset
        Along ``face``: the variables of :data:`MEASURES`, cosine similarities of which larger ones
        mean higher quality; NaN for a face without these embeddings. ``cosine(face, band)``, of
        the untouched embedding and that without the band. ``weight(band)``, the weights of
        ``weighted``, which sum to one; they depend on the faces that are measured.

    Raises
    ------
    StoreError
        If there is no run.
    UnknownNameError, ParameterError
        If it has no such model, bands or faces, or no band of the model was embedded.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> quality = fl.improve.band_quality(study.attrs["store"], model="linear")
    >>> quality["cosine"].dims
    ('face', 'band')
    """
    intact = open_embeddings(store, model=model)
    banded, key = open_band_embeddings(store, model=model, bands=bands)
    known = banded["face"].to_numpy().astype(str)
    if faces is None:
        names = list(known)
    else:
        names = [str(face) for face in faces]
        missing = sorted(set(names) - set(intact["face"].to_numpy().astype(str)))
        if missing:
            raise ParameterError(
                f"faces: {len(missing)} are not in the run, such as {missing[0]!r}"
            )
    place = {name: row for row, name in enumerate(known)}
    rows = np.array([place.get(name, -1) for name in names], np.int64)
    cosines = np.full((len(names), banded.sizes["band"]), np.nan)
    for start in range(0, len(names), _FACES_PER_STEP):
        step = np.arange(start, min(start + _FACES_PER_STEP, len(names)))
        there = step[rows[step] >= 0]
        if not len(there):
            continue
        removed = banded.isel(face=rows[there]).to_numpy()
        whole = intact.sel(face=[names[i] for i in there]).to_numpy()
        cosines[there] = _cosines(whole, removed)
    some = np.isfinite(cosines)
    if faces is None:
        measured = some.any(axis=1)
        cosines, names = cosines[measured], [n for n, m in zip(names, measured, strict=True) if m]
    if not np.isfinite(cosines).any():
        raise ParameterError(
            f"model={model!r}: no band was removed from the {len(rows):,} faces in this run; "
            f"fl.influence embeds the faces of its pairs without each band"
        )
    held = np.isfinite(cosines).any(axis=0)
    weight = _weights(cosines, held)
    numbers = np.array_split(np.flatnonzero(held), len(PARTS))
    of_part = {
        part: ("face", _mean(cosines[:, which]))
        for part, which in zip(PARTS, numbers, strict=True)
        if len(which)
    }
    data = {
        "stability": ("face", _mean(cosines[:, held])),
        "weighted": ("face", cosines[:, held] @ weight[held]),
        **of_part,
        "cosine": (("face", "band"), cosines),
        "weight": ("band", weight),
    }
    quality = xr.Dataset(
        data,
        coords={"face": np.array(names, object)},
        attrs={"model": model, "bands": key, "store": os.fspath(store)},
    )
    for name, text in MEASURES.items():
        if name in quality:
            quality[name].attrs.update(long_name=text, units="1")
    quality["cosine"].attrs.update(long_name="cosine without the band", units="1")
    quality["weight"].attrs.update(long_name="weight of the band", units="1")
    return with_object_text(quality)


def open_band_embeddings(
    store: str | os.PathLike[str], *, model: str, bands: str | None = None
) -> tuple[xr.DataArray, str]:
    """Open the embeddings with each band removed, lazily ``(face, band, feature)``.

    Parameters
    ----------
    store, model, bands
        As for :func:`band_quality`.

    Returns
    -------
    embeddings : xarray.DataArray
        NaN for a face whose bands were not removed, and a band without coefficients.
    key : str
        Key of the bands.

    Raises
    ------
    UnknownNameError, ParameterError
        If there are none, or several and `bands` is not given.
    """
    node = open_run(store, nodes=["embeddings"])[f"embeddings/{node_name(model)}"]
    found: dict[str, xr.DataArray] = {
        str(name): child.dataset["embedding"]
        for name, child in node.children.items()
        if name != "intact" and "-of-" not in name and "embedding" in child
    }
    if not found:
        raise ParameterError(
            f"model={model!r}: this run has no embeddings with bands removed; fl.influence makes "
            f"them"
        )
    if bands is None:
        if len(found) > 1:
            raise ParameterError(
                f"bands=None: the run has several bands for model {model!r}; give one of "
                f"{', '.join(map(repr, sorted(found)))}"
            )
        bands = next(iter(found))
    key = check_name("bands", bands, sorted(found))
    return found[key], key


def _cosines(intact: npt.NDArray[np.floating], removed: npt.NDArray[np.floating]) -> Floats:
    """Cosine of each untouched embedding and those without each band ``(face, band)``."""
    whole, parts = unit_length(intact.astype(np.float32)), unit_length(removed.astype(np.float32))
    return np.clip(np.einsum("fd,fbd->fb", whole, parts), -1, 1).astype(float)


def _weights(cosines: Floats, held: npt.NDArray[np.bool_]) -> Floats:
    """Inverse standard deviation of each band over the faces, scaled to a sum of one.

    A band that moves all faces alike tells them apart by rounding only, and has no weight.
    """
    weight = np.zeros(cosines.shape[1])
    spread = np.nanstd(cosines[:, held], axis=0)
    inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-6)
    if not inverse.any():
        inverse[:] = 1.0
    weight[held] = inverse / inverse.sum()
    return weight


def _mean(values: Floats) -> Floats:
    """Mean over bands; NaN for a face without values."""
    means = np.full(len(values), np.nan)
    whole = np.isfinite(values).all(axis=1)
    means[whole] = values[whole].mean(axis=1)
    return means

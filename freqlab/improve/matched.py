"""Matched bands at low resolution: a sharp reference reduced to what the probe retains.

A probe of N pixels holds frequencies up to N/2 cycles/image along an axis; the reference holds
more. Four scores of the same pairs are compared:

- ``similarity``: the reference as it is;
- ``alike``: the reference degraded as the probe is;
- ``nyquist``: the reference without the bands that lie wholly beyond the probe's axis limit;
- ``influence``: both images without the bands whose mean influence, removed from the reference, is
  zero or negative on the genuine pairs of other people. Where that is so of all bands, none is
  removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import names_of
from freqlab.bands.base import Bands
from freqlab.edits.band_sets import BandSets
from freqlab.errors import ParameterError, check_number
from freqlab.improve.fits import fold_parts
from freqlab.models.spec import Model
from freqlab.results.selection import bands_of, crop_geometry, with_axes
from freqlab.statistics.resampling import subject_codes
from freqlab.statistics.vectors import unit_length
from freqlab.store.reading import open_crops, open_embeddings

__all__ = ["MATCHED", "beyond_limit", "crops_of", "degraded_alike", "matched_scores"]

MATCHED = {
    "similarity": "cosine similarity, the reference as it is",
    "alike": "cosine similarity, the reference degraded as the probe",
    "nyquist": "cosine similarity, the reference without bands beyond the probe's limit",
    "influence": "cosine similarity, both without bands of no or negative influence on others",
}
"""Names of the scores and their descriptions."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def matched_scores(
    result: xr.Dataset,
    network: Model,
    *,
    resolution: int,
    store: str | os.PathLike[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Score pairs of a degraded probe and a sharp reference after their bands are matched.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over pairs of one resolution, with the reference masked, such
        as ``study["influence"]`` of :func:`freqlab.improve.study`; pairs of other resolutions are
        left out.
    network
        The model.
    resolution
        Width of the probes in pixels.
    store
        Zarr group of the run, with crops; that of the result by default. New embeddings are kept
        in it.
    folds, seed
        Folds of people for ``influence``, as for :func:`freqlab.improve.calibrate`.
    progress
        Whether to write progress bars to standard error.

    Returns
    -------
    xarray.Dataset
        Along ``pair``, the scores of :data:`MATCHED`; ``alike`` is left out unless the run has the
        references of all pairs at this resolution, and ``nyquist`` if every band lies beyond the
        limit of the probe. ``removed_nyquist(band)``, and
        ``removed_influence(band)``, the share of pairs of which a band was removed;
        ``attrs["forward_passes"]``.

    Raises
    ------
    ParameterError, UnknownNameError
        If the result has no such model, side or resolution, or there are too few people.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> result, model = study["influence"].to_dataset(), fl.testing.model()
    >>> matched = fl.improve.matched_scores(
    ...     result, model, resolution=14, folds=3, progress=False
    ... )
    >>> matched["similarity"].dims
    ('pair',)
    """
    check_number("resolution", resolution, at_least=2, whole=True)
    result = with_axes(result)
    data = _at_resolution(result, network.name, resolution)
    url = os.fspath(result.attrs["store"] if store is None else store)
    bands = bands_of(result)
    probes, references = (data[end].to_numpy().astype(str) for end in ("probe", "reference"))
    names, place = np.unique(np.concatenate([probes, references]), return_inverse=True)
    ends = place.reshape(2, -1)
    crops = crops_of(url, network, names)
    sets = BandSets(network, bands, store=url, progress=progress)
    beyond = beyond_limit(result, network.name, bands, resolution)

    def without(faces: npt.NDArray[np.integer], removed: Bools) -> Floats:
        rows = np.broadcast_to(removed, (len(faces), len(bands)))
        vectors = sets.embed(crops, faces, rows)
        return unit_length(vectors.astype(np.float32)).astype(float)

    known = open_embeddings(url, model=network.name)
    intact = unit_length(known.sel(face=list(names)).to_numpy().astype(np.float32)).astype(float)
    scores = {"similarity": _cosine(intact[ends[0]], intact[ends[1]])}
    alike = degraded_alike(known, probes, references)
    if alike is not None:
        scores["alike"] = _cosine(intact[ends[0]], unit_length(alike).astype(float))
    if not beyond.all():
        scores["nyquist"] = scores["similarity"]
    if beyond.any() and not beyond.all():
        held, back = np.unique(ends[1], return_inverse=True)
        scores["nyquist"] = _cosine(intact[ends[0]], without(held, beyond)[back])
    influence, share = _on_others(data, sets.held, ends, without, folds, seed)
    scores["influence"] = influence
    cosine = {"units": "cosine similarity"}
    return xr.Dataset(
        {
            name: ("pair", values, {"long_name": MATCHED[name], **cosine})
            for name, values in scores.items()
        }
        | {
            "removed_nyquist": ("band", beyond, {"long_name": "band beyond the limit"}),
            "removed_influence": (
                "band",
                share,
                {"long_name": "share of pairs without the band", "units": "1"},
            ),
        },
        coords={
            "pair": data["pair"],
            "genuine": data["genuine"],
            "band": result["band"],
            "frequency": result["frequency"],
            "band_bounds": result["band_bounds"],
        },
        attrs={
            "model": network.name,
            "resolution": resolution,
            "folds": folds,
            "seed": seed,
            "forward_passes": sets.forward_passes,
        },
    ).drop_vars([name for name in ("model", "side") if name in data.coords], errors="ignore")


def _at_resolution(result: xr.Dataset, model: str, resolution: int) -> xr.Dataset:
    """Pairs of one model and resolution, with the reference masked."""
    for axis, name in (("model", model), ("side", "reference")):
        if name not in names_of(result, axis):
            raise ParameterError(
                f"result has no {axis} {name!r}; it has {', '.join(names_of(result, axis))}"
            )
    if "resolution" not in result.coords:
        raise ParameterError(
            "result has no column 'resolution'; fl.faces.degraded_pairs makes pairs with one"
        )
    at = result["resolution"].to_numpy().astype(float)
    chosen = np.flatnonzero(at == resolution)
    if not len(chosen):
        known = sorted({int(one) for one in at[np.isfinite(at)]}, reverse=True)
        raise ParameterError(f"resolution={resolution} has no pairs; the result has {known}")
    return result.isel(pair=chosen).sel(model=model, side="reference")


def crops_of(url: str, network: Model, names: npt.NDArray[np.str_]) -> npt.NDArray[np.uint8]:
    """Crops of faces of a run ``(face, height, width, channel)``."""
    crops = open_crops(url, template=network.template.name)
    if "crop" not in crops:
        raise ParameterError(
            f"store={url!r} has no stored crops to remove bands from; compute the run with "
            f"keep_crops=True"
        )
    return np.asarray(crops["crop"].sel(face=list(names)).to_numpy())


def beyond_limit(result: xr.Dataset, model: str, bands: Bands, resolution: int) -> Bools:
    """Bands that lie wholly beyond the axis limit of the resolution."""
    (_, width), eyes = crop_geometry(result, model)
    limit = bands.in_unit(resolution / 2, width, eyes)
    return np.asarray(bands.bounds[:, 0] >= limit * (1 - 1e-9))


def degraded_alike(
    known: xr.DataArray, probes: npt.NDArray[np.str_], references: npt.NDArray[np.str_]
) -> npt.NDArray[np.float32] | None:
    """Embeddings of the references, degraded as the probes are; None unless all are in the run.

    Parameters
    ----------
    known
        Untouched embeddings of a run ``(face, feature)``.
    probes, references
        Names of the faces of each pair ``(pair,)``.

    Returns
    -------
    numpy.ndarray or None
        ``(pair, feature)``.
    """
    there = set(known["face"].to_numpy().astype(str))
    suffixes = {name[name.rindex("@") :] for name in probes if "@" in name}
    if len(suffixes) != 1:
        return None
    suffix = suffixes.pop()
    wanted, back = np.unique([f"{name}{suffix}" for name in references], return_inverse=True)
    if not set(map(str, wanted)) <= there:
        return None
    return np.asarray(known.sel(face=list(wanted)).to_numpy(), np.float32)[back]


def _on_others(
    data: xr.Dataset,
    held: Bools,
    ends: npt.NDArray[np.int64],
    without: Callable[[npt.NDArray[np.integer], Bools], Floats],
    folds: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """Similarity without the bands that do not support other people, and the share without each."""
    influence = data["influence"].transpose("pair", "band").to_numpy().astype(float)
    genuine = data["genuine"].to_numpy().astype(bool)
    usable = np.isfinite(data["similarity"].to_numpy()) & np.isfinite(influence[:, held]).all(
        axis=1
    )
    scores, share = np.full(len(genuine), np.nan), np.zeros(influence.shape[1])
    for fit_on, tested in fold_parts(subject_codes(data), usable, genuine, folds=folds, seed=seed):
        mean = influence[fit_on & genuine].mean(axis=0)
        removed = held & (np.nan_to_num(mean) <= 0)
        if removed[held].all():
            removed = np.zeros_like(removed)
        faces, back = np.unique(ends[:, tested], return_inverse=True)
        vectors = without(faces, removed)[back.reshape(2, -1)]
        scores[tested] = _cosine(vectors[0], vectors[1])
        share += removed * (tested.sum() / usable.sum())
    return scores, share


def _cosine(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.einsum("pd,pd->p", one, other))

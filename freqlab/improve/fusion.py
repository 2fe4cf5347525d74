"""Scores of a pair from several views of its faces: without single bands, and mirrored.

Influence holds the similarity of a pair without each band. Their mean is the score of an ensemble
over bands, which costs no further forward pass. The usual ensemble, the mean of the embeddings of
the image and of its mirror image, costs one more pass per face.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from freqlab.attrs import names_of
from freqlab.edits.images import crop_tensor, embed_edits
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.improve.fits import check_penalty, learnt_on_others, penalised
from freqlab.models.spec import Model
from freqlab.results.selection import with_axes
from freqlab.statistics.resampling import subject_codes
from freqlab.statistics.vectors import unit_length
from freqlab.store.reading import open_crops, open_embeddings

__all__ = ["SCORES", "band_scores", "flip_quality", "flip_scores", "mirrored_embeddings"]

SCORES = {
    "similarity": "cosine similarity of the untouched faces",
    "bands": "mean similarity without one band",
    "learnt": "similarities without one band, weights learnt on other people",
    "influence": "similarity and influence, weights learnt on other people",
    "energy": "similarity and log energy of the bands, weights learnt on other people",
    "alike": "cosine similarity, the reference degraded as the probe",
    "flip": "cosine similarity of embeddings averaged with those of the mirrored faces",
}
"""Names of the scores that a study compares, and their descriptions."""

_TINY_ENERGY = 1e-9  # squared grey levels, added before a logarithm is taken

Floats = npt.NDArray[np.float64]


def band_scores(
    result: xr.Dataset,
    *,
    model: str | None = None,
    folds: int = 5,
    penalty: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Score pairs by the similarities that remain when single bands are removed.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`; the sides are averaged.
    model
        Name of the model; the first by default.
    folds, penalty, seed
        As for :func:`freqlab.improve.calibrate`.

    Returns
    -------
    xarray.Dataset
        Along ``pair``: ``similarity``; ``bands``, the mean over sides and bands of the similarity
        without the band; ``learnt``, a weighted sum of the similarity and of these similarities,
        by logistic regression on pairs of other people; ``energy``, the same with the log energies
        of the bands in place of these similarities, as a control that needs no removal.
        ``weight(band)``, the weights of ``learnt`` per unit of similarity. They are fitted on all
        pairs, for reading and not for testing.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model, no influence, or there are too few people.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> result = study["influence"].to_dataset()
    >>> scores = fl.improve.band_scores(result, folds=3)
    >>> sorted(scores.data_vars)
    ['bands', 'energy', 'learnt', 'similarity', 'weight']
    """
    check_number("folds", folds, at_least=3, whole=True)
    check_penalty(penalty)
    check_number("seed", seed, at_least=0, whole=True)
    result = with_axes(result)
    name = names_of(result, "model")[0] if model is None else str(model)
    check_name("model", name, names_of(result, "model"))
    data = result.sel(model=name)
    similarity = data["similarity"].to_numpy().astype(float)
    influence = data["influence"].transpose("pair", "side", "band").to_numpy().astype(float)
    without = similarity[:, None] - influence.mean(axis=1)
    held = np.isfinite(without).any(axis=0)
    if not held.any():
        raise ParameterError(
            f"result: no pair has an influence for model {name!r}; its bands were not embedded"
        )
    without = without[:, held]
    features = np.column_stack([similarity, without])
    usable = np.isfinite(features).all(axis=1)
    genuine = data["genuine"].to_numpy().astype(bool)
    subjects = subject_codes(result)
    options: dict[str, Any] = {"folds": folds, "penalty": penalty, "seed": seed}
    learnt = learnt_on_others(features, genuine, subjects, **options)
    removed = data["removed_rms"].transpose("pair", "side", "band").to_numpy().astype(float)
    contrast = np.log(np.square(removed[..., held]) + _TINY_ENERGY).reshape(len(similarity), -1)
    energy = learnt_on_others(np.column_stack([similarity, contrast]), genuine, subjects, **options)
    whole = penalised(features[usable], genuine[usable], subjects[:, usable], penalty)
    # the fit is linear, so its weights are its values at the unit vectors
    unit = whole(np.eye(features.shape[1])) - whole(np.zeros((1, features.shape[1])))
    weight = np.full(len(held), np.nan)
    weight[held] = unit[1:]
    coords = {
        "pair": result["pair"],
        **{name: result[name] for name in ("band", "frequency", "band_bounds")},
    }
    cosine = {"units": "cosine similarity"}
    return xr.Dataset(
        {
            "similarity": ("pair", similarity, {"long_name": SCORES["similarity"], **cosine}),
            "bands": ("pair", without.mean(axis=1), {"long_name": SCORES["bands"], **cosine}),
            "learnt": ("pair", learnt, {"long_name": SCORES["learnt"], "units": "1"}),
            "energy": ("pair", energy, {"long_name": SCORES["energy"], "units": "1"}),
            "weight": ("band", weight, {"long_name": "weight of the band", "units": "1"}),
        },
        coords=coords,
        attrs={"model": name, "folds": folds, "seed": seed},
    )


def mirrored_embeddings(store: str, network: Model, faces: Sequence[str]) -> Floats:
    """Embed the mirror images of the crops of faces.

    Parameters
    ----------
    store
        Zarr group of a run that keeps crops.
    network
        The model.
    faces
        Names of the faces.

    Returns
    -------
    numpy.ndarray
        ``(face, feature)``; NaN for a face without a crop.

    Raises
    ------
    ParameterError
        If the run keeps no crops.
    """
    crops = open_crops(store, template=network.template.name)
    if "crop" not in crops:
        raise ParameterError(
            f"store={store!r} has no stored crops to mirror; compute the run with keep_crops=True"
        )
    place = {name: row for row, name in enumerate(crops["face"].to_numpy().astype(str))}
    usable = crops["status_text"].to_numpy() == "ok"
    rows = [place.get(str(face), -1) for face in faces]
    there = [i for i, row in enumerate(rows) if row >= 0 and usable[row]]
    if not there:
        raise ParameterError(f"faces: none of the {len(rows):,} faces has a crop in the run")
    stored = crops["crop"]

    def edit(start: int, stop: int) -> torch.Tensor:
        pixels = stored.isel(face=[rows[i] for i in there[start:stop]]).to_numpy()
        return torch.stack([crop_tensor(network, crop[:, ::-1]) for crop in pixels])

    embedded = embed_edits(network, len(there), edit)
    mirrored = np.full((len(rows), embedded.shape[1]), np.nan)
    mirrored[there] = embedded
    return mirrored


def flip_scores(
    store: str, mirrored: Floats, faces: Sequence[str], result: xr.Dataset, *, model: str
) -> Floats:
    """Cosine similarity of pairs, with each embedding averaged with that of the mirror image.

    Parameters
    ----------
    store
        Zarr group of the run.
    mirrored
        From :func:`mirrored_embeddings`, of `faces`.
    faces
        Names of the faces.
    result
        From :func:`freqlab.influence`: the pairs.
    model
        Name of the model.

    Returns
    -------
    numpy.ndarray
        ``(pair,)``; NaN where a face has no embedding.
    """
    intact = open_embeddings(store, model=model).sel(face=list(faces)).to_numpy()
    both = unit_length(_unit(intact) + _unit(mirrored))
    place = {str(face): row for row, face in enumerate(faces)}
    ends = [
        np.array([place[face] for face in result[end].to_numpy().astype(str)])
        for end in ("probe", "reference")
    ]
    return np.asarray(np.einsum("pd,pd->p", both[ends[0]], both[ends[1]]), float)


def flip_quality(store: str, mirrored: Floats, faces: Sequence[str], *, model: str) -> Floats:
    """Cosine of the embeddings of each face and of its mirror image ``(face,)``."""
    intact = open_embeddings(store, model=model).sel(face=list(faces)).to_numpy()
    return np.asarray(np.einsum("fd,fd->f", _unit(intact), _unit(mirrored)), float)


def _unit(vectors: npt.NDArray[np.floating]) -> Floats:
    return unit_length(vectors.astype(np.float32)).astype(float)

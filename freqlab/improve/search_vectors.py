"""Searches of the probes of a study in a gallery of one photograph per person, by several scores.

Every score that is an inner product of one vector per image can be searched:

- ``similarity``: the untouched embeddings;
- ``bands``: the mean over both images and all bands of the similarity without the band;
- ``flip``: embeddings averaged with those of the mirror images;
- ``alike``: the gallery degraded as the probes are;
- ``nyquist``: the gallery without the bands beyond the limit of the probes.

Scores with learnt weights are functions of pairs, and calibration does not change the order of
scores; neither is searched.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.bands.base import Bands
from freqlab.edits.band_sets import BandSets
from freqlab.faces.table import Faces
from freqlab.improve.band_stability import open_band_embeddings
from freqlab.improve.identification import Searches, search
from freqlab.improve.matched import beyond_limit, crops_of, degraded_alike
from freqlab.models.spec import Model
from freqlab.statistics.vectors import is_usable, unit_length
from freqlab.store.reading import open_embeddings

__all__ = ["SEARCHED", "Enrolment", "enrolment_of", "searches_by_score"]

SEARCHED = {
    "similarity": "cosine similarity of the untouched faces",
    "bands": "mean similarity without one band",
    "flip": "embeddings averaged with those of the mirrored faces",
    "alike": "gallery degraded as the probe",
    "nyquist": "gallery without bands beyond the probe's limit",
}
"""Names of the scores and their descriptions."""

_FACES_PER_STEP = 256

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class Enrolment(NamedTuple):
    """Probes and the gallery."""

    probes: list[str]
    gallery: list[str]
    """The first photograph of each person that is a reference."""
    probe_people: Codes
    gallery_people: Codes
    probe_sources: Codes
    """Number of the photograph that each probe derives from."""
    gallery_sources: Codes


def enrolment_of(faces: Faces, result: xr.Dataset, known: xr.DataArray) -> Enrolment:
    """Enrol a photograph of each person, and search all probes.

    Parameters
    ----------
    faces
        The faces of the result.
    result
        From :func:`freqlab.influence`. A probe is searched among its own person too unless its own
        photograph is enrolled.
    known
        Untouched embeddings of the run ``(face, feature)``; a face without one is not enrolled.

    Returns
    -------
    Enrolment
        If no probe is degraded, both images of each pair are probes.
    """
    place = {name: row for row, name in enumerate(faces.names)}
    rows = [
        np.unique([place[str(name)] for name in np.unique(result[end].to_numpy().astype(str))])
        for end in ("probe", "reference")
    ]
    probes, references = rows
    if not faces.degraded[probes].any():
        probes = references = np.union1d(probes, references)
    people, sources = (
        np.unique(values.astype(str), return_inverse=True)[1]
        for values in (faces.subjects, faces.sources)
    )
    vectors = known.sel(face=[faces.names[i] for i in references]).to_numpy()
    references = references[is_usable(vectors)]
    gallery = references[np.unique(people[references], return_index=True)[1]]
    return Enrolment(
        [faces.names[i] for i in probes],
        [faces.names[i] for i in gallery],
        *(people[probes], people[gallery], sources[probes], sources[gallery]),
    )


def searches_by_score(
    enrolled: Enrolment,
    result: xr.Dataset,
    network: Model,
    *,
    store: str,
    bands: Bands,
    mirrored: dict[str, Floats],
    resolution: int | None,
    progress: bool,
) -> tuple[dict[str, Searches], int]:
    """Search the probes by each score.

    Parameters
    ----------
    enrolled
        From :func:`enrolment_of`.
    result
        The result with the bands.
    network
        The model.
    store
        Zarr group of the run, with crops.
    bands
        The bands that were removed.
    mirrored
        Embeddings of the mirror images by face.
    resolution
        Width of the probes in pixels; None if they are not degraded.
    progress
        Whether to write progress bars to standard error.

    Returns
    -------
    searches : dict
        By name of the score.
    forward_passes : int
        Number of images embedded.
    """
    known = open_embeddings(store, model=network.name)
    ends = (enrolled.probes, enrolled.gallery)
    probes, gallery = (_unit(known.sel(face=names).to_numpy()) for names in ends)
    without = [_means_without(store, network, bands, names) for names in ends]
    turned = [
        _unit(one + _unit(np.stack([mirrored[name] for name in names])))
        for one, names in zip((probes, gallery), ends, strict=True)
    ]
    vectors = {
        "similarity": (probes, gallery),
        "bands": (
            np.hstack([without[0], probes]) / 2,
            np.hstack([gallery, without[1]]),
        ),
        "flip": (turned[0], turned[1]),
    }
    n_passes = 0
    if resolution is not None:
        names = [np.array(end, np.str_) for end in ends]
        alike = degraded_alike(known, *names)
        if alike is not None:
            vectors["alike"] = (probes, _unit(alike))
        beyond = beyond_limit(result, network.name, bands, resolution)
        if not beyond.all():
            sets = BandSets(network, bands, store=store, progress=progress)
            rows = np.broadcast_to(beyond, (len(gallery), len(beyond)))
            crops = crops_of(store, network, names[1])
            vectors["nyquist"] = (probes, _unit(sets.embed(crops, np.arange(len(gallery)), rows)))
            n_passes = sets.forward_passes
    found = {
        name: search(
            *(sides[0], sides[1], enrolled.probe_people, enrolled.gallery_people),
            probe_sources=enrolled.probe_sources,
            gallery_sources=enrolled.gallery_sources,
            scaled=False,
        )
        for name, sides in vectors.items()
    }
    return found, n_passes


def _means_without(store: str, network: Model, bands: Bands, names: list[str]) -> Floats:
    """Mean over bands of the unit embeddings without the band ``(face, feature)``."""
    banded, _ = open_band_embeddings(store, model=network.name, bands=bands.key)
    means = []
    for start in range(0, len(names), _FACES_PER_STEP):
        step = banded.reindex(face=names[start : start + _FACES_PER_STEP]).to_numpy()
        unit = unit_length(step.astype(np.float32))
        held = np.isfinite(unit).any(axis=(0, 2))
        means.append(unit[:, held].mean(axis=1, dtype=float))
    return np.asarray(np.concatenate(means), float)


def _unit(vectors: npt.NDArray[np.floating]) -> Floats:
    return unit_length(vectors.astype(np.float32)).astype(float)

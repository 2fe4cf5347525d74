"""Maps of searches in a gallery (1:N) by CorrRISE, as a dataset.

A search has a map for each of its leading candidates, and one of the margin of the first candidate
over the best other candidate. Each map is a row of the axis ``pair``, with the probe and the
enrolled face that it compares, so figures of maps take the dataset as they take those of
verification.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import named
from freqlab.errors import ParameterError, StoreError
from freqlab.faces.table import Faces
from freqlab.models.spec import Model
from freqlab.run.calls import embed
from freqlab.run.studies import RunOptions
from freqlab.saliency.corrrise import identification_estimate
from freqlab.saliency.rise import Estimate
from freqlab.statistics.vectors import cosines
from freqlab.store.cache import Arrays, digest_of, kept
from freqlab.store.reading import open_crops, open_embeddings
from freqlab.system.progress import one_output, progress_bar

__all__ = ["identification_maps"]

_OPTIONS = ("n_masks", "reliability", "patch", "n_patches", "fill", "correlation", "seed")
_NAMES = {
    "map": ("correlation of mask and score", "1"),
    "standard_error": ("standard error of the correlation", "1"),
    "similarity": ("similarity of the unmasked faces", "cosine similarity"),
    "n_masks": ("number of masks", "1"),
    "converged": ("reliability reached", "1"),
    "rank": ("rank of the candidate", "1"),
}

Names = npt.NDArray[Any]


class _Search(NamedTuple):
    """Result of one search."""

    candidates: npt.NDArray[np.int64]
    """Rows of the candidates in the face set."""
    scores: npt.NDArray[np.floating]
    """Similarity of each candidate, and the margin, of the unmasked probe."""
    estimate: Estimate


class _Searches(NamedTuple):
    """Probes and enrolled faces of one run, as rows of the face set."""

    probes: npt.NDArray[np.int64]
    enrolled: npt.NDArray[np.int64]
    crops: npt.NDArray[Any]
    """Crops of the probes ``(probe, height, width, 3)``."""
    intact: npt.NDArray[np.floating]
    """Embeddings of the probes ``(probe, feature)``."""
    embeddings: npt.NDArray[np.floating]
    """Embeddings of the enrolled faces ``(face, feature)``."""


@one_output()
def identification_maps(
    faces: Faces,
    model: Model,
    *,
    probes: Sequence[str],
    gallery: Sequence[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    top: int = 3,
    n_masks: int = 2000,
    reliability: float = 0.9,
    patch: int | None = None,
    n_patches: int = 10,
    fill: str = "mean",
    correlation: str = "pearson",
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> xr.Dataset:
    """Map the face regions on which the candidates of a search depend (CorrRISE, 1:N).

    Parameters
    ----------
    faces
        The faces; as for :func:`freqlab.identify`.
    model
        The model, loaded.
    probes
        Names of the faces that are searched; a map takes up to `n_masks` forward passes for each.
    gallery
        Names of the enrolled faces; by default, of each person the first face that is neither
        degraded nor a probe. The score of a person is the highest similarity over their enrolled
        faces. A probe is not compared with an enrolled face of its own photograph.
    store
        As for :func:`freqlab.influence`; the run must keep its crops.
    top
        Number of candidates to explain, beginning with the most similar.
    n_masks, reliability, patch, n_patches, fill, correlation, seed
        As for :func:`freqlab.saliency.corrrise.corrrise_estimate`.
    **run
        Options of the run, as for :func:`freqlab.influence`.

    Returns
    -------
    xarray.Dataset
        Along ``pair``, search by search, a row for each of the leading candidates and one for the
        margin: ``map(pair, y, x)``, the correlation of mask and score, and its
        ``standard_error``; ``similarity(pair)`` of the unmasked faces, for the margin the
        difference between the first and the best other candidate; ``n_masks`` and ``converged``
        of the search. Coordinates: ``probe`` and ``reference``, the faces that are compared, their
        subjects, ``genuine``, ``rank`` of the candidate and ``score``, ``"similarity"`` or
        ``"margin"``.

    Raises
    ------
    ParameterError
        If an argument is invalid, or a probe has no embedding.
    StoreError
        If the run keeps no crops.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=4, per_subject=2)
    >>> maps = fl.saliency.identification_maps(
    ...     faces, fl.testing.model(), probes=[faces.names[1]], top=2, n_masks=20, progress=False
    ... )
    >>> maps["score"].values.tolist(), maps["rank"].values.tolist()
    (['similarity', 'similarity', 'margin'], [1, 2, 1])
    """
    probe_rows, enrolled = _rows(faces, probes, gallery)
    tree = embed(faces, models=[model], store=store, **run)
    url = str(tree.attrs["store"])
    searches = _searches(faces, model, url, probe_rows, enrolled)
    people, sources = (
        np.unique(values.astype(str), return_inverse=True)[1]
        for values in (faces.subjects, faces.sources)
    )
    settings = (n_masks, reliability, patch, n_patches, fill, correlation, seed)
    options: dict[str, Any] = dict(zip(_OPTIONS, settings, strict=True))

    def compute() -> Arrays:
        found: list[_Search] = []
        with progress_bar(
            f"{model.name}: CorrRISE", len(probe_rows), "search", shown=run.get("progress", True)
        ) as bar:
            for i, row in enumerate(searches.probes):
                allowed = np.flatnonzero(sources[searches.enrolled] != sources[row])
                vectors = searches.embeddings[allowed]
                people_of = people[searches.enrolled[allowed]]
                candidates, estimate = identification_estimate(
                    model,
                    searches.crops[i],
                    vectors,
                    people=people_of,
                    top=top,
                    batch_size=run.get("batch_size"),
                    **options,
                )
                unmasked = cosines(searches.intact[i : i + 1], vectors)[0]
                others = unmasked[people_of != people_of[candidates[0]]]
                scores = np.append(unmasked[candidates], unmasked[candidates[0]] - others.max())
                found.append(_Search(searches.enrolled[allowed[candidates]], scores, estimate))
                bar.update(1)
        return _arrays(found)

    about = {
        "model": model.fingerprint(),
        "top": top,
        **options,
        "content": digest_of(
            searches.crops,
            searches.intact,
            searches.embeddings,
            people[searches.enrolled],
            people[searches.probes],
            sources[searches.enrolled],
            sources[searches.probes],
        ),
    }
    arrays, seconds, known = kept(url, "identification", about, compute)
    passes = int(arrays["n_masks"].sum()) + len(probe_rows)
    attrs = {
        **{name: value for name, value in options.items() if value is not None},
        "top": top,
        "method": "corrrise",
        "model": model.name,
        "side": "probe",
        "n_enrolled": len(np.unique(people[enrolled])),
        "passes": passes,
        "seconds": seconds,
        "forward_passes": 0 if known else passes,
        "store": url,
    }
    return _dataset(faces, probe_rows, arrays).assign_attrs(attrs)


def _rows(
    faces: Faces, probes: Sequence[str], gallery: Sequence[str] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the probes and of the enrolled faces.

    Raises
    ------
    ParameterError
        If a name is unknown or repeated, or a face is a probe and enrolled.
    """
    names = {name: row for row, name in enumerate(faces.names)}

    def rows_of(what: str, given: Sequence[str]) -> npt.NDArray[np.int64]:
        chosen = [str(name) for name in given]
        if isinstance(given, str) or not chosen:
            raise ParameterError(f"{what}={given!r}: give the names of one or more faces")
        unknown = [name for name in chosen if name not in names]
        if unknown:
            raise ParameterError(
                f"{what}: {len(unknown):,} names are not in face set {faces.name!r}, such as "
                f"{unknown[0]!r}"
            )
        if len(set(chosen)) < len(chosen):
            raise ParameterError(f"{what}: a name is repeated; expected each face once")
        return np.array([names[name] for name in chosen], np.int64)

    searched = rows_of("probes", probes)
    if gallery is not None:
        enrolled = rows_of("gallery", gallery)
        both = np.intersect1d(searched, enrolled)
        if len(both):
            raise ParameterError(
                f"gallery: face {faces.names[both[0]]!r} is also a probe; a face is one or other"
            )
        return searched, enrolled
    free = ~faces.degraded
    free[searched] = False
    rows = np.flatnonzero(free)
    first = np.unique(faces.subjects[rows].astype(str), return_index=True)[1]
    return searched, np.sort(rows[first]).astype(np.int64)


def _searches(
    faces: Faces,
    model: Model,
    store: str,
    probes: npt.NDArray[np.int64],
    enrolled: npt.NDArray[np.int64],
) -> _Searches:
    """Read the crops of the probes and the embeddings of the enrolled faces that have one.

    Raises
    ------
    ParameterError
        If a probe has no embedding.
    StoreError
        If the run keeps no crops.
    """
    crops = open_crops(store, template=model.spec.template)
    if "crop" not in crops:
        raise StoreError(f"run {store!r} keeps no crops, which are required to mask the probes")
    names = np.array(faces.names, object)
    embeddings = open_embeddings(store, model=model.name)
    intact = embeddings.sel(face=names[probes]).to_numpy()
    usable = np.isfinite(intact).all(axis=1)
    if not usable.all():
        raise ParameterError(
            f"probes: {int((~usable).sum()):,} faces have no embedding, such as "
            f"{names[probes][~usable][0]!r}"
        )
    vectors = embeddings.sel(face=names[enrolled]).to_numpy()
    present = np.isfinite(vectors).all(axis=1)
    pixels = crops["crop"].sel(face=names[probes]).to_numpy()
    return _Searches(probes, enrolled[present], pixels, intact, vectors[present])


def _arrays(found: Sequence[_Search]) -> Arrays:
    """Arrays of all searches; the first axis is the search, the second the score."""
    estimates = [one.estimate for one in found]
    return {
        "candidate": np.stack([one.candidates for one in found]),
        "similarity": np.stack([one.scores for one in found]),
        "map": np.stack([one.maps for one in estimates]),
        "error": np.stack([one.standard_error for one in estimates]),
        "n_masks": np.array([one.n_masks for one in estimates], np.int64),
        "converged": np.array([one.converged for one in estimates]),
    }


def _dataset(faces: Faces, probes: npt.NDArray[np.int64], arrays: Arrays) -> xr.Dataset:
    """Dataset along the pairs of all searches, with the margin after the candidates."""
    n, n_top = arrays["candidate"].shape
    reference = np.concatenate([arrays["candidate"], arrays["candidate"][:, :1]], axis=1).ravel()
    probe = np.repeat(probes, n_top + 1)
    names, subjects = np.array(faces.names, object), faces.subjects
    is_margin = np.tile(np.arange(n_top + 1) == n_top, n)
    height, width = arrays["map"].shape[2:]
    n_pairs = n * (n_top + 1)
    maps = xr.Dataset(
        {
            "map": (("pair", "y", "x"), arrays["map"].reshape(n_pairs, height, width)),
            "standard_error": (("pair", "y", "x"), arrays["error"].reshape(n_pairs, height, width)),
            "similarity": ("pair", arrays["similarity"].ravel()),
            "n_masks": ("pair", np.repeat(arrays["n_masks"], n_top + 1)),
            "converged": ("pair", np.repeat(arrays["converged"], n_top + 1)),
        },
        coords={
            "pair": np.arange(n_pairs),
            "probe": ("pair", names[probe]),
            "reference": ("pair", names[reference]),
            "probe_subject": ("pair", subjects[probe]),
            "reference_subject": ("pair", subjects[reference]),
            "genuine": ("pair", subjects[probe] == subjects[reference]),
            "rank": ("pair", np.tile([*range(1, n_top + 1), 1], n)),
            "score": ("pair", np.where(is_margin, "margin", "similarity").astype(object)),
            "y": ("y", np.arange(height), {"long_name": "row", "units": "pixels"}),
            "x": ("x", np.arange(width), {"long_name": "column", "units": "pixels"}),
        },
    )
    return named(maps, _NAMES)

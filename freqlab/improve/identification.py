"""Identification: searches of a gallery of enrolled people, in terms of ISO/IEC 19795-1.

Closed set: the rank of the probe's own person among all enrolled people, and the share of mated
searches in which it is at most k (the cumulative match characteristic, CMC). Open set: the share of
non-mated searches that return somebody (false positive identification rate, FPIR), and the share of
mated searches that do not return the own person at rank 1 at or above the threshold (false negative
identification rate, FNIR).

The score of a person is the highest similarity over their enrolled faces. Of equal scores, those of
other people count as higher. Scores are computed in blocks, of which only the highest are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import make_attrs, names_of, with_object_text
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.table import Faces
from freqlab.results.selection import fmr_text
from freqlab.run.calls import embed
from freqlab.run.studies import RunOptions, Studied
from freqlab.statistics.error_rates import (
    check_fmrs,
    comparisons_needed,
    threshold_at_fmr,
)
from freqlab.statistics.rate_intervals import mean_rate
from freqlab.statistics.resampling import (
    ESTIMATES,
    FEWEST_PEOPLE,
    check_level,
)
from freqlab.statistics.vectors import is_usable, unit_length
from freqlab.store.reading import open_embeddings
from freqlab.text.wording import percent

__all__ = [
    "FPIRS",
    "Searches",
    "describe_identification",
    "identification_table",
    "identify",
    "search",
]

FPIRS = (1e-2, 1e-3)
"""False positive identification rates at which thresholds are set."""

_SCORES_PER_BLOCK = 1 << 22
_FACES_PER_BLOCK = 8192
_ABSENT, _LEFT_OUT = "people who are not enrolled", "enrolled people, whose own faces are left out"

Floats = npt.NDArray[np.floating]
Codes = npt.NDArray[np.integer]


class Searches(NamedTuple):
    """What remains of the scores of each probe ``(probe,)``."""

    own: npt.NDArray[np.float32]
    """Score of the own person; NaN if not enrolled."""
    highest_other: npt.NDArray[np.float32]
    """Highest score of another person; minus infinity if there is none."""
    rank: npt.NDArray[np.int64]
    """Rank of the own person, from 1; 0 if not enrolled."""


def identify(
    faces: Faces,
    *,
    models: Studied,
    gallery: Sequence[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    fpirs: Sequence[float] = FPIRS,
    max_rank: int = 50,
    level: float = 0.95,
    **run: Unpack[RunOptions],
) -> xr.Dataset:
    """Compute identification rates of models on a face set, with intervals over people.

    Parameters
    ----------
    faces
        The faces. Those that are not enrolled are probes.
    models, store
        As for :func:`freqlab.influence`.
    **run
        Options of the computation, as for :func:`freqlab.influence`.
    gallery
        Names of the enrolled faces; by default, of each person with two photographs or more, the
        first that is not degraded.
    fpirs
        False positive identification rates of the thresholds.
    max_rank
        Highest rank of the CMC; at most the number of enrolled people.
    level
        Coverage of the intervals, over the people of the probes; the gallery is fixed.

    Returns
    -------
    xarray.Dataset
        Along ``model`` and ``estimate`` (value, lower, upper): ``identification_rate(rank)``, the
        CMC; ``false_negative_identification_rate(fpir)`` at ``threshold(fpir)``, NaN where fewer
        than ten errors are expected, with the reason in ``note(fpir)``; ``curve(curve_fpir)``,
        FNIR over FPIR, without estimate; ``n_mated``, ``n_non_mated`` searches, ``n_people`` of the
        mated ones, ``n_enrolled`` people, ``n_gallery`` faces, ``n_left_out`` faces without an
        embedding. Non-mated searches are those of people who are not enrolled; if there are none,
        each probe is searched among all other people (``attrs["non_mated"]``).

    Raises
    ------
    ParameterError
        If an argument does not fit, or no probe's person is enrolled.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=8, per_subject=3)
    >>> found = fl.identify(faces, models=[fl.testing.model()], progress=False)
    >>> int(found["n_enrolled"].item()), int(found["n_mated"].item())
    (8, 16)
    """
    check_level(level)
    rates = check_fmrs(fpirs)
    check_number("max_rank", max_rank, at_least=1, whole=True)
    enrolled = _enrolled(faces, gallery)
    tree = embed(faces, models=models, store=store, **run)
    url, names = str(tree.attrs["store"]), [str(name) for name in tree.attrs["models"]]
    subjects, sources = (
        np.unique(values.astype(str), return_inverse=True)[1]
        for values in (faces.subjects, faces.sources)
    )
    n_enrolled = len(np.unique(subjects[enrolled]))
    ranks = np.arange(1, min(max_rank, n_enrolled) + 1)
    of_models = []
    for name in names:
        vectors = open_embeddings(url, model=name).sel(face=faces.names).to_numpy()
        usable = is_usable(vectors)
        probes = np.flatnonzero(~enrolled & usable)
        held = np.flatnonzero(enrolled & usable)
        found = search(
            vectors[probes],
            vectors[held],
            subjects[probes],
            subjects[held],
            probe_sources=sources[probes],
            gallery_sources=sources[held],
        )
        absent = ~np.isin(subjects[probes], subjects[held])
        figures = _figures(found, absent, subjects[probes], rates, ranks, level)
        counts = {
            "n_enrolled": (len(np.unique(subjects[held])), "people enrolled"),
            "n_gallery": (len(held), "faces enrolled"),
            "n_left_out": (int((~usable).sum()), "faces without an embedding"),
        }
        of_models.append(
            figures.assign({k: ((), n, {"long_name": text}) for k, (n, text) in counts.items()})
        )
    axis = pd.Index(np.array(names, object), name="model")
    result = xr.concat(of_models, axis, combine_attrs="drop_conflicts")
    return with_object_text(result).assign_attrs(
        make_attrs(
            store=url,
            face_set=faces.name,
            level=level,
            gallery="first of each person" if gallery is None else "the faces given",
        )
    )


def search(
    probes: Floats,
    gallery: Floats,
    probe_subjects: Codes,
    gallery_subjects: Codes,
    *,
    probe_sources: Codes | None = None,
    gallery_sources: Codes | None = None,
    scaled: bool = True,
) -> Searches:
    """Search each probe in a gallery, in bounded memory.

    Parameters
    ----------
    probes, gallery
        Embeddings ``(probe, feature)`` and ``(face, feature)``, of any length but zero.
    probe_subjects, gallery_subjects
        Number of the subject of each ``(probe,)`` and ``(face,)``.
    probe_sources, gallery_sources
        Number of the photograph that each derives from; a probe is not compared with an enrolled
        face of its own photograph.
    scaled
        Whether embeddings are scaled to unit length, so that scores are cosines. Otherwise scores
        are inner products, which must not be below -1.

    Raises
    ------
    ParameterError
        If the gallery is empty, or shapes differ.
    """
    if len(gallery) == 0:
        raise ParameterError("gallery: no face is enrolled with an embedding; one is required")
    if probes.ndim != 2 or gallery.ndim != 2 or probes.shape[1] != gallery.shape[1]:
        raise ParameterError(
            f"gallery has shape {gallery.shape} and the probes {probes.shape}; expected "
            f"(face, feature) with as many features"
        )
    order = np.argsort(gallery_subjects, kind="stable")
    of_face = np.asarray(gallery_subjects)[order]
    enrolled, wanted = np.array(gallery[order], np.float32), np.array(probes, np.float32)
    if scaled:
        enrolled, wanted = unit_length(enrolled), unit_length(wanted)
    same_source = probe_sources is not None and gallery_sources is not None
    own = np.full(len(wanted), np.nan, np.float32)
    first, last = (np.searchsorted(of_face, probe_subjects, side=s) for s in ("left", "right"))
    for i in np.flatnonzero(last > first):
        places = np.arange(first[i], last[i])
        if same_source:
            places = places[gallery_sources[order[places]] != probe_sources[i]]  # type: ignore[index]
        if len(places):
            own[i] = (enrolled[places] @ wanted[i]).max()
    highest = np.full(len(wanted), -np.inf, np.float32)
    above = np.zeros(len(wanted), np.int64)
    for begin, end in _blocks(of_face):
        starts = np.flatnonzero(np.append(True, np.diff(of_face[begin:end]) != 0))
        people = of_face[begin:end][starts]
        step = max(1, _SCORES_PER_BLOCK // (end - begin))
        for lower in range(0, len(wanted), step):
            part = slice(lower, lower + step)
            scores = wanted[part] @ enrolled[begin:end].T
            of_person = np.maximum.reduceat(scores, starts, axis=1)
            of_person[np.asarray(probe_subjects)[part, None] == people] = -np.inf
            highest[part] = np.maximum(highest[part], of_person.max(axis=1))
            # with NaN as own score nothing is above
            above[part] += (of_person >= own[part, None]).sum(axis=1)
    return Searches(own, highest, np.where(np.isfinite(own), above + 1, 0))


def _blocks(of_face: Codes) -> Iterator[tuple[int, int]]:
    """Ranges of enrolled faces, with all faces of a person in one range."""
    begin, n = 0, len(of_face)
    while begin < n:
        end = min(begin + _FACES_PER_BLOCK, n)
        end = int(np.searchsorted(of_face, of_face[end - 1], side="right"))
        yield begin, end
        begin = end


def _enrolled(faces: Faces, gallery: Sequence[str] | None) -> npt.NDArray[np.bool_]:
    """Whether each face is enrolled.

    Raises
    ------
    ParameterError
        If a name is unknown or repeated, or no person has an enrolled face and a probe.
    """
    subjects = faces.subjects.astype(str)
    names = np.array(faces.names, object)
    if gallery is None:
        counts = pd.Series(subjects).value_counts()
        several = pd.Series(subjects).map(counts).to_numpy() > 1
        candidates = pd.Series(subjects).where(several & ~faces.degraded)
        enrolled = (~candidates.duplicated() & candidates.notna()).to_numpy()
    else:
        if isinstance(gallery, str):
            raise ParameterError(f"gallery={gallery!r} must be a list of names of faces")
        chosen = [str(name) for name in gallery]
        known = set(faces.names)
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise ParameterError(
                f"gallery: {len(unknown)} of {len(chosen)} names are not faces of "
                f"{faces.name!r}, such as {unknown[0]!r}"
            )
        if len(set(chosen)) < len(chosen):
            raise ParameterError("gallery: a name is repeated; expected each face once")
        enrolled = np.isin(names, chosen)
    if not np.isin(subjects[~enrolled], subjects[enrolled]).any():
        raise ParameterError(
            f"gallery: {int(enrolled.sum()):,} faces are enrolled, and no other photograph of "
            f"their people is left as a probe; mated searches require one"
        )
    return np.asarray(enrolled)


def _figures(
    found: Searches,
    absent: npt.NDArray[np.bool_],
    subjects: Codes,
    fpirs: tuple[float, ...],
    ranks: npt.NDArray[np.int64],
    level: float,
) -> xr.Dataset:
    """Rates of the searches of one model; `absent` marks probes of people not enrolled."""
    mated = found.rank > 0
    if not mated.any():
        raise ParameterError("gallery: no probe has an embedding and an enrolled person")
    others = found.highest_other[absent] if absent.any() else found.highest_other
    others = others[np.isfinite(others)]
    own, rank, people = found.own[mated], found.rank[mated], np.asarray(subjects)[mated]
    n_people = len(np.unique(people))

    def rate(errors: npt.NDArray[np.bool_]) -> list[float]:
        own_pairs = np.stack([people, people])
        found = mean_rate(errors.astype(float), own_pairs, n_photographs=len(people), level=level)
        return [float(value) for value in found.estimates]

    missed = np.array([rate(rank > k) for k in ranks])
    identified = 1 - missed[:, [0, 2, 1]]
    thresholds = [threshold_at_fmr(others, fpir) for fpir in fpirs]
    notes, fnir = [], np.full((len(fpirs), 3), np.nan)
    for k, (edge, fpir) in enumerate(zip(thresholds, fpirs, strict=True)):
        needed = comparisons_needed(fpir)
        notes.append("")
        if np.isfinite(edge):
            fnir[k] = rate((own < edge) | (rank > 1))
        else:
            notes[k] = f"{len(others):,} non-mated searches; {needed:,} are required"
    curve_fpir = np.logspace(-4, 0, 81)
    rate_1 = {"long_name": "false negative identification rate", "units": "1"}
    return xr.Dataset(
        {
            "identification_rate": (
                ("rank", "estimate"),
                identified,
                {"long_name": "identification rate", "units": "1"},
            ),
            "false_negative_identification_rate": (("fpir", "estimate"), fnir, rate_1),
            "threshold": ("fpir", thresholds, {"long_name": "threshold", "units": "1"}),
            "note": ("fpir", np.array(notes, object)),
            "curve": ("curve_fpir", _curve(own, rank, others, curve_fpir), rate_1),
            "n_mated": ((), int(mated.sum()), {"long_name": "mated searches"}),
            "n_non_mated": ((), len(others), {"long_name": "non-mated searches"}),
            "n_people": ((), n_people, {"long_name": "people of the mated searches"}),
        },
        coords={
            "rank": ("rank", ranks, {"long_name": "rank", "units": "1"}),
            "fpir": (
                "fpir",
                list(fpirs),
                {"long_name": "false positive identification rate", "units": "1"},
            ),
            "curve_fpir": (
                "curve_fpir",
                curve_fpir,
                {"long_name": "false positive identification rate", "units": "1"},
            ),
            "estimate": list(ESTIMATES),
        },
        attrs={"non_mated": _ABSENT if absent.any() else _LEFT_OUT},
    )


def _curve(
    own: Floats, rank: npt.NDArray[np.int64], others: Floats, fpirs: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """FNIR at each FPIR; NaN where fewer than ten false positives are expected."""
    rates = np.full(len(fpirs), np.nan)
    for k, fpir in enumerate(fpirs):
        if fpir < 1 and len(others) >= comparisons_needed(float(fpir)):
            edge = threshold_at_fmr(others, float(fpir))
            rates[k] = ((own < edge) | (rank > 1)).mean()
        elif fpir >= 1:
            rates[k] = (rank > 1).mean()
    return rates


def identification_table(result: xr.Dataset, *, ranks: Sequence[int] = (1, 5, 20)) -> pd.DataFrame:
    """Tabulate identification rates, a row per model, intervals in brackets.

    Parameters
    ----------
    result
        From :func:`freqlab.identify`.
    ranks
        Ranks of the closed set; those beyond the result are left out.

    Returns
    -------
    pandas.DataFrame
        A row for each model; intervals in brackets.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(6, 3)
    >>> found = fl.identify(faces, models=[fl.testing.model()], fpirs=[0.1], progress=False)
    >>> fl.improve.identification_table(found, ranks=[1, 5]).columns.tolist()
    ['rank 1', 'rank 5', 'FNIR at FPIR 1e-1']
    """
    known: Mapping[Any, Any] = dict.fromkeys(result["rank"].to_numpy().tolist())
    rows = {}
    for name in names_of(result, "model"):
        one = result.sel(model=name)
        row = {
            f"rank {rank}": percent(one["identification_rate"].sel(rank=rank))
            for rank in ranks
            if rank in known
        }
        for fpir in one["fpir"].to_numpy():
            at = one.sel(fpir=fpir)
            rate = percent(at["false_negative_identification_rate"])
            row[f"FNIR at FPIR {fmr_text(fpir)}"] = rate or str(at["note"].item())
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def describe_identification(result: xr.Dataset, *, model: str) -> str:
    """State the searches and the identification rates of a model.

    Parameters
    ----------
    result
        From :func:`freqlab.identify`.
    model
        Name of the model.

    Returns
    -------
    str
        Sentences.

    Raises
    ------
    UnknownNameError
        If the result has no such model.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(6, 3)
    >>> found = fl.identify(faces, models=[fl.testing.model()], fpirs=[0.1], progress=False)
    >>> print(fl.improve.describe_identification(found, model="linear"))
    12 searches among 6 enrolled people find the own person at rank 1 in 100.00 % ...
    """
    check_name("model", model, names_of(result, "model"))
    one = result.sel(model=model)
    text = (
        f"{int(one['n_mated']):,} searches among {int(one['n_enrolled']):,} enrolled people find "
        f"the own person at rank 1 in {percent(one['identification_rate'].sel(rank=1), 2)} of the "
        f"cases."
    )
    for fpir in one["fpir"].to_numpy():
        at = one.sel(fpir=fpir)
        rate = percent(at["false_negative_identification_rate"], 2)
        text += (
            f" FNIR at FPIR {fmr_text(fpir)} is {rate}."
            if rate
            else f" FPIR {fmr_text(fpir)} is not resolved: {at['note'].item()}."
        )
    text += f" Non-mated searches are of {result.attrs['non_mated']}."
    if int(one["n_people"]) < FEWEST_PEOPLE:
        text += f" {int(one['n_people'])} people are too few to compare."
    return text

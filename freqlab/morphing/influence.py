"""Morphing attacks: vulnerability of models, and influence of frequencies under attack.

The document is the reference, the live photograph the probe. The profiles show influence over
bona fide and attack pairs. Huber et al. (2025, FX-MAD) report that the two differ; how influence is
averaged and compared here is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.datasets.pair_tables import BONA_FIDE, CONTROL
from freqlab.errors import ParameterError
from freqlab.faces.pairs import check_pairs
from freqlab.faces.table import Faces
from freqlab.morphing.paired import match_rate_difference
from freqlab.morphing.sets import untouched
from freqlab.results.quantities import (
    means_by,
    quantity,
    with_differences,
    with_intervals,
)
from freqlab.results.selection import with_axes
from freqlab.statistics.error_rates import FMRS, cosines_of, impostor_thresholds
from freqlab.statistics.rate_intervals import mean_rate
from freqlab.statistics.resampling import ESTIMATES, check_draws, check_level
from freqlab.verification.performance import check_embeddings

__all__ = ["profiles", "vulnerability"]

_PEOPLE = ("contributor_a", "contributor_b")
_POOLED = "all"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Trials:
    """Bona fide pairs and morphs to be compared at thresholds, the same for every model."""

    kinds: list[str]
    """Names of the attacks."""
    bona_fide: npt.NDArray[np.bool_]
    """Whether each pair is bona fide ``(pair,)``."""
    person: npt.NDArray[np.int64]
    """Position of the first contributor of each pair in the subjects ``(pair,)``."""
    positions: npt.NDArray[np.int32]
    """Positions of the two faces of each pair ``(pair, 2)``."""
    morphs: pd.DataFrame
    """From :func:`_morphs`."""
    subjects: npt.NDArray[Any]
    """Names of all contributors, sorted."""
    level: float


def profiles(
    result: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Compute mean influence over bona fide, control and attack pairs, and differences.

    Intervals come from a bootstrap over people: a bona fide pair is weighted by the count of its
    person, an attack pair by the product of the counts of both contributors.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over :func:`freqlab.morphing.make_pairs`.
    n_draws, level, seed
        Bootstrap draws, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``attack`` (bona fide first), ``model``, ``side``, ``band`` and ``estimate``
        (value, lower, upper): ``directed``, ``absolute``, ``per_contrast`` and ``energy`` (of the
        masked side, squared grey levels), each also as ``..._difference`` from bona fide;
        ``effect_size(attack, model, side, band)`` of the directed difference (over the standard
        deviation of bona fide pairs); ``n_pairs(attack, model)``; ``n_people(attack)``.

    Raises
    ------
    ParameterError
        If the result is not over such pairs.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces, model = fl.testing.morphed_faces(8, 3), fl.testing.model()
    >>> pairs = fl.morphing.make_pairs(faces)
    >>> result = fl.influence(faces, pairs, models=[model], bands="rings:28", progress=False)
    >>> profiles = fl.morphing.profiles(result, n_draws=20)
    >>> profiles["attack"].to_numpy().tolist()[0]
    'bona fide'
    """
    check_draws(n_draws, level, seed)
    result = with_axes(result)
    kinds = _kinds(result)
    attack = result["attack"].to_numpy().astype(str)
    means = means_by(
        result,
        {"attack": pd.Categorical(attack, kinds)},
        quantities=("directed", "absolute", "per_contrast", "energy"),
        people=_PEOPLE,
        n_draws=n_draws,
        seed=seed,
    )
    means = with_differences(means, "attack", kinds.index(BONA_FIDE))
    profiles = with_intervals(means, level).drop_vars("n_subjects")
    spread = np.nanstd(quantity(result, "directed")[attack == BONA_FIDE], axis=0)
    change = profiles["directed_difference"].sel(estimate="value", drop=True)
    effect = change / np.where(spread > 0, spread, np.nan)
    about = {"long_name": "difference over spread", "units": "1"}
    profiles["effect_size"] = effect.assign_attrs(about)
    people = np.stack([result[column].to_numpy().astype(str) for column in _PEOPLE])
    n_people = [len(np.unique(people[:, attack == kind])) for kind in kinds]
    return profiles.assign(n_people=("attack", n_people, {"long_name": "people"}))


def vulnerability(
    embeddings: Mapping[str, npt.NDArray[np.floating]],
    faces: Faces,
    pairs: pd.DataFrame,
    *,
    thresholds: Mapping[str, float] | None = None,
    level: float = 0.95,
) -> xr.Dataset:
    """Compute the share of morphs that match both contributors (MMPMR; Scherhag et al. 2017).

    Parameters
    ----------
    embeddings
        Untouched embeddings ``(face, feature)`` of each model, by its name, in the order of the
        faces; NaN for a face without an embedding.
    faces
        The faces, including morphs.
    pairs
        From :func:`freqlab.morphing.make_pairs`, or a table of them (:func:`freqlab.read_pairs`).
    thresholds
        A decision threshold for each model, carried over from a larger set. By default, the
        resolved thresholds at fixed false match rates over all impostor comparisons of the
        photographs in `faces`, excluding documents of attack and control pairs.
    level
        Coverage of the intervals over people.

    Returns
    -------
    xarray.Dataset
        Along ``model``, ``attack`` (each, then ``"all"``), ``fmr`` (NaN for a threshold carried
        over) and ``estimate``: ``mmpmr``, the share of morphs that match at least one live
        photograph of each contributor; ``prodavg_mmpmr``, the mean product of the shares of the
        contributors' live photographs that match; ``false_non_match_rate`` of bona fide pairs,
        without ``attack``. ``mmpmr_difference``, also along ``other_attack``: MMPMR of the attack
        minus that of the other attack, over the same people; NaN for an attack and itself.
        ``threshold(model, fmr)``; ``impostor_comparisons(model)``; ``n_morphs`` and ``n_people``
        ``(model, attack)``: morphs compared with both contributors, and their contributors.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces()
    >>> pairs = fl.morphing.make_pairs(faces)
    >>> tree = fl.embed(faces, models=[fl.testing.model()], store="run.zarr", progress=False)
    >>> vectors = fl.open_embeddings("run.zarr", model="linear").sel(face=faces.names).to_numpy()
    >>> options = {"thresholds": {"linear": 0.6}}
    >>> risk = fl.morphing.vulnerability({"linear": vectors}, faces, pairs, **options)
    >>> risk["mmpmr"].dims
    ('model', 'attack', 'fmr', 'estimate')
    """
    check_level(level)
    checked = check_embeddings(embeddings, faces)
    positions = check_pairs(faces, pairs)
    attack = pairs["attack"].astype(str).to_numpy()
    kinds = [k for k in dict.fromkeys(attack) if k not in (BONA_FIDE, CONTROL)]
    if not kinds:
        raise ParameterError("pairs contain no attack; fl.morphing.make_pairs makes such pairs")
    if thresholds is not None and set(thresholds) != set(embeddings):
        raise ParameterError(
            f"thresholds are given for {sorted(thresholds)} and embeddings for "
            f"{sorted(embeddings)}; give one for each model"
        )
    subjects = np.unique(np.stack([pairs[f"contributor_{k}"].astype(str) for k in "ab"]))
    trials = _Trials(
        kinds=kinds,
        bona_fide=attack == BONA_FIDE,
        person=np.searchsorted(subjects, pairs["contributor_a"].astype(str).to_numpy()),
        positions=positions,
        morphs=_morphs(faces, pairs, positions),
        subjects=subjects,
        level=level,
    )
    whole = untouched(faces, pairs)
    of_models = []
    for name, vectors in checked.items():
        resolved, n_impostor = impostor_thresholds(
            vectors[whole], faces.subjects[whole], faces.sources[whole]
        )
        edges, fmrs = np.array(resolved), np.array(FMRS)
        if thresholds is not None:
            edges, fmrs = np.array([thresholds[name]]), np.array([np.nan])
        rates = _rates(cosines_of(vectors, positions), trials, edges, fmrs)
        rates["impostor_comparisons"] = ((), n_impostor)
        of_models.append(rates)
    axis = xr.Variable("model", np.array(list(embeddings), object), {"long_name": "model"})
    return xr.concat(of_models, axis).assign_attrs(
        level=level,
        thresholds="all impostor comparisons of the photographs" if thresholds is None else "given",
    )


def _kinds(result: xr.Dataset) -> list[str]:
    """List the kinds of pairs in the result, bona fide first, the control second."""
    absent = [n for n in ("attack", "contributor_a", "contributor_b") if n not in result.coords]
    if absent:
        raise ParameterError(
            f"the pairs lack the columns {absent}; fl.morphing.make_pairs makes pairs with them"
        )
    kinds = list(dict.fromkeys(result["attack"].to_numpy().astype(str)))
    if BONA_FIDE not in kinds:
        raise ParameterError("there is no bona fide pair with which attacks can be compared")
    first = [kind for kind in (BONA_FIDE, CONTROL) if kind in kinds]
    return [*first, *(kind for kind in kinds if kind not in first)]


def _morphs(faces: Faces, pairs: pd.DataFrame, positions: npt.NDArray[np.int32]) -> pd.DataFrame:
    """Tabulate the rows of attack pairs, with the morph and the subject of the live photograph."""
    live = faces.subjects[positions[:, 0]].astype(str)
    attacks = ~pairs["attack"].isin([BONA_FIDE, CONTROL]).to_numpy()
    table = pd.DataFrame(
        {
            "row": np.arange(len(pairs)),
            "morph": pairs["reference"].astype(str).to_numpy(),
            "live": live,
            "attack": pairs["attack"].astype(str).to_numpy(),
            "a": pairs["contributor_a"].astype(str).to_numpy(),
            "b": pairs["contributor_b"].astype(str).to_numpy(),
        }
    )
    return table[attacks]


def _rates(
    similarity: npt.NDArray[np.float32], trials: _Trials, edges: Floats, fmrs: Floats
) -> xr.Dataset:
    """Compute the rates of one model at each threshold, and their differences between attacks."""
    kinds = [*trials.kinds, _POOLED]
    minmax, product = np.full((2, len(kinds), len(edges), 3), np.nan)
    fnmr = np.full((len(edges), 3), np.nan)
    differences = np.full((len(kinds), len(trials.kinds), len(edges), 3), np.nan)
    n_morphs, n_people = np.zeros((2, len(kinds)), np.int64)
    for f in np.flatnonzero(~np.isnan(edges)):
        fnmr[f] = _rejected(similarity, trials, edges[f])
        matched = _matched_morphs(similarity, trials, edges[f])
        of_kinds = {
            kind: matched if kind == _POOLED else matched[matched["attack"] == kind]
            for kind in kinds
        }
        people = {
            kind: rows[["person_a", "person_b"]].to_numpy().T for kind, rows in of_kinds.items()
        }
        for k, (kind, rows) in enumerate(of_kinds.items()):
            n_morphs[k], n_people[k] = len(rows), len(np.unique(people[kind]))
            for target, column in ((product, "mean"), (minmax, "max")):
                values = rows[column].to_numpy(float)
                target[k, f] = mean_rate(values, people[kind], level=trials.level).estimates
            for j, other in enumerate(trials.kinds):
                first, second = (of_kinds[one]["max"].to_numpy(float) for one in (kind, other))
                differences[k, j, f] = match_rate_difference(
                    first, second, (people[kind], people[other]), level=trials.level
                )
    itself = np.arange(len(trials.kinds))
    differences[itself, itself] = np.nan
    axes = ("attack", "fmr", "estimate")
    about = {"long_name": "MMPMR", "units": "1"}
    change = {"long_name": "difference in MMPMR", "units": "1"}
    rejected = {"long_name": "false non-match rate", "units": "1"}
    return xr.Dataset(
        {
            "mmpmr": (axes, minmax, about),
            "prodavg_mmpmr": (axes, product, {**about, "long_name": "MMPMR, product form"}),
            "mmpmr_difference": (("attack", "other_attack", *axes[1:]), differences, change),
            "false_non_match_rate": (axes[1:], fnmr, rejected),
            "threshold": ("fmr", edges, {"long_name": "threshold", "units": "cosine similarity"}),
            "n_morphs": ("attack", n_morphs, {"long_name": "morphs"}),
            "n_people": ("attack", n_people, {"long_name": "people"}),
        },
        coords={
            "attack": np.array(kinds, object),
            "other_attack": np.array(trials.kinds, object),
            "fmr": ("fmr", fmrs, {"long_name": "nominal false match rate", "units": "1"}),
            "estimate": list(ESTIMATES),
        },
    )


def _rejected(similarity: npt.NDArray[np.float32], trials: _Trials, edge: float) -> Floats:
    """Compute the false non-match rate of bona fide pairs, with its interval."""
    usable = trials.bona_fide & np.isfinite(similarity)
    person = trials.person[usable]
    below = (similarity[usable] < edge).astype(float)
    n_photographs = len(np.unique(trials.positions[usable]))
    people = np.stack([person, person])
    return mean_rate(below, people, n_photographs=n_photographs, level=trials.level).estimates


def _matched_morphs(
    similarity: npt.NDArray[np.float32], trials: _Trials, edge: float
) -> pd.DataFrame:
    """Tabulate morphs compared with both contributors, and how they match at a threshold.

    Returns
    -------
    pandas.DataFrame
        A row for each morph: ``attack``; ``max``, whether at least one live photograph of each
        contributor matches; ``mean``, product over contributors of the shares of their live
        photographs that match; ``person_a`` and ``person_b``, positions of the contributors.
    """
    morph = ["morph", "attack", "a", "b"]
    rows = trials.morphs[np.isfinite(similarity[trials.morphs["row"]])]
    rows = rows.assign(match=similarity[rows["row"]] >= edge)
    by_live = rows.groupby([*morph, "live"])["match"].agg(["max", "mean"])
    by_morph = by_live.groupby(level=morph).agg({"max": "min", "mean": "prod"})
    complete = by_live.groupby(level=morph).size() == 2  # MMPMR needs both contributors
    matched = by_morph[complete].reset_index()
    people = {
        f"person_{k}": np.searchsorted(trials.subjects, matched[k].to_numpy(str)) for k in "ab"
    }
    return matched.assign(**people)

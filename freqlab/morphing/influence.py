"""Morphing attacks: vulnerability of models, and influence of frequencies under attack.

The document is the reference, the live photograph the probe. The profiles show influence over
bona fide and attack pairs (Huber et al. 2025, FX-MAD, report that it differs; how it is averaged
and compared is our choice).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.datasets.pair_tables import BONA_FIDE, CONTROL
from freqlab.errors import ParameterError
from freqlab.faces.pairs import check_pairs
from freqlab.faces.table import Faces
from freqlab.morphing.sets import untouched
from freqlab.results.quantities import (
    means_by,
    quantity,
    with_differences,
    with_intervals,
)
from freqlab.results.selection import with_axes
from freqlab.statistics.error_rates import FMRS, cosines_of, impostor_thresholds
from freqlab.statistics.resampling import ESTIMATES, check_draws, draw_subjects, with_interval
from freqlab.verification.performance import check_embeddings

__all__ = ["profiles", "vulnerability"]

_PEOPLE = ("contributor_a", "contributor_b")

Floats = npt.NDArray[np.float64]


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
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
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
    n_draws, level, seed
        Bootstrap draws over people, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``model``, ``attack`` (each, then ``"all"``), ``fmr`` (NaN for a threshold carried
        over) and ``estimate``: ``mmpmr``, the share of morphs that match at least one live
        photograph of each contributor; ``prodavg_mmpmr``, the mean product of the shares of the
        contributors' live photographs that match; ``false_non_match_rate`` of bona fide pairs;
        ``threshold``;
        ``impostor_comparisons(model)``; ``n_morphs(attack)``.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    """
    check_draws(n_draws, level, seed)
    checked = check_embeddings(embeddings, faces)
    positions = check_pairs(faces, pairs)
    attack = pairs["attack"].astype(str).to_numpy()
    kinds = [k for k in dict.fromkeys(attack) if k not in (BONA_FIDE, CONTROL)]
    if not kinds:
        raise ParameterError("pairs hold no attack; fl.morphing.make_pairs makes them")
    if thresholds is not None and set(thresholds) != set(embeddings):
        raise ParameterError(
            f"thresholds are of {sorted(thresholds)}, embeddings of {sorted(embeddings)}; give one "
            f"for each model"
        )
    morphs = _morphs(faces, pairs, positions)
    subjects = np.unique(np.stack([pairs[f"contributor_{k}"].astype(str) for k in "ab"]))
    draws = draw_subjects(len(subjects), n_draws, seed).astype(float)
    whole = untouched(faces, pairs)
    parts = []
    for name, vectors in checked.items():
        found, n_impostor = impostor_thresholds(
            vectors[whole], faces.subjects[whole], faces.sources[whole]
        )
        edges, rates = np.array(found), np.array(FMRS)
        if thresholds is not None:
            edges, rates = np.array([thresholds[name]]), np.array([np.nan])
        similarity = cosines_of(vectors, positions)
        parts.append(
            _rates(similarity, attack, kinds, morphs, pairs, subjects, draws, edges, rates, level)
        )
        parts[-1]["impostor_comparisons"] = ((), n_impostor)
    axis = xr.Variable("model", np.array(list(embeddings), object), {"long_name": "model"})
    found_rates = xr.concat(parts, axis)
    return found_rates.assign_attrs(
        n_draws=n_draws,
        level=level,
        seed=seed,
        thresholds="all impostor comparisons of the photographs" if thresholds is None else "given",
    )


def _kinds(result: xr.Dataset) -> list[str]:
    """Kinds of pairs in the result, bona fide first, the control second."""
    absent = [n for n in ("attack", "contributor_a", "contributor_b") if n not in result.coords]
    if absent:
        raise ParameterError(
            f"the pairs lack the columns {absent}; fl.morphing.make_pairs makes pairs with them"
        )
    kinds = list(dict.fromkeys(result["attack"].to_numpy().astype(str)))
    if BONA_FIDE not in kinds:
        raise ParameterError("there is no bona fide pair to hold attacks against")
    first = [kind for kind in (BONA_FIDE, CONTROL) if kind in kinds]
    return [*first, *(kind for kind in kinds if kind not in first)]


def _morphs(faces: Faces, pairs: pd.DataFrame, positions: npt.NDArray[np.int32]) -> pd.DataFrame:
    """Rows of pairs by morph and by the contributor in the live photograph."""
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
    similarity: npt.NDArray[np.float32],
    attack: npt.NDArray[Any],
    kinds: list[str],
    morphs: pd.DataFrame,
    pairs: pd.DataFrame,
    subjects: npt.NDArray[Any],
    draws: Floats,
    edges: Floats,
    rates: Floats,
    level: float,
) -> xr.Dataset:
    """Compute the figures of one model."""
    shown = [*kinds, "all"]
    minmax, product = np.full((2, len(shown), len(edges), 3), np.nan)
    fnmr = np.full((len(edges), 3), np.nan)
    counts = np.zeros(len(shown), np.int64)
    bona_fide = (attack == BONA_FIDE) & np.isfinite(similarity)
    person = np.searchsorted(subjects, pairs["contributor_a"].astype(str).to_numpy())
    morphs = morphs[np.isfinite(similarity[morphs["row"]])]
    for f, edge in enumerate(edges):
        if np.isnan(edge):
            continue
        refused = (similarity < edge)[bona_fide].astype(float)
        fnmr[f] = _weighted(
            refused, draws[:, person[bona_fide]], level, len(np.unique(person[bona_fide]))
        )
        match = morphs.assign(match=similarity[morphs["row"]] >= edge)
        by_live = match.groupby(["morph", "attack", "a", "b", "live"])["match"].agg(["max", "mean"])
        by_morph = by_live.groupby(level=["morph", "attack", "a", "b"]).agg(
            {"max": "min", "mean": "prod"}
        )
        both = by_live.groupby(level=["morph", "attack", "a", "b"]).size() == 2
        by_morph = by_morph[both].reset_index()  # MMPMR needs both contributors
        a, b = (np.searchsorted(subjects, by_morph[k].to_numpy(str)) for k in "ab")
        weights = draws[:, a] * draws[:, b]
        for k, kind in enumerate(shown):
            here = np.ones(len(by_morph), bool)
            if kind != "all":
                here = (by_morph["attack"] == kind).to_numpy()
            counts[k] = int(np.sum(here))
            for target, column in ((minmax, "max"), (product, "mean")):
                values = by_morph.loc[here, column].to_numpy(float)
                people = len(np.unique(np.concatenate([a[here], b[here]])))
                target[k, f] = _weighted(values, weights[:, here], level, people)
    return xr.Dataset(
        {
            "mmpmr": (("attack", "fmr", "estimate"), minmax, {"long_name": "MMPMR", "units": "1"}),
            "prodavg_mmpmr": (
                ("attack", "fmr", "estimate"),
                product,
                {"long_name": "MMPMR, product form", "units": "1"},
            ),
            "false_non_match_rate": (
                ("fmr", "estimate"),
                fnmr,
                {"long_name": "false non-match rate", "units": "1"},
            ),
            "threshold": ("fmr", edges, {"long_name": "threshold", "units": "cosine similarity"}),
            "n_morphs": ("attack", counts, {"long_name": "morphs"}),
        },
        coords={
            "attack": np.array(shown, object),
            "fmr": ("fmr", rates, {"long_name": "nominal false match rate", "units": "1"}),
            "estimate": list(ESTIMATES),
        },
    )


def _weighted(values: Floats, weights: Floats, level: float, n_people: int) -> Floats:
    """Compute a rate with its interval over draws."""
    if len(values) == 0:
        return np.full(3, np.nan)
    if not values.any() or values.all():  # no draw can change this: use the rule of three
        bound = min(1.0, 3 / n_people)
        return np.array([0, 0, bound] if not values.any() else [1, 1 - bound, 1])
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (weights @ values) / weights.sum(axis=1)
    return with_interval(np.array([values.mean()]), drawn[:, None], level)[0]

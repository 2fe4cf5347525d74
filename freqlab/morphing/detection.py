"""Morphing attack detection from influence alone: scores and error rates.

The scores are fitted without attacks, on bona fide pairs of other people, and measure how far a
pair lies from them. Error rates are those of ISO/IEC 30107-3, applied to morphs: APCER, the share
of attack pairs classified as bona fide (MACER in the literature), and BPCER, the share of bona fide
pairs classified as attacks (BSCER); D-EER where the two are equal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.datasets.pair_tables import BONA_FIDE, CONTROL
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.morphing.paired import paired_difference
from freqlab.results.selection import bands_of, with_axes
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    pair_weights,
    subject_codes,
    with_interval,
)
from freqlab.text.wording import percent

__all__ = [
    "APCERS",
    "BASELINES",
    "FEWEST_FOLDS",
    "OWN_SCORES",
    "detection_errors",
    "detection_rates",
    "detection_table",
    "scores",
]

APCERS = (0.05, 0.10)
"""APCER values at which the literature reports BPCER."""

OWN_SCORES = ("low/high", "centroid", "asymmetry", "mahalanobis")
"""Names of the scores of influence alone, except those of single bands."""

BASELINES = ("similarity", "power spectrum", "supervised")
"""Names of the baselines with which the scores are compared."""

FEWEST_FOLDS = 3
"""Smallest number of folds: the contributors of a morph can be in two."""

_LOW = 0.25  # share of the bands, from the lowest, that count as low in low/high
_FEWEST_PEOPLE = 10
_TINY = 1e-9
_CURVE = np.linspace(0, 1, 201)

Floats = npt.NDArray[np.float64]


class _Pairs(NamedTuple):
    """Inputs of the scores, for one model."""

    document: Floats
    """Directed influence, the document masked, ``(pair, band)``."""
    live: Floats
    similarity: Floats
    energy: Floats
    """Of the document in each band ``(pair, band)``."""
    centre: Floats
    people: npt.NDArray[np.int64]
    """Both contributors of the document ``(2, pair)``, the same one of a bona fide document."""
    attack: npt.NDArray[np.object_]


def scores(result: xr.Dataset, *, model: str, folds: int = 5, seed: int = 0) -> xr.Dataset:
    """Score every pair by its distance from the bona fide pairs of other people.

    People are assigned to folds. A pair is scored by a fit on the bona fide pairs of all folds
    except those of its document's contributors, so no contributor of a morph is in its fit.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over :func:`freqlab.morphing.make_pairs`, both sides masked.
    model
        Name of the model.
    folds
        Number of folds, three or more.
    seed
        Seed of the assignment to folds.

    Returns
    -------
    xarray.Dataset
        ``score(score_name, pair)``, larger for pairs less like bona fide pairs; NaN where a pair
        has no influence. The names:

        - ``band <name>``: distance of the directed influence of one band of the document from its
          bona fide mean, in standard deviations;
        - ``low/high``: the same for the log ratio of absolute influence in the lowest quarter of
          the bands to that in the others, document masked;
        - ``centroid``: the same for the mean frequency of absolute influence, document masked;
        - ``asymmetry``: the same for the Euclidean distance between the profiles with the
          document and with the live photograph masked;
        - ``mahalanobis``: distance of both profiles from the bona fide mean, with the covariance
          shrunk (Ledoit and Wolf 2004);
        - baselines: ``similarity``, with its sign reversed; ``power spectrum``, the Mahalanobis
          distance of the log energies of the document's bands, which requires no model;
          ``supervised``, linear discriminant analysis of both profiles, fitted on bona fide and
          attack pairs of other people, as an upper bound.

        Coordinates ``attack``, ``contributor_a``, ``contributor_b`` of each pair, ``fold`` of
        each person.

    Raises
    ------
    ParameterError
        If an argument does not fit, or there are too few people.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> result = study["influence"].to_dataset()
    >>> scores = fl.morphing.scores(result, model="linear")
    >>> scores["score"].dims
    ('score_name', 'pair')
    """
    check_number("folds", folds, at_least=FEWEST_FOLDS, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    result = with_axes(result)
    check_name("model", model, names_of(result, "model"))
    pairs, names = _pairs(result.sel(model=model))
    n_people = len(names)
    if n_people < _FEWEST_PEOPLE or n_people < folds:
        raise ParameterError(
            f"{n_people} people are too few to fit scores on some and test them on others; at "
            f"least {max(_FEWEST_PEOPLE, folds)} are required"
        )
    fold = np.random.default_rng(seed).permutation(n_people) % folds
    of_pair = fold[pairs.people]
    scorers = _scorers(pairs, names_of(result, "band"))
    scores = np.full((len(scorers), len(pairs.similarity)), np.nan)
    bona_fide = pairs.attack == BONA_FIDE
    for i, j in itertools.combinations_with_replacement(range(folds), 2):
        tested = (of_pair.min(axis=0) == i) & (of_pair.max(axis=0) == j)
        known = ~np.isin(of_pair, [i, j]).any(axis=0)
        usable = np.isfinite(pairs.similarity)
        fit = known & bona_fide & usable
        attacks = known & ~np.isin(pairs.attack, [BONA_FIDE, CONTROL]) & usable
        here = tested & usable
        if not here.any() or not fit.any():
            continue
        for k, scorer in enumerate(scorers.values()):
            scores[k, here] = scorer(fit, attacks, here)
    coords = {
        name: ("pair", result[name].to_numpy().astype(str).astype(object))
        for name in ("attack", "contributor_a", "contributor_b", "probe", "reference")
    }
    computed = xr.Dataset(
        {
            "score": (
                ("score_name", "pair"),
                scores,
                {"long_name": "distance from bona fide", "units": "1"},
            )
        },
        coords={
            "score_name": np.array(list(scorers), object),
            "pair": result["pair"].to_numpy(),
            **coords,
            "person": np.array(names, object),
            "fold": ("person", fold),
        },
        attrs={"model": model, "folds": folds, "seed": seed, "baselines": list(BASELINES)},
    )
    return with_object_text(computed)


def detection_errors(
    scores: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Compute error rates of every score, per attack and pooled, with intervals over people.

    Parameters
    ----------
    scores
        From :func:`scores`.
    n_draws, level, seed
        Bootstrap draws over people (a bona fide pair is weighted by the count of its person, an
        attack pair by the product of the counts of both contributors), coverage, seed.

    Returns
    -------
    xarray.Dataset
        Along ``score_name``, ``attack`` (all attacks pooled as ``"all"``, then each attack, and
        the control, if any, treated as an attack), ``estimate`` (value, lower, upper):
        ``d_eer``; ``curve(curve_apcer)``, BPCER over APCER; ``bpcer(apcer)``, at the threshold
        at which the share ``apcer`` of attacks is accepted; ``n_attack`` and ``n_bona_fide``
        pairs. ``d_eer_difference``, also along ``baseline``: D-EER of the score minus that of the
        baseline, with the same draws of people for both; NaN for a baseline and itself.
        ``n_people(attack)``: people in the attack pairs or in the bona fide pairs, whichever are
        fewer.

    Raises
    ------
    ParameterError
        If a number is out of range.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> scores = study["scores/linear"].to_dataset()
    >>> errors = fl.morphing.detection_errors(scores, n_draws=50)
    >>> errors["d_eer"].dims
    ('score_name', 'attack', 'estimate')
    """
    check_draws(n_draws, level, seed)
    attack = scores["attack"].to_numpy().astype(str)
    codes = subject_codes(scores, ("contributor_a", "contributor_b"))
    draws = draw_subjects(int(codes.max(initial=-1)) + 1, n_draws, seed)
    weights = np.concatenate([np.ones((1, len(attack))), pair_weights(codes, draws)])
    of_kind = _pairs_of_attacks(attack)
    bona_fide = attack == BONA_FIDE
    values = scores["score"].to_numpy()
    shape = (len(values), len(of_kind))
    d_eer = np.full((1 + n_draws, *shape), np.nan)
    bpcer = np.full((*shape, len(APCERS), 3), np.nan)
    curve = np.full((*shape, len(_CURVE)), np.nan)
    for s, a in np.ndindex(shape):
        finite = np.isfinite(values[s])
        tested, rest = list(of_kind.values())[a] & finite, bona_fide & finite
        chosen = tested | rest
        d_eer[:, s, a], at = detection_rates(values[s, chosen], tested[chosen], weights[:, chosen])
        bpcer[s, a] = with_interval(at[0], at[1:], level)
        curve[s, a] = _curve(values[s, tested], values[s, rest])
    scored = np.isfinite(values).any(axis=0)
    n_people = [
        min(len(np.unique(codes[:, some & scored])) for some in (tested, bona_fide))
        for tested in of_kind.values()
    ]
    finite = np.isfinite(values[-1])
    n_attack = [int((tested & finite).sum()) for tested in of_kind.values()]
    n_bona_fide = [int((bona_fide & finite).sum())] * len(of_kind)
    names = names_of(scores, "score_name")
    of_each, rate = ("score_name", "attack"), {"long_name": "BPCER", "units": "1"}
    estimates = with_interval(d_eer[0], d_eer[1:], level)
    computed = xr.Dataset(
        {
            "d_eer": ((*of_each, "estimate"), estimates, {**rate, "long_name": "D-EER"}),
            "d_eer_difference": _differences(d_eer, names, n_people, level),
            "bpcer": ((*of_each, "apcer", "estimate"), bpcer, rate),
            "curve": ((*of_each, "curve_apcer"), curve, rate),
            "n_attack": ("attack", n_attack, {"long_name": "attack pairs"}),
            "n_bona_fide": ("attack", n_bona_fide, {"long_name": "bona fide pairs"}),
            "n_people": ("attack", n_people, {"long_name": "people"}),
        },
        coords={
            "score_name": scores["score_name"],
            "baseline": np.array(BASELINES, object),
            "attack": np.array(list(of_kind), object),
            "apcer": ("apcer", list(APCERS), {"long_name": "APCER", "units": "1"}),
            "curve_apcer": ("curve_apcer", _CURVE, {"long_name": "APCER", "units": "1"}),
            "estimate": list(ESTIMATES),
        },
        attrs={**scores.attrs, "n_draws": n_draws, "level": level},
    )
    return with_object_text(computed)


def _pairs_of_attacks(attack: npt.NDArray[np.str_]) -> dict[str, npt.NDArray[np.bool_]]:
    """Select the pairs of all attacks together, of each attack, and of the control, if any."""
    kinds = [kind for kind in dict.fromkeys(attack) if kind not in (BONA_FIDE, CONTROL)]
    pairs = {"all": np.isin(attack, kinds), **{kind: attack == kind for kind in kinds}}
    return {**pairs, CONTROL: attack == CONTROL} if CONTROL in attack else pairs


def _differences(d_eer: Floats, names: list[str], n_people: list[int], level: float) -> xr.Variable:
    """Compute the differences in D-EER of every score from every baseline.

    Parameters
    ----------
    d_eer
        ``(1 + draw, score, attack)``: as observed, then in each draw.
    names
        Names of the scores.
    n_people
        Number of people of each attack.
    level
        Coverage of the intervals.
    """
    rivals = [names.index(name) for name in BASELINES]
    change = paired_difference(
        d_eer[:, :, None], d_eer[:, None, rivals], n_people=n_people, level=level
    )
    change[rivals, range(len(rivals))] = np.nan
    axes = ("score_name", "baseline", "attack", "estimate")
    return xr.Variable(axes, change, {"long_name": "difference in D-EER", "units": "1"})


def detection_rates(
    scores: Floats, is_attack: npt.NDArray[np.bool_], weights: Floats
) -> tuple[Floats, Floats]:
    """Compute D-EER, and BPCER at fixed APCER, with weighted pairs.

    An attack is detected when its score is at or above the threshold.

    Parameters
    ----------
    scores
        Scores ``(pair,)``, larger for pairs that look more like attacks.
    is_attack
        Whether each pair is an attack ``(pair,)``.
    weights
        Weights of the pairs ``(draw, pair)``.

    Returns
    -------
    d_eer : numpy.ndarray
        ``(draw,)``, 0..1, interpolated where the rates cross between two thresholds; NaN where a
        kind has no weight.
    bpcer : numpy.ndarray
        ``(draw, apcer)``: the lowest BPCER at an APCER of :data:`APCERS` or less.
    """
    order = np.argsort(scores, kind="stable")
    values, attack = scores[order], is_attack[order]
    heavy = weights[:, order]
    # attacks below each distinct score pass; bona fide pairs at or above it are rejected
    ends = np.append(np.flatnonzero(np.diff(values) > 0), len(values) - 1)

    def cumulative(kind: npt.NDArray[np.bool_]) -> Floats:
        total = np.cumsum(heavy * kind, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = total[:, ends] / total[:, -1:]
        return np.concatenate([np.zeros((len(share), 1)) * share[:, :1], share], axis=1)

    if len(values) == 0:
        nothing = np.full(len(weights), np.nan)
        return nothing, np.full((len(weights), len(APCERS)), np.nan)
    apcer, bpcer = cumulative(attack), 1 - cumulative(~attack)
    eer = np.full(len(weights), np.nan)
    at = np.full((len(weights), len(APCERS)), np.nan)
    known = np.isfinite(apcer[:, -1]) & np.isfinite(bpcer[:, -1])
    for d in np.flatnonzero(known):
        after = int(np.argmax(apcer[d] >= bpcer[d]))
        if after == 0:
            eer[d] = apcer[d, 0]
        else:
            before, beyond = (abs(apcer[d, k] - bpcer[d, k]) for k in (after - 1, after))
            share = before / max(before + beyond, _TINY)
            eer[d] = bpcer[d, after - 1] + share * (bpcer[d, after] - bpcer[d, after - 1])
        for k, wanted in enumerate(APCERS):
            at[d, k] = bpcer[d][apcer[d] <= wanted + 1e-12].min()
    return eer, at


def _curve(attacks: Floats, bona_fide: Floats) -> Floats:
    """Lowest BPCER with APCER at or below each value of the curve."""
    if min(len(attacks), len(bona_fide)) == 0:
        return np.full(len(_CURVE), np.nan)
    ordered = np.sort(attacks)
    # number of attacks that may pass; the threshold is the lowest score that is still detected
    allowed = np.floor(_CURVE * len(ordered) + 1e-9).astype(int)
    thresholds = np.append(ordered, np.inf)[allowed]
    return np.array([(bona_fide >= edge).mean() for edge in thresholds])


def _pairs(data: xr.Dataset) -> tuple[_Pairs, list[str]]:
    """Return the arrays of one model's pairs, and the names of the people.

    Raises
    ------
    ParameterError
        If the result is not over pairs of documents and live photographs.
    """
    absent = [
        name for name in ("attack", "contributor_a", "contributor_b") if name not in data.coords
    ]
    sides = names_of(data, "side")
    if absent or not {"probe", "reference"} <= set(sides):
        raise ParameterError(
            f"the result must be over fl.morphing.make_pairs with both sides masked; it lacks "
            f"{absent or sorted({'probe', 'reference'} - set(sides))}"
        )
    people = np.stack([data[f"contributor_{k}"].to_numpy().astype(str) for k in "ab"])
    names, codes = np.unique(people, return_inverse=True)
    influence = data["influence"].transpose("side", "pair", "band")
    document, live = (
        np.nan_to_num(influence.sel(side=side).to_numpy().astype(float))
        for side in ("reference", "probe")
    )
    removed = data["removed_rms"].sel(side="reference").transpose("pair", "band").to_numpy()
    bands = bands_of(data)
    bounds = bands.bounds
    upper = np.where(np.isinf(bounds[:, 1]), np.sqrt(2) * bounds[:, 0], bounds[:, 1])
    centre = (bounds[:, 0] + upper) / 2 if bands.kind == "rings" else bands.frequency
    return _Pairs(
        document=document,
        live=live,
        similarity=data["similarity"].to_numpy().astype(float),
        energy=np.nan_to_num(removed.astype(float)) ** 2,
        centre=centre,
        people=codes.reshape(people.shape),
        attack=data["attack"].to_numpy().astype(str).astype(object),
    ), [str(name) for name in names]


_Scorer = Callable[[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]], Floats]


def _scorers(pairs: _Pairs, bands: Sequence[str]) -> dict[str, _Scorer]:
    """Return scorers, each called with bona fide and attack pairs to fit and pairs to score."""
    absolute = np.abs(pairs.document)
    total = np.maximum(absolute.sum(axis=1), _TINY)
    n_low = max(1, round(_LOW * len(bands)))
    if len(bands) > 1 and np.ptp(pairs.centre) == 0:
        n_low = 0  # such as sectors: no band is lower than another
    low = absolute[:, np.argsort(pairs.centre, kind="stable")[:n_low]].sum(axis=1)
    ratio = np.log((low + _TINY) / (total - low + _TINY))
    centroid = (absolute * pairs.centre).sum(axis=1) / total
    asymmetry = np.sqrt(np.square(pairs.document - pairs.live).sum(axis=1))
    both = np.concatenate([pairs.document, pairs.live], axis=1)
    scorers: dict[str, _Scorer] = {
        f"band {name}": _away(pairs.document[:, b]) for b, name in enumerate(bands)
    }
    scorers |= {
        "low/high": _away(ratio),
        "centroid": _away(centroid),
        "asymmetry": _away(asymmetry),
        "mahalanobis": _mahalanobis(both),
        "similarity": lambda fit, attacks, here: -pairs.similarity[here],
        "power spectrum": _mahalanobis(np.log(pairs.energy + _TINY)),
        "supervised": _supervised(both),
    }
    return scorers


def _away(values: Floats) -> _Scorer:
    """Distance from the bona fide mean in standard deviations."""

    def score(
        fit: npt.NDArray[np.bool_], attacks: npt.NDArray[np.bool_], here: npt.NDArray[np.bool_]
    ) -> Floats:
        spread = float(values[fit].std())
        return np.abs(values[here] - values[fit].mean()) / max(spread, _TINY)

    return score


def _mahalanobis(values: Floats) -> _Scorer:
    """Mahalanobis distance from the bona fide mean, with shrunk covariance."""

    def score(
        fit: npt.NDArray[np.bool_], attacks: npt.NDArray[np.bool_], here: npt.NDArray[np.bool_]
    ) -> Floats:
        from sklearn.covariance import LedoitWolf

        scale = np.maximum(values[fit].std(axis=0), _TINY)  # bands differ by orders of magnitude
        model = LedoitWolf().fit(values[fit] / scale)
        return np.sqrt(np.maximum(model.mahalanobis(values[here] / scale), 0))

    return score


def _supervised(values: Floats) -> _Scorer:
    """Linear discriminant analysis fitted with attacks on other people."""

    def score(
        fit: npt.NDArray[np.bool_], attacks: npt.NDArray[np.bool_], here: npt.NDArray[np.bool_]
    ) -> Floats:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        if not attacks.any():
            return np.full(int(here.sum()), math.nan)
        scale = np.maximum(values[fit].std(axis=0), _TINY)
        seen = fit | attacks
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        model.fit(values[seen] / scale, attacks[seen])
        return np.asarray(model.decision_function(values[here] / scale))

    return score


def detection_table(errors: xr.Dataset, *, attack: str = "all") -> pd.DataFrame:
    """Tabulate error rates of the scores for one attack, lowest D-EER first, with the best band.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.
    attack
        Attack to select; ``"all"`` for all attacks pooled.

    Returns
    -------
    pandas.DataFrame
        A row for each score; intervals in brackets.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> fl.morphing.detection_table(errors).columns.tolist()
    ['D-EER', 'BPCER at APCER 5 %', 'BPCER at APCER 10 %']
    """
    check_name("attack", attack, names_of(errors, "attack"))
    data = errors.sel(attack=attack)
    value = data["d_eer"].sel(estimate="value").to_series().sort_values(kind="stable")
    bands = [name for name in value.index if str(name).startswith("band ")]
    rows = {}
    for name in value.index:
        if name in bands[1:]:
            continue
        part = data.sel(score_name=name)
        row = {"D-EER": percent(part["d_eer"], 1)}
        for apcer in errors["apcer"].to_numpy():
            row[f"BPCER at APCER {100 * apcer:g} %"] = percent(part["bpcer"].sel(apcer=apcer), 1)
        rows[str(name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")

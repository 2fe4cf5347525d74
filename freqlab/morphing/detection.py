"""Morphing attack detection from influence: scores and error rates.

The scores of influence alone are fitted without attacks, on bona fide pairs of other people, and
measure how far a pair lies from them. Error rates are those of ISO/IEC 30107-3, applied to morphs:
APCER, the share of attack pairs classified as bona fide (MACER in the literature), and BPCER, the
share of bona fide pairs classified as attacks (BSCER); D-EER where the two are equal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.datasets.pair_tables import BONA_FIDE, CONTROL
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.morphing.detection_estimates import (
    bpcer_at,
    d_eer_of,
    differences_of,
    estimates_of_rates,
)
from freqlab.morphing.score_fits import RESIDUAL, Pairs, fits_apart, scorers
from freqlab.results.selection import bands_of, with_axes
from freqlab.statistics.resampling import ESTIMATES, check_level, subject_codes
from freqlab.text.wording import percent

__all__ = [
    "APCERS",
    "BASELINES",
    "FEWEST_FOLDS",
    "OWN_SCORES",
    "detection_errors",
    "detection_table",
    "scores",
]

APCERS = (0.05, 0.10)
"""APCER values at which the literature reports BPCER."""

OWN_SCORES = ("low/high", "centroid", "asymmetry", "mahalanobis")
"""Names of the scores of influence alone, except those of single bands."""

BASELINES = ("similarity", "power spectrum", RESIDUAL, "supervised")
"""Names of the baselines with which the scores are compared."""

FEWEST_FOLDS = 3
"""Smallest number of folds: the contributors of a morph can be in two."""

_FEWEST_PEOPLE = 10
_CURVE = np.linspace(0, 1, 201)

Floats = npt.NDArray[np.float64]


def scores(
    result: xr.Dataset,
    *,
    model: str,
    spectra: xr.DataArray | None = None,
    folds: int = 5,
    seed: int = 0,
) -> xr.Dataset:
    """Score every pair by fits on the pairs of other people.

    People are assigned to folds. A pair is scored by a fit on the pairs of all folds except two:
    those of its document's contributors, or that of its person and one more. No contributor of a
    document is in its fit, and all pairs are scored by fits on equally many people.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over :func:`freqlab.morphing.make_pairs`, both sides masked.
    model
        Name of the model.
    spectra
        Residual spectra of the documents, from :func:`freqlab.morphing.residual_spectra`.
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
        - ``fusion``: the similarity and both profiles in a linear discriminant analysis at equal
          priors, fitted on bona fide and attack pairs of other people; with few people, bands that
          carry nothing make it worse than the similarity alone;
        - baselines: ``similarity``, with its sign reversed; ``power spectrum``, the Mahalanobis
          distance of the log energies of the document's bands, which requires no model;
          ``residual spectrum``, if `spectra` are given, a discriminant analysis of these;
          ``supervised``, a discriminant analysis of both profiles, as an upper bound of scores of
          influence alone.

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
    pairs, names = _pairs(result.sel(model=model), spectra)
    n_people = len(names)
    if n_people < _FEWEST_PEOPLE or n_people < folds:
        raise ParameterError(
            f"{n_people} people are too few to fit scores on some and test them on others; at "
            f"least {max(_FEWEST_PEOPLE, folds)} are required"
        )
    fold = np.random.default_rng(seed).permutation(n_people) % folds
    of_names = scorers(pairs, names_of(result, "band"))
    scores = np.full((len(of_names), len(pairs.similarity)), np.nan)
    for fit in fits_apart(pairs, fold, folds, seed):
        for k, scorer in enumerate(of_names.values()):
            scores[k, fit.scored] = scorer(fit)
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
            "score_name": np.array(list(of_names), object),
            "pair": result["pair"].to_numpy(),
            **coords,
            "person": np.array(names, object),
            "fold": ("person", fold),
        },
        attrs={
            **{"model": model, "folds": folds, "seed": seed},
            "baselines": [name for name in BASELINES if name in of_names],
        },
    )
    return with_object_text(computed)


def detection_errors(scores: xr.Dataset, *, level: float = 0.95) -> xr.Dataset:
    """Compute error rates of every score, per attack and pooled, with intervals over people.

    Two pairs are dependent if they share a contributor; the variances of the rates and of their
    differences are dyadic-robust (Aronow, Samii & Assenova 2015), and the intervals those of
    :func:`freqlab.statistics.rate_intervals.rate_bounds`. In simulations of 20 to 50 people, 95 %
    intervals contained the truth in 92 to 99 % of samples, and in more where D-EER is below 10 %.

    Parameters
    ----------
    scores
        From :func:`scores`.
    level
        Coverage of the intervals.

    Returns
    -------
    xarray.Dataset
        Along ``score_name``, ``attack`` (all attacks pooled as ``"all"``, then each attack, and
        the control, if any, treated as an attack), ``estimate`` (value, lower, upper):
        ``d_eer``; ``curve(curve_apcer)``, BPCER over APCER; ``bpcer(apcer)``, at the threshold
        at which the share ``apcer`` of attacks is accepted; ``n_attack`` and ``n_bona_fide``
        pairs. ``d_eer_difference``, also along ``baseline``: D-EER of the score minus that of the
        baseline, over the same pairs; NaN for a baseline and itself. ``n_errors``: pairs of both
        kinds that are classified wrongly at the threshold of D-EER. ``n_people(attack)``: people in
        the attack pairs or in the bona fide pairs, whichever are fewer.

    Raises
    ------
    ParameterError
        If the level is out of range.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> scores = study["scores/linear"].to_dataset()
    >>> errors = fl.morphing.detection_errors(scores)
    >>> errors["d_eer"].dims
    ('score_name', 'attack', 'estimate')
    """
    check_level(level)
    attack = scores["attack"].to_numpy().astype(str)
    people = subject_codes(scores, ("contributor_a", "contributor_b"))
    documents = np.unique(scores["reference"].to_numpy().astype(str), return_inverse=True)[1]
    of_kind = _pairs_of_attacks(attack)
    bona_fide = attack == BONA_FIDE
    values = scores["score"].to_numpy()
    names = names_of(scores, "score_name")
    baselines = list(scores.attrs["baselines"])
    scored = np.isfinite(values).any(axis=0)
    shape = (len(values), len(of_kind))
    d_eer = np.full((*shape, 3), np.nan)
    differences = np.full((len(values), len(baselines), len(of_kind), 3), np.nan)
    bpcer = np.full((*shape, len(APCERS), 3), np.nan)
    curve = np.full((*shape, len(_CURVE)), np.nan)
    n_errors, n_people = np.zeros(shape, np.int64), np.zeros(len(of_kind), np.int64)
    for a, tested in enumerate(of_kind.values()):
        n_people[a] = min(len(np.unique(people[:, kind & scored])) for kind in (tested, bona_fide))
        chosen = (tested | bona_fide) & scored
        is_attack, about, ends = tested[chosen], documents[chosen], people[:, chosen]
        rates = [d_eer_of(score, is_attack, about) for score in values[:, chosen]]
        n = int(n_people[a])
        d_eer[:, a] = estimates_of_rates(rates, ends, n_people=n, level=level)
        differences[:, :, a] = differences_of(
            rates, [names.index(name) for name in baselines], ends, n_people=n, level=level
        )
        n_errors[:, a] = [rate.n_errors for rate in rates]
        for k, apcer in enumerate(APCERS):
            at = [bpcer_at(score, is_attack, about, ends, apcer) for score in values[:, chosen]]
            bpcer[:, a, k] = estimates_of_rates(at, ends, n_people=n, level=level)
        for s, score in enumerate(values):
            finite = np.isfinite(score)
            curve[s, a] = _curve(score[tested & finite], score[bona_fide & finite])
    n_attack = [int((tested & scored).sum()) for tested in of_kind.values()]
    n_bona_fide = [int((bona_fide & scored).sum())] * len(of_kind)
    of_each, rate = ("score_name", "attack"), {"long_name": "BPCER", "units": "1"}
    computed = xr.Dataset(
        {
            "d_eer": ((*of_each, "estimate"), d_eer, {**rate, "long_name": "D-EER"}),
            "d_eer_difference": (
                ("score_name", "baseline", "attack", "estimate"),
                differences,
                {"long_name": "difference in D-EER", "units": "1"},
            ),
            "bpcer": ((*of_each, "apcer", "estimate"), bpcer, rate),
            "curve": ((*of_each, "curve_apcer"), curve, rate),
            "n_errors": (of_each, n_errors, {"long_name": "wrong decisions at D-EER"}),
            "n_attack": ("attack", n_attack, {"long_name": "attack pairs"}),
            "n_bona_fide": ("attack", n_bona_fide, {"long_name": "bona fide pairs"}),
            "n_people": ("attack", n_people, {"long_name": "people"}),
        },
        coords={
            "score_name": scores["score_name"],
            "baseline": np.array(baselines, object),
            "attack": np.array(list(of_kind), object),
            "apcer": ("apcer", list(APCERS), {"long_name": "APCER", "units": "1"}),
            "curve_apcer": ("curve_apcer", _CURVE, {"long_name": "APCER", "units": "1"}),
            "estimate": list(ESTIMATES),
        },
        attrs={**scores.attrs, "level": level},
    )
    return with_object_text(computed)


def _pairs_of_attacks(attack: npt.NDArray[np.str_]) -> dict[str, npt.NDArray[np.bool_]]:
    """Select the pairs of all attacks together, of each attack, and of the control, if any."""
    kinds = [kind for kind in dict.fromkeys(attack) if kind not in (BONA_FIDE, CONTROL)]
    pairs = {"all": np.isin(attack, kinds), **{kind: attack == kind for kind in kinds}}
    return {**pairs, CONTROL: attack == CONTROL} if CONTROL in attack else pairs


def _curve(attacks: Floats, bona_fide: Floats) -> Floats:
    """Lowest BPCER with APCER at or below each value of the curve."""
    if min(len(attacks), len(bona_fide)) == 0:
        return np.full(len(_CURVE), np.nan)
    ordered = np.sort(attacks)
    # number of attacks that may pass; the threshold is the lowest score that is still detected
    allowed = np.floor(_CURVE * len(ordered) + 1e-9).astype(int)
    thresholds = np.append(ordered, np.inf)[allowed]
    return np.array([(bona_fide >= edge).mean() for edge in thresholds])


def _pairs(data: xr.Dataset, spectra: xr.DataArray | None) -> tuple[Pairs, list[str]]:
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
    return Pairs(
        document=document,
        live=live,
        similarity=data["similarity"].to_numpy().astype(float),
        energy=np.nan_to_num(removed.astype(float)) ** 2,
        residual=None if spectra is None else _of_documents(data, spectra),
        centre=centre,
        people=codes.reshape(people.shape),
        attack=data["attack"].to_numpy().astype(str).astype(object),
    ), [str(name) for name in names]


def _of_documents(data: xr.Dataset, spectra: xr.DataArray) -> Floats:
    """Residual spectra of the document of each pair ``(pair, feature)``; NaN where unknown.

    Raises
    ------
    ParameterError
        If no document has residual spectra.
    """
    names = pd.Index(spectra["face"].to_numpy().astype(str))
    place = names.get_indexer(data["reference"].to_numpy().astype(str))
    if (place < 0).all():
        raise ParameterError(
            f"spectra have {len(names)} faces, none of which is a document of the pairs"
        )
    flat = spectra.transpose("face", ...).to_numpy().astype(float).reshape(len(names), -1)
    return np.where(place[:, None] >= 0, flat[place], np.nan)


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

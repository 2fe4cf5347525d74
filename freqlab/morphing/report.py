"""Thresholds, and results of a morphing study as tables and sentences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.datasets.pair_tables import CONTROL
from freqlab.errors import ParameterError, check_name
from freqlab.faces.table import Faces
from freqlab.morphing.detection import OWN_SCORES
from freqlab.morphing.paired import FEWEST_PEOPLE, points
from freqlab.morphing.score_fits import FUSION, RESIDUAL
from freqlab.morphing.sets import untouched
from freqlab.results.selection import fmr_text
from freqlab.statistics.error_rates import check_fmr, impostor_thresholds, rates_with
from freqlab.statistics.resampling import excludes_zero
from freqlab.store.run_store import node_name
from freqlab.store.studies import as_frame
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join, percent
from freqlab.verification.performance import check_embeddings

__all__ = [
    "band_choice_table",
    "best_score_sentences",
    "describe_best_score",
    "describe_documents",
    "describe_fusion",
    "describe_labelled",
    "describe_morphing_pairs",
    "describe_threshold",
    "detections",
    "error_table",
    "kind_difference_table",
    "score_difference_table",
    "thresholds",
    "vulnerability_table",
]

_POOLED = "all"
_CHANCE = 0.5  # D-EER of a score that does not separate attacks from bona fide pairs
_FEWEST_ERRORS = 30  # wrong decisions, of either score, from which a gain is stated
_RIVALS = ("power spectrum", "similarity")  # baselines that take no training
_SCORES = {
    "low/high": "log ratio of the influence of the lowest quarter of the bands to that of the rest",
    "centroid": "mean frequency of the absolute influence",
    "asymmetry": "distance between the influence profiles of the document and of the live "
    "photograph",
    "mahalanobis": "distance of the influence profiles from their bona fide mean, scaled by their "
    "covariance",
}


def thresholds(
    embeddings: Mapping[str, npt.NDArray[np.floating]],
    faces: Faces,
    pairs: pd.DataFrame,
    *,
    fmr: float = 1e-3,
    given: float | list[float] | None = None,
) -> xr.Dataset:
    """Compute the decision threshold of each model at which morphs are tested.

    Parameters
    ----------
    embeddings
        Untouched embeddings ``(face, feature)`` of each model, by its name, in the order of the
        faces; NaN for a face without an embedding.
    faces
        All photographs of the set, not only those in the pairs: more photographs resolve a lower
        rate. Morphs, documents of attack and control pairs, and degraded faces are left out.
    pairs
        From :func:`freqlab.morphing.make_pairs`, or a table of them.
    fmr
        Requested false match rate. If there are too few impostor comparisons to resolve it, the
        next higher resolved rate is used.
    given
        Thresholds carried over from a larger set, in the order of the models, to use instead.

    Returns
    -------
    xarray.Dataset
        Along ``model``: ``threshold``, ``fmr`` (at which it was set; NaN if it was given) and
        ``impostor_comparisons``; attribute ``fmr``, the requested rate.

    Raises
    ------
    ParameterError
        If an argument is invalid, or the comparisons are too few to resolve any rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces()
    >>> pairs = fl.morphing.make_pairs(faces)
    >>> tree = fl.embed(faces, models=[fl.testing.model()], store="run.zarr", progress=False)
    >>> vectors = fl.open_embeddings("run.zarr", model="linear").sel(face=faces.names).to_numpy()
    >>> thresholds = fl.morphing.thresholds({"linear": vectors}, faces, pairs, fmr=0.1)
    >>> sorted(thresholds.data_vars)
    ['fmr', 'impostor_comparisons', 'threshold']
    """
    check_fmr(fmr)
    checked = check_embeddings(embeddings, faces)
    names = list(checked)
    thresholds, rates = np.full((2, len(names)), np.nan)
    counts = np.zeros(len(names), np.int64)
    if given is not None:
        carried = np.atleast_1d(np.asarray(given, float))
        if carried.shape != (len(names),):
            raise ParameterError(
                f"given={given!r} must be {len(names)} thresholds, one for each of "
                f"{join(list(names))}"
            )
        thresholds = carried
    else:
        allowed = sorted(rate for rate in rates_with(fmr) if rate >= fmr * (1 - 1e-6))
        whole = untouched(faces, pairs)
        for k, vectors in enumerate(checked.values()):
            edges, n_impostor = impostor_thresholds(
                vectors[whole], faces.subjects[whole], faces.sources[whole], allowed
            )
            counts[k] = n_impostor
            resolved = np.flatnonzero(np.isfinite(edges))
            if not len(resolved):
                raise ParameterError(
                    f"{n_impostor} impostor comparisons of the photographs resolve no false match "
                    f"rate; give a threshold from a larger set"
                )
            thresholds[k], rates[k] = edges[resolved[0]], allowed[resolved[0]]
    computed = xr.Dataset(
        {
            "threshold": ("model", thresholds, {"units": "cosine similarity"}),
            "fmr": ("model", rates, {"long_name": "false match rate"}),
            "impostor_comparisons": ("model", counts),
        },
        coords={"model": np.array(names, object)},
        attrs={"fmr": fmr},
    )
    return with_object_text(computed)


def describe_threshold(thresholds: xr.Dataset, *, model: str) -> str:
    """State the source of a model's threshold.

    Parameters
    ----------
    thresholds
        From :func:`thresholds`.
    model
        Name of the model.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> thresholds = study["thresholds"].to_dataset()
    >>> print(fl.morphing.describe_threshold(thresholds, model="linear"))
    threshold 0.600, carried over from a larger set.
    """
    check_name("model", model, names_of(thresholds, "model"))
    data = thresholds.sel(model=model)
    text = f"threshold {float(data['threshold']):.3f}"
    rate, asked = float(data["fmr"]), float(thresholds.attrs["fmr"])
    if np.isnan(rate):
        return f"{text}, carried over from a larger set."
    few = f" (too few to resolve FMR {fmr_text(asked)})" if rate > asked * (1 + 1e-6) else ""
    return (
        f"{text}, set at FMR {fmr_text(rate)} on {int(data['impostor_comparisons']):,} impostor "
        f"comparisons of the photographs{few}."
    )


def vulnerability_table(risk: xr.Dataset, *, model: str, fmr: float | None = None) -> pd.DataFrame:
    """Tabulate morphs that match both contributors, by attack, and rejected bona fide pairs.

    Parameters
    ----------
    risk
        From :func:`freqlab.morphing.vulnerability`.
    model
        Name of the model.
    fmr
        False match rate of the threshold, if there are several.

    Returns
    -------
    pandas.DataFrame
        A row for each attack, for all pooled, and for bona fide pairs, intervals in brackets.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model or rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> risk = study["vulnerability"].to_dataset()
    >>> fl.morphing.vulnerability_table(risk, model="linear").columns.tolist()
    ['morphs', 'MMPMR', 'product form']
    """
    check_name("model", model, names_of(risk, "model"))
    data = risk.sel(model=model)
    if "fmr" in data.dims:
        rates = data["fmr"].to_numpy()
        near = np.flatnonzero(np.isclose(rates, np.nan if fmr is None else fmr, rtol=1e-6))
        if len(rates) > 1 and not len(near):
            allowed = ", ".join(f"{rate:g}" for rate in rates)
            raise ParameterError(f"fmr={fmr!r} must be one of {allowed}")
        data = data.isel(fmr=int(near[0]) if len(near) else 0)
    rows = {}
    for attack in data["attack"].to_numpy():
        part = data.sel(attack=attack)
        rows["all attacks" if attack == _POOLED else str(attack)] = {
            "morphs": f"{int(part['n_morphs']):,}",
            "MMPMR": percent(part["mmpmr"], 1),
            "product form": percent(part["prodavg_mmpmr"], 1),
        }
    refused = percent(data["false_non_match_rate"], 1)
    rows["bona fide rejected"] = {"morphs": "", "MMPMR": refused, "product form": ""}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("attack")


def kind_difference_table(risk: xr.Dataset, *, model: str) -> pd.DataFrame:
    """Tabulate the paired differences in MMPMR between kinds of morph, in percentage points.

    Parameters
    ----------
    risk
        From :func:`freqlab.morphing.vulnerability`; the first false match rate is used.
    model
        Name of the model.

    Returns
    -------
    pandas.DataFrame
        A row for each two kinds, intervals in brackets; kinds with fewer than
        :data:`FEWEST_PEOPLE` people are left out. Empty for a single kind.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> risk = study["vulnerability"].to_dataset()
    >>> len(fl.morphing.kind_difference_table(risk, model="linear"))  # there is one kind of morph
    0
    """
    check_name("model", model, names_of(risk, "model"))
    data = risk.sel(model=model)
    data = data.isel(fmr=0) if "fmr" in data.dims else data
    people = data["n_people"]
    kinds = [
        kind
        for kind in names_of(data, "other_attack")
        if int(people.sel(attack=kind)) >= FEWEST_PEOPLE
    ]
    rows = {
        f"{one} minus {other}": points(data["mmpmr_difference"].sel(attack=one, other_attack=other))
        for one, other in itertools.combinations(kinds, 2)
    }
    table = pd.DataFrame({"difference in MMPMR": rows}, index=list(rows), dtype=object)
    return table.rename_axis("kinds of morph")


def score_difference_table(errors: xr.Dataset, *, attack: str = _POOLED) -> pd.DataFrame:
    """Tabulate the paired differences in D-EER from the baselines, in percentage points.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.
    attack
        Name of the attack.

    Returns
    -------
    pandas.DataFrame
        A row for each score of :data:`OWN_SCORES` and for the fusion, a column for each baseline,
        intervals in brackets; negative where the score has fewer errors. Without rows for fewer
        than :data:`FEWEST_PEOPLE` people.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> fl.morphing.score_difference_table(errors).columns.tolist()
    ['minus similarity', 'minus power spectrum', 'minus residual spectrum', 'minus supervised']
    """
    check_name("attack", attack, names_of(errors, "attack"))
    data = errors.sel(attack=attack)
    scores = (*OWN_SCORES, FUSION) if int(data["n_people"]) >= FEWEST_PEOPLE else ()
    rows = {
        score: {
            f"minus {baseline}": points(
                data["d_eer_difference"].sel(score_name=score, baseline=baseline)
            )
            for baseline in names_of(data, "baseline")
        }
        for score in scores
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")


def describe_best_score(errors: xr.Dataset, *, attack: str = _POOLED) -> str:
    """State which score of influence alone is best, and its differences from the baselines.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.
    attack
        Name of the attack.

    Returns
    -------
    str
        Markdown: the score with the lowest D-EER among :data:`OWN_SCORES`, what limits this
        finding, and the paired differences of its D-EER from those of the power spectrum and the
        similarity. A difference is put into words only if its interval excludes zero, and it is
        based on at least :data:`FEWEST_PEOPLE` people.

    Raises
    ------
    UnknownNameError
        If there is no such attack.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> print(fl.morphing.describe_best_score(errors))
    The score of influence alone with the lowest observed D-EER is **mahalanobis** ...
    """
    return " ".join(best_score_sentences(errors, attack=attack))


def best_score_sentences(errors: xr.Dataset, *, attack: str = _POOLED) -> list[str]:
    """Return the sentences of :func:`describe_best_score`.

    Parameters
    ----------
    errors, attack
        As for :func:`describe_best_score`.

    Raises
    ------
    UnknownNameError
        If there is no such attack.
    """
    check_name("attack", attack, names_of(errors, "attack"))
    data = errors.sel(attack=attack)
    value = data["d_eer"].sel(score_name=list(OWN_SCORES), estimate="value").to_numpy()
    if not np.isfinite(value).any():
        return ["No score could be tested: there are no attacks, or no bona fide pairs."]
    best = OWN_SCORES[int(np.nanargmin(value))]
    rate = percent(data["d_eer"].sel(score_name=best), 1)
    finding = (
        f"The score of influence alone with the lowest observed D-EER is **{best}** "
        f"({_SCORES[best]}): {rate}. It was chosen among {len(OWN_SCORES)} on these attacks, so "
        f"this rate is optimistic"
    )
    control = _control_doubt(errors, best)
    return [f"{finding}{control}.", _against_baselines(data, best)]


def describe_fusion(errors: xr.Dataset, *, attack: str = _POOLED) -> str:
    """State whether influence adds to the similarity, on other people than those of the fit.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.
    attack
        Name of the attack.

    Returns
    -------
    str
        Markdown: D-EER of the fusion of similarity and influence, of the similarity alone, and
        their paired difference as **gain**, **no gain** or **loss**. No verdict is given for fewer
        than 30 wrong decisions of both scores, or fewer than :data:`FEWEST_PEOPLE` people. Then,
        if it was computed, the D-EER of the residual spectrum of the document, and the paired
        difference of the fusion from it.

    Raises
    ------
    UnknownNameError
        If there is no such attack.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces(n_subjects=20, per_subject=3)
    >>> result = fl.testing.influence(
    ...     faces, fl.morphing.make_pairs(faces), sides=["probe", "reference"]
    ... )
    >>> scores = fl.morphing.scores(result, model="linear")
    >>> print(fl.morphing.describe_fusion(fl.morphing.detection_errors(scores)))
    Similarity and influence fused, fitted with attacks on other people: D-EER ...
    """
    check_name("attack", attack, names_of(errors, "attack"))
    data = errors.sel(attack=attack)
    rate = {name: percent(data["d_eer"].sel(score_name=name), 1) for name in (FUSION, "similarity")}
    if not rate[FUSION]:
        return "Influence was not fused with the similarity: a fold of people has no attack pairs."
    change = data["d_eer_difference"].sel(score_name=FUSION)
    of_similarity = change.sel(baseline="similarity")
    text = (
        f"Similarity and influence fused, fitted with attacks on other people: D-EER "
        f"{rate[FUSION]}, against {rate['similarity']} of the similarity alone: "
        f"{_verdict(data, of_similarity)}."
    )
    if RESIDUAL not in names_of(data, "baseline"):
        return text
    of_spectrum = change.sel(baseline=RESIDUAL)
    rate_of_spectrum = percent(data["d_eer"].sel(score_name=RESIDUAL), 1)
    text += (
        f" The residual spectrum of the document, which needs no face model, has a D-EER of "
        f"{rate_of_spectrum}"
    )
    if int(data["n_people"]) < FEWEST_PEOPLE or not points(of_spectrum):
        return f"{text}."
    relation = "zero lies within the interval of the difference of the fusion from it"
    if excludes_zero(of_spectrum):
        above = "above" if float(of_spectrum.sel(estimate="value")) > 0 else "below"
        relation = f"the fusion lies {above} it"
    return f"{text}; {relation}: {points(of_spectrum)}."


def _verdict(data: xr.Dataset, change: xr.DataArray) -> str:
    """State the verdict on the difference of the fusion from the similarity, with its numbers."""
    n_errors = int(data["n_errors"].sel(score_name=[FUSION, "similarity"]).max())
    n_people = int(data["n_people"])
    if n_people < FEWEST_PEOPLE:
        return f"{n_people} people are too few for a verdict"
    if n_errors < _FEWEST_ERRORS:
        return (
            f"{n_errors} wrong decisions are too few for a verdict, which takes {_FEWEST_ERRORS} "
            f"({points(change)})"
        )
    if not excludes_zero(change):
        return f"**no gain** ({points(change)})"
    kind = "gain" if float(change.sel(estimate="value")) < 0 else "loss"
    return f"**{kind}** of {points(change, absolute=True)}"


def _control_doubt(errors: xr.Dataset, score: str) -> str:
    """State whether a score also detects controls, after a semicolon; empty if it does not."""
    if CONTROL not in errors["attack"]:
        return "; there are no controls to show whether it detects the morph or the warp"
    rate = errors["d_eer"].sel(attack=CONTROL, score_name=score)
    if not float(rate.sel(estimate="upper")) < _CHANCE:
        return ""
    return (
        f"; it also separates controls from untouched documents (D-EER {percent(rate, 1)}, where "
        f"50 % is chance), so it detects the warp at least in part"
    )


def _against_baselines(data: xr.Dataset, score: str) -> str:
    """State the paired differences in D-EER of a score from the baselines."""
    people = int(data["n_people"])
    if people < FEWEST_PEOPLE:
        return (
            f"It is not compared with the baselines, since {people} people are fewer than "
            f"{FEWEST_PEOPLE}."
        )
    clear, unclear = [], []
    for baseline in _RIVALS:
        name = f"the {baseline}"
        change = data["d_eer_difference"].sel(score_name=score, baseline=baseline)
        if excludes_zero(change):
            sign = "below" if float(change.sel(estimate="value")) < 0 else "above"
            clear.append(f"{points(change, absolute=True)} {sign} that of {name}")
        elif points(change):
            unclear.append(f"{name}: {points(change)}")
    texts = [f"its D-EER is {join(clear)}"] if clear else []
    if unclear:
        which = (
            "interval of its difference" if len(unclear) == 1 else "intervals of its differences"
        )
        texts.append(f"zero lies within the {which} from {join(unclear)}")
    text = "; ".join(texts) or "its differences from the baselines are not known"
    return f"{text[0].upper()}{text[1:]}."


def band_choice_table(errors: xr.Dataset) -> pd.DataFrame:
    """Tabulate the D-EER of the band that is best for one attack on every attack.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.

    Returns
    -------
    pandas.DataFrame
        A row for each attack on which a band is chosen, a column for each attack on which it is
        tested, intervals in brackets; ``(chosen here)`` where the two are the same, which is
        optimistic.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> fl.morphing.band_choice_table(errors).index.tolist()
    ['chosen on mean: band rest']
    """
    kinds = _attacks(errors)
    bands = [s for s in names_of(errors, "score_name") if s.startswith("band ")]
    d_eer = errors["d_eer"].sel(score_name=bands)
    rows = {}
    for kind in kinds:
        value = d_eer.sel(attack=kind, estimate="value").to_numpy()
        if not np.isfinite(value).any():
            continue
        pick = bands[int(np.nanargmin(value))]
        row = {}
        for other in kinds:
            text = percent(d_eer.sel(score_name=pick, attack=other), 1)
            row[other] = f"{text} (chosen here)" if other == kind else text
        rows[f"chosen on {kind}: {pick}"] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def error_table(errors: xr.Dataset) -> pd.DataFrame:
    """Tabulate the D-EER of each score except single bands, per attack, intervals in brackets.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.

    Returns
    -------
    pandas.DataFrame
        A row for each score except single bands, baselines last; columns ``all``, each attack, and
        the control, where 50 % means that a score does not distinguish controls from bona fide
        documents.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> fl.morphing.error_table(errors).columns.tolist()
    ['all', 'mean']
    """
    rows = {}
    for score in (*OWN_SCORES, FUSION, *names_of(errors, "baseline")):
        part = errors["d_eer"].sel(score_name=score)
        rows[score] = {
            str(attack): percent(part.sel(attack=attack), 1)
            for attack in errors["attack"].to_numpy()
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")


def _attacks(errors: xr.Dataset) -> list[str]:
    names = names_of(errors, "attack")
    return [name for name in names if name not in (_POOLED, CONTROL)]


def detections(study: xr.DataTree) -> Iterator[tuple[str, xr.Dataset, xr.Dataset]]:
    """Iterate over the models of a study, with their scores and errors.

    Parameters
    ----------
    study
        From :func:`freqlab.morphing.study`.

    Yields
    ------
    model : str
        Name of the model.
    scores : xarray.Dataset
        Its scores.
    errors : xarray.Dataset
        Their error rates.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> for model, scores, errors in fl.morphing.detections(study):
    ...     print(model, errors["attack"].to_numpy().tolist())
    linear ['all', 'mean']
    """
    for name in study.attrs["models"]:
        node = node_name(name)
        yield name, study[f"scores/{node}"].to_dataset(), study[f"detection/{node}"].to_dataset()


def describe_documents(study: xr.DataTree) -> str:
    """State how many documents and live photographs there are, and where morphs come from.

    Parameters
    ----------
    study
        From :func:`freqlab.morphing.study`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> print(fl.morphing.describe_documents(study))
    20 bona fide documents and 40 live photographs of 20 people. Morphs and ...
    """
    kinds, attrs = as_frame(study["kinds"]), study.attrs
    source = {
        "made here": "Morphs made here are named after the share of the second person (alpha), and "
        "after the share of that person's texture where it differs; all others are part of the "
        "set.",
        "given": "The morphs are part of the set.",
    }[attrs["morphs_are"]]
    if attrs["morphs_from"] == "the table":
        source = "Morphs and controls are those of the table."
    return (
        f"{int(kinds['documents']['bona fide']):,} bona fide documents and "
        f"{int(attrs['n_live']):,} live photographs of {int(attrs['n_people']):,} people. {source}"
    )


def describe_morphing_pairs(study: xr.DataTree) -> str:
    """State the number of pairs, and in how many a face was not detected.

    Parameters
    ----------
    study
        From :func:`freqlab.morphing.study`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> print(fl.morphing.describe_morphing_pairs(study))
    120 pairs.
    """
    lost = int(study.attrs["n_lost"])
    text = f"{int(study.attrs['n_pairs']):,} pairs."
    return text + (f" In {lost:,} of them, a face could not be detected." if lost else "")


def describe_labelled(study: xr.DataTree, faces: Faces) -> str:
    """State, in Markdown, the contents of the labelled set.

    Parameters
    ----------
    study
        From :func:`freqlab.morphing.study`.
    faces
        The labelled set.

    Returns
    -------
    str
        Sentences, in Markdown.

    Examples
    --------
    >>> import pandas as pd
    >>> import xarray as xr
    >>> import freqlab as fl
    >>> kinds = pd.DataFrame({"pairs": [8, 4]}, index=["pristine", "manipulated"])
    >>> study = xr.DataTree.from_dict({"labelled_kinds": fl.store.studies.as_dataset(kinds)})
    >>> print(fl.morphing.describe_labelled(study, fl.testing.faces(n_subjects=4)))
    **synthetic**: images of 4 people compared with the first pristine photograph ...
    """
    kinds = as_frame(study["labelled_kinds"])["pairs"]
    counts = ", ".join(f"{as_markdown(kind)} {n:,}" for kind, n in kinds.items())
    return (
        f"**{as_markdown(faces.name)}**: images of {faces.table['subject'].nunique():,} people "
        f"compared with the first pristine photograph of each person; pairs by method: {counts}. "
        f"{as_markdown(faces.about, 5_000)}"
    )

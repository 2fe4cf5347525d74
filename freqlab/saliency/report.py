"""Findings of the saliency study as tables and sentences.

A sentence compares explanations only by paired differences whose interval, from a bootstrap over
people, excludes zero, and only with 20 people or more. Estimates of fewer people have no interval.
Explanations with maps that missed the requested reliability are named and not ranked.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.adversarial.detection_rates import estimate_text, is_interval
from freqlab.attrs import names_of
from freqlab.errors import check_name
from freqlab.faithfulness.deletion import PROTOCOLS
from freqlab.faithfulness.orders import describe_orders
from freqlab.literals import Comparison, Kind, Measure, Side
from freqlab.results.selection import fmr_text
from freqlab.saliency.advantages import COMPARISONS, MEASURES
from freqlab.statistics.resampling import ESTIMATES, FEWEST_PEOPLE
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join

__all__ = [
    "agreement_table",
    "cost_table",
    "describe_explanations",
    "describe_reliability",
    "describe_study",
    "explanation_table",
    "explanation_tables",
    "summary",
]

_KINDS: tuple[Kind, ...] = ("directed", "absolute")
_CURVES: dict[Measure, str] = {"similarity": "similarity", "error": "error rate"}
_TINY = 1e-12
_COMPARED = ("random", "amplitude")  # baselines of the tables
_MASKING = {"CorrRISE": "n_masks_space", "FreqRISE": "n_masks_plane"}


def explanation_table(
    compared: xr.Dataset, *, comparison: Comparison = "genuine", measure: Measure = "similarity"
) -> pd.DataFrame:
    """Tabulate the advantages of explanations over random order and the order of amplitude.

    Parameters
    ----------
    compared
        From :func:`freqlab.saliency.compare_explanations`.
    comparison
        Kind of pairs: ``"genuine"`` or ``"impostor"``.
    measure
        Quantity under whose curve the area is taken: ``"similarity"``, or ``"error"`` at the
        threshold.

    Returns
    -------
    pandas.DataFrame
        A row for each explanation. Intervals are left out if there are fewer than 20 people.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> compared = study["explanations"].to_dataset()
    >>> fl.saliency.explanation_table(compared).columns.tolist()
    [('deletion', 'over random'), ('deletion', 'over amplitude'), ('insertion', 'over random'),
    ('insertion', 'over amplitude')]
    """
    check_name("comparison", comparison, COMPARISONS)
    check_name("measure", measure, MEASURES)
    advantage = compared["advantage"].sel(comparison=comparison, measure=measure)
    enough = _people_of(compared, comparison) >= FEWEST_PEOPLE
    columns = [(protocol, baseline) for protocol in PROTOCOLS for baseline in _COMPARED]
    names = names_of(compared, "explanation")
    rows = [
        [
            _change(
                advantage.sel(explanation=name, protocol=protocol, baseline=baseline),
                interval=enough,
            )
            for protocol, baseline in columns
        ]
        for name in names
    ]
    headings = [(protocol, f"over {baseline}") for protocol, baseline in columns]
    return pd.DataFrame(rows, index=names, columns=pd.MultiIndex.from_tuples(headings))


def explanation_tables(compared: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Tabulate advantages for the kinds of pairs that have at least 20 people, by caption.

    Parameters
    ----------
    compared
        From :func:`freqlab.saliency.compare_explanations`.

    Returns
    -------
    dict
        Tables as from :func:`freqlab.saliency.explanation_table`, by their caption; empty if there
        are too few people.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> compared = study["explanations"].to_dataset()
    >>> fl.saliency.explanation_tables(compared)  # there are fewer than 20 people
    {}
    """
    return {
        f"Advantage in area under the curve of the {_CURVES[measure]}, "
        f"{_sample(compared, comparison)}, with {_level(compared)} intervals over people; positive "
        f"where the explanation is better than the baseline": explanation_table(
            compared, comparison=comparison, measure=measure
        )
        for measure in _CURVES
        for comparison in COMPARISONS
        if _people_of(compared, comparison) >= FEWEST_PEOPLE
    }


def cost_table(compared: xr.Dataset) -> pd.DataFrame:
    """Tabulate the domain, the number of unreliable maps and the cost of each explanation.

    Parameters
    ----------
    compared
        From :func:`freqlab.saliency.compare_explanations`.

    Returns
    -------
    pandas.DataFrame
        A row for each explanation.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> compared = study["explanations"].to_dataset()
    >>> fl.saliency.cost_table(compared).columns.tolist()
    ['domain', 'unreliable maps', 'forward passes per pair', 'seconds per pair']
    """
    names = names_of(compared, "explanation")
    return pd.DataFrame(
        {
            "domain": names_of(compared, "domain"),
            "unreliable maps": [_of_all_maps(compared, name) for name in names],
            "forward passes per pair": [f"{n:,.0f}" for n in compared["passes"].to_numpy()],
            "seconds per pair": [f"{s:.2g}" for s in compared["seconds"].to_numpy()],
        },
        index=names,
    )


def describe_explanations(compared: xr.Dataset) -> str:
    """State which explanations have an advantage over their baselines, and which are not ranked.

    Deletion, by similarity. Explanations in frequency are also compared with those in space.

    Parameters
    ----------
    compared
        From :func:`freqlab.saliency.compare_explanations`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> compared = study["explanations"].to_dataset()
    >>> print(fl.saliency.describe_explanations(compared))
    2 genuine pairs of 2 people and 2 impostor pairs of 4 people: too few to ...
    """
    sentences = _comparisons(compared)
    missed = [
        f"{as_markdown(name)} ({_of_all_maps(compared, name)})"
        for name in names_of(compared, "explanation")
        if _of_all_maps(compared, name)
    ]
    if missed:
        sentences.append(
            f"Not ranked, because maps missed the requested reliability: {join(missed)}."
        )
    return " ".join(sentences)


def agreement_table(agreed: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Tabulate rank correlations between explanations, each two of them once.

    Intervals are left out if there are fewer than 20 people.

    Parameters
    ----------
    agreed
        From :func:`freqlab.saliency.agreement`, by what the correlation is over, such as
        ``"bands"``.

    Returns
    -------
    pandas.DataFrame
        Correlation of the values (``directed``) and of their magnitudes (``absolute``), and the
        number of pairs.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> agreed = {"bands": study["agreement/bands"].to_dataset()}
    >>> fl.saliency.agreement_table(agreed).columns.tolist()
    ['pairs', 'directed', 'absolute']
    """
    rows = []
    for over, one in agreed.items():
        enough = int(one.attrs["n_people"]) >= FEWEST_PEOPLE
        for first, second in itertools.combinations(names_of(one, "explanation"), 2):
            values = one["agreement"].sel(explanation=first, other=second)
            correlations = [_change(values.sel(kind=kind), interval=enough) for kind in _KINDS]
            rows.append([f"{first} and {second}, over {over}", one.attrs["n_pairs"], *correlations])
    columns = ["explanations", "pairs", *_KINDS]
    return pd.DataFrame(rows, columns=columns).set_index("explanations").rename_axis(None)


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study in five to eight sentences, in Markdown.

    Advantages over baselines, explanations in frequency and in space, reliability of maps,
    agreement with band influence, orders of bands compared with the best order known, residual of
    integrated gradients, and detection of attacked faces.

    Parameters
    ----------
    study
        From :func:`freqlab.saliency.study`.

    Returns
    -------
    list of str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=6, per_subject=3)
    >>> options = {"model": fl.testing.model(), "bands": "rings:28", "fmr": 0.1, "n_draws": 50}
    >>> options |= {"n_pairs": 12, "n_explained": 4, "n_joint": 1, "grid": 2, "steps": 2}
    >>> options |= {"n_masks_space": 20, "n_masks_plane": 20, "attacks": ["FGSM:2"], "folds": 2}
    >>> study = fl.saliency.study(faces, store="run.zarr", progress=False, **options)
    >>> print(fl.saliency.summary(study)[0])
    2 genuine pairs of 2 people and 2 impostor pairs ...
    """
    return [
        *_comparisons(study["explanations"].to_dataset()),
        describe_reliability(study),
        _agreement_with_influence(study),
        *_best_order(study),
        *_residual(study),
        _detection(study["attacks"].to_dataset()),
    ]


def _best_order(study: xr.DataTree) -> list[str]:
    """State how close the order of influence is to the best order known."""
    if "orders" not in study.children:  # a study of an earlier version
        return []
    orders = study["orders"].to_dataset()
    (model,) = names_of(orders, "model")
    return [describe_orders(orders, model=model, side=cast(Side, str(study.attrs["side"])))]


def _residual(study: xr.DataTree) -> list[str]:
    """State how far the sums of integrated gradients are from the differences of similarity."""
    maps = study["maps/integrated"].to_dataset()
    if "residual" not in maps:  # a study of an earlier version
        return []
    residual = np.abs(maps["residual"].dropna("pair").to_numpy())
    difference = np.abs(maps["difference"].dropna("pair").to_numpy())
    if not len(residual):
        return []
    return [
        f"Integrated gradients with {int(study.attrs['steps'])} steps do not sum exactly to the "
        f"difference of similarities: the mean absolute residual is {residual.mean():.3f}, "
        f"{residual.mean() / max(difference.mean(), _TINY):.2f} of the mean absolute difference, "
        f"and the largest {residual.max():.3f}."
    ]


def describe_study(study: xr.DataTree) -> str:
    """State which pairs are explained, and at which threshold, in Markdown.

    Parameters
    ----------
    study
        From :func:`freqlab.saliency.study`.

    Returns
    -------
    str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> print(fl.saliency.describe_study(study))
    linear: 6 genuine and 6 impostor pairs, of which 4 are explained by every ...
    """
    attrs, genuine = study.attrs, study["influence"]["genuine"].to_numpy()
    requested, used = float(attrs["fmr"]), float(attrs["fmr_used"])
    text = (
        f"{as_markdown(attrs['models'][0])}: {int(genuine.sum()):,} genuine and "
        f"{int((~genuine).sum()):,} impostor pairs, of which {len(attrs['explained']):,} are "
        f"explained by every method. The {attrs['side']} is masked. The threshold is "
        f"{float(attrs['threshold']):.3f} at FMR {fmr_text(used)}."
    )
    if used > requested:
        text += f" There are too few impostor comparisons to resolve FMR {fmr_text(requested)}."
    return text


def describe_reliability(study: xr.DataTree) -> str:
    """State how many maps by random masks missed the requested reliability.

    Parameters
    ----------
    study
        From :func:`freqlab.saliency.study`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> print(fl.saliency.describe_reliability(study))
    Maps that missed the requested reliability of 0.9: 4 of 4 by CorrRISE with up ...
    """
    attrs = study.attrs
    n_maps, wanted = len(attrs["explained"]), float(attrs["reliability"])
    missed = {method: _n_missed(study, method) for method in _MASKING}
    if not any(missed.values()):
        methods = join(list(_MASKING))
        return f"All {n_maps:,} maps by {methods} reached the requested reliability of {wanted:g}."
    counts = [
        f"{missed[method]:,} of {n_maps:,} by {method} with up to {int(attrs[most]):,} masks"
        for method, most in _MASKING.items()
    ]
    return (
        f"Maps that missed the requested reliability of {wanted:g}: {join(counts)}; explanations "
        f"by {join([method for method, n in missed.items() if n])} are not ranked."
    )


def _n_missed(study: xr.DataTree, method: str) -> int:
    """Number of maps of a method by random masks that missed the requested reliability."""
    return int((~study[f"maps/{method.lower()}"]["converged"].to_numpy()).sum())


def _comparisons(compared: xr.Dataset) -> list[str]:
    """Compare explanations with baselines, and in frequency with in space, by kind of pairs."""
    sentences, too_few = [], []
    for comparison in COMPARISONS:
        sample = _sample(compared, comparison)
        if _people_of(compared, comparison) >= FEWEST_PEOPLE:
            sentences += _advantages(compared, comparison, sample)
        elif int(compared["n_pairs"].sel(comparison=comparison)):
            too_few.append(sample)
    if too_few:
        sentences.append(
            f"{join(too_few)}: too few to compare explanations; a comparison needs at least "
            f"{FEWEST_PEOPLE} people."
        )
    return sentences


def _people_of(compared: xr.Dataset, comparison: Comparison) -> int:
    """Number of people in the pairs of a kind."""
    return int(compared["n_people"].sel(comparison=comparison))


def _sample(compared: xr.Dataset, comparison: Comparison) -> str:
    """Number of pairs of a kind, and of their people: "20 genuine pairs of 20 people"."""
    n_pairs = int(compared["n_pairs"].sel(comparison=comparison))
    n_people = _people_of(compared, comparison)
    return (
        f"{n_pairs:,} {comparison} pair{'s' if n_pairs != 1 else ''} of {n_people:,} "
        f"{'people' if n_people != 1 else 'person'}"
    )


def _advantages(compared: xr.Dataset, comparison: Comparison, sample: str) -> list[str]:
    """Compare explanations in deletion of one kind of pairs, by similarity."""
    ranked = compared.isel(explanation=compared["n_unreliable"].to_numpy() == 0)
    ranked = ranked.sel(comparison=comparison, protocol="deletion", measure="similarity")
    if not ranked.sizes["explanation"]:
        return [f"Deletion, {sample}: no explanation has reliable maps only, so none is ranked."]
    sentences = [_over_baselines(ranked, sample)]
    if comparison == "genuine":
        in_space = ranked["domain"].to_numpy() == "space"
        if in_space.any() and not in_space.all():
            sentences.append(_frequency_and_space(ranked, in_space))
    return sentences


def _over_baselines(ranked: xr.Dataset, sample: str) -> str:
    """State for which explanations the interval of the advantage excludes zero."""
    names = names_of(ranked, "explanation")
    gain = ranked["advantage"]
    above_random = sum(_sign(gain.sel(explanation=name, baseline="random")) > 0 for name in names)
    by_sign: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for name in names:
        over_amplitude = gain.sel(explanation=name, baseline="amplitude")
        by_sign[_sign(over_amplitude)].append(f"{as_markdown(name)} ({_change(over_amplitude, 3)})")
    above = join(by_sign[1]) if by_sign[1] else "none"
    below = f" and below zero for {join(by_sign[-1])}" if by_sign[-1] else ""
    return (
        f"Deletion, {sample}: the {_level(ranked)} interval of the advantage in area over random "
        f"order lies above zero for {above_random} of {len(names)} explanations; over the order "
        f"of amplitude, it lies above zero for {above}{below}."
    )


def _frequency_and_space(ranked: xr.Dataset, in_space: npt.NDArray[np.bool_]) -> str:
    """Compare each explanation in frequency with each in space, by paired differences."""
    names = np.array(names_of(ranked, "explanation"))
    couples = [(one, other) for one in names[~in_space] for other in names[in_space]]
    differences = [ranked["difference"].sel(explanation=one, other=other) for one, other in couples]
    signs = [_sign(one) for one in differences]
    n, chance = len(couples), (1 - float(ranked.attrs["level"])) * len(couples)
    text = (
        f"Advantage over amplitude of an explanation in frequency minus that of an explanation in "
        f"space, genuine pairs: the {_level(ranked)} interval of the paired difference lies above "
        f"zero in {signs.count(1)} and below zero in {signs.count(-1)} of {n} comparisons "
        f"({chance:.1f} expected by chance)"
    )
    if any(signs):
        sizes = [abs(float(one.sel(estimate="value"))) for one in differences]
        largest = int(np.argmax(np.where(signs, sizes, -1)))
        couple = [
            f"{as_markdown(name)} ({float(ranked['passes'].sel(explanation=name)):,.0f} forward "
            f"passes per pair)"
            for name in couples[largest]
        ]
        text += (
            f"; the largest is {couple[0]} minus {couple[1]}, {_change(differences[largest], 3)}"
        )
    return f"{text}."


def _agreement_with_influence(study: xr.DataTree) -> str:
    """State the rank correlation of each method with band influence over bands."""
    agreed = study["agreement/bands"].to_dataset()
    values = agreed["agreement"].sel(kind="directed", other="influence")
    n_pairs, n_people = int(agreed.attrs["n_pairs"]), int(agreed.attrs["n_people"])
    enough = n_people >= FEWEST_PEOPLE
    texts = []
    for name in names_of(agreed, "explanation"):
        if name == "influence":
            continue
        missed = _n_missed(study, name) if name in _MASKING else 0
        unreliable = f", with {missed:,} of {n_pairs:,} maps unreliable"
        correlation = _change(values.sel(explanation=name), interval=enough) or "not defined"
        texts.append(f"{name} {correlation}{unreliable if missed else ''}")
    return (
        f"Mean rank correlation with band influence over the bands of {n_pairs:,} pairs "
        f"of {n_people:,} people{'' if enough else ' (too few for intervals)'}: "
        f"{'; '.join(texts)}."
    )


def _detection(errors: xr.Dataset) -> str:
    """State how well detectors separate natural faces from those of the most successful attack."""
    n_faces, n_people = int(errors["n_pairs"]), int(errors["n_people"])
    tested = f"on {n_faces:,} natural and as many attacked faces of {n_people:,} people"
    if n_people < FEWEST_PEOPLE:
        return (
            f"Detection of attacked faces was tested {tested}: too few to compare detectors; a "
            f"comparison needs at least {FEWEST_PEOPLE} people."
        )
    success = errors["success"].fillna(-1).to_numpy()
    strongest = int(np.argmax(success))
    attack = names_of(errors, "attack")[strongest]
    auc = errors["auc"].sel(labels="true", attack=attack)
    texts = [
        f"{name} {estimate_text(auc.sel(detector=name)) or 'not defined'}"
        for name in names_of(errors, "detector")
    ]
    turned = f", which turns {100 * success[strongest]:.0f} % of the correct decisions"
    return (
        f"Detection of {attack}{turned if success[strongest] >= 0 else ''}, {tested} who are not "
        f"in the fit: the area under the ROC curve (0.5 is chance) is {'; '.join(texts)}."
    )


def _of_all_maps(compared: xr.Dataset, name: str) -> str:
    """Maps of an explanation that missed the requested reliability: "3 of 10"; else empty."""
    missed = int(compared["n_unreliable"].sel(explanation=name))
    return f"{missed:,} of {int(compared.attrs['n_pairs']):,}" if missed else ""


def _level(data: xr.Dataset) -> str:
    """Coverage of the intervals: "95 %"."""
    return f"{100 * float(data.attrs['level']):g} %"


def _sign(values: xr.DataArray) -> int:
    """1 or -1 if the interval of an estimate lies above or below zero, else 0."""
    if not is_interval(values):
        return 0
    lower, upper = (float(values.sel(estimate=bound)) for bound in ESTIMATES[1:])
    return int(lower > 0) - int(upper < 0)


def _change(values: xr.DataArray, digits: int = 2, *, interval: bool = True) -> str:
    """Format a change and its interval, with signs; parameters as for `estimate_text`."""
    return estimate_text(values, digits, sign="+", interval=interval)

"""Results of a faithfulness study as sentences, generated from its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import names_of
from freqlab.edits.edges import describe_edge_effect
from freqlab.faithfulness.orders import better_views, describe_orders
from freqlab.faithfulness.report import (
    FEWEST_PEOPLE,
    amplitude_advantages,
    interval_sign,
)
from freqlab.literals import Side
from freqlab.results.selection import fmr_text, part_of, threshold_of
from freqlab.statistics.resampling import estimates_of
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join, percent, signed, with_bounds

__all__ = [
    "describe_both_masked",
    "describe_checks",
    "describe_edge",
    "describe_figures",
    "describe_interaction",
    "describe_learned",
    "describe_planted",
    "describe_tested",
    "describe_thresholds",
    "describe_views",
    "summary",
]

_AGAINST_AMPLITUDE = {
    1: "the order of influence outperforms the order of amplitude",
    -1: "the order of amplitude outperforms the order of influence",
    0: "the interval of the advantage of influence over amplitude contains zero",
}

_AGREES = 0.8  # rank correlation of profiles above which the border does not matter


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study in Markdown, in four to eight sentences for one model.

    Each further model adds two sentences. If the order of another view of the bands is better than
    that of influence, this is stated first. The sentences state the advantage of influence over the
    order of amplitude, how close its order is to the best order known, dependence on the weights
    and on the pair, whether influence identifies a band that a network was trained to read (or one
    that was planted, where there are too few faces to train), and stability. A comparison is stated
    only if the interval of a paired difference excludes zero, and not for fewer than 20 people.

    Parameters
    ----------
    study
        From :func:`freqlab.faithfulness.study`.

    Returns
    -------
    list of str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=6, per_subject=2)
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "fmr": 0.1, "n_sample": 4}
    >>> options |= {"most_permutations": 4, "n_draws": 50, "progress": False}
    >>> study = fl.faithfulness.study(faces, store="run.zarr", **options)
    >>> print(fl.faithfulness.summary(study)[0])
    **linear**, probe masked: ...
    """
    errors = study["errors"].to_dataset()
    names = [str(name) for name in study.attrs["models"]]
    side, n_people = cast(Side, str(study.attrs["side"])), int(study.attrs["n_people"])
    few, n_sampled = n_people < FEWEST_PEOPLE, int(study.attrs["n_sampled"])
    orders = study["orders"].to_dataset()
    better: list[str] = []
    others: list[str] = []
    for name in names:
        found = better_views(part_of(orders, model=name, side=side))
        text = describe_orders(orders, model=name, side=side)
        (better if found else others).append(text)
    texts = better + [_against_amplitude(errors, name, side, few=few) for name in names]
    if few:
        texts.append(
            f"The orders are not compared, because {n_people} people are tested, fewer than "
            f"{FEWEST_PEOPLE}."
        )
    return [
        *texts,
        *others,
        _sanity(study["checks"].to_dataset(), names, n_sampled),
        describe_learned(study["learned"].to_dataset())
        if "learned" in study.children
        else describe_planted(study["planted"].to_dataset()),
        _stability(study["stability"].to_dataset(), names, n_sampled),
        *(_edge(study["edge"].to_dataset(), names) if "edge" in study.children else []),
    ]


def _against_amplitude(errors: xr.Dataset, model: str, side: Side, *, few: bool) -> str:
    """State the advantage of influence over the order of amplitude, in one sentence."""
    start = f"**{as_markdown(model)}**, {side} masked:"
    advantages = amplitude_advantages(errors, model=model, side=side)
    if not advantages:
        return (
            f"{start} the order of influence cannot be compared with the order of amplitude, "
            f"because the error rates at FMR {float(errors.attrs['fmr']):g} do not differ between "
            f"the orders."
        )
    if few:
        figures = [
            f"{signed(gain, 3)} for {comparison} pairs in {protocol}"
            for (protocol, comparison), gain in advantages.items()
        ]
        return (
            f"{start} the advantage of the order of influence over the order of amplitude "
            f"(difference of the areas under the error rates) is {join(figures)}."
        )
    clauses = []
    for sign, statement in _AGAINST_AMPLITUDE.items():
        parts = [
            f"{comparison} pairs in {protocol} ({signed(gain, 3)})"
            for (protocol, comparison), gain in advantages.items()
            if interval_sign(gain) == sign
        ]
        if parts:
            clauses.append(f"{statement} for {join(parts)}")
    return f"{start} {'; '.join(clauses)} (differences of the areas under the error rates)."


def _sanity(checks: xr.Dataset, models: Sequence[str], n_pairs: int) -> str:
    """State the correlations with randomised weights and with another partner."""
    remaining = checks["randomised"].sel(kind="directed").isel(depth=-1)
    shuffled = checks["shuffled"].sel(kind="directed")
    share = f"{100 * float(checks['depth'][-1]):g}"
    texts = []
    for name in models:
        weights = with_bounds(remaining.sel(model=name), ".2f")
        other = f"{_figure(shuffled.sel(model=name))} with another partner"
        if weights:
            texts.append(
                f"{weights} with {share} % of the layers randomised and {other} "
                f"({as_markdown(name)})"
            )
        else:
            texts.append(f"{other} ({as_markdown(name)}; weights not randomised)")
    return (
        f"In a sample of {n_pairs} pairs, the mean rank correlation of the directed profiles with "
        f"the original ones is {'; '.join(texts)}."
    )


def _stability(stability: xr.Dataset, models: Sequence[str], n_pairs: int) -> str:
    """State the lowest and the highest correlation after small changes of the image."""
    changes = names_of(stability, "perturbation")
    texts = []
    for name in models:
        values = stability["correlation"].sel(model=name)
        order = np.argsort(values.sel(estimate="value").to_numpy(), kind="stable")  # NaN last
        known = order[: int(values.sel(estimate="value").notnull().sum())]
        if not len(known):
            texts.append(f"not available ({as_markdown(name)})")
            continue
        lowest, highest = (
            f"{with_bounds(values.isel(perturbation=k), '.2f')} ({changes[k]})"
            for k in (known[0], known[-1])
        )
        texts.append(f"{lowest} to {highest} for {as_markdown(name)}")
    return (
        f"After small changes of the {stability.attrs['side']} in a sample of {n_pairs} pairs, the "
        f"mean rank correlation with the original profiles ranges from {'; '.join(texts)}."
    )


def _edge(edge: xr.Dataset, models: Sequence[str]) -> list[str]:
    """State the effect of the border, in one sentence, for the models for which it matters.

    It matters if the interval of a mean rank correlation extends below 0.8, or if that of the share
    of the influence in high bands lies above zero.
    """
    side = names_of(edge, "side")[0]
    texts = []
    for name in models:
        part = part_of(edge, model=name, side=side)
        _, low, _ = estimates_of(part["correlation"])
        _, least, _ = estimates_of(part["excess"])
        if not ((low < _AGREES).any() or (least > 0).any()):
            continue
        kinds = [
            (f"{comparison} pairs", part.sel(comparison=comparison))
            for comparison in names_of(part, "comparison")
        ]
        agreement = [(with_bounds(one["correlation"], ".2f"), kind) for kind, one in kinds]
        shares = [(percent(one["excess"], 0), kind) for kind, one in kinds]
        texts.append(
            f"{join([f'{figure} for {kind}' for figure, kind in agreement if figure])} "
            f"({as_markdown(name)}; from {edge.attrs['high']:g} {edge.attrs['unit']} up, the "
            f"border accounts for {join([f'{s} of the influence on {k}' for s, k in shares if s])})"
        )
    if not texts:
        return []
    return [
        f"The border of the crop affects high bands and single profiles: the mean rank correlation "
        f"of the profiles with those of the mirrored crop is {'; '.join(texts)}."
    ]


def describe_edge(study: xr.DataTree, *, model: str) -> str:
    """State how far the border of the crop changes the influence of bands of a model.

    Parameters
    ----------
    study
        From :func:`freqlab.faithfulness.study`.
    model
        Name of the model.

    Returns
    -------
    str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> print(fl.faithfulness.describe_edge(study, model="linear"))
    **linear**: Between bands of the periodic and of the mirrored crop, ...
    """
    start = f"**{as_markdown(model)}**:"
    if "edge" not in study.children:
        return f"{start} The border of the crop is tested for rings and octaves only."
    return f"{start} {describe_edge_effect(study['edge'].to_dataset(), model=model)}"


def describe_tested(study: xr.DataTree, *, pairs: object = "the list") -> str:
    """State, in Markdown, which pairs are tested.

    Parameters
    ----------
    study
        From :func:`freqlab.faithfulness.study`.
    pairs
        Name of the list of pairs, if one was given.

    Returns
    -------
    str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> print(fl.faithfulness.describe_tested(study))
    6 genuine and 6 impostor pairs of 6 people, drawn at random. The tests that ...
    """
    genuine = study["influence"]["genuine"].to_numpy()
    drawn = study.attrs["pairs_are"] == "drawn"
    origin = "drawn at random" if drawn else f"from {as_markdown(pairs)}"
    return (
        f"{int(genuine.sum()):,} genuine and {int((~genuine).sum()):,} impostor pairs of "
        f"{int(study.attrs['n_people']):,} people, {origin}. The tests that require many forward "
        f"passes per pair use {int(study.attrs['n_sampled'])} of these pairs, half of them genuine "
        f"where possible."
    )


def describe_thresholds(study: xr.DataTree) -> list[str]:
    """State, in Markdown, the threshold at which each model is tested.

    Parameters
    ----------
    study
        From :func:`freqlab.faithfulness.study`.

    Returns
    -------
    list of str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> for sentence in fl.faithfulness.describe_thresholds(study):
    ...     print(sentence)
    **linear**: threshold nan at FMR 1e-1, set on all 60 impostor comparisons of ...
    """
    result = study["influence"].to_dataset()
    requested, rate = float(study.attrs["fmr"]), float(study.attrs["fmr_used"])
    raised = rate > requested * 1.01
    note = f" (FMR {fmr_text(requested)} requires more comparisons)" if raised else ""
    return [
        f"**{as_markdown(name)}**: threshold {threshold_of(result, model=name, fmr=rate):.3f} at "
        f"FMR {fmr_text(rate)}, set on all {int(result['impostor_comparisons'].sel(model=name)):,} "
        f"impostor comparisons of the face set{note}."
        for name in study.attrs["models"]
    ]


def describe_both_masked(errors: xr.Dataset, *, model: str) -> str:
    """State the last values of the deletion curves when both images are masked.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`, with the side ``"both"``.
    model
        Name of the model.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> print(fl.faithfulness.describe_both_masked(errors, model="linear"))
    With both images masked, deletion ends with two images of uniform colour: mean ...
    """
    ends = errors["curve"].sel(model=model, side="both", protocol="deletion", order="influence")
    last = ends.isel(step=int(np.isfinite(errors["share"].sel(model=model)).sum()) - 1)
    similarity = last.sel(measure="similarity")
    return (
        f"With both images masked, deletion ends with two images of uniform colour: mean "
        f"similarity {float(similarity.sel(comparison='genuine')):.2f} of genuine and "
        f"{float(similarity.sel(comparison='impostor')):.2f} of impostor pairs, FMR "
        f"{float(last.sel(comparison='impostor', measure='error')):.2f}. These values are not "
        f"informative about faces; consider the curves with one masked image first."
    )


def describe_interaction(views: xr.Dataset, *, model: str) -> str:
    """State the size of the interaction of two bands relative to the influence of one band.

    Parameters
    ----------
    views
        From :func:`freqlab.faithfulness.band_views`.
    model
        Name of the model.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> views = study["views"].to_dataset()
    >>> print(fl.faithfulness.describe_interaction(views, model="linear"))
    mean interaction of two bands: 0.61 [0.13, 1.11] of the mean influence
    """
    share = _figure(views["interaction_share"].sel(model=model))
    return f"mean interaction of two bands: {share} of the mean influence"


def describe_views(views: xr.Dataset, *, tolerance: float = 0.01) -> list[str]:
    """State, in Markdown, the precision of the Shapley values of each model.

    Parameters
    ----------
    views
        From :func:`freqlab.faithfulness.band_views`.
    tolerance
        Requested standard error.

    Returns
    -------
    list of str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> views = study["views"].to_dataset()
    >>> for sentence in fl.faithfulness.describe_views(views):
    ...     print(sentence)
    **linear**: Shapley values from 4 orders, largest standard error 0.000; their ...
    """
    texts = []
    for name in names_of(views, "model"):
        part = views.sel(model=name)
        error = float(part["shapley_error"].max())
        above = f" (above the requested {tolerance:g})" if error > tolerance else ""
        gap = abs(part["value"].sel(view="Shapley").sum("band") - part["gap"]).max()
        texts.append(
            f"**{as_markdown(name)}**: Shapley values from {int(part['permutations'])} orders, "
            f"largest standard error {error:.3f}{above}; their sums differ from s(all) - s(none) "
            f"by at most {float(gap):.0e}."
        )
    return texts


def describe_checks(checks: xr.Dataset) -> list[str]:
    """State, in Markdown, how profiles change with another partner and for identical images.

    Parameters
    ----------
    checks
        From :func:`freqlab.faithfulness.sanity_checks`.

    Returns
    -------
    list of str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> for sentence in fl.faithfulness.describe_checks(study["checks"].to_dataset()):
    ...     print(sentence)
    **linear**: with another partner, the directed profiles have a mean rank ...
    """
    return [
        f"**{as_markdown(name)}**: with another partner, the directed profiles have a mean rank "
        f"correlation of {_figure(checks['shuffled'].sel(model=name, kind='directed'))} with the "
        f"original ones; the minimum influence in pairs of identical images is "
        f"{float(checks['least_identical'].sel(model=name)):.1e}."
        for name in names_of(checks, "model")
    ]


def describe_planted(planted: xr.Dataset) -> str:
    """State how often planted bands are identified; this tests the method, without a model.

    Parameters
    ----------
    planted
        From :func:`freqlab.faithfulness.planted_bands`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> print(fl.faithfulness.describe_planted(study["planted"].to_dataset()))
    Test of the method, without a model: planted bands are identified in ...
    """
    shares = [
        f"{100 * float(planted['accuracy'].sel(contrast=contrast).mean()):.0f} % at {contrast:g} "
        f"grey levels"
        for contrast in planted["contrast"].to_numpy()
    ]
    return (
        f"Test of the method, without a model: planted bands are identified in {join(shares)}, "
        f"over all bands and people; the distractor is as strong as a signature of "
        f"{float(planted.attrs['distractor']):g} grey levels, and the chance level is "
        f"{100 * float(planted['chance']):.0f} %."
    )


def describe_learned(learned: xr.Dataset | xr.DataTree) -> str:
    """State whether influence identifies the bands that trained networks read.

    Parameters
    ----------
    learned
        From :func:`freqlab.faithfulness.learned_bands`; or from
        :func:`freqlab.faithfulness.study`, empty if it has too few faces.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> crops = np.stack(fl.testing.faces(n_subjects=6, per_subject=2).images)
    >>> learned = fl.faithfulness.learned_bands(crops, fl.rings(28), planted=[1], steps=30)
    >>> print(fl.faithfulness.describe_learned(learned))
    Test of the method with a model: of 1 ...
    """
    if isinstance(learned, xr.DataTree):
        if "learned" not in learned.children:
            return ""
        learned = learned["learned"].to_dataset()
    known = learned.isel(planted=np.isfinite(learned["identified"].to_numpy()))
    n_learned, n_planted = known.sizes["planted"], learned.sizes["planted"]
    start = (
        f"Test of the method with a model: of {n_planted} small networks, each trained on the spot "
        f"to read one band, {n_learned} learned it"
    )
    if not n_learned:
        return f"{start}."
    shares = 100 * known["share"].to_numpy()
    with_band, without = known["auc"].to_numpy(), known["auc_without"].to_numpy()
    return (
        f"{start}, and influence identifies the band of {int(known['identified'].sum())} of them; "
        f"it is the largest in {_range(shares, '.0f')} % of {int(learned.attrs['n_pairs'])} "
        f"genuine pairs (area under the ROC curve {_range(with_band, '.2f')}, without the band "
        f"{_range(without, '.2f')})."
    )


def _range(values: npt.NDArray[np.floating], form: str) -> str:
    """Smallest and largest value, or the only one."""
    texts = [format(float(value), form) for value in (values.min(), values.max())]
    return " to ".join(dict.fromkeys(texts))


def describe_figures(figures: xr.Dataset, *, side: Side = "probe") -> list[str]:
    """State, in Markdown, the complexity of profiles and the agreement of models.

    Parameters
    ----------
    figures
        From :func:`freqlab.faithfulness.explanation_figures`.
    side
        The masked image.

    Returns
    -------
    list of str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> for sentence in fl.faithfulness.describe_figures(study["figures"].to_dataset()):
    ...     print(sentence)
    **linear**: complexity 0.81 [0.74, 0.88] of genuine pairs and 0.77 [0.61, 0.92] ...
    """
    texts = []
    for name in names_of(figures, "model"):
        part = figures["mean_complexity"].sel(model=name, side=side)
        kinds = " and ".join(
            f"{_figure(part.sel(comparison=kind))} of {kind} pairs"
            for kind in ("genuine", "impostor")
        )
        texts.append(f"**{as_markdown(name)}**: complexity {kinds}.")
    for couple in names_of(figures, "couple") if "agreement" in figures else ():
        agreement = figures["agreement"].sel(couple=couple, side=side)
        kinds = " and ".join(
            f"{_figure(agreement.sel(kind=kind))} ({kind})" for kind in ("directed", "absolute")
        )
        texts.append(
            f"Mean rank correlation of the profiles of {as_markdown(couple)} for the same pair: "
            f"{kinds}."
        )
    return texts


def _figure(values: xr.DataArray) -> str:
    """Format a figure with its interval."""
    return with_bounds(values, ".2f") or "not available"

"""Findings of a morphing study in a few sentences, each with its numbers, intervals and doubts.

Two rates are compared in words only if the interval of their paired difference excludes zero, and
only on enough people. The terms are those of the reading help of the report.
"""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from freqlab.attrs import names_of
from freqlab.datasets.pair_tables import BONA_FIDE, CONTROL
from freqlab.morphing.decision_thresholds import describe_threshold
from freqlab.morphing.paired import FEWEST_PEOPLE, points
from freqlab.morphing.report import detections
from freqlab.morphing.score_sentences import best_score_sentences, fusion_sentences
from freqlab.results.sentences import band_text
from freqlab.statistics.resampling import excludes_zero
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join, percent, signed

__all__ = ["summary"]

_POOLED = "all"
_MOST_DIFFERENCES = 1  # spelled out; the others are counted


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study in a few Markdown sentences.

    Parameters
    ----------
    study
        From :func:`freqlab.morphing.study`.

    Returns
    -------
    list of str
        For each model: the share of morphs that match both contributors, by kind of morph; the
        largest paired difference between the kinds; the best score of influence alone, with what
        limits this finding, and its paired differences from the baselines; whether influence adds
        to the similarity. For a study of one model, also the band whose influence differs most
        between attack and bona fide pairs. Fewer than :data:`FEWEST_PEOPLE` people are not
        compared, and a sentence states this.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces(n_subjects=20, per_subject=3)
    >>> pairs = fl.morphing.make_pairs(faces)
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "threshold": 0.6}
    >>> options |= {"n_draws": 50, "progress": False}
    >>> study = fl.morphing.study(faces, pairs, store="run.zarr", **options)
    >>> print(fl.morphing.summary(study)[0])
    At threshold 0.600, ...
    """
    risk = study["vulnerability"].to_dataset().isel(fmr=0)
    edges = study["thresholds"].to_dataset()
    n_people = int(study.attrs["n_people"])
    enough = n_people >= FEWEST_PEOPLE
    sentences = []
    several = len(risk["model"]) > 1
    for k, (name, _, errors) in enumerate(detections(study)):
        of_model, start = risk.sel(model=name), f"{as_markdown(name)}: " if several else ""
        edge = describe_threshold(edges, model=name).removesuffix(".")
        sentences.append(start + _vulnerability(of_model, edge, first=k == 0))
        if enough and len(_attacks(of_model)) > 1:
            sentences.append(start + _differences(of_model))
        best, compared = best_score_sentences(errors)
        sentences.append(start + best)
        if enough:
            sentences.append(start + compared)
            sentences.append(start + fusion_sentences(errors)[0])
    if not enough:
        sentences.append(
            f"No rates are compared, since {n_people} people are fewer than {FEWEST_PEOPLE}."
        )
    elif len(risk["model"]) == 1:
        profiles = study["profiles"].to_dataset()
        sentences.append(_largest_change(profiles.isel(model=0)))
    return sentences


def _attacks(data: xr.Dataset) -> list[str]:
    return names_of(data, "other_attack")


def _vulnerability(risk: xr.Dataset, edge: str, *, first: bool) -> str:
    """State MMPMR pooled and by kind of morph, and the rejected bona fide pairs."""
    pooled = risk.sel(attack=_POOLED)
    rate, rejected = percent(pooled["mmpmr"], 1), percent(risk["false_non_match_rate"], 1)
    text = (
        f"At {edge}, {rate} of {int(pooled['n_morphs']):,} morphs match live photographs of both "
        f"contributors (MMPMR)"
    )
    kinds = _attacks(risk)
    if len(kinds) > 1:
        by_kind = [f"{as_markdown(k)} {percent(risk['mmpmr'].sel(attack=k), 1)}" for k in kinds]
        text += f": {join(by_kind)}"
    text += f". Of the bona fide pairs, {rejected} are rejected."
    if first:
        level = f"{100 * float(risk.attrs['level']):g} %"
        text += f" Brackets hold {level} intervals over people."
    return text


def _differences(risk: xr.Dataset) -> str:
    """State the paired differences in MMPMR between kinds of morph."""
    clear, unclear = [], []
    for one, other in itertools.combinations(_attacks(risk), 2):
        people = min(int(risk["n_people"].sel(attack=kind)) for kind in (one, other))
        change = risk["mmpmr_difference"].sel(attack=one, other_attack=other)
        if people < FEWEST_PEOPLE:
            continue
        if not excludes_zero(change):
            unclear.append((one, other, points(change)))
            continue
        high, low = (one, other) if float(change.sel(estimate="value")) > 0 else (other, one)
        size = abs(float(change.sel(estimate="value")))
        clear.append((size, high, low, points(change, absolute=True)))
    n = len(clear) + len(unclear)
    if n == 0:
        return (
            f"Kinds of morph are not compared, since no two of them have {FEWEST_PEOPLE} people "
            f"each."
        )
    clear.sort(key=lambda finding: -finding[0])
    texts = [
        f"MMPMR of {as_markdown(high)} is {text} above that of {as_markdown(low)}"
        for _, high, low, text in clear[:_MOST_DIFFERENCES]
    ]
    if n == 1 and texts:
        return f"{texts[0]}."
    if n == 1:
        one, other, text = unclear[0]
        return (
            f"The interval of the paired difference in MMPMR, {as_markdown(one)} minus "
            f"{as_markdown(other)}, includes zero: {text}."
        )
    if texts:
        return (
            f"{join(texts)}; the intervals of {len(clear)} of the {n} paired differences between "
            f"kinds of morph exclude zero, without adjustment for their number."
        )
    return (
        f"The intervals of all {n} paired differences in MMPMR between kinds of morph include zero."
    )


def _largest_change(profiles: xr.Dataset) -> str:
    """State the band whose influence differs most from bona fide pairs, the document masked."""
    changes = profiles["directed_difference"].sel(side="reference")
    kinds = [kind for kind in changes["attack"].to_numpy() if kind not in (BONA_FIDE, CONTROL)]
    attacks = changes.sel(attack=kinds).transpose("attack", "band", "estimate")
    size = np.abs(attacks.sel(estimate="value").to_numpy())
    if not np.isfinite(size).any():
        return "Influence cannot be compared: there is no band with coefficients."
    a, b = np.unravel_index(int(np.nanargmax(size)), size.shape)
    change = attacks[a, b]
    n = int(np.isfinite(size).sum())
    where = f"{band_text(profiles, int(b))}, removed from the document"
    if not excludes_zero(change):
        return (
            f"Of {n} differences in mean influence between attack and bona fide pairs, the "
            f"largest, {signed(change, 4)} for {as_markdown(kinds[a])} in {where}, has an interval "
            f"that includes zero."
        )
    sign = "above" if float(change.sel(estimate="value")) > 0 else "below"
    magnitude = change if sign == "above" else _negated(change)
    size = signed(magnitude, 4).replace("+", "")
    text = (
        f"Mean influence of {where}, is {size} {sign} that of bona fide pairs for "
        f"{as_markdown(kinds[a])}: the largest of {n} differences by band and kind of morph."
    )
    if CONTROL in profiles["attack"]:
        control = changes.sel(attack=CONTROL).isel(band=int(b))
        text += f" For controls the difference is {signed(control, 4)}"
        text += ", so the warp changes this band too." if excludes_zero(control) else "."
    return text


def _negated(change: xr.DataArray) -> xr.DataArray:
    """Change the sign of a difference, and exchange the bounds of its interval."""
    swapped = -change.sel(estimate=["value", "upper", "lower"])
    return swapped.assign_coords(estimate=["value", "lower", "upper"])

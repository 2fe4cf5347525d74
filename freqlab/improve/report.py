"""Findings of the study of what influence is good for, as tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name
from freqlab.improve.calibration import CALIBRATIONS
from freqlab.improve.discarding import RANDOM
from freqlab.improve.fusion import SCORES
from freqlab.improve.making import NATIVE
from freqlab.improve.score_gains import FEWEST_ERRORS, GAIN, LOSS, NO_GAIN
from freqlab.results.selection import at_fmr, fmr_text
from freqlab.statistics.resampling import FEWEST_PEOPLE
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join, percent, signed, with_bounds

__all__ = [
    "Part",
    "calibration_table",
    "describe_comparisons",
    "parts_of",
    "summary",
    "verdict_table",
]

_NBSP = "\u00a0"
_MEASURED = {
    "bands": "the mean similarity without one band",
    "learnt": "learnt weights over bands",
    "influence": "influence beside the similarity",
    "energy": "the control, band energies beside the similarity",
    "alike": "degrading the reference as the probe, which needs no influence",
    "flip": "flip averaging",
}


class Part(NamedTuple):
    """A part of a study: one model at one resolution of the probes."""

    title: str
    model: str
    resolution: str
    quality: xr.Dataset
    discard: xr.Dataset
    calibration: xr.Dataset
    gains: xr.Dataset
    weights: xr.Dataset


def parts_of(study: xr.DataTree) -> list[Part]:
    """Parts of a study, by model and from the highest resolution on.

    Parameters
    ----------
    study
        From :func:`freqlab.improve.study`.

    Returns
    -------
    list of Part
        Named tuples of the model, the resolution and the datasets.

    Raises
    ------
    ParameterError
        If it is not such a study.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> (part,) = fl.improve.parts_of(study)
    >>> part.model, part.resolution
    ('linear', '14')
    """
    parts = list(_parts(study))
    if not parts:
        raise ParameterError("study has no part with gains; fl.improve.study makes such a study")
    return parts


def _parts(study: xr.DataTree) -> Iterator[Part]:
    names = [name for name in study.children if name == NATIVE or name.isdigit()]
    ordered = sorted(names, key=lambda name: math.inf if name == NATIVE else int(name))[::-1]
    for k, model in enumerate(map(str, study.attrs.get("models", []))):
        for name in ordered:
            node = study[f"{name}/{k}"]
            title = "faces as they are" if name == NATIVE else f"probes of {name}{_NBSP}pixels"
            data = [node[key].to_dataset() for key in Part._fields[3:]]
            yield Part(title, model, name, *data)


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study: where there is a gain, and where there is none, with the same emphasis.

    Parameters
    ----------
    study
        From :func:`freqlab.improve.study`.

    Returns
    -------
    list of str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> for sentence in fl.improve.summary(study):
    ...     print("-", sentence)
    - Probes of 14 pixels: The similarity alone rejects 91.7 % [65.0, 99.6] of the ...
    - Probes of 14 pixels: Quality by band stability: **no verdict**, too few ...
    - Probes of 14 pixels: Log-likelihood ratios of the similarity cost 1.000 ...
    """
    fmr, parts = float(study.attrs["fmr"]), parts_of(study)
    several = len(study.attrs["models"]) > 1
    sentences = []
    for part in parts:
        start = f"**{as_markdown(part.model)}**, {part.title}. " if several else f"{part.title}: "
        start = start[0].upper() + start[1:]
        sentences.append(f"{start}{_gain_text(part.gains, fmr)}")
        sentences.append(f"{start}{_quality_text(part.discard)}")
        sentences.append(f"{start}{_calibration_text(part.calibration)}")
    level = 100 * float(parts[0].gains.attrs["level"])
    sentences[0] += f" Brackets hold {level:g}{_NBSP}% intervals over people."
    return sentences


def _gain_text(data: xr.Dataset, fmr: float) -> str:
    """State the errors of the similarity alone, and the verdict on every other score."""
    at = at_fmr(data, fmr)
    base = at.sel(score_name=data.attrs["baseline"])
    rate = percent(base["false_non_match_rate"])
    if not rate:
        return f"There is no threshold at FMR {fmr_text(fmr)}: {base['verdict'].item()}."
    n_errors = int(base["n_errors"])
    text = (
        f"The similarity alone rejects {rate} of the genuine comparisons at FMR {fmr_text(fmr)}, "
        f"{n_errors:,} errors"
    )
    others = [name for name in names_of(data, "score_name") if name != data.attrs["baseline"]]
    verdicts = {name: str(at["verdict"].sel(score_name=name).item()) for name in others}
    said = []
    for verdict in (GAIN, LOSS, NO_GAIN):
        names = [name for name in others if verdicts[name] == verdict]
        if names:
            changes = [
                f"{_MEASURED.get(name, as_markdown(name))} "
                f"({signed(100 * at['difference'].sel(score_name=name), 2)} points)"
                for name in names
            ]
            said.append(f"**{verdict}** by {join(changes)}")
    if not said:
        return f"{text}. **No verdict**: {_reason(next(iter(verdicts.values())))}."
    text += f". Change of FNMR: {'; '.join(said)}."
    gained = [name for name in others if verdicts[name] == GAIN]
    if len(gained) > 1:
        values = at["difference"].sel(estimate="value")
        best = min(gained, key=lambda name: float(values.sel(score_name=name)))
        text += f" The largest gain is by {_MEASURED.get(best, as_markdown(best))}."
    return text


def _quality_text(data: xr.Dataset) -> str:
    """State whether discarding by band stability lowers errors."""
    chosen = str(data.attrs["measure"])
    one = data.sel(measure=RANDOM, protocol="fixed", up_to=0.2)
    verdict = str(one["verdict"].item())
    if verdict not in (GAIN, LOSS, NO_GAIN):
        return f"Quality by band {chosen}: **no verdict**, {_reason(verdict)}."
    return (
        f"Discarding up to 20{_NBSP}% of the samples by band {chosen} instead of at random changes "
        f"the mean FNMR by {signed(100 * one['area_difference'], 2)} points: **{verdict}**"
        f"{_rivals_text(data)}."
    )


def _rivals_text(data: xr.Dataset) -> str:
    """State which baselines of quality band stability beats, and which beat it."""
    rivals = ("flip stability", "embedding norm", "sharpness", "contrast")
    at = data.sel(protocol="fixed", up_to=0.2)
    present = [name for name in rivals if name in names_of(data, "measure")]
    texts = []
    for verdict, word in ((GAIN, "better"), (LOSS, "worse")):
        names = [n for n in present if str(at["verdict"].sel(measure=n).item()) == verdict]
        if names:
            texts.append(f"{word} than {join(names)}")
    if not texts:
        return f"; no difference is established from {join(present)}" if present else ""
    return f"; it is {join(texts)}"


def _calibration_text(data: xr.Dataset) -> str:
    """State the cost of log-likelihood ratios with and without influence."""
    platt, other = (data.sel(calibration=name) for name in ("platt", "influence"))
    change = other["cllr_difference"]
    lower, upper = (float(change.sel(estimate=e)) for e in ("lower", "upper"))
    n_people = int(data["n_people"])
    word = GAIN if upper < 0 else LOSS if lower > 0 else NO_GAIN
    if n_people < FEWEST_PEOPLE:
        word = _reason(f"too few people ({n_people})")
    return (
        f"Log-likelihood ratios of the similarity cost {with_bounds(platt['cllr'], '.3f')} bit "
        f"(Cllr; minimum {float(platt['min_cllr']):.3f}); with influence the cost changes by "
        f"{signed(change, 3)}: **{word}**."
    )


def _reason(verdict: str) -> str:
    """Reason for the lack of a verdict, with what would be enough."""
    if verdict.startswith("too few errors"):
        return f"{verdict}; {FEWEST_ERRORS} or more are required"
    if verdict.startswith("too few people"):
        return f"{verdict}; {FEWEST_PEOPLE} or more are required"
    return verdict


def verdict_table(study: xr.DataTree, *, fmr: float | None = None) -> pd.DataFrame:
    """Tabulate the verdict on every score at each resolution.

    Parameters
    ----------
    study
        From :func:`freqlab.improve.study`.
    fmr
        False match rate; that of the study by default.

    Returns
    -------
    pandas.DataFrame
        Indexed by model, probes and score: FNMR with its interval, the change in percentage points,
        false non-matches, verdict.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> fl.improve.verdict_table(study).columns.tolist()
    ['FNMR at FMR 1e-1', 'change, points', 'false non-matches', 'verdict']
    """
    rate = float(study.attrs["fmr"]) if fmr is None else fmr
    rows = {}
    for part in parts_of(study):
        at = at_fmr(part.gains, rate)
        for name in names_of(part.gains, "score_name"):
            one = at.sel(score_name=name)
            base = name == part.gains.attrs["baseline"]
            rows[part.model, part.title, SCORES.get(name, name)] = {
                f"FNMR at FMR {fmr_text(rate)}": percent(one["false_non_match_rate"])
                or "no threshold",
                "change, points": "" if base else signed(100 * one["difference"], 2),
                "false non-matches": f"{int(one['n_errors']):,}",
                "verdict": "baseline" if base else str(one["verdict"].item()),
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["model", "probes", "score"])
    return table


def calibration_table(data: xr.Dataset) -> pd.DataFrame:
    """Tabulate the figures of calibrations, intervals in brackets.

    Parameters
    ----------
    data
        From :func:`freqlab.improve.calibration_figures`.

    Returns
    -------
    pandas.DataFrame
        A row per calibration: Cllr and its minimum in bits, the difference from logistic regression
        on the similarity, and the expected calibration error.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> (part,) = fl.improve.parts_of(study)
    >>> fl.improve.calibration_table(part.calibration).columns.tolist()
    ['Cllr, bit', 'minimum', 'difference', 'calibration error']
    """
    rows = {}
    for name in names_of(data, "calibration"):
        check_name("calibration", name, CALIBRATIONS)
        one = data.sel(calibration=name)
        rows[CALIBRATIONS[name]] = {
            "Cllr, bit": with_bounds(one["cllr"], ".3f"),
            "minimum": f"{float(one['min_cllr']):.3f}",
            "difference": signed(one["cllr_difference"], 3),
            "calibration error": f"{100 * float(one['calibration_error']):.2f}{_NBSP}%",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("log-likelihood ratio from")


def describe_comparisons(study: xr.DataTree) -> str:
    """State over which comparisons the study is, and how people are kept apart.

    Parameters
    ----------
    study
        From :func:`freqlab.improve.study`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> print(fl.improve.describe_comparisons(study))
    At each resolution, 72 genuine comparisons of 12 people and 400 impostor pairs ...
    """
    first = parts_of(study)[0].gains
    drawn = study.attrs["pairs_are"] == "drawn"
    which = "impostor pairs drawn at random" if drawn else "impostor pairs of the list"
    text = (
        f"At each resolution, {int(first['n_genuine']):,} genuine comparisons of "
        f"{int(first['n_people']):,} people and {int(first['n_impostor']):,} {which}."
    )
    lost = int(first["n_left_out"])
    if lost:
        text += f" {lost:,} pairs are left out, because a face of theirs has no embedding."
    return (
        f"{text} Fits are on the people of other folds ({int(study.attrs['folds'])} folds of "
        f"people): no person is in a fit and in its test."
    )

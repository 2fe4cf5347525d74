"""Findings of the study of what influence is good for, as tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name
from freqlab.improve.calibration import CALIBRATIONS
from freqlab.improve.discarding import RANDOM
from freqlab.improve.fusion import SCORES
from freqlab.improve.making import NATIVE
from freqlab.improve.matched import MATCHED
from freqlab.improve.score_gains import FEWEST_ERRORS, GAIN, LOSS, NO_GAIN, gain_table, verdict_of
from freqlab.improve.search_vectors import SEARCHED
from freqlab.improve.searches import search_gain_table
from freqlab.results.selection import at_fmr, fmr_text
from freqlab.statistics.resampling import FEWEST_PEOPLE
from freqlab.text.shown import as_markdown
from freqlab.text.wording import NBSP, join, percent, signed, with_bounds

__all__ = [
    "Part",
    "calibration_table",
    "describe_comparisons",
    "matched_table",
    "parts_of",
    "search_table",
    "summary",
    "verdict_table",
]

_MEASURED = {
    "bands": "the mean similarity without one band",
    "learnt": "learnt weights over bands",
    "influence": "influence beside the similarity",
    "energy": "the control, band energies beside the similarity",
    "alike": "degrading the reference as the probe, which needs no influence",
    "flip": "flip averaging",
}
_MATCHED = {
    "nyquist": "removing the bands beyond the probe's limit from the reference",
    "influence": "removing from both images the bands that do not support other people",
}
_SEARCHED = _MEASURED | {
    "alike": "degrading the gallery as the probe, which needs no influence",
    "nyquist": "removing the bands beyond the probe's limit from the gallery",
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
    searches: xr.Dataset
    search_discard: xr.Dataset
    matched: xr.Dataset | None
    """Gains by matched bands; None for probes that are not degraded."""
    matched_alike: xr.Dataset | None
    """The same, compared with a reference degraded as the probe."""


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
            title = "faces as they are" if name == NATIVE else f"probes of {name}{NBSP}pixels"
            data: dict[str, Any] = {
                key: node[key].to_dataset() if key in node else None for key in Part._fields[3:]
            }
            yield Part(title, model, name, **data)


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
        sentences.append(f"{start}{_calibration_text(part, fmr)}")
        if part.matched is not None:
            sentences.append(f"{start}{_matched_text(part, fmr)}")
        sentences.append(f"{start}{_search_text(part)}")
    level = 100 * float(parts[0].gains.attrs["level"])
    sentences[0] += f" Brackets hold {level:g}{NBSP}% intervals over people."
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
    said = _verdicts_text(at, _MEASURED)
    if not said.startswith("**No verdict**"):
        said = f"Change of FNMR: {said}{_largest_text(at, _MEASURED)}"
    return f"{text}. {said}."


def _verdicts_text(at: xr.Dataset, words: Mapping[str, str], *, prefix: str = "") -> str:
    """Verdicts on the scores that have words, with their changes in percentage points."""
    baseline, difference = at.attrs["baseline"], at[f"{prefix}difference"]
    others = [n for n in names_of(at, "score_name") if n != baseline and n in words]
    of_each = {name: str(at[f"{prefix}verdict"].sel(score_name=name).item()) for name in others}
    said = []
    for verdict in (GAIN, LOSS, NO_GAIN):
        changes = [
            f"{words[name]} ({signed(100 * difference.sel(score_name=name), 2)} points)"
            for name in others
            if of_each[name] == verdict
        ]
        if changes:
            said.append(f"**{verdict}** by {join(changes)}")
    if not said:
        return f"**No verdict**: {_reason(next(iter(of_each.values())))}"
    return "; ".join(said)


def _largest_text(at: xr.Dataset, words: Mapping[str, str]) -> str:
    """State which of several gains is the largest."""
    gained = [
        name
        for name in names_of(at, "score_name")
        if name in words and str(at["verdict"].sel(score_name=name).item()) == GAIN
    ]
    if len(gained) < 2:
        return ""
    values = at["difference"].sel(estimate="value")
    best = min(gained, key=lambda name: float(values.sel(score_name=name)))
    return f". The largest gain is by {words[best]}"


def _matched_text(part: Part, fmr: float) -> str:
    """State the verdicts on matched bands, against both references."""
    assert part.matched is not None
    said = _verdicts_text(at_fmr(part.matched, fmr), _MATCHED)
    text = f"Matched bands change FNMR: {said}"
    if said.startswith("**No verdict**"):
        text = f"Matched bands: {said[0].lower()}{said[1:]}".replace("**No", "**no")
    elif part.matched_alike is not None:
        said = _verdicts_text(at_fmr(part.matched_alike, fmr), _MATCHED)
        text += f". Compared with a reference degraded as the probe: {said}"
    return f"{text}."


def _search_text(part: Part) -> str:
    """State the errors of searches, and the verdicts on scores and on discarding by quality."""
    data = part.searches
    base = data.sel(score_name=data.attrs["baseline"])
    text = (
        f"In a gallery of {int(data.attrs['n_enrolled']):,} people, the similarity errs at rank 1 "
        f"in {percent(base['rank_1_error'])} of {int(data['n_mated']):,} searches"
    )
    said = _verdicts_text(data, _SEARCHED, prefix="rank_1_")
    text += f". {said}." if said.startswith("**No verdict**") else f". Change: {said}."
    (fpir,) = data["fpir"].to_numpy()
    rate = percent(base["false_negative_identification_rate"].isel(fpir=0))
    if rate:
        said = _verdicts_text(data.isel(fpir=0), _SEARCHED)
        text += f" FNIR at FPIR {fmr_text(float(fpir))} is {rate}. "
        text += f"{said}." if said.startswith("**No verdict**") else f"Change: {said}."
    else:
        reason = str(base["verdict"].isel(fpir=0).item())
        text += f" FPIR {fmr_text(float(fpir))} is not resolved ({reason})."
    one = part.search_discard.sel(measure=RANDOM, protocol="fixed", up_to=0.2)
    verdict = str(one["verdict"].item())
    if verdict in (GAIN, LOSS, NO_GAIN):
        what = "error rate at rank 1" if part.search_discard.attrs["fpir"] == 1 else "FNIR"
        text += (
            f" Discarding up to 20{NBSP}% of the probes by band "
            f"{part.search_discard.attrs['measure']} instead of at random changes the mean {what} "
            f"by {signed(100 * one['area_difference'], 2)} points: **{verdict}**."
        )
    return text


def _quality_text(data: xr.Dataset) -> str:
    """State whether discarding by band stability lowers errors."""
    chosen = str(data.attrs["measure"])
    one = data.sel(measure=RANDOM, protocol="fixed", up_to=0.2)
    verdict = str(one["verdict"].item())
    if verdict not in (GAIN, LOSS, NO_GAIN):
        return f"Quality by band {chosen}: **no verdict**, {_reason(verdict)}."
    return (
        f"Discarding up to 20{NBSP}% of the samples by band {chosen} instead of at random changes "
        f"the mean FNMR by {signed(100 * one['area_difference'], 2)} points: **{verdict}**"
        f"{_rivals_text(data)}."
    )


def _rivals_text(data: xr.Dataset) -> str:
    """State which baselines of quality band stability beats, and which beat it."""
    rivals = ("flip stability", "embedding norm", "sharpness", "contrast", "detection")
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


def _calibration_text(part: Part, fmr: float) -> str:
    """State the cost of log-likelihood ratios with and without influence.

    A verdict requires as many errors of the similarity, or of the similarity with influence, as for
    scores.
    """
    data, at = part.calibration, at_fmr(part.gains, fmr)
    platt, other = (data.sel(calibration=name) for name in ("platt", "influence"))
    change = other["cllr_difference"]
    lower, upper = (float(change.sel(estimate=e)) for e in ("lower", "upper"))
    n_errors = int(at["n_errors"].sel(score_name=["similarity", "influence"]).max())
    word = verdict_of(lower, upper, n_errors=n_errors, n_people=int(data["n_people"]))
    said = f"**{word}**"
    if word not in (GAIN, LOSS, NO_GAIN):
        said = f"**no verdict**, {_reason(word)}"
    return (
        f"Log-likelihood ratios of the similarity cost {with_bounds(platt['cllr'], '.3f')} bit "
        f"(Cllr; minimum {float(platt['min_cllr']):.3f}); with influence the cost changes by "
        f"{signed(change, 3)}: {said}."
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
        table = gain_table(part.gains, fmr=rate)
        for name, row in table.rename(columns={"difference, points": "change, points"}).iterrows():
            rows[part.model, part.title, SCORES.get(str(name), str(name))] = row
    return _of_parts(rows)


def matched_table(study: xr.DataTree, *, fmr: float | None = None) -> pd.DataFrame:
    """Tabulate the verdict on matched bands at each resolution.

    Parameters
    ----------
    study
        From :func:`freqlab.improve.study`, with degraded probes.
    fmr
        False match rate; that of the study by default.

    Returns
    -------
    pandas.DataFrame
        Indexed by model, probes and score: FNMR with its interval, the change in percentage points
        from the reference as it is and from the reference degraded as the probe, and the verdicts.
        Empty if no probe is degraded.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=24, per_subject=3)
    >>> options = {"bands": "rings:28", "n_draws": 20, "progress": False}
    >>> study = fl.improve.study(faces, models=[fl.testing.model()], store="s.zarr", **options)
    >>> list(fl.improve.matched_table(study).index.names)
    ['model', 'probes', 'score']
    """
    rate = float(study.attrs["fmr"]) if fmr is None else fmr
    rows = {}
    for part in parts_of(study):
        if part.matched is None:
            continue
        to_alike = None if part.matched_alike is None else gain_table(part.matched_alike, fmr=rate)
        for name, row in gain_table(part.matched, fmr=rate).iterrows():
            if to_alike is not None:
                row["against alike, points"] = to_alike.loc[str(name), "difference, points"]
                row["verdict against alike"] = to_alike.loc[str(name), "verdict"]
            rows[part.model, part.title, MATCHED[str(name)]] = row
    return _of_parts(rows)


def search_table(study: xr.DataTree) -> pd.DataFrame:
    """Tabulate the identification errors of every score at each resolution.

    Parameters
    ----------
    study
        From :func:`freqlab.improve.study`.

    Returns
    -------
    pandas.DataFrame
        Indexed by model, probes and score, with the columns of
        :func:`freqlab.improve.search_gain_table`.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=24, per_subject=3)
    >>> options = {"bands": "rings:28", "n_draws": 20, "progress": False}
    >>> study = fl.improve.study(faces, models=[fl.testing.model()], store="s.zarr", **options)
    >>> list(fl.improve.search_table(study).index.names)
    ['model', 'probes', 'score']
    """
    rows = {}
    for part in parts_of(study):
        for name, row in search_gain_table(part.searches).iterrows():
            rows[part.model, part.title, SEARCHED[str(name)]] = row
    return _of_parts(rows)


def _of_parts(rows: dict[tuple[str, str, str], pd.Series[Any]]) -> pd.DataFrame:
    """Table of rows of parts."""
    table = pd.DataFrame.from_dict(rows, orient="index")
    if rows:
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
            "calibration error": f"{100 * float(one['calibration_error']):.2f}{NBSP}%",
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

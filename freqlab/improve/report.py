"""Parts of the study of what influence is good for, and their tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name
from freqlab.improve.calibration import CALIBRATIONS
from freqlab.improve.discarding import RANDOM
from freqlab.improve.fusion import SCORES
from freqlab.improve.making import NATIVE
from freqlab.improve.matched import MATCHED
from freqlab.improve.score_gains import GAIN, LOSS, NO_GAIN, gain_table, verdict_of
from freqlab.improve.search_vectors import SEARCHED
from freqlab.improve.searches import search_gain_table
from freqlab.results.selection import at_fmr, fmr_text, only_model
from freqlab.text.wording import NBSP, percent, signed, with_bounds

__all__ = [
    "Part",
    "calibration_table",
    "calibration_verdict",
    "describe_comparisons",
    "has_verdict",
    "matched_table",
    "overview_table",
    "parts_of",
    "search_table",
    "verdict_table",
]

_ROWS = {
    "similarity": "similarity alone",
    "bands": "mean similarity without one band",
    "learnt": "learnt weights over bands",
    "influence": "influence beside the similarity",
    "energy": "control: band energies beside the similarity",
    "alike": "control: reference degraded as the probe",
    "flip": "control: flip averaging",
}
_MATCHED_ROWS = {
    "nyquist": "matched bands, within the probe's limit",
    "influence": "matched bands, those that support other people",
}
_SEARCHED_ROWS = _ROWS | {
    "alike": "control: gallery degraded as the probe",
    "nyquist": "matched bands, within the probe's limit",
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


def has_verdict(verdict: str) -> bool:
    """Whether a text is a verdict, and not the reason why there is none."""
    return verdict in (GAIN, LOSS, NO_GAIN)


def calibration_verdict(part: Part, fmr: float) -> str:
    """Verdict on the cost of log-likelihood ratios with influence, or why there is none.

    It requires as many errors of the similarity, or of the similarity with influence, as for
    scores.

    Parameters
    ----------
    part
        A part of a study.
    fmr
        False match rate of the threshold at which errors are counted.
    """
    at = at_fmr(part.gains, fmr)
    change = part.calibration["cllr_difference"].sel(calibration="influence")
    lower, upper = (float(change.sel(estimate=e)) for e in ("lower", "upper"))
    n_errors = int(at["n_errors"].sel(score_name=["similarity", "influence"]).max())
    n_people = int(part.calibration["n_people"])
    return verdict_of(lower, upper, n_errors=n_errors, n_people=n_people)


def overview_table(study: xr.DataTree, *, model: str | None = None) -> pd.DataFrame:
    """Tabulate every verdict of a study with its change, a column per resolution.

    Parameters
    ----------
    study
        From :func:`freqlab.improve.study`.
    model
        Name of the model; may be left out if there is only one.

    Returns
    -------
    pandas.DataFrame
        Indexed by what is measured and by what: the rates of the similarity alone, then the
        verdict on each alternative and its paired change. Where there is no verdict, the reason.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model, or no model is given for a study of several.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> table = fl.improve.overview_table(study)
    >>> len(table.columns)
    1
    >>> table.index.get_level_values("measure").unique().tolist()[0]
    'FNMR at FMR 1e-1 (points)'
    """
    parts, fmr = parts_of(study), float(study.attrs["fmr"])
    names = list(dict.fromkeys(part.model for part in parts))
    chosen = only_model(names, model)
    columns = {part.title: _overview(part, fmr) for part in parts if part.model == chosen}
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    table = pd.DataFrame(
        {title: [column.get(row, "") for row in rows] for title, column in columns.items()}
    )
    table.index = pd.MultiIndex.from_tuples(rows, names=["measure", "by"])
    return table


def _overview(part: Part, fmr: float) -> dict[tuple[str, str], str]:
    """Verdicts of a part, by what is measured and by what."""
    at = at_fmr(part.gains, fmr)
    measure = f"FNMR at FMR {fmr_text(fmr)} (points)"
    cells = _scores(at, _ROWS, measure, at["false_non_match_rate"], at["n_errors"])
    if part.matched is not None:
        at = at_fmr(part.matched, fmr)
        cells |= _scores(at, _MATCHED_ROWS, measure)
    if part.matched_alike is not None:
        at = at_fmr(part.matched_alike, fmr)
        measure = "FNMR, against the reference degraded as the probe (points)"
        cells |= _scores(at, _MATCHED_ROWS, measure)
    quality = part.discard.sel(measure=RANDOM, protocol="fixed", up_to=0.2)
    by = f"band {part.discard.attrs['measure']}, not at random"
    upto = f"up to 20{NBSP}% discarded (points)"
    cells[f"mean FNMR, {upto}", by] = _cell(quality["verdict"], 100 * quality["area_difference"])
    platt = part.calibration.sel(calibration="platt")
    with_influence = part.calibration.sel(calibration="influence")
    cells["Cllr (bit)", _ROWS["similarity"]] = with_bounds(platt["cllr"], ".3f")
    verdict = calibration_verdict(part, fmr)
    change = with_influence["cllr_difference"]
    cells["Cllr (bit)", _ROWS["influence"]] = _cell(verdict, change, digits=3)
    searches = part.searches
    cells |= _scores(
        searches,
        _SEARCHED_ROWS,
        "error at rank 1 (points)",
        searches["rank_1_error"],
        searches["rank_1_n_errors"],
        prefix="rank_1_",
    )
    at = searches.isel(fpir=0)
    if bool(np.isfinite(at["threshold"]).all()):
        measure = f"FNIR at FPIR {fmr_text(float(at['fpir']))} (points)"
        rate = at["false_negative_identification_rate"]
        cells |= _scores(at, _SEARCHED_ROWS, measure, rate, at["n_errors"])
    quality = part.search_discard.sel(measure=RANDOM, protocol="fixed", up_to=0.2)
    error = "error at rank 1" if part.search_discard.attrs["fpir"] == 1 else "FNIR"
    cells[f"mean {error}, {upto}", by] = _cell(quality["verdict"], 100 * quality["area_difference"])
    return cells


def _scores(
    at: xr.Dataset,
    words: Mapping[str, str],
    measure: str,
    rates: xr.DataArray | None = None,
    n_errors: xr.DataArray | None = None,
    *,
    prefix: str = "",
) -> dict[tuple[str, str], str]:
    """Rate of the baseline, if it is given, and verdicts on the other scores that have words."""
    baseline = at.attrs["baseline"]
    cells = {}
    if rates is not None and n_errors is not None:
        rate = percent(rates.sel(score_name=baseline)) or "no threshold"
        n = int(n_errors.sel(score_name=baseline))
        cells[measure, words[baseline]] = f"{rate}, {n:,} error{'' if n == 1 else 's'}"
    for name in names_of(at, "score_name"):
        if name != baseline and name in words:
            one = at.sel(score_name=name)
            change = 100 * one[f"{prefix}difference"]
            cells[measure, words[name]] = _cell(one[f"{prefix}verdict"], change)
    return cells


def _cell(verdict: xr.DataArray | str, change: xr.DataArray, *, digits: int = 2) -> str:
    """Verdict and change; only the reason if there is no verdict."""
    text = verdict if isinstance(verdict, str) else str(verdict.item())
    return f"{text}, {signed(change, digits)}" if has_verdict(text) else text


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

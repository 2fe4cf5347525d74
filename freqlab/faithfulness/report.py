"""Findings of the tests of an explanation as tables, sentences and a trust card."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import make_attrs, names_of
from freqlab.errors import check_name
from freqlab.faithfulness.deletion import BASELINES, PROTOCOLS
from freqlab.results.selection import part_of
from freqlab.text.wording import join, signed, with_bounds

__all__ = [
    "area_table",
    "decision_table",
    "describe_amplitude",
    "describe_deletion",
    "trust_card",
    "verdict_table",
]

_ESTIMATES = ("value", "lower", "upper")
_MARKS = {1: "+", -1: "\N{MINUS SIGN}", 0: "="}
_VERDICTS = {1: "beats", -1: "is beaten by", 0: "cannot be told from"}


def area_table(
    errors: xr.Dataset, *, model: str, side: str = "probe", measure: str = "error"
) -> pd.DataFrame:
    """Tabulate areas under the curves, and the advantage of influence over each baseline.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    model, side
        Part of the data to describe.
    measure
        ``"error"`` or ``"similarity"``.

    Returns
    -------
    pandas.DataFrame
        A row for each kind of pairs, protocol and order; intervals in brackets. An advantage is
        positive where the order of influence is better.
    """
    data = part_of(errors, model=model, side=side, measure=measure)
    rows = {}
    for comparison in ("genuine", "impostor"):
        for protocol in PROTOCOLS:
            here = data.sel(comparison=comparison, protocol=protocol)
            for order in here["order"].to_numpy():
                row = {"area": _plain(here["area"].sel(order=order))}
                if order in BASELINES:
                    row["advantage of influence"] = signed(here["advantage"].sel(baseline=order), 3)
                    other = float(here["differs"].sel(baseline=order))
                    row["pairs in another order"] = f"{100 * other:.0f}\u00a0%"
                if order == "random" and np.isfinite(float(here["spread"])):
                    row["area"] += f" (spread {float(here['spread']):.3f})"
                rows[comparison, protocol, str(order)] = row
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    table.index = pd.MultiIndex.from_tuples(rows, names=["pairs", "protocol", "order"])
    return table


def describe_deletion(
    errors: xr.Dataset, *, model: str, side: str = "probe", measure: str = "error"
) -> str:
    """State which baselines the order of influence beats, and which it does not.

    Parameters
    ----------
    errors, model, side, measure
        As for :func:`area_table`.
    """
    check_name("measure", measure, ["error", "similarity"])
    data = part_of(errors, model=model, side=side)
    texts = []
    for comparison in ("genuine", "impostor"):
        if int(data["n_pairs"].sel(comparison=comparison)) == 0:
            continue
        for protocol in PROTOCOLS:
            here = data.sel(comparison=comparison, protocol=protocol)
            texts.append(f"{protocol}, {comparison} pairs: {_against(here, measure)}")
    what = "errors" if measure == "error" else "similarity"
    return f"By {what}, {side} masked, the order of influence: {'; '.join(texts)}."


def verdict_table(errors: xr.Dataset, *, model: str) -> pd.DataFrame:
    """Tabulate where the order of influence beats a baseline and where it does not.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    model
        Name of the model.

    Returns
    -------
    pandas.DataFrame
        Rows by masked side, kind of pairs and protocol, columns by measure and baseline: ``+``
        where the interval of the advantage lies above zero, a minus sign where it lies below,
        ``=`` where it contains zero, ``none`` where no error occurs in any order.
    """
    rows = {}
    for side in errors["side"].to_numpy():
        data = part_of(errors, model=model, side=str(side))
        for comparison in ("genuine", "impostor"):
            if int(data["n_pairs"].sel(comparison=comparison)) == 0:
                continue
            for protocol in PROTOCOLS:
                here = data.sel(comparison=comparison, protocol=protocol)
                rows[str(side), comparison, protocol] = {
                    ("errors" if measure == "error" else "similarity", name): (
                        _MARKS[_sign(here["advantage"].sel(baseline=name, measure=measure))]
                        if _is_telling(here, measure)
                        else "none"
                    )
                    for measure in ("error", "similarity")
                    for name in BASELINES
                }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["masked", "pairs", "protocol"])
    table.columns = table.columns.set_names(["measured by", "against"])
    return table


def describe_amplitude(errors: xr.Dataset, *, model: str, side: str = "probe") -> str:
    """State whether influence ranks bands better than their amplitude, which uses no model.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    model, side
        Part of the data to describe.
    """
    data = part_of(errors, model=model, side=side).sel(baseline="amplitude", measure="error")
    texts, verdicts = [], []
    for comparison in ("genuine", "impostor"):
        if not data["curve"].sel(comparison=comparison).fillna(0).any():
            continue  # without errors nothing can be compared
        for protocol in PROTOCOLS:
            gain = data["advantage"].sel(comparison=comparison, protocol=protocol)
            verdicts.append(_verdict(gain))
            texts.append(f"{protocol}, {comparison} pairs: {verdicts[-1]} it ({signed(gain, 3)})")
    if not texts:
        return "No error occurs in any order, so that influence cannot be held against amplitude."
    n_beaten = verdicts.count(_VERDICTS[1])
    told = "**Influence beats the order of amplitude**"
    if n_beaten == 0:
        told = "**Influence does not beat the order of amplitude**"
    elif n_beaten < len(verdicts):
        told = "**Influence beats the order of amplitude in part only**"
    return f"{told}, {side} masked, by errors. {'; '.join(texts)}."


def decision_table(views: xr.Dataset, *, model: str) -> pd.DataFrame:
    """Tabulate how many bands carry a decision: smallest sets that change it or suffice for it.

    Parameters
    ----------
    views
        From :func:`freqlab.faithfulness.band_views`.
    model
        Name of the model.
    """
    data = part_of(views, model=model)
    rows = {}
    for name, what in (("flip", "turns the decision when removed"), ("suffice", "keeps it alone")):
        for kind in (True, False):
            chosen = data["genuine"].to_numpy() == kind
            size = data[f"{name}_size"].to_numpy()[chosen]
            row = {"pairs": str(len(size))}
            for n in range(int(views.attrs["most_bands"]) + 1):
                row[f"{n} bands" if n != 1 else "1 band"] = str(int((size == n).sum()))
            row["none found"] = str(int((size < 0).sum()))
            rows["genuine" if kind else "impostor", what] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["pairs", "the smallest set that"])
    return table


def trust_card(
    errors: xr.Dataset,
    views: xr.Dataset,
    checks: xr.Dataset,
    planted: xr.Dataset,
    stability: xr.Dataset,
    figures: xr.Dataset,
    *,
    model: str,
    side: str = "probe",
) -> dict[str, Any]:
    """Collect all test results on the explanations of one model.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    views
        From :func:`freqlab.faithfulness.band_views`.
    checks
        From :func:`freqlab.faithfulness.sanity_checks`.
    planted
        From :func:`freqlab.faithfulness.planted_bands`.
    stability
        From :func:`freqlab.faithfulness.profile_stability`.
    figures
        From :func:`freqlab.faithfulness.explanation_figures`.
    model, side
        Part of the data to describe.

    Returns
    -------
    dict
        Plain JSON values: ``model``, ``side``, settings, and ``rows``, each with ``test``,
        ``found`` as text, ``figures`` (value, lower, upper) and ``reading``.
    """
    data = part_of(errors, model=model, side=side)
    rows: list[dict[str, Any]] = []

    def add(test: str, values: xr.DataArray, text: str, reading: str) -> None:
        numbers = [float(v) for v in np.atleast_1d(values.to_numpy())]
        kept = [round(v, 6) if np.isfinite(v) else None for v in numbers]
        figures_of_row = dict(zip(_ESTIMATES, kept, strict=False))
        rows.append({"test": test, "found": text, "figures": figures_of_row, "reading": reading})

    for comparison, what in (("genuine", "FNMR"), ("impostor", "FMR")):
        if int(data["n_pairs"].sel(comparison=comparison)) == 0:
            continue
        for protocol in PROTOCOLS:
            here = data.sel(comparison=comparison, protocol=protocol)
            area = here["area"].sel(order="influence", measure="error")
            better = "larger" if protocol == "deletion" else "smaller"
            gains = [
                f"{signed(here['advantage'].sel(baseline=name, measure='error'), 3)} over {name}"
                for name in BASELINES
                if here["curve"].sel(measure="error").fillna(0).any()
            ]
            add(
                f"{protocol}, {comparison} pairs: area under {what}", area,
                "; ".join([_plain(area), *gains]),
                f"{better} is better; by errors {_against(here, 'error')}; by similarity "
                f"{_against(here, 'similarity')}",
            )  # fmt: skip
    part = part_of(views, model=model)
    for view in part["view"].to_numpy():
        agreement = part["agreement"].sel(view=view, kind="directed")
        text = f"rank correlation {_plain(agreement)}"
        add(f"agreement with: {_view_text(str(view))}", agreement, text, _strength(agreement))
    share = part["interaction_share"]
    text = f"{_plain(share)} of the mean influence"
    add("interaction of two bands", share, text, "0 where bands add up")
    sane = part_of(checks, model=model)
    for kind in ("directed", "absolute", "per_contrast"):
        left = sane["randomised"].sel(kind=kind).isel(depth=-1)
        text = "not a module: not tested"
        if np.isfinite(float(left.sel(estimate="value"))):
            text = f"rank correlation {_plain(left)}"
        reading = "0 if it depends on the weights alone"
        if kind == "absolute":
            reading += "; band energy keeps some"
        share_text = f"{100 * float(checks['depth'][-1]):g} % of layers random"
        add(f"{share_text}: {kind.replace('_', ' ')}", left, text, reading)
    other = sane["shuffled"].sel(kind="directed")
    add(
        "another person as partner", other, f"rank correlation {_plain(other)}",
        "the less, the more a profile is of the pair",
    )  # fmt: skip
    least = sane["least_identical"]
    negative = float(least) < -1e-4
    add(
        "a picture with itself: least influence", least, f"{float(least):.1e}",
        "FAULT: negative" if negative else "as it must: not negative",
    )  # fmt: skip
    for contrast in planted["contrast"].to_numpy():
        hit = planted["accuracy"].sel(contrast=contrast).mean()
        text = (
            f"found in {100 * float(hit):.0f} %, by chance {100 * float(planted['chance']):.0f} %"
        )
        add(f"planted band, {contrast:g} grey levels", hit, text, "100 % where it can be seen")
    steady = part_of(stability, model=model)
    for name in steady["perturbation"].to_numpy():
        kept_rank = steady["correlation"].sel(perturbation=name)
        text = f"rank correlation {_plain(kept_rank)}"
        add(f"stability: {name}", kept_rank, text, _strength(kept_rank))
    mean = figures["mean_complexity"].sel(model=model, side=side)
    for comparison in ("genuine", "impostor"):
        value = mean.sel(comparison=comparison)
        if np.isfinite(float(value.sel(estimate="value"))):
            reading = "0: one band has all; 1: all have the same"
            add(f"complexity, {comparison} pairs", value, _plain(value), reading)
    if "agreement" in figures:
        for couple in figures["couple"].to_numpy():
            alike = figures["agreement"].sel(couple=couple, side=side, kind="directed")
            text = f"rank correlation {_plain(alike)}"
            add(f"agreement of models: {couple}", alike, text, "models may rightly differ")
    made = make_attrs()
    return {
        "model": model,
        "side": side,
        "fmr": float(errors.attrs["fmr"]),
        "threshold": float(data["threshold"]) if np.isfinite(data["threshold"]) else None,
        "bands": names_of(views, "band"),
        "unit": str(views["frequency"].attrs["units"]),
        "pairs": {str(c): int(data["n_pairs"].sel(comparison=c)) for c in ("genuine", "impostor")},
        "pairs_of_the_sample": int(views.sizes["pair"]),
        "seed": int(errors.attrs["seed"]),
        "created_at": made["created_at"],
        "freqlab_version": made["freqlab_version"],
        "method": json.loads(made["method"]),
        "rows": rows,
    }


def _against(part: xr.Dataset, measure: str) -> str:
    """State the baselines that influence beats or not, for one protocol and kind of pairs."""
    if not _is_telling(part, measure):
        return "no error occurs in any order, so that nothing is told"
    found: dict[str, list[str]] = {}
    for name in BASELINES:
        gain = part["advantage"].sel(baseline=name, measure=measure)
        found.setdefault(_verdict(gain), []).append(name)
    return join([f"{verdict} {join(names)}" for verdict, names in found.items()])


def _is_telling(part: xr.Dataset, measure: str) -> bool:
    """Whether orders can be compared at all: errors must occur."""
    return measure != "error" or bool(part["curve"].sel(measure="error").fillna(0).any())


def _view_text(name: str) -> str:
    return {"keep one": "each band alone", "Shapley": "Shapley values"}.get(name, name)


def _strength(values: xr.DataArray) -> str:
    value = float(values.sel(estimate="value"))
    if not np.isfinite(value):
        return "not known"
    return "high" if value >= 0.8 else "moderate" if value >= 0.5 else "low"


def _verdict(values: xr.DataArray) -> str:
    """State whether an advantage is clear, given its interval."""
    return _VERDICTS[_sign(values)]


def _sign(values: xr.DataArray) -> int:
    """Return 1 or -1 if an interval lies above or below zero, 0 if it contains zero."""
    _, lower, upper = (float(values.sel(estimate=e)) for e in _ESTIMATES)
    return int(lower > 0) - int(upper < 0)


def _plain(values: xr.DataArray) -> str:
    return with_bounds(values, ".3f") or "not known"

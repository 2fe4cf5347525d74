"""Results of deletion and insertion, and smallest sets of bands, as tables and sentences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import check_name
from freqlab.faithfulness.deletion import BASELINES, PROTOCOLS
from freqlab.literals import Measure, Side
from freqlab.results.selection import part_of
from freqlab.statistics.resampling import FEWEST_PEOPLE, estimates_of
from freqlab.text.wording import NBSP, join, signed, with_bounds

__all__ = [
    "FEWEST_PEOPLE",
    "ROUNDING",
    "amplitude_advantages",
    "area_table",
    "coinciding",
    "compared_baselines",
    "decision_table",
    "describe_amplitude",
    "describe_coinciding",
    "describe_deletion",
    "describe_flat_panels",
    "describe_omitted_rows",
    "error_rates_differ",
    "errors_occur",
    "few_people",
    "flat_panels",
    "interval_sign",
    "varying_comparisons",
    "verdict_table",
]


ROUNDING = 1e-9
"""Largest difference of curves and areas that are equal except for rounding."""

_COMPARISONS = ("genuine", "impostor")
_MEASURES: dict[Measure, str] = {"error": "errors", "similarity": "similarity"}
_MARKS = {1: "+", -1: "\N{MINUS SIGN}", 0: "="}
_VERDICTS = {1: "outperforms", -1: "is outperformed by", 0: "cannot be distinguished from"}
_OMITTED = "n_omitted"
_COINCIDING = 0.9  # share of pairs with the same order


def area_table(
    errors: xr.Dataset,
    *,
    model: str,
    side: Side = "probe",
    measure: Measure = "error",
    omit_zero: bool = False,
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
    omit_zero
        Whether to omit the rows of a kind of pairs and protocol if the areas of all orders are
        zero. :func:`describe_omitted_rows` states their number.

    Returns
    -------
    pandas.DataFrame
        A row for each kind of pairs, protocol and order; intervals in brackets. An advantage is
        positive where the order of influence is better.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> fl.faithfulness.area_table(errors, model="linear").columns.tolist()
    ['area', 'advantage of influence', 'pairs with a different order']
    """
    data = part_of(errors, model=model, side=side, measure=measure)
    rows = {}
    n_omitted = 0
    for comparison, protocol, panel in _panels(data):
        orders = names_of(panel, "order")
        if omit_zero and (np.abs(panel["area"].fillna(0)) <= ROUNDING).all():
            n_omitted += len(orders)
            continue
        for order in orders:
            rows[comparison, protocol, order] = _area_row(panel, order)
    levels = ["pairs", "protocol", "order"]
    return _frame(rows, levels, n_omitted, ["area", "advantage of influence"])


def _area_row(panel: xr.Dataset, order: str) -> dict[str, str]:
    """Return the cells of one order in the table of areas."""
    row = {"area": with_bounds(panel["area"].sel(order=order), ".3f") or "not available"}
    if order in BASELINES:
        row["advantage of influence"] = signed(panel["advantage"].sel(baseline=order), 3)
        differs = float(panel["differs"].sel(baseline=order))
        row["pairs with a different order"] = f"{100 * differs:.0f}{NBSP}%"
    if order == "random" and np.isfinite(float(panel["spread"])):
        row["area"] += f" (spread {float(panel['spread']):.3f})"
    return row


def describe_deletion(
    errors: xr.Dataset, *, model: str, side: Side = "probe", measure: Measure = "error"
) -> str:
    """State which baselines the order of influence outperforms, and which it does not.

    No comparison is stated for fewer than :data:`FEWEST_PEOPLE` people.

    Parameters
    ----------
    errors, model, side, measure
        As for :func:`area_table`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> print(fl.faithfulness.describe_deletion(errors, model="linear"))
    The orders are not compared: 6 people are tested, fewer than 20.
    """
    check_name("measure", measure, _MEASURES)
    data = part_of(errors, model=model, side=side)
    if few_people(data):
        return f"The orders are not compared: {_too_few(data)}."
    texts = [
        f"{protocol}, {comparison} pairs: {compared_baselines(panel, measure)}"
        for comparison, protocol, panel in _panels(data)
        if int(panel["n_pairs"])
    ]
    return (
        f"Measured by {_MEASURES[measure]}, {side} masked, the order of influence: "
        f"{'; '.join(texts)}."
    )


def verdict_table(errors: xr.Dataset, *, model: str) -> pd.DataFrame:
    """Tabulate where the order of influence outperforms a baseline and where it does not.

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

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> fl.faithfulness.verdict_table(errors, model="linear").shape[0]
    12
    """
    rows = {}
    for side in names_of(errors, "side"):
        for comparison, protocol, panel in _panels(part_of(errors, model=model, side=side)):
            if int(panel["n_pairs"]) == 0:
                continue
            rows[side, comparison, protocol] = {
                (text, baseline): (
                    _MARKS[interval_sign(panel["advantage"].sel(baseline=baseline, measure=name))]
                    if name != "error" or errors_occur(panel)
                    else "none"
                )
                for name, text in _MEASURES.items()
                for baseline in BASELINES
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["masked", "pairs", "protocol"])
    table.columns = table.columns.set_names(["measured by", "against"])
    return table


def describe_amplitude(errors: xr.Dataset, *, model: str, side: Side = "probe") -> str:
    """State whether influence ranks bands better than their amplitude, which needs no model.

    No comparison is stated for fewer than :data:`FEWEST_PEOPLE` people.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    model, side
        Part of the data to describe.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> print(fl.faithfulness.describe_amplitude(errors, model="linear"))
    The error rates do not differ between the orders, so influence cannot be ...
    """
    data = part_of(errors, model=model, side=side)
    advantages = amplitude_advantages(errors, model=model, side=side)
    if not advantages:
        return (
            "The error rates do not differ between the orders, so influence cannot be compared "
            "with amplitude."
        )
    if few_people(data):
        texts = [
            f"{protocol}, {comparison} pairs {signed(gain, 3)}"
            for (protocol, comparison), gain in advantages.items()
        ]
        return (
            f"Influence is not compared with amplitude: {_too_few(data)}. Its advantage, {side} "
            f"masked, by errors: {'; '.join(texts)}."
        )
    signs = [interval_sign(gain) for gain in advantages.values()]
    texts = [
        f"{protocol}, {comparison} pairs: {_VERDICTS[sign]} it ({signed(gain, 3)})"
        for sign, ((protocol, comparison), gain) in zip(signs, advantages.items(), strict=True)
    ]
    statement = "Influence outperforms the order of amplitude"
    if 1 not in signs:
        statement = "Influence does not outperform the order of amplitude"
    elif min(signs) < 1:
        statement += " only in part"
    return f"**{statement}**, {side} masked, by errors. {'; '.join(texts)}."


def amplitude_advantages(
    errors: xr.Dataset, *, model: str, side: Side = "probe"
) -> dict[tuple[str, str], xr.DataArray]:
    """Select advantages over the order of amplitude, by errors, where orders differ.

    Parameters
    ----------
    errors, model, side
        As for :func:`describe_amplitude`.

    Returns
    -------
    dict
        By protocol and kind of pairs; advantages along ``estimate``.
    """
    return {
        (protocol, comparison): panel["advantage"].sel(baseline="amplitude", measure="error")
        for comparison, protocol, panel in _panels(part_of(errors, model=model, side=side))
        if error_rates_differ(panel)
    }


def decision_table(views: xr.Dataset, *, model: str, omit_zero: bool = False) -> pd.DataFrame:
    """Tabulate sizes of the smallest sets of bands that change or preserve a decision.

    Parameters
    ----------
    views
        From :func:`freqlab.faithfulness.band_views`.
    model
        Name of the model.
    omit_zero
        Whether to omit rows without pairs. :func:`describe_omitted_rows` states their number.

    Returns
    -------
    pandas.DataFrame
        Rows by kind of pairs and kind of set.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> views = study["views"].to_dataset()
    >>> fl.faithfulness.decision_table(views, model="linear").columns.tolist()
    ['pairs', '0 bands', '1 band', '2 bands', '3 bands', '4 bands', 'none found']
    """
    data = part_of(views, model=model)
    rows = {}
    n_omitted = 0
    for name, effect in (
        ("flip", "changes the decision when removed"),
        ("suffice", "preserves the decision alone"),
    ):
        for comparison in _COMPARISONS:
            chosen = data["genuine"].to_numpy() == (comparison == "genuine")
            if omit_zero and not chosen.any():
                n_omitted += 1
                continue
            size = data[f"{name}_size"].to_numpy()[chosen]
            row = {"pairs": str(len(size))}
            for n in range(int(views.attrs["most_bands"]) + 1):
                row[f"{n} bands" if n != 1 else "1 band"] = str(int((size == n).sum()))
            row["none found"] = str(int((size < 0).sum()))
            rows[comparison, effect] = row
    return _frame(rows, ["pairs", "the smallest set that"], n_omitted, ["pairs"])


def describe_omitted_rows(table: pd.DataFrame) -> str:
    """State how many rows a table omits because they are zero; empty if there are none.

    Parameters
    ----------
    table
        From :func:`area_table` or :func:`decision_table`, with ``omit_zero``.

    Returns
    -------
    str
        Sentences, or an empty text.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> table = fl.faithfulness.area_table(errors, model="linear", omit_zero=True)
    >>> print(fl.faithfulness.describe_omitted_rows(table))
    20 rows are omitted because all their values are zero.
    """
    n = int(table.attrs.get(_OMITTED, 0))
    if n == 0:
        return ""
    if n == 1:
        return "One row is omitted because all its values are zero."
    return f"{n} rows are omitted because all their values are zero."


def flat_panels(errors: xr.Dataset, *, measure: Measure = "error") -> xr.DataArray:
    """Return which panels show no difference: the curves of all orders are zero or identical.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    measure
        ``"error"`` or ``"similarity"``.

    Returns
    -------
    xarray.DataArray
        ``flat(model, side, protocol, comparison)``: True where the curves of all orders agree
        within 1e-9, or there are no pairs.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> fl.faithfulness.flat_panels(errors).dims
    ('model', 'side', 'protocol', 'comparison')
    """
    curves = part_of(errors, measure=measure)["curve"]
    flat = (_range_of_orders(curves) <= ROUNDING).transpose("model", "side", "protocol", ...)
    return flat.rename("flat").drop_vars("measure").assign_attrs(long_name="all curves identical")


def varying_comparisons(
    errors: xr.Dataset, *, model: str, side: Side = "probe", measure: Measure = "error"
) -> list[str]:
    """List the kinds of pairs for which the curves of two orders differ in a protocol.

    Parameters
    ----------
    errors, model, side, measure
        As for :func:`area_table`.

    Returns
    -------
    list of str
        ``"genuine"``, ``"impostor"``, both or neither.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> fl.faithfulness.varying_comparisons(errors, model="linear")
    []
    """
    flat = flat_panels(errors, measure=measure).to_dataset()
    flat = part_of(flat, model=model, side=side)
    return [kind for kind in _COMPARISONS if not flat["flat"].sel(comparison=kind).all()]


def describe_flat_panels(
    errors: xr.Dataset, *, model: str, side: Side | None = None, measure: Measure = "error"
) -> str:
    """State in one sentence which panels show no difference; empty if there are none.

    Parameters
    ----------
    errors, model, measure
        As for :func:`area_table`.
    side
        The masked image; all sides by default.

    Returns
    -------
    str
        Sentences, or an empty text.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> errors = study["errors"].to_dataset()
    >>> print(fl.faithfulness.describe_flat_panels(errors, model="linear"))
    Panels without differences are omitted: deletion and insertion, genuine pairs, ...
    """
    sides = names_of(errors, "side") if side is None else [side]
    curves = part_of(errors, model=model, measure=measure)["curve"]
    reasons: dict[str, list[str]] = {}
    for comparison in _COMPARISONS:
        for masked in sides:
            protocols: dict[str, list[str]] = {}
            for protocol in PROTOCOLS:
                curve = curves.sel(comparison=comparison, side=masked, protocol=protocol)
                if float(_range_of_orders(curve)) > ROUNDING:
                    continue
                zero = bool((np.abs(curve.fillna(0)) <= ROUNDING).all())
                reason = "zero in all orders" if zero else "the same in all orders"
                protocols.setdefault(reason, []).append(protocol)
            for reason, names in protocols.items():
                text = f"{join(names)}, {comparison} pairs, {masked} masked"
                reasons.setdefault(reason, []).append(text)
    if not reasons:
        return ""
    texts = [f"{'; '.join(panels)} ({reason})" for reason, panels in reasons.items()]
    return f"Panels without differences are omitted: {'; '.join(texts)}."


def _range_of_orders(curves: xr.DataArray) -> xr.DataArray:
    """Compute the largest difference between the curves of any two orders at any step."""
    return (curves.max("order") - curves.min("order")).fillna(0).max("step")


def compared_baselines(panel: xr.Dataset, measure: Measure) -> str:
    """State the baselines that influence outperforms or not, in one panel.

    Parameters
    ----------
    panel
        Errors of one model, side, protocol and kind of pairs.
    measure
        ``"error"`` or ``"similarity"``.
    """
    if few_people(panel):
        return f"not compared on fewer than {FEWEST_PEOPLE} people"
    if measure == "error" and not errors_occur(panel):
        return "no error occurs in any order, so orders cannot be compared"
    baselines: dict[int, list[str]] = {}
    shares = coinciding(panel)
    for name in BASELINES:
        sign = interval_sign(panel["advantage"].sel(baseline=name, measure=measure))
        same = [
            f"{name} (the same order as {other} in {100 * share:.0f}{NBSP}% of pairs)"
            for (one, other), share in shares.items()
            if one == name
        ]
        baselines.setdefault(sign, []).append(same[0] if same else name)
    return join([f"{_VERDICTS[sign]} {join(names)}" for sign, names in baselines.items()])


def coinciding(panel: xr.Dataset) -> dict[tuple[str, str], float]:
    """Return baselines that are the same order in nearly all pairs, with the share of pairs.

    Parameters
    ----------
    panel
        Errors of one model, side and kind of pairs.
    """
    if "coincides" not in panel:
        return {}
    shares = {
        (one, other): float(panel["coincides"].sel(order=one, other=other))
        for one, other in itertools.combinations(BASELINES[1:], 2)
    }
    return {couple: share for couple, share in shares.items() if share >= _COINCIDING}


def describe_coinciding(errors: xr.Dataset, *, model: str, side: Side = "probe") -> str:
    """State which baselines are the same order in nearly all pairs; empty if there are none.

    Such baselines are one comparison, not two.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    model, side
        Part of the data to describe.

    Returns
    -------
    str
        A sentence.

    Examples
    --------
    >>> import freqlab as fl
    >>> errors = fl.faithfulness.deletion_errors(fl.testing.deletion_curves(), n_draws=20)
    >>> fl.faithfulness.describe_coinciding(errors, model="linear")
    ''
    """
    data = part_of(errors, model=model, side=side)
    texts: dict[tuple[str, str], list[str]] = {}
    for comparison in _COMPARISONS:
        if int(data["n_pairs"].sel(comparison=comparison)):
            for couple, share in coinciding(data.sel(comparison=comparison)).items():
                text = f"{100 * share:.1f}{NBSP}% of {comparison} pairs"
                texts.setdefault(couple, []).append(text)
    if not texts:
        return ""
    statements = [
        f"the order of {one} is that of {other} in {join(shares)}"
        for (one, other), shares in texts.items()
    ]
    return f"Baselines that coincide are one comparison, not two: {'; '.join(statements)}."


def errors_occur(panel: xr.Dataset) -> bool:
    """Whether an error occurs in any order; otherwise orders cannot be compared by errors."""
    return bool(panel["curve"].sel(measure="error").fillna(0).any())


def error_rates_differ(panel: xr.Dataset) -> bool:
    """Whether the error rates of any two orders differ at any step."""
    return float(_range_of_orders(panel["curve"].sel(measure="error"))) > ROUNDING


def few_people(errors: xr.Dataset) -> bool:
    """Whether fewer than :data:`FEWEST_PEOPLE` people are tested."""
    return int(errors.attrs.get("n_people", FEWEST_PEOPLE)) < FEWEST_PEOPLE


def interval_sign(values: xr.DataArray) -> int:
    """Return 1 or -1 if an interval lies above or below zero, 0 if it contains zero."""
    _, lower, upper = (float(estimate) for estimate in estimates_of(values))
    return int(lower > ROUNDING) - int(upper < -ROUNDING)


def _too_few(errors: xr.Dataset) -> str:
    """State the number of people, as the reason why nothing is compared."""
    return f"{int(errors.attrs['n_people'])} people are tested, fewer than {FEWEST_PEOPLE}"


def _panels(data: xr.Dataset) -> Iterator[tuple[str, str, xr.Dataset]]:
    """Select each kind of pairs and protocol of one model and side."""
    for comparison in _COMPARISONS:
        for protocol in PROTOCOLS:
            yield comparison, protocol, data.sel(comparison=comparison, protocol=protocol)


def _frame(
    rows: Mapping[Any, dict[str, str]],
    levels: list[str],
    n_omitted: int,
    columns: list[str],
) -> pd.DataFrame:
    """Make a table of rows; with `columns` only if there are none."""
    if rows:
        table = pd.DataFrame.from_dict(dict(rows), orient="index").fillna("")
        table.index = pd.MultiIndex.from_tuples(rows, names=levels)
    else:
        table = pd.DataFrame(columns=columns)
    table.attrs[_OMITTED] = n_omitted
    return table

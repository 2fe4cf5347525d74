"""How good an order of the bands could be, and orders by decision, as tables and sentences."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import ParameterError
from freqlab.faithfulness.alternatives import CALLS
from freqlab.faithfulness.deletion import BASELINES, BEST
from freqlab.faithfulness.report import FEWEST_PEOPLE, errors_occur, few_people, interval_sign
from freqlab.literals import Side
from freqlab.results.selection import part_of
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join, signed, with_bounds

__all__ = ["better_views", "describe_decisions", "describe_orders", "order_table"]

_COMPARISONS = ("genuine", "impostor")


def better_views(orders: xr.Dataset) -> list[tuple[str, str]]:
    """List the explanations whose order is better than that of influence, by kind of pairs.

    An order is better if the interval of the paired difference of the symmetric relevance gains, by
    similarity, excludes zero. Empty for fewer than :data:`FEWEST_PEOPLE` people.

    Parameters
    ----------
    orders
        Errors of one model and side, with the orders of other explanations.
    """
    if few_people(orders):
        return []
    gain = orders["relevance_advantage"].sel(measure="similarity")
    return [
        (comparison, name)
        for comparison in _COMPARISONS
        for name in _explanations(orders)
        if int(orders["n_pairs"].sel(comparison=comparison))
        and interval_sign(gain.sel(comparison=comparison, baseline=name)) < 0
    ]


def describe_orders(orders: xr.Dataset, *, model: str, side: Side = "probe") -> str:
    """State, in Markdown, how close the orders of explanations are to the best order known.

    Parameters
    ----------
    orders
        From :func:`freqlab.faithfulness.deletion_errors`, with the orders of other explanations and
        the best order known.
    model, side
        Part of the data to describe.

    Returns
    -------
    str
        Sentences in Markdown.

    Raises
    ------
    ParameterError
        If the best order known is not among the orders.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces, model = fl.testing.faces(n_subjects=4, per_subject=2), fl.testing.model()
    >>> options = {"bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), models=[model], **options)
    >>> options = {"fmr": 0.1, "progress": False}
    >>> curves = fl.faithfulness.deletion_curves(result, [model], beam=1, **options)
    >>> orders = fl.faithfulness.deletion_errors(curves, n_draws=20)
    >>> print(fl.faithfulness.describe_orders(orders, model="linear"))
    **linear**, probe masked: the order of influence reaches ...
    """
    data = part_of(orders, model=model, side=side)
    if "reached" not in data:
        raise ParameterError(
            "orders lack the best order known; compute the curves with beam=, the width of a search"
        )
    kinds = [kind for kind in _COMPARISONS if int(data["n_pairs"].sel(comparison=kind))]
    n_pairs = int(data["n_pairs"].sum())
    sample = f"{n_pairs} pairs of {int(data.attrs['n_people'])} people"
    few = few_people(data)
    if few:
        sample += f", too few to compare the orders; that needs {FEWEST_PEOPLE} people"
    texts = [
        f"{_percent(data['reached'].sel(comparison=kind, order='influence'), few)} for {kind} pairs"
        for kind in kinds
    ]
    start = f"**{as_markdown(model)}**, {side} masked:"
    reached = (
        f"the order of influence reaches {join(texts)} of the symmetric relevance gain of the best "
        f"order known (0 %: random orders; {sample})"
    )
    better = better_views(data)
    if not better:
        verdict = "" if few else "; no other view of the bands has a better order"
        return f"{start} {reached}{verdict}."
    gain = data["relevance_advantage"].sel(measure="similarity")
    found = [
        f"{name} for {kind} pairs "
        f"({signed(_opposite(gain.sel(comparison=kind, baseline=name)), 3)})"
        for kind, name in better
    ]
    names = list(dict.fromkeys(name for _, name in better))
    calls = [f"`fl.faithfulness.{CALLS[name]}`" for name in names if name in CALLS]
    offer = ""
    if calls:
        verb = "returns it" if len(calls) == 1 else "return them"
        offer = f"; {join(calls)} {verb} in the form of influence, for every figure"
    n_compared = len(kinds) * len(_explanations(data))
    verb = "is" if len(better) == 1 else "are"
    return (
        f"{start} {len(better)} of {n_compared} orders of other views {verb} better than that of "
        f"influence: {join(found)} (paired difference of the relevance gains by similarity)"
        f"{offer}; {reached}."
    )


def order_table(orders: xr.Dataset, *, model: str, side: Side = "probe") -> pd.DataFrame:
    """Tabulate areas by similarity, relevance gains, and differences from the order of influence.

    Parameters
    ----------
    orders
        From :func:`freqlab.faithfulness.deletion_errors`, with the orders of other explanations and
        the best order known.
    model, side
        Part of the data to describe.

    Returns
    -------
    pandas.DataFrame
        A row for each kind of pairs and order, from the largest to the smallest relevance gain.
        A difference is positive where the order is better than that of influence. Intervals are
        left out for fewer than 20 people.

    Examples
    --------
    >>> import freqlab as fl
    >>> orders = fl.faithfulness.deletion_errors(fl.testing.deletion_curves(), n_draws=20)
    >>> fl.faithfulness.order_table(orders, model="linear").columns.to_list()
    ['deletion', 'insertion', 'relevance gain', 'minus influence']
    """
    data = part_of(orders, model=model, side=side, measure="similarity")
    few = few_people(data)
    rows = {}
    for kind in _COMPARISONS:
        part = data.sel(comparison=kind)
        if not int(part["n_pairs"]):
            continue
        gains = part["relevance_gain"].sel(estimate="value")
        for order in sorted(names_of(part, "order"), key=lambda one: -float(gains.sel(order=one))):
            row = {
                protocol: f"{float(area):.3f}"
                for protocol, area in (
                    (name, part["area"].sel(order=order, protocol=name, estimate="value"))
                    for name in ("deletion", "insertion")
                )
            }
            row["relevance gain"] = _shown(part["relevance_gain"].sel(order=order), few)
            if "reached" in part:
                row["of the best"] = (
                    f"{100 * float(part['reached'].sel(order=order, estimate='value')):.0f} %"
                )
            row["minus influence"] = ""
            if order != "influence":
                less = _opposite(part["relevance_advantage"].sel(baseline=order))
                row["minus influence"] = _shown(less, few)
            rows[kind, order] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    if rows:
        table.index = pd.MultiIndex.from_tuples(rows, names=["pairs", "order"])
    return table


def describe_decisions(
    decided: xr.Dataset | xr.DataTree, *, model: str, side: Side = "probe"
) -> str:
    """State, in Markdown, the advantage of influence with orders by decision.

    Parameters
    ----------
    decided
        From :func:`freqlab.faithfulness.deletion_errors`, of curves by decision; or from
        :func:`freqlab.faithfulness.study`.
    model, side
        Part of the data to describe.

    Returns
    -------
    str
        Sentences in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces, model = fl.testing.faces(n_subjects=8, per_subject=2), fl.testing.model()
    >>> options = {"bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), models=[model], **options)
    >>> options = {"fmr": 0.1, "progress": False}
    >>> curves = fl.faithfulness.deletion_curves(result, [model], by="decision", **options)
    >>> decided = fl.faithfulness.deletion_errors(curves, n_draws=20)
    >>> print(fl.faithfulness.describe_decisions(decided, model="linear"))
    **linear**, probe masked: the decision is ...
    """
    start = f"**{as_markdown(model)}**, {side} masked:"
    if isinstance(decided, xr.DataTree):
        if "errors_by_decision" not in decided.children:
            return f"{start} orders by decision need a threshold, which is not resolved."
        decided = decided["errors_by_decision"].to_dataset()
    data = part_of(decided, model=model, side=side)
    n_wrong, n_pairs = (data[name].to_numpy().tolist() for name in ("n_errors", "n_pairs"))
    if not any(n_wrong):
        return (
            f"{start} the decision is right for all {sum(n_pairs)} pairs, so the orders by "
            f"decision are those by truth."
        )
    counts = (
        f"the decision is wrong for {n_wrong[0]} of {n_pairs[0]} genuine and {n_wrong[1]} of "
        f"{n_pairs[1]} impostor pairs; only there do orders by decision differ from orders by truth"
    )
    if few_people(data):
        return f"{start} {counts}. Fewer than {FEWEST_PEOPLE} people are tested: not compared."
    texts = []
    for kind, n in zip(_COMPARISONS, n_pairs, strict=True):
        for protocol in ("deletion", "insertion") if n else ():
            if not errors_occur(data.sel(comparison=kind, protocol=protocol)):
                texts.append(f"{protocol}, {kind} pairs: no decision changes in any order")
                continue
            gain = data["advantage"].sel(comparison=kind, protocol=protocol, measure="error")
            texts.append(
                f"{protocol}, {kind} pairs {signed(gain.sel(baseline='random'), 3)} over random, "
                f"{signed(gain.sel(baseline='amplitude'), 3)} over amplitude"
            )
    return (
        f"{start} {counts}. Advantage of influence by decision, in the area under the share of "
        f"changed decisions: {'; '.join(texts)}."
    )


def _explanations(orders: xr.Dataset) -> list[str]:
    """Names of the explanations that are compared with influence."""
    return [name for name in names_of(orders, "baseline") if name not in (*BASELINES, BEST)]


def _opposite(values: xr.DataArray) -> xr.DataArray:
    """Change the sign of a difference and of its interval."""
    estimates = values["estimate"].to_numpy()
    return (-values).isel(estimate=[0, 2, 1]).assign_coords(estimate=estimates)


def _shown(values: xr.DataArray, few: bool) -> str:
    """Format a difference, without its interval if there are few people."""
    return f"{float(values[..., 0]):+.3f}" if few else signed(values, 3)


def _percent(values: xr.DataArray, few: bool) -> str:
    """Format a share as a percentage, without its interval if there are few people."""
    if few:
        return f"{100 * float(values.sel(estimate='value')):.0f} %"
    return with_bounds(100 * values, ".0f", unit=" %") or "not available"

"""Trust cards: test results on a run's explanations, stored with the run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd
import zarr

from freqlab.attrs import from_json
from freqlab.errors import ParameterError
from freqlab.faithfulness.card_contents import NOT_PASSED, NOT_TESTED, PASSED
from freqlab.store import journal
from freqlab.store.chunks import disk_faults, groups_of, open_root, place_of
from freqlab.store.forgetting import settle
from freqlab.store.layout import node_name
from freqlab.store.locking import locked

__all__ = ["compact_trust_table", "save_trust_card", "trust_cards_of", "trust_table"]

_NODE = "trust"
_SIGNS = {
    PASSED: "\N{CHECK MARK}",
    NOT_PASSED: "\N{BALLOT X}",
    NOT_TESTED: "\N{EN DASH}",
}
_UNTESTED = {"found": "no results", "reading": "the report 'faithfulness' runs the tests"}


def save_trust_card(store: str | os.PathLike[str], card: Mapping[str, Any]) -> None:
    """Store a trust card in its run, as JSON in the attributes of ``/trust/<model>``.

    Parameters
    ----------
    store
        The run's Zarr group.
    card
        From :func:`freqlab.faithfulness.trust_card`; replaces an earlier card of the model.

    Raises
    ------
    ParameterError
        If `card` is not a trust card.
    StoreError
        If there is no run.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> names = ("errors", "views", "checks", "planted", "stability", "figures")
    >>> parts = [study[name].to_dataset() for name in names]
    >>> card = fl.faithfulness.trust_card(*parts, model="linear")
    >>> fl.faithfulness.save_trust_card(study.attrs["store"], card)
    """
    if "model" not in card or "rows" not in card:
        raise ParameterError(
            "card must be a trust card from fl.faithfulness.trust_card, with 'model' and 'rows'"
        )
    url = place_of(store)
    with disk_faults(url), locked(url) as lock:
        settle(url, lock)
        root = open_root(url, "r+")
        path = f"{_NODE}/{node_name(str(card['model']))}"
        attributes = {"card": json.dumps(dict(card), allow_nan=False)}
        if path in root:
            cast(zarr.Group, root[path]).update_attributes(attributes)
        else:
            journal.make_group(root, path, attributes)


def trust_cards_of(store: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Return the trust cards of a run by model.

    Parameters
    ----------
    store
        The run's Zarr group.

    Raises
    ------
    StoreError
        If there is no run.
    """
    node = open_root(place_of(store)).get(_NODE)
    cards: dict[str, dict[str, Any]] = {}
    if isinstance(node, zarr.Group):
        for group in groups_of(node).values():
            if "card" not in group.attrs:  # an earlier version was interrupted here
                continue
            card: Any = from_json(group.attrs["card"])
            cards[str(card["model"])] = card
    return cards


def trust_table(
    store: str | os.PathLike[str], *, models: Sequence[str] | None = None
) -> pd.DataFrame:
    """Tabulate all test results in the trust cards of a run.

    Parameters
    ----------
    store
        The run's Zarr group.
    models
        Names of models; by default all models with a card.

    Returns
    -------
    pandas.DataFrame
        Rows by model and test, with the result (``found``) and its interpretation (``reading``).
        A model, or a run, without a card has one row that states this.

    Raises
    ------
    StoreError
        If there is no run.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> fl.faithfulness.trust_table(study.attrs["store"]).columns.tolist()
    ['found', 'reading']
    """
    cards = trust_cards_of(store)
    rows = {}
    for model in cards if models is None else models:
        if model not in cards:
            rows[model, "not tested yet"] = _UNTESTED
            continue
        card = cards[model]
        about = f"{_pairs_text(card)}, FMR {card['fmr']:g}"
        when = f"{card['side']} masked, {len(card['bands'])} bands, {card['created_at'][:10]}"
        rows[model, "tested on"] = {"found": about, "reading": when}
        for row in card["rows"]:
            rows[model, str(row["test"])] = {"found": row["found"], "reading": row["reading"]}
    if not rows:
        rows["any model", "not tested yet"] = _UNTESTED
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["model", "test"])
    return table


def compact_trust_table(
    store: str | os.PathLike[str], *, models: Sequence[str] | None = None
) -> pd.DataFrame:
    """Tabulate the verdicts of the trust cards of a run, one row per tested property.

    :func:`freqlab.faithfulness.describe_criteria` states when a property is passed;
    :func:`trust_table` has all test results.

    Parameters
    ----------
    store
        The run's Zarr group.
    models
        Names of models; by default all models with a card.

    Returns
    -------
    pandas.DataFrame
        A column per model. Cells contain a sign, the verdict in words and the figure with its
        interval, or the reason why the property is not tested.

    Raises
    ------
    StoreError
        If there is no run.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> table = fl.faithfulness.compact_trust_table(study.attrs["store"])
    >>> table.columns.tolist(), table.index[0]
    (['linear'], 'tested on')
    """
    cards = trust_cards_of(store)
    names = list(cards) if models is None else list(models)
    columns = {name: _column(cards[name]) for name in names if name in cards}
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    rows = rows or ["all properties"]
    cells = {}
    for name in names or ["any model"]:
        earlier = name in cards and "properties" not in cards[name]
        missing = "no verdicts: card of an earlier version" if earlier else NOT_TESTED
        column = columns.get(name, {})
        cells[name] = [column.get(row, f"{_SIGNS[NOT_TESTED]} {missing}") for row in rows]
    table = pd.DataFrame(cells, index=pd.Index(rows, name="tested property"))
    return table.rename_axis("model", axis="columns")


def _column(card: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of one model in the compact table."""
    people = f", {card['people']:,} people" if card.get("people") else ""
    cells = {"tested on": f"{_pairs_text(card)}{people}; {card['side']} masked"}
    for row in card.get("properties", []):
        text = f"{_SIGNS[row['verdict']]} {row['verdict']}"
        cells[row["property"]] = f"{text}: {row['text']}" if row["text"] else text
    return cells


def _pairs_text(card: Mapping[str, Any]) -> str:
    """State the numbers of pairs of a card."""
    pairs = card["pairs"]
    return f"{pairs['genuine']:,} genuine and {pairs['impostor']:,} impostor pairs"

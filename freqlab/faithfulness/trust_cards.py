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
from freqlab.store import journal
from freqlab.store.chunks import disk_faults, groups_of, open_root, place_of
from freqlab.store.forgetting import settle
from freqlab.store.locking import locked
from freqlab.store.run_store import node_name

__all__ = ["save_trust_card", "trust_table"]

_NODE = "trust"


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
        If it is not a trust card.
    StoreError
        If there is no run.
    """
    if "model" not in card or "rows" not in card:
        raise ParameterError(
            "card must be one of fl.faithfulness.trust_card, with 'model' and 'rows'"
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


def trust_table(
    store: str | os.PathLike[str], *, models: Sequence[str] | None = None
) -> pd.DataFrame:
    """Tabulate the trust cards of a run: tests of its explanations, and their findings.

    Parameters
    ----------
    store
        The run's Zarr group.
    models
        Names of models; by default all models with a card.

    Returns
    -------
    pandas.DataFrame
        Rows by model and test, with the finding and how to read it. A model, or a run, that was
        not tested has one row that says so.

    Raises
    ------
    StoreError
        If there is no run.
    """
    url = place_of(store)
    root = open_root(url)
    node = root.get(_NODE)
    cards: dict[str, Any] = {}
    if isinstance(node, zarr.Group):
        for group in groups_of(node).values():
            if "card" not in group.attrs:  # an earlier version that was killed early
                continue
            card: Any = from_json(group.attrs["card"])
            cards[str(card["model"])] = card
    rows = {}
    for model in cards if models is None else models:
        if model not in cards:
            rows[model, "not tested yet"] = _untested()
            continue
        card = cards[model]
        about = (
            f"{card['pairs']['genuine']:,} genuine and {card['pairs']['impostor']:,} impostor "
            f"pairs, FMR {card['fmr']:g}"
        )
        when = f"{card['side']} masked, {len(card['bands'])} bands, {card['created_at'][:10]}"
        rows[model, "tested on"] = {"found": about, "reading": when}
        for row in card["rows"]:
            rows[model, str(row["test"])] = {"found": row["found"], "reading": row["reading"]}
    if not rows:
        rows["any model", "not tested yet"] = _untested()
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["model", "test"])
    return table


def _untested() -> dict[str, str]:
    return {"found": "nothing is known", "reading": "the report 'faithfulness' tests it"}

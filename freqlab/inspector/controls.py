"""Controls of the inspector, which select the pair, the model and the bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import ipywidgets as widgets
import numpy as np
import xarray as xr

from freqlab.edits.inspection import Inspection
from freqlab.inspector.widgets import BandSlider
from freqlab.literals import Kind
from freqlab.results.selection import (
    ORDERS,
    column_values,
    fmr_text,
    frequency_unit,
    pair_columns,
    threshold_of,
)

__all__ = ["KINDS", "Controls", "criteria_text", "rates_of", "value_of"]

KINDS: tuple[Kind, ...] = get_args(Kind)


def rates_of(inspection: Inspection, model: str) -> list[tuple[str, float]]:
    """Options for the false match rate; rates that the faces do not resolve are marked."""
    options = []
    for rate in map(float, inspection.result["fmr"].to_numpy()):
        resolved = np.isfinite(threshold_of(inspection.result, model=model, fmr=rate))
        options.append((fmr_text(rate) + ("" if resolved else " (not resolved)"), rate))
    return options


def criteria_text(where: Mapping[str, Any], order: str, *, fmr: float) -> str:
    """Which pairs are selected, in words: by values of columns and by an order."""
    criteria = [f"{column} = {value}" for column, value in where.items()]
    if order != "index":
        criteria.append(f"{ORDERS[order]!r} at FMR {fmr_text(fmr)}")
    return " and ".join(criteria) or "the result"


def value_of(result: xr.Dataset, column: str, *, pair: int) -> str:
    """Value of a pair in a column of :func:`pair_columns`; of a column of faces, the probe's."""
    rows = np.flatnonzero(result["pair"].to_numpy() == pair)
    own = column if column == "comparison" or column in result.coords else f"probe_{column}"
    return column_values(result.isel(pair=rows), own)[0]


class Controls:
    """All controls; the inspector connects them to its state.

    Parameters
    ----------
    inspection
        The result whose pairs, models and bands are offered.
    model
        Model whose thresholds are listed initially.
    names
        Names of the results in the run, oldest first.
    """

    def __init__(self, inspection: Inspection, model: str, names: Sequence[str] = ()) -> None:
        result = inspection.result
        self.previous = widgets.Button(description="◀ Previous", tooltip="Previous pair")
        self.next = widgets.Button(description="Next ▶", tooltip="Next pair")
        self.pair = widgets.IntText(description="Pair", continuous_update=False, layout=_layout())
        self.position = widgets.Label()
        labels = [(name, name) for name in names]
        if len(names) > 1:
            labels[-1] = (f"{names[-1]} (newest)", names[-1])
        self.name = _choice("Result", labels[::-1] or [("not in a store", "")])
        self.name.disabled = len(names) < 2
        self.order = _choice("Order", [(text, key) for key, text in ORDERS.items()])
        columns = [(column.replace("_", " "), column) for column in pair_columns(result)]
        self.column = _choice("Pairs with", [("all pairs", ""), *columns])
        self.value = _choice("=", [])
        self.value.layout.display = "none"
        self.model = _choice("Model", inspection.models)
        self.other = _choice("Compare with", [("none", ""), *((m, m) for m in inspection.models)])
        self.other.disabled = len(inspection.models) < 2
        self.side = _choice("Masked side", inspection.sides)
        self.kind = _choice("Influence", list(KINDS))
        self.fmr = _choice("FMR", rates_of(inspection, model))
        bounds = inspection.bands.bounds
        edges = [f"{edge:g}" for edge in bounds[:, 0]]
        edges.append("end" if np.isinf(bounds[-1, 1]) else f"{bounds[-1, 1]:g}")
        if not inspection.bands.radial:
            edges = [*inspection.bands.names, "end"]
        self.slider = BandSlider(
            options=[(text, k) for k, text in enumerate(edges)],
            index=(0, 0),
            description=f"Bands ({frequency_unit(result)})" if inspection.bands.radial else "Bands",
            readout=False,  # a selection may have gaps, which the slider cannot show
            style={"description_width": "initial"},
            layout=_layout(),
        )
        where = "rings or bars" if inspection.bands.radial else "the plane or bars"
        self.hint = f"none: drag the slider, or click {where}"
        self.chosen = widgets.Label()
        self.chosen.add_class("freqlab-chosen")
        tight = widgets.Layout(width="auto")
        self.operation = widgets.ToggleButtons(
            options=[("remove", "remove"), ("keep only", "keep")],
            tooltips=["Remove the selected bands", "Remove all other bands"],
            style={"button_width": "90px"},
            layout=tight,
        )
        self.clear = widgets.Button(description="Clear", tooltip="Deselect all bands", layout=tight)
        self.locked = widgets.Checkbox(
            description="keep the selection when the pair changes", indent=False, layout=_layout()
        )

    @property
    def by_trait(self) -> dict[str, Any]:
        """Controls that show one trait of the inspector each, by the name of the trait."""
        names = ("name", "pair", "model", "other", "side", "kind", "fmr", "order", "operation")
        return {name: getattr(self, name) for name in (*names, "locked")}

    @property
    def of_pair(self) -> widgets.VBox:
        """The controls that select the result, the pair and the model, in a column."""
        steps = _box([self.previous, self.next], "freqlab-steps")
        place = _box([self.pair, self.position], "freqlab-pair")
        below = [self.order, self.column, self.value, self.model, self.other, self.side]
        column = widgets.VBox(
            [steps, place, *below, self.kind, self.fmr, self.name, self.locked], layout=_layout()
        )
        column.add_class("freqlab-controls")
        return column

    @property
    def of_bands(self) -> widgets.HBox:
        """The controls that select bands, in a row."""
        return _box([self.slider, self.operation, self.clear, self.chosen], "freqlab-bands")


def _layout() -> widgets.Layout:
    """A layout whose width is left to the style sheet."""
    return widgets.Layout(width="")


def _box(children: Sequence[Any], name: str) -> widgets.HBox:
    box = widgets.HBox(list(children))
    box.add_class(name)
    return box


def _choice(description: str, options: Any) -> widgets.Dropdown:
    return widgets.Dropdown(
        description=description,
        options=options,
        style={"description_width": ""},
        layout=_layout(),
    )

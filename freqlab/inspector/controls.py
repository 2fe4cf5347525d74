"""Controls of the inspector, which select the pair, the model and the bands."""

from __future__ import annotations

from typing import Any, get_args

import ipywidgets as widgets
import numpy as np

from freqlab.edits.inspection import Inspection
from freqlab.literals import Kind
from freqlab.results.selection import ORDERS, fmr_text, frequency_unit, pair_columns, threshold_of

__all__ = ["KINDS", "Controls", "rates_of"]

KINDS: tuple[Kind, ...] = get_args(Kind)


def rates_of(inspection: Inspection, model: str) -> list[tuple[str, float]]:
    """Options for the false match rate; rates that the faces do not resolve are marked."""
    options = []
    for rate in map(float, inspection.result["fmr"].to_numpy()):
        resolved = np.isfinite(threshold_of(inspection.result, model=model, fmr=rate))
        options.append((fmr_text(rate) + ("" if resolved else " (not resolved)"), rate))
    return options


class Controls:
    """All controls; the inspector connects them to its state.

    Parameters
    ----------
    inspection
        The result whose pairs, models and bands are offered.
    model
        Model whose thresholds are listed initially.
    """

    def __init__(self, inspection: Inspection, model: str) -> None:
        result = inspection.result
        self.previous = widgets.Button(description="◀ Previous", tooltip="Previous pair")
        self.next = widgets.Button(description="Next ▶", tooltip="Next pair")
        self.pair = widgets.IntText(
            description="Pair",
            continuous_update=False,
            style={"description_width": "initial"},
            layout=widgets.Layout(width="130px", margin="2px 8px"),
        )
        self.position = widgets.Label(layout=widgets.Layout(margin="2px 16px 2px 2px"))
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
        self.slider = widgets.SelectionRangeSlider(
            options=[(text, k) for k, text in enumerate(edges)],
            index=(0, 0),
            description=f"Bands ({frequency_unit(result)})",
            readout=False,  # a selection may have gaps, which the slider cannot show
            style={"description_width": "initial"},
            layout=widgets.Layout(width="480px"),
        )
        self.chosen = widgets.Label(layout=widgets.Layout(min_width="150px"))
        tight = widgets.Layout(width="auto")
        self.operation = widgets.ToggleButtons(
            options=[("remove", "remove"), ("keep only", "keep")],
            tooltips=["Remove the selected bands", "Remove all other bands"],
            style={"button_width": "90px"},
            layout=tight,
        )
        self.clear = widgets.Button(description="Clear", tooltip="Deselect all bands", layout=tight)
        self.locked = widgets.Checkbox(
            description="keep the selection when the pair changes", indent=False, layout=tight
        )

    @property
    def by_trait(self) -> dict[str, Any]:
        """Controls that show one trait of the inspector each, by the name of the trait."""
        names = ("pair", "model", "other", "side", "kind", "fmr", "order", "operation", "locked")
        return {name: getattr(self, name) for name in names}

    @property
    def rows(self) -> list[widgets.HBox]:
        """The controls in rows."""
        rows = (
            [self.previous, self.next, self.pair, self.position],
            [self.order, self.column, self.value],
            [self.model, self.other, self.side, self.kind, self.fmr],
            [self.slider, self.chosen, self.operation, self.clear, self.locked],
        )
        layout = widgets.Layout(flex_flow="row wrap", align_items="center", width="100%")
        first = widgets.HBox([*rows[0], *rows[1]], layout=layout)
        return [first, *(widgets.HBox(row, layout=layout) for row in rows[2:])]


def _choice(description: str, options: Any) -> widgets.Dropdown:
    return widgets.Dropdown(
        description=description,
        options=options,
        style={"description_width": "initial"},
        layout=widgets.Layout(width="auto", margin="2px 12px 2px 2px"),
    )

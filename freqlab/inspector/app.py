"""The inspector widget: its state in traits, its controls, and one panel per model."""

from __future__ import annotations

import contextlib
import functools
import html
import io
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets
import xarray as xr
from matplotlib.figure import Figure

from freqlab.edits.code import code_of, file_stem
from freqlab.edits.inspection import OPERATIONS, Edited, Inspection, chosen_text
from freqlab.edits.numbers import band_numbers, model_numbers, rows_of
from freqlab.errors import FreqlabError, ParameterError, check_name
from freqlab.faces.table import Faces
from freqlab.inspector.controls import KINDS, Controls, rates_of
from freqlab.inspector.drawing import plane_of
from freqlab.inspector.panel import Panel, View, html_table
from freqlab.inspector.widgets import Downloads
from freqlab.literals import Kind, Operation, Side
from freqlab.models.callables import Embedder
from freqlab.models.spec import Model
from freqlab.plots.common import MAX_WIDTH
from freqlab.plots.inspection import inspection_plot
from freqlab.results.profiles import influence_spread
from freqlab.results.selection import (
    ORDERS,
    column_values,
    default_fmr,
    fmr_text,
    ordered_pairs,
    pair_columns,
    select_pair,
    threshold_of,
)
from freqlab.text.csv import csv_of

__all__ = ["Inspector", "inspect"]

_FILES = [
    {"name": "png", "label": "Figure (PNG)", "hint": "The current view as an image"},
    {"name": "svg", "label": "Figure (SVG)", "hint": "The current view as a vector graphic"},
    {"name": "csv", "label": "Numbers (CSV)", "hint": "All values of the pair, one row per model"},
    {
        "name": "py",
        "label": "Code (Python)",
        "hint": "Python code that reproduces the current view",
    },
]
_HINT = "none: drag the slider, or click rings or bars"
_MAX_VALUES = 5000  # of a column, to list in a control


def inspect(
    result: xr.Dataset | str | os.PathLike[str],
    *,
    name: str | None = None,
    faces: Faces | None = None,
    models: Sequence[str | os.PathLike[str] | Model | Embedder] = (),
    model: str | None = None,
    pair: int | None = None,
    side: Side | None = None,
    fmr: float | None = None,
    device: str = "auto",
) -> Inspector:
    """Examine single decisions: remove bands from a face and compare the pair again.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, or the path of a run.
    name
        Name of the result if `result` is a path; the newest by default.
    faces
        Faces of the run; required only if it has no crops.
    models
        Models, as for :func:`freqlab.influence`; required only for those not known by name.
    model, pair, side
        Initial view; by default the first of each in the result.
    fmr
        False match rate of the threshold; by default 1e-3, or the smallest larger rate that the
        faces of the run resolve.
    device
        Device of the networks: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    Inspector
        Widget; JupyterLab displays it if it is the last value of a cell.

    Raises
    ------
    ParameterError
        If an argument does not match the result.
    StoreError
        If the run does not exist.
    """
    inspection = Inspection(result, name=name, faces=faces, models=models, device=device)
    initial: dict[str, Any] = {"model": model, "pair": pair, "side": side, "fmr": fmr}
    return Inspector(
        inspection, **{key: value for key, value in initial.items() if value is not None}
    )


class Inspector(widgets.VBox):  # type: ignore[misc]
    """Inspector of a result; its traits are its state, and may be set and observed.

    Parameters
    ----------
    inspection
        The result, with its crops and networks.
    state
        Initial values of traits.

    Raises
    ------
    ParameterError
        If a value is not in the result.
    """

    pair = traitlets.Int()
    """Label of the pair."""
    model = traitlets.Unicode()
    other = traitlets.Unicode()
    """Second model to compare with; empty for none."""
    side = traitlets.Unicode()
    kind = traitlets.Unicode("directed")
    """``"directed"`` or ``"absolute"`` influence."""
    operation = traitlets.Unicode("remove")
    """``"remove"`` or ``"keep"`` the selected bands."""
    selected = traitlets.Tuple()
    """Numbers of the selected bands, ascending."""
    locked = traitlets.Bool(False)
    """Whether the selection of bands is kept when the pair changes."""
    order = traitlets.Unicode("index")
    """Order of the pairs, one of :data:`freqlab.results.selection.ORDERS`."""
    where = traitlets.Dict()
    """Required values of the pairs, by column."""
    fmr = traitlets.Float()
    """False match rate of the threshold."""
    error = traitlets.Unicode()
    """Message of the last error; empty if there was none."""

    def __init__(self, inspection: Inspection, **state: Any) -> None:
        self.inspection = inspection
        self._spreads: dict[tuple[str, str], xr.Dataset] = {}
        self._syncing = self._changing_pair = False
        self._edited: dict[str, Edited] = {}
        super().__init__()
        result = inspection.result
        state.setdefault("model", inspection.models[0])
        check_name("model", state["model"], inspection.models)
        state.setdefault("side", inspection.sides[0])
        state.setdefault("fmr", default_fmr(result, model=state["model"]))
        state.setdefault("pair", int(result["pair"].to_numpy()[0]))
        for trait in ("model", "side", "fmr", "pair", *state):
            setattr(self, trait, state[trait])
        self._pairs = self._find_pairs()
        self._controls = Controls(self.inspection, self.model)
        self._alert = widgets.HTML()
        self._table, self._bands_table = widgets.HTML(), widgets.HTML()
        self._code = widgets.Textarea(layout=widgets.Layout(width="100%", height="190px"))
        self._downloads = Downloads(files=_FILES)
        self._panels = [Panel(), Panel()]
        self._panel_row = widgets.HBox(layout=widgets.Layout(flex_flow="row wrap", width="100%"))
        self._arrange()
        self._sync()
        self._connect()
        self.observe(self._on_part, ["model", "other", "side", "kind", "fmr"])
        self.observe(self._on_pairs, ["order", "where"])
        self.observe(self._on_pair, "pair")
        self.observe(self._on_bands, ["selected", "operation"])
        with self._errors_shown():
            self._show_models()

    def __repr__(self) -> str:
        store = self.inspection.result.attrs.get("store")
        in_memory = not store or str(store).startswith("memory://")
        command = f"`freqlab inspect {'STORE' if in_memory else store}`"
        saved = " for a run saved in STORE" if in_memory else ""
        return (
            f"Inspector of pair {self.pair}, model {self.model!r}, side {self.side!r}. This front "
            f"end does not display widgets. JupyterLab does, if the inspector is the last value of "
            f"a cell (pip install 'freqlab[lab]'); {command} opens it as a web page{saved}. "
            f"The traits .pair, .model, .side and .selected work without a display; .similarity "
            f"is the similarity of the edited pair."
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget, and the full text for front ends without widgets."""
        return {**(super()._repr_mimebundle_(**kwargs) or {}), "text/plain": repr(self)}

    # Validation of traits ----------------------------------------------------------------------

    @traitlets.validate("model", "other", "side", "kind", "operation", "order")
    def _check_name(self, proposal: Any) -> str:
        name, value = proposal["trait"].name, proposal["value"]
        models = self.inspection.models
        allowed: dict[str, Sequence[str]] = {
            "model": models,
            "other": ["", *models],
            "side": self.inspection.sides,
            "kind": KINDS,
            "operation": OPERATIONS,
            "order": list(ORDERS),
        }
        return check_name(name, value, allowed[name])

    @traitlets.validate("pair")
    def _check_pair(self, proposal: Any) -> int:
        pair = int(proposal["value"])
        inspection = self.inspection
        select_pair(
            inspection.result, pair=pair, model=inspection.models[0], side=inspection.sides[0]
        )
        return pair

    @traitlets.validate("fmr")
    def _check_fmr(self, proposal: Any) -> float:
        fmr = float(proposal["value"])
        threshold_of(self.inspection.result, model=self.inspection.models[0], fmr=fmr)
        return fmr

    @traitlets.validate("selected")
    def _check_selected(self, proposal: Any) -> tuple[int, ...]:
        n = len(self.inspection.bands)
        bands = sorted({int(band) for band in proposal["value"]})
        if any(not 0 <= band < n for band in bands):
            raise ParameterError(
                f"selected={proposal['value']!r} must contain band numbers from 0 to {n - 1}"
            )
        return tuple(bands)

    @traitlets.validate("where")
    def _check_where(self, proposal: Any) -> dict[str, Any]:
        for column in proposal["value"]:
            check_name("column", column, pair_columns(self.inspection.result))
        return dict(proposal["value"])

    # Controls ----------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Arrange the controls and panels."""
        details = widgets.Accordion(
            children=[widgets.VBox([self._table, self._bands_table]), self._code],
            titles=("Values of this pair", "Code to reproduce this view"),
        )
        rows = self._controls.rows
        self.children = [self._alert, *rows, self._panel_row, details, self._downloads]
        self.add_class("freqlab-inspector")

    def _connect(self) -> None:
        """Connect every control to its trait."""
        controls = self._controls
        for trait, control in controls.by_trait.items():
            self._on_change(control, functools.partial(setattr, self, trait))
        self._on_change(controls.column, self._choose_column)
        self._on_change(controls.value, self._choose_value)
        self._on_change(controls.slider, self._choose_range, "index")
        controls.previous.on_click(lambda _: self._run(lambda: self.step(-1)))
        controls.next.on_click(lambda _: self._run(lambda: self.step(1)))
        controls.clear.on_click(lambda _: self._run(lambda: setattr(self, "selected", ())))
        for panel in self._panels:
            self._on_change(panel.picker, functools.partial(setattr, self, "selected"), "selected")
        self._downloads.on_msg(lambda _, message, __: self._run(lambda: self._send_file(message)))

    def _on_change(
        self, control: Any, action: Callable[[Any], object], trait: str = "value"
    ) -> None:
        def changed(change: Any) -> None:
            if not self._syncing:
                self._run(lambda: action(change["new"]))

        control.observe(changed, trait)

    def _run(self, action: Callable[[], object]) -> None:
        """Run the action of a control, show its error if any, and update the controls."""
        with self._errors_shown():
            action()
        self._sync()

    @contextlib.contextmanager
    def _errors_shown(self) -> Iterator[None]:
        """Show an error in the inspector; otherwise it is only in the log of the kernel."""
        try:
            self._show_error("")
            yield
        except Exception as error:  # any error must be visible
            trace = "" if isinstance(error, FreqlabError) else traceback.format_exc()
            self._show_error(explain(error), trace)

    def _show_error(self, text: str, trace: str = "") -> None:
        self.error = text
        details = f"<pre>{html.escape(trace)}</pre>" if trace else ""
        self._alert.value = (
            f'<div class="freqlab-error" role="alert" style="border:2px solid currentColor;'
            f'padding:4px 8px"><b>Error:</b> {html.escape(text)}{details}</div>'
            if text
            else ""
        )

    def _sync(self) -> None:
        """Set the controls to the values of the traits."""
        controls = self._controls
        self._syncing = True
        try:
            for trait, control in controls.by_trait.items():
                if trait != "fmr":
                    control.value = getattr(self, trait)
            rates = [rate for _, rate in controls.fmr.options]
            controls.fmr.value = min(rates, key=lambda rate: abs(rate - self.fmr))
            ends = (self.selected[0], self.selected[-1] + 1) if self.selected else (0, 0)
            shown = controls.slider.index
            if shown != ends and (self.selected or shown[0] != shown[1]):
                controls.slider.index = ends
            bands = chosen_text(self.inspection.result, self.selected)
            controls.chosen.value = bands if self.selected else _HINT
            for panel in self._panels:
                panel.picker.selected = list(self.selected)
            at = np.flatnonzero(self._pairs == self.pair)
            n = f"{len(self._pairs):,}"
            position = f"{at[0] + 1:,} of {n}" if len(at) else f"not one of the {n} selected"
            controls.position.value = position
            controls.value.layout.display = None if controls.column.value else "none"
            controls.next.disabled = controls.previous.disabled = len(self._pairs) == 0
        finally:
            self._syncing = False

    # Actions of the controls -------------------------------------------------------------------

    def step(self, n: int) -> None:
        """Advance by `n` pairs in the selected order; the first pair follows the last.

        Raises
        ------
        ParameterError
            If no pair matches the selection.
        """
        if not len(self._pairs):
            raise ParameterError(f"no pair of the result matches {self._criteria()}")
        at = np.flatnonzero(self._pairs == self.pair)
        start = int(at[0]) if len(at) else (-1 if n > 0 else 0)
        self.pair = int(self._pairs[(start + n) % len(self._pairs)])

    def _choose_column(self, column: str) -> None:
        if not column:
            self._controls.value.options = []
            self.where = {}
            return
        values = column_values(self.inspection.result, column)
        if len(values) > _MAX_VALUES:
            raise ParameterError(
                f"column {column!r} has {len(values):,} values; at most {_MAX_VALUES:,} can be "
                f"listed. In a notebook, set inspector.where = {{{column!r}: value}}"
            )
        self._syncing = True
        try:
            self._controls.value.options = values
            self._controls.value.value = values[0]
        finally:
            self._syncing = False
        self.where = {column: values[0]}

    def _choose_value(self, value: str | None) -> None:
        if self._controls.column.value and value is not None:
            self.where = {self._controls.column.value: value}

    def _choose_range(self, ends: tuple[int, int]) -> None:
        self.selected = tuple(range(*ends))

    def _send_file(self, message: dict[str, Any]) -> None:
        """Create a file and send it to the browser."""
        kind = str(message.get("file"))
        content, mime = self.file(kind)
        stem = file_stem(
            self.inspection.result,
            pair=self.pair,
            models=self.models,
            bands=self.selected,
            side=cast(Side, self.side),
            operation=cast(Operation, self.operation),
        )
        self._downloads.send_file(content, filename=f"{stem}.{kind}", mime=mime)

    def file(self, kind: str) -> tuple[bytes, str]:
        """Export the current view as a file.

        Parameters
        ----------
        kind
            ``"png"``, ``"svg"``, ``"csv"`` or ``"py"``.

        Returns
        -------
        content : bytes
            Content of the file.
        mime : str
            Media type of the file.

        Raises
        ------
        FreqlabError
            If a network or crop is not available.
        """
        check_name("file", kind, [one["name"] for one in _FILES])
        result = self.inspection.result
        if kind == "py":
            return self.code().encode(), "text/x-python"
        edits = [self.edited(model) for model in self.models]
        if kind == "csv":
            rows = pd.concat([rows_of(result, edited, fmr=self.fmr) for edited in edits])
            return csv_of(rows, index=False).encode(), "text/csv"
        n, influence = len(edits), cast(Kind, self.kind)
        figure = Figure(figsize=(MAX_WIDTH, 4.8 * n))
        for k, edited in enumerate(edits):
            bottom = (n - 1 - k) / n
            ax = figure.add_axes((0.01, bottom + 0.12 / n, 0.98, 0.785 / n))
            spread = self.spread(edited.model)
            inspection_plot(result, edited, kind=influence, fmr=self.fmr, spread=spread, ax=ax)
        target = io.BytesIO()
        figure.savefig(target, format=kind, dpi=200)
        return target.getvalue(), "image/png" if kind == "png" else "image/svg+xml"

    def code(self) -> str:
        """Python code that reproduces the current view."""
        return code_of(
            self.inspection,
            pair=self.pair,
            models=self.models,
            bands=self.selected,
            side=cast(Side, self.side),
            operation=cast(Operation, self.operation),
            kind=cast(Kind, self.kind),
            fmr=self.fmr,
        )

    @property
    def models(self) -> list[str]:
        """The displayed models: one, or two side by side."""
        return [self.model] + ([self.other] if self.other not in ("", self.model) else [])

    @property
    def similarity(self) -> dict[str, float]:
        """Similarity of the edited pair, computed by the network, by model."""
        return {model: self.edited(model).edited_similarity for model in self.models}

    # Updates after a change --------------------------------------------------------------------

    def _on_part(self, change: Any) -> None:
        if change["name"] in ("model", "side", "fmr"):
            self._pairs = self._find_pairs()
        self._show_models()

    def _on_pairs(self, _: Any) -> None:
        self._pairs = self._find_pairs()
        if not len(self._pairs):
            self._sync()
            raise ParameterError(f"no pair of the result matches {self._criteria()}")
        if self.pair == int(self._pairs[0]):
            self._sync()
        self.pair = int(self._pairs[0])

    def _on_pair(self, _: Any) -> None:
        if not self.locked and self.selected:
            self._changing_pair = True  # the new pair updates everything
            try:
                self.selected = ()
            finally:
                self._changing_pair = False
        self._show_pair()

    def _on_bands(self, change: Any) -> None:
        if not self._changing_pair:
            self._show_bands(operation=change["name"] == "operation")

    def _show_models(self) -> None:
        self._panel_row.children = self._panels[: len(self.models)]
        self._syncing = True  # setting options also sets the value
        self._controls.fmr.options = rates_of(self.inspection, self.model)
        self._syncing = False
        for panel, model in zip(self._panels, self.models, strict=False):
            panel.picker.plane = plane_of(self.inspection.result, model=model)
        self._show_pair()

    def _show_pair(self) -> None:
        self._edited.clear()
        self._sync()
        for panel, model in zip(self._panels, self.models, strict=False):
            panel.show_pair(self._view(model), self.spread(model))
        result, part = self.inspection.result, {"pair": self.pair, "side": self.side}
        numbers = model_numbers(result, **part, fmr=self.fmr)  # type: ignore[arg-type]
        self._table.value = html_table(numbers, "By model")
        of_bands = {
            model: band_numbers(result, **part, model=model)  # type: ignore[arg-type]
            for model in self.models
        }
        self._bands_table.value = "".join(
            html_table(table, f"By band, {model}") for model, table in of_bands.items()
        )
        self._show_bands()

    def _show_bands(self, *, operation: bool = False) -> None:
        self._edited.clear()
        shown = list(zip(self._panels, self.models, strict=False))
        for panel, model in shown:  # pictures first, as they need no network
            panel.show_pictures(self._view(model))
        self._sync()
        for panel, model in shown:
            panel.show_verdict(self._view(model), functools.partial(self.edited, model))
            if operation:
                panel.show_drawing(self._view(model), self.spread(model))
        self._code.value = self.code()

    def _view(self, model: str) -> View:
        return View(
            inspection=self.inspection,
            model=model,
            pair=self.pair,
            side=cast(Side, self.side),
            kind=cast(Kind, self.kind),
            operation=cast(Operation, self.operation),
            selected=self.selected,
            fmr=self.fmr,
        )

    def edited(self, model: str) -> Edited:
        """The edited pair, compared by the network of a model."""
        if model not in self._edited:
            self._edited[model] = self.inspection.edit(
                pair=self.pair,
                model=model,
                bands=self.selected,
                side=cast(Side, self.side),
                operation=cast(Operation, self.operation),
            )
        return self._edited[model]

    def spread(self, model: str) -> xr.Dataset:
        """Distribution of influence over the pairs, for the current side."""
        key = (model, self.side)
        if key not in self._spreads:
            result = self.inspection.result
            self._spreads[key] = influence_spread(result, model=model, side=self.side)
        return self._spreads[key]

    def _find_pairs(self) -> npt.NDArray[np.int64]:
        return ordered_pairs(
            self.inspection.result,
            model=self.model,
            side=cast(Side, self.side),
            order=self.order,
            where=self.where,
            fmr=self.fmr,
        )

    def _criteria(self) -> str:
        criteria = [f"{column} = {value}" for column, value in self.where.items()]
        if self.order != "index":
            criteria.append(f"{ORDERS[self.order]!r} at FMR {fmr_text(self.fmr)}")
        return " and ".join(criteria) or "the result"


def explain(error: Exception) -> str:
    """Message of an error; errors that are not from freqlab are preceded by their type."""
    return str(error) if isinstance(error, FreqlabError) else f"{type(error).__name__}: {error}"

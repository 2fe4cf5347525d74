"""The inspector widget: its state in traits, its controls, and one panel per model."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
import traitlets
import xarray as xr
from IPython.core.getipython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure

from freqlab.edits.code import code_of, file_stem
from freqlab.edits.inspection import OPERATIONS, Edited, Inspection, chosen_text
from freqlab.edits.numbers import band_numbers, model_numbers
from freqlab.errors import FreqlabError, ParameterError, check_name
from freqlab.inspector.controls import KINDS, Controls, criteria_text, rates_of, value_of
from freqlab.inspector.drawing import plane_of
from freqlab.inspector.exports import FILES, figure_file, numbers_file, view_figure
from freqlab.inspector.messages import error_html, explain
from freqlab.inspector.panel import Panel, View, html_table
from freqlab.inspector.stills import WITHOUT_STILL, about_html, command_text, still_of
from freqlab.inspector.widgets import Downloads
from freqlab.literals import Kind, Operation, Side
from freqlab.plots.inspection import plane_extent
from freqlab.results.profiles import influence_spread
from freqlab.results.selection import (
    ORDERS,
    column_values,
    default_fmr,
    ordered_pairs,
    pair_columns,
    select_pair,
    threshold_of,
)
from freqlab.results.sentences import describe_pair

__all__ = ["Inspector"]

_STILL_DPI = 120
_MAX_VALUES = 5000  # of a column, to list in a control


class Inspector(widgets.VBox):  # type: ignore[misc]
    """Inspector of a result; its traits are its state, and may be set and observed.

    Parameters
    ----------
    inspection
        The result, with its crops and networks.
    **state
        Initial values of traits.

    Raises
    ------
    ParameterError
        If a value is not in the result.

    Examples
    --------
    >>> import freqlab as fl
    >>> inspector = fl.inspect(fl.testing.influence(), models=[fl.testing.model()])
    >>> type(inspector).__name__
    'Inspector'
    """

    name = traitlets.Unicode()
    """Name of the result; another result of the run can be chosen."""
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
        self._inspections = {inspection.name: inspection}
        self._spreads: dict[tuple[str, str], xr.Dataset] = {}
        self._syncing = self._changing_pair = False
        self._starting = True  # while the traits of another result are set
        self._edited: dict[str, Edited] = {}
        super().__init__()
        self._alert, self._about = widgets.HTML(), widgets.HTML()
        self._table, self._bands_table = widgets.HTML(), widgets.HTML()
        self._code = widgets.Textarea(layout=widgets.Layout(width="100%", height="190px"))
        self._downloads = Downloads(files=FILES)
        self._panels = [Panel(), Panel()]
        self._panel_row = widgets.HBox()
        self._panel_row.add_class("freqlab-panels")
        self.add_class("freqlab-inspector")
        self._connect_panels()
        self.observe(self._on_part, ["model", "other", "side", "kind", "fmr"])
        self.observe(self._on_pairs, ["order", "where"])
        self.observe(self._on_pair, "pair")
        self.observe(self._on_bands, ["selected", "operation"])
        self.observe(self._on_name, "name")
        self._start(inspection, state)

    def _start(self, inspection: Inspection, state: dict[str, Any]) -> None:
        """Show a result, from an initial state."""
        self.inspection = inspection
        self._spreads.clear()
        result = inspection.result
        model = check_name("model", state.get("model", inspection.models[0]), inspection.models)
        defaults = {
            "name": inspection.name,
            "model": model,
            "side": inspection.sides[0],
            "fmr": default_fmr(result, model=model),
            "pair": int(result["pair"].to_numpy()[0]),
        }
        self._starting = True
        try:
            for trait, value in {**defaults, **state}.items():
                setattr(self, trait, value)
        finally:
            self._starting = False
        self._pairs = self._find_pairs()
        self._controls = Controls(inspection, self.model, inspection.names)
        self._connect_controls()
        self._arrange()
        self._sync()
        with self._errors_shown():
            self._show_models()

    def __repr__(self) -> str:
        return (
            f"Inspector of pair {self.pair}, model {self.model!r}, side {self.side!r}. This front "
            f"end does not display widgets. JupyterLab does, if the inspector is the last value of "
            f"a cell (pip install 'freqlab[lab]'); {command_text(self.inspection.result)} "
            f"The traits .pair, .model, .side and .selected work without a display; .similarity "
            f"is the similarity of the edited pair."
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget, and the current view for front ends without widgets."""
        widget = super()._repr_mimebundle_(**kwargs) or {}
        return {**widget, **self._still(), "text/plain": repr(self)}

    def _ipython_display_(self) -> None:
        """Display the widget, and below it a still picture that stays in the saved notebook.

        The widget hides the picture while it is displayed. A front end that cannot find the widget,
        as in a notebook that is opened again, shows the picture.
        """
        widget = super()._repr_mimebundle_() or {}
        show: Callable[..., object] = functools.partial(display, raw=True)
        show({**widget, "text/html": "", "text/plain": repr(self)})
        if getattr(get_ipython(), "kernel", None) and not os.environ.get(WITHOUT_STILL):
            show({**self._still(), "text/plain": ""})

    def _still(self) -> dict[str, str]:
        """The current view by media type, as a picture and as HTML."""
        try:
            png = figure_file(self._figure(), file_format="png", dpi=_STILL_DPI)
        except FreqlabError:  # a network or crop is not available
            png = None
        result = self.inspection.result
        part = {"pair": self.pair, "side": self.side, "fmr": self.fmr}
        descriptions = [
            f"{model}, pair {self.pair}: {describe_pair(result, model=model, **part)}"  # type: ignore[arg-type]
            for model in self.models
        ]
        return still_of(png, descriptions, result, name=self._still_name)

    @property
    def _still_name(self) -> str:
        """Class of the still picture of this inspector in a page."""
        return f"freqlab-still-{self.model_id}"

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

    @traitlets.validate("name")
    def _check_name_of_result(self, proposal: Any) -> str:
        name = str(proposal["value"])
        if name not in self._inspections:
            self._inspections[name] = self.inspection.other(name)
        return name

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
        head = widgets.VBox([self._about, self._alert])
        head.add_class("freqlab-head")
        controls = self._controls
        result = widgets.VBox([controls.of_bands, self._panel_row, details, self._downloads])
        result.add_class("freqlab-result")
        body = widgets.HBox([controls.of_pair, result])
        body.add_class("freqlab-body")
        self.children = [head, body]

    def _connect_controls(self) -> None:
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

    def _connect_panels(self) -> None:
        """Connect what is displayed for every result alike."""
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
        self._alert.value = error_html(text, trace) if text else ""

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
            controls.chosen.value = bands if self.selected else controls.hint
            for panel, _ in self._shown:
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
        shown = value_of(self.inspection.result, column, pair=self.pair)
        self._syncing = True
        try:
            self._controls.value.options = values
            self._controls.value.value = shown
        finally:
            self._syncing = False
        self.where = {column: shown}

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
        check_name("file", kind, [one["name"] for one in FILES])
        if kind == "py":
            return self.code().encode(), "text/x-python"
        if kind == "csv":
            edits = [self.edited(model) for model in self.models]
            return numbers_file(self.inspection.result, edits, fmr=self.fmr), "text/csv"
        mime = "image/png" if kind == "png" else "image/svg+xml"
        return figure_file(self._figure(), file_format=kind), mime

    def _figure(self) -> Figure:
        return view_figure(
            self.inspection.result,
            [self.edited(model) for model in self.models],
            kind=cast(Kind, self.kind),
            fmr=self.fmr,
            spreads={model: self.spread(model) for model in self.models},
        )

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

    def _on_name(self, change: Any) -> None:
        """Show another result, with as much of the view as it has."""
        if self._starting:
            return
        inspection = self._inspections[change["new"]]
        same_bands = inspection.bands == self.inspection.bands
        kept = {
            "model": self.model in inspection.models,
            "other": self.other in ("", *inspection.models),
            "side": self.side in inspection.sides,
            "pair": self.pair in inspection.result["pair"].to_numpy(),
            "fmr": bool(np.isclose(inspection.result["fmr"].to_numpy(), self.fmr).any()),
        }
        state = {"where": {}, "other": "", "selected": self.selected if same_bands else ()}
        state |= {trait: getattr(self, trait) for trait, is_kept in kept.items() if is_kept}
        self._start(inspection, state)

    def _on_part(self, change: Any) -> None:
        if self._starting:
            return
        if change["name"] in ("model", "side", "fmr"):
            self._pairs = self._find_pairs()
        self._show_models()

    def _on_pairs(self, change: Any) -> None:
        if self._starting:
            return
        self._pairs = self._find_pairs()
        if not len(self._pairs):
            self._sync()
            raise ParameterError(f"no pair of the result matches {self._criteria()}")
        if self.pair == int(self._pairs[0]) or (
            change["name"] == "where" and self.pair in self._pairs
        ):
            self._sync()
        else:
            self.pair = int(self._pairs[0])

    def _on_pair(self, _: Any) -> None:
        if self._starting:
            return
        if not self.locked and self.selected:
            self._changing_pair = True  # the new pair updates everything
            try:
                self.selected = ()
            finally:
                self._changing_pair = False
        self._show_pair()

    def _on_bands(self, change: Any) -> None:
        if not (self._changing_pair or self._starting):
            self._show_bands(operation=change["name"] == "operation")

    @property
    def _shown(self) -> list[tuple[Panel, str]]:
        """The displayed panels and their models."""
        return list(zip(self._panels, self.models, strict=False))

    def _show_models(self) -> None:
        self._panel_row.children = [panel for panel, _ in self._shown]
        self._syncing = True  # setting options also sets the value
        self._controls.fmr.options = rates_of(self.inspection, self.model)
        self._syncing = False
        self._about.value = about_html(self.inspection, still=self._still_name)
        extent = plane_extent(self.inspection.result, self.models)
        for panel, model in self._shown:
            panel.picker.plane = plane_of(self.inspection.result, model=model, extent=extent)
        self._show_pair()

    def _show_pair(self) -> None:
        self._edited.clear()
        self._sync()
        for panel, model in self._shown:
            panel.show_pair(self._view(model), self.spread(model))
        result, part = self.inspection.result, {"pair": self.pair, "side": self.side}
        numbers = model_numbers(result, **part, fmr=self.fmr)  # type: ignore[arg-type]
        self._table.value = html_table(numbers, "By model")
        self._bands_table.value = "".join(
            html_table(band_numbers(result, **part, model=model), f"By band, {model}")  # type: ignore[arg-type]
            for model in self.models
        )
        self._show_bands()

    def _show_bands(self, *, operation: bool = False) -> None:
        self._edited.clear()
        for panel, model in self._shown:  # pictures first, as they need no network
            panel.show_face(self._view(model))
        sys.stdout.flush()  # a kernel sends the face now; later, its sending thread has to wait
        for panel, model in self._shown:
            panel.show_details(self._view(model))
        self._sync()
        for panel, model in self._shown:
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
            extent=plane_extent(self.inspection.result, self.models),
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
        return criteria_text(self.where, self.order, fmr=self.fmr)

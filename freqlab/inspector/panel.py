"""The part of the inspector for one model: decision, pictures, bands and a description."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import pandas as pd
import xarray as xr

from freqlab.edits.inspection import Edited, EditedFace, Inspection
from freqlab.errors import FreqlabError
from freqlab.inspector.drawing import (
    detail_pictures,
    drawing_of,
    edited_picture,
    original_pictures,
    verdict_html,
)
from freqlab.inspector.widgets import BandPicker, Pictures
from freqlab.literals import Kind, Operation, Side
from freqlab.results.selection import select_pair
from freqlab.results.sentences import describe_pair

__all__ = ["Panel", "View", "html_table"]


@dataclass(frozen=True)
class View:
    """A view of one model: a pair, its masked side, and the selected bands."""

    inspection: Inspection
    model: str
    pair: int
    side: Side
    kind: Kind
    operation: Operation
    selected: tuple[int, ...]
    fmr: float
    extent: float
    """Highest frequency of the frequency plane."""


class Panel(widgets.VBox):  # type: ignore[misc]
    """Widgets that show a view of one model."""

    def __init__(self) -> None:
        self.verdict, self.sentence = widgets.HTML(), widgets.HTML()
        self.pictures, self.picker = Pictures(), BandPicker()
        layout = widgets.Layout(flex="1 1 340px", min_width="0")
        super().__init__([self.verdict, self.pictures, self.picker, self.sentence], layout=layout)

    def show_pair(self, view: View, spread: xr.Dataset) -> None:
        """Show both faces, the bands and the description of a pair."""
        result, pair, model, side = view.inspection.result, view.pair, view.model, view.side
        data = select_pair(result, pair=pair, model=model, side=side)
        names = {role: str(data[role].item()) for role in ("probe", "reference")}
        self.show_drawing(view, spread)
        description = describe_pair(result, pair=pair, model=model, side=side, fmr=view.fmr)
        self.sentence.value = (
            f'<p style="line-height:1.4;margin:4px 0">{html.escape(description)}</p>'
        )
        try:
            crops = {role: view.inspection.crop(face, model=model) for role, face in names.items()}
        except FreqlabError:
            self.pictures.originals = self.pictures.edited = self.pictures.details = []
            self.verdict.value = ""
            raise
        self.pictures.originals = original_pictures(crops, names)

    def show_drawing(self, view: View, spread: xr.Dataset) -> None:
        """Draw the frequency plane and the profile."""
        self.picker.drawing = drawing_of(
            view.inspection.result,
            spread,
            pair=view.pair,
            model=view.model,
            side=view.side,
            kind=view.kind,
            operation=view.operation,
            extent=view.extent,
        )

    def show_face(self, view: View) -> None:
        """Show the edited face; this needs no network."""
        self.pictures.edited = [
            edited_picture(
                view.inspection.result,
                _faces_of(view),
                bands=view.selected,
                operation=view.operation,
            )
        ]

    def show_details(self, view: View) -> None:
        """Show the selected bands alone and the difference from the original face."""
        self.pictures.details = detail_pictures(
            view.inspection.result, _faces_of(view), bands=view.selected, operation=view.operation
        )

    def show_verdict(self, view: View, edit: Callable[[], Edited]) -> None:
        """Show the decision on the edited pair, which `edit` computes with the network."""
        try:
            edited = edit()
        except FreqlabError:
            self.verdict.value = ""
            raise
        self.verdict.value = verdict_html(view.inspection.result, edited, fmr=view.fmr)


def _faces_of(view: View) -> dict[str, EditedFace]:
    """Edited faces of a view, by role."""
    return view.inspection.faces(
        pair=view.pair,
        model=view.model,
        bands=view.selected,
        side=view.side,
        operation=view.operation,
    )


def html_table(table: pd.DataFrame, caption: str) -> str:
    """Convert a table to HTML, with a caption."""
    styled = (
        table.reset_index()
        .style.hide(axis="index")
        .format(lambda v: f"{v:.4f}" if isinstance(v, float) and np.isfinite(v) else str(v))
        .set_caption(caption)
        .set_table_styles(
            [
                {"selector": "caption", "props": "text-align:left;font-weight:bold;padding:6px 0"},
                {
                    "selector": "th, td",
                    "props": "text-align:left;padding:1px 16px 1px 0;line-height:1.3",
                },
            ]
        )
    )
    return str(styled.to_html())

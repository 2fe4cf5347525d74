"""What the inspector shows of one model: verdict, pictures, bands to choose, a sentence."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
import pandas as pd

from freqlab.errors import FreqlabError
from freqlab.inspector.drawing import drawing_of, edit_pictures, original_pictures, verdict_html
from freqlab.inspector.widgets import BandPicker, Pictures
from freqlab.selection import select_pair
from freqlab.sentences import describe_pair

if TYPE_CHECKING:
    from freqlab.inspector.app import Inspector

__all__ = ["Panel", "html_table"]


class Panel(widgets.VBox):  # type: ignore[misc]
    """What is shown of one model."""

    def __init__(self, inspector: Inspector) -> None:
        self._of = inspector
        self.verdict, self.sentence = widgets.HTML(), widgets.HTML()
        self.pictures, self.picker = Pictures(), BandPicker()
        layout = widgets.Layout(flex="1 1 470px", min_width="0", margin="0 12px 0 0")
        super().__init__([self.verdict, self.pictures, self.picker, self.sentence], layout=layout)

    def show_pair(self, model: str) -> None:
        """Both faces, the bands and the sentence of a pair."""
        of = self._of
        data = select_pair(of.inspection.result, pair=of.pair, model=model, side=of.side)
        names = {role: str(data[role].item()) for role in ("probe", "reference")}
        self.show_drawing(model)
        said = describe_pair(
            of.inspection.result, pair=of.pair, model=model, side=of.side, fmr=of.fmr
        )
        self.sentence.value = f'<p style="line-height:1.4;margin:4px 0">{html.escape(said)}</p>'
        try:
            crops = {role: of.inspection.crop(face, model=model) for role, face in names.items()}
        except FreqlabError:
            self.pictures.originals = self.pictures.edits = []
            self.verdict.value = ""
            raise
        self.pictures.originals = original_pictures(crops, names)

    def show_drawing(self, model: str) -> None:
        """The plane and the profile."""
        of = self._of
        self.picker.drawing = drawing_of(
            of.inspection.result,
            of.spread(model),
            pair=of.pair,
            model=model,
            side=of.side,
            kind=of.kind,
            operation=of.operation,
        )

    def show_pictures(self, model: str) -> None:
        """The edited face; needs no network."""
        of = self._of
        faces = of.inspection.faces(
            pair=of.pair,
            model=model,
            bands=of.selected,
            side=of.side,
            operation=of.operation,
        )
        self.pictures.edits = edit_pictures(
            of.inspection.result, faces, bands=of.selected, operation=of.operation
        )

    def show_verdict(self, model: str) -> None:
        """What the network says to the edited pair."""
        of = self._of
        try:
            edited = of.edited(model)
        except FreqlabError:
            self.verdict.value = ""
            raise
        self.verdict.value = verdict_html(of.inspection.result, edited, fmr=of.fmr)


def html_table(table: pd.DataFrame, caption: str) -> str:
    """A table of numbers as HTML, with its caption."""
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

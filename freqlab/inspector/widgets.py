"""Widgets for selecting bands, for pictures with alternative texts, and for downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

__all__ = ["BandPicker", "BandSlider", "Downloads", "Pictures"]

_FRONTEND = Path(__file__).parent / "frontend"


class BandPicker(anywidget.AnyWidget):
    """Frequency plane and profile of a pair, in which bands are selected by pointer or keyboard.

    In the profile, arrow keys move between bands, space or enter selects or deselects a band, shift
    with an arrow key or a click selects a range, and escape clears the selection.
    """

    _esm = _FRONTEND / "band_picker.js"
    _css = _FRONTEND / "band_picker.css"

    plane = traitlets.Dict().tag(sync=True)
    """``height``, ``width`` and ``labels``: see :func:`freqlab.inspector.drawing.plane_of`."""
    drawing = traitlets.Dict().tag(sync=True)
    """Contents: see :func:`freqlab.inspector.drawing.drawing_of`."""
    selected = traitlets.List(traitlets.Int()).tag(sync=True)
    """Numbers of the selected bands, ascending."""


class BandSlider(ipywidgets.SelectionRangeSlider):  # type: ignore[misc]
    """Slider for a range of bands, whose position is not echoed to the browser that sent it.

    An echo would be sent, received and drawn before the pictures that follow.
    """

    index = traitlets.Tuple((0, 0)).tag(sync=True, echo_update=False)


class Pictures(anywidget.AnyWidget):
    """Pictures in a row: ``originals`` of the pair, the ``edited`` face, and its ``details``.

    The edited face is a trait of its own, so that it can be sent before the details are drawn.
    Each picture is a dict of ``png`` (bytes), ``caption`` and ``alt``. Where ``png`` is empty,
    ``alt`` is written in place of a picture.
    """

    _esm = _FRONTEND / "pictures.js"
    _css = _FRONTEND / "pictures.css"

    originals: traitlets.List[Any] = traitlets.List().tag(sync=True)
    edited: traitlets.List[Any] = traitlets.List().tag(sync=True)
    details: traitlets.List[Any] = traitlets.List().tag(sync=True)


class Downloads(anywidget.AnyWidget):
    """Buttons for files that are created on a click and downloaded by the browser.

    ``files`` is a list of dicts with ``name``, ``label`` and ``hint``; a click sends
    ``{"file": name}``. This widget, of which an inspector has one, also brings the style sheet of
    the inspector as a whole.
    """

    _esm = _FRONTEND / "downloads.js"
    _css = _FRONTEND / "inspector.css"

    files: traitlets.List[Any] = traitlets.List().tag(sync=True)

    def send_file(self, content: bytes, *, filename: str, mime: str) -> None:
        """Send a file to the browser as a download."""
        self.send({"filename": filename, "type": mime}, [content])

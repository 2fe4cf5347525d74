"""The small widgets that ipywidgets lacks: bands to click, pictures with alt texts, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

__all__ = ["BandPicker", "Downloads", "Pictures"]

_FRONTEND = Path(__file__).parent / "frontend"


class BandPicker(anywidget.AnyWidget):
    """The plane of frequencies and the profile of a pair, whose bands are chosen by click or key.

    In the profile, arrow keys walk through the bands, space or enter chooses one or lets it go,
    shift with an arrow or a click chooses those between, escape lets all go.
    """

    _esm = _FRONTEND / "band_picker.js"
    _css = _FRONTEND / "band_picker.css"

    plane = traitlets.Dict().tag(sync=True)
    """``height``, ``width`` and ``labels``: see :func:`freqlab.inspector.drawing.plane_of`."""
    drawing = traitlets.Dict().tag(sync=True)
    """What is drawn: see :func:`freqlab.inspector.drawing.drawing_of`."""
    selected = traitlets.List(traitlets.Int()).tag(sync=True)
    """The chosen bands, increasing."""


class Pictures(anywidget.AnyWidget):
    """Pictures in a row: ``originals``, which stay with a pair, and ``edits``, which do not.

    Each is a dict of ``png`` (bytes), ``caption`` and ``alt``.
    """

    _esm = _FRONTEND / "pictures.js"
    _css = _FRONTEND / "pictures.css"

    originals: traitlets.List[Any] = traitlets.List().tag(sync=True)
    edits: traitlets.List[Any] = traitlets.List().tag(sync=True)


class Downloads(anywidget.AnyWidget):
    """Buttons for files that are made when one is clicked, and kept by the browser.

    ``files`` lists a dict of ``name``, ``label`` and ``hint`` for each; a click sends
    ``{"file": name}``.
    """

    _esm = _FRONTEND / "downloads.js"

    files: traitlets.List[Any] = traitlets.List().tag(sync=True)

    def give(self, content: bytes, *, filename: str, mime: str) -> None:
        """Send a file to the browser, which keeps it as any download."""
        self.send({"filename": filename, "type": mime}, [content])

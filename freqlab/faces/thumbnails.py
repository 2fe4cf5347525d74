"""Faces in a notebook: their number, missing photographs, and some rows with thumbnails."""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.images.decoding import decode_small
from freqlab.text.html import box, facts, image, rows
from freqlab.text.shown import as_html, one_line

if TYPE_CHECKING:
    from freqlab.faces.table import Faces

__all__ = ["faces_html"]

_ROWS = 8  # shown: half of them from the start of the table, half from its end
_COLUMNS = 6  # of metadata
_HEIGHT = 64  # of a thumbnail, in pixels
_LONGEST_SIDE = 96  # of a thumbnail, in pixels
_LARGEST_FILE = 50_000_000  # bytes of a photograph that is read for a thumbnail
_PATIENCE = 0.5  # seconds for looking for files, and for thumbnails


def faces_html(faces: Faces) -> str:
    """Show a face set: counts, notes, and a table of some rows with thumbnails.

    Photographs that are missing or cannot be read are named as such. The time and the size of the
    output are bounded for face sets of any size.
    """
    n = len(faces)
    numbers: list[int | None] = list(range(n))
    if n > _ROWS:
        numbers = [*range(_ROWS // 2), None, *range(n - _ROWS // 2, n)]
    table = faces.table
    others = [j for j, name in enumerate(table.columns) if name not in ("subject", "path")]
    columns = [list(table.columns).index("subject"), *others[:_COLUMNS]]
    n_more = max(0, len(others) - _COLUMNS)
    header = ["face", *(str(table.columns[j]) for j in columns)]
    header += [f"and {n_more} more"] if n_more else []
    until = time.monotonic() + _PATIENCE
    cells: list[list[object] | None] = []
    pictures = []
    for i in numbers:
        pictures.append("" if i is None else _thumbnail(faces, i, until))
        if i is None:
            cells.append(None)
            continue
        values = [table.index[i], *(table.iloc[i, j] for j in columns)]
        cells.append([*map(_text, values), *([""] if n_more else [])])
    n_subjects = table["subject"].nunique()
    people = f": {n:,} face{'s' * (n != 1)} of {n_subjects:,} subject{'s' * (n_subjects != 1)}"
    about = {**_counts(faces), "credit": faces.credit, "notes": "; ".join(faces.notes)}
    return box(faces.name, facts(about), rows(header, cells, pictures), about=people)


def _counts(faces: Faces) -> dict[str, str]:
    """Number of faces by status, and template."""
    counts = {
        "photographs": _files(faces),
        "degraded": f"{int(faces.degraded.sum()):,}" if faces.degraded.any() else "",
        "left out": f"{faces.left_out:,}" if faces.left_out else "",
        "aligned to": faces.aligned or "",
        "landmarks": "",
    }
    if faces.landmarks is not None:
        given = int(np.isfinite(faces.landmarks).all(axis=(1, 2)).sum())
        n_left = len(faces) - given
        counts["landmarks"] = f"{given:,} given" + (f", {n_left:,} to be detected" * bool(n_left))
    return counts


def _files(faces: Faces) -> str:
    """Number of photographs that are there and that are missing."""
    n = len(faces)
    if faces.images is not None:
        return f"{n:,} in memory"
    until, n_missing = time.monotonic() + _PATIENCE, 0
    for i, path in enumerate(faces.table["path"]):
        n_missing += not _is_file(path)
        if i % 64 == 63 and time.monotonic() > until and i + 1 < n:
            return f"{n:,}; of the first {i + 1:,}, {n_missing:,} are missing"
    return f"{n - n_missing:,} present" + (f", {n_missing:,} missing" if n_missing else "")


def _is_file(path: object) -> bool:
    try:
        return os.path.isfile(os.fspath(path))  # type: ignore[call-overload]
    except (OSError, TypeError, ValueError):  # a name that no file can have
        return False


def _thumbnail(faces: Faces, position: int, until: float) -> str:
    """HTML of the thumbnail of a face, or of the reason why there is none."""
    if time.monotonic() > until:
        return "…"
    try:
        pixels = _small_image(faces, position)
        content = _encoded(pixels)
    except Exception as error:  # a repr never raises; decoders can raise anything
        return as_html(_reason(error))
    height = min(_HEIGHT, pixels.shape[0])
    return image(content, "jpeg", height=height, alt=str(faces.table.index[position]))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, _TooLargeError):
        return "large file"
    return f"unreadable image: {one_line(error, 60)}"


class _TooLargeError(Exception):
    """A photograph is not read for a thumbnail."""


def _small_image(faces: Faces, position: int) -> npt.NDArray[np.uint8]:
    """RGB or grey pixels of a face, reduced."""
    if faces.images is not None:
        pixels = np.asarray(faces.images[position])
        return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    path = faces.table["path"].iloc[position]
    if _is_file(path) and os.path.getsize(path) > _LARGEST_FILE:
        raise _TooLargeError
    return decode_small(faces.content(position), _LONGEST_SIDE)


def _encoded(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A thumbnail as a JPEG file."""
    from PIL import Image

    small = Image.fromarray(np.ascontiguousarray(pixels))
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=75)
    return file.getvalue()


def _text(value: Any) -> str:
    """A cell as text; empty where it is missing."""
    missing = pd.isna(value) if pd.api.types.is_scalar(value) else False
    return "" if missing else str(value)

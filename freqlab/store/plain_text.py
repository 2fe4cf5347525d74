"""Text of a store as UTF-8 bytes, for programs without a data type for text.

The core of Zarr 3 defines numbers only; text is an extension that Python, Julia and JavaScript
read, and TensorStore does not. So each array of text has a twin of bytes beside it, named
``<name>_utf8``, with one row per text, padded with zero bytes. freqlab and xarray read the text;
the twin is written with it, and is never read back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.store.chunks import ALL_CHUNKS, arrays_of, compressors, longer, opened, read
from freqlab.store.digests import in_one_piece

__all__ = [
    "create_twin",
    "is_twin",
    "renew_twins",
    "require_twins",
    "texts_of",
    "twin_name",
    "utf8_rows",
    "write_twin",
]

_STEP = 64  # bytes; the width of a twin is a multiple
_ROWS_AT_ONCE = 65536


def twin_name(name: str) -> str:
    """Name of the twin of an array of text."""
    return f"{name}_utf8"


def is_twin(array: zarr.Array[Any]) -> bool:
    """Whether an array holds the bytes of another array's text."""
    return "text_of" in array.attrs


def utf8_rows(values: npt.NDArray[Any], width: int | None = None) -> npt.NDArray[np.uint8]:
    """Texts as rows of UTF-8 bytes ``(n, width)``, padded with zero bytes.

    Parameters
    ----------
    values
        Texts ``(n,)``.
    width
        Bytes of a row; by default the length of the longest, rounded up to a multiple of 64.
    """
    encoded = [str(value).encode("utf-8", "replace") for value in values.tolist()]
    longest = max(map(len, encoded), default=0)
    width = max(width or 0, -(-max(longest, 1) // _STEP) * _STEP)
    return np.array(encoded, f"S{width}").view(np.uint8).reshape(len(encoded), width)


def create_twin(
    group: zarr.Group, text: zarr.Array[Any], values: npt.NDArray[Any] | None = None
) -> zarr.Array[Any] | None:
    """Create the twin of a one-dimensional array of text, with its content.

    Parameters
    ----------
    group
        Group of the array.
    text
        The array.
    values
        Its content; read in parts if not given.

    Returns
    -------
    zarr.Array or None
        None if the user has an array of that name.
    """
    name = text.basename
    own = twin_name(name) in group and not is_twin(opened(group, twin_name(name)))
    if own or text.ndim != 1:
        return None
    dims: Any = text.metadata.dimension_names  # type: ignore[union-attr]
    width = _STEP if values is None else utf8_rows(values).shape[1]
    twin = group.create_array(
        twin_name(name),
        shape=(text.shape[0], width),
        chunks=(text.chunks[0], width),
        dtype="uint8",
        fill_value=0,
        dimension_names=(dims[0], f"{name}_byte"),
        attributes={
            "text_of": name,
            "long_name": f"{name} as UTF-8",
            "comment": "bytes of the text of that name, for programs that cannot read it; zero "
            "bytes behind it are no part of it",
        },
        compressors=compressors(True),
        config=ALL_CHUNKS,
    )
    for start in range(0, text.shape[0], _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, text.shape[0]))
        twin = write_twin(twin, part, read(text, part) if values is None else values[part])
    return twin


def write_twin(twin: zarr.Array[Any], rows: slice, values: npt.NDArray[Any]) -> zarr.Array[Any]:
    """Write texts as bytes into rows of a twin, widened if necessary; return it."""
    encoded = utf8_rows(values, twin.shape[1])
    before = twin.shape[1]
    if encoded.shape[1] > before:
        step = twin.chunks[1]
        wide = -(-encoded.shape[1] // step) * step
        if twin.shape[0]:  # written before resizing, because a missing chunk counts as lost data
            longer(twin, (twin.shape[0], wide))[:, before:] = 0
        twin.resize((twin.shape[0], wide))
        encoded = utf8_rows(values, wide)
    with in_one_piece(twin.store_path.store):
        twin[rows] = encoded
    return twin


def require_twins(group: zarr.Group) -> None:
    """Create the twins that the texts of a group lack, as in stores of earlier versions."""
    for name in texts_of(group):
        if twin_name(name) not in group:
            create_twin(group, opened(group, name))


def texts_of(group: zarr.Group) -> list[str]:
    """Names of the arrays of text in a group."""
    return [name for name, array in arrays_of(group).items() if array.dtype.kind == "T"]


def renew_twins(group: zarr.Group) -> None:
    """Rewrite the twins of a group that differ from their texts after edits by other programs."""
    for name in texts_of(group):
        if twin_name(name) not in group or not is_twin(opened(group, twin_name(name))):
            continue
        text, twin = opened(group, name), opened(group, twin_name(name))
        if twin.shape[0] != text.shape[0]:
            twin.resize((text.shape[0], twin.shape[1]))
        for start in range(0, text.shape[0], _ROWS_AT_ONCE):
            part = slice(start, min(start + _ROWS_AT_ONCE, text.shape[0]))
            values = read(text, part)
            if not np.array_equal(utf8_rows(values, twin.shape[1]), read(twin, part)):
                twin = write_twin(twin, part, values)

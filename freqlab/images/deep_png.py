"""Colour PNG files of 16 bits per sample, of which Pillow keeps the upper eight only.

Read according to the specification (ISO/IEC 15948): chunks, deflate, the five filters, Adam7. A
filtered byte depends on those to its left and above, so bytes are restored along diagonals, one
column of rows at a time.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["read_deep_png"]

_CHANNELS = {2: 3, 4: 2, 6: 4}  # by colour type
# First column, first row, column step and row step of the Adam7 passes.
_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
_ADAM7 += [(0, 1, 1, 2)]


def read_deep_png(content: bytes) -> npt.NDArray[np.uint16]:
    """Read the samples of a 16-bit PNG file.

    Parameters
    ----------
    content
        The file; its first chunk is its header, and chunks are intact unless damaged.

    Returns
    -------
    numpy.ndarray
        ``(height, width, channel)``: grey and opacity, RGB, or RGB and opacity.

    Raises
    ------
    OSError
        If the file is damaged.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    if depth != 16 or colour not in _CHANNELS:
        raise OSError(f"a PNG file of depth {depth} and colour type {colour}")
    n_channels = _CHANNELS[colour]
    whole = np.zeros((height, width, n_channels), np.uint16)
    passes = _ADAM7 if interlaced else [(0, 0, 1, 1)]
    parts = [whole[y::dy, x::dx] for x, y, dx, dy in passes]
    parts = [part for part in parts if part.size]
    sizes = [part.shape[0] * (1 + 2 * n_channels * part.shape[1]) for part in parts]
    data, at = _inflated(content, sum(sizes)), 0
    for part, size in zip(parts, sizes, strict=True):
        lines = data[at : at + size].reshape(part.shape[0], -1)
        restored = _unfiltered(lines[:, 0], lines[:, 1:].reshape(*part.shape[:2], -1))
        part[...] = restored.view(">u2").reshape(part.shape)
        at += size
    return whole


def _inflated(content: bytes, size: int) -> npt.NDArray[np.uint8]:
    """Decompress the filtered samples: `size` bytes, however many the file holds."""
    packed, at = [], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if kind == b"IDAT":
            data = content[at + 8 : end - 4]
            if (
                end > len(content)
                or zlib.crc32(kind + data).to_bytes(4, "big") != (content[end - 4 : end])
            ):
                raise OSError("damaged image: a chunk of its pixels is broken or cut off")
            packed.append(data)
        at = end
    try:
        data = zlib.decompressobj().decompress(b"".join(packed), size)
    except zlib.error as error:
        raise OSError(f"damaged image: {error}") from error
    if len(data) < size:
        raise OSError("damaged image: its pixels are cut off")
    return np.frombuffer(data, np.uint8)


def _unfiltered(
    kinds: npt.NDArray[np.uint8], filtered: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Undo the filters of lines ``(line, pixel, byte)``, whose `kinds` are ``(line,)``."""
    if kinds.max() > 4:
        raise OSError(f"damaged image: there is no filter {kinds.max()}")
    n_lines, n_pixels, n_bytes = filtered.shape
    # zero padding: a line above and a pixel to the left
    done = np.zeros((n_lines + 1, n_pixels + 1, n_bytes), np.uint8)
    all_lines, kinds = np.arange(n_lines), kinds[:, None]
    for step in range(n_lines + n_pixels - 1):
        first, last = max(0, step - n_pixels + 1), min(n_lines, step + 1)
        lines = all_lines[first:last]
        pixels, kind = step - lines, kinds[first:last]
        left = done[lines + 1, pixels].astype(np.int16)
        above = done[lines, pixels + 1].astype(np.int16)
        corner = done[lines, pixels].astype(np.int16)
        ahead = np.where(kind == 1, left, 0)
        ahead = np.where(kind == 2, above, ahead)
        ahead = np.where(kind == 3, (left + above) // 2, ahead)
        if (kind == 4).any():
            ahead = np.where(kind == 4, _paeth(left, above, corner), ahead)
        done[lines + 1, pixels + 1] = (filtered[lines, pixels] + ahead).astype(np.uint8)
    return np.ascontiguousarray(done[1:, 1:])


def _paeth(
    left: npt.NDArray[np.int16], above: npt.NDArray[np.int16], corner: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    """Return the neighbour nearest to left + above - corner; ties in this order."""
    to_left, to_above = np.abs(above - corner), np.abs(left - corner)
    to_corner = np.abs(left + above - 2 * corner)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)

"""Read numbers, texts and tensors in dlib's serialisation format.

An integer is a control byte (its low four bits say how many bytes follow, its high bit that the
number is negative) and its little-endian bytes; a floating-point number is two such integers,
mantissa and exponent of two; a text is its length and its bytes.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from freqlab.errors import WeightsError

__all__ = ["DlibReader", "find_dlib_file"]

_PACKAGE = "face_recognition_models"


def find_dlib_file(name: str) -> Path | None:
    """Return the path of a file of the ``face_recognition_models`` package; None if not installed.

    The package is not imported, because it needs a removed part of setuptools.
    """
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0], "models", name)
    return path if path.is_file() else None


class DlibReader:
    """Reads a file that dlib's ``serialize`` wrote, from its beginning.

    Parameters
    ----------
    content
        The bytes of the file.
    name
        Name of the file in error messages.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._content = content
        self._name = name
        self.position = 0

    @property
    def at_end(self) -> bool:
        """Whether everything was read."""
        return self.position >= len(self._content)

    def integer(self) -> int:
        """Read an integer."""
        content, position = self._content, self.position
        try:
            control = content[position]
        except IndexError:
            raise self.fault("it is truncated") from None
        self.position = end = position + 1 + (control & 0x0F)
        if end > len(content):
            raise self.fault("it is truncated")
        value = int.from_bytes(content[position + 1 : end], "little")
        return -value if control & 0x80 else value

    def number(self) -> float:
        """Read a floating-point number."""
        mantissa, exponent = self.integer(), self.integer()
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError:
            raise self.fault(f"it holds the number {mantissa} * 2 ** {exponent}") from None

    def numbers(self, count: int) -> npt.NDArray[np.float32]:
        """Read `count` floating-point numbers, one after the other."""
        values = np.array([self.number() for _ in range(self._plausible(count))], np.float64)
        if (np.abs(values) > np.finfo(np.float32).max).any():
            raise self.fault("it holds numbers beyond single precision")
        return values.astype(np.float32)

    def matrix(self) -> npt.NDArray[np.float32]:
        """Read a matrix of numbers: its rows and columns, negated, and its values."""
        rows, columns = (self._plausible(-self.integer()) for _ in range(2))
        return self.numbers(rows * columns).reshape(rows, columns)

    def length(self) -> int:
        """Read the length of a list whose items follow."""
        return self._plausible(self.integer())

    def tensor(self) -> npt.NDArray[np.float32]:
        """Read a tensor: a version, four lengths, and raw single-precision values."""
        version = self.integer()
        if version != 2:
            raise self.fault(f"it holds a tensor of version {version}, not 2")
        shape = tuple(self._plausible(self.integer()) for _ in range(4))
        n_bytes = 4 * self._plausible(int(np.prod(shape, dtype=object)))
        start, self.position = self.position, self.position + n_bytes
        if self.position > len(self._content):
            raise self.fault("it is truncated")
        return np.frombuffer(self._content, "<f4", n_bytes // 4, start).reshape(shape)

    def seek(self, tag: bytes) -> None:
        """Move to the position after the next text equal to `tag`."""
        text = bytes([1, len(tag)]) + tag
        index = self._content.find(text, self.position)
        if index < 0:
            raise self.fault(f"it lacks a layer {tag.decode()!r}, or is truncated")
        self.position = index + len(text)

    def fault(self, what: str) -> WeightsError:
        """Make an error that names the file."""
        return WeightsError(f"{self._name} cannot be read as a file of dlib: {what}")

    def _plausible(self, count: int) -> int:
        if not 0 <= count <= len(self._content):
            raise self.fault(f"it announces {count} values")
        return count

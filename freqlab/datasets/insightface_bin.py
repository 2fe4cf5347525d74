"""The ``.bin`` files of insightface's verification sets.

Such a file is a pickle of two lists: encoded images, two per pair, and whether each pair is
genuine. A pickle can name any callable; this reader substitutes inert stand-ins for the few names
that bytes and numpy arrays need, and refuses all others.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.errors import FaceSetError, ParameterError, UnsafePickleError
from freqlab.faces.table import Faces, decode_image
from freqlab.images.templates import template
from freqlab.unpickling import RestrictedUnpickler

__all__ = ["BinPairs", "load_bin", "read_bin"]


@dataclass(frozen=True, eq=False)
class BinPairs:
    """Contents of a ``.bin`` file.

    Parameters
    ----------
    images
        The distinct encoded images.
    pairs
        Positions of the first and the second image of each pair ``(pair, 2)``.
    genuine
        Whether each pair is genuine ``(pair,)``.
    """

    images: list[bytes]
    pairs: npt.NDArray[np.int64]
    genuine: npt.NDArray[np.bool_]

    @property
    def names(self) -> list[str]:
        """Names of the images: their index, ``"00000"`` the first."""
        return [f"{i:05d}" for i in range(len(self.images))]


def load_bin(root: str | os.PathLike[str] | None, aligned: str | None = None) -> Faces:
    """Load an insightface ``.bin`` file: aligned crops, 112x112 by insightface's template.

    A photograph that occurs in several pairs is one face. Such files do not give identities:
    **subjects are the connected components of the genuine pairs**. Faces that no chain of
    genuine pairs joins count as different people, although they may show the same person. Use the
    pairs that the file declares (:func:`freqlab.datasets.protocols.read_pairs`), and treat
    statements over all impostor comparisons of the set with caution.

    Images stay encoded in memory (the file's size, tens of megabytes) and are decoded on each
    access; each is also decoded once here, to verify it.

    Parameters
    ----------
    root
        The file.
    aligned
        Template to which the images are aligned, if not ``"arcface"``.

    Raises
    ------
    FaceSetError
        If the file is not of this kind, or an image cannot be decoded or differs in size from the
        template.
    UnsafePickleError
        If the pickle names anything that such a file does not need. None of it is executed.
    """
    if root is None:
        raise ParameterError("faces 'bin' needs root=, the .bin file")
    content = read_bin(root)
    name = aligned or "arcface"
    size = template(name).size
    images = _EncodedImages(content.images)
    table = pd.DataFrame(
        {"subject": _subjects(content)}, index=pd.Index(content.names, name="face", dtype=object)
    )
    try:
        image_size = images[0].shape[:2]
        faces = Faces(table, images=images, aligned=name, name=Path(root).stem)
    except OSError as error:
        raise FaceSetError(
            f"{os.fspath(root)} contains an entry that is not an image: {error}"
        ) from error
    if image_size != size:
        raise FaceSetError(
            f"{os.fspath(root)}: its images are {image_size[0]} x {image_size[1]} pixels; crops of "
            f"the template {name!r} are {size[0]} x {size[1]}"
        )
    return faces


def read_bin(path: str | os.PathLike[str]) -> BinPairs:
    """Read a ``.bin`` file without executing the pickle.

    Raises
    ------
    FaceSetError
        If the file is not of this kind.
    UnsafePickleError
        If the pickle names anything but bytes and arrays of whole numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise FaceSetError(f"{os.fspath(path)}: no such .bin file")
    try:
        with file.open("rb") as stream:
            unpickler = RestrictedUnpickler(
                stream, _ADMITTED, contents="bytes and arrays of whole numbers", encoding="bytes"
            )
            content = unpickler.load()
        return _pairs_of(content)
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{file}: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise FaceSetError(f"{file} is not an insightface .bin file: {error}") from error


def _pairs_of(content: object) -> BinPairs:
    if not isinstance(content, (tuple, list)) or len(content) != 2:
        raise ValueError(f"expected (images, issame), found {_kind(content)}")
    encoded = [_image(item, i) for i, item in enumerate(_list(content[0]))]
    genuine = [_flag(item, i) for i, item in enumerate(_list(content[1]))]
    if not genuine or len(encoded) != 2 * len(genuine):
        raise ValueError(f"{len(encoded)} images for {len(genuine)} pairs; expected two for each")
    codes, distinct = pd.factorize(np.array(encoded, object))
    return BinPairs(list(distinct), codes.reshape(-1, 2).astype(np.int64), np.array(genuine, bool))


def _subjects(content: BinPairs) -> list[str]:
    """Connected components of the genuine pairs, each named by its first face."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = content.pairs[content.genuine].T
    n = len(content.images)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    component = connected_components(graph, directed=False)[1]
    earliest = np.unique(component, return_index=True)[1]
    return [f"s{i:05d}" for i in earliest[component]]


class _EncodedImages(Sequence[npt.NDArray[np.uint8]]):
    """Images that are decoded on access."""

    def __init__(self, encoded: list[bytes]) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded)

    @overload
    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> _EncodedImages: ...
    def __getitem__(self, index: int | slice) -> npt.NDArray[np.uint8] | _EncodedImages:
        if isinstance(index, slice):
            return _EncodedImages(self._encoded[index])
        return decode_image(self._encoded[index])


def _list(value: object) -> Sequence[object]:
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, _Array):
        return value.numbers().ravel().tolist()
    raise ValueError(f"expected a list of images and one of labels, found {_kind(value)}")


def _image(value: object, position: int) -> bytes:
    if isinstance(value, _Array):
        numbers = value.numbers()
        if numbers.dtype == np.uint8 and max(numbers.shape, default=0) == numbers.size:
            return numbers.tobytes()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    raise ValueError(
        f"image {position} is {_kind(value)}; expected the bytes of an image file, or an array "
        f"of them"
    )


def _flag(value: object, position: int) -> bool:
    if isinstance(value, _Scalar):
        value = value.number()
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise ValueError(f"the label of pair {position} is {reprlib.repr(value)}, not true or false")


def _kind(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, _Array):
        return "an array of another kind"
    return f"a {type(value).__name__}"


def _text(value: object) -> str:
    """Return text unchanged; empty for any other object, which may take forever to print."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    return value if isinstance(value, str) else ""


class _Inert:
    """Replaces a class or function that a pickle names; holds data, does nothing."""

    def __setstate__(self, state: object) -> None:
        raise ValueError("an object carries a state that it has no need of")


class _Dtype(_Inert):
    """``numpy.dtype``, for whole numbers and booleans only."""

    def __init__(self, code: object = b"", *flags: object) -> None:
        self._code = _text(code)
        self._order = "|"

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else ""
        self._order = _text(order)

    def read(self) -> np.dtype[Any]:
        order = self._order if self._order in ("<", ">") else ""
        if len(self._code) != 2 or self._code[0] not in "biu" or self._code[1] not in "1248":
            raise ValueError(f"an array of dtype {self._code!r}; whole numbers are read")
        return np.dtype(order + self._code)


class _Array(_Inert):
    """``numpy.core.multiarray._reconstruct``, and the array it makes."""

    def __init__(self, *ignored: object) -> None:
        self._data: tuple[object, object, object, object] = ((), None, b"", "C")

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array without its state")
        _, shape, dtype, fortran, raw = state
        self._data = (shape, dtype, raw, "F" if fortran else "C")

    def numbers(self) -> npt.NDArray[Any]:
        shape, dtype, raw, order = self._data
        if not isinstance(dtype, _Dtype) or not isinstance(raw, (bytes, bytearray)):
            raise ValueError("an array of objects, or without data")
        if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
            raise ValueError(f"an array of shape {reprlib.repr(shape)}")
        flat = np.frombuffer(raw, dtype.read())
        return flat.reshape(shape, order="F" if order == "F" else "C")


class _Buffer(_Array):
    """``numpy._core.numeric._frombuffer``, which pickles of protocol 5 name."""

    def __init__(self, raw: object, dtype: object, shape: object, order: object = "C") -> None:
        self._data = (shape, dtype, raw, order)


class _Scalar(_Inert):
    """``numpy.core.multiarray.scalar``: one number."""

    def __init__(self, dtype: object, raw: object = b"") -> None:
        self._dtype, self._raw = dtype, raw

    def number(self) -> int:
        if not isinstance(self._dtype, _Dtype) or not isinstance(self._raw, bytes):
            raise ValueError("a number of another kind")
        return int(np.frombuffer(self._raw, self._dtype.read(), count=1)[0])


class _Bytes(_Inert):
    """``_codecs.encode`` and ``bytes``: how Python 3 writes bytes in old protocols."""

    def __new__(cls, text: str = "", encoding: object = "latin1") -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise ValueError("text in another encoding than latin1")
        return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], type[_Inert]] = {
    ("numpy", "ndarray"): _Inert,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _Buffer,
    ("numpy._core.numeric", "_frombuffer"): _Buffer,
    ("_codecs", "encode"): _Bytes,
    ("__builtin__", "bytes"): _Bytes,
    ("builtins", "bytes"): _Bytes,
}

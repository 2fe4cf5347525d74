"""Subbands of a wavelet transform: detail of one scale and one orientation.

The transform is that of PyWavelets with the image mirrored at its border (``mode="symmetric"``).
It is linear and separable, so the component of a subband is a product of one matrix for the rows
and one for the columns, which PyWavelets computes once for each crop size.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from freqlab.bands.base import ORIENTATION, BandCoordinate, Bands
from freqlab.bands.decompositions import Decomposition, SeparableDecomposition
from freqlab.errors import BandError, ParameterError, UnknownNameError, check_number
from freqlab.text.spelling import nearest

__all__ = ["Wavelets", "wavelets"]

_DETAILS = ("horizontal", "vertical", "diagonal")  # structure of the details of a scale
_ANGLES = (0.0, 90.0, 45.0)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Wavelets(Bands):
    """Subbands of a wavelet transform; use :func:`wavelets` to create them.

    Parameters
    ----------
    wavelet
        Name of a discrete wavelet of PyWavelets.
    level
        Number of scales.
    """

    wavelet: str
    level: int
    unit: str = field(default="cycles/pixel", init=False)
    extension: str = field(default="mirror", init=False)
    kind: ClassVar[str] = "wavelets"

    def __len__(self) -> int:
        return len(_DETAILS) * self.level

    @property
    def _scales(self) -> npt.NDArray[np.int64]:
        """Scale of each band, from coarse to fine."""
        return np.repeat(np.arange(self.level, 0, -1), len(_DETAILS))

    @property
    def names(self) -> list[str]:
        """Readable names, ``"scale 3, horizontal"``; scale 1 is the finest."""
        return [
            f"scale {scale}, {_DETAILS[k % len(_DETAILS)]}" for k, scale in enumerate(self._scales)
        ]

    @property
    def bounds(self) -> Floats:
        """Nominal octave of the scale along an axis in cycles/pixel, ``(band, 2)``."""
        upper = 2.0**-self._scales
        return np.column_stack([upper / 2, upper])

    @property
    def orientation(self) -> Floats:
        """Orientation of the structure in degrees; 45 stands for both diagonals."""
        return np.tile(_ANGLES, self.level)

    @property
    def coordinates(self) -> dict[str, BandCoordinate]:
        """Orientation and scale of each band."""
        comment = f"{ORIENTATION['comment']}; 45 stands for both diagonals of a wavelet transform"
        return {
            "orientation": BandCoordinate(self.orientation, {**ORIENTATION, "comment": comment}),
            "scale": BandCoordinate(
                self._scales, {"long_name": "scale of the wavelet", "comment": "1 is the finest"}
            ),
        }

    @property
    def method(self) -> str:
        """Choices of the method in a few words."""
        return "subbands of a wavelet transform, approximation kept, mirrored image"

    def text(self, band: int) -> str:
        """A band in words: "horizontal structure at scale 3"."""
        return f"{_DETAILS[band % len(_DETAILS)]} structure at scale {self._scales[band]}"

    def declaration(self) -> dict[str, Any]:
        """Declaration of the bands as plain JSON values."""
        return {"kind": self.kind, "wavelet": self.wavelet, "level": int(self.level)}

    def decompose(
        self, height: int, width: int, *, eye_distance: float | None = None
    ) -> Decomposition:
        """Make the decomposition of crops of one size.

        Raises
        ------
        BandError
            If the crops are too small for the number of scales.
        """
        if height < 1 or width < 1:
            raise ParameterError(f"height={height}, width={width}: both must be positive")
        import pywt

        length = pywt.Wavelet(self.wavelet).dec_len
        deepest = pywt.dwt_max_level(min(height, width), length)
        if self.level > deepest:
            raise BandError(
                f"level={self.level} is too deep for crops of {height} x {width} pixels: wavelet "
                f"{self.wavelet!r} of length {length} allows levels up to {deepest}"
            )
        rows, columns = (_axis_maps(self.wavelet, self.level, n) for n in (height, width))
        # maps of an axis: approximations of scale 1 to `level`, then details of scale 1 to `level`
        bands = []
        for scale in range(self.level, 0, -1):
            low, high = scale - 1, self.level + scale - 1
            bands += [(high, low), (low, high), (high, high)]
        return SeparableDecomposition(
            torch.from_numpy(rows.astype(np.float32)),
            torch.from_numpy(columns.astype(np.float32)),
            bands,
        )


def wavelets(wavelet: str = "db2", level: int = 3) -> Wavelets:
    """Declare the subbands of a wavelet transform.

    For each scale there is one band of horizontal, one of vertical and one of diagonal structure.
    The approximation, the image smoothed to the coarsest scale, is always kept, as is the mean with
    bands of other kinds. The image is mirrored at its border, beside which details have a small
    mean. Subbands overlap in frequency.

    Parameters
    ----------
    wavelet
        Name of a discrete wavelet of PyWavelets, such as ``"haar"``, ``"db2"``, ``"sym4"`` or
        ``"bior2.2"``.
    level
        Number of scales; each is an octave, of which scale 1 is the highest.

    Returns
    -------
    Bands
        ``3 * level`` bands from coarse to fine, with the coordinates ``orientation`` and
        ``scale``; ``frequency`` is the centre of the scale's octave along an axis, in
        cycles/pixel.

    Raises
    ------
    UnknownNameError
        If PyWavelets has no such wavelet.
    ParameterError
        If `level` is not a whole number of 1 or more.

    Examples
    --------
    >>> wavelets("haar", level=1).names
    ['scale 1, horizontal', 'scale 1, vertical', 'scale 1, diagonal']
    """
    _check_wavelet(wavelet)
    check_number("level", level, at_least=1, whole=True)
    return Wavelets(wavelet, int(level))


def _check_wavelet(wavelet: object) -> None:
    """Refuse what is not a discrete wavelet of PyWavelets, by its families; there are over 100.

    Raises
    ------
    UnknownNameError
        With the nearest name.
    """
    import pywt

    names = pywt.wavelist(kind="discrete")
    if isinstance(wavelet, str) and wavelet in names:
        return
    families = dict.fromkeys(name.rstrip("0123456789.") for name in names)
    near = nearest(str(wavelet), names)
    hint = f" Did you mean {near!r}?" if near is not None else ""
    raise UnknownNameError(
        f"unknown wavelet {wavelet!r}; allowed: the discrete wavelets of PyWavelets, of the "
        f"families {', '.join(families)}, such as db2.{hint}"
    )


@functools.lru_cache(16)
def _axis_maps(wavelet: str, level: int, n: int) -> Floats:
    """Components of a signal of `n` samples by scale, as matrices ``(2 * level, n, n)``."""
    import pywt

    unit = np.eye(n)
    maps = np.empty((2 * level, n, n))
    for scale in range(1, level + 1):
        coefficients = pywt.wavedec(unit, wavelet, mode="symmetric", level=scale, axis=0)
        for which, place in ((0, scale - 1), (1, level + scale - 1)):
            alone = [c if k == which else np.zeros_like(c) for k, c in enumerate(coefficients)]
            maps[place] = pywt.waverec(alone, wavelet, mode="symmetric", axis=0)[:n]
    return maps

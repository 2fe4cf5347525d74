"""Luminance and chroma as bands, alone or crossed with bands of frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from freqlab.bands.base import BandCoordinate, Bands, PlaneBands
from freqlab.bands.decompositions import ColourDecomposition, Decomposition
from freqlab.errors import BandError, ParameterError

__all__ = ["PARTS", "Channels", "channels"]

PARTS = ("luminance", "chroma")
"""Parts of a colour image."""


@dataclass(frozen=True, eq=False)
class Channels(Bands):
    """Luminance and chroma; use :func:`channels` to create them.

    Parameters
    ----------
    within
        The bands into which both are divided; None for the whole image without its mean colour.
    """

    within: PlaneBands | None = None
    kind: ClassVar[str] = "channels"

    def __len__(self) -> int:
        return len(PARTS) * (1 if self.within is None else len(self.within))

    @property
    def names(self) -> list[str]:
        """Readable names, ``"luminance"`` or ``"luminance, 8-12"``."""
        if self.within is None:
            return list(PARTS)
        return [f"{part}, {name}" for part in PARTS for name in self.within.names]

    @property
    def bounds(self) -> npt.NDArray[np.float64]:
        """Lowest and highest frequency of each band in `unit`, ``(band, 2)``."""
        one = np.array([[0, np.inf]]) if self.within is None else self.within.bounds
        return np.tile(one, (len(PARTS), 1))

    @property
    def frequency(self) -> npt.NDArray[np.float64]:
        """Centre frequency of each band in `unit`; nominal without bands of frequency."""
        if self.within is None:
            return super().frequency
        return np.tile(self.within.frequency, len(PARTS))

    @property
    def orientation(self) -> npt.NDArray[np.float64] | None:
        """Orientation of each band's structure in degrees, if the crossed bands have one."""
        one = None if self.within is None else self.within.orientation
        return None if one is None else np.tile(one, len(PARTS))

    @property
    def coordinates(self) -> dict[str, BandCoordinate]:
        """Part of the colour of each band, and the coordinates of the crossed bands."""
        parts = np.repeat(np.array(PARTS, object), len(self) // len(PARTS))
        comment = "luminance is Y of YCbCr (ITU-R BT.601); chroma is the remainder"
        attrs = {"long_name": "part of the colour", "comment": comment}
        return {**super().coordinates, "channel": BandCoordinate(parts, attrs)}

    def text(self, band: int) -> str:
        """A band in words: "luminance", or "the luminance of the band 8 to 12 cycles/image"."""
        part, at = divmod(band, len(self) // len(PARTS))
        if self.within is None:
            return PARTS[part]
        return f"the {PARTS[part]} of {self.within.text(at)}"

    def declaration(self) -> dict[str, Any]:
        """Declaration of the bands as plain JSON values."""
        if self.within is None:
            return {"kind": self.kind}
        return {"kind": self.kind, "within": self.within.declaration()}

    def decompose(
        self, height: int, width: int, *, eye_distance: float | None = None
    ) -> Decomposition:
        """Make the decomposition of crops of one size."""
        if height < 1 or width < 1:
            raise ParameterError(f"height={height}, width={width}: both must be positive")
        within = self.within
        return ColourDecomposition(
            None if within is None else within.decompose(height, width, eye_distance=eye_distance),
            (height, width),
        )


def channels(within: Bands | None = None) -> Channels:
    """Declare luminance and chroma as bands.

    The luminance of a pixel is its Y of YCbCr (ITU-R BT.601, full range) in all three channels;
    chroma is the remainder. The mean colour of the image is always kept.

    Parameters
    ----------
    within
        Bands of frequency into which luminance and chroma are divided, such as rings; by default
        neither is divided.

    Returns
    -------
    Bands
        Bands of luminance, then of chroma, with the coordinate ``channel``. Grey photographs have
        no chroma: its removed contrast and its influence are zero.

    Raises
    ------
    BandError
        If `within` is not bands of the plane of frequencies.

    Examples
    --------
    >>> channels().names
    ['luminance', 'chroma']
    """
    if within is None:
        return Channels()
    if not isinstance(within, PlaneBands):
        raise BandError(
            f"within={within!r} must be rings, octaves, sectors, polar or custom bands, which "
            f"divide the plane of frequencies"
        )
    return Channels(within, unit=within.unit, extension=within.extension)

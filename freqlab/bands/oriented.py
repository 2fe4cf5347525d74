"""Sectors of orientation, and rings cut into sectors.

The orientation of a grating is the direction of its stripes in the image, in degrees
counter-clockwise from horizontal, modulo 180. It is perpendicular to the frequency vector: stripes
that run horizontally, such as brows and mouth, have orientation 0 and a vertical frequency. Angles
are those of frequencies in cycles per pixel, also on crops that are not square.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from freqlab.bands import radial
from freqlab.bands.base import UNITS, Plane, PlaneBands
from freqlab.bands.labels import OUTSIDE
from freqlab.bands.radial import Rings, ring_labels
from freqlab.errors import BandError, check_name
from freqlab.literals import Extension

__all__ = ["Polar", "Sectors", "orientations", "polar", "sectors"]

_MOST = 3600  # sectors

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sectors(PlaneBands):
    """Sectors of orientation between two radii; use :func:`sectors` to create them.

    Parameters
    ----------
    n
        Number of sectors; sector `i` is centred on ``180 i / n`` degrees.
    low, high
        Lower and upper radius in `unit`; `high` may be infinite.

    Raises
    ------
    BandError
        If there are fewer than two sectors, or the radii do not increase.
    """

    n: int
    low: float = 0.0
    high: float = math.inf
    kind: ClassVar[str] = "sectors"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_sectors("n", self.n)
        limits: dict[str, object] = {"low": self.low, "high": self.high}
        for argument, value in limits.items():
            if not isinstance(value, numbers.Real) or not float(value) >= 0:
                raise BandError(f"{argument}={value!r} must be a radius of 0 or more {self.unit}")
        if not self.low < self.high:
            raise BandError(f"low={self.low!r} must be below high={self.high!r} {self.unit}")

    def __len__(self) -> int:
        return self.n

    @property
    def names(self) -> list[str]:
        """Readable names: the orientation at the centre, ``"22.5°"``."""
        return [f"{angle:.5g}°" for angle in self.orientation]

    @property
    def bounds(self) -> Floats:
        """Lower and upper radius in `unit`, the same for each sector, ``(band, 2)``."""
        return np.tile([float(self.low), float(self.high)], (self.n, 1))

    @property
    def orientation(self) -> Floats:
        """Orientation at the centre of each sector in degrees, ``(band,)``."""
        return _centre_angles(self.n)

    @property
    def method(self) -> str:
        """Choices of the method in a few words."""
        return f"half-open sectors of the structure's orientation modulo 180; {super().method}"

    def text(self, band: int) -> str:
        """A band in words: "structure at 22.5°"."""
        return f"structure at {self.names[band]}{_between(self.low, self.high, self.unit)}"

    def declaration(self) -> dict[str, Any]:
        """Declaration of the bands as plain JSON values."""
        high = "inf" if math.isinf(self.high) else float(self.high)
        return self._declared(n=int(self.n), low=float(self.low), high=high)

    def plane_labels(self, plane: Plane) -> Labels:
        """Band of each coefficient of a half plane, negative where there is none."""
        inside = ring_labels((self.low, self.high), plane) == 0
        return np.where(inside, _sector_labels(self.n, plane), OUTSIDE)


@dataclass(frozen=True, eq=False)
class Polar(PlaneBands):
    """Rings cut into sectors of orientation; use :func:`polar` to create them.

    Bands are in order of the rings, and within a ring in order of orientation. The band ``rest``,
    the corners of the plane, holds diagonal structure only and is not cut.

    Parameters
    ----------
    rings
        The rings, whose unit and extension apply.
    n
        Number of sectors of each ring.
    """

    rings: Rings
    n: int
    kind: ClassVar[str] = "polar"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_sectors("sectors", self.n)

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def _ring(self) -> Labels:
        """Ring of each band."""
        times = np.where(np.isinf(self.rings.bounds[:, 1]), 1, self.n)
        return np.repeat(np.arange(len(times)), times)

    @property
    def names(self) -> list[str]:
        """Readable names: ring and orientation, ``"8-16, 22.5°"``."""
        names = self.rings.names
        return [
            names[ring] if math.isnan(angle) else f"{names[ring]}, {angle:.5g}°"
            for ring, angle in zip(self._ring, self.orientation, strict=True)
        ]

    @property
    def bounds(self) -> Floats:
        """Lower and upper edge of the ring of each band in `unit`, ``(band, 2)``."""
        return self.rings.bounds[self._ring]

    @property
    def frequency(self) -> Floats:
        """Centre of the ring of each band in `unit`, ``(band,)``; nominal for ``rest``."""
        return self.rings.frequency[self._ring]

    @property
    def orientation(self) -> Floats:
        """Orientation at the centre of each band in degrees; NaN for ``rest``, ``(band,)``."""
        angles = _centre_angles(self.n)[np.arange(len(self)) % self.n]
        return np.where(np.isinf(self.bounds[:, 1]), np.nan, angles)

    @property
    def method(self) -> str:
        """Choices of the method in a few words."""
        return f"rings cut into sectors of the structure's orientation; {super().method}"

    def text(self, band: int) -> str:
        """A band in words: "structure at 22.5° from 8 to 16 cycles/image"."""
        angle, ring = self.orientation[band], int(self._ring[band])
        if math.isnan(angle):
            return self.rings.text(ring)
        lower, upper = self.rings.bounds[ring]
        return f"structure at {angle:.5g}°{_between(lower, upper, self.unit)}"

    def declaration(self) -> dict[str, Any]:
        """Declaration of the bands as plain JSON values."""
        return {"kind": self.kind, "rings": self.rings.declaration(), "sectors": int(self.n)}

    def plane_labels(self, plane: Plane) -> Labels:
        """Band of each coefficient of a half plane, negative where there is none."""
        ring = self.rings.plane_labels(plane)
        cut = np.isfinite(self.rings.bounds[:, 1])[ring]
        sector = np.where(cut, _sector_labels(self.n, plane), 0)
        return np.where(ring >= 0, ring * self.n + sector, OUTSIDE)


def sectors(
    n: int = 8,
    *,
    low: float = 0.0,
    high: float = math.inf,
    unit: str = "cycles/image",
    extension: Extension = "periodic",
) -> Sectors:
    """Declare sectors of orientation.

    The orientation is that of the structure in the image: 0 degrees is horizontal structure (brows,
    mouth), 90 degrees vertical structure (the sides of nose and face), counter-clockwise, modulo
    180. Sector `i` is centred on ``180 i / n`` degrees and extends half of ``180 / n`` degrees to
    both sides; its lower edge belongs to it.

    Parameters
    ----------
    n
        Number of sectors.
    low, high
        Radii in `unit` between which coefficients belong to sectors; all by default. Coefficients
        at other radii are never removed.
    unit, extension
        As for :func:`freqlab.rings`.

    Returns
    -------
    Bands
        `n` bands with the coordinate ``orientation``.

    Raises
    ------
    BandError
        If there are fewer than two sectors, or the radii do not increase.

    Examples
    --------
    >>> sectors(4).names
    ['0°', '45°', '90°', '135°']
    """
    check_name("band unit", unit, UNITS)
    return Sectors(n, low, high, unit=unit, extension=extension)


def polar(
    rings: Rings | float = 8,
    sectors: int = 8,
    *,
    unit: str = "cycles/image",
    extension: Extension = "periodic",
) -> Polar:
    """Declare rings that are cut into sectors of orientation.

    Parameters
    ----------
    rings
        Rings or octaves, or the width of rings for :func:`freqlab.rings`.
    sectors
        Number of sectors of each ring; see :func:`freqlab.sectors`.
    unit, extension
        As for :func:`freqlab.rings`; with rings that are declared already, theirs apply.

    Returns
    -------
    Bands
        With the coordinates ``frequency`` (of the ring) and ``orientation``.

    Raises
    ------
    BandError
        If the rings are none, or there are fewer than two sectors.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.polar(fl.rings(edges=[8, 16]), 2).names
    ['8-16, 0°', '8-16, 90°']
    """
    if isinstance(rings, Rings):
        of = rings
        for argument, given, default in (
            ("unit", unit, "cycles/image"),
            ("extension", extension, "periodic"),
        ):
            if given not in (default, getattr(of, argument)):
                raise BandError(
                    f"{argument}={given!r}: the rings have {getattr(of, argument)!r} already"
                )
    else:
        width: object = rings
        if not isinstance(width, numbers.Real):
            raise BandError(f"rings={rings!r} must be rings, octaves, or the width of rings")
        of = radial.rings(float(width), unit=unit, extension=extension)
    return Polar(of, sectors, unit=of.unit, extension=of.extension)


def orientations(plane: Plane) -> Floats:
    """Orientation of each coefficient of a half plane in degrees, 0 <= angle < 180.

    A coefficient of the Nyquist column of an even width equals that at the negative horizontal
    frequency, so its sign is not defined: the vertical frequency is taken as positive there, which
    makes the map symmetric. The Nyquist row of an even height has a negative vertical frequency,
    so that turning an image by 90 degrees turns its orientations as well.
    """
    height, width = plane.height, plane.width
    ky = np.rint(np.fft.fftfreq(height, 1 / height)).astype(np.int64)[:, None]
    kx = np.arange(width // 2 + 1)[None, :]
    ky = np.broadcast_to(ky, (height, width // 2 + 1)).copy()
    if width % 2 == 0:
        ky[:, -1] = np.abs(ky[:, -1])
    vertical, horizontal = ky * width, np.broadcast_to(kx * height, ky.shape)  # exact integers
    degrees = np.degrees(np.arctan2(horizontal, vertical)) % 180
    degrees[horizontal == 0] = 0
    degrees[vertical == 0] = 90
    degrees[(horizontal == vertical) & (horizontal > 0)] = 45
    degrees[(horizontal == -vertical) & (horizontal > 0)] = 135
    return np.asarray(degrees)


def _sector_labels(n: int, plane: Plane) -> Labels:
    """Sector of each coefficient; multiples of 45 degrees are compared without rounding."""
    place = (2 * n * orientations(plane) + 180) / 360
    return np.floor(place).astype(np.int64) % n


def _centre_angles(n: int) -> Floats:
    return np.arange(n) * 180 / n


def _check_sectors(argument: str, n: object) -> None:
    whole = isinstance(n, numbers.Integral) and not isinstance(n, bool)
    if not whole or not 2 <= int(n) <= _MOST:  # type: ignore[call-overload]
        raise BandError(f"{argument}={n!r} must be a whole number of sectors from 2 to {_MOST:,}")


def _between(low: float, high: float, unit: str) -> str:
    if math.isinf(high):
        return f" beyond {low:g} {unit}" if low > 0 else ""
    return f" from {low:g} to {high:g} {unit}"

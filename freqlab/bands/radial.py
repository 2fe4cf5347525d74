"""Rings and octaves: bands between two radii in the plane of frequencies."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from freqlab.bands.band_shapes import rings_html
from freqlab.bands.base import UNITS, Bands, Plane, PlaneBands, centres
from freqlab.bands.labels import OUTSIDE
from freqlab.errors import BandError, check_name, check_number
from freqlab.literals import Extension

__all__ = ["DEFAULT_MAX", "Octaves", "Rings", "cache_identity", "octaves", "ring_labels", "rings"]

# Nyquist frequency along an axis of a 112-pixel crop, in each unit; the inter-eye distance of the
# ArcFace template is 35.24 pixels.
DEFAULT_MAX = {"cycles/image": 56.0, "cycles/pixel": 0.5, "cycles/eyes": 17.62}
"""Lower edge of the band ``rest`` in each unit, by default."""
_DEFAULT_WIDTH = 4.0
_MOST = 100_000  # rings
_DIGITS = 6  # of the edges of octaves


@dataclass(frozen=True, eq=False)
class Rings(PlaneBands):
    """A partition of spatial frequencies into rings, independent of image size.

    Band ``i`` holds the coefficients with ``edges[i] <= radius < edges[i + 1]``; the radius is
    isotropic in cycles per pixel, also on crops that are not square. The last edge may be
    infinite. Use :func:`rings` to create bands.

    Parameters
    ----------
    edges
        Increasing radii in `unit`, one more than the number of bands.
    unit
        One of :data:`freqlab.bands.base.UNITS`.
    extension
        One of :data:`freqlab.bands.base.EXTENSIONS`.

    Raises
    ------
    BandError
        If there are fewer than two edges, or an edge is negative, NaN or not increasing.
    UnknownNameError
        If the unit or the extension is unknown.
    """

    edges: tuple[float, ...]
    kind: ClassVar[str] = "rings"
    radial: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.edges) < 2:
            raise BandError(f"edges={list(self.edges)!r}: at least two are needed, for one band")
        for edge in self.edges:
            if math.isnan(edge) or edge < 0:
                raise BandError(f"edges={list(self.edges)!r}: {edge!r} is not a radius (0 or more)")
        for lower, upper in zip(self.edges, self.edges[1:], strict=False):
            if not lower < upper:
                raise BandError(
                    f"edges={list(self.edges)!r} must increase; {upper:g} follows {lower:g}"
                )

    def __len__(self) -> int:
        return len(self.edges) - 1

    def _repr_html_(self) -> str:
        return rings_html(self.names, self.bounds.tolist(), self.unit)

    @property
    def names(self) -> list[str]:
        """Readable names, ``"8-12"``; a band without an upper edge is ``"rest"``."""
        return [
            "rest" if math.isinf(upper) else f"{lower:.12g}-{upper:.12g}"
            for lower, upper in self.bounds
        ]

    @property
    def bounds(self) -> npt.NDArray[np.float64]:
        """Lower and upper edge of each band in `unit`, ``(band, 2)``."""
        return np.column_stack([self.edges[:-1], self.edges[1:]])

    @property
    def method(self) -> str:
        """Choices of the method in a few words."""
        text = "half-open rings, radius isotropic in cycles/pixel"
        return text if self.extension == "periodic" else f"{text}, mirrored image"

    def text(self, band: int) -> str:
        """A band in words: "the band 8 to 12 cycles/image"."""
        lower, upper = self.bounds[band]
        if math.isinf(upper):
            return f"everything beyond {lower:g} {self.unit}"
        return f"the band {lower:g} to {upper:g} {self.unit}"

    def declaration(self) -> dict[str, Any]:
        """Declaration of the bands as plain JSON values."""
        edges = ["inf" if math.isinf(edge) else edge for edge in self.edges]
        return self._declared(edges=edges)

    def broad(self, n: int) -> Rings:
        """Merge each `n` neighbouring bands; the last merged band has the remainder."""
        edges = self.edges[:-1:n]
        return Rings((*edges, self.edges[-1]), unit=self.unit, extension=self.extension)

    def plane_labels(self, plane: Plane) -> npt.NDArray[np.int64]:
        """Band of each coefficient of a half plane, negative where there is none."""
        return ring_labels(self.edges, plane)


def ring_labels(edges: Sequence[float], plane: Plane) -> npt.NDArray[np.int64]:
    """Ring of each coefficient of a half plane, by exact comparison with the edges."""
    squared = plane.squared()
    thresholds = [
        math.ceil((Fraction(str(edge)) * plane.height * plane.width / plane.pixels_per_unit) ** 2)
        for edge in edges
        if not math.isinf(edge)
    ]
    largest = int(squared.max()) + 1
    thresholds = [min(threshold, largest) for threshold in thresholds]
    labels = np.searchsorted(thresholds, squared, side="right").astype(np.int64) - 1
    labels[(labels < 0) | (labels >= len(edges) - 1)] = OUTSIDE
    return labels


@dataclass(frozen=True, eq=False)
class Octaves(Rings):
    """Rings whose upper edge is a constant multiple of the lower one; see :func:`octaves`."""

    kind: ClassVar[str] = "octaves"

    @property
    def frequency(self) -> npt.NDArray[np.float64]:
        """Geometric centre of each band in `unit`, ``(band,)``; nominal for ``rest``."""
        lower, upper = self.bounds.T
        bounded = np.isfinite(upper) & (lower > 0)
        middle = np.sqrt(lower * np.where(bounded, upper, 0))
        return np.where(bounded, middle, centres(self.bounds, self.unit))


def rings(
    width: float | None = None,
    *,
    edges: Sequence[float] | None = None,
    unit: str = "cycles/image",
    max: float | None = None,
    extension: Extension = "periodic",
) -> Rings:
    """Declare rings of spatial frequency.

    With `width`, rings of equal width from 0 to `max` and a band ``rest`` beyond it (the corners of
    the plane); a last ring that would exceed `max` ends there, and if it is then narrower than half
    of `width`, it is merged with the ring before it. With `edges`, rings between these edges:
    frequencies outside them belong to no band and are never removed; a last edge of ``math.inf``
    gives a band ``rest``.

    Parameters
    ----------
    width
        Width of each ring in `unit`; 4 if neither `width` nor `edges` is given (in
        ``cycles/image``; the other units have no default).
    edges
        Increasing radii in `unit`, instead of `width` and `max`.
    unit
        ``"cycles/image"`` (crop width), ``"cycles/pixel"`` or ``"cycles/eyes"``.
    max
        Lower edge of ``rest`` in `unit`; by default the Nyquist frequency along an axis of a
        112-pixel crop with the ArcFace template: 56, 0.5 and 17.62.
    extension
        Continuation of the crop beyond its border: ``"periodic"``, as the discrete Fourier
        transform has it, for which the border is a step that leaks into all bands; or
        ``"mirror"``: bands are removed from the mirrored crop, which is then cropped back.

    Returns
    -------
    Bands
        The default, ``rings(width=4)``: fourteen rings and ``rest``. Radial bands follow Huber &
        Damer (2025); widths, half-open edges and ``rest`` are our choice.

    Raises
    ------
    BandError
        If a width or an edge is not a valid number.

    Examples
    --------
    >>> rings(width=16).names
    ['0-16', '16-32', '32-48', '48-56', 'rest']
    """
    check_name("band unit", unit, UNITS)
    if edges is not None:
        if width is not None or max is not None:
            raise BandError("edges= stands instead of width= and max=; give one or the other")
        if not isinstance(edges, (list, tuple, np.ndarray)):
            raise BandError(f"edges={edges!r} must be a list of increasing radii")
        radii = tuple(_number("edges", edge, unit) for edge in edges)
        return Rings(radii, unit=unit, extension=extension)
    if width is None:
        if unit != "cycles/image":
            raise BandError(f"unit={unit!r} has no default width; give width= or edges=")
        width = _DEFAULT_WIDTH
    end = DEFAULT_MAX[unit] if max is None else max
    for argument, value in (("width", width), ("max", end)):
        _check_positive(argument, value, unit)
    step, last = Fraction(str(width)), Fraction(str(end))
    if step > last:
        raise BandError(f"width={width!r} leaves no ring below max={end:g} {unit}")
    n_rings = math.ceil(last / step)
    if n_rings > _MOST:
        raise BandError(f"width={width!r} makes {n_rings} rings up to {end:g} {unit}")
    if last - step * (n_rings - 1) < step / 2:
        n_rings -= 1
    steps = [float(step * i) for i in range(n_rings)]
    return Rings((*steps, float(end), math.inf), unit=unit, extension=extension)


def octaves(
    low: float | None = None,
    high: float | None = None,
    *,
    per_octave: int = 1,
    unit: str = "cycles/image",
    extension: Extension = "periodic",
) -> Octaves:
    """Declare rings whose edges are octaves or parts of octaves, and a band ``rest`` beyond them.

    Parameters
    ----------
    low
        Lower edge of the first band in `unit`; by default 1 in ``cycles/image``. Frequencies below
        it belong to no band and are never removed.
    high
        Lower edge of ``rest`` in `unit`; by default as for :func:`rings`, 56 in ``cycles/image``.
        A last band that would exceed it ends there, and if it is then narrower than half of its
        width on a logarithmic scale, it is merged with the band before it.
    per_octave
        Number of bands per octave.
    unit, extension
        As for :func:`rings`; units other than ``cycles/image`` have no default of `low`.

    Returns
    -------
    Bands
        The default: 1-2, 2-4, 4-8, 8-16, 16-32, 32-56 and ``rest``. Edges are rounded to six
        significant digits.

    Raises
    ------
    BandError
        If `low` and `high` are not positive numbers in increasing order.
    ParameterError
        If `per_octave` is not a whole number of 1 or more.

    Examples
    --------
    >>> octaves(4, 16, per_octave=2).names
    ['4-5.65685', '5.65685-8', '8-11.3137', '11.3137-16', 'rest']
    """
    check_name("band unit", unit, UNITS)
    if low is None:
        if unit != "cycles/image":
            raise BandError(f"unit={unit!r} has no default of low=; give low=")
        low = 1.0
    end = DEFAULT_MAX[unit] if high is None else high
    for argument, value in (("low", low), ("high", end)):
        _check_positive(argument, value, unit)
    check_number("per_octave", per_octave, at_least=1, whole=True)
    if not low < end:
        raise BandError(f"low={low!r} must be below high={end!r} {unit}")
    n_steps = math.log2(end / low) * per_octave
    n_bands = math.ceil(round(n_steps, 9))
    if n_bands > _MOST:
        raise BandError(f"per_octave={per_octave!r} makes {n_bands} bands up to {end:g} {unit}")
    if n_bands > 1 and n_steps - (n_bands - 1) < 0.5:
        n_bands -= 1
    edges = [float(f"{low * 2 ** (i / per_octave):.{_DIGITS}g}") for i in range(n_bands)]
    return Octaves((*edges, float(end), math.inf), unit=unit, extension=extension)


def cache_identity(bands: Bands) -> dict[str, Any]:
    """Values that identify bands in cached arrays; those of rings are as in earlier versions."""
    if isinstance(bands, Rings) and bands.kind == "rings" and bands.extension == "periodic":
        return {"edges": [float(edge) for edge in bands.edges], "unit": bands.unit}
    return {"bands": bands.declaration()}


def _check_positive(argument: str, value: object, unit: str) -> None:
    number = _number(argument, value, unit)
    if not (math.isfinite(number) and number > 0):
        raise BandError(f"{argument}={value!r} must be a positive number of {unit}")


def _number(argument: str, value: object, unit: str) -> float:
    if not isinstance(value, numbers.Real):
        raise BandError(f"{argument}: {value!r} is not a number of {unit}")
    return float(value)

"""Bands: rings of spatial frequency, declared independently of image size.

A declaration (:class:`Bands`) gives a *label map* for each crop size: an integer per coefficient
of the half plane that :func:`torch.fft.rfft2` returns. Labels ``0, 1, ...`` are the bands in
order. The DC coefficient has a separate label, and so have coefficients outside all bands; these
coefficients are never removed.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from freqlab.bands.band_shapes import rings_html
from freqlab.errors import BandError, ParameterError, check_name

__all__ = ["DC", "OUTSIDE", "UNITS", "Bands", "check_support", "parse_bands", "rings"]

DC = -1
"""Label of the coefficient at frequency zero, the mean of the image."""
OUTSIDE = -2
"""Label of coefficients that belong to no band."""

UNITS = ("cycles/image", "cycles/pixel", "cycles/eyes")
"""Units of frequency: per crop width, per pixel, per inter-eye distance of the template."""

# Nyquist frequency along an axis of a 112-pixel crop, in each unit; the inter-eye distance of the
# ArcFace template is 35.24 pixels.
_DEFAULT_MAX = {"cycles/image": 56.0, "cycles/pixel": 0.5, "cycles/eyes": 17.62}
_DEFAULT_WIDTH = 4.0


@dataclass(frozen=True)
class Bands:
    """A partition of spatial frequencies into rings, independent of image size.

    Band ``i`` holds the coefficients with ``edges[i] <= radius < edges[i + 1]``; the radius is
    isotropic in cycles per pixel, also on crops that are not square. The last edge may be
    infinite. Use :func:`rings` to create bands.

    Parameters
    ----------
    edges
        Increasing radii in `unit`, one more than the number of bands.
    unit
        One of :data:`UNITS`.

    Raises
    ------
    BandError
        If there are fewer than two edges, or an edge is negative, NaN or not increasing.
    UnknownNameError
        If the unit is unknown.
    """

    edges: tuple[float, ...]
    unit: str = "cycles/image"

    def __post_init__(self) -> None:
        check_name("band unit", self.unit, UNITS)
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
    def frequency(self) -> npt.NDArray[np.float64]:
        """Centre of each band in `unit`, ``(band,)``; NaN for a band without an upper edge."""
        centre = self.bounds.mean(axis=1)
        return np.where(np.isinf(centre), np.nan, centre)

    def declaration(self) -> dict[str, Any]:
        """Declaration of the bands as plain JSON values."""
        edges = ["inf" if math.isinf(edge) else edge for edge in self.edges]
        return {"kind": "rings", "edges": edges, "unit": self.unit}

    @property
    def key(self) -> str:
        """Short name: the kind and a hash of the declaration."""
        text = json.dumps(self.declaration(), sort_keys=True)
        return f"rings-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def broad(self, n: int) -> Bands:
        """Merge each `n` neighbouring bands; the last merged band has the remainder."""
        edges = self.edges[:-1:n]
        return Bands((*edges, self.edges[-1]), self.unit)

    def in_unit(self, frequency: float, width: int, eye_distance: float | None = None) -> float:
        """Convert a frequency from cycles per crop width to the unit of these bands.

        Parameters
        ----------
        frequency
            Frequency in cycles/image.
        width
            Crop width in pixels.
        eye_distance
            Distance between the eyes in pixels, for ``unit="cycles/eyes"``.
        """
        return frequency * float(self._pixels_per_unit(width, eye_distance)) / width

    def label_map(
        self, height: int, width: int, *, eye_distance: float | None = None
    ) -> npt.NDArray[np.int64]:
        """Label every coefficient of the real Fourier transform of a crop.

        Coefficients are compared with edges in integer arithmetic, without rounding, because many
        lie exactly on an edge (53 in the half plane of a 112-pixel crop with rings of width 4). An
        edge is treated as the decimal number it is written as: 0.1 is one tenth.

        Parameters
        ----------
        height, width
            Crop size in pixels, even or odd.
        eye_distance
            Distance between the eyes in pixels, for ``unit="cycles/eyes"``.

        Returns
        -------
        numpy.ndarray
            Labels ``(height, width // 2 + 1)``: the band, :data:`DC` or :data:`OUTSIDE`.
            Symmetric under a change of sign of the frequency.

        Raises
        ------
        ParameterError
            If the size is not positive, or the unit needs an eye distance and none is given.
        """
        if height < 1 or width < 1:
            raise ParameterError(f"height={height}, width={width}: both must be positive")
        ky = np.minimum(np.arange(height), height - np.arange(height))
        kx = np.arange(width // 2 + 1)
        # (radius in cycles/pixel * height * width) squared, an integer
        squared = (ky[:, None] * width) ** 2 + (kx[None, :] * height) ** 2
        unit = self._pixels_per_unit(width, eye_distance)
        thresholds = [
            math.ceil((Fraction(str(edge)) * height * width / unit) ** 2)
            for edge in self.edges
            if not math.isinf(edge)
        ]
        largest = int(squared.max()) + 1
        thresholds = [min(threshold, largest) for threshold in thresholds]
        labels = np.searchsorted(thresholds, squared, side="right").astype(np.int64) - 1
        labels[(labels < 0) | (labels >= len(self))] = OUTSIDE
        labels[0, 0] = DC
        return labels

    def _pixels_per_unit(self, width: int, eye_distance: float | None) -> Fraction:
        """Length in pixels over which the unit counts cycles."""
        if self.unit == "cycles/image":
            return Fraction(width)
        if self.unit == "cycles/pixel":
            return Fraction(1)
        if eye_distance is None or not eye_distance > 0:
            raise ParameterError(
                f"unit 'cycles/eyes' needs the distance between the eyes in pixels, "
                f"got eye_distance={eye_distance!r}; a template without fixed eyes has none"
            )
        return Fraction(str(eye_distance))


def rings(
    width: float | None = None,
    *,
    edges: Sequence[float] | None = None,
    unit: str = "cycles/image",
    max: float | None = None,
) -> Bands:
    """Declare rings of spatial frequency.

    With `width`, rings of equal width from 0 to `max` and a band ``rest`` beyond it (the corners of
    the plane); a last ring that would exceed `max` ends there. With `edges`, rings between these
    edges: frequencies outside them belong to no band and are never removed; a last edge of
    ``math.inf`` gives a band ``rest``.

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
        return Bands(tuple(_number("edges", edge, unit) for edge in edges), unit)
    if width is None:
        if unit != "cycles/image":
            raise BandError(f"unit={unit!r} has no default width; give width= or edges=")
        width = _DEFAULT_WIDTH
    end = _DEFAULT_MAX[unit] if max is None else max
    for argument, value in (("width", width), ("max", end)):
        if not (math.isfinite(_number(argument, value, unit)) and value > 0):
            raise BandError(f"{argument}={value!r} must be a positive number of {unit}")
    step, last = Fraction(str(width)), Fraction(str(end))
    if step > last:
        raise BandError(f"width={width!r} leaves no ring below max={end:g} {unit}")
    n_rings = math.ceil(last / step)
    if n_rings > 100_000:
        raise BandError(f"width={width!r} makes {n_rings} rings up to {end:g} {unit}")
    steps = [float(step * i) for i in range(n_rings)]
    return Bands((*steps, float(end), math.inf), unit)


def _number(argument: str, value: object, unit: str) -> float:
    if not isinstance(value, numbers.Real):
        raise BandError(f"{argument}: {value!r} is not a number of {unit}")
    return float(value)


def parse_bands(text: str) -> Bands:
    """Parse a declaration of the command line: ``rings:WIDTH`` or ``rings:WIDTH:UNIT``.

    Raises
    ------
    BandError, UnknownNameError
        If the text is no such declaration.
    """
    kind, *rest = text.split(":")
    check_name("kind of bands", kind, ["rings"])
    if len(rest) not in (1, 2):
        raise BandError(f"bands {text!r}: write rings:WIDTH or rings:WIDTH:UNIT, as in rings:4")
    try:
        width = float(rest[0])
    except ValueError:
        raise BandError(f"bands {text!r}: {rest[0]!r} is not a number") from None
    return rings(width, unit=rest[1]) if len(rest) == 2 else rings(width)


def check_support(bands: Bands, label_maps: Iterable[npt.NDArray[np.int64]]) -> None:
    """Refuse bands without a coefficient in any of the label maps of a run.

    Raises
    ------
    BandError
        With the names of the empty bands in its message.
    """
    held: set[int] = set()
    for labels in label_maps:
        held.update(int(label) for label in np.unique(labels))
    empty = [name for i, name in enumerate(bands.names) if i not in held]
    if empty:
        raise BandError(
            f"no model of the run has a coefficient in the band(s) {', '.join(empty)} "
            f"({bands.unit}); widen them or leave them out"
        )

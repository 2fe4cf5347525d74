"""Bands: the interface that every kind of bands has.

A declaration of bands does not depend on the size of the crops, except for label maps that a user
gives. For each crop size it makes a :class:`freqlab.bands.decompositions.Decomposition`: the image
as a part that is always kept plus one component for each band. Kinds that divide the plane of
frequencies (:class:`PlaneBands`) also give a *label map*: an integer per coefficient of the half
plane that :func:`torch.fft.rfft2` returns. Labels ``0, 1, ...`` are the bands in order. The DC
coefficient has a separate label, and so have coefficients outside all bands; these coefficients are
never removed.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
import torch

from freqlab.bands.band_shapes import bands_html, full_plane
from freqlab.bands.decompositions import (
    Decomposition,
    MergedDecomposition,
    MirroredDecomposition,
    PeriodicDecomposition,
)
from freqlab.bands.labels import DC
from freqlab.errors import BandError, ParameterError, check_name

__all__ = [
    "EXTENSIONS",
    "UNITS",
    "BandCoordinate",
    "Bands",
    "MergedBands",
    "Plane",
    "PlaneBands",
    "centres",
    "check_support",
]

UNITS = ("cycles/image", "cycles/pixel", "cycles/eyes")
"""Units of frequency: per crop width, per pixel, per inter-eye distance of the template."""

EXTENSIONS = ("periodic", "mirror")
"""Continuation of the image beyond its border: repeated, or mirrored first."""

ORIENTATION = {
    "long_name": "orientation of the structure",
    "units": "degrees",
    "comment": "0: horizontal structure, 90: vertical; counter-clockwise, modulo 180",
}

_SIZE, _EYE_DISTANCE = 112, 35.24  # pixels of the ArcFace template, for pictures

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class BandCoordinate(NamedTuple):
    """A coordinate along the bands, beyond frequency and bounds."""

    values: npt.NDArray[Any]
    attrs: dict[str, str]


class Plane(NamedTuple):
    """The half plane of frequencies of a real transform."""

    height: int
    width: int
    pixels_per_unit: Fraction
    """Length in pixels over which the unit of the bands counts cycles."""

    def squared(self) -> Labels:
        """Squared radius in cycles/pixel times height times width, an integer."""
        ky = np.minimum(np.arange(self.height), self.height - np.arange(self.height))
        kx = np.arange(self.width // 2 + 1)
        return np.asarray((ky[:, None] * self.width) ** 2 + (kx[None, :] * self.height) ** 2)


@dataclass(frozen=True, eq=False)
class Bands(ABC):
    """Bands of an image, which are removed one by one or in sets.

    Use :func:`freqlab.rings`, :func:`freqlab.octaves`, :func:`freqlab.sectors`,
    :func:`freqlab.polar`, :func:`freqlab.custom`, :func:`freqlab.wavelets` or
    :func:`freqlab.channels` to declare bands. Two declarations are equal if their kind and all
    their values are.

    Parameters
    ----------
    unit
        One of :data:`UNITS`.
    extension
        One of :data:`EXTENSIONS`.

    Examples
    --------
    >>> import freqlab as fl
    >>> bands = fl.rings(width=28)
    >>> bands.names
    ['0-28', '28-56', 'rest']
    >>> bands == fl.parse_bands("rings:28")
    True
    """

    unit: str = field(default="cycles/image", kw_only=True)
    extension: str = field(default="periodic", kw_only=True)

    kind: ClassVar[str]
    """Kind of bands, as in the notation of the command line."""
    radial: ClassVar[bool] = False
    """Whether the bands are adjacent intervals of frequency, as a frequency axis shows them."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bands) and self.declaration() == other.declaration()

    def __hash__(self) -> int:
        return hash(self.key)

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of bands."""

    def _repr_html_(self) -> str:
        columns: dict[str, list[object]] = {}
        if len(set(self.frequency.tolist())) > 1:  # that of sectors is nominal
            columns[f"centre ({self.unit})"] = self.frequency.tolist()
        for name, one in self.coordinates.items():
            units = f" ({one.attrs['units']})" if "units" in one.attrs else ""
            columns[f"{name}{units}"] = one.values.tolist()
        return bands_html(
            self.kind,
            self.names,
            columns,
            labels=self._picture() if self.planar else None,
            orientation=self.orientation,
        )

    def _picture(self) -> Labels:
        """Label map with zero frequency in the middle, of a crop of the usual size."""
        half = self.label_map(_SIZE, _SIZE, eye_distance=_EYE_DISTANCE)
        return full_plane(half, _SIZE)

    @property
    def planar(self) -> bool:
        """Whether the bands are parts of the plane of frequencies, with a label map."""
        return False

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Readable names, one for each band, all different."""

    @property
    @abstractmethod
    def bounds(self) -> Floats:
        """Lowest and highest frequency of each band in `unit`, ``(band, 2)``; may be infinite."""

    @property
    def frequency(self) -> Floats:
        """Centre frequency of each band in `unit`, ``(band,)``, finite.

        A band without an upper limit ends nominally at sqrt(2) times its lower one, as the corners
        of the plane do beyond the Nyquist frequency of the axes.
        """
        return centres(self.bounds, self.unit)

    @property
    def orientation(self) -> Floats | None:
        """Orientation of each band's structure in degrees, modulo 180; None if it has none."""
        return None

    @property
    def coordinates(self) -> dict[str, BandCoordinate]:
        """Further coordinates of the bands by name, such as ``orientation``."""
        orientation = self.orientation
        if orientation is None:
            return {}
        return {"orientation": BandCoordinate(orientation, dict(ORIENTATION))}

    @abstractmethod
    def declaration(self) -> dict[str, Any]:
        """Declaration of the bands as plain JSON values; :func:`bands_from` reads it."""

    @property
    def axis_attrs(self) -> dict[str, str]:
        """Attributes of the coordinate ``band`` of a result.

        Bands other than rings of the periodic image are declared there as JSON; rings are read from
        their edges.
        """
        attrs = {"long_name": "band", "units": self.unit}
        if self.kind != "rings" or self.extension != "periodic":
            attrs["declaration"] = json.dumps(self.declaration(), sort_keys=True)
        return attrs

    @property
    def method(self) -> str:
        """Choices of the method in a few words, for the attributes of a result."""
        return f"{self.kind}, {'mirrored' if self.extension == 'mirror' else 'periodic'} image"

    @property
    def key(self) -> str:
        """Short name: the kind and a hash of the declaration."""
        text = json.dumps(self.declaration(), sort_keys=True)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def text(self, band: int) -> str:
        """A band in words, with its unit, such as "the band 8 to 12 cycles/image"."""
        return f"the band {self.names[band]}"

    def broad(self, n: int) -> Bands:
        """Merge each `n` neighbouring bands; the last merged band has the remainder."""
        return MergedBands(self, n, unit=self.unit, extension=self.extension)

    @abstractmethod
    def decompose(
        self, height: int, width: int, *, eye_distance: float | None = None
    ) -> Decomposition:
        """Make the decomposition of crops of one size.

        Parameters
        ----------
        height, width
            Crop size in pixels, even or odd.
        eye_distance
            Distance between the eyes in pixels, for ``unit="cycles/eyes"``.

        Raises
        ------
        ParameterError
            If the size does not fit, or the unit needs an eye distance and none is given.
        """

    def label_map(
        self, height: int, width: int, *, eye_distance: float | None = None
    ) -> npt.NDArray[np.int64]:
        """Label every coefficient of the real Fourier transform of a crop.

        Parameters
        ----------
        height, width
            Crop size in pixels, even or odd.
        eye_distance
            Distance between the eyes in pixels, for ``unit="cycles/eyes"``.

        Returns
        -------
        numpy.ndarray
            Labels ``(height, width // 2 + 1)``: the band, or a negative number for coefficients
            that are never removed. Symmetric under a change of sign of the frequency.

        Raises
        ------
        BandError
            If the bands are not parts of the plane of frequencies.
        ParameterError
            If the size is not positive, or the unit needs an eye distance and none is given.
        """
        self._no_plane()

    def _no_plane(self) -> NoReturn:
        raise BandError(
            f"bands of kind {self.kind!r} are not parts of the plane of frequencies, so they have "
            f"no label map; rings, octaves, sectors, polar and custom bands have one"
        )

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


@dataclass(frozen=True, eq=False)
class PlaneBands(Bands):
    """Bands that divide the plane of frequencies: each coefficient belongs to at most one.

    Parameters
    ----------
    unit, extension
        As for :class:`freqlab.Bands`.

    Examples
    --------
    >>> import freqlab as fl
    >>> from freqlab.bands import PlaneBands
    >>> isinstance(fl.rings(width=28), PlaneBands)
    True
    >>> isinstance(fl.wavelets(), PlaneBands)
    False
    """

    def __post_init__(self) -> None:
        check_name("band unit", self.unit, UNITS)
        check_name("extension", self.extension, EXTENSIONS)

    @property
    def planar(self) -> bool:
        """Whether the bands are parts of the plane of frequencies: True."""
        return True

    @abstractmethod
    def plane_labels(self, plane: Plane) -> Labels:
        """Band of each coefficient of a half plane, negative where there is none; DC is free."""

    def label_map(
        self, height: int, width: int, *, eye_distance: float | None = None
    ) -> npt.NDArray[np.int64]:
        """Label every coefficient of the real Fourier transform of a crop.

        Coefficients are compared with the edges of bands in integer arithmetic, without rounding,
        because many lie exactly on an edge (53 in the half plane of a 112-pixel crop with rings of
        width 4). An edge is treated as the decimal number it is written as: 0.1 is one tenth.

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
            Symmetric under a change of sign of the frequency. With ``extension="mirror"``, this
            is the map of the crop itself, for figures; the bands are removed by that of the
            mirrored crop.

        Raises
        ------
        ParameterError
            If the size is not positive, or the unit needs an eye distance and none is given.
        """
        _check_positive(height, width)
        return self._labelled(Plane(height, width, self._pixels_per_unit(width, eye_distance)))

    def decompose(
        self, height: int, width: int, *, eye_distance: float | None = None
    ) -> Decomposition:
        """Make the decomposition of crops of one size."""
        _check_positive(height, width)
        pixels = self._pixels_per_unit(width, eye_distance)
        n, size = len(self), (height, width)
        if self.extension == "periodic":
            labels = self._labelled(Plane(height, width, pixels))
            return PeriodicDecomposition(torch.from_numpy(labels), n, size)
        labels = self._labelled(Plane(2 * height, 2 * width, pixels))
        return MirroredDecomposition(torch.from_numpy(labels), n, size)

    def _labelled(self, plane: Plane) -> Labels:
        labels = self.plane_labels(plane)
        labels[0, 0] = DC
        return labels

    def _declared(self, **values: Any) -> dict[str, Any]:
        """Declaration with the values that all these kinds share; periodic is not stated."""
        declared = {"kind": self.kind, **values, "unit": self.unit}
        if self.extension != "periodic":
            declared["extension"] = self.extension
        return declared


@dataclass(frozen=True, eq=False)
class MergedBands(Bands):
    """Neighbouring bands of another declaration, merged.

    Parameters
    ----------
    of
        The bands that are merged.
    together
        Number of bands in each merged band; the last has the remainder.
    """

    of: Bands
    together: int
    kind: ClassVar[str] = "merged"

    def __len__(self) -> int:
        return -(-len(self.of) // self.together)

    @property
    def planar(self) -> bool:
        """Whether the merged bands are parts of the plane of frequencies."""
        return self.of.planar

    @property
    def _groups(self) -> Labels:
        return np.arange(len(self.of)) // self.together

    @property
    def names(self) -> list[str]:
        """Names of the first and the last of the bands that are merged."""
        names = self.of.names
        starts = range(0, len(names), self.together)
        ends = [min(start + self.together, len(names)) - 1 for start in starts]
        return [
            names[first] if first == last else f"{names[first]} to {names[last]}"
            for first, last in zip(starts, ends, strict=True)
        ]

    @property
    def bounds(self) -> Floats:
        """Lowest and highest frequency of the bands that are merged."""
        bounds, starts = self.of.bounds, np.arange(0, len(self.of), self.together)
        lower = np.minimum.reduceat(bounds[:, 0], starts)
        return np.column_stack([lower, np.maximum.reduceat(bounds[:, 1], starts)])

    def declaration(self) -> dict[str, Any]:
        """Declaration of the bands as plain JSON values."""
        return {"kind": self.kind, "of": self.of.declaration(), "together": self.together}

    def decompose(
        self, height: int, width: int, *, eye_distance: float | None = None
    ) -> Decomposition:
        """Make the decomposition of crops of one size."""
        within = self.of.decompose(height, width, eye_distance=eye_distance)
        return MergedDecomposition(within, self._groups)

    def label_map(
        self, height: int, width: int, *, eye_distance: float | None = None
    ) -> npt.NDArray[np.int64]:
        """Label every coefficient of the real Fourier transform of a crop."""
        labels = self.of.label_map(height, width, eye_distance=eye_distance)
        return np.where(labels >= 0, labels // self.together, labels)

    def _picture(self) -> Labels:
        labels = self.of._picture()
        return np.where(labels >= 0, labels // self.together, labels)


def centres(bounds: Floats, unit: str) -> Floats:
    """Centre of each interval of frequency, a nominal one where there is no upper bound."""
    lower, upper = bounds.T
    highest = {"cycles/image": 56.0, "cycles/pixel": 0.5}.get(unit, 17.62)
    end = np.where(lower > 0, math.sqrt(2) * lower, math.sqrt(2) * highest)
    return np.asarray((lower + np.where(np.isinf(upper), end, upper)) / 2)


def check_support(bands: Bands, present: Iterable[npt.NDArray[np.bool_]]) -> None:
    """Refuse bands that hold nothing at the input size of any model of a run.

    Parameters
    ----------
    bands
        The bands.
    present
        Whether each band has a component, ``(band,)`` for each model.

    Raises
    ------
    BandError
        With the names of the empty bands in its message.
    """
    somewhere = np.any(list(present), axis=0)
    empty = [name for name, there in zip(bands.names, somewhere, strict=True) if not there]
    if empty:
        raise BandError(
            f"no model of the run has a coefficient in the band(s) {', '.join(empty)} "
            f"({bands.unit}); widen them or leave them out"
        )


def _check_positive(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ParameterError(f"height={height}, width={width}: both must be positive")

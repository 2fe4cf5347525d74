"""Bands of the user's own: label maps of the plane of frequencies for one or more crop sizes."""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from freqlab.bands.band_shapes import full_plane
from freqlab.bands.base import Plane, PlaneBands
from freqlab.bands.labels import OUTSIDE
from freqlab.errors import BandError, check_name
from freqlab.literals import Extension

__all__ = ["Custom", "LabelFunction", "custom", "custom_from"]

LabelFunction = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.ArrayLike]
"""Labels from vertical and horizontal frequencies in cycles/pixel, over the full plane."""

_MOST = 30_000  # bands

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Custom(PlaneBands):
    """Bands given by label maps; use :func:`custom` to create them.

    Parameters
    ----------
    given_names
        Name of each band.
    maps
        Height and width of a transformed image, and the labels of its half plane as bytes.
    """

    given_names: tuple[str, ...]
    maps: tuple[tuple[int, int, bytes], ...] = field(repr=False)
    kind: ClassVar[str] = "custom"

    def __len__(self) -> int:
        return len(self.given_names)

    @property
    def names(self) -> list[str]:
        """Names of the bands."""
        return list(self.given_names)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths of the crops for which there is a map."""
        scale = 2 if self.extension == "mirror" else 1
        return [(height // scale, width // scale) for height, width, _ in self.maps]

    @property
    def bounds(self) -> npt.NDArray[np.float64]:
        """Lowest and highest radius of a coefficient of each band, in `unit`, first map."""
        radius = self._radius()
        return np.array([[radius[k].min(), radius[k].max()] for k in range(len(self))])

    @property
    def frequency(self) -> npt.NDArray[np.float64]:
        """Mean radius of the coefficients of each band, in `unit`, first map."""
        radius = self._radius()
        return np.array([radius[k].mean() for k in range(len(self))])

    def declaration(self) -> dict[str, Any]:
        """Declaration of the bands as plain JSON values; the maps are compressed."""
        maps = [
            [height, width, base64.b64encode(zlib.compress(raw, 9)).decode()]
            for height, width, raw in self.maps
        ]
        return self._declared(names=self.names, maps=maps)

    def plane_labels(self, plane: Plane) -> Labels:
        """Band of each coefficient of a half plane.

        Raises
        ------
        BandError
            If there is no map of this size.
        """
        for height, width, raw in self.maps:
            if (height, width) == (plane.height, plane.width):
                return _half(raw, height, width)
        sizes = " and ".join(f"{height} x {width}" for height, width, _ in self.maps)
        wanted = f"{plane.height} x {plane.width}"
        if self.extension == "mirror":
            wanted += ", the mirrored crop"
        raise BandError(
            f"custom bands are for images of {sizes} pixels (height x width), and not for {wanted}"
        )

    def label_map(self, height: int, width: int, *, eye_distance: float | None = None) -> Labels:
        """Label every coefficient of the real Fourier transform of a crop.

        With ``extension="mirror"``, the frequencies of the crop are every second one of those of
        the mirrored crop, for which the map is.
        """
        if self.extension != "mirror":
            return super().label_map(height, width, eye_distance=eye_distance)
        pixels = self._pixels_per_unit(width, eye_distance)
        labels = self._labelled(Plane(2 * height, 2 * width, pixels))
        return labels[::2, ::2].copy()

    def _picture(self) -> Labels:
        """Label map with zero frequency in the middle, of a crop of the first size."""
        height, width = self.sizes[0]
        return full_plane(self.label_map(height, width), width)

    def _radius(self) -> list[npt.NDArray[np.float64]]:
        """Radii of the coefficients of each band in the first map."""
        height, width, raw = self.maps[0]
        labels = _half(raw, height, width)
        labels[0, 0] = OUTSIDE
        # the declaration is in cycles per crop width, also where the map is of the mirrored crop
        across = width // 2 if self.extension == "mirror" else width
        fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        radius = np.hypot(fy, fx) * across
        twice = np.full(labels.shape, 2)
        twice[:, 0] = 1
        if width % 2 == 0:
            twice[:, -1] = 1
        return [np.repeat(radius[labels == k], twice[labels == k]) for k in range(len(self))]


def custom(
    labels: npt.ArrayLike | LabelFunction | str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    centred: bool = False,
    size: tuple[int, int] = (112, 112),
    extension: Extension = "periodic",
) -> Custom:
    """Declare bands by a label map of the plane of frequencies.

    Parameters
    ----------
    labels
        One of:

        - labels ``(height, width)`` of all coefficients of a crop, zero frequency first, as
          ``numpy.fft.fft2`` orders them: the number of the band from 0 on, negative where a
          coefficient is never removed;
        - masks ``(band, height, width)`` of truth values in the same order, which do not overlap;
        - a function of the vertical and horizontal frequencies in cycles/pixel, two arrays
          ``(height, width)``, which returns labels; it is evaluated for `size`;
        - the path of a ``.npy`` file with labels or masks.

        The label of the zero frequency is ignored: the mean is always kept.
    names
        Name of each band; by default ``"band 0"``, ``"band 1"``, ...
    centred
        Whether the zero frequency of labels or masks is in the middle, as
        ``numpy.fft.fftshift`` orders them.
    size
        Height and width of the crops, for a function.
    extension
        As for :func:`freqlab.rings`; with ``"mirror"``, the map is that of the mirrored crop,
        twice as high and wide.

    Returns
    -------
    Bands
        Bands for crops of exactly this size.

    Raises
    ------
    BandError
        If labels are missing, not whole numbers, or not symmetric under a change of sign of the
        frequency, if masks overlap, or if names do not fit.

    Examples
    --------
    Two bands, of fine horizontal and fine vertical detail:

    >>> import numpy as np
    >>> import freqlab as fl
    >>> bands = fl.custom(
    ...     lambda fy, fx: np.where(np.hypot(fy, fx) < 0.1, -1, np.abs(fx) > np.abs(fy)),
    ...     names=["horizontal", "vertical"],
    ... )
    >>> bands.label_map(112, 112).shape
    (112, 57)
    """
    check_name("extension", extension, ("periodic", "mirror"))
    scale = 2 if extension == "mirror" else 1
    if callable(labels):
        height, width = (scale * int(length) for length in size)
        fy, fx = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
        given = np.asarray(labels(fy, fx))
        if given.shape != (height, width):
            raise BandError(
                f"the function of custom bands returned labels of shape {given.shape} for "
                f"frequencies of shape {(height, width)}"
            )
    elif isinstance(labels, (str, os.PathLike)):
        given = _read(labels)
    else:
        given = np.asarray(labels)
    if centred and not callable(labels) and given.ndim >= 2:
        given = np.fft.ifftshift(given, axes=(-2, -1))
    numbered = _numbered(given)
    height, width = numbered.shape
    if scale == 2 and (height % 2 or width % 2):
        raise BandError(
            f"labels of shape {numbered.shape}: with extension='mirror' the map is that of the "
            f"mirrored crop, twice as high and wide"
        )
    _check_symmetric(numbered)
    numbered[0, 0] = OUTSIDE
    n_bands = int(numbered.max()) + 1
    texts = _checked_names(names, n_bands)
    half = numbered[:, : width // 2 + 1].astype(np.int16)
    return Custom(texts, ((height, width, half.tobytes()),), extension=extension)


def _read(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read labels or masks from a file, which may hold no objects.

    Raises
    ------
    BandError
        If there is no such file, or it is not an array.
    """
    if not Path(path).is_file():
        raise BandError(f"custom bands: there is no file {os.fspath(path)!r}")
    try:
        made = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BandError(
            f"custom bands: {os.fspath(path)!r} is no .npy file of numbers: {error}"
        ) from error
    if not isinstance(made, np.ndarray):
        raise BandError(f"custom bands: {os.fspath(path)!r} must be a .npy file with one array")
    return made


def _numbered(given: npt.NDArray[Any]) -> Labels:
    """Labels of the full plane as whole numbers, from labels or masks.

    Raises
    ------
    BandError
        If they are neither, with the values at fault.
    """
    if given.ndim == 3 and given.dtype == bool:
        n_labels = given.sum(axis=0)
        n_labels[0, 0] = 0
        if (n_labels > 1).any():
            at = tuple(int(i) for i in np.argwhere(n_labels > 1)[0])
            bands = np.flatnonzero(given[:, at[0], at[1]]).tolist()
            raise BandError(
                f"labels: the masks of bands {bands} overlap, first at coefficient {at}; each "
                f"coefficient belongs to at most one band"
            )
        empty = np.flatnonzero(~given.any(axis=(1, 2)))
        if len(empty):
            raise BandError(f"labels: the masks of bands {empty.tolist()} hold no coefficient")
        given = np.where(given.any(axis=0), given.argmax(axis=0), OUTSIDE)
    if given.ndim != 2 or min(given.shape) < 2:
        raise BandError(
            f"labels of shape {given.shape} must be labels (height, width) or masks of truth "
            f"values (band, height, width)"
        )
    if given.dtype == bool:
        raise BandError("labels: a single mask must have the shape (1, height, width)")
    if given.dtype.kind not in "iuf":
        raise BandError(f"labels of type {given.dtype} must be whole numbers")
    if not np.isfinite(given).all():
        n_missing = int((~np.isfinite(given)).sum())
        raise BandError(
            f"labels: {n_missing} of {given.size} are NaN or infinite; a coefficient that belongs "
            f"to no band has a negative label"
        )
    numbered = np.asarray(given).astype(np.int64)
    if (numbered != given).any():
        raise BandError(f"labels: {given[numbered != given][0]} is not a whole number")
    numbered = np.where(numbered < 0, OUTSIDE, numbered)
    used = np.unique(numbered.flat[1:])  # whatever the label of the zero frequency
    used = used[used >= 0]
    if not len(used):
        raise BandError("labels: no coefficient belongs to a band; labels of bands begin with 0")
    if used[-1] >= _MOST:
        raise BandError(f"labels: {int(used[-1])} is above the highest allowed, {_MOST - 1:,}")
    lacking = np.setdiff1d(np.arange(used[-1] + 1), used)
    if len(lacking):
        raise BandError(
            f"labels: no coefficient has the label {int(lacking[0])}, and the highest is "
            f"{int(used[-1])}; bands are numbered from 0 without gaps"
        )
    return numbered


def _check_symmetric(labels: Labels) -> None:
    """Refuse labels that differ between a frequency and its negative.

    Raises
    ------
    BandError
        With a coefficient that differs, and a hint if the map is centred.
    """
    mirrored = _negated(labels)
    if (labels == mirrored).all():
        return
    at = tuple(int(i) for i in np.argwhere(labels != mirrored)[0])
    moved = np.fft.ifftshift(labels)
    text = (
        f"labels are not symmetric under a change of sign of the frequency: coefficient {at} has "
        f"label {int(labels[at])}, and its negative {int(mirrored[at])}"
    )
    if (moved == _negated(moved)).all():
        text += (
            "; the zero frequency is in the middle: reorder by numpy.fft.ifftshift, or give "
            "fl.custom(..., centred=True)"
        )
    raise BandError(text)


def _negated(labels: Labels) -> Labels:
    """The label of the negative of each frequency."""
    return np.roll(labels[::-1, ::-1], 1, axis=(0, 1))


def _checked_names(names: Sequence[str] | None, n_bands: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"band {k}" for k in range(n_bands))
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise BandError(f"names={names!r} must be a list of texts, one for each band")
    if len(names) != n_bands:
        raise BandError(f"names={list(names)!r}: {len(names)} names for {n_bands} bands")
    if len(set(names)) < n_bands:
        raise BandError(f"names={list(names)!r} repeats a name")
    return tuple(names)


def _half(raw: bytes, height: int, width: int) -> Labels:
    return np.frombuffer(raw, np.int16).reshape(height, width // 2 + 1).astype(np.int64)


def custom_from(declared: Mapping[str, Any]) -> Custom:
    """Make custom bands again from their declaration."""
    maps = tuple(
        (int(height), int(width), zlib.decompress(base64.b64decode(packed)))
        for height, width, packed in declared["maps"]
    )
    extension = str(declared.get("extension", "periodic"))
    return Custom(tuple(declared["names"]), maps, unit=declared["unit"], extension=extension)

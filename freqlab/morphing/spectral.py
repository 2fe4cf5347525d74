"""Residual spectra of face crops by region, a baseline that detects morphs without a face model.

After FD-MAD (Paulo, Proença & Neves 2026, *FD-MAD: Frequency-Domain Residual Analysis for Face
Morphing Attack Detection*, arXiv:2601.20656). According to its abstract, which is what was read,
the spectrum of the whole face and of its parts is decoupled from its natural decay, and the
evidence of the parts is combined. The following is our choice: the parts, the rings, a line
for the decay of log power over log frequency, and a linear discriminant analysis of all parts in
place of their Markov random field.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import with_object_text
from freqlab.errors import ParameterError, check_number
from freqlab.images.templates import Template
from freqlab.images.templates import template as named_template
from freqlab.store.reading import open_crops

__all__ = ["residual_spectra", "residuals_of"]

_LUMA = np.array([0.299, 0.587, 0.114])
_RANGE = (0.06, 0.5)  # cycles/pixel; below, a window of an eye distance resolves nothing
_FACES_PER_STEP = 256
_NOISE = 1 / 12  # variance of rounding to grey levels, below which power is not known

Floats = npt.NDArray[np.float64]
Box = tuple[slice, slice]


def residual_spectra(
    store: str | os.PathLike[str],
    *,
    template: str = "arcface",
    faces: Sequence[str] | None = None,
    n_rings: int = 12,
) -> xr.DataArray:
    """Compute the residual spectra of the crops of a run, for the face and its parts.

    Parameters
    ----------
    store
        The run's Zarr group.
    template
        Template of the crops.
    faces
        Names of the faces; by default all faces that have a crop.
    n_rings
        Number of rings of spatial frequency, from 0.06 to 0.5 cycles/pixel, three or more.

    Returns
    -------
    xarray.DataArray
        ``(face, region, ring)``: log10 of power less its fit over log frequency, as
        :func:`freqlab.morphing.spectral.residuals_of` describes. Regions are the ``face`` and, if
        the template fixes the five points, ``eyes``, ``nose`` and ``mouth``. Coordinate
        ``frequency(ring)`` in cycles/pixel. A face without a crop has no row.

    Raises
    ------
    StoreError
        If there is no run, or it has no crops of this template.
    ParameterError
        If the run keeps no crops, or an argument is out of range.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=2, per_subject=2)
    >>> run = fl.embed(faces, models=[fl.testing.model()], store="run.zarr", progress=False)
    >>> fl.morphing.residual_spectra("run.zarr").sizes
    Frozen({'face': 4, 'region': 4, 'ring': 12})
    """
    check_number("n_rings", n_rings, at_least=3, whole=True)
    crops = open_crops(store, template=template)
    if "crop" not in crops:
        raise ParameterError(
            f"store={os.fspath(store)!r} has no stored crops; compute the run with keep_crops=True"
        )
    names = crops["face"].to_numpy().astype(str)
    known = crops["status_text"].to_numpy() == "ok"
    if faces is not None:
        known &= np.isin(names, list(faces))
    rows = np.flatnonzero(known)
    boxes = _regions(named_template(template))
    residuals = np.empty((len(rows), len(boxes), n_rings))
    for start in range(0, len(rows), _FACES_PER_STEP):
        step = rows[start : start + _FACES_PER_STEP]
        luma = crops["crop"].isel(face=step).to_numpy().astype(float) @ _LUMA
        for k, (down, across) in enumerate(boxes.values()):
            residuals[start : start + len(step), k] = residuals_of(luma[:, down, across], n_rings)
    edges = np.linspace(*_RANGE, n_rings + 1)
    spectra = xr.DataArray(
        residuals,
        dims=("face", "region", "ring"),
        coords={
            "face": np.array(names[rows], object),
            "region": np.array(list(boxes), object),
            "frequency": ("ring", (edges[:-1] + edges[1:]) / 2, {"units": "cycles/pixel"}),
        },
        name="residual",
        attrs={"long_name": "residual log10 power", "units": "1", "template": template},
    )
    return with_object_text(spectra.to_dataset())["residual"]


def residuals_of(images: Floats, n_rings: int) -> Floats:
    """Compute the residual spectra of grey images.

    The mean is subtracted, and a Hann window applied. Log power is averaged over each ring, and the
    line that fits it best over log frequency is subtracted: natural images have power that decays
    with a power of the frequency, so that what remains shows how a spectrum departs from this
    decay, whatever the contrast.

    Parameters
    ----------
    images
        ``(n, height, width)``, grey levels.
    n_rings
        Number of rings.

    Returns
    -------
    numpy.ndarray
        ``(n, ring)``; 0 for an image without power.
    """
    height, width = images.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    mean = (images * window).sum(axis=(1, 2), keepdims=True) / window.sum()
    spectrum = np.fft.rfft2((images - mean) * window, axes=(1, 2))
    power = np.abs(spectrum) ** 2 / np.square(window).sum()
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    edges = np.linspace(*_RANGE, n_rings + 1)
    ring = np.searchsorted(edges, frequency, side="right") - 1
    log_power = np.log10(power + _NOISE)
    values, centres = np.empty((len(images), n_rings)), np.empty(n_rings)
    for k in range(n_rings):
        inside = ring == k
        values[:, k] = log_power[:, inside].mean(axis=1)
        centres[k] = np.log10(frequency[inside]).mean()
    design = np.column_stack([np.ones(n_rings), centres])
    return np.asarray(values - (design @ np.linalg.lstsq(design, values.T, rcond=None)[0]).T)


def _regions(template: Template) -> dict[str, Box]:
    """Boxes of the face and, if the template fixes its points, of its parts.

    The boxes of parts are centred on the eyes, the nose and the mouth, and their height is the
    distance of the eyes.
    """
    height, width = template.size
    boxes: dict[str, Box] = {"face": (slice(0, height), slice(0, width))}
    if not template.points:
        return boxes
    points = np.array(template.points)
    size = float(np.hypot(*(points[1] - points[0])))
    centres = {
        "eyes": (points[:2].mean(axis=0), 1.8),
        "nose": (points[2], 1.0),
        "mouth": (points[3:].mean(axis=0), 1.4),
    }
    for name, ((x, y), wide) in centres.items():
        down = slice(max(0, round(y - size / 2)), min(height, round(y + size / 2)))
        half = wide * size / 2
        boxes[name] = (down, slice(max(0, round(x - half)), min(width, round(x + half))))
    return boxes

"""Joint maps: influence by band and by position in the face.

A band is removed within one window of the face at a time. The influence of a window is the
similarity of the pair minus that after the removal, as for a whole band. Windows are smooth and sum
to one at each pixel, so together they remove the whole band. Their influences need not sum to that
of the band, since the network is not linear. A window broadens the band by about the bandwidth of
the window.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from freqlab.bands.decompositions import Decomposition, as_decomposition
from freqlab.edits.images import crop_tensor, embed_edits
from freqlab.errors import ParameterError, check_number
from freqlab.models.spec import Model
from freqlab.statistics.vectors import cosines

__all__ = ["Joint", "joint_influence", "window_weights"]

Floats = npt.NDArray[np.float64]


class Joint(NamedTuple):
    """Result of :func:`joint_influence`."""

    influence: Floats
    """``(partner, band, row, column)``; NaN for a band without coefficients."""
    removed_rms: Floats
    """RMS contrast that was removed, in grey levels, over all pixels and colour channels
    ``(band, row, column)``."""
    n_images: int
    """Number of forward passes."""


def window_weights(length: int, n: int) -> npt.NDArray[np.float32]:
    """Compute smooth windows along an axis ``(n, length)`` that sum to one at each pixel.

    Windows are raised cosines around evenly spaced centres. The first and the last window extend
    to the edge.

    Parameters
    ----------
    length
        Number of pixels.
    n
        Number of windows.

    Raises
    ------
    ParameterError
        If there are more windows than pixels.
    """
    check_number("grid", n, at_least=1, whole=True)
    if n > length:
        raise ParameterError(f"grid={n!r} must not exceed the number of pixels, {length}")
    position = (np.arange(length) + 0.5) * n / length - 0.5  # in units of windows
    distance = np.abs(np.clip(position, 0, n - 1) - np.arange(n)[:, None])
    inside = np.minimum(distance, 1)
    return (0.5 + 0.5 * np.cos(np.pi * inside)).astype(np.float32)


def joint_influence(
    model: Model,
    crop: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    partners: npt.NDArray[np.floating],
    parts: npt.NDArray[np.int64] | Decomposition,
    n_bands: int,
    *,
    grid: int = 7,
    batch_size: int | None = None,
) -> Joint:
    """Compute the influence of each band within each window of a crop.

    Parameters
    ----------
    model
        The model.
    crop
        The image from which bands are removed, RGB ``(height, width, 3)``, 0..255.
    partners
        Embeddings of the images with which the crop is compared ``(partner, feature)``.
    parts, n_bands
        Decomposition of the crop, or label map ``(height, width // 2 + 1)`` of its periodic
        Fourier transform; and number of bands.
    grid
        Number of windows along each axis.
    batch_size
        Images per forward pass.

    Returns
    -------
    Joint
        Directed influence: similarity minus similarity with the band removed in the window.
    """
    image = crop_tensor(model, crop)
    size = model.template.size
    split = as_decomposition(parts, n_bands, size)
    rows, columns = (torch.from_numpy(window_weights(length, grid)) for length in size)
    bands = np.flatnonzero(split.present)
    components = split.components(image[None], bands.tolist())[0]

    def removed(start: int, stop: int) -> torch.Tensor:
        number = np.arange(start, stop)
        band, window = number // grid**2, number % grid**2
        weights = rows[window // grid, :, None] * columns[window % grid, None, :]
        return weights[:, None] * components[band]

    n = len(bands) * grid**2
    rms = np.empty(n)

    def edit(start: int, stop: int) -> torch.Tensor:
        if start == n:  # the last image is the untouched one
            return image[None]
        gone = removed(start, min(stop, n))
        rms[start : start + len(gone)] = gone.square().mean(dim=(1, 2, 3)).sqrt().numpy()
        images = image - gone
        return images if stop <= n else torch.cat([images, image[None]])

    similarity = cosines(embed_edits(model, n + 1, edit, batch_size=batch_size), partners)
    change = similarity[-1] - similarity[:-1]
    influence = np.full((len(partners), n_bands, grid, grid), np.nan)
    influence[:, bands] = change.T.reshape(-1, len(bands), grid, grid)
    contrast = np.full((n_bands, grid, grid), np.nan)
    contrast[bands] = rms.reshape(-1, grid, grid)
    return Joint(influence, contrast, n + 1)

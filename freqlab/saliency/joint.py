"""Joint maps: influence by band and by place in the face.

A band is removed only within a window that slides over the face, and the similarity of the pair is
compared as for the whole band. Windows are smooth and sum to one everywhere, so together they
remove the whole band. Their influences need not sum to that of the band, since the network is not
linear. The window spreads the band in frequency by about the window's width in frequency.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from freqlab.bands import spectrum
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
    """RMS contrast taken away, in grey levels, over all pixels and colours
    ``(band, row, column)``."""
    n_images: int
    """Forward passes."""


def window_weights(length: int, n: int) -> npt.NDArray[np.float32]:
    """Compute smooth windows along an axis ``(n, length)`` that sum to one at every pixel.

    Raised cosines around evenly spaced centres; the first and the last extend to the edge.

    Raises
    ------
    ParameterError
        If there are more windows than pixels.
    """
    check_number("grid", n, at_least=1, whole=True)
    if n > length:
        raise ParameterError(f"grid={n!r} must be no more than the pixels of the crop, {length}")
    place = (np.arange(length) + 0.5) * n / length - 0.5  # in units of windows
    distance = np.abs(np.clip(place, 0, n - 1) - np.arange(n)[:, None])
    inside = np.minimum(distance, 1)
    return (0.5 + 0.5 * np.cos(np.pi * inside)).astype(np.float32)


def joint_influence(
    model: Model,
    crop: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    partners: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
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
        The image that is edited, RGB ``(height, width, 3)``, 0..255.
    partners
        Embeddings of the images with which the crop is compared ``(partner, feature)``.
    labels, n_bands
        Label map ``(height, width // 2 + 1)`` and number of bands.
    grid
        Windows along each axis.
    batch_size
        Images per forward pass.

    Returns
    -------
    Joint
        Directed influence: similarity minus similarity with the band removed in the window.
    """
    image = crop_tensor(model, crop)
    size = model.template.size
    spectrum.check_labels(torch.from_numpy(labels), *size)
    rows, columns = (torch.from_numpy(window_weights(length, grid)) for length in size)
    held = np.unique(labels[labels >= 0])
    masks = torch.stack([torch.from_numpy(labels == band) for band in held])
    parts = spectrum.apply_masks(image.expand(len(held), -1, -1, -1), masks)

    def removed(start: int, stop: int) -> torch.Tensor:
        number = np.arange(start, stop)
        band, window = number // grid**2, number % grid**2
        weights = rows[window // grid, :, None] * columns[window % grid, None, :]
        return weights[:, None] * parts[band]

    n = len(held) * grid**2
    rms = np.empty(n)

    def edit(start: int, stop: int) -> torch.Tensor:
        if start == n:  # the last image is the untouched one
            return image[None]
        gone = removed(start, min(stop, n))
        rms[start : start + len(gone)] = gone.square().mean(dim=(1, 2, 3)).sqrt().numpy()
        images = image - gone
        return images if stop <= n else torch.cat([images, image[None]])

    found = cosines(embed_edits(model, n + 1, edit, batch_size=batch_size), partners)
    influence = np.full((len(partners), n_bands, grid, grid), np.nan)
    influence[:, held] = (found[-1] - found[:-1]).T.reshape(-1, len(held), grid, grid)
    contrast = np.full((n_bands, grid, grid), np.nan)
    contrast[held] = rms.reshape(-1, grid, grid)
    return Joint(influence, contrast, n + 1)

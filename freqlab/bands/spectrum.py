"""Split, remove and keep bands of images, and measure their energy. Pure PyTorch.

Everything here works on the real Fourier transform of each channel, with a label map from
:meth:`freqlab.bands.base.Bands.label_map`: hard-edged, no window, no clipping, no
rounding (our choices). Images are float tensors ``(n, channel, height, width)`` on any device.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from freqlab.bands.labels import DC
from freqlab.errors import ParameterError

__all__ = [
    "apply_masks",
    "check_labels",
    "energy",
    "energy_of_transform",
    "keep",
    "removal_masks",
    "remove",
    "split",
]


def check_labels(labels: torch.Tensor, height: int, width: int) -> None:
    """Refuse label maps that do not fit images of this size or are not symmetric.

    A real image needs the same mask at ``k`` and ``-k``. The half plane contains both in the
    columns of horizontal frequency zero and, for an even width, Nyquist. An asymmetric map there
    would silently act as a different map.

    Parameters
    ----------
    labels
        Band of each coefficient of the half plane ``(height, width // 2 + 1)``.
    height, width
        Size of the images in pixels.

    Raises
    ------
    ParameterError
        If shape or symmetry is wrong.

    Examples
    --------
    >>> import torch
    >>> import freqlab as fl
    >>> labels = torch.as_tensor(fl.rings(width=28).label_map(112, 112))
    >>> fl.bands.check_labels(labels, 112, 112)
    """
    if tuple(labels.shape) != (height, width // 2 + 1):
        raise ParameterError(
            f"labels of shape {tuple(labels.shape)} do not fit images of {height} x {width}, "
            f"which need {(height, width // 2 + 1)}"
        )
    columns = [0, width // 2] if width % 2 == 0 else [0]
    for column in columns:
        values = labels[:, column]
        mirrored = torch.roll(values.flip(0), 1)
        if not torch.equal(values, mirrored):
            raise ParameterError(
                f"labels are not symmetric under a change of sign of the frequency (column "
                f"{column}); the removal would be another than the one asked for"
            )


def apply_masks(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Multiply each image's spectrum by its mask.

    Parameters
    ----------
    images
        ``(n, channel, height, width)``.
    masks
        ``(height, width // 2 + 1)`` or ``(n, height, width // 2 + 1)``, 1 where kept.

    Returns
    -------
    torch.Tensor
        As `images`, unclipped.

    Examples
    --------
    >>> import torch
    >>> import freqlab as fl
    >>> images = torch.rand(2, 3, 8, 8)
    >>> masks = torch.ones(2, 8, 5)
    >>> masked = fl.bands.apply_masks(images, masks)
    >>> bool(torch.allclose(masked, images, atol=1e-6))
    True
    """
    spectrum = torch.fft.rfft2(images)
    masks = masks.to(images.dtype)
    spectrum = spectrum * (masks if masks.ndim == 2 else masks[:, None])
    return torch.fft.irfft2(spectrum, s=images.shape[-2:])


def removal_masks(removals: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Masks that remove sets of bands.

    Parameters
    ----------
    removals
        Boolean ``(removal, band)``, True where the band is removed.
    labels
        Label map ``(height, width // 2 + 1)``.

    Returns
    -------
    torch.Tensor
        Boolean ``(removal, height, width // 2 + 1)``, True where a coefficient stays.
    """
    in_band = labels >= 0
    masks = ~removals[:, labels.clamp(min=0)]
    return masks | ~in_band


def remove(images: torch.Tensor, labels: torch.Tensor, bands: Iterable[int]) -> torch.Tensor:
    """Remove bands from images; DC and coefficients outside all bands stay.

    Parameters
    ----------
    images
        ``(n, channel, height, width)``.
    labels
        Label map ``(height, width // 2 + 1)``.
    bands
        Labels to remove. A band without coefficients leaves the image unchanged.

    Returns
    -------
    torch.Tensor
        As `images`, unclipped.

    Examples
    --------
    >>> import torch
    >>> import freqlab as fl
    >>> images = torch.rand(1, 3, 112, 112)
    >>> labels = torch.as_tensor(fl.rings(width=28).label_map(112, 112))
    >>> without = fl.bands.remove(images, labels, [0, 1])
    >>> bool(torch.isclose(without.mean(), images.mean(), atol=1e-5))
    True
    """
    return apply_masks(images, ~_any_of(images, labels, bands))


def keep(images: torch.Tensor, labels: torch.Tensor, bands: Iterable[int]) -> torch.Tensor:
    """Keep only these bands and DC; parameters and result as in :func:`remove`."""
    return apply_masks(images, _any_of(images, labels, [*bands, DC]))


def split(images: torch.Tensor, labels: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """Split images into the components of all their labels.

    Returns
    -------
    labels : list of int
        Distinct labels in increasing order, including DC and outside.
    components : torch.Tensor
        ``(label, n, channel, height, width)``; they sum to the images.
    """
    check_labels(labels, *images.shape[-2:])
    present = [int(label) for label in torch.unique(labels)]
    return present, torch.stack([apply_masks(images, labels == label) for label in present])


def energy(images: torch.Tensor, labels: torch.Tensor, n_bands: int) -> torch.Tensor:
    """Mean square of each band over the pixels and channels of an image (Parseval).

    Its square root is the RMS contrast lost when the band is removed.

    Parameters
    ----------
    images
        ``(n, channel, height, width)``.
    labels
        Label map ``(height, width // 2 + 1)``.
    n_bands
        Number of bands; labels ``0 .. n_bands - 1``.

    Returns
    -------
    torch.Tensor
        ``(n, n_bands)``, squared units of the images; 0 for a band without coefficients.
    """
    return energy_of_transform(torch.fft.rfft2(images), labels, n_bands, images.shape[-1])


def energy_of_transform(
    transform: torch.Tensor, labels: torch.Tensor, n_bands: int, width: int
) -> torch.Tensor:
    """As :func:`energy`, for images given by their Fourier transform.

    Parameters
    ----------
    transform
        ``torch.fft.rfft2`` of the images, ``(n, channel, height, width // 2 + 1)``.
    labels, n_bands
        As for :func:`energy`.
    width
        Width of the images, which does not follow from the transform.
    """
    height = transform.shape[-2]
    check_labels(labels, height, width)
    scale = 1 / (height * width) ** 2
    power = (transform.real.square() + transform.imag.square()).mean(dim=1) * scale
    weights = torch.full((width // 2 + 1,), 2.0, dtype=power.dtype, device=power.device)
    weights[0] = 1
    if width % 2 == 0:
        weights[-1] = 1
    # one bin for every band and one for coefficients outside all bands
    bins = torch.where(labels >= 0, labels, n_bands).to(power.device).flatten()
    sums = torch.zeros(len(power), n_bands + 1, dtype=power.dtype, device=power.device)
    sums.index_add_(1, bins, (power * weights).flatten(1))
    return sums[:, :n_bands]


def _any_of(images: torch.Tensor, labels: torch.Tensor, bands: Iterable[int]) -> torch.Tensor:
    check_labels(labels, *images.shape[-2:])
    wanted = torch.tensor(list(bands), dtype=labels.dtype, device=labels.device)
    return torch.isin(labels, wanted)

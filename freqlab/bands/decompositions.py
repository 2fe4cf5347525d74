"""Decompositions: images as a kept part plus one component for each band. Pure PyTorch.

Every kind of bands divides images of one size into components by linear maps. The components of
all bands and the part that is always kept sum to the image. Removing a set of bands subtracts their
components; nothing is clipped or rounded. Images are float tensors ``(n, channel, height, width)``
in RGB order, on the device of the decomposition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from freqlab.bands import spectrum
from freqlab.errors import ParameterError

__all__ = [
    "ColourDecomposition",
    "Decomposition",
    "MergedDecomposition",
    "MirroredDecomposition",
    "PeriodicDecomposition",
    "SeparableDecomposition",
    "as_decomposition",
]

Labels = npt.NDArray[np.int64]


class Decomposition(ABC):
    """A division of images of one size into a kept part and one component for each band.

    Parameters
    ----------
    size
        Height and width of the images.
    present
        Whether each band has a component at this size ``(band,)``.

    Examples
    --------
    >>> import freqlab as fl
    >>> division = fl.wavelets(level=2).decompose(112, 112)
    >>> division.size
    (112, 112)
    >>> int(division.present.sum())
    6
    """

    def __init__(self, size: tuple[int, int], present: npt.NDArray[np.bool_]) -> None:
        self.size = size
        self.present = present

    def __len__(self) -> int:
        return len(self.present)

    @abstractmethod
    def to(self, device: str | torch.device) -> Decomposition:
        """Return this decomposition on a device."""

    @abstractmethod
    def removed(self, images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Sum the components of sets of bands.

        Parameters
        ----------
        images
            ``(n, channel, height, width)``.
        sets
            Boolean ``(set, band)``.

        Returns
        -------
        torch.Tensor
            ``(n, set, channel, height, width)``: what removing each set takes away.
        """

    def remove(self, images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Images without sets of bands; parameters and result as for :meth:`removed`."""
        return images[:, None] - self.removed(images, sets)

    def keep(self, images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Images with only some sets of bands and the part that is always kept."""
        return self.remove(images, ~sets)

    def components(self, images: torch.Tensor, bands: Sequence[int] | None = None) -> torch.Tensor:
        """Components of some bands, by default of all.

        Returns
        -------
        torch.Tensor
            ``(n, band, channel, height, width)``; zero for a band that is not present.
        """
        wanted = torch.eye(len(self), dtype=torch.bool)
        if bands is not None:
            wanted = wanted[list(bands)]
        return self.removed(images, wanted)

    def energy(self, images: torch.Tensor) -> torch.Tensor:
        """Mean square of each component over pixels and channels ``(n, band)``."""
        return torch.cat(
            [self.components(one[None]).square().mean(dim=(2, 3, 4)) for one in images]
        )

    def _check_size(self, images: torch.Tensor) -> None:
        if tuple(images.shape[-2:]) != self.size:
            raise ParameterError(
                f"images of {images.shape[-2]} x {images.shape[-1]} pixels do not fit bands "
                f"for {self.size[0]} x {self.size[1]}"
            )


class PeriodicDecomposition(Decomposition):
    """Bands of the discrete Fourier transform of the image, which treats it as periodic.

    Parameters
    ----------
    labels
        Label map ``(height, width // 2 + 1)``.
    n_bands
        Number of bands.
    size
        Height and width of the images.

    Raises
    ------
    ParameterError
        If the map does not fit the size, or is not symmetric.
    """

    def __init__(self, labels: torch.Tensor, n_bands: int, size: tuple[int, int]) -> None:
        spectrum.check_labels(labels, *size)
        super().__init__(size, np.isin(np.arange(n_bands), labels.cpu().numpy()))
        self.labels = labels

    def to(self, device: str | torch.device) -> PeriodicDecomposition:
        """Return this decomposition on a device."""
        return PeriodicDecomposition(self.labels.to(device), len(self), self.size)

    def removed(self, images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Sum the components of sets of bands."""
        return self._masked(images, ~spectrum.removal_masks(sets.to(images.device), self.labels))

    def remove(self, images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Images without sets of bands."""
        return self._masked(images, spectrum.removal_masks(sets.to(images.device), self.labels))

    def energy(self, images: torch.Tensor) -> torch.Tensor:
        """Mean square of each component (Parseval)."""
        return spectrum.energy(images, self.labels, len(self))

    def _masked(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        self._check_size(images)
        transform = torch.fft.rfft2(images)[:, None]
        product = transform * masks.to(images.dtype)[:, None]
        return torch.fft.irfft2(product, s=self.size)


class MirroredDecomposition(Decomposition):
    """Bands of the image continued by its mirror image, whose border is no step.

    The image is reflected about its right and lower edges, which gives a periodic image of twice
    the height and width without a jump. Bands are removed from that image, and the result is
    cropped back.

    Parameters
    ----------
    labels
        Label map of the mirrored image ``(2 * height, width + 1)``.
    n_bands
        Number of bands.
    size
        Height and width of the images before mirroring.
    """

    def __init__(self, labels: torch.Tensor, n_bands: int, size: tuple[int, int]) -> None:
        spectrum.check_labels(labels, 2 * size[0], 2 * size[1])
        super().__init__(size, np.isin(np.arange(n_bands), labels.cpu().numpy()))
        self.labels = labels

    def to(self, device: str | torch.device) -> MirroredDecomposition:
        """Return this decomposition on a device."""
        return MirroredDecomposition(self.labels.to(device), len(self), self.size)

    def removed(self, images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Sum the components of sets of bands."""
        self._check_size(images)
        height, width = self.size
        wide = torch.cat([images, images.flip(-1)], dim=-1)
        transform = torch.fft.rfft2(torch.cat([wide, wide.flip(-2)], dim=-2))
        masks = ~spectrum.removal_masks(sets.to(images.device), self.labels)
        removed = images.new_empty(len(images), len(sets), *images.shape[1:])
        for k, mask in enumerate(masks):
            made = torch.fft.irfft2(transform * mask, s=(2 * height, 2 * width))
            removed[:, k] = made[..., :height, :width]
        return removed


class SeparableDecomposition(Decomposition):
    """Components that are products of one linear map of the rows and one of the columns.

    The component of a band is ``rows @ image @ columns.T``, as for subbands of a wavelet.

    Parameters
    ----------
    rows, columns
        Maps along the vertical axis ``(map, height, height)`` and the horizontal axis
        ``(map, width, width)``.
    bands
        Vertical and horizontal map of each band ``(band, 2)``.
    """

    def __init__(
        self, rows: torch.Tensor, columns: torch.Tensor, bands: Sequence[tuple[int, int]]
    ) -> None:
        size = (rows.shape[-1], columns.shape[-1])
        super().__init__(size, np.ones(len(bands), bool))
        self._rows, self._columns, self._bands = rows, columns, tuple(bands)

    def to(self, device: str | torch.device) -> SeparableDecomposition:
        """Return this decomposition on a device."""
        return SeparableDecomposition(self._rows.to(device), self._columns.to(device), self._bands)

    def removed(self, images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Sum the components of sets of bands."""
        self._check_size(images)
        rows, columns = self._rows.to(images.dtype), self._columns.to(images.dtype)
        weights = sets.to(images.device, images.dtype)
        needed = torch.nonzero(sets.any(dim=0)).flatten().tolist()
        of_rows: dict[int, torch.Tensor] = {}
        parts = images.new_empty(len(needed), *images.shape)
        for k, band in enumerate(needed):
            first, second = self._bands[band]
            if first not in of_rows:
                of_rows[first] = rows[first] @ images
            torch.matmul(of_rows[first], columns[second].T, out=parts[k])
        sums = weights[:, needed] @ parts.flatten(1)
        return sums.reshape(len(sets), *images.shape).transpose(0, 1)


class ColourDecomposition(Decomposition):
    """Luminance and chroma of the bands of another decomposition.

    The luminance of a pixel is its Y of YCbCr (ITU-R BT.601) in all three channels; chroma is the
    remainder. Bands are those of the luminance, then those of chroma.

    Parameters
    ----------
    within
        The decomposition that is applied to luminance and to chroma; None for the whole image
        without its mean colour.
    size
        Height and width of the images.
    """

    def __init__(self, within: Decomposition | None, size: tuple[int, int]) -> None:
        present = np.ones(1, bool) if within is None else within.present
        super().__init__(size, np.tile(present, 2))
        self._within = within

    def to(self, device: str | torch.device) -> ColourDecomposition:
        """Return this decomposition on a device."""
        within = None if self._within is None else self._within.to(device)
        return ColourDecomposition(within, self.size)

    def removed(self, images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Sum the components of sets of bands."""
        self._check_size(images)
        if images.shape[1] != 3:
            raise ParameterError(
                f"images with {images.shape[1]} channels have no luminance; RGB has three"
            )
        red, green, blue = images.unbind(dim=1)
        # in this form a grey pixel keeps its value exactly
        luminance = green + 0.299 * (red - green) + 0.114 * (blue - green)
        grey = luminance[:, None].expand_as(images)
        n = len(self) // 2
        removed = images.new_zeros(len(images), len(sets), *images.shape[1:])
        for part, of_part in ((grey, sets[:, :n]), (images - grey, sets[:, n:])):
            some = of_part.any(dim=1).to(images.device)
            if bool(some.any()):
                removed[:, some] += self._of_part(part, of_part[some.to(of_part.device)])
        return removed

    def _of_part(self, part: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        if self._within is not None:
            return self._within.removed(part.contiguous(), sets)
        rest = part - part.mean(dim=(2, 3), keepdim=True)
        return rest[:, None].expand(-1, len(sets), -1, -1, -1)


class MergedDecomposition(Decomposition):
    """Broad bands, each the sum of some bands of another decomposition.

    Parameters
    ----------
    within
        The decomposition whose bands are merged.
    groups
        Broad band of each of its bands ``(band,)``.
    """

    def __init__(self, within: Decomposition, groups: npt.NDArray[np.int64]) -> None:
        present = np.zeros(int(groups.max()) + 1, bool)
        present[groups[within.present]] = True
        super().__init__(within.size, present)
        self._within, self._groups = within, groups

    def to(self, device: str | torch.device) -> MergedDecomposition:
        """Return this decomposition on a device."""
        return MergedDecomposition(self._within.to(device), self._groups)

    def removed(self, images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Sum the components of sets of bands."""
        return self._within.removed(images, sets[:, self._groups.tolist()])


def as_decomposition(
    bands: Labels | Decomposition, n_bands: int, size: tuple[int, int]
) -> Decomposition:
    """Return a decomposition, or the one that a label map of the Fourier transform gives.

    Raises
    ------
    ParameterError
        If it does not fit the number of bands or the size of the images.
    """
    if isinstance(bands, Decomposition):
        if bands.size != tuple(size):
            raise ParameterError(
                f"bands for images of {bands.size[0]} x {bands.size[1]} pixels do not fit images "
                f"of {size[0]} x {size[1]}"
            )
        if len(bands) != n_bands:
            raise ParameterError(
                f"{n_bands} bands are removed, and the decomposition has {len(bands)}"
            )
        return bands
    labels = torch.from_numpy(np.ascontiguousarray(bands))
    spectrum.check_labels(labels, *size)
    if int(labels.max()) >= n_bands:
        raise ParameterError(
            f"{n_bands} bands do not fit labels up to {int(labels.max())}, which begin with 0"
        )
    return PeriodicDecomposition(labels, n_bands, (size[0], size[1]))

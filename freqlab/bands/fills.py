"""Fills: images whose bands replace removed bands.

The method replaces a removed band by zero (our reading of it). These fills are alternatives, to
test how much an explanation depends on that choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from freqlab.bands.decompositions import Decomposition, PeriodicDecomposition

__all__ = ["FILLS", "mean_amplitude_fill", "noise_fill"]

FILLS = ("mean amplitude", "swap", "noise")
"""Mean amplitude of the set with the image's phase; band of the partner; noise of equal energy."""

Crops = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def mean_amplitude_fill(crops: Crops, of: Crops | None = None) -> npt.NDArray[np.float32]:
    """Images with the mean amplitude of a set at each frequency, and the phase of each crop.

    Parameters
    ----------
    crops
        ``(n, height, width, channel)``.
    of
        The crops whose amplitudes are averaged; `crops` by default.
    """
    transform = np.fft.rfft2(crops, axes=(1, 2))
    amplitude = np.abs(transform if of is None else np.fft.rfft2(of, axes=(1, 2))).mean(axis=0)
    made = np.fft.irfft2(
        amplitude * np.exp(1j * np.angle(transform)), s=crops.shape[1:3], axes=(1, 2)
    )
    return made.astype(np.float32)


def noise_fill(
    crops: Crops, parts: Decomposition, *, bands: Sequence[int] | None = None, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Gaussian noise whose component in each band has the energy of that of the crop.

    Parameters
    ----------
    crops
        ``(n, height, width, channel)``.
    parts
        Decomposition of crops of this size.
    bands
        Bands with noise; by default all.
    seed
        Seed of the noise; each crop has a separate pattern.
    """
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    noise = torch.from_numpy(rng.normal(size=tuple(images.shape)).astype(np.float32))
    energy, own = parts.energy(images), parts.energy(noise)
    gain = torch.where(own > 0, (energy / own.clamp(min=1e-20)).sqrt(), 0.0)
    if bands is not None:
        gain[:, np.setdiff1d(np.arange(len(parts)), bands)] = 0
    if not isinstance(parts, PeriodicDecomposition):
        made = torch.stack(
            [
                torch.einsum("b,bchw->chw", of_crop, parts.components(one[None])[0])
                for one, of_crop in zip(noise, gain, strict=True)
            ]
        )
        return made.permute(0, 2, 3, 1).numpy()
    label_map, n_bands = parts.labels, len(parts)
    gain = torch.cat([gain, torch.zeros(len(gain), 1)], dim=1)  # zero outside all bands
    scale = gain[:, torch.where(label_map >= 0, label_map, n_bands)]
    made = torch.fft.irfft2(torch.fft.rfft2(noise) * scale[:, None], s=images.shape[-2:])
    return made.permute(0, 2, 3, 1).numpy()

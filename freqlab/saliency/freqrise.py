"""FreqRISE for images: coefficients that make a pair similar, by random masks of the spectrum.

After Brüsch et al. (*FreqRISE: Explaining time series models using frequency masking*, 2024):
random smooth masks are applied to the Fourier transform, and the value of a coefficient is the
expectation of the score where it is kept. Our choices, where we differ:

- The transform is that of an image. Masks cover the half plane of the real FFT, are symmetric under
  a change of sign of the frequency, and are the same for all colour channels.
- The score is the cosine similarity of a pair of which one image is masked.
- E[s], which is the same at all coefficients, is subtracted from E[s m] / E[m]. The difference is
  zero where a coefficient has no effect, has a sign, and needs fewer masks.
- The zero frequency is always kept, as in band influence.
- Nodes of the random grid have fixed positions, so that masks are symmetric.
- The number of masks is not fixed: masking stops when the map is reliable.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from freqlab.bands import spectrum
from freqlab.edits.images import crop_tensor, embed_edits
from freqlab.errors import ParameterError, check_number
from freqlab.models.spec import Model
from freqlab.saliency.rise import Estimate, Masks, estimate
from freqlab.statistics.vectors import cosines

__all__ = ["freqrise_estimate", "frequency_masks", "plane_weights", "ring_means"]


def frequency_masks(
    n: int, size: tuple[int, int], *, cell: float, keep: float, rng: np.random.Generator
) -> Masks:
    """Draw smooth masks of the real Fourier transform ``(n, height, width // 2 + 1)``, 0 to 1.

    Nodes about `cell` coefficients apart are kept or removed; between them the mask is linear. A
    node and its mirror image are kept or removed together, so masks are symmetric.

    Parameters
    ----------
    n, size
        Number of masks; height and width of the image.
    cell
        Distance between nodes in coefficients, at most a quarter of the smaller side.
    keep
        Probability that a node is kept, between 0 and 1.
    rng
        Random number generator.

    Raises
    ------
    ParameterError
        If a number is out of range.
    """
    height, width = size
    check_number("cell", cell, at_least=1)
    check_number("keep", keep, above=0)
    if keep >= 1:
        raise ParameterError(f"keep={keep!r} must lie between 0 and 1")
    if cell > min(size) / 4:
        raise ParameterError(
            f"cell={cell!r} must not be larger than a quarter of the smaller side, crop {size}"
        )
    half_y, half_x = height / 2, width / 2
    n_y, n_x = round(half_y / cell), round(half_x / cell)
    # rows of nodes from -n_y to n_y, columns from 0 to n_x
    nodes = (rng.random((n, 2 * n_y + 1, n_x + 1)) < keep).astype(np.float32)
    nodes[:, 0] = nodes[:, -1]  # both rows are at the Nyquist frequency
    for column in (0, -1):
        nodes[:, :n_y, column] = nodes[:, :n_y:-1, column]
    ky = np.fft.fftfreq(height, 1 / height) / half_y * n_y + n_y
    kx = np.arange(width // 2 + 1) / half_x * n_x
    masks = _hats(ky, 2 * n_y + 1) @ nodes @ _hats(kx, n_x + 1).T
    masks[:, 0, 0] = 1
    return masks.astype(np.float32)


def _hats(positions: npt.NDArray[np.floating], n: int) -> npt.NDArray[np.float32]:
    """Weights of linear interpolation between nodes 0 to n - 1, ``(position, node)``."""
    distance = np.abs(positions[:, None] - np.arange(n))
    return np.maximum(1 - distance, 0).astype(np.float32)


def freqrise_estimate(
    model: Model,
    crop: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    partners: npt.NDArray[np.floating],
    *,
    n_masks: int = 4000,
    reliability: float = 0.9,
    cell: float = 8,
    keep: float = 0.5,
    seed: int = 0,
    batch_size: int | None = None,
) -> Estimate:
    """Estimate the gain in similarity to each partner where a coefficient is kept.

    Parameters
    ----------
    model
        The model.
    crop
        The image that is masked, RGB ``(height, width, 3)``, 0..255.
    partners
        Embeddings of the images with which the crop is compared ``(partner, feature)``.
    n_masks
        Largest number of masks.
    reliability
        Reliability at which masking stops early: the share of the map's mean square that is
        not noise, above 0 and at most 1.
    cell, keep
        As for :func:`frequency_masks`.
    seed
        Seed of the masks.
    batch_size
        Images per forward pass.

    Returns
    -------
    Estimate
        Maps ``(partner, height, width // 2 + 1)``, in units of cosine similarity; 0 at the zero
        frequency.
    """
    check_number("seed", seed, at_least=0, whole=True)
    image = crop_tensor(model, crop)
    height, width = model.template.size
    rng = np.random.default_rng(seed)

    def score(masks: Masks) -> npt.NDArray[np.float64]:
        kept = torch.from_numpy(masks)

        def edit(start: int, stop: int) -> torch.Tensor:
            copies = image.expand(stop - start, -1, -1, -1)
            return spectrum.apply_masks(copies, kept[start:stop])

        return cosines(embed_edits(model, len(masks), edit, batch_size=batch_size), partners)

    return estimate(
        lambda n: frequency_masks(n, (height, width), cell=cell, keep=keep, rng=rng),
        score,
        (height, width // 2 + 1),
        len(partners),
        kind="expectation",
        most=n_masks,
        reliability=reliability,
    )


def plane_weights(height: int, width: int) -> npt.NDArray[np.float64]:
    """Number of full-plane coefficients that each half-plane coefficient represents: 1 or 2.

    Returns
    -------
    numpy.ndarray
        ``(height, width // 2 + 1)``.
    """
    weights = np.full((height, width // 2 + 1), 2.0)
    weights[:, 0] = 1
    if width % 2 == 0:
        weights[:, -1] = 1
    return weights


def ring_means(
    maps: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], n_bands: int, width: int
) -> npt.NDArray[np.float64]:
    """Average maps over the coefficients of each band.

    Parameters
    ----------
    maps
        Maps ``(..., height, width // 2 + 1)``.
    labels
        Label map ``(height, width // 2 + 1)``.
    n_bands
        Number of bands.
    width
        Width of the image.

    Returns
    -------
    numpy.ndarray
        ``(..., n_bands)``; NaN for a band without coefficients.
    """
    weights = plane_weights(labels.shape[0], width)
    means = np.full((*maps.shape[:-2], n_bands), np.nan)
    for band in np.unique(labels[labels >= 0]):
        inside = labels == band
        means[..., band] = np.average(maps[..., inside], axis=-1, weights=weights[inside])
    return means

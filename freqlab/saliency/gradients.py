"""Gradients of a pair's similarity, in space and in the Fourier basis.

These are approximations of influence: a gradient describes a small change, and removing a band is a
large one. One backward pass gives gradient times image. A few passes along the straight line from
the image of mean colour, without any band, to the image with all bands give integrated gradients
(Sundararajan et al. 2017). In the limit of many passes, their values sum to the difference of both
similarities. With a few passes they do not: the residual is reported for each pair, and the default
number of passes is the smallest power of two with a mean residual below a tenth of the mean
difference on face networks. As the Fourier transform is linear, attributions have the same sum in
either basis. Summed over the coefficients of a band, they can be compared with its influence.

The split into arguments follows the idea of xSSAB (Huber et al. 2023). Each feature of the two
embeddings adds the product of its entries to the cosine. It supports a match if the product is
above its share of the decision threshold, and opposes a match otherwise. Supporting and opposing
features are propagated back through the network separately. Our choices: all features have the same
share; the features are split at the untouched pair; attributions are gradient times image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from freqlab.edits.images import crop_tensor
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.models.spec import Model
from freqlab.saliency.freqrise import plane_weights

__all__ = ["ARGUMENTS", "KINDS", "STEPS", "Attribution", "attribute", "band_sums"]

KINDS = ("gradient", "integrated")
STEPS = 32
"""Default number of backward passes of integrated gradients."""
ARGUMENTS = ("supporting", "opposing")
"""Arguments: features that support a match at the threshold, and features that oppose a match."""

Floats = npt.NDArray[np.float64]


class Attribution(NamedTuple):
    """Attributions of the similarity of a pair; their sum over arguments is that of the pair."""

    space: Floats
    """``(argument, height, width)``, summed over colour channels."""
    frequency: Floats
    """``(argument, height, width // 2 + 1)``, with the same sum as `space`. The value of a
    coefficient of the half plane includes that of its mirror image."""
    similarity: float
    """Similarity of the untouched pair."""
    difference: float
    """Similarity of the untouched pair less that with the image of mean colour."""
    residual: float
    """Sum of the attributions less `difference`, which integrated gradients approximate."""


def attribute(
    model: Model,
    crop: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    partner: npt.NDArray[np.floating],
    *,
    kind: str = "gradient",
    steps: int = STEPS,
    threshold: float = 0.0,
) -> Attribution:
    """Attribute the similarity of a pair to pixels and coefficients of one image.

    Parameters
    ----------
    model
        The model; its network must have gradients.
    crop
        The image to explain, RGB ``(height, width, 3)``, 0..255.
    partner
        Embedding of the other image ``(feature,)``.
    kind
        ``"gradient"``, at the unchanged image, or ``"integrated"``, along the line from the image
        of its mean colour.
    steps
        Number of backward passes of integrated gradients, at Gauss-Legendre points on the line.
    threshold
        Decision threshold at which arguments are split.

    Returns
    -------
    Attribution
        In units of cosine similarity.

    Raises
    ------
    ModelError
        If the network has no gradient.
    ParameterError
        If an argument is invalid.
    """
    check_name("kind of gradient", kind, KINDS)
    check_number("steps", steps, at_least=1, whole=True)
    check_number("threshold", threshold)
    if not bool(np.isfinite(partner).all()):
        raise ParameterError("partner has values that are not finite")
    image = crop_tensor(model, crop).to(model.device)
    mean = image.mean(dim=(1, 2), keepdim=True)
    rest = image - mean
    unit = torch.from_numpy(np.asarray(partner, np.float32)).to(model.device)
    unit = unit / unit.norm()
    points, weights = np.polynomial.legendre.leggauss(steps)
    if kind == "gradient":
        points, weights = np.ones(1), np.full(1, 2.0)
    along = torch.tensor((points + 1) / 2, dtype=torch.float32, device=model.device)
    with torch.no_grad():
        ends = torch.stack([image, mean.expand_as(image)])
        untouched, flat = _products(model(ends), unit)
    supporting = untouched >= threshold / len(untouched)
    slopes_of_arguments = []
    with torch.enable_grad():
        images = (mean + along[:, None, None, None] * rest).requires_grad_()
        products = _products(model.differentiable(images), unit)
        for argument in (supporting, ~supporting):
            (slope,) = torch.autograd.grad(
                (products * argument).sum(), images, retain_graph=argument is supporting
            )
            mean_slope = torch.einsum("n,nchw->chw", slope.new_tensor(weights / 2), slope)
            slopes_of_arguments.append(mean_slope)
    slopes = torch.stack(slopes_of_arguments)
    space = (slopes * rest).sum(dim=1)
    height, width = rest.shape[-2:]
    product = (torch.fft.rfft2(slopes) * torch.fft.rfft2(rest).conj()).real.sum(dim=1)
    scale = plane_weights(height, width) / (height * width)
    in_space = space.cpu().numpy().astype(float)
    difference = float(untouched.sum() - flat.sum())
    return Attribution(
        in_space,
        product.cpu().numpy().astype(float) * scale,
        float(untouched.sum()),
        difference,
        float(in_space.sum()) - difference,
    )


def _products(embeddings: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """Contribution of each feature to the cosine with a unit vector ``(n, feature)``."""
    return embeddings / embeddings.norm(dim=1, keepdim=True) * unit


def band_sums(
    maps: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], n_bands: int
) -> Floats:
    """Sum maps over the coefficients of each band.

    Parameters
    ----------
    maps
        Maps ``(..., height, width // 2 + 1)``, such as :attr:`Attribution.frequency`.
    labels, n_bands
        Label map ``(height, width // 2 + 1)`` and number of bands.

    Returns
    -------
    numpy.ndarray
        ``(..., n_bands)``; NaN for a band without coefficients.
    """
    sums = np.full((*maps.shape[:-2], n_bands), np.nan)
    for band in np.unique(labels[labels >= 0]):
        sums[..., band] = maps[..., labels == band].sum(axis=-1)
    return sums

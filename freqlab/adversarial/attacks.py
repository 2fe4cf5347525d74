"""Adversarial perturbations of faces against a face model, on which detectors are tested.

FGSM (Goodfellow et al. 2015) takes one step along the sign of the gradient of the pair's
similarity. PGD (Madry et al. 2018) takes several small steps from a random start, and projects each
result back into the box of allowed changes. Both are white-box attacks. They aim at a false
non-match for a genuine pair and at a false match for an impostor pair. Our choices: strengths are
in grey levels, 0..255, and the perturbed image has whole grey levels, as in an image file. Changes
are rounded to the nearest grey level within the strength, so the strength that is reached differs
from the strength that is allowed; :func:`perturbation_sizes` measures it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.models.spec import Model

__all__ = ["ATTACKS", "PerturbationSizes", "adversarial_crops", "perturbation_sizes"]

ATTACKS = ("FGSM", "PGD")
"""Kinds of attacks."""

_BATCH_SIZE = 8


class PerturbationSizes(NamedTuple):
    """Result of :func:`perturbation_sizes`, ``(n,)`` each, over pixels and colour channels."""

    largest_change: npt.NDArray[np.float64]
    """Largest absolute change, in grey levels: the strength that is reached."""
    mean_change: npt.NDArray[np.float64]
    """Mean absolute change, in grey levels."""
    unchanged: npt.NDArray[np.float64]
    """Share of values that do not change, 0 to 1."""


def adversarial_crops(
    model: Model,
    crops: npt.NDArray[np.uint8],
    partners: npt.NDArray[np.floating],
    genuine: npt.NDArray[np.bool_],
    *,
    attack: str = "PGD",
    strength: float = 4.0,
    steps: int = 10,
    seed: int = 0,
) -> npt.NDArray[np.uint8]:
    """Perturb crops so that the model makes false decisions.

    Parameters
    ----------
    model
        The model to attack; its network must have gradients.
    crops
        RGB ``(n, height, width, 3)``, 0..255.
    partners
        Embedding of the image with which each crop is compared ``(n, feature)``.
    genuine
        Whether each pair is genuine ``(n,)``. The similarity of genuine pairs is decreased, that
        of impostor pairs increased.
    attack
        One of :data:`ATTACKS`.
    strength
        Largest change of a pixel, in grey levels.
    steps
        Number of steps of PGD, each of a quarter of the strength.
    seed
        Seed of the random start of PGD.

    Returns
    -------
    numpy.ndarray
        Perturbed crops, of the shape of `crops`. No pixel changes by more than `strength`. Changes
        are rounded to the nearest grey level that is within it.

    Raises
    ------
    ModelError
        If the network has no gradient.
    ParameterError
        If an argument is invalid.
    """
    check_name("attack", attack, ATTACKS)
    check_number("strength", strength, at_least=1)
    check_number("steps", steps, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    if not len(crops) == len(partners) == len(genuine):
        raise ParameterError(
            f"crops, partners and genuine must have the same length; got {len(crops)}, "
            f"{len(partners)} and {len(genuine)}"
        )
    rng = np.random.default_rng(seed)
    start = rng.uniform(-strength, strength, crops.shape).astype(np.float32)
    perturbed = np.empty(crops.shape, np.uint8)
    for first in range(0, len(crops), _BATCH_SIZE):
        batch = slice(first, first + _BATCH_SIZE)
        perturbed[batch] = _perturbed(
            model,
            torch.from_numpy(crops[batch].astype(np.float32)).permute(0, 3, 1, 2),
            torch.from_numpy(np.asarray(partners[batch], np.float32)),
            torch.from_numpy(np.where(genuine[batch], -1, 1).astype(np.float32)),
            None if attack == "FGSM" else torch.from_numpy(start[batch]).permute(0, 3, 1, 2),
            strength,
            steps,
        )
    return perturbed


def perturbation_sizes(
    crops: npt.NDArray[np.uint8], perturbed: npt.NDArray[np.uint8]
) -> PerturbationSizes:
    """Measure how far perturbed crops differ from the originals.

    A change is smaller than the allowed strength at pixels where the gradient is zero, where the
    range of grey levels ends, and, with PGD, where the last step ends inside the box.

    Parameters
    ----------
    crops, perturbed
        Crops before and after ``(n, height, width, channel)``, 0..255.

    Returns
    -------
    PerturbationSizes
        Largest and mean absolute change in grey levels, and the share of unchanged values.

    Raises
    ------
    ParameterError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> crops = np.full((1, 2, 2, 3), 100, np.uint8)
    >>> perturbed = crops.copy()
    >>> perturbed[0, 0] += 2
    >>> sizes = fl.adversarial.perturbation_sizes(crops, perturbed)
    >>> sizes.largest_change[0].item(), sizes.mean_change[0].item(), sizes.unchanged[0].item()
    (2.0, 1.0, 0.5)
    """
    if crops.shape != perturbed.shape:
        raise ParameterError(
            f"perturbed of shape {perturbed.shape} must have that of crops, {crops.shape}"
        )
    change = np.abs(perturbed.astype(float) - crops).reshape(len(crops), -1)
    return PerturbationSizes(change.max(axis=1), change.mean(axis=1), (change == 0).mean(axis=1))


def _perturbed(
    model: Model,
    images: torch.Tensor,
    partners: torch.Tensor,
    direction: torch.Tensor,
    start: torch.Tensor | None,
    strength: float,
    steps: int,
) -> npt.NDArray[np.uint8]:
    """Perturb a batch by PGD from a start, or by FGSM without a start.

    The direction is 1 where the similarity is increased and -1 where it is decreased.
    """
    images, partners, direction = (v.to(model.device) for v in (images, partners, direction))
    edited = images if start is None else (images + start.to(model.device)).clamp(0, 255)
    step, n = (strength, 1) if start is None else (strength / 4, steps)
    for _ in range(n):
        with torch.enable_grad():
            edited = edited.detach().requires_grad_()
            similarity = torch.nn.functional.cosine_similarity(
                model.differentiable(edited), partners
            )
            (slope,) = torch.autograd.grad((direction * similarity).sum(), edited)
        moved = edited.detach() + step * slope.sign()
        edited = torch.min(torch.max(moved, images - strength), images + strength).clamp(0, 255)
    lowest, highest = torch.ceil(images - strength), torch.floor(images + strength)
    rounded = torch.min(torch.max(torch.round(edited), lowest), highest).clamp(0, 255)
    return rounded.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()

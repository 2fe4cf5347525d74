"""Adversarial perturbations of faces against a face model, on which detectors are tested.

FGSM (Goodfellow et al. 2015) takes one step along the sign of the gradient of the pair's
similarity. PGD (Madry et al. 2018) takes several small steps from a random start, and projects each
result back into the box of allowed changes. Both are white-box attacks. They aim at a false
non-match for a genuine pair and at a false match for an impostor pair. Our choices: strengths are
in grey levels, 0..255, and the perturbed image has whole grey levels, as in an image file.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.models.spec import Model

__all__ = ["ATTACKS", "adversarial_crops"]

ATTACKS = ("FGSM", "PGD")
"""Kinds of attacks."""

_BATCH_SIZE = 8


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
        Perturbed crops, of the shape of `crops`. No pixel changes by more than `strength`; changes
        are rounded toward zero.

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
    perturbed = np.empty_like(crops)
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
    rounded = images + torch.trunc(edited - images)  # toward zero, which stays within the box
    return rounded.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()

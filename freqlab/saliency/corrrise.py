"""CorrRISE: face regions that make a pair similar, by random masks in space.

After Lu, Xu and Ebrahimi (*Towards a Comprehensive Visual Saliency Explanation Framework for
AI-based Face Recognition Systems*, 2024): one image is masked at random, and the map is the
correlation of mask and similarity at each pixel. Its positive part is the similarity map, its
negative part the dissimilarity map. Our choices, where we differ or the paper leaves it open:

- A mask removes squares of one size at random places. Squares may extend beyond the edge, so that
  pixels at the edge are covered as often as others. Size and number are our choices.
- Masked pixels are set to the mean colour of the crop, not to black. The same image of mean colour
  remains when all bands are removed. ``fill="black"`` multiplies the image by the mask.
- The correlation is Pearson's. ``correlation="spearman"`` ranks the similarities first, so that a
  few masks with an extreme similarity do not determine the map.
- The number of masks is not fixed: masking stops when the map is reliable.
- In identification, each of the leading candidates has a map. A further map is that of the margin
  of the first candidate over the best other candidate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from freqlab.edits.images import crop_tensor, embed_edits
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.models.spec import Model
from freqlab.saliency.rise import Estimate, Masks, estimate
from freqlab.statistics.vectors import cosines

__all__ = [
    "CORRELATIONS",
    "FILLS",
    "corrrise_estimate",
    "identification_estimate",
    "patch_masks",
]

CORRELATIONS = ("pearson", "spearman")
"""Correlation of mask and similarity: of the values, or of their ranks."""

FILLS = ("mean", "black")
"""Fill values of masked pixels: the mean colour of the crop, or black."""

Crop = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def patch_masks(
    n: int, size: tuple[int, int], *, patch: int, n_patches: int, rng: np.random.Generator
) -> Masks:
    """Draw masks ``(n, height, width)``: 0 in `n_patches` squares, 1 elsewhere.

    Parameters
    ----------
    n, size
        Number of masks; height and width of a crop.
    patch, n_patches
        Edge length of a square in pixels; number of squares.
    rng
        Random number generator.

    Raises
    ------
    ParameterError
        If a square is larger than the crop, or a number is out of range.
    """
    check_number("patch", patch, at_least=1, whole=True)
    check_number("n_patches", n_patches, at_least=1, whole=True)
    if patch > min(size):
        raise ParameterError(f"patch={patch!r} must not be larger than the crop, {size}")
    uniform = rng.random((n, n_patches, 2))
    corners = np.floor(uniform * (np.array(size) + patch - 1)).astype(int) - patch + 1
    masks = np.ones((n, *size), np.float32)
    for mask, places in zip(masks, corners, strict=True):
        for y, x in places:
            mask[max(y, 0) : y + patch, max(x, 0) : x + patch] = 0
    return masks


def corrrise_estimate(
    model: Model,
    crop: Crop,
    partners: npt.NDArray[np.floating],
    *,
    n_masks: int = 2000,
    reliability: float = 0.9,
    patch: int | None = None,
    n_patches: int = 10,
    fill: str = "mean",
    correlation: str = "pearson",
    seed: int = 0,
    batch_size: int | None = None,
) -> Estimate:
    """Estimate the correlation of mask and similarity at each pixel, for each partner.

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
    patch, n_patches
        Edge length of a square in pixels, by default 30 for a crop of 112; number of squares.
    fill
        One of :data:`FILLS`.
    correlation
        One of :data:`CORRELATIONS`.
    seed
        Seed of the masks.
    batch_size
        Images per forward pass.

    Returns
    -------
    Estimate
        Maps ``(partner, height, width)``, -1 to 1.
    """
    return _estimate(
        model,
        crop,
        lambda embeddings: cosines(embeddings, partners),
        len(partners),
        n_masks=n_masks,
        reliability=reliability,
        patch=patch,
        n_patches=n_patches,
        fill=fill,
        correlation=correlation,
        seed=seed,
        batch_size=batch_size,
    )


def identification_estimate(
    model: Model,
    crop: Crop,
    gallery: npt.NDArray[np.floating],
    *,
    people: npt.NDArray[np.integer] | None = None,
    top: int = 3,
    n_masks: int = 2000,
    reliability: float = 0.9,
    patch: int | None = None,
    n_patches: int = 10,
    fill: str = "mean",
    correlation: str = "pearson",
    seed: int = 0,
    batch_size: int | None = None,
) -> tuple[npt.NDArray[np.int64], Estimate]:
    """Estimate maps of a probe against the leading candidates of a gallery (1:N).

    Parameters
    ----------
    model, crop
        As for :func:`corrrise_estimate`; the crop is the probe.
    gallery
        Embeddings ``(face, feature)`` of two or more people.
    people
        Number of the person of each embedding ``(face,)``; by default each is of another person.
        The score of a person is the highest similarity over their embeddings.
    top
        Number of candidates to explain, beginning with the most similar.
    n_masks, reliability, patch, n_patches, fill, correlation, seed, batch_size
        As for :func:`corrrise_estimate`.

    Returns
    -------
    candidates : numpy.ndarray
        Rows of the candidates in the gallery ``(top,)``, the most similar first: of each person
        the embedding that is most similar to that of the unmasked probe.
    estimate : Estimate
        Maps ``(top + 1, height, width)``: of the similarity to each candidate, and, as the last
        map, of the margin of the first candidate over the best of all others under the same mask.

    Raises
    ------
    ParameterError
        If the gallery has too few people, or an argument is invalid.
    """
    check_number("top", top, at_least=1, whole=True)
    people = np.arange(len(gallery)) if people is None else np.asarray(people)
    if people.shape != (len(gallery),):
        raise ParameterError(
            f"people of shape {people.shape} must have a number for each of {len(gallery)} "
            f"embeddings of the gallery"
        )
    order = np.argsort(people, kind="stable")
    starts = np.flatnonzero(np.diff(people[order], prepend=people[order][:1] - 1))
    if len(starts) < max(top, 2):
        raise ParameterError(
            f"gallery of {len(starts)} people must have {max(top, 2)} or more for top={top}"
        )
    image = crop_tensor(model, crop)
    whole = embed_edits(model, 1, lambda start, stop: image[None], batch_size=1)
    unmasked = cosines(whole, gallery)[0]
    of_person = [rows[np.argmax(unmasked[rows])] for rows in np.split(order, starts[1:])]
    best = np.array(of_person, np.int64)
    leading = np.argsort(-unmasked[best], kind="stable")[:top]
    others = np.delete(np.arange(len(starts)), leading[0])

    def score(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        similarity = cosines(embeddings, gallery)[:, order]
        of_people = np.maximum.reduceat(similarity, starts, axis=1)
        margin = of_people[:, leading[0]] - of_people[:, others].max(axis=1)
        return np.column_stack([of_people[:, leading], margin])

    maps = _estimate(
        model,
        crop,
        score,
        top + 1,
        n_masks=n_masks,
        reliability=reliability,
        patch=patch,
        n_patches=n_patches,
        fill=fill,
        correlation=correlation,
        seed=seed,
        batch_size=batch_size,
    )
    return best[leading], maps


def _estimate(
    model: Model,
    crop: Crop,
    score_of: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]],
    n_scores: int,
    *,
    n_masks: int,
    reliability: float,
    patch: int | None,
    n_patches: int,
    fill: str,
    correlation: str,
    seed: int,
    batch_size: int | None,
) -> Estimate:
    """Estimate maps of scores that are computed from the embeddings of masked crops."""
    check_name("fill", fill, FILLS)
    check_name("correlation", correlation, CORRELATIONS)
    check_number("seed", seed, at_least=0, whole=True)
    image = crop_tensor(model, crop)
    filling = image.mean(dim=(1, 2), keepdim=True) if fill == "mean" else torch.zeros(3, 1, 1)
    size = model.template.size
    edge = max(1, round(30 * min(size) / 112)) if patch is None else patch
    rng = np.random.default_rng(seed)

    def score(masks: Masks) -> npt.NDArray[np.float64]:
        kept = torch.from_numpy(masks)[:, None]

        def edit(start: int, stop: int) -> torch.Tensor:
            return filling + kept[start:stop] * (image - filling)

        return score_of(embed_edits(model, len(masks), edit, batch_size=batch_size))

    return estimate(
        lambda n: patch_masks(n, size, patch=edge, n_patches=n_patches, rng=rng),
        score,
        size,
        n_scores,
        kind="rank correlation" if correlation == "spearman" else "correlation",
        most=n_masks,
        reliability=reliability,
    )

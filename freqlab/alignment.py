"""From photographs to crops: detect a face, find five points, warp to a template.

Detection is MTCNN of facenet-pytorch (weights inside its wheel). The warp is a similarity
transform, least squares (Umeyama 1991), with cubic interpolation; photographs larger than the
crop are low-passed first, so that a crop holds no aliased frequencies, and what lies beyond the
photograph repeats its edge (our choices: a black border would add energy to every band).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from freqlab.errors import check_name

__all__ = ["TEMPLATES", "Template", "align", "detect_landmarks", "template"]

# Photographs are enlarged by a whole factor until their shorter side reaches this many pixels,
# and reduced until their longer side is below the other, before the detector sees them.
_MIN_SIDE = 256
_MAX_SIDE = 1280
# Grey pixels around a photograph: without them the detector loses faces that fill the picture.
_BORDER = 50


@dataclass(frozen=True)
class Template:
    """Where the five points of a face lie in a crop.

    Parameters
    ----------
    name
        Its name in models and stores.
    size
        Height and width of the crop in pixels.
    points
        Left eye, right eye, nose, left and right corner of the mouth as the viewer sees them,
        (x, y) in pixels.
    eye_distance
        Distance between the eyes in pixels, the length behind ``cycles/eyes``.
    """

    name: str
    size: tuple[int, int]
    points: tuple[tuple[float, float], ...]
    eye_distance: float | None


# The five-point template of ArcFace (Deng et al. 2019, insightface).
TEMPLATES = {
    "arcface": Template(
        name="arcface",
        size=(112, 112),
        points=(
            (38.2946, 51.6963),
            (73.5318, 51.5014),
            (56.0252, 71.7366),
            (41.5493, 92.3655),
            (70.7299, 92.2041),
        ),
        eye_distance=35.24,
    )
}


def template(name: str) -> Template:
    """Look up a template by name.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    """
    return TEMPLATES[check_name("template", name, TEMPLATES)]


def detect_landmarks(
    images: Sequence[npt.NDArray[np.uint8]], *, device: str = "cpu"
) -> npt.NDArray[np.float32]:
    """Find the five points of the face in each photograph.

    Of several faces the one is taken whose area less twice the squared distance from the centre
    is largest.

    Parameters
    ----------
    images
        RGB photographs ``(height, width, 3)``; those of one size run as one batch.
    device
        Where the detector runs.

    Returns
    -------
    numpy.ndarray
        ``(n, 5, 2)``: x, y in pixels of the photograph, points in the order of
        :class:`Template`; NaN where no face was found.
    """
    found = np.full((len(images), 5, 2), np.nan, np.float32)
    prepared = [_prepare(image) for image in images]
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, (image, _) in enumerate(prepared):
        by_shape.setdefault(image.shape, []).append(i)
    for members in by_shape.values():
        batch = np.stack([prepared[i][0] for i in members])
        boxes, _, points = _detector(device).detect(batch, landmarks=True)
        for i, face_boxes, face_points in zip(members, boxes, points, strict=True):
            if face_boxes is not None:
                best = _largest_central(np.asarray(face_boxes), batch.shape[1:3])
                found[i] = (np.asarray(face_points)[best] - _BORDER) / prepared[i][1]
    return found


def align(
    image: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating], to: Template
) -> npt.NDArray[np.uint8] | None:
    """Warp a photograph so that its landmarks come to lie on a template's points.

    Parameters
    ----------
    image
        RGB photograph ``(height, width, 3)``.
    landmarks
        Five points ``(5, 2)`` in its pixels.
    to
        The template.

    Returns
    -------
    numpy.ndarray or None
        Crop ``(height, width, 3)`` of the template's size; None if the landmarks do not
        determine a transform, as when they all coincide.
    """
    from skimage.transform import SimilarityTransform, warp

    photograph: npt.NDArray[np.floating] = image.astype(np.float32)
    target = np.asarray(to.points)
    to_photograph = SimilarityTransform.from_estimate(target, landmarks)
    if not to_photograph:
        return None
    if to_photograph.scale > 1:
        photograph = _reduce(photograph, 1 / to_photograph.scale)
        # pixel centres lie half a pixel inside the extent that is scaled
        ratio = np.array(photograph.shape[1::-1]) / image.shape[1::-1]
        landmarks = (np.asarray(landmarks) + 0.5) * ratio - 0.5
        to_photograph = SimilarityTransform.from_estimate(target, landmarks)
    crop = warp(photograph, to_photograph, output_shape=to.size, order=3, mode="edge")
    return np.rint(np.clip(crop, 0, 255)).astype(np.uint8)


def _reduce(photograph: npt.NDArray[np.floating], scale: float) -> npt.NDArray[np.floating]:
    """Shrink with a cubic kernel as wide as the reduction needs, in float."""
    from PIL import Image

    height, width = photograph.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    channels = [Image.fromarray(np.ascontiguousarray(photograph[..., i])) for i in range(3)]
    resized = [np.asarray(c.resize(size, Image.Resampling.BICUBIC)) for c in channels]
    return np.stack(resized, axis=-1)


def _prepare(image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], float]:
    """Resize a photograph for the detector and put the border around it; return the scale too."""
    from PIL import Image, ImageOps

    photograph = Image.fromarray(image)
    scale = max(1.0, float(-(-_MIN_SIDE // min(photograph.size))))
    scale = min(scale, _MAX_SIDE / max(photograph.size))
    if scale != 1:
        width, height = photograph.size
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        photograph = photograph.resize(size, Image.Resampling.BICUBIC)
    bordered = ImageOps.expand(photograph, _BORDER, (128, 128, 128))
    return np.asarray(bordered), scale


def _largest_central(boxes: npt.NDArray[np.floating], size: tuple[int, ...]) -> int:
    height, width = size
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([width / 2, height / 2])
    return int(np.argmax(area - 2 * np.square(offset).sum(axis=1)))


@functools.cache
def _detector(device: str) -> Any:
    from facenet_pytorch import MTCNN

    return MTCNN(keep_all=True, device=device)

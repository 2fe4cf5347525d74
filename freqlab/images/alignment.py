"""From photographs to crops: detect a face, find five points, cut it out by a template.

Detection is MTCNN of facenet-pytorch (weights inside its wheel). The warp is a least-squares
similarity transform (Umeyama 1991) with cubic interpolation. Photographs larger than the crop are
low-passed first, so that a crop has no aliased frequencies. Beyond the photograph its edge is
repeated (our choices: a black border would add energy to every band).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import check_name
from freqlab.images.degradation import resized
from freqlab.images.dlib_landmarks import dlib_landmarks
from freqlab.images.templates import Points, Template
from freqlab.literals import WhichFace

__all__ = ["WHICH_FACE", "Detections", "cut", "detect_faces"]

WHICH_FACE: tuple[WhichFace, ...] = ("largest", "central", "only")
"""Which of several faces in a photograph is selected: the one with the largest box; the one whose
box is nearest to the centre; none, because the photograph must show a single face."""

# Before detection, photographs are enlarged by a whole factor until their shorter side reaches
# _MIN_SIDE pixels, and reduced until their longer side is below _MAX_SIDE.
_MIN_SIDE = 256
_MAX_SIDE = 1280
# Grey pixels around a photograph: without them the detector misses faces that fill the picture.
_BORDER = 50
# Upper bound on pixels per detector call: its first layers need forty times their bytes.
_MOST_AT_ONCE = 12_000_000
# A less certain detection may be a pattern on a shirt: it counts only if it is the one chosen.
_SURE = 0.9


class Detections(NamedTuple):
    """Positions of the faces in photographs: one each, NaN where none was found."""

    landmarks: npt.NDArray[np.float32]
    """Five points ``(n, 5, 2)``: x, y in pixels, in the order of
    :class:`freqlab.images.templates.Template`."""
    boxes: npt.NDArray[np.float32]
    """Left, top, right, bottom ``(n, 4)``, in pixels."""
    counts: npt.NDArray[np.int16]
    """Number of faces found in each photograph ``(n,)``: the detections with a probability of 0.9
    or more, and the selected face."""


def detect_faces(
    images: Sequence[npt.NDArray[np.uint8]],
    *,
    near: npt.NDArray[np.floating] | None = None,
    which_face: WhichFace = "largest",
    device: str = "cpu",
) -> Detections:
    """Find the face in each photograph: its five points and its box.

    Parameters
    ----------
    images
        RGB photographs ``(height, width, 3)``; those of equal size run as one batch.
    near
        Known points ``(n, 5, 2)``: the face with the nearest points is selected, or none if no
        face is near them. If they are NaN or not given, `which_face` selects the face.
    which_face
        One of :data:`WHICH_FACE`. With ``"only"`` the points and the box are NaN if several faces
        are found.
    device
        Device of the detector; the CPU unless it is a CUDA device, because some of its operations
        are missing on Apple's GPU.

    Returns
    -------
    Detections
        Points and boxes of the photographs; NaN where no face is found.

    Raises
    ------
    UnknownNameError
        If `which_face` is unknown.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.load_faces("orl")
    >>> found = fl.images.detect_faces([faces.image(0)])
    >>> found.landmarks.shape
    (1, 5, 2)
    """
    check_name("which_face", which_face, WHICH_FACE)
    points = np.full((len(images), 5, 2), np.nan, np.float32)
    boxes = np.full((len(images), 4), np.nan, np.float32)
    counts = np.zeros(len(images), np.int16)
    prepared = [_prepare(image) for image in images]
    detector = _detector(_device_of_detector(device))
    for members in _batches([image.shape for image, _ in prepared]):
        batch = np.stack([prepared[i][0] for i in members])
        detected = zip(*detector.detect(batch, landmarks=True), strict=True)
        for i, (its_boxes, its_scores, its_points) in zip(members, detected, strict=True):
            if its_boxes is None:
                continue
            corners, its_points = np.asarray(its_boxes, float), np.asarray(its_points, float)
            best = _best(corners, batch.shape[1:3], which_face)
            its_points = (its_points - _BORDER) / prepared[i][1]
            known = near is not None and bool(np.isfinite(near[i]).all())
            if near is not None and known:
                away = np.sqrt(np.square(its_points - near[i]).sum(axis=2).mean(axis=1))
                best = int(away.argmin())
            sure = np.asarray(its_scores, float) >= _SURE
            sure[best] = True
            counts[i] = sure.sum()
            if near is not None and known:
                extent = np.sqrt(np.square(near[i] - near[i].mean(axis=0)).sum(axis=1).mean())
                if away[best] > 0.5 * extent:
                    continue  # another face
            elif which_face == "only" and counts[i] > 1:
                continue
            points[i], boxes[i] = its_points[best], (corners[best] - _BORDER) / prepared[i][1]
    return Detections(points, boxes, counts)


def cut(
    image: npt.NDArray[np.uint8],
    landmarks: npt.NDArray[np.floating],
    box: npt.NDArray[np.floating],
    to: Template,
) -> npt.NDArray[np.uint8] | None:
    """Cut a face out of a photograph by a template.

    Parameters
    ----------
    image
        RGB photograph ``(height, width, 3)``.
    landmarks
        Five points ``(5, 2)`` in pixels of the photograph; unused by a template cut by a box.
    box
        Left, top, right, bottom ``(4,)`` in these pixels; used only by a template cut by a box.
    to
        The template.

    Returns
    -------
    numpy.ndarray or None
        Crop ``(height, width, 3)``; None if landmarks or box do not determine a crop.
    """
    if to.cut_by == "box":
        return _cut_box(image, box, to)
    if to.cut_by == "dlib":
        points = dlib_landmarks(image, landmarks)
        return None if points is None else _warp(image, points, to.dlib_points, to.size)
    return _warp(image, landmarks, to.points, to.size)


def _warp(
    image: npt.NDArray[np.uint8],
    landmarks: npt.NDArray[np.floating],
    points: Points,
    size: tuple[int, int],
) -> npt.NDArray[np.uint8] | None:
    """Warp a photograph so that its landmarks coincide with `points`."""
    from skimage.transform import SimilarityTransform, warp

    target = np.asarray(points)
    to_photograph = SimilarityTransform.from_estimate(target, landmarks)
    if not to_photograph:
        return None
    if to_photograph.scale <= 1:
        photograph: npt.NDArray[np.floating] = image.astype(np.float32)
    else:
        photograph = _reduce(image, 1 / to_photograph.scale)
        # pixel centres are half a pixel inside the extent that is scaled
        ratio = np.array(photograph.shape[1::-1]) / image.shape[1::-1]
        landmarks = (np.asarray(landmarks) + 0.5) * ratio - 0.5
        to_photograph = SimilarityTransform.from_estimate(target, landmarks)
    crop = warp(photograph, to_photograph, output_shape=size, order=3, mode="edge")
    return np.rint(np.clip(crop, 0, 255)).astype(np.uint8)


def _cut_box(
    image: npt.NDArray[np.uint8], box: npt.NDArray[np.floating], to: Template
) -> npt.NDArray[np.uint8] | None:
    """Cut out a box and its margin as facenet-pytorch does."""
    from facenet_pytorch.models.utils.detect_face import extract_face
    from PIL import Image

    inside = np.clip(box, 0, np.tile(image.shape[1::-1], 2))
    if not (inside[2:] - inside[:2] >= 1).all():
        return None
    crop = extract_face(Image.fromarray(image), box, image_size=to.size[0], margin=to.margin)
    return np.asarray(crop.permute(1, 2, 0).numpy()).astype(np.uint8)


def _reduce(photograph: npt.NDArray[np.uint8], scale: float) -> npt.NDArray[np.floating]:
    """Reduce with a cubic kernel as wide as the reduction needs, in float, channel by channel."""
    height, width = photograph.shape[:2]
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return resized(photograph, size, "bicubic")


def _prepare(image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], float]:
    """Resize a photograph for the detector and add the border; return the scale too."""
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


def _best(boxes: npt.NDArray[np.floating], size: tuple[int, ...], which_face: WhichFace) -> int:
    """Index of the box to take; ties in size are broken by centrality, and vice versa."""
    height, width = size
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([width / 2, height / 2])
    away = np.square(offset).sum(axis=1)
    order = (area, -away) if which_face == "central" else (-away, area)
    return int(np.lexsort(order)[-1])


def _batches(shapes: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    """Positions of pictures of one size, up to the limit of one detector call."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(i)
    for shape, members in by_shape.items():
        n = max(1, _MOST_AT_ONCE // (shape[0] * shape[1]))
        for start in range(0, len(members), n):
            yield members[start : start + n]


def _device_of_detector(device: str) -> str:
    """Device of the detector for a device of networks."""
    return device if device.split(":")[0] == "cuda" else "cpu"


@functools.cache
def _detector(device: str) -> Any:
    from facenet_pytorch import MTCNN

    return MTCNN(keep_all=True, device=device)

"""From photographs to crops: detect a face, find five points, cut it out by a template.

Detection is MTCNN with the weights of facenet-pytorch (:mod:`freqlab.images.cascade`). The warp is
a least-squares similarity transform (Umeyama 1991) with cubic interpolation. Photographs larger
than the crop are low-passed first, so that a crop has no aliased frequencies. Beyond the photograph
its edge is repeated (our choices: a black border would add energy to every band).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.images.cascade import FINEST_FACE, Found, cascade
from freqlab.images.degradation import resized
from freqlab.images.dlib_landmarks import dlib_landmarks
from freqlab.images.templates import Points, Template
from freqlab.literals import WhichFace

__all__ = ["SMALLEST_FACE", "WHICH_FACE", "Detections", "cut", "detect_faces"]

WHICH_FACE: tuple[WhichFace, ...] = ("largest", "central", "only")
"""Which of several faces in a photograph is selected: the one with the largest box; the one whose
box is nearest to the centre; none, because the photograph must show a single face."""

SMALLEST_FACE = 0.15
"""Smallest face that is searched first, as a share of the shorter side of a photograph. In 290
photographs with one to three faces, the selected face, its points and the number of faces were
those of a search for all faces, in half the time."""

# Before detection, photographs are enlarged by a whole factor until their shorter side reaches
# _MIN_SIDE pixels, and reduced until their longer side is below _MAX_SIDE.
_MIN_SIDE = 256
_MAX_SIDE = 1280
# Grey pixels around a photograph: without them the detector misses faces that fill the picture.
_BORDER = 50
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
    probabilities: npt.NDArray[np.float32]
    """The detector's probability of the selected face ``(n,)``, 0..1; NaN if there is none."""


def detect_faces(
    images: Sequence[npt.NDArray[np.uint8]],
    *,
    near: npt.NDArray[np.floating] | None = None,
    which_face: WhichFace = "largest",
    smallest_face: float = SMALLEST_FACE,
    device: str = "cpu",
) -> Detections:
    """Find the face in each photograph: its five points and its box.

    Parameters
    ----------
    images
        RGB photographs ``(height, width, 3)``.
    near
        Known points ``(n, 5, 2)``: the face with the nearest points is selected, or none if no
        face is near them. If they are NaN or not given, `which_face` selects the face.
    which_face
        One of :data:`WHICH_FACE`. With ``"only"`` the points and the box are NaN if several faces
        are found.
    smallest_face
        Size of the smallest face that is searched first, as a share of the shorter side of the
        photograph, from 0 to below 1. Smaller faces, down to 20 pixels, are searched and counted
        only if no face of this size is found with a probability of 0.9, if none is near the known
        points, or if `which_face` is not ``"largest"``. With 0 they are always searched.
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
    ParameterError
        If `smallest_face` is not between 0 and 1.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.load_faces("orl")
    >>> found = fl.images.detect_faces([faces.image(0)])
    >>> found.landmarks.shape
    (1, 5, 2)
    """
    check_name("which_face", which_face, WHICH_FACE)
    check_number("smallest_face", smallest_face, at_least=0)
    if smallest_face >= 1:
        raise ParameterError(f"smallest_face={smallest_face!r} must be below 1")
    points = np.full((len(images), 5, 2), np.nan, np.float32)
    boxes = np.full((len(images), 4), np.nan, np.float32)
    counts = np.zeros(len(images), np.int16)
    probabilities = np.full(len(images), np.nan, np.float32)
    detector = cascade(_device_of_detector(device))
    for i, image in enumerate(images):
        prepared, scale = _prepare(image)
        known = None if near is None or not np.isfinite(near[i]).all() else near[i]
        smallest = smallest_face * (min(prepared.shape[:2]) - 2 * _BORDER)
        if smallest > FINEST_FACE and (known is not None or which_face == "largest"):
            found = detector.detect(prepared, border=_BORDER, smallest=smallest)
            selected = _select(found, prepared.shape, scale, known, which_face)
            size = found.boxes[0, 2:] - found.boxes[0, :2] if len(found.boxes) else np.zeros(2)
            certain = selected.face is not None and found.scores[selected.face] >= _SURE
            if certain and (known is not None or min(size) >= smallest):
                points[i], boxes[i], counts[i], probabilities[i] = selected.place(found, scale)
                continue
        found = detector.detect(prepared, border=_BORDER)
        selected = _select(found, prepared.shape, scale, known, which_face)
        points[i], boxes[i], counts[i], probabilities[i] = selected.place(found, scale)
    return Detections(points, boxes, counts, probabilities)


class _Selected(NamedTuple):
    """The face that is taken of those in a photograph."""

    face: int | None
    """Its number; None if no face is taken."""
    n_faces: int

    def place(
        self, found: Found, scale: float
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating], int, float]:
        """Its points and box in pixels of the photograph, the number of faces, its probability."""
        if self.face is None:
            return np.full((5, 2), np.nan), np.full(4, np.nan), self.n_faces, np.nan
        own_points, own_box = found.points[self.face], found.boxes[self.face]
        score = float(found.scores[self.face])
        return _unprepared(own_points, scale), _unprepared(own_box, scale), self.n_faces, score


def _select(
    found: Found,
    size: tuple[int, ...],
    scale: float,
    near: npt.NDArray[np.floating] | None,
    which_face: WhichFace,
) -> _Selected:
    """Select a face by the known points, or by a rule if there are none, and count the faces."""
    if not len(found.boxes):
        return _Selected(None, 0)
    best = _best(found.boxes.astype(float), size[:2], which_face)
    away = np.zeros(len(found.boxes))
    if near is not None:
        offsets = _unprepared(found.points, scale) - near
        away = np.sqrt(np.square(offsets).sum(axis=2).mean(axis=1))
        best = int(away.argmin())
    sure = found.scores >= _SURE
    sure[best] = True
    n_faces = int(sure.sum())
    if near is not None:
        extent = np.sqrt(np.square(near - near.mean(axis=0)).sum(axis=1).mean())
        if away[best] > 0.5 * extent:
            return _Selected(None, n_faces)  # another face
    elif which_face == "only" and n_faces > 1:
        return _Selected(None, n_faces)
    return _Selected(best, n_faces)


def _unprepared(places: npt.NDArray[np.floating], scale: float) -> npt.NDArray[np.floating]:
    """Places in a photograph prepared for the detector, in pixels of the photograph itself."""
    return np.asarray((places.astype(float) - _BORDER) / scale)


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


def _device_of_detector(device: str) -> str:
    """Device of the detector for a device of networks."""
    return device if device.split(":")[0] == "cuda" else "cpu"

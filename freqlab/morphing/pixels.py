"""Landmark-based morphs of two faces, with mixed shapes and textures. Pure arrays.

Both faces are warped to an intermediate shape (Delaunay triangles, each mapped affinely), and their
pixels are mixed inside the face. Outside, the warped background of the first contributor is kept,
so that no second outline, hair or collar shows through. The colours of the background are shifted
to those of the mixed face along the edge of the face, and a soft edge blends the two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from freqlab.errors import FreqlabError, ParameterError, check_number
from freqlab.images.alignment import detect_faces
from freqlab.morphing.landmarks import CONTOUR, pfld_landmarks

__all__ = ["LandmarkError", "face_points", "morph", "morph_by_points"]

_FOREHEAD = 0.45  # height of the face above the temples, in distances from temple to chin
_SOFT = 0.10  # width of the soft edge, in widths of the face
_TONED = 0.12  # distance over which colours of the background are shifted, in sides of the face
_N_FOREHEAD = 9
_FEWEST_POINTS = 5

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]


class LandmarkError(FreqlabError, ValueError):
    """A face has no usable landmarks."""


def morph(
    face_a: Pixels,
    face_b: Pixels,
    *,
    alpha: float = 0.5,
    texture: float | None = None,
    points_a: npt.NDArray[np.floating] | None = None,
    points_b: npt.NDArray[np.floating] | None = None,
) -> Pixels:
    """Make a morph of two faces.

    Parameters
    ----------
    face_a, face_b
        Photographs or crops of equal size, RGB ``(height, width, 3)``, uint8. The background is
        taken from the first.
    alpha
        Share of the second contributor in the shape, 0 to 1.
    texture
        Share of the second contributor in the pixels, 0 to 1; `alpha` by default.
    points_a, points_b
        Landmarks ``(point, 2)``, x and y in pixels, the same points in the same order in both;
        found by :func:`face_points` by default.

    Returns
    -------
    numpy.ndarray
        The morph, with shape and dtype of `face_a`. Inside the face, shares of 0 reproduce the
        first contributor and shares of 1 the second, up to resampling.

    Raises
    ------
    ParameterError
        If a share lies outside 0 to 1, sizes differ, or points do not correspond.
    LandmarkError
        If no face is found in one of the images.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.load_faces("orl")
    >>> mixed = fl.morphing.morph(faces.image(0), faces.image(10), alpha=0.5)
    >>> mixed.shape == faces.image(0).shape
    True
    """
    for name, face in (("face_a", face_a), ("face_b", face_b)):
        _check_image(name, face)
    if face_a.shape != face_b.shape:
        raise ParameterError(
            f"face_a is {face_a.shape[0]} x {face_a.shape[1]} and face_b {face_b.shape[0]} x "
            f"{face_b.shape[1]}; a morph requires images of the same size"
        )
    texture = alpha if texture is None else texture
    for name, share in (("alpha", alpha), ("texture", texture)):
        check_number(name, share, at_least=0)
        if share > 1:
            raise ParameterError(f"{name}={share!r} must lie between 0 and 1")
    if (points_a is None) != (points_b is None):
        raise ParameterError("give both points_a and points_b, or neither")
    if points_a is None or points_b is None:
        landmarks = []
        for name, face in (("face_a", face_a), ("face_b", face_b)):
            points = face_points([face])[0]
            if np.isnan(points).any():
                raise LandmarkError(f"no face was found in {name}; give points_a and points_b")
            landmarks.append(points)
        points_a, points_b = landmarks
    return morph_by_points(face_a, face_b, points_a, points_b, alpha=alpha, texture=texture)


def face_points(images: list[Pixels]) -> npt.NDArray[np.float32]:
    """Find landmarks of faces for morphs: 106 of PFLD, and nine along the forehead.

    Parameters
    ----------
    images
        RGB photographs ``(height, width, 3)``, uint8, of one face each.

    Returns
    -------
    numpy.ndarray
        ``(n, 115, 2)``, x and y in pixels; NaN where no face was found.
    """
    landmarks = pfld_landmarks(images, detect_faces(images).boxes)
    forehead = np.stack([_forehead(points) for points in landmarks])
    return np.concatenate([landmarks, forehead], axis=1)


def morph_by_points(
    face_a: Pixels,
    face_b: Pixels,
    points_a: npt.NDArray[np.floating],
    points_b: npt.NDArray[np.floating],
    *,
    alpha: float,
    texture: float,
) -> Pixels:
    """Make a morph as :func:`morph` does, with all parameters given.

    Raises
    ------
    ParameterError
        If the points do not correspond, or do not span a face.
    """
    a, b = np.asarray(points_a, float), np.asarray(points_b, float)
    for name, points in (("points_a", a), ("points_b", b)):
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < _FEWEST_POINTS:
            raise ParameterError(
                f"{name} of shape {points.shape} must be (point, 2), {_FEWEST_POINTS} or more"
            )
        if not np.isfinite(points).all():
            raise ParameterError(f"{name} must be finite")
    if len(a) != len(b):
        raise ParameterError(
            f"{len(a)} points_a and {len(b)} points_b; both faces need the same points"
        )
    height, width = face_a.shape[:2]
    shape = (1 - alpha) * a + alpha * b
    frame = _frame(height, width)
    warped = [
        _warped(face, np.concatenate([points, frame]), np.concatenate([shape, frame]))
        for face, points in ((face_a, a), (face_b, b))
    ]
    mixed = (1 - texture) * warped[0] + texture * warped[1]
    inside, edge = _mask(shape, height, width)
    background = _toned(warped[0], mixed, inside, edge)
    blended = inside[..., None] * mixed + (1 - inside[..., None]) * background
    return np.rint(np.clip(blended, 0, 255)).astype(np.uint8)


def _check_image(name: str, face: Pixels) -> None:
    pixels = np.asarray(face)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ParameterError(
            f"{name} has dtype {pixels.dtype} and shape {pixels.shape}; it must be uint8 "
            f"(height, width, 3)"
        )


def _forehead(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Place points on half an ellipse above the temples; the network finds none above the brows."""
    jaw = points[CONTOUR]
    left, right, chin = jaw[0], jaw[-1], jaw[len(jaw) // 2]
    middle, across = (left + right) / 2, (right - left) / 2
    up = (middle - chin) * _FOREHEAD
    angles = np.linspace(0, np.pi, _N_FOREHEAD + 2)[1:-1, None]
    return (middle - np.cos(angles) * across + np.sin(angles) * up).astype(np.float32)


def _frame(height: int, width: int) -> Points:
    """Return fixed points around the image, far outside it."""
    far = 0.5 * max(height, width)
    x = np.array([-far, (width - 1) / 2, width - 1 + far])
    y = np.array([-far, (height - 1) / 2, height - 1 + far])
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return np.delete(grid, 4, axis=0)


def _warped(face: Pixels, source: Points, target: Points) -> npt.NDArray[np.float64]:
    """Warp a face, triangle by triangle, so that source points move to target points."""
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import Delaunay
    from skimage.transform import warp

    height, width = face.shape[:2]
    if np.array_equal(source, target):
        return face.astype(float)
    y, x = np.mgrid[0:height, 0:width]
    places = LinearNDInterpolator(Delaunay(target), source)(np.stack([x, y], axis=-1))
    rows_columns = np.stack([places[..., 1], places[..., 0]])
    channels = [
        warp(face[..., i].astype(float), rows_columns, order=3, mode="edge", preserve_range=True)
        for i in range(3)
    ]
    return np.stack(channels, axis=-1)


def _mask(
    shape: Points, height: int, width: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return a mask, 1 within the convex hull of the face and falling to 0, and its soft edge."""
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import Delaunay

    y, x = np.mgrid[0:height, 0:width]
    within = (Delaunay(shape).find_simplex(np.stack([x, y], axis=-1)) >= 0).reshape(height, width)
    if not within.any():
        raise ParameterError("the points lie outside the images")
    soft = max(1.0, _SOFT * float(np.ptp(shape[:, 0])))
    away = distance_transform_edt(~within)
    fall = np.clip(1 - away / soft, 0, 1)
    return fall * fall * (3 - 2 * fall), ~within & (fall > 0)


def _toned(
    background: npt.NDArray[np.float64],
    mixed: npt.NDArray[np.float64],
    inside: npt.NDArray[np.float64],
    edge: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Shift the colours of the background to those of the face at its edge, fading outwards."""
    from scipy.ndimage import gaussian_filter

    width = _TONED * np.sqrt((inside > 0.5).sum())
    weight = gaussian_filter(edge.astype(float), width)
    gap = np.stack(
        [gaussian_filter(edge * (mixed - background)[..., i], width) for i in range(3)], axis=-1
    )
    near = weight / max(float(weight.max()), 1e-12)
    return background + near[..., None] * gap / np.maximum(weight, 1e-6)[..., None]

"""Plausibility check of landmarks: whether five points can be those of a face in any view.

Interchanged points still give a crop, upside down or stretched, and a meaningless similarity. A
face may be rotated in the picture by any angle and seen from any side, so the check accepts every
profile and upside-down photograph; but no camera shows a face mirrored. The bounds are well outside
what MTCNN finds in photographs (our choice; over 450 faces of LFW, BFW, ORL and London, seen from
the front to the side: mirrored at worst +0.40 against the bound of -0.20, nose 0.24 to 0.84 against
-0.10 to 1.10, mouth against eyes 0.35 against 0.60).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["implausible_landmarks"]

_CLOSEST_EYES = 3.0  # pixels
_SMALLEST = 5.0  # extent of the points in pixels
_OUTSIDE = 0.25  # of the size of the face: how far a point may be outside the photograph
_MIRRORED = -0.2  # of the squared height: the value for a profile is about zero
_NOSE_ALONG, _NOSE_ASIDE = (-0.1, 1.1), 1.0  # of the height, from the eyes to the mouth
_MOUTH = 0.83  # width of the mouth in eye distances, as in the template
_UNLIKE = 0.6  # of the size: allowed difference from that
_WIDEST = 3.0  # of the height: largest distance of the eyes
_FLATTEST = 0.05  # least spread of the points across their line, relative to the spread along it

_NAMES = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")


def implausible_landmarks(
    points: npt.NDArray[np.floating], size: tuple[int, int] | None = None
) -> str | None:
    """Describe what is wrong with five points; None if they can be those of a face.

    Parameters
    ----------
    points
        ``(5, 2)``: x, y in pixels of the eyes, the nose, the corners of the mouth; the viewer's
        left first.
    size
        Height and width of the photograph, to detect points outside it.

    Returns
    -------
    str or None
        The first fault, in words.
    """
    points = np.asarray(points, np.float64)
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    eyes, mouth = right_eye - left_eye, right_mouth - left_mouth
    between = (left_eye + right_eye) / 2
    down = (left_mouth + right_mouth) / 2 - between
    height, apart = float(np.hypot(*down)), float(np.hypot(*eyes))
    extent = max(height, apart)
    if np.ptp(points, axis=0).max() < _SMALLEST:
        return f"all points lie within {np.ptp(points, axis=0).max():.1f} pixels"
    if size is not None:
        height_of_image, width = size
        beyond = np.maximum(-0.5 - points, points - (np.array([width, height_of_image]) - 0.5))
        worst = int(beyond.max(axis=1).argmax())
        if beyond[worst].max() > _OUTSIDE * extent:
            x, y = points[worst]
            return f"the {_NAMES[worst]} ({x:.0f}, {y:.0f}) lies outside the photograph"
    if apart < _CLOSEST_EYES:
        return f"the eyes are {apart:.1f} pixels apart"
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[1] < _FLATTEST * spread[0]:
        return "the points lie on one line"
    if apart > _WIDEST * height:
        return f"the eyes are {apart:.0f} pixels apart, and the mouth {height:.0f} from them"
    if _cross(eyes, down) / height**2 < _MIRRORED:
        return _mirrored(eyes, mouth, down)
    along = float((nose - between) @ down) / height**2
    aside = _cross(nose - between, down) / height**2
    if not _NOSE_ALONG[0] <= along <= _NOSE_ALONG[1] or abs(aside) > _NOSE_ASIDE:
        return "the nose lies far from eyes and mouth"
    if np.hypot(*(mouth - _MOUTH * eyes)) > _UNLIKE * extent:
        if float(mouth @ eyes) < 0:
            return "the corners of the mouth are swapped"
        return "the mouth does not go with the eyes"
    return None


def _mirrored(
    eyes: npt.NDArray[np.floating],
    mouth: npt.NDArray[np.floating],
    down: npt.NDArray[np.floating],
) -> str:
    """Describe which points were interchanged in an arrangement that no camera shows."""
    if float(mouth @ eyes) < 0:
        return "the eyes are swapped"
    if eyes[0] > 0 and down[1] < 0:
        return "the mouth lies above the eyes"
    return "left and right are swapped: the viewer's left comes first"


def _cross(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    return float(a[0] * b[1] - a[1] * b[0])

"""Alignment templates: position of a face in a crop, and hence the distance of its eyes.

A template says to which positions points of a photograph are mapped. Most templates use the five
points that MTCNN finds. dlib's chip is cut by dlib's own five points. FaceNet's crop is the
detected box with a margin, in which the eyes have no fixed position.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Literal

from freqlab.errors import ParameterError, check_name

__all__ = [
    "TEMPLATES",
    "Template",
    "overhang",
    "pixels_per_pixel",
    "register_template",
    "template",
]

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Template:
    """How a face is cut out of a photograph.

    Parameters
    ----------
    name
        The template's name in models and stores.
    size
        Height and width of the crop in pixels.
    points
        Positions of left eye, right eye, nose, left and right corner of the mouth (as the viewer
        sees them), (x, y) in pixels; empty if they are not fixed.
    eye_distance
        Distance between the eyes in pixels, the length used for ``cycles/eyes``; None if it is not
        fixed.
    cut_by
        What determines the crop: ``"points"``, the five above; ``"dlib"``, the five points of
        dlib's shape predictor, which are mapped to `dlib_points`; ``"box"``, the detector's box.
    dlib_points
        With ``cut_by="dlib"``: outer and inner corner of the right eye, of the left eye, base
        of the nose (sides as the viewer sees them), in pixels.
    margin
        With ``cut_by="box"``: total number of pixels of the crop by which the box is widened.

    Examples
    --------
    >>> import freqlab as fl
    >>> template = fl.images.Template("portrait", size=(160, 160), cut_by="box")
    >>> template.size
    (160, 160)
    """

    name: str
    size: tuple[int, int]
    points: Points = ()
    eye_distance: float | None = None
    cut_by: Literal["points", "dlib", "box"] = "points"
    dlib_points: Points = ()
    margin: int = 0

    def __post_init__(self) -> None:
        check_name("cut_by", self.cut_by, ["points", "dlib", "box"])
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ParameterError(
                f"name={self.name!r} of a template must be letters, digits, '_', '-' and '.'"
            )
        whole = [isinstance(length, int) and length >= 1 for length in self.size]
        if whole != [True, True]:
            raise ParameterError(
                f"size={self.size!r} of template {self.name!r} must be height and width in pixels"
            )
        if self.cut_by == "box" and self.size[0] != self.size[1]:
            raise ParameterError(f"template {self.name!r} is cut by a box and must be square")
        if self.cut_by != "box" and len(self.points) != 5:
            raise ParameterError(
                f"template {self.name!r} has {len(self.points)} points; it is cut by five"
            )
        if (self.cut_by == "dlib") != (len(self.dlib_points) == 5):
            raise ParameterError(f"template {self.name!r}: cut_by='dlib' goes with 5 dlib_points")
        if self.points and len(set(self.points)) < 2:
            raise ParameterError(f"the points of template {self.name!r} coincide")

    def scaled(self, size: int) -> Template:
        """Return the same square template at another size, in pixels per side.

        Raises
        ------
        ParameterError
            If this template is not square, or is not cut by the five points.
        """
        height, width = self.size
        if height != width or self.cut_by != "points":
            raise ParameterError(f"template {self.name!r} cannot be scaled to {size} pixels")
        ratio = size / width
        # scaling about the corner of the crop; pixel centres are half a pixel inside it
        points = tuple(((x + 0.5) * ratio - 0.5, (y + 0.5) * ratio - 0.5) for x, y in self.points)
        distance = None if self.eye_distance is None else self.eye_distance * ratio
        return dataclasses.replace(
            self,
            name=f"{self.name}-{size}",
            size=(size, size),
            points=points,
            eye_distance=distance,
        )


_ARCFACE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def _dlib_chip(points: Points) -> Points:
    """Positions in dlib's chip, 150 pixels with padding 0.25, of points of its mean face."""
    return tuple((100 * (x + 0.25), 100 * (y + 0.25)) for x, y in points)


TEMPLATES = {
    known.name: known
    for known in (
        # The five points of Deng et al. 2019 (ArcFace, insightface).
        Template("arcface", (112, 112), _ARCFACE, eye_distance=35.24),
        # The same, eight columns narrower on either side (Liu et al. 2017, SphereFace).
        Template("112x96", (112, 96), tuple((x - 8, y) for x, y in _ARCFACE), eye_distance=35.24),
        # The mean faces of 68 and of 5 points by which dlib cuts its chips; eyes are the means of
        # their corners.
        Template(
            "dlib",
            (150, 150),
            _dlib_chip(
                (
                    (0.227329566, 0.221395848),
                    (0.752813768, 0.221232796),
                    (0.490127, 0.515625),
                    (0.254149, 0.780233),
                    (0.726104, 0.780233),
                )
            ),
            eye_distance=52.55,
            cut_by="dlib",
            dlib_points=_dlib_chip(
                (
                    (0.8595674595992, 0.2134981538014),
                    (0.6460604764104, 0.2289674387677),
                    (0.1205750620789, 0.2137274526848),
                    (0.3340850613712, 0.2290642403242),
                    (0.4901123135679, 0.6277975316475),
                )
            ),
        ),
        # facenet-pytorch: its MTCNN's box; the margin of 14 is that of its evaluation on LFW.
        Template("facenet", (160, 160), cut_by="box", margin=14),
    )
}


def template(name: str) -> Template:
    """Look up a template by name.

    Parameters
    ----------
    name
        One of :data:`TEMPLATES`, or a square one at another size, as in ``"arcface-224"``.

    Returns
    -------
    Template
        The registered template, or a known one at another size.

    Raises
    ------
    UnknownNameError
        If there is no template of that name.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.images.template("arcface").size
    (112, 112)
    >>> fl.images.template("arcface-224").size
    (224, 224)
    """
    if isinstance(name, str) and name not in TEMPLATES:
        base, _, size = name.rpartition("-")
        if base in TEMPLATES and re.fullmatch(r"[1-9]\d{1,3}", size):
            return TEMPLATES[base].scaled(int(size))
    return TEMPLATES[check_name("template", name, [*TEMPLATES, "arcface-<pixels>"])]


def register_template(new: Template) -> None:
    """Register a template of the user under its name.

    Parameters
    ----------
    new
        The template.

    Raises
    ------
    ParameterError
        If another template has this name.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.images.register_template(fl.images.Template("portrait", size=(160, 160), cut_by="box"))
    >>> fl.images.template("portrait").size
    (160, 160)
    """
    if TEMPLATES.setdefault(new.name, new) != new:
        raise ParameterError(f"another template is named {new.name!r}; give yours its own name")


def pixels_per_pixel(source: Template, to: Template) -> float:
    """Return the pixels of a crop of `to` per pixel, along a line, of a crop of `source`.

    A value above 1 means that cutting the one out of the other enlarges. Templates without points
    are compared by their sizes, because the face fills them about equally.
    """
    if not (source.points and to.points):
        return to.size[1] / source.size[1]
    return _spread(to.points) / _spread(source.points)


def overhang(source: Template, to: Template) -> int:
    """Return the largest distance in pixels by which `to` extends beyond a crop of `source`.

    Their points are matched by least squares; 0 if one of the templates has no points.
    """
    if not (source.points and to.points):
        return 0
    ratio = 1 / pixels_per_pixel(source, to)
    centres = [[sum(v) / 5 for v in zip(*t.points, strict=True)] for t in (source, to)]
    beyond = 0.0
    for axis in (0, 1):
        first = centres[0][axis] + ratio * (0 - centres[1][axis])
        last = centres[0][axis] + ratio * (to.size[1 - axis] - 1 - centres[1][axis])
        beyond = max(beyond, -first, last - (source.size[1 - axis] - 1))
    return max(0, math.ceil(beyond / ratio - 0.51))


def _spread(points: Points) -> float:
    """Root mean squared distance of points from their mean."""
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return math.sqrt(sum((a - x) ** 2 + (b - y) ** 2 for a, b in points) / len(points))

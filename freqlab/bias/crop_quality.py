"""Quality measures of face crops, which may confound comparisons between groups.

They are computed from the luma (0..255) of the crops that the models see, to be reported with
influence and used for matching. Terms follow ISO/IEC 29794-5 where it defines them; the measures
themselves are simpler.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.errors import ParameterError
from freqlab.images.templates import template as named_template
from freqlab.store.reading import open_crops, open_run, pixels_across

__all__ = ["MEASURES", "detection_probability", "measure_crops", "quality"]

MEASURES = {
    "sharpness": "log variance of the Laplacian",
    "contrast": "RMS contrast, grey levels",
    "brightness": "mean luma, grey levels",
    "border": "share of the crop that is black or repeats its edge",
    "resolution": "pixels of the photograph across the crop",
    "yaw": "offset of the nose from the midpoint of the eyes, in eye distances (right positive)",
}
"""Columns of :func:`quality` and their descriptions."""

_BLACK = 8  # a row or column counts as black if no pixel exceeds this grey level
_FACES_PER_STEP = 256


def quality(
    store: str | os.PathLike[str], *, template: str = "arcface", faces: Sequence[str] | None = None
) -> pd.DataFrame:
    """Measure the crops of a run.

    Parameters
    ----------
    store
        The run's Zarr group.
    template
        Template of the crops.
    faces
        Names of the faces; by default all faces that have a crop.

    Returns
    -------
    pandas.DataFrame
        A row per face, with the columns of :data:`MEASURES`. ``resolution`` and ``yaw`` are NaN
        where landmarks are unknown, for example if the images were aligned already. A face
        without a crop has no row.

    Raises
    ------
    StoreError
        If there is no run, or it has no crops of this template.
    ParameterError
        If the run keeps no crops.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> fl.bias.quality(study.attrs["store"]).columns.tolist()
    ['sharpness', 'contrast', 'brightness', 'border', 'resolution', 'yaw']
    """
    crops = open_crops(store, template=template)
    if "crop" not in crops:
        raise ParameterError(
            f"store={os.fspath(store)!r} has no stored crops to measure; compute the run with "
            f"keep_crops=True"
        )
    names = crops["face"].to_numpy().astype(str)
    known = crops["status_text"].to_numpy() == "ok"
    if faces is not None:
        known &= np.isin(names, list(faces))
    rows = np.flatnonzero(known)
    parts = []
    for start in range(0, len(rows), _FACES_PER_STEP):
        step = rows[start : start + _FACES_PER_STEP]
        parts.append(measure_crops(crops["crop"].isel(face=step).to_numpy()))
    columns = ["sharpness", "contrast", "brightness", "border"]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=columns, dtype=float)
    table.index = pd.Index(names[rows], name="face")
    table["resolution"] = np.nan
    if named_template(template).points:
        table["resolution"] = pixels_across(store, template=template).reindex(table.index)
    landmarks = open_run(store, nodes=["faces"])["faces"]["landmarks"].sel(
        face=table.index.to_numpy(object)
    )
    table["yaw"] = _yaw(landmarks.to_numpy().astype(float))
    return table[list(MEASURES)]


def detection_probability(
    store: str | os.PathLike[str], *, faces: Sequence[str]
) -> pd.Series[float]:
    """Probability that the detector gave to the face in the photograph of each face.

    Parameters
    ----------
    store
        The run's Zarr group.
    faces
        Names of the faces. A degraded face has the probability of its photograph.

    Returns
    -------
    pandas.Series
        Indexed by face; NaN for a face that was not detected, because it was aligned already or
        its landmarks were given, and in a run made before the probability was stored.
    """
    table = open_run(store, nodes=["faces"])["faces"]
    names = pd.Index([str(face) for face in faces], name="face")
    if "detection_probability" not in table:
        return pd.Series(np.nan, names, dtype=float)
    known = table["detection_probability"].sel(face=names.to_numpy(object))
    return pd.Series(known.to_numpy().astype(float), names)


def measure_crops(crops: npt.NDArray[np.uint8]) -> pd.DataFrame:
    """Measure crops from their pixels alone.

    Parameters
    ----------
    crops
        RGB ``(n, height, width, 3)``, 0..255.

    Returns
    -------
    pandas.DataFrame
        Columns ``sharpness``: log10 of 1 plus the variance of the Laplacian (Pech-Pacheco et al.
        2000); ``contrast``: standard deviation; ``brightness``: mean; ``border``: share of rows
        and columns, from the edges inwards, that are black or repeat their neighbour, 0..1.
    """
    from scipy import ndimage

    luma = crops.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    laplacian = np.stack([ndimage.laplace(image, mode="nearest") for image in luma])
    height, width = luma.shape[1:]
    border = np.empty(len(luma))
    for i, image in enumerate(luma):
        top, bottom, left, right = (_border(np.rot90(image, k)) for k in (0, 2, 3, 1))
        inside = max(0, height - top - bottom) * max(0, width - left - right)
        border[i] = 1 - inside / (height * width)
    return pd.DataFrame(
        {
            "sharpness": np.log10(1 + laplacian.var(axis=(1, 2))),
            "contrast": luma.std(axis=(1, 2)),
            "brightness": luma.mean(axis=(1, 2)),
            "border": border,
        }
    )


def _border(image: npt.NDArray[np.float64]) -> int:
    """Count the rows from the top that are black or repeat the row below."""
    dark = image.max(axis=1) <= _BLACK
    repeats = np.append((np.abs(np.diff(image, axis=0)) < 0.5).all(axis=1), False)
    content = np.flatnonzero(~(dark | repeats))
    # the last of several repeated rows belongs to the picture
    return int(content[0]) if len(content) else len(image)


def _yaw(landmarks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Offset of the nose from the midpoint of the eyes, along the line between them."""
    left, right, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    across = right - left
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("nx,nx->n", nose - (left + right) / 2, across) / np.square(across).sum(1)

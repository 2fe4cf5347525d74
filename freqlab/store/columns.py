"""Columns of faces as a store keeps them: numbers or text, with missing values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.faces.table import Faces

__all__ = ["degradations_of", "equal_values", "face_columns", "is_missing", "stored_columns"]


def stored_columns(faces: Faces) -> dict[str, npt.NDArray[Any]]:
    """Columns of a table of faces as they are stored: numbers as float64, the rest as text."""
    columns: dict[str, npt.NDArray[Any]] = {"subject": faces.subjects}
    columns["aligned"] = np.full(len(faces), faces.aligned or "no", object)
    for name, values in faces.table.items():
        if name == "subject" or values.isna().all():  # an empty column has no type yet
            continue
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            columns[str(name)] = values.to_numpy(np.float64)
        else:
            text = values.astype(object).where(values.notna(), "").map(str)
            if name == "path":  # a file's name may not be valid text
                text = text.map(lambda path: os.fsencode(path).decode("utf-8", "backslashreplace"))
            columns[str(name)] = text.to_numpy(object)
    return columns


def face_columns(
    faces: Faces, metadata: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Columns of `/faces` from a face set, with their metadata."""
    landmarks = np.full((len(faces), 5, 2), np.nan, np.float32)
    if faces.landmarks is not None:
        landmarks = faces.landmarks.astype(np.float32)
    return {
        "face": np.array(faces.names, object),
        **metadata,
        "landmarks": landmarks,
        "landmarks_given": np.asarray(np.isfinite(landmarks).all(axis=(1, 2))),
        "degraded_by": degradations_of(faces),
    }


def degradations_of(faces: Faces) -> npt.NDArray[np.object_]:
    """Degradation of each face as text; empty if it is not degraded."""
    if faces.degradations is None:
        return np.full(len(faces), "", object)
    return np.array(["" if d is None else d.declaration() for d in faces.degradations], object)


def is_missing(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each value is missing: empty text, or NaN."""
    return np.asarray(values == "" if values.dtype == object else np.isnan(values), dtype=bool)


def equal_values(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether values are equal, elementwise; NaN equals NaN."""
    if a.dtype == object or b.dtype == object:
        return np.asarray(a.astype(object) == b.astype(object), dtype=bool)
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)), dtype=bool)

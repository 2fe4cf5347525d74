"""First stage: read the photographs, find the faces, align them to a template."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from freqlab.alignment import Template, align, detect_landmarks
from freqlab.errors import ParameterError
from freqlab.faces import Faces
from freqlab.models.spec import Model
from freqlab.stages.context import Run
from freqlab.store import DONE, NO_FACE, PENDING, UNREADABLE, Column, file_stamp

__all__ = ["align_faces", "read_crops"]


def align_faces(run: Run, to: Template, device: str) -> None:
    """Read, detect and warp the faces that the store lacks crops of.

    Faces that could not be read are tried again, for a file may have come back.
    """
    store = run.store
    columns = {}
    if run.keep_crops:
        columns["crop"] = Column(
            ("y", "x", "channel"), (*to.size, 3), "uint8", 0, {"long_name": "aligned crop, RGB"}
        )
    identity = {
        "template": to.name,
        "size": list(to.size),
        "points": [list(point) for point in to.points],
        "crops_kept": run.keep_crops,
    }
    node = store.require_node(f"crops/{to.name}", columns, identity=identity)
    status = store.read(node, "status")[run.rows]
    pending = np.unique(run.rows[np.isin(status, (PENDING, UNREADABLE))])
    with run.bar("aligning faces", len(pending), "face") as bar:
        for block in store.blocks(pending):
            rows = pending[block]
            crops, about_faces = _align_block(run.faces, run.positions(rows), to, device)
            status = about_faces["status"]
            store.write_rows(store.faces, rows, about_faces, status)
            store.write_rows(node, rows, {"crop": crops} if run.keep_crops else {}, status)
            bar.update(len(rows))


def _align_block(
    faces: Faces, positions: Sequence[int], to: Template, device: str
) -> tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[Any]]]:
    """Crops of some faces, and what is now known of the faces: status, landmarks, digest."""
    n = len(positions)
    crops = np.zeros((n, *to.size, 3), np.uint8)
    status = np.full(n, DONE, np.int8)
    landmarks = np.full((n, 5, 2), np.nan, np.float32)
    digests = np.full(n, "", object)
    stamps = np.array([file_stamp(faces, i) or (-1, -1) for i in positions], np.int64)
    images: dict[int, npt.NDArray[np.uint8]] = {}
    for k, position in enumerate(positions):
        try:
            content = faces.content(position)
            images[k] = faces.image(position, content)
            digests[k] = hashlib.sha256(content).hexdigest()
        except OSError:
            status[k] = UNREADABLE
    if faces.aligned is None:
        if faces.landmarks is not None:
            landmarks = faces.landmarks[list(positions)].astype(np.float32)
        missing = [k for k in images if np.isnan(landmarks[k]).any()]
        if missing:
            landmarks[missing] = detect_landmarks([images[k] for k in missing], device=device)
    for k, image in images.items():
        if faces.aligned is not None:
            if image.shape[:2] != to.size:
                raise ParameterError(
                    f"face {faces.names[positions[k]]!r} is {image.shape[0]} x "
                    f"{image.shape[1]}, not a crop of template {to.name!r} ({to.size[0]} x "
                    f"{to.size[1]}); load the faces without aligned="
                )
            crops[k] = image
        elif np.isnan(landmarks[k]).any():
            status[k] = NO_FACE
        else:
            crops[k] = align(image, landmarks[k], to)
    about_faces: dict[str, npt.NDArray[Any]] = {
        "landmarks": landmarks,
        "sha256": digests,
        "file_size": stamps[:, 0],
        "file_mtime": stamps[:, 1],
        "status": status,
    }
    return crops, about_faces


def read_crops(run: Run, rows: npt.NDArray[np.int64], model: Model) -> npt.NDArray[np.uint8]:
    """Crops of faces in one block: from the store, or aligned again with the stored landmarks."""
    node = run.store.root[f"crops/{model.spec.template}"]
    if "crop" in node:  # type: ignore[operator]
        first, last = int(rows[0]), int(rows[-1])
        return np.asarray(node["crop"][first : last + 1])[rows - first]  # type: ignore[index]
    landmarks = np.asarray(run.store.faces["landmarks"].oindex[rows])  # type: ignore[union-attr]
    given = run.faces.select(run.positions(rows))
    faces = dataclasses.replace(given, landmarks=landmarks)
    return _align_block(faces, range(len(rows)), model.template, model.device)[0]

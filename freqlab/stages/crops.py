"""First stage: read the photographs, find the faces, align them to a template."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.alignment import Template, align, detect_landmarks
from freqlab.errors import FaceSetError, ParameterError, StoreConflictError
from freqlab.models.spec import Model
from freqlab.stages.context import Run
from freqlab.store import (
    BAD_LANDMARKS,
    DONE,
    FAILED,
    FLAGS,
    NO_FACE,
    NO_FILE,
    PENDING,
    UNREADABLE,
    Column,
    file_stamp,
)

__all__ = ["align_faces", "read_crops"]

Rows = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


def align_faces(run: Run, to: Template, device: str) -> None:
    """Read, detect and warp the faces that the store lacks crops of.

    Faces that could not be read are tried again, for a file may have come back, and so are faces
    that were not found, where landmarks are given now.

    Raises
    ------
    FaceSetError
        If not one of the faces can be used.
    """
    store = run.store
    node = _crops_node(run, to)
    status = store.read(node, "status")[run.rows]
    given = store.read(store.faces, "landmarks_given")[run.rows]
    wanted = np.isin(status, (PENDING, UNREADABLE, NO_FILE))
    wanted |= given & np.isin(status, (NO_FACE, BAD_LANDMARKS))
    pending = np.unique(run.rows[wanted])
    with run.bar("aligning faces", len(pending), "face") as bar:
        for block in store.blocks(pending):
            rows = pending[block]
            crops, about_faces = _align_block(run, rows, to, device)
            status = about_faces["status"]
            store.write_rows(store.faces, rows, about_faces, status)
            store.write_rows(node, rows, {"crop": crops} if "crop" in node else {}, status)
            bar.update(len(rows))
    codes = store.read(store.faces, "status")[run.rows]
    if np.isin(codes, FAILED).all():
        why = ", ".join(f"{int((codes == c).sum()):,} {FLAGS[int(c)]}" for c in np.unique(codes))
        first = f"{run.faces.names[0]}: {FLAGS[int(codes[0])]}"
        raise FaceSetError(
            f"none of the {len(codes):,} faces of {run.faces.name!r} can be used ({why}); {first}"
        )


def read_crops(run: Run, rows: Rows, model: Model) -> tuple[Rows, Pixels]:
    """Crops of faces in one block: from the store, or aligned again where it keeps none.

    Returns
    -------
    rows : numpy.ndarray
        Those of `rows` whose crop could be had; a photograph that is gone by now is left out
        and recorded so.
    crops : numpy.ndarray
        ``(n, height, width, 3)``.

    Raises
    ------
    StoreConflictError
        If a photograph is another by now.
    """
    store = run.store
    node = store.root[f"crops/{model.spec.template}"]
    if not isinstance(node, zarr.Group):
        raise TypeError(f"{node.path} is not a group")
    if "crop" in node:
        first, last = int(rows[0]), int(rows[-1])
        return rows, np.asarray(node["crop"][first : last + 1])[rows - first]  # type: ignore[index]
    stored = store.read(store.faces, "sha256")[rows]
    crops, about_faces = _align_block(run, rows, model.template, model.device)
    here = about_faces["status"] == DONE
    changed = here & (stored != about_faces["sha256"])
    if changed.any():
        names = [run.faces.names[i] for i in run.positions(rows[changed])]
        raise StoreConflictError(
            f"store {store.url!r} was begun with other images of {', '.join(names[:3])}"
        )
    for group in (store.faces, node):
        store.write_rows(group, rows[~here], {}, about_faces["status"][~here])
    return rows[here], crops[here]


def _crops_node(run: Run, to: Template) -> zarr.Group:
    """The node of a template's crops; whether it keeps them is settled when it is created."""
    store, path = run.store, f"crops/{to.name}"
    keep = run.keep_crops
    if keep is None:
        keep = path not in store.root or f"{path}/crop" in store.root
    attrs = {"long_name": "aligned crop, RGB"}
    crop = Column(("y", "x", "channel"), (*to.size, 3), "uint8", 0, attrs)
    identity = {
        "template": to.name,
        "size": list(to.size),
        "points": [list(point) for point in to.points],
        "keep_crops": keep,
    }
    return store.require_node(path, {"crop": crop} if keep else {}, identity=identity)


def _align_block(
    run: Run, rows: Rows, to: Template, device: str
) -> tuple[Pixels, dict[str, npt.NDArray[Any]]]:
    """Crops of some faces, and what is now known of the faces: status, landmarks, digest."""
    faces, positions, n = run.faces, run.positions(rows), len(rows)
    crops = np.zeros((n, *to.size, 3), np.uint8)
    status = np.full(n, DONE, np.int8)
    known = {
        name: run.store.read(run.store.faces, name)[rows]
        for name in ("landmarks", "sha256", "file_size", "file_mtime")
    }
    images: dict[int, Pixels] = {}
    for k, position in enumerate(positions):
        try:
            content = faces.content(position)
            images[k] = faces.image(position, content)
        except FileNotFoundError:
            status[k] = NO_FILE
            continue
        except OSError:
            status[k] = UNREADABLE
            continue
        known["sha256"][k] = hashlib.sha256(content).hexdigest()
        stamp = file_stamp(faces, position) or (-1, -1)
        known["file_size"][k], known["file_mtime"][k] = stamp
    landmarks = known["landmarks"]
    if faces.aligned is None:
        missing = [k for k in images if not np.isfinite(landmarks[k]).all()]
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
            crop = None if _outside(landmarks[k], image) else align(image, landmarks[k], to)
            if crop is None:
                status[k] = BAD_LANDMARKS
            else:
                crops[k] = crop
    return crops, {**known, "status": status}


def _outside(landmarks: npt.NDArray[np.floating], image: Pixels) -> bool:
    """Whether a point lies farther out of the photograph than half its size."""
    size = np.array(image.shape[1::-1])
    return bool(((landmarks < -0.5 * size) | (landmarks > 1.5 * size)).any())

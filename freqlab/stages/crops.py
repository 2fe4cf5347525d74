"""First stage: read the photographs, find the faces, align them to a template."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.alignment import cut, detect_faces
from freqlab.errors import FaceSetError, ParameterError, StoreConflictError
from freqlab.metadata import equal_values
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
from freqlab.templates import Template, template

__all__ = ["align_rows", "check_any_usable", "read_crops", "rows_to_align"]

Rows = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


def rows_to_align(run: Run, to: Template) -> Rows:
    """Rows of the faces of this call that lack a crop; the node of the crops is there after this.

    Faces that could not be read are tried again, for a file may have come back, and so are faces
    that were not found, where landmarks are given now.
    """
    store = run.store
    node = _crops_node(run, to)
    status = store.read(node, "status")[run.rows]
    given = store.read(store.faces, "landmarks_given")[run.rows]
    wanted = np.isin(status, (PENDING, UNREADABLE, NO_FILE))
    if to.cut_by != "box":
        wanted |= given & np.isin(status, (NO_FACE, BAD_LANDMARKS))
    return np.unique(run.rows[wanted])


def align_rows(run: Run, rows: Rows, to: Template) -> tuple[Rows, Pixels]:
    """Read, detect and warp faces of one block, and store what came of it.

    Returns
    -------
    rows : numpy.ndarray
        Those of `rows` that could be cut out.
    crops : numpy.ndarray
        Theirs, ``(n, height, width, 3)``.
    """
    store, node = run.store, run.store.crops(to.name)
    crops, status, about_faces = _align_block(run, rows, to)
    changed = {
        name: values
        for name, values in about_faces.items()
        if not equal_values(values, store.read_rows(store.faces, name, rows)).all()
    }
    store.write_rows(store.faces, rows, changed, about_faces["status"])
    store.write_rows(node, rows, {"crop": crops} if "crop" in node else {}, status)
    cut_out = status == DONE
    return rows[cut_out], crops[cut_out]


def check_any_usable(run: Run, to: Template) -> None:
    """Refuse a face set of which not one face can be cut out.

    Raises
    ------
    FaceSetError
        Saying why.
    """
    codes = run.store.read(run.store.crops(to.name), "status")[run.rows]
    if np.isin(codes, FAILED).all():
        why = ", ".join(f"{int((codes == c).sum()):,} {FLAGS[int(c)]}" for c in np.unique(codes))
        first = f"{run.faces.names[0]}: {FLAGS[int(codes[0])]}"
        raise FaceSetError(
            f"none of the {len(codes):,} faces of {run.faces.name!r} can be cut to template "
            f"{to.name!r} ({why}); {first}"
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
    node = store.crops(model.spec.template)
    if "crop" in node:
        first, last = int(rows[0]), int(rows[-1])
        return rows, np.asarray(node["crop"][first : last + 1])[rows - first]  # type: ignore[index]
    stored = store.read_rows(store.faces, "sha256", rows)
    crops, status, about_faces = _align_block(run, rows, model.template)
    here = status == DONE
    changed = here & (stored != about_faces["sha256"])
    if changed.any():
        names = [run.faces.names[i] for i in run.positions(rows[changed])]
        raise StoreConflictError(
            f"store {store.url!r} was begun with other images of {', '.join(names[:3])}"
        )
    store.write_rows(store.faces, rows[~here], {}, about_faces["status"][~here])
    store.write_rows(node, rows[~here], {}, status[~here])
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
        "cut_by": to.cut_by,
        "points": [list(point) for point in to.dlib_points or to.points],
        "margin": to.margin,
        "keep_crops": keep,
    }
    return store.require_node(path, {"crop": crop} if keep else {}, identity=identity)


def _align_block(
    run: Run, rows: Rows, to: Template
) -> tuple[Pixels, npt.NDArray[np.int8], dict[str, npt.NDArray[Any]]]:
    """Crops of some faces, their status, and what is now known of the faces themselves.

    A face may be known, its landmarks given, and yet not be cut out for one template.
    """
    images, known = _read_block(run, rows)
    crops = np.zeros((len(rows), *to.size, 3), np.uint8)
    status = known["status"].copy()
    if run.faces.aligned == to.name:
        for k, image in images.items():
            crops[k] = image
        return crops, status, known
    landmarks, boxes = _places(run, images, known, to)
    for k, image in images.items():
        needed = boxes[k] if to.cut_by == "box" else landmarks[k]
        if np.isnan(needed).any():
            status[k] = NO_FACE
            continue
        crop = None if _outside(needed, image) else cut(image, landmarks[k], boxes[k], to)
        if crop is None:
            status[k] = BAD_LANDMARKS
        else:
            crops[k] = crop
    found = np.isfinite(known["landmarks"]).all(axis=(1, 2))
    spared = np.isin(status, (NO_FACE, BAD_LANDMARKS)) & found & (to.cut_by == "box")
    known["status"] = np.where(spared, DONE, status).astype(np.int8)
    return crops, status, known


def _read_block(run: Run, rows: Rows) -> tuple[dict[int, Pixels], dict[str, npt.NDArray[Any]]]:
    """The photographs that can be read, and what is known of the faces."""
    faces, positions = run.faces, run.positions(rows)
    names = ("landmarks", "box", "faces_found", "sha256", "file_size", "file_mtime")
    known = {name: run.store.read_rows(run.store.faces, name, rows) for name in names}
    known["status"] = np.full(len(rows), DONE, np.int8)
    images: dict[int, Pixels] = {}
    for k, position in enumerate(positions):
        try:
            content = faces.content(position)
            images[k] = faces.image(position, content)
        except FileNotFoundError:
            known["status"][k] = NO_FILE
            continue
        except OSError:
            known["status"][k] = UNREADABLE
            continue
        known["sha256"][k] = hashlib.sha256(content).hexdigest()
        stamp = file_stamp(faces, position) or (-1, -1)
        known["file_size"][k], known["file_mtime"][k] = stamp
    if faces.aligned is not None:
        size = template(faces.aligned).size
        for k, image in images.items():
            if image.shape[:2] != size:
                raise ParameterError(
                    f"face {faces.names[positions[k]]!r} is {image.shape[0]} x "
                    f"{image.shape[1]}, not a crop of template {faces.aligned!r} ({size[0]} x "
                    f"{size[1]}); load the faces without aligned="
                )
    return images, known


def _places(
    run: Run,
    images: dict[int, Pixels],
    known: dict[str, npt.NDArray[Any]],
    to: Template,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Landmarks and boxes: as the store knows them, as a template fixes them, or detected.

    What is detected is added to `known`, but for landmarks that a template fixes.
    """
    landmarks, boxes = known["landmarks"], known["box"]
    if run.faces.aligned is not None and template(run.faces.aligned).points:
        landmarks = np.full_like(landmarks, template(run.faces.aligned).points)
    needed = boxes if to.cut_by == "box" else landmarks.reshape(len(landmarks), -1)
    missing = [k for k in images if np.isnan(needed[k]).any()]
    if missing:
        found = detect_faces(
            [images[k] for k in missing], near=landmarks[missing], device=run.device
        )
        boxes[missing] = found.boxes
        known["faces_found"][missing] = found.counts
        unknown = np.isnan(landmarks[missing]).any(axis=(1, 2))
        landmarks[missing] = np.where(unknown[:, None, None], found.landmarks, landmarks[missing])
    return landmarks, boxes


def _outside(points: npt.NDArray[np.floating], image: Pixels) -> bool:
    """Whether a point lies farther out of the photograph than half its size."""
    size, points = np.array(image.shape[1::-1]), points.reshape(-1, 2)
    return bool(((points < -0.5 * size) | (points > 1.5 * size)).any())

"""First stage: read the photographs, find the faces, align them to a template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.errors import (
    FaceSetError,
    ImageTooLargeError,
    ParameterError,
    StoreConflictError,
)
from freqlab.images.alignment import cut, detect_faces
from freqlab.images.decoding import Photograph
from freqlab.images.plausibility import implausible_landmarks
from freqlab.images.templates import Template, template
from freqlab.models.devices import resolve_device
from freqlab.models.spec import Model
from freqlab.run.context import Run
from freqlab.store.columns import equal_values
from freqlab.store.face_conflicts import file_stamp
from freqlab.store.layout import (
    BAD_LANDMARKS,
    DONE,
    FAILED,
    FLAGS,
    IMPLAUSIBLE,
    NO_FACE,
    NO_FILE,
    PENDING,
    SEVERAL_FACES,
    TOO_LARGE,
    TOO_SMALL,
    UNREADABLE,
    Column,
)
from freqlab.store.run_store import RunStore
from freqlab.system.room import PHOTOGRAPHS

__all__ = ["Crops", "align_rows", "check_any_usable", "read_crops", "rows_to_align"]

Rows = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
Crops = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

_OTHER_PICTURE = 5.0  # mean difference of crops in grey levels that no decoder or detector makes

_ABOUT_DETECTION = ("landmarks", "box", "detection_probability", "faces_found", "which_face")
_ABOUT_FILES = ("sha256", "file_size", "file_mtime", "image_note")

# Photographs of a block are read, cut and released in groups with an upper bound on the number of
# pixels. A larger photograph forms a group by itself, and waits until there is memory for it. The
# bytes per pixel are about the most that decoding, detection and the warp take.
_PIXELS_TOGETHER = 16_000_000
_BYTES_PER_PIXEL = 16


def rows_to_align(run: Run, to: Template) -> Rows:
    """Rows of the faces of this call that lack a crop; creates the node of the crops if needed.

    Faces that could not be read are tried again, because a file may have come back. So are faces
    that were not found if landmarks are given now, and photographs with several faces if one of
    them is requested now.
    """
    store = run.store
    node = _crops_node(run, to)
    status = store.read(node, "status")[run.rows]
    given = store.read(store.faces, "landmarks_given")[run.rows]
    wanted = np.isin(status, (PENDING, UNREADABLE, NO_FILE, TOO_LARGE))
    wanted |= given & np.isin(status, (IMPLAUSIBLE, SEVERAL_FACES))
    if to.cut_by != "box":
        wanted |= given & np.isin(status, (NO_FACE, BAD_LANDMARKS))
    if run.settings.which_face != "only":
        wanted |= status == SEVERAL_FACES
    return np.unique(run.rows[wanted])


def align_rows(run: Run, rows: Rows, to: Template) -> tuple[Rows, Crops]:
    """Read, detect and warp faces of one block, and store crops and status.

    Returns
    -------
    rows : numpy.ndarray
        The `rows` whose face could be cut out.
    crops : numpy.ndarray
        Their crops ``(n, height, width, 3)``; float32 if one of them is degraded without
        rounding. Such a crop is stored rounded, and made again when it is read.
    """
    store, node = run.store, run.store.crops(to.name)
    before = _known(store, rows)
    crops, status, about_faces = _align_block(run, rows, to, before)
    keeps_crops = "crop" in node
    stored = store.read_rows(node, "crop", rows) if keeps_crops else None
    digests = before["sha256"], about_faces["sha256"]
    _check_same_photographs(run, rows, crops, stored, status == DONE, *digests)
    changed = {
        name: about_faces[name]
        for name, values in before.items()
        if not equal_values(about_faces[name], values).all()
    }
    store.write_rows(store.faces, rows, changed, about_faces["status"])
    kept = {"crop": np.rint(np.clip(crops, 0, 255)).astype(np.uint8)} if keeps_crops else {}
    store.write_rows(node, rows, kept, status)
    cut_out = status == DONE
    return rows[cut_out], crops[cut_out]


def _known(store: RunStore, rows: Rows) -> dict[str, npt.NDArray[Any]]:
    """What the store knows of photographs and detections, by column."""
    columns = (*_ABOUT_DETECTION, *_ABOUT_FILES)
    return {name: store.read_rows(store.faces, name, rows) for name in columns}


def _check_same_photographs(
    run: Run,
    rows: Rows,
    crops: Crops,
    stored: npt.NDArray[np.uint8] | None,
    here: npt.NDArray[np.bool_],
    known: npt.NDArray[Any],
    found: npt.NDArray[Any],
) -> None:
    """Compare faces that are read again with what is known of them.

    Parameters
    ----------
    run, rows
        The run, and rows of the faces in the store.
    crops, stored
        Crops that were cut out now, and those in the store; None if it keeps none.
    here
        Whether a crop was cut out.
    known, found
        Digests of the files in the store, empty where there is none, and those of the files read.

    Raises
    ------
    StoreConflictError
        If a photograph is not the one that the stored crop or digest was made from.
    """
    differs = here & (known != "") & (known != found)
    if stored is not None:
        kept = here & (known == "") & stored.any(axis=(1, 2, 3))
        if kept.any():
            new = np.rint(np.clip(crops[kept], 0, 255))
            differs[kept] |= np.abs(new - stored[kept]).mean(axis=(1, 2, 3)) > _OTHER_PICTURE
    if differs.any():
        names = [run.faces.names[i] for i in run.positions(rows[differs])]
        raise StoreConflictError(
            f"store {run.store.url!r} was started with other images of {', '.join(names[:3])} "
            f"({len(names):,} faces), from which its data were computed. Give the same images, or "
            f"use another store or another name"
        )


def check_any_usable(run: Run, to: Template) -> None:
    """Refuse a face set from which no face can be cut out.

    Raises
    ------
    FaceSetError
        With the reasons.
    """
    codes = run.store.read(run.store.crops(to.name), "status")[run.rows]
    if np.isin(codes, FAILED).all():
        why = ", ".join(f"{int((codes == c).sum()):,} {FLAGS[int(c)]}" for c in np.unique(codes))
        first = f"{run.faces.names[0]}: {FLAGS[int(codes[0])]}"
        note = str(run.store.read_rows(run.store.faces, "image_note", run.rows[:1])[0])
        first += f" ({note})" if note else ""
        raise FaceSetError(
            f"none of the {len(codes):,} faces of {run.faces.name!r} can be cut to template "
            f"{to.name!r} ({why}); {'; '.join([first, *run.faces.notes])}"
        )


def read_crops(run: Run, rows: Rows, model: Model) -> tuple[Rows, Crops]:
    """Crops of faces in one block: from the store, or aligned again where it keeps none.

    Returns
    -------
    rows : numpy.ndarray
        The `rows` whose crop was available; a photograph that no longer exists is left out and
        its status recorded.
    crops : numpy.ndarray
        ``(n, height, width, 3)``; float32 if one of them is degraded without rounding.

    Raises
    ------
    StoreConflictError
        If a photograph has changed since.
    """
    node = run.store.crops(model.spec.template)
    if "crop" not in node:
        return _align_again(run, rows, model.template)
    crops = run.store.read_rows(node, "crop", rows)
    exact = np.array([d is not None and d.exact for d in run.degradations(rows)])
    if not exact.any():
        return rows, crops
    made_again, unrounded = _align_again(run, rows[exact], model.template)
    here = ~exact | np.isin(rows, made_again)
    crops = crops.astype(np.float32)
    crops[exact & here] = unrounded
    return rows[here], crops[here]


def _align_again(run: Run, rows: Rows, to: Template) -> tuple[Rows, Crops]:
    """Crops of faces that were aligned before; as :func:`read_crops`."""
    store = run.store
    before = _known(store, rows)
    notes = before["image_note"]
    crops, status, about_faces = _align_block(run, rows, to, before)
    here = status == DONE
    changed = here & (before["sha256"] != about_faces["sha256"])
    if changed.any():
        names = [run.faces.names[i] for i in run.positions(rows[changed])]
        raise StoreConflictError(
            f"store {run.store.url!r} was started with other images of {', '.join(names[:3])}"
        )
    otherwise = here & (notes != about_faces["image_note"])
    if otherwise.any():
        first = int(np.flatnonzero(otherwise)[0])
        raise StoreConflictError(
            f"store {store.url!r} keeps no crops and was started with another decoding of "
            f"{run.faces.names[run.positions(rows[[first]])[0]]} (then: "
            f"{notes[first] or 'no note'}; now: {about_faces['image_note'][first] or 'no note'}); "
            f"use another store"
        )
    store.write_rows(store.faces, rows[~here], {}, about_faces["status"][~here])
    store.write_rows(store.crops(to.name), rows[~here], {}, status[~here])
    return rows[here], crops[here]


def _crops_node(run: Run, to: Template) -> zarr.Group:
    """The node of a template's crops; its creation settles whether crops are kept."""
    store, path = run.store, f"crops/{to.name}"
    keep = run.settings.keep_crops
    if keep is None:
        known = store.root.get(path)
        keep = known is None or bool(json.loads(str(known.attrs["identity"]))["keep_crops"])
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
    run: Run, rows: Rows, to: Template, before: dict[str, npt.NDArray[Any]]
) -> tuple[Crops, npt.NDArray[np.int8], dict[str, npt.NDArray[Any]]]:
    """Crops of some faces, their status, and what is now known of the faces themselves.

    `before` is what was known, by column.

    A face may have landmarks and yet give no crop for one template.
    """
    degradations = run.degradations(rows)
    known = {name: values.copy() for name, values in before.items()}
    known["status"] = np.full(len(rows), DONE, np.int8)
    sharp = _crops_of_sources(run, rows, to, known)
    status = known["status"].copy()
    wanted = [k for k in range(len(rows)) if k not in sharp]
    with closing(_photographs(run, rows, wanted, known, status)) as groups:
        for group in groups:
            if run.faces.aligned == to.name:
                sharp |= {k: photograph.pixels for k, photograph in group.items()}
            else:
                sharp |= _cut_images(run, rows, group, to, known, status)
            group.clear()  # otherwise it stays in memory while the next one is read
    has_landmarks = np.isfinite(known["landmarks"]).all(axis=(1, 2))
    spared = np.isin(status, (NO_FACE, BAD_LANDMARKS)) & has_landmarks & (to.cut_by == "box")
    known["status"] = np.where(spared, DONE, status).astype(np.int8)
    exact = any(d is not None and d.exact for d in degradations)
    crops = np.zeros((len(rows), *to.size, 3), np.float32 if exact else np.uint8)
    for k, position in enumerate(run.positions(rows)):
        how = degradations[k]
        if k in sharp and how is not None and how.measure == "crop":
            crops[k] = how.of_crop(sharp[k], str(run.faces.table.index[position]))
        elif k in sharp:
            crops[k] = sharp[k]
    return crops, status, known


def _crops_of_sources(
    run: Run, rows: Rows, to: Template, known: dict[str, npt.NDArray[Any]]
) -> dict[int, Pixels]:
    """Stored crops of the source faces of degraded faces, where available.

    What is known of a source holds for its degraded faces too, and is added to `known`.
    """
    store, sources = run.store, run.source_rows(rows)
    derived = np.flatnonzero(sources >= 0)
    if not len(derived):
        return {}
    node = store.crops(to.name)
    of_sources = sources[derived]
    done = store.read_rows(store.faces, "status", of_sources) == DONE
    for name in _ABOUT_DETECTION:
        values = store.read_rows(store.faces, name, of_sources)
        known[name][derived[done]] = values[done]
    if "crop" not in node:
        return {}
    done &= store.read_rows(node, "status", of_sources) == DONE
    degradations = run.degradations(rows)
    by_crop = np.array([getattr(degradations[k], "measure", None) == "crop" for k in derived])
    taken = derived[done & by_crop]
    if not len(taken):
        return {}
    for name in _ABOUT_FILES:
        known[name][taken] = store.read_rows(store.faces, name, sources[taken])
    crops = store.read_rows(node, "crop", sources[taken])
    return {int(k): crop for k, crop in zip(taken, crops, strict=True)}


def _photographs(
    run: Run,
    rows: Rows,
    wanted: list[int],
    known: dict[str, npt.NDArray[Any]],
    status: npt.NDArray[np.int8],
) -> Generator[dict[int, Photograph], None, None]:
    """Yield the photographs that can be read, in groups that fit into memory.

    Findings about the files are added to `known` and `status`.
    """
    positions = run.positions(rows)
    group: dict[int, Photograph] = {}
    n_pixels = 0
    for k in wanted:
        position = positions[k]
        with ExitStack() as reserved:
            try:
                content = run.faces.content(position)
                n_own = run.faces.pixels_of(position, content)
                if group and n_pixels + n_own > _PIXELS_TOGETHER:
                    yield group
                    group, n_pixels = {}, 0
                if n_own > _PIXELS_TOGETHER:
                    reserved.enter_context(PHOTOGRAPHS.of(n_own * _BYTES_PER_PIXEL))
                photograph = run.faces.photograph(position, content)
            except OSError as error:
                status[k] = _status_of(error)
                known["image_note"][k] = _in_a_line(error)
                continue
            _check_size(run, position, photograph)
            known["image_note"][k] = photograph.note
            known["sha256"][k] = hashlib.sha256(content).hexdigest()
            stamp = file_stamp(run.faces, position) or (-1, -1)
            known["file_size"][k], known["file_mtime"][k] = stamp
            del content
            group[k] = photograph
            n_pixels += n_own
            del photograph
            if n_pixels > _PIXELS_TOGETHER:
                yield group
                group, n_pixels = {}, 0
    if group:
        yield group


def _status_of(error: OSError) -> int:
    """The status of a face whose photograph could not be read."""
    if isinstance(error, FileNotFoundError):
        return NO_FILE
    return TOO_LARGE if isinstance(error, ImageTooLargeError) else UNREADABLE


def _in_a_line(error: OSError) -> str:
    """Message of an error without the path, which the store already holds."""
    text = str(error.strerror or error)
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:200]


def _check_size(run: Run, position: int, photograph: Photograph) -> None:
    if run.faces.aligned is None:
        return
    size, shape = template(run.faces.aligned).size, photograph.pixels.shape
    if shape[:2] != size:
        raise ParameterError(
            f"face {run.faces.names[position]!r} is {shape[0]} x {shape[1]}, not a crop of "
            f"template {run.faces.aligned!r} ({size[0]} x {size[1]}); load the faces without "
            f"aligned="
        )


def _cut_images(
    run: Run,
    rows: Rows,
    group: dict[int, Photograph],
    to: Template,
    known: dict[str, npt.NDArray[Any]],
    status: npt.NDArray[np.int8],
) -> dict[int, Pixels]:
    """Cut faces out of photographs; `status` records those that cannot be cut out."""
    degradations, positions = run.degradations(rows), run.positions(rows)
    landmarks, boxes = _places(run, group, known, to)
    crops: dict[int, Pixels] = {}
    for k, (image, reduced_by, _) in group.items():
        needed = boxes[k] if to.cut_by == "box" else landmarks[k]
        how = degradations[k]
        far = how is not None and how.measure == "face"
        fault = _fault(run, k, image.shape[:2], reduced_by, landmarks, known, to)
        if fault is not None:
            status[k] = IMPLAUSIBLE
            known["image_note"][k] = _joined(known["image_note"][k], f"landmarks: {fault}")
            continue
        if np.isnan(needed).any() or (far and np.isnan(landmarks[k]).any()):
            among = run.settings.which_face == "only" and known["faces_found"][k] > 1
            status[k] = SEVERAL_FACES if among else NO_FACE
            if among:
                note = f"faces: {known['faces_found'][k]} were found"
                known["image_note"][k] = _joined(known["image_note"][k], note)
            continue
        # in pixels of the photograph as it was decoded
        points, box = (_scaled(places[k], 1 / reduced_by) for places in (landmarks, boxes))
        if to.cut_by == "box" and _outside(box, image):
            status[k] = BAD_LANDMARKS
            continue
        seen = image
        if how is not None and far:
            reduced = how.of_photograph(image, points, str(run.faces.table.index[positions[k]]))
            if reduced is None:
                status[k] = TOO_SMALL
                continue
            # pixel centres are half a pixel inside the extent that is scaled
            ratio = np.array(reduced.shape[1::-1]) / image.shape[1::-1]
            points = (points + 0.5) * ratio - 0.5
            box, seen = (box + 0.5) * np.tile(ratio, 2) - 0.5, reduced
        crop = cut(seen, points, box, to)
        if crop is None:
            status[k] = BAD_LANDMARKS
        else:
            crops[k] = crop
    return crops


def _places(
    run: Run,
    group: dict[int, Photograph],
    known: dict[str, npt.NDArray[Any]],
    to: Template,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Landmarks and boxes: from the store, fixed by a template, or detected.

    Detections are added to `known`, except landmarks that a template fixes.
    """
    landmarks, boxes = known["landmarks"], known["box"]
    if run.faces.aligned is not None and template(run.faces.aligned).points:
        landmarks = np.full_like(landmarks, template(run.faces.aligned).points)
    needed = boxes if to.cut_by == "box" else landmarks.reshape(len(landmarks), -1)
    missing = [k for k in group if np.isnan(needed[k]).any()]
    if missing:
        by = np.array([group[k].reduced for k in missing], np.float32)[:, None, None]
        unknown = np.isnan(landmarks[missing]).any(axis=(1, 2))
        detected = detect_faces(
            [group[k].pixels for k in missing],
            near=_scaled(landmarks[missing], 1 / by),
            which_face=run.settings.which_face,
            device=resolve_device(run.settings.device),
        )
        boxes[missing] = _scaled(detected.boxes, by[:, 0])
        known["detection_probability"][missing] = detected.probabilities
        known["faces_found"][missing] = detected.counts
        known["which_face"][missing] = np.where(unknown, run.settings.which_face, "")
        points = _scaled(detected.landmarks, by)
        landmarks[missing] = np.where(unknown[:, None, None], points, landmarks[missing])
    return landmarks, boxes


def _fault(
    run: Run,
    k: int,
    size: tuple[int, ...],
    reduced_by: int,
    landmarks: npt.NDArray[np.floating],
    known: dict[str, npt.NDArray[Any]],
    to: Template,
) -> str | None:
    """Why landmarks cannot be those of a face; None if they can, or are not needed.

    A template cut by a box needs none, but given landmarks select the face.
    """
    detected = known["which_face"][k] != ""
    if run.faces.aligned is not None or (to.cut_by == "box" and detected):
        return None
    if np.isnan(landmarks[k]).any():
        return None
    return implausible_landmarks(landmarks[k], (size[0] * reduced_by, size[1] * reduced_by))


def _scaled(
    places: npt.NDArray[np.floating], by: float | npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Positions in pixels of a scaled image; pixel centres are half a pixel inside."""
    if isinstance(by, float) and by == 1:
        return places
    scaled = (places + 0.5) * by - 0.5
    return np.where(np.equal(by, 1), places, scaled).astype(np.float32)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _outside(points: npt.NDArray[np.floating], image: Pixels) -> bool:
    """Whether a point is outside the photograph by more than half its size."""
    size, points = np.array(image.shape[1::-1]), points.reshape(-1, 2)
    return bool(((points < -0.5 * size) | (points > 1.5 * size)).any())

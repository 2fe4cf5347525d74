"""FaceForensics++: frames of original videos, and of the same videos manipulated."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from freqlab.datasets.listing import as_text, existing_folder, survey, wrong_layout
from freqlab.errors import FaceSetError
from freqlab.faces.table import Faces

__all__ = ["load_faceforensics"]

_EXPECTED = (
    "frames original_sequences/youtube/<c0|c23|c40>/frames/000/0000.png (of DeepFakeDetection "
    "original_sequences/actors/c23/frames/01__scene/0000.png) and "
    "manipulated_sequences/<method>/<c0|c23|c40>/frames/000_003/0000.png (01_02__scene__ID; the "
    "folder 'frames' may have another name)"
)
_KINDS = {"original_sequences": "pristine", "manipulated_sequences": "manipulated"}
_FRAMES = "frames"
_ELSEWHERE = ("no folder", "other folders")
_NO_FACES = re.compile(r"(?:.*[_-])?(?:masks?|landmarks?)(?:[_-].*)?", re.IGNORECASE)
_VIDEO = re.compile(
    r"(?P<target>\d+)(?:_(?P<source>\d+))?(?:__(?P<scene>.+?)(?:__(?P<id>[^_]+))?)?"
)
_FRAME = re.compile(r"(?:.*?[^\d])?(\d+)")
_VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")


class _Place(NamedTuple):
    """Location of a frame, from the kind of sequence on."""

    kind: str
    method: str
    compression: str
    folder: str
    video: str
    frame: str


def load_faceforensics(root: str | os.PathLike[str] | None, aligned: str | None = None) -> Faces:
    """Load frames of FaceForensics++, in the layout of the set's own extraction and benchmarks.

    The reader accepts
    ``original_sequences/<youtube|actors>/<compression>/frames/<video>/<frame>.png`` and
    ``manipulated_sequences/<method>/<compression>/frames/<video>/<frame>.png``. If there is no
    folder ``frames``, a folder with another name is used. Masks, landmarks and other folders
    beside it are left out, and a warning counts the images in them.

    Faces are named by their path from ``original_sequences`` or ``manipulated_sequences`` on. The
    subject is the video that was shown or altered (``000`` of ``000_003``), and in
    DeepFakeDetection the actor (``01`` of ``01__scene`` and of ``01_02__scene__ID``). Whom the
    person resembles after a face swap is for the user's pairs to declare.

    Columns: ``label`` (``pristine``, ``manipulated``), ``method`` (``Deepfakes``, ...; empty for
    pristine frames), ``video``, ``source_video`` (from which a face or expression was taken, in
    DeepFakeDetection the actor; empty for pristine frames), ``pristine_video`` (the altered one;
    for pristine frames their own video), ``compression`` and ``frame`` (a number). ``source`` is
    the pristine frame from which a frame was made, if it is in the set in the same compression.

    Raises
    ------
    FaceSetError
        If no image fits, or an image does not fit.
    """
    folder = existing_folder(root, "faceforensics")
    files = survey(folder)
    images = files.images
    places, left_out, bad = _places(images)
    places = _frames_only(folder, places, left_out)
    rows, strays = [], []
    for path, place in places.items():
        number = _FRAME.fullmatch(os.path.splitext(place.frame)[0])
        row = _row(place)
        if row is None:
            bad.append(path)
        elif number is None:
            strays.append(path)
        else:
            name = as_text("/".join(place))
            path = os.path.join(folder, path)
            rows.append({"face": name, **row, "frame": int(number[1]), "path": path})
    if 2 * len(bad) > len(images) or not rows:
        masks = [f"{n} images in {name}" for name, n in left_out.items() if name not in _ELSEWHERE]
        offending = bad or strays or masks or _videos(folder)
        raise wrong_layout(files, _EXPECTED, offending)
    table = pd.DataFrame(rows).set_index("face")
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise FaceSetError(f"{folder}: {twice!r} occurs twice; set root= to one copy of the set")
    table["source"] = _sources(table)
    _say_left_out(folder, left_out, [*strays, *bad])
    columns = ["subject", "label", "method", "video", "source_video", "pristine_video"]
    table = table[[*columns, "compression", "frame", "path", "source"]]
    return Faces(
        table,
        aligned=aligned,
        name="faceforensics",
        notes=files.notes(),
        left_out=files.left_out,
        names_people=["source_video", "pristine_video", "source"],
    )


def _places(images: list[str]) -> tuple[dict[str, _Place], Counter[str], list[str]]:
    """Sort images: those in sequences, counts of masks and the like, and those elsewhere."""
    places: dict[str, _Place] = {}
    left_out: Counter[str] = Counter()
    bad = []
    for path in images:
        parts = path.split("/")
        start = next((i for i, part in enumerate(parts) if part in _KINDS), None)
        if start is None:
            left_out[_ELSEWHERE["/" in path]] += 1
            continue
        tail = parts[start:]
        no_faces = next((part for part in tail[2:-1] if _NO_FACES.fullmatch(part)), None)
        if no_faces is not None:
            left_out[no_faces] += 1
        elif len(tail) == len(_Place._fields):
            places[path] = _Place(*tail)
        else:
            bad.append(path)
    return places, left_out, bad


def _frames_only(
    root: Path, places: dict[str, _Place], left_out: Counter[str]
) -> dict[str, _Place]:
    """Select the images in folders of frames and count others; fail if there is no such folder.

    Frames and crops of the same frames would form pairs of an image with itself.
    """
    folders = sorted({place.folder for place in places.values()})
    if len(folders) < 2:
        return places
    if _FRAMES not in folders:
        raise FaceSetError(
            f"{root}: frames are in folders with several names, {', '.join(folders)}; rename those "
            f"to read to '{_FRAMES}'"
        )
    for place in places.values():
        if place.folder != _FRAMES:
            left_out[place.folder] += 1
    return {path: place for path, place in places.items() if place.folder == _FRAMES}


def _row(place: _Place) -> dict[str, object] | None:
    """Values from the path of a frame except its number; None if the video's name does not fit."""
    match = _VIDEO.fullmatch(place.video)
    if match is None:
        return None
    label, source = _KINDS[place.kind], match["source"] or ""
    if (label == "manipulated") != bool(source):
        return None
    scene = match["scene"] or ""
    if not source and match["id"]:  # two underscores in the name of a scene
        scene = f"{scene}__{match['id']}"
    return {
        "subject": match["target"],
        "label": label,
        "method": place.method if source else "",
        "video": as_text(place.video),
        "source_video": source,
        "pristine_video": as_text(match["target"] + (f"__{scene}" if scene else "")),
        "compression": place.compression,
    }


def _sources(table: pd.DataFrame) -> list[str]:
    """Pristine frame from which each frame was made; empty if there is none."""
    keys = list(zip(table["pristine_video"], table["compression"], table["frame"], strict=True))
    is_pristine = table["label"] == "pristine"
    pristine = {
        key: name for key, name, ok in zip(keys, table.index, is_pristine, strict=True) if ok
    }
    return ["" if ok else pristine.get(key, "") for key, ok in zip(keys, is_pristine, strict=True)]


def _say_left_out(root: Path, left_out: Counter[str], strays: list[str]) -> None:
    parts = [f"{count:,} in {name}" for name, count in sorted(left_out.items())]
    if strays:
        parts.append(f"{len(strays):,} with other names ({', '.join(strays[:3])})")
    if parts:
        warnings.warn(
            f"{root}: images that are not frames are left out: {', '.join(parts)}", stacklevel=4
        )


def _videos(root: Path) -> list[str]:
    """Contents of a folder without images, videos first."""
    videos = [path for path in root.rglob("*") if path.suffix.lower() in _VIDEO_SUFFIXES]
    if videos:
        some = ", ".join(sorted(path.relative_to(root).as_posix() for path in videos)[:2])
        return [f"{len(videos):,} videos ({some}); extract their frames first"]
    return sorted(path.relative_to(root).as_posix() for path in root.glob("*"))[:3]

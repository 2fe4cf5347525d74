"""FaceForensics++: frames of videos as they are, and of the same videos manipulated."""

from __future__ import annotations

import os

import pandas as pd

from freqlab.datasets.listing import existing_folder, list_images, wrong_layout
from freqlab.errors import FaceSetError
from freqlab.faces import Faces

__all__ = ["load_faceforensics"]

_EXPECTED = (
    "frames original_sequences/youtube/<c0|c23|c40>/frames/000/0000.png and "
    "manipulated_sequences/<method>/<c0|c23|c40>/frames/000_003/0000.png (the folder 'frames' may "
    "have another name)"
)
_PARTS = 6  # kind, source or method, compression, folder of frames, video, frame
_KINDS = {"original_sequences": "pristine", "manipulated_sequences": "manipulated"}


def load_faceforensics(root: str | os.PathLike[str] | None, aligned: str | None = None) -> Faces:
    """Load frames of FaceForensics++, laid out as the set's own extraction leaves them.

    Faces are named by their path from ``original_sequences`` or ``manipulated_sequences`` on. The
    subject is the video that was shown or altered (``000`` of ``000_003``): who its person looks
    like after a swap of faces is for the user's pairs to say.

    Columns: ``label`` (``pristine``, ``manipulated``), ``method`` (``Deepfakes``, ...; empty for
    pristine frames), ``video``, ``source_video`` (that a face or expression was taken from; empty
    for pristine frames), ``compression`` and ``frame`` (a number).

    Raises
    ------
    FaceSetError
        If nothing fits, or an image does not.
    """
    folder = existing_folder(root, "faceforensics")
    images = list_images(folder)
    rows, bad = [], []
    for path in images:
        parts = path.split("/")
        start = next((i for i, part in enumerate(parts) if part in _KINDS), None)
        if start is None:
            continue
        tail = parts[start:]
        row = _row(tail)
        if row is None:
            bad.append(path)
        else:
            rows.append({"face": "/".join(tail), **row, "path": os.path.join(folder, path)})
    if bad or not rows:
        raise wrong_layout(folder, _EXPECTED, bad or images, of=len(images) if bad else None)
    table = pd.DataFrame(rows).set_index("face")
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise FaceSetError(f"{folder}: {twice!r} is there twice; let root= be one copy of the set")
    keys = list(zip(table["subject"], table["compression"], table["frame"], strict=True))
    is_pristine = table["label"] == "pristine"
    pristine = {
        key: name for key, name, ok in zip(keys, table.index, is_pristine, strict=True) if ok
    }
    table["source"] = [
        "" if ok else pristine.get(key, "") for key, ok in zip(keys, is_pristine, strict=True)
    ]
    return Faces(
        table, aligned=aligned, name="faceforensics", names_people=["source_video", "source"]
    )


def _row(parts: list[str]) -> dict[str, object] | None:
    """What the path of a frame says, from the kind of sequence on."""
    if len(parts) != _PARTS:
        return None
    kind, method, compression, _, video, frame = parts
    label, (target, _, source) = _KINDS[kind], video.partition("_")
    stem = os.path.splitext(frame)[0]
    if not stem.isdigit() or (label == "manipulated") != bool(source):
        return None
    return {
        "subject": target,
        "label": label,
        "method": method if source else "",
        "video": video,
        "source_video": source,
        "compression": compression,
        "frame": int(stem),
    }

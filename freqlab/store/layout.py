"""Layout of a run: names of its nodes, status codes, columns along its faces, and their blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = [
    "BAD_LANDMARKS",
    "DONE",
    "FACE_COLUMNS",
    "FAILED",
    "FLAGS",
    "FORGOTTEN",
    "FORMAT_VERSION",
    "HOW_TO_OPEN",
    "IMPLAUSIBLE",
    "KEPT_RESULTS",
    "NO_FACE",
    "NO_FILE",
    "NUMBER",
    "PENDING",
    "REMOVED_RMS_ATTRS",
    "SEVERAL_FACES",
    "STUDIES",
    "TEXT",
    "TOO_LARGE",
    "TOO_SMALL",
    "TOP_NODES",
    "UNREADABLE",
    "Column",
    "block_size_for",
    "node_name",
]

FORMAT_VERSION = 1
HOW_TO_OPEN = {
    "how_to_open": (
        "All data lie in groups below this one. freqlab.open_run(path) gives them with names and "
        "as text; so does xarray.open_datatree(path, engine='zarr', consolidated=False), and for "
        "one group xarray.open_zarr(path, group='influence/<name>', consolidated=False), though "
        "with row numbers of faces where freqlab gives names. Groups: faces, crops/<template>, "
        "embeddings/<model>/intact, embeddings/<model>/<bands>, influence/<name>. Text has the "
        "type string; programs without it read the same as UTF-8 bytes from <array>_utf8."
    )
}
"""Attributes of a run with instructions for other software."""

REMOVED_RMS_ATTRS: dict[str, str] = {"long_name": "RMS contrast removed", "units": "grey levels"}

STUDIES = "studies"
KEPT_RESULTS = ("saliency", "sets", STUDIES)
"""Groups of what studies computed: asked for again, it is computed again."""

TOP_NODES = ("faces", "crops", "embeddings", "influence", *KEPT_RESULTS, "trust")
"""Groups below the root that hold data."""

PENDING, DONE, UNREADABLE, NO_FACE, BAD_LANDMARKS, NO_FILE, TOO_SMALL, FORGOTTEN = range(8)
SEVERAL_FACES, IMPLAUSIBLE, TOO_LARGE = range(8, 11)
FLAGS = {
    PENDING: "not computed",
    DONE: "ok",
    UNREADABLE: "unreadable image",
    NO_FACE: "no face found",
    BAD_LANDMARKS: "unusable landmarks",
    NO_FILE: "no such file",
    TOO_SMALL: "face smaller than the resolution",
    FORGOTTEN: "forgotten",
    SEVERAL_FACES: "several faces in the photograph",
    IMPLAUSIBLE: "implausible landmarks",
    TOO_LARGE: "more pixels than FREQLAB_MOST_PIXELS allows",
}
"""Meaning of the ``status`` codes, in ``/faces`` and in every node with a face axis."""
FAILED = tuple(code for code in FLAGS if code not in (PENDING, DONE))

_STATUS_ATTRS = {
    "long_name": "status",
    "flag_values": list(FLAGS),
    "flag_meanings": " ".join(text.replace(" ", "_") for text in FLAGS.values()),
}

_BLOCK, _LARGE_BLOCK, _MANY_FACES = 32, 64, 2048


def block_size_for(n_faces: int, *, are_aligned: bool) -> int:
    """Faces per block of a new store.

    Each block has a file per column, and writing files is a tenth of a long run on aligned crops;
    few faces are divided into more blocks, for all workers to have work. On photographs detection
    takes most of the time, and a smaller block takes less memory.
    """
    return _LARGE_BLOCK if are_aligned and n_faces >= _MANY_FACES else _BLOCK


def node_name(name: str) -> str:
    """Convert a name to a part of a path in the store, without characters that are not allowed."""
    return re.sub(r'[/\\:*?"<>|]', "_", name)


class Column(NamedTuple):
    """An array of a node with a face axis, except for the number of faces."""

    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: Any = "float32"
    fill: Any = None
    attrs: Mapping[str, Any] = {}
    packed: bool = True  # not for embeddings: only 8 % smaller, and slower to read and write


FACE_COLUMNS = {
    "status": Column(dtype="int8", fill=PENDING, attrs=_STATUS_ATTRS),
    "landmarks": Column(
        ("point", "xy"),
        (5, 2),
        fill=float("nan"),
        attrs={
            "long_name": "five points: eyes, nose, corners of the mouth, viewer's left first",
            "units": "pixels of the photograph",
        },
    ),
    "landmarks_given": Column(
        dtype="bool", fill=False, attrs={"long_name": "landmarks were given, not detected"}
    ),
    "box": Column(
        ("edge",),
        (4,),
        fill=float("nan"),
        attrs={
            "long_name": "detected box: left, top, right, bottom",
            "units": "pixels of the photograph",
        },
    ),
    "detection_probability": Column(
        fill=float("nan"),
        attrs={
            "long_name": "the detector's probability that the box holds a face; NaN: not detected",
            "units": "1",
        },
    ),
    "faces_found": Column(
        dtype="int16",
        fill=-1,
        attrs={"long_name": "faces the detector found; -1: it was not asked", "units": "1"},
    ),
    "which_face": Column(
        dtype=str, fill="", attrs={"long_name": "which of several faces was looked for"}
    ),
    "image_note": Column(
        dtype=str, fill="", attrs={"long_name": "why an image failed, or how it was decoded"}
    ),
    "degraded_by": Column(
        dtype=str, fill="", attrs={"long_name": "how the image is degraded, if it is"}
    ),
    "sha256": Column(dtype=str, fill="", attrs={"long_name": "SHA-256 of the image"}),
    "file_size": Column(dtype="int64", fill=-1, attrs={"units": "bytes"}),
    "file_mtime": Column(dtype="int64", fill=-1, attrs={"units": "ns"}),
}
TEXT = Column(dtype=str, fill="")
NUMBER = Column(dtype="float64", fill=float("nan"))

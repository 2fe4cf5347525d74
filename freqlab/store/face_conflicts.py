"""Checks that refuse faces that contradict those of the same name in a store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from freqlab.errors import StoreConflictError
from freqlab.faces.table import Faces
from freqlab.images.alignment import WHICH_FACE
from freqlab.literals import WhichFace
from freqlab.store.chunks import opened, read
from freqlab.store.columns import degradations_of, equal_values, is_missing
from freqlab.store.layout import DONE

__all__ = [
    "StoredFaces",
    "check_columns",
    "check_degradations",
    "check_images",
    "check_landmarks",
    "check_metadata",
    "check_which_face",
    "file_stamp",
]


@dataclass(frozen=True)
class StoredFaces:
    """The faces of a run, with the name of its store for messages."""

    url: str
    node: zarr.Group

    def read(self, name: str) -> npt.NDArray[Any]:
        """Read a whole column, text as objects."""
        return read(opened(self.node, name))


def check_which_face(stored: StoredFaces, faces: Faces, which_face: WhichFace) -> None:
    """Refuse a rule that selects another of several faces than the stored crops show.

    Photographs that show one face, or whose landmarks were given, do not depend on the rule.

    Raises
    ------
    StoreConflictError
        If a face of the store was chosen by another rule.
    """
    rows = pd.Index(stored.read("face")).get_indexer(faces.names)
    known = np.flatnonzero(rows >= 0)
    if not len(known) or faces.aligned is not None or "aligned" not in stored.node:
        return
    kept = {
        name: stored.read(name)[rows[known]]
        for name in ("status", "faces_found", "landmarks_given", "which_face", "aligned")
    }
    chosen = (kept["status"] == DONE) & (kept["faces_found"] > 1) & (kept["aligned"] == "no")
    chosen &= ~kept["landmarks_given"]
    rules = np.where(kept["which_face"] == "", WHICH_FACE[0], kept["which_face"])
    wrong = np.flatnonzero(chosen & (rules != which_face))
    if len(wrong):
        names = ", ".join(faces.names[known[i]] for i in wrong[:3])
        raise StoreConflictError(
            f"store {stored.url!r}: {len(wrong):,} of its faces were selected from photographs of "
            f"several faces by which_face={str(rules[wrong[0]])!r} ({names}), but "
            f"which_face={which_face!r} is given; nothing was overwritten. Give the same value, "
            f"or use another store"
        )


def check_columns(stored: StoredFaces, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse numbers in a column of text, and text in a column of numbers."""
    kinds = {True: "text", False: "numbers"}
    for name, values in columns.items():
        if name in stored.node:
            is_text = stored.read(name).dtype == object
            if is_text != (values.dtype == object):
                raise StoreConflictError(
                    f"store {stored.url!r} holds {kinds[is_text]} in the column {name!r} of its "
                    f"faces, but {kinds[not is_text]} are given; nothing was written"
                )


def check_metadata(
    stored: StoredFaces,
    faces: Faces,
    columns: Mapping[str, npt.NDArray[Any]],
    known: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
) -> None:
    """Refuse a different subject or a different value of a metadata column."""
    for name, values in columns.items():
        if name == "path" or name not in stored.node:
            continue
        kept = stored.read(name)[rows]
        differs = ~(equal_values(kept, values[known]) | is_missing(kept))
        if differs.any():
            both = kept.tolist(), values[known].tolist()
            first = [
                f"{faces.names[known[i]]}: stored {both[0][i]!r}, given {both[1][i]!r}"
                for i in np.flatnonzero(differs)[:3]
            ]
            raise StoreConflictError(
                f"store {stored.url!r} holds faces of the same name with another {name!r} "
                f"({int(differs.sum())} of them); nothing was overwritten. {'; '.join(first)}"
            )


def check_degradations(
    stored: StoredFaces, faces: Faces, known: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> None:
    """Refuse faces with a different degradation."""
    kept, given = stored.read("degraded_by")[rows], degradations_of(faces)[known]
    differs = np.flatnonzero(kept != given)
    if len(differs):
        first = differs[0]
        raise StoreConflictError(
            f"store {stored.url!r} holds faces of the same name with another degradation "
            f"({len(differs)} of them); nothing was overwritten. {faces.names[known[first]]}: "
            f"stored {kept[first] or 'none'}, given {given[first] or 'none'}"
        )


def check_landmarks(
    stored: StoredFaces, faces: Faces, known: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> None:
    """Refuse landmarks, or their absence, if the stored crops were aligned otherwise."""
    kept = stored.read("landmarks")[rows]
    were_given = stored.read("landmarks_given")[rows]
    given = np.full_like(kept, np.nan)
    if faces.landmarks is not None:
        given = faces.landmarks[known]
    with np.errstate(invalid="ignore"):
        differs = (np.abs(kept - given) > 0.01).any(axis=(1, 2))
    withheld = were_given & ~np.isfinite(given).all(axis=(1, 2))
    for wrong, fault in (
        (differs, "were aligned by landmarks other than those given"),
        (withheld, "were aligned by given landmarks, but none are given now"),
    ):
        if wrong.any():
            names = [faces.names[i] for i in known[wrong][:3]]
            raise StoreConflictError(
                f"store {stored.url!r}: {int(wrong.sum())} of its faces {fault} "
                f"({', '.join(names)}); nothing was overwritten. Give the same landmarks, or "
                f"use another store"
            )


def check_images(
    stored: StoredFaces, faces: Faces, known: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> None:
    """Refuse faces whose image changed; files with the same path, size and time are not read."""
    digests = stored.read("sha256")[rows]
    stamps = zip(
        *(stored.read(name)[rows] for name in ("file_size", "file_mtime")),
        strict=True,
    )
    paths = stored.read("path")[rows] if "path" in stored.node else digests
    for i, digest, stamp, path in zip(known, digests, stamps, paths, strict=True):
        unmoved = faces.images is None and path == str(faces.table["path"].iloc[i])
        if not digest or (unmoved and stamp == file_stamp(faces, int(i))):
            continue
        try:
            given = hashlib.sha256(faces.content(int(i))).hexdigest()
        except OSError:
            continue  # removed since; what was computed from it stays valid
        if given != digest:
            raise StoreConflictError(
                f"store {stored.url!r} holds another image of face {faces.names[i]!r} "
                f"(SHA-256 stored {digest[:12]}, given {given[:12]}); nothing was "
                f"overwritten. Use another store or another name."
            )


def file_stamp(faces: Faces, position: int) -> tuple[int, int] | None:
    """Size in bytes and modification time in ns of a face's file.

    None if there is no file, or it is dated beyond the year 2262, where nanoseconds no longer fit
    into 64 bits: then only its content shows whether it changed.
    """
    if faces.images is not None:
        return None
    try:
        stat = Path(faces.table["path"].iloc[position]).stat()
    except (OSError, ValueError):  # or an invalid file name
        return None
    numbers = (stat.st_size, stat.st_mtime_ns)
    return numbers if all(abs(number) < 2**63 for number in numbers) else None

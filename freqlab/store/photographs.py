"""Notes on the photographs of a run: several faces in one, how they were decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from freqlab.images.alignment import WHICH_FACE
from freqlab.images.decoding import BACKGROUND
from freqlab.store.layout import DONE, FLAGS, FORGOTTEN, PENDING, SEVERAL_FACES

__all__ = ["ABOUT_PHOTOGRAPHS", "photograph_notes", "shows_several"]

ABOUT_PHOTOGRAPHS = ("face", "status", "faces_found", "landmarks_given", "which_face", "image_note")
"""Columns of ``/faces`` that :func:`photograph_notes` reads; stores that are older lack the last
two."""

_KINDS = {
    "transparency": f"partly transparent, put on white {BACKGROUND}",
    "range": "of more than 8 bits, brought to 8",
    "metadata": "with broken metadata, which was left out",
    "size": "very large, reduced before their faces were looked for",
}
_TAKEN = {
    "largest": "the largest was taken in each",
    "central": "the one nearest to the middle was taken in each",
}


def shows_several(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Whether one face was chosen among several, or none for that reason ``(n,)``."""
    several = (columns["faces_found"] > 1) & ~columns["landmarks_given"].astype(bool)
    return np.asarray(several & np.isin(columns["status"], (DONE, SEVERAL_FACES)), bool)


def photograph_notes(
    columns: Mapping[str, npt.NDArray[Any]], *, examples: bool = True
) -> list[str]:
    """Notes on photographs, each as a clause.

    Parameters
    ----------
    columns
        :data:`ABOUT_PHOTOGRAPHS` of the faces; ``status`` as codes.
    examples
        Whether the first face of each kind of failure is named.
    """
    status, names = columns["status"], columns["face"]
    empty = np.full(len(status), "", object)
    image_notes, rules = columns.get("image_note", empty), columns.get("which_face", empty)
    notes = []
    several = shows_several(columns) & (status == DONE)
    rules = np.where(rules == "", WHICH_FACE[0], rules)
    for rule, taken in _TAKEN.items():
        if n := int((several & (rules == rule)).sum()):
            notes.append(f"{_count(n)} several faces; {taken} (which_face={rule!r})")
    for code in sorted(set(status.tolist()) - {PENDING, DONE, FORGOTTEN}):
        failed = np.flatnonzero(status == code)
        detail = f": {image_notes[failed[0]]}" if image_notes[failed[0]] else ""
        first = f" (the first, {names[failed[0]]}{detail})" if examples else ""
        notes.append(f"{len(failed):,} failed, {FLAGS[code]}{first}")
    kinds = [[note.split(": ")[0] for note in str(text).split("; ")] for text in image_notes]
    for kind, text in _KINDS.items():
        if n := sum(kind in of_one for of_one in kinds):
            notes.append(f"{n:,} photograph{'s' if n > 1 else ''} {text}")
    return notes


def _count(n: int) -> str:
    return f"{n:,} photographs show" if n > 1 else "1 photograph shows"

"""What is settled on the way while a model is loaded, said afterwards."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["collected_notes", "note", "note_head"]

_HEARING: ContextVar[list[str] | None] = ContextVar("_HEARING", default=None)


@contextlib.contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Collect what is noted in this thread meanwhile; what is noted outside of it too."""
    notes: list[str] = []
    outer = _HEARING.get()
    token = _HEARING.set(notes)
    try:
        yield notes
    finally:
        _HEARING.reset(token)
        if outer is not None:
            outer.extend(notes)


def note(text: str) -> None:
    """Note what was chosen where several things could have been meant."""
    notes = _HEARING.get()
    if notes is not None and text not in notes:
        notes.append(text)


def note_head(text: str) -> None:
    """Note that what is taken as an embedding is the output of a classifier's head.

    Warns
    -----
    UserWarning
        For that is seldom meant.
    """
    text += ", one per person it was trained on, not an embedding of a face"
    note(text)
    warnings.warn(text, stacklevel=2)

"""Choices made while a model is loaded, reported afterwards."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["collected_notes", "note", "note_head"]

_HEARING: ContextVar[list[str] | None] = ContextVar("_HEARING", default=None)


@contextlib.contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Collect the notes made in this thread meanwhile; enclosing collectors receive them too."""
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
    """Record a choice that was made between several possible meanings."""
    notes = _HEARING.get()
    if notes is not None and text not in notes:
        notes.append(text)


def note_head(text: str) -> None:
    """Note that the supposed embedding is the output of a classifier's head.

    Warns
    -----
    UserWarning
        Because this is seldom intended.
    """
    text += ", one per person it was trained on, not an embedding of a face"
    note(text)
    warnings.warn(text, stacklevel=2)

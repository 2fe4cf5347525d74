"""Folder for the files of Jupyter if the user has no home."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["with_a_home"]


@contextlib.contextmanager
def with_a_home() -> Iterator[None]:
    """Give Jupyter and its kernels a folder for their files if the user has no home.

    This occurs in a container whose user has a number but no name, or with a read-only home.
    """
    try:
        home = Path.home()
        usable = home.is_dir() and os.access(home, os.W_OK | os.X_OK)
    except (OSError, RuntimeError):
        usable = False
    if usable:
        yield
        return
    before = os.environ.get("HOME")
    with tempfile.TemporaryDirectory(prefix="freqlab-home-") as folder:
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = before

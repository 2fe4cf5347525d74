"""Memory budget: how many bytes all threads together may hold at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["PHOTOGRAPHS", "Room"]


class Room:
    """Memory budget in bytes that all threads of a process share.

    Parameters
    ----------
    n_bytes
        Size of the budget. A larger request waits until all others are released, and runs alone.
    """

    def __init__(self, n_bytes: int) -> None:
        self._size = self._free = n_bytes
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, n_bytes: int) -> Iterator[None]:
        """Hold `n_bytes`; wait until they are free. A thread holds one piece at a time."""
        taken = min(n_bytes, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


PHOTOGRAPHS = Room(2**30)
"""For photographs that are large, with all that is made of them on the way to a crop."""

"""Room in memory: how much threads may hold at once, whatever their number."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["PHOTOGRAPHS", "Room"]


class Room:
    """Bytes that are shared by all threads of a process.

    Parameters
    ----------
    n_bytes
        How many there are. Who asks for more waits until all others are gone, and goes alone.
    """

    def __init__(self, n_bytes: int) -> None:
        self._size = self._free = n_bytes
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, n_bytes: int) -> Iterator[None]:
        """Hold so many bytes; wait until they are free. A thread asks for one piece at a time."""
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

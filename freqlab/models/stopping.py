"""Networks that can be stopped while they run, because a file may hold an endless loop.

Code in a foreign runtime receives no signal. If the main thread waits for it, the run is moved to
a separate thread; if a worker runs it, the workers are told to stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Stopping", "obey_in_this_thread", "stoppable"]

Result = TypeVar("Result")
_HERE = threading.local()


class Stopping:
    """Stops all calls in the threads that obey it, and all that they start afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[Callable[[], None]] = []
        self._stopped = False

    def stop(self) -> None:
        """Stop the running calls."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for end in running:
            end()

    def run(self, function: Callable[[], Result], end: Callable[[], None]) -> Result:
        """Call a function that `end` stops from another thread."""
        with self._lock:
            if self._stopped:
                raise RuntimeError("the run was stopped")
            self._running.append(end)
        try:
            return function()
        finally:
            with self._lock:
                self._running.remove(end)


def obey_in_this_thread(stopping: Stopping) -> None:
    """Have all calls of :func:`stoppable` in this thread be stopped by `stopping`."""
    _HERE.stopping = stopping


def stoppable(function: Callable[[], Result], end: Callable[[], None]) -> Result:
    """Call a function so that Ctrl-C, or the end of the run, stops it.

    Parameters
    ----------
    function
        Function to call; it receives no signal.
    end
        Makes the function return soon, when called from another thread.
    """
    stopping: Stopping | None = getattr(_HERE, "stopping", None)
    if stopping is not None:
        return stopping.run(function, end)
    if threading.current_thread() is not threading.main_thread():
        return function()
    outcome: dict[str, Any] = {}
    done = threading.Event()

    def work() -> None:
        try:
            outcome["result"] = function()
        except BaseException as error:  # raised again in the waiting thread
            outcome["error"] = error
        finally:
            done.set()

    threading.Thread(target=work, name="freqlab-stoppable", daemon=True).start()
    try:
        done.wait()
    except BaseException:  # Ctrl-C
        end()
        done.wait(5)
        raise
    if "error" in outcome:
        raise outcome["error"]
    result: Result = outcome["result"]
    return result

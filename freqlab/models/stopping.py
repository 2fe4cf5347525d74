"""Networks that can be stopped while they run: a file may hold a loop that never ends.

What runs in a foreign runtime hears no signal. Where the thread of the program itself waits, the
run is done in a thread beside it; where a worker does it, the workers are told to stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Stopping", "obey_in_this_thread", "stoppable"]

Result = TypeVar("Result")
_HERE = threading.local()


class Stopping:
    """Stops all that runs in the threads which obey it, and all that they begin afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[Callable[[], None]] = []
        self._stopped = False

    def stop(self) -> None:
        """Stop what runs."""
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
    """Have all that is :func:`stoppable` in this thread be stopped by it."""
    _HERE.stopping = stopping


def stoppable(function: Callable[[], Result], end: Callable[[], None]) -> Result:
    """Call a function so that Ctrl-C, or the end of the run, stops it.

    Parameters
    ----------
    function
        What is called; it hears no signal.
    end
        Makes it return soon, called from another thread.
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
        except BaseException as error:  # it is raised again, in the thread that waits
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
    found: Result = outcome["result"]
    return found

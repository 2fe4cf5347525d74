"""Threads that each compute on a separate core."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from freqlab.models.spec import Model
from freqlab.models.stopping import Stopping, obey_in_this_thread

__all__ = ["Workers", "in_this_thread", "working"]

_MOST_WORKERS = 8  # more would wait for Python's global lock; each then uses several cores
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """The threads that do the work of a run.

    Parameters
    ----------
    n
        Number of workers.
    threads
        Cores that each of them may use.
    cores
        Cores of all workers together.
    """

    n: int
    threads: int
    cores: int
    _preparing: Executor
    _shared: Executor
    _alone: Executor

    def prepare(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Call a function that reads and aligns in an extra thread, as it mostly waits."""
        return self._preparing.submit(function, *arguments)

    def share(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Call a function in one of the workers."""
        return self._shared.submit(function, *arguments)

    def submit_for(
        self, model: Model, function: Callable[..., Result], *arguments: Any
    ) -> Future[Result]:
        """Call a function that runs a model's network.

        A network on a CPU that may be called from several threads at once is run by all workers;
        any other by one thread that has all cores.
        """
        return self._executor(model).submit(function, *arguments)

    def threads_of(self, model: Model) -> int:
        """Cores that one forward pass of a model may use."""
        return self.threads if self._executor(model) is self._shared else self.cores

    def streams_of(self, model: Model) -> int:
        """Forward passes of a model that run concurrently."""
        return self.n if self._executor(model) is self._shared else 1

    def _executor(self, model: Model) -> Executor:
        return self._shared if model.reentrant and model.device == "cpu" else self._alone


@contextlib.contextmanager
def working() -> Iterator[Workers]:
    """Start workers for the cores that PyTorch may use, and stop them at the end.

    Meanwhile PyTorch uses only a worker's share of cores in this thread too, so that work done
    here hardly disturbs the workers. Afterwards it may use all its cores again.
    """
    cores = torch.get_num_threads()
    n = min(cores, _MOST_WORKERS)
    threads = max(1, cores // n)
    stopping = Stopping()
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_num_threads, cores)
        executors = [
            ThreadPoolExecutor(
                workers, f"freqlab-{name}", _begin_thread, initargs=(n_threads, stopping)
            )
            for name, workers, n_threads in (
                ("prepare", n, 1),
                ("worker", n, threads),
                ("model", 1, cores),
            )
        ]
        for executor in executors:
            stack.callback(executor.shutdown, wait=True, cancel_futures=True)
        stack.callback(stopping.stop)  # work that still runs by then is not waited for
        torch.set_num_threads(threads)
        yield Workers(n, threads, cores, *executors)


def _begin_thread(n_threads: int, stopping: Stopping) -> None:
    """Set the cores of a thread, and let its work be stopped."""
    torch.set_num_threads(n_threads)
    obey_in_this_thread(stopping)


def in_this_thread(alone: threading.Lock) -> Workers:
    """Workers that consist of the calling thread, on one core: functions are called immediately.

    `alone` is held while a network runs that several threads may not call concurrently.
    """
    torch.set_num_threads(1)
    here = _Here(contextlib.nullcontext())
    return Workers(1, 1, 1, here, here, _Here(alone))


class _Here(Executor):
    """An executor that calls each function when it is submitted."""

    def __init__(self, lock: contextlib.AbstractContextManager[Any]) -> None:
        self._lock = lock

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            with self._lock:
                future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

"""What the time of a run goes to: timers at the borders of its stages.

Not a program: the others use it to explain their ratios. Functions are replaced by timed ones while
a run is watched; what a stage takes inside another counts for the inner one only.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch

from freqlab.bands import spectrum
from freqlab.engine import removals
from freqlab.faces.table import Faces
from freqlab.images import alignment, cascade
from freqlab.models.spec import Model
from freqlab.run import begin, calls, crops, embeddings, influence, model_check, passes
from freqlab.store.run_store import RunStore

Places = Mapping[str, Sequence[tuple[Any, str]]]
"""Owners and names of the functions of each stage."""

PHASES: Places = {
    "opening the store": [(begin, "RunStore"), (RunStore, "add_faces")],
    "reading the result": [(calls, "open_influence"), (calls, "open_run")],
    "store and axes": [(calls, "write_influence")],
    "model check": [(passes, "check_model")],
    "compiled network": [(embeddings._Embedding, "_begin_compiled")],
    "faces and forward passes": [(passes, "embed_rows")],
    "precision check": [(passes, "measure_precision")],
    "pairs": [(influence, "_pair_up")],
    "thresholds": [(influence, "_thresholds")],
}
"""What the calling thread does in turn: shares of the elapsed time."""

DETECTION: Places = {
    "preparing photographs": [(alignment, "_prepare"), (cascade, "_sums")],
    "pyramid": [(cascade, "_level")],
    "first network": [(cascade, "_first_network")],
    "regions": [(cascade, "_regions")],
    "second network": [(cascade, "_second_network")],
    "third network": [(cascade, "_third_network")],
    "suppression": [(cascade, "_distinct"), (cascade, "_not_inside")],
}
"""Stages of the detector."""

PARTS: Places = {
    "decoding": [(Faces, "content"), (Faces, "photograph")],
    "detection": [(crops, "detect_faces")],
    "cutting": [(crops, "cut")],
    "network": [(Model, "forward")],
    "compiled network": [(embeddings, "compiled"), (embeddings, "from_cache")],
    "copies": [(removals._Work, "_forward"), (removals, "_prepared")],
    "masks": [(removals._Work, "_masked"), (removals._Work, "_embed_components")],
    "removed contrast": [(spectrum, "energy_of_transform")],
    "pairs": [
        (influence._Step, name) for name in ("_compare", "_one", "_two", "_masked_faces", "write")
    ],
    "thresholds": [(influence, "_thresholds")],
    "store": [
        (RunStore, name)
        for name in ("write_rows", "write_array", "read_rows", "read", "add_faces", "require_node")
    ],
    "opening the store": [(begin, "RunStore")],
    "reading the result": [(calls, "open_influence"), (calls, "open_run")],
    "model check": [(model_check, "embed_block")],
}
"""What all threads work on: shares of the time of the processor."""


class Watch:
    """Seconds of each stage, of all threads, while it is entered.

    Parameters
    ----------
    places
        The stages.
    clock
        Seconds of the current thread.
    """

    def __init__(self, places: Places, clock: Callable[[], float]) -> None:
        self._places, self._clock = places, clock
        self.seconds = dict.fromkeys(places, 0.0)
        self._lock, self._local = threading.Lock(), threading.local()
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> Watch:
        for stage, functions in self._places.items():
            for owner, name in functions:
                timed = self._timed(stage, getattr(owner, name))
                self._entered.enter_context(mock.patch.object(owner, name, timed))
        return self

    def __exit__(self, *exception: object) -> None:
        self._entered.close()

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            inner: list[float] = self._local.__dict__.setdefault("inner", [])
            inner.append(0.0)
            start = self._clock()
            try:
                return function(*arguments, **options)
            finally:
                taken = self._clock() - start
                own = taken - inner.pop()
                if inner:
                    inner[-1] += taken
                with self._lock:
                    self.seconds[stage] += own

        return call

    def shares(self, total: float) -> dict[str, float]:
        """Per cent of a total, the largest first, and what is in no stage."""
        parts = sorted(self.seconds.items(), key=lambda item: -item[1])
        shares = {stage: round(100 * seconds / total, 1) for stage, seconds in parts if seconds}
        return shares | {"rest": round(100 - sum(shares.values()), 1)}


def profile(way: Callable[[], object], phases: Places, parts: Places) -> dict[str, Any]:
    """What the time of a call goes to, in per cent: of its elapsed and of its processor time.

    "processors at work" is the processor time of all threads over the elapsed time of as many
    processors as PyTorch has threads; the remainder is waiting. What a GPU does is not seen.
    """
    n_threads = torch.get_num_threads()
    elapsed, cpu = time.perf_counter(), time.process_time()
    with Watch(phases, time.perf_counter) as in_turn, Watch(parts, time.thread_time) as at_work:
        before = _threads_of_the_store()
        way()
        after = _threads_of_the_store()
    if parts is not DETECTION:
        at_work.seconds["store's own threads"] = after - before
    elapsed, cpu = time.perf_counter() - elapsed, time.process_time() - cpu
    found: dict[str, Any] = {}
    if phases:
        found["elapsed time, per cent"] = in_turn.shares(elapsed)
    found["processor time, per cent"] = at_work.shares(cpu)
    found["processors at work, per cent"] = round(100 * cpu / (elapsed * n_threads), 1)
    return found


def _threads_of_the_store() -> float:
    """Processor time of the threads of zarr, which read and write for all others."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    clocks = [
        time.pthread_getcpuclockid(thread.ident)
        for thread in threading.enumerate()
        if thread.ident is not None and thread.name.startswith("zarr")
    ]
    return sum(time.clock_gettime(clock) for clock in clocks)


def profile_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """The profile of a row of a benchmark, a line for each kind of time."""
    for name in ("elapsed time, per cent", "processor time, per cent"):
        if name in row:
            shares = ", ".join(f"{stage} {share:g}" for stage, share in row[name].items())
            yield f"{name}: {shares}"
    if "processors at work, per cent" in row:
        yield f"processors at work, per cent: {row['processors at work, per cent']:g}"

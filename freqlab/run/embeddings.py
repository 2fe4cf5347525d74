"""Work on the blocks of one model: align, embed unchanged and with bands removed, write."""

from __future__ import annotations

import functools
import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zarr
from tqdm import tqdm

from freqlab.attrs import to_json
from freqlab.engine.compilation import (
    WORTH_LOADING,
    WORTH_SECONDS,
    Compilation,
    compiled,
    from_cache,
    is_compiled,
)
from freqlab.engine.removals import Part, PartDone, Removals, assemble, block_parts
from freqlab.errors import ModelError
from freqlab.models.spec import Model
from freqlab.run.context import Run
from freqlab.run.crops import (
    Crops,
    align_rows,
    read_crops,
)
from freqlab.store.layout import DONE

__all__ = ["Task", "embed_rows", "note_origin"]

_CLEAR_AFTER = 3.0  # seconds after which the remaining time of a run can be estimated


def embed_rows(
    run: Run,
    model: Model,
    tasks: list[Task],
    to_align: npt.NDArray[np.int64],
    computed: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    faces_bar: tqdm[Any],
) -> Model:
    """Align the `rows` that are in `to_align`, and embed the pending ones.

    `computed` ``(band,)`` marks the bands that the removals of the banded node belong to. Returns
    the model in its final state, compiled or not. Aligned faces are counted by `faces_bar`.
    """
    total = sum(len(task.pending) * len(task.removals) for task in tasks)
    with run.bar(f"{model.name}: forward passes", total, "img") as passes_bar:
        work = _Embedding(run, model, tasks, to_align, computed, faces_bar, passes_bar)
        try:
            return work.work_through(rows)
        finally:
            work.end_compiling()


def note_origin(run: Run, model: Model, tasks: list[Task]) -> None:
    """Note in the nodes of embeddings how they were computed."""
    for task in tasks:
        if len(task.pending):
            task.node.update_attributes(
                {
                    "device": model.device,
                    "batch_size": run.batch_of(model),
                    "compiled": to_json(is_compiled(model)),
                }
            )


class Task(NamedTuple):
    """The rows that one node of embeddings lacks."""

    node: zarr.Group
    pending: npt.NDArray[np.int64]
    removals: Removals
    n_features: int
    has_bands: bool
    """Whether it has an axis of bands, and the RMS contrast that was removed."""


class _InFlight(NamedTuple):
    """A task on a block in progress."""

    task: Task
    rows: npt.NDArray[np.int64]
    parts: list[Part]
    results: list[Future[PartDone]]


class _Embedding:
    """The work of one call on one model: blocks are prepared ahead, embedded, and written."""

    def __init__(
        self,
        run: Run,
        model: Model,
        tasks: list[Task],
        to_align: npt.NDArray[np.int64],
        computed: npt.NDArray[np.bool_],
        faces_bar: tqdm[Any],
        passes_bar: tqdm[Any],
    ) -> None:
        self._run, self._model, self._tasks = run, model, tasks
        self._to_align, self._computed = to_align, computed
        self._faces_bar, self._passes_bar = faces_bar, passes_bar
        self._total = sum(len(task.pending) * len(task.removals) for task in tasks)
        self._batch_size = run.batch_of(model)
        self._compilation: Compilation | None = None
        self._may_compile = run.settings.compile in ("auto", "once")
        self._began, self._done = time.monotonic(), 0

    def work_through(self, rows: npt.NDArray[np.int64]) -> Model:
        """Align and embed the pending ones of these rows; return the model used last."""
        run = self._run
        blocks = iter([rows[block] for block in run.store.blocks(rows)])
        n_ahead = run.workers.n + 1
        preparing: deque[tuple[npt.NDArray[np.int64], Future[Any]]] = deque()
        embedding: deque[_InFlight] = deque()
        self._begin_compiled()
        while True:
            for block in itertools.islice(blocks, n_ahead - len(preparing)):
                preparing.append((block, run.workers.prepare(self._prepare, block)))
            if preparing and len(embedding) < n_ahead * len(self._tasks):
                block, prepared = preparing.popleft()
                embedding.extend(self._begin(block, *prepared.result()))
                self._faces_bar.update(len(np.intersect1d(block, self._to_align)))
            elif embedding:
                self._finish(embedding.popleft())
            else:
                break
        return self._model

    def _prepare(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Crops]:
        """Rows of a block that are pending and have crops, with their crops."""
        run, template = self._run, self._model.template
        new, crops = np.intersect1d(rows, self._to_align), None
        if len(new):
            new, crops = align_rows(run, new, template)
        pending = np.unique(np.concatenate([np.intersect1d(rows, t.pending) for t in self._tasks]))
        failed = run.store.failed(pending, run.store.crops(template.name))
        pending = pending[~failed]
        if crops is not None and np.array_equal(pending, new):
            return new, crops
        if not len(pending):
            return pending, np.empty((0, *template.size, 3), np.uint8)
        return read_crops(run, pending, self._model)

    def _begin(
        self,
        block: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        crops: Crops,
    ) -> Iterator[_InFlight]:
        """Submit the work on the rows of a block that have crops."""
        for task in self._tasks:
            chosen = np.isin(rows, task.pending)
            n_lost = len(np.intersect1d(block, task.pending)) - int(chosen.sum())
            self._total -= n_lost * len(task.removals)
            self._passes_bar.total = self._total
            if not chosen.any():
                continue
            parts = block_parts(
                self._model, crops[chosen], task.removals, batch_size=self._batch_size
            )
            submit = self._run.workers.submit_for
            results = [submit(self._model, self._embed, part) for part in parts]
            yield _InFlight(task, rows[chosen], parts, results)

    def _embed(self, part: Part) -> PartDone:
        return part.run(self._model)  # may have been compiled meanwhile

    def _finish(self, work: _InFlight) -> None:
        """Wait for the work on a block, and write the results."""
        results = []
        for part, result in zip(work.parts, work.results, strict=True):
            results.append(result.result())
            self._run.forward_passes[self._model.name] += results[-1].forward_passes
            self._done += part.n_images
            self._passes_bar.update(part.n_images)
        batch_size = min(result.batch_size for result in results)
        if batch_size < self._batch_size:
            name = self._model.name
            self._run.say(f"note: {name}: memory ran out; now {batch_size} images per forward pass")
            self._batch_size = batch_size
        embeddings, removed = assemble(self._model, work.parts, results)
        n_features = work.task.n_features
        if embeddings.shape[-1] != n_features:
            raise ModelError(
                f"model {self._model.name!r} returned {embeddings.shape[-1]} features after "
                f"{n_features} for other crops"
            )
        values: dict[str, npt.NDArray[Any]] = {"embedding": embeddings[:, 0]}
        if work.task.has_bands:
            values = {
                "embedding": _spread(embeddings, self._computed),
                "removed_rms": _spread(removed, self._computed),
            }
        values["batch_size"] = np.full(len(work.rows), batch_size, np.int32)
        done = np.full(len(work.rows), DONE, np.int8)
        self._run.store.write_rows(work.task.node, work.rows, values, done)
        self._take_compiled()
        if self._may_compile and self._is_long():
            self._begin_compiling()

    def _is_long(self) -> bool:
        """Whether enough work is left for compiling to pay; False while that is unknown."""
        elapsed, left = time.monotonic() - self._began, self._total - self._done
        return elapsed > _CLEAR_AFTER and elapsed / self._done * left > WORTH_SECONDS

    def _begin_compiled(self) -> None:
        """Take the compiled network from the cache, or compile one if requested."""
        run, model, workers = self._run, self._model, self._run.workers
        given: dict[str, Any] = {
            "batch_size": self._batch_size,
            "threads": workers.threads_of(model),
            "streams": workers.streams_of(model),
        }
        if run.settings.compile is True:
            try:  # nothing else runs yet; the workers' threads have their final settings
                self._model = workers.submit_for(
                    model, functools.partial(compiled, **given), model
                ).result()
            except ModelError as error:
                run.say(f"note: {error}; it runs uncompiled")
        elif run.settings.compile == "auto" and self._total >= WORTH_LOADING:
            cached = workers.submit_for(model, functools.partial(from_cache, **given), model)
            self._model = cached.result() or model

    def _begin_compiling(self) -> None:
        """Start compiling the network in a separate process, once, while the work goes on."""
        self._may_compile = False
        run, model, workers = self._run, self._model, self._run.workers
        if is_compiled(model):
            return
        try:
            self._compilation = Compilation(
                model,
                batch_size=self._batch_size,
                threads=workers.threads_of(model),
                streams=workers.streams_of(model),
                keep=run.settings.compile == "auto",
            )
        except ModelError as error:
            run.note_once(f"{error}; it runs uncompiled")
            return
        kept = self._compilation.kept_in
        where = f"; it is kept for later runs in {kept}" if kept else ""
        run.say(
            f"{model.name}: compiling the network in the background, about half a minute{where}"
        )

    def end_compiling(self) -> None:
        """Stop a compilation that no later run could use; one for the cache is finished."""
        if self._compilation is not None and self._compilation.kept_in is None:
            self._compilation.stop()

    def _take_compiled(self) -> None:
        """Switch to the compiled network if it is ready."""
        compilation = self._compilation
        if compilation is None or not compilation.done():
            return
        self._compilation = None
        try:
            load = self._run.workers.submit_for(self._model, compilation.result)
            self._model = load.result()
        except ModelError as error:
            self._run.note_once(f"{error}; it runs uncompiled")


def _spread(values: npt.NDArray[np.float32], computed: npt.NDArray[np.bool_]) -> Any:
    """Spread values of the computed bands over the axis of all bands; NaN elsewhere."""
    spread = np.full((len(values), len(computed), *values.shape[2:]), np.nan, np.float32)
    spread[:, computed] = values
    return spread

"""Second stage: align the faces and embed them, untouched and with each band removed."""

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
import torch
import zarr

from freqlab import journal
from freqlab.compilation import (
    WORTH_LOADING,
    WORTH_SECONDS,
    Compilation,
    compiled,
    from_cache,
    is_compiled,
)
from freqlab.embeddings import Part, PartDone, Removals, assemble, block_parts, embed_block
from freqlab.errors import ModelError, StoreConflictError, StoreError
from freqlab.integrity import check_chunks
from freqlab.layout import DONE, Column
from freqlab.models.heads import head_of
from freqlab.models.spec import Model
from freqlab.pairing import cosine
from freqlab.provenance import to_json
from freqlab.stages.context import Run, label_map
from freqlab.stages.crops import (
    Crops,
    align_rows,
    check_any_usable,
    read_crops,
    rows_to_align,
)
from freqlab.stages.precision import measure_precision
from freqlab.store import node_name

__all__ = ["REMOVED_RMS_ATTRS", "Task", "check_model", "embed_faces", "embed_rows", "note_origin"]

REMOVED_RMS_ATTRS: dict[str, str] = {"long_name": "RMS contrast removed", "units": "grey levels"}

# Least cosine between the stored embedding of the reference crop and that of a model which
# claims to be the same: far above what precision and batch size change.
_SAME_MODEL = 0.999

_CLEAR_AFTER = 3.0  # seconds, after which the rest of a run can be foretold


def embed_faces(
    run: Run,
    model: Model,
    masked: npt.NDArray[np.int64] | None,
    chosen: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Embed all faces untouched, and those at positions `masked`, if any, once per band.

    With `chosen` ``(band,)`` only those bands are removed; the others are NaN, in a node of their
    own. Faces that have no crop yet are read and aligned on the way. Workers do both; this thread
    deals out the work, block by block, and writes what comes back. On a cluster whole blocks are
    dealt out, and the workers write them.
    """
    from freqlab.stages.blocks import embed_on_cluster  # which works on the other side with these

    labels = label_map(run.bands, model)
    held = np.isin(np.arange(len(run.bands)), labels)
    if chosen is not None and chosen.all():
        chosen = None
    held &= True if chosen is None else chosen
    to_align = rows_to_align(run, model.template)
    check_chunks(run.store.crops(model.spec.template), run.rows)
    if len(to_align):  # faces that do not go with the call are found before anything is written
        first = to_align[next(run.store.blocks(to_align))]
        align_rows(run, first, model.template)
        to_align = np.setdiff1d(to_align, first)
    n_features = check_model(run, model, labels)
    none, one_each = np.zeros((1, len(run.bands)), bool), np.eye(len(run.bands), dtype=bool)[held]

    def task(node: zarr.Group, rows: npt.NDArray[np.int64], removals: Any) -> Task:
        check_chunks(node, rows)
        pending = run.store.pending(node, rows, model.spec.template, but=to_align)
        return Task(node, pending, Removals(model, removals, labels))

    tasks = [task(_intact_node(run, model, n_features), run.rows, none)]
    if masked is not None:
        node = _bands_node(run, model, n_features, chosen)
        if held.any():
            tasks.append(task(node, run.rows[masked], one_each))
    run.forward_passes.setdefault(model.name, 0)
    rows = np.union1d(to_align, np.concatenate([task.pending for task in tasks]))
    if len(rows) and run.cluster is not None:
        embed_on_cluster(run, model, tasks, to_align, held, rows)
    elif len(rows):
        note_origin(run, model, tasks)  # before anything is done: nothing is pending afterwards
        done_by = embed_rows(run, model, tasks, to_align, held, rows)
        if is_compiled(done_by):
            note_origin(run, done_by, tasks)
    check_any_usable(run, model.template)
    if masked is not None and model.original is not None:
        measure_precision(run, model, node, held, run.rows[masked])


def embed_rows(
    run: Run,
    model: Model,
    tasks: list[Task],
    to_align: npt.NDArray[np.int64],
    held: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
) -> Model:
    """Align those of `rows` that are `to_align`, and embed what is pending of them.

    `held` says which bands the removals of the banded node stand for. Returns the model as it was
    in the end, compiled or not.
    """
    work = _Embedding(run, model, tasks, to_align, held)
    try:
        return work.work_through(rows)
    finally:
        work.end_compiling()


def note_origin(run: Run, model: Model, tasks: list[Task]) -> None:
    """Note in the nodes of embeddings by what they were computed."""
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
    """What one node of embeddings lacks."""

    node: zarr.Group
    pending: npt.NDArray[np.int64]
    removals: Removals


class _InFlight(NamedTuple):
    """A task on a block that the workers are at."""

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
        held: npt.NDArray[np.bool_],
    ) -> None:
        self._run, self._model, self._tasks = run, model, tasks
        self._to_align, self._held = to_align, held
        self._batch_size = run.batch_of(model)
        self._compilation: Compilation | None = None
        self._may_compile = run.compile in ("auto", "once")
        self._began, self._done = time.monotonic(), 0

    def work_through(self, rows: npt.NDArray[np.int64]) -> Model:
        """Align and embed all that is pending of these rows; return the model that did it last."""
        run, name = self._run, self._model.name
        self._total = sum(len(task.pending) * len(task.removals) for task in self._tasks)
        blocks = iter([rows[block] for block in run.store.blocks(rows)])
        n_ahead = run.workers.n + 1
        preparing: deque[tuple[npt.NDArray[np.int64], Future[Any]]] = deque()
        embedding: deque[_InFlight] = deque()
        with (
            run.bar("aligning faces", len(self._to_align), "face") as faces_bar,
            run.bar(f"{name}: forward passes", self._total, "img") as bar,
        ):
            self._bar = bar
            self._begin_compiled()
            while True:
                for block in itertools.islice(blocks, n_ahead - len(preparing)):
                    preparing.append((block, run.workers.prepare(self._prepare, block)))
                if preparing and len(embedding) < n_ahead * len(self._tasks):
                    block, prepared = preparing.popleft()
                    embedding.extend(self._begin(block, *prepared.result()))
                    faces_bar.update(len(np.intersect1d(block, self._to_align)))
                elif embedding:
                    self._finish(embedding.popleft())
                else:
                    break
        return self._model

    def _prepare(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Crops]:
        """Rows of a block that something is pending of and that have crops, and these."""
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
        """Deal out the work on those rows of a block that have crops."""
        for task in self._tasks:
            chosen = np.isin(rows, task.pending)
            n_lost = len(np.intersect1d(block, task.pending)) - int(chosen.sum())
            self._total -= n_lost * len(task.removals)
            self._bar.total = self._total
            if not chosen.any():
                continue
            parts = block_parts(
                self._model, crops[chosen], task.removals, batch_size=self._batch_size
            )
            submit = self._run.workers.submit_for
            results = [submit(self._model, self._embed, part) for part in parts]
            yield _InFlight(task, rows[chosen], parts, results)

    def _embed(self, part: Part) -> PartDone:
        return part.run(self._model)  # compiled by now, perhaps

    def _finish(self, work: _InFlight) -> None:
        """Wait for the work on a block, and write it."""
        results = []
        for part, result in zip(work.parts, work.results, strict=True):
            results.append(result.result())
            self._run.forward_passes[self._model.name] += part.n_images
            self._done += part.n_images
            self._bar.update(part.n_images)
        batch_size = min(result.batch_size for result in results)
        if batch_size < self._batch_size:
            name = self._model.name
            self._run.say(f"note: {name}: memory ran out; now {batch_size} images per forward pass")
            self._batch_size = batch_size
        embeddings, removed = assemble(self._model, work.parts, results)
        n_features = work.task.node["embedding"].shape[-1]  # type: ignore[union-attr]
        if embeddings.shape[-1] != n_features:
            raise ModelError(
                f"model {self._model.name!r} returned {embeddings.shape[-1]} features after "
                f"{n_features} for other crops"
            )
        values: dict[str, npt.NDArray[Any]] = {"embedding": embeddings[:, 0]}
        if "removed_rms" in work.task.node:
            values = {
                "embedding": _spread(embeddings, self._held),
                "removed_rms": _spread(removed, self._held),
            }
        values["batch_size"] = np.full(len(work.rows), batch_size, np.int32)
        done = np.full(len(work.rows), DONE, np.int8)
        self._run.store.write_rows(work.task.node, work.rows, values, done)
        self._take_compiled()
        if self._may_compile and self._is_long():
            self._begin_compiling()

    def _is_long(self) -> bool:
        """Whether so much is left to do that compiling pays; False as long as that is not clear."""
        elapsed, left = time.monotonic() - self._began, self._total - self._done
        return elapsed > _CLEAR_AFTER and elapsed / self._done * left > WORTH_SECONDS

    def _begin_compiled(self) -> None:
        """Take the compiled network from the cache, or have one made where that is asked for."""
        run, model, workers = self._run, self._model, self._run.workers
        given: dict[str, Any] = {
            "batch_size": self._batch_size,
            "threads": workers.threads_of(model),
            "streams": workers.streams_of(model),
        }
        if run.compile is True:
            try:  # nothing else runs yet; where the network runs, its threads are as they will be
                self._model = workers.submit_for(
                    model, functools.partial(compiled, **given), model
                ).result()
            except ModelError as error:
                run.say(f"note: {error}; it goes on uncompiled")
        elif run.compile == "auto" and self._total >= WORTH_LOADING:
            found = workers.submit_for(model, functools.partial(from_cache, **given), model)
            self._model = found.result() or model

    def _begin_compiling(self) -> None:
        """Have a process of its own compile the network, once, while the work goes on."""
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
                keep=run.compile == "auto",
            )
        except ModelError as error:
            run.note_once(f"{error}; it goes on uncompiled")
            return
        kept = self._compilation.kept_in
        where = f"; it is kept for later runs in {kept}" if kept else ""
        run.say(f"{model.name}: compiling the network beside the work, about half a minute{where}")

    def end_compiling(self) -> None:
        """Stop compiling what no later run could use; what goes to the cache is finished."""
        if self._compilation is not None and self._compilation.kept_in is None:
            self._compilation.stop()

    def _take_compiled(self) -> None:
        """Go on with the compiled network, if it is there."""
        compilation = self._compilation
        if compilation is None or not compilation.done():
            return
        self._compilation = None
        try:
            load = self._run.workers.submit_for(self._model, compilation.result)
            self._model = load.result()
        except ModelError as error:
            self._run.note_once(f"{error}; it goes on uncompiled")


def _spread(values: npt.NDArray[np.float32], held: npt.NDArray[np.bool_]) -> Any:
    """Put the values of the bands a model has into the axis of all bands; NaN elsewhere."""
    spread = np.full((len(values), len(held), *values.shape[2:]), np.nan, np.float32)
    spread[:, held] = values
    return spread


def check_model(run: Run, model: Model, labels: npt.NDArray[np.int64]) -> int:
    """Hold the model against the store; return the length of its embeddings.

    The store keeps the embedding of one reference crop, and each call embeds it again: a checksum
    of weights says nothing of the code around them.
    """
    store = run.store
    path = f"embeddings/{node_name(model.name)}"
    stored = None
    group = store.group(path, model.fingerprint())
    if group is not None and "reference_embedding" in group:
        stored = store.read(group, "reference_embedding")
        if np.isnan(stored).all():  # an earlier version was killed before it wrote it
            stored = None
    none = np.zeros((1, len(run.bands)), bool)
    crop = _reference_crop(model)
    found = embed_block(model, crop, none, labels, batch_size=1)[0][0, 0]
    if stored is None:  # a model that fails at its first crop leaves nothing behind
        _check_alone_and_among(run, model, labels, crop, found)
        _check_against_stored(run, model, path)
        attrs = {"long_name": "embedding of the reference crop"}
        group = store.group(path, model.fingerprint())
        if group is None:
            with journal.making(store.root, path):
                group = store.make_group(path, model.fingerprint())
                store.write_array(group, "reference_embedding", found, ["feature"], attrs)
        else:  # it was lost, and the model is the same by what it embedded
            array = f"{path}/reference_embedding"
            journal.remove(store.root, array)
            with journal.making(store.root, array):
                store.write_array(group, "reference_embedding", found, ["feature"], attrs)
    elif len(stored) != len(found) or not cosine(stored, found) >= _SAME_MODEL:
        raise StoreConflictError(
            f"store {store.url!r} holds embeddings of another model by the name of "
            f"{model.name!r}: the same crop is no longer embedded alike. Nothing was "
            f"overwritten; use another name or store"
        )
    head = head_of(model.network, len(found))
    if head is not None:
        note = f"its {len(found)} outputs are those of {head!r}, by its name a classifier's head"
        model.notes.extend([] if note in model.notes else [note])
    for note in model.notes:
        run.say(f"note: {model.name}: {note}")
    return len(found)


def _check_alone_and_among(
    run: Run,
    model: Model,
    labels: npt.NDArray[np.int64],
    crop: npt.NDArray[np.uint8],
    alone: npt.NDArray[np.float32],
) -> None:
    """See that the companions of a crop in its batch do not change its embedding.

    Modules are put into evaluation mode; functions may hide one that is not. The crop stands first
    and last among crops of other brightness and contrast, for a batch of its own likes would have
    statistics like its own, at several sizes and at that of the run.

    Raises
    ------
    ModelError
        If one does.
    """
    none = np.zeros((1, len(run.bands)), bool)
    is_module = isinstance(model.network, torch.nn.Module)
    sizes = {max(3, run.batch_of(model))} | (set() if is_module else {2, 3, 7})
    rng = np.random.default_rng(0)
    for size in sorted(sizes):
        contrast = np.resize([1.0, 0.1, 0.5, 0.05], size - 1)[:, None, None, None]
        level = np.resize([40, 215, 128, 90, 170], size - 1)[:, None, None, None]
        noise = rng.uniform(-128, 128, (size - 1, *crop.shape[1:]))
        companions = np.clip(level + contrast * noise, 0, 255).astype(np.uint8)
        for place in (0, size - 1):
            among = np.concatenate([companions[:place], crop, companions[place:]])
            embedded = embed_block(model, among, none, labels, batch_size=size)[0][place, 0]
            if len(embedded) != len(alone):
                raise ModelError(
                    f"model {model.name!r} returned {len(embedded)} features for one batch and "
                    f"{len(alone)} for another"
                )
            if not cosine(embedded, alone) >= _SAME_MODEL:
                raise ModelError(
                    f"model {model.name!r} embeds a crop otherwise alone than among {size - 1} "
                    f"others: it depends on chance, or on the batch, as a network in training mode "
                    f"does; call eval() on it"
                )


def _check_against_stored(run: Run, model: Model, path: str) -> None:
    """Hold a model whose reference embedding is lost against a face that it has embedded.

    Raises
    ------
    StoreConflictError
        If it is another model.
    StoreError
        If nothing can tell.
    """
    store = run.store
    if f"{path}/intact/status" not in store.root:
        journal.remove(store.root, path)  # begun by an earlier version, and killed at once
        return
    intact: zarr.Group = store.root[f"{path}/intact"]  # type: ignore[assignment]
    status = store.read(intact, "status")
    crops: Any = store.root.get(f"crops/{model.spec.template}")
    known = isinstance(crops, zarr.Group) and "crop" in crops
    done = np.flatnonzero(status == DONE)
    if known and len(done):
        done = done[store.read(crops, "status")[done] == DONE]
    done = done[:4]
    if not (status == DONE).any():
        return
    if not known or not len(done):
        raise StoreError(
            f"{path}/reference_embedding in store {store.url!r} is lost, and there are no "
            f"crops to tell whether model {model.name!r} is the one that it holds: use "
            f"another name or store"
        )
    none = np.zeros((1, len(run.bands)), bool)
    labels = label_map(run.bands, model)
    pixels = np.concatenate(
        [store.read_rows(crops, "crop", done[i : i + 1]) for i in range(len(done))]
    )
    found = embed_block(model, pixels, none, labels, batch_size=1)[0][:, 0]
    stored = np.concatenate(
        [store.read_rows(intact, "embedding", done[i : i + 1]) for i in range(len(done))]
    )
    if found.shape != stored.shape or not (cosine(stored, found) >= _SAME_MODEL).any():
        raise StoreConflictError(
            f"store {store.url!r} holds embeddings of another model by the name of "
            f"{model.name!r}. Nothing was overwritten; use another name or store"
        )


def _reference_crop(model: Model) -> npt.NDArray[np.uint8]:
    """A crop with detail at many frequencies and in all channels, the same for ever."""
    height, width = model.template.size
    y, x = np.mgrid[0:height, 0:width]
    channels = [128 + 100 * np.sin(x / 5 + i) * np.cos(y / 9 - i) for i in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)[None]


def _bands_identity(run: Run, model: Model, chosen: npt.NDArray[np.bool_] | None) -> dict[str, Any]:
    """What tells two sets of banded embeddings apart: a nominal eye distance moves the bands."""
    identity: dict[str, Any] = {"bands": run.bands.declaration()}
    if chosen is not None:
        identity["chosen"] = np.flatnonzero(chosen).tolist()
    if run.bands.unit == "cycles/eyes":
        identity["eye_distance"] = model.eye_distance
    return identity


_LONG_NAME = "embedding, as the network returns it"
_BATCH_SIZE = Column(
    dtype="int32", fill=0, attrs={"long_name": "images per forward pass; 0: not known"}
)


def _intact_node(run: Run, model: Model, n_features: int) -> zarr.Group:
    attrs = {"long_name": _LONG_NAME}
    embedding = Column(("feature",), (n_features,), "float32", float("nan"), attrs, packed=False)
    return run.store.require_node(
        f"embeddings/{node_name(model.name)}/intact",
        {"embedding": embedding, "batch_size": _BATCH_SIZE},
        identity={"removal": "none"},
    )


def _bands_node(
    run: Run, model: Model, n_features: int, chosen: npt.NDArray[np.bool_] | None
) -> zarr.Group:
    key = run.bands.key
    if chosen is not None:
        key += f"-of-{np.packbits(chosen).tobytes().hex()}"
    run.band_nodes[model.name] = key
    n_bands, fill = len(run.bands), float("nan")
    attrs = {"long_name": f"{_LONG_NAME}, with one band removed"}
    columns = {
        "embedding": Column(
            ("band", "feature"), (n_bands, n_features), "float32", fill, attrs, packed=False
        ),
        "removed_rms": Column(("band",), (n_bands,), "float32", fill, REMOVED_RMS_ATTRS),
        "batch_size": _BATCH_SIZE,
    }
    return run.store.require_node(
        f"embeddings/{node_name(model.name)}/{key}",
        columns,
        identity=_bands_identity(run, model, chosen),
    )

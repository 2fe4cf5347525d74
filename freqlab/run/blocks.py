"""Blocks of faces on a cluster: one function over one block, which writes it to the store.

Progress is recorded in the store only: a worker looks there for what its block lacks, the call
counts there what was done, and a finished block whose result was lost costs nothing when it is
tried again. Two blocks share no chunk, so workers write concurrently without a lock; all metadata
is written by the call, before and after.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import pickle
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from freqlab.attrs import plain_attrs
from freqlab.bands.base import Bands
from freqlab.engine.compilation import compiled, from_cache, is_compiled
from freqlab.engine.removals import Removals, forward_passes
from freqlab.engine.workers import in_this_thread
from freqlab.errors import FreqlabError, ModelError, ParameterError, StoreError
from freqlab.faces.table import Faces
from freqlab.models.loading import load_model
from freqlab.models.precision import in_precision
from freqlab.models.spec import Model
from freqlab.run.context import Run, decomposition
from freqlab.run.embeddings import Task, embed_rows
from freqlab.run.model_check import check_model
from freqlab.run.settings import Settings
from freqlab.store.chunks import is_remote, open_root
from freqlab.store.layout import PENDING
from freqlab.store.run_store import RunStore

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Block", "Job", "embed_block_of_faces", "embed_on_cluster"]

Rows = npt.NDArray[np.int64]

_RETRIES = 2  # of a block, not counting those after the death of a worker
_ROUNDS = 2  # over the rows that the store still lacks
_AHEAD = 2  # blocks submitted ahead, per thread of all workers


@dataclass(frozen=True, eq=False)
class Job:
    """Data that all blocks of one model share.

    Parameters
    ----------
    key
        Identifies this job.
    url, n_faces, attrs
        Place, length and attributes of the store, by which a worker recognises it.
    model
        Name or path of the model, or the model itself, pickled.
    settings
        The settings of the call.
    bands
        The bands.
    computed
        Mask ``(band,)`` of the bands that the rows of the second of `removals` belong to.
    nodes, removals
        Paths of the nodes to fill, and the sets of bands removed in each ``(removal, band)``.
    """

    key: str
    url: str
    n_faces: int
    attrs: dict[str, Any]
    model: str | bytes
    settings: Settings
    bands: Bands
    computed: npt.NDArray[np.bool_]
    nodes: tuple[str, ...]
    removals: tuple[npt.NDArray[np.bool_], ...]


@dataclass(frozen=True, eq=False)
class Block:
    """The faces of one block, with everything that a worker must know of them.

    Parameters
    ----------
    rows
        Rows of the block.
    wanted
        Rows to embed, per node.
    to_align
        Rows that have no crop yet.
    faces
        These faces, and the faces that they are degraded from.
    face_rows
        Rows of `faces`.
    seen
        Files that exist, as the call sees them.
    """

    rows: Rows
    wanted: tuple[Rows, ...]
    to_align: Rows
    faces: Faces
    face_rows: Rows
    seen: tuple[str, ...]


class Origin(NamedTuple):
    """Report of a worker on a block that is in the store."""

    n_images: int
    device: str
    batch_size: int
    compiled: bool


def embed_on_cluster(
    run: Run,
    model: Model,
    tasks: list[Task],
    to_align: Rows,
    computed: npt.NDArray[np.bool_],
    rows: Rows,
) -> None:
    """Align and embed rows on the workers of a cluster, block by block.

    Raises
    ------
    ParameterError
        If the workers cannot reach the store or the model.
    FreqlabError
        If a block fails repeatedly.
    """
    assert run.cluster is not None
    client = run.cluster.client
    job = _job(run, model, tasks, computed)
    name = model.name
    origins: set[tuple[Any, ...]] = set()
    total = sum(len(task.pending) * len(task.removals) for task in tasks)
    before = [task.pending for task in tasks]
    with run.bar(f"{name}: forward passes", total, "img") as bar:
        for _ in range(_ROUNDS):
            for origin in _results(run, client, job, tasks, rows, to_align):
                bar.update(origin.n_images)
                if origin[1:] not in origins:
                    origins.add(origin[1:])
                    _note_origins(tasks, origins)
            left = [
                run.store.pending(t.node, t.pending, model.spec.template, retried=rows[:0])
                for t in tasks
            ]
            rows, to_align = functools.reduce(np.union1d, left), to_align[:0]
            if not len(rows):
                break
    for task, had, lacks in zip(tasks, before, left, strict=True):
        if len(had):
            run.forward_passes[name] += _passes_done(run, model, task, had, computed)
        if len(lacks):
            raise FreqlabError(
                f"{len(lacks):,} faces are not in {run.store.url!r} though the cluster said they "
                f"were written; do its workers write to the same place?"
            )


def _note_origins(tasks: list[Task], origins: set[tuple[Any, ...]]) -> None:
    """Note in the nodes of embeddings how they were computed, as soon as that is known."""
    distinct = [sorted(set(values)) for values in zip(*origins, strict=True)]
    noted = [values[0] if len(values) == 1 else str(values) for values in distinct]
    for task in tasks:
        if len(task.pending):
            about = dict(zip(("device", "batch_size", "compiled"), noted, strict=True))
            task.node.update_attributes(plain_attrs(about))


def _passes_done(
    run: Run, model: Model, task: Task, rows: Rows, computed: npt.NDArray[np.bool_]
) -> int:
    """Forward passes behind these rows of a node, as far as the store says that they are done."""
    done = rows[run.store.read(task.node, "status")[rows] != PENDING]
    if not task.has_bands:
        return len(done) * len(task.removals)
    removed_rms, batch_size = run.store.read(task.node, "removed_rms"), run.batch_of(model)
    return forward_passes(removed_rms[done][:, computed], batch_size=batch_size)


def _job(run: Run, model: Model, tasks: list[Task], computed: npt.NDArray[np.bool_]) -> Job:
    """Everything that workers must know except the block."""
    cluster = run.cluster
    assert cluster is not None
    url = run.store.url
    if url.startswith("memory:") and not cluster.in_process:
        raise ParameterError(
            f"store={url!r} is in the memory of this process, where no worker of a cluster reaches "
            f"it; give a path or an address that all of them reach"
        )
    text = cluster.texts.get(model.name)
    return Job(
        key=uuid.uuid4().hex,
        url=url if is_remote(url) else os.path.abspath(url),
        n_faces=run.store.n_faces,
        attrs=dict(run.store.root.attrs),
        model=_pickled(model) if text is None else text,
        settings=run.settings,
        bands=run.bands,
        computed=computed,
        nodes=tuple(task.node.path for task in tasks),
        removals=tuple(task.removals.sets.cpu().numpy().astype(bool) for task in tasks),
    )


def _pickled(model: Model) -> bytes:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(model))
    except Exception as error:  # any fault of a user's network
        raise ParameterError(
            f"model {model.name!r} cannot be sent to the workers of a cluster ({error}); give it "
            f"by a name or path, which they load themselves"
        ) from error


def _results(
    run: Run, client: Client, job: Job, tasks: list[Task], rows: Rows, to_align: Rows
) -> Iterator[Origin]:
    """Submit blocks, a few per thread ahead, and yield their results in any order."""
    from distributed import as_completed

    if not client.nthreads():
        run.say("waiting for workers of the cluster")
        client.wait_for_workers(1)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    on_gpus = any(worker.get("resources", {}).get("GPU") for worker in workers)
    # the scheduler can make it again if the worker that kept it died
    job_there = client.submit(_same, job, key=f"freqlab-job-{job.key}")
    client.replicate([job_there])  # otherwise all blocks would first queue at one worker
    blocks = (rows[block] for block in run.store.blocks(rows))
    in_flight: Any = as_completed(loop=client.loop)
    pending: set[Future[Any]] = set()

    def deal() -> None:
        room = _AHEAD * max(1, sum(client.nthreads().values())) - len(pending)
        for block in itertools.islice(blocks, max(0, room)):
            future = client.submit(
                embed_block_of_faces,
                job_there,
                _block(run, block, tasks, to_align),
                key=f"freqlab-block-{job.key}-{int(block[0])}-{uuid.uuid4().hex[:8]}",
                retries=_RETRIES,
                resources={"GPU": 1} if on_gpus else None,
                pure=False,
            )
            pending.add(future)
            in_flight.add(future)

    try:
        deal()
        for future in in_flight:
            pending.discard(future)
            yield _result_of(future)
            future.release()
            deal()
    finally:
        client.cancel([*pending, job_there])


def _result_of(future: Future[Any]) -> Origin:
    try:
        result = future.result()
    except Exception as error:  # any fault: a worker that died, a full disk, no memory
        raise FreqlabError(
            f"a block of faces failed on the cluster repeatedly: {type(error).__name__}: "
            f"{error}. What is done is in the store; repeat the call to resume"
        ) from error
    if isinstance(result, Exception):
        raise result
    return cast(Origin, result)


def _block(run: Run, rows: Rows, tasks: list[Task], to_align: Rows) -> Block:
    """Everything that a worker must know of the faces of a block."""
    sources = run.source_rows(rows)
    face_rows = np.union1d(rows, sources[sources >= 0])
    faces = run.faces.select(run.positions(face_rows))
    seen: tuple[str, ...] = ()
    if faces.images is None:
        seen = tuple(str(path) for path in faces.table["path"] if os.path.exists(path))
    wanted = tuple(np.intersect1d(rows, task.pending) for task in tasks)
    return Block(rows, wanted, np.intersect1d(rows, to_align), faces, face_rows, seen)


def _same(job: Job) -> Job:
    return job


def embed_block_of_faces(job: Job, block: Block) -> Origin | FreqlabError:
    """Align and embed the faces of one block on a worker, and write them to the store.

    Only what the store lacks is computed. Errors of freqlab are returned, because trying again
    would not help; all others are raised, and the block is tried again.
    """
    try:
        return _embed_block(_Worker.of(job), job, block)
    except FreqlabError as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  our own, just written
        except Exception:
            return FreqlabError(str(error))
        return error


def _embed_block(worker: _Worker, job: Job, block: Block) -> Origin:
    missing = [path for path in block.seen if not os.path.exists(path)]
    if missing:
        raise StoreError(
            f"a worker of the cluster does not see {missing[0]!r}: photographs must lie where all "
            f"workers reach them under the same path"
        )
    store = worker.store
    run = _run(job, worker, block)
    worker.check(run)
    model = worker.model
    lost = store.failed(block.rows, store.crops(model.spec.template))
    lost &= ~np.isin(block.rows, block.to_align)
    lost_rows, tasks = block.rows[lost], []
    for path, wanted, removals in zip(job.nodes, block.wanted, worker.removals, strict=True):
        node: Any = store.root[path]
        lacks = store.read_rows(node, "status", wanted) == PENDING
        pending = np.setdiff1d(wanted[lacks], lost_rows)
        n_features = node["embedding"].shape[-1]
        tasks.append(Task(node, pending, removals, n_features, "removed_rms" in node))
    run.forward_passes[model.name] = 0
    with run.bar("aligning faces", len(block.to_align), "face") as unseen:
        embed_rows(run, model, tasks, block.to_align, job.computed, block.rows, unseen)
    n_images = run.forward_passes[model.name]
    return Origin(n_images, model.device, run.batch_of(model), is_compiled(model))


def _run(job: Job, worker: _Worker, block: Block) -> Run:
    """The run as a worker sees it: the faces of one block, and this thread to do the work."""
    return Run(
        store=worker.store,
        faces=block.faces,
        rows=block.face_rows,
        bands=job.bands,
        templates=(worker.model.spec.template,),
        settings=replace(job.settings, keep_crops=None, compile=False, progress=False),
        workers=in_this_thread(worker.alone),
    )


class _Worker:
    """State that a worker keeps between blocks: the store and the model, opened once."""

    def __init__(self, job: Job) -> None:
        _keep_memory()
        self.store = _open(job)
        self.model = _load(job)
        self.alone = threading.Lock()
        self._parts = decomposition(job.bands, self.model)
        self.removals = [Removals(self.model, sets, self._parts) for sets in job.removals]
        self._checked, self._compile = False, job.settings.compile

    @classmethod
    def of(cls, job: Job) -> _Worker:
        """Return the state for a job, set up once per process."""
        with _SETTING_UP:
            if job.key not in _WORKERS:
                while len(_WORKERS) >= _KEPT:
                    _WORKERS.pop(next(iter(_WORKERS)))
                _WORKERS[job.key] = cls(job)
            return _WORKERS[job.key]

    def check(self, run: Run) -> None:
        """Compare the model with the store, and compile it if that is wanted, once."""
        with self.alone:
            if self._checked:
                return
            check_model(run, self.model, self._parts)
            given: dict[str, Any] = {
                "batch_size": run.batch_of(self.model),
                "threads": 1,
                "streams": os.cpu_count() or 1,  # each thread of the worker may run a block
            }
            if self._compile is True:
                # otherwise it stays uncompiled, and the origin of the block says so
                with contextlib.suppress(ModelError):
                    self.model = compiled(self.model, **given)
            elif self._compile == "auto":
                self.model = from_cache(self.model, **given) or self.model
            self._checked = True


_KEPT = 2  # jobs whose models a worker keeps
_WORKERS: dict[str, _Worker] = {}
_SETTING_UP = threading.Lock()


def _keep_memory() -> None:
    """Let the C library keep freed memory, up to the largest of its default thresholds.

    Workers of dask are started such that freed memory is returned to the system at once, which
    costs page faults for each tensor of each layer.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 64 * 2**20)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def _open(job: Job) -> RunStore:
    """Open the store of a job, and check that it is the one that the call writes."""
    try:
        attrs = open_root(job.url).attrs.asdict()
    except StoreError as error:
        raise StoreError(
            f"a worker of the cluster does not see store {job.url!r}: {error}. It must lie where "
            f"all workers reach it under the same path"
        ) from error
    store = RunStore(job.url) if attrs == job.attrs else None
    if store is None or store.n_faces != job.n_faces:
        raise StoreError(f"a worker of the cluster sees another store in {job.url!r}")
    return store


def _load(job: Job) -> Model:
    """Load the model of a job."""
    if isinstance(job.model, bytes):
        return cast(Model, pickle.loads(job.model))  # noqa: S301  from the call, like this job
    return in_precision(load_model(job.model, device=job.settings.device), job.settings.precision)

"""Estimates of what a run would compute and store, and of its time, before it begins."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.bands.base import Bands, check_support
from freqlab.engine.pairing import SIDES
from freqlab.engine.removals import Removals, block_parts
from freqlab.errors import check_number
from freqlab.faces.pairs import check_pairs
from freqlab.faces.table import Faces
from freqlab.literals import Precision, Side, WhichFace
from freqlab.models.callables import Embedder
from freqlab.models.spec import Model
from freqlab.run.begin import begun, declared_bands, load_models
from freqlab.run.context import Run, decomposition
from freqlab.run.crops import align_rows, rows_to_align
from freqlab.run.settings import Settings
from freqlab.store import journal
from freqlab.store.chunks import open_root_if_there
from freqlab.store.layout import DONE, FAILED, SEVERAL_FACES, block_size_for, node_name
from freqlab.store.locking import check_place

__all__ = ["ModelPlan", "Plan", "plan"]

MANY = 10_000_000
"""Number of faces of the large run for which a plan gives figures."""

_SAMPLE = 8  # faces that are aligned to measure the time
_FACE_BYTES = 200  # of a face's names, landmarks, digests and status


@dataclass(frozen=True)
class ModelPlan:
    """Plan of a run for one model.

    Parameters
    ----------
    name
        Name of the model.
    forward_passes
        Upper bound on the number of images that the run would embed. Removals that take less than
        1e-5 grey levels (RMS) from a face need no forward pass, which only the face can tell.
    in_store
        Number of embeddings that the store already holds.
    n_bands
        Number of bands removed one by one: those with a coefficient at the model's input size.
    n_features
        Length of an embedding.
    n_to_align
        Number of faces to read and cut out for its template, unless an earlier model does so.
    face_bytes
        Bytes stored per face, with all bands.
    pass_seconds, align_seconds
        Time of one worker for one forward pass, masking included, and for aligning one face; NaN
        if not measured.
    """

    name: str
    forward_passes: int
    in_store: int
    n_bands: int
    n_features: int
    n_to_align: int
    face_bytes: float
    pass_seconds: float
    align_seconds: float


@dataclass(frozen=True)
class Plan:
    """Estimate of what a run would compute and store, and of its time; ``print`` it.

    Parameters
    ----------
    n_faces, n_pairs
        Numbers of faces and pairs of the run; without pairs it computes embeddings only.
    bands
        The bands.
    workers
        Number of workers that the times refer to.
    models
        One plan per model.
    stored_bytes
        Bytes that the run would add to the store: ``faces``, ``crops``, ``embeddings``,
        ``influence``.
    worker_memory
        Peak memory of this process so far, in bytes, including the calibration, which is about
        what a worker needs; None if it is not available or nothing was calibrated.
    """

    n_faces: int
    n_pairs: int
    bands: Bands
    workers: int
    models: tuple[ModelPlan, ...]
    stored_bytes: dict[str, int]
    worker_memory: int | None

    @property
    def forward_passes(self) -> dict[str, int]:
        """Upper bound on the number of images that the run would embed, per model."""
        return {model.name: model.forward_passes for model in self.models}

    @property
    def seconds(self) -> float:
        """Expected time of reading, aligning, masking and embedding; NaN if not calibrated."""
        alone = sum(
            m.forward_passes * m.pass_seconds + m.n_to_align * m.align_seconds for m in self.models
        )
        return alone / self.workers

    def at_scale(self, n_faces: int = MANY) -> dict[str, float]:
        """Forward passes, bytes and seconds of a new run over `n_faces` faces, all bands removed.

        Pairs are not included: similarities are a small share of the time, and their bytes are
        proportional to the number of pairs, sides and bands.
        """
        passes = sum(n_faces * (1 + m.n_bands) for m in self.models)
        of_face = sum((1 + m.n_bands) * m.pass_seconds + m.align_seconds for m in self.models)
        return {
            "forward_passes": passes,
            "bytes": n_faces * (_FACE_BYTES + sum(m.face_bytes for m in self.models)),
            "seconds": n_faces * of_face / self.workers,
        }

    def __str__(self) -> str:
        return "\n".join(f"{head:<19} {text}" for head, text in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        pairs = f", {self.n_pairs:,} pairs" if self.n_pairs else ""
        yield "run", f"{self.n_faces:,} faces{pairs}, {len(self.bands)} bands ({self.bands.key})"
        for model in self.models:
            most = "at most " if self.n_pairs and model.forward_passes else ""
            text = f"{most}{model.forward_passes:,} forward passes"
            yield model.name, f"{text}; {model.in_store:,} are in the store already"
        parts = ", ".join(f"{name} {_size(n)}" for name, n in self.stored_bytes.items() if n)
        yield "to be stored", f"{_size(sum(self.stored_bytes.values()))} ({parts or 'nothing'})"
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        if not np.isnan(self.seconds):
            yield "expected time", f"{_duration(self.seconds)} on {workers}, pairing aside"
            for model in self.models:
                text = f"{model.name}: {1 / model.pass_seconds:,.0f} forward passes/s"
                if model.align_seconds:
                    text += f", {1 / model.align_seconds:,.0f} faces aligned/s"
                yield "", f"{text} per worker, measured on this machine"
        if self.worker_memory is not None:
            yield "memory per worker", f"about {_size(self.worker_memory)}"
        scale = self.at_scale()
        text = f"{scale['forward_passes']:,.0f} forward passes, {_size(scale['bytes'])}"
        if not np.isnan(scale["seconds"]):
            text += f", {_duration(scale['seconds'])} on {workers}"
        yield "ten million faces", text


def plan(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    models: Sequence[str | os.PathLike[str] | Model | Embedder],
    bands: Bands | str | None = None,
    sides: Sequence[Side] = SIDES,
    store: str | os.PathLike[str] | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    keep_crops: bool | None = None,
    upscale: bool = False,
    which_face: WhichFace = "largest",
    precision: Precision = "float32",
    workers: int | None = None,
    calibrate: float = 1.0,
) -> Plan:
    """Estimate the work, storage and time of :func:`freqlab.influence`; nothing is written.

    The number of forward passes is an upper bound: faces that turn out to be unreadable or missing
    need none, nor does a band that holds less than 1e-5 grey levels (RMS) of a face, such as a
    chroma band of a grey photograph. Otherwise it is exact. Faces that failed before are not
    counted. Bytes are those of the arrays before
    compression, which makes results up to a fifth smaller; crops are counted at the compression
    of a sample. The time is that of a sample on this machine by one worker, divided by the number
    of workers; compiling and pairing are left out.

    Parameters
    ----------
    faces, models, bands, sides, device, batch_size, keep_crops, upscale, which_face, precision
        As for :func:`freqlab.influence`.
    pairs
        As for :func:`freqlab.influence`; None for :func:`freqlab.embed`, which removes no band.
    store
        The content of this store counts as done. It is only read, and need not exist.
    workers
        Number of workers; by default the threads that would work in this process.
    calibrate
        Seconds of forward passes per model for measuring the time; 0 to measure nothing.

    Returns
    -------
    Plan
        Numbers of forward passes and bytes, and the estimated time. It prints as a table.

    Raises
    ------
    ParameterError, PairError, BandError
        If an argument does not fit.
    StoreError
        If `store` is a file, or a folder with other content.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=4, per_subject=2)
    >>> pairs = fl.make_pairs(faces, seed=0)
    >>> model = fl.testing.model()
    >>> planned = fl.plan(faces, pairs, models=[model], bands="rings:28", calibrate=0)
    >>> planned.forward_passes  # 8 faces as they are, and with each of three bands removed
    {'linear': 32}
    """
    bands = declared_bands(bands)
    if workers is not None:
        check_number("workers", workers, at_least=1, whole=True)
    check_number("calibrate", calibrate, at_least=0)
    settings = Settings(
        device=device,
        batch_size=batch_size,
        keep_crops=keep_crops,
        upscale=upscale,
        which_face=which_face,
        precision=precision,
        compile=False,
        progress=False,
    )
    loaded = load_models(models, faces, settings)
    masked = None
    if pairs is not None:
        check_support(bands, [decomposition(bands, model).present for model in loaded])
        masked = _masked_faces(faces, pairs, sides)
    existing = _Existing(store, faces)
    sample = faces.select(range(min(len(faces), _SAMPLE)))
    with begun(sample, loaded, None, bands=bands, settings=settings) as run:
        plans, stored = _plan_models(existing, run, loaded, masked, calibrate)
        memory = _peak_memory() if calibrate else None
        streams = max(run.workers.streams_of(model) for model in loaded)
    n_pairs = 0 if pairs is None else len(pairs)
    if n_pairs:
        of_pair = 4 + 2 * 4 * len(sides) * len(bands)
        stored["influence"] = n_pairs * (of_pair * len(loaded) + _PAIR_BYTES)
    return Plan(
        n_faces=len(faces),
        n_pairs=n_pairs,
        bands=bands,
        workers=workers or streams,
        models=tuple(plans),
        stored_bytes=stored,
        worker_memory=memory,
    )


def _masked_faces(
    faces: Faces, pairs: pd.DataFrame, sides: Sequence[Side]
) -> npt.NDArray[np.bool_]:
    """Mask ``(face,)`` of the faces that are masked in some pair."""
    masked = np.zeros(len(faces), bool)
    positions = check_pairs(faces, pairs)
    for column, side in enumerate(SIDES[:2]):
        if side in sides or "both" in sides:
            masked[positions[:, column]] = True
    return masked


_PAIR_BYTES = 17  # label, rows of both faces, genuine or not


class _Existing:
    """Content of a store for the faces of a call."""

    def __init__(self, store: str | os.PathLike[str] | None, faces: Faces) -> None:
        self.root = None
        if store is not None:
            check_place(store)
            self.root = open_root_if_there(store)
        names: Any = []
        if self._holds("faces"):
            n_faces = int(cast(int, self.root["faces"].attrs["n_faces"]))  # type: ignore[index]
            names = np.asarray(self.root["faces/face"][:n_faces])  # type: ignore[index]
        attrs = {} if self.root is None else dict(self.root.attrs)
        of_new = block_size_for(len(faces), are_aligned=faces.aligned is not None)
        self.block_size = int(cast(int, attrs.get("block_size", of_new)))
        self._n_rows = len(names)
        rows = pd.Index(names, dtype=object).get_indexer(pd.Index(faces.names, dtype=object))
        new = rows < 0
        self.n_new = int(new.sum())
        self.rows = rows.copy()
        self.rows[new] = len(names) + np.arange(self.n_new)

    def status(self, path: str) -> npt.NDArray[np.int8]:
        """Status of each face of the call in a node; pending if it has none."""
        values = np.zeros(self._n_rows + self.n_new, np.int8)
        if self._holds(path):
            stored = np.asarray(self.root[f"{path}/status"][: self._n_rows])  # type: ignore[index]
            values[: len(stored)] = stored
        return values[self.rows]

    def _holds(self, path: str) -> bool:
        """Whether a node with a face axis exists and is complete."""
        root = self.root
        return root is not None and journal.counts(root, path) and f"{path}/status" in root

    def new_blocks(self, had: npt.NDArray[np.bool_], will: npt.NDArray[np.bool_]) -> int:
        """Number of blocks that will be stored and of which nothing is stored yet."""
        blocks = self.rows // self.block_size
        return len(np.setdiff1d(blocks[will], blocks[had]))

    def keeps_crops(self, template: str, keep: bool | None) -> bool:
        """Whether the crops of a template are, or would be, stored."""
        if self.root is not None and self._holds(f"crops/{template}"):
            return f"crops/{template}/crop" in self.root
        return keep is not False


class _Measured(NamedTuple):
    """Result of the calibration of a model."""

    n_features: int
    pass_seconds: float
    align_seconds: float
    crop_bytes: float


def _measure(run: Run, model: Model, computed: npt.NDArray[np.bool_], seconds: float) -> _Measured:
    """Align a few faces, and embed one of them for `seconds`, on all workers at once."""
    template = model.template
    raw = float(3 * template.size[0] * template.size[1])
    crops: Any = np.full((1, *template.size, 3), 128, np.uint8)
    crops[:, ::7, ::5] = 30
    align_seconds, crop_bytes = float("nan"), raw
    if seconds:
        rows = rows_to_align(run, template)
        if len(rows):
            align_rows(run, rows[:1], template)  # loads the detector
            began = time.perf_counter()
            _, cut = align_rows(run, rows, template)
            align_seconds = (time.perf_counter() - began) / len(rows)
            node: Any = run.store.crops(template.name)
            if len(cut):
                crops = np.rint(np.clip(cut[:1], 0, 255)).astype(np.uint8)
            if "crop" in node and len(cut):
                crop_bytes = node["crop"].nbytes_stored() / len(rows)
    parts, batch = decomposition(run.bands, model), run.batch_of(model)
    one_each = np.eye(len(run.bands), dtype=bool)[computed]
    if not len(one_each):
        one_each = np.zeros((1, len(run.bands)), bool)
    sets = np.resize(one_each, (batch, len(run.bands)))
    (part,) = block_parts(model, crops, Removals(model, sets, parts), batch_size=batch)
    streams = run.workers.streams_of(model)

    def all_at_once() -> int:
        submit = run.workers.submit_for
        results = [submit(model, lambda: part.run(model)) for _ in range(streams)]
        return min(result.result().embeddings.shape[-1] for result in results)

    n_features, n, began = all_at_once(), 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        all_at_once()
        n += part.n_images
    pass_seconds = (time.perf_counter() - began) / n if n else float("nan")
    return _Measured(n_features, pass_seconds, align_seconds, crop_bytes)


def _plan_models(
    existing: _Existing,
    run: Run,
    models: Sequence[Model],
    masked: npt.NDArray[np.bool_] | None,
    calibrate: float,
) -> tuple[list[ModelPlan], dict[str, int]]:
    """Forward passes of each model, and bytes by kind of content."""
    plans = []
    face_bytes = _FACE_BYTES * existing.n_new
    stored = {"faces": face_bytes, "crops": 0, "embeddings": 0, "influence": 0}
    aligned: set[str] = set()
    for model in models:
        planned, added = _plan_model(existing, run, model, masked, calibrate, aligned)
        plans.append(planned)
        for kind, n_bytes in added.items():
            stored[kind] += n_bytes
        aligned.add(model.spec.template)
    return plans, stored


def _plan_model(
    existing: _Existing,
    run: Run,
    model: Model,
    masked: npt.NDArray[np.bool_] | None,
    calibrate: float,
    aligned: set[str],
) -> tuple[ModelPlan, dict[str, int]]:
    """The plan for one model, and the bytes that it adds to the store, by kind.

    Embeddings are stored uncompressed, whole blocks at a time.
    """
    name, n_all = model.spec.template, len(run.bands)
    computed = decomposition(run.bands, model).present
    measured = _measure(run, model, computed, calibrate)
    crops = existing.status(f"crops/{name}")
    tried_again = () if run.settings.which_face == "only" else (SEVERAL_FACES,)
    usable = ~np.isin(crops, sorted(set(FAILED) - set(tried_again)))
    path, n_bands = f"embeddings/{node_name(model.name)}", int(computed.sum())
    intact = existing.status(f"{path}/intact") == DONE
    banded = existing.status(f"{path}/{run.bands.key}") == DONE
    wanted = usable & (masked if masked is not None else np.zeros_like(usable))
    n_to_align = 0 if name in aligned else int((usable & (crops != DONE)).sum())
    crop_bytes = measured.crop_bytes if existing.keeps_crops(name, run.settings.keep_crops) else 0.0
    vector, of_bands = 4 * measured.n_features, 4 * n_all * (measured.n_features + 1)
    blocks = existing.new_blocks(intact, usable), existing.new_blocks(banded, wanted)
    in_embeddings = existing.block_size * (vector * blocks[0] + of_bands * blocks[1])
    planned = ModelPlan(
        name=model.name,
        forward_passes=int((usable & ~intact).sum()) + n_bands * int((wanted & ~banded).sum()),
        in_store=int(intact.sum()) + n_bands * int((wanted & banded).sum()),
        n_bands=n_bands,
        n_features=measured.n_features,
        n_to_align=n_to_align,
        face_bytes=vector + of_bands + (0.0 if name in aligned else crop_bytes),
        pass_seconds=measured.pass_seconds,
        align_seconds=0.0 if name in aligned else measured.align_seconds,
    )
    return planned, {"crops": round(n_to_align * crop_bytes), "embeddings": in_embeddings}


def _peak_memory() -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if n < 1000 or unit == "TB":
            return f"{n:,.0f} {unit}" if unit == "bytes" else f"{n:,.1f} {unit}"
        n /= 1000
    raise AssertionError


def _duration(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"

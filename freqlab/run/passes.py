"""All forward passes of one model that a run needs, here or on a cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from tqdm import tqdm

from freqlab.engine.compilation import is_compiled
from freqlab.engine.removals import Removals
from freqlab.models.spec import Model
from freqlab.run.blocks import embed_on_cluster
from freqlab.run.context import Run, decomposition
from freqlab.run.crops import align_rows, check_any_usable, rows_to_align
from freqlab.run.embeddings import Task, embed_rows, note_origin
from freqlab.run.model_check import check_model
from freqlab.run.nodes import bands_node, intact_node
from freqlab.run.precision import measure_precision
from freqlab.store.integrity import check_chunks

__all__ = ["embed_faces"]


def embed_faces(
    run: Run,
    model: Model,
    masked: npt.NDArray[np.int64] | None,
    chosen: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Embed all faces unmasked, and those at positions `masked`, if any, once per band.

    With `chosen` ``(band,)`` only those bands are removed; the others are NaN, in a separate node.
    Faces that have no crop yet are read and aligned on the way. Workers do both; this thread
    distributes the work, block by block, and writes the results. On a cluster whole blocks are
    distributed, and the workers write them.
    """
    to_align = rows_to_align(run, model.template)
    check_chunks(run.store.crops(model.spec.template), run.rows)
    with run.bar("aligning faces", len(to_align), "face") as faces_bar:
        _embed_faces(run, model, masked, chosen, to_align, faces_bar)


def _embed_faces(
    run: Run,
    model: Model,
    masked: npt.NDArray[np.int64] | None,
    chosen: npt.NDArray[np.bool_] | None,
    to_align: npt.NDArray[np.int64],
    faces_bar: tqdm[Any],
) -> None:
    """Align the rows `to_align`, counted by a bar, and embed what is missing."""
    parts = decomposition(run.bands, model)
    computed = parts.present.copy()
    if chosen is not None and chosen.all():
        chosen = None
    computed &= True if chosen is None else chosen
    if len(to_align):  # faces that do not fit the call are found before anything is written
        first = to_align[next(run.store.blocks(to_align))]
        align_rows(run, first, model.template)
        to_align = np.setdiff1d(to_align, first)
        faces_bar.update(len(first))
    n_features = check_model(run, model, parts)
    none = np.zeros((1, len(run.bands)), bool)
    one_each = np.eye(len(run.bands), dtype=bool)[computed]

    def task(
        node: zarr.Group,
        rows: npt.NDArray[np.int64],
        removals: npt.NDArray[np.bool_],
        *,
        has_bands: bool = False,
    ) -> Task:
        check_chunks(node, rows)
        pending = run.store.pending(node, rows, model.spec.template, retried=to_align)
        return Task(node, pending, Removals(model, removals, parts), n_features, has_bands)

    tasks = [task(intact_node(run, model, n_features), run.rows, none)]
    if masked is not None:
        node = bands_node(run, model, n_features, chosen)
        if computed.any():
            tasks.append(task(node, run.rows[masked], one_each, has_bands=True))
    run.forward_passes.setdefault(model.name, 0)
    rows = np.union1d(to_align, np.concatenate([task.pending for task in tasks]))
    if len(rows) and run.cluster is not None:
        embed_on_cluster(run, model, tasks, to_align, computed, rows)
        faces_bar.update(len(to_align))
    elif len(rows):
        note_origin(run, model, tasks)  # before anything is done: nothing is pending afterwards
        done_by = embed_rows(run, model, tasks, to_align, computed, rows, faces_bar)
        if is_compiled(done_by):
            note_origin(run, done_by, tasks)
    check_any_usable(run, model.template)
    if masked is not None and model.original is not None:
        measure_precision(run, model, tasks[0].node, node, computed, run.rows[masked])

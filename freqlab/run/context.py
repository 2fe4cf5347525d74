"""Data shared by the steps of one run."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from freqlab.bands.base import Bands
from freqlab.bands.decompositions import Decomposition
from freqlab.engine.removals import default_batch_size
from freqlab.engine.workers import Workers
from freqlab.errors import ParameterError
from freqlab.faces.table import Faces
from freqlab.images.degradation import Degradation
from freqlab.models.spec import Model
from freqlab.run.cluster import Cluster
from freqlab.run.settings import Settings
from freqlab.store.run_store import RunStore
from freqlab.system.progress import progress_bar, say

__all__ = ["Run", "decomposition", "label_map"]


@dataclass
class Run:
    """A call of :func:`freqlab.influence`: its store, faces, bands and workers.

    Parameters
    ----------
    store
        The run's store.
    faces
        The faces of the call.
    rows
        Rows of the faces in the store ``(face,)``.
    bands
        The bands.
    templates
        Names of the templates of its models.
    settings
        Options of the call.
    workers
        The threads that do the work.
    cluster
        Where blocks are embedded, if not by `workers`.
    forward_passes
        Images embedded so far, per model.
    band_nodes
        Name of the node that holds a model's embeddings with bands removed, per model.
    """

    store: RunStore
    faces: Faces
    rows: npt.NDArray[np.int64]
    bands: Bands
    templates: tuple[str, ...]
    settings: Settings
    workers: Workers
    cluster: Cluster | None = None
    forward_passes: dict[str, int] = field(default_factory=dict)
    band_nodes: dict[str, str] = field(default_factory=dict)

    def positions(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """Convert rows of the store to positions in the faces of this call."""
        order = np.argsort(self.rows, kind="stable")
        in_call = order[np.searchsorted(self.rows, rows, sorter=order)]
        return [int(position) for position in in_call]

    def degradations(self, rows: npt.NDArray[np.int64]) -> list[Degradation | None]:
        """Degradations of the faces in these rows of the store."""
        of_faces = self.faces.degradations
        return [None if of_faces is None else of_faces[i] for i in self.positions(rows)]

    def source_rows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows of the source faces of the degraded faces in `rows`.

        -1 for a face that is not degraded or whose source is not in this call.
        """
        if self.faces.degradations is None:
            return np.full(len(rows), -1, np.int64)
        return self._source_of_position[self.positions(rows)]

    @functools.cached_property
    def _source_of_position(self) -> npt.NDArray[np.int64]:
        """Row of the source of each face of this call, or -1."""
        position = {name: i for i, name in enumerate(self.faces.names)}
        source_rows = np.full(len(self.faces), -1, np.int64)
        sources = self.faces.table.get("source")
        if sources is None:
            return source_rows
        for i, (source, degraded) in enumerate(zip(sources, self.faces.degraded, strict=True)):
            if degraded and source in position:
                source_rows[i] = self.rows[position[source]]
        return source_rows

    def batch_of(self, model: Model) -> int:
        """Images per forward pass of a model."""
        return self.settings.batch_size or default_batch_size(model.device, model.precision)

    def failed(self) -> npt.NDArray[np.bool_]:
        """Whether a face could not be read, found or cut out for one of the templates ``(n,)``."""
        nodes = [self.store.faces, *(self.store.crops(name) for name in self.templates)]
        return np.any([self.store.failed(self.rows, node) for node in nodes], axis=0)

    def bar(self, text: str, total: int, unit: str) -> tqdm[Any]:
        """Make a progress bar."""
        return progress_bar(text, total, unit, shown=self.settings.progress)

    def say(self, text: str) -> None:
        """Show a message without disturbing the progress bars."""
        if self.settings.progress:
            say(text)

    def note_once(self, text: str) -> None:
        """Write a note unless this process has already written it."""
        if self.settings.progress and text not in _NOTED:
            _NOTED.add(text)
            self.say(f"note: {text}")


_NOTED: set[str] = set()


def decomposition(bands: Bands, model: Model) -> Decomposition:
    """Decomposition of crops of a model's input size.

    Raises
    ------
    ParameterError
        If the bands count cycles between the eyes, and the model's crops do not fix the eyes.
    """
    _check_eyes(bands, model)
    return bands.decompose(*model.template.size, eye_distance=model.eye_distance)


def label_map(bands: Bands, model: Model) -> npt.NDArray[np.int64]:
    """Label map of bands at a model's input size.

    Raises
    ------
    BandError
        If the bands are not parts of the plane of frequencies.
    ParameterError
        As for :func:`decomposition`.
    """
    _check_eyes(bands, model)
    return bands.label_map(*model.template.size, eye_distance=model.eye_distance)


def _check_eyes(bands: Bands, model: Model) -> None:
    if bands.unit == "cycles/eyes" and model.eye_distance is None:
        raise ParameterError(
            f"bands in cycles/eyes need the distance between the eyes, which the crops of model "
            f"{model.name!r} (template {model.template.name!r}) do not fix; load it with "
            f"eye_distance= (nominal, in pixels of its {model.template.size[1]}-pixel crop)"
        )

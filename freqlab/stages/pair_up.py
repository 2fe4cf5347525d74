"""Third stage: pair up the embeddings and write a result."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from threadpoolctl import threadpool_limits

from freqlab.bands import Bands
from freqlab.models.spec import Model
from freqlab.pairing import UnitEmbeddings, as_units, gathered_influence
from freqlab.provenance import make_attrs, to_json
from freqlab.stages.context import Run
from freqlab.stages.embeddings import REMOVED_RMS_ATTRS
from freqlab.store import RunStore, node_name
from freqlab.verification import FMRS, impostor_thresholds

__all__ = ["write_influence"]

_PAIRS_PER_CHUNK = 8192
_PAIRS_PER_STEP = 32 * _PAIRS_PER_CHUNK  # whose results are held at once
_PAIRS_PER_PIECE = 128  # whose gathered embeddings stay in the processor's cache
_PIECES_AT_ONCE = 64
_TILE = 256  # faces whose embeddings are read together
_HELD_BYTES = 192 * 2**20  # of embeddings held at once, however many faces there are

_ATTRS = {
    "similarity": {"long_name": "cosine similarity", "units": "1"},
    "influence": {
        "long_name": "directed influence",
        "units": "cosine similarity",
        "comment": "similarity less similarity without the band; positive speaks for a match",
    },
    "removed_rms": REMOVED_RMS_ATTRS,
    "threshold": {"long_name": "threshold", "units": "cosine similarity"},
    "impostor_comparisons": {"long_name": "impostor comparisons behind the thresholds"},
}


def write_influence(
    run: Run,
    models: Sequence[Model],
    pairs: pd.DataFrame,
    positions: npt.NDArray[np.int32],
    sides: tuple[str, ...],
    name: str | None,
) -> str:
    """Write the node of a result, unless it is there; return its name."""
    store = run.store
    columns = _pair_columns(pairs, run.rows[positions])
    identity = _identity(run, models, sides, columns)
    if name is None:
        name = hashlib.sha256(to_json(identity).encode()).hexdigest()[:8]
    group = store.require_group(f"influence/{name}", identity)
    if group.attrs.get("complete"):
        return name
    made = make_attrs(
        device=", ".join(dict.fromkeys(model.device for model in models)),
        batch_size=", ".join(dict.fromkeys(str(run.batch_of(model)) for model in models)),
        face_set=run.faces.name,
        credit=run.faces.credit,
    )
    group.attrs.update(made)
    _write_axes(store, group, models, run.bands, sides, columns)
    _create_arrays(store, group, len(models), len(pairs), len(sides), len(run.bands))
    rows = np.stack([columns["probe"], columns["reference"]])
    thresholds = np.full((len(models), len(FMRS)), np.nan)
    n_impostors = np.zeros(len(models), np.int64)
    for m, model in enumerate(models):
        _pair_up(run, group, m, model, rows, sides)
        thresholds[m], n_impostors[m] = _thresholds(run, model)
    for variable, values, dims in (
        ("threshold", thresholds, ["model", "fmr"]),
        ("impostor_comparisons", n_impostors, ["model"]),
    ):
        store.write_array(group, variable, values, dims, _ATTRS[variable])
    group.attrs["complete"] = True
    return name


def _pair_columns(pairs: pd.DataFrame, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Everything along ``pair``, as it is stored: labels, rows of the faces, metadata.

    A pair is labelled by the table's index, if that is whole numbers, each once.
    """
    labels = np.arange(len(pairs))
    if pd.api.types.is_integer_dtype(pairs.index) and pairs.index.is_unique:
        labels = pairs.index.to_numpy(np.int64)
    columns: dict[str, npt.NDArray[Any]] = {
        "pair": labels,
        "probe": rows[:, 0].astype(np.int32),
        "reference": rows[:, 1].astype(np.int32),
        "genuine": pairs["genuine"].to_numpy(bool),
    }
    for name, values in pairs.items():
        if name in columns:
            continue
        if not pd.api.types.is_numeric_dtype(values):
            text = values.astype(object).where(values.notna(), "").map(str)
            columns[str(name)] = text.to_numpy(object)
        elif values.isna().any():
            columns[str(name)] = values.to_numpy(np.float64, na_value=np.nan)
        else:
            columns[str(name)] = np.asarray(values.to_numpy())
    return columns


def _identity(
    run: Run,
    models: Sequence[Model],
    sides: tuple[str, ...],
    columns: Mapping[str, npt.NDArray[Any]],
) -> dict[str, Any]:
    """What a result depends on. Thresholds depend on the faces, in whatever order."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(to_json([name, str(values.dtype), values.tolist()]).encode())
    members = sorted(zip(run.rows.tolist(), run.faces.sources.tolist(), strict=True))
    return {
        "models": {
            model.name: {**model.fingerprint(), "eye_distance": model.eye_distance}
            for model in models
        },
        "bands": run.bands.declaration(),
        "sides": list(sides),
        "pairs": {"n": len(columns["pair"]), "sha256": digest.hexdigest()},
        "faces": {
            "n": len(members),
            "sha256": hashlib.sha256(to_json(members).encode()).hexdigest(),
            "landmarks_sha256": _landmarks_sha256(run),
            "failures_to_acquire": int(run.failed().sum()),
        },
    }


def _landmarks_sha256(run: Run) -> str:
    """A digest of the landmarks by which the faces were aligned, to a hundredth of a pixel."""
    landmarks = run.store.read(run.store.faces, "landmarks")[np.sort(run.rows)]
    hundredths = np.rint(100 * np.nan_to_num(landmarks)).astype(np.int64)
    return hashlib.sha256(hundredths.tobytes()).hexdigest()


def _write_axes(
    store: RunStore,
    group: zarr.Group,
    models: Sequence[Model],
    bands: Bands,
    sides: tuple[str, ...],
    columns: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Write all coordinates of a result."""
    frequency = {"long_name": "spatial frequency", "units": bands.unit}
    axes: list[tuple[str, npt.NDArray[Any], list[str], dict[str, str]]] = [
        ("model", np.array([m.name for m in models], object), ["model"], {"long_name": "model"}),
        ("side", np.array(sides, object), ["side"], {"long_name": "masked side"}),
        ("fmr", np.array(FMRS), ["fmr"], {"long_name": "false match rate"}),
        ("band", np.array(bands.names, object), ["band"], {**frequency, "long_name": "band"}),
        ("frequency", bands.frequency, ["band"], frequency),
        ("band_bounds", bands.bounds, ["band", "bound"], frequency),
    ]
    axes += [(name, values, ["pair"], {"long_name": name}) for name, values in columns.items()]
    for name, values, dims, attrs in axes:
        store.write_array(group, name, values, dims, attrs)
    scalars = [name for name in columns if name != "pair"]
    group.attrs["coordinates"] = " ".join([*scalars, "frequency", "band_bounds"])


def _create_arrays(
    store: RunStore, group: zarr.Group, n_models: int, n_pairs: int, n_sides: int, n_bands: int
) -> None:
    dims, shape = ("model", "pair", "side", "band"), (n_models, n_pairs, n_sides, n_bands)
    chunks = (1, min(_PAIRS_PER_CHUNK, n_pairs), n_sides, n_bands)
    for name, n_dims in (("similarity", 2), ("influence", 4), ("removed_rms", 4)):
        store.create_array(
            group, name, shape[:n_dims], chunks[:n_dims], dims[:n_dims], _ATTRS[name]
        )


def _pair_up(
    run: Run,
    group: Any,
    m: int,
    model: Model,
    rows: npt.NDArray[np.int32],
    sides: tuple[str, ...],
) -> None:
    """Gather embeddings, take dot products, write; as many pairs at a time as memory allows.

    Within those, pairs are sorted so that neighbours share faces: the embeddings are read from
    memory a few times instead of twice per pair.
    """
    node: Any = run.store.root[f"embeddings/{node_name(model.name)}"]
    removed = node[f"{run.bands.key}/removed_rms"][:]
    tiles = _Tiles(node["intact/embedding"], node[f"{run.bands.key}/embedding"])
    n_pairs, chunk = rows.shape[1], group["influence"].chunks[1]
    step = max(1, _PAIRS_PER_STEP // chunk) * chunk
    written: list[Future[None]] = []
    with (
        run.bar(f"{model.name}: pairs", n_pairs, "pair") as bar,
        threadpool_limits(1, user_api="blas"),
    ):
        for start in range(0, n_pairs, step):
            work = _Step(group, m, start, rows[:, start : start + step], sides, removed)
            tile = work.rows // _TILE
            # a group of probe tiles stays in memory while the references pass by, once per group
            order = np.lexsort((work.rows[1], tile[0], tile[1], tile[0] // tiles.n_together))
            pieces = (
                (order[lower:upper], *(tiles.of(int(row)) for row in work.rows[:, order[lower]]))
                for lower, upper in _pieces(tile[:, order])
            )
            while wave := list(itertools.islice(pieces, _PIECES_AT_ONCE)):
                for done in [run.workers.share(work.fill, *piece) for piece in wave]:
                    bar.update(done.result())
            for earlier in written:
                earlier.result()
            written = [run.workers.prepare(work.write)]
        for earlier in written:
            earlier.result()


class _Step:
    """Pairs whose results are held at once: filled in piece by piece, then written."""

    def __init__(
        self,
        group: Any,
        m: int,
        start: int,
        rows: npt.NDArray[np.int32],
        sides: tuple[str, ...],
        removed: npt.NDArray[np.float32],
    ) -> None:
        self._group, self._m, self._start = group, m, start
        self.rows, self._sides, self._removed = rows, sides, removed
        shape = (rows.shape[1], len(sides), removed.shape[1])
        self._similarity = np.empty(shape[0], np.float32)
        self._influence, self._contrast = np.empty(shape, np.float32), np.empty(shape, np.float32)

    def fill(
        self, at: npt.NDArray[np.int64], probes: UnitEmbeddings, references: UnitEmbeddings
    ) -> int:
        """Compute some pairs; both embeddings are those of the tiles that hold their faces."""
        probe, reference = self.rows[:, at]
        self._similarity[at], self._influence[at] = gathered_influence(
            probes, probe % _TILE, references, reference % _TILE, self._sides
        )
        taken = {"probe": self._removed[probe], "reference": self._removed[reference]}
        if "both" in self._sides:
            taken["both"] = np.hypot(taken["probe"], taken["reference"])
        self._contrast[at] = np.stack([taken[side] for side in self._sides], axis=1)
        return len(at)

    def write(self) -> None:
        """Write all pairs of the step, whole chunks at a time."""
        stop = self._start + len(self._similarity)
        self._group["similarity"][self._m, self._start : stop] = self._similarity
        self._group["influence"][self._m, self._start : stop] = self._influence
        self._group["removed_rms"][self._m, self._start : stop] = self._contrast


def _pieces(tiles: npt.NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Bounds of runs of pairs of the same two tiles, cut to a size whose gather fits a cache."""
    cuts = np.flatnonzero((np.diff(tiles, axis=1) != 0).any(axis=0)) + 1
    for lower, upper in itertools.pairwise([0, *cuts.tolist(), tiles.shape[1]]):
        for first in range(lower, upper, _PAIRS_PER_PIECE):
            yield first, min(first + _PAIRS_PER_PIECE, upper)


class _Tiles:
    """Embeddings of a model, scaled to unit length, some hundred faces at a time; few are held."""

    def __init__(self, intact: Any, removed: Any) -> None:
        bytes_per_face = 4 * (math.prod(removed.shape[1:]) + intact.shape[1])
        n_held = max(4, _HELD_BYTES // (bytes_per_face * _TILE))
        self.n_together = n_held - 2

        def load(tile: int) -> UnitEmbeddings:
            which = slice(tile * _TILE, (tile + 1) * _TILE)
            return as_units(np.asarray(intact[which]), np.asarray(removed[which]))

        self._load = functools.lru_cache(maxsize=n_held)(load)

    def of(self, row: int) -> UnitEmbeddings:
        """The tile that holds a row; the row is ``row % _TILE`` in it."""
        return self._load(row // _TILE)


def _thresholds(run: Run, model: Model) -> tuple[list[float], int]:
    """Thresholds over all impostor comparisons of the faces of this call, and their number."""
    intact: Any = run.store.root[f"embeddings/{node_name(model.name)}/intact/embedding"]
    embeddings = np.asarray(intact.oindex[run.rows])
    return impostor_thresholds(embeddings, run.faces.subjects, run.faces.sources)

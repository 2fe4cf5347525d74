"""Third stage: compare the embeddings of pairs and write a result."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from threadpoolctl import threadpool_limits

from freqlab.attrs import METHOD, from_json, make_attrs, to_json
from freqlab.bands.base import Bands
from freqlab.engine.pairing import SIDES, cosines_without, cosines_without_both
from freqlab.engine.workers import Workers
from freqlab.images.alignment import WHICH_FACE
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.run.context import Run
from freqlab.run.purposes import automatic_name, current_purpose
from freqlab.run.refinement import Refinement, measure_refinement
from freqlab.statistics.error_rates import FMRS, impostor_thresholds
from freqlab.statistics.vectors import unit_length
from freqlab.store import journal
from freqlab.store.chunks import opened, read, reading
from freqlab.store.layout import REMOVED_RMS_ATTRS, node_name
from freqlab.store.run_store import RunStore

__all__ = ["write_influence"]

_PAIRS_PER_CHUNK = 8192
_PAIRS_PER_STEP = 32 * _PAIRS_PER_CHUNK  # whose results are held in memory together
_PAIRS_PER_PIECE = 2048  # per task of a worker
_TILE = 512  # faces whose embeddings are read together
_MOST_COMPARED = 100_000  # upper bound on faces for thresholds: 5,000,000,000 comparisons
_MOST_KEPT = 64  # sets of faces whose thresholds are kept
_TILES_HELD = 8  # in memory if both images are masked
_DENSE = 8  # a range of unmasked embeddings is read whole if one in this number is needed

_ATTRS = {
    "similarity": {"long_name": "cosine similarity", "units": "1"},
    "influence": {
        "long_name": "directed influence",
        "units": "cosine similarity",
        "comment": "similarity less similarity without the band; positive speaks for a match",
    },
    "removed_rms": REMOVED_RMS_ATTRS,
    "threshold": {"long_name": "threshold", "units": "cosine similarity"},
    "refined": {
        "long_name": "band was computed",
        "comment": "False: left out, as its broad band changed no pair by more than the tolerance",
    },
    "impostor_comparisons": {"long_name": "impostor comparisons behind the thresholds"},
}


def write_influence(
    run: Run,
    models: Sequence[Model],
    pairs: pd.DataFrame,
    positions: npt.NDArray[np.int32],
    sides: tuple[Side, ...],
    name: str | None,
    refinement: Refinement | None = None,
    fmrs: tuple[float, ...] = FMRS,
) -> str:
    """Write the node of a result unless it exists; return its name."""
    store = run.store
    columns = _pair_columns(pairs, run.rows[positions])
    identity = _identity(run, models, sides, columns)
    if refinement is not None:
        identity["refine"] = refinement.tolerance
    if run.settings.which_face != WHICH_FACE[0]:  # older results do not record it
        identity["which_face"] = run.settings.which_face
    if fmrs != FMRS:
        identity["fmrs"] = list(fmrs)
    if name is None:
        name = automatic_name(store.root, identity)
    path = f"influence/{name}"
    if _is_complete(store, path, identity):
        return name
    made = make_attrs(
        identity=identity,
        purpose=current_purpose().text,
        device=", ".join(dict.fromkeys(model.device for model in models)),
        batch_size=", ".join(dict.fromkeys(str(run.batch_of(model)) for model in models)),
        face_set=run.faces.name,
        credit=run.faces.credit,
        which_face=run.settings.which_face,
    )
    made["method"] = to_json({**METHOD, "bands": run.bands.method})
    errors = {model.name: _precision_error(run, model) for model in models}
    if any(errors.values()):
        made["precision_error"] = to_json({name: e for name, e in errors.items() if e})
    made["precision"] = ", ".join(dict.fromkeys(model.precision for model in models))
    if refinement is not None:
        measure_refinement(run, models, refinement, positions, sides)
        made["refine_error"] = to_json(refinement.errors)
        made["broad"] = refinement.broad
    with journal.making(store.root, path):
        group = journal.make_group(store.root, path, made)
        _write_axes(store, group, models, run.bands, sides, columns, fmrs)
        _create_arrays(store, group, len(models), len(pairs), len(sides), len(run.bands))
        rows = np.stack([columns["probe"], columns["reference"]])
        thresholds = np.full((len(models), len(fmrs)), np.nan)
        n_impostors = np.zeros(len(models), np.int64)
        for m, model in enumerate(models):
            _pair_up(run, group, m, model, rows, sides)
            thresholds[m], n_impostors[m] = _thresholds(run, model, identity["faces"], fmrs)
        for variable, values, dims in (
            ("threshold", thresholds, ["model", "fmr"]),
            ("impostor_comparisons", n_impostors, ["model"]),
        ):
            store.write_array(group, variable, values, dims, _ATTRS[variable])
        if refinement is not None:
            refined = np.stack([refinement.refined[model.name] for model in models])
            store.write_array(group, "refined", refined, ["model", "band"], _ATTRS["refined"])
        group.attrs["complete"] = 1
    return name


def _is_complete(store: RunStore, path: str, identity: Mapping[str, Any]) -> bool:
    """Whether a result exists; an incomplete one is removed.

    Raises
    ------
    StoreConflictError
        If another result has its name.
    """
    node = store.root.get(path)
    if isinstance(node, zarr.Group) and not node.attrs.get("complete"):
        journal.remove(store.root, path)
    return store.group(path, identity) is not None


def _precision_error(run: Run, model: Model) -> Any:
    """The effect of a lower precision on influence, from the embeddings' node; or None."""
    node: Any = run.store.root[f"embeddings/{node_name(model.name)}/{run.band_nodes[model.name]}"]
    stored = node.attrs.get("precision_error")
    return None if stored is None else json.loads(stored)


def _pair_columns(pairs: pd.DataFrame, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """All arrays along ``pair`` as stored: labels, rows of the faces, metadata.

    Pairs are labelled by the table's index if it consists of unique integers.
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
    sides: tuple[Side, ...],
    columns: Mapping[str, npt.NDArray[Any]],
) -> dict[str, Any]:
    """Everything a result depends on. Thresholds depend on the faces, in any order."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(f"[{to_json(name)}, {to_json(str(values.dtype))}, [".encode())
        for start in range(0, len(values), _PAIRS_PER_CHUNK):
            part = to_json(values[start : start + _PAIRS_PER_CHUNK].tolist())[1:-1]
            digest.update(f"{', ' if start else ''}{part}".encode())
        digest.update(b"]]")
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
    """Digest of the landmarks by which the faces were aligned, to a hundredth of a pixel."""
    landmarks = run.store.read(run.store.faces, "landmarks")[np.sort(run.rows)]
    hundredths = np.rint(100 * np.nan_to_num(landmarks)).astype(np.int64)
    return hashlib.sha256(hundredths.tobytes()).hexdigest()


def _write_axes(
    store: RunStore,
    group: zarr.Group,
    models: Sequence[Model],
    bands: Bands,
    sides: tuple[Side, ...],
    columns: Mapping[str, npt.NDArray[Any]],
    fmrs: tuple[float, ...],
) -> None:
    """Write all coordinates of a result."""
    frequency = {"long_name": "spatial frequency", "units": bands.unit}
    axes: list[tuple[str, npt.NDArray[Any], list[str], dict[str, str]]] = [
        ("model", np.array([m.name for m in models], object), ["model"], {"long_name": "model"}),
        ("side", np.array(sides, object), ["side"], {"long_name": "masked side"}),
        ("fmr", np.array(fmrs), ["fmr"], {"long_name": "false match rate", "units": "1"}),
        ("band", np.array(bands.names, object), ["band"], bands.axis_attrs),
        ("frequency", bands.frequency, ["band"], frequency),
        ("band_bounds", bands.bounds, ["band", "bound"], frequency),
    ]
    further = bands.coordinates
    axes += [(name, one.values, ["band"], one.attrs) for name, one in further.items()]
    axes += [(name, values, ["pair"], {"long_name": name}) for name, values in columns.items()]
    for name, values, dims, attrs in axes:
        store.write_array(group, name, values, dims, attrs)
    scalars = [name for name in columns if name != "pair"]
    group.attrs["coordinates"] = " ".join([*scalars, "frequency", "band_bounds", *further])


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
    sides: tuple[Side, ...],
) -> None:
    """Compute dot products and write them, a bounded number of pairs at a time."""
    node: Any = run.store.root[f"embeddings/{node_name(model.name)}"]
    banded = node[run.band_nodes[model.name]]
    step = max(1, _PAIRS_PER_STEP // _PAIRS_PER_CHUNK) * _PAIRS_PER_CHUNK
    written: list[Future[None]] = []
    n_compared = 0  # pairs, once for each side

    def count(n: int) -> None:
        nonlocal n_compared
        n_compared += n
        bar.update(n_compared // len(sides) - bar.n)

    with (
        run.bar(f"{model.name}: comparing pairs", rows.shape[1], "pair") as bar,
        threadpool_limits(1, user_api="blas"),
    ):
        for start in range(0, rows.shape[1], step):
            work = _Step(rows[:, start : start + step], node["intact/embedding"], banded, sides)
            work.compute(run.workers, count)
            for earlier in written:
                earlier.result()
            written = [run.workers.prepare(work.write, group, m, start)]
        for earlier in written:
            earlier.result()


class _Masked(NamedTuple):
    """Embeddings of a tile of faces with each band removed."""

    vectors: npt.NDArray[np.float32]  # (face, band, feature), of unit length
    removed_rms: npt.NDArray[np.float32]  # (face, band)


class _Step:
    """Pairs whose results are held in memory together.

    A side that masks one image goes through the faces tile by tile, each with all its pairs. It
    needs only the unmasked embeddings of their partners, so every embedding is read once.
    """

    def __init__(
        self, rows: npt.NDArray[np.int32], intact: Any, banded: Any, sides: tuple[Side, ...]
    ) -> None:
        self._rows, self._sides = rows, sides
        self._embedding, self._removed_rms = banded["embedding"], banded["removed_rms"]
        members, positions = np.unique(rows, return_inverse=True)
        self._positions = positions.reshape(rows.shape)
        self._intact = unit_length(_read(intact, members))
        n_pairs, n_bands = rows.shape[1], self._embedding.shape[1]
        self._similarity = np.empty(n_pairs, np.float32)
        self._influence = np.empty((n_pairs, len(sides), n_bands), np.float32)
        self._contrast = np.empty_like(self._influence)

    def compute(self, workers: Workers, advance: Callable[[int], object]) -> None:
        """Compute all results; `advance` is called with the number of pairs done, per side."""
        everything = np.arange(len(self._similarity))
        _wait([workers.share(self._compare, piece) for piece in _pieces(everything)])
        load = self._masked_faces
        for s, side in enumerate(self._sides):
            if side == "both":
                self._both(s, functools.lru_cache(_TILES_HELD)(load), workers, advance)
                continue
            masked = SIDES.index(side)
            order = np.argsort(self._rows[masked], kind="stable")
            tiles = list(_by_tile(order, self._rows[masked]))
            following = workers.prepare(load, tiles[0][0])
            for i, (_, pairs) in enumerate(tiles):
                faces = following.result()
                if i + 1 < len(tiles):
                    following = workers.prepare(load, tiles[i + 1][0])
                results = [
                    workers.share(self._one, s, masked, piece, faces) for piece in _pieces(pairs)
                ]
                advance(_wait(results))

    def _both(
        self,
        s: int,
        load: Callable[[int], _Masked],
        workers: Workers,
        advance: Callable[[int], object],
    ) -> None:
        """Mask both images: groups of probes stay in memory, references are read in turn."""
        tile = self._rows // _TILE
        order = np.lexsort((self._rows[1], tile[0], tile[1], tile[0] // (_TILES_HELD - 2)))
        cuts = np.flatnonzero((np.diff(tile[:, order], axis=1) != 0).any(axis=0)) + 1
        for pairs in np.split(order, cuts):
            probes, references = (load(int(side)) for side in tile[:, pairs[0]])
            results = [
                workers.share(self._two, s, piece, probes, references) for piece in _pieces(pairs)
            ]
            advance(_wait(results))

    def _masked_faces(self, tile: int) -> _Masked:
        """Read the faces of a tile with each band removed."""
        faces = slice(tile * _TILE, (tile + 1) * _TILE)
        vectors = unit_length(read(self._embedding, faces))
        return _Masked(vectors, read(self._removed_rms, faces))

    def _compare(self, at: npt.NDArray[np.int64]) -> int:
        probe, reference = (self._intact[side[at]] for side in self._positions)
        self._similarity[at] = np.clip(np.einsum("pd,pd->p", probe, reference), -1, 1)
        return len(at)

    def _one(
        self,
        s: int,
        masked: int,
        at: npt.NDArray[np.int64],
        faces: _Masked,
    ) -> int:
        places = self._rows[masked, at] % _TILE
        partners = self._positions[1 - masked, at]
        without = cosines_without(faces.vectors, places, self._intact, partners)
        self._influence[at, s] = self._similarity[at, None] - without
        self._contrast[at, s] = faces.removed_rms[places]
        return len(at)

    def _two(
        self,
        s: int,
        at: npt.NDArray[np.int64],
        probes: _Masked,
        references: _Masked,
    ) -> int:
        probe, reference = self._rows[:, at] % _TILE
        without = cosines_without_both(probes.vectors, probe, references.vectors, reference)
        self._influence[at, s] = self._similarity[at, None] - without
        removed = probes.removed_rms[probe], references.removed_rms[reference]
        self._contrast[at, s] = np.hypot(*removed)
        return len(at)

    def write(self, group: Any, m: int, start: int) -> None:
        """Write all pairs of the step, whole chunks at a time."""
        stop = start + len(self._similarity)
        for name, values in (
            ("similarity", self._similarity),
            ("influence", self._influence),
            ("removed_rms", self._contrast),
        ):
            opened(group, name)[m, start:stop] = values


def _read(intact: Any, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Unmasked embeddings of faces, in order of their rows."""
    embeddings = np.empty((len(rows), intact.shape[1]), np.float32)
    for start in range(0, len(rows), _TILE):
        part = rows[start : start + _TILE]
        first, last = int(part[0]), int(part[-1])
        with reading(intact.path):
            if _DENSE * len(part) > last - first:
                embeddings[start : start + _TILE] = intact[first : last + 1][part - first]
            else:
                embeddings[start : start + _TILE] = intact.oindex[part]
    return embeddings


def _by_tile(
    order: npt.NDArray[np.int64], rows: npt.NDArray[np.int32]
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Group pairs by the tile of their masked face; `order` sorts them by that face."""
    tiles = rows[order] // _TILE
    cuts = np.flatnonzero(np.diff(tiles)) + 1
    for pairs in np.split(order, cuts):
        yield int(rows[pairs[0]]) // _TILE, pairs


def _pieces(pairs: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Divide pairs into pieces for the workers."""
    return [pairs[i : i + _PAIRS_PER_PIECE] for i in range(0, len(pairs), _PAIRS_PER_PIECE)]


def _wait(results: list[Future[int]]) -> int:
    """Wait for all results, and return their sum."""
    return sum(result.result() for result in results)


def _thresholds(
    run: Run, model: Model, about: Mapping[str, Any], fmrs: tuple[float, ...]
) -> tuple[list[float], int]:
    """Thresholds over all impostor comparisons of the faces of this call, and their number.

    Degraded faces are left out: thresholds are those of the original photographs. Of more than
    100,000 faces, a fixed sample of 100,000 is drawn; their comparisons resolve every rate. The
    thresholds are kept beside the embeddings under `about`, which describes the faces, so that
    other pairs of the same faces use them again.
    """
    node: Any = run.store.root[f"embeddings/{node_name(model.name)}/intact"]
    failed = np.packbits(run.failed()).tobytes()
    rates = b"" if fmrs == FMRS else to_json(list(fmrs)).encode()
    key = hashlib.sha256(to_json(about).encode() + failed + rates).hexdigest()[:16]
    kept: dict[str, Any] = from_json(node.attrs.get("thresholds", {}))
    if key in kept and list(kept[key]["fmr"]) == list(fmrs):
        values = [float("nan") if t is None else float(t) for t in kept[key]["threshold"]]
        return values, int(kept[key]["comparisons"])
    intact = node["embedding"]
    whole = np.flatnonzero(~run.faces.degraded)
    if len(whole) > _MOST_COMPARED:
        whole = np.sort(np.random.default_rng(0).choice(whole, _MOST_COMPARED, replace=False))
    with reading(intact.path):
        embeddings = np.asarray(intact.oindex[run.rows[whole]])
    thresholds, n_impostors = impostor_thresholds(
        embeddings, run.faces.subjects[whole], run.faces.sources[whole], fmrs
    )
    known = [t if np.isfinite(t) else None for t in thresholds]
    kept[key] = {"fmr": list(fmrs), "threshold": known, "comparisons": n_impostors}
    node.attrs["thresholds"] = json.dumps(dict(list(kept.items())[-_MOST_KEPT:]))
    return thresholds, n_impostors

"""Third stage: pair up the embeddings and write a result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from freqlab.bands import Bands
from freqlab.models.spec import Model
from freqlab.pairing import pair_influence
from freqlab.provenance import make_attrs, to_json
from freqlab.stages.context import Run
from freqlab.stages.embeddings import REMOVED_RMS_ATTRS
from freqlab.store import RunStore, node_name
from freqlab.verification import FMRS, impostor_thresholds

__all__ = ["write_influence"]

_PAIRS_PER_CHUNK = 8192
_PAIRS_PER_STEP = 2048  # so that the gathered embeddings stay small
_READ_WHOLE_BELOW = 2**30  # bytes of embeddings that are read at once

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
    """Gather embeddings, take dot products, write; chunk by chunk."""
    node: Any = run.store.root[f"embeddings/{node_name(model.name)}"]
    intact, banded = node["intact/embedding"], node[run.bands.key]
    embedding, removed = banded["embedding"], banded["removed_rms"]
    whole = embedding.nbytes <= _READ_WHOLE_BELOW
    if whole:
        intact, embedding, removed = intact[:], embedding[:], removed[:]

    def gather(array: Any, at: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        if whole:
            return np.asarray(array[at])
        unique, inverse = np.unique(at, return_inverse=True)
        return np.asarray(array.oindex[unique])[inverse]

    n_pairs, chunk = rows.shape[1], group["influence"].chunks[1]
    with run.bar(f"{model.name}: pairs", n_pairs, "pair") as bar:
        for start in range(0, n_pairs, chunk):
            stop = min(start + chunk, n_pairs)
            similarity = np.empty(stop - start, np.float32)
            found = np.empty((stop - start, len(sides), len(run.bands)), np.float32)
            contrast = np.empty_like(found)
            for lower in range(start, stop, _PAIRS_PER_STEP):
                upper = min(lower + _PAIRS_PER_STEP, stop)
                part = slice(lower - start, upper - start)
                probe, reference = rows[:, lower:upper]
                of_pair = (
                    gather(intact, probe),
                    gather(embedding, probe),
                    gather(intact, reference),
                    gather(embedding, reference),
                )
                rms = {"probe": gather(removed, probe), "reference": gather(removed, reference)}
                rms["both"] = np.hypot(rms["probe"], rms["reference"])
                for s, side in enumerate(sides):
                    similarity[part], found[part, s] = pair_influence(*of_pair, side)
                    contrast[part, s] = rms[side]
                bar.update(upper - lower)
            group["similarity"][m, start:stop] = similarity
            group["influence"][m, start:stop] = found
            group["removed_rms"][m, start:stop] = contrast


def _thresholds(run: Run, model: Model) -> tuple[list[float], int]:
    """Thresholds over all impostor comparisons of the faces of this call, and their number."""
    intact: Any = run.store.root[f"embeddings/{node_name(model.name)}/intact/embedding"]
    embeddings = np.asarray(intact.oindex[run.rows])
    return impostor_thresholds(embeddings, run.faces.subjects, run.faces.sources)

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
from freqlab.pairing import SIDES, pair_influence
from freqlab.provenance import make_attrs, to_json
from freqlab.stages.context import Run
from freqlab.stages.embeddings import REMOVED_RMS_ATTRS
from freqlab.store import RunStore, node_name
from freqlab.verification import all_comparisons, threshold_at_fmr

__all__ = ["FMRS", "write_influence"]

FMRS = (1e-1, 1e-2, 1e-3, 1e-4)
"""False match rates at which every result carries its models' thresholds."""

_PAIRS_PER_BLOCK = 2048
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
    rows = run.rows[positions].astype(np.int32)
    labels = _pair_labels(pairs)
    coordinates = _pair_coordinates(pairs)
    digest = hashlib.sha256(rows.tobytes() + labels.tobytes())
    for column, values in coordinates.items():
        digest.update(to_json([column, str(values.dtype), values.tolist()]).encode())
    identity = {
        "models": {model.name: model.fingerprint() for model in models},
        "bands": run.bands.declaration(),
        "sides": list(sides),
        "pairs": {"n": len(pairs), "sha256": digest.hexdigest()},
        "faces": _faces_identity(run),
    }
    if name is None:
        name = hashlib.sha256(to_json(identity).encode()).hexdigest()[:8]
    group = store.require_group(f"influence/{name}", identity)
    if group.attrs.get("complete"):
        return name
    group.attrs.update(
        make_attrs(
            device=models[0].device,
            batch_size=run.batch_size,
            face_set=run.faces.name,
            credit=run.faces.credit,
        )
    )
    _write_coordinates(store, group, models, run.bands, sides)
    store.write_array(group, "pair", labels, ["pair"], {"long_name": "pair"})
    for i, side in enumerate(SIDES[:2]):
        store.write_array(group, side, rows[:, i], ["pair"], {"long_name": f"row of {side} face"})
    for column, values in coordinates.items():
        store.write_array(group, column, values, ["pair"], {"long_name": column})
    names = ["probe", "reference", *coordinates, "frequency", "band_bounds"]
    group.attrs["coordinates"] = " ".join(names)

    shape = (len(models), len(pairs), len(sides), len(run.bands))
    dims = ("model", "pair", "side", "band")
    chunk = min(8192, len(pairs))
    arrays = {
        "similarity": store.create_array(
            group, "similarity", shape[:2], (1, chunk), dims[:2], _ATTRS["similarity"]
        ),
        **{
            variable: store.create_array(
                group, variable, shape, (1, chunk, *shape[2:]), dims, _ATTRS[variable]
            )
            for variable in ("influence", "removed_rms")
        },
    }
    thresholds = np.full((len(models), len(FMRS)), np.nan)
    n_impostors = np.zeros(len(models), np.int64)
    for m, model in enumerate(models):
        intact = store.root[f"embeddings/{node_name(model.name)}/intact/embedding"]
        banded = store.root[f"embeddings/{node_name(model.name)}/{run.bands.key}"]
        _pair_up(run, m, model.name, rows, sides, intact, banded, arrays, chunk)
        thresholds[m], n_impostors[m] = _thresholds(run, intact)
    store.write_array(group, "fmr", np.array(FMRS), ["fmr"], {"long_name": "false match rate"})
    store.write_array(group, "threshold", thresholds, ["model", "fmr"], _ATTRS["threshold"])
    store.write_array(
        group, "impostor_comparisons", n_impostors, ["model"], _ATTRS["impostor_comparisons"]
    )
    group.attrs["complete"] = True
    return name


def _pair_up(
    run: Run,
    m: int,
    model: str,
    rows: npt.NDArray[np.int32],
    sides: tuple[str, ...],
    intact: Any,
    banded: Any,
    arrays: Mapping[str, zarr.Array[Any]],
    chunk: int,
) -> None:
    """Gather embeddings, take dot products, write; chunk by chunk."""
    embedding, removed = banded["embedding"], banded["removed_rms"]
    whole = embedding.nbytes <= _READ_WHOLE_BELOW
    if whole:
        intact, embedding, removed = intact[:], embedding[:], removed[:]

    def gather(array: Any, at: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        if whole:
            return np.asarray(array[at])
        unique, inverse = np.unique(at, return_inverse=True)
        return np.asarray(array.oindex[unique])[inverse]

    with run.bar(f"{model}: pairs", len(rows), "pair") as bar:
        for start in range(0, len(rows), chunk):
            stop = min(start + chunk, len(rows))
            similarity = np.empty(stop - start, np.float32)
            found = np.empty((stop - start, len(sides), len(run.bands)), np.float32)
            contrast = np.empty_like(found)
            for lower in range(start, stop, _PAIRS_PER_BLOCK):
                upper = min(lower + _PAIRS_PER_BLOCK, stop)
                probe, reference = rows[lower:upper].T
                part = slice(lower - start, upper - start)
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
            arrays["similarity"][m, start:stop] = similarity
            arrays["influence"][m, start:stop] = found
            arrays["removed_rms"][m, start:stop] = contrast


def _thresholds(run: Run, intact: Any) -> tuple[list[float], int]:
    """Thresholds over all impostor comparisons of the faces of this call, and their number."""
    embeddings = np.asarray(intact.oindex[run.rows])
    _, impostor = all_comparisons(embeddings, run.faces.subjects, run.faces.sources)
    return [threshold_at_fmr(impostor, fmr) for fmr in FMRS], len(impostor)


def _faces_identity(run: Run) -> dict[str, Any]:
    """What the thresholds depend on: the faces, in whatever order, and what they go back to."""
    members = sorted(zip(run.rows.tolist(), run.faces.sources.tolist(), strict=True))
    return {
        "n": len(members),
        "sha256": hashlib.sha256(to_json(members).encode()).hexdigest(),
        "failures_to_acquire": int(run.store.failed(run.rows).sum()),
    }


def _pair_labels(pairs: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The numbers of the pairs: the table's index, if that is whole numbers, each once."""
    if pd.api.types.is_integer_dtype(pairs.index) and pairs.index.is_unique:
        return pairs.index.to_numpy(np.int64)
    return np.arange(len(pairs))


def _pair_coordinates(pairs: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """``genuine`` and the metadata of pairs, as they are stored."""
    coordinates: dict[str, npt.NDArray[Any]] = {"genuine": pairs["genuine"].to_numpy(bool)}
    for name, values in pairs.items():
        if name in ("probe", "reference", "genuine", "pair"):
            continue
        if pd.api.types.is_numeric_dtype(values):
            coordinates[str(name)] = values.to_numpy()
        else:
            coordinates[str(name)] = values.astype(str).to_numpy(object)
    return coordinates


def _write_coordinates(
    store: RunStore,
    group: zarr.Group,
    models: Sequence[Model],
    bands: Bands,
    sides: tuple[str, ...],
) -> None:
    frequency = {"long_name": "spatial frequency", "units": bands.unit}
    names = np.array([model.name for model in models], object)
    store.write_array(group, "model", names, ["model"], {"long_name": "model"})
    store.write_array(group, "side", np.array(sides, object), ["side"], {"long_name": "side"})
    band = {"long_name": "band", "units": bands.unit}
    store.write_array(group, "band", np.array(bands.names, object), ["band"], band)
    store.write_array(group, "frequency", bands.frequency, ["band"], frequency)
    store.write_array(group, "band_bounds", bands.bounds, ["band", "bound"], frequency)

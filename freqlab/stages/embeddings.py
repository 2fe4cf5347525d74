"""Second stage: embed the faces, untouched and with each band removed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.embeddings import embed_block
from freqlab.errors import ModelError, StoreConflictError
from freqlab.models.spec import Model
from freqlab.pairing import cosine
from freqlab.stages.context import Run, label_map
from freqlab.stages.crops import read_crops
from freqlab.store import DONE, Column, node_name

__all__ = ["REMOVED_RMS_ATTRS", "embed_faces"]

REMOVED_RMS_ATTRS = {"long_name": "RMS contrast removed", "units": "grey levels"}

# Least cosine between the stored embedding of the reference crop and that of a model which
# claims to be the same: far above what precision and batch size change.
_SAME_MODEL = 0.999


def embed_faces(run: Run, model: Model, masked: npt.NDArray[np.int64] | None) -> None:
    """Embed all faces untouched, and those at positions `masked`, if any, once per band."""
    store = run.store
    labels = label_map(run.bands, model)
    n_features = _check_model(run, model, labels)
    held = np.isin(np.arange(len(run.bands)), labels)
    intact = np.zeros((1, len(run.bands)), bool)
    one_each = np.eye(len(run.bands), dtype=bool)[held]
    intact_node = _intact_node(run, model, n_features)
    work = [(intact_node, store.pending(intact_node, run.rows, model.spec.template), intact)]
    if masked is not None:
        bands_node = _bands_node(run, model, n_features)
        pending = store.pending(bands_node, run.rows[masked], model.spec.template)
        work.append((bands_node, pending, one_each))
    total = sum(len(pending) * len(removals) for _, pending, removals in work)
    batch_size = run.batch_of(model)
    run.forward_passes[model.name] = 0
    if not total:
        return
    with run.bar(f"{model.name}: forward passes", total, "img") as bar:

        def advance(n_images: int) -> None:
            run.forward_passes[model.name] += n_images
            bar.update(n_images)

        for node, pending, removals in work:
            node.attrs.update({"device": model.device, "batch_size": batch_size})
            for block in store.blocks(pending):
                rows, crops = read_crops(run, pending[block], model)
                if not len(rows):
                    continue
                embeddings, removed = embed_block(
                    model, crops, removals, labels, batch_size=batch_size, advance=advance
                )
                if embeddings.shape[-1] != n_features:
                    raise ModelError(
                        f"model {model.name!r} returned {embeddings.shape[-1]} features after "
                        f"{n_features} for other crops"
                    )
                values: dict[str, npt.NDArray[Any]] = {"embedding": embeddings[:, 0]}
                if node is not intact_node:
                    values = {
                        "embedding": _spread(embeddings, held),
                        "removed_rms": _spread(removed, held),
                    }
                store.write_rows(node, rows, values, np.full(len(rows), DONE, np.int8))


def _spread(values: npt.NDArray[np.float32], held: npt.NDArray[np.bool_]) -> Any:
    """Put the values of the bands a model has into the axis of all bands; NaN elsewhere."""
    spread = np.full((len(values), len(held), *values.shape[2:]), np.nan, np.float32)
    spread[:, held] = values
    return spread


def _check_model(run: Run, model: Model, labels: npt.NDArray[np.int64]) -> int:
    """Hold the model against the store; return the length of its embeddings.

    The store keeps the embedding of one reference crop, and each call embeds it again: a checksum
    of weights says nothing of the code around them.
    """
    store = run.store
    path = f"embeddings/{node_name(model.name)}"
    stored = None
    if f"{path}/reference_embedding" in store.root:
        group = store.require_group(path, model.fingerprint())
        stored = store.read(group, "reference_embedding")
    none = np.zeros((1, len(run.bands)), bool)
    crop = _reference_crop(model)
    found = embed_block(model, crop, none, labels, batch_size=1)[0][0, 0]
    if stored is None:  # a model that fails at its first crop leaves nothing behind
        crops = np.concatenate([crop, crop[:, ::-1], 255 - crop])
        among = embed_block(model, crops, none, labels, batch_size=max(3, run.batch_of(model)))
        if not cosine(among[0][0, 0], found) >= _SAME_MODEL:
            raise ModelError(
                f"model {model.name!r} embeds a crop otherwise alone than among others: it depends "
                f"on chance, or on the batch, as a network in training mode does; call eval() on it"
            )
        if path in store.root:
            del store.root[path]
        group = store.require_group(path, model.fingerprint())
        attrs = {"long_name": "embedding of the reference crop"}
        store.write_array(group, "reference_embedding", found, ["feature"], attrs)
    elif len(stored) != len(found) or not cosine(stored, found) >= _SAME_MODEL:
        raise StoreConflictError(
            f"store {store.url!r} holds embeddings of another model by the name of "
            f"{model.name!r}: the same crop is no longer embedded alike. Nothing was "
            f"overwritten; use another name or store"
        )
    return len(found)


def _reference_crop(model: Model) -> npt.NDArray[np.uint8]:
    """A crop with detail at many frequencies and in all channels, the same for ever."""
    height, width = model.template.size
    y, x = np.mgrid[0:height, 0:width]
    channels = [128 + 100 * np.sin(x / 5 + i) * np.cos(y / 9 - i) for i in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)[None]


def _bands_identity(run: Run, model: Model) -> dict[str, Any]:
    """What tells two sets of banded embeddings apart: a nominal eye distance moves the bands."""
    identity: dict[str, Any] = {"bands": run.bands.declaration()}
    if run.bands.unit == "cycles/eyes":
        identity["eye_distance"] = model.eye_distance
    return identity


_LONG_NAME = "embedding, as the network returns it"


def _intact_node(run: Run, model: Model, n_features: int) -> zarr.Group:
    attrs = {"long_name": _LONG_NAME}
    embedding = Column(("feature",), (n_features,), "float32", float("nan"), attrs)
    return run.store.require_node(
        f"embeddings/{node_name(model.name)}/intact",
        {"embedding": embedding},
        identity={"removal": "none"},
    )


def _bands_node(run: Run, model: Model, n_features: int) -> zarr.Group:
    n_bands, fill = len(run.bands), float("nan")
    attrs = {"long_name": f"{_LONG_NAME}, with one band removed"}
    columns = {
        "embedding": Column(("band", "feature"), (n_bands, n_features), "float32", fill, attrs),
        "removed_rms": Column(("band",), (n_bands,), "float32", fill, REMOVED_RMS_ATTRS),
    }
    return run.store.require_node(
        f"embeddings/{node_name(model.name)}/{run.bands.key}",
        columns,
        identity=_bands_identity(run, model),
    )

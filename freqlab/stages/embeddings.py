"""Second stage: embed the faces, untouched and with each band removed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.embeddings import embed_block
from freqlab.models.spec import Model
from freqlab.stages.context import Run, label_map
from freqlab.stages.crops import read_crops
from freqlab.store import DONE, Column, node_name

__all__ = ["REMOVED_RMS_ATTRS", "embed_faces"]

REMOVED_RMS_ATTRS = {"long_name": "RMS contrast removed", "units": "grey levels"}


def embed_faces(run: Run, model: Model, masked: npt.NDArray[np.int64]) -> None:
    """Embed all faces untouched, and those at positions `masked` once per band."""
    store = run.store
    store.require_group(f"embeddings/{node_name(model.name)}", model.fingerprint())
    labels = label_map(run.bands, model)
    held = np.isin(np.arange(len(run.bands)), labels)
    intact = np.zeros((1, len(run.bands)), bool)
    one_each = np.eye(len(run.bands), dtype=bool)[held]
    n_features = _feature_count(run, model, labels)
    intact_node, bands_node = _embedding_nodes(run, model, n_features)
    pending_intact = store.pending(intact_node, run.rows)
    pending_bands = store.pending(bands_node, run.rows[masked])
    total = len(pending_intact) + len(pending_bands) * len(one_each)
    run.forward_passes[model.name] = total
    if not total:
        return
    with run.bar(f"{model.name}: forward passes", total, "img") as bar:
        for node, pending, removals in (
            (intact_node, pending_intact, intact),
            (bands_node, pending_bands, one_each),
        ):
            node.attrs.update({"device": model.device, "batch_size": run.batch_size})
            for block in store.blocks(pending):
                rows = pending[block]
                embeddings, removed = embed_block(
                    model,
                    read_crops(run, rows, model),
                    removals,
                    labels,
                    batch_size=run.batch_size,
                    advance=bar.update,
                )
                values: dict[str, npt.NDArray[Any]] = {"embedding": embeddings[:, 0]}
                if node is bands_node:
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


def _feature_count(run: Run, model: Model, labels: npt.NDArray[np.int64]) -> int:
    """Length of the model's embedding: from the store, or by embedding one grey crop."""
    path = f"embeddings/{node_name(model.name)}/intact"
    if path in run.store.root:
        return int(run.store.root[f"{path}/embedding"].shape[1])  # type: ignore[union-attr]
    grey = np.full((1, *model.template.size, 3), 127, np.uint8)
    none = np.zeros((1, len(run.bands)), bool)
    return int(embed_block(model, grey, none, labels, batch_size=1)[0].shape[2])


def _embedding_nodes(run: Run, model: Model, n_features: int) -> tuple[zarr.Group, zarr.Group]:
    n_bands = len(run.bands)
    fill = float("nan")
    long_name = "embedding, as the network returns it"
    intact = run.store.require_node(
        f"embeddings/{node_name(model.name)}/intact",
        {
            "embedding": Column(
                ("feature",), (n_features,), "float32", fill, {"long_name": long_name}
            )
        },
        identity={"removal": "none"},
    )
    bands = run.store.require_node(
        f"embeddings/{node_name(model.name)}/{run.bands.key}",
        {
            "embedding": Column(
                ("band", "feature"),
                (n_bands, n_features),
                "float32",
                fill,
                {"long_name": f"{long_name}, with one band removed"},
            ),
            "removed_rms": Column(("band",), (n_bands,), "float32", fill, REMOVED_RMS_ATTRS),
        },
        identity={"bands": run.bands.declaration()},
    )
    return intact, bands

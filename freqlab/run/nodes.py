"""Nodes of a store that hold embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.models.spec import Model
from freqlab.run.context import Run
from freqlab.store.layout import REMOVED_RMS_ATTRS, Column, node_name

__all__ = ["bands_node", "intact_node"]

_LONG_NAME = "embedding, as the network returns it"
_BATCH_SIZE = Column(
    dtype="int32", fill=0, attrs={"long_name": "images per forward pass; 0: not known"}
)


def intact_node(run: Run, model: Model, n_features: int) -> zarr.Group:
    """Node of the embeddings of unmasked faces; created if it does not exist."""
    attrs = {"long_name": _LONG_NAME}
    embedding = Column(("feature",), (n_features,), "float32", float("nan"), attrs, packed=False)
    return run.store.require_node(
        f"embeddings/{node_name(model.name)}/intact",
        {"embedding": embedding, "batch_size": _BATCH_SIZE},
        identity={"removal": "none"},
    )


def bands_node(
    run: Run, model: Model, n_features: int, chosen: npt.NDArray[np.bool_] | None
) -> zarr.Group:
    """Node of the embeddings with each band removed, or each of `chosen` ``(band,)``."""
    key = run.bands.key
    if chosen is not None:
        key += f"-of-{np.packbits(chosen).tobytes().hex()}"
    run.band_nodes[model.name] = key
    n_bands, fill = len(run.bands), float("nan")
    attrs = {"long_name": f"{_LONG_NAME}, with one band removed"}
    columns = {
        "embedding": Column(
            ("band", "feature"), (n_bands, n_features), "float32", fill, attrs, packed=False
        ),
        "removed_rms": Column(("band",), (n_bands,), "float32", fill, REMOVED_RMS_ATTRS),
        "batch_size": _BATCH_SIZE,
    }
    return run.store.require_node(
        f"embeddings/{node_name(model.name)}/{key}",
        columns,
        identity=_bands_identity(run, model, chosen),
    )


def _bands_identity(run: Run, model: Model, chosen: npt.NDArray[np.bool_] | None) -> dict[str, Any]:
    """What distinguishes two sets of banded embeddings: a nominal eye distance moves the bands."""
    identity: dict[str, Any] = {"bands": run.bands.declaration()}
    if chosen is not None:
        identity["chosen"] = np.flatnonzero(chosen).tolist()
    if run.bands.unit == "cycles/eyes":
        identity["eye_distance"] = model.eye_distance
    return identity

"""Check that a model is the one in a store, and that it embeds each crop independently."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import zarr

from freqlab.bands.decompositions import Decomposition
from freqlab.engine.removals import embed_block
from freqlab.errors import ModelError, StoreConflictError, StoreError
from freqlab.models.heads import head_of
from freqlab.models.registry import name_advice
from freqlab.models.spec import Model
from freqlab.run.context import Run, decomposition
from freqlab.statistics.vectors import cosine
from freqlab.store import journal
from freqlab.store.layout import DONE, node_name

__all__ = ["check_model"]

# Lower bound on the cosine between the stored embedding of the reference crop and that of a model
# of the same name: precision and batch size change it far less.
_SAME_MODEL = 0.999


def check_model(run: Run, model: Model, parts: Decomposition) -> int:
    """Compare the model with the store; return the length of its embeddings.

    The store keeps the embedding of one reference crop, and each call embeds it again, because a
    checksum of weights does not cover the code around them.
    """
    store = run.store
    path = f"embeddings/{node_name(model.name)}"
    stored = None
    _check_fingerprint(run, model, path)
    group = store.group(path, model.fingerprint())
    if group is not None and "reference_embedding" in group:
        stored = store.read(group, "reference_embedding")
        if np.isnan(stored).all():  # an earlier version was killed before writing it
            stored = None
    none = np.zeros((1, len(run.bands)), bool)
    crop = _reference_crop(model)
    embedding = embed_block(model, crop, none, parts, batch_size=1)[0][0, 0]
    if stored is None:  # a model that fails on its first crop leaves nothing behind
        _check_alone_and_among(run, model, parts, crop, embedding)
        _check_against_stored(run, model, path)
        attrs = {"long_name": "embedding of the reference crop"}
        group = store.group(path, model.fingerprint())
        if group is None:
            with journal.making(store.root, path):
                group = store.make_group(path, model.fingerprint())
                store.write_array(group, "reference_embedding", embedding, ["feature"], attrs)
        else:  # it was lost, and the model is the same by its other embeddings
            array = f"{path}/reference_embedding"
            journal.remove(store.root, array)
            with journal.making(store.root, array):
                store.write_array(group, "reference_embedding", embedding, ["feature"], attrs)
    elif len(stored) != len(embedding) or not cosine(stored, embedding) >= _SAME_MODEL:
        raise StoreConflictError(
            f"store {store.url!r} holds embeddings of another model named {model.name!r}: the same "
            f"crop no longer gives the same embedding. Nothing was overwritten. "
            f"{name_advice(model.name)}, or use another store"
        )
    head = head_of(model.network, len(embedding))
    if head is not None:
        note = (
            f"its {len(embedding)} outputs come from {head!r}, by its name the head of a classifier"
        )
        model.notes.extend([] if note in model.notes else [note])
    for note in model.notes:
        run.say(f"note: {model.name}: {note}")
    return len(embedding)


def _check_fingerprint(run: Run, model: Model, path: str) -> None:
    """Refuse a model whose fingerprint differs from that of the stored model of its name.

    Raises
    ------
    StoreConflictError
        With the differences, and how to give the model another name.
    """
    node = run.store.root.get(path)
    if not isinstance(node, zarr.Group) or "identity" not in node.attrs:
        return
    stored = json.loads(str(node.attrs["identity"]))
    given = json.loads(json.dumps(model.fingerprint()))
    differing = [key for key in sorted({*stored, *given}) if stored.get(key) != given.get(key)]
    if differing:
        texts = [
            "the weights differ"
            if key == "checkpoint"
            else f"{key}: stored {stored.get(key)!r}, given {given.get(key)!r}"
            for key in differing
        ]
        raise StoreConflictError(
            f"store {run.store.url!r} holds another model named {model.name!r} "
            f"({'; '.join(texts)}). Nothing was overwritten. {name_advice(model.name)}, or use "
            f"another store"
        )


def _check_alone_and_among(
    run: Run,
    model: Model,
    parts: Decomposition,
    crop: npt.NDArray[np.uint8],
    alone: npt.NDArray[np.float32],
) -> None:
    """Check that the other crops of a batch do not change the embedding of a crop.

    Modules are put into evaluation mode, but functions may hide one that is not. The crop is first
    and last among crops of other brightness and contrast, because a batch of similar crops would
    have similar statistics. Several batch sizes are tried, and that of the run.

    Raises
    ------
    ModelError
        If the embedding changes.
    """
    none = np.zeros((1, len(run.bands)), bool)
    is_module = isinstance(model.network, torch.nn.Module)
    sizes = {max(3, run.batch_of(model))} | (set() if is_module else {2, 3, 7})
    rng = np.random.default_rng(0)
    for size in sorted(sizes):
        contrast = np.resize([1.0, 0.1, 0.5, 0.05], size - 1)[:, None, None, None]
        level = np.resize([40, 215, 128, 90, 170], size - 1)[:, None, None, None]
        noise = rng.uniform(-128, 128, (size - 1, *crop.shape[1:]))
        companions = np.clip(level + contrast * noise, 0, 255).astype(np.uint8)
        for place in (0, size - 1):
            among = np.concatenate([companions[:place], crop, companions[place:]])
            embedded = embed_block(model, among, none, parts, batch_size=size)[0][place, 0]
            if len(embedded) != len(alone):
                raise ModelError(
                    f"model {model.name!r} returned {len(embedded)} features for one batch and "
                    f"{len(alone)} for another"
                )
            if not cosine(embedded, alone) >= _SAME_MODEL:
                raise ModelError(
                    f"model {model.name!r} gives different embeddings of a crop alone and in a "
                    f"batch with {size - 1} others: its output is random or depends on the batch, "
                    f"as in training mode; call eval() on the network"
                )


def _check_against_stored(run: Run, model: Model, path: str) -> None:
    """Compare a model whose reference embedding is lost with a face that it has embedded.

    Raises
    ------
    StoreConflictError
        If it is another model.
    StoreError
        If the store has nothing to compare it with.
    """
    store = run.store
    if f"{path}/intact/status" not in store.root:
        journal.remove(store.root, path)  # begun by an earlier version that was killed
        return
    intact: zarr.Group = store.root[f"{path}/intact"]  # type: ignore[assignment]
    status = store.read(intact, "status")
    crops: Any = store.root.get(f"crops/{model.spec.template}")
    known = isinstance(crops, zarr.Group) and "crop" in crops
    done = np.flatnonzero(status == DONE)
    if known and len(done):
        done = done[store.read(crops, "status")[done] == DONE]
    done = done[:4]
    if not (status == DONE).any():
        return
    if not known or not len(done):
        raise StoreError(
            f"{path}/reference_embedding in store {store.url!r} is lost, and without crops it "
            f"cannot be checked whether model {model.name!r} is the one of the store: use "
            f"another name or store"
        )
    none = np.zeros((1, len(run.bands)), bool)
    parts = decomposition(run.bands, model)
    pixels = np.concatenate(
        [store.read_rows(crops, "crop", done[i : i + 1]) for i in range(len(done))]
    )
    computed = embed_block(model, pixels, none, parts, batch_size=1)[0][:, 0]
    stored = np.concatenate(
        [store.read_rows(intact, "embedding", done[i : i + 1]) for i in range(len(done))]
    )
    if computed.shape != stored.shape or not (cosine(stored, computed) >= _SAME_MODEL).any():
        raise StoreConflictError(
            f"store {store.url!r} holds embeddings of another model named {model.name!r}. Nothing "
            f"was overwritten. {name_advice(model.name)}, or use another store"
        )


def _reference_crop(model: Model) -> npt.NDArray[np.uint8]:
    """A fixed crop with detail at many frequencies and in all channels."""
    height, width = model.template.size
    y, x = np.mgrid[0:height, 0:width]
    channels = [128 + 100 * np.sin(x / 5 + i) * np.cos(y / 9 - i) for i in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)[None]

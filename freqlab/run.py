"""The one call that ties faces, models, embeddings, store and pairing together."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.bands import Bands, check_support, parse_bands, rings
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces import Faces
from freqlab.models.callables import Embedder
from freqlab.models.devices import resolve_device
from freqlab.models.loading import as_model
from freqlab.models.registry import built_in_names
from freqlab.models.spec import Model
from freqlab.pairing import SIDES
from freqlab.pairs import check_pairs
from freqlab.results import open_influence
from freqlab.stages.context import Run, label_map
from freqlab.stages.crops import align_faces
from freqlab.stages.embeddings import embed_faces
from freqlab.stages.pair_up import write_influence
from freqlab.store import RunStore, locked
from freqlab.templates import overhang, pixels_per_pixel, template

__all__ = ["influence"]


def influence(
    faces: Faces,
    pairs: pd.DataFrame,
    *,
    models: Sequence[str | os.PathLike[str] | Model | Embedder],
    bands: Bands | str | None = None,
    sides: Sequence[str] = SIDES,
    store: str | os.PathLike[str] | None = None,
    name: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    keep_crops: bool | None = None,
    upscale: bool = False,
    progress: bool = True,
) -> xr.Dataset:
    """Influence of frequency bands on the similarity of pairs of faces.

    Every face is aligned once, embedded once untouched by each model, and, if a pair needs it,
    once per band with the band removed. All of it is kept in `store`; a second call, another
    pairing, another model computes only what is missing, and a call that was stopped goes on.

    Parameters
    ----------
    faces
        The faces. All are embedded untouched, for the thresholds.
    pairs
        Columns ``probe``, ``reference`` (face names), ``genuine``, and any metadata.
    models
        Names and paths (see :func:`freqlab.load_model`), :class:`freqlab.Model`, or callables
        (see :func:`freqlab.wrap_model`). Their crops may differ in size and template.
    bands
        The bands, declared or as the command line writes them (``"rings:4"``);
        ``rings(width=4)`` by default.
    sides
        Which image of the pair is masked: ``"probe"``, ``"reference"``, ``"both"``.
    store
        Zarr group of the run; in memory if not given.
    name
        Of the result in the store; a short hash of what it is made of by default.
    device
        Where models run: ``"auto"``, ``"cpu"``, ``"cuda"``.
    batch_size
        Images per forward pass; by default 8 for a model on a CPU, where small batches stay in
        its caches, and 128 elsewhere.
    keep_crops
        Whether the crops are stored; by default as the store does already, and in a new one
        they are. Without them figures show no faces.
    upscale
        Whether faces that are aligned already may be enlarged for a model with a larger
        template. Enlarging adds no detail: the finest bands then hold next to nothing.
    progress
        Whether bars and a summary are written to standard error.

    Returns
    -------
    xarray.Dataset
        ``influence(model, pair, side, band)``, the similarity less the similarity without the
        band, positive where the band spoke for a match; ``similarity(model, pair)``;
        ``removed_rms(model, pair, side, band)``, the RMS contrast in grey levels that the
        removal took; ``threshold(model, fmr)`` with ``impostor_comparisons(model)``. A pair with
        a face that could not be read or found is NaN, and so is a band that holds no
        coefficient at a model's input size. ``attrs["forward_passes"]`` counts what this call
        computed; the one crop by which a store recognises each model is not among them.

    Raises
    ------
    ParameterError, PairError, BandError
        If an argument does not fit; nothing has been computed then.
    StoreConflictError
        If the store holds something else under one of the names.
    StoreError
        If another run is writing to the store, or it is no store.
    """
    bands = rings() if bands is None else bands
    bands = parse_bands(bands) if isinstance(bands, str) else bands
    if not isinstance(bands, Bands):
        raise ParameterError(f"bands={bands!r} must be Bands, as fl.rings gives, or text")
    positions = check_pairs(faces, pairs)
    _check_arguments(models, sides, batch_size, name)
    loaded = [as_model(model, device=device) for model in models]
    device = resolve_device(device)
    _check_models(loaded, faces, upscale)
    check_support(bands, [label_map(bands, model) for model in loaded])

    url = f"memory://freqlab-{uuid.uuid4().hex}" if store is None else os.fspath(store)
    masked = np.unique(np.concatenate([positions[:, i] for i in _masked_columns(sides)]))
    with locked(url):
        run_store = RunStore(url)
        run = Run(
            store=run_store,
            faces=faces,
            rows=run_store.add_faces(faces),
            bands=bands,
            batch_size=batch_size,
            templates=tuple(dict.fromkeys(model.spec.template for model in loaded)),
            keep_crops=keep_crops,
            progress=progress,
        )
        for template_name in run.templates:
            align_faces(run, template(template_name), device)
        for model in loaded:
            embed_faces(run, model, masked)
        failed = run.failed()
        name = write_influence(run, loaded, pairs, positions, tuple(sides), name)

    result = open_influence(url, name)
    result.attrs["forward_passes"] = sum(run.forward_passes.values())
    result.attrs["failures_to_acquire"] = int(failed.sum())
    _report(run, loaded, result, int(failed.sum()), int(failed[positions].any(axis=1).sum()))
    return result


def _check_arguments(
    models: Sequence[str | os.PathLike[str] | Model | Embedder],
    sides: Sequence[str],
    batch_size: int | None,
    name: str | None,
) -> None:
    for argument, values, example in (
        ("models", models, ["mobilefacenet"]),
        ("sides", sides, ["probe"]),
    ):
        if not isinstance(values, (list, tuple)) or len(values) == 0:
            raise ParameterError(
                f"{argument}={values!r} must be a list of at least one, as in {argument}={example}"
            )
    for side in sides:
        check_name("side", side, SIDES)
    if len(set(sides)) < len(sides):
        raise ParameterError(f"sides={list(sides)!r} repeats a side")
    if batch_size is not None:
        check_number("batch_size", batch_size, at_least=1, whole=True)
    if name is not None and not re.fullmatch(r"[^\W_][\w.-]*", name):
        raise ParameterError(
            f"name={name!r} must be letters, digits, '_', '-' and '.', a letter or digit first"
        )


def _check_models(models: Sequence[Model], faces: Faces, upscale: bool) -> None:
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ParameterError(
            f"models={names!r} repeats a name; give one of them another with name=, a module or "
            f"function with wrap_model(..., name=...)"
        )
    for model in models:
        if model.own and model.name in built_in_names():
            raise ParameterError(
                f"name={model.name!r} belongs to a known model; give your own another name"
            )
        if faces.aligned not in (None, model.spec.template) and not upscale:
            factor = pixels_per_pixel(template(faces.aligned), model.template)
            if factor > 1.001:
                raise ParameterError(
                    f"the faces are aligned to {faces.aligned!r}, and model {model.name!r} takes "
                    f"crops of {model.spec.template!r}, which would enlarge them {factor:.2f} "
                    f"times; say upscale=True if that is meant, or give the photographs"
                )


def _masked_columns(sides: Sequence[str]) -> list[int]:
    """Columns (probe, reference) of a pair whose image is masked on some side."""
    return [i for i, side in enumerate(SIDES[:2]) if side in sides or "both" in sides]


def _report(
    run: Run, models: Sequence[Model], result: xr.Dataset, n_failed: int, n_lost: int
) -> None:
    for model in models:
        count = run.forward_passes[model.name]
        done = f"{count:,} forward passes" if count else "no forward pass, all were in the store"
        run.say(f"{model.name} ({model.preprocessing}): {done}")
    details = {model.cycles_between_eyes for model in models}
    if run.bands.unit == "cycles/image" and len(details) > 1:
        run.say(
            "note: the models' templates differ, so a band in cycles/image is not the same detail "
            "in each; bands in cycles/eyes are"
        )
    for name in run.templates if run.faces.aligned else ():
        beyond = overhang(template(run.faces.aligned or name), template(name))
        if beyond:
            run.say(
                f"note: crops of template {name!r} reach up to {beyond} pixels beyond the aligned "
                f"images; there their edge is repeated"
            )
    text = f"{len(run.faces):,} faces, {result.sizes['pair']:,} pairs"
    if n_failed:
        text += f"; failures to acquire: {n_failed:,} faces, {n_lost:,} pairs are NaN"
    run.say(f"{text}; result {result.attrs['name']!r} in {run.store.url}")

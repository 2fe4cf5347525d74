"""The calls that combine faces, models, embeddings, store and pairing."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.bands.base import Bands, check_support
from freqlab.bands.radial import rings
from freqlab.engine.pairing import SIDES
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.pairs import check_pairs
from freqlab.faces.table import Faces
from freqlab.literals import Compile, Precision, Side, WhichFace
from freqlab.models.callables import Embedder
from freqlab.models.spec import Model
from freqlab.run.begin import (
    begun,
    check_list,
    declared_bands,
    load_models,
    say_what_was_done,
)
from freqlab.run.cluster import Cluster, connected
from freqlab.run.context import Run, decomposition
from freqlab.run.influence import write_influence
from freqlab.run.passes import embed_faces
from freqlab.run.refinement import broad_run, choose_bands
from freqlab.run.settings import Settings
from freqlab.statistics.error_rates import FMRS, check_fmrs
from freqlab.store.reading import open_influence, open_run
from freqlab.system.progress import one_output

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["embed", "influence"]

_GREY = 1e-3  # grey levels of chroma contrast that rounding may leave


@one_output()
def embed(
    faces: Faces,
    *,
    models: Sequence[str | os.PathLike[str] | Model | Embedder],
    store: str | os.PathLike[str] | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    keep_crops: bool | None = None,
    upscale: bool = False,
    which_face: WhichFace = "largest",
    precision: Precision = "float32",
    compile: Compile = "auto",
    repair: bool = False,
    cluster: Client | str | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Embed faces unchanged, without removing bands: the basis of all verification figures.

    Parameters
    ----------
    faces, models, store, device, batch_size, keep_crops, upscale, which_face, precision, \
compile, repair, cluster, progress
        As for :func:`influence`.

    Returns
    -------
    xarray.DataTree
        The run's ``/faces``, ``/crops`` and ``/embeddings/<model>/intact``; see
        :func:`freqlab.open_embeddings`. Its attributes name the ``store`` and the ``models``.

    Raises
    ------
    ParameterError
        If an argument does not fit; nothing has been computed then.
    StoreConflictError, StoreError
        As for :func:`influence`.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=4, per_subject=2)
    >>> run = fl.embed(faces, models=[fl.testing.model()], store="run.zarr", progress=False)
    >>> fl.open_embeddings("run.zarr", model="linear").shape
    (8, 16)
    """
    settings = Settings(
        device=device,
        batch_size=batch_size,
        keep_crops=keep_crops,
        upscale=upscale,
        which_face=which_face,
        precision=precision,
        compile=compile,
        progress=progress,
    )
    loaded = load_models(models, faces, settings)
    with (
        _connected(cluster, models, loaded, settings) as connection,
        begun(
            *(faces, loaded, store),
            bands=rings(),
            settings=settings,
            cluster=connection,
            repair=repair,
        ) as run,
    ):
        for model in loaded:
            embed_faces(run, model, None)
    say_what_was_done(run, loaded, with_bands=False)
    tree = open_run(run.store.url, nodes=["faces", "crops", "embeddings"])
    tree.attrs |= {"store": run.store.url, "models": [model.name for model in loaded]}
    return tree


@one_output()
def influence(
    faces: Faces,
    pairs: pd.DataFrame,
    *,
    models: Sequence[str | os.PathLike[str] | Model | Embedder],
    bands: Bands | str | None = None,
    sides: Sequence[Side] = SIDES,
    store: str | os.PathLike[str] | None = None,
    name: str | None = None,
    fmrs: Sequence[float] = FMRS,
    device: str = "auto",
    batch_size: int | None = None,
    keep_crops: bool | None = None,
    upscale: bool = False,
    which_face: WhichFace = "largest",
    precision: Precision = "float32",
    compile: Compile = "auto",
    refine: float | None = None,
    repair: bool = False,
    cluster: Client | str | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Influence of frequency bands on the similarity of pairs of faces.

    Every face is aligned once and embedded unchanged once per model. Faces that are masked in some
    pair are also embedded once per band, with that band removed. Everything is kept in `store`, so
    a second call, another pairing or another model computes only what is missing, and an
    interrupted call resumes.

    Parameters
    ----------
    faces
        The faces. All are embedded unchanged, for the thresholds.
    pairs
        Columns ``probe``, ``reference`` (face names), ``genuine``, and any metadata.
    models
        Names and paths (see :func:`freqlab.load_model`), :class:`freqlab.Model`, or callables
        (see :func:`freqlab.wrap_model`). Their crops may differ in size and template.
    bands
        The bands, declared or in the notation of the command line (``"rings:4"``,
        ``"sectors:8"``; see :func:`freqlab.parse_bands`); ``rings(width=4)`` by default.
    sides
        Image of the pair that is masked: ``"probe"``, ``"reference"``, ``"both"``.
    store
        Zarr group of the run; kept in memory if not given.
    name
        Name of the result in the store; by default that of a result with the same inputs, if the
        store has one, otherwise a short hash of the inputs.
    fmrs
        False match rates at which thresholds are set, between 0 and 1.
    device
        Where models run: ``"auto"``, ``"cpu"``, ``"cuda"``.
    batch_size
        Images per forward pass; by default 8 for a model on a CPU, where small batches stay in
        its caches, and 128 elsewhere.
    keep_crops
        Whether crops are stored; by default as in the existing store, and True for a new one.
        Without crops, figures show no faces.
    upscale
        Whether aligned faces may be enlarged for a model with a larger template. Enlarging adds
        no detail: the finest bands are then almost empty.
    which_face
        Which of several faces in a photograph is used: ``"largest"``; ``"central"``, the one
        nearest to the centre; ``"only"``, none: the photograph counts as a failure. Given
        landmarks and aligned faces determine the face themselves. A store whose crops show another
        of several faces is refused.
    precision
        Precision of the networks: ``"float32"``; ``"bfloat16"``, about twice as fast where the
        processor has instructions for it; or ``"auto"``, which uses bfloat16 there. The effect of
        bfloat16 on influence is measured on a sample of faces, reported, and stored as
        ``attrs["precision_error"]``. A store that holds a model in one precision refuses another.
    compile
        Whether networks are compiled: ``"auto"``, use a compiled network from the user's cache,
        and if the expected work takes two minutes or more, compile it in a background process;
        True, before the first forward pass; False, never; ``"once"``, like ``"auto"`` without the
        cache. Compiled networks are kept in the user's cache folder, with a copy of the weights,
        for later runs. The environment variable ``FREQLAB_CACHE`` names another folder, or is
        ``off``. Embeddings differ by rounding only: a compiled network is compared with the
        original, to 1e-5 of unit embeddings in float32. A network that cannot be compiled is run
        uncompiled, and the run says so.
    refine
        A tolerance of influence, to save work: groups of four bands are removed together first,
        and the bands of a group one by one only where that moved some pair by more than the
        tolerance. The other bands are NaN, with ``refined(model, band)`` False; their influence is
        measured on a sample of pairs and stored as ``attrs["refine_error"]``. The result over the
        broad bands is named by ``attrs["broad"]``.
    repair
        Whether damaged parts of the store (:func:`freqlab.store.check`) are removed first and, as
        far as this call needs them, computed again. This reads the whole store.
    cluster
        Where blocks of faces are aligned and embedded: in this process, or on the workers of a
        ``distributed.Client``, of the scheduler at an address or in a scheduler file, or of
        ``"local"`` or ``"local:2"``, which are started here. Workers write to `store`; they must
        reach it and the photographs under the same paths as this process. A worker runs one block
        per thread, on one core; where workers have a resource ``GPU``, a block takes one. With
        ``device="auto"`` each worker uses the device that it has. A worker compiles networks only
        if `compile` is True; with ``"auto"`` it uses those in its cache.
    progress
        Whether progress bars and a summary are shown: on standard error, or in one output below
        the cell of a notebook, where the summary stays.

    Returns
    -------
    xarray.Dataset
        ``influence(model, pair, side, band)``, the similarity less the similarity without the
        band, positive where the band supports a match; ``similarity(model, pair)``;
        ``removed_rms(model, pair, side, band)``, the RMS contrast in grey levels that the
        removal took away; ``threshold(model, fmr)`` with ``impostor_comparisons(model)``. A pair
        with a face that could not be read or found is NaN, and so is a band without a coefficient
        at a model's input size. ``attrs["forward_passes"]`` counts the images that this call
        embedded, without the one crop by which a store recognises each model; bands that hold
        less than 1e-5 grey levels (RMS) of a face need no forward pass.

    Raises
    ------
    ParameterError, PairError, BandError
        If an argument does not fit; nothing has been computed then.
    StoreConflictError
        If the store holds something else under one of the names.
    StoreError
        If another run is writing to the store, or it is not a store, is damaged, or cannot be
        written.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=4, per_subject=2)
    >>> pairs = fl.make_pairs(faces, seed=0)
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, pairs, store="run.zarr", **options)
    >>> dict(result["influence"].sizes)
    {'model': 1, 'pair': 8, 'side': 3, 'band': 3}
    >>> again = fl.influence(faces, pairs, store="run.zarr", **options)
    >>> again.attrs["forward_passes"]
    0
    """
    bands = declared_bands(bands)
    positions = check_pairs(faces, pairs)
    _check_arguments(sides, name)
    rates = check_fmrs(fmrs)
    clashing = sorted(set(bands.coordinates) & set(map(str, pairs.columns)))
    if clashing:
        raise ParameterError(
            f"pairs has columns {clashing}, the names of coordinates of {bands.kind} bands; give "
            f"them other names"
        )
    if refine is not None:
        check_number("refine", refine, at_least=0)
    settings = Settings(
        device=device,
        batch_size=batch_size,
        keep_crops=keep_crops,
        upscale=upscale,
        which_face=which_face,
        precision=precision,
        compile=compile,
        progress=progress,
    )
    loaded = load_models(models, faces, settings)
    check_support(bands, [decomposition(bands, model).present for model in loaded])
    with (
        _connected(cluster, models, loaded, settings) as connection,
        begun(
            *(faces, loaded, store),
            bands=bands,
            settings=settings,
            cluster=connection,
            repair=repair,
        ) as run,
    ):
        name = _compute(run, loaded, pairs, positions, tuple(sides), name, refine, rates)
        failed = run.failed()

    result = open_influence(run.store.url, name)
    result.attrs["forward_passes"] = sum(run.forward_passes.values())
    result.attrs["failures_to_acquire"] = int(failed.sum())
    say_what_was_done(run, loaded, with_bands=True)
    _say_result(run, result, failed, positions)
    if "channel" in result.coords:
        _say_grey(run, result)
    return result


def _compute(
    run: Run,
    models: Sequence[Model],
    pairs: pd.DataFrame,
    positions: npt.NDArray[np.int32],
    sides: tuple[Side, ...],
    name: str | None,
    tolerance: float | None,
    fmrs: tuple[float, ...],
) -> str:
    """Embed the faces and write the result, within a tolerance if given; return its name."""
    masked = np.unique(np.concatenate([positions[:, i] for i in _masked_columns(sides)]))
    refinement = None
    if tolerance is not None:
        broad = broad_run(run)
        for model in models:
            embed_faces(broad, model, masked)
        broad_name = None if name is None else f"{name}-broad"
        broad_name = write_influence(broad, models, pairs, positions, sides, broad_name, fmrs=fmrs)
        refinement = choose_bands(run, models, broad_name, tolerance)
    for model in models:
        chosen = None if refinement is None else refinement.refined[model.name]
        embed_faces(run, model, masked, chosen)
    return write_influence(run, models, pairs, positions, sides, name, refinement, fmrs)


def _connected(
    cluster: Client | str | None,
    given: Sequence[object],
    loaded: Sequence[Model],
    settings: Settings,
) -> AbstractContextManager[Cluster | None]:
    """Connect to the cluster of a call, if it names one."""
    names = [model.name for model in loaded]
    return connected(cluster, device=settings.device, given=given, names=names)


def _say_result(
    run: Run,
    result: xr.Dataset,
    failed: npt.NDArray[np.bool_],
    positions: npt.NDArray[np.int32],
) -> None:
    """Report the size of a result, the failures, and its place in the store."""
    text = f"{len(run.faces):,} faces, {result.sizes['pair']:,} pairs"
    if failed.any():
        n_lost = int(failed[positions].any(axis=1).sum())
        text += f"; failures to acquire: {failed.sum():,} faces, {n_lost:,} pairs are NaN"
    run.say(f"{text}; result {result.attrs['name']!r} in {run.store.url}")


def _say_grey(run: Run, result: xr.Dataset) -> None:
    """Report that the crops of a result are grey, so that chroma bands hold nothing."""
    chroma = result["removed_rms"].isel(band=result["channel"].to_numpy() == "chroma")
    if not float(chroma.max()) > _GREY:
        run.say("note: the crops are grey: chroma bands hold nothing, and their influence is 0")


def _check_arguments(sides: Sequence[Side], name: str | None) -> None:
    check_list("sides", sides, ["probe"])
    for side in sides:
        check_name("side", side, SIDES)
    if len(set(sides)) < len(sides):
        raise ParameterError(f"sides={list(sides)!r} repeats a side")
    if name is not None and not re.fullmatch(r"[^\W_][\w.-]*", name):
        raise ParameterError(
            f"name={name!r} must be letters, digits, '_', '-' and '.', a letter or digit first"
        )


def _masked_columns(sides: Sequence[Side]) -> list[int]:
    """Columns (0 probe, 1 reference) of a pair whose image is masked for some of the sides."""
    return [i for i, side in enumerate(SIDES[:2]) if side in sides or "both" in sides]

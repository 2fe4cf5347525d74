"""Start of every run: load the models, open the store, add the faces."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from freqlab.bands.base import Bands
from freqlab.bands.parsing import parse_bands
from freqlab.bands.radial import rings
from freqlab.engine.workers import working
from freqlab.errors import ParameterError
from freqlab.faces.pairs import check_faces
from freqlab.faces.table import Faces
from freqlab.images.decoding import most_pixels
from freqlab.images.templates import overhang, pixels_per_pixel, template
from freqlab.models.callables import Embedder
from freqlab.models.loading import as_model
from freqlab.models.precision import in_precision
from freqlab.models.registry import built_in_names, name_advice
from freqlab.models.spec import Model
from freqlab.run.cluster import Cluster
from freqlab.run.context import Run
from freqlab.run.settings import Settings
from freqlab.store.chunks import disk_faults, place_of
from freqlab.store.face_conflicts import check_which_face
from freqlab.store.forgetting import finish_forgetting
from freqlab.store.layout import block_size_for
from freqlab.store.locking import locked
from freqlab.store.photographs import ABOUT_PHOTOGRAPHS, photograph_notes, shows_several
from freqlab.store.repair import repair_store
from freqlab.store.run_store import RunStore
from freqlab.system.progress import say, stage

__all__ = ["begun", "check_list", "declared_bands", "load_models", "say_what_was_done"]


def declared_bands(bands: Bands | str | None) -> Bands:
    """Return the bands of a call: declared, in the notation of the command line, or the default.

    Raises
    ------
    ParameterError
        If they are none of these.
    """
    if bands is None:
        return rings()
    if isinstance(bands, str):
        return parse_bands(bands)
    if not isinstance(bands, Bands):
        raise ParameterError(f"bands={bands!r} must be Bands, as fl.rings gives, or text")
    return bands


def load_models(
    models: Sequence[str | os.PathLike[str] | Model | Embedder],
    faces: Faces,
    settings: Settings,
) -> list[Model]:
    """Load the models of a run and check that they fit each other and the faces.

    Raises
    ------
    ParameterError
        If they do not.
    """
    check_faces(faces)
    check_list("models", models, ["mobilefacenet"])
    to_load = not all(isinstance(model, Model) for model in models)
    with stage("loading models", shown=settings.progress and to_load):
        loaded = [
            in_precision(as_model(model, device=settings.device), settings.precision)
            for model in models
        ]
    _check_models(loaded, faces, settings.upscale)
    return loaded


@contextlib.contextmanager
def begun(
    faces: Faces,
    models: Sequence[Model],
    store: str | os.PathLike[str] | None,
    *,
    bands: Bands,
    settings: Settings,
    repair: bool = False,
    cluster: Cluster | None = None,
) -> Iterator[Run]:
    """Open a store for writing, add the faces, and start the threads that do the work.

    With `repair`, damaged parts are removed first, so that they are computed again. Unfinished
    changes of another call are completed.

    Raises
    ------
    ParameterError
        If an argument is not allowed.
    StoreError
        If another run is writing to the store, or it is not a store, is damaged, or cannot be
        written.
    """
    most_pixels()  # raises now if its setting is invalid
    url = f"memory://freqlab-{uuid.uuid4().hex}" if store is None else place_of(store)
    with disk_faults(url), locked(url) as lock, working() as workers:
        if repair and store is not None:
            repair_store(url, faces, say=say if settings.progress else None)
        block_size = block_size_for(len(faces), are_aligned=faces.aligned is not None)
        run_store = RunStore(url, block_size=block_size, lock=lock)
        if "forgetting" in run_store.root.attrs:
            finish_forgetting(run_store)
            if settings.progress:
                say(f"{url}: finished the interrupted removal of a person")
        check_which_face(run_store.stored_faces, faces, settings.which_face)
        try:
            yield Run(
                store=run_store,
                faces=faces,
                rows=run_store.add_faces(faces),
                bands=bands,
                templates=tuple(dict.fromkeys(model.spec.template for model in models)),
                settings=settings,
                workers=workers,
                cluster=cluster,
            )
        except Exception:  # any fault, if the store is gone
            run_store.check_reachable()
            raise


def say_what_was_done(run: Run, models: Sequence[Model], *, with_bands: bool) -> None:
    """Report for each model what was applied and computed, with warnings."""
    for model in models:
        count = run.forward_passes[model.name]
        done = f"{count:,} forward passes" if count else "no forward pass, all were in the store"
        run.say(f"{model.name} ({model.preprocessing}): {done}")
    if run.settings.progress:
        read, node = run.store.read, run.store.faces
        columns = {name: read(node, name)[run.rows] for name in ABOUT_PHOTOGRAPHS}
        for note in photograph_notes(columns):
            run.say(f"note: {note}")
        if shows_several(columns).any():
            run.say("note: freqlab.plots.contact_sheet shows those with several faces")
    for name in run.templates if run.faces.aligned else ():
        beyond = overhang(template(run.faces.aligned or name), template(name))
        if beyond:
            run.say(
                f"note: crops of template {name!r} extend up to {beyond} pixels beyond the aligned "
                f"images, whose edge is repeated there"
            )
    details = {model.cycles_between_eyes for model in models}
    if with_bands and run.bands.unit == "cycles/image" and len(details) > 1:
        run.say(
            "note: the models' templates differ, so a band in cycles/image is not the same detail "
            "in each; bands in cycles/eyes are"
        )


def check_list(argument: str, values: Any, example: list[str]) -> None:
    """Reject a value that is not a list of at least one item.

    Raises
    ------
    ParameterError
        Naming the argument.
    """
    if not isinstance(values, (list, tuple)) or len(values) == 0:
        raise ParameterError(
            f"{argument}={values!r} must be a non-empty list, as in {argument}={example}"
        )


def _check_models(models: Sequence[Model], faces: Faces, upscale: bool) -> None:
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ParameterError(f"models={names!r} repeats a name. {name_advice(repeated)}")
    for model in models:
        if model.own and model.name in built_in_names():
            raise ParameterError(
                f"name={model.name!r} belongs to a known model; give your own another name"
            )
        by_crop = [d for d in faces.degradations or () if d is not None and d.measure == "crop"]
        finest = max((d.resolution for d in by_crop), default=0)
        if finest > model.template.size[1]:
            raise ParameterError(
                f"resolution={finest} is above the native size of model {model.name!r}, whose "
                f"crops are {model.template.size[1]} pixels across"
            )
        if faces.aligned not in (None, model.spec.template) and not upscale:
            factor = pixels_per_pixel(template(faces.aligned), model.template)
            if factor > 1.001:
                raise ParameterError(
                    f"the faces are aligned to {faces.aligned!r}, and model {model.name!r} takes "
                    f"crops of {model.spec.template!r}, which would enlarge them {factor:.2f} "
                    f"times; give upscale=True to allow this, or give the photographs"
                )

"""A study as one call: load its networks, open it if the run holds it, else make and keep it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import pandas as pd
import xarray as xr

from freqlab.attrs import make_attrs
from freqlab.errors import ParameterError
from freqlab.faces.table import Faces
from freqlab.literals import Compile, Precision, WhichFace
from freqlab.models.callables import Embedder
from freqlab.models.spec import Model
from freqlab.run.begin import load_models
from freqlab.run.purposes import Purpose, made_for
from freqlab.run.settings import Settings
from freqlab.store.reading import open_influence
from freqlab.store.studies import Nodes, kept_study, made_of
from freqlab.system.progress import one_output

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["RunOptions", "Studied", "study_of"]

Studied = Sequence[str | os.PathLike[str] | Model | Embedder]
"""Networks of a study: names, paths, models or callables."""


class RunOptions(TypedDict, total=False):
    """Options for computing what a study lacks; as for :func:`freqlab.influence`."""

    device: str
    batch_size: int | None
    keep_crops: bool | None
    upscale: bool
    which_face: WhichFace
    precision: Precision
    compile: Compile
    cluster: Client | str | None
    progress: bool


@one_output()
def study_of(
    subject: str,
    faces: Faces,
    make: Callable[[list[Model]], Nodes],
    *,
    models: Studied,
    store: str | os.PathLike[str],
    run: RunOptions,
    pairs: pd.DataFrame | None = None,
    **options: Any,
) -> xr.DataTree:
    """Open a study, or make and keep it.

    Parameters
    ----------
    subject
        Subject of the study.
    faces, models, store
        As for :func:`freqlab.influence`.
    make
        Computes the nodes of the study with the networks. An attribute ``result`` of the node
        ``"/"`` names the result of :func:`freqlab.influence` that it is based on.
    run
        Options of the computation.
    pairs
        A list of pairs, if one is given.
    options
        All other arguments of the study, as JSON values.

    Returns
    -------
    xarray.DataTree
        The study. ``/influence`` is the result that it is based on, read lazily;
        ``attrs["forward_passes"]`` counts the images that this call embedded, and
        ``forward_passes_to_make`` those embedded when the study was made; ``models``,
        ``templates``, ``preprocessing`` and ``checkpoints`` describe the networks.
    """
    settings = _settings(**run)
    loaded = load_models(models, faces, settings)
    deciding = {"upscale": settings.upscale, "which_face": settings.which_face}

    def made() -> Nodes:
        with made_for(Purpose(f"study {subject}", f"study-{subject}")):
            nodes = dict(make(loaded))
        top = nodes.get("/", xr.Dataset())
        if not isinstance(top, xr.Dataset):
            raise ParameterError("the node '/' of a study must be a dataset")
        attrs = make_attrs(
            face_set=faces.name,
            n_faces=len(faces),
            n_subjects=int(faces.table["subject"].nunique()),
            models=[model.name for model in loaded],
            templates=[model.template.name for model in loaded],
            preprocessing=[model.preprocessing for model in loaded],
            checkpoints=[model.checkpoint for model in loaded],
            device=str(loaded[0].device),
            **{name: value for name, value in options.items() if value is not None},
        )
        nodes["/"] = top.assign_attrs({**attrs, **top.attrs})
        return nodes

    about = made_of(store, faces, models=loaded, pairs=pairs, **deciding, **options)
    tree = kept_study(store, subject, about, made)
    tree.attrs["forward_passes_to_make"] = tree.attrs.get("forward_passes", 0)
    if tree.attrs["was_kept"]:
        tree.attrs["forward_passes"] = 0
    if "result" in tree.attrs:
        tree["influence"] = xr.DataTree(open_influence(store, str(tree.attrs["result"])))
    return tree


def _settings(*, cluster: Client | str | None = None, **run: Any) -> Settings:
    """Options of a study without the cluster, which each of its computations connects to."""
    return Settings(**run)

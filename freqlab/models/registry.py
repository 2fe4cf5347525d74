"""The models freqlab knows by name, and those registered by users."""

from __future__ import annotations

import functools
import itertools
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from freqlab.errors import ParameterError, check_name
from freqlab.images.templates import template
from freqlab.models import (
    dlib_resnet,
    edgeface,
    facenet,
    iresnet,
    mobilefacenet,
    onnx_models,
)
from freqlab.models.callables import Embedder, as_network
from freqlab.models.checkpoints import load_weights, read_checkpoint
from freqlab.models.recipes import Recipe, existing, how_to_get
from freqlab.models.spec import ModelSpec, Network

__all__ = [
    "built_in_names",
    "is_known",
    "known",
    "name_advice",
    "names",
    "recipe_named",
    "register",
]

_RECIPES: dict[str, Recipe] = {
    recipe.spec.name: recipe
    for family in (mobilefacenet, dlib_resnet, facenet, edgeface, iresnet, onnx_models)
    for recipe in family.RECIPES
}
_SERIAL = itertools.count(1)


def names() -> list[str]:
    """List the names that :func:`freqlab.load_model` knows, besides paths and ``timm:`` names.

    Returns
    -------
    list of str
        Names, including those that were registered in this process.

    Examples
    --------
    >>> import freqlab as fl
    >>> "mobilefacenet" in fl.models.names()
    True
    """
    return list(_RECIPES)


def built_in_names() -> list[str]:
    """List the names of the models that come with freqlab and were not replaced."""
    return [name for name, recipe in _RECIPES.items() if not recipe.serial]


def is_known(name: str) -> bool:
    """Whether a model has this name."""
    return name in _RECIPES


def recipe_named(name: str) -> Recipe:
    """Return the recipe of the model with a name.

    Raises
    ------
    UnknownNameError
        If there is no such model.
    """
    return _RECIPES[check_name("model", name, _RECIPES)]


def name_advice(name: str) -> str:
    """Explain how to give a model another name, for messages; the end of a sentence is left out."""
    other = f"{name}-2"
    return (
        f"Give one of the models another name with name=, as in load_model(..., name={other!r}), "
        f"wrap_model(..., name={other!r}), or FILE,name={other} on the command line"
    )


def known() -> pd.DataFrame:
    """List the models known by name, as a table.

    Returns
    -------
    pandas.DataFrame
        One row per model: ``size`` of its crops (height x width, pixels), ``features`` (length
        of the embedding), ``template``, ``licence`` of the weights, ``weights`` (``"here"``, or how
        to get them).

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.models.known().loc["mobilefacenet", "template"]
    'arcface'
    """
    rows = []
    for name, recipe in _RECIPES.items():
        height, width = template(recipe.spec.template).size
        rows.append(
            {
                "model": name,
                "size": f"{height} x {width}",
                "features": recipe.spec.features or "by file",
                "template": recipe.spec.template,
                "licence": recipe.spec.licence or "not stated",
                "weights": "here" if recipe.is_here() else how_to_get(recipe),
            }
        )
    return pd.DataFrame(rows).set_index("model")


def register(
    spec: ModelSpec,
    build: Callable[[], Embedder],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
) -> None:
    """Register a model under its name, in this process.

    Parameters
    ----------
    spec
        Its declaration. With ``spec.sha256``, another checkpoint is refused.
    build
        Makes the network, a module or a function, once per process and device.
    checkpoint
        Weight file whose tensors are loaded strictly into the network that `build` makes. It
        may also be given when the model is loaded.

    Warns
    -----
    UserWarning
        If the name is already registered; the new model then replaces the other.

    Examples
    --------
    >>> import freqlab as fl
    >>> spec = fl.models.ModelSpec("example", mean=127.5, std=127.5)
    >>> fl.models.register(spec, lambda: fl.testing.LinearNetwork(seed=1))
    >>> fl.load_model("example").name
    'example'
    """
    if not isinstance(spec, ModelSpec):
        raise ParameterError(f"spec={spec!r} must be a ModelSpec")
    if not callable(build):
        raise ParameterError(f"build={build!r} must be a function that makes the network")
    if "," in spec.name or spec.name.startswith("timm:"):
        raise ParameterError(
            f"name={spec.name!r} could not be loaded: a comma ends a name, 'timm:' begins timm's"
        )
    if spec.name in _RECIPES:
        warnings.warn(
            f"the name {spec.name!r} belonged to another model, which is replaced", stacklevel=2
        )
    path = None if checkpoint is None else existing(checkpoint)
    _RECIPES[spec.name] = Recipe(
        spec,
        functools.partial(_build_own, spec.name, build),
        find=lambda: path,
        own_weights=path is None,
        picks_output=True,
        options=("part",),
        channels_last=False,
        serial=next(_SERIAL),
    )


def _build_own(
    name: str,
    build: Callable[[], Embedder],
    weights: Path | None,
    *,
    device: str,
    part: str | None = None,
) -> Network:
    network = build()
    if isinstance(network, type) or not callable(network):
        raise ParameterError(f"build of model {name!r} returned {network!r}, not a network")
    if weights is not None:
        if not isinstance(network, torch.nn.Module):
            raise ParameterError(
                f"checkpoint={os.fspath(weights)!r} can be loaded only into a torch.nn.Module"
            )
        load_weights(network, read_checkpoint(weights, part=part), source=weights)
    return as_network(network)

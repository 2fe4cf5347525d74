"""The models freqlab knows by name, and how each is loaded."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import os
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from freqlab.errors import (
    ParameterError,
    WeightsError,
    WeightsMismatchError,
    WeightsNotFoundError,
    check_name,
)
from freqlab.models import (
    dlib_resnet,
    edgeface,
    facenet,
    iresnet,
    mobilefacenet,
    onnx_models,
    timm_models,
)
from freqlab.models.callables import Embedder, wrap_model
from freqlab.models.checkpoints import is_program, load_weights, read_checkpoint, shapes_of
from freqlab.models.devices import resolve_device
from freqlab.models.program_files import program_recipe
from freqlab.models.recipes import Recipe, check_sha256, torch_home
from freqlab.models.spec import Model, ModelSpec, Network, state_sha256
from freqlab.templates import template as look_up_template

__all__ = [
    "as_model",
    "built_in_names",
    "known_models",
    "load_model",
    "model_names",
    "parse_model",
    "register_model",
]

_RECIPES: dict[str, Recipe] = {
    recipe.spec.name: recipe
    for family in (mobilefacenet, dlib_resnet, facenet, edgeface, iresnet, onnx_models)
    for recipe in family.RECIPES
}
_OWN: set[str] = set()
_LOADING = threading.Lock()
_WEIGHT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".safetensors", ".pt2", ".pkl", ".dat")

# A tensor that gives a family away, how many filters it has, and what can load it.
_TELLTALES: tuple[tuple[str, int | None, str], ...] = (
    (r"body\.0\.res_layer\.5\.weight", None, "adaface"),
    (r"body\.0\.res_layer\.4\.weight", None, "curricularface"),
    (r"layer1\.0\.bn1\.weight", None, "elasticface, arcface or magface"),
    (r"stages\.0\.blocks\.0\.xca\.temperature", None, "timm:<architecture>"),
    *(
        (r"stem\.0\.weight", width, f"edgeface-{size} or timm:<architecture>")
        for width, size in ((24, "xxs"), (32, "xs"), (48, "s"), (80, "base"))
    ),
    (r"conv_6_dw\.conv\.weight", None, "mobilefacenet"),
    (r"conv2d_1a\.conv\.weight", None, "facenet-vggface2 or facenet-casia"),
    (r"patch_embed\.proj\.weight", None, "timm:<architecture>"),
)


def model_names() -> list[str]:
    """Names that :func:`load_model` knows, besides paths and ``timm:`` names."""
    return list(_RECIPES)


def built_in_names() -> list[str]:
    """Names of the models that come with freqlab and were not replaced."""
    return [name for name in _RECIPES if name not in _OWN]


def known_models() -> pd.DataFrame:
    """The models known by name, as a table.

    Returns
    -------
    pandas.DataFrame
        One row per model: ``size`` of its crops (height x width, pixels), ``features`` (length
        of the embedding), ``template``, ``licence`` of the weights, ``weights`` (``"here"``, or how
        to get them).
    """
    rows = []
    for name, recipe in _RECIPES.items():
        height, width = look_up_template(recipe.spec.template).size
        rows.append(
            {
                "model": name,
                "size": f"{height} x {width}",
                "features": recipe.spec.features or "by file",
                "template": recipe.spec.template,
                "licence": recipe.spec.licence or "not stated",
                "weights": "here" if _is_here(recipe) else _how_to_get(recipe),
            }
        )
    return pd.DataFrame(rows).set_index("model")


def register_model(
    spec: ModelSpec,
    build: Callable[[], Network],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
) -> None:
    """Make a model of one's own known by its name, in this process.

    Parameters
    ----------
    spec
        Its declaration. With ``spec.sha256``, another checkpoint is refused.
    build
        Makes the network, once per process and device.
    checkpoint
        Weight file whose tensors are loaded into the network that `build` makes, strictly. It
        may also be given when the model is loaded.

    Warns
    -----
    UserWarning
        If the name is taken; the new model then stands in its place.
    """
    if not isinstance(spec, ModelSpec):
        raise ParameterError(f"spec={spec!r} must be a ModelSpec")
    if not callable(build):
        raise ParameterError(f"build={build!r} must be a function that makes the network")
    if spec.name in _RECIPES:
        warnings.warn(
            f"the name {spec.name!r} was taken by another model, which is replaced", stacklevel=2
        )
    path = None if checkpoint is None else _existing(checkpoint)
    _RECIPES[spec.name] = Recipe(
        spec,
        functools.partial(_build_own, build),
        find=lambda: path,
        known_file=path.name if path else "",
        own_weights=path is None,
    )
    _OWN.add(spec.name)


def load_model(
    model: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    name: str | None = None,
    template: str | None = None,
    channels: Literal["RGB", "BGR"] | None = None,
    mean: float | tuple[float, float, float] | None = None,
    std: float | tuple[float, float, float] | None = None,
    features: int | None = None,
    eye_distance: float | None = None,
    sha256: str | None = None,
    depth: int | None = None,
    gamma: float | None = None,
    model_args: Mapping[str, Any] | None = None,
    preset: str | None = None,
    layout: str | None = None,
    output: str | None = None,
    trust: bool | None = None,
    device: str = "auto",
) -> Model:
    """Load a model; its weights are read once per process and device.

    Parameters
    ----------
    model
        One of :func:`model_names`; ``"timm:<architecture>"`` with a `checkpoint`;
        ``"timm:hf_hub:<owner>/<model>"``; or the path of an ONNX, TorchScript or ``torch.export``
        file. Options may stand behind it, as on the command line:
        ``"elasticface,checkpoint=backbone.pth,depth=100"``.
    checkpoint
        Weight file (``safetensors``, or of ``torch.save``), or for timm a folder as on the hub.
    name
        Its name in stores and results; by default what `model` says before the first comma, and
        for a path the file's name without its suffix.
    template, channels, mean, std, features, eye_distance
        Preprocessing, as in :class:`ModelSpec`, instead of what is declared for the model.
    sha256
        SHA-256 that the weight file must have.
    depth
        18, 34, 50 or 100 (also said 101), for the residual networks; read from the checkpoint by
        default.
    gamma
        Ratio of the ranks of a low-rank EdgeFace; read from the checkpoint by default.
    model_args
        Arguments of ``timm.create_model``.
    preset
        For ONNX files: ``"insightface"``.
    layout
        For ONNX files that do not tell: ``"NCHW"`` or ``"NHWC"``.
    output
        For ONNX files with several outputs: which one is the embedding.
    trust
        For files that are programs: whether to run what they say.
    device
        ``"auto"`` (CUDA, else MPS, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Returns
    -------
    Model
        In evaluation mode, on the device.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    ParameterError
        If an option is not allowed, or not for this model.
    WeightsNotFoundError
        If the weights are not here; the message says which file to put where.
    WeightsError
        If they are damaged, of another network, or not the known ones.
    """
    given = {key: value for key, value in locals().items() if value is not None}
    text, options = parse_model(given.pop("model"))
    device = given.pop("device")
    repeated = sorted(options.keys() & given.keys())
    if repeated:
        raise ParameterError(f"model {model!r} is given {', '.join(repeated)} twice")
    return _load(text, {**options, **given}, device)


def parse_model(text: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Split a model as the command line names it from the options behind it.

    Returns
    -------
    model : str
        What stands before the first comma.
    options : dict
        Numbers, truth values, ``null`` and lists as JSON writes them; any other value as text.

    Raises
    ------
    ParameterError
        If an option is unknown, repeated, or not written ``key=value``.
    """
    if not isinstance(text, (str, os.PathLike)):
        raise ParameterError(f"model={text!r} must be a name or a path")
    whole = os.fspath(text)
    if Path(whole).is_file():  # a path may hold commas
        return whole, {}
    # a comma inside brackets belongs to a list
    first, *rest = re.split(r",(?![^\[(]*[\])])", whole)
    options: dict[str, Any] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals:
            raise ParameterError(f"model {whole!r}: write its options as key=value, not {part!r}")
        check_name("option", key, _OPTIONS)
        if key in options:
            raise ParameterError(f"model {whole!r} is given {key} twice")
        options[key] = _parse_value(key, value.strip())
    return first.strip(), options


def as_model(model: str | os.PathLike[str] | Model | Embedder, *, device: str) -> Model:
    """Take a model as a user may give it: a name, a path, a :class:`Model`, or a callable.

    Raises
    ------
    ParameterError
        If it is none of these, or a callable without a name of its own.
    """
    if isinstance(model, (str, os.PathLike)):
        return load_model(model, device=device)
    if isinstance(model, Model):
        return model
    if not callable(model):
        raise ParameterError(f"model {model!r} is neither a name, a path, a Model nor a callable")
    name = getattr(model, "__name__", type(model).__name__)
    if name == "<lambda>":
        raise ParameterError("a lambda has no name; use wrap_model(function, name=...)")
    return wrap_model(model, name=name, device=device)


_OPTIONS = [
    key for key in inspect.signature(load_model).parameters if key not in ("model", "device")
]
_PREPROCESSING = ("name", "template", "channels", "mean", "std", "features", "eye_distance")


def _parse_value(key: str, value: str) -> Any:
    if key in ("name", "checkpoint", "sha256"):  # a file may be named 100
        return value
    try:
        parsed = json.loads(f"[{value[1:-1]}]" if value[:1] + value[-1:] == "()" else value)
    except json.JSONDecodeError:
        return value
    return tuple(parsed) if isinstance(parsed, list) else parsed


def _load(text: str, options: dict[str, Any], device: str) -> Model:
    recipe = _recipe(text, options)
    device = recipe.auto_device() if device == "auto" else resolve_device(device)
    spec_changes = {key: options.pop(key) for key in _PREPROCESSING if key in options}
    checkpoint, pinned = options.pop("checkpoint", None), options.pop("sha256", None)
    foreign = sorted(options.keys() - set(recipe.options))
    if foreign:
        own = [] if recipe.is_file else ["checkpoint"]
        more = ["preset"] if text.endswith(".onnx") else []
        hidden = {"size"}
        shown = [option for option in recipe.options if option not in hidden]
        allowed = ", ".join([*_PREPROCESSING, *own, "sha256", *shown, *more])
        raise ParameterError(f"model {text!r} takes no {', '.join(foreign)}; allowed: {allowed}")
    weights = _weights(recipe, checkpoint)
    known = checkpoint is None or (weights is not None and weights.name == recipe.known_file)
    if not known:  # one's own weights may be of another length
        spec_changes.setdefault("features", None)
    spec = dataclasses.replace(recipe.spec, **spec_changes)
    if weights is not None:
        digest = check_sha256(
            _file_of(weights), pinned or (recipe.spec.sha256 if known else ""), name=spec.name
        )
    if "size" in recipe.options:
        options["size"] = look_up_template(spec.template).size[0]
    stamp = None if weights is None else (os.fspath(weights), _file_of(weights).stat().st_mtime_ns)
    with _LOADING:  # two threads must not read the same weights side by side
        network = _network(recipe, weights, stamp, _Options(options), device)
    if weights is None:
        digest = state_sha256(network) if isinstance(network, torch.nn.Module) else "not known"
    for key in ("layout", "model_args", "output"):  # the same file gives another embedding
        if key in options:
            digest += f"; {key} {json.dumps(options[key], sort_keys=True, default=str)}"
    return Model(spec, network, digest, device, verify=spec.name in _OWN or weights is None)


def _recipe(text: str, options: dict[str, Any]) -> Recipe:
    """How to load what a text names; consumes the options that only settle this."""
    if text in _RECIPES:
        return _RECIPES[text]
    if text.startswith("timm:"):
        return timm_models.timm_recipe(text)
    path = Path(text)
    looks_like_path = path.suffix.lower() in (*_WEIGHT_SUFFIXES, ".onnx") or os.sep in text
    if path.is_file() and looks_like_path:
        return _recipe_of_file(path, options)
    if looks_like_path:
        raise WeightsNotFoundError(f"model {text!r}: there is no such file")
    check_name("model", text, _RECIPES)
    raise AssertionError  # pragma: no cover


def _recipe_of_file(path: Path, options: dict[str, Any]) -> Recipe:
    name = options.get("name", path.stem)
    normalised = "mean" in options and "std" in options
    if path.suffix.lower() == ".onnx":
        return onnx_models.onnx_recipe(
            path,
            name=name,
            preset=options.pop("preset", None),
            layout=options.get("layout"),
            size_given="template" in options,
            normalisation_given=normalised,
        )
    if is_program(path):
        trust = bool(options.pop("trust", False))
        return program_recipe(path, name=name, trust=trust, normalisation_given=normalised)
    state = read_checkpoint(path)
    likely = _looks_like(shapes_of(state))
    could_be = f"it could be {likely}" if likely else "it is of no network known here"
    raise WeightsError(
        f"{path} holds weights, but not the network they belong to, nor how its input is prepared: "
        f"name it, as in load_model('<name>', checkpoint={os.fspath(path)!r}), or make it known "
        f"with register_model. By its tensors {could_be}"
    )


def _looks_like(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Names of the models whose networks have such tensors; empty if none is recognised."""
    for pattern, width, names in _TELLTALES:
        for tensor, shape in shapes.items():
            if re.search(rf"(?:^|\.){pattern}$", tensor) and width in (None, shape[0]):
                return names
    return ""


def _weights(recipe: Recipe, checkpoint: str | os.PathLike[str] | None) -> Path | None:
    """The path of the weights: given, found here, or fetched."""
    if checkpoint is not None:
        if recipe.is_file:
            raise ParameterError(
                f"checkpoint={os.fspath(checkpoint)!r}: {recipe.spec.weights} is its own weights"
            )
        return _existing(checkpoint)
    if recipe.own_weights:
        return None
    found = recipe.find()
    if found is None and recipe.fetch is not None:
        found = recipe.fetch()
    if found is None or not found.exists():
        raise WeightsNotFoundError(
            f"the weights of {recipe.spec.name!r} ({recipe.spec.weights}) are not here: "
            f"{_how_to_get(recipe)}"
        )
    return found


def _existing(checkpoint: str | os.PathLike[str]) -> Path:
    path = Path(checkpoint)
    if not path.exists():
        raise WeightsNotFoundError(f"checkpoint={os.fspath(checkpoint)!r}: no such file")
    return path


def _file_of(weights: Path) -> Path:
    return timm_models.weights_in(weights) if weights.is_dir() else weights


def _is_here(recipe: Recipe) -> bool:
    return recipe.own_weights or recipe.find() is not None


def _how_to_get(recipe: Recipe) -> str:
    home = os.fspath(torch_home())
    user = os.path.expanduser("~")
    return recipe.how_to_get.format(home=home.replace(user, "~", 1) if user != "/" else home)


class _Options(dict[str, Any]):
    """Options as part of a key: equal if they are written alike."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json.dumps(self, sort_keys=True, default=str))


@functools.cache
def _network(
    recipe: Recipe, weights: Path | None, stamp: Any, options: _Options, device: str
) -> Network:
    """Build a network once per process for each file as it is now."""
    try:
        network = recipe.build(weights, device=device, **options)
    except WeightsMismatchError as error:
        likely = _looks_like(error.shapes)
        hint = f". By its tensors it could be {likely}" if likely else ""
        raise WeightsMismatchError(f"{error}{hint}", error.shapes) from error
    if isinstance(network, torch.nn.Module):
        return network.eval().to(device).to(memory_format=torch.channels_last)
    return network


def _build_own(build: Callable[[], Network], weights: Path | None, *, device: str) -> Network:
    network = build()
    if weights is not None:
        if not isinstance(network, torch.nn.Module):
            raise ParameterError("a checkpoint can be loaded only into a torch.nn.Module")
        load_weights(network, read_checkpoint(weights), source=weights)
    return network

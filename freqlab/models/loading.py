"""Load a model: by name, by path, or as Python object."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from freqlab.errors import (
    ParameterError,
    UnknownNameError,
    WeightsError,
    WeightsMismatchError,
    WeightsNotFoundError,
    check_name,
    check_number,
)
from freqlab.images.templates import template as look_up_template
from freqlab.models.callables import Embedder, wrap_model
from freqlab.models.checkpoints import files_of_checkpoint, is_program, read_checkpoint, shapes_of
from freqlab.models.devices import resolve_device
from freqlab.models.file_kinds import check_plain_file, describe_folder
from freqlab.models.notes import collected_notes
from freqlab.models.onnx_models import onnx_recipe
from freqlab.models.program_files import program_recipe
from freqlab.models.recipes import (
    Recipe,
    check_sha256,
    existing,
    how_to_get,
    sha256_of,
    template_of_size,
)
from freqlab.models.registry import is_known, recipe_named
from freqlab.models.spec import Model, Network, Source, state_sha256
from freqlab.models.timm_models import timm_recipe

__all__ = ["as_model", "load_model", "parse_model"]

_WEIGHT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".safetensors", ".pt2", ".pkl", ".dat")
_LOADING = threading.RLock()  # building a user's model may load another model
_NETWORKS_KEPT = 16

# A tensor that identifies a family, its number of filters, and what can load it.
_TELLTALES: tuple[tuple[str, int | None, str], ...] = (
    (r"body\.0\.res_layer\.7\.weight", None, "an AdaFace network of bottlenecks, not supported"),
    (r"body\.0\.res_layer\.5\.fc1\.weight", None, "ir_se50, ir_se101 or curricularface"),
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
    part: str | None = None,
    num_classes: int | None = None,
    model_args: Mapping[str, Any] | None = None,
    preset: str | None = None,
    layout: str | None = None,
    output: str | int | None = None,
    trust: bool | None = None,
    device: str = "auto",
) -> Model:
    """Load a model; its weights are read once per process and device.

    Parameters
    ----------
    model
        One of :func:`names`; ``"timm:<architecture>"`` with a `checkpoint`;
        ``"timm:hf_hub:<owner>/<model>"``; or the path of an ONNX, TorchScript or ``torch.export``
        file. Options may follow it, as on the command line:
        ``"elasticface,checkpoint=backbone.pth,depth=100"``.
    checkpoint
        Weight file (``safetensors``, or of ``torch.save``), the index (``.index.json``) of weights
        in several files, or for timm a folder laid out as on the hub.
    name
        The model's name in stores and results; by default the part of `model` before the first
        comma, and for a path the file's name without its suffix.
    template, channels, mean, std, features, eye_distance
        Preprocessing, as in :class:`ModelSpec`, instead of the model's declaration.
    sha256
        SHA-256 that the weight file must have.
    depth
        18, 34, 50 or 100 (101 is accepted for it), for the residual networks; read from the
        checkpoint by default.
    gamma
        Ratio of the ranks of a low-rank EdgeFace; read from the checkpoint by default.
    part
        Which of several networks in a training checkpoint: its entry (``"state_dict_ema"``), or
        the prefix of the names of its tensors (``"student"``).
    num_classes
        For timm: width of the last layer; 0 omits the layer and gives the features before it. By
        default the width in the weights.
    model_args
        Further arguments of ``timm.create_model``.
    preset
        For ONNX files: ``"insightface"``.
    layout
        For ONNX files that do not declare it: ``"NCHW"`` or ``"NHWC"``.
    output
        For files and own models with several outputs: which one is the embedding, by its name or
        its position.
    trust
        For files that are programs: whether to execute them.
    device
        ``"auto"`` (CUDA, else MPS, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Returns
    -------
    Model
        In evaluation mode, on the device.

    Raises
    ------
    UnknownNameError
        If no model has that name.
    ParameterError
        If an option is not allowed, or does not apply to this model.
    WeightsNotFoundError
        If the weights are not on this machine; the message says which file to put where.
    WeightsError
        If they are damaged, belong to another network, or differ from the known file.

    Warns
    -----
    UserWarning
        If the supposed embedding seems to be a classifier's scores.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.load_model("mobilefacenet", device="cpu")  # its weights come with the demo
    >>> model.preprocessing
    'template arcface, 112 x 112, BGR, (pixel - 127.5) / 128'
    """
    arguments = {
        "checkpoint": checkpoint,
        "name": name,
        "template": template,
        "channels": channels,
        "mean": mean,
        "std": std,
        "features": features,
        "eye_distance": eye_distance,
        "sha256": sha256,
        "depth": depth,
        "gamma": gamma,
        "part": part,
        "num_classes": num_classes,
        "model_args": model_args,
        "preset": preset,
        "layout": layout,
        "output": output,
        "trust": trust,
    }
    given = {key: value for key, value in arguments.items() if value is not None}
    text, in_text = parse_model(model)
    repeated = sorted(in_text.keys() & given.keys())
    if repeated:
        raise ParameterError(f"model {model!r} is given {', '.join(repeated)} twice")
    options = {**in_text, **given}
    _check_options(options)
    with collected_notes() as notes:
        recipe, settled = _recipe(text, options)
        device = recipe.auto_device() if device == "auto" else resolve_device(device)
        left = {key: value for key, value in options.items() if key not in settled}
        loaded = _load(text, recipe, left, device)
    source = _source(text, recipe, options)
    notes = list(dict.fromkeys([*notes, *loaded.notes]))
    return dataclasses.replace(loaded, notes=notes, source=source)


def parse_model(text: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Split a model, as named on the command line, from the options after it.

    Returns
    -------
    model : str
        The part before the first comma.
    options : dict
        Numbers, truth values, ``null`` and lists as in JSON; any other value as text.

    Raises
    ------
    ParameterError
        If an option is unknown, repeated, or not written ``key=value``.
    """
    if not isinstance(text, (str, os.PathLike)):
        raise ParameterError(f"model={text!r} must be a name or a path")
    whole = os.fspath(text)
    if _is_file(whole):  # a path may hold commas
        return whole, {}
    # a comma inside brackets belongs to a list
    first, *rest = re.split(r",(?![^\[({]*[\])}])", whole)
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
    """Convert what a user may give as a model: a name, path, :class:`Model`, or callable.

    Raises
    ------
    ParameterError
        If it is none of these, or a callable without a name.
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
_TEXTS = (
    *("name", "checkpoint", "sha256", "template", "channels", "preset", "layout", "output"),
    "part",
)


def _parse_value(key: str, value: str) -> Any:
    if key in _TEXTS:  # a file, or an output, may be named 100
        return value
    try:
        parsed = json.loads(f"[{value[1:-1]}]" if value[:1] + value[-1:] == "()" else value)
    except json.JSONDecodeError:
        return value
    return tuple(parsed) if isinstance(parsed, list) else parsed


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse options of the wrong type."""
    for key, value in options.items():
        texts: tuple[type, ...] = (str, os.PathLike) if key == "checkpoint" else (str,)
        if key == "output" and isinstance(value, int) and not isinstance(value, bool):
            continue
        if key in _TEXTS and not (isinstance(value, texts) and str(value)):
            raise ParameterError(f"{key}={value!r} must be text")
    if "depth" in options:
        check_number("depth", options["depth"], whole=True)
    if not isinstance(options.get("model_args", {}), Mapping):
        raise ParameterError(f"model_args={options['model_args']!r} must be a mapping")
    if not isinstance(options.get("trust", False), bool):
        raise ParameterError(f"trust={options['trust']!r} must be true or false")


def _load(text: str, recipe: Recipe, options: Mapping[str, Any], device: str) -> Model:
    spec_changes = {key: options[key] for key in _PREPROCESSING if key in options}
    checkpoint = options.get("checkpoint")
    of_recipe = _options_of_recipe(text, recipe, options)
    weights = _weights(recipe, checkpoint)
    published = checkpoint is None or (weights is not None and weights.name == recipe.known_file)
    if not published:  # a user's weights may have another length
        spec_changes.setdefault("features", None)
    if weights is not None and "template" not in spec_changes:
        size = recipe.size_of(weights, of_recipe)
        if size not in (None, look_up_template(recipe.spec.template).size):
            spec_changes["template"] = template_of_size(size, weights)
    spec = dataclasses.replace(recipe.spec, **spec_changes)
    output = of_recipe.get("output") if recipe.picks_output else None
    of_network = {
        key: value
        for key, value in of_recipe.items()
        if not (key == "output" and recipe.picks_output)
    }
    digest = ""
    if weights is not None:
        known = recipe.spec.sha256 if published or recipe.serial else ""
        pinned = options.get("sha256") or known
        digest = _digest_of_files(recipe, weights, pinned, name=spec.name)
    key = _Key(
        "file" if recipe.is_file else f"{text} {recipe.serial}",
        digest,
        json.dumps(of_network, sort_keys=True, default=str),
        look_up_template(spec.template).size if recipe.takes_size else None,
        device,
        recipe,
        weights,
        of_network,
    )
    with _LOADING:  # two threads must not read the same weights at once
        network, notes = _network(key)
    if weights is None:
        digest = state_sha256(network) if isinstance(network, torch.nn.Module) else "not known"
    # what else distinguishes two networks of the same file
    digest += f"; {text}" if text.startswith("timm:") else ""
    for option in ("layout", "model_args", "num_classes", "output", "part"):
        if option in of_recipe:
            digest += f"; {option} {json.dumps(of_recipe[option], sort_keys=True, default=str)}"
    # a user's own network may keep state between calls; those of freqlab do not
    reentrant = isinstance(network, torch.nn.Module) and not recipe.is_file and not recipe.serial
    return Model(
        spec,
        network,
        digest,
        device,
        channels_last=recipe.channels_last,
        reentrant=reentrant,
        output=output,
        notes=list(notes),
    )


def _source(text: str, recipe: Recipe, options: Mapping[str, Any]) -> Source:
    """The call of :func:`load_model` that loads a model again, from any working directory."""
    arguments = [repr(os.path.abspath(text) if recipe.is_file else text)]
    for key, value in options.items():
        if key == "checkpoint":
            value = os.path.abspath(existing(value))
        arguments.append(f"{key}={dict(value) if isinstance(value, Mapping) else value!r}")
    before = f"register the model {text!r} with fl.models.register" if recipe.serial else ""
    return Source(f"fl.load_model({', '.join(arguments)})", before)


def _options_of_recipe(text: str, recipe: Recipe, options: Mapping[str, Any]) -> dict[str, Any]:
    """Select the options beyond preprocessing and weights.

    Raises
    ------
    ParameterError
        If the recipe does not take one of them.
    """
    common = (*_PREPROCESSING, "checkpoint", "sha256")
    of_recipe = {key: value for key, value in options.items() if key not in common}
    taken = [*recipe.options, *(["output"] if recipe.picks_output else [])]
    foreign = sorted(of_recipe.keys() - set(taken))
    if foreign:
        own = [] if recipe.is_file else ["checkpoint"]
        allowed = ", ".join([*_PREPROCESSING, *own, "sha256", *taken])
        raise ParameterError(f"model {text!r} takes no {', '.join(foreign)}; allowed: {allowed}")
    return of_recipe


def _digest_of_files(recipe: Recipe, weights: Path, pinned: str, *, name: str) -> str:
    """SHA-256 over all files of the weights; the first is checked against `pinned`."""
    files = [file for part in recipe.files_of(weights) for file in files_of_checkpoint(part)]
    digest = check_sha256(files[0], pinned, name=name)
    if len(files) == 1:
        return digest
    all_files = "".join(f"{file.name} {sha256_of(file)}" for file in files)
    return hashlib.sha256(all_files.encode()).hexdigest()


def _recipe(text: str, options: Mapping[str, Any]) -> tuple[Recipe, frozenset[str]]:
    """Return the recipe that a text names, and the options used only to choose it."""
    if is_known(text):
        return recipe_named(text), frozenset()
    if text.startswith("timm:"):
        return timm_recipe(text), frozenset()
    path = Path(text)
    looks_like_path = path.suffix.lower() in (*_WEIGHT_SUFFIXES, ".onnx") or os.sep in text
    if _is_there(text):
        return _recipe_of_file(path, options)
    if looks_like_path:
        raise WeightsNotFoundError(f"model {text!r}: there is no such file")
    try:
        return recipe_named(text), frozenset()
    except UnknownNameError as error:
        files = _files_named(text)
        if not files:
            raise
        raise UnknownNameError(
            f"model {text!r} is not known; files are given with their suffix: {', '.join(files)}"
        ) from error


def _files_named(stem: str) -> list[str]:
    """Model files in the working directory with this name, before their suffix."""
    suffixes = (*_WEIGHT_SUFFIXES, ".onnx")
    try:
        there = sorted(os.listdir())
    except OSError:
        return []
    return [file for file in there if os.path.splitext(file)[0] == stem and file.endswith(suffixes)]


def _recipe_of_file(path: Path, options: Mapping[str, Any]) -> tuple[Recipe, frozenset[str]]:
    name = options.get("name", path.stem)
    if path.is_dir():
        raise WeightsError(f"model {os.fspath(path)!r} {describe_folder(path)}")
    check_plain_file(path, argument=f"model {os.fspath(path)!r}")
    if path.suffix.lower() == ".onnx":
        recipe = onnx_recipe(
            path,
            name=name,
            preset=options.get("preset"),
            layout=options.get("layout"),
            size_given="template" in options,
            mean=options.get("mean"),
            std=options.get("std"),
        )
        return recipe, frozenset({"preset"})
    if is_program(path):
        trust = options.get("trust", False)
        normalised = "mean" in options and "std" in options
        recipe = program_recipe(path, name=name, trust=trust, normalisation_given=normalised)
        return recipe, frozenset({"trust"})
    state = read_checkpoint(path)
    likely = _looks_like(shapes_of(state))
    could_be = f"could belong to {likely}" if likely else "match no known network"
    raise WeightsError(
        f"{path} holds weights, but neither their network nor the preparation of its input: name "
        f"the network, as in load_model('<name>', checkpoint={os.fspath(path)!r}), or register "
        f"it. Its tensors {could_be}"
    )


def _looks_like(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Names of the models whose networks have such tensors; empty if none is recognised."""
    for pattern, width, names in _TELLTALES:
        for tensor, shape in shapes.items():
            if re.search(rf"(?:^|\.){pattern}$", tensor) and width in (None, shape[0]):
                return names
    return ""


def _is_there(text: str) -> bool:
    """Whether a text that can only be a path, or names a file, exists."""
    if "/" not in text and os.sep not in text and not Path(text).suffix:
        return _is_file(text)
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _is_file(text: str) -> bool:
    """Whether a text is the path of a file; False if it could not be a path."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _weights(recipe: Recipe, checkpoint: str | os.PathLike[str] | None) -> Path | None:
    """Return the path of the weights: given, found on this machine, or fetched."""
    if checkpoint is not None:
        if recipe.is_file:
            raise ParameterError(
                f"checkpoint={os.fspath(checkpoint)!r}: {recipe.spec.weights} is its own weights"
            )
        path = existing(checkpoint)
        argument = f"checkpoint={os.fspath(checkpoint)!r}"
        if path.is_dir() and not recipe.takes_folder:
            raise ParameterError(f"{argument} {describe_folder(path)}")
        return path if path.is_dir() else check_plain_file(path, argument=argument)
    if recipe.own_weights:
        return None
    weights_path = recipe.find()
    if weights_path is None and recipe.fetch is not None:
        weights_path = recipe.fetch()
    if weights_path is None or not weights_path.exists():
        raise WeightsNotFoundError(
            f"the weights of {recipe.spec.name!r} ({recipe.spec.weights}) are not available: "
            f"{how_to_get(recipe)}"
        )
    return weights_path


@dataclass(frozen=True)
class _Key:
    """Identifies a network in memory; holds, without comparing it, how to build the network."""

    source: str
    digest: str
    options_text: str
    size: tuple[int, int] | None
    device: str
    recipe: Recipe = field(compare=False)
    weights: Path | None = field(compare=False)
    options: dict[str, Any] = field(compare=False)


@functools.lru_cache(maxsize=_NETWORKS_KEPT)
def _network(key: _Key) -> tuple[Network, tuple[str, ...]]:
    """Build a network once per process and content of its files; return it with its notes."""
    options = dict(key.options) if key.size is None else {**key.options, "size": key.size}
    try:
        with collected_notes() as notes:
            network = key.recipe.build(key.weights, device=key.device, **options)
    except WeightsMismatchError as error:
        likely = _looks_like(error.shapes)
        named = key.source.partition(" ")[0]
        hint = f". Its tensors could belong to {likely}" if likely else ""
        hint = "" if named.startswith("timm:") and likely == "timm:<architecture>" else hint
        raise WeightsMismatchError(f"{error}{hint}", error.shapes) from error
    if isinstance(network, torch.nn.Module):
        network = network.eval().to(key.device)
        if key.recipe.channels_last:
            network = network.to(memory_format=torch.channels_last)
    return network, tuple(notes)

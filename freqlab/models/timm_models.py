"""Networks of timm as face models: by architecture and checkpoint, by folder, or by hub name.

timm normalises for ImageNet by default, which is wrong for almost every face model. The
declaration here is (pixel - 127.5) / 127.5, RGB, ArcFace template, unless given otherwise.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from freqlab.errors import (
    ParameterError,
    UnknownNameError,
    WeightsError,
    WeightsNotFoundError,
    check_number,
)
from freqlab.models.checkpoints import find_prefix, load_weights, read_checkpoint
from freqlab.models.heads import counts_classes
from freqlab.models.notes import note, note_head
from freqlab.models.recipes import Recipe
from freqlab.models.spec import ModelSpec

__all__ = ["create", "timm_recipe", "weights_in"]

# Weight files of a hub repository, the safe format first.
_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_HUBS = ("hf_hub:", "hf-hub:")
_OPTIONS = ("model_args", "num_classes", "part")


def timm_recipe(name: str) -> Recipe:
    """Make the recipe of ``timm:<architecture>`` or ``timm:hf_hub:<owner>/<model>``.

    Raises
    ------
    UnknownNameError
        If timm has no such architecture.
    WeightsNotFoundError
        If timm is not installed.
    """
    what = name.removeprefix("timm:")
    hub = next((what.removeprefix(prefix) for prefix in _HUBS if what.startswith(prefix)), None)
    spec = ModelSpec(name=name, mean=127.5, std=127.5, weights=f"timm: {what}")
    if hub is not None:
        return Recipe(
            spec,
            _build_from_folder,
            how_to_get=f"fetch {_files_of(hub)} and give checkpoint= with their folder",
            fetch=lambda: _fetch(hub),
            options=_OPTIONS,
            files_of=_files_in,
            takes_folder=True,
            takes_size=True,
            size_of=_size_in_folder,
        )
    _check_architecture(what)
    return Recipe(
        spec,
        functools.partial(_build, architecture=what),
        how_to_get="give checkpoint= with a state dictionary of this architecture trained on "
        "faces, or a folder with config.json and model.safetensors",
        options=_OPTIONS,
        files_of=_files_in,
        takes_folder=True,
        takes_size=True,
        size_of=functools.partial(_size_of, what),
    )


def create(
    architecture: str,
    state: Mapping[str, torch.Tensor],
    source: Path,
    *,
    num_classes: int | None = None,
    **model_args: Any,
) -> nn.Module:
    """Make a network of timm whose last layer is as wide as in the weights.

    `num_classes` sets another width; 0 omits the layer.

    Raises
    ------
    WeightsNotFoundError
        If timm is not installed.
    UnknownNameError
        If timm has no such architecture.

    Warns
    -----
    UserWarning
        If the last layer seems to be a classifier's, and `num_classes` is not given.
    """
    name = _check_architecture(architecture)
    num_classes = model_args.pop("num_classes", num_classes)
    if num_classes is not None:
        check_number("num_classes", num_classes, at_least=0, whole=True)
        return _create(name, num_classes, model_args)
    network: Any = _create(name, 0, model_args)
    prefix = find_prefix(state, network.state_dict(), source=source)
    for classifier in _classifiers(network):
        # a layer split into two (EdgeFace) ends in its second half
        heads = [state.get(f"{prefix}{classifier}{half}.weight") for half in ("", ".linear2")]
        for head in heads:
            if head is not None:
                if counts_classes(len(head)):
                    note_head(
                        f"the {len(head)} outputs of {architecture} come from its head "
                        f"{classifier!r} (num_classes=0 gives the {network.num_features} features "
                        f"before the head, num_classes={len(head)} accepts it as an embedding); by "
                        f"their number they are the scores of a classifier"
                    )
                return _create(name, len(head), model_args)
    return cast(nn.Module, network)


def _classifiers(network: Any) -> list[str]:
    """Names of the layers that make a network's output."""
    classifier = network.default_cfg.get("classifier") or ()
    return [classifier] if isinstance(classifier, str) else list(classifier)


def _check_architecture(architecture: str) -> str:
    """Name of an architecture without the tag of its weights; suggest names if unknown."""
    timm = _timm()
    name = architecture.partition(".")[0]
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise UnknownNameError(f"timm has no architecture {name!r}{hint}")
    return name


def _create(name: str, n_features: int, model_args: Mapping[str, Any]) -> nn.Module:
    arguments = dict(model_args)
    size = arguments.pop("size", None)
    timm = _timm()
    try:
        if size is not None and "img_size" not in arguments:
            try:
                return timm.create_model(name, num_classes=n_features, img_size=size, **arguments)
            except TypeError:  # convolutional networks take any size and lack this argument
                pass
        return timm.create_model(name, num_classes=n_features, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise ParameterError(f"model_args={arguments!r} of {name!r}: {reason}") from error


def _build(
    weights: Path,
    *,
    device: str,
    architecture: str,
    part: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Build an architecture with a state dictionary, or as a folder declares it."""
    if weights.is_dir():
        declared = _declared(weights)["architecture"]
        if declared != architecture.partition(".")[0]:
            raise WeightsError(
                f"{weights} holds a network of architecture {declared!r}, not {architecture!r}"
            )
        return _build_from_folder(
            weights, device=device, part=part, model_args=model_args, **options
        )
    state = read_checkpoint(weights, part=part)
    network = create(architecture, state, weights, **{**options, **(model_args or {})})
    return _filled(network, state, weights)


def _filled(network: Any, state: Mapping[str, torch.Tensor], source: Path) -> nn.Module:
    """Load the weights, without a head that the network was built without."""
    ignore = [f"{name}." for name in _classifiers(network)] if network.num_classes == 0 else []
    prefix = find_prefix(state, network.state_dict(), source=source)
    left_out = {n for n in state if n.startswith(tuple(prefix + name for name in ignore))}
    if left_out:
        note(f"the head of {source.name} was left out: {', '.join(sorted(left_out))}")
    load_weights(network, state, source=source, ignore=ignore)
    return cast(nn.Module, network)


def weights_in(folder: Path) -> Path:
    """Return the weight file in a folder laid out as on the hub.

    Raises
    ------
    WeightsNotFoundError
        If there is none.
    """
    for name in _WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsNotFoundError(f"{folder} holds neither {' nor '.join(_WEIGHT_FILES[::2])}")


def _build_from_folder(
    weights: Path,
    *,
    device: str,
    part: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Build what a hub's ``config.json`` declares, with the weights beside it."""
    folder = weights if weights.is_dir() else weights.parent
    declared, file = _declared(folder), weights_in(folder)
    state = read_checkpoint(file, part=part)
    arguments = {**options, **declared["model_args"], **(model_args or {})}
    network = create(declared["architecture"], state, file, **arguments)
    return _filled(network, state, file)


def _declared(folder: Path) -> dict[str, Any]:
    """Read architecture and arguments from a folder's ``config.json``."""
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsNotFoundError(f"{folder} lacks config.json, which names the architecture")
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        return {
            "architecture": str(content["architecture"]),
            "model_args": dict(content.get("model_args") or {}),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{config} does not name an architecture of timm: {error}") from error


def _size_in_folder(weights: Path, options: Mapping[str, Any]) -> tuple[int, int] | None:
    """Size of images by a folder's configuration, or by its weights."""
    folder = weights if weights.is_dir() else weights.parent
    declared = _declared(folder)
    model_args = {**declared["model_args"], **(options.get("model_args") or {})}
    return _size_of(declared["architecture"], weights_in(folder), {"model_args": model_args})


def _size_of(
    architecture: str, weights: Path, options: Mapping[str, Any]
) -> tuple[int, int] | None:
    """Size of images by the arguments, or by the table of positions in the weights."""
    given = (options.get("model_args") or {}).get("img_size")
    if given is not None:
        size = (given, given) if isinstance(given, int) else tuple(given)
        if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
            raise ParameterError(f"model_args: img_size={given!r} must be one or two lengths")
        return size
    if weights.is_dir():
        return _size_in_folder(weights, options)
    state = read_checkpoint(weights, part=options.get("part"))
    return _size_of_positions(state)


def _size_of_positions(state: Mapping[str, torch.Tensor]) -> tuple[int, int] | None:
    """Size of the square images of a transformer with one position per patch."""
    patches = [t for n, t in state.items() if n.endswith("patch_embed.proj.weight") and t.ndim == 4]
    tables = [t for n, t in state.items() if n.endswith("pos_embed")]
    if len(patches) != 1 or len(tables) != 1 or patches[0].shape[-1] != patches[0].shape[-2]:
        return None
    patch, table = int(patches[0].shape[-1]), tables[0]
    if table.ndim == 4 and table.shape[1] == table.shape[2]:
        return (int(table.shape[1]) * patch,) * 2
    if table.ndim != 3:
        return None
    others = [t for n, t in state.items() if re.search(r"(?:cls|dist|reg)_token$", n)]
    n_others = sum(int(t.shape[1]) for t in others if t.ndim == 3)
    for n_patches in (int(table.shape[1]) - n_others, int(table.shape[1])):
        side = math.isqrt(max(0, n_patches))
        if side and side * side == n_patches:
            return (side * patch, side * patch)
    return None


def _files_in(weights: Path) -> list[Path]:
    """The weight file, and in a folder also the configuration."""
    if not weights.is_dir():
        return [weights]
    return [file for file in (weights_in(weights), weights / "config.json") if file.is_file()]


def _files_of(hub: str) -> str:
    return f"config.json and {_WEIGHT_FILES[0]} of {hub} on the Hugging Face hub"


def _fetch(hub: str) -> Path:
    """Fetch a repository's configuration and weights into the hub's own cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    repository, _, revision = hub.partition("@")

    def get(name: str) -> Path:
        return Path(hf_hub_download(repository, name, revision=revision or None))

    try:
        folder = get("config.json").parent
        try:
            get(_WEIGHT_FILES[0])
        except EntryNotFoundError:
            get(_WEIGHT_FILES[2])
    except HFValidationError as error:
        raise ParameterError(f"timm:hf_hub:{hub}: {error}") from error
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise WeightsNotFoundError(
            f"{hub} could not be fetched ({str(error).splitlines()[0]}). Fetch {_files_of(hub)} "
            f"elsewhere, put them into one folder, and give checkpoint= with that folder"
        ) from error
    return folder


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise WeightsNotFoundError(
            "this model is a network of timm, which is not installed: pip install 'freqlab[timm]'"
        ) from error
    return timm

"""How a model known by name is loaded: its declaration, and the location of its weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from freqlab.errors import ParameterError, WeightsError, WeightsNotFoundError
from freqlab.models.devices import resolve_device
from freqlab.models.spec import ModelSpec, Network

__all__ = [
    "Recipe",
    "check_sha256",
    "existing",
    "how_to_get",
    "in_torch_home",
    "no_size",
    "nowhere",
    "sha256_of",
    "single_file",
    "template_of_size",
    "torch_home",
    "unknown_normalisation",
]


def nowhere() -> Path | None:
    """Location of weights that must always be given: None."""
    return None


def single_file(weights: Path) -> list[Path]:
    """List the files of weights that are a single file."""
    return [weights]


def no_size(weights: Path, options: Mapping[str, Any]) -> tuple[int, int] | None:
    """Size of images for weights that do not determine it: None."""
    return None


@dataclass(frozen=True)
class Recipe:
    """A model by name.

    Parameters
    ----------
    spec
        Its declaration.
    build
        ``build(weights, device=..., **options)`` makes the network; `weights` is the path of the
        weight file, or None for a network that includes its weights. A module may stay on the CPU.
    find
        Returns the location of the weights on this machine, or None if they are missing.
    how_to_get
        Instructions for that case, in words.
    known_file
        Name of the file to which ``spec.sha256`` belongs.
    options
        Options of :func:`freqlab.load_model` that `build` takes.
    own_weights
        Whether `build` needs no file.
    is_file
        Whether the recipe was made from a model file, which holds its weights.
    auto_device
        Chooses the device for ``"auto"``.
    fetch
        Downloads the weights on first use and returns their path; None if freqlab does not.
    files_of
        All files that a checkpoint consists of, the tensors first; their content identifies it.
    takes_folder
        Whether a checkpoint may be a folder.
    takes_size
        Whether `build` takes the crop's ``size`` (height, width).
    size_of
        Height and width of the images that the weights, with the options given, were made for;
        None if unknown. They determine the template if the caller does not give it.
    picks_output
        Whether :func:`freqlab.load_model` accepts ``output=`` for it, which selects the embedding
        among the outputs of the network.
    channels_last
        Whether the network may be run with channels last in memory, which is faster.
    serial
        Registration number of a user's model; 0 for models that come with freqlab.
    """

    spec: ModelSpec
    build: Callable[..., Network]
    find: Callable[[], Path | None] = nowhere
    how_to_get: str = ""
    known_file: str = ""
    options: tuple[str, ...] = ()
    own_weights: bool = False
    is_file: bool = False
    auto_device: Callable[[], str] = lambda: resolve_device("auto")
    fetch: Callable[[], Path] | None = None
    files_of: Callable[[Path], list[Path]] = single_file
    takes_folder: bool = False
    takes_size: bool = False
    size_of: Callable[[Path, Mapping[str, Any]], tuple[int, int] | None] = no_size
    picks_output: bool = False
    channels_last: bool = True
    serial: int = 0

    def is_here(self) -> bool:
        """Whether the model can be loaded without giving or fetching a file."""
        return self.own_weights or self.find() is not None


def template_of_size(size: tuple[int, int] | None, path: Path) -> str:
    """Template of the ArcFace family for a size of images; the usual one if the size is unknown.

    Raises
    ------
    ParameterError
        If there is no template of that size.
    """
    if size in (None, (112, 112)):
        return "arcface"
    if size == (112, 96):
        return "112x96"
    if size is not None and size[0] == size[1]:
        return f"arcface-{size[0]}"
    raise ParameterError(f"{path} takes images of {size}; give template=, of that size")


def unknown_normalisation(path: Path) -> str:
    """Describe that a model file does not declare its normalisation, and what to do."""
    return (
        f"{path} does not say how its input is normalised: give both mean= and std= (the network "
        f"sees (pixel - mean) / std of pixels 0..255; 0 and 1 if it normalises them itself)"
    )


def torch_home() -> Path:
    """Return the folder in which PyTorch keeps downloaded weights (set by ``TORCH_HOME``)."""
    return Path(torch.hub.get_dir(), "checkpoints")


def in_torch_home(name: str) -> Callable[[], Path | None]:
    """Make a function that finds a file where PyTorch and facenet-pytorch keep downloads."""

    def find() -> Path | None:
        folder = torch_home()
        for path in (folder / name, folder.parent.parent / "checkpoints" / name):
            if path.is_file():
                return path
        return None

    return find


def how_to_get(recipe: Recipe) -> str:
    """Say what to do if the weights are missing; the user's home is written ``~``."""
    home, user = os.fspath(torch_home()), os.path.expanduser("~")
    return recipe.how_to_get.format(home=home.replace(user, "~", 1) if user != "/" else home)


def existing(checkpoint: str | os.PathLike[str]) -> Path:
    """Return the path of an existing checkpoint.

    Raises
    ------
    WeightsNotFoundError
        If it does not exist.
    """
    path = Path(checkpoint)
    if not path.exists():
        raise WeightsNotFoundError(f"checkpoint={os.fspath(checkpoint)!r}: no such file")
    return path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str, *, name: str) -> str:
    """Return the SHA-256 of a weight file; refuse it if another one is expected.

    Raises
    ------
    WeightsError
        If it differs.
    """
    digest = sha256_of(path)
    if expected and digest != expected.lower():
        raise WeightsError(
            f"{path} is not the known weight file of {name!r}: SHA-256 {digest}, "
            f"expected {expected}"
        )
    return digest

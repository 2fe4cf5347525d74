"""How a model that is known by name is loaded: the declaration, and where its weights are."""

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
    """The place of weights that have none: they are always given."""
    return None


def single_file(weights: Path) -> list[Path]:
    """The files of weights that are one file."""
    return [weights]


def no_size(weights: Path, options: Mapping[str, Any]) -> tuple[int, int] | None:
    """The size of images that weights do not tell."""
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
        weight file, or None for a network that brings its own. A module may be left on the CPU.
    find
        Where the weights lie on this machine; None if they are not here.
    how_to_get
        What to do then, in words.
    known_file
        Name of the one file that ``spec.sha256`` is of.
    options
        Options of :func:`freqlab.load_model` that `build` takes.
    own_weights
        Whether `build` needs no file.
    is_file
        Whether it was made of a model file, which is its own weights.
    auto_device
        Chooses the device that ``"auto"`` stands for.
    fetch
        Downloads the weights on first use and returns their path; None where freqlab does not.
    files_of
        All files that a checkpoint consists of, the tensors first; their content identifies it.
    takes_folder
        Whether a checkpoint may be a folder.
    takes_size
        Whether `build` takes the crop's ``size`` (height, width).
    size_of
        Height and width of the images that weights, with the options given, were made for; None
        where they do not tell. They settle the template if nobody says it.
    picks_output
        Whether :func:`freqlab.load_model` takes ``output=`` for it, which of the things that the
        network returns is the embedding.
    channels_last
        Whether the network may be run with channels last in memory, which is faster.
    serial
        Number of the registration of a user's own model; 0 for models that come with freqlab.
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
        """Whether the model could be loaded without being given or fetching anything."""
        return self.own_weights or self.find() is not None


def template_of_size(size: tuple[int, int] | None, path: Path) -> str:
    """The template of the ArcFace family for images of a size; the usual one where none is told.

    Raises
    ------
    ParameterError
        If there is none of that size.
    """
    if size in (None, (112, 112)):
        return "arcface"
    if size == (112, 96):
        return "112x96"
    if size is not None and size[0] == size[1]:
        return f"arcface-{size[0]}"
    raise ParameterError(f"{path} takes images of {size}; give template=, of that size")


def unknown_normalisation(path: Path) -> str:
    """Say that a model file does not tell how its input is normalised, and what to do."""
    return (
        f"{path} does not say how its input is normalised: give both mean= and std= (the network "
        f"sees (pixel - mean) / std of pixels 0..255; 0 and 1 if it normalises them itself)"
    )


def torch_home() -> Path:
    """The folder in which PyTorch keeps downloaded weights (``TORCH_HOME`` moves it)."""
    return Path(torch.hub.get_dir(), "checkpoints")


def in_torch_home(name: str) -> Callable[[], Path | None]:
    """Look for a file where PyTorch, and facenet-pytorch, keep downloaded weights."""

    def find() -> Path | None:
        folder = torch_home()
        for path in (folder / name, folder.parent.parent / "checkpoints" / name):
            if path.is_file():
                return path
        return None

    return find


def how_to_get(recipe: Recipe) -> str:
    """What to do where the weights are not here; the user's home is written ``~``."""
    home, user = os.fspath(torch_home()), os.path.expanduser("~")
    return recipe.how_to_get.format(home=home.replace(user, "~", 1) if user != "/" else home)


def existing(checkpoint: str | os.PathLike[str]) -> Path:
    """The path of a checkpoint that is there.

    Raises
    ------
    WeightsNotFoundError
        If it is not.
    """
    path = Path(checkpoint)
    if not path.exists():
        raise WeightsNotFoundError(f"checkpoint={os.fspath(checkpoint)!r}: no such file")
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str, *, name: str) -> str:
    """Return the SHA-256 of a weight file; refuse another one than expected, if any is.

    Raises
    ------
    WeightsError
        If it differs.
    """
    found = sha256_of(path)
    if expected and found != expected.lower():
        raise WeightsError(
            f"{path} is not the known weight file of {name!r}: SHA-256 {found}, expected {expected}"
        )
    return found

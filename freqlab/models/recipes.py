"""How a model that is known by name is loaded: the declaration, and where its weights are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from freqlab.errors import WeightsError
from freqlab.models.devices import resolve_device
from freqlab.models.spec import ModelSpec, Network

__all__ = [
    "Recipe",
    "check_sha256",
    "in_torch_home",
    "nowhere",
    "sha256_of",
    "torch_home",
    "unknown_normalisation",
]


def nowhere() -> Path | None:
    """The place of weights that have none: they are always given."""
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

"""Files that are programs: TorchScript and ``torch.export``.

Neither format can be loaded without running, or evaluating, what the file says: TorchScript is
code for an interpreter whose operations reach the file system, and reading a ``torch.export`` file
evaluates expressions and falls back on unpickling. So they are loaded when the user says that the
file is trusted, and refused otherwise.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from freqlab.errors import UntrustedModelError, WeightsError
from freqlab.models.checkpoints import is_program
from freqlab.models.recipes import Recipe
from freqlab.models.spec import ModelSpec, Network

__all__ = ["program_recipe"]


def program_recipe(path: Path, *, name: str) -> Recipe:
    """How to load a TorchScript or ``torch.export`` file."""
    kind = is_program(path)
    spec = ModelSpec(name=name, mean=127.5, std=127.5, weights=f"{kind} file {path.name}")
    return Recipe(spec, _build, find=lambda: path, options=("trust",))


class _FirstOutput:
    """Takes the embedding of a network that returns it first of several outputs."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        found: Any = self._network(images)
        return found[0] if isinstance(found, (tuple, list)) and found else found


def _build(weights: Path, *, device: str, trust: bool = False) -> _FirstOutput:
    kind = is_program(weights)
    if not trust:
        raise UntrustedModelError(
            f"{weights} is a {kind} file, which is a program: loading it runs what it says, and "
            f"freqlab does not do so unasked. If you trust where it comes from, load it with "
            f"trust=True; otherwise ask for an ONNX file, or for weights alone (safetensors, "
            f"state_dict) and name the network"
        )
    try:
        with warnings.catch_warnings():
            # that the format is no longer developed is no news to whoever was given such a file
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            if kind == "TorchScript":
                return _FirstOutput(torch.jit.load(str(weights), map_location=device).eval())
            network = torch.export.load(str(weights)).module()
    except Exception as error:  # whatever a damaged file makes the loaders stumble over
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{weights} cannot be loaded as a {kind} file: {reason}") from error
    return _FirstOutput(network.to(device))

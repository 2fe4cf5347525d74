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

from freqlab.errors import ParameterError, UntrustedModelError, WeightsError
from freqlab.models.checkpoints import is_program
from freqlab.models.recipes import Recipe, unknown_normalisation
from freqlab.models.spec import ModelSpec, Network

__all__ = ["program_recipe"]


def program_recipe(path: Path, *, name: str, trust: bool, normalisation_given: bool) -> Recipe:
    """How to load a TorchScript or ``torch.export`` file.

    Raises
    ------
    UntrustedModelError
        If the caller does not trust it.
    ParameterError
        If the caller does not say the mean and the standard deviation: the file does not.
    """
    kind = is_program(path)
    if not trust:
        raise UntrustedModelError(
            f"{path} is a {kind} file, which is a program: loading it runs what it says, and "
            f"freqlab does not do so unasked. If you trust where it comes from, load it with "
            f"trust=True; otherwise ask for an ONNX file, or for weights alone (safetensors, "
            f"state_dict) and name the network"
        )
    if not normalisation_given:
        raise ParameterError(unknown_normalisation(path))
    spec = ModelSpec(name=name, weights=f"{kind} file {path.name}")
    return Recipe(spec, _build, find=lambda: path, is_file=True, channels_last=False)


class _FirstOutput:
    """Takes the embedding of a network that returns it first of several outputs.

    Parameters
    ----------
    network
        The network.
    batch
        Images it takes at once, where the file fixes that.
    """

    def __init__(self, network: Network, batch: int | None = None) -> None:
        self._network = network
        self._batch = batch

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if self._batch is None:
            return self._run(images)
        n_images, found = len(images), []
        for part in images.split(self._batch):
            missing = self._batch - len(part)
            found.append(self._run(torch.cat([part, part[-1:].expand(missing, -1, -1, -1)])))
        return torch.cat(found)[:n_images]

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        found: Any = self._network(images.contiguous())
        return found[0] if isinstance(found, (tuple, list)) and found else found


def _fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """Images at once, where an exported program was not made for any number."""
    names = program.graph_signature.user_inputs
    inputs = [node for node in program.graph.nodes if node.name in names]
    if len(inputs) != 1:
        return None
    first = inputs[0].meta["val"].shape[0]
    return first if isinstance(first, int) else None


def _build(weights: Path, *, device: str) -> _FirstOutput:
    kind = is_program(weights)
    try:
        with warnings.catch_warnings():
            # that the format is no longer developed is no news to whoever was given such a file
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            if kind == "TorchScript":
                return _FirstOutput(torch.jit.load(str(weights), map_location=device).eval())
            program = torch.export.load(str(weights))
            network, batch = program.module(), _fixed_batch(program)
    except Exception as error:  # whatever a damaged file makes the loaders stumble over
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{weights} cannot be loaded as a {kind} file: {reason}") from error
    return _FirstOutput(network.to(device), batch)

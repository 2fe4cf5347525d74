"""Files that are programs: TorchScript and ``torch.export``.

Neither format can be loaded without executing or evaluating the contents of the file. TorchScript
is code for an interpreter whose operations reach the file system; reading a ``torch.export`` file
evaluates expressions and falls back on unpickling. Such files are therefore loaded only if the
user declares the file trusted.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from freqlab.errors import ParameterError, UntrustedModelError, WeightsError
from freqlab.models.checkpoints import check_archive, is_program
from freqlab.models.recipes import Recipe, no_size, unknown_normalisation
from freqlab.models.spec import ModelSpec, Network

__all__ = ["program_recipe"]


def program_recipe(path: Path, *, name: str, trust: bool, normalisation_given: bool) -> Recipe:
    """Make the recipe of a TorchScript or ``torch.export`` file.

    Raises
    ------
    UntrustedModelError
        If the caller does not declare it trusted.
    ParameterError
        If the caller does not give the mean and the standard deviation, which the file lacks.
    """
    kind = is_program(path)
    if not trust:
        raise UntrustedModelError(
            f"{path} is a {kind} file, which is a program: loading it runs its code, and freqlab "
            f"does so only on request. If you trust its source, load it with trust=True; otherwise "
            f"ask for an ONNX file, or for weights alone (safetensors, state_dict) and name the "
            f"network"
        )
    if not normalisation_given:
        raise ParameterError(unknown_normalisation(path))
    check_archive(path)
    spec = ModelSpec(name=name, weights=f"{kind} file {path.name}")
    return Recipe(
        spec,
        _build,
        find=lambda: path,
        is_file=True,
        channels_last=False,
        size_of=_size_of if kind == "torch.export" else no_size,
        picks_output=True,
    )


class _Program:
    """A network from a file, run in batches of the size that the file fixes, if any.

    Parameters
    ----------
    network
        The network.
    batch
        Number of images per call, where the file fixes it.
    """

    def __init__(self, network: Network, batch: int | None = None) -> None:
        self._network = network
        self._batch = batch

    def __call__(self, images: torch.Tensor) -> Any:
        if self._batch is None:
            return self._network(images.contiguous())
        parts = []
        for part in images.split(self._batch):
            missing = self._batch - len(part)
            full = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)])
            parts.append(self._network(full.contiguous()))
        return _joined(parts, len(images))


def _joined(parts: Sequence[Any], n: int) -> Any:
    """Concatenate the results of batches, output by output; keep the first `n` rows."""
    first = parts[0]
    if isinstance(first, torch.Tensor) and first.ndim:
        return torch.cat(list(parts))[:n]
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts], n) for key in first}
    if isinstance(first, (tuple, list)):
        return [_joined([part[i] for part in parts], n) for i in range(len(first))]
    return first


def _lengths(program: torch.export.ExportedProgram) -> list[int | None]:
    """Lengths of the input of an exported program; None where any length is allowed."""
    names = program.graph_signature.user_inputs
    inputs = [node for node in program.graph.nodes if node.name in names]
    if len(inputs) != 1:
        return []
    shape = inputs[0].meta["val"].shape
    return [length if isinstance(length, int) else None for length in shape]


def _size_of(weights: Path, options: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width that an exported program was made for."""
    try:
        lengths = _lengths(torch.export.load(str(weights)))
    except Exception:  # reported when the network is built
        return None
    if len(lengths) != 4 or lengths[2] is None or lengths[3] is None:
        return None
    return lengths[2], lengths[3]


def _build(weights: Path, *, device: str) -> _Program:
    kind = is_program(weights)
    try:
        with warnings.catch_warnings():
            # the recipient of such a file need not be told that the format is no longer developed
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            if kind == "TorchScript":
                return _Program(torch.jit.load(str(weights), map_location=device).eval())
            program = torch.export.load(str(weights))
            network, batch = program.module(), next(iter(_lengths(program)), None)
    except Exception as error:  # loaders can raise anything for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{weights} cannot be loaded as a {kind} file: {reason}") from error
    return _Program(network.to(device), batch)

"""Devices on which models run."""

from __future__ import annotations

import torch

from freqlab.errors import ParameterError

__all__ = ["resolve_device"]


def resolve_device(device: str) -> str:
    """Resolve the device ``"auto"`` (CUDA, else MPS, else CPU), and check any other.

    Raises
    ------
    ParameterError
        If this machine has no such device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(
            f"device {device!r} cannot be used here ({reason}); allowed: auto, cpu, cuda, "
            f"cuda:1, mps, ..."
        ) from error
    return device

"""Where models run."""

from __future__ import annotations

import torch

from freqlab.errors import ParameterError

__all__ = ["resolve_device"]


def resolve_device(device: str) -> str:
    """Choose the device that ``"auto"`` stands for, and check any other.

    Raises
    ------
    ParameterError
        If there is no such device here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(
            f"device {device!r} cannot be used here ({reason}); allowed: auto, cpu, cuda, ..."
        ) from error
    return device

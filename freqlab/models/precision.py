"""Precision in which networks compute."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any

import torch

from freqlab.errors import ParameterError, check_name
from freqlab.literals import Precision
from freqlab.models.spec import Model

__all__ = ["PRECISIONS", "in_precision"]

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "auto")


def in_precision(model: Model, precision: Precision) -> Model:
    """Return the same model, computing in another precision.

    In bfloat16, weights and activations have 8 significant bits. Images are still masked, and
    embeddings compared, in float32. A run measures and stores the effect on influence.

    Parameters
    ----------
    model
        The model.
    precision
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 if the device multiplies it faster
        and the network is a PyTorch module, else float32.

    Raises
    ------
    ParameterError
        If the network is not a PyTorch module: its file or function fixes the precision.
    UnknownNameError
        If the precision is unknown.
    """
    check_name("precision", precision, PRECISIONS)
    is_module = isinstance(model.network, torch.nn.Module)
    wanted: str = precision
    if precision == "auto":
        fast = is_module and model.precision == "float32" and _has_fast_bfloat16(model.device)
        wanted = "bfloat16" if fast else model.precision
    if wanted == model.precision:
        return model
    if not is_module or model.precision != "float32":
        raise ParameterError(
            f"precision={wanted!r}: model {model.name!r} computes in {model.precision}, as its "
            f"file or function says; only modules of PyTorch can be brought to another"
        )
    network = _cast(model.network)
    return dataclasses.replace(model, network=network, precision=wanted, original=model)


@functools.lru_cache(maxsize=4)
def _cast(network: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a module in bfloat16; the copy is cached per module."""
    return copy.deepcopy(network).to(torch.bfloat16)


def _has_fast_bfloat16(device: str) -> bool:
    """Whether the device has instructions that multiply bfloat16."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.startswith("cpu"):
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False

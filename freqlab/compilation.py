"""Networks compiled for speed: when that pays, and how it is done.

Compiling takes half a minute, so a short run does without. A long one begins as it is, has the
network compiled beside the work, and goes on with the compiled one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any

import torch

from freqlab.errors import ModelError
from freqlab.models.spec import Model, Network

__all__ = ["WORTH_SECONDS", "compiled", "is_compiled", "why_not_compilable"]

WORTH_SECONDS = 120.0
"""Expected time of a run, uncompiled, from which compiling pays: it takes some 30 s on two cores,
and saves a third of the time or more."""

# Least cosine between the embeddings of a network and its compiled self.
_SAME = 0.9999
_SAME_BFLOAT16 = 0.99


def why_not_compilable(model: Model) -> str:
    """Why a model's network cannot be compiled, or nothing."""
    if not isinstance(model.network, torch.nn.Module):
        return "it is not a PyTorch module"
    if isinstance(model.network, torch.jit.ScriptModule):
        return "it is a TorchScript program"
    if not model.device.startswith(("cpu", "cuda")):
        return f"it runs on {model.device}"
    return ""


def is_compiled(model: Model) -> bool:
    """Whether a model came from :func:`compiled`."""
    return isinstance(model.network, _Compiled)


@torch.inference_mode()  # as the work runs: PyTorch would compile again for tensors made outside
def compiled(model: Model, *, batch_size: int, threads: int) -> Model:
    """The same model with its network compiled for batches of one size.

    Parameters
    ----------
    model
        The model.
    batch_size
        Images per forward pass.
    threads
        Cores that one call may use, on a CPU.

    Raises
    ------
    ModelError
        If the network cannot be compiled, or embeds otherwise once it is.
    """
    why_not = why_not_compilable(model)
    if why_not:
        raise ModelError(f"model {model.name!r} cannot be compiled: {why_not}")
    height, width = model.template.size
    chance = torch.Generator().manual_seed(0)
    images = (torch.rand(batch_size, 3, height, width, generator=chance) * 255).to(model.device)
    prepared = model.prepare(images).to(model.dtype)
    expected = model.forward(prepared)
    try:
        network = _compile(model.network, model.device)
        faster = dataclasses.replace(model, network=network)
        if not model.device.startswith("cuda"):
            # the size of a batch stays open: oneDNN's products, which fuse what follows them, are
            # chosen only then, and are faster than MKL's
            torch._dynamo.maybe_mark_dynamic(prepared, 0)
        with _settings(model.device, threads):  # the first call compiles
            found = faster.forward(prepared)
    except Exception as error:  # no C++ compiler, a network that cannot be traced, ...
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ModelError(f"model {model.name!r} cannot be compiled: {lines[0]}") from error
    cosine = torch.nn.functional.cosine_similarity(found, expected).min().item()
    if not cosine >= (_SAME if model.precision == "float32" else _SAME_BFLOAT16):
        raise ModelError(
            f"model {model.name!r} embeds otherwise once it is compiled (cosine {cosine:.5f})"
        )
    return faster


@functools.lru_cache(maxsize=8)
def _compile(network: torch.nn.Module, device: str) -> Network:
    """Wrap a network so that its first call compiles it; the same wrapper for the same network."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    if device.startswith("cuda"):
        return _Compiled(torch.compile(network, dynamic=False, mode="reduce-overhead"))
    return _Compiled(torch.compile(network))


def _settings(device: str, threads: int) -> contextlib.AbstractContextManager[Any]:
    """How the compiler is to work, in this thread.

    Given as ``options`` of ``torch.compile`` they reach only part of it: measured on two cores,
    EdgeFace-XS runs at 580 images/s that way, and at 700 this way.
    """
    import torch._inductor.config

    if not device.startswith("cpu"):
        return contextlib.nullcontext()
    settings = {
        "freezing": True,  # weights are constants: folds normalisation, packs them in advance
        "cpp_wrapper": True,  # no Python between kernels
        "cpp.threads": threads,
    }
    patch: contextlib.AbstractContextManager[Any] = torch._inductor.config.patch(settings)
    return patch


class _Compiled:
    """A compiled network as a plain callable, not a module that could be put in training mode."""

    def __init__(self, network: Callable[[torch.Tensor], Any]) -> None:
        self._network = network

    def __call__(self, images: torch.Tensor) -> Any:
        return self._network(images)

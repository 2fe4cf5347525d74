"""What freqlab needs to know of a face-recognition model, and the model itself, ready to run."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from freqlab.alignment import Template, template
from freqlab.errors import ModelError, ParameterError, check_name, check_number
from freqlab.models.devices import resolve_device

__all__ = ["Model", "ModelSpec", "Network", "state_sha256", "wrap_model"]

Network = Callable[[torch.Tensor], torch.Tensor]
"""Maps normalised images ``(n, 3, height, width)`` to embeddings ``(n, feature)``."""


@dataclass(frozen=True)
class ModelSpec:
    """The declaration of a model: what goes in, and where the weights come from.

    Parameters
    ----------
    name
        Its name in stores, results and on the command line.
    template
        Name of the alignment template; it fixes the input size.
    channels
        Order of the colour channels the network was trained on.
    mean, std
        The network sees ``(pixel - mean) / std`` of pixels 0..255.
    weights
        Where the weights come from, in words.
    licence, citation
        Terms of the weights, and what to cite.
    """

    name: str
    template: str = "arcface"
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: float = 0.0
    std: float = 1.0
    weights: str = ""
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ParameterError(f"name={self.name!r} of a model must be text")
        if not self.name or not self.name.isprintable() or self.name.startswith((".", "__")):
            raise ParameterError(
                f"name={self.name!r} of a model must be printable text that begins with neither "
                f"'.' nor '__'"
            )
        template(self.template)
        check_name("channel order", self.channels, ["RGB", "BGR"])
        check_number("mean", self.mean)
        check_number("std", self.std, above=0)


@dataclass(frozen=True)
class Model:
    """A model that maps crops to embeddings.

    Parameters
    ----------
    spec
        Its declaration.
    network
        Maps normalised images ``(n, 3, height, width)`` to embeddings ``(n, feature)``.
    checkpoint
        SHA-256 of the weights, or whatever else tells one version from another.
    device
        Where the network runs.
    verify
        Whether a store embeds a reference crop to see that a model of this name is still the
        same, because the checkpoint does not settle it.
    """

    spec: ModelSpec
    network: Network = field(repr=False)
    checkpoint: str
    device: str = "cpu"
    verify: bool = False

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def template(self) -> Template:
        """The alignment template of its crops."""
        return template(self.spec.template)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Embed crops.

        Parameters
        ----------
        images
            RGB crops ``(n, 3, height, width)``, float, nominally 0..255 (a crop with a band
            removed may lie outside), on the model's device.

        Returns
        -------
        torch.Tensor
            Embeddings ``(n, feature)``, float32, not scaled to unit length.

        Raises
        ------
        ModelError
            If the network fails, or returns another shape, numbers that are not finite, or zeros.
        """
        if self.spec.channels == "BGR":
            images = images.flip(1)
        normalised = (images - self.spec.mean) / self.spec.std
        with _evaluating(self.network), _full_precision(self.device), torch.inference_mode():
            try:
                features = self.network(normalised.contiguous(memory_format=torch.channels_last))
            except Exception as error:  # whatever a user's network stumbles over
                raise ModelError(
                    f"model {self.name!r} failed on {tuple(images.shape)} float32 crops: "
                    f"{type(error).__name__}: {error}"
                ) from error
        if not isinstance(features, torch.Tensor):
            raise ModelError(
                f"model {self.name!r} returned a {type(features).__name__}; expected a tensor "
                f"({len(images)}, feature)"
            )
        if features.ndim != 2 or len(features) != len(images):
            raise ModelError(
                f"model {self.name!r} returned shape {tuple(features.shape)} for "
                f"{len(images)} crops; expected ({len(images)}, feature)"
            )
        if not bool(torch.isfinite(features).all()):
            raise ModelError(f"model {self.name!r} returned embeddings that are not finite")
        if not bool((features != 0).any(dim=1).all()):
            raise ModelError(f"model {self.name!r} returned an embedding of nothing but zeros")
        return features.float()

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two embeddings of this name to be comparable."""
        return {
            "name": self.name,
            "checkpoint": self.checkpoint,
            "template": self.spec.template,
            "input_size": list(self.template.size),
            "channels": self.spec.channels,
            "mean": self.spec.mean,
            "std": self.spec.std,
            "precision": "float32",
        }


def wrap_model(
    network: Network,
    *,
    name: str,
    template: str = "arcface",
    channels: Literal["RGB", "BGR"] = "RGB",
    mean: float = 0.0,
    std: float = 1.0,
    device: str = "cpu",
    version: str = "",
) -> Model:
    """Make a model of any callable ``(n, 3, height, width) float32 -> (n, feature)`` in PyTorch.

    Parameters
    ----------
    network
        A module or function. It gets RGB pixels 0..255 unless `channels`, `mean` and `std` say
        otherwise. A module is moved to `device` and run in evaluation mode; its weights are
        hashed, so that a store notices other weights under the same name.
    name
        Its name in stores and results.
    template
        Alignment template of its crops.
    channels, mean, std
        What the network expects, as in :class:`ModelSpec`.
    device
        Where it runs.
    version
        Tells versions of a plain function apart, whose insides cannot be hashed. A store also
        embeds a reference crop, to see that what bears the name is still the same.

    Raises
    ------
    ParameterError
        If the network cannot be called, or one of the declarations is not allowed.
    """
    if not callable(network):
        raise ParameterError(f"network={network!r} of model {name!r} cannot be called")
    checkpoint = version or "not known (a plain function)"
    device = resolve_device(device)
    if isinstance(network, torch.nn.Module):
        network = network.to(device)
        checkpoint = state_sha256(network)
    spec = ModelSpec(name=name, template=template, channels=channels, mean=mean, std=std)
    return Model(spec, network, checkpoint, device, verify=True)


@contextlib.contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    """Run a module in evaluation mode, and leave it as it was."""
    if not (isinstance(network, torch.nn.Module) and network.training):
        yield
        return
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _full_precision(device: str) -> contextlib.AbstractContextManager[Any]:
    """Keep cuDNN from rounding convolutions to TF32, as it does by default."""
    if not device.startswith("cuda"):
        return contextlib.nullcontext()
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    )


def state_sha256(network: torch.nn.Module) -> str:
    """SHA-256 over the names, shapes and bytes of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

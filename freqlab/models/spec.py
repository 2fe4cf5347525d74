"""The declaration that freqlab needs of a face-recognition model, and the model ready to run."""

from __future__ import annotations

import contextlib
import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from freqlab.errors import ModelError, ParameterError, check_name, check_number
from freqlab.images.templates import Template, template
from freqlab.models.outputs import pick_output
from freqlab.text.html import box, facts

__all__ = ["Model", "ModelSpec", "Network", "Source", "state_sha256"]

Network = Callable[[torch.Tensor], torch.Tensor]
"""Maps normalised images ``(n, 3, height, width)`` to embeddings ``(n, feature)``."""


@dataclass(frozen=True)
class ModelSpec:
    """Declaration of a model: its input, and the source of its weights.

    Parameters
    ----------
    name
        The model's name in stores, results and on the command line.
    template
        Name of the alignment template (:data:`freqlab.images.templates.TEMPLATES`); it fixes the
        input size. ``"arcface-224"`` is the square template at another size.
    channels
        Order of the colour channels the network was trained on.
    mean, std
        The network receives ``(pixel - mean) / std`` of pixels 0..255: one number, or one for each
        channel in the network's order.
    features
        Length of the embedding; None if it is not known beforehand.
    eye_distance
        Nominal distance between the eyes in pixels of the crop, for ``cycles/eyes`` with a
        template that does not fix it.
    weights
        Source of the weights, in words.
    sha256
        SHA-256 of the weight file, where one file is known; any other is refused.
    licence, citation
        Terms of the weights, and what to cite.

    Raises
    ------
    ParameterError
        If a value is not allowed.

    Examples
    --------
    >>> import freqlab as fl
    >>> spec = fl.models.ModelSpec("mine", template="arcface", mean=127.5, std=127.5)
    >>> spec.channels
    'RGB'
    """

    name: str
    template: str = "arcface"
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: float | tuple[float, float, float] = 0.0
    std: float | tuple[float, float, float] = 1.0
    features: int | None = None
    eye_distance: float | None = None
    weights: str = ""
    sha256: str = ""
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
        check_name("channel order", self.channels, ["RGB", "BGR"])
        for argument, above in (("mean", None), ("std", 0)):
            given = getattr(self, argument)
            if isinstance(given, (list, tuple)) and len(given) != 3:
                raise ParameterError(
                    f"{argument}={given!r} must be one number, or one for each of 3 channels"
                )
            for number in given if isinstance(given, (list, tuple)) else [given]:
                check_number(argument, number, above=above)
            plain = tuple(map(float, given)) if isinstance(given, (list, tuple)) else float(given)
            object.__setattr__(self, argument, plain)
        if self.features is not None:
            check_number("features", self.features, at_least=1, whole=True)
        fixed = template(self.template).eye_distance
        if self.eye_distance is not None:
            check_number("eye_distance", self.eye_distance, above=0)
            object.__setattr__(self, "eye_distance", float(self.eye_distance))
            if fixed is not None:
                raise ParameterError(
                    f"eye_distance={self.eye_distance!r}: template {self.template!r} fixes the "
                    f"eyes, {fixed:g} pixels apart"
                )


class Source(NamedTuple):
    """How a model was made, as Python code."""

    call: str
    """Expression that makes the model again; ``fl`` is freqlab. Empty if it is not known."""
    before: str = ""
    """What has to be done before, in words; empty if nothing."""


@dataclass(frozen=True)
class Model:
    """Model that maps crops to embeddings.

    Parameters
    ----------
    spec
        Its declaration.
    network
        Maps normalised images ``(n, 3, height, width)`` to embeddings ``(n, feature)``.
    checkpoint
        SHA-256 of the weights, or another text that identifies their version.
    device
        Where the network runs.
    own
        Whether it is a user's own callable, which cannot have the name of a known model.
    channels_last
        Whether the network is given images with channels last in memory.
    reentrant
        Whether the network may be called from several threads at once.
    precision
        Precision in which the network computes: ``"float32"`` or ``"bfloat16"``; see
        :func:`freqlab.models.precision.in_precision`.
    original
        The same model in float32, if this one computes in lower precision.
    output
        Which of several outputs of the network is the embedding; see
        :func:`freqlab.models.outputs.pick_output`.
    notes
        Choices made for the model that the user had not specified; a run reports them.
    source
        How the model was made, for code that makes it again.

    Examples
    --------
    >>> import torch
    >>> import freqlab as fl
    >>> model = fl.testing.model(n_features=16)
    >>> model.name, model.template.size
    ('linear', (112, 112))
    >>> model(255 * torch.rand(2, 3, 112, 112)).shape
    torch.Size([2, 16])
    """

    spec: ModelSpec
    network: Network = field(repr=False)
    checkpoint: str
    device: str = "cpu"
    own: bool = False
    channels_last: bool = False
    reentrant: bool = False
    precision: str = "float32"
    original: Model | None = field(default=None, repr=False, compare=False)
    output: str | int | None = None
    notes: list[str] = field(default_factory=list, compare=False)
    source: Source = field(default=Source(""), repr=False, compare=False)

    def _repr_html_(self) -> str:
        spec = self.spec
        distance = self.eye_distance
        about = {
            "input": self.preprocessing,
            "embedding": "" if spec.features is None else f"{spec.features} features",
            "distance of the eyes": "" if distance is None else f"{distance:.4g} pixels",
            "checkpoint": self.checkpoint,
            "weights": spec.weights,
            "licence": spec.licence,
            "citation": spec.citation,
            "output": "" if self.output is None else repr(self.output),
            "device": f"{self.device}, {self.precision}",
            "notes": "; ".join(self.notes),
        }
        return box(f"Model {self.name}", facts(about))

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def template(self) -> Template:
        """The alignment template of its crops."""
        return template(self.spec.template)

    @property
    def eye_distance(self) -> float | None:
        """Distance between the eyes in pixels of the crop: fixed, nominal, or None."""
        fixed = self.template.eye_distance
        return self.spec.eye_distance if fixed is None else fixed

    @property
    def cycles_between_eyes(self) -> float | None:
        """Cycles between the eyes per cycle across the crop; None if the eyes are not fixed."""
        distance = self.eye_distance
        return None if distance is None else round(distance / self.template.size[1], 3)

    @property
    def preprocessing(self) -> str:
        """Preprocessing of crops for the network, in words."""
        height, width = self.template.size
        mean, std = (
            f"[{', '.join(f'{v:g}' for v in value)}]" if isinstance(value, tuple) else f"{value:g}"
            for value in (self.spec.mean, self.spec.std)
        )
        return (
            f"template {self.spec.template}, {height} x {width}, {self.spec.channels}, "
            f"(pixel - {mean}) / {std}"
        )

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
            Embeddings ``(n, feature)``, float32, as the network returns them: most networks do not
            normalise them to unit length.

        Raises
        ------
        ModelError
            If the network fails, or returns another shape, numbers that are not finite, or zeros.
        """
        features = self.forward(self.prepare(images))
        self.check_features(features)
        return features

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Bring crops into the colour order, normalisation and memory layout of the network.

        The conversion is linear except for subtracting the mean, which removing bands does not
        change, so bands may equally be removed afterwards.
        """
        if self.spec.channels == "BGR":
            images = images.flip(1)
        mean, std = (_per_channel(v, images) for v in (self.spec.mean, self.spec.std))
        return ((images - mean) / std).contiguous(memory_format=self.layout)

    @property
    def layout(self) -> torch.memory_format:
        """Memory layout of the images given to the network."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the images given to the network."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        """Embed prepared crops; see :meth:`check_features` for the values.

        Raises
        ------
        ModelError
            If the network fails, or returns another shape than ``(n, feature)``.
        """
        with torch.inference_mode():
            features = self._run(prepared)
        # a copy: a network may write its next embeddings into the same memory
        return features.to(torch.float32, copy=True)

    def differentiable(self, images: torch.Tensor) -> torch.Tensor:
        """Embed crops so that gradients with respect to them can be taken.

        Parameters
        ----------
        images
            As for calling the model; gradients are taken with respect to them, or to what they were
            computed from.

        Returns
        -------
        torch.Tensor
            Embeddings ``(n, feature)``, attached to `images`.

        Raises
        ------
        ModelError
            If the network fails, or has no gradient, such as networks of ONNX files.
        """
        features = self._run(self.prepare(images)).float()
        if images.requires_grad and not features.requires_grad:
            raise ModelError(f"model {self.name!r} has no gradient with respect to its images")
        return features

    def _run(self, prepared: torch.Tensor) -> torch.Tensor:
        """Return the output of the network, if its shape is right."""
        with _evaluating(self.network), _full_precision(self.device):
            try:
                features = self.network(prepared.to(self.dtype))
            except Exception as error:  # a user's network can raise anything
                lines = str(error).strip().splitlines() or [""]
                # the interpreter of TorchScript puts the error last, after a trace
                reason = lines[-1] if "TorchScript" in lines[0] else lines[0]
                hint = "; call eval() on it" if "when training" in reason else ""
                raise ModelError(
                    f"model {self.name!r} failed on {tuple(prepared.shape)} {self.precision} "
                    f"crops: {type(error).__name__}: {reason}{hint}"
                ) from error
        features, chosen = pick_output(features, self.output, self.name)
        if chosen is not None and chosen not in self.notes:
            self.notes.append(chosen)
        if not isinstance(features, torch.Tensor):
            raise ModelError(
                f"model {self.name!r} returned a {type(features).__name__}; expected a tensor "
                f"({len(prepared)}, feature)"
            )
        if features.ndim != 2 or len(features) != len(prepared):
            raise ModelError(
                f"model {self.name!r} returned shape {tuple(features.shape)} for "
                f"{len(prepared)} crops; expected ({len(prepared)}, feature)"
                + (f": {chosen}; output= selects another" if chosen is not None else "")
            )
        if self.spec.features not in (None, features.shape[1]):
            raise ModelError(
                f"model {self.name!r} returned {features.shape[1]} features; its declaration "
                f"says {self.spec.features}"
            )
        if features.is_complex():
            raise ModelError(f"model {self.name!r} returned complex numbers")
        return features

    def check_features(self, features: torch.Tensor) -> None:
        """Refuse embeddings that have no direction.

        Raises
        ------
        ModelError
            If one holds non-finite numbers, or only zeros.
        """
        lengths = features.norm(dim=1)
        if not bool(torch.isfinite(lengths).all()):
            raise ModelError(
                f"model {self.name!r} returned embeddings that are not finite, or too large"
            )
        if not bool((lengths > 0).all()):
            raise ModelError(f"model {self.name!r} returned an embedding of zeros only")

    def fingerprint(self) -> dict[str, Any]:
        """Values that must be equal for two embeddings of this name to be comparable."""
        return {
            "name": self.name,
            "checkpoint": self.checkpoint,
            "template": self.spec.template,
            "input_size": list(self.template.size),
            "channels": self.spec.channels,
            "mean": _plain(self.spec.mean),
            "std": _plain(self.spec.std),
            "precision": self.precision,
        }


def _per_channel(
    value: float | tuple[float, float, float], images: torch.Tensor
) -> float | torch.Tensor:
    """One number, or one per channel in the shape that broadcasts over images."""
    if not isinstance(value, tuple):
        return value
    return torch.tensor(value, dtype=images.dtype, device=images.device)[:, None, None]


def _plain(value: float | tuple[float, float, float]) -> float | list[float]:
    return list(value) if isinstance(value, tuple) else value


@contextlib.contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    """Run all parts of a module in evaluation mode, and restore their modes afterwards."""
    if not isinstance(network, torch.nn.Module):
        yield
        return
    if not network.training and not any(part.training for part in _that_train(network)):
        yield
        return
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


_TRAINING: weakref.WeakKeyDictionary[torch.nn.Module, list[torch.nn.Module]] = (
    weakref.WeakKeyDictionary()
)


def _that_train(network: torch.nn.Module) -> list[torch.nn.Module]:
    """Parts of a module that behave differently in training; determined once."""
    parts = _TRAINING.get(network)
    if parts is None:
        kinds = ("norm", "drop", "path")
        parts = [m for m in network.modules() if any(k in type(m).__name__.lower() for k in kinds)]
        _TRAINING[network] = [part for part in parts if part is not network]
    return parts


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
    """Compute the SHA-256 over the names, shapes and bytes of all tensors of a module.

    Covers parameters and buffers, also those omitted from a state dictionary, and tensors and
    arrays that are plain attributes of its modules.
    """
    digest = hashlib.sha256()
    state = network.state_dict()
    for name, value in sorted(state.items()):
        _feed(digest, name, value)
    beside: dict[str, Any] = {n: b for n, b in network.named_buffers() if n not in state}
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, (torch.Tensor, np.ndarray)):
                beside[f"{path}.{name}"] = value
    for name, value in sorted(beside.items()):
        _feed(digest, name, value)
    return digest.hexdigest()


def _feed(digest: Any, name: str, value: Any) -> None:
    """Add a named value to a digest: tensors by their bytes, containers by their contents."""
    if isinstance(value, Mapping):
        for key in value:
            _feed(digest, f"{name}.{key}", value[key])
    elif isinstance(value, (tuple, list)):
        for position, item in enumerate(value):
            _feed(digest, f"{name}.{position}", item)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{name} {value.shape} {value.dtype}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif not isinstance(value, torch.Tensor):  # extra state of a module
        content = value.getvalue() if hasattr(value, "getvalue") else f"{value!r}".encode()
        digest.update(f"{name} ".encode() + content)
    elif value.is_sparse:
        value = value.coalesce()
        _feed(digest, name, (value.indices(), value.values()))
    elif value.is_quantized:
        _feed(digest, name, (value.int_repr(), value.dequantize()))
    else:
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)

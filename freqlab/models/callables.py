"""Any callable as a model: a module, or a function of PyTorch or NumPy arrays."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from freqlab.errors import ParameterError, check_name
from freqlab.images.templates import template as template_named
from freqlab.models.devices import resolve_device
from freqlab.models.spec import Model, ModelSpec, Network, Source, state_sha256

__all__ = ["Embedder", "as_network", "wrap_model"]

Embedder = Network | Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]


def wrap_model(
    network: Embedder,
    *,
    name: str,
    arrays: Literal["auto", "torch", "numpy"] = "auto",
    template: str = "arcface",
    channels: Literal["RGB", "BGR"] = "RGB",
    mean: float | tuple[float, float, float] = 0.0,
    std: float | tuple[float, float, float] = 1.0,
    features: int | None = None,
    eye_distance: float | None = None,
    device: str = "cpu",
    version: str = "",
    output: str | int | None = None,
) -> Model:
    """Make a model from any callable ``(n, 3, height, width) float32 -> (n, feature)``.

    Parameters
    ----------
    network
        A module or function. It receives RGB pixels 0..255 unless `channels`, `mean` and `std` say
        otherwise. A module is moved to `device` and run in evaluation mode; its weights are
        hashed, so that a store detects different weights under the same name.
    name
        The model's name in stores and results.
    arrays
        Whether a function takes tensors or NumPy arrays. With ``"auto"`` it is called with a tensor
        first and, if that fails, with an array; a function that accepts both gets tensors. It may
        return either.
    template
        Alignment template of the model's crops.
    channels, mean, std, features, eye_distance
        As in :class:`ModelSpec`.
    device
        Device on which the model runs.
    version
        Distinguishes versions of a plain function, whose code cannot be hashed. A store also
        embeds a reference crop, to verify that the model of this name is unchanged.
    output
        Which of several outputs is the embedding: the key of a dictionary, the position in a
        tuple, or the name of its field. By default the first of a tuple; a run reports this choice.

    Returns
    -------
    Model
        A model for ``models=[...]``.

    Raises
    ------
    ParameterError
        If the network cannot be called, or one of the declarations is not allowed.

    Examples
    --------
    >>> import freqlab as fl
    >>> def thumbnail(images):  # the mean of every 14 x 14 pixels
    ...     return images.unfold(2, 14, 14).unfold(3, 14, 14).mean(dim=(4, 5)).flatten(1)
    >>> model = fl.wrap_model(thumbnail, name="thumbnail")
    >>> result = fl.testing.influence(fl.testing.faces(2, 2), models=[model])
    >>> result["model"].to_numpy().tolist()
    ['thumbnail']
    """
    if not callable(network):
        raise ParameterError(f"network={network!r} of model {name!r} cannot be called")
    check_name("arrays", arrays, ["auto", "torch", "numpy"])
    if output is not None and (isinstance(output, bool) or not isinstance(output, (str, int))):
        raise ParameterError(f"output={output!r} must be a name or a position")
    device = resolve_device(device)
    checkpoint = version or "not known (a plain function)"
    if isinstance(network, torch.nn.Module):
        network = network.to(device)
        checkpoint = state_sha256(network) + (f"; version {version}" if version else "")
    if output is not None:
        checkpoint += f"; output {json.dumps(output)}"
    spec = ModelSpec(
        name=name,
        template=template,
        channels=channels,
        mean=mean,
        std=std,
        features=features,
        eye_distance=eye_distance,
    )
    given = {
        "arrays": (arrays, "auto"),
        "template": (template, "arcface"),
        "channels": (channels, "RGB"),
        "mean": (spec.mean, 0.0),
        "std": (spec.std, 1.0),
        "features": (features, None),
        "eye_distance": (eye_distance, None),
        "version": (version, ""),
        "output": (output, None),
    }
    options = {key: value for key, (value, default) in given.items() if value != default}
    return Model(
        spec,
        as_network(network, arrays),
        checkpoint,
        device,
        own=True,
        output=output,
        source=_source(network, spec, options),
    )


def _source(network: Embedder, spec: ModelSpec, options: Mapping[str, Any]) -> Source:
    """The call of :func:`wrap_model` that wraps a callable again, once it is defined."""
    called = getattr(network, "__name__", "")
    if not called.isidentifier():  # a module, or a lambda
        called = re.sub(r"\W", "_", spec.name)
        called = called if called.isidentifier() else f"_{called}"
    called += "_" if keyword.iskeyword(called) else ""
    arguments = "".join(f", {key}={value!r}" for key, value in options.items())
    height, width = template_named(spec.template).size
    return Source(
        f"fl.wrap_model({called}, name={spec.name!r}{arguments})",
        f"define {called}, the network of model {spec.name!r}: a callable that takes images "
        f"(n, 3, {height}, {width}) and returns embeddings (n, feature)",
    )


def as_network(network: Embedder, arrays: str = "auto") -> Network:
    """Return a network of tensors: a module unchanged, a function of tensors or arrays wrapped."""
    if isinstance(network, torch.nn.Module):
        return network
    return _ArrayFunction(network, arrays)


class _ArrayFunction:
    """A function of tensors or arrays, called with tensors."""

    def __init__(self, function: Callable[[Any], Any], arrays: str) -> None:
        self._function = function
        self._arrays = arrays

    def __call__(self, images: torch.Tensor) -> Any:
        if self._arrays != "numpy":
            try:
                # a copy: a call that fails half-way may have changed it
                return self._as_tensor(self._function(images.clone()), images)
            except (TypeError, AttributeError, ValueError, RuntimeError):
                if self._arrays == "torch":
                    raise
                try:
                    features = self._on_array(images)
                except Exception:  # noqa: S110  the first error is the one to report
                    pass
                else:
                    self._arrays = "numpy"
                    return features
                raise
        return self._on_array(images)

    def _on_array(self, images: torch.Tensor) -> Any:
        return self._as_tensor(self._function(images.cpu().numpy().copy()), images)

    @classmethod
    def _as_tensor(cls, features: Any, images: torch.Tensor) -> Any:
        if isinstance(features, np.ndarray):
            return torch.from_numpy(np.asarray(features, np.float32)).to(images.device)
        if isinstance(features, Mapping):
            return {key: cls._as_tensor(features[key], images) for key in features}
        if isinstance(features, (tuple, list)) and any(isinstance(f, np.ndarray) for f in features):
            return [cls._as_tensor(feature, images) for feature in features]
        return features  # the model checks its type

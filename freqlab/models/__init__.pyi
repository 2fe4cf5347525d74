from .callables import wrap_model
from .loading import load_model
from .registry import known, names, register
from .spec import Model, ModelSpec

__all__ = [
    "Model",
    "ModelSpec",
    "known",
    "load_model",
    "names",
    "register",
    "wrap_model",
]

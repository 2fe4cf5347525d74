"""Face-recognition models: a declaration each, a registry, and one file per family."""

from freqlab.models.registry import load_model, model_names
from freqlab.models.spec import Model, ModelSpec, wrap_model

__all__ = ["Model", "ModelSpec", "load_model", "model_names", "wrap_model"]

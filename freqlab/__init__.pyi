from . import (
    alignment,
    bands,
    embeddings,
    errors,
    models,
    pairing,
    plots,
    resources,
    spectrum,
    verification,
)
from .bands import Bands, parse_bands, rings
from .datasets import face_set_names, load_faces
from .embeddings import embed_block
from .errors import FreqlabError
from .faces import Faces
from .models import Model, ModelSpec, load_model, model_names, wrap_model
from .pairs import make_pairs
from .profiles import mean_profile
from .reports import report
from .results import open_embeddings, open_influence, open_run
from .run import influence
from .selection import pairs_to_show, threshold_of
from .sentences import describe_pair, describe_profile

__version__: str

__all__ = [
    "Bands",
    "Faces",
    "FreqlabError",
    "Model",
    "ModelSpec",
    "alignment",
    "bands",
    "describe_pair",
    "describe_profile",
    "embed_block",
    "embeddings",
    "errors",
    "face_set_names",
    "influence",
    "load_faces",
    "load_model",
    "make_pairs",
    "mean_profile",
    "model_names",
    "models",
    "open_embeddings",
    "open_influence",
    "open_run",
    "pairing",
    "pairs_to_show",
    "parse_bands",
    "plots",
    "report",
    "resources",
    "rings",
    "spectrum",
    "threshold_of",
    "verification",
    "wrap_model",
]

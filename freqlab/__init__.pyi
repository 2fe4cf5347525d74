from . import (
    adversarial,
    bands,
    bias,
    datasets,
    edits,
    engine,
    errors,
    faces,
    faithfulness,
    images,
    improve,
    inspector,
    models,
    morphing,
    plots,
    resolution,
    results,
    saliency,
    statistics,
    store,
    testing,
    verification,
)
from .bands.radial import Bands, parse_bands, rings
from .datasets.protocols import read_pairs
from .datasets.registry import load_faces
from .errors import FreqlabError
from .faces.pairs import make_pairs, pair_blocks
from .faces.table import Faces
from .improve import identify
from .inspector import Inspector, inspect
from .models.callables import wrap_model
from .models.loading import load_model
from .models.spec import Model
from .reports.calls import report
from .run.calls import embed, influence
from .run.planning import plan
from .store.reading import open_embeddings, open_influence, open_run
from .verification import verify

__version__: str

__all__ = [
    "Bands",
    "Faces",
    "FreqlabError",
    "Inspector",
    "Model",
    "adversarial",
    "bands",
    "bias",
    "datasets",
    "edits",
    "embed",
    "engine",
    "errors",
    "faces",
    "faithfulness",
    "identify",
    "images",
    "improve",
    "influence",
    "inspect",
    "inspector",
    "load_faces",
    "load_model",
    "make_pairs",
    "models",
    "morphing",
    "open_embeddings",
    "open_influence",
    "open_run",
    "pair_blocks",
    "parse_bands",
    "plan",
    "plots",
    "read_pairs",
    "report",
    "resolution",
    "results",
    "rings",
    "saliency",
    "statistics",
    "store",
    "testing",
    "verification",
    "verify",
    "wrap_model",
]

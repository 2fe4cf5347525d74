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
from .bands.base import Bands
from .bands.colour import channels
from .bands.label_maps import custom
from .bands.oriented import polar, sectors
from .bands.parsing import parse_bands
from .bands.radial import octaves, rings
from .bands.subbands import wavelets
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
from .results.comparison import compare
from .results.concatenation import concat
from .results.face_columns import with_columns
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
    "channels",
    "compare",
    "concat",
    "custom",
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
    "octaves",
    "open_embeddings",
    "open_influence",
    "open_run",
    "pair_blocks",
    "parse_bands",
    "plan",
    "plots",
    "polar",
    "read_pairs",
    "report",
    "resolution",
    "results",
    "rings",
    "saliency",
    "sectors",
    "statistics",
    "store",
    "testing",
    "verification",
    "verify",
    "wavelets",
    "with_columns",
    "wrap_model",
]

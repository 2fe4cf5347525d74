"""What a result says of how it was made, stamped in one place."""

from __future__ import annotations

import datetime
import json
import platform
from importlib.metadata import version
from typing import Any

__all__ = ["METHOD", "make_attrs", "to_json"]

METHOD = {
    "reference": "Huber & Damer, Beyond Spatial Explanations, WACV 2025, arXiv 2407.11941",
    "transform": "real discrete Fourier transform per channel of pixels 0..255",
    "mask": "hard edge, the band's coefficients set to zero, no clipping, no rounding",
    "dc": "a label of its own, never removed",
    "bands": "half-open rings, radius isotropic in cycles/pixel",
    "similarity": "cosine",
    "influence": "similarity - similarity without the band",
    "threshold": "untouched embeddings, all impostor comparisons of the face set",
}
"""The choices of the method that every result carries."""


def to_json(value: object) -> str:
    """JSON text with sorted keys: attributes must survive netCDF, which takes no dictionaries."""
    return json.dumps(value, sort_keys=True)


def make_attrs(**extra: Any) -> dict[str, Any]:
    """Attributes of a result: versions, time (UTC) and method, and whatever is given.

    Values that are neither text nor numbers are written as JSON.
    """
    import torch

    attrs: dict[str, Any] = {
        "freqlab_version": version("freqlab"),
        "torch_version": str(torch.__version__),
        "python_version": platform.python_version(),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "method": to_json(METHOD),
    }
    for name, value in extra.items():
        attrs[name] = value if isinstance(value, (str, int, float)) else to_json(value)
    return attrs

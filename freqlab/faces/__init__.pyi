from .degraded import degrade, degraded_pairs, pairs_by_resolution
from .groups import group_labels
from .pairs import check_pairs, make_pairs, pair_blocks
from .table import Faces

__all__ = [
    "Faces",
    "check_pairs",
    "degrade",
    "degraded_pairs",
    "group_labels",
    "make_pairs",
    "pair_blocks",
    "pairs_by_resolution",
]

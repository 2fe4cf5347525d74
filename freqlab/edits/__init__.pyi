from .edges import (
    describe_edge_effect,
    edge_effect,
    edge_effect_by_band,
    edge_effect_table,
)
from .inspection import Inspection

__all__ = [
    "Inspection",
    "describe_edge_effect",
    "edge_effect",
    "edge_effect_by_band",
    "edge_effect_table",
]

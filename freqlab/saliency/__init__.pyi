from .compare import agreement, curves, windowed
from .maps import corrrise_maps, freqrise_maps, gradient_maps, joint_maps
from .report import (
    agreement_table,
    compare_explanations,
    describe_explanations,
    explanation_table,
    map_complexity,
)

__all__ = [
    "agreement",
    "agreement_table",
    "compare_explanations",
    "corrrise_maps",
    "curves",
    "describe_explanations",
    "explanation_table",
    "freqrise_maps",
    "gradient_maps",
    "joint_maps",
    "map_complexity",
    "windowed",
]

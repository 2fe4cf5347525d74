from .advantages import compare_explanations, map_complexity
from .compare import curves
from .identification import identification_maps
from .making import study
from .map_agreement import agreement, windowed
from .maps import corrrise_maps, freqrise_maps, gradient_maps, joint_maps
from .report import (
    agreement_table,
    cost_table,
    describe_explanations,
    describe_reliability,
    describe_study,
    explanation_table,
    explanation_tables,
    summary,
)

__all__ = [
    "agreement",
    "agreement_table",
    "compare_explanations",
    "corrrise_maps",
    "cost_table",
    "curves",
    "describe_explanations",
    "describe_reliability",
    "describe_study",
    "explanation_table",
    "explanation_tables",
    "freqrise_maps",
    "gradient_maps",
    "identification_maps",
    "joint_maps",
    "map_complexity",
    "study",
    "summary",
    "windowed",
]

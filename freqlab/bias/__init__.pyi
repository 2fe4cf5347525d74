from .crop_quality import quality
from .error_rates import errors, fairness_indices
from .influence import profiles
from .matching import match_groups, quality_table
from .report import (
    describe_group_differences,
    describe_groups,
    differing_bands,
    fairness_table,
    gaps_together,
)

__all__ = [
    "describe_group_differences",
    "describe_groups",
    "differing_bands",
    "errors",
    "fairness_indices",
    "fairness_table",
    "gaps_together",
    "match_groups",
    "profiles",
    "quality",
    "quality_table",
]

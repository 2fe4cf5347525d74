from .crop_quality import quality
from .error_rates import errors, fairness_indices
from .influence import profiles
from .making import study
from .matching import match_groups, quality_table
from .report import (
    describe_chance,
    describe_group_differences,
    describe_groups,
    describe_matching,
    describe_sample,
    differing_bands,
    fairness_table,
    gaps_table,
    gaps_together,
    summary,
)

__all__ = [
    "describe_chance",
    "describe_group_differences",
    "describe_groups",
    "describe_matching",
    "describe_sample",
    "differing_bands",
    "errors",
    "fairness_indices",
    "fairness_table",
    "gaps_table",
    "gaps_together",
    "match_groups",
    "profiles",
    "quality",
    "quality_table",
    "study",
    "summary",
]

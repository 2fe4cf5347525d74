from .crop_quality import quality
from .error_rates import errors
from .group_comparison import (
    differences,
    drawable_gaps,
    gap_points,
    gaps,
    gaps_together,
)
from .heads import describe_trained_heads, trained_heads
from .indices import fairness_indices
from .influence import profiles
from .making import study
from .matching import match_groups, quality_differences, quality_table
from .profile_sentences import (
    describe_chance,
    describe_gap_points,
    describe_group_differences,
    describe_groups,
)
from .report import (
    describe_error_gaps,
    describe_fairness,
    describe_matched_differences,
    describe_matching,
    describe_people,
    describe_sample,
    summary,
)
from .tables import (
    differences_table,
    differing_bands,
    errors_table,
    fairness_table,
    gaps_table,
)

__all__ = [
    "describe_chance",
    "describe_error_gaps",
    "describe_fairness",
    "describe_gap_points",
    "describe_group_differences",
    "describe_groups",
    "describe_matched_differences",
    "describe_matching",
    "describe_people",
    "describe_sample",
    "describe_trained_heads",
    "differences",
    "differences_table",
    "differing_bands",
    "drawable_gaps",
    "errors",
    "errors_table",
    "fairness_indices",
    "fairness_table",
    "gap_points",
    "gaps",
    "gaps_table",
    "gaps_together",
    "match_groups",
    "profiles",
    "quality",
    "quality_differences",
    "quality_table",
    "study",
    "summary",
    "trained_heads",
]

from .making import study
from .performance import summary_table, verify
from .report import (
    all_scores,
    describe_comparisons,
    describe_left_out,
    describe_scores,
    groups_with_curves,
    match_rate_table,
    summary,
    unresolved_rates,
    without_small_groups,
)

__all__ = [
    "all_scores",
    "describe_comparisons",
    "describe_left_out",
    "describe_scores",
    "groups_with_curves",
    "match_rate_table",
    "study",
    "summary",
    "summary_table",
    "unresolved_rates",
    "verify",
    "without_small_groups",
]

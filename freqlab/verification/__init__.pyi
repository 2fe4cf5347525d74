from .making import study
from .performance import summary_table, verify
from .report import (
    all_scores,
    describe_comparisons,
    describe_scores,
    match_rate_table,
    summary,
    unresolved_rates,
)

__all__ = [
    "all_scores",
    "describe_comparisons",
    "describe_scores",
    "match_rate_table",
    "study",
    "summary",
    "summary_table",
    "unresolved_rates",
    "verify",
]

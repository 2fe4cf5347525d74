from .error_rates import errors
from .influence import leaks, profiles
from .making import study
from .report import (
    describe_comparisons,
    describe_control,
    describe_errors,
    describe_low_bands,
    describe_pairs,
    describe_resolutions,
    low_band_table,
    summary,
    summary_table,
)

__all__ = [
    "describe_comparisons",
    "describe_control",
    "describe_errors",
    "describe_low_bands",
    "describe_pairs",
    "describe_resolutions",
    "errors",
    "leaks",
    "low_band_table",
    "profiles",
    "study",
    "summary",
    "summary_table",
]

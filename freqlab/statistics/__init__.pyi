from .error_rates import (
    all_comparisons,
    check_fmr,
    comparisons_needed,
    equal_error_rate,
    impostor_thresholds,
    rates_with,
)

__all__ = [
    "all_comparisons",
    "check_fmr",
    "comparisons_needed",
    "equal_error_rate",
    "impostor_thresholds",
    "rates_with",
]

from .error_rates import errors
from .influence import leaks, profiles
from .report import describe_errors, describe_low_bands, low_band_table, summary_table

__all__ = [
    "describe_errors",
    "describe_low_bands",
    "errors",
    "leaks",
    "low_band_table",
    "profiles",
    "summary_table",
]

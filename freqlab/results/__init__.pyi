from .comparison import compare
from .comparison_findings import comparison_summary
from .concatenation import concat
from .face_columns import with_columns
from .findings import summary
from .profiles import mean_profile
from .quantities import means_by
from .selection import pairs_to_show, threshold_of
from .sentences import describe_pair, describe_profile, describe_verification
from .shares import (
    describe_orientation,
    influence_shares,
    orientation_differs,
    orientation_shares,
    share_table,
)
from .tables import profile_table

__all__ = [
    "compare",
    "comparison_summary",
    "concat",
    "describe_orientation",
    "describe_pair",
    "describe_profile",
    "describe_verification",
    "influence_shares",
    "mean_profile",
    "means_by",
    "orientation_differs",
    "orientation_shares",
    "pairs_to_show",
    "profile_table",
    "share_table",
    "summary",
    "threshold_of",
    "with_columns",
]

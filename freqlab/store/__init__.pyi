from .descriptions import describe_photographs, describe_run, results_table
from .forgetting import forget
from .integrity import check
from .locking import unlock
from .reading import (
    open_crops,
    open_embeddings,
    open_influence,
    open_run,
    pixels_across,
    result_names,
)
from .repair import repair_plan
from .studies import as_frame, open_study, study_names

__all__ = [
    "as_frame",
    "check",
    "describe_photographs",
    "describe_run",
    "forget",
    "open_crops",
    "open_embeddings",
    "open_influence",
    "open_run",
    "open_study",
    "pixels_across",
    "repair_plan",
    "result_names",
    "results_table",
    "study_names",
    "unlock",
]

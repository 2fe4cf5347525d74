from .forgetting import forget
from .integrity import check
from .locking import unlock
from .reading import (
    describe_photographs,
    describe_run,
    open_crops,
    open_embeddings,
    open_influence,
    open_run,
    pixels_across,
    result_names,
)
from .repair import repair_plan

__all__ = [
    "check",
    "describe_photographs",
    "describe_run",
    "forget",
    "open_crops",
    "open_embeddings",
    "open_influence",
    "open_run",
    "pixels_across",
    "repair_plan",
    "result_names",
    "unlock",
]

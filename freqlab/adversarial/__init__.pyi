from .attacks import perturbation_sizes
from .detection import features, scores
from .detection_rates import detection_errors, detection_table

__all__ = [
    "detection_errors",
    "detection_table",
    "features",
    "perturbation_sizes",
    "scores",
]

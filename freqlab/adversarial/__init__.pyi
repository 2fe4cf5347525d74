from .attacks import perturbation_sizes
from .detection import detection_errors, detection_table, features, scores

__all__ = [
    "detection_errors",
    "detection_table",
    "features",
    "perturbation_sizes",
    "scores",
]

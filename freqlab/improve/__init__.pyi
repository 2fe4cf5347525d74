from .band_stability import band_quality
from .calibration import calibrate, calibration_figures, describe_probability
from .discarding import discard_table, error_discard
from .fusion import band_scores
from .gains import gain_table, gains
from .likelihoods import calibration_error, cllr, min_cllr, probability_of
from .making import study

__all__ = [
    "band_quality",
    "band_scores",
    "calibrate",
    "calibration_error",
    "calibration_figures",
    "cllr",
    "describe_probability",
    "discard_table",
    "error_discard",
    "gain_table",
    "gains",
    "min_cllr",
    "probability_of",
    "study",
]

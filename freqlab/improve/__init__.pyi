from .band_stability import band_quality
from .calibration import calibrate, describe_probability
from .calibration_costs import calibration_figures
from .discarding import discard_table, error_discard
from .findings import summary
from .fusion import band_scores
from .identification import describe_identification, identification_table, identify
from .likelihoods import calibration_error, cllr, min_cllr, probability_of
from .making import study
from .matched import matched_scores
from .report import (
    calibration_table,
    describe_comparisons,
    matched_table,
    overview_table,
    parts_of,
    search_table,
    verdict_table,
)
from .score_gains import gain_table, gains
from .searches import search_discard, search_gain_table, search_gains

__all__ = [
    "band_quality",
    "band_scores",
    "calibrate",
    "calibration_error",
    "calibration_figures",
    "calibration_table",
    "cllr",
    "describe_comparisons",
    "describe_identification",
    "describe_probability",
    "discard_table",
    "error_discard",
    "gain_table",
    "gains",
    "identification_table",
    "identify",
    "matched_scores",
    "matched_table",
    "min_cllr",
    "overview_table",
    "parts_of",
    "probability_of",
    "search_discard",
    "search_gain_table",
    "search_gains",
    "search_table",
    "study",
    "summary",
    "verdict_table",
]

from .decision_thresholds import describe_threshold, thresholds
from .detection import detection_errors, detection_table, scores
from .findings import summary
from .influence import profiles, vulnerability
from .labelled import manipulation_pairs
from .making import study
from .manipulations import (
    manipulation,
    manipulation_by_kind,
    manipulation_table,
    touched_bands_table,
)
from .pixels import morph
from .report import (
    band_choice_table,
    describe_documents,
    describe_labelled,
    describe_morphing_pairs,
    detections,
    error_table,
    kind_difference_table,
    score_difference_table,
    vulnerability_table,
)
from .score_sentences import describe_best_score, describe_fusion
from .sets import choose_documents, couples, is_morph, make_faces, make_pairs, shares
from .spectral import residual_spectra

__all__ = [
    "band_choice_table",
    "choose_documents",
    "couples",
    "describe_best_score",
    "describe_documents",
    "describe_fusion",
    "describe_labelled",
    "describe_morphing_pairs",
    "describe_threshold",
    "detection_errors",
    "detection_table",
    "detections",
    "error_table",
    "is_morph",
    "kind_difference_table",
    "make_faces",
    "make_pairs",
    "manipulation",
    "manipulation_by_kind",
    "manipulation_pairs",
    "manipulation_table",
    "morph",
    "profiles",
    "residual_spectra",
    "score_difference_table",
    "scores",
    "shares",
    "study",
    "summary",
    "thresholds",
    "touched_bands_table",
    "vulnerability",
    "vulnerability_table",
]

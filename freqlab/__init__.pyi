from . import (
    alignment,
    bands,
    embeddings,
    errors,
    models,
    pairing,
    plots,
    resources,
    spectrum,
    templates,
    verification,
)
from .bands import Bands, parse_bands, rings
from .datasets import face_set_names, known_face_sets, load_faces
from .derived import degrade, degraded_pairs, pairs_by_resolution
from .embeddings import embed_block
from .errors import FreqlabError
from .faces import Faces
from .forgetting import forget
from .groups import group_labels
from .inspection import Inspection
from .inspector import Inspector, inspect
from .integrity import verify_run
from .labelled_sets import manipulation_pairs
from .locking import unlock
from .models import (
    Model,
    ModelSpec,
    known_models,
    load_model,
    model_names,
    register_model,
    wrap_model,
)
from .morph_sets import (
    choose_documents,
    is_morph,
    morph_couples,
    morph_faces,
    morph_pairs,
    morph_shares,
)
from .morphing import morph
from .pairs import make_pairs, pair_blocks
from .performance import verification_table, verify
from .planning import plan
from .profiles import compare, mean_profile
from .protocols import read_pairs
from .quality import crop_quality
from .repair import repair_plan
from .reports import report
from .results import (
    describe_photographs,
    open_embeddings,
    open_influence,
    open_run,
    pixels_across,
)
from .run import embed, influence
from .saliency.maps import corrrise_maps, freqrise_maps, gradient_maps, joint_maps
from .selection import pairs_to_show, threshold_of
from .sentences import describe_pair, describe_profile, describe_verification
from .studies.attack_detection import (
    attack_detection_errors,
    attack_detection_table,
    attacked_features,
    detector_scores,
)
from .studies.band_views import band_views, sample_pairs
from .studies.bias import bias_profiles
from .studies.bias_conclusions import (
    describe_group_differences,
    describe_groups,
    differing_bands,
    fairness_table,
    gaps_together,
)
from .studies.cross_resolution import resolution_leaks, resolution_profiles
from .studies.deletion import deletion_curves, deletion_errors
from .studies.detection import detection_errors, detection_table, morph_scores
from .studies.faithfulness_conclusions import (
    area_table,
    decision_table,
    describe_amplitude,
    describe_deletion,
    trust_card,
    verdict_table,
)
from .studies.group_errors import fairness_indices, group_errors
from .studies.manipulations import (
    manipulation,
    manipulation_by_kind,
    manipulation_table,
    touched_bands_table,
)
from .studies.matching import match_groups, quality_table
from .studies.morphing import attack_profiles, morph_vulnerability
from .studies.morphing_conclusions import (
    attack_error_table,
    attack_thresholds,
    band_choice_table,
    describe_attack_threshold,
    describe_best_score,
    vulnerability_table,
)
from .studies.neighbours import agreement, saliency_curves, windowed
from .studies.neighbours_conclusions import (
    agreement_table,
    compare_explanations,
    describe_explanations,
    explanation_table,
    map_complexity,
)
from .studies.resolution_conclusions import (
    describe_low_bands,
    describe_resolution_errors,
    low_band_table,
    resolution_table,
)
from .studies.resolution_errors import resolution_errors
from .studies.sanity import planted_bands, sanity_checks
from .studies.stability import explanation_figures, profile_stability
from .templates import Template, register_template
from .trust import save_trust_card, trust_table

__version__: str

__all__ = [
    "Bands",
    "Faces",
    "FreqlabError",
    "Inspection",
    "Inspector",
    "Model",
    "ModelSpec",
    "Template",
    "agreement",
    "agreement_table",
    "alignment",
    "area_table",
    "attack_detection_errors",
    "attack_detection_table",
    "attack_error_table",
    "attack_profiles",
    "attack_thresholds",
    "attacked_features",
    "band_choice_table",
    "band_views",
    "bands",
    "bias_profiles",
    "choose_documents",
    "compare",
    "compare_explanations",
    "corrrise_maps",
    "crop_quality",
    "decision_table",
    "degrade",
    "degraded_pairs",
    "deletion_curves",
    "deletion_errors",
    "describe_amplitude",
    "describe_attack_threshold",
    "describe_best_score",
    "describe_deletion",
    "describe_explanations",
    "describe_group_differences",
    "describe_groups",
    "describe_low_bands",
    "describe_pair",
    "describe_photographs",
    "describe_profile",
    "describe_resolution_errors",
    "describe_verification",
    "detection_errors",
    "detection_table",
    "detector_scores",
    "differing_bands",
    "embed",
    "embed_block",
    "embeddings",
    "errors",
    "explanation_figures",
    "explanation_table",
    "face_set_names",
    "fairness_indices",
    "fairness_table",
    "forget",
    "freqrise_maps",
    "gaps_together",
    "gradient_maps",
    "group_errors",
    "group_labels",
    "influence",
    "inspect",
    "is_morph",
    "joint_maps",
    "known_face_sets",
    "known_models",
    "load_faces",
    "load_model",
    "low_band_table",
    "make_pairs",
    "manipulation",
    "manipulation_by_kind",
    "manipulation_pairs",
    "manipulation_table",
    "map_complexity",
    "match_groups",
    "mean_profile",
    "model_names",
    "models",
    "morph",
    "morph_couples",
    "morph_faces",
    "morph_pairs",
    "morph_scores",
    "morph_shares",
    "morph_vulnerability",
    "open_embeddings",
    "open_influence",
    "open_run",
    "pair_blocks",
    "pairing",
    "pairs_by_resolution",
    "pairs_to_show",
    "parse_bands",
    "pixels_across",
    "plan",
    "planted_bands",
    "plots",
    "profile_stability",
    "quality_table",
    "read_pairs",
    "register_model",
    "register_template",
    "repair_plan",
    "report",
    "resolution_errors",
    "resolution_leaks",
    "resolution_profiles",
    "resolution_table",
    "resources",
    "rings",
    "saliency_curves",
    "sample_pairs",
    "sanity_checks",
    "save_trust_card",
    "spectrum",
    "templates",
    "threshold_of",
    "touched_bands_table",
    "trust_card",
    "trust_table",
    "unlock",
    "verdict_table",
    "verification",
    "verification_table",
    "verify",
    "verify_run",
    "vulnerability_table",
    "windowed",
    "wrap_model",
]

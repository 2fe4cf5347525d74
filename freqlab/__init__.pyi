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
from .groups import group_labels
from .inspection import Inspection
from .inspector import Inspector, inspect
from .labelled_sets import manipulation_pairs
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
from .reports import report
from .results import open_embeddings, open_influence, open_run, pixels_across
from .run import embed, influence
from .selection import pairs_to_show, threshold_of
from .sentences import describe_pair, describe_profile, describe_verification
from .studies.bias import bias_profiles
from .studies.bias_conclusions import (
    describe_group_differences,
    describe_groups,
    differing_bands,
    fairness_table,
    gaps_together,
)
from .studies.cross_resolution import resolution_leaks, resolution_profiles
from .studies.detection import detection_errors, detection_table, morph_scores
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
from .studies.resolution_conclusions import (
    describe_low_bands,
    describe_resolution_errors,
    low_band_table,
    resolution_table,
)
from .studies.resolution_errors import resolution_errors
from .templates import Template, register_template

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
    "alignment",
    "attack_error_table",
    "attack_profiles",
    "attack_thresholds",
    "band_choice_table",
    "bands",
    "bias_profiles",
    "choose_documents",
    "compare",
    "crop_quality",
    "degrade",
    "degraded_pairs",
    "describe_attack_threshold",
    "describe_best_score",
    "describe_group_differences",
    "describe_groups",
    "describe_low_bands",
    "describe_pair",
    "describe_profile",
    "describe_resolution_errors",
    "describe_verification",
    "detection_errors",
    "detection_table",
    "differing_bands",
    "embed",
    "embed_block",
    "embeddings",
    "errors",
    "face_set_names",
    "fairness_indices",
    "fairness_table",
    "gaps_together",
    "group_errors",
    "group_labels",
    "influence",
    "inspect",
    "is_morph",
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
    "plots",
    "quality_table",
    "read_pairs",
    "register_model",
    "register_template",
    "report",
    "resolution_errors",
    "resolution_leaks",
    "resolution_profiles",
    "resolution_table",
    "resources",
    "rings",
    "spectrum",
    "templates",
    "threshold_of",
    "touched_bands_table",
    "verification",
    "verification_table",
    "verify",
    "vulnerability_table",
    "wrap_model",
]

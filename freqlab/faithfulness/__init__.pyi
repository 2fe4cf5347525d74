from .deletion import deletion_curves, deletion_errors
from .findings import (
    describe_both_masked,
    describe_checks,
    describe_figures,
    describe_interaction,
    describe_planted,
    describe_tested,
    describe_thresholds,
    describe_views,
    summary,
)
from .making import study
from .report import (
    area_table,
    decision_table,
    describe_amplitude,
    describe_deletion,
    trust_card,
    verdict_table,
)
from .sanity import planted_bands, sanity_checks
from .stability import explanation_figures, profile_stability
from .trust_cards import save_trust_card, trust_table
from .views import band_views, sample_pairs

__all__ = [
    "area_table",
    "band_views",
    "decision_table",
    "deletion_curves",
    "deletion_errors",
    "describe_amplitude",
    "describe_both_masked",
    "describe_checks",
    "describe_deletion",
    "describe_figures",
    "describe_interaction",
    "describe_planted",
    "describe_tested",
    "describe_thresholds",
    "describe_views",
    "explanation_figures",
    "planted_bands",
    "profile_stability",
    "sample_pairs",
    "sanity_checks",
    "save_trust_card",
    "study",
    "summary",
    "trust_card",
    "trust_table",
    "verdict_table",
]

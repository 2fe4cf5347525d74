from .alternatives import filled, keep_one, per_contrast, shapley
from .card_contents import describe_criteria, trust_card
from .deletion import deletion_curves, deletion_errors
from .findings import (
    describe_both_masked,
    describe_checks,
    describe_edge,
    describe_figures,
    describe_interaction,
    describe_learned,
    describe_planted,
    describe_tested,
    describe_thresholds,
    describe_views,
    summary,
)
from .making import study
from .orders import describe_decisions, describe_orders, order_table
from .planting import learned_bands, planted_bands
from .report import (
    area_table,
    decision_table,
    describe_amplitude,
    describe_coinciding,
    describe_deletion,
    describe_flat_panels,
    describe_omitted_rows,
    flat_panels,
    varying_comparisons,
    verdict_table,
)
from .sanity import sanity_checks
from .stability import explanation_figures, profile_stability
from .trust_cards import compact_trust_table, save_trust_card, trust_table
from .views import band_views, sample_pairs

__all__ = [
    "area_table",
    "band_views",
    "compact_trust_table",
    "decision_table",
    "deletion_curves",
    "deletion_errors",
    "describe_amplitude",
    "describe_both_masked",
    "describe_checks",
    "describe_coinciding",
    "describe_criteria",
    "describe_decisions",
    "describe_deletion",
    "describe_edge",
    "describe_figures",
    "describe_flat_panels",
    "describe_interaction",
    "describe_learned",
    "describe_omitted_rows",
    "describe_orders",
    "describe_planted",
    "describe_tested",
    "describe_thresholds",
    "describe_views",
    "explanation_figures",
    "filled",
    "flat_panels",
    "keep_one",
    "learned_bands",
    "order_table",
    "per_contrast",
    "planted_bands",
    "profile_stability",
    "sample_pairs",
    "sanity_checks",
    "save_trust_card",
    "shapley",
    "study",
    "summary",
    "trust_card",
    "trust_table",
    "varying_comparisons",
    "verdict_table",
]

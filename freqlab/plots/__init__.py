"""Every figure: data in, the axes it was drawn on out. Nothing is computed that a study could."""

from freqlab.plots.bias import (
    gaps_plot,
    group_difference_plot,
    group_error_plot,
    group_heat_plot,
    group_profile_plot,
)
from freqlab.plots.common import COMPARISON_COLOURS, DIVERGING, NO_DATA, SEQUENTIAL
from freqlab.plots.cross_resolution import (
    resolution_error_plot,
    resolution_heat_plot,
    resolution_leak_plot,
    resolution_profile_plot,
    resolution_strip_plot,
    resolution_summary_plot,
)
from freqlab.plots.faces import contact_sheet
from freqlab.plots.influence import (
    comparison_plot,
    contrast_plot,
    face_plot,
    heat_plot,
    profile_plot,
    spectrum_plot,
    strip_plot,
)
from freqlab.plots.inspection import inspection_plot, pair_profile_plot
from freqlab.plots.morphing import (
    attack_profile_plot,
    detection_plot,
    manipulation_plot,
    morph_plot,
    score_histogram_plot,
)
from freqlab.plots.performance import density_plot, det_plot, extremes_plot, score_plot

__all__ = [
    "COMPARISON_COLOURS",
    "DIVERGING",
    "NO_DATA",
    "SEQUENTIAL",
    "attack_profile_plot",
    "comparison_plot",
    "contact_sheet",
    "contrast_plot",
    "density_plot",
    "det_plot",
    "detection_plot",
    "extremes_plot",
    "face_plot",
    "gaps_plot",
    "group_difference_plot",
    "group_error_plot",
    "group_heat_plot",
    "group_profile_plot",
    "heat_plot",
    "inspection_plot",
    "manipulation_plot",
    "morph_plot",
    "pair_profile_plot",
    "profile_plot",
    "resolution_error_plot",
    "resolution_heat_plot",
    "resolution_leak_plot",
    "resolution_profile_plot",
    "resolution_strip_plot",
    "resolution_summary_plot",
    "score_histogram_plot",
    "score_plot",
    "spectrum_plot",
    "strip_plot",
]

"""Figures: each function takes data and returns its axes; studies do the computation.

Axes and colour bars are labelled with the ``long_name`` and ``units`` of the data. One palette
suits readers with colour-vision deficiency: :data:`CATEGORICAL` (Okabe and Ito, without yellow) for
unordered categories, :data:`SEQUENTIAL` for ordered values, :data:`DIVERGING` for signed values
(blue supports a match, red opposes it), :data:`NO_DATA` for missing values. Lines differ in marker
or dashes as well. ``docs/gallery.md`` shows every figure and the palette.
"""

from freqlab.plots.bias import (
    gaps_plot,
    group_difference_plot,
    group_error_plot,
    group_heat_plot,
    group_profile_plot,
)
from freqlab.plots.common import CATEGORICAL, COMPARISON_COLOURS, DIVERGING, NO_DATA, SEQUENTIAL
from freqlab.plots.comparisons import comparison_plot, difference_plot
from freqlab.plots.cross_resolution import (
    resolution_error_plot,
    resolution_heat_plot,
    resolution_leak_plot,
    resolution_profile_plot,
    resolution_strip_plot,
    resolution_summary_plot,
)
from freqlab.plots.faces import contact_sheet
from freqlab.plots.faithfulness import (
    accuracy_plot,
    advantage_plot,
    deletion_plot,
    interaction_plot,
    planted_plot,
    randomisation_plot,
    stability_plot,
    view_plot,
)
from freqlab.plots.frequency_plane import spectrum_plot
from freqlab.plots.improve import calibration_plot, discard_plot, gain_plot, search_gain_plot
from freqlab.plots.influence import (
    contrast_plot,
    face_plot,
    heat_plot,
    overview_plot,
    profile_plot,
    strip_plot,
)
from freqlab.plots.inspection import inspection_plot, pair_profile_plot
from freqlab.plots.morphing import (
    attack_profile_plot,
    d_eer_plot,
    detection_plot,
    manipulation_plot,
    morph_plot,
    score_histogram_plot,
    vulnerability_plot,
)
from freqlab.plots.orientation import orientation_plot, rose_plot
from freqlab.plots.performance import density_plot, det_plot, extremes_plot, score_plot
from freqlab.plots.saliency import (
    detector_plot,
    joint_plot,
    plane_plot,
    reliability_plot,
    saliency_plot,
)
from freqlab.plots.searches import cmc_plot, fnir_plot

__all__ = [
    "CATEGORICAL",
    "COMPARISON_COLOURS",
    "DIVERGING",
    "NO_DATA",
    "SEQUENTIAL",
    "accuracy_plot",
    "advantage_plot",
    "attack_profile_plot",
    "calibration_plot",
    "cmc_plot",
    "comparison_plot",
    "contact_sheet",
    "contrast_plot",
    "d_eer_plot",
    "deletion_plot",
    "density_plot",
    "det_plot",
    "detection_plot",
    "detector_plot",
    "difference_plot",
    "discard_plot",
    "extremes_plot",
    "face_plot",
    "fnir_plot",
    "gain_plot",
    "gaps_plot",
    "group_difference_plot",
    "group_error_plot",
    "group_heat_plot",
    "group_profile_plot",
    "heat_plot",
    "inspection_plot",
    "interaction_plot",
    "joint_plot",
    "manipulation_plot",
    "morph_plot",
    "orientation_plot",
    "overview_plot",
    "pair_profile_plot",
    "plane_plot",
    "planted_plot",
    "profile_plot",
    "randomisation_plot",
    "reliability_plot",
    "resolution_error_plot",
    "resolution_heat_plot",
    "resolution_leak_plot",
    "resolution_profile_plot",
    "resolution_strip_plot",
    "resolution_summary_plot",
    "rose_plot",
    "saliency_plot",
    "score_histogram_plot",
    "score_plot",
    "search_gain_plot",
    "spectrum_plot",
    "stability_plot",
    "strip_plot",
    "view_plot",
    "vulnerability_plot",
]

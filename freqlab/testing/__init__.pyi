from .influences import influence, result
from .inputs import LinearNetwork, faces, model, morphed_faces
from .studies import (
    corrrise_maps,
    deletion_curves,
    freqrise_maps,
    gradient_maps,
    group_profiles,
    joint_maps,
    morph_profiles,
    resolution_profiles,
    study,
    verification,
)

__all__ = [
    "LinearNetwork",
    "corrrise_maps",
    "deletion_curves",
    "faces",
    "freqrise_maps",
    "gradient_maps",
    "group_profiles",
    "influence",
    "joint_maps",
    "model",
    "morph_profiles",
    "morphed_faces",
    "resolution_profiles",
    "result",
    "study",
    "verification",
]

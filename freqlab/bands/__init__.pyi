from .base import Bands, PlaneBands
from .colour import channels
from .decompositions import Decomposition
from .label_maps import custom
from .oriented import polar, sectors
from .parsing import bands_from, parse_bands
from .radial import octaves, rings
from .spectrum import apply_masks, check_labels, remove
from .subbands import wavelets

__all__ = [
    "Bands",
    "Decomposition",
    "PlaneBands",
    "apply_masks",
    "bands_from",
    "channels",
    "check_labels",
    "custom",
    "octaves",
    "parse_bands",
    "polar",
    "remove",
    "rings",
    "sectors",
    "wavelets",
]

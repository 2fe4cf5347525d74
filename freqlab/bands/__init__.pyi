from .radial import Bands, parse_bands, rings
from .spectrum import apply_masks, check_labels, remove

__all__ = [
    "Bands",
    "apply_masks",
    "check_labels",
    "parse_bands",
    "remove",
    "rings",
]

"""What influence is good for: quality, calibration and fusion, compared with honest controls.

Removing bands from a face shows how stable its embedding is, and gives several similarities of a
pair instead of one. This package measures whether these improve decisions: as a measure of face
image quality, as a source of calibrated likelihood ratios, and as scores that are fused. A gain is
stated only where the interval of the paired difference over people excludes zero, on people that
were not used to choose or fit anything, and where the baseline has enough errors to improve on.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

"""Saliency methods related to band influence: face regions and coefficients behind a decision.

Each method takes the pairs of a result of :func:`freqlab.influence`. All methods thus explain the
same faces, models and similarities.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

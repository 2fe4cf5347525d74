"""The neighbours of band influence: where in a face, and which coefficients, carried a decision.

Each method takes the pairs of a result of :func:`freqlab.influence`, so that all speak of the same
faces, models and similarities.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

"""Frequency-domain explanations of face-recognition decisions.

Take a band of spatial frequencies out of a face, look how the similarity of the pair changes,
and you know what that band contributed.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

# What is exported, and from where, stands in __init__.pyi, which type checkers read too; a name
# is imported when it is first used, so that `import freqlab` costs no import of PyTorch.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

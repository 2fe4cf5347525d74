"""Verification performance of models on a face set: figures, study and the text of its report."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

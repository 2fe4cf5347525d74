"""Small synthetic faces, models and results of every study, for documentation and tests.

No face is a photograph of a person, and no file is read. Each result comes from the function that
it is an example of, applied to a few random crops and a linear network, within a second or two.
Only :func:`freqlab.testing.result` is filled with numbers from the caller.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

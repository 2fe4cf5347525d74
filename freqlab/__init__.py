"""Frequency-domain explanations of face-recognition decisions.

Take a band of spatial frequencies out of a face, look how the similarity of the pair changes,
and you know what that band contributed.

First steps
    ``load_faces``, ``make_pairs``, ``read_pairs``, ``rings``, ``load_model``, ``wrap_model``, then
    ``influence`` (or ``embed``, ``verify``), ``open_influence``, ``inspect`` and ``report``;
    ``plan`` says beforehand what a run costs.

Subjects, each with ``study(...)`` and ``summary(study)``
    ``verification`` (error rates), ``bias`` (groups), ``resolution`` (cross-resolution),
    ``morphing`` (attacks and manipulated images), ``faithfulness`` (tests of explanations),
    ``saliency`` (other methods beside this one), ``improve`` (quality, calibration and fusion);
    ``adversarial`` holds adversarial faces and their detection.

Tools
    ``plots``, ``results`` (profiles, selection, sentences), ``bands``, ``faces``, ``images``,
    ``datasets``, ``models``, ``store`` (reading, checks, forgetting), ``statistics``, ``edits``,
    ``inspector`` (``save`` writes a static page), ``engine``, ``testing`` (small data for tests and
    documentation), ``errors``.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

# What is exported, and from where, stands in __init__.pyi, which type checkers read too; a name
# is imported when it is first used, so that `import freqlab` costs no import of PyTorch.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

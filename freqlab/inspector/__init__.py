"""Inspect single decisions: a widget for JupyterLab, a page with a kernel, and a static page.

``inspect`` and ``Inspector`` compare an edited pair with the network; ``save`` writes a page that
works from a file and shows recorded similarities.
"""

from typing import Any

import lazy_loader as _lazy

from freqlab.errors import FreqlabError

# exports: see __init__.pyi; the widgets need packages that the static page does not need
_exported, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _exported(name)
    except ModuleNotFoundError as error:
        raise FreqlabError(
            f"the inspector needs {error.name}, which is not installed: pip install 'freqlab[lab]'"
        ) from error

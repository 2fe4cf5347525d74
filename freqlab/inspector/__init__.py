"""The band inspector: examine single decisions, in JupyterLab or as a web page."""

from freqlab.errors import FreqlabError

try:
    from freqlab.inspector.app import Inspector, inspect
except ModuleNotFoundError as error:
    raise FreqlabError(
        f"the inspector needs {error.name}, which is not installed: pip install 'freqlab[lab]'"
    ) from error

__all__ = ["Inspector", "inspect"]

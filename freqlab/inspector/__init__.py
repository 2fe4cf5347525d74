"""The band inspector: look into one decision, in JupyterLab or as a page of its own."""

from freqlab.inspector.app import Inspector, inspect

__all__ = ["Inspector", "inspect"]

from .app import Inspector
from .calls import inspect
from .recorded import save

__all__ = [
    "Inspector",
    "inspect",
    "save",
]

from .app import Inspector, inspect
from .recorded import save

__all__ = [
    "Inspector",
    "inspect",
    "save",
]

from .inspection import Inspection

__all__ = [
    "Inspection",
]

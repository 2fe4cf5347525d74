from .pairing import SIDES
from .removals import embed_block

__all__ = [
    "SIDES",
    "embed_block",
]

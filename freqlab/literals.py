"""The words that arguments take, as types: what an editor offers and a type checker refuses."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = [
    "Comparison",
    "Compile",
    "Domain",
    "Kind",
    "Measure",
    "Operation",
    "PixelsOf",
    "Precision",
    "Side",
    "WhichFace",
]

Side: TypeAlias = Literal["probe", "reference", "both"]
"""Which image of a pair has bands removed."""

Kind: TypeAlias = Literal["directed", "absolute"]
"""Influence with its sign, or its magnitude."""

Comparison: TypeAlias = Literal["genuine", "impostor"]
"""Pairs of one person, or of two."""

Domain: TypeAlias = Literal["bands", "frequency", "space"]
"""What a deletion curve deletes: bands, cells of coefficients, cells of pixels."""

Measure: TypeAlias = Literal["error", "similarity"]
"""What a deletion curve shows over the share that is deleted."""

PixelsOf: TypeAlias = Literal["crop", "face"]
"""What a resolution counts the pixels across of."""

Operation: TypeAlias = Literal["remove", "keep"]
"""Whether the chosen bands are removed, or all others."""

WhichFace: TypeAlias = Literal["largest", "central", "only"]
"""Which of several faces in a photograph is taken."""

Precision: TypeAlias = Literal["float32", "bfloat16", "auto"]
"""In which networks compute."""

Compile: TypeAlias = bool | Literal["auto", "once"]
"""Whether networks are compiled: at once, never, where that pays, likewise but not kept."""

"""Literal types: the strings that arguments allow, for editors and type checkers.

Where strings come from users at run time, :func:`freqlab.errors.check_name` checks them as well.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = [
    "BandQuantity",
    "Comparison",
    "Compile",
    "Domain",
    "Extension",
    "InfluenceQuantity",
    "Kind",
    "ManipulatedQuantity",
    "Measure",
    "Operation",
    "OrderedBy",
    "PixelsOf",
    "Precision",
    "Protocol",
    "ResolutionLimit",
    "ResolutionSummary",
    "SheetContent",
    "Side",
    "WhichFace",
]

Side: TypeAlias = Literal["probe", "reference", "both"]
"""The masked image of a pair, or both."""

Kind: TypeAlias = Literal["directed", "absolute"]
"""Influence with its sign, or its absolute value."""

InfluenceQuantity: TypeAlias = Literal["directed", "absolute", "per_contrast"]
"""Influence with its sign, its absolute value, or influence per contrast removed."""

BandQuantity: TypeAlias = Literal["directed", "absolute", "per_contrast", "energy"]
"""Quantity of a mean profile: influence, or the energy of the bands."""

ManipulatedQuantity: TypeAlias = Literal["energy", "directed", "absolute"]
"""Quantity of each band that a manipulation changes: log energy, or influence."""

Comparison: TypeAlias = Literal["genuine", "impostor"]
"""Pairs of the same person, or of two people."""

Domain: TypeAlias = Literal["bands", "frequency", "space"]
"""Unit of deletion: frequency bands, cells of Fourier coefficients, or cells of pixels."""

Protocol: TypeAlias = Literal["deletion", "insertion"]
"""Whether bands are removed from the original image, or restored to the image without any."""

OrderedBy: TypeAlias = Literal["truth", "decision"]
"""Outcome that an order of bands explains: that of the labels, or that of the model."""

Measure: TypeAlias = Literal["error", "similarity"]
"""Quantity of a deletion curve: error rate, or mean similarity."""

ResolutionLimit: TypeAlias = Literal["axis", "diagonal"]
"""Nyquist frequency of N pixels: N/2 along an axis, or sqrt(2) N/2 along the diagonal."""

ResolutionSummary: TypeAlias = Literal[
    "low_share",
    "low_gain",
    "low_influence",
    "low_influence_gain",
    "low_effect",
    "median_frequency",
    "shift",
    "halved",
]
"""Summary variable of the profiles over the resolution of the probe."""

SheetContent: TypeAlias = Literal["ok", "failed", "several"]
"""Faces on a contact sheet: with a crop, without one, or detected among several."""

PixelsOf: TypeAlias = Literal["crop", "face"]
"""Whose width a resolution in pixels refers to."""

Operation: TypeAlias = Literal["remove", "keep"]
"""Whether the chosen bands are removed, or all others."""

WhichFace: TypeAlias = Literal["largest", "central", "only"]
"""Face to select in a photograph of several people; with ``"only"``, none."""

Extension: TypeAlias = Literal["periodic", "mirror"]
"""Continuation of an image beyond its border: repeated as it is, or mirrored first."""

Precision: TypeAlias = Literal["float32", "bfloat16", "auto"]
"""Floating-point format in which networks compute."""

Compile: TypeAlias = bool | Literal["auto", "once"]
"""Whether to compile networks: always, never, where it pays off, or likewise but not cached."""

"""The recipe of a morph that was written to a file, kept in the PNG file itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

__all__ = ["as_png_text", "recipe_of"]

_KEY = "freqlab-morph"  # keyword of the text chunk


def recipe_of(path: Path) -> dict[str, Any] | None:
    """Read the recipe of a morph that :func:`freqlab.morphing.make_faces` wrote.

    ``first`` and ``second`` are the SHA-256 of the two photographs. None for any other file.
    """
    from PIL import Image

    try:
        with path.open("rb") as file:
            if file.read(8) != b"\x89PNG\r\n\x1a\n":
                return None
        with Image.open(path, formats=["PNG"]) as image:
            recipe = json.loads(image.info[_KEY])
    except (OSError, KeyError, ValueError, SyntaxError):
        return None
    return recipe if isinstance(recipe, dict) else None


def as_png_text(recipe: dict[str, Any]) -> PngInfo:
    """Make the text chunk that :func:`recipe_of` reads."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text(_KEY, json.dumps(recipe))
    return text

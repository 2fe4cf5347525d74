"""Location of the notebooks and data tables: in the checkout, or inside an installed wheel."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from freqlab.errors import FreqlabError

__all__ = ["resource", "resource_names"]


def _root() -> Path:
    package = Path(str(files("freqlab")))
    inside = package / "_resources"
    return inside if inside.is_dir() else package.parent


def resource(name: str) -> Path:
    """Path of a shipped file, such as ``"notebooks/explore.ipynb"`` or ``"data/orl.csv"``.

    Raises
    ------
    FreqlabError
        If the installation lacks it.
    """
    path = _root() / name
    if not path.is_file():
        raise FreqlabError(f"this installation of freqlab lacks {name}: {path} is not there")
    return path


def resource_names(folder: str, suffix: str) -> list[str]:
    """Names, without `suffix`, of the shipped files in a folder, in alphabetical order."""
    return sorted(path.stem for path in (_root() / folder).glob(f"*{suffix}"))

"""Names of groups with their column, as in "glasses=no", for sentences, tables and legends."""

from __future__ import annotations

import numpy as np
import xarray as xr

from freqlab.attrs import names_of
from freqlab.faces.groups import ALL, MIXED
from freqlab.text.shown import as_markdown

__all__ = ["group_label", "group_markdown", "people_text", "too_few", "with_group_labels"]

_CROSSED = " / "  # joins columns, and the values of a crossed group


def group_label(column: str, value: str) -> str:
    """Name a group by its column and value.

    Parameters
    ----------
    column
        Column of the faces, or crossed columns joined by ``" / "``, as in the name of the labels
        of :func:`freqlab.faces.group_labels`.
    value
        Group, as in these labels.

    Returns
    -------
    str
        Such as ``"glasses=no"``, and for crossed columns ``"glasses=no, gender=male"``; the value
        alone for the groups of all and of mixed comparisons.
    """
    return ", ".join("=".join(part) for part in _parts(column, value))


def group_markdown(data: xr.Dataset, value: str) -> str:
    """Name a group of profiles or error rates for a Markdown sentence, escaped."""
    parts = _parts(str(data.attrs["group"]), value)
    return ", ".join("=".join(as_markdown(text) for text in part) for part in parts)


def with_group_labels(data: xr.Dataset) -> xr.Dataset:
    """Add the coordinate ``group_label(group)`` to profiles or error rates."""
    column = str(data.attrs["group"])
    labels = [group_label(column, value) for value in names_of(data, "group")]
    attrs = {"long_name": "group"}
    return data.assign_coords(group_label=("group", np.array(labels, object), attrs))


def people_text(n: int) -> str:
    """Number of people as text."""
    return "1 person" if n == 1 else f"{n:,} people"


def too_few(n: int) -> str:
    """State that so few people are not compared."""
    return f"{people_text(n)}: too few to compare"


def _parts(column: str, value: str) -> list[tuple[str, ...]]:
    """Column and value of each crossed column; one pair if they do not split alike."""
    if value in (ALL, MIXED):
        return [(value,)]
    columns, values = column.split(_CROSSED), value.split(_CROSSED)
    if len(columns) != len(values):
        return [(column, value)]
    return list(zip(columns, values, strict=True))

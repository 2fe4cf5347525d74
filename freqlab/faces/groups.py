"""Groups of faces, as given in the user's table; freqlab infers nothing from a face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.errors import ParameterError, check_name
from freqlab.faces.table import Faces

__all__ = ["ALL", "MIXED", "group_codes", "group_labels"]

ALL = "all"
"""The group of all comparisons."""
MIXED = "mixed"
"""The group of comparisons between faces of different groups, or of none."""


def group_labels(faces: Faces, group: str | Sequence[str]) -> pd.Series[str]:
    """Group of each face, by one column of the faces or by several crossed.

    Parameters
    ----------
    faces
        The faces.
    group
        Column, or several, whose values are joined, as in ``"asian / female"``.

    Returns
    -------
    pandas.Series
        By face; missing where one of the columns has no value.

    Raises
    ------
    ParameterError
        If a column is unknown or named twice, or a value is ``"all"`` or ``"mixed"``.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(4, 2, groups={"glasses": ["yes", "no"]})
    >>> fl.faces.group_labels(faces, "glasses").value_counts().to_dict()
    {'yes': 4, 'no': 4}
    """
    columns = [group] if isinstance(group, str) else list(group)
    if not columns or len(set(columns)) < len(columns):
        raise ParameterError(f"group={group!r} must name one column, or several different ones")
    known = [str(c) for c in faces.table.columns if c not in ("path", "subject")]
    for column in columns:
        check_name("group", column, known)
    values = faces.table[columns]
    missing = (values.isna().any(axis=1) | (values.astype(str) == "").any(axis=1)).to_numpy()
    joined = pd.Series(np.nan, index=pd.Index(faces.names, name="face"), dtype=object)
    if not missing.all():
        joined[~missing] = values[~missing].astype(str).agg(" / ".join, axis=1).to_numpy(object)
    reserved = sorted({ALL, MIXED}.intersection(joined.dropna()))
    if reserved:
        raise ParameterError(f"group={group!r}: its values {reserved} are reserved")
    return cast("pd.Series[str]", joined.rename(" / ".join(columns)))


def group_codes(labels: pd.Series[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names of the groups in order, and the index of each face's group, -1 for none."""
    names = sorted(labels.dropna().unique())
    return names, pd.Categorical(labels, categories=names).codes.astype(np.int64)

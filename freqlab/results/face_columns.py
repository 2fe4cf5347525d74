"""Columns of faces as columns of the pairs of a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.errors import ParameterError, check_name
from freqlab.faces.table import Faces

__all__ = ["with_columns"]

_ENDS = ("probe", "reference")
_NOT_COPIED = ("subject", "path")  # results have the former; the latter is no group of faces


def with_columns(
    result: xr.Dataset,
    faces: Faces | pd.DataFrame | xr.Dataset,
    columns: Sequence[str] | None = None,
) -> xr.Dataset:
    """Add the columns of the faces to the pairs of a result, for grouping and selection.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, or any dataset with the names of the ``probe`` and the
        ``reference`` along ``pair``.
    faces
        The faces; or a table indexed by the names of faces; or a dataset along ``face``, such as
        ``fl.open_run(store)["faces"].to_dataset()``.
    columns
        Columns to add; by default all but ``subject`` and ``path``.

    Returns
    -------
    xarray.Dataset
        The result with coordinates ``probe_<column>`` and ``reference_<column>`` along ``pair``.
        Missing text is empty, missing numbers are NaN.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such column, a face of the pairs is not among the faces, or the result has a
        column of such a name with other values.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=6)
    >>> faces.table["site"] = ["A", "B"] * (len(faces) // 2)
    >>> pairs = fl.make_pairs(faces, n_pairs=8)
    >>> result = fl.influence(faces, pairs, models=[fl.testing.model()], progress=False)
    >>> result = fl.with_columns(result, faces, ["site"])
    >>> list(result["similarity"].groupby("probe_site").mean()["probe_site"].to_numpy())
    ['A', 'B']
    """
    table = _table_of(faces)
    known = [str(name) for name in table.columns if name not in _NOT_COPIED]
    if isinstance(columns, str):
        raise ParameterError(f"columns={columns!r} must be a list of columns: [{columns!r}]")
    for column in columns or ():
        check_name("column", column, known)
    names = pd.Index(table.index.astype(str))
    if names.has_duplicates:
        raise ParameterError(
            f"faces: the name {names[names.duplicated()][0]!r} occurs more than once"
        )
    added: dict[str, tuple[str, npt.NDArray[Any], dict[str, str]]] = {}
    for end in _ENDS:
        if end not in result.coords:
            raise ParameterError(f"the result has no coordinate {end!r} with the names of faces")
        own = pd.Index(result[end].to_numpy().astype(str))
        places = names.get_indexer(own)
        if (places < 0).any():
            lacking = own[places < 0].unique()
            raise ParameterError(
                f"faces lack {len(lacking):,} of the faces in the pairs, such as {lacking[0]!r}"
            )
        for column in known if columns is None else columns:
            values = _plain(table[column])[places]
            name = f"{end}_{column}"
            if name in result.variables and not _equal(result[name].to_numpy(), values):
                raise ParameterError(
                    f"the result already has {name!r}, with other values; rename it with "
                    f".rename({{{name!r}: ...}})"
                )
            added[name] = ("pair", values, {"long_name": f"{column} of {end}"})
    return result.assign_coords(added)


def _table_of(faces: Faces | pd.DataFrame | xr.Dataset) -> pd.DataFrame:
    """Columns of the faces, indexed by their names."""
    if isinstance(faces, Faces):
        return faces.table
    if isinstance(faces, pd.DataFrame):
        return faces
    if isinstance(faces, xr.Dataset) and "face" in faces.coords:
        columns = {
            str(name): values.to_numpy()
            for name, values in faces.variables.items()
            if values.dims == ("face",) and name != "face"
        }
        return pd.DataFrame(columns, index=pd.Index(faces["face"].to_numpy(), name="face"))
    raise ParameterError(
        f"faces: a {type(faces).__name__} must be Faces, a table indexed by the names of faces, or "
        f"a dataset along 'face'"
    )


def _plain(column: pd.Series[Any]) -> npt.NDArray[Any]:
    """Values as results hold them: numbers, truth values or text."""
    if pd.api.types.is_bool_dtype(column) and not column.isna().any():
        return column.to_numpy(bool)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        if column.isna().any():
            return column.to_numpy(np.float64, na_value=np.nan)
        return np.asarray(column.to_numpy())
    text = column.astype(object).where(column.notna(), "").map(str)
    return text.to_numpy(object)


def _equal(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    if one.dtype.kind in "fiub" and other.dtype.kind in "fiub":
        return bool(np.array_equal(one, other, equal_nan=True))
    return bool(np.array_equal(one.astype(str), other.astype(str)))

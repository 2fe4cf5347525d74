"""Text in CSV files that spreadsheets open: never a formula."""

from __future__ import annotations

import csv
from typing import Any

import pandas as pd

__all__ = ["as_written", "csv_of", "without_formulas"]

_BEGINS = ("=", "+", "-", "@", "\t", "\r")


def csv_of(table: pd.DataFrame, **options: Any) -> str:
    """A table as CSV, without formulas, and with each row on a line of its own.

    Options are those of :meth:`pandas.DataFrame.to_csv`, which leaves a carriage return in a
    text unquoted where lines end without one; a reader would begin a new row there.
    """
    safe = without_formulas(table)
    texts = [*map(str, safe.index), *map(str, safe.columns), *map(str, safe.to_numpy().ravel())]
    quoting = csv.QUOTE_ALL if any("\r" in text for text in texts) else csv.QUOTE_MINIMAL
    return str(safe.to_csv(None, **{"quoting": quoting, "lineterminator": "\n", **options}))


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """A table to be written as CSV: text that a spreadsheet would compute gets a ``'`` before it.

    That is text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, in the
    values, the index and the columns' names. Numbers stay as they are.
    """
    safe = table.rename(columns=_quoted)
    for i, column in enumerate(safe.columns):
        if not pd.api.types.is_numeric_dtype(safe.dtypes.iloc[i]):
            safe[column] = safe[column].map(_quoted)
    if not pd.api.types.is_numeric_dtype(safe.index.dtype):
        safe.index = safe.index.map(_quoted)
    return safe


def as_written(text: object) -> object:
    """Text as it was before :func:`without_formulas`."""
    if isinstance(text, str) and text.startswith("'") and text[1:].startswith((*_BEGINS, "'")):
        return text[1:]
    return text


def _quoted(value: object) -> object:
    if isinstance(value, str) and (value.startswith(_BEGINS) or as_written(value) != value):
        return f"'{value}"
    return value

"""CSV files compatible with spreadsheets: any separator, text that is not a formula."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["as_written", "csv_of", "read_table", "without_formulas"]

SEPARATORS = (",", ";", "\t", "|")
"""Column separators that are recognised in tables."""

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_DECIMAL_COMMA = r"\s*[-+]?\d*,?\d+(?:[eE][-+]?\d+)?\s*"
_AFTER_LAST = "\0"
_BEGINS = ("=", "+", "-", "@", "\t", "\r")


def csv_of(table: pd.DataFrame, **options: Any) -> str:
    """Convert a table to CSV, without formulas, and with one line per row.

    Options are those of :meth:`pandas.DataFrame.to_csv`, which does not quote a carriage return in
    text if lines end without one; a reader would begin a new row there.
    """
    safe = without_formulas(table)
    texts = [*map(str, safe.index), *map(str, safe.columns), *map(str, safe.to_numpy().ravel())]
    quoting = csv.QUOTE_ALL if any("\r" in text for text in texts) else csv.QUOTE_MINIMAL
    return str(safe.to_csv(None, **{"quoting": quoting, "lineterminator": "\n", **options}))


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Escape the text of a table for CSV: ``'`` precedes text that spreadsheets would evaluate.

    This applies to text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, in
    the values, the index and the names of columns. Numbers stay unchanged.
    """
    safe = table.rename(columns=_quoted)
    for i, column in enumerate(safe.columns):
        if not pd.api.types.is_numeric_dtype(safe.dtypes.iloc[i]):
            safe[column] = safe[column].map(_quoted)
    if not pd.api.types.is_numeric_dtype(safe.index.dtype):
        safe.index = safe.index.map(_quoted)
    return safe


def as_written(text: object) -> object:
    """Restore text to its form before :func:`without_formulas`."""
    if isinstance(text, str) and text.startswith("'") and text[1:].startswith((*_BEGINS, "'")):
        return text[1:]
    return text


def read_table(path: Path, needed: Sequence[str], *, text: Iterable[str] = ()) -> pd.DataFrame:
    """Read a table in which only an empty cell is a missing value.

    The encoding is UTF-8, or that of the byte order mark. The separator is the one with which the
    first line has most of the `needed` columns, and then most columns; a preceding line such as
    ``sep=;`` takes precedence. If the separator is not a comma, numbers may have a decimal comma.

    Parameters
    ----------
    path
        The file.
    needed
        Columns used to find the separator; whether they exist is not checked.
    text
        Columns of text, even if it looks like numbers; surrounding spaces are removed.

    Raises
    ------
    ValueError
        If the file cannot be parsed as a table.
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    with path.open(encoding=encoding, newline="") as lines:
        first, skipped = lines.readline(), 0
        declared = re.fullmatch(r"sep=(.)\s*", first)
        if declared:
            first, skipped = lines.readline(), 1
    separator = declared[1] if declared else _separator(first, needed)
    options: dict[str, Any] = {
        "sep": separator,
        "encoding": encoding,
        "skiprows": skipped,
        "keep_default_na": False,
        "na_values": [""],
        "skipinitialspace": True,
        "index_col": False,
    }
    names = [name.strip() for name in pd.read_csv(path, nrows=0, **options).columns]
    options |= {"header": 0, "dtype": dict.fromkeys(text, str)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, names=names, **options)
    except pd.errors.ParserWarning:  # every line has one more field than the first
        table = pd.read_csv(path, names=[*names, _AFTER_LAST], **options)
        if table.pop(_AFTER_LAST).notna().any():
            raise ValueError("lines have more columns than the first line") from None
    # unnamed columns, such as an index written by pandas, or empty columns of a spreadsheet
    table = table[[name for name in table.columns if not re.fullmatch(r"(Unnamed: \d+)?", name)]]
    for column in table.columns:
        if not pd.api.types.is_numeric_dtype(table[column]):
            table[column] = _cleaned(table[column], column in set(text), separator)
    return table


def _separator(line: str, needed: Sequence[str]) -> str:
    """Separator of the columns in a first line."""

    def fitness(separator: str) -> tuple[int, int]:
        fields = {name.strip() for name in next(csv.reader([line], delimiter=separator), [])}
        return len(fields.intersection(needed)), len(fields)

    return max(SEPARATORS, key=fitness)


def _cleaned(values: pd.Series[Any], is_text: bool, separator: str) -> pd.Series[Any]:
    """Strip spaces from a column's text, or convert it to numbers if it holds decimal commas."""
    given = values.dropna()
    if is_text or not len(given) or not given.map(lambda value: isinstance(value, str)).all():
        return values.str.strip() if is_text else values
    if separator != "," and given.str.fullmatch(_DECIMAL_COMMA).all():
        return pd.to_numeric(values.str.replace(",", "."), errors="raise")
    return values


def _quoted(value: object) -> object:
    if isinstance(value, str) and (value.startswith(_BEGINS) or as_written(value) != value):
        return f"'{value}"
    return value

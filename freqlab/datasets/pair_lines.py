"""Lists of pairs without known column names: their separator, their labels, LFW's lines."""

from __future__ import annotations

import csv
import itertools
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from freqlab.datasets.listing import IMAGE_SUFFIXES, strip_image_suffix
from freqlab.datasets.pair_tables import LABELS, renamed
from freqlab.errors import PairError

__all__ = [
    "LineShape",
    "first_lines",
    "lfw_separator",
    "line_shape",
    "read_lfw_lines",
    "read_lines",
    "split_fields",
]

Known = Callable[[Sequence[str]], float]
"""Function that returns the share of some names that are in a face set."""

SEPARATORS = ("\t", ";", "|", ",", " ")
"""Separators of fields; the space is any sequence of spaces and tabs."""

_BY_ENDINGS = "endings"  # paths with spaces, split at the extensions of image files
_ENDING = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
_LABEL = "|".join(map(re.escape, sorted(LABELS, key=len, reverse=True)))
_TWO_PATHS = re.compile(
    rf"(?:(?P<before>{_LABEL})\s+)?(?P<a>\S.*?(?:{_ENDING}))\s+(?P<b>\S.*?(?:{_ENDING}))"
    rf"(?:\s+(?P<after>\S+))?",
    re.IGNORECASE,
)
_ENOUGH = 0.8  # smallest share of lines that fit the form of a list
_HALF = 0.5  # smallest share of lines with a label in a label field; other values are errors
_SAMPLE = 100  # number of lines that determine the form of a list
_LONGEST_LINE = 10_000
_PROBES = {"probe", "query", "live", "selfie", "test"}
_REFERENCES = {"reference", "gallery", "enroll", "enrol", "enrolment", "enrollment", "document"}
_LFW_TITLE = re.compile(
    r"^(?:.*(?:name|image|img|num|person|identity).*|Unnamed: \d)$", re.IGNORECASE
)
_EXPECTED_LFW = "expected lines 'Name 1 4' or 'Name 1 Other 2'"


class LineShape(NamedTuple):
    """Form of a list with two faces on each line."""

    separator: str
    width: int
    """Fields in a line."""
    header: bool
    """Whether the first line names the fields."""
    names: tuple[int, int]
    """Positions of the two faces."""
    label: int | None
    """Position of the label, if there is one."""


def first_lines(source: Path, n: int = _SAMPLE) -> list[str]:
    """Return the first lines of a text, without empty lines and leading comments (``# ``)."""
    lines: list[str] = []
    with source.open(encoding="utf-8-sig", errors="replace") as file:
        while len(lines) < n:
            line = file.readline(_LONGEST_LINE)
            if not line:
                break
            if line.strip() and (lines or not line.startswith("# ")):
                lines.append(line.rstrip("\r\n"))
    return lines


def split_fields(line: str, separator: str) -> list[str]:
    """Split a line into fields without outer spaces; trailing empty fields are dropped."""
    if separator == _BY_ENDINGS:
        match = _TWO_PATHS.fullmatch(line.strip())
        return [] if match is None else [part for part in match.groups() if part is not None]
    if separator == " " and '"' not in line:
        return line.split()
    if separator == " ":
        line = re.sub(r"\s+", " ", line.strip())
    fields = [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
    while fields and not fields[-1]:
        fields.pop()
    return fields


def line_shape(lines: Sequence[str], known: Known | None = None) -> LineShape | None:
    """Find the fields of the two faces and the label on each line; None if there are none.

    Parameters
    ----------
    lines
        The first lines of a list.
    known
        Returns the share of some names that are in the set, to distinguish similar fields.
    """
    if len(lines) > 1 and _is_count(lines[0].split()):
        lines = lines[1:]

    def rank(shape: LineShape) -> tuple[bool, float, int]:
        """Rank by label, share of known names, and absence of fields without a name."""
        rows = [split_fields(line, shape.separator) for line in lines[shape.header :]]
        rows = [row for row in rows if len(row) == shape.width]
        share = 0.0 if known is None else min(known([row[k] for row in rows]) for k in shape.names)
        return shape.label is None, -share, 0 if shape.header else shape.width

    shapes = [
        _shape([split_fields(line, separator) for line in lines], separator, known)
        for separator in (*SEPARATORS, _BY_ENDINGS)
    ]
    return min((shape for shape in shapes if shape is not None), key=rank, default=None)


def _shape(rows: list[list[str]], separator: str, known: Known | None) -> LineShape | None:
    counts = Counter(len(row) for row in rows)
    width = counts.most_common(1)[0][0] if counts else 0
    fitting = [row for row in rows if len(row) == width]
    if width < 2 or len(fitting) < _ENOUGH * len(rows):
        return None
    has_first = len(fitting) > 1 and rows[0] is fitting[0]
    below = fitting[1:] if has_first else fitting
    shares = {
        k: max(_labels(below, k), _labels(fitting, k)) for k in (width - 1, *range(width - 1))
    }
    best = max(shares, key=lambda k: shares[k])
    label = best if shares[best] >= _HALF else None
    names = _name_fields(below, label, width, known)
    if names is None or (label is None and not _are_names(below, names, known)):
        return None
    header = has_first and _is_header(fitting[0], below, names, label, known)
    if label is None and not header and width > 3:
        if known is None or min(known([row[k] for row in fitting]) for k in names) <= _HALF:
            return None
    elif label is None and not header and width == 3:
        label = 3 - sum(names)  # the field is not a label; reading reports this
    if header and _is_reversed([fitting[0][k] for k in names]):
        names = (names[1], names[0])
    return LineShape(separator, width, header, names, label)


def _labels(rows: list[list[str]], k: int) -> float:
    """Share of rows whose field is a label."""
    return sum(row[k].lower() in LABELS for row in rows) / len(rows)


def _is_header(
    first: list[str],
    below: list[list[str]],
    names: tuple[int, int],
    label: int | None,
    known: Known | None,
) -> bool:
    """Whether the first line names the fields: it has no label, or it alone names no faces."""
    of_first = [first[k] for k in names]
    if any(_look_like_images([name]) or (known and known([name])) for name in of_first):
        return False
    if label is not None:
        word, words = first[label].lower(), {row[label].lower() for row in below}
        if not re.search("[a-z]", word):
            return False
        if word not in LABELS or not any(re.search("[a-z]", field) for field in words):
            return True
    return _are_names(below, names, known) and not any("/" in name for name in of_first)


def _name_fields(
    rows: list[list[str]], label: int | None, width: int, known: Known | None
) -> tuple[int, int] | None:
    """The two fields that name faces: the remaining ones, or those with known or likely names."""
    others = [k for k in range(width) if k != label]
    if len(others) > 2 and known is not None:
        shares = {k: known([row[k] for row in rows]) for k in others}
        some = [k for k in others if shares[k] > 0.5]
        others = some if len(some) >= 2 else others
    if len(others) > 2:
        others = [k for k in others if _look_like_images([row[k] for row in rows])]
    return (others[0], others[1]) if len(others) == 2 else None


def _look_like_images(names: Sequence[str]) -> bool:
    images = sum(strip_image_suffix(name) != name for name in names)
    return bool(names) and images >= _ENOUGH * len(names)


def _are_names(rows: list[list[str]], names: tuple[int, int], known: Known | None) -> bool:
    listed = [[row[k] for row in rows] for k in names]
    if all(_look_like_images(name) for name in listed):
        return True
    return known is not None and all(known(name) > 0.5 for name in listed)


def _is_reversed(names: list[str]) -> bool:
    """Whether a header names the first face the probe, or the second the reference."""
    words = [set(re.findall("[a-z]+", name.lower())) for name in names]
    first, second = (bool(w & kind) for w, kind in zip(words, (_PROBES, _REFERENCES), strict=True))
    other = bool(words[0] & _REFERENCES) or bool(words[1] & _PROBES)
    return (first or second) and not other


def read_lines(source: Path, shape: LineShape | None) -> pd.DataFrame:
    """Read a list with two faces, and optionally a label, on each line.

    Raises
    ------
    PairError
        If it is not such a list, a line has more or fewer fields, or a label is not valid.
    """
    if shape is None:
        raise PairError(
            f"{source}: expected two images and a label on each line, as in 'a.jpg b.jpg 1' or "
            f"'1 a.jpg b.jpg', separated by spaces, tabs, commas or semicolons (paths with spaces: "
            f"by tabs or commas); the file begins with {_begin(source)!r}"
        )
    table = _fields(source, shape.separator, shape.width)
    if _is_count(" ".join(table.iloc[0].dropna()).split()):
        table = table.iloc[1:]
    roles = {shape.names[0]: "reference", shape.names[1]: "probe"}
    if shape.label is not None:
        roles[shape.label] = "genuine"
    bad = table[list(roles)].isna().any(axis=1)
    bad |= table[list(range(shape.width, table.shape[1]))].notna().any(axis=1)
    if bad.any():
        lines = ", ".join(str(i) for i in table.index[bad][:3])
        raise PairError(
            f"{source}: {int(bad.sum())} lines have more or fewer than the {shape.width} fields of "
            f"the others, the first in line(s) {lines}; paths with spaces need tabs, commas or "
            f"quotes"
        )
    extra = [k for k in range(shape.width) if k not in roles]
    titles = table.iloc[0].tolist() if shape.header else [None] * shape.width
    if shape.header:
        table = table.iloc[1:]
    kept = [k for k in extra if shape.header and isinstance(titles[k], str)]
    if len(kept) < len(extra):
        nameless = ", ".join(str(k + 1) for k in extra if k not in kept)
        warnings.warn(
            f"{source}: field {nameless} of the lines has no name and is left out; a header line "
            f"with its name would keep it",
            stacklevel=4,
        )
    used = table[[*roles, *kept]].rename(columns={**roles, **{k: str(titles[k]) for k in kept}})
    for column in used.columns[len(roles) :]:
        number = pd.to_numeric(used[column], errors="coerce")
        if number.notna().equals(used[column].notna()):
            used[column] = number
    return renamed(used, {}, source, lines=used.index.to_numpy()).reset_index(drop=True)


def read_lfw_lines(source: Path, separator: str) -> tuple[pd.DataFrame, list[int]]:
    """Read lines ``Name 1 4`` and ``Name 1 Other 2``, with any separator.

    Returns
    -------
    tuple
        Columns ``a``, ``b``, ``c``, ``d``, where ``d`` is missing in genuine pairs (also if the
        list has the same name twice), and the numbers in the first line, if it gives the number of
        folds and pairs.

    Raises
    ------
    PairError
        If a line has another form.
    """
    try:
        table = _fields(source, separator, 4)
        if len(table) and table.iloc[0].isna()[0] and table.iloc[0].notna().any():
            table = table.drop(columns=0).set_axis(range(table.shape[1] - 1), axis=1)
    except PairError as error:
        raise PairError(f"{source} is not a list in the format of LFW: {error}") from error
    if table.shape[1] > 4:
        line = table.index[table[table.columns[4]].notna()][0]
        raise PairError(
            f"{source} is not a list in the format of LFW: line {line} has more than four fields"
        )
    table = table.reindex(columns=range(4)).set_axis(list("abcd"), axis=1)
    head = table.iloc[0].dropna().tolist() if len(table) else []
    counts, numbers = " ".join(head).split(), []  # may have another separator than the rest
    if _is_count(counts):
        numbers, table = [int(field) for field in counts], table.iloc[1:]
    elif _is_lfw_header(head):
        table = table.iloc[1:]
    genuine = table["d"].isna()
    ordinals = [table["b"], table["c"].where(genuine, table["d"])]
    fits = table["c"].notna()
    for ordinal in ordinals:
        fits &= ordinal.str.fullmatch(r"\d{1,9}(?:\.0)?").eq(True)
    if not fits.all() or len(table) == 0:
        bad = ["  ".join(row.dropna()) for _, row in table[~fits].head(3).iterrows()]
        raise PairError(f"{source}: {_EXPECTED_LFW}; found {bad or 'nothing'}")
    for column in "bcd":
        table[column] = table[column].str.removesuffix(".0")
    twice = table["a"] == table["c"].where(~genuine)
    table["c"] = table["c"].mask(twice, table["d"])
    table["d"] = table["d"].mask(twice)
    return table, numbers


def lfw_separator(lines: Sequence[str]) -> str | None:
    """Return the separator of a list in the format of LFW; None if it has another format."""
    for separator in SEPARATORS:
        rows = [split_fields(line, separator) for line in lines]
        if rows and rows[0] and not rows[0][0]:  # the unnamed index of a table
            rows = [row[1:] for row in rows]
        first = len(rows) > 1 and (_is_count(lines[0].split()) or _is_lfw_header(rows[0]))
        body = rows[1:] if first else rows
        if body and sum(map(_is_lfw, body)) >= _ENOUGH * len(body):
            return separator
    return None


def _is_lfw(fields: list[str]) -> bool:
    numbers = [field.removesuffix(".0").isdecimal() for field in fields]
    return (len(fields) == 3 and numbers[1:] == [True, True]) or (
        len(fields) == 4 and numbers[1] and numbers[3]
    )


def _is_count(fields: list[str]) -> bool:
    return len(fields) <= 2 and all(field.isdecimal() for field in fields)


def _is_lfw_header(fields: list[str]) -> bool:
    """Whether a line names the fields of LFW's lists, as in ``name,imagenum1,imagenum2,``."""
    return len(fields) in (3, 4) and all(_LFW_TITLE.search(field) for field in fields if field)


def _fields(source: Path, separator: str, width: int) -> pd.DataFrame:
    """Fields of all lines as text, by the number of the line; empty fields are missing."""
    lines = first_lines(source)
    if not lines:
        return pd.DataFrame(columns=range(width), dtype=str)
    if separator == _BY_ENDINGS:
        return _fields_by_endings(source)
    quoted = separator in ",;|" or any('"' in line for line in lines)
    skipped = _comments(source)
    try:
        table = pd.read_csv(
            source,
            sep=r"\s+" if separator == " " else separator,
            header=None,
            names=range(width + 3),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            skipinitialspace=True,
            skip_blank_lines=False,
            skiprows=skipped,
            encoding="utf-8-sig",
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise PairError(f"{source} cannot be read as text in UTF-8 with fields: {error}") from error
    table.index = table.index + 1 + skipped
    for column in table.columns:
        stripped = table[column].str.strip()
        table[column] = stripped.where(stripped != "")
    table = table.dropna(how="all")
    filled = np.flatnonzero(table.notna().any().to_numpy())
    return table[list(range(max(int(filled.max(initial=0)) + 1, width)))]


def _comments(source: Path) -> int:
    """Number of lines before the first that is neither empty nor a comment."""
    with source.open(encoding="utf-8-sig", errors="replace") as file:
        lines = itertools.takewhile(lambda line: not line.strip() or line.startswith("# "), file)
        return sum(1 for _ in lines)


def _fields_by_endings(source: Path) -> pd.DataFrame:
    try:
        text = source.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise PairError(f"{source} is not UTF-8 text: {error}") from error
    rows = {i: split_fields(line, _BY_ENDINGS) for i, line in enumerate(text, 1) if line.strip()}
    return pd.DataFrame.from_dict(rows, orient="index", dtype=object)


def _begin(source: Path) -> str:
    return next(iter(first_lines(source, 1)), "")[:80]

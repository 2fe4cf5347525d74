"""Tables of pairs: with any columns, of BFW, and of documents and live photographs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.errors import PairError, ParameterError, check_name
from freqlab.faces.table import Faces

__all__ = [
    "BFW_COLUMNS",
    "BONA_FIDE",
    "CONTROL",
    "LABELS",
    "MORPH_COLUMNS",
    "parse_columns",
    "read_bfw_pairs",
    "read_csv_pairs",
    "read_morph_pairs",
    "renamed",
    "table_header",
    "with_contributors",
]

BONA_FIDE, CONTROL = "bona fide", "control"
"""What pairs that are no attack are called in the column ``attack``."""

_GENUINE = (
    "1",
    "1.0",
    "+1",
    "true",
    "t",
    "yes",
    "y",
    "same",
    "genuine",
    "match",
    "mated",
    "positive",
)
_IMPOSTOR = (
    *(
        "0",
        "0.0",
        "-1",
        "-1.0",
        "false",
        "f",
        "no",
        "n",
        "different",
        "diff",
        "impostor",
        "imposter",
    ),
    *("mismatch", "nonmatch", "non-match", "non_match", "nonmated", "non-mated", "non_mated"),
    "negative",
)
LABELS = {**dict.fromkeys(_GENUINE, True), **dict.fromkeys(_IMPOSTOR, False)}
"""What labels of pairs mean, in small letters: whether the pair is genuine."""

BFW_COLUMNS = (
    {"reference": "p1", "probe": "p2", "genuine": "label"},  # the published datatable
    {"reference": "image_a", "probe": "image_b", "genuine": "same"},
)
"""Columns of BFW's tables, by their role."""
MORPH_COLUMNS = {"document": "reference", "live": "probe"}
"""Columns by which a table of documents and live photographs is recognised, with their roles."""

_ROLES = ("probe", "reference", "genuine", "fold")
_CONTRIBUTORS = ["contributor_a", "contributor_b"]
_UNTOUCHED = ("", "bona fide", "bonafide", "bona_fide")
_POOLED = "all"


def parse_columns(text: str) -> dict[str, str]:
    """Parse columns by their roles, from text such as ``probe=live,reference=document``.

    Raises
    ------
    ParameterError
        If a part of it is not a role and a column.
    """
    parts = [part.partition("=") for part in text.split(",")]
    if not all(role.strip() and column.strip() for role, _, column in parts):
        raise ParameterError(
            f"columns={text!r} must be roles and columns, as in probe=live,reference=document"
        )
    return {role.strip(): column.strip() for role, _, column in parts}


def read_bfw_pairs(source: Path) -> pd.DataFrame:
    """Read a table of BFW: ``p1``, ``p2``, ``label``, or ``image_a``, ``image_b``, ``same``."""
    table = _table(source, ["p1", "p2", "image_a", "image_b"])
    for names in BFW_COLUMNS:
        if set(names.values()) <= set(table.columns):
            return renamed(table, names, source)
    raise PairError(
        f"{source}: expected the columns p1, p2, label or image_a, image_b, same; found "
        f"{', '.join(map(str, table.columns))}"
    )


def read_csv_pairs(source: Path, columns: Mapping[str, str] | None) -> pd.DataFrame:
    """Read any table of pairs; `columns` gives the names of its columns by role, or the reverse."""
    given = dict(
        (value, key) if key not in _ROLES and value in _ROLES else (key, value)
        for key, value in (columns or {}).items()
    )
    table = _table(source, [given.get(side, side) for side in ("probe", "reference")])
    names = {}
    for role, column in given.items():
        check_name("key of columns=", role, _ROLES)
        names[role] = check_name(f"column for {role}", column, map(str, table.columns))
    for role in ("probe", "reference", "genuine"):
        if role not in names and role in table.columns:
            names[role] = role
    lacking = [role for role in ("probe", "reference") if role not in names]
    if lacking:
        raise PairError(
            f"{source}: there is no column {' or '.join(lacking)}; assign one with "
            f"columns='{lacking[0]}=NAME'. The columns are {', '.join(map(str, table.columns))}"
        )
    return renamed(table, names, source)


def read_morph_pairs(source: Path) -> pd.DataFrame:
    """Read a table of documents, live photographs, attacks and contributors.

    Contributors are kept as in the table; :func:`with_contributors` checks them when the faces are
    known.
    """
    text = [*MORPH_COLUMNS, "attack", "contributors", *_CONTRIBUTORS]
    table = _table(source, text)
    absent = [c for c in (*MORPH_COLUMNS, "attack") if c not in table.columns]
    if absent:
        raise PairError(
            f"{source}: expected the columns document, live, attack, and contributor_a, "
            f"contributor_b or contributors; missing {', '.join(absent)}, found "
            f"{', '.join(map(str, table.columns))}"
        )
    if "contributors" in table.columns:
        if set(_CONTRIBUTORS) & set(table.columns):
            raise PairError(
                f"{source}: contributors must be given either in the column contributors or in "
                f"contributor_a and contributor_b, not in both"
            )
        parts = table["contributors"].fillna("").str.strip().str.split(r"\s*[+;]\s*", regex=True)
        wrong = parts.map(len) > len(_CONTRIBUTORS)
        if wrong.any():
            raise PairError(f"{source}: more than two contributors in line(s) {_lines(wrong)}")
        for k, column in enumerate(_CONTRIBUTORS):
            table[column] = [part[k] if k < len(part) else "" for part in parts]
        table = table.drop(columns="contributors")
    for column in _CONTRIBUTORS:
        given = table[column] if column in table.columns else pd.Series("", table.index)
        table[column] = given.fillna("").astype(str).str.strip()
    attack = table["attack"].fillna("").str.strip()
    lowered = attack.str.lower()
    attack = attack.mask(lowered.isin(_UNTOUCHED), BONA_FIDE).mask(lowered == CONTROL, CONTROL)
    if (attack == _POOLED).any():
        raise PairError(f"{source}: the attack name {_POOLED!r} is reserved for all attacks pooled")
    table = table.drop(columns=["genuine", *_CONTRIBUTORS], errors="ignore").assign(
        genuine=attack.isin([BONA_FIDE, CONTROL]),
        attack=attack,
        **{column: table[column] for column in _CONTRIBUTORS},
    )
    return renamed(table, {side: column for column, side in MORPH_COLUMNS.items()}, source)


def with_contributors(pairs: pd.DataFrame, faces: Faces, source: Path) -> pd.DataFrame:
    """Complete :func:`read_morph_pairs`: the person of bona fide pairs becomes the contributor.

    Raises
    ------
    PairError
        If there is no bona fide or no attack pair, a contributor is missing, an attack has only
        one, or a live photograph shows another person than the contributors.
    """
    kinds = set(pairs["attack"])
    if BONA_FIDE not in kinds:
        raise PairError(
            f"{source}: there is no bona fide pair, a row with an empty attack or 'bona fide'"
        )
    if not kinds - {BONA_FIDE, CONTROL}:
        raise PairError(f"{source}: there is no attack pair, a row that names its attack")
    subject_of = pd.Series(faces.subjects.astype(str), index=faces.names)
    of_document, of_live = (
        pairs[side].astype(str).map(subject_of) for side in ("reference", "probe")
    )
    pairs = pairs.copy()
    one_person = pairs["genuine"].astype(bool)
    for column in _CONTRIBUTORS:
        pairs[column] = pairs[column].mask(one_person & (pairs[column] == ""), of_document)
    a, b = (pairs[column] for column in _CONTRIBUTORS)

    def refuse(bad: pd.Series[bool], fault: str) -> None:
        if bad.any():
            rows = pairs.loc[bad].drop(columns="genuine").head(3).to_string()
            raise PairError(f"{source}: {int(bad.sum())} of {len(pairs)} pairs {fault}:\n{rows}")

    refuse(
        one_person & ((a != of_document) | (b != of_document)),
        "are not attacks but have a contributor who is not the subject of the document",
    )
    refuse(~one_person & ((a == "") | (b == "")), "are attacks and lack a contributor")
    refuse(~one_person & (a == b), "are attacks with only one contributor (name them 'control')")
    refuse(
        (of_live != a) & (of_live != b),
        "have a live photograph whose subject is neither contributor",
    )
    refuse(
        ~one_person & (of_document == of_live),
        "are attacks whose document has the subject of the live photograph (a morph needs a "
        "subject of its own, such as 'a+b')",
    )
    return pairs


def table_header(line: str) -> tuple[list[str], str]:
    """Return the columns that the first line of a table names, and their separator."""
    separator = max(",;\t|", key=line.count)
    return [name.strip() for name in next(csv.reader([line], delimiter=separator), [])], separator


def _table(source: Path, names: Iterable[str]) -> pd.DataFrame:
    """Read a table in which the columns of `names` hold text, even if it looks like numbers."""
    try:
        with source.open(encoding="utf-8-sig") as file:
            separator = table_header(file.readline())[1]
        table = pd.read_csv(
            source,
            sep=separator,
            skipinitialspace=True,
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
            dtype=dict.fromkeys(names, str),
        )
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise PairError(f"{source} cannot be read as a CSV file in UTF-8: {error}") from error
    table.columns = [str(column).strip() for column in table.columns]
    # pandas writes its index as a column without a name
    return table[[c for c in table.columns if not str(c).startswith("Unnamed: ")]]


def renamed(
    table: pd.DataFrame,
    names: Mapping[str, str],
    source: Path,
    *,
    lines: npt.NDArray[np.integer] | None = None,
) -> pd.DataFrame:
    """Rename the columns of pairs to their standard names: faces as text, labels as bool.

    Raises
    ------
    PairError
        If a face is missing or a label is not valid; `lines` are the line numbers in the file.
    """
    lines = np.arange(len(table)) + 2 if lines is None else lines
    if len(set(names.values())) < len(names):
        raise ParameterError(f"columns={dict(names)!r} name one column twice")
    listed = table.rename(columns={column: role for role, column in names.items()})
    if listed.columns.has_duplicates:
        twice = listed.columns[listed.columns.duplicated()][0]
        raise PairError(f"{source}: two columns would be called {twice!r}; rename one in the file")
    for side in ("probe", "reference"):
        empty = listed[side].isna()
        if empty.any():
            raise PairError(f"{source}: no {side} in line(s) {_lines(empty, lines)}")
        listed[side] = listed[side].astype(str)
    if "genuine" in listed.columns:
        label = listed["genuine"].astype(str).str.strip().str.lower().map(LABELS)
        if label.isna().any():
            raise PairError(
                f"{source}: the label {listed['genuine'][label.isna()].iloc[0]!r} in line(s) "
                f"{_lines(label.isna(), lines)}; allowed are 1/0, 1/-1, true/false, yes/no, "
                f"same/different, match/mismatch and genuine/impostor"
            )
        listed["genuine"] = label.astype(bool)
    if "fold" in listed.columns:
        number = pd.to_numeric(listed["fold"], errors="coerce")
        bad = ~(number % 1 == 0)
        if bad.any():
            raise PairError(
                f"{source}: the fold in line(s) {_lines(bad, lines)} is not a whole number"
            )
        listed["fold"] = number.astype(int)
    return listed


def _lines(bad: pd.Series[bool], lines: npt.NDArray[np.integer] | None = None) -> str:
    at = np.flatnonzero(bad.to_numpy())[:3]
    return ", ".join(str(int(i)) for i in (at + 2 if lines is None else lines[at]))

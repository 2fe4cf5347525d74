"""Functions shared by the readers of face sets: parsing names of images, and reading tables."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from freqlab.datasets.surveying import Survey, natural_key, shown, some, survey
from freqlab.errors import FaceSetError, ParameterError
from freqlab.faces.table import LANDMARK_COLUMNS, PEOPLE_COLUMNS
from freqlab.images.file_kinds import IMAGE_SUFFIXES, TEXT_FILE, kind_of_file
from freqlab.text.csv import as_written, read_table
from freqlab.text.spelling import Spellings, difference, existing_path, plain, spelled_hint

__all__ = [
    "IMAGE_SUFFIXES",
    "as_text",
    "by_face",
    "columns_hint",
    "existing_folder",
    "leave_out_strays",
    "natural_key",
    "no_folder",
    "one_form",
    "parse_names",
    "read_csv",
    "strip_image_suffix",
    "survey",
    "tail",
    "wrong_layout",
]

# names under which other tables hold what a column of a table of faces holds
_USUAL_NAMES = {
    "subject": (
        *("identity", "person", "subject_id", "person_id", "identity_id", "subjectid", "label"),
        *("name", "class", "id"),
    ),
    "path": (
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image_path",
        "img",
        "photo",
    ),
}
_TEXT_COLUMNS = (
    *("face", "subject", "path", "image", "identity", "face_id", "source", "target"),
    *PEOPLE_COLUMNS,
)


def existing_folder(root: str | os.PathLike[str] | None, name: str) -> Path:
    """Return the root of the face set `name`.

    Raises
    ------
    ParameterError
        If no root is given.
    FaceSetError
        If it is not a folder.
    """
    if root is None:
        raise ParameterError(f"faces {name!r} needs root=, the folder that holds the set")
    folder = existing_path(root)
    if not folder.is_dir():
        raise no_folder(folder)
    return folder


def no_folder(path: Path) -> FaceSetError:
    """Make the error for a path that should be the folder of a set but is not a folder."""
    given = f"root={os.fspath(path)!r}"
    if path.exists():
        kind = kind_of_file(path)
        return FaceSetError(f"{given} is not a folder but {kind.what}: {kind.advice}")
    return FaceSetError(f"{given}: no such folder{spelled_hint(path)}")


def parse_names(
    files: Survey,
    pattern: str,
    *,
    parts: int,
    expected: str,
    identity: Callable[[str], str] = plain,
    take_first: bool = False,
) -> pd.DataFrame:
    """Name the images of a set and parse their names.

    Images whose names do not match are left out and counted in `files`, unless they outnumber
    those that match.

    Parameters
    ----------
    files
        Files in the folder of the set.
    pattern
        Regular expression that a whole name must match; its named groups become columns.
    parts
        Number of parts of a path, counted from its end, that form the face's name; folders above
        them are ignored.
    expected
        The layout in words, for the error.
    identity
        Key by which two names denote the same photograph; by default the name in one Unicode
        form.
    take_first
        Whether to take the first of several images of one photograph. Otherwise they are an error.

    Returns
    -------
    pandas.DataFrame
        Indexed by face name, with the groups of `pattern` (text, None where a group is absent)
        and ``path``.

    Raises
    ------
    FaceSetError
        If there is no image, most names do not match, or a photograph occurs twice.
    """
    root = files.root
    if not files.images:
        raise wrong_layout(files, expected)
    whole = re.compile(pattern, re.IGNORECASE)
    rows, names, images, strays = [], [], [], []
    for path in files.images:
        name = as_text(tail(path, parts))
        match = whole.fullmatch(name) or whole.fullmatch(unicodedata.normalize("NFC", name))
        if match is None:
            strays.append(path)
        else:
            rows.append(match.groupdict())
            names.append(name)
            images.append(path)
    leave_out_strays(files, expected, strays)
    table = pd.DataFrame(
        rows,
        index=pd.Index(names, name="face", dtype=object),
        columns=list(whole.groupindex),
        dtype=object,
    )
    table["path"] = [os.path.join(root, path) for path in images]
    if "subject" in table.columns:
        table["subject"] = one_form(files, table["subject"])
    keys = pd.Index([identity(name) for name in names], dtype=object)
    if keys.has_duplicates and not take_first:
        first = keys[keys.duplicated()][0]
        twice = [path for path, key in zip(images, keys, strict=True) if key == first]
        raise FaceSetError(
            f"{root}: {int(keys.duplicated().sum())} faces occur more than once, the first as "
            f"{', '.join(twice[:3])}; set root= to one copy of the set"
        )
    if keys.has_duplicates:
        again = [path for path, more in zip(images, keys.duplicated(), strict=True) if more]
        files.remarks.append(
            f"several images have the same name: the first is read, {len(again):,} others are "
            f"not: {some(again)}"
        )
    return table.loc[~keys.duplicated()]


def leave_out_strays(files: Survey, expected: str, strays: Sequence[str]) -> None:
    """Leave out images that do not fit a set; refuse the folder if they are most of it.

    Raises
    ------
    FaceSetError
        If there are more strays than images that fit.
    """
    if 2 * len(strays) > len(files.images):
        raise wrong_layout(files, expected, strays)
    files.leave_out("as their names do not fit the set", strays)


def one_form(files: Survey | list[str], subjects: Iterable[object]) -> list[str]:
    """Unify subjects that differ only in Unicode form.

    They are treated as one person, with a remark. Subjects that differ in letter case or spaces
    stay separate, also with a remark.
    """
    texts = [str(subject) for subject in subjects]
    remarks = files.remarks if isinstance(files, Survey) else files
    composed: dict[str, set[str]] = {}
    cased: dict[str, set[str]] = {}
    for text in dict.fromkeys(texts):
        whole = unicodedata.normalize("NFC", text)
        composed.setdefault(whole, set()).add(text)
        cased.setdefault(" ".join(whole.casefold().split()), set()).add(whole)
    several = {form for form, spelled in composed.items() if len(spelled) > 1}
    if several:
        remarks.append(
            f"{len(several):,} subject(s) are spelled in two Unicode normal forms and treated as "
            f"one person each: {some(sorted(several))}"
        )
        forms = ((text, unicodedata.normalize("NFC", text)) for text in texts)
        texts = [form if form in several else text for text, form in forms]
    alike = [sorted(spelled) for spelled in cased.values() if len(spelled) > 1]
    if alike:
        remarks.append(
            f"{len(alike):,} subject(s) differ from another only in letter case or spaces and "
            f"are treated as different people: {some([' / '.join(names) for names in alike])}"
        )
    return texts


def tail(path: str, parts: int) -> str:
    """Return the last parts of a path with forward slashes."""
    return "/".join(path.split("/")[-parts:])


def strip_image_suffix(name: str) -> str:
    """Remove the suffix of an image file from a name; other dots belong to the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name


def wrong_layout(
    files: Survey, expected: str, offending: Iterable[str] = (), *, of: int | None = None
) -> FaceSetError:
    """Make the error for a folder with an unexpected layout, including what it holds instead."""
    paths = list(offending)
    if not paths:
        return FaceSetError(f"{files.root}: expected {expected}; found {files.found()}")
    count = f"{len(paths)} of {of or len(files.images)} images"
    return FaceSetError(f"{files.root}: expected {expected}; found {some(paths)} ({count})")


def as_text(name: str) -> str:
    """Convert a file name to storable text: bytes that are not UTF-8 become backslash and hex."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_csv(
    path: Path,
    needed: Sequence[str],
    perhaps: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read a table of faces in which only an empty cell is a missing value.

    Columns are separated by commas, semicolons, tabs or vertical bars: the one with which the first
    line has most of the columns in `needed` and `perhaps`.

    Parameters
    ----------
    path
        The file.
    needed, perhaps
        Columns that the table must have, and columns that it may have.
    columns
        Other names of columns, as for :func:`freqlab.load_faces`.

    Raises
    ------
    FaceSetError
        If the file cannot be read, lacks a column, or holds text for landmarks.
    """
    others = [*(columns or {}), *(columns or {}).values()]
    path = existing_path(path)
    if not path.exists():
        raise FaceSetError(f"{path}: no such CSV file{spelled_hint(path)}")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise FaceSetError(f"{path} is {what}; a CSV file is expected")
    try:
        table = read_table(path, [*needed, *perhaps, *others], text=[*_TEXT_COLUMNS, *others])
    except (ValueError, OSError) as error:  # empty, ragged, or in another encoding
        kind = kind_of_file(path)
        about = f"{error}" if kind is TEXT_FILE else f"it is {kind.what}: {kind.advice}"
        raise FaceSetError(f"{path} cannot be read as a CSV file in UTF-8: {about}") from error
    if columns:
        table = _renamed(table, columns, path)
    missing = [column for column in needed if column not in table.columns]
    if missing:
        kind = kind_of_file(path)
        if kind is not TEXT_FILE:
            raise FaceSetError(f"{path} is not a CSV file but {kind.what}: {kind.advice}")
        known = Spellings(table.columns)
        alike = [(column, known.find(column)) for column in missing]
        hint = "".join(
            f". Is {other!r} meant for {column!r}? It differs in {difference(column, other)}"
            for column, other in alike[:1]
            if other is not None
        )
        hint += columns_hint(table, missing[0])
        raise FaceSetError(
            f"{path}: expected the columns {', '.join(needed)}; "
            f"missing {', '.join(missing)}, found {', '.join(map(str, table.columns))}{hint}"
        )
    points = table[[column for column in LANDMARK_COLUMNS if column in table.columns]]
    wrong = [c for c in points.columns if not pd.api.types.is_numeric_dtype(points[c])]
    if wrong:
        raise FaceSetError(f"{path}: the landmark column(s) {', '.join(wrong)} hold text")
    return table


def _renamed(table: pd.DataFrame, columns: Mapping[str, str], path: Path) -> pd.DataFrame:
    """Rename columns; a pair of names is read in either order."""
    there = [str(name) for name in table.columns]
    names = {}
    for one, other in columns.items():
        name, role = (one, other) if one in there else (other, one)
        if name not in there:
            raise FaceSetError(
                f"{path}: there is no column {one!r} or {other!r} to map; the columns are "
                f"{', '.join(there)}"
            )
        if role in there and role not in columns:
            raise FaceSetError(
                f"{path}: the column {name!r} cannot be read as {role!r}, because "
                f"the table has a column {role!r}; rename that too, as in "
                f"load_faces(..., columns={ {name: role, role: f'other_{role}'}!r})"
            )
        names[name] = role
    return table.rename(columns=names)


def columns_hint(table: pd.DataFrame, missing: str) -> str:
    """Suggest a column of a table that may hold what a missing column should, for messages."""
    known = Spellings(map(str, table.columns))
    for usual in _USUAL_NAMES.get(missing, ()):
        found = known.find(usual)
        if found is not None:
            what = "subject (the person)" if missing == "subject" else f"{missing} of the image"
            return (
                f". If the column {found!r} holds the {what}, use "
                f"load_faces(..., columns={ {found: missing}!r}), or FILE,{missing}={found} on the "
                f"command line"
            )
    return ""


def by_face(
    table: pd.DataFrame, column: str, faces: Sequence[str], file: Path, remarks: list[str]
) -> pd.DataFrame:
    """Return a table indexed by the names of faces, however the table spells them.

    Parameters
    ----------
    table
        A row for each face.
    column
        The column of names, which is dropped.
    faces
        Names of the faces of the set.
    file
        Location of the table, for messages.
    remarks
        List to which remarks are added that count the rows that do not fit.

    Raises
    ------
    FaceSetError
        If a face has more than one row, or none has a row.
    """
    known = Spellings(faces)
    given = [str(as_written(name)) for name in table[column]]
    matched = [known.find(name) for name in given]
    strange = [name for name, face in zip(given, matched, strict=True) if face is None]
    if len(strange) == len(given):
        raise FaceSetError(
            f"{file}: none of its faces ({some(given)}) is in the set ({some(faces)})"
        )
    respelled = [
        (name, face)
        for name, face in zip(given, matched, strict=True)
        if face is not None and face != name
    ]
    if respelled:
        differ = " and ".join(dict.fromkeys(difference(*both) for both in respelled))
        remarks.append(
            f"{file.name}: {len(respelled):,} of its {len(given):,} names differ from the names of "
            f"faces in {differ}: {shown(respelled[0][0])} is read as {shown(respelled[0][1])}"
        )
    if strange:
        remarks.append(
            f"{file.name}: {len(strange):,} of its {len(given):,} names match no face of the "
            f"set: {some(strange)}"
        )
    indexed = table.drop(columns=column).set_index(pd.Index(matched, dtype=object))
    indexed = indexed[indexed.index.notna()]
    if indexed.index.has_duplicates:
        twice = indexed.index[indexed.index.duplicated()][0]
        raise FaceSetError(f"{file}: the face {twice!r} has more than one row")
    return indexed

"""What the readers of face sets share: listing images, parsing their names, reading tables."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from freqlab.errors import FaceSetError, ParameterError
from freqlab.faces import LANDMARK_COLUMNS, PEOPLE_COLUMNS

__all__ = [
    "IMAGE_SUFFIXES",
    "as_text",
    "existing_folder",
    "list_images",
    "natural_key",
    "parse_names",
    "read_csv",
    "strip_image_suffix",
    "tail",
    "wrong_layout",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
"""Endings by which image files are told from the rest, in any case."""

_MAX_DEPTH = 8  # folders below root; ends the walk where links lead back up


def existing_folder(root: str | os.PathLike[str] | None, name: str) -> Path:
    """Return the root of the face set `name`.

    Raises
    ------
    ParameterError
        If there is none given.
    FaceSetError
        If it is no folder.
    """
    if root is None:
        raise ParameterError(f"faces {name!r} needs root=, the folder that holds the set")
    folder = Path(root)
    if not folder.is_dir():
        raise FaceSetError(f"root={os.fspath(root)!r}: no such folder")
    return folder


def list_images(root: Path) -> list[str]:
    """List the images in a folder and below it, without opening any.

    Returns
    -------
    list of str
        Their paths relative to `root`, with forward slashes, in natural order. Hidden files and
        folders are left out.
    """
    found: list[str] = []
    folders = [("", 0)]
    while folders:
        below, depth = folders.pop()
        with os.scandir(root / below) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                if entry.name.lower().endswith(IMAGE_SUFFIXES):
                    found.append(below + entry.name)
                elif depth < _MAX_DEPTH and entry.is_dir():
                    folders.append((f"{below}{entry.name}/", depth + 1))
    return sorted(found, key=natural_key)


def parse_names(
    root: Path,
    images: Sequence[str],
    pattern: str,
    *,
    parts: int,
    expected: str,
    identity: Callable[[str], str] = str,
    take_first: bool = False,
) -> pd.DataFrame:
    """Name the images of a set and take their names apart.

    Parameters
    ----------
    root
        Folder of the set.
    images
        Paths relative to it.
    pattern
        Regular expression that a whole name must match; its named groups become columns.
    parts
        How many parts of a path, counted from its end, are the face's name: whatever folders lie
        above them do not matter.
    expected
        The layout in words, for the error.
    identity
        By which two names are of one photograph; by default, if they are equal.
    take_first
        Of several images of one photograph take the first. Otherwise they are an error.

    Returns
    -------
    pandas.DataFrame
        Indexed by face name, with the groups of `pattern` (text, None where a group is absent)
        and ``path``.

    Raises
    ------
    FaceSetError
        If there is no image, a name does not match, or a photograph is there twice.
    """
    if not images:
        raise wrong_layout(root, expected, _found(root))
    whole = re.compile(pattern, re.IGNORECASE)
    names = [as_text(tail(path, parts)) for path in images]
    matches = [whole.fullmatch(name) for name in names]
    bad = [path for path, match in zip(images, matches, strict=True) if match is None]
    if bad:
        raise wrong_layout(root, expected, bad, of=len(images))
    table = pd.DataFrame(
        [match.groupdict() for match in matches if match is not None],
        index=pd.Index(names, name="face", dtype=object),
        columns=list(whole.groupindex),
        dtype=object,
    )
    table["path"] = [os.path.join(root, path) for path in images]
    keys = pd.Index([identity(name) for name in names], dtype=object)
    if keys.has_duplicates and not take_first:
        first = keys[keys.duplicated()][0]
        twice = [path for path, key in zip(images, keys, strict=True) if key == first]
        raise FaceSetError(
            f"{root}: {int(keys.duplicated().sum())} faces are there more than once, the first as "
            f"{', '.join(twice[:3])}; let root= be the folder of one copy of the set"
        )
    return table.loc[~keys.duplicated()]


def tail(path: str, parts: int) -> str:
    """The last parts of a path with forward slashes."""
    return "/".join(path.split("/")[-parts:])


def strip_image_suffix(name: str) -> str:
    """A name without the ending of an image file; other dots belong to the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name


def wrong_layout(
    root: Path, expected: str, offending: Iterable[str], *, of: int | None = None
) -> FaceSetError:
    """The error of a folder that is not laid out as expected, with the first paths that are not."""
    paths = list(offending)
    first = ", ".join(paths[:3]) or "nothing"
    count = "" if of is None else f" ({len(paths)} of {of} images)"
    return FaceSetError(f"{root}: expected {expected}; found {first}{count}")


def _found(root: Path) -> list[str]:
    """The first entries of a folder that holds no image."""
    return sorted(path.relative_to(root).as_posix() for path in root.glob("*"))[:3]


def as_text(name: str) -> str:
    """A file name as text that can be stored: bytes that are no UTF-8 as backslash and hex."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sort key by which ``s2`` comes before ``s10``."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_csv(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """Read a table of faces in which only an empty cell is a missing value.

    Raises
    ------
    FaceSetError
        If the file cannot be read, lacks a column, or holds text for landmarks.
    """
    if not path.is_file():
        raise FaceSetError(f"{path}: no such CSV file")
    named = ("face", "subject", "path", "image", "identity", "face_id", "source", "target")
    text = dict.fromkeys((*named, *PEOPLE_COLUMNS), str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except (ValueError, pd.errors.ParserError) as error:  # empty, ragged, or in another encoding
        raise FaceSetError(f"{path} cannot be read as a CSV file in UTF-8: {error}") from error
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise FaceSetError(
            f"{path}: expected the columns {', '.join(needed)}; "
            f"missing {', '.join(missing)}, found {', '.join(map(str, table.columns))}"
        )
    points = table[[column for column in LANDMARK_COLUMNS if column in table.columns]]
    wrong = [c for c in points.columns if not pd.api.types.is_numeric_dtype(points[c])]
    if wrong:
        raise FaceSetError(f"{path}: the landmark column(s) {', '.join(wrong)} hold text")
    return table

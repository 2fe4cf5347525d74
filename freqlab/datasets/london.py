"""The Face Research Lab London set, and morphs made from it, including SYN-MAD-2022."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import pandas as pd

from freqlab.datasets.listing import (
    existing_folder,
    leave_out_strays,
    read_csv,
    strip_image_suffix,
    survey,
    tail,
    wrong_layout,
)
from freqlab.datasets.surveying import Survey, some
from freqlab.errors import FaceSetError
from freqlab.faces.table import Faces
from freqlab.images.templates import template

__all__ = ["load_frll", "load_mad22"]

_EXPECTED = (
    "folders neutral_front and smiling_front (or neutral_<size>, smiling_<size>) with images "
    "001_03.jpg, 001_08.jpg or 001.jpg, and any folders morph_<tool> with images 001_002.jpg"
)
_FOLDER = re.compile(r"(neutral|smiling|morph|raw)(?:_(.+?))??(?:_(\d+))?", re.IGNORECASE)
_PHOTOGRAPH = re.compile(r"(\d{3})(?:_(\d\d))?")
_MORPH = re.compile(r"(?:[a-z]+_)?(\d{3})(?:_\d\d)?[_-](\d{3})(?:_\d\d)?", re.IGNORECASE)
_COMPETITION_MORPH = re.compile(
    r"(\d+)(?:_\d+)?-vs-(\d+)(?:_\d+)?|morph_(\d+)(?:_\d+)?_and_(\d+)(?:_\d+)?", re.IGNORECASE
)
_COMPETITION_COPY = re.compile(r"(.+?)(?:_(?:aligned|cropped))?", re.IGNORECASE)
_BONA_FIDE = "BonaFide"
_TOOLS = ("FaceMorpher", "MIPGAN_I", "MIPGAN_II", "OpenCV", "Webmorph", "MorDIFF")
_EXPECTED_COMPETITION = (
    f"a folder {_BONA_FIDE} with images 001_03.jpg and 001_08.jpg, and folders "
    f"{', '.join(_TOOLS)} with morphs 001_03-vs-002_03.jpg or morph_001_03_and_002_03.png, "
    f"perhaps with _aligned or _cropped behind the name of a folder"
)
_CONTRIBUTORS = ("contributor_a", "contributor_b")
_EXPRESSIONS = {"03": "neutral", "08": "smiling"}
_INFO_FILES = ("info.csv", "london_faces_info.csv")


def load_frll(root: str | os.PathLike[str] | None, aligned: str | None = None) -> Faces:
    """Load the Face Research Lab London set, with any morphs beside it.

    The reader accepts the folders

    - ``neutral_front`` and ``smiling_front`` (``001_03.jpg``, ``001_08.jpg``), or the same under
      the names ``neutral``, ``smiling``, ``neutral_112``, ``smiling_512``, ... (``001.jpg``), the
      number being the size of the images in pixels;
    - ``raw``, where ``_03`` is neutral and ``_08`` smiling, as distributed with the morphs;
    - ``morph_<tool>`` (``001_002.jpg``, ``001_03_002_03.jpg``), optionally followed by a size.

    Of several sizes, the one of the template is read with ``aligned=``, otherwise the largest.
    Other folders, including the side views of the set, are not read. Faces are named by folder and
    file.

    Columns: ``expression`` (``neutral``, ``smiling``; empty for morphs), ``morph`` (bool),
    ``contributor_a``, ``contributor_b`` and ``tool`` (empty except for morphs; ``unnamed`` for a
    folder ``morph``), and, with a table ``info.csv`` or ``london_faces_info.csv``,
    ``age``, ``gender`` and ``ethnicity`` (missing for morphs). The subject of a morph is both
    contributors, ``001+002``: compared with either, it is an impostor, like any attack.

    Raises
    ------
    FaceSetError
        If no image fits, an image has another name, or a photograph occurs twice.
    """
    folder = existing_folder(root, "frll")
    files = survey(folder)
    rows = _rows(files, aligned)
    table = pd.DataFrame(rows).set_index("face")
    photographs = table[~table["morph"]]
    repeated = photographs.duplicated(["subject", "expression"], keep=False)
    if repeated.any():
        twice = photographs.index[repeated][:3]
        raise FaceSetError(
            f"{folder}: {int(repeated.sum())} photographs are of one person with one expression: "
            f"{', '.join(twice)}; let root= be the folder of one copy of the set"
        )
    tables = [file for file in _INFO_FILES if (folder / file).is_file()]
    if tables:
        files.read(tables[0])
        table = table.join(_information(folder / tables[0]), on="subject")
    return _faces(table, files, "frll", aligned)


def load_mad22(root: str | os.PathLike[str] | None, aligned: str | None = None) -> Faces:
    """Load SYN-MAD-2022: bona fide photographs of the London set, and morphs by tool.

    The reader accepts the folders ``BonaFide`` (``001_03.jpg`` neutral, ``001_08.jpg`` smiling) and
    ``FaceMorpher``, ``MIPGAN_I``, ``MIPGAN_II``, ``OpenCV`` and ``Webmorph``
    (``001_03-vs-002_03.jpg``), and ``MorDIFF``, which was published later
    (``morph_001_03_and_002_03.png``); each optionally with the suffix ``_aligned`` or ``_cropped``,
    and in any folder below the root. The reader follows the published description of the layout;
    it was not tested on the real set.

    Faces are named by folder and file. Columns and subjects are those of :func:`load_frll`; the
    tool is the name of the folder without its suffix.

    Raises
    ------
    FaceSetError
        If the folder of bona fide photographs is missing, a folder or an image has an unexpected
        name, or a folder exists in two copies.
    """
    folder = existing_folder(root, "mad22")
    files = survey(folder)
    images = files.images
    spelled = {name.lower(): name for name in (_BONA_FIDE, *_TOOLS)}
    places: dict[str, set[str]] = {}
    rows, bad = [], []
    for path in images:
        place, _, _ = path.rpartition("/")
        kind = _kind_of_folder(place.rpartition("/")[2], spelled)
        if kind is None:
            bad.append(path)
            continue
        places.setdefault(kind, set()).add(place)
        row = _photograph(path, "raw") if kind == _BONA_FIDE else _competition_morph(path, kind)
        if row is None:
            bad.append(path)
        else:
            rows.append({"face": tail(path, 2), **row, "path": os.path.join(folder, path)})
    if not rows:
        raise wrong_layout(files, _EXPECTED_COMPETITION)
    for path in bad:
        name = path.rpartition("/")[0].rpartition("/")[2]
        near = difflib.get_close_matches(name.lower(), spelled, n=1)
        if near and _kind_of_folder(name, spelled) is None:  # a whole tool is missing
            hint = f" (is {spelled[near[0]]} meant?)"
            raise wrong_layout(files, _EXPECTED_COMPETITION + hint, bad)
    leave_out_strays(files, _EXPECTED_COMPETITION, bad)
    for kind, folders in places.items():
        if len(folders) > 1:
            raise FaceSetError(
                f"{folder}: {kind} exists in {len(folders)} copies, {', '.join(sorted(folders))}; "
                f"keep only one of them below root="
            )
    if _BONA_FIDE not in places:
        raise FaceSetError(
            f"{folder}: no folder {_BONA_FIDE}; the morphs in {', '.join(places)} need bona fide "
            f"photographs to be compared with"
        )
    table = pd.DataFrame(rows).set_index("face")
    photographs = table[~table["morph"]]
    repeated = photographs.duplicated(["subject", "expression"], keep=False)
    if repeated.any():
        raise FaceSetError(
            f"{folder}: several photographs of one person with the same expression: "
            f"{', '.join(photographs.index[repeated][:3])}"
        )
    return _faces(table, files, "mad22", aligned)


def _faces(table: pd.DataFrame, files: Survey, name: str, aligned: str | None) -> Faces:
    return Faces(
        table,
        aligned=aligned,
        name=name,
        notes=files.notes(),
        left_out=files.left_out,
        names_people=_CONTRIBUTORS,
    )


def _rows(files: Survey, aligned: str | None) -> list[dict[str, object]]:
    read, elsewhere = [], []
    for path in files.images:
        parts = path.split("/")
        match = _FOLDER.fullmatch(parts[-2]) if len(parts) > 1 else None
        kind = match[1].lower() if match else ""
        view = (match[2] or "").lower() if match else ""
        if match and (kind == "morph" or view in ("", "front")):
            read.append((path, kind, view, int(match[3] or 0)))
        else:
            elsewhere.append(path)
    if not read:
        raise wrong_layout(files, _EXPECTED)
    sizes = {size for *_, size in read if size}
    wanted = max(sizes, default=0)
    if aligned is not None and template(aligned).size[1] in sizes:
        wanted = template(aligned).size[1]
    rows, bad, resized = [], [], []
    for path, kind, view, size in read:
        if size not in (0, wanted):
            resized.append(path)
            continue
        row = _morph(path, view) if kind == "morph" else _photograph(path, kind)
        if row is None:
            bad.append(path)
        else:
            rows.append({"face": path, **row, "path": os.path.join(files.root, path)})
    if len(bad) > len(rows):
        raise wrong_layout(files, _EXPECTED, bad, of=len(read))
    files.leave_out("as their names do not fit the set", bad)
    if resized:
        files.remarks.append(
            f"{len(resized):,} images of another size than {wanted} are not read: {some(resized)}"
        )
    if elsewhere:
        files.remarks.append(
            f"{len(elsewhere):,} images in folders of other names are not read: {some(elsewhere)}"
        )
    return rows


def _photograph(path: str, kind: str) -> dict[str, object] | None:
    match = _PHOTOGRAPH.fullmatch(_stem(path))
    expression = kind if kind != "raw" else _EXPRESSIONS.get(match[2] or "") if match else None
    if match is None or expression is None:
        return None
    if _EXPRESSIONS.get(match[2] or "", expression) != expression:
        return None  # a smiling face in the folder of the neutral ones
    nobody = {"contributor_a": "", "contributor_b": "", "tool": ""}
    return {"subject": match[1], "expression": expression, "morph": False, **nobody}


def _morph(path: str, tool: str) -> dict[str, object] | None:
    match = _MORPH.fullmatch(_stem(path))
    return None if match is None else _morph_row(match[1], match[2], tool or "unnamed")


def _kind_of_folder(name: str, spelled: dict[str, str]) -> str | None:
    """Contents of a folder of the competition: bona fide photographs, or morphs of a tool."""
    copy = _COMPETITION_COPY.fullmatch(name)
    return spelled.get(copy[1].lower()) if copy else None


def _competition_morph(path: str, tool: str) -> dict[str, object] | None:
    match = _COMPETITION_MORPH.fullmatch(_stem(path))
    if match is None:
        return None
    a, b = match[1] or match[3], match[2] or match[4]
    return None if a == b else _morph_row(a, b, tool)


def _morph_row(a: str, b: str, tool: str) -> dict[str, object]:
    return {
        "subject": f"{a}+{b}",
        "expression": "",
        "morph": True,
        "contributor_a": a,
        "contributor_b": b,
        "tool": tool,
    }


def _stem(path: str) -> str:
    return strip_image_suffix(path.rsplit("/", 1)[-1])


def _information(file: Path) -> pd.DataFrame:
    """Read age, gender and ethnicity by subject; published with ``face_sex`` and ``X001`` ids."""
    table = read_csv(file, ["face_id"])
    ids = table["face_id"].str.lstrip("X").str.zfill(3)
    names = {"face_age": "age", "face_gender": "gender", "face_sex": "gender"}
    table = table.rename(columns={**names, "face_eth": "ethnicity"})
    if "age" in table.columns:  # the published table writes NA for unknown ages
        table["age"] = pd.to_numeric(table["age"], errors="coerce")
    columns = [column for column in ("age", "gender", "ethnicity") if column in table.columns]
    if ids.duplicated().any():
        raise FaceSetError(f"{file}: face_id {ids[ids.duplicated()].iloc[0]!r} has several rows")
    return table[columns].set_index(pd.Index(ids, name="subject"))

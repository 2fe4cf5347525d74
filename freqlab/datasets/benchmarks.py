"""Readers of the published face sets, each in the layout of its official distribution.

Only the part of a path that is a face's name matters, not the folders above it: the root of a set
may be the folder of the images, or any folder above it that holds no second copy of them. Hidden
and system files, files that are not images, and images whose names do not fit are left out, and
counted in ``Faces.notes``. A folder in which most images do not fit is an error. No image is
opened.
"""

from __future__ import annotations

import os
import re
import warnings

import pandas as pd

from freqlab.datasets.listing import (
    by_face,
    existing_folder,
    parse_names,
    read_csv,
    strip_image_suffix,
    survey,
    wrong_layout,
)
from freqlab.datasets.surveying import Survey
from freqlab.faces.table import Faces

__all__ = [
    "RFW_ETHNICITIES",
    "load_agedb",
    "load_bfw",
    "load_cfp",
    "load_flat_lfw",
    "load_lfw",
    "load_rfw",
    "load_scface",
    "load_utkface",
]

RFW_ETHNICITIES = ("african", "asian", "caucasian", "indian")
"""Folders of RFW, in small letters, as the column ``ethnicity`` has them."""

_BFW_ETHNICITIES = ("asian", "black", "indian", "white")
_UTKFACE_ETHNICITIES = {"0": "white", "1": "black", "2": "asian", "3": "indian", "4": "others"}
_UTKFACE = "images <age>_<gender>_<race>_<date>.jpg with gender 0 or 1 and race 0 to 4"
_OLDEST = 150  # years; a larger number is not an age
_GENDERS = {"f": "female", "m": "male"}
_SCFACE_METRES = {"1": 4.2, "2": 2.6, "3": 1.0}

_Root = str | os.PathLike[str] | None


def load_lfw(root: _Root, aligned: str | None = None, *, name: str = "lfw") -> Faces:
    """Load Labeled Faces in the Wild, or a set with its layout.

    Images are ``Name/Name_0001.jpg``, which is also the face's name. An optional file
    ``images.csv`` in `root` adds its columns: ``image``, a face's name, and any metadata. Its
    ``identity`` is ignored, because the folder gives the subject.

    Parameters
    ----------
    root
        Folder of the set.
    aligned
        Template to which the images in this folder are aligned.
    name
        The set's name.

    Returns
    -------
    Faces

    Raises
    ------
    FaceSetError
        If most images have other names, or an image occurs twice.
    """
    files = survey(existing_folder(root, name))
    table = parse_names(
        files,
        r"(?P<subject>[^/]+)/(?P=subject)_\d+\.\w+",
        parts=2,
        expected="images Name/Name_0001.jpg",
    )
    if (files.root / "images.csv").is_file():
        table = _with_metadata(table, files)
    return _faces(table, files, name, aligned)


def load_flat_lfw(root: _Root, aligned: str | None = None, *, name: str) -> Faces:
    """Load CALFW or CPLFW, with images ``Name_0001.jpg`` or ``Name_1.jpg`` in one folder.

    Both are distributed with the photographs in one folder and aligned crops of the same names in
    another; `root` must be one of the two.

    Raises
    ------
    FaceSetError
        If most images have other names, or `root` holds two copies.
    """
    files = survey(existing_folder(root, name))
    table = parse_names(
        files,
        r"(?P<subject>(?:.+_)?(?=[^_]*[^\d_])[^_]+)_\d+\.\w+",  # not Name_0001_0.png
        parts=1,
        expected="images Name_0001.jpg in one folder",
    )
    return _faces(table, files, name, aligned)


def load_cfp(root: _Root, aligned: str | None = None) -> Faces:
    """Load Celebrities in Frontal-Profile.

    Images are ``Data/Images/001/frontal/01.jpg`` and ``.../001/profile/01.jpg``; faces are named
    ``001/frontal/01.jpg``. Column ``pose``: ``frontal`` or ``profile``.

    Raises
    ------
    FaceSetError
        If most images have other paths.
    """
    files = survey(existing_folder(root, "cfp-fp"))
    table = parse_names(
        files,
        r"(?P<subject>\d+)/(?P<pose>frontal|profile)/\d+\.\w+",
        parts=3,
        expected="images 001/frontal/01.jpg and 001/profile/01.jpg",
    )
    return _faces(table, files, "cfp-fp", aligned)


def load_agedb(root: _Root, aligned: str | None = None) -> Faces:
    """Load AgeDB, with images ``<number>_<Name>_<age>_<m|f>.jpg``, in folders or not.

    Columns ``age`` (years) and ``gender`` (``female``, ``male``). A value that the name lacks is
    missing, and a warning counts these images.

    Raises
    ------
    FaceSetError
        If most images have other names.
    """
    files = survey(existing_folder(root, "agedb"))
    table = parse_names(
        files,
        r"\d+_(?P<subject>.+)_(?P<age>\d*)_(?P<gender>[mf]?)\.\w+",
        parts=1,
        expected="images <number>_<Name>_<age>_<m|f>.jpg, such as 0_MariaCallas_35_f.jpg",
    )
    age = pd.to_numeric(table["age"], errors="coerce").astype(float)
    table["age"] = age.astype(int) if age.notna().all() else age
    table["gender"] = table["gender"].str.lower().map(_GENDERS)
    _say_missing("agedb", table, ["age", "gender"])
    return _faces(table, files, "agedb", aligned)


def load_rfw(root: _Root, aligned: str | None = None) -> Faces:
    """Load Racial Faces in the Wild.

    Images are ``test/data/African/m.0abc/m.0abc_0001.jpg``, likewise for ``Asian``, ``Caucasian``
    and ``Indian``; names of faces start with the ethnicity. Column ``ethnicity``, in lower case.

    Raises
    ------
    FaceSetError
        If most images have other paths.
    """
    files = survey(existing_folder(root, "rfw"))
    table = parse_names(
        files,
        rf"(?P<ethnicity>{'|'.join(RFW_ETHNICITIES)})/(?P<subject>[^/]+)/(?P=subject)_\d+\.\w+",
        parts=3,
        expected="images African/m.0abc/m.0abc_0001.jpg, and so for Asian, Caucasian and Indian",
    )
    table["ethnicity"] = table["ethnicity"].str.lower()
    return _faces(table, files, "rfw", aligned)


def load_bfw(root: _Root, aligned: str | None = None) -> Faces:
    """Load Balanced Faces in the Wild.

    Images are ``asian_females/n000009/0010_01.jpg`` in eight folders of ethnicity and gender, which
    is also the face's name. Columns ``ethnicity`` (``asian``, ``black``, ``indian``, ``white``),
    ``gender`` (``female``, ``male``) and ``group``, the folder.

    Raises
    ------
    FaceSetError
        If most images have other paths.
    """
    files = survey(existing_folder(root, "bfw"))
    table = parse_names(
        files,
        rf"(?P<group>(?P<ethnicity>{'|'.join(_BFW_ETHNICITIES)})_(?P<gender>female|male)s)"
        r"/(?P<subject>[^/]+)/[^/]+",
        parts=3,
        expected="images <ethnicity>_<females|males>/n000009/0010_01.jpg, ethnicity one of "
        + ", ".join(_BFW_ETHNICITIES),
    )
    return _faces(table, files, "bfw", aligned)


def load_utkface(root: _Root, aligned: str | None = None) -> Faces:
    """Load UTKFace, with images ``<age>_<gender>_<race>_<date>.jpg[.chip.jpg]``.

    Every image is a separate subject, because the set does not give identities: it provides
    impostor comparisons and metadata, but no genuine pair. Columns ``age`` (years), ``gender`` (0
    ``male``, 1 ``female``) and ``ethnicity`` (0 ``white``, 1 ``black``, 2 ``asian``, 3
    ``indian``, 4 ``others``). Some published names lack a field or hold an undefined code:
    ``61_1_20170109142408075.jpg``, ``61_3_20170109150557335.jpg``,
    ``53__0_20170116184028385.jpg``. Their value is missing, and a warning counts them. A single
    code is read as the gender if it is 0 or 1, otherwise as the ethnicity.

    Raises
    ------
    FaceSetError
        If most images have other names, no more than half of the names hold known codes, or both
        a photograph and the chip cut out of it are in the folder.
    """
    files = survey(existing_folder(root, "utkface"))
    table = parse_names(
        files,
        r"(?P<subject>(?P<age>\d*)_(?:(?P<gender>\w*?)_)?(?:(?P<ethnicity>\w*?)_)?\d{8,})"
        r"[^/]*\.\w+",
        parts=1,
        expected=_UTKFACE,
        identity=lambda name: re.split(r"(?<=\d{8})(?!\d)", name)[0],  # photograph, chip
    )
    single = table["ethnicity"].isna() & table["gender"].isin(list(_UTKFACE_ETHNICITIES)[2:])
    table["ethnicity"] = table["ethnicity"].mask(single, table["gender"])
    table["gender"] = table["gender"].mask(single)
    given = table[["age", "gender", "ethnicity"]].copy()
    age = pd.to_numeric(table["age"], errors="coerce").astype(float)
    age = age.where(age.between(0, _OLDEST))
    table["age"] = age.astype(int) if age.notna().all() else age
    table["gender"] = table["gender"].map({"0": "male", "1": "female"})
    table["ethnicity"] = table["ethnicity"].map(_UTKFACE_ETHNICITIES)
    unknown = (given.fillna("") != "") & table[given.columns].isna()
    if 2 * int(unknown.any(axis=1).sum()) > len(table):
        bad = list(table.index[unknown.any(axis=1)])
        raise wrong_layout(files, _UTKFACE, bad, of=len(table))
    _say_missing("utkface", table, list(given.columns))
    return _faces(table, files, "utkface", aligned)


def load_scface(root: _Root, aligned: str | None = None) -> Faces:
    """Load SCface: mugshots, and images of the same people from surveillance cameras.

    The reader accepts ``001_frontal.jpg`` (mugshot), ``001_L4.jpg`` to ``001_R4.jpg`` (mugshots of
    the turning head), ``001_cam1_1.jpg`` (camera 1 to 7, of which 6 and 7 are infrared, and one of
    three distances) and ``001_cam8.jpg`` (infrared mugshot). The published folders hold most
    images twice (``surveillance_cameras_all`` and one folder per distance; mugshots whole and
    cropped). Of files with the same name, the first in order of paths is read; for another copy,
    give one of the subfolders.

    Columns ``camera`` (``mugshot``, ``cam1``, ..., ``cam8``), ``distance`` (4.2, 2.6 or 1.0
    metres; missing where undefined) and ``pose`` (``frontal``, ``L1``, ..., ``R4`` for
    mugshots, empty otherwise).

    Raises
    ------
    FaceSetError
        If most images have other names.
    """
    files = survey(existing_folder(root, "scface"))
    table = parse_names(
        files,
        r"(?P<subject>\d{3})_(?:(?P<pose>frontal|[LR][1-4])"
        r"|(?P<camera>cam[1-7])_(?P<distance>[123])|(?P<infrared>cam8))\.\w+",
        parts=1,
        expected="images 001_frontal.jpg, 001_L1.jpg, 001_cam1_1.jpg or 001_cam8.jpg",
        identity=lambda name: strip_image_suffix(name).lower(),
        take_first=True,
    )
    camera = table["camera"].fillna(table.pop("infrared")).fillna("mugshot")
    table["camera"] = camera.str.lower()
    table["distance"] = table["distance"].map(_SCFACE_METRES).astype(float)
    pose = table["pose"].fillna("").str.upper()
    table["pose"] = pose.where(pose != "FRONTAL", "frontal")
    return _faces(
        table[["subject", "camera", "distance", "pose", "path"]], files, "scface", aligned
    )


def _faces(table: pd.DataFrame, files: Survey, name: str, aligned: str | None) -> Faces:
    first = ["subject", "path"]
    rest = [column for column in table.columns if column not in first]
    return Faces(
        table[first + rest],
        aligned=aligned,
        name=name,
        notes=files.notes(),
        left_out=files.left_out,
    )


def _say_missing(name: str, table: pd.DataFrame, columns: list[str]) -> None:
    """Warn about images whose names lack values that other names have."""
    missing = table[columns].isna()
    some = missing.any(axis=1)
    if some.any():
        counts = ", ".join(f"{column} {int(missing[column].sum())}" for column in columns)
        examples = ", ".join(table.index[some][:3])
        warnings.warn(
            f"{name}: the file names of {int(some.sum())} of {len(table)} images lack some "
            f"attributes, which are missing values ({counts}): {examples}",
            stacklevel=2,
        )


def _with_metadata(table: pd.DataFrame, files: Survey) -> pd.DataFrame:
    """Join the columns of an ``images.csv`` to the faces by their names."""
    file = files.root / "images.csv"
    files.read(file.name)
    metadata = read_csv(file, ["image"]).drop(columns=["identity"], errors="ignore")
    return table.join(by_face(metadata, "image", list(table.index), file, files.remarks))

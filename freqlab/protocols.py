"""Lists of pairs: LFW and its kin, RFW, BFW, CFP, CSV tables, morphs, insightface ``.bin``."""

from __future__ import annotations

import csv
import difflib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.datasets.benchmarks import RFW_ETHNICITIES
from freqlab.datasets.insightface_bin import read_bin
from freqlab.datasets.listing import natural_key, strip_image_suffix
from freqlab.errors import PairError, ParameterError, check_name
from freqlab.faces import Faces
from freqlab.pair_tables import (
    BFW_COLUMNS,
    MORPH_COLUMNS,
    read_bfw_pairs,
    read_csv_pairs,
    read_morph_pairs,
    split_csv,
    with_contributors,
)
from freqlab.pairs import check_pairs

__all__ = ["PAIR_FORMATS", "read_pairs"]

PAIR_FORMATS = ("auto", "lfw", "rfw", "calfw", "cplfw", "cfp", "bfw", "csv", "morphs", "bin")
"""Formats of lists of pairs, as :func:`read_pairs` describes them."""

_RFW_LIST = re.compile(rf"({'|'.join(RFW_ETHNICITIES)})_pairs\.txt", re.IGNORECASE)


def read_pairs(
    path: str | os.PathLike[str],
    faces: Faces,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    fold: int | Iterable[int] | None = None,
    missing: str = "raise",
    repeated: str = "raise",
) -> pd.DataFrame:
    """Read a list of pairs over the faces of a set.

    The face that a list names first is the reference, the second the probe (of CFP: the frontal
    face is the reference).

    Parameters
    ----------
    path
        The list. For ``"cfp"`` the folder ``Protocol``, or a folder of splits in it
        (``Protocol/Split/FF``); for ``"rfw"`` a list, or a folder that holds several.
    faces
        The faces. A name in a list is matched to a face's whole name, then without the endings
        of image files, then by the end of its path, if one of the two names is the end of
        the other: ``Ann/Ann_0001`` is ``images/Ann/Ann_0001.jpg``, and ``Ann_0001.jpg`` too.
    format
        One of :data:`PAIR_FORMATS`:

        - ``"lfw"`` (also XQLFW): ``Name 1 4`` for a genuine pair, ``Name 1 Other 2`` for an
          impostor pair, separated by tabs or spaces; perhaps a first line of the number of folds
          and of pairs of a kind in each, or of that number alone (View 1, without folds). Without
          that line a fold begins where genuine pairs follow impostor pairs.
        - ``"rfw"``: the same in ``African_pairs.txt``, ...; column ``ethnicity``.
        - ``"calfw"``, ``"cplfw"``: two lines ``image label`` per pair, the label being 0 for
          an impostor pair. Ten folds, a tenth of the genuine and a tenth of the impostor pairs
          in each, in their order: the files say nothing of folds, this is our choice.
        - ``"cfp"``: frontal to profile, from ``Pair_list_F.txt``, ``Pair_list_P.txt`` and
          ``Split/FP/<fold>/same.txt``, ``diff.txt``.
        - ``"bfw"``: a table with ``p1``, ``p2``, ``label``, or with ``image_a``, ``image_b``,
          ``same``; all other columns are kept.
        - ``"csv"``: any table, its columns named by `columns`; all other columns are kept.
        - ``"morphs"``: a table with ``document`` (the reference), ``live`` (the probe), ``attack``
          and the contributors, subjects of the faces: ``contributor_a`` and ``contributor_b``,
          or ``contributors`` with ``+`` or ``;`` between the two. An empty attack and ``bona fide``
          are a bona fide pair; ``control`` is a document that went through the same warp with the
          same person; anything else names the attack. Bona fide and control need no contributor.
          The pairs are like those of :func:`freqlab.morph_pairs`; other columns are kept.
        - ``"bin"``: the pairs in an insightface ``.bin`` file, of which `faces` were loaded. Ten
          folds in the order of the file.
        - ``"auto"``: by what `path` is called and how it begins.
    columns
        With ``"csv"``: which columns are ``probe``, ``reference``, ``genuine``, and ``fold``.
        Those that are called so need not be named. Without one for ``genuine`` it follows from
        the subjects; otherwise it holds 1/0, true/false, yes/no, same/different or
        genuine/impostor.
    fold
        Read these folds only; the first is 1.
    missing
        What to do with pairs of which the set lacks a face: ``"raise"``, or ``"drop"`` them with
        a warning that counts them.
    repeated
        What to do with pairs that are listed again, either way round: ``"raise"``, or
        ``"drop"`` all but the first with a warning.

    Returns
    -------
    pandas.DataFrame
        Columns ``probe`` and ``reference`` (categorical, over ``faces.names``), ``genuine``
        (bool), ``fold`` (int, from 1 on; where the list has folds), and what else the list says
        of a pair; indexed by the pair's number.

    Raises
    ------
    PairError
        If the list is of no known format, is damaged, names faces that the set lacks or that are
        ambiguous in it, or fails :func:`freqlab.pairs.check_pairs`.
    ParameterError
        If an argument is not allowed.
    FaceSetError, UnsafePickleError
        If a ``.bin`` file is damaged, or hostile.
    """
    if not isinstance(faces, Faces):
        raise ParameterError(f"faces={faces!r} must be Faces; fl.load_faces gives them")
    check_name("format", format, PAIR_FORMATS)
    check_name("missing", missing, ("raise", "drop"))
    check_name("repeated", repeated, ("raise", "drop"))
    source = Path(path)
    if not source.exists():
        raise PairError(f"{source}: no such list of pairs")
    kind = format
    if format == "auto":
        kind = "csv" if columns is not None else _format_of(source)
    if columns is not None and kind != "csv":
        raise ParameterError(f"columns= belongs to format='csv', not to {kind!r}")
    if source.is_dir() and kind not in ("cfp", "rfw"):
        raise PairError(f"{source} is a folder; a list of the format {kind!r} is a file")
    listed = read_csv_pairs(source, columns) if kind == "csv" else _READERS[kind](source)
    if fold is not None:
        listed = _of_folds(listed, fold, source)
    pairs = _matched(listed, faces, source, missing)
    if kind == "morphs":
        pairs = with_contributors(pairs, faces, source)
    again = _again(pairs)
    if repeated == "drop" and again.any():
        warnings.warn(
            f"{source}: {int(again.sum())} of {len(pairs)} pairs are listed again and left out",
            stacklevel=2,
        )
        pairs = pairs.loc[~again].reset_index(drop=True).rename_axis("pair")
    try:
        check_pairs(faces, pairs)
    except PairError as error:
        hint = "\nrepeated='drop' leaves repeated pairs out" if _again(pairs).any() else ""
        raise PairError(f"{source}: {error}{hint}") from None
    return pairs


def _format_of(source: Path) -> str:
    """The format of a list, from its name and its first lines."""
    if source.is_dir():
        if _protocol_folder(source) is not None:
            return "cfp"
        if _rfw_lists(source):
            return "rfw"
        raise PairError(
            f"{source}: a folder of pairs holds Pair_list_F.txt and Split (CFP), or lists "
            f"African_pairs.txt, ... (RFW); this one does neither. Name the list itself, or format="
        )
    if source.suffix.lower() == ".bin":
        return "bin"
    if _RFW_LIST.fullmatch(source.name):
        return "rfw"
    with source.open(encoding="utf-8-sig", errors="replace") as file:
        lines = [line.strip() for line in (file.readline(10_000) for _ in range(3)) if line.strip()]
    header = split_csv(lines[0]) if lines else []
    if any(set(names.values()) <= set(header) for names in BFW_COLUMNS):
        return "bfw"
    if set(MORPH_COLUMNS) <= set(header):
        return "morphs"
    if {"probe", "reference"} <= set(header):
        return "csv"
    fields = [line.split() for line in lines]
    if any(_is_lfw(line) for line in fields[:2]):
        return "lfw"
    if fields and all(len(line) >= 2 and line[-1].isdecimal() for line in fields):
        return "calfw"
    raise PairError(
        f"{source}: no known list of pairs: looked for lines 'Name 1 4' or 'Name 1 Other 2' (lfw), "
        f"two lines 'image label' per pair (calfw, cplfw), a table with the columns p1, p2, label "
        f"or image_a, image_b, same (bfw), document, live and attack (morphs), or probe and "
        f"reference (csv; otherwise say columns=), "
        f"names such as African_pairs.txt (rfw) or *.bin (bin). It begins with "
        f"{lines[0][:80] if lines else ''!r}"
    )


def _is_lfw(fields: list[str]) -> bool:
    numbers = [field.isdecimal() for field in fields]
    return (len(fields) == 3 and numbers[1:] == [True, True]) or (
        len(fields) == 4 and numbers[1] and numbers[3]
    )


def _read_lfw(source: Path) -> pd.DataFrame:
    """Pairs of a list in the format of LFW: columns reference, probe, genuine and perhaps fold."""
    try:
        table = pd.read_csv(
            source,
            sep=r"\s+",
            header=None,
            names=list("abcd"),
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            quoting=csv.QUOTE_NONE,
            encoding="utf-8-sig",
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise PairError(f"{source} is no list in the format of LFW: {error}") from error
    header = table.iloc[0].dropna().tolist() if len(table) else []
    if len(header) <= 2 and all(field.isdecimal() for field in header):
        table = table.iloc[1:]
    else:
        header = []
    genuine = table["d"].isna().to_numpy()
    second = table["c"].where(~genuine, table["a"])
    numbers = [table["b"], table["c"].where(genuine, table["d"])]
    fits = table["c"].notna().to_numpy()
    for number in numbers:
        fits = fits & number.str.fullmatch(r"\d{1,9}").fillna(False).to_numpy(bool)
    if not fits.all() or len(table) == 0:
        bad = ["  ".join(row.dropna()) for _, row in table[~fits].head(3).iterrows()]
        raise PairError(
            f"{source}: expected lines 'Name 1 4' or 'Name 1 Other 2'; found {bad or 'nothing'}"
        )
    listed = pd.DataFrame(
        {
            "reference": _lfw_names(table["a"], numbers[0]),
            "probe": _lfw_names(second, numbers[1]),
            "genuine": genuine,
        }
    ).reset_index(drop=True)
    folds = _lfw_folds(genuine, [int(field) for field in header], source)
    return listed if folds is None else listed.assign(fold=folds)


def _lfw_names(names: pd.Series[str], numbers: pd.Series[str]) -> pd.Series[str]:
    return names + "/" + names + "_" + numbers.str.zfill(4)


def _lfw_folds(
    genuine: npt.NDArray[np.bool_], header: list[int], source: Path
) -> npt.NDArray[np.int64] | None:
    """Folds by the first line, or by the alternation of genuine and impostor pairs."""
    n = len(genuine)
    if not header:
        begins = genuine & ~np.concatenate([[True], genuine[:-1]])
        return 1 + np.cumsum(begins)
    n_folds, per_fold = (header[0], header[1]) if len(header) == 2 else (1, header[0])
    expected = np.tile(np.repeat([True, False], per_fold), n_folds)
    if n != len(expected):
        raise PairError(
            f"{source}: its first line {' '.join(map(str, header))!r} announces {len(expected)} "
            f"pairs; there are {n}"
        )
    if (genuine != expected).any():
        raise PairError(
            f"{source}: its first line announces folds of {per_fold} genuine and as many impostor "
            f"pairs; line {int((genuine != expected).argmax()) + 2} is of the other kind"
        )
    return None if len(header) == 1 else 1 + np.arange(n) // (2 * per_fold)


def _rfw_lists(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*_pairs.txt") if _RFW_LIST.fullmatch(path.name))
    return sorted(found, key=lambda path: natural_key(path.name))


def _read_rfw(source: Path) -> pd.DataFrame:
    parts = []
    for path in _rfw_lists(source) if source.is_dir() else [source]:
        match = _RFW_LIST.fullmatch(path.name)
        if match is None:
            raise PairError(
                f"{path}: a list of RFW is called African_pairs.txt, Asian_pairs.txt, "
                f"Caucasian_pairs.txt or Indian_pairs.txt, which says the ethnicity"
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
    lines = text.str.rsplit(n=1, expand=True).reindex(columns=[0, 1]).astype("str")
    bad = ~lines[1].str.fullmatch(r"\d{1,9}").fillna(False).to_numpy(bool)
    if bad.any() or len(lines) % 2:
        found = text[lines.index[bad]].head(3).tolist() or f"{len(lines)} lines"
        raise PairError(f"{source}: expected two lines 'image label' for each pair; found {found}")
    label = lines[1].to_numpy(object).reshape(-1, 2)
    differ = label[:, 0] != label[:, 1]
    if differ.any():
        number = int(lines.index[2 * int(differ.argmax())]) + 1
        raise PairError(
            f"{source}: the two lines of {int(differ.sum())} pairs have different labels, the "
            f"first from line {number} on"
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
        raise PairError(f"{file} is no text in UTF-8: {error}") from error


def _tenths(n: int) -> npt.NDArray[np.int64]:
    """Ten folds of equal size, in order; the first ones are larger by one where ten do not go."""
    sizes = [len(part) for part in np.array_split(np.arange(n), 10)]
    return np.repeat(np.arange(1, 11), sizes)


def _protocol_folder(source: Path) -> Path | None:
    """CFP's folder ``Protocol``: the folder given, one in it, or one above it."""
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
    """Names of CFP's images, such as ``001/frontal/01.jpg``, by their number."""
    lines = [line.split(maxsplit=1) for line in _text(file).splitlines() if line.strip()]
    bad = [" ".join(line) for line in lines if len(line) != 2 or not line[0].isdecimal()]
    if bad:
        raise PairError(f"{file}: expected lines 'number path'; found {bad[:3]}")
    names = ["/".join(_slashes(path).split("/")[-3:]) for _, path in lines]
    return pd.Series(names, index=[int(number) for number, _ in lines], dtype=object)


def _read_cfp_fold(file: Path, first: pd.Series[str], second: pd.Series[str]) -> pd.DataFrame:
    lines = _text(file).split()
    bad = [line for line in lines if not re.fullmatch(r"\d{1,9},\d{1,9}", line)]
    numbers = [] if bad else [[int(n) for n in line.split(",")] for line in lines]
    columns = np.array(numbers, np.int64).reshape(-1, 2).T
    for side, listed in zip(columns, (first, second), strict=True):
        unknown = side[~np.isin(side, listed.index)]
        bad += [f"number {number}, which the list of images lacks" for number in unknown]
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
    unknown = [one for one in wanted if one not in known]
    if unknown or not wanted:
        raise ParameterError(f"fold={fold!r} must be of the folds {', '.join(map(str, known))}")
    return listed[listed["fold"].isin(wanted)]


def _matched(listed: pd.DataFrame, faces: Faces, source: Path, missing: str) -> pd.DataFrame:
    """The pairs with faces of the set in the place of the names in the list."""
    codes, distinct = pd.factorize(
        np.concatenate([listed["probe"].to_numpy(object), listed["reference"].to_numpy(object)])
    )
    positions = _positions([str(name) for name in distinct], faces, source)
    ends = positions[codes].reshape(2, -1)
    there = (ends >= 0).all(axis=0)
    if not there.all():
        unknown = [str(name) for name in distinct[positions < 0]]
        what = f"{len(unknown)} of the {len(distinct)} faces it names are not in {faces.name!r}"
        examples = f"{', '.join(unknown[:3])}; the set has {', '.join(faces.names[:3])}, ..."
        if missing == "raise" or not there.any():
            near = _nearest(unknown[0], faces)
            remedy = "missing='drop' leaves their pairs out" if there.any() else "no pair is left"
            raise PairError(f"{source}: {what}: {examples}{near} {remedy}")
        warnings.warn(
            f"{source}: {int((~there).sum())} of {len(listed)} pairs are left out, for {what}: "
            f"{examples}",
            stacklevel=3,
        )
    rest = listed.iloc[np.flatnonzero(there)].drop(columns=["probe", "reference"])
    names = pd.Index(faces.names)
    pairs = pd.DataFrame(
        {
            "probe": pd.Categorical.from_codes(ends[0, there], categories=names),
            "reference": pd.Categorical.from_codes(ends[1, there], categories=names),
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
    return pairs


def _positions(listed: list[str], faces: Faces, source: Path) -> npt.NDArray[np.int64]:
    """Where each listed name is in the set; -1 where it is not."""
    names = [_slashes(name) for name in faces.names]
    exact = {name: i for i, name in enumerate(names)}
    whole: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        first, *rest = _ends(strip_image_suffix(name))
        whole.setdefault(first, []).append(i)
        for end in rest:
            ends.setdefault(end, []).append(i)
    found = np.full(len(listed), -1, np.int64)
    ambiguous = []
    for k, path in enumerate(map(_slashes, listed)):
        if path in exact:
            found[k] = exact[path]
            continue
        plain = strip_image_suffix(path)
        candidates = whole.get(plain) or ends.get(plain)
        if candidates is None:  # a face's whole name may be the end of the listed one
            candidates = next((whole[end] for end in _ends(plain) if end in whole), [])
        if len(candidates) > 1:  # files that differ in their endings
            alike = [i for i in candidates if path.endswith(names[i]) or names[i].endswith(path)]
            candidates = alike or candidates
        if len(candidates) > 1:
            ambiguous.append(f"{listed[k]} ({', '.join(names[i] for i in candidates[:3])})")
        elif candidates:
            found[k] = candidates[0]
    if ambiguous:
        raise PairError(
            f"{source}: {len(ambiguous)} names fit several faces of {faces.name!r}: "
            f"{'; '.join(ambiguous[:3])}"
        )
    return found


def _slashes(name: str) -> str:
    """A path with forward slashes and without a leading ``./``."""
    return name.strip().replace("\\", "/").removeprefix("./")


def _ends(path: str) -> list[str]:
    """A path and its ends, the longest first."""
    parts = path.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _nearest(name: str, faces: Faces) -> str:
    """Question for the nearest name of the set; of large sets only the names that begin alike."""
    stem = _slashes(name).rsplit("/", 1)[-1]
    pool = [face for face in faces.names if stem[:3] in face][:5_000]
    near = difflib.get_close_matches(name, pool, n=1, cutoff=0.6)
    return f". Is {near[0]!r} meant for {name!r}?" if near else "."


def _again(pairs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which pairs were listed before, either way round."""
    ends = np.sort([pairs["probe"].cat.codes, pairs["reference"].cat.codes], axis=0)
    return pd.DataFrame(ends.T).duplicated().to_numpy(bool)

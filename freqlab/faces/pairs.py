"""Tables of pairs: which faces are compared, and whether they show the same person."""

from __future__ import annotations

import heapq
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.errors import PairError, ParameterError, check_name, check_number
from freqlab.faces.table import Faces, is_column_name
from freqlab.text.shown import one_line
from freqlab.text.spelling import Spellings, affix_difference, difference

__all__ = [
    "LEFT_OUT",
    "check_faces",
    "check_pairs",
    "leave_out_faults",
    "make_pairs",
    "pair_blocks",
]

LEFT_OUT = "left_out"
"""Attribute of a table of pairs that lists what was left out."""

_SAMPLE = 300  # unknown names that are compared with the names of faces

# Names that results use; a column of pairs cannot have one of them.
_RESERVED = {
    *("model", "pair", "side", "band", "bound", "frequency", "band_bounds", "fmr"),
    *("similarity", "influence", "removed_rms", "threshold", "impostor_comparisons"),
    *("probe_subject", "reference_subject"),
}


def make_pairs(
    faces: Faces,
    *,
    impostors_per_genuine: float = 1,
    n_pairs: int | None = None,
    within: str | Sequence[str] | None = None,
    across: str | None = None,
    folds: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Pair up the faces of a set: all genuine pairs, and impostor pairs drawn at random.

    The earlier face of a pair is the reference, the later one the probe. Two faces made from one
    source are never paired.

    Parameters
    ----------
    faces
        The faces.
    impostors_per_genuine
        Number of impostor pairs for each genuine pair; fewer if the set does not have that many.
        ``math.inf`` for all, which makes all-against-all.
    n_pairs
        Total number of pairs to sample, genuine and impostor in the same proportion.
    within
        Column of the faces, or several, in which both faces of a pair must agree
        (``"ethnicity"``, ``["ethnicity", "gender"]``).
    across
        Column of the faces that the two faces of a pair must differ in (``"resolution"``).
    folds
        Number of folds. Subjects are assigned to folds, balanced by their number of faces, and
        pairs are made within folds only, so no subject is in two; adds a column ``fold``.
    seed
        Seed of the random draws; the same seed gives the same pairs.

    Returns
    -------
    pandas.DataFrame
        Columns ``probe`` and ``reference`` (categorical face names), ``genuine`` (bool) and, with
        `folds`, ``fold``; indexed by the pair's number.

    Raises
    ------
    ParameterError
        If a number is out of range, a column is unknown, or the set has no genuine pair.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=4, per_subject=3)
    >>> pairs = fl.make_pairs(faces, impostors_per_genuine=2, seed=0)
    >>> pairs["genuine"].value_counts().to_dict()
    {False: 24, True: 12}
    """
    check_faces(faces)
    if impostors_per_genuine != math.inf:
        check_number("impostors_per_genuine", impostors_per_genuine, at_least=0)
    check_number("seed", seed, at_least=0, whole=True)
    if n_pairs is not None:
        check_number("n_pairs", n_pairs, at_least=1, whole=True)
    rng = np.random.default_rng(seed)
    rules = _rules(faces, within, across, folds, rng)
    genuine = _genuine(rules)
    if len(genuine) == 0:
        raise ParameterError(
            f"face set {faces.name!r} has no genuine pair: no subject has two faces"
            + (" that may be paired" if within is not None or across is not None else "")
        )
    n_most = _most_impostors(rules)
    n_impostor = n_most
    if impostors_per_genuine != math.inf:
        n_impostor = min(n_most, round(impostors_per_genuine * len(genuine)))
    if n_pairs is not None:
        share = impostors_per_genuine
        if share == math.inf:
            share = n_most / len(genuine)
        wanted = math.floor(n_pairs / (1 + share) + 0.5)
        if 1 <= wanted < len(genuine):
            chosen = rng.choice(len(genuine), size=wanted, replace=False)
            genuine = genuine[np.sort(chosen)]
            n_impostor = n_pairs - wanted
        elif wanted < 1:
            raise ParameterError(
                f"n_pairs={n_pairs} with impostors_per_genuine={impostors_per_genuine:g} leaves "
                f"no genuine pair; ask for more pairs"
            )
    impostor = _impostor(rules, n_impostor, rng)
    both = np.concatenate([genuine, impostor])
    table = _table(faces, both, np.arange(len(both)) < len(genuine))
    return table if folds is None else table.assign(fold=rules.fold[both[:, 0]])


def pair_blocks(
    faces: Faces,
    *,
    block_size: int = 1_000_000,
    within: str | Sequence[str] | None = None,
    across: str | None = None,
) -> Iterator[pd.DataFrame]:
    """Iterate over all pairs of a face set, each once, in tables of bounded size.

    Parameters
    ----------
    faces
        The faces.
    block_size
        Upper bound on the number of pairs in one table.
    within, across
        As for :func:`make_pairs`.

    Returns
    -------
    iterator of pandas.DataFrame
        As from :func:`make_pairs`, genuine and impostor pairs in the order of the faces;
        numbered consecutively across tables.

    Raises
    ------
    ParameterError
        If a number is out of range, or a column is unknown.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=4, per_subject=3)
    >>> [len(block) for block in fl.pair_blocks(faces, block_size=40)]
    [40, 26]
    """
    check_faces(faces)
    check_number("block_size", block_size, at_least=1, whole=True)
    rules = _rules(faces, within, across, None, np.random.default_rng(0))
    return _pair_blocks(faces, rules, block_size)


def _pair_blocks(faces: Faces, rules: _Rules, block_size: int) -> Iterator[pd.DataFrame]:
    waiting = np.empty((0, 2), np.int32)
    number = 0
    for i in range(len(faces)):
        later = np.arange(i + 1, len(faces), dtype=np.int32)
        later = later[rules.allow(np.full(len(later), i), later)]
        mates = np.column_stack([np.full(len(later), i, np.int32), later])
        waiting = np.concatenate([waiting, mates]) if len(waiting) else mates
        while len(waiting) >= block_size or (i == len(faces) - 1 and len(waiting)):
            part, waiting = waiting[:block_size], waiting[block_size:]
            genuine = rules.subject[part[:, 0]] == rules.subject[part[:, 1]]
            yield _table(faces, part, genuine, first=number)
            number += len(part)


def _table(
    faces: Faces,
    pairs: npt.NDArray[np.integer],
    genuine: npt.NDArray[np.bool_],
    *,
    first: int = 0,
) -> pd.DataFrame:
    names = pd.Index(faces.names)
    return pd.DataFrame(
        {
            "probe": pd.Categorical.from_codes(pairs[:, 1], categories=names),
            "reference": pd.Categorical.from_codes(pairs[:, 0], categories=names),
            "genuine": genuine,
        },
        index=pd.RangeIndex(first, first + len(pairs), name="pair"),
    )


def check_faces(faces: object) -> None:
    """Refuse what is not a face set, without printing it: it may be a long table.

    Raises
    ------
    ParameterError
        Naming the kind of value; for a table of pairs, the order of the arguments.
    """
    if isinstance(faces, Faces):
        return
    if isinstance(faces, pd.DataFrame):
        if {"probe", "reference"} <= set(faces.columns):
            raise ParameterError(
                f"faces is a table of {len(faces):,} pairs, not Faces; the arguments are faces "
                f"first, then pairs"
            )
        columns = ", ".join(map(str, faces.columns[:8]))
        raise ParameterError(
            f"faces is a pandas.DataFrame with the columns {columns or '(none)'}; it must be "
            f"Faces, as from fl.load_faces, or fl.Faces(table)"
        )
    shown = one_line(repr(faces), 80) if isinstance(faces, (str, os.PathLike, int, float)) else ""
    given = f"faces={shown}" if shown else f"faces is a {type(faces).__name__}; it"
    raise ParameterError(f"{given} must be Faces; fl.load_faces gives them")


def check_pairs(faces: Faces, pairs: pd.DataFrame) -> npt.NDArray[np.int32]:
    """Check a table of pairs against its faces.

    Parameters
    ----------
    faces
        The faces.
    pairs
        As from :func:`freqlab.make_pairs`.

    Returns
    -------
    numpy.ndarray
        Positions of probe and reference in the faces ``(pair, 2)``.

    Raises
    ------
    PairError
        If a column is missing or has a name that results use, a face is unknown, or a pair is of
        one face with itself, of one source, listed twice (in either order), or has a label that
        contradicts its subjects. The message shows the rows.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> pairs = fl.make_pairs(faces)
    >>> fl.faces.check_pairs(faces, pairs).shape == (len(pairs), 2)
    True
    """
    check_faces(faces)
    if not isinstance(pairs, pd.DataFrame):
        raise PairError(f"pairs must be a pandas.DataFrame, not a {_kind_of(pairs)}")
    missing = [c for c in ("probe", "reference", "genuine") if c not in pairs.columns]
    if missing:
        raise PairError(f"pairs lack the column(s) {missing}; they have {list(pairs.columns)}")
    if len(pairs) == 0:
        raise PairError("the table of pairs is empty")
    for name in pairs.columns:
        if name in _RESERVED or not is_column_name(name):
            raise PairError(f"a column of pairs cannot be named {name!r}; rename it")
    if pairs["genuine"].isna().any() or not pairs["genuine"].isin([True, False]).all():
        raise PairError("the column 'genuine' must be true or false in every row")
    index = pd.Index(faces.names)
    positions = np.stack([_positions(pairs[side], index) for side in ("probe", "reference")], 1)
    unknown = positions.min(axis=1) < 0
    _refuse(
        pairs, unknown, f"name a face that is not in the set{_spelled(pairs, positions, faces)}"
    )
    _refuse(pairs, positions[:, 0] == positions[:, 1], "pair a face with itself")
    source = pd.factorize(faces.sources)[0]
    one_source = source[positions[:, 0]] == source[positions[:, 1]]
    _refuse(pairs, one_source, "pair two faces made from one source")
    ends = pd.DataFrame(np.sort(positions, axis=1))
    _refuse(pairs, ends.duplicated().to_numpy(), "repeat a pair")
    subjects = faces.subjects
    same = np.asarray(subjects[positions[:, 0]] == subjects[positions[:, 1]], dtype=bool)
    wrong = same ^ pairs["genuine"].to_numpy(bool)
    fault = "have labels that contradict their subjects"
    if len(pairs) > 1 and wrong.all():
        fault += " in every row: the labels may be inverted"
    _refuse(pairs, wrong, fault)
    return positions.astype(np.int32)


def _kind_of(pairs: object) -> str:
    """Type of what was given as pairs; for faces, with the order of the arguments."""
    hint = "; the arguments are faces first, then pairs" if isinstance(pairs, Faces) else ""
    return f"{type(pairs).__name__}{hint}"


def leave_out_faults(
    faces: Faces,
    pairs: pd.DataFrame,
    source: str | os.PathLike[str],
    *,
    impostors: bool = True,
) -> pd.DataFrame:
    """Leave out pairs that carry no information, with a warning that counts them.

    Those are pairs of a face with itself, pairs of two faces made from one source, and pairs
    whose label contradicts the subjects of their faces. ``attrs["left_out"]`` describes in
    sentences what was left out. If no pair would remain, none is left out, and :func:`check_pairs`
    rejects the table.

    Parameters
    ----------
    faces
        The faces.
    pairs
        Their pairs; both faces of each must be in the set.
    source
        File that lists the pairs, for the warning.
    impostors
        Whether impostor pairs too are left out for their labels, not only genuine ones.

    Returns
    -------
    pandas.DataFrame
        The remaining pairs, renumbered.
    """
    index = pd.Index(faces.names)
    probe, reference = (_positions(pairs[side], index) for side in ("probe", "reference"))
    genuine = pairs["genuine"].to_numpy(bool)
    subjects, sources = (pd.factorize(labels)[0] for labels in (faces.subjects, faces.sources))
    same = subjects[probe] == subjects[reference]
    itself = probe == reference
    one_source = ~itself & (sources[probe] == sources[reference])
    against = ~itself & ~one_source & (same ^ genuine) & (genuine | impostors)
    bad = itself | one_source | against
    if not bad.any() or bad.all():
        return pairs
    parts = []
    for kind, what in (
        (itself, "of a face with itself"),
        (one_source, "of two faces made from one source"),
        (against, "labelled against the subjects of their faces"),
    ):
        if kind.any():
            k = int(kind.argmax())
            label = f", {'genuine' if genuine[k] else 'impostor'}" if kind is against else ""
            parts.append(
                f"{int(kind.sum())} {what} ({index[reference[k]]} and {index[probe[k]]}{label})"
            )
    doubt = ""
    if 2 * against.sum() > len(pairs):
        doubt = ", which may be inverted in the list"
    text = f"{int(bad.sum())} of {len(pairs)} pairs are left out: {', '.join(parts)}{doubt}"
    warnings.warn(f"{source}: {text}; strict=True refuses such a list", stacklevel=3)
    left = pairs.loc[~bad].reset_index(drop=True).rename_axis("pair")
    left.attrs[LEFT_OUT] = [*pairs.attrs.get(LEFT_OUT, []), text]
    return left


def _positions(column: pd.Series[Any], index: pd.Index[Any]) -> npt.NDArray[np.int64]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        of_category = index.get_indexer(column.cat.categories.astype(str))
        codes = column.cat.codes.to_numpy()
        return np.where(codes < 0, -1, of_category[codes]).astype(np.int64)
    return np.asarray(index.get_indexer(pd.Index(column.astype(str))), dtype=np.int64)


def _spelled(pairs: pd.DataFrame, positions: npt.NDArray[np.int64], faces: Faces) -> str:
    """Describe how unknown names differ from faces', if in spelling or by a prefix or suffix."""
    rows, sides = np.nonzero(positions < 0)
    if not len(rows):
        return ""
    unknown = [
        str(pairs[("probe", "reference")[side]].iloc[row])
        for row, side in zip(rows[:_SAMPLE].tolist(), sides[:_SAMPLE].tolist(), strict=True)
    ]
    name = unknown[0]
    known = Spellings(faces.names).find(name)
    if known:
        return f" ({name!r} differs from {known!r} in {difference(name, known)})"
    found = affix_difference(unknown, faces.names)
    if found is None:
        return ""
    what, text, excess = found
    if excess:
        verb = "begin" if what == "prefix" else "end"
        return (
            f" (all {verb} with {text!r}, which the names of the faces lack; remove it, as in "
            f"pairs[column].str.remove{what}({text!r}))"
        )
    place = "beginning" if what == "prefix" else "end"
    joined = f"{text!r} + pairs[column]" if what == "prefix" else f"pairs[column] + {text!r}"
    return (
        f" (all lack {text!r} at their {place}, which the names of the faces have; add it, as in "
        f"{joined})"
    )


def _refuse(pairs: pd.DataFrame, bad: npt.NDArray[np.bool_], fault: str) -> None:
    if bad.any():
        rows = pairs.loc[bad].head(3).to_string()
        raise PairError(f"{int(bad.sum())} of {len(pairs)} pairs {fault}:\n{rows}")


class _Rules(NamedTuple):
    """Which faces may be paired: numbers per face ``(n,)``."""

    subject: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    cell: npt.NDArray[np.int64]
    """Both faces of a pair are of one cell; -1 for faces that are in no pair."""
    side: npt.NDArray[np.int64] | None
    """The two faces of a pair are of different sides, if there are any."""

    def allow(
        self, i: npt.NDArray[np.integer], j: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.bool_]:
        """Whether these faces may be paired, as a genuine or impostor pair."""
        allowed = (self.cell[i] == self.cell[j]) & (self.cell[i] >= 0)
        allowed &= self.source[i] != self.source[j]
        if self.side is not None:
            allowed &= self.side[i] != self.side[j]
        return np.asarray(allowed)


def _rules(
    faces: Faces,
    within: str | Sequence[str] | None,
    across: str | None,
    folds: int | None,
    rng: np.random.Generator,
) -> _Rules:
    columns = [str(c) for c in faces.table.columns if c not in ("path", "subject", "source")]
    subject = pd.factorize(faces.subjects)[0].astype(np.int64)
    cell, fold, side = (np.zeros(len(faces), np.int64) for _ in range(3))
    agreeing = [] if within is None else within if isinstance(within, (list, tuple)) else [within]
    for column in agreeing:
        cell = _crossed(cell, _codes(faces, check_name("within", column, columns)))
    if across is not None:
        side = _codes(faces, check_name("across", across, columns))
        cell = np.where(side < 0, -1, cell)
    if folds is not None:
        check_number("folds", folds, at_least=2, whole=True)
        n_subjects = int(subject.max()) + 1
        if folds > n_subjects:
            raise ParameterError(f"folds={folds!r}: there are {n_subjects} subjects")
        fold = _deal(subject, folds, rng)[subject]
        cell = np.where(cell < 0, -1, cell * folds + fold)
    source = pd.factorize(faces.sources)[0].astype(np.int64)
    return _Rules(subject, source, fold, cell, side if across is not None else None)


def _codes(faces: Faces, column: str) -> npt.NDArray[np.int64]:
    """Number of each face's value in a column; -1 where there is no value."""
    values = faces.table[column].where(faces.table[column].astype(str) != "")
    return pd.factorize(values)[0].astype(np.int64)


def _crossed(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Numbers of the combinations of two numbers; -1 where one of them is -1."""
    combined = one * (int(other.max(initial=0)) + 1) + other
    known = (one >= 0) & (other >= 0)
    numbers = np.unique(combined[known], return_inverse=True)[1]
    crossed = np.full(len(one), -1, np.int64)
    crossed[known] = numbers
    return crossed


def _deal(
    subject: npt.NDArray[np.int64], folds: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Fold of each subject: subjects with most faces first, each to the fold with fewest."""
    n_faces = np.bincount(subject)
    shuffled = rng.permutation(len(n_faces))
    order = shuffled[np.argsort(-n_faces[shuffled], kind="stable")]
    load = [(0, k) for k in range(folds)]
    fold = np.empty(len(n_faces), np.int64)
    for member in order:
        least, k = heapq.heappop(load)
        fold[member] = k
        heapq.heappush(load, (least + int(n_faces[member]), k))
    return fold


def _genuine(rules: _Rules) -> npt.NDArray[np.int64]:
    """All allowed pairs ``(earlier, later)`` of one subject."""
    parts = [np.empty((0, 2), np.int64)]
    for members in _members(rules.subject):
        i, j = np.triu_indices(len(members), 1)
        parts.append(np.column_stack([members[i], members[j]]))
    pairs = np.concatenate(parts)
    return pairs[rules.allow(pairs[:, 0], pairs[:, 1])]


def _most_impostors(rules: _Rules) -> int:
    """Upper bound on the number of impostor pairs; pairs of one source are included."""
    total = 0
    for members in _members(rules.cell):
        if rules.cell[members[0]] < 0:
            continue
        keys = [rules.subject[members]]
        if rules.side is not None:
            keys.append(rules.side[members])
        # pairs that differ in every key, by inclusion and exclusion
        total += _n_pairs(np.zeros(len(members), np.int64))
        total -= sum(_n_pairs(key) for key in keys)
        if len(keys) == 2:
            total += _n_pairs(keys[0] * (int(keys[1].max()) + 1) + keys[1])
    return int(total)


def _n_pairs(key: npt.NDArray[np.int64]) -> int:
    """Number of pairs that agree in a key."""
    counts = np.unique(key, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _members(key: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Positions of the faces that share each value of a key, in order."""
    order = np.argsort(key, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(key[order])) + 1)


def _pair_drawer(
    cell: npt.NDArray[np.int64], rng: np.random.Generator
) -> Callable[[int], npt.NDArray[np.int64]]:
    """Return a function that draws pairs ``(2, n)`` of faces of one cell, uniformly."""
    n = len(cell)
    if (cell == cell[0]).all():
        return lambda size: rng.integers(0, n, size=(2, size))
    order = np.argsort(cell, kind="stable")
    _, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    first = np.repeat(starts, counts)
    count = np.repeat(counts, counts)
    # a face is drawn in proportion to its partners; its partner is any face of its cell
    edges = np.cumsum(np.where(cell[order] < 0, 0, count - 1))

    def draw(size: int) -> npt.NDArray[np.int64]:
        drawn = np.searchsorted(edges, rng.integers(0, edges[-1], size=size), side="right")
        other = first[drawn] + (rng.random(size) * count[drawn]).astype(np.int64)
        return np.asarray(order[np.stack([drawn, other])])

    return draw


def _impostor(rules: _Rules, n_wanted: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw distinct allowed pairs ``(earlier, later)`` of two subjects."""
    n = len(rules.subject)
    if n_wanted > 0.25 * _most_impostors(rules):  # a large share: choose among all
        parts = [np.empty((0, 2), np.int64)]
        for members in _members(rules.cell):
            i, j = np.triu_indices(len(members), 1)
            i, j = members[i], members[j]
            valid = (rules.subject[i] != rules.subject[j]) & rules.allow(i, j)
            parts.append(np.column_stack([i[valid], j[valid]]))
        candidates = np.concatenate(parts)
        candidates = candidates[np.lexsort((candidates[:, 1], candidates[:, 0]))]
        if n_wanted >= len(candidates):
            return candidates
        chosen = rng.choice(len(candidates), size=n_wanted, replace=False)
        return candidates[np.sort(chosen)]
    draw = _pair_drawer(rules.cell, rng)
    codes = np.empty(0, np.int64)
    for _ in range(1000):  # a small share: draw, drop repeated and disallowed pairs, repeat
        if len(codes) >= n_wanted:
            break
        i, j = np.sort(draw(2 * (n_wanted - len(codes)) + 16), axis=0)
        valid = (rules.subject[i] != rules.subject[j]) & rules.allow(i, j)
        drawn = np.concatenate([codes, (i * n + j)[valid]])
        first = np.sort(np.unique(drawn, return_index=True)[1])
        codes = drawn[first]
    codes = np.sort(codes[:n_wanted])
    return np.column_stack([codes // n, codes % n])

"""Tables of pairs: which faces are compared, and whether they show one person."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.errors import PairError, ParameterError, check_number
from freqlab.faces import Faces, is_column_name

__all__ = ["check_pairs", "make_pairs"]

# Names that results use for themselves; a column of pairs cannot have one of them.
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
        How many impostor pairs there are for each genuine one; fewer if the set has no more.
    n_pairs
        A sample of so many pairs in all, genuine and impostor in the same proportion.
    seed
        Of the random draws; the same seed gives the same pairs.

    Returns
    -------
    pandas.DataFrame
        Columns ``probe`` and ``reference`` (categorical face names) and ``genuine`` (bool);
        indexed by the pair's number.

    Raises
    ------
    ParameterError
        If a number is out of range, or the set has no genuine pair.
    """
    check_number("impostors_per_genuine", impostors_per_genuine, at_least=0)
    check_number("seed", seed, at_least=0, whole=True)
    if n_pairs is not None:
        check_number("n_pairs", n_pairs, at_least=1, whole=True)
    rng = np.random.default_rng(seed)
    subject = pd.factorize(faces.subjects)[0]
    source = pd.factorize(faces.sources)[0]
    genuine = _genuine(subject, source)
    if len(genuine) == 0:
        raise ParameterError(
            f"face set {faces.name!r} has no genuine pair: no subject has two faces"
        )
    n_impostor = round(impostors_per_genuine * len(genuine))
    if n_pairs is not None:
        wanted = math.floor(n_pairs / (1 + impostors_per_genuine) + 0.5)
        if 1 <= wanted < len(genuine):
            chosen = rng.choice(len(genuine), size=wanted, replace=False)
            genuine = genuine[np.sort(chosen)]
            n_impostor = n_pairs - wanted
        elif wanted < 1:
            raise ParameterError(
                f"n_pairs={n_pairs} with impostors_per_genuine={impostors_per_genuine:g} leaves "
                f"no genuine pair; ask for more pairs"
            )
    impostor = _impostor(subject, source, n_impostor, rng)
    both = np.concatenate([genuine, impostor])
    names = pd.Index(faces.names)
    return pd.DataFrame(
        {
            "probe": pd.Categorical.from_codes(both[:, 1], categories=names),
            "reference": pd.Categorical.from_codes(both[:, 0], categories=names),
            "genuine": np.arange(len(both)) < len(genuine),
        },
        index=pd.RangeIndex(len(both), name="pair"),
    )


def check_pairs(faces: Faces, pairs: pd.DataFrame) -> npt.NDArray[np.int32]:
    """Check a table of pairs against its faces.

    Returns
    -------
    numpy.ndarray
        Positions of probe and reference in the faces ``(pair, 2)``.

    Raises
    ------
    PairError
        If a column is missing or has a name that results use, a face is unknown, or a pair is of
        one face, of one source, listed twice (either way round), or labelled against its
        subjects. The rows are shown.
    """
    if not isinstance(faces, Faces):
        raise ParameterError(f"faces={faces!r} must be Faces; fl.load_faces gives them")
    if not isinstance(pairs, pd.DataFrame):
        raise PairError(f"pairs must be a pandas.DataFrame, not a {type(pairs).__name__}")
    missing = [c for c in ("probe", "reference", "genuine") if c not in pairs.columns]
    if missing:
        raise PairError(f"pairs lack the column(s) {missing}; they have {list(pairs.columns)}")
    if len(pairs) == 0:
        raise PairError("there are no pairs")
    for name in pairs.columns:
        if name in _RESERVED or not is_column_name(name):
            raise PairError(f"a column of pairs cannot be named {name!r}; rename it")
    if pairs["genuine"].isna().any() or not pairs["genuine"].isin([True, False]).all():
        raise PairError("the column 'genuine' must be true or false in every row")
    index = pd.Index(faces.names)
    positions = np.stack([_positions(pairs[side], index) for side in ("probe", "reference")], 1)
    _refuse(pairs, positions.min(axis=1) < 0, "name a face that the set does not have")
    _refuse(pairs, positions[:, 0] == positions[:, 1], "pair a face with itself")
    source = pd.factorize(faces.sources)[0]
    one_source = source[positions[:, 0]] == source[positions[:, 1]]
    _refuse(pairs, one_source, "pair two faces made from one source")
    ends = pd.DataFrame(np.sort(positions, axis=1))
    _refuse(pairs, ends.duplicated().to_numpy(), "repeat a pair")
    subjects = faces.subjects
    same = np.asarray(subjects[positions[:, 0]] == subjects[positions[:, 1]], dtype=bool)
    wrong = same ^ pairs["genuine"].to_numpy(bool)
    _refuse(pairs, wrong, "are labelled genuine or impostor against their subjects")
    return positions.astype(np.int32)


def _positions(column: pd.Series[Any], index: pd.Index[Any]) -> npt.NDArray[np.int64]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        of_category = index.get_indexer(column.cat.categories.astype(str))
        codes = column.cat.codes.to_numpy()
        return np.where(codes < 0, -1, of_category[codes]).astype(np.int64)
    return np.asarray(index.get_indexer(pd.Index(column.astype(str))), dtype=np.int64)


def _refuse(pairs: pd.DataFrame, bad: npt.NDArray[np.bool_], fault: str) -> None:
    if bad.any():
        rows = pairs.loc[bad].head(3).to_string()
        raise PairError(f"{int(bad.sum())} of {len(pairs)} pairs {fault}:\n{rows}")


def _genuine(
    subject: npt.NDArray[np.int64], source: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """All pairs ``(earlier, later)`` of one subject and two sources."""
    found = [np.empty((0, 2), np.int64)]
    order = np.argsort(subject, kind="stable")
    starts = np.flatnonzero(np.diff(subject[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        i, j = np.triu_indices(len(members), 1)
        found.append(np.column_stack([members[i], members[j]]))
    pairs = np.concatenate(found)
    return pairs[source[pairs[:, 0]] != source[pairs[:, 1]]]


def _impostor(
    subject: npt.NDArray[np.int64],
    source: npt.NDArray[np.int64],
    n_wanted: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Draw distinct pairs ``(earlier, later)`` of two subjects and two sources."""
    n = len(subject)
    if n_wanted > 0.25 * n * (n - 1) / 2:  # a large share: choose among all
        i, j = np.triu_indices(n, 1)
        valid = (subject[i] != subject[j]) & (source[i] != source[j])
        candidates = np.column_stack([i[valid], j[valid]])
        chosen = rng.choice(len(candidates), size=min(n_wanted, len(candidates)), replace=False)
        return candidates[np.sort(chosen)]
    codes = np.empty(0, np.int64)
    for _ in range(100):  # a small share: draw, drop what is repeated or not allowed, draw on
        if len(codes) >= n_wanted:
            break
        i, j = np.sort(rng.integers(0, n, size=(2, 2 * (n_wanted - len(codes)) + 16)), axis=0)
        valid = (subject[i] != subject[j]) & (source[i] != source[j])
        drawn = np.concatenate([codes, (i * n + j)[valid]])
        first = np.sort(np.unique(drawn, return_index=True)[1])
        codes = drawn[first]
    codes = np.sort(codes[:n_wanted])
    return np.column_stack([codes // n, codes % n])

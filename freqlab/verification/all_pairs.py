"""Figures of all comparisons of many faces, in memory that does not grow with their number.

Genuine comparisons are few and are kept. Impostor comparisons are computed tile by tile, three
times: to count them in fine bins, to collect the scores in the bins that hold an order statistic
that is needed, and to count the errors of each two people at each threshold. Rates, thresholds and
points of curves are exact: an order statistic is a score of its bin, not the edge of the bin.
A tile holds whole subjects along both axes, so that all comparisons of two people are in one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.statistics.error_rates import Comparisons
from freqlab.statistics.vectors import is_usable, unit_length

__all__ = [
    "N_BINS",
    "FaceVectors",
    "ImpostorCounts",
    "OrderStatistics",
    "WrongCounts",
    "collect_scores",
    "count_impostors",
    "count_wrong",
    "draw_counts",
    "genuine_comparisons",
    "n_genuine_comparisons",
    "score_bins",
    "usable_faces",
]

N_BINS = 64_000
"""Bins of scores from -1 to 1: 320 in each bin of a density of 200."""

_TILE = 1024  # faces along an axis of a tile, unless one subject has more
_COLLECTED = 1 << 21  # scores after which equal ones are combined

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FaceVectors:
    """FaceVectors to compare, ordered by subject.

    Parameters
    ----------
    vectors
        Embeddings of unit length ``(face, feature)``.
    subjects
        Number of the subject of each face, nondecreasing.
    sources
        Number of the photograph that each face derives from; faces of one are not compared.
    positions
        Position of each face in the face set.
    mixed
        Group of each face if only comparisons between groups, or of faces without a group (-1),
        count; None if all count.
    """

    vectors: Scores
    subjects: npt.NDArray[np.int32]
    sources: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int32]
    mixed: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def select(self, chosen: npt.NDArray[np.bool_]) -> FaceVectors:
        """The faces for which `chosen` is True."""
        return FaceVectors(
            self.vectors[chosen],
            self.subjects[chosen],
            self.sources[chosen],
            self.positions[chosen],
        )

    def between_groups(self, codes: npt.NDArray[np.integer]) -> FaceVectors:
        """The same faces, compared only across groups; `codes` are those of the face set."""
        arrays = (self.vectors, self.subjects, self.sources, self.positions)
        return FaceVectors(*arrays, codes[self.positions].astype(np.int64))

    def counted(self, rows: slice, columns: slice) -> npt.NDArray[np.bool_] | None:
        """Which comparisons of two ranges of faces count; None if all do."""
        counted = None
        shared = np.isin(self.sources[rows], self.sources[columns])
        if shared.any():
            counted = self.sources[rows, None] != self.sources[columns]
        if self.mixed is not None:
            first, second = self.mixed[rows, None], self.mixed[columns]
            across = (first != second) | (first < 0)
            counted = across if counted is None else counted & across
        return counted


def usable_faces(
    embeddings: npt.NDArray[np.floating],
    subjects: npt.NDArray[np.int32],
    sources: npt.NDArray[np.object_],
) -> FaceVectors:
    """FaceVectors with an embedding; `subjects` are numbers, `sources` names ``(face,)``."""
    usable = np.flatnonzero(is_usable(embeddings))
    order = usable[np.argsort(subjects[usable], kind="stable")].astype(np.int32)
    codes = np.unique(sources[order].astype(str), return_inverse=True)[1]
    vectors = unit_length(embeddings[order].astype(np.float32))
    return FaceVectors(vectors, subjects[order], codes, order)


def n_genuine_comparisons(subjects: npt.NDArray[np.integer]) -> int:
    """Number of pairs of faces of one subject ``(face,)``, those of one source included."""
    n_faces = np.bincount(subjects).astype(np.int64) if len(subjects) else np.zeros(1, np.int64)
    return int((n_faces * (n_faces - 1) // 2).sum())


def genuine_comparisons(faces: FaceVectors, subjects: npt.NDArray[np.int32]) -> Comparisons:
    """All genuine comparisons; `subjects` are those of the face set ``(face,)``."""
    parts = [(np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int32))]
    starts, stops = _ranges(faces.subjects)
    for start, stop in zip(starts, stops, strict=True):
        if stop - start < 2:
            continue
        own = slice(start, stop)
        once = np.triu(np.ones((stop - start, stop - start), bool), 1)
        counted = faces.counted(own, own)
        once = once if counted is None else once & counted
        i, j = np.nonzero(once)
        scores = np.clip(faces.vectors[own] @ faces.vectors[own].T, -1, 1)
        ends = np.sort(np.stack([faces.positions[own][i], faces.positions[own][j]]), axis=0)
        parts.append((scores[i, j], ends[0], ends[1]))
    scored, reference, probe = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Comparisons(scored, reference, probe, subjects)


class _Tile(NamedTuple):
    """Impostor comparisons of two ranges of faces."""

    scores: Scores
    """``(row, column)``."""
    counted: npt.NDArray[np.bool_] | None
    """Which of them count; None if all do."""
    rows: slice
    columns: slice
    row_starts: npt.NDArray[np.int64]
    """First row of each subject, from the start of the range."""
    column_starts: npt.NDArray[np.int64]

    @property
    def values(self) -> Scores:
        """The scores that count ``(n,)``."""
        return self.scores.ravel() if self.counted is None else self.scores[self.counted]

    def of_couples(self, values: npt.NDArray[np.generic], dtype: type) -> npt.NDArray[np.generic]:
        """Sum over the comparisons of each two people ``(row subject, column subject)``."""
        if len(self.row_starts) < len(values):
            values = np.add.reduceat(values, self.row_starts, axis=0, dtype=dtype)
        if len(self.column_starts) < values.shape[1]:
            values = np.add.reduceat(values, self.column_starts, axis=1, dtype=dtype)
        return values.astype(dtype, copy=False)

    def n_of_couples(self) -> npt.NDArray[np.float64]:
        """Number of comparisons of each two people."""
        if self.counted is not None:
            return np.asarray(self.of_couples(self.counted, np.float64), float)
        n_rows = np.diff([*self.row_starts, self.scores.shape[0]])
        n_columns = np.diff([*self.column_starts, self.scores.shape[1]])
        return np.multiply.outer(n_rows, n_columns).astype(float)


def _tiles(faces: FaceVectors) -> Iterator[_Tile]:
    """All impostor comparisons, each once."""
    starts, stops = _ranges(faces.subjects)
    chunks: list[list[int]] = []
    for k, stop in enumerate(stops):
        if not chunks or stop - starts[chunks[-1][0]] > _TILE:
            chunks.append([k])
        else:
            chunks[-1].append(k)
    for a, first in enumerate(chunks):
        rows = slice(int(starts[first[0]]), int(stops[first[-1]]))
        for b, second in enumerate(chunks[a:], a):
            columns = slice(int(starts[second[0]]), int(stops[second[-1]]))
            counted = faces.counted(rows, columns)
            if a == b:
                above = faces.subjects[rows, None] < faces.subjects[columns]
                counted = above if counted is None else counted & above
                if not counted.any():
                    continue
            scores = faces.vectors[rows] @ faces.vectors[columns].T
            np.clip(scores, -1, 1, out=scores)
            yield _Tile(
                *(scores, counted, rows, columns),
                starts[first] - rows.start,
                starts[second] - columns.start,
            )


def _ranges(subjects: npt.NDArray[np.integer]) -> tuple[Counts, Counts]:
    """First face of each subject, and the one after its last; the faces are in order."""
    starts = np.flatnonzero(np.diff(subjects, prepend=-1)).astype(np.int64)
    return starts, np.append(starts, len(subjects))[1:]


def score_bins(scores: Scores) -> Counts:
    """Bin of each score, a nondecreasing function of the score."""
    place = scores * np.float32(N_BINS / 2)
    place += np.float32(N_BINS / 2)
    return np.minimum(place, np.float32(N_BINS - 1)).astype(np.int64)


@dataclass
class ImpostorCounts:
    """What is counted in the first pass over the impostor comparisons."""

    of_bins: Counts
    """Comparisons in each bin of scores."""
    total: Floats
    """Comparisons of each person ``(person,)``."""
    drawn: Floats
    """Weighted number, sum and sum of squares of scores in each draw ``(3, draw)``."""
    first: float = 0.0
    """Sum of the scores."""
    second: float = 0.0
    """Sum of their squares."""
    n_couples: int = 0
    square_of_couples: float = 0.0
    """Sum of the squared number of comparisons of each two people."""
    extremes: Comparisons | None = None

    @property
    def n(self) -> int:
        """Number of comparisons."""
        return int(self.of_bins.sum())


def draw_counts(n_subjects: int, n_draws: int, seed: int) -> npt.NDArray[np.uint16]:
    """The draws of :func:`freqlab.statistics.resampling.draw_subjects` in a quarter of the memory.

    A subject is drawn more than 65,535 times with a probability of zero in practice.
    """
    rng = np.random.default_rng(seed)
    draws = np.zeros((n_draws, n_subjects), np.uint16)
    if n_subjects:
        shares = np.full(n_subjects, 1 / n_subjects)
        for start in range(0, n_draws, 16):
            part = draws[start : start + 16]
            part[:] = rng.multinomial(n_subjects, shares, size=len(part))
    return draws


def count_impostors(
    faces: FaceVectors, draws: npt.NDArray[np.uint16], n_extremes: int
) -> ImpostorCounts:
    """Count the impostor comparisons: the first pass.

    Parameters
    ----------
    faces
        The faces.
    draws
        From :func:`draw_counts`.
    n_extremes
        Number of comparisons of the highest similarity that are kept.
    """
    n_people = draws.shape[1]
    counts = ImpostorCounts(
        np.zeros(N_BINS, np.int64), np.zeros(n_people), np.zeros((3, len(draws)))
    )
    highest = _Highest(n_extremes)
    for tile in _tiles(faces):
        counts.of_bins += np.bincount(score_bins(tile.values), minlength=N_BINS)
        scores = tile.scores
        if tile.counted is not None:
            scores = np.where(tile.counted, scores, np.float32(0))
        number = tile.n_of_couples()
        sums = np.asarray(tile.of_couples(scores, np.float64), float)
        squares = np.asarray(tile.of_couples(np.square(scores, dtype=float), np.float64), float)
        counts.first += float(sums.sum())
        counts.second += float(squares.sum())
        counts.n_couples += int(np.count_nonzero(number))
        counts.square_of_couples += float(np.square(number).sum())
        people = [faces.subjects[tile.rows][tile.row_starts]]
        people.append(faces.subjects[tile.columns][tile.column_starts])
        for axis in (0, 1):
            counts.total[people[axis]] += number.sum(axis=1 - axis)
        weights = [draws[:, chosen].astype(np.float64) for chosen in people]
        for k, matrix in enumerate((number, sums, squares)):
            counts.drawn[k] += ((weights[0] @ matrix) * weights[1]).sum(axis=1)
        highest.add(tile, faces.positions)
    counts.extremes = highest.comparisons(np.zeros(0, np.int32))
    return counts


class _Highest:
    """The comparisons of the highest similarity seen so far."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._scores = np.empty(0, np.float32)
        self._ends = np.empty((2, 0), np.int32)

    def add(self, tile: _Tile, positions: npt.NDArray[np.int32]) -> None:
        """Take those of a tile that are among the highest."""
        least = self._scores.min() if len(self._scores) == self._n else -np.inf
        candidates = tile.scores >= least
        if tile.counted is not None:
            candidates &= tile.counted
        i, j = np.nonzero(candidates)
        if not len(i):
            return
        scores = np.concatenate([self._scores, tile.scores[i, j]])
        new = np.stack([positions[tile.rows][i], positions[tile.columns][j]])
        ends = np.concatenate([self._ends, np.sort(new, axis=0)], axis=1)
        # of equal scores, those of the earlier faces
        order = np.lexsort((ends[1], ends[0], -scores))[: self._n]
        self._scores, self._ends = scores[order], ends[:, order]

    def comparisons(self, subjects: npt.NDArray[np.int32]) -> Comparisons:
        return Comparisons(self._scores, self._ends[0], self._ends[1], subjects)


class OrderStatistics:
    """Exact order statistics of the impostor scores, from the scores in some of the bins.

    Parameters
    ----------
    of_bins
        Comparisons in each bin.
    """

    def __init__(self, of_bins: Counts) -> None:
        self._below = np.concatenate([[0], np.cumsum(of_bins)])
        self._wanted = np.zeros(len(of_bins), bool)
        self._parts: list[tuple[Scores, Counts]] = []
        self._n_collected = 0
        self.n = int(self._below[-1])

    def want_ranks(self, ranks: Sequence[int] | Counts) -> None:
        """Ask for the scores at ranks, from 0 for the lowest score."""
        known = [rank for rank in np.asarray(ranks, np.int64) if 0 <= rank < self.n]
        bins = np.searchsorted(self._below, known, side="right") - 1
        self._wanted[bins] = True

    def want_about(self, number: int) -> None:
        """Ask for a bin and the nearest bins on either side that are not empty."""
        filled = np.flatnonzero(np.diff(self._below))
        self._wanted[number] = True
        self._wanted[filled[filled < number][-1:]] = True
        self._wanted[filled[filled > number][:1]] = True

    def collect(self, scores: Scores) -> None:
        """Keep those of some scores that are in bins asked for."""
        chosen = scores[self._wanted[score_bins(scores)]]
        if not len(chosen):
            return
        self._parts.append((chosen, np.ones(len(chosen), np.int64)))
        self._n_collected += len(chosen)
        if self._n_collected > _COLLECTED:
            self._combine()

    def _combine(self) -> None:
        """Count equal scores once."""
        parts = self._parts or [(np.empty(0, np.float32), np.empty(0, np.int64))]
        values, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
        distinct, which = np.unique(values, return_inverse=True)
        counts = np.bincount(which, weights=numbers, minlength=len(distinct)).astype(np.int64)
        self._parts, self._n_collected = [(distinct, counts)], 0

    def collected(self) -> tuple[Scores, Counts]:
        """The distinct scores in the bins asked for, and the number of comparisons of each."""
        self._combine()
        return self._parts[0]

    def before(self) -> tuple[Scores, Counts]:
        """The distinct scores collected, and the number of comparisons below each."""
        values, counts = self.collected()
        bins = score_bins(values)
        before = np.concatenate([[0], np.cumsum(counts)])
        first = np.searchsorted(bins, bins, side="left")
        return values, self._below[bins] + before[:-1] - before[first]

    def at(self, ranks: Sequence[int] | Counts) -> Scores:
        """Scores at ranks that were asked for."""
        values, before = self.before()
        found: Scores = values[np.searchsorted(before, ranks, side="right") - 1]
        return found

    def n_below(self, threshold: float) -> int:
        """Number of scores below a threshold that lies in a bin that was asked for."""
        values, before = self.before()
        number = int(score_bins(np.array([threshold], np.float32))[0])
        inside = score_bins(values) == number
        above = np.flatnonzero(inside & (values.astype(float) >= threshold))
        return int(before[above[0]]) if len(above) else int(self._below[number + 1])


@dataclass
class WrongCounts:
    """Impostor comparisons at or above each threshold."""

    n: Counts
    """``(threshold,)``."""
    of_people: Floats
    """Of each person ``(threshold, person)``."""
    squares: Floats
    """Sum of the squared number of each two people ``(threshold,)``."""
    crossed: Floats
    """Sum of that number times the number of all comparisons of the two ``(threshold,)``."""


def count_wrong(
    faces: FaceVectors,
    thresholds: Floats,
    n_people: int,
    collect: Callable[[Scores], None] = lambda _: None,
) -> WrongCounts:
    """Count the impostor comparisons that match at thresholds: a further pass.

    Parameters
    ----------
    faces
        The faces.
    thresholds
        ``(threshold,)``, finite.
    n_people
        Number of people of the face set.
    collect
        Called with the scores of each tile.
    """
    n = len(thresholds)
    wrong = WrongCounts(np.zeros(n, np.int64), np.zeros((n, n_people)), np.zeros(n), np.zeros(n))
    # scores are compared in their own precision, with the next number at or above each threshold
    edges = thresholds.astype(np.float32)
    edges = np.where(edges < thresholds, np.nextafter(edges, np.float32(np.inf)), edges)
    for tile in _tiles(faces):
        collect(tile.values)
        number = None
        people = [faces.subjects[tile.rows][tile.row_starts]]
        people.append(faces.subjects[tile.columns][tile.column_starts])
        for k, edge in enumerate(edges):
            matches = tile.scores >= edge
            if tile.counted is not None:
                matches &= tile.counted
            n_matches = int(np.count_nonzero(matches))
            if not n_matches:
                continue
            number = tile.n_of_couples() if number is None else number
            of_couples = np.asarray(tile.of_couples(matches, np.int64), float)
            wrong.n[k] += n_matches
            wrong.squares[k] += float(np.square(of_couples).sum())
            wrong.crossed[k] += float((of_couples * number).sum())
            for axis in (0, 1):
                wrong.of_people[k, people[axis]] += of_couples.sum(axis=1 - axis)
    return wrong


def collect_scores(faces: FaceVectors, collect: Callable[[Scores], None]) -> None:
    """Pass the scores of all impostor comparisons to a function, tile by tile."""
    for tile in _tiles(faces):
        collect(tile.values)

"""Verification figures of many faces, all against all, in bounded memory.

The figures are those of :func:`freqlab.verification.figures.figures_of`, with the same definitions
and intervals, from counts over tiles (:mod:`freqlab.verification.all_pairs`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.errors import ParameterError
from freqlab.faces.groups import ALL, MIXED
from freqlab.statistics.error_rates import FMRS, Comparisons
from freqlab.statistics.rate_intervals import (
    RateEstimate,
    rate_bounds,
    rate_estimates,
    variance_of_people,
)
from freqlab.statistics.resampling import t_interval
from freqlab.verification.all_pairs import (
    N_BINS,
    FaceVectors,
    ImpostorCounts,
    OrderStatistics,
    WrongCounts,
    collect_scores,
    count_impostors,
    count_wrong,
    draw_counts,
    genuine_comparisons,
    n_genuine_comparisons,
    score_bins,
    usable_faces,
)
from freqlab.verification.figures import (
    CURVE_FMRS,
    DENSITY_BINS,
    GroupFigures,
    dataset_of,
    note_on_rate,
)

__all__ = ["check_genuine", "figures_of_all"]

_MOST_GENUINE = 10_000_000  # genuine comparisons that are kept, of about 60 bytes each

Floats = npt.NDArray[np.float64]


class FiguresOfAll(NamedTuple):
    """Result of :func:`figures_of_all`."""

    figures: xr.Dataset
    """As from :func:`freqlab.verification.figures.figures_of`."""
    extremes: Comparisons
    """The genuine comparisons and the impostor comparisons of the highest similarity."""


def check_genuine(subjects: npt.NDArray[np.integer]) -> None:
    """Refuse faces whose genuine comparisons exceed the memory.

    Raises
    ------
    ParameterError
        If there are too many of one subject.
    """
    n_genuine = n_genuine_comparisons(subjects)
    if n_genuine > _MOST_GENUINE:
        raise ParameterError(
            f"pairs=None compares all faces, {n_genuine:,} comparisons within subjects; at most "
            f"{_MOST_GENUINE:,} fit in memory. Give pairs=, for example from fl.make_pairs"
        )


def figures_of_all(
    embeddings: npt.NDArray[np.floating],
    subjects: npt.NDArray[np.object_],
    sources: npt.NDArray[np.object_],
    *,
    thresholds: Sequence[float],
    fmrs: Sequence[float] = FMRS,
    groups: Sequence[str] = (ALL,),
    codes: npt.NDArray[np.integer] | None = None,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    n_extremes: int = 12,
) -> FiguresOfAll:
    """Compute verification figures of all comparisons of faces.

    Parameters
    ----------
    embeddings, subjects, sources
        As for :func:`freqlab.statistics.error_rates.compare_all`.
    thresholds, fmrs, groups, codes, n_draws, level, seed
        As for :func:`freqlab.verification.figures.figures_of`.
    n_extremes
        Number of impostor comparisons that are returned.

    Raises
    ------
    ParameterError
        If there are several groups, and `codes` is None.
    """
    if codes is None and len(groups) > 1:
        raise ParameterError(
            "codes=None: with several groups, codes must give the group of each face"
        )
    numbers = np.unique(subjects.astype(str), return_inverse=True)[1].astype(np.int32)
    draws = draw_counts(int(numbers.max(initial=-1)) + 1, n_draws, seed)
    edges = np.asarray(thresholds, float)
    every = usable_faces(embeddings, numbers, sources)
    of_groups = []
    for g, name in enumerate(groups):
        faces = every
        if name == MIXED and codes is not None:
            faces = every.between_groups(codes)
        elif g > 0 and codes is not None:
            faces = every.select(codes[every.positions] == g)
        group = _Group(faces, numbers, draws, n_extremes)
        of_groups.append(group.figures(edges, fmrs, level))
        if g == 0:
            densities = group.densities()
            extremes = group.extremes()
    figures = dataset_of(of_groups, densities, thresholds=edges, fmrs=fmrs, groups=groups)
    return FiguresOfAll(figures, extremes)


class _Group:
    """The comparisons of one group of faces."""

    def __init__(
        self,
        faces: FaceVectors,
        subjects: npt.NDArray[np.int32],
        draws: npt.NDArray[np.uint16],
        n_extremes: int,
    ) -> None:
        self._faces, self._draws = faces, draws
        self._genuine = genuine_comparisons(faces, subjects)
        self._sorted = np.sort(self._genuine.scores)
        self._impostor: ImpostorCounts = count_impostors(faces, draws, n_extremes)

    def figures(self, thresholds: Floats, fmrs: Sequence[float], level: float) -> GroupFigures:
        """The figures at decision thresholds, NaN where a rate is not resolved."""
        n = self._impostor.n
        order = OrderStatistics(self._impostor.of_bins)
        order.want_ranks(self._curve_ranks())
        crossing = self._crossing_bin()
        if crossing is not None:
            order.want_about(crossing)
        collect_scores(self._faces, order.collect)
        eer = at = math.nan
        if crossing is not None:
            eer, at = self._equal_error_rate(order, crossing)
        slopes = OrderStatistics(self._impostor.of_bins)
        quantiles = _slope_quantiles(eer, n)
        slopes.want_ranks([rank for q in quantiles for rank in _ranks_of_quantile(q, n)])
        known = np.flatnonzero(np.isfinite(thresholds))
        edges = np.append(thresholds[known], [at] if math.isfinite(at) else [])
        n_people = self._draws.shape[1]
        wrong = count_wrong(self._faces, edges, n_people, slopes.collect)
        fmr = self._false_match_rates(thresholds, known, wrong, level)
        fnmr = rate_estimates(self._genuine, thresholds, level, genuine=True)
        notes = np.array(
            [note_on_rate(t, rate, n) for t, rate in zip(thresholds, fmrs, strict=True)], object
        )
        fmr.estimates[notes != ""] = np.nan
        of_eer = self._eer_estimate(eer, at, wrong, slopes, level)
        people = self._impostor.total > 0
        ends = np.concatenate([self._genuine.reference, self._genuine.probe])
        people[self._genuine.subjects[ends]] = True
        counts = [len(self._sorted), n, int(people.sum()), int(of_eer.n_erring)]
        return GroupFigures(
            of_eer.estimates,
            np.array(self._d_prime(level)),
            fmr.estimates,
            fnmr.estimates,
            self._curve(order),
            fmr.n_erring,
            fnmr.n_erring,
            np.array(counts, np.int64),
            notes,
        )

    def densities(self) -> Floats:
        """Probability densities of genuine and impostor scores ``(2, bin)``."""
        n_bins = len(DENSITY_BINS) - 1
        densities = np.full((2, n_bins), np.nan)
        width = DENSITY_BINS[1] - DENSITY_BINS[0]
        genuine = np.histogram(self._sorted, bins=DENSITY_BINS)[0]
        impostor = self._impostor.of_bins.reshape(n_bins, -1).sum(axis=1)
        for row, counts in enumerate((genuine, impostor)):
            if counts.sum():
                densities[row] = counts / counts.sum() / width
        return densities

    def extremes(self) -> Comparisons:
        """The genuine comparisons, and the impostor comparisons of the highest similarity."""
        highest = self._impostor.extremes
        if highest is None:
            return self._genuine
        scores, reference, probe = (
            np.concatenate(both) for both in zip(self._genuine[:3], highest[:3], strict=True)
        )
        return Comparisons(scores, reference, probe, self._genuine.subjects)

    def _curve_ranks(self) -> npt.NDArray[np.int64]:
        """Rank of the highest impostor score that is refused at each rate of the curve.

        -1 where no score has to be refused.
        """
        n = self._impostor.n
        if not n:
            return np.full(len(CURVE_FMRS), -1)
        allowed = np.floor(CURVE_FMRS * (1 + 1e-9) * n).astype(np.int64) + 2
        for _ in range(4):  # by the rates themselves, as they are rounded
            too_many = 1 - (n - allowed) / np.float64(n) > CURVE_FMRS * (1 + 1e-9)
            allowed -= too_many
        return n - 1 - np.minimum(allowed, n)

    def _curve(self, order: OrderStatistics) -> Floats:
        """False non-match rate at the lowest threshold that does not exceed each rate."""
        n, n_genuine = self._impostor.n, len(self._sorted)
        curve = np.full(len(CURVE_FMRS), np.nan)
        if not min(n, n_genuine):
            return curve
        ranks = self._curve_ranks()
        resolved = (CURVE_FMRS * n >= 10) | (CURVE_FMRS == 1)
        curve[resolved] = 0.0
        some = resolved & (ranks >= 0)
        refused = np.searchsorted(self._sorted, order.at(ranks[some]), side="right")
        curve[some] = refused / np.float64(n_genuine)
        return curve

    def _crossing_bin(self) -> int | None:
        """The last bin at whose lower edge fewer genuine than impostor comparisons err."""
        n, n_genuine = self._impostor.n, len(self._sorted)
        if not min(n, n_genuine):
            return None
        genuine = np.bincount(score_bins(self._sorted), minlength=N_BINS)
        fnmr = (np.cumsum(genuine) - genuine) / n_genuine
        below = np.cumsum(self._impostor.of_bins) - self._impostor.of_bins
        return int(np.flatnonzero(fnmr < 1 - below / n)[-1])

    def _equal_error_rate(self, order: OrderStatistics, crossing: int) -> tuple[float, float]:
        """The equal error rate, and the lowest threshold at which FNMR reaches FMR.

        The thresholds are the scores in the bin of the crossing and the first one above: at the
        lowest of them the rates are those at the lower edge of the bin.
        """
        n, n_genuine = self._impostor.n, len(self._sorted)
        values, before = order.before()
        scores = np.append(np.unique(np.concatenate([values, self._sorted])), np.float32(np.inf))
        bins = np.append(score_bins(scores[:-1]), N_BINS)
        first, above = np.searchsorted(bins, [crossing, crossing + 1])
        thresholds = scores[first : above + 1]
        fnmr = np.searchsorted(self._sorted, thresholds) / np.float64(n_genuine)
        at = np.searchsorted(values, thresholds)
        fmr = 1 - np.append(before, n)[at] / np.float64(n)
        after = int(np.argmax(fnmr >= fmr))
        threshold = float(thresholds[after])
        if after == 0 or fnmr[after] == fmr[after]:
            return float(fnmr[after]), threshold
        gap_before, gap_after = fmr[after - 1] - fnmr[after - 1], fnmr[after] - fmr[after]
        share = gap_before / (gap_before + gap_after)
        return float(fnmr[after - 1] + share * (fnmr[after] - fnmr[after - 1])), threshold

    def _false_match_rates(
        self,
        thresholds: Floats,
        known: npt.NDArray[np.int64],
        wrong: WrongCounts,
        level: float,
    ) -> RateEstimate:
        """False match rates at the thresholds, of which the `known` are finite."""
        n, counts = self._impostor.n, self._impostor
        estimates = np.full((len(thresholds), 3), np.nan)
        n_erring = np.zeros(len(thresholds), np.int64)
        if n:
            n_people = int((counts.total > 0).sum())
            for row, k in enumerate(known):
                rate = float(wrong.n[row] / n)
                contributions, of_couples = self._contributions(wrong, row)
                variance = float(variance_of_people(contributions, of_couples, n_people))
                bounds = rate_bounds(
                    *(rate, variance),
                    error_size=1 / max(1, min(counts.n_couples, n)),
                    n_people=n_people,
                    level=level,
                )
                estimates[k] = (rate, *bounds)
                n_erring[k] = int((wrong.of_people[row] > 0).sum())
        return RateEstimate(estimates, n_erring)

    def _contributions(self, wrong: WrongCounts, row: int) -> tuple[Floats, float]:
        """Contribution of each person to a false match rate, and the squares of couples."""
        n, counts = self._impostor.n, self._impostor
        rate = wrong.n[row] / n
        of_couples = wrong.squares[row] - 2 * rate * wrong.crossed[row]
        of_couples += rate**2 * counts.square_of_couples
        return (wrong.of_people[row] - rate * counts.total) / n, float(of_couples / n**2)

    def _eer_estimate(
        self, eer: float, at: float, wrong: WrongCounts, slopes: OrderStatistics, level: float
    ) -> RateEstimate:
        """The equal error rate with its interval; `at` is the last threshold of `wrong`."""
        if not math.isfinite(eer):
            return RateEstimate(np.full(3, np.nan), np.array(0))
        genuine = self._genuine
        subjects = genuine.subjects[genuine.reference]
        refused = genuine.scores.astype(float) < at
        n_subjects, n_genuine = self._draws.shape[1], len(genuine.scores)
        total = np.bincount(subjects, minlength=n_subjects)
        erring = np.bincount(subjects[refused], minlength=n_subjects)
        n_erring = np.array(int((erring > 0).sum()))
        n_people = min(int((total > 0).sum()), int((self._impostor.total > 0).sum()))
        if n_people < 3:
            return RateEstimate(np.array([eer, np.nan, np.nan]), n_erring)
        weight = self._weight_of_fnmr(eer, slopes)
        own = (erring - refused.mean() * total) / n_genuine
        if len(wrong.n) and math.isfinite(at):
            others, of_couples = self._contributions(wrong, len(wrong.n) - 1)
        else:
            others, of_couples = np.zeros(n_subjects), 0.0
        of_couples *= (1 - weight) ** 2
        of_people = weight * own + (1 - weight) * others
        variance = float(variance_of_people(of_people, of_couples, n_people))
        n_faces = len(np.unique(np.concatenate([genuine.reference, genuine.probe])))
        bounds = rate_bounds(
            *(eer, variance),
            error_size=1 / max(1, min(n_faces, n_genuine)),
            n_people=n_people,
            level=level,
        )
        return RateEstimate(np.array([eer, *bounds]), n_erring)

    def _weight_of_fnmr(self, eer: float, slopes: OrderStatistics) -> float:
        """Weight of the false non-match rate in the equal error rate, 0..1."""
        n = self._impostor.n
        low, high = (_quantile(slopes, q, n) for q in _slope_quantiles(eer, n))
        of_fmr = (slopes.n_below(high) - slopes.n_below(low)) / n
        scores = self._sorted.astype(float)
        of_fnmr = float(((scores >= low) & (scores < high)).mean())
        return of_fmr / (of_fmr + of_fnmr) if of_fmr + of_fnmr > 0 else 1.0

    def _d_prime(self, level: float) -> tuple[float, float, float]:
        """Compute d' with its interval, from weighted moments in bootstrap draws."""
        scores = self._genuine.scores.astype(float)
        counts, n, n_genuine = self._impostor, self._impostor.n, len(scores)
        if min(n, n_genuine) < 2:
            return math.nan, math.nan, math.nan
        mean = counts.first / n
        spread = math.sqrt((scores.var() + max(counts.second / n - mean**2, 0.0)) / 2)
        value = (float(scores.mean()) - mean) / spread if spread > 0 else math.nan
        subjects = self._genuine.subjects[self._genuine.reference]
        n_people = [len(np.unique(subjects)), int((counts.total > 0).sum())]
        if not math.isfinite(value) or min(n_people) < 3:
            return value, math.nan, math.nan
        moments = []
        sums = [
            np.bincount(subjects, weights=values, minlength=self._draws.shape[1])
            for values in (scores**0, scores, scores**2)
        ]
        own = np.stack(sums)
        drawn = np.concatenate(
            [
                own @ self._draws[start : start + 64].T.astype(float)
                for start in range(0, len(self._draws), 64)
            ],
            axis=1,
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            for total, first, second in (drawn, counts.drawn):
                moments.append((first / total, second / total - (first / total) ** 2))
            (first_mean, first_variance), (other_mean, other_variance) = moments
            values = (first_mean - other_mean) / np.sqrt((first_variance + other_variance) / 2)
        return value, *t_interval(value, values, n_people=min(n_people), level=level)


def _slope_quantiles(eer: float, n: int) -> tuple[float, float]:
    """Shares of the impostor scores below which the slopes of the error rates are taken.

    Those at which the false match rate is twice and half the equal error rate.
    """
    if not n or not math.isfinite(eer):
        return 0.0, 0.0
    about = min(max(eer, 5 / n), 0.45)
    return 1 - 2 * about, 1 - about / 2


def _ranks_of_quantile(share: float, n: int) -> tuple[int, int]:
    """Ranks of the scores between which a quantile is interpolated linearly."""
    low = math.floor(share * (n - 1))
    return low, min(low + 1, n - 1)


def _quantile(order: OrderStatistics, share: float, n: int) -> float:
    """A quantile as numpy.quantile interpolates it."""
    low, high = order.at(list(_ranks_of_quantile(share, n))).astype(float)
    part = share * (n - 1) - math.floor(share * (n - 1))
    return float(low + (high - low) * part)

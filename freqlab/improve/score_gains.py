"""Error rates of several scores of the same pairs, and whether one is better than a baseline.

Each score has its own threshold, at the same false match rate. In each bootstrap draw of people the
thresholds are set again on the drawn impostor comparisons, so that the interval of a difference
covers the uncertainty of both thresholds. The weight of an impostor comparison is the product of
the counts of its two people, which makes these intervals too wide rather than too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.errors import ParameterError, check_name
from freqlab.results.selection import at_fmr, fmr_text
from freqlab.statistics.error_rates import (
    check_fmr,
    check_fmrs,
    comparisons_needed,
    threshold_at_fmr,
)
from freqlab.statistics.rate_differences import rate_differences
from freqlab.statistics.rate_intervals import mean_rate
from freqlab.statistics.resampling import (
    ESTIMATES,
    FEWEST_PEOPLE,
    check_draws,
    draw_subjects,
    pair_weights,
    percentiles,
)
from freqlab.text.wording import percent, signed

__all__ = [
    "FEWEST_ERRORS",
    "GAIN",
    "LOSS",
    "NO_GAIN",
    "gain_table",
    "gains",
    "usable_pairs",
    "verdict_of",
]

FEWEST_ERRORS = 30
"""Smallest number of false non-matches, of either score, from which a verdict is stated."""

GAIN, LOSS, NO_GAIN = "gain", "loss", "no gain"

_REACH = 20  # the thresholds of draws are searched in this multiple of the allowed false matches
_DRAWS_PER_STEP = 32

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def gains(
    scores: Mapping[str, npt.NDArray[np.floating]],
    genuine: Bools,
    subjects: npt.NDArray[np.int64],
    *,
    baseline: str,
    fmrs: Sequence[float] = (1e-2, 1e-3),
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compare the false non-match rates of scores with that of a baseline, paired over people.

    Parameters
    ----------
    scores
        Scores of the same pairs by name ``(pair,)``; larger means more similar. A pair that is NaN
        in one score is left out of all.
    genuine
        Whether each pair is genuine ``(pair,)``.
    subjects
        Numbers of the two subjects of each pair ``(2, pair)``.
    baseline
        Name of the score with which the others are compared.
    fmrs
        False match rates of the thresholds; each score has its own thresholds.
    n_draws, level, seed
        Bootstrap draws over people, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``score_name``, ``fmr`` and, unless stated otherwise, ``estimate`` (value, lower,
        upper): ``false_non_match_rate``; ``difference`` from the baseline, NaN for the baseline;
        ``threshold`` and ``n_errors``, the false non-matches, without estimate; ``verdict``, one of
        ``"gain"``, ``"no gain"``, ``"loss"`` or the reason why there is none; ``n_genuine``,
        ``n_impostor``, ``n_people``, ``n_left_out``.

    Raises
    ------
    ParameterError
        If an argument does not fit, a score is constant, or a kind of pairs is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> rng = np.random.default_rng(0)
    >>> people = np.arange(60)
    >>> a, b = np.meshgrid(people, people)
    >>> subjects = np.stack([a.ravel(), b.ravel()])  # each person twice: probes and references
    >>> genuine = subjects[0] == subjects[1]
    >>> blurred = genuine + rng.normal(0, 1, len(genuine))
    >>> sharp = genuine + rng.normal(0, 0.2, len(genuine))
    >>> found = fl.improve.gains(
    ...     {"blurred": blurred, "sharp": sharp},
    ...     genuine, subjects, baseline="blurred", fmrs=[1e-2], n_draws=100,
    ... )
    >>> found["verdict"].sel(score_name="sharp").item()
    'gain'
    """
    check_draws(n_draws, level, seed)
    rates = check_fmrs(fmrs)
    names = list(scores)
    check_name("baseline", baseline, names)
    values, kept = usable_pairs(scores, genuine)
    is_genuine, people = genuine[kept], subjects[:, kept]
    for name, score in zip(names, values, strict=True):
        if np.ptp(score) == 0:
            raise ParameterError(
                f"scores[{name!r}] is {score[0]:g} for all {len(score):,} pairs; a constant score "
                f"decides nothing"
            )
    draws = draw_subjects(int(subjects.max(initial=-1)) + 1, n_draws, seed)
    thresholds = np.array(
        [[threshold_at_fmr(score[~is_genuine], fmr) for fmr in rates] for score in values]
    )
    fnmr = np.stack(
        [
            np.stack([_drawn_rates(score, is_genuine, people, draws, fmr) for fmr in rates], axis=1)
            for score in values
        ],
        axis=1,
    )  # (draw, score, fmr)
    sampled = [score[is_genuine] for score in values]
    n_people = len(np.unique(people[0, is_genuine]))
    shape = (len(names), len(rates))
    errors = np.array(
        [[int((s < t).sum()) for t in row] for s, row in zip(sampled, thresholds, strict=True)]
    )
    estimates = np.array(
        [
            [
                _with_bounds(
                    *(sampled[s] < thresholds[s, f], people[:, is_genuine]),
                    drawn=fnmr[:, s, f],
                    level=level,
                )
                if np.isfinite(thresholds[s, f])
                else (np.nan, np.nan, np.nan)
                for f in range(shape[1])
            ]
            for s in range(shape[0])
        ]
    )
    base = names.index(baseline)
    change = rate_differences(estimates, estimates[base], fnmr - fnmr[:, [base]], level)
    change[base] = np.nan
    verdicts = np.full(shape, "", object)
    for s, f in np.ndindex(shape):
        if s != base:
            bounds = (float(change[s, f, 1]), float(change[s, f, 2]))
            most = int(max(errors[base, f], errors[s, f]))
            verdicts[s, f] = verdict_of(*bounds, n_errors=most, n_people=n_people)
        if not np.isfinite(thresholds[s, f]):
            needed = comparisons_needed(rates[f])
            n_impostor = int((~is_genuine).sum())
            verdicts[s, f] = f"no threshold: {n_impostor:,} of {needed:,} impostor comparisons"
    axes = ("score_name", "fmr")
    rate = {"long_name": "false non-match rate", "units": "1"}
    computed = xr.Dataset(
        {
            "false_non_match_rate": ((*axes, "estimate"), estimates, rate),
            "difference": (
                (*axes, "estimate"),
                change,
                {"long_name": "difference in false non-match rate", "units": "1"},
            ),
            "threshold": (axes, thresholds, {"long_name": "threshold of the score", "units": "1"}),
            "n_errors": (axes, errors, {"long_name": "false non-matches"}),
            "verdict": (axes, verdicts),
            "n_genuine": ((), int(is_genuine.sum()), {"long_name": "genuine comparisons"}),
            "n_impostor": ((), int((~is_genuine).sum()), {"long_name": "impostor comparisons"}),
            "n_people": ((), n_people, {"long_name": "people with genuine comparisons"}),
            "n_left_out": ((), int((~kept).sum()), {"long_name": "pairs without a score"}),
        },
        coords={
            "score_name": np.array(names, object),
            "fmr": ("fmr", list(rates), {"long_name": "false match rate", "units": "1"}),
            "estimate": list(ESTIMATES),
        },
        attrs={"baseline": baseline, "n_draws": n_draws, "level": level, "seed": seed},
    )
    return with_object_text(computed)


def usable_pairs(
    scores: Mapping[str, npt.NDArray[np.floating]], genuine: Bools
) -> tuple[Floats, Bools]:
    """Scores of the pairs that have all of them ``(score, pair)``, and which pairs these are.

    Raises
    ------
    ParameterError
        If shapes differ, or no genuine or no impostor pair has all scores.
    """
    if not scores:
        raise ParameterError("scores={} is empty; give at least one score")
    for name, score in scores.items():
        if np.shape(score) != np.shape(genuine):
            raise ParameterError(
                f"scores[{name!r}] has shape {np.shape(score)} for {len(genuine)} pairs; expected "
                f"one number per pair"
            )
    values = np.stack([np.asarray(score, float) for score in scores.values()])
    kept = np.isfinite(values).all(axis=0)
    for kind, chosen in (("genuine", kept & genuine), ("impostor", kept & ~genuine)):
        if not chosen.any():
            n_nan = int((~kept).sum())
            raise ParameterError(
                f"genuine: no {kind} pair has a score ({n_nan:,} of {len(kept):,} pairs are NaN); "
                f"both kinds are required"
            )
    return values[:, kept], kept


def verdict_of(lower: float, upper: float, *, n_errors: int, n_people: int) -> str:
    """Verdict on the interval of a difference in error rates, or why there is none.

    Parameters
    ----------
    lower, upper
        Bounds of the difference from the baseline; negative is better.
    n_errors
        Number of errors: of the baseline, or of the other score if it has more.
    n_people
        Number of people with genuine comparisons.
    """
    if n_errors < FEWEST_ERRORS:
        return f"too few errors ({n_errors})"
    if n_people < FEWEST_PEOPLE:
        return f"too few people ({n_people})"
    if upper < 0:
        return GAIN
    return LOSS if lower > 0 else NO_GAIN


def _with_bounds(
    wrong: npt.NDArray[np.bool_], subjects: npt.NDArray[np.integer], *, drawn: Floats, level: float
) -> tuple[float, float, float]:
    """Value and bounds of a rate: the wider of two intervals.

    The draws vary the threshold, but are too narrow where few people err; the other interval holds
    there, for a fixed threshold.
    """
    value, lower, upper = mean_rate(wrong.astype(float), subjects, level=level).estimates
    low, high = percentiles(drawn, level)
    return float(value), float(np.fmin(lower, low)), float(np.fmax(upper, high))


def _drawn_rates(
    scores: Floats,
    genuine: Bools,
    people: npt.NDArray[np.int64],
    draws: npt.NDArray[np.int64],
    fmr: float,
) -> Floats:
    """False non-match rate in each draw ``(draw,)``, at the threshold of the draw."""
    check_fmr(fmr)
    rates = np.full(len(draws), np.nan)
    n_impostor = int((~genuine).sum())
    if n_impostor < comparisons_needed(fmr):
        return rates
    own, of_own = scores[genuine], people[0, genuine]
    order = np.argsort(own, kind="stable")
    own, of_own = own[order], of_own[order]
    others, pairs = scores[~genuine], people[:, ~genuine]
    n_top = min(n_impostor, math.ceil(_REACH * fmr * n_impostor) + 1)
    top = np.argpartition(-others, n_top - 1)[:n_top]
    top = top[np.argsort(-others[top], kind="stable")]
    highest, of_top = others[top], pairs[:, top]
    first = np.searchsorted(-highest, -highest)  # of equal scores
    couples, cell = np.unique(pairs, axis=1, return_inverse=True)
    n_each = np.bincount(cell.ravel())
    for start in range(0, len(draws), _DRAWS_PER_STEP):
        drawn = draws[start : start + _DRAWS_PER_STEP].astype(float)
        total = pair_weights(couples, drawn) @ n_each
        accepted = np.cumsum(pair_weights(of_top, drawn), axis=1)
        refused = np.cumsum(drawn[:, of_own], axis=1)
        for d in range(len(drawn)):
            if total[d] == 0 or refused[d, -1] == 0:
                continue
            allowed = fmr * total[d] * (1 + 1e-12)
            k = min(int(np.searchsorted(accepted[d], allowed, side="right")), n_top - 1)
            k = int(first[k])
            above = highest[k - 1] if k > 0 else np.nextafter(highest[k], np.inf)
            below = int(np.searchsorted(own, (highest[k] + above) / 2))
            rates[start + d] = refused[d, below - 1] / refused[d, -1] if below else 0.0
    return rates


def gain_table(data: xr.Dataset, *, fmr: float = 1e-2) -> pd.DataFrame:
    """Tabulate the error rates of scores at one false match rate, intervals in brackets.

    Parameters
    ----------
    data
        From :func:`gains`.
    fmr
        False match rate, one of those of `data`.

    Returns
    -------
    pandas.DataFrame
        A row per score: FNMR, its difference from the baseline in percentage points, the number of
        false non-matches, and the verdict.

    Raises
    ------
    ParameterError
        If `data` has no such rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> (part,) = fl.improve.parts_of(study)
    >>> fl.improve.gain_table(part.gains, fmr=0.1).columns.tolist()
    ['FNMR at FMR 1e-1', 'difference, points', 'false non-matches', 'verdict']
    """
    check_fmr(fmr)
    at = at_fmr(data, fmr)
    rows = {}
    for name in names_of(data, "score_name"):
        one = at.sel(score_name=name)
        is_base = name == data.attrs["baseline"]
        rows[name] = {
            f"FNMR at FMR {fmr_text(fmr)}": percent(one["false_non_match_rate"]) or "no threshold",
            "difference, points": "" if is_base else signed(100 * one["difference"], 2),
            "false non-matches": f"{int(one['n_errors']):,}",
            "verdict": "baseline" if is_base else str(one["verdict"].item()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")

"""Findings of a comparison of runs, in sentences.

A sentence states a difference only if its paired interval excludes zero, and only on at least
:data:`freqlab.statistics.resampling.FEWEST_PEOPLE` people.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name
from freqlab.results.selection import at_fmr, fmr_text
from freqlab.results.sentences import band_text, describe_intervals, unbroken
from freqlab.statistics.resampling import FEWEST_PEOPLE, estimates_of, excludes_zero
from freqlab.text.wording import NBSP, join, percent, with_bounds

__all__ = ["comparison_summary"]

_MOST_BANDS = 3  # named in one sentence


def comparison_summary(
    compared: xr.Dataset, *, run: str | None = None, fmr: float = 1e-3
) -> list[str]:
    """Summarise in sentences what differs between runs on the same pairs, and where.

    Parameters
    ----------
    compared
        From :func:`freqlab.compare`, with differences.
    run
        Run to describe; by default every run that has a baseline.
    fmr
        False match rate of the thresholds; one of those of the results.

    Returns
    -------
    list of str
        For each run: differences in the mean influence on genuine and on impostor pairs, in EER,
        and in FNMR at the run's own threshold. A difference whose interval includes zero is called
        compatible with zero. On fewer than 20 people nothing is compared.

    Raises
    ------
    UnknownNameError, ParameterError
        If there are no differences, or no such run or rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> models = [fl.testing.model("first"), fl.testing.model("second", seed=1)]
    >>> result = fl.testing.influence(models=models)
    >>> compared = fl.compare(result, n_draws=50)
    >>> for sentence in fl.results.comparison_summary(compared, fmr=0.1):
    ...     print("-", sentence)
    - synthetic · second compared with synthetic · first, probe masked: genuine ...
    - Impostor pairs: 4 people, too few to compare.
    - EER: 4 people, too few to compare.
    - The FNMR at FMR 1e-1 is not resolved in both runs.
    - Brackets hold 95 % intervals over people.
    """
    if "baseline" not in compared.coords:
        raise ParameterError(
            "compared has no differences; compute them with fl.compare(..., paired=True)"
        )
    with_baseline = [
        name
        for name, baseline in zip(
            names_of(compared, "run"), names_of(compared, "baseline"), strict=True
        )
        if baseline
    ]
    if not with_baseline:
        raise ParameterError("compared has a single run; pass a second result to fl.compare")
    wanted = with_baseline if run is None else [check_name("run", run, with_baseline)]
    sentences = [sentence for name in wanted for sentence in _of_run(compared.sel(run=name), fmr)]
    return [*sentences, describe_intervals(compared)]


def _of_run(data: xr.Dataset, fmr: float) -> list[str]:
    """Sentences on one run."""
    at = at_fmr(data, fmr)
    names = f"{data['run'].item()} compared with {data['baseline'].item()}"
    if float(data["largest_change"]) == 0:
        return [f"{names}: every similarity and every influence is identical."]
    genuine, impostor = (_bands(data.sel(comparison=c), c) for c in ("genuine", "impostor"))
    opening = f"{names}, {data.attrs['side']} masked: {genuine[0].lower()}{genuine[1:]}"
    sentences = [opening, impostor]
    n_genuine, n_impostor = (
        int(data["n_subjects_compared"].sel(comparison=c)) for c in ("genuine", "impostor")
    )
    sentences.append(_error(data, "eer", "EER", min(n_genuine, n_impostor)))
    rate = f"FNMR at FMR{NBSP}{fmr_text(fmr)}"
    if np.isfinite(float(at["false_non_match_rate_difference"].sel(estimate="value"))):
        sentences.append(_error(at, "false_non_match_rate", rate, n_genuine))
    elif n_genuine:
        sentences.append(f"The {rate} is not resolved in both runs.")
    return sentences


def _bands(data: xr.Dataset, comparison: str) -> str:
    """Differences in the mean influence of bands on the pairs of one kind."""
    n_pairs, n_people = (int(data[f"n_{what}_compared"]) for what in ("pairs", "subjects"))
    if n_pairs == 0:
        return f"There are no {comparison} pairs with values in both runs."
    if n_people < FEWEST_PEOPLE:
        return f"{comparison.capitalize()} pairs: {_too_few(n_people)}."
    values = data["directed_difference"]
    value, lower, upper = estimates_of(values)
    tested = np.isfinite(lower)
    differs = tested & ((lower > 0) | (upper < 0))
    expected = (1 - float(data.attrs["level"])) * tested.sum()
    counted = (
        f"the interval of {int(differs.sum())} of {int(tested.sum())} bands excludes zero "
        f"(about {expected:.1f} would without any difference)"
    )
    if not differs.any():
        return (
            f"For {comparison} pairs, the changes in mean influence are compatible with zero: "
            f"{counted}."
        )
    order = np.flatnonzero(differs)
    order = order[np.argsort(-np.abs(value[order]), kind="stable")][:_MOST_BANDS]
    named = []
    for band in order.tolist():
        change = with_bounds(values.isel(band=band), "+.3f")
        named.append(f"{unbroken(data, band_text(data, band))} ({change})")
    which = "change in mean influence is that" if len(named) == 1 else "changes are those"
    return f"For {comparison} pairs, {counted}; the largest {which} of {join(named)}."


def _error(data: xr.Dataset, name: str, shown: str, n_people: int) -> str:
    """Difference in an error rate."""
    change = data[f"{name}_difference"]
    value, lower, _ = (float(bound) for bound in estimates_of(change))
    if not np.isfinite(value):
        return f"The {shown} is not available in both runs."
    if n_people < FEWEST_PEOPLE:
        return f"{shown}: {_too_few(n_people)}."
    size = with_bounds(100 * change, "+.2f")
    unit = f"{NBSP}percentage points"
    now = percent(data[name].where(data["estimate"] == "value"))
    if not np.isfinite(lower):
        return f"The {shown} is {now}; its change, {size}{unit}, has no interval."
    if not excludes_zero(change):
        return f"The {shown} is {now}; the change, {size}{unit}, is compatible with zero."
    return f"The {shown} {'rises' if value > 0 else 'falls'} to {now}, by {size}{unit}."


def _too_few(n_people: int) -> str:
    people = "1 person" if n_people == 1 else f"{n_people:,} people"
    return f"{people}, too few to compare"

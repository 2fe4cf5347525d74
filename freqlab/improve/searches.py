"""Identification errors of several scores of the same searches, and discarding probes by quality.

A mated search errs at rank 1 if the person of the highest score is another than the probe's own;
this is the false negative identification rate (FNIR) without a threshold. With a threshold it errs,
too, if the score of the own person is below it. The false positive identification rate (FPIR) is
the share of non-mated searches that return a score at or above the threshold; a non-mated search is
that of a probe among all people but its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.improve.discarding import Compared, characteristics
from freqlab.improve.identification import Searches
from freqlab.improve.score_gains import gains, verdict_of
from freqlab.results.selection import fmr_text
from freqlab.statistics.error_rates import comparisons_needed, threshold_at_fmr
from freqlab.statistics.rate_differences import rate_differences
from freqlab.statistics.rate_intervals import mean_rate
from freqlab.statistics.resampling import check_draws, draw_subjects
from freqlab.text.wording import percent, signed

__all__ = ["check_fpir", "search_discard", "search_gain_table", "search_gains"]

_BELOW_ALL = -2.0  # score of a mated search that errs at rank 1; cosines are -1 or more
_RENAMED = {
    "false_non_match_rate": "false_negative_identification_rate",
    "fmr": "fpir",
    "n_genuine": "n_mated",
    "n_impostor": "n_non_mated",
}
_LONG_NAMES = {
    "false_negative_identification_rate": "false negative identification rate",
    "difference": "difference in false negative identification rate",
    "n_errors": "mated searches that err",
    "n_mated": "mated searches",
    "n_non_mated": "non-mated searches",
    "n_people": "people with mated searches",
    "n_left_out": "searches without a score",
}

Codes = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


def search_gains(
    searches: Mapping[str, Searches],
    people: Codes,
    *,
    baseline: str,
    fpir: float = 1e-2,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compare the identification errors of scores with those of a baseline, paired over people.

    Parameters
    ----------
    searches
        Searches of the same probes in the same gallery, by name of the score. A probe that has no
        score under one of them is left out of all.
    people
        Number of the subject of each probe ``(probe,)``, from 0.
    baseline
        Name of the score with which the others are compared.
    fpir
        False positive identification rate of the thresholds; each score has its own.
    n_draws, level, seed
        Bootstrap draws over the people of the probes, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``score_name`` and ``estimate`` (value, lower, upper): ``rank_1_error`` and
        ``rank_1_difference`` from the baseline; ``rank_1_n_errors`` and ``rank_1_verdict`` without
        estimate. Along ``fpir``, of length one, too: ``false_negative_identification_rate``,
        ``difference``, ``threshold``, ``n_errors`` and ``verdict``, as of
        :func:`freqlab.improve.gains`; NaN unless there are ten expected errors, with the reason as
        verdict. ``n_mated``, ``n_non_mated``, ``n_people``, ``n_left_out``.

    Raises
    ------
    ParameterError, UnknownNameError
        If an argument does not fit, or there is no mated or no non-mated search.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> from freqlab.improve.identification import search
    >>> rng = np.random.default_rng(0)
    >>> people, centres = np.repeat(np.arange(30), 3), rng.normal(size=(30, 8))
    >>> probes = centres[people] + rng.normal(size=(90, 8))
    >>> found = search(probes, centres, people, np.arange(30))
    >>> scores = {"similarity": found, "same": found}
    >>> compared = fl.improve.search_gains(scores, people, baseline="similarity", n_draws=20)
    >>> int(compared["n_mated"]), float(compared["rank_1_difference"].sel(score_name="same")[0])
    (90, 0.0)
    """
    check_draws(n_draws, level, seed)
    check_fpir(fpir)
    names = list(searches)
    check_name("baseline", baseline, names)
    mated, others = _usable(searches, people)
    scores = {
        name: np.concatenate([_own_scores(one)[mated], one.highest_other[others].astype(float)])
        for name, one in searches.items()
    }
    subject = np.concatenate([people[mated], people[others]]).astype(np.int64)
    genuine = np.arange(len(subject)) < int(mated.sum())
    options: dict[str, Any] = {"n_draws": n_draws, "level": level, "seed": seed}
    compared = gains(
        scores, genuine, np.stack([subject] * 2), baseline=baseline, fmrs=[fpir], **options
    )
    compared = compared.assign(_rank_1(searches, mated, people, baseline, options)).rename(_RENAMED)
    if not np.isfinite(compared["threshold"]).all():
        reason = f"no threshold: {int(others.sum()):,} of {comparisons_needed(fpir):,} searches"
        compared["verdict"][:] = reason
    compared["n_left_out"] = ((), int((~others).sum()))
    for name, text in _LONG_NAMES.items():
        compared[name].attrs["long_name"] = text
    compared["fpir"].attrs["long_name"] = "false positive identification rate"
    return compared


def _usable(
    searches: Mapping[str, Searches], people: Codes
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Probes with a mated search, and probes with a non-mated search, under all scores.

    Raises
    ------
    ParameterError
        If shapes differ, or a kind of searches is missing.
    """
    for name, one in searches.items():
        if one.own.shape != np.shape(people):
            raise ParameterError(
                f"searches[{name!r}] has {len(one.own):,} probes, and people has "
                f"{len(people):,}; expected one subject per probe"
            )
    others = np.all([np.isfinite(one.highest_other) for one in searches.values()], axis=0)
    mated = np.all([one.rank > 0 for one in searches.values()], axis=0) & others
    for kind, chosen in (("mated", mated), ("non-mated", others)):
        if not chosen.any():
            raise ParameterError(
                f"searches: none of the {len(people):,} probes has a {kind} search with a score"
            )
    return mated, others


def _own_scores(searches: Searches) -> Floats:
    """Score of the own person, below all scores where it is not at rank 1."""
    return np.where(searches.rank == 1, searches.own, _BELOW_ALL).astype(float)


def _rank_1(
    searches: Mapping[str, Searches],
    mated: npt.NDArray[np.bool_],
    people: Codes,
    baseline: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Errors at rank 1, their differences from the baseline, and verdicts."""
    names, level = list(searches), options["level"]
    base = names.index(baseline)
    own = np.asarray(people)[mated]
    draws = draw_subjects(int(np.max(people)) + 1, options["n_draws"], options["seed"]).astype(
        float
    )
    wrong = np.stack([searches[name].rank[mated] > 1 for name in names]).astype(float)
    n_each = np.bincount(own, minlength=draws.shape[1])
    of_person = np.stack([np.bincount(own, weights=w, minlength=draws.shape[1]) for w in wrong], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (draws @ of_person) / (draws @ n_each)[:, None]
    estimates = np.array(
        [
            mean_rate(w, np.stack([own, own]), n_photographs=len(own), level=level).estimates
            for w in wrong
        ]
    )
    change = rate_differences(estimates, estimates[base], drawn - drawn[:, [base]], level)
    change[base] = np.nan
    n_errors = wrong.sum(axis=1).astype(int)
    n_people = len(np.unique(own))
    verdicts = [
        ""
        if i == base
        else verdict_of(
            *change[i, 1:], n_errors=int(max(n_errors[base], n_errors[i])), n_people=n_people
        )
        for i in range(len(names))
    ]
    axes = ("score_name", "estimate")
    return {
        "rank_1_error": (axes, estimates, {"long_name": "error rate at rank 1", "units": "1"}),
        "rank_1_difference": (
            axes,
            change,
            {"long_name": "difference in error rate at rank 1", "units": "1"},
        ),
        "rank_1_n_errors": ("score_name", n_errors, {"long_name": "errors at rank 1"}),
        "rank_1_verdict": ("score_name", np.array(verdicts, object)),
    }


def search_discard(
    searches: Searches,
    people: Codes,
    quality: pd.DataFrame,
    *,
    fpir: float | None = 1e-2,
    measure: str | None = None,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the error versus discard characteristic of identification.

    Probes of the lowest quality are discarded first; the gallery is not changed.

    Parameters
    ----------
    searches
        Searches of the probes, from :func:`freqlab.improve.identification.search`.
    people
        Number of the subject of each probe ``(probe,)``, from 0.
    quality
        A row per probe, in the order of the searches, and a column per measure; larger values mean
        higher quality.
    fpir
        False positive identification rate of the threshold; None for no threshold, so that the
        errors are those at rank 1.
    measure, n_draws, level, seed
        As for :func:`freqlab.improve.error_discard`.

    Returns
    -------
    xarray.Dataset
        As of :func:`freqlab.improve.error_discard`, with ``false_negative_identification_rate`` in
        place of ``false_non_match_rate``, and ``n_mated``, ``n_non_mated``;
        ``attrs["fpir"]``, 1 for None.

    Raises
    ------
    ParameterError, UnknownNameError
        If an argument does not fit, a quality is constant, or the searches do not resolve the rate.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import freqlab as fl
    >>> from freqlab.improve.identification import search
    >>> rng = np.random.default_rng(0)
    >>> people, centres = np.repeat(np.arange(30), 3), rng.normal(size=(30, 8))
    >>> probes = centres[people] + rng.normal(size=(90, 8))
    >>> found = search(probes, centres, people, np.arange(30))
    >>> quality = pd.DataFrame({"norm": np.linalg.norm(probes, axis=1)})
    >>> curve = fl.improve.search_discard(found, people, quality, fpir=None, n_draws=20)
    >>> list(curve["measure"].to_numpy())
    ['norm', 'random']
    """
    check_draws(n_draws, level, seed)
    if len(quality) != len(people):
        raise ParameterError(
            f"quality has {len(quality):,} rows for {len(people):,} probes; expected one per probe"
        )
    mated, others = _usable({"searches": searches}, people)
    highest = searches.highest_other[others].astype(float)
    if fpir is None:
        threshold, rate = (_BELOW_ALL - 1) / 2, 0.5  # the rate is not used: nothing is renewed
        highest = np.full_like(highest, threshold)
    else:
        check_fpir(fpir)
        threshold, rate = threshold_at_fmr(highest, fpir), fpir
    if not np.isfinite(threshold):
        raise ParameterError(
            f"fpir={fpir:g} requires {comparisons_needed(rate):,} non-mated searches, and there "
            f"are {len(highest):,}; fpir=None is for errors at rank 1"
        )
    rows = np.concatenate([np.flatnonzero(mated), np.flatnonzero(others)])
    compared = Compared(
        similarity=np.concatenate([_own_scores(searches)[mated], highest]),
        genuine=np.arange(len(rows)) < int(mated.sum()),
        faces=np.stack([rows, np.full(len(rows), -1)]),
        subject=np.asarray(people)[rows].astype(np.int64),
    )
    options: dict[str, Any] = {"n_draws": n_draws, "level": level, "seed": seed}
    found = characteristics(compared, quality, threshold, measure=measure, fmr=rate, **options)
    if fpir is None:  # no threshold to renew
        found = found.sel(protocol=["fixed"])
    renamed = {old: new for old, new in _RENAMED.items() if old in found}
    found = found.rename(renamed)
    del found.attrs["fmr"]
    found.attrs["fpir"] = 1.0 if fpir is None else fpir
    error = "error rate at rank 1" if fpir is None else "false negative identification rate"
    found["false_negative_identification_rate"].attrs["long_name"] = error
    found["area"].attrs["long_name"] = f"mean {error}"
    found["area_difference"].attrs["long_name"] = f"difference in mean {error}"
    found["n_errors"].attrs["long_name"] = "mated searches that err before discarding"
    found["n_mated"].attrs["long_name"] = "mated searches"
    found["n_non_mated"].attrs["long_name"] = "non-mated searches"
    found["n_people"].attrs["long_name"] = "people with mated searches"
    return found


def check_fpir(fpir: float) -> None:
    """Refuse false positive identification rates that are not between 0 and 1.

    Raises
    ------
    ParameterError
        Naming the value.
    """
    check_number("fpir", fpir, above=0)
    if fpir >= 1:
        raise ParameterError(f"fpir={fpir!r} must be below 1")


def search_gain_table(data: xr.Dataset) -> pd.DataFrame:
    """Tabulate the identification errors of scores, intervals in brackets.

    Parameters
    ----------
    data
        From :func:`search_gains`.

    Returns
    -------
    pandas.DataFrame
        A row per score: error rate at rank 1, the number of errors, the change in percentage points
        and the verdict; if there are thresholds, FNIR at the FPIR of the data, its change and the
        verdict on it.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> from freqlab.improve.identification import search
    >>> rng = np.random.default_rng(0)
    >>> people, centres = np.repeat(np.arange(30), 3), rng.normal(size=(30, 8))
    >>> probes = centres[people] + rng.normal(size=(90, 8))
    >>> found = search(probes, centres, people, np.arange(30))
    >>> scores = {"similarity": found, "same": found}
    >>> compared = fl.improve.search_gains(scores, people, baseline="similarity", n_draws=20)
    >>> list(fl.improve.search_gain_table(compared))
    ['error at rank 1', 'errors', 'change, points', 'verdict']
    """
    (fpir,) = data["fpir"].to_numpy()
    at = data.isel(fpir=0)
    resolved = bool(np.isfinite(at["threshold"]).all())
    rate = f"FNIR at FPIR {fmr_text(float(fpir))}"
    rows = {}
    for name in names_of(data, "score_name"):
        one = at.sel(score_name=name)
        base = name == data.attrs["baseline"]
        row = {
            "error at rank 1": percent(one["rank_1_error"]),
            "errors": f"{int(one['rank_1_n_errors']):,}",
            "change, points": "" if base else signed(100 * one["rank_1_difference"], 2),
            "verdict": "baseline" if base else str(one["rank_1_verdict"].item()),
        }
        if resolved:
            row |= {
                rate: percent(one["false_negative_identification_rate"]),
                "change of FNIR, points": "" if base else signed(100 * one["difference"], 2),
                "verdict on FNIR": "baseline" if base else str(one["verdict"].item()),
            }
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")

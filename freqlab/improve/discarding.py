"""Error versus discard characteristic: how errors fall when samples of low quality are discarded.

As in ISO/IEC 29794-1, samples are discarded from the lowest quality on, and the false non-match
rate is computed over the genuine comparisons of what remains. Two thresholds are used:

- ``fixed``: the threshold at the false match rate over all impostor comparisons, before anything
  is discarded;
- ``renewed``: the threshold at the same false match rate over the impostor comparisons of what
  remains (the protocol of SER-FIQ, Terhörst et al. 2020).

Discarding at random leaves the expected false non-match rate as it is, which is the baseline.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.errors import ParameterError, check_name
from freqlab.improve.score_gains import verdict_of
from freqlab.results.selection import with_axes
from freqlab.statistics.error_rates import check_fmr, comparisons_needed, threshold_at_fmr
from freqlab.statistics.rate_intervals import rate_bounds
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    subject_codes,
    with_interval,
)
from freqlab.text.wording import percent, signed

__all__ = [
    "PROTOCOLS",
    "RANDOM",
    "UP_TO",
    "Compared",
    "characteristics",
    "discard_table",
    "error_discard",
]

PROTOCOLS = ("fixed", "renewed")
"""Thresholds of the characteristic."""

UP_TO = (0.2, 0.5)
"""Discarded shares up to which the area below the characteristic is computed."""

RANDOM = "random"
"""Name of the baseline that discards samples at random."""

_STEPS = np.arange(21) / 40  # 0 to 0.5
_SIDES = ("both", "probe", "reference")

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Compared(NamedTuple):
    """Comparisons of one model, without those that are NaN."""

    similarity: Floats
    genuine: Bools
    faces: npt.NDArray[np.int64]
    """Rows of the qualities of the samples of each comparison ``(2, pair)``; -1: not discarded."""
    subject: npt.NDArray[np.int64]
    """Number of the subject of the probe of each comparison ``(pair,)``."""


def error_discard(
    result: xr.Dataset,
    quality: pd.DataFrame,
    *,
    model: str | None = None,
    measure: str | None = None,
    side: str = "both",
    fmr: float = 1e-2,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the error versus discard characteristic of measures of quality.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with genuine and impostor pairs.
    quality
        A row per face and a column per measure; larger values mean higher quality. A face without
        a quality (NaN, or no row) is discarded first.
    model
        Name of the model; the first by default.
    measure
        The measure that is compared with the others; the first column by default.
    side
        Samples that are discarded: ``"both"`` images of a pair, or only those that are a
        ``"probe"`` or a ``"reference"``. A face counts as one sample, however many pairs it is in.
    fmr
        False match rate of the threshold.
    n_draws, level, seed
        Bootstrap draws over people, coverage of the intervals, seed of the draws. The order of the
        samples and the thresholds are those of all people in every draw.

    Returns
    -------
    xarray.Dataset
        Along ``measure`` (with :data:`RANDOM` last) and ``protocol`` (:data:`PROTOCOLS`):
        ``false_non_match_rate(measure, protocol, discarded, estimate)``; ``area(measure, protocol,
        up_to, estimate)``, the mean false non-match rate over the discarded shares up to each of
        :data:`UP_TO` (the partial area divided by its width); ``area_difference``, the area of
        `measure` less that of each other one, paired over the draws, negative where `measure` is
        better; ``verdict(measure, protocol, up_to)`` on it; ``n_errors`` before anything is
        discarded, ``n_samples``, ``n_genuine``, ``n_impostor``, ``n_people``, ``threshold``.

    Raises
    ------
    ParameterError, UnknownNameError
        If an argument does not fit, a quality is constant, a kind of pairs is missing, or the
        impostor pairs do not resolve the false match rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> result = study["influence"].to_dataset()
    >>> (part,) = fl.improve.parts_of(study)
    >>> quality = part.quality[["stability", "sharpness"]].to_dataframe()
    >>> curves = fl.improve.error_discard(result, quality, fmr=0.1, n_draws=50)
    >>> curves["measure"].to_numpy().tolist()
    ['stability', 'sharpness', 'random']
    """
    check_draws(n_draws, level, seed)
    check_fmr(fmr)
    check_name("side", side, _SIDES)
    result = with_axes(result)
    name = names_of(result, "model")[0] if model is None else str(model)
    check_name("model", name, names_of(result, "model"))
    compared = _compared(result.sel(model=name), side, quality.index)
    threshold = threshold_at_fmr(compared.similarity[~compared.genuine], fmr)
    if not np.isfinite(threshold):
        raise ParameterError(
            f"fmr={fmr:g} requires {comparisons_needed(fmr):,} impostor pairs, and the result has "
            f"{int((~compared.genuine).sum()):,}"
        )
    options: dict[str, Any] = {"n_draws": n_draws, "level": level, "seed": seed}
    computed = characteristics(compared, quality, threshold, measure=measure, fmr=fmr, **options)
    return computed.assign_attrs(model=name, side=side)


def characteristics(
    compared: Compared,
    quality: pd.DataFrame,
    threshold: float,
    *,
    measure: str | None,
    fmr: float,
    n_draws: int,
    level: float,
    seed: int,
) -> xr.Dataset:
    """Characteristics of measures of quality over comparisons, from a threshold before discarding.

    Parameters
    ----------
    compared
        The comparisons.
    quality, measure, fmr, n_draws, level, seed
        As for :func:`error_discard`.
    threshold
        Threshold before anything is discarded.

    Returns
    -------
    xarray.Dataset
        As of :func:`error_discard`, without the attributes ``model`` and ``side``.
    """
    names = [str(column) for column in quality.columns]
    chosen = names[0] if measure is None else check_name("measure", measure, names)
    samples = np.unique(compared.faces[compared.faces >= 0])
    n_people = len(np.unique(compared.subject[compared.genuine]))
    n_impostor = int((~compared.genuine).sum())
    draws = draw_subjects(int(compared.subject.max()) + 1, n_draws, seed)
    rates = np.stack(
        [
            _rates(compared, _ranks(quality[column], samples, str(column)), threshold, fmr, draws)
            for column in quality.columns
        ]
    )  # (measure, protocol, 1 + draw, step)
    random = np.broadcast_to(rates[:1, :, :, :1], rates[:1].shape)
    rates = np.concatenate([rates, random])
    n_errors = int((compared.similarity[compared.genuine] < threshold).sum())
    data = _summaries(rates, [*names, RANDOM], chosen, n_errors, n_people, level)
    counts = {
        "n_errors": (n_errors, "false non-matches before discarding"),
        "n_samples": (len(samples), "samples"),
        "n_genuine": (int(compared.genuine.sum()), "genuine comparisons"),
        "n_impostor": (n_impostor, "impostor comparisons"),
        "n_people": (n_people, "people with genuine comparisons"),
        "threshold": (threshold, "threshold before discarding"),
    }
    data |= {
        key: ((), value, {"long_name": text, "units": "1"}) for key, (value, text) in counts.items()
    }
    computed = xr.Dataset(
        data,
        coords={
            "measure": np.array([*names, RANDOM], object),
            "protocol": np.array(PROTOCOLS, object),
            "discarded": (
                "discarded",
                _STEPS,
                {"long_name": "share of samples discarded", "units": "1"},
            ),
            "up_to": (
                "up_to",
                list(UP_TO),
                {"long_name": "largest share of samples discarded", "units": "1"},
            ),
            "estimate": list(ESTIMATES),
        },
        attrs={
            "measure": chosen,
            "fmr": fmr,
            "n_draws": n_draws,
            "level": level,
            "seed": seed,
        },
    )
    return with_object_text(computed)


def _compared(data: xr.Dataset, side: str, index: pd.Index[Any]) -> Compared:
    """Comparisons with a similarity, and the rows of the qualities of their samples.

    Raises
    ------
    ParameterError
        If a kind of pairs is missing, or no sample has a quality.
    """
    similarity = data["similarity"].to_numpy().astype(float)
    kept = np.isfinite(similarity)
    genuine = data["genuine"].to_numpy().astype(bool)[kept]
    for kind, n in (("genuine", int(genuine.sum())), ("impostor", int((~genuine).sum()))):
        if n == 0:
            raise ParameterError(
                f"result: there are no {kind} pairs with a similarity ({int((~kept).sum()):,} of "
                f"{len(kept):,} are NaN); both kinds are required"
            )
    place = {str(face): row for row, face in enumerate(index)}
    if len(place) < len(index):
        raise ParameterError("quality: a face has two rows; expected one row per face")
    faces = np.full((2, int(kept.sum())), -1, np.int64)
    n_known = len(index)
    for row, end in enumerate(("probe", "reference")):
        if side not in ("both", end):
            continue
        for i, face in enumerate(data[end].to_numpy().astype(str)[kept]):
            faces[row, i] = place.setdefault(face, len(place))
    if not (faces[faces >= 0] < n_known).any():
        raise ParameterError("quality: no face of the pairs has a row; index it by face name")
    subject = subject_codes(data)[0][kept]
    return Compared(similarity[kept], genuine, faces, subject)


def _ranks(quality: pd.Series[Any], samples: npt.NDArray[np.int64], name: str) -> Floats:
    """Share of the samples of lower quality, of each sample ``(row,)``; equal ones by position.

    Raises
    ------
    ParameterError
        If the quality is constant.
    """
    values = np.full(int(samples.max()) + 1, np.nan)
    known = min(len(quality), len(values))
    values[:known] = quality.to_numpy(float, na_value=np.nan)[:known]
    own = values[samples]
    finite = own[np.isfinite(own)]
    if len(finite) == 0 or np.ptp(finite) == 0:
        what = "NaN" if len(finite) == 0 else f"{finite[0]:g}"
        raise ParameterError(
            f"quality[{name!r}] is {what} for all {len(own):,} samples; a constant quality orders "
            f"nothing"
        )
    order = np.argsort(np.where(np.isfinite(own), own, -np.inf), kind="stable")
    ranks = np.ones(len(values))
    ranks[samples[order]] = np.arange(len(own)) / len(own)
    return ranks


def _rates(
    compared: Compared,
    ranks: Floats,
    threshold: float,
    fmr: float,
    draws: npt.NDArray[np.int64],
) -> Floats:
    """False non-match rates of the genuine comparisons that remain ``(protocol, 1 + draw, step)``.

    NaN where no genuine comparison remains, or the threshold is not resolved.
    """
    both = np.where(compared.faces >= 0, ranks[compared.faces], 1.0)
    lowest = both.min(axis=0)  # a comparison remains as long as both of its samples do
    own = compared.genuine
    weights = np.concatenate([np.ones((1, draws.shape[1])), draws.astype(float)])
    rates = np.full((len(PROTOCOLS), len(weights), len(_STEPS)), np.nan)
    n_subjects = draws.shape[1]
    for k, share in enumerate(_STEPS):
        remains = lowest >= share - 1e-12
        scores, subject = compared.similarity[own & remains], compared.subject[own & remains]
        renewed = threshold_at_fmr(compared.similarity[~own & remains], fmr)
        total = weights @ np.bincount(subject, minlength=n_subjects)
        for p, edge in enumerate((threshold, renewed)):
            if math.isfinite(edge):
                wrong = np.bincount(subject, weights=scores < edge, minlength=n_subjects)
                with np.errstate(invalid="ignore", divide="ignore"):
                    rates[p, :, k] = (weights @ wrong) / total
    return rates


def _summaries(
    rates: Floats, names: list[str], chosen: str, n_errors: int, n_people: int, level: float
) -> dict[str, Any]:
    """Characteristics, areas, differences of areas and verdicts, as variables of a dataset."""
    values = with_interval(rates[:, :, 0], np.moveaxis(rates[:, :, 1:], 2, 0), level)
    for place in np.ndindex(values.shape[:-1]):
        if values[(*place, 0)] == 0:
            values[(*place, slice(1, 3))] = rate_bounds(
                *(0.0, 0.0), error_size=1 / n_people, n_people=n_people, level=level
            )
    areas = np.stack([_area(rates, end) for end in UP_TO], axis=2)  # (measure, protocol, end, draw)
    change = areas[[names.index(chosen)]] - areas
    difference = with_interval(change[..., 0], np.moveaxis(change[..., 1:], -1, 0), level)
    difference[names.index(chosen)] = np.nan
    verdicts = np.full(difference.shape[:-1], "", object)
    for place in np.ndindex(verdicts.shape):
        if np.isfinite(difference[place]).all():
            bounds = difference[place][1:]
            verdicts[place] = verdict_of(*bounds, n_errors=n_errors, n_people=n_people)
    axes = ("measure", "protocol")
    rate = {"long_name": "false non-match rate", "units": "1"}
    mean = {"long_name": "mean false non-match rate", "units": "1"}
    return {
        "false_non_match_rate": ((*axes, "discarded", "estimate"), values, rate),
        "area": (
            (*axes, "up_to", "estimate"),
            with_interval(areas[..., 0], np.moveaxis(areas[..., 1:], -1, 0), level),
            mean,
        ),
        "area_difference": (
            (*axes, "up_to", "estimate"),
            difference,
            {"long_name": "difference in mean false non-match rate", "units": "1"},
        ),
        "verdict": ((*axes, "up_to"), verdicts),
    }


def _area(rates: Floats, end: float) -> Floats:
    """Mean rate over the discarded shares up to `end`, by the trapezoidal rule."""
    steps = end + 1e-9 >= _STEPS
    return np.asarray(np.trapezoid(rates[..., steps], _STEPS[steps], axis=-1) / end)


def discard_table(data: xr.Dataset, *, protocol: str = "fixed", up_to: float = 0.2) -> pd.DataFrame:
    """Tabulate the areas below the characteristics, intervals in brackets.

    Parameters
    ----------
    data
        From :func:`error_discard` or :func:`freqlab.improve.search_discard`.
    protocol
        One of :data:`PROTOCOLS`.
    up_to
        One of :data:`UP_TO`.

    Returns
    -------
    pandas.DataFrame
        A row per measure: FNMR (for searches FNIR, or the error rate at rank 1) with a fifth of the
        samples discarded, its mean over the discarded shares, the difference of the chosen measure
        from it in percentage points, and the verdict.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such protocol or share.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> (part,) = fl.improve.parts_of(study)
    >>> fl.improve.discard_table(part.discard).columns.tolist()
    ['FNMR at 20 % discarded', 'mean FNMR up to 20 %', 'stability less this, points', 'verdict on
    stability']
    """
    check_name("protocol", protocol, names_of(data, "protocol"))
    if up_to not in data["up_to"].to_numpy():
        raise ParameterError(f"up_to={up_to!r} must be one of {list(UP_TO)}")
    rate, error = "false_non_match_rate", "FNMR"
    if rate not in data:
        rate = "false_negative_identification_rate"
        error = "error at rank 1" if data.attrs["fpir"] == 1 else "FNIR"
    rows = {}
    for name in names_of(data, "measure"):
        one = data.sel(measure=name, protocol=protocol)
        area, change = (one[v].sel(up_to=up_to) for v in ("area", "area_difference"))
        is_chosen = name == data.attrs["measure"]
        verdict = str(one["verdict"].sel(up_to=up_to).item())
        rows[name] = {
            f"{error} at 20 % discarded": percent(one[rate].sel(discarded=0.2, method="nearest")),
            f"mean {error} up to {100 * up_to:.0f} %": percent(area),
            f"{data.attrs['measure']} less this, points": (
                "" if is_chosen else signed(100 * change, 2)
            ),
            f"verdict on {data.attrs['measure']}": "" if is_chosen else verdict,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")

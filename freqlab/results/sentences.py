"""Plain sentences about pairs, profiles and performance, computed from their numbers."""

from __future__ import annotations

import numpy as np
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import FreqlabError, ParameterError, check_name
from freqlab.literals import Comparison, Side
from freqlab.results.selection import (
    at_fmr,
    bands_of,
    crop_geometry,
    flips_decision,
    fmr_text,
    frequency_unit,
    select_pair,
    select_part,
    threshold_of,
)
from freqlab.statistics.error_rates import check_fmr, comparisons_needed
from freqlab.statistics.resampling import ESTIMATES
from freqlab.text.wording import NBSP, join, percent, with_bounds

__all__ = [
    "band_text",
    "describe_intervals",
    "describe_pair",
    "describe_profile",
    "describe_verification",
    "probability_text",
    "unbroken",
    "verification_sentences",
]


_HIGH = 0.75  # bands above this share of the axis Nyquist frequency are high

_FROM = {
    "probe": "from the probe",
    "reference": "from the reference",
    "both": "from both images",
}


def describe_pair(
    result: xr.Dataset,
    *,
    pair: int,
    model: str,
    side: Side = "probe",
    fmr: float = 1e-3,
    calibration: xr.Dataset | None = None,
) -> str:
    """Describe the decision on a pair, and the bands on which it depends.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    pair
        Label of the pair.
    model
        Name of the model.
    side
        Image from which the bands are removed.
    fmr
        False match rate of the threshold; one of those in the result.
    calibration
        From :func:`freqlab.improve.calibrate` with the same model: the probability that the pair is
        genuine is stated too, with its prior. Of several calibrations, ``"influence"`` is taken;
        ``calibrated.sel(calibration="platt")`` chooses another.

    Returns
    -------
    str
        Such as "A match at FMR 1e-3 (similarity 0.41, threshold 0.30); it becomes a non-match if
        the band 8 to 12 cycles/image is removed from the probe." If a band that it names is high
        and the crop was continued periodically, a sentence states that its influence can come from
        the border of the crop.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such pair, model, side or false match rate, or the calibration is of
        another model or other pairs.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(fl.testing.faces(8, 3))
    >>> print(fl.results.describe_pair(result, pair=0, model="linear", fmr=0.1))
    A match at FMR 1e-1 (similarity 0.97, threshold 0.93); removing a single band from the probe
    does not change this: the strongest is the band 0 to 28 cycles/image, whose removal from the
    probe lowers the similarity by 0.01.
    """
    text = _decision_text(result, pair=pair, model=model, side=side, fmr=fmr)
    if calibration is None:
        return text
    return f"{text} {probability_text(_fitting(calibration, result, pair, model), pair=pair)}"


def _decision_text(result: xr.Dataset, *, pair: int, model: str, side: Side, fmr: float) -> str:
    """Decision on a pair, and the bands on which it depends."""
    data = select_pair(result, pair=pair, model=model, side=side)
    threshold = threshold_of(result, model=model, fmr=fmr)
    similarity = float(data["similarity"])
    influence = data["influence"].to_numpy()
    if not np.isfinite(similarity):
        return "Not compared: one of the two faces could not be read or detected."
    if not np.isfinite(influence).any():
        return f"Similarity {similarity:.2f}; no band could be removed {_FROM[side]}."
    strongest = int(np.nanargmax(np.abs(influence)))
    effect = (
        f"the strongest is {band_text(result, strongest)}, whose removal {_FROM[side]} "
        f"{'lowers' if influence[strongest] > 0 else 'raises'} the similarity by "
        f"{abs(influence[strongest]):.2f}"
    )
    if not np.isfinite(threshold):
        why = _unresolved(result, data, fmr)
        border = _border_note(result, model, [strongest])
        return f"Similarity {similarity:.2f}; {why}. Of the bands, {effect}.{border}"
    match = similarity >= threshold
    kind = "match" if match else "non-match"
    verdict = f"A {kind}" if bool(data["genuine"]) == match else f"A false {kind}"
    digits = 4 if f"{similarity:.2f}" == f"{threshold:.2f}" else 2
    start = (
        f"{verdict} at FMR {fmr_text(fmr)} "
        f"(similarity {similarity:.{digits}f}, threshold {threshold:.{digits}f})"
    )
    flips = np.flatnonzero(flips_decision(similarity, influence, threshold))
    if len(flips) == 0:
        border = _border_note(result, model, [strongest])
        return (
            f"{start}; removing a single band {_FROM[side]} does not change this: {effect}.{border}"
        )
    strength = np.abs(influence[flips])
    flips = flips[np.argsort(-strength)]
    bands = join([band_text(result, int(i)) for i in flips[:3]], "or")
    n_more = len(flips) - 3
    more = f" (and {n_more} more band{'s' if n_more > 1 else ''})" if n_more > 0 else ""
    any_one = "any one of " if len(flips) > 1 else ""
    outcome = "a non-match" if match else "a match"
    border = _border_note(result, model, flips[:3].tolist())
    return (
        f"{start}; it becomes {outcome} if {any_one}{bands}{more} is removed {_FROM[side]}.{border}"
    )


def _border_note(result: xr.Dataset, model: str, named: list[int]) -> str:
    """State that influence of high bands can come from the border of a periodic crop."""
    bands = bands_of(result)
    if not bands.radial or bands.extension != "periodic":
        return ""
    try:
        (_, width), eye_distance = crop_geometry(result, model)
    except FreqlabError:  # the result does not describe the model, so what is high is not known
        return ""
    highest = bands.in_unit(width / 2, width, eye_distance)
    high = [band for band in named if bands.bounds[band, 0] >= _HIGH * highest]
    if not high:
        return ""
    which = "that band" if len(named) == 1 else "the highest of these bands"
    return (
        f" Much of the influence of {which} can come from the border of the crop, which "
        f'extension="mirror" continues without a step.'
    )


def _fitting(calibration: xr.Dataset, result: xr.Dataset, pair: int, model: str) -> xr.Dataset:
    """One calibration, checked to be of the model and the pairs of a result.

    Raises
    ------
    ParameterError
        If it is not.
    """
    if not isinstance(calibration, xr.Dataset) or "log_likelihood_ratio" not in calibration:
        raise ParameterError(
            f"calibration of type {type(calibration).__name__} has no log-likelihood ratios; "
            f"fl.improve.calibrate computes them"
        )
    if "calibration" in calibration.dims:
        name = check_name("calibration", "influence", names_of(calibration, "calibration"))
        calibration = calibration.sel(calibration=name)
    of_model = str(calibration.attrs.get("model", model))
    if of_model != model:
        raise ParameterError(f"calibration is of model {of_model!r}, not of model={model!r}")
    if pair in calibration["pair"].to_numpy():
        for end in ("probe", "reference"):
            own, given = (str(one.sel(pair=pair)[end].item()) for one in (result, calibration))
            if own != given:
                raise ParameterError(
                    f"calibration: the {end} of pair {pair} is {given!r}, and in the result it is "
                    f"{own!r}; give the calibration of this result"
                )
    return calibration


def probability_text(calibration: xr.Dataset, *, pair: int) -> str:
    """State the probability that a pair is genuine at its prior, and to what it applies.

    Parameters
    ----------
    calibration
        One calibration of :func:`freqlab.improve.calibrate`.
    pair
        Label of the pair.

    Raises
    ------
    ParameterError
        If there is no such pair.
    """
    labels = calibration["pair"].to_numpy()
    if pair not in labels:
        raise ParameterError(
            f"pair={pair!r} is not among the {len(labels):,} pairs, {labels.min()} to "
            f"{labels.max()}"
        )
    one = calibration.sel(pair=pair)
    ratio = float(one["log_likelihood_ratio"])
    if not np.isfinite(ratio):
        return "No probability: one of the two faces has no embedding."
    probability = float(one["probability"])
    text = f"{probability:.3g}"
    if not 0.001 <= probability <= 0.999:
        text = "above 0.999" if probability > 0.5 else "below 0.001"
    return (
        f"The probability that both faces show one person is {text} at a prior of "
        f"{float(calibration.attrs['prior']):g} (natural log-likelihood ratio {ratio:+.2f}, fitted "
        f"on other people). It applies to comparisons like those of the fit; another prior gives "
        f"another probability."
    )


def describe_profile(
    profile: xr.Dataset, *, model: str, side: Side = "probe", comparison: Comparison = "genuine"
) -> str:
    """Describe the band with the strongest mean influence, and the share in the lowest bands.

    Parameters
    ----------
    profile
        From :func:`freqlab.results.mean_profile`.
    model, side, comparison
        Model, masked side and kind of pairs to select.

    Returns
    -------
    str
        Mean of the strongest band with its interval in brackets, and the lowest band edge below
        which at least three quarters of the summed absolute influence lie.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(fl.testing.faces(8, 3))
    >>> profile = fl.results.mean_profile(result, n_draws=50)
    >>> print(fl.results.describe_profile(profile, model="linear"))
    For genuine pairs, the band 28 to 56 cycles/image has the largest mean influence: removing it
    from the probe lowers the similarity by 0.016 [0.010, 0.024]. 77 % of the absolute influence is
    below 56 cycles/image.
    """
    check_name("comparison", comparison, ["genuine", "impostor"])
    data = select_part(profile, model=model, side=side).sel(comparison=comparison)
    directed = data["directed"].transpose("estimate", "band").to_numpy()
    if not np.isfinite(directed[0]).any():
        return f"There are no {comparison} pairs to average over."
    top = int(np.nanargmax(np.abs(directed[0])))
    change = data["directed"].isel(band=top)
    sign = -1 if float(change.sel(estimate="value")) < 0 else 1
    absolute = np.nan_to_num(data["absolute"].sel(estimate="value").to_numpy())
    bands = bands_of(profile)
    if not bands.radial:
        absolute = -np.sort(-absolute)
    share = np.cumsum(absolute) / absolute.sum()
    last = int(np.flatnonzero(share >= 0.75)[0])
    edge, unit = float(bands.bounds[last, 1]), frequency_unit(profile)
    where = f"below {edge:g}{NBSP}{unit}" if np.isfinite(edge) else "in all bands together"
    if not bands.radial:
        where = f"in {last + 1} of the {len(bands)} bands"
    band = unbroken(profile, band_text(profile, top))
    bounds = change.sel(estimate=["lower", "upper"]).to_numpy()
    if bounds[0] <= 0 <= bounds[1]:
        text = (
            f"For {comparison} pairs, the largest mean influence is compatible with zero: "
            f"{with_bounds(change, '+.3f')} for {band}, removed {_FROM[side]}."
        )
    else:
        text = (
            f"For {comparison} pairs, {band} has the largest mean influence: removing it "
            f"{_FROM[side]} {'raises' if sign < 0 else 'lowers'} the similarity by "
            f"{_size(change, sign)}."
        )
    return f"{text} {100 * share[last]:.0f}{NBSP}% of the absolute influence is {where}."


def _size(change: xr.DataArray, sign: int) -> str:
    """Size of a mean change of known sign, with its interval."""
    value, lower, upper = (sign * float(change.sel(estimate=e)) for e in ESTIMATES)
    bounds = np.sort([lower, upper])
    sizes = xr.DataArray([value, *bounds], dims="estimate", coords={"estimate": list(ESTIMATES)})
    return with_bounds(sizes, ".3f")


def describe_intervals(data: xr.Dataset) -> str:
    """State what the brackets in sentences about profiles or error rates mean."""
    return f"Brackets hold {100 * float(data.attrs['level']):g}{NBSP}% intervals over people."


def unbroken(result: xr.Dataset, text: str) -> str:
    """Text about a result with no-break spaces before the unit of its frequencies."""
    unit = frequency_unit(result)
    return text.replace(f" {unit}", f"{NBSP}{unit}")


def band_text(result: xr.Dataset, band: int) -> str:
    """A band in words, with its unit: "the band 8 to 12 cycles/image"."""
    return bands_of(result).text(band)


def _unresolved(result: xr.Dataset, data: xr.Dataset, fmr: float) -> str:
    """Reason why there is no decision, and the rates at which there is one."""
    n, needed = int(data["impostor_comparisons"]), comparisons_needed(fmr)
    text = (
        f"no decision, because FMR {fmr_text(fmr)} requires {needed:,} impostor comparisons and "
        f"there are {n:,}"
    )
    resolved = result["fmr"].to_numpy()[np.isfinite(data["threshold"].to_numpy())]
    if len(resolved):
        text += f" (enough for {' and '.join(f'FMR {fmr_text(rate)}' for rate in resolved)})"
    return text


def describe_verification(result: xr.Dataset, *, model: str, fmr: float = 1e-3) -> str:
    """Describe the verification performance of a model with intervals, and unresolved rates.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`.
    model
        Name of the model.
    fmr
        Nominal false match rate of the decision threshold.

    Returns
    -------
    str
        Such as "The equal error rate is 0.11 % [0.00, 1.00] over 79,800 comparisons, 1,800 of them
        genuine; its false non-matches are of 2 people. ..."

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such model or rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.verification()
    >>> print(fl.results.describe_verification(result, model="linear", fmr=0.1))
    The equal error rate is 0.00 % [0.00, 20.05] over 276 comparisons, 24 of them genuine; its false
    non-matches are of no person. At the threshold 0.935, set at FMR 1e-1 on 252 impostor
    comparisons, the model rejects 0.00 % [0.00, 20.05] of the genuine comparisons, of no person.
    """
    return " ".join(verification_sentences(result, model=model, fmr=fmr))


def verification_sentences(result: xr.Dataset, *, model: str, fmr: float = 1e-3) -> list[str]:
    """Sentences of :func:`describe_verification`, on one figure each."""
    check_name("model", model, names_of(result, "model"))
    check_fmr(fmr)
    data = result.sel(model=model, group="all")
    genuine, impostor = int(data["n_genuine"]), int(data["n_impostor"])
    sentences = [
        f"The equal error rate is {_rate(data['eer'])} over {genuine + impostor:,} comparisons, "
        f"{genuine:,} of them genuine; its false non-matches are of "
        f"{_people(int(data['eer_people']))}."
    ]
    at = at_fmr(data, fmr)
    if np.isfinite(float(at["threshold"])):
        sentences.append(
            f"At the threshold {float(at['threshold']):.3f}, set at FMR {fmr_text(fmr)} on "
            f"{int(data['impostor_comparisons']):,} impostor comparisons, the model rejects "
            f"{_rate(at['false_non_match_rate'])} of the genuine comparisons, of "
            f"{_people(int(at['false_non_match_people']))}."
        )
    else:
        sentences.append(f"At FMR {fmr_text(fmr)} there is {at['note'].item()}.")
    if "accuracy" in data:
        sentences.append(
            f"The mean accuracy over {data.sizes['fold']} folds is {_rate(data['accuracy'])}, "
            f"with a standard error of {100 * float(data['accuracy_standard_error']):.2f}{NBSP}%."
        )
    failure = data["failure_to_acquire"]
    if float(failure.sel(estimate="value")) > 0:
        sentences.append(f"No embedding could be computed for {_rate(failure)} of the faces.")
    return sentences


def _people(n: int) -> str:
    """Number of people who err as text."""
    return "1 person" if n == 1 else f"{n:,} people" if n else "no person"


def _rate(values: xr.DataArray) -> str:
    return percent(values, 2) or "not available"

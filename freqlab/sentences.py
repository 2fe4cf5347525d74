"""One plain sentence about a pair, computed from its numbers."""

from __future__ import annotations

import numpy as np
import xarray as xr

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.verification import comparisons_needed

__all__ = [
    "band_text",
    "describe_pair",
    "describe_profile",
    "fmr_text",
    "frequency_unit",
    "select_pair",
    "select_part",
    "threshold_of",
]

_MASKED = {
    "probe": "from the probe",
    "reference": "from the reference",
    "both": "from both images",
}


def describe_pair(
    result: xr.Dataset, *, pair: int, model: str, side: str = "probe", fmr: float = 1e-3
) -> str:
    """Say what the model decided, and which bands the decision hangs on.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    pair
        Label of the pair.
    model
        Name of the model.
    side
        Which image the bands are taken from.
    fmr
        False match rate of the threshold; one of those in the result.

    Returns
    -------
    str
        Such as "A match at FMR 1e-3 (similarity 0.41, threshold 0.30); without the band 8 to 12
        cycles/image it would not be."

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such pair, model, side or false match rate.
    """
    data = select_pair(result, pair=pair, model=model, side=side)
    threshold = threshold_of(result, model=model, fmr=fmr)
    similarity = float(data["similarity"])
    influence = data["influence"].to_numpy()
    if not np.isfinite(similarity):
        return "Not compared: one of the two faces could not be read or found."
    strongest = int(np.nanargmax(np.abs(influence)))
    effect = (
        f"the strongest is {band_text(result, strongest)}, whose removal {_MASKED[side]} "
        f"{'lowers' if influence[strongest] > 0 else 'raises'} the similarity by "
        f"{abs(influence[strongest]):.2f}"
    )
    if not np.isfinite(threshold):
        n, needed = int(data["impostor_comparisons"]), comparisons_needed(fmr)
        return (
            f"Similarity {similarity:.2f}; no decision, for FMR {fmr_text(fmr)} takes {needed:,} "
            f"impostor comparisons and there are {n:,}. Of the bands, {effect}."
        )
    match = similarity >= threshold
    verdict = "A match" if match else "No match"
    if bool(data["genuine"]) != match:
        verdict += ", wrongly," if match else ", though it is one person,"
    start = (
        f"{verdict} at FMR {fmr_text(fmr)} (similarity {similarity:.2f}, threshold {threshold:.2f})"
    )
    crosses = ((similarity - influence) >= threshold) != match
    flips = np.flatnonzero(crosses & np.isfinite(influence))
    if len(flips) == 0:
        return f"{start}; no single band taken {_MASKED[side]} changes that: {effect}."
    strength = np.abs(influence[flips])
    flips = flips[np.argsort(-strength)]
    bands = _join([band_text(result, int(i)) for i in flips[:3]])
    more = f" (and {len(flips) - 3} more bands)" if len(flips) > 3 else ""
    any_one = "any one of " if len(flips) > 1 else ""
    outcome = "it would not be" if match else "it would be one"
    return f"{start}; without {any_one}{bands}{more}, taken {_MASKED[side]}, {outcome}."


def describe_profile(
    profile: xr.Dataset, *, model: str, side: str = "probe", comparison: str = "genuine"
) -> str:
    """Say which bands matter most on average, and how much lies in the lowest ones.

    Parameters
    ----------
    profile
        From :func:`freqlab.mean_profile`.
    model, side, comparison
        Which part of it.

    Returns
    -------
    str
        With the mean of the strongest band, its interval, and the lowest frequency below which
        at least three quarters of the summed absolute influence lie.
    """
    check_name("comparison", comparison, ["genuine", "impostor"])
    data = select_part(profile, model=model, side=side).sel(comparison=comparison)
    directed = data["directed"].transpose("estimate", "band").to_numpy()
    if not np.isfinite(directed[0]).any():
        return f"There is no {comparison} pair to average over."
    top = int(np.nanargmax(np.abs(directed[0])))
    mean, lower, upper = directed[:, top]
    absolute = np.nan_to_num(data["absolute"].sel(estimate="mean").to_numpy())
    share = np.cumsum(absolute) / absolute.sum()
    last = int(np.flatnonzero(share >= 0.75)[0])
    edge, unit = float(profile["band_bounds"].to_numpy()[last, 1]), frequency_unit(profile)
    level = f"{100 * float(profile.attrs['level']):g} %"
    where = f"below {edge:g} {unit}" if np.isfinite(edge) else "in all bands together"
    return (
        f"Over {comparison} pairs, taking out {band_text(profile, top)} {_MASKED[side]} changes "
        f"the similarity most: {-mean:+.3f} on average ({level} interval {-upper:+.3f} to "
        f"{-lower:+.3f}). {100 * share[last]:.0f} % of the summed absolute influence lies {where}."
    )


def frequency_unit(data: xr.Dataset) -> str:
    """Unit of the frequencies of a result or profile."""
    return str(data["frequency"].attrs["units"])


def select_pair(result: xr.Dataset, *, pair: int, model: str, side: str) -> xr.Dataset:
    """The part of a result that belongs to one pair, model and side.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has none.
    """
    data = select_part(result, model=model, side=side)
    labels = result["pair"].to_numpy()
    if pair not in labels:
        raise ParameterError(
            f"pair={pair!r} is not in the result, which has {len(labels)} pairs "
            f"labelled {labels.min()} to {labels.max()}"
        )
    return data.sel(pair=pair)


def select_part(result: xr.Dataset, *, model: str, side: str) -> xr.Dataset:
    """The part of a result or profile that belongs to one model and side.

    Raises
    ------
    UnknownNameError
        If it has none.
    """
    check_name("model", model, [str(name) for name in result["model"].to_numpy()])
    check_name("side", side, [str(name) for name in result["side"].to_numpy()])
    return result.sel(model=model, side=side)


def threshold_of(result: xr.Dataset, *, model: str, fmr: float) -> float:
    """The decision threshold of a model at one of the false match rates of a result.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    model
        Name of the model.
    fmr
        False match rate.

    Returns
    -------
    float
        Cosine similarity from which on a comparison is a match; NaN where the face set has too
        few impostor comparisons to resolve the rate.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such model or rate.
    """
    check_name("model", model, [str(name) for name in result["model"].to_numpy()])
    rates = result["fmr"].to_numpy()
    check_number("fmr", fmr, above=0)
    at = np.flatnonzero(np.isclose(rates, fmr, rtol=1e-6))
    if len(at) == 0:
        allowed = ", ".join(fmr_text(rate) for rate in rates)
        raise ParameterError(f"fmr={fmr!r} has no threshold in the result; allowed: {allowed}")
    return float(result["threshold"].sel(model=model).to_numpy()[at[0]])


def band_text(result: xr.Dataset, band: int) -> str:
    """A band in words, with its unit: "the band 8 to 12 cycles/image"."""
    lower, upper = result["band_bounds"].to_numpy()[band]
    unit = frequency_unit(result)
    if np.isinf(upper):
        return f"everything beyond {lower:g} {unit}"
    return f"the band {lower:g} to {upper:g} {unit}"


def fmr_text(rate: float) -> str:
    """A false match rate as the field writes it: 1e-3."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _join(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"

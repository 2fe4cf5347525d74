"""Findings of an influence result: the frequencies on which decisions depend."""

from __future__ import annotations

import numpy as np
import xarray as xr

from freqlab.literals import Side
from freqlab.results.selection import (
    flips_decision,
    fmr_text,
    select_part,
    threshold_of,
)
from freqlab.results.sentences import (
    band_text,
    describe_intervals,
    describe_profile,
    unbroken,
)
from freqlab.statistics.resampling import FEWEST_PEOPLE
from freqlab.text.wording import NBSP, with_bounds

__all__ = ["summary"]


def summary(
    result: xr.Dataset,
    profile: xr.Dataset,
    *,
    model: str,
    side: Side = "probe",
    fmr: float = 1e-3,
) -> list[str]:
    """Summarise what an influence result shows, with numbers and intervals.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    profile
        Its means, from :func:`freqlab.results.mean_profile`.
    model, side
        Model and masked side.
    fmr
        False match rate of the decision threshold; one of those in the result.

    Returns
    -------
    list of str
        The bands with the largest influence on genuine and on impostor pairs, also per contrast
        removed, and the number of decisions that depend on a single band.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such model, side or false match rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(fl.testing.faces(8, 3))
    >>> profile = fl.results.mean_profile(result, n_draws=50)
    >>> print(fl.results.summary(result, profile, model="linear", fmr=0.1)[0])
    These pairs show 8 people. Means over fewer than 20 people describe these ...
    """
    people = _people(result)
    sentences = []
    if people < FEWEST_PEOPLE:
        sentences.append(
            f"These pairs show {people} people. Means over fewer than {FEWEST_PEOPLE} people "
            f"describe these people only."
        )
    genuine, impostor = (
        describe_profile(profile, model=model, side=side, comparison=comparison)
        for comparison in ("genuine", "impostor")
    )
    sentences += [f"{genuine} {describe_intervals(profile)}", impostor]
    sentences.append(_per_contrast(profile, model=model, side=side))
    sentences.append(_dependent(result, model=model, side=side, fmr=fmr))
    return [sentence for sentence in sentences if sentence]


def _per_contrast(profile: xr.Dataset, *, model: str, side: str) -> str:
    """The band of the largest influence on genuine pairs per grey level of contrast removed."""
    if "per_contrast" not in profile:
        return ""
    data = select_part(profile, model=model, side=side)["per_contrast"].sel(comparison="genuine")
    values = data.sel(estimate="value").to_numpy()
    if not np.isfinite(values).any():
        return ""
    top = int(np.nanargmax(np.abs(values)))
    return (
        f"Bands differ in contrast. Per grey level of contrast removed, "
        f"{unbroken(profile, band_text(profile, top))} has the largest mean influence on genuine "
        f"pairs: {with_bounds(data.isel(band=top), '+.4f')}."
    )


def _dependent(result: xr.Dataset, *, model: str, side: str, fmr: float) -> str:
    """The number of decisions that change when a single band is removed."""
    threshold = threshold_of(result, model=model, fmr=fmr)
    data = select_part(result, model=model, side=side)
    similarity = data["similarity"].to_numpy()
    known = np.isfinite(similarity)
    if not np.isfinite(threshold) or not known.any():
        return ""
    influence = data["influence"].transpose("pair", "band").to_numpy()
    changes = np.any(flips_decision(similarity, influence, threshold), axis=1)
    parts = []
    for name, wanted in (("genuine", True), ("impostor", False)):
        chosen = known & (result["genuine"].to_numpy() == wanted)
        if chosen.any():
            parts.append(f"{int(changes[chosen].sum()):,} of {int(chosen.sum()):,} {name} pairs")
    return (
        f"Removing a single band changes the decision at FMR{NBSP}{fmr_text(fmr)} for "
        f"{' and '.join(parts)}."
    )


def _people(result: xr.Dataset) -> int:
    """Number of people in the pairs."""
    names = [result[f"{end}_subject"].to_numpy() for end in ("probe", "reference")]
    return len(set(np.concatenate(names).tolist()))

"""Cross-resolution verification: influence of bands, and how it changes with the resolution.

A high-resolution reference is compared with a low-resolution probe (the setting of Huber & Damer
2025; resolutions, kernels and all summaries are our choices). A band is removed from either side:
from the degraded probe, or from the reference, which is not degraded.

A low-pass filter to N pixels a side keeps frequencies up to N/2 cycles/image along each axis (the
axis line), and therefore up to sqrt(2) N/2 in radius (the diagonal line). Influence and energy
beyond these lines (leaks) are measured, not assumed to be zero.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.errors import ParameterError, check_name, check_number, check_side
from freqlab.images.degradation import FACE_WIDTH
from freqlab.results.quantities import comparisons_of, means_by, quantity, with_intervals
from freqlab.results.selection import (
    bands_of,
    crop_geometry,
    frequency_unit,
    radial_bands,
    with_axes,
)
from freqlab.statistics.resampling import check_draws

__all__ = ["leaks", "profiles"]

_LINES = ("axis", "diagonal")
_LOW = 0.25  # low bands lie below this share of the smallest crop's axis Nyquist frequency
_MIN_INFLUENCE = 1e-4  # bands with smaller influence are not tested for halving
_LOW_SHARES = ["low_share_of_pair", "low_share_of_pair_squared"]
_RESOLUTION = {"long_name": "resolution of the probe", "units": "pixels"}

Floats = npt.NDArray[np.float64]


def profiles(
    result: xr.Dataset,
    *,
    degradation: str | None = None,
    low: float | None = None,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the influence of bands at each probe resolution, and summaries of it.

    Intervals come from a bootstrap over subjects (as in :func:`freqlab.results.mean_profile`),
    with the same draws at every resolution, so that differences between resolutions are paired.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over pairs with a column ``resolution``, in pixels across
        the crop (or face), such as :func:`freqlab.faces.degraded_pairs` and
        :func:`freqlab.faces.pairs_by_resolution` make. A missing value marks an undegraded probe;
        without the column, no pair is degraded. Undegraded pairs without degraded counterparts
        are left out.
    degradation
        Kind of degraded pairs to use, if there are several; the first by default.
    low
        Bands that lie wholly below this frequency, in the bands' unit, are the low bands; by
        default a quarter of the Nyquist frequency of the smallest model's crop.
    n_draws, level, seed
        Bootstrap draws, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``resolution``, the highest first, ``comparison`` (genuine, impostor), ``model``,
        ``side`` and, unless stated otherwise, ``estimate`` (value, lower, upper):

        - ``directed``, ``absolute``, ``per_contrast``, ``energy`` (squared grey levels), along
          ``band``;
        - ``nyquist(model, resolution, line)``: Nyquist frequency of the resolution, in the bands'
          unit; no estimate;
        - ``leak_influence``, ``leak_energy``, along ``line``: share of the summed mean absolute
          influence, and of the non-DC energy of the masked side, in bands wholly beyond the line;
        - ``low_share``: share of the low bands in the summed mean absolute influence, and
          ``low_gain``, its difference from the highest resolution; ``low_influence`` and
          ``low_influence_gain``, the mean summed absolute influence of the low bands and its
          difference; ``low_effect``, the gain of a pair's share in standard deviations of pairs
          (Cohen's d);
        - ``halved``: lower edge of the first band with less than half its absolute influence at
          the highest resolution; NaN if there is no such band;
        - ``median_frequency``, below which half the summed mean absolute influence lies;
        - ``shift``: half the sum of absolute differences between the profile of shares and that
          at the highest resolution, 0 (same) to 1; ``rank_correlation`` of the directed profiles
          (Spearman, no estimate);
        - ``n_pairs(comparison, model, resolution)`` and ``n_subjects``.

    Raises
    ------
    ParameterError
        If an argument does not match the result.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> result = study["influence"].to_dataset()
    >>> profiles = fl.resolution.profiles(result, n_draws=50)
    >>> profiles["resolution"].to_numpy().tolist()
    [112.0, 28.0, 14.0]
    """
    check_draws(n_draws, level, seed)
    result = with_axes(result)
    levels, native, of_pair, kind = _levels(result, degradation)
    bands = radial_bands(result)
    geometry = [crop_geometry(result, str(name)) for name in result["model"].to_numpy()]
    nyquist = _nyquist(result, levels, native, geometry, kind)
    low = _low(low, result, geometry)
    low_bands = bands.bounds[:, 1] <= low * (1 + 1e-9)
    if not low_bands.any():
        first = float(bands.bounds[0, 1])
        raise ParameterError(f"low={low:g}: no band lies below it; allowed: {first:g} or more")
    means = means_by(
        result.assign(_low_shares(result, low_bands)),
        {
            "comparison": comparisons_of(result),
            "resolution": pd.Categorical.from_codes(of_pair, pd.Index(levels)),
        },
        quantities=("directed", "absolute", "per_contrast", "energy", *_LOW_SHARES),
        n_draws=n_draws,
        seed=seed,
    )
    means["resolution"].attrs = _RESOLUTION
    means = means.assign_coords(line=list(_LINES)).transpose(
        "draw", "comparison", "model", "side", "resolution", "band", ...
    )
    means.attrs |= {"degradation": kind, "low": low, "n_low_bands": int(low_bands.sum())}
    figures = means.drop_vars(_LOW_SHARES)
    for name, values in _summaries(means, nyquist, low_bands, bands.bounds).items():
        dims, attrs = _describe(name, figures)
        figures[name] = (("draw", *means["low_share_of_pair"].dims[1:], *dims), values, attrs)
    profiles = with_intervals(figures, level)
    profiles["rank_correlation"] = _rank_correlation(profiles["directed"])
    profiles["nyquist"] = (
        ("model", "resolution", "line"),
        nyquist,
        {"long_name": "Nyquist frequency of the resolution", "units": frequency_unit(result)},
    )
    return with_object_text(profiles)


def leaks(
    result: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Measure influence and energy beyond the probe's Nyquist frequency, by kind of degradation.

    Parameters
    ----------
    result
        As for :func:`profiles`, with one or more kinds of degradation.
    n_draws, level, seed
        As for :func:`profiles`.

    Returns
    -------
    xarray.Dataset
        ``leak_influence`` and ``leak_energy`` of the probe's side, as in :func:`profiles`, also
        along ``degradation``; NaN at resolutions that a kind does not have, and at the native
        resolution.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> result = study["influence"].to_dataset()
    >>> leaks = fl.resolution.leaks(result, n_draws=50)
    >>> leaks["degradation"].to_numpy().tolist()
    ['area', 'bicubic', 'lanczos', 'fourier']
    """
    kinds = _kinds(result)
    if not kinds:
        raise ParameterError("the result has no degraded pairs, from which leaks are measured")
    parts = []
    for kind in kinds:
        of_kind = profiles(result, degradation=kind, n_draws=n_draws, level=level, seed=seed)
        check_side("probe", names_of(of_kind, "side"))
        parts.append(of_kind[["leak_influence", "leak_energy"]].sel(side="probe", drop=True))
    finest = max(float(part["resolution"].max()) for part in parts)
    leaks = xr.concat(parts, xr.Variable("degradation", kinds), join="outer")
    leaks = leaks.sortby("resolution", ascending=False)
    leaks = leaks.sel(resolution=leaks["resolution"] < finest)
    del leaks.attrs["degradation"]
    return with_object_text(leaks)


def _kinds(result: xr.Dataset) -> list[str]:
    """Kinds of degradation among the pairs, in order of appearance."""
    if "degradation" not in result.coords:
        return []
    kinds = dict.fromkeys(names_of(result, "degradation"))
    return [kind for kind in kinds if kind not in ("none", "")]


def _levels(
    result: xr.Dataset, degradation: str | None
) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.int64], str]:
    """Resolutions, the highest first, and which has undegraded probes.

    Also the level of each pair, -1 for none, and the kind of degradation.
    """
    kinds, n_pairs = _kinds(result), result.sizes["pair"]
    widths = [
        crop_geometry(result, str(name))[0][1] for name in np.atleast_1d(result["model"].to_numpy())
    ]
    native = float(max(widths))
    if degradation is not None:
        check_name("degradation", degradation, kinds or ["none"])
    kind = degradation or (kinds[0] if kinds else "none")
    if "resolution" not in result.coords:
        return np.array([native]), np.array([True]), np.zeros(n_pairs, np.int64), kind
    values = result["resolution"].to_numpy()
    if values.dtype.kind not in "fiu":
        raise ParameterError(
            f"the pairs' column 'resolution' must have numbers of pixels, not values of type "
            f"{values.dtype}"
        )
    values = values.astype(float)
    undegraded = np.isnan(values)
    if kinds:
        of_kind = result["degradation"].to_numpy().astype(str) == kind
        if "whole_pair" in result.coords:  # the same pairs at every resolution
            origin = result["whole_pair"].to_numpy()
            undegraded &= np.isin(origin, origin[of_kind])
        values = np.where(undegraded, native, np.where(of_kind, values, np.nan))
    elif undegraded.any():
        values = np.where(undegraded, native, values)
    levels = np.unique(values[np.isfinite(values)])[::-1]
    of_pair = np.full(n_pairs, -1)
    for i, resolution in enumerate(levels):
        of_pair[values == resolution] = i
    untouched = np.isin(np.arange(len(levels)), of_pair[undegraded])
    return levels, untouched, of_pair, kind


def _nyquist(
    result: xr.Dataset,
    levels: Floats,
    native: npt.NDArray[np.bool_],
    geometry: list[tuple[tuple[int, int], float | None]],
    kind: str,
) -> Floats:
    """Axis and diagonal lines in the bands' unit, ``(model, resolution, line)``."""
    bands = bands_of(result)
    lines = np.full((len(geometry), len(levels), 2), np.nan)
    for m, ((_, width), eye_distance) in enumerate(geometry):
        across = levels.copy()
        if "-face" in f"-{kind}":  # pixels across the face, not the crop
            per_face = math.nan if eye_distance is None else width / (FACE_WIDTH * eye_distance)
            across[~native] *= per_face
        across = np.minimum(across, width)
        axis = [bands.in_unit(pixels / 2, width, eye_distance) for pixels in across]
        lines[m] = np.stack([axis, np.sqrt(2) * np.array(axis)], axis=1)
    return lines


def _low(
    low: float | None, result: xr.Dataset, geometry: list[tuple[tuple[int, int], float | None]]
) -> float:
    if low is not None:
        check_number("low", low, above=0)
        return float(low)
    bands = bands_of(result)
    quarters = [bands.in_unit(_LOW * w / 2, w, eyes) for (_, w), eyes in geometry]
    return max(min(quarters), float(bands.bounds[0, 1]))


def _low_shares(
    result: xr.Dataset, low_bands: npt.NDArray[np.bool_]
) -> dict[str, tuple[tuple[str, ...], Floats]]:
    """Share of the low bands in a pair's summed absolute influence, and its square."""
    absolute = quantity(result, "absolute")
    total = _positive(np.nansum(absolute, axis=-1))
    share = np.nansum(absolute[..., low_bands], axis=-1) / total
    dims = ("pair", "model", "side")
    return {name: (dims, share**power) for power, name in enumerate(_LOW_SHARES, start=1)}


def _summaries(
    means: xr.Dataset, nyquist: Floats, low_bands: npt.NDArray[np.bool_], bounds: Floats
) -> dict[str, Floats]:
    """Compute every figure per draw, ``(draw, comparison, model, side, resolution, ...)``."""
    absolute = np.nan_to_num(means["absolute"].to_numpy())
    total = _positive(absolute.sum(axis=-1))
    shares = absolute / total[..., None]
    low_share = shares[..., low_bands].sum(axis=-1)
    low_influence = np.where(np.isfinite(total), absolute[..., low_bands].sum(axis=-1), np.nan)
    share_of_pairs, square = (means[name].to_numpy() for name in _LOW_SHARES)
    variance = np.maximum(square - share_of_pairs**2, 0)
    spread = np.sqrt((variance + variance[..., :1]) / 2)
    energy = np.nan_to_num(means["energy"].to_numpy())
    energy_shares = energy / _positive(energy.sum(axis=-1))[..., None]
    beyond = bounds[:, 0] >= nyquist[..., None] * (1 - 1e-9)
    known = np.isfinite(nyquist)[:, None]
    return {
        "leak_influence": _beyond(shares, beyond, known),
        "leak_energy": _beyond(energy_shares, beyond, known),
        "low_share": low_share,
        "low_gain": low_share - low_share[..., :1],
        "low_influence": low_influence,
        "low_influence_gain": low_influence - low_influence[..., :1],
        "low_effect": (share_of_pairs - share_of_pairs[..., :1]) / _positive(spread),
        "halved": _halved(means["absolute"].to_numpy(), bounds),
        "median_frequency": _median_frequency(shares, bounds),
        "shift": np.abs(shares - shares[..., :1, :]).sum(axis=-1) / 2,
    }


def _positive(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


def _beyond(shares: Floats, beyond: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> Floats:
    """Share beyond each line, ``(..., model, side, resolution, line)``."""
    leak = np.einsum("...msrb,mrlb->...msrl", shares, beyond.astype(float))
    return np.where(known, leak, np.nan)


def _halved(absolute: Floats, bounds: Floats) -> Floats:
    """Lower edge of the first band with less than half its influence; NaN if there is none."""
    base = absolute[..., :1, :]
    with np.errstate(invalid="ignore"):
        lost = (base > _MIN_INFLUENCE) & (absolute < base / 2)
    return np.where(lost.any(axis=-1), bounds[lost.argmax(axis=-1), 0], np.nan)


def _median_frequency(shares: Floats, bounds: Floats) -> Floats:
    """Frequency at which the cumulative share reaches one half, linear within the band."""
    upper = np.where(np.isinf(bounds[:, 1]), np.sqrt(2) * bounds[:, 0], bounds[:, 1])
    cumulative = np.cumsum(shares, axis=-1)
    place = np.argmax(cumulative >= 0.5, axis=-1)
    reached = np.take_along_axis(cumulative, place[..., None], -1)[..., 0]
    step = np.take_along_axis(shares, place[..., None], -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = 1 - (reached - 0.5) / step
    return bounds[place, 0] + inside * (upper[place] - bounds[place, 0])


def _rank_correlation(directed: xr.DataArray) -> xr.DataArray:
    """Spearman correlation of each mean directed profile with that at the highest resolution."""
    from scipy import stats

    values = directed.sel(estimate="value", drop=True)
    dims = [dim for dim in values.dims if dim != "band"]
    profiles = values.transpose(*dims, "band").to_numpy()
    at = dims.index("resolution")
    first = np.take(profiles, [0], axis=at)
    correlations = np.full(profiles.shape[:-1], np.nan)
    for place in np.ndindex(correlations.shape):
        base = first[tuple(0 if i == at else k for i, k in enumerate(place))]
        both = np.isfinite(profiles[place]) & np.isfinite(base)
        a, b = profiles[place][both], base[both]
        if both.sum() > 2 and np.ptp(a) > 0 and np.ptp(b) > 0:
            correlations[place] = stats.spearmanr(a, b).statistic
    attrs = {"long_name": "rank correlation with the profile at the highest resolution"}
    return xr.DataArray(correlations, dims=dims, attrs={**attrs, "units": "1"})


def _describe(name: str, profiles: xr.Dataset) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the dimensions of a summary after ``resolution``, and its attributes."""
    unit = frequency_unit(profiles)
    cosine, lowest = "cosine similarity", f"bands below {profiles.attrs['low']:g} {unit}"
    about: dict[str, tuple[str, str]] = {
        "leak_influence": ("share of absolute influence beyond the line", "1"),
        "leak_energy": ("share of non-DC energy beyond the line", "1"),
        "low_share": (f"share of absolute influence in {lowest}", "1"),
        "low_gain": (f"gain of the share in {lowest}", "1"),
        "low_influence": (f"summed absolute influence of {lowest}", cosine),
        "low_influence_gain": (f"gain of the absolute influence of {lowest}", cosine),
        "low_effect": ("gain of a pair's share over its standard deviation", "1"),
        "halved": ("first band with less than half its influence", unit),
        "median_frequency": ("median frequency of absolute influence", unit),
        "shift": ("share of absolute influence in other bands", "1"),
    }
    long_name, units = about[name]
    dims = ("line",) if name.startswith("leak") else ()
    return dims, {"long_name": long_name, "units": units}

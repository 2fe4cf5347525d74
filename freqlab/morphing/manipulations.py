"""Which bands does a manipulation touch? Pristine against manipulated, whatever the manipulation.

Written for labels, not for one set or attack: deepfakes, morphs, retouching, make-up filters.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.datasets.pair_tables import CONTROL
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.results.selection import frequency_unit, with_axes
from freqlab.statistics.resampling import (
    check_draws,
    draw_subjects,
    means_over_pairs,
    with_interval,
)
from freqlab.text.wording import signed

__all__ = ["manipulation", "manipulation_by_kind", "manipulation_table", "touched_bands_table"]

_ESTIMATES = ["value", "lower", "upper"]
_TINY = 1e-9

Floats = npt.NDArray[np.float64]


def manipulation(
    pristine: xr.Dataset,
    manipulated: xr.Dataset,
    *,
    side: str = "probe",
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Change of influence and of energy in each band from pristine to manipulated images.

    Intervals come from a bootstrap over subjects, the same in both (a pair of two subjects weighs
    the product of their counts; the contributors of a morph are its subjects).

    Parameters
    ----------
    pristine, manipulated
        From :func:`freqlab.influence`, or two selections of pairs of one result; the image in
        question on one side, an untouched photograph on the other.
    side
        The side of the image in question: ``"probe"`` or ``"reference"``.
    n_draws, level, seed
        Bootstrap draws, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``model``, ``band`` and ``estimate`` (value, lower, upper): ``directed`` and
        ``absolute``, change of the mean influence; ``energy``, change of the mean log10 energy of
        the band. For each of these ``..._effect``, the change in standard deviations of pristine
        pairs (which its interval takes as they are), and ``..._rank(model, band)``, 1 for the band
        with the largest effect. ``n_pairs(label)`` and ``n_subjects(label)``.

    Raises
    ------
    ParameterError
        If bands or models differ, a side is missing, or there is no pair.
    """
    check_draws(n_draws, level, seed)
    check_name("side", side, ["probe", "reference"])
    data = {"pristine": with_axes(pristine), "manipulated": with_axes(manipulated)}
    first = data["pristine"]
    for label, one in data.items():
        check_name("side", side, [str(name) for name in one["side"].to_numpy()])
        if one.sizes["pair"] == 0:
            raise ParameterError(f"{label} holds no pair")
        for axis in ("band", "model"):
            if not np.array_equal(one[axis], first[axis]):
                raise ParameterError(f"pristine and manipulated differ in their {axis}s")
    people = {label: _people(one) for label, one in data.items()}
    names = np.unique(np.concatenate([part.ravel() for part in people.values()]))
    draws = draw_subjects(len(names), n_draws, seed)
    shape = (first.sizes["model"], first.sizes["band"])
    found: dict[str, tuple[list[str], npt.NDArray[np.generic]]] = {}
    for quantity in ("directed", "absolute", "energy"):
        means, spread = {}, np.full(math.prod(shape), np.nan)
        for label, one in data.items():
            values = _values(one, side, quantity)
            codes = np.searchsorted(names, people[label])
            means[label] = means_over_pairs(values, codes, draws)
            if label == "pristine":
                spread = np.nanstd(values, axis=0)
        observed, drawn = (
            late - early
            for early, late in zip(means["pristine"], means["manipulated"], strict=True)
        )
        if len(names) < 2:  # one subject says nothing of others
            drawn = np.full_like(drawn, np.nan)
        change = with_interval(observed, drawn, level).reshape(*shape, 3)
        unit = np.where(spread > _TINY, spread, np.nan).reshape(*shape, 1)
        effect = change / unit
        order = np.argsort(-np.nan_to_num(np.abs(effect[..., 0])), axis=1, kind="stable")
        rank = np.argsort(order, axis=1) + 1
        found[quantity] = (["model", "band", "estimate"], change)
        found[f"{quantity}_effect"] = (["model", "band", "estimate"], effect)
        found[f"{quantity}_rank"] = (["model", "band"], rank)
    changes = xr.Dataset(
        found,
        coords={
            "estimate": _ESTIMATES,
            "label": list(data),
            **{n: first[n] for n in ("model", "band", "frequency", "band_bounds")},
        },
        attrs={
            **{key: first.attrs[key] for key in ("store", "identity") if key in first.attrs},
            **{"side": side, "n_draws": n_draws, "level": level, "seed": seed},
        },
    )
    cosine = "cosine similarity"
    for name, what, units in (
        ("directed", "change of mean directed influence", cosine),
        ("absolute", "change of mean absolute influence", cosine),
        ("energy", "change of mean log energy", "log10 of squared grey levels"),
    ):
        changes[name].attrs.update(long_name=what, units=units)
        changes[f"{name}_effect"].attrs.update(long_name=f"{what} over its spread", units="1")
    changes["n_pairs"] = ("label", [one.sizes["pair"] for one in data.values()])
    changes["n_subjects"] = ("label", [len(np.unique(part)) for part in people.values()])
    changes["frequency"].attrs["units"] = frequency_unit(first)
    return changes


def manipulation_by_kind(
    result: xr.Dataset,
    *,
    by: str,
    pristine: str,
    side: str = "probe",
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """What :func:`manipulation` gives, for every kind of pair against the pristine ones.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over :func:`freqlab.morphing.manipulation_pairs` or
        :func:`freqlab.morphing.make_pairs`.
    by
        Column of the pairs that tells the kinds: ``"method"``, ``"attack"``.
    pristine
        What the pristine ones are called in it: ``"pristine"``, ``"bona fide"``.
    side, n_draws, level, seed
        As for :func:`manipulation`.

    Returns
    -------
    xarray.Dataset
        As of :func:`manipulation`, along ``kind`` too: a control first, the others in the order
        of the pairs.

    Raises
    ------
    ParameterError
        If the pairs have no such column, or there is no kind but one.
    """
    if by not in result.coords or result[by].dims != ("pair",):
        raise ParameterError(f"by={by!r} is no column of the pairs")
    kind_of = result[by].to_numpy().astype(str)
    kinds = list(dict.fromkeys(kind_of))
    check_name("pristine", pristine, kinds)
    others = sorted((kind for kind in kinds if kind != pristine), key=lambda kind: kind != CONTROL)
    if not others:
        raise ParameterError(f"all pairs are of the kind {pristine!r}; nothing is manipulated")
    whole = result.isel(pair=np.flatnonzero(kind_of == pristine))
    options: dict[str, Any] = {"side": side, "n_draws": n_draws, "level": level, "seed": seed}
    parts = [
        manipulation(whole, result.isel(pair=np.flatnonzero(kind_of == kind)), **options)
        for kind in others
    ]
    axis = xr.Variable("kind", np.array(others, object), {"long_name": by})
    return xr.concat(parts, axis, coords="minimal", compat="equals", combine_attrs="override")


def touched_bands_table(changes: xr.Dataset, *, model: str, n_bands: int = 3) -> pd.DataFrame:
    """The bands that each kind of manipulation touches most.

    Parameters
    ----------
    changes
        From :func:`manipulation_by_kind`.
    model
        Which model.
    n_bands
        How many bands are named.

    Returns
    -------
    pandas.DataFrame
        Rows by kind, with its number of pairs, and place, 1 for the largest effect; for energy and
        for directed influence the band, its effect in standard deviations of pristine pairs, and
        the change itself with its interval.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model, or the number is out of range.
    """
    check_name("model", model, [str(name) for name in changes["model"].to_numpy()])
    check_number("n_bands", n_bands, at_least=1, whole=True)
    rows = {}
    for kind in changes["kind"].to_numpy():
        data = changes.sel(model=model, kind=kind)
        name = f"{kind} ({int(data['n_pairs'].sel(label='manipulated')):,} pairs)"
        for place in range(1, min(n_bands, data.sizes["band"]) + 1):
            row = {}
            for quantity, what in (("energy", "log energy"), ("directed", "influence")):
                rank = data[f"{quantity}_rank"].to_numpy()
                part = data.isel(band=int(np.flatnonzero(rank == place)[0]))
                effect = float(part[f"{quantity}_effect"].sel(estimate="value"))
                row[f"band, by {what}"] = f"{part['band'].item()} ({effect:+.1f}\u00a0sd)"
                row[f"change of {what}"] = signed(part[quantity], 3)
            rows[name, place] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["manipulation", "place"])
    return table


def manipulation_table(changes: xr.Dataset, *, model: str, by: str = "energy") -> pd.DataFrame:
    """Bands in the order in which a manipulation touches them, with intervals.

    Parameters
    ----------
    changes
        From :func:`manipulation`.
    model
        Which model.
    by
        What they are ranked by: ``"directed"``, ``"absolute"`` or ``"energy"``.

    Raises
    ------
    UnknownNameError
        If there is no such model or quantity.
    """
    check_name("model", model, [str(name) for name in changes["model"].to_numpy()])
    check_name("by", by, ["directed", "absolute", "energy"])
    data = changes.sel(model=model)
    rows = {}
    for place in np.argsort(data[f"{by}_rank"].to_numpy()):
        part = data.isel(band=int(place))
        row = {}
        for name, what in (("energy", "log energy"), ("directed", "directed influence")):
            row[what] = signed(part[name], 4)
            row[f"{what}: effect"] = signed(part[f"{name}_effect"], 2)
        rows[str(part["band"].item())] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("band")


def _people(data: xr.Dataset) -> npt.NDArray[np.str_]:
    """The two people whose draws a pair's weight comes from ``(2, pair)``.

    The contributors of its document where they are known, the subjects of its faces elsewhere.
    """
    columns = ["contributor_a", "contributor_b"]
    if not set(columns) <= set(data.coords):
        columns = ["probe_subject", "reference_subject"]
    return np.stack([data[column].to_numpy().astype(str) for column in columns])


def _values(data: xr.Dataset, side: str, quantity: str) -> Floats:
    """A quantity of each pair ``(pair, model * band)``."""
    dims = ("pair", "model", "band")
    part = data.sel(side=side)
    if quantity == "energy":
        removed = part["removed_rms"].transpose(*dims).to_numpy().astype(float)
        values = np.log10(np.square(removed) + _TINY)
    else:
        values = part["influence"].transpose(*dims).to_numpy().astype(float)
        values = np.abs(values) if quantity == "absolute" else values
    return values.reshape(len(values), -1)

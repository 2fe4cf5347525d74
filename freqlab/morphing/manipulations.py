"""Bands changed by a manipulation: manipulated images compared with pristine ones.

Only labels are needed, so this applies to any manipulation: deepfakes, morphs, retouching, filters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.datasets.pair_tables import CONTROL
from freqlab.errors import ParameterError, check_name, check_number, check_side
from freqlab.literals import Side
from freqlab.results.quantities import QUANTITIES, means_by, quantity, with_intervals
from freqlab.results.selection import part_of, with_axes
from freqlab.statistics.resampling import check_draws
from freqlab.text.wording import signed

__all__ = ["manipulation", "manipulation_by_kind", "manipulation_table", "touched_bands_table"]

_QUANTITIES = {
    "directed": ("directed", "change of mean directed influence"),
    "absolute": ("absolute", "change of mean absolute influence"),
    "energy": ("log_energy", "change of mean log energy"),
}
_PEOPLE = ("person_a", "person_b")
_LEAST_SPREAD = 1e-9  # smaller spreads of pristine pairs give no effect size


def manipulation(
    pristine: xr.Dataset,
    manipulated: xr.Dataset,
    *,
    side: Side = "probe",
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the change of influence and energy per band from pristine to manipulated images.

    Intervals come from a bootstrap over subjects, with the same draws for both kinds (a pair of
    two subjects is weighted by the product of their counts; the contributors of a morph are its
    subjects).

    Parameters
    ----------
    pristine, manipulated
        From :func:`freqlab.influence`, or two selections of pairs of one result. One side is the
        image under test, the other a pristine photograph.
    side
        Side of the image under test: ``"probe"`` or ``"reference"``.
    n_draws, level, seed
        Bootstrap draws, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``model``, ``band`` and ``estimate`` (value, lower, upper): ``directed`` and
        ``absolute``, change of the mean influence; ``energy``, change of the mean log10 energy of
        the band. For each of these ``..._effect``, the change in standard deviations of pristine
        pairs (held fixed in its interval), and ``..._rank(model, band)``, 1 for the band with the
        largest effect. ``n_pairs(label)`` and ``n_subjects(label)``.

    Raises
    ------
    ParameterError
        If bands or models differ, a side is missing, or there are no pairs.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> result = study["influence"].to_dataset()
    >>> attack = result["attack"].to_numpy()
    >>> bona_fide, morphs = (result.isel(pair=attack == kind) for kind in ("bona fide", "mean"))
    >>> changes = fl.morphing.manipulation(bona_fide, morphs, side="reference", n_draws=50)
    >>> changes["energy"].dims
    ('model', 'band', 'estimate')
    """
    check_draws(n_draws, level, seed)
    check_name("side", side, ["probe", "reference"])
    data = {
        "pristine": _part(pristine, "pristine", side),
        "manipulated": _part(manipulated, "manipulated", side),
    }
    whole = data["pristine"]
    for axis in ("band", "model"):
        if not np.array_equal(data["manipulated"][axis], whole[axis]):
            raise ParameterError(f"pristine and manipulated differ in their {axis}s")
    sizes = {label: part.sizes["pair"] for label, part in data.items()}
    means = means_by(
        xr.concat(data.values(), "pair", coords="minimal", compat="override", join="override"),
        {"label": pd.Categorical(np.repeat(list(sizes), list(sizes.values())), list(sizes))},
        quantities=[of for of, _ in _QUANTITIES.values()],
        people=_PEOPLE,
        n_draws=n_draws,
        seed=seed,
    )
    attrs = {**means.attrs, "side": side}
    means = means.drop_vars(["n_pairs", "n_subjects"]).rename(log_energy="energy")
    means = means.isel(side=0, drop=True)
    change = means.isel(label=1, drop=True) - means.isel(label=0, drop=True)
    changes = with_intervals(change.assign_attrs(attrs), level)
    for name, (of, what) in _QUANTITIES.items():
        spread = np.nanstd(quantity(whole, of)[:, :, 0], axis=0)[..., None]
        effect = changes[name] / np.where(spread > _LEAST_SPREAD, spread, np.nan)
        size = np.nan_to_num(np.abs(effect.sel(estimate="value").to_numpy()))
        order = np.argsort(-size, axis=1, kind="stable")
        changes[name].attrs = {"long_name": what, "units": QUANTITIES[of][1]}
        attrs = {"long_name": f"{what} over its spread", "units": "1"}
        changes[f"{name}_effect"] = effect.assign_attrs(attrs)
        changes[f"{name}_rank"] = (("model", "band"), np.argsort(order, axis=1) + 1)
    n_subjects = [len(np.unique([part[p].to_numpy() for p in _PEOPLE])) for part in data.values()]
    return changes.assign(
        n_pairs=("label", list(sizes.values())), n_subjects=("label", n_subjects)
    ).assign_coords(label=list(sizes))


def manipulation_by_kind(
    result: xr.Dataset,
    *,
    by: str,
    pristine: str,
    side: Side = "probe",
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute :func:`manipulation` for each kind of pair, compared with the pristine pairs.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` over :func:`freqlab.morphing.manipulation_pairs` or
        :func:`freqlab.morphing.make_pairs`.
    by
        Column of the pairs that holds the kind, such as ``"method"`` or ``"attack"``.
    pristine
        Value of the column for pristine pairs, such as ``"pristine"`` or ``"bona fide"``.
    side, n_draws, level, seed
        As for :func:`manipulation`.

    Returns
    -------
    xarray.Dataset
        As from :func:`manipulation`, also along ``kind``: a control first, the others in the
        order of the pairs.

    Raises
    ------
    ParameterError
        If the pairs have no such column, or only one kind.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces, model = fl.testing.morphed_faces(8, 3), fl.testing.model()
    >>> pairs = fl.morphing.make_pairs(faces)
    >>> result = fl.influence(faces, pairs, models=[model], bands="rings:28", progress=False)
    >>> changes = fl.morphing.manipulation_by_kind(
    ...     result, by="attack", pristine="bona fide", n_draws=20
    ... )
    >>> "kind" in changes.dims
    True
    """
    if by not in result.coords or result[by].dims != ("pair",):
        raise ParameterError(f"by={by!r} is not a column of the pairs")
    kind_of = result[by].to_numpy().astype(str)
    kinds = list(dict.fromkeys(kind_of))
    check_name("pristine", pristine, kinds)
    others = sorted((kind for kind in kinds if kind != pristine), key=lambda kind: kind != CONTROL)
    if not others:
        raise ParameterError(
            f"all pairs have the {by} {pristine!r}; there are no manipulated pairs"
        )
    whole = result.isel(pair=np.flatnonzero(kind_of == pristine))
    options: dict[str, Any] = {"side": side, "n_draws": n_draws, "level": level, "seed": seed}
    parts = [
        manipulation(whole, result.isel(pair=np.flatnonzero(kind_of == kind)), **options)
        for kind in others
    ]
    axis = xr.Variable("kind", np.array(others, object), {"long_name": by})
    return xr.concat(parts, axis, coords="minimal", compat="equals", combine_attrs="override")


def touched_bands_table(changes: xr.Dataset, *, model: str, n_bands: int = 3) -> pd.DataFrame:
    """Tabulate the bands that each kind of manipulation changes most.

    Parameters
    ----------
    changes
        From :func:`manipulation_by_kind`.
    model
        Name of the model.
    n_bands
        Number of bands to list.

    Returns
    -------
    pandas.DataFrame
        Rows by kind, with its number of pairs, and rank, 1 for the largest effect. For energy and
        directed influence: the band, its effect in standard deviations of pristine pairs, and the
        change with its interval.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model, or the number is out of range.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> changes = study["manipulation"].to_dataset()
    >>> fl.morphing.touched_bands_table(changes, model="linear").columns.tolist()
    ['band, by log energy', 'change of log energy', 'band, by influence', 'change of influence']
    """
    check_name("model", model, names_of(changes, "model"))
    check_number("n_bands", n_bands, at_least=1, whole=True)
    rows = {}
    for kind in changes["kind"].to_numpy():
        data = changes.sel(model=model, kind=kind)
        name = f"{kind} ({int(data['n_pairs'].sel(label='manipulated')):,} pairs)"
        for rank in range(1, min(n_bands, data.sizes["band"]) + 1):
            row = {}
            for by, what in (("energy", "log energy"), ("directed", "influence")):
                band = np.flatnonzero(data[f"{by}_rank"].to_numpy() == rank)[0]
                part = data.isel(band=int(band))
                effect = float(part[f"{by}_effect"].sel(estimate="value"))
                row[f"band, by {what}"] = f"{part['band'].item()} ({effect:+.1f}\u00a0sd)"
                row[f"change of {what}"] = signed(part[by], 3)
            rows[name, rank] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["manipulation", "rank"])
    return table


def manipulation_table(changes: xr.Dataset, *, model: str, by: str = "energy") -> pd.DataFrame:
    """Tabulate bands by how much a manipulation changes them, with intervals.

    Parameters
    ----------
    changes
        From :func:`manipulation`.
    model
        Name of the model.
    by
        Quantity by which bands are ranked: ``"directed"``, ``"absolute"`` or ``"energy"``.

    Returns
    -------
    pandas.DataFrame
        A row for each band, the largest effect first.

    Raises
    ------
    UnknownNameError
        If there is no such model or quantity.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> changes = study["manipulation"].to_dataset().isel(kind=0)
    >>> fl.morphing.manipulation_table(changes, model="linear").columns.tolist()
    ['log energy', 'log energy: effect', 'directed influence', 'directed influence: effect']
    """
    data = part_of(changes, model=model)
    check_name("by", by, ["directed", "absolute", "energy"])
    rows = {}
    for band in np.argsort(data[f"{by}_rank"].to_numpy()):
        part = data.isel(band=int(band))
        row = {}
        for name, what in (("energy", "log energy"), ("directed", "directed influence")):
            row[what] = signed(part[name], 4)
            row[f"{what}: effect"] = signed(part[f"{name}_effect"], 2)
        rows[str(part["band"].item())] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("band")


def _part(result: xr.Dataset, label: str, side: Side) -> xr.Dataset:
    """Select one side, and add the two people of each pair.

    The people are the contributors of the pair's document if known, otherwise the subjects of its
    faces.
    """
    result = with_axes(result)
    check_side(side, names_of(result, "side"))
    if result.sizes["pair"] == 0:
        raise ParameterError(f"{label} has no pairs")
    columns = ["contributor_a", "contributor_b"]
    if not set(columns) <= set(result.coords):
        columns = ["probe_subject", "reference_subject"]
    part = result[["influence", "removed_rms", "similarity", "band_bounds"]].sel(side=[side])
    of_pairs = [name for name, values in part.coords.items() if "pair" in values.dims]
    people = {
        person: ("pair", result[column].to_numpy().astype(str).astype(object))
        for person, column in zip(_PEOPLE, columns, strict=True)
    }
    return part.drop_vars(of_pairs).assign_coords(people)

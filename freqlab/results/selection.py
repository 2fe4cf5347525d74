"""Selection from results: one pair, one model and side, a threshold, and pairs to inspect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import names_of
from freqlab.bands.base import Bands
from freqlab.bands.parsing import bands_from
from freqlab.bands.radial import Rings
from freqlab.errors import FreqlabError, ParameterError, check_name, check_number, check_side
from freqlab.literals import Side

__all__ = [
    "ORDERS",
    "about_model",
    "at_fmr",
    "band_coordinates",
    "bands_of",
    "check_radial",
    "column_values",
    "crop_geometry",
    "decision_text",
    "default_fmr",
    "flips_decision",
    "fmr_text",
    "frequency_unit",
    "only_model",
    "ordered_pairs",
    "pair_columns",
    "pairs_to_show",
    "part_of",
    "radial_bands",
    "select_pair",
    "select_part",
    "threshold_of",
    "with_axes",
]

Data = TypeVar("Data", xr.Dataset, xr.DataArray)

ORDERS = {
    "index": "as in the result",
    "influence": "largest influence",
    "threshold": "nearest to the threshold",
    "flipped": "decision flipped by one band",
    "wrong": "wrong decisions",
}
"""Orders of :func:`ordered_pairs`, and their descriptions."""

_AXES = ("model", "pair", "side", "band")
# variables of results that have no axis ``pair``
_WITHOUT_PAIRS = ("threshold", "impostor_comparisons", "refined")
_VARIES = (
    "{name!r} varies along {axis!r}, as in results that xarray.concat has concatenated; "
    "concatenate results of fl.influence with fl.concat"
)
# variables of results and profiles that have no axis ``side``
_WITHOUT_SIDE = ("similarity", "threshold", "impostor_comparisons", "n_pairs", "n_subjects")


def pairs_to_show(
    result: xr.Dataset, *, model: str, side: Side = "probe", fmr: float = 1e-3
) -> dict[str, int]:
    """Choose typical pairs, difficult pairs, and pairs whose decision depends on one band.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    model, side
        Model and masked side to select.
    fmr
        False match rate of the threshold, for pairs whose decision depends on one band.

    Returns
    -------
    dict of str to int
        Kind of each pair, and its label. No pair occurs twice; kinds without a pair are left out.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such model, side or false match rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(fl.testing.faces(8, 3))
    >>> shown = fl.results.pairs_to_show(result, model="linear", fmr=0.1)
    >>> list(shown)
    ['A typical genuine pair', 'The least similar genuine pair', 'The most similar impostor pair',
    'A genuine pair whose decision depends on one band', 'An impostor pair whose decision depends on
    one band']
    """
    data = select_part(result, model=model, side=side)
    threshold = threshold_of(result, model=model, fmr=fmr)
    similarity = data["similarity"].to_numpy().astype(float)
    influence = data["influence"].transpose("pair", "band").to_numpy()
    genuine = data["genuine"].to_numpy()
    flips = flips_decision(similarity, influence, threshold).any(axis=1)

    chosen: dict[str, int] = {}

    def choose(kind: str, candidates: np.ndarray, preference: np.ndarray) -> None:
        taken = np.isin(data["pair"].to_numpy(), list(chosen.values()))
        rows = np.flatnonzero(candidates & np.isfinite(preference) & ~taken)
        if len(rows):
            chosen[kind] = int(data["pair"].to_numpy()[rows[np.argmin(preference[rows])]])

    if genuine.any():
        typical = np.abs(similarity - np.nanmedian(similarity[genuine]))
        choose("A typical genuine pair", genuine, typical)
    choose("The least similar genuine pair", genuine, similarity)
    choose("The most similar impostor pair", ~genuine, -similarity)
    strongest = np.nanmax(np.abs(np.nan_to_num(influence)), axis=1)
    choose("A genuine pair whose decision depends on one band", genuine & flips, -strongest)
    choose("An impostor pair whose decision depends on one band", ~genuine & flips, -strongest)
    return chosen


def frequency_unit(data: xr.Dataset) -> str:
    """Unit of the frequencies of a result or profile."""
    return str(data["frequency"].attrs["units"])


def select_pair(result: xr.Dataset, *, pair: int, model: str, side: str) -> xr.Dataset:
    """Select one pair, model and side of a result.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such pair, model or side.
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
    """Select one model and side of a result or profile.

    Raises
    ------
    UnknownNameError
        If there is no such model or side.
    """
    result = with_axes(result, "directed" if "directed" in result else "influence")
    check_name("model", model, names_of(result, "model"))
    check_side(side, names_of(result, "side"))
    return result.sel(model=model, side=side)


def part_of(data: xr.Dataset, **names: str) -> xr.Dataset:
    """Select labels along axes of a dataset, such as ``model="dlib"``.

    Raises
    ------
    UnknownNameError
        If an axis has no such label.
    """
    for axis, name in names.items():
        known = names_of(data, axis)
        if axis == "side":
            check_side(name, known)
        else:
            check_name(axis, name, known)
    return data.sel(names)


def threshold_of(result: xr.Dataset, *, model: str, fmr: float) -> float:
    """Decision threshold of a model at one of the false match rates of a result.

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
        Cosine similarity at or above which a comparison is a match; NaN where the face set has too
        few impostor comparisons to resolve the rate.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such model or rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(fl.testing.faces(8, 3))
    >>> threshold = fl.results.threshold_of(result, model="linear", fmr=0.1)
    >>> round(threshold, 2)
    0.93
    """
    result = with_axes(result)
    check_name("model", model, names_of(result, "model"))
    return float(at_fmr(result, fmr)["threshold"].sel(model=model))


def at_fmr(data: Data, fmr: float) -> Data:
    """Select one of the false match rates that data has.

    Raises
    ------
    ParameterError
        If the data has no such rate; the message lists those that it has.
    """
    return data.isel(fmr=_place_of_rate(data, fmr))


def _place_of_rate(data: xr.Dataset | xr.DataArray, fmr: float) -> int:
    rates = data["fmr"].to_numpy()
    check_number("fmr", fmr, above=0)
    places = np.flatnonzero(np.isclose(rates, fmr, rtol=1e-6))
    if len(places) == 0:
        allowed = ", ".join(fmr_text(rate) for rate in rates)
        raise ParameterError(f"fmr={fmr!r} has no threshold in the result; allowed: {allowed}")
    return int(places[0])


def fmr_text(rate: float) -> str:
    """Format a false match rate in scientific notation: 1e-3."""
    mantissa, exponent = f"{rate:.5e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def with_axes(data: xr.Dataset, variable: str = "influence") -> xr.Dataset:
    """Restore the axes of a result or profile that ``sel(model=...)`` or similar dropped.

    Raises
    ------
    ParameterError
        If `data` is not a dataset with this variable.
    """
    if not isinstance(data, xr.Dataset) or variable not in data:
        maker = "influence" if variable == "influence" else "results.mean_profile"
        raise ParameterError(
            f"a dataset of fl.{maker} is needed, with the variable {variable!r}; got a "
            f"{type(data).__name__}"
        )
    if variable == "influence":
        data = _with_plain_axes(data)
    dropped = [name for name in ("model", "side") if name in data.coords and name not in data.dims]
    for name in dropped:
        along = [v for v in data.data_vars if not (name == "side" and v in _WITHOUT_SIDE)]
        data = data.assign({v: data[v].expand_dims(name) for v in along})
    return data


def _with_plain_axes(result: xr.Dataset) -> xr.Dataset:
    """Undo what ``xarray.concat`` does to a result, or say how results are concatenated.

    By default it repeats variables without an axis along that axis. Where the repeated values are
    equal, they are reduced to one.

    Raises
    ------
    ParameterError
        If the result has other axes, or the repeated values differ.
    """
    more = sorted({str(axis) for axis in result.variables["influence"].dims} - set(_AXES))
    if more:
        raise ParameterError(
            f"the result has the axis {more[0]!r}, which results of fl.influence do not have; "
            f"concatenate results with fl.concat(results, dim='run', names=[...])"
        )
    if "pair" not in result.dims:
        return result
    labels = result.indexes.get("pair")
    if labels is not None and not labels.is_unique:
        raise ParameterError(
            f"pair labels occur more than once, such as {labels[labels.duplicated()][0]}; "
            f"concatenate results with fl.concat(results, dim='pair'), which renumbers the pairs"
        )
    for name in _WITHOUT_PAIRS:
        if name in result and "pair" in result.variables[name].dims:
            values = result[name].transpose("pair", ...)
            array = values.to_numpy()
            if not np.array_equal(array, np.broadcast_to(array[:1], array.shape), equal_nan=True):
                raise ParameterError(_VARIES.format(name=name, axis="pair"))
            first = values.isel(pair=0, drop=True)
            result = result.assign(
                {name: first.drop_vars(_pair_coordinates(result), errors="ignore")}
            )
    for name in _pair_coordinates(result):
        others = [axis for axis in result.variables[name].dims if axis != "pair"]
        if others:
            axis = "pair" if name in ("frequency", "band_bounds") else others[0]
            raise ParameterError(_VARIES.format(name=name, axis=axis))
    return result


def _pair_coordinates(result: xr.Dataset) -> list[Any]:
    return [name for name in result.coords if "pair" in result.variables[name].dims]


def only_model(names: Sequence[str], model: str | None) -> str:
    """Name of a model: the one that a user gave, or the only one of the data.

    Raises
    ------
    UnknownNameError
        If the data have no such model.
    ParameterError
        If no model is given, and the data have several or none.
    """
    if model is not None:
        return check_name("model", model, names)
    if len(names) != 1:
        raise ParameterError(
            f"model=None is allowed only for data of one model; these have {len(names)}"
            + (f": {', '.join(names)}" if names else "")
        )
    return names[0]


def bands_of(result: xr.Dataset) -> Bands:
    """Declaration of the bands of a result or profile.

    Bands other than rings are declared in the attributes of the coordinate ``band``.
    """
    declared = result["band"].attrs.get("declaration")
    if declared is not None:
        return bands_from(json.loads(declared))
    bounds = result["band_bounds"].to_numpy()
    edges = (*bounds[:, 0].tolist(), float(bounds[-1, 1]))
    return Rings(edges, unit=frequency_unit(result))


def radial_bands(result: xr.Dataset) -> Bands:
    """Declaration of bands that are intervals of frequency.

    Raises
    ------
    ParameterError
        If they are of another kind.
    """
    bands = bands_of(result)
    check_radial(bands)
    return bands


def check_radial(bands: Bands) -> None:
    """Refuse bands that are not intervals of frequency.

    Raises
    ------
    ParameterError
        If they are of another kind.
    """
    if not bands.radial:
        raise ParameterError(
            f"bands of kind {bands.kind!r} are not intervals of frequency, which this analysis "
            f"compares; allowed: rings and octaves"
        )


def band_coordinates(data: xr.Dataset) -> dict[str, xr.DataArray]:
    """Coordinates along the bands: ``band``, ``frequency``, ``band_bounds``, ``orientation``, etc.

    Those of a selected model, pair or side are left out.
    """
    return {
        str(name): values.reset_coords(drop=True)
        for name, values in data.coords.items()
        if values.dims in (("band",), ("band", "bound"))
    }


def about_model(result: xr.Dataset, model: str) -> dict[str, Any]:
    """Description of how a model of a result was run: checkpoint, template, input size, etc.

    Raises
    ------
    FreqlabError
        If the result has no description of the model.
    """
    try:
        about: dict[str, Any] = json.loads(result.attrs["identity"])["models"][model]
        return about
    except KeyError as error:
        raise FreqlabError(
            f"the result does not say how model {model!r} was run: its attribute 'identity' is "
            f"missing or describes other models, as after xarray.concat; concatenate results with "
            f"fl.concat, which keeps the descriptions"
        ) from error


def crop_geometry(result: xr.Dataset, model: str) -> tuple[tuple[int, int], float | None]:
    """Height and width of the crops of a model, and their inter-eye distance."""
    about = about_model(result, model)
    height, width = about["input_size"]
    return (height, width), about["eye_distance"]


def decision_text(similarity: float, threshold: float) -> str:
    """``"match"``, ``"no match"``, or ``"not decided"`` where there is no threshold."""
    if not (np.isfinite(similarity) and np.isfinite(threshold)):
        return "not decided"
    return "match" if similarity >= threshold else "no match"


def flips_decision(
    similarity: npt.ArrayLike, influence: npt.NDArray[np.floating], threshold: float
) -> npt.NDArray[np.bool_]:
    """Whether removing each band alone turns a match into a non-match, or the reverse.

    Parameters
    ----------
    similarity
        Similarity of the pairs ``(...)``.
    influence
        Influence of each band on the similarity ``(..., band)``.
    threshold
        Similarity at or above which a comparison is a match.

    Returns
    -------
    numpy.ndarray
        ``(..., band)``; False where any of the values is missing.
    """
    whole = np.asarray(similarity, float)[..., None]
    without = whole - influence
    return ((without >= threshold) != (whole >= threshold)) & np.isfinite(without + threshold)


def default_fmr(result: xr.Dataset, *, model: str) -> float:
    """Default false match rate: 1e-3, or the smallest resolved rate above it.

    Where no such rate is resolved, 1e-3; its threshold is then NaN, and no decision is stated.
    """
    rates = sorted(float(rate) for rate in with_axes(result)["fmr"].to_numpy())
    usable = [
        rate
        for rate in rates
        if rate >= 1e-3 * (1 - 1e-6) and np.isfinite(threshold_of(result, model=model, fmr=rate))
    ]
    return usable[0] if usable else min(rates, key=lambda rate: abs(rate - 1e-3))


def pair_columns(result: xr.Dataset) -> list[str]:
    """Columns to choose pairs by.

    ``comparison``; every column of the faces whose values the result has for the probe and for the
    reference, such as ``subject`` (see :func:`freqlab.with_columns`); and every column of the
    pairs.
    """
    own = _columns(result)
    return ["comparison", *_face_columns(own), *sorted(own)]


def _columns(result: xr.Dataset) -> list[str]:
    """Columns of the pairs, without their labels and their kind."""
    return [
        str(name)
        for name, values in result.coords.items()
        if values.dims == ("pair",) and name not in ("pair", "genuine")
    ]


def _face_columns(own: list[str]) -> list[str]:
    """Columns of faces of which the columns of pairs hold both ends, ``subject`` first."""
    ends = [
        {name.removeprefix(f"{end}_") for name in own if name.startswith(f"{end}_")}
        for end in ("probe", "reference")
    ]
    both = (ends[0] & ends[1]) - {*own, "comparison"}
    return sorted(both, key=lambda name: (name != "subject", name))


def column_values(result: xr.Dataset, column: str) -> list[str]:
    """Distinct values of one of :func:`pair_columns`, as text, sorted.

    Raises
    ------
    UnknownNameError
        If there is no such column.
    """
    return sorted({text for texts in _texts(result, column) for text in texts})


def ordered_pairs(
    result: xr.Dataset,
    *,
    model: str,
    side: Side = "probe",
    order: str = "index",
    where: Mapping[str, object] | None = None,
    fmr: float = 1e-3,
) -> npt.NDArray[np.int64]:
    """Labels of the pairs that meet conditions, in a given order.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    model, side
        Model and masked side whose similarity and influence determine the order.
    order
        ``"index"``: as in the result; ``"influence"``: by decreasing largest absolute influence of
        any band; ``"threshold"``: by increasing distance of the similarity from the threshold;
        ``"flipped"``: only pairs whose decision changes when one band is removed, by decreasing
        influence of such a band; ``"wrong"``: only false matches and false non-matches, by
        decreasing distance from the threshold.
    where
        Required values by column (see :func:`pair_columns`). ``subject`` and other columns of the
        faces may match either face; ``comparison`` is ``"genuine"`` or ``"impostor"``.
    fmr
        False match rate of the threshold.

    Returns
    -------
    numpy.ndarray
        Labels ``(pair,)``; empty if no pair meets the conditions.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such model, side, column or false match rate.
    """
    check_name("order", order, ORDERS)
    data = select_part(result, model=model, side=side)
    labels = result["pair"].to_numpy().astype(np.int64)
    chosen = np.ones(len(labels), bool)
    for column, value in (where or {}).items():
        chosen &= np.any([texts == _text(value) for texts in _texts(result, column)], axis=0)
    if order == "index":
        return labels[chosen]
    threshold = threshold_of(result, model=model, fmr=fmr)
    similarity = data["similarity"].to_numpy().astype(float)
    away = similarity - threshold
    chosen &= np.isfinite(similarity)
    if order in ("influence", "flipped"):
        influence = data["influence"].transpose("pair", "band").to_numpy()
        strength = np.abs(np.nan_to_num(influence))
        if order == "flipped":
            flips = flips_decision(similarity, influence, threshold)
            strength = np.where(flips, strength, 0)
            chosen &= flips.any(axis=1)
        preference = -strength.max(axis=1)
    elif order == "threshold":
        chosen &= np.isfinite(threshold)
        preference = np.abs(away)
    else:
        chosen &= np.isfinite(threshold) & ((away >= 0) != result["genuine"].to_numpy())
        preference = -np.abs(away)
    rows = np.flatnonzero(chosen)
    return labels[rows[np.argsort(preference[rows], kind="stable")]]


def _texts(result: xr.Dataset, column: str) -> list[npt.NDArray[np.object_]]:
    """A column as text; for a column of the faces, the columns of both faces."""
    check_name("column", column, pair_columns(result))
    if column == "comparison":
        return [np.where(result["genuine"].to_numpy(), "genuine", "impostor").astype(object)]
    names = [column]
    if column in _face_columns(_columns(result)):
        names = [f"probe_{column}", f"reference_{column}"]
    return [
        np.array([_text(value) for value in result[name].to_numpy().tolist()], object)
        for name in names
    ]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

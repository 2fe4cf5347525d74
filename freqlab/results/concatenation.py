"""Concatenation of results along pairs, models or runs, with checks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, to_json
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.results.selection import about_model
from freqlab.results.several import named_results, with_pairs_of

__all__ = ["concat"]

ConcatDim: TypeAlias = Literal["pair", "model", "run"]
"""Axis along which results are concatenated."""

_OF_MODELS = ("threshold", "impostor_comparisons", "refined")
_JOINED = ("face_set", "credit", "device", "batch_size", "precision", "which_face")
_OF_EACH_MODEL = ("precision_error", "refine_error")
_ENDS = ("probe", "reference")
_SAME_PAIRS = "concatenate along dim='pair'"

Named: TypeAlias = list[tuple[str, xr.Dataset]]


def concat(
    results: Sequence[xr.Dataset],
    dim: ConcatDim,
    *,
    names: Sequence[str] | None = None,
    thresholds_of: int | None = None,
) -> xr.Dataset:
    """Concatenate results of :func:`freqlab.influence`, which must fit together.

    The values are read into memory. Subjects and faces of the same name are taken to be the same.

    Parameters
    ----------
    results
        The results, with the same bands, sides and false match rates.
    dim
        ``"pair"``: different pairs, the same models with the same fingerprints. ``"model"``: the
        same pairs in any order, different models. ``"run"``: the same pairs, models of any name,
        such as two states of one model; each model is named ``"<name> · <model>"``.
    names
        One name for each result, for ``dim="run"`` and for messages; its face set by default,
        numbered where face sets repeat.
    thresholds_of
        For ``dim="pair"``, position in `results` of the result whose thresholds are kept. It must
        be given if thresholds differ, because they were set on different faces.

    Returns
    -------
    xarray.Dataset
        As from :func:`freqlab.influence`. Pairs keep their labels if all labels differ, and are
        numbered from zero otherwise. ``attrs["store"]`` is kept if all results are of one store;
        ``attrs["concatenated"]`` lists name, store and result of each part.

    Raises
    ------
    UnknownNameError, ParameterError
        If the results do not fit together.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=6, per_subject=2)
    >>> pairs = fl.make_pairs(faces, n_pairs=12)
    >>> before, after = (
    ...     fl.influence(faces, pairs, models=[fl.testing.model(seed=seed)], progress=False)
    ...     for seed in (0, 1)
    ... )
    >>> both = fl.concat([before, after], dim="run", names=["before", "after"])
    >>> list(both["model"].to_numpy())
    ['before · linear', 'after · linear']
    >>> sentence = fl.results.describe_pair(both, pair=0, model="after · linear")
    """
    check_name("dim", dim, ["pair", "model", "run"])
    named = named_results(results, names)
    if len({name for name, _ in named}) < len(named):
        raise ParameterError(f"names={[name for name, _ in named]!r} must differ")
    named = [(name, _with_sides_of(named[0], (name, one))) for name, one in named]
    if thresholds_of is not None:
        check_number("thresholds_of", thresholds_of, at_least=0, whole=True)
        if dim != "pair" or thresholds_of >= len(named):
            raise ParameterError(
                f"thresholds_of={thresholds_of!r} must be the position of a result, for dim='pair'"
            )
    if dim == "pair":
        joined, models = _along_pairs(named, thresholds_of)
    else:
        joined, models = _along_models(named, renamed=dim == "run")
    joined.attrs = _attributes(named, models)
    return joined


def _with_sides_of(first: tuple[str, xr.Dataset], other: tuple[str, xr.Dataset]) -> xr.Dataset:
    """Put the sides of a result in the order of the first result."""
    sides, own = names_of(first[1], "side"), names_of(other[1], "side")
    if set(sides) != set(own):
        raise ParameterError(
            f"the sides of result {other[0]!r} are {', '.join(own)}, those of {first[0]!r} are "
            f"{', '.join(sides)}; select common ones with .sel(side=[...])"
        )
    return other[1].sel(side=sides)


def _along_pairs(named: Named, thresholds_of: int | None) -> tuple[xr.Dataset, dict[str, Any]]:
    """Results of the same models, one after the other."""
    first_name, first = named[0]
    names = names_of(first, "model")
    models = {model: about_model(first, model) for model in names}
    columns = _pair_columns(first)
    parts = []
    for name, one in named:
        if set(names_of(one, "model")) != set(names):
            raise ParameterError(
                f"the models of result {name!r} are {', '.join(names_of(one, 'model'))}, those of "
                f"{first_name!r} are {', '.join(names)}; select common ones with .sel(model=[...])"
            )
        for model in names:
            _check_same_model(model, (first_name, models[model]), (name, about_model(one, model)))
        differing = sorted(columns ^ _pair_columns(one))
        if differing:
            raise ParameterError(
                f"the columns of the pairs differ: only one of the results {first_name!r} and "
                f"{name!r} has {', '.join(differing)}; drop such columns with .drop_vars([...])"
            )
        parts.append(one.sel(model=names))
    _check_distinct(parts)
    kept = parts[thresholds_of or 0]
    fixed = [name for name in _OF_MODELS if any(name in part for part in parts)]
    for name in fixed:
        equal = all(name in part and _equal(part[name], kept[name]) for part in parts)
        if not equal and (name == "refined" or thresholds_of is None):
            why = "they were set on different faces; thresholds_of= names the result to keep"
            if name == "refined":
                why = "different bands were computed; compute the results without refine="
            raise ParameterError(f"{name!r} differs between the results: {why}")
    labels = np.concatenate([part["pair"].to_numpy() for part in parts])
    joined = xr.concat(
        [part.drop_vars(fixed) for part in parts],
        "pair",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    if len(np.unique(labels)) < len(labels):
        labels = np.arange(len(labels))
    joined = joined.assign_coords(pair=("pair", labels, first["pair"].attrs))
    return joined.assign({name: kept[name] for name in fixed}), models


def _check_distinct(parts: Sequence[xr.Dataset]) -> None:
    """Refuse a pair that occurs twice, in either order of its faces."""
    ends = np.concatenate(
        [np.stack([part[end].to_numpy().astype(str) for end in _ENDS]) for part in parts], axis=1
    )
    repeated = pd.DataFrame(np.sort(ends, axis=0).T).duplicated().to_numpy()
    if repeated.any():
        k = int(repeated.argmax())
        raise ParameterError(
            f"{int(repeated.sum()):,} pairs occur more than once, such as {ends[0, k]} and "
            f"{ends[1, k]}; leave them out of one result with .sel(pair=...)"
        )


def _along_models(named: Named, *, renamed: bool) -> tuple[xr.Dataset, dict[str, Any]]:
    """Results on the same pairs, with the models of all."""
    first_name, first = named[0]
    parts: list[xr.Dataset] = []
    models: dict[str, Any] = {}
    for name, one in named:
        own = names_of(one, "model")
        labels = [f"{name} · {model}" for model in own] if renamed else own
        common = [model for model in labels if model in models]
        if common:
            raise ParameterError(
                f"several results have the model {common[0]!r}; pass dim='run' with names= to tell "
                f"them apart"
            )
        models |= {label: about_model(one, m) for label, m in zip(labels, own, strict=True)}
        one = with_pairs_of(first, one, (first_name, name), _SAME_PAIRS)
        dropped = [column for column in one.coords if "pair" in one[column].dims]
        part = one.drop_vars(dropped) if parts else one
        attrs = one["model"].attrs
        parts.append(part.assign_coords(model=("model", np.array(labels, object), attrs)))
    partly = [name for name in _OF_MODELS if len({name in part for part in parts}) == 2]
    joined = xr.concat(
        [part.drop_vars(partly, errors="ignore") for part in parts],
        "model",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    return joined, models


def _pair_columns(result: xr.Dataset) -> set[str]:
    return {str(name) for name, values in result.coords.items() if values.dims == ("pair",)}


def _check_same_model(
    model: str, first: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]]
) -> None:
    """Refuse two models of one name with different fingerprints."""
    keys = [*first[1], *(key for key in other[1] if key not in first[1])]
    differing = [key for key in keys if first[1].get(key) != other[1].get(key)]
    if differing:
        key = differing[0]
        raise ParameterError(
            f"model {model!r} is not the same in the results {first[0]!r} and {other[0]!r}: {key} "
            f"is {first[1].get(key)!r} and {other[1].get(key)!r}. Compare such results with "
            f"fl.compare, or concatenate them with dim='run' if they have the same pairs"
        )


def _equal(one: xr.DataArray, other: xr.DataArray) -> bool:
    return bool(np.array_equal(one.to_numpy(), other.to_numpy(), equal_nan=True))


def _attributes(named: Named, models: dict[str, Any]) -> dict[str, Any]:
    """Attributes that hold for all parts, and a list of the parts."""
    every = [one.attrs for _, one in named]
    attrs = {
        key: value
        for key, value in every[0].items()
        if key not in ("identity", "name")
        and all(key in one and one[key] == value for one in every[1:])
    }
    for key in _JOINED:
        texts = [str(one[key]) for one in every if one.get(key)]
        if texts:
            attrs[key] = ", ".join(dict.fromkeys(texts))
    for key in _OF_EACH_MODEL:
        if key in attrs or not any(key in one for one in every):
            continue
        merged: dict[str, Any] = {}
        for one in every:
            merged |= json.loads(one.get(key, "{}"))
        if set(merged) <= set(models):
            attrs[key] = to_json(merged)
    identity = json.loads(every[0]["identity"])
    kept = {key: identity[key] for key in ("bands", "sides") if key in identity}
    attrs["identity"] = to_json({**kept, "models": models})
    parts = [
        {"name": name, **{key: str(one.attrs.get(key, "")) for key in ("store", "created_at")}}
        | {"result": str(one.attrs.get("name", ""))}
        for name, one in named
    ]
    attrs["concatenated"] = to_json(parts)
    return attrs

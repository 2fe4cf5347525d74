"""Several results: their names, the bands, rates and pairs that they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.errors import ParameterError
from freqlab.results.selection import fmr_text, frequency_unit, with_axes
from freqlab.text.wording import join

__all__ = ["named_results", "pair_index", "with_pairs_of"]

_ABOUT_PEOPLE = ("probe_subject", "reference_subject", "genuine")


def named_results(
    results: xr.Dataset | Sequence[xr.Dataset], names: Sequence[str] | None
) -> list[tuple[str, xr.Dataset]]:
    """Names and results, with all their axes, after a check of bands and false match rates.

    Parameters
    ----------
    results
        One result of :func:`freqlab.influence`, or several.
    names
        One name for each; the face set by default, numbered where face sets repeat.

    Raises
    ------
    ParameterError
        If there is no result, names do not match the results, or bands or rates differ.
    """
    given = [results] if isinstance(results, xr.Dataset) else results
    if not isinstance(given, (list, tuple)) or not given:
        raise ParameterError(
            f"results: a {type(results).__name__} is not a result of fl.influence, nor a list of "
            f"at least one"
        )
    with_all_axes = [with_axes(one) for one in given]
    if names is None:
        names = [str(one.attrs.get("face_set", "result")) for one in given]
        if len(set(names)) < len(names):
            names = [f"{name} {k + 1}" for k, name in enumerate(names)]
    n_names = 1 if isinstance(names, str) else len(names)
    if isinstance(names, str) or n_names != len(given):
        raise ParameterError(f"names={names!r}: {n_names} names for {len(given)} results")
    named = [(str(name), one) for name, one in zip(names, with_all_axes, strict=True)]
    for name, one in named[1:]:
        _check_bands(named[0], (name, one))
        _check_rates(named[0], (name, one))
    return named


def _check_bands(first: tuple[str, xr.Dataset], other: tuple[str, xr.Dataset]) -> None:
    one, another = first[1], other[1]
    same = np.array_equal(one["band"], another["band"])
    same = same and np.allclose(one["band_bounds"], another["band_bounds"])
    same = same and one["band"].attrs.get("declaration") == another["band"].attrs.get("declaration")
    if not same or frequency_unit(one) != frequency_unit(another):
        raise ParameterError(
            f"the bands of result {other[0]!r} differ from those of {first[0]!r}; all results must "
            f"have the same bands"
        )


def _check_rates(first: tuple[str, xr.Dataset], other: tuple[str, xr.Dataset]) -> None:
    rates = [data["fmr"].to_numpy() if "fmr" in data else np.empty(0) for _, data in (first, other)]
    if not np.array_equal(rates[0], rates[1]):
        texts = [", ".join(fmr_text(rate) for rate in some) or "none" for some in rates]
        raise ParameterError(
            f"the false match rates of result {other[0]!r} ({texts[1]}) differ from those of "
            f"{first[0]!r} ({texts[0]}); select common ones with .isel(fmr=...), or compute both "
            f"with the same fmrs="
        )


def pair_index(result: xr.Dataset, name: str) -> pd.MultiIndex:
    """Names of the probe and the reference of each pair.

    Parameters
    ----------
    result
        The result.
    name
        Its name, for messages.

    Raises
    ------
    ParameterError
        If a pair occurs twice.
    """
    ends = [result[end].to_numpy().astype(object) for end in ("probe", "reference")]
    index = pd.MultiIndex.from_arrays(ends, names=["probe", "reference"])
    if index.has_duplicates:
        raise ParameterError(
            f"result {name!r} has the pair {index[index.duplicated()][0]} more than once"
        )
    return index


def with_pairs_of(
    first: xr.Dataset, other: xr.Dataset, names: tuple[str, str], otherwise: str
) -> xr.Dataset:
    """Put the pairs of a result in the order of another that has the same pairs.

    Parameters
    ----------
    first
        Result with the order of the pairs.
    other
        Result to put in this order.
    names
        Names of both, for messages.
    otherwise
        What the caller can do if the pairs differ, as the end of a sentence.

    Raises
    ------
    ParameterError
        If the results have different pairs, or pairs of different people.
    """
    wanted, own = pair_index(first, names[0]), pair_index(other, names[1])
    places = own.get_indexer(wanted)
    parts = [
        f"{name!r} lacks {int(lacking.sum()):,} of them, such as {index[lacking][0]}"
        for name, lacking, index in (
            (names[1], places < 0, wanted),
            (names[0], ~own.isin(wanted), own),
        )
        if lacking.any()
    ]
    if parts:
        raise ParameterError(
            f"the results must have the same pairs (probe, reference): {join(parts)}. Compute both "
            f"results on one table of pairs, or {otherwise}"
        )
    ordered = other.isel(pair=places)
    for column in _ABOUT_PEOPLE:
        differ = ordered[column].to_numpy() != first[column].to_numpy()
        if differ.any():
            raise ParameterError(
                f"the results must have the same people: {column} of {int(differ.sum()):,} pairs "
                f"of {names[1]!r} differs from that of {names[0]!r}, such as for the pair "
                f"{wanted[differ][0]}"
            )
    return ordered

"""Tables of the numbers of a pair, as the inspector shows them and writes them to CSV files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.edits.inspection import Edited
from freqlab.literals import Side
from freqlab.results.selection import (
    bands_of,
    decision_text,
    flips_decision,
    fmr_text,
    frequency_unit,
    select_pair,
    threshold_of,
    with_axes,
)

__all__ = ["band_numbers", "model_numbers", "rows_of"]


def model_numbers(
    result: xr.Dataset, *, pair: int, side: Side = "probe", fmr: float = 1e-3
) -> pd.DataFrame:
    """Numbers of a pair for each model of a result.

    Returns
    -------
    pandas.DataFrame
        By model: similarity, threshold, decision and its correctness, the strongest band and its
        influence, and the bands whose removal changes the decision.
    """
    result = with_axes(result)
    unit = frequency_unit(result)
    columns = {
        "similarity": "similarity",
        "threshold": f"threshold (FMR {fmr_text(fmr)})",
        "decision": "decision",
        "right": "right",
        "strongest_band": f"strongest band ({unit})",
        "strongest_influence": "its influence",
        "bands_that_change_the_decision": "bands that change the decision",
    }
    rows = {
        model: _of_model(result, pair=pair, model=model, side=side, fmr=fmr)
        for model in names_of(result, "model")
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename(columns=columns)
    table.index.name = "model"
    return table


def _of_model(
    result: xr.Dataset, *, pair: int, model: str, side: Side, fmr: float
) -> dict[str, Any]:
    """Numbers of a pair for one model, with names for a CSV file."""
    names = bands_of(result).names
    data = select_pair(result, pair=pair, model=model, side=side)
    similarity = float(data["similarity"])
    threshold = threshold_of(result, model=model, fmr=fmr)
    influence = data["influence"].to_numpy()
    known = np.isfinite(influence)
    strongest = int(np.nanargmax(np.abs(influence))) if known.any() else None
    flips = flips_decision(similarity, influence, threshold)
    decided = np.isfinite(similarity) and np.isfinite(threshold)
    decision = decision_text(similarity, threshold)
    right = "yes" if (decision == "match") == bool(data["genuine"]) else "no"
    changing = [name for name, is_flip in zip(names, flips, strict=True) if is_flip]
    return {
        "similarity": similarity,
        "threshold": threshold,
        "decision": decision,
        "right": right if decided else "",
        "strongest_band": "" if strongest is None else names[strongest],
        "strongest_influence": np.nan if strongest is None else float(influence[strongest]),
        "bands_that_change_the_decision": ", ".join(changing) or ("none" if decided else ""),
    }


def band_numbers(
    result: xr.Dataset, *, pair: int, model: str, side: Side = "probe"
) -> pd.DataFrame:
    """Influence, similarity without the band, and contrast removed, for each band of a pair."""
    table = _by_band(result, pair=pair, model=model, side=side)
    table.index = pd.Index(bands_of(result).names, name=f"band ({frequency_unit(result)})")
    return table.rename(
        columns={
            "similarity_without_band": "similarity without it",
            "contrast_removed": "contrast removed (grey levels)",
        }
    )


def _by_band(result: xr.Dataset, *, pair: int, model: str, side: Side) -> pd.DataFrame:
    data = select_pair(result, pair=pair, model=model, side=side)
    influence = data["influence"].to_numpy().astype(float)
    return pd.DataFrame(
        {
            "influence": influence,
            "similarity_without_band": float(data["similarity"]) - influence,
            "contrast_removed": data["removed_rms"].to_numpy().astype(float),
        }
    )


def rows_of(result: xr.Dataset, edited: Edited, *, fmr: float = 1e-3) -> pd.DataFrame:
    """All numbers of an edited pair, as one row per band for a CSV file.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    edited
        From :meth:`freqlab.Inspection.edit` on this result.
    fmr
        False match rate of the threshold.

    Returns
    -------
    pandas.DataFrame
        Equal in all rows: the pair and its columns, model, side, those of :func:`model_numbers`,
        and the edit with the similarity and decision that result. By row: the band, its limits
        ``band_lower`` and ``band_upper`` in ``unit``, whether it is ``selected``, and the columns
        of :func:`band_numbers`; ``contrast_removed`` is in grey levels.
    """
    result = with_axes(result)
    part = {"pair": edited.pair, "model": edited.model, "side": edited.side}
    data = select_pair(result, **part)  # type: ignore[arg-type]
    bands = bands_of(result)
    equal: dict[str, Any] = {"pair": edited.pair}
    for name, values in result.coords.items():
        if values.dims == ("pair",) and name != "pair":
            equal[str(name)] = data[name].item()
    numbers = _of_model(result, **part, fmr=fmr)  # type: ignore[arg-type]
    equal |= {"model": edited.model, "side": edited.side, "fmr": fmr, **numbers}
    equal |= {
        "operation": edited.operation,
        "selected_bands": " ".join(bands.names[band] for band in edited.bands),
        "edited_similarity": edited.edited_similarity,
        "edited_decision": decision_text(edited.edited_similarity, numbers["threshold"]),
    }
    rows = pd.DataFrame(
        {
            "band": bands.names,
            "band_lower": bands.bounds[:, 0],
            "band_upper": bands.bounds[:, 1],
            "unit": frequency_unit(result),
            "selected": np.isin(np.arange(len(bands)), edited.bands),
        }
    )
    by_band = _by_band(result, **part)  # type: ignore[arg-type]
    constant = pd.DataFrame([equal] * len(rows))
    return pd.concat([constant, rows, by_band], axis=1)

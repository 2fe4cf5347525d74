"""Findings of a verification study as tables and sentences, generated from its numbers."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.faces.table import Faces
from freqlab.results.sentences import describe_verification
from freqlab.statistics.error_rates import (
    all_comparisons,
    comparisons_needed,
    equal_error_rate,
)
from freqlab.store.reading import open_embeddings
from freqlab.text.shown import as_markdown

__all__ = [
    "all_scores",
    "describe_comparisons",
    "describe_scores",
    "match_rate_table",
    "summary",
    "unresolved_rates",
]

_NBSP = "\u00a0"


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study in one or two sentences for each model.

    Parameters
    ----------
    study
        From :func:`freqlab.verification.study`.
    """
    figures, fmr = study["figures"].to_dataset(), float(study.attrs["fmr"])
    names = [str(name) for name in figures["model"].to_numpy()]
    return [
        f"{as_markdown(name)}: {describe_verification(figures, model=name, fmr=fmr)}"
        for name in names
    ]


def describe_comparisons(pairs: pd.DataFrame | None, *, name: object = "the list") -> str:
    """State, in Markdown, on which comparisons the figures are based.

    Parameters
    ----------
    pairs
        The list of pairs; None if all faces are compared.
    name
        Name of the list.
    """
    if pairs is None:
        return "Every photograph is compared with every other photograph once."
    return (
        f"The figures are based on the {len(pairs):,} pairs of {as_markdown(name)}, "
        f"{int(pairs['genuine'].sum()):,} of them genuine. The thresholds are set on all impostor "
        f"comparisons of the face set."
    )


def match_rate_table(result: xr.Dataset | xr.DataTree) -> pd.DataFrame:
    """Tabulate true match rates over all comparisons, at thresholds of fixed false match rates.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`.

    Returns
    -------
    pandas.DataFrame
        By model and false match rate: threshold, true match rate (1 - FNMR) and its interval;
        rates that are not resolved are omitted.
    """
    figures = result.sel(group="all")
    rows = {}
    for name in figures["model"].to_numpy():
        for rate in figures["fmr"].to_numpy():
            at_rate = figures.sel(model=name, fmr=rate)
            if np.isnan(at_rate["threshold"]):
                continue
            value, upper, lower = 100 - 100 * at_rate["false_non_match_rate"].to_numpy()
            rows[str(name), f"{rate:g}"] = {
                "threshold": f"{float(at_rate['threshold']):.3f}",
                "true match rate": f"{value:.2f}{_NBSP}%",
                "interval": f"{lower:.2f} to {upper:.2f}{_NBSP}%",
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    if rows:
        table.index = pd.MultiIndex.from_tuples(rows, names=["model", "FMR"])
    return table


def unresolved_rates(result: xr.Dataset | xr.DataTree) -> str:
    """State the false match rates at which a model has no threshold; empty if there are none."""
    thresholds = result["threshold"].transpose("model", "fmr")
    unresolved = np.isnan(thresholds.to_numpy()).any(axis=0)
    rates = sorted(f"{rate:g}" for rate in thresholds["fmr"].to_numpy()[unresolved])
    if not rates:
        return ""
    return (
        f"Not resolved: FMR {', '.join(rates)}. A false match rate is resolved where at least ten "
        f"false matches are expected."
    )


def all_scores(
    faces: Faces, *, model: str, store: str | os.PathLike[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Compute the similarities of all genuine and all impostor comparisons of a run's faces.

    Raises
    ------
    StoreError, UnknownNameError
        If there is no run, or the run has no such model.
    """
    intact = open_embeddings(store, model=model).sel(face=faces.names)
    return all_comparisons(intact.to_numpy(), faces.subjects, faces.sources)


def describe_scores(
    genuine: npt.NDArray[np.floating], impostor: npt.NDArray[np.floating], *, fmr: float = 1e-3
) -> str:
    """State the equal error rate, and whether the comparisons resolve a false match rate."""
    n_all, rate = len(genuine) + len(impostor), equal_error_rate(genuine, impostor)
    text = (
        f"Equal error rate over all {n_all:,} comparisons, {len(genuine):,} of them genuine: "
        f"**{100 * rate:.2f} %**."
    )
    needed = comparisons_needed(fmr)
    if len(impostor) < needed:
        text += (
            f" A threshold at FMR {fmr:g} requires {needed:,} impostor comparisons; there are "
            f"{len(impostor):,}. No decisions are reported."
        )
    return text

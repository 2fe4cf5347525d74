"""Findings of a verification study as tables and sentences, generated from its numbers."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import check_name
from freqlab.faces.groups import ALL, MIXED
from freqlab.faces.table import Faces
from freqlab.results.selection import fmr_text
from freqlab.results.sentences import describe_intervals, verification_sentences
from freqlab.statistics.error_rates import (
    all_comparisons,
    comparisons_needed,
    equal_error_rate,
)
from freqlab.statistics.resampling import ESTIMATES, FEWEST_PEOPLE
from freqlab.store.reading import open_embeddings
from freqlab.text.shown import as_markdown
from freqlab.text.wording import NBSP, percent, with_bounds

__all__ = [
    "all_scores",
    "describe_comparisons",
    "describe_left_out",
    "describe_scores",
    "groups_with_curves",
    "match_rate_table",
    "summary",
    "unresolved_rates",
    "without_small_groups",
]


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study: the figures of one model one by one, or those of each model together.

    Parameters
    ----------
    study
        From :func:`freqlab.verification.study`.

    Returns
    -------
    list of str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=8, per_subject=3)
    >>> options = {"models": [fl.testing.model()], "fmr": 0.1, "n_draws": 50, "progress": False}
    >>> study = fl.verification.study(faces, store="run.zarr", **options)
    >>> print(fl.verification.summary(study)[0])
    **linear.** The equal error rate is 0.00...
    """
    figures, fmr = study["figures"].to_dataset(), float(study.attrs["fmr"])
    names = names_of(figures, "model")
    of_models = [
        [*verification_sentences(figures, model=name, fmr=fmr), _separation(figures, name)]
        for name in names
    ]
    first = f"{of_models[0][0]} {describe_intervals(figures)}"
    if len(names) == 1:
        return [f"**{as_markdown(names[0])}.** {first}", *of_models[0][1:]]
    of_models[0][0] = first
    return [
        f"**{as_markdown(name)}.** {' '.join(sentences)}"
        for name, sentences in zip(names, of_models, strict=True)
    ]


def _separation(figures: xr.Dataset, model: str) -> str:
    """State the distance of genuine and impostor similarities."""
    d_prime = figures["d_prime"].sel(model=model, group="all")
    return (
        f"The means of genuine and impostor similarities are {with_bounds(d_prime, '.2f')} "
        f"standard deviations apart (d')."
    )


def describe_comparisons(pairs: pd.DataFrame | None, *, name: object = "the list") -> str:
    """State, in Markdown, on which comparisons the figures are based.

    Parameters
    ----------
    pairs
        The list of pairs; None if all faces are compared.
    name
        Name of the list.

    Returns
    -------
    str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> print(fl.verification.describe_comparisons(None))
    Every photograph is compared with every other photograph once.
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

    Of false match rates with the same true match rate and interval, the smallest is listed.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`.

    Returns
    -------
    pandas.DataFrame
        By model and false match rate: threshold, and true match rate (1 - FNMR) with its interval
        in brackets; rates that are not resolved are omitted.

    Examples
    --------
    >>> import freqlab as fl
    >>> figures = fl.testing.study("verification")["figures"].to_dataset()
    >>> fl.verification.match_rate_table(figures).columns.tolist()
    ['threshold', 'true match rate']
    """
    figures = result.sel(group="all")
    rows = {}
    for name in figures["model"].to_numpy():
        by_rate: dict[str, tuple[float, str]] = {}  # the smallest FMR of each true match rate
        for rate in sorted(figures["fmr"].to_numpy(), reverse=True):
            at_rate = figures.sel(model=name, fmr=rate)
            if np.isfinite(at_rate["threshold"]):
                by_rate[_true_match_rate(at_rate)] = (rate, f"{float(at_rate['threshold']):.3f}")
        for text, (rate, threshold) in by_rate.items():
            row = {"threshold": threshold, "true match rate": text}
            rows[str(name), fmr_text(rate)] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    if rows:
        table.index = pd.MultiIndex.from_tuples(rows, names=["model", "FMR"])
    return table


def _true_match_rate(figures: xr.Dataset | xr.DataTree) -> str:
    value, upper, lower = 1 - figures["false_non_match_rate"].to_numpy()
    rates = xr.DataArray([value, lower, upper], dims="estimate", coords={"estimate": [*ESTIMATES]})
    return percent(rates, 2)


def without_small_groups(result: xr.Dataset) -> xr.Dataset:
    """Leave out groups of fewer than 20 people, and ``mixed`` if no other group remains.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`.

    Returns
    -------
    xarray.Dataset
        The result with the remaining groups.

    Examples
    --------
    >>> import freqlab as fl
    >>> figures = fl.testing.study("verification")["figures"].to_dataset()
    >>> fl.verification.without_small_groups(figures)["group"].to_numpy().tolist()
    ['all']
    """
    small = _small_groups(result)
    kept = [name for name in names_of(result, "group") if name not in small]
    return result.sel(group=kept if set(kept) - {ALL, MIXED} else [ALL])


def describe_left_out(result: xr.Dataset) -> str:
    """State which groups :func:`without_small_groups` leaves out; empty if there are none.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`.

    Returns
    -------
    str
        Sentences, or an empty text.

    Examples
    --------
    >>> import freqlab as fl
    >>> figures = fl.testing.study("verification")["figures"].to_dataset()
    >>> print(fl.verification.describe_left_out(figures))
    Groups of fewer than 20 people are left out: no (4), yes (4).
    """
    groups = [f"{as_markdown(name)} ({n})" for name, n in _small_groups(result).items()]
    if not groups:
        return ""
    return f"Groups of fewer than {FEWEST_PEOPLE} people are left out: {', '.join(groups)}."


def groups_with_curves(result: xr.Dataset, *, model: str) -> list[str]:
    """Groups with a DET curve: those with false non-matches at a resolved false match rate.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`.
    model
        Name of the model.

    Returns
    -------
    list of str
        Names of the groups, in the order of the result.

    Raises
    ------
    UnknownNameError
        If the result has no such model.

    Examples
    --------
    >>> import freqlab as fl
    >>> figures = fl.testing.study("verification")["figures"].to_dataset()
    >>> fl.verification.groups_with_curves(figures, model="linear")
    []
    """
    check_name("model", model, names_of(result, "model"))
    drawn = (result["curve"].sel(model=model) > 0).sum("curve_fmr") > 1
    names = [name for name in names_of(result, "group") if name not in (ALL, MIXED)]
    return [name for name in names if bool(drawn.sel(group=name))]


def _small_groups(result: xr.Dataset) -> dict[str, int]:
    """Groups of too few people, and their numbers of people."""
    n_people = dict(
        zip(names_of(result, "group"), result["n_subjects"].isel(model=0).to_numpy(), strict=True)
    )
    return {
        name: int(n)
        for name, n in n_people.items()
        if name not in (ALL, MIXED) and n < FEWEST_PEOPLE
    }


def unresolved_rates(result: xr.Dataset | xr.DataTree) -> str:
    """State the false match rates at which a model has no threshold; empty if there are none.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`, or a study.

    Returns
    -------
    str
        A sentence, or an empty text.

    Examples
    --------
    >>> import freqlab as fl
    >>> figures = fl.testing.study("verification")["figures"].to_dataset()
    >>> print(fl.verification.unresolved_rates(figures))
    Not resolved: FMR 1e-2, 1e-3, 1e-4, 1e-5, 1e-6. A false match rate is resolved ...
    """
    thresholds = result["threshold"].transpose("model", "fmr")
    unresolved = np.isnan(thresholds.to_numpy()).any(axis=0)
    rates = [fmr_text(rate) for rate in sorted(thresholds["fmr"].to_numpy()[unresolved])[::-1]]
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

    Parameters
    ----------
    faces
        The faces.
    model
        Name of the model.
    store
        Path of the run, with embeddings of the faces.

    Returns
    -------
    genuine : numpy.ndarray
        Cosine similarities of photographs of one person, -1 to 1.
    impostor : numpy.ndarray
        Those of two people.

    Raises
    ------
    StoreError, UnknownNameError
        If there is no run, or the run has no such model.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> tree = fl.embed(faces, models=[fl.testing.model()], store="run.zarr", progress=False)
    >>> genuine, impostor = fl.verification.all_scores(faces, model="linear", store="run.zarr")
    >>> len(genuine), len(impostor)
    (12, 54)
    """
    intact = open_embeddings(store, model=model).sel(face=faces.names)
    return all_comparisons(intact.to_numpy(), faces.subjects, faces.sources)


def describe_scores(
    genuine: npt.NDArray[np.floating], impostor: npt.NDArray[np.floating], *, fmr: float = 1e-3
) -> str:
    """State the equal error rate, and whether the comparisons resolve a false match rate.

    Parameters
    ----------
    genuine, impostor
        Similarities of genuine and of impostor comparisons.
    fmr
        False match rate of the threshold.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> genuine, impostor = np.array([0.6, 0.7, 0.8, 0.9]), np.array([0.1, 0.2, 0.3, 0.65])
    >>> print(fl.verification.describe_scores(genuine, impostor, fmr=0.1))
    The equal error rate over all 8 comparisons, 4 of them genuine, is 25.00 %. A ...
    """
    n_all, rate = len(genuine) + len(impostor), equal_error_rate(genuine, impostor)
    text = (
        f"The equal error rate over all {n_all:,} comparisons, {len(genuine):,} of them genuine, "
        f"is {100 * rate:.2f}{NBSP}%."
    )
    needed = comparisons_needed(fmr)
    if len(impostor) < needed:
        text += (
            f" A threshold at FMR {fmr_text(fmr)} requires {needed:,} impostor comparisons; there "
            f"are {len(impostor):,}. No decisions are reported."
        )
    return text

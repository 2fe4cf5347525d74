"""Findings of a faithfulness study as sentences, generated from its numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.faithfulness.report import describe_amplitude
from freqlab.results.selection import threshold_of
from freqlab.text.shown import as_markdown

__all__ = [
    "describe_both_masked",
    "describe_checks",
    "describe_figures",
    "describe_interaction",
    "describe_planted",
    "describe_tested",
    "describe_thresholds",
    "describe_views",
    "summary",
]


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study in Markdown: results of deletion, sanity checks and planted bands.

    Parameters
    ----------
    study
        From :func:`freqlab.faithfulness.study`.
    """
    errors, side = study["errors"].to_dataset(), str(study.attrs["side"])
    found = [
        f"{as_markdown(name)}: {describe_amplitude(errors, model=name, side=side)}"
        for name in study.attrs["models"]
    ]
    planted = describe_planted(study["planted"].to_dataset())
    return [*found, *describe_checks(study["checks"].to_dataset()), planted]


def describe_tested(study: xr.DataTree, *, pairs: object = "the list") -> str:
    """State, in Markdown, which pairs are tested.

    Parameters
    ----------
    study
        From :func:`freqlab.faithfulness.study`.
    pairs
        Name of the list of pairs, if one was given.
    """
    genuine = study["influence"]["genuine"].to_numpy()
    whence = "drawn" if study.attrs["pairs_are"] == "drawn" else f"of {as_markdown(pairs)}"
    return (
        f"{int(genuine.sum()):,} genuine and {int((~genuine).sum()):,} impostor pairs of "
        f"{int(study.attrs['n_people']):,} people, {whence}; {int(study.attrs['n_sampled'])} of "
        f"them, half genuine, for the tests that take many forward passes per pair."
    )


def describe_thresholds(study: xr.DataTree) -> list[str]:
    """State, in Markdown, the threshold at which each model is tested."""
    result = study["influence"].to_dataset()
    asked, rate = float(study.attrs["fmr"]), float(study.attrs["fmr_used"])
    few = f" (FMR {asked:g} is not resolved by so few)" if rate > asked * 1.01 else ""
    return [
        f"**{as_markdown(name)}**: threshold {threshold_of(result, model=name, fmr=rate):.3f} at "
        f"FMR {rate:g}, over all {int(result['impostor_comparisons'].sel(model=name)):,} impostor "
        f"comparisons of the set{few}."
        for name in study.attrs["models"]
    ]


def describe_both_masked(errors: xr.Dataset, *, model: str) -> str:
    """State where the curves end when both images are masked.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`, with the side ``"both"``.
    model
        Name of the model.
    """
    ends = errors["curve"].sel(model=model, side="both", protocol="deletion", order="influence")
    at = ends.isel(step=int(np.isfinite(errors["share"].sel(model=model)).sum()) - 1)
    alike = at.sel(measure="similarity")
    return (
        f"both masked, ends where two images hold nothing but their mean colour: mean similarity "
        f"{float(alike.sel(comparison='genuine')):.2f} of genuine and "
        f"{float(alike.sel(comparison='impostor')):.2f} of impostor pairs, FMR "
        f"{float(at.sel(comparison='impostor', measure='error')):.2f}. That end says nothing of "
        f"faces; read the curves of one masked side first."
    )


def describe_interaction(views: xr.Dataset, *, model: str) -> str:
    """State the size of the interaction of two bands relative to the influence of one."""
    share = _interval(views["interaction_share"].sel(model=model))
    return f"mean interaction of two bands is {share} of a mean influence"


def describe_views(views: xr.Dataset, *, tolerance: float = 0.01) -> list[str]:
    """State, in Markdown, the precision of the Shapley values of each model."""
    told = []
    for name in map(str, views["model"].to_numpy()):
        part = views.sel(model=name)
        error = float(part["shapley_error"].max())
        above = f" (above the {tolerance:g} that was asked for)" if error > tolerance else ""
        left = abs(part["value"].sel(view="Shapley").sum("band") - part["gap"]).max()
        told.append(
            f"**{as_markdown(name)}**: Shapley values from {int(part['permutations'])} orders, "
            f"largest standard error {error:.3f}{above}; their sums differ from s(all) - s(none) "
            f"by {float(left):.0e} at most."
        )
    return told


def describe_checks(checks: xr.Dataset) -> list[str]:
    """State, in Markdown, how profiles change with another partner and for identical images."""
    return [
        f"**{as_markdown(name)}**: with another partner the directed profile keeps a rank "
        f"correlation of {_interval(checks['shuffled'].sel(model=name, kind='directed'))}; in a "
        f"picture paired with itself the least influence is "
        f"{float(checks['least_identical'].sel(model=name)):.1e}."
        for name in map(str, checks["model"].to_numpy())
    ]


def describe_planted(planted: xr.Dataset) -> str:
    """State how often planted bands are found."""
    hits = "; ".join(
        f"{contrast:g} grey levels: "
        f"{100 * float(planted['accuracy'].sel(contrast=contrast).mean()):.0f} %"
        for contrast in planted["contrast"].to_numpy()
    )
    return (
        f"Planted bands found, over all bands and people: {hits}. By chance: "
        f"{100 * float(planted['chance']):.0f} %."
    )


def describe_figures(figures: xr.Dataset, *, side: str = "probe") -> list[str]:
    """State, in Markdown, how complex profiles are, and how far models agree on them.

    Parameters
    ----------
    figures
        From :func:`freqlab.faithfulness.explanation_figures`.
    side
        Which image is masked.
    """
    told = []
    for name in map(str, figures["model"].to_numpy()):
        part = figures["mean_complexity"].sel(model=name, side=side)
        kinds = ", ".join(
            f"{_interval(part.sel(comparison=kind))} of {kind} pairs"
            for kind in ("genuine", "impostor")
        )
        told.append(f"**{as_markdown(name)}**: complexity {kinds}.")
    for couple in figures["couple"].to_numpy() if "agreement" in figures else ():
        alike = figures["agreement"].sel(couple=couple, side=side)
        kinds = " and ".join(
            f"{_interval(alike.sel(kind=kind))} ({kind})" for kind in ("directed", "absolute")
        )
        told.append(
            f"{as_markdown(couple)} agree on the profile of a pair with a rank correlation of "
            f"{kinds}."
        )
    return told


def _interval(values: xr.DataArray) -> str:
    numbers: npt.NDArray[np.float64] = values.to_numpy()
    value, lower, upper = numbers
    return f"{value:.2f} [{lower:.2f}, {upper:.2f}]"

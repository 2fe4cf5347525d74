"""Contents of a trust card: a row for each test result, and tested properties with verdicts.

A property passes if its whole interval satisfies a criterion (:func:`describe_criteria`). The
criteria are our choice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from freqlab.attrs import make_attrs, names_of
from freqlab.bands.fills import FILLS
from freqlab.faithfulness.deletion import BASELINES, PROTOCOLS
from freqlab.faithfulness.orders import better_views
from freqlab.faithfulness.planting import MARGIN
from freqlab.faithfulness.report import (
    FEWEST_PEOPLE,
    ROUNDING,
    compared_baselines,
    error_rates_differ,
    errors_occur,
    few_people,
)
from freqlab.literals import Side
from freqlab.results.selection import part_of
from freqlab.statistics.resampling import ESTIMATES
from freqlab.text.wording import NBSP, percent, signed, with_bounds

__all__ = ["NOT_PASSED", "NOT_TESTED", "PASSED", "describe_criteria", "trust_card"]

PASSED: Final = "passed"
NOT_PASSED: Final = "not passed"
NOT_TESTED: Final = "not tested"
"""Verdicts on a property."""

_HIGH, _MODERATE = 0.8, 0.5  # rank correlations
_IDENTIFIED = 0.9  # share of planted bands
_LEAST = -1e-4  # influence of identical images that is zero except for rounding to float32
_RANGES = {
    "above zero": (ROUNDING, np.inf),
    "high": (_MODERATE, np.inf),
    "low": (-np.inf, _MODERATE),
}


def trust_card(
    errors: xr.Dataset,
    views: xr.Dataset,
    checks: xr.Dataset,
    planted: xr.Dataset,
    stability: xr.Dataset,
    figures: xr.Dataset,
    *,
    learned: xr.Dataset | None = None,
    orders: xr.Dataset | None = None,
    edge: xr.Dataset | None = None,
    model: str,
    side: Side = "probe",
) -> dict[str, Any]:
    """Collect all test results on the explanations of one model.

    Parameters
    ----------
    errors
        From :func:`freqlab.faithfulness.deletion_errors`.
    views
        From :func:`freqlab.faithfulness.band_views`.
    checks
        From :func:`freqlab.faithfulness.sanity_checks`.
    planted
        From :func:`freqlab.faithfulness.planted_bands`.
    stability
        From :func:`freqlab.faithfulness.profile_stability`.
    figures
        From :func:`freqlab.faithfulness.explanation_figures`.
    learned
        From :func:`freqlab.faithfulness.learned_bands`.
    orders
        From :func:`freqlab.faithfulness.deletion_errors`, with the orders of other views and the
        best order known.
    edge
        From :func:`freqlab.edits.edge_effect`.
    model, side
        Part of the data to describe.

    Returns
    -------
    dict
        Plain JSON values: ``model``, ``side``, settings; ``rows``, each with ``test``, ``found``
        as text, ``figures`` (value, lower, upper) and ``reading``; and ``properties``, each with
        ``property``, ``verdict`` (``"passed"``, ``"not passed"`` or ``"not tested"``), ``text``
        (the figure with its interval) and ``figures``.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("faithfulness")
    >>> names = ("errors", "views", "checks", "planted", "stability", "figures")
    >>> parts = [study[name].to_dataset() for name in names]
    >>> card = fl.faithfulness.trust_card(*parts, model="linear")
    >>> sorted(card)
    ['bands', 'created_at', 'fmr', 'freqlab_version', 'method', 'model', 'pairs',
    'pairs_of_the_sample', 'people', 'properties', 'rows', 'seed', 'side', 'threshold', 'unit']
    """
    tests = _Tests(
        errors=part_of(errors, model=model, side=side),
        views=part_of(views, model=model),
        checks=part_of(checks, model=model),
        planted=planted,
        stability=part_of(stability, model=model),
        figures=part_of(figures, side=side),
        learned=learned,
        orders=None if orders is None else part_of(orders, model=model, side=side),
        edge=None if edge is None else part_of(edge, model=model, side=side),
        model=model,
    )
    threshold = float(tests.errors["threshold"])
    n_pairs = tests.errors["n_pairs"]
    made = make_attrs()
    return {
        "model": model,
        "side": side,
        "fmr": float(errors.attrs["fmr"]),
        "threshold": threshold if np.isfinite(threshold) else None,
        "bands": names_of(views, "band"),
        "unit": str(views["frequency"].attrs["units"]),
        "pairs": {str(c): int(n_pairs.sel(comparison=c)) for c in ("genuine", "impostor")},
        "people": int(errors.attrs["n_people"]) if "n_people" in errors.attrs else None,
        "pairs_of_the_sample": int(views.sizes["pair"]),
        "seed": int(errors.attrs["seed"]),
        "created_at": made["created_at"],
        "freqlab_version": made["freqlab_version"],
        "method": json.loads(made["method"]),
        "rows": [row for rows in _ROWS for row in rows(tests)],
        "properties": [row for rows in _PROPERTIES for row in rows(tests)],
    }


def describe_criteria() -> str:
    """State when a property of a trust card counts as passed.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> print(fl.faithfulness.describe_criteria())
    A property is passed if its whole interval meets the criterion: an advantage ...
    """
    return (
        f"A property is passed if its whole interval meets the criterion: an advantage over the "
        f"order of amplitude lies above 0; a rank correlation lies above {_MODERATE:g} where "
        f"profiles should agree (other views, small changes of the image, the mirrored crop), and "
        f"below {_MODERATE:g} where they should differ (randomised weights, another partner); the "
        f"share of interactions lies below {_MODERATE:g}. The minimum influence of identical "
        f"images must not be negative, and {100 * _IDENTIFIED:g}{NBSP}% of the planted bands must "
        f"be identified; planted bands test the method, not the model. No other view of the bands "
        f"may have an order with a larger relevance gain, by an interval of the paired difference "
        f"that excludes zero. Orders are not compared on fewer than {FEWEST_PEOPLE} people, or "
        f"where their errors do not differ."
    )


@dataclass(frozen=True)
class _Tests:
    """Results of all tests of one model, for one masked image."""

    errors: xr.Dataset
    views: xr.Dataset
    checks: xr.Dataset
    planted: xr.Dataset
    stability: xr.Dataset
    figures: xr.Dataset
    learned: xr.Dataset | None
    orders: xr.Dataset | None
    edge: xr.Dataset | None
    model: str

    @property
    def all_randomised(self) -> str:
        """Share of layers that are randomised at the last depth, as text."""
        return f"{100 * float(self.checks['depth'][-1]):g} % of layers randomised"

    def panels(self) -> Iterator[tuple[str, str, xr.Dataset]]:
        """Protocol, kind of pairs and errors of each panel of deletion and insertion."""
        for comparison in ("genuine", "impostor"):
            for protocol in PROTOCOLS:
                part = self.errors.sel(comparison=comparison, protocol=protocol)
                yield protocol, comparison, part


def _deletion_rows(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Areas under the error rates, and advantages over the baselines."""
    for protocol, comparison, panel in tests.panels():
        if int(panel["n_pairs"]) == 0:
            continue
        area = panel["area"].sel(order="influence", measure="error")
        advantage = panel["advantage"].sel(measure="error")
        gains = [
            f"{signed(advantage.sel(baseline=name), 3)} over {name}"
            for name in BASELINES
            if errors_occur(panel)
        ]
        rate = "FNMR" if comparison == "genuine" else "FMR"
        better = "larger" if protocol == "deletion" else "smaller"
        yield _row(
            f"{protocol}, {comparison} pairs: area under {rate}",
            area,
            "; ".join([_figure(area), *gains]),
            f"{better} is better; by errors: {compared_baselines(panel, 'error')}; by similarity: "
            f"{compared_baselines(panel, 'similarity')}",
        )


def _view_rows(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Agreement of influence with other views of the bands, and interactions."""
    names = {"keep one": "each band alone", "Shapley": "Shapley values"}
    for view in names_of(tests.views, "view"):
        agreement = tests.views["agreement"].sel(view=view, kind="directed")
        test = f"agreement with: {names.get(view, view)}"
        yield _row(test, agreement, _correlation(agreement), _strength(agreement))
    share = tests.views["interaction_share"]
    text = f"{_figure(share)} of the mean influence"
    yield _row("interaction of two bands", share, text, "0 if the influences of bands are additive")


def _check_rows(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Dependence on the weights and on the partner, and identical images."""
    for kind in ("directed", "absolute", "per_contrast"):
        remaining = tests.checks["randomised"].sel(kind=kind).isel(depth=-1)
        text = "not tested: not a PyTorch module with weights"
        if np.isfinite(float(remaining.sel(estimate="value"))):
            text = _correlation(remaining)
        reading = "0 if the profile depends on the weights alone"
        if kind == "absolute":
            reading += "; absolute influence also depends on the energy of the bands"
        yield _row(f"{tests.all_randomised}: {kind.replace('_', ' ')}", remaining, text, reading)
    shuffled = tests.checks["shuffled"].sel(kind="directed")
    reading = "lower if the profile depends more on the pair"
    yield _row("another partner", shuffled, _correlation(shuffled), reading)
    least = tests.checks["least_identical"]
    reading = "fault: negative" if float(least) < _LEAST else "not negative, as required"
    yield _row("identical images: minimum influence", least, f"{float(least):.1e}", reading)


def _planted_rows(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Shares of planted bands that are identified."""
    chance = 100 * float(tests.planted["chance"])
    for contrast in tests.planted["contrast"].to_numpy():
        share = tests.planted["accuracy"].sel(contrast=contrast).mean()
        text = f"identified in {100 * float(share):.0f} %, chance level {chance:.0f} %"
        reading = "100 % if every planted band is identified"
        test = f"method, no model: planted band, {contrast:g} grey levels"
        yield _row(test, share, text, reading)
    if tests.learned is not None:
        for band in names_of(tests.learned, "planted"):
            part = tests.learned.sel(planted=band)
            text = (
                f"largest influence in {100 * float(part['share']):.0f} % of the pairs; AUC "
                f"{float(part['auc']):.2f}, without the band {float(part['auc_without']):.2f}"
            )
            if not np.isfinite(float(part["share"])):
                text = f"not learned (AUC {float(part['auc']):.2f})"
            test = f"method, network trained on the spot: band {band}"
            yield _row(test, part["share"], text, "the network reads this band only")


def _stability_rows(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Rank correlation of profiles before and after small changes of the image."""
    for name in names_of(tests.stability, "perturbation"):
        correlation = tests.stability["correlation"].sel(perturbation=name)
        text, reading = _correlation(correlation), _strength(correlation)
        yield _row(f"stability: {name}", correlation, text, reading)


def _edge_rows(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Agreement of profiles with those of the mirrored crop, and influence of the border."""
    if tests.edge is None:
        return
    at = f"{tests.edge.attrs['high']:g}{NBSP}{tests.edge.attrs['unit']}"
    for comparison in names_of(tests.edge, "comparison"):
        part = tests.edge.sel(comparison=comparison)
        if not int(part["n_pairs"]):
            continue
        texts = [_correlation(part["correlation"])]
        same, excess = (percent(part[name], 0) for name in ("same_strongest", "excess"))
        texts += [f"the same strongest band in {same}"] if same else []
        texts += [f"{excess} of the influence from {at} up is due to the border"] if excess else []
        test = f"border of the crop, {comparison} pairs: periodic and mirrored"
        yield _row(test, part["correlation"], "; ".join(texts), _strength(part["correlation"]))


def _figure_rows(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Complexity of profiles, and agreement of models."""
    for comparison in ("genuine", "impostor"):
        part = tests.figures["mean_complexity"]
        complexity = part.sel(model=tests.model, comparison=comparison)
        if np.isfinite(float(complexity.sel(estimate="value"))):
            reading = "0: all influence in one band; 1: equal influence of all bands"
            test = f"complexity, {comparison} pairs"
            yield _row(test, complexity, _figure(complexity), reading)
    for couple in names_of(tests.figures, "couple") if "agreement" in tests.figures else ():
        agreement = tests.figures["agreement"].sel(couple=couple, kind="directed")
        test = f"agreement of models: {couple}"
        yield _row(test, agreement, _correlation(agreement), "models may differ")


def _deletion_properties(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Advantage of influence over the order of amplitude, by errors."""
    for protocol, comparison, panel in tests.panels():
        advantage = panel["advantage"].sel(baseline="amplitude", measure="error")
        untested = ""
        if int(panel["n_pairs"]) == 0:
            untested = "no pairs"
        elif not errors_occur(panel):
            untested = "no error occurs"
        elif not error_rates_differ(panel):
            untested = "the same errors in all orders"
        elif few_people(panel):
            untested = f"fewer than {FEWEST_PEOPLE} people"
        text = f"{protocol}, {comparison} pairs: advantage over amplitude"
        yield _property(text, advantage, "above zero", untested=untested, form="+.3f")


def _view_properties(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Agreement with other views, and additivity."""
    agreement = tests.views["agreement"].sel(kind="directed")
    yield _property("agreement with Shapley values", agreement.sel(view="Shapley"), "high")
    fills = agreement.sel(view=[f"filled by {fill}" for fill in FILLS])
    name, lowest = _lowest(fills, "view")
    yield _property("agreement with filled bands (lowest)", lowest, "high", remark=name)
    yield _property("share of interactions", tests.views["interaction_share"], "low")


def _check_properties(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Dependence on the weights and on the partner, and identical images."""
    remaining = tests.checks["randomised"].sel(kind="directed").isel(depth=-1)
    yield _property(f"{tests.all_randomised}: rank correlation", remaining, "low")
    shuffled = tests.checks["shuffled"].sel(kind="directed")
    yield _property("another partner: rank correlation", shuffled, "low")
    least = float(tests.checks["least_identical"])
    verdict = PASSED if least >= _LEAST else NOT_PASSED
    text = f"{least:.1e}"
    if not np.isfinite(least):
        verdict, text = NOT_TESTED, ""
    yield _stated(
        "identical images: minimum influence", verdict, text, tests.checks["least_identical"]
    )


def _planted_properties(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Share of planted bands that are identified, without a model and by a trained network."""
    least = MARGIN * float(tests.planted.attrs["distractor"])
    contrasts = tests.planted["contrast"]
    strong = contrasts[contrasts >= least] if (contrasts >= least).any() else contrasts[-1:]
    share = tests.planted["accuracy"].sel(contrast=strong).mean()
    verdict = PASSED if float(share) >= _IDENTIFIED else NOT_PASSED
    name = f"method, no model: planted bands identified (from {float(strong.min()):g} grey levels)"
    yield _stated(name, verdict, f"{100 * float(share):.0f}{NBSP}%", share)
    if tests.learned is None:
        return
    name = "method, network trained on the spot: bands identified"
    identified = tests.learned["identified"].dropna("planted")
    n_learned, n_planted = identified.sizes["planted"], tests.learned.sizes["planted"]
    if not n_learned:
        yield _stated(name, NOT_TESTED, "the patterns are not learned", identified.sum() * np.nan)
        return
    verdict = PASSED if float(identified.mean()) >= _IDENTIFIED else NOT_PASSED
    text = f"{int(identified.sum())} of {n_learned}"
    text += f" ({n_planted - n_learned} not learned)" if n_learned < n_planted else ""
    yield _stated(name, verdict, text, identified.mean())


def _order_rows(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Relevance gain of influence relative to the best order known."""
    if tests.orders is None or "reached" not in tests.orders:
        return
    for comparison in ("genuine", "impostor"):
        if int(tests.orders["n_pairs"].sel(comparison=comparison)):
            part = tests.orders["reached"].sel(comparison=comparison, order="influence")
            few = few_people(tests.orders)
            share = f"{float(part.sel(estimate='value')):.3f}" if few else _figure(part)
            text = f"{share} of the relevance gain of the best order known"
            test = f"order of influence, {comparison} pairs"
            yield _row(test, part, text, "0: as random orders; 1: as the best order known")


def _order_properties(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Whether the order of another view is better than that of influence."""
    if tests.orders is None:
        return
    better = better_views(tests.orders)
    name = "no other view orders the bands better"
    values = tests.orders["relevance_advantage"].sel(measure="similarity")
    if few_people(tests.orders):
        text = f"fewer than {FEWEST_PEOPLE} people"
        yield _stated(name, NOT_TESTED, text, values.min() * np.nan)
        return
    texts = list(dict.fromkeys(view for _, view in better))
    text = f"better: {', '.join(texts)}" if better else ""
    yield _stated(name, NOT_PASSED if better else PASSED, text, values.min() * np.nan)


def _stability_properties(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Lowest rank correlation after small changes of the image."""
    name, lowest = _lowest(tests.stability["correlation"], "perturbation")
    yield _property("stability under small changes (lowest)", lowest, "high", remark=name)


def _edge_properties(tests: _Tests) -> Iterator[dict[str, Any]]:
    """Lowest rank correlation of profiles with those of the mirrored crop."""
    if tests.edge is None:
        return
    kind, lowest = _lowest(tests.edge["correlation"], "comparison")
    name = "agreement with the mirrored crop (lowest)"
    yield _property(name, lowest, "high", remark=f"{kind} pairs")


_ROWS = (
    _deletion_rows,
    _order_rows,
    _view_rows,
    _check_rows,
    _planted_rows,
    _stability_rows,
    _edge_rows,
    _figure_rows,
)
_PROPERTIES = (
    _deletion_properties,
    _order_properties,
    _view_properties,
    _check_properties,
    _planted_properties,
    _stability_properties,
    _edge_properties,
)


def _row(test: str, values: xr.DataArray, text: str, reading: str) -> dict[str, Any]:
    """Make a row of the card from a test result."""
    return {"test": test, "found": text, "figures": _plain(values), "reading": reading}


def _property(
    name: str,
    values: xr.DataArray,
    criterion: str,
    *,
    untested: str = "",
    remark: str = "",
    form: str = ".2f",
) -> dict[str, Any]:
    """Judge a property by its interval.

    Parameters
    ----------
    name
        Short name.
    values
        Along ``estimate``.
    criterion
        Range that must contain the interval, one of ``_RANGES``.
    untested
        Reason why the property is not tested; empty if it is.
    remark
        Text after the figure.
    form
        Format of the figure.
    """
    value, lower, upper = (float(values.sel(estimate=one)) for one in ESTIMATES)
    text = with_bounds(values, form)
    text += f" ({remark})" if text and remark else ""
    if not untested and np.isfinite(value) and np.isnan([lower, upper]).any():
        untested = "no interval"
    if untested or not np.isfinite(value):
        return _stated(name, NOT_TESTED, untested, values)
    smallest, largest = _RANGES[criterion]
    verdict = PASSED if smallest < lower and upper < largest else NOT_PASSED
    return _stated(name, verdict, text, values)


def _stated(name: str, verdict: str, text: str, values: xr.DataArray) -> dict[str, Any]:
    """Make a property of the card."""
    return {"property": name, "verdict": verdict, "text": text, "figures": _plain(values)}


def _plain(values: xr.DataArray) -> dict[str, float | None]:
    """Return a figure and its bounds as JSON values, None for NaN."""
    numbers = [float(v) for v in np.atleast_1d(values.to_numpy())]
    rounded = [round(v, 6) if np.isfinite(v) else None for v in numbers]
    return dict(zip(ESTIMATES, rounded, strict=False))


def _lowest(values: xr.DataArray, axis: str) -> tuple[str, xr.DataArray]:
    """Select the lowest value along an axis; return its name and its estimates."""
    numbers = values.sel(estimate="value").to_numpy()
    position = int(np.nanargmin(numbers)) if np.isfinite(numbers).any() else 0
    return names_of(values.to_dataset(name="lowest"), axis)[position], values.isel({axis: position})


def _strength(values: xr.DataArray) -> str:
    """Describe the strength of a rank correlation."""
    value = float(values.sel(estimate="value"))
    if not np.isfinite(value):
        return "not available"
    return "high" if value >= _HIGH else "moderate" if value >= _MODERATE else "low"


def _figure(values: xr.DataArray) -> str:
    """Format a figure with its interval."""
    return with_bounds(values, ".3f") or "not available"


def _correlation(values: xr.DataArray) -> str:
    """Format a rank correlation with its interval."""
    return f"rank correlation {_figure(values)}"

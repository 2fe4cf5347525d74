"""Comparison of explanations in space and in frequency, as tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.errors import ParameterError, check_name
from freqlab.faithfulness.deletion import deletion_errors
from freqlab.faithfulness.games import complexity
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join, signed

__all__ = [
    "agreement_table",
    "compare_explanations",
    "describe_explanations",
    "describe_reliability",
    "describe_study",
    "explanation_table",
    "map_complexity",
    "summary",
]

_MEASURES = ("error", "similarity")


def map_complexity(maps: xr.DataArray) -> float:
    """Compute the mean evenness of maps over pairs, from 0 (one place) to 1 (uniform).

    Parameters
    ----------
    maps
        Along ``pair`` and any others.
    """
    others = [dim for dim in maps.dims if dim != "pair"]
    values = maps.transpose("pair", *others).to_numpy().astype(float)
    return float(np.nanmean(complexity(values.reshape(len(values), -1))))


def compare_explanations(
    curves: Mapping[str, xr.Dataset],
    costs: Mapping[str, tuple[float, float]],
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the advantage of each explanation over its baselines, and its cost.

    Parameters
    ----------
    curves
        By domain, from :func:`freqlab.saliency.curves`.
    costs
        Forward passes and seconds per pair, by explanation.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``explanation``, whose ``domain`` is a coordinate: ``area(explanation, comparison,
        protocol, measure, estimate)``, ``random_area`` alike, ``advantage(..., baseline,
        estimate)`` over ``random``, ``amplitude`` and ``prior`` (low frequencies, or the centre,
        first), positive where the explanation is better; ``passes``, ``seconds``.

    Raises
    ------
    ParameterError
        If the cost of an explanation is missing.
    """
    found: dict[str, list[np.ndarray]] = {"area": [], "random_area": [], "advantage": []}
    names: list[str] = []
    domains: list[str] = []
    for domain, one in curves.items():
        every = names_of(one, "order")
        behind = every.index("amplitude")
        for name in every[:behind]:
            if name not in costs:
                raise ParameterError(f"costs lacks explanation {name!r}")
            part = one.sel(order=[name, *every[behind:]])
            errors = deletion_errors(part, n_draws=n_draws, level=level, seed=seed)
            errors = errors.isel(model=0, side=0)
            dims = ("comparison", "protocol", "measure", "estimate")
            area = errors["area"].transpose("order", *dims)
            found["area"].append(area.sel(order=name).to_numpy())
            found["random_area"].append(area.sel(order="random").to_numpy())
            gain = errors["advantage"].transpose(*dims[:3], "baseline", "estimate")
            found["advantage"].append(gain.to_numpy())
            names.append(name)
            domains.append(domain)
    axes = ("explanation", "comparison", "protocol", "measure")
    first = next(iter(curves.values()))
    computed = xr.Dataset(
        {
            "area": ((*axes, "estimate"), np.stack(found["area"])),
            "random_area": ((*axes, "estimate"), np.stack(found["random_area"])),
            "advantage": (
                (*axes, "baseline", "estimate"),
                np.stack(found["advantage"]),
                {"long_name": "advantage in area", "units": "1"},
            ),
            "passes": ("explanation", [costs[name][0] for name in names]),
            "seconds": ("explanation", [costs[name][1] for name in names]),
        },
        coords={
            "explanation": names,
            "domain": ("explanation", domains),
            "comparison": ["genuine", "impostor"],
            "protocol": ["deletion", "insertion"],
            "measure": list(_MEASURES),
            "baseline": ["random", "amplitude", "prior"],
            "estimate": ["value", "lower", "upper"],
        },
        attrs={"n_pairs": first.sizes["pair"], "fmr": first.attrs["fmr"], "level": level},
    )
    return with_object_text(computed)


def explanation_table(compared: xr.Dataset, *, measure: str = "similarity") -> pd.DataFrame:
    """Tabulate explanations: advantages over random order and amplitude, and cost.

    Parameters
    ----------
    compared
        From :func:`compare_explanations`.
    measure
        What the area is of: ``"similarity"``, or ``"error"`` at the threshold.
    """
    check_name("measure", measure, _MEASURES)
    rows = []
    for name in compared["explanation"].to_numpy():
        one = compared.sel(explanation=name, measure=measure)
        row = {("", "explanation"): str(name), ("", "of"): str(one["domain"].item())}
        for protocol in ("deletion", "insertion"):
            for comparison in ("genuine", "impostor"):
                for baseline in ("random", "amplitude"):
                    gain = one["advantage"].sel(
                        protocol=protocol, comparison=comparison, baseline=baseline
                    )
                    row[(f"{protocol}, {comparison}", f"over {baseline}")] = signed(gain, 2)
        row[("cost of a pair", "forward passes")] = f"{float(one['passes']):,.0f}"
        row[("cost of a pair", "seconds")] = f"{float(one['seconds']):.2g}"
        rows.append(row)
    table = pd.DataFrame(rows)
    table.columns = pd.MultiIndex.from_tuples(list(rows[0]))
    return table.set_index(("", "explanation")).rename_axis("explanation")


def describe_explanations(compared: xr.Dataset) -> str:
    """State which explanations beat their baselines, and the best in frequency and in space.

    Parameters
    ----------
    compared
        From :func:`compare_explanations`.
    """
    gain = compared["advantage"].sel(measure="similarity")
    sentences = []
    for comparison in ("genuine", "impostor"):
        here = gain.sel(comparison=comparison, protocol="deletion")
        better = {
            baseline: [
                str(name)
                for name in compared["explanation"].to_numpy()
                if float(here.sel(explanation=name, baseline=baseline, estimate="lower")) > 0
            ]
            for baseline in ("random", "amplitude")
        }
        if not np.isfinite(here.sel(estimate="value")).any():
            continue
        texts = [
            f"{join(names) if names else 'none'} beat{'s' if len(names) < 2 else ''} "
            + ("a random order" if baseline == "random" else "the order of amplitude")
            for baseline, names in better.items()
        ]
        sentences.append(f"Deletion, {comparison} pairs: {join(texts)} beyond chance.")
    best = {}
    for kind, domains in (("frequency", ("bands", "frequency")), ("space", ("space",))):
        part = compared.isel(
            explanation=np.flatnonzero(np.isin(compared["domain"].to_numpy(), domains))
        )
        if not part.sizes["explanation"]:
            continue
        over = part["advantage"].sel(
            measure="similarity",
            comparison="genuine",
            protocol="deletion",
            baseline="amplitude",
            estimate="value",
        )
        if np.isfinite(over).any():
            one = part.isel(explanation=int(over.argmax("explanation")))
            best[kind] = (str(one["explanation"].item()), float(over.max()), float(one["passes"]))
    if len(best) == 2:
        texts = [
            f"in {kind} {name} ({value:+.2f} in area over amplitude, {passes:,.0f} forward passes "
            f"a pair)"
            for kind, (name, value, passes) in best.items()
        ]
        sentences.append(f"On genuine pairs the best are {join(texts)}.")
    return " ".join(sentences)


def agreement_table(agreed: xr.Dataset, *, kind: str = "directed") -> pd.DataFrame:
    """Tabulate rank correlations between explanations.

    Parameters
    ----------
    agreed
        From :func:`freqlab.saliency.agreement`.
    kind
        ``"directed"`` or ``"absolute"``.
    """
    check_name("kind", kind, ["directed", "absolute"])
    values = agreed["agreement"].sel(kind=kind)
    names = names_of(agreed, "explanation")
    rows = [
        [
            "" if one == other else signed(values.sel(explanation=one, other=other), 2)
            for other in names
        ]
        for one in names
    ]
    return pd.DataFrame(rows, index=names, columns=names)


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study: which explanations beat their baselines, and how reliable maps are.

    Parameters
    ----------
    study
        From :func:`freqlab.saliency.study`.
    """
    told = describe_explanations(study["explanations"].to_dataset())
    return [told, describe_reliability(study)]


def describe_study(study: xr.DataTree) -> str:
    """State which pairs are explained, and at which threshold, in Markdown."""
    attrs, genuine = study.attrs, study["influence"]["genuine"].to_numpy()
    asked, rate = float(attrs["fmr"]), float(attrs["fmr_used"])
    few = f" FMR {asked:g} is not resolved by so few comparisons." if rate > asked else ""
    return (
        f"{as_markdown(attrs['models'][0])}: {int(genuine.sum()):,} genuine and "
        f"{int((~genuine).sum()):,} impostor pairs, of which {len(attrs['explained']):,} are "
        f"explained by every method; the {attrs['side']} is masked. Threshold "
        f"{float(attrs['threshold']):.3f} at FMR {rate:g}.{few}"
    )


def describe_reliability(study: xr.DataTree) -> str:
    """State how many maps by random masks miss the requested reliability."""
    short = [
        f"{int((~study[f'maps/{node}']['converged'].to_numpy()).sum())} of "
        f"{len(study.attrs['explained'])} by {name}"
        for node, name in (("corrrise", "CorrRISE"), ("freqrise", "FreqRISE"))
    ]
    return f"Short of the reliability asked for: {', '.join(short)}."

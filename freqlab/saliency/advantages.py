"""Advantage of explanations over baselines and over each other, with their cost and complexity.

The advantage of an explanation is a difference of areas under deletion or insertion curves,
computed for each pair of faces. All intervals are over people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import named, names_of
from freqlab.errors import ParameterError
from freqlab.faithfulness.deletion import PROTOCOLS, deletion_errors
from freqlab.faithfulness.games import area_under, complexity
from freqlab.literals import Comparison, Measure
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    mean_with_interval,
    subject_codes,
)

__all__ = ["BASELINES", "COMPARISONS", "MEASURES", "compare_explanations", "map_complexity"]

COMPARISONS: tuple[Comparison, ...] = ("genuine", "impostor")
MEASURES: tuple[Measure, ...] = ("error", "similarity")
BASELINES = ("random", "amplitude", "prior")
"""Baselines of an explanation; the prior is low frequencies first, or the centre first."""

_NAMES = {
    "area": ("area under the curve", "1"),
    "random_area": ("area under the curve of random orders", "1"),
    "advantage": ("advantage in area", "1"),
    "difference": ("difference of the advantages over amplitude", "1"),
    "passes": ("forward passes per pair", "1"),
    "seconds": ("time per pair", "s"),
    "n_unreliable": ("maps that missed the requested reliability", "1"),
    "n_pairs": ("pairs", "1"),
    "n_people": ("people", "1"),
}

Floats = npt.NDArray[np.float64]


def map_complexity(maps: xr.DataArray) -> float:
    """Compute the mean evenness of maps over pairs, from 0 (one unit) to 1 (uniform).

    Parameters
    ----------
    maps
        Values along ``pair`` and any other axes.

    Returns
    -------
    float
        NaN if no pair has a map.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> maps = study["maps/freqrise"]["by_band"]
    >>> 0 < fl.saliency.map_complexity(maps) < 1
    True
    """
    others = [dim for dim in maps.dims if dim != "pair"]
    values = maps.transpose("pair", *others).to_numpy().astype(float)
    return float(np.nanmean(complexity(values.reshape(len(values), -1))))


def compare_explanations(
    curves: Mapping[str, xr.Dataset],
    costs: Mapping[str, tuple[float, float]],
    *,
    unreliable: Mapping[str, int] | None = None,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the advantage of each explanation over its baselines and the others, and its cost.

    Parameters
    ----------
    curves
        By domain, from :func:`freqlab.saliency.curves`, all of the same pairs.
    costs
        Forward passes and seconds per pair, by explanation.
    unreliable
        Number of maps that missed the requested reliability, by explanation; 0 by default.
        Sentences on the result do not rank explanations with such maps.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``explanation``, with coordinate ``domain``:

        - ``area(explanation, comparison, protocol, measure, estimate)``, and ``random_area``, that
          of random orders in the same domain;
        - ``advantage(..., baseline, estimate)``, over the baselines ``random``, ``amplitude`` and
          ``prior`` (low frequencies first, or the centre first), positive where the explanation
          is better;
        - ``difference(..., other, estimate)``: advantage over amplitude minus that of another
          explanation, paired over pairs;
        - ``passes`` and ``seconds`` per pair; ``n_unreliable``; ``n_pairs(comparison)`` and
          ``n_people(comparison)``.

    Raises
    ------
    ParameterError
        If no curves are given, the cost of an explanation is missing, or the curves are of
        different pairs.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(3, 2), models=[model])
    >>> maps = fl.saliency.freqrise_maps(result, model, pairs=[0, 1], n_masks=20, progress=False)
    >>> curves = fl.saliency.curves(
    ...     result.sel(pair=[0, 1]), model, {"FreqRISE": maps["map"]}, domain="frequency", fmr=0.1,
    ...     steps=4, progress=False
    ... )
    >>> compared = fl.saliency.compare_explanations(
    ...     {"FreqRISE": curves}, {"FreqRISE": (20.0, 1.5)}, n_draws=50
    ... )
    >>> compared["explanation"].to_numpy().tolist()
    ['FreqRISE']
    """
    check_draws(n_draws, level, seed)
    _check_pairs(curves)
    drawn: dict[str, Any] = {"n_draws": n_draws, "level": level, "seed": seed}
    names: list[str] = []
    domains: list[str] = []
    errors: list[xr.Dataset] = []
    gains: list[Floats] = []
    for domain, one in curves.items():
        orders = names_of(one, "order")
        first_baseline = orders.index("amplitude")
        for name in orders[:first_baseline]:
            if name not in costs:
                raise ParameterError(f"costs lacks explanation {name!r}")
            part = one.sel(order=[name, *orders[first_baseline:]])
            errors.append(deletion_errors(part, **drawn).isel(model=0, side=0))
            gains.append(_over_amplitude(part))
            names.append(name)
            domains.append(domain)
    first = next(iter(curves.values()))
    missed = [0 if unreliable is None else unreliable.get(name, 0) for name in names]
    computed = xr.Dataset(
        {
            **_advantages(errors, names),
            "difference": _differences(np.stack(gains, axis=1), first, drawn),
            "passes": ("explanation", [costs[name][0] for name in names]),
            "seconds": ("explanation", [costs[name][1] for name in names]),
            "n_unreliable": ("explanation", missed),
            **_counts(first),
        },
        coords={
            "explanation": names,
            "other": names,
            "domain": ("explanation", domains),
            "comparison": list(COMPARISONS),
            "protocol": list(PROTOCOLS),
            "measure": list(MEASURES),
            "baseline": list(BASELINES),
            "estimate": list(ESTIMATES),
        },
        attrs={"n_pairs": first.sizes["pair"], "fmr": first.attrs["fmr"], "level": level},
    )
    return named(computed, _NAMES)


def _check_pairs(curves: Mapping[str, xr.Dataset]) -> None:
    """Refuse curves of different pairs, whose differences are not paired."""
    if not curves:
        raise ParameterError("curves={}: give the curves of at least one domain")
    first_domain, first = next(iter(curves.items()))
    for domain, one in curves.items():
        if one["pair"].to_numpy().tolist() != first["pair"].to_numpy().tolist():
            raise ParameterError(f"curves: {domain!r} is of other pairs than {first_domain!r}")


def _advantages(
    errors: list[xr.Dataset], names: list[str]
) -> dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]:
    """Areas and advantages of all explanations, from their errors."""
    dims = ("comparison", "protocol", "measure")
    area, random_area, advantage = [], [], []
    for one, name in zip(errors, names, strict=True):
        areas = one["area"].transpose("order", *dims, "estimate")
        area.append(areas.sel(order=name).to_numpy())
        random_area.append(areas.sel(order="random").to_numpy())
        gain = one["advantage"].transpose(*dims, "baseline", "estimate")
        advantage.append(gain.to_numpy())
    axes = ("explanation", *dims)
    return {
        "area": ((*axes, "estimate"), np.stack(area)),
        "random_area": ((*axes, "estimate"), np.stack(random_area)),
        "advantage": ((*axes, "baseline", "estimate"), np.stack(advantage)),
    }


def _over_amplitude(curves: xr.Dataset) -> Floats:
    """Advantage of the first order over that of amplitude ``(pair, protocol, measure)``.

    Signs are those of :func:`freqlab.faithfulness.deletion_errors`.
    """
    one = curves.isel(model=0, side=0).isel(order=[0, names_of(curves, "order").index("amplitude")])
    similarity = one["similarity"].transpose("pair", "protocol", "order", "step").to_numpy()
    genuine = one["genuine"].to_numpy()[:, None]
    wrong = (similarity >= float(one["threshold"])) != genuine[:, :, None, None]
    known = np.isfinite(similarity) & np.isfinite(float(one["threshold"]))
    areas = [area_under(values) for values in (np.where(known, wrong, np.nan), similarity)]
    deletion = np.where(np.array(PROTOCOLS) == "deletion", 1, -1)
    signs = [deletion, np.where(genuine, -1, 1) * deletion]  # by measure: of errors, of similarity
    return np.stack(
        [sign * (area[..., 0] - area[..., 1]) for sign, area in zip(signs, areas, strict=True)],
        axis=-1,
    )


def _differences(
    gains: Floats, curves: xr.Dataset, drawn: dict[str, Any]
) -> tuple[tuple[str, ...], Floats]:
    """Differences between advantages ``(pair, explanation, protocol, measure)``, with intervals."""
    codes, genuine = subject_codes(curves), curves["genuine"].to_numpy()
    draws = draw_subjects(int(codes.max()) + 1, drawn["n_draws"], drawn["seed"])
    paired = gains[:, :, None] - gains[:, None]
    means = np.stack(
        [
            mean_with_interval(paired[kind], codes[:, kind], draws, drawn["level"])
            for kind in (genuine, ~genuine)
        ]
    )
    axes = ("comparison", "explanation", "other", "protocol", "measure", "estimate")
    return axes, means


def _counts(curves: xr.Dataset) -> dict[str, tuple[str, list[int]]]:
    """Number of pairs whose similarity is known, and of their people, by kind of pairs."""
    similarity = curves["similarity"]
    known = similarity.notnull().any([dim for dim in similarity.dims if dim != "pair"]).to_numpy()
    codes, genuine = subject_codes(curves), curves["genuine"].to_numpy()
    chosen = [known & genuine, known & ~genuine]
    return {
        "n_pairs": ("comparison", [int(kind.sum()) for kind in chosen]),
        "n_people": ("comparison", [len(np.unique(codes[:, kind])) for kind in chosen]),
    }

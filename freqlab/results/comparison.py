"""Comparison of runs: profiles and errors side by side, and their paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_side
from freqlab.literals import Side
from freqlab.results.error_changes import comparisons_of_pairs, error_changes, error_rates
from freqlab.results.profiles import mean_profile
from freqlab.results.quantities import (
    QUANTITIES,
    comparisons_of,
    means_by,
    quantity,
    with_intervals,
)
from freqlab.results.several import named_results, with_pairs_of
from freqlab.statistics.resampling import ESTIMATES, check_draws, draw_subjects, subject_codes

__all__ = ["KINDS", "compare"]

KINDS = ("directed", "absolute", "per_contrast")
"""Quantities of the profiles that are compared."""

_UNPAIRED = "pass paired=False for profiles side by side, without differences"


class _Run(NamedTuple):
    """One model of one result."""

    name: str
    """Name of the result."""
    model: str
    data: xr.Dataset
    """The result, with this model and the compared side only."""
    first: bool
    """Whether it is of the first result."""

    @property
    def label(self) -> str:
        """Name of the run in figures and sentences."""
        return f"{self.name} · {self.model}"


def compare(
    results: xr.Dataset | Sequence[xr.Dataset],
    *,
    names: Sequence[str] | None = None,
    paired: bool = True,
    side: Side = "probe",
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compare runs (models, states of one model) on the same pairs: profiles and errors.

    Every model of a result is one run. A run is compared with the run of the same model in the
    first result if there is one, otherwise with the first run; the coordinate ``baseline`` names
    it. Both are evaluated on the same pairs and in the same bootstrap draws of people, so that the
    intervals of the differences are paired.

    Parameters
    ----------
    results
        One result of :func:`freqlab.influence` or :func:`freqlab.open_influence` with several
        models, or several results. All must have the same bands, and the same pairs in any order.
    names
        One name for each result; its face set by default, numbered where that is ambiguous.
    paired
        Whether differences are computed. With False, the results may have different pairs, and
        profiles and thresholds are only placed side by side.
    side
        The side that was masked.
    n_draws
        Bootstrap draws.
    level
        Coverage of the intervals, between 0 and 1.
    seed
        Seed of the draws.

    Returns
    -------
    xarray.Dataset
        Profiles ``directed``, ``absolute`` and ``per_contrast``, each ``(run, comparison, band,
        estimate)`` with ``comparison`` genuine or impostor and ``estimate`` value, lower or upper;
        ``n_pairs`` and ``n_subjects`` ``(run, comparison)``; ``threshold(run, fmr)`` with
        ``impostor_comparisons(run)``; coordinates ``model`` and ``face_set``.

        With `paired`, also the errors over the pairs of the result: ``eer(run, estimate)``, and
        ``false_non_match_rate(run, fmr, estimate)`` at the run's own threshold, which is fixed in
        all draws; run minus baseline, ``directed_difference``, ``absolute_difference`` and
        ``per_contrast_difference``, ``eer_difference`` and
        ``false_non_match_rate_difference``, over the pairs with values in both, NaN for a run
        without a baseline; ``n_pairs_compared`` and ``n_subjects_compared`` ``(run, comparison)``;
        ``largest_change(run)``, the largest absolute difference in the similarity or the
        influence of any pair; and the coordinate ``baseline(run)``, empty for the first run.

    Raises
    ------
    ParameterError
        If bands, pairs or false match rates differ, or names do not match the results.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=24, per_subject=2)
    >>> pairs = fl.make_pairs(faces, n_pairs=48)
    >>> before, after = (
    ...     fl.influence(faces, pairs, models=[fl.testing.model(seed=seed)], progress=False)
    ...     for seed in (0, 1)
    ... )
    >>> compared = fl.compare([before, after], names=["before", "after"], n_draws=50)
    >>> compared["directed_difference"].dims
    ('run', 'comparison', 'band', 'estimate')
    >>> sentences = fl.results.comparison_summary(compared)
    >>> figure = fl.plots.difference_plot(compared)
    """
    check_draws(n_draws, level, seed)
    runs = _runs(results, names, side)
    settings = {"n_draws": n_draws, "level": level, "seed": seed}
    parts = []
    for run in runs:
        part = mean_profile(run.data, n_draws=n_draws, level=level, seed=seed)
        part = part.sel(model=run.model, side=side).drop_vars(["side", "model"])
        for figure in ("threshold", "impostor_comparisons"):
            part[figure] = run.data[figure].sel(model=run.model)
        parts.append(part.drop_vars(["side", "model"], errors="ignore"))
    coordinates: dict[str, list[str]] = {"model": [run.model for run in runs]}
    coordinates["face_set"] = [run.name for run in runs]
    if paired:
        baselines = [_baseline(runs, k) for k in range(len(runs))]
        for k in range(1, len(runs)):
            labels = runs[0].label, runs[k].label
            data = with_pairs_of(runs[0].data, runs[k].data, labels, _UNPAIRED)
            runs[k] = runs[k]._replace(data=data)
        for k, baseline in enumerate(baselines):
            other = None if baseline is None else runs[baseline].data
            changes = _differences(runs[k].data, other, n_draws, level, seed)
            parts[k] = parts[k].assign(changes.data_vars)
        coordinates["baseline"] = ["" if b is None else runs[b].label for b in baselines]
    compared = xr.concat(
        parts, "run", data_vars="all", coords="minimal", compat="override", join="exact"
    )
    compared.attrs = {**settings, "side": side}
    run_labels = np.array([run.label for run in runs], object)
    compared = compared.assign_coords(run=("run", run_labels, {"long_name": "run"}))
    return compared.assign_coords(
        {name: ("run", np.array(values, object)) for name, values in coordinates.items()}
    )


def _runs(
    results: xr.Dataset | Sequence[xr.Dataset], names: Sequence[str] | None, side: str
) -> list[_Run]:
    """Every model of every result, after checks that they can be compared."""
    runs = []
    for k, (name, data) in enumerate(named_results(results, names)):
        check_side(side, names_of(data, "side"))
        for model in names_of(data, "model"):
            runs.append(_Run(name, model, data.sel(model=[model], side=[side]), k == 0))
    labels = [run.label for run in runs]
    if len(set(labels)) < len(labels):
        raise ParameterError(
            f"names={names if names is None else list(names)!r}: results of the same model need "
            f"different names"
        )
    return runs


def _baseline(runs: Sequence[_Run], k: int) -> int | None:
    """Position of the run with which a run is compared; None for the first."""
    if k == 0:
        return None
    if not runs[k].first:
        for i, run in enumerate(runs):
            if run.first and run.model == runs[k].model:
                return i
    return 0


def _differences(
    data: xr.Dataset, base: xr.Dataset | None, n_draws: int, level: float, seed: int
) -> xr.Dataset:
    """Errors of a run, and differences of its profiles and errors from those of its baseline."""
    codes = subject_codes(data)
    draws = draw_subjects(int(codes.max(initial=-1)) + 1, n_draws, seed)
    similarity, edges = _similarity(data), data["threshold"].isel(model=0).to_numpy().astype(float)
    eer, fnmr = error_rates(comparisons_of_pairs(similarity, codes), edges, level)
    unknown = with_intervals(_mean_differences(data, data, 1, seed), level)
    changes = unknown.where(False).drop_vars(["n_pairs", "n_subjects"])
    counts = xr.zeros_like(unknown[["n_pairs", "n_subjects"]])
    eer_change, fnmr_change = np.full_like(eer, np.nan), np.full_like(fnmr, np.nan)
    largest = np.nan
    if base is not None:
        means = _mean_differences(data, base, n_draws, seed)
        with_counts = with_intervals(means, level)
        changes = with_counts.drop_vars(["n_pairs", "n_subjects"])
        counts = with_counts[["n_pairs", "n_subjects"]]
        eer_change, fnmr_change = error_changes(
            (similarity, _similarity(base)),
            (edges, base["threshold"].isel(model=0).to_numpy().astype(float)),
            codes,
            draws,
            level,
        )
        largest = _largest_change(data, base)
    counts = counts.rename(n_pairs="n_pairs_compared", n_subjects="n_subjects_compared")
    changes = changes.assign(counts.data_vars).isel(model=0, side=0, drop=True)
    changes = changes.drop_vars("model", errors="ignore")
    along = {"eer": ("estimate",), "false_non_match_rate": ("fmr", "estimate")}
    for name, values, change in (
        ("eer", eer, eer_change),
        ("false_non_match_rate", fnmr, fnmr_change),
    ):
        long_name = _ERRORS[name]
        changes[name] = (along[name], values, {"long_name": long_name, "units": "1"})
        attrs = {"long_name": f"difference in {long_name}", "units": "1"}
        changes[f"{name}_difference"] = (along[name], change, attrs)
    attrs = {"long_name": "largest change of a pair", "units": "cosine similarity"}
    changes["largest_change"] = ((), largest, attrs)
    changes.attrs = {}
    return changes.assign_coords(estimate=np.array(ESTIMATES, object), fmr=data["fmr"])


_ERRORS = {
    "eer": "equal error rate",
    "false_non_match_rate": "false non-match rate at the threshold",
}


def _similarity(data: xr.Dataset) -> npt.NDArray[np.float64]:
    return data["similarity"].isel(model=0).to_numpy().astype(float)


def _mean_differences(data: xr.Dataset, base: xr.Dataset, n_draws: int, seed: int) -> xr.Dataset:
    """Means over pairs of the difference of each quantity of a pair, in each draw of people."""
    axes = ("pair", "model", "side", "band")
    changed = data.drop_vars([name for name in data.data_vars if "pair" not in data[name].dims])
    both = _similarity(data) + _similarity(base)
    changed["similarity"] = (("model", "pair"), both[None])  # counts the pairs with both values
    names = []
    for kind in KINDS:
        name = f"{kind}_difference"
        values = quantity(data, kind) - quantity(base, kind)
        changed[name] = (axes, values)
        names.append(name)
    means = means_by(
        changed,
        {"comparison": comparisons_of(data)},
        quantities=names,
        n_draws=n_draws,
        seed=seed,
    )
    for kind in KINDS:
        long_name, units = QUANTITIES[kind]
        means[f"{kind}_difference"].attrs = {
            "long_name": f"difference in mean {long_name}",
            "units": units,
        }
    return means


def _largest_change(data: xr.Dataset, base: xr.Dataset) -> float:
    """Largest absolute difference in the similarity or the influence of a pair."""
    sizes = [np.abs(_similarity(data) - _similarity(base)).ravel()]
    sizes.append(np.abs(quantity(data, "directed") - quantity(base, "directed")).ravel())
    finite = np.concatenate(sizes)
    finite = finite[np.isfinite(finite)]
    return float(finite.max()) if len(finite) else np.nan

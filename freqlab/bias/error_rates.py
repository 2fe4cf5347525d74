"""Error rates of groups at one global threshold, their differences, and fairness indices.

Terms follow ISO/IEC 19795-10. :mod:`freqlab.bias.indices` defines the indices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import named, names_of, with_object_text
from freqlab.bias.group_names import with_group_labels
from freqlab.bias.indices import indices_by_threshold
from freqlab.bias.influence import check_labels
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.groups import ALL, MIXED, group_codes
from freqlab.faces.pairs import check_pairs
from freqlab.faces.table import Faces
from freqlab.statistics.error_rates import (
    FMRS,
    Comparisons,
    check_fmrs,
    compare_all,
    compare_pairs,
    comparisons_needed,
    impostor_thresholds,
)
from freqlab.statistics.rate_differences import rate_differences
from freqlab.statistics.rate_intervals import FEW_ERR
from freqlab.statistics.resampling import check_draws, draw_subjects, rates_at
from freqlab.statistics.vectors import is_usable
from freqlab.verification.performance import check_embeddings, failure_rates, figures_of, labelled

__all__ = ["errors"]

_RATES = ("false_match_rate", "false_non_match_rate")
_LONG_NAMES = {
    "false_match_rate_difference": ("difference in false match rate", "1"),
    "false_non_match_rate_difference": ("difference in false non-match rate", "1"),
    "n_people": ("people with genuine comparisons, and with impostor comparisons", "1"),
    "fairness": ("index of differences between groups", "1"),
    "fairness_null": ("index under permuted labels", "1"),
    "fairness_p": ("p-value of the index, by permutation", "1"),
}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Rates:
    """FMR and FNMR of the groups of one model, as observed and in each bootstrap draw."""

    groups: list[str]
    fmrs: tuple[float, ...]
    observed: Floats
    """``(rate, fmr, group)``, the rates in the order of :data:`_RATES`; NaN if not resolved."""
    drawn: Floats
    """``(rate, draw, fmr, group)``."""
    n_people: npt.NDArray[np.int64]
    """People with comparisons of the kind that each rate counts, ``(rate, group)``."""
    overlap: npt.NDArray[np.bool_]
    """Whether two groups have faces of the same person ``(group, group)``."""


def errors(
    embeddings: Mapping[str, npt.NDArray[np.floating]],
    faces: Faces,
    labels: pd.Series[str],
    pairs: pd.DataFrame | None = None,
    *,
    baseline: str | None = None,
    fmrs: Sequence[float] = FMRS,
    n_draws: int = 1000,
    n_permutations: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute verification figures per group at one global threshold, and fairness indices.

    Parameters
    ----------
    embeddings
        Untouched embeddings ``(face, feature)`` of each model, by model name, in the order of the
        faces; NaN for a face without an embedding.
    faces
        The faces.
    labels
        Group of each face, as returned by :func:`freqlab.faces.group_labels`.
    pairs
        Comparisons over which the figures are computed; all against all by default.
    baseline
        Group with which the others are compared; by default the group with most subjects.
    fmrs
        False match rates at which thresholds are set, between 0 and 1.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of draws and permutations.
    n_permutations
        Number of permutations of the labels. Where the pairs given were chosen by label, the
        permutations are of fewer pairs, and the comparison with chance is conservative.

    Returns
    -------
    xarray.Dataset
        Along ``model`` and ``group`` (``"all"`` first, ``"mixed"`` last), the variables of
        :func:`freqlab.verify`: ``eer``, ``false_match_rate``, ``false_non_match_rate``,
        ``d_prime``, ``failure_to_acquire``, counts, ``note``. ``false_match_rate_difference`` and
        ``false_non_match_rate_difference(model, group, fmr, estimate)``: group minus baseline,
        paired over the draws of subjects if people have faces in both groups; NaN where a rate is
        not resolved, and for ``"all"`` and ``"mixed"``. ``n_people(model, comparison, group)``:
        people with such comparisons. Along
        ``model``, ``index`` and ``fmr``: ``fairness``, the fairness indices; ``fairness_null``,
        also along ``null``, the median of the index under permuted labels of people and the bound
        that a share `level` of the permutations does not exceed; ``fairness_p``, the share of the
        permutations with an index at least as far from fair; ``fairness_note``, where an index is
        not available or limited. An index has no interval, since chance alone moves it away from
        its fair value. ``groups_compared(model, fmr)``: the groups whose rates are included. A
        rate is included where it is resolved (FMR: ten expected errors). The coordinate
        ``group_label`` names the column with the value, as in ``"glasses=no"``.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(8, 3, groups={"glasses": ["yes", "no"]})
    >>> labels = fl.faces.group_labels(faces, "glasses")
    >>> tree = fl.embed(faces, models=[fl.testing.model()], store="run.zarr", progress=False)
    >>> vectors = fl.open_embeddings("run.zarr", model="linear").sel(face=faces.names).to_numpy()
    >>> errors = fl.bias.errors({"linear": vectors}, faces, labels, n_draws=50, n_permutations=50)
    >>> errors["group"].to_numpy().tolist()
    ['all', 'no', 'yes', 'mixed']
    """
    check_draws(n_draws, level, seed)
    check_number("n_permutations", n_permutations, at_least=1, whole=True)
    rates_of = check_fmrs(fmrs)
    checked = check_embeddings(embeddings, faces)
    check_labels(labels, np.array(faces.names))
    names, codes = group_codes(labels.loc[faces.names])
    if len(names) < 2:
        raise ParameterError(f"labels: {len(names)} group(s) {names}; a comparison needs two")
    baseline = check_name("baseline", baseline or _largest(faces, names, codes), names)
    positions = None if pairs is None else check_pairs(faces, pairs)
    groups, of_face = [ALL, *names, MIXED], np.where(codes >= 0, codes + 1, -1)
    undegraded, by_model = ~faces.degraded, []
    for vectors in checked.values():
        thresholds, n_impostor = impostor_thresholds(
            vectors[undegraded], faces.subjects[undegraded], faces.sources[undegraded], rates_of
        )
        if positions is None:
            comparisons = compare_all(vectors, faces.subjects, faces.sources)
        else:
            comparisons = compare_pairs(vectors, faces.subjects, positions)
        settings: dict[str, Any] = {"n_draws": n_draws, "level": level, "seed": seed}
        grouped: dict[str, Any] = {"groups": groups, "codes": of_face, **settings}
        figures = figures_of(comparisons, thresholds=thresholds, fmrs=rates_of, **grouped)
        figures["failure_to_acquire"] = (
            ("group", "estimate"),
            failure_rates(~is_usable(vectors), comparisons.subjects, groups, of_face, level),
        )
        figures["impostor_comparisons"] = ((), n_impostor)
        rates = _rates(
            comparisons, thresholds, rates_of, names, of_face, n_draws=n_draws, seed=seed
        )
        differences = _differences(rates, figures, baseline, level)
        indices = indices_by_threshold(
            *(comparisons, np.asarray(thresholds, float), rates.observed, names, codes),
            n_permutations=n_permutations,
            level=level,
            seed=seed,
        )
        by_model.append(figures.merge(differences).merge(with_object_text(indices)))
    axis = xr.Variable("model", np.array(list(embeddings), object), {"long_name": "model"})
    errors = named(labelled(xr.concat(by_model, axis)), _LONG_NAMES)
    errors = errors.assign_attrs(
        n_draws=n_draws,
        n_permutations=n_permutations,
        level=level,
        seed=seed,
        group=str(labels.name or "group"),
        baseline=baseline,
        comparisons="all against all" if pairs is None else "the pairs given",
    )
    return with_group_labels(errors)


def _largest(faces: Faces, names: list[str], codes: npt.NDArray[np.int64]) -> str:
    """Return the group with most subjects."""
    subjects = [len(np.unique(faces.subjects[codes == k])) for k in range(len(names))]
    return names[int(np.argmax(subjects))]


def _rates(
    comparisons: Comparisons,
    thresholds: list[float],
    fmrs: tuple[float, ...],
    names: list[str],
    codes: npt.NDArray[np.int64],
    *,
    n_draws: int,
    seed: int,
) -> _Rates:
    """Compute one model's rates of each group, with the same draws of subjects for all groups."""
    draws = draw_subjects(comparisons.n_subjects, n_draws, seed)
    edges = np.asarray(thresholds, float)
    observed = np.full((2, len(fmrs), len(names)), np.nan)
    drawn = np.full((2, n_draws, len(fmrs), len(names)), np.nan)
    n_people = np.zeros((2, len(names)), np.int64)
    first, second = codes[comparisons.reference], codes[comparisons.probe]
    everyone = np.ones((1, comparisons.n_subjects), np.int64)
    for g in range(len(names)):
        part = comparisons.select((first == g + 1) & (second == g + 1))
        genuine, impostor = part.by_kind
        for k, is_genuine in enumerate((False, True)):
            observed[k, :, g] = rates_at(part, edges, everyone, genuine=is_genuine)[0]
            drawn[k, :, :, g] = rates_at(part, edges, draws, genuine=is_genuine)
            of_kind = part.select(part.genuine == is_genuine)
            faces = np.concatenate([of_kind.reference, of_kind.probe])
            n_people[k, g] = len(np.unique(of_kind.subjects[faces]))
        unresolved = [len(impostor) < comparisons_needed(rate) for rate in fmrs]
        observed[0, unresolved, g] = np.nan
        if not len(genuine):
            observed[1, :, g] = np.nan
    held = np.zeros((len(names), comparisons.n_subjects), bool)
    held[codes[codes > 0] - 1, comparisons.subjects[codes > 0]] = True
    overlap = np.asarray((held[:, None] & held[None]).any(axis=-1))
    return _Rates(names, fmrs, observed, drawn, n_people, overlap)


def _differences(rates: _Rates, figures: xr.Dataset, baseline: str, level: float) -> xr.Dataset:
    """Differences of the rates from those of the baseline, with paired intervals."""
    base = rates.groups.index(baseline)
    groups = names_of(figures, "group")
    place = [groups.index(name) for name in rates.groups]
    computed = xr.Dataset(coords={"group": groups, "comparison": ["genuine", "impostor"]})
    for k, name in enumerate(_RATES):
        of_groups = figures[name].transpose("fmr", "group", "estimate").to_numpy()[:, place]
        drawn = rates.drawn[k] - rates.drawn[k][:, :, [base]]
        erring = figures[f"{name.removesuffix('_rate')}_people"].transpose("fmr", "group")
        n_erring = erring.to_numpy()[:, place]
        few = np.minimum(n_erring, n_erring[:, [base]]) < FEW_ERR
        combine = few | ~rates.overlap[base]
        values = rate_differences(of_groups, of_groups[:, [base]], drawn, level, combine=combine)
        values[:, base] = np.nan
        full = np.full((len(groups), *values.shape[::2]), np.nan)
        full[place] = values.transpose(1, 0, 2)
        computed[f"{name}_difference"] = (("group", "fmr", "estimate"), full)
    people = np.zeros((2, len(groups)), np.int64)
    people[:, place] = rates.n_people[::-1]
    computed["n_people"] = (("comparison", "group"), people)
    return with_object_text(computed)

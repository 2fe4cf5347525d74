"""Findings of a bias study as sentences, generated from its numbers.

Words that compare rest on a paired difference whose interval excludes zero, and on at least
:data:`freqlab.statistics.resampling.FEWEST_PEOPLE` people in both groups.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import from_json, names_of
from freqlab.bias.group_comparison import (
    MIN_POINTS,
    MIN_SPREAD,
    differences,
    drawable_gaps,
)
from freqlab.bias.group_names import group_markdown, people_text, too_few
from freqlab.bias.tables import chance_text
from freqlab.errors import check_name
from freqlab.faces.groups import ALL, MIXED
from freqlab.literals import Comparison, Kind, Side
from freqlab.results.selection import at_fmr, bands_of, fmr_text, frequency_unit, part_of
from freqlab.statistics.error_rates import check_fmr, comparisons_needed
from freqlab.statistics.resampling import FEWEST_PEOPLE, excludes_zero
from freqlab.store.studies import as_frame
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join, percent, signed

__all__ = [
    "describe_chance",
    "describe_error_gaps",
    "describe_fairness",
    "describe_gap_points",
    "describe_group_differences",
    "describe_groups",
    "describe_matched_differences",
    "describe_matching",
    "describe_people",
    "describe_sample",
    "summary",
]

GroupKind: TypeAlias = Kind | Literal["per_contrast"]
"""Directed or absolute influence, or directed influence per contrast removed."""

_COMPARISONS: tuple[Comparison, ...] = ("genuine", "impostor")
_RATES = {
    "FNMR": ("false_non_match_rate", "genuine"),
    "FMR": ("false_match_rate", "impostor"),
}
_UNRESOLVED = "not resolved"
_IMBALANCED = 5  # ratio of subjects, largest group to this one
_CONFOUNDED = 0.5  # standardised difference of quality that may explain a difference


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study in Markdown: error rates, influence, and what remains after matching.

    Parameters
    ----------
    study
        From :func:`freqlab.bias.study`.

    Returns
    -------
    list of str
        For each model, one text on error rates, one each on genuine and impostor pairs (probe
        masked), and one on the matched photographs; a single text on influence if all groups are
        too small to compare.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=8, per_subject=3, groups={"glasses": ["yes", "no"]})
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "fmr": 0.1}
    >>> options |= {"n_draws": 50, "n_permutations": 50, "progress": False}
    >>> study = fl.bias.study(faces, group="glasses", store="run.zarr", **options)
    >>> print(fl.bias.summary(study)[0])
    linear: At one threshold for all groups, ...
    """
    data, errors = study["differences"].to_dataset(), study["errors"].to_dataset()
    fmr, doubts = float(study.attrs["fmr"]), _confounders(study)
    texts = []
    for name in names_of(data, "model"):
        about = [describe_error_gaps(errors, model=name, fmr=fmr)]
        of_probe = data.sel(model=name, side="probe", kind="directed")
        if int(of_probe["n_subjects"].max()) < FEWEST_PEOPLE:
            about.append(_nothing_compared(of_probe))
        else:
            parts = [of_probe.sel(comparison=comparison) for comparison in _COMPARISONS]
            about += [_described(part, doubts=doubts) for part in parts]
            about.append(describe_matched_differences(study, model=name))
        texts += [f"{as_markdown(name)}: {text}" for text in about]
    return texts


def describe_people(study: xr.DataTree) -> str:
    """State, in Markdown, the groups of a study, their people, and which are too few to compare.

    Parameters
    ----------
    study
        From :func:`freqlab.bias.study`.

    Returns
    -------
    str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> print(fl.bias.describe_people(study))
    The report shows error rates and the influence of frequency bands for ...
    """
    errors = study["errors"].to_dataset()
    baseline = str(study.attrs["baseline"])
    people = errors["n_people"].max(("model", "comparison"))
    counts = {name: int(people.sel(group=name)) for name in names_of(errors, "group")}
    counts = {name: n for name, n in sorted(counts.items(), key=lambda one: -one[1]) if n}
    texts, few = [], []
    for name, n in counts.items():
        label = group_markdown(errors, name)
        texts.append(f"{label} ({people_text(n)}{', the baseline' if name == baseline else ''})")
        if n < FEWEST_PEOPLE:
            few.append(label)
    text = f"The report shows error rates and the influence of frequency bands for {join(texts)}."
    if few:
        n_people = "it has" if len(few) == 1 else "they have"
        text += (
            f" **{join(few)} {'is' if len(few) == 1 else 'are'} not compared in words, since "
            f"{n_people} fewer than {FEWEST_PEOPLE} people:** figures and tables show the values "
            f"with {100 * float(errors.attrs['level']):g} % intervals."
        )
    return text


def _nothing_compared(part: xr.Dataset) -> str:
    """State that all groups are too small to compare their influence with the baseline."""
    texts = []
    for name in names_of(part, "group"):
        n_people = part["n_subjects"].sel(group=name)
        counts = [
            f"{people_text(int(n_people.sel(comparison=comparison)))} in {comparison} pairs"
            for comparison in _COMPARISONS
        ]
        texts.append(f"{group_markdown(part, name)} ({join(counts)})")
    baseline = group_markdown(part, str(part.attrs["baseline"]))
    return f"Influence, compared with {baseline}: {'; '.join(texts)}: too few to compare."


def describe_error_gaps(errors: xr.Dataset, *, model: str, fmr: float = 1e-3) -> str:
    """State FNMR and FMR of the groups at one threshold, and the differences from the baseline.

    Parameters
    ----------
    errors
        From :func:`freqlab.bias.errors`.
    model
        Name of the model.
    fmr
        Nominal false match rate of the threshold.

    Returns
    -------
    str
        Sentences.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model or rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> errors = study["errors"].to_dataset()
    >>> print(fl.bias.describe_error_gaps(errors, model="linear", fmr=0.1))
    At one threshold for all groups, set at FMR 1e-1: FNMR is 0.00 % [0.00, 55.54] ...
    """
    check_name("model", model, names_of(errors, "model"))
    check_fmr(fmr)
    at = at_fmr(errors.sel(model=model), fmr)
    if not np.isfinite(float(at["threshold"])):
        return (
            f"There is no threshold at FMR {fmr_text(fmr)}: it takes {comparisons_needed(fmr):,} "
            f"impostor comparisons, and the faces have {int(at['impostor_comparisons']):,}."
        )
    texts = [_rate_text(at, rate, fmr) for rate in _RATES]
    return f"At one threshold for all groups, set at FMR {fmr_text(fmr)}: {' '.join(texts)}"


def describe_fairness(errors: xr.Dataset, *, model: str, fmr: float = 1e-3) -> str:
    """State which fairness indices are larger than under permuted labels of people.

    Parameters
    ----------
    errors
        From :func:`freqlab.bias.errors`.
    model
        Name of the model.
    fmr
        Nominal false match rate of the threshold.

    Returns
    -------
    str
        Sentences.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model or rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> errors = study["errors"].to_dataset()
    >>> print(fl.bias.describe_fairness(errors, model="linear", fmr=0.1))
    No fairness index is available at FMR 1e-1.
    """
    check_name("model", model, names_of(errors, "model"))
    check_fmr(fmr)
    at = at_fmr(errors.sel(model=model), fmr)
    level, n_permutations = float(errors.attrs["level"]), int(errors.attrs["n_permutations"])
    tested = at.isel(index=np.flatnonzero(at["fairness_p"].notnull()))
    if not tested.sizes["index"]:
        return f"No fairness index is available at FMR {fmr_text(fmr)}."
    resolved = np.isfinite(
        [at[variable].sel(estimate="value").to_numpy() for variable, _ in _RATES.values()]
    ).all(axis=0)
    of_groups = resolved & ~at["group"].isin([ALL, MIXED]).to_numpy()
    fewest = int(at["n_people"].isel(group=np.flatnonzero(of_groups)).min())
    if fewest < FEWEST_PEOPLE:
        return (
            f"The fairness indices are not compared with chance, since a group has "
            f"{people_text(fewest)}."
        )
    far = tested.isel(index=np.flatnonzero(tested["fairness_p"] <= 1 - level + 1e-9))
    text = (
        f"Compared with {n_permutations:,} permutations of the group labels over people, at "
        f"p ≤ {1 - level:.3g}, "
    )
    if not far.sizes["index"]:
        return (
            f"{text}none of {tested.sizes['index']} fairness indices is further from fair than by "
            f"chance: the differences between the groups are compatible with equal error rates."
        )
    shown = [
        f"{far['index_name'].to_numpy()[i]} {float(far['fairness'][i]):.3g} "
        f"({chance_text(far.isel(index=i))})"
        for i in range(far.sizes["index"])
    ]
    verb = "is" if len(shown) == 1 else "are"
    return (
        f"{text}{len(shown)} of {tested.sizes['index']} fairness indices {verb} further from fair "
        f"than by chance: {join(shown)}."
    )


def _rate_text(at: xr.Dataset, rate: str, fmr: float) -> str:
    """State a rate of every group at a threshold, and its differences from the baseline."""
    variable, comparison = _RATES[rate]
    baseline = str(at.attrs["baseline"])
    people = at["n_people"].sel(comparison=comparison)
    groups = [name for name in names_of(at, "group") if int(people.sel(group=name))]
    groups.sort(key=lambda name: name != baseline)
    if not groups:
        return f"{rate} is not available: no group has {comparison} comparisons."
    texts = []
    for name in groups:
        value = percent(at[variable].sel(group=name)) or _UNRESOLVED
        text = f"{value} for {group_markdown(at, name)} ({people_text(int(people.sel(group=name)))}"
        if name != baseline:
            difference = 100 * at[f"{variable}_difference"].sel(group=name)
            text += _difference_text(difference, int(people.sel(group=[name, baseline]).min()))
        texts.append(f"{text})")
    if not any(np.isfinite(at[variable].sel(group=groups, estimate="value"))):
        needed = f"{comparisons_needed(fmr):,} impostor comparisons"
        return f"{rate} is not resolved in any group: it takes {needed} in a group."
    return f"{rate} is {'; '.join(texts)}."


def _difference_text(difference: xr.DataArray, n_people: int) -> str:
    """State a difference in percentage points, in words only if its interval excludes zero."""
    value = float(difference.sel(estimate="value"))
    if n_people < FEWEST_PEOPLE:
        return ": too few to compare"
    if np.isnan(value):
        return ""
    words = "no difference established"
    if excludes_zero(difference):
        words = "higher" if value > 0 else "lower"
    return f"; {words}, {signed(difference, 2)} percentage points"


def describe_matched_differences(study: xr.DataTree, *, model: str) -> str:
    """State, in Markdown, which differences of genuine pairs remain among matched photographs.

    Parameters
    ----------
    study
        From :func:`freqlab.bias.study`.
    model
        Name of the model.

    Returns
    -------
    str
        Sentences, in Markdown.

    Raises
    ------
    UnknownNameError
        If there is no such model.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> print(fl.bias.describe_matched_differences(study, model="linear"))
    Among the 9 of 36 photographs matched on sharpness, directed influence of ...
    """
    if "matched_differences" not in study.children:
        return describe_matching(study)
    data, attrs = study["matched_differences"].to_dataset(), study.attrs
    part = part_of(data, model=model, side="probe", comparison="genuine", kind="directed")
    exact = attrs["match_exact"]
    columns = [attrs["match_on"], *(exact if isinstance(exact, list) else from_json(exact))]
    start = (
        f"Among the {int(attrs['n_matched']):,} of {int(attrs['n_explained_faces']):,} photographs "
        f"matched on {join([as_markdown(column) for column in columns])}, "
    )
    text = _described(part, doubts=_confounders(study, "after"))
    return f"{start}{text[0].lower()}{text[1:]}"


def describe_sample(study: xr.DataTree) -> str:
    """State how many photographs and pairs of a study are explained.

    Parameters
    ----------
    study
        From :func:`freqlab.bias.study`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> print(fl.bias.describe_sample(study))
    All 36 photographs are explained, in 630 pairs drawn without regard to the groups.
    """
    attrs = study.attrs
    n, n_all = int(attrs["n_explained_faces"]), int(attrs["n_faces"])
    which = (
        f"{n:,} of {n_all:,} photographs, a random sample,"
        if n < n_all
        else f"All {n:,} photographs"
    )
    return (
        f"{which} are explained, in {int(attrs['n_explained_pairs']):,} pairs drawn without regard "
        f"to the groups."
    )


def describe_matching(study: xr.DataTree) -> str:
    """State, in Markdown, how many photographs of a study could be matched.

    Parameters
    ----------
    study
        From :func:`freqlab.bias.study`.

    Returns
    -------
    str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> print(fl.bias.describe_matching(study))
    9 of 36 photographs are matched. Baseline: colour=red (3 subjects). ...
    """
    if "matched" not in study.children:
        return (
            f"**None of the {int(study.attrs['n_explained_faces']):,} photographs could be "
            f"matched:** the groups do not overlap in the matched measures, or too few photographs "
            f"remain to make pairs."
        )
    attrs = study.attrs
    return (
        f"{int(attrs['n_matched']):,} of {int(attrs['n_explained_faces']):,} photographs are "
        f"matched. {describe_groups(study['matched'].to_dataset())}"
    )


def describe_chance(profiles: xr.Dataset, *, alpha: float = 0.05) -> str:
    """State how many profiles were tested, and how many are expected to differ by chance.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
    alpha
        Level of the adjusted p-values.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> print(fl.bias.describe_chance(profiles))
    bands that differ at adjusted p ≤ 0.05; of 24 profiles of 3 bands each, up to ...
    """
    n_profiles = 3 * 2 * profiles.sizes["side"] * (profiles.sizes["group"] - 1)
    return (
        f"bands that differ at adjusted p ≤ {alpha:g}; of {n_profiles} profiles of "
        f"{profiles.attrs['n_tests']} bands each, up to {alpha * n_profiles:.1f} are expected to "
        f"show a difference by chance"
    )


def describe_gap_points(points: pd.DataFrame) -> str:
    """State which gaps are not drawn over the distances, and why; empty if all are drawn.

    Parameters
    ----------
    points
        From :func:`freqlab.bias.gap_points`.

    Returns
    -------
    str
        Sentences, or an empty text.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> points = fl.bias.gap_points(study)
    >>> print(fl.bias.describe_gap_points(points))
    Not drawn. FNMR gap: 2 points are resolved, and a scatter needs at least 3. FMR ...
    """
    drawn, texts = drawable_gaps(points), []
    for column in ("FNMR gap", "FMR gap"):
        if column in drawn:
            continue
        known = points[["distance", column]].dropna()
        n, first = len(known), known.iloc[:1]
        if n < MIN_POINTS:
            points_are = "point is" if n == 1 else "points are"
            reason = f"{n} {points_are} resolved, and a scatter needs at least {MIN_POINTS}"
        elif np.ptp(known[column].to_numpy(float)) <= MIN_SPREAD:
            reason = (
                f"all {n} values are {100 * float(first[column].item()):+.2f} percentage points"
            )
        else:
            reason = f"all {n} distances are {float(first['distance'].item()):.3f}"
        texts.append(f"{column}: {reason}.")
    return f"Not drawn. {' '.join(texts)}" if texts else ""


def describe_groups(profiles: xr.Dataset) -> str:
    """State the groups compared, how labels were permuted, and which groups are small or partial.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> print(fl.bias.describe_groups(profiles))
    Baseline: colour=red (4 subjects). colour=blue: 12 genuine pairs of 4 subjects, ...
    """
    baseline = str(profiles.attrs["baseline"])
    subjects = profiles["n_subjects"].max("model")
    texts, warnings = [], []
    most = int(subjects.max())
    for name in names_of(profiles, "group"):
        here, label = subjects.sel(group=name), group_markdown(profiles, name)
        n_pairs = profiles["n_pairs"].max("model").sel(group=name)
        counts = [
            f"{int(n_pairs.sel(comparison=kind)):,} {kind} pairs of "
            f"{_counted(int(here.sel(comparison=kind)), 'subject')}"
            for kind in _COMPARISONS
        ]
        texts.append(f"{label}: {', '.join(counts)}")
        note = str(profiles["note"].sel(group=name).item())
        faults = [note] if note else []
        if "only" not in note and int(here.max()) * _IMBALANCED < most:
            faults.append(f"{int(here.max())} subjects, the largest group {most}")
        if faults:
            warnings.append(f"{label}: {'; '.join(faults)}")
    n_baseline = _counted(int(subjects.sel(group=baseline).max()), "subject")
    text = f"Baseline: {group_markdown(profiles, baseline)} ({n_baseline}). {'; '.join(texts)}. "
    text += _permutation_text(profiles)
    if warnings:
        text += (
            f" **Too few subjects or pairs for a reliable finding: {'; '.join(warnings)}.** "
            f"Intervals do not account for people who are not in the set."
        )
    return text


def _permutation_text(profiles: xr.Dataset) -> str:
    """State whether labels were permuted over subjects or within them."""
    whole, within = (
        int(profiles["n_exchanged"].sel(how=how).max())
        for how in ("over subjects", "within subjects")
    )
    if whole + within == 0:
        return "No group could be tested."
    if within == 0:
        return (
            f"No subject has more than one value, so labels are permuted over the {whole} "
            f"subjects of two groups."
        )
    have = "subject has" if within == 1 else "subjects have"
    return (
        f"{within} {have} both values, and labels are permuted within such a subject; the labels "
        f"of the other {_counted(whole, 'subject')} are permuted over subjects."
    )


def describe_group_differences(
    profiles: xr.Dataset,
    *,
    model: str,
    side: Side = "probe",
    comparison: Comparison = "genuine",
    kind: GroupKind = "directed",
    alpha: float = 0.05,
) -> str:
    """State in which bands the groups differ from the baseline.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
    model, side, comparison
        Part of the profiles to describe.
    kind
        ``"directed"``, ``"absolute"`` or ``"per_contrast"``.
    alpha
        Level of the adjusted p-values.

    Returns
    -------
    str
        Sentences.

    Raises
    ------
    UnknownNameError
        If the profiles have no such part.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> print(fl.bias.describe_group_differences(profiles, model="linear"))
    Directed influence of genuine pairs, probe masked, compared with colour=red at ...
    """
    names = {"model": model, "side": side, "comparison": comparison}
    data = part_of(profiles, **names)
    part = part_of(differences(profiles, alpha=alpha), **names, kind=kind)
    return _described(part, distances=data if kind == "directed" else None)


def _described(
    part: xr.Dataset,
    *,
    doubts: dict[str, str] | None = None,
    distances: xr.Dataset | None = None,
) -> str:
    """State the differences of every group in one part of the differences.

    Parameters
    ----------
    part
        Of :func:`differences`, along ``group``.
    doubts
        What else may explain a difference, by group.
    distances
        Part of the profiles whose distances are added.
    """
    texts = []
    for name in names_of(part, "group"):
        at = part.sel(group=name)
        text, compared = _group_text(at, group_markdown(part, name))
        if compared and distances is not None:
            text += _distance_text(distances.sel(group=name))
        if int(at["n_differing"]) and compared:
            text += (doubts or {}).get(name, "")
        texts.append(text)
    kind = str(part["kind"].item())
    what = {"per_contrast": "Influence per contrast"}.get(kind, f"{kind.capitalize()} influence")
    baseline = group_markdown(part, str(part.attrs["baseline"]))
    return (
        f"{what} of {part['comparison'].item()} pairs, {part['side'].item()} masked, compared with "
        f"{baseline} at adjusted p ≤ {part.attrs['alpha']:g}: {'; '.join(texts)}."
    )


def _group_text(at: xr.Dataset, label: str) -> tuple[str, bool]:
    """State the difference of one group, and return whether it could be compared."""
    n, n_tested, n_people = (int(at[name]) for name in ("n_differing", "n_tested", "n_subjects"))
    if n_tested == 0:
        return f"{label} cannot be tested (no {at['comparison'].item()} pairs to compare)", False
    if n_people < FEWEST_PEOPLE:
        return f"{label}: {too_few(n_people)}", False
    largest = f"{at['largest_band'].item()}: {signed(at['largest_difference'], 4)}"
    if n == 0:
        return f"{label} differs in none of {n_tested} bands, largest difference in {largest}", True
    ranges = _ranges(at, np.flatnonzero(at["differs"].to_numpy()))
    return (
        f"{label} differs in {n} of {n_tested} bands ({ranges}), most in {largest}, "
        f"d = {float(at['largest_effect']):+.2f}"
    ), True


def _distance_text(at: xr.Dataset) -> str:
    """State the distance of a group's profile from that of the baseline, and its p-value."""
    upper = float(at["distance_null"].sel(null="upper"))
    return (
        f" (distance between the profiles {float(at['distance'].sel(estimate='value')):.3f}, "
        f"p = {float(at['distance_p']):.3g}; under permuted labels "
        f"{100 * at.attrs['level']:g} % are below {upper:.3f})"
    )


def _confounders(study: xr.DataTree, when: str = "before") -> dict[str, str]:
    """Measures of quality in which the photographs of each group differ from the baseline's."""
    every = as_frame(study["quality/differences"])
    if when not in every.index.get_level_values("matching"):
        return {}
    texts = {}
    for group, row in every.loc[when].iterrows():
        large = row[row.abs() >= _CONFOUNDED].sort_values(key=abs, ascending=False)
        if len(large):
            measures = ", ".join(f"{name} {value:+.2f}" for name, value in large.items())
            texts[str(group)] = (
                f"; differences between the photographs may explain it (in standard deviations: "
                f"{measures})"
            )
    return texts


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _ranges(data: xr.Dataset, bands: npt.NDArray[np.integer]) -> str:
    """Format bands as text, with neighbours joined: "0 to 4, 20 to 36 cycles/image"."""
    declared = bands_of(data)
    if not declared.radial:
        return "; ".join(declared.names[band] for band in bands)
    bounds, texts = declared.bounds, []
    for run in np.split(bands, np.flatnonzero(np.diff(bands) > 1) + 1):
        lower, upper = bounds[run[0], 0], bounds[run[-1], 1]
        texts.append(f"{lower:g} and beyond" if np.isinf(upper) else f"{lower:g} to {upper:g}")
    return f"{', '.join(texts)} {frequency_unit(data)}"

"""Sentences on influence profiles by group: chance, differences and gaps of error rates."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.bias.group_comparison import (
    MIN_POINTS,
    MIN_SPREAD,
    differences,
    drawable_gaps,
)
from freqlab.bias.group_names import group_markdown, too_few
from freqlab.literals import Comparison, Kind, Side
from freqlab.results.selection import bands_of, frequency_unit, part_of
from freqlab.statistics.resampling import FEWEST_PEOPLE
from freqlab.text.wording import signed

__all__ = [
    "describe_chance",
    "describe_gap_points",
    "describe_group_differences",
    "describe_groups",
]

GroupKind: TypeAlias = Kind | Literal["per_contrast"]
"""Directed or absolute influence, or directed influence per contrast removed."""

COMPARISONS: tuple[Comparison, ...] = ("genuine", "impostor")
_IMBALANCED = 5  # ratio of subjects, largest group to this one


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
            for kind in COMPARISONS
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
    return describe_part(part, distances=data if kind == "directed" else None)


def describe_part(
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

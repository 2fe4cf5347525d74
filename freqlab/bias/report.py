"""Findings of a bias study as sentences, generated from its numbers.

Words that compare rest on a paired difference whose interval excludes zero, and on at least
:data:`freqlab.statistics.resampling.FEWEST_PEOPLE` people in both groups.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from freqlab.attrs import from_json, names_of
from freqlab.bias.group_names import group_markdown, people_text
from freqlab.bias.profile_sentences import COMPARISONS, describe_groups, describe_part
from freqlab.bias.tables import chance_text
from freqlab.errors import check_name
from freqlab.faces.groups import ALL, MIXED
from freqlab.results.selection import at_fmr, fmr_text, part_of
from freqlab.statistics.error_rates import check_fmr, comparisons_needed
from freqlab.statistics.resampling import FEWEST_PEOPLE, excludes_zero
from freqlab.store.studies import as_frame
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join, percent, signed

__all__ = [
    "describe_error_gaps",
    "describe_fairness",
    "describe_matched_differences",
    "describe_matching",
    "describe_people",
    "describe_sample",
    "summary",
]

_RATES = {
    "FNMR": ("false_non_match_rate", "genuine"),
    "FMR": ("false_match_rate", "impostor"),
}
_UNRESOLVED = "not resolved"
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
            parts = [of_probe.sel(comparison=comparison) for comparison in COMPARISONS]
            about += [describe_part(part, doubts=doubts) for part in parts]
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
            for comparison in COMPARISONS
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
    text = describe_part(part, doubts=_confounders(study, "after"))
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

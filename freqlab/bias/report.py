"""Findings of a bias study as tables and sentences, generated from its numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import check_name
from freqlab.results.selection import frequency_unit, part_of
from freqlab.statistics.error_rates import check_fmr
from freqlab.text.shown import as_markdown
from freqlab.text.wording import percent, signed, with_bounds

__all__ = [
    "describe_chance",
    "describe_group_differences",
    "describe_groups",
    "describe_matching",
    "describe_sample",
    "differing_bands",
    "fairness_table",
    "gaps_table",
    "gaps_together",
    "summary",
]

_LOPSIDED = 5  # ratio of subjects, largest group to this one


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study in Markdown: error gaps, differences of influence, matching.

    Parameters
    ----------
    study
        From :func:`freqlab.bias.study`.
    """
    profiles, errors = study["profiles"].to_dataset(), study["errors"].to_dataset()
    fmr, alpha = float(study.attrs["fmr"]), float(study.attrs["alpha"])
    found = []
    for name in map(str, profiles["model"].to_numpy()):
        at = errors.sel(model=name).sel(fmr=fmr, method="nearest")
        rates = [
            f"{as_markdown(group)} {percent(at['false_non_match_rate'].sel(group=group))}"
            for group in profiles["group"].to_numpy()
            if group in at["group"] and percent(at["false_non_match_rate"].sel(group=group))
        ]
        if rates:
            found.append(f"{as_markdown(name)}: FNMR at FMR {fmr:g}: {'; '.join(rates)}.")
        for comparison in ("genuine", "impostor"):
            told = describe_group_differences(
                profiles, model=name, comparison=comparison, alpha=alpha
            )
            found.append(f"{as_markdown(name)}: {told}")
    return [*found, describe_matching(study)]


def describe_sample(study: xr.DataTree) -> str:
    """State how many photographs and pairs of a study are explained."""
    attrs = study.attrs
    n, of = int(attrs["n_explained_faces"]), int(attrs["n_faces"])
    return (
        f"{n:,} of the photographs are explained ({'a sample' if n < of else 'all'}), in "
        f"{int(attrs['n_explained_pairs']):,} pairs drawn without regard to the groups."
    )


def describe_matching(study: xr.DataTree) -> str:
    """State, in Markdown, how many photographs of a study could be matched."""
    if "matched" not in study.children:
        return (
            "**No photographs could be matched:** the groups do not overlap in what was matched "
            "on, or too few are left to make pairs."
        )
    attrs = study.attrs
    return (
        f"{int(attrs['n_matched']):,} of {int(attrs['n_explained_faces']):,} photographs are "
        f"matched. {describe_groups(study['matched'].to_dataset())}"
    )


def describe_chance(profiles: xr.Dataset, *, alpha: float = 0.05) -> str:
    """State how many profiles were tested, and how many are expected to differ by chance."""
    n_families = 3 * 2 * profiles.sizes["side"] * (profiles.sizes["group"] - 1)
    return (
        f"all that was found at adjusted p ≤ {alpha:g}, both sides; {n_families} profiles of "
        f"{profiles.attrs['n_tests']} bands each were tested, so {alpha * n_families:.1f} profiles "
        f"are expected to show something by chance"
    )


def gaps_table(gaps: pd.DataFrame) -> pd.DataFrame:
    """Format the result of :func:`gaps_together` for display: gaps in percentage points."""
    shown = gaps.copy()
    for column in ("EER gap", "FMR gap", "FNMR gap"):
        shown[column] = [
            f"{100 * value:+.2f} points" if np.isfinite(value) else "not resolved"
            for value in gaps[column]
        ]
    shown["distance"] = gaps["distance"].map("{:.3f}".format)
    return shown


def describe_groups(profiles: xr.Dataset) -> str:
    """State the groups compared, how labels were permuted, and which groups are small or partial.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
    """
    baseline = as_markdown(profiles.attrs["baseline"])
    subjects = profiles["n_subjects"].max("model")
    texts, warnings = [], []
    most = int(subjects.max())
    for name in profiles["group"].to_numpy():
        here = subjects.sel(group=name)
        n_pairs = profiles["n_pairs"].max("model").sel(group=name)
        texts.append(
            f"{as_markdown(name)}: {int(n_pairs.sel(comparison='genuine')):,} genuine pairs of "
            f"{int(here.sel(comparison='genuine'))} subjects, "
            f"{int(n_pairs.sel(comparison='impostor')):,} impostor pairs of "
            f"{int(here.sel(comparison='impostor'))}"
        )
        note = str(profiles["note"].sel(group=name).item())
        faults = [note] if note else []
        if "only" not in note and int(here.max()) * _LOPSIDED < most:
            faults.append(f"{int(here.max())} subjects against {most}")
        if faults:
            warnings.append(f"{as_markdown(name)}: {'; '.join(faults)}")
    whole, within = (
        int(profiles["n_exchanged"].sel(how=how).max())
        for how in ("over subjects", "within subjects")
    )
    text = f"The baseline is {baseline}. " + "; ".join(texts) + ". "
    text += _permuted(whole, within)
    if warnings:
        text += (
            f" **Too few people or pairs to rest a finding on: {'; '.join(warnings)}.** Their "
            f"intervals are wide, and an interval cannot tell of people who were not photographed."
        )
    return text


def _permuted(whole: int, within: int) -> str:
    if whole + within == 0:
        return "Nothing could be tested."
    if within == 0:
        return (
            f"No subject carries more than one value, so labels are permuted over the {whole} "
            f"subjects of two groups."
        )
    return (
        f"{within} of the subjects {'carries' if within == 1 else 'carry'} both values; there "
        f"labels are permuted within the subject, those of the other {whole} over subjects."
    )


def describe_group_differences(
    profiles: xr.Dataset,
    *,
    model: str,
    side: str = "probe",
    comparison: str = "genuine",
    kind: str = "directed",
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

    Raises
    ------
    UnknownNameError
        If the profiles have no such part.
    """
    data = _part(profiles, model, side, comparison, kind)
    texts = []
    baseline = str(profiles.attrs["baseline"])
    for name in [n for n in names_of(data, "group") if n != baseline]:
        part, said = data.sel(group=name), as_markdown(name)
        p = part["p_adjusted"].sel(kind=kind).to_numpy()
        if not np.isfinite(p).any():
            texts.append(f"{said} cannot be tested ({part['note'].item() or 'no pairs'})")
            continue
        found = np.flatnonzero(p <= alpha)
        distance = part["distance"].sel(estimate="value")
        chance = float(part["distance_null"].sel(null="upper"))
        tail = ""
        if kind == "directed":
            beyond = "more" if float(distance) > chance else "no more"
            tail = (
                f" (distance of profiles {float(distance):.3f}, {beyond} than chance: "
                f"{100 * profiles.attrs['level']:g} % of permutations below {chance:.3f}, "
                f"p = {float(part['distance_p']):.3g})"
            )
        n = int(np.isfinite(p).sum())
        if not len(found):
            texts.append(f"{said} differs in none of {n} bands{tail}")
            continue
        bands = _ranges(profiles, found)
        strongest = found[np.argmax(np.abs(part["effect_size"].sel(kind=kind).to_numpy()[found]))]
        at = part[f"{kind}_difference"].isel(band=strongest)
        d = float(part["effect_size"].sel(kind=kind).isel(band=strongest))
        texts.append(
            f"{said} differs in {len(found)} of {n} bands ({bands}), most in "
            f"{data['band'].to_numpy()[strongest]}: {signed(at, 4)}, d = {d:+.2f}{tail}"
        )
    what = {"per_contrast": "influence per contrast"}.get(kind, f"{kind} influence")
    return (
        f"Mean {what}, {side} masked, {comparison} pairs, against {as_markdown(baseline)}, at "
        f"adjusted p ≤ {alpha:g}: {'; '.join(texts)}."
    )


def differing_bands(profiles: xr.Dataset, *, model: str, alpha: float = 0.05) -> pd.DataFrame:
    """Tabulate the bands in which a group differs from the baseline, with interval, d and p.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
    model
        Name of the model.
    alpha
        Level of the adjusted p-values.

    Returns
    -------
    pandas.DataFrame
        A row per finding, the largest effect first; empty if there are none.
    """
    check_name("model", model, names_of(profiles, "model"))
    rows = []
    data = profiles.sel(model=model)
    axes = ("comparison", "side", "kind", "group", "band")
    hits = np.argwhere((data["p_adjusted"].transpose(*axes) <= alpha).to_numpy())
    for place in hits:
        at = {axis: data[axis].to_numpy()[i] for axis, i in zip(axes, place, strict=True)}
        kind = str(at["kind"])
        part = data.sel({axis: at[axis] for axis in axes if axis != "kind"})
        rows.append(
            {
                "pairs": at["comparison"],
                "masked": at["side"],
                "influence": kind.replace("_", " "),
                "group": at["group"],
                "band": at["band"],
                "difference": signed(part[f"{kind}_difference"], 4),
                "d": f"{float(part['effect_size'].sel(kind=kind)):+.2f}",
                "adjusted p": f"{float(part['p_adjusted'].sel(kind=kind)):.3f}",
            }
        )
    columns = ["pairs", "masked", "influence", "group", "band", "difference", "d", "adjusted p"]
    table = pd.DataFrame(rows, columns=columns)
    largest = table["d"].astype(float).abs().sort_values(ascending=False, kind="stable").index
    return table.loc[largest].reset_index(drop=True)


def fairness_table(errors: xr.Dataset, *, fmr: float = 1e-3) -> pd.DataFrame:
    """Tabulate the fairness indices, a column per model, intervals in brackets.

    Parameters
    ----------
    errors
        From :func:`freqlab.bias.errors`.
    fmr
        Nominal false match rate of the threshold.
    """
    check_fmr(fmr)
    at = errors.sel(fmr=fmr, method="nearest")
    rows = {}
    for index, name in zip(
        errors["index"].to_numpy(), errors["index_name"].to_numpy(), strict=True
    ):
        row = {}
        for model in errors["model"].to_numpy():
            here = at.sel(index=index, model=model)
            text = with_bounds(here["fairness"], ".3g")
            note = str(here["fairness_note"].item())
            row[str(model)] = f"{text} ({note})".strip() if note else text
        rows[str(name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("index")


def gaps_together(
    profiles: xr.Dataset,
    errors: xr.Dataset,
    *,
    side: str = "probe",
    comparison: str = "genuine",
    fmr: float = 1e-3,
) -> pd.DataFrame:
    """Tabulate profile distances and error gaps, a row per model and non-baseline group.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
    errors
        From :func:`freqlab.bias.errors`.
    side, comparison
        Side and comparison of the profiles.
    fmr
        Nominal false match rate of the threshold.

    Returns
    -------
    pandas.DataFrame
        Columns ``distance`` of the directed profiles, ``EER gap``, ``FMR gap`` and ``FNMR gap``,
        group minus baseline; missing where a rate is not resolved.
    """
    check_fmr(fmr)
    baseline, rows = str(profiles.attrs["baseline"]), {}
    known = names_of(errors, "group")
    check_name("baseline", baseline, known)
    value = errors.sel(estimate="value").sel(fmr=fmr, method="nearest")
    distance = profiles["distance"].sel(estimate="value", side=side, comparison=comparison)
    for model in names_of(profiles, "model"):
        for group in names_of(profiles, "group"):
            if group == baseline or group not in known:
                continue
            one, base = (value.sel(model=model, group=name) for name in (group, baseline))
            rows[model, group] = {
                "distance": float(distance.sel(model=model, group=group)),
                "EER gap": float(one["eer"] - base["eer"]),
                "FMR gap": float(one["false_match_rate"] - base["false_match_rate"]),
                "FNMR gap": float(one["false_non_match_rate"] - base["false_non_match_rate"]),
            }
    table = pd.DataFrame.from_dict(rows, orient="index").round(12)  # equal rates give a gap of zero
    table.index = pd.MultiIndex.from_tuples(rows, names=["model", "group"])
    return table


def _ranges(profiles: xr.Dataset, bands: npt.NDArray[np.integer]) -> str:
    """Format bands as text, with neighbours joined: "0 to 4, 20 to 36 cycles/image"."""
    bounds, texts = profiles["band_bounds"].to_numpy(), []
    for run in np.split(bands, np.flatnonzero(np.diff(bands) > 1) + 1):
        lower, upper = bounds[run[0], 0], bounds[run[-1], 1]
        texts.append(f"{lower:g} and beyond" if np.isinf(upper) else f"{lower:g} to {upper:g}")
    return f"{', '.join(texts)} {frequency_unit(profiles)}"


def _part(profiles: xr.Dataset, model: str, side: str, comparison: str, kind: str) -> xr.Dataset:
    check_name("kind", kind, names_of(profiles, "kind"))
    return part_of(profiles, model=model, side=side, comparison=comparison)

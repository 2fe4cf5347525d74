"""Findings of a cross-resolution study as tables and sentences, generated from its numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import check_name
from freqlab.results.selection import frequency_unit, part_of
from freqlab.statistics.error_rates import check_fmr
from freqlab.statistics.resampling import estimates_of
from freqlab.text.shown import as_markdown
from freqlab.text.wording import join, percent, signed

__all__ = [
    "describe_comparisons",
    "describe_control",
    "describe_errors",
    "describe_low_bands",
    "describe_pairs",
    "describe_resolutions",
    "low_band_table",
    "summary",
    "summary_table",
]


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study: where verification breaks, and whether low bands gain weight.

    Parameters
    ----------
    study
        From :func:`freqlab.resolution.study`.
    """
    found, fmr = [], float(study.attrs["fmr"])
    profiles, errors = study["profiles"].to_dataset(), study["errors"].to_dataset()
    for name in map(str, profiles["model"].to_numpy()):
        found.append(f"{as_markdown(name)}: {describe_errors(errors, model=name, fmr=fmr)}")
        for side in map(str, profiles["side"].to_numpy()):
            found.append(
                f"{as_markdown(name)}: {describe_low_bands(profiles, model=name, side=side)}"
            )
    return found


def describe_resolutions(study: xr.DataTree) -> str:
    """State, in Markdown, how the photographs were degraded.

    Parameters
    ----------
    study
        From :func:`freqlab.resolution.study`.
    """
    attrs = study.attrs
    native, steps = int(attrs["native"]), [int(one) for one in attrs["resolutions"]]
    if "degradation" in attrs:
        what = "the face in the photograph" if attrs["measure"] == "face" else "the aligned crop"
        text = (
            f"Probes are reduced to {', '.join(map(str, steps))} pixels across {what} and brought "
            f"back (`{attrs['degradation']}`); references stay as they are."
        )
    else:
        text = (
            f"Nothing is done to the photographs. Their pairs are sorted by the pixels of the "
            f"coarser one, which is the probe, to the nearest of "
            f"{', '.join(map(str, [native, *steps]))}."
        )
    if "pixels_across" in attrs:
        lower, middle, upper = attrs["pixels_across"]
        text += (
            f" The photographs themselves have {middle:.0f} pixels across the crop (median; 90 % "
            f"between {lower:.0f} and {upper:.0f}): what the table calls {native} pixels is that, "
            f"brought to the size of the crop."
        )
    return text


def describe_comparisons(study: xr.DataTree) -> str:
    """State over how many comparisons the errors at a resolution are counted."""
    counts = [int(study["errors"][name].max()) for name in ("n_genuine", "n_impostor")]
    against = "Compared are the pairs given"
    if study.attrs["all_against_all"]:
        against = "Every photograph is the probe once against every other one"
    return (
        f"{against}: at a resolution up to {counts[0]:,} genuine and {counts[1]:,} impostor "
        f"comparisons."
    )


def describe_pairs(study: xr.DataTree) -> str:
    """State how many pairs are explained."""
    n_whole = int(study["profiles"]["n_pairs"].isel(model=0, resolution=0).sum())
    sample = "a sample, drawn at random" if "n_pairs" in study.attrs else "all pairs"
    return (
        f"{n_whole:,} pairs are explained at the highest resolution ({sample}); with the same "
        f"pairs at lower resolutions and under other kernels they are "
        f"{int(study.attrs['n_explained']):,}."
    )


def describe_control(study: xr.DataTree, *, model: str) -> list[str]:
    """State how the low bands change under the ideal low-pass, if it was tried.

    Parameters
    ----------
    study
        From :func:`freqlab.resolution.study`.
    model
        Name of the model.

    Returns
    -------
    list of str
        One sentence, or an empty list.
    """
    if "control" not in study.children:
        return []
    control = study["control"].to_dataset()
    n_few = int(control["n_pairs"].sel(comparison="genuine", model=model)[0])
    told = [describe_low_bands(control, model=model, side=side) for side in ("probe", "reference")]
    return [f"The control, the ideal low-pass on {n_few} of the pairs: {' '.join(told)}"]


def summary_table(
    profiles: xr.Dataset, errors: xr.Dataset, *, model: str, fmr: float = 1e-3
) -> pd.DataFrame:
    """Tabulate the figures of genuine pairs by resolution, intervals in brackets.

    Parameters
    ----------
    profiles
        From :func:`freqlab.resolution.profiles`.
    errors
        From :func:`freqlab.resolution.errors`.
    model
        Name of the model.
    fmr
        Nominal false match rate of the threshold.

    Returns
    -------
    pandas.DataFrame
        A row for each resolution, the highest first: equal error rate; FNMR at the threshold;
        Nyquist frequencies (N/2 and sqrt(2) N/2); the first band of the probe with less than
        half its influence; influence and energy of the probe beyond sqrt(2) N/2; the shift of
        the reference's profile, and its rank correlation.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model or rate.
    """
    check_name("model", model, names_of(profiles, "model"))
    check_fmr(fmr)
    genuine = profiles.sel(model=model, comparison="genuine")
    sides = names_of(profiles, "side")
    rows = {}
    for resolution in profiles["resolution"].to_numpy():
        row: dict[str, str] = {}
        if resolution in errors["resolution"]:
            at = errors.sel(model=model, resolution=resolution)
            row["EER"] = percent(at["eer"])
            row[f"FNMR at FMR {fmr:g}"] = (
                percent(at["false_non_match_rate"].sel(fmr=fmr, method="nearest")) or "no threshold"
            )
        part = genuine.sel(resolution=resolution)
        ends = [float(part["nyquist"].sel(line=line)) for line in ("axis", "diagonal")]
        row["N/2, √2 N/2"] = f"{ends[0]:.3g}, {ends[1]:.3g}"
        is_first = resolution == profiles["resolution"].max()
        if "probe" in sides:
            probe = part.sel(side="probe")
            half = float(probe["halved"].sel(estimate="value"))
            row["influence halved from"] = "" if np.isnan(half) else f"{half:g}"
            for name, what in (("leak_influence", "influence"), ("leak_energy", "energy")):
                leak = probe[name].sel(line="diagonal")
                row[f"{what} beyond √2 N/2"] = "" if is_first else percent(leak)
        if "reference" in sides and not is_first:
            reference = part.sel(side="reference")
            row["reference: moved"] = percent(reference["shift"])
            row["reference: rank corr."] = f"{float(reference['rank_correlation']):+.2f}"
        rows[f"{resolution:g}"] = row
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    return table.rename_axis("pixels")


def low_band_table(profiles: xr.Dataset, *, model: str) -> pd.DataFrame:
    """Tabulate the gain or loss of the low bands at each resolution, intervals in brackets.

    Parameters
    ----------
    profiles
        From :func:`freqlab.resolution.profiles`.
    model
        Name of the model.

    Returns
    -------
    pandas.DataFrame
        Indexed by side, kind of pair and resolution: share of the low bands, its gain over the
        highest resolution in percentage points, the effect size, the gain of their absolute
        influence, and a verdict on the share: ``"gain"`` or ``"lose"`` where the interval
        excludes zero, ``"not clear"`` otherwise.
    """
    check_name("model", model, names_of(profiles, "model"))
    rows = {}
    for side in profiles["side"].to_numpy():
        for comparison in ("genuine", "impostor"):
            data = profiles.sel(model=model, side=side, comparison=comparison)
            for resolution in profiles["resolution"].to_numpy()[1:]:
                part = data.sel(resolution=resolution)
                if np.isnan(part["low_gain"].sel(estimate="value")):
                    continue
                rows[str(side), comparison, f"{resolution:g}"] = {
                    "share": percent(part["low_share"]),
                    "gain, points": signed(100 * part["low_gain"], 1),
                    "effect size": signed(part["low_effect"], 2),
                    "gain of influence": signed(part["low_influence_gain"], 3),
                    "low bands": _verdict(part["low_gain"]),
                }
    table = pd.DataFrame.from_dict(rows, orient="index")
    if len(table):
        table.index = pd.MultiIndex.from_tuples(rows, names=["side", "pairs", "pixels"])
    return table


def describe_low_bands(
    profiles: xr.Dataset, *, model: str, side: str = "probe", comparison: str = "genuine"
) -> str:
    """State whether low bands gain weight as the probe loses resolution.

    Parameters
    ----------
    profiles
        From :func:`freqlab.resolution.profiles`.
    model, side, comparison
        Part of the data to describe.

    Returns
    -------
    str
        The resolutions at which they gain, lose, or the change is not clear, with the largest
        change, its interval and effect size, and the change of their absolute influence there.

    Raises
    ------
    UnknownNameError
        If the data have no such part.
    """
    data = part_of(profiles, model=model, side=side, comparison=comparison)
    first, *lower = profiles["resolution"].to_numpy()
    gains = data["low_gain"].sel(resolution=lower)
    known = np.isfinite(gains.sel(estimate="value").to_numpy())
    if not known.any():
        return f"There are no {comparison} pairs at two resolutions to compare."
    low, unit = profiles.attrs["low"], frequency_unit(profiles)
    base = 100 * float(data["low_share"].sel(resolution=first, estimate="value"))
    said = []
    for verdict, words in (
        ("gain", "gain weight"),
        ("lose", "lose weight"),
        ("not clear", "do neither clearly"),
    ):
        at = [
            f"{r:g}" for r in np.array(lower)[known] if _verdict(gains.sel(resolution=r)) == verdict
        ]
        if at:
            said.append(f"{words} at {join(at)} pixels")
    values = np.abs(gains.sel(estimate="value").to_numpy())
    most = float(np.array(lower)[np.nanargmax(values)])
    part = data.sel(resolution=most)
    level = f"{100 * profiles.attrs['level']:g} %"
    influence = _verdict(part["low_influence_gain"])
    becomes = {"gain": "grows", "lose": "falls", "not clear": "does not clearly change"}[influence]
    return (
        f"Taken from the {side}, over {comparison} pairs, the bands below {low:g} {unit} hold "
        f"{base:.0f} % of the summed absolute influence at {first:g} pixels; they "
        f"{'; they '.join(said)}. The largest change is at {most:g} pixels: "
        f"{signed(100 * part['low_gain'], 1)} percentage points ({level} interval in brackets), "
        f"effect size {signed(part['low_effect'], 2)}. Their absolute influence itself {becomes} "
        f"there: {signed(part['low_influence_gain'], 3)}."
    )


def describe_errors(errors: xr.Dataset, *, model: str, fmr: float = 1e-3) -> str:
    """State at which resolutions FNMR is first clearly higher, and first exceeds one half.

    Parameters
    ----------
    errors
        From :func:`freqlab.resolution.errors`.
    model
        Name of the model.
    fmr
        Nominal false match rate of the threshold.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model or rate.
    """
    check_name("model", model, names_of(errors, "model"))
    check_fmr(fmr)
    data = errors.sel(model=model)
    at = data.sel(fmr=fmr, method="nearest")
    resolutions = errors["resolution"].to_numpy()
    if np.isnan(float(at["threshold"])):
        rate, what = data["eer"], "equal error rate"
        start = f"At FMR {fmr:g} there is no threshold, for want of impostor comparisons. "
    else:
        rate, what, start = at["false_non_match_rate"], f"FNMR at FMR {fmr:g}", ""
    value, lower, upper = estimates_of(rate)
    text = f"{start}The {what} is {100 * value[0]:.2f} % at {resolutions[0]:g} pixels"
    worse = [i for i in range(1, len(value)) if lower[i] > upper[0]]
    if worse:
        i = worse[0]
        text += (
            f" and clearly higher from {resolutions[i]:g} pixels down: there it is "
            f"{percent(rate.isel(resolution=i))}"
        )
    elif len(value) > 1:
        text += ", and at no resolution is it clearly higher"
    half = [i for i in range(len(value)) if value[i] > 0.5]
    if half and what != "equal error rate":
        text += (
            f". More than half of the genuine comparisons fail at {resolutions[half[0]]:g} pixels"
        )
    return text + "."


def _verdict(gain: xr.DataArray) -> str:
    lower, upper = (float(gain.sel(estimate=e)) for e in ("lower", "upper"))
    if lower > 0:
        return "gain"
    return "lose" if upper < 0 else "not clear"

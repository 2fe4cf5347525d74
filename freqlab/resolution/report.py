"""Findings of a cross-resolution study as tables and sentences, generated from its numbers.

Words that compare rest on a paired difference whose interval excludes zero, and on at least 20
people.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.errors import check_name
from freqlab.literals import Comparison, Side
from freqlab.results.selection import at_fmr, fmr_text, frequency_unit, part_of
from freqlab.statistics.error_rates import check_fmr, comparisons_needed
from freqlab.statistics.resampling import FEWEST_PEOPLE, estimates_of
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

_LARGE_LEAK = 0.1  # share of influence beyond the limit of the probe, from which it is stated
_SIDES: tuple[Side, ...] = ("probe", "reference")
_LARGER, _SMALLER, _NEITHER = "larger", "smaller", "no difference established"


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study in Markdown: error rates, and the weight of low bands, by resolution.

    Parameters
    ----------
    study
        From :func:`freqlab.resolution.study`.

    Returns
    -------
    list of str
        For each model, one text on error rates, and one on the low bands of genuine pairs for each
        masked side.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=4, per_subject=2)
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "fmr": 0.1}
    >>> options |= {"resolutions": [28, 14], "n_control": 2, "n_draws": 50, "progress": False}
    >>> study = fl.resolution.study(faces, store="run.zarr", **options)
    >>> print(fl.resolution.summary(study)[0])
    linear: ...
    """
    profiles, errors = study["profiles"].to_dataset(), study["errors"].to_dataset()
    fmr, texts = float(study.attrs["fmr"]), []
    for name in names_of(profiles, "model"):
        about = [describe_errors(errors, model=name, fmr=fmr)]
        for side in names_of(profiles, "side"):
            part = part_of(profiles, model=name, side=side, comparison="genuine")
            about.append(_low_band_text(part))
        texts += [f"{as_markdown(name)}: {text}" for text in about]
    return texts


def describe_resolutions(study: xr.DataTree) -> str:
    """State, in Markdown, how the photographs were degraded.

    Parameters
    ----------
    study
        From :func:`freqlab.resolution.study`.

    Returns
    -------
    str
        Sentences, in Markdown.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> print(fl.resolution.describe_resolutions(study))
    Probes are reduced to 28 and 14 pixels across the aligned crop and restored to ...
    """
    attrs = study.attrs
    native, lower = int(attrs["native"]), [int(one) for one in attrs["resolutions"]]
    if "degradation" in attrs:
        what = "the face in the photograph" if attrs["measure"] == "face" else "the aligned crop"
        text = (
            f"Probes are reduced to {join([f'{one:g}' for one in lower])} pixels across {what} and "
            f"restored to the size of the crop (`{attrs['degradation']}`). References are not "
            f"degraded."
        )
    else:
        text = (
            f"No photograph is degraded. In each pair, the photograph of lower resolution is the "
            f"probe; its pixels across the crop, rounded to the nearest of "
            f"{join([f'{one:g}' for one in [native, *lower]], 'or')}, are the resolution of the "
            f"pair."
        )
    if "pixels_across" in attrs:
        low, middle, high = attrs["pixels_across"]
        text += (
            f" The photographs have a median of {middle:.0f} pixels across the crop (90 % between "
            f"{low:.0f} and {high:.0f}), which are resampled to {native}."
        )
    return text


def describe_comparisons(study: xr.DataTree) -> str:
    """State over how many comparisons the errors at a resolution are counted.

    Parameters
    ----------
    study
        From :func:`freqlab.resolution.study`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> print(fl.resolution.describe_comparisons(study))
    Each photograph is once the probe against every other one: up to 8 genuine and ...
    """
    counts = [int(study["errors"][name].max()) for name in ("n_genuine", "n_impostor")]
    which = "Error rates are over the given pairs"
    if study.attrs["all_against_all"]:
        which = "Each photograph is once the probe against every other one"
    return (
        f"{which}: up to {counts[0]:,} genuine and {counts[1]:,} impostor comparisons at a "
        f"resolution."
    )


def describe_pairs(study: xr.DataTree) -> str:
    """State how many pairs are explained.

    Parameters
    ----------
    study
        From :func:`freqlab.resolution.study`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> print(fl.resolution.describe_pairs(study))
    8 pairs are explained at the highest resolution (a random sample), 36 with ...
    """
    n_highest = int(study["profiles"]["n_pairs"].isel(model=0, resolution=0).sum())
    sample = "a random sample" if "n_pairs" in study.attrs else "all pairs"
    return (
        f"{n_highest:,} pairs are explained at the highest resolution ({sample}), "
        f"{int(study.attrs['n_explained']):,} with those of lower resolutions and other kernels."
    )


def describe_control(study: xr.DataTree, *, model: str) -> list[str]:
    """State how the weight of the low bands changes under the ideal low-pass.

    Parameters
    ----------
    study
        From :func:`freqlab.resolution.study`.
    model
        Name of the model.

    Returns
    -------
    list of str
        One text; an empty list if the study has no such control.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> fl.resolution.describe_control(study, model="linear")
    ['Control, the ideal low-pass on 2 of the genuine pairs: 2 people: too few to compare.']
    """
    if "control" not in study.children:
        return []
    control = study["control"].to_dataset()
    genuine = control.sel(comparison="genuine", model=model)
    start = f"Control, the ideal low-pass on {int(genuine['n_pairs'][0])} of the genuine pairs: "
    people = int(genuine["n_subjects"].min())
    if people < FEWEST_PEOPLE:
        return [f"{start}{_too_few(people)}."]
    texts = [describe_low_bands(control, model=model, side=side) for side in _SIDES]
    return [f"{start}{' '.join(texts)}"]


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
        half its influence; influence and energy of the probe beyond sqrt(2) N/2; share of the
        reference's influence in other bands than at the highest resolution, and the rank
        correlation of the two profiles.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model or rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> profiles = study["profiles"].to_dataset()
    >>> errors = study["errors"].to_dataset()
    >>> table = fl.resolution.summary_table(profiles, errors, model="linear", fmr=0.1)
    >>> table.columns.tolist()
    ['EER', 'FNMR at FMR 1e-1', 'N/2, √2 N/2', 'influence halved from', 'influence beyond √2 N/2',
    'energy beyond √2 N/2', 'reference: influence in other bands', 'reference: rank correlation']
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
            row[f"FNMR at FMR {fmr_text(fmr)}"] = (
                percent(at_fmr(at["false_non_match_rate"], fmr)) or "no threshold"
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
            row["reference: influence in other bands"] = percent(reference["shift"])
            row["reference: rank correlation"] = f"{float(reference['rank_correlation']):+.2f}"
        rows[f"{resolution:g}"] = row
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    return table.rename_axis("pixels")


def low_band_table(profiles: xr.Dataset, *, model: str) -> pd.DataFrame:
    """Tabulate how the weight of the low bands changes with the resolution, intervals in brackets.

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
        influence, and a verdict on the share: ``"larger"`` or ``"smaller"`` where the interval of
        the gain excludes zero, ``"no difference established"`` otherwise, or that there are too
        few people to compare.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> profiles = study["profiles"].to_dataset()
    >>> fl.resolution.low_band_table(profiles, model="linear").columns.tolist()
    ['share', 'gain, points', 'effect size', 'gain of influence', 'share of low bands']
    """
    check_name("model", model, names_of(profiles, "model"))
    rows = {}
    for side in names_of(profiles, "side"):
        for comparison in ("genuine", "impostor"):
            data = profiles.sel(model=model, side=side, comparison=comparison)
            for resolution in _compared(data):
                part = data.sel(resolution=resolution)
                rows[side, comparison, f"{resolution:g}"] = {
                    "share": percent(part["low_share"]),
                    "gain, points": signed(100 * part["low_gain"], 1),
                    "effect size": signed(part["low_effect"], 2),
                    "gain of influence": signed(part["low_influence_gain"], 3),
                    "share of low bands": _verdict(part["low_gain"], _n_people(data, resolution)),
                }
    table = pd.DataFrame.from_dict(rows, orient="index")
    if len(table):
        table.index = pd.MultiIndex.from_tuples(rows, names=["side", "pairs", "pixels"])
    return table


def describe_low_bands(
    profiles: xr.Dataset, *, model: str, side: Side = "probe", comparison: Comparison = "genuine"
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
        The resolutions at which their share is larger, smaller, or not established to differ from
        that at the highest resolution; the largest change with its interval and effect size, and
        the change of their absolute influence there.

    Raises
    ------
    UnknownNameError
        If the data have no such part.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("resolution")
    >>> profiles = study["profiles"].to_dataset()
    >>> print(fl.resolution.describe_low_bands(profiles, model="linear"))
    Probe masked, genuine pairs: the share of the bands below 28 cycles/image in ...
    """
    data = part_of(profiles, model=model, side=side, comparison=comparison)
    text, most = _low_band_text(data), _largest_change(data)
    if most is None:
        return text
    part = data.sel(resolution=most)
    verdict = _verdict(part["low_influence_gain"], _n_people(data, most))
    change = signed(part["low_influence_gain"], 3)
    return (
        f"{text} At {most:g} pixels the effect size is {signed(part['low_effect'], 2)}; their "
        f"absolute influence itself: {verdict} ({change})."
    )


def _low_band_text(data: xr.Dataset) -> str:
    """State how the share of the low bands changes, for one model, side and kind of pairs."""
    comparison, side = str(data["comparison"].item()), str(data["side"].item())
    compared = _compared(data)
    if not compared:
        return f"There are no {comparison} pairs at two resolutions to compare."
    first = float(data["resolution"][0])
    base = percent(data["low_share"].sel(resolution=first))
    text = (
        f"{side.capitalize()} masked, {comparison} pairs: the share of the bands below "
        f"{data.attrs['low']:g} {frequency_unit(data)} in the absolute influence is {base} at "
        f"{first:g} pixels"
    )
    most, fewest = _largest_change(data), min(_n_people(data, r) for r in compared)
    if most is None:
        return f"{text}; {_too_few(fewest)} with lower resolutions."
    verdicts = {
        r: _verdict(data["low_gain"].sel(resolution=r), _n_people(data, r)) for r in compared
    }
    said = []
    for verdict in dict.fromkeys([_LARGER, _SMALLER, _NEITHER, *verdicts.values()]):
        at = [f"{r:g}" for r, one in verdicts.items() if one == verdict]
        if at:
            said.append(f"{verdict} at {join(at)} pixels")
    change = signed(100 * data["low_gain"].sel(resolution=most), 1)
    text += f", {'; '.join(said)}. Largest change: {change} percentage points at {most:g} pixels"
    return f"{text}{_leak_text(data, compared)}."


def _leak_text(data: xr.Dataset, resolutions: list[float]) -> str:
    """State the largest influence of a probe beyond its limit, which lowers the share."""
    if str(data["side"].item()) != "probe" or "leak_influence" not in data:
        return ""
    leaks = data["leak_influence"].sel(resolution=resolutions, line="diagonal")
    values = np.nan_to_num(leaks.sel(estimate="value").to_numpy())
    i = int(np.argmax(values))
    if values[i] < _LARGE_LEAK:
        return ""
    return (
        f"; at {resolutions[i]:g} pixels, {percent(leaks.isel(resolution=i))} of the influence is "
        f"beyond √2 N/2, the highest frequency of the probe, which lowers that share"
    )


def describe_errors(errors: xr.Dataset, *, model: str, fmr: float = 1e-3) -> str:
    """State at which resolutions FNMR is higher than at the highest one, or exceeds one half.

    Parameters
    ----------
    errors
        From :func:`freqlab.resolution.errors`.
    model
        Name of the model.
    fmr
        Nominal false match rate of the threshold. Without a threshold, the equal error rates are
        stated, and not compared.

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
    >>> study = fl.testing.study("resolution")
    >>> errors = study["errors"].to_dataset()
    >>> print(fl.resolution.describe_errors(errors, model="linear", fmr=0.1))
    There is no threshold at FMR 1e-1: it takes 100 impostor comparisons, and the ...
    """
    check_name("model", model, names_of(errors, "model"))
    check_fmr(fmr)
    data = errors.sel(model=model)
    at = at_fmr(data, fmr)
    resolutions = [float(one) for one in errors["resolution"].to_numpy()]
    if np.isnan(float(at["threshold"])):
        rates = [f"{percent(data['eer'].sel(resolution=r))} at {r:g} pixels" for r in resolutions]
        return (
            f"There is no threshold at FMR {fmr_text(fmr)}: it takes {comparisons_needed(fmr):,} "
            f"impostor comparisons, and the faces have {int(data['impostor_comparisons']):,}. The "
            f"equal error rate is {join(rates)}."
        )
    rate = at["false_non_match_rate"]
    people = at["n_people"].to_numpy()
    text = (
        f"FNMR at FMR {fmr_text(fmr)} is {percent(rate.isel(resolution=0))} at "
        f"{resolutions[0]:g} pixels ({_people(int(people[0]))})"
    )
    if len(resolutions) == 1:
        return f"{text}."
    if people.min() < FEWEST_PEOPLE:
        lowest = f"{percent(rate.isel(resolution=-1))} at {resolutions[-1]:g} pixels"
        return f"{text} and {lowest}; {_too_few(int(people.min()))}."
    return f"{text}{_error_text(at, resolutions)}"


def _error_text(at: xr.Dataset, resolutions: list[float]) -> str:
    """State the differences of FNMR from the highest resolution, and where it exceeds one half."""
    rate, differences = (
        at[name].transpose("resolution", "estimate")
        for name in ("false_non_match_rate", "false_non_match_rate_difference")
    )
    value, lower, upper = estimates_of(differences)

    def stated(i: int) -> str:
        change = signed(100 * differences.isel(resolution=i), 2)
        text = f"{percent(rate.isel(resolution=i))} at {resolutions[i]:g} pixels"
        return f"{text}, a difference of {change} percentage points"

    texts = []
    for word, is_so in (("higher", lower > 0), ("lower", upper < 0)):
        places = np.flatnonzero(is_so)
        if len(places):
            where = join([f"{resolutions[i]:g}" for i in places])
            texts.append(f" and {word} at {where} pixels: {stated(int(places[0]))}")
    if not texts:
        i = int(np.nanargmax(np.abs(value)))
        return f"; no difference is established at lower resolutions, the largest is {stated(i)}."
    half = np.flatnonzero(estimates_of(rate)[1] > 0.5)
    if len(half):
        i = int(half[0])
        texts.append(
            f". More than half of the genuine comparisons are rejected at {resolutions[i]:g} "
            f"pixels, {percent(rate.isel(resolution=i))}"
        )
    return f"{''.join(texts)}."


def _compared(data: xr.Dataset) -> list[float]:
    """Lower resolutions at which the share of the low bands is known."""
    gains = data["low_gain"].sel(estimate="value").to_numpy()[1:]
    return [float(r) for r in data["resolution"].to_numpy()[1:][np.isfinite(gains)]]


def _n_people(data: xr.Dataset, resolution: float) -> int:
    """Number of people behind a comparison with the highest resolution."""
    n_subjects = data["n_subjects"]
    return int(min(n_subjects.isel(resolution=0), n_subjects.sel(resolution=resolution)))


def _largest_change(data: xr.Dataset) -> float | None:
    """Resolution with the largest change of the share, of those with enough people; or None."""
    enough = [r for r in _compared(data) if _n_people(data, r) >= FEWEST_PEOPLE]
    if not enough:
        return None
    gains = data["low_gain"].sel(estimate="value", resolution=enough).to_numpy()
    return enough[int(np.argmax(np.abs(gains)))]


def _verdict(gain: xr.DataArray, n_people: int) -> str:
    lower, upper = (float(gain.sel(estimate=e)) for e in ("lower", "upper"))
    if n_people < FEWEST_PEOPLE:
        return _too_few(n_people)
    if lower > 0:
        return _LARGER
    return _SMALLER if upper < 0 else _NEITHER


def _too_few(n_people: int) -> str:
    return f"{_people(n_people)}: too few to compare"


def _people(n: int) -> str:
    return "1 person" if n == 1 else f"{n:,} people"

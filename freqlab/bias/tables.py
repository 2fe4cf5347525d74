"""Findings of a bias study as tables, generated from its numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.bias.group_comparison import GAPS
from freqlab.bias.group_names import too_few
from freqlab.errors import check_name
from freqlab.literals import Comparison, Side
from freqlab.results.selection import at_fmr, part_of
from freqlab.statistics.error_rates import check_fmr
from freqlab.statistics.resampling import FEWEST_PEOPLE
from freqlab.text.wording import NBSP, signed, with_bounds
from freqlab.verification.performance import summary_table

__all__ = [
    "chance_text",
    "differences_table",
    "differing_bands",
    "errors_table",
    "fairness_table",
    "gaps_table",
]

_UNRESOLVED = "not resolved"


def differences_table(data: xr.DataTree | xr.Dataset) -> pd.DataFrame:
    """Tabulate in how many bands each group differs from the baseline, and where most.

    Parameters
    ----------
    data
        A study of :func:`freqlab.bias.study`, its node ``matched_differences``, or the result of
        :func:`freqlab.bias.differences`.

    Returns
    -------
    pandas.DataFrame
        A row per model, kind of pairs, group, masked side and kind of influence: how many of the
        tested bands differ; the band with the largest difference, the difference with its
        interval, and Cohen's d. A group of few people has one row, and is not compared.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> fl.bias.differences_table(study).columns.tolist()
    ['model', 'pairs', 'masked', 'influence', 'group', 'bands that differ', 'largest in',
    'difference', 'd']
    """
    if isinstance(data, xr.DataTree):
        data = (data["differences"] if "differences" in data.children else data).to_dataset()
    columns = ["model", "pairs", "masked", "influence", "group"]
    columns += ["bands that differ", "largest in", "difference", "d"]
    rows, axes = [], ("model", "comparison", "group", "side", "kind")
    for place in np.ndindex(*(data.sizes[axis] for axis in axes)):
        at = data.isel(dict(zip(axes, place, strict=True)))
        n_people, n_tested = int(at["n_subjects"]), int(at["n_tested"])
        row = dict.fromkeys(columns, "") | {
            "model": str(at["model"].item()),
            "pairs": str(at["comparison"].item()),
            "group": str(at["group_label"].item()),
        }
        if n_people < FEWEST_PEOPLE:
            if any(place[3:]):  # the same for all sides and kinds
                continue
            row["bands that differ"] = too_few(n_people) if n_people else "no such pairs"
        elif n_tested == 0:
            row["bands that differ"] = "not tested"
        else:
            row |= {
                "masked": str(at["side"].item()),
                "influence": str(at["kind"].item()).replace("_", " "),
                "bands that differ": f"{int(at['n_differing'])} of {n_tested}",
                "largest in": str(at["largest_band"].item()),
                "difference": signed(at["largest_difference"], 4),
                "d": f"{float(at['largest_effect']):+.2f}",
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def differing_bands(
    profiles: xr.Dataset, *, model: str, alpha: float = 0.05, fewest: int = FEWEST_PEOPLE
) -> pd.DataFrame:
    """Tabulate every band with a small p-value, with the difference, its interval, and d.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
    model
        Name of the model.
    alpha
        Level of the adjusted p-values.
    fewest
        Smallest number of subjects, of a group and of the baseline, with which bands are listed.

    Returns
    -------
    pandas.DataFrame
        A row per band and part of the profiles, the largest effect first; empty if there is none.
        :func:`differences_table` gives the same in few rows.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> fl.bias.differing_bands(profiles, model="linear").columns.tolist()
    ['pairs', 'masked', 'influence', 'group', 'band', 'difference', 'd', 'adjusted p']
    """
    check_name("model", model, names_of(profiles, "model"))
    rows = []
    data = profiles.sel(model=model)
    axes = ("comparison", "side", "kind", "group", "band")
    n_subjects = data["n_subjects"]
    baseline = n_subjects.sel(group=str(profiles.attrs["baseline"]), drop=True)
    enough = np.minimum(n_subjects, baseline) >= fewest
    small = (data["p_adjusted"] <= alpha) & enough
    hits = np.argwhere(small.transpose(*axes).to_numpy())
    for place in hits:
        at = {axis: data[axis].to_numpy()[i] for axis, i in zip(axes, place, strict=True)}
        kind = str(at["kind"])
        part = data.sel({axis: at[axis] for axis in axes if axis != "kind"})
        rows.append(
            {
                "pairs": at["comparison"],
                "masked": at["side"],
                "influence": kind.replace("_", " "),
                "group": str(part["group_label"].item()),
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


def errors_table(errors: xr.Dataset, *, model: str, fmr: float = 1e-3) -> pd.DataFrame:
    """Tabulate the verification figures of the groups, intervals in brackets.

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
    pandas.DataFrame
        As from :func:`freqlab.verification.summary_table`; groups are named with their column, as
        in ``"glasses=no"``.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> errors = study["errors"].to_dataset()
    >>> fl.bias.errors_table(errors, model="linear", fmr=0.1).index.tolist()
    ['all', 'colour=blue', 'colour=green', 'colour=red', 'mixed']
    """
    labels = dict(zip(names_of(errors, "group"), names_of(errors, "group_label"), strict=True))
    return summary_table(errors, model=model, fmr=fmr).rename(index=labels)


def fairness_table(errors: xr.Dataset, *, fmr: float = 1e-3) -> pd.DataFrame:
    """Tabulate the fairness indices, a column per model, beside what chance alone gives.

    Parameters
    ----------
    errors
        From :func:`freqlab.bias.errors`.
    fmr
        Nominal false match rate of the threshold.

    Returns
    -------
    pandas.DataFrame
        A row per index: its value; in brackets its median under permuted labels of people, the
        bound that most permutations do not exceed in the direction away from fair, and the
        p-value.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> errors = study["errors"].to_dataset()
    >>> fl.bias.fairness_table(errors, fmr=0.1).index.tolist()
    ['gap of FMR', 'ratio of FMR', 'Gini coefficient of FMR', 'gap of FNMR', 'ratio of FNMR', 'Gini
    coefficient of FNMR', 'fairness discrepancy rate', 'inequity rate', 'GARBE']
    """
    check_fmr(fmr)
    at = at_fmr(errors, fmr)
    rows = {}
    for index, name in zip(
        errors["index"].to_numpy(), errors["index_name"].to_numpy(), strict=True
    ):
        row = {}
        for model in errors["model"].to_numpy():
            here = at.sel(index=index, model=model)
            texts = [chance_text(here), str(here["fairness_note"].item())]
            value, about = float(here["fairness"]), "; ".join(text for text in texts if text)
            shown = f"{value:.3g} ({about})" if about else f"{value:.3g}"
            row[str(model)] = about if np.isnan(value) else shown
        rows[str(name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("index")


def chance_text(at: xr.Dataset) -> str:
    """Describe one index under permuted labels: "permuted: median 1.8, 95 % up to 3.1; p = 0.2".

    Parameters
    ----------
    at
        One index of one model at one threshold, of :func:`freqlab.bias.errors`.

    Returns
    -------
    str
        Empty where the index is not available.
    """
    median, bound = (float(at["fairness_null"].sel(null=name)) for name in ("median", "bound"))
    if np.isnan(median):
        return ""
    limit = "from" if bound < median else "up to"
    return (
        f"permuted: median {_number(median)}, {100 * float(at.attrs['level']):g}{NBSP}% {limit} "
        f"{_number(bound)}; p = {float(at['fairness_p']):.3g}"
    )


def _number(value: float) -> str:
    return "∞" if np.isinf(value) else f"{value:.3g}"


def gaps_table(
    gaps: xr.DataTree | pd.DataFrame, *, side: Side = "probe", comparison: Comparison = "genuine"
) -> pd.DataFrame:
    """Tabulate distances between profiles beside gaps in error rates, with intervals.

    Parameters
    ----------
    gaps
        A study of :func:`freqlab.bias.study`, or the result of
        :func:`freqlab.bias.gaps_together`, which has no intervals.
    side, comparison
        Side and comparison of the profiles of a study.

    Returns
    -------
    pandas.DataFrame
        A row per model and group: the distance, and gaps in percentage points.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> fl.bias.gaps_table(study).columns.tolist()
    ['distance', 'p', 'EER gap', 'FMR gap', 'FNMR gap']
    """
    if isinstance(gaps, pd.DataFrame):
        shown = gaps.copy()
        for column in GAPS:
            shown[column] = [
                f"{100 * value:+.2f} points" if np.isfinite(value) else "not resolved"
                for value in gaps[column]
            ]
        shown["distance"] = gaps["distance"].map("{:.3f}".format)
        return shown
    data = part_of(gaps["gaps"].to_dataset(), side=side, comparison=comparison)
    data = at_fmr(data, float(gaps.attrs["fmr"]))
    rows = {}
    for model in names_of(data, "model"):
        for group, label in zip(
            names_of(data, "group"), names_of(data, "group_label"), strict=True
        ):
            at = data.sel(model=model, group=group)
            rows[model, label] = {
                "distance": with_bounds(at["distance"], ".3f"),
                "p": f"{float(at['distance_p']):.3g}" if at["distance_p"].notnull() else "",
                **{
                    column: f"{text} points" if (text := signed(100 * at[name], 2)) else _UNRESOLVED
                    for column, name in GAPS.items()
                },
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    if rows:
        table.index = pd.MultiIndex.from_tuples(rows, names=["model", "group"])
    return table

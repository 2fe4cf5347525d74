"""One-to-one matching of faces, which balances confounding measures between groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.groups import group_codes

__all__ = ["match_groups", "quality_table"]

_MOST = 4000  # faces per group and stratum in the assignment; their distances take 128 MB


def match_groups(
    labels: pd.Series[str],
    quality: pd.DataFrame,
    *,
    on: str = "sharpness",
    exact: Sequence[str] = (),
    caliper: float = 0.2,
) -> pd.Index[str]:
    """Choose faces so that every group has the same number of faces of similar quality.

    Each face of the smallest group is matched with a face of every other group so that the sum of
    distances is smallest (optimal matching without replacement). Faces without a partner within
    the caliper in every group are left out. If a group (and stratum) has more than 4,000 faces,
    4,000 of them are used, spread evenly over their quality.

    Parameters
    ----------
    labels
        Group of each face, by name.
    quality
        Measures by face, such as those of :func:`freqlab.bias.quality`, and any further columns.
    on
        Column on which partners should be as close as possible.
    exact
        Columns in which partners must be equal, such as ``["pose"]``.
    caliper
        Largest distance between partners, in standard deviations of `on` over all faces.

    Returns
    -------
    pandas.Index
        Names of the matched faces; empty if no faces match.

    Raises
    ------
    ParameterError
        If a column is unknown or not numeric, or there are fewer than two groups.
    """
    from scipy.optimize import linear_sum_assignment

    check_number("caliper", caliper, above=0)
    columns = [str(column) for column in quality.columns]
    for argument, names in (("on", [on]), ("exact", exact)):
        for name in names:
            check_name(argument, name, columns)
    if not pd.api.types.is_numeric_dtype(quality[on]):
        raise ParameterError(f"on={on!r} must be a column of numbers")
    faces = labels.dropna().index.intersection(quality.index[quality[on].notna()])
    table = quality.loc[faces, [on, *exact]].assign(_group=labels.loc[faces])
    groups, _ = group_codes(table["_group"])
    if len(groups) < 2:
        raise ParameterError(f"labels: {len(groups)} group(s) have measured faces; it takes two")
    widest = caliper * float(table[on].std(ddof=0))
    kept: list[str] = []
    for _, stratum in table.groupby(list(exact)) if exact else [(None, table)]:
        members = {name: stratum.index[stratum["_group"] == name] for name in groups}
        if any(len(names) == 0 for names in members.values()):
            continue
        anchor = min(groups, key=lambda name: len(members[name]))
        anchors = _thinned(members[anchor], stratum[on])
        partners = {}
        for name in groups:
            if name == anchor:
                continue
            others = _thinned(members[name], stratum[on])
            apart = np.abs(
                stratum.loc[anchors, on].to_numpy()[:, None]
                - stratum.loc[others, on].to_numpy()[None, :]
            )
            rows, chosen = linear_sum_assignment(np.where(apart <= widest, apart, 1e6))
            near = apart[rows, chosen] <= widest
            partners[name] = dict(zip(anchors[rows[near]], others[chosen[near]], strict=True))
        for face in anchors:
            if all(face in found for found in partners.values()):
                kept += [str(face), *(str(found[face]) for found in partners.values())]
    return pd.Index(kept, name="face")


def _thinned(names: pd.Index[str], values: pd.Series[float]) -> pd.Index[str]:
    """Thin the names, evenly by value, to the largest number that the assignment takes."""
    if len(names) <= _MOST:
        return names
    ordered = values.loc[names].sort_values(kind="stable").index
    return ordered[np.linspace(0, len(ordered) - 1, _MOST).round().astype(int)]


def quality_table(labels: pd.Series[str], quality: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Tabulate mean quality by group, with standardised differences from the baseline in brackets.

    Parameters
    ----------
    labels
        Group of each face.
    quality
        Measures by face.
    baseline
        Group with which the others are compared.

    Returns
    -------
    pandas.DataFrame
        A row per group, with a column per available measure and the number of faces.

    Raises
    ------
    UnknownNameError
        If there is no such group.
    """
    faces = labels.dropna().index.intersection(quality.index)
    of_face, measures = labels.loc[faces], quality.loc[faces]
    groups = sorted(of_face.unique())
    check_name("baseline", baseline, groups)
    known = [name for name in measures.columns if measures[name].notna().any()]
    base, rows = measures[of_face == baseline], {}
    for group in groups:
        part = measures[of_face == group]
        row = {"faces": f"{len(part):,}"}
        for name in known:
            spread = np.sqrt((part[name].var() + base[name].var()) / 2)
            text = f"{part[name].mean():.3g}"
            if group != baseline and spread > 0:
                text += f" ({(part[name].mean() - base[name].mean()) / spread:+.2f})"
            row[name] = text
        rows[group] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")

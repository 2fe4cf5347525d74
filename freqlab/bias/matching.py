"""Make groups alike in what they should not be compared on: match faces, one for one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.groups import group_codes

__all__ = ["match_groups", "quality_table"]

_MOST = 4000  # faces of a group and stratum that are assigned; their distances take 128 MB


def match_groups(
    labels: pd.Series[str],
    quality: pd.DataFrame,
    *,
    on: str = "sharpness",
    exact: Sequence[str] = (),
    caliper: float = 0.2,
) -> pd.Index[str]:
    """Choose faces so that every group has the same number of faces with like quality.

    Each face of the smallest group is given the nearest face of every other group, none twice,
    so that the sum of distances is least (optimal matching without replacement); faces without
    a partner within the caliper in every group are left out. Of more than 4,000 faces of a group
    (and stratum), 4,000 take part, spread evenly over their quality.

    Parameters
    ----------
    labels
        Group of each face, by name.
    quality
        Measures by face, such as :func:`freqlab.bias.quality` gives, and any columns of one's
        own.
    on
        Column to match on, as near as can be.
    exact
        Columns in which partners must be equal, such as ``["pose"]``.
    caliper
        Farthest distance of partners, in standard deviations of `on` over all faces.

    Returns
    -------
    pandas.Index
        Names of the matched faces; empty where none match.

    Raises
    ------
    ParameterError
        If a column is unknown or holds no numbers, or there are fewer than two groups.
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
    """At most so many as can be assigned, evenly by value."""
    if len(names) <= _MOST:
        return names
    ordered = values.loc[names].sort_values(kind="stable").index
    return ordered[np.linspace(0, len(ordered) - 1, _MOST).round().astype(int)]


def quality_table(labels: pd.Series[str], quality: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Mean quality of each group, with its standardised difference to the baseline in brackets.

    Parameters
    ----------
    labels
        Group of each face.
    quality
        Measures by face.
    baseline
        The group that the others are held against.

    Returns
    -------
    pandas.DataFrame
        A row per group, a column per measure that is known, and the number of faces.

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

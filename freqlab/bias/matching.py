"""One-to-one matching of faces, which balances confounding measures between groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from freqlab.bias.group_names import group_label
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.groups import group_codes

__all__ = ["match_groups", "quality_differences", "quality_table"]

_MAX_FACES = 4000  # per group and stratum in the assignment, whose distances then take 128 MB


def match_groups(
    labels: pd.Series[str],
    quality: pd.DataFrame,
    *,
    on: str = "sharpness",
    exact: Sequence[str] = (),
    caliper: float = 0.2,
) -> pd.Index[str]:
    """Choose faces so that every group has the same number of faces of similar quality.

    Each face of the smallest group is matched with one face of every other group so that the sum of
    distances is smallest (optimal matching without replacement). Faces without a partner within
    the caliper in every group are left out. Of more than 4,000 faces of a group (in a stratum),
    4,000 are used, spread evenly over their quality.

    Parameters
    ----------
    labels
        Group of each face, by name.
    quality
        Measures by face, such as those of :func:`freqlab.bias.quality`, and any further columns.
    on
        Column on which partners should be as close as possible.
    exact
        Columns in which partners must have equal values, such as ``["pose"]``.
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

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> faces = fl.testing.faces(12, 3, groups={"colour": ["red", "green", "blue"]})
    >>> labels = fl.faces.group_labels(faces, "colour")
    >>> quality = fl.bias.quality(study.attrs["store"])
    >>> matched = fl.bias.match_groups(labels, quality, on="sharpness")
    >>> labels[matched].value_counts().nunique()  # as many faces of each group
    1
    """
    from scipy.optimize import linear_sum_assignment

    check_number("caliper", caliper, above=0)
    columns = [str(column) for column in quality.columns]
    for argument, names in (("on", [on]), ("exact", exact)):
        for name in names:
            check_name(argument, name, columns)
    if not pd.api.types.is_numeric_dtype(quality[on]):
        raise ParameterError(f"on={on!r} must name a numeric column of quality")
    faces = labels.dropna().index.intersection(quality.index[quality[on].notna()])
    table = quality.loc[faces, [on, *exact]].assign(_group=labels.loc[faces])
    groups, _ = group_codes(table["_group"])
    if len(groups) < 2:
        raise ParameterError(
            f"labels: {len(groups)} group(s) have measured faces; matching needs two"
        )
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
            distances = np.abs(
                stratum.loc[anchors, on].to_numpy()[:, None]
                - stratum.loc[others, on].to_numpy()[None, :]
            )
            rows, chosen = linear_sum_assignment(np.where(distances <= widest, distances, 1e6))
            near = distances[rows, chosen] <= widest
            partners[name] = dict(zip(anchors[rows[near]], others[chosen[near]], strict=True))
        for face in anchors:
            if all(face in partner_of for partner_of in partners.values()):
                kept += [str(face), *(str(partner_of[face]) for partner_of in partners.values())]
    return pd.Index(kept, name="face")


def _thinned(names: pd.Index[str], values: pd.Series[float]) -> pd.Index[str]:
    """Reduce the names, evenly by value, to the largest number used in the assignment."""
    if len(names) <= _MAX_FACES:
        return names
    ordered = values.loc[names].sort_values(kind="stable").index
    return ordered[np.linspace(0, len(ordered) - 1, _MAX_FACES).round().astype(int)]


def quality_differences(
    labels: pd.Series[str], quality: pd.DataFrame, *, baseline: str
) -> pd.DataFrame:
    """Standardised differences of mean quality between the groups and a baseline group.

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
        A row per group, the baseline excepted, and a column per available measure: difference of
        the means over the root of the mean of the two variances; NaN if both variances are zero.

    Raises
    ------
    UnknownNameError
        If there is no such group.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> faces = fl.testing.faces(12, 3, groups={"colour": ["red", "green", "blue"]})
    >>> labels = fl.faces.group_labels(faces, "colour")
    >>> quality = fl.bias.quality(study.attrs["store"])
    >>> fl.bias.quality_differences(labels, quality, baseline="red").index.tolist()
    ['blue', 'green']
    """
    of_group = _by_group(labels, quality, baseline)
    base = of_group.pop(baseline)
    rows = {}
    for group, part in of_group.items():
        spread = np.sqrt((part.var() + base.var()) / 2)
        rows[group] = (part.mean() - base.mean()) / spread.where(spread > 0)
    return pd.DataFrame.from_dict(rows, orient="index", columns=base.columns).rename_axis("group")


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
        A row per group (with its column, as in ``"glasses=no"``, if the labels have a name), and a
        column per available measure, after the number of faces.

    Raises
    ------
    UnknownNameError
        If there is no such group.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> faces = fl.testing.faces(12, 3, groups={"colour": ["red", "green", "blue"]})
    >>> labels = fl.faces.group_labels(faces, "colour")
    >>> quality = fl.bias.quality(study.attrs["store"])
    >>> fl.bias.quality_table(labels, quality, baseline="red").index.tolist()
    ['colour=blue', 'colour=green', 'colour=red']
    """
    differences = quality_differences(labels, quality, baseline=baseline).to_dict("index")
    rows = {}
    for group, part in _by_group(labels, quality, baseline).items():
        row = {"faces": f"{len(part):,}"}
        for name in part.columns:
            row[name] = f"{part[name].mean():.3g}"
            difference = float(differences.get(group, {}).get(name, np.nan))
            if np.isfinite(difference):
                row[name] += f" ({difference:+.2f})"
        rows[group_label(str(labels.name), group) if labels.name else group] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")


def _by_group(
    labels: pd.Series[str], quality: pd.DataFrame, baseline: str
) -> dict[str, pd.DataFrame]:
    """Available measures of the faces of each group, in the order of the groups' names."""
    faces = labels.dropna().index.intersection(quality.index)
    of_face, measures = labels.loc[faces], quality.loc[faces]
    groups = sorted(of_face.unique())
    check_name("baseline", baseline, groups)
    known = [name for name in measures.columns if measures[name].notna().any()]
    return {str(group): measures.loc[of_face == group, known] for group in groups}

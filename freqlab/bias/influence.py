"""Differences between groups of people in the frequencies that models rely on.

Per group and band, mean influence over genuine and over impostor pairs, and its difference from a
baseline group (the question of Huber, Boutros & Damer 2024; intervals, tests and distances are our
choices). The differences are associations: groups differ in more than their label.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import with_object_text
from freqlab.bias.group_names import with_group_labels
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.groups import group_codes
from freqlab.results.quantities import (
    QUANTITIES,
    comparisons_of,
    means_by,
    quantity,
    with_differences,
    with_intervals,
)
from freqlab.results.selection import with_axes
from freqlab.statistics.permutation import adjusted, p_values, permuted_differences, permuted_labels
from freqlab.statistics.resampling import FEWEST_PEOPLE, check_draws

__all__ = ["check_labels", "profiles"]

_KINDS = ("directed", "absolute", "per_contrast")

Floats = npt.NDArray[np.float64]


def profiles(
    result: xr.Dataset,
    labels: pd.Series[str],
    *,
    baseline: str | None = None,
    n_draws: int = 1000,
    n_permutations: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compare the influence profiles of groups of people with that of a baseline group.

    A pair belongs to a group when both faces carry its value; mixed pairs are excluded.
    Intervals are from a bootstrap over subjects, tests from permutations of the labels. Labels
    are permuted across subjects that carry one value, and within subjects that carry both. The
    statistic is the difference divided by its standard error over subjects, so that the test
    answers to means and not to spread. Draw
    the impostor pairs without regard to the labels (as :func:`freqlab.make_pairs` does without
    ``within=``): pairs chosen by label make the test of impostor pairs conservative.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    labels
        Group of each face, by name, as returned by :func:`freqlab.faces.group_labels`.
    baseline
        Group with which the others are compared; by default the group with most subjects.
    n_draws, level, seed
        Bootstrap draws, coverage of the intervals, seed of draws and permutations.
    n_permutations
        Number of permutations of the labels.

    Returns
    -------
    xarray.Dataset
        Along ``comparison`` (genuine, impostor), ``group``, ``model`` and ``side``:

        - ``directed``, ``absolute``, ``per_contrast`` and ``energy`` (of the masked side, squared
          grey levels) along ``band`` and ``estimate`` (value, lower, upper);
        - ``directed_difference`` and so on, group minus baseline, with intervals;
        - along ``kind`` (directed, absolute, per_contrast) and ``band``: ``p_value`` of the
          difference, ``p_adjusted`` over the bands of a profile (Benjamini and Hochberg), and
          ``effect_size`` (Cohen's d over pairs);
        - ``distance``: the Euclidean distance between the directed profiles of the group and of
          the baseline, with its interval; ``distance_null``, its median and upper bound (at
          `level`) under permutation, along ``null``; ``distance_p``;
        - ``n_pairs`` and ``n_subjects``, without sides; ``n_exchanged(group, how)``, the number of
          subjects whose labels were permuted, whole and within; ``note(group)``, limits of the
          figures of the group; ``group_label(group)``, its column and value: ``"glasses=no"``.

    Raises
    ------
    ParameterError
        If an argument is invalid, or there are fewer than two groups.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(8, 3, groups={"glasses": ["yes", "no"]})
    >>> result = fl.testing.influence(faces, sides=["probe"])
    >>> labels = fl.faces.group_labels(faces, "glasses")
    >>> profiles = fl.bias.profiles(result, labels, n_draws=50, n_permutations=50)
    >>> profiles["directed_difference"].dims
    ('comparison', 'group', 'model', 'side', 'band', 'estimate')
    """
    check_draws(n_draws, level, seed)
    check_number("n_permutations", n_permutations, at_least=1, whole=True)
    result = with_axes(result)
    faces = _Faces.of(result, labels)
    groups = faces.groups
    if len(groups) < 2:
        raise ParameterError(
            f"labels: the pairs have faces of {len(groups)} group(s) {groups}; a comparison needs "
            f"two"
        )
    if baseline is None:
        baseline = groups[int(np.argmax(faces.subjects_per_group()))]
    base = groups.index(check_name("baseline", baseline, groups))
    means = means_by(
        result,
        {
            "comparison": comparisons_of(result),
            "group": pd.Categorical.from_codes(faces.group_of_pair(), pd.Index(groups)),
        },
        quantities=(*_KINDS, "energy"),
        n_draws=n_draws,
        seed=seed,
    )
    means = with_differences(means, "group", base)
    gaps = means["directed_difference"]
    attrs = {"long_name": f"distance to the profile of {baseline}", "units": gaps.attrs["units"]}
    means["distance"] = (gaps.dims[:-1], _distance(gaps.to_numpy()), attrs)
    profiles = with_intervals(means, level)
    tests, exchanged = _tests(result, faces, base, n_permutations, seed, level)
    tests["distance_null"].attrs["long_name"] = f"{profiles['distance'].long_name}, labels permuted"
    profiles = profiles.merge(tests)
    profiles["n_exchanged"] = (("group", "how"), exchanged, {"long_name": "subjects permuted"})
    profiles["note"] = ("group", [_note(profiles.sel(group=name)) for name in groups])
    profiles = profiles.assign_attrs(
        n_permutations=n_permutations,
        n_tests=result.sizes["band"],
        baseline=baseline,
        group=str(labels.name or "group"),
    )
    return with_object_text(with_group_labels(profiles))


class _Faces(NamedTuple):
    """Faces of the pairs: subject and group of each face, and the two faces of each pair."""

    subject: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    groups: list[str]

    @classmethod
    def of(cls, result: xr.Dataset, labels: pd.Series[str]) -> _Faces:
        """Look up the groups of a result's faces.

        Raises
        ------
        ParameterError
            If a face has no entry in the labels.
        """
        sides = ("probe", "reference")
        names = np.stack([result[side].to_numpy().astype(str) for side in sides])
        people = np.stack([result[f"{side}_subject"].to_numpy().astype(str) for side in sides])
        faces, first, ends = np.unique(names, return_index=True, return_inverse=True)
        subject = np.unique(people.ravel()[first], return_inverse=True)[1]
        check_labels(labels, faces)
        groups, codes = group_codes(labels.loc[faces])
        return cls(subject, codes, ends.reshape(names.shape), groups)

    def group_of_pair(self) -> npt.NDArray[np.int64]:
        """Return the index of the group of each pair, -1 for mixed pairs."""
        first, second = self.code[self.ends]
        return np.where(first == second, first, -1)

    def subjects_per_group(self) -> list[int]:
        """Count the subjects that carry the value of each group."""
        codes = range(len(self.groups))
        return [len(np.unique(self.subject[self.code == code])) for code in codes]


def check_labels(labels: pd.Series[str], faces: npt.NDArray[Any]) -> None:
    """Check that labels have exactly one entry for each face.

    Raises
    ------
    ParameterError
        If a face has several entries, or none; the message names such a face.
    """
    if not isinstance(labels, pd.Series) or not labels.index.is_unique:
        raise ParameterError(
            f"labels={type(labels).__name__} must be a pandas.Series with one entry for each face "
            f"name, such as from fl.faces.group_labels"
        )
    unknown = np.setdiff1d(faces, labels.index.astype(str))
    if len(unknown):
        raise ParameterError(
            f"labels have no entry for {len(unknown)} of {len(faces)} faces, for example "
            f"{str(unknown[0])!r}"
        )


def _distance(gaps: Floats) -> Floats:
    """Euclidean length over bands; NaN where no band has a value."""
    length = np.sqrt(np.nansum(gaps**2, axis=-1))
    return np.where(np.isfinite(gaps).any(axis=-1), length, np.nan)


def _tests(
    result: xr.Dataset, faces: _Faces, base: int, n_permutations: int, seed: int, level: float
) -> tuple[xr.Dataset, npt.NDArray[np.int64]]:
    """Compute tests and effect sizes of every group, and count its permuted subjects."""
    genuine = result["genuine"].to_numpy()
    shape = tuple(result.sizes[name] for name in ("model", "side", "band"))
    values = {kind: quantity(result, kind).reshape(len(genuine), -1) for kind in _KINDS}
    by_comparison: list[list[dict[str, Floats]]] = [[], []]
    exchanged = np.zeros((len(faces.groups), 2), np.int64)
    for of_kind, parts in zip((genuine, ~genuine), by_comparison, strict=True):
        for g in range(len(faces.groups)):
            test, *n_exchanged = _test(
                values, of_kind, faces, g, base, n_permutations, seed, shape, level
            )
            exchanged[g] = np.maximum(exchanged[g], n_exchanged)
            parts.append(test)
    axes = ("comparison", "group", "model", "side")

    def stacked(name: str) -> Floats:
        return np.stack([np.stack([test[name] for test in parts]) for parts in by_comparison])

    p, effect = (
        np.stack([stacked(f"{name}_{kind}") for kind in _KINDS]) for name in ("p", "effect")
    )
    cosine = {"units": QUANTITIES["directed"][1]}
    tests = xr.Dataset(
        {
            "p_value": (
                ("kind", *axes, "band"),
                p,
                _pure("p-value of the difference, by permutation"),
            ),
            "p_adjusted": (
                ("kind", *axes, "band"),
                adjusted(p),
                _pure("p-value, adjusted over bands"),
            ),
            "effect_size": (("kind", *axes, "band"), effect, _pure("Cohen's d of the difference")),
            "distance_null": ((*axes, "null"), stacked("distance_null"), cosine),
            "distance_p": (axes, stacked("distance_p"), _pure("p-value")),
        },
        coords={
            "kind": list(_KINDS),
            "null": ["median", "upper"],
            "how": ["over subjects", "within subjects"],
        },
    )
    return tests, exchanged


def _pure(long_name: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1"}


def _test(
    values: dict[str, Floats],
    of_kind: npt.NDArray[np.bool_],
    faces: _Faces,
    g: int,
    base: int,
    n_permutations: int,
    seed: int,
    shape: tuple[int, ...],
    level: float,
) -> tuple[dict[str, Any], int, int]:
    """Compute p-values of the differences and the distance, and count the permuted subjects.

    The counts are of subjects whose labels are permuted as a whole, and within the subject.
    """
    nothing: dict[str, Any] = {
        **{f"p_{kind}": np.full(shape, np.nan) for kind in _KINDS},
        **{f"effect_{kind}": np.full(shape, np.nan) for kind in _KINDS},
        "distance_null": np.full((*shape[:2], 2), np.nan),
        "distance_p": np.full(shape[:2], np.nan),
    }
    member = (faces.code == g) | (faces.code == base)
    in_two = of_kind & member[faces.ends].all(axis=0)
    codes = (faces.code == g).astype(np.int8)
    of_group = [(codes[faces.ends] == one).all(axis=0) & in_two for one in (0, 1)]
    if g == base or not (of_group[0].any() and of_group[1].any()):
        return nothing, 0, 0
    members = np.flatnonzero(member)
    place = np.full(len(codes), -1)
    place[members] = np.arange(len(members))
    order = permuted_labels(codes[members], faces.subject[members], n_permutations, seed)
    ends = place[faces.ends[:, in_two]]
    labels = np.concatenate([codes[members][None], order.labels])  # as observed, then permuted
    tests: dict[str, Any] = {}
    for kind in _KINDS:
        differences = permuted_differences(
            values[kind][in_two], ends, labels, faces.subject[members]
        )
        statistic = differences.studentised
        tests[f"p_{kind}"] = p_values(statistic[0], statistic[1:]).reshape(shape)
        one, other = (values[kind][of_group[k]] for k in (1, 0))
        tests[f"effect_{kind}"] = _cohens_d(one, other).reshape(shape)
        if kind == "directed":
            # permuted differences in the observed standard errors: equal means, observed spread
            under_null = statistic[1:] * differences.standard_error[0]
            distance, under_null = (
                _distance(gaps.reshape(*gaps.shape[:-1], *shape))
                for gaps in (differences.difference[0], under_null)
            )
            flat = under_null.reshape(len(under_null), -1)
            null = np.full((flat.shape[1], 2), np.nan)
            some = np.isfinite(flat).any(axis=0)
            if some.any():
                null[some] = np.nanquantile(flat[:, some], [0.5, level], axis=0).T
            tests["distance_null"] = null.reshape(*shape[:2], 2)
            tests["distance_p"] = p_values(distance.ravel(), flat).reshape(shape[:2])
    return tests, order.n_whole, order.n_within


def _cohens_d(one: Floats, other: Floats) -> Floats:
    """Difference of means over the pooled standard deviation of pairs."""
    n = [np.isfinite(part).sum(axis=0) for part in (one, other)]
    effect = np.full(one.shape[1], np.nan)
    enough = (n[0] > 1) & (n[1] > 1)
    if enough.any():
        a, b = one[:, enough], other[:, enough]
        weights = [(count[enough] - 1) for count in n]
        pooled = sum(
            w * np.nanvar(part, axis=0, ddof=1) for w, part in zip(weights, (a, b), strict=True)
        ) / sum(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            effect[enough] = (np.nanmean(a, axis=0) - np.nanmean(b, axis=0)) / np.sqrt(pooled)
    return np.where(np.isfinite(effect), effect, np.nan)


def _note(part: xr.Dataset) -> str:
    """Limits of the figures of a group as text; empty if there are none."""
    notes = []
    for comparison in ("genuine", "impostor"):
        if int(part["n_pairs"].sel(comparison=comparison).max()) == 0:
            notes.append(f"no {comparison} pairs")
    most = int(part["n_subjects"].max())
    if most < FEWEST_PEOPLE:
        notes.append(f"{most} {'subject' if most == 1 else 'subjects'} only")
    return "; ".join(notes)

"""Models of different degrees of bias: linear heads trained on unbalanced parts of the embeddings.

The more biased a model, the larger the differences between the influence profiles of groups: a
claim about models, which takes models that differ in their bias. Heads are such models. A head is
a linear projection of the embeddings, trained to separate people, of whom a given share belongs to
one group; the number of people is the same for every head. It acts on embeddings, so those without
a band are projected as well, and the influence on the decisions of a head takes no forward pass.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.bands.base import Bands
from freqlab.bands.parsing import parse_bands
from freqlab.bias.influence import check_labels
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.groups import group_codes
from freqlab.faces.table import Faces
from freqlab.statistics.resampling import ESTIMATES, check_draws, excludes_zero, percentiles
from freqlab.statistics.vectors import cosine
from freqlab.store.layout import node_name
from freqlab.store.reading import open_embeddings, open_run

__all__ = ["FEWEST_HEADS", "describe_trained_heads", "projection", "trained_heads"]

FEWEST_HEADS = 8
"""Smallest number of heads over which a correlation is computed (our choice)."""

_FEWEST_PEOPLE = 5  # of each group, in training and in the test
_SHRINKAGE = 0.1

Floats = npt.NDArray[np.float64]


class _Test(NamedTuple):
    """Test faces: embeddings, their people, and the groups of the people."""

    intact: Floats
    """``(face, feature)``."""
    removed: Floats
    """``(face, band, feature)``."""
    person: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    """Of each person."""


def trained_heads(
    store: str | os.PathLike[str],
    faces: Faces,
    labels: pd.Series[str],
    *,
    model: str,
    bands: Bands | str,
    group: str,
    shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    n_repeats: int = 4,
    n_people: int | None = None,
    n_features: int = 32,
    n_draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Train heads on unbalanced groups, and compare their bias with the profiles of the groups.

    People are divided into halves, group by group: heads are trained on one half and tested on the
    other, so that no person is in both. Each head is trained on as many people, of whom a share
    belongs to `group` and the others to the remaining groups.

    Parameters
    ----------
    store
        A run with embeddings of the faces, untouched and without each band.
    faces
        The faces.
    labels
        Group of each face, by name, as returned by :func:`freqlab.faces.group_labels`; the same
        for all faces of a person.
    model
        Name of the model.
    bands
        Bands, which were removed from the faces in this run, or their text.
    group
        Group whose share is varied.
    shares
        Shares of the people in training that belong to `group`, 0..1.
    n_repeats
        Number of heads for each share, each trained on other people drawn from the half.
    n_people
        Number of people in the training of a head; by default as many as the half of `group` and
        the half of the other groups both have.
    n_features
        Number of features of a head.
    n_draws, level, seed
        Bootstrap draws, coverage of the interval, seed of all random draws.

    Returns
    -------
    xarray.Dataset
        Along ``head``: ``share``; ``eer(group)``, equal error rate within each group; ``bias``, the
        standard deviation of these over groups; ``profile_difference``, the root mean square over
        groups of the distance between the profile of a group and the mean profile, over genuine
        pairs, the probe masked; ``profile(group, band)``. ``correlation(estimate)``: Spearman's
        correlation over heads of bias and difference of profiles, with its percentile interval over
        draws of test people and of heads; NaN with fewer than :data:`FEWEST_HEADS` heads.

    Raises
    ------
    ParameterError, UnknownNameError
        If an argument does not fit, or a group has too few people.
    StoreError
        If there is no run.

    Examples
    --------
    >>> import freqlab as fl
    >>> groups = {"hair": ["dark", "fair"]}
    >>> faces = fl.testing.faces(n_subjects=40, per_subject=3, groups=groups)
    >>> pairs = fl.make_pairs(faces, impostors_per_genuine=1)
    >>> result = fl.testing.influence(faces, pairs, store="run.zarr")
    >>> heads = fl.bias.trained_heads(
    ...     "run.zarr",
    ...     faces,
    ...     fl.faces.group_labels(faces, "hair"),
    ...     model="linear",
    ...     bands="rings:28",
    ...     group="dark",
    ...     n_features=4,
    ...     n_draws=20,
    ... )
    >>> dict(heads.sizes)["head"]
    20
    """
    check_draws(n_draws, level, seed)
    check_number("n_repeats", n_repeats, at_least=1, whole=True)
    check_number("n_features", n_features, at_least=1, whole=True)
    if np.ndim(shares) != 1 or not len(shares):
        raise ParameterError(f"shares={shares!r} must hold at least one number from 0 to 1")
    for share in shares:
        check_number("shares", share, at_least=0)
        if share > 1:
            raise ParameterError(f"shares={share!r} must be numbers from 0 to 1")
    check_labels(labels, np.array(faces.names))
    groups, codes = group_codes(labels.loc[faces.names])
    chosen = groups.index(check_name("group", group, groups))
    if len(groups) < 2:
        raise ParameterError(f"labels: {len(groups)} group(s) {groups}; a comparison needs two")
    intact, removed, band_names = _embeddings(store, faces, model, bands)
    usable = (codes >= 0) & np.isfinite(intact).all(axis=1)
    names, person = np.unique(faces.subjects[usable].astype(str), return_inverse=True)
    of_person = _groups_of_people(codes[usable], person, names)
    intact, removed = intact[usable], removed[usable]
    rng = np.random.default_rng(seed)
    train = _half(of_person, len(groups), rng)
    for g, name in enumerate(groups):
        n = min(int((train & (of_person == g)).sum()), int((~train & (of_person == g)).sum()))
        if n < _FEWEST_PEOPLE:
            raise ParameterError(
                f"labels: group {name!r} has {n} people in a half; at least {_FEWEST_PEOPLE} are "
                f"required for training and as many for the test"
            )
    own, others = (
        np.flatnonzero(train & is_in) for is_in in (of_person == chosen, of_person != chosen)
    )
    most = min(len(own), len(others))
    n_people = most if n_people is None else n_people
    check_number("n_people", n_people, at_least=2, whole=True)
    if n_people > most:
        raise ParameterError(f"n_people={n_people} must be {most} or less, as in half of a group")
    tested = ~train[person] & np.isfinite(removed).all(axis=(1, 2))
    test = _Test(
        intact[tested], removed[tested],
        *_renumbered(person[tested], of_person),
    )  # fmt: skip
    drawn_people = _drawn(test.group, n_draws, rng)
    bias, difference = np.empty((2, 1 + n_draws, len(shares) * n_repeats))
    eers, profiles = [], []
    for h, share in enumerate(np.repeat(shares, n_repeats)):
        n_own = round(float(share) * n_people)
        people = np.concatenate(
            [rng.permutation(own)[:n_own], rng.permutation(others)[: n_people - n_own]]
        )
        seen = np.isin(person, people)
        head = projection(intact[seen], person[seen], n_features)
        compared = _compared(test, head, len(groups))
        for d, people_of_draw in enumerate(drawn_people):
            eer = np.array([part.eer(people_of_draw) for part in compared])
            profile = np.array([part.profile(people_of_draw) for part in compared])
            bias[d, h] = eer.std()
            apart = profile - profile.mean(axis=0)
            difference[d, h] = math.sqrt(float(np.square(apart).sum(axis=1).mean()))
            if d == 0:
                eers.append(eer)
                profiles.append(profile)
    cosines = "cosine similarity"
    heads = xr.Dataset(
        {
            "bias": ("head", bias[0], _about("standard deviation of EER over groups")),
            "profile_difference": (
                "head",
                difference[0],
                _about("difference of the profiles of groups", cosines),
            ),
            "eer": (("head", "group"), np.array(eers), _about("equal error rate")),
            "profile": (
                ("head", "group", "band"),
                np.array(profiles),
                _about("influence", cosines),
            ),
            "correlation": (
                "estimate",
                _correlation(bias, difference, level, rng),
                _about("rank correlation over heads"),
            ),
        },
        coords={
            "share": ("head", np.repeat(shares, n_repeats), _about(f"share of {group}")),
            "group": np.array(groups, object),
            "band": np.array(band_names, object),
            "estimate": list(ESTIMATES),
        },
        attrs={
            "model": model, "group": group, "n_people": n_people, "n_features": n_features,
            "n_test_people": len(test.group), "n_draws": n_draws, "level": level, "seed": seed,
        },
    )  # fmt: skip
    return with_object_text(heads)


def projection(embeddings: Floats, people: npt.NDArray[np.integer], n_features: int) -> Floats:
    """Train a linear discriminant projection that separates people.

    Embeddings of unit length are projected on the directions in which the variance between people
    is largest, relative to the variance within a person. The latter is shrunk toward a multiple of
    the identity, a tenth of the mean variance.

    Parameters
    ----------
    embeddings
        ``(face, feature)``.
    people
        Number of the person of each face.
    n_features
        Number of directions, at most.

    Returns
    -------
    numpy.ndarray
        ``(feature, direction)``, by which unit embeddings are multiplied.
    """
    from scipy.linalg import eigh

    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    _, code = np.unique(people, return_inverse=True)
    count = np.bincount(code)
    means = np.zeros((len(count), unit.shape[1]))
    np.add.at(means, code, unit)
    means /= count[:, None]
    within = unit - means[code]
    covariance = within.T @ within / len(unit)
    size = covariance.shape[0]
    covariance *= 1 - _SHRINKAGE
    covariance += _SHRINKAGE * np.trace(covariance) / size * np.eye(size)
    apart = (means - unit.mean(axis=0)) * np.sqrt(count / len(unit))[:, None]
    n = min(n_features, len(count) - 1, size)
    _, directions = eigh(apart.T @ apart, covariance, subset_by_index=[size - n, size - 1])
    return np.asarray(directions[:, ::-1])


def describe_trained_heads(heads: xr.Dataset) -> str:
    """State whether the difference of profiles grows with the bias of a head.

    Parameters
    ----------
    heads
        From :func:`trained_heads`.

    Returns
    -------
    str
        The range of bias, and the rank correlation with its interval; in words only if the interval
        excludes zero.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> import freqlab as fl
    >>> heads = xr.Dataset({"bias": ("head", np.zeros(4))})
    >>> print(fl.bias.describe_trained_heads(heads))
    4 heads are too few to say whether profiles differ more in more biased models; 8 are required.
    """
    n = heads.sizes["head"]
    if n < FEWEST_HEADS:
        return (
            f"{n} heads are too few to say whether profiles differ more in more biased models; "
            f"{FEWEST_HEADS} are required."
        )
    value, lower, upper = (float(heads["correlation"].sel(estimate=name)) for name in ESTIMATES)
    if not math.isfinite(value):
        return f"The bias of all {n} heads is the same, so there is no correlation with it."
    smallest, largest = (100 * float(one) for one in (heads["bias"].min(), heads["bias"].max()))
    if excludes_zero(heads["correlation"]):
        verdict = f"the more biased the head, the {'larger' if value > 0 else 'smaller'}"
        verdict += " the difference of profiles between groups"
    else:
        verdict = "no relation between bias and the difference of profiles is established"
    return (
        f"Over {n} heads whose EER has a standard deviation over groups of {smallest:.2f} to "
        f"{largest:.2f} percentage points, {verdict}: rank correlation {value:+.2f} "
        f"[{lower:+.2f}, {upper:+.2f}], on {int(heads.attrs['n_test_people'])} people."
    )


class _Group(NamedTuple):
    """Test pairs of one group under a head, by increasing similarity."""

    genuine: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.int64]
    """People of each pair ``(2, pair)``."""
    starts: npt.NDArray[np.int64]
    """First pair of each distinct similarity."""
    influence: Floats
    """``(genuine pair, band)``, the probe masked."""
    of_genuine: npt.NDArray[np.int64]
    """Person of each genuine pair, in the order of the influence."""

    def eer(self, counts: npt.NDArray[np.int64]) -> float:
        """Equal error rate, with people counted as often as drawn."""
        first, second = counts[self.ends]
        weights = np.where(self.genuine, first, first * second).astype(float)
        fnmr, fmr = (
            np.append(0.0, np.cumsum(weights * kind))[[*self.starts, len(weights)]]
            for kind in (self.genuine, ~self.genuine)
        )
        fnmr, fmr = fnmr / fnmr[-1], 1 - fmr / fmr[-1]
        after = int(np.argmax(fnmr >= fmr))
        if after == 0 or fnmr[after] == fmr[after]:
            return float(fnmr[after])
        before, beyond = fmr[after - 1] - fnmr[after - 1], fnmr[after] - fmr[after]
        share = before / (before + beyond)
        return float(fnmr[after - 1] + share * (fnmr[after] - fnmr[after - 1]))

    def profile(self, counts: npt.NDArray[np.int64]) -> Floats:
        """Mean influence over genuine pairs ``(band,)``, with people counted as often as drawn."""
        return np.asarray(np.average(self.influence, axis=0, weights=counts[self.of_genuine]))


def _compared(test: _Test, head: Floats, n_groups: int) -> list[_Group]:
    """Compare the test faces of each group under a head."""
    projected, without = (
        vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) @ head
        for vectors in (test.intact, test.removed)
    )
    groups = []
    for g in range(n_groups):
        rows = np.flatnonzero(test.group[test.person] == g)
        reference, probe = rows[np.stack(np.triu_indices(len(rows), 1))]
        similarity = cosine(projected[reference], projected[probe])
        ends = test.person[np.stack([reference, probe])]
        same = ends[0] == ends[1]
        masked = cosine(without[probe[same]], projected[reference[same]][:, None])
        order = np.argsort(similarity, kind="stable")
        starts = np.append(0, np.flatnonzero(np.diff(similarity[order]) > 0) + 1)
        influence = similarity[same][:, None] - masked
        groups.append(_Group(same[order], ends[:, order], starts, influence, ends[0, same]))
    return groups


def _about(long_name: str, units: str = "1") -> dict[str, str]:
    return {"long_name": long_name, "units": units}


def _embeddings(
    store: str | os.PathLike[str], faces: Faces, model: str, bands: Bands | str
) -> tuple[Floats, Floats, list[str]]:
    """Embeddings of the faces, untouched and without each band, and the names of the bands.

    Raises
    ------
    ParameterError
        If the run has no embeddings without these bands, or lacks a face.
    """
    intact = open_embeddings(store, model=model)
    absent = np.setdiff1d(np.array(faces.names), intact["face"].to_numpy().astype(str))
    if len(absent):
        raise ParameterError(
            f"store={os.fspath(store)!r} has no embeddings of {len(absent)} faces, for example "
            f"{str(absent[0])!r}"
        )
    declared = parse_bands(bands) if isinstance(bands, str) else bands
    nodes = open_run(store, nodes=["embeddings"])[f"embeddings/{node_name(model)}"].children
    found = [name for name in nodes if name.startswith(declared.key)]
    if not found:
        raise ParameterError(
            f"bands={bands!r}: the run has no embeddings of {model!r} without these bands; "
            f"fl.influence computes them"
        )
    intact = intact.sel(face=faces.names)
    without = nodes[found[0]]["embedding"].sel(face=faces.names)
    without = without.transpose("face", "band", "feature")
    values = without.to_numpy().astype(float)
    known = np.isfinite(values).any(axis=(0, 2))  # bands with coefficients at the input size
    names = np.array(names_of(without.to_dataset(name="embedding"), "band"), object)
    return intact.to_numpy().astype(float), values[:, known], list(names[known])


def _groups_of_people(
    codes: npt.NDArray[np.int64], person: npt.NDArray[np.int64], names: npt.NDArray[np.str_]
) -> npt.NDArray[np.int64]:
    """Group of each person.

    Raises
    ------
    ParameterError
        If a person has faces of two groups.
    """
    of_person = np.full(len(names), -1)
    of_person[person] = codes
    mixed = np.flatnonzero(of_person[person] != codes)
    if len(mixed):
        raise ParameterError(
            f"labels: the faces of {str(names[person[mixed[0]]])!r} have several groups; heads are "
            f"trained on groups of people"
        )
    return of_person


def _half(
    of_person: npt.NDArray[np.int64], n_groups: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Assign half of the people of each group to the training."""
    train = np.zeros(len(of_person), bool)
    for g in range(n_groups):
        people = rng.permutation(np.flatnonzero(of_person == g))
        train[people[: len(people) // 2]] = True
    return train


def _renumbered(
    person: npt.NDArray[np.int64], of_person: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Person of each face, numbered from 0, and the group of each person."""
    people, code = np.unique(person, return_inverse=True)
    return code, of_person[people]


def _drawn(
    group: npt.NDArray[np.int64], n_draws: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Count how often each person is drawn: once, then with replacement within its group."""
    counts = np.ones((1 + n_draws, len(group)), np.int64)
    for g in np.unique(group):
        members = np.flatnonzero(group == g)
        n = len(members)
        counts[1:, members] = rng.multinomial(n, np.full(n, 1 / n), size=n_draws)
    return counts


def _correlation(
    bias: Floats, difference: Floats, level: float, rng: np.random.Generator
) -> Floats:
    """Rank correlation over heads, and its interval over draws of people and of heads."""
    from scipy.stats import spearmanr

    n = bias.shape[1]
    estimates = np.full(3, np.nan)
    if n < FEWEST_HEADS or np.ptp(bias[0]) == 0 or np.ptp(difference[0]) == 0:
        return estimates
    estimates[0] = spearmanr(bias[0], difference[0]).statistic
    drawn = np.full(len(bias) - 1, np.nan)
    for d in range(len(drawn)):
        heads = rng.integers(0, n, n)
        one, other = bias[d + 1, heads], difference[d + 1, heads]
        if np.ptp(one) > 0 and np.ptp(other) > 0:
            drawn[d] = spearmanr(one, other).statistic
    estimates[1:] = percentiles(drawn, level)
    return estimates

"""Means over groups of pairs by loops over pairs; intervals by repeated pairs and by SciPy."""

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.results.quantities import (
    comparisons_of,
    means_by,
    quantity,
    with_differences,
    with_intervals,
)
from freqlab.statistics.resampling import with_interval

EVERY = ("directed", "absolute", "per_contrast", "energy", "log_energy")


def made_result(values, people, removed=None):
    """A result with these influences ``(model, pair, side, band)`` and people ``(2, pair)``."""
    n_models, _, n_sides, n_bands = values.shape
    edges = 4.0 * np.arange(n_bands + 1)
    dims = ("model", "pair", "side", "band")
    one, other = np.asarray(people, object)
    return xr.Dataset(
        {
            "influence": (dims, values, {"units": "cosine similarity"}),
            "removed_rms": (dims, np.ones_like(values) if removed is None else removed),
            "similarity": (dims[:2], values[:, :, 0, 0]),
        },
        coords={
            "model": [f"m{i}" for i in range(n_models)],
            "side": ["probe", "reference"][:n_sides],
            "band": [f"b{i}" for i in range(n_bands)],
            "frequency": ("band", (edges[1:] + edges[:-1]) / 2, {"units": "cycles/image"}),
            "band_bounds": (("band", "bound"), np.stack([edges[:-1], edges[1:]], axis=1)),
            "genuine": ("pair", one == other),
            "probe_subject": ("pair", one),
            "reference_subject": ("pair", other),
        },
    )


@pytest.fixture(scope="module")
def result():
    """Six people, all pairs of three photographs of each; some pairs and one band are missing."""
    rng = np.random.default_rng(0)
    faces = [f"p{i // 3}" for i in range(18)]
    pairs = list(itertools.combinations(range(18), 2))
    people = [[faces[i] for i, _ in pairs], [faces[j] for _, j in pairs]]
    values = rng.normal(size=(2, len(pairs), 2, 3))
    values[:, rng.random(len(pairs)) < 0.1] = np.nan
    values[1, :, :, 2] = np.nan
    removed = rng.uniform(0, 3, values.shape)
    return made_result(values, people, removed)


@pytest.fixture(scope="module")
def labels(result):
    """Groups that cut across people; a quarter of the pairs has none."""
    codes = np.random.default_rng(5).integers(-1, 3, result.sizes["pair"])
    return {
        "comparison": comparisons_of(result),
        "group": pd.Categorical.from_codes(codes, ["a", "b", "c"]),
    }


def of_pair(result, name, place):
    """A quantity of one pair, side, model and band, by its definition."""
    influence = float(result["influence"].to_numpy()[place])
    removed = float(result["removed_rms"].to_numpy()[place])
    return {
        "directed": influence,
        "absolute": abs(influence),
        "per_contrast": influence / removed if removed >= 0.5 else np.nan,
        "energy": removed**2,
        "log_energy": np.log10(removed**2 + 1e-9),
    }[name]


@pytest.mark.parametrize("name", EVERY)
def test_means_are_those_of_repeated_pairs(result, labels, name):
    """In a draw, a pair stands there as often as its people were drawn together."""
    n_draws = 6
    means = means_by(result, labels, quantities=[name], n_draws=n_draws, seed=3)
    assert means[name].dims == ("draw", "comparison", "group", "model", "side", "band")
    names = sorted({*result["probe_subject"].to_numpy()})
    counts = np.random.default_rng(3).multinomial(6, [1 / 6] * 6, size=n_draws)
    ends = [result[f"{end}_subject"].to_numpy() for end in ("probe", "reference")]
    sides = itertools.product(range(2), range(2), range(3))
    for (m, s, b), d in itertools.product(sides, range(1 + n_draws)):
        repeated = {}
        for p in range(result.sizes["pair"]):
            value = of_pair(result, name, (m, p, s, b))
            group = labels["group"][p]
            if pd.isna(group) or np.isnan(value):
                continue
            one, other = ends[0][p], ends[1][p]
            drawn = [names[i] for i in np.repeat(range(6), counts[d - 1])] if d else [one, other]
            times = drawn.count(one) * (1 if one == other else drawn.count(other)) if d else 1
            kind = "genuine" if one == other else "impostor"
            repeated.setdefault((kind, group), []).extend([value] * times)
        for (kind, group), values in repeated.items():
            found = means[name].sel(comparison=kind, group=group).to_numpy()[d, m, s, b]
            assert found == pytest.approx(np.mean(values) if values else np.nan, nan_ok=True)


def test_pairs_and_people_are_counted_by_group(result, labels):
    means = means_by(result, labels, quantities=[], n_draws=1)
    compared = result["similarity"].notnull().to_numpy()
    for kind, group, m in itertools.product(("genuine", "impostor"), "abc", range(2)):
        here = (labels["comparison"] == kind) & (labels["group"] == group) & compared[m]
        part = means.sel(comparison=kind, group=group).isel(model=m)
        people = {*result["probe_subject"].to_numpy()[here]}
        people |= {*result["reference_subject"].to_numpy()[here]}
        assert int(part["n_pairs"]) == here.sum()
        assert int(part["n_subjects"]) == len(people)


def test_intervals_are_those_of_scipy():
    """One pair of each person: the plain bootstrap of a mean."""
    own = np.random.default_rng(1).gamma(2, size=60)
    people = [[f"p{i}" for i in range(60)]] * 2
    result = made_result(own[None, :, None, None], people)
    labels = {"all": pd.Categorical(["yes"] * 60)}
    means = means_by(result, labels, quantities=["directed"], n_draws=20000, seed=0)
    found = with_intervals(means, 0.9)["directed"].squeeze()
    expected = stats.bootstrap(
        (own,), np.mean, n_resamples=20000, confidence_level=0.9, method="percentile", rng=2
    ).confidence_interval
    width = expected.high - expected.low
    assert found["estimate"].to_numpy().tolist() == ["value", "lower", "upper"]
    assert float(found[0]) == pytest.approx(own.mean())
    assert found[1:].to_numpy() == pytest.approx([expected.low, expected.high], abs=0.03 * width)


def test_spread_over_draws_has_its_closed_form():
    """One value of a pair for each couple of people, the sum of their two effects.

    Over draws, the mean over all couples has the variance of the mean effect of a resampled set,
    doubled; to the order of one over the number of people, which is what is allowed here.
    """
    n = 80
    own = np.random.default_rng(2).normal(size=n)
    first, second = np.triu_indices(n, 1)
    people = [[f"p{i:02d}" for i in first], [f"p{i:02d}" for i in second]]
    result = made_result((own[first] + own[second])[None, :, None, None], people)
    means = means_by(
        result, {"all": pd.Categorical([0] * len(first))}, quantities=["directed"], n_draws=4000
    )
    drawn = means["directed"].to_numpy()[1:4001].ravel()
    assert drawn.std() == pytest.approx(2 * own.std() / np.sqrt(n), rel=0.05)


def test_differences_are_paired_draw_by_draw(result, labels):
    means = means_by(result, labels, quantities=["directed", "energy"], n_draws=30, seed=1)
    found = with_differences(means, "group", 1)
    assert (
        found["directed_difference"].attrs["long_name"] == "difference in mean directed influence"
    )
    for name in ("directed", "energy"):
        array = means[name].to_numpy()
        apart = found[f"{name}_difference"]
        np.testing.assert_array_equal(apart, array - array[:, :, 1:2])
        assert not np.nan_to_num(apart.sel(group="b")).any()
        interval = with_intervals(found, 0.8)[f"{name}_difference"]
        gaps = (array[:, :, 2] - array[:, :, 1])[1:, :, 0, :, :2]
        observed = (array[0, :, 2] - array[0, :, 1])[:, 0, :, :2]
        n_people = int(means.attrs["n_people_drawn"])
        expected = with_interval(observed, gaps[:30], 0.8, linear=gaps[30:], n_people=n_people)
        np.testing.assert_allclose(interval.sel(group="c").isel(model=0)[..., :2, :], expected)


def test_one_person_says_nothing_of_others(result):
    alone = (result["probe_subject"] == "p1") & (result["reference_subject"] == "p1")
    label = pd.Categorical(np.where(alone, "one", "many"))
    means = means_by(result, {"who": label}, quantities=["energy"], n_draws=5)["energy"]
    assert np.isfinite(means.sel(who="one", draw=0)).all()
    assert np.isnan(means.sel(who="one")[1:]).all()
    assert np.isfinite(means.sel(who="many")).all()


def test_weights_come_from_the_people_that_are_named(result):
    """Documents of two contributors: pairs of one face and one name weigh by both."""
    other = result["reference_subject"].to_numpy()
    named = result.assign_coords(
        who=("pair", other), also=("pair", other), probe_subject=("pair", other)
    )
    label = {"all": pd.Categorical(["x"] * result.sizes["pair"])}
    options = {"quantities": ["absolute"], "n_draws": 20, "seed": 4}
    found = means_by(named, label, people=("who", "also"), **options)
    xr.testing.assert_equal(found["absolute"], means_by(named, label, **options)["absolute"])


def test_variables_of_the_result_are_quantities_too(result, labels):
    own = result.assign(mine=("pair", np.arange(result.sizes["pair"], dtype=float)))
    means = means_by(own, labels, quantities=["mine", "similarity"], n_draws=3)
    assert means["mine"].dims == ("draw", "comparison", "group")
    assert means["similarity"].dims == ("draw", "comparison", "group", "model")
    here = np.flatnonzero((labels["comparison"] == "impostor") & (labels["group"] == "c"))
    found = means["mine"].sel(comparison="impostor", group="c")
    assert float(found[0]) == pytest.approx(here.mean())
    np.testing.assert_array_equal(quantity(own, "mine"), own["mine"])


def test_a_group_without_pairs_is_missing(result):
    label = pd.Categorical(["a"] * result.sizes["pair"], ["a", "b"])
    means = with_intervals(means_by(result, {"group": label}, n_draws=2), 0.9)
    assert np.isnan(means["directed"].sel(group="b")).all()
    assert means["n_pairs"].sel(group="b").to_numpy().tolist() == [0, 0]


def test_means_by_own_labels_are_the_public_statistic():
    """Labels of a user, such as pairs with and without glasses, give means and paired draws."""
    influence = np.array([0.1, 0.2, 0.4, 0.6])[None, :, None, None]
    result = fl.testing.result(influence)
    label = pd.Categorical(["yes", "yes", "no", "no"], ["yes", "no"])
    means = fl.results.means_by(result, {"glasses": label}, quantities=["directed"], n_draws=50)
    observed = means["directed"].isel(draw=0).squeeze()
    np.testing.assert_allclose(observed, [0.15, 0.5])
    assert means["n_pairs"].squeeze().to_numpy().tolist() == [2, 2]
    counts = np.random.default_rng(0).multinomial(4, [0.25] * 4, size=50)
    with np.errstate(invalid="ignore"):
        drawn = counts[:, :2] @ [0.1, 0.2] / counts[:, :2].sum(axis=1)
    np.testing.assert_allclose(means["directed"].sel(glasses="yes").squeeze()[1:], drawn)


def test_bad_labels(result, labels):
    group = labels["group"]
    for bad, said in (
        ({}, "labels are empty"),
        ({"band": group}, "the axis 'band' has the name of an axis"),
        ({"group": list(group)}, "labels\\['group'\\] is a list; it must be a pandas.Categorical"),
        ({"group": group[:3]}, "has 3 labels, and the result"),
    ):
        with pytest.raises(ParameterError, match=said):
            means_by(result, bad)
    with pytest.raises(UnknownNameError, match="unknown quantities 'direct'.*'directed'"):
        means_by(result, labels, quantities=["direct"])
    with pytest.raises(UnknownNameError, match="unknown people 'probe_subjects'"):
        means_by(result, labels, people=("probe_subjects", "reference_subject"))


def test_bad_numbers(result, labels):
    for bad in ({"n_draws": 0}, {"seed": -1}):
        with pytest.raises(ParameterError, match=next(iter(bad))):
            means_by(result, labels, **bad)

"""Shares of the absolute influence: by hand, by repeated people, and against the truth."""

import numpy as np
import pandas as pd
import pytest

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError


def oriented(values, bands, **options):
    return fl.testing.result(np.asarray(values, float)[None, :, None], bands=bands, **options)


@pytest.fixture(scope="module")
def result():
    """Genuine and impostor pairs of six people, with a band that is missing at one model."""
    rng = np.random.default_rng(0)
    people = np.array([f"p{k}" for k in rng.integers(0, 6, 60)], object)
    others = np.where(np.arange(60) < 40, people, np.roll(people, 1))
    values = rng.normal(size=(2, 60, 1, 6)) * np.arange(1, 7)
    values[1, :, :, 5] = np.nan
    values[:, 3] = np.nan
    return fl.testing.result(
        values,
        bands=fl.wavelets("haar", 2),
        probe_subject=people,
        reference_subject=others,
        removed_rms=rng.uniform(1, 3, values.shape),
    )


@pytest.mark.parametrize("comparison", ["genuine", "impostor"])
@pytest.mark.parametrize("model", ["m", "m1"])
def test_a_share_is_a_mean_over_the_sum_of_means(result, comparison, model):
    shares = fl.results.influence_shares(result, n_draws=5).sel(comparison=comparison, model=model)
    chosen = result["genuine"].to_numpy() == (comparison == "genuine")
    part = result.sel(model=model, side="probe").isel(pair=chosen)
    for name, values in (
        ("share", np.abs(part["influence"].to_numpy())),
        ("energy_share", part["removed_rms"].to_numpy() ** 2),
    ):
        means = pd.DataFrame(values).mean().to_numpy()  # without NaN
        found = shares[name].sel(side="probe", estimate="value").to_numpy()
        np.testing.assert_allclose(found, means / np.nansum(means))


def test_shares_of_a_coordinate_are_added(result):
    each = fl.results.influence_shares(result, n_draws=5)["share"].sel(estimate="value")
    for by, values in (("scale", [2, 1]), ("orientation", [0.0, 90.0, 45.0])):
        added = fl.results.influence_shares(result, by=by, n_draws=5)["share"]
        assert added[by].to_numpy().tolist() == values
        assert added[by].attrs == result[by].attrs
        for value in values:
            expected = each.isel(band=result[by].to_numpy() == value).sum("band")
            found = added.sel({by: value, "estimate": "value"})
            np.testing.assert_allclose(found, expected)
        assert added.dims == ("comparison", "model", "side", by, "estimate")
    polar = fl.polar(fl.rings(28), 2)
    one = oriented(np.ones((3, len(polar))), polar)
    added = fl.results.influence_shares(one, by="orientation", n_draws=5)["share"]
    # the band rest has no orientation, and counts in the total
    assert float(added.sel(comparison="genuine", estimate="value").sum()) == pytest.approx(4 / 5)


def test_intervals_are_those_of_a_plain_bootstrap_for_a_pair_of_each_person():
    rng = np.random.default_rng(1)
    values = rng.gamma(2, size=(60, 3)) * [1, 2, 3]
    result = oriented(values * rng.choice([-1, 1], values.shape), fl.sectors(3))
    shares = fl.results.influence_shares(result, n_draws=9999, level=0.9)
    found = shares["share"].sel(comparison="genuine").squeeze().isel(band=1).to_numpy()
    drawn = values[rng.integers(0, 60, (9999, 60))].mean(axis=1)
    ratio = drawn[:, 1] / drawn.sum(axis=1)
    expected = [values[:, 1].sum() / values.sum(), *np.quantile(ratio, [0.05, 0.95])]
    assert found == pytest.approx(expected, abs=0.03 * (expected[2] - expected[1]))


def test_horizontal_and_vertical_structure_of_each_kind():
    """The orientation of each band by hand; the oblique ones belong to neither."""
    cases = {
        "sectors": (fl.sectors(8), [0, 1, 7], [3, 4, 5]),
        "four": (fl.sectors(4), [0], [2]),
        "three": (fl.sectors(3), [0], [1, 2]),
        "six": (fl.sectors(6), [0, 1, 5], [2, 3, 4]),
        "polar": (fl.polar(fl.rings(28), 4), [0, 4], [2, 6]),
        "wavelets": (fl.wavelets("haar", 2), [0, 3], [1, 4]),
        "crossed": (fl.channels(fl.sectors(2)), [0, 2], [1, 3]),
    }
    rng = np.random.default_rng(0)
    for name, (bands, horizontal, vertical) in cases.items():
        values = rng.normal(size=(9, len(bands)))
        shares = fl.results.orientation_shares(oriented(values, bands), n_draws=5)
        found = shares["share"].sel(comparison="genuine", estimate="value").squeeze()
        means = np.abs(values).mean(axis=0)
        one, other = (means[places].sum() / means.sum() for places in (horizontal, vertical))
        assert found.to_numpy() == pytest.approx([one, other, one - other]), name


def test_the_interval_of_the_difference_is_paired():
    """Each person has the same excess: the difference is certain although the shares are not."""
    rng = np.random.default_rng(0)
    oblique = rng.uniform(0.2, 5, 40)
    values = np.stack([2 + 0 * oblique, oblique, 1 + 0 * oblique, oblique], axis=1)
    shares = fl.results.orientation_shares(oriented(values, fl.sectors(4)))["share"]
    width = shares.sel(comparison="genuine").squeeze()
    width = (width.sel(estimate="upper") - width.sel(estimate="lower")).to_numpy()
    assert width[2] < 0.55 * width[0]
    assert fl.results.orientation_differs(
        fl.results.orientation_shares(oriented(values, fl.sectors(4))), model="m"
    )


def test_a_planted_network_that_sees_horizontal_stripes_only():
    """Its influence is in the sectors of horizontal structure, whatever the photographs."""
    rows = np.random.default_rng(0).normal(size=(12, 112)).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)  # blind for the mean brightness

    def embed(images):
        import torch

        return images.mean(dim=(1, 3)) @ torch.from_numpy(rows.T)  # means of the rows

    model = fl.wrap_model(embed, name="rows", version="1")
    people = fl.testing.faces(4, 2)
    result = fl.testing.influence(people, models=[model], bands="sectors:8", sides=["probe"])
    shares = fl.results.orientation_shares(result, n_draws=50)
    found = shares["share"].sel(comparison="genuine", estimate="value").squeeze()
    # the mean of a row has no horizontal frequency: all that it depends on is at 0 degrees
    assert found.to_numpy() == pytest.approx([1, 0, 1], abs=1e-4)
    text = fl.results.describe_orientation(shares, model="rows")
    assert "bands of horizontal structure carry 100\u00a0% [100,\u00a0100]" in text
    assert fl.results.orientation_differs(shares, model="rows")


def test_the_sentence():
    values = np.tile([3.0, 1, 2, 1], (30, 1))
    values[:15, 0] += 0.5
    shares = fl.results.orientation_shares(
        oriented(values, fl.sectors(4), removed_rms=[2.0, 1, 1, 1])
    )
    text = fl.results.describe_orientation(shares, model="m").replace("\u00a0", " ")
    assert text == (
        "On 30 genuine pairs of 30 people, bands of horizontal structure carry 45 % [44, 45] of "
        "the absolute influence and bands of vertical structure 28 % [27, 28]: a difference of "
        "+17 [+16, +18] percentage points. They hold 57 % and 14 % of the contrast energy removed."
    )
    none = fl.results.describe_orientation(shares, model="m", comparison="impostor")
    assert none == "There is no influence of impostor pairs to divide by orientation."
    rng = np.random.default_rng(0)
    alike = fl.results.orientation_shares(oriented(rng.normal(size=(30, 4)), fl.sectors(4)))
    text = fl.results.describe_orientation(alike, model="m")
    assert "a difference that is compatible with zero, " in text
    assert not fl.results.orientation_differs(alike, model="m")


def test_a_table_leaves_out_what_has_no_pairs(result):
    shares = fl.results.influence_shares(result, n_draws=5)
    table = fl.results.share_table(shares, model="m")
    assert table.index.name == "band, share in %"
    assert table[("genuine", "value")].sum() == pytest.approx(100)
    genuine = fl.results.influence_shares(result.isel(pair=slice(40)), by="scale", n_draws=5)
    table = fl.results.share_table(genuine, model="m")
    assert table.columns.get_level_values(0).unique().tolist() == ["genuine"]
    assert table.index.tolist() == [2, 1]


def test_no_influence_has_no_shares():
    shares = fl.results.influence_shares(oriented(np.zeros((5, 2)), fl.channels()), n_draws=5)
    assert shares["share"].isnull().all()
    assert (shares["share"].attrs["units"], shares.sizes["band"]) == ("1", 2)


def test_what_does_not_fit_is_refused():
    rings = fl.testing.result(np.ones((1, 3, 1, 4)))
    with pytest.raises(ParameterError, match="bands of kind 'rings' have no orientation; allowed"):
        fl.results.orientation_shares(rings)
    with pytest.raises(UnknownNameError, match="unknown by 'orientation'"):
        fl.results.influence_shares(rings, by="orientation")
    with pytest.raises(ParameterError, match="level=2"):
        fl.results.influence_shares(rings, level=2)
    shares = fl.results.influence_shares(rings, n_draws=5)
    with pytest.raises(UnknownNameError, match="unknown model 'n'"):
        fl.results.share_table(shares, model="n")


def test_the_coverage_of_shares_and_of_their_difference():
    """Samples of 40 people with shares of their own, each as a model; nominal 95 %."""
    rng = np.random.default_rng(0)
    n_samples, n_people, truth = 500, 40, np.array([4.0, 2, 3, 2])
    people = np.repeat([f"p{k}" for k in range(n_people)], 3)
    own = truth * rng.gamma(4, 1 / 4, (n_samples, n_people, 4))  # mean 1: the truth is the mean
    values = np.repeat(own, 3, axis=1) * rng.gamma(2, 1 / 2, (n_samples, len(people), 4))
    result = fl.testing.result(values[:, :, None], bands=fl.sectors(4), probe_subject=people)
    shares = fl.results.orientation_shares(result, n_draws=300)["share"]
    found = shares.sel(comparison="genuine", side="probe").transpose("estimate", "model", "part")
    _, lower, upper = found.to_numpy()
    expected = np.array([4, 3, 1]) / truth.sum()
    covered = ((lower <= expected) & (expected <= upper)).mean(axis=0)
    assert ((covered > 0.91) & (covered < 0.98)).all(), covered

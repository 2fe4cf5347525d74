import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm, t

import freqlab as fl
from freqlab.errors import ParameterError
from freqlab.results.profiles import influence_spread
from freqlab.results.quantities import influence_per_contrast


def test_means_are_plain_means(demo):
    profile = fl.results.mean_profile(demo, n_draws=20)
    genuine = demo["genuine"].to_numpy()
    for comparison, chosen in (("genuine", genuine), ("impostor", ~genuine)):
        part = profile.sel(comparison=comparison, estimate="value")
        influence = demo["influence"].isel(pair=np.flatnonzero(chosen))
        np.testing.assert_allclose(part["directed"], influence.mean("pair"), atol=1e-6)
        np.testing.assert_allclose(part["absolute"], abs(influence).mean("pair"), atol=1e-6)
        assert int(part["n_pairs"][0]) == chosen.sum()
    assert profile["n_subjects"].to_numpy().tolist() == [[4], [4]]


def test_intervals_against_a_bootstrap_written_out(demo):
    """Pigeonhole weights with loops, on the same draws of subjects; impostor means narrowed."""
    profile = fl.results.mean_profile(demo, n_draws=200, seed=5, level=0.9)
    probe, reference = demo["probe_subject"].to_numpy(), demo["reference_subject"].to_numpy()
    people = sorted({*probe, *reference})
    draws = np.random.default_rng(5).multinomial(4, [0.25] * 4, size=200)
    values = demo["influence"].sel(side="probe", model="mobilefacenet").isel(band=2).to_numpy()
    for comparison, wanted in (("genuine", True), ("impostor", False)):
        means, linear = [], []
        of_kind = np.flatnonzero(demo["genuine"].to_numpy() == wanted)
        mean = values[of_kind].mean()
        for counts in draws:
            weight_of = dict(zip(people, counts, strict=True))
            total = weights = change = 0.0
            for i in of_kind:
                w = weight_of[probe[i]] * (1 if wanted else weight_of[reference[i]])
                total, weights = total + w * values[i], weights + w
                both = weight_of[probe[i]] + weight_of[reference[i]] - 1
                change += both * (values[i] - mean) / len(of_kind)
            means.append(total / weights if weights else np.nan)
            linear.append(mean + change)
        expected = np.nanquantile(means, [0.05, 0.95])
        if not wanted:
            share = np.clip(2 * np.var(linear) / np.nanvar(means) - 1, 1 / 3, 1)
            few = 4 / 3 * (t.ppf(0.95, 3) / norm.ppf(0.95)) ** 2
            expected = mean + np.sqrt(few * share) * (expected - mean)
        found = profile["directed"].sel(
            comparison=comparison, model="mobilefacenet", side="probe", estimate=["lower", "upper"]
        )
        np.testing.assert_allclose(found.isel(band=2), expected, atol=1e-6)


def test_interval_has_the_width_of_the_mean_over_people():
    """Ten equal pairs of each of 40 people are 40 observations, not 400."""
    n_subjects, per_subject = 40, 10
    own = np.random.default_rng(0).normal(size=n_subjects)
    people = np.repeat([f"p{i}" for i in range(n_subjects)], per_subject).astype(object)
    values = np.repeat(own, per_subject)[None, :, None, None]
    result = fl.testing.result(values, probe_subject=people, similarity=values[..., 0, 0])
    found = (
        fl.results.mean_profile(result, n_draws=4000)["directed"]
        .sel(comparison="genuine")
        .squeeze()
    )
    width = float(found.sel(estimate="upper") - found.sel(estimate="lower"))
    expected = 2 * 1.96 * own.std() / np.sqrt(n_subjects)
    assert width == pytest.approx(expected, rel=0.1)
    assert float(found.sel(estimate="value")) == pytest.approx(own.mean())


def test_missing_pairs_are_left_out(demo):
    spoiled = demo.load().copy(deep=True)
    first = int(np.flatnonzero(demo["genuine"])[0])
    for name in ("influence", "similarity"):
        spoiled[name][:, first] = np.nan
    profile = fl.results.mean_profile(spoiled, n_draws=10)
    rest = np.flatnonzero(demo["genuine"])[1:]
    np.testing.assert_allclose(
        profile["directed"].sel(comparison="genuine", estimate="value"),
        demo["influence"].isel(pair=rest).mean("pair"),
        atol=1e-6,
    )
    assert int(profile["n_pairs"].sel(comparison="genuine")[0]) == len(rest)


def test_a_kind_without_a_number_is_missing(demo):
    spoiled = demo.load().copy(deep=True)
    lost = np.flatnonzero(demo["genuine"])
    for name in ("influence", "similarity"):
        spoiled[name][:, lost] = np.nan
    profile = fl.results.mean_profile(spoiled, n_draws=10)
    assert np.isnan(profile["directed"].sel(comparison="genuine")).all()
    assert profile["n_subjects"].sel(comparison="genuine").to_numpy().tolist() == [0]
    assert np.isfinite(profile["directed"].sel(comparison="impostor")).all()


def test_one_subject_has_a_mean_and_no_interval(demo):
    one = demo.isel(pair=np.flatnonzero(demo["genuine"] & (demo["probe_subject"] == "s1")))
    profile = fl.results.mean_profile(one, n_draws=10)["directed"].sel(comparison="genuine")
    assert np.isfinite(profile.sel(estimate="value")).all()
    assert np.isnan(profile.sel(estimate=["lower", "upper"])).all()


def test_without_impostors_their_profile_is_missing(demo):
    genuine = demo.isel(pair=np.flatnonzero(demo["genuine"]))
    profile = fl.results.mean_profile(genuine, n_draws=10)
    assert np.isnan(profile["directed"].sel(comparison="impostor")).all()
    sentence = fl.results.describe_profile(profile, model="mobilefacenet", comparison="impostor")
    assert sentence == "There are no impostor pairs to average over."


def test_per_contrast_needs_contrast(demo):
    result = demo.load().copy(deep=True)
    result["removed_rms"][0, 0, 0, :3] = [0.499, 0.5, 2.0]
    ratio = influence_per_contrast(result)
    raw = result["influence"][0, 0, 0, :3].to_numpy()
    found = ratio[0, 0, 0, :3].to_numpy()
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], raw[1:] / [0.5, 2.0], rtol=1e-6)
    assert ratio.attrs["units"] == "cosine similarity per grey level"


def test_low_bands_dominate_genuine_pairs(demo):
    """The finding of the method's authors, on the demo."""
    profile = fl.results.mean_profile(demo, n_draws=10)
    mean = profile["absolute"].sel(
        comparison="genuine", estimate="value", side="probe", model="mobilefacenet"
    )
    assert float(mean[:5].sum()) > 4 * float(mean[5:].sum())


def test_bad_numbers(demo):
    for arguments in ({"n_draws": 0}, {"n_draws": 1.5}, {"level": 1}, {"level": 0}, {"seed": -1}):
        with pytest.raises(ParameterError):
            fl.results.mean_profile(demo, **arguments)


def test_spread_is_quantiles_over_pairs_of_a_kind(demo):
    spread = influence_spread(demo, model="mobilefacenet", side="reference", level=0.8)
    part = demo.sel(model="mobilefacenet", side="reference")
    for comparison, kept in (("genuine", demo["genuine"]), ("impostor", ~demo["genuine"])):
        values = part["influence"].to_numpy()[kept.to_numpy()]
        for kind, of_kind in (("directed", values), ("absolute", np.abs(values))):
            ordered, n = np.sort(of_kind.astype(float), axis=0), len(of_kind)
            for estimate, share in (("lower", 0.1), ("median", 0.5), ("upper", 0.9)):
                place = share * (n - 1)  # between two neighbours in order
                low, part_of_step = int(place), place % 1
                expected = ordered[low] + part_of_step * (ordered[low + 1] - ordered[low])
                found = spread[kind].sel(comparison=comparison, estimate=estimate)
                assert found.to_numpy() == pytest.approx(expected, abs=1e-6)
        assert int(spread["n_pairs"].sel(comparison=comparison)) == int(kept.sum())


def test_spread_of_many_pairs_is_of_a_sample(demo):
    spread = influence_spread(demo, model="mobilefacenet", n_most=3, seed=1)
    again = influence_spread(demo, model="mobilefacenet", n_most=3, seed=1)
    assert spread["n_pairs"].to_numpy().tolist() == [3, 3]
    xr.testing.assert_identical(spread, again)
    genuine_only = demo.isel(pair=np.flatnonzero(demo["genuine"].to_numpy()))
    alone = influence_spread(genuine_only, model="mobilefacenet")
    assert alone["directed"].sel(comparison="impostor").isnull().all()
    for bad in ({"level": 1}, {"level": 0}, {"n_most": 0}):
        with pytest.raises(ParameterError, match=next(iter(bad))):
            influence_spread(demo, model="mobilefacenet", **bad)

"""Effect of the crop's border, against numpy and crops of which it is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError

X = (np.arange(112) + 0.5) / 112
EDGES = [0, 8, 20, 44, np.inf]


def made(rows, **options):
    """Result of faces whose rows are given, two photographs of each person, and the model."""
    table = pd.DataFrame(
        {"subject": [f"p{i // 2}" for i in range(len(rows))]},
        index=[f"p{i // 2}/{i % 2}" for i in range(len(rows))],
    )
    images = [
        np.rint(np.tile(row, (112, 1))[..., None].repeat(3, axis=2)).astype(np.uint8)
        for row in rows
    ]
    faces = fl.Faces(table, images=images, aligned="arcface", name="rows")
    options = {"bands": fl.rings(edges=EDGES), **options}
    return fl.testing.influence(faces, **options), [fl.testing.model()]


def gratings(n=6, seed=0):
    """Even gratings of whole periods: their mirror image continues them periodically."""
    rng = np.random.default_rng(seed)
    waves = np.cos(2 * np.pi * np.array([3, 12, 30, 50])[:, None] * X)
    return [128 + rng.normal(0, 15, 4) @ waves for _ in range(n)]


def numpy_profiles(result, side, mirror):
    """Influence of every pair in double precision, by numpy's complex transform."""
    store = result.attrs["store"]
    crops = fl.open_run(store)["crops/arcface"]["crop"]
    network = fl.testing.model().network
    matrix = network.matrix.numpy().astype(float)

    def embed(pixels):
        return matrix @ pixels.transpose(2, 0, 1).ravel()

    def without(pixels, low, high):
        n = 112
        if mirror:
            pixels, n = np.pad(pixels, [(0, n), (0, n), (0, 0)], mode="symmetric"), 2 * n
        across = np.rint(np.fft.fftfreq(n) * n) * (112 / n)  # exact, as many lie on an edge
        radius = np.hypot(across[:, None], across[None])
        gone = (radius >= low) & (radius < high) & (radius > 0)
        spectrum = np.fft.fft2(pixels, axes=(0, 1))
        spectrum[gone] = 0
        return np.fft.ifft2(spectrum, axes=(0, 1)).real[:112, :112]

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    profiles = []
    for pair in result["pair"].to_numpy():
        both = [
            crops.sel(face=result[end].sel(pair=pair).item()).to_numpy().astype(float)
            for end in ("probe", "reference")
        ]
        masked, partner = both if side == "probe" else both[::-1]
        whole = cosine(embed(masked), embed(partner))
        profiles.append(
            [
                whole - cosine(embed(without(masked, low, high)), embed(partner))
                for low, high in itertools.pairwise(EDGES)
            ]
        )
    return np.array(profiles)


def test_means_and_correlations_are_numpys():
    rng = np.random.default_rng(3)
    ramps = [128 + 60 * (X - 0.5) + row - 128 + rng.normal(0, 8, 112) for row in gratings(4)]
    result, models = made(ramps)
    effect = fl.edits.edge_effect(result, models, n_draws=20, progress=False)
    assert effect.attrs["high"] == 44
    for side in ("probe", "reference"):
        periodic, mirrored = (numpy_profiles(result, side, mirror) for mirror in (False, True))
        for k, comparison in enumerate(("genuine", "impostor")):
            chosen = result["genuine"].to_numpy() == (k == 0)
            one = effect.sel(comparison=comparison, side=side, model="linear", estimate="value")
            p, m = periodic[chosen], mirrored[chosen]
            np.testing.assert_allclose(one["periodic"], np.abs(p).mean(0), rtol=5e-3, atol=1e-5)
            np.testing.assert_allclose(one["mirrored"], np.abs(m).mean(0), rtol=5e-3, atol=1e-5)
            apart = np.abs(p - m).mean(0)
            np.testing.assert_allclose(one["difference"], apart, rtol=1e-2, atol=2e-5)
            ranks = [spearmanr(a, b).statistic for a, b in zip(p, m, strict=True)]
            assert one["correlation"].item() == pytest.approx(np.mean(ranks), abs=1e-6)
            of_means = spearmanr(p.mean(0), m.mean(0)).statistic
            assert one["mean_correlation"].item() == pytest.approx(of_means, abs=1e-6)
            excess = 1 - np.abs(m[:, 3:]).mean() / np.abs(p[:, 3:]).mean()
            assert one["excess"].item() == pytest.approx(excess, abs=0.02)
            by_band = 1 - np.abs(m).mean(0) / np.abs(p).mean(0)
            np.testing.assert_allclose(one["excess_by_band"], by_band, atol=0.02)
            same = np.abs(p).argmax(1) == np.abs(m).argmax(1)
            assert one["same_strongest"].item() == pytest.approx(same.mean())


def test_a_crop_without_a_step_has_no_effect():
    result, models = made(gratings())
    effect = fl.edits.edge_effect(result, models, n_draws=20, progress=False)
    value = effect.sel(estimate="value")
    assert float(value["difference"].max()) < 1e-5
    np.testing.assert_allclose(value["excess"], 0, atol=0.02)
    np.testing.assert_allclose(value["correlation"], 1)
    np.testing.assert_allclose(value["same_strongest"], 1)


def test_a_ramp_has_high_frequencies_by_its_border_only():
    result, models = made([128 + slope * (X - 0.5) for slope in (90, 80, -60, -70)])
    effect = fl.edits.edge_effect(result, models, n_draws=20, high=44, progress=False)
    single = effect["excess"].sel(estimate="value", side=["probe", "reference"])
    assert (single > 0.5).all()
    text = fl.edits.describe_edge_effect(effect, model="linear", side="probe")
    assert "rank correlation of" in text
    assert "From 44\u00a0cycles/image up, the border accounts for " in text
    table = fl.edits.edge_effect_table(effect)
    assert table.index.tolist() == [("linear", "genuine"), ("linear", "impostor")]
    assert table.columns[-1] == "due to the border from 44\u00a0cycles/image"
    by_band = fl.edits.edge_effect_by_band(effect, model="linear", side="probe")
    assert by_band.index.tolist() == effect["band"].to_numpy().tolist()
    share = effect["excess_by_band"].sel(
        estimate="value", side="probe", comparison="impostor", model="linear"
    )
    assert by_band["impostor pairs"].iloc[1].startswith(f"{100 * float(share[1]):.0f}\u00a0% [")


def test_high_bands_are_at_least_the_last():
    """A crop whose last band begins below three quarters of its Nyquist frequency."""
    result, models = made(gratings(4), bands=fl.rings(edges=[0, 8, 20, np.inf]))
    effect = fl.edits.edge_effect(result, models, n_draws=5, progress=False)
    assert effect.attrs["high"] == 20
    every = effect["excess"].sel(estimate="value")
    np.testing.assert_allclose(every, effect["excess_by_band"].sel(estimate="value")[..., -1])


def test_either_extension_may_be_given_and_embeddings_are_stored():
    rows = [row + 40 * (X - 0.5) for row in gratings(4)]
    result, models = made(rows)
    effect = fl.edits.edge_effect(result, models, n_draws=20, progress=False)
    assert effect.attrs["forward_passes"] == 4 * 4  # four faces, four bands
    again = fl.edits.edge_effect(result, models, n_draws=20, progress=False)
    assert again.attrs["forward_passes"] == 0
    mirrored, _ = made(rows, bands=fl.rings(edges=EDGES, extension="mirror"))
    other = fl.edits.edge_effect(mirrored, models, n_draws=20, progress=False)
    for name in ("periodic", "mirrored", "difference", "correlation"):
        np.testing.assert_allclose(other[name], effect[name], atol=1e-5)


def test_wrong_arguments_are_named():
    result, models = made(gratings(4))
    with pytest.raises(ParameterError, match="high=90: no band.*allowed: 44 cycles/image or less"):
        fl.edits.edge_effect(result, models, high=90, progress=False)
    with pytest.raises(ParameterError, match=r"models=\[\]"):
        fl.edits.edge_effect(result, [], progress=False)
    sectors, _ = made(gratings(4), bands="sectors:4")
    with pytest.raises(ParameterError, match="allowed: rings and octaves"):
        fl.edits.edge_effect(sectors, models, progress=False)
    effect = fl.edits.edge_effect(result, models, n_draws=5, progress=False)
    with pytest.raises(UnknownNameError, match="linear"):
        fl.edits.describe_edge_effect(effect, model="liner")

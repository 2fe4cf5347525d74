"""Games of bands against closed forms, brute force and Captum."""

import itertools
import math

import numpy as np
import pytest
import torch
from captum.attr import ShapleyValues
from conftest import make_faces
from scipy.stats import entropy, spearmanr

import freqlab as fl
from freqlab.edits.pair_sets import PairSets
from freqlab.errors import ParameterError
from freqlab.faithfulness import games
from freqlab.statistics.vectors import rank_agreement

HELD = np.ones(5, bool)


def additive(weights):
    """A game in which every band brings what it weighs."""
    return lambda pairs, removed: (weights[pairs] * ~removed).sum(axis=1)


def rugged(n_bands, n_pairs=3, seed=0):
    """A game with another score for every set."""
    table = np.random.default_rng(seed).normal(size=(n_pairs, 2**n_bands))
    powers = 2 ** np.arange(n_bands)
    return lambda pairs, removed: table[pairs, removed @ powers]


def exact_shapley(value, n_pairs, n):
    found = np.zeros((n_pairs, n))
    pairs = np.arange(n_pairs)
    for band in range(n):
        others = [b for b in range(n) if b != band]
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - 1 - size) / math.factorial(n)
            for kept in itertools.combinations(others, size):
                removed = np.ones((n_pairs, n), bool)
                removed[:, list(kept)] = False
                without = value(pairs, removed)
                removed[:, band] = False
                found[:, band] += weight * (value(pairs, removed) - without)
    return found


@pytest.fixture(scope="module")
def linear_run(tmp_path_factory):
    from conftest import Linear

    faces = make_faces(4, 2)
    model = fl.wrap_model(Linear(), name="linear")
    store = tmp_path_factory.mktemp("linear") / "run.zarr"
    pairs = fl.make_pairs(faces, seed=0)
    result = fl.influence(
        faces, pairs, models=[model], bands="rings:14", store=store, progress=False
    )
    return result, model


@pytest.mark.parametrize("side", ["probe", "reference"])
def test_a_linear_model_with_a_dot_product_is_additive(linear_run, side):
    """Shapley is leave-one-out, each band alone brings the same, and nothing interacts."""
    sets = PairSets(*linear_run, score="dot", progress=False)

    def value(pairs, removed):
        return sets.similarity(pairs, removed, side)

    n = sets.data.sizes["pair"]
    none, one = np.zeros((n, 5), bool), np.eye(5, dtype=bool)
    whole = value(np.arange(n), none)
    left_out = np.stack([whole - value(np.arange(n), none | band) for band in one], axis=1)
    scale = np.abs(whole).max()
    shapley = games.shapley_values(value, n, sets.held, most=8)
    np.testing.assert_allclose(shapley.values, left_out, atol=1e-4 * scale)
    np.testing.assert_allclose(shapley.standard_error, 0, atol=1e-4 * scale)
    alone = games.keep_one(value, n, sets.held)
    np.testing.assert_allclose(alone, left_out, atol=1e-4 * scale)
    mixed = games.pair_interactions(value, n, sets.held)
    np.testing.assert_allclose(mixed[np.isfinite(mixed)], 0, atol=1e-4 * scale)


def test_similarity_of_a_linear_model_in_closed_form(linear_run):
    """Any set, any side: the cosine of the mapped images, computed one at a time in float64."""
    result, model = linear_run
    sets = PairSets(result, model, progress=False)
    rng = np.random.default_rng(0)
    pairs, removed = rng.integers(0, 8, 30), rng.random((30, 5)) < 0.5
    matrix = model.network.matrix.double()
    labels = torch.from_numpy(fl.rings(14).label_map(112, 112))
    images = torch.from_numpy(sets.crops).permute(0, 3, 1, 2).double()

    def masked(face, removal):
        return fl.bands.remove(images[[face]], labels, np.flatnonzero(removal)).flatten(1)

    for side in ("probe", "reference", "both"):
        found = sets.similarity(pairs, removed, side)
        for score, pair, removal in zip(found, pairs, removed, strict=True):
            ends = [
                masked(sets.ends[i, pair], removal if side in (name, "both") else removal & False)
                for i, name in enumerate(("probe", "reference"))
            ]
            one, other = (end @ matrix.T for end in ends)
            exact = float(torch.nn.functional.cosine_similarity(one, other))
            assert score == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("n_bands", [4, 5])
def test_shapley_values_are_efficient_and_near_the_exact_ones(n_bands):
    value, held = rugged(n_bands), np.ones(n_bands, bool)
    found = games.shapley_values(value, 3, held, tolerance=0.05, most=400)
    none = np.zeros((3, n_bands), bool)
    total = value(np.arange(3), none) - value(np.arange(3), ~none)
    np.testing.assert_allclose(found.values.sum(axis=1), total, atol=1e-9)
    exact = exact_shapley(value, 3, n_bands)
    assert (np.abs(found.values - exact) <= 3.5 * found.standard_error).all()
    assert found.n_permutations == 400 or found.standard_error.max() <= 0.05


def test_standard_errors_of_shapley_values_hold():
    """Over many seeds the exact value lies within two standard errors about 95 % of the time."""
    value, held = rugged(5), np.ones(5, bool)
    exact, within = exact_shapley(value, 3, 5), []
    for seed in range(60):
        found = games.shapley_values(value, 3, held, tolerance=0, most=80, seed=seed)
        within.append(np.abs(found.values - exact) <= 2 * found.standard_error)
    assert 0.90 <= np.mean(within) <= 0.99


def test_sampling_stops_when_it_may():
    exact = additive(np.ones((1, 5)))
    assert games.shapley_values(exact, 1, HELD, at_least=8, most=64).n_permutations == 8
    few = games.shapley_values(rugged(5), 3, HELD, tolerance=0.4, most=400)
    many = games.shapley_values(rugged(5), 3, HELD, tolerance=0.2, most=400)
    assert few.n_permutations < many.n_permutations < 400
    with pytest.raises(ParameterError, match="most=7 must be even"):
        games.shapley_values(exact, 1, HELD, most=7)


def test_shapley_values_of_a_network_are_captums(demo):
    """Four bands of MobileFaceNet, against all 24 orders that Captum goes through."""
    model = fl.load_model("mobilefacenet", device="cpu")
    faces = fl.load_faces("orl").select([0, 3])
    result = fl.influence(
        faces, fl.make_pairs(faces), models=[model], bands="rings:20", progress=False,
        store=demo.attrs["store"],
    )  # fmt: skip
    sets = PairSets(result, model, progress=False)
    assert sets.held.all()
    probe, reference = (
        torch.from_numpy(sets.crops[end]).permute(0, 3, 1, 2).float() for end in sets.ends
    )
    labels = torch.from_numpy(fl.rings(20).label_map(112, 112))
    with torch.no_grad():
        partner = model(reference)

    def score(kept):  # which of the bands are there (1, 4)
        masked = fl.bands.remove(probe, labels, np.flatnonzero(kept[0].numpy() == 0))
        with torch.no_grad():
            return torch.nn.functional.cosine_similarity(model(masked), partner)

    exact = ShapleyValues(score).attribute(torch.ones(1, 4)).numpy()[0]
    found = games.shapley_values(
        lambda pairs, removed: sets.similarity(pairs, removed, "probe"), 1, sets.held, most=40,
        tolerance=0,
    )  # fmt: skip
    assert (np.abs(found.values[0] - exact) <= 3 * found.standard_error[0] + 1e-5).all()


def test_smallest_sets_against_brute_force():
    value, n = rugged(6, n_pairs=40, seed=3), 6
    held = np.ones(n, bool)
    found = games.smallest_sets(lambda p, chosen: value(p, chosen) - 1.4, 40, held, most=6)
    every = np.array(list(itertools.product([False, True], repeat=n)))
    scores = np.stack([value(np.full(len(every), p), every) for p in range(40)])
    does = scores >= 1.4
    sizes = every.sum(axis=1)
    for p in range(40):
        smallest = sizes[does[p]].min() if does[p].any() else -1
        if found.proven[p] or smallest in (-1, 0, 1, 2):
            assert found.size[p] == smallest
        if found.size[p] >= 0:
            assert found.members[p].sum() == found.size[p] >= smallest
            assert value(np.array([p]), found.members[[p]])[0] >= 1.4
    assert found.proven.any()


def test_interactions_of_a_product():
    """Two bands of which each is of no use without the other, and two that stand in for another."""

    def value(pairs, removed):
        kept = ~removed
        return 1.0 * (kept[:, 0] & kept[:, 1]) + 2.0 * (kept[:, 2] | kept[:, 3])

    found = games.pair_interactions(value, 1, HELD)[0]
    assert found[0, 1] == found[1, 0] == -1
    assert found[2, 3] == 2
    assert found[0, 2] == found[1, 4] == 0
    assert np.isnan(np.diag(found)).all()


def test_area_complexity_and_agreement():
    assert games.area_under(np.array([0.0, 0.5, 1.0])) == 0.5
    x = np.linspace(0, 1, 2001)
    assert games.area_under(x**2) == pytest.approx(1 / 3, abs=1e-6)
    h = np.array([0.3, -0.1, 0.05, 0.2])
    expected = entropy(np.abs(h)) / np.log(4)
    assert games.complexity(h) == pytest.approx(expected)
    assert games.complexity(np.append(h, np.nan)) == pytest.approx(expected)
    assert games.complexity(np.array([0, 0, 1.0])) == 0
    assert games.complexity(np.ones(7)) == pytest.approx(1)
    assert np.isnan(games.complexity(np.zeros(3)))
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 6, 9)).round(1)
    found = rank_agreement(one, other)
    np.testing.assert_allclose(found, [spearmanr(a, b)[0] for a, b in zip(one, other, strict=True)])
    one[0, 3] = np.nan
    left = np.arange(9) != 3
    found = rank_agreement(one[0], other[0])
    assert found == pytest.approx(spearmanr(one[0, left], other[0, left])[0])
    assert np.isnan(rank_agreement(np.ones(4), rng.normal(size=4)))


def test_bands_without_coefficients_play_no_part():
    held = np.array([True, False, True, True, True])
    value = rugged(5)
    found = games.shapley_values(value, 3, held, tolerance=0, most=8)
    assert (found.values[:, 1] == 0).all()
    assert np.isnan(games.keep_one(value, 3, held)[:, 1]).all()
    orders = games.random_orders(held, 6, 0)
    assert orders.shape == (6, 4)
    np.testing.assert_array_equal(orders[1::2], orders[::2, ::-1])
    ranks = games.ranks_of(orders, 5)
    assert (ranks[:, 1] == 4).all()
    np.testing.assert_array_equal(np.argsort(ranks, axis=1)[:, :4], orders)

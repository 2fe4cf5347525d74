"""Orders of bands: random draws and their intervals, searches, and gains in closed form."""

import itertools

import numpy as np
import pytest
import xarray as xr
from conftest import make_faces

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.faithfulness.games import area_under
from freqlab.faithfulness.ordering import beam_search, order_by, random_orders_of_pairs


def additive(worth, order):
    """Similarity along deletion and insertion ``(..., protocol, step)`` of an additive game."""
    along = np.take_along_axis(worth, order, axis=-1)
    total = np.cumsum(along, axis=-1)
    restored = np.concatenate([np.zeros((*total.shape[:-1], 1)), total], axis=-1)
    return np.stack([restored[..., -1:] - restored, restored], axis=-2)


def game(seed, n_bands, n_pairs=1):
    """A random game of every set of bands, and its value function."""
    scores = np.random.default_rng(seed).random((n_pairs, 2**n_bands))
    bits = 2 ** np.arange(n_bands)
    return lambda pairs, removed: scores[pairs, removed @ bits]


def best_by_trying(value, n_bands, sign, restore):
    """Smallest signed area over all orders, by brute force."""
    best = np.inf
    for order in itertools.permutations(range(n_bands)):
        sets = np.array([[b in order[:k] for b in range(n_bands)] for k in range(n_bands + 1)])
        sets = ~sets if restore else sets
        scores = value(np.zeros(len(sets), int), sets)
        best = min(best, sign * float(area_under(scores)))
    return best


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("match", [False, True])
def test_a_wide_beam_finds_the_best_of_all_orders(restore, match):
    """With a width of all sets, the search is exact; a greedy search is no better."""
    n_bands, present = 5, np.ones(5, bool)
    sign = -1 if match == restore else 1
    for seed in range(5):
        value = game(seed, n_bands)
        areas = [
            sign
            * float(
                area_under(
                    beam_search(
                        value, 1, present, np.array([match]), width=width, restore=restore
                    ).similarity[0]
                )
            )
            for width in (1, 3, 2**n_bands)
        ]
        best = best_by_trying(value, n_bands, sign, restore)
        assert areas[2] == pytest.approx(best)
        assert areas[0] >= best - 1e-12
        assert areas[1] >= best - 1e-12


def test_a_greedy_search_of_an_additive_game_is_exact():
    """The bands follow in the order of their worth; bands without coefficients are left out."""
    rng = np.random.default_rng(0)
    worth = rng.normal(size=(6, 8))
    present = np.array([True] * 7 + [False])
    match = np.array([True, False] * 3)
    found = beam_search(
        lambda pairs, removed: (worth[pairs] * present * ~removed).sum(axis=1), 6, present, match
    )
    bands = np.flatnonzero(present)
    np.testing.assert_array_equal(found.orders, order_by(worth[:, bands], match, bands))
    curves = additive(worth[:, :7], found.orders)[:, 0]
    np.testing.assert_allclose(found.similarity, curves, atol=1e-12)


def test_random_orders_depend_on_the_pair_alone():
    bands = np.array([0, 2, 3, 7])
    probes, references = [f"a{i}" for i in range(40)], [f"b{i}" for i in range(40)]
    orders = random_orders_of_pairs(probes, references, bands, 3, seed=1)
    assert orders.shape == (40, 3, 4)
    assert (np.sort(orders, axis=-1) == bands).all()
    few = random_orders_of_pairs(probes[7:9], references[7:9], bands, 3, seed=1)
    np.testing.assert_array_equal(few, orders[7:9])
    other = random_orders_of_pairs(probes, references, bands, 3, seed=2)
    assert (other != orders).any()
    assert len(np.unique(orders.reshape(-1, 4), axis=0)) > 20  # of 24


def curves_of(worth, orders, names, match=None, threshold=0.0, genuine=None):
    """Deletion curves of an additive game, in the form of `deletion_curves`."""
    n_pairs, n_bands = worth.shape
    similarity = additive(worth[:, None], orders).transpose(0, 2, 1, 3)
    genuine = np.ones(n_pairs, bool) if genuine is None else genuine
    people = np.array([f"p{i}" for i in range(n_pairs)], object)
    other = np.where(genuine, people, np.roll(people, 1))
    dims = ("model", "pair", "side", "protocol", "order", "step")
    data = {
        "similarity": (dims, similarity[None, :, None]),
        "share": (("model", "step"), np.linspace(0, 1, n_bands + 1)[None]),
        "same_order": (
            ("model", "pair", "side", "order"),
            (orders == orders[:, :1]).all(-1)[None, :, None],
        ),
        "threshold": ("model", [threshold]),
    }
    if match is not None:
        data["match"] = (("model", "pair"), match[None])
    coords = {
        "model": ["m"], "side": ["probe"], "protocol": ["deletion", "insertion"], "order": names,
        "pair": np.arange(n_pairs), "genuine": ("pair", genuine),
        "probe_subject": ("pair", people), "reference_subject": ("pair", other),
    }  # fmt: skip
    return xr.Dataset(data, coords=coords, attrs={"fmr": 0.1})


def coverage(draw, n_runs, n_people=40, n_bands=8, n_random=2):
    """Share of runs whose interval of the advantage over random holds the expectation."""
    covered = 0
    bands = np.arange(n_bands)
    for run in range(n_runs):
        rng = np.random.default_rng([run, 7])
        level = rng.normal(size=(n_people, 1))
        worth = (
            0.2 * level
            + 0.3 * np.linspace(-1, 1, n_bands)
            + rng.normal(0, 0.1, (n_people, n_bands))
        )
        own = order_by(worth + rng.normal(0, 0.5, worth.shape), np.ones(n_people, bool), bands)
        random = draw(n_people, bands, n_random, run)
        orders = np.concatenate([own[:, None], random], axis=1)
        names = ["influence", *(f"random {i + 1}" for i in range(n_random))]
        errors = fl.faithfulness.deletion_errors(curves_of(worth, orders, names), n_draws=200)
        gain = errors["advantage"].sel(
            model="m", side="probe", comparison="genuine", protocol="deletion",
            measure="similarity", baseline="random",
        )  # fmt: skip
        covered += float(gain[1]) <= TRUTH <= float(gain[2])
    return covered / n_runs


def expected_gain(n_bands=8):
    """Expectation of the gain over all people and all orders, by a large sample.

    The expected area in random order is half of the total, in closed form.
    """
    rng = np.random.default_rng(99)
    n = 200_000
    worth = 0.2 * rng.normal(size=(n, 1)) + 0.3 * np.linspace(-1, 1, n_bands)
    worth = worth + rng.normal(0, 0.1, (n, n_bands))
    own = order_by(worth + rng.normal(0, 0.5, worth.shape), np.ones(n, bool), np.arange(n_bands))
    area = area_under(additive(worth, own)[:, 0])
    return float((worth.sum(axis=1) / 2 - area).mean())


TRUTH = expected_gain(8)


def per_pair(n, bands, n_random, seed):
    names = [f"a{i}" for i in range(n)]
    return random_orders_of_pairs(names, names, bands, n_random, seed)


def shared(n, bands, n_random, seed):
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(bands) for _ in range(n_random)])
    return np.broadcast_to(orders, (n, *orders.shape))


@pytest.mark.slow
def test_the_interval_over_random_covers_the_expectation_over_all_orders():
    """Orders that all pairs share leave out the draw, and cover it in a minority of runs."""
    assert coverage(per_pair, 120) > 0.88
    assert coverage(shared, 40) < 0.6


@pytest.mark.exhaustive
def test_coverage_over_random_in_many_runs():
    assert 0.91 <= coverage(per_pair, 1000) <= 0.97


def test_the_relevance_gain_of_an_additive_game_is_known():
    """It is the difference of the areas of the reversed and of the own order; 0 at random."""
    rng = np.random.default_rng(0)
    worth = rng.normal(size=(30, 6))
    match = np.ones(30, bool)
    bands = np.arange(6)
    own = order_by(worth, match, bands)
    orders = np.stack([own, own[:, ::-1], *(per_pair(30, bands, 2, 0).swapaxes(0, 1))], axis=1)
    names = ["influence", "reversed", "random 1", "random 2"]
    errors = fl.faithfulness.deletion_errors(curves_of(worth, orders, names), n_draws=20)
    gain = errors["relevance_gain"].sel(
        model="m", side="probe", comparison="genuine", measure="similarity", estimate="value"
    )
    least_first = area_under(additive(worth, own[:, ::-1])[:, 0])
    most_first = area_under(additive(worth, own)[:, 0])
    expected = (least_first - most_first).mean()
    assert float(gain.sel(order="influence")) == pytest.approx(expected)
    assert float(gain.sel(order="reversed")) == pytest.approx(-expected)
    parts = errors["advantage"].sel(
        model="m", side="probe", comparison="genuine", measure="similarity", baseline="reversed"
    )
    both = errors["relevance_advantage"].sel(
        model="m", side="probe", comparison="genuine", measure="similarity", baseline="reversed"
    )
    assert float(both[0]) == pytest.approx(float(parts.sum("protocol")[0]))
    every = np.array(list(itertools.permutations(range(6))))
    areas = additive(np.broadcast_to(worth[0], (720, 6)), every)
    relevance = area_under(areas[:, 1]) - area_under(areas[:, 0])
    assert relevance.mean() == pytest.approx(0, abs=1e-12)


def test_by_decision_a_wrong_non_match_begins_with_the_smallest():
    """Removing what opposes the match changes the decision; by truth it would not."""
    worth = np.array([[0.5, -0.9, 0.1]])  # -0.3: a genuine pair below the threshold of 0
    bands = np.arange(3)
    match = worth.sum(axis=1) >= 0
    orders = np.stack([order_by(worth, match, bands), order_by(worth, ~match, bands)], axis=1)
    np.testing.assert_array_equal(orders[0], [[1, 2, 0], [0, 2, 1]])
    names = ["influence", "random 1"]
    errors = fl.faithfulness.deletion_errors(
        curves_of(worth, orders, names, match=match), n_draws=10
    )
    at = errors.sel(model="m", side="probe", comparison="genuine", protocol="deletion")
    changed = at["curve"].sel(measure="error", order="influence")
    np.testing.assert_array_equal(changed, [0, 1, 1, 1])  # nothing left: 0 >= 0 is a match
    assert int(errors["n_errors"].sel(comparison="genuine", model="m")) == 1
    gain = at["advantage"].sel(baseline="random")
    assert float(gain.sel(measure="error", estimate="value")) > 0
    assert float(gain.sel(measure="similarity", estimate="value")) > 0


@pytest.fixture(scope="module")
def run():
    faces, model = make_faces(10, 2), fl.testing.model()
    result = fl.influence(
        faces, fl.make_pairs(faces, seed=0), models=[model], bands="rings:14", progress=False
    )
    return result.load(), model


def test_orders_by_decision_are_those_by_truth_where_the_decision_is_right(run):
    result, model = run
    options = {"fmr": 0.1, "n_random": 1, "progress": False}
    truth, decision = (
        fl.faithfulness.deletion_curves(result, [model], by=by, **options)
        for by in ("truth", "decision")
    )
    matched = result["similarity"].sel(model="linear") >= float(truth["threshold"][0])
    np.testing.assert_array_equal(decision["match"].sel(model="linear"), matched)
    right = matched.to_numpy() == result["genuine"].to_numpy()
    assert right.sum() > 0
    for name in ("similarity", "same_order"):
        np.testing.assert_array_equal(decision[name][:, right], truth[name][:, right])
    wrong = truth["similarity"].sel(order="influence", model="linear")[~right]
    other = decision["similarity"].sel(order="influence", model="linear")[~right]
    # the reversed order removes what insertion has not yet restored
    np.testing.assert_allclose(
        other.sel(protocol="deletion"), wrong.sel(protocol="insertion")[..., ::-1], atol=1e-9
    )
    assert decision.attrs["by"] == "decision"


def test_the_best_order_known_is_no_worse_than_any_other(run):
    result, model = run
    masked = result.sel(side=["probe"])
    views = {
        "Shapley": fl.faithfulness.shapley(masked, [model], most_permutations=4, progress=False),
        "keep one": fl.faithfulness.keep_one(masked, [model], progress=False),
        "per contrast removed": fl.faithfulness.per_contrast(masked),
    }
    curves = fl.faithfulness.deletion_curves(
        masked, [model], explanations={name: one["influence"] for name, one in views.items()},
        beam=2, fmr=0.1, n_random=2, progress=False,
    )  # fmt: skip
    assert curves["order"].to_numpy().tolist()[-1] == "best known"
    areas = area_under(curves["similarity"].sel(model="linear", side="probe").to_numpy())
    sign = np.where(curves["genuine"], 1, -1)[:, None, None] * np.array([1, -1])[:, None]
    signed = sign * areas
    assert (signed[..., -1:] <= signed + 1e-12).all()
    errors = fl.faithfulness.deletion_errors(curves, n_draws=50)
    reached = errors["reached"].sel(model="linear", side="probe", estimate="value")
    np.testing.assert_allclose(reached.sel(order="best known"), 1)
    assert (reached.drop_sel(order="best known") <= 1 + 1e-12).all()
    table = fl.faithfulness.order_table(errors, model="linear")
    assert table.loc["genuine"].index[0] == "best known"
    text = fl.faithfulness.describe_orders(errors, model="linear")
    assert "too few to compare the orders" in text


def test_a_view_is_a_result_in_the_form_of_influence(run):
    """Of a linear game (the dot product), Shapley value, keep-one and influence are the same."""
    result, model = run
    masked = result.sel(side=["probe"])
    values = fl.faithfulness.shapley(masked, [model], most_permutations=8, progress=False)
    assert values["influence"].dims == masked["influence"].dims
    assert values["influence"].attrs["units"] == masked["influence"].attrs["units"]
    nothing = fl.faithfulness.deletion_curves(masked, [model], fmr=0.1, progress=False)
    ends = nothing["similarity"].sel(protocol="deletion", order="influence", side="probe")
    gap = (ends[..., 0] - ends[..., -1]).sel(model="linear")
    total = values["influence"].sel(model="linear", side="probe").sum("band")
    np.testing.assert_allclose(total, gap, atol=1e-6)
    views = fl.faithfulness.band_views(
        masked, [model], fmr=0.1, most_permutations=8, tolerance=0, n_draws=10, progress=False
    )
    for name, view in (
        ("Shapley", fl.faithfulness.shapley(
            masked, [model], most_permutations=8, tolerance=0, progress=False)),
        ("keep one", fl.faithfulness.keep_one(masked, [model], progress=False)),
        ("filled by swap", fl.faithfulness.filled(masked, [model], progress=False)),
    ):  # fmt: skip
        np.testing.assert_allclose(
            view["influence"].sel(model="linear", side="probe"),
            views["value"].sel(model="linear", view=name), atol=1e-6,
        )  # fmt: skip
        profile = fl.results.mean_profile(view, n_draws=10)
        assert fl.plots.profile_plot(profile, model="linear").get_lines()
    ratio = fl.faithfulness.per_contrast(masked)["influence"]
    np.testing.assert_allclose(ratio, masked["influence"] / masked["removed_rms"], rtol=1e-6)
    for refused in (
        lambda: fl.faithfulness.deletion_curves(values, [model]),
        lambda: fl.faithfulness.keep_one(values, [model]),
        lambda: fl.faithfulness.per_contrast(values),
    ):
        with pytest.raises(ParameterError, match="result holds the view 'Shapley'"):
            refused()


def test_explanations_that_do_not_fit_are_refused(run):
    result, model = run
    one = result["influence"].sel(model="linear", side="probe", drop=True)

    def curves(**explanations):
        return fl.faithfulness.deletion_curves(
            result, [model], explanations=explanations, fmr=0.1, n_random=1, progress=False
        )

    with pytest.raises(ParameterError, match="'x' has axes pair; they must be pair and band"):
        curves(x=one.isel(band=0))
    with pytest.raises(ParameterError, match="'x' is of another pair axis than the result"):
        curves(x=one.isel(pair=slice(3)))
    with pytest.raises(ParameterError, match="'influence' is the name of another order"):
        curves(influence=one)
    with pytest.raises(ParameterError, match="'x' has no value in any band of some pairs"):
        curves(x=one * np.nan)
    same = curves(x=one)["same_order"].sel(order="x", side="probe")
    assert same.all()
    with pytest.raises(UnknownNameError, match="by 'errors'; allowed: truth, decision"):
        fl.faithfulness.deletion_curves(result, [model], by="errors")
    with pytest.raises(ParameterError, match="beam=0 must be"):
        fl.faithfulness.deletion_curves(result, [model], beam=0)
    with pytest.raises(ParameterError, match="by='decision' needs the threshold"):
        fl.faithfulness.deletion_curves(result, [model], by="decision", fmr=1e-6, progress=False)


def test_baselines_that_coincide_are_marked(run):
    result, model = run
    falling = result.copy()
    falling["removed_rms"] = result["removed_rms"] * 0 + xr.DataArray(
        np.arange(result.sizes["band"], 0, -1.0), dims="band"
    )
    curves = fl.faithfulness.deletion_curves(falling, [model], fmr=0.1, progress=False)
    errors = fl.faithfulness.deletion_errors(curves, n_draws=20)
    share = errors["coincides"].sel(order="amplitude", other="low first")
    assert (share == 1).all()
    assert (errors["coincides"].sel(order="low first", other="high first") == 0).all()
    text = fl.faithfulness.describe_coinciding(errors, model="linear")
    assert text == (
        "Baselines that coincide are one comparison, not two: the order of amplitude is that of "
        "low first in 100.0\u00a0% of genuine pairs and 100.0\u00a0% of impostor pairs."
    )
    other = errors.copy()
    other["coincides"] = errors["coincides"] * 0.5
    assert fl.faithfulness.describe_coinciding(other, model="linear") == ""


def test_a_better_view_is_stated_first_and_offered(run):
    """The verdict follows the interval of the paired difference."""
    result, model = run
    masked = result.sel(side=["probe"])
    worse = masked["influence"].sel(model="linear", side="probe", drop=True)
    curves = fl.faithfulness.deletion_curves(
        masked, [model], explanations={"Shapley": worse, "mine": -worse}, beam=1, fmr=0.1,
        progress=False,
    )  # fmt: skip
    errors = fl.faithfulness.deletion_errors(curves, n_draws=50).assign_attrs(n_people=30)
    text = fl.faithfulness.describe_orders(errors, model="linear")
    assert text.endswith("no other view of the bands has a better order.")
    errors["relevance_advantage"].loc[{"baseline": "Shapley"}] = np.array([-0.2, -0.3, -0.1])
    text = fl.faithfulness.describe_orders(errors, model="linear")
    assert "2 of 4 orders of other views are better than that of influence: Shapley for" in text
    assert "Shapley for genuine pairs (+0.200 [+0.100,\u00a0+0.300])" in text
    assert "`fl.faithfulness.shapley(result, models)` returns it in the form of influence" in text
    errors["relevance_advantage"].loc[{"baseline": "Shapley"}] = np.array([-0.2, -0.3, 0.1])
    assert "no other view" in fl.faithfulness.describe_orders(errors, model="linear")

"""Which pairs are looked at, and in which order: against loops over the pairs."""

import numpy as np
import pytest

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.results.selection import (
    column_values,
    decision_text,
    default_fmr,
    flips_decision,
    ordered_pairs,
    pair_columns,
)

PART = {"model": "mobilefacenet", "side": "probe"}


@pytest.fixture
def decided(demo):
    """The demo with a threshold at FMR 1e-1, which its 12 faces are too few to resolve."""
    result = demo.load().copy(deep=True)
    rates = result["fmr"].to_numpy()
    result["threshold"].loc[{"fmr": rates[np.isclose(rates, 1e-1)]}] = 0.5
    return result


def numbers_of(result, fmr):
    threshold = fl.results.threshold_of(result, model="mobilefacenet", fmr=fmr)
    data = result.sel(PART)
    for pair in result["pair"].to_numpy():
        one = data.sel(pair=pair)
        yield int(pair), float(one["similarity"]), one["influence"].to_numpy(), threshold


def test_pairs_as_in_the_result(demo):
    assert ordered_pairs(demo, **PART).tolist() == demo["pair"].to_numpy().tolist()


def test_largest_influence_first(demo):
    found = ordered_pairs(demo, **PART, order="influence").tolist()
    largest = {p: np.nanmax(np.abs(i)) for p, _, i, _ in numbers_of(demo, 1e-1)}
    assert sorted(found) == sorted(largest)
    assert [largest[p] for p in found] == sorted(largest.values(), reverse=True)


def test_nearest_to_the_threshold_first(decided):
    found = ordered_pairs(decided, **PART, order="threshold", fmr=1e-1).tolist()
    away = {p: abs(s - t) for p, s, _, t in numbers_of(decided, 1e-1)}
    assert [away[p] for p in found] == sorted(away.values())
    assert len(found) == decided.sizes["pair"]


def test_flipped_are_those_whose_decision_one_band_changes(decided):
    expected = {
        p
        for p, s, influence, t in numbers_of(decided, 1e-1)
        if any((s - one >= t) != (s >= t) for one in influence if np.isfinite(one))
    }
    assert expected  # or the test shows nothing
    assert set(ordered_pairs(decided, **PART, order="flipped", fmr=1e-1).tolist()) == expected


def test_wrong_are_false_matches_and_false_non_matches(decided):
    result = decided.copy(deep=True)
    result["genuine"] = ("pair", ~result["genuine"].to_numpy())
    right = ordered_pairs(decided, **PART, order="wrong", fmr=1e-1)
    wrong = ordered_pairs(result, **PART, order="wrong", fmr=1e-1)
    assert sorted([*right, *wrong]) == decided["pair"].to_numpy().tolist()
    assert len(wrong) > len(right)


def test_where_a_threshold_is_not_resolved_no_pair_is_near_it(demo):
    for order in ("threshold", "flipped", "wrong"):
        assert len(ordered_pairs(demo, **PART, order=order, fmr=1e-6)) == 0


def test_pairs_by_subject_and_by_column(demo):
    of_s1 = ordered_pairs(demo, **PART, where={"subject": "s1"})
    either = (demo["probe_subject"] == "s1") | (demo["reference_subject"] == "s1")
    assert of_s1.tolist() == demo["pair"].to_numpy()[either.to_numpy()].tolist()
    genuine = ordered_pairs(demo, **PART, where={"subject": "s1", "comparison": "genuine"})
    assert set(genuine) < set(of_s1)
    assert demo["genuine"].sel(pair=genuine).all()


def test_columns_that_pairs_are_chosen_by(demo):
    marked = demo.assign_coords(age=("pair", np.arange(demo.sizes["pair"]) / 2))
    assert {"comparison", "subject", "age", "probe"} <= set(pair_columns(marked))
    assert column_values(marked, "comparison") == ["genuine", "impostor"]
    assert ordered_pairs(marked, **PART, where={"age": 0.5}).tolist() == [1]
    assert ordered_pairs(marked, **PART, where={"age": "0.5"}).tolist() == [1]


def test_unknown_orders_columns_and_models_are_named(demo):
    with pytest.raises(UnknownNameError, match="order 'worst'; allowed: index, influence"):
        ordered_pairs(demo, **PART, order="worst")
    with pytest.raises(UnknownNameError, match="column 'glasses'"):
        ordered_pairs(demo, **PART, where={"glasses": "yes"})
    with pytest.raises(UnknownNameError, match="model 'dlib'"):
        ordered_pairs(demo, model="dlib")
    with pytest.raises(ParameterError, match="fmr=0.5"):
        ordered_pairs(demo, **PART, order="threshold", fmr=0.5)


def test_the_rate_to_decide_at_is_one_that_the_faces_resolve(demo):
    # 12 faces of 4 people give 54 impostor comparisons, and FMR 1e-1 takes 100
    assert default_fmr(demo, model="mobilefacenet") == 1e-3
    result = demo.load().copy(deep=True)
    rates = result["fmr"].to_numpy()
    result["threshold"].loc[{"fmr": rates[np.isclose(rates, 1e-2)]}] = 0.3
    assert default_fmr(result, model="mobilefacenet") == pytest.approx(1e-2)


def test_decisions_in_words():
    assert decision_text(0.3, 0.3) == "match"
    assert decision_text(0.299, 0.3) == "no match"
    assert decision_text(0.3, np.nan) == decision_text(np.nan, 0.3) == "not decided"


def test_a_decision_flips_where_the_rest_falls_on_the_other_side():
    similarity = np.array([0.5, 0.3, 0.4, np.nan])
    influence = np.array([[0.2, 0.05, np.nan], [-0.2, -0.05, 0.3], [0.0, 1e-9, -1], [1, 1, 1]])
    found = flips_decision(similarity, influence, 0.4)
    for i, j in np.ndindex(influence.shape):
        decided = np.isfinite([similarity[i], influence[i, j]]).all()
        before = decision_text(similarity[i], 0.4)
        after = decision_text(similarity[i] - influence[i, j], 0.4)
        assert found[i, j] == (decided and before != after), (i, j)
    assert not flips_decision(similarity, influence, np.nan).any()
    assert flips_decision(0.5, influence[0], 0.4).tolist() == [True, False, False]

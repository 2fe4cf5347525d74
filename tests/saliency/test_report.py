"""Advantages of explanations in tables and sentences, on curves whose truth is known."""

import re

import numpy as np
import pytest
import xarray as xr
from conftest import make_faces

import freqlab as fl
from freqlab.errors import ParameterError
from freqlab.saliency import making

NAN = float("nan")
COSTS = {"in bands": (15, 0.1), "in pixels": (300, 2.0), "other pixels": (300, 2.0)}


def curves_of(names, middle, people=30, baselines=("amplitude", "prior"), spread=0.05, seed=0):
    """Curves with three steps: similarity 1, `middle` by order, 0; genuine and impostor pairs.

    The advantage of an order in deletion of genuine pairs is half of the amount by which its
    middle lies below that of the baseline.
    """
    rng = np.random.default_rng(seed)
    orders = [*names, *baselines, "random 1", "random 2"]
    subject = np.array([f"p{i}" for i in range(people)], object)
    pairs = fl.testing.result(
        np.zeros((1, 2 * people, 1, 1)),
        probe_subject=np.concatenate([subject, subject]),
        reference_subject=np.concatenate([subject, np.roll(subject, 1)]),
    )
    genuine = pairs["genuine"].to_numpy()
    values = np.zeros((2 * people, 2, len(orders), 3))
    values[:, 0, :, 0] = values[:, 1, :, 2] = 1
    height = np.array([middle.get(name, 0.5) for name in orders])
    height = np.where(genuine[:, None], height, 1 - height)
    for protocol, turned in enumerate((height, 1 - height)):
        values[:, protocol, :, 1] = turned + rng.normal(0, spread, turned.shape)
    return xr.Dataset(
        {
            "similarity": (
                ("model", "pair", "side", "protocol", "order", "step"),
                values[None, :, None],
            ),
            "share": (("model", "step"), [[0, 0.5, 1]]),
            "same_order": (
                ("model", "pair", "side", "order"),
                np.zeros((1, 2 * people, 1, len(orders)), bool),
            ),
            "threshold": ("model", [0.5]),
        },
        coords={
            "model": ["m"],
            "side": ["probe"],
            "protocol": ["deletion", "insertion"],
            "order": orders,
            **{name: pairs[name] for name in ("pair", "genuine", "probe_subject")},
            "reference_subject": pairs["reference_subject"],
        },
        attrs={"fmr": 0.1},
    )


def compared_of(middle, people=30, unreliable=None, spread=0.05):
    """A comparison of an explanation of bands and two of pixels."""
    curves = {
        "bands": curves_of(["in bands"], middle, people, spread=spread),
        "space": curves_of(["in pixels", "other pixels"], middle, people, spread=spread, seed=1),
    }
    return fl.saliency.compare_explanations(curves, COSTS, unreliable=unreliable, n_draws=200)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of six people, whose maps by random masks are not reliable."""
    store = tmp_path_factory.mktemp("study") / "run.zarr"
    return make_study(store)


def make_study(store):
    return fl.saliency.study(
        make_faces(6, 3), model=fl.testing.model(), store=store,
        bands="rings:28", n_pairs=12, n_explained=4, n_joint=1, n_masks_space=20, n_masks_plane=20,
        steps=1, grid=2, deletion_steps=2, attacks=["FGSM:2"], folds=2, n_draws=20, fmr=0.1,
        progress=False,
    )  # fmt: skip


def test_differences_are_those_of_deletion_and_insertion():
    """The other explanation as a baseline gives the same difference and the same interval."""
    middle = {"a": 0.3, "b": 0.4}
    curves = curves_of(["a", "b"], middle)
    compared = fl.saliency.compare_explanations(
        {"space": curves}, {"a": (1, 1), "b": (1, 1)}, n_draws=100
    )
    order = ["a", "b", "random 1", "random 2"]
    expected = fl.faithfulness.deletion_errors(curves.sel(order=order), n_draws=100)
    expected = expected["advantage"].sel(baseline="b").squeeze(["model", "side"], drop=True)
    found = compared["difference"].sel(explanation="a", other="b")
    np.testing.assert_allclose(found.transpose(*expected.dims), expected, atol=1e-12)
    np.testing.assert_allclose(
        compared["difference"].sel(estimate="value"),
        -compared["difference"].sel(estimate="value").transpose(
            "comparison", "other", "explanation", "protocol", "measure"
        ),
    )  # fmt: skip


def test_people_are_counted_by_kind_of_pairs():
    curves = curves_of(["a"], {}, people=5)
    similarity = curves["similarity"].values
    similarity[0, 0] = similarity[0, 7:] = NAN
    compared = fl.saliency.compare_explanations({"space": curves}, {"a": (1, 1)}, n_draws=5)
    assert compared["n_pairs"].values.tolist() == [4, 2]
    assert compared["n_people"].values.tolist() == [4, 3]


def test_an_advantage_is_stated_with_its_interval():
    text = fl.saliency.describe_explanations(compared_of({"in bands": 0.2, "other pixels": 0.8}))
    assert "30 genuine pairs of 30 people" in text
    above, below = re.search(
        r"it lies above zero for (.+?) and below zero for (.+?)\.$", text.split(" Adv")[0]
    ).groups()
    number = r"0\.1\d\d"
    assert re.fullmatch(rf"in bands \(\+{number} \[\+{number},\xa0\+{number}\]\)", above)
    assert re.fullmatch(rf"other pixels \(-{number} \[-{number},\xa0-{number}\]\)", below)
    assert "for 1 of 3 explanations" in text
    assert "above zero in 2 and below zero in 0 of 2 comparisons (0.1 expected by chance)" in text
    assert "the largest is in bands (15 forward passes per pair) minus other pixels (300" in text


def test_without_an_effect_nothing_is_ranked():
    text = fl.saliency.describe_explanations(compared_of({}, people=60))
    assert text.count("it lies above zero for none") == 2
    assert "above zero in 0 and below zero in 0 of 2 comparisons" in text
    assert "largest" not in text


@pytest.mark.parametrize(("people", "compares"), [(19, False), (20, True)])
def test_fewer_than_twenty_people_are_not_compared(people, compares):
    text = fl.saliency.describe_explanations(compared_of({"in bands": 0.1}, people=people))
    assert ("interval" in text) == compares
    few = (
        "19 genuine pairs of 19 people and 19 impostor pairs of 19 people: too few to compare "
        "explanations; a comparison needs at least 20 people."
    )
    assert (text == few) != compares


def test_unreliable_explanations_are_named_and_not_ranked():
    middle = {"in bands": 0.2, "other pixels": 0.2}
    compared = compared_of(middle, unreliable={"in bands": 3, "in pixels": 60})
    text = fl.saliency.describe_explanations(compared)
    compares, named = text.split(" Not ranked, because maps missed the requested reliability: ")
    assert named == "in bands (3 of 60) and in pixels (60 of 60)."
    assert "in bands" not in compares
    assert "in frequency" not in compares
    assert "for 1 of 1 explanations" in compares
    table = fl.saliency.cost_table(compared)
    assert table["unreliable maps"].tolist() == ["3 of 60", "60 of 60", ""]
    every = compared_of(middle, unreliable=dict.fromkeys(COSTS, 1))
    assert "so none is ranked" in fl.saliency.describe_explanations(every)


def test_bounds_without_spread_are_not_shown():
    """All draws that contain both people of an impostor pair have the same mean."""
    compared = compared_of({"in bands": 0.12}, people=2)
    lower, upper = (
        compared["advantage"].sel(estimate=bound, comparison="impostor", measure="similarity")
        for bound in ("lower", "upper")
    )
    np.testing.assert_allclose(lower, upper)
    table = fl.saliency.explanation_table(compared, comparison="impostor")
    for column in ("over random", "over amplitude"):
        for text in table["deletion", column]:
            assert re.fullmatch(r"[+-]0\.\d\d", text)
    same = compared_of({"in bands": 0.1, "other pixels": 0.1}, spread=0)
    text = fl.saliency.describe_explanations(same)
    assert "[" not in text
    assert text.count("it lies above zero for none.") == 2  # coinciding bounds are no interval


def test_a_narrow_interval_is_shown_with_more_decimals():
    compared = compared_of({"in bands": 0.12}, spread=0.002)
    table = fl.saliency.explanation_table(compared)
    text = table["deletion", "over amplitude"]["in bands"]
    lower, upper = re.fullmatch(r"\+0\.1\d{2,3} \[(\S+),\xa0(\S+)\]", text).groups()
    assert 0.185 < float(lower) < float(upper) < 0.195


@pytest.mark.slow
def test_a_summary_has_five_to_eight_sentences_with_numbers(study):
    found = fl.saliency.summary(study)
    assert len(found) == 6
    assert re.match(
        r"2 genuine pairs of [12] (person|people) and 2 impostor pairs of [34] people: too few",
        found[0],
    )
    assert found[1].startswith("Maps that missed the requested reliability of 0.9: 4 of 4 by Corr")
    assert re.search(
        r"of 4 pairs of \d people \(too few for intervals\): FreqRISE [+-]0\.\d\d, with 4 of 4",
        found[2],
    )
    assert "[" not in found[2]
    assert "of the symmetric relevance gain of the best order known" in found[3]
    assert "too few to compare the orders" in found[3]
    maps = study["maps/integrated"].to_dataset()
    total = maps["by_band"].sum(["argument", "band"])
    np.testing.assert_allclose(maps["residual"], total - maps["difference"], atol=1e-5)
    assert f"the mean absolute residual is {np.abs(maps['residual']).mean():.3f}" in found[4]
    assert found[5].startswith("Detection of attacked faces was tested on ")
    assert "of 6 people: too few to compare detectors" in found[5]
    many = study.copy()
    many["explanations"] = xr.DataTree(compared_of({"in bands": 0.2}))
    attacks = many["attacks"].to_dataset()
    many["attacks"] = xr.DataTree(attacks.assign(n_people=20))
    found = fl.saliency.summary(many)
    assert found[-1].startswith("Detection of FGSM 2, which turns ")
    assert len(found) == 8
    for sentence in found:
        assert re.search(r"\d", sentence)
        assert sentence.endswith(".")
        assert ". " not in sentence


def test_a_study_is_opened_again_and_says_what_it_explains(study):
    again = make_study(study.attrs["store"])
    assert again.attrs["was_kept"] == 1
    assert again.attrs["forward_passes"] == 0
    assert set(again["maps"].children) == {
        "corrrise", "freqrise", "gradient", "integrated", "joint",
    }  # fmt: skip
    text = fl.saliency.describe_study(again)
    assert text.startswith("linear: 6 genuine and 6 impostor pairs, of which 4 are explained")
    reached = again.copy()
    for node in ("corrrise", "freqrise"):
        maps = again[f"maps/{node}"].to_dataset()
        reached[f"maps/{node}"] = xr.DataTree(maps.assign(converged=maps["n_masks"] > 0))
    assert fl.saliency.describe_reliability(reached) == (
        "All 4 maps by CorrRISE and FreqRISE reached the requested reliability of 0.9."
    )


def test_wrong_arguments_are_named(tmp_path):
    curves = curves_of(["a"], {})
    with pytest.raises(ParameterError, match="at least one domain"):
        fl.saliency.compare_explanations({}, {})
    with pytest.raises(ParameterError, match="lacks explanation 'a'"):
        fl.saliency.compare_explanations({"space": curves}, {})
    some = {"space": curves, "bands": curves.isel(pair=slice(3))}
    with pytest.raises(ParameterError, match="'bands' is of other pairs than 'space'"):
        fl.saliency.compare_explanations(some, {"a": (1, 1)})


def test_tables_of_advantages_are_of_twenty_people_or_more():
    tables = fl.saliency.explanation_tables(compared_of({"in bands": 0.2}, people=20))
    assert len(tables) == 4
    assert "curve of the error rate, 20 impostor pairs of 20 people" in list(tables)[3]
    assert fl.saliency.explanation_tables(compared_of({"in bands": 0.2}, people=19)) == {}
    few = fl.saliency.explanation_table(compared_of({"in bands": 0.2}, people=19))
    assert not few.map(lambda text: "[" in text).any(axis=None)


def test_explained_pairs_are_of_many_people(tmp_path):
    """One genuine pair per person, although most pairs are of the first two people."""
    subjects = np.array(["a"] * 5 + ["b"] * 5 + ["c", "d"], object)
    result = fl.testing.result(
        np.zeros((1, 24, 1, 1)),
        probe_subject=np.concatenate([subjects, subjects]),
        reference_subject=np.concatenate([subjects, np.roll(subjects, 5)]),
    )
    drawn = making._to_explain(result, 8, seed=0)
    genuine = drawn.isel(pair=drawn["genuine"].to_numpy())
    assert sorted(genuine["probe_subject"].values.tolist()) == ["a", "b", "c", "d"]
    assert drawn.sizes["pair"] == 8
    every = making._to_explain(result, 100, seed=0)
    assert every["pair"].values.tolist() == result["pair"].values.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attacks": ["PGD"]}, "'PGD' must be a kind and a strength"),
        ({"attacks": ["FGMS:2"]}, "unknown attack 'FGMS'"),
        ({"attacks": ["PGD:0.5"]}, "strength=0.5"),
        ({"attacks": []}, "at least one attack"),
        ({"side": "both"}, "unknown side 'both'"),
        ({"n_pairs": 30}, "n_explained=40 must not exceed n_pairs=30"),
        ({"n_explained": 2}, "n_joint=3 must not exceed n_explained=2"),
        ({"n_joint": 0}, "n_joint=0"),
        ({"steps": 0}, "steps=0"),
        ({"grid": 0}, "grid=0"),
        ({"grid": 113}, "grid=113 must not exceed .* 112 pixels"),
        ({"deletion_steps": 1}, "deletion_steps=1"),
        ({"n_masks_plane": 2}, "n_masks_plane=2"),
        ({"reliability": 0}, "reliability=0"),
        ({"reliability": 1.5}, "reliability=1.5"),
        ({"folds": 1}, "folds=1"),
        ({"n_draws": 0}, "n_draws=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_arguments_of_a_study_are_checked_before_anything_is_computed(arguments, message, tmp_path):
    store = tmp_path / "run.zarr"
    faces, model = make_faces(), fl.testing.model()
    with pytest.raises(ParameterError, match=message):
        fl.saliency.study(faces, model=model, store=store, **arguments)
    assert not store.exists()


def test_more_pairs_than_listed_cannot_be_explained(tmp_path):
    faces = make_faces()
    pairs = fl.make_pairs(faces, n_pairs=12)
    with pytest.raises(ParameterError, match=r"n_explained=40 .* pairs of the list, 12"):
        fl.saliency.study(faces, pairs, model=fl.testing.model(), store=tmp_path / "run.zarr")

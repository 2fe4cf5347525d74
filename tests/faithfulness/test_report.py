"""What is said of the tests of an explanation, and the card that is kept."""

import json

import numpy as np
import pytest
from conftest import Deep, make_faces

import freqlab as fl
from freqlab.errors import ParameterError, StoreError, UnknownNameError
from freqlab.faithfulness import card_contents


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    faces = make_faces(8, 2)
    models = [fl.wrap_model(Deep(), name="deep"), fl.wrap_model(Deep(1), name="other/deep")]
    store = str(tmp_path_factory.mktemp("card") / "run.zarr")
    result = fl.influence(
        faces, fl.make_pairs(faces, seed=0), models=models, bands="rings:14", sides=["probe"],
        store=store, progress=False,
    )  # fmt: skip
    curves = fl.faithfulness.deletion_curves(result, models, fmr=1e-1, n_random=2, progress=False)
    few = {"n_draws": 30, "progress": False}
    return {
        "store": store,
        "errors": fl.faithfulness.deletion_errors(curves, n_draws=30),
        "views": fl.faithfulness.band_views(result, models, fmr=1e-1, most_permutations=8, **few),
        "checks": fl.faithfulness.sanity_checks(result, models, depths=[0, 1], **few),
        "planted": fl.faithfulness.planted_bands(
            np.stack(faces.images), fl.rings(14), contrasts=[8]
        ),
        "stability": fl.faithfulness.profile_stability(result, models, **few),
        "figures": fl.faithfulness.explanation_figures(result, n_draws=30),
    }


def card_of(tested, model):
    parts = {name: value for name, value in tested.items() if name != "store"}
    return fl.faithfulness.trust_card(**parts, model=model)


@pytest.mark.slow
def test_a_card_is_plain_json_and_holds_what_was_measured(tested):
    card = card_of(tested, "deep")
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    rows = {row["test"]: row for row in card["rows"]}
    area = tested["errors"]["area"].sel(
        model="deep", side="probe", protocol="deletion", comparison="genuine", order="influence",
        measure="error",
    )  # fmt: skip
    figures = rows["deletion, genuine pairs: area under FNMR"]["figures"]
    np.testing.assert_allclose(list(figures.values()), area, atol=1e-6)
    kept = tested["stability"]["correlation"].sel(model="deep", perturbation="one-pixel shift")
    assert rows["stability: one-pixel shift"]["figures"]["value"] == pytest.approx(
        float(kept.sel(estimate="value")), abs=1e-6
    )
    assert "agreement of models: deep and other/deep" in rows
    assert card["pairs"] == {"genuine": 8, "impostor": 8}


def test_a_card_is_kept_with_its_run(tested, tmp_path):
    store = tested["store"]
    untested = fl.faithfulness.trust_table(store, models=["deep"])
    assert untested.index.to_list() == [("deep", "not tested yet")]
    assert fl.faithfulness.trust_table(store).index.to_list() == [("any model", "not tested yet")]
    for name in ("deep", "other/deep"):
        fl.faithfulness.save_trust_card(store, card_of(tested, name))
        fl.faithfulness.save_trust_card(store, card_of(tested, name))
    table = fl.faithfulness.trust_table(store)
    assert set(table.index.get_level_values("model")) == {"deep", "other/deep"}
    one = fl.faithfulness.trust_table(store, models=["other/deep"])
    assert set(one.index.get_level_values("model")) == {"other/deep"}
    card = card_of(tested, "other/deep")
    assert len(one) == 1 + len(card["rows"])
    assert one.loc[("other/deep", card["rows"][0]["test"]), "found"] == card["rows"][0]["found"]
    assert "trust" in fl.open_run(store).children
    assert "deep" in fl.open_run(store)["trust"].children
    with pytest.raises(
        ParameterError, match="card must be a trust card from fl.faithfulness.trust_card"
    ):
        fl.faithfulness.save_trust_card(store, {"a": 1})
    with pytest.raises(StoreError, match="no such folder"):
        fl.faithfulness.trust_table(tmp_path / "nowhere")


def test_a_compact_card_has_a_row_per_property_and_a_column_per_model(tested, tmp_path):
    store = tested["store"]
    cards = {name: card_of(tested, name) for name in ("deep", "other/deep")}
    for card in cards.values():
        fl.faithfulness.save_trust_card(store, card)
    table = fl.faithfulness.compact_trust_table(store)
    assert table.columns.to_list() == list(cards)
    assert len(table) == 1 + len(cards["deep"]["properties"]) <= 20
    assert "8 genuine and 8 impostor pairs, 8 people" in table.loc["tested on", "deep"]
    for name, card in cards.items():
        for row in card["properties"]:
            cell = table.loc[row["property"], name]
            assert cell[0] in "\N{CHECK MARK}\N{BALLOT X}\N{EN DASH}"
            assert cell[2:].startswith(row["verdict"])
            assert row["text"] in cell
    amplitude = "deletion, genuine pairs: advantage over amplitude"
    assert "not tested: fewer than 20 people" in table.loc[amplitude, "deep"]
    table = fl.faithfulness.compact_trust_table(store, models=["deep", "third"])
    assert (table["third"] == "\N{EN DASH} not tested").all()
    table = fl.faithfulness.compact_trust_table(store, models=["third"])
    assert table.shape == (1, 1)
    earlier = {name: value for name, value in cards["deep"].items() if name != "properties"}
    fl.faithfulness.save_trust_card(store, earlier)
    table = fl.faithfulness.compact_trust_table(store)
    assert "card of an earlier version" in table.loc[amplitude, "deep"]


def test_a_card_of_many_people_compares_with_amplitude(tested):
    many = {**tested, "errors": tested["errors"].assign_attrs(n_people=20).copy(deep=True)}
    many["errors"]["advantage"][...] = np.array([0.2, 0.1, 0.3])
    row = card_of(many, "deep")["properties"][0]
    assert row["property"] == "deletion, genuine pairs: advantage over amplitude"
    assert (row["verdict"], row["text"]) == ("passed", "+0.200 [+0.100,\u00a0+0.300]")
    many["errors"]["curve"][...] = 0.3
    row = card_of(many, "deep")["properties"][0]
    assert (row["verdict"], row["text"]) == ("not tested", "the same errors in all orders")
    many["errors"]["curve"][...] = 0
    row = card_of(many, "deep")["properties"][0]
    assert (row["verdict"], row["text"]) == ("not tested", "no error occurs")


def test_nothing_is_compared_on_few_people(tested):
    assert tested["errors"].attrs["n_people"] == 8
    said = fl.faithfulness.describe_deletion(tested["errors"], model="deep")
    assert said == "The orders are not compared: 8 people are tested, fewer than 20."
    said = fl.faithfulness.describe_amplitude(tested["errors"], model="deep")
    assert said.startswith("Influence is not compared with amplitude: 8 people are tested")
    gain = tested["errors"]["advantage"].sel(
        model="deep", side="probe", protocol="deletion", comparison="genuine", measure="error",
        baseline="amplitude", estimate="value",
    )  # fmt: skip
    assert f"deletion, genuine pairs {float(gain):+.3f} [" in said


def test_flat_panels_are_those_in_which_orders_do_not_differ(tested):
    errors = tested["errors"].copy(deep=True)
    assert not fl.faithfulness.flat_panels(errors, measure="similarity").any()
    rng = np.random.default_rng(0)
    errors["curve"][...] = rng.random(errors["curve"].shape)
    errors["curve"].loc[{"comparison": "impostor", "measure": "error", "model": "deep"}] = 0
    insertion = {"comparison": "genuine", "protocol": "insertion", "model": "deep"}
    errors["curve"].loc[insertion] = 0.3 + 1e-12 * rng.random(errors["curve"].loc[insertion].shape)
    flat = fl.faithfulness.flat_panels(errors)
    assert flat.dims == ("model", "side", "protocol", "comparison")
    assert not flat.sel(model="other/deep").any()
    assert flat.sel(model="deep", side="probe").to_numpy().tolist() == [[False, True], [True, True]]
    said = fl.faithfulness.describe_flat_panels(errors, model="deep")
    assert said == (
        "Panels without differences are omitted: insertion, genuine pairs, probe masked (the same "
        "in all orders); deletion and insertion, impostor pairs, probe masked (zero in all orders)."
    )
    assert fl.faithfulness.describe_flat_panels(errors, model="other/deep") == ""
    with pytest.raises(UnknownNameError, match="measure 'errors'"):
        fl.faithfulness.flat_panels(errors, measure="errors")


def test_zero_rows_are_omitted_and_counted(tested):
    errors, views = tested["errors"].copy(deep=True), tested["views"]
    full = fl.faithfulness.area_table(errors, model="deep")
    assert fl.faithfulness.describe_omitted_rows(full) == ""
    errors["area"].loc[{"comparison": "impostor"}] = 0
    table = fl.faithfulness.area_table(errors, model="deep", omit_zero=True)
    assert table.equals(full.loc[["genuine"]])
    said = fl.faithfulness.describe_omitted_rows(table)
    assert said == "10 rows are omitted because all their values are zero."
    errors["area"][...] = 0
    assert len(fl.faithfulness.area_table(errors, model="deep", omit_zero=True)) == 0
    genuine = views.sel(pair=views["genuine"].to_numpy())
    full = fl.faithfulness.decision_table(genuine, model="deep")
    table = fl.faithfulness.decision_table(genuine, model="deep", omit_zero=True)
    assert len(full) == 4
    assert table.equals(full.loc[["genuine"]])
    assert "2 rows are omitted" in fl.faithfulness.describe_omitted_rows(table)


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((0.1, 0.05, 0.2), "outperforms"),
        ((-0.1, -0.2, -0.05), "is outperformed by"),
        ((0.1, -0.05, 0.2), "cannot be distinguished from"),
        ((0.0, 0.0, 0.0), "cannot be distinguished from"),
        ((0.3, np.nan, np.nan), "cannot be distinguished from"),
    ],
)
def test_a_verdict_follows_the_interval(tested, bounds, verdict):
    errors = tested["errors"].copy(deep=True)
    errors = errors.assign_attrs(n_people=20)
    errors["advantage"][...] = np.array(bounds)
    errors["curve"][...] = 0.5
    errors["curve"].loc[{"order": "influence"}] = 0.6
    said = fl.faithfulness.describe_deletion(errors, model="deep")
    assert said.count(f"{verdict} random, amplitude, low first and high first") == 4
    said = fl.faithfulness.describe_amplitude(errors, model="deep")
    assert said.count(f"pairs: {verdict} it") == 4
    assert said.startswith("**Influence outperforms the order of amplitude**") == (
        verdict == "outperforms"
    )
    errors["advantage"].loc[{"comparison": "impostor"}] = np.array([0.1, 0.05, 0.2])
    marks = {
        "outperforms": "+",
        "is outperformed by": "\N{MINUS SIGN}",
        "cannot be distinguished from": "=",
    }
    table = fl.faithfulness.verdict_table(errors, model="deep")
    assert (table.loc[("probe", "genuine")] == marks[verdict]).all(axis=None)
    assert (table.loc[("probe", "impostor")] == "+").all(axis=None)
    partly = fl.faithfulness.describe_amplitude(errors, model="deep")
    assert ("only in part" in partly) == (verdict != "outperforms")


def test_nothing_is_told_where_no_error_occurs(tested):
    errors = tested["errors"].copy(deep=True)
    errors["curve"].loc[{"comparison": "impostor", "measure": "error"}] = 0
    errors = errors.assign_attrs(n_people=20)
    said = fl.faithfulness.describe_deletion(errors, model="deep")
    assert said.count("impostor pairs: no error occurs in any order") == 2
    table = fl.faithfulness.verdict_table(errors, model="deep").xs("impostor", level="pairs")
    assert (table["errors"] == "none").all(axis=None)
    assert not (table["similarity"] == "none").any(axis=None)
    with pytest.raises(UnknownNameError, match="measure 'errors'"):
        fl.faithfulness.describe_deletion(errors, model="deep", measure="errors")


def test_tables_hold_the_figures(tested):
    errors, views = tested["errors"], tested["views"]
    table = fl.faithfulness.area_table(errors, model="deep")
    assert len(table) == 2 * 2 * 5
    value = errors["area"].sel(
        model="deep", side="probe", protocol="insertion", comparison="genuine", order="low first",
        measure="error", estimate="value",
    )  # fmt: skip
    assert table.loc[("genuine", "insertion", "low first"), "area"].startswith(
        f"{float(value):.3f}"
    )
    table = fl.faithfulness.decision_table(views, model="deep")
    counted = table.drop(columns="pairs").astype(int).sum(axis=1)
    np.testing.assert_array_equal(counted, table["pairs"].astype(int))
    size = views["flip_size"].sel(model="deep").to_numpy()[views["genuine"].to_numpy()]
    row = table.loc[("genuine", "changes the decision when removed")]
    assert int(row["1 band"]) == (size == 1).sum()
    assert (
        card_contents._strength(views["agreement"].isel(model=0, view=0, kind=0) * np.nan)
        == "not available"
    )


def test_kinds_of_pairs_without_errors_are_left_out(tested):
    errors = tested["errors"].copy(deep=True)
    part = {"model": "deep", "side": "probe", "measure": "error"}
    assert fl.faithfulness.varying_comparisons(errors, model="deep") == ["genuine", "impostor"]
    errors["curve"].loc[part | {"comparison": "impostor"}] = 0.0
    assert fl.faithfulness.varying_comparisons(errors, model="deep") == ["genuine"]
    ax = fl.plots.advantage_plot(errors, model="deep")
    drawn = [text.get_text() for text in ax.get_legend().get_texts()]
    assert drawn == ["deletion, genuine pairs", "insertion, genuine pairs"]
    errors["curve"].loc[part] = 0.0
    assert fl.faithfulness.varying_comparisons(errors, model="deep") == []
    assert fl.plots.advantage_plot(errors, model="deep").get_legend() is None


def test_equal_curves_of_orders_remain_visible(tested):
    ax = fl.plots.deletion_plot(tested["errors"], model="deep")
    lines = ax.get_lines()[:5]
    amplitude, low = lines[2], lines[3]
    assert lines[0].get_linewidth() > amplitude.get_linewidth() > low.get_linewidth()
    assert lines[0].get_zorder() < amplitude.get_zorder() < low.get_zorder()


def test_figures_show_what_they_are_given(tested):
    errors, views = tested["errors"], tested["views"]
    part = {"model": "deep", "side": "probe", "protocol": "deletion", "comparison": "genuine"}
    ax = fl.plots.deletion_plot(errors, **part)
    line = ax.get_lines()[2]
    np.testing.assert_allclose(
        line.get_ydata(), errors["curve"].sel(**part, measure="error", order="amplitude")
    )
    assert line.get_label().startswith("amplitude (area ")
    ax = fl.plots.deletion_plot(errors, **part, measure="similarity")
    assert "threshold" in ax.get_legend().get_texts()[-1].get_text()
    ax = fl.plots.accuracy_plot(errors, model="deep", protocol="insertion")
    right = errors["accuracy"].sel(model="deep", side="probe", protocol="insertion", order="random")
    np.testing.assert_allclose(ax.get_lines()[1].get_ydata(), right)
    ax = fl.plots.advantage_plot(errors, model="deep")
    gain = errors["advantage"].sel(**part, measure="error", estimate="value")
    np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), gain)
    ax = fl.plots.view_plot(views, model="deep")
    alike = views["agreement"].sel(model="deep", kind="absolute", estimate="value")
    np.testing.assert_allclose(ax.get_lines()[1].get_xdata(), alike)
    ax = fl.plots.interaction_plot(views, model="deep", comparison="impostor")
    mean = views["interaction"].sel(model="deep", pair=~views["genuine"].to_numpy()).mean("pair")
    drawn = ax.collections[0].get_array()
    np.testing.assert_allclose(drawn.filled(np.nan), mean.transpose("band", "other"))
    ax = fl.plots.randomisation_plot(tested["checks"], model="deep")
    left = tested["checks"]["randomised"].sel(model="deep", kind="directed", estimate="value")
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), left)
    ax = fl.plots.stability_plot(tested["stability"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["deep", "other/deep"]
    ax = fl.plots.planted_plot(tested["planted"])
    np.testing.assert_allclose(ax.collections[0].get_array(), 100 * tested["planted"]["accuracy"])

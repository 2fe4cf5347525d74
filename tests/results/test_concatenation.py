"""Results put together: against one run over everything, and what xarray makes by itself."""

import json

import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.errors import FreqlabError, ParameterError
from freqlab.testing import faces, influence, model

ONE, TWO = model("one"), model("two", seed=1)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Two halves of the pairs for one model, the first half for another, and all of it at once."""
    people = faces(8, 3)
    pairs = fl.make_pairs(people, seed=0)
    store = tmp_path_factory.mktemp("parts") / "run.zarr"
    first, second = pairs.iloc[:20], pairs.iloc[20:]
    return {
        "first": influence(people, first, models=[ONE], store=store),
        "second": influence(people, second, models=[ONE], store=store),
        "other": influence(people, first.iloc[::-1], models=[TWO], store=store),
        "pairs": influence(people, pairs, models=[ONE], store=store),
        "models": influence(people, first, models=[ONE, TWO], store=store),
        "store": str(store),
    }


def check_same(found, expected):
    assert found.sizes == expected.sizes
    for name in ("influence", "similarity", "removed_rms", "threshold", "impostor_comparisons"):
        axes = found[name].dims
        np.testing.assert_array_equal(found[name], expected[name].transpose(*axes), name)
    for name in ("probe", "reference", "genuine", "probe_subject", "reference_subject", "pair"):
        np.testing.assert_array_equal(found[name], expected[name], name)


def check_usable(result, name, store=True):
    """Sentences, figures, profiles and the inspector take it as they take any result."""
    part = {"pair": int(result["pair"][-1]), "model": name}
    assert "threshold" in fl.results.describe_pair(result, **part, fmr=1e-1)
    profile = fl.results.mean_profile(result, n_draws=10)
    fl.plots.profile_plot(profile, model=name)
    assert fl.results.summary(result, profile, model=name, fmr=1e-1)
    assert fl.results.pairs_to_show(result, model=name, fmr=1e-1)
    fl.plots.heat_plot(result, **part, fmr=1e-1)
    if store:
        networks = [one for one in (ONE, TWO) if one.name in result["model"].values]
        edited = fl.edits.Inspection(result, models=networks).edit(**part, bands=[0])
        recorded = result.sel(**part, side="probe")
        change = float(edited.similarity - edited.edited_similarity)
        assert change == pytest.approx(float(recorded["influence"][0]), abs=1e-5)


def test_pairs_one_after_the_other(parts):
    both = fl.concat([parts["first"], parts["second"]], "pair")
    check_same(both, parts["pairs"])
    check_usable(both, "one")
    assert both.attrs["store"] == parts["store"]
    made_of = json.loads(both.attrs["concatenated"])
    assert [one["result"] for one in made_of] == [
        parts[p].attrs["name"] for p in ("first", "second")
    ]
    assert "name" not in both.attrs
    fl.compare([both, parts["pairs"]], names=["joined", "at once"], n_draws=5)


def test_models_side_by_side(parts):
    both = fl.concat([parts["first"], parts["other"]], "model")
    check_same(both, parts["models"])
    check_usable(both, "two")
    assert (
        json.loads(both.attrs["identity"])["models"]
        == (json.loads(parts["models"].attrs["identity"])["models"])
    )


def test_runs_of_one_model_are_told_apart(parts):
    changed = parts["first"].copy(deep=True)
    changed["influence"] = changed["influence"] * 2
    changed.attrs["store"] = "elsewhere.zarr"
    runs = fl.concat([parts["first"], changed], "run", names=["before", "after"])
    assert runs["model"].values.tolist() == ["before · one", "after · one"]
    np.testing.assert_array_equal(runs["influence"][1], changed["influence"][0])
    check_usable(runs, "after · one", store=False)
    assert "store" not in runs.attrs
    unnamed = fl.concat([parts["first"], changed], "run")
    assert unnamed["model"].values.tolist() == ["synthetic 1 · one", "synthetic 2 · one"]


def test_labels_are_kept_where_they_differ(parts):
    far = parts["second"].assign_coords(pair=parts["second"]["pair"] + 100)
    assert fl.concat([parts["first"], far], "pair")["pair"].values[-1] == far["pair"].values[-1]
    same = parts["second"].assign_coords(pair=np.arange(parts["second"].sizes["pair"]))
    numbered = fl.concat([parts["first"], same], "pair")
    assert numbered["pair"].values.tolist() == list(range(numbered.sizes["pair"]))


def test_thresholds_of_different_faces_need_a_choice(parts):
    moved = parts["second"].assign(threshold=parts["second"]["threshold"] + 0.1)
    with pytest.raises(ParameterError, match="'threshold' differs .* thresholds_of="):
        fl.concat([parts["first"], moved], "pair")
    both = fl.concat([parts["first"], moved], "pair", thresholds_of=1)
    np.testing.assert_array_equal(both["threshold"], moved["threshold"])
    for place, dim in ((2, "pair"), (0, "model")):
        with pytest.raises(ParameterError, match=f"thresholds_of={place} must be"):
            fl.concat([parts["first"], moved], dim, thresholds_of=place)


def test_results_that_do_not_fit_are_refused(parts):
    first, second, other = parts["first"], parts["second"], parts["other"]
    with pytest.raises(ParameterError, match="20 pairs occur more than once, such as p0/1 and"):
        fl.concat([first, first], "pair")
    with pytest.raises(ParameterError, match="the models of result 'b' are two, those of 'a' are"):
        fl.concat([first, other], "pair", names=["a", "b"])
    with pytest.raises(
        ParameterError, match="several results have the model 'one'; pass dim='run'"
    ):
        fl.concat([first, first], "model")
    with pytest.raises(ParameterError, match="must have the same pairs .* dim='pair'"):
        fl.concat([first, second], "run")
    with pytest.raises(ParameterError, match="the bands of result 'synthetic 2' differ"):
        fl.concat([first, second.isel(band=[0, 1])], "pair")
    with pytest.raises(ParameterError, match="sides of result 'synthetic 2' are probe, those of"):
        fl.concat([first, second.sel(side=["probe"])], "pair")
    with pytest.raises(ParameterError, match="only one of the results .* has fold; drop"):
        fl.concat([first, second.assign_coords(fold=("pair", [1] * second.sizes["pair"]))], "pair")
    with pytest.raises(ParameterError, match="unknown dim 'band'; allowed: pair, model, run"):
        fl.concat([first, second], "band")
    with pytest.raises(ParameterError, match=r"names=\['a', 'a'\] must differ"):
        fl.concat([first, second], "pair", names=["a", "a"])
    retrained = second.copy()
    identity = json.loads(second.attrs["identity"])
    identity["models"]["one"]["checkpoint"] = "0" * 64
    retrained.attrs = {**second.attrs, "identity": json.dumps(identity)}
    with pytest.raises(ParameterError, match="model 'one' is not the same .*: checkpoint is .*000"):
        fl.concat([first, retrained], "pair")


@pytest.mark.parametrize("new_defaults", [False, True])
@pytest.mark.filterwarnings("ignore:In a future version of xarray")
def test_plain_concatenation_works_or_says_what_to_call(parts, new_defaults):
    first, second, other = parts["first"], parts["second"], parts["other"]
    with xr.set_options(use_new_combine_kwarg_defaults=new_defaults):
        pairs = xr.concat([first, second], "pair")
        check_same_part = fl.results.threshold_of(pairs, model="one", fmr=1e-1)
        assert check_same_part == fl.results.threshold_of(first, model="one", fmr=1e-1)
        check_usable(pairs, "one")
        models = xr.concat([first, other.isel(pair=slice(None, None, -1))], "model")
        assert fl.results.describe_pair(models, pair=0, model="two", fmr=1e-1)
        with pytest.raises(FreqlabError, match="how model 'two' was run.* with fl.concat"):
            fl.plots.heat_plot(models, pair=0, model="two", fmr=1e-1)
        runs = xr.concat([first, first], "run")
        with pytest.raises(ParameterError, match="has the axis 'run'.* fl.concat"):
            fl.results.mean_profile(runs)
        repeated = xr.concat([first, first], "pair")
        with pytest.raises(ParameterError, match="pair labels occur more than once, such as 0"):
            fl.results.describe_pair(repeated, pair=0, model="one", fmr=1e-1)


@pytest.mark.filterwarnings("ignore:In a future version of xarray")
def test_plain_concatenation_of_results_that_differ_is_refused(parts):
    first, second = parts["first"], parts["second"]
    moved = second.assign(threshold=second["threshold"] + 0.1)
    varying = xr.concat([first, moved], "pair", data_vars="all")
    with pytest.raises(ParameterError, match="'threshold' varies along 'pair'.* with fl.concat"):
        fl.results.describe_pair(varying, pair=0, model="one", fmr=1e-1)
    wider = second.assign_coords(band_bounds=second["band_bounds"] * 2)
    bands = xr.concat([first, wider], "pair", data_vars="all", coords="different", compat="equals")
    with pytest.raises(ParameterError, match="'band_bounds' varies along 'pair'"):
        fl.results.mean_profile(bands)
    shorter = second.isel(pair=slice(first.sizes["pair"])).assign_coords(model=["two"])
    shorter = shorter.assign_coords(pair=first["pair"].values)
    mixed = xr.concat(
        [first, shorter], "model", data_vars="all", coords="different", compat="equals"
    )
    with pytest.raises(ParameterError, match="varies along 'model'"):
        fl.results.mean_profile(mixed)

"""A side that was not computed is one line that says which sides were."""

import pytest

import freqlab as fl
from freqlab.errors import UnknownNameError, check_side


@pytest.fixture(scope="module")
def model():
    return fl.testing.model()


@pytest.fixture(scope="module")
def result(model):
    faces = fl.testing.faces(4, 2)
    return fl.testing.influence(faces, models=[model], sides=["probe"])


@pytest.fixture(scope="module")
def profile(result):
    return fl.results.mean_profile(result, n_draws=20)


def pair_calls(result, profile, model):
    of = {"model": model.name, "side": "reference"}
    return {
        "describe_pair": lambda: fl.results.describe_pair(result, pair=0, **of),
        "pairs_to_show": lambda: fl.results.pairs_to_show(result, fmr=0.1, **of),
        "ordered_pairs": lambda: fl.results.selection.ordered_pairs(result, **of),
        "describe_profile": lambda: fl.results.describe_profile(profile, **of),
        "profile_table": lambda: fl.results.profile_table(profile, **of),
        "heat_plot": lambda: fl.plots.heat_plot(result, pair=0, fmr=0.1, **of),
        "profile_plot": lambda: fl.plots.profile_plot(profile, **of),
        "overview_plot": lambda: fl.plots.overview_plot(result, profile, fmr=0.1, **of),
        "contrast_plot": lambda: fl.plots.contrast_plot(result, **of),
        "views": lambda: fl.faithfulness.band_views(result, [model], fmr=0.1, side="reference"),
        "sanity": lambda: fl.faithfulness.sanity_checks(result, [model], side="reference"),
        "stability": lambda: fl.faithfulness.profile_stability(result, [model], side="reference"),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("describe_pair", "pairs_to_show", "ordered_pairs", "describe_profile", "profile_table"),
        *("heat_plot", "profile_plot", "overview_plot", "contrast_plot"),
        *("views", "sanity", "stability"),
    ],
)
def test_the_message_says_which_sides_there_are(result, profile, model, name):
    with pytest.raises(UnknownNameError) as caught:
        pair_calls(result, profile, model)[name]()
    told = str(caught.value)
    assert told.startswith("side='reference' was not computed: there is 'probe'; fl.influence(")
    assert "\n" not in told


def test_several_sides_and_names_that_are_no_sides():
    assert check_side("both", ["probe", "both"]) == "both"
    with pytest.raises(UnknownNameError, match="side='both' was not computed: there are 'probe', "):
        check_side("both", ["probe", "reference"])
    with pytest.raises(UnknownNameError, match=r"unknown side 'prob'; allowed: probe\. Did you"):
        check_side("prob", ["probe"])
    with pytest.raises(UnknownNameError, match="unknown side 3"):
        check_side(3, ["probe"])


def test_groups(model):
    profiles = fl.testing.group_profiles().sel(side=["probe"])
    with pytest.raises(UnknownNameError, match="side='reference' was not computed: there is"):
        fl.plots.group_profile_plot(profiles, model=model.name, side="reference")

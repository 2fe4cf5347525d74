"""Figures of groups: what they show, and that they can be read."""

import numpy as np
import pytest

import freqlab as fl
from freqlab import plots
from freqlab.errors import ParameterError, UnknownNameError


@pytest.fixture(scope="module")
def study():
    """Profiles of three groups of four people, and errors of two models."""
    faces = fl.testing.faces(12, 3, groups={"colour": ("red", "green", "blue")})
    pairs = fl.make_pairs(faces, impostors_per_genuine=5, seed=0)
    sides = ["probe", "reference"]
    result = fl.testing.influence(faces, pairs, bands="rings:14", sides=sides)
    labels = fl.faces.group_labels(faces, "colour")
    profiles = fl.bias.profiles(result, labels, n_draws=30, n_permutations=50, baseline="red")
    store = result.attrs["store"]
    vectors = fl.open_embeddings(store, model="linear").sel(face=faces.names).to_numpy()
    errors = fl.bias.errors({"linear": vectors, "other": vectors}, faces, labels, n_draws=30)
    return profiles, errors


def has_labels(ax):
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("kind", ["directed", "absolute", "per_contrast", "energy"])
def test_profiles_have_a_line_and_a_band_for_each_group(study, kind):
    profiles, _ = study
    ax = plots.group_profile_plot(profiles, model="linear", kind=kind)
    part = profiles[kind].sel(model="linear", side="probe", comparison="genuine", estimate="value")
    drawn = [
        line.get_ydata() for line in ax.lines if len(line.get_xdata()) == profiles.sizes["band"]
    ]
    np.testing.assert_allclose(drawn, part.transpose("group", "band"))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [label.split(" (")[0] for label in labels] == [
        "colour=blue",
        "colour=green",
        "colour=red",
    ]
    assert "4 people" in labels[0]
    has_labels(ax)


def test_differences_mark_what_is_significant(study):
    profiles, _ = study
    alpha = float(profiles["p_adjusted"].min())  # so that something is
    ax = plots.group_difference_plot(
        profiles, model="linear", comparison="impostor", kind="absolute", alpha=alpha, fewest=4
    )
    part = profiles.sel(model="linear", side="probe", comparison="impostor")
    shown = {}
    for name in ("blue", "green"):
        value = part["absolute_difference"].sel(group=name, estimate="value").to_numpy()
        hit = part["p_adjusted"].sel(group=name, kind="absolute").to_numpy() <= alpha
        shown[name] = (value, value[hit])
    drawn = [line.get_ydata() for line in ax.lines][:4]
    for k, name in enumerate(("blue", "green")):
        np.testing.assert_allclose(drawn[2 * k], shown[name][0])
        np.testing.assert_allclose(drawn[2 * k + 1], shown[name][1])
    assert "difference from colour=red" in ax.get_title(loc="left")
    has_labels(ax)


def test_few_people_are_not_marked(study):
    profiles, _ = study
    given = {"model": "linear", "comparison": "impostor", "kind": "absolute", "alpha": 1.0}
    ax = plots.group_difference_plot(profiles, **given)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [f"colour={n}:\n4 people, too few to compare" for n in ("blue", "green")]
    assert [len(line.get_xdata()) for line in ax.lines][1:4:2] == [0, 0]
    for fewest, n_dots in ((5, 0), (4, 2 * profiles.sizes["band"])):
        ax = plots.group_heat_plot(profiles, fewest=fewest, **given)
        assert len(ax.lines[0].get_xdata()) == n_dots


def test_some_rates_can_be_chosen(study):
    _, errors = study
    axes = plots.group_error_plot(errors, fmr=1e-1, rates=["false_match_rate"])
    assert list(axes) == ["false_match_rate"]
    names = [text.get_text() for text in axes["false_match_rate"].get_yticklabels()]
    assert names[:2] == ["all", "colour=blue (4 people)"]
    with pytest.raises(UnknownNameError, match="unknown rates 'fmr'"):
        plots.group_error_plot(errors, fmr=1e-1, rates=["fmr"])


def test_the_heat_map_leaves_the_baseline_out(study):
    profiles, _ = study
    ax = plots.group_heat_plot(profiles, model="linear", side="reference")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["colour=blue", "colour=green"]
    shown = np.ma.filled(ax.collections[0].get_array(), np.nan)
    part = profiles["directed_difference"].sel(
        model="linear",
        side="reference",
        comparison="genuine",
        estimate="value",
        group=["blue", "green"],
    )
    np.testing.assert_allclose(shown, part.transpose("group", "band"))


def test_errors_have_a_panel_for_each_rate(study):
    _, errors = study
    axes = plots.group_error_plot(errors, fmr=1e-1)
    assert list(axes) == ["eer", "false_match_rate", "false_non_match_rate"]
    names = [text.get_text() for text in axes["eer"].get_yticklabels()]
    people = [f"colour={name}\n(4 people)" for name in ("blue", "green", "red")]
    assert names == ["all", *people, "mixed"]
    value = errors["eer"].sel(model="linear", estimate="value").to_numpy()
    np.testing.assert_allclose(axes["eer"].lines[0].get_xdata(), 100 * value)
    assert len(axes["eer"].lines) == 2
    # nothing is silently left out: mixed pairs are never genuine
    texts = [text.get_text() for text in axes["false_non_match_rate"].texts]
    assert texts == ["not resolved", "not resolved"]


def test_gaps_are_points_whose_number_is_said(study):
    profiles, errors = study
    gaps = fl.bias.gaps_together(profiles, errors, fmr=1e-1)
    assert gaps.index.tolist() == [("linear", "blue"), ("linear", "green")]
    value = errors["eer"].sel(model="linear", estimate="value")
    expected = float(value.sel(group="blue") - value.sel(group="red"))
    assert gaps.loc[("linear", "blue"), "EER gap"] == pytest.approx(expected)
    ax = plots.gaps_plot(gaps, outcome="EER gap")
    assert ax.get_title(loc="right") == "2 points"
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 100 * gaps["EER gap"])
    has_labels(ax)


def test_what_is_not_there_is_told(study):
    profiles, errors = study
    with pytest.raises(UnknownNameError, match="side='both' was not computed"):
        plots.group_profile_plot(profiles, model="linear", side="both")
    with pytest.raises(UnknownNameError, match="unknown kind"):
        plots.group_difference_plot(profiles, model="linear", kind="energy")
    with pytest.raises(UnknownNameError, match="unknown outcome"):
        plots.gaps_plot(fl.bias.gaps_together(profiles, errors, fmr=1e-1), outcome="ratio")
    with pytest.raises(ParameterError, match="no threshold in the result"):
        plots.group_error_plot(errors, fmr=0.3)

"""Figures of the cross-resolution study: what they show, and that they can be read."""

import numpy as np
import pytest
from matplotlib.patches import Circle, Rectangle

import freqlab as fl
from freqlab import plots
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.plots.common import drawn_frequencies


@pytest.fixture(scope="module")
def study():
    """Result, profiles, errors and leaks of a linear model on made-up faces."""
    faces = fl.testing.faces(6, 3)
    degraded = fl.faces.degrade(faces, resolutions=[56, 28, 14])
    degraded = fl.faces.degrade(degraded, resolutions=[28], kernel="fourier")
    pairs = fl.faces.degraded_pairs(fl.make_pairs(faces, seed=0), degraded)
    sides = ["probe", "reference"]
    result = fl.testing.influence(degraded, pairs, bands="rings:8", sides=sides)
    store = result.attrs["store"]
    embeddings = fl.open_embeddings(store, model="linear").sel(face=degraded.names).to_numpy()
    return {
        "result": result,
        "profiles": fl.resolution.profiles(result, n_draws=50),
        "leaks": fl.resolution.leaks(result, n_draws=20),
        "errors": fl.resolution.errors({"linear": embeddings}, degraded, n_draws=50),
    }


def has_labels(ax):
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("kind", ["directed", "absolute", "per_contrast", "energy"])
def test_the_heat_map_carries_the_means_and_both_lines(study, kind):
    profiles = study["profiles"]
    ax = plots.resolution_heat_plot(profiles, model="linear", side="probe", kind=kind)
    shown = np.ma.filled(ax.collections[0].get_array(), np.nan)
    part = profiles[kind].sel(model="linear", side="probe", comparison="genuine", estimate="value")
    np.testing.assert_allclose(shown, part.transpose("resolution", "band"))
    drawn = [set(np.round(line.get_xdata(), 6)) for line in ax.lines]
    for line in ("axis", "diagonal"):
        ends = profiles["nyquist"].sel(model="linear", line=line).to_numpy()
        places = drawn_frequencies(ends, profiles, corner=56 * np.sqrt(2))
        assert set(np.round(places, 6)) in drawn
    assert [text.get_text() for text in ax.get_yticklabels()] == ["112", "56", "28", "14"]
    has_labels(ax)
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"N/2", "√2 N/2"}


@pytest.mark.parametrize("comparison", ["genuine", "impostor"])
def test_profiles_have_one_line_a_resolution_and_the_ends(study, comparison):
    profiles = study["profiles"]
    ax = plots.resolution_profile_plot(
        profiles, model="linear", side="reference", comparison=comparison, kind="absolute"
    )
    part = profiles["absolute"].sel(model="linear", side="reference", comparison=comparison)
    drawn = [
        line.get_ydata() for line in ax.lines if len(line.get_xdata()) == profiles.sizes["band"]
    ]
    np.testing.assert_allclose(drawn, part.sel(estimate="value").transpose("resolution", "band"))
    verticals = {round(float(line.get_xdata()[0]), 4) for line in ax.lines}
    for resolution in (56, 28, 14):
        assert round(resolution / 2, 4) in verticals
        assert round(resolution / np.sqrt(2), 4) in verticals
    has_labels(ax)


def test_the_strip_follows_one_face(study):
    result, profiles = study["result"], study["profiles"]
    axes = plots.resolution_strip_plot(result, profiles, pair=0, model="linear")
    assert list(axes)[:2] == ["reference", "probe 112"]
    crops = fl.open_run(result.attrs["store"])["crops/arcface"]["crop"]
    probe = str(result["probe"].sel(pair=0).item())
    for resolution, name in ((112, probe), (28, f"{probe}@28"), (14, f"{probe}@14")):
        shown = axes[f"probe {resolution}"].images[0].get_array()
        np.testing.assert_array_equal(shown, crops.sel(face=name))
        for side in ("probe", "reference"):
            patches = axes[f"heat {side} {resolution}"].patches
            if resolution == 112:  # which nothing ends
                assert not patches
                continue
            square = next(p for p in patches if isinstance(p, Rectangle))
            circle = next(p for p in patches if isinstance(p, Circle))
            assert square.get_width() == pytest.approx(resolution)
            assert circle.radius == pytest.approx(resolution / np.sqrt(2))
    with pytest.raises(ParameterError, match="pair=999"):
        plots.resolution_strip_plot(result, profiles, pair=999, model="linear")


def test_errors_are_drawn_over_a_falling_resolution(study):
    errors = study["errors"]
    ax = plots.resolution_error_plot(errors, fmr=1e-1)
    fnmr = errors["false_non_match_rate"].sel(model="linear", fmr=0.1, estimate="value")
    eer = errors["eer"].sel(model="linear", estimate="value")
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines], 100 * np.stack([fnmr, eer]))
    assert ax.get_xlim()[0] > ax.get_xlim()[1]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["112", "56", "28", "14"]
    has_labels(ax)


def test_leaks_are_drawn_per_kernel(study):
    leaks = study["leaks"]
    ax = plots.resolution_leak_plot(leaks, model="linear")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["area: influence", "area: energy", "fourier: influence", "fourier: energy"]
    area = leaks["leak_influence"].sel(
        degradation="area", model="linear", comparison="genuine", line="diagonal", estimate="value"
    )
    np.testing.assert_allclose(ax.lines[0].get_ydata(), area)
    has_labels(ax)


@pytest.mark.parametrize("quantity", ["low_gain", "shift", "median_frequency", "low_effect"])
def test_summaries_have_a_line_for_each_side_and_kind(study, quantity):
    ax = plots.resolution_summary_plot(study["profiles"], model="linear", quantity=quantity)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "genuine, probe masked",
        "genuine, reference masked",
        "impostor, probe masked",
        "impostor, reference masked",
    ]
    has_labels(ax)


def test_one_kind_of_pairs_can_be_drawn(study):
    ax = plots.resolution_summary_plot(
        study["profiles"], model="linear", quantity="low_share", comparison="impostor"
    )
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["impostor, probe masked", "impostor, reference masked"]
    assert ax.get_ylim()[0] == 0
    with pytest.raises(UnknownNameError, match="unknown comparison"):
        plots.resolution_summary_plot(study["profiles"], model="linear", comparison="all")


def test_a_strip_of_many_resolutions_shows_six():
    levels = [56, 48, 40, 32, 28, 21, 14, 7]
    faces = fl.testing.faces(2, 2)
    degraded = fl.faces.degrade(faces, resolutions=levels)
    pairs = fl.faces.degraded_pairs(fl.make_pairs(faces, seed=0), degraded)
    result = fl.testing.influence(degraded, pairs, bands="rings:28", sides=["probe"])
    profiles = fl.resolution.profiles(result, n_draws=5)
    axes = plots.resolution_strip_plot(result, profiles, pair=0, model="linear")
    probes = [name for name in axes if name.startswith("probe")]
    assert len(probes) == 6
    assert (probes[0], probes[-1]) == ("probe 112", "probe 7")


def test_what_is_not_there_is_told(study):
    profiles = study["profiles"]
    with pytest.raises(UnknownNameError, match="side='both' was not computed"):
        plots.resolution_heat_plot(profiles, model="linear", side="both")
    with pytest.raises(UnknownNameError, match="unknown model"):
        plots.resolution_profile_plot(profiles, model="linea", side="probe")
    with pytest.raises(UnknownNameError, match="unknown kind"):
        plots.resolution_heat_plot(profiles, model="linear", side="probe", kind="power")
    with pytest.raises(UnknownNameError, match="unknown quantity"):
        plots.resolution_summary_plot(profiles, model="linear", quantity="high_gain")
    with pytest.raises(ParameterError, match="no threshold in the result"):
        plots.resolution_error_plot(study["errors"], fmr=0.5)

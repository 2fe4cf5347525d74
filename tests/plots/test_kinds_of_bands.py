"""Bands that are not intervals of frequency in figures and in the data of the inspector."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import freqlab as fl
from freqlab.inspector.drawing import drawing_of, plane_of
from freqlab.results.profiles import influence_spread

KINDS = {"sectors": fl.sectors(3), "wavelets": fl.wavelets("haar", 1)}


@pytest.fixture(scope="module", params=KINDS)
def result(request):
    people = fl.testing.faces(3, 2)
    return fl.testing.influence(people, bands=KINDS[request.param])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_axis_names_the_bands(result):
    names = result["band"].to_numpy().tolist()
    profile = fl.results.mean_profile(result, n_draws=5)
    for ax in (
        fl.plots.profile_plot(profile, model="linear"),
        fl.plots.strip_plot(result, pair=0, model="linear"),
    ):
        assert [label.get_text() for label in ax.get_xticklabels()] == names
        assert ax.get_xlabel() == "band"
        assert ax.get_xlim() == (0, 3)


def test_the_plane_shows_bands_of_the_plane(result):
    ax = fl.plots.spectrum_plot(result, pair=0, model="linear")
    (image,) = ax.images
    plane = np.ma.filled(image.get_array(), np.nan)
    labels = np.frombuffer(plane_of(result, model="linear")["labels"], "<i2").reshape(112, 112)
    if "scale" in result.coords:
        assert np.isnan(plane).all()
        assert (labels == -1).all()
        return
    assert set(np.unique(labels)) == {-1, 0, 1, 2}
    influence = result["influence"].sel(pair=0, model="linear", side="probe").to_numpy()
    np.testing.assert_allclose(
        plane[labels >= 0], (influence / np.abs(influence).max())[labels[labels >= 0]]
    )
    # horizontal structure has a vertical frequency: above and below the middle
    assert labels[56 - 20, 56] == labels[56 + 20, 56] == 0


def test_the_inspector_draws_bands_side_by_side(result):
    spread = influence_spread(result, model="linear")
    drawn = drawing_of(
        result, spread, pair=0, model="linear", side="probe", kind="directed", operation="remove"
    )
    names = result["band"].to_numpy().tolist()
    assert [band["name"] for band in drawn["bands"]] == names
    assert [(band["lower"], band["upper"]) for band in drawn["bands"]] == [(0, 1), (1, 2), (2, 3)]
    assert [tick["text"] for tick in drawn["x"]["ticks"]] == names
    assert drawn["x"]["label"] == "band"
    assert drawn["x"]["break"] is None
    assert drawn["bands"][0]["text"].startswith(f"{names[0]}: ")

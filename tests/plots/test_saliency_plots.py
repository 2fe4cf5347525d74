"""Figures of saliency: that what is drawn lies where it belongs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab import plots
from freqlab.errors import ParameterError, UnknownNameError


@pytest.fixture(scope="module")
def gradients():
    """Maps of one pair, in space and of the plane, with arguments."""
    return fl.testing.gradient_maps().isel(pair=[0]).assign_coords(pair=[3])


def test_the_plane_is_symmetric_with_zero_in_the_middle():
    image = np.random.default_rng(0).normal(size=(112, 112))
    maps = fl.testing.freqrise_maps()
    maps["map"][:] = np.abs(np.fft.rfft2(image))
    ax = plots.plane_plot(maps, pair=int(maps["pair"][0]))
    drawn = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(drawn, np.fft.fftshift(np.abs(np.fft.fft2(image))), rtol=1e-5)
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right, bottom, top) == (-56.5, 55.5, 55.5, -56.5)


def test_arguments_are_drawn_alone_or_together(gradients):
    maps = gradients.copy(deep=True)
    values = np.random.default_rng(0).normal(size=maps["plane"].shape)
    values[..., 0] = values[..., -1] = 0
    maps["plane"][:] = values
    alone = [
        np.asarray(plots.plane_plot(maps, pair=3, argument=name).images[0].get_array())
        for name in ("supporting", "opposing", "all")
    ]
    np.testing.assert_allclose(alone[0] + alone[1], alone[2])
    with pytest.raises(UnknownNameError, match="opposing"):
        plots.plane_plot(maps, pair=3, argument="oposing")
    with pytest.raises(ParameterError, match="have no signs"):
        plots.plane_plot(maps.isel(argument=0, drop=True), pair=3, argument="opposing")
    with pytest.raises(ParameterError, match="pair=4"):
        plots.plane_plot(maps, pair=4)
    with pytest.raises(ParameterError, match="no variable 'space'"):
        plots.saliency_plot(maps.drop_vars("space"), pair=3)


def test_joint_maps_show_the_bands_that_count_most():
    maps = fl.testing.joint_maps(grid=2)
    pair = int(maps["pair"][0])
    values = np.zeros((3, 2, 2))
    values[2, 1, 0], values[1, 0, 1] = 0.5, -0.75
    maps["influence"][0] = values
    axes = plots.joint_plot(maps, pair=pair, n_bands=2)
    assert list(axes) == ["28-56", "rest"]
    shown = axes["28-56"].images[0]
    np.testing.assert_allclose(shown.get_array(), values[1])
    red, _, blue, _ = shown.to_rgba(shown.get_array())[0, 1]
    assert red > blue  # it spoke against a match
    assert axes["rest"].images[0].get_clim() == shown.get_clim() == (-0.75, 0.75)


def test_reliability_is_drawn_over_the_masks_that_were_used():
    maps = xr.Dataset(
        {
            "reliability": (("pair", "block"), [[0.5, 0.8, np.nan], [0.4, 0.6, 0.7]]),
            "n_masks": ("pair", [200, 250]),
        },
        attrs={"reliability": 0.9},
    )
    ax = plots.reliability_plot({"masks": maps})
    lines = [line for line in ax.lines if len(line.get_xdata()) > 1 and line.get_marker() != "None"]
    assert [list(line.get_xdata()) for line in lines] == [[100, 200], [100, 200, 250]]
    assert len(ax.get_legend().get_texts()) == 1
    with pytest.raises(ParameterError, match="at least one"):
        plots.reliability_plot({}, ax=plt.gca())

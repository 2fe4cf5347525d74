"""Figures of saliency: that what is drawn lies where it belongs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from freqlab import plots
from freqlab.errors import ParameterError, UnknownNameError


def plane(values):
    height, columns = values.shape[-2:]
    dims = ("pair", "argument", "ky", "kx") if values.ndim == 4 else ("pair", "ky", "kx")
    name = "plane" if values.ndim == 4 else "map"
    found = xr.Dataset(
        {name: (dims, values, {"long_name": "gain", "units": "1"})},
        coords={
            "pair": [3],
            "ky": np.fft.fftfreq(height, 1 / height),
            "kx": np.arange(columns, dtype=float),
        },
    )
    return found.assign_coords(argument=["supporting", "opposing"]) if values.ndim == 4 else found


def test_the_plane_is_symmetric_with_zero_in_the_middle():
    image = np.random.default_rng(0).normal(size=(16, 16))
    ax = plots.plane_plot(plane(np.abs(np.fft.rfft2(image))[None]), pair=3)
    drawn = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(drawn, np.fft.fftshift(np.abs(np.fft.fft2(image))))
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right, bottom, top) == (-8.5, 7.5, 7.5, -8.5)


def test_arguments_are_drawn_alone_or_together():
    values = np.random.default_rng(0).normal(size=(1, 2, 16, 9))
    values[..., 0] = values[..., -1] = 0
    maps = plane(values)
    alone = [
        np.asarray(plots.plane_plot(maps, pair=3, argument=name).images[0].get_array())
        for name in ("supporting", "opposing", "all")
    ]
    np.testing.assert_allclose(alone[0] + alone[1], alone[2])
    with pytest.raises(UnknownNameError, match="opposing"):
        plots.plane_plot(maps, pair=3, argument="oposing")
    with pytest.raises(ParameterError, match="no arguments"):
        plots.plane_plot(plane(values[:, 0]), pair=3, argument="opposing")
    with pytest.raises(ParameterError, match="pair=4"):
        plots.plane_plot(maps, pair=4)
    with pytest.raises(ParameterError, match="hold no 'space'"):
        plots.saliency_plot(maps, pair=3)


def test_joint_maps_show_the_bands_that_count_most():
    values = np.zeros((1, 4, 2, 2))
    values[0, 3, 1, 0], values[0, 1, 0, 1] = 0.5, -0.8
    maps = xr.Dataset(
        {"influence": (("pair", "band", "row", "column"), values, {"units": "1"})},
        coords={
            "pair": [0],
            "band": ["0-4", "4-8", "8-12", "rest"],
            "frequency": ("band", [2.0, 6, 10, 20], {"units": "cycles/image"}),
        },
    )
    axes = plots.joint_plot(maps, pair=0, n_bands=2)
    assert list(axes) == ["4-8", "rest"]
    shown = axes["4-8"].images[0]
    np.testing.assert_allclose(shown.get_array(), values[0, 1])
    red, _, blue, _ = shown.to_rgba(shown.get_array())[0, 1]
    assert red > blue  # it spoke against a match
    assert axes["rest"].images[0].get_clim() == shown.get_clim() == (-0.8, 0.8)


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

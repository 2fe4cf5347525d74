"""Figures with their intervals, in words."""

import numpy as np
import pytest
import xarray as xr

from freqlab.text.wording import percent, signed, with_bounds


def figure(*numbers):
    return xr.DataArray(list(numbers), coords={"estimate": ["value", "lower", "upper"]})


@pytest.mark.parametrize(
    ("numbers", "form", "expected"),
    [
        ((0.414, 0.35, 0.474), ".2f", "0.41 [0.35,\u00a00.47]"),
        ((0.414, np.nan, np.nan), ".2f", "0.41"),
        ((np.nan, np.nan, np.nan), ".2f", ""),
        ((12345.0, 2.0, 3.0), ".3g", "1.23e+04 [2,\u00a03]"),
    ],
)
def test_an_interval_stands_in_brackets(numbers, form, expected):
    assert with_bounds(figure(*numbers), form) == expected


def test_estimates_are_found_by_name():
    turned = figure(1.0, 2.0, 3.0).isel(estimate=[2, 0, 1])
    assert with_bounds(turned, ".0f") == "1 [2,\u00a03]"


def test_rates_have_two_digits_below_ten_per_cent():
    assert percent(figure(0.0991, 0.05, 0.2)) == "9.91\u00a0% [5.00,\u00a020.00]"
    assert percent(figure(0.1, 0.05, 0.2)) == "10.0\u00a0% [5.0,\u00a020.0]"
    assert percent(figure(0.1, 0.05, 0.2), 0) == "10\u00a0% [5,\u00a020]"


def test_changes_have_their_sign():
    assert signed(figure(0.5, -0.25, 1.0), 2) == "+0.50 [-0.25,\u00a0+1.00]"

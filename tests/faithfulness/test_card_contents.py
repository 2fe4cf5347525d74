"""Verdicts of trust cards follow the intervals, and the compact table has one row each."""

import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.faithfulness import card_contents
from freqlab.faithfulness.card_contents import NOT_PASSED, NOT_TESTED, PASSED


def estimates(*numbers):
    return xr.DataArray(list(numbers), {"estimate": ["value", "lower", "upper"]}, "estimate")


@pytest.mark.parametrize(
    ("numbers", "criterion", "verdict"),
    [
        ((0.1, 0.05, 0.2), "above zero", PASSED),
        ((0.1, 0.0, 0.2), "above zero", NOT_PASSED),
        ((0.1, 1e-17, 0.2), "above zero", NOT_PASSED),
        ((-0.1, -0.2, -0.05), "above zero", NOT_PASSED),
        ((0.7, 0.51, 0.9), "high", PASSED),
        ((0.7, 0.49, 0.9), "high", NOT_PASSED),
        ((0.3, 0.1, 0.49), "low", PASSED),
        ((0.3, 0.1, 0.51), "low", NOT_PASSED),
        ((0.3, np.nan, np.nan), "low", NOT_TESTED),
        ((np.nan, np.nan, np.nan), "low", NOT_TESTED),
    ],
)
def test_a_verdict_needs_the_whole_interval(numbers, criterion, verdict):
    row = card_contents._property("p", estimates(*numbers), criterion)
    assert row["verdict"] == verdict
    assert ("[" in row["text"]) == (verdict != NOT_TESTED)
    row = card_contents._property("p", estimates(*numbers), criterion, untested="a reason")
    assert (row["verdict"], row["text"]) == (NOT_TESTED, "a reason")


def test_the_lowest_of_several_is_judged():
    values = xr.DataArray(
        [[0.9, 0.8, 1.0], [0.4, 0.3, 0.6], [np.nan] * 3],
        {"change": ["a", "b", "c"], "estimate": ["value", "lower", "upper"]},
        ("change", "estimate"),
    )
    name, lowest = card_contents._lowest(values, "change")
    assert name == "b"
    np.testing.assert_array_equal(lowest, [0.4, 0.3, 0.6])
    assert np.isnan(card_contents._lowest(values * np.nan, "change")[1]).all()


def test_criteria_are_stated():
    text = fl.faithfulness.describe_criteria()
    assert "above 0.5" in text
    assert "fewer than 20 people" in text

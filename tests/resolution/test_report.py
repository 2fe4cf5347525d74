"""Tables and sentences say what the numbers say."""

import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.errors import UnknownNameError

RESOLUTIONS = [112.0, 28.0, 14.0, 7.0]
_ESTIMATES = ["value", "lower", "upper"]


def by_resolution(values):
    """``(comparison, model, side, resolution, estimate)`` of one side's genuine pairs."""
    every = np.full((2, 1, 1, len(RESOLUTIONS), 3), np.nan)
    every[0, 0, 0] = values
    return (("comparison", "model", "side", "resolution", "estimate"), every)


@pytest.fixture
def profiles():
    zero = [0.0, 0.0, 0.0]
    return xr.Dataset(
        {
            "low_share": by_resolution([[0.5, 0.4, 0.6]] * 4),
            "low_gain": by_resolution(
                [zero, [0.1, 0.05, 0.15], [0.02, -0.01, 0.05], [-0.2, -0.25, -0.15]]
            ),
            "low_effect": by_resolution([zero, [0.5, 0.3, 0.7], zero, [-1, -1.2, -0.8]]),
            "low_influence_gain": by_resolution([zero, [0.1, 0.0, 0.2], zero, [-0.3, -0.4, -0.2]]),
        },
        coords={
            "comparison": ["genuine", "impostor"],
            "model": ["m"],
            "side": ["probe"],
            "resolution": RESOLUTIONS,
            "estimate": _ESTIMATES,
            "frequency": ("band", [2.0], {"units": "cycles/image"}),
        },
        attrs={"low": 14.0, "level": 0.95},
    )


def test_verdicts_follow_the_intervals(profiles):
    table = fl.resolution.low_band_table(profiles, model="m")
    assert table["low bands"].tolist() == ["gain", "not clear", "lose"]
    assert table.index.tolist() == [("probe", "genuine", r) for r in ("28", "14", "7")]
    assert table["gain, points"].iloc[0].replace("\u00a0", " ") == "+10.0 [+5.0, +15.0]"


def test_the_sentence_names_gains_losses_and_the_largest_change(profiles):
    said = fl.resolution.describe_low_bands(profiles, model="m").replace("\u00a0", " ")
    assert "below 14 cycles/image hold 50 %" in said
    assert "gain weight at 28 pixels" in said
    assert "lose weight at 7 pixels" in said
    assert "do neither clearly at 14 pixels" in said
    assert "largest change is at 7 pixels: -20.0 [-25.0, -15.0] percentage points" in said
    assert "effect size -1.00 [-1.20, -0.80]" in said
    assert "absolute influence itself falls there: -0.300" in said
    nothing = fl.resolution.describe_low_bands(profiles, model="m", comparison="impostor")
    assert nothing == "There are no impostor pairs at two resolutions to compare."
    with pytest.raises(UnknownNameError):
        fl.resolution.describe_low_bands(profiles, model="m", side="reference")


def errors_of(fnmr, threshold=0.3):
    n = len(fnmr)
    fmrs = [0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6]
    rates = np.full((1, n, 6, 3), np.nan)
    rates[0, :, 2] = fnmr
    thresholds = np.full((1, 6), np.nan)
    thresholds[0, 2] = threshold
    return xr.Dataset(
        {
            "false_non_match_rate": (("model", "resolution", "fmr", "estimate"), rates),
            "eer": (("model", "resolution", "estimate"), np.array(fnmr)[None] / 2),
            "threshold": (("model", "fmr"), thresholds),
        },
        coords={
            "model": ["m"],
            "resolution": RESOLUTIONS[:n],
            "fmr": fmrs,
            "estimate": _ESTIMATES,
        },
    )


def test_where_verification_breaks_is_said():
    errors = errors_of([[0.01, 0, 0.02], [0.015, 0, 0.03], [0.1, 0.05, 0.2], [0.7, 0.6, 0.8]])
    said = fl.resolution.describe_errors(errors, model="m").replace("\u00a0", " ")
    assert "FNMR at FMR 0.001 is 1.00 % at 112 pixels" in said
    assert "clearly higher from 14 pixels down: there it is 10.0 % [5.0, 20.0]" in said
    assert "More than half of the genuine comparisons fail at 7 pixels." in said
    flat = errors_of([[0.01, 0, 0.02], [0.01, 0, 0.03]])
    assert "at no resolution is it clearly higher" in fl.resolution.describe_errors(flat, model="m")


def test_without_a_threshold_the_equal_error_rate_is_told():
    errors = errors_of([[0.02, 0, 0.04], [0.3, 0.2, 0.4]], threshold=np.nan)
    said = fl.resolution.describe_errors(errors, model="m")
    assert "there is no threshold" in said
    assert "The equal error rate is 1.00 %" in said

"""Figures of identification: the lines are those of the data, counted by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import freqlab as fl
from freqlab.errors import UnknownNameError
from freqlab.improve.identification import search

FEW = {"n_draws": 30}


@pytest.fixture(scope="module")
def found():
    faces = fl.testing.faces(n_subjects=20, per_subject=8, seed=1)
    model = fl.testing.model()
    return fl.identify(faces, models=[model], fpirs=[0.1, 0.01], max_rank=12, progress=False)


def line_of(ax, k=0):
    """The points of a line of a figure."""
    return np.array(ax.get_lines()[k].get_data())


def test_the_cmc_is_the_share_of_ranks_up_to_each(found):
    ax = fl.plots.cmc_plot(found)
    rank, rate = line_of(ax)
    assert rank.tolist() == list(range(1, 13))
    expected = 100 * found["identification_rate"].isel(model=0).sel(estimate="value")
    np.testing.assert_allclose(rate, expected)
    assert (np.diff(rate) >= 0).all()
    lower = found["identification_rate"].isel(model=0).sel(estimate="lower")
    assert ax.get_ylim()[0] <= 100 * float(lower.min())
    assert ax.get_ylim()[1] == 100
    assert f"{rate[0]:.1f} % at rank 1" in ax.get_legend().get_texts()[0].get_text()
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
    plt.close("all")


def test_the_trade_off_ends_where_it_is_not_resolved(found):
    ax = fl.plots.fnir_plot(found)
    fpir, fnir = line_of(ax)
    n = int(found["n_non_mated"].isel(model=0))
    assert fpir.min() >= 10 / n * (1 - 1e-9)
    assert (fnir > 0).all()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    at = found["false_negative_identification_rate"].isel(model=0).sel(fpir=0.1)
    (marker,) = [line for line in ax.get_lines() if line.get_marker() not in ("None", None, "")]
    assert marker.get_xdata().tolist() == [0.1]  # 1e-2 is not resolved by 140 searches
    assert float(marker.get_ydata()[0]) == pytest.approx(float(at.sel(estimate="value")))
    plt.close("all")


def test_without_errors_there_is_no_curve(found):
    rate = found["false_negative_identification_rate"]
    perfect = found.assign(curve=0 * found["curve"], false_negative_identification_rate=0 * rate)
    ax = fl.plots.fnir_plot(perfect)
    assert len(line_of(ax)[0].ravel()) == 0
    assert "0.0 % at FPIR 1e-1" in ax.get_legend().get_texts()[0].get_text()
    ax = fl.plots.cmc_plot(found.assign(identification_rate=0 * found["identification_rate"] + 1))
    assert ax.get_ylim()[1] == 100
    plt.close("all")


def searches():
    """Searches of 30 people by two scores, of which the other is better."""
    rng = np.random.default_rng(0)
    people, centres = np.repeat(np.arange(30), 10), rng.normal(size=(30, 8))
    noise = rng.normal(size=(300, 8))
    return {
        name: search(centres[people] + scale * noise, centres, people, np.arange(30))
        for name, scale in (("similarity", 1.2), ("better", 0.8))
    }, people


def test_changes_of_searches_are_those_of_the_ranks():
    found, people = searches()
    compared = fl.improve.search_gains(found, people, baseline="similarity", fpir=0.1, **FEW)
    wrong = {name: (one.rank > 1).mean() for name, one in found.items()}
    ax = fl.plots.search_gain_plot(compared)
    points = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert [float(p.get_xdata()[0]) for p in points] == [
        pytest.approx(100 * (wrong["better"] - wrong["similarity"]))
    ]
    assert ax.texts[0].get_text() == "gain"
    ax = fl.plots.search_gain_plot(compared, quantity="FNIR")
    assert ax.get_xlabel().startswith("change of FNIR at FPIR 1e-1")
    with pytest.raises(UnknownNameError, match="unknown quantity 'rank'"):
        fl.plots.search_gain_plot(compared, quantity="rank")
    plt.close("all")


def test_a_misspelt_model_is_refused(found):
    for plot in (fl.plots.cmc_plot, fl.plots.fnir_plot):
        with pytest.raises(UnknownNameError, match="unknown models 'liner'"):
            plot(found, models=["liner"])
    assert plt.get_fignums() == []

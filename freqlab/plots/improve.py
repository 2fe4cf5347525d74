"""Figures of what influence is good for: gains, discarding by quality, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from freqlab.attrs import names_of
from freqlab.errors import check_name
from freqlab.plots.common import CATEGORICAL, LEGEND, axis_label, given_axes, line_style, shortened
from freqlab.results.selection import at_fmr, fmr_text
from freqlab.statistics.resampling import estimates_of

__all__ = ["calibration_plot", "discard_plot", "gain_plot", "search_gain_plot"]

_COLOURS = {"gain": CATEGORICAL[0], "loss": CATEGORICAL[4]}  # others are grey


def gain_plot(data: xr.Dataset, *, fmr: float = 1e-2, ax: Axes | None = None) -> Axes:
    r"""Change of the false non-match rate by each score, with intervals; below zero is better.

    Filled markers: the interval excludes zero, and there are enough errors and people.

    Parameters
    ----------
    data
        From :func:`freqlab.improve.gains`.
    fmr
        False match rate of the thresholds, one of those of the data.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> (part,) = fl.improve.parts_of(study)
    >>> ax = fl.plots.gain_plot(part.gains, fmr=0.1)
    >>> ax.get_xlabel()
    'change of FNMR at FMR 1e-1 by the score\n(percentage points)'
    """
    at = at_fmr(data, fmr)
    what = f"FNMR at FMR {fmr_text(fmr)}"
    return _changes_plot(at, at["difference"], at["verdict"], what, ax)


def search_gain_plot(data: xr.Dataset, *, quantity: str = "rank 1", ax: Axes | None = None) -> Axes:
    r"""Change of the identification errors by each score, with intervals; below zero is better.

    Filled markers: the interval excludes zero, and there are enough errors and people.

    Parameters
    ----------
    data
        From :func:`freqlab.improve.search_gains`.
    quantity
        ``"rank 1"`` for the error rate at rank 1, ``"FNIR"`` for the false negative identification
        rate at the threshold of the data.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    UnknownNameError
        If there is no such quantity.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> (part,) = fl.improve.parts_of(study)
    >>> ax = fl.plots.search_gain_plot(part.searches)
    >>> ax.get_xlabel()
    'change of the error rate at rank 1 by the score\n(percentage points)'
    """
    check_name("quantity", quantity, ("rank 1", "FNIR"))
    if quantity == "rank 1":
        what = "the error rate at rank 1"
        return _changes_plot(data, data["rank_1_difference"], data["rank_1_verdict"], what, ax)
    at = data.isel(fpir=0)
    what = f"FNIR at FPIR {fmr_text(float(at['fpir']))}"
    return _changes_plot(at, at["difference"], at["verdict"], what, ax)


def _changes_plot(
    data: xr.Dataset, change: xr.DataArray, verdicts: xr.DataArray, what: str, ax: Axes | None
) -> Axes:
    """Draw the change of an error rate by each score, a row each, with its verdict."""
    names = [name for name in names_of(data, "score_name") if name != data.attrs["baseline"]]
    ax = given_axes(ax, 5.4, 0.9 + 0.42 * max(2, len(names)))
    for row, name in enumerate(names):
        value, lower, upper = (100 * bound for bound in estimates_of(change.sel(score_name=name)))
        verdict = str(verdicts.sel(score_name=name).item())
        colour = _COLOURS.get(verdict, "0.45")
        ax.plot([lower, upper], [row, row], color=colour, lw=2)
        face = colour if verdict in _COLOURS else "white"
        ax.plot(value, row, "o", color=colour, markerfacecolor=face, ms=7)
        ax.annotate(
            verdict,
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    ax.axvline(0, color="0.2", lw=0.9)
    ax.set_yticks(range(len(names)), [shortened(name, 24) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel(f"change of {what} by the score\n(percentage points)")
    ax.grid(True, axis="x", color="0.9")
    return ax


def discard_plot(
    data: xr.Dataset,
    *,
    measures: Sequence[str] | None = None,
    protocol: str = "fixed",
    ax: Axes | None = None,
) -> Axes:
    """Error versus discard characteristic of measures of quality.

    The interval of the first measure is shaded.

    Parameters
    ----------
    data
        From :func:`freqlab.improve.error_discard` or :func:`freqlab.improve.search_discard`.
    measures
        Names of the measures; all by default.
    protocol
        ``"fixed"`` or ``"renewed"``, the threshold.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> (part,) = fl.improve.parts_of(study)
    >>> ax = fl.plots.discard_plot(part.discard)
    >>> ax.get_ylabel()
    'false non-match rate (%)'
    """
    known = names_of(data, "measure")
    check_name("protocol", protocol, names_of(data, "protocol"))
    shown = known if measures is None else [check_name("measures", m, known) for m in measures]
    ax = given_axes(ax, 5.4, 3.6)
    rate = "false_non_match_rate"
    if rate not in data:
        rate = "false_negative_identification_rate"
    x = 100 * data["discarded"].to_numpy()
    for place, name in enumerate(shown):
        rates = data[rate].sel(measure=name, protocol=protocol)
        value, lower, upper = (100 * bound for bound in estimates_of(rates))
        style = line_style(place)
        ax.plot(x, value, label=shortened(name, 30), ms=4, markevery=4, **style)
        if place == 0:
            ax.fill_between(x, lower, upper, color=style["color"], alpha=0.15, lw=0)
    ax.set_xlabel(axis_label(data["discarded"], units="%"))
    ax.set_ylabel(axis_label(data[rate], units="%"))
    ax.set_xlim(0, x.max())
    ax.set_ylim(bottom=0)
    ax.legend(**LEGEND, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)
    return ax


def calibration_plot(
    data: xr.Dataset, *, calibrations: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Reliability diagram: the share of genuine pairs over the stated probability, with intervals.

    Parameters
    ----------
    data
        From :func:`freqlab.improve.calibration_figures`.
    calibrations
        Names of the calibrations; all by default.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> (part,) = fl.improve.parts_of(study)
    >>> ax = fl.plots.calibration_plot(part.calibration)
    >>> ax.get_ylabel()
    'share of genuine pairs (%)'
    """
    known = names_of(data, "calibration")
    names = known
    if calibrations is not None:
        names = [check_name("calibrations", name, known) for name in calibrations]
    ax = given_axes(ax, 4.4, 4.2)
    ax.plot([0, 1], [0, 1], color="0.6", lw=0.9, zorder=0)
    for place, name in enumerate(names):
        one = data.sel(calibration=name)
        x = one["predicted"].to_numpy()
        value, lower, upper = estimates_of(one["observed"])
        style = line_style(place)
        cost = float(one["cllr"].sel(estimate="value"))
        there = np.isfinite(x) & np.isfinite(value)
        ax.plot(
            x[there],
            value[there],
            label=f"{shortened(name, 20)}: Cllr {cost:.3f} bit",
            ms=5,
            lw=1.4,
            **style,
        )
        ax.vlines(x[there], lower[there], upper[there], color=style["color"], lw=0.9, alpha=0.6)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=""))
    ax.set_xlabel(axis_label(data["predicted"], units="%"))
    ax.set_ylabel(axis_label(data["observed"], units="%"))
    ax.legend(**LEGEND, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return ax

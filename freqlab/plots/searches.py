"""Figures of identification: rates by rank, and errors over the false positives allowed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter

from freqlab.attrs import names_of
from freqlab.errors import check_name
from freqlab.plots.common import LEGEND, axis_label, given_axes, line_style, shortened
from freqlab.results.selection import fmr_text
from freqlab.statistics.resampling import estimates_of

__all__ = ["cmc_plot", "fnir_plot"]

_MOST_MARKERS = 20


class _PlainLogFormatter(LogFormatter):
    """Labels of a logarithmic axis as plain numbers: 0.1, 0.6."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Label of a tick; empty where the axis has too many."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def cmc_plot(
    result: xr.Dataset, *, models: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Cumulative match characteristic: identification rate over rank, intervals shaded.

    Parameters
    ----------
    result
        From :func:`freqlab.identify`.
    models
        Names of the models; all by default.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    UnknownNameError
        If the result has no such model.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=8, per_subject=3)
    >>> found = fl.identify(faces, models=[fl.testing.model()], progress=False)
    >>> ax = fl.plots.cmc_plot(found)
    >>> ax.get_ylabel()
    'identification rate (%)'
    """
    shown = _models(result, models)
    ax = given_axes(ax, 5.4, 3.6)
    rank, rates = result["rank"].to_numpy(), result["identification_rate"]
    lowest = 100.0
    for place, name in enumerate(shown):
        value, lower, upper = (
            100 * bound for bound in estimates_of(rates.sel(model=name).transpose("rank", ...))
        )
        style = line_style(place)
        label = f"{shortened(name, 28)}: {value[0]:.1f} % at rank 1"
        every = -(-len(rank) // _MOST_MARKERS)
        ax.plot(rank, value, label=label, ms=4, markevery=every, clip_on=False, **style)
        ax.fill_between(rank, lower, upper, color=style["color"], alpha=0.15, lw=0)
        lowest = min(lowest, float(np.nanmin(lower)))
    last = max(2, int(rank.max()))
    step = max(1, round(last / 5))
    ax.set_xlim(1 - 0.02 * last, 1.02 * last)
    ax.set_xticks([1, *range(step * (1 + (step == 1)), last + 1, step)])
    ax.set_ylim(max(0.0, min(99.0, lowest - 0.05 * (100 - lowest))), 100.0)
    ax.set_xlabel(axis_label(result["rank"]))
    ax.set_ylabel(axis_label(rates, units="%"))
    ax.grid(True, color="0.9")
    ax.legend(**LEGEND, loc="lower right")
    return ax


def fnir_plot(
    result: xr.Dataset, *, models: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Detection error trade-off of searches: FNIR over FPIR, both logarithmic.

    Markers are the rates of the result at its thresholds, with intervals over people.

    Parameters
    ----------
    result
        From :func:`freqlab.identify`.
    models
        Names of the models; all by default.
    ax
        Axes to draw on; new axes by default. Curves end where a false positive identification rate
        is not resolved (fewer than ten searches) or there are no false negatives.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    UnknownNameError
        If the result has no such model.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=8, per_subject=3)
    >>> found = fl.identify(faces, models=[fl.testing.model()], progress=False)
    >>> ax = fl.plots.fnir_plot(found)
    >>> ax.get_ylabel()
    'false negative identification rate'
    """
    shown = _models(result, models)
    ax = given_axes(ax, 5.5, 4)
    fpir = result["fpir"].to_numpy()
    rates = result["false_negative_identification_rate"]
    lowest, left = 1.0, 0.1
    for place, name in enumerate(shown):
        style = line_style(place)
        curve, at = result["curve"].sel(model=name).to_numpy(), result["curve_fpir"].to_numpy()
        drawn = np.isfinite(curve) & (curve > 0)
        value, lower, upper = estimates_of(rates.sel(model=name).transpose("fpir", ...))
        resolved = np.isfinite(value)
        label = shortened(name, 28)
        if resolved.any():
            k = int(np.flatnonzero(resolved)[np.argmin(fpir[resolved])])
            label += f": {100 * value[k]:.1f} % at FPIR {fmr_text(float(fpir[k]))}"
        ax.plot(at[drawn], curve[drawn], color=style["color"], ls=style["ls"], label=label)
        there = resolved & (value > 0)
        if drawn.any():
            lowest = min(lowest, float(curve[drawn].min()))
            left = min(left, float(at[drawn].min()))
        if there.any():
            floor = np.maximum(lower[there], 1e-6)
            ax.vlines(fpir[there], floor, upper[there], color=style["color"], lw=1.4)
            ax.plot(fpir[there], value[there], style["marker"], color=style["color"], ms=5)
            lowest = min(lowest, float(floor.min()))
    ax.set(xscale="log", yscale="log", xlim=(left / 1.5, 1), ylim=(lowest / 2, 1))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(_PlainLogFormatter())
        axis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(1, 0.4)))
    ax.set_xlabel(axis_label(result["curve_fpir"]))
    ax.set_ylabel(axis_label(result["curve"]))
    ax.grid(True, which="major", color="0.9")
    ax.legend(**LEGEND)
    return ax


def _models(result: xr.Dataset, models: Sequence[str] | None) -> list[str]:
    """Names of the models to draw.

    Raises
    ------
    UnknownNameError
        If the result lacks one of them.
    """
    known = names_of(result, "model")
    return known if models is None else [check_name("models", name, known) for name in models]

"""Figures of verification performance: score distributions, DET curves, worst comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from freqlab.attrs import names_of
from freqlab.errors import check_name, check_number
from freqlab.literals import Comparison
from freqlab.plots.common import (
    CATEGORICAL,
    COMPARISON_COLOURS,
    DASHES,
    LEGEND,
    MAX_WIDTH,
    axis_label,
    figure_size,
    given_axes,
    one_model,
    selected,
    shortened,
)
from freqlab.results.selection import at_fmr, fmr_text
from freqlab.statistics.error_rates import check_fmr
from freqlab.store.reading import crop_template, open_crop

__all__ = ["density_plot", "det_plot", "extremes_plot", "score_plot"]


def score_plot(
    genuine: npt.NDArray[np.floating],
    impostor: npt.NDArray[np.floating],
    *,
    thresholds: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Distributions of genuine and impostor similarities, each with unit area.

    Parameters
    ----------
    genuine, impostor
        Cosine similarities.
    thresholds
        Names and values of thresholds to mark; NaN values are skipped.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> rng = np.random.default_rng(0)
    >>> ax = fl.plots.score_plot(rng.normal(0.6, 0.1, 100), rng.normal(0.1, 0.1, 900))
    >>> ax.get_ylabel()
    'probability density'
    """
    ax = given_axes(ax, 6, 3.2)
    edges = np.linspace(-0.5, 1, 101)
    for name, scores in (("genuine", genuine), ("impostor", impostor)):
        shown = scores[np.isfinite(scores)]
        ax.hist(
            shown,
            bins=edges.tolist(),
            density=True,
            alpha=0.6,
            color=COMPARISON_COLOURS[name],
            hatch="//" if name == "impostor" else None,
            label=f"{name} ({len(shown):,} comparisons)",
        )
    for style, (name, place) in zip(
        ("-", "--", ":", "-."), (thresholds or {}).items(), strict=False
    ):
        if np.isfinite(place):
            ax.axvline(
                place,
                color="0.2",
                ls=style,
                label=f"threshold at {shortened(str(name), 24)}: {place:.3f}",
            )
    ax.set(xlabel="cosine similarity", ylabel="probability density")
    ax.legend(**LEGEND, loc="lower left", bbox_to_anchor=(0, 1))
    return ax


def density_plot(
    result: xr.Dataset,
    *,
    model: str | None = None,
    fmr: float | None = 1e-3,
    ax: Axes | None = None,
) -> Axes:
    """Distributions of the similarities of one model, from its verification result.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`.
    model
        Name of the model; may be left out if there is only one.
    fmr
        Nominal false match rate of the threshold to mark, if any.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> figures = fl.testing.study("verification")["figures"].to_dataset()
    >>> ax = fl.plots.density_plot(figures, model="linear", fmr=0.1)
    >>> ax.get_ylabel()
    'probability density'
    """
    model = one_model(result, model)
    data = _of_model(result, model)
    place = math.nan
    if fmr is not None:
        check_fmr(fmr)
        place = float(at_fmr(data["threshold"], fmr))
    ax = given_axes(ax, 6, 3.2)
    score = data["score"].to_numpy()
    width = score[1] - score[0]
    whole = data.sel(group="all")
    shown = np.zeros(len(score), bool)
    for name, hatch in (("genuine", None), ("impostor", "//")):
        density = data["density"].sel(comparison=name).to_numpy()
        n = int(whole[f"n_{name}"])
        bars = ax.bar(
            score,
            np.nan_to_num(density),
            width,
            alpha=0.6,
            color=COMPARISON_COLOURS[name],
            hatch=hatch,
        )
        bars[0].set_label(f"{name} ({n:,} comparisons)")  # the first bar comes first in the legend
        shown |= np.nan_to_num(density) > 0
    if fmr is not None and np.isfinite(place):
        ax.axvline(place, color="0.2", label=f"threshold at FMR {fmr_text(fmr)}: {place:.3f}")
    if shown.any():
        ax.set_xlim(score[shown].min() - 2 * width, score[shown].max() + 2 * width)
    ax.set_xlabel(axis_label(data["score"]))
    ax.set_ylabel(axis_label(data["density"]))
    ax.legend(**LEGEND, loc="lower left", bbox_to_anchor=(0, 1))
    return ax


def det_plot(
    result: xr.Dataset,
    *,
    models: Sequence[str] | None = None,
    groups: Sequence[str] = ("all",),
    ax: Axes | None = None,
) -> Axes:
    """Detection error trade-off: false non-match rate over false match rate, both logarithmic.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`.
    models
        Names of the models; all by default.
    groups
        Names of the groups.
    ax
        Axes to draw on; new axes by default. Curves end where a false match rate is not resolved
        (fewer than ten comparisons) or there are no false non-matches.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> figures = fl.testing.study("verification")["figures"].to_dataset()
    >>> ax = fl.plots.det_plot(figures)
    >>> ax.get_ylabel()
    'false non-match rate'
    """
    known = names_of(result, "model")
    models = known if models is None else models
    for model in models:
        check_name("model", model, known)
    for group in groups:
        check_name("group", group, names_of(result, "group"))
    ax = given_axes(ax, 5.5, 4)
    lowest, left = 1.0, 0.1
    for m, model in enumerate(models):
        for g, group in enumerate(groups):
            data = result.sel(model=model, group=group)
            curve = data["curve"].to_numpy()
            shown = np.isfinite(curve) & (curve > 0)
            eer = float(data["eer"].sel(estimate="value"))
            label = " · ".join(
                [shortened(model, 28), *([shortened(group, 24)] if group != "all" else [])]
            )
            style = DASHES[(g if len(groups) > 1 else m) % len(DASHES)]
            place = g if len(groups) > 1 and len(models) == 1 else m
            colour = CATEGORICAL[place % len(CATEGORICAL)]
            ax.plot(
                data["curve_fmr"].to_numpy()[shown],
                curve[shown],
                style,
                color=colour,
                label=f"{label}: EER {100 * eer:.2f} %",
            )
            if shown.any():
                lowest = min(lowest, float(curve[shown].min()))
                left = min(left, float(data["curve_fmr"].to_numpy()[shown].min()))
    diagonal = np.array([1e-6, 1])
    ax.plot(diagonal, diagonal, color="0.7", lw=0.8, zorder=0)
    ax.set(xscale="log", yscale="log", xlim=(left / 3, 1), ylim=(lowest / 2, 1))
    ax.set_xlabel(axis_label(result["curve_fmr"]))
    ax.set_ylabel(axis_label(result["curve"]))
    ax.grid(True, which="major", color="0.9")
    ax.legend(**LEGEND)
    return ax


def extremes_plot(
    result: xr.Dataset,
    *,
    model: str | None = None,
    comparison: Comparison = "genuine",
    n: int = 6,
    height: float | None = None,
    aspect: float | None = None,
) -> dict[str, Axes]:
    """Faces of the comparisons with the largest errors of a model.

    Parameters
    ----------
    result
        From :func:`freqlab.verify`.
    model
        Name of the model; may be left out if there is only one.
    comparison
        ``"genuine"`` for the least similar genuine comparisons, ``"impostor"`` for the most similar
        impostor comparisons.
    n
        Number of comparisons, at most 12.
    height
        Height of the figure in inches; by default that for which its text is made.
    aspect
        Width of the figure over its height.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        ``probe0``, ``reference0``, ...

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("verification")
    >>> axes = fl.plots.extremes_plot(study["figures"].to_dataset(), model="linear", n=2)
    >>> sorted(axes)
    ['probe0', 'probe1', 'reference0', 'reference1']
    """
    model = one_model(result, model)
    data = _of_model(result, model).sel(
        comparison=check_name("comparison", comparison, list(COMPARISON_COLOURS))
    )
    check_number("n", n, at_least=1, whole=True)
    n = min(n, int((data["extreme_probe"] != "").sum()))
    n_columns, n_blocks = min(n, 6), max(1, math.ceil(n / 6))
    default = (MAX_WIDTH / 6 * max(n_columns, 1), 3.2 * n_blocks)
    figure = plt.figure(figsize=figure_size(default, height, aspect), layout="constrained")
    axes: dict[str, Axes] = {}
    store = str(result.attrs["store"])
    for rank in range(n):
        similarity = float(data["extreme_similarity"].isel(rank=rank))
        for row, side in enumerate(("probe", "reference")):
            face = str(data[f"extreme_{side}"].isel(rank=rank).item())
            block, column = divmod(rank, n_columns)
            place = (2 * block + row) * n_columns + column + 1
            ax = figure.add_subplot(2 * n_blocks, n_columns, place)
            crop = open_crop(store, face=face, template=crop_template(store, model=model))
            if crop is None:
                ax.text(0.5, 0.5, "no crop", ha="center", va="center", transform=ax.transAxes)
            else:
                ax.imshow(crop, interpolation="lanczos")
            ax.set(xticks=[], yticks=[])
            title = shortened(face, 18)
            if row == 0:
                title = f"similarity {similarity:.2f}\n{title}"
            ax.set_title(title, fontsize="small")
            if column == 0:
                ax.set_ylabel(side, fontsize="small")
            axes[f"{side}{rank}"] = ax
    return axes


def _of_model(result: xr.Dataset, model: str) -> xr.Dataset:
    return selected(result, model=model)

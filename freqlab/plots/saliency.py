"""Figures of related methods: saliency maps in space and frequency, attack detectors."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from freqlab.attrs import names_of
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.plots.common import (
    CATEGORICAL,
    DIVERGING,
    LEGEND,
    MARKERS,
    MAX_WIDTH,
    NO_DATA,
    axis_label,
    check_size_or_axes,
    figure_size,
    given_axes,
    largest_absolute,
    line_style,
    selected,
    shortened,
)
from freqlab.statistics.resampling import estimates_of
from freqlab.store.reading import crop_template, open_crop

__all__ = ["detector_plot", "joint_plot", "plane_plot", "reliability_plot", "saliency_plot"]

_ARGUMENTS = ("all", "supporting", "opposing")


def saliency_plot(
    maps: xr.Dataset, *, pair: int, argument: str = "all", ax: Axes | None = None
) -> Axes:
    """A spatial map over its face: blue supports a match, red opposes it.

    Colours end at the 99th percentile of the magnitudes, so that a few pixels do not hide the
    others.

    Parameters
    ----------
    maps
        From :func:`freqlab.saliency.corrrise_maps` or :func:`freqlab.saliency.gradient_maps`.
    pair
        Label of the pair.
    argument
        Part of a signed map: ``"supporting"``, ``"opposing"``, or ``"all"`` for their sum.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    ParameterError, UnknownNameError
        If there is no such pair or argument.

    Examples
    --------
    >>> import freqlab as fl
    >>> maps = fl.testing.corrrise_maps()
    >>> ax = fl.plots.saliency_plot(maps, pair=int(maps["pair"][0]))
    >>> ax.get_title()
    ''
    """
    values = _map(maps, "map" if "map" in maps else "space", pair, argument)
    ax = given_axes(ax, 3.6, 3.2)
    face = str(maps.sel(pair=pair)[maps.attrs["side"]].item())
    store, model = str(maps.attrs["store"]), str(maps.attrs["model"])
    crop = open_crop(store, face=face, template=crop_template(store, model=model))
    if crop is not None:
        ax.imshow(crop.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    largest = _colour_range(values.to_numpy())
    strength = np.minimum(np.abs(values.to_numpy()) / largest, 1)
    norm = Normalize(-largest, largest)
    ax.imshow(values, cmap=DIVERGING, norm=norm, alpha=0.15 + 0.75 * strength)
    ax.set_xticks([])
    ax.set_yticks([])
    _bar(ax, norm, values)
    return ax


def plane_plot(
    maps: xr.Dataset, *, pair: int, argument: str = "all", ax: Axes | None = None
) -> Axes:
    r"""A map of the frequency plane, with zero frequency in the middle.

    Colours end at the 99th percentile of the magnitudes, so that a few coefficients do not hide the
    others.

    Parameters
    ----------
    maps
        From :func:`freqlab.saliency.freqrise_maps` or :func:`freqlab.saliency.gradient_maps`.
    pair
        Label of the pair.
    argument
        As for :func:`saliency_plot`.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    ParameterError, UnknownNameError
        If there is no such pair or argument.

    Examples
    --------
    >>> import freqlab as fl
    >>> maps = fl.testing.freqrise_maps()
    >>> ax = fl.plots.plane_plot(maps, pair=int(maps["pair"][0]))
    >>> ax.get_ylabel()
    'vertical frequency\n(cycles/image height)'
    """
    values = _map(maps, "map" if "map" in maps else "plane", pair, argument)
    ax = given_axes(ax, 3.8, 3.2)
    half = values.transpose("ky", "kx").to_numpy()
    height = half.shape[0]
    width = 2 * (half.shape[1] - 1)
    # the left half is the right half rotated by 180 degrees
    mirrored = half[(-np.arange(height)) % height][:, 1:-1][:, ::-1]
    whole = np.fft.fftshift(np.concatenate([half, mirrored], axis=1))
    largest = _colour_range(whole)
    norm = Normalize(-largest, largest)
    extent = (-width / 2 - 0.5, width / 2 - 0.5, height / 2 - 0.5, -height / 2 - 0.5)
    ax.imshow(whole, cmap=DIVERGING, norm=norm, extent=extent)
    ax.set_xlabel(axis_label(values["kx"], width=26))
    ax.set_ylabel(axis_label(values["ky"], width=26))
    _bar(ax, norm, values)
    return ax


def joint_plot(
    maps: xr.Dataset,
    *,
    pair: int,
    n_bands: int = 6,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
) -> dict[str, Axes]:
    """Influence of bands within a moving window over the face, for the strongest bands.

    Parameters
    ----------
    maps
        From :func:`freqlab.saliency.joint_maps`.
    pair
        Label of the pair.
    n_bands
        Number of bands to show, in order of frequency.
    ax
        Axes that the plot replaces; a new figure by default.
    height
        Height of a new figure in inches; by default that for which its text is made.
    aspect
        Width of a new figure over its height.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        Axes by name of the band.

    Raises
    ------
    ParameterError
        If there is no such pair, or a size is not allowed.

    Examples
    --------
    >>> import freqlab as fl
    >>> maps = fl.testing.joint_maps()
    >>> axes = fl.plots.joint_plot(maps, pair=int(maps["pair"][0]))
    >>> sorted(axes)
    ['0-28', '28-56', 'rest']
    """
    check_number("n_bands", n_bands, at_least=1, whole=True)
    values = _map(maps, "influence", pair, "all").transpose("band", "row", "column")
    size = abs(values.fillna(0)).max(["row", "column"]).to_numpy()
    shown = np.sort(np.argsort(-size, kind="stable")[:n_bands])
    default = (min(1.5 * len(shown) + 1.1, MAX_WIDTH), 2.2)
    check_size_or_axes(ax, height, aspect)
    ax = given_axes(ax, *figure_size(default, height, aspect))
    ax.set_axis_off()
    norm = Normalize(-largest_absolute(values.to_numpy()), largest_absolute(values.to_numpy()))
    places = {}
    for i, band in enumerate(shown):
        of_band = values.isel(band=band)
        name = str(of_band["band"].item())
        # leave room for the colour bar
        inset = ax.inset_axes((i / len(shown) * 0.97, 0, 0.9 / len(shown), 0.95))
        inset.imshow(of_band, cmap=DIVERGING, norm=norm)
        inset.set_xticks([])
        inset.set_yticks([])
        inset.set_title(name, fontsize="small")
        places[name] = inset
    bar = ax.figure.colorbar(
        ScalarMappable(norm, plt.get_cmap(DIVERGING)), cax=ax.inset_axes((0.99, 0.1, 0.015, 0.75))
    )
    bar.set_label(axis_label(values, width=24), fontsize="small")
    unit = str(values["frequency"].attrs.get("units", "cycles/image"))
    ax.set_title(f"bands in {unit}", loc="left", fontsize="small")
    return places


def reliability_plot(maps: dict[str, xr.Dataset], *, ax: Axes | None = None) -> Axes:
    """Reliability of maps from random masks over the number of masks, per pair; target dotted.

    Parameters
    ----------
    maps
        From :func:`freqlab.saliency.corrrise_maps` and :func:`freqlab.saliency.freqrise_maps`, by
        name.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Raises
    ------
    ParameterError
        If `maps` is empty.

    Examples
    --------
    >>> import freqlab as fl
    >>> maps = {"CorrRISE": fl.testing.corrrise_maps(), "FreqRISE": fl.testing.freqrise_maps()}
    >>> ax = fl.plots.reliability_plot(maps)
    >>> ax.get_ylabel()
    'reliability of the map'
    """
    if not maps:
        raise ParameterError("maps={} is empty; expected at least one dataset")
    ax = given_axes(ax, 5.4, 3)
    for i, (name, dataset) in enumerate(maps.items()):
        values = dataset["reliability"].transpose("pair", "block").to_numpy()
        for row, curve in enumerate(values):
            known = np.isfinite(curve)
            style = {**line_style(i), "ms": 3, "lw": 1, "alpha": 0.7}
            blocks = np.arange(1, known.sum() + 1)
            drawn = np.minimum(blocks * 100, int(dataset["n_masks"][row]))
            ax.plot(
                drawn, curve[known], **style, label=shortened(str(name), 28) if row == 0 else None
            )
        target = float(dataset.attrs["reliability"])
        ax.axhline(target, color=CATEGORICAL[i], ls=":", lw=1)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("number of masks")
    ax.set_ylabel(axis_label(dataset["reliability"]))
    ax.legend(**LEGEND)
    return ax


def detector_plot(errors: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Area under the ROC curve of detectors per attack, with intervals; chance level dotted.

    Parameters
    ----------
    errors
        From :func:`freqlab.adversarial.detection_errors`.
    ax
        Axes to draw on; new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the figure.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> ax = fl.plots.detector_plot(study["attacks"].to_dataset())
    >>> ax.get_ylabel()
    'area under the ROC curve'
    """
    part = selected(errors, labels="true")
    ax = given_axes(ax, 6.4, 3.2)
    attacks = names_of(part, "attack")
    detectors = names_of(part, "detector")
    for i, name in enumerate(detectors):
        value, lower, upper = estimates_of(part["auc"].sel(detector=name))
        place = np.arange(len(attacks)) + (i - (len(detectors) - 1) / 2) * 0.16
        spread = np.nan_to_num(np.stack([value - lower, upper - value])).clip(0)
        ax.errorbar(
            place,
            value,
            spread,
            fmt=MARKERS[i],
            color=CATEGORICAL[i],
            ms=5,
            lw=1.2,
            label=shortened(name, 28),
        )
    ax.axhline(0.5, color="0.4", lw=0.9, ls=":")
    ax.set_xticks(range(len(attacks)), [shortened(name, 28) for name in attacks])
    ax.set_xlabel("attack (strength in grey levels)")
    ax.set_ylabel(axis_label(part["auc"]))
    ax.legend(**LEGEND, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4)
    return ax


def _map(maps: xr.Dataset, name: str, pair: int, argument: str) -> xr.DataArray:
    """Map of a pair, for one argument or the sum of both."""
    check_name("argument", argument, _ARGUMENTS)
    if name not in maps:
        raise ParameterError(
            f"maps has no variable {name!r}; its variables: {', '.join(map(str, maps))}"
        )
    if pair not in maps["pair"].to_numpy():
        raise ParameterError(f"pair={pair!r} is not a pair of the maps")
    values = maps[name].sel(pair=pair)
    if "argument" not in values.dims:
        if argument != "all":
            raise ParameterError(
                f"argument={argument!r}: these maps have no signs; only 'all' is allowed"
            )
        return values
    if argument != "all":
        return values.sel(argument=argument)
    return values.sum("argument", keep_attrs=True)


def _colour_range(values: npt.NDArray[np.floating]) -> float:
    """99th percentile of the finite magnitudes; the largest if it is zero."""
    finite = np.abs(values[np.isfinite(values)])
    percentile = float(np.percentile(finite, 99)) if len(finite) else 0.0
    return percentile or largest_absolute(values)


def _bar(ax: Axes, norm: Normalize, values: xr.DataArray) -> None:
    ax.set_facecolor(NO_DATA)
    bar = ax.figure.colorbar(
        ScalarMappable(norm, plt.get_cmap(DIVERGING)),
        cax=ax.inset_axes((1.04, 0, 0.05, 1)),
        extend="both",
        extendfrac=0.04,
    )
    largest = float(norm.vmax or 1)
    bar.set_ticks(
        [-largest, 0, largest], labels=[f"\N{MINUS SIGN}{largest:.2g}", "0", f"{largest:.2g}"]
    )
    bar.ax.tick_params(labelsize="small")
    bar.set_label(axis_label(values, width=28), fontsize="small")

"""Effect of the crop's border: the same pairs with the crop continued in two ways.

A discrete Fourier transform continues the crop periodically (``extension="periodic"``), so that
opposite borders meet in a step, which has energy at all frequencies. ``extension="mirror"``
continues the crop by its mirror image, without a step. What differs between the two is due to the
border of the crop and not to the face in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import named, names_of
from freqlab.bands.base import EXTENSIONS, Bands
from freqlab.bands.radial import Rings
from freqlab.edits.band_sets import BandSets
from freqlab.edits.pair_sets import PairSets
from freqlab.engine.pairing import SIDES
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.models.spec import Model
from freqlab.results.quantities import comparisons_of, means_by, with_intervals
from freqlab.results.selection import crop_geometry, part_of, radial_bands, with_axes
from freqlab.statistics.resampling import check_draws
from freqlab.statistics.vectors import rank_agreement
from freqlab.system.progress import one_output
from freqlab.text.wording import NBSP, join, percent, with_bounds

__all__ = ["describe_edge_effect", "edge_effect", "edge_effect_by_band", "edge_effect_table"]

_HIGH = 0.75  # high bands lie above this share of the smallest crop's axis Nyquist frequency
_NO_INFLUENCE = 1e-6  # mean absolute influence that is zero except for rounding to float32
_OF_BANDS = ("periodic", "mirrored", "difference")
_NAMES = {
    "periodic": ("absolute influence, crop continued periodically", "cosine similarity"),
    "mirrored": ("absolute influence, crop mirrored", "cosine similarity"),
    "difference": ("absolute difference of influence", "cosine similarity"),
    "correlation": ("rank correlation of a pair's profiles", "1"),
    "same_strongest": ("share of pairs with the same strongest band", "1"),
    "excess": ("share of influence in high bands that is due to the border", "1"),
    "excess_by_band": ("share of influence that is due to the border", "1"),
    "mean_correlation": ("rank correlation of the mean directed profiles", "1"),
}

Floats = npt.NDArray[np.float64]


@one_output()
def edge_effect(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    high: float | None = None,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compare the influence of bands of the periodic and of the mirrored crop, pair by pair.

    Parameters
    ----------
    result
        From :func:`freqlab.influence` with rings or octaves of either extension, and with the store
        that keeps its crops; a sample of pairs. The other extension is computed, one forward pass
        for each masked face and band, and stored.
    models
        The models of the result, loaded.
    high
        Bands that lie wholly at or above this frequency, in the bands' unit, are the high bands;
        by default three quarters of the Nyquist frequency of the smallest model's crop, or only the
        last band if no band lies above it.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.
    batch_size, progress
        Images per forward pass; whether progress bars are shown.

    Returns
    -------
    xarray.Dataset
        Along ``comparison`` (genuine, impostor), ``model``, ``side`` and ``estimate`` (value,
        lower, upper):

        - ``periodic`` and ``mirrored``, the mean absolute influence with each extension, and
          ``difference``, the mean absolute difference of the two, along ``band``;
        - ``correlation``, the mean over pairs of the rank correlation of the two directed
          profiles, and ``mean_correlation``, that of the mean profiles;
        - ``same_strongest``, share of pairs of which the band with the largest absolute influence
          is the same;
        - ``excess``, 1 minus the summed absolute influence of the high bands of the mirrored
          crop over that of the periodic crop: the share that is due to the border. Negative if
          the border decreases the influence, NaN without influence; ``excess_by_band``, the same
          of each band, along ``band``;
        - ``n_pairs(comparison, model)`` and ``n_subjects``.

        ``attrs["high"]`` is the lower edge of the first high band.

    Raises
    ------
    ParameterError
        If the bands are neither rings nor octaves, or no band lies above the given `high`.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(store="run.zarr")
    >>> effect = fl.edits.edge_effect(result, [fl.testing.model()], n_draws=20, progress=False)
    >>> effect["correlation"].dims
    ('comparison', 'model', 'side', 'estimate')
    """
    check_draws(n_draws, level, seed)
    result = with_axes(result)
    bands = radial_bands(result)
    assert isinstance(bands, Rings)
    names = [model.name for model in models]
    if not names:
        raise ParameterError("models=[]: give at least one model of the result, loaded")
    result = result.sel(model=names)
    is_high = _high_bands(result, bands, high)
    own = result["influence"].transpose("pair", "model", "side", "band").to_numpy().astype(float)
    other = np.full(own.shape, np.nan)
    other_bands = dataclasses.replace(bands, extension=_other(bands.extension))
    passes = 0
    for m, model in enumerate(models):
        sets = PairSets(result, model, batch_size=batch_size, progress=progress)
        masked = BandSets(
            model,
            other_bands,
            store=str(result.attrs["store"]),
            batch_size=batch_size,
            progress=progress,
        )
        other[:, m] = _influence(sets, masked, names_of(result, "side"))
        passes += masked.forward_passes
    periodic, mirrored = (own, other) if bands.extension == "periodic" else (other, own)
    effect = _means(result, periodic, mirrored, n_draws=n_draws, seed=seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = {name: effect[name].isel(band=is_high).sum("band") for name in _OF_BANDS[:2]}
        for name, of in (("excess", sums), ("excess_by_band", effect)):
            effect[name] = 1 - of["mirrored"] / of["periodic"].where(of["periodic"] > _NO_INFLUENCE)
    axes = ("draw", "comparison", "model", "side", "band")
    profiles = [effect[f"directed_{name}"].transpose(*axes).to_numpy() for name in _OF_BANDS[:2]]
    effect["mean_correlation"] = (axes[:-1], rank_agreement(*profiles))
    effect = with_intervals(effect.drop_vars([f"directed_{n}" for n in _OF_BANDS[:2]]), level)
    attrs = {
        "high": float(bands.bounds[is_high, 0].min()),
        "unit": bands.unit,
        "extension": bands.extension,
        "forward_passes": passes,
    }
    return named(effect.assign_attrs(attrs), _NAMES)


def _other(extension: str) -> str:
    return next(name for name in EXTENSIONS if name != extension)


def _high_bands(result: xr.Dataset, bands: Bands, high: float | None) -> npt.NDArray[np.bool_]:
    """Whether each band is high ``(band,)``."""
    if high is None:
        geometry = [crop_geometry(result, name) for name in names_of(result, "model")]
        limits = [bands.in_unit(_HIGH * w / 2, w, eyes) for (_, w), eyes in geometry]
        high = min([*limits, float(bands.bounds[-1, 0])])
    else:
        check_number("high", high, above=0)
    is_high = bands.bounds[:, 0] >= high * (1 - 1e-9)
    if not is_high.any():
        highest = float(bands.bounds[-1, 0])
        raise ParameterError(
            f"high={high:g}: no band lies wholly above it; allowed: {highest:g} {bands.unit} or "
            f"less"
        )
    return np.asarray(is_high)


def _influence(sets: PairSets, masked: BandSets, sides: Sequence[str]) -> Floats:
    """Directed influence of the pairs with other bands ``(pair, side, band)``."""
    n_pairs, n_bands = sets.ends.shape[1], len(masked.held)
    influence = np.full((n_pairs, len(sides), n_bands), np.nan)
    bands, rows = np.flatnonzero(masked.held), np.flatnonzero(sets.usable)
    if not len(rows):
        return influence
    without = np.eye(n_bands, dtype=bool)[bands]
    embeddings = []
    for name, end in zip(SIDES[:2], sets.ends[:, rows], strict=True):
        if name in sides or "both" in sides:
            faces, row = np.unique(end, return_inverse=True)
            which = np.repeat(faces, len(bands))
            removed = np.tile(without, (len(faces), 1))
            embedded = masked.embed(sets.crops, which, removed)
            embeddings.append(embedded.reshape(len(faces), len(bands), -1)[row])
        else:
            embeddings.append(np.empty(0, np.float32))
    intact = [sets.intact[end][:, None] for end in sets.ends[:, rows]]
    similarity = sets.compare(*intact)
    for s, side in enumerate(sides):
        both = [
            embeddings[k] if side in (name, "both") else intact[k]
            for k, name in enumerate(SIDES[:2])
        ]
        influence[np.ix_(rows, np.array([s]), bands)] = (similarity - sets.compare(*both))[:, None]
    return influence


def _means(
    result: xr.Dataset, periodic: Floats, mirrored: Floats, *, n_draws: int, seed: int
) -> xr.Dataset:
    """Means over the genuine and the impostor pairs, as observed and in each draw."""
    dims = ("pair", "model", "side", "band")
    strongest = [np.nan_to_num(np.abs(one), nan=-1).argmax(axis=-1) for one in (periodic, mirrored)]
    known = np.isfinite(periodic).any(axis=-1) & np.isfinite(mirrored).any(axis=-1)
    same = np.where(known, strongest[0] == strongest[1], np.nan)
    values: dict[str, tuple[tuple[str, ...], Floats]] = {
        "periodic": (dims, np.abs(periodic)),
        "mirrored": (dims, np.abs(mirrored)),
        "difference": (dims, np.abs(periodic - mirrored)),
        "directed_periodic": (dims, periodic),
        "directed_mirrored": (dims, mirrored),
        "correlation": (dims[:-1], rank_agreement(periodic, mirrored)),
        "same_strongest": (dims[:-1], same),
    }
    return means_by(
        result.assign(values),
        {"comparison": comparisons_of(result)},
        quantities=list(values),
        n_draws=n_draws,
        seed=seed,
    )


def edge_effect_table(effect: xr.Dataset, *, side: str | None = None) -> pd.DataFrame:
    """Tabulate how far the border of the crop changes influence, intervals in brackets.

    Parameters
    ----------
    effect
        From :func:`edge_effect`.
    side
        Masked side; the first by default.

    Returns
    -------
    pandas.DataFrame
        A row for each model and kind of pairs.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(4, 2), models=[model], sides=["probe"])
    >>> effect = fl.edits.edge_effect(result, [model], n_draws=20, progress=False)
    >>> fl.edits.edge_effect_table(effect).index.tolist()
    [('linear', 'genuine'), ('linear', 'impostor')]
    """
    side = names_of(effect, "side")[0] if side is None else side
    check_name("side", side, names_of(effect, "side"))
    at = f"{effect.attrs['high']:g}{NBSP}{effect.attrs['unit']}"
    rows = {}
    for model in names_of(effect, "model"):
        for comparison in names_of(effect, "comparison"):
            one = effect.sel(model=model, comparison=comparison, side=side)
            rows[model, comparison] = {
                "pairs": f"{int(one['n_pairs']):,}",
                "rank correlation of single profiles": with_bounds(one["correlation"], ".2f"),
                "of the mean profile": with_bounds(one["mean_correlation"], ".2f"),
                "same strongest band": percent(one["same_strongest"], 0),
                f"due to the border from {at}": percent(one["excess"], 0),
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis(["model", "pairs of"])


def edge_effect_by_band(effect: xr.Dataset, *, model: str, side: str | None = None) -> pd.DataFrame:
    """Tabulate the share of the influence of each band that is due to the border of the crop.

    Parameters
    ----------
    effect
        From :func:`edge_effect`.
    model
        Name of the model.
    side
        Masked side; the first by default.

    Returns
    -------
    pandas.DataFrame
        Rows by band, a column for each kind of pairs; intervals in brackets. A negative share
        states that the border decreases the influence.

    Raises
    ------
    UnknownNameError
        If there is no such model or side.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(4, 2), models=[model], sides=["probe"])
    >>> effect = fl.edits.edge_effect(result, [model], n_draws=20, progress=False)
    >>> fl.edits.edge_effect_by_band(effect, model="linear").columns.tolist()
    ['genuine pairs', 'impostor pairs']
    """
    one = _selected(effect, model, side)
    table = pd.DataFrame(
        {
            f"{comparison} pairs": [
                percent(one["excess_by_band"].sel(comparison=comparison).isel(band=k), 0)
                or "not available"
                for k in range(one.sizes["band"])
            ]
            for comparison in names_of(effect, "comparison")
        },
        index=pd.Index(names_of(effect, "band"), name="band"),
    )
    return table.rename_axis(str(effect.attrs["unit"]))


def _selected(effect: xr.Dataset, model: str, side: str | None) -> xr.Dataset:
    """Part of one model and one masked side; the first side if `side` is None."""
    return part_of(effect, model=model, side=side or names_of(effect, "side")[0])


def describe_edge_effect(effect: xr.Dataset, *, model: str, side: str | None = None) -> str:
    """State how far the border of the crop changes the influence of bands.

    Parameters
    ----------
    effect
        From :func:`edge_effect`.
    model
        Name of the model.
    side
        Masked side; the first by default.

    Returns
    -------
    str
        A sentence.

    Raises
    ------
    UnknownNameError
        If there is no such model or side.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(4, 2), models=[model], sides=["probe"])
    >>> effect = fl.edits.edge_effect(result, [model], n_draws=20, progress=False)
    >>> print(fl.edits.describe_edge_effect(effect, model="linear"))
    Between bands of the periodic and of the mirrored crop, ...
    """
    part = _selected(effect, model, side)
    of_kind = [
        (comparison, part.sel(comparison=comparison))
        for comparison in names_of(effect, "comparison")
    ]
    known = [
        (name, one)
        for name, one in of_kind
        if np.isfinite(float(one["correlation"].sel(estimate="value")))
    ]
    if not known:
        return "The effect of the crop's border is not available: no pair was compared."
    correlations = " and ".join(
        f"{with_bounds(one['correlation'], '.2f')} for {name} pairs" for name, one in known
    )
    strongest = join(
        [f"{percent(one['same_strongest'], 0)} of {name} pairs" for name, one in known]
    )
    text = (
        f"Between bands of the periodic and of the mirrored crop, the profiles of single pairs "
        f"have a mean rank correlation of {correlations}, and the strongest band is the same in "
        f"{strongest}."
    )
    shares = [(percent(one["excess"], 0), name) for name, one in known]
    shares = [(share, name) for share, name in shares if share]
    if shares:
        at = f"{effect.attrs['high']:g}{NBSP}{effect.attrs['unit']}"
        text += (
            f" From {at} up, the border accounts for "
            f"{' and '.join(f'{share} of the influence on {name} pairs' for share, name in shares)}"
            f" with the periodic crop."
        )
    return text

"""Other views of the same bands, each compared with the exact influence.

The contribution of a band alone, its Shapley value, the interaction of two bands, the smallest set
of bands that determines a decision, and influence when a band is replaced by a filling instead of
removed. They are computed on a sample of pairs, since each pair requires many forward passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import named, names_of
from freqlab.bands.fills import FILLS, mean_amplitude_fill, noise_fill
from freqlab.edits.pair_sets import PairSets
from freqlab.errors import check_name, check_number, check_side
from freqlab.faithfulness.games import (
    keep_one,
    pair_interactions,
    shapley_values,
    smallest_sets,
)
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.results.selection import band_coordinates, threshold_of, with_axes
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    mean_with_interval,
    subject_codes,
)
from freqlab.statistics.vectors import rank_agreement
from freqlab.system.progress import one_output

__all__ = ["VIEWS", "band_views", "filled_influence", "sample_pairs"]

_NAMES = {
    "influence": ("directed influence", "cosine similarity"),
    "value": ("value of the band", "cosine similarity"),
    "shapley_error": ("standard error of the Shapley value", "cosine similarity"),
    "gap": ("similarity of all bands less that of none", "cosine similarity"),
    "interaction": ("interaction", "cosine similarity"),
    "agreement": ("rank correlation with influence", "1"),
    "interaction_share": ("mean interaction over mean influence", "1"),
    "threshold": ("decision threshold", "cosine similarity"),
}

VIEWS = ("keep one", "Shapley", *(f"filled by {fill}" for fill in FILLS))

Floats = npt.NDArray[np.float64]
Variables = dict[str, tuple[tuple[str, ...], npt.NDArray[np.generic]]]
"""Dimensions and values of the variables of one model."""


def sample_pairs(result: xr.Dataset, n: int, *, seed: int = 0) -> xr.Dataset:
    """Sample pairs of a result, half of them genuine if there are enough.

    Pairs without a similarity are excluded.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    n
        Largest number of pairs.
    seed
        Seed of the random draw.

    Returns
    -------
    xarray.Dataset
        The result with the sampled pairs.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> fl.faithfulness.sample_pairs(result, 4).sizes["pair"]
    4
    """
    check_number("n", n, at_least=1, whole=True)
    rng = np.random.default_rng(seed)
    known = result["similarity"].notnull()
    usable = known.all([dim for dim in known.dims if dim != "pair"]).to_numpy()
    genuine = result["genuine"].to_numpy()
    kinds = [rng.permutation(np.flatnonzero(usable & (genuine == kind))) for kind in (True, False)]
    half = (n + 1) // 2
    n_first = min(len(kinds[0]), max(half, n - len(kinds[1])))
    chosen = np.concatenate([kinds[0][:n_first], kinds[1][: n - n_first]])
    return result.isel(pair=np.sort(chosen))


@one_output()
def band_views(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    side: Side = "probe",
    fmr: float = 1e-3,
    tolerance: float = 0.01,
    most_permutations: int = 32,
    most_bands: int = 5,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the influence of bands, and other views of them.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops; all its pairs are
        used, so select a sample first (:func:`freqlab.faithfulness.sample_pairs`).
    models
        The models of the result, loaded.
    side
        The image that is masked: ``"probe"`` or ``"reference"``.
    fmr
        False match rate at which the threshold was set.
    tolerance, most_permutations
        Standard error of a Shapley value at which sampling stops, and largest number of orders.
    most_bands
        Number of bands in the largest set that is tried in the search for the smallest.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage, seed; the seed also applies to orders and noise.
    batch_size, progress
        Images per forward pass; whether progress bars are shown.

    Returns
    -------
    xarray.Dataset
        Along ``model, pair, band``: ``influence``; ``value``, also along ``view``: the
        contribution of a band alone, its Shapley value, and its influence with each filling;
        ``shapley_error``; ``interaction(..., band, other)``, the effect of removing both beyond
        the sum. ``agreement(model, view, kind, estimate)``: mean rank correlation with influence,
        directed and absolute; ``interaction_share(model, estimate)``: mean absolute
        interaction of a pair over its mean absolute influence. ``flip_size``,
        ``suffice_size`` ``(model, pair)``: number of bands in the smallest set whose removal
        changes the decision, or which alone preserves it; -1 if no set was found.
        ``flip_set``, ``suffice_set`` ``(model, pair, band)``: these sets; ``flip_proven``,
        ``suffice_proven`` ``(model, pair)``: whether no smaller set exists.
        ``permutations(model)``: number of orders; ``gap(model, pair)``: s(all) - s(none), the sum
        of the Shapley values.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(4, 2), models=[model], sides=["probe"])
    >>> views = fl.faithfulness.band_views(
    ...     fl.faithfulness.sample_pairs(result, 2), [model], fmr=0.1, n_draws=50, progress=False
    ... )
    >>> views["view"].to_numpy().tolist()
    ['keep one', 'Shapley', 'filled by mean amplitude', 'filled by swap', 'filled by noise']
    """
    check_name("side", side, ["probe", "reference"])
    check_draws(n_draws, level, seed)
    result = with_axes(result)
    check_side(side, names_of(result, "side"))
    codes = subject_codes(result)
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    search = _Search(side, tolerance, most_permutations, most_bands, seed)
    of_models: list[Variables] = []
    passes = 0
    for model in models:
        sets = PairSets(result, model, batch_size=batch_size, progress=progress)
        threshold = threshold_of(result, model=model.name, fmr=fmr)
        variables = _views(sets, search) | _decisions(sets, search, threshold)
        variables |= _means(variables, codes, draws, level)
        variables["threshold"] = ((), np.array(threshold))
        of_models.append(variables)
        passes += sets.sets.forward_passes
    ends = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
    return named(
        xr.Dataset(
            {
                name: (("model", *dims), np.stack([one[name][1] for one in of_models]))
                for name, (dims, _) in of_models[0].items()
            },
            coords={
                "model": [model.name for model in models],
                "view": list(VIEWS),
                "kind": ["directed", "absolute"],
                "estimate": list(ESTIMATES),
                "other": ("other", result["band"].to_numpy()),
                **{name: result[name] for name in ("pair", *ends)},
                **band_coordinates(result),
            },
            attrs={
                **{key: result.attrs[key] for key in ("store", "identity") if key in result.attrs},
                **{"side": side, "fmr": fmr, "seed": seed, "tolerance": tolerance},
                **{"most_permutations": most_permutations, "most_bands": most_bands},
                **{"n_draws": n_draws, "level": level, "forward_passes": passes},
            },
        ),
        _NAMES,
    )


@dataclass(frozen=True)
class _Search:
    """Masked image, and limits of the search for Shapley values and smallest sets."""

    side: str
    tolerance: float
    most_permutations: int
    most_bands: int
    seed: int


def _means(
    variables: Variables,
    codes: npt.NDArray[np.int64],
    draws: npt.NDArray[np.int64],
    level: float,
) -> Variables:
    """Compute mean agreement of the views with influence, and the mean share of interactions.

    Parameters
    ----------
    variables
        From :func:`_views`.
    codes, draws, level
        As for :func:`freqlab.statistics.resampling.mean_with_interval`.
    """
    influence = variables["influence"][1].astype(float)
    views = variables["value"][1].astype(float)
    interaction = np.abs(variables["interaction"][1].astype(float))
    agreement = np.stack(
        [rank_agreement(kind(views), kind(influence)[:, None]) for kind in (np.asarray, np.abs)],
        axis=-1,
    )
    share = np.nanmean(interaction, axis=(1, 2)) / np.nanmean(np.abs(influence), axis=1)
    return {
        "agreement": (
            ("view", "kind", "estimate"),
            mean_with_interval(agreement, codes, draws, level),
        ),
        "interaction_share": (("estimate",), mean_with_interval(share, codes, draws, level)),
    }


def _views(sets: PairSets, search: _Search) -> Variables:
    """Compute every view for one model."""
    n_pairs, present, side = sets.ends.shape[1], sets.held, search.side

    def value(pairs: npt.NDArray[np.int64], removed: npt.NDArray[np.bool_]) -> Floats:
        return sets.similarity(pairs, removed, side)

    every_pair = np.arange(n_pairs)
    whole = value(every_pair, np.zeros((n_pairs, len(present)), bool))
    nothing = value(every_pair, np.tile(present, (n_pairs, 1)))
    influence = np.full((n_pairs, len(present)), np.nan)
    for band in np.flatnonzero(present):
        removed = np.zeros((n_pairs, len(present)), bool)
        removed[:, band] = True
        influence[:, band] = whole - value(every_pair, removed)
    shapley = shapley_values(
        value,
        n_pairs,
        present,
        tolerance=search.tolerance,
        most=search.most_permutations,
        at_least=min(8, search.most_permutations),
        seed=search.seed,
    )
    known = np.where(present, 1.0, np.nan)
    views = [keep_one(value, n_pairs, present), shapley.values * known]
    views += [filled_influence(sets, side, whole, fill, search.seed) for fill in FILLS]
    of_band = ("pair", "band")
    return {
        "influence": (of_band, influence),
        "value": (("pair", "view", "band"), np.stack(views, axis=1)),
        "shapley_error": (of_band, shapley.standard_error * known),
        "permutations": ((), np.array(shapley.n_permutations)),
        "gap": (("pair",), whole - nothing),
        "interaction": (("pair", "band", "other"), pair_interactions(value, n_pairs, present)),
    }


def filled_influence(sets: PairSets, side: str, whole: Floats, fill: str, seed: int) -> Floats:
    """Compute the influence of each band when it is replaced by a filling ``(pair, band)``.

    Parameters
    ----------
    sets
        The pairs of one model.
    side
        The masked image: ``"probe"`` or ``"reference"``.
    whole
        Similarity of the unchanged pairs ``(pair,)``.
    fill
        One of :data:`freqlab.bands.fills.FILLS`.
    seed
        Seed of the noise.
    """
    masked, partner = sets.ends if side == "probe" else sets.ends[::-1]
    crops = sets.crops[masked]
    if fill == "swap":
        filling = sets.crops[partner]
    elif fill == "noise":
        filling = noise_fill(crops, sets.sets.parts, seed=seed)
    else:
        filling = mean_amplitude_fill(crops, sets.crops)
    bands = np.flatnonzero(sets.held)
    removed = np.tile(np.eye(len(sets.held), dtype=bool)[bands], (len(crops), 1))
    which = np.repeat(np.arange(len(crops)), len(bands))
    embedded = sets.sets.embed(crops, which, removed, fill=filling)
    scores = sets.compare(embedded, sets.intact[partner][which]).reshape(len(crops), -1)
    influence = np.full((len(crops), len(sets.held)), np.nan)
    influence[:, bands] = whole[:, None] - scores
    return influence


def _decisions(sets: PairSets, search: _Search, threshold: float) -> Variables:
    """Find the smallest sets that change, or alone preserve, the decision of each pair."""
    n_pairs, present, side = sets.ends.shape[1], sets.held, search.side
    similarity = sets.similarity(np.arange(n_pairs), np.zeros((n_pairs, len(present)), bool), side)
    match = similarity >= threshold
    variables: Variables = {}
    for name in ("flip", "suffice"):

        def margin(
            pairs: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_], name: str = name
        ) -> Floats:
            removed = chosen if name == "flip" else ~chosen & present
            scores = sets.similarity(pairs, removed, side)
            match_desired = match[pairs] == (name == "suffice")
            below = np.nextafter(threshold, -np.inf) - scores
            return np.where(match_desired, scores - threshold, below)

        if np.isfinite(threshold):
            size, members, proven = smallest_sets(margin, n_pairs, present, most=search.most_bands)
        else:
            size, proven = np.full(n_pairs, -1), np.zeros(n_pairs, bool)
            members = np.zeros((n_pairs, len(present)), bool)
        variables[f"{name}_size"] = (("pair",), size)
        variables[f"{name}_set"] = (("pair", "band"), members)
        variables[f"{name}_proven"] = (("pair",), proven)
    return variables

"""Other views of the same bands, each compared with the exact influence.

The contribution of a band alone, its Shapley value, the interaction of two bands, the smallest set
that carries a decision, and influence when a band is replaced by a filling instead of removed.
Computed on a sample of pairs, since each pair takes many forward passes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import named
from freqlab.bands.fills import FILLS, mean_amplitude_fill, noise_fill
from freqlab.edits.pair_sets import PairSets
from freqlab.errors import check_name, check_number
from freqlab.faithfulness.games import (
    keep_one,
    pair_interactions,
    rank_agreement,
    shapley_values,
    smallest_sets,
)
from freqlab.models.spec import Model
from freqlab.results.selection import threshold_of, with_axes
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    mean_with_interval,
    subject_codes,
)

__all__ = ["VIEWS", "band_views", "sample_pairs"]

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


def sample_pairs(result: xr.Dataset, n: int, *, seed: int = 0) -> xr.Dataset:
    """Sample pairs of a result, half of them genuine if there are enough.

    Pairs that could not be compared are left out.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    n
        Largest number of pairs.
    seed
        Seed of the random draw.
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


def band_views(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    side: str = "probe",
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
        used, so pass a sample (:func:`freqlab.faithfulness.sample_pairs`).
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
        Images per forward pass; whether bars are written to standard error.

    Returns
    -------
    xarray.Dataset
        Along ``model, pair, band``: ``influence``; ``value``, also along ``view``: the
        contribution of a band alone, its Shapley value, and its influence with each filling;
        ``shapley_error``; ``interaction(..., band, other)``, the effect of removing both beyond
        the sum. ``agreement(model, view, kind, estimate)``: mean rank correlation with influence,
        directed and absolute; ``interaction_share(model, estimate)``: mean |interaction| of a
        pair over its mean |influence|. ``flip_size``, ``suffice_size`` ``(model, pair)``: bands
        in the smallest set whose removal changes the decision, or which alone keeps it; -1 if no
        set was found; with ``_proven`` and ``_set(..., band)``. ``permutations(model)``,
        ``gap(model, pair)``: s(all) - s(none), the sum of the Shapley values.
    """
    check_name("side", side, ["probe", "reference"])
    check_draws(n_draws, level, seed)
    result = with_axes(result)
    codes = subject_codes(result)
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    found: list[dict[str, tuple[tuple[str, ...], npt.NDArray[np.generic]]]] = []
    passes = 0
    for model in models:
        sets = PairSets(result, model, batch_size=batch_size, progress=progress)
        threshold = threshold_of(result, model=model.name, fmr=fmr)
        one = _views(sets, side, tolerance, most_permutations, seed)
        one |= _decisions(sets, side, threshold, most_bands)
        influence = one["influence"][1]
        views = one["value"][1]
        agreement = np.stack(
            [
                rank_agreement(turn(views), turn(influence)[:, None])
                for turn in (np.asarray, np.abs)
            ],
            axis=-1,
        )
        mixed = np.abs(one["interaction"][1].astype(float))
        share = np.nanmean(mixed, axis=(1, 2)) / np.nanmean(np.abs(influence), axis=1)
        one["agreement"] = (
            ("view", "kind", "estimate"),
            mean_with_interval(agreement, codes, draws, level),
        )
        one["interaction_share"] = (
            ("estimate",),
            mean_with_interval(share, codes, draws, level),
        )
        one["threshold"] = ((), np.array(threshold))
        found.append(one)
        passes += sets.sets.forward_passes
    data = {
        name: (("model", *found[0][name][0]), np.stack([one[name][1] for one in found]))
        for name in found[0]
    }
    ends = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
    return named(
        xr.Dataset(
            data,
            coords={
                "model": [model.name for model in models],
                "view": list(VIEWS),
                "kind": ["directed", "absolute"],
                "estimate": list(ESTIMATES),
                "other": ("other", result["band"].to_numpy()),
                **{name: result[name] for name in ("pair", *ends)},
                **{name: result[name] for name in ("band", "frequency", "band_bounds")},
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


def _views(
    sets: PairSets, side: str, tolerance: float, most: int, seed: int
) -> dict[str, tuple[tuple[str, ...], npt.NDArray[np.generic]]]:
    """Compute every view for one model."""
    n_pairs, held = sets.ends.shape[1], sets.held

    def value(pairs: npt.NDArray[np.int64], removed: npt.NDArray[np.bool_]) -> Floats:
        return sets.similarity(pairs, removed, side)

    everything = np.arange(n_pairs)
    whole = value(everything, np.zeros((n_pairs, len(held)), bool))
    nothing = value(everything, np.tile(held, (n_pairs, 1)))
    influence = np.full((n_pairs, len(held)), np.nan)
    for band in np.flatnonzero(held):
        removed = np.zeros((n_pairs, len(held)), bool)
        removed[:, band] = True
        influence[:, band] = whole - value(everything, removed)
    shapley = shapley_values(
        value, n_pairs, held, tolerance=tolerance, most=most, at_least=min(8, most), seed=seed
    )
    known = np.where(held, 1.0, np.nan)
    views = [keep_one(value, n_pairs, held), shapley.values * known]
    views += [_filled(sets, side, whole, fill, seed) for fill in FILLS]
    of_band = ("pair", "band")
    return {
        "influence": (of_band, influence),
        "value": (("pair", "view", "band"), np.stack(views, axis=1)),
        "shapley_error": (of_band, shapley.standard_error * known),
        "permutations": ((), np.array(shapley.n_permutations)),
        "gap": (("pair",), whole - nothing),
        "interaction": (("pair", "band", "other"), pair_interactions(value, n_pairs, held)),
    }


def _filled(sets: PairSets, side: str, whole: Floats, fill: str, seed: int) -> Floats:
    """Compute the influence of each band when it is replaced by a filling ``(pair, band)``."""
    masked, partner = sets.ends if side == "probe" else sets.ends[::-1]
    crops = sets.crops[masked]
    if fill == "swap":
        filling = sets.crops[partner]
    elif fill == "noise":
        filling = noise_fill(crops, sets.sets.labels, len(sets.held), seed=seed)
    else:
        filling = mean_amplitude_fill(crops, sets.crops)
    bands = np.flatnonzero(sets.held)
    removed = np.tile(np.eye(len(sets.held), dtype=bool)[bands], (len(crops), 1))
    which = np.repeat(np.arange(len(crops)), len(bands))
    found = sets.sets.embed(crops, which, removed, fill=filling)
    scores = sets.compare(found, sets.intact[partner][which]).reshape(len(crops), -1)
    influence = np.full((len(crops), len(sets.held)), np.nan)
    influence[:, bands] = whole[:, None] - scores
    return influence


def _decisions(
    sets: PairSets, side: str, threshold: float, most: int
) -> dict[str, tuple[tuple[str, ...], npt.NDArray[np.generic]]]:
    """Find the smallest sets that change, or alone keep, the decision of each pair."""
    n_pairs, held = sets.ends.shape[1], sets.held
    similarity = sets.similarity(np.arange(n_pairs), np.zeros((n_pairs, len(held)), bool), side)
    match = similarity >= threshold
    found: dict[str, tuple[tuple[str, ...], npt.NDArray[np.generic]]] = {}
    for name in ("flip", "suffice"):

        def margin(
            pairs: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_], name: str = name
        ) -> Floats:
            removed = chosen if name == "flip" else ~chosen & held
            scores = sets.similarity(pairs, removed, side)
            wanted = match[pairs] == (name == "suffice")  # a match is wanted
            below = np.nextafter(threshold, -np.inf) - scores
            return np.where(wanted, scores - threshold, below)

        if np.isfinite(threshold):
            size, members, proven = smallest_sets(margin, n_pairs, held, most=most)
        else:
            size, proven = np.full(n_pairs, -1), np.zeros(n_pairs, bool)
            members = np.zeros((n_pairs, len(held)), bool)
        found[f"{name}_size"] = (("pair",), size)
        found[f"{name}_set"] = (("pair", "band"), members)
        found[f"{name}_proven"] = (("pair",), proven)
    return found

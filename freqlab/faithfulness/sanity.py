"""Sanity checks of an explanation: dependence on the weights and on the pair.

Weights are randomised from the last layer to the first (the cascade of Adebayo et al. 2018,
*Sanity checks for saliency maps*); the entries of each tensor are shuffled, which keeps their
distribution. The remaining correlation of a profile is reported, not required to vanish: a random
last layer nearly preserves cosines, and absolute influence follows the energy of the bands in any
network.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from freqlab.attrs import named, names_of
from freqlab.edits.band_sets import BandSets, Crops
from freqlab.edits.pair_sets import PairSets
from freqlab.errors import ModelError, ParameterError, check_name, check_number, check_side
from freqlab.literals import Side
from freqlab.models.spec import Model, state_sha256
from freqlab.results.quantities import MIN_REMOVED_RMS
from freqlab.results.selection import with_axes
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    mean_with_interval,
    subject_codes,
)
from freqlab.statistics.vectors import cosine, rank_agreement
from freqlab.system.progress import one_output

__all__ = ["band_profiles", "randomised", "sanity_checks"]

_NAMES = {
    "randomised": ("rank correlation with the trained network", "1"),
    "shuffled": ("rank correlation with another partner", "1"),
    "least_identical": ("least influence in a picture paired with itself", "cosine similarity"),
    "depth": ("share of layers randomised", "1"),
}

_CALIBRATING = 32  # crops

KINDS = ("directed", "absolute", "per_contrast")

Floats = npt.NDArray[np.float64]


def randomised(model: Model, share: float, *, crops: Crops | None = None, seed: int = 0) -> Model:
    """Return the model with the weights of its last layers shuffled.

    Parameters
    ----------
    model
        A model whose network is a PyTorch module.
    share
        Share of the layers, 0..1, counted from the last; at least the last layer is shuffled.
    crops
        Crops ``(n, height, width, 3)`` on which the running statistics of batch
        normalisation are estimated again. Random weights overflow with the statistics of the
        original weights.
    seed
        Seed of the shuffling.

    Raises
    ------
    ParameterError
        If the network is not a PyTorch module with weights.
    """
    check_number("share", share, at_least=0)
    if not _layers(model.network):
        raise ParameterError(
            f"model {model.name!r} has no weights that could be randomised; its network must be a "
            f"PyTorch module with weights"
        )
    network: torch.nn.Module = copy.deepcopy(model.network)  # type: ignore[assignment]
    layers = _layers(network)
    generator = torch.Generator().manual_seed(seed)
    n_shuffled = min(len(layers), max(1, round(share * len(layers))))
    with torch.no_grad():
        for layer in layers[-n_shuffled:]:
            for weights in layer.parameters(recurse=False):
                order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
                weights.copy_(weights.flatten()[order].reshape(weights.shape))
        if crops is not None:
            _estimate_again(model, network, crops)
    return dataclasses.replace(model, network=network, checkpoint=state_sha256(network))


def _estimate_again(model: Model, network: torch.nn.Module, crops: Crops) -> None:
    """Estimate the running statistics of batch normalisation on crops."""
    kind = torch.nn.modules.batchnorm._BatchNorm
    normalising = [module for module in network.modules() if isinstance(module, kind)]
    if not normalising or len(crops) < 2:
        return
    network.eval()
    momenta = [module.momentum for module in normalising]
    for module in normalising:
        module.reset_running_stats()
        module.momentum = None  # cumulative mean
        module.train()
    images = torch.from_numpy(np.ascontiguousarray(crops)).to(model.device)
    network(model.prepare(images.permute(0, 3, 1, 2).float().contiguous()).to(model.dtype))
    for module, momentum in zip(normalising, momenta, strict=True):
        module.momentum = momentum
    network.eval()


def _layers(network: object) -> list[torch.nn.Module]:
    """Modules with weights of their own, in order of declaration."""
    if not isinstance(network, torch.nn.Module):
        return []
    return [m for m in network.modules() if next(m.parameters(recurse=False), None) is not None]


@one_output()
def sanity_checks(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    side: Side = "probe",
    depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compare profiles with those of random weights and other partners; test identical pairs.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops; a sample of pairs.
    models
        The models of the result, loaded.
    side
        The image that is masked: ``"probe"`` or ``"reference"``.
    depths
        Shares of the layers that are randomised, counted from the last; 0 randomises the last
        layer only.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage, seed; the seed also applies to the weights and
        partners.
    batch_size, progress
        Images per forward pass; whether progress bars are shown.

    Returns
    -------
    xarray.Dataset
        Mean rank correlations with the original profile, along ``kind`` (directed, absolute, per
        removed contrast) and ``estimate``: ``randomised(model, depth, kind, estimate)``, NaN for a
        model that is not a module, or whose random weights overflow; and
        ``shuffled(model, kind, estimate)``, with another pair's partner.
        ``least_identical(model)``: the smallest directed influence in pairs of an image with
        itself, which is not negative except for rounding.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(4, 2), models=[model], sides=["probe"])
    >>> checks = fl.faithfulness.sanity_checks(
    ...     result, [model], depths=[0.0, 1.0], n_draws=50, progress=False
    ... )
    >>> checks["randomised"].dims
    ('model', 'depth', 'kind', 'estimate')
    """
    check_name("side", side, ["probe", "reference"])
    check_draws(n_draws, level, seed)
    result = with_axes(result)
    check_side(side, names_of(result, "side"))
    codes = subject_codes(result)
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    n_pairs = result.sizes["pair"]
    random = np.full((len(models), len(depths), len(KINDS), 3), np.nan)
    shuffled = np.full((len(models), len(KINDS), 3), np.nan)
    identical = np.full(len(models), np.nan)
    partners = _other_partners(codes[0 if side == "reference" else 1], seed)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    passes = 0
    for m, model in enumerate(models):
        pairs = _Pairs.of(PairSets(result, model, **options), side, partners)
        shuffled[m] = mean_with_interval(_with_other_partners(pairs), codes, draws, level)
        identical[m] = _least_identical(pairs)
        passes += pairs.sets.sets.forward_passes
        if not _layers(model.network):
            continue
        for d, depth in enumerate(depths):
            weak = randomised(model, depth, crops=pairs.sets.crops[:_CALIBRATING], seed=seed)
            fresh = BandSets(weak, pairs.sets.bands, store=str(result.attrs["store"]), **options)
            agreement = _with_random_weights(pairs, fresh)
            if agreement is not None:
                random[m, d] = mean_with_interval(agreement, codes, draws, level)
                passes += fresh.forward_passes
    return named(
        xr.Dataset(
            {
                "randomised": (("model", "depth", "kind", "estimate"), random),
                "shuffled": (("model", "kind", "estimate"), shuffled),
                "least_identical": ("model", identical),
            },
            coords={
                "model": [model.name for model in models],
                "depth": list(depths),
                "kind": list(KINDS),
                "estimate": list(ESTIMATES),
            },
            attrs={"side": side, "seed": seed, "n_pairs": n_pairs, "forward_passes": passes},
        ),
        _NAMES,
    )


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """The pairs of one model, and their profiles with the trained network."""

    sets: PairSets
    masked: npt.NDArray[np.integer]
    """Row of the masked crop of each pair ``(pair,)``."""
    partner: npt.NDArray[np.integer]
    """Row of the other crop of each pair ``(pair,)``."""
    other_partner: npt.NDArray[np.integer]
    """Position of another pair for each pair, -1 if its partner is the same person ``(pair,)``."""
    contrast: npt.NDArray[np.floating]
    """RMS of each band of the masked crops ``(pair, band)``."""
    profiles: Floats
    """Directed influence ``(pair, band)``."""

    @classmethod
    def of(cls, sets: PairSets, side: str, other_partner: npt.NDArray[np.integer]) -> _Pairs:
        """Compute the profiles of the pairs, with one image masked."""
        masked, partner = sets.ends if side == "probe" else sets.ends[::-1]
        contrast = sets.data["removed_rms"].sel(side=side).transpose("pair", "band").to_numpy()
        intact = sets.intact
        profiles = band_profiles(sets.sets, sets.crops, masked, intact[masked], intact[partner])
        return cls(sets, masked, partner, other_partner, contrast, profiles)


def _other_partners(people: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Draw another pair for each pair; -1 where its partner is the same person.

    Parameters
    ----------
    people
        Number of the partner's subject in each pair ``(pair,)``.
    seed
        Seed of the random draw.
    """
    order = np.random.default_rng(seed).permutation(len(people))
    other = np.empty(len(people), np.int64)
    other[order] = np.roll(order, 1)
    return np.where(people[other] == people, -1, other)


def _with_other_partners(pairs: _Pairs) -> Floats:
    """Correlate profiles with those of the same image and another pair's partner, by kind."""
    sets, masked = pairs.sets, pairs.masked
    partners = sets.intact[pairs.partner[pairs.other_partner]]
    profiles = band_profiles(sets.sets, sets.crops, masked, sets.intact[masked], partners)
    profiles[pairs.other_partner < 0] = np.nan
    return _agreement(pairs.profiles, profiles, pairs.contrast)


def _least_identical(pairs: _Pairs) -> float:
    """Compute the smallest influence in pairs of an image with itself."""
    intact = pairs.sets.intact[pairs.masked]
    profiles = band_profiles(pairs.sets.sets, pairs.sets.crops, pairs.masked, intact, intact)
    return float(np.nanmin(profiles))


def _with_random_weights(pairs: _Pairs, sets: BandSets) -> Floats | None:
    """Correlate profiles with those of a randomised network, by kind.

    Parameters
    ----------
    pairs
        The pairs with the trained network.
    sets
        Sets of bands of the randomised network.

    Returns
    -------
    numpy.ndarray or None
        ``(pair, kind)``; None if the network overflows, as one without normalisation may.
    """
    crops = pairs.sets.crops
    none = np.zeros((len(crops), len(pairs.sets.held)), bool)
    try:
        intact = sets.embed(crops, np.arange(len(crops)), none)
        profiles = band_profiles(
            sets, crops, pairs.masked, intact[pairs.masked], intact[pairs.partner]
        )
    except ModelError:
        return None
    return _agreement(pairs.profiles, profiles, pairs.contrast)


def band_profiles(
    sets: BandSets,
    crops: Crops,
    masked: npt.NDArray[np.integer],
    intact: npt.NDArray[np.float32],
    partner: npt.NDArray[np.float32],
) -> Floats:
    """Compute the directed influence of each band of the masked images.

    Parameters
    ----------
    sets
        Sets of bands of the model.
    crops
        ``(n, height, width, 3)``.
    masked
        Row of the masked crop of each pair.
    intact
        Embeddings of the unchanged masked crops ``(pair, feature)``.
    partner
        Embeddings of the other images ``(pair, feature)``.

    Returns
    -------
    numpy.ndarray
        ``(pair, band)``; NaN for a band without coefficients.
    """
    bands = np.flatnonzero(sets.held)
    removed = np.tile(np.eye(len(sets.held), dtype=bool)[bands], (len(masked), 1))
    embedded = sets.embed(crops, np.repeat(masked, len(bands)), removed)
    without = cosine(embedded.reshape(len(masked), len(bands), -1), partner[:, None])
    profile = np.full((len(masked), len(sets.held)), np.nan)
    profile[:, bands] = cosine(intact, partner)[:, None] - without
    return profile


def _agreement(own: Floats, other: Floats, contrast: npt.NDArray[np.floating]) -> Floats:
    """Rank correlation of two profiles of each pair, by kind of profile ``(pair, kind)``."""
    divisor = np.where(contrast >= MIN_REMOVED_RMS, contrast, np.nan)
    kinds = (lambda h: h, np.abs, lambda h: h / divisor)
    return np.stack([rank_agreement(kind(own), kind(other)) for kind in kinds], axis=1)

"""Stability of an explanation: changes of a profile under small changes of the image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import named, names_of
from freqlab.edits.pair_sets import PairSets
from freqlab.errors import check_name, check_side
from freqlab.faithfulness.games import complexity
from freqlab.images.degradation import Degradation
from freqlab.literals import Side
from freqlab.models.spec import Model
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

__all__ = ["PERTURBATIONS", "explanation_figures", "profile_stability"]

_NAMES = {
    "correlation": ("rank correlation of profiles", "1"),
    "change": ("change of the profile over its size", "1"),
    "similarity_change": ("change of similarity", "cosine similarity"),
    "complexity": ("complexity", "1"),
    "mean_complexity": ("mean complexity", "1"),
    "agreement": ("rank correlation between models", "1"),
}

Pixels = npt.NDArray[np.uint8]

_JPEG = 75
_GAMMA = 1.2
_SHRUNK = 0.75
_ANGLE, _SCALE = 2.0, 1.02


def _shifted(crop: Pixels) -> Pixels:
    return np.concatenate([crop[:, :1], crop[:, :-1]], axis=1)


def _compressed(crop: Pixels) -> Pixels:
    return Degradation(crop.shape[1], jpeg=_JPEG).of_crop(crop, "").astype(np.uint8)


def _brightened(crop: Pixels) -> Pixels:
    return np.rint(255 * (crop / 255.0) ** (1 / _GAMMA)).astype(np.uint8)


def _resampled(crop: Pixels) -> Pixels:
    smaller = round(_SHRUNK * crop.shape[1])
    return Degradation(smaller, kernel="bicubic").of_crop(crop, "").astype(np.uint8)


def _misaligned(crop: Pixels) -> Pixels:
    from scipy import ndimage

    angle = np.deg2rad(_ANGLE)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / _SCALE
    middle = (np.array(crop.shape[:2]) - 1) / 2
    channels = [
        ndimage.affine_transform(
            crop[..., i].astype(float), matrix, middle - matrix @ middle, order=3, mode="nearest"
        )
        for i in range(3)
    ]
    return np.rint(np.clip(np.stack(channels, axis=-1), 0, 255)).astype(np.uint8)


PERTURBATIONS: dict[str, Callable[[Pixels], Pixels]] = {
    "one-pixel shift": _shifted,
    f"JPEG {_JPEG}": _compressed,
    f"gamma {_GAMMA:g}": _brightened,
    f"resampled by {_SHRUNK:g}": _resampled,
    f"turned {_ANGLE:g} degrees, enlarged 2 %": _misaligned,
}
"""Small changes of a crop: names, and functions of an 8-bit RGB crop."""


@one_output()
def profile_stability(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    side: Side = "probe",
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compare the profiles of pairs before and after small changes of the masked image.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops; a sample of pairs.
    models
        The models of the result, loaded.
    side
        The image that is changed and masked: ``"probe"`` or ``"reference"``.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.
    batch_size, progress
        Images per forward pass; whether progress bars are shown.

    Returns
    -------
    xarray.Dataset
        Along ``model, perturbation, estimate``: ``correlation``, mean rank correlation of the
        directed profiles; ``change``, summed absolute difference over the summed absolute
        influence; ``similarity_change``, mean absolute difference of the similarity.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(4, 2), models=[model], sides=["probe"])
    >>> stability = fl.faithfulness.profile_stability(result, [model], n_draws=50, progress=False)
    >>> stability["perturbation"].to_numpy().tolist()
    ['one-pixel shift', 'JPEG 75', 'gamma 1.2', 'resampled by 0.75', 'turned 2 degrees, enlarged 2
    %']
    """
    check_name("side", side, ["probe", "reference"])
    check_draws(n_draws, level, seed)
    result = with_axes(result)
    check_side(side, names_of(result, "side"))
    codes = subject_codes(result)
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    means = np.full((3, len(models), len(PERTURBATIONS), 3), np.nan)
    passes = 0
    for m, model in enumerate(models):
        sets = PairSets(result, model, batch_size=batch_size, progress=progress)
        masked, partner = sets.ends if side == "probe" else sets.ends[::-1]
        bands = np.flatnonzero(sets.held)
        own = sets.data["influence"].sel(side=side).transpose("pair", "band").to_numpy()
        own = own[:, bands].astype(float)
        similarity = sets.data["similarity"].to_numpy()
        removed = np.concatenate(
            [np.zeros((1, len(sets.held)), bool), np.eye(len(sets.held), dtype=bool)[bands]]
        )
        faces, row = np.unique(masked, return_inverse=True)
        for k, change in enumerate(PERTURBATIONS.values()):
            crops = np.stack([change(crop) for crop in sets.crops[faces]])
            which = np.repeat(np.arange(len(faces)), len(removed))
            embedded = sets.sets.embed(crops, which, np.tile(removed, (len(faces), 1)))
            embedded = embedded.reshape(len(faces), len(removed), -1)[row]
            scores = cosine(embedded, sets.intact[partner][:, None])
            other = (scores[:, :1] - scores[:, 1:]).astype(float)
            with np.errstate(invalid="ignore", divide="ignore"):
                relative = np.abs(other - own).sum(axis=1) / np.abs(own).sum(axis=1)
            values = (rank_agreement(own, other), relative, np.abs(scores[:, 0] - similarity))
            means[:, m, k] = mean_with_interval(np.stack(values, axis=1), codes, draws, level)
        passes += sets.sets.forward_passes
    dims = ("model", "perturbation", "estimate")
    return named(
        xr.Dataset(
            {
                "correlation": (dims, means[0]),
                "change": (dims, means[1]),
                "similarity_change": (dims, means[2]),
            },
            coords={
                "model": [model.name for model in models],
                "perturbation": list(PERTURBATIONS),
                "estimate": list(ESTIMATES),
            },
            attrs={"side": side, "n_pairs": result.sizes["pair"], "forward_passes": passes},
        ),
        _NAMES,
    )


def explanation_figures(
    result: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Compute complexity of explanations and agreement of models, without forward passes.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        ``complexity(model, pair, side)``, the entropy of a pair's absolute influence divided by
        that of equal influence in all bands, 0 to 1, and its mean
        ``mean_complexity(comparison, model, side, estimate)``;
        ``agreement(couple, side, kind, estimate)``, mean rank correlation of two models' profiles
        of a pair, if there are several models.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> figures = fl.faithfulness.explanation_figures(result, n_draws=50)
    >>> figures["mean_complexity"].dims
    ('comparison', 'model', 'side', 'estimate')
    """
    check_draws(n_draws, level, seed)
    result = with_axes(result)
    codes, genuine = subject_codes(result), result["genuine"].to_numpy()
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    influence = result["influence"].transpose("pair", "model", "side", "band").to_numpy()
    evenness = complexity(influence.astype(float))
    means = [
        mean_with_interval(evenness[chosen], codes[:, chosen], draws, level)
        for chosen in (genuine, ~genuine)
    ]
    models = names_of(result, "model")
    figures = named(
        xr.Dataset(
            {
                "complexity": (("pair", "model", "side"), evenness),
                "mean_complexity": (("comparison", "model", "side", "estimate"), np.stack(means)),
            },
            coords={
                "comparison": ["genuine", "impostor"],
                "estimate": list(ESTIMATES),
                "kind": ["directed", "absolute"],
                **{name: result[name] for name in ("model", "side", "pair")},
            },
        ),
        _NAMES,
    )
    couples = list(itertools.combinations(range(len(models)), 2))
    if couples:
        agreement = [
            [
                rank_agreement(kind(influence[:, a]), kind(influence[:, b]))
                for kind in (np.asarray, np.abs)
            ]
            for a, b in couples
        ]
        values = np.array(agreement).transpose(2, 0, 3, 1)  # (pair, couple, side, kind)
        figures["agreement"] = (
            ("couple", "side", "kind", "estimate"),
            mean_with_interval(values, codes, draws, level),
        )
        figures = figures.assign_coords(couple=[f"{models[a]} and {models[b]}" for a, b in couples])
    return figures

"""Other views of the bands as results: datasets of the form of influence, for every figure.

Each function takes a result of :func:`freqlab.influence` and returns it with the values of another
view in place of the influence. The dataset is marked by ``attrs["view"]``; tests of influence
refuse it, since they would read its values as differences of similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import names_of
from freqlab.bands.fills import FILLS
from freqlab.edits.pair_sets import PairSets
from freqlab.errors import ParameterError, check_name
from freqlab.faithfulness import games
from freqlab.faithfulness.views import filled_influence
from freqlab.models.spec import Model
from freqlab.results.quantities import influence_per_contrast
from freqlab.results.selection import with_axes

__all__ = ["CALLS", "filled", "keep_one", "per_contrast", "shapley", "views_of"]

CALLS = {
    "Shapley": "shapley(result, models)",
    "keep one": "keep_one(result, models)",
    "swap": "filled(result, models)",
    "per contrast": "per_contrast(result)",
}
"""Views that are compared as orders with influence, and how to obtain them as results."""

_AT_LEAST = 4  # random orders of the bands

Floats = npt.NDArray[np.float64]
View = Callable[[PairSets, str], Floats]
"""Values ``(pair, band)`` of the pairs of a model, with one side masked."""


def shapley(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    tolerance: float = 0.01,
    most_permutations: int = 32,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute Shapley values of the bands, in the form of a result of influence.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops; all its pairs and sides
        are used, so select a sample first (:func:`freqlab.faithfulness.sample_pairs`).
    models
        The models of the result, loaded.
    tolerance, most_permutations
        Standard error of a Shapley value at which sampling stops, and largest number of orders.
    seed
        Seed of the orders.
    batch_size, progress
        Images per forward pass; whether progress bars are shown.

    Returns
    -------
    xarray.Dataset
        The result with Shapley values as ``influence``, in cosine similarity; the sum over bands is
        the similarity less that of the images without any band.

    Raises
    ------
    ParameterError
        If an argument is invalid or does not match the result.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces, model = fl.testing.faces(n_subjects=4, per_subject=2), fl.testing.model()
    >>> options = {"bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), models=[model], **options)
    >>> values = fl.faithfulness.shapley(result, [model], most_permutations=4, progress=False)
    >>> values["influence"].dims == result["influence"].dims
    True
    """

    def of_pairs(sets: PairSets, side: str) -> Floats:
        found = games.shapley_values(
            lambda pairs, removed: sets.similarity(pairs, removed, side),
            sets.ends.shape[1],
            sets.held,
            tolerance=tolerance,
            most=most_permutations,
            at_least=min(2 * _AT_LEAST, most_permutations),
            seed=seed,
        )
        return found.values

    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    return _as_result(result, models, "Shapley", "Shapley value", of_pairs, **options)


def keep_one(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the contribution of each band alone, in the form of a result of influence.

    Parameters
    ----------
    result, models, batch_size, progress
        As for :func:`shapley`.

    Returns
    -------
    xarray.Dataset
        The result with, as ``influence``, the similarity with only the band less that without any.

    Raises
    ------
    ParameterError
        If an argument does not match the result.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces, model = fl.testing.faces(n_subjects=4, per_subject=2), fl.testing.model()
    >>> options = {"bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), models=[model], **options)
    >>> fl.faithfulness.keep_one(result, [model], progress=False).attrs["view"]
    'keep one'
    """

    def of_pairs(sets: PairSets, side: str) -> Floats:
        return games.keep_one(
            lambda pairs, removed: sets.similarity(pairs, removed, side),
            sets.ends.shape[1],
            sets.held,
        )

    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    name = "contribution of the band alone"
    return _as_result(result, models, "keep one", name, of_pairs, **options)


def filled(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    fill: str = "swap",
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute influence with bands filled instead of removed, in the form of a result.

    Parameters
    ----------
    result, models, batch_size, progress
        As for :func:`shapley`. The side ``"both"`` is left out.
    fill
        ``"swap"``, the band of the partner; ``"mean amplitude"``, that of these images with the
        phase of the image; or ``"noise"`` of equal energy.
    seed
        Seed of the noise.

    Returns
    -------
    xarray.Dataset
        The result with the influence of filled bands.

    Raises
    ------
    ParameterError
        If an argument is invalid or does not match the result.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces, model = fl.testing.faces(n_subjects=4, per_subject=2), fl.testing.model()
    >>> options = {"bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), models=[model], **options)
    >>> swapped = fl.faithfulness.filled(result, [model], progress=False)
    >>> swapped["side"].to_numpy().tolist()
    ['probe', 'reference']
    """
    check_name("fill", fill, FILLS)
    result = with_axes(result)
    sides = [side for side in names_of(result, "side") if side != "both"]
    if not sides:
        raise ParameterError("result masks both images only; filled bands need one masked image")

    def of_pairs(sets: PairSets, side: str) -> Floats:
        none = np.zeros((sets.ends.shape[1], len(sets.held)), bool)
        whole = sets.similarity(np.arange(len(none)), none, side)
        return filled_influence(sets, side, whole, fill, seed)

    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    view, name = f"filled by {fill}", f"influence of the band filled by {fill}"
    return _as_result(result.sel(side=sides), models, view, name, of_pairs, **options)


def per_contrast(result: xr.Dataset) -> xr.Dataset:
    """Divide influence by the contrast removed, in the form of a result of influence.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.

    Returns
    -------
    xarray.Dataset
        The result with influence per grey level of contrast removed; NaN where less than half a
        grey level was removed.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces, model = fl.testing.faces(n_subjects=4, per_subject=2), fl.testing.model()
    >>> options = {"bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), models=[model], **options)
    >>> fl.faithfulness.per_contrast(result).attrs["view"]
    'per contrast removed'
    """
    _check_influence(result)
    ratio = influence_per_contrast(result).rename("influence")
    return result.assign(influence=ratio).assign_attrs(view="per contrast removed")


def views_of(
    result: xr.Dataset,
    models: Sequence[Model],
    *,
    tolerance: float,
    most_permutations: int,
    seed: int,
    progress: bool,
) -> dict[str, xr.Dataset]:
    """Compute the views that are compared as orders with influence, by name.

    Parameters
    ----------
    result, models, tolerance, most_permutations, seed, progress
        As for :func:`shapley`.
    """
    return {
        "Shapley": shapley(
            result,
            models,
            tolerance=tolerance,
            most_permutations=most_permutations,
            seed=seed,
            progress=progress,
        ),
        "keep one": keep_one(result, models, progress=progress),
        "swap": filled(result, models, progress=progress),
        "per contrast": per_contrast(result),
    }


def _check_influence(result: xr.Dataset) -> None:
    """Refuse a result whose values are those of another view."""
    if "view" in result.attrs:
        raise ParameterError(
            f"result holds the view {result.attrs['view']!r}; give the result of fl.influence"
        )


def _as_result(
    result: xr.Dataset,
    models: Sequence[Model],
    view: str,
    long_name: str,
    of_pairs: View,
    *,
    batch_size: int | None,
    progress: bool,
) -> xr.Dataset:
    """Replace the influence of a result by the values of a view.

    Parameters
    ----------
    result, models
        A result, and its models that are computed; others are left out.
    view, long_name
        Name of the view, and of its values.
    of_pairs
        Values of the pairs of a model, with one side masked.
    batch_size, progress
        As for :class:`freqlab.edits.pair_sets.PairSets`.
    """
    _check_influence(result)
    result = with_axes(result).sel(model=[model.name for model in models])
    dims = ("model", "pair", "side", "band")
    values = np.full([result.sizes[dim] for dim in dims], np.nan)
    passes = 0
    for m, model in enumerate(models):
        sets = PairSets(result, model, batch_size=batch_size, progress=progress)
        for s, side in enumerate(names_of(result, "side")):
            values[m, :, s] = np.where(sets.held, of_pairs(sets, side), np.nan)
        passes += sets.sets.forward_passes
    about = result["influence"].attrs | {"long_name": long_name}
    replaced = xr.DataArray(values, dims=dims, attrs=about)
    return result.assign(influence=replaced.transpose(*result["influence"].dims)).assign_attrs(
        view=view, forward_passes=passes
    )

"""Maps of the pairs of a result as datasets, by each method of this package.

Each function takes a result of :func:`freqlab.influence`, and explains the same crops, compared
with the same embeddings. Computed maps are cached in the store.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import named
from freqlab.bands.decompositions import PeriodicDecomposition
from freqlab.bands.radial import cache_identity
from freqlab.edits.pair_sets import PairSets
from freqlab.engine.pairing import SIDES
from freqlab.errors import BandError, ParameterError, check_name
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.results.selection import band_coordinates, threshold_of
from freqlab.saliency import corrrise, freqrise, gradients, joint
from freqlab.saliency.rise import Estimate
from freqlab.store.cache import Arrays, digest_of, kept
from freqlab.system.progress import progress_bar

__all__ = ["PairImages", "corrrise_maps", "freqrise_maps", "gradient_maps", "joint_maps"]

_ENDS = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
_PLANE = {
    "ky": ("vertical frequency", "cycles/image height"),
    "kx": ("horizontal frequency", "cycles/image"),
}
_SIMILARITY = "cosine similarity"
_DIFFERENCE = "similarity less that of the image of mean colour"
_RESIDUAL = "sum of the attributions less the difference of similarities"

_CORRELATION = {
    "pearson": "correlation of mask and similarity",
    "spearman": "rank correlation of mask and similarity",
}

Variables = dict[str, tuple[tuple[str, ...], npt.NDArray[Any], str, str]]
"""Dims, values, long name and unit of each variable."""


@dataclasses.dataclass
class PairImages:
    """Masked images and their partners, for the pairs of a result.

    Parameters
    ----------
    sets
        The pairs.
    side
        The image that is masked: ``"probe"`` or ``"reference"``.
    progress
        Whether to show a progress bar.
    """

    sets: PairSets
    side: Side
    progress: bool = True

    @property
    def masked(self) -> npt.NDArray[np.int64]:
        """Row of the masked crop of each pair."""
        return np.asarray(self.sets.ends[SIDES.index(self.side)])

    @property
    def partners(self) -> npt.NDArray[np.float32]:
        """Embedding of the other image of each pair ``(pair, feature)``."""
        return np.asarray(self.sets.intact[self.sets.ends[1 - SIDES.index(self.side)]])

    def groups(self) -> list[tuple[int, npt.NDArray[np.int64]]]:
        """Crops that are masked, and the usable pairs of each."""
        usable = np.flatnonzero(self.sets.usable)
        masked = self.masked[usable]
        return [(int(face), usable[masked == face]) for face in np.unique(masked)]

    def walk(self, what: str) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """Iterate over the groups, with a progress bar that counts pairs."""
        groups = self.groups()
        text, total = f"{self.sets.model.name}: {what}", sum(len(rows) for _, rows in groups)
        with progress_bar(text, total, "pair", shown=self.progress, delay=0) as bar:
            for face, rows in groups:
                yield face, rows
                bar.update(len(rows))


def images_of(
    result: xr.Dataset,
    model: Model,
    *,
    side: Side,
    pairs: Sequence[int] | None,
    progress: bool = True,
) -> PairImages:
    """Load the images and embeddings of the pairs of a result, or of some pairs by label.

    Raises
    ------
    ParameterError
        If no pair is given, or the result lacks one.
    """
    check_name("side", side, SIDES[:2])
    if pairs is not None:
        if not len(pairs):
            raise ParameterError("pairs=[]: give at least one label of a pair")
        missing = sorted(set(pairs) - set(result["pair"].to_numpy().tolist()))
        if missing:
            raise ParameterError(f"pairs={list(pairs)!r}: the result lacks pairs {missing}")
        result = result.sel(pair=list(pairs))
    return PairImages(PairSets(result, model, progress=False), side, progress)


def _plane_labels(images: PairImages) -> npt.NDArray[np.int64]:
    """Label map of the bands, by which maps of the plane of frequencies are summed.

    Raises
    ------
    BandError
        If the bands are not sets of coefficients of that plane.
    """
    sets = images.sets.sets
    if not isinstance(sets.parts, PeriodicDecomposition):
        raise BandError(
            f"maps of the plane of frequencies are compared with bands of the periodic Fourier "
            f"transform; those of the result are of kind {sets.bands.kind!r} with "
            f"extension={sets.bands.extension!r}"
        )
    return np.asarray(sets.parts.labels.cpu().numpy())


def _kept(
    images: PairImages, kind: str, options: dict[str, Any], compute: Callable[[], Arrays]
) -> tuple[Arrays, dict[str, Any]]:
    """Read arrays from the store, or compute and store them; with attributes of their dataset."""
    sets = images.sets
    content = digest_of(sets.crops, sets.intact, images.masked, sets.ends, sets.usable)
    about = {"model": sets.model.fingerprint(), "side": images.side, **options}
    arrays, seconds, known = kept(
        str(sets.data.attrs["store"]), kind, {**about, "content": content}, compute
    )
    passes = int(arrays["passes"].sum())
    attrs = {
        **{name: value for name, value in options.items() if value is not None},
        "method": kind,
        "model": sets.model.name,
        "side": images.side,
        "passes": passes,
        "seconds": seconds,
        "forward_passes": 0 if known else passes,
        "store": str(sets.data.attrs["store"]),
    }
    return arrays, attrs


def _dataset(
    images: PairImages, variables: Variables, attrs: dict[str, Any], **coords: Any
) -> xr.Dataset:
    """Make a dataset along the pairs."""
    data = images.sets.data
    height, width = images.sets.model.template.size
    dims = {dim for one in variables.values() for dim in one[0]}
    axes: dict[str, Any] = {
        "y": ("y", np.arange(height), {"long_name": "row", "units": "pixels"}),
        "x": ("x", np.arange(width), {"long_name": "column", "units": "pixels"}),
        "ky": ("ky", np.fft.fftfreq(height, 1 / height)),
        "kx": ("kx", np.fft.rfftfreq(width, 1 / width)),
    }
    wanted = {name: axes[name] for name in axes if name in dims}
    if "band" in dims:
        wanted |= band_coordinates(data)
    maps = xr.Dataset(
        {name: one[:2] for name, one in variables.items()},
        coords={**{name: data[name] for name in ("pair", *_ENDS)}, **wanted, **coords},
        attrs=attrs,
    ).drop_vars(["model", "side"], errors="ignore")
    return named(maps, {**{name: one[2:] for name, one in variables.items()}, **_PLANE})


def _estimates(
    images: PairImages, what: str, estimate: Callable[..., Estimate]
) -> Callable[[], Arrays]:
    """Return a function that estimates the maps of all pairs; pairs of one crop share masks."""

    def compute() -> Arrays:
        n = images.sets.ends.shape[1]
        estimates = [
            (rows, estimate(images.sets.model, images.sets.crops[face], images.partners[rows]))
            for face, rows in images.walk(what)
        ]
        if not estimates:
            raise ParameterError("the result has no pair of which both faces were embedded")
        shape = (n, *estimates[0][1].maps.shape[1:])
        most_blocks = max(len(one.reliability) for _, one in estimates)
        arrays: Arrays = {
            "map": np.full(shape, np.nan, np.float32),
            "error": np.full(shape, np.nan, np.float32),
            "n_masks": np.zeros(n, np.int64),
            "converged": np.zeros(n, bool),
            "reliability": np.full((n, most_blocks), np.nan),
            "passes": np.array([one.n_masks for _, one in estimates]),
        }
        for rows, one in estimates:
            arrays["map"][rows], arrays["error"][rows] = one.maps, one.standard_error
            arrays["n_masks"][rows], arrays["converged"][rows] = one.n_masks, one.converged
            arrays["reliability"][rows, : len(one.reliability)] = one.reliability.T
        return arrays

    return compute


def _random_masks(
    images: PairImages, arrays: Arrays, axes: tuple[str, str], what: str, units: str
) -> Variables:
    """Variables of maps by random masks."""
    return {
        "map": (("pair", *axes), arrays["map"], what, units),
        "standard_error": (("pair", *axes), arrays["error"], f"standard error of {what}", units),
        "reliability": (("pair", "block"), arrays["reliability"], "reliability of the map", "1"),
        "n_masks": (("pair",), arrays["n_masks"], "number of masks", "1"),
        "converged": (("pair",), arrays["converged"], "reliability reached", "1"),
    }


def corrrise_maps(
    result: xr.Dataset,
    model: Model,
    *,
    side: Side = "probe",
    pairs: Sequence[int] | None = None,
    n_masks: int = 2000,
    reliability: float = 0.9,
    patch: int | None = None,
    n_patches: int = 10,
    fill: str = "mean",
    correlation: str = "pearson",
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Map the face regions that increase or decrease the similarity of a pair (CorrRISE).

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops.
    model
        One of the models of the result, loaded.
    side
        The image that is masked: ``"probe"`` or ``"reference"``.
    pairs
        Labels of pairs; all by default.
    n_masks, reliability, patch, n_patches, fill, correlation, seed, batch_size
        As for :func:`freqlab.saliency.corrrise.corrrise_estimate`.
    progress
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``map(pair, y, x)``, the correlation of mask and similarity: its positive part is the
        similarity map, its negative part the dissimilarity map; ``standard_error(pair, y, x)``;
        ``reliability(pair, block)``, after each hundred masks; ``n_masks(pair)``, and
        ``converged(pair)``, whether the requested reliability was reached. Attributes ``passes``
        and ``seconds`` hold the cost of the maps, ``forward_passes`` that of this call, 0 if the
        maps were in the store.

    Raises
    ------
    ParameterError
        If an argument is invalid.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(3, 2), models=[model])
    >>> maps = fl.saliency.corrrise_maps(result, model, pairs=[0, 1], n_masks=20, progress=False)
    >>> maps["map"].dims
    ('pair', 'y', 'x')
    """
    images = images_of(result, model, side=side, pairs=pairs, progress=progress)
    options: dict[str, Any] = {
        **{"n_masks": n_masks, "reliability": reliability, "patch": patch, "seed": seed},
        **{"n_patches": n_patches, "fill": fill, "correlation": correlation},
    }

    def estimate(*arguments: Any) -> Estimate:
        return corrrise.corrrise_estimate(*arguments, **options, batch_size=batch_size)

    arrays, attrs = _kept(images, "corrrise", options, _estimates(images, "CorrRISE", estimate))
    what = _CORRELATION[correlation]
    return _dataset(images, _random_masks(images, arrays, ("y", "x"), what, "1"), attrs)


def freqrise_maps(
    result: xr.Dataset,
    model: Model,
    *,
    side: Side = "probe",
    pairs: Sequence[int] | None = None,
    n_masks: int = 4000,
    reliability: float = 0.9,
    cell: float = 8,
    keep: float = 0.5,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Map the coefficients that increase or decrease the similarity of a pair (FreqRISE).

    Parameters
    ----------
    result, model, side, pairs
        As for :func:`corrrise_maps`.
    n_masks, reliability, cell, keep, seed, batch_size
        As for :func:`freqlab.saliency.freqrise.freqrise_estimate`.
    progress
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        As from :func:`corrrise_maps`, with ``map(pair, ky, kx)`` over the half plane of
        frequencies, the gain in similarity where a coefficient is kept, and
        ``by_band(pair, band)``, its mean over the coefficients of each band.

    Raises
    ------
    ParameterError
        If an argument is invalid.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(3, 2), models=[model])
    >>> maps = fl.saliency.freqrise_maps(result, model, pairs=[0, 1], n_masks=20, progress=False)
    >>> maps["map"].dims
    ('pair', 'ky', 'kx')
    """
    images = images_of(result, model, side=side, pairs=pairs, progress=progress)
    labels = _plane_labels(images)
    options: dict[str, Any] = {
        **{"n_masks": n_masks, "reliability": reliability, "cell": cell, "keep": keep},
        "seed": seed,
    }

    def estimate(*arguments: Any) -> Estimate:
        return freqrise.freqrise_estimate(*arguments, **options, batch_size=batch_size)

    arrays, attrs = _kept(images, "freqrise", options, _estimates(images, "FreqRISE", estimate))
    what = "gain in similarity where kept"
    variables = _random_masks(images, arrays, ("ky", "kx"), what, _SIMILARITY)
    n_bands = len(images.sets.held)
    means = freqrise.ring_means(arrays["map"], labels, n_bands, model.template.size[1])
    variables["by_band"] = (("pair", "band"), means, f"mean {what}", _SIMILARITY)
    return _dataset(images, variables, attrs)


def gradient_maps(
    result: xr.Dataset,
    model: Model,
    *,
    kind: str = "integrated",
    steps: int = gradients.STEPS,
    side: Side = "probe",
    pairs: Sequence[int] | None = None,
    fmr: float | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Attribute the similarity of pairs by gradients, in space and in frequency.

    Gradients approximate influence; they are not influence.

    Parameters
    ----------
    result, model, side, pairs
        As for :func:`corrrise_maps`; the network must have gradients.
    kind, steps
        As for :func:`freqlab.saliency.gradients.attribute`.
    fmr
        False match rate of the threshold at which arguments are split; by default, features that
        increase the similarity support it, and features that decrease it oppose it.
    progress
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``space(pair, argument, y, x)``, ``plane(pair, argument, ky, kx)`` and
        ``by_band(pair, argument, band)``, for the arguments ``supporting`` and ``opposing``. The
        sum over arguments is the attribution of the similarity. ``difference(pair)`` is the
        similarity less that of the image of mean colour, and ``residual(pair)`` the sum of the
        attributions less this difference.

    Raises
    ------
    ModelError
        If the network has no gradient.
    ParameterError
        If an argument is invalid, or the threshold is not resolved.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(3, 2), models=[model])
    >>> maps = fl.saliency.gradient_maps(result, model, pairs=[0, 1], steps=2, progress=False)
    >>> maps["space"].dims
    ('pair', 'argument', 'y', 'x')
    """
    images = images_of(result, model, side=side, pairs=pairs, progress=progress)
    labels = _plane_labels(images)
    threshold = 0.0 if fmr is None else threshold_of(result, model=model.name, fmr=fmr)
    if not np.isfinite(threshold):
        raise ParameterError(f"fmr={fmr!r}: the threshold of model {model.name!r} is not resolved")
    check_name("kind of gradient", kind, gradients.KINDS)
    n_steps = steps if kind == "integrated" else 1
    options: dict[str, Any] = {"kind": kind, "steps": n_steps, "threshold": threshold}

    def compute() -> Arrays:
        height, width = model.template.size
        n = images.sets.ends.shape[1]
        space = np.full((n, 2, height, width), np.nan, np.float32)
        plane = np.full((n, 2, height, width // 2 + 1), np.nan, np.float32)
        difference, residual = np.full(n, np.nan), np.full(n, np.nan)
        for face, rows in images.walk("gradients"):
            for row in rows:
                crop, partner = images.sets.crops[face], images.partners[row]
                attribution = gradients.attribute(model, crop, partner, **options)
                space[row], plane[row] = attribution.space, attribution.frequency
                difference[row], residual[row] = attribution.difference, attribution.residual
        # each step has a forward pass and two backward passes, each of which counts as two
        passes = np.array([int(images.sets.usable.sum()) * (2 + 5 * n_steps)])
        return {
            "space": space,
            "plane": plane,
            "difference": difference,
            "residual": residual,
            "passes": passes,
        }

    arrays, attrs = _kept(images, "gradients", options, compute)
    attrs["method"] = "gradient"
    n_bands = len(images.sets.held)
    by_band = gradients.band_sums(arrays["plane"], labels, n_bands)
    what = "attribution of the similarity by gradients"
    return _dataset(
        images,
        {
            "space": (("pair", "argument", "y", "x"), arrays["space"], what, _SIMILARITY),
            "plane": (("pair", "argument", "ky", "kx"), arrays["plane"], what, _SIMILARITY),
            "by_band": (("pair", "argument", "band"), by_band, what, _SIMILARITY),
            "difference": (("pair",), arrays["difference"], _DIFFERENCE, _SIMILARITY),
            "residual": (("pair",), arrays["residual"], _RESIDUAL, _SIMILARITY),
        },
        attrs,
        argument=list(gradients.ARGUMENTS),
    )


def joint_maps(
    result: xr.Dataset,
    model: Model,
    *,
    grid: int = 7,
    side: Side = "probe",
    pairs: Sequence[int] | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the influence of each band within each window of one face.

    Parameters
    ----------
    result, model, side, pairs
        As for :func:`corrrise_maps`.
    grid, batch_size
        As for :func:`freqlab.saliency.joint.joint_influence`.
    progress
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``influence(pair, band, row, column)``, directed, and
        ``removed_rms(pair, band, row, column)``, the contrast that was removed.

    Raises
    ------
    ParameterError
        If an argument is invalid.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(3, 2), models=[model])
    >>> maps = fl.saliency.joint_maps(result, model, pairs=[0, 1], grid=2, progress=False)
    >>> maps["influence"].dims
    ('pair', 'band', 'row', 'column')
    """
    images = images_of(result, model, side=side, pairs=pairs, progress=progress)
    options: dict[str, Any] = {
        "grid": grid,
        **cache_identity(images.sets.bands),
    }
    parts, n_bands = images.sets.sets.parts, len(images.sets.held)

    def compute() -> Arrays:
        shape = (images.sets.ends.shape[1], n_bands, grid, grid)
        influence, contrast = (np.full(shape, np.nan, np.float32) for _ in range(2))
        passes = 0
        for face, rows in images.walk("joint map"):
            one = joint.joint_influence(
                model,
                images.sets.crops[face],
                images.partners[rows],
                parts,
                n_bands,
                grid=grid,
                batch_size=batch_size,
            )
            influence[rows], contrast[rows] = one.influence, one.removed_rms
            passes += one.n_images
        return {"influence": influence, "contrast": contrast, "passes": np.array([passes])}

    arrays, attrs = _kept(images, "joint", options, compute)
    attrs = {name: value for name, value in attrs.items() if name not in ("bands", "edges", "unit")}
    dims = ("pair", "band", "row", "column")
    height, width = model.template.size
    centres = {
        name: (
            name,
            (np.arange(grid) + 0.5) * length / grid - 0.5,
            {"units": "pixels", "long_name": f"centre of the window, {name}"},
        )
        for name, length in (("row", height), ("column", width))
    }
    what = "directed influence within a window"
    return _dataset(
        images,
        {
            "influence": (dims, arrays["influence"], what, _SIMILARITY),
            "removed_rms": (dims, arrays["contrast"], "contrast removed", "grey levels"),
        },
        attrs,
        **centres,
    )

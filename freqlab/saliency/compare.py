"""Deletion curves and agreement of explanations in space and in frequency.

Deletion and insertion are those of bands (:mod:`freqlab.faithfulness.deletion`), applied also to
cells of pixels, which are set to the mean colour of the face, and to cells of coefficients. All end
in the same image of uniform mean colour, so that space and frequency can be compared. A cell and a
band differ in how much they remove at once, so each domain has separate baselines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from freqlab.attrs import named
from freqlab.bands import spectrum
from freqlab.bands.decompositions import PeriodicDecomposition
from freqlab.bands.labels import DC
from freqlab.edits.images import crop_tensor, embed_edits
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faithfulness.deletion import PROTOCOLS, deletion_curves
from freqlab.faithfulness.ordering import random_orders_of_pairs
from freqlab.literals import Domain, Side
from freqlab.models.spec import Model
from freqlab.results.selection import threshold_of
from freqlab.saliency.freqrise import plane_weights
from freqlab.saliency.maps import PairImages, images_of
from freqlab.statistics.vectors import cosines
from freqlab.store.cache import Arrays, digest_of, kept

__all__ = [
    "DOMAINS",
    "band_orders",
    "curves",
    "frequency_cells",
    "space_cells",
]

DOMAINS: tuple[Domain, ...] = ("bands", "frequency", "space")
"""Domains of deletion: whole bands, cells of coefficients, cells of pixels."""

_PRIOR = {"bands": "low first", "frequency": "low first", "space": "centre first"}
_AXES: dict[Domain, tuple[str, ...]] = {
    "bands": ("pair", "band"),
    "frequency": ("pair", "ky", "kx"),
    "space": ("pair", "y", "x"),
}
_ENDS = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
_DIMS = ("model", "pair", "side", "protocol", "order", "step")
_NAMES = {
    "similarity": ("similarity along the order", "cosine similarity"),
    "share": ("share of the units", "1"),
    "threshold": ("decision threshold", "cosine similarity"),
}

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class _Deletion:
    """Orders in which the units of a domain are deleted from the masked images of pairs."""

    images: PairImages
    domain: Domain
    units: Indices
    """Index of the unit of each pixel or coefficient; negative if it is never removed."""
    names: list[str]
    """Names of the orders."""
    orders: Indices
    """Units in order of removal ``(pair, order, unit)``."""
    shares: Floats
    """Share of the units that are removed at each step."""

    @property
    def counts(self) -> npt.NDArray[np.int_]:
        """Number of units that are removed at each step."""
        return np.round(self.shares * self.orders.shape[-1]).astype(int)


def space_cells(height: int, width: int, cell: int) -> Indices:
    """Index of the cell of each pixel ``(height, width)``.

    Cells at the right and bottom edges may be smaller.
    """
    check_number("cell", cell, at_least=1, whole=True)
    across = -(-width // cell)
    return np.asarray(np.arange(height)[:, None] // cell * across + np.arange(width) // cell)


def frequency_cells(height: int, width: int, cell: int) -> Indices:
    """Index of the cell of each coefficient of the half plane ``(height, width // 2 + 1)``.

    A coefficient and its mirror image are in the same cell; the zero frequency is in no cell.
    """
    check_number("cell", cell, at_least=1, whole=True)
    ky = np.fft.fftfreq(height, 1 / height).round().astype(int)[:, None]
    kx = np.arange(width // 2 + 1)[None]
    mirrored = (kx == 0) | (2 * kx == width)
    below = (ky < 0) & (2 * ky != -height) & ~mirrored
    code = (np.abs(ky) // cell * 2 + below) * (width + 1) + kx // cell
    numbers = np.unique(code, return_inverse=True)[1].reshape(code.shape).astype(np.int64)
    numbers[0, 0] = DC
    # renumber the cells: the zero frequency may have been alone in its cell
    return np.where(numbers >= 0, np.searchsorted(np.unique(numbers[numbers >= 0]), numbers), DC)


def curves(
    result: xr.Dataset,
    model: Model,
    explanations: Mapping[str, xr.DataArray],
    *,
    domain: Domain,
    side: Side = "probe",
    fmr: float = 1e-3,
    cell: int | None = None,
    steps: int = 10,
    n_random: int = 2,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the similarity of pairs along deletion and insertion, in the order of each map.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops.
    model
        One of the models of the result, loaded.
    explanations
        Maps of the same pairs by name, positive for evidence of a match: ``(pair, band)``,
        ``(pair, ky, kx)`` or ``(pair, y, x)``, depending on the domain.
    domain
        One of :data:`DOMAINS`.
    side
        The image from which units are removed: ``"probe"`` or ``"reference"``.
    fmr
        False match rate at which the threshold was set.
    cell
        Edge length of a cell: 8 pixels or 4 coefficients by default.
    steps
        Number of steps from nothing to all, two or more. There are no more steps than units.
    n_random
        Number of random orders of each pair.
    seed
        Seed of the random orders.
    batch_size
        Images per forward pass.
    progress
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        In the form of :func:`freqlab.faithfulness.deletion_curves`. The orders are the
        explanations, ``amplitude``, ``low first`` or ``centre first``, and ``random 1`` and so on.
        :func:`freqlab.faithfulness.deletion_errors` takes one explanation followed by the
        baselines: select them in this order.

    Raises
    ------
    ParameterError
        If an argument is invalid, or the maps differ in their pairs or do not fit the domain.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(3, 2), models=[model])
    >>> maps = fl.saliency.freqrise_maps(result, model, pairs=[0, 1], n_masks=20, progress=False)
    >>> curves = fl.saliency.curves(
    ...     result.sel(pair=[0, 1]), model, {"FreqRISE": maps["map"]}, domain="frequency", fmr=0.1,
    ...     steps=4, progress=False
    ... )
    >>> curves["order"].to_numpy().tolist()
    ['FreqRISE', 'amplitude', 'low first', 'random 1', 'random 2']
    """
    check_name("domain", domain, DOMAINS)
    check_number("steps", steps, at_least=2, whole=True)
    check_number("n_random", n_random, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    if not explanations:
        raise ParameterError("explanations={}: give at least one map")
    pairs = next(iter(explanations.values()))["pair"].to_numpy().tolist()
    threshold = threshold_of(result, model=model.name, fmr=fmr)
    images = images_of(result, model, side=side, pairs=pairs, progress=progress)
    units = _units(images, domain, cell)
    n_units = int(units.max()) + 1
    ends = [images.sets.data[end].to_numpy().tolist() for end in ("probe", "reference")]
    random = random_orders_of_pairs(ends[0], ends[1], np.arange(n_units), n_random, seed)
    deletion = _Deletion(
        images,
        domain,
        units,
        names=[
            *explanations,
            "amplitude",
            _PRIOR[domain],
            *(f"random {i + 1}" for i in range(n_random)),
        ],
        orders=_orders(images, domain, units, _values(images, domain, units, explanations), random),
        shares=np.linspace(0, 1, min(steps, n_units) + 1),
    )
    arrays, attrs = _stored_similarities(deletion, seed, batch_size)
    return _as_curves(
        deletion,
        arrays["similarity"],
        threshold,
        {"fmr": fmr, "seed": seed, "n_random": n_random, **attrs},
    )


def _stored_similarities(
    deletion: _Deletion, seed: int, batch_size: int | None
) -> tuple[Arrays, dict[str, Any]]:
    """Read similarities along the orders from the store, or compute them; with attributes."""
    sets, orders = deletion.images.sets, deletion.orders
    about = {
        "model": sets.model.fingerprint(),
        "side": deletion.images.side,
        "domain": deletion.domain,
        "names": deletion.names,
        "counts": deletion.counts.tolist(),
        "seed": seed,
        "content": digest_of(sets.crops, sets.intact, sets.ends, deletion.units, orders),
    }
    store = str(sets.data.attrs["store"])
    arrays, seconds, known = kept(
        store, "deletion", about, lambda: _similarities(deletion, batch_size)
    )
    n_passes = int(arrays["passes"][0])
    return arrays, {
        "domain": deletion.domain,
        "units": orders.shape[-1],
        "passes": n_passes,
        "seconds": seconds,
        "forward_passes": 0 if known else n_passes,
        "store": store,
    }


def _similarities(deletion: _Deletion, batch_size: int | None) -> Arrays:
    """Compute the similarity of each pair along all orders, and count forward passes."""
    images, counts = deletion.images, deletion.counts
    n_pairs, n_orders, n_units = deletion.orders.shape
    similarity = np.full((n_pairs, 2, n_orders, len(counts)), np.nan)
    passes = 0
    for face, rows in images.walk(f"orders of {deletion.domain}"):
        for row in rows:
            # removed[protocol, order, step, unit]
            ranks = np.argsort(deletion.orders[row], axis=1)
            gone = ranks[:, None] < counts[:, None]
            removed = np.stack([gone, ~gone])
            sets, where = np.unique(removed.reshape(-1, n_units), axis=0, return_inverse=True)
            embedded = _embed(deletion, face, sets, batch_size)
            of_sets = cosines(embedded, images.partners[row][None])[:, 0]
            similarity[row] = of_sets[where.ravel()].reshape(removed.shape[:3])
            passes += len(sets)
    return {"similarity": similarity, "passes": np.array([passes])}


def _as_curves(
    deletion: _Deletion, similarity: Floats, threshold: float, attrs: dict[str, Any]
) -> xr.Dataset:
    """Label similarities ``(pair, protocol, order, step)`` as deletion curves are."""
    data, orders = deletion.images.sets.data, deletion.orders
    same = (orders == orders[:, :1]).all(axis=-1)
    computed = xr.Dataset(
        {
            "similarity": (_DIMS, similarity[None, :, None]),
            "share": (("model", "step"), deletion.shares[None]),
            "same_order": (("model", "pair", "side", "order"), same[None, :, None]),
            "threshold": ("model", [threshold]),
        },
        coords={
            "model": [deletion.images.sets.model.name],
            "side": [deletion.images.side],
            "protocol": list(PROTOCOLS),
            "order": deletion.names,
            **{
                name: data[name].drop_vars(["model", "side"], errors="ignore")
                for name in ("pair", *_ENDS)
            },
        },
        attrs=attrs,
    )
    return named(computed, _NAMES)


def _units(images: PairImages, domain: Domain, cell: int | None) -> Indices:
    """Index of the unit of each pixel or coefficient, negative if it is never removed."""
    height, width = images.sets.model.template.size
    if domain == "space":
        return space_cells(height, width, 8 if cell is None else cell)
    if domain == "frequency":
        return frequency_cells(height, width, 4 if cell is None else cell)
    if cell is not None:
        raise ParameterError(f"cell={cell!r}: domain 'bands' has no cells")
    parts = images.sets.sets.parts
    if not isinstance(parts, PeriodicDecomposition):
        return np.arange(parts.present.sum())
    labels = parts.labels.numpy()
    bands = np.unique(labels[labels >= 0])  # bands without coefficients are left out
    return np.where(labels >= 0, np.searchsorted(bands, labels), -1)


def _values(
    images: PairImages, domain: Domain, units: Indices, explanations: Mapping[str, xr.DataArray]
) -> list[Floats]:
    """Mean of each map over each unit ``(pair, unit)``."""
    values = [_per_unit(name, one, images, domain, units) for name, one in explanations.items()]
    pairs = next(iter(explanations.values()))["pair"].to_numpy().tolist()
    for name, one in explanations.items():
        if one["pair"].to_numpy().tolist() != pairs:
            raise ParameterError(f"explanation {name!r} is of other pairs than the first")
    return values


def _per_unit(
    name: str, values: xr.DataArray, images: PairImages, domain: Domain, units: Indices
) -> Floats:
    """Mean of a map over each unit ``(pair, unit)``."""
    dims = _AXES[domain]
    if set(values.dims) != set(dims):
        raise ParameterError(
            f"explanation {name!r} has axes {', '.join(map(str, values.dims))}; in domain "
            f"{domain!r} they are {', '.join(dims)}"
        )
    array = values.transpose(*dims).to_numpy().astype(float)
    if domain == "bands":
        return array[:, images.sets.held]
    if array.shape[1:] != units.shape:
        raise ParameterError(
            f"explanation {name!r} has shape {array.shape[1:]}; maps of these crops have shape "
            f"{units.shape}"
        )
    flat, inside = units.ravel(), units.ravel() >= 0
    sums = np.stack([np.bincount(flat[inside], weights=v.ravel()[inside]) for v in array])
    return np.asarray(sums / np.bincount(flat[inside]))


def _orders(
    images: PairImages,
    domain: Domain,
    units: Indices,
    values: list[Floats],
    random: Indices,
) -> Indices:
    """Units in order of removal ``(pair, order, unit)``: by values, by baselines, at random."""
    sign = np.where(images.sets.data["genuine"].to_numpy(), -1, 1)[:, None]
    n_pairs = len(sign)
    orders = [np.argsort(sign * one, axis=1, kind="stable") for one in values]
    energy = _energy(images, domain, units)
    orders.append(np.argsort(-energy[images.masked], axis=1, kind="stable"))
    orders.append(np.tile(_prior_order(images, domain, units), (n_pairs, 1)))
    return np.concatenate([np.stack(orders, axis=1), random], axis=1).astype(np.int64)


def _energy(images: PairImages, domain: Domain, units: Indices) -> Floats:
    """Energy of each unit in each crop ``(face, unit)``, without the mean colour."""
    height, width = images.sets.model.template.size
    sets = images.sets.sets
    if domain == "bands" and not isinstance(sets.parts, PeriodicDecomposition):
        crops = [crop_tensor(images.sets.model, crop)[None] for crop in images.sets.crops]
        return np.concatenate([sets.parts.energy(crop).numpy() for crop in crops])[:, sets.held]
    inside, flat = units >= 0, units[units >= 0]
    energy = []
    for crop in images.sets.crops:
        image = crop_tensor(images.sets.model, crop).numpy().astype(float)
        image = image - image.mean(axis=(1, 2), keepdims=True)
        if domain == "space":
            square = (image**2).sum(axis=0)
        else:
            square = (np.abs(np.fft.rfft2(image)) ** 2).sum(axis=0) * plane_weights(height, width)
        energy.append(np.bincount(flat, weights=square[inside]))
    return np.stack(energy)


def _prior_order(images: PairImages, domain: Domain, units: Indices) -> npt.NDArray[np.intp]:
    """Units from low to high frequency, or from the centre to the edge of the face."""
    height, width = images.sets.model.template.size
    sets = images.sets.sets
    if domain == "bands" and not isinstance(sets.parts, PeriodicDecomposition):
        return np.argsort(sets.bands.frequency[sets.held], kind="stable")
    inside, flat = units >= 0, units[units >= 0]
    if domain == "space":
        y, x = np.mgrid[:height, :width]
        radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    else:
        ky, kx = np.fft.fftfreq(height, 1 / height), np.arange(width // 2 + 1)
        radius = np.hypot(ky[:, None] / height, kx / width)
    mean_radius = np.bincount(flat, weights=radius[inside]) / np.bincount(flat)
    return np.argsort(mean_radius, kind="stable")


def _embed(
    deletion: _Deletion, face: int, removed: npt.NDArray[np.bool_], batch_size: int | None
) -> npt.NDArray[np.float32]:
    """Embed a crop without some units ``(set, unit)``."""
    model = deletion.images.sets.model
    image = crop_tensor(model, deletion.images.sets.crops[face])
    sets = deletion.images.sets.sets
    if deletion.domain == "bands" and not isinstance(sets.parts, PeriodicDecomposition):
        gone_bands = torch.zeros(len(removed), len(sets.held), dtype=torch.bool)
        gone_bands[:, torch.from_numpy(sets.held)] = torch.from_numpy(removed)
        return embed_edits(
            model,
            len(removed),
            lambda start, stop: sets.parts.remove(image[None], gone_bands[start:stop])[0],
            batch_size=batch_size,
        )
    mean = image.mean(dim=(1, 2), keepdim=True)
    units, gone = torch.from_numpy(deletion.units), torch.from_numpy(removed)

    def edit(start: int, stop: int) -> torch.Tensor:
        masks = spectrum.removal_masks(gone[start:stop], units).to(image.dtype)
        if deletion.domain == "space":
            return mean + masks[:, None] * (image - mean)
        return spectrum.apply_masks(image.expand(stop - start, -1, -1, -1), masks)

    return embed_edits(model, len(removed), edit, batch_size=batch_size)


def band_orders(
    result: xr.Dataset,
    model: Model,
    explanations: Mapping[str, xr.DataArray],
    *,
    side: Side = "probe",
    fmr: float = 1e-3,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Compute deletion and insertion of bands by explanations, and in the best order known.

    Parameters
    ----------
    result, model, side, fmr, seed, progress
        As for :func:`curves`.
    explanations
        Explanations ``(pair, band)`` of the same pairs by name; ``"influence"`` is that of the
        result.

    Returns
    -------
    xarray.Dataset
        From :func:`freqlab.faithfulness.deletion_curves`, with a greedy search for the best order.
    """
    pairs = next(iter(explanations.values()))["pair"].to_numpy()
    return deletion_curves(
        result.sel(pair=pairs, side=[side]),
        [model],
        explanations={name: one for name, one in explanations.items() if name != "influence"},
        beam=1,
        fmr=fmr,
        n_random=1,
        seed=seed,
        progress=progress,
    )

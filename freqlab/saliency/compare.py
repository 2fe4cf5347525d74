"""Explanations in space and in frequency side by side: agreement, faithfulness, cost.

Deletion and insertion are those of bands (:mod:`freqlab.faithfulness.deletion`), applied also to
cells of pixels, which are set to the mean colour of the face, and to cells of coefficients. All end
in the same image of uniform mean colour, so that space and frequency can be compared. A cell and a
band differ in how much they remove at once, so each domain has separate baselines.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from freqlab.attrs import with_object_text
from freqlab.bands import spectrum
from freqlab.bands.radial import DC
from freqlab.edits.images import crop_tensor, embed_edits
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faithfulness.games import rank_agreement
from freqlab.literals import Domain
from freqlab.models.spec import Model
from freqlab.results.selection import threshold_of
from freqlab.saliency.freqrise import plane_weights
from freqlab.saliency.joint import window_weights
from freqlab.saliency.maps import PairImages, images_of
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    mean_with_interval,
    subject_codes,
)
from freqlab.statistics.vectors import cosines
from freqlab.store.cache import Arrays, digest_of, kept

__all__ = ["DOMAINS", "agreement", "curves", "frequency_cells", "space_cells", "windowed"]

DOMAINS: tuple[Domain, ...] = ("bands", "frequency", "space")
"""Domains of deletion: whole bands, cells of coefficients, cells of pixels."""

_PRIOR = {"bands": "low first", "frequency": "low first", "space": "centre first"}

Floats = npt.NDArray[np.float64]


def space_cells(height: int, width: int, cell: int) -> npt.NDArray[np.int64]:
    """Index of the cell of each pixel ``(height, width)``; cells at the far edges are smaller."""
    check_number("cell", cell, at_least=1, whole=True)
    across = -(-width // cell)
    return np.asarray(np.arange(height)[:, None] // cell * across + np.arange(width) // cell)


def frequency_cells(height: int, width: int, cell: int) -> npt.NDArray[np.int64]:
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
    # the zero frequency may have been alone in its cell
    return np.where(numbers >= 0, np.searchsorted(np.unique(numbers[numbers >= 0]), numbers), DC)


def curves(
    result: xr.Dataset,
    model: Model,
    explanations: Mapping[str, xr.DataArray],
    *,
    domain: Domain,
    side: str = "probe",
    fmr: float = 1e-3,
    cell: int | None = None,
    steps: int = 10,
    n_random: int = 2,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute similarity of pairs along deletion and insertion, in orders of explanations.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops.
    model
        One of the models of the result, loaded.
    explanations
        Maps by name, positive for evidence of a match, all over the same pairs: ``(pair, band)``,
        ``(pair, ky, kx)`` or ``(pair, y, x)``, depending on the domain.
    domain
        One of :data:`DOMAINS`.
    side
        The image that is edited.
    fmr
        False match rate at which the threshold was set.
    cell
        Edge of a cell: 8 pixels or 4 coefficients by default.
    steps
        Steps from nothing to all, at least two and at most the number of units.
    n_random
        Number of random orders.
    seed
        Seed of the random orders.
    batch_size
        Images per forward pass.
    progress
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        As from :func:`freqlab.faithfulness.deletion_curves`; the orders are the explanations,
        ``amplitude``, ``low first`` or ``centre first``, and ``random 1`` and so on. For
        :func:`freqlab.faithfulness.deletion_errors` select one explanation and the baselines, in
        this order.

    Raises
    ------
    ParameterError
        If maps do not match the domain or each other.
    """
    check_name("domain", domain, DOMAINS)
    check_number("steps", steps, at_least=2, whole=True)
    check_number("n_random", n_random, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    if not explanations:
        raise ParameterError("explanations={}: give at least one map")
    labels_of_pairs = next(iter(explanations.values()))["pair"].to_numpy().tolist()
    images = images_of(result, model, side=side, pairs=labels_of_pairs, progress=progress)
    units = _units(images, domain, cell)
    n_units = int(units.max()) + 1
    values = [_per_unit(name, one, images, domain, units) for name, one in explanations.items()]
    for name, one in explanations.items():
        if one["pair"].to_numpy().tolist() != labels_of_pairs:
            raise ParameterError(f"explanation {name!r} is of other pairs than the first")
    names = [*explanations, "amplitude", _PRIOR[domain]]
    names += [f"random {i + 1}" for i in range(n_random)]
    shares = np.linspace(0, 1, min(steps, n_units) + 1)
    counts = np.round(shares * n_units).astype(int)
    threshold = threshold_of(result, model=model.name, fmr=fmr)
    rng = np.random.default_rng(seed)
    chance = [rng.permutation(n_units) for _ in range(n_random)]
    n_pairs = images.sets.ends.shape[1]
    orders = _orders(images, domain, units, values, chance)

    def compute() -> Arrays:
        similarity = np.full((n_pairs, 2, len(names), len(counts)), np.nan)
        passes = 0
        for face, rows in images.walk(f"orders of {domain}"):
            for row in rows:
                # removed[protocol, order, step, unit]
                ranks = np.argsort(orders[row], axis=1)
                gone = ranks[:, None] < counts[:, None]
                removed = np.stack([gone, ~gone])
                sets, where = np.unique(removed.reshape(-1, n_units), axis=0, return_inverse=True)
                embedded = _embed(images, face, domain, units, sets, batch_size)
                found = cosines(embedded, images.partners[row][None])[:, 0]
                similarity[row] = found[where.ravel()].reshape(removed.shape[:3])
                passes += len(sets)
        return {"similarity": similarity, "passes": np.array([passes])}

    sets = images.sets
    about = {
        **{"model": model.fingerprint(), "side": side, "domain": domain, "names": names},
        **{"counts": counts.tolist(), "seed": seed},
        "content": digest_of(sets.crops, sets.intact, sets.ends, units, orders),
    }
    arrays, seconds, known = kept(str(sets.data.attrs["store"]), "deletion", about, compute)
    n_passes = int(arrays["passes"][0])
    same = (orders == orders[:, :1]).all(axis=-1)
    dims = ("model", "pair", "side", "protocol", "order", "step")
    ends = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
    computed = xr.Dataset(
        {
            "similarity": (
                dims,
                arrays["similarity"][None, :, None],
                {"units": "cosine similarity"},
            ),
            "share": (("model", "step"), shares[None], {"units": "1"}),
            "same_order": (("model", "pair", "side", "order"), same[None, :, None]),
            "threshold": ("model", [threshold]),
        },
        coords={
            "model": [model.name],
            "side": [side],
            "protocol": ["deletion", "insertion"],
            "order": names,
            **{
                name: sets.data[name].drop_vars(["model", "side"], errors="ignore")
                for name in ("pair", *ends)
            },
        },
        attrs={
            **{"fmr": fmr, "seed": seed, "n_random": n_random, "domain": domain},
            **{"units": n_units, "passes": n_passes, "seconds": seconds},
            "forward_passes": 0 if known else n_passes,
            "store": str(sets.data.attrs["store"]),
        },
    )
    return with_object_text(computed)


def _units(images: PairImages, domain: Domain, cell: int | None) -> npt.NDArray[np.int64]:
    """Index of the unit of each pixel or coefficient, negative if it is never removed."""
    height, width = images.sets.model.template.size
    if domain == "space":
        return space_cells(height, width, 8 if cell is None else cell)
    if domain == "frequency":
        return frequency_cells(height, width, 4 if cell is None else cell)
    if cell is not None:
        raise ParameterError(f"cell={cell!r}: bands have no cells")
    labels = images.sets.sets.labels
    held = np.unique(labels[labels >= 0])  # bands without coefficients are left out
    return np.where(labels >= 0, np.searchsorted(held, labels), -1)


def _per_unit(
    name: str,
    values: xr.DataArray,
    images: PairImages,
    domain: Domain,
    units: npt.NDArray[np.int64],
) -> Floats:
    """Mean of a map over each unit ``(pair, unit)``."""
    dims = {"bands": ("pair", "band"), "frequency": ("pair", "ky", "kx")}.get(
        domain, ("pair", "y", "x")
    )
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
            f"explanation {name!r} is of {array.shape[1:]}, the crops need {units.shape}"
        )
    flat, inside = units.ravel(), units.ravel() >= 0
    sums = np.stack([np.bincount(flat[inside], weights=v.ravel()[inside]) for v in array])
    return np.asarray(sums / np.bincount(flat[inside]))


def _orders(
    images: PairImages,
    domain: Domain,
    units: npt.NDArray[np.int64],
    values: list[Floats],
    chance: list[npt.NDArray[np.int64]],
) -> npt.NDArray[np.int64]:
    """Units in order of removal ``(pair, order, unit)``."""
    height, width = images.sets.model.template.size
    inside, flat = units >= 0, units[units >= 0]
    counts = np.bincount(flat)
    energy = []
    for crop in images.sets.crops:
        image = crop_tensor(images.sets.model, crop).numpy().astype(float)
        image = image - image.mean(axis=(1, 2), keepdims=True)
        if domain == "space":
            square = (image**2).sum(axis=0)
        else:
            square = (np.abs(np.fft.rfft2(image)) ** 2).sum(axis=0) * plane_weights(height, width)
        energy.append(np.bincount(flat, weights=square[inside]))
    if domain == "space":
        y, x = np.mgrid[:height, :width]
        far = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    else:
        ky, kx = np.fft.fftfreq(height, 1 / height), np.arange(width // 2 + 1)
        far = np.hypot(ky[:, None] / height, kx / width)
    prior = np.argsort(np.bincount(flat, weights=far[inside]) / counts, kind="stable")
    sign = np.where(images.sets.data["genuine"].to_numpy(), -1, 1)[:, None]
    n_pairs = len(sign)
    found = [np.argsort(sign * one, axis=1, kind="stable") for one in values]
    found.append(np.argsort(-np.stack(energy)[images.masked], axis=1, kind="stable"))
    found += [np.tile(one, (n_pairs, 1)) for one in (prior, *chance)]
    return np.stack(found, axis=1).astype(np.int64)


def _embed(
    images: PairImages,
    face: int,
    domain: Domain,
    units: npt.NDArray[np.int64],
    removed: npt.NDArray[np.bool_],
    batch_size: int | None,
) -> npt.NDArray[np.float32]:
    """Embed a crop without some units ``(set, unit)``."""
    model = images.sets.model
    image = crop_tensor(model, images.sets.crops[face])
    mean = image.mean(dim=(1, 2), keepdim=True)
    where = torch.from_numpy(units)
    gone = torch.from_numpy(removed)

    def edit(start: int, stop: int) -> torch.Tensor:
        masks = spectrum.removal_masks(gone[start:stop], where).to(image.dtype)
        if domain == "space":
            return mean + masks[:, None] * (image - mean)
        return spectrum.apply_masks(image.expand(stop - start, -1, -1, -1), masks)

    return embed_edits(model, len(removed), edit, batch_size=batch_size)


def windowed(maps: xr.DataArray, grid: int) -> xr.DataArray:
    """Average maps in space over the windows of joint maps, for comparison with these.

    Parameters
    ----------
    maps
        ``(..., y, x)``.
    grid
        Windows along each axis.

    Returns
    -------
    xarray.DataArray
        ``(..., row, column)``.
    """
    weights = [
        xr.DataArray(window_weights(maps.sizes[axis], grid), dims=(name, axis))
        for axis, name in (("y", "row"), ("x", "column"))
    ]
    both = weights[0] * weights[1]
    return xr.dot(maps, both, dim=["y", "x"]) / both.sum(["y", "x"])


def agreement(
    maps: Mapping[str, xr.DataArray],
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the agreement of explanations of the same pairs: mean rank correlation over units.

    Parameters
    ----------
    maps
        Maps by name, each along ``pair`` and the same other axes: bands, or windows of a face.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        ``agreement(kind, explanation, other, estimate)``, for the values (``directed``) and their
        magnitudes (``absolute``); mean over pairs of Spearman's rank correlation.

    Raises
    ------
    ParameterError
        If maps have different pairs or sizes.
    """
    check_draws(n_draws, level, seed)
    if len(maps) < 2:
        raise ParameterError(f"{len(maps)} maps cannot agree; give two or more")
    first_name, first = next(iter(maps.items()))
    arrays = []
    for name, one in maps.items():
        others = [dim for dim in first.dims if dim != "pair"]
        if set(one.dims) != set(first.dims) or any(
            one.sizes[dim] != first.sizes[dim] for dim in first.dims
        ):
            raise ParameterError(
                f"map {name!r} is {dict(one.sizes)} and map {first_name!r} {dict(first.sizes)}"
            )
        if one["pair"].to_numpy().tolist() != first["pair"].to_numpy().tolist():
            raise ParameterError(f"map {name!r} is of other pairs than map {first_name!r}")
        values = one.transpose("pair", *others).to_numpy().astype(float)
        arrays.append(values.reshape(len(values), -1))
    stacked = np.stack(arrays, axis=1)  # (pair, explanation, unit)
    codes = subject_codes(first.to_dataset(name="map"))
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    found = np.stack(
        [
            rank_agreement(turn(stacked)[:, :, None], turn(stacked)[:, None])
            for turn in (np.asarray, np.abs)
        ],
        axis=1,
    )
    computed = xr.Dataset(
        {
            "agreement": (
                ("kind", "explanation", "other", "estimate"),
                mean_with_interval(found, codes, draws, level),
                {"long_name": "mean rank correlation", "units": "1"},
            )
        },
        coords={
            "kind": ["directed", "absolute"],
            "explanation": list(maps),
            "other": list(maps),
            "estimate": list(ESTIMATES),
        },
        attrs={"n_draws": n_draws, "level": level, "n_pairs": len(stacked)},
    )
    return with_object_text(computed)

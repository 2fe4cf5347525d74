"""The cross-resolution study: degraded probes, errors, influence and leaks, stored in the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.bands.radial import Bands, parse_bands
from freqlab.errors import ParameterError
from freqlab.faces.degraded import degrade, degraded_pairs, pairs_by_resolution
from freqlab.faces.pairs import make_pairs
from freqlab.faces.table import Faces
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.resolution.error_rates import errors
from freqlab.resolution.influence import leaks, profiles
from freqlab.run.calls import embed, influence
from freqlab.run.studies import RunOptions, Studied, study_of
from freqlab.statistics.error_rates import check_fmr
from freqlab.store.reading import open_embeddings, pixels_across
from freqlab.store.studies import Nodes

__all__ = ["study"]

_SIDES: list[Side] = ["probe", "reference"]
_CONTROL = "fourier"  # the ideal low-pass, which does not leak


class _Sets(NamedTuple):
    faces: Faces
    explained: pd.DataFrame
    compared: pd.DataFrame | None


def study(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    models: Studied,
    store: str | os.PathLike[str],
    bands: Bands | str = "rings:4",
    resolutions: Sequence[int] = (56, 28, 21, 14, 7),
    natural: bool = False,
    kernel: str = "area",
    measure: str = "crop",
    blur: float = 0.0,
    noise: float = 0.0,
    jpeg: int | None = None,
    control_kernels: Sequence[str] = ("bicubic", "lanczos", _CONTROL),
    n_control: int = 10,
    n_pairs: int | None = 80,
    low: float | None = None,
    fmr: float = 1e-3,
    n_draws: int = 1000,
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> xr.DataTree:
    """Compute how low resolution affects verification and store it in the run, or open it.

    Parameters
    ----------
    faces
        The faces, not degraded.
    pairs
        Comparisons; all against all by default. A sample of them is explained.
    models, store, bands, run
        As for :func:`freqlab.influence`.
    resolutions
        Widths of the probes in pixels, the highest first.
    natural
        Whether the set itself varies in resolution; its pairs are then sorted by resolution.
    kernel, measure, blur, noise, jpeg
        How probes are degraded, as for :func:`freqlab.faces.degrade`.
    control_kernels, n_control
        Further kernels, and the number of probes on which they are tried at three of the
        resolutions.
    n_pairs
        Number of explained pairs, half of them genuine; None for all.
    low
        As for :func:`freqlab.resolution.profiles`.
    fmr
        False match rate of the threshold at which findings are reported.
    n_draws, seed
        Bootstrap draws over people, and the seed of all random draws.

    Returns
    -------
    xarray.DataTree
        ``/errors``, from :func:`freqlab.resolution.errors`; ``/profiles``, from
        :func:`freqlab.resolution.profiles`; where probes are degraded, ``/leaks``, from
        :func:`freqlab.resolution.leaks`, and ``/control``, the profiles under the ideal low-pass;
        ``/influence``, the underlying influence result.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    StoreError
        If the store cannot be read or written.
    """
    check_fmr(fmr)
    if not resolutions:
        raise ParameterError("resolutions=[] must be at least one number of pixels")
    parsed = parse_bands(bands) if isinstance(bands, str) else bands
    camera = {"measure": measure, "blur": blur, "noise": noise, "jpeg": jpeg, "seed": seed}

    def make(loaded: list[Model]) -> Nodes:
        native = max(model.template.size[1] for model in loaded)
        steps = [native, *resolutions]
        explained = _sample(faces, pairs, n_pairs, seed)
        sets = _Sets(faces, explained, pairs)
        if not natural:
            controls = list(control_kernels) if _is_plain(camera) else []
            sets = _degraded(
                faces, pairs, explained, resolutions, kernel, camera, controls, n_control
            )
        embed(sets.faces, models=loaded, store=store, **run)
        across = pixels_across(store)[faces.names]
        if natural:
            listed = make_pairs(faces, seed=seed) if pairs is None else pairs
            sets = _Sets(
                faces,
                pairs_by_resolution(explained, across, resolutions=steps),
                pairs_by_resolution(listed, across, resolutions=steps),
            )
        vectors = {
            model.name: open_embeddings(store, model=model.name).sel(face=sets.faces.names)
            for model in loaded
        }
        drawn: dict[str, Any] = {"n_draws": n_draws, "seed": seed}
        found = errors(
            {name: one.to_numpy() for name, one in vectors.items()},
            sets.faces,
            sets.compared,
            native=native,
            **drawn,
        )
        result = influence(
            sets.faces,
            sets.explained,
            models=loaded,
            bands=parsed,
            sides=_SIDES,
            store=store,
            **run,
        ).load()
        nodes = {"errors": found, "profiles": profiles(result, low=low, **drawn)}
        attrs: dict[str, Any] = {
            "result": result.attrs["name"],
            "forward_passes": result.attrs["forward_passes"],
            "native": native,
            "n_explained": int(result.sizes["pair"]),
            "all_against_all": int(sets.compared is None),
        }
        if across.notna().any():
            attrs["pixels_across"] = across.quantile([0.05, 0.5, 0.95]).tolist()
        if not natural:
            nodes["leaks"] = leaks(result, **drawn)
            if _CONTROL in nodes["leaks"]["degradation"]:
                nodes["control"] = profiles(result, degradation=_CONTROL, low=low, **drawn)
            attrs["typical_pair"] = _typical_pair(result)
            degradations = sets.faces.degradations or ()
            attrs["degradation"] = next(one.kind for one in degradations if one is not None)
        return {**nodes, "/": xr.Dataset(attrs=attrs)}

    return study_of(
        "resolution",
        faces,
        make,
        models=models,
        store=store,
        run=run,
        pairs=pairs,
        bands=parsed.key,
        resolutions=list(resolutions),
        natural=natural,
        kernel=kernel,
        control_kernels=list(control_kernels),
        n_control=n_control,
        n_pairs=n_pairs,
        low=low,
        fmr=fmr,
        n_draws=n_draws,
        **camera,
    )


def _is_plain(camera: dict[str, Any]) -> bool:
    """Whether probes only lose pixels across the crop, without any other degradation."""
    return camera["measure"] == "crop" and not any(camera[one] for one in ("blur", "noise", "jpeg"))


def _sample(
    faces: Faces, pairs: pd.DataFrame | None, n_pairs: int | None, seed: int
) -> pd.DataFrame:
    """Choose the undegraded pairs to explain: a sample of a list, else drawn at random."""
    if pairs is None:
        return make_pairs(faces, n_pairs=n_pairs, seed=seed)
    if n_pairs is None or n_pairs >= len(pairs):
        return pairs
    halves = [
        part.sample(min(len(part), n_pairs // 2), random_state=seed)
        for _, part in pairs.groupby("genuine")
    ]
    return pd.concat(halves).sort_index()


def _degraded(
    faces: Faces,
    pairs: pd.DataFrame | None,
    explained: pd.DataFrame,
    resolutions: Sequence[int],
    kernel: str,
    camera: dict[str, Any],
    controls: list[str],
    n_control: int,
) -> _Sets:
    """Faces with degraded copies, the pairs to explain and the pairs over which errors count."""
    # all faces are probes if all are compared with all
    probes = None if pairs is None else pairs["probe"].astype(str)
    found = degrade(faces, resolutions=resolutions, kernel=kernel, probes=probes, **camera)
    few = explained[explained["genuine"]]["probe"].astype(str).unique()[:n_control]
    n = len(resolutions)
    coarse = sorted({resolutions[n // 3], resolutions[2 * n // 3], resolutions[-1]})
    for other in controls:
        if other != kernel:
            found = degrade(found, resolutions=coarse, kernel=other, probes=few)
    compared = None if pairs is None else degraded_pairs(pairs, found)
    return _Sets(found, degraded_pairs(explained, found), compared)


def _typical_pair(result: xr.Dataset) -> int:
    """The undegraded genuine pair of median similarity under the first model."""
    as_they_are = (result["degradation"] == "none").to_numpy() & result["genuine"].to_numpy()
    whole = result.isel(pair=np.flatnonzero(as_they_are), model=0)
    similarity = whole["similarity"].to_numpy()
    place = np.nan_to_num(np.abs(similarity - np.nanmedian(similarity)), nan=2).argmin()
    return int(whole["pair"][place])

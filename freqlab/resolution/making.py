"""The cross-resolution study: degraded probes, errors, influence and leaks, stored in the run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.bands.base import Bands
from freqlab.bands.parsing import parse_bands
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.degraded import degrade, degraded_pairs, pairs_by_resolution
from freqlab.faces.pairs import check_pairs, make_pairs
from freqlab.faces.table import Faces
from freqlab.images.degradation import KERNELS, Degradation
from freqlab.literals import PixelsOf, Side
from freqlab.models.spec import Model
from freqlab.resolution.error_rates import errors
from freqlab.resolution.influence import leaks, profiles
from freqlab.results.selection import check_radial
from freqlab.run.calls import embed, influence
from freqlab.run.studies import RunOptions, Studied, study_of
from freqlab.statistics.error_rates import check_fmr, rates_with
from freqlab.statistics.resampling import check_draws
from freqlab.store.reading import open_embeddings, pixels_across
from freqlab.store.studies import Nodes

__all__ = ["study"]

_SIDES: tuple[Side, ...] = ("probe", "reference")
_CONTROL = "fourier"  # the ideal low-pass, which leaves nothing beyond its limit


@dataclass(frozen=True)
class _Settings:
    """All arguments of a study except faces, pairs, models, store and options of the run."""

    bands: Bands
    resolutions: list[int]
    natural: bool
    kernel: str
    measure: PixelsOf
    blur: float
    noise: float
    jpeg: int | None
    control_kernels: list[str]
    n_control: int
    n_pairs: int | None
    low: float | None
    fmr: float
    n_draws: int
    seed: int

    @property
    def camera(self) -> dict[str, Any]:
        """Options of :func:`freqlab.faces.degrade` that hold for every kernel."""
        names = ("measure", "blur", "noise", "jpeg", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def only_fewer_pixels(self) -> bool:
        """Whether probes only lose pixels across the crop, without any other degradation."""
        return self.measure == "crop" and not (self.blur or self.noise or self.jpeg)

    @property
    def drawn(self) -> dict[str, Any]:
        """Options of the bootstrap."""
        return {"n_draws": self.n_draws, "seed": self.seed}

    def as_json(self) -> dict[str, Any]:
        """Arguments as JSON values, by which the stored study is identified."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names} | {"bands": self.bands.key}


@dataclass(frozen=True)
class _Prepared:
    """Embedded faces, the pairs to explain, and the pairs over which errors are counted."""

    faces: Faces
    explained: pd.DataFrame
    compared: pd.DataFrame | None
    pixels_across: pd.Series[float]


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
    measure: PixelsOf = "crop",
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
    """Compute how low resolution affects verification and store the study, or open a stored one.

    Parameters
    ----------
    faces
        The faces, not degraded.
    pairs
        Comparisons; all against all by default. A sample of them is explained.
    models, store, bands
        As for :func:`freqlab.influence`.
    **run
        Options of the computation, as for :func:`freqlab.influence`.
    resolutions
        Widths of the probes in pixels, the highest first.
    natural
        Whether the photographs of the set differ in resolution. They are then not degraded, and
        their pairs are grouped by resolution.
    kernel, measure, blur, noise, jpeg
        How probes are degraded, as for :func:`freqlab.faces.degrade`.
    control_kernels, n_control
        Further kernels, and the number of probes to which they are applied at three of the
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
        If an argument is invalid; nothing is computed then.
    StoreError
        If the store cannot be read or written.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=4, per_subject=2)
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "fmr": 0.1}
    >>> options |= {"resolutions": [28, 14], "n_control": 2, "n_draws": 50, "progress": False}
    >>> study = fl.resolution.study(faces, store="run.zarr", **options)
    >>> sorted(study.children)
    ['control', 'errors', 'influence', 'leaks', 'profiles']
    """
    for argument, values, example in (
        ("resolutions", resolutions, [56, 28, 14]),
        ("control_kernels", control_kernels, ["bicubic", _CONTROL]),
    ):
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ParameterError(f"{argument}={values!r} must be a list, as in {example}")
    settings = _Settings(
        bands=parse_bands(bands) if isinstance(bands, str) else bands,
        resolutions=list(resolutions),
        natural=natural,
        kernel=kernel,
        measure=measure,
        blur=blur,
        noise=noise,
        jpeg=jpeg,
        control_kernels=list(control_kernels),
        n_control=n_control,
        n_pairs=n_pairs,
        low=low,
        fmr=fmr,
        n_draws=n_draws,
        seed=seed,
    )
    _check(faces, pairs, settings)
    return study_of(
        "resolution",
        faces,
        lambda loaded: _nodes(faces, pairs, loaded, store, settings, run),
        models=models,
        store=store,
        run=run,
        pairs=pairs,
        **settings.as_json(),
    )


def _check(faces: Faces, pairs: pd.DataFrame | None, settings: _Settings) -> None:
    """Check the arguments of a study before anything is computed.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    """
    check_fmr(settings.fmr)
    check_draws(settings.n_draws, 0.95, settings.seed)
    if settings.n_pairs is not None:
        check_number("n_pairs", settings.n_pairs, at_least=1, whole=True)
    if pairs is not None:
        check_pairs(faces, pairs)
    resolutions = settings.resolutions
    if not resolutions:
        raise ParameterError("resolutions=[] must have at least one number of pixels")
    if len(set(resolutions)) < len(resolutions):
        raise ParameterError(f"resolutions={resolutions!r} must differ from each other")
    for resolution in resolutions:
        check_number("resolutions", resolution, at_least=1, whole=True)
        Degradation(resolution, settings.kernel, **settings.camera)
    for kernel in settings.control_kernels:
        check_name("control_kernels", kernel, KERNELS)
    check_number("n_control", settings.n_control, at_least=1, whole=True)
    check_radial(settings.bands)
    if settings.low is not None:
        check_number("low", settings.low, above=0)
        first = float(settings.bands.bounds[0, 1])
        if settings.low * (1 + 1e-9) < first:
            raise ParameterError(
                f"low={settings.low:g}: no band lies below it; allowed: {first:g} or more"
            )
    if settings.natural and faces.aligned is not None and faces.landmarks is None:
        raise ParameterError(
            f"natural=True needs photographs, and the faces of {faces.name!r} are crops of "
            f"template {faces.aligned!r}"
        )


def _check_below(native: int, settings: _Settings) -> None:
    """Check that probes are smaller than the crops of the models.

    Raises
    ------
    ParameterError
        If a resolution is not.
    """
    highest = max(settings.resolutions)
    if settings.measure == "crop" and highest >= native:
        raise ParameterError(
            f"resolutions={settings.resolutions!r}: {highest} must be below {native}, the width "
            f"of the crops in pixels"
        )


def _nodes(
    faces: Faces,
    pairs: pd.DataFrame | None,
    models: list[Model],
    store: str | os.PathLike[str],
    settings: _Settings,
    run: RunOptions,
) -> Nodes:
    """Compute the nodes of the study."""
    native = max(model.template.size[1] for model in models)
    _check_below(native, settings)
    prepared = _prepared(faces, pairs, models, store, settings, run)
    embeddings = {
        model.name: open_embeddings(store, model=model.name)
        .sel(face=prepared.faces.names)
        .to_numpy()
        for model in models
    }
    fmrs = rates_with(settings.fmr)
    rates = errors(
        embeddings,
        prepared.faces,
        prepared.compared,
        native=native,
        fmrs=fmrs,
        **settings.drawn,
    )
    result = influence(
        prepared.faces,
        prepared.explained,
        models=models,
        bands=settings.bands,
        sides=_SIDES,
        store=store,
        fmrs=fmrs,
        **run,
    ).load()
    attrs: dict[str, Any] = {
        "result": result.attrs["name"],
        "forward_passes": result.attrs["forward_passes"],
        "native": native,
        "n_explained": int(result.sizes["pair"]),
        "all_against_all": int(prepared.compared is None),
    }
    if prepared.pixels_across.notna().any():
        attrs["pixels_across"] = prepared.pixels_across.quantile([0.05, 0.5, 0.95]).tolist()
    nodes = {"errors": rates, "profiles": profiles(result, low=settings.low, **settings.drawn)}
    if not settings.natural:
        nodes |= _leak_nodes(result, settings)
        attrs["typical_pair"] = _typical_pair(result)
        degradations = prepared.faces.degradations or ()
        attrs["degradation"] = next(one.kind for one in degradations if one is not None)
    return {**nodes, "/": xr.Dataset(attrs=attrs)}


def _leak_nodes(result: xr.Dataset, settings: _Settings) -> dict[str, xr.Dataset]:
    """Leaks of all kernels and, if it was among them, the profiles under the ideal low-pass."""
    nodes = {"leaks": leaks(result, **settings.drawn)}
    if _CONTROL in nodes["leaks"]["degradation"]:
        nodes["control"] = profiles(
            result, degradation=_CONTROL, low=settings.low, **settings.drawn
        )
    return nodes


def _prepared(
    faces: Faces,
    pairs: pd.DataFrame | None,
    models: list[Model],
    store: str | os.PathLike[str],
    settings: _Settings,
    run: RunOptions,
) -> _Prepared:
    """Choose the pairs, degrade the probes unless the set varies by nature, and embed the faces."""
    explained = _sample(faces, pairs, settings)
    if not settings.natural:
        degraded = _degraded(faces, pairs, explained, settings)
        embed(degraded, models=models, store=store, **run)
        return _Prepared(
            degraded,
            degraded_pairs(explained, degraded),
            None if pairs is None else degraded_pairs(pairs, degraded),
            pixels_across(store)[faces.names],
        )
    embed(faces, models=models, store=store, **run)
    pixels = pixels_across(store)[faces.names]
    levels = [max(model.template.size[1] for model in models), *settings.resolutions]
    compared = make_pairs(faces, seed=settings.seed) if pairs is None else pairs
    return _Prepared(
        faces,
        pairs_by_resolution(explained, pixels, resolutions=levels),
        pairs_by_resolution(compared, pixels, resolutions=levels),
        pixels,
    )


def _sample(faces: Faces, pairs: pd.DataFrame | None, settings: _Settings) -> pd.DataFrame:
    """Choose the undegraded pairs to explain: a sample of a list, or pairs drawn at random."""
    n_pairs, seed = settings.n_pairs, settings.seed
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
    faces: Faces, pairs: pd.DataFrame | None, explained: pd.DataFrame, settings: _Settings
) -> Faces:
    """Add degraded copies of the probes, and a few copies under each control kernel."""
    resolutions, kernel = settings.resolutions, settings.kernel
    # without a list, every face is a probe
    probes = None if pairs is None else pairs["probe"].astype(str)
    degraded = degrade(
        faces, resolutions=resolutions, kernel=kernel, probes=probes, **settings.camera
    )
    if not settings.only_fewer_pixels:
        return degraded
    genuine = explained[explained["genuine"]]
    few = genuine["probe"].astype(str).unique()[: settings.n_control]
    n = len(resolutions)
    three = sorted({resolutions[n // 3], resolutions[2 * n // 3], resolutions[-1]})
    for control in settings.control_kernels:
        if control != kernel:
            degraded = degrade(degraded, resolutions=three, kernel=control, probes=few)
    return degraded


def _typical_pair(result: xr.Dataset) -> int:
    """Label of the undegraded genuine pair of median similarity under the first model."""
    undegraded = (result["degradation"] == "none").to_numpy() & result["genuine"].to_numpy()
    genuine = result.isel(pair=np.flatnonzero(undegraded), model=0)
    similarity = genuine["similarity"].to_numpy()
    distance = np.abs(similarity - np.nanmedian(similarity))
    return int(genuine["pair"][np.nan_to_num(distance, nan=2).argmin()])

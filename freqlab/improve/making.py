"""The study of what influence is good for, stored in the run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.bands.base import Bands
from freqlab.bands.parsing import parse_bands
from freqlab.bias import quality as crop_quality
from freqlab.bias.crop_quality import detection_probability
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.degraded import degrade, degraded_pairs
from freqlab.faces.pairs import check_pairs, make_pairs
from freqlab.faces.table import Faces
from freqlab.images.degradation import KERNELS
from freqlab.improve.band_stability import MEASURES, band_quality
from freqlab.improve.calibration import calibrate
from freqlab.improve.calibration_costs import calibration_figures
from freqlab.improve.discarding import error_discard
from freqlab.improve.fits import check_penalty
from freqlab.improve.fusion import (
    SCORES,
    band_scores,
    flip_quality,
    flip_scores,
    mirrored_embeddings,
)
from freqlab.improve.likelihoods import check_prior
from freqlab.improve.matched import MATCHED, matched_scores
from freqlab.improve.score_gains import gains
from freqlab.improve.search_vectors import enrolment_of, searches_by_score
from freqlab.improve.searches import check_fpir, search_discard, search_gains
from freqlab.models.spec import Model
from freqlab.run.calls import embed, influence
from freqlab.run.studies import RunOptions, Studied, study_of
from freqlab.statistics.error_rates import check_fmr, comparisons_needed
from freqlab.statistics.resampling import check_draws, subject_codes
from freqlab.statistics.vectors import is_usable
from freqlab.store.reading import open_embeddings
from freqlab.store.studies import Nodes

__all__ = ["NATIVE", "study"]

_FEWEST_PEOPLE = 10
_FMRS = (1e-2, 1e-3)
NATIVE = "native"
"""Name of the part of a study whose probes are not degraded."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Settings:
    """All arguments of a study except faces, pairs, models, store and options of the run."""

    bands: Bands
    resolutions: list[int]
    kernel: str
    n_impostor: int
    fmr: float
    fpir: float
    prior: float
    folds: int
    penalty: float | None
    n_draws: int
    seed: int

    @property
    def drawn(self) -> dict[str, Any]:
        """Options of the bootstrap."""
        return {"n_draws": self.n_draws, "seed": self.seed}

    @property
    def fitted(self) -> dict[str, Any]:
        """Options of fits on other people."""
        return {"folds": self.folds, "penalty": self.penalty, "seed": self.seed}

    def as_json(self) -> dict[str, Any]:
        """Arguments as JSON values, by which the stored study is identified."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names} | {"bands": self.bands.key}


def study(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    models: Studied,
    store: str | os.PathLike[str],
    bands: Bands | str = "rings:4",
    resolutions: Sequence[int] = (21, 14),
    kernel: str = "area",
    per_subject: int | None = None,
    n_impostor: int = 40_000,
    fmr: float = 1e-2,
    fpir: float = 1e-2,
    prior: float = 0.5,
    folds: int = 5,
    penalty: float | None = None,
    n_draws: int = 1000,
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> xr.DataTree:
    """Measure whether influence improves decisions and store the study, or open a stored one.

    Parameters
    ----------
    faces
        The faces.
    pairs
        Comparisons; by default all genuine pairs, and impostor pairs drawn at random.
    models, store, bands
        As for :func:`freqlab.influence`.
    **run
        Options of the computation, as for :func:`freqlab.influence`.
    resolutions
        Widths of the probes in pixels: each face, degraded, is a probe against the other
        photographs, which are not. An empty list for no degradation. Fewer pixels give more errors,
        and only errors can be avoided.
    kernel
        As for :func:`freqlab.faces.degrade`.
    per_subject
        Upper bound on the photographs of each person that are used, in the order of `faces`; all by
        default. Not with `pairs`.
    n_impostor
        Number of impostor pairs that are drawn, at each resolution.
    fmr
        False match rate of the threshold at which findings are reported.
    fpir
        False positive identification rate of the threshold of searches.
    prior, folds, penalty
        As for :func:`freqlab.improve.calibrate`.
    n_draws, seed
        Bootstrap draws over people, and the seed of all random draws.

    Returns
    -------
    xarray.DataTree
        For each resolution and model ``/<resolution>/<k>``, such as ``/14/0`` or ``/native/0``:
        ``quality``, from :func:`freqlab.improve.band_quality` with the baselines; ``discard``,
        from :func:`freqlab.improve.error_discard`; ``calibration``, from
        :func:`freqlab.improve.calibration_figures`; ``gains``, from
        :func:`freqlab.improve.gains`; ``weights``, of the learnt fusion; ``searches``, from
        :func:`freqlab.improve.search_gains`, of the same probes in a gallery of one photograph per
        person, and ``search_discard``, from :func:`freqlab.improve.search_discard`. For degraded
        probes ``matched``, the gains by the scores of :func:`freqlab.improve.matched_scores`, and
        ``matched_alike``, the same compared with a reference degraded as the probe.
        ``/influence``, the underlying influence result. :func:`freqlab.improve.parts_of` lists the
        parts.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid, or there are too few people; nothing is computed then.
    StoreError
        If the store cannot be read or written.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(12, 3)
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "fmr": 0.1, "folds": 3}
    >>> options |= {"resolutions": [14], "n_impostor": 400, "n_draws": 50, "progress": False}
    >>> study = fl.improve.study(faces, store="run.zarr", **options)
    >>> sorted(study.children)
    ['14', 'influence']
    """
    settings = _Settings(
        bands=parse_bands(bands) if isinstance(bands, str) else bands,
        resolutions=_listed(resolutions),
        kernel=kernel,
        n_impostor=n_impostor,
        fmr=fmr,
        fpir=fpir,
        prior=prior,
        folds=folds,
        penalty=penalty,
        n_draws=n_draws,
        seed=seed,
    )
    if per_subject is not None:
        faces = _first_of_each(faces, pairs, per_subject)
    _check(faces, pairs, settings)
    return study_of(
        "improve",
        faces,
        lambda loaded: _nodes(faces, pairs, loaded, store, settings, run),
        models=models,
        store=store,
        run=run,
        pairs=pairs,
        **settings.as_json(),
    )


def _first_of_each(faces: Faces, pairs: pd.DataFrame | None, per_subject: int) -> Faces:
    """The first photographs of each person."""
    check_number("per_subject", per_subject, at_least=2, whole=True)
    if pairs is not None:
        raise ParameterError(
            f"per_subject={per_subject} limits the photographs for pairs that are drawn; the pairs "
            f"given determine theirs"
        )
    position = faces.table.groupby("subject").cumcount().to_numpy()
    return faces.select(np.flatnonzero(position < per_subject))


def _check(faces: Faces, pairs: pd.DataFrame | None, settings: _Settings) -> None:
    """Check the arguments of a study before anything is computed.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    """
    check_fmr(settings.fmr)
    check_fpir(settings.fpir)
    check_prior(settings.prior)
    check_draws(settings.n_draws, 0.95, settings.seed)
    check_number("folds", settings.folds, at_least=3, whole=True)
    check_penalty(settings.penalty)
    check_number("n_impostor", settings.n_impostor, at_least=1, whole=True)
    check_name("kernel", settings.kernel, KERNELS)
    subjects = faces.table["subject"].astype(str).to_numpy()
    if pairs is None:
        counts = pd.Series(subjects).value_counts()
        n_people = int((counts > 1).sum())
        n_possible = int((len(subjects) ** 2 - (counts**2).sum()) // 2)
        n_impostor = min(settings.n_impostor, n_possible)
    else:
        positions = check_pairs(faces, pairs)
        genuine = subjects[positions[:, 0]] == subjects[positions[:, 1]]
        n_people = len(np.unique(subjects[positions[genuine, 0]]))
        n_impostor = int((~genuine).sum())
    fewest = max(_FEWEST_PEOPLE, 2 * settings.folds)
    if n_people < fewest:
        raise ParameterError(
            f"folds={settings.folds}: {n_people} people have genuine pairs; {fewest} or more are "
            f"required to fit on some and test on others"
        )
    if n_impostor < comparisons_needed(settings.fmr):
        argument = f"n_impostor={settings.n_impostor}" if pairs is None else "pairs"
        raise ParameterError(
            f"{argument}: a threshold at fmr={settings.fmr:g} requires "
            f"{comparisons_needed(settings.fmr):,} impostor pairs; there would be {n_impostor:,}"
        )


def _listed(resolutions: object) -> list[int]:
    """Resolutions as a list, the highest first.

    Raises
    ------
    ParameterError
        If they are not a list of different whole numbers.
    """
    if isinstance(resolutions, str) or not isinstance(resolutions, Iterable):
        raise ParameterError(f"resolutions={resolutions!r} must be a list, as in [21, 14]")
    listed = list(resolutions)
    for resolution in listed:
        check_number("resolutions", resolution, at_least=2, whole=True)
    if len(set(listed)) < len(listed):
        raise ParameterError(f"resolutions={listed!r} must differ from each other")
    return sorted(listed, reverse=True)


class _Prepared(NamedTuple):
    """Faces with degraded copies, and the pairs."""

    faces: Faces
    pairs: pd.DataFrame


def _nodes(
    faces: Faces,
    pairs: pd.DataFrame | None,
    models: list[Model],
    store: str | os.PathLike[str],
    settings: _Settings,
    run: RunOptions,
) -> Nodes:
    """Compute the nodes of the study."""
    prepared = _prepared(faces, pairs, models, settings)
    result = influence(
        prepared.faces,
        prepared.pairs,
        models=models,
        bands=settings.bands,
        sides=("probe", "reference"),
        store=store,
        **run,
    ).load()
    n_passes = int(result.attrs["forward_passes"])
    if settings.resolutions:
        n_passes += _embed_references(prepared, models, store, run)
    parts = {NATIVE: result}
    if settings.resolutions:
        at = result["resolution"].to_numpy().astype(float)
        parts = {str(r): result.isel(pair=np.flatnonzero(at == r)) for r in settings.resolutions}
    progress = bool(run.get("progress", True))
    nodes: dict[str, xr.Dataset | pd.DataFrame] = {}
    for name, part in parts.items():
        resolution = None if name == NATIVE else int(name)
        for k, model in enumerate(models):
            of_model = _of_model(
                part.assign_attrs(store=os.fspath(store)),
                model,
                prepared.faces,
                resolution,
                settings,
                progress,
            )
            nodes |= {f"{name}/{k}/{key}": node for key, node in of_model.nodes.items()}
            n_passes += of_model.n_passes
    attrs = {
        "result": result.attrs["name"],
        "forward_passes": n_passes,
        "n_pairs": int(result.sizes["pair"]),
        "pairs_are": "drawn" if pairs is None else "of the list",
        "native": max(model.template.size[1] for model in models),
    }
    return {**nodes, "/": xr.Dataset(attrs=attrs)}


def _embed_references(
    prepared: _Prepared, models: list[Model], store: str | os.PathLike[str], run: RunOptions
) -> int:
    """Embed the references degraded as the probes are; return the number of images embedded."""
    sources = prepared.faces.table["source"].astype(str).to_numpy()
    references = prepared.pairs["reference"].astype(str).unique()
    rows = np.flatnonzero(prepared.faces.degraded & np.isin(sources, references))
    names = [prepared.faces.names[i] for i in rows]
    before = _n_embedded(models, store, names)
    if before < len(names) * len(models):
        embed(prepared.faces.select(rows), models=models, store=store, **run)
    return _n_embedded(models, store, names) - before


def _n_embedded(models: list[Model], store: str | os.PathLike[str], names: list[str]) -> int:
    """Number of untouched embeddings of faces in the run."""
    return sum(
        int(is_usable(open_embeddings(store, model=model.name).reindex(face=names).values).sum())
        for model in models
    )


class _Computed(NamedTuple):
    """Nodes of one model at one resolution, and the number of images embedded for them."""

    nodes: dict[str, xr.Dataset]
    n_passes: int


def _of_model(
    result: xr.Dataset,
    model: Model,
    faces: Faces,
    resolution: int | None,
    settings: _Settings,
    progress: bool,
) -> _Computed:
    """Compute the nodes of one model at one resolution."""
    url = str(result.attrs["store"])
    ends = [result[end].to_numpy().astype(str) for end in ("probe", "reference")]
    names = [str(face) for face in np.unique(np.concatenate(ends))]
    mirrored = mirrored_embeddings(url, model, names)
    stable = band_quality(url, model=model.name, bands=settings.bands.key, faces=names)
    quality = _qualities(stable, mirrored, names, model, url)
    fused = band_scores(result, model=model.name, **settings.fitted)
    calibrated = calibrate(result, model=model.name, prior=settings.prior, **settings.fitted)
    ratios = calibrated["log_likelihood_ratio"].sel(calibration="influence").to_numpy()
    matched = None
    if resolution is not None:
        matched = matched_scores(
            result,
            model,
            resolution=resolution,
            folds=settings.folds,
            seed=settings.seed,
            progress=progress,
        )
    scores = {
        "similarity": fused["similarity"].to_numpy(),
        "bands": fused["bands"].to_numpy(),
        "learnt": fused["learnt"].to_numpy(),
        "influence": ratios,
        "energy": fused["energy"].to_numpy(),
        "flip": flip_scores(url, mirrored, names, result, model=model.name),
    }
    if matched is not None and "alike" in matched:
        scores["alike"] = matched["alike"].to_numpy()
    scores = {name: scores[name] for name in SCORES if name in scores}
    nodes = {
        "quality": stable.drop_dims("band").merge(
            {column: ("face", quality[column].to_numpy()) for column in quality}, compat="override"
        ),
        "discard": error_discard(
            result,
            quality,
            model=model.name,
            side="probe" if settings.resolutions else "both",
            fmr=settings.fmr,
            **settings.drawn,
        ),
        "calibration": calibration_figures(calibrated, **settings.drawn),
        "gains": _gains(scores, result, "similarity", settings),
        "weights": fused[["weight"]],
    }
    n_passes = len(names)
    if matched is not None:
        of_matched = {name: matched[name].to_numpy() for name in MATCHED if name in matched}
        removed = matched[[name for name in matched if str(name).startswith("removed_")]]
        nodes["matched"] = _gains(of_matched, result, "similarity", settings).merge(removed)
        if "alike" in of_matched:
            nodes["matched_alike"] = _gains(of_matched, result, "alike", settings)
        n_passes += int(matched.attrs["forward_passes"])
    searches = _searched(
        result,
        model,
        faces,
        dict(zip(names, mirrored, strict=True)),
        resolution,
        quality,
        settings,
        progress,
    )
    return _Computed(nodes | searches.nodes, n_passes + searches.n_passes)


def _gains(
    scores: Mapping[str, Floats], result: xr.Dataset, baseline: str, settings: _Settings
) -> xr.Dataset:
    """Compare scores of the pairs with one of them."""
    return gains(
        scores,
        result["genuine"].to_numpy().astype(bool),
        subject_codes(result),
        baseline=baseline,
        fmrs=sorted({*_FMRS, settings.fmr}),
        **settings.drawn,
    )


def _searched(
    result: xr.Dataset,
    model: Model,
    faces: Faces,
    mirrored: dict[str, Floats],
    resolution: int | None,
    quality: pd.DataFrame,
    settings: _Settings,
    progress: bool,
) -> _Computed:
    """Compute the nodes of identification."""
    url = str(result.attrs["store"])
    enrolled = enrolment_of(faces, result, open_embeddings(url, model=model.name))
    found, n_passes = searches_by_score(
        *(enrolled, result, model),
        store=url,
        bands=settings.bands,
        mirrored=mirrored,
        resolution=resolution,
        progress=progress,
    )
    people = np.unique(enrolled.probe_people, return_inverse=True)[1]
    compared = search_gains(
        found, people, baseline="similarity", fpir=settings.fpir, **settings.drawn
    ).assign_attrs(n_enrolled=len(enrolled.gallery))
    resolved = np.isfinite(compared["threshold"].sel(score_name="similarity").item())
    discarded = search_discard(
        found["similarity"],
        people,
        quality.reindex(enrolled.probes),
        fpir=settings.fpir if resolved else None,
        **settings.drawn,
    )
    return _Computed({"searches": compared, "search_discard": discarded}, n_passes)


def _qualities(
    stable: xr.Dataset, mirrored: Floats, names: list[str], model: Model, store: str
) -> pd.DataFrame:
    """Measures of quality of each face: band stability first, then the baselines."""
    table = pd.DataFrame(
        {name: stable[name].to_numpy() for name in MEASURES if name in stable},
        index=pd.Index(names, name="face"),
    )
    pixels = crop_quality(store, template=model.template.name, faces=names).reindex(table.index)
    intact = open_embeddings(store, model=model.name).sel(face=names).to_numpy().astype(float)
    table["flip stability"] = flip_quality(store, mirrored, names, model=model.name)
    table["embedding norm"] = np.linalg.norm(intact, axis=1)
    table["sharpness"] = pixels["sharpness"]
    table["contrast"] = pixels["contrast"]
    table["detection"] = detection_probability(store, faces=names)
    # a measure that is the same for all faces orders nothing, as the norm of unit embeddings
    spread = table.max() - table.min()
    return table.loc[:, spread > 1e-6 * table.abs().max()]


def _prepared(
    faces: Faces, pairs: pd.DataFrame | None, models: list[Model], settings: _Settings
) -> _Prepared:
    """Degrade the probes and choose the pairs."""
    resolutions = settings.resolutions
    native = max(model.template.size[1] for model in models)
    if resolutions and max(resolutions) >= native:
        raise ParameterError(
            f"resolutions={resolutions!r}: {max(resolutions)} must be below {native}, the width "
            f"of the crops in pixels"
        )
    lists = [pairs] if pairs is not None else _drawn(faces, settings)
    if not resolutions:
        return _Prepared(faces, lists[0])
    compared = [listed[end].astype(str) for listed in lists for end in ("probe", "reference")]
    names = pd.concat(compared).unique()
    degraded = degrade(faces, resolutions=resolutions, kernel=settings.kernel, probes=names)
    parts = [degraded_pairs(listed, degraded) for listed in lists]
    every = pd.concat([part[part["resolution"].notna()] for part in parts], ignore_index=True)
    return _Prepared(degraded, every)


def _drawn(faces: Faces, settings: _Settings) -> list[pd.DataFrame]:
    """Draw pairs; if probes are degraded, two lists, of which each has other probes.

    Either photograph of a genuine pair is once the probe, and one of each impostor pair.
    """
    counts = faces.table["subject"].astype(str).value_counts()
    n_genuine = int((counts * (counts - 1) / 2).sum())
    ratio = settings.n_impostor / max(1, n_genuine)
    pairs = make_pairs(faces, impostors_per_genuine=ratio, seed=settings.seed)
    if not settings.resolutions:
        return [pairs]
    plain = pairs.astype({"probe": str, "reference": str})
    turned = plain.rename(columns={"probe": "reference", "reference": "probe"})[plain.columns]
    genuine = plain["genuine"].to_numpy(bool)
    chosen = np.random.default_rng(settings.seed).random(len(plain)) < 0.5
    return [plain[genuine | ~chosen], turned[genuine | chosen]]

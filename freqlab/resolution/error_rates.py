"""Verification errors when the probe has a lower resolution than the reference.

Thresholds are set on faces that are not degraded, as an operator sets them before low-resolution
probes are seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import with_object_text
from freqlab.errors import ParameterError, check_name
from freqlab.faces.pairs import check_pairs
from freqlab.faces.table import Faces
from freqlab.images.degradation import Degradation
from freqlab.images.templates import template
from freqlab.statistics.error_rates import (
    FMRS,
    check_fmrs,
    compare_pairs,
    impostor_thresholds,
)
from freqlab.statistics.rate_differences import rate_differences
from freqlab.statistics.rate_intervals import FEW_ERR
from freqlab.statistics.resampling import check_draws, draw_subjects, rates_at
from freqlab.statistics.vectors import is_usable
from freqlab.verification.performance import check_embeddings, figures_of

__all__ = ["errors"]

_MAX_COMPARISONS = 20_000_000  # per resolution; each takes 0.1 kB of temporary memory

Floats = npt.NDArray[np.float64]


def errors(
    embeddings: Mapping[str, npt.NDArray[np.floating]],
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    degradation: str | None = None,
    native: int | None = None,
    fmrs: Sequence[float] = FMRS,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compute verification figures at each probe resolution, with intervals over subjects.

    Parameters
    ----------
    embeddings
        Untouched embeddings ``(face, feature)`` of each model, by its name, one row per face in
        the order of the faces; NaN for a face without an embedding.
    faces
        From :func:`freqlab.faces.degrade`, or a set that is of low resolution by nature.
    pairs
        Comparisons over which the figures are computed, with a column ``resolution`` in pixels,
        missing where the probe is not degraded. By default every face at a resolution is the
        probe against every other face that is not degraded.
    degradation
        Kind of degraded faces to use, if there are several; the first by default.
    native
        Width of the crop in pixels, which labels faces that are not degraded; by default that of
        the template to which the faces are aligned, or 112.
    fmrs
        False match rates at which thresholds are set, between 0 and 1.
    n_draws, level, seed
        Bootstrap draws, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``model`` and ``resolution``, the highest first, with ``estimate`` value, lower,
        upper: ``eer``, ``d_prime``, ``false_match_rate`` and ``false_non_match_rate`` at
        ``threshold(model, fmr)``, the thresholds over all impostor comparisons of faces that are
        not degraded; ``false_non_match_rate_difference(model, resolution, fmr, estimate)`` from
        the highest resolution, paired over the draws, NaN there; ``failure_to_acquire``, the share
        of probes; ``n_genuine``, ``n_impostor``, ``n_subjects``; ``n_people``, subjects with
        genuine comparisons; ``false_non_match_people`` and the like, people who err; ``note`` where
        a rate is not resolved.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.faces.degrade(fl.testing.faces(8, 2), resolutions=[28, 14])
    >>> tree = fl.embed(faces, models=[fl.testing.model()], store="run.zarr", progress=False)
    >>> vectors = fl.open_embeddings("run.zarr", model="linear").sel(face=faces.names).to_numpy()
    >>> errors = fl.resolution.errors({"linear": vectors}, faces, n_draws=50)
    >>> errors["resolution"].to_numpy().tolist()
    [112.0, 28.0, 14.0]
    """
    check_draws(n_draws, level, seed)
    checked = check_embeddings(embeddings, faces)
    kind = _kind(faces, degradation)
    if native is None:
        native = template(faces.aligned or "arcface").size[1]
    levels = _listed(faces, pairs, kind, native) if pairs is not None else _every(faces, kind)
    if pairs is None:
        levels = {float(native): levels.pop(np.inf), **levels}
    settings: dict[str, Any] = {"n_draws": n_draws, "level": level, "seed": seed}
    rates = check_fmrs(fmrs)
    by_model = [
        _of_model(vectors, faces, levels, rates, **settings) for vectors in checked.values()
    ]
    names = xr.Variable("model", np.array(list(embeddings), object), {"long_name": "model"})
    errors = xr.concat(by_model, names)
    errors["resolution"].attrs.update(long_name="resolution of the probe", units="pixels")
    for name, long_name in _LONG_NAMES.items():
        errors[name].attrs.update(long_name=long_name, units="1")
    errors["threshold"].attrs.update(long_name="threshold", units="cosine similarity")
    compared = "all against all" if pairs is None else "the pairs given"
    errors = errors.assign_attrs(**settings, degradation=kind, comparisons=compared)
    return with_object_text(errors)


def _of_model(
    vectors: npt.NDArray[np.float32],
    faces: Faces,
    levels: dict[float, npt.NDArray[np.int64]],
    fmrs: tuple[float, ...],
    *,
    n_draws: int,
    level: float,
    seed: int,
) -> xr.Dataset:
    """Figures of one model at each resolution, the highest first."""
    undegraded = ~faces.degraded
    thresholds, n_impostor = impostor_thresholds(
        vectors[undegraded], faces.subjects[undegraded], faces.sources[undegraded], fmrs
    )
    edges, parts, drawn = np.asarray(thresholds, float), [], []
    for positions in levels.values():
        comparisons = compare_pairs(vectors, faces.subjects, positions)
        part = figures_of(
            comparisons, thresholds=thresholds, fmrs=fmrs, n_draws=n_draws, level=level, seed=seed
        )
        part = part.sel(group="all", drop=True).drop_vars(["threshold", "curve", "density"])
        failed = ~is_usable(vectors)[np.unique(positions[:, 0])]
        part["failure_to_acquire"] = ((), float(failed.mean()))
        genuine = comparisons.select(comparisons.genuine)
        part["n_people"] = ((), len(np.unique(genuine.subjects[genuine.probe])))
        parts.append(part.drop_dims(["curve_fmr", "score", "comparison"], errors="ignore"))
        draws = draw_subjects(comparisons.n_subjects, n_draws, seed)
        drawn.append(rates_at(comparisons, edges, draws, genuine=True))
    axis = xr.Variable("resolution", list(levels), {"long_name": "resolution"})
    figures = xr.concat(parts, axis)
    rates = figures["false_non_match_rate"].transpose("resolution", "fmr", "estimate").to_numpy()
    of_draws = np.stack(drawn, axis=1)  # (draw, resolution, fmr)
    highest = int(np.argmax(list(levels)))
    n_erring = figures["false_non_match_people"].transpose("resolution", "fmr").to_numpy()
    few = np.minimum(n_erring, n_erring[highest]) < FEW_ERR
    changes = of_draws - of_draws[:, [highest]]
    differences = rate_differences(rates, rates[highest], changes, level, combine=few)
    differences[highest] = np.nan
    figures["false_non_match_rate_difference"] = (("resolution", "fmr", "estimate"), differences)
    figures = figures.sortby("resolution", ascending=False)
    figures["threshold"] = ("fmr", edges)
    figures["impostor_comparisons"] = ((), n_impostor)
    return figures


_LONG_NAMES = {
    "eer": "equal error rate",
    "d_prime": "d'",
    "false_match_rate": "false match rate at the threshold",
    "false_non_match_rate": "false non-match rate at the threshold",
    "false_non_match_rate_difference": "difference in false non-match rate",
    "failure_to_acquire": "failure-to-acquire rate of probes",
    "n_genuine": "genuine comparisons",
    "n_impostor": "impostor comparisons",
    "n_subjects": "subjects",
    "n_people": "subjects with genuine comparisons",
    "eer_people": "people in a false non-match at the threshold of the EER",
    "false_match_people": "people in a false match at the threshold",
    "false_non_match_people": "people in a false non-match at the threshold",
    "impostor_comparisons": "impostor comparisons behind the thresholds",
}


def _kind(faces: Faces, degradation: str | None) -> str:
    kinds = list(dict.fromkeys(one.kind for one in faces.degradations or () if one is not None))
    if degradation is not None:
        return check_name("degradation", degradation, kinds or ["none"])
    return kinds[0] if kinds else "none"


def _every(faces: Faces, kind: str) -> dict[float, npt.NDArray[np.int64]]:
    """Pair faces at each resolution with all other undegraded faces ``(comparison, 2)``.

    The probe comes first. Probes that are not degraded have the key infinity.
    """
    undegraded = np.flatnonzero(~faces.degraded)
    sources = np.unique(faces.sources.astype(str), return_inverse=True)[1]
    probes: dict[float, list[int]] = {np.inf: undegraded.tolist()}
    degradations: list[Degradation | None] = list(faces.degradations or [])
    for i, degradation in enumerate(degradations):
        if degradation is not None and degradation.kind == kind:
            probes.setdefault(float(degradation.resolution), []).append(i)
    most = max(len(some) for some in probes.values()) * len(undegraded)
    if most > _MAX_COMPARISONS:
        raise ParameterError(
            f"all probes of one resolution against all faces are {most:,} comparisons; at most "
            f"{_MAX_COMPARISONS:,} fit in memory. Give pairs="
        )
    positions = {}
    for resolution, some in sorted(probes.items(), reverse=True):
        probe, reference = np.repeat(some, len(undegraded)), np.tile(undegraded, len(some))
        differ = sources[probe] != sources[reference]
        positions[resolution] = np.stack([probe[differ], reference[differ]], axis=1)
    return positions


def _listed(
    faces: Faces, pairs: pd.DataFrame, kind: str, native: int
) -> dict[float, npt.NDArray[Any]]:
    """Group the given pairs by resolution, the highest first."""
    positions = check_pairs(faces, pairs)
    if "resolution" not in pairs:
        return {float(native): positions}
    values = pairs["resolution"].to_numpy(float, na_value=np.nan)
    if "degradation" in pairs:
        chosen = pairs["degradation"].astype(str).isin(["none", kind]).to_numpy()
        positions, values = positions[chosen], values[chosen]
    values = np.where(np.isnan(values), float(native), values)
    return {float(value): positions[values == value] for value in sorted(set(values), reverse=True)}

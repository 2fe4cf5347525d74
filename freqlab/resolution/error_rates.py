"""Verification errors when the probe has a lower resolution than the reference.

Thresholds are set on faces that are not degraded, as an operator would set them before
low-resolution probes arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from freqlab.statistics.error_rates import compare_pairs, impostor_thresholds, is_usable
from freqlab.statistics.resampling import check_draws
from freqlab.verification.performance import check_embeddings, figures_of

__all__ = ["errors"]

_MOST_COMPARISONS = 20_000_000  # per resolution; each takes 0.1 kB of temporary memory


def errors(
    embeddings: Mapping[str, npt.NDArray[np.floating]],
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    degradation: str | None = None,
    native: int | None = None,
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
    n_draws, level, seed
        Bootstrap draws, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``model`` and ``resolution``, the highest first, with ``estimate`` value, lower,
        upper: ``eer``, ``d_prime``, ``false_match_rate`` and ``false_non_match_rate`` at
        ``threshold(model, fmr)``, the thresholds over all impostor comparisons of faces that are
        not degraded; ``failure_to_acquire``, the share of probes; ``n_genuine``, ``n_impostor``,
        ``n_subjects``; ``note`` where a rate is not resolved.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    """
    check_draws(n_draws, level, seed)
    checked = check_embeddings(embeddings, faces)
    kind = _kind(faces, degradation)
    if native is None:
        native = template(faces.aligned or "arcface").size[1]
    levels = _listed(faces, pairs, kind, native) if pairs is not None else _every(faces, kind)
    if pairs is None:
        levels = {float(native): levels.pop(np.inf), **levels}
    whole, found = ~faces.degraded, []
    for vectors in checked.values():
        thresholds, n_impostor = impostor_thresholds(
            vectors[whole], faces.subjects[whole], faces.sources[whole]
        )
        parts = []
        for of_level in levels.values():
            comparisons = compare_pairs(vectors, faces.subjects, of_level)
            part = figures_of(
                comparisons, thresholds=thresholds, n_draws=n_draws, level=level, seed=seed
            )
            part = part.sel(group="all", drop=True).drop_vars(["threshold", "curve", "density"])
            failed = ~is_usable(vectors)[np.unique(of_level[:, 0])]
            part["failure_to_acquire"] = ((), float(failed.mean()))
            parts.append(part.drop_dims(["curve_fmr", "score", "comparison"], errors="ignore"))
        axis = xr.Variable("resolution", list(levels), {"long_name": "resolution"})
        one = xr.concat(parts, axis).sortby("resolution", ascending=False)
        one["threshold"] = ("fmr", thresholds)
        one["impostor_comparisons"] = ((), n_impostor)
        found.append(one)
    names = xr.Variable("model", np.array(list(embeddings), object), {"long_name": "model"})
    errors = xr.concat(found, names)
    errors["resolution"].attrs.update(long_name="resolution of the probe", units="pixels")
    for name, long_name in _LONG_NAMES.items():
        errors[name].attrs.update(long_name=long_name, units="1")
    errors["threshold"].attrs.update(long_name="threshold", units="cosine similarity")
    compared = "all against all" if pairs is None else "the pairs given"
    errors = errors.assign_attrs(
        n_draws=n_draws, level=level, seed=seed, degradation=kind, comparisons=compared
    )
    return with_object_text(errors)


_LONG_NAMES = {
    "eer": "equal error rate",
    "d_prime": "d'",
    "false_match_rate": "false match rate at the threshold",
    "false_non_match_rate": "false non-match rate at the threshold",
    "failure_to_acquire": "failure-to-acquire rate of probes",
    "n_genuine": "genuine comparisons",
    "n_impostor": "impostor comparisons",
    "n_subjects": "subjects",
    "impostor_comparisons": "impostor comparisons behind the thresholds",
}


def _kind(faces: Faces, degradation: str | None) -> str:
    kinds = list(dict.fromkeys(how.kind for how in faces.degradations or () if how is not None))
    if degradation is not None:
        return check_name("degradation", degradation, kinds or ["none"])
    return kinds[0] if kinds else "none"


def _every(faces: Faces, kind: str) -> dict[float, npt.NDArray[np.int64]]:
    """Pair faces at each resolution with all other undegraded faces ``(comparison, 2)``.

    The probe comes first. Probes that are not degraded have the key infinity.
    """
    whole = np.flatnonzero(~faces.degraded)
    sources = np.unique(faces.sources.astype(str), return_inverse=True)[1]
    probes: dict[float, list[int]] = {np.inf: whole.tolist()}
    hows: list[Degradation | None] = list(faces.degradations or [])
    for i, how in enumerate(hows):
        if how is not None and how.kind == kind:
            probes.setdefault(float(how.resolution), []).append(i)
    most = max(len(some) for some in probes.values()) * len(whole)
    if most > _MOST_COMPARISONS:
        raise ParameterError(
            f"every probe against every face is {most:,} comparisons at one resolution, more than "
            f"the {_MOST_COMPARISONS:,} that are held at once; give pairs="
        )
    found = {}
    for resolution, some in sorted(probes.items(), reverse=True):
        probe, reference = np.repeat(some, len(whole)), np.tile(whole, len(some))
        differ = sources[probe] != sources[reference]
        found[resolution] = np.stack([probe[differ], reference[differ]], axis=1)
    return found


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

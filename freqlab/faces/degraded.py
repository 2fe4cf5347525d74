"""Faces derived from other faces, and their pairs: the same photographs at lower resolution."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from freqlab.errors import PairError, ParameterError
from freqlab.faces.pairs import check_pairs
from freqlab.faces.table import Faces
from freqlab.images.degradation import Degradation
from freqlab.images.templates import template
from freqlab.literals import PixelsOf

__all__ = ["degrade", "degraded_pairs", "pairs_by_resolution"]


def degrade(
    faces: Faces,
    *,
    resolutions: Sequence[int],
    kernel: str = "area",
    measure: PixelsOf = "crop",
    blur: float = 0.0,
    noise: float = 0.0,
    jpeg: int | None = None,
    seed: int = 0,
    probes: Iterable[str] | None = None,
) -> Faces:
    """Add the same faces at lower resolutions.

    No image is computed here: the row of a degraded face declares how its crop is derived from
    that of its source, and a run computes the crop when it needs it.

    Parameters
    ----------
    faces
        The faces. Those that are degraded already are kept unchanged, so several kinds of
        degradation can be added one after another.
    resolutions
        Pixels across, whole numbers; none above the native size.
    kernel
        Method of reducing and restoring the size: ``"area"`` (area means, restored by cubic
        interpolation), ``"bicubic"``, ``"lanczos"``, all anti-aliased and rounded to 8 bits at
        both sizes; ``"fourier"``, the ideal low-pass without rounding, as a control.
    measure
        Extent in which pixels are counted: ``"crop"``, the aligned crop of each model, which is
        reduced and restored to its size; ``"face"``, the face in the photograph (2.2 times the
        distance between the eyes), which is reduced as if it were farther away, and then cut out.
        A face that is already narrower is recorded as a failure to acquire.
    blur
        Standard deviation of the optics' point spread, in pixels of the reduced image.
    noise
        Standard deviation of the noise of each pixel and channel of the reduced image, in grey
        levels.
    jpeg
        Quality at which the reduced image is stored as JPEG, 1 to 95.
    seed
        Seed of the noise.
    probes
        Names of the faces to degrade; all by default.

    Returns
    -------
    Faces
        The faces given, and one row for each degraded face and resolution, named ``id@28`` (with
        the kernel and other settings appended unless they are the default:
        ``id@28-lanczos``), with its metadata, and the columns ``source``, the face it is derived
        from, and ``resolution``, missing for faces that are not degraded. Two faces of one source
        are never paired.

    Raises
    ------
    ParameterError
        If an argument is not allowed, a resolution is above the native size, ``"face"`` is given
        without photographs, or a name is unknown or already in use.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(2, 2)
    >>> lower = fl.faces.degrade(faces, resolutions=[28])
    >>> lower.names[-1]
    'p1/1@28'
    """
    if not isinstance(faces, Faces):
        raise ParameterError(f"faces={faces!r} must be Faces; fl.load_faces gives them")
    kinds = [
        Degradation(resolution, kernel, measure, blur, noise, jpeg, seed)
        for resolution in _checked(resolutions)
    ]
    if faces.aligned is not None:
        if measure == "face":
            raise ParameterError(
                f"measure='face' counts pixels of the photographs, and the faces of {faces.name!r} "
                f"are crops of template {faces.aligned!r} without them; use measure='crop', or "
                f"load the photographs"
            )
        native = template(faces.aligned).size[1]
        if max(resolutions) > native:
            raise ParameterError(
                f"resolution={max(resolutions)} is above the native size: the faces of "
                f"{faces.name!r} are crops {native} pixels across"
            )
    chosen = _chosen(faces, probes)
    if not len(chosen):
        raise ParameterError("probes=[] names no face")
    original = faces.table
    if "resolution" not in original:
        original = original.assign(resolution=np.nan)
    names, tables = faces.names, [original]
    for kind in kinds:
        part = original.iloc[chosen].assign(
            source=[names[i] for i in chosen], resolution=float(kind.resolution)
        )
        part.index = pd.Index([kind.name_of(names[i]) for i in chosen], name=original.index.name)
        tables.append(part)
    table = pd.concat(tables)
    if "source" not in original:
        table["source"] = table["source"].astype(object).where(table["source"].notna(), "")
    taken = table.index[table.index.duplicated()]
    if len(taken):
        raise ParameterError(f"the face set has a face named {taken[0]!r} already")
    rows = np.concatenate([np.arange(len(faces)), *(chosen for _ in kinds)])
    earlier = list(faces.degradations or [None] * len(faces))
    return dataclasses.replace(
        faces,
        table=table,
        images=None if faces.images is None else [faces.images[int(i)] for i in rows],
        landmarks=None if faces.landmarks is None else faces.landmarks[rows],
        degradations=[*earlier, *(kind for kind in kinds for _ in chosen)],
    )


def degraded_pairs(pairs: pd.DataFrame, faces: Faces) -> pd.DataFrame:
    """Make pairs with degraded probes, in addition to the same pairs undegraded.

    Parameters
    ----------
    pairs
        Pairs of undegraded faces, such as :func:`freqlab.make_pairs` made of the set before it
        was degraded.
    faces
        From :func:`degrade`.

    Returns
    -------
    pandas.DataFrame
        The pairs given, and each again for every degradation of its probe; references are
        unchanged. Columns added: ``resolution`` (missing where the probe is not degraded),
        ``degradation`` (kernel and other settings, or ``"none"``), and ``whole_pair``, the label
        of the pair that it was made from.

    Raises
    ------
    PairError
        If the pairs do not fit the faces, or a face of a pair is degraded.
    ParameterError
        If no probe is degraded.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(2, 2)
    >>> lower = fl.faces.degrade(faces, resolutions=[28])
    >>> pairs = fl.faces.degraded_pairs(fl.make_pairs(faces), lower)
    >>> pairs["degradation"].unique().tolist()
    ['none', 'area']
    """
    positions = check_pairs(faces, pairs)
    if faces.degraded[positions].any():
        raise PairError("pairs must be of faces as they are; their probes are degraded here")
    sources = faces.table["source"] if "source" in faces.table else pd.Series("", faces.table.index)
    rows: dict[tuple[str, int], dict[str, str]] = {}
    for name, source, how in zip(faces.names, sources, faces.degradations or (), strict=False):
        if how is not None:
            rows.setdefault((how.kind, -how.resolution), {})[str(source)] = name
    labels = pairs.index if pairs.index.is_unique else pd.RangeIndex(len(pairs))
    whole = pairs.assign(resolution=np.nan, degradation="none", whole_pair=labels)
    tables, probes = [whole], pairs["probe"].astype(str)
    for (kind, resolution), degraded in rows.items():
        here = probes.isin(degraded).to_numpy()
        part = whole[here].assign(
            probe=probes[here].map(degraded), resolution=float(-resolution), degradation=kind
        )
        tables.append(part)
    if sum(len(table) for table in tables[1:]) == 0:
        raise ParameterError("no probe of these pairs is degraded; fl.faces.degrade degrades faces")
    table = pd.concat([t.astype({"probe": object, "reference": object}) for t in tables])
    table.index = pd.RangeIndex(len(table), name="pair")
    categories = pd.Index(faces.names)
    for side in ("probe", "reference"):
        table[side] = pd.Categorical(table[side].astype(str), categories=categories)
    return table


def pairs_by_resolution(
    pairs: pd.DataFrame, pixels: pd.Series[float], *, resolutions: Sequence[int]
) -> pd.DataFrame:
    """Sort pairs of photographs of naturally differing resolution by that of the coarser one.

    Parameters
    ----------
    pairs
        Pairs of faces.
    pixels
        Pixels of the photograph across the crop, by face, as counted by
        :func:`freqlab.store.pixels_across`.
    resolutions
        Resolutions to sort by: each pair is assigned to the nearest on a logarithmic scale.

    Returns
    -------
    pandas.DataFrame
        The pairs with the coarser face as the probe, and the columns ``resolution`` and
        ``probe_pixels``; pairs with a face of unknown resolution are left out.

    Raises
    ------
    ParameterError
        If `resolutions` is not a list of whole numbers, or no pair has two faces of known size.

    Examples
    --------
    >>> import pandas as pd
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(2, 2)
    >>> pixels = pd.Series([112.0, 50.0, 112.0, 20.0], index=faces.names)
    >>> pairs = fl.faces.pairs_by_resolution(fl.make_pairs(faces), pixels, resolutions=[56, 28, 14])
    >>> sorted(set(pairs["resolution"]))
    [28.0, 56.0]
    """
    levels = np.array(sorted(_checked(resolutions)), float)
    names = [pairs[side].astype(str).to_numpy(object) for side in ("probe", "reference")]
    counts = np.stack([pixels.reindex(side).to_numpy(float) for side in names])
    known = np.isfinite(counts).all(axis=0) & (counts > 0).all(axis=0)
    if not known.any():
        raise ParameterError(
            "pixels: no pair has two faces whose pixels are known; they are counted in "
            "photographs, by the points at which faces were found"
        )
    swapped = counts[1] < counts[0]
    coarser = counts.min(axis=0)[known]
    nearest = np.abs(np.log(coarser)[:, None] - np.log(levels)).argmin(axis=1)
    table = pairs.assign(
        probe=np.where(swapped, names[1], names[0]), reference=np.where(swapped, names[0], names[1])
    )[known]
    return table.assign(resolution=levels[nearest], probe_pixels=coarser)


def _checked(resolutions: Any) -> list[int]:
    """Refuse anything but a list of distinct whole numbers."""
    if isinstance(resolutions, (str, bytes)) or not isinstance(resolutions, Iterable):
        raise ParameterError(f"resolutions={resolutions!r} must be a list, as in [56, 28, 14]")
    values = list(resolutions)
    if not values:
        raise ParameterError("resolutions=[] must name at least one, as in [56, 28, 14]")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise ParameterError(
                f"resolutions: {value!r} must be a whole number of pixels, 1 or more"
            )
    if len(set(values)) < len(values):
        raise ParameterError(f"resolutions={values!r} repeat one")
    return [int(value) for value in values]


def _chosen(faces: Faces, probes: Iterable[str] | None) -> np.ndarray:
    """Positions of the faces to degrade."""
    whole = ~faces.degraded
    if probes is None:
        return np.flatnonzero(whole)
    wanted = {str(name) for name in probes}
    unknown = sorted(wanted - set(faces.names))
    if unknown:
        raise ParameterError(f"probes: {unknown[0]!r} is not a face of {faces.name!r}")
    return np.flatnonzero(whole & np.isin(np.array(faces.names, object), list(wanted)))

"""Compute stored thresholds and influence again from the embeddings of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.attrs import from_json, to_json
from freqlab.engine.pairing import SIDES, pair_influence
from freqlab.statistics.error_rates import FMRS, impostor_thresholds
from freqlab.store import journal
from freqlab.store.chunks import opened, read
from freqlab.store.consistency import sound_groups
from freqlab.store.layout import FAILED, FORGOTTEN

__all__ = ["Rechecked", "recheck"]

_MOST_FACES = 5000  # 12.5 million comparisons, about a second
_PAIRS = 16  # sampled from each result and model
_TOLERANCE = 2e-3  # of a cosine; larger than rounding across devices and batch sizes
_DIFFERS = "differs from the value computed from the embeddings"


class Rechecked(NamedTuple):
    """Result of :func:`recheck`.

    Parameters
    ----------
    thresholds
        Number of results whose thresholds were computed again.
    influence
        Number of results of which a sample of influence was computed again.
    differences
        Node, array and description of each difference.
    """

    thresholds: int
    influence: int
    differences: list[tuple[str, str, str]]


def recheck(root: zarr.Group, broken: Collection[str]) -> Rechecked:
    """Compute thresholds and a sample of influence again, for complete results.

    Thresholds need all faces of a result. These are known if they are the first faces of the run
    or all of them, none has been removed, and there are at most 5,000.
    """
    if "influence" not in root or "embeddings" not in root:
        return Rechecked(0, 0, [])
    run = _Run(root)
    n_thresholds = n_influence = 0
    differences: list[tuple[str, str, str]] = []
    for path, result in sound_groups(root, "influence"):
        if path in broken or not result.attrs.get("complete"):
            continue
        identity = json.loads(str(result.attrs["identity"]))
        n_influence += 1
        rows = run.rows_of(identity["faces"])
        n_thresholds += rows is not None
        for m, model in enumerate(identity["models"]):
            node = run.node_of(model)
            if node is None:
                continue
            if rows is not None:
                differences += run.thresholds(result, path, m, node, rows, identity["faces"])
            differences += _sampled(root, result, path, m, node, identity, model)
    return Rechecked(n_thresholds, n_influence, differences)


class _Run:
    """The faces of a run, and the thresholds computed so far."""

    def __init__(self, root: zarr.Group) -> None:
        self._root = root
        faces = cast(zarr.Group, root["faces"])
        n_faces = int(cast(int, faces.attrs["n_faces"]))

        def column(name: str) -> npt.NDArray[Any]:
            return read(opened(faces, name))[:n_faces]

        self._status, self._subjects = column("status"), column("subject")
        names = column("face").tolist()
        given = column("source").tolist() if "source" in faces else [""] * n_faces
        source_of = dict(zip(names, given, strict=True))
        self._sources = np.array([_origin(name, source_of) for name in names], object)
        self._degraded = column("degraded_by") != ""
        self._known: dict[tuple[str, int, tuple[float, ...]], tuple[list[float], int]] = {}
        self._failed = np.isin(self._status, FAILED)
        if "crops" in root:
            for _, crops in sound_groups(root, "crops"):
                status = read(opened(crops, "status"))[:n_faces]
                self._failed[: len(status)] |= np.isin(status, FAILED)

    def node_of(self, model: str) -> zarr.Group | None:
        """Node with the embeddings of a model; None if it no longer exists."""
        for _, node in sound_groups(self._root, "embeddings"):
            identity = json.loads(str(node.attrs.get("identity", "{}")))
            whole = "intact" in node and journal.counts(self._root, f"{node.path}/intact")
            if identity.get("name") == model and whole:
                return node
        return None

    def rows_of(self, about: dict[str, Any]) -> int | None:
        """Number of faces of a result if they are the first ones of the run; None otherwise."""
        n = int(about["n"])
        if n > min(len(self._sources), _MOST_FACES) or (self._status[:n] == FORGOTTEN).any():
            return None
        members = list(zip(range(n), self._sources[:n].tolist(), strict=True))
        digest = hashlib.sha256(to_json(sorted(members)).encode()).hexdigest()
        return n if digest == about["sha256"] else None

    def thresholds(
        self,
        result: zarr.Group,
        path: str,
        m: int,
        node: zarr.Group,
        n: int,
        about: dict[str, Any],
    ) -> list[tuple[str, str, str]]:
        """Differences in the thresholds of one model, in the result or with its embeddings."""
        fmrs = tuple(float(rate) for rate in read(opened(result, "fmr")))
        key = (node.path, n, fmrs)
        if key not in self._known:
            whole = np.flatnonzero(~self._degraded[:n])
            embeddings = read(opened(cast(zarr.Group, node["intact"]), "embedding"))[whole]
            self._known[key] = impostor_thresholds(
                embeddings, self._subjects[whole], self._sources[whole], fmrs
            )
        expected, comparisons = self._known[key]
        differences = []
        stored = read(opened(result, "threshold"))[m]
        if not _alike(stored, expected):
            differences.append((path, "threshold", _DIFFERS))
        if int(read(opened(result, "impostor_comparisons"))[m]) != comparisons:
            differences.append(
                (
                    path,
                    "impostor_comparisons",
                    _DIFFERS,
                )
            )
        failed = np.packbits(self._failed[:n]).tobytes()
        rates = b"" if fmrs == FMRS else to_json(list(fmrs)).encode()
        name = hashlib.sha256(to_json(about).encode() + failed + rates).hexdigest()[:16]
        kept: dict[str, Any] = from_json(node["intact"].attrs.get("thresholds", {}))
        if name in kept and list(kept[name]["fmr"]) == list(fmrs):
            values = [np.nan if t is None else t for t in kept[name]["threshold"]]
            if not _alike(values, expected) or int(kept[name]["comparisons"]) != comparisons:
                what = "keeps thresholds that differ from those of the embeddings"
                differences.append((f"{node.path}/intact", "", what))
        return differences


def _origin(name: str, source_of: dict[str, str]) -> str:
    seen = {name}
    while source_of.get(name) and source_of[name] not in seen:
        name = source_of[name]
        seen.add(name)
    return name


def _alike(values: Any, expected: Any) -> bool:
    return np.allclose(
        np.asarray(values, float), np.asarray(expected, float), rtol=0, atol=1e-4, equal_nan=True
    )


def _sampled(
    root: zarr.Group,
    result: zarr.Group,
    path: str,
    m: int,
    node: zarr.Group,
    identity: dict[str, Any],
    model: str,
) -> list[tuple[str, str, str]]:
    """Differences in a sample of the pairs of a result."""
    n_pairs = opened(result, "pair").shape[0]
    if not n_pairs:
        return []
    at = np.unique(np.linspace(0, n_pairs - 1, min(n_pairs, _PAIRS)).round().astype(int))
    probe, reference = (read(opened(result, side))[at] for side in SIDES[:2])
    rows, places = np.unique(np.concatenate([probe, reference]), return_inverse=True)
    first, second = places[: len(at)], places[len(at) :]
    intact = _rows(opened(cast(zarr.Group, node["intact"]), "embedding"), rows)
    banded = _banded(root, node, identity, model)
    removed = None if banded is None else _rows(opened(banded, "embedding"), rows)
    similarity = opened(result, "similarity").oindex[m, at]
    influence = np.asarray(opened(result, "influence").oindex[m, at])
    differences = set()
    for s, side in enumerate(identity["sides"]):
        masked = np.full((len(rows), 1, intact.shape[1]), np.nan, np.float32)
        masked = masked if removed is None else removed
        again = pair_influence(intact[first], masked[first], intact[second], masked[second], side)
        if _differs(similarity, again.similarity):
            differences.add((path, "similarity", _DIFFERS))
        computed = ~np.isnan(influence[:, s]) | ("refine" not in identity)
        if removed is not None and _differs(influence[:, s], again.influence, computed):
            differences.add((path, "influence", _DIFFERS))
    return sorted(differences)


def _differs(stored: Any, again: Any, which: Any = True) -> bool:
    """Whether a value that can be computed again differs by more than rounding."""
    with np.errstate(invalid="ignore"):
        same = np.abs(np.asarray(stored, float) - again) <= _TOLERANCE
    return bool((np.isfinite(again) & ~same & which).any())


def _banded(
    root: zarr.Group, node: zarr.Group, identity: dict[str, Any], model: str
) -> zarr.Group | None:
    """Embeddings of a result with bands removed; None if they do not exist."""
    eyes = identity["models"][model].get("eye_distance")
    for path, child in sound_groups(root, node.path):
        about = json.loads(str(child.attrs.get("identity", "{}")))
        fits = about.get("bands") == identity["bands"] and about.get("eye_distance", eyes) == eyes
        if not path.endswith("/intact") and fits and ("chosen" in about) == ("refine" in identity):
            return child
    return None


def _rows(array: zarr.Array[Any], rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    return np.asarray(array.oindex[rows.astype(np.int64)], np.float32)

"""Studies kept in the store of a run: trees of datasets, under a hash of their inputs.

A study is kept under ``/studies/<subject>/<hash>``, a group for each node of its tree. It is made
whole or not at all, and removed as a whole when a person is forgotten.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
import zarr

from freqlab import __version__
from freqlab.attrs import plain_attrs
from freqlab.errors import ParameterError, StoreError, check_name
from freqlab.faces.table import Faces
from freqlab.models.spec import Model
from freqlab.store import journal
from freqlab.store.chunks import (
    ALL_CHUNKS,
    arrays_of,
    compressors,
    disk_faults,
    groups_of,
    open_root,
    open_root_if_there,
    place_of,
    read,
)
from freqlab.store.face_conflicts import file_stamp
from freqlab.store.forgetting import settle
from freqlab.store.layout import STUDIES
from freqlab.store.locking import locked
from freqlab.store.plain_text import create_twin, is_twin

__all__ = ["as_dataset", "as_frame", "kept_study", "made_of", "open_study", "study_names"]

Nodes = Mapping[str, xr.Dataset | pd.DataFrame]
"""Nodes of a study by their paths in its tree, such as ``"scores/mobilefacenet"``."""

_NAME, _JSON, _COORDINATES, _TABLE = "variable", "json", "coordinates", "table"
_FORM = 6  # of the nodes that studies have; part of the hash, so that older studies are made again
_ABOUT, _SECONDS, _MADE = "about", "seconds", "created_at"
_LARGEST_CHUNK = 1 << 22  # values


def made_of(
    store: str | os.PathLike[str],
    faces: Faces,
    *,
    models: Sequence[Model],
    pairs: pd.DataFrame | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Describe the inputs of a study as JSON; its hash changes with any of them.

    Parameters
    ----------
    store
        The run's Zarr group; photographs that it has already read, and that have not changed
        since, are not read again.
    faces
        The faces: names, columns, images, landmarks.
    models
        The networks, loaded.
    pairs
        A list of pairs, if one is given.
    options
        All other arguments that affect the result, as JSON values.
    """
    table = faces.table.drop(columns="path", errors="ignore")
    about: dict[str, Any] = {
        "face_set": faces.name,
        "faces": _digest(
            _of_table(table),
            *_image_digests(store, faces),
            b"" if faces.landmarks is None else np.asarray(faces.landmarks, np.float64).tobytes(),
            str(faces.aligned),
            json.dumps([faces.credit, list(faces.notes), faces.left_out]),
            *("" if d is None else d.declaration() for d in faces.degradations or ()),
        ),
        "models": {model.name: model.fingerprint() for model in models},
        "pairs": None,
        **options,
    }
    if pairs is not None:
        about["pairs"] = _digest(_of_table(pairs), json.dumps(pairs.attrs.get("left_out", [])))
    return about


def kept_study(
    store: str | os.PathLike[str],
    subject: str,
    about: Mapping[str, Any],
    make: Callable[[], Nodes],
) -> xr.DataTree:
    """Open a study that is kept in a run, or make and keep it.

    Parameters
    ----------
    store
        The run's Zarr group; created by `make` if it does not exist.
    subject
        Subject of the study, such as ``"bias"``.
    about
        Everything that the study depends on, from :func:`made_of`.
    make
        Computes its nodes. Attributes of the node ``"/"`` are those of the study.

    Returns
    -------
    xarray.DataTree
        The stored study, in memory. Its attributes hold ``store``, ``subject``, ``key`` (the
        hash), ``about`` (JSON), ``created_at``, ``seconds`` and ``freqlab_version``, and
        ``was_kept``: 1 if the study was in the store already.

    Raises
    ------
    ParameterError
        If a node holds values that cannot be stored.
    StoreError
        If the store cannot be written, or is damaged.
    """
    url = place_of(store)
    text = _text_of(subject, about)
    key = _digest(text, size=8)
    path = f"{STUDIES}/{subject}/{key}"
    root = open_root_if_there(url)
    if root is not None and _counts(root, path, text):
        return _opened(root, url, path, was_kept=True)
    began = time.perf_counter()
    nodes = {name.strip("/"): _plain(node) for name, node in make().items()}
    seconds = time.perf_counter() - began
    attrs = {
        _SECONDS: seconds,
        _ABOUT: text,
        _MADE: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "freqlab_version": __version__,
    }
    with disk_faults(url), locked(url) as lock:
        settle(url, lock)
        root = open_root(url, "r+")
        if "forgetting" in root.attrs:
            raise StoreError(
                f"the removal of a person from run {url!r} is not finished: repeat it first"
            )
        journal.remove(root, path)  # damaged, or another call was faster
        with journal.making(root, path):
            _write(root, path, nodes, attrs)
    return _opened(open_root(url), url, path, was_kept=False)


def study_names(store: str | os.PathLike[str], subject: str) -> list[str]:
    """Hashes of the studies of a subject that a run holds, oldest first.

    Parameters
    ----------
    store
        Path of the run.
    subject
        Subject of the studies, such as ``"bias"``.

    Returns
    -------
    list of str
        Keys for :func:`open_study`.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("verification")
    >>> len(fl.store.study_names(study.attrs["store"], "verification"))
    1
    """
    return _names(open_root(store), subject)


def open_study(store: str | os.PathLike[str], subject: str, key: str | None = None) -> xr.DataTree:
    """Open a study that is kept in a run.

    Parameters
    ----------
    store
        The run's Zarr group.
    subject
        Subject of the study, such as ``"bias"``.
    key
        The hash of the study; the newest by default.

    Returns
    -------
    xarray.DataTree
        As returned by the ``study`` function of the subject.

    Raises
    ------
    StoreError
        If there is no run, or it has no such study.
    UnknownNameError
        If it has no study of this hash.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("verification")
    >>> again = fl.store.open_study(study.attrs["store"], "verification")
    >>> sorted(again.children)
    ['figures']
    """
    url = place_of(store)
    root = open_root(url)
    known = _names(root, subject)
    if not known:
        raise StoreError(f"run {url!r} holds no study of {subject!r}; fl.{subject}.study makes one")
    key = known[-1] if key is None else check_name("study", key, known)
    return _opened(root, url, f"{STUDIES}/{subject}/{key}", was_kept=True)


def as_dataset(table: pd.DataFrame) -> xr.Dataset:
    """Convert a table to a dataset along ``row``, a variable for each column and index level.

    :func:`as_frame` converts it back.
    """
    levels = [table.index.get_level_values(i) for i in range(table.index.nlevels)]
    labelled: list[tuple[Any, Any]] = [
        *((name, level) for name, level in zip(table.index.names, levels, strict=True)),
        *((name, table.iloc[:, i]) for i, name in enumerate(table.columns)),
    ]
    variables: dict[str, Any] = {}
    for label, values in labelled:
        parts = list(label) if isinstance(label, tuple) else [label]
        name = wanted = ", ".join("index" if p is None else str(p) for p in parts) or "column"
        n = 1
        while name in variables:
            name, n = f"{wanted} ({n + 1})", n + 1
        variables[name] = ("row", np.asarray(values))
    labels: list[Any] = table.columns.tolist()
    about = {
        "variables": list(variables),
        "index": list(table.index.names),
        "columns": [list(c) if isinstance(c, tuple) else c for c in labels],
        "names": list(table.columns.names),
    }
    return xr.Dataset(variables, attrs={_TABLE: json.dumps(about, default=str)})


def as_frame(node: xr.Dataset | xr.DataTree | xr.DataArray) -> pd.DataFrame:
    """Return the table that a node of a study holds.

    Parameters
    ----------
    node
        Node of a study that holds a table.

    Returns
    -------
    pandas.DataFrame
        The columns in their stored order, with the stored index.

    Raises
    ------
    ParameterError
        If it does not hold a table.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> fl.store.as_frame(study["groups"]).columns.tolist()
    ['photographs', 'people']
    """
    if _TABLE not in node.attrs:
        raise ParameterError("this node of the study is a dataset, not a table")
    about = json.loads(node.attrs[_TABLE])
    values = [np.asarray(node[name]) for name in about["variables"]]
    n = len(about["index"])
    arrays = [
        pd.Index(level, name=name) for level, name in zip(values, about["index"], strict=False)
    ]
    index = arrays[0] if n == 1 else pd.MultiIndex.from_arrays(arrays, names=about["index"])
    frame = pd.DataFrame(dict(enumerate(values[n:])), index=index)
    labels = [tuple(label) if isinstance(label, list) else label for label in about["columns"]]
    if len(about["names"]) > 1:
        frame.columns = pd.MultiIndex.from_tuples(labels, names=about["names"])
    else:
        frame.columns = pd.Index(labels, name=about["names"][0])
    return frame


def _text_of(subject: str, about: Mapping[str, Any]) -> str:
    try:
        made_by = {"version": __version__, "form": _FORM}
        return json.dumps({"subject": subject, **made_by, **about}, sort_keys=True)
    except TypeError as error:
        raise ParameterError(f"a study of {subject!r} cannot be kept: {error}") from error


def _counts(root: zarr.Group, path: str, text: str | None = None) -> bool:
    group = (
        root.get(path) if journal.counts(root, path) and "forgetting" not in root.attrs else None
    )
    there = isinstance(group, zarr.Group) and _ABOUT in group.attrs
    return there and (text is None or cast(zarr.Group, group).attrs[_ABOUT] == text)


def _names(root: zarr.Group, subject: str) -> list[str]:
    above = root.get(f"{STUDIES}/{subject}")
    groups = groups_of(above) if isinstance(above, zarr.Group) else {}
    made = {
        name: str(group.attrs.get(_MADE, ""))
        for name, group in groups.items()
        if _counts(root, group.path)
    }
    return sorted(made, key=lambda name: (made[name], name))


def _plain(node: xr.Dataset | pd.DataFrame) -> xr.Dataset:
    """A node for storing: tables as datasets, levels of an index as columns, no lazy arrays."""
    dataset = as_dataset(node) if isinstance(node, pd.DataFrame) else node
    several = [name for name, index in dataset.indexes.items() if isinstance(index, pd.MultiIndex)]
    dims = {str(dataset[name].dims[0]) for name in several}
    return dataset.reset_index(sorted(dims)).load() if dims else dataset.load()


def _write(
    root: zarr.Group, path: str, nodes: dict[str, xr.Dataset], attrs: dict[str, Any]
) -> None:
    top = nodes.get("", xr.Dataset())
    _write_node(journal.make_group(root, path, _attrs_of(top, attrs)), top)
    for name in sorted(set(nodes) - {""}):
        parts = name.split("/")
        for i in range(1, len(parts)):
            above = "/".join(parts[:i])
            if above not in nodes and f"{path}/{above}" not in root:
                journal.make_group(root, f"{path}/{above}", {})
        _write_node(journal.make_group(root, f"{path}/{name}", _attrs_of(nodes[name])), nodes[name])


def _attrs_of(dataset: xr.Dataset, more: Mapping[str, Any] = {}) -> dict[str, Any]:
    names = [_array_name(str(name)) for name in dataset.coords if name not in dataset.dims]
    attrs = _plain_attrs(dataset.attrs) | dict(more)
    return {**attrs, _COORDINATES: " ".join(names)} if names else attrs


def _plain_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
        for name, value in plain_attrs(attrs).items()
    }


def _array_name(name: str) -> str:
    """Array name of a variable: letters, digits and underscores, otherwise a hash."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    return plain if plain == name else f"{plain[:40]}_{_digest(name, size=3)}"


def _write_node(group: zarr.Group, dataset: xr.Dataset) -> None:
    for name, variable in dataset.variables.items():
        values, attrs = np.asarray(variable.values), _plain_attrs(variable.attrs)
        if values.dtype.kind not in "biuf":
            values, as_json = _texts(str(name), values)
            attrs |= {_JSON: 1} if as_json else {}
        if _array_name(str(name)) != name:
            attrs[_NAME] = str(name)
        text = values.dtype == object
        array = group.create_array(
            _array_name(str(name)),
            shape=values.shape,
            chunks=_chunks(values.shape),
            dtype=str if text else values.dtype,
            fill_value="" if text else (float("nan") if values.dtype.kind == "f" else 0),
            dimension_names=[str(dim) for dim in variable.dims],
            attributes=attrs,
            compressors=compressors(True),
            config=ALL_CHUNKS,
        )
        if values.size:
            array[...] = values
        if text:
            create_twin(group, array, values)


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunk shape: the whole array, or for a large one, parts along its first axis."""
    rest = int(np.prod(shape[1:], dtype=np.int64)) if shape else 1
    first = max(1, _LARGEST_CHUNK // max(1, rest))
    return tuple(max(1, n if i else min(n, first)) for i, n in enumerate(shape))


def _texts(name: str, values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.object_], bool]:
    """Convert values that are not numbers to text; to JSON if some are not text either."""
    objects = values.astype(object)
    flat = objects.ravel().tolist()
    if all(isinstance(value, str) for value in flat):
        return objects, False
    texts = np.empty(objects.size, object)
    try:
        texts[:] = [json.dumps(value, default=_number) for value in flat]
    except TypeError as error:
        raise ParameterError(f"{name!r} of a study cannot be kept: {error}") from error
    return texts.reshape(objects.shape), True


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is neither a number nor text")


def _opened(root: zarr.Group, url: str, path: str, *, was_kept: bool) -> xr.DataTree:
    group = cast(zarr.Group, root[path])
    nodes: dict[str, xr.Dataset] = {}
    _read_into(nodes, group, "/")
    subject, key = path.split("/")[1:3]
    nodes["/"].attrs |= {"store": url, "subject": subject, "key": key, "was_kept": int(was_kept)}
    return xr.DataTree.from_dict(nodes, name=f"{subject} {key}")


def _read_into(nodes: dict[str, xr.Dataset], group: zarr.Group, at: str) -> None:
    """Read a group and all groups below it, by their paths in the tree."""
    variables, coordinates = {}, str(group.attrs.get(_COORDINATES, "")).split()
    placed = []
    for stored, array in arrays_of(group).items():
        if is_twin(array):
            continue
        attrs = dict(array.attrs)
        values = read(array, ...)
        if attrs.pop(_JSON, 0):
            flat = np.empty(values.size, object)
            flat[:] = [json.loads(text) for text in values.ravel().tolist()]
            values = flat.reshape(values.shape)
        name = str(attrs.pop(_NAME, stored))
        dims = cast(tuple[str, ...], array.metadata.dimension_names or ())  # type: ignore[union-attr]
        variables[name] = (dims, values, attrs)
        if stored in coordinates or (name,) == tuple(dims):
            placed.append(name)
    attrs = {name: value for name, value in group.attrs.items() if name != _COORDINATES}
    coords = {name: variables.pop(name) for name in placed}
    nodes[at] = xr.Dataset(variables, coords=coords, attrs=attrs)
    for name, below in groups_of(group).items():
        _read_into(nodes, below, f"{at.rstrip('/')}/{name}")


def _image_digests(store: str | os.PathLike[str], faces: Faces) -> list[str]:
    """SHA-256 of the image of each face; from the run if the file has not changed since."""
    known: dict[str, tuple[str, tuple[int, int], str]] = {}
    root = open_root_if_there(store)
    columns = ("face", "path", "file_size", "file_mtime", "sha256")
    node = root.get("faces") if root is not None and faces.images is None else None
    if isinstance(node, zarr.Group) and set(columns) <= set(node.array_keys()):
        stored = [read(cast("zarr.Array[Any]", node[name])).tolist() for name in columns]
        for name, path, size, changed, digest in zip(*stored, strict=False):
            if digest:
                known[str(name)] = str(path), (int(size), int(changed)), str(digest)
    digests = []
    for i, name in enumerate(faces.names):
        path, stamp, digest = known.get(name, ("", None, ""))
        unmoved = digest and path == str(faces.table["path"].iloc[i])
        if unmoved and stamp == file_stamp(faces, i):
            digests.append(digest)
            continue
        try:
            digests.append(hashlib.sha256(faces.content(i)).hexdigest())
        except OSError:
            digests.append(digest)  # removed since; what was computed from it stays valid
    return digests


def _of_table(table: pd.DataFrame) -> bytes:
    """Content of a table as bytes, for its digest."""
    hashes = pd.util.hash_pandas_object(table.astype(str), index=True)
    return (
        json.dumps([str(column) for column in table.columns]).encode() + hashes.to_numpy().tobytes()
    )


def _digest(*parts: str | bytes, size: int = 16) -> str:
    digest = hashlib.blake2b(digest_size=size)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()

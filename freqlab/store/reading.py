"""Open a run and its results as xarray objects, with names instead of row numbers."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
import zarr

from freqlab.attrs import plain_attrs
from freqlab.bands.base import centres
from freqlab.errors import FreqlabError, ParameterError, StoreError, check_name
from freqlab.images.templates import template as named_template
from freqlab.store import journal
from freqlab.store.chunks import arrays_of, groups_of, nothing_else_named, open_root, place_of
from freqlab.store.layout import DONE, FLAGS, FORGOTTEN, STUDIES, TOP_NODES
from freqlab.store.photographs import ABOUT_PHOTOGRAPHS, shows_several
from freqlab.store.plain_text import is_twin

__all__ = [
    "about_photographs",
    "check_not_forgetting",
    "crop_template",
    "names_of_results",
    "open_crop",
    "open_crops",
    "open_embeddings",
    "open_face_columns",
    "open_face_node",
    "open_influence",
    "open_run",
    "open_run_group",
    "pixels_across",
    "result_names",
    "while_it_grows",
]

Opened = TypeVar("Opened")

_PATIENCE = 2.0  # seconds for which a changing store is opened again,
_LOOKS = 8  # and the minimum number of attempts


_ABOUT_FILES = ("sha256", "file_size", "file_mtime", "image_note", "which_face")
_ABOUT_ALIGNMENT = ("status", "aligned", "landmarks_given", "faces_found")


def open_run(path: str | os.PathLike[str], *, nodes: Sequence[str] | None = None) -> xr.DataTree:
    """Open a run for reading.

    Parameters
    ----------
    path
        The run's Zarr group.
    nodes
        Names of the nodes to open, with those below: ``"faces"``, ``"crops"``, ``"embeddings"``,
        ``"influence"``, ``"saliency"``, ``"sets"``, ``"studies"`` and ``"trust"``; by default all.
        A run with many studies takes seconds to open whole. Nodes that the run lacks are absent.

    Returns
    -------
    xarray.DataTree
        Nodes ``/faces``, ``/crops/<template>``, ``/embeddings/<model>/...``, ``/influence/<name>``
        and those of the studies; arrays are read lazily. Crops and embeddings are biometric data:
        handle them as such.

    Raises
    ------
    StoreError
        If there is no run.
    UnknownNameError
        If no run has a node of such a name.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(store="run.zarr", name="first")
    >>> sorted(fl.open_run("run.zarr").children)
    ['crops', 'embeddings', 'faces', 'influence']
    >>> sorted(fl.open_run("run.zarr", nodes=["faces"]).children)
    ['faces']
    """
    url = place_of(path)
    for name in nodes or ():
        check_name("node", name, TOP_NODES)
    return while_it_grows(url, lambda: _open_tree(url, nodes))


def _open_tree(url: str, only: Sequence[str] | None) -> xr.DataTree:
    root = open_run_group(url)
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=plain_attrs(root.attrs))}
    faces: xr.Dataset | None = None
    for path_in_run, group in journal.groups_that_count(root, only=only):
        if path_in_run.split("/")[0] == STUDIES:
            nodes[f"/{path_in_run}"] = _open_node(root, path_in_run)
        elif "status" in group:
            nodes[f"/{path_in_run}"] = open_face_node(url, root, path_in_run)
        elif not path_in_run.startswith("influence/"):
            nodes[f"/{path_in_run}"] = _open_node(root, path_in_run)
        elif group.attrs.get("complete"):
            faces = (
                faces if faces is not None else open_face_node(url, root, "faces", all_rows=True)
            )
            nodes[f"/{path_in_run}"] = _named(url, root, path_in_run.split("/")[1], faces)
    return xr.DataTree.from_dict(nodes)


def result_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the finished results in a run, oldest first.

    Parameters
    ----------
    path
        Path of the run.

    Returns
    -------
    list of str
        Names for :func:`open_influence`.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), store="run.zarr", **options)
    >>> len(fl.store.result_names("run.zarr"))
    1
    """
    url = place_of(path)
    return while_it_grows(url, lambda: names_of_results(url))


def names_of_results(url: str) -> list[str]:
    """As :func:`result_names`, in one attempt."""
    root = open_run_group(url)
    if "influence" not in root:
        return []
    influence = cast(zarr.Group, root["influence"])
    groups = [(n, g) for n, g in groups_of(influence).items() if journal.counts(root, g.path)]
    finished = [(str(g.attrs["created_at"]), name) for name, g in groups if g.attrs.get("complete")]
    return [name for _, name in sorted(finished)]


def open_influence(path: str | os.PathLike[str], name: str | None = None) -> xr.Dataset:
    """Open a result of :func:`freqlab.influence`.

    Parameters
    ----------
    path
        The run's Zarr group.
    name
        Name of the result; the newest by default.

    Returns
    -------
    xarray.Dataset
        As :func:`freqlab.influence` returns it.

    Raises
    ------
    StoreError
        If there is no run, or it has no finished result.
    UnknownNameError
        If it has no result of this name.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(store="run.zarr", name="first")
    >>> fl.open_influence("run.zarr", "first").equals(result)
    True
    """
    url = place_of(path)
    return while_it_grows(url, lambda: _open_result(url, name))


def _open_result(url: str, name: str | None) -> xr.Dataset:
    names = names_of_results(url)
    if not names:
        raise StoreError(f"run {url!r} holds no finished result; compute one with fl.influence")
    name = names[-1] if name is None else check_name("result", name, names)
    root = open_run_group(url)
    return _named(url, root, name, open_face_node(url, root, "faces", all_rows=True))


def _named(url: str, root: zarr.Group, name: str, faces: xr.Dataset) -> xr.Dataset:
    """A result with names of faces; `faces` has one per row of the store."""
    dataset = _open_node(root, f"influence/{name}")
    labels, subjects = faces["face"].to_numpy(), faces["subject"].to_numpy()
    for side in ("probe", "reference"):
        rows = dataset[side].to_numpy()
        dataset = dataset.assign_coords(
            {
                side: ("pair", labels[rows], {"long_name": f"{side} face"}),
                f"{side}_subject": ("pair", subjects[rows], {"long_name": f"subject of {side}"}),
            }
        )
    dataset = _with_frequencies(_plain(dataset))
    del dataset.attrs["complete"]
    dataset.attrs["store"] = url
    dataset.attrs["name"] = name
    return dataset


def _with_frequencies(dataset: xr.Dataset) -> xr.Dataset:
    """A result whose bands can be selected by frequency.

    Results of earlier versions have no frequency for the band beyond the last edge.
    """
    frequency = dataset["frequency"]
    if frequency.isnull().any():
        nominal = centres(dataset["band_bounds"].to_numpy(), str(frequency.attrs["units"]))
        dataset = dataset.assign_coords(frequency=frequency.copy(data=nominal))
    return dataset.set_xindex("frequency")


def open_embeddings(path: str | os.PathLike[str], *, model: str) -> xr.DataArray:
    """Open the embeddings of the unmasked faces for a model in a run.

    Parameters
    ----------
    path
        The run's Zarr group.
    model
        Name of the model.

    Returns
    -------
    xarray.DataArray
        ``(face, feature)``, as the network returned them; NaN for a face that was not embedded.

    Raises
    ------
    StoreError
        If there is no run.
    UnknownNameError
        If it has no such model.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence(store="run.zarr")
    >>> embeddings = fl.open_embeddings("run.zarr", model="linear")
    >>> dict(embeddings.sizes)
    {'face': 12, 'feature': 16}
    """
    url = place_of(path)

    def opened() -> xr.DataArray:
        root = open_run_group(url)
        node, _ = _model_node(root, model)
        return open_face_node(url, root, f"{node}/intact")["embedding"]

    return while_it_grows(url, opened)


def open_crop(
    path: str | os.PathLike[str], *, face: str, template: str
) -> npt.NDArray[np.uint8] | None:
    """Read the crop of one face.

    Parameters
    ----------
    path
        The run's Zarr group.
    face
        Name of the face.
    template
        Name of the alignment template.

    Returns
    -------
    numpy.ndarray or None
        RGB ``(height, width, 3)``; None if the run keeps no crop of this face.

    Raises
    ------
    StoreError
        If there is no run.
    """
    url = place_of(path)
    root = open_run_group(url)
    if f"crops/{template}/crop" not in root or not journal.counts(root, f"crops/{template}"):
        return None
    crops = while_it_grows(url, lambda: open_face_node(url, root, f"crops/{template}"))
    if face not in crops["face"].to_numpy() or int(crops["status"].sel(face=face)) != DONE:
        return None
    return crops["crop"].sel(face=face).to_numpy()


def open_crops(path: str | os.PathLike[str], *, template: str) -> xr.Dataset:
    """Open the crops of a template, with the status of each face.

    Parameters
    ----------
    path
        The run's Zarr group.
    template
        Name of the alignment template.

    Returns
    -------
    xarray.Dataset
        ``crop(face, y, x, channel)``, unless the run keeps none; ``status_text(face)``;
        ``several(face)``, whether the photograph shows several faces; the faces' columns as
        coordinates.

    Raises
    ------
    StoreError
        If there is no run, or it has no crops of this template.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), store="run.zarr", **options)
    >>> fl.store.open_crops("run.zarr", template="arcface")["crop"].shape
    (12, 112, 112, 3)
    """
    url = place_of(path)
    root = open_run_group(url)
    node = f"crops/{template}"
    if f"{node}/status" not in root or not journal.counts(root, node):
        raise StoreError(f"run {url!r} has no crops of template {template!r}")
    crops = while_it_grows(url, lambda: open_face_node(url, root, node))
    text = np.array([FLAGS[int(code)] for code in crops["status"].to_numpy()], object)
    faces = while_it_grows(url, lambda: open_face_node(url, root, "faces"))
    faces = faces.isel(face=slice(0, crops.sizes["face"]))
    kept = {name: faces[name] for name in ("subject", "path") if name in faces.variables}
    several = shows_several(about_photographs(faces))
    crops = crops.assign(status_text=("face", text), several=("face", several))
    return crops.assign_coords(kept)


def pixels_across(path: str | os.PathLike[str], *, template: str = "arcface") -> pd.Series[float]:
    """Width of each crop in pixels of its photograph: the native resolution.

    It follows from the scale of the five points relative to those of the template (root mean
    squared distance from their mean). Degraded faces have the value of their photographs.

    Parameters
    ----------
    path
        The run's Zarr group.
    template
        Name of the alignment template.

    Returns
    -------
    pandas.Series
        By face; NaN if the points are unknown, as for crops that were aligned elsewhere.

    Raises
    ------
    ParameterError
        If the template has no points.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), store="run.zarr", **options)
    >>> bool(fl.store.pixels_across("run.zarr").isna().all())  # the images were aligned already
    True
    """
    to = named_template(template)
    if not to.points:
        raise ParameterError(f"template={template!r} has no fixed points to measure by")
    url = place_of(path)
    faces = while_it_grows(url, lambda: open_face_node(url, open_run_group(url), "faces"))

    def spread(points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        away = points - points.mean(axis=-2, keepdims=True)
        return np.asarray(np.sqrt(np.square(away).sum(axis=-1).mean(axis=-1)))

    landmarks = faces["landmarks"].to_numpy().astype(float)
    across = to.size[1] * spread(landmarks) / spread(np.array(to.points))
    return pd.Series(across, index=faces["face"].to_numpy().astype(str), name="pixels")


def crop_template(path: str | os.PathLike[str], *, model: str) -> str:
    """Name of the template whose crops a model of a run takes.

    Raises
    ------
    StoreError
        If there is no run.
    UnknownNameError
        If it holds no embeddings of this model.
    """
    root = open_run_group(place_of(path))
    return str(_model_node(root, model)[1]["template"])


def _model_node(root: zarr.Group, model: str) -> tuple[str, dict[str, Any]]:
    """Path of the embeddings of a model, and its identity."""
    nodes = [node for node, _ in journal.groups_that_count(root) if f"{node}/intact/status" in root]
    by_name = {}
    for node in nodes:
        identity = json.loads(str(root[node].attrs["identity"]))
        by_name[str(identity["name"])] = (node, identity)
    return by_name[check_name("model", model, by_name)]


def open_face_columns(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open the columns that describe the faces of a run, such as the subject or an age.

    Parameters
    ----------
    path
        The run's Zarr group.

    Returns
    -------
    xarray.Dataset
        Coordinates along ``face``, also of faces that were removed from the run; without the
        columns on image files and on alignment.

    Raises
    ------
    StoreError
        If there is no run.
    """
    url = place_of(path)
    faces = while_it_grows(
        url, lambda: open_face_node(url, open_run_group(url), "faces", all_rows=True)
    )
    columns = {
        name: values.variable
        for name, values in faces.coords.items()
        if values.dims == ("face",) and name not in _ABOUT_ALIGNMENT
    }
    return xr.Dataset(coords=columns)


def about_photographs(faces: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
    """Columns of ``/faces`` as :func:`freqlab.store.photographs.photograph_notes` takes them."""
    columns = {name: faces[name].to_numpy() for name in ABOUT_PHOTOGRAPHS if name in faces}
    codes = {text: code for code, text in FLAGS.items()}
    columns["status"] = np.array([codes[text] for text in columns["status"]], np.int8)
    return columns


def open_run_group(url: str) -> zarr.Group:
    """Open the Zarr group of a run.

    Raises
    ------
    StoreError
        If it is not there, or not of a run.
    """
    root = open_root(url)
    if root.attrs.get("format") != "freqlab-run":
        raise StoreError(f"{url!r} is a Zarr group, but not of a freqlab run")
    check_not_forgetting(url, root)
    return root


def check_not_forgetting(url: str, root: zarr.Group) -> None:
    """Refuse a run in which the removal of a person is unfinished.

    Raises
    ------
    StoreError
        With instructions for finishing it.
    """
    if "forgetting" in root.attrs:
        raise StoreError(
            f"run {url!r}: a person is being removed from it. If the removal was interrupted, "
            f"`freqlab forget` (fl.store.forget) with the same subject finishes it, and so does "
            f"any run with this store"
        )


def _open_node(root: zarr.Group, path: str, without: Sequence[str] = ()) -> xr.Dataset:
    node = root[path]
    assert isinstance(node, zarr.Group)
    left_out = [
        name
        for name, array in arrays_of(node).items()
        if is_twin(array) or not journal.counts(root, f"{path}/{name}")
    ]
    with nothing_else_named():
        dataset = xr.open_zarr(
            root.store,
            group=path,
            chunks=None,
            consolidated=False,
            drop_variables=[*without, *left_out],
        )
    return _plain(dataset)


def open_face_node(url: str, root: zarr.Group, path: str, *, all_rows: bool = False) -> xr.Dataset:
    """Open a node with a face axis, consistently even while another process extends it.

    Forgotten faces are left out unless `all_rows` is true.
    """
    node = root.get(path) if journal.counts(root, path) else None
    if not isinstance(node, zarr.Group):
        raise StoreError(f"run {url!r} holds no {path} (yet)")
    lengths = {
        name: array.shape[0]
        for name, array in arrays_of(node).items()
        if not is_twin(array) and journal.counts(root, f"{path}/{name}")
    }
    n_faces = min(int(str(root["faces"].attrs["n_faces"])), *lengths.values())
    parts = []
    for length in set(lengths.values()):
        others = [name for name in lengths if lengths[name] != length]
        parts.append(_open_node(root, path, others).isel(face=slice(0, n_faces)))
    dataset = xr.merge(parts, join="exact", combine_attrs="override", compat="no_conflicts")
    dataset.attrs = plain_attrs(node.attrs)
    if path != "faces":
        names = np.asarray(root["faces/face"][:n_faces])  # type: ignore[index]
        dataset = dataset.assign_coords(face=("face", names))
    else:
        codes = dataset["status"].to_numpy()
        status = np.array([FLAGS[int(code)] for code in codes], object)
        dataset["status"] = ("face", status, {"long_name": "status"})
        metadata = [
            name
            for name, variable in dataset.data_vars.items()
            if variable.dims == ("face",) and name not in _ABOUT_FILES
        ]
        dataset = dataset.set_coords(metadata)
    if root.attrs.get("forgotten") and not all_rows:
        status = np.asarray(root["faces/status"][:n_faces])  # type: ignore[index]
        dataset = dataset.isel(face=status != FORGOTTEN)
    return _plain(dataset)


def while_it_grows(url: str, opens: Callable[[], Opened]) -> Opened:
    """Open an object, again if it changed while it was being opened.

    Raises
    ------
    StoreError
        If it cannot be opened.
    """
    until = time.monotonic() + _PATIENCE
    for attempt in itertools.count(1):
        try:
            return opens()
        except FreqlabError:
            raise
        except PermissionError as error:
            raise StoreError(
                f"run {url!r} cannot be read: {error.strerror} ({error.filename})"
            ) from error
        except Exception as error:  # arrays that were added, removed or extended between two reads
            if attempt >= _LOOKS and time.monotonic() > until:
                raise StoreError(
                    f"run {url!r} cannot be read ({type(error).__name__}: {error}); `freqlab info "
                    f"--verify` lists what is damaged"
                ) from error
            time.sleep(0.05)
    raise AssertionError("unreachable")


def _plain(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset that can be written to netCDF and to both formats of Zarr.

    Text becomes Python strings, because NumPy's variable-length type cannot be written to netCDF.
    Zarr's encoding of the arrays, which fits this format of Zarr only, is dropped.
    """
    dataset = dataset.drop_encoding()
    dataset.attrs = plain_attrs(dataset.attrs)
    changed: dict[Any, tuple[Any, npt.NDArray[np.object_], dict[str, Any]]] = {}
    for name, variable in dataset.variables.items():
        variable.attrs = plain_attrs(variable.attrs)
        if variable.dtype.kind in "TU":
            changed[name] = (variable.dims, variable.to_numpy().astype(object), variable.attrs)
    coords = {name: value for name, value in changed.items() if name in dataset.coords}
    rest = {name: value for name, value in changed.items() if name not in coords}
    return dataset.assign_coords(coords).assign(rest)

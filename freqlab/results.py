"""Open a run and its results as xarray, with names where the store keeps row numbers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
import zarr

from freqlab.chunks import open_root
from freqlab.errors import ParameterError, StoreError, check_name
from freqlab.layout import DONE, FLAGS, FORGOTTEN, PENDING
from freqlab.shown_text import one_line
from freqlab.templates import template as named_template

__all__ = [
    "check_not_forgetting",
    "crop_template",
    "describe_run",
    "open_crop",
    "open_crops",
    "open_embeddings",
    "open_influence",
    "open_run",
    "pixels_across",
    "result_names",
]


def open_run(path: str | os.PathLike[str]) -> xr.DataTree:
    """Open a run for reading.

    Parameters
    ----------
    path
        The run's Zarr group.

    Returns
    -------
    xarray.DataTree
        Nodes ``/faces``, ``/crops/<template>``, ``/embeddings/<model>/...`` and
        ``/influence/<name>``; arrays are read when they are used. Crops and embeddings are
        biometric data: handle them as such.

    Raises
    ------
    StoreError
        If there is no run.
    """
    url = os.fspath(path)
    root = _open_group(url)
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=dict(root.attrs))}
    for path_in_run, group in _walk(root):
        if "status" in group:
            nodes[f"/{path_in_run}"] = _open_face_node(url, root, path_in_run)
        elif not path_in_run.startswith("influence/"):
            nodes[f"/{path_in_run}"] = _open_node(root, path_in_run)
        elif group.attrs.get("complete"):
            nodes[f"/{path_in_run}"] = open_influence(url, path_in_run.split("/")[1])
    return xr.DataTree.from_dict(nodes)


def result_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the finished results in a run, oldest first."""
    root = _open_group(os.fspath(path))
    if "influence" not in root:
        return []
    groups = [(name, group) for name, group in root["influence"].groups()]  # type: ignore[union-attr]
    finished = [(str(g.attrs["created_at"]), name) for name, g in groups if g.attrs.get("complete")]
    return [name for _, name in sorted(finished)]


def open_influence(path: str | os.PathLike[str], name: str | None = None) -> xr.Dataset:
    """Open a result of :func:`freqlab.influence`.

    Parameters
    ----------
    path
        The run's Zarr group.
    name
        Of the result; the newest by default.

    Returns
    -------
    xarray.Dataset
        As :func:`freqlab.influence` returns it.

    Raises
    ------
    StoreError
        If there is no run, or it has no finished result.
    UnknownNameError
        If it has none of this name.
    """
    url = os.fspath(path)
    names = result_names(url)
    if not names:
        raise StoreError(f"run {url!r} holds no finished result; compute one with fl.influence")
    name = names[-1] if name is None else check_name("result", name, names)
    root = _open_group(url)
    dataset = _open_node(root, f"influence/{name}")
    faces = _open_face_node(url, root, "faces", all_rows=True)
    labels, subjects = faces["face"].to_numpy(), faces["subject"].to_numpy()
    for side in ("probe", "reference"):
        rows = dataset[side].to_numpy()
        dataset = dataset.assign_coords(
            {
                side: ("pair", labels[rows], {"long_name": f"{side} face"}),
                f"{side}_subject": ("pair", subjects[rows], {"long_name": f"subject of {side}"}),
            }
        )
    dataset = _text_as_objects(dataset)
    del dataset.attrs["complete"]
    dataset.attrs["store"] = url
    dataset.attrs["name"] = name
    return dataset


def open_embeddings(path: str | os.PathLike[str], *, model: str) -> xr.DataArray:
    """Open the untouched embeddings of a model in a run.

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
    """
    url = os.fspath(path)
    root = _open_group(url)
    node, _ = _model_node(root, model)
    return _open_face_node(url, root, f"{node}/intact")["embedding"]


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
    url = os.fspath(path)
    root = _open_group(url)
    if f"crops/{template}/crop" not in root:
        return None
    crops = _open_face_node(url, root, f"crops/{template}")
    if face not in crops["face"].to_numpy() or int(crops["status"].sel(face=face)) != DONE:
        return None
    return crops["crop"].sel(face=face).to_numpy()


def open_crops(path: str | os.PathLike[str], *, template: str) -> xr.Dataset:
    """Open the crops of a template, with what happened to each face.

    Parameters
    ----------
    path
        The run's Zarr group.
    template
        Name of the alignment template.

    Returns
    -------
    xarray.Dataset
        ``crop(face, y, x, channel)``, unless the run keeps none; ``status_text(face)``; the
        faces' columns as coordinates.

    Raises
    ------
    StoreError
        If there is no run, or it has no crops of this template.
    """
    url = os.fspath(path)
    root = _open_group(url)
    node = f"crops/{template}"
    if f"{node}/status" not in root:
        raise StoreError(f"run {url!r} has no crops of template {template!r}")
    crops = _open_face_node(url, root, node)
    text = np.array([FLAGS[int(code)] for code in crops["status"].to_numpy()], object)
    faces = _open_face_node(url, root, "faces")
    kept = {name: faces[name] for name in ("subject", "path") if name in faces.variables}
    return crops.assign(status_text=("face", text)).assign_coords(kept)


def pixels_across(path: str | os.PathLike[str], *, template: str = "arcface") -> pd.Series[float]:
    """Pixels of each photograph across the crop that is cut out of it: its native resolution.

    By the scale of the five points against those of the template (root mean squared distance from
    their mean). Degraded faces count as their photographs.

    Parameters
    ----------
    path
        The run's Zarr group.
    template
        Name of the alignment template.

    Returns
    -------
    pandas.Series
        By face; NaN where the points are not known, as of crops that were aligned elsewhere.

    Raises
    ------
    ParameterError
        If the template has no points.
    """
    to = named_template(template)
    if not to.points:
        raise ParameterError(f"template={template!r} has no fixed points to measure by")
    url = os.fspath(path)
    faces = _open_face_node(url, _open_group(url), "faces")

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
    root = _open_group(os.fspath(path))
    return str(_model_node(root, model)[1]["template"])


def _model_node(root: zarr.Group, model: str) -> tuple[str, dict[str, Any]]:
    """Path of the embeddings of a model, and what identifies it."""
    nodes = [node for node, _ in _walk(root) if f"{node}/intact/status" in root]
    found = {}
    for node in nodes:
        identity = json.loads(str(root[node].attrs["identity"]))
        found[str(identity["name"])] = (node, identity)
    return found[check_name("model", model, found)]


def describe_run(path: str | os.PathLike[str]) -> str:
    """Say in a few lines what a run holds: faces by status, models, embeddings, results.

    Raises
    ------
    StoreError
        If there is no run.
    """
    url = os.fspath(path)
    root = _open_group(url)
    lines = [f"{one_line(url)}: freqlab run, made {root.attrs['created_at']}"]
    for node_path, group in _walk(root):
        if node_path.startswith("influence/"):
            lines.append(f"  {one_line(node_path)}: {_result_text(url, node_path, group)}")
        elif "status" in group:
            counts = _open_face_node(url, root, node_path)["status"].to_series().value_counts()
            named = {FLAGS.get(code, code): n for code, n in counts.items()}  # type: ignore[call-overload]
            lines.append(
                f"  {one_line(node_path)}: " + ", ".join(f"{n:,} {k}" for k, n in named.items())
            )
            if node_path == "faces":
                lines.extend(_failure_lines(url, root))
        elif "reference_embedding" in group:
            lines.append(f"  {one_line(node_path)}: {_model_text(group)}")
    return "\n".join(lines)


def _failure_lines(url: str, root: zarr.Group) -> list[str]:
    """The first faces that could not be used, and why."""
    status = _open_face_node(url, root, "faces")["status"].to_series()
    failed = status[~status.isin([FLAGS[DONE], FLAGS[PENDING]])]
    lines = [f"    {one_line(face)}: {why}" for face, why in failed.head(5).items()]
    return [*lines, f"    ... and {len(failed) - 5:,} more"] if len(failed) > 5 else lines


def _short(checkpoint: str) -> str:
    return checkpoint[:12] if re.fullmatch("[0-9a-f]{64}", checkpoint) else checkpoint


def _result_text(url: str, path: str, group: zarr.Group) -> str:
    if not group.attrs.get("complete"):
        return "not finished; the same call goes on with it"
    result = open_influence(url, path.split("/")[1])
    models = ", ".join(one_line(name) for name in result["model"].to_numpy())
    missing = int(result["similarity"].isnull().any("model").sum())
    return (
        f"{result.sizes['pair']:,} pairs x {result.sizes['band']} bands, models {models}; "
        f"{missing:,} pairs are NaN; made {result.attrs['created_at']}"
    )


def _model_text(group: zarr.Group) -> str:
    identity = json.loads(str(group.attrs["identity"]))
    return (
        f"checkpoint {one_line(_short(identity['checkpoint']))}, template {identity['template']}, "
        f"{identity['channels']}, (pixel - {_numbers(identity['mean'])}) / "
        f"{_numbers(identity['std'])}, "
        f"{identity['precision']}"
    )


def _numbers(value: float | list[float]) -> str:
    """One number, or one per channel."""
    if isinstance(value, list):
        return f"[{', '.join(f'{number:g}' for number in value)}]"
    return f"{value:g}"


def _open_group(url: str) -> zarr.Group:
    root = open_root(url)
    if root.attrs.get("format") != "freqlab-run":
        raise StoreError(f"{url!r} is a Zarr group, but not of a freqlab run")
    check_not_forgetting(url, root)
    return root


def check_not_forgetting(url: str, root: zarr.Group) -> None:
    """Refuse a run from which a person is half removed.

    Raises
    ------
    StoreError
        Saying how to finish.
    """
    if "forgetting" in root.attrs:
        raise StoreError(
            f"run {url!r}: a person is being removed from it. If that was stopped, call `freqlab "
            f"forget` (fl.forget) again with the same subject to finish"
        )


def _walk(group: zarr.Group, prefix: str = "") -> list[tuple[str, zarr.Group]]:
    found = []
    for name, child in sorted(group.groups()):
        found.append((prefix + name, child))
        found.extend(_walk(child, f"{prefix}{name}/"))
    return found


def _open_node(root: zarr.Group, path: str, without: Sequence[str] = ()) -> xr.Dataset:
    return xr.open_zarr(
        root.store, group=path, chunks=None, consolidated=False, drop_variables=list(without)
    )


def _open_face_node(url: str, root: zarr.Group, path: str, *, all_rows: bool = False) -> xr.Dataset:
    """Open a node with a face axis, whole even while another process makes it grow.

    Faces that were forgotten are left out, unless `all_rows` are asked for.
    """
    node = root[path]
    if not isinstance(node, zarr.Group):
        raise StoreError(f"run {url!r}: {path} is not a group")
    lengths = {name: array.shape[0] for name, array in node.arrays()}
    n_faces = min(int(str(root["faces"].attrs["n_faces"])), *lengths.values())
    parts = []
    for length in set(lengths.values()):
        others = [name for name in lengths if lengths[name] != length]
        parts.append(_open_node(root, path, others).isel(face=slice(0, n_faces)))
    dataset = xr.merge(parts, join="exact", combine_attrs="override", compat="no_conflicts")
    dataset.attrs = dict(node.attrs)
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
            if variable.dims == ("face",) and name not in ("sha256", "file_size", "file_mtime")
        ]
        dataset = dataset.set_coords(metadata)
    if root.attrs.get("forgotten") and not all_rows:
        status = np.asarray(root["faces/status"][:n_faces])  # type: ignore[index]
        dataset = dataset.isel(face=status != FORGOTTEN)
    return _text_as_objects(dataset)


def _text_as_objects(dataset: xr.Dataset) -> xr.Dataset:
    """Text as Python strings: NumPy's variable-length type cannot be written to netCDF."""
    changed: dict[Any, tuple[Any, npt.NDArray[np.object_], dict[str, Any]]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind == "T":
            changed[name] = (variable.dims, variable.to_numpy().astype(object), variable.attrs)
    coords = {name: value for name, value in changed.items() if name in dataset.coords}
    rest = {name: value for name, value in changed.items() if name not in coords}
    return dataset.assign_coords(coords).assign(rest)

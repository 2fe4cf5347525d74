"""Open a run and its results as xarray objects, with names instead of row numbers."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
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
from freqlab.store.layout import DONE, FLAGS, FORGOTTEN, PENDING, STUDIES
from freqlab.store.photographs import ABOUT_PHOTOGRAPHS, photograph_notes, shows_several
from freqlab.store.plain_text import is_twin
from freqlab.text.shown import one_line

__all__ = [
    "check_not_forgetting",
    "crop_template",
    "describe_photographs",
    "describe_run",
    "open_crop",
    "open_crops",
    "open_embeddings",
    "open_influence",
    "open_run",
    "pixels_across",
    "result_names",
]

Opened = TypeVar("Opened")

_PATIENCE = 2.0  # seconds for which a changing store is opened again,
_LOOKS = 8  # and the minimum number of attempts


_ABOUT_FILES = ("sha256", "file_size", "file_mtime", "image_note", "which_face")


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
        ``/influence/<name>``; arrays are read lazily. Crops and embeddings are biometric data:
        handle them as such.

    Raises
    ------
    StoreError
        If there is no run.
    """
    url = place_of(path)
    return _while_it_grows(url, lambda: _open_tree(url))


def _open_tree(url: str) -> xr.DataTree:
    root = _open_group(url)
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=plain_attrs(root.attrs))}
    faces: xr.Dataset | None = None
    for path_in_run, group in _walk(root):
        if path_in_run.split("/")[0] == STUDIES:
            nodes[f"/{path_in_run}"] = _open_node(root, path_in_run)
        elif "status" in group:
            nodes[f"/{path_in_run}"] = _open_face_node(url, root, path_in_run)
        elif not path_in_run.startswith("influence/"):
            nodes[f"/{path_in_run}"] = _open_node(root, path_in_run)
        elif group.attrs.get("complete"):
            faces = (
                faces if faces is not None else _open_face_node(url, root, "faces", all_rows=True)
            )
            nodes[f"/{path_in_run}"] = _named(url, root, path_in_run.split("/")[1], faces)
    return xr.DataTree.from_dict(nodes)


def result_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the finished results in a run, oldest first."""
    url = place_of(path)
    return _while_it_grows(url, lambda: _result_names(url))


def _result_names(url: str) -> list[str]:
    root = _open_group(url)
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
    """
    url = place_of(path)
    return _while_it_grows(url, lambda: _open_result(url, name))


def _open_result(url: str, name: str | None) -> xr.Dataset:
    names = _result_names(url)
    if not names:
        raise StoreError(f"run {url!r} holds no finished result; compute one with fl.influence")
    name = names[-1] if name is None else check_name("result", name, names)
    root = _open_group(url)
    return _named(url, root, name, _open_face_node(url, root, "faces", all_rows=True))


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
    """
    url = place_of(path)

    def opened() -> xr.DataArray:
        root = _open_group(url)
        node, _ = _model_node(root, model)
        return _open_face_node(url, root, f"{node}/intact")["embedding"]

    return _while_it_grows(url, opened)


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
    root = _open_group(url)
    if f"crops/{template}/crop" not in root or not journal.counts(root, f"crops/{template}"):
        return None
    crops = _while_it_grows(url, lambda: _open_face_node(url, root, f"crops/{template}"))
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
    """
    url = place_of(path)
    root = _open_group(url)
    node = f"crops/{template}"
    if f"{node}/status" not in root or not journal.counts(root, node):
        raise StoreError(f"run {url!r} has no crops of template {template!r}")
    crops = _while_it_grows(url, lambda: _open_face_node(url, root, node))
    text = np.array([FLAGS[int(code)] for code in crops["status"].to_numpy()], object)
    faces = _while_it_grows(url, lambda: _open_face_node(url, root, "faces"))
    faces = faces.isel(face=slice(0, crops.sizes["face"]))
    kept = {name: faces[name] for name in ("subject", "path") if name in faces.variables}
    several = shows_several(_about_photographs(faces))
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
    """
    to = named_template(template)
    if not to.points:
        raise ParameterError(f"template={template!r} has no fixed points to measure by")
    url = place_of(path)
    faces = _while_it_grows(url, lambda: _open_face_node(url, _open_group(url), "faces"))

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
    root = _open_group(place_of(path))
    return str(_model_node(root, model)[1]["template"])


def _model_node(root: zarr.Group, model: str) -> tuple[str, dict[str, Any]]:
    """Path of the embeddings of a model, and its identity."""
    nodes = [node for node, _ in _walk(root) if f"{node}/intact/status" in root]
    by_name = {}
    for node in nodes:
        identity = json.loads(str(root[node].attrs["identity"]))
        by_name[str(identity["name"])] = (node, identity)
    return by_name[check_name("model", model, by_name)]


def describe_photographs(
    store: str | os.PathLike[str], *, faces: Iterable[str] | None = None
) -> str:
    """Report the number of photographs that show several faces, failed, or were decoded specially.

    Parameters
    ----------
    store
        The run's Zarr group.
    faces
        Names of the faces to report on; all by default.

    Returns
    -------
    str
        Sentences.

    Raises
    ------
    StoreError
        If there is no run.
    ParameterError
        If a face is not in the run.
    """
    url = os.fspath(store)
    node = _open_face_node(url, _open_group(url), "faces")
    columns = _about_photographs(node)
    if faces is not None:
        wanted = list(map(str, faces))
        unknown = sorted(set(wanted) - set(columns["face"].astype(str)))
        if unknown:
            raise ParameterError(f"faces {unknown[:3]} are not in the run")
        chosen = np.isin(columns["face"].astype(str), wanted)
        columns = {name: values[chosen] for name, values in columns.items()}
    notes = photograph_notes(columns, examples=False)
    return " ".join(f"{note[0].upper()}{note[1:]}." for note in notes) or (
        "All photographs could be read, and none required the selection of a face."
    )


def _about_photographs(faces: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
    """Columns of ``/faces`` as :func:`freqlab.store.photographs.photograph_notes` takes them."""
    columns = {name: faces[name].to_numpy() for name in ABOUT_PHOTOGRAPHS if name in faces}
    codes = {text: code for code, text in FLAGS.items()}
    columns["status"] = np.array([codes[text] for text in columns["status"]], np.int8)
    return columns


def describe_run(path: str | os.PathLike[str]) -> str:
    """Describe the content of a run in a few lines: faces by status, models, embeddings, results.

    Raises
    ------
    StoreError
        If there is no run.
    """
    url = place_of(path)
    return _while_it_grows(url, lambda: _description(url))


def _description(url: str) -> str:
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
    """The first faces that could not be used, with reasons, and other notes on faces."""
    faces = _open_face_node(url, root, "faces")
    status = faces["status"].to_series()
    failed = status[~status.isin([FLAGS[DONE], FLAGS[PENDING]])]
    columns = _about_photographs(faces)
    notes = dict(zip(columns["face"], columns.get("image_note", ()), strict=False))
    lines = []
    for face, why in failed.head(5).items():
        note = notes.get(face, "")
        lines.append(f"    {one_line(face)}: {why}" + (f" ({one_line(note)})" if note else ""))
    if len(failed) > 5:
        lines.append(f"    ... and {len(failed) - 5:,} more")
    notes_of_all = [note for note in photograph_notes(columns) if "failed" not in note]
    return [*lines, *(f"    {one_line(note, 1_000)}" for note in notes_of_all)]


def _short(checkpoint: str) -> str:
    return checkpoint[:12] if re.fullmatch("[0-9a-f]{64}", checkpoint) else checkpoint


def _result_text(url: str, path: str, group: zarr.Group) -> str:
    if not group.attrs.get("complete"):
        return "not finished; repeat its call to resume"
    result = _open_result(url, path.split("/")[1])
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


def _walk(root: zarr.Group, above: str = "") -> list[tuple[str, zarr.Group]]:
    """All groups that count, with their paths."""
    groups = []
    for name, child in groups_of(cast(zarr.Group, root[above]) if above else root).items():
        path = f"{above}/{name}".strip("/")
        if journal.counts(root, path):
            groups.append((path, child))
            groups.extend(_walk(root, path))
    return groups


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


def _open_face_node(url: str, root: zarr.Group, path: str, *, all_rows: bool = False) -> xr.Dataset:
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


def _while_it_grows(url: str, opens: Callable[[], Opened]) -> Opened:
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

"""Inspect one decision: edit the bands of a pair and compare it again with the network.

This module computes what the inspector shows, without widgets: a face without some bands, and the
similarity that results.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import xarray as xr

from freqlab.attrs import names_of
from freqlab.bands.decompositions import Decomposition
from freqlab.engine.removals import embed_block
from freqlab.errors import FreqlabError, ParameterError, StoreError, check_name
from freqlab.faces.table import Faces
from freqlab.literals import Operation, Precision, Side, WhichFace
from freqlab.models.callables import Embedder
from freqlab.models.loading import as_model
from freqlab.models.precision import in_precision
from freqlab.models.registry import built_in_names, is_known
from freqlab.models.spec import Model, Source
from freqlab.results.face_columns import with_columns
from freqlab.results.selection import (
    about_model,
    bands_of,
    crop_geometry,
    frequency_unit,
    select_pair,
    with_axes,
)
from freqlab.run.calls import embed
from freqlab.statistics.vectors import cosine
from freqlab.store.reading import (
    open_crop,
    open_crops,
    open_face_columns,
    open_influence,
    result_names,
)
from freqlab.text.html import box, facts

__all__ = [
    "OPERATIONS",
    "Edited",
    "EditedFace",
    "Inspection",
    "band_ranges",
    "chosen_text",
    "edit_text",
    "side_by_side",
    "stretched",
]

OPERATIONS = ("remove", "keep")
"""Operations on the chosen bands: remove them, or keep only them."""

_LOADED = 2**28  # bytes; larger results are read as needed

_MASKED = {"probe": ("probe",), "reference": ("reference",), "both": ("probe", "reference")}
Image = npt.NDArray[np.float32]


class Edited(NamedTuple):
    """A pair with edited bands, and its similarities."""

    pair: int
    model: str
    side: Side
    bands: tuple[int, ...]
    operation: Operation
    similarity: float
    """Similarity of the untouched pair, from the network."""
    edited_similarity: float
    """Similarity of the pair with the edited image or images."""
    crops: dict[str, npt.NDArray[np.uint8]]
    """Both untouched faces by role, ``probe`` and ``reference``."""
    pictures: dict[str, EditedFace]
    """Pictures of the edited images, by role."""


class EditedFace(NamedTuple):
    """One face with edited bands; RGB ``(height, width, 3)``, grey levels, unclipped."""

    intact: Image
    edited: Image
    """Input of the network."""
    alone: Image
    """The chosen bands alone, with zero mean."""

    @property
    def difference(self) -> npt.NDArray[np.float32]:
        """Root mean square change over the channels ``(height, width)``."""
        change = self.edited - self.intact
        return np.asarray(np.sqrt(np.square(change).mean(axis=-1)), np.float32)


def side_by_side(pictures: Mapping[str, EditedFace], what: str) -> Image:
    """Join one kind of picture (``intact``, ``edited``, ``alone``, ``difference``) of all faces.

    Returns
    -------
    numpy.ndarray
        ``(height, width)`` or ``(height, width, 3)``; where both faces are edited, the probe on
        the left and the reference on the right.
    """
    return np.concatenate([getattr(face, what) for face in pictures.values()], axis=1)


def chosen_text(result: xr.Dataset, bands: Sequence[int]) -> str:
    """Name bands and their unit, adjacent bands merged: "0-8, 16-20 cycles/image"."""
    if not len(bands):
        return "no band"
    declared = bands_of(result)
    if not declared.radial:
        return "; ".join(declared.names[band] for band in sorted(set(bands)))
    return f"{', '.join(band_ranges(result, bands))} {frequency_unit(result)}"


def band_ranges(result: xr.Dataset, bands: Sequence[int]) -> list[str]:
    """Ranges of frequency of bands, without unit, adjacent bands merged: "0-8" and "16-20"."""
    bounds = bands_of(result).bounds
    runs: list[list[int]] = []
    for band in sorted(set(bands)):
        if runs and runs[-1][-1] == band - 1:
            runs[-1].append(band)
        else:
            runs.append([band])
    return [
        f"{bounds[run[0], 0]:.12g}-{bounds[run[-1], 1]:.12g}"
        if np.isfinite(bounds[run[-1], 1])
        else f"from {bounds[run[0], 0]:.12g} on"
        for run in runs
    ]


def edit_text(result: xr.Dataset, bands: Sequence[int], operation: Operation) -> tuple[str, str]:
    """Name an edit by its operation and bands: "without" and "4-8 cycles/image"."""
    if not len(bands):
        return ("as it is" if operation == "remove" else "without any band"), ""
    return ("without" if operation == "remove" else "with only"), chosen_text(result, bands)


def stretched(component: Image) -> tuple[npt.NDArray[np.uint8], float]:
    """Stretch the contrast of isolated bands around mid grey to the full range.

    Parameters
    ----------
    component
        ``(height, width, 3)``, grey levels around zero.

    Returns
    -------
    image : numpy.ndarray
        8-bit, as `component`.
    factor : float
        Factor by which contrast was multiplied; 1 for an empty component.
    """
    largest = float(np.abs(component).max())
    factor = 127 / largest if largest > 1e-3 else 1.0
    return np.rint(127.5 + component * factor).clip(0, 255).astype(np.uint8), factor


@dataclass
class _Crops:
    """The crops of a template in a store, and the position of each face."""

    dataset: xr.Dataset
    index: pd.Index[str]


class Inspection:
    """A result with the crops and networks to edit its pairs, loaded when needed.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, or the path of a run.
    name
        Name of the result, if a path is given; the newest by default.
    faces
        The faces of the run; needed only if it keeps no crops.
    models
        Networks, as for :func:`freqlab.influence`; needed for models that are not known by name.
    device
        Device of the networks.

    Raises
    ------
    ParameterError
        If the result is not valid, or a network is not the one of the result.
    StoreError
        If there is no such run.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> inspection = fl.edits.Inspection(result, models=[fl.testing.model()])
    >>> edited = inspection.edit(pair=0, model="linear", bands=[1])
    >>> type(edited).__name__
    'Edited'
    """

    def __init__(
        self,
        result: xr.Dataset | str | os.PathLike[str],
        *,
        name: str | None = None,
        faces: Faces | None = None,
        models: Sequence[str | os.PathLike[str] | Model | Embedder] = (),
        device: str = "auto",
    ) -> None:
        if isinstance(result, (str, os.PathLike)):
            result = open_influence(result, name)
        elif name is not None:
            raise ParameterError(f"name={name!r} is allowed only with the path of a run")
        if faces is not None and not isinstance(faces, Faces):
            raise ParameterError(f"faces={faces!r} must be Faces; fl.load_faces gives them")
        whole = _with_face_columns(with_axes(result), faces)
        self.result = whole.compute() if whole.nbytes <= _LOADED else whole
        self.bands = bands_of(self.result)
        self.models = names_of(self.result, "model")
        self.sides = cast(list[Side], names_of(self.result, "side"))
        self._faces = faces
        self._device = device
        self._networks: dict[str, Model] = {}
        self._stores: dict[str, _Crops] = {}
        self._crops: dict[tuple[str, str], npt.NDArray[np.uint8]] = {}
        self._decompositions: dict[str, Decomposition] = {}
        self._last: tuple[Any, dict[str, EditedFace]] | None = None
        self._intact: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
        self._given = [as_model(given, device=device) for given in models]
        for model in self._given:
            self._take(model)

    @property
    def name(self) -> str:
        """Name of the result in its run; empty if it is not from a run."""
        return str(self.result.attrs.get("name") or "")

    @property
    def names(self) -> list[str]:
        """Names of all results of the run, oldest first; only this one if there is no run."""
        try:
            names = result_names(self.result.attrs["store"])
        except (KeyError, FreqlabError):
            names = []
        own = [self.name] if self.name and self.name not in names else []
        return [*own, *names]

    def other(self, name: str) -> Inspection:
        """Inspection of another result of the same run, with the same faces and networks.

        Raises
        ------
        UnknownNameError
            If the run has no such result.
        ParameterError
            If a network is not the one of that result.
        """
        check_name("result", name, self.names)
        store = self.result.attrs["store"]
        other = Inspection(store, name=name, faces=self._faces, device=self._device)
        for model in self._given:
            if model.name in other.models:
                other._take(model)
        other._given = self._given
        return other

    def __repr__(self) -> str:
        return f"<Inspection: {'; '.join(f'{k} {v}' for k, v in self._about().items())}>"

    def _repr_html_(self) -> str:
        return box("Inspection", facts(self._about()))

    def _about(self) -> dict[str, str]:
        attrs = self.result.attrs
        return {
            "result": f"{attrs.get('name', 'without a name')} in {attrs.get('store', 'memory')}",
            "pairs": f"{self.result.sizes['pair']:,}",
            "bands": f"{len(self.bands)} in {self.bands.unit}",
            "models": ", ".join(self.models),
            "sides": ", ".join(self.sides),
        }

    def network(self, model: str) -> Model:
        """Network of a model of the result.

        Raises
        ------
        FreqlabError
            If it cannot be loaded, or is not the network of the result.
        """
        check_name("model", model, self.models)
        if model not in self._networks:
            if not is_known(model):
                raise ParameterError(
                    f"model {model!r} is not known by name, so its network cannot run here; "
                    f"give it: models=[...]"
                )
            self._take(as_model(model, device=self._device))
        return self._networks[model]

    def source(self, model: str) -> Source:
        """How the network of a model can be made again, as Python code.

        Returns
        -------
        Source
            Its call is empty where the name of the model is enough, or the network was not given.
        """
        check_name("model", model, self.models)
        if model in self._networks:
            source = self._networks[model].source
            is_plain = source.call == f"fl.load_model({model!r})"
            return Source("", source.before) if is_plain else source
        if model in built_in_names():
            return Source("")
        kind = "register it with fl.models.register" if is_known(model) else "give it in models="
        return Source("", f"model {model!r} is not known by name: {kind}")

    def keeps_crops(self, model: str) -> bool:
        """Whether the run keeps crops for a model."""
        try:
            return "crop" in self._stored(str(about_model(self.result, model)["template"])).dataset
        except FreqlabError:
            return False

    def crop(self, face: str, *, model: str) -> npt.NDArray[np.uint8]:
        """Crop of a face for a model, RGB ``(height, width, 3)``, 0..255.

        Raises
        ------
        StoreError
            If neither the run nor `faces` contains the face.
        """
        template = str(about_model(self.result, model)["template"])
        key = (face, template)
        if key not in self._crops:
            self._crops[key] = self._read_crop(face, template, model)
        return self._crops[key]

    def edit(
        self,
        *,
        pair: int,
        model: str,
        bands: Sequence[int],
        side: Side = "probe",
        operation: Operation = "remove",
    ) -> Edited:
        """Edit a pair and compare it with the network.

        The masks are those of :func:`freqlab.influence`: for one band and ``"remove"``, the
        similarity minus the edited similarity is the influence of the result.

        Parameters
        ----------
        pair
            Label of the pair.
        model
            Name of the model.
        bands
            Numbers of the chosen bands, from 0.
        side
            Image to edit: ``"probe"``, ``"reference"`` or ``"both"``.
        operation
            ``"remove"`` removes the chosen bands, ``"keep"`` all others. The mean and coefficients
            outside all bands are always kept.

        Returns
        -------
        Edited
            Similarities computed by the network, and pictures.

        Raises
        ------
        ParameterError
            If there is no such pair or band.
        FreqlabError
            If the crop or the network is not available.
        """
        pictures = self.faces(pair=pair, model=model, bands=bands, side=side, operation=operation)
        network, names = self.network(model), self._names(pair)
        removals = self._removals(bands, operation)
        parts = self._parts(model)
        intact = {role: self._embedding(face, network) for role, face in names.items()}
        edited = dict(intact)
        for role in pictures:
            edited[role] = _embed(network, self.crop(names[role], model=model), removals, parts)
        return Edited(
            pair,
            model,
            side,
            tuple(sorted(set(bands))),
            operation,
            float(cosine(intact["probe"], intact["reference"])),
            float(cosine(edited["probe"], edited["reference"])),
            {role: self.crop(face, model=model) for role, face in names.items()},
            pictures,
        )

    def faces(
        self,
        *,
        pair: int,
        model: str,
        bands: Sequence[int],
        side: Side = "probe",
        operation: Operation = "remove",
    ) -> dict[str, EditedFace]:
        """Edited faces of a pair; as :meth:`edit`, without the network.

        Returns
        -------
        dict of str to EditedFace
            Edited images of `side`, by role.
        """
        check_name("side", side, _MASKED)
        key = (pair, model, tuple(sorted(set(bands))), side, operation)
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        parts = self._parts(model)
        gone = torch.from_numpy(self._removals(bands, operation))
        chosen = torch.from_numpy(self._removals(bands, "remove"))
        names = self._names(pair)
        faces = {}
        for role in _MASKED[side]:
            crop = self.crop(names[role], model=model).astype(np.float32)
            image = torch.from_numpy(crop).permute(2, 0, 1)[None]
            with _one_core_spared():
                both = torch.cat([parts.remove(image, gone)[0], parts.removed(image, chosen)[0]])
            edited, alone = both.permute(0, 2, 3, 1).numpy()
            faces[role] = EditedFace(
                crop, edited if len(bands) or operation == "keep" else crop, alone
            )
        self._last = (key, faces)
        return faces

    def _parts(self, model: str) -> Decomposition:
        """Decomposition of crops of the input size of a model."""
        if model not in self._decompositions:
            size, eye_distance = crop_geometry(self.result, model)
            self._decompositions[model] = self.bands.decompose(*size, eye_distance=eye_distance)
        return self._decompositions[model]

    def _names(self, pair: int) -> dict[str, str]:
        data = select_pair(self.result, pair=pair, model=self.models[0], side=self.sides[0])
        return {role: str(data[role].item()) for role in ("probe", "reference")}

    def _removals(self, bands: Sequence[int], operation: Operation) -> npt.NDArray[np.bool_]:
        check_name("operation", operation, OPERATIONS)
        n = len(self.bands)
        unknown = [band for band in bands if not 0 <= band < n]
        if unknown:
            raise ParameterError(f"bands={list(bands)!r} must be numbers from 0 to {n - 1}")
        chosen = np.zeros((1, n), bool)
        chosen[0, list(bands)] = True
        return chosen if operation == "remove" else ~chosen

    def _take(self, model: Model) -> None:
        """Add a network, if it is one of the result."""
        check_name("model", model.name, self.models)
        recorded = about_model(self.result, model.name)
        model = in_precision(model, cast(Precision, recorded["precision"]))
        for key, value in model.fingerprint().items():
            if recorded.get(key) != value:
                raise ParameterError(
                    f"model {model.name!r} differs from that of the result: {key} is {value!r}, "
                    f"and was {recorded.get(key)!r}"
                )
        self._networks[model.name] = model

    def _embedding(self, face: str, network: Model) -> npt.NDArray[np.float32]:
        key = (face, network.name)
        if key not in self._intact:
            nothing = np.zeros((1, len(self.bands)), bool)
            crop, parts = self.crop(face, model=network.name), self._parts(network.name)
            self._intact[key] = _embed(network, crop, nothing, parts)
        return self._intact[key]

    def _read_crop(self, face: str, template: str, model: str) -> npt.NDArray[np.uint8]:
        if self._faces is not None and face in set(self._faces.names):
            return self._align(face, template, model)
        stored = self._stored(template)
        if "crop" not in stored.dataset:
            raise StoreError(
                f"run {self.result.attrs['store']!r} keeps no crops; give faces= to inspect it"
            )
        at = int(stored.index.get_indexer(pd.Index([face]))[0])
        if at < 0 or stored.dataset["status_text"].to_numpy()[at] != "ok":
            raise StoreError(f"there is no crop of face {face!r} (template {template!r})")
        crop: npt.NDArray[np.uint8] = stored.dataset["crop"].isel(face=at).to_numpy()
        return crop

    def _stored(self, template: str) -> _Crops:
        if template not in self._stores:
            crops = open_crops(self.result.attrs.get("store", ""), template=template)
            self._stores[template] = _Crops(crops, pd.Index(crops["face"].to_numpy().astype(str)))
        return self._stores[template]

    def _align(self, face: str, template: str, model: str) -> npt.NDArray[np.uint8]:
        """Align a face again, as a run does."""
        assert self._faces is not None
        single = self._faces.select([list(self._faces.names).index(face)])
        run = embed(
            single,
            models=[self.network(model)],
            which_face=cast(WhichFace, self.result.attrs.get("which_face", "largest")),
            device=self._device,
            progress=False,
        )
        crop = open_crop(run.attrs["store"], face=face, template=template)
        if crop is None:
            raise StoreError(f"face {face!r} of faces= could not be read or detected")
        return crop


def _embed(
    network: Model,
    crop: npt.NDArray[np.uint8],
    removals: npt.NDArray[np.bool_],
    parts: Decomposition,
) -> npt.NDArray[np.float32]:
    """Embed one crop with one set of bands removed."""
    with _one_core_spared():
        embedded = embed_block(network, crop[None], removals, parts, batch_size=1)
    return embedded.embeddings[0, 0]


@contextlib.contextmanager
def _one_core_spared() -> Iterator[None]:
    """Compute on all cores except one, which remains free for the browser and the server.

    The threads of an operation wait for each other, so one busy core would delay all of them.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _with_face_columns(result: xr.Dataset, faces: Faces | None) -> xr.Dataset:
    """The result with the columns of its faces by which its pairs differ.

    The columns are those of `faces`, or of the run. The result is returned unchanged if there are
    neither, or the run cannot be read.
    """
    try:
        table = open_face_columns(result.attrs["store"]) if faces is None else faces
        every = with_columns(result.drop_vars(_own_columns(result)), table)
    except (KeyError, FreqlabError):
        return result
    added = {}
    for name in [name for name in every.coords if name not in result.coords]:
        column = str(name).partition("_")[2]
        ends = [f"{end}_{column}" for end in ("probe", "reference")]
        values = np.concatenate([every[end].to_numpy().astype(str) for end in ends])
        if not {*ends, column} & set(result.variables) and len(np.unique(values)) > 1:
            added[name] = every[name].variable
    return result.assign_coords(added)


def _own_columns(result: xr.Dataset) -> list[str]:
    """Columns of the pairs of a result other than the names of the faces."""
    return [
        str(name)
        for name, values in result.variables.items()
        if values.dims == ("pair",) and str(name).startswith(("probe_", "reference_"))
    ]

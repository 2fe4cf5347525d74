"""A static page in which single bands are removed, with the similarities that a run recorded."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import io
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from PIL import Image

from freqlab import __version__
from freqlab.edits.inspection import Inspection
from freqlab.errors import FreqlabError, ParameterError, check_name, check_number
from freqlab.faces.table import Faces
from freqlab.inspector.drawing import drawing_of
from freqlab.literals import Side
from freqlab.models.callables import Embedder
from freqlab.models.spec import Model
from freqlab.results.profiles import influence_spread
from freqlab.results.selection import (
    bands_of,
    decision_text,
    default_fmr,
    flips_decision,
    fmr_text,
    frequency_unit,
    pairs_to_show,
    select_pair,
    select_part,
    threshold_of,
)
from freqlab.results.sentences import band_text, describe_pair
from freqlab.system.private import written_whole
from freqlab.text.shown import one_line, visible

__all__ = ["save"]

_FRONTEND = Path(__file__).parent / "frontend"
_MOST_PAIRS = 12
_GENERATOR = "fl.inspector.save of freqlab"
_ROLES: tuple[Side, ...] = ("probe", "reference")
_DIGITS = (3, 4, 5, 6)


def save(
    result: xr.Dataset | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    pairs: Sequence[int] | Mapping[str, int] | None = None,
    model: str | None = None,
    side: Side | None = None,
    fmr: float | None = None,
    faces: Faces | None = None,
    models: Sequence[str | os.PathLike[str] | Model | Embedder] = (),
) -> Path:
    """Write a page in which single bands are removed, with recorded similarities.

    The page works from a file, without a server, a network or remote resources. For each pair it
    shows both faces, the masked face without the chosen band, the similarity with and without that
    band, and the decision. Similarities without a band are those of the result, ``similarity -
    influence``; nothing is computed again. Therefore only one band can be removed at a time;
    :func:`freqlab.inspect` compares pairs without any set of bands.

    The page contains photographs of faces, which are biometric data. Its file is readable by its
    owner only, and by the group of a folder that a group shares.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, or the path of a run.
    path
        File to write, which ends in ``.html``; its folder must exist. An earlier page of this
        function is replaced, when the new one is complete.
    pairs
        Labels of the pairs to show, at most 12, or labels by heading. By default those of
        :func:`freqlab.results.pairs_to_show`.
    model, side
        Model and masked side to show; by default the first of the result.
    fmr
        False match rate of the threshold; by default 1e-3, or the smallest resolved rate above it.
    faces
        The faces of the run; needed only if it keeps no crops.
    models
        The networks, as for :func:`freqlab.inspect`; needed only with `faces`, for a model that is
        not known by name.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    ParameterError
        If an argument does not fit the result, the folder does not exist, or the file is not a page
        of this function; it is not overwritten.
    StoreError
        If there is no such run, or a crop is not available.
    FreqlabError
        If the file cannot be written.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> page = fl.inspector.save(result, "pair.html", pairs=[0], models=[fl.testing.model()])
    >>> page.name
    'pair.html'
    """
    page = _checked_path(path)
    inspection = Inspection(result, faces=faces, models=models)
    model = check_name("model", inspection.models[0] if model is None else model, inspection.models)
    given = inspection.sides[0] if side is None else side
    side = check_name("side", given, inspection.sides)
    if fmr is None:
        fmr = default_fmr(inspection.result, model=model)
    titles = _titles(inspection.result, pairs, model=model, side=side, fmr=fmr)
    data = _data(inspection, titles, model=model, side=side, fmr=fmr)
    content = _page(data, inspection.result)
    with _writing(page), written_whole(page) as file:
        file.write(content.encode())
    return page


def _checked_path(path: str | os.PathLike[str]) -> Path:
    """Path of the page, which may be written.

    Raises
    ------
    ParameterError
        If it is no path of a page, its folder does not exist, or the file is not such a page.
    """
    if not isinstance(path, (str, os.PathLike)) or "\0" in os.fspath(path):
        raise ParameterError(f"path={path!r} must be the path of a file, such as 'bands.html'")
    page = Path(path)
    given = f"path={os.fspath(path)!r}"
    if page.suffix.lower() not in (".html", ".htm"):
        raise ParameterError(f"{given} must end in '.html', so that browsers open it as a page")
    if not page.absolute().parent.is_dir():
        raise ParameterError(f"{given}: there is no folder {str(page.parent)!r}")
    if page.is_symlink() or page.exists():
        with _writing(page):
            own = page.is_file() and _is_own(page)
        if not own:
            raise ParameterError(
                f"{given} exists and was not written by fl.inspector.save; it was not overwritten"
            )
    return page


def _is_own(page: Path) -> bool:
    """Whether a file is a page of this module, by its metadata."""
    with page.open("rb") as file:
        start = file.read(1000).decode("utf-8", errors="replace")
    return f'<meta name="generator" content="{_GENERATOR} ' in start


@contextlib.contextmanager
def _writing(page: Path) -> Iterator[None]:
    """Report why a page cannot be read or written.

    Raises
    ------
    FreqlabError
        Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise FreqlabError(
            f"path={str(page)!r}: the page cannot be written: {error.strerror or error}"
        ) from error


def _titles(
    result: xr.Dataset,
    pairs: Sequence[int] | Mapping[str, int] | None,
    *,
    model: str,
    side: Side,
    fmr: float,
) -> dict[int, str]:
    """Heading of each pair to show, by its label; no label occurs twice.

    Raises
    ------
    ParameterError
        If `pairs` are no labels of pairs, none or too many.
    """
    if pairs is None:
        compared = select_part(result, model=model, side=side)["similarity"].notnull()
        if not bool(compared.any()):
            raise ParameterError(
                f"pairs=None: no pair of the result has a similarity at model {model!r}"
            )
        pairs = pairs_to_show(result, model=model, side=side, fmr=fmr)
    titles: dict[int, str] = {}
    if isinstance(pairs, Mapping):
        for heading, label in pairs.items():
            titles.setdefault(label, str(heading))
    elif isinstance(pairs, (str, bytes)) or not hasattr(pairs, "__iter__"):
        raise ParameterError(f"pairs={pairs!r} must be labels of pairs, such as [0, 3]")
    else:
        titles = dict.fromkeys(pairs, "")
    if not 1 <= len(titles) <= _MOST_PAIRS:
        raise ParameterError(
            f"pairs has {len(titles)} labels; a page shows 1 to {_MOST_PAIRS} pairs"
        )
    for label in titles:
        check_number("pair", label, whole=True)
        select_pair(result, pair=label, model=model, side=side)
    return {int(label): heading for label, heading in titles.items()}


# What the page shows ------------------------------------------------------------------------------


def _data(
    inspection: Inspection, titles: Mapping[int, str], *, model: str, side: Side, fmr: float
) -> dict[str, Any]:
    """Return everything that the page shows, as JSON values."""
    result = inspection.result
    masked = list(_ROLES) if side == "both" else [str(side)]
    spread = influence_spread(result, model=model, side=side)
    pictures = _Pictures(inspection, model)
    shown = []
    for label, heading in titles.items():
        record = _pair(result, label, model=model, side=side, fmr=fmr)
        drawing = drawing_of(
            result,
            spread,
            pair=label,
            model=model,
            side=side,
            kind="directed",
            operation="remove",
        )
        record["drawing"] = {key: drawing[key] for key in ("bands", "spread", "x", "y", "no_data")}
        record["heading"] = (
            f"{one_line(heading)} (pair {label})" if heading else f"Pair {label}, {record['truth']}"
        )
        record["faces"] = {
            role: pictures.add(label, role, masked=role in masked) for role in _ROLES
        }
        shown.append(record)
    threshold = threshold_of(result, model=model, fmr=fmr)
    return {
        "model": one_line(model),
        "side": side,
        "masked": masked,
        "fmr": fmr_text(fmr),
        "threshold": threshold if np.isfinite(threshold) else None,
        "bands": [band_text(result, band) for band in range(len(bands_of(result)))],
        "names": _names(result),
        "faces": pictures.faces,
        "pairs": shown,
        "commands": _commands(result),
    }


def _names(result: xr.Dataset) -> list[str]:
    """Short names of the bands with their unit: "8-12 cycles/image"."""
    bands, unit = bands_of(result), frequency_unit(result)
    if not bands.radial:
        return bands.names
    return [
        f"{name} {unit}" if np.isfinite(upper) else f"{name} (beyond {lower:g} {unit})"
        for name, (lower, upper) in zip(bands.names, bands.bounds, strict=True)
    ]


def _pair(result: xr.Dataset, label: int, *, model: str, side: Side, fmr: float) -> dict[str, Any]:
    """Recorded similarities and decisions of a pair, as numbers and as text."""
    data = select_pair(result, pair=label, model=model, side=side)
    threshold = threshold_of(result, model=model, fmr=fmr)
    similarity = float(data["similarity"])
    influence = data["influence"].to_numpy().astype(float)
    without = similarity - influence
    changes = flips_decision(similarity, influence, threshold)
    digits = _digits(np.append(without, similarity), threshold)
    strength = np.abs(np.nan_to_num(influence))
    return {
        "pair": label,
        "truth": "genuine" if bool(data["genuine"]) else "impostor",
        "sentence": describe_pair(result, pair=label, model=model, side=side, fmr=fmr),
        "threshold": f"{threshold:.{digits}f}" if np.isfinite(threshold) else None,
        "strongest": int(strength.argmax()),
        **_compared(similarity, threshold, digits),
        "without": [
            {
                **_compared(float(value), threshold, digits),
                "influence": f"{influence[band]:+.3f}" if np.isfinite(value) else None,
                "changes": bool(changes[band]),
            }
            for band, value in enumerate(without)
        ],
    }


def _compared(similarity: float, threshold: float, digits: int) -> dict[str, Any]:
    """A similarity as a number and as text, and the decision; None where it is not recorded."""
    recorded = bool(np.isfinite(similarity))
    return {
        "similarity": similarity if recorded else None,
        "text": f"{similarity:.{digits}f}" if recorded else None,
        "decision": decision_text(similarity, threshold),
    }


def _digits(similarities: npt.NDArray[np.floating[Any]], threshold: float) -> int:
    """Number of decimals with which no similarity below the threshold reads as equal to it."""
    below = similarities[similarities < threshold]
    for digits in _DIGITS:
        if all(f"{value:.{digits}f}" != f"{threshold:.{digits}f}" for value in below):
            return digits
    return _DIGITS[-1]


class _Pictures:
    """Pictures of faces as data URIs: each face once, intact and without each single band."""

    def __init__(self, inspection: Inspection, model: str) -> None:
        self.faces: list[dict[str, Any]] = []
        self._inspection, self._model = inspection, model
        self._places: dict[str, int] = {}

    def add(self, pair: int, role: Side, *, masked: bool) -> int:
        """Add the face of a pair, and return its place in ``faces``."""
        data = self._inspection.result["pair"].to_numpy()
        row = int(np.flatnonzero(data == pair)[0])
        name = str(self._inspection.result[role].to_numpy()[row])
        if name not in self._places:
            crop = self._inspection.crop(name, model=self._model)
            self._places[name] = len(self.faces)
            self.faces.append({"name": one_line(name), "intact": _data_uri(crop), "without": []})
        face = self.faces[self._places[name]]
        if masked and not face["without"]:
            face["without"] = [
                None if uri == face["intact"] else uri for uri in self._removed(pair, role)
            ]
        return self._places[name]

    def _removed(self, pair: int, role: Side) -> Iterator[str]:
        for band in range(len(self._inspection.bands)):
            edited = self._inspection.faces(pair=pair, model=self._model, bands=[band], side=role)[
                role
            ].edited
            yield _data_uri(edited.round().clip(0, 255).astype(np.uint8))


def _data_uri(image: npt.NDArray[np.uint8]) -> str:
    """An 8-bit RGB image as a PNG in a data URI, grey if its channels are equal."""
    target = io.BytesIO()
    grey = bool((image == image[..., :1]).all())
    Image.fromarray(image[..., 0] if grey else image).save(target, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"


def _commands(result: xr.Dataset) -> dict[str, str]:
    """Commands that open the inspector on a result; the page adds the label of a pair."""
    store, name = str(result.attrs.get("store", "")), result.attrs.get("name")
    if not store or store.startswith("memory:"):
        return {"shell": "freqlab inspect STORE", "python": "fl.inspect(STORE, pair="}
    named = "" if name is None else f", name={name!r}"
    options = "" if name is None else f" --name {shlex.quote(str(name))}"
    return {
        "shell": visible(f"freqlab inspect {shlex.quote(store)}{options}"),
        "python": f"fl.inspect({store!r}{named}, pair=",
    }


# The page -----------------------------------------------------------------------------------------


def _page(data: Mapping[str, Any], result: xr.Dataset) -> str:
    """The page as HTML: one file without remote resources, whose only script is ours."""
    script = _frontend("recorded.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # "<" neither ends the element nor begins a comment in it
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    masked = "both images" if data["side"] == "both" else f"the {data['side']}"
    created = one_line(result.attrs.get("created_at", ""))[:10]
    return Template(_frontend("recorded.html")).substitute(
        generator=f"{_GENERATOR} {__version__}",
        digest=digest,
        style=_frontend("recorded.css"),
        script=script,
        data=text,
        model=html.escape(one_line(data["model"])),
        masked=html.escape(masked),
        created=html.escape(f" from a result of {created}" if created else ""),
        version=__version__,
    )


def _frontend(name: str) -> str:
    return (_FRONTEND / name).read_text(encoding="utf-8").strip()

"""Whether a report would be the same if it were made again: its notebook, parameters and inputs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import freqlab
from freqlab.datasets.registry import load_faces, parse_source
from freqlab.errors import FreqlabError
from freqlab.models.loading import parse_model
from freqlab.models.registry import is_known, recipe_named
from freqlab.reports.parts import MADE
from freqlab.reports.rendering import executed, metadata_of
from freqlab.store.chunks import open_root

__all__ = ["inputs_of", "is_unchanged", "recorded"]

_RECORD = "freqlab"
_FILES = ("pairs", "landmarks", "faces", "root", "labelled", "labelled_root")


def inputs_of(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Digest of what a report is made of: its notebook, freqlab, and the state of its input files.

    Files count as unchanged where their size and time of change are. Empty if a file is not there.

    Parameters
    ----------
    notebook
        The notebook of the report.
    parameters
        Parameters that are given.
    """
    package = Path(freqlab.__file__).parent
    digest = hashlib.sha256(notebook.read_bytes())
    sources = [path for suffix in ("py", "j2", "css") for path in package.rglob(f"*.{suffix}")]
    for path in sorted(sources):
        digest.update(path.read_bytes())
    try:
        for line in _stamps(_files(parameters)):
            digest.update(line.encode())
    except (OSError, FreqlabError):
        return ""
    return digest.hexdigest()


def recorded(inputs: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a report records about itself, for :func:`is_unchanged`."""
    return {"inputs": inputs, "parameters": json.dumps(parameters, sort_keys=True)}


def is_unchanged(folder: Path, name: str, inputs: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a report was made of the same inputs and its study is still in the store.

    Parameters
    ----------
    folder
        Folder of the reports.
    name
        Name of the report.
    inputs
        From :func:`inputs_of`.
    parameters
        Parameters that are given.
    """
    notebook = executed(folder / f"{name}.ipynb")
    if not inputs or notebook is None or not (folder / f"{name}.html").is_file():
        return False
    if notebook.metadata.get(_RECORD) != recorded(inputs, parameters):
        return False
    made = metadata_of(notebook, MADE) or {}
    try:
        node = open_root(str(parameters["store"]))[made["node"]]
        return bool(node.attrs["created_at"] == made["created_at"])
    except (OSError, KeyError, FreqlabError):
        return False


def _files(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Paths of all files that a report reads."""
    for key in _FILES:
        if parameters.get(key):
            yield parse_source(str(parameters[key]))[0]
    for faces, root in (("faces", "root"), ("labelled", "labelled_root")):
        if parameters.get(faces):
            options = {key: parameters[key] for key in ("outside",) if key in parameters}
            table = load_faces(parameters[faces], root=parameters.get(root), **options).table
            yield from table["path"].astype(str) if "path" in table else ()
    for model in (parameters.get("model"), *parameters.get("more_models", ())):
        if model:
            yield from _files_of_model(model)


def _files_of_model(model: str) -> Iterable[str]:
    text, options = parse_model(model)
    yield text
    if options.get("checkpoint"):
        yield str(options["checkpoint"])
    elif is_known(text):
        weights = recipe_named(text).find()
        if weights is not None:
            yield str(weights)


def _stamps(paths: Iterable[str]) -> Iterable[str]:
    for path in dict.fromkeys(paths):
        try:
            state = os.stat(path)
        except FileNotFoundError:
            yield f"{path} is a name\n"
            continue
        yield f"{path} {state.st_size} {state.st_mtime_ns}\n"

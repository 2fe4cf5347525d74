"""A person in a run: their faces, faces made of them, their names, and where these occur."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.errors import StoreError, check_name
from freqlab.faces.table import PEOPLE_COLUMNS, face_name
from freqlab.images.recipes import recipe_of
from freqlab.store.chunks import child_names, is_remote, opened, read, remove_key, stored_chunks
from freqlab.store.layout import FORGOTTEN
from freqlab.store.plain_text import is_twin, twin_name
from freqlab.store.records import NODE
from freqlab.store.remains import recorded_texts, set_aside_texts
from freqlab.store.run_store import RunStore

__all__ = [
    "Images",
    "Names",
    "cut_leftovers",
    "mentions",
    "names_of",
    "people_columns",
    "remove_images",
    "rename_results",
    "rows_of",
]

_REDACTED = "(forgotten)"
_OF_TWINS = {"comment", "long_name", "text_of"}
_LETTER, _WORD = re.compile(r"[^\W\d_]"), re.compile(r"[^\W_]+")
_MOST_PARTS = 64  # upper bound on the subjects in one value
_FIXED_TEXT = {
    *("created_at", "flag_meanings", "format", "freqlab_version", "method", "python_version"),
    *("forgetting", "forgetting_names", "mentioned", "purpose", "sha256", "torch_version"),
    "units",
}
"""Attributes whose whole text freqlab chooses, and those that record a removal."""


def people_columns(run: RunStore, given: Iterable[str] = ()) -> list[str]:
    """Columns of a run's faces that name people, or the faces that others were made of.

    They are the columns declared by its face sets (``names_people`` of :class:`freqlab.Faces`),
    :data:`freqlab.faces.table.PEOPLE_COLUMNS`, those in `given`, and ``target`` if all its values
    are subjects or faces of the run and it is not a label of 0 and 1.

    Raises
    ------
    UnknownNameError
        If the faces lack a column in `given`.
    """
    faces = run.faces
    there = [str(name) for name in faces.array_keys()]
    for name in given:
        check_name("column in people=", name, there)
    declared = cast(list[str], faces.attrs.get("names_people", []))
    columns = [
        name for name in dict.fromkeys([*declared, *PEOPLE_COLUMNS, *given]) if name in there
    ]
    if "target" in there and "target" not in columns:
        values = set(_values(run, "target")) - {""}
        known = set(_values(run, "subject")) | set(_values(run, "face"))
        if values <= known and not values <= {"0", "1"}:
            columns.append("target")
    return columns


def rows_of(run: RunStore, subject: str, people: Iterable[str] = ()) -> npt.NDArray[np.int64]:
    """Rows of the faces of a person, and of all faces made of them.

    A face is the person's if the person is its subject, if a column of :func:`people_columns` names
    them or one of their faces, alone or in a list of subjects (``a+b``; also ``,``, ``;`` and
    ``|``), or if a table of pairs names them as a contributor to it. The same holds recursively for
    faces made of these.
    """
    names, subjects = (np.array(_values(run, name), object) for name in ("face", "subject"))
    known = set(subjects.tolist()) - {""}
    columns = [subjects.tolist(), *(_values(run, name) for name in people_columns(run, people))]
    if "source" in run.faces:
        columns.append(_values(run, "source"))
    named = [[_named_in(value, known) for value in column] for column in columns]
    doomed = _documents_of(run, subject, known)
    while True:
        wanted = {subject, *names[doomed].tolist()}
        is_named = np.any([[not wanted.isdisjoint(v) for v in column] for column in named], axis=0)
        if not (is_named & ~doomed).any():
            return np.flatnonzero(doomed).astype(np.int64)
        doomed |= is_named


class Names:
    """Names of a person, and a test whether another text holds one of them.

    A text holds a name if the words of the name follow each other in it, in any case and with any
    separators: ``ada-lovelace`` holds ``Ada Lovelace``. A word is a run of letters and digits, so
    ``s12`` does not hold ``s1``. A name without a letter must be separate, not part of a number, a
    date or a file name: ``0.1`` does not hold ``1``.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = sorted(set(texts) - {""})
        self._words: dict[str, list[tuple[str, ...]]] = {}
        self._whole, bare = set(), []
        for text in self.texts:
            plain = _plain(text)
            self._whole.add(plain)
            words = tuple(_WORD.findall(plain))
            if _LETTER.search(plain):
                self._words.setdefault(words[0], []).append(words)
            elif words:
                bare.append(re.escape(plain))
        self._bare = (
            re.compile(rf"(?<![\w.,:-])(?:{'|'.join(bare)})(?![\w:-])(?![.,]\d)") if bare else None
        )

    def held_by(self, text: str, *, numbers: bool = True) -> bool:
        """Whether a text holds a name; with `numbers`, names without a letter also inside it."""
        plain = _plain(text)
        if plain in self._whole:
            return True
        if numbers and self._bare is not None and self._bare.search(plain):
            return True
        words = _WORD.findall(plain)
        return any(
            tuple(words[i : i + len(name)]) == name
            for i, word in enumerate(words)
            for name in self._words.get(word, ())
        )

    def among(self, texts: Iterable[str]) -> list[str]:
        """The names that at least one of the texts holds."""
        searched = list(texts)
        return [name for name in self.texts if any(map(Names([name]).held_by, searched))]


def names_of(run: RunStore, rows: npt.NDArray[np.int64], subject: str) -> set[str]:
    """Names of a person and their faces: subject, face names, paths, folders of faces."""
    status = read(opened(run.faces, "status"))
    rows = rows[status[rows] != FORGOTTEN]
    texts = {subject}
    for column in ("face", "path"):
        if column in run.faces:
            texts |= set(np.array(_values(run, column), object)[rows].tolist())
    folders = [name.rpartition("/")[0] for name in _values(run, "face")]
    own = {folders[row] for row in rows}
    others = {folders[i] for i in np.setdiff1d(np.arange(len(folders)), rows)}
    return (texts | (own - others if others else set())) - {""}


class Images(NamedTuple):
    """Image files of a person."""

    removed: list[str]
    """Morphs that freqlab had made of them."""
    left: list[str]
    """Photographs, which are the user's."""


def remove_images(run: RunStore, rows: npt.NDArray[np.int64]) -> Images:
    """Remove the morphs of a person that freqlab wrote, and list the files that are left.

    freqlab marks the files that it makes with the digests of both photographs. All folders with
    morphs of the run are searched, so that morphs which the run never used are removed too.
    """
    if is_remote(run.url) or "path" not in run.faces:
        return Images([], [])
    paths = np.array(_values(run, "path"), object)
    digests = set(np.array(_values(run, "sha256"), object)[rows].tolist()) - {""}
    own = [Path(path) for path in dict.fromkeys(paths[rows].tolist()) if path]
    folders = {path.parent for path in own if recipe_of(path) is not None}
    if "morph" in run.faces:
        made = [str(value).lower() in ("true", "1") for value in _values(run, "morph")]
        folders |= {Path(path).parent for path in paths[made].tolist() if path}
    removed = []
    for path in own:
        if recipe_of(path) is not None:
            removed.append(path)
        if path.parent in folders:  # left by a process killed while writing
            removed += [f for f in path.parent.iterdir() if _is_partial(f, path.name)]
    for folder in sorted(folders):
        for path in sorted(folder.glob("*.png")):
            recipe = recipe_of(path) or {}
            if digests & {recipe.get("first"), recipe.get("second")}:
                removed.append(path)
    for path in dict.fromkeys(removed):
        path.unlink(missing_ok=True)
    left = [str(path) for path in own if path.is_file()]
    return Images([str(path) for path in dict.fromkeys(removed)], left)


def _is_partial(file: Path, name: str) -> bool:
    """Whether a file is an incomplete copy of :func:`freqlab.system.private.written_whole`."""
    return file.name.startswith(f".{name[:80]}.") and file.suffix == ".partial"


def cut_leftovers(run: RunStore, nodes: Iterable[str]) -> None:
    """Cut off rows behind the last face, left by a run that was killed while it grew.

    Each node is cut to one row per face. Chunks outside the grid of their array are removed.
    """
    for path in nodes:
        for _, array in cast(zarr.Group, run.root[path]).arrays():
            if array.shape[0] != run.n_faces:
                array.resize((run.n_faces, *array.shape[1:]))
    for array in _arrays(run.root):
        grid = [range(-(-n // size)) for n, size in zip(array.shape, array.chunks, strict=True)]
        inside = {array.metadata.encode_chunk_key(chunk) for chunk in itertools.product(*grid)}
        for key in stored_chunks(array) - inside:
            if re.fullmatch(r"c(/\d+)*", key):
                remove_key(run.root.store, f"{array.path}/{key}")


def rename_results(
    root: zarr.Group,
    names: Names,
    copy: Callable[[zarr.Group, str], object],
    remove: Callable[[str], object],
) -> None:
    """Rename results named after a person to the short hash of the result.

    A face set named after them becomes "(forgotten)" in the attributes of its results. `copy`
    copies a group to a path, and marks it complete at the end.
    """
    if "influence" not in root:
        return
    groups = dict(cast(zarr.Group, root["influence"]).groups())
    for group in groups.values():
        if names.held_by(str(group.attrs.get("face_set", "")), numbers=False):
            group.attrs["face_set"] = _REDACTED
    for name, group in sorted(groups.items()):
        if not names.held_by(name, numbers=False):
            continue
        new = hashlib.sha256(str(group.attrs["identity"]).encode()).hexdigest()[:8]
        place = root.get(f"influence/{new}")
        if not (isinstance(place, zarr.Group) and place.attrs.get("complete")):
            copy(group, f"influence/{new}")
        for other in [*groups.values(), cast(zarr.Group, root[f"influence/{new}"])]:
            if other.attrs.get("broad") == name:
                other.attrs["broad"] = new
        remove(f"influence/{name}")


def mentions(root: zarr.Group, url: str, names: Names) -> dict[str, list[str]]:
    """Mentions of a person in a run: texts by the path of an array, an attribute or a file.

    Files set aside by a repair that cannot be searched are reported too, without text.
    """
    mentioned: dict[str, list[str]] = {}

    def look(where: str, texts: Iterable[str], *, numbers: bool = True) -> None:
        matching = [text for text in texts if names.held_by(text, numbers=numbers)]
        if matching:
            mentioned.setdefault(where, []).extend(matching)

    look("the name of the run", [Path(url).name], numbers=False)
    for path, node in _nodes(root):
        of_bytes = isinstance(node, zarr.Array) and is_twin(node)
        if of_bytes and path.endswith(twin_name("")) and path[: -len(twin_name(""))] in root:
            continue  # the bytes of a text that is searched itself
        if path:
            look(f"{path} (its name)", [path.rpartition("/")[2]], numbers=False)
        for key, value in (node.attrs if node is not None else {}).items():
            if key not in _FIXED_TEXT and not (of_bytes and key in _OF_TWINS):
                look(f"{path}@{key}".lstrip("/"), [str(key), *_strings(value)], numbers=False)
        if isinstance(node, zarr.Array) and (of_bytes or node.dtype.kind in "TOUS"):
            values = _decoded(read(node, ...)) if of_bytes else read(node, ...)
            values = values.ravel().astype(str)
            texts, counts = np.unique(values, return_counts=True)
            matches = [names.held_by(str(text)) for text in texts]
            again = np.repeat(texts[matches], counts[matches]).tolist()
            if again:
                mentioned.setdefault(path, []).extend(again)
    for where, copied, numbers in recorded_texts(url, _texts_of_attributes):
        look(where, copied, numbers=numbers)
    for where, aside, numbers in set_aside_texts(url, root, _texts_of_attributes):
        if aside is None:
            mentioned.setdefault(where, []).append("")
        else:
            look(where, aside, numbers=numbers)
    return mentioned


def _texts_of_attributes(attributes: dict[str, Any]) -> Iterator[str]:
    """Names and texts of attributes, except those whose words are all chosen by freqlab."""
    for key, value in attributes.items():
        if key not in _FIXED_TEXT and not ("text_of" in attributes and key in _OF_TWINS):
            yield key
            yield from _strings(value)


def _decoded(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.str_]:
    """Decode the texts whose bytes an array holds; invalid bytes are marked as such."""
    return np.array([row.tobytes().rstrip(b"\0").decode("utf-8", "replace") for row in rows], str)


def _documents_of(run: RunStore, subject: str, known: set[str]) -> npt.NDArray[np.bool_]:
    """Mask ``(face,)`` of faces to which a table of pairs names the person as a contributor."""
    doomed = np.zeros(run.n_faces, bool)
    influence = run.root.get("influence")
    for _, group in influence.groups() if isinstance(influence, zarr.Group) else ():
        for column in PEOPLE_COLUMNS:
            if column not in group or "reference" not in group:
                continue
            documents = read(opened(group, "reference"))
            values = read(opened(group, column)).tolist()
            if len(values) == len(documents):  # they differ if the run was killed
                named = {v for v in set(values) if subject in _named_in(face_name(v), known)}
                doomed[documents[[value in named for value in values]]] = True
    return doomed


def _named_in(value: str, known: set[str]) -> set[str]:
    """Names in a value: the value itself and, if it is a list of subjects, its parts.

    If the value is the name of a subject, or its separator is a comma, it is read as a list only
    if all parts are `known` subjects.
    """
    names = {value}
    for separator in "+;|,":
        if separator in value:
            parts = _known_parts(value, known, separator)
            if not parts and separator != "," and value not in known:
                parts = [part.strip() for part in value.split(separator)]
            names.update(parts)
    return names


def _known_parts(value: str, known: set[str], separator: str) -> list[str]:
    """Split a value into known subjects, whose names may contain the separator; else empty."""
    parts = value.split(separator)[:_MOST_PARTS]
    lists: list[list[str] | None] = [[], *[None] * len(parts)]
    for stop in range(1, len(parts) + 1):
        for start in range(stop):
            name, before = separator.join(parts[start:stop]).strip(), lists[start]
            if before is not None and name in known and name != value:
                lists[stop] = [*before, name]
                break
    return lists[-1] or []


def _values(run: RunStore, column: str) -> list[str]:
    """A column of the faces as text; integers without a decimal point, empty where missing."""
    if column not in run.faces:
        return [""] * run.n_faces
    return [face_name(value) for value in read(opened(run.faces, column)).tolist()]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _strings(value: Any) -> Iterator[str]:
    """All text in an attribute, also within JSON; numbers are not text."""
    if isinstance(value, str):
        if value[:1] in "{[" and value:
            try:
                yield from _strings(json.loads(value))
            except ValueError:
                yield value
        else:
            yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _nodes(
    group: zarr.Group, path: str = ""
) -> Iterator[tuple[str, zarr.Group | zarr.Array[Any] | None]]:
    """Yield all groups and arrays, and None for names that are neither."""
    yield path, group
    for name in child_names(group.store, path):
        below = f"{path}/{name}".lstrip("/")
        if name == "zarr.json" or below == NODE:  # the record is searched separately
            continue
        try:
            node = group[name]
        except (KeyError, StoreError):
            yield below, None
            continue
        if isinstance(node, zarr.Group):
            yield from _nodes(node, below)
        else:
            yield below, node


def _arrays(group: zarr.Group) -> Iterator[zarr.Array[Any]]:
    return (node for _, node in _nodes(group) if isinstance(node, zarr.Array))

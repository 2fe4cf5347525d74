"""Search for a person outside the arrays of a run: copies of descriptions, files set aside.

The record of a store (:mod:`freqlab.store.records`) holds a copy of each description. A repair
moves unusable data, and files that no run wrote, into a folder beside the store.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from freqlab.store.digests import aside, fold_now, note_as_it_is
from freqlab.store.places import is_remote, plain_store
from freqlab.store.records import (
    NODE,
    entries_of,
    entry_of,
    get,
    is_description,
    load_record,
)

__all__ = ["accept_edits", "recorded_texts", "set_aside_texts"]

Attributes = Callable[[dict[str, Any]], Iterable[str]]
"""Function that yields the texts in attributes that freqlab did not choose."""

_COPY_OF = "digests (copy of {})"
_UNSEARCHED = "{} (files that may show the person)"


def recorded_texts(url: str, texts_of: Attributes) -> Iterator[tuple[str, list[str], bool]]:
    """Texts in the copies of descriptions that differ from the descriptions in the store.

    The logs of the caller, who holds the lock, are folded into the record first.

    Yields
    ------
    str
        The place of the copy, with the key of the description.
    list of str
        Texts.
    bool
        Whether numbers in the texts may be names.
    """
    fold_now(url)
    yield from sync(_recorded(plain_store(url, read_only=True), texts_of))


async def _recorded(store: Store, texts_of: Attributes) -> list[tuple[str, list[str], bool]]:
    texts: list[tuple[str, list[str], bool]] = []
    record = await load_record(store)
    for key, accepted in record.accepted.items():
        copies = [entry for entry in accepted if isinstance(entry, dict)]
        if not copies and is_description(key):
            continue
        content = await get(store, key) if is_description(key) else b""
        where = _COPY_OF.format(key)
        if is_description(key) and content is None:
            texts.append((where, key.split("/"), False))
        there = entry_of(key, content) if is_description(key) else None
        for copy in copies:
            if copy != there:
                texts.append((where, list(texts_of(copy.get("attributes") or {})), False))
    async for name in store.list_dir(NODE):
        if name.startswith(("of-", "log-")):
            content = await get(store, f"{NODE}/{name}/zarr.json")
            if content is not None and entries_of(content, name) is None:  # damaged
                texts.append((f"{NODE}/{name}", [content.decode("utf-8", "replace")], False))
    return texts


def set_aside_texts(
    url: str, root: zarr.Group, texts_of: Attributes
) -> Iterator[tuple[str, list[str] | None, bool]]:
    """Texts in the files set aside beside a store; None for files that cannot be searched.

    Yields
    ------
    str
        The file, or one name for all files that cannot be searched.
    list of str or None
        Texts.
    bool
        Whether numbers in the texts may be names.
    """
    place = aside(url)
    if not is_remote(place) and not Path(place).is_dir():
        return
    name = place.rstrip("/").rpartition("/")[2]
    store = plain_store(place, read_only=True)
    keys = sync(_collected(store.list_prefix("")))
    for key in keys:
        content = sync(get(store, key)) or b""
        where = f"{name}/{key}"
        yield where, key.split("/"), False
        if is_description(key.rstrip("~")):
            entry = entry_of("zarr.json", content)
            if isinstance(entry, dict):
                yield where, list(texts_of(entry.get("attributes") or {})), False
                continue
        texts = _texts_of_chunk(key, content, store, root)
        if texts is None:
            texts = _as_plain_text(content)
        yield (_UNSEARCHED.format(name), None, False) if texts is None else (where, texts, True)


def accept_edits(url: str, places: Iterable[str]) -> None:
    """Accept the present content of places reported by :func:`freqlab.store.forget`.

    Without this, a check would report the edits that removed the names as damages.

    Parameters
    ----------
    url
        The store; the caller holds its lock.
    places
        Paths of arrays, attributes (``node@attribute``), names (``node (its name)``) and copies
        of descriptions, as reported.
    """
    below, exact = [], []
    for place in places:
        copied = re.fullmatch(re.escape(_COPY_OF).replace(r"\{\}", "(.*)"), place)
        if copied:
            exact.append(copied[1])
        elif "@" in place:
            exact.append(f"{place.split('@')[0]}/zarr.json".lstrip("/"))
        elif place.endswith(" (its name)"):
            below.append(f"{place.removesuffix(' (its name)')}/")
        else:
            below.append(f"{place}/")
    if below or exact:
        note_as_it_is(url, lambda key: key in exact or key.startswith(tuple(below)))


def _texts_of_chunk(key: str, content: bytes, store: Store, root: zarr.Group) -> list[str] | None:
    """Texts of a chunk of an array of text; None for other files, or if it cannot be decoded."""
    match = re.fullmatch(r"(?P<node>.+)/(?P<chunk>c(/\d+)+)~*", key)
    if match is None:
        return None
    description = sync(get(store, f"{match['node']}/zarr.json"))
    if description is None:
        node = root.get(match["node"])
        if not isinstance(node, zarr.Array):
            return None
        description = json.dumps(node.metadata.to_dict()).encode()
    try:
        memory = MemoryStore()
        buffer = zarr.core.buffer.default_buffer_prototype().buffer
        sync(memory.set("zarr.json", buffer.from_bytes(description)))
        sync(memory.set(match["chunk"], buffer.from_bytes(content)))
        array = zarr.open_array(memory, mode="r")
        if array.dtype.kind not in "TOUS":
            return None
        return sorted(set(map(str, array[...].ravel().tolist())))  # type: ignore[union-attr]
    except Exception:  # codecs raise errors of any class for a damaged chunk
        return None


def _as_plain_text(content: bytes) -> list[str] | None:
    """Content of a text file; None for binary files."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else [text]


async def _collected(names: AsyncIterator[str]) -> list[str]:
    return sorted([name async for name in names])

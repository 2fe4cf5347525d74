"""The record of a store: a digest of every chunk, a copy of every description.

``/digests`` holds an index, a record for each group (``of-...``), and the logs of writers that are
at work or were killed (``log-...``). Each is a Zarr group with JSON in its attributes, and with a
separate digest. :mod:`freqlab.store.digests` describes how they are written.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype

__all__ = [
    "NODE",
    "Entry",
    "Record",
    "as_group",
    "digest",
    "entries_of",
    "entry_of",
    "fold",
    "get",
    "get_many",
    "holds",
    "is_description",
    "is_placed",
    "load_index",
    "load_record",
    "parent_of",
    "put",
    "put_index",
    "renew_record",
    "store_id_of",
    "sum_of",
]

NODE = "digests"
"""Name of the group in a store."""

_AT_ONCE = 32  # keys read concurrently
_DEPTHS = {"faces": 2, "embeddings": 4, "trust": 2, "studies": 6}  # of arrays; 3 elsewhere

Entry = str | dict[str, Any] | None
"""Content of a key: the digest of a chunk, a description, or None if the key does not exist."""


class Record(NamedTuple):
    """The record of a store's content.

    Parameters
    ----------
    accepted
        Accepted contents by key; several if a writer is at work or was killed.
    whole
        Whether every key of the store is recorded; records of older stores are partial.
    there
        Whether a record exists.
    lost
        Groups whose record is missing or damaged.
    faults
        Other records that are damaged.
    logs
        Names of the logs that are not folded yet.
    store_ids
        Id of the store that the writer of each log wrote to.
    """

    accepted: dict[str, list[Entry]]
    whole: bool
    there: bool
    lost: list[str]
    faults: list[str]
    logs: list[str]
    store_ids: dict[str, str | None]


def digest(content: Any) -> str:
    """Digest of the bytes of a chunk: 128 bits of BLAKE2b as text."""
    return b64encode(hashlib.blake2b(content, digest_size=16).digest())[:22].decode()


def is_description(key: str) -> bool:
    """Whether a key is the description of a node."""
    return key == "zarr.json" or key.endswith("/zarr.json")


def entry_of(key: str, content: bytes | None) -> Entry:
    """Entry of a record for a content; text for a description that cannot be read."""
    if content is None:
        return None
    if is_description(key):
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if isinstance(document, dict):
            return document
    return digest(content)


def holds(entry: Entry, accepted: Sequence[Entry]) -> bool:
    """Whether the content of a key is accepted.

    Two things are ignored: the attribute ``whole`` of ``/faces``, which serves stores without a
    record, and consolidated metadata, which freqlab does not read.
    """
    if entry in accepted:
        return True
    if not isinstance(entry, dict):
        return False
    return any(isinstance(e, dict) and _essence(e) == _essence(entry) for e in accepted)


def _essence(document: dict[str, Any]) -> dict[str, Any]:
    document = {k: v for k, v in document.items() if k != "consolidated_metadata"}
    attributes = document.get("attributes")
    if not isinstance(attributes, dict):
        return document
    return {**document, "attributes": {k: v for k, v in attributes.items() if k != "whole"}}


def parent_of(key: str) -> str:
    """Path of the group whose record has a key."""
    node = re.sub(r"(^|/)(zarr\.json|c(/\d+)*)$", "", key)
    return node.rpartition("/")[0]


def is_placed(key: str, entry: Entry = None) -> bool:
    """Whether a key is at a place where a run of this layout has arrays and groups.

    For stores without a record, in which a foreign store is recognised by its place only.
    """
    node = re.sub(r"(^|/)(zarr\.json|c(/\d+)*)$", "", key)
    if node == key:
        return key.endswith(".partial")
    parts = node.split("/")
    deepest = _DEPTHS.get(parts[0], 3)
    is_group = isinstance(entry, dict) and entry.get("node_type") == "group"
    return len(parts) <= deepest - (is_group and parts[0] != "trust")


async def get(store: Store, key: str) -> bytes | None:
    """Return the bytes of a key; None if it does not exist."""
    try:
        buffer = await store.get(key, default_buffer_prototype())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    return None if buffer is None else buffer.to_bytes()


async def get_many(store: Store, keys: Iterable[str]) -> AsyncIterator[tuple[str, bytes | None]]:
    """Yield keys with their bytes, reading several concurrently."""
    waiting = list(keys)
    for start in range(0, len(waiting), _AT_ONCE):
        some = waiting[start : start + _AT_ONCE]
        for key, content in zip(
            some, await asyncio.gather(*(get(store, key) for key in some)), strict=True
        ):
            yield key, content


async def put(store: Store, key: str, document: dict[str, Any]) -> None:
    """Write a JSON document."""
    content = json.dumps(document).encode()
    await store.set(key, default_buffer_prototype().buffer.from_bytes(content))


def as_group(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a group with these attributes."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def sum_of(entries: dict[str, Any]) -> str:
    """Digest of the entries of a record."""
    return digest(json.dumps(entries, sort_keys=True).encode())


async def load_record(store: Store) -> Record:
    """Read the record of a store."""
    accepted: dict[str, list[Entry]] = {}
    names = [name async for name in store.list_dir(NODE)]
    nodes = [name for name in names if name.startswith(("of-", "log-"))]
    index, faults = await load_index(store), []
    if index is None and names:
        faults.append(NODE)
    listed = {_name_of(node): node for node in (index or {"nodes": []})["nodes"]}
    lost = [node for name, node in listed.items() if name not in nodes]
    logs, store_ids, pending, settled = [], {}, set(), set()
    async for key, content in get_many(store, [f"{NODE}/{name}/zarr.json" for name in nodes]):
        name = key.split("/")[1]
        if content is None and name not in listed:
            continue  # a log that was just folded, or a record that is still empty
        attributes = entries_of(content, name)
        if attributes is None:
            if name in listed:
                lost.append(listed[name])
            else:
                faults.append(f"{NODE}/{name}")
            continue
        if name.startswith("log-"):
            logs.append(name)
            store_ids[name] = attributes["store"]
            pending |= set(attributes["pending"])
        for below, candidates in attributes["entries"].items():
            whole_key = f"{attributes['node']}/{below}".strip("/")
            known = accepted.setdefault(whole_key, [])
            known += [entry for entry in candidates if entry not in known]
            if name.startswith("of-"):
                settled.add(whole_key)
    for key in pending - settled:  # it was perhaps never written
        if len(accepted[key]) == 1 and None not in accepted[key]:
            accepted[key].append(None)
    whole = index is not None and bool(index["whole"])
    return Record(accepted, whole, bool(names), sorted(lost), faults, logs, store_ids)


async def load_index(store: Store) -> dict[str, Any] | None:
    """Read the index of the record; None if it is missing or damaged."""
    attributes = _attributes_of(await get(store, f"{NODE}/zarr.json"))
    if attributes is None or set(attributes) != {"whole", "nodes", "sum"}:
        return None
    about = {"whole": attributes["whole"], "nodes": attributes["nodes"]}
    return about if attributes.get("sum") == sum_of(about) else None


async def put_index(store: Store, *, whole: bool, nodes: Iterable[str]) -> None:
    """Write the index of the record."""
    about: dict[str, Any] = {"whole": int(whole), "nodes": sorted(nodes)}
    await put(store, f"{NODE}/zarr.json", as_group({**about, "sum": sum_of(about)}))


def entries_of(content: bytes | None, name: str) -> dict[str, Any] | None:
    """Entries of a record or a log; None if it is missing, damaged, or has another name."""
    attributes = _attributes_of(content)
    if attributes is None or not isinstance(attributes.get("entries"), dict):
        return None
    if name.startswith("of-") and name != _name_of(str(attributes.get("node"))):
        return None
    about = {key: attributes[key] for key in attributes if key != "sum"}
    return attributes if attributes.get("sum") == sum_of(about) else None


def _attributes_of(content: bytes | None) -> dict[str, Any] | None:
    """Attributes of a group as :func:`as_group` describes it; None if it is another document."""
    try:
        document = json.loads(content or b"")
        attributes = document["attributes"]
    except (ValueError, KeyError, TypeError):
        return None
    is_whole = isinstance(attributes, dict) and document == as_group(attributes)
    return attributes if is_whole else None


def _name_of(node: str) -> str:
    """Name of the record of a group."""
    return f"of-{hashlib.blake2b(node.encode(), digest_size=8).hexdigest()}"


def store_id_of(content: bytes | None) -> str | None:
    """Id that distinguishes a store from others, from its description; None in older stores."""
    try:
        store_id = json.loads(content or b"{}").get("attributes", {}).get("store_id")
    except (ValueError, AttributeError):
        return None
    return None if store_id is None else str(store_id)


async def fold(
    store: Store, noted: dict[str, list[Entry]], sure: dict[str, Entry], pending: set[str]
) -> bool:
    """Fold the entries of logs into the records of groups; return whether all could be folded."""
    index = await load_index(store)
    if index is None:
        return False  # the content of the record is unknown; repair renews it
    by_node: dict[str, list[str]] = {}
    for key in noted:
        by_node.setdefault(parent_of(key), []).append(key)
    nodes, emptied, all_folded = set(index["nodes"]), [], True
    for node, keys in by_node.items():
        place = f"{NODE}/{_name_of(node)}/zarr.json"
        content = await get(store, place)
        before = entries_of(content, _name_of(node))
        if before is None and (content is not None or node in nodes):
            all_folded = False  # damaged; repair renews it
            continue
        entries = {} if before is None else before["entries"]
        entries = await _folded(store, node, keys, entries, noted, sure, pending)
        if entries:
            attributes: dict[str, Any] = {"node": node, "entries": entries}
            await put(store, place, as_group({**attributes, "sum": sum_of(attributes)}))
            nodes.add(node)
        elif before is not None:
            emptied.append(node)
    nodes -= set(emptied)
    if nodes != set(index["nodes"]):
        await put_index(store, whole=index["whole"], nodes=nodes)
    for node in emptied:
        await store.delete_dir(f"{NODE}/{_name_of(node)}")
    return all_folded


async def _folded(
    store: Store,
    node: str,
    keys: list[str],
    entries: dict[str, list[Entry]],
    noted: dict[str, list[Entry]],
    sure: dict[str, Entry],
    pending: set[str],
) -> dict[str, list[Entry]]:
    """The record of one group, updated with the entries of logs."""
    start = len(node) + 1 if node else 0
    for key in keys:
        if key in sure:
            entries[key[start:]] = [sure[key]]
    async for key, content in get_many(store, [key for key in keys if key not in sure]):
        before = entries.get(key[start:], [])
        candidates = [*before, *(e for e in noted[key] if e not in before)]
        actual = entry_of(key, content)
        never_written = actual is None and len(candidates) == 1 and key in pending
        entries[key[start:]] = [actual] if actual in candidates or never_written else candidates
    return {key: accepted for key, accepted in entries.items() if accepted != [None]}


async def renew_record(store: Store, nodes: Collection[str] | None, excluded: set[str]) -> None:
    """Record the content of some or all groups of a store again; the caller has checked it.

    The keys in `excluded` are left out: damaged ones, and those that no run wrote.
    """
    index = await load_index(store)
    everything = nodes is None or index is None
    entries: dict[str, dict[str, list[Entry]]] = {}
    keys = [key async for key in store.list_prefix("")]
    wanted = [
        key
        for key in keys
        if key not in excluded
        and not key.endswith(".partial")
        and not key.startswith(f"{NODE}/")
        and (everything or parent_of(key) in (nodes or ()))
    ]
    async for key, content in get_many(store, wanted):
        node = parent_of(key)
        start = len(node) + 1 if node else 0
        entries.setdefault(node, {})[key[start:]] = [entry_of(key, content)]
    for node, of_node in entries.items():
        about: dict[str, Any] = {"node": node, "entries": of_node}
        await put(
            store, f"{NODE}/{_name_of(node)}/zarr.json", as_group({**about, "sum": sum_of(about)})
        )
    known = set(entries) if everything or index is None else {*index["nodes"], *entries}
    names = {_name_of(node) for node in known}
    for name in [name async for name in store.list_dir(NODE)]:
        content = await get(store, f"{NODE}/{name}/zarr.json")
        if name.startswith(("of-", "log-")) and (
            (name not in names and everything) or entries_of(content, name) is None
        ):
            await store.delete_dir(f"{NODE}/{name}")
    await put_index(store, whole=True if index is None else index["whole"], nodes=known)

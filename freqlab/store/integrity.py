"""Find damage in a store: compare it with its record of digests, and its parts with each other."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from zarr.core.sync import sync

from freqlab.attrs import from_json
from freqlab.errors import StoreError
from freqlab.store import journal
from freqlab.store.chunks import (
    arrays_of,
    open_root,
    opened,
    place_of,
    reaching,
    read,
    rows_without_chunk,
)
from freqlab.store.consistency import contradictions
from freqlab.store.layout import DONE
from freqlab.store.places import plain_store
from freqlab.store.recheck import recheck
from freqlab.store.records import (
    NODE,
    Entry,
    Record,
    entry_of,
    get_many,
    holds,
    is_description,
    is_placed,
    load_record,
    parent_of,
)

__all__ = ["HALF_REMOVED", "Damage", "Survey", "check", "check_chunks", "survey"]

HALF_REMOVED = (
    "the removal of a person is not finished; the next run that writes to the store finishes it"
)
"""What :class:`Damage` says of a run whose removal of a person was interrupted."""


class Damage(NamedTuple):
    """One thing that is wrong with a store.

    Parameters
    ----------
    node
        Path of the group, such as ``"crops/arcface"``.
    array
        Name of the array in it; empty for the group itself.
    chunk
        Position of the chunk in the array; None if the damage is not in a chunk.
    what
        What is wrong, such as ``"is missing"``.
    """

    node: str
    array: str
    chunk: tuple[int, ...] | None
    what: str

    def __str__(self) -> str:
        place = f"{self.node}/{self.array}".strip("/") or "the run itself"
        if self.chunk is None:
            return f"{place}: {self.what}"
        return f"{place}, chunk {'/'.join(map(str, self.chunk))}: {self.what}"


class Survey(NamedTuple):
    """Findings of a survey of a store.

    Parameters
    ----------
    damages
        Damages, each with its key, which is empty if no single key is concerned.
    unknown
        Keys that no run wrote and that no reader of runs sees.
    partial
        Incomplete keys left by writers that were killed.
    elsewhere
        For damaged keys, another key that holds their content.
    record
        The content that the store must hold.
    descriptions
        Correct descriptions of all nodes, by path.
    counts
        Numbers of ``chunks`` read, arrays ``without_checksums`` and ``not_covered`` by digests, and
        results whose ``thresholds`` and ``influence`` were computed again.
    """

    damages: list[tuple[Damage, str]]
    unknown: list[str]
    partial: list[str]
    elsewhere: dict[str, str]
    record: Record
    descriptions: dict[str, dict[str, Any]]
    counts: dict[str, int]

    def text_of(self, path: str) -> bytes:
        """Correct description of a node."""
        return json.dumps(self.descriptions[path], indent=2).encode()

    def attributes_of(self, path: str) -> dict[str, Any]:
        """Correct attributes of a node; empty if the node is unknown."""
        attributes = self.descriptions.get(path, {}).get("attributes", {})
        return attributes if isinstance(attributes, dict) else {}


def check(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a whole run and check it against its record, its checksums and itself.

    The run keeps a digest of each chunk and a copy of each description (``zarr.json``) under their
    paths. So a chunk that was changed, exchanged, copied from elsewhere or lost is found, and so
    is a description that was edited. In addition, lengths and faces of all arrays are compared
    with each other, thresholds are computed again from the embeddings (of up to 5,000 faces), and
    so is a sample of the influence of each result. Parts of a run that are older than such records
    are checked by the chunks' CRC-32C or decoders.

    Parameters
    ----------
    path
        The run's Zarr group.

    Returns
    -------
    pandas.DataFrame
        A row for each damage: ``node``, ``array``, ``chunk``, ``what``; empty if there is none.
        ``attrs["chunks"]`` counts the chunks that were read; ``attrs["not_covered"]`` the arrays
        in which some chunks have no digest; ``attrs["without_checksums"]`` those in which a
        changed value cannot be detected; ``attrs["partial_files"]`` harmless incomplete files of
        writers that were killed; ``attrs["unknown"]`` lists files that no run wrote, which are
        left alone; ``attrs["unfinished"]`` describes unfinished changes, which the next writing
        call completes; ``attrs["thresholds"]`` and ``attrs["influence"]`` count the results
        whose values were computed again.

    Raises
    ------
    StoreError
        If there is no run.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), store="run.zarr", **options)
    >>> len(fl.store.check("run.zarr"))
    0
    """
    result = survey(place_of(path))
    table = pd.DataFrame([damage for damage, _ in result.damages], columns=list(Damage._fields))
    table.attrs = {"partial_files": len(result.partial), "unknown": result.unknown}
    table.attrs["unfinished"] = journal.said_unfinished(result.attributes_of(""))
    table.attrs.update(result.counts)
    return table


def check_chunks(node: zarr.Group, rows: npt.NDArray[np.int64]) -> None:
    """Check that all chunks of the rows that a node has done exist, without reading them.

    Raises
    ------
    StoreError
        If a chunk is missing.
    """
    done = rows[read(opened(node, "status"))[rows] == DONE]
    for name in arrays_of(node):
        gone = rows_without_chunk(opened(node, name), done)
        if len(gone):
            raise StoreError(
                f"{node.path}/{name} in the store lacks chunk(s) of {len(gone):,} faces that were "
                f"done: `freqlab run --repair` and fl.influence(..., repair=True) compute them "
                f"again"
            )


def survey(url: str) -> Survey:
    """Find all damage in a store.

    Raises
    ------
    StoreError
        If there is no run, or no record of its content is left.
    """
    _check_is_run(url)
    with reaching(url):
        return _Surveying(url).all()


def _check_is_run(url: str) -> None:
    """Refuse a store that is not a run; the record may hold a root description that is lost."""
    try:
        root = open_root(url)
        if root.attrs.get("format") == "freqlab-run":
            return
        fault = StoreError(f"{url!r} is a Zarr group, but not of a freqlab run")
    except StoreError as error:
        fault = error
    try:
        record = sync(load_record(plain_store(url, read_only=True)))
    except Exception:
        raise fault from fault.__cause__
    if "zarr.json" not in record.accepted:
        raise fault from fault.__cause__


class _Surveying:
    """State and steps of one survey."""

    def __init__(self, url: str) -> None:
        self.url, self.store = url, plain_store(url, read_only=True)
        self.damages: dict[tuple[Any, ...], tuple[Damage, str]] = {}
        self.entries: dict[str, Entry] = {}
        names = ("chunks", "not_covered", "without_checksums", "thresholds", "influence")
        self.counts = dict.fromkeys(names, 0)
        self.descriptions: dict[str, dict[str, Any]] = {}
        self.record = sync(load_record(self.store))

    def all(self) -> Survey:
        """Survey the whole store."""
        keys = set(sync(self._keys()))
        partial = sorted(key for key in keys if key.endswith(".partial"))
        keys = {key for key in keys if key not in partial and not key.startswith(f"{NODE}/")}
        wrong = sync(self._wrong(sorted(keys | set(self.record.accepted))))
        void = self._void()
        keys = {key for key in keys if not void(key)}
        wrong = [key for key in wrong if not void(key)]
        if wrong:  # a writer may have been at work between the two reads
            self.record = sync(load_record(self.store))
            wrong = sync(self._wrong(wrong))
        self.descriptions = self._descriptions()
        elsewhere = self._note_wrong(wrong)
        unknown = self._sort_out(keys - set(self.record.accepted))
        self._check_record()
        self._count(keys)
        self._check_older(keys)
        self._check_contents()
        damages = list(self.damages.values())
        return Survey(
            damages, unknown, partial, elsewhere, self.record, self.descriptions, self.counts
        )

    def add(
        self, node: str, array: str, chunk: tuple[int, ...] | None, what: str, key: str = ""
    ) -> None:
        """Note a damage, once per place."""
        self.damages.setdefault((node, array, chunk), (Damage(node, array, chunk, what), key))

    def _void(self) -> Callable[[str], bool]:
        """Predicate of keys that do not count because their node is being made or removed."""
        entry = self.entries.get("zarr.json")
        known = [e for e in self.record.accepted.get("zarr.json", []) if isinstance(e, dict)]
        if known and not (entry and holds(entry, known)):
            entry = known[-1]
        attributes = entry.get("attributes") if isinstance(entry, dict) else None
        return journal.void_below(attributes if isinstance(attributes, dict) else {})

    async def _keys(self) -> list[str]:
        return [key async for key in self.store.list_prefix("")]

    async def _wrong(self, keys: list[str]) -> list[str]:
        """Keys whose content differs from the record; all keys given are read."""
        wrong, accepted = [], self.record.accepted
        async for key, content in get_many(self.store, keys):
            self.entries[key] = entry_of(key, content)
            if key in accepted and not holds(self.entries[key], accepted[key]):
                wrong.append(key)
        return wrong

    def _descriptions(self) -> dict[str, dict[str, Any]]:
        """Descriptions of all nodes by path: as recorded, else as stored."""
        documents = {}
        void = self._void()
        for key in filter(is_description, {*self.entries, *self.record.accepted}):
            if void(key):
                continue
            entry = self.entries.get(key)
            known = [e for e in self.record.accepted.get(key, []) if isinstance(e, dict)]
            document = entry if not known or holds(entry, known) else known[-1]
            if isinstance(document, dict):
                documents[key.rpartition("/")[0]] = document
        return documents

    def _attributes(self, path: str) -> dict[str, Any]:
        attributes = self.descriptions.get(path, {}).get("attributes", {})
        return attributes if isinstance(attributes, dict) else {}

    def _kind(self, path: str) -> str:
        return str(self.descriptions.get(path, {}).get("node_type", ""))

    def _place(self, path: str) -> tuple[str, str]:
        """Names of a node in the table of damages: a group, or an array in a group."""
        above, _, name = path.rpartition("/")
        return (above, name) if self._kind(path) == "array" else (path, "")

    def _array_of(self, key: str) -> str:
        """Path of the array that has a chunk with this key; empty if there is none."""
        path, at = _position(key)
        if at is None or self._kind(path) != "array":
            return ""
        shape, chunks = _grid(self.descriptions[path])
        inside = len(at) == len(shape) and all(
            i < -(-n // size) for i, n, size in zip(at, shape, chunks, strict=True)
        )
        return path if inside else ""

    def _note_wrong(self, wrong: list[str]) -> dict[str, str]:
        """Note what is wrong with each key; return the keys that hold its content instead."""
        places = {e: key for key, e in self.entries.items() if isinstance(e, str)}
        owners: dict[str, str] = {}
        for key, accepted in self.record.accepted.items() if wrong else ():
            owners |= {e: key for e in accepted if isinstance(e, str)}
        elsewhere = {}
        for key in wrong:
            accepted, entry = self.record.accepted[key], self.entries[key]
            if is_description(key):
                what = f"its description (zarr.json) {_difference(entry, accepted)}"
                self.add(*self._place(key.rpartition("/")[0]), None, what, key)
                continue
            what = "is missing" if entry is None else "differs from what was written"
            if isinstance(entry, str) and entry in owners:
                what += f"; it is the content of {owners[entry]}"
            for expected in accepted:
                if isinstance(expected, str) and expected in places:
                    elsewhere[key] = places[expected]
            path, at = _position(key)
            self.add(*path.rpartition("/")[::2], at, what, key)
        return elsewhere

    def _sort_out(self, keys: set[str]) -> list[str]:
        """Note keys without a record that readers would treat as the run's; return the others."""
        unknown = []
        known, lost = self.record.accepted, set(self.record.lost)
        groups = {
            k.rpartition("/")[0] for k in known if self._kind(k.rpartition("/")[0]) == "group"
        }
        foreign: set[str] = set()
        for key in sorted(keys, key=lambda key: (not is_description(key), key)):
            path, at = _position(key)
            above, _, name = path.rpartition("/")
            if not self.record.whole or parent_of(key) in lost:
                if not self._is_placed_here(key, path, at):
                    unknown.append(key)
            elif is_description(key) and self._kind(path) == "array" and above in groups:
                self.add(above, name, None, "is an array that no run wrote", key)
                foreign.add(path)
            elif self._array_of(key) and f"{path}/zarr.json" in known:
                self.add(above, name, at, "was not written by a run", key)
            elif path not in foreign:
                unknown.append(key)
        return unknown

    def _is_placed_here(self, key: str, path: str, at: tuple[int, ...] | None) -> bool:
        """Whether a key without a record may belong to a run; its description may be lost."""
        if not is_placed(key, self.entries[key]) or (at is None and not is_description(key)):
            return False
        if at is not None and path not in self.descriptions:
            above, _, name = path.rpartition("/")
            what = "its description (zarr.json) is missing"
            self.add(above, name, None, what, f"{path}/zarr.json")
        elif at is not None:
            return bool(self._array_of(key))
        elif not isinstance(self.entries[key], dict):
            place = _place_of_older(path)
            self.add(*place, None, "its description (zarr.json) cannot be read", key)
        return True

    def _check_record(self) -> None:
        attributes = self._attributes("")
        own = attributes.get("store_id")
        others = {
            key for key in self.entries if key != "zarr.json" and not key.endswith(".partial")
        }
        if not self.record.there and own is not None and others:
            self.add(NODE, "", None, "the digests of the run are missing", NODE)
        for node in self.record.lost:
            self.add(node, "", None, "the digests of its content are missing or damaged", NODE)
        for fault in self.record.faults:
            self.add(fault, "", None, "its digests were changed or cannot be read", NODE)
        for name, store_id in self.record.store_ids.items():
            if store_id not in (None, own):
                self.add(
                    f"{NODE}/{name}", "", None, "was written by a run with another store", NODE
                )
        if "forgetting" in attributes:
            self.add("", "", None, HALF_REMOVED)

    def _count(self, keys: set[str]) -> None:
        arrays = {p: d for p, d in self.descriptions.items() if d.get("node_type") == "array"}
        uncovered = {_position(key)[0] for key in keys - set(self.record.accepted)}
        self.counts["chunks"] = sum(bool(self._array_of(key)) for key in keys)
        self.counts["not_covered"] = len(uncovered & set(arrays))
        for document in arrays.values():
            names = [codec.get("name") for codec in document.get("codecs", [])]
            self.counts["without_checksums"] += "crc32c" not in names

    def _check_older(self, keys: set[str]) -> None:
        """Check chunks without a digest by their checksums or decoders."""
        if self.record.whole and not self.record.lost:
            return
        damaged = {damage[:2] for damage, _ in self.damages.values() if damage.chunk is None}
        for path, document in sorted(self.descriptions.items()):
            above, _, name = path.rpartition("/")
            if not is_placed(f"{path}/zarr.json", document):
                continue
            if self.record.whole and above not in self.record.lost:
                continue
            if self._kind(path) == "group" or (above, name) in damaged or not above:
                continue
            try:
                self._check_older_array(above, name, document, keys)
            except StoreError as error:
                self.add(
                    above, name, None, f"its description (zarr.json) {error}", f"{path}/zarr.json"
                )
        parents = {p.rpartition("/")[0] for p in self.descriptions if p}
        for path in () if self.record.whole else sorted(parents - set(self.descriptions)):
            if is_placed(f"{path}/zarr.json"):
                what = "its description (zarr.json) is missing"
                self.add(*_place_of_older(path), None, what, f"{path}/zarr.json")

    def _check_older_array(
        self, above: str, name: str, document: dict[str, Any], keys: set[str]
    ) -> None:
        path = f"{above}/{name}"
        try:
            array = zarr.open_array(self.store, path=path, mode="r")
        except Exception as error:  # any error of a reader of damaged JSON
            raise StoreError(f"cannot be read ({error})") from error
        required = self._required_blocks(above, name, array)
        shape = list(array.shape)
        if shape:
            shape[0] = journal.length_said(self._attributes(""), above, shape[0])
        for chunk in itertools.product(
            *[range(-(-n // size)) for n, size in zip(shape, array.chunks, strict=True)]
        ):
            key = f"{path}/{array.metadata.encode_chunk_key(chunk)}"
            if key in self.record.accepted:
                continue
            if key not in keys:
                if required is None or chunk[0] in required:
                    self.add(above, name, chunk, "is missing", key)
                continue
            try:
                array.get_block_selection(chunk)
            except Exception as error:  # each codec raises different errors
                self.add(above, name, chunk, str(error) or type(error).__name__, key)

    def _required_blocks(self, above: str, name: str, array: zarr.Array[Any]) -> set[int] | None:
        """Indices along the first axis of the chunks that must exist; None for all."""
        attributes = self._attributes(above)
        if above == "faces":
            return (
                None if name == "face" or name in from_json(attributes.get("whole", [])) else set()
            )
        if f"{above}/status" in self.descriptions:
            try:
                status = np.asarray(
                    zarr.open_array(self.store, path=f"{above}/status", mode="r")[:]
                )
            except Exception:  # is reported separately, and all its blocks are computed again
                return set()
            return set((np.flatnonzero(status == DONE) // array.chunks[0]).tolist())
        if above.startswith("influence/"):
            codecs = [c.get("name") for c in self.descriptions[f"{above}/{name}"]["codecs"]]
            return None if attributes.get("complete") and "crc32c" in codecs else set()
        return None

    def _check_contents(self) -> None:
        """Compare parts that are sound by themselves with each other."""
        broken = {damage.node for damage, _ in self.damages.values()}
        if broken & {"", "faces"}:
            return
        root = open_root(self.url)
        for node, array, what in contradictions(root, broken):
            self.add(node, array, None, what)
        found_so_far = [damage for damage, _ in self.damages.values()]
        if any(
            damage.node.startswith(("faces", "embeddings"))
            or (damage.node.startswith("crops") and damage.array in ("", "status"))
            for damage in found_so_far
        ):
            return
        if "forgetting" in root.attrs:  # thresholds are those of all, embeddings of some
            return
        broken = {damage.node for damage, _ in self.damages.values()}
        rechecked = recheck(root, broken)
        self.counts["thresholds"], self.counts["influence"] = (
            rechecked.thresholds,
            rechecked.influence,
        )
        for node, array, what in rechecked.differences:
            self.add(node, array, None, what)


def _position(key: str) -> tuple[str, tuple[int, ...] | None]:
    """Path of the node that a key belongs to, and the position if it is a chunk."""
    match = re.fullmatch(r"(.+)/c((?:/\d+)*)", key)
    if match:
        return match[1], tuple(int(i) for i in match[2].split("/")[1:])
    return key.rpartition("/")[0], None


def _place_of_older(path: str) -> tuple[str, str]:
    """Names of a node without a record and with a damaged description: group, or array in one."""
    depth = {"crops": 1, "influence": 1, "embeddings": 2, "": 0}.get(path.split("/")[0], 0)
    above, _, name = path.rpartition("/")
    is_group = len(above.split("/")) * bool(above) <= depth and above != "faces"
    return (path, "") if is_group else (above, name)


def _grid(document: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Shape and chunk shape of an array from its description."""
    try:
        shape = [int(n) for n in document["shape"]]
        return shape, [
            max(1, int(n)) for n in document["chunk_grid"]["configuration"]["chunk_shape"]
        ]
    except (KeyError, TypeError, ValueError):
        return [], []


def _difference(entry: Entry, accepted: list[Entry]) -> str:
    """How a description differs from the accepted ones."""
    if entry is None:
        return "is missing"
    if not isinstance(entry, dict):
        return "cannot be read"
    known = [e for e in accepted if isinstance(e, dict)]
    if not known:
        return "was not written by a run"
    return f"was edited: {_first_difference(known[-1], entry)}"


def _first_difference(expected: Any, found: Any, at: str = "") -> str:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted({*expected, *found}):
            if expected.get(key) != found.get(key) or (key in expected) != (key in found):
                below = f"{at}.{key}".lstrip(".")
                if key not in found:
                    return f"{below} is missing"
                if key not in expected:
                    return f"{below} was added"
                return _first_difference(expected[key], found[key], below)
    texts = [text if len(text) <= 60 else f"{text[:59]}…" for text in map(repr, (found, expected))]
    return f"{at} is {texts[0]} instead of {texts[1]}"

"""A digest of every chunk and a copy of every description, kept in the store itself.

The CRC-32C of a chunk shows that its bytes are sound, not that they are in the right place: two
chunks may be exchanged, one may come from another store, a description (``zarr.json``) may be
edited. So a store that is open for writing keeps a record in its group ``/digests``:

- before a key is written, its new digest goes into a log of this writer; then the key is
  written. If the writer is killed, a key holds the content in the log or its previous content.
  Writers on other machines have separate logs; they share only the store.
- when the call that holds the lock ends, or the next one begins, the logs are folded into one
  record per group. From then on only the last content is accepted.

Descriptions are kept in full, so that they can be restored. A store begun without a record gets
one for the keys written from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, WrapperStore

from freqlab.errors import StoreError
from freqlab.store.places import is_remote, plain_store
from freqlab.store.records import (
    NODE,
    Entry,
    Record,
    as_group,
    digest,
    entries_of,
    entry_of,
    fold,
    get,
    get_many,
    is_description,
    is_placed,
    load_record,
    put,
    put_index,
    store_id_of,
    sum_of,
)

__all__ = [
    "RecordingStore",
    "TidyStore",
    "aside",
    "copy_keys",
    "fold_now",
    "in_one_piece",
    "move_keys",
    "note_as_it_is",
    "recording",
    "writing",
]

_PER_LOG = 128  # entries, and
_BYTES_PER_LOG = 16384  # bytes of JSON, after which a writer starts another log


class _Log:
    """Log of one writer, in which each key is noted before it is written."""

    def __init__(self) -> None:
        self._writer, self._index = uuid.uuid4().hex[:12], 0
        self.entries: dict[str, list[Entry]] = {}
        self.all: dict[str, Entry] = {}  # last content by key, over all logs of this writer
        self.unsure: set[str] = set()  # writing has begun, but is not known to be complete
        self._dirty: set[str] = set()
        self._size = 0
        self._lock = asyncio.Lock()
        self.store_id: str | None = None
        self._asked = False
        self.record: Record | None = None
        self.set_aside: list[str] = []

    @property
    def name(self) -> str:
        return f"log-{self._writer}-{self._index:05d}"

    async def note(self, store: Store, new: dict[str, Entry]) -> None:
        """Record the keys to be written, with those that other threads add meanwhile."""
        self.unsure |= set(new)
        for key, entry in new.items():
            before = self.entries.get(key, [])[-1:]
            self.entries[key] = [*(b for b in before if b != entry), entry]
            self.all[key] = entry
        self._dirty |= set(new)
        async with self._lock:
            if not self._dirty & set(new):
                return  # written by the previous thread
            try:
                await self._flush(store)
            except BaseException:
                self._dirty |= set(new)
                raise

    async def _flush(self, store: Store) -> None:
        if not self._asked:
            self.store_id, self._asked = store_id_of(await get(store, "zarr.json")), True
        self._dirty.clear()
        confirmed = {
            key: candidates if key in self.unsure else candidates[-1:]
            for key, candidates in self.entries.items()
        }
        attributes: dict[str, Any] = {
            "node": "",
            "store": self.store_id,
            "entries": confirmed,
            "pending": sorted(self.unsure & set(confirmed)),
        }
        attributes["sum"] = sum_of(attributes)
        await put(store, f"{NODE}/{self.name}/zarr.json", as_group(attributes))
        self._size = (
            len(json.dumps(confirmed)) if _any_description(confirmed) else 40 * len(confirmed)
        )
        if len(confirmed) >= _PER_LOG or self._size >= _BYTES_PER_LOG:
            # entries recorded by other threads during this write are left to the next log
            self.entries = {
                key: candidates
                for key, candidates in self.entries.items()
                if key in self.unsure or key in self._dirty or key not in confirmed
            }
            self._index += 1


def _any_description(entries: dict[str, list[Entry]]) -> bool:
    """Whether some of the entries are descriptions."""
    return any(isinstance(candidates[-1], dict) for candidates in entries.values())


class TidyStore(WrapperStore[Store]):
    """A store that lists only the nodes of a run.

    Files that are not part of Zarr (``.DS_Store`` and the like) are not listed, because Zarr warns
    of each of them whenever members of a group are listed. The record is not listed either.
    """

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List names that may be nodes."""
        async for name in self._store.list_dir(prefix):
            if not prefix and name == NODE:
                continue
            if name == "zarr.json" or (
                not name.startswith(".") and self._may_be_node(prefix, name)
            ):
                yield name

    def _may_be_node(self, prefix: str, name: str) -> bool:
        inner: Any = self._store
        while isinstance(inner, WrapperStore):
            inner = inner._store
        if not isinstance(inner, LocalStore):
            return True
        return (Path(inner.root) / prefix / name / "zarr.json").exists()


_BUFFERED: ContextVar[dict[str, Buffer] | None] = ContextVar("buffered", default=None)


class RecordingStore(TidyStore):
    """A store that notes the digest of a content before writing it.

    Parameters
    ----------
    store
        The store to write to.
    log
        The log of this writer.
    url
        Address of the store, for messages.
    """

    def __init__(self, store: Store, log: _Log | None = None, url: str = "") -> None:
        super().__init__(store)
        self.log, self.url = log or _Log(), url

    def _with_store(self, store: Store) -> RecordingStore:
        return RecordingStore(store, self.log, self.url)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a key, or the content that is about to be written there."""
        buffered = _BUFFERED.get()
        if buffered is not None and byte_range is None and key in buffered:
            return buffered[key]
        return await self._store.get(key, prototype, byte_range)

    async def set(self, key: str, value: Buffer) -> None:
        """Note the new content, and write it."""
        buffered = _BUFFERED.get()
        if buffered is not None and not is_description(key):
            buffered.pop(key, None)
            buffered[key] = value
            return
        if is_description(key):
            await self._check_not_lost(key)
        await self._write({key: value})

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a key that does not exist."""
        if not await self._store.exists(key):
            await self.set(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        await asyncio.gather(*(self.set(key, value) for key, value in values))

    async def _write(self, values: dict[str, Buffer]) -> None:
        """Write keys in order, after noting their digests."""
        if "zarr.json" in values:
            self.log.store_id = store_id_of(values["zarr.json"].to_bytes())
            if not await self._store.exists("zarr.json"):  # first: it makes the place a store
                await self._store.set("zarr.json", values["zarr.json"])
        new: dict[str, Entry] = {}
        for key, value in values.items():
            if is_description(key):
                new[key] = entry_of(key, value.to_bytes())
            else:
                new[key] = digest(value.as_numpy_array().data)
        if not self.log.all:
            await self._begin_record()
        await self.log.note(self._store, new)
        for key, value in values.items():
            await self._store.set(key, value)
            self.log.unsure.discard(key)

    async def _begin_record(self) -> None:
        """Create the group of the record, which is complete if it is as old as the store.

        Raises
        ------
        StoreError
            If the store had a record and lost it.
        """
        if [name async for name in self._store.list_dir(NODE)]:
            return
        others = [name async for name in self.list_dir("") if name != "zarr.json"]
        if others and store_id_of(await get(self._store, "zarr.json")) is not None:
            raise StoreError(
                f"store {self.url!r} has lost its digests (the group {NODE!r}); nothing was "
                f"written. `freqlab run --repair` and fl.influence(..., repair=True) renew them"
            )
        await put_index(self._store, whole=not others, nodes=[])

    async def delete(self, key: str) -> None:
        """Note that a key is about to be removed, and remove it."""
        buffered = _BUFFERED.get()
        if buffered is not None:
            buffered.pop(key, None)
        if await self._store.exists(key):
            await self.note_removal([key])
            await self._store.delete(key)
            self.log.unsure.discard(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove keys of the run below a path; other files are moved beside the store."""
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        keys = [key async for key in self._store.list_prefix(below)]
        record = await self._record()
        entries: dict[str, Entry] = {}
        if not record.whole:
            async for key, content in get_many(self._store, filter(is_description, keys)):
                entries[key] = entry_of(key, content)
        foreign = [key for key in keys if not self._is_own(record, key, entries.get(key))]
        if foreign:
            await self._move_aside(foreign)
        known = {*keys, *record.accepted, *self.log.all} - set(foreign)
        doomed = [k for k in known if k.startswith(below) and not k.endswith(".partial")]
        await self.note_removal(doomed)
        await self._store.delete_dir(prefix)
        self.log.unsure -= set(doomed)

    async def note_removal(self, keys: Iterable[str]) -> None:
        """Record that keys are about to be removed."""
        new: dict[str, Entry] = dict.fromkeys(keys)
        if new:
            if not self.log.all:
                await self._begin_record()
            await self.log.note(self._store, new)

    async def _record(self) -> Record:
        if self.log.record is None:
            self.log.record = await load_record(self._store)
        return self.log.record

    def _is_own(self, record: Record, key: str, entry: Entry) -> bool:
        if key in self.log.all or key in record.accepted or key.startswith(f"{NODE}/"):
            return True
        return key.endswith(".partial") or (not record.whole and is_placed(key, entry))

    async def _move_aside(self, keys: list[str]) -> None:
        place = aside(self.url)
        other = plain_store(place, read_only=False)
        await move_keys(self._store, other, keys)
        self.log.set_aside.append(
            f"{len(keys):,} files that no run wrote, such as {keys[0]!r}, were moved to {place!r}"
        )

    async def _check_not_lost(self, key: str) -> None:
        """Refuse to recreate a description that the store had and lost.

        Raises
        ------
        StoreError
            If it is lost.
        """
        if await self._store.exists(key):
            return
        if key in self.log.all:
            if self.log.all[key] is None:
                return
            lost = True
        else:
            record = await self._record()
            if key in record.accepted:
                lost = None not in record.accepted[key]
            else:
                lost = not record.whole and await self._has_chunks(key.rpartition("/")[0])
        if lost:
            self._raise_lost([key])

    async def check_descriptions(self) -> None:
        """Refuse a store that has lost descriptions that are in its record.

        Raises
        ------
        StoreError
            If some are lost, naming them.
        """
        record = await self._record()
        there = set(filter(is_description, record.accepted))
        there = {key for key in there if None not in record.accepted[key]}
        expected = sorted(there - set(self.log.all))
        exist = await asyncio.gather(*(self._store.exists(key) for key in expected))
        lost = [key for key, is_there in zip(expected, exist, strict=True) if not is_there]
        if lost:
            self._raise_lost(lost)

    def _raise_lost(self, keys: list[str]) -> None:
        nodes = ", ".join(repr(key.rpartition("/")[0] or "the run itself") for key in keys[:3])
        raise StoreError(
            f"store {self.url!r} has lost its description (zarr.json) of {nodes}; nothing was "
            f"written. `freqlab run --repair` and fl.influence(..., repair=True) restore as much "
            f"as possible"
        )

    async def _has_chunks(self, node: str) -> bool:
        """Whether a node without a description, in a store without a record, has chunks."""
        below = f"{node}/" if node else ""
        async for key in self._store.list_prefix(below):
            if re.search(r"/c(/\d+)+$", f"/{key}"):
                return True
        return False


@contextlib.contextmanager
def in_one_piece(store: Store) -> Iterator[None]:
    """Hold back the chunks that this thread writes, note all together, and write them in order.

    Held chunks are read back as if they were written. An exception discards them.
    """
    if not isinstance(store, RecordingStore) or _BUFFERED.get() is not None:
        yield
        return
    buffered: dict[str, Buffer] = {}
    token = _BUFFERED.set(buffered)
    try:
        yield
    finally:
        _BUFFERED.reset(token)
    if buffered:
        sync(store._write(buffered))


def aside(url: str) -> str:
    """Folder beside a store for files that are moved instead of deleted."""
    return f"{url.rstrip('/')}.set-aside"


async def move_keys(store: Store, other: Store, keys: Iterable[str]) -> None:
    """Move keys to another store; each is removed only after it was copied."""
    for key in keys:
        await copy_keys(store, other, [key])
        await store.delete(key)


async def copy_keys(store: Store, other: Store, keys: Iterable[str]) -> None:
    """Copy keys to another store, under another name if the name has different content."""
    for key in keys:
        content, name = await get(store, key), key
        if content is None:
            continue
        while await other.exists(name) and await get(other, name) != content:
            name = f"{name}~"
        await other.set(name, default_buffer_prototype().buffer.from_bytes(content))


_LOGS: dict[tuple[int, str], _Log] = {}


def _at(url: str) -> tuple[int, str]:
    return os.getpid(), url if is_remote(url) else os.path.realpath(url)


def recording(store: Store, url: str) -> RecordingStore:
    """A store that records its writes, in the log of this process if it holds the lock."""
    return RecordingStore(store, _LOGS.get(_at(url)), url)


@contextlib.contextmanager
def writing(url: str) -> Iterator[None]:
    """Keep one log while the lock of a store is held, and fold it into the record at the end."""
    key = _at(url)
    if key in _LOGS:
        yield
        return
    log = _LOGS[key] = _Log()
    try:
        if is_remote(url) or Path(url, NODE).is_dir():
            fold_logs(url, None)
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to report
                fold_logs(url, log)
            raise
        else:
            fold_logs(url, log)
    finally:
        del _LOGS[key]
        for text in log.set_aside:
            warnings.warn(text, stacklevel=4)


def fold_logs(url: str, log: _Log | None) -> None:
    """Fold the logs of a store into its record; the caller holds the lock.

    Keys written by a single finished writer are accepted from its log; others are read.
    """
    if not is_remote(url) and not Path(url, NODE).is_dir():
        return
    store = plain_store(url, read_only=False)
    sync(_fold(store, log))


def fold_now(url: str) -> None:
    """Fold the logs written so far into the record; this process holds the lock."""
    log = _LOGS.get(_at(url))
    if log is not None:
        fold_logs(url, log)


def note_as_it_is(url: str, chosen: Callable[[str], bool]) -> None:
    """Record the present content of chosen keys, also if they are missing."""
    log = _LOGS.get(_at(url))
    if log is not None:
        sync(_note_as_it_is(plain_store(url, read_only=False), log, chosen))


async def _note_as_it_is(store: Store, log: _Log, chosen: Callable[[str], bool]) -> None:
    record = await load_record(store)
    if not record.there:
        return
    keys = {key async for key in store.list_prefix("") if not key.startswith(f"{NODE}/")}
    wanted = sorted(filter(chosen, keys | set(record.accepted)))
    entries = {key: entry_of(key, content) async for key, content in get_many(store, wanted)}
    if entries:
        await log.note(store, entries)
        log.unsure -= set(entries)


async def _fold(store: Store, log: _Log | None) -> None:
    names = [name async for name in store.list_dir(NODE)]
    logs = sorted(name for name in names if name.startswith("log-"))
    if not logs:
        return
    if log is not None and log.store_id is not None:
        now = store_id_of(await get(store, "zarr.json"))
        if now != log.store_id:
            if now is not None:
                raise StoreError(
                    "this store was replaced by another one while it was being written"
                )
            return
    noted: dict[str, list[Entry]] = {}
    writers: dict[str, set[str]] = {}
    pending: set[str] = set()
    folded = []
    async for key, content in get_many(store, [f"{NODE}/{name}/zarr.json" for name in logs]):
        name = key.split("/")[1]
        attributes = entries_of(content, name)
        if attributes is None:
            continue  # a damaged log stays, to be reported by a check
        pending |= set(attributes["pending"])
        for at, candidates in attributes["entries"].items():
            known = noted.setdefault(at, [])
            known += [entry for entry in candidates if entry not in known]
            writers.setdefault(at, set()).add(name.rpartition("-")[0])
        folded.append(name)
    own = None if log is None else {log.name.rpartition("-")[0]}
    sure: dict[str, Entry] = {}
    if log is not None:
        sure = {
            key: log.all[key]
            for key in noted
            if writers[key] == own and key not in log.unsure and key in log.all
        }
    if await fold(store, noted, sure, pending):
        for name in folded:
            await store.delete_dir(f"{NODE}/{name}")

"""One writer at a time: who holds a store, on the local disk or in a bucket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import fsspec

from freqlab.chunks import REMOTE_OPTIONS, is_remote, reaching
from freqlab.errors import ParameterError, StoreError
from freqlab.private import file_mode, make_folder, make_private

__all__ = ["Lock", "check_place", "locked"]

BEAT = 10.0  # seconds between a remote writer's signs of life
SILENCE = 45.0  # a remote writer that gives none for so long is taken for dead


class Lock:
    """That this process may write to a store."""

    def check(self) -> None:
        """See that it still may: the system keeps locks of the local disk."""


class _RemoteLock(Lock):
    """An object beside the store that says who writes, rewritten every few seconds.

    Nothing rests on clocks that two machines would have to agree on: who waits watches whether
    the object changes.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._files, path = fsspec.core.url_to_fs(url, **REMOTE_OPTIONS)
        self._path = f"{path.rstrip('/')}.lock"
        self._writer = uuid.uuid4().hex
        self._beats = 0
        self._alive_at = time.time()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._show_life, daemon=True)

    def acquire(self) -> None:
        """Take the lock, from a writer that is dead if need be."""
        seen, since = None, time.monotonic()
        while not (self._create() and self._is_kept(seen is not None)):
            found = self._read()
            if found is None:
                continue  # released just now
            if seen is None or found["writer"] != seen["writer"]:
                seen, since = found, time.monotonic()
            elif found != seen:
                raise StoreError(
                    f"store {self._url!r} is being written by another run (process "
                    f"{found['process']} on {found['host']}); wait for it, or name another store"
                )
            elif time.monotonic() - since > SILENCE:
                self._files.rm_file(self._path)
                continue
            time.sleep(BEAT / 5)
        self._thread.start()

    def check(self) -> None:
        """See that nobody has taken over, if this process may have seemed dead.

        Raises
        ------
        StoreError
            If somebody has.
        """
        if time.time() - self._alive_at < SILENCE / 2:
            return
        found = self._read()
        if found is None or found["writer"] != self._writer:
            raise StoreError(
                f"store {self._url!r} was taken over by another run while this one was suspended "
                f"or cut off; nothing more is written. The same call goes on where that run ends"
            )
        self._alive_at = time.time()

    def release(self) -> None:
        """Let others write."""
        self._released.set()
        self._thread.join()
        with contextlib.suppress(Exception):  # whoever comes next finds no sign of life
            found = self._read()
            if found is not None and found["writer"] == self._writer:
                self._files.rm_file(self._path)

    def _content(self) -> bytes:
        about = {"host": socket.gethostname(), "process": os.getpid(), "beats": self._beats}
        return json.dumps({"writer": self._writer, **about}).encode()

    def _create(self) -> bool:
        """Put the object there, unless there is one."""
        if self._files.exists(self._path):  # also for servers that put it there in any case
            return False
        try:
            self._files.pipe_file(self._path, self._content(), mode="create")
        except OSError:
            if self._files.exists(self._path):
                return False
            raise
        return True

    def _is_kept(self, contested: bool) -> bool:
        """Whether the object is still ours after others may have removed it as the dead one's."""
        if not contested:
            return True
        time.sleep(BEAT / 5)
        found = self._read()
        return found is not None and found["writer"] == self._writer

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._files.cat_file(self._path))
        except FileNotFoundError:
            return None
        except ValueError:
            found = {}
        return {"writer": None, "process": "?", "host": "?", **found}

    def _show_life(self) -> None:
        while not self._released.wait(BEAT):
            with contextlib.suppress(Exception):  # out of reach for a while: tried again
                found = self._read()
                if found is None or found["writer"] != self._writer:
                    return  # taken over: check() finds that, too
                self._beats += 1
                self._files.pipe_file(self._path, self._content())
                self._alive_at = time.time()


def check_place(url: str | os.PathLike[str]) -> None:
    """Refuse places where a store is not and must not be made.

    Raises
    ------
    StoreError
        If a file is there, or a folder of something else.
    ParameterError
        If `url` is no path at all.
    """
    if not isinstance(url, (str, os.PathLike)):
        raise ParameterError(f"store={url!r} must be a path, such as 'runs/orl.zarr'")
    path = os.fspath(url)
    if not path or "\0" in path:
        raise ParameterError(f"store={path!r} must be a path, such as 'runs/orl.zarr'")
    if is_remote(path):
        return
    if Path(path).is_file():
        raise StoreError(f"store {path!r} is a file, not the folder of a freqlab run")
    if Path(path).is_dir():
        entries = {entry.name for entry in Path(path).iterdir()}
        if entries and "zarr.json" not in entries:
            raise StoreError(f"store {path!r} is a folder, but not of a freqlab run")


@contextlib.contextmanager
def locked(url: str | os.PathLike[str]) -> Iterator[Lock]:
    """Keep other processes from writing to a store.

    On the local disk the system releases the lock of a process that ends, however it ends. In a
    bucket a writer that is dead shows no life for 45 seconds; so long does the next one wait.
    Stores in the memory of this process are not locked.

    Raises
    ------
    StoreError
        If another process is writing to it, or it cannot be reached.
    """
    check_place(url)
    path = os.fspath(url)
    if path.startswith("memory://"):
        yield Lock()
    elif is_remote(path):
        with _remotely_locked(path) as lock:
            yield lock
    else:
        with _locally_locked(path):
            yield Lock()


@contextlib.contextmanager
def _locally_locked(path: str) -> Iterator[None]:
    with reaching(path):
        make_folder(Path(path).absolute().parent)
    place = f"{os.path.normpath(path)}.lock"
    lock = filelock.FileLock(place, timeout=0, mode=file_mode(Path(place).parent))
    try:
        lock.acquire()
        make_private(place)  # the umask may have taken the group's part
    except filelock.Timeout as error:
        raise StoreError(
            f"store {path!r} is being written by another run; wait for it, or name another store"
        ) from error
    except OSError as error:
        raise StoreError(f"store {path!r} cannot be locked: {error}") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _remotely_locked(url: str) -> Iterator[Lock]:
    with reaching(url):
        lock = _RemoteLock(url)
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()

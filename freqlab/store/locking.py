"""Locks for one writer at a time, on the local disk or in a bucket."""

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

from freqlab.errors import StoreError
from freqlab.store.chunks import REMOTE_OPTIONS, is_remote, place_of, reaching
from freqlab.store.digests import writing
from freqlab.store.lock_files import (
    BEAT,
    SILENCE,
    DiskLock,
    Holder,
    Lock,
    NoLocksHereError,
    about_this_process,
    content_of,
    has_signs_of_life,
    holder_of,
    is_held,
    lock_file_of,
    refusal,
    remove_lock_file,
    share_lock_file,
)
from freqlab.store.records import NODE
from freqlab.system.private import make_folder

__all__ = ["Holder", "Lock", "check_place", "locked", "unlock"]


class _BeatingLock(Lock):
    """An object beside the store that names the writer, rewritten every few seconds.

    For buckets, and for file systems that cannot lock files. It does not depend on synchronised
    clocks: a waiting process watches whether the object changes.

    Parameters
    ----------
    url
        Address of the store, as given.
    real
        Real path of the store.
    """

    def __init__(self, url: str, real: str) -> None:
        self._url, self._real = url, real
        self._files, path = fsspec.core.url_to_fs(real, **REMOTE_OPTIONS)
        self._path = f"{path.rstrip('/')}.lock"
        self._writer = uuid.uuid4().hex
        self._about = about_this_process()
        self._beats = 0
        self._alive_at = time.time()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._show_life, daemon=True)

    def acquire(self) -> None:
        """Take the lock, if necessary from a writer that is dead."""
        seen, since = None, time.monotonic()
        while not (self._create() and self._is_kept(seen is not None)):
            current = self._read()
            if current is None:
                continue  # released just now
            if seen is None or current["writer"] != seen["writer"]:
                seen, since = current, time.monotonic()
            elif current != seen:
                raise StoreError(refusal(self._url, holder_of(current)))
            elif time.monotonic() - since > SILENCE:
                self._files.rm_file(self._path)
                continue
            time.sleep(BEAT / 5)
        self._thread.start()

    def check(self) -> None:
        """Check that no process has taken over, if this one may have seemed dead.

        Raises
        ------
        StoreError
            If another process has.
        """
        if time.time() - self._alive_at < SILENCE / 2:
            return
        if not self._is_ours():
            time.sleep(BEAT / 50)  # on a disk it may be incomplete at that moment
        if not self._is_ours():
            raise StoreError(
                f"store {self._url!r} was taken over by another run while this one was suspended "
                f"or disconnected; this run writes nothing more. Repeat the call when the other "
                f"run has ended"
            )
        self._alive_at = time.time()

    def release(self) -> None:
        """Let others write."""
        self._released.set()
        self._thread.join()
        with contextlib.suppress(Exception):  # the next writer finds no sign of life
            current = self._read()
            if current is not None and current["writer"] == self._writer:
                self._files.rm_file(self._path)

    def _content(self) -> bytes:
        about = {"writer": self._writer, **self._about, "beats": self._beats}
        return json.dumps(about).encode()

    def _is_ours(self) -> bool:
        current = self._read()
        return current is not None and current["writer"] == self._writer

    def _create(self) -> bool:
        """Create the object, unless it exists."""
        if self._files.exists(self._path):  # also for servers that overwrite it in any case
            return False
        try:
            self._files.pipe_file(self._path, self._content(), mode="create")
        except OSError:
            if self._files.exists(self._path):
                return False
            raise
        if not is_remote(self._real):
            share_lock_file(self._path)
        return True

    def _is_kept(self, contested: bool) -> bool:
        """Whether the object is still ours, as others may have removed it as a dead writer's."""
        if not contested:
            return True
        time.sleep(BEAT / 5)
        return self._is_ours()

    def holder(self) -> Holder | None:
        """The holder of the lock; None if there is none."""
        current = self._read()
        return None if current is None else holder_of(current)

    def take_away(self, force: bool) -> None:
        """Remove the object of a writer that shows no sign of life, or with `force` of any.

        Raises
        ------
        StoreError
            If the writer shows signs of life.
        """
        first, until = self._read(), time.monotonic() + SILENCE
        while not force and time.monotonic() < until:
            time.sleep(BEAT / 5)
            if self._read() != first:
                raise StoreError(_alive(self._url, holder_of(first or {})))
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path)

    def _read(self) -> dict[str, Any] | None:
        try:
            content = json.loads(self._files.cat_file(self._path))
        except FileNotFoundError:
            return None
        except ValueError:
            content = {}
        return {"writer": None, **content}

    def _show_life(self) -> None:
        while not self._released.wait(BEAT):
            with contextlib.suppress(Exception):  # temporarily unreachable: tried again
                current = self._read()
                if current is None or current["writer"] != self._writer:
                    return  # taken over: check() finds that too
                self._beats += 1
                self._files.pipe_file(self._path, self._content())
                self._alive_at = time.time()


def check_place(url: str | os.PathLike[str]) -> None:
    """Refuse a place that has no store and where no store can be created.

    Raises
    ------
    StoreError
        If the place or a folder above it holds something else, or it cannot be reached.
    ParameterError
        If `url` is not a path.
    """
    path = place_of(url)
    if is_remote(path):
        return
    with reaching(path):
        place = Path(path)
        if place.is_file():
            raise StoreError(f"store {path!r} is a file, not the folder of a freqlab run")
        if place.is_dir():
            entries = {e.name for e in place.iterdir() if e.suffix != ".partial"}
            recorded = (place / NODE / "zarr.json").is_file()
            if entries and "zarr.json" not in entries and not recorded:
                raise StoreError(f"store {path!r} is a folder, but not of a freqlab run")
        above = next(parent for parent in place.absolute().parents if os.path.lexists(parent))
        if not above.is_dir():
            raise StoreError(f"store {path!r} cannot be in {str(above)!r}, which is not a folder")
        if os.path.lexists(path) and not place.is_dir():
            what = "a broken link" if place.is_symlink() else "a device or pipe"
            raise StoreError(
                f"store {path!r} is {what}; give a folder, or a path that does not exist yet"
            )


@contextlib.contextmanager
def locked(url: str | os.PathLike[str]) -> Iterator[Lock]:
    """Keep other processes from writing to a store.

    On a disk the system releases the lock of a process when it ends for any reason. In a bucket,
    and on a disk whose file system has no locks, a writer counts as dead after 45 seconds without
    a sign of life; the next one waits as long. Stores in the memory of this process are not
    locked.

    Raises
    ------
    StoreError
        If another process is writing to it, or it cannot be reached.
    """
    check_place(url)
    path = place_of(url)
    if path.startswith("memory://"):
        with writing(path):
            yield Lock()
        return
    lock = _acquired_in_bucket(path) if is_remote(path) else _acquired_on_disk(path)
    try:
        with writing(path):
            yield lock
    finally:
        lock.release()


def unlock(store: str | os.PathLike[str], *, force: bool = False) -> Holder | None:
    """Remove the lock that a run left on a store when its machine died.

    A run that is killed leaves no lock behind on its own machine. In a shared folder, a file
    server may keep the lock of a machine that is gone. The lock is watched for 45 seconds, in
    which a live run updates it.

    Parameters
    ----------
    store
        The run's Zarr group.
    force
        Whether to remove the lock of a live run too, which then stops before it writes again.

    Returns
    -------
    Holder or None
        User, host, process and time of the lock that was removed; None if there was none.

    Raises
    ------
    StoreError
        If the run that holds the lock is alive, or the lock file cannot be removed.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), store="run.zarr", **options)
    >>> fl.store.unlock("run.zarr") is None
    True
    """
    check_place(store)
    path = place_of(store)
    if path.startswith("memory://"):
        return None
    if not is_remote(path):
        return _unlock_on_disk(path, force)
    with reaching(path):
        lock = _BeatingLock(path, path)
        holder = lock.holder()
        if holder is not None:
            lock.take_away(force)
    return holder


def _unlock_on_disk(path: str, force: bool) -> Holder | None:
    file = lock_file_of(path)
    content: dict[str, Any] = {}
    with contextlib.suppress(OSError):  # a link, or a file that this user may not read
        if not os.path.lexists(file):
            return None
        content = content_of(file)
    holder = holder_of(content)
    if not force:
        is_locked = True  # unless the system reports otherwise
        with contextlib.suppress(OSError):
            is_locked = is_held(file)
        beats = "beats" in content
        here = holder.host in (socket.gethostname(), "?")
        if is_locked and here and not beats:
            raise StoreError(_alive(path, holder))
        if (is_locked or beats or not here) and has_signs_of_life(file, SILENCE):
            raise StoreError(_alive(path, holder))
    remove_lock_file(path, file)
    return holder


def _alive(store: str, holder: Holder) -> str:
    """Message that a lock is not removed because its holder is alive."""
    if holder.process == "?":
        return (
            f"store {store!r} is locked by an unknown process; `freqlab unlock {store} --force` "
            f"removes the lock anyway"
        )
    return (
        f"store {store!r} is being written by a run that is alive ({holder}); `freqlab unlock "
        f"{store} --force` removes its lock anyway, and that run then stops"
    )


def _acquired_on_disk(path: str) -> Any:
    with reaching(path):
        real = os.path.realpath(path)
        make_folder(Path(real).parent)
    lock: Any = DiskLock(path)
    try:
        lock.acquire()
    except NoLocksHereError:
        if os.name == "nt":
            return _acquired_by_library(path, f"{real}.lock")
        with reaching(path):
            lock = _BeatingLock(path, real)
            lock.acquire()
    return lock


def _acquired_by_library(path: str, file: str) -> Any:
    lock = filelock.FileLock(file, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise StoreError(refusal(path, holder_of({}))) from error
    wrapper: Any = Lock()
    wrapper.release = lock.release
    return wrapper


def _acquired_in_bucket(url: str) -> _BeatingLock:
    with reaching(url):
        lock = _BeatingLock(url, url)
        lock.acquire()
    return lock

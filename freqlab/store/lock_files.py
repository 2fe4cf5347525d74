"""The lock file beside a store on a disk: it names the writer, and the system locks it.

The file is beside the real path of the store, so that links and relative paths lead to one lock.
The folder of the store is locked too, which also covers other mounts of the same folder. The file
is removed when the lock is released; a file left by a writer that was killed blocks no process.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import socket
import stat
import threading
import time
import uuid
from typing import Any, NamedTuple

from freqlab.errors import StoreError
from freqlab.system.private import file_mode

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "BEAT",
    "SILENCE",
    "DiskLock",
    "Holder",
    "Lock",
    "NoLocksHereError",
    "about_this_process",
    "content_of",
    "has_signs_of_life",
    "holder_of",
    "is_held",
    "lock_file_of",
    "refusal",
    "remove_lock_file",
    "share_lock_file",
]

BEAT = 10.0  # seconds between a writer's signs of life
SILENCE = 45.0  # seconds without a sign of life after which a writer is considered dead

_LOCKED = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_TRIES = 50  # attempts to lock a file that is not replaced meanwhile
_LONGEST = 4096  # upper bound on the bytes read from a lock file


class Lock:
    """Permission of this process to write to a store."""

    def check(self) -> None:
        """Check that the permission still holds."""


class NoLocksHereError(Exception):
    """The file system cannot lock files."""


class Holder(NamedTuple):
    """Present or former holder of a lock."""

    user: str
    host: str
    process: str
    since: str
    """When the lock was taken, in UTC; by the clock of its host."""

    def __str__(self) -> str:
        if self.process == "?":
            return "unknown process"
        rest = f", user {self.user}" if self.user != "?" else ""
        return f"process {self.process} on {self.host}{rest}" + (
            f", since {self.since}" if self.since != "?" else ""
        )


class DiskLock(Lock):
    """A file beside the store, locked by the system for as long as this process lives.

    Parameters
    ----------
    path
        Path of the store.
    """

    def __init__(self, path: str) -> None:
        self._store = path
        self._real = os.path.realpath(path)
        self._path = lock_file_of(path)
        self._writer = uuid.uuid4().hex
        self._fd = self._folder = -1
        self._signed = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._show_life, daemon=True)

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        StoreError
            If another process holds it, or the file cannot be opened.
        NoLocksHereError
            If the file system has no locks; nothing is left behind then.
        """
        if fcntl is None:
            raise NoLocksHereError
        for _ in range(_TRIES):
            if self._try():
                break
            time.sleep(0.02)  # released just now, or a file that a server has replaced
        else:
            raise StoreError(
                f"store {self._store!r} cannot be locked: its lock file {self._path!r} is replaced "
                f"again and again"
            )
        try:
            self._lock_folder()
        except StoreError:
            self.release()
            raise
        self._thread.start()

    def check(self) -> None:
        """Check that no process has removed the lock.

        Raises
        ------
        StoreError
            If it was removed.
        """
        if self._is_in_place():
            return
        raise StoreError(
            f"the lock of store {self._store!r} was removed (`freqlab unlock`, or its file was "
            f"deleted); this run writes nothing more. Repeat the call to resume"
        )

    def release(self) -> None:
        """Release the lock."""
        self._released.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._fd >= 0 and self._is_in_place():
            with contextlib.suppress(OSError):  # the next writer finds it unlocked
                os.unlink(self._path)
        for fd in (self._fd, self._folder):
            if fd >= 0:
                os.close(fd)
        self._fd = self._folder = -1

    def _try(self) -> bool:
        """Open the file and lock it; return False if it was replaced in the meantime."""
        fd, writable, created = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = holder_of(_read(fd))
            os.close(fd)
            if error.errno == errno.ESTALE:
                return False
            if error.errno in _LOCKED:
                raise StoreError(refusal(self._store, holder)) from error
            if error.errno in _NO_LOCKS:
                if created:
                    with contextlib.suppress(OSError):
                        os.unlink(self._path)
                raise NoLocksHereError from error
            raise StoreError(_unusable(self._store, self._path, error)) from error
        content = _read(fd)
        if "beats" in content:  # the file of a writer without locks of the file system
            os.close(fd)
            raise NoLocksHereError
        if _is_elsewhere(content) and has_signs_of_life(self._path, SILENCE):
            os.close(fd)  # locks of this file system do not reach from machine to machine
            raise StoreError(refusal(self._store, holder_of(content)))
        if not writable:  # left by a dead writer: replace it by a file that names this one
            with contextlib.suppress(OSError):
                os.unlink(self._path)
                os.close(fd)
                return False
        self._fd, self._signed = fd, False
        if writable:
            about = json.dumps({"writer": self._writer, **about_this_process()}).encode()
            with contextlib.suppress(OSError):  # a full disk: the lock holds, without a name
                os.ftruncate(fd, 0)
                self._signed = os.pwrite(fd, about, 0) == len(about)
        if self._is_in_place():
            return True
        os.close(fd)
        self._fd = -1
        return False

    def _open(self) -> tuple[int, bool, bool]:
        """The lock file, whether it is writable, and whether it was created just now."""
        flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        attempts = [
            (os.O_RDWR | flags, False),
            (os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, True),
            (os.O_RDONLY | flags, False),
        ]
        last: OSError | None = None
        for how, creates in attempts:
            try:
                fd = os.open(self._path, how, 0o600)
            except (FileNotFoundError, FileExistsError, PermissionError) as error:
                # if the file does not exist, keep the reason of the second attempt
                last = error if last is None or not isinstance(error, FileNotFoundError) else last
                continue
            except OSError as error:
                raise StoreError(_unusable(self._store, self._path, error)) from error
            try:
                _check_plain(self._store, self._path, fd)
                if creates:
                    share_lock_file(self._path, fd)
            except BaseException:
                os.close(fd)
                raise
            return fd, how & os.O_RDWR != 0, creates
        assert last is not None
        raise StoreError(_unusable(self._store, self._path, last)) from last

    def _lock_folder(self) -> None:
        """Lock the folder of the store too, if it exists and the file system supports locks."""
        try:
            self._folder = os.open(self._real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if self._folder >= 0 and error.errno in _LOCKED:
                raise StoreError(
                    f"store {self._store!r} is being written by another run under another path; "
                    f"wait for it, or use another store"
                ) from error

    def _is_in_place(self) -> bool:
        """Whether the locked file is still the one at its path."""
        try:
            if self._signed:
                return content_of(self._path).get("writer") == self._writer
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path, follow_symlinks=False))
        except FileNotFoundError:
            return False
        except OSError:  # not reachable for the moment: writing will raise an error itself
            return True

    def _show_life(self) -> None:
        while not self._released.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._fd)


def lock_file_of(path: str) -> str:
    """Path of the lock file of a store on a disk."""
    return f"{os.path.realpath(path)}.lock"


def about_this_process() -> dict[str, Any]:
    """Content of a lock that describes this process."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "user": _user(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": f"{now:%Y-%m-%d %H:%M} UTC",
    }


def holder_of(content: dict[str, Any]) -> Holder:
    """Holder of a lock according to its content."""
    return Holder(*(str(content.get(name, "?"))[:200] for name in Holder._fields))


def content_of(path: str) -> dict[str, Any]:
    """Content of a lock file; empty if the file is empty, as other versions leave it.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _read(fd)
    finally:
        os.close(fd)


def refusal(store: str, holder: Holder) -> str:
    """Message that another run is writing, with its holder."""
    text = f"store {store!r} is being written by another run"
    if holder.process != "?":
        text += f" ({holder})"
    text += "; wait for it, or use another store"
    if holder.host != socket.gethostname():
        text += (
            f". If that run is dead, for example because its machine went down, `freqlab unlock "
            f"{store}` removes its lock"
        )
    return text


def is_held(path: str) -> bool:
    """Whether a process holds a lock file according to the system.

    Raises
    ------
    OSError
        If the file cannot be opened, or the system cannot report locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no locks")
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKED:
            return True
        raise
    finally:
        os.close(fd)
    return False


def has_signs_of_life(path: str, seconds: float) -> bool:
    """Watch for at most `seconds` whether the holder of a lock file updates it.

    No clocks are compared. The file is opened each time, so that a network file system reads it
    again.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """

    def seen() -> tuple[int, bytes]:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.fstat(fd).st_mtime_ns, os.read(fd, _LONGEST)
        finally:
            os.close(fd)

    first, until = seen(), time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(BEAT / 5)
        try:
            if seen() != first:
                return True
        except FileNotFoundError:
            return False  # released just now
    return False


def remove_lock_file(store: str, path: str) -> None:
    """Remove a lock file.

    Raises
    ------
    StoreError
        If that is not permitted.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(
            f"store {store!r}: its lock file {path!r}, which belongs to {_owner(path)}, cannot be "
            f"removed: {error.strerror}"
        ) from error


def share_lock_file(path: str, fd: int | None = None) -> None:
    """Let users who may write to the folder read the lock file; otherwise it stays private."""
    with contextlib.suppress(OSError):
        folder = os.path.dirname(path)
        of_a_group = os.stat(folder).st_mode & stat.S_IWGRP
        mode = file_mode(folder) | (0o664 if of_a_group else 0)
        own = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) if fd is None else fd
        try:
            os.fchmod(own, mode)
        finally:
            if fd is None:
                os.close(own)


def _read(fd: int) -> dict[str, Any]:
    try:
        content = json.loads(os.pread(fd, _LONGEST, 0))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_elsewhere(content: dict[str, Any]) -> bool:
    """Whether the present or former holder is a process of another machine."""
    return content.get("host", socket.gethostname()) != socket.gethostname()


def _user() -> str:
    """Name of the user, or the user id if there is no name, as in a container."""
    if not hasattr(os, "getuid"):
        return os.environ.get("USERNAME", "?")
    return _name_of(os.getuid())


def _name_of(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _owner(path: str) -> str:
    try:
        return f"user {_name_of(os.lstat(path).st_uid)}"
    except OSError:
        return "somebody else"


def _check_plain(store: str, path: str, fd: int) -> None:
    """Refuse a lock file that is a link to another file."""
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        what = "has another hard link" if stat.S_ISREG(about.st_mode) else "is not a regular file"
        raise StoreError(
            f"store {store!r} cannot be locked: {path!r}, where its lock file belongs, {what}; "
            f"nothing was written to it. Remove it if no run is writing"
        )


def _unusable(store: str, path: str, error: OSError) -> str:
    """Message with the reason why a lock file cannot be used."""
    if error.errno == errno.ELOOP or os.path.islink(path):
        return (
            f"store {store!r} cannot be locked: {path!r}, where its lock file belongs, is a link; "
            f"nothing was written to its target. Remove it if no run is writing"
        )
    if os.path.isdir(path):
        return (
            f"store {store!r} cannot be locked: {path!r}, where its lock file belongs, is a folder"
        )
    if os.path.lexists(path):
        return (
            f"store {store!r} cannot be locked: its lock file {path!r} belongs to {_owner(path)} "
            f"and cannot be used by {_user()} ({error.strerror}). If no run is writing, remove it "
            f"with `freqlab unlock {store}` if you have permission, or ask the owner to"
        )
    return f"store {store!r} cannot be written: {error.strerror}, for its lock file {path!r}"

"""Files that only their owner can read, because freqlab writes data that describe people.

A new folder has mode 0700 and a new file 0600, whatever the umask. A folder whose group ID is
inherited (``chmod g+s``) is treated as shared by a group: files and folders made in it get that
folder's group permissions, and folders pass them on. The umask is left unchanged, because it
belongs to the whole process and thus affects other threads.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

__all__ = ["PrivateStore", "file_mode", "make_folder", "make_private", "written_whole"]


class PrivateStore(LocalStore):
    """A Zarr store in a folder, with private files and folders.

    The root is closed to others before anything is written.
    """

    async def _open(self, **options: Any) -> None:
        if not self.read_only:
            make_folder(self.root)
        await super()._open(**options)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a key."""
        self._ensure_open_sync()
        self._make_room(key)
        super().set_sync(key, value)
        make_private(self.root / key)

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        if not self._is_open:
            await self._open()
        self._make_room(key)
        await super()._set(key, value, exclusive=exclusive)
        make_private(self.root / key)

    def _ensure_open_sync(self) -> None:
        if not (self._is_open or self.read_only):
            make_folder(self.root)
        super()._ensure_open_sync()

    def _make_room(self, key: str) -> None:
        self._check_writable()
        make_folder((self.root / key).parent)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and its parents where they do not exist; existing folders stay unchanged."""
    folder = Path(path)
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):  # another process has just made it
        folder.mkdir(mode=0o700)
        shared = _shared(folder.parent)
        if shared:
            folder.chmod(0o700 | shared | stat.S_ISGID)
        return
    if not folder.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(folder))


def make_private(path: str | os.PathLike[str]) -> None:
    """Set the mode of a file that this user owns; files of others stay unchanged."""
    with contextlib.suppress(PermissionError):
        os.chmod(path, file_mode(Path(path).parent))


def file_mode(folder: str | os.PathLike[str]) -> int:
    """Return the mode of a new file in a folder."""
    return 0o600 | (_shared(Path(folder)) & 0o060)


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a private file under a temporary name; it appears under `path` only when complete.

    The folder must exist.
    """
    place = Path(path)
    number, name = tempfile.mkstemp(
        dir=place.parent, prefix=f".{place.name[:80]}.", suffix=".partial"
    )
    partial = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
        make_private(partial)
        os.replace(partial, place)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _shared(folder: Path) -> int:
    """Group permissions of a folder that a group shares; none for any other folder."""
    with contextlib.suppress(OSError):
        mode = folder.stat().st_mode
        if mode & stat.S_ISGID:
            return mode & 0o070
    return 0

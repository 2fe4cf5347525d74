"""Access to a store through Zarr: open it at any place, write chunks with checksums, read them."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from fsspec.implementations.local import LocalFileSystem
from zarr import AsyncArray
from zarr.abc.store import ByteRequest
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.errors import ZarrUserWarning
from zarr.storage import WrapperStore

from freqlab.errors import FreqlabError, ParameterError, StoreError
from freqlab.store.digests import TidyStore, recording
from freqlab.store.places import REMOTE_OPTIONS, is_remote, plain_store

__all__ = [
    "ALL_CHUNKS",
    "REMOTE_OPTIONS",
    "RESUMABLE",
    "arrays_of",
    "child_names",
    "chunk_block",
    "compressors",
    "copy_folder",
    "create_root",
    "disk_faults",
    "empty_from",
    "groups_of",
    "has_consolidated",
    "holds_files",
    "is_remote",
    "longer",
    "members_of",
    "nothing_else_named",
    "open_root",
    "open_root_if_there",
    "opened",
    "place_of",
    "reaching",
    "read",
    "reading",
    "remove_folder",
    "remove_key",
    "rows_without_chunk",
    "stored_chunks",
]

ALL_CHUNKS: ArrayConfigParams = {"write_empty_chunks": True}
"""Option for arrays opened for writing; a missing chunk then always means lost data."""

RESUMABLE = (
    "Finished blocks are kept, and no unfinished block is marked as done; once the cause is "
    "removed, repeat the call to resume"
)
"""End of a message about a store that cannot be written at the moment."""

_CONSOLIDATED = b"consolidated_metadata"
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE)
_OF_REACH = (errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE)


def place_of(url: object) -> str:
    """Return the path of a store in a folder, also if given as ``file://``; else its address.

    Raises
    ------
    ParameterError
        If `url` is neither a path nor an address.
    """
    path = os.fspath(url) if isinstance(url, (str, os.PathLike)) else None
    if isinstance(path, str) and "\0" in path:
        raise ParameterError(f"store={path!r}: a path must not contain a NUL character")
    if not isinstance(path, str) or not path.strip():
        raise ParameterError(f"store={url!r} must be a path, such as 'runs/orl.zarr'")
    if not isinstance(url, str) and re.match(r"[a-z][a-z0-9]+:/[^/]", path):
        raise ParameterError(
            f"store={path!r} is a URL that lost a slash by conversion to a path; give it as text"
        )
    if path.startswith(("file:", "local:")):
        return str(LocalFileSystem._strip_protocol(path))
    return path


def open_root(url: str | os.PathLike[str], mode: Literal["r", "r+", "a"] = "r") -> zarr.Group:
    """Open the Zarr group of a run at a path or an address.

    Parameters
    ----------
    url
        Path, or any address of fsspec (``memory://name``, ``s3://bucket/name``).
    mode
        ``"r"`` to read, ``"r+"`` to write to an existing group, ``"a"`` to create a missing one.

    Raises
    ------
    StoreError
        If there is no group (its cause is then a FileNotFoundError), it cannot be read, or the
        package that is needed for its address is not installed.
    """
    place = place_of(url)
    with reaching(place):
        if not is_remote(place) and mode != "a" and not Path(place).is_dir():
            raise StoreError(f"run {place!r}: no such folder") from FileNotFoundError(place)
        plain = _AsItLies(plain_store(place, read_only=mode == "r"))
        store = TidyStore(plain) if mode == "r" else recording(plain, place)
        return zarr.open_group(store, mode=mode, zarr_format=3)


def open_root_if_there(
    url: str | os.PathLike[str], mode: Literal["r", "r+"] = "r"
) -> zarr.Group | None:
    """Open the Zarr group of a run as :func:`open_root` does; None if it does not exist yet."""
    try:
        return open_root(url, mode)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def create_root(url: str | os.PathLike[str], attributes: dict[str, Any]) -> zarr.Group:
    """Create the Zarr group of a run, in one write.

    Raises
    ------
    StoreError
        As :func:`open_root`.
    """
    place = place_of(url)
    with reaching(place):
        store = recording(_AsItLies(plain_store(place, read_only=False)), place)
        return zarr.create_group(store, zarr_format=3, attributes=attributes)


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn errors of a file system into a message that names the store and the reason.

    Raises
    ------
    StoreError
        Instead of any error of the file system.
    """
    try:
        yield
    except FreqlabError:
        raise
    except (OSError, ValueError) as error:
        raise StoreError(f"store {url!r} cannot be opened: {_why(error, url)}") from error
    except ImportError as error:
        package = "'freqlab[s3]'" if url.startswith(("s3://", "s3a://")) else "that package"
        raise StoreError(
            f"store {url!r} needs a package that is not installed here ({error}): "
            f"pip install {package}"
        ) from error
    except Exception as error:  # each file system raises different errors
        if not is_remote(url):
            raise
        raise StoreError(
            f"store {url!r} cannot be reached ({type(error).__name__}): {error}"
        ) from error


def _why(error: Exception, url: str) -> str:
    """Message of a file system without the path, which is named already."""
    if not isinstance(error, OSError) or not error.strerror or is_remote(url):
        return str(error)
    elsewhere = error.filename not in (None, url)
    return f"{error.strerror} ({error.filename})" if elsewhere else error.strerror


@contextlib.contextmanager
def disk_faults(url: str) -> Iterator[None]:
    """Turn an error of a full or failing disk into one that names the store; nothing is lost.

    Raises
    ------
    StoreError
        Instead of such an OSError. Others, such as those of a user's own network, pass.
    """
    try:
        yield
    except OSError as error:
        within = str(error.filename or "").startswith(url)
        if isinstance(error, StoreError) or not (within or error.errno in _OF_DISKS):
            raise
        raise StoreError(
            f"store {url!r} cannot be written: {error.strerror or error}. {RESUMABLE}"
        ) from error


def compressors(packed: bool) -> tuple[Any, ...]:
    """Codecs of a new array: compressed or not, with a CRC-32C of the stored bytes."""
    return (ZstdCodec(), Crc32cCodec()) if packed else (Crc32cCodec(),)


def opened(node: zarr.Group, name: str) -> zarr.Array[Any]:
    """Open an array of a node for reading or writing.

    Raises
    ------
    StoreError
        If it is not an array, or its description is damaged.
    """
    with reading(f"{node.path}/{name}"):
        array = node[name]
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{node.path}/{name} is not an array")
    return array.with_config(ALL_CHUNKS)


def read(array: zarr.Array[Any], selection: Any = slice(None)) -> npt.NDArray[Any]:
    """Read from an array, text as objects.

    Raises
    ------
    StoreError
        If a chunk is damaged.
    """
    with reading(array.path):
        values = np.asarray(array[selection])
    return values.astype(object) if values.dtype.kind == "T" else values


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn errors of decoders into a message that names the damage and a remedy.

    Raises
    ------
    StoreError
        Instead of any error that a decoder raises for a damaged chunk.
    """
    try:
        yield
    except (FreqlabError, MemoryError):
        raise
    except OSError as error:
        if error.errno not in _OF_REACH:
            raise StoreError(_damaged(path, error)) from error
        raise StoreError(f"{path!r} in the store cannot be read: {error.strerror}") from error
    except Exception as error:  # each codec raises different errors
        raise StoreError(_damaged(path, error)) from error


def _damaged(path: str, error: Exception) -> str:
    return (
        f"{path!r} in the store is damaged ({error}): `freqlab info --verify` lists all damage, "
        f"`freqlab run --repair` and fl.influence(..., repair=True) compute it again"
    )


def stored_chunks(array: zarr.Array[Any]) -> set[str]:
    """Keys of the stored chunks, relative to the array."""
    prefix = f"{array.path}/" if array.path else ""
    keys = sync(_collect(array.store.list_prefix(prefix)))
    return {key.removeprefix(prefix) for key in keys}


def chunk_block(key: str) -> int | None:
    """Index along the first axis of a chunk with this key relative to its array."""
    parts = key.split("/")
    return int(parts[1]) if len(parts) > 1 and parts[0] == "c" and parts[1].isdigit() else None


def child_names(store: Any, path: str) -> list[str]:
    """Names below a path of a Zarr store, whether or not they are nodes."""
    plain = store
    while isinstance(plain, WrapperStore):
        plain = plain._store
    return sorted(sync(_collect(plain.list_dir(path))))


def members_of(group: zarr.Group) -> dict[str, zarr.Group | zarr.Array[Any]]:
    """Groups and arrays in a group, by name in order; anything else is left out."""
    with nothing_else_named(), reading(group.path or "the run itself"):
        return dict(sorted(group.members()))


@contextlib.contextmanager
def nothing_else_named() -> Iterator[None]:
    """List a group without a warning for each file that is not a member of it.

    A writer that was killed may leave such files: incomplete ones, or single ones of a new node.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized", ZarrUserWarning)
        yield


def groups_of(group: zarr.Group) -> dict[str, zarr.Group]:
    """Groups in a group, by name."""
    return {n: node for n, node in members_of(group).items() if isinstance(node, zarr.Group)}


def arrays_of(group: zarr.Group) -> dict[str, zarr.Array[Any]]:
    """Arrays in a group, by name."""
    return {n: node for n, node in members_of(group).items() if isinstance(node, zarr.Array)}


def remove_key(store: Any, key: str) -> None:
    """Remove one key of a Zarr store, if it is there."""
    sync(store.delete(key))


def remove_folder(store: Any, path: str) -> None:
    """Remove all keys of a Zarr store below a path."""
    sync(store.delete_dir(path))


def copy_folder(store: Any, source: str, target: str) -> None:
    """Copy all keys of a Zarr store below one path to another, unchanged."""
    for key in sorted(sync(_collect(store.list_prefix(f"{source}/")))):
        if not key.endswith(".partial"):
            content = sync(store.get(key, default_buffer_prototype()))
            sync(store.set(target + key.removeprefix(source), content))


def holds_files(store: Any, path: str) -> bool:
    """Whether a Zarr store holds any key below a path; an empty folder does not count."""
    keys = sync(_collect(store.list_prefix(f"{path}/")))
    return any(not key.endswith(".partial") for key in keys)


def longer(array: zarr.Array[Any], shape: tuple[int, ...]) -> zarr.Array[Any]:
    """An array handle with another shape; the stored description is not changed yet."""
    metadata: Any = array.metadata.update_shape(shape)
    return zarr.Array(AsyncArray(metadata, array.store_path, array.config))


def rows_without_chunk(
    array: zarr.Array[Any], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Rows whose chunk does not exist."""
    blocks = np.unique(rows // array.chunks[0])
    if not len(blocks):
        return blocks
    there = stored_chunks(array)
    grid = [range(-(-n // size)) for n, size in zip(array.shape[1:], array.chunks[1:], strict=True)]
    lost = [
        block
        for block in blocks.tolist()
        if any(
            array.metadata.encode_chunk_key((block, *rest)) not in there
            for rest in itertools.product(*grid)
        )
    ]
    return rows[np.isin(rows // array.chunks[0], lost)]


def empty_from(array: zarr.Array[Any], first: int, n_rows: int) -> None:
    """Clear the chunks of an array behind its last row, before rows are added."""
    block = array.chunks[0]
    there = {key: chunk_block(key) for key in stored_chunks(array)}
    for key, at in there.items():
        if at is not None and at >= -(-first // block):
            remove_key(array.store, f"{array.path}/{key}")
    stop = min(-(-first // block) * block, n_rows)
    if first < stop and first // block in there.values():
        longer(array, (n_rows, *array.shape[1:]))[first:stop] = array.fill_value


class _AsItLies(WrapperStore[Any]):
    """A store without consolidated metadata.

    Other programs may have consolidated the metadata, which would hide nodes added since.
    """

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await super().get(key, prototype, byte_range)
        if value is None or byte_range is not None or not key.endswith("zarr.json"):
            return value
        text = value.to_bytes()
        if _CONSOLIDATED not in text:
            return value
        document = json.loads(text)
        document.pop(_CONSOLIDATED.decode(), None)
        return prototype.buffer.from_bytes(json.dumps(document).encode())


def has_consolidated(root: zarr.Group) -> bool:
    """Whether the metadata of a run were consolidated; they become stale as it grows."""
    inner: Any = root.store
    while isinstance(inner, WrapperStore):
        inner = inner._store
    content = sync(inner.get(f"{root.path}/zarr.json".lstrip("/"), default_buffer_prototype()))
    return content is not None and _CONSOLIDATED in content.to_bytes()


async def _collect(keys: AsyncIterator[str]) -> list[str]:
    return [key async for key in keys]

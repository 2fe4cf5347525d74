"""A store as Zarr sees it: opened wherever it lies, its chunks written with checksums and read."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.core.sync import sync

from freqlab.errors import FreqlabError, StoreError
from freqlab.private import PrivateStore

__all__ = [
    "ALL_CHUNKS",
    "REMOTE_OPTIONS",
    "child_names",
    "compressors",
    "disk_faults",
    "has_checksums",
    "is_remote",
    "open_root",
    "open_root_if_there",
    "opened",
    "reaching",
    "read",
    "reading",
    "remove_folder",
    "remove_key",
    "rows_without_chunk",
    "stored_chunks",
]

ALL_CHUNKS: ArrayConfigParams = {"write_empty_chunks": True}
"""How arrays are opened for writing: a chunk that is not there is then always a loss."""

REMOTE_OPTIONS = {"use_listings_cache": False}
"""For fsspec: what another process writes must be seen at once."""

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def is_remote(url: str) -> bool:
    """Whether a store lies elsewhere than in a folder: what fsspec reaches."""
    return "://" in url


def open_root(url: str | os.PathLike[str], mode: Literal["r", "r+", "a"] = "r") -> zarr.Group:
    """Open the Zarr group of a run, wherever it lies.

    Parameters
    ----------
    url
        Path, or anything fsspec reaches (``memory://name``, ``s3://bucket/name``).
    mode
        ``"r"`` to read, ``"r+"`` to write what exists, ``"a"`` to create what does not.

    Raises
    ------
    StoreError
        If nothing is there (its cause is then a FileNotFoundError), it cannot be read, or the
        package that reaches it is not installed.
    """
    place = os.fspath(url)
    options = REMOTE_OPTIONS if is_remote(place) else None
    if options is None and mode != "a" and not Path(place).is_dir():
        raise StoreError(f"run {place!r}: no such folder") from FileNotFoundError(place)
    with reaching(place):
        if options is None:
            store = PrivateStore(place, read_only=mode == "r")
            return zarr.open_group(store, mode=mode, zarr_format=3)
        return zarr.open_group(place, mode=mode, zarr_format=3, storage_options=options)


def open_root_if_there(
    url: str | os.PathLike[str], mode: Literal["r", "r+"] = "r"
) -> zarr.Group | None:
    """Open the Zarr group of a run as :func:`open_root` does; None if nothing is there yet."""
    try:
        return open_root(url, mode)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Say which store it is that cannot be reached, and why.

    Raises
    ------
    StoreError
        In the place of whatever the file system raises.
    """
    try:
        yield
    except FreqlabError:
        raise
    except (OSError, ValueError) as error:
        raise StoreError(f"store {url!r} cannot be opened: {error}") from error
    except ImportError as error:
        package = "'freqlab[s3]'" if url.startswith(("s3://", "s3a://")) else "what it names"
        raise StoreError(
            f"store {url!r} needs a package that is not installed here ({error}): "
            f"pip install {package}"
        ) from error
    except Exception as error:  # each file system raises errors of its own
        if not is_remote(url):
            raise
        raise StoreError(
            f"store {url!r} cannot be reached ({type(error).__name__}): {error}"
        ) from error


@contextlib.contextmanager
def disk_faults(url: str) -> Iterator[None]:
    """Say of a disk that is full, or refuses, which store it was and that nothing is lost.

    Raises
    ------
    StoreError
        In the place of such an OSError. Others, say of a user's own network, pass.
    """
    try:
        yield
    except OSError as error:
        within = str(error.filename or "").startswith(url)
        if isinstance(error, StoreError) or not (within or error.errno in _OF_DISKS):
            raise
        raise StoreError(
            f"store {url!r} cannot be written: {error.strerror or error}. What was done is kept, "
            f"and nothing counts as done that is not; once that is settled, the same call goes on"
        ) from error


def compressors(packed: bool) -> tuple[Any, ...]:
    """The codecs of a new array: packed or not, a CRC-32C over what is stored."""
    return (ZstdCodec(), Crc32cCodec()) if packed else (Crc32cCodec(),)


def has_checksums(array: zarr.Array[Any]) -> bool:
    """Whether the chunks of an array carry checksums; those of older stores do not."""
    return any(isinstance(codec, Crc32cCodec) for codec in array.compressors)


def opened(node: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a node, to be read or written.

    Raises
    ------
    StoreError
        If it is no array, or its description is damaged.
    """
    with reading(f"{node.path}/{name}"):
        array = node[name]
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{node.path}/{name} is not an array")
    return array.with_config(ALL_CHUNKS)


def read(array: zarr.Array[Any], selection: Any = slice(None)) -> npt.NDArray[Any]:
    """Read from an array; text as objects.

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
    """Say what is damaged, and what to do about it.

    Raises
    ------
    StoreError
        In the place of whatever a damaged chunk makes its decoder raise.
    """
    try:
        yield
    except (FreqlabError, MemoryError):
        raise
    except Exception as error:  # each codec raises an error of its own
        raise StoreError(
            f"{path!r} in the store is damaged ({error}): `freqlab info --verify` lists what is, "
            f"`freqlab run --repair` and fl.influence(..., repair=True) compute it again"
        ) from error


def stored_chunks(array: zarr.Array[Any]) -> set[str]:
    """Keys of the chunks that are there, below the array."""
    prefix = f"{array.path}/" if array.path else ""
    keys = sync(_collect(array.store.list_prefix(prefix)))
    return {key.removeprefix(prefix) for key in keys}


def child_names(store: Any, path: str) -> list[str]:
    """Names below a path of a Zarr store, whether or not they are nodes."""
    return sorted(sync(_collect(store.list_dir(path))))


def remove_key(store: Any, key: str) -> None:
    """Remove one key of a Zarr store, if it is there."""
    sync(store.delete(key))


def remove_folder(store: Any, path: str) -> None:
    """Remove all of a Zarr store below a path."""
    sync(store.delete_dir(path))


def rows_without_chunk(
    array: zarr.Array[Any], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Those of some rows of which a chunk is not there."""
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


async def _collect(keys: AsyncIterator[str]) -> list[str]:
    return [key async for key in keys]

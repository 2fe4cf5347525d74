"""The place of a store, and its plain Zarr store."""

from __future__ import annotations

from typing import Any

from zarr.abc.store import Store
from zarr.storage import FsspecStore

from freqlab.system.private import PrivateStore

__all__ = ["REMOTE_OPTIONS", "is_remote", "plain_store"]

REMOTE_OPTIONS: dict[str, Any] = {"use_listings_cache": False}
"""Options for fsspec: listings are not cached, so that writes of other processes are visible."""


def is_remote(url: str) -> bool:
    """Whether a store is at an address of fsspec instead of in a folder."""
    return "://" in url


def plain_store(url: str, *, read_only: bool) -> Store:
    """The Zarr store of a place, which only reads and writes keys.

    Files that it writes on a disk are readable by their owner only (:mod:`freqlab.system.private`).

    Raises
    ------
    OSError, ValueError, ImportError
        If the place cannot be reached.
    """
    if is_remote(url):
        return FsspecStore.from_url(url, storage_options=REMOTE_OPTIONS, read_only=read_only)
    return PrivateStore(url, read_only=read_only)

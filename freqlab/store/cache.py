"""Results of long computations, kept in the store of a run under a digest of their inputs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from freqlab import __version__
from freqlab.store import journal
from freqlab.store.chunks import ALL_CHUNKS, arrays_of, compressors, disk_faults, open_root, read
from freqlab.store.forgetting import settle
from freqlab.store.locking import locked

__all__ = ["Arrays", "digest_of", "kept"]

Arrays = dict[str, npt.NDArray[Any]]


def digest_of(*arrays: npt.NDArray[Any]) -> str:
    """A short digest of the content of arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def kept(
    store: str, kind: str, about: Mapping[str, Any], compute: Callable[[], Arrays]
) -> tuple[Arrays, float, bool]:
    """Take arrays from the store, or compute and keep them.

    Parameters
    ----------
    store
        Zarr group of a run.
    kind
        Kind of the arrays; they are kept under ``/saliency/<kind>-<digest>``.
    about
        Everything that they depend on, as JSON values.
    compute
        Computes the arrays by name, numbers only.

    Returns
    -------
    arrays : dict
        Arrays by name.
    seconds : float
        Time that their computation took, in this call or the earlier one.
    known : bool
        Whether they were in the store.
    """
    text = json.dumps({"kind": kind, "version": __version__, **about}, sort_keys=True)
    path = f"saliency/{kind}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
    root = open_root(store)
    group = root.get(path)
    known = isinstance(group, zarr.Group) and journal.counts(root, path)
    if isinstance(group, zarr.Group) and known and group.attrs.get("about") == text:
        kept_arrays = {name: read(array) for name, array in arrays_of(group).items()}
        return kept_arrays, float(str(group.attrs["seconds"])), True
    began = time.perf_counter()
    arrays = compute()
    seconds = time.perf_counter() - began
    with disk_faults(store), locked(store) as lock:
        settle(store, lock)
        root = open_root(store, "r+")
        journal.remove(root, path)  # damaged, or another call was faster
        with journal.making(root, path):
            attrs = {"seconds": seconds, "about": text}
            group = journal.make_group(root, path, attrs)
            for name, array in arrays.items():
                names = [f"{name}_{axis}" for axis in range(array.ndim)]
                group.create_array(
                    name,
                    data=array,
                    dimension_names=names,
                    compressors=compressors(True),
                    config=ALL_CHUNKS,
                )
    return arrays, seconds, False

"""A dask.distributed cluster that embeds blocks of faces."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from freqlab.errors import FreqlabError, ParameterError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Cluster", "check_cluster", "connected"]

_ALLOWED = (
    "a distributed.Client, the address of a scheduler ('tcp://host:8786'), its scheduler file "
    "('scheduler.json'), 'local', or 'local:2' for two workers"
)

_LOCAL = re.compile(r"local(?::([1-9]\d*))?")
_PLACE = re.compile(r".+\.json|(?!local:).*[^:]:\d+")

_NO_PAGES: dict[str, list[str]] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.nanny.http.routes": [],
}
"""Configuration of dask: its pages ask nobody for a key."""


@dataclass
class Cluster:
    """Where blocks of a call are computed, and what workers need to know besides the block.

    Parameters
    ----------
    device
        As given to the call; with ``"auto"`` each worker uses the device that it finds.
    texts
        Name or path by which each model was requested; workers load it themselves. A model that
        is missing here is sent to them.
    """

    device: str
    texts: Mapping[str, str]
    _client: Client | None
    _n_local: int | None
    _started: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def client(self) -> Client:
        """The connection; a local cluster is started on first use."""
        if self._client is None:
            self._client = _start(self._n_local, self.device, self._started)
        return self._client

    @property
    def in_process(self) -> bool:
        """Whether workers are threads of this process, which share its memory."""
        if self._client is None:
            return False
        return _address(self._client).startswith("inproc://")


def check_cluster(text: str) -> None:
    """Reject a text that names no cluster, without connecting to it.

    Raises
    ------
    ParameterError
        If it is none of the forms that :func:`connected` reads.
    """
    if not (_LOCAL.fullmatch(text) or _PLACE.fullmatch(text)):
        raise ParameterError(f"cluster={text!r} must be {_ALLOWED}")


@contextlib.contextmanager
def connected(
    cluster: object,
    *,
    device: str,
    given: Sequence[object],
    names: Sequence[str],
) -> Iterator[Cluster | None]:
    """Connect to a cluster; None for none. Workers started here are stopped at the end.

    Parameters
    ----------
    cluster
        A ``distributed.Client``, an address, a scheduler file, ``"local"``, ``"local:2"``.
    device
        As for :class:`Cluster`.
    given, names
        The models as they were requested, and their names.

    Raises
    ------
    ParameterError
        If it is none of these.
    FreqlabError
        If dask.distributed is not installed, or no scheduler answers.
    """
    if cluster is None:
        yield None
        return
    texts = {
        name: os.fspath(model)
        for name, model in zip(names, given, strict=True)
        if isinstance(model, (str, os.PathLike))
    }
    distributed = _distributed()
    if isinstance(cluster, distributed.Client):
        yield Cluster(device, texts, cluster, None)
        return
    if not isinstance(cluster, str):
        raise ParameterError(f"cluster={cluster!r} must be {_ALLOWED}")
    check_cluster(cluster)
    local = _LOCAL.fullmatch(cluster)
    with contextlib.ExitStack() as started:
        if local:
            n_workers = None if local[1] is None else int(local[1])
            yield Cluster(device, texts, None, n_workers, started)
        else:
            yield Cluster(device, texts, _connect(cluster, started), None)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise FreqlabError(
            "cluster= needs dask.distributed, which is not installed here: "
            "pip install 'freqlab[cluster]'"
        ) from error
    return distributed


def _connect(place: str, started: contextlib.ExitStack) -> Client:
    """Connect to a scheduler that is already running."""
    from distributed import Client

    is_file = place.endswith(".json")
    try:
        if is_file and not os.path.exists(place):  # dask would wait for it forever
            raise OSError("there is no such file")
        client = Client(scheduler_file=place) if is_file else Client(place, timeout=10)
    except (OSError, ValueError) as error:
        raise FreqlabError(f"cluster={place!r}: no scheduler answers there: {error}") from error
    return started.enter_context(client)


def _start(n_workers: int | None, device: str, started: contextlib.ExitStack) -> Client:
    """Start workers on this machine, of one core each; with CUDA a single one, which has the GPU.

    A scheduler runs code from anyone who can reach it, including every user of this machine. So
    all connections are encrypted with a key made for this cluster, which only its processes have,
    and which both ends must present.
    """
    import logging

    import dask
    import torch
    from distributed import Client, LocalCluster

    from freqlab.models.devices import resolve_device

    resources = {}
    if resolve_device(device).startswith("cuda"):
        n_workers, resources = n_workers or 1, {"GPU": 1}
    folder = started.enter_context(tempfile.TemporaryDirectory(prefix="freqlab-workers-"))
    with dask.config.set(_NO_PAGES):
        cluster = LocalCluster(
            n_workers=n_workers or torch.get_num_threads(),
            threads_per_worker=1,
            memory_limit=0,  # a worker killed for its memory would only be started again
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            host="127.0.0.1",
            protocol="tls://",
            security=_security(),
            local_directory=folder,  # for this user only
            resources=resources,
            silence_logs=logging.ERROR,
        )
    started.enter_context(cluster)
    return started.enter_context(Client(cluster))


def _security() -> Any:
    """A key for one cluster."""
    from distributed.security import Security

    try:
        return Security.temporary()
    except ImportError as error:
        raise FreqlabError(
            "cluster='local' encrypts its connections, which needs the package cryptography; it is "
            "not installed here: pip install 'freqlab[cluster]'"
        ) from error


def _address(client: Client) -> str:
    return str(client.scheduler_info(n_workers=0).get("address", ""))

"""Networks compiled for speed in a separate process, and kept for later runs.

Compiling takes half a minute; a compiled network embeds up to twice as fast. A package in the
cache is used from the first forward pass. Without one, a long run begins with the uncompiled
network, compiles it in the background, and switches to the package once it is ready.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import filelock
import torch

from freqlab.engine.compiled_packages import (
    CACHE_VARIABLE,
    COMPILER_FOLDER,
    cache_folder,
    find_package,
    package_key,
    private_folder,
    remove_package,
)
from freqlab.engine.compiled_runner import load_package
from freqlab.engine.compiler_process import BUSY, MADE, why_different
from freqlab.engine.removals import default_batch_size
from freqlab.engine.workers import working
from freqlab.errors import ModelError, ParameterError
from freqlab.models.spec import Model, Network

__all__ = [
    "WORTH_LOADING",
    "WORTH_SECONDS",
    "Compilation",
    "compile_ahead",
    "compiled",
    "from_cache",
    "is_compiled",
    "why_not_compilable",
]

WORTH_SECONDS = 120.0
"""Expected time of an uncompiled run above which compiling pays: it takes some 30 s on two cores,
and saves a third of the time or more."""

WORTH_LOADING = 100
"""Images of a run above which it pays to look for a package: loading one and comparing it with the
network takes as long as a few batches."""
_ROOM_FOR_A_REASON = 2**16  # bytes; a disk with less is full, and cannot hold even the reason


def why_not_compilable(model: Model) -> str:
    """Why a model's network cannot be compiled on this machine; empty if it can."""
    if reason := _why_never_compiled(model):
        return reason
    if not sys.executable:
        return "this Python cannot start another"
    if not any(shutil.which(name) for name in _compilers()):
        return f"there is no C++ compiler here ({', '.join(_compilers())})"
    return ""


def _why_never_compiled(model: Model) -> str:
    """Why a model's network cannot be compiled on any machine; empty if it can."""
    if not isinstance(model.network, torch.nn.Module):
        return "it is not a PyTorch module"
    if isinstance(model.network, torch.jit.ScriptModule):
        return "it is a TorchScript program"
    if not model.device.startswith(("cpu", "cuda")):
        return f"it runs on {model.device}"
    return ""


def is_compiled(model: Model) -> bool:
    """Whether a model came from :func:`compiled`."""
    return isinstance(model.network, _Compiled)


def from_cache(model: Model, *, batch_size: int, threads: int, streams: int) -> Model | None:
    """Return the model with the compiled network from the cache, or None.

    It is also None if the package no longer fits the network or cannot be loaded.

    Parameters
    ----------
    model, batch_size, threads
        As for :func:`compiled`.
    streams
        Number of threads that call it concurrently.
    """
    if cache_folder() is None or _why_never_compiled(model):
        return None
    key, _ = package_key(model, batch_size=batch_size, threads=threads)
    path = find_package(key)
    if path is None:
        return None
    try:
        return _loaded(model, path, batch_size, streams)
    except ModelError:  # made on another machine, or from code that has changed since
        remove_package(key)
        return None


def compiled(
    model: Model, *, batch_size: int, threads: int, streams: int = 1, keep: bool = True
) -> Model:
    """Compile the network of a model for batches of one size, and wait for it.

    Batches of another size go through the uncompiled network.

    Parameters
    ----------
    model
        The model.
    batch_size
        Images per forward pass.
    threads
        Cores that one call may use, on a CPU.
    streams
        Number of threads that call it concurrently.
    keep
        Whether to use a package from the cache, and to keep a new one there.

    Raises
    ------
    ModelError
        If the network cannot be compiled, or its embeddings change when it is.
    """
    if keep:
        cached = from_cache(model, batch_size=batch_size, threads=threads, streams=streams)
        if cached is not None:
            return cached
    compilation = Compilation(
        model, batch_size=batch_size, threads=threads, streams=streams, keep=keep
    )
    try:
        return compilation.result()
    finally:
        compilation.stop()


def compile_ahead(model: Model, *, batch_size: int | None = None) -> Path:
    """Compile a network and keep it, so that later runs on this machine start with it.

    Parameters
    ----------
    model
        The model, on the device and in the precision that the runs will use.
    batch_size
        Images per forward pass; by default the batch size of runs.

    Returns
    -------
    pathlib.Path
        The package in the cache.

    Raises
    ------
    ModelError
        If the network cannot be compiled.
    ParameterError
        If there is no cache, or it is not safe.
    """
    folder = cache_folder()
    if folder is None:
        raise ParameterError(f"{CACHE_VARIABLE}=off: no compiled network is kept")
    private_folder(folder)
    if batch_size is None:
        batch_size = default_batch_size(model.device, model.precision)
    with working() as workers:
        given: dict[str, Any] = {
            "batch_size": batch_size,
            "threads": workers.threads_of(model),
        }
        make = functools.partial(compiled, **given, streams=workers.streams_of(model))
        workers.submit_for(model, make, model).result()
    key, _ = package_key(model, **given)
    path = find_package(key)
    if path is None:
        raise ModelError(_cannot(model, f"its package cannot be kept in {str(folder)!r}"))
    return path


class Compilation:
    """A network that is being compiled in a separate process.

    Parameters
    ----------
    model, batch_size, threads, streams, keep
        As for :func:`compiled`. Where there is no safe cache, nothing is kept.

    Raises
    ------
    ModelError
        If it is known beforehand that the network cannot be compiled.
    """

    def __init__(
        self, model: Model, *, batch_size: int, threads: int, streams: int, keep: bool
    ) -> None:
        self._model, self._batch_size, self._streams = model, batch_size, streams
        self._key, facts = _checked_key(model, batch_size, threads)
        self.kept_in = _safe_cache() if keep else None
        """Folder of the cache that receives the package; None if it is not kept."""
        prefix = f".{self._key}-" if self.kept_in else "freqlab-"
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.kept_in))
        except OSError as error:
            raise ModelError(_cannot(model, f"{error.strerror or error}")) from error
        job = {
            "key": self._key,
            "facts": facts,
            "model": model.name,
            "cache": str(self.kept_in) if self.kept_in else "",
            "device": model.device,
            "threads": threads,
            "input": facts["input"],
            "channels_last": model.channels_last,
            "precision": model.precision,
            "path": [os.path.abspath(place) for place in sys.path],
        }
        try:
            with (self._folder / "network.pkl").open("wb") as file:
                cloudpickle.dump(model.network, file)
            (self._folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
            self._process = _start(self._folder, self.kept_in or self._folder)
        except Exception as error:  # any fault of a user's network or of the disk
            shutil.rmtree(self._folder, ignore_errors=True)
            raise ModelError(_cannot(model, _first_line(error))) from error
        _RUNNING.add(self)

    def done(self) -> bool:
        """Whether the process has ended, so that :meth:`result` does not wait."""
        if self._process.poll() == BUSY:  # another process makes the package: wait for that
            return self.kept_in is not None and (self.kept_in / f"{self._key}.json").is_file()
        return self._process.poll() is not None

    def result(self) -> Model:
        """The model with the compiled network.

        Raises
        ------
        ModelError
            If there is none: the process failed or was killed.
        """
        code = self._process.wait()
        if code == BUSY:
            self._wait_for_other()
            code = MADE
        try:
            if code != MADE:
                why = self._why_failed(code)
                _FAILED[self._key] = why
                raise ModelError(_cannot(self._model, why))
            path = find_package(self._key) if self.kept_in else self._folder / "package.pt2"
            if path is None:
                raise ModelError(_cannot(self._model, "its package is missing from the cache"))
            return _loaded(self._model, path, self._batch_size, self._streams)
        finally:
            self.stop()

    def stop(self) -> None:
        """End the process if it is still running, and remove its temporary files."""
        if self._process.poll() is None:
            _kill(self._process)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        _RUNNING.discard(self)

    def _why_failed(self, code: int) -> str:
        with contextlib.suppress(OSError):
            if why := (self._folder / "error.txt").read_text(encoding="utf-8"):
                return why
            if shutil.disk_usage(self._folder).free < _ROOM_FOR_A_REASON:
                return os.strerror(errno.ENOSPC)
        ended = f"signal {-code}" if code < 0 else f"status {code}"
        return f"the compiling process ended with {ended}"

    def _wait_for_other(self) -> None:
        """Wait until the process that makes the same package has ended, successfully or not."""
        assert self.kept_in is not None
        with contextlib.suppress(OSError), filelock.FileLock(self.kept_in / f"{self._key}.lock"):
            pass


class _Compiled:
    """A compiled network as a plain callable, not a module that could be put in training mode.

    It takes batches of one size; others go through the original network.
    """

    def __init__(self, run: Callable[[torch.Tensor], Any], eager: Network, batch_size: int) -> None:
        self._run, self._eager, self._batch_size = run, eager, batch_size

    def __call__(self, images: torch.Tensor) -> Any:
        return self._run(images) if len(images) == self._batch_size else self._eager(images)


_RUNNING: set[Compilation] = set()
_FAILED: dict[str, str] = {}  # why networks could not be compiled, by key: tried once per process
_LOADING = threading.Lock()


@atexit.register
def _stop_all() -> None:
    for compilation in list(_RUNNING):
        compilation.stop()


def _checked_key(model: Model, batch_size: int, threads: int) -> tuple[str, dict[str, Any]]:
    why_not = why_not_compilable(model)
    if why_not:
        raise ModelError(_cannot(model, why_not))
    key, facts = package_key(model, batch_size=batch_size, threads=threads)
    if key in _FAILED:
        raise ModelError(_cannot(model, _FAILED[key]))
    return key, facts


def _safe_cache() -> Path | None:
    """The folder of the cache, or None if packages cannot be kept there."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        private_folder(folder)
    except ParameterError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def _start(folder: Path, shared: Path) -> subprocess.Popen[bytes]:
    """Start the process that compiles the job in a folder, in a session that Ctrl-C does not reach.

    The compiler's own cache goes into a folder that is as private as the packages; its default
    folder has a predictable name.
    """
    environment = {
        **os.environ,
        "TORCHINDUCTOR_CACHE_DIR": str(shared / COMPILER_FOLDER),
        "TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path),
    }
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "freqlab.engine.compiler_process", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and the compilers that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


@torch.inference_mode()  # as in a run
def _loaded(model: Model, path: Path, batch_size: int, streams: int) -> Model:
    """Load a package as the network of a model, and compare it with the original network.

    Raises
    ------
    ModelError
        If it cannot be loaded, or its embeddings differ.
    """
    try:
        with _LOADING:
            run = load_package(path, model.device, streams)
        faster = dataclasses.replace(model, network=_Compiled(run, model.network, batch_size))
        height, width = model.template.size
        chance = torch.Generator().manual_seed(0)
        images = (torch.rand(batch_size, 3, height, width, generator=chance) * 255).to(model.device)
        prepared = model.prepare(images)
        why = why_different(faster.forward(prepared), model.forward(prepared), model.precision)
    except ModelError:
        raise
    except Exception as error:  # a package of another machine, no room to unpack it, ...
        raise ModelError(_cannot(model, _first_line(error))) from error
    if why:
        raise ModelError(_cannot(model, f"its embeddings differ when compiled ({why})"))
    return faster


def _compilers() -> tuple[str, ...]:
    """Names of C++ compilers that PyTorch looks for."""
    if sys.platform == "win32":
        return (os.environ.get("CXX", "cl"),)
    return (os.environ["CXX"],) if "CXX" in os.environ else ("g++", "clang++", "c++")


def _cannot(model: Model, why: str) -> str:
    return f"model {model.name!r} cannot be compiled: {why}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

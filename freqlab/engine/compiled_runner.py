"""Run compiled networks without Python's global lock.

PyTorch's own loader holds the lock while a network runs, so that networks in several threads run
one after another, on one core. A package contains a shared library with a C interface; calls
through ctypes release the lock, and as many networks run at once as there are threads. The
interface is that of ``torch/csrc/inductor/aoti_runtime/interface.h``.
"""

from __future__ import annotations

import ctypes
import functools
import os
import tempfile
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import torch

__all__ = ["load_package"]

_LIBRARIES = ("aotinductor", "model")  # last folders of the path of the library in a package
_CREATE = "AOTInductorModelContainerCreateWithDevice"
_RUN = "AOTInductorModelContainerRun"
_DELETE = "AOTInductorModelContainerDelete"
_LAST_ERROR = "AOTInductorGetLastError"
_TO_HANDLE = "unsafe_alloc_void_ptr_from_tensor"
# not the function for one handle, which never gives up its own reference
_FROM_HANDLES = "alloc_tensors_by_stealing_from_void_ptrs"


def load_package(path: Path, device: str, streams: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A callable that runs a package.

    It does so without Python's lock where that is possible: on a CPU, on Linux and macOS, for a
    network without operations that the library calls back into PyTorch's dispatcher for.

    Parameters
    ----------
    path
        The package.
    device
        Where the network runs, as PyTorch names it.
    streams
        Number of calls that may run at the same time.

    Raises
    ------
    RuntimeError, OSError
        If it cannot be loaded.
    """
    library = _library_of(path) if device.startswith("cpu") and os.name == "posix" else None
    if library is not None:
        return _Library(path, library, streams)
    # PyTorch's loader for Python imports its whole compiler first, which takes seconds; the loader
    # that it wraps does not need the compiler
    index = torch.device(device).index if device.startswith("cuda") else None
    loader = torch._C._aoti.AOTIModelPackageLoader(
        str(path), "model", False, streams, -1 if index is None else index
    )
    return functools.partial(_first_output, loader)


def _first_output(loader: Any, images: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = loader.run([images])[0]
    return output


def _library_of(path: Path) -> str | None:
    """Name of the only library in a package, or None if PyTorch's loader has to run it."""
    aoti = torch._C._aoti
    if not (hasattr(aoti, _TO_HANDLE) and hasattr(aoti, _FROM_HANDLES)):
        return None
    with zipfile.ZipFile(path) as package:
        names = package.namelist()
    libraries = [
        name
        for name in names
        if name.endswith(".so") and PurePosixPath(name).parent.parts[-2:] == _LIBRARIES
    ]
    if len(libraries) != 1 or libraries[0].removesuffix("so") + "json" in names:
        return None  # the description beside a library is of operations that PyTorch runs for it
    return libraries[0]


class _Library:
    """The library of a package, loaded, with one copy of the network's buffers per stream."""

    def __init__(self, package: Path, name: str, streams: int) -> None:
        with tempfile.TemporaryDirectory(prefix="freqlab-") as folder:
            with zipfile.ZipFile(package) as opened:
                file = opened.extract(name, folder)
            library = ctypes.CDLL(file)  # stays mapped when the file is gone
            container = ctypes.c_void_p()
            status = getattr(library, _CREATE)(
                ctypes.byref(container), ctypes.c_size_t(streams), b"cpu", None
            )
            _check(library, status, f"the package {package.name!r} cannot be loaded")
        self._library, self._container = library, container
        weakref.finalize(self, getattr(library, _DELETE), container).atexit = False

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        given = (ctypes.c_void_p * 1)(_pointer(getattr(torch._C._aoti, _TO_HANDLE)(images)))
        returned = (ctypes.c_void_p * 1)()
        one = ctypes.c_size_t(1)
        # the library owns the handle that it is given, and we the one that it returns
        run = getattr(self._library, _RUN)
        status = run(self._container, given, one, returned, one, None, None)
        _check(self._library, status, "the compiled network failed")
        output: torch.Tensor = getattr(torch._C._aoti, _FROM_HANDLES)([_capsule(returned[0])])[0]
        return output


def _check(library: ctypes.CDLL, status: int, what: str) -> None:
    """Raise the error of a call into a library, if there is one."""
    if status == 0:
        return
    said = ctypes.c_char_p()
    if hasattr(library, _LAST_ERROR):  # not in packages of older versions
        getattr(library, _LAST_ERROR)(ctypes.byref(said))
    why = (said.value or b"").decode(errors="replace")
    raise RuntimeError(f"{what}: {why or f'status {status}'}")


def _pointer(capsule: object) -> int:
    """The address that a capsule of Python's C interface holds."""
    get = ctypes.pythonapi["PyCapsule_GetPointer"]
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address: int = get(capsule, None)
    return address


def _capsule(address: int | None) -> object:
    """A capsule of Python's C interface that holds an address."""
    make = ctypes.pythonapi["PyCapsule_New"]
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return make(address, None, None)

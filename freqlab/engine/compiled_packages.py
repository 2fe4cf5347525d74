"""The user's cache of compiled networks: its location, its keys, keeping and clearing.

A package is a library of machine code and a copy of the network's weights, which runs in the
process that loads it. So packages are kept in the user's own cache folder, which no other user may
write to, and never in a store. Each has a description with its checksum and everything that it
depends on.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
import torch

from freqlab.errors import FreqlabError, ParameterError
from freqlab.models.spec import Model, state_sha256

__all__ = [
    "CACHE_VARIABLE",
    "COMPILER_FOLDER",
    "Package",
    "cache_folder",
    "clear_packages",
    "find_package",
    "keep_package",
    "package_key",
    "packages",
    "private_folder",
    "remove_package",
]

CACHE_VARIABLE = "FREQLAB_CACHE"
"""Environment variable: a folder for the cache, or ``off`` for none."""

COMPILER_FOLDER = "inductor"
"""Folder in the cache where the compiler keeps what it can use again."""

_FORMAT = 1  # of packages; other formats are not read
_STALE = 24 * 3600.0  # seconds after which no compiler is still running
_MOST_BYTES = 300e6  # upper bound on the compiler's own cache, which is then emptied
_MOST_PACKAGES = 32  # beyond, the least recently used are removed
_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.Size)


@dataclasses.dataclass(frozen=True)
class Package:
    """A compiled network in the cache."""

    path: Path
    model: str
    """Name of the model it was compiled for."""
    facts: dict[str, Any]
    """What it was compiled with, and for."""

    @property
    def n_bytes(self) -> int:
        """Size of the package."""
        return self.path.stat().st_size


def cache_folder() -> Path | None:
    """The folder of compiled networks, or None if they are not kept.

    The environment variable :data:`CACHE_VARIABLE` names a folder other than the user's cache, or
    is ``off``. The folder need not exist.
    """
    given = os.environ.get(CACHE_VARIABLE, "")
    if given.lower() in ("off", "0", "no", "false"):
        return None
    if given:
        return Path(os.path.abspath(given), "compiled")
    folder = platformdirs.user_cache_path("freqlab", appauthor=False)
    # without a home the path is not absolute
    return folder / "compiled" if folder.is_absolute() else None


def private_folder(folder: Path) -> Path:
    """Create a folder that only this user may enter, or check that an existing one is private.

    Raises
    ------
    ParameterError
        If it belongs to another user, others may write to it, or it cannot be created.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError as error:
        raise ParameterError(
            f"the cache folder {str(folder)!r} cannot be used ({error.strerror or error}); "
            f"{CACHE_VARIABLE} names another, or off"
        ) from error
    if why := _why_unsafe(state):
        raise ParameterError(
            f"the cache folder {str(folder)!r} is not used: {why}; {CACHE_VARIABLE} names another, "
            f"or off"
        )
    return folder


def package_key(model: Model, *, batch_size: int, threads: int) -> tuple[str, dict[str, Any]]:
    """Key that distinguishes a model's package from all others.

    Parameters
    ----------
    model
        The model; its network is a PyTorch module.
    batch_size
        Images per forward pass.
    threads
        Cores that one call may use, on a CPU.

    Returns
    -------
    key : str
        32 hexadecimal digits.
    facts : dict
        What the key is made of: weights, code of the network, batch, precision, threads, versions
        of PyTorch and CUDA, and the features of the processor or GPU.
    """
    facts = {
        "format": _FORMAT,
        "network": _network_digest(model.network),
        "input": [batch_size, 3, *model.template.size],
        "channels_last": model.channels_last,
        "precision": model.precision,
        "threads": threads,
        "torch": f"{torch.__version__} {torch.version.git_version}",
        "device": model.device.partition(":")[0],
        "hardware": _hardware(model.device),
    }
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32], facts


def find_package(key: str, folder: Path | None = None) -> Path | None:
    """Find the package of a key in the cache or in `folder`; None if it is not safe to load.

    A damaged package is removed.
    """
    folder = cache_folder() if folder is None else folder
    if folder is None or not folder.is_dir() or _why_unsafe(folder.stat()):
        return None
    path = folder / f"{key}.pt2"
    description = _read_description(path)
    if description is None:
        return None
    try:
        if _why_unsafe(path.stat()):
            return None
        if _sha256(path) != description["sha256"]:
            _remove(path)
            return None
        os.utime(path)  # time of last use
    except FileNotFoundError:
        return None
    except OSError:  # a read-only cache can still be used
        return path if path.is_file() else None
    return path


def keep_package(
    made: Path, key: str, facts: dict[str, Any], model: str, folder: Path | None = None
) -> Path:
    """Move a new package into the cache, or into `folder`.

    Its description is written last: a package without one does not count.

    Raises
    ------
    OSError
        If it cannot be written.
    ParameterError
        If there is no cache, or it is not safe.
    """
    folder = cache_folder() if folder is None else folder
    if folder is None:
        raise ParameterError(f"{CACHE_VARIABLE}=off: no compiled network is kept")
    private_folder(folder)
    path = folder / f"{key}.pt2"
    description = {"model": model, "facts": facts, "sha256": _sha256(made)}
    os.chmod(made, 0o600)
    os.replace(made, path)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{key}-")  # of mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(description, file, indent=1)
        os.replace(temporary, path.with_suffix(".json"))
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    for old in sorted(packages(folder), key=_last_use, reverse=True)[_MOST_PACKAGES:]:
        _remove(old.path)
    _remove_leftovers(folder)
    return path


def packages(folder: Path | None = None) -> list[Package]:
    """All compiled networks in the cache, or in `folder`."""
    folder = cache_folder() if folder is None else folder
    if folder is None or not folder.is_dir():
        return []
    listed = []
    for path in sorted(folder.glob("*.pt2")):
        description = _read_description(path)
        if description is not None:
            listed.append(Package(path, str(description["model"]), description["facts"]))
    return listed


def clear_packages() -> int:
    """Remove all compiled networks from the cache; return their number.

    Only files named as freqlab names them are removed; all others in the folder stay.

    Raises
    ------
    FreqlabError
        If one cannot be removed.
    """
    folder = cache_folder()
    if folder is None or not folder.is_dir():
        return 0
    n_packages = len(packages())
    try:
        for path in _own_files(folder):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise FreqlabError(
            f"the cache folder {str(folder)!r} cannot be cleared ({error.strerror or error})"
        ) from error
    return n_packages


def remove_package(key: str) -> None:
    """Remove the package of a key from the cache, if that is permitted."""
    folder = cache_folder()
    if folder is not None:
        _remove(folder / f"{key}.pt2")


def _own_files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name == COMPILER_FOLDER or re.fullmatch(
            r"\.?[0-9a-f]{32}(\.pt2|\.json|\.lock|-\w+)", path.name
        ):
            yield path


def _remove_leftovers(folder: Path) -> None:
    """Remove old files of compilers that were killed, and the compiler's cache if it is large."""
    kept = folder / COMPILER_FOLDER
    if sum(p.stat().st_size for p in kept.rglob("*") if p.is_file()) > _MOST_BYTES:
        shutil.rmtree(kept, ignore_errors=True)
    for path in _own_files(folder):
        try:
            if path.name.startswith(".") and time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue


def _read_description(path: Path) -> dict[str, Any] | None:
    """The description of a package, or None if it has no trustworthy one."""
    description = path.with_suffix(".json")
    try:
        if _why_unsafe(description.stat()):
            return None
        content = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("facts"), dict):
        return None
    complete = {"model", "sha256"} <= content.keys() and content["facts"].get("format") == _FORMAT
    return content if complete and path.is_file() else None


def _last_use(package: Package) -> float:
    try:
        return package.path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(path: Path) -> None:
    """Remove a package, its description first; a package that cannot be removed stays unused."""
    for file in (path.with_suffix(".json"), path):
        try:
            file.unlink(missing_ok=True)
        except OSError:
            return


def _why_unsafe(state: os.stat_result) -> str:
    """Why another user could have written a file or folder; empty if none could."""
    if not hasattr(os, "getuid"):  # on Windows a user's cache folder is closed to others
        return ""
    if state.st_uid != os.getuid():
        return "it belongs to another user"
    if state.st_mode & 0o022:
        return f"others may write to it (mode {state.st_mode & 0o777:o})"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _network_digest(network: Any) -> str:
    """SHA-256 over the weights of a module, its structure, and the code of its parts."""
    digest = hashlib.sha256(state_sha256(network).encode())
    sources = set()
    for name, module in network.named_modules():
        kind = type(module)
        digest.update(
            f"{name} {kind.__module__}.{kind.__qualname__} {module.extra_repr()}".encode()
        )
        plain = {
            key: repr(value)
            for key, value in vars(module).items()
            if isinstance(value, _PLAIN) or _is_plain_list(value)
        }
        plain.pop("training", None)
        digest.update(repr(sorted(plain.items())).encode())
        sources |= {_source_digest(base) for base in kind.__mro__}
    digest.update("".join(sorted(sources)).encode())
    return digest.hexdigest()


def _is_plain_list(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(isinstance(item, _PLAIN) for item in value)


@functools.lru_cache(maxsize=512)
def _source_digest(kind: type) -> str:
    """SHA-256 of the file that defines a class, which also holds functions that it calls.

    For a class without a file, as in a notebook, it is that of its source or compiled functions.
    """
    if kind.__module__.partition(".")[0] in ("builtins", "torch", "typing", "abc"):
        return ""  # the version of PyTorch covers it
    try:
        file = inspect.getsourcefile(kind)
        if file is not None and kind.__module__ != "__main__" and os.path.isfile(file):
            return _sha256(Path(file))
        source = inspect.getsource(kind)
        # Python 3.13 finds a class by its line alone, also in a file that does not define it
        if f"class {kind.__name__}" in source:
            return hashlib.sha256(source.encode()).hexdigest()
    except (OSError, TypeError):
        pass
    functions = sorted(vars(kind).items())
    codes = [(name, getattr(value, "__code__", None)) for name, value in functions]
    text = repr([(name, _code_text(code)) for name, code in codes if code is not None])
    return hashlib.sha256(text.encode()).hexdigest()


def _code_text(code: types.CodeType) -> Any:
    """The content of a compiled function, without addresses in memory and lines in a file."""
    constants = [_code_text(c) if isinstance(c, types.CodeType) else c for c in code.co_consts]
    return code.co_code, code.co_names, constants


def _hardware(device: str) -> dict[str, Any]:
    """The hardware that machine code depends on: processor and its features, or GPU."""
    about: dict[str, Any] = {"system": sys.platform, "machine": platform.machine()}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        about |= {"gpu": properties.name, "capability": [properties.major, properties.minor]}
        return about | {"cuda": str(torch.version.cuda)}
    about["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    about["features"] = sorted(name for name, has in capabilities.items() if has is True)
    return about

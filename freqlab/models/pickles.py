"""Read the tensors of pickled PyTorch modules without executing the pickle.

Before PyTorch 1.6 ``torch.save`` wrote, one after the other: a magic number, a protocol number,
system information, the object, the list of storage keys (each a separate pickle), and then the
raw storages. A pickle can name any callable; this reader admits the few that rebuild tensors,
replaces every class of a network with an inert stub, and refuses any other name.
"""

from __future__ import annotations

import struct
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from freqlab.errors import UnsafePickleError, WeightsError
from freqlab.unpickling import RestrictedUnpickler

__all__ = ["read_pickled_module"]

_DEEPEST = 50  # levels of nested modules
_MOST_OFTEN = 100  # occurrences of one module
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def read_pickled_module(path: str | Path, *, stubs: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Read the parameters and buffers of a module saved whole by PyTorch before 1.6.

    Parameters
    ----------
    path
        The file that ``torch.save(module, path)`` wrote.
    stubs
        Package prefixes (``"torch.nn."``) whose classes may be named by the pickle. They are
        replaced by inert stand-ins; none of their code is imported or run.

    Returns
    -------
    dict of str to torch.Tensor
        The state dictionary, on the CPU, without the ``module.`` prefix of ``DataParallel``.

    Raises
    ------
    UnsafePickleError
        If the pickle names anything but tensors and classes under `stubs`.
    WeightsError
        If the file is truncated or is not such a file.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            module = _read(file, path, stubs)
            if set(module._modules) == {"module"} and not module._parameters:
                module = module._modules["module"]
            return dict(_named_tensors(module, ""))
        except (UnsafePickleError, WeightsError):
            raise
        except Exception as error:  # a damaged pickle can raise anything
            raise WeightsError(f"{path} is not a module saved by torch.save: {error}") from error


def _read(file: BinaryIO, path: Path, stubs: tuple[str, ...]) -> _Stub:
    size = path.stat().st_size
    if _TensorUnpickler(file, size, ()).load() != _MAGIC:
        raise WeightsError(f"{path} does not begin as a file of torch.save before PyTorch 1.6 does")
    if _TensorUnpickler(file, size, ()).load() != _PROTOCOL:
        raise WeightsError(f"{path} has another protocol number than {_PROTOCOL}")
    if not _TensorUnpickler(file, size, ()).load().get("little_endian", False):
        raise WeightsError(f"{path} was written on a big-endian machine")
    unpickler = _TensorUnpickler(file, size, stubs)
    module = unpickler.load()
    if not isinstance(module, _Stub):
        raise WeightsError(f"{path} holds a {type(module).__name__}, not a module")
    for key in _TensorUnpickler(file, size, ()).load():
        _fill(unpickler.storages[key], file, path)
    return module


def _fill(storage: torch.Tensor, file: BinaryIO, path: Path) -> None:
    """Read one raw storage: its number of elements, then the elements, little-endian."""
    raw = file.read(8)
    n_bytes = storage.numel() * storage.element_size()
    data = file.read(n_bytes)
    if len(raw) < 8 or len(data) < n_bytes:
        raise WeightsError(f"{path} is truncated: it ends inside its tensors")
    if struct.unpack("<q", raw)[0] != storage.numel():
        raise WeightsError(f"{path} declares a storage size that differs from its content")
    if sys.byteorder == "big":
        raise WeightsError("reading pickled modules needs a little-endian machine")
    if n_bytes:
        storage.copy_(torch.frombuffer(bytearray(data), dtype=storage.dtype))


def _named_tensors(module: _Stub, prefix: str, *, depth: int = 0) -> Mapping[str, torch.Tensor]:
    if depth > _DEEPEST or module.times_met > _MOST_OFTEN:
        raise WeightsError("its modules are nested too deeply or contain themselves")
    module.times_met += 1
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if isinstance(tensor, torch.Tensor):
            tensors[prefix + name] = tensor
    for name, child in module._modules.items():
        if isinstance(child, _Stub):
            tensors.update(_named_tensors(child, f"{prefix}{name}.", depth=depth + 1))
    return tensors


def _rebuild_tensor(
    storage: torch.Tensor,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool = False,
    hooks: object = None,
) -> torch.Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _rebuild_parameter(
    tensor: torch.Tensor, requires_grad: bool = False, hooks: object = None
) -> torch.Tensor:
    return tensor


class _Stub:
    """Replaces a pickled instance of a network's class; holds attributes, does nothing."""

    _parameters: Mapping[str, Any] = {}
    _buffers: Mapping[str, Any] = {}
    _modules: Mapping[str, Any] = {}
    times_met = 0

    def __init__(self, *args: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise WeightsError(f"a module's state is a {type(state).__name__}, not a dictionary")
        for name in ("_parameters", "_buffers", "_modules"):
            self.__dict__[name] = dict(state.get(name, {}))


_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in _STORAGE_DTYPES.items()},
}


class _TensorUnpickler(RestrictedUnpickler):
    def __init__(self, file: BinaryIO, file_size: int, stubs: tuple[str, ...]) -> None:
        contents = f"tensors and the classes of {', '.join(stubs) or 'nothing'}"
        super().__init__(file, _ADMITTED, contents=contents, encoding="utf-8")
        self.storages: dict[str, torch.Tensor] = {}
        self._stubs = stubs
        self._bytes_left = file_size

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED and f"{module}.{name}".startswith(self._stubs):
            return type(name, (_Stub,), {})
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # ("module", class, source file, source text): the text is ignored
            return pid[1]
        if pid[0] != "storage":
            raise UnsafePickleError(f"the pickle refers to an unknown object of kind {pid[0]!r}")
        _, dtype, key, _, n_elements, view = pid
        if view is not None:
            raise WeightsError("storages that are views of others are not read")
        if key not in self.storages:
            self._bytes_left -= n_elements * cast(torch.dtype, dtype).itemsize
            if n_elements < 0 or self._bytes_left < 0:
                raise WeightsError("the tensors announced are larger than the file")
            self.storages[key] = torch.zeros(n_elements, dtype=dtype)
        return self.storages[key]

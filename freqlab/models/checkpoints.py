"""Weight files of PyTorch: read them without running what they hold, load them strictly.

``safetensors`` files hold tensors and nothing else. Files of ``torch.save`` are pickles, which can
name any callable: they are read with ``weights_only=True``. Training frameworks pickle objects of
their own beside the weights; the classes of the known ones are replaced by inert stand-ins, so
that their checkpoints can be read where the framework is not installed, and without its code.
"""

from __future__ import annotations

import pickle
import threading
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from freqlab.errors import (
    UnsafePickleError,
    UntrustedModelError,
    WeightsError,
    WeightsMismatchError,
)

__all__ = ["find_prefix", "is_program", "load_weights", "read_checkpoint", "shapes_of"]

State = dict[str, torch.Tensor]

# Where a checkpoint keeps the network among other things, in the order they are tried.
_CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "backbone",
    "net",
    "network",
    "params",
    "weights",
)
# Whose classes may lie beside the weights; none of their code is imported or run.
_FRAMEWORKS = (
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "omegaconf.",
    "argparse.Namespace",
    "easydict.EasyDict",
    "yacs.config.",
    "numpy.",
)
_SHOWN = 5
_READING = threading.Lock()  # what is admitted is settled for the whole process


class _Inert:
    """Stands where an object of a training framework was pickled; does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class _InertDict:
    """Stands where a framework's own kind of dictionary was pickled: becomes a plain one."""

    def __new__(cls, *args: object) -> dict[Any, Any]:  # type: ignore[misc]
        """Make the plain dictionary."""
        return {}


def is_program(path: str | Path) -> str:
    """Say which program format a file has: TorchScript, torch.export, or none (empty text)."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return ""
    inner = {name.partition("/")[2] for name in names} | set(names)
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "TorchScript"
    if inner & {"archive_format", "serialized_exported_program.json"}:
        return "torch.export"
    return ""


def read_checkpoint(path: str | Path) -> State:
    """Read the tensors of a network from a file, on the CPU.

    Parameters
    ----------
    path
        A ``safetensors`` file, or one of ``torch.save`` that holds a state dictionary, alone or
        inside a training checkpoint.

    Returns
    -------
    dict of str to torch.Tensor
        Names as the file has them, prefixes included.

    Raises
    ------
    UnsafePickleError
        If the file pickles anything but tensors, plain containers, and the objects that known
        training frameworks keep beside them.
    UntrustedModelError
        If the file is a program (TorchScript, ``torch.export``).
    WeightsError
        If the file is truncated, damaged, or holds no state dictionary.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".onnx":
        raise WeightsError(
            f"{path} is an ONNX file, a whole model: give its path as the model, not as checkpoint"
        )
    program = is_program(path)
    if program:
        raise UntrustedModelError(
            f"{path} is a {program} program, not a file of weights; a state dictionary, or a "
            f"safetensors file, can be loaded into the network named"
        )
    return _state_dict(_read_pickle(path), path)


def load_weights(
    network: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    source: str | Path,
    ignore: Sequence[str] = (),
) -> None:
    """Load tensors into a network: all of them, in their shapes, and finite.

    A prefix that the names share (``module.`` of ``DataParallel``, ``model.`` of a training
    class) is stripped; what lies beside the prefixed part, such as a classification head, is left
    out.

    Parameters
    ----------
    network
        The network.
    state
        Its tensors.
    source
        What to call the file in errors.
    ignore
        Beginnings of names that the network has no use for (``"logits."``).

    Raises
    ------
    WeightsMismatchError
        Naming the tensors that are missing, unexpected, or of another shape.
    WeightsError
        Naming the tensors that are not finite.
    """
    expected = network.state_dict()
    prefix = find_prefix(state, expected, source=source)
    given = {name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)}
    given = {name: tensor for name, tensor in given.items() if not name.startswith(tuple(ignore))}
    # files from before PyTorch 0.4.1 do not count batches, and nothing depends on it
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    given = {**{name: expected[name] for name in counters}, **given}
    for name, tensor in given.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise WeightsError(
                f"{source}: {name} is a sparse, quantised or empty tensor; save plain ones"
            )
    differences = [
        *_listed("missing", [name for name in expected if name not in given]),
        *_listed("unexpected", [name for name in given if name not in expected]),
        *_listed(
            "of another shape",
            [
                f"{name} {tuple(given[name].shape)} instead of {tuple(expected[name].shape)}"
                for name in expected
                if name in given and given[name].shape != expected[name].shape
            ],
        ),
        *_listed(
            "of another kind of number",
            [
                f"{name} {given[name].dtype} instead of {expected[name].dtype}"
                for name in expected
                if name in given
                and given[name].is_floating_point() != expected[name].is_floating_point()
            ],
        ),
    ]
    if differences:
        text = f"{source} does not fit {type(network).__name__}: {'; '.join(differences)}"
        raise WeightsMismatchError(text, shapes_of(state))
    broken = [name for name, tensor in given.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise WeightsError(
            f"{source} holds numbers that are not finite: {'; '.join(_listed('in', broken))}"
        )
    network.load_state_dict(given, strict=True)


def shapes_of(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes of tensors by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def find_prefix(state: Iterable[str], expected: Iterable[str], *, source: str | Path) -> str:
    """The prefix under which most of the expected names are found.

    Raises
    ------
    WeightsError
        If two prefixes hold a whole network each, as with a teacher and a student.
    """
    wanted = set(expected)
    found: dict[str, int] = {}
    for name in state:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                prefix = name[: len(name) - len(".".join(parts[cut:]))]
                found[prefix] = found.get(prefix, 0) + 1
    if not found:
        return ""
    most = max(found.values())
    best = [prefix for prefix, count in found.items() if count == most]
    if len(best) > 1 and most > len(wanted) / 2:
        raise WeightsError(
            f"{source} holds several networks of this kind, under {', '.join(map(repr, best))}; "
            f"save the one that is meant"
        )
    return best[0]


def _listed(what: str, names: Sequence[str]) -> list[str]:
    """A list with its beginning spelt out; nothing for an empty one."""
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}"]


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is truncated, or no safetensors file: {error}") from error


def _read_pickle(path: Path) -> Any:
    unknown: list[str] = []
    if zipfile.is_zipfile(path):
        try:
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
            raise WeightsError(f"{path} is damaged: {error}") from error
    foreign = [name for name in unknown if not name.startswith(_FRAMEWORKS)]
    if foreign:
        raise UnsafePickleError(_refusal(path, ", ".join(sorted(foreign)[:_SHOWN])))
    stand_ins: list[Any] = [(_stand_in(name), name) for name in unknown]
    try:
        with _READING, torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if unknown or "unsupported" in reason.lower():
            named = ", ".join(unknown) or reason.partition("GLOBAL ")[2].split(" ")[0] or "objects"
            raise UnsafePickleError(_refusal(path, named)) from error
        raise WeightsError(f"{path} is truncated, or no file of torch.save") from error
    except Exception as error:  # as above
        reason = str(error).split(". ")[0]
        reason = reason if " " in reason else type(error).__name__
        raise WeightsError(f"{path} is truncated, or no file of torch.save: {reason}") from error


def _stand_in(name: str) -> type:
    base = _InertDict if name.endswith("Dict") else _Inert
    return type(name.rpartition(".")[2], (base,), {})


def _refusal(path: Path, named: str) -> str:
    return (
        f"{path} pickles more than tensors ({named}) and was not read. Where it comes from, save "
        f"the network's state_dict() alone, or a safetensors file"
    )


def _state_dict(content: Any, path: Path) -> State:
    """Find the tensors in what a checkpoint holds."""
    if isinstance(content, Mapping):
        for name in _CONTAINERS:
            if isinstance(content.get(name), Mapping):
                return _state_dict(content[name], path)
        tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
        if tensors:
            return tensors
        held = ", ".join(map(str, list(content)[:_SHOWN])) or "nothing"
        raise WeightsError(
            f"{path} holds no state dictionary: it has the entries {held}; looked for "
            f"{', '.join(_CONTAINERS)}"
        )
    raise WeightsError(f"{path} holds a {type(content).__name__}, not a state dictionary")

"""Weight files of PyTorch: read without executing their contents, and loaded strictly.

``safetensors`` files hold only tensors. Files of ``torch.save`` are pickles, which can name any
callable: they are checked first, and read with ``weights_only=True``. Training programs pickle
their own objects beside the weights. These are replaced by inert stand-ins, so such checkpoints
can be read without the program being installed, and without running its code.
"""

from __future__ import annotations

import _compat_pickle
import json
import pickle
import re
import sys
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from freqlab.errors import (
    UnsafePickleError,
    UntrustedModelError,
    WeightsError,
    WeightsMismatchError,
)
from freqlab.models.file_kinds import check_plain_file, content_of, what_it_is
from freqlab.models.notes import note
from freqlab.unpickling import check_pickle

__all__ = [
    "check_archive",
    "files_of_checkpoint",
    "find_prefix",
    "is_program",
    "load_weights",
    "read_checkpoint",
    "shapes_of",
]

State = dict[str, torch.Tensor]

# Entries under which a checkpoint keeps the network, in the order they are tried.
_CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "state_dict_backbone",
    "backbone_state_dict",
    "net_state_dict",
    "model_state",
    "model",
    "backbone",
    "net",
    "network",
    "module",
    "encoder",
    "params",
    "weights",
    # averages of the weights over training steps: used where there are no others
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema",
)
_AVERAGED = re.compile(r"(?:^|[._])(?:ema|averaged?|swa|shadow)(?:[._]|$)")
# Entries beside a network that hold tensors too.
_BESIDE = re.compile(r"optim|sched|scaler|amp|softmax|head|margin|loss|criterion|arcface|callbacks")
_DEEPEST = 4  # levels of nested mappings that are searched for weights
# Parts that wrappers insert into the names of modules.
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# Data classes of Python itself; nothing else of Python belongs beside weights.
_DATA = (
    "argparse.Namespace",
    "builtins.bool",
    "builtins.bytes",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.range",
    "builtins.set",
    "builtins.slice",
    "builtins.str",
    "builtins.tuple",
    "builtins.bytearray",
    "collections.",
    "_codecs.encode",
    "copyreg._reconstructor",
    "datetime.",
    "decimal.Decimal",
    "enum.",
    "fractions.Fraction",
    "functools.partial",
    "ipaddress.",
    "logging.Logger",
    "pathlib.",
    "pathlib._local.",
    "random.Random",
    "types.SimpleNamespace",
    "uuid.UUID",
    "zoneinfo.",
)
_MOST_UNPACKED, _MOST_RATIO = 256 << 20, 20  # bytes of an archive, and times its own size
_SHOWN = 5
_OLD_PICKLES = 5  # consecutive pickles in a file from before PyTorch 1.6
_READING = threading.Lock()  # the admitted globals are a setting of the whole process


class _Inert:
    """Replaces a pickled object of a training framework; does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class _InertDict:
    """Replaces a pickled dictionary class of a framework: becomes a common dictionary."""

    def __new__(cls, *args: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        """Make the dictionary, of a class that accepts attributes."""
        return OrderedDict()


class _InertList:
    """Replaces a pickled list class: becomes a plain list."""

    def __new__(cls, *args: object) -> list[Any]:  # type: ignore[misc]
        """Make the plain list."""
        return []


def is_program(path: str | Path) -> str:
    """Return the program format of a file: TorchScript, torch.export, or none (empty text)."""
    check_plain_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ""
    inner = {name.partition("/")[2] for name in names} | set(names)
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "TorchScript"
    if inner & {"archive_format", "serialized_exported_program.json"}:
        return "torch.export"
    return ""


def files_of_checkpoint(path: Path) -> list[Path]:
    """List all files that hold the weights: the given one, or an index and the files it names.

    Raises
    ------
    WeightsNotFoundError
        If one of them does not exist.
    WeightsError
        If the index is not valid, or names a file outside its folder.
    """
    if not path.name.endswith(".index.json") or not path.is_file():
        return [path]
    check_plain_file(path)
    try:
        names = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError("it names no files")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is not an index of weights in several files: {error}"
        ) from error
    folder, files = path.parent, []
    for name in names:
        if Path(name).name != name or name in (".", ".."):
            raise WeightsError(f"{path} names a file elsewhere, {name!r}, which was not opened")
        files.append(check_plain_file(folder / name, argument=f"{path}: the file {name!r} of it"))
    return [path, *files]


def check_archive(path: Path) -> None:
    """Refuse a zip archive that unpacks to many times its size.

    Raises
    ------
    WeightsError
        If it does, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{path} is truncated, or damaged: {error}") from error
    size = path.stat().st_size
    if unpacked > max(_MOST_UNPACKED, _MOST_RATIO * size):
        raise WeightsError(
            f"{path} has {size:,} bytes and would unpack to {unpacked:,}: it was not read. Files "
            f"of torch.save are not compressed; save it again from its source"
        )


def read_checkpoint(path: str | Path, *, part: str | None = None) -> State:
    """Read the tensors of a network from a file, on the CPU.

    Parameters
    ----------
    path
        A ``safetensors`` file, a file of ``torch.save`` with a state dictionary, alone or inside a
        training checkpoint, or the index (``.index.json``) of weights in several files.
    part
        Which of several networks in a training checkpoint: the name of its entry
        (``"state_dict_ema"``), or the prefix of the names of its tensors (``"student"``).

    Returns
    -------
    dict of str to torch.Tensor
        Names as in the file, prefixes included, without the parts that ``torch.compile`` and FSDP
        insert.

    Raises
    ------
    UnsafePickleError
        If the file pickles objects that do not belong beside weights, or a whole module, or would
        exhaust the memory.
    UntrustedModelError
        If the file is a program (TorchScript, ``torch.export``).
    WeightsError
        If the file is truncated, damaged, of another kind, or holds no state dictionary.
    """
    path = Path(path)
    files = files_of_checkpoint(check_plain_file(path))
    if len(files) > 1:
        state: State = {}
        for file in files[1:]:
            state.update(read_checkpoint(file))
        return _chosen({"": state}, part, path)
    description = what_it_is(path)
    if description is not None:
        raise WeightsError(f"{path} {description}")
    content = content_of(path)
    if content == "safetensors" or (path.suffix == ".safetensors" and not content):
        return _chosen({"": _read_safetensors(path)}, part, path)
    if path.suffix == ".onnx" and content in ("ONNX", ""):
        raise WeightsError(
            f"{path} is an ONNX file, a whole model: give its path as the model, not as checkpoint"
        )
    program = is_program(path)
    if program:
        raise UntrustedModelError(
            f"{path} is a {program} program, not a file of weights; a state dictionary, or a "
            f"safetensors file, can be loaded into the network named"
        )
    state = _state_dict(_read_pickle(path), path, part)
    for name, tensor in state.items():
        plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
        if plain and tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
            raise WeightsError(
                f"{path}: {name} repeats few numbers as {tuple(tensor.shape)}; save it with "
                f"contiguous()"
            )
    return state


def load_weights(
    network: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    source: str | Path,
    ignore: Sequence[str] = (),
) -> None:
    """Load tensors into a network, requiring all of them, matching shapes and finite values.

    A prefix that the names share (``module.`` of ``DataParallel``, ``model.`` of a training
    class) is stripped; tensors outside the prefixed part, such as a classification head, are left
    out.

    Parameters
    ----------
    network
        The network.
    state
        Its tensors.
    source
        Name of the file in error messages.
    ignore
        Prefixes of names that the network does not use (``"logits."``).

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
    # files from before PyTorch 0.4.1 lack batch counters, and nothing depends on these
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
    """Return the shapes of tensors by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def find_prefix(state: Iterable[str], expected: Iterable[str], *, source: str | Path) -> str:
    """Find the prefix under which most of the expected names occur.

    Raises
    ------
    WeightsError
        If two prefixes hold a whole network each, as with a teacher and a student.
    """
    wanted = set(expected)
    counts: dict[str, int] = {}
    for name in state:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                prefix = name[: len(name) - len(".".join(parts[cut:]))]
                counts[prefix] = counts.get(prefix, 0) + 1
    if not counts:
        return ""
    most = max(counts.values())
    best = [prefix for prefix, count in counts.items() if count == most]
    if len(best) > 1 and most > len(wanted) / 2:
        plain = [prefix for prefix in best if not _AVERAGED.search(prefix)]
        if len(plain) != 1:
            raise WeightsError(
                f"{source} holds several networks of this kind, under "
                f"{', '.join(map(repr, best))}; select one with part="
            )
        _note_averaged(source, [prefix for prefix in best if prefix not in plain])
        best = plain
    return best[0]


def _note_averaged(source: str | Path, parts: Sequence[str]) -> None:
    names = ", ".join(part.rstrip(".") for part in parts)
    note(
        f"{Path(source).name} also holds averaged weights, under {names}; select them with "
        f"part={parts[0].rstrip('.')}"
    )


def _listed(what: str, names: Sequence[str]) -> list[str]:
    """Format a list with its first items spelt out; empty text for an empty list."""
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
    named = _named_in(path)
    foreign = [name for name in named if _is_foreign(name)]
    if foreign:
        raise UnsafePickleError(_refusal(path, ", ".join(sorted(foreign)[:_SHOWN])))
    # where PyTorch knows the name itself, it ignores the stand-in
    stand_ins: list[Any] = [(_stand_in(name), _current(name)) for name in named]
    try:
        # a stream, because PyTorch would judge a path by its name
        with _READING, torch.serialization.safe_globals(stand_ins), path.open("rb") as stream:
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "unsupported" in reason.lower():
            what = ", ".join(named[:_SHOWN]) or reason.partition("GLOBAL ")[2].split(" ")[0]
            raise UnsafePickleError(_refusal(path, what or "objects")) from error
        raise WeightsError(f"{path} is truncated, or no file of torch.save") from error
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).split(". ")[0]
        reason = reason if " " in reason else type(error).__name__
        raise WeightsError(f"{path} is truncated, or no file of torch.save: {reason}") from error


def _named_in(path: Path) -> list[str]:
    """List the globals in the pickles of a file; refuse it if reading would take too much."""
    size = path.stat().st_size
    named: dict[str, None] = {}
    try:
        if zipfile.is_zipfile(path):
            check_archive(path)
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                unpacked = sum(entry.file_size for entry in entries)
                for entry in entries:
                    if entry.filename.lower().endswith(".pkl"):
                        with archive.open(entry) as file:
                            named |= dict.fromkeys(check_pickle(file, largest=unpacked))
        else:
            with path.open("rb") as stream:
                for _ in range(_OLD_PICKLES):
                    if stream.read(1) != b"\x80":
                        break
                    stream.seek(-1, 1)
                    named |= dict.fromkeys(check_pickle(stream, largest=size))
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path} was not read: {error}") from None
    except WeightsError:
        raise
    except Exception as error:  # as above
        raise WeightsError(f"{path} is truncated, or damaged: {error}") from error
    return list(named)


def _current(name: str) -> str:
    """Return the Python 3 name of a global."""
    module, _, rest = name.rpartition(".")
    module, rest = _compat_pickle.NAME_MAPPING.get(
        (module, rest), (_compat_pickle.IMPORT_MAPPING.get(module, module), rest)
    )
    return f"{module}.{rest}"


def _is_foreign(name: str) -> bool:
    """Whether a global is of Python itself and not a data class: it would act, not hold data."""
    name = _current(name)
    module = name.partition(".")[0]
    if module not in sys.stdlib_module_names and module not in ("posix", "nt"):
        return False
    return not name.startswith(_DATA)


def _stand_in(name: str) -> type:
    base: type = _Inert
    if name.lower().endswith(("dict", "box")):
        base = _InertDict
    elif name.lower().endswith(("list", "deque")):
        base = _InertList
    return type(name.rpartition(".")[2], (base,), {})


def _refusal(path: Path, named: str) -> str:
    return (
        f"{path} pickles more than tensors ({named}) and was not read. Where it comes from, save "
        f"the network's state_dict() alone, or a safetensors file"
    )


def _state_dict(content: Any, path: Path, part: str | None) -> State:
    """Find the tensors of a network in the contents of a checkpoint."""
    if isinstance(content, _Inert):
        raise UnsafePickleError(_refusal(path, f"a whole {type(content).__name__}"))
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state dictionary")
    states = dict(_mappings_of_tensors(content))
    if states:
        return _chosen(states, part, path)
    modules = [str(k) for k, v in content.items() if isinstance(v, _Inert) and k in _CONTAINERS]
    if modules:
        raise UnsafePickleError(
            _refusal(path, f"a whole {type(content[modules[0]]).__name__} as {modules[0]}")
        )
    entries = ", ".join(key for key in list(content)[:_SHOWN] if isinstance(key, str)) or "nothing"
    raise WeightsError(
        f"{path} holds no state dictionary: it has the entries {entries}; looked for "
        f"{', '.join(_CONTAINERS)}"
    )


def _mappings_of_tensors(content: Mapping[Any, Any]) -> Iterator[tuple[str, State]]:
    """Yield each mapping that holds tensors once, with the names of the entries leading to it."""
    met: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), content)]
    while waiting:
        names, mapping = waiting.pop(0)
        if id(mapping) in met:
            continue
        met.add(id(mapping))
        tensors = {
            _WRAPPERS.sub("", k): v
            for k, v in _items(mapping)
            if isinstance(k, str) and isinstance(v, torch.Tensor)
        }
        if tensors:
            yield ".".join(names), tensors
        if len(names) < _DEEPEST:
            waiting += [
                ((*names, name), inner)
                for name, inner in _items(mapping)
                if isinstance(name, str) and isinstance(inner, Mapping)
            ]


def _items(mapping: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """Entries of a mapping; attributes that a file gave it are ignored."""
    return dict.items(mapping) if isinstance(mapping, dict) else mapping.items()


def _chosen(states: Mapping[str, State], part: str | None, path: Path) -> State:
    """Return the mapping that holds the network: the one asked for, or the most likely one."""
    if part is not None:
        return _part(states, part, path)
    candidates = {name: state for name, state in states.items() if name}
    likely = [name for name in candidates if not _BESIDE.search(name)]
    if not likely:  # one mapping, or only named ones that lie beside a network
        return states.get("") or next(iter(candidates.values()))
    ranked = sorted(likely, key=lambda name: (_rank(name), likely.index(name)))
    best = ranked[0]
    if _rank(best) == len(_CONTAINERS) and "" in states:
        return states[""]  # named mappings with other values, beside the network
    if _rank(best) == len(_CONTAINERS) and len(likely) > 1:
        raise WeightsError(
            f"{path} holds tensors under {', '.join(likely[:_SHOWN])}: select those of the network "
            f"with part="
        )
    averaged = [
        name
        for name in likely
        if name != best and _AVERAGED.search(name) and len(candidates[name]) > 1
    ]
    if averaged and not _AVERAGED.search(best):
        _note_averaged(path, averaged)
    return candidates[best]


def _rank(name: str) -> int:
    """Rank of an entry among the usual names; their number for any other name."""
    places = [_CONTAINERS.index(word) for word in name.split(".") if word in _CONTAINERS]
    return max(places, default=len(_CONTAINERS))


def _part(states: Mapping[str, State], part: str, path: Path) -> State:
    """Return the mapping of a name, or the tensors whose names have this prefix."""
    for name, state in states.items():
        if name and (name == part or name.endswith(f".{part}")):
            return state
    for state in states.values():
        begun = {n: t for n, t in state.items() if n.startswith(f"{part.rstrip('.')}.")}
        if begun:
            return begun
    beginnings = {n.partition(".")[0] for state in states.values() for n in state if "." in n}
    allowed = sorted({name for name in states if name} | beginnings)
    raise WeightsError(
        f"{path} has no part {part!r}; it has {', '.join(allowed[:20]) or 'no parts'}"
    )

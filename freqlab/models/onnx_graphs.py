"""Checks of an ONNX file before it is run: tensors in other files, and loops without end.

The graph is read without the external data. All parts are examined: initialisers, constants of
nodes, the bodies of loops and branches, functions. External files are checked to be in the folder
before any of them is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from freqlab.errors import WeightsError, WeightsNotFoundError
from freqlab.models.file_kinds import check_plain_file, what_it_is

__all__ = [
    "check_graph",
    "external_files",
    "has_loop",
    "normalises_itself",
    "read_graph",
    "take_in",
]

# Operations that leave the values of an input unchanged.
_NEUTRAL = ("Cast", "Identity", "Transpose", "Reshape", "Unsqueeze", "Squeeze")
_CENTRING = ("Sub", "Add", "Mul", "Div", "BatchNormalization", "InstanceNormalization")
_MOST_NODES = 1_000_000  # after all functions are inlined
_DEFAULT, _EXTERNAL = 0, 1  # data locations of TensorProto
_MOST_TAKEN_IN = 1_900_000_000  # bytes; a message is limited to two billion


def read_graph(path: Path) -> Any:
    """Read the ``ModelProto`` of a file, without its external data.

    Raises
    ------
    WeightsNotFoundError
        If the file does not exist, or onnx is not installed.
    WeightsError
        If it is not a regular file, or not an ONNX file.
    """
    check_plain_file(path)
    try:
        import onnx
    except ImportError as error:
        raise WeightsNotFoundError(
            f"{path} is read by onnx, which is not installed: pip install 'freqlab[onnx]'"
        ) from error
    description = what_it_is(path)
    if description is not None:
        raise WeightsError(f"{path} is damaged, or no ONNX file: it {description}")
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the error of a damaged message has no public class
        raise WeightsError(f"{path} is damaged, or no ONNX file: {error}") from error


def external_files(model: Any, path: Path) -> list[Path]:
    """List the external files with tensors, used or not, in order of their names.

    Raises
    ------
    WeightsNotFoundError
        If one does not exist.
    WeightsError
        If one is outside the file's folder, also through a link, is not a regular file, or ends
        before its tensors do. It is not opened in that case.
    """
    locations: dict[str, None] = {}
    for tensor in _external_tensors(model):
        about = {entry.key: entry.value for entry in tensor.external_data}
        location = about.get("location", "")
        file = _beside(path, location)
        end = _number(about, "offset", path) + _number(about, "length", path)
        size = file.stat().st_size
        if end > size:
            raise WeightsError(
                f"{path}: {location} beside it is truncated: tensor {tensor.name!r} ends at byte "
                f"{end:,} of {size:,}"
            )
        locations[location] = None
    return [path.parent / location for location in sorted(locations)]


def take_in(model: Any, path: Path) -> bool:
    """Read the external data of a file into its graph, in place; return False if too large.

    Otherwise the runtime would map them into memory, and a process that writes to the file would
    change the network while it runs.

    Raises
    ------
    WeightsNotFoundError, WeightsError
        As for :func:`external_files`.
    """
    files = external_files(model, path)
    tensors = list(_external_tensors(model))
    if sum(file.stat().st_size for file in files) + model.ByteSize() > _MOST_TAKEN_IN:
        return False
    n_taken = 0
    for tensor in tensors:
        about = {entry.key: entry.value for entry in tensor.external_data}
        file = path.parent / about["location"]
        start, length = _number(about, "offset", path), _number(about, "length", path)
        length = length or file.stat().st_size - start
        n_taken += length
        if n_taken > _MOST_TAKEN_IN:  # many tensors may share the same bytes
            return False
        with file.open("rb") as stream:
            stream.seek(start)
            tensor.raw_data = stream.read(length)
        tensor.ClearField("external_data")
        tensor.data_location = _DEFAULT
    return True


def _external_tensors(message: Any) -> Iterator[Any]:
    """Yield all tensors of a message, at any depth, whose data are external."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        if message.DESCRIPTOR.name == "TensorProto":
            if message.data_location == _EXTERNAL or message.external_data:
                yield message
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += [value] if hasattr(value, "ListFields") else list(value)


def _number(about: Mapping[str, str], key: str, path: Path) -> int:
    text = about.get(key) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise WeightsError(f"{path}: a tensor in another file has the {key} {text[:40]!r}")
    return int(text)


def _beside(path: Path, location: str) -> Path:
    """Return a file that an ONNX file names, if it is in the same folder."""
    parts = PureWindowsPath(location)  # accepts both kinds of slashes
    outside = WeightsError(
        f"{path} keeps tensors in {location!r}, outside its folder, which was not opened; put the "
        f"file itself into the folder"
    )
    if not location or "\0" in location:
        raise WeightsError(f"{path} keeps a tensor in a file without a name")
    if parts.anchor or ".." in parts.parts or os.path.isabs(location):
        raise outside
    file = path.parent / location
    if not os.path.lexists(file):
        raise WeightsNotFoundError(
            f"{path} keeps tensors in the file {location!r}, which is missing: put it into "
            f"{path.parent} under this name"
        )
    try:
        real = file.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise WeightsNotFoundError(
            f"{path} keeps tensors in {location!r}, a broken link"
        ) from error
    # a cache may keep model and data as links into one folder
    folders = {path.parent.resolve(), path.resolve().parent}
    if not any(real.is_relative_to(folder) for folder in folders):
        raise outside
    return check_plain_file(file, argument=f"{path}: {location!r} beside it")


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield all nodes of a graph or function, and of the graphs in their attributes."""
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += list(attribute.graphs)


def has_loop(model: Any) -> bool:
    """Whether the model contains a loop, which may never end."""
    return any(
        node.op_type == "Loop" for part in (model.graph, *model.functions) for node in _nodes(part)
    )


def check_graph(model: Any, path: Path) -> None:
    """Refuse a graph that could not be prepared, or not be stopped.

    Raises
    ------
    WeightsError
        If its functions, inlined, have millions of nodes, or one calls itself; or a loop has an
        empty body, so that it could not be stopped.
    """
    for part in (model.graph, *model.functions):
        for node in _nodes(part):
            bodies = [a.g for a in node.attribute if a.name == "body" and a.HasField("g")]
            if node.op_type == "Loop" and any(not body.node for body in bodies):
                raise WeightsError(f"{path} holds a loop that does nothing, and may never end")
    functions = {(f.domain, f.name): f for f in model.functions}
    counted: dict[tuple[str, str], int] = {}
    under_way: set[tuple[str, str]] = set()

    def count(part: Any) -> int:
        total = 0
        for node in _nodes(part):
            key = (node.domain, node.op_type)
            total += 1
            if key in functions:
                if key in under_way or len(under_way) > 100:
                    raise WeightsError(f"{path}: its function {node.op_type!r} calls itself")
                if key not in counted:
                    under_way.add(key)
                    counted[key] = count(functions[key])
                    under_way.discard(key)
                total += counted[key]
        return total

    n_nodes = count(model.graph)
    if n_nodes > _MOST_NODES:
        raise WeightsError(
            f"{path} expands to {float(min(n_nodes, 10**100)):.3g} nodes by nested function calls; "
            f"the maximum is {_MOST_NODES:,}"
        )


def normalises_itself(model: Any) -> bool:
    """Whether the graph begins with arithmetic on its input, as exports of MXNet do."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    names = {given.name for given in graph.input if given.name not in stored}
    for node in graph.node[:8]:
        if not names & set(node.input):
            continue
        if node.op_type in _CENTRING:
            return True
        if node.op_type not in _NEUTRAL:
            return False
        names |= set(node.output)
    return False

"""Parameters of report notebooks: their types, how text is read as them, and their checks."""

from __future__ import annotations

import ast
import contextlib
import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freqlab.bands.parsing import parse_bands
from freqlab.datasets.protocols import PAIR_FORMATS
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.images.degradation import KERNELS, MEASURES
from freqlab.images.templates import template
from freqlab.literals import WhichFace
from freqlab.models.devices import resolve_device
from freqlab.models.loading import parse_model
from freqlab.models.precision import PRECISIONS
from freqlab.run.cluster import check_cluster
from freqlab.statistics.error_rates import check_fmr

__all__ = ["Parameter", "check", "convert", "read_parameters"]

_HANDLING = ("raise", "drop")
_NONE = ("None", "null")
_TYPES: dict[str, Any] = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": float,
    "list[str]": list[str],
    "list[int]": list[int],
    "list[float]": list[float],
    "Optional[str]": str | None,  # written so, because papermill skips "str | None"
    "Optional[int]": int | None,
    "Optional[float]": float | None,
    "Union[str, list[str]]": str | list[str],
    "Union[float, list[float], None]": float | list[float] | None,
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a report.

    Parameters
    ----------
    name
        Name of the parameter.
    type
        Type of its values, such as ``float``, ``str | None`` or ``list[int]``.
    default
        Value that it has unless another is given.
    about
        What it means: the comment in the notebook.
    """

    name: str
    type: Any
    default: Any
    about: str

    @property
    def type_name(self) -> str:
        """The type as it is written today: ``str | None``."""
        return " | ".join(_name_of(part) for part in _alternatives(self.type))


def read_parameters(source: str) -> dict[str, Parameter]:
    """Read the parameters that the code of a notebook's cell declares.

    Parameters
    ----------
    source
        Lines such as ``n_pairs: Optional[int] = 200  # a sample of pairs``.

    Returns
    -------
    dict
        The parameters by name, in their order.
    """
    lines = source.splitlines()
    found = {}
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.AnnAssign) or statement.value is None:
            continue
        name = ast.unparse(statement.target)
        _, _, comment = lines[(statement.end_lineno or 1) - 1].rpartition("  # ")
        found[name] = Parameter(
            name,
            _TYPES[ast.unparse(statement.annotation)],
            ast.literal_eval(statement.value),
            comment.strip(),
        )
    return found


def convert(parameter: Parameter, text: str) -> Any:
    """Read a text, such as one from the command line, as a value of a parameter's type.

    ``None`` is read as None where the type allows it; a list is written in brackets, with or
    without quotes around its items.

    Raises
    ------
    ParameterError
        If the text is no value of the type.
    """
    import yaml

    alternatives = _alternatives(parameter.type)
    if text in _NONE and type(None) in alternatives:
        return None
    lists = [kind for kind in alternatives if typing.get_origin(kind) is list]
    value: Any = text
    only_lists = {*lists, type(None)} >= set(alternatives)
    if lists and (only_lists or text.lstrip().startswith("[")):
        try:
            value = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 (makes only texts)
        except yaml.YAMLError:
            raise _refused(parameter, text) from None
        alternatives = tuple(lists)
    for kind in alternatives:
        if kind is not type(None):
            with contextlib.suppress(ParameterError):
                return _validated(parameter, value, kind, strict=False)
    raise _refused(parameter, text)


def check(
    values: Mapping[str, Any],
    declared: Mapping[str, Parameter],
    choices: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Check values of parameters: their types, and what each name allows.

    Parameters
    ----------
    values
        Values by name; names that are not declared are ignored.
    declared
        The parameters.
    choices
        Allowed values of further parameters, by name.

    Raises
    ------
    ParameterError
        Naming the parameter, its value and what is allowed.
    """
    for name, parameter in declared.items():
        if name not in values:
            continue
        value = values[name]
        _validated(parameter, value, parameter.type, strict=True)
        if value is None:
            continue
        if choices and name in choices:
            check_name(name, value, choices[name])
        elif name in _CHECKS:
            _CHECKS[name](value)
        elif name.startswith(("n_", "most_")):
            check_number(name, value, at_least=0 if name in _MAY_BE_ZERO else 1, whole=True)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of another type itself."""
    of_union = typing.get_origin(kind) is types.UnionType
    return typing.get_args(kind) if of_union else (kind,)


def _name_of(kind: Any) -> str:
    if kind is type(None):
        return "None"
    return str(kind) if typing.get_args(kind) else str(kind.__name__)


_WORDS = {str: "text", bool: "True or False", int: "a whole number", float: "a number"}


def _in_words(kind: Any) -> str:
    if kind is type(None):
        return "None"
    if typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind)
        return f"a list of {'texts' if item is str else _in_words(item).removeprefix('a ') + 's'}"
    return _WORDS.get(kind, _name_of(kind))


def _refused(parameter: Parameter, value: Any) -> ParameterError:
    allowed = " or ".join(_in_words(kind) for kind in _alternatives(parameter.type))
    return ParameterError(f"parameter {parameter.name}={value!r} must be {allowed}")


def _validated(parameter: Parameter, value: Any, kind: Any, *, strict: bool) -> Any:
    """Return `value` as an instance of `kind`; with `strict` nothing is converted but int to float.

    Raises
    ------
    ParameterError
        If it is none.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(_plain(value), strict=strict)
    except ValidationError:
        raise _refused(parameter, value) from None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _between(name: str, low: float, high: float, value: float) -> None:
    if not low <= value <= high:
        raise ParameterError(f"parameter {name}={value!r} must lie between {low:g} and {high:g}")


def _models(values: Sequence[str]) -> None:
    for value in values:
        parse_model(value)


def _sizes(values: Sequence[int]) -> None:
    for value in values:
        check_number("resolutions", value, at_least=2, whole=True)


_MAY_BE_ZERO = ("n_control", "n_shown")
_CHECKS: dict[str, Callable[[Any], object]] = {
    "fmr": check_fmr,
    "bands": parse_bands,
    "aligned": template,
    "model": parse_model,
    "more_models": _models,
    "resolutions": _sizes,
    "which_face": functools.partial(
        check_name, "which_face", allowed=typing.get_args(WhichFace)
    ),
    "device": resolve_device,
    "cluster": check_cluster,
    "precision": functools.partial(check_name, "precision", allowed=PRECISIONS),
    "missing": functools.partial(check_name, "missing", allowed=_HANDLING),
    "repeated": functools.partial(check_name, "repeated", allowed=_HANDLING),
    "format": functools.partial(check_name, "format", allowed=PAIR_FORMATS),
    "kernel": functools.partial(check_name, "kernel", allowed=KERNELS),
    "measure": functools.partial(check_name, "measure", allowed=MEASURES),
    "alpha": functools.partial(_between, "alpha", 0, 1),
    "reliability": functools.partial(_between, "reliability", 0, 1),
    "jpeg": functools.partial(_between, "jpeg", 1, 95),
    "blur": functools.partial(check_number, "blur", at_least=0),
    "noise": functools.partial(check_number, "noise", at_least=0),
    "caliper": functools.partial(check_number, "caliper", above=0),
    "tolerance": functools.partial(check_number, "tolerance", above=0),
    "impostors_per_genuine": functools.partial(
        check_number, "impostors_per_genuine", at_least=0
    ),
    "n_sectors": functools.partial(check_number, "n_sectors", at_least=2, whole=True),
    "folds": functools.partial(check_number, "folds", at_least=2, whole=True),
    "steps": functools.partial(check_number, "steps", at_least=1, whole=True),
    "grid": functools.partial(check_number, "grid", at_least=1, whole=True),
    "per_subject": functools.partial(
        check_number, "per_subject", at_least=2, whole=True
    ),
    "seed": functools.partial(check_number, "seed", at_least=0, whole=True),
}  # fmt: skip

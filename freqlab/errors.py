"""Errors that freqlab raises: one class per kind, each also a subclass of a built-in error."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import TypeVar

from freqlab.text.shown import visible
from freqlab.text.spelling import nearest

__all__ = [
    "BandError",
    "FaceSetError",
    "FreqlabError",
    "ImageTooLargeError",
    "LeftOutWarning",
    "ModelError",
    "PairError",
    "ParameterError",
    "StoreConflictError",
    "StoreError",
    "UnknownNameError",
    "UnsafePickleError",
    "UntrustedModelError",
    "WeightsError",
    "WeightsMismatchError",
    "WeightsNotFoundError",
    "check_name",
    "check_number",
    "check_side",
]

Name = TypeVar("Name", bound=str)


class FreqlabError(Exception):
    """Base of all errors that freqlab raises on purpose; its text is safe for a terminal."""

    def __str__(self) -> str:
        return visible(super().__str__())


class ParameterError(FreqlabError, ValueError):
    """An argument has a value that is not allowed."""


class UnknownNameError(ParameterError):
    """A name is not among the known ones."""


class BandError(ParameterError):
    """A declaration of bands cannot be met."""


class FaceSetError(FreqlabError, FileNotFoundError):
    """A face set is not where it was looked for, or has another layout."""


class ImageTooLargeError(FreqlabError, OSError):
    """An image has more pixels than the limit for decoding."""


class LeftOutWarning(UserWarning):
    """Photographs of a face set were left out; ``Faces.notes`` says which and why."""


class PairError(ParameterError):
    """A table of pairs does not fit its faces."""


class ModelError(FreqlabError, RuntimeError):
    """A model does not do what its declaration says."""


class WeightsError(FreqlabError, RuntimeError):
    """A weight file is missing, damaged, or belongs to another network."""


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """A weight file is not where it was looked for."""


class WeightsMismatchError(WeightsError):
    """Weights belong to another network.

    Parameters
    ----------
    message
        What does not fit.
    shapes
        Shapes of the tensors in the file, by name.
    """

    def __init__(self, message: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(message)
        self.shapes = dict(shapes)


class UnsafePickleError(WeightsError):
    """A pickle names a global that a weight file does not need."""


class UntrustedModelError(WeightsError):
    """A file is a program, and the caller has not declared it trusted."""


class StoreError(FreqlabError, RuntimeError):
    """A run's store cannot be read or written."""


class StoreConflictError(StoreError, ValueError):
    """A store holds other content under the same name."""


def check_number(
    argument: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    whole: bool = False,
) -> None:
    """Refuse a value that is not a finite number in the allowed range.

    Parameters
    ----------
    argument
        Name of the argument, for the message.
    value
        Value that was given.
    at_least, above
        Smallest allowed value, and a bound that the value must exceed.
    whole
        Whether the value must be a whole number.

    Raises
    ------
    ParameterError
        Naming the argument, the value given and the values allowed.

    Examples
    --------
    >>> from freqlab.errors import check_number
    >>> check_number("n_draws", 100, at_least=1, whole=True)
    >>> check_number("n_draws", 0, at_least=1, whole=True)
    Traceback (most recent call last):
        ...
    freqlab.errors.ParameterError: n_draws=0 must be a whole number of 1 or more
    """
    allowed = "a whole number" if whole else "a number"
    if at_least is not None:
        allowed += f" of {at_least:g} or more"
    if above is not None:
        allowed += f" above {above:g}"
    kind = numbers.Integral if whole else numbers.Real
    if (
        isinstance(value, bool)
        or not isinstance(value, kind)
        or not math.isfinite(value)
        or (at_least is not None and value < at_least)
        or (above is not None and value <= above)
    ):
        raise ParameterError(f"{argument}={value!r} must be {allowed}")


def check_name(argument: str, value: object, allowed: Iterable[Name]) -> Name:
    """Return `value` if it is among `allowed`; otherwise list the allowed and the nearest names.

    Parameters
    ----------
    argument
        Name of the argument, for the message.
    value
        Value that was given.
    allowed
        Names that are allowed.

    Returns
    -------
    Name
        `value`, unchanged.

    Raises
    ------
    UnknownNameError
        If `value` is not one of the `allowed` names.

    Examples
    --------
    >>> from freqlab.errors import check_name
    >>> check_name("side", "probe", ["probe", "reference"])
    'probe'
    >>> check_name("side", "prob", ["probe", "reference"])
    Traceback (most recent call last):
        ...
    freqlab.errors.UnknownNameError: unknown side 'prob'; allowed: probe, reference. Did you mean
    'probe'?
    """
    names = list(allowed)
    if isinstance(value, str):
        for name in names:
            if value == name:
                return name
    near = nearest(str(value), names)
    hint = f" Did you mean {near!r}?" if near is not None else ""
    raise UnknownNameError(f"unknown {argument} {value!r}; allowed: {', '.join(names)}.{hint}")


def check_side(side: object, computed: Iterable[Name]) -> Name:
    """Return `side` if it was computed; otherwise say which sides were.

    Parameters
    ----------
    side
        Value that was given.
    computed
        Sides of the result.

    Returns
    -------
    Name
        `side`, unchanged.

    Raises
    ------
    UnknownNameError
        If a result, or what was made of it, lacks the side.

    Examples
    --------
    >>> from freqlab.errors import check_side
    >>> check_side("probe", ["probe", "reference"])
    'probe'
    """
    names = list(computed)
    if side in ("probe", "reference", "both") and side not in names:
        there = ", ".join(map(repr, names))
        raise UnknownNameError(
            f"side={side!r} was not computed: there {'is' if len(names) == 1 else 'are'} {there}; "
            f"fl.influence(..., sides=[...]) computes others"
        )
    return check_name("side", side, names)

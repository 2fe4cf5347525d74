"""Read pickles from others: check the operations first, and admit only the globals listed.

A few bytes of a pickle can ask for gigabytes of memory, or for hours of computing. Its operations
are therefore traced without creating the objects. Three values are kept for each object: the number
of objects it holds, with repeated references counted repeatedly, because hashing or printing it
takes that many steps; the largest number among its parts; and the name, if it is a global.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

from freqlab.errors import UnsafePickleError

__all__ = ["RestrictedUnpickler", "check_pickle"]

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_GLOBALS = ("GLOBAL", "INST", "STACK_GLOBAL")
_CALLS = ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "BUILD")
# Operations that make a hashable object, whose hash covers all its parts.
_HASHED = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET", *_CALLS)
# Packages whose functions are really called; all others are replaced by inert stand-ins.
_REAL = ("torch.", "builtins.", "collections.", "__builtin__.", "_codecs.")
_SMALL = 10_000  # always allowed: objects in an object, and numbers given to a call
_SHOWN = 10**100
_MOST_OPERATIONS = 5_000_000


class _Thing(NamedTuple):
    """An object that a pickle makes."""

    size: int = 1
    largest: int = 0
    text: str = ""


_MARK = _Thing(0)


class RestrictedUnpickler(pickle.Unpickler):
    """Reads one pickle, admitting only given names, each with its replacement.

    Parameters
    ----------
    file
        The file, at the beginning of the pickle.
    admitted
        Replacement of each global, by its module and name.
    contents
        What such a file holds, for the error message about any other content.
    encoding
        Encoding of the byte strings of Python 2.

    Raises
    ------
    UnsafePickleError
        If the pickle would exhaust the memory or never finish; on reading, if it names any other
        global. Nothing of it is executed in that case.
    ValueError
        If it is not a pickle.
    """

    def __init__(
        self,
        file: IO[bytes],
        admitted: Mapping[tuple[str, str], Any],
        *,
        contents: str,
        encoding: str,
    ) -> None:
        start = file.tell()
        check_pickle(file)
        file.seek(start)
        super().__init__(file, encoding=encoding)
        self._admitted, self._contents = admitted, contents

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a global."""
        try:
            return self._admitted[module, name]
        except KeyError:
            raise UnsafePickleError(
                f"the pickle asks for {module}.{name}; only {self._contents} are read, and "
                f"nothing of it was run"
            ) from None


def check_pickle(file: IO[bytes], *, largest: int | None = None) -> list[str]:
    """Trace a pickle up to its end, and leave the file position there.

    Parameters
    ----------
    file
        The file, at the beginning of the pickle.
    largest
        Largest number that a call may be given, beyond ten thousand: no call needs a number
        above the number of bytes in the file. None for no limit.

    Returns
    -------
    list of str
        Names of its globals (``module.name``), each once.

    Raises
    ------
    UnsafePickleError
        If a memo index exceeds the number of objects (Python's reader allocates room up to the
        highest index), objects are nested so often that hashing would never finish, or a call is
        given a number that is too large.
    ValueError
        If it is not a pickle.
    """
    stack: list[_Thing] = []
    memo: dict[int, _Thing] = {}
    named: dict[str, None] = {}
    for n_done, (operation, argument, _) in enumerate(pickletools.genops(file), start=1):
        name = operation.name
        if n_done > _MOST_OPERATIONS:
            raise UnsafePickleError(f"the pickle takes more than {_MOST_OPERATIONS:,} operations")
        if name in _PUTS or name == "MEMOIZE":
            number = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if number > n_done:
                raise UnsafePickleError(
                    f"the pickle numbers an object {number} after {n_done} operations: to "
                    f"read it would fill the memory"
                )
            memo[number] = _top(stack)
        elif name in _GETS:
            stack.append(memo.get(int(argument or 0), _Thing()))
        elif name == "DUP":
            stack.append(_top(stack))
        elif name == "MARK":
            stack.append(_MARK)
        else:
            parts = _taken(stack, operation)
            made = _made(name, argument, parts)
            if made.size > max(_SMALL, n_done):
                raise UnsafePickleError(
                    "the pickle nests objects in one another so often that to read it would take "
                    "for ever"
                )
            if name in _GLOBALS:
                named[made.text] = None
            if largest is not None:
                _check_number(name, parts, max(_SMALL, largest))
            stack.extend([made] * len(operation.stack_after))
    return list(named)


def _made(name: str, argument: object, parts: Sequence[_Thing]) -> _Thing:
    """Object that an operation makes of its argument and the objects it takes."""
    if name in _GLOBALS:
        if name == "STACK_GLOBAL":
            return _Thing(text=".".join(part.text for part in parts))
        return _Thing(text=".".join(str(argument).split(" ", 1)))
    if name in _HASHED:
        size = 1 + sum(part.size for part in parts)
        if name in _CALLS:
            return _Thing(size, 0, parts[0].text if parts else "")
        return _Thing(size, max((part.largest for part in parts), default=0))
    if isinstance(argument, str):
        return _Thing(text=argument)
    if isinstance(argument, int):
        return _Thing(largest=abs(argument))
    return _Thing()


def _check_number(name: str, parts: Sequence[_Thing], limit: int) -> None:
    """Refuse a call with a number above a limit."""
    if name != "BINPERSID" and not (name in _CALLS and parts and parts[0].text.startswith(_REAL)):
        return
    number = max((part.largest for part in parts), default=0)
    if number > limit:
        raise UnsafePickleError(
            f"the pickle makes something with the number {float(min(number, _SHOWN)):.3g}, more "
            f"than the file has bytes: to read it would fill the memory"
        )


def _top(stack: Sequence[_Thing]) -> _Thing:
    return stack[-1] if stack and stack[-1] is not _MARK else _Thing()


def _taken(stack: list[_Thing], operation: pickletools.OpcodeInfo) -> list[_Thing]:
    """Pop the operands of an operation from the stack, in order; missing operands are skipped."""
    parts: list[_Thing] = []
    n_below = len(operation.stack_before)
    if pickletools.markobject in operation.stack_before:  # all down to the mark, and below it
        n_below = operation.stack_before.index(pickletools.markobject)
        while stack and stack[-1] is not _MARK:
            parts.append(stack.pop())
        if stack:
            stack.pop()
    for _ in range(min(n_below, len(stack))):
        parts.append(stack.pop())
    return parts[::-1]

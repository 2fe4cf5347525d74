"""Look through a pickle before it is read: a few bytes can ask for gigabytes."""

from __future__ import annotations

import pickletools
from typing import BinaryIO

from freqlab.errors import UnsafePickleError

__all__ = ["check_memo"]

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")


def check_memo(file: BinaryIO) -> None:
    """Refuse a pickle that numbers its objects higher than it has any.

    Python's reader makes room for all numbers up to the highest. The file is left where it was.

    Raises
    ------
    UnsafePickleError
        If one does.
    ValueError
        If it is no pickle.
    """
    start = file.tell()
    for n_operations, (operation, argument, _) in enumerate(pickletools.genops(file), start=1):
        if operation.name in _PUTS and int(argument or 0) > n_operations:
            raise UnsafePickleError(
                f"the pickle numbers an object {argument} after {n_operations} operations: to "
                f"read it would fill the memory"
            )
    file.seek(start)

"""Selection of the embedding among the outputs of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from freqlab.errors import ModelError

__all__ = ["pick_output"]

_SHOWN = 8


def pick_output(
    found: Any, output: str | int | None, name: str
) -> tuple[torch.Tensor | Any, str | None]:
    """Select the embedding among the outputs of a network.

    Parameters
    ----------
    found
        A tensor, a tuple or list of several, or a mapping.
    output
        Which of several: the key of a mapping, the position in a tuple, or the name of a field;
        None for the first of a tuple.
    name
        The model's name, for errors.

    Returns
    -------
    embedding : torch.Tensor
        Or an object of another type; the caller checks this.
    note : str or None
        The choice made, where the caller had not specified the output.

    Raises
    ------
    ModelError
        If a mapping is returned and no entry was specified, or there is no such output.
    """
    if isinstance(output, str) and output.lstrip("-").isdecimal() and not isinstance(found, dict):
        output = int(output)
    if isinstance(found, Mapping):
        if output in found:
            return found[output], None
        entries = ", ".join(f"{key!r} {_form(found[key])}" for key in list(found)[:_SHOWN])
        raise ModelError(
            f"model {name!r} returned a dictionary with the entries {entries or 'none'}"
            + (f", not {output!r}" if output is not None else "")
            + "; say which is the embedding, as in wrap_model(network, output='...')"
        )
    if isinstance(found, (tuple, list)):
        forms = ", ".join(_form(value) for value in found[:_SHOWN]) or "none"
        if isinstance(output, str) and hasattr(found, "_fields") and output in found._fields:
            return getattr(found, output), None
        index = 0 if output is None else output
        if not isinstance(index, int) or not -len(found) <= index < len(found):
            raise ModelError(
                f"model {name!r} returned {len(found)} outputs ({forms}), none of them {output!r}"
            )
        is_clear = output is not None or len(found) == 1
        kind = "list" if isinstance(found, list) else "tuple"
        taken = (
            f"the network returned a {kind} of {len(found)} outputs ({forms}); the first is taken "
            f"as the embedding"
        )
        return found[index], None if is_clear else taken
    if output is not None and output != 0:
        raise ModelError(
            f"model {name!r} returned one output, {_form(found)}; output={output!r} does not apply"
        )
    return found, None


def _form(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        # the first length is the batch size
        return f"(n{''.join(f', {length}' for length in value.shape[1:])})" if value.ndim else "()"
    return f"a {type(value).__name__}"

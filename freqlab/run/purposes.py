"""What a result is computed for, and its name in the store if the caller gives none.

A result of a report is called ``report-bias``, one of a study that was called directly
``study-bias``, and any other has a short hash of its inputs. A number is appended to a name that
another result of the store has already.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import zarr

from freqlab.attrs import to_json
from freqlab.errors import ParameterError
from freqlab.store import journal
from freqlab.store.chunks import groups_of

__all__ = ["CALLED", "Purpose", "automatic_name", "begin_report", "current_purpose", "made_for"]


@dataclass(frozen=True)
class Purpose:
    """What a result is computed for.

    Parameters
    ----------
    text
        In words, as shown in tables of results.
    name
        First part of the names of its results; empty for a short hash of their inputs.
    """

    text: str
    name: str = ""


CALLED = Purpose("called by you")
"""Purpose of a result outside reports and studies."""

_studied: ContextVar[Purpose | None] = ContextVar("studied", default=None)
_reports: list[Purpose] = []  # of this process; a list, as the cells of a notebook share no context


def begin_report(name: str) -> None:
    """Declare that this process makes a report, whose name its results have from here on.

    Parameters
    ----------
    name
        Name of the report, such as ``"cross-resolution"``; empty for no report.

    Raises
    ------
    ParameterError
        If it is not text.
    """
    if not isinstance(name, str):
        raise ParameterError(f"report={name!r} must be the name of a report, such as 'bias'")
    _reports[:] = [Purpose(f"report {name}", f"report-{name}")] if name else []


@contextlib.contextmanager
def made_for(purpose: Purpose) -> Iterator[None]:
    """Give the results of a block their purpose, unless the block is within another purpose."""
    token = _studied.set(_studied.get() or purpose)
    try:
        yield
    finally:
        _studied.reset(token)


def current_purpose() -> Purpose:
    """What results are computed for at present: the report, else the study, else the call."""
    return (_reports[-1] if _reports else None) or _studied.get() or CALLED


def automatic_name(root: zarr.Group, identity: Mapping[str, Any]) -> str:
    """Name of a result for which the caller gives none.

    Parameters
    ----------
    root
        The run's Zarr group.
    identity
        Everything that the result depends on, as JSON values.

    Returns
    -------
    str
        Name of the finished result with this identity, if the run has one; otherwise the name of
        the purpose, with a number if another result has that name; otherwise a short hash of
        `identity`.

    Raises
    ------
    StoreError
        If the description of a result is damaged.
    """
    text = to_json(identity)
    short = hashlib.sha256(text.encode()).hexdigest()[:8]
    base = current_purpose().name
    finished = _identities(root)
    wanted = json.loads(text)
    alike = sorted(name for name, stored in finished.items() if stored == wanted)
    if alike:
        return short if short in alike else alike[0]
    if not base:
        return short
    name, n = base, 1
    while name in finished:
        n += 1
        name = f"{base}-{n}"
    return name


def _identities(root: zarr.Group) -> dict[str, Any]:
    """Identities of the finished results of a run, by name."""
    if "influence" not in root:
        return {}
    groups = groups_of(cast(zarr.Group, root["influence"]))
    return {
        name: json.loads(str(group.attrs.get("identity", "null")))
        for name, group in groups.items()
        if journal.counts(root, group.path) and group.attrs.get("complete")
    }

"""Names that differ only in spelling: Unicode form, slashes, spaces, letter case."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

__all__ = [
    "Folders",
    "Spellings",
    "affix_difference",
    "difference",
    "existing_path",
    "nearest",
    "plain",
    "spelled_hint",
]

_SAMPLE = 300  # names in which a common difference is looked for
_SPACES = re.compile(r"[\s\u200b\ufeff]+")


def _one_form(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _one_slash(text: str) -> str:
    return text.replace("\\", "/").removeprefix("./")


def _one_space(text: str) -> str:
    return "/".join(_SPACES.sub(" ", part).strip() for part in text.split("/"))


_STEPS: dict[str, Callable[[str], str]] = {
    "Unicode form": _one_form,
    "backslashes": _one_slash,
    "spaces": _one_space,
    "letter case": str.casefold,
}


def plain(name: str) -> str:
    """Normalise a name for comparison: composed Unicode, forward slashes, no outer spaces."""
    return _one_slash(_one_form(name).strip())


def difference(one: str, other: str) -> str:
    """Describe the difference of two names that differ only in spelling; empty for others.

    Returns
    -------
    str
        Text such as ``"letter case"`` or ``"Unicode form and spaces"``.
    """
    if one == other or _loose(one) != _loose(other):
        return ""
    needed = [what for what in _STEPS if _without(what, one) != _without(what, other)]
    return " and ".join(needed or ["spelling"])


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name of which a name may be a misspelling; None if there is none.

    A known name qualifies if one of the two begins with the other, with at least three letters, or
    if few letters differ: one, or a third of the longer name. A transposition counts as one.
    """
    for candidate in difflib.get_close_matches(name, known, n=5, cutoff=0.5):
        one, other = name.casefold(), candidate.casefold()
        shorter, longer = sorted((len(one), len(other)))
        if shorter >= 3 and (one.startswith(other) or other.startswith(one)):
            return candidate
        if _edits(one, other) <= min(max(1, longer // 3), shorter - 1):
            return candidate
    return None


def _edits(one: str, other: str) -> int:
    """Number of insertions, deletions, replacements and transpositions between two texts."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, start=1):
        row = [i]
        for j, wanted in enumerate(other, start=1):
            edits = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                edits = min(edits, rows[-2][j - 2] + 1)
            row.append(edits)
        rows.append(row)
    return rows[-1][-1]


def affix_difference(names: Iterable[str], known: Iterable[str]) -> tuple[str, str, bool] | None:
    """Find a beginning or end that all names have in excess of known names, or lack.

    Parameters
    ----------
    names
        Names that are not known; those of a sample are compared.
    known
        The known names.

    Returns
    -------
    tuple of str, str and bool, or None
        ``"prefix"`` or ``"suffix"``; its text; whether the names have it (True) or lack it. None if
        no such difference explains all names.
    """
    sample = list(dict.fromkeys(names))[:_SAMPLE]
    every = set(known)
    if not sample:
        return None
    first = sample[0]
    ways: dict[tuple[str, str, bool], None] = {}
    for end in range(1, len(first)):
        if first[end:] in every:
            ways["prefix", first[:end], True] = None
        if first[:end] in every:
            ways["suffix", first[end:], True] = None
    for name in every:
        if name != first and first and name.endswith(first):
            ways["prefix", name[: len(name) - len(first)], False] = None
        if name != first and first and name.startswith(first):
            ways["suffix", name[len(first) :], False] = None
    for what, text, excess in sorted(ways, key=lambda way: len(way[1])):
        if all(_moved(name, what, text, excess) in every for name in sample):
            return what, text, excess
    return None


def _moved(name: str, what: str, text: str, excess: bool) -> str:
    """A name without an excess prefix or suffix, or with the one it lacks."""
    if excess:
        return name.removeprefix(text) if what == "prefix" else name.removesuffix(text)
    return f"{text}{name}" if what == "prefix" else f"{name}{text}"


def _loose(text: str) -> str:
    return _without("", text)


def _without(what: str, text: str) -> str:
    """Apply all normalisation steps but one to a name."""
    for name, step in _STEPS.items():
        text = step(text) if name != what else text
    return text


class Spellings:
    """Known names, found independently of spelling.

    Parameters
    ----------
    names
        The known names.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._known: set[str] = set()
        self._loose: dict[str, list[str]] = {}
        for name in names:
            self._known.add(name)
            self._loose.setdefault(_loose(name), []).append(name)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def find(self, name: str) -> str | None:
        """Return the known name that matches; None if there is none, or more than one."""
        if name in self._known:
            return name
        alike = self._loose.get(_loose(name), [])
        if len(alike) > 1:  # letter case distinguishes names that are otherwise equal
            alike = [known for known in alike if plain(known) == plain(name)]
        return alike[0] if len(alike) == 1 else None


class Folders:
    """Contents of folders, each read once, to find files with names spelled differently."""

    def __init__(self) -> None:
        self._read: dict[str, Spellings | None] = {}

    def find(self, path: str) -> str | None:
        """Return the path under which a file or folder exists; None if it does not."""
        folder, name = os.path.split(path)
        names = self._names(folder)
        if names is not None and name in names:
            return path
        if os.path.lexists(path):  # its folder may be accessible but not listable
            return path
        root, *parts = Path(os.path.abspath(path.replace("\\", "/"))).parts
        found = root
        for part in parts:
            names = self._names(found)
            actual = part if names is None else names.find(part)
            if actual is None:
                return None
            found = os.path.join(found, actual)
        return found if os.path.lexists(found) else None

    def beside(self, path: str) -> list[str] | None:
        """List the names in the folder of a path; None if there is no such folder."""
        names = self._names(os.path.dirname(path))
        return None if names is None else sorted(names)

    def _names(self, folder: str) -> Spellings | None:
        folder = folder or os.curdir
        if folder not in self._read:
            try:
                self._read[folder] = Spellings(os.listdir(folder))
            except OSError:
                self._read[folder] = None
        return self._read[folder]


def existing_path(path: str | os.PathLike[str]) -> Path:
    """Return the existing form of a path that a user gave: ``~`` expanded, Unicode form matched."""
    try:
        given = Path(path).expanduser()
    except RuntimeError:  # there is no home
        given = Path(path)
    if os.path.lexists(given):
        return given
    found = Folders().find(os.fspath(given))
    if found is not None and _one_form(found) == _one_form(os.path.abspath(given)):
        return Path(found)
    return given


def spelled_hint(path: str | os.PathLike[str]) -> str:
    """Return a question that suggests an existing path with another spelling, for messages."""
    given = os.path.abspath(path)
    found = Folders().find(given)
    if found is None:
        return ""
    return f". Is {found!r} meant? It differs in {difference(given, found) or 'backslashes'}"

"""Match listed names to faces: by name, by end of path, by a difference common to all names."""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.datasets.listing import strip_image_suffix
from freqlab.errors import PairError
from freqlab.faces.table import Faces
from freqlab.text.spelling import affix_difference
from freqlab.text.wording import join

__all__ = ["FaceNames", "slashes"]

_SAMPLE = 300  # names in which a common difference is looked for
_MOST_FACES = 200_000  # above this number, only differing folders are looked for
_MOST_AFFIXES = 2
_AMBIGUOUS = -2

Positions = npt.NDArray[np.int64]


class _Affixes(NamedTuple):
    """Prefix and suffix around the part of a name that distinguishes faces."""

    folders: str = ""
    prefix: str = ""
    """Of the file's name."""
    suffix: str = ""
    """Of the file's name, without the extension of the image file."""

    def core(self, name: str, unpadded: bool) -> str | None:
        """Return a name without these affixes; None if it lacks them."""
        place, slash, file = name.removeprefix(self.folders).rpartition("/")
        fits = name.startswith(self.folders) and len(file) >= len(self.prefix) + len(self.suffix)
        if not fits or not file.startswith(self.prefix) or not file.endswith(self.suffix):
            return None
        core = f"{place}{slash}{file[len(self.prefix) : len(file) - len(self.suffix)]}"
        return re.sub(r"(?<!\d)0+(?=\d)", "", core) if unpadded else core


class _Difference(NamedTuple):
    """A difference between the names of a list and of the set that is the same for all names."""

    listed: _Affixes
    faces: _Affixes
    unpadded: bool
    """Whether zeros before numbers are left out."""

    def described(self, name: str) -> str:
        """Describe the difference from the names of the set `name`, in words."""
        differences = []
        for what, own, of_set in zip(
            ("folders", "prefix", "suffix"), self.listed, self.faces, strict=True
        ):
            if own != of_set:
                here = f"{what} {own!r}" if own else f"no {what}"
                differences.append(f"{here} ({repr(of_set) if of_set else 'none'} in {name!r})")
        if self.unpadded:
            differences.append(f"numbers with other leading zeros than in {name!r}")
        return join(differences)


class FaceNames:
    """Finds the faces of a set by the names in a list.

    Parameters
    ----------
    faces
        The faces.
    """

    def __init__(self, faces: Faces) -> None:
        self._faces = faces
        self._names = [slashes(name) for name in faces.names]
        self._stems = [strip_image_suffix(name) for name in self._names]
        self._exact = {name: i for i, name in enumerate(self._names)}
        self._whole: dict[str, list[int]] = {}
        self._ends: dict[str, list[int]] = {}
        for i, stem in enumerate(self._stems):
            first, *rest = _ends(stem)
            self._whole.setdefault(first, []).append(i)
            for end in rest:
                self._ends.setdefault(end, []).append(i)
        self._folded: dict[str, list[int]] | None = None

    def share_known(self, names: Sequence[str]) -> float:
        """Return the share of names that belong to faces, without a warning or an error."""
        some = list(dict.fromkeys(names))[:_SAMPLE]
        known = sum(bool(self._candidates(slashes(n))) or self._alike(n) >= 0 for n in some)
        return known / max(len(some), 1)

    def positions(self, listed: Sequence[str], source: Path) -> Positions:
        """Find the positions of distinct names in the set; -1 if a name is not in it.

        Names that differ from those of the set only in letter case and spaces, or all by the same
        prefix or suffix, are matched with a warning.

        Raises
        ------
        PairError
            If a name matches several faces.
        """
        matches = np.full(len(listed), -1, np.int64)
        ambiguous = []
        for k, name in enumerate(listed):
            candidates = self._candidates(slashes(name))
            if len(candidates) > 1:
                some = ", ".join(self._names[i] for i in candidates[:3])
                ambiguous.append(f"{name} ({some})")
            elif candidates:
                matches[k] = candidates[0]
        if ambiguous:
            raise PairError(
                f"{source}: {len(ambiguous)} names match several faces of {self._faces.name!r}: "
                f"{'; '.join(ambiguous[:3])}"
            )
        alike = []
        for k in np.flatnonzero(matches < 0).tolist():
            matches[k] = self._alike(listed[k])
            if matches[k] >= 0:
                alike.append(k)
        if alike:
            k = alike[0]
            warnings.warn(
                f"{source}: {len(alike)} of the {len(listed)} names match faces of "
                f"{self._faces.name!r} except for letter case, spaces or folders: "
                f"{listed[k]} is read as {self._names[matches[k]]}",
                stacklevel=5,
            )
        if 2 * int((matches < 0).sum()) > len(listed):
            self._read_differing(listed, matches, source)
        return matches

    def nearest(self, name: str) -> str:
        """Return a question with the nearest name; large sets compare names of one beginning."""
        stem = slashes(name).rsplit("/", 1)[-1]
        pool = [face for face in self._faces.names if stem[:3] in face][:5_000]
        near = difflib.get_close_matches(name, pool, n=1, cutoff=0.6)
        return f". Is {near[0]!r} meant for {name!r}?" if near else "."

    def affix(self, unknown: Sequence[str]) -> str:
        """Describe a prefix or suffix by which all unknown names differ; empty if there is none."""
        found = affix_difference([slashes(name) for name in unknown], self._names)
        if found is None:
            return ""
        what, text, excess = found
        verb = "have" if excess else "lack"
        return f"; all of these names {verb} the {what} {text!r}, unlike those of the set"

    def _candidates(self, path: str) -> list[int]:
        if path in self._exact:
            return [self._exact[path]]
        plain = strip_image_suffix(path)
        candidates = self._whole.get(plain) or self._ends.get(plain)
        if candidates is None:  # the listed name may end with a face's whole name
            ends = _ends(plain)
            candidates = next((self._whole[end] for end in ends if end in self._whole), [])
        if len(candidates) > 1:  # files that differ in their suffixes
            alike = [
                i
                for i in candidates
                if path.endswith(self._names[i]) or self._names[i].endswith(path)
            ]
            candidates = alike or candidates
        return candidates

    def _alike(self, name: str) -> int:
        """Position of the only face whose name matches except for case and spaces; -1 if none."""
        if self._folded is None:
            self._folded = {}
            for i, stem in enumerate(self._stems):
                for end in _ends(_folded(stem)):
                    self._folded.setdefault(end, []).append(i)
        for end in _ends(_folded(strip_image_suffix(slashes(name)))):
            candidates = self._folded.get(end, [])
            if candidates and (
                len(_ends(end)) == len(_ends(slashes(name)))
                or any(_folded(self._stems[i]) == end for i in candidates)
            ):
                return candidates[0] if len(candidates) == 1 else -1
        return -1

    def _read_differing(self, listed: Sequence[str], positions: Positions, source: Path) -> None:
        """Match faces by a difference common to all unmatched names; writes into `found`."""
        unknown = np.flatnonzero(positions < 0).tolist()
        names = [strip_image_suffix(slashes(listed[k])) for k in unknown]
        difference = self._difference(names)
        if difference is None:
            return
        of_core: dict[str, int] = {}
        for i, stem in enumerate(self._stems):
            core = difference.faces.core(stem, difference.unpadded)
            if core is not None:
                of_core[core] = _AMBIGUOUS if core in of_core else i
        cores = [difference.listed.core(name, difference.unpadded) for name in names]
        places = np.array([-1 if core is None else of_core.get(core, -1) for core in cores])
        read = places >= 0
        subjects = self._faces.subjects
        # a folder that holds all faces of one person may identify the person
        people = len(set(subjects[places[read]])) > 1 or len(set(subjects)) == 1
        if 2 * read.sum() <= len(names) or len(set(places[read])) < read.sum() or not people:
            return
        positions[np.array(unknown)[read]] = places[read]
        k = int(np.flatnonzero(read)[0])
        warnings.warn(
            f"{source}: the names have {difference.described(self._faces.name)}: "
            f"{listed[unknown[k]]} is read as {self._names[places[k]]}",
            stacklevel=6,
        )

    def _difference(self, names: list[str]) -> _Difference | None:
        """Find a difference from the names of the faces that most of some names share."""
        sample = names[:: max(len(names) // _SAMPLE, 1)]
        of_listed, of_faces = [_Affixes()], [_Affixes()]
        if len(self._stems) <= _MOST_FACES:
            of_listed, of_faces = _affixes(sample), _affixes(self._stems)
        ways = sorted(
            itertools.product(of_listed, of_faces, (False, True)),
            key=lambda way: (len("".join(way[0] + way[1])), way[2]),
        )
        most, best = 0, None
        for listed, faces, unpadded in ways:
            count, difference = self._tried(sample, _Difference(listed, faces, unpadded))
            if count > most:
                most, best = count, difference
            if most == len(sample):
                break
        return best

    def _tried(self, sample: list[str], way: _Difference) -> tuple[int, _Difference]:
        """Count the names that a difference of files explains, and add the differing folders."""
        tails: dict[str, tuple[int, str]] = {}
        for i, stem in enumerate(self._stems):
            for folders, end in _tails(stem):
                core = way.faces.core(end, way.unpadded)
                if core is not None:
                    tails[core] = (_AMBIGUOUS if core in tails else i, folders)
        votes: Counter[tuple[str, str]] = Counter()
        for name in sample:
            for folders, end in _tails(name):
                core = way.listed.core(end, way.unpadded)
                place, of_face = (-1, "") if core is None else tails.get(core, (-1, ""))
                if place >= 0:
                    votes[folders, of_face] += 1
                if place != -1:
                    break
        if not votes:
            return 0, way
        (folders, of_face), count = votes.most_common(1)[0]
        listed = way.listed._replace(folders=folders)
        return count, way._replace(listed=listed, faces=way.faces._replace(folders=of_face))


def _affixes(names: Sequence[str]) -> list[_Affixes]:
    """Common prefixes and suffixes of all file names, up to a space, dot, hyphen or underscore."""
    files = [name.rsplit("/", 1)[-1] for name in names]
    begin, end = _common(files), _common([file[::-1] for file in files])[::-1]
    shortest = min(map(len, files))
    prefixes = [begin[: m.end()] for m in re.finditer(r"[ ._-]", begin)]
    suffixes = [end[m.start() :] for m in re.finditer(r"[ ._-]", end)]
    return [
        _Affixes(prefix=prefix, suffix=suffix)
        for prefix in ["", *prefixes[:_MOST_AFFIXES]]
        for suffix in ["", *suffixes[-_MOST_AFFIXES:]]
        if len(prefix) + len(suffix) < shortest
    ]


def _common(texts: Sequence[str]) -> str:
    """Longest common beginning of all texts."""
    same = itertools.takewhile(
        lambda two: two[0] == two[1], zip(min(texts), max(texts), strict=False)
    )
    return "".join(letter for letter, _ in same)


def slashes(name: str) -> str:
    """Normalise a path: forward slashes, composed letters and no leading ``./``."""
    return unicodedata.normalize("NFC", name.strip()).replace("\\", "/").removeprefix("./")


def _folded(name: str) -> str:
    return name.casefold().replace(" ", "_")


def _ends(path: str) -> list[str]:
    """List a path and its ends, the longest first."""
    parts = path.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _tails(path: str) -> list[tuple[str, str]]:
    """List the folders above each end of a path, with a trailing slash, and the end."""
    return [(path[: len(path) - len(end)], end) for end in _ends(path)]

"""Survey of a folder: the images of a face set, and the files that are left out, with reasons."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freqlab.images.file_kinds import (
    IMAGE_SUFFIXES,
    kind_of_file,
    kind_of_suffix,
    suffix_of,
    why_unread,
)

__all__ = ["Survey", "is_system_name", "natural_key", "shown", "some", "survey"]

_MAX_DEPTH = 8  # folders below root; ends the walk if links lead back up
_KEPT = 20  # paths kept for each extension that is not an image's, to inspect their content
_SHOWN = 3

# Names with a leading dot are hidden and not listed here: .ipynb_checkpoints, .Trash-1000,
# .AppleDouble, .DS_Store, ._photo.jpg, .@__thumb, .snapshot, .recycle, .thumbnails, ...
_SYSTEM_NAMES = frozenset(
    {
        # macOS, and its files on other systems
        *("__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder"),
        *("thefindbyfoldercontent", "thefindbycontentfolder", "desktop db", "desktop df"),
        *("icon\r", "icon\uf00d", "afpxattr"),
        # Windows
        *("$recycle.bin", "recycler", "recycled", "recycle bin", "system volume information"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "wpsettings.dat"),
        *("indexervolumeguid", "pagefile.sys", "hiberfil.sys", "msocache"),
        # Linux, Android
        *("lost+found", "lost.dir", "aquota.user", "aquota.group"),
        # NAS: Synology, QNAP, Asustor, Buffalo, NetApp, Unraid
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@appstore", "@database", "@sharebin"),
        *("@sharesnap", "@synologydrive", "@recycle", "@recently-snapshot", "@transcode"),
        *("@__thumb", "@qmariadb", "@upload_cache", "trashbox", "~snapshot"),
        *("network recycle bin",),
        # notebooks, programs, photo managers
        *("__pycache__", "picasa.ini", "zbthumbnail.info", "pspbrwse.jbf", "cvs"),
    }
)
_SYSTEM_PATTERNS = (
    "found.[0-9][0-9][0-9]",  # recovered by Windows' chkdsk
    "*zone.identifier",  # Windows' record of the origin of a downloaded file
    "*@syno[a-z]*",
    "thumbs.db:*",
    ":2e*",  # a leading dot in netatalk's encoding
    "~$*",  # lock file of an office program
)
_LEADS_BACK = "as they lead back to a folder above"
_WINDOWS_HIDDEN = stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM


@dataclass
class Survey:
    """Files of a folder and its subfolders, by their use; no image was opened.

    Parameters
    ----------
    root
        The folder.
    images
        Paths of the images relative to `root`, with forward slashes, in natural order.
    system
        Hidden and system files and folders; such folders are not searched.
    others
        Number of the other files and the first of their paths, by extension.
    closed
        Folders that were not searched, by reason.
    strays
        Images that the reader of a set left out, by reason.
    remarks
        Further notes for the user.
    """

    root: Path
    images: list[str] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    others: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    closed: dict[str, list[str]] = field(default_factory=dict)
    strays: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def leave_out(self, why: str, paths: Iterable[str]) -> None:
        """Record images that a reader leaves out, with the reason."""
        left = list(paths)
        if left:
            self.strays.setdefault(why, []).extend(left)

    def read(self, name: str) -> None:
        """Remove a table in `root`, which a reader has read, from the files that are left out."""
        suffix = suffix_of(name)
        n, paths = self.others.get(suffix, (0, []))
        if name in paths or n > len(paths):
            self.others[suffix] = (n - 1, [path for path in paths if path != name])

    @property
    def left_out(self) -> int:
        """Number of photographs that are not in the set, plus folders that were not searched."""
        n = sum(map(len, self.strays.values()))
        n += sum(len(paths) for why, paths in self.closed.items() if why != _LEADS_BACK)
        return n + sum(count for _, count, _, image in self._by_kind() if image)

    def notes(self) -> tuple[str, ...]:
        """Summary of what was left out: one sentence per reason, with number and names."""
        notes = [f"images left out {why}: {_count(paths)}" for why, paths in self.strays.items()]
        kinds = self._by_kind()
        notes += [
            f"images left out, extension {_extension(suffix)}: {n:,} ({why})"
            for suffix, n, why, image in kinds
            if image
        ]
        notes += [
            f"folders not searched {why}: {_count(paths)}" for why, paths in self.closed.items()
        ]
        rest = [f"{n:,} {_extension(suffix)}" for suffix, n, _, image in kinds if not image]
        if rest:
            notes.append(f"left out, not images: {', '.join(rest)}")
        if self.system:
            notes.append(f"left out, hidden or system files and folders: {_count(self.system)}")
        return (*notes, *self.remarks)

    def found(self) -> str:
        """Summary of the content of the folder, for a message that the images are missing."""
        first = self.images[:_SHOWN]
        if not first:
            with contextlib.suppress(OSError):
                first = sorted(os.listdir(self.root), key=natural_key)[:_SHOWN]
        about = [
            f"{n:,} {_extension(suffix)} ({why})" for suffix, n, why, _ in self._by_kind() if why
        ]
        closed = [
            f"folders not searched {why}: {len(paths):,}" for why, paths in self.closed.items()
        ]
        if self.system:
            closed.append(f"hidden or system files and folders left out: {len(self.system):,}")
        return "; ".join([", ".join(map(shown, first)) or "nothing", *about, *closed])

    def _by_kind(self) -> list[tuple[str, int, str, bool]]:
        """Extension, number of files, reason and whether they are images, of files not read."""
        rows = []
        for suffix, (n, paths) in sorted(self.others.items()):
            why, image, kind = why_unread(suffix), suffix in IMAGE_SUFFIXES, kind_of_suffix(suffix)
            if kind is None:  # the extension is unknown: look at the content of the first files
                kinds = [kind_of_file(self.root / path) for path in paths]
                kind = next((kind for kind in kinds if kind.image), None)
                if kind is not None:
                    why = f"{kind.what} by its content; rename it with that extension"
            if kind is not None:
                image = image or kind.image
                why = why or f"{kind.what}: {kind.advice}"
            if n:
                rows.append((suffix, n, why, image))
        return rows


def survey(root: Path) -> Survey:
    """Find the images in a folder and its subfolders without opening them.

    Images are recognised by their extensions. Hidden and system files and folders are left out;
    links to folders are followed.
    """
    result = Survey(root)
    folders = [("", 0)]
    while folders:
        below, depth = folders.pop()
        try:
            entries = list(os.scandir(root / below))
        except OSError as error:
            why = f"as they cannot be read ({error.strerror})"
            result.closed.setdefault(why, []).append(below or os.curdir)
            continue
        for entry in entries:
            path = below + entry.name
            suffix = suffix_of(entry.name)
            is_folder = _is_folder(entry)
            if is_system_name(entry.name) or _hidden_by_windows(entry):
                result.system.append(path)
            elif not is_folder and suffix in IMAGE_SUFFIXES and not why_unread(suffix):
                result.images.append(path)
            elif not is_folder:
                n, paths = result.others.get(suffix, (0, []))
                result.others[suffix] = (n + 1, [*paths, path] if n < _KEPT else paths)
            elif _leads_back(entry):
                result.closed.setdefault(_LEADS_BACK, []).append(path)
            elif depth == _MAX_DEPTH:
                result.closed.setdefault(
                    f"as they are nested deeper than {_MAX_DEPTH} folders", []
                ).append(path)
            else:
                folders.append((f"{path}/", depth + 1))
    for listed in (result.images, result.system, *result.closed.values()):
        listed.sort(key=natural_key)
    return result


def is_system_name(name: str) -> bool:
    """Whether a file or folder is hidden, or belongs to a desktop, a NAS or a notebook server."""
    lowered = name.lower()
    return (
        name.startswith(".")
        or lowered in _SYSTEM_NAMES
        or any(fnmatch.fnmatchcase(lowered, pattern) for pattern in _SYSTEM_PATTERNS)
    )


def natural_key(text: str) -> list[tuple[int, str]]:
    """Key of a natural sort, in which ``s2`` comes before ``s10``."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def shown(name: str) -> str:
    """File name for a message, with unprintable characters escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def some(names: Sequence[str]) -> str:
    """The first of several names, for a message."""
    first = ", ".join(map(shown, names[:_SHOWN]))
    return first if len(names) <= _SHOWN else f"{first}, ..."


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder; an empty folder with the extension of an image is not."""
    try:
        if not entry.is_dir():
            return False
        if suffix_of(entry.name) in IMAGE_SUFFIXES:
            with os.scandir(entry.path) as inside:
                return next(inside, None) is not None
    except PermissionError:
        return True
    except OSError:  # a link to itself
        return False
    return True


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Whether a folder is a link to a folder that contains it."""
    if not entry.is_symlink():
        return False
    target = os.path.realpath(entry.path)
    holder = os.path.realpath(os.path.dirname(entry.path))
    return Path(holder).is_relative_to(target)


def _hidden_by_windows(entry: os.DirEntry[str]) -> bool:
    """Whether Windows marks a file as hidden or system; scandir has its attributes there."""
    if os.name != "nt":
        return False
    about = entry.stat(follow_symlinks=False)
    return bool(getattr(about, "st_file_attributes", 0) & _WINDOWS_HIDDEN)


def _extension(suffix: str) -> str:
    return suffix or "(none)"


def _count(names: Sequence[str]) -> str:
    """Number of names, and the first of them."""
    return f"{len(names):,} ({some(names)})"

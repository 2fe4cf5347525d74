"""A file system that remembers each operation, to put a store back to before any of them.

A command is run once, undisturbed. Every operation that changes a file or a folder of its store
(create, write, rename, link, unlink, rmdir, mkdir) is noted when it is about to happen, those of
removing a folder one by one. What a ``kill -9`` before operation N leaves on the disk is then the
first N - 1 of them, played back.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

__all__ = ["Recorder", "apply", "differences", "effective", "read_tree", "write_tree"]

_LISTENERS = []


def _heard(event, arguments):
    for listener in _LISTENERS:
        listener(event, arguments)


sys.addaudithook(_heard)


def _absolute(path, folder=-1):
    path = os.fsdecode(path)
    if folder is not None and folder != -1:
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    return os.path.abspath(path)


class Recorder:
    """Notes what changes below a folder while it is in use.

    ``operations`` holds ``(kind, path, more)``, paths relative to the folder. `before` is called
    with the number of each operation before it happens.
    """

    def __init__(self, folder, before=None):
        self.folder, self.operations, self._before = os.path.abspath(folder), [], before
        self._content = {}

    @contextlib.contextmanager
    def recording(self):
        from zarr.storage import _local

        put = _local._put
        _local._put = self._put
        _LISTENERS.append(self._hear)
        try:
            yield self
        finally:
            _LISTENERS.remove(self._hear)
            _local._put = put

    def _inside(self, path):
        if path == self.folder:
            return ""
        return path[len(self.folder) + 1 :] if path.startswith(self.folder + "/") else None

    def _note(self, kind, path, more=None):
        inside = self._inside(path)
        if inside is not None:
            if self._before is not None:
                self._before(len(self.operations))
            self.operations.append((kind, inside, more))

    def _hear(self, event, arguments):
        if event == "open":
            path, mode, flags = arguments
            writing = mode is not None and set(mode) & set("wax+")
            if mode is None:
                writing = flags & (os.O_WRONLY | os.O_RDWR)
            if writing and isinstance(path, (str, bytes, os.PathLike)):
                self._note("create", _absolute(path))
        elif event == "os.mkdir":
            path = _absolute(arguments[0], arguments[2])
            if not os.path.isdir(path) and os.path.isdir(os.path.dirname(path)):
                self._note("mkdir", path)
        elif event == "os.rename":
            source, target = _absolute(arguments[0], arguments[2]), _absolute(arguments[1])
            self._note("rename", source, self._inside(target))
        elif event in ("os.remove", "os.rmdir"):
            path = _absolute(*arguments)
            if os.path.lexists(path):
                self._note(event[3:], path)
        elif event == "os.link":
            source, target = _absolute(arguments[0], arguments[2]), _absolute(arguments[1])
            if not os.path.lexists(target):
                self._note("link", source, self._inside(target))
        elif event in ("os.symlink", "os.truncate"):
            path = arguments[0] if event == "os.truncate" else arguments[1]
            path = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else path
            if self._inside(_absolute(path)) is not None:
                raise NotImplementedError(f"{event} in a store cannot be played back")

    def _put(self, path, value, exclusive=False):
        """As zarr writes a file; its writing is an operation of its own."""
        from zarr.storage import _local

        path.parent.mkdir(parents=True, exist_ok=True)
        view = value.as_buffer_like()
        with _local._atomic_write(path, "wb", exclusive=exclusive) as file:
            self._note("write", os.path.abspath(file.name), bytes(view))
            return file.write(view)


def apply(tree, operation):
    """Apply an operation to a tree: contents by path, None for a folder."""
    kind, path, more = operation
    if kind == "create":
        tree[path] = b""
    elif kind == "write":
        tree[path] = more
    elif kind == "mkdir":
        tree[path] = None
    elif kind == "link":
        tree[more] = tree[path]
    elif kind == "rename":
        for old in [p for p in tree if p == path or p.startswith(f"{path}/")]:
            tree[more + old[len(path) :]] = tree.pop(old)
    else:
        del tree[path]


def effective(tree, *, digests=False):
    """What tells a tree from others: whole files, those of the digests if wanted.

    Nobody reads what is half written.
    """
    return frozenset(
        (path, content)
        for path, content in tree.items()
        if content is not None
        and not path.endswith(".partial")
        and (digests or not path.startswith("digests/"))
    )


def read_tree(folder):
    """The tree of a folder."""
    tree = {}
    for place, _, files in os.walk(folder):
        inside = os.path.relpath(place, folder)
        tree["" if inside == "." else inside] = None
        for name in files:
            file = Path(place, name)
            tree[os.path.relpath(file, folder)] = file.read_bytes()
    return tree


def write_tree(tree, folder):
    """Make a folder of a tree; nothing if the tree is empty."""
    for path in sorted(tree):
        if tree[path] is None:
            Path(folder, path).mkdir(parents=True)
    for path, content in tree.items():
        if content is not None:
            Path(folder, path).write_bytes(content)


_ITS_OWN = ("created_at", "seconds", "store_id")


def _described(content):
    described = json.loads(content)
    for name in _ITS_OWN:
        described.get("attributes", {}).pop(name, None)
    return described


def differences(found, expected):
    """Paths at which two trees differ.

    Times, the store's own name, half-written files, empty folders, and digests, whose files have
    random names, do not count.
    """

    def files(tree):
        return {
            path: _described(content) if path.endswith("zarr.json") else content
            for path, content in tree.items()
            if content is not None
            and not path.endswith(".partial")
            and not path.startswith("digests/")
        }

    one, other = files(found), files(expected)
    return sorted(
        path for path in one.keys() | other.keys() if one.get(path, b"?") != other.get(path, b"??")
    )

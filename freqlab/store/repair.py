"""Repair a store: restore known content, let a run compute the rest again, lose nothing.

Everything is planned first; the same plan is reported, shown by ``--dry-run`` and carried out. Only
data that the run computes again from its photographs are deleted: damaged chunks of faces, crops
and embeddings. Everything else that is in the way is moved to a folder beside the store.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy.typing as npt
import pandas as pd
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from freqlab.errors import StoreConflictError, StoreError
from freqlab.faces.table import Faces
from freqlab.store import journal
from freqlab.store.chunks import (
    groups_of,
    is_remote,
    open_root,
    opened,
    place_of,
    read,
    remove_key,
)
from freqlab.store.digests import RecordingStore, aside, copy_keys, move_keys
from freqlab.store.integrity import HALF_REMOVED, Damage, Survey, survey
from freqlab.store.layout import DONE, KEPT_RESULTS, PENDING, STUDIES
from freqlab.store.places import plain_store
from freqlab.store.plain_text import twin_name
from freqlab.store.records import NODE, get, is_description, renew_record
from freqlab.store.restoring import column_of_call, names_by_image, recorded_chunk

__all__ = ["Step", "plan_repair", "remove_partial_files", "repair_plan", "repair_store"]

PUT_BACK, READ_AGAIN, COMPUTE, SET_ASIDE, DROP, UNFINISHED, RENEW, LEFT = (
    "put back",
    "read again",
    "compute again",
    "set aside",
    "forget thresholds",
    "not finished",
    "new digests",
    "left",
)


class Step(NamedTuple):
    """Repair of one damage.

    Parameters
    ----------
    damage
        The damage.
    remedy
        The remedy in one or two words, as in the table of :func:`repair_plan`.
    how
        The remedy in a sentence.
    key
        The key of the store that is concerned.
    """

    damage: Damage
    remedy: str
    how: str
    key: str

    def __str__(self) -> str:
        return f"{self.damage}. {self.how[0].upper()}{self.how[1:]}"


def repair_plan(store: str | os.PathLike[str], faces: Faces) -> pd.DataFrame:
    """Report what ``repair=True`` would do to a store; nothing is written.

    Parameters
    ----------
    store
        The run's Zarr group.
    faces
        The faces of the call that would repair it.

    Returns
    -------
    pandas.DataFrame
        As :func:`freqlab.store.check`, with the columns ``remedy`` and ``how``; empty if there is
        no damage.

    Raises
    ------
    StoreError
        If there is no run, or a damage cannot be repaired.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces()
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "progress": False}
    >>> result = fl.influence(faces, fl.make_pairs(faces), store="run.zarr", **options)
    >>> len(fl.store.repair_plan("run.zarr", faces))
    0
    """
    url = place_of(store)
    steps = plan_repair(url, survey(url), faces)
    columns = [*Damage._fields, "remedy", "how"]
    return pd.DataFrame([(*s.damage, s.remedy, s.how) for s in steps], columns=columns)


def plan_repair(url: str, surveyed: Survey, faces: Faces) -> list[Step]:
    """Plan the repair of all damages found.

    Raises
    ------
    StoreError
        If a damage cannot be repaired, or the call lacks faces that are needed.
    """
    steps = [
        Step(damage, *_remedy(url, surveyed, damage, key), key) for damage, key in surveyed.damages
    ]
    for step in steps:
        if step.remedy == READ_AGAIN:
            _check_given(url, step.damage, faces)
    return steps


def repair_store(url: str, faces: Faces, *, say: Any = None) -> list[Damage]:
    """Carry out the plan; the caller holds the lock.

    Lost names of faces are restored by the digests of the images in `faces`; other data of a face
    are restored if the face is given.

    Parameters
    ----------
    url
        The run's Zarr group.
    faces
        The faces of the call.
    say
        Called with a line for each step, before anything is done.

    Raises
    ------
    StoreError
        If a damage cannot be repaired; nothing was changed then.
    StoreConflictError
        If the faces of the call differ from those that the run held.
    """
    if not is_remote(url) and not Path(url).exists():
        return []
    try:
        _finish_what_was_begun(url)
        surveyed = survey(url)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return []  # nothing was begun, so nothing is damaged
        raise
    remove_partial_files(url)
    steps = plan_repair(url, surveyed, faces)
    for step in steps if say else ():
        say(f"{url}: {step}")
    done = [step.damage for step in steps]
    if any(step.remedy == PUT_BACK for step in steps):
        _put_back(url, surveyed, steps)
        _finish_what_was_begun(url)
        surveyed = survey(url)  # again, for parts that could not be read before
        steps = plan_repair(url, surveyed, faces)
        done += [step.damage for step in steps if step.damage not in done]
    if steps:
        _Repair(url, surveyed, faces).carry_out(steps)
    return done


def _finish_what_was_begun(url: str) -> None:
    """Complete unfinished changes, as any writer does; later if the root description is damaged."""
    with contextlib.suppress(StoreError):
        root = open_root(url, "r+")
        if root.attrs.get("format") == "freqlab-run":
            journal.recover(root)


def remove_partial_files(url: str) -> int:
    """Remove incomplete files of writers that were killed; the caller holds the lock."""
    files = [] if is_remote(url) else sorted(Path(url).rglob("*.partial"))
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def _remedy(url: str, surveyed: Survey, damage: Damage, key: str) -> tuple[str, str]:
    """Remedy of a damage, in a word and in a sentence."""
    kind = damage.node.split("/")[0]
    recorded = [e for e in surveyed.record.accepted.get(key, []) if isinstance(e, dict)]
    if kind == NODE or key == NODE:
        return RENEW, "the digests are computed again from the present content"
    if is_description(key) and recorded:
        return PUT_BACK, "it is restored from the copy in the run"
    if key in surveyed.elsewhere:
        return PUT_BACK, f"its content is taken from {surveyed.elsewhere[key]}"
    if damage.what.startswith(("was not written", "is an array that no run")):
        return SET_ASIDE, f"it is moved to {aside(url)!r}"
    if not key:
        return _remedy_of_contents(damage)
    if damage.node in ("", "faces"):
        if "text_of" in surveyed.attributes_of(f"faces/{damage.array}"):
            return COMPUTE, "it is made again from the text of which it is a copy"
        if damage.chunk is not None:
            return READ_AGAIN, "it is taken from the faces of this call and checked by its digest"
        raise StoreError(
            f"store {url!r} cannot be repaired: {damage}; compute the run again in another store"
        )
    if damage.chunk is None or kind in KEPT_RESULTS or kind not in _COMPUTED:
        doomed = _node_to_remove(damage.node)
        return SET_ASIDE, f"{doomed} is moved to {aside(url)!r} and computed again when needed"
    if kind == "influence":
        how = (
            f"moved to {aside(url)!r}; the result counts as not finished until its call is repeated"
        )
        return UNFINISHED, f"the chunk is {how}"
    if damage.array == "reference_embedding":
        return COMPUTE, (
            "it is computed again, and the model is checked against an embedding of the run; if "
            f"there is none, the embeddings of the model are moved to {aside(url)!r}"
        )
    return COMPUTE, "the chunk is removed, and its faces are computed again"


_COMPUTED = ("faces", "crops", "embeddings", "influence")


def _remedy_of_contents(damage: Damage) -> tuple[str, str]:
    """Remedy if intact parts contradict each other."""
    if damage.what == HALF_REMOVED:
        return LEFT, "the next run that writes to the store finishes the removal"
    if "was removed" in damage.what:
        return LEFT, "only `freqlab forget` can repair that; call it again"
    if "beyond" in damage.what and not damage.node.startswith("influence/"):
        return COMPUTE, "those rows are emptied"
    if damage.node == "faces":
        return LEFT, "it cannot be repaired; compute the run again in another store"
    if damage.node.startswith("influence/"):
        return UNFINISHED, "the result counts as not finished until its call is repeated"
    if "thresholds" in damage.what:
        return DROP, "they are removed, and computed again when needed"
    return COMPUTE, "the faces concerned are computed again"


def _node_to_remove(path: str) -> str:
    """The node that is removed as a whole if its description is damaged."""
    parts = path.split("/")
    n_kept = {
        "embeddings": 3,
        **dict.fromkeys(("crops", "influence", *KEPT_RESULTS), 2),
        STUDIES: 3,
    }
    return "/".join(parts[: n_kept.get(parts[0], 1)])


def _check_given(url: str, damage: Damage, faces: Faces) -> None:
    """Check that the call gives lost data of faces, which are not available elsewhere."""
    if damage.array == "face":
        return
    try:
        names = opened(cast(zarr.Group, open_root(url)["faces"]), "face")
        concerned = read(names, slice(*_span(names, damage)))
    except (StoreError, KeyError):  # names are lost too: those come back by digests of images
        return
    absent = sorted(set(concerned) - set(faces.names))
    if absent:
        raise StoreError(
            f"{damage}: to repair that, give all faces of the run; {len(absent):,} are not among "
            f"those given, such as {absent[0]!r}"
        )


def _span(array: zarr.Array[Any], damage: Damage) -> tuple[int, int]:
    """Rows of a damaged block."""
    assert damage.chunk is not None
    block = damage.chunk[0]
    return block * array.chunks[0], min((block + 1) * array.chunks[0], array.shape[0])


def _put_back(url: str, surveyed: Survey, steps: list[Step]) -> None:
    """Restore descriptions from the record, and misplaced chunks, to their places."""
    store = plain_store(url, read_only=False)
    contents: dict[str, bytes] = {}
    for step in steps:
        if step.remedy != PUT_BACK:
            continue
        if step.key in surveyed.elsewhere:
            content = sync(get(store, surveyed.elsewhere[step.key]))
            if content is not None:
                contents[step.key] = content
            continue
        path = step.key.rpartition("/")[0]
        contents[step.key] = surveyed.text_of(path)
    for key, content in contents.items():
        sync(store.set(key, default_buffer_prototype().buffer.from_bytes(content)))


class _Repair:
    """State and steps of one repair."""

    def __init__(self, url: str, surveyed: Survey, faces: Faces) -> None:
        self.url, self.surveyed, self.faces = url, surveyed, faces
        self.root = open_root(url, "r+")
        self.store = cast(RecordingStore, self.root.store)

    def carry_out(self, steps: list[Step]) -> None:
        """Carry out all steps, first those that may find that the call does not fit."""
        order = {READ_AGAIN: -1}
        faces_first = sorted(
            steps,
            key=lambda step: (
                step.damage.array == "reference_embedding",  # compared with the others
                step.damage.array != "status",  # marked by other steps
                order.get(step.remedy, 0),
            ),
        )
        restored = {id(step): self._restored(step.damage) for step in self._to_read(steps)}
        self._renew(steps)
        for step in faces_first:
            if step.remedy == READ_AGAIN:
                content = restored[id(step)]
                if content is None:
                    self._forget_block(step.damage)
                else:
                    sync(self.store._store.set(step.key, content))
            elif step.remedy == SET_ASIDE:
                self._set_aside(step)
            elif step.remedy == UNFINISHED:
                self._group(step.damage.node).attrs["complete"] = 0
                if step.damage.chunk is not None:
                    self._move([step.key])
            elif step.remedy == DROP:
                del self._group(step.damage.node).attrs["thresholds"]
            elif step.remedy == COMPUTE:
                self._compute_again(step.damage)

    def _renew(self, steps: list[Step]) -> None:
        record = self.surveyed.record
        if any(step.remedy == RENEW for step in steps):
            nodes = record.lost if record.there and not record.faults else None
            damaged = {step.key for step in steps}
            plain = self.store._store
            sync(renew_record(plain, nodes, {*self.surveyed.unknown, *damaged}))

    def _to_read(self, steps: list[Step]) -> Iterator[Step]:
        return (step for step in steps if step.remedy == READ_AGAIN)

    def _group(self, path: str) -> zarr.Group:
        return cast(zarr.Group, self.root[path])

    def _restored(self, damage: Damage) -> Any:
        """Content of a damaged chunk of the faces from the call; None if it lacks it.

        Raises
        ------
        StoreConflictError
            If the call's content differs from the lost one, and nothing else can show what it was.
        """
        if damage.array == "face":
            return None
        faces = self._group("faces")
        try:
            names = opened(faces, "face")
            rows = slice(*_span(names, damage))
            values = column_of_call(self.faces, faces, damage.array, read(names, rows), rows)
        except StoreError:
            return None
        key = f"faces/{damage.array}/c/{'/'.join(map(str, cast(tuple[int, ...], damage.chunk)))}"
        accepted = self.surveyed.record.accepted.get(key, [])
        if values is None or not accepted:
            return None
        content = recorded_chunk(
            self.surveyed.descriptions, f"faces/{damage.array}", key, values, rows
        )
        if content is not None and content[1] in accepted:
            return content[0]
        images = damage.array == "sha256" and not self._keeps_crops()
        if damage.array == "subject" or images:
            what = "photographs" if images else "subjects"
            raise StoreConflictError(
                f"store {self.url!r}: according to its digests, the given {what} of faces "
                f"{rows.start} to {rows.stop - 1} (such as {self.faces.names[0]!r}) differ from "
                f"those of the run; nothing was changed. Give the original {what}, or compute the "
                f"run again in another store"
            )
        return None

    def _keeps_crops(self) -> bool:
        crops = self.root.get("crops")
        return isinstance(crops, zarr.Group) and all(
            "crop" in node for node in groups_of(crops).values()
        )

    def _forget_block(self, damage: Damage) -> None:
        """Mark the faces of a block to be read again, because data of them are lost."""
        group = self._group("faces")
        if damage.array == "sha256" and not self._keeps_crops():
            # no crop shows whether the photographs are still the same
            self._undo_results()
            for path in self._embedding_nodes():
                self._group(path).attrs.pop("thresholds", None)
                self._mark_pending(self._group(path), damage)
        for crops in groups_of(self._group("crops")).values() if "crops" in self.root else ():
            if "status" in crops:
                self._mark_pending(crops, damage)
        if damage.array == "face":  # in one write: without names the others cannot be found
            names = names_by_image(group, _span(opened(group, "face"), damage), self.faces)
            self._mark_pending(group, damage)
            journal.remove(self.root, f"faces/{twin_name('face')}")
            self._write_chunk(damage, names)
            return
        if damage.array != "status":
            self._mark_pending(group, damage)
        self._write_chunk(damage, opened(group, damage.array).fill_value)

    def _undo_results(self) -> None:
        """Mark results as unfinished, because their pairs or thresholds depend on those faces."""
        influence = groups_of(self._group("influence")) if "influence" in self.root else {}
        for result in influence.values():
            result.attrs["complete"] = 0

    def _embedding_nodes(self) -> Iterator[str]:
        if "embeddings" in self.root:
            for model in groups_of(self._group("embeddings")).values():
                yield from (group.path for group in groups_of(model).values() if "status" in group)

    def _compute_again(self, damage: Damage) -> None:
        """Mark the faces of a damaged chunk to be done again; their other data are overwritten.

        They are marked first: a missing chunk is a damage as long as its faces count as done.
        """
        group = self._group(damage.node)
        if damage.array == "reference_embedding" and not self._can_be_held(group):
            self._move_node(damage.node)
        elif damage.node == "faces":
            journal.remove(self.root, f"faces/{damage.array}")  # it is made again when it is opened
        elif damage.chunk is not None and damage.array == "status":
            self._write_chunk(damage, PENDING)
        elif damage.chunk is not None:
            if "status" in group:
                self._mark_pending(group, damage)
            self._remove_chunk(damage)
        elif "beyond" not in damage.what and "status" in group and damage.array:
            status = opened(group, "status")
            start = opened(group, damage.array).shape[0]
            status[start:] = PENDING

    def _can_be_held(self, model: zarr.Group) -> bool:
        """Whether some face has a crop and an embedding, for checking that a model is the same."""
        try:
            template = json.loads(str(model.attrs["identity"]))["template"]
            crops = self._group(f"crops/{template}")
            done = [
                read(opened(node, "status")) == DONE
                for node in (crops, self._group(f"{model.path}/intact"))
            ]
        except (KeyError, StoreError):
            return False
        n_faces = min(map(len, done))
        return "crop" in crops and bool((done[0][:n_faces] & done[1][:n_faces]).any())

    def _remove_chunk(self, damage: Damage) -> None:
        array = opened(self._group(damage.node), damage.array)
        assert damage.chunk is not None
        remove_key(self.store, f"{array.path}/{array.metadata.encode_chunk_key(damage.chunk)}")

    def _write_chunk(self, damage: Damage, values: npt.NDArray[Any] | int) -> None:
        """Write a damaged chunk in one step without reading it."""
        path = f"{damage.node}/{damage.array}"
        array = opened(self._group(damage.node), damage.array)
        assert damage.chunk is not None
        key = f"{path}/{array.metadata.encode_chunk_key(damage.chunk)}"
        rows = slice(*_span(array, damage))
        chunk = recorded_chunk(self.surveyed.descriptions, path, key, values, rows)
        if chunk is not None:
            sync(self.store.set(key, chunk[0]))

    def _mark_pending(self, group: zarr.Group, damage: Damage) -> None:
        status = opened(group, "status")
        start, stop = _span(status, damage)
        if start < stop:
            status[start:stop] = PENDING

    def _set_aside(self, step: Step) -> None:
        """Move a chunk, an array, or a node whose description is damaged."""
        damage = step.damage
        if damage.what.startswith("was not written"):
            self._move([step.key])
        elif damage.what.startswith("is an array that no run"):
            self._move(self._below(f"{damage.node}/{damage.array}"))
        else:
            self._move_node(_node_to_remove(damage.node))

    def _below(self, path: str) -> list[str]:
        async def keys() -> list[str]:
            keys = {key async for key in self.store.list_prefix(f"{path}/")}
            keys |= {k for k in self.surveyed.record.accepted if k.startswith(f"{path}/")}
            return sorted(keys, key=lambda key: key.count("/"))

        return sync(keys())

    def _move_node(self, path: str) -> None:
        """Move a node; it is removed only after all of it was copied."""
        other = plain_store(aside(self.url), read_only=False)
        sync(copy_keys(self.store._store, other, self._below(path)))
        journal.remove(self.root, path)

    def _move(self, keys: list[str]) -> None:
        if not keys:
            return
        other = plain_store(aside(self.url), read_only=False)
        sync(self.store.note_removal(keys))
        sync(move_keys(self.store._store, other, keys))
        self.store.log.unsure -= set(keys)

"""A table of faces and their images."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import reprlib
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.errors import FaceSetError, ParameterError, check_name
from freqlab.faces.thumbnails import faces_html
from freqlab.images.alignment import detect_faces
from freqlab.images.decoding import Photograph, decode_image, decode_photograph, image_size
from freqlab.images.degradation import Degradation
from freqlab.images.templates import template
from freqlab.literals import WhichFace
from freqlab.system.progress import progress_bar

__all__ = [
    "LANDMARK_COLUMNS",
    "PEOPLE_COLUMNS",
    "Faces",
    "decode_image",
    "face_name",
    "find_landmarks",
    "landmark_table",
    "landmarks_of",
]

LANDMARK_COLUMNS = [
    f"{point}_{axis}"
    for point in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    for axis in "xy"
]
"""Columns of a landmark table: x and y in pixels of the photograph, left as the viewer sees it."""

PEOPLE_COLUMNS = (
    *("contributor_a", "contributor_b", "contributors", "actors"),
    *("source_subject", "source_video", "target_subject", "target_video", "pristine_video"),
)
"""Columns of faces and of pairs that name the people from whose images an image was made."""

_FACES_PER_BATCH = 32
_PIXELS_PER_BATCH = 16_000_000

# Names that nodes of a store use.
_RESERVED = {
    "face",
    "aligned",
    "degraded_by",
    "status",
    "landmarks",
    "landmarks_given",
    "box",
    "detection_probability",
    "faces_found",
    "which_face",
    "image_note",
    "edge",
    "sha256",
    "file_size",
    "file_mtime",
    "point",
    "xy",
}


@dataclass(frozen=True, eq=False, repr=False)
class Faces:
    """Faces to compare: one row each, with the subject shown and the location of the image.

    Parameters
    ----------
    table
        Indexed by face name (unique strings), with a column ``subject``, a column ``path``
        unless `images` is given, and any columns of metadata. A column ``source`` names the
        face that a derived face (degraded, morphed, edited) was made from.
    images
        RGB or grey images, uint8 ``(height, width[, 3])``, instead of paths.
    landmarks
        Five points per face ``(n, 5, 2)`` in pixels of the photograph, in the order of
        :class:`freqlab.images.templates.Template`; NaN for faces to be detected.
    aligned
        Name of the template to which the images are already aligned. Models of that template
        use them unchanged; for others, crops are cut out of them.
    name
        The set's name, for titles.
    credit
        How the set's authors ask to be credited.
    degradations
        How each face is degraded between the photograph and the crop, None for no degradation;
        filled in by :func:`freqlab.faces.degrade`.
    notes
        Sentences on what was left out or chosen when the set was loaded.
    left_out
        Number of photographs of the set that are not among the faces; `notes` gives the reasons.
    names_people
        Columns that name the people or faces from which a face was made, in addition to ``source``
        and :data:`PEOPLE_COLUMNS`. :func:`freqlab.store.forget` removes such faces with the person.

    Raises
    ------
    ParameterError
        If names repeat, a column is missing or has a reserved name, or the lengths differ.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import freqlab as fl
    >>> table = pd.DataFrame({"subject": ["ann", "ann", "ben"]}, index=["a1", "a2", "b1"])
    >>> images = [np.full((112, 112, 3), level, np.uint8) for level in (100, 110, 200)]
    >>> fl.Faces(table, images=images, aligned="arcface", name="mine")
    <Faces 'mine': 3 faces of 2 subjects>
    """

    table: pd.DataFrame
    images: Sequence[npt.NDArray[np.uint8]] | None = None
    landmarks: npt.NDArray[np.floating] | None = None
    aligned: str | None = None
    name: str = "faces"
    credit: str = ""
    degradations: Sequence[Degradation | None] | None = None
    notes: tuple[str, ...] = ()
    left_out: int = 0
    names_people: Sequence[str] = ()

    def __post_init__(self) -> None:
        table = self.table
        if not isinstance(table, pd.DataFrame):
            raise ParameterError(f"table must be a pandas.DataFrame, not {type(table).__name__}")
        if len(table) == 0:
            raise ParameterError(f"face set {self.name!r} is empty")
        names = pd.Index(self.names)
        repeated = names[names.duplicated()]
        if len(repeated):
            raise ParameterError(f"face names must be unique; repeated: {list(repeated[:3])}")
        _check_text("name", self.names)
        needed = ["subject"] if self.images is not None else ["subject", "path"]
        missing = [column for column in needed if column not in table.columns]
        if missing:
            raise ParameterError(
                f"the table of faces lacks the column(s) {missing}; it has {list(table.columns)}"
            )
        if table["subject"].isna().any():
            nameless = list(table.index[table["subject"].isna()][:3])
            raise ParameterError(f"faces without a subject: {nameless}")
        _check_text("subject", self.subjects)
        reserved = sorted(_RESERVED.intersection(table.columns))
        if reserved:
            raise ParameterError(f"column name(s) {reserved} are reserved; rename them")
        unnamed = [column for column in table.columns if not is_column_name(column)]
        if unnamed:
            raise ParameterError(f"columns cannot be named {unnamed}; rename them")
        if self.images is None:
            pathless = table.index[~table["path"].map(lambda p: isinstance(p, (str, os.PathLike)))]
            if len(pathless):
                raise ParameterError(f"faces without a path: {list(pathless[:3])}")
        else:
            if len(self.images) != len(table):
                raise ParameterError(f"{len(self.images)} images for {len(table)} faces")
            for name, image in zip(table.index, self.images, strict=True):
                _check_image(str(name), image)
        if self.landmarks is not None and self.landmarks.shape != (len(table), 5, 2):
            raise ParameterError(
                f"landmarks of shape {self.landmarks.shape}; expected ({len(table)}, 5, 2)"
            )
        if self.aligned is not None:
            template(self.aligned)
        if self.degradations is not None and len(self.degradations) != len(table):
            raise ParameterError(f"{len(self.degradations)} degradations for {len(table)} faces")
        if isinstance(self.names_people, str):
            raise ParameterError(f"names_people={self.names_people!r} must be a list of columns")
        for column in self.names_people:
            check_name("column in names_people=", column, map(str, table.columns))

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        n_subjects = self.table["subject"].nunique()
        columns = [name for name in self.table.columns if name not in ("subject", "path")]
        about = f"; {', '.join(columns)}" if columns else ""
        notes = "".join(f"\n  {note}" for note in self.notes)
        return f"<Faces {self.name!r}: {len(self)} faces of {n_subjects} subjects{about}{notes}>"

    def _repr_html_(self) -> str:
        return faces_html(self)

    @property
    def about(self) -> str:
        """Credit and notes of the set in sentences, as shown in reports; empty if it has none."""
        sentences = [self.credit, *(note[:1].upper() + note[1:] for note in self.notes)]
        return " ".join(f"{sentence}." for sentence in sentences if sentence)

    @property
    def names(self) -> list[str]:
        """Names of the faces."""
        return [str(name) for name in self.table.index]

    @property
    def subjects(self) -> npt.NDArray[np.object_]:
        """Subject of each face ``(n,)``, strings."""
        return self.table["subject"].astype(str).to_numpy(object)

    @property
    def sources(self) -> npt.NDArray[np.object_]:
        """Original source of each face ``(n,)``: the face itself, or the source of its ``source``.

        Raises
        ------
        ParameterError
            If the sources of faces form a cycle.
        """
        own = self.names
        if "source" not in self.table.columns:
            return np.array(own, object)
        given = {
            name: face_name(source) for name, source in zip(own, self.table["source"], strict=True)
        }
        roots = []
        for name in own:
            root, seen = name, {name}
            while given.get(root, root) not in ("", root):
                root = given[root]
                if root in seen:
                    raise ParameterError(f"the sources of faces form a cycle: {sorted(seen)[:3]}")
                seen.add(root)
            roots.append(root)
        return np.array(roots, object)

    @property
    def degraded(self) -> npt.NDArray[np.bool_]:
        """Whether each face is degraded between photograph and crop ``(n,)``."""
        if self.degradations is None:
            return np.zeros(len(self), bool)
        return np.array([degradation is not None for degradation in self.degradations], bool)

    def select(
        self,
        rows: Sequence[int] | Sequence[bool] | npt.NDArray[np.integer] | npt.NDArray[np.bool_],
    ) -> Faces:
        """The faces at these positions, in this order.

        Parameters
        ----------
        rows : sequence of int or bool
            Positions from 0, or from the end if negative; or for each face whether it is selected.

        Raises
        ------
        ParameterError
            If a position is beyond the faces, or there are more or fewer truth values than faces.
        """
        positions = self._positions(rows)
        degradations = self.degradations
        if degradations is not None:
            degradations = [degradations[int(i)] for i in positions]
        return dataclasses.replace(
            self,
            table=self.table.iloc[positions],
            images=None if self.images is None else [self.images[int(i)] for i in positions],
            landmarks=None if self.landmarks is None else self.landmarks[positions],
            degradations=degradations,
        )

    def _positions(self, rows: object) -> npt.NDArray[np.intp]:
        """Positions of the faces that are selected, or an error that says what is allowed."""
        given, n = np.asarray(rows), len(self)
        if given.ndim == 1 and given.dtype == bool:
            if len(given) != n:
                raise ParameterError(f"rows has {len(given)} truth values; there are {n} faces")
            return np.flatnonzero(given)
        if given.ndim != 1 or (len(given) and given.dtype.kind not in "iu"):
            raise ParameterError(
                f"rows is {reprlib.repr(rows)}; expected a sequence of positions of faces, "
                f"or a truth value for each of {n} faces"
            )
        beyond = given[(given < -n) | (given >= n)]
        if len(beyond):
            raise ParameterError(
                f"rows has the position {beyond[0]}; expected positions from {-n} to {n - 1}"
            )
        return given.astype(np.intp)

    def content(self, position: int) -> bytes:
        """Return the bytes that identify a face: those of its file, or its pixels.

        Raises
        ------
        OSError
            If the file cannot be read.
        """
        if self.images is not None:
            pixels = np.ascontiguousarray(self.images[position])
            return repr((pixels.shape, str(pixels.dtype))).encode() + pixels.tobytes()
        path = Path(self.table["path"].iloc[position])
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block forever
                raise OSError(f"{path} is not a regular file")
            return path.read_bytes()
        except ValueError as error:  # a name that no file can have
            why = "a file name cannot contain a NUL character"
            raise FileNotFoundError(errno.ENOENT, why, str(path)) from error

    def image(self, position: int, content: bytes | None = None) -> npt.NDArray[np.uint8]:
        """Return the photograph at full size, RGB ``(height, width, 3)``, uint8.

        Parameters
        ----------
        position
            Row of the face.
        content
            Result of :meth:`content`, if already read.

        Raises
        ------
        OSError
            If the file cannot be read or decoded.
        """
        if self.images is not None:
            return self.photograph(position).pixels
        return decode_image(self.content(position) if content is None else content)

    def photograph(self, position: int, content: bytes | None = None) -> Photograph:
        """Return the photograph as a run uses it: a very large file is reduced.

        Parameters
        ----------
        position, content
            As for :meth:`image`.

        Raises
        ------
        OSError
            If the file cannot be read or decoded.
        """
        if self.images is None:
            return decode_photograph(self.content(position) if content is None else content)
        pixels = np.asarray(self.images[position])
        if pixels.ndim == 2 or pixels.shape[2] == 1:
            pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, 2)
        return Photograph(pixels)

    def pixels_of(self, position: int, content: bytes) -> int:
        """Return the number of pixels of a photograph without decoding it.

        Raises
        ------
        OSError
            If the bytes are not an image.
        """
        if self.images is not None:
            height, width = np.shape(self.images[position])[:2]
        else:
            width, height = image_size(content)
        return int(width * height)


def is_column_name(name: object) -> bool:
    """Whether a store can keep a column of metadata under this name."""
    return (
        isinstance(name, str)
        and bool(name)
        and name.isprintable()
        and "/" not in name
        and not name.startswith((".", "__", "zarr.json"))
    )


def face_name(value: object) -> str:
    """Convert a name in a column to text; empty where missing. Whole numbers may be floats."""
    if value is None or value == "" or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check_text(what: str, values: Iterable[str]) -> None:
    """Refuse text that cannot be written as UTF-8, such as file names in another encoding."""
    for value in values:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ParameterError(
                f"the {what} {value!r} of a face is not valid text: {error}"
            ) from error


def _check_image(name: str, image: npt.NDArray[np.uint8]) -> None:
    pixels = np.asarray(image)
    channels = pixels.shape[2:] in ((), (1,), (3,))
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not channels or not pixels.size:
        raise ParameterError(
            f"the image of face {name!r} has dtype {pixels.dtype} and shape {pixels.shape}; "
            f"allowed are uint8 arrays (height, width), (height, width, 1) and (height, width, 3)"
        )


def find_landmarks(
    faces: Faces, *, which_face: WhichFace = "largest", device: str = "cpu", progress: bool = True
) -> npt.NDArray[np.float32]:
    """Detect the five landmarks of every face, ignoring any landmarks given with the set.

    Parameters
    ----------
    faces
        The faces.
    which_face
        Which of several in a photograph: ``"largest"``, ``"central"``, or ``"only"`` (else none).
    device
        Device of the detector.
    progress
        Whether to show a progress bar.

    Returns
    -------
    numpy.ndarray
        ``(n, 5, 2)`` as given by :func:`freqlab.images.alignment.detect_faces`; NaN for faces
        that cannot be read or found.
    """
    landmarks = np.full((len(faces), 5, 2), np.nan, np.float32)
    batch: dict[int, Photograph] = {}

    def detect() -> None:
        images = [photograph.pixels for photograph in batch.values()]
        points = detect_faces(images, which_face=which_face, device=device).landmarks
        for (i, photograph), its_points in zip(batch.items(), points, strict=True):
            landmarks[i] = (its_points + 0.5) * photograph.reduced - 0.5
        batch.clear()

    with progress_bar("finding landmarks", len(faces), "face", shown=progress, delay=0) as bar:
        for i in range(len(faces)):
            bar.update(1)
            with contextlib.suppress(OSError):
                batch[i] = faces.photograph(i)
            n_pixels = sum(photograph.pixels.size // 3 for photograph in batch.values())
            if len(batch) == _FACES_PER_BATCH or n_pixels > _PIXELS_PER_BATCH:
                detect()
        if batch:
            detect()
    return landmarks


def landmarks_of(table: pd.DataFrame) -> npt.NDArray[np.float32] | None:
    """Landmarks ``(n, 5, 2)`` in the columns :data:`LANDMARK_COLUMNS`, or None without them.

    Raises
    ------
    FaceSetError
        If only some of the columns exist.
    """
    present = [column for column in LANDMARK_COLUMNS if column in table.columns]
    if not present:
        return None
    if len(present) < len(LANDMARK_COLUMNS):
        missing = sorted(set(LANDMARK_COLUMNS) - set(present))
        raise FaceSetError(f"the landmark columns {missing} are missing")
    return table[LANDMARK_COLUMNS].to_numpy(np.float32).reshape(-1, 5, 2)


def landmark_table(names: Iterable[str], landmarks: npt.NDArray[np.floating]) -> pd.DataFrame:
    """Make a table of landmarks, one row per face, in the form written to CSV files."""
    index = pd.Index(list(names), name="face")
    return pd.DataFrame(landmarks.reshape(-1, 10), index=index, columns=LANDMARK_COLUMNS)

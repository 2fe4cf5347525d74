"""Synthetic raw photographs: faces of the demo, pasted at random sizes on varied canvases.

Used by the benchmarks of detection and memory. Every photograph is drawn from its number alone, so
that a set of 1,000 is the beginning of a set of 10,000.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageFilter

import freqlab as fl

__all__ = ["photograph", "photographs_on_disk"]

_SHORTEST, _LONGEST = 200, 400  # sides of a canvas in pixels
_SHARES = (0.3, 0.8)  # height of the face over the shorter side of the canvas


def photograph(faces: fl.Faces, number: int) -> tuple[npt.NDArray[np.uint8], int]:
    """One photograph ``(height, width, 3)``, and the position of the face that it shows.

    Parameters
    ----------
    faces
        Photographs of faces that fill the picture, as of ORL.
    number
        Number of the photograph; decides its canvas, its face, its size and its place.
    """
    chance = np.random.default_rng([30, number])
    width, height = (int(side) for side in chance.integers(_SHORTEST, _LONGEST + 1, 2))
    position = number % len(faces)
    coarse = chance.integers(40, 216, (*chance.integers(2, 12, 2), 3)).astype(np.uint8)
    canvas = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = chance.normal(0, chance.uniform(0, 12), (height, width, 1))
    canvas = Image.fromarray(np.clip(np.asarray(canvas) + noise, 0, 255).astype(np.uint8))
    face = Image.fromarray(faces.image(position))
    scale = chance.uniform(*_SHARES) * min(width, height) / face.height
    face = face.resize(
        (round(face.width * scale), round(face.height * scale)), Image.Resampling.LANCZOS
    )
    if chance.random() < 0.25:
        face = face.filter(ImageFilter.GaussianBlur(chance.uniform(0.3, 1.2)))
    left = int(chance.integers(0, width - face.width + 1))
    top = int(chance.integers(0, height - face.height + 1))
    canvas.paste(face, (left, top))
    return np.asarray(canvas), position


def photographs_on_disk(n: int, folder: Path, faces: fl.Faces | None = None) -> fl.Faces:
    """Write photographs as JPEG files, and return them as a face set.

    Parameters
    ----------
    n
        Number of photographs.
    folder
        Where the files are written; created if it does not exist.
    faces
        The faces to paste; those of the demo by default.
    """
    faces = fl.load_faces("orl") if faces is None else faces
    folder.mkdir(parents=True, exist_ok=True)
    paths, subjects = [], []
    for number in range(n):
        pixels, position = photograph(faces, number)
        path = folder / f"{number}.jpg"
        Image.fromarray(pixels).save(path, quality=90)
        paths.append(str(path))
        subjects.append(str(faces.subjects[position]))
    table = pd.DataFrame(
        {"subject": subjects, "path": paths},
        index=pd.Index([f"p{number}" for number in range(n)], name="face"),
    )
    return fl.Faces(table, name="synthetic photographs")

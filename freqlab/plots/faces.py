"""Contact sheets of the aligned faces of a run, and of photographs that failed."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.figure import Figure

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.images.decoding import decode_photograph
from freqlab.literals import SheetContent
from freqlab.plots.common import MAX_WIDTH, figure_size, shortened
from freqlab.store.reading import open_crops

__all__ = ["contact_sheet"]

_MAX_SHOWN = 600
_LETTER = 4.8  # mean width of a letter of small text in points
_LINE = 0.14  # height of a line of small text in inches
_THUMBNAIL = 240  # longer side of a photograph in pixels


def contact_sheet(
    store: str | os.PathLike[str],
    *,
    template: str = "arcface",
    show: SheetContent = "ok",
    faces: Sequence[str] | None = None,
    n: int = 60,
    columns: int = 8,
    seed: int = 0,
    height: float | None = None,
    aspect: float | None = None,
) -> Figure:
    """Crops of a run, or photographs without a crop and the reason for each.

    Parameters
    ----------
    store
        Zarr group of the run.
    template
        Template of the crops.
    show
        ``"ok"`` for crops; ``"failed"`` for faces without a crop; ``"several"`` for photographs
        with several detected faces, beside the crop of the chosen face.
    faces
        Names of the faces to show, all by default; a sample is drawn from more than `n`.
    n
        Upper bound on the number of faces on the sheet.
    columns
        Number of faces in a row.
    seed
        Seed of the sample.
    height
        Height of the figure in inches; by default that for which its text is made.
    aspect
        Width of the figure over its height.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, with axes for each picture.

    Raises
    ------
    ParameterError
        If an argument is not allowed.
    StoreError
        If the run has no crops of this template.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> figure = fl.plots.contact_sheet(result.attrs["store"], n=8)
    >>> len(figure.axes) > 0
    True
    """
    check_name("show", show, get_args(SheetContent))
    check_number("n", n, at_least=1, whole=True)
    check_number("columns", columns, at_least=1, whole=True)
    crops = open_crops(store, template=template)
    ok = crops["status_text"].to_numpy() == "ok"
    done = crops["status_text"].to_numpy() != "not computed"
    shown = {"ok": ok, "failed": done & ~ok, "several": crops["several"].to_numpy()}
    chosen = np.flatnonzero(shown[show])
    names = crops["face"].to_numpy().astype(str)
    if faces is not None:
        unknown = sorted(set(map(str, faces)) - set(names))
        if unknown:
            raise ParameterError(f"faces {unknown[:3]} are not in the run")
        chosen = chosen[np.isin(names[chosen], list(map(str, faces)))]
    n_all = len(chosen)
    n = min(n, _MAX_SHOWN)
    if len(chosen) > n:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, n, replace=False))
    pictures = [_pictures(crops.isel(face=position), show) for position in chosen]
    n_places = len(chosen) * (2 if show == "several" else 1)
    columns += columns % 2 if show == "several" else 0  # a photograph and its crop in one row
    n_rows = max(1, math.ceil(n_places / columns))
    width = min(1.1 * columns, MAX_WIDTH)

    def titles_of(width: float) -> list[list[str]]:
        """Titles of the pictures of each face, in a figure of this width in inches."""
        n_letters = max(1, int(72 * width / columns / _LETTER))
        status = crops["status_text"].to_numpy()[chosen]
        return [
            _titles(name, str(why), len(images), n_letters)
            for name, why, images in zip(names[chosen], status, pictures, strict=True)
        ]

    n_lines = max((text.count("\n") + 1 for texts in titles_of(width) for text in texts), default=1)
    tall = width / columns + _LINE * n_lines
    size = figure_size((width, tall * n_rows + 0.4), height, aspect)
    titles = titles_of(size[0])
    figure = plt.figure(figsize=size, layout="constrained")
    used = shortened(template, 24)
    what = {
        "ok": f"crops of template {used}",
        "failed": f"without a crop of template {used}",
        "several": f"detected among others, and the crop of template {used} of the selected face",
    }[show]
    figure.suptitle(f"{len(chosen):,} of {n_all:,} faces, {what}", fontsize="medium")
    shown_images = [image for images in pictures for image in images]
    shown_titles = [text for texts in titles for text in texts]
    for i, (image, text) in enumerate(zip(shown_images, shown_titles, strict=True)):
        ax = figure.add_subplot(n_rows, columns, i + 1)
        if image is None:
            ax.set_facecolor("0.9")
        else:
            ax.imshow(image, interpolation="lanczos")
        ax.set(xticks=[], yticks=[])
        ax.set_title(text, fontsize="small", pad=2)
    return figure


def _titles(name: str, status: str, n_images: int, n_letters: int) -> list[str]:
    """Titles of the pictures of a face: its name, and the reason if it has no crop."""
    title, failed = shortened(name, n_letters), status != "ok"
    if n_images == 2:
        return [title, "none selected" if failed else "selected"]
    return [f"{title}\n{textwrap.fill(status, n_letters)}" if failed else title]


def _pictures(face: xr.Dataset, show: SheetContent) -> list[npt.NDArray[np.uint8] | None]:
    """Pictures of a face: its crop, its photograph, or the photograph followed by the crop."""
    crop = photograph = None
    if "crop" in face and str(face["status_text"].item()) == "ok":
        crop = face["crop"].to_numpy()
    if "path" in face.coords and (show != "ok" or crop is None):
        photograph = _photograph(str(face["path"].item()))
    if show == "several":
        return [photograph, crop]
    return [photograph if crop is None or show == "failed" else crop]


def _photograph(path: str) -> npt.NDArray[np.uint8] | None:
    """Read a photograph at reduced size; a sheet may have hundreds."""
    from PIL import Image

    try:
        with open(path, "rb") as file:
            pixels = decode_photograph(file.read()).pixels
    except (OSError, ValueError):  # ValueError: not a valid file name
        return None
    small = Image.fromarray(pixels)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return np.asarray(small)

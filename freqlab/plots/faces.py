"""Contact sheets: see how the faces of a run were cut out, and which were not."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces import decode_image
from freqlab.plots.common import shortened
from freqlab.results import open_crops

__all__ = ["contact_sheet"]

_MOST_SHOWN = 600


def contact_sheet(
    store: str | os.PathLike[str],
    *,
    template: str = "arcface",
    show: str = "ok",
    faces: Sequence[str] | None = None,
    n: int = 60,
    columns: int = 12,
    seed: int = 0,
) -> Figure:
    """Crops of a run side by side, or the photographs that gave none, each with its reason.

    Parameters
    ----------
    store
        The run's Zarr group.
    template
        Of the crops.
    show
        ``"ok"`` for crops, ``"failed"`` for faces without one.
    faces
        Names of the faces to show, of which a sample is drawn where they are more than `n`; all
        by default.
    n
        Most faces on the sheet.
    columns
        Faces in a row.
    seed
        Of the sample.

    Raises
    ------
    ParameterError
        If an argument is not allowed.
    StoreError
        If the run has no crops of this template.
    """
    check_name("show", show, ["ok", "failed"])
    check_number("n", n, at_least=1, whole=True)
    check_number("columns", columns, at_least=1, whole=True)
    crops = open_crops(store, template=template)
    ok = crops["status_text"].to_numpy() == "ok"
    done = crops["status_text"].to_numpy() != "not computed"
    chosen = np.flatnonzero(ok if show == "ok" else done & ~ok)
    names = crops["face"].to_numpy().astype(str)
    if faces is not None:
        unknown = sorted(set(map(str, faces)) - set(names))
        if unknown:
            raise ParameterError(f"faces {unknown[:3]} are not in the run")
        chosen = chosen[np.isin(names[chosen], list(map(str, faces)))]
    n_all = len(chosen)
    n = min(n, _MOST_SHOWN)
    if len(chosen) > n:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, n, replace=False))
    n_rows = max(1, math.ceil(len(chosen) / columns))
    tall = 1.5 if show == "failed" else 1.22
    figure = plt.figure(figsize=(1.05 * columns, tall * n_rows + 0.5), layout="constrained")
    used = shortened(template, 24)
    what = f"crops of template {used}" if show == "ok" else f"without a crop of {used}"
    figure.suptitle(f"{len(chosen):,} of {n_all:,} faces, {what}", fontsize="medium")
    for place, position in enumerate(chosen):
        ax = figure.add_subplot(n_rows, columns, place + 1)
        image = None
        if show == "ok" and "crop" in crops:
            image = crops["crop"].isel(face=position).to_numpy()
        elif "path" in crops.coords:
            image = _photograph(str(crops["path"].isel(face=position).item()))
        if image is None:
            ax.set_facecolor("0.9")
        else:
            ax.imshow(image, interpolation="lanczos")
        ax.set(xticks=[], yticks=[])
        title = shortened(names[position], 16)
        if show == "failed":
            title += f"\n{crops['status_text'].isel(face=position).item()}"
        ax.set_title(title, fontsize=7, pad=2)
    return figure


def _photograph(path: str) -> npt.NDArray[np.uint8] | None:
    try:
        with open(path, "rb") as file:
            return decode_image(file.read())
    except OSError:
        return None

"""The section on orientation of the explore report: which way the structure runs that is used."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr

from freqlab.bands.oriented import sectors
from freqlab.faces.table import Faces
from freqlab.literals import Side
from freqlab.plots.influence import contrast_plot
from freqlab.plots.orientation import rose_plot
from freqlab.reports.figures import panels
from freqlab.reports.parts import show
from freqlab.results.profiles import mean_profile
from freqlab.results.shares import (
    describe_orientation,
    orientation_differs,
    orientation_shares,
)
from freqlab.run.calls import influence
from freqlab.statistics.resampling import FEWEST_PEOPLE

__all__ = ["ABOUT", "findings", "influence_of_sectors", "show_section"]

ABOUT = (
    "Each genuine pair is compared again with one sector of orientation removed at a time. The "
    "orientation is that of the structure in the image, modulo 180°: 0° is horizontal structure, "
    "such as brows, eyes and mouth, and 90° vertical structure, such as the sides of the nose and "
    "of the face."
)
"""What the section shows, for readers."""

_HEIGHT = 3.4  # inches: the section fits on half a printed page


def influence_of_sectors(
    faces: Faces, pairs: pd.DataFrame, n_sectors: int | None, *, side: Side, **options: Any
) -> xr.Dataset | None:
    """Influence of sectors of orientation on the genuine pairs of a report.

    Parameters
    ----------
    faces, pairs
        Faces and pairs of the report.
    n_sectors
        Number of sectors; None if the report leaves the section out.
    side
        Masked side, the only one that is computed.
    **options
        Passed to :func:`freqlab.influence`.

    Returns
    -------
    xarray.Dataset or None
        The result; None without sectors or without genuine pairs.
    """
    genuine = pairs[pairs["genuine"].to_numpy(bool)]
    if n_sectors is None or not len(genuine):
        return None
    return influence(faces, genuine, bands=sectors(n_sectors), sides=[side], **options).load()


def findings(oriented: xr.Dataset | None, *, model: str, side: Side) -> list[str]:
    """The sentence on orientation, if it belongs to the findings of the report.

    It does if the shares of horizontal and of vertical structure differ by an interval that
    excludes zero, over at least 20 people.

    Parameters
    ----------
    oriented
        From :func:`influence_of_sectors`.
    model, side
        Model and masked side.
    """
    if oriented is None:
        return []
    shares = orientation_shares(oriented)
    enough = int(shares["n_subjects"].sel(comparison="genuine", model=model)) >= FEWEST_PEOPLE
    if not enough or not orientation_differs(shares, model=model, side=side):
        return []
    return [describe_orientation(shares, model=model, side=side)]


def show_section(oriented: xr.Dataset | None, *, model: str, side: Side) -> None:
    """Show the section: a sentence, the rose of the sectors, and their contrast.

    Parameters
    ----------
    oriented
        From :func:`influence_of_sectors`; nothing is shown for None.
    model, side
        Model and masked side.
    """
    if oriented is None:
        return
    shares = orientation_shares(oriented)
    told = describe_orientation(shares, model=model, side=side)
    show(f"## Orientation\n\n{ABOUT}\n\n> {told}")
    with panels(model, height=_HEIGHT, width_ratios=(1, 1.1)) as axes:
        rose_plot(mean_profile(oriented), model=model, side=side, ax=axes[0, 0])
        contrast_plot(oriented, model=model, side=side, ax=axes[0, 1])

"""Open the inspector on a result."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import xarray as xr

from freqlab.edits.inspection import Inspection
from freqlab.faces.table import Faces
from freqlab.inspector.app import Inspector
from freqlab.literals import Side
from freqlab.models.callables import Embedder
from freqlab.models.spec import Model

__all__ = ["inspect"]


def inspect(
    result: xr.Dataset | str | os.PathLike[str],
    *,
    name: str | None = None,
    faces: Faces | None = None,
    models: Sequence[str | os.PathLike[str] | Model | Embedder] = (),
    model: str | None = None,
    pair: int | None = None,
    side: Side | None = None,
    fmr: float | None = None,
    device: str = "auto",
) -> Inspector:
    """Examine single decisions: remove bands from a face and compare the pair again.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, or the path of a run.
    name
        Name of the result if `result` is a path; the newest by default.
    faces
        Faces of the run; required only if it has no crops.
    models
        Models, as for :func:`freqlab.influence`; required only for those not known by name.
    model, pair, side
        Initial view; by default the first of each in the result.
    fmr
        False match rate of the threshold; by default 1e-3, or the smallest larger rate that the
        faces of the run resolve.
    device
        Device of the networks: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    Inspector
        Widget; JupyterLab displays it if it is the last value of a cell.

    Raises
    ------
    ParameterError
        If an argument does not match the result.
    StoreError
        If the run does not exist.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> inspector = fl.inspect(result, models=[fl.testing.model()], pair=0)
    >>> inspector.pair
    0
    """
    inspection = Inspection(result, name=name, faces=faces, models=models, device=device)
    initial: dict[str, Any] = {"model": model, "pair": pair, "side": side, "fmr": fmr}
    return Inspector(
        inspection, **{key: value for key, value in initial.items() if value is not None}
    )

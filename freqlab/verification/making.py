"""The verification study: every figure with its interval, stored in the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Unpack

import pandas as pd
import xarray as xr

from freqlab.faces.table import Faces
from freqlab.models.spec import Model
from freqlab.run.studies import RunOptions, Studied, study_of
from freqlab.statistics.error_rates import check_fmr, rates_with
from freqlab.store.studies import Nodes
from freqlab.verification.performance import verify

__all__ = ["study"]


def study(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    models: Studied,
    store: str | os.PathLike[str],
    group: str | Sequence[str] | None = None,
    fmr: float = 1e-3,
    n_draws: int = 1000,
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> xr.DataTree:
    """Compute verification figures of models and store them in the run, or open stored ones.

    Parameters
    ----------
    faces, pairs, models, store, group, n_draws, seed
        As for :func:`freqlab.verify`.
    fmr
        False match rate of the threshold at which results are reported.
    **run
        Options of the computation, as for :func:`freqlab.influence`.

    Returns
    -------
    xarray.DataTree
        ``/figures``, as returned by :func:`freqlab.verify`. The attributes record the settings;
        ``forward_passes`` and ``was_kept`` state whether this call computed anything.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    StoreError
        If the store cannot be read or written.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=8, per_subject=3)
    >>> options = {"models": [fl.testing.model()], "fmr": 0.1, "n_draws": 50, "progress": False}
    >>> study = fl.verification.study(faces, store="run.zarr", **options)
    >>> sorted(study.children)
    ['figures']
    """
    check_fmr(fmr)

    def make(loaded: list[Model]) -> Nodes:
        figures = verify(
            faces,
            pairs,
            models=loaded,
            store=store,
            group=group,
            fmrs=rates_with(fmr),
            n_draws=n_draws,
            seed=seed,
            **run,
        )
        return {"figures": figures}

    return study_of(
        "verification",
        faces,
        make,
        models=models,
        store=store,
        run=run,
        pairs=pairs,
        group=group if group is None or isinstance(group, str) else list(group),
        fmr=fmr,
        n_draws=n_draws,
        seed=seed,
    )

"""Which pairs of a result are worth looking at."""

from __future__ import annotations

import numpy as np
import xarray as xr

from freqlab.sentences import select_part, threshold_of

__all__ = ["pairs_to_show"]


def pairs_to_show(
    result: xr.Dataset, *, model: str, side: str = "probe", fmr: float = 1e-3
) -> dict[str, int]:
    """Choose telling pairs: typical, hard, and such whose decision hangs on one band.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    model, side
        Which part of it.
    fmr
        False match rate of the threshold, for the last kind.

    Returns
    -------
    dict of str to int
        What the pair stands for, and its label; no pair twice, and kinds that the result does
        not have are left out.

    Raises
    ------
    UnknownNameError, ParameterError
        If the result has no such model, side or false match rate.
    """
    data = select_part(result, model=model, side=side)
    threshold = threshold_of(result, model=model, fmr=fmr)
    similarity = data["similarity"].to_numpy().astype(float)
    influence = data["influence"].transpose("pair", "band").to_numpy()
    genuine = data["genuine"].to_numpy()
    match = similarity >= threshold
    crosses = ((similarity[:, None] - influence) >= threshold) != match[:, None]
    flips = (crosses & np.isfinite(influence)).any(axis=1)
    flips &= np.isfinite(threshold) & np.isfinite(similarity)

    chosen: dict[str, int] = {}

    def choose(kind: str, candidates: np.ndarray, preference: np.ndarray) -> None:
        taken = np.isin(data["pair"].to_numpy(), list(chosen.values()))
        rows = np.flatnonzero(candidates & np.isfinite(preference) & ~taken)
        if len(rows):
            chosen[kind] = int(data["pair"].to_numpy()[rows[np.argmin(preference[rows])]])

    if genuine.any():
        typical = np.abs(similarity - np.nanmedian(similarity[genuine]))
        choose("A typical genuine pair", genuine, typical)
    choose("The least similar genuine pair", genuine, similarity)
    choose("The most similar impostor pair", ~genuine, -similarity)
    strongest = np.nanmax(np.abs(np.nan_to_num(influence)), axis=1)
    choose("A genuine pair whose decision hangs on one band", genuine & flips, -strongest)
    choose("An impostor pair whose decision hangs on one band", ~genuine & flips, -strongest)
    return chosen

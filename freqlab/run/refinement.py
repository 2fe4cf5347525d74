"""Refinement within a tolerance: broad bands first, fine ones only where they matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from freqlab.engine.pairing import pair_influence
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.run.context import Run, decomposition
from freqlab.run.samples import embed_sample

__all__ = ["Refinement", "broad_run", "choose_bands", "measure_refinement"]

_TOGETHER = 4  # bands that are removed together at first
_SAMPLE = 32  # pairs for which the omitted bands are computed as well


@dataclass
class Refinement:
    """The bands that are computed one by one, and the error of omitting the others.

    Parameters
    ----------
    tolerance
        Upper bound on the |influence| of a broad band whose bands are omitted.
    broad
        Name of the result over the broad bands.
    refined
        Whether each band is computed, ``(band,)`` per model.
    errors
        Per model: the largest |influence| of an omitted band, and the number of pairs measured.
    """

    tolerance: float
    broad: str
    refined: dict[str, npt.NDArray[np.bool_]]
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)


def broad_run(run: Run) -> Run:
    """The same run over broad bands; its forward passes are counted with those of the run."""
    return dataclasses.replace(run, bands=run.bands.broad(_TOGETHER), band_nodes={})


def choose_bands(run: Run, models: Sequence[Model], broad: str, tolerance: float) -> Refinement:
    """Choose the bands of the broad bands that moved some pair by more than the tolerance."""
    influence: Any = run.store.root[f"influence/{broad}/influence"]
    refined = {}
    for m, model in enumerate(models):
        largest = np.zeros(influence.shape[-1])
        for start in range(0, influence.shape[1], influence.chunks[1]):
            block = np.abs(influence[m, start : start + influence.chunks[1]])
            largest = np.fmax(largest, np.nan_to_num(block).max(axis=(0, 1)))
        refined[model.name] = np.repeat(largest > tolerance, _TOGETHER)[: len(run.bands)]
        n_refined = int(refined[model.name].sum())
        run.say(
            f"{model.name}: {n_refined} of {len(run.bands)} bands are computed one by one; the "
            f"others change no pair by more than {tolerance:g}"
        )
    return Refinement(tolerance, broad, refined)


def measure_refinement(
    run: Run,
    models: Sequence[Model],
    refinement: Refinement,
    positions: npt.NDArray[np.int32],
    sides: Sequence[Side],
) -> None:
    """Compute the omitted bands on a sample of pairs, and note their influence.

    These forward passes are not counted for the run.
    """
    usable = positions[~run.failed()[positions].any(axis=1)]
    chosen = np.unique(np.linspace(0, len(usable) - 1, min(_SAMPLE, len(usable))).astype(int))
    rows = run.rows[usable[chosen]]
    for model in models:
        present = decomposition(run.bands, model).present
        left_out = ~refinement.refined[model.name] & present
        if not left_out.any() or not len(rows):
            refinement.errors[model.name] = {"largest_influence": 0.0, "pairs": len(rows)}
            continue
        embedded = embed_sample(run, model, np.unique(rows), left_out)
        here = np.isin(rows, embedded.rows).all(axis=1)
        probe, reference = np.searchsorted(embedded.rows, rows[here]).T
        of_pair = (embedded.intact[probe], embedded.removed[probe])
        partner = (embedded.intact[reference], embedded.removed[reference])
        largest = 0.0
        for side in sides:
            moved = pair_influence(*of_pair, *partner, side).influence
            largest = max(largest, float(np.abs(moved).max(initial=0.0)))
        refinement.errors[model.name] = {
            "largest_influence": round(largest, 6),
            "pairs": int(here.sum()),
        }
        run.say(
            f"{model.name}: the bands left out change {here.sum()} sample pairs by up to "
            f"{largest:.4f}"
        )

"""What a lower precision does to influence, measured on a sample of faces."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.embeddings import embed_block
from freqlab.models.spec import Model
from freqlab.pairing import pair_influence
from freqlab.provenance import to_json
from freqlab.stages.context import Run
from freqlab.stages.crops import read_crops
from freqlab.store import DONE

__all__ = ["measure_precision"]

_SAMPLE = 16  # faces; neighbours by two, so that some pairs are genuine where subjects adjoin


def measure_precision(
    run: Run,
    model: Model,
    node: zarr.Group,
    held: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
) -> None:
    """Hold the influence of a model in lower precision against float32, once per node.

    Sixteen faces are embedded again in float32; over all their pairs, probe masked, the node's
    attributes get the largest |difference| of influence and the mean rank correlation of the
    profiles over bands. The passes are not counted among the run's.
    """
    if "precision_error" in node.attrs or model.original is None or held.sum() < 2:
        return
    rows = np.unique(rows)
    rows = rows[run.store.read(node, "status")[rows] == DONE]
    if len(rows) < 2:
        return
    firsts = np.linspace(0, len(rows) - 2, min(len(rows), _SAMPLE // 2)).round().astype(int)
    sample = rows[np.unique(np.concatenate([firsts, firsts + 1]))]
    crops = []  # a photograph that is gone by now is left out
    for block in run.store.blocks(sample):
        _, its_crops = read_crops(run, sample[block], model)
        crops.append(its_crops)
    removals = np.eye(len(run.bands), dtype=bool)[held]
    removals = np.concatenate([np.zeros((1, len(run.bands)), bool), removals])
    batch_size = run.batch_of(model)
    influences = []
    n_faces = sum(map(len, crops))
    probe, reference = np.array(list(itertools.permutations(range(n_faces), 2))).T
    for which in (model.original, model):
        found = embed_block(
            which, np.concatenate(crops), removals, labels, batch_size=batch_size
        ).embeddings
        intact, banded = found[:, 0], found[:, 1:]
        influences.append(
            pair_influence(
                intact[probe], banded[probe], intact[reference], banded[reference], "probe"
            ).influence
        )
    ranks = [_ranks(influence) for influence in influences]
    error = {
        "largest_difference": round(float(np.abs(influences[0] - influences[1]).max()), 6),
        "rank_correlation": round(float(np.mean((ranks[0] * ranks[1]).sum(axis=1))), 4),
        "faces": n_faces,
        "pairs": len(influences[0]),
    }
    node.attrs["precision_error"] = to_json(error)
    run.say(
        f"{model.name}: {model.precision} moves influence by up to "
        f"{error['largest_difference']:.4f} (rank correlation of profiles "
        f"{error['rank_correlation']:.3f}), on {error['pairs']} pairs of {n_faces} faces"
    )


def _ranks(profiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Ranks over bands, centred and scaled: their products sum to Spearman's correlation."""
    from scipy.stats import rankdata

    ranks = rankdata(profiles, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.sqrt(np.square(ranks).sum(axis=1, keepdims=True))
    return np.asarray(ranks / np.where(length > 0, length, np.nan))

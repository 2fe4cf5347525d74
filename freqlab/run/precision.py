"""Effect of a lower precision on influence, measured on a sample of faces."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import zarr

from freqlab.attrs import to_json
from freqlab.engine.pairing import pair_influence
from freqlab.models.spec import Model
from freqlab.run.context import Run
from freqlab.run.samples import embed_sample, stored_sample
from freqlab.store.layout import DONE

__all__ = ["measure_precision"]

_SAMPLE = 16  # faces; in adjacent twos, so that some pairs are genuine if subjects are contiguous


def measure_precision(
    run: Run,
    model: Model,
    intact: zarr.Group,
    node: zarr.Group,
    computed: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
) -> None:
    """Compare the influence of a model in lower precision with float32, once per node.

    Sixteen faces are embedded again in float32, and compared with their embeddings in the store.
    The largest |difference| of influence over all their pairs, probe masked, and the mean rank
    correlation of the profiles over bands are written to the attributes of `node`, which has the
    bands. These forward passes are not counted for the run.
    """
    from scipy.stats import spearmanr

    if "precision_error" in node.attrs or model.original is None or computed.sum() < 2:
        return
    rows = np.unique(rows)
    rows = rows[run.store.read(node, "status")[rows] == DONE]
    if len(rows) < 2:
        return
    firsts = np.linspace(0, len(rows) - 2, min(len(rows), _SAMPLE // 2)).round().astype(int)
    sample = rows[np.unique(np.concatenate([firsts, firsts + 1]))]
    exact = embed_sample(run, model.original, sample, computed)
    profiles = []
    for embedded in (exact, stored_sample(run, intact, node, exact.rows, computed)):
        probe, reference = np.array(list(itertools.permutations(range(len(embedded.rows)), 2))).T
        of_pair = (embedded.intact[probe], embedded.removed[probe])
        partner = (embedded.intact[reference], embedded.removed[reference])
        profiles.append(pair_influence(*of_pair, *partner, "probe").influence)
    correlations = [spearmanr(*both).statistic for both in zip(*profiles, strict=True)]
    error = {
        "largest_difference": round(float(np.abs(profiles[0] - profiles[1]).max()), 6),
        "rank_correlation": round(float(np.mean(correlations)), 4),
        "faces": len(embedded.rows),
        "pairs": len(probe),
    }
    node.attrs["precision_error"] = to_json(error)
    run.say(
        f"{model.name}: {model.precision} moves influence by up to "
        f"{error['largest_difference']:.4f} (rank correlation of profiles "
        f"{error['rank_correlation']:.3f}), on {error['pairs']} pairs of {error['faces']} faces"
    )

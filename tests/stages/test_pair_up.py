"""Pairs in pieces, tiles and steps give what one pair at a time gives."""

import numpy as np
import pytest
import torch

import freqlab as fl
from freqlab.pairing import SIDES, pair_influence
from freqlab.stages import pair_up


@pytest.fixture
def by_hand(synthetic, linear):
    """Pairs, and their influence straight from the engine."""
    pairs = fl.make_pairs(synthetic, impostors_per_genuine=float("inf"))
    labels = fl.rings().label_map(112, 112)
    removals = np.concatenate([np.zeros((1, 15), bool), np.eye(15, dtype=bool)])
    found = fl.embed_block(linear, np.stack(synthetic.images), removals, labels).embeddings
    rows = [[synthetic.names.index(name) for name in pairs[s]] for s in ("probe", "reference")]
    intact, banded = found[:, 0], found[:, 1:]
    ends = [part for row in rows for part in (intact[row], banded[row])]
    return pairs, np.stack([pair_influence(*ends, side).influence for side in SIDES], axis=1)


@pytest.mark.parametrize("tile", [1, 3, 512])
@pytest.mark.parametrize("step", [8, 1000])
def test_the_division_does_not_matter(monkeypatch, synthetic, linear, by_hand, tile, step):
    monkeypatch.setattr(pair_up, "_TILE", tile)
    monkeypatch.setattr(pair_up, "_TILES_HELD", 3)
    monkeypatch.setattr(pair_up, "_PAIRS_PER_CHUNK", 8)
    monkeypatch.setattr(pair_up, "_PAIRS_PER_STEP", step)
    monkeypatch.setattr(pair_up, "_PAIRS_PER_PIECE", 5)
    pairs, expected = by_hand
    result = fl.influence(synthetic, pairs, models=[linear], progress=False)
    np.testing.assert_allclose(result["influence"][0], expected, atol=2e-6)
    removed = result["removed_rms"][0]
    both = np.hypot(removed.sel(side="probe"), removed.sel(side="reference"))
    np.testing.assert_allclose(removed.sel(side="both"), both, rtol=1e-6)


def test_the_number_of_workers_does_not_matter(synthetic, orl):
    faces = orl.select(range(0, 24, 3))
    pairs = fl.make_pairs(faces)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(
                fl.influence(faces, pairs, models=["mobilefacenet"], compile=False, progress=False)
            )
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[0]["influence"], results[1]["influence"])

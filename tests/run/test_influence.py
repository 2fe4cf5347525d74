"""Pairs in pieces, tiles and steps give what one pair at a time gives."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import TESTS, make_faces

import freqlab as fl
from freqlab.engine.pairing import SIDES, pair_influence
from freqlab.run import influence


@pytest.fixture
def by_hand(synthetic, linear):
    """Pairs, and their influence straight from the engine."""
    pairs = fl.make_pairs(synthetic, impostors_per_genuine=float("inf"))
    labels = fl.rings().label_map(112, 112)
    removals = np.concatenate([np.zeros((1, 15), bool), np.eye(15, dtype=bool)])
    found = fl.engine.embed_block(linear, np.stack(synthetic.images), removals, labels).embeddings
    rows = [[synthetic.names.index(name) for name in pairs[s]] for s in ("probe", "reference")]
    intact, banded = found[:, 0], found[:, 1:]
    ends = [part for row in rows for part in (intact[row], banded[row])]
    return pairs, np.stack([pair_influence(*ends, side).influence for side in SIDES], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tile", "step"),
    [
        (1, 8),
        (3, 1000),
        (512, 8),
        *(
            pytest.param(*one, marks=pytest.mark.exhaustive)
            for one in ((1, 1000), (3, 8), (512, 1000))
        ),
    ],
)
def test_the_division_does_not_matter(monkeypatch, synthetic, linear, by_hand, tile, step):
    monkeypatch.setattr(influence, "_TILE", tile)
    monkeypatch.setattr(influence, "_TILES_HELD", 3)
    monkeypatch.setattr(influence, "_PAIRS_PER_CHUNK", 8)
    monkeypatch.setattr(influence, "_PAIRS_PER_STEP", step)
    monkeypatch.setattr(influence, "_PAIRS_PER_PIECE", 5)
    pairs, expected = by_hand
    result = fl.influence(synthetic, pairs, models=[linear], progress=False)
    np.testing.assert_allclose(result["influence"][0], expected, atol=2e-6)
    removed = result["removed_rms"][0]
    both = np.hypot(removed.sel(side="probe"), removed.sel(side="reference"))
    np.testing.assert_allclose(removed.sel(side="both"), both, rtol=1e-6)


@pytest.mark.slow
def test_the_number_of_workers_does_not_matter(synthetic, orl):
    faces = orl.select(range(0, 24, 3))
    pairs = fl.make_pairs(faces)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(
                fl.influence(
                    faces, pairs, models=["mobilefacenet"], bands="rings:14", compile=False,
                    progress=False,
                )
            )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[0]["influence"], results[1]["influence"])


def test_thresholds_are_made_once_for_the_same_faces(monkeypatch, linear, tmp_path):
    """Other pairs take them from the store; other faces have their own."""
    calls, real = [], influence.impostor_thresholds

    def counted(*arguments):
        calls.append(len(arguments[0]))
        return real(*arguments)

    monkeypatch.setattr(influence, "impostor_thresholds", counted)
    faces = make_faces(n_subjects=8, per_subject=2)
    options = {"models": [linear], "store": tmp_path / "run.zarr", "progress": False}
    first = fl.influence(faces, fl.make_pairs(faces, seed=0), **options)
    again = fl.influence(faces, fl.make_pairs(faces, seed=1), **options)
    assert first.attrs["name"] != again.attrs["name"]
    assert calls == [16]
    np.testing.assert_array_equal(first["threshold"], again["threshold"])
    assert np.isnan(first["threshold"]).any()
    assert np.isfinite(first["threshold"]).any()
    assert first["impostor_comparisons"].item() == again["impostor_comparisons"].item() == 112
    fewer = faces.select(range(14))
    fl.influence(fewer, fl.make_pairs(fewer, seed=0), **options)
    assert calls == [16, 14]


@pytest.mark.slow
def test_of_very_many_faces_some_give_the_thresholds(monkeypatch, linear):
    monkeypatch.setattr(influence, "_MOST_COMPARED", 100)
    faces = make_faces(n_subjects=60, per_subject=2)
    pairs = fl.make_pairs(faces, seed=0)
    results = [fl.testing.influence(faces, pairs, models=[linear]) for _ in range(2)]
    comparisons = results[0]["impostor_comparisons"].item()
    assert 100 * 99 / 2 - 50 <= comparisons < 100 * 99 / 2
    np.testing.assert_array_equal(results[0]["threshold"], results[1]["threshold"])


IN_BLOCKS = """
import psutil, sys
sys.path.insert(0, {tests!r})
from conftest import Linear, make_faces
import freqlab as fl

faces = make_faces(n_subjects=300, per_subject=4)
model = fl.wrap_model(Linear(), name="linear")
n_pairs = 0
if sys.argv[2] == "embed":  # takes more memory than pairs do, and not in this process
    few = fl.make_pairs(faces.select(range(8)))
    fl.influence(faces, few, models=[model], store=sys.argv[1], name="few", progress=False)
    sys.exit()
for i, pairs in enumerate(fl.pair_blocks(faces, block_size=100_000)):
    fl.influence(faces, pairs, models=[model], store=sys.argv[1], name=f"b{{i}}", progress=False)
    n_pairs += len(pairs)
    print(n_pairs, psutil.Process().memory_info().rss, flush=True)
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_pairs_in_blocks_take_the_memory_of_one_block(tmp_path):
    """All 719,400 pairs of 1,200 faces: the eighth table takes no more than the second."""
    script = tmp_path / "script.py"
    script.write_text(IN_BLOCKS.format(tests=TESTS))
    command = [sys.executable, str(script), str(tmp_path / "run.zarr")]
    subprocess.run([*command, "embed"], check=True)
    said = subprocess.run([*command, "pair"], capture_output=True, text=True, check=True).stdout
    n_pairs, memory = np.array([line.split() for line in said.splitlines()], int).T
    assert n_pairs[-1] == 1200 * 1199 // 2
    assert memory[-1] < 1.05 * memory[1]
    print(f"memory in MB after each block: {(memory / 1e6).round().tolist()}")

"""Pairing against memory bandwidth, and peak memory against the number of faces.

Embeddings are drawn at random: the network is not what is measured. The yardstick is the time to
read, for each pair, both faces' embeddings of all bands once, at the bandwidth that adding up a
large array reaches in the same process. Peak memory is of runs of their own, with a network that
costs next to nothing.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import freqlab as fl
from freqlab.engine.workers import Workers, working
from freqlab.run import influence

N_BANDS, N_FEATURES, SIDES = 15, 512, ("probe", "reference")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--faces", type=int, default=4000)
    parser.add_argument("--memory", type=int, nargs=2, default=[1000, 10_000], metavar="FACES")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=Path("reports/pairing.json"))
    arguments = parser.parse_args()
    if arguments.peak_of:
        print(peak_of(arguments.peak_of))
        return
    # first, while this process is small: its size would count as the others' peak
    peaks = []
    for n_faces in arguments.memory:
        command = [sys.executable, __file__, "--peak-of", str(n_faces)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout.split()[-1]))
    figures = speed(arguments.faces, arguments.pairs)
    figures |= {
        "peak memory, MB": dict(zip(map(str, arguments.memory), peaks, strict=True)),
        "peak memory, ratio": peaks[1] / peaks[0],
    }
    for name, value in figures.items():
        print(f"{name:32} {value:.3g}" if isinstance(value, float) else f"{name:32} {value}")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def speed(n_faces: int, n_pairs: int) -> dict[str, object]:
    """Seconds of pairing over seconds of reading, alternating."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, n_faces, (2, n_pairs)).astype(np.int32)
    intact = rng.standard_normal((n_faces, N_FEATURES), np.float32)
    embedding = rng.standard_normal((n_faces, N_BANDS, N_FEATURES), np.float32)
    removed = np.ones((n_faces, N_BANDS), np.float32)
    large = np.ones(2**28, np.float32)
    read_bytes = n_pairs * 2 * N_BANDS * N_FEATURES * 4

    def pair(workers: Workers) -> None:
        for start in range(0, n_pairs, influence._PAIRS_PER_STEP):
            part = rows[:, start : start + influence._PAIRS_PER_STEP]
            # tiles are scaled in place, so they are copied, as reading a store does
            banded = {"embedding": _Copying(embedding), "removed_rms": _Copying(removed)}
            step = influence._Step(part, _Copying(intact), banded, SIDES)
            step.compute(workers, lambda _: None)

    seconds: dict[str, list[float]] = {"reading": [], "pairing": []}
    for _ in range(5):
        with working() as workers:
            start = time.perf_counter()
            parts = [workers.share(np.sum, part) for part in np.array_split(large, workers.n)]
            _ = [part.result() for part in parts]
            bandwidth = large.nbytes / (time.perf_counter() - start)
            seconds["reading"].append(read_bytes / bandwidth)
            start = time.perf_counter()
            pair(workers)
            seconds["pairing"].append(time.perf_counter() - start)
    ratios = [p / r for p, r in zip(seconds["pairing"], seconds["reading"], strict=True)]
    return {
        "pairs": n_pairs,
        "faces": n_faces,
        "GB to be read": read_bytes / 1e9,
        "GB/s, reading": read_bytes / 1e9 / statistics.median(seconds["reading"]),
        "pairing / reading": statistics.median(ratios),
        "pairing / reading, each round": ", ".join(f"{ratio:.2f}" for ratio in ratios),
    }


class _Copying:
    """An array whose slices are copies, as a store's are."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.path = array, array.shape, "in memory"

    def __getitem__(self, key: object) -> np.ndarray:
        return self._array[key].copy()  # type: ignore[index]


class _Cheap(torch.nn.Module):
    """Averages over cells: 512 features for next to nothing."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 14).flatten(1)[:, :N_FEATURES] - 120


def peak_of(n_faces: int) -> float:
    """Peak memory of a run over so many faces and 20,000 pairs, in MB."""
    from PIL import Image

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{i}.png" for i in range(n_faces)]
        for path in paths:
            pixels = rng.integers(0, 256, (112, 112, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path, compress_level=1)
        names = [f"f{i}" for i in range(n_faces)]
        table = pd.DataFrame(
            {"subject": [f"s{i // 5}" for i in range(n_faces)], "path": paths},
            index=pd.Index(names, name="face"),
        )
        faces = fl.Faces(table, aligned="arcface", name="noise")
        probe = np.arange(20_000) % n_faces
        reference = (probe + 5 + 5 * (np.arange(20_000) // n_faces)) % n_faces
        pairs = pd.DataFrame(
            {
                "probe": np.array(names, object)[probe],
                "reference": np.array(names, object)[reference],
                "genuine": False,
            }
        )
        model = fl.wrap_model(_Cheap(), name="cheap")
        store = Path(folder, "run.zarr")
        fl.influence(faces, pairs, models=[model], sides=SIDES, store=store, progress=False)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

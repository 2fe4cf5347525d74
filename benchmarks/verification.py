"""Memory and time of verification figures, all faces against all.

    python benchmarks/verification.py
    python benchmarks/verification.py --faces 14000 --features 512 --faces 30000 --features 64

Embeddings are drawn at random, ten of each subject. Each size runs in a process of its own, whose
peak memory is read from /proc; `before` is that of the process with the embeddings in memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from freqlab.statistics.error_rates import FMRS, impostor_thresholds
from freqlab.verification.large_sets import figures_of_all

PER_SUBJECT = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, action="append")
    parser.add_argument("--features", type=int, action="append")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=Path("reports/verification.json"))
    arguments = parser.parse_args()
    n_faces, n_features = arguments.faces or [14_000], arguments.features or [512]
    if arguments.one:
        print(json.dumps(measure(n_faces[0], n_features[0], arguments.draws)))
        return
    rows = []
    for faces, features in zip(n_faces, n_features, strict=True):
        command = [sys.executable, __file__, "--one", f"--faces={faces}", f"--features={features}"]
        command.append(f"--draws={arguments.draws}")
        print(f"comparing {faces:,} faces ...", file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        for name, value in rows[-1].items():
            print(f"{name:32} {value:,}", flush=True)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def measure(n_faces: int, n_features: int, n_draws: int) -> dict[str, float]:
    """Compute all figures of random embeddings."""
    chance = np.random.default_rng(0)
    subjects = np.arange(n_faces) // PER_SUBJECT
    embeddings = 1.2 * chance.standard_normal((n_faces, n_features), np.float32)
    embeddings += chance.standard_normal((subjects[-1] + 1, n_features), np.float32)[subjects]
    names = subjects.astype(str).astype(object)
    sources = np.arange(n_faces).astype(str).astype(object)
    before, start, used = peak_memory(), time.perf_counter(), time.process_time()
    thresholds, n_impostor = impostor_thresholds(embeddings, names, sources, FMRS)
    result = figures_of_all(embeddings, names, sources, thresholds=thresholds, n_draws=n_draws)
    rates = result.figures["false_match_rate"].sel(group="all", estimate="value").to_numpy()
    lowest = float(np.nanmin(rates))
    return {
        "faces": n_faces,
        "features": n_features,
        "comparisons": n_faces * (n_faces - 1) // 2,
        "lowest FMR of a threshold": float(f"{lowest:.3g}"),
        "error of that FMR, comparisons": round(abs(lowest - FMRS[-1]) * n_impostor, 1),
        "peak memory before, MB": round(before),
        "peak memory, MB": round(peak_memory()),
        "seconds": round(time.perf_counter() - start),
        "seconds of processor time": round(time.process_time() - used),
    }


def peak_memory() -> float:
    """Peak memory of this process in MB, from /proc."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()

"""The runtimes of a network on a CPU: PyTorch eager and compiled, onnxruntime, OpenVINO.

    python benchmarks/runtimes.py --threads 1 --threads 2
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/runtimes.py

The same batch, ready in memory, goes through the network in each runtime that is installed; the
rounds alternate. Times are of the processor, so that other work on the machine counts little. Each
runtime runs in a process of its own first, because one that crashes would end the others too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import freqlab as fl
from freqlab.engine.compilation import compiled
from freqlab.engine.removals import default_batch_size
from freqlab.models.spec import Model
from freqlab.system.progress import progress_bar

RUNTIMES = ("PyTorch, eager", "PyTorch, compiled", "onnxruntime", "OpenVINO")
_BATCHES = 8  # per round
Way = Callable[[], npt.NDArray[np.float32]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append")
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--try-only", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=Path("reports/runtimes.json"))
    arguments = parser.parse_args()
    models = arguments.model or ["mobilefacenet"]
    if arguments.try_only:
        way_of(fl.load_model(models[0], device="cpu"), arguments.try_only, 1)()
        return
    rows = []
    for name in models:
        usable = [runtime for runtime in RUNTIMES if runs(runtime, name)]
        for threads in arguments.threads or [1]:
            rows.append(measure(name, usable, threads, arguments.rounds))
            for key, value in rows[-1].items():
                shown = {k: round(v, 3) for k, v in value.items()} if key != "model" else value
                print(f"{key:36} {shown}", flush=True)
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def runs(runtime: str, model: str) -> bool:
    """Whether a runtime is installed and survives one batch."""
    if runtime.startswith("PyTorch"):
        return True
    command = [sys.executable, __file__, f"--try-only={runtime}", f"--model={model}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1][:100]
        print(f"{runtime} does not run {model}: exit status {done.returncode}, {last}")
    return done.returncode == 0


def measure(name: str, usable: list[str], threads: int, rounds: int) -> dict[str, object]:
    """Images per second of the processor, and ratios to the compiled network."""
    torch.set_num_threads(threads)
    model = fl.load_model(name, device="cpu")
    ways = {runtime: way_of(model, runtime, threads) for runtime in usable}
    embeddings = {runtime: way() for runtime, way in ways.items()}
    seconds: dict[str, list[float]] = {runtime: [] for runtime in ways}
    with progress_bar(model.name, rounds * len(ways), "run", shown=True, delay=0) as bar:
        for _ in range(rounds):
            for runtime, way in ways.items():
                start = time.process_time()
                for _ in range(_BATCHES):
                    way()
                seconds[runtime].append(time.process_time() - start)
                bar.update()
    n_images = _BATCHES * default_batch_size("cpu")
    base = seconds["PyTorch, compiled"]
    expected = embeddings["PyTorch, eager"]
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    return {
        "model": f"{model.name}, {threads} threads",
        "images per second of the processor": {
            runtime: n_images / statistics.median(taken) for runtime, taken in seconds.items()
        },
        "over the compiled network": {
            runtime: statistics.median(b / t for b, t in zip(base, taken, strict=True))
            for runtime, taken in seconds.items()
        },
        "largest difference of unit embeddings": {
            runtime: float(np.abs(v / np.linalg.norm(v, axis=1, keepdims=True) - expected).max())
            for runtime, v in embeddings.items()
        },
    }


def way_of(model: Model, runtime: str, threads: int) -> Way:
    """A function that embeds one batch in a runtime."""
    batch = default_batch_size("cpu")
    chance = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        ready = model.prepare(torch.rand(batch, 3, *model.template.size, generator=chance) * 255)
    pixels = ready.clone().contiguous()
    if runtime.startswith("PyTorch"):
        used = model
        if runtime == "PyTorch, compiled":
            used = compiled(model, batch_size=batch, threads=threads)
        images = pixels.contiguous(memory_format=model.layout)

        def in_pytorch() -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                return np.asarray(used.network(images))

        return in_pytorch
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, on itself
        path = Path(folder, "network.onnx")
        with torch.no_grad():
            torch.onnx.export(model.network, (pixels,), path, dynamo=False)
        if runtime == "OpenVINO":
            import openvino

            hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
            network = openvino.Core().compile_model(path, "CPU", hints)
            return lambda: np.array(network({0: pixels.numpy()})[0])
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options)
        name = session.get_inputs()[0].name
        return lambda: np.asarray(session.run(None, {name: pixels.numpy()})[0])


if __name__ == "__main__":
    main()

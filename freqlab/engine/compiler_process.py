"""The process that compiles a network: ``python -m freqlab.engine.compiler_process FOLDER``.

Tracing a network replaces ``torch.nn.Module.__call__`` for the whole process, so it is never done
in a process in which other threads run networks. The folder holds the job (``job.json``,
``network.pkl``). The package is made there, compared with the network, and moved into the cache if
it is to be kept. The reason for a failure is written to ``error.txt``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import filelock
import torch

from freqlab.engine.compiled_packages import find_package, keep_package

__all__ = ["BUSY", "FAILED", "MADE", "SAME_BFLOAT16", "SAME_FLOAT32", "main", "why_different"]

MADE, FAILED, BUSY = 0, 3, 4
"""Exit codes: the package is there; it cannot be; another process is making it."""

SAME_FLOAT32 = 1e-5
"""Largest difference of unit embeddings, compiled and not, in float32."""
SAME_BFLOAT16 = 0.999
"""Least cosine of embeddings, compiled and not, in bfloat16."""


def main(folder: Path) -> int:
    """Compile the network of a job; return the exit code."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # of no CUDA compiler
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    sys.path[:] = job["path"]
    try:
        if not job["cache"]:
            _compile(folder, job)
            return MADE
        # as the waiting process sees it: modules that a network imports may set other variables
        cache, key = Path(job["cache"]), job["key"]
        try:
            with filelock.FileLock(cache / f"{key}.lock", timeout=0):
                if find_package(key, cache) is None:
                    made = _compile(folder, job)
                    keep_package(made, key, job["facts"], job["model"], cache)
                return MADE
        except filelock.Timeout:
            return BUSY
    except Exception as error:  # no compiler, a network that cannot be exported, a full disk, ...
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        text = lines[0] if lines else type(error).__name__
        (folder / "error.txt").write_text(text, encoding="utf-8")
        raise


def why_different(actual: torch.Tensor, expected: torch.Tensor, precision: str) -> str:
    """How embeddings of a compiled network differ from the original's; empty if they do not.

    Differences up to :data:`SAME_FLOAT32` and :data:`SAME_BFLOAT16` count as none.
    """
    if actual.shape != expected.shape:
        return f"it returns shape {tuple(actual.shape)}, not {tuple(expected.shape)}"
    actual, expected = actual.double(), expected.double()
    if precision == "bfloat16":
        cosine = torch.nn.functional.cosine_similarity(actual, expected).min().item()
        return "" if cosine >= SAME_BFLOAT16 else f"cosine {cosine:.5f}"
    units = [x / x.norm(dim=1, keepdim=True) for x in (actual, expected)]
    difference = (units[0] - units[1]).abs().max().item()
    return "" if difference <= SAME_FLOAT32 else f"unit embeddings differ by {difference:.2g}"


def _compile(folder: Path, job: dict[str, Any]) -> Path:
    """Make the package and compare it with the network."""
    import torch._inductor  # takes seconds

    with (folder / "network.pkl").open("rb") as file:
        network = cloudpickle.load(file).to(job["device"]).eval()
    torch.set_num_threads(job["threads"])
    chance = torch.Generator().manual_seed(0)
    images = (torch.rand(job["input"], generator=chance) * 2 - 1).to(job["device"])
    layout = torch.channels_last if job["channels_last"] else torch.contiguous_format
    images = images.to(torch.bfloat16 if job["precision"] == "bfloat16" else torch.float32)
    images = images.contiguous(memory_format=layout)
    # weights become constants: normalisation is folded into them, and they are packed in advance
    settings = {"freezing": True, "compile_threads": 1}
    if job["device"].startswith("cpu"):
        settings["cpp.threads"] = job["threads"]
    with torch.no_grad():
        expected = network(images)
        if not isinstance(expected, torch.Tensor):
            raise ValueError(f"the network returns a {type(expected).__name__}")
        program = torch.export.export(network, (images,))
        changed = sorted(program.graph_signature.buffers_to_mutate.values())
        if changed:
            raise ValueError(f"the network changes its own {changed[0]!r} as it runs")
        made = torch._inductor.aoti_compile_and_package(
            program, package_path=str(folder / "package.pt2"), inductor_configs=settings
        )
        actual = torch._inductor.aoti_load_package(made)(images)
    if why := why_different(actual, expected, job["precision"]):
        raise ValueError(f"its embeddings differ when compiled ({why})")
    return Path(made)


if __name__ == "__main__":
    # the waiting process reads the exit code and error.txt; this traceback is for debugging
    try:
        code = main(Path(sys.argv[1]))
    except Exception:
        logging.exception("the network was not compiled")
        code = FAILED
    sys.stdout.flush()
    os._exit(code)  # nothing to clean up: do not wait for PyTorch's own threads

"""From raw photographs: speed and results of the detector, end to end, and peak memory.

    python benchmarks/photographs.py
    python benchmarks/photographs.py --memory 1000 10000

The photographs are synthetic: faces of the demo, pasted at random sizes on varied canvases. Each is
drawn from its number alone, so that a set of 1,000 is the beginning of a set of 10,000. Times are
of the processor, on one thread. Each memory figure is the peak of a run in a process of its own.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image, ImageFilter
from stages import DETECTION, PARTS, PHASES, profile

import freqlab as fl
from freqlab.engine.removals import default_batch_size
from freqlab.images import alignment
from freqlab.system.progress import progress_bar

Pixels = npt.NDArray[np.uint8]

_SHORTEST, _LONGEST = 200, 400  # sides of a canvas in pixels
_SHARES = (0.3, 0.8)  # height of the face over the shorter side of the canvas


def photograph(faces: fl.Faces, number: int) -> tuple[Pixels, int]:
    """One photograph ``(height, width, 3)``, and the position of the face that it shows.

    Parameters
    ----------
    faces
        Photographs of faces that fill the picture, as of ORL.
    number
        Number of the photograph; decides its canvas, its face, its size and its place.
    """
    chance = np.random.default_rng([30, number])
    width, height = (int(side) for side in chance.integers(_SHORTEST, _LONGEST + 1, 2))
    position = number % len(faces)
    coarse = chance.integers(40, 216, (*chance.integers(2, 12, 2), 3)).astype(np.uint8)
    canvas = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = chance.normal(0, chance.uniform(0, 12), (height, width, 1))
    canvas = Image.fromarray(np.clip(np.asarray(canvas) + noise, 0, 255).astype(np.uint8))
    face = Image.fromarray(faces.image(position))
    scale = chance.uniform(*_SHARES) * min(width, height) / face.height
    face = face.resize(
        (round(face.width * scale), round(face.height * scale)), Image.Resampling.LANCZOS
    )
    if chance.random() < 0.25:
        face = face.filter(ImageFilter.GaussianBlur(chance.uniform(0.3, 1.2)))
    left = int(chance.integers(0, width - face.width + 1))
    top = int(chance.integers(0, height - face.height + 1))
    canvas.paste(face, (left, top))
    return np.asarray(canvas), position


def photographs_on_disk(n: int, folder: Path, faces: fl.Faces | None = None) -> fl.Faces:
    """Write photographs as JPEG files, and return them as a face set.

    Parameters
    ----------
    n
        Number of photographs.
    folder
        Where the files are written; created if it does not exist.
    faces
        The faces to paste; those of the demo by default.
    """
    faces = fl.load_faces("orl") if faces is None else faces
    folder.mkdir(parents=True, exist_ok=True)
    paths, subjects = [], []
    for number in range(n):
        pixels, position = photograph(faces, number)
        path = folder / f"{number}.jpg"
        Image.fromarray(pixels).save(path, quality=90)
        paths.append(str(path))
        subjects.append(str(faces.subjects[position]))
    table = pd.DataFrame(
        {"subject": subjects, "path": paths},
        index=pd.Index([f"p{number}" for number in range(n)], name="face"),
    )
    return fl.Faces(table, name="synthetic photographs")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobilefacenet")
    parser.add_argument("--photographs", type=int, default=100, help="for the detector")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[300, 1000], metavar="N")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=Path("reports/photographs.json"))
    arguments = parser.parse_args()
    if arguments.peak_of:
        print(json.dumps(peak_of(arguments.peak_of, arguments.model)))
        return
    rows = []

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        print()
        for name, value in row.items():
            print(f"{name:44} {value:.4g}" if isinstance(value, float) else f"{name:44} {value}")
        sys.stdout.flush()
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")

    orl = fl.load_faces("orl")
    numbers = range(arguments.photographs)
    add(detection("ORL", [orl.image(4 * k % 400) for k in numbers], arguments.rounds))
    pasted = [photograph(orl, k)[0] for k in range(4 * len(numbers))]
    add(detection("synthetic photographs", pasted[: len(numbers)], arguments.rounds))
    add(end_to_end(pasted, arguments.model, arguments.rounds))
    if arguments.memory:
        peaks: dict[str, float] = {}
        for n in arguments.memory:
            print(f"embedding {n:,} photographs ...", file=sys.stderr, flush=True)
            command = [sys.executable, __file__, f"--peak-of={n}", f"--model={arguments.model}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            peaks[str(n)] = json.loads(done.stdout.splitlines()[-1])
        first, *_, last = peaks.values()
        add({"peak memory, MB": peaks, "peak memory, ratio": last / first})


def detection(name: str, images: Sequence[Pixels], rounds: int) -> dict[str, Any]:
    """Speed and results of the detector, over those of facenet-pytorch with the same networks.

    Seconds are of the processor, on one thread, resizing of the photographs included; each
    way sees all photographs once before. Points are compared in units of the distance of the eyes.
    """
    from facenet_pytorch import MTCNN

    original = MTCNN(keep_all=True)
    shares = {"all faces": 0.0, "default": alignment.SMALLEST_FACE, "0.25": 0.25}

    def by_original() -> list[Any]:
        prepared = (alignment._prepare(image)[0] for image in images)
        found = [original.detect(one[None], landmarks=True) for one in prepared]
        return [None if boxes[0] is None else points[0][0] for boxes, _, points in found]

    def by_cascade(share: float) -> list[Any]:
        found = alignment.detect_faces(images, smallest_face=share)
        return [None if np.isnan(points).any() else points for points in found.landmarks]

    ways: dict[str, Callable[[], list[Any]]] = {"facenet-pytorch": by_original}
    ways |= {key: functools.partial(by_cascade, share) for key, share in shares.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {key: [] for key in ways}
    found: dict[str, list[Any]] = {}
    with progress_bar(f"{name}: detection", len(ways) * (1 + rounds), "run", shown=True) as bar:
        for k in range(1 + rounds):
            for key, way in ways.items():
                start = time.process_time()
                found[key] = way()
                if k:
                    seconds[key].append(time.process_time() - start)
                bar.update()
    explained = profile(ways["default"], {}, DETECTION)
    torch.set_num_threads(threads)
    median = {key: statistics.median(values) for key, values in seconds.items()}
    row: dict[str, Any] = {"photographs": name, "number": len(images)}
    row["ms per photograph, facenet-pytorch"] = 1e3 * median["facenet-pytorch"] / len(images)
    complete = found["all faces"]
    for key in shares:
        pairs = list(zip(complete, found[key], strict=True))
        shifts = [_shift(*both) for both in pairs if both[0] is not None and both[1] is not None]
        row[f"{key}: facenet-pytorch / freqlab"] = median["facenet-pytorch"] / median[key]
        row[f"{key}: failures to acquire"] = sum(points is None for points in found[key])
        row[f"{key}: other faces than by all faces"] = sum(shift > 0.5 for shift in shifts)
        row[f"{key}: largest shift, eye distances"] = max(
            (shift for shift in shifts if shift <= 0.5), default=0.0
        )
    return row | explained


def _shift(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Root mean square distance of five points, in units of the distance of the eyes."""
    away = np.sqrt(np.square(one - other).sum(axis=1).mean())
    return float(away / np.linalg.norm(one[0] - one[1]))


def end_to_end(images: Sequence[Pixels], name: str, rounds: int) -> dict[str, Any]:
    """Alignment and embedding from files, over bare detection and the bare forward pass.

    All on one thread, in seconds of the processor. What a run of one photograph costs, above all
    to create a store, is shown apart. A further run with timers tells what the time goes to.
    """
    model = fl.load_model(name)
    batch = default_batch_size(model.device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    crop = torch.rand(batch, 3, *model.template.size) * 255
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{k}.png" for k in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            Image.fromarray(image).save(path, compress_level=1)
        table = pd.DataFrame({"subject": [str(k) for k in range(len(paths))], "path": paths})
        faces = fl.Faces(table.set_index(pd.Index(paths, name="face")), name="photographs")

        def run(some: fl.Faces) -> None:
            store = Path(folder, "run.zarr")
            shutil.rmtree(store, ignore_errors=True)
            fl.embed(some, models=[model], store=store, compile=False, progress=False)

        def forward() -> None:
            with torch.inference_mode():
                for _ in range(-(-len(images) // batch)):
                    model(crop)

        ways: dict[str, Callable[[], object]] = {
            "run": functools.partial(run, faces),
            "run of one": functools.partial(run, faces.select([0])),
            "detection": lambda: alignment.detect_faces(images),
            "forward": forward,
        }
        seconds: dict[str, list[float]] = {key: [] for key in ways}
        with progress_bar("from photographs", len(ways) * (1 + rounds), "run", shown=True) as bar:
            for k in range(1 + rounds):
                for key, way in ways.items():
                    start = time.process_time()
                    way()
                    if k:
                        seconds[key].append(time.process_time() - start)
                    bar.update()
        explained = profile(ways["run"], PHASES, PARTS)
    torch.set_num_threads(threads)
    median = {key: statistics.median(values) for key, values in seconds.items()}
    bare = median["detection"] + median["forward"]
    fixed = median["run of one"] - bare / len(images)
    return {
        "model": model.name,
        "photographs": len(images),
        "ms per photograph, detection": 1e3 * median["detection"] / len(images),
        "ms per photograph, forward pass": 1e3 * median["forward"] / len(images),
        "ms per photograph, run": 1e3 * median["run"] / len(images),
        "ms, run of one photograph": 1e3 * median["run of one"],
        "bare / run, from photographs": bare / median["run"],
        "bare / run, without the cost of a run of one": bare / (median["run"] - fixed),
        **explained,
    }


def peak_of(n: int, model: str) -> float:
    """Peak memory in MB of a run over photographs on disk, from /proc."""
    with tempfile.TemporaryDirectory() as folder:
        faces = photographs_on_disk(n, Path(folder, "photographs"))
        fl.embed(faces, models=[model], store=Path(folder, "run.zarr"), progress=True)
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


if __name__ == "__main__":
    main()

"""What freqlab costs beside the bare forward passes, and beside Captum: one table of ratios.

    python benchmarks/speed.py
    python benchmarks/speed.py --n-faces 0 --faces lfw --root data/lfw --aligned arcface \
        --pairs pairs.txt --model edgeface-xs,checkpoint=edgeface_xs_q.pt

The bare forward pass is the same network in the same precision on the same number of images, ready
in memory, in the fastest runtime at hand: PyTorch eager or compiled, alone or on one thread per
core, onnxruntime, OpenVINO (where installed). freqlab runs from crops on disk to a finished store,
both sides masked. Captum's FeatureAblation ablates the spectrum pair by pair, at its best batch, on
random pairs, and is scaled to all pairs. All ways alternate in one process. Ratios are the result;
seconds depend on the machine. Compiling is timed apart. A further run with timers tells what the
time goes to.

With its defaults it embeds about 30,000 images per precision. Each row is printed and written as
soon as it is known. bfloat16 takes part by default where the processor has instructions for it.
"""

import argparse
import json
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import FeatureAblation
from PIL import Image
from stages import PARTS, PHASES, profile
from torch.utils.flop_counter import FlopCounterMode

import freqlab as fl
from freqlab.engine.compilation import compiled
from freqlab.engine.removals import default_batch_size
from freqlab.engine.workers import working
from freqlab.models.precision import in_precision
from freqlab.models.spec import Model
from freqlab.system.progress import progress_bar

SIDES = ("probe", "reference")
_SAMPLE = 256  # images on which the fastest runtime is found
_EXAMPLES = ("sectors", "wavelets")  # kinds of bands that are compared with rings by default


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", default="orl")
    parser.add_argument("--root")
    parser.add_argument("--aligned")
    parser.add_argument(
        "--n-faces", type=int, default=200, help="the first faces, of the pairs if given; 0: all"
    )
    parser.add_argument("--pairs", help="list of pairs; by default all against all")
    parser.add_argument("--model", action="append")
    parser.add_argument("--precision", action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--captum-pairs", type=int, default=20, help="0 leaves Captum out")
    parser.add_argument("--refine", type=float, help="also with this tolerance")
    parser.add_argument("--scaling", action="store_true", help="also cost by faces, bands, pairs")
    parser.add_argument("--kinds", action="store_true", help="cost of all kinds of bands, not two")
    parser.add_argument("--json", type=Path, default=Path("reports/benchmark.json"))
    arguments = parser.parse_args()

    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    rows = _Rows(arguments.json)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.model or ["mobilefacenet"]:
            model = fl.load_model(name)
            faces, pairs = faces_and_pairs(arguments, model, Path(folder))
            for precision in arguments.precision or default_precisions(model):
                rows.add(compare(in_precision(model, precision), faces, pairs, arguments, folder))
            for row in kinds(model, faces, arguments.rounds, every=arguments.kinds):
                rows.add(row)
            if arguments.scaling:
                for row in scaling(model, faces, Path(folder)):
                    rows.add(row)
    print(f"written to {arguments.json}")


class _Rows:
    """The rows of the table, printed and written one by one."""

    def __init__(self, path: Path) -> None:
        self._path, self._rows = path, list[dict[str, Any]]()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        show(row)
        self._path.write_text(json.dumps(self._rows, indent=2) + "\n")


def default_precisions(model: Model) -> list[str]:
    """float32, and bfloat16 where it is faster."""
    quick = in_precision(model, "auto").precision
    return ["float32"] if quick == "float32" else ["float32", quick]


def faces_and_pairs(
    arguments: argparse.Namespace, model: Model, folder: Path
) -> tuple[fl.Faces, pd.DataFrame]:
    """The first faces and all their pairs, or the first pairs of a list and their faces."""
    faces = fl.load_faces(arguments.faces, root=arguments.root, aligned=arguments.aligned)
    n_faces = arguments.n_faces or len(faces)
    if arguments.pairs:
        pairs = fl.read_pairs(arguments.pairs, faces)
        seen = pd.Index(pd.unique(pairs[list(SIDES)].to_numpy().ravel())[:n_faces])
        pairs = pairs[pairs[SIDES[0]].isin(seen) & pairs[SIDES[1]].isin(seen)]
        faces = faces.select(sorted(pd.Index(faces.names).get_indexer(seen).tolist()))
        return crops_on_disk(faces, model, folder), pairs
    faces = crops_on_disk(faces.select(range(min(n_faces, len(faces)))), model, folder)
    return faces, fl.make_pairs(faces, impostors_per_genuine=float("inf"))


def crops_on_disk(faces: fl.Faces, model: Model, folder: Path) -> fl.Faces:
    """The faces as files of crops, one each; aligned once, untimed, where they are not."""
    if faces.aligned is not None:
        return faces
    kept = folder / model.spec.template
    run = fl.embed(faces, models=[model], store=folder / "align.zarr", progress=True)
    crops = run[f"crops/{model.spec.template}"]["crop"]
    kept.mkdir(exist_ok=True)
    paths = [kept / f"{i}.png" for i in range(len(faces))]
    for path, face in zip(paths, faces.names, strict=True):
        Image.fromarray(crops.sel(face=face).to_numpy()).save(path)
    table = pd.DataFrame(
        {"subject": faces.subjects, "path": list(map(str, paths))},
        index=pd.Index(faces.names, name="face"),
    )
    return fl.Faces(table, aligned=model.spec.template, name=faces.name)


def compare(
    model: Model, faces: fl.Faces, pairs: pd.DataFrame, arguments: argparse.Namespace, folder: str
) -> dict[str, Any]:
    """One row of the table: a model in a precision."""
    store = Path(folder, "run.zarr")
    counts: dict[str, int] = {}

    def freqlab(refine: float | None = None, name: str = "freqlab") -> None:
        shutil.rmtree(store, ignore_errors=True)
        result = fl.influence(
            faces,
            pairs,
            models=[model],
            precision=model.precision,
            sides=SIDES,
            store=store,
            compile=True,
            refine=refine,
            progress=False,
        )
        counts[name] = int(result.attrs["forward_passes"])

    batch = default_batch_size(model.device, model.precision)
    start = time.perf_counter()
    with working() as workers:
        given = {"threads": workers.threads_of(model), "streams": workers.streams_of(model)}
        fast = workers.submit_for(
            model, lambda: compiled(model, batch_size=batch, **given)
        ).result()
    seconds_compiling = time.perf_counter() - start
    bare_ways = runtimes(model, fast)
    what = f"{model.name}, {model.precision}"
    bare = {}
    with progress_bar(f"{what}: runtimes", len(bare_ways), "way", shown=True, delay=0) as bar:
        for name, way in bare_ways.items():
            bare[name] = seconds_of(way, _SAMPLE) / _SAMPLE
            bar.update()
    fastest = min(bare, key=lambda name: bare[name])
    ways: dict[str, Callable[[], None]] = {
        "freqlab": freqlab,
        "bare": lambda: bare_ways[fastest](counts["freqlab"]),
    }
    if arguments.refine is not None:
        ways["freqlab, refined"] = lambda: freqlab(arguments.refine, "freqlab, refined")
    if arguments.captum_pairs:
        original = model.original or model
        some = pairs.sample(min(arguments.captum_pairs, len(pairs)), random_state=0)
        ways["captum"] = captum(original, faces, some)
        if original is model:
            ways["captum, compiled"] = captum(fast, faces, some)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    of_processor: dict[str, list[float]] = {name: [] for name in ways}
    n_steps = arguments.rounds * len(ways)
    with progress_bar(f"{what}: rounds", n_steps, "run", shown=True, delay=0) as bar:
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                start, used = time.perf_counter(), time.process_time()
                way()
                seconds[name].append(time.perf_counter() - start)
                of_processor[name].append(time.process_time() - used)
                bar.update()
    median = {name: statistics.median(values) for name, values in seconds.items()}
    n = counts["freqlab"]
    row: dict[str, Any] = {
        "model": model.name,
        "precision": model.precision,
        "device": model.device,
        "faces": len(faces),
        "pairs": len(pairs),
        "forward passes": n,
        "bare runtime": fastest,
        "bare images/s": n / median["bare"],
        "bare images/s, each runtime": {name: 1 / value for name, value in bare.items()},
        "freqlab images/s": n / median["freqlab"],
        "bare / freqlab": median["bare"] / median["freqlab"],
        "bare / freqlab, each round": [
            b / f for b, f in zip(seconds["bare"], seconds["freqlab"], strict=True)
        ],
        "bare / freqlab, processor time": statistics.median(of_processor["bare"])
        / statistics.median(of_processor["freqlab"]),
        **profile(freqlab, PHASES, PARTS),
        "seconds of compiling": seconds_compiling,
        **matrix_work(model, n / median["freqlab"]),
        "ms per pair": 1e3 * median["freqlab"] / len(pairs),
    }
    for name in ("captum", "captum, compiled"):
        if name in median:
            per_pair = median[name] / min(arguments.captum_pairs, len(pairs))
            row[f"{name}, ms per pair"] = 1e3 * per_pair
            row[f"{name} / freqlab"] = per_pair * len(pairs) / median["freqlab"]
    if "freqlab, refined" in median:
        row["forward passes, refined"] = counts["freqlab, refined"]
        per_pair = median["captum"] / min(arguments.captum_pairs, len(pairs))
        row["captum / freqlab, refined"] = per_pair * len(pairs) / median["freqlab, refined"]
    return row


def matrix_work(model: Model, images_per_second: float) -> dict[str, float]:
    """Operations of an image, and the share of the device's matrix rate that freqlab reaches.

    The rate is that of the product of two large matrices in the same precision, the best of five.
    """
    image = torch.zeros(1, 3, *model.template.size, device=model.device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.network(model.prepare(image).to(model.dtype))
    n = 2048 if model.device == "cpu" else 8192
    factor = torch.ones(n, n, dtype=model.dtype, device=model.device)

    def multiply(_: int) -> None:
        factor @ factor
        if model.device.startswith("cuda"):
            torch.cuda.synchronize()

    rate = 2 * n**3 / min(seconds_of(multiply, n) for _ in range(5))
    return {
        "GFLOP per image": counter.get_total_flops() / 1e9,
        "TFLOP/s, matrix product": rate / 1e12,
        "freqlab / matrix product": counter.get_total_flops() * images_per_second / rate,
    }


def runtimes(model: Model, fast: Model) -> dict[str, Callable[[int], None]]:
    """Ways to run the bare network on a number of images, each time the batch that is ready."""
    batch = default_batch_size(model.device, model.precision)
    with torch.inference_mode():
        chance = torch.Generator().manual_seed(0)
        images = torch.rand(batch, 3, *model.template.size, generator=chance) * 255
        ready = model.prepare(images.to(model.device)).to(model.dtype)

    def run(network: Any, n_batches: int) -> None:
        with torch.inference_mode():
            for _ in range(n_batches):
                network(ready)
        if model.device.startswith("cuda"):
            torch.cuda.synchronize()

    def on_workers(n_images: int) -> None:
        with working() as workers:
            streams = workers.streams_of(model)
            n_batches = -(-n_images // batch)
            shares = [n_batches // streams + (i < n_batches % streams) for i in range(streams)]
            wait([workers.submit_for(model, run, fast.network, share) for share in shares])

    ways: dict[str, Callable[[int], None]] = {
        "PyTorch, eager": lambda n: run(model.network, -(-n // batch)),
        "PyTorch, compiled, one thread per core": on_workers,
    }
    if model.device == "cpu" and model.precision == "float32":
        ways |= other_runtimes(model, ready)
    return ways


def other_runtimes(model: Model, ready: torch.Tensor) -> dict[str, Callable[[int], None]]:
    """The network in onnxruntime and OpenVINO, as far as they are installed."""
    ways: dict[str, Callable[[int], None]] = {}
    pixels, batch = ready.contiguous().numpy(), len(ready)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        try:
            import onnxruntime

            warnings.simplefilter("ignore")  # the exporter's own, of itself
            with torch.no_grad():
                torch.onnx.export(model.network, (ready.clone(),), path, dynamo=False)
        except Exception as error:
            print(f"no other runtimes: {error}")
            return ways
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options)
        name = session.get_inputs()[0].name

        def in_onnxruntime(n_images: int) -> None:
            for _ in range(-(-n_images // batch)):
                session.run(None, {name: pixels})

        ways["onnxruntime"] = in_onnxruntime
        try:
            import openvino
        except ImportError:
            return ways
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        network = openvino.Core().compile_model(path, "CPU", hints)

        def in_openvino(n_images: int) -> None:
            queue = openvino.AsyncInferQueue(network)
            for _ in range(-(-n_images // batch)):
                queue.start_async({0: pixels})
            queue.wait_all()

        ways["OpenVINO"] = in_openvino
    return ways


def seconds_of(way: Callable[..., None], *arguments: Any) -> float:
    """Seconds of a second call."""
    way(*arguments)
    start = time.perf_counter()
    way(*arguments)
    return time.perf_counter() - start


def captum(model: Model, faces: fl.Faces, pairs: pd.DataFrame) -> Callable[[], None]:
    """Influence of all bands on both sides of some pairs, by Captum at its best batch."""
    height, width = model.template.size
    labels = fl.rings().label_map(height, width, eye_distance=model.eye_distance)
    groups = torch.from_numpy(np.where(labels >= 0, labels, len(fl.rings())))
    groups = groups[None, None, :, :, None].to(model.device)
    row = {name: i for i, name in enumerate(faces.names)}
    ends = [[row[name] for name in pairs[side]] for side in SIDES]
    images = {
        i: torch.tensor(faces.image(i)).permute(2, 0, 1)[None].float().to(model.device)
        for i in {*ends[0], *ends[1]}
    }

    def explain(n_pairs: int, per_evaluation: int) -> None:
        for p, r in list(zip(*ends, strict=True))[:n_pairs]:
            for masked, other in ((p, r), (r, p)):
                partner = model(images[other])

                def similarity(
                    spectrum: torch.Tensor, partner: torch.Tensor = partner
                ) -> torch.Tensor:
                    made = torch.fft.irfft2(torch.view_as_complex(spectrum), s=(height, width))
                    return torch.nn.functional.cosine_similarity(model(made), partner)

                spectrum = torch.view_as_real(torch.fft.rfft2(images[masked]))
                FeatureAblation(similarity).attribute(
                    spectrum, feature_mask=groups, perturbations_per_eval=per_evaluation
                )

    def cost(per_evaluation: int) -> float:
        return seconds_of(lambda: explain(5, per_evaluation))

    best = min((1, 4, 8, 16), key=cost)
    return lambda: explain(len(pairs), best)


def scaling(model: Model, faces: fl.Faces, folder: Path) -> Iterator[dict[str, Any]]:
    """Cost against the number of faces, of bands, and of pairs; each in a fresh store."""

    def seconds(n_faces: int, width: float, n_pairs: int | None) -> float:
        some = faces.select(list(range(n_faces)))
        many = fl.make_pairs(some, impostors_per_genuine=float("inf"), n_pairs=n_pairs)
        shutil.rmtree(folder / "scaling.zarr", ignore_errors=True)
        start = time.perf_counter()
        fl.influence(
            some,
            many,
            models=[model],
            bands=fl.rings(width),
            sides=SIDES,
            store=folder / "scaling.zarr",
            compile=False,
            progress=False,
        )
        return time.perf_counter() - start

    most = min(len(faces), 200)
    for what, values in (
        ("faces", [(most // 4, 4, 300), (most // 2, 4, 300), (most, 4, 300)]),
        ("bands", [(most // 4, 8, 300), (most // 4, 4, 300), (most // 4, 2, 300)]),
        ("pairs", [(most, 4, 1000), (most, 4, 5000), (most, 4, None)]),
    ):
        found = []
        with progress_bar(f"cost against {what}", len(values), "run", shown=True, delay=0) as bar:
            for value in values:
                found.append(seconds(*value))
                bar.update()
        yield {
            "cost against": what,
            "faces, width of rings, pairs": values,
            "ratio": [second / found[0] for second in found],
        }


KINDS = {
    "sectors": fl.sectors(8),
    "polar": fl.polar(28, 8),
    "wavelets": fl.wavelets("db2", 3),
    "channels of rings": fl.channels(fl.rings(8)),
    "rings, mirrored": fl.rings(4, extension="mirror"),
    "sectors, mirrored": fl.sectors(8, extension="mirror"),
}


def kinds(model: Model, faces: fl.Faces, rounds: int, *, every: bool) -> Iterator[dict[str, Any]]:
    """Cost of removing each band of some kinds or of `every` kind, against as many rings.

    Of a block of crops with one band removed each, network included, on one thread, whose time of
    the processor is counted (on a GPU, elapsed time); the rounds alternate.
    """
    height, width = model.template.size
    crops = np.stack([np.asarray(faces.image(i)) for i in range(min(8, len(faces)))])
    batch = default_batch_size(model.device, model.precision)
    clock = time.process_time if model.device == "cpu" else time.perf_counter
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def seconds(bands: fl.Bands) -> float:
        parts = bands.decompose(height, width, eye_distance=model.eye_distance)
        one_each = np.eye(len(bands), dtype=bool)
        start = clock()
        fl.engine.embed_block(model, crops, one_each, parts, batch_size=batch)
        return clock() - start

    n_rounds = max(5, rounds)
    for name in KINDS if every else _EXAMPLES:
        bands = KINDS[name]
        edges = np.linspace(0, 0.5, len(bands) + 1).round(6).tolist()
        ways = {name: bands, "rings": fl.rings(edges=edges, unit="cycles/pixel")}
        taken = []
        with progress_bar(f"{name}: rounds", 1 + n_rounds, "round", shown=True, delay=0) as bar:
            for _ in range(1 + n_rounds):
                taken.append({key: seconds(way) for key, way in ways.items()})
                bar.update()
        del taken[0]  # a first round, in which everything is made ready
        per_image = {
            key: statistics.median(one[key] for one in taken) / (len(crops) * len(bands))
            for key in ways
        }
        yield {
            "kind of bands": name,
            "bands": len(bands),
            "ms per image": 1e3 * per_image[name],
            "ms per image, rings": 1e3 * per_image["rings"],
            "cost / as many rings": per_image[name] / per_image["rings"],
            "cost / as many rings, fastest round": min(one[name] for one in taken)
            / min(one["rings"] for one in taken),
        }
    torch.set_num_threads(threads)


def show(row: dict[str, Any]) -> None:
    """Print a row of the table, a figure a line."""
    print()
    for name, value in row.items():
        if isinstance(value, dict):
            text = ", ".join(f"{key}: {figure:.3g}" for key, figure in value.items())
        elif isinstance(value, list):
            text = ", ".join(
                f"{figure:.3f}" if isinstance(figure, float) else str(figure) for figure in value
            )
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"{name:32} {text}", flush=True)


if __name__ == "__main__":
    main()

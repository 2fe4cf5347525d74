"""How much time goes into anything but the network: a table of ratios.

Three ways to the influence of 15 bands, on the same faces, pairs and network, alternating in one
process: the bare forward passes on images ready in memory; freqlab's engine, which makes the
masks and shares faces between pairs; and Captum's FeatureAblation, pair by pair. Ratios are the
result; seconds depend on the machine.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from captum.attr import FeatureAblation

import freqlab as fl
from freqlab.pairing import pair_influence


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()

    faces = fl.load_faces("orl")
    pairs = fl.make_pairs(faces, n_pairs=arguments.pairs)
    model = fl.load_model("mobilefacenet", device="cpu")
    bands = fl.rings()
    labels = bands.label_map(*model.template.size)
    names = sorted({*pairs["probe"], *pairs["reference"]})
    row = {name: i for i, name in enumerate(names)}
    positions = [faces.names.index(name) for name in names]
    crops = np.stack(
        [
            fl.alignment.cut(faces.image(i), faces.landmarks[i], np.zeros(4), model.template)
            for i in positions
        ]
    )
    removals = np.concatenate([np.zeros((1, len(bands)), bool), np.eye(len(bands), dtype=bool)])
    batch = fl.embeddings.default_batch_size("cpu")
    ready = torch.rand(batch, 3, 112, 112) * 255
    n_images = len(names) * len(removals)
    probe, reference = ([row[name] for name in pairs[s]] for s in ("probe", "reference"))

    def bare() -> None:
        for _ in range(-(-n_images // batch)):
            model(ready)

    def engine() -> None:
        embeddings, _ = fl.embed_block(model, crops, removals, labels, batch_size=batch)
        intact, banded = embeddings[:, 0], embeddings[:, 1:]
        for side in ("probe", "reference"):
            pair_influence(intact[probe], banded[probe], intact[reference], banded[reference], side)

    groups = torch.from_numpy(np.where(labels >= 0, labels, len(bands)))[None, None, :, :, None]

    def captum() -> None:
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
        for p, r in zip(probe, reference, strict=True):
            for masked, other in ((p, r), (r, p)):
                partner = model(images[other : other + 1])

                def similarity(
                    spectrum: torch.Tensor, partner: torch.Tensor = partner
                ) -> torch.Tensor:
                    made = torch.fft.irfft2(torch.view_as_complex(spectrum), s=(112, 112))
                    return torch.nn.functional.cosine_similarity(model(made), partner)

                spectrum = torch.view_as_real(torch.fft.rfft2(images[masked : masked + 1]))
                FeatureAblation(similarity).attribute(
                    spectrum, feature_mask=groups, perturbations_per_eval=batch
                )

    ways: dict[str, Callable[[], None]] = {
        "bare forward": bare,
        "freqlab": engine,
        "captum": captum,
    }
    model(ready)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    figures = {
        "model": model.name,
        "precision": "float32, eager",
        "threads": torch.get_num_threads(),
        "pairs": len(pairs),
        "faces": len(names),
        "forward passes": n_images,
        "bare forward / freqlab": median["bare forward"] / median["freqlab"],
        "captum / freqlab": median["captum"] / median["freqlab"],
        "images per second, bare": n_images / median["bare forward"],
    }
    for name, value in figures.items():
        print(f"{name:28} {value:.3g}" if isinstance(value, float) else f"{name:28} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

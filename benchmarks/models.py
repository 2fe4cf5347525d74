"""How fast each model embeds: images per second of the eager float32 forward pass, and ratios.

    python benchmarks/models.py mobilefacenet dlib edgeface-xs,checkpoint=edgeface_xs_q.pt

The models alternate in one process, on random crops ready in memory. Ratios to the first model
are the result; images per second depend on the machine.
"""

import argparse
import statistics
import time

import torch

import freqlab as fl
from freqlab.engine.removals import default_batch_size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["mobilefacenet", "dlib"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=128, help="per model and round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    models = [fl.load_model(model, device=arguments.device) for model in arguments.models]
    batch = default_batch_size(models[0].device)
    crops = {
        model.name: torch.rand(batch, 3, *model.template.size, device=model.device) * 255
        for model in models
    }
    rates: dict[str, list[float]] = {model.name: [] for model in models}
    for model in models:
        model(crops[model.name])
    for _ in range(arguments.rounds):
        for model in models:
            start = time.perf_counter()
            n_batches = -(-arguments.images // batch)
            for _ in range(n_batches):
                model(crops[model.name])
            rates[model.name].append(n_batches * batch / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    first = medians[models[0].name]
    print(f"device {models[0].device}, batches of {batch}, {torch.get_num_threads()} threads")
    print(f"{'model':24} {'size':>9} {'images/s':>9} {'ratio':>7}")
    for model in models:
        height, width = model.template.size
        rate = medians[model.name]
        print(f"{model.name:24} {height:>4}x{width:<4} {rate:9.0f} {rate / first:7.2f}")


if __name__ == "__main__":
    main()

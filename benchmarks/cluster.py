"""Two workers of one thread each against this process with one thread: seconds, and their ratio.

Both ways align and embed the same faces with each band removed, from files to the finished store,
and alternate. The workers have been started and have loaded the network before.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from distributed import Client, LocalCluster

import freqlab as fl


def main() -> None:
    """Measure, print a table, and write it to reports/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilefacenet")
    parser.add_argument("--n-faces", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("reports/cluster.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    faces = fl.load_faces("orl").select(range(arguments.n_faces))
    seconds: dict[str, list[float]] = {"alone": [], "cluster": []}
    with (
        LocalCluster(
            n_workers=arguments.workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
        ) as cluster,
        Client(cluster) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        ways = {"alone": None, "cluster": client}
        for i in range(-1, arguments.repeats):
            for way, place in ways.items():
                some = faces if i >= 0 else faces.select(range(64))
                pairs = fl.make_pairs(some, seed=0)
                began = time.perf_counter()
                result = fl.influence(
                    some,
                    pairs,
                    models=[arguments.model],
                    store=Path(folder) / f"{way}{i}",
                    compile=False,
                    cluster=place,
                    progress=False,
                )
                if i >= 0:
                    seconds[way].append(time.perf_counter() - began)
    alone, spread = (statistics.median(seconds[way]) for way in ways)
    table = {
        "model": arguments.model,
        "faces": len(faces),
        "forward_passes": result.attrs["forward_passes"],
        "workers": arguments.workers,
        "seconds_alone": alone,
        "seconds_cluster": spread,
        "times_as_fast": alone / spread,
        "seconds": seconds,
        "load_average": os.getloadavg(),
        "cores": os.cpu_count(),
    }
    print(f"{len(faces)} faces, {table['forward_passes']:,} forward passes of {arguments.model}")
    print(f"  this process, one thread        {alone:7.1f} s")
    print(f"  {arguments.workers} workers, one thread each     {spread:7.1f} s")
    print(f"  times as fast {alone / spread:.2f}, load average {os.getloadavg()[0]:.1f}")
    arguments.json.parent.mkdir(exist_ok=True)
    arguments.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()

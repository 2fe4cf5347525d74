"""One table of what the other benchmarks measured, with the goal of each ratio.

    python benchmarks/table.py

Reads the JSON files in `reports/` that the other programs wrote; a row without a file or figure is
shown as not measured. Ratios above one goal and figures below another are marked as met; below one
that is missed stands what the time of its run goes to.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stages import profile_lines

Rows = list[dict[str, Any]]
Figure = tuple[str, float, bool, dict[str, Any]]
"""What the figure is of, the figure, whether it meets the goal, and its row with the profile."""


class Goal(NamedTuple):
    """A figure and what it should reach."""

    what: str
    goal: str
    file: str
    figure: Callable[[Rows], Iterator[Figure]]


def of_runs(key: str, at_least: float, precision: str) -> Callable[[Rows], Iterator[Figure]]:
    """A ratio of each model in one precision."""

    def figures(rows: Rows) -> Iterator[Figure]:
        for row in rows:
            if row.get("precision") == precision and key in row:
                of = f"{row['model']}, {row['faces']:,} faces"
                yield of, row[key], row[key] >= at_least, row

    return figures


def of_photographs(rows: Rows) -> Iterator[Figure]:
    """Bare detection and forward pass over the run."""
    for row in rows:
        if "bare / run, from photographs" in row:
            ratio = row["bare / run, from photographs"]
            yield f"{row['model']}, {row['photographs']} photographs", ratio, ratio >= 0.9, row


def of_detection(rows: Rows) -> Iterator[Figure]:
    """Speed of the detector; met only with the same failures and faces."""
    for row in rows:
        if "default: facenet-pytorch / freqlab" in row:
            ratio = row["default: facenet-pytorch / freqlab"]
            failures = [row[f"{key}: failures to acquire"] for key in ("all faces", "default")]
            same = not row["default: other faces than by all faces"] and len(set(failures)) == 1
            yield row["photographs"], ratio, ratio >= 3 and same, row


def of_memory(rows: Rows) -> Iterator[Figure]:
    """Growth of the peak memory, and the peak itself in GB."""
    for row in rows:
        if "peak memory, ratio" in row:
            first, *_, last = row["peak memory, MB"].items()
            yield (
                f"{last[0]} over {first[0]} photographs",
                last[1] / first[1],
                (last[1] / first[1] <= 1.10),
                row,
            )
            yield f"{last[0]} photographs, GB", last[1] / 1024, last[1] < 1.5 * 1024, row


def of_verification(rows: Rows) -> Iterator[Figure]:
    """Peak memory in GB."""
    for row in rows:
        peak = row["peak memory, MB"]
        yield (
            f"{row['faces']:,} faces, {row['comparisons']:,} comparisons",
            peak / 1024,
            (peak < 1.5 * 1024),
            row,
        )


SPEED, PHOTOGRAPHS = "benchmark.json", "photographs.json"
GOALS = [
    Goal("end to end, bare / freqlab, float32", "0.95", SPEED,
         of_runs("bare / freqlab", 0.95, "float32")),
    Goal("end to end, bare / freqlab, bfloat16", "0.92", SPEED,
         of_runs("bare / freqlab", 0.92, "bfloat16")),
    Goal("Captum / freqlab, float32", "4", SPEED,
         of_runs("captum / freqlab", 4, "float32")),
    Goal("Captum / freqlab, bfloat16", "8", SPEED,
         of_runs("captum / freqlab", 8, "bfloat16")),
    Goal("detection, facenet-pytorch / freqlab", "3", PHOTOGRAPHS, of_detection),
    Goal("from photographs, bare / freqlab", "0.9", PHOTOGRAPHS, of_photographs),
    Goal("from photographs, peak memory", "1.10; 1.5 GB", PHOTOGRAPHS, of_memory),
    Goal("fl.verify, all against all, peak memory", "1.5 GB", "verification.json",
         of_verification),
]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("reports"))
    folder = parser.parse_args().folder
    print(f"{'what':42} {'of':44} {'figure':>7}  {'goal':12}")
    for goal in GOALS:
        path = folder / goal.file
        rows = json.loads(path.read_text()) if path.exists() else []
        figures = list(goal.figure(rows))
        if not figures:
            print(f"{goal.what:42} {'not measured':44} {'':7}  {goal.goal:12}")
        for of, figure, met, row in figures:
            print(
                f"{goal.what:42} {of:44} {figure:7.2f}  {goal.goal:12} {'met' if met else 'missed'}"
            )
            for line in () if met else profile_lines(row):
                print(textwrap.fill(line, 118, initial_indent="    ", subsequent_indent="      "))


if __name__ == "__main__":
    main()

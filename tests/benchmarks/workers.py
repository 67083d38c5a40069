"""How much faster do two processes train than one? Measured side by side, in turn, on this machine.

    python -m tests.benchmarks.workers [--data mnist] [--steps 60] [--batch 64] [--rounds 3]

Prints images per second of one process on one thread, two processes on one thread each, and one process on two threads,
with their ratios to the first, the number of cores, and what else kept the machine busy.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

from tqdm import tqdm

from minidiff.data import find_mnist
from tests.processes import command, end, started, torchrun

__all__ = ["main"]

SETTINGS = {
    "one process, one thread": (1, "1"),
    "two processes, one thread each": (2, "1"),
    "one process, two threads": (1, "2"),
}


def samples_per_second(count: int, threads: str, arguments: tuple) -> float:
    """The median speed of a short training, its first reports left out."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("train", *arguments, "--out", Path(folder) / "run", "--save-seconds", 1000)
        program = torchrun(count, *options) if count > 1 else command(*options)
        log = Path(folder) / "printed"
        process = started(program=program, log=log, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
        try:
            if process.wait():
                raise RuntimeError(f"the training failed:\n{log.read_text()}")
        finally:
            end(process)
        lines = [json.loads(line) for line in (Path(folder) / "run" / "log.jsonl").read_text().splitlines()]
    return statistics.median(line["samples per second"] for line in lines[1:])


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist" if find_mnist() else "digits")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    training = (options.data, "--steps", options.steps, "--batch", options.batch)
    print(f"{options.data}, batch {options.batch}, {os.cpu_count()} cores, load before: {os.getloadavg()[0]:.2f}")
    speeds: dict[str, list[float]] = {name: [] for name in SETTINGS}
    with tqdm(total=options.rounds * len(SETTINGS), desc="trainings") as bar:
        for _ in range(options.rounds):
            for name, (count, threads) in SETTINGS.items():
                speeds[name].append(samples_per_second(count, threads, training))
                bar.update()
    base = statistics.median(speeds["one process, one thread"])
    for name, values in speeds.items():
        middle, runs = statistics.median(values), ", ".join(f"{value:.0f}" for value in values)
        print(f"{name:<32} {middle:>8.0f} images/s, ratio {middle / base:.2f} (runs: {runs})")


if __name__ == "__main__":
    main()

"""How far are the digits of the shipped model from real ones, with 10,000 of them?

    python -m tests.benchmarks.shipped             about seven minutes on two CPU cores
    python -m tests.benchmarks.shipped --n 2000    fewer samples, with the floor of as many

Labels are drawn as often as the training set has them. Judged are the samples clipped to [-1, 1], as in `make bench`,
and rounded to the 256 grey levels in which images are stored. It is done with several seeds, since even with so many
samples draws differ by a tenth and more, as real images do. The report goes to data/benchmarks/shipped.json.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor

from minidiff import generator
from minidiff.checkpoints import write_file
from minidiff.data import mnist
from minidiff.recipes import digit_network, digit_objective, load_labelled_digit_network, sample_labelled_digits
from minidiff.training import faster_dtype
from tests.benchmarks.quality import LAST, SEED, distances, machine_of

__all__ = ["in_grey_levels", "main"]


def in_grey_levels(x: Tensor) -> Tensor:
    """Pixels in [-1, 1] rounded to the nearest of 256 levels, as a file holds them."""
    return ((x + 1) * 127.5).round() / 127.5 - 1


def main(arguments: list[str] | None = None) -> None:
    """Draw, measure, write the report and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.shipped", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=LAST, help="samples")
    parser.add_argument("--steps", type=int, default=50, help="of DDPM's sampler")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("data") / "benchmarks", help="where the report goes")
    options = parser.parse_args(arguments)
    images = mnist("train")
    net, card = load_labelled_digit_network()
    dtype = faster_dtype(digit_network(), images.x[:64], digit_objective())
    labels = images.y[torch.randperm(len(images.y), generator=generator(SEED, 6))[: options.n]]
    found = []
    for seed in options.seeds:
        begin = time.perf_counter()
        with torch.inference_mode():
            drawn = sample_labelled_digits(net, labels, steps=options.steps, seed=seed, dtype=dtype).clamp(-1, 1)
        seconds = round(time.perf_counter() - begin)
        judged = {"clipped": distances(drawn, images.x), "in grey levels": distances(in_grey_levels(drawn), images.x)}
        found.append({"seed": seed, "seconds": seconds, **judged})
        floors = {name: {view: one["floors"] for view, one in views.items()} for name, views in judged.items()}
        print(f"seed {seed}, floors: {floors}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    made = {"weights": card["sha256"], "precision": str(dtype).removeprefix("torch."), "drawn": found}
    report = {"machine": machine_of(options), **made}
    write_file(options.out / "shipped.json", (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()

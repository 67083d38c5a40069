"""How far are the digits of the shipped model from real ones, with 10,000 of them?

    python -m tests.benchmarks.shipped             about a quarter of an hour on two CPU cores
    python -m tests.benchmarks.shipped --n 2000    fewer samples, with the floor of as many

Labels are drawn as often as the training set has them. Judged are the samples clipped to [-1, 1], as in `make bench`,
and rounded to the 256 grey levels in which images are stored. It is done with several seeds, since even with so many
samples draws differ by a tenth and more, as real images do. And it is done by two samplers of as many steps: DDPM's,
and DPM-Solver++(2M) with DDPM's noise (eta = 1). The report goes to data/benchmarks/shipped.json.
"""

import argparse
import functools
import json
import time
from pathlib import Path

import torch
from torch import Tensor

from minidiff import generator
from minidiff.checkpoints import write_file
from minidiff.data import mnist
from minidiff.digits import digit_network, digit_objective, load_labelled_digit_network, sample_labelled_digits
from minidiff.samplers import ancestral, dpmpp_2m
from minidiff.training import faster_dtype
from tests.benchmarks.quality import LAST, SEED, distances, machine_of

__all__ = ["in_grey_levels", "main"]

SAMPLERS = {"DDPM": ancestral, "2M with noise": functools.partial(dpmpp_2m, eta=1.0)}


def in_grey_levels(x: Tensor) -> Tensor:
    """Pixels in [-1, 1] rounded to the nearest of 256 levels, as a file holds them."""
    return ((x + 1) * 127.5).round() / 127.5 - 1


def main(arguments: list[str] | None = None) -> None:
    """Draw, measure, write the report and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.shipped", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=LAST, help="samples")
    parser.add_argument("--steps", type=int, default=50, help="of each sampler")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("data") / "benchmarks", help="where the report goes")
    options = parser.parse_args(arguments)
    images = mnist("train")
    net, card = load_labelled_digit_network()
    dtype = faster_dtype(digit_network(), images.x[:64], digit_objective())
    labels = images.y[torch.randperm(len(images.y), generator=generator(SEED, 6))[: options.n]]
    found: dict[str, list[dict]] = {name: [] for name in SAMPLERS}
    for seed in options.seeds:
        for name, sampler in SAMPLERS.items():
            begin, settings = time.perf_counter(), {"steps": options.steps, "seed": seed, "dtype": dtype}
            with torch.inference_mode():
                drawn = sample_labelled_digits(net, labels, **settings, sampler=sampler).clamp(-1, 1)
            seconds = round(time.perf_counter() - begin)
            views = {"clipped": drawn, "in grey levels": in_grey_levels(drawn)}
            judged = {view: distances(x, images.x) for view, x in views.items()}
            found[name].append({"seed": seed, "seconds": seconds, **judged})
            floors = {view: {by: one["floors"] for by, one in measured.items()} for view, measured in judged.items()}
            print(f"{name}, seed {seed}, floors: {floors}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    made = {
        "weights": card["sha256"],
        "precision": str(dtype).removeprefix("torch."),
        "drawn": found,
    }
    report = {"machine": machine_of(options), **made}
    write_file(options.out / "shipped.json", (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()

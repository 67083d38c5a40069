"""How far are the digits of the shipped model from real ones, with 10,000 of them?

    python -m tests.benchmarks.shipped             about a quarter of an hour on two CPU cores
    python -m tests.benchmarks.shipped --n 2000    fewer samples, with the floor of as many
    python -m tests.benchmarks.shipped --ideas     three ways to draw them that were to come nearer, and do not

Labels are drawn as often as the training set has them. Judged are the samples clipped to [-1, 1], as in `make bench`,
and rounded to the 256 grey levels in which images are stored. It is done with several seeds, since even with so many
samples draws differ by a tenth and more, as real images do. And it is done by two samplers of as many steps: DDPM's,
and DPM-Solver++(2M) with DDPM's noise (eta = 1). The report goes to data/benchmarks/shipped.json; what --ideas finds is
only printed, with how often a digit is recognised as what it was asked to be.
"""

import argparse
import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minidiff import generator
from minidiff.checkpoints import write_file
from minidiff.data import mnist
from minidiff.denoisers import Denoiser
from minidiff.digits import digit_network, digit_objective, load_labelled_digit_network, sample_labelled_digits
from minidiff.paths import GaussianPath
from minidiff.samplers import State, ancestral, dpmpp_2m
from minidiff.schedules import log_snr_times
from minidiff.training import faster_dtype
from minidiff.workshop.evaluation import recognised
from tests.benchmarks.quality import LAST, SEED, distances, machine_of

__all__ = ["in_grey_levels", "main"]

SAMPLERS = {"DDPM": ancestral, "2M with noise": functools.partial(dpmpp_2m, eta=1.0)}
LAST_TIME = 0.005  # of a grid even in log-SNR, before it ends at 0


def even_in_log_snr(denoise: Denoiser, path: GaussianPath, x: Tensor, times: Tensor, **options: Any) -> Iterator[State]:
    """2M with noise on as many times, but even in log-SNR: more of them near the data."""
    times = torch.cat([torch.ones(1), log_snr_times(path, len(times) - 2, LAST_TIME, 1 - LAST_TIME), torch.zeros(1)])
    return dpmpp_2m(denoise, path, x, times, eta=1.0, **options)


IDEAS = {  # what differs from 2M with noise in 50 steps without guidance
    "2M with noise": {},
    "25 steps": {"steps": 25},
    "even in log-SNR": {"sampler": even_in_log_snr},
    "guidance of 1.2, 25 steps": {"w": 1.2, "steps": 25},
}


def in_grey_levels(x: Tensor) -> Tensor:
    """Pixels in [-1, 1] rounded to the nearest of 256 levels, as a file holds them."""
    return ((x + 1) * 127.5).round() / 127.5 - 1


def try_ideas(net: nn.Module, labels: Tensor, real: Tensor, steps: int, seed: int, dtype: torch.dtype) -> None:
    """Draw in each of these ways, and print how near that is, in grey levels."""
    usual = {"steps": steps, "seed": seed, "dtype": dtype, "sampler": SAMPLERS["2M with noise"]}
    for name, idea in IDEAS.items():
        with torch.inference_mode():
            drawn = in_grey_levels(sample_labelled_digits(net, labels, **{**usual, **idea}).clamp(-1, 1))
        floors = {by: one["floors"] for by, one in distances(drawn, real).items()}
        print(f"{name}, seed {seed}, floors: {floors}, {recognised(drawn, labels)}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Draw, measure, write the report and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.shipped", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=LAST, help="samples")
    parser.add_argument("--steps", type=int, default=50, help="of each sampler")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("data") / "benchmarks", help="where the report goes")
    parser.add_argument("--ideas", action="store_true", help="instead: other ways to draw, with the first seed")
    options = parser.parse_args(arguments)
    images = mnist("train")
    net, card = load_labelled_digit_network()
    dtype = faster_dtype(digit_network(), images.x[:64], digit_objective())
    labels = images.y[torch.randperm(len(images.y), generator=generator(SEED, 6))[: options.n]]
    if options.ideas:
        try_ideas(net, labels, images.x, options.steps, options.seeds[0], dtype)
        return
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

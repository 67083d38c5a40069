"""What is each choice of the digits' recipe worth? The same training with one choice changed, for as long.

    python -m tests.benchmarks.recipe                                  all of it: hours; it goes on
    python -m tests.benchmarks.recipe --rows base "no labels" --seeds 0  some of it

Each row trains from nothing for the same seconds on the same machine as the base, and is judged like the contenders of
`make bench`: n = 2,000 samples in 25 steps, Frechet distance on the classifier's features over its floor. Single runs
scatter by a quarter, so the choices that decide are trained with every seed, the others with the first one only. What
decides after two minutes need not after four: the rows nearest to the base are trained for twice as long, too.
The report goes to data/benchmarks/recipe.json.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff import generator
from minidiff.checkpoints import write_file
from minidiff.data import Images
from minidiff.denoisers import from_network
from minidiff.digits import KIND, PATH, digit_optimizer, digit_weight
from minidiff.networks import UNet, initialised
from minidiff.paths import GaussianPath
from minidiff.samplers import ancestral, dpmpp_2m, last
from minidiff.targets import Target
from minidiff.training import EMA, Weight, batches, denoising_objective, spread_times, train, warmup_cosine
from minidiff.workshop.subjects import SUBJECTS
from tests.benchmarks.contenders import CLASSES, SHAPE, Contender, Draw, Running
from tests.benchmarks.quality import Bench, machine_of

__all__ = ["ROWS", "Choices", "main", "with_choices"]

SHIPPED = SUBJECTS["mnist-ddpm-labels"].recipe


class Choices(NamedTuple):
    """One recipe. The defaults are the base that each row changes: the recipe before this table let its rate stay."""

    labels: bool = True
    optimizer: str = "Muon"
    learning_rate: float = SHIPPED.learning_rate
    falls: bool = True
    decay: float | None = SHIPPED.decay
    batch_size: int = SHIPPED.batch_size
    kind: Target = KIND
    weight: Weight | None = digit_weight
    times: Callable[[int, GaussianPath, torch.Generator], Tensor] = spread_times
    widths: tuple[int, ...] = (64, 128)
    patch: int = 2
    blocks: int = 1
    precision: str = "bfloat16"


def noisy_times(n: int, path: GaussianPath, generator: torch.Generator) -> Tensor:
    """t^2 evenly spread: more at much noise, where a digit takes shape."""
    return spread_times(n, path, generator).sqrt()


ROWS = {
    "base": {},
    "no labels": {"labels": False},
    "AdamW in place of Muon": {"optimizer": "AdamW", "learning_rate": 0.004},
    "constant learning rate": {"falls": False},
    "constant rate, plain loss of x0": {"falls": False, "weight": None},
    "no moving average": {"decay": None},
    "predicting v, the same loss": {"kind": "v", "weight": None},
    "predicting x0, the plain loss of x0": {"weight": None},
    "t^2 even in training": {"times": noisy_times},
    "batches of 32": {"batch_size": 32},
    "batches of 64": {"batch_size": 64},
    "wider, 96 and 128": {"widths": (96, 128)},
    "narrower, 48 and 96": {"widths": (48, 96)},
    "patches of 4 x 4": {"patch": 4, "widths": (128,), "blocks": 3},
    "float32": {"precision": "float32"},
}
DECIDING = (
    "base",
    "no labels",
    "AdamW in place of Muon",
    "predicting v, the same loss",
    "predicting x0, the plain loss of x0",
    "t^2 even in training",
    "constant learning rate",
)
LONGER = (
    "base",
    "predicting x0, the plain loss of x0",
    "t^2 even in training",
    "constant learning rate",
    "constant rate, plain loss of x0",
)
BASE_SAMPLER = "DDPM, 25 steps, t even"
SAMPLERS = {  # sampler, steps, power of the grid from 1 to 0: the same networks, drawn otherwise
    BASE_SAMPLER: ("DDPM", 25, 1.0),
    "DDPM, 25 steps, t^2 even": ("DDPM", 25, 0.5),
    "DDPM, 15 steps, t even": ("DDPM", 15, 1.0),
    "DDPM, 50 steps, t even": ("DDPM", 50, 1.0),
    "2M, 15 steps, t even": ("2M", 15, 1.0),
    "DDPM, 1000 steps, t even": ("DDPM", 1000, 1.0),  # slow, so with seed 0 only
}


def with_choices(choices: Choices) -> Contender:
    """A contender for the benchmark."""

    def blank(seed: int = 0) -> UNet:
        shape = {"widths": choices.widths, "blocks": choices.blocks, "patch": choices.patch}
        return initialised(lambda: UNet(**shape, classes=CLASSES if choices.labels else 0), generator(seed))

    def start(images: Images, dtype: torch.dtype, steps: int | None, seed: int) -> Running:
        net = blank(seed)
        if choices.optimizer == "Muon":
            optimizer = digit_optimizer(net, choices.learning_rate)
        else:
            optimizer = torch.optim.AdamW(net.parameters(), choices.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
        schedule = warmup_cosine(optimizer, steps=steps, warmup=min(200, steps // 10)) if steps else None
        ema = None if choices.decay is None else EMA(net, choices.decay)
        data = batches(
            images.x,
            images.y if choices.labels else None,
            batch_size=choices.batch_size,
            steps=steps or 10**9,
            seed=seed,
        )
        dropout = SHIPPED.label_dropout if choices.labels else 0.0
        objective = denoising_objective(PATH, choices.kind, choices.times, weight=choices.weight, label_dropout=dropout)
        running = train(
            net, data, objective, optimizer, generator=generator(seed, 2), schedule=schedule, ema=ema, dtype=dtype
        )
        return Running(running, lambda: net if ema is None else ema.net)

    def draw(sampler: str, steps: int, power: float) -> Draw:
        def drawn(net: nn.Module, y: Tensor, seed: int) -> Tensor:
            source = generator(seed, 3)
            denoise = from_network(net, PATH, choices.kind, y if choices.labels else None)
            times, x = torch.linspace(1, 0, steps + 1) ** power, PATH.prior((len(y), *SHAPE), source)
            if sampler == "2M":
                return last(dpmpp_2m(denoise, PATH, x, times))
            return last(ancestral(denoise, PATH, x, times, generator=source))

        return drawn

    settings = ", ".join(f"{key} {getattr(value, '__name__', value)}" for key, value in choices._asdict().items())
    samplers = {name: draw(*setting) for name, setting in SAMPLERS.items()}
    return Contender(settings, choices.batch_size, choices.falls, blank, start, samplers)


def main(arguments: list[str] | None = None) -> None:
    """Measure what is not done yet, write the report after each row, and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.recipe", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seconds", type=int, default=120, help="of training")
    parser.add_argument(
        "--longer", type=int, default=240, help="of training, for the rows nearest to the base; 0: none"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n", type=int, default=2000, help="samples behind each distance")
    parser.add_argument("--folder", type=Path, default=Path("build") / "bench-recipe", help="where finished pieces lie")
    parser.add_argument("--out", type=Path, default=Path("data") / "benchmarks", help="where the report goes")
    options = parser.parse_args(arguments)
    tables: dict[int, dict[str, dict[int, dict]]] = {}
    try:
        for seconds, seed, row in planned(options.rows, options.seeds, options.seconds, options.longer):
            bench = Bench(options.folder / f"seed {seed}", [seconds], options.n, 0, seed=seed)
            choices, found = Choices(**ROWS[row]), tables.setdefault(seconds, {})
            contender = with_choices(choices)
            found.setdefault(row, {})[seed] = bench.run(row, contender, choices.precision)["rows"][0]
            if row == "base" and seconds == options.seconds:
                for sampler in list(SAMPLERS)[1 : None if seed == options.seeds[0] else -1]:
                    drawn = bench.measure(row, contender, choices.precision, seconds, sampler, options.n)
                    found.setdefault(sampler, {})[seed] = {**found[row][seed], "drawn": drawn}
            write_report(tables, options)
    except KeyboardInterrupt:
        print("\nstopped: what is done is kept, and the same command goes on")
    for seconds, found in tables.items():
        print(f"after {seconds} s of training\n{table(found)}\n")


def planned(rows: list[str], seeds: list[int], seconds: int, longer: int) -> list[tuple[int, int, str]]:
    """The trainings as (seconds, seed, row), in order: a whole table with the first seed, what decides with the others.

    Last, with two seeds, what is trained for longer.
    """
    first = [(seconds, seed, row) for seed in seeds for row in rows if seed == seeds[0] or row in DECIDING]
    return first + [(longer, seed, row) for seed in seeds[:2] for row in rows if row in LONGER and longer]


def floors_of(measured: dict[int, dict]) -> list[float]:
    return [one["drawn"]["classifier"]["floors"] for one in measured.values()]


def table(found: dict[str, dict[int, dict]]) -> str:
    """A line for each row: floors by seed, their mean, and its ratio to the base's over the same seeds."""
    lines = [f"{'':36} {'mean':>6} {'of base':>8}  floors by seed"]
    for row, measured in found.items():
        mean = statistics.mean(floors_of(measured))
        base = [found["base"][seed] for seed in measured if seed in found.get("base", {})]
        ratio = mean / statistics.mean(floors_of(dict(enumerate(base)))) if len(base) == len(measured) else float("nan")
        lines.append(f"{row:36} {mean:>6.2f} {ratio:>8.2f}  {'  '.join(f'{f:.2f}' for f in floors_of(measured))}")
    return "\n".join(lines)


def write_report(tables: dict[int, dict[str, dict[int, dict]]], options: argparse.Namespace) -> None:
    by_seconds = {
        str(seconds): {row: {str(seed): one for seed, one in measured.items()} for row, measured in found.items()}
        for seconds, found in tables.items()
    }
    options.out.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"machine": machine_of(options), "rows by seconds": by_seconds}, indent=1) + "\n"
    write_file(options.out / "recipe.json", content.encode())


if __name__ == "__main__":
    main()

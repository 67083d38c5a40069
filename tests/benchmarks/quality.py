"""How soon do the digits look right? minidiff and three public libraries, from nothing, on the same machine.

    make bench                                            all of it: hours; Ctrl-C stops it, the same command goes on
    make bench-quick                                      about ten minutes: one budget, few samples
    python -m tests.benchmarks.quality --budgets 300 600 --contenders minidiff diffusers --precisions float32

One after the other, each contender (see contenders.py) trains on MNIST for a budget of wall-clock seconds, in float32
or bfloat16, whichever it trains faster in here, and draws: all after 600 s; minidiff also after 40 and 150 s, since it
is far by then; two peers also after 1,200 s, to see where they go. Most laptops are fast in float32 only, so minidiff
is trained once more, for 300 s, in its slower precision. (Peers would only be slower; how much, the report says.)

Judged are n = 2,000 samples, clipped to [-1, 1]: their Frechet distance to test images in two views, the features of
the course's classifier and 50 principal components of the pixels, over the distance between test images and other test
images. Of its samplers each gets the one that comes nearest after the largest budget. They are tried with 250 samples,
or 2,000 where that takes minutes only. 10,000 samples are drawn at the end, once for each that came within 3 floors, at
its best: for a slow peer that takes 20 minutes and more.

Not counted: reading the data, saving, measuring. A step counts from its batch to its moving average.
Pieces that are done lie in build/bench/ (so a sampler that changes needs another name), the report in data/benchmarks/:
`time-to-quality.json`, its figure, and a picture of what each drew.
"""

import argparse
import copy
import json
import math
import os
import platform
import shutil
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from minidiff import generator, plots
from minidiff.checkpoints import load_weights, read_card, save_weights, write_file
from minidiff.data import mnist
from minidiff.digits import digit_network, digit_objective
from minidiff.metrics import frechet_distance
from minidiff.training import faster_dtype
from minidiff.workshop.evaluation import classifier_view, principal_view
from minidiff.workshop.subjects import SUBJECTS
from tests.benchmarks.contenders import Contender, contenders, in_precision

__all__ = ["main", "reached", "report_of"]

BUDGETS, SECOND_BUDGETS = [600], [300]
ALSO = [["minidiff", "40", "150"], ["diffusers", "1200"], ["denoising-diffusion-pytorch", "1200"]]
SAMPLES, TRYOUT, LAST = 2000, 250, 10_000
NEAR = 3  # floors, where digits look right: whoever comes as near draws many samples at the end
CHUNK, SEED, WARM_UP = 50, 0, 5  # images drawn at a time: all four are quicker with 50 than with 250, or as quick
QUICK = 300  # seconds: where all samplers together take less for the full number of samples, they are tried with it
VIEWS = {"classifier": "Frechet distance, classifier", "pixels": "Frechet distance, 50 principal components"}


class Bench:
    """Which pieces there are, and where those that are done lie."""

    def __init__(self, folder: Path, budgets: list[int], samples: int, tryout: int, seed: int = SEED):
        self.folder, self.budgets, self.samples, self.tryout = folder, sorted(budgets), samples, tryout
        self.seed = seed
        self.images = mnist("train")

    def with_budgets(self, budgets: list[int]) -> "Bench":
        """The same, with other budgets."""
        other = copy.copy(self)
        other.budgets = sorted(budgets)
        return other

    def trained(self, name: str, precision: str, budget: int) -> Path:
        return self.folder / f"{name}-{precision}-{budget}s"

    # Training

    def is_done(self, folder: Path, contender: Contender) -> bool:
        """Whether a training lies there, with the settings of today. One with others is cleared away."""
        if not (folder / "card.json").exists():
            return False
        if read_card(folder)["settings"] == contender.settings:
            return True
        shutil.rmtree(folder)
        return False

    def train(self, name: str, contender: Contender, precision: str) -> None:
        """Train one contender for each budget that is not done."""
        missing = [b for b in self.budgets if not self.is_done(self.trained(name, precision, b), contender)]
        for marks in [[b] for b in missing] if contender.falls else [missing] * bool(missing):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                self.train_once(name, contender, precision, marks)

    def train_once(self, name: str, contender: Contender, precision: str, marks: list[int]) -> None:
        """Train from nothing to the last of the marks, and save at each."""
        dtype = getattr(torch, precision)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
        steps = None
        if contender.falls:
            steps = int(0.98 * marks[-1] / self.seconds_per_step(contender, dtype))
        running = contender.start(self.images, dtype, steps, self.seed)
        spent, made, left = 0.0, 0, list(marks)
        with tqdm(total=marks[-1], desc=f"{name}, {precision}", unit="s", bar_format=BAR) as bar:
            while left:
                begin = time.perf_counter()
                ended = next(running.steps, ENDED) is ENDED
                spent += time.perf_counter() - begin
                made += not ended
                bar.n = round(min(spent, marks[-1]))
                bar.set_postfix(step=made, refresh=made % 10 == 0)
                if ended or spent >= left[0]:
                    record = {"steps": made, "images": made * contender.batch_size, "seconds": round(spent, 1)}
                    card = {"settings": contender.settings, "precision": precision, "load before": load, **record}
                    save_weights(self.trained(name, precision, left.pop(0)), running.drawer(), card)

    def seconds_per_step(self, contender: Contender, dtype: torch.dtype) -> float:
        """Measured on a training that is thrown away."""
        trial = contender.start(self.images, dtype, 1000, self.seed).steps
        for _ in range(WARM_UP):
            next(trial)
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < 5:
            next(trial)
            count += 1
        return (time.perf_counter() - begin) / count

    def speeds(self, name: str) -> dict[str, float]:
        """Images per second of a contender's training, by precision, as far as they were measured."""
        file = self.folder / f"{name}-speeds.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def faster_first(self, name: str, contender: Contender, precisions: list[str]) -> list[str]:
        """The precisions, the one in which the contender trains faster first; measured once."""
        speeds = self.speeds(name)
        for precision in precisions:
            if precision not in speeds:
                with torch.random.fork_rng(devices=[]):
                    seconds = self.seconds_per_step(contender, getattr(torch, precision))
                speeds[precision] = round(contender.batch_size / seconds, 1)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.folder / f"{name}-speeds.json", json.dumps(speeds, indent=1).encode())
        return sorted(precisions, key=lambda precision: -speeds[precision])

    # Measuring

    def measure(self, name: str, contender: Contender, precision: str, budget: int, sampler: str, n: int) -> dict:
        """Draw n samples with one sampler and measure them, or recall that it was done."""
        folder = self.trained(name, precision, budget)
        file = folder / f"{sampler}, n = {n}.json".replace(" ", "-").replace("/", "-")
        if file.exists():
            return json.loads(file.read_text())
        as_often = torch.randperm(len(self.images.y), generator=generator(self.seed, 6))[:n]
        samples, seconds = self.draw(name, contender, precision, budget, sampler, self.images.y[as_often])
        found = {"sampler": sampler, "n": n, "threads": torch.get_num_threads()}
        found |= {"seconds": round(seconds, 1), "images per second": round(n / seconds, 2)}
        found |= distances(samples, self.images.x)
        write_file(file, json.dumps(found, indent=1).encode())
        return found

    def draw(
        self, name: str, contender: Contender, precision: str, budget: int, sampler: str, y: Tensor
    ) -> tuple[Tensor, float]:
        """One image for each label, clipped, and the seconds that it took."""
        net = contender.blank()
        load_weights(self.trained(name, precision, budget), net)
        net.eval().requires_grad_(False)
        parts: list[Tensor] = []
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(self.seed)
            begin = time.perf_counter()
            label = f"{name}, {precision}, {budget} s: {sampler}"
            for number, chunk in enumerate(tqdm(y.split(CHUNK), desc=label, unit="batch")):
                with in_precision(getattr(torch, precision)):
                    parts.append(contender.samplers[sampler](net, chunk, LAST * self.seed + number).float())
            seconds = time.perf_counter() - begin
        return torch.cat(parts).clamp(-1, 1).clone(), seconds

    def best_sampler(self, name: str, contender: Contender, precision: str) -> tuple[str, list[dict]]:
        """The best after the largest budget, and what all came to; without a tryout, the first."""
        if not self.tryout:
            return next(iter(contender.samplers)), []

        def tried_with(n: int) -> list[dict]:
            return [self.measure(name, contender, precision, self.budgets[-1], s, n) for s in contender.samplers]

        tried = tried_with(self.tryout)
        if sum(found["seconds"] for found in tried) * self.samples < QUICK * self.tryout:
            tried = tried_with(self.samples)  # few samples cannot tell good samplers apart
        return best_of_tried(tried), tried

    def run(self, name: str, contender: Contender, precision: str, sampler: str | None = None) -> dict[str, Any]:
        """Everything about one contender in one precision, with a sampler or with its best."""
        self.train(name, contender, precision)
        tried: list[dict] = []
        if sampler is None:
            sampler, tried = self.best_sampler(name, contender, precision)
        rows = []
        for budget in self.budgets:
            card = read_card(self.trained(name, precision, budget))
            made = {key: card[key] for key in ("steps", "images", "seconds", "load before")}
            rows.append(
                {
                    "budget": budget,
                    **made,
                    "drawn": self.measure(name, contender, precision, budget, sampler, self.samples),
                }
            )
        return {
            "contender": name,
            "precision": precision,
            "settings": contender.settings,
            "weights": sum(value.numel() for value in contender.blank().parameters()),
            "samplers tried": tried,
            "rows": rows,
        }


ENDED = object()
BAR = "{desc} {n_fmt}/{total_fmt} s{postfix}"


def best_of_tried(tried: list[dict]) -> str:
    """The nearest."""
    return min(tried, key=lambda found: found["classifier"]["floors"])["sampler"]


def distances(samples: Tensor, train: Tensor) -> dict[str, dict[str, float]]:
    """Frechet distances of samples to test images, with the floor at the same n.

    Up to half the test set, the floor is between test images. With more, it is that of training images: other writers
    made them, and with this many samples that shows.
    """
    test = mnist("test").x
    if 2 * len(samples) <= len(test):
        measured = SUBJECTS["mnist"].distances(samples, seed=SEED)
        found = {short: (measured[long].value, measured[long].floor) for short, long in VIEWS.items()}
    else:
        real = drawn_at_random(test, len(samples), 0)
        fresh, again = drawn_at_random(train, 2 * len(samples), 1).split(len(samples))
        found = {}
        for short, view in {"classifier": classifier_view(), "pixels": principal_view(train)}.items():
            sets = (view(real), view(again))
            found[short] = tuple(
                frechet_distance(view(x), *sets, generator=generator(SEED, 5)).value for x in (samples, fresh)
            )
    return {
        name: {"distance": round(value, 4), "floor": round(floor, 4), "floors": round(value / floor, 2)}
        for name, (value, floor) in found.items()
    }


def drawn_at_random(x: Tensor, n: int, stream: int) -> Tensor:
    """n rows of x, in a random order, since MNIST is ordered by writer."""
    return x[torch.randperm(len(x), generator=generator(SEED, 4, stream))[:n]]


# The report


def reached(seconds: Iterable[float], floors: Iterable[float], level: float) -> float | None:
    """When a curve first comes down to a level, in seconds, read between two budgets on logarithmic axes; or None."""
    before = None
    for point in zip(seconds, floors, strict=True):
        if point[1] <= level:
            if before is None:
                return point[0]
            share = math.log(before[1] / level) / math.log(before[1] / point[1])
            return before[0] * (point[0] / before[0]) ** share
        before = point
    return None


def report_of(results: list[dict], machine: dict) -> dict[str, Any]:
    """The results with what follows from them: when each comes to 10, 5, 3 and 2 floors, and the ratios to minidiff.

    Peers are compared with minidiff's first result: that of its faster precision, as theirs are of theirs.
    """
    summary = []
    for result in results:
        rows = result["rows"]
        floors = [row["drawn"]["classifier"]["floors"] for row in rows]
        seconds = [row["seconds"] for row in rows]
        summary.append(
            {
                "contender": result["contender"],
                "precision": result["precision"],
                "training images per second": round(rows[-1]["images"] / rows[-1]["seconds"]),
                "drawn per second": rows[-1]["drawn"]["images per second"],
                "drawn per second by its quickest sampler": quickest(result),
                "drawn per second at two floors": quickest_within(2, result),
                "floors": dict(zip(map(str, seconds), floors, strict=True)),
                "floors of pixels": {str(row["seconds"]): row["drawn"]["pixels"]["floors"] for row in rows},
                "seconds to floors": {str(level): rounded(reached(seconds, floors, level)) for level in (10, 5, 3, 2)},
            }
        )
    own = next((line for line in summary if line["contender"] == "minidiff"), None)
    for line in summary:
        if own is not None and line["contender"] != "minidiff":
            line["minidiff trains so many times the images per second"] = round(
                own["training images per second"] / max(1, line["training images per second"]), 1
            )
            if own["drawn per second at two floors"] is not None:
                line["minidiff at two floors draws so many times the images per second of its quickest sampler"] = (
                    round(own["drawn per second at two floors"] / line["drawn per second by its quickest sampler"], 1)
                )
            line["minidiff comes to so many floors at least so many times sooner"] = sooner(own, line)
            line["minidiff comes to this peer's best at least so many times sooner"] = sooner_to_its_best(own, line)
    return {"machine": machine, "summary": summary, "results": results}


def quickest(result: dict) -> float:
    """The most images per second of any sampler, however far from real digits."""
    return max(one["images per second"] for one in [result["rows"][-1]["drawn"], *result["samplers tried"]])


def quickest_within(floors: float, result: dict) -> float | None:
    """The most images per second of what was drawn within so many floors, or None. Few samples cannot tell."""
    drawn = drawn_in_full(result)
    return max((one["images per second"] for one in drawn if one["classifier"]["floors"] <= floors), default=None)


def drawn_in_full(result: dict) -> list[dict]:
    """What was drawn with the full number of samples: by the chosen sampler, and by those tried with as many."""
    rows = [row["drawn"] for row in result["rows"]]
    return rows + [found for found in result["samplers tried"] if found["n"] == rows[0]["n"]]


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def rounded_down(value: float) -> float:
    return math.floor(10 * value) / 10


def sooner(own: dict, peer: dict) -> dict[str, float]:
    """The peer's seconds to each level over minidiff's: those of its last budget, where it does not come so far.

    Levels that the peer's first budget meets already are left out, since nobody knows when it came there. minidiff's
    seconds are read between two budgets. Rounded down, so that 4.99 does not pass for 5.
    """
    last, ours, theirs = max(map(float, peer["floors"])), own["seconds to floors"], peer["seconds to floors"]
    first = next(iter(peer["floors"].values()))
    known = [level for level, seconds in ours.items() if seconds and first > float(level)]
    return {level: rounded_down((theirs[level] or last) / ours[level]) for level in known}


def sooner_to_its_best(own: dict, peer: dict) -> float | None:
    """The peer's seconds to its best distance over minidiff's to the same; more, where its first budget is enough."""
    seconds, best = min(peer["floors"].items(), key=lambda pair: pair[1])
    ours = reached(map(float, own["floors"]), own["floors"].values(), best)
    return None if ours is None else rounded_down(float(seconds) / ours)


def figure_of(results: list[dict]):
    """Distance over seconds of training, and over images seen; images drawn per second over their distance.

    Filled: bfloat16; hollow: float32. On the right stand only samples of the full number: fewer have another floor.
    """
    titles = ["over time", "over images seen", "drawing, after the longest training"]
    figure, axes = plots.panels(1, 3, size=(3.9, 3.8), titles=titles)
    names = list(dict.fromkeys(result["contender"] for result in results))
    for result in results:
        colour = plots.CYCLE[names.index(result["contender"]) % len(plots.CYCLE)]
        style = {"color": colour, "markerfacecolor": colour if result["precision"] == "bfloat16" else "none"}
        rows = result["rows"]
        floors = [row["drawn"]["classifier"]["floors"] for row in rows]
        label = f"{result['contender']}, {result['precision']}"
        axes[0].plot([row["seconds"] for row in rows], floors, "o-", label=label, **style)
        axes[1].plot([row["images"] / 1000 for row in rows], floors, "o-", **style)
        for found in drawn_in_full({**result, "rows": rows[-1:]}):
            axes[2].plot(found["classifier"]["floors"], found["images per second"], "o", **style)
    for ax, label in zip(
        axes, ["seconds of training", "thousand images seen", "Frechet distance in floors"], strict=True
    ):
        ax.set(xscale="log", yscale="log", xlabel=label, ylabel="Frechet distance in floors")
    axes[2].set_ylabel("images drawn per second")
    for axis in (axes[0].yaxis, axes[1].yaxis, axes[2].xaxis):
        in_plain_numbers(axis, FLOORS_SHOWN)
    in_plain_numbers(axes[0].xaxis, sorted({row["budget"] for result in results for row in result["rows"]}))
    in_plain_numbers(axes[1].xaxis, [10, 30, 100, 300, 1000, 3000])
    in_plain_numbers(axes[2].yaxis, [5, 10, 20, 50, 100, 200, 500])
    for level in (2, 3):
        axes[0].axhline(level, color=plots.TRUTH, linewidth=0.8, linestyle=":")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


FLOORS_SHOWN = [1, 2, 3, 5, 10, 20, 50, 100, 1000]


def in_plain_numbers(axis, values: list[float]) -> None:
    """Mark these values of a logarithmic axis, as far as they lie on it, and no others."""
    low, high = axis.get_view_interval()
    shown = [value for value in values if 0.8 * low <= value <= 1.25 * high]
    axis.set_ticks(shown, [f"{value:,}" for value in shown])
    axis.set_ticks([], minor=True)


def machine_of(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "arguments": {key: value for key, value in vars(arguments).items() if key not in ("folder", "out")},
    }


def table(report: dict) -> str:
    """The summary, a line each."""
    lines = [f"{'':38} {'images/s':>8} {'drawn/s':>8}  floors after seconds of training"]
    for line in report["summary"]:
        floors = ", ".join(f"{value} at {float(at):.0f} s" for at, value in line["floors"].items())
        who = f"{line['contender']}, {line['precision']}"
        lines.append(f"{who:38} {line['training images per second']:>8} {line['drawn per second']:>8}  {floors}")
    return "\n".join(lines)


def precisions_worth(asked: list[str], images: Tensor, folder: Path) -> list[str]:
    """Leave bfloat16 out where this machine computes slower in it. Measured once: a busy machine may say otherwise."""
    if "bfloat16" not in asked or len(asked) == 1:
        return asked
    file = folder / "precisions.json"
    if not file.exists():
        faster = faster_dtype(digit_network(0), images[:64], digit_objective())
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, json.dumps({"bfloat16 is faster": faster == torch.bfloat16}).encode())
    if json.loads(file.read_text())["bfloat16 is faster"]:
        return asked
    print("this machine is slower in bfloat16 than in float32: left out")
    return [precision for precision in asked if precision != "bfloat16"]


def main(arguments: list[str] | None = None) -> None:
    """Run what is not done yet, write the report after each contender, and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quality", description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", type=int, nargs="+", help=f"seconds of training, by default {BUDGETS[0]}")
    parser.add_argument(
        "--also",
        nargs="+",
        action="append",
        metavar=("CONTENDER", "SECONDS"),
        help="further budgets of one contender; without --budgets, " + ", ".join(" ".join(one) for one in ALSO),
    )
    parser.add_argument(
        "--second-budgets", type=int, nargs="+", default=SECOND_BUDGETS, help="those of the slower precision"
    )
    parser.add_argument(
        "--second",
        nargs="+",
        default=["minidiff"],
        choices=list(contenders()),
        help="who trains in the slower precision",
    )
    parser.add_argument("--contenders", nargs="+", default=list(contenders()), choices=list(contenders()))
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--n", type=int, default=SAMPLES, help="samples behind each distance")
    parser.add_argument("--tryout", type=int, default=TRYOUT, help="samples to choose a sampler by; 0: take the first")
    parser.add_argument("--last", type=int, default=LAST, help="samples at the end of whoever came near; 0: none")
    parser.add_argument("--folder", type=Path, default=Path("build") / "bench", help="where finished pieces lie")
    parser.add_argument("--out", type=Path, default=Path("data") / "benchmarks", help="where the report goes")
    options = parser.parse_args(arguments)
    own_budgets = budgets_of(options)
    second = Bench(options.folder, options.second_budgets, options.n, options.tryout)
    first = {name: second.with_budgets(budgets) for name, budgets in own_budgets.items()}
    results: list[dict] = []
    samplers: dict[str, str] = {}
    try:
        precisions = precisions_worth(options.precisions, second.images.x, options.folder)
        for turn in range(len(precisions)):
            for name in [name for name in options.contenders if turn == 0 or name in options.second]:
                bench, contender = first[name] if turn == 0 else second, contenders()[name]()
                precision = second.faster_first(name, contender, precisions)[turn]
                result = bench.run(name, contender, precision, samplers.get(name))
                results.append({**result, "training images per second": second.speeds(name)})
                samplers[name] = results[-1]["rows"][-1]["drawn"]["sampler"]
                write_report(results, options)
        for name in options.contenders if options.last else []:
            at_end(second, best_of(results, name), options.last)
            write_report(results, options)
        write_samples(second, [best_of(results, name) for name in options.contenders], options.out)
    except KeyboardInterrupt:
        print("\nstopped: what is done is kept, and the same command goes on")
    if results:
        print(table(report_of(results, machine_of(options))))


def budgets_of(options: argparse.Namespace) -> dict[str, list[int]]:
    """Those of each contender, in the first precision."""
    own: dict[str, list[int]] = {}
    for name, *seconds in options.also or (ALSO if options.budgets is None else []):
        if name not in contenders():
            raise SystemExit(f"--also must name one of {', '.join(contenders())}, but names {name}")
        own.setdefault(name, []).extend(map(int, seconds))
    return {name: sorted({*(options.budgets or BUDGETS), *own.get(name, [])}) for name in options.contenders}


def nearest_row(result: dict) -> dict:
    return min(result["rows"], key=lambda row: row["drawn"]["classifier"]["floors"])


def best_of(results: list[dict], name: str) -> dict:
    """A contender's result in the precision in which it came nearest."""
    own = (result for result in results if result["contender"] == name)
    return min(own, key=lambda result: nearest_row(result)["drawn"]["classifier"]["floors"])


def at_end(bench: Bench, result: dict, n: int) -> None:
    """Many samples, once, after the budget that came nearest, if that is near."""
    best = nearest_row(result)
    if best["drawn"]["classifier"]["floors"] > NEAR:
        return
    name, precision = result["contender"], result["precision"]
    sampler = best["drawn"]["sampler"]
    result["at the end"] = bench.measure(name, contenders()[name](), precision, best["budget"], sampler, n)


def write_report(results: list[dict], options: argparse.Namespace) -> None:
    """The report so far, as JSON and as a figure."""
    report = report_of(results, machine_of(options))
    options.out.mkdir(parents=True, exist_ok=True)
    write_file(options.out / "time-to-quality.json", (json.dumps(report, indent=1) + "\n").encode())
    write_file(options.out / "time-to-quality.png", plots.png(figure_of(results)))


def write_samples(bench: Bench, results: list[dict], out: Path) -> None:
    """A picture of two of each digit by each contender, after the budget and in the precision of its nearest."""
    rows = {}
    for result in results:
        best, name = nearest_row(result), result["contender"]
        label = textwrap.fill(f"{name} {best['budget']}\N{NO-BREAK SPACE}s", 12, break_long_words=False)
        at = (contenders()[name](), result["precision"], best["budget"], best["drawn"]["sampler"])
        rows[label] = bench.draw(name, *at, torch.arange(20) // 2)[0]
    write_file(out / "time-to-quality-samples.png", plots.png(plots.image_rows(rows, columns=20)))


if __name__ == "__main__":
    main()

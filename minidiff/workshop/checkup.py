"""What `python -m minidiff doctor --model FOLDER` says: the instruments of notebook 28 that need no truth, on one run.

Real data have no exact score to compare with. But a good deal can be told without one: whether weights are finite and
trained, whether the network hears time and labels, whether it predicts better than nothing at every noise level on the
data it was trained for, whether its average fits the network behind it, and whether samples have the spread of data.
An instrument that rings is reported as a problem, with a cure. If none rings, that is no proof of health.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff import generator
from minidiff._shell import minidiff_command
from minidiff.checkpoints import Damaged, folder_of, read_card
from minidiff.data import MnistUnavailable
from minidiff.denoisers import from_network, guided
from minidiff.networks import NO_LABEL
from minidiff.samplers import ddim
from minidiff.targets import network_output, target
from minidiff.workshop.display import LOG
from minidiff.workshop.doctor import Fact, Finding, Note, Problem, Report, printed, words_of
from minidiff.workshop.evaluation import even_labels, sample
from minidiff.workshop.runs import load_run
from minidiff.workshop.snapshots import STATE, load_snapshot
from minidiff.workshop.subjects import Recipe, subject_of
from minidiff.workshop.workers import Refused

__all__ = ["checkup", "examine_model"]

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
MANY, FEW = 2000, 64  # points, images: enough that a loss is known to a few percent, in seconds
DRAWN = {True: 500, False: 32}  # samples of points, of images
SAMPLING_STEPS = 25
DEAF = 1e-3  # a change of the output, over its size, that counts as none
ROUNDING = 1e-4
WORSE_THAN_NOTHING = 1.1  # the loss over that of a network that answers 0
LEARNED_NOTHING = 0.99  # the same, at the noise level at which it is best
AVERAGE_OFF = 0.5  # how far the average answers from the network behind it, over the size of the network's answers
SPREAD = (0.75, 1.33)  # standard deviation of samples over that of data
SHIFT = 0.3  # of the mean, in standard deviations of the data
REMEMBERS = 1.5  # the loss on new data over that on training data
NOTHING_RINGS = "nothing rings, which is no proof of health (notebook 28)"
STILL_FALLING = 0.97  # the loss of the last tenth of the log over that of the tenth before


class Case(NamedTuple):
    """One run: its folder, network and recipe, and data, (N, *D), that it was not trained on and that it was."""

    folder: Path
    net: nn.Module
    recipe: Recipe
    card: dict
    new: Tensor | None
    old: Tensor | None
    y: Tensor | None  # of the new data

    @property
    def labels(self) -> Tensor | None:
        return even_labels(DRAWN[len(self.recipe.shape) == 1], self.recipe.classes)


def again(case: Case) -> str:
    return f"train again, into another folder: {minidiff_command('train', case.recipe.source or case.recipe.subject)}"


def training(case: Case) -> Iterator[Finding]:
    """Whether all steps were made, and whether the loss was still falling at the end."""
    made, planned = case.card.get("steps made"), case.recipe.steps
    lines = [f"{made} of {planned} steps"]
    if isinstance(made, int) and made < planned:
        words = "train", case.recipe.source or case.recipe.subject, "--out", case.folder, "--resume"
        yield Problem(
            f"the training is not complete: {made} of {planned} steps are made", f"go on: {minidiff_command(*words)}"
        )
    losses = logged_losses(case.folder)
    tenth = len(losses) // 10
    if tenth >= 3:
        before, last = (sum(part) / tenth for part in (losses[-2 * tenth : -tenth], losses[-tenth:]))
        lines.append(f"loss {last:.4g} at the end, {before:.4g} shortly before")
        if not (math.isfinite(last) and last > 0):
            yield Problem(f"the loss at the end of the log is {last}", again(case))
        elif last < STILL_FALLING * before:
            yield Note(f"the loss is still falling ({before:.4g}, then {last:.4g}): more steps may make a better model")
    yield Fact(lines, {"steps made": made, "steps planned": planned, "reports": len(losses)})


def logged_losses(folder: Path) -> list[float]:
    """The losses in the log of a run; none where there is no log."""
    losses = []
    if (folder / LOG).is_file():
        for line in (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                losses.append(float(json.loads(line)["loss"]))
            except (ValueError, TypeError, KeyError):  # a line that was cut off
                continue
    return losses


def weights(case: Case) -> Iterator[Finding]:
    """Whether all weights are finite, and whether the last layer has moved from 0, where it starts."""
    state = {name: value for name, value in case.net.state_dict().items() if value.is_floating_point()}
    broken = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if broken:
        yield Problem(f"weights are NaN or infinite: {', '.join(broken[:3])}", again(case))
    numbers = sum(value.numel() for value in state.values())
    yield Fact([f"{numbers:,} numbers, {'finite' if not broken else 'NOT finite'}"], {"numbers": numbers})


def output(case: Case, x: Tensor, t: float, y: Tensor | None = None) -> Tensor:
    """What the network predicts at time t. x: (B, *D) at that time."""
    net, recipe = case.net, case.recipe
    return network_output(net, recipe.kind, recipe.gaussian_path(), x, torch.full((len(x),), t), y)


def size(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def answers(case: Case) -> Iterator[Finding]:
    """Whether the network answers with numbers, alike when asked twice, and otherwise at another time."""
    x = generator_noise(case)
    early, late, twice = output(case, x, 0.2), output(case, x, 0.8), output(case, x, 0.2)
    value = {"size": size(early), "twice": float((early - twice).abs().max()), "time": size(early - late)}
    if not all(bool(out.isfinite().all()) for out in (early, late)):
        yield Problem("the network answers with NaN or infinite numbers", again(case))
    elif value["size"] == 0:
        yield Problem("the network answers 0 to everything: its last layer is as it began, untrained", again(case))
    else:
        if value["twice"] > ROUNDING:
            yield Problem(
                "the network gives two answers to the same question, as if dropout were on", "call net.eval()"
            )
        if value["time"] < DEAF * value["size"]:
            yield Problem(
                "the network does not hear the time: its answer at t = 0.8 is that at t = 0.2",
                "look whether forward uses its second argument, the log-SNR",
            )
    yield Fact([f"of size {value['size']:.3g}; they change by {value['time']:.3g} from t = 0.2 to 0.8"], value)


def generator_noise(case: Case) -> Tensor:
    """Normal noise in the shape of data, (32, *D)."""
    return torch.randn(32, *case.recipe.shape, generator=generator(0, 28, 1))


def labels(case: Case) -> Iterator[Finding]:
    """Whether the network hears labels, and whether guidance at w = 0 and 1 gives back the two predictions."""
    if not case.recipe.classes:
        yield Fact(["the network knows no labels"], None)
        return
    x, t = generator_noise(case), torch.tensor(0.6)
    y = torch.arange(len(x)) % case.recipe.classes
    path, kind = case.recipe.gaussian_path(), case.recipe.kind
    with_label = from_network(case.net, path, kind, y)
    without = from_network(case.net, path, kind, torch.full_like(y, NO_LABEL))
    c, u = with_label(x, t), without(x, t)
    ends = [(0.0, u), (1.0, c)]
    off = max(size(guided(with_label, without, w)(x, t) - right) for w, right in ends)
    heard = size(c - with_label(x.roll(1, 0), t).roll(-1, 0))  # the same points with their neighbours' labels
    value = {"label against none": size(c - u) / size(u), "another label": heard / size(c), "guidance": off}
    if heard < DEAF * size(c):
        yield Problem(
            "the network does not hear labels: with another label its answer is the same",
            "look whether labels reach the network, and whether they belong to their pictures",
        )
    elif size(c - u) < DEAF * size(u):
        yield Problem("with a label the network answers as without one", "look whether labels are dropped always")
    if not off <= ROUNDING * max(1.0, size(c)):
        yield Problem(
            f"guidance at w = 0 and 1 is off the two predictions by {off:.3g}",
            "it must be u + w (c - u): u at w = 0, c at w = 1",
        )
    yield Fact([f"another label changes the answer by {100 * heard / size(c):.2g} %"], value)


def losses(case: Case, x0: Tensor, net: nn.Module, y: Tensor | None) -> list[float]:
    """The loss at each of TIMES over that of a network that answers 0, on data x0, always with the same noise."""
    recipe, path, found = case.recipe, case.recipe.gaussian_path(), []
    for number, t in enumerate(TIMES):
        eps = torch.randn(x0.shape, generator=generator(0, 28, 2, number))
        times = torch.full((len(x0),), t)
        right = target(recipe.kind, path, x0, eps, times)
        out = network_output(net, recipe.kind, path, path.perturb(x0, times, eps), times, y)
        found.append(float((out - right).square().mean() / right.square().mean()))
    return found


def listed(values: list[float]) -> str:
    return ", ".join(f"{value:.2g}" for value in values)


def loss(case: Case) -> Iterator[Finding]:
    """Whether the network predicts better than nothing, at every noise level, on the data it is meant for."""
    if case.new is None:
        yield Fact(["not examined: its data are not here"], None)
        return
    found = losses(case, case.new, case.net, case.y)
    worst = max(range(len(TIMES)), key=lambda k: found[k] if math.isfinite(found[k]) else math.inf)
    if not found[worst] <= WORSE_THAN_NOTHING:
        yield Problem(
            f"at t = {TIMES[worst]} the loss is {found[worst]:.3g} times that of a network that answers 0",
            "the data may be in another range than in training, or the target or the scale of time another",
        )
    elif min(found) > LEARNED_NOTHING:
        yield Problem(
            f"the loss is {min(found):.3g} times that of a network that answers 0, or more, at every noise level",
            "it has not learned yet: train longer, or with a larger learning rate",
        )
    value = {"t": list(TIMES), "over answering 0": [round(v, 4) for v in found]}
    if case.old is not None and all(math.isfinite(v) for v in found):
        seen = losses(case, case.old, case.net, None)
        blind = losses(case, case.new, case.net, None)
        ratio = max(a / b for a, b in zip(blind, seen, strict=True))
        value["new over old"] = round(ratio, 3)
        if ratio > REMEMBERS:
            yield Note(f"the loss on new data is up to {ratio:.2g} times that on training data: it learns by heart")
    lines = [f"{listed(found)} at t = {', '.join(map(str, TIMES))},", "where a network that answers 0 has 1"]
    yield Fact(lines, value)


def average(case: Case) -> Iterator[Finding]:
    """Whether the average of the weights answers nearly as the network that it averages, and not worse."""
    if not (case.folder / STATE).is_file():
        yield Fact(["not examined: the raw weights are not in this folder"], None)
        return
    if case.new is None:
        yield Fact(["not examined: its data are not here"], None)
        return
    snapshot = load_snapshot(case.folder, lambda line: None)
    raw = case.recipe.network().eval().requires_grad_(False)
    raw.load_state_dict(
        {name.partition("/")[2]: v for name, v in snapshot.tensors.items() if name.startswith("network/")}
    )
    apart, of_all = 0.0, 0.0
    for number, t in enumerate(TIMES):
        eps = torch.randn(case.new.shape, generator=generator(0, 28, 2, number))
        x_t = case.recipe.gaussian_path().perturb(case.new, torch.tensor(t), eps)
        a, r = (output(case._replace(net=net), x_t, t, case.y) for net in (case.net, raw))
        apart, of_all = apart + float((a - r).square().mean()), of_all + float(r.square().mean())
    off = math.sqrt(apart / of_all) if of_all else 0.0
    of_average, of_raw = (sum(losses(case, case.new, net, case.y)) / len(TIMES) for net in (case.net, raw))
    if not off <= AVERAGE_OFF and not of_average <= of_raw:
        yield Problem(
            f"the average of the weights answers {100 * off:.0f} % off the network that it averages, and worse",
            f"train longer, or with a faster average that warms up: its decay is {case.recipe.decay}",
        )
    value = {"apart": round(off, 4), "loss over raw": round(of_average / of_raw, 4)}
    yield Fact([f"{100 * off:.2g} % off the network behind it"], value)


def samples(case: Case) -> Iterator[Finding]:
    """Whether samples are finite, differ from one another, and have the mean and spread of the data."""
    recipe = case.recipe
    n, times = DRAWN[len(recipe.shape) == 1], torch.linspace(1, 0, SAMPLING_STEPS + 1)
    how = {"times": times, "sampler": ddim, "seed": 0}
    x = sample(case.net, recipe.gaussian_path(), recipe.kind, recipe.shape, n, case.labels, **how)
    if not bool(x.isfinite().all()):
        yield Problem("samples are NaN or infinite", again(case))
        yield Fact(["not finite"], None)
        return
    apart = size(x - x.roll(1, 0)) / math.sqrt(2)  # the spread from sample to sample, without the mean picture
    value = {"mean": float(x.mean()), "spread": float(x.std()), "apart": apart}
    lines = [f"mean {value['mean']:.3g}, spread {value['spread']:.3g}"]
    if case.new is not None:
        mean, spread = float(case.new.mean()), float(case.new.std())
        real_apart = size(case.new - case.new.roll(1, 0)) / math.sqrt(2)
        lines.append(f"of data: mean {mean:.3g}, spread {spread:.3g}")
        value |= {"mean of data": mean, "spread of data": spread, "apart of data": real_apart}
        shift, ratio = abs(value["mean"] - mean) / spread, value["spread"] / spread
        if shift > SHIFT or not SPREAD[0] < ratio < SPREAD[1]:
            yield Problem(
                f"samples have mean {value['mean']:.3g} and spread {value['spread']:.3g}, data {mean:.3g} and "
                f"{spread:.3g}",
                "the data are in another range than in training, or the sampler or the network is wrong",
            )
        if apart < SPREAD[0] / 2 * real_apart:
            yield Problem(
                f"samples differ from one another by {apart:.3g}, data by {real_apart:.3g}: they are nearly one",
                "look whether noise is drawn once for all, and whether the network hears x",
            )
    yield Fact(lines, value)


CHECKS: dict[str, Callable[[Case], Iterator[Finding]]] = {
    **{"training": training, "weights": weights, "answers": answers, "labels": labels},
    **{"loss": loss, "average": average, "samples": samples},
}
OF_DRAWERS = ("answers", "labels", "loss", "average", "samples")  # what only a network that denoises can be asked


def opened(place: Path) -> Case:
    """A run with as much of its data as is needed. Raises Refused and Damaged as `load_run` does."""
    net, recipe = load_run(place)
    folder, new, old, y = folder_of(place), None, None, None
    if recipe.objective == "denoise":
        try:
            subject = subject_of(recipe)
            if subject.points is not None:
                new = subject.points(MANY, generator(0, 28, 3))
            else:
                held, trained = subject.images("test"), subject.images("train")
                new, old = held.x[:FEW], trained.x[: len(held.x[:FEW])]
                y = held.y[:FEW] if recipe.classes and held.y is not None else None
        except (MnistUnavailable, Refused, FileNotFoundError):
            new = old = y = None
    return Case(folder, net, recipe, read_card(folder), new, old, y)


def examine_model(place: str | Path) -> Report:
    """Every instrument that needs no truth, on the run in a folder, or on a network that comes with the course.

    place: as `--checkpoint`. A run that cannot be opened is one problem. Only networks that denoise are examined
    whole; of others, weights and training.
    """
    report = Report({"model": None, **dict.fromkeys(CHECKS)}, [], [])
    try:
        case = opened(Path(place))
    except (Refused, Damaged, FileNotFoundError) as error:
        report.problems.append(Problem(words_of(error), "name the folder of a run, or train again into another one"))
        return report
    named = f"{case.recipe.subject}, {case.recipe.architecture.get('network')}, in {case.folder}"
    report.facts["model"] = Fact([named], {"subject": case.recipe.subject, "folder": str(case.folder)})
    denoises = case.recipe.objective == "denoise"
    if not denoises:
        report.notes.append(f"its objective is {case.recipe.objective!r}: only training and weights are examined")
    elif case.new is None:
        report.notes.append("its data are not on this machine, so loss and average are not examined")
    for name, check in CHECKS.items():
        if name in OF_DRAWERS and not denoises:
            report.facts[name] = Fact(["not examined"], None)
            continue
        for finding in check(case):
            report.add(name, finding)
        if name == "weights" and report.problems and "NaN" in report.problems[-1].what:
            break  # all that follows would be NaN
    return report


def checkup(place: str | Path, *, as_json: bool) -> int:
    """Examine a run and print what was found. Returns 0 where nothing rings, 1 where something does."""
    print("examining this model, which takes a few seconds ...", file=sys.stderr, flush=True)
    return printed(examine_model(place), as_json=as_json, healthy=NOTHING_RINGS)

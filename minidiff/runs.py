"""A training in a folder: it goes on where it was cut off, alone or with other workers. And what one does with it.

`train`, `sample` and `evaluate` stand behind the commands of the same name (`python -m minidiff`). A folder holds

    weights.safetensors     the moving average of the weights, for use
    card.json               what they are: data, recipe, steps, seconds, hardware
    state.safetensors       everything that the next step depends on; state-before.safetensors the one before
    log.jsonl               a line for each report: step, loss, gradient norm, learning rate, samples per second
    samples-*.png           what the model drew at each quarter of the training

Batch i and its noise follow from the seed and from i, so a training that was cut off ends, on one thread, with the very
weights of one that was not. Taught in notebook 13.
"""

import contextlib
import json
import os
import platform
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from minidiff import generator
from minidiff.checkpoints import (
    CARD,
    NEW_CARD,
    WEIGHTS,
    Damaged,
    Snapshot,
    Training,
    checkpoint_folder,
    load_snapshot,
    load_weights,
    packed,
    put_in_place,
    read_card,
    read_snapshot,
    restore,
    save_snapshot,
    save_weights,
    sole_writer,
    take,
    write_file,
)
from minidiff.data import Images, checkerboard, digits, mnist, moons, swiss_roll
from minidiff.denoisers import from_network
from minidiff.metrics import Measurement, energy_distance, frechet_distance, sliced_wasserstein
from minidiff.networks import MLP, UNet, initialised
from minidiff.recipes import (
    ANY_TIME_RECIPE,
    KIND,
    PATH,
    classifier_features,
    digit_network,
    digit_objective,
    digit_optimizer,
    load_classifier,
)
from minidiff.samplers import State, ddim, last
from minidiff.targets import Target
from minidiff.training import (
    EMA,
    Batch,
    TrainStep,
    batches,
    denoising_objective,
    faster_dtype,
    fresh_batches,
    train,
    warmup_cosine,
)
from minidiff.workers import Refused, Workers, joined, lost_is_said

__all__ = [
    "DATA",
    "Recipe",
    "Wish",
    "check_evaluation",
    "classes_of",
    "evaluate",
    "even_labels",
    "kind_of",
    "load_run",
    "sample",
    "train_in",
]

POINTS = {"moons": moons, "swissroll": swiss_roll, "checkerboard": checkerboard}
DATA = [*POINTS, "digits", "mnist"]
DEFAULTS = {  # steps, batch size, learning rate, decay of the moving average
    **{name: (4000, 512, 5e-3, 0.999) for name in POINTS},
    "digits": (1500, 64, 5e-3, 0.995),
    "mnist": tuple(ANY_TIME_RECIPE[key] for key in ("steps", "batch_size", "learning_rate", "decay")),
}
CLASSES = {"mnist": 10}  # labels that a network is told; of the other data it is told none
STAYS = {"mnist"}  # where the learning rate stays; for the others it falls
LOG = "log.jsonl"
REPORT_EVERY = 10  # steps between two looks at the loss: a GPU is not waited for in between
SAVE_SECONDS = 60.0
LINE_SECONDS = 60.0  # between two lines where there is no terminal
EXPLODED = 5.0  # a network that says nothing has a loss of about 1, for data of unit variance
RECENT = 5  # reports whose median must stay below that: a single one may stand out in a healthy training
MEASURED_IMAGES = 64  # on fewer the two precisions are too close to tell apart


class Recipe(NamedTuple):
    """All that a training follows from. The card and the snapshots hold it."""

    data: str
    steps: int
    batch_size: int
    learning_rate: float
    decay: float
    seed: int
    seed_shift: str  # MINIDIFF_SEED
    precision: str  # float32 or bfloat16, asked for or measured to be faster where the training began
    classes: int = 0  # labels that the network is told
    kind: Target = "v"  # what the network predicts
    falls: bool = True  # the learning rate; these three have the values of trainings from before they were here


class Wish(NamedTuple):
    """What the command line asks for; None where it says nothing."""

    data: str
    steps: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    precision: str | None = None


ASKED_BY = {  # what a person says to set a part of the recipe
    **{"data": "data", "steps": "--steps", "batch_size": "--batch", "learning_rate": "--lr", "seed": "--seed"},
    "precision": "--precision",
    "seed_shift": "MINIDIFF_SEED",
}


# What is trained


def images(name: str) -> Images:
    """The training images of a data set. Every third of the 8x8 digits is kept for the test."""
    if name == "mnist":
        return mnist("train")
    x, y = digits()
    kept = torch.arange(len(x)) % 3 != 2
    return Images(x[kept], y[kept])


def test_images(name: str) -> Tensor:
    """Images that no training sees, (N, 1, H, W)."""
    return mnist("test").x if name == "mnist" else digits().x[2::3]


def sample_shape(name: str) -> tuple[int, ...]:
    """The shape of one sample."""
    return (2,) if name in POINTS else (1, 8, 8) if name == "digits" else (1, 28, 28)


def network(name: str, seed: int, classes: int = 0) -> nn.Module:
    """The network for a data set, at its random start. classes: the labels that a network of MNIST knows."""
    if name in POINTS:
        return initialised(MLP, generator(seed))
    if name == "digits":
        return initialised(lambda: UNet(channels=1, widths=(32, 64), blocks=1, patch=1), generator(seed))
    return digit_network(seed, classes)


def assembled(recipe: Recipe, device: torch.device) -> Training:
    """A training before its first step."""
    net = network(recipe.data, recipe.seed, recipe.classes).to(device)
    rate = recipe.learning_rate
    if recipe.data in POINTS:
        optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0, fused=True)
    else:
        optimizer = digit_optimizer(net, rate)
    if recipe.falls:
        schedule = warmup_cosine(optimizer, steps=recipe.steps, warmup=min(200, recipe.steps // 10))
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return Training(net, EMA(net, recipe.decay), optimizer, schedule, generator(recipe.seed, 2, device=device))


def running(
    training: Training,
    recipe: Recipe,
    train_set: Images | None,
    *,
    start: int = 0,
    workers: Workers | None = None,
    compiled: bool = False,
) -> Iterator[TrainStep]:
    """The steps of a training from `start` on. train_set: on the device; None for points."""
    workers, device = workers or Workers(), next(training.net.parameters()).device
    span = {"batch_size": recipe.batch_size, "steps": recipe.steps, "seed": recipe.seed, "start": start}
    if train_set is None:
        drawn = fresh_batches(POINTS[recipe.data], **span)
        data: Iterator[Batch] = (Batch(batch.x0.to(device)) for batch in drawn)
    else:
        data = batches(train_set.x, train_set.y if recipe.classes else None, **span)
    if recipe.kind == KIND:
        dropout = ANY_TIME_RECIPE["label_dropout"] if recipe.classes else 0.0
        objective = digit_objective(label_dropout=dropout, rows=workers.rows)
    else:
        objective = denoising_objective(PATH, recipe.kind, rows=workers.rows)
    net = workers.replicated(training.net)
    return train(
        torch.compile(net) if compiled else net,
        data,
        objective,
        training.optimizer,
        generator=training.generator,
        schedule=training.schedule,
        ema=training.ema,
        dtype=getattr(torch, recipe.precision),
        start=start,
        report_every=REPORT_EVERY,
    )


# How a training begins


def begin(
    folder: Path, wish: Wish, *, resume: bool, train_set: Images | None, device: torch.device, count: int
) -> Snapshot:
    """What to start from: the newest whole snapshot of the folder, or a new recipe.

    Raises Refused where the folder holds something else than what is asked for.
    """
    snapshot = load_snapshot(folder, say)
    if snapshot is None:
        if (folder / WEIGHTS).exists() or (folder / LOG).exists():
            raise Refused(f"{folder} holds weights or a log, and no training to go on with: choose another folder")
        recipe = new_recipe(wish, train_set, device, count)
        blank = {"step": 0, "seconds": 0.0, "losses": [], "device": device.type}
        return Snapshot({}, {"recipe": recipe._asdict(), **blank})
    recipe, step = Recipe(**snapshot.record["recipe"]), snapshot.record["step"]
    if wish.data != recipe.data:
        raise Refused(f"{folder} holds a training of {recipe.data}, not of {wish.data}: choose another folder")
    if not resume:
        raise Refused(
            f"{folder} holds a training at step {step} of {recipe.steps}: add --resume to go on with it, "
            "or choose another folder"
        )
    if wish.minutes is not None:
        wish = wish._replace(steps=recipe.steps)  # the minutes were turned into steps when it began
    for name, asked in [*wish._asdict().items(), ("seed_shift", seed_shift())]:
        if name != "minutes" and asked is not None and asked != getattr(recipe, name):
            raise Refused(
                f"{ASKED_BY[name]} must be {getattr(recipe, name)}, as when the training in {folder} began, but is "
                f"{asked}: leave it out, or choose another folder"
            )
    return snapshot


def new_recipe(wish: Wish, train_set: Images | None, device: torch.device, count: int) -> Recipe:
    """Fill in what was not asked for: by the data set's defaults, and by measuring this machine."""
    steps, batch_size, learning_rate, decay = DEFAULTS[wish.data]
    recipe = Recipe(
        wish.data,
        wish.steps or steps,
        wish.batch_size or batch_size,
        wish.learning_rate or learning_rate,
        decay,
        wish.seed or 0,
        seed_shift(),
        wish.precision or "float32",
        CLASSES.get(wish.data, 0),
        "v" if wish.data in POINTS else KIND,
        wish.data not in STAYS,
    )
    if recipe.batch_size % count:
        raise Refused(f"--batch must be a multiple of the {count} workers, but is {recipe.batch_size}")
    if train_set is not None and recipe.batch_size > len(train_set.x):
        raise Refused(
            f"--batch must be at most {len(train_set.x)}, the number of training images, but is {recipe.batch_size}"
        )
    if train_set is not None and wish.precision is None:
        say("measuring which precision is faster here")
        net = network(recipe.data, recipe.seed).to(device)
        dtype = faster_dtype(net, train_set.x[:MEASURED_IMAGES], digit_objective())
        recipe = recipe._replace(precision=str(dtype).removeprefix("torch."))
    if wish.minutes is not None:
        seconds = seconds_per_step(recipe._replace(batch_size=recipe.batch_size // count), train_set, device)
        recipe = recipe._replace(steps=max(10, round(60 * wish.minutes / seconds)))
        say(f"{wish.minutes:g} minutes are about {recipe.steps} steps of {seconds:.3g} s here")
    return recipe


def seconds_per_step(recipe: Recipe, train_set: Images | None, device: torch.device) -> float:
    """Measure for two seconds what a step takes, on a training that is thrown away."""
    alike = running(assembled(recipe, device), recipe, train_set)
    before = next(alike)  # the first steps are slower
    start = time.perf_counter()
    while time.perf_counter() - start < 2 and (report := next(alike, None)):
        after = report
    return (time.perf_counter() - start) / (after.step - before.step)


def seed_shift() -> str:
    """What shifts all seeds of the course (see `minidiff.generator`)."""
    return os.environ.get("MINIDIFF_SEED", "0")


def say(line: str) -> None:
    """One line for the person who waits. Results go to the standard output, this does not."""
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more; the work goes on
        tqdm.write(line, file=sys.stderr)


# The run


def train_in(
    folder: Path,
    wish: Wish,
    *,
    device: torch.device,
    resume: bool = False,
    compiled: bool = False,
    save_seconds: float = SAVE_SECONDS,
) -> bool:
    """Train in a folder, with the other workers if torchrun started some. Returns whether the training is complete.

    Ctrl-C and SIGTERM end it after the next report, with everything saved. Raises FloatingPointError where the loss is
    no longer finite or explodes, WorkerLost where another worker has gone: the last snapshot then stands.
    """
    train_set = None if wish.data in POINTS else Images(*(part.to(device) for part in images(wish.data)))
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(joined(device))
        stop = stack.enter_context(stopping())  # from here on, since what is imported may swallow a KeyboardInterrupt

        def first() -> bytes:
            if folder.exists() and not folder.is_dir():
                raise Refused(f"--out must be a folder, but {folder} is a file")
            stack.enter_context(sole_writer(folder))
            return packed(begin(folder, wish, resume=resume, train_set=train_set, device=device, count=workers.count))

        snapshot = read_snapshot(workers.from_lead(first))
        recipe, record = Recipe(**snapshot.record["recipe"]), snapshot.record
        if recipe.batch_size % workers.count:
            raise Refused(f"--batch must be a multiple of the {workers.count} workers, but is {recipe.batch_size}")
        training = assembled(recipe, device)
        if snapshot.tensors:
            restore(training, on_device(snapshot, recipe, device, workers))
        elif workers.lead:
            save_snapshot(folder, take(training, record))  # from now on the recipe stands, whatever it was measured by
        record["device"] = device.type
        if workers.lead:
            trim_log(folder, record["step"])
            mend(folder, training, recipe, record, workers.count)
        if record["step"] == recipe.steps:
            if workers.lead:
                say(f"the training in {folder} is complete: all {recipe.steps} steps are made")
            return True
        steps = running(training, recipe, train_set, start=record["step"], workers=workers, compiled=compiled)
        return follow(steps, training, folder, recipe, record, workers, stop, save_seconds)


def on_device(snapshot: Snapshot, recipe: Recipe, device: torch.device, workers: Workers) -> Snapshot:
    """A snapshot that this device can go on from. The noise of another kind of device has a generator of another kind:
    it goes on from a fresh one, a function of the seed and the step."""
    before, step = snapshot.record["device"], snapshot.record["step"]
    if before == device.type:
        return snapshot
    if workers.lead:
        say(f"the training began on {before} and goes on on {device.type}, with other noise")
    fresh = generator(recipe.seed, 2, step, device=device).get_state()
    return snapshot._replace(tensors={**snapshot.tensors, "generator": fresh})


def mend(folder: Path, training: Training, recipe: Recipe, record: dict[str, Any], workers: int) -> None:
    """Write again what the snapshot is ahead of, where a run was cut off between two files or one was damaged."""
    put_in_place(folder)
    if record["step"] == 0:
        return
    try:
        made = read_card(folder)["recipe"]["steps made"]
    except (OSError, Damaged, KeyError):
        made = None
    if made != record["step"] or (folder / NEW_CARD).exists():
        save_for_use(folder, training, recipe, record, workers)
    if record["step"] == recipe.steps and not (folder / picture_name(recipe.steps)).exists():
        draw(folder, training, recipe, recipe.steps)


def follow(
    steps: Iterator[TrainStep],
    training: Training,
    folder: Path,
    recipe: Recipe,
    record: dict[str, Any],
    workers: Workers,
    stop: threading.Event,
    save_seconds: float,
) -> bool:
    """Run the steps, and keep the folder and the person in front of it up to date. Returns whether all were made."""
    begun, last_save = time.perf_counter() - record["seconds"], time.perf_counter()
    mark = time.perf_counter()  # what the lead writes and draws does not count as training
    with Display(recipe, record["step"], shown=workers.lead) as display, lost_is_said():
        for report in steps:
            loss, now = workers.mean(report.loss), time.perf_counter()
            speed = (report.step - record["step"]) * recipe.batch_size / max(1e-9, now - mark)
            record |= {"step": report.step, "seconds": now - begun, "losses": [*record["losses"], loss][-RECENT:]}
            check_loss(report.step, record["losses"])
            stopped = workers.any(stop.is_set())
            if workers.lead:
                quarter = report.step * 4 // recipe.steps > (report.step - REPORT_EVERY) * 4 // recipe.steps
                must = stopped or report.step == recipe.steps
                with room_or_go_on(folder, report.step, must=must):
                    write_log(folder, report, loss, training, speed, now - begun)
                    if must or quarter or now - last_save > save_seconds:
                        last_save = now
                        save(folder, training, recipe, record, workers.count)
                    if quarter:
                        draw(folder, training, recipe, report.step)
                display.show(report.step, loss, speed)
            if stopped:
                break
            mark = time.perf_counter()
    return record["step"] == recipe.steps


def check_loss(step: int, recent: list[float]) -> None:
    """Raise FloatingPointError where the loss explodes: it stays finite at first, and says nothing any more."""
    middle = statistics.median(recent)
    if middle > EXPLODED:
        raise FloatingPointError(
            f"the loss explodes: {middle:.3g} at step {step}, where a network that says nothing has 1; lower the "
            "learning rate"
        )


@contextlib.contextmanager
def room_or_go_on(folder: Path, step: int, *, must: bool) -> Iterator[None]:
    """Where the disk is full, say so and go on: room may be made before the end, when everything must be saved."""
    try:
        yield
    except OSError as error:
        if must:
            raise OSError(
                f"could not save step {step} ({error.strerror}): the last good state stands in {folder}"
            ) from error
        say(f"could not save at step {step} ({error.strerror}): make room in {folder}; training goes on")


def save(folder: Path, training: Training, recipe: Recipe, record: dict[str, Any], workers: int) -> None:
    """Write the snapshot first, then what is for use."""
    snapshot = take(training, record)
    for name, value in snapshot.tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise FloatingPointError(
                f"training broke down at step {record['step']}: {name} is not finite; lower the learning rate"
            )
    save_snapshot(folder, snapshot)
    save_for_use(folder, training, recipe, record, workers)


def save_for_use(folder: Path, training: Training, recipe: Recipe, record: dict[str, Any], workers: int) -> None:
    """Write the moving average of the weights, and the card."""
    device = next(training.net.parameters()).device
    card = {
        "command": f"python -m minidiff train {recipe.data} --steps {recipe.steps} --batch {recipe.batch_size} "
        f"--lr {recipe.learning_rate:g} --seed {recipe.seed} --precision {recipe.precision}",
        "data": recipe.data,
        "recipe": {**recipe._asdict(), "steps made": record["step"]},
        "seconds": round(record["seconds"], 1),
        "hardware": f"{platform.machine()}, {device}, {workers} x {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}",
        "parameters": sum(value.numel() for value in training.net.parameters()),
    }
    save_weights(folder, training.ema.net, card)


def draw(folder: Path, training: Training, recipe: Recipe, step: int) -> None:
    """A picture of what the model draws by now, always from the same noise: `samples-STEP.png`."""
    from minidiff import plots  # here, since only the lead draws

    n = 2000 if recipe.data in POINTS else 40
    y, times = even_labels(n, recipe.classes), torch.linspace(1, 0, 26)
    x = sample(training.ema.net, recipe.data, n, y, kind=recipe.kind, times=times, sampler=ddim, seed=0)
    figure, axes = plots.panels(titles=[f"{recipe.data}, step {step}"])
    if recipe.data in POINTS:
        plots.points(axes[0], x, colour=plots.LEARNED)
    else:
        plots.image_grid(axes[0], x)
    write_file(folder / picture_name(step), plots.png(figure))


def picture_name(step: int) -> str:
    return f"samples-{step:06d}.png"


def write_log(folder: Path, report: TrainStep, loss: float, training: Training, speed: float, seconds: float) -> None:
    """Append a line to the log."""
    line = {
        "step": report.step,
        "loss": loss,
        "gradient norm": report.gradient_norm,
        "learning rate": training.optimizer.param_groups[0]["lr"],
        "samples per second": round(speed, 1),
        "seconds": round(seconds, 2),
    }
    with (folder / LOG).open("ab") as file:
        end = file.tell()
        try:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
        except OSError:  # no half line
            os.truncate(folder / LOG, end)
            raise


def trim_log(folder: Path, step: int) -> None:
    """Drop the lines after a step, from which training goes on, and a line that was cut off."""
    kept = []
    if (folder / LOG).is_file():
        for line in (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # what is no line of ours
                kept += [line] if json.loads(line)["step"] <= step else []
    write_file(folder / LOG, "".join(f"{line}\n" for line in kept).encode())


class Display:
    """A progress bar with loss, speed and time left on a terminal; one line a minute where there is none."""

    def __init__(self, recipe: Recipe, start: int, *, shown: bool):
        self.steps, self.start, self.shown = recipe.steps, start, shown
        self.begun = self.line_at = time.monotonic()
        on_terminal = shown and sys.stderr.isatty()
        self.bar = tqdm(total=recipe.steps, initial=start, unit="step", dynamic_ncols=True) if on_terminal else None

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, step: int, loss: float, speed: float) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.4f}, {speed:.0f} samples/s", refresh=False)
            self.bar.update(step - self.bar.n)
            return
        now = time.monotonic()
        if self.shown and (
            self.line_at in (self.begun, now) or now - self.line_at >= LINE_SECONDS or step == self.steps
        ):
            left = (now - self.begun) / (step - self.start) * (self.steps - step)
            say(f"step {step} of {self.steps}, loss {loss:.4f}, {speed:.0f} samples/s, {left / 60:.1f} min left")
            self.line_at = now


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a run ends between two steps. A second Ctrl-C ends it at once."""
    stop = threading.Event()

    def ask(number: int, frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        say("stopping after these steps")

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may listen to signals
        return
    numbers = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # SIGHUP: the terminal closes
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# What one does with it


def load_run(place: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network in a folder (or a shipped one, by name), ready to use, and its card."""
    folder = Path(place) if Path(place).is_dir() else checkpoint_folder(str(place))
    card = read_card(folder)
    data = card.get("data")
    if data not in DATA:
        raise Refused(f"{folder / CARD} must name its data, one of {', '.join(DATA)}, but says {data!r}")
    net = network(data, 0, classes_of(card)).eval().requires_grad_(False)
    return net, load_weights(folder, net)


def classes_of(card: dict[str, Any]) -> int:
    """How many labels the network of a card knows, 0 if none."""
    return recipe_of(card).get("classes", 0)


def kind_of(card: dict[str, Any]) -> Target:
    """What the network of a card predicts; v where the card is from before it could be anything else."""
    return recipe_of(card).get("kind", "v")


def recipe_of(card: dict[str, Any]) -> dict[str, Any]:
    recipe = card.get("recipe")
    return recipe if isinstance(recipe, dict) else {}


def even_labels(n: int, classes: int) -> Tensor | None:
    """0, 1, 2, ... in turn, (n,), for a network that knows labels; None for one that does not."""
    return torch.arange(n) % classes if classes else None


def sample(
    net: nn.Module,
    data: str,
    n: int,
    y: Tensor | None = None,
    *,
    kind: Target,
    times: Tensor,
    sampler: Callable[..., Iterator[State]],
    seed: int,
) -> Tensor:
    """Draw n samples, (n, *D), in the units of the data, on the CPU. sampler: `ancestral` or `ddim`.

    y: the label of each, (n,), for a network that knows labels. kind: what the network predicts.
    """
    device, parts = next(net.parameters()).device, []
    at_once = 5000 if data in POINTS else 250
    with tqdm(total=n, desc="sampling", unit="sample", disable=n <= at_once or not sys.stderr.isatty()) as bar:
        for part in range(0, n, at_once):
            source = generator(seed, 3, part, device=device)
            denoise = from_network(net, PATH, kind, None if y is None else y[part : part + at_once].to(device))
            start = PATH.prior((min(at_once, n - part), *sample_shape(data)), source)
            parts.append(last(sampler(denoise, PATH, start, times, generator=source)).cpu())
            bar.update(len(parts[-1]))
    return torch.cat(parts)


def evaluate(samples: Tensor, data: str, *, seed: int) -> dict[str, Measurement]:
    """The distances of n samples, (n, *D), to as many real ones, each with its floor, by name.

    Points: energy distance and sliced Wasserstein distance. Images: Frechet distance on the features of the course's
    classifier (8x8 digits are enlarged for it) and on 50 principal components of the training images' pixels.
    """
    n, source = len(samples), generator(seed, 5)
    check_evaluation(n, data)
    if data in POINTS:
        real, again = (POINTS[data](n, generator(seed, 4, part)) for part in (0, 1))
        return {
            "energy distance": energy_distance(samples, real, again, generator=source),
            "sliced Wasserstein distance": sliced_wasserstein(samples, real, again, generator=source),
        }
    held_out = test_images(data)
    rows = torch.randperm(len(held_out), generator=generator(seed, 4))[: 2 * n]
    real, again = held_out[rows].split(n)
    measured = {}
    for name, features in [
        ("classifier", classifier_view()),
        ("50 principal components", principal_view(images(data).x)),
    ]:
        parts = (features(samples), features(real), features(again))
        measured[f"Frechet distance, {name}"] = frechet_distance(*parts, generator=source)
    return measured


MOST_POINTS, FEATURES, HELD_OUT = 10_000, 128, {"digits": 599, "mnist": 10_000}


def check_evaluation(n: int, data: str) -> None:
    """Refuse a number of samples that cannot be measured, before they are drawn."""
    if data in POINTS:
        if not 2 <= n <= MOST_POINTS:
            raise Refused(f"--n must lie between 2 and {MOST_POINTS}, since all pairs are compared, but is {n}")
    elif not FEATURES < n <= HELD_OUT[data] // 2:
        raise Refused(
            f"--n must lie between {FEATURES + 1}, one more than the features, and {HELD_OUT[data] // 2}, half the "
            f"images that no training sees, but is {n}"
        )


def classifier_view() -> Callable[[Tensor], Tensor]:
    """(N, 1, H, W) -> (N, 128): what the shipped classifier sees.

    8x8 digits are laid out as MNIST lays out its own, 20 pixels in a frame of 28, with the contrast that enlarging has
    cost. The classifier then recognises 91 % of them, though it never saw one.
    """
    classifier = load_classifier()

    def view(x: Tensor) -> Tensor:
        if x.shape[-1] == 8:
            large = functional.interpolate(x, size=(20, 20), mode="bicubic")
            x = functional.pad((2 * large).clamp(-1, 1), (4, 4, 4, 4), value=-1.0)
        return classifier_features(classifier, x)

    return view


def principal_view(x: Tensor, components: int = 50) -> Callable[[Tensor], Tensor]:
    """(N, *D) -> (N, components): the directions in which training images vary most (Pearson 1901)."""
    flat = x.flatten(1).double()
    mean = flat.mean(dim=0)
    _, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean))  # ascending
    return lambda y: (y.flatten(1).double() - mean) @ vectors[:, -components:]

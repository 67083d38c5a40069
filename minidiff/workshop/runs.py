"""A training in a folder: it goes on where it was cut off, alone or with other workers. `minidiff train` calls it.

A folder holds

    weights.safetensors     the moving average of the weights, for use
    card.json               what they are: architecture, recipe, steps, seconds, hardware
    state.safetensors       everything that the next step depends on; state-before.safetensors the one before
    log.jsonl               a line for each report: step, loss, gradient norm, learning rate, samples per second
    samples-*.png           what the model drew at each quarter of the training

Batch i and its noise follow from the seed and from i, so a training that was cut off ends, on one thread, with the very
weights of one that was not. Students' trainings and the checkpoints that come with the course are made here alike.
"""

import contextlib
import os
import platform
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from minidiff.checkpoints import NEW_CARD, WEIGHTS, Damaged, folder_of, load_weights, read_card, save_weights
from minidiff.data import Images
from minidiff.training import EMA, Batch, TrainStep, faster_dtype, train
from minidiff.workshop.display import LOG, Display, draw, picture_name, say, trim_log, write_log
from minidiff.workshop.pace import Plan, Threads, candidates, falling, until
from minidiff.workshop.snapshots import (
    Snapshot,
    Training,
    from_bytes,
    load_snapshot,
    put_in_place,
    restore,
    save_snapshot,
    snapshot_of,
    sole_writer,
    to_bytes,
)
from minidiff.workshop.subjects import Recipe, Subject, recipe_of, training_batches
from minidiff.workshop.workers import Refused, Workers, joined, lost_is_said

__all__ = ["Wish", "command_of", "load_run", "train_in"]

REPORT_EVERY = 10  # steps between two looks at the loss: a GPU is not waited for in between
SAVE_SECONDS = 60.0
EXPLODED = 5.0  # a network that predicts nothing has a loss of about 1, for data of unit variance
RECENT = 5  # reports whose median must stay below that: a single one may stand out in a healthy training
MEASURED_IMAGES = 64  # on fewer the two precisions are too close to tell apart
MEASURED_SECONDS = 2.0
ENDLESS = 10**9  # batches, where the plan says when to stop


class Wish(NamedTuple):
    """What the command line asks for; None where it says nothing."""

    steps: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    precision: str | None = None


ASKED_BY = {  # what a person says to set a part of the recipe
    **{"batch_size": "--batch", "learning_rate": "--lr", "seed": "--seed", "precision": "--precision"},
    "seed_shift": "MINIDIFF_SEED",
}


class Run(NamedTuple):
    """A training on its way. record: what a snapshot holds beside the tensors."""

    folder: Path
    subject: Subject
    recipe: Recipe
    plan: Plan
    training: Training
    record: dict[str, Any]
    workers: Workers

    @property
    def step(self) -> int:
        return self.record["step"]


def assembled(recipe: Recipe, plan: Plan, device: torch.device) -> Training:
    """A training before its first step."""
    net = recipe.network().to(device)
    optimizer = recipe.optimize(net)
    if recipe.falls:
        schedule = falling(optimizer, plan, recipe.warmup)
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return Training(net, EMA(net, recipe.decay), optimizer, schedule, recipe.noise(device=device))


def training_steps(run: Run, train_set: Images | None, *, compiled: bool = False) -> Iterator[TrainStep]:
    """The steps of a training from where it stands. train_set: on the device; None for points."""
    recipe, training, workers = run.recipe, run.training, run.workers
    device = next(training.net.parameters()).device
    data: Iterator[Batch] = training_batches(
        run.subject, recipe, train_set, device, start=run.step, stop=ENDLESS if recipe.minutes else run.plan.total
    )
    data = until(run.plan, data, run.step)
    if device.type == "cpu":
        data = Threads(candidates(torch.get_num_threads())).watch(data)
    net = workers.replicated(training.net)
    return train(
        torch.compile(net) if compiled else net,
        data,
        workers.rows_of(recipe.loss()),
        training.optimizer,
        generator=training.generator,
        schedule=training.schedule,
        ema=training.ema,
        max_norm=recipe.max_norm,
        dtype=getattr(torch, recipe.precision),
        start=run.step,
        report_every=REPORT_EVERY,
    )


# How a training begins


def starting_point(
    folder: Path,
    subject: Subject,
    wish: Wish,
    *,
    resume: bool,
    train_set: Images | None,
    device: torch.device,
    count: int,
) -> Snapshot:
    """What to start from: the newest whole snapshot of the folder, or a new recipe.

    Raises Refused where the folder holds something else than what is asked for.
    """
    snapshot = load_snapshot(folder, say)
    if snapshot is None:
        if (folder / WEIGHTS).exists() or (folder / LOG).exists():
            raise Refused(f"{folder} holds weights or a log, and no training to go on with: choose another folder")
        begun = time.perf_counter()
        recipe = new_recipe(subject, wish, train_set, device, count)
        blank = {"step": 0, "seconds": time.perf_counter() - begun, "losses": [], "device": device.type}
        return Snapshot({}, {"recipe": recipe.record(), "plan": [[0, recipe.steps]], **blank})
    record = snapshot.record
    recipe, step = recipe_of(record), record["step"]
    plan = Plan(recipe.steps, record.get("plan", ()))
    same = ("subject", "source", "shape")
    if any(getattr(subject.recipe, name) != getattr(recipe, name) for name in same):
        raise Refused(
            f"{folder} holds a training of {told(recipe)}, not of {told(subject.recipe)}: choose another folder"
        )
    if not resume:
        raise Refused(
            f"{folder} holds a training at step {step} of {plan.total}: add --resume to go on with it, "
            "or choose another folder"
        )
    wanted = {**wish._asdict(), "seed_shift": seed_shift()}
    for name, command in ASKED_BY.items():
        if wanted[name] is not None and wanted[name] != getattr(recipe, name):
            raise Refused(
                f"{command} must be {getattr(recipe, name)}, as when the training in {folder} began, but is "
                f"{wanted[name]}: leave it out, or choose another folder"
            )
    recipe, plan = prolonged(recipe, plan, step, wish, folder)
    return snapshot._replace(record={**record, "recipe": recipe.record(), "plan": plan.changes})


def prolonged(recipe: Recipe, plan: Plan, step: int, wish: Wish, folder: Path) -> tuple[Recipe, Plan]:
    """The recipe and the plan of a training that is asked for more steps or minutes than when it began."""
    asked = wish.steps or wish.minutes
    if asked is None or wish.minutes == recipe.minutes is not None or (wish.steps == plan.total and not recipe.minutes):
        return recipe, plan
    command, before = ("--steps", plan.total) if wish.steps else ("--minutes", recipe.minutes)
    if recipe.falls:
        raise Refused(
            f"{command} must be {before if before is not None else 'left out'}, as when the training in {folder} "
            f"began, since its learning rate falls to 0 at the end, but is {asked:g}: choose another folder"
        )
    if wish.steps is not None and wish.steps < step:
        raise Refused(f"--steps must be at least {step}, which are made, but is {wish.steps}")
    changed = replace(recipe, steps=wish.steps or recipe.steps, minutes=wish.minutes)
    if wish.steps is not None:
        return changed, Plan(recipe.steps, [*plan.changes, (step, wish.steps)])
    return changed, plan


def told(recipe: Recipe) -> str:
    """What is trained, in a few words."""
    shape = " x ".join(map(str, recipe.shape))
    return f"the pictures in {recipe.source}, {shape}" if recipe.source else recipe.subject


def new_recipe(subject: Subject, wish: Wish, train_set: Images | None, device: torch.device, count: int) -> Recipe:
    """Fill in what was not asked for: by the subject's defaults, and by measuring this machine."""
    usual = subject.recipe
    steps = wish.steps or usual.steps
    recipe = replace(
        usual,
        steps=steps,
        batch_size=wish.batch_size or usual.batch_size,
        learning_rate=wish.learning_rate or usual.learning_rate,
        warmup=min(usual.warmup, steps // 10),
        seed=wish.seed or 0,
        seed_shift=seed_shift(),
        precision=wish.precision or "float32",
        minutes=wish.minutes,
    )
    check_batch(recipe, count)
    if train_set is not None and recipe.batch_size > len(train_set.x):
        raise Refused(
            f"--batch must be at most {len(train_set.x)}, the number of training images, but is {recipe.batch_size}"
        )
    if train_set is not None and wish.precision is None:
        say("measuring which precision is faster here")
        few = Batch(*(part[:MEASURED_IMAGES] for part in train_set))
        loss = recipe.loss()
        dtype = faster_dtype(recipe.network().to(device), few.x0, lambda net, _, source: loss(net, few, source))
        recipe = replace(recipe, precision=str(dtype).removeprefix("torch."))
    if wish.minutes is not None:
        seconds = seconds_per_step(subject, recipe, train_set, device, count)
        planned = max(REPORT_EVERY, round(60 * wish.minutes / seconds))
        recipe = replace(recipe, steps=planned, warmup=min(usual.warmup, planned // 10))
        say(f"{wish.minutes:g} minutes are about {planned} steps of {seconds:.3g} s here")
    return recipe


def check_batch(recipe: Recipe, count: int) -> None:
    if recipe.batch_size % count:
        raise Refused(f"--batch must be a multiple of the {count} workers, but is {recipe.batch_size}")


def seconds_per_step(
    subject: Subject, recipe: Recipe, train_set: Images | None, device: torch.device, count: int
) -> float:
    """Measure for two seconds what a step takes, on a training that is thrown away."""
    alike = replace(recipe, batch_size=recipe.batch_size // count, minutes=None)
    plan = Plan(alike.steps)
    run = Run(Path(), subject, alike, plan, assembled(alike, plan, device), {"step": 0}, Workers())
    steps = training_steps(run, train_set)
    before = after = next(steps)  # the first steps are slower
    start = time.perf_counter()
    while time.perf_counter() - start < MEASURED_SECONDS and (report := next(steps, None)):
        after = report
    steps.close()
    return (time.perf_counter() - start) / max(1, after.step - before.step)


def seed_shift() -> str:
    """What shifts all seeds of the course (see `minidiff.generator`)."""
    return os.environ.get("MINIDIFF_SEED", "0")


def load_run(place: str | Path) -> tuple[nn.Module, Recipe]:
    """The network in a folder (or one that comes with the course, by name), ready to use, and its recipe.

    Raises Refused where the card does not say what it is, and as `checkpoints.load_weights` does.
    """
    folder = folder_of(place)
    recipe = recipe_of(read_card(folder))
    net = recipe.network().eval().requires_grad_(False)
    load_weights(folder, net)
    return net, recipe


# The run


def train_in(
    folder: Path,
    subject: Subject,
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
    train_set = None if subject.points else Images(*(part.to(device) for part in subject.images("train")))
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(joined(device))
        stop = stack.enter_context(stopping())  # from here on, since what is imported may swallow a KeyboardInterrupt

        def first() -> bytes:
            if folder.exists() and not folder.is_dir():
                raise Refused(f"--out must be a folder, but {folder} is a file")
            stack.enter_context(sole_writer(folder))
            how = {"resume": resume, "train_set": train_set, "device": device, "count": workers.count}
            return to_bytes(starting_point(folder, subject, wish, **how))

        snapshot = from_bytes(workers.from_lead(first))
        record, recipe = snapshot.record, recipe_of(snapshot.record)
        check_batch(recipe, workers.count)
        plan = Plan(recipe.steps, record.get("plan", ()))
        record |= {"recipe": recipe.record(), "plan": plan.changes}
        run = Run(folder, subject, recipe, plan, assembled(recipe, plan, device), record, workers)
        if snapshot.tensors:
            restore(run.training, on_device(snapshot, recipe, device, workers))
        elif workers.lead:
            save_snapshot(folder, snapshot_of(run.training, record))  # from now on the recipe stands
        record["device"] = device.type
        if workers.lead:
            trim_log(folder, run.step)
            complete_folder(run)
        if run.step >= plan.total and not time_is_left(run):
            if workers.lead:
                say(f"the training in {folder} is complete: all {run.step} steps are made")
            return "result" in read_card(folder) or finished(run)
        if run.step >= plan.total:
            plan.changes.append((run.step, run.step + REPORT_EVERY))  # from there on the clock plans
        return run_to_its_end(run, training_steps(run, train_set, compiled=compiled), stop, save_seconds)


def time_is_left(run: Run) -> bool:
    """Whether a promise of minutes was made that is longer than what has been used."""
    minutes = run.recipe.minutes
    return minutes is not None and not run.recipe.falls and run.record["seconds"] < 0.95 * 60 * minutes


def on_device(snapshot: Snapshot, recipe: Recipe, device: torch.device, workers: Workers) -> Snapshot:
    """A snapshot that this device can go on from. The noise of another kind of device has a generator of another kind:
    it goes on from a fresh one, a function of the seed and the step."""
    before, step = snapshot.record["device"], snapshot.record["step"]
    if before == device.type:
        return snapshot
    if workers.lead:
        say(f"the training began on {before} and goes on on {device.type}, with other noise")
    fresh = recipe.noise(step, device=device).get_state()
    return snapshot._replace(tensors={**snapshot.tensors, "generator": fresh})


def complete_folder(run: Run) -> None:
    """Write again what the snapshot is ahead of, where a run was cut off between two files or one was damaged."""
    put_in_place(run.folder)
    if run.step == 0:
        return
    try:
        card = read_card(run.folder)
        made = card.get("steps made", card["recipe"].get("steps made"))  # there, in a card of the first edition
    except (OSError, Damaged, KeyError):
        made = None
    if made != run.step or (run.folder / NEW_CARD).exists():
        save_for_use(run)
    if run.step == run.plan.total and not (run.folder / picture_name(run.step)).exists():
        draw(run.folder, run.training, run.recipe, run.step)


def run_to_its_end(run: Run, steps: Iterator[TrainStep], stop: threading.Event, save_seconds: float) -> bool:
    """Make the steps, and keep the folder and the person in front of it up to date. Returns whether all were made."""
    recipe, plan, record, workers = run.recipe, run.plan, run.record, run.workers
    begun, last_save = time.perf_counter() - record["seconds"], time.perf_counter()
    mark, drawing = time.perf_counter(), 0.0  # what the lead writes and draws does not count as training
    with Display(plan, run.step, shown=workers.lead) as display, lost_is_said():
        for report in steps:
            loss, now = workers.mean(report.loss), time.perf_counter()
            per_step = workers.mean((now - mark) / (report.step - run.step))
            quarter = int(4 * plan.progress(report.step)) > int(4 * plan.progress(run.step))
            record |= {"step": report.step, "seconds": now - begun, "losses": [*record["losses"], loss][-RECENT:]}
            check_loss(report.step, record["losses"])
            if recipe.minutes is not None:
                left = 60 * recipe.minutes - workers.mean(record["seconds"] + drawing)
                plan.keep(report.step, left, per_step)
            stopped = workers.any(stop.is_set())
            must = stopped or report.step >= plan.total
            if workers.lead:
                with room_or_go_on(run.folder, report.step, must=must):
                    write_log(run.folder, report, loss, run.training, recipe.batch_size / per_step, now - begun)
                    if must or quarter or now - last_save > save_seconds:
                        last_save = now
                        save(run)
                    if quarter or report.step >= plan.total:
                        before = time.perf_counter()
                        draw(run.folder, run.training, recipe, report.step)
                        drawing = time.perf_counter() - before
                display.show(report.step, loss, recipe.batch_size / per_step)
            if must:
                break
            mark = time.perf_counter()
    return finished(run) if run.step >= plan.total else False


def finished(run: Run) -> bool:
    """Measure what comes with the course, once it is made, and write it into its card."""
    if run.workers.lead and run.subject.result is not None:
        say("measuring what it has learned")
        save_for_use(run, result=run.subject.result(run.training.ema.net, run.recipe))
    return True


def check_loss(step: int, recent: list[float]) -> None:
    """Raise FloatingPointError where the loss explodes: it stays finite at first, and says nothing any more."""
    middle = statistics.median(recent)
    if middle > EXPLODED:
        raise FloatingPointError(
            f"the loss explodes: {middle:.3g} at step {step}, where a network that predicts nothing has 1; lower the "
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


def save(run: Run) -> None:
    """Write the snapshot first, then what is for use."""
    snapshot = snapshot_of(run.training, run.record)
    for name, value in snapshot.tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise FloatingPointError(
                f"training broke down at step {run.step}: {name} is not finite; lower the learning rate"
            )
    save_snapshot(run.folder, snapshot)
    save_for_use(run)


def save_for_use(run: Run, **more: Any) -> None:
    """Write the moving average of the weights, and the card."""
    save_weights(run.folder, run.training.ema.net, {**card_of(run), **more})


def card_of(run: Run) -> dict[str, Any]:
    """What the weights are. Nothing but the card is needed to load them, nor to train them again."""
    recipe, device = run.recipe, next(run.training.net.parameters()).device
    record = recipe.record()
    return {
        "command": command_of(recipe),
        **{name: record.pop(name) for name in ("subject", "architecture", "shape")},
        "recipe": record,
        "steps made": run.step,
        "seconds": round(run.record["seconds"], 1),
        "hardware": f"{platform.machine()}, {device}, {run.workers.count} x {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}",
        "parameters": sum(value.numel() for value in run.training.net.parameters()),
    }


def command_of(recipe: Recipe) -> str:
    """What makes it again."""
    what = recipe.source or recipe.subject
    return (
        f"python -m minidiff train {what} --steps {recipe.steps} --batch {recipe.batch_size} "
        f"--lr {recipe.learning_rate:g} --seed {recipe.seed} --precision {recipe.precision}"
    )


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

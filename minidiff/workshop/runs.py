"""A training in a folder: it goes on where it was cut off, alone or with other workers. `minidiff train` calls it.

A folder holds

    weights.safetensors     the moving average of the weights, for use; with its card alone, a training may go on
    card.json               what they are: architecture, recipe, steps, seconds, hardware
    state.safetensors       everything that the next step depends on; state-before.safetensors the one before
    log.jsonl               a line for each report: step, loss, gradient norm, learning rate, speed, threads
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

from minidiff._shell import command
from minidiff.checkpoints import (
    CARD,
    NEW_CARD,
    WEIGHTS,
    Damaged,
    fill,
    folder_of,
    read_card,
    read_weights,
    save_weights,
)
from minidiff.data import Images
from minidiff.training import EMA, Batch, TrainStep, faster_dtype, train
from minidiff.workshop.display import LOG, Display, draw, picture_name, say, trim_log, write_log
from minidiff.workshop.pace import Plan, Threads, candidates, falling, threads_put_back, until
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

__all__ = ["Wish", "command_of", "load_drawing", "load_run", "stopping", "train_in"]

REPORT_EVERY = 10  # steps between two looks at the loss: a GPU is not waited for in between
SAVE_SECONDS = 60.0
EXPLODED = 5.0  # a network that predicts nothing has a loss of about 1, for data of unit variance
FRESH_WARMUP = 100  # steps in which the rate rises where an optimizer begins anew with weights that have learned
RECENT = 5  # reports whose median must stay below that: a single one may stand out in a healthy training
PACES = 3  # reports whose median is the pace of today, since one of them may hold slow steps on trial
MEASURED_IMAGES = 64  # on fewer the two precisions are too close to tell apart
MEASURED_SECONDS = 2.0
RESERVE = 0.05  # of the minutes that were promised is kept for the last picture, at most
KEPT = 0.95  # of the minutes that were promised: a training that has used so many is complete

HELD = {  # by objective: what cannot draw on its own
    **{"classify": "a classifier", "classify noisy": "a classifier", "autoencode": "an autoencoder"},
    **{"films": "a model of films (notebook 21 draws with it)", "upsample": "an upsampler (notebook 21 draws with it)"},
    "words": "a model that writes text (notebook 22 writes with it)",
}


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
    """A training on its way. record: what a snapshot holds beside the tensors. begun: by the clock of `perf_counter`,
    as if nothing had ever cut it off."""

    folder: Path
    subject: Subject
    recipe: Recipe
    plan: Plan
    training: Training
    record: dict[str, Any]
    workers: Workers
    begun: float

    @property
    def step(self) -> int:
        return self.record["step"]

    @property
    def complete(self) -> bool:
        return self.step >= self.plan.total

    def seconds_left(self) -> float:
        """Of the minutes promised, without what the last picture will take."""
        promised = 60 * self.recipe.minutes
        picture = min(self.record.get("drawing", 0.0), RESERVE * promised)
        return self.begun + promised - picture - time.perf_counter()

    def quarter(self) -> int:
        """How many quarters are done: of the time that was promised, or else of the steps."""
        if self.recipe.minutes is not None:
            return min(4, int(4 * self.record["seconds"] / (60 * self.recipe.minutes)))
        return 4 * self.step // self.plan.total


def assembled(recipe: Recipe, plan: Plan, device: torch.device) -> Training:
    """A training before its first step."""
    net = recipe.beginning().to(device)
    optimizer = recipe.optimize(net)
    if recipe.falls:
        schedule = falling(optimizer, plan, recipe.warmup)
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / max(1, recipe.warmup))
        )
    return Training(net, EMA(net, recipe.decay), optimizer, schedule, recipe.noise(device=device))


def first_plan(recipe: Recipe) -> Plan:
    """The plan of a training before its first step: progress begins where a learning rate has warmed up."""
    return Plan(recipe.steps, recipe.warmup if recipe.falls else 0)


def training_steps(run: Run, train_set: Images | None, *, compiled: bool = False) -> Iterator[TrainStep]:
    """The steps of a training from where it stands. train_set: on the device; None for points."""
    recipe, training, workers = run.recipe, run.training, run.workers
    device = next(training.net.parameters()).device
    alone_on_time = run.seconds_left if recipe.minutes is not None and workers.count == 1 else None
    data = training_batches(run.subject, recipe, train_set, device, start=run.step)
    data = until(run.plan, data, run.step, alone_on_time)
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
    if snapshot is None and resume and (folder / WEIGHTS).exists():
        snapshot = from_weights(folder, device)
    if snapshot is None:
        if (folder / WEIGHTS).exists() or (folder / LOG).exists():
            raise Refused(f"{folder} holds weights or a log, and no training to go on with: choose another folder")
        begun = time.perf_counter()
        recipe = new_recipe(subject, wish, train_set, device, count)
        blank = {"step": 0, "seconds": time.perf_counter() - begun, "losses": [], "device": device.type}
        return Snapshot({}, {"recipe": recipe.record(), "plan": first_plan(recipe).record(), **blank})
    recipe, plan, step = recipe_of(snapshot.record), plan_of(snapshot), snapshot.record["step"]
    check_same(folder, subject.recipe, recipe)
    if not resume:
        raise Refused(
            f"{folder} holds a training at step {step} of {plan.total}: add --resume to go on with it, "
            "or choose another folder"
        )
    wanted = {**wish._asdict(), "seed_shift": seed_shift()}
    for name, option in ASKED_BY.items():
        if wanted[name] is not None and wanted[name] != getattr(recipe, name):
            raise Refused(
                f"{option} must be {getattr(recipe, name)}, as when the training in {folder} began, but is "
                f"{wanted[name]}: leave it out, or choose another folder"
            )
    recipe = prolonged(folder, recipe, plan, step, wish)
    return snapshot._replace(record={**snapshot.record, "recipe": recipe.record(), "plan": plan.record()})


def from_weights(folder: Path, device: torch.device) -> Snapshot:
    """What to start from where a folder holds weights and their card only, as notebook 13 leaves them.

    The weights stand for the network and for its average; the optimizer begins anew, with a rate that rises.

    Raises Refused where the card does not say what was trained, or the rate has fallen to 0 at the end of it, and
    Damaged where the weights are damaged.
    """
    content, card = read_weights(folder)
    recipe, step = replace(recipe_of(card), seed_shift=seed_shift(), warmup=FRESH_WARMUP), card.get("steps made")
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise Refused(f"{folder / CARD} must say how many steps were made, but says {step!r}")
    if recipe.falls:
        raise Refused(
            f"{folder} holds weights whose learning rate fell to 0 at step {step}, and no training to go on with: "
            "choose another folder"
        )
    plan = Plan(max(step, recipe.steps), step)
    training = assembled(recipe, plan, device)
    for net in (training.net, training.ema.net):
        fill(net, content, folder)
    training.ema.steps = step
    training.generator.set_state(recipe.noise(step, device=device).get_state())
    say(f"{folder} holds weights at step {step}, and no more: going on from them, with a fresh optimizer")
    record = {"step": step, "seconds": card.get("seconds", 0.0), "losses": [], "device": device.type}
    return snapshot_of(training, {"recipe": recipe.record(), "plan": plan.record(), **record})


def plan_of(snapshot: Snapshot) -> Plan:
    """The plan of a snapshot. One from the first edition has none: its number of steps was fixed."""
    if "plan" in snapshot.record:
        return Plan(*snapshot.record["plan"])
    return first_plan(recipe_of(snapshot.record))


def check_same(folder: Path, asked: Recipe, held: Recipe) -> None:
    """Refuse to go on with a training of something else."""
    if any(getattr(asked, name) != getattr(held, name) for name in ("subject", "source", "shape")):
        raise Refused(f"{folder} holds a training of {told(held)}, not of {told(asked)}: choose another folder")
    if held.source is not None and asked.classes != held.classes:
        raise Refused(
            f"{held.source} must hold pictures of {held.classes} labels, as when the training in {folder} began, but "
            f"holds {asked.classes}: choose another folder for a new training"
        )
    if held.pictures is not None and asked.pictures != held.pictures:
        raise Refused(
            f"{held.source} must hold the same pictures, under the same names, as when the training in {folder} began, "
            "but they have changed: choose another folder for a new training"
        )


def told(recipe: Recipe) -> str:
    """What is trained, in a few words."""
    shape = " x ".join(map(str, recipe.shape))
    return f"the pictures in {recipe.source}, {shape}" if recipe.source else recipe.subject


def prolonged(folder: Path, recipe: Recipe, plan: Plan, step: int, wish: Wish) -> Recipe:
    """The recipe of a training that is asked for other steps or minutes than when it began. Changes the plan."""
    before = (None, recipe.minutes) if recipe.minutes is not None else (plan.total, None)
    asked = (wish.steps, wish.minutes)
    if asked in (before, (None, None)):
        return recipe
    if recipe.falls:
        option, value = ("--steps", wish.steps) if wish.steps is not None else ("--minutes", wish.minutes)
        was = before[0] if wish.steps is not None else before[1]
        raise Refused(
            f"{option} must be {'left out' if was is None else f'{was:g}'}, as when the training in {folder} began, "
            f"since its learning rate falls to 0 at the end, but is {value:g}: choose another folder"
        )
    if wish.steps is None:
        return replace(recipe, minutes=wish.minutes)
    if wish.steps < step:
        raise Refused(f"--steps must be at least {step}, since so many are made in {folder}, but is {wish.steps}")
    plan.change(step, wish.steps)
    return replace(recipe, steps=wish.steps, minutes=None)


def new_recipe(subject: Subject, wish: Wish, train_set: Images | None, device: torch.device, count: int) -> Recipe:
    """Fill in what was not asked for: by the subject's defaults, and by measuring this machine."""
    usual, start = subject.recipe, time.perf_counter()
    steps = wish.steps or usual.steps
    recipe = replace(
        usual,
        steps=steps,
        batch_size=wish.batch_size or max(count, usual.batch_size // count * count),
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
        recipe = replace(recipe, precision=faster_precision(recipe, train_set, device))
    if wish.minutes is not None:
        seconds = seconds_per_step(subject, recipe, train_set, device, count)
        left = max(0.0, 60 * wish.minutes - (time.perf_counter() - start))
        planned = max(REPORT_EVERY, round(left / seconds))
        recipe = replace(recipe, steps=planned, warmup=min(usual.warmup, planned // 10))
        say(f"of {wish.minutes:g} minutes {left:.0f} seconds are left, about {planned} steps of {seconds:.3g} s")
    return recipe


def check_batch(recipe: Recipe, count: int) -> None:
    """Refuse a batch that cannot be shared out evenly."""
    if recipe.batch_size % count:
        raise Refused(f"--batch must be a multiple of the {count} workers, but is {recipe.batch_size}")


def faster_precision(recipe: Recipe, train_set: Images, device: torch.device) -> str:
    """Measure in which precision the network learns faster."""
    told = train_set.y[:MEASURED_IMAGES] if recipe.classes or recipe.reads else None
    few = Batch(train_set.x[:MEASURED_IMAGES], told)
    loss = recipe.loss()
    dtype = faster_dtype(recipe.network().to(device), few.x0, lambda net, _, source: loss(net, few, source))
    return str(dtype).removeprefix("torch.")


def seconds_per_step(
    subject: Subject, recipe: Recipe, train_set: Images | None, device: torch.device, count: int
) -> float:
    """Measure for two seconds what a step takes, on a training that is thrown away."""
    alike = replace(recipe, batch_size=recipe.batch_size // count, minutes=None)
    plan = first_plan(alike)
    run = Run(Path(), subject, alike, plan, assembled(alike, plan, device), {"step": 0}, Workers(), 0.0)
    with threads_put_back():
        steps = training_steps(run, train_set)
        first = last = next(steps).step  # the first steps are slower
        start = time.perf_counter()
        while time.perf_counter() - start < MEASURED_SECONDS and (report := next(steps, None)):
            last = report.step
    return (time.perf_counter() - start) / max(1, last - first)


def seed_shift() -> str:
    """What shifts all seeds of the course (see `minidiff.generator`)."""
    return os.environ.get("MINIDIFF_SEED", "0")


def load_run(place: str | Path) -> tuple[nn.Module, Recipe]:
    """The network in a folder (or one that comes with the course, by name), ready to use, and its recipe.

    Cards of the first edition, which tell the data set and not the architecture, are read too. Raises Refused where the
    card does not say what it is, and as `checkpoints.load_weights` does.
    """
    folder = folder_of(place)
    content, card = read_weights(folder)
    try:
        recipe = recipe_of(card)
        net = recipe.network()
    except ValueError as error:
        raise Refused(f"{folder / CARD} does not say which network it is: {error}") from error
    fill(net, content, folder)
    return net.eval().requires_grad_(False), recipe


def load_drawing(place: str | Path) -> tuple[nn.Module, Recipe]:
    """The same, for a network that draws on its own. Raises Refused for any other."""
    net, recipe = load_run(place)
    if not recipe.draws:
        held = HELD.get(recipe.objective, f"a network of the objective {recipe.objective!r}")
        raise Refused(f"--checkpoint must be a network that draws, but {place} holds {held}")
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
    train_set = subject.training_set(device)
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(joined(device))
        stop = stack.enter_context(stopping())  # from here on, since what is imported may swallow a KeyboardInterrupt
        stack.enter_context(threads_put_back())

        def first() -> bytes:
            if folder.exists() and not folder.is_dir():
                raise Refused(f"--out must be a folder, but {folder} is a file")
            stack.enter_context(sole_writer(folder))
            how = {"resume": resume, "train_set": train_set, "device": device, "count": workers.count}
            return to_bytes(starting_point(folder, subject, wish, **how))

        snapshot = from_bytes(workers.from_lead(first))
        run = begun(folder, subject, snapshot, device, workers)
        if workers.lead:
            trim_log(folder, run.step)
            complete_folder(run)
        if run.complete and not time_is_left(run):
            if workers.lead:
                say(f"the training in {folder} is complete: all {run.step} steps are made")
            return finished(run)
        if run.complete:
            run.plan.change(run.step, run.step + REPORT_EVERY)  # from there on the clock plans
        return run_to_its_end(run, training_steps(run, train_set, compiled=compiled), stop, save_seconds)


def begun(folder: Path, subject: Subject, snapshot: Snapshot, device: torch.device, workers: Workers) -> Run:
    """A training as its snapshot says; one without tensors stands before its first step."""
    recipe, plan, record = recipe_of(snapshot.record), plan_of(snapshot), {**snapshot.record, "device": device.type}
    check_batch(recipe, workers.count)
    training = assembled(recipe, plan, device)
    if snapshot.tensors:
        restore(training, on_device(snapshot, recipe, device, workers))
    elif workers.lead:
        save_snapshot(folder, snapshot_of(training, record))  # from now on the recipe stands
    start = time.perf_counter() - record["seconds"]
    return Run(folder, subject, recipe, plan, training, record, workers, start)


def time_is_left(run: Run) -> bool:
    """Whether a promise of minutes was made that is longer than what has been used."""
    minutes = run.recipe.minutes
    return minutes is not None and not run.recipe.falls and run.record["seconds"] < KEPT * 60 * minutes


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
    """Write again what the snapshot is ahead of, where a run was cut off between two files, one was damaged, or the
    card is one of the first edition."""
    put_in_place(run.folder)
    if run.step == 0:
        return
    try:
        made = read_card(run.folder).get("steps made")
    except (OSError, Damaged):
        made = None
    if made != run.step or (run.folder / NEW_CARD).exists():
        save_for_use(run)
    if run.complete and not (run.folder / picture_name(run.step)).exists():
        draw(run.folder, run.training, run.recipe, run.step)


def run_to_its_end(run: Run, steps: Iterator[TrainStep], stop: threading.Event, save_seconds: float) -> bool:
    """Make the steps, and keep the folder and the person in front of it up to date. Returns whether all were made."""
    recipe, plan, record, workers = run.recipe, run.plan, run.record, run.workers
    paces, quarter, saved_at = [], run.quarter(), time.perf_counter()
    mark = time.perf_counter()  # what the lead writes and draws does not count as training
    with Display(plan, run.step, shown=workers.lead) as display, lost_is_said():
        for report in steps:
            loss, now = workers.mean(report.loss), time.perf_counter()
            paces = [*paces, (now - mark) / (report.step - run.step)][-PACES:]
            record |= {"step": report.step, "seconds": now - run.begun, "losses": [*record["losses"], loss][-RECENT:]}
            check_loss(report.step, record["losses"])
            if recipe.minutes is not None and report.step % REPORT_EVERY == 0:  # after any other there are no batches
                left, pace = workers.of_lead(run.seconds_left()), workers.of_lead(statistics.median(paces))
                plan.keep(report.step, left, pace)
            record["plan"] = plan.record()
            last = workers.any(stop.is_set()) or run.complete
            if workers.lead:
                speed, before = recipe.batch_size / paces[-1], quarter
                quarter = max(quarter, run.quarter())
                with room_or_go_on(run.folder, report.step, must=last):
                    write_log(run.folder, report, loss, run.training, speed, record["seconds"])
                    if not last and (quarter > before or now - saved_at > save_seconds):
                        saved_at = now
                        save(run)
                    if not last and quarter > before:
                        draw(run.folder, run.training, recipe, report.step)
                        record["drawing"] = time.perf_counter() - now
                display.show(report.step, loss, speed)
            if last:
                break
            mark = time.perf_counter()
    if workers.lead:
        with room_or_go_on(run.folder, run.step, must=True):
            record["plan"] = plan.record()  # the clock may have ended it after the last report
            save(run)
            if run.complete:
                draw(run.folder, run.training, recipe, run.step)
    return run.complete and finished(run)


def finished(run: Run) -> bool:
    """Measure what comes with the course, once it is made, and write it into its card."""
    measure = run.subject.result if run.workers.lead else None
    if measure is not None and "result" not in read_card(run.folder):
        say("measuring what it has learned")
        save_for_use(run, measure(run.training.ema.net, run.recipe))
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
        why = error.strerror or str(error)
        if must:
            raise OSError(f"could not save step {step} ({why}): the last good state stands in {folder}") from error
        say(f"could not save at step {step} ({why}): make room in {folder}; training goes on")


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


def save_for_use(run: Run, result: dict[str, Any] | None = None) -> None:
    """Write the moving average of the weights, and the card, with what was measured of them."""
    card = card_of(run) if result is None else {**card_of(run), "result": result}
    save_weights(run.folder, run.training.ema.net, card)


def card_of(run: Run) -> dict[str, Any]:
    """What the weights are. Nothing but the card is needed to load them, nor to train them again."""
    recipe, device = replace(run.recipe, steps=run.plan.total), next(run.training.net.parameters()).device
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
    words = ["python", "-m", "minidiff", "train", recipe.source or recipe.subject]
    if recipe.source is not None:
        words += ["--size", recipe.shape[-1], *(["--grey"] if recipe.shape[0] == 1 else [])]
    words += ["--steps", recipe.steps, "--batch", recipe.batch_size, "--lr", recipe.learning_rate]
    return command(*words, "--seed", recipe.seed, "--precision", recipe.precision)


@contextlib.contextmanager
def stopping(saying: str = "stopping after these steps") -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a run ends between two steps. A second Ctrl-C ends it at once."""
    stop = threading.Event()

    def ask(number: int, frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        say(saying)

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

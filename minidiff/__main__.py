"""The command line: `python -m minidiff {doctor, train, sample, evaluate}`. `--help` after any of them explains it.

Several processes or machines train together where `torchrun` starts the same command:

    torchrun --nproc-per-node 2 -m minidiff train mnist --out runs/mnist

Results go to the standard output, everything else to the standard error. The exit code is 0 where all went well, 1
where something failed, 2 where the command was wrong, 130 where it was interrupted.
"""

import argparse
import contextlib
import io
import json
import os
import shlex
import sys
from pathlib import Path

# The rest is imported by the command that needs it, so that --help is quick and the doctor finds what is missing.

__all__ = ["main"]

DATA = ("moons", "swissroll", "checkerboard", "digits", "mnist")
SAMPLERS = ("ancestral", "ddim")
FAILED, WRONG, INTERRUPTED = 1, 2, 130


def whole(text: str) -> int:
    """A whole number >= 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, but is {text!r}")
    return int(text)


def from_zero(text: str) -> int:
    """A whole number >= 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number >= 0, but is {text!r}")
    return int(text)


def positive(text: str) -> float:
    """A number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number > 0, but is {text!r}")
    return value


def folder(text: str) -> Path:
    """A folder, which need not exist yet."""
    if not text:
        raise argparse.ArgumentTypeError("must be a folder, but is empty")
    return Path(text)


def npz(text: str) -> Path:
    """A file that ends in .npz."""
    if not text.endswith(".npz"):
        raise argparse.ArgumentTypeError(f"must end in .npz, but is {text!r}")
    return Path(text)


def parser() -> argparse.ArgumentParser:
    """Everything that the command line understands."""
    top = argparse.ArgumentParser(prog="python -m minidiff", description="Train and use the course's diffusion models.")
    commands = top.add_subparsers(dest="command", required=True)

    command = commands.add_parser("doctor", help="is everything in place? versions, devices, data, disk")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of the screen")
    command.set_defaults(run=run_doctor)

    command = commands.add_parser("train", help="train a model; cut it off at any moment and go on with --resume")
    command.add_argument("data", choices=DATA, help="what to learn")
    command.add_argument("--out", type=folder, help="the folder of the run (default: runs/DATA)")
    command.add_argument("--resume", action="store_true", help="go on with the training in the folder, if there is one")
    length = command.add_mutually_exclusive_group()
    length.add_argument("--steps", type=whole, help="how many steps (default: enough for good samples)")
    length.add_argument("--minutes", type=positive, help="as many steps as fit, by a short measurement")
    command.add_argument("--batch", type=whole, help="samples in a batch, those of all workers together")
    command.add_argument("--lr", type=positive, help="the largest learning rate")
    command.add_argument("--seed", type=from_zero, help="the same seed gives the same network (default: 0)")
    command.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    command.add_argument("--precision", choices=["float32", "bfloat16"], help="default: whichever is faster here")
    command.add_argument("--compile", action="store_true", help="torch.compile: a minute of waiting, then faster steps")
    command.add_argument("--save-seconds", type=positive, default=60.0, help="between two saves (default: 60)")
    command.set_defaults(run=run_train)

    for name, purpose, run in [
        ("sample", "draw samples from a trained model", run_sample),
        ("evaluate", "how far are a model's samples from real ones?", run_evaluate),
    ]:
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--checkpoint", required=True, help="the folder of a run, or a shipped one: mnist-ddpm")
        command.add_argument("--n", type=whole, default=64 if name == "sample" else None, help="how many samples")
        command.add_argument("--steps", type=whole, default=50, help="steps of the sampler (default: 50)")
        command.add_argument("--sampler", choices=SAMPLERS, default="ancestral", help="default: ancestral")
        command.add_argument("--seed", type=from_zero, default=0, help="default: 0")
        command.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
        command.set_defaults(run=run)
        if name == "sample":
            command.add_argument("--out", type=npz, required=True, help="a .npz file: x, (N, *D), and labels y")
            command.add_argument("--label", type=from_zero, help="draw only this digit (default: all in turn)")
        else:
            command.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return top


def run_doctor(options: argparse.Namespace) -> int:
    from minidiff.doctor import doctor

    return doctor(as_json=options.json)


def run_train(options: argparse.Namespace) -> int:
    from minidiff.runs import Wish, train_in
    from minidiff.workers import LeadGaveUp, WorkerLost, local_device

    out = options.out or Path("runs") / options.data
    again = ["python", "-m", "minidiff", "train", options.data, "--out", str(out), "--resume"]
    again += [] if options.device == "cpu" else ["--device", options.device]
    go_on = shlex.join([*again, "--compile"] if options.compile else again)
    lead = os.environ.get("RANK", "0") == "0"  # of several workers, one speaks
    wish = (options.steps, options.minutes, options.batch, options.lr, options.seed, options.precision)
    try:
        complete = train_in(
            out,
            Wish(options.data, *wish),
            device=local_device(options.device),
            resume=options.resume,
            compiled=options.compile,
            save_seconds=options.save_seconds,
        )
    except FloatingPointError as error:
        return (
            complain(f"{error}. The last good state is in {out}; train again into another folder") if lead else FAILED
        )
    except LeadGaveUp:
        return FAILED
    except WorkerLost as error:
        return complain(f"{error}. To go on from the last save, with any number of workers: {go_on}")
    if lead:
        print(f"trained: {out}" if complete else f"stopped early; all is saved. To go on: {go_on}", file=sys.stderr)
    return 0 if complete else INTERRUPTED


def run_sample(options: argparse.Namespace) -> int:
    import numpy as np

    from minidiff.checkpoints import write_file
    from minidiff.workers import Refused

    if options.out.is_dir():
        raise Refused(f"--out must be a file, but {options.out} is a folder")
    x, y, _ = drawn(options)
    content = io.BytesIO()
    np.savez(content, x=x.numpy(), **({} if y is None else {"y": y.numpy()}))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(options.out, content.getvalue())
    print(f"wrote {options.out}: x {tuple(x.shape)}")
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    from minidiff.runs import evaluate

    x, _, data = drawn(options)
    measured = evaluate(x, data, seed=options.seed)
    if options.json:
        numbers = {name: {**value._asdict(), "ratio": value.ratio} for name, value in measured.items()}
        print(json.dumps({"data": data, "sampler": options.sampler, "steps": options.steps, "distances": numbers}))
        return 0
    print(f"{'distance':<45} {'value':>10} {'floor':>10} {'ratio':>7} {'n':>7}")
    for name, value in measured.items():
        print(f"{name:<45} {value.value:>10.4g} {value.floor:>10.4g} {value.ratio:>7.1f} {value.samples:>7}")
    print("The floor is the distance between real samples and other real samples, equally many.")
    return 0


def drawn(options: argparse.Namespace):
    """Samples of a checkpoint, their labels if it knows any, and the name of its data."""
    import torch

    from minidiff import samplers
    from minidiff.runs import check_evaluation, classes_of, kind_of, load_run, sample
    from minidiff.workers import local_device

    device = local_device(options.device)
    net, card = load_run(options.checkpoint)
    data = card["data"]
    if options.command == "evaluate":
        options.n = options.n or (200 if data == "digits" else 2000)
        check_evaluation(options.n, data)
    sampler = {"ancestral": samplers.ancestral, "ddim": samplers.ddim}[options.sampler]
    y, times = labels(options, classes_of(card)), torch.linspace(1, 0, options.steps + 1)
    how = {"kind": kind_of(card), "times": times, "sampler": sampler, "seed": options.seed}
    x = sample(net.to(device), data, options.n, y, **how)
    if not bool(x.isfinite().all()):
        raise FloatingPointError(f"the network in {options.checkpoint} draws NaN or infinite values: train it again")
    return x, y, data


def labels(options: argparse.Namespace, classes: int):
    """The labels to draw: the one asked for, else all that the network knows in turn; None if it knows none."""
    import torch

    from minidiff.runs import even_labels
    from minidiff.workers import Refused

    wanted = getattr(options, "label", None)
    if wanted is None:
        return even_labels(options.n, classes)
    if wanted >= classes:
        known = f"the labels 0 to {classes - 1}" if classes else "no labels"
        raise Refused(f"--label must be one that the network knows, but is {wanted}, and it knows {known}")
    return torch.full((options.n,), wanted)


def complain(line: str) -> int:
    """One line on the standard error."""
    with contextlib.suppress(BrokenPipeError):
        print(f"minidiff: {line}", file=sys.stderr)
    return FAILED


def foreseen(error: Exception) -> int | None:
    """The exit code for an error whose message says all, None for one that is a fault of minidiff's."""
    if isinstance(error, ModuleNotFoundError):
        complain(f"{error}; `python -m minidiff doctor` says what to install")
        return FAILED
    from minidiff.checkpoints import Damaged, FolderInUse
    from minidiff.data import MnistUnavailable
    from minidiff.workers import Refused, WorkerLost

    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, Refused):
        complain(line)
        return WRONG
    if isinstance(error, MemoryError) or "allocate memory" in line or "out of memory" in line:
        return complain("not enough memory: choose a smaller --batch or --n")
    said = (MnistUnavailable, FolderInUse, Damaged, WorkerLost, FloatingPointError, OSError)
    return complain(line) if isinstance(error, said) else None


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. Every error that can be foreseen becomes one line."""
    options = parser().parse_args(arguments)
    shift = os.environ.get("MINIDIFF_SEED", "0")
    if options.command != "doctor" and not shift.isdecimal():
        complain(f"MINIDIFF_SEED must be a whole number >= 0, but is {shift!r}")
        return WRONG
    try:
        return options.run(options)
    except BrokenPipeError:  # whoever read our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        code = foreseen(error)
        if code is None:
            raise
        return code


if __name__ == "__main__":
    sys.exit(main())

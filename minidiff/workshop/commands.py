"""The command line: `python -m minidiff {doctor, train, sample, evaluate, serve, progress, course, lab}`.

Also called `minidiff`; `--help` after any of them explains it.

Several processes or machines train together where `torchrun` starts the same command:

    torchrun --nproc-per-node 2 -m minidiff train mnist --out runs/mnist

Results go to the standard output, everything else to the standard error. The exit code is 0 where all went well, 1
where something failed, 2 where the command was wrong, 130 where it was interrupted.
"""

import argparse
import contextlib
import errno
import io
import json
import os
import sys
from pathlib import Path

from minidiff._shell import minidiff_command

# The rest is imported by the command that needs it, so that --help is quick and the doctor finds what is missing.

__all__ = ["main"]

SUBJECTS = (
    *("moons", "swissroll", "checkerboard", "plane-gan"),
    *("digits", "digits-transformer", "mnist", "mnist-plain", "mnist-ddpm", "mnist-ddpm-labels"),
    *("mnist-classifier", "mnist-classifier-noisy", "mnist-autoencoder"),
    *("mnist-4-steps", "mnist-1-step"),
    *("balls", "mnist-coarse", "mnist-upsampler"),
    *("captions", "captions-judge"),
    *("english-masked", "english-fifteen", "english-uniform"),
    *("english-gaussian", "english-left-to-right"),
)
SAMPLERS = ("ancestral", "ddim", "2m")
CURES = {  # what the system says -> what to do
    errno.EROFS: "choose a folder on a disk that can be written to",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.ENOSPC: "make room, or choose a folder on another disk",
    errno.EDQUOT: "make room, or choose a folder on another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
}
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


def port(text: str) -> int:
    """The number of a port."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, but is {text!r}")
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


def place(text: str) -> Path:
    """A file or folder, which need not exist yet; `~` is the reader's home."""
    if not text:
        raise argparse.ArgumentTypeError("must be the path of a file or folder, but is empty")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # Path's word for a user that does not exist
        raise argparse.ArgumentTypeError(f"must be a path, but is {text!r}, and no user has that home") from error


def what_to_learn(text: str) -> str:
    """The name of something that the course trains, or a folder of pictures."""
    if text in SUBJECTS or place(text).is_dir():
        return text
    raise argparse.ArgumentTypeError(
        f"must be one of {', '.join(SUBJECTS)}, or a folder of pictures, but is {text!r}, which is no folder"
    )


def samples_file(text: str) -> Path:
    """A file that ends in .npz or .png."""
    if not text.lower().endswith((".npz", ".png")):
        raise argparse.ArgumentTypeError(f"must end in .npz (numbers) or .png (a picture), but is {text!r}")
    return place(text)


def parser() -> argparse.ArgumentParser:
    """Everything that the command line understands."""
    top = argparse.ArgumentParser(prog="minidiff", description="Train and use the course's diffusion models.")
    commands = top.add_subparsers(dest="command", required=True)

    command = commands.add_parser("doctor", help="is everything in place? versions, devices, data, disk")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of the screen")
    about = "examine a trained model instead: the folder of a run, or one that comes with the course"
    command.add_argument("--model", metavar="FOLDER", type=place, help=about)
    command.set_defaults(run=run_doctor)

    command = commands.add_parser("train", help="train a model; cut it off at any moment and go on with --resume")
    about = f"what to learn: {', '.join(SUBJECTS)}, or a folder of pictures, whose subfolders are labels"
    command.add_argument("data", metavar="DATA", type=what_to_learn, help=about)
    command.add_argument("--out", type=place, help="the folder of the run (default: runs/DATA)")
    command.add_argument("--size", type=whole, help="own pictures: pixels on a side (default: 32)")
    command.add_argument("--grey", action="store_true", help="own pictures: without colours")
    command.add_argument("--resume", action="store_true", help="go on with the training in the folder, if there is one")
    length = command.add_mutually_exclusive_group()
    length.add_argument("--steps", type=whole, help="how many steps; with --resume, go on to these")
    length.add_argument("--minutes", type=positive, help="as many steps as fit into these minutes, all in all")
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
        about = "the folder of a run, or one that comes with the course: mnist-ddpm"
        command.add_argument("--checkpoint", type=place, required=True, help=about)
        command.add_argument("--n", type=whole, default=64 if name == "sample" else None, help="how many samples")
        command.add_argument("--steps", type=whole, default=50, help="steps of the sampler (default: 50)")
        command.add_argument("--sampler", choices=SAMPLERS, default="ancestral", help="default: ancestral")
        command.add_argument("--seed", type=from_zero, default=0, help="default: 0")
        command.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
        command.set_defaults(run=run)
        if name == "sample":
            command.add_argument(
                "--out",
                type=samples_file,
                required=True,
                help="a .npz file: x, (N, *D), and labels y; or a .png",
            )
            told = command.add_mutually_exclusive_group()
            told.add_argument("--label", type=from_zero, help="draw only this digit (default: all in turn)")
            about = "draw what this says, such as 'two slanted sevens' or 'a thin three left of a slanted seven'"
            told.add_argument("--prompt", help=f"{about}; for --checkpoint captions, which also takes --guidance")
            command.add_argument(
                "--guidance", type=positive, help="weight of guidance by the captions (default: 1, none)"
            )
        else:
            command.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    command = commands.add_parser("serve", help="draw to order over HTTP, with a page for the browser")
    about = "the folder of a run, or one that comes with the course: mnist-ddpm-labels"
    command.add_argument("--checkpoint", type=place, required=True, help=about)
    command.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, which only this machine reaches")
    command.add_argument("--port", type=port, default=8000, help="0 takes any that is free (default: 8000)")
    command.add_argument("--pictures", type=whole, help="the most in one order (default: 16)")
    command.add_argument("--places", type=whole, help="what the network sees at once (default: 8; more for a GPU)")
    command.add_argument("--waiting", type=whole, default=256, help="the most orders that wait (default: 256)")
    command.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    command.set_defaults(run=run_serve)
    command = commands.add_parser("progress", help="which exercises are right, and which are left?")
    command.add_argument("--out", type=place, help="where to write the page (default: where progress is noted)")
    command.add_argument("--no-browser", action="store_true", help="write the page, and do not open it")
    command.set_defaults(run=run_progress)

    command = commands.add_parser("course", help="write the notebooks of the course into a folder of yours")
    about = "the folder (default: minidiff-course); what is there already stays as it is"
    command.add_argument("folder", metavar="DIR", nargs="?", type=place, help=about)
    command.set_defaults(run=run_course)

    command = commands.add_parser("lab", help="open the notebooks in JupyterLab; they are written if there are none")
    about = "the folder of the notebooks (default: this one, notebooks or minidiff-course, whichever has them)"
    command.add_argument("folder", metavar="DIR", nargs="?", type=place, help=about)
    command.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    command.add_argument("--port", type=whole, help="where to listen (default: 8888, or the next that is free)")
    command.set_defaults(run=run_lab)
    return top


def run_doctor(options: argparse.Namespace) -> int:
    if options.model is not None:
        from minidiff.workshop.checkup import checkup

        return checkup(options.model, as_json=options.json)
    from minidiff.workshop.doctor import doctor

    return doctor(as_json=options.json)


def run_progress(options: argparse.Namespace) -> int:
    import webbrowser

    from minidiff.checks.progress import folder, write_progress

    page = write_progress(options.out or folder() / "progress.html").absolute()
    print(page)
    if not options.no_browser and not webbrowser.open(page.as_uri()):
        complain("no browser could be opened: open the file above in one")
    return 0


def run_course(options: argparse.Namespace) -> int:
    from minidiff.workshop.handout import FOLDER, write_course

    folder = options.folder or Path(FOLDER)
    new, kept = write_course(folder)
    stayed = f"; {len(kept)} were there and stay as they are" if kept else ""
    print(f"wrote {len(new)} files to {folder}{stayed}")
    print(f"to open them: {minidiff_command('lab', folder)}", file=sys.stderr)
    return 0


def run_lab(options: argparse.Namespace) -> int:
    from minidiff.workshop.handout import FIRST, NoJupyterLab, folder_to_open, open_lab, write_course

    folder = folder_to_open(options.folder)
    if not (folder / FIRST).is_file():
        new, _ = write_course(folder)
        print(f"wrote {len(new)} files to {folder}", file=sys.stderr)
    try:
        open_lab(folder, browser=not options.no_browser, port=options.port)
    except NoJupyterLab as error:
        return complain(str(error))
    return 0


def run_train(options: argparse.Namespace) -> int:
    from minidiff.workshop.runs import Wish, train_in
    from minidiff.workshop.subjects import SUBJECTS as known
    from minidiff.workshop.subjects import of_pictures
    from minidiff.workshop.workers import LeadGaveUp, Refused, WorkerLost, local_device

    lead = os.environ.get("RANK", "0") == "0"  # of several workers, one speaks
    device = local_device(options.device)
    if options.data in known:
        if options.size or options.grey:
            raise Refused(f"--size and --grey are for folders of pictures, not for {options.data}")
        subject = known[options.data]
    else:
        subject = of_pictures(options.data, size=options.size or 32, grey=options.grey)
    for note in subject.notes if lead else ():
        print(note, file=sys.stderr)
    out = options.out or Path("runs") / Path(subject.recipe.source or options.data).name
    if subject.recipe.source and out.absolute().is_relative_to(subject.recipe.source):
        raise Refused(f"--out must lie outside of the folder of pictures, {options.data}, but is {out}")
    wish = Wish(options.steps, options.minutes, options.batch, options.lr, options.seed, options.precision)
    how = {"device": device, "resume": options.resume, "compiled": options.compile}
    try:
        complete = train_in(out, subject, wish, save_seconds=options.save_seconds, **how)
    except FloatingPointError as error:
        return (
            complain(f"{error}. The last good state is in {out}; train again into another folder") if lead else FAILED
        )
    except LeadGaveUp:
        return FAILED
    except WorkerLost as error:
        return complain(f"{error}. To go on from the last save, with any number of workers: {to_go_on(options, out)}")
    if lead:
        said = f"trained: {out}" if complete else f"stopped early; all is saved. To go on: {to_go_on(options, out)}"
        print(said, file=sys.stderr)
    return 0 if complete else INTERRUPTED


def to_go_on(options: argparse.Namespace, out: Path) -> str:
    """The command that goes on with a training, for the shell that this one was typed into."""
    words = ["train", options.data, "--out", out, "--resume"]
    words += ["--size", options.size] if options.size else []
    words += ["--grey"] if options.grey else []
    words += [] if options.device == "cpu" else ["--device", options.device]
    words += ["--compile"] if options.compile else []
    return minidiff_command(*words)


def run_sample(options: argparse.Namespace) -> int:
    import numpy as np

    from minidiff.checkpoints import write_file
    from minidiff.workshop.display import picture_of
    from minidiff.workshop.workers import Refused

    if options.out.is_dir():
        raise Refused(f"--out must be a file, but {options.out} is a folder")
    x, y, _ = drawn(options)
    if options.out.suffix.lower() == ".png":
        content = picture_of(x)
    else:
        numbers = io.BytesIO()
        np.savez(numbers, x=x.numpy(), **({} if y is None else {"y": y.numpy()}))
        content = numbers.getvalue()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(options.out, content)
    print(f"wrote {options.out}: x {tuple(x.shape)}")
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    from minidiff.workshop.subjects import subject_of

    x, _, recipe = drawn(options)
    measured = subject_of(recipe).distances(x, seed=options.seed)
    if options.json:
        numbers = {name: {**value._asdict(), "ratio": value.ratio} for name, value in measured.items()}
        about = {"data": recipe.subject, "sampler": options.sampler, "steps": options.steps}
        print(json.dumps({**about, "distances": numbers}))
        return 0
    print(f"{'distance':<45} {'value':>10} {'floor':>10} {'ratio':>7} {'n':>7}")
    for name, value in measured.items():
        print(f"{name:<45} {value.value:>10.4g} {value.floor:>10.4g} {value.ratio:>7.1f} {value.samples:>7}")
    print("The floor is the distance between real samples and other real samples, equally many.")
    return 0


def run_serve(options: argparse.Namespace) -> int:
    try:
        from minidiff.workshop.serve import serve
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn"):
            raise
        from minidiff._shipped import how_to_add

        return complain(f"{error.name} is missing, which serve needs: {how_to_add('production')}")
    from dataclasses import replace

    from minidiff.workshop.studio import load_model
    from minidiff.workshop.workers import local_device

    model = load_model(options.checkpoint, device=local_device(options.device))
    asked = {"pictures": options.pictures, "places": options.places, "waiting": options.waiting}
    limits = replace(model.limits, **{name: most for name, most in asked.items() if most is not None})
    serve(replace(model, limits=limits), options.host, options.port)
    return 0


def drawn(options: argparse.Namespace):
    """Samples of a checkpoint, their labels if it knows any, and its recipe."""
    import torch

    from minidiff import samplers
    from minidiff.data.captions import null_caption
    from minidiff.workshop.evaluation import sample
    from minidiff.workshop.few_steps import FEW, own_steps, sample_few
    from minidiff.workshop.runs import load_drawing
    from minidiff.workshop.subjects import subject_of
    from minidiff.workshop.workers import Refused, local_device

    device = local_device(options.device)
    net, recipe = load_drawing(options.checkpoint)
    if options.command == "evaluate":
        subject = subject_of(recipe)
        options.n = options.n or subject.samples
        subject.check_samples(options.n)
    sampler = {"ancestral": samplers.ancestral, "ddim": samplers.ddim, "2m": samplers.dpmpp_2m}[options.sampler]
    y, times = told(options, recipe), torch.linspace(1, 0, options.steps + 1)
    how = {"times": times, "sampler": sampler, "seed": options.seed}
    if (w := getattr(options, "guidance", None)) is not None:
        if not recipe.reads:
            raise Refused(f"--guidance must be left out: {options.checkpoint} reads no captions")
        how |= {"w": w, "nothing": null_caption(1, y.shape[1])}
    if recipe.objective in FEW:
        options.steps, options.sampler = own_steps(recipe), "its own"
        print(f"{recipe.subject} draws in steps of its own: {options.steps}", file=sys.stderr)
        x = sample_few(net.to(device), recipe, options.n, y, seed=options.seed)
    else:
        x = sample(net.to(device), recipe.gaussian_path(), recipe.kind, recipe.shape, options.n, y, **how)
    if not bool(x.isfinite().all()):
        raise FloatingPointError(f"the network in {options.checkpoint} draws NaN or infinite values: train it again")
    return x, y, recipe


def told(options: argparse.Namespace, recipe):
    """What each sample is told: the label or prompt asked for, else labels in turn or many captions, or nothing."""
    import torch

    from minidiff.data.captions import NoCaption, captions_of, parse, tokenise
    from minidiff.workshop.evaluation import even_told
    from minidiff.workshop.workers import Refused

    prompt, wanted, classes = getattr(options, "prompt", None), getattr(options, "label", None), recipe.classes
    if prompt is not None:
        if not recipe.reads:
            raise Refused(f"--prompt must be left out: {options.checkpoint} reads no captions, but captions does")
        try:
            return tokenise(captions_of(parse(prompt))).repeat(options.n, 1)
        except NoCaption as error:
            raise Refused(f"--prompt {error}") from error
    if wanted is None:
        return even_told(options.n, recipe)
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
        complain(f"{error}; `{minidiff_command('doctor')}` says what to install")
        return FAILED
    from minidiff.checkpoints import Damaged
    from minidiff.data import MnistUnavailable
    from minidiff.data.pictures import PicturesUnfit
    from minidiff.workshop.snapshots import FolderInUse
    from minidiff.workshop.workers import Refused, WorkerLost

    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, Refused):
        complain(line)
        return WRONG
    if isinstance(error, MemoryError) or "allocate memory" in line or "out of memory" in line:
        return complain("not enough memory: choose smaller numbers (--batch, --n), or fewer or smaller pictures")
    if isinstance(error, OSError) and error.errno in CURES:
        place = f" ({error.filename})" if error.filename else ""
        return complain(f"{error.strerror or line}{place}: {CURES[error.errno]}")
    said = (MnistUnavailable, PicturesUnfit, FolderInUse, Damaged, WorkerLost, FloatingPointError, OSError)
    return complain(line) if isinstance(error, said) else None


def wrong_environment() -> str:
    """What is wrong with the environment variables that minidiff reads, or nothing."""
    shift, data = os.environ.get("MINIDIFF_SEED", "0"), os.environ.get("MINIDIFF_DATA", "")
    if not shift.isdecimal():
        return f"MINIDIFF_SEED must be a whole number >= 0, but is {shift!r}"
    try:
        Path(data).expanduser()
    except RuntimeError:
        return f"MINIDIFF_DATA must be the path of a folder, but is {data!r}, and no user has that home"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. Every error that can be foreseen becomes one line."""
    for stream in (sys.stdout, sys.stderr):  # a pipe may lack a letter that a folder's name holds
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    machine = options.command == "doctor" and options.model is None  # this doctor says it, with a cure
    wrong = "" if machine else wrong_environment()
    if wrong:
        complain(wrong)
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

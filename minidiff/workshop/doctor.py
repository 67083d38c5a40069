"""What `python -m minidiff doctor` says: whether this machine has all that the course needs, on one screen.

Each check looks at one thing and yields its findings: one fact, and perhaps notes (good to know) and problems, each
with its cure. A check that fails is itself reported as a problem, so that the doctor always comes to an end. Nothing
is downloaded, and nothing is left behind. The modules of the course are imported where they are needed, since a
package that is missing is something to find out here, and no reason to stop.
"""

import contextlib
import importlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

import minidiff
from minidiff._shell import command, minidiff_command, pip_install, python_here
from minidiff._shipped import how_to_install_again, shipped_folder

__all__ = [
    "Fact",
    "Finding",
    "Note",
    "Problem",
    "Report",
    "doctor",
    "examine",
    "printed",
    "show",
    "to_json",
    "words_of",
]

ENOUGH_DISK = 500_000_000  # bytes: MNIST, checkpoints and runs take far less, a full disk breaks all of them
PYTHONS = ((3, 11), (3, 14))
SECONDS_TO_MEASURE = 1.0  # a precision is measured four times, or until then: some machines are slow in bfloat16
NAME_WIDTH = 13
PCI_DEVICES, NVIDIA = Path("/sys/bus/pci/devices"), "0x10de"


class Fact(NamedTuple):
    """What was found. lines: for a person to read; value: the same for a program, made of JSON's types."""

    lines: list[str]
    value: Any


class Note(NamedTuple):
    """Good to know; nothing is wrong."""

    words: str


class Problem(NamedTuple):
    """What is wrong, and what to do about it."""

    what: str
    cure: str


Finding = Fact | Note | Problem


class Report(NamedTuple):
    """facts: name -> what was found, or None where the check came to nothing; always the same names, in order."""

    facts: dict[str, Fact | None]
    notes: list[str]
    problems: list[Problem]

    def add(self, name: str, finding: "Finding") -> None:
        """Put what the check of this name found where it belongs."""
        if isinstance(finding, Fact):
            self.facts[name] = finding
        elif isinstance(finding, Note):
            self.notes.append(finding.words)
        else:
            self.problems.append(finding)


# Python, packages, settings


def package_itself() -> Iterator[Finding]:
    """minidiff: its version, and the folder that it is imported from."""
    folder = Path(minidiff.__file__).parent
    try:
        version = importlib.metadata.version("minidiff")
    except importlib.metadata.PackageNotFoundError:
        version = None
        yield Problem("minidiff is not installed, so notebooks may not find it", pip_install("-e", "."))
    yield Fact([f"{version or 'not installed'}, from {folder}"], {"version": version, "folder": str(folder)})


def python() -> Iterator[Finding]:
    """The version of Python and the system that it runs on."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield Fact([f"{platform.python_version()} on {system}"], {"version": platform.python_version(), "platform": system})
    lowest, highest = PYTHONS
    if not lowest <= sys.version_info[:2] <= highest:
        yield Problem(
            f"minidiff is made for Python {lowest[0]}.{lowest[1]} to {highest[0]}.{highest[1]}, not for this one",
            "name another: make lab PYTHON=python3.12",
        )


def packages() -> Iterator[Finding]:
    """Every package that minidiff asks for: installed, and can it be imported?"""
    versions, problems = {}, []
    try:
        required = importlib.metadata.requires("minidiff") or []
    except importlib.metadata.PackageNotFoundError:
        required = []
    for requirement in (line for line in required if "extra ==" not in line):
        name = re.match(r"[\w.-]+", requirement).group()
        versions[name] = None
        try:
            versions[name] = importlib.metadata.version(name)
            importlib.import_module({"scikit-learn": "sklearn"}.get(name, name))
        except importlib.metadata.PackageNotFoundError:
            problems.append(Problem(f"{name} is not installed", pip_install(requirement)))
        except Exception as error:  # a broken installation fails in many ways
            again = pip_install("--force-reinstall", requirement)
            problems.append(Problem(f"{name} cannot be imported ({words_of(error)})", again))
    listed = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    yield Fact(textwrap.wrap(listed, 80 - NAME_WIDTH, break_on_hyphens=False) or ["unknown"], versions)
    yield from problems


def jupyterlab() -> Iterator[Finding]:
    """JupyterLab, which opens the notebooks; another program may do so as well."""
    try:
        version = importlib.metadata.version("jupyterlab")
    except importlib.metadata.PackageNotFoundError:
        version = None
        how = "make lab" if shipped_folder() is None else pip_install("jupyterlab")
        yield Note(f"JupyterLab is not installed; `{how}` does it, or open the notebooks in another program")
    yield Fact([version or "not installed"], version)


def kernel() -> Iterator[Finding]:
    """Which kernels of Jupyter run this Python: those to choose for the notebooks."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError:
        yield Fact(["none: Jupyter is not installed here"], [])
        return
    own = []
    for name, found in KernelSpecManager().get_all_specs().items():
        program = (found["spec"].get("argv") or [""])[0]
        beside = os.path.dirname(program) == os.path.dirname(sys.executable)  # python, python3, python3.12 are one
        if beside or (name == "python3" and program in ("python", "python3")):
            own.append({"name": name, "title": found["spec"].get("display_name", name)})
    yield Fact([f"{each['title']} ({each['name']})" for each in own] or ["none of this Python"], own)
    register = command(python_here(), "-m", "ipykernel", "install", "--user", "--name", "minidiff")
    yield Note(
        f"VS Code: Select Kernel, at the top right of a notebook, then Python Environments, then {python_here()}. "
        f"Jupyter from another installation: {register} once, then Kernel, Change Kernel, minidiff"
    )


def settings() -> Iterator[Finding]:
    """The environment variables that minidiff reads."""
    seed, data = os.environ.get("MINIDIFF_SEED"), os.environ.get("MINIDIFF_DATA")
    given = [f"{name}={value}" for name, value in [("MINIDIFF_SEED", seed), ("MINIDIFF_DATA", data)] if value]
    yield Fact(given or ["none"], {"MINIDIFF_SEED": seed, "MINIDIFF_DATA": data})
    if wrong_seed():
        yield Problem(f"MINIDIFF_SEED must be a whole number, but is {seed!r}", "set it to 0, 1, 2, ... or unset it")
    if data and not os.path.isdir(os.path.expanduser(data)):
        yield Problem(f"MINIDIFF_DATA names {data}, which is no folder", "make that folder, name another, or unset it")
    elif data and not os.path.isabs(os.path.expanduser(data)):
        yield Note(f"MINIDIFF_DATA={data} is another folder for each place that you start from: give it in full")


def wrong_seed() -> bool:
    return not os.environ.get("MINIDIFF_SEED", "0").isdecimal()


@contextlib.contextmanager
def no_wrong_seed() -> Iterator[None]:
    """Without a MINIDIFF_SEED that is no number, which would fail other checks for no fault of theirs."""
    kept = os.environ.pop("MINIDIFF_SEED") if wrong_seed() else None
    try:
        yield
    finally:
        if kept is not None:
            os.environ["MINIDIFF_SEED"] = kept


# Where it computes


def devices() -> Iterator[Finding]:
    """The processor, and what else PyTorch can compute on."""
    found = [{"device": "cpu", "name": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"}]
    with warnings.catch_warnings(record=True) as caught:  # PyTorch warns about a GPU that it cannot use
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
        for number in range(torch.cuda.device_count() if usable else 0):
            about = torch.cuda.get_device_properties(number)
            name = f"{about.name}, {about.total_memory / 1e9:.0f} GB"
            found.append({"device": f"cuda:{number}", "name": name})
    kinds = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
    built_for = " ".join(f"{kind} {version}" for kind, version in kinds.items() if version)
    if built_for and not usable and (caught or card_expected()):
        why = f" ({words_of(caught[0].message)})" if caught else ""
        yield Note(f"PyTorch is built for {built_for}, but finds no GPU that it can use{why}")
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU"})
    yield Fact([f"{each['device']} ({each['name']})" for each in found], found)


def card_expected() -> bool:
    """Whether this machine has a graphics card, as far as can be told without PyTorch.

    Who has a build for one has chosen it, except on Linux, where pip installs that for CUDA everywhere: there, a card
    of NVIDIA or its program has to be seen.
    """
    if platform.system() != "Linux" or torch.version.hip or shutil.which("nvidia-smi"):
        return True
    return any(path.read_text(encoding="ascii").strip() == NVIDIA for path in PCI_DEVICES.glob("*/vendor"))


def threads() -> Iterator[Finding]:
    """How many threads PyTorch computes with, and on how many cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit, spin = os.environ.get("OMP_NUM_THREADS"), os.environ.get("GOMP_SPINCOUNT")
    line = f"{torch.get_num_threads()} for PyTorch, on {cores} processor cores"
    yield Fact(
        [line + (f" (OMP_NUM_THREADS={limit})" if limit else "")],
        {"torch": torch.get_num_threads(), "cores": cores, "OMP_NUM_THREADS": limit, "GOMP_SPINCOUNT": spin},
    )
    if platform.system() == "Linux" and spin is None:
        how = "set GOMP_SPINCOUNT=10000, or start with make or minidiff lab"
        yield Note(f"beside other busy programs training is slow: {how}")


def bfloat16() -> Iterator[Finding]:
    """Whether the course's digit network learns faster in bfloat16: measured, since few laptops have it built in."""
    from minidiff.digits import digit_network, digit_objective
    from minidiff.training import Batch

    net, loss, source = digit_network(), digit_objective(), minidiff.generator(0)
    x = 2 * torch.rand(32, 1, 28, 28, generator=source) - 1

    def timed(x: torch.Tensor, dtype: torch.dtype) -> float:
        begin = time.perf_counter()
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            loss(net, Batch(x), source).float().mean().backward()
        return time.perf_counter() - begin

    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        timed(x[:2], dtype)  # the first time is slow in any precision
        times = [timed(x, dtype)]
        while len(times) < 4 and sum(times) < SECONDS_TO_MEASURE:
            times.append(timed(x, dtype))
        seconds[dtype] = min(times)
    ratio = seconds[torch.bfloat16] / seconds[torch.float32]
    verdict = "faster" if ratio < 0.9 else "slower" if ratio > 1.1 else "no faster"
    compared = f"{ratio:.2f}" if ratio < 2 else f"{ratio:.1f}"
    yield Fact(
        [f"{verdict} on this processor: takes {compared} times as long as float32"],
        {"verdict": verdict, "ratio": round(ratio, 3), "float32_seconds": round(seconds[torch.float32], 4)},
    )


# What lies on the disk


def mnist() -> Iterator[Finding]:
    """Every folder where MNIST is looked for. The content of the first that holds it is checked, and no other."""
    from minidiff import data
    from minidiff.data.mnist import mnist_folders

    states, folders = {}, mnist_folders()
    for folder in dict.fromkeys(folders):  # $MINIDIFF_DATA may be the repository's own data folder
        if data.find_mnist(folder) is None:
            states[folder] = "incomplete" if any(folder.glob("*-idx?-ubyte*")) else "not there"
        elif "found" in states.values() or "damaged" in states.values():
            states[folder] = "not needed"
        else:
            try:
                for split in ("test", "train"):
                    data.mnist(split, folder, mirrors=())
                states[folder] = "found"
            except ValueError as error:
                states[folder] = "damaged"
                words = words_of(error)
                what, _, cure = words.rpartition(". What to do: " if "What to do: " in words else ": ")
                yield Problem(what, cure)
    if not {"found", "damaged"} & set(states.values()):
        folder = download_folder(folders)
        refused = why_not_writable(folder)
        if refused:
            yield Problem(
                f"MNIST is not there, and {folder}, where it would go, cannot be written ({refused})",
                "set MINIDIFF_DATA to a folder of yours",
            )
        else:
            yield Note(f"MNIST will be downloaded (12 MB) when first needed, to {folder}")
    yield Fact(
        [f"{state:<11} {folder}" for folder, state in states.items()],
        [{"folder": str(folder), "state": state} for folder, state in states.items()],
    )


def download_folder(folders: list[Path]) -> Path:
    """Where `minidiff.data` would put MNIST, of the folders that it looks in."""
    return folders[0] if os.environ.get("MINIDIFF_DATA") else folders[-1]


def checkpoints() -> Iterator[Finding]:
    """The trained networks that come with the course: loaded, which checks their SHA-256."""
    from minidiff.checkpoints import SHIPPED, checkpoint_folder, load_network

    found = []
    for name in SHIPPED:
        folder, state = None, "found"
        try:
            folder = checkpoint_folder(name)
            load_network(folder)
        except FileNotFoundError as error:
            state = "missing"
            yield Problem(words_of(error).partition(";")[0], restore(name, folder))
        except Exception as error:
            state = "damaged"
            words = words_of(error)
            what = words if str(folder) in words else f"the checkpoint {folder or name} cannot be loaded ({words})"
            yield Problem(what, restore(name, folder))
        found.append({"name": name, "state": state, "folder": folder and str(folder)})
    lines = [f"{each['state']:<11} {each['folder'] or each['name']}" for each in found]
    yield Fact(lines, found)


def restore(name: str, folder: Path | None) -> str:
    """How to come by a checkpoint that is missing, or damaged in its folder."""
    shipped = shipped_folder()
    if shipped and (folder is None or folder.is_relative_to(shipped)):  # it came in the wheel, and comes with it again
        return how_to_install_again()
    if folder is None:
        making = minidiff_command("train", name, "--out", f"data/checkpoints/{name}")
        return f"git checkout data/checkpoints/{name}, or make it: {making}"
    in_git = any(os.path.exists(above / ".git") for above in folder.absolute().parents)
    again = command("git", "checkout", folder) if in_git else "copy it from the course again"
    return f"{again}, or make it anew: {minidiff_command('train', name, '--out', 'runs/' + name)}"


def disk() -> Iterator[Finding]:
    """Free space in the working folder, and where MNIST would go."""
    places = [Path.cwd()]
    with contextlib.suppress(ImportError):  # a package that is missing may be missing because the disk is full
        from minidiff.data.mnist import find_mnist, mnist_folders

        places.append(find_mnist() or download_folder(mnist_folders()))
    found = []
    for place in places:
        free = shutil.disk_usage(nearest_folder(place)).free
        found.append({"folder": str(place), "free_bytes": free})
        if free < ENOUGH_DISK:
            cure = "make room" if place == places[0] else "make room, or set MINIDIFF_DATA to a folder on another disk"
            yield Problem(f"{place} has {gigabytes(free)} left, less than {gigabytes(ENOUGH_DISK)}", cure)
    yield Fact([f"{gigabytes(each['free_bytes']):<11} {each['folder']}" for each in found], found)


def gigabytes(number: int) -> str:
    return f"{math.floor(number / 1e8) / 10:.1f} GB"


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there (a file may stand in its way)."""
    return next(above for above in (path.absolute(), *path.absolute().parents) if os.path.isdir(above))


def why_not_writable(folder: Path) -> str:
    """Why no file can be written in a folder that may have to be made first; empty where it can. Leaves nothing."""
    for above in (folder.absolute(), *folder.absolute().parents):
        if os.path.lexists(above):
            try:
                with tempfile.TemporaryFile(dir=above):  # tried, since permission bits tell half of it
                    return ""
            except OSError as error:
                return error.strerror or words_of(error)
    return "no such disk"


# All of it


def examine() -> Report:
    """Make every check, in order."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "minidiff": package_itself,
        "Python": python,
        "packages": packages,
        "JupyterLab": jupyterlab,
        "kernel": kernel,
        "settings": settings,
        "devices": devices,
        "threads": threads,
        "bfloat16": bfloat16,
        "MNIST": mnist,
        "checkpoints": checkpoints,
        "free disk": disk,
    }
    report, packages_work = Report({}, [], []), True
    for name, check in checks.items():
        report.facts[name] = None
        if name in ("bfloat16", "MNIST", "checkpoints") and not packages_work:
            continue  # most modules need most packages
        problems_before = len(report.problems)
        try:
            with no_wrong_seed() if name != "settings" else contextlib.nullcontext():
                for finding in check():
                    report.add(name, finding)
        except Exception as error:  # whatever it is, the other checks are still worth making
            report.problems.append(
                Problem(
                    f"the check of {name} failed ({type(error).__name__}: {words_of(error)})",
                    "show this screen to whoever keeps your copy of the course",
                )
            )
        if name == "packages":
            packages_work = len(report.problems) == problems_before
    if not packages_work:
        report.notes.append("bfloat16, MNIST and checkpoints are examined once the packages are in order")
    return report


def words_of(error: Exception | Warning) -> str:
    """The message of an error on one line, or its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def show(report: Report, width: int | None = None, *, healthy: str = "everything is in place") -> str:
    """The report as a screen. width: where notes and problems are broken into lines; None: one line each.

    healthy: the last line where there is no problem.
    """
    lines = []
    for name, fact in report.facts.items():
        for number, line in enumerate(fact.lines if fact else ["not examined"]):
            lines.append(f"{'' if number else name:<{NAME_WIDTH}}{line}")
    told = [("note", words) for words in report.notes]
    told += [("PROBLEM", f"{problem.what}; cure: {problem.cure}") for problem in report.problems]
    lines += [""] if told else []
    wrapper = textwrap.TextWrapper(width or 80, break_long_words=False, break_on_hyphens=False)
    wrapper.subsequent_indent = " " * NAME_WIDTH
    for label, words in told:
        line = f"{label:<{NAME_WIDTH}}{words}"
        lines += wrapper.wrap(line) if width else [line]
    count = len(report.problems)
    verdict = f"{count} problem{'s' if count > 1 else ''}" if count else healthy
    return "\n".join([*lines, "", verdict])


def to_json(report: Report) -> str:
    """The report as one JSON object, with the same keys whatever was found."""
    return json.dumps(
        {
            "healthy": not report.problems,
            "facts": {name.lower().replace(" ", "_"): fact and fact.value for name, fact in report.facts.items()},
            "notes": report.notes,
            "problems": [problem._asdict() for problem in report.problems],
        },
        indent=2,
    )


def doctor(*, as_json: bool) -> int:
    """Examine this machine and print what was found. Returns 0 where everything is in place, 1 where it is not."""
    print("examining this machine, which takes a few seconds ...", file=sys.stderr, flush=True)
    return printed(examine(), as_json=as_json)


def printed(report: Report, *, as_json: bool, healthy: str = "everything is in place") -> int:
    """Print a report. Returns 0 where it holds no problem, else 1. healthy: what the screen then ends with."""
    width = max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    text = to_json(report) if as_json else show(report, width, healthy=healthy)
    encoding = sys.stdout.encoding or "utf-8"  # a terminal may lack a character that a folder's name holds
    print(text.encode(encoding, "backslashreplace").decode(encoding))
    return int(bool(report.problems))

"""`make wheel`: build the sdist and the wheel, and try the wheel as somebody does who has nothing else.

    python -m tests.tools.wheel

What comes out lies in build/wheel. Each step prints a line; the first that fails ends it with a sentence. Both files
must pass `twine check`, the wheel must hold what git knows and no more, the sdist must build the same wheel byte by
byte, and in a new environment, far from the repository, the wheel must draw digits, load every network, satisfy the
doctor, write the notebooks, execute the first and serve it.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import nbformat

from minidiff._shipped import course_notebooks
from tests.tools.notebooks import failing, findings

__all__ = ["expected_files", "main", "package_files"]

REPOSITORY = Path(__file__).parents[2]
OUT = REPOSITORY / "build" / "wheel"
LARGEST = 45_000_000  # bytes
FIRST = "00_start_here.ipynb"
LOADS = """
import importlib, inspect, pkgutil, pathlib, sys
import minidiff
from minidiff.checkpoints import SHIPPED, load_network

assert pathlib.Path(minidiff.__file__).is_relative_to(sys.prefix), minidiff.__file__
for name in SHIPPED:
    load_network(name)
loaded = set()
for module in pkgutil.walk_packages(minidiff.__path__, "minidiff."):
    if "shipped" in module.name or module.name == "minidiff.__main__":
        continue
    try:
        content = importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name.startswith("minidiff"):
            raise
        continue  # what needs an extra
    for name, value in vars(content).items():
        if name.startswith("load_") and callable(value) and value not in loaded:
            parameters = inspect.signature(value).parameters.values()
            if all(each.default is not each.empty for each in parameters):
                value()
                loaded.add(value)
print(len(SHIPPED), "networks by name;", ", ".join(sorted(each.__name__ for each in loaded)))
"""


class Failed(RuntimeError):
    """A step went wrong. The message says which, and shows what it printed."""


# --- what belongs into the wheel -------------------------------------------------------------------------------------


def settings() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def package_files(repository: Path = REPOSITORY) -> dict[str, Path]:
    """Each file that pyproject.toml puts into the wheel: its name there -> where it lies, from the repository."""
    setuptools, found = settings(), {}
    for package in setuptools["packages"]:
        folder = folder_of(package, setuptools["package-dir"])
        patterns = ["*.py", *setuptools["package-data"].get(package, [])]
        for path in (path for pattern in patterns for path in sorted((repository / folder).glob(pattern))):
            name = "/".join([*package.split("."), *path.relative_to(repository / folder).parts])
            found[name] = path.relative_to(repository)
    return found


def folder_of(package: str, mapped: dict[str, str]) -> Path:
    """Where a package lies: at its own place in `package-dir`, or below that of the nearest package above it."""
    parts = package.split(".")
    for length in range(len(parts), 0, -1):
        above = ".".join(parts[:length])
        if above in mapped:
            return Path(mapped[above], *parts[length:])
    return Path(*parts)


def known_to_git() -> set[Path] | None:
    """Every file under version control, or None where this is no git repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True)
    return None if listed.returncode else {Path(name) for name in listed.stdout.decode().split("\0") if name}


def expected_files() -> dict[str, Path]:
    """The files of `package_files` that git knows: an untitled notebook or a trial checkpoint is not the course's."""
    known = known_to_git()
    return {name: path for name, path in package_files().items() if known is None or path in known}


# --- steps -----------------------------------------------------------------------------------------------------------


def run(*command: object, cwd: Path = REPOSITORY, **environment: str) -> str:
    """What a command prints, both streams together. Raises Failed where it fails."""
    words, both = list(map(str, command)), {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    result = subprocess.run(words, cwd=cwd, text=True, env=plain_environment(**environment), **both)
    if result.returncode:
        raise Failed(f"{' '.join(words)} ended with code {result.returncode} and said:\n{result.stdout}")
    return result.stdout


def plain_environment(**more: str) -> dict[str, str]:
    """This environment without what would lead to the repository or to files of the reader's."""
    away = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MINIDIFF_DATA", "MINIDIFF_SEED", "MINIDIFF_PROGRESS")
    return {**{name: value for name, value in os.environ.items() if name not in away}, **more}


def say(line: str) -> None:
    print(line, flush=True)


def moment() -> str:
    """The seconds that every file of the wheel is dated by: those of the last commit."""
    shown = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=REPOSITORY, capture_output=True, text=True)
    return shown.stdout.strip() or "1600000000"


def built(kind: str, source: Path, out: Path) -> Path:
    """Build the sdist or the wheel of a folder. Leftovers of an earlier build would end up in this one."""
    for leftover in (source / "build" / "lib", *source.glob("build/bdist.*"), source / "minidiff.egg-info"):
        shutil.rmtree(leftover, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", out, source]
    run(*command, SOURCE_DATE_EPOCH=moment())
    (file,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return file


def contents(wheel: Path) -> dict[str, str]:
    """The files of a wheel and the SHA-256 of each."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def check_contents(wheel: Path) -> None:
    """The wheel holds every file of ours, as it is in the repository, and none besides."""
    held = {name: value for name, value in contents(wheel).items() if ".dist-info/" not in name}
    wanted = expected_files()
    missing, foreign = sorted(set(wanted) - set(held)), sorted(set(held) - set(wanted))
    changed = [
        name
        for name in sorted(set(wanted) & set(held))
        if hashlib.sha256((REPOSITORY / wanted[name]).read_bytes()).hexdigest() != held[name]
    ]
    for names, what in [(missing, "lacks"), (foreign, "holds what git does not know:"), (changed, "holds changed:")]:
        if names:
            raise Failed(f"the wheel {what} {', '.join(names)}")


def check_rebuilt(wheel: Path, sdist: Path) -> None:
    """The sdist builds the same wheel, byte by byte."""
    with tempfile.TemporaryDirectory(prefix="minidiff-") as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (source,) = Path(folder).iterdir()
        again = built("wheel", source, Path(folder) / "out")
        first, second = contents(wheel), contents(again)
        if first != second:
            differing = sorted(set(first.items()) ^ set(second.items()))
            raise Failed(f"the sdist builds another wheel: {', '.join(sorted({name for name, _ in differing}))}")
        if wheel.name != again.name or wheel.read_bytes() != again.read_bytes():
            raise Failed("the sdist builds a wheel of the same files, but with other dates or permissions")


def try_alone(python: Path, folder: Path) -> None:
    """What the wheel gives, without any extra, to somebody in an empty folder."""
    minidiff = python.with_name("minidiff")
    home = {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder), "MPLCONFIGDIR": str(folder / "cache")}
    verdict = run(minidiff, "doctor", cwd=folder, **home).rstrip().splitlines()[-1]
    if verdict != "everything is in place":
        raise Failed(f"the doctor says: {verdict}")
    say(f"doctor: {verdict}")
    out = ("--n", "10", "--steps", "10", "--out", "digits.png")
    drawn = run(minidiff, "sample", "--checkpoint", "mnist-ddpm-labels", *out, cwd=folder, **home)
    if not (folder / "digits.png").read_bytes().startswith(b"\x89PNG"):
        raise Failed("digits.png is no PNG")
    say(f"sample: {drawn.strip().splitlines()[-1]}")
    say("load: " + run(python, "-c", LOADS, cwd=folder, **home).strip().splitlines()[-1])
    say("course: " + run(minidiff, "course", "mine", cwd=folder, **home).splitlines()[0])
    if sorted(path.name for path in (folder / "mine").iterdir()) != [path.name for path in course_notebooks()]:
        raise Failed("minidiff course does not write the notebooks of the repository")
    refused = subprocess.run([minidiff, "lab", "mine"], cwd=folder, env=plain_environment(**home), capture_output=True)
    said = refused.stderr.decode()
    if refused.returncode != 1 or not said.startswith("minidiff: JupyterLab is not installed"):
        raise Failed(f"minidiff lab without JupyterLab ended with {refused.returncode} and said:\n{said}")
    say(f"lab, where there is no JupyterLab: {said.strip()}")


def try_notebooks(python: Path, folder: Path) -> None:
    """With JupyterLab: notebook 00 runs and finds what it should, and `minidiff lab` serves it."""
    home = {"XDG_CACHE_HOME": str(folder / "cache"), "MPLCONFIGDIR": str(folder / "cache"), "HOME": str(folder)}
    start = time.perf_counter()
    execute = (python.with_name("jupyter"), "execute", "--inplace", "--kernel_name=python3", FIRST)
    run(*execute, cwd=folder / "mine", **home)
    notebook = nbformat.read(folder / "mine" / FIRST, as_version=4)
    found = [line for each in findings(notebook) for line in each.text.splitlines() if line.startswith("✓ ")]
    if failing(notebook) or not found:
        raise Failed(f"notebook 00 found {len(found)} things, and did not find {failing(notebook)}")
    say(f"notebook 00: {len(found)} findings hold, {time.perf_counter() - start:.0f} s")
    served = check_served(python.with_name("minidiff"), folder, home)
    say(f"lab: serves {served}")


def check_served(minidiff: Path, folder: Path, home: dict[str, str]) -> str:
    """The path that `minidiff lab` opens, asked of the running server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    printed = folder / "lab.txt"
    with printed.open("w") as file:
        process = subprocess.Popen(
            [minidiff, "lab", "mine", "--no-browser", "--port", str(port)],
            cwd=folder,
            env=plain_environment(**home),
            stdout=file,
            stderr=file,
        )
    try:
        pattern = re.compile(r"http://127\.0\.0\.1:\d+/lab/tree/(\S+)\?token=(\w+)")
        deadline = time.monotonic() + 120
        while not (address := pattern.search(printed.read_text())):
            if time.monotonic() > deadline or process.poll() is not None:
                raise Failed(f"minidiff lab printed no address:\n{printed.read_text()}")
            time.sleep(0.2)
        path, token = address.groups()
        first = json.loads(answer(f"http://127.0.0.1:{port}/api/contents/{path}?token={token}", deadline))
    finally:
        process.terminate()
        process.wait(timeout=60)
    title = first["content"]["cells"][0]["source"]
    if not title.startswith("# 00. "):
        raise Failed(f"minidiff lab serves something else: {title[:60]!r}")
    return path


def answer(address: str, deadline: float) -> bytes:
    """What a server answers, which may print its address a moment before it listens."""
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60) as page:
                return page.read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def main() -> None:
    start = time.perf_counter()
    try:
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        sdist, wheel = built("sdist", REPOSITORY, OUT), built("wheel", REPOSITORY, OUT)
        for file in (sdist, wheel):
            say(f"built {file.relative_to(REPOSITORY)}: {file.stat().st_size / 1e6:.1f} MB")
        if wheel.stat().st_size >= LARGEST:
            raise Failed(f"the wheel has {wheel.stat().st_size:,} bytes, and may have {LARGEST:,}")
        run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", sdist, wheel)
        say("twine check: passed")
        check_contents(wheel)
        say(f"contents: {len(expected_files())} files, as they are in the repository")
        check_rebuilt(wheel, sdist)
        say("the sdist builds the same wheel, byte by byte")
        with tempfile.TemporaryDirectory(prefix="minidiff-") as name:
            folder = Path(name) / "empty"
            folder.mkdir()
            run(sys.executable, "-m", "venv", Path(name) / "env")
            python = Path(name, "env", *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
            pip = [python, "-m", "pip", "install", "-q", "-c", REPOSITORY / "constraints.txt"]
            run(*pip, wheel, cwd=folder)
            say("installed into a new environment")
            try_alone(python, folder)
            run(*pip, f"minidiff[lab] @ {wheel.as_uri()}", cwd=folder)
            try_notebooks(python, folder)
    except Failed as error:
        sys.exit(f"make wheel: {error}")
    say(f"all is well, after {time.perf_counter() - start:.0f} s: pip install {wheel.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()

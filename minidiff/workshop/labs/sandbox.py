"""Where the answers of strangers run: in a process that cannot reach the network, other submissions, or the solutions.

On Linux as root the worker makes the sandbox itself, and stays warm. On Linux without root bubblewrap makes one for
each job. Elsewhere there is none, and grading says so and refuses, unless it is told that the answers may be trusted.
"""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import minidiff
from minidiff.workshop.labs.messages import MOST_BYTES, Unreadable, read_frame, write_frame
from minidiff.workshop.workers import Refused

__all__ = ["Ended", "Isolation", "Sandbox", "isolation_here", "sandbox"]

Isolation = Literal["namespaces", "bubblewrap", "none"]
MODULE = "minidiff.workshop.labs.worker"
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin")
WORKER_FILES = (  # all of minidiff that a worker imports
    *("__init__.py", "_tensors.py", "checks/guards.py", "checks/observing.py", "checks/records.py"),
    *("workshop/labs/messages.py", "workshop/labs/worker.py"),
)
READY = b"ready"  # a worker's first word
START = 60.0  # seconds that Python and PyTorch may take to start, on a busy machine
SURROUNDINGS = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "HOME": "/tmp"}


@dataclass(frozen=True)
class Ended:
    """How a job ended: done, with a message; late; or died, without one."""

    how: Literal["done", "late", "died"]
    message: bytes = b""


class Sandbox(Protocol):
    """Runs a job, a message of `messages`, and returns what came of it."""

    def __call__(self, job: bytes, seconds: float) -> Ended: ...


def isolation_here() -> Isolation:
    """The best that this machine can do."""
    if sys.platform != "linux":
        return "none"
    if os.geteuid() == 0:
        return "namespaces"
    return "bubblewrap" if shutil.which("bwrap") else "none"


@contextlib.contextmanager
def sandbox(*, unsafe: bool = False, isolation: Isolation | None = None) -> Iterator[Sandbox]:
    """A sandbox, for as long as the block lasts. Raises Refused where there is none, unless unsafe is True."""
    chosen = isolation or isolation_here()
    if chosen == "none" and not unsafe:
        raise Refused(
            "answers of students are programs, and nothing on this machine can lock them in. Grade on Linux, as root "
            "(a container will do) or with bubblewrap installed (apt install bubblewrap), or say UNSAFE=1 if you trust "
            "every one of them with all that you can do here"
        )
    with tempfile.TemporaryDirectory(prefix="minidiff-lab-") as folder:
        if chosen == "namespaces":
            with _Warm(Path(folder)) as warm:
                yield warm
        else:
            yield _Cold(chosen, copied(Path(folder)))


def copied(folder: Path) -> Path:
    """A copy of what the worker imports and nothing else: no solutions, no checks, no labs."""
    for name in WORKER_FILES:
        target = folder / "minidiff" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(minidiff.__file__).parent / name, target)
    for package in ("checks", "workshop", "workshop/labs"):
        (folder / "minidiff" / package / "__init__.py").touch()
    folder.chmod(0o755)
    return folder


def shown() -> list[str]:
    """What a sandbox shows of this machine: the system's libraries, Python, and what is installed for it."""
    pythons = {sys.base_prefix, sys.prefix, os.path.dirname(os.path.realpath(sys.executable))}
    pythons |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    outer = [path for path in sorted(pythons) if not any(_within(path, other) for other in pythons - {path})]
    system = [path for path in SYSTEM if os.path.exists(path)]
    return [*system, *(path for path in outer if not any(_within(path, other) for other in system))]


def _within(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder and path != folder


def _worker(folder: Path, *arguments: str) -> list[str]:
    """The worker's command line. It imports minidiff from a folder, whatever is installed."""
    start = f"import sys; sys.path.insert(0, {str(folder)!r}); import {MODULE} as worker; worker.main(sys.argv[1:])"
    return [sys.executable, "-I", "-c", start, *arguments]


class _Warm:
    """One process that has everything loaded, and forks for each job. When it has died, another one is started."""

    def __init__(self, folder: Path) -> None:
        self.code, self.root = folder / "code", folder / "root"
        self.code.mkdir()
        self.root.mkdir()
        copied(self.code)
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "_Warm":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __call__(self, job: bytes, seconds: float) -> Ended:
        for _ in range(2):  # a worker that has died on its own is not the answer's fault
            try:
                if self.process is None:
                    self.start()
                write_frame(self.process.stdin, job)
                how, message = read_frame(self.process.stdout), read_frame(self.process.stdout)
            except (OSError, Unreadable):
                how = message = None
            if how is not None and message is not None:
                return Ended(how.decode(), message)
            self.stop()
        return Ended("died")

    def start(self) -> None:
        command = _worker(self.code, "serve", str(self.root), json.dumps(shown()))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=SURROUNDINGS, **pipes, start_new_session=True)
        said = read_frame(self.process.stdout)
        if said != READY:
            lines = (said or self.process.stderr.read(4000)).decode(errors="replace").strip().splitlines()
            self.stop()
            last = lines[-1] if lines else "it said nothing"
            raise Refused(
                f"the sandbox did not start: {last}. Root in a container may lack the right to make one: start the "
                "container with --privileged, or grade with bubblewrap and without root"
            )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@dataclass(frozen=True)
class _Cold:
    """A process for each job: in bubblewrap, or in nothing at all."""

    isolation: Isolation
    code: Path

    def __call__(self, job: bytes, seconds: float) -> Ended:
        command = _worker(self.code, "once")
        if self.isolation == "bubblewrap":
            command = [*self.bubblewrap(), "--", *command]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        environment = SURROUNDINGS if os.name == "posix" else {**os.environ, **SURROUNDINGS}
        process = subprocess.Popen(command, env=environment, **pipes, start_new_session=True)
        ready, message = threading.Event(), []

        def listen() -> None:
            with contextlib.suppress(OSError, Unreadable):
                if read_frame(process.stdout) == READY:
                    ready.set()
                    message.append(process.stdout.read(MOST_BYTES + 1))

        reader = threading.Thread(target=listen, daemon=True)
        reader.start()
        try:
            with contextlib.suppress(OSError):  # it may have ended already
                write_frame(process.stdin, job)
                process.stdin.close()
            started = self.started(ready, reader)
            reader.join(seconds if started else 0)
            late = reader.is_alive()
        finally:
            self.end(process)
        if not started:
            raise Refused(
                f"the sandbox did not start. Try this by hand, and see what it says: {shlex.join(command[:8])}"
            )
        return Ended("late") if late else Ended("done", message[0]) if message and message[0] else Ended("died")

    @staticmethod
    def started(ready: threading.Event, reader: threading.Thread) -> bool:
        """Wait until the worker has said its first word, or can no longer say it."""
        until = time.monotonic() + START
        while reader.is_alive() and not ready.wait(0.05) and time.monotonic() < until:
            pass
        return ready.is_set()

    def end(self, process: subprocess.Popen) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, 9) if os.name == "posix" else process.kill()
        process.wait()

    def bubblewrap(self) -> list[str]:
        """A file system with what is shown, read-only, namespaces of its own, and no rights in them."""
        words = [shutil.which("bwrap"), "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        for path in shown():
            if os.path.islink(path):
                words += ["--symlink", os.readlink(path), path]
            else:
                words += ["--ro-bind", path, path]
        return [*words, "--ro-bind", str(self.code), str(self.code), "--chdir", "/tmp"]
